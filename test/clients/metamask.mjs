// How MetaMask finds the nonce of the next transaction: its block tracker says which block is the latest, its nonce tracker
// asks for the count at that very block. `node metamask.mjs <host:port> <chain id> <private key>`.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { PollingBlockTracker } from "@metamask/eth-block-tracker";
import { JsonRpcProvider, Transaction, Wallet } from "ethers";

const { NonceTracker } = createRequire(import.meta.url)("@metamask/nonce-tracker");
const [host, chainId, key] = process.argv.slice(2);
const url = `http://${host}/rollup/${chainId}`;

/** The provider that MetaMask's packages are given: one request, its result or its error. */
let id = 0;
const request = async ({ method, params }) => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: (id += 1), method, params });
    const headers = { "content-type": "application/json" };
    const answer = await (await fetch(url, { method: "POST", headers, body })).json();
    if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
    return answer.result;
};
const provider = {
    request,
    sendAsync: (payload, done) =>
        request(payload).then((result) => done(null, { id: payload.id, jsonrpc: "2.0", result }), done),
};
const blockTracker = new PollingBlockTracker({ provider, pollingInterval: 100 });
const submitted = [];
const confirmed = [];
const nonces = new NonceTracker({
    provider,
    blockTracker,
    getPendingTransactions: () => submitted,
    getConfirmedTransactions: () => confirmed,
});

// What the network controller asks before it uses an endpoint.
assert.equal(await request({ method: "net_version", params: [] }), chainId);
const latest = await request({ method: "eth_getBlockByNumber", params: ["latest", false] });
assert.ok(latest.baseFeePerGas, "the network takes fees of EIP-1559");

const wallet = new Wallet(key);
const reader = new JsonRpcProvider(url);
const meta = (nonce) => ({ status: "submitted", history: [], txParams: { from: wallet.address, nonce: `0x${nonce.toString(16)}` } });
for (let round = 0; round < 3; round += 1) {
    const lock = await nonces.getNonceLock(wallet.address.toLowerCase());
    const { baseCount } = lock.nonceDetails.network.details;
    assert.equal(lock.nextNonce, baseCount + submitted.length);
    const fields = { chainId, nonce: lock.nextNonce, gasLimit: 21_000, to: wallet.address, value: 1 };
    const fee = { type: 2, maxFeePerGas: 2_000_000_001n, maxPriorityFeePerGas: 1_000_000_000n };
    const raw = await wallet.signTransaction({ ...fields, ...fee });
    const hash = await request({ method: "eth_sendRawTransaction", params: [raw] });
    assert.equal(hash, Transaction.from(raw).hash);
    submitted.push(meta(lock.nextNonce));
    lock.releaseLock();

    await reader.waitForTransaction(hash, 1, 120_000);
    // The next block that the tracker has seen is one at which the transaction counts.
    const { blockNumber } = await reader.getTransactionReceipt(hash);
    while (Number(await blockTracker.checkForLatestBlock()) < blockNumber);
    confirmed.push({ ...submitted.pop(), status: "confirmed" });
}
assert.equal((await nonces.getNonceLock(wallet.address.toLowerCase())).nextNonce, confirmed.length + Number(confirmed[0].txParams.nonce));
console.log("ok");
process.exit(0);
