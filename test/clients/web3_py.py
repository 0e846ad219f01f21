"""What an application does with web3.py: `python web3_py.py <host:port> <chain id> <private key>`, over HTTP and WebSocket."""

import asyncio
import sys
import time

from web3 import AsyncWeb3, HTTPProvider, Web3, WebSocketProvider
from web3.exceptions import Web3RPCError

HOST, CHAIN_ID, KEY = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def payment(address, nonce):
    return {
        "chainId": CHAIN_ID,
        "type": 2,
        "nonce": nonce,
        "to": address,
        "value": 1,
        "gas": 21_000,
        "maxFeePerGas": 2 * 10**9,
        "maxPriorityFeePerGas": 10**9,
    }


def over_http():
    w3 = Web3(HTTPProvider(f"http://{HOST}/", request_kwargs={"timeout": 120}))
    account = w3.eth.account.from_key(KEY)
    assert w3.is_connected() and w3.eth.chain_id == CHAIN_ID
    nonce = w3.eth.get_transaction_count(account.address)
    new_blocks = w3.eth.filter("latest")
    signed = account.sign_transaction(payment(account.address, nonce))
    sent = w3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = w3.eth.wait_for_transaction_receipt(sent, timeout=120, poll_latency=0.1)
    assert receipt["status"] == 1 and receipt["logs"] == []
    assert len(new_blocks.get_new_entries()) >= 1
    block = w3.eth.get_block(receipt["blockNumber"], full_transactions=True)
    assert sent in [one["hash"] for one in block["transactions"]]
    assert w3.eth.get_transaction_count(account.address, receipt["blockNumber"]) == nonce + 1
    assert w3.eth.get_transaction_count(account.address, receipt["blockNumber"] - 1) == nonce
    assert w3.eth.get_transaction_by_block(receipt["blockNumber"], receipt["transactionIndex"])["hash"] == sent
    assert w3.eth.get_raw_transaction(sent) == signed.raw_transaction
    assert w3.eth.get_logs({"fromBlock": 0, "address": account.address}) == []
    assert w3.eth.fee_history(4, "latest", [50.0])["baseFeePerGas"]
    # What is decided may leave the pool a moment after it can be read.
    until = time.monotonic() + 120
    while int(str(w3.geth.txpool.status()["pending"]), 0) != 0:
        assert time.monotonic() < until, "it stays in the pool"
        time.sleep(0.1)
    try:
        w3.eth.call({"to": account.address})
        raise AssertionError("a call was executed")
    except Web3RPCError as error:
        assert "ask a follower of the rollup" in str(error), error


async def over_websocket():
    async with AsyncWeb3(WebSocketProvider(f"ws://{HOST}/", request_timeout=120)) as w3:
        account = w3.eth.account.from_key(KEY)
        heads = await w3.eth.subscribe("newHeads")
        pending = await w3.eth.subscribe("newPendingTransactions")
        logs = await w3.eth.subscribe("logs", {"address": account.address})
        nonce = await w3.eth.get_transaction_count(account.address)
        signed = account.sign_transaction(payment(account.address, nonce))
        sent = await w3.eth.send_raw_transaction(signed.raw_transaction)
        heard = set()
        async for message in w3.socket.process_subscriptions():
            assert message["subscription"] != logs
            if message["subscription"] == pending:
                assert message["result"] == sent, message
            if message["subscription"] == heads:
                assert message["result"]["number"] >= 1, message
            heard.add(message["subscription"])
            if heard == {heads, pending}:
                break
        receipt = await w3.eth.wait_for_transaction_receipt(sent, timeout=120, poll_latency=0.1)
        assert receipt["status"] == 1
        assert await w3.eth.unsubscribe(heads)


over_http()
asyncio.run(asyncio.wait_for(over_websocket(), 240))
print("ok")
