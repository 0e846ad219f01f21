//! Whatever bytes are ordered, execution ends and is the same, however the order is cut.

use crate::support::{Chain, FORKS, Fork, GENESIS_TIME, address, height, pay, sign, wallet};
use crate::traffic::{self, Dice};
use alloy_primitives::Bytes;
use proptest::prelude::*;
use rota_execution::{Fate, Height};

/// Gives all heights to a new chain.
fn replay(fork: Fork, heights: &[Height]) -> Chain {
    let mut chain = Chain::at(fork);
    for height in heights {
        chain.give(height.clone());
    }
    chain
}

#[test]
fn the_same_order_gives_the_same_blocks() {
    for (seed, fork) in (0..).zip(FORKS) {
        let mut chain = Chain::at(fork);
        let heights = traffic::run(&mut chain, 12, seed);
        assert!(chain.blocks.len() > 5);
        assert_eq!(replay(fork, &heights).blocks, chain.blocks);
    }
}

#[test]
fn without_what_was_skipped_the_blocks_are_the_same() {
    for (seed, fork) in (10..).zip(FORKS) {
        let mut chain = Chain::at(fork);
        let heights = traffic::run(&mut chain, 12, seed);
        let (mut other, mut kept, mut skipped) = (Chain::at(fork), Chain::at(fork), 0);
        for height in heights {
            let fates = other.give(height.clone());
            let mut height = height;
            skipped += fates.iter().filter(|fate| matches!(fate, Fate::Skipped(_))).count();
            let mut fates = fates.into_iter();
            height.transactions.retain(|_| matches!(fates.next(), Some(Fate::Included { .. })));
            kept.give(height);
        }
        assert!(skipped > 10);
        assert_eq!(kept.blocks, chain.blocks);
    }
}

#[test]
fn what_is_undone_at_any_point_is_done_anew_the_same() {
    let mut chain = Chain::at(Fork::Prague);
    let heights = traffic::run(&mut chain, 20, 77);
    let mut dice = Dice(5);
    let mut other = Chain::at(Fork::Prague);
    let mut given = 0;
    let mut undone = 0;
    while given < heights.len() {
        other.give(heights[given].clone());
        given += 1;
        if undone < 40 && dice.roll(3) == 0 {
            undone += 1;
            let back = dice.roll(u64::try_from(given).unwrap() + 1);
            let next = other.executor.undo_above(back).unwrap();
            assert!(next <= back + 1);
            given = usize::try_from(next - 1).unwrap();
        }
    }
    assert_eq!(undone, 40);
    assert_eq!(other.executor.head().1, chain.executor.head().1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_are_executed_or_skipped(
        seed in any::<u64>(), garbage in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8)
    ) {
        // Whole transactions with some bytes changed reach further than bytes by chance.
        let mut dice = Dice(seed);
        let mut raws: Vec<Bytes> = garbage.into_iter().map(Bytes::from).collect();
        for nonce in 0..4 {
            let mut raw = sign(&wallet(1), pay(nonce, address(2), 3)).to_vec();
            for _ in 0..dice.roll(3) {
                let at = usize::try_from(dice.roll(raw.len() as u64)).unwrap();
                raw[at] = u8::try_from(dice.roll(256)).unwrap();
            }
            raws.push(raw.into());
        }
        let mut chain = Chain::at(Fork::Osaka);
        let fates = chain.second(&raws);
        prop_assert_eq!(fates.len(), raws.len());
        let included = fates.iter().filter(|fate| matches!(fate, Fate::Included { .. })).count();
        let held: usize = chain.blocks.iter().map(|block| block.transactions.len()).sum();
        prop_assert_eq!(included, held);
        let mut again = Chain::at(Fork::Osaka);
        again.second(&raws);
        prop_assert_eq!(again.blocks, chain.blocks);
    }

    #[test]
    fn a_second_cut_into_other_heights_comes_to_the_same_state(
        seed in any::<u64>(), cuts in proptest::collection::vec(0_usize..12, 0..4)
    ) {
        let mut source = Chain::at(Fork::Prague);
        let raws: Vec<_> = traffic::run(&mut source, 1, seed)
            .into_iter()
            .flat_map(|height| height.transactions)
            .collect();
        let now = (GENESIS_TIME + 1) * 1_000;
        let give = |parts: Vec<Vec<_>>| {
            let mut chain = Chain::at(Fork::Prague);
            for (number, transactions) in (1..).zip(parts) {
                // The same block but for its number, which stands in the header.
                let height = Height { number, transactions, ..height(1, now, &[]) };
                chain.give(height);
            }
            chain.close();
            chain.blocks
        };
        let whole = give(vec![raws.clone()]);
        let mut parts = Vec::new();
        let mut rest = raws;
        for cut in cuts {
            let tail = rest.split_off(cut.min(rest.len()));
            parts.push(std::mem::replace(&mut rest, tail));
        }
        parts.push(rest);
        let cut = give(parts);
        prop_assert_eq!(whole.len(), cut.len());
        for (whole, cut) in whole.iter().zip(&cut) {
            let mut header = cut.header.clone();
            header.extra_data = whole.header.extra_data.clone();
            prop_assert_eq!(&whole.header, &header);
            prop_assert_eq!(&whole.receipts, &cut.receipts);
        }
    }
}
