//! `rota force`: a transaction past every sequencer, through L1.

use crate::batch::payload::max_body_bytes;
use crate::cli::output::{Output, progress};
use crate::cli::send::{self, Transfer};
use crate::cli::{Chain, Owner, ether, keys, units};
use crate::config::ConfigError;
use crate::domain::{Deployment, Params, RollupId, Seconds, SignedTransaction};
use crate::l1::force::{self, Enqueued};
use crate::l1::{Account, Client};
use crate::rpc_client::RpcClient;
use alloy::primitives::{Address, Bytes, TxKind, U64, U256};
use alloy::signers::local::PrivateKeySigner;
use clap::{Args, ValueEnum};
use eyre::WrapErr as _;
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use url::Url;

/// How often L1 is asked whether the entry is in.
const POLL: Duration = Duration::from_secs(1);
/// What a unit of gas is assumed to cost on the rollup, in wei: nobody is asked.
const GAS_PRICE_WEI: u128 = 2_000_000_000;

/// How far to follow an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// In the queue
    Queued,
    /// Consumed on L1, by a batch or by escape
    Settled,
    /// On L1 at the depth from which nothing returns
    Final,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Settled => "settled",
            Self::Final => "final",
        }
    }
}

/// Force a transaction into a rollup through L1: no sequencer can leave it out
///
/// The transaction goes into the forced queue on L1, for a fee that burns. Sequencers must take it by its deadline; if none
/// settles anything any more, `rota escape` lets it in. Needs L1 alone: name the nonce, or an agent to ask (--rpc).
#[derive(Args)]
pub(super) struct Options {
    /// Receiver; the owner's key signs the transaction
    #[arg(value_name = "ADDRESS", required_unless_present = "raw", conflicts_with = "raw")]
    to: Option<Address>,
    /// A transaction that is signed already, in hexadecimal
    #[arg(long, value_name = "HEX")]
    raw: Option<Bytes>,
    /// Chain id of the rollup; that of a signed transaction is in it
    #[arg(long, value_name = "CHAIN_ID", required_unless_present = "raw", value_parser = clap::value_parser!(u64).range(1..))]
    rollup: Option<u64>,
    /// Value in ETH (0.5)
    #[arg(long, value_name = "ETH", default_value = "0", value_parser = ether, conflicts_with = "raw")]
    value: U256,
    /// Calldata in hexadecimal
    #[arg(long, value_name = "HEX", default_value = "0x", conflicts_with = "raw")]
    data: Bytes,
    /// The sender's next nonce on the rollup; an agent is asked without it
    #[arg(long, value_name = "NONCE", value_parser = send::nonce, conflicts_with = "raw")]
    nonce: Option<u64>,
    /// JSON-RPC of an agent, to ask for the nonce; http://host:port/rollup/<chain id> for a rollup that is not its default
    #[arg(long, env = "ROTA_RPC", value_name = "URL")]
    rpc: Option<Url>,
    /// Force it even if the queue holds the very same transaction: the fee burns again, and at most one of the two has an effect
    #[arg(long)]
    again: bool,
    /// How far to follow it
    #[arg(long, value_enum, default_value = "queued")]
    wait: Stage,
    /// Seconds to wait for that at most; until it can escape without this
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let signed = transaction(&options).await?;
    let rollup = signed.transaction.rollup;
    let (client, deployment) = options.chain.open().await?;
    let params = client.verify(&deployment).await?;
    let account = options.owner.account(client.clone())?;
    let (limit, actual) = (max_body_bytes(&params), signed.transaction.raw.len());
    if actual > limit {
        eyre::bail!(
            "the transaction is {actual} bytes, more than a block may hold ({limit}): L1 would take it and burn the fee, and it \
             would have no effect"
        );
    }

    let found = force::find(&client, &deployment, &signed.transaction).await?;
    if let Some(index) = found.filter(|_| !options.again) {
        eyre::bail!(
            "entry {index} of the forced queue is this very transaction ({}): to force it again would burn the fee for \
             nothing. Without --nonce an agent is asked for one, which counts entries only once they are ordered: give the \
             next --nonce for another transaction, or --again to insist",
            signed.hash
        );
    }

    let waiting = progress("waiting for L1");
    let done = enqueue(&account, &deployment, &params, signed.clone()).await;
    waiting.finish_and_clear();
    let Queued { entry, due_at_block, open_from, now } = done?;
    let due_in = params.forced_deadline_blocks.saturating_mul(params.l1_block_seconds);
    let (index, hash) = (entry.index, signed.hash);
    if !output.json() {
        println!(
            "{hash}: entry {index} of the forced queue, in L1 block {}; {} ETH burned\n\
             no block with L1 origin {due_at_block} (in about {due_in} s) or a later one leaves it out; should nothing settle \
             any more, rota escape lets it in from L1 time {open_from} (in {} s)",
            entry.block,
            units(entry.fee_wei),
            open_from.get().saturating_sub(now.get())
        );
    }

    let patience = options.timeout.unwrap_or(open_from.get().saturating_sub(now.get()));
    let waiting = progress(format!("entry {index} queued"));
    let followed = follow(&client, &deployment, &params, index, options.wait, patience).await;
    waiting.finish_and_clear();
    let stage = followed?.name();
    output.print(
        format!("entry {index} {stage}"),
        &json!({
            "hash": hash,
            "rollup": rollup,
            "sender": signed.sender,
            "entry": index,
            "feeWei": entry.fee_wei.to_string(),
            "l1Block": entry.block,
            "l1Transaction": entry.tx_hash,
            "dueAtBlock": due_at_block,
            "dueInSeconds": due_in,
            "escapeOpenFrom": open_from,
            "status": stage,
        }),
    );
    Ok(())
}

/// An entry, and what becomes of it.
struct Queued {
    entry: Enqueued,
    due_at_block: u64,
    open_from: Seconds,
    now: Seconds,
}

async fn enqueue(
    account: &Account,
    deployment: &Deployment,
    params: &Params,
    signed: SignedTransaction,
) -> eyre::Result<Queued> {
    let entry = force::enqueue(account, deployment, signed.transaction).await?;
    let (enqueued, now) = force::times(account.client(), deployment, entry.index).await?;
    Ok(Queued {
        entry,
        due_at_block: entry.block.saturating_add(params.forced_deadline_blocks),
        open_from: force::escape_open_from(params, enqueued),
        now,
    })
}

/// The transaction to force: given, or built and signed with the owner's key.
async fn transaction(options: &Options) -> eyre::Result<SignedTransaction> {
    let raw = match (&options.raw, options.to, options.rollup) {
        (Some(raw), ..) => raw.clone(),
        (None, Some(to), Some(rollup)) => {
            let key = PrivateKeySigner::from_slice(keys::secret(&options.owner)?.as_slice())
                .wrap_err("owner key")?;
            let nonce = nonce(options, key.address()).await?;
            let (value, data) = (options.value, options.data.clone());
            let (to, gas_limit) = (TxKind::Call(to), None);
            Transfer { to, value, data, gas_limit }.sign(&key, rollup, nonce, GAS_PRICE_WEI)?
        }
        // clap asks for both where there are no bytes.
        (None, ..) => eyre::bail!("name a receiver and a rollup, or give --raw"),
    };
    let signed = SignedTransaction::decode(raw, usize::MAX)
        .wrap_err("L1 would take it and burn the fee, and it would have no effect")?;
    let actual = signed.transaction.rollup;
    if let Some(expected) = options.rollup.map(RollupId::new)
        && expected != actual
    {
        eyre::bail!(
            "the transaction is signed for rollup {actual}, not for {expected}: under that it would have no effect"
        );
    }
    Ok(signed)
}

async fn nonce(options: &Options, sender: Address) -> eyre::Result<u64> {
    if let Some(nonce) = options.nonce {
        return Ok(nonce);
    }
    let rpc = options.rpc.clone().ok_or(ConfigError::Missing {
        setting: "nonce",
        expected: "the sender's next nonce on the rollup, or --rpc with an agent to ask",
    })?;
    let agent = RpcClient::new(rpc);
    let nonce = agent.call("eth_getTransactionCount", json!([sender, "pending"])).await?;
    Ok(serde_json::from_value::<U64>(nonce)?.to())
}

/// Asks L1 until the entry is as far as `goal`.
async fn follow(
    client: &Client,
    deployment: &Deployment,
    params: &Params,
    entry: u64,
    goal: Stage,
    seconds: u64,
) -> eyre::Result<Stage> {
    if goal == Stage::Queued {
        return Ok(goal);
    }
    let start = Instant::now();
    let mut consumed_by: Option<u64> = None;
    loop {
        let state = force::state(client, deployment, params).await?;
        let (head, settled_for_good) = force::head_and_final(client, params).await?;
        // L1 may take a batch back: then the entry waits again.
        consumed_by = (state.consumed > entry).then(|| consumed_by.unwrap_or(head.number));
        let stage = match consumed_by {
            None => Stage::Queued,
            Some(block) if block > settled_for_good => Stage::Settled,
            Some(_) => Stage::Final,
        };
        if stage == goal || stage == Stage::Final {
            return Ok(stage);
        }
        if start.elapsed() >= Duration::from_secs(seconds) {
            eyre::bail!(
                "entry {entry} is {} after {seconds} s; it goes on without this command. Once it is open to escape, \
                 anybody lets it in: rota escape",
                stage.name()
            );
        }
        sleep(POLL).await;
    }
}
