//! `rota send`: a transaction from key to settled batch.

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner, ether, keys, registered};
use crate::config::{http_url, redact, whole};
use crate::domain::{Deployment, RollupId};
use crate::rpc_client::{RpcClient, RpcClientError};
use alloy::consensus::{SignableTransaction as _, TxEip1559};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, TxKind, U64, U256, keccak256};
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use clap::{Args, ValueEnum};
use eyre::WrapErr as _;
use serde::Deserialize;
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

/// Sign a transaction for a rollup, submit it, and follow it until it is settled
///
/// Asks first who answers at --rpc: it must be an agent, of the deployment that --deployment names, and speak for a rollup
/// that is registered there (checked on L1, if --l1-rpc and --deployment are known). Otherwise nothing is signed: a
/// transaction for another chain could be used on it by anybody who sees it.
#[derive(Args)]
pub(super) struct Options {
    /// JSON-RPC of an agent; http://host:port/rollup/<chain id> for a rollup that is not its default
    #[arg(long, env = "ROTA_RPC", value_name = "URL", default_value = "http://127.0.0.1:8645", value_parser = http_url)]
    rpc: Url,
    /// Receiver
    #[arg(value_name = "ADDRESS", required_unless_present = "create", conflicts_with = "create")]
    to: Option<Address>,
    /// Create a contract: --data is its creation code
    #[arg(long, requires = "data")]
    create: bool,
    /// Chain id of the rollup; nothing is signed if the agent speaks for another one
    #[arg(long, value_name = "CHAIN_ID", value_parser = whole::<u64>)]
    rollup: Option<u64>,
    /// Value in ETH (0.5)
    #[arg(long, value_name = "ETH", default_value = "0", value_parser = ether)]
    value: U256,
    /// Calldata in hexadecimal
    #[arg(long, value_name = "HEX")]
    data: Option<Bytes>,
    /// The sender's next nonce; the agent is asked without it
    #[arg(long, value_name = "NONCE", value_parser = nonce)]
    nonce: Option<u64>,
    /// Gas limit; what the bytes cost anywhere, and 100000 for what they do, without it: agents order and do not execute
    #[arg(long, value_name = "GAS", value_parser = clap::value_parser!(u64).range(21_000..))]
    gas_limit: Option<u64>,
    /// How far to follow it
    #[arg(long, value_enum, default_value = "settled")]
    wait: Stage,
    /// Seconds to wait for that at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

/// Who answers is not who was meant. Nothing was signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WrongAgent {
    /// It knows no method of agents: perhaps an L1 node.
    #[error(
        "rpc: what answers at {url} is no Rota agent ({reason}); nothing was signed, because a transaction that is signed \
         for another chain counts there"
    )]
    NotAnAgent { url: String, reason: String },
    /// It belongs to other contracts.
    #[error(
        "rpc: the agent at {url} belongs to another deployment: settlement {actual} on L1 {actual_chain}, expected \
         {expected} on L1 {expected_chain}; nothing was signed"
    )]
    OtherDeployment {
        url: String,
        actual: Address,
        actual_chain: u64,
        expected: Address,
        expected_chain: u64,
    },
    /// It speaks for another rollup than was asked for.
    #[error(
        "rpc: {url} speaks for rollup {actual}, expected {expected}; nothing was signed. Try {url}/rollup/{expected}"
    )]
    OtherRollup { url: String, actual: u64, expected: u64 },
    /// It names L1 itself as its chain.
    #[error(
        "rpc: {url} speaks for chain {chain_id}, which is L1 and no rollup; nothing was signed"
    )]
    IsL1 { url: String, chain_id: u64 },
}

/// What an agent tells of itself, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    l1_chain_id: u64,
    settlement: Address,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let agent = RpcClient::new(options.rpc.clone());
    let chain_id = meet(&agent, &options).await?;
    let key = PrivateKeySigner::from_slice(keys::secret(&options.owner)?.as_slice())
        .wrap_err("owner key")?;
    let nonce = match options.nonce {
        Some(nonce) => nonce,
        None => {
            let params = json!([key.address(), "pending"]);
            let told = agent.call("eth_getTransactionCount", params).await?;
            serde_json::from_value::<U64>(told).wrap_err("the agent's answer: nonce")?.to()
        }
    };
    let price = agent.call("eth_gasPrice", json!([])).await?;
    let price: U256 = serde_json::from_value(price).wrap_err("the agent's answer: gas price")?;
    let price = u128::try_from(price).wrap_err("the agent's answer: gas price")?;

    let to = options.to.map_or(TxKind::Create, TxKind::Call);
    let data = options.data.unwrap_or_default();
    let call = Transfer { to, value: options.value, data, gas_limit: options.gas_limit };
    let raw = call.sign(&key, chain_id, nonce, price)?;
    let hash = keccak256(&raw);
    // The sender has to know it whatever happens from here on.
    match output.json() {
        true => eprintln!("{hash}"),
        false => println!("{hash}"),
    }
    let submitted = agent.call("eth_sendRawTransaction", json!([raw])).await;
    submitted.map_err(|error| match &error {
        RpcClientError::Unreachable { .. } => eyre::Report::new(error)
            .wrap_err(format!("{hash} may have been taken: ask with rota_getTransaction")),
        RpcClientError::Refused { .. } => eyre::Report::new(error),
    })?;

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

/// Finds out who answers before anything is signed. Returns the chain id to sign for.
async fn meet(agent: &RpcClient, options: &Options) -> eyre::Result<u64> {
    let url = redact(agent.url());
    let told: Told = match agent.call("rota_status", json!([])).await {
        Ok(status) => serde_json::from_value(status).map_err(|error| WrongAgent::NotAnAgent {
            url: url.clone(),
            reason: error.to_string(),
        })?,
        Err(RpcClientError::Refused { message, .. }) => {
            return Err(WrongAgent::NotAnAgent { url, reason: message }.into());
        }
        Err(error) => return Err(error.into()),
    };
    let answer = agent.call("eth_chainId", json!([])).await?;
    let chain_id =
        serde_json::from_value::<U64>(answer).wrap_err("the agent's answer: chain id")?;
    let chain_id: u64 = chain_id.to();
    let deployment = match options.chain.deployment {
        Some(_) => Some(options.chain.settings().deployment()?),
        None => None,
    };
    judge(&url, chain_id, &told, options.rollup, deployment.as_ref())?;
    if deployment.is_some() && options.chain.l1_rpc.is_some() {
        let (client, deployment) = options.chain.open().await?;
        let advice = "nothing was signed. Check --rpc";
        registered(&client, &deployment, RollupId::new(chain_id), advice).await?;
    }
    Ok(chain_id)
}

/// Whether who answered is who was meant.
fn judge(
    url: &str,
    chain_id: u64,
    told: &Told,
    rollup: Option<u64>,
    deployment: Option<&Deployment>,
) -> Result<(), WrongAgent> {
    let url = url.to_owned();
    if let Some(expected) = deployment
        && (expected.settlement, expected.chain_id) != (told.settlement, told.l1_chain_id)
    {
        return Err(WrongAgent::OtherDeployment {
            url,
            actual: told.settlement,
            actual_chain: told.l1_chain_id,
            expected: expected.settlement,
            expected_chain: expected.chain_id,
        });
    }
    match rollup {
        _ if chain_id == told.l1_chain_id => Err(WrongAgent::IsL1 { url, chain_id }),
        Some(expected) if expected != chain_id => {
            Err(WrongAgent::OtherRollup { url, actual: chain_id, expected })
        }
        _ => Ok(()),
    }
}

/// A nonce that a transaction can have: they end one below the largest number (EIP-2681).
pub(super) fn nonce(text: &str) -> Result<u64, &'static str> {
    let nonce = text.parse().ok().filter(|nonce| *nonce < u64::MAX);
    nonce.ok_or("expected a whole number below 2^64 - 1")
}

/// What a transaction is to do.
pub(super) struct Transfer {
    pub(super) to: TxKind,
    pub(super) value: U256,
    pub(super) data: Bytes,
    pub(super) gas_limit: Option<u64>,
}

/// Gas that a transaction without a limit has for what it does, beyond what its bytes cost.
const EXECUTION_GAS: u64 = 100_000;

impl Transfer {
    /// What every EVM asks of a transaction before it runs (EIP-2028, EIP-3860, EIP-7623).
    fn intrinsic_gas(&self) -> u64 {
        let length = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let zeros = length(self.data.iter().filter(|byte| **byte == 0).count());
        let others = length(self.data.len()).saturating_sub(zeros);
        let tokens = others.saturating_mul(4).saturating_add(zeros);
        let creation = match self.to {
            TxKind::Call(_) => 0,
            TxKind::Create => {
                length(self.data.len().div_ceil(32)).saturating_mul(2).saturating_add(32_000)
            }
        };
        let usual = tokens.saturating_mul(4).saturating_add(creation);
        usual.max(tokens.saturating_mul(10)).saturating_add(21_000)
    }

    /// The limit that was given; else one with which the transaction is valid and can do something. What a new contract's
    /// code costs to be kept is in it.
    fn gas_limit(&self) -> u64 {
        let kept = match self.to {
            TxKind::Call(_) => 0,
            TxKind::Create => {
                u64::try_from(self.data.len()).unwrap_or(u64::MAX).saturating_mul(200)
            }
        };
        let enough = self.intrinsic_gas().saturating_add(EXECUTION_GAS).saturating_add(kept);
        self.gas_limit.unwrap_or(enough)
    }

    /// The signed transaction. `price` is what a unit of gas costs now, in wei.
    ///
    /// # Errors
    ///
    /// When the gas limit does not even pay for the bytes.
    pub(super) fn sign(
        self,
        key: &PrivateKeySigner,
        chain_id: u64,
        nonce: u64,
        price: u128,
    ) -> eyre::Result<Bytes> {
        let (gas_limit, least) = (self.gas_limit(), self.intrinsic_gas());
        eyre::ensure!(
            gas_limit >= least,
            "--gas-limit: expected at least {least}, which the bytes of this transaction cost alone, found {gas_limit}"
        );
        let transaction = TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: price.saturating_mul(2),
            max_priority_fee_per_gas: price.min(1_000_000_000),
            to: self.to,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told { l1_chain_id: 1, settlement: Address::repeat_byte(5) }
    }

    fn deployment() -> Deployment {
        let zero = Address::ZERO;
        Deployment {
            chain_id: 1,
            block: 0,
            stake_token: zero,
            registry: zero,
            settlement: Address::repeat_byte(5),
            tally: zero,
            slasher: zero,
            reward_pool: zero,
            rollups: zero,
            guardian: zero,
        }
    }

    #[test]
    fn signs_for_an_agent_of_the_deployment_and_for_nobody_else() {
        let ours = deployment();
        assert!(judge("u", 901, &told(), None, Some(&ours)).is_ok());
        assert!(judge("u", 901, &told(), Some(901), None).is_ok());

        let refused = |chain_id, told: &Told, rollup, deployment: Option<&Deployment>| {
            judge("http://a/", chain_id, told, rollup, deployment).unwrap_err().to_string()
        };
        let l1 = refused(1, &told(), None, Some(&ours));
        assert!(l1.contains("chain 1, which is L1"), "{l1}");
        let other = refused(902, &told(), Some(901), Some(&ours));
        assert!(other.contains("speaks for rollup 902, expected 901"), "{other}");
        let stranger = Told { settlement: Address::repeat_byte(6), ..told() };
        let stranger = refused(901, &stranger, Some(901), Some(&ours));
        assert!(stranger.contains("another deployment"), "{stranger}");
        let elsewhere = Told { l1_chain_id: 2, ..told() };
        let elsewhere = refused(901, &elsewhere, None, Some(&ours));
        assert!(elsewhere.contains("on L1 2, expected"), "{elsewhere}");
        for text in [l1, other, stranger] {
            assert!(text.contains("nothing was signed"), "{text}");
        }
    }

    #[test]
    fn gas_follows_the_bytes() {
        let of = |to, data: Vec<u8>| {
            Transfer { to, value: U256::ZERO, data: data.into(), gas_limit: None }.intrinsic_gas()
        };
        let call = TxKind::Call(Address::ZERO);
        assert_eq!(of(call, vec![]), 21_000);
        // EIP-7623: ten a token where the bytes are most of it.
        assert_eq!(of(call, vec![0, 1]), 21_000 + 10 * 5);
        assert_eq!(of(TxKind::Create, vec![1; 64]), 21_000 + 32_000 + 2 * 2 + 16 * 64);
        assert_eq!(of(call, vec![7; 10_000]), 21_000 + 40 * 10_000);
    }

    #[test]
    fn a_limit_below_what_the_bytes_cost_is_refused_with_the_least() {
        let key = PrivateKeySigner::random();
        let data = Bytes::from(vec![1; 100]);
        let to = TxKind::Call(Address::ZERO);
        let with = |gas_limit| Transfer { to, value: U256::ZERO, data: data.clone(), gas_limit };
        let refused = with(Some(24_999)).sign(&key, 901, 0, 1).unwrap_err().to_string();
        assert!(refused.contains("at least 25000"), "{refused}");
        assert!(with(Some(25_000)).sign(&key, 901, 0, 1).is_ok());
        assert!(with(None).sign(&key, 901, 0, u128::MAX).is_ok());
    }

    #[test]
    fn nonces_end_one_below_the_largest_number() {
        assert_eq!(nonce("18446744073709551614"), Ok(u64::MAX - 1));
        for text in ["18446744073709551615", "18446744073709551616", "-1", "", "0x1", "1.0"] {
            assert!(nonce(text).is_err(), "{text}");
        }
    }
}
