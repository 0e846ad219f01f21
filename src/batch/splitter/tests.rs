#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "small numbers of the tests' own making"
)]

use super::{BatchRange, SplitError, Splitter};
use crate::batch::payload::{HEADER_BYTES, MAX_BLOCKS};
use crate::batch::tests::settled;
use crate::domain::{BlockHeader, Height, Millis, Params};
use proptest::prelude::*;

/// What R20 looks at.
#[derive(Clone, Copy, Debug)]
struct Facts {
    millis: u64,
    txs: u32,
    forced: u64,
    body: usize,
}

fn params() -> Params {
    Params {
        max_batch_bytes: 10 * HEADER_BYTES as u64,
        max_batch_age_seconds: 2,
        idle_batch_age_seconds: 5,
        ..Params::for_tests()
    }
}

fn empty(millis: u64) -> Facts {
    Facts { millis, txs: 0, forced: 0, body: 0 }
}

fn full(millis: u64, body: usize) -> Facts {
    Facts { millis, txs: 1, forced: 0, body }
}

/// The headers after [`settled`], with the bytes of their bodies.
fn headers(facts: &[Facts]) -> Vec<(BlockHeader, usize)> {
    let mut parent = settled();
    let mut headers = Vec::new();
    for fact in facts {
        parent = BlockHeader {
            height: parent.height.next(),
            timestamp: Millis::new(parent.timestamp.get() + fact.millis),
            forced_through: parent.forced_through + fact.forced,
            tx_count: fact.txs,
            ..parent
        };
        headers.push((parent.clone(), fact.body));
    }
    headers
}

/// Lengths of the batches, and what stays open.
fn lengths(facts: &[Facts]) -> (Vec<u64>, u64) {
    let mut splitter = Splitter::new(&params(), &settled());
    let mut cut = settled().height.get();
    let mut lengths = Vec::new();
    for (header, body) in headers(facts) {
        if let Some(batch) = splitter.push(&header, body).unwrap() {
            assert_eq!(batch.first.get(), cut + 1);
            lengths.push(batch.last.get() - cut);
            cut = batch.last.get();
        }
    }
    (lengths, splitter.next_height().get() - 1 - cut)
}

/// R20 as it reads, over the whole chain at once.
fn by_the_rule(params: &Params, facts: &[Facts]) -> Vec<BatchRange> {
    let chain = headers(facts);
    let (max_age, idle_age) =
        (params.max_batch_age_seconds * 1_000, params.idle_batch_age_seconds * 1_000);
    let ts = |h: usize| chain[h].0.timestamp.get();
    let bytes = |h: usize| chain[h].1 + HEADER_BYTES;
    let consumed_before =
        |h: usize| if h == 0 { settled().forced_through } else { chain[h - 1].0.forced_through };
    let mut batches = Vec::new();
    let mut b = 0;
    while b < chain.len() {
        let mut is_old = false;
        let ends = (b..chain.len()).find(|&h| {
            let f = (b..=h).find(|&f| {
                chain[f].0.tx_count > 0 || chain[f].0.forced_through > consumed_before(f)
            });
            let size: usize = (b..=h).map(bytes).sum();
            let full = chain.get(h + 1).is_some()
                && (size + bytes(h + 1) > params.max_batch_bytes as usize
                    || h + 1 - b == MAX_BLOCKS);
            is_old = f.is_some_and(|f| ts(h) - ts(f) >= max_age) || ts(h) - ts(b) >= idle_age;
            full || is_old
        });
        let Some(h) = ends else { break };
        // It is known from its last block on, or by the one that does not fit any more.
        let shown_by = if is_old { h } else { h + 1 };
        batches.push(BatchRange {
            first: chain[b].0.height,
            last: chain[h].0.height,
            since: chain[shown_by].0.timestamp.to_seconds(),
        });
        b = h + 1;
    }
    batches
}

fn split(splitter: &mut Splitter, chain: &[(BlockHeader, usize)]) -> Vec<BatchRange> {
    chain.iter().filter_map(|(header, body)| splitter.push(header, *body).unwrap()).collect()
}

#[test]
fn a_batch_ends_before_the_block_that_does_not_fit() {
    let room = 10 * HEADER_BYTES;
    let half = room / 2 - HEADER_BYTES;
    assert_eq!(lengths(&[full(0, half), full(1, half)]), (vec![], 2));
    assert_eq!(lengths(&[full(0, half), full(1, half), full(1, 1)]), (vec![2], 1));
    assert_eq!(lengths(&[full(0, half), full(1, half + 1)]), (vec![1], 1));
}

#[test]
fn a_batch_ends_with_the_block_that_is_old_enough_since_the_first_content() {
    let content = full(0, 9);
    assert_eq!(lengths(&[content, empty(1_999)]), (vec![], 2));
    assert_eq!(lengths(&[content, empty(2_000)]), (vec![2], 0));
    assert_eq!(lengths(&[empty(0), full(1_000, 9), empty(1_999), empty(1)]), (vec![4], 0));
}

#[test]
fn a_newly_consumed_entry_is_content() {
    let consumed = Facts { forced: 1, ..empty(0) };
    assert_eq!(lengths(&[consumed, empty(2_000)]), (vec![2], 0));
}

#[test]
fn empty_blocks_wait_for_the_idle_age() {
    assert_eq!(lengths(&[empty(0), empty(4_999)]), (vec![], 2));
    assert_eq!(lengths(&[empty(0), empty(4_999), empty(1)]), (vec![3], 0));
}

#[test]
fn a_block_that_is_too_large_alone_is_still_a_batch() {
    assert_eq!(lengths(&[full(0, 99_999), full(1, 99_999), empty(1)]), (vec![1, 1], 1));
}

#[test]
fn no_batch_has_more_blocks_than_l1_takes() {
    let params = Params { max_batch_bytes: u64::MAX, ..params() };
    let mut splitter = Splitter::new(&params, &settled());
    let chain = headers(&vec![empty(0); MAX_BLOCKS + 1]);
    let batches = split(&mut splitter, &chain);
    let first = settled().height.next();
    let last = Height::new(settled().height.get() + MAX_BLOCKS as u64);
    let since = chain[MAX_BLOCKS].0.timestamp.to_seconds();
    assert_eq!(batches, [BatchRange { first, last, since }]);
}

#[test]
fn blocks_come_one_by_one() {
    let mut splitter = Splitter::new(&params(), &settled());
    let chain = headers(&[empty(1), empty(1)]);
    let expected = settled().height.next();
    assert_eq!(
        splitter.push(&chain[1].0, 0),
        Err(SplitError::NotNext { expected, actual: expected.next() })
    );
    assert_eq!(splitter.push(&chain[0].0, 0), Ok(None));
    assert_eq!(splitter.open_since(), Some(expected));
    assert_eq!(
        splitter.push(&chain[0].0, 0),
        Err(SplitError::NotNext { expected: expected.next(), actual: expected })
    );
}

fn facts() -> impl Strategy<Value = Vec<Facts>> {
    let fact = (prop_oneof![0_u64..300, 0_u64..3_000], 0_u32..2, 0_u64..2, 0_usize..700)
        .prop_map(|(millis, txs, forced, body)| Facts { millis, txs, forced, body });
    prop::collection::vec(fact, 0..80)
}

proptest! {
    #[test]
    fn batches_are_those_of_the_rule(facts in facts()) {
        let mut splitter = Splitter::new(&params(), &settled());
        prop_assert_eq!(split(&mut splitter, &headers(&facts)), by_the_rule(&params(), &facts));
    }

    #[test]
    fn an_agent_that_starts_at_any_settled_height_cuts_the_same(facts in facts()) {
        let chain = headers(&facts);
        let all = split(&mut Splitter::new(&params(), &settled()), &chain);
        for (settled_batches, batch) in (1..).zip(&all) {
            let at = (batch.last.get() - settled().height.get()) as usize;
            let mut late = Splitter::new(&params(), &chain[at - 1].0);
            prop_assert_eq!(&split(&mut late, &chain[at..]), &all[settled_batches..]);
        }
    }

    #[test]
    fn a_copy_taken_half_way_goes_on_the_same(facts in facts(), pause in any::<prop::sample::Index>()) {
        let chain = headers(&facts);
        let pause = pause.index(chain.len() + 1);
        let mut first = Splitter::new(&params(), &settled());
        let mut cut = split(&mut first, &chain[..pause]);
        cut.extend(split(&mut first.clone(), &chain[pause..]));
        prop_assert_eq!(cut, split(&mut Splitter::new(&params(), &settled()), &chain));
    }
}
