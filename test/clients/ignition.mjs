// Deploying with Hardhat Ignition's engine: `node ignition.mjs <host:port> <chain id> <private key>`. Ignition tries each
// transaction with `eth_call` before it sends it; that takes execution. Against an agent alone it says so and sends nothing;
// with somebody who executes beside the agent (here one who lets everything pass), the agent does the rest.
import assert from "node:assert/strict";
import { buildModule, deploy } from "@nomicfoundation/ignition-core";
import { Wallet, getCreateAddress } from "ethers";

const [host, chainId, key] = process.argv.slice(2);
const wallet = new Wallet(key);
const asked = new Map();
const request = async ({ method, params = [] }) => {
    asked.set(method, (asked.get(method) ?? 0) + 1);
    if (method === "eth_accounts") return [wallet.address];
    if (method === "eth_sendTransaction") {
        // What Hardhat does with the accounts of its configuration: it signs.
        const { from, gas, data, ...rest } = params[0];
        const nonce = Number(rest.nonce);
        const raw = await wallet.signTransaction({ ...rest, nonce, data, gasLimit: gas, chainId, type: 2 });
        return request({ method: "eth_sendRawTransaction", params: [raw] });
    }
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const headers = { "content-type": "application/json" };
    const answer = await (await fetch(`http://${host}/`, { method: "POST", headers, body })).json();
    if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
    return answer.result;
};
const besideAFollower = async (call) => (call.method === "eth_call" ? "0x" : request(call));

const artifact = {
    _format: "hh-sol-artifact-1",
    contractName: "Empty",
    sourceName: "Empty.sol",
    abi: [],
    bytecode: "0x600160005360016000f3",
    deployedBytecode: "0x01",
    linkReferences: {},
    deployedLinkReferences: {},
};
const artifactResolver = { loadArtifact: async () => artifact, getBuildInfo: async () => undefined };
const ignitionModule = buildModule("Stub", (m) => {
    const first = m.contract("Empty", [], { id: "First" });
    return { first, second: m.contract("Empty", [], { id: "Second", after: [first] }) };
});
const deployWith = (provider) =>
    deploy({
        artifactResolver,
        provider: { request: provider },
        ignitionModule,
        deploymentParameters: {},
        accounts: [wallet.address],
        config: { blockPollingInterval: 100, requiredConfirmations: 1 },
    });

const start = Number(await request({ method: "eth_getTransactionCount", params: [wallet.address, "latest"] }));
await assert.rejects(deployWith(request), /eth_call needs execution.*ask a follower of the rollup/);
assert.equal(asked.get("eth_sendRawTransaction"), undefined, "nothing was sent");

const result = await deployWith(besideAFollower);
assert.equal(result.type, "SUCCESSFUL_DEPLOYMENT", JSON.stringify(result));
const addresses = Object.values(result.contracts).map((one) => one.address);
const expected = [start, start + 1].map((nonce) => getCreateAddress({ from: wallet.address, nonce }));
assert.deepEqual(addresses, expected);
console.log("ok");
process.exit(0);
