//! Which blocks a member votes for (R16, R17). Consensus-critical.
//!
//! What depends on the block and the chain before it is judged once and for ever. What depends on this agent's clock or
//! its view of L1 can only turn from *not yet* to *valid*, and is not asked again on sync and replay: a rule that turned
//! a valid block invalid with time would, with locks, be a deadlock.

use super::heights::Term;
use super::source::BlockSource;
use crate::batch::body;
use crate::batch::payload::max_body_bytes;
use crate::domain::{
    Block, BlockHeader, Height, InvalidTransaction, Millis, Params, RollupTransaction,
    SignedTransaction, Signer,
};
use crate::l1::Mirror;
use crate::storage::IncludedTransaction;
use std::sync::Arc;

/// Why no member that follows the rules ever votes for a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    #[error("{field} is {actual}, expected {expected}")]
    Mismatch { field: &'static str, expected: String, actual: String },
    #[error("proposer {proposer} has no turn at height {height}")]
    NotAProposer { proposer: Signer, height: Height },
    #[error("timestamp {actual} is before {earliest}")]
    TooEarly { earliest: Millis, actual: Millis },
    #[error("L1 origin {actual} is before that of the parent, {parent}")]
    OriginGoesBack { parent: u64, actual: u64 },
    #[error("the header does not commit to the {count} transactions of the body")]
    OtherBody { count: usize },
    #[error("body is {actual} bytes, at most {limit}")]
    TooLarge { limit: usize, actual: usize },
    #[error(transparent)]
    Transaction(#[from] InvalidTransaction),
}

/// Why a block cannot be voted for at this moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotYet {
    #[error("L1 origin {number} is not at depth here")]
    Origin { number: u64 },
    #[error("timestamp {timestamp} is ahead of the clock, {now}")]
    Ahead { timestamp: Millis, now: Millis },
    #[error("rollup {rollup} is not open at L1 block {origin}")]
    Closed { rollup: crate::domain::RollupId, origin: u64 },
}

fn expect<T: PartialEq + ToString>(
    field: &'static str,
    expected: &T,
    actual: &T,
) -> Result<(), Invalid> {
    if expected == actual {
        return Ok(());
    }
    Err(Invalid::Mismatch { field, expected: expected.to_string(), actual: actual.to_string() })
}

/// Whether a body is the one that its header commits to. Asked first: parts are unsigned, and a foreign body must not
/// speak against a true header.
pub(super) async fn judge_commitment(block: &Arc<Block>) -> Result<(), Invalid> {
    let committed = Arc::clone(block);
    if blocking(move || committed.header.commits_to(&committed.transactions)).await {
        return Ok(());
    }
    Err(Invalid::OtherBody { count: block.transactions.len() })
}

/// Judges a header by the chain that it extends. `round` is the latest in which it may have been proposed first.
pub(super) fn judge_header(term: &Term, header: &BlockHeader, round: u32) -> Result<(), Invalid> {
    let parent = &term.parent;
    expect("generation", &parent.generation, &header.generation)?;
    expect("height", &term.height, &header.height)?;
    expect("epoch", &term.epoch, &header.epoch)?;
    expect("parentHash", &term.parent_hash, &header.parent_hash)?;
    // The forced queue is not read yet: whoever moves this number speaks for a queue that nobody can check (R17).
    expect("forcedThrough", &parent.forced_through, &header.forced_through)?;
    let proposer = Signer(header.proposer.0.0);
    if !term.set.has_proposed(&proposer, round) {
        return Err(Invalid::NotAProposer { proposer, height: term.height });
    }
    if header.l1_origin_number < parent.l1_origin_number {
        return Err(Invalid::OriginGoesBack {
            parent: parent.l1_origin_number,
            actual: header.l1_origin_number,
        });
    }
    if header.l1_origin_number == parent.l1_origin_number {
        expect("l1OriginHash", &parent.l1_origin_hash, &header.l1_origin_hash)?;
    }
    if header.timestamp < parent.timestamp {
        return Err(Invalid::TooEarly { earliest: parent.timestamp, actual: header.timestamp });
    }
    Ok(())
}

/// Judges a body that its header commits to: size, and every transaction. Recovers senders on all cores, save those that
/// the mempool has recovered already. Returns what the index needs to know.
pub(super) async fn judge_body(
    params: &Params,
    block: &Arc<Block>,
    source: &dyn BlockSource,
) -> Result<Vec<IncludedTransaction>, Invalid> {
    let limit = max_body_bytes(params);
    let actual = body::body_bytes(&block.transactions);
    if actual > limit {
        return Err(Invalid::TooLarge { limit, actual });
    }
    let known: Vec<_> =
        block.transactions.iter().map(|tx| source.known(tx.rollup, tx.hash())).collect();
    let unknown: Vec<usize> =
        known.iter().enumerate().filter(|(_, found)| found.is_none()).map(|(i, _)| i).collect();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = unknown.len().div_ceil(cores).max(16);
    let tasks: Vec<_> = unknown
        .chunks(share)
        .map(|places| {
            let (block, places) = (Arc::clone(block), places.to_vec());
            blocking(move || recover(&block.transactions, &places, limit))
        })
        .collect();
    let mut recovered = Vec::with_capacity(unknown.len());
    for task in futures::future::join_all(tasks).await {
        recovered.extend(task?);
    }
    let mut recovered = recovered.into_iter();
    Ok(known.into_iter().filter_map(|found| found.or_else(|| recovered.next())).collect())
}

/// Decodes the transactions at `places`.
fn recover(
    transactions: &[RollupTransaction],
    places: &[usize],
    limit: usize,
) -> Result<Vec<IncludedTransaction>, InvalidTransaction> {
    places
        .iter()
        .filter_map(|index| transactions.get(*index).map(|tx| (*index, tx)))
        .map(|(index, tx)| {
            let signed = SignedTransaction::decode_all(std::slice::from_ref(tx), limit)
                .map_err(|error| InvalidTransaction { index, reason: error.reason })?;
            signed
                .into_iter()
                .next()
                .map(|tx| IncludedTransaction { hash: tx.hash, sender: tx.sender, nonce: tx.nonce })
                .ok_or_else(|| unreachable!("one transaction decodes to one"))
        })
        .collect()
}

/// Runs `work` on a thread that may be busy for a while.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("checking a block does not panic")
}

/// Judges what only this agent's clock and view of L1 can say.
pub(super) fn judge_view(
    mirror: &Mirror,
    block: &Block,
    now: Millis,
) -> Result<Result<(), NotYet>, Invalid> {
    let header = &block.header;
    let number = header.l1_origin_number;
    let at_depth = mirror.at_depth.is_some_and(|newest| number <= newest.number);
    let origin = mirror.blocks.get(&number).filter(|seen| seen.hash == header.l1_origin_hash);
    let (true, Some(origin)) = (at_depth, origin) else {
        return Ok(Err(NotYet::Origin { number }));
    };
    let earliest = origin.timestamp.to_millis();
    if header.timestamp < earliest {
        return Err(Invalid::TooEarly { earliest, actual: header.timestamp });
    }
    let latest = now.get().saturating_add(mirror.params.drift().get());
    if header.timestamp.get() > latest {
        return Ok(Err(NotYet::Ahead { timestamp: header.timestamp, now }));
    }
    let closed = block.transactions.iter().find(|tx| !mirror.is_open(tx.rollup, number));
    Ok(closed.map_or(Ok(()), |tx| Err(NotYet::Closed { rollup: tx.rollup, origin: number })))
}
