// What an application does with viem: `node viem.mjs <host:port> <chain id> <private key>`. Everything over HTTP and over
// WebSocket; exits with an error when something is not as viem promises.
import assert from "node:assert/strict";
import { createPublicClient, createWalletClient, defineChain, http, parseAbi, webSocket } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [host, chainId, key] = process.argv.slice(2);
const account = privateKeyToAccount(key);
const urls = { http: [`http://${host}/`], webSocket: [`ws://${host}/`] };
const nativeCurrency = { name: "Ether", symbol: "ETH", decimals: 18 };
const chain = defineChain({ id: Number(chainId), name: "rota", nativeCurrency, rpcUrls: { default: urls } });
const abi = parseAbi(["function balanceOf(address) view returns (uint256)", "event Transfer(address indexed, address, uint256)"]);

/** Resolves once `watch` has called back with something that `wanted` takes. */
const heard = (watch, wanted) =>
    new Promise((resolve, reject) => {
        const stop = watch(
            (told) => wanted(told) && (stop?.(), resolve(told)),
            (error) => (stop?.(), reject(error)),
        );
    });

// The machine may be busy.
const patience = { timeout: 120_000 };
for (const transport of [http(urls.http[0], patience), webSocket(urls.webSocket[0], patience)]) {
    const reader = createPublicClient({ chain, transport, pollingInterval: 100 });
    const wallet = createWalletClient({ account, chain, transport });

    const block = heard((onBlock, onError) => reader.watchBlocks({ onBlock, onError }), ({ number }) => number > 0n);
    const number = heard((onBlockNumber, onError) => reader.watchBlockNumber({ onBlockNumber, onError }), (number) => number > 0n);
    const pending = heard(
        (onTransactions, onError) => reader.watchPendingTransactions({ onTransactions, onError }),
        (hashes) => hashes.length > 0,
    );
    const failures = [];
    const onError = (error) => failures.push(error);
    const quiet = [
        reader.watchEvent({ address: account.address, onLogs: () => failures.push("a log"), onError }),
        reader.watchContractEvent({ address: account.address, abi, onLogs: () => failures.push("a log"), onError }),
    ];

    const sent = await wallet.sendTransaction({ to: account.address, value: 1n });
    const receipt = await reader.waitForTransactionReceipt({ hash: sent, timeout: 120_000 });
    assert.equal(receipt.status, "success");
    assert.deepEqual(receipt.logs, []);
    assert.match((await block).hash, /^0x/);
    assert.ok((await number) > 0n);

    const full = await reader.getBlock({ blockHash: receipt.blockHash, includeTransactions: true });
    assert.equal(full.transactions[receipt.transactionIndex].hash, sent);
    assert.equal(full.transactions[receipt.transactionIndex].from, account.address.toLowerCase());
    assert.equal(await reader.getBlockTransactionCount({ blockHash: receipt.blockHash }), full.transactions.length);
    const byIndex = await reader.getTransaction({ blockHash: receipt.blockHash, index: receipt.transactionIndex });
    assert.equal(byIndex.hash, sent);

    const nonce = byIndex.nonce;
    const count = (at) => reader.getTransactionCount({ address: account.address, ...at });
    assert.equal(await count({ blockNumber: receipt.blockNumber }), nonce + 1);
    assert.equal(await count({ blockNumber: receipt.blockNumber - 1n }), nonce);
    assert.equal(await count({ blockTag: "earliest" }), 0);
    assert.ok((await count({ blockTag: "safe" })) <= nonce + 1);

    const request = await wallet.prepareTransactionRequest({ to: account.address, value: 2n });
    const serializedTransaction = await wallet.signTransaction(request);
    const now = await wallet.sendRawTransactionSync({ serializedTransaction, timeout: 20_000 });
    assert.equal(now.status, "success");

    assert.deepEqual(await reader.getLogs({ address: account.address, fromBlock: "earliest" }), []);
    const filter = await reader.createBlockFilter();
    const next = await wallet.sendTransaction({ to: account.address, value: 3n });
    await reader.waitForTransactionReceipt({ hash: next, timeout: 120_000 });
    assert.ok((await reader.getFilterChanges({ filter })).length > 0);
    assert.equal(await reader.uninstallFilter({ filter }), true);
    assert.equal(await reader.getBlobBaseFee(), 1n);
    assert.ok((await reader.getFeeHistory({ blockCount: 4, rewardPercentiles: [50] })).baseFeePerGas.length > 1);

    // Which of the transactions it heard of first depends on when its filter was there.
    assert.ok((await pending)[0].startsWith("0x"));

    // What takes execution says so, and is not tried again.
    const read = reader.readContract({ address: account.address, abi, functionName: "balanceOf", args: [account.address] });
    await assert.rejects(read, /ask a follower of the rollup/);
    await assert.rejects(reader.getStorageAt({ address: account.address, slot: "0x0" }), /ask a follower of the rollup/);

    quiet.forEach((stop) => stop());
    assert.deepEqual(failures, []);
}
console.log("ok");
process.exit(0);
