// A wallet's way through viem: `node viem.mjs <JSON-RPC of an agent> <chain id> <private key>`. Sends one transaction to
// the URL that it is given, and prints what viem makes of the answers, as JSON.
import { createPublicClient, createWalletClient, defineChain, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [url, chainId, key] = process.argv.slice(2);
const chain = defineChain({
    id: Number(chainId),
    name: "rota",
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [url] } },
});
const account = privateKeyToAccount(key);
const transport = http(url);
const reader = createPublicClient({ chain, transport, pollingInterval: 100 });
const wallet = createWalletClient({ account, chain, transport });

const hash = await wallet.sendTransaction({ to: account.address, value: 1n });
const receipt = await reader.waitForTransactionReceipt({ hash, timeout: 60_000 });
const transaction = await reader.getTransaction({ hash });
const block = await reader.getBlock({ blockHash: receipt.blockHash });
console.log(
    JSON.stringify({
        hash,
        status: receipt.status,
        listed: block.transactions.includes(hash),
        from: transaction.from,
        nonce: transaction.nonce,
        next: await reader.getTransactionCount({ address: account.address }),
        chainId: await reader.getChainId(),
    }),
);
