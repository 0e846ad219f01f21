//! X2: one block a second; undoing and settling.

use crate::support::{
    COUNTER, Chain, Fork, GENESIS_TIME, address, call, deploy, height, pay, reason, sign, wallet,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use rota_execution::{
    Account, Changes, ExecutionError, Executor, Fate, MemoryState, SkipReason, State,
};

#[test]
fn a_second_is_one_block_whatever_its_heights() {
    let mut chain = Chain::at(Fork::Prague);
    chain.add(&[sign(&wallet(0), pay(0, address(1), 5))]);
    chain.add(&[]);
    chain.add(&[sign(&wallet(0), pay(1, address(1), 5)), sign(&wallet(1), pay(0, address(2), 5))]);
    assert!(chain.blocks.is_empty());
    assert_eq!(chain.executor.pending().unwrap().transactions.len(), 3);
    chain.close();

    let block = chain.last();
    assert_eq!((block.header.number, block.header.timestamp), (1, GENESIS_TIME + 1));
    assert_eq!((block.transactions.len(), block.receipts.len()), (3, 3));
    assert_eq!(block.header.gas_used, 63_000);
    assert_eq!(block.last_height, 3);
    assert!(chain.executor.pending().is_none());
}

#[test]
fn a_second_without_an_executable_transaction_has_no_block() {
    let mut chain = Chain::at(Fork::Prague);
    let before = chain.executor.head().1;
    chain.second(&[]);
    chain.second(&[sign(&wallet(0), pay(7, address(1), 5)), vec![1, 2, 3].into()]);
    assert!(chain.blocks.is_empty());
    assert_eq!(chain.executor.head().1, before);
    // Nor is anything left of what its block would have begun with.
    chain.second(&[sign(&wallet(0), pay(0, address(1), 5))]);
    let mut other = Chain::at(Fork::Prague);
    other.second(&[]);
    other.second(&[]);
    other.second(&[sign(&wallet(0), pay(0, address(1), 5))]);
    assert_eq!(chain.last().hash, other.last().hash);
}

#[test]
fn what_is_ordered_before_the_chain_begins_is_skipped() {
    let mut chain = Chain::at(Fork::Prague);
    let raw = sign(&wallet(0), pay(0, address(1), 5));
    let raws = [raw];
    let fates = chain.give(height(1, GENESIS_TIME * 1_000 + 999, &raws));
    let expected = SkipReason::BeforeGenesis { second: GENESIS_TIME, genesis: GENESIS_TIME };
    assert_eq!(reason(&fates), &expected);
    assert_eq!(chain.add(&raws), [Fate::Included { index: 0 }]);
}

#[test]
fn heights_come_in_their_order() {
    let mut chain = Chain::at(Fork::Prague);
    let now = (GENESIS_TIME + 1) * 1_000;
    for (number, timestamp) in [(0, now), (2, now), (u64::MAX, now)] {
        let refused = chain.executor.execute(height(number, timestamp, &[]));
        assert!(matches!(refused, Err(ExecutionError::Height { expected: 1, .. })));
    }
    chain.add(&[sign(&wallet(0), pay(0, address(1), 5))]);
    let refused = chain.executor.execute(height(1, now, &[]));
    assert!(matches!(refused, Err(ExecutionError::Height { expected: 2, .. })));
    // None of them changed anything.
    assert_eq!(chain.executor.pending().unwrap().transactions.len(), 1);
    assert_eq!(chain.executor.next_height(), 2);
}

#[test]
fn a_height_that_is_dated_before_the_one_before_it_counts_as_dated_like_it() {
    let (mut back, mut like) = (Chain::at(Fork::Prague), Chain::at(Fork::Prague));
    let now = (GENESIS_TIME + 9) * 1_000;
    let raws = [0, 1].map(|nonce| sign(&wallet(0), pay(nonce, address(1), 5)));
    for (chain, second) in [(&mut back, 0), (&mut like, now)] {
        chain.give(height(1, now, &raws[..1]));
        chain.give(height(2, second, &raws[1..]));
        chain.give(height(3, now + 1_000, &[]));
    }
    assert_eq!(back.blocks, like.blocks);
    assert_eq!(back.last().transactions.len(), 2);
    // Also when what was before it is undone and done anew.
    back.executor.undo_above(1).unwrap();
    back.blocks.clear();
    back.give(height(1, now, &raws[..1]));
    back.give(height(2, 0, &raws[1..]));
    back.give(height(3, now + 1_000, &[]));
    assert_eq!(back.blocks, like.blocks);
}

#[test]
fn heights_that_nobody_can_read_are_passed() {
    let (mut passed, mut empty) = (Chain::at(Fork::Prague), Chain::at(Fork::Prague));
    let now = (GENESIS_TIME + 1) * 1_000;
    let raws = [0, 1].map(|nonce| sign(&wallet(0), pay(nonce, address(1), 5)));
    for chain in [&mut passed, &mut empty] {
        chain.give(height(1, now, &raws[..1]));
    }
    passed.executor.pass(4);
    // What is behind is not passed again.
    passed.executor.pass(2);
    for number in 2..=4 {
        empty.give(height(number, now, &[]));
    }
    for chain in [&mut passed, &mut empty] {
        assert_eq!(chain.executor.next_height(), 5);
        chain.give(height(5, now + 1_000, &raws[1..]));
        chain.give(height(6, now + 2_000, &[]));
    }
    assert_eq!(passed.blocks, empty.blocks);
    assert_eq!(passed.blocks[0].last_height, 4);
    passed.executor.pass(u64::MAX);
    let refused = passed.executor.execute(height(7, now + 3_000, &[]));
    assert!(matches!(refused, Err(ExecutionError::Height { expected: u64::MAX, .. })));
}

#[test]
fn what_is_undone_and_done_anew_is_the_same() {
    let mut chain = Chain::at(Fork::Prague);
    let counter = address(0).create(0);
    chain.second(&[sign(&wallet(0), deploy(0, &COUNTER))]);
    let before = chain.executor.head().1;
    let mut given = Vec::new();
    for nonce in 1..6 {
        let height = chain.height(&[sign(&wallet(0), call(nonce, counter, &[]))]);
        given.push(height.clone());
        chain.give(height);
        chain.close();
        given.push(crate::support::height(chain.executor.next_height() - 1, 0, &[]));
        given.last_mut().unwrap().timestamp_ms = given[given.len() - 2].timestamp_ms + 1_000;
    }
    let head = chain.executor.head().1;
    assert_eq!(chain.slot(counter, 0), U256::from(5));

    assert_eq!(chain.executor.undo_above(2).unwrap(), 2);
    assert_eq!(chain.executor.head().1, before);
    assert_eq!(chain.slot(counter, 0), U256::ZERO);
    let empty = crate::support::height(2, (GENESIS_TIME + 2) * 1_000, &[]);
    chain.give(empty);
    for height in given {
        chain.give(height);
    }
    assert_eq!(chain.executor.head().1, head);
    assert_eq!(chain.slot(counter, 0), U256::from(5));
}

#[test]
fn all_can_be_undone_while_nothing_is_settled() {
    let mut chain = Chain::at(Fork::Prague);
    let genesis = chain.executor.head().1;
    chain.second(&[sign(&wallet(0), pay(0, address(1), 5))]);
    assert_eq!(chain.executor.undo_above(0).unwrap(), 1);
    assert_eq!(chain.executor.head().1, genesis);
    assert_eq!(chain.account(address(0)).unwrap().nonce, 0);
}

#[test]
fn the_block_of_the_last_height_that_is_kept_is_executed_anew() {
    // Once the height that closed it is undone, others may follow in its second.
    let mut chain = Chain::at(Fork::Prague);
    chain.second(&[sign(&wallet(0), pay(0, address(1), 5))]);
    assert_eq!(chain.blocks.len(), 1);
    assert_eq!(chain.executor.undo_above(1).unwrap(), 1);
    let now = (GENESIS_TIME + 1) * 1_000;
    chain.give(height(1, now, &[sign(&wallet(0), pay(0, address(1), 5))]));
    chain.give(height(2, now + 500, &[sign(&wallet(0), pay(1, address(1), 5))]));
    chain.give(height(3, now + 1_000, &[]));
    assert_eq!(chain.last().transactions.len(), 2);
    assert_eq!(chain.last().header.number, 1);
}

#[test]
fn what_is_settled_is_not_undone() {
    let mut chain = Chain::at(Fork::Prague);
    for nonce in 0..4 {
        chain.second(&[sign(&wallet(0), pay(nonce, address(1), 5))]);
    }
    // Heights 1, 3, 5, 7 have transactions, and those between close their seconds.
    chain.executor.settle(4).unwrap();
    for height in [0, 1, 2] {
        let refused = chain.executor.undo_above(height);
        assert!(
            matches!(refused, Err(ExecutionError::Settled { settled: 3, .. })),
            "{height}: {refused:?}"
        );
    }
    assert_eq!(chain.executor.head().0.number, 4);
    assert_eq!(chain.executor.undo_above(4).unwrap(), 4);
    assert_eq!(chain.executor.head().0.number, 2);
    // Settling what was not given settles what was.
    chain.executor.settle(u64::MAX).unwrap();
    assert_eq!(chain.executor.next_height(), 4);
}

#[test]
fn a_state_that_was_sealed_by_others_is_not_taken_for_undone() {
    let mut chain = Chain::at(Fork::Prague);
    for nonce in 0..2 {
        chain.second(&[sign(&wallet(0), pay(nonce, address(1), 5))]);
    }
    chain.executor.state_mut().seal(1).unwrap();
    let refused = chain.executor.undo_above(0);
    assert!(
        matches!(refused, Err(ExecutionError::Settled { height: 0, settled: 1 })),
        "{refused:?}"
    );
    assert_eq!(chain.executor.head().0.number, 1);
    assert_eq!(chain.executor.next_height(), 2);
}

/// A state on a disk that fails for a while.
#[derive(Default)]
struct Failing {
    held: MemoryState,
    fails: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the disk fails")]
struct Fails;

impl State for Failing {
    type Error = Fails;

    fn account(&self, address: Address) -> Result<Option<Account>, Fails> {
        if self.fails { Err(Fails) } else { Ok(self.held.account(address).unwrap()) }
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, Fails> {
        Ok(self.held.slot(address, slot).unwrap())
    }

    fn code(&self, hash: B256) -> Result<Option<Bytes>, Fails> {
        Ok(self.held.code(hash).unwrap())
    }

    fn apply(&mut self, changes: Changes) -> Result<B256, Fails> {
        // What is written is what was read before.
        Ok(self.held.apply(changes).unwrap())
    }

    fn undo(&mut self) -> Result<Option<B256>, Fails> {
        Ok(self.held.undo().unwrap())
    }

    fn seal(&mut self, kept: usize) -> Result<(), Fails> {
        let () = self.held.seal(kept).unwrap();
        Ok(())
    }
}

#[test]
fn a_block_is_told_although_the_height_that_closed_it_fails_at_first() {
    let now = (GENESIS_TIME + 1) * 1_000;
    let heights: Vec<_> = (0..3)
        .map(|nonce| {
            height(nonce + 1, now + nonce * 1_000, &[sign(&wallet(0), pay(nonce, address(1), 5))])
        })
        .collect();
    let mut whole = Chain::at(Fork::Shanghai);
    for height in heights.clone() {
        whole.give(height);
    }

    let genesis = whole.executor.genesis().clone();
    let mut executor = Executor::new(genesis, Failing::default()).unwrap();
    assert!(executor.execute(heights[0].clone()).unwrap().closed.is_none());
    // The block of the first second is closed from what was read already; the next one cannot be opened.
    executor.state_mut().fails = true;
    for _ in 0..2 {
        let failed = executor.execute(heights[1].clone());
        assert!(matches!(failed, Err(ExecutionError::Machine { height: 2, .. })), "{failed:?}");
        assert_eq!(executor.next_height(), 2);
    }
    executor.state_mut().fails = false;
    let closed: Vec<_> = heights[1..]
        .iter()
        .filter_map(|height| executor.execute(height.clone()).unwrap().closed)
        .collect();
    assert_eq!(closed, whole.blocks);
    // What is undone is not told any more.
    executor.state_mut().fails = true;
    let failed =
        executor.execute(height(4, now + 3_000, &[sign(&wallet(0), pay(3, address(1), 5))]));
    assert!(failed.is_err());
    executor.state_mut().fails = false;
    assert_eq!(executor.undo_above(0).unwrap(), 1);
    assert!(executor.execute(height(1, now, &[])).unwrap().closed.is_none());
}
