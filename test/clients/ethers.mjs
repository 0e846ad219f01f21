// What an application does with ethers: `node ethers.mjs <host:port> <chain id> <private key>`, over HTTP and WebSocket.
import assert from "node:assert/strict";
import { Contract, JsonRpcProvider, Wallet, WebSocketProvider } from "ethers";

const [host, chainId, key] = process.argv.slice(2);
const abi = ["event Transfer(address indexed from, address to, uint256 amount)", "function symbol() view returns (string)"];
// An error that nobody catches ends the process, as in an application.
for (const provider of [new JsonRpcProvider(`http://${host}/`), new WebSocketProvider(`ws://${host}/`)]) {
    if (provider instanceof JsonRpcProvider) provider.pollingInterval = 100;
    const wallet = new Wallet(key, provider);
    assert.equal((await provider.getNetwork()).chainId, BigInt(chainId));

    const contract = new Contract(wallet.address, abi, provider);
    let logs = 0;
    await contract.on("Transfer", () => (logs += 1));
    await provider.on({ address: wallet.address }, () => (logs += 1));
    const block = new Promise((resolve) => provider.once("block", resolve));
    const pending = new Promise((resolve) => provider.once("pending", resolve));

    const sent = await wallet.sendTransaction({ to: wallet.address, value: 1n });
    const receipt = await sent.wait(1, 120_000);
    assert.equal(receipt.status, 1);
    assert.ok((await block) >= 1);

    const full = await provider.getBlock(receipt.blockNumber, true);
    assert.ok(full.prefetchedTransactions.some((one) => one.hash === sent.hash));
    assert.equal(await provider.getTransactionCount(wallet.address, receipt.blockNumber), sent.nonce + 1);
    assert.equal(await provider.getTransactionCount(wallet.address, receipt.blockNumber - 1), sent.nonce);
    assert.deepEqual(await provider.getLogs({ address: wallet.address, fromBlock: 0 }), []);
    assert.deepEqual(await contract.queryFilter("Transfer", 0), []);
    assert.ok((await provider.getFeeData()).maxFeePerGas > 0n);
    await assert.rejects(contract.symbol(), (error) => /ask a follower of the rollup/.test(error.info.error.message));

    // A few polls more with the contract's listener.
    // ethers remembers answers for a quarter of a second, also that to its question for the nonce.
    const another = await wallet.sendTransaction({ to: wallet.address, value: 2n, nonce: sent.nonce + 1 });
    await another.wait(1, 120_000);
    // Which of the two it heard of depends on when its filter was there.
    assert.match(String(await pending), /^0x/);
    assert.equal(logs, 0);
    await provider.removeAllListeners();
}
console.log("ok");
process.exit(0);
