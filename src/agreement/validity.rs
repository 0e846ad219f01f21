//! Which blocks a member votes for (R16, R17). Consensus-critical.
//!
//! What depends on the block and the chain before it is judged once and for ever. What depends on this agent's clock or
//! its view of L1 can only turn from *not yet* to *valid*, and is not asked again on sync and replay: a rule that turned
//! a valid block invalid with time would, with locks, be a deadlock.

use super::heights::Term;
use super::source::BlockSource;
use crate::batch::body;
use crate::batch::payload::max_body_bytes;
use crate::blocking::blocking;
use crate::domain::{
    Block, BlockHeader, FORCED_A_BLOCK, Height, InvalidTransaction, Millis, Params,
    RollupTransaction, Signer,
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
    #[error("L1 origin {actual} is before the earliest, {earliest}")]
    OriginGoesBack { earliest: u64, actual: u64 },
    #[error("forced entries are consumed up to {actual}, expected from {least} to {most}")]
    ForcedThrough { least: u64, most: u64, actual: u64 },
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
    #[error(
        "L1 settled more forced entries than the {parent} of the parent: blocks are missing here"
    )]
    Behind { parent: u64 },
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

/// Whether a body is the one that its header commits to. Asked first: the signature is over the header alone, and a
/// foreign body must not speak against a true header.
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
    expect("generation", &term.generation, &header.generation)?;
    expect("height", &term.height, &header.height)?;
    expect("epoch", &term.epoch, &header.epoch)?;
    expect("parentHash", &term.parent_hash, &header.parent_hash)?;
    let proposer = Signer(header.proposer.0.0);
    if !term.set.has_proposed(&proposer, round) {
        return Err(Invalid::NotAProposer { proposer, height: term.height });
    }
    let earliest = &term.earliest_origin;
    if header.l1_origin_number < earliest.number {
        return Err(Invalid::OriginGoesBack {
            earliest: earliest.number,
            actual: header.l1_origin_number,
        });
    }
    if header.l1_origin_number == earliest.number {
        expect("l1OriginHash", &earliest.hash, &header.l1_origin_hash)?;
    }
    let most = parent.forced_through.saturating_add(FORCED_A_BLOCK);
    if !(parent.forced_through..=most).contains(&header.forced_through) {
        let (least, actual) = (parent.forced_through, header.forced_through);
        return Err(Invalid::ForcedThrough { least, most, actual });
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
        .map(|(index, tx)| match tx.decode(limit) {
            Ok(tx) => Ok(IncludedTransaction::from(&tx)),
            Err(reason) => Err(InvalidTransaction { index, reason }),
        })
        .collect()
}

/// Judges what only this agent's clock and view of L1 can say. What the forced queue was at an origin that is at depth
/// does not change any more.
pub(super) fn judge_view(
    mirror: &Mirror,
    parent: &BlockHeader,
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
    let Some(range) = mirror.forced.range(&mirror.params, parent.forced_through, number) else {
        return Ok(Err(NotYet::Behind { parent: parent.forced_through }));
    };
    if !range.contains(&header.forced_through) {
        let ((least, most), actual) = (range.into_inner(), header.forced_through);
        return Err(Invalid::ForcedThrough { least, most, actual });
    }
    let latest = now.get().saturating_add(mirror.params.drift().get());
    if header.timestamp.get() > latest {
        return Ok(Err(NotYet::Ahead { timestamp: header.timestamp, now }));
    }
    let closed = block.transactions.iter().find(|tx| !mirror.is_open(tx.rollup, number));
    Ok(closed.map_or(Ok(()), |tx| Err(NotYet::Closed { rollup: tx.rollup, origin: number })))
}

#[cfg(test)]
mod tests {
    use super::{Invalid, NotYet, judge_header, judge_view};
    use crate::agreement::context::HeightSet;
    use crate::agreement::heights::Term;
    use crate::domain::{
        Block, BlockHeader, Epoch, Generation, Height, L1Block, LeaderSet, Member, Millis, Params,
        Seconds, Signer, tx_root,
    };
    use crate::l1::{Allowance, Mirror};
    use crate::testing::{key, transaction};
    use alloy::primitives::{Address, B256, U256};

    const SIGNERS: [u8; 3] = [1, 2, 3];

    /// Proposers by round: 3, 1, 2.
    fn term() -> Term {
        let members =
            SIGNERS.map(|n| Member { signer: Address::repeat_byte(n), weight: 10 }).to_vec();
        let set = LeaderSet::new(Generation::new(0), Epoch::new(1), B256::ZERO, members).unwrap();
        let parent = BlockHeader {
            generation: Generation::new(0),
            height: Height::new(7),
            epoch: Epoch::new(1),
            proposer: Address::repeat_byte(1),
            timestamp: Millis::new(50_000),
            parent_hash: B256::repeat_byte(6),
            l1_origin_number: 40,
            l1_origin_hash: B256::repeat_byte(40),
            forced_through: 0,
            tx_count: 0,
            tx_root: tx_root(&[]),
        };
        Term {
            generation: parent.generation,
            height: Height::new(8),
            epoch: Epoch::new(2),
            parent_hash: parent.hash(),
            earliest_origin: L1Block {
                number: parent.l1_origin_number,
                hash: parent.l1_origin_hash,
                timestamp: Seconds::new(49),
            },
            set: HeightSet::new(&set, vec![2, 0, 1]).unwrap(),
            parent,
        }
    }

    fn header() -> BlockHeader {
        let term = term();
        BlockHeader {
            height: term.height,
            epoch: term.epoch,
            proposer: Address::repeat_byte(3),
            timestamp: Millis::new(51_000),
            parent_hash: term.parent_hash,
            l1_origin_number: 41,
            l1_origin_hash: B256::repeat_byte(41),
            ..term.parent
        }
    }

    fn mirror() -> Mirror {
        let mut mirror = Mirror::new(Params::for_tests());
        for n in 40..=42_u8 {
            let block = L1Block {
                number: n.into(),
                hash: B256::repeat_byte(n),
                timestamp: Seconds::new(u64::from(n).saturating_add(10)),
            };
            mirror.blocks.insert(block.number, block);
        }
        mirror.head = mirror.blocks.get(&42).copied();
        mirror.at_depth = mirror.blocks.get(&41).copied();
        mirror
    }

    fn view(header: BlockHeader, now: u64) -> Result<Result<(), NotYet>, Invalid> {
        let block = Block { header, transactions: Vec::new() };
        judge_view(&mirror(), &term().parent, &block, Millis::new(now))
    }

    #[test]
    fn a_header_on_the_tip_by_the_proposer_is_valid() {
        assert_eq!(judge_header(&term(), &header(), 0), Ok(()));
    }

    #[test]
    fn each_field_must_follow_from_the_chain() {
        let breaches: [(&str, fn(&mut BlockHeader)); 5] = [
            ("generation", |h| h.generation = Generation::new(1)),
            ("height", |h| h.height = Height::new(9)),
            ("epoch", |h| h.epoch = Epoch::new(1)),
            ("parentHash", |h| h.parent_hash = B256::ZERO),
            ("l1OriginHash", |h| h.l1_origin_number = 40),
        ];
        for (field, breach) in breaches {
            let mut header = header();
            breach(&mut header);
            let error = judge_header(&term(), &header, 0).unwrap_err();
            assert!(matches!(error, Invalid::Mismatch { field: f, .. } if f == field), "{error}");
        }
    }

    #[test]
    fn a_block_belongs_to_who_could_propose_until_its_round() {
        let second = BlockHeader { proposer: Address::repeat_byte(1), ..header() };
        let proposer = Signer([1; 20]);
        let error = Invalid::NotAProposer { proposer, height: Height::new(8) };
        assert_eq!(judge_header(&term(), &second, 0), Err(error));
        assert_eq!(judge_header(&term(), &second, 1), Ok(()));
        assert_eq!(judge_header(&term(), &header(), 1), Ok(()));
        let stranger = BlockHeader { proposer: Address::repeat_byte(9), ..header() };
        assert!(judge_header(&term(), &stranger, 7).is_err());
    }

    #[test]
    fn time_and_origin_never_go_back() {
        let early = BlockHeader { timestamp: Millis::new(49_999), ..header() };
        assert!(matches!(judge_header(&term(), &early, 0), Err(Invalid::TooEarly { .. })));
        let back = BlockHeader { l1_origin_number: 39, ..header() };
        assert!(matches!(judge_header(&term(), &back, 0), Err(Invalid::OriginGoesBack { .. })));
    }

    #[test]
    fn the_first_block_of_a_generation_builds_on_its_finish() {
        let finished_in =
            L1Block { number: 41, hash: B256::repeat_byte(41), timestamp: Seconds::new(51) };
        let began = Term { generation: Generation::new(1), earliest_origin: finished_in, ..term() };
        let first = BlockHeader { generation: Generation::new(1), ..header() };
        assert_eq!(judge_header(&began, &first, 0), Ok(()));
        let earlier = BlockHeader { l1_origin_number: 40, ..first };
        let back = Invalid::OriginGoesBack { earliest: 41, actual: 40 };
        assert_eq!(judge_header(&began, &earlier, 0), Err(back));
    }

    #[test]
    fn an_origin_that_is_not_at_depth_here_is_not_valid_yet() {
        let ahead = BlockHeader { l1_origin_number: 42, ..header() };
        assert_eq!(view(ahead, 51_000), Ok(Err(NotYet::Origin { number: 42 })));
        let other = BlockHeader { l1_origin_hash: B256::ZERO, ..header() };
        assert_eq!(view(other, 51_000), Ok(Err(NotYet::Origin { number: 41 })));
        assert_eq!(view(header(), 51_000), Ok(Ok(())));
    }

    #[test]
    fn the_queue_never_runs_back_nor_more_than_sixteen_ahead() {
        let mut term = term();
        term.parent.forced_through = 3;
        for (actual, valid) in [(2, false), (3, true), (19, true), (20, false)] {
            let header = BlockHeader { forced_through: actual, ..header() };
            let expected = match valid {
                true => Ok(()),
                false => Err(Invalid::ForcedThrough { least: 3, most: 19, actual }),
            };
            assert_eq!(judge_header(&term, &header, 0), expected);
        }
    }

    #[test]
    fn entries_must_be_there_at_the_origin_and_no_due_one_is_left_behind() {
        let mut mirror = mirror();
        mirror.params.forced_deadline_blocks = 10;
        for (index, block) in [(0, 30), (1, 31), (2, 41), (3, 42)] {
            mirror.forced.push(index, block);
        }
        for (actual, valid) in [(0, false), (1, false), (2, true), (3, true), (4, false)] {
            let header = BlockHeader { forced_through: actual, ..header() };
            let block = Block { header, transactions: Vec::new() };
            let expected = match valid {
                true => Ok(Ok(())),
                false => Err(Invalid::ForcedThrough { least: 2, most: 3, actual }),
            };
            assert_eq!(judge_view(&mirror, &term().parent, &block, Millis::new(51_000)), expected);
        }
    }

    #[test]
    fn an_agent_that_settlement_has_overtaken_does_not_judge_the_queue() {
        let mut mirror = mirror();
        mirror.forced.settle(1);
        let block = Block { header: header(), transactions: Vec::new() };
        let judged = judge_view(&mirror, &term().parent, &block, Millis::new(51_000));
        assert_eq!(judged, Ok(Err(NotYet::Behind { parent: 0 })));
    }

    #[test]
    fn a_block_from_the_future_waits_for_the_clock() {
        let (timestamp, now) = (Millis::new(51_000), Millis::new(49_999));
        assert_eq!(view(header(), now.get()), Ok(Err(NotYet::Ahead { timestamp, now })));
        assert_eq!(view(header(), 50_000), Ok(Ok(())));
    }

    #[test]
    fn a_block_older_than_its_origin_is_invalid() {
        let early = BlockHeader { timestamp: Millis::new(50_999), ..header() };
        assert!(matches!(view(early, 60_000), Err(Invalid::TooEarly { .. })));
    }

    #[test]
    fn transactions_wait_until_their_rollup_is_seen_open() {
        let tx = transaction(&key(5), 0).transaction;
        let block = Block { header: header(), transactions: vec![tx.clone()] };
        let mut mirror = mirror();
        let now = Millis::new(51_000);
        let closed = NotYet::Closed { rollup: tx.rollup, origin: 41 };
        assert_eq!(judge_view(&mirror, &term().parent, &block, now), Ok(Err(closed.clone())));
        let reserve = mirror.params.rollup_reserve_wei;
        mirror.rollups.insert(tx.rollup, Allowance::new(42, reserve));
        assert_eq!(judge_view(&mirror, &term().parent, &block, now), Ok(Err(closed)));
        mirror.rollups.insert(tx.rollup, Allowance::new(41, reserve));
        assert_eq!(judge_view(&mirror, &term().parent, &block, now), Ok(Ok(())));
    }

    #[test]
    fn a_rollup_without_its_reserve_at_the_origin_is_closed_whatever_it_has_later() {
        let tx = transaction(&key(5), 0).transaction;
        let block = Block { header: header(), transactions: vec![tx.clone()] };
        let mut mirror = mirror();
        let now = Millis::new(51_000);
        mirror.params.rollup_reserve_wei = U256::from(9);
        mirror.rollups.insert(tx.rollup, Allowance::new(40, U256::from(8)));
        let closed = NotYet::Closed { rollup: tx.rollup, origin: 41 };
        assert_eq!(judge_view(&mirror, &term().parent, &block, now), Ok(Err(closed)));
        assert!(mirror.is_registered(tx.rollup, 41));
    }
}
