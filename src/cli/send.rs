//! `rota send`: a transaction from key to settled batch.

use crate::cli::output::{Output, progress};
use crate::cli::{Owner, ether, keys};
use crate::rpc_client::RpcClient;
use alloy::consensus::{SignableTransaction as _, TxEip1559};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256};
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use clap::{Args, ValueEnum};
use eyre::WrapErr as _;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use url::Url;

/// How often the agent is asked how far the transaction is.
const POLL: Duration = Duration::from_millis(100);

/// How far to follow a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Stage {
    /// Taken by the agent
    Pending,
    /// In a decided block
    Decided,
    /// In a batch that a quorum has signed
    Attested,
    /// In a batch on L1
    Settled,
    /// On L1 at the depth from which nothing returns
    Final,
}

/// Sign a transaction for a rollup, submit it to an agent, and follow it.
#[derive(Args)]
pub(super) struct Options {
    /// JSON-RPC of an agent; http://host:port/rollup/<chain id> for a rollup that is not its default
    #[arg(long, env = "ROTA_RPC", value_name = "URL", default_value = "http://127.0.0.1:8645")]
    rpc: Url,
    /// Receiver
    #[arg(value_name = "ADDRESS")]
    to: Address,
    /// Value in ETH (0.5)
    #[arg(long, value_name = "ETH", default_value = "0", value_parser = ether)]
    value: U256,
    /// Calldata in hexadecimal
    #[arg(long, value_name = "HEX", default_value = "0x")]
    data: Bytes,
    /// How far to follow it
    #[arg(long, value_enum, default_value = "settled")]
    wait: Stage,
    /// Seconds to wait for that at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    owner: Owner,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let key = PrivateKeySigner::from_slice(keys::secret(&options.owner)?.as_slice())
        .wrap_err("owner key")?;
    let agent = RpcClient::new(options.rpc.clone());
    let chain_id: U64 = serde_json::from_value(agent.call("eth_chainId", json!([])).await?)?;
    let nonce = agent.call("eth_getTransactionCount", json!([key.address(), "pending"])).await?;
    let nonce: U64 = serde_json::from_value(nonce)?;
    let price: U256 = serde_json::from_value(agent.call("eth_gasPrice", json!([])).await?)?;
    let price = u128::try_from(price).wrap_err("gas price of the agent")?;

    let call = Transfer { to: options.to, value: options.value, data: options.data };
    let raw = call.sign(&key, chain_id.to(), nonce.to(), price)?;
    let submitted = agent.call("eth_sendRawTransaction", json!([raw])).await?;
    let hash: B256 = serde_json::from_value(submitted)?;

    let waiting = progress(format!("{hash} submitted"));
    let followed = follow(&agent, hash, options.wait, options.timeout, |stage| {
        waiting.set_message(format!("{hash} {stage}"));
    })
    .await;
    waiting.finish_and_clear();
    let state = followed?;
    let stage = state.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
    output.print(format!("{hash} {stage}"), &json!({ "hash": hash, "transaction": state }));
    Ok(())
}

/// What a transaction is to do.
pub(super) struct Transfer {
    pub(super) to: Address,
    pub(super) value: U256,
    pub(super) data: Bytes,
}

impl Transfer {
    /// The signed transaction. `price` is what a unit of gas costs now, in wei.
    pub(super) fn sign(
        self,
        key: &PrivateKeySigner,
        chain_id: u64,
        nonce: u64,
        price: u128,
    ) -> eyre::Result<Bytes> {
        let transaction = TxEip1559 {
            chain_id,
            nonce,
            gas_limit: 100_000,
            max_fee_per_gas: price.saturating_mul(2),
            max_priority_fee_per_gas: price.min(1_000_000_000),
            to: TxKind::Call(self.to),
            value: self.value,
            access_list: Vec::new().into(),
            input: self.data,
        };
        let signature = key.sign_hash_sync(&transaction.signature_hash())?;
        Ok(Bytes::from(transaction.into_signed(signature).encoded_2718()))
    }
}

/// Asks until the transaction is as far as `goal`; tells `news` of each stage.
async fn follow(
    agent: &RpcClient,
    hash: B256,
    goal: Stage,
    seconds: u64,
    news: impl Fn(&str),
) -> eyre::Result<Value> {
    let start = Instant::now();
    loop {
        let state = agent.call("rota_getTransaction", json!([hash])).await?;
        let stage = state.get("status").and_then(Value::as_str).unwrap_or("unknown");
        news(stage);
        if Stage::from_str(stage, true).is_ok_and(|stage| stage >= goal) {
            return Ok(state);
        }
        if start.elapsed() >= Duration::from_secs(seconds) {
            eyre::bail!("{hash} is {stage} after {seconds} s; it goes on without this command");
        }
        sleep(POLL).await;
    }
}
