"""Executes chains with Ethereum's executable specification, as ethereumjs.mjs does with EthereumJS.

From standard input [{ genesis, blocks: [RLP] }], to standard output [{ genesis: hash, blocks: [{ hash } | { error }] }]. After
the first block of a chain that is wrong no other of it is executed.
"""

import importlib
import json
import sys

from ethereum.crypto.hash import keccak256
from ethereum_rlp import rlp
from ethereum_types.bytes import Bytes, Bytes8, Bytes32
from ethereum_types.numeric import U64, U256, Uint

FORKS = [("shanghaiTime", "shanghai"), ("cancunTime", "cancun"), ("pragueTime", "prague"), ("osakaTime", "osaka")]


def number(value):
    return int(value, 0) if isinstance(value, str) else value


def data(value, length=None):
    raw = bytes.fromhex(value.removeprefix("0x"))
    return raw if length is None else raw.rjust(length, b"\0")


class Fork:
    """A fork's module of each kind."""

    def __init__(self, name):
        self.name = name
        for part in ("fork", "blocks", "state", "trie", "fork_types", "bloom"):
            setattr(self, part, importlib.import_module(f"ethereum.forks.{name}.{part}"))


def moved(chain, fork):
    """The chain in the types of a later fork: what is an account to one is none to another."""
    state = fork.state.State()
    for address, account in chain.state._main_trie._data.items():
        if account is not None:
            account = fork.fork_types.Account(account.nonce, account.balance, account.code)
            fork.state.set_account(state, address, account)
    for address, trie in chain.state._storage_tries.items():
        for slot, value in trie._data.items():
            fork.state.set_storage(state, address, slot, value)
    return fork.fork.BlockChain(blocks=chain.blocks, state=state, chain_id=chain.chain_id)


def judge(given):
    genesis = given["genesis"]
    config = genesis["config"]
    forks = [(config[field], Fork(name)) for field, name in FORKS if field in config]

    def fork_at(time):
        return [fork for begins, fork in forks if begins <= time][-1]

    now = fork_at(number(genesis["timestamp"]))
    state = now.state.State()
    for address, account in genesis["alloc"].items():
        address = now.fork_types.Address(data(address, 20))
        nonce, balance = number(account.get("nonce", 0)), number(account["balance"])
        code = Bytes(data(account.get("code", "0x")))
        now.state.set_account(state, address, now.fork_types.Account(Uint(nonce), U256(balance), code))
        for slot, value in account.get("storage", {}).items():
            now.state.set_storage(state, address, Bytes32(data(slot, 32)), U256.from_be_bytes(data(value, 32)))

    empty = now.trie.root(now.trie.Trie(False, None))
    fields = {
        "parent_hash": Bytes32(bytes(32)),
        "ommers_hash": keccak256(rlp.encode(())),
        "coinbase": now.fork_types.Address(data(genesis["coinbase"], 20)),
        "state_root": now.state.state_root(state),
        "transactions_root": empty,
        "receipt_root": empty,
        "bloom": now.fork_types.Bloom(bytes(256)),
        "difficulty": Uint(0),
        "number": Uint(0),
        "gas_limit": Uint(number(genesis["gasLimit"])),
        "gas_used": Uint(0),
        "timestamp": U256(number(genesis["timestamp"])),
        "extra_data": Bytes(data(genesis["extraData"])),
        "prev_randao": Bytes32(data(genesis["mixHash"], 32)),
        "nonce": Bytes8(number(genesis["nonce"]).to_bytes(8, "big")),
        "base_fee_per_gas": Uint(number(genesis["baseFeePerGas"])),
        "withdrawals_root": empty,
    }
    if now.name != "shanghai":
        fields |= {"blob_gas_used": U64(0), "excess_blob_gas": U64(0), "parent_beacon_block_root": Bytes32(bytes(32))}
    if now.name in ("prague", "osaka"):
        fields["requests_hash"] = importlib.import_module(f"ethereum.forks.{now.name}.requests").compute_requests_hash([])
    header = now.blocks.Header(**fields)
    first = now.blocks.Block(header=header, transactions=(), ommers=(), withdrawals=())
    chain = now.fork.BlockChain(blocks=[first], state=state, chain_id=U64(config["chainId"]))

    told = []
    for raw in given["blocks"]:
        raw = data(raw)
        try:
            # The timestamp is the twelfth field of the header.
            time = int.from_bytes(rlp.decode(raw)[0][11], "big")
            later = fork_at(time)
            if later is not now:
                chain, now = moved(chain, later), later
            block = rlp.decode_to(now.blocks.Block, raw)
            now.fork.state_transition(chain, block)
            told.append({"hash": "0x" + keccak256(rlp.encode(block.header)).hex()})
        except Exception as error:  # whatever the specification raises says that the block is wrong
            told.append({"error": repr(error)})
            break
    return {"genesis": "0x" + keccak256(rlp.encode(header)).hex(), "blocks": told}


json.dump([judge(chain) for chain in json.load(sys.stdin)], sys.stdout)
