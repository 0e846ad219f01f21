// Executes chains as an Ethereum client that takes their blocks from elsewhere: [{ genesis, blocks: [RLP] }] from standard input,
// and to standard output [{ genesis: hash, blocks: [{ hash } | { error }] }]. After the first block of a chain that is wrong no
// other of it is executed.
import { createBlockFromRLP } from "@ethereumjs/block";
import { createBlockchain } from "@ethereumjs/blockchain";
import { createCommonFromGethGenesis, parseGethGenesisState } from "@ethereumjs/common";
import { MerklePatriciaTrie } from "@ethereumjs/mpt";
import { MerkleStateManager } from "@ethereumjs/statemanager";
import { bytesToHex, hexToBytes } from "@ethereumjs/util";
import { createVM, runBlock } from "@ethereumjs/vm";
import { text } from "node:stream/consumers";

async function judge({ genesis, blocks }) {
    const genesisState = parseGethGenesisState(genesis);
    const common = createCommonFromGethGenesis(genesis, { chain: "rota" });
    common.setHardforkBy({ blockNumber: 0n, timestamp: BigInt(genesis.timestamp) });

    const blockchain = await createBlockchain({ common, genesisState, hardforkByHeadBlockNumber: true, validateBlocks: true });
    const stateManager = new MerkleStateManager({ common, trie: new MerklePatriciaTrie({ useKeyHashing: true, common }) });
    const vm = await createVM({ common, blockchain, stateManager, setHardfork: true });
    await stateManager.generateCanonicalGenesis(genesisState);

    const told = [];
    let root = blockchain.genesisBlock.header.stateRoot;
    for (const raw of blocks) {
        try {
            const block = createBlockFromRLP(hexToBytes(raw), { common, setHardfork: true });
            // Its header against its parent's: number, time, gas limit, base fee.
            await blockchain.putBlock(block);
            // Executes it, and compares gas, bloom, receipts, requests and the state root.
            await runBlock(vm, { block, root, setHardfork: true });
            root = block.header.stateRoot;
            told.push({ hash: bytesToHex(block.hash()) });
        } catch (error) {
            told.push({ error: error.message });
            break;
        }
    }
    return { genesis: bytesToHex(blockchain.genesisBlock.hash()), blocks: told };
}

const opinions = [];
for (const chain of JSON.parse(await text(process.stdin))) opinions.push(await judge(chain));
process.stdout.write(JSON.stringify(opinions));
