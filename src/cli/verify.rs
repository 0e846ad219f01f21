//! `rota verify`: the ordered transactions of a rollup from L1 alone.

use crate::cli::output::{self, Output};
use crate::cli::{Chain, registered};
use crate::config::whole;
use crate::derive::{DerivedBatch, Item, Noop};
use crate::domain::{Place, RollupId, SettledBatch};
use crate::l1::{Derived, Replay};
use clap::Args;
use serde::Serialize;
use std::fmt::{self, Display, Write as _};
use std::ops::RangeInclusive;

/// L1 blocks that are read between two news of the progress.
const STEP_BLOCKS: u64 = 2_000;

/// Rebuild a rollup's ordered transactions from L1 alone, and check every certificate and root
///
/// Reads all batches from the deployment on; --from and --to choose which of them are told. Asks no agent. A batch whose
/// payload is not what was signed counts for its forced entries only; it is named, and the command then ends with code 8.
#[derive(Args)]
pub(super) struct Options {
    /// Chain id of the rollup
    #[arg(long, value_name = "CHAIN ID", value_parser = whole::<u64>)]
    rollup: u64,
    /// First batch to tell
    #[arg(long, value_name = "BATCH", default_value_t = 1, value_parser = whole::<u64>)]
    from: u64,
    /// Last batch to tell [default: the last one]
    #[arg(long, value_name = "BATCH", value_parser = whole::<u64>)]
    to: Option<u64>,
    /// Read L1 up to this block [default: the newest, less the depth of an L1 origin]
    #[arg(long, value_name = "NUMBER", value_parser = whole::<u64>)]
    l1_block: Option<u64>,
    #[command(flatten)]
    chain: Chain,
}

/// What L1 holds of a rollup.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verified {
    rollup: u64,
    /// The last L1 block that was read.
    l1_block: u64,
    /// Batches that were checked, told or not.
    checked: u64,
    transactions: Vec<Ordered>,
    /// Transactions of the rollup that stand in a block and have no effect.
    noops: Vec<WithoutEffect>,
    /// Batches whose payload is not what was signed, told or not.
    flawed: Vec<Flawed>,
}

/// Where a transaction stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stand {
    /// Its batch; none of an escape's.
    batch: Option<u64>,
    height: u64,
    /// Its place among the block's own transactions.
    index: Option<u32>,
    /// Its number in the forced queue.
    forced: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ordered {
    #[serde(flatten)]
    stand: Stand,
    hash: String,
    sender: String,
    nonce: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WithoutEffect {
    #[serde(flatten)]
    stand: Stand,
    hash: String,
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flawed {
    batch: u64,
    l1_transaction: String,
    reason: String,
}

/// What L1 holds is not what was signed.
#[derive(Debug, thiserror::Error)]
#[error("batches whose payload is not what was signed: {}", numbers(.0))]
pub(super) struct FlawedBatches(Vec<u64>);

fn numbers(batches: &[u64]) -> String {
    batches.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let params = client.verify(&deployment).await?;
    registered(&client, &deployment, RollupId::new(options.rollup), "check --rollup").await?;
    let depth = params.origin_depth_blocks;
    let last = match options.l1_block {
        Some(number) => number,
        None => client.head().await?.number.saturating_sub(depth),
    };
    let to = options.to.unwrap_or(u64::MAX);
    let mut verified = Verified { rollup: options.rollup, l1_block: last, ..Verified::default() };

    let progress = output::progress("reading L1");
    let mut through = deployment.block;
    let mut replay = Replay::new(client, deployment, params);
    loop {
        through = through.saturating_add(STEP_BLOCKS).min(last);
        for step in replay.advance(through).await? {
            match step {
                Derived::Batch(batch, meaning) => {
                    verified.take(&batch, meaning, &(options.from..=to));
                }
                // An escape belongs to no batch; it is told with the one before.
                Derived::Escape(_, meaning) if (options.from..=to).contains(&verified.checked) => {
                    verified.tell(None, meaning.items, meaning.noops);
                }
                Derived::Escape(..) => {}
            }
        }
        progress.set_message(format!("reading L1: block {through} of {last}"));
        if through >= last {
            break;
        }
    }
    progress.finish_and_clear();

    output.print(text(&verified), &verified);
    let flawed: Vec<u64> = verified.flawed.iter().map(|flawed| flawed.batch).collect();
    if flawed.is_empty() { Ok(()) } else { Err(FlawedBatches(flawed).into()) }
}

impl Verified {
    fn take(&mut self, settled: &SettledBatch, derived: DerivedBatch, told: &RangeInclusive<u64>) {
        let batch = settled.number.get();
        self.checked = self.checked.saturating_add(1);
        if let Some(flaw) = derived.flaw {
            self.flawed.push(Flawed {
                batch,
                l1_transaction: settled.tx_hash.to_string(),
                reason: flaw.to_string(),
            });
        }
        if told.contains(&batch) {
            self.tell(Some(batch), derived.items, derived.noops);
        }
    }

    /// Notes what is the rollup's.
    fn tell(&mut self, batch: Option<u64>, items: Vec<Item>, noops: Vec<Noop>) {
        let rollup = RollupId::new(self.rollup);
        let items = items.into_iter().filter(|item| item.transaction.transaction.rollup == rollup);
        self.transactions.extend(items.map(|Item { place, transaction }| Ordered {
            stand: Stand::new(batch, place),
            hash: transaction.hash.to_string(),
            sender: transaction.sender.to_string(),
            nonce: transaction.nonce,
        }));
        let noops = noops.into_iter().filter(|noop| noop.transaction.rollup == rollup);
        self.noops.extend(noops.map(|noop| WithoutEffect {
            stand: Stand::new(batch, noop.place),
            hash: noop.transaction.hash().to_string(),
            reason: format!("{:?}", noop.reason),
        }));
    }
}

impl Stand {
    fn new(batch: Option<u64>, place: Place) -> Self {
        let (index, forced) = match place {
            Place::Block { index, .. } => (Some(index), None),
            Place::Forced { entry, .. } => (None, Some(entry)),
        };
        Self { batch, height: place.height().get(), index, forced }
    }
}

impl Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.batch {
            Some(batch) => write!(f, "batch {batch}")?,
            None => f.write_str("escape")?,
        }
        write!(f, " height {}", self.height)?;
        match (self.index, self.forced) {
            (Some(index), _) => write!(f, " index {index}"),
            (_, Some(entry)) => write!(f, " forced entry {entry}"),
            (None, None) => Ok(()),
        }
    }
}

fn text(verified: &Verified) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for Ordered { stand, hash, sender, nonce } in &verified.transactions {
        let _ = writeln!(text, "{stand} {hash} from {sender} nonce {nonce}");
    }
    for WithoutEffect { stand, hash, reason } in &verified.noops {
        let _ = writeln!(text, "{stand} {hash} has no effect: {reason}");
    }
    for one in &verified.flawed {
        let _ = writeln!(
            text,
            "batch {} (L1 transaction {}) counts for nothing: {}",
            one.batch, one.l1_transaction, one.reason
        );
    }
    let _ = write!(
        text,
        "{} batches up to L1 block {}: each certificate and root checked; {} transactions of rollup {}, {} without effect",
        verified.checked,
        verified.l1_block,
        verified.transactions.len(),
        verified.rollup,
        verified.noops.len()
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HeaderError;
    use crate::domain::{BatchNumber, L1Block, Seconds};
    use crate::testing::batch_header;
    use alloy::primitives::{Address, B256};

    #[test]
    fn a_flawed_batch_is_named_also_where_it_is_not_told() {
        let mut verified = Verified { rollup: 901, ..Verified::default() };
        let number = BatchNumber::new(7);
        let settled = SettledBatch {
            number,
            header: batch_header(9),
            poster: Address::ZERO,
            signers: 0,
            block: L1Block { number: 3, hash: B256::ZERO, timestamp: Seconds::new(4) },
            tx_hash: B256::repeat_byte(5),
            parent_settled_at: Seconds::new(1),
            payload_bytes: 0,
            payload_tokens: 0,
            late: false,
        };
        let flaw = Some(HeaderError::Mismatch { field: "blocksRoot" });
        let (items, noops, blocks) = (Vec::new(), Vec::new(), Vec::new());
        verified.take(&settled, DerivedBatch { number, items, noops, blocks, flaw }, &(8..=9));

        assert_eq!((verified.checked, verified.flawed.len()), (1, 1));
        let told = text(&verified);
        assert!(told.contains("batch 7") && told.contains("blocksRoot"), "{told}");
    }
}
