//! Blocks for the tests of this module, and the way from blocks to a header and back.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "small numbers of the tests' own making"
)]

use crate::batch::payload::{self, Version};
use crate::batch::{HeaderError, body, build_header, default_epoch, epoch_is_legal, open, usage};
use crate::domain::{
    Block, BlockHeader, Epoch, Generation, Height, Millis, Params, RollupId, RollupTransaction,
    tx_root,
};
use alloy::primitives::{Address, B256, keccak256};
use proptest::prelude::*;

/// Up to `most` transactions of a few rollups, none without bytes.
pub(super) fn bodies(most: usize) -> impl Strategy<Value = Vec<RollupTransaction>> {
    let rollup = prop_oneof![Just(1_u64), Just(4_242), any::<u64>()];
    let raw = prop::collection::vec(any::<u8>(), 1..150);
    let transaction = (rollup, raw).prop_map(|(rollup, raw)| RollupTransaction {
        rollup: RollupId::new(rollup),
        raw: raw.into(),
    });
    prop::collection::vec(transaction, 0..=most)
}

/// What a test varies of one block, relative to the block before.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub epochs: u64,
    pub proposer: u8,
    pub millis: u64,
    pub origins: u64,
    pub forced: u64,
    pub body: Vec<RollupTransaction>,
}

pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u64..2, 0_u8..4, 0_u64..1_500, 0_u64..3, 0_u64..2, bodies(4)).prop_map(
        |(epochs, proposer, millis, origins, forced, body)| Step {
            epochs,
            proposer,
            millis,
            origins,
            forced,
            body,
        },
    );
    prop::collection::vec(step, 1..=most)
}

/// The address of a proposer, as random as real ones.
pub(super) fn signer(number: u8) -> Address {
    Address::from_word(keccak256([number]))
}

/// A block far into a chain, to build on.
pub(super) fn settled() -> BlockHeader {
    BlockHeader {
        generation: Generation::new(3),
        height: Height::new(1_000),
        epoch: Epoch::new(40),
        proposer: Address::repeat_byte(0xaa),
        timestamp: Millis::new(1_700_000_000_123),
        parent_hash: keccak256("before"),
        l1_origin_number: 5_000,
        l1_origin_hash: keccak256("origin 5000"),
        forced_through: 7,
        tx_count: 0,
        tx_root: tx_root(&[]),
    }
}

/// The blocks that follow [`settled`].
pub(super) fn build(steps: &[Step]) -> Vec<Block> {
    let mut parent = settled();
    let mut blocks = Vec::new();
    for step in steps {
        let number = parent.l1_origin_number + step.origins;
        parent = BlockHeader {
            generation: parent.generation,
            height: parent.height.next(),
            epoch: Epoch::new(parent.epoch.get() + step.epochs),
            proposer: signer(step.proposer),
            timestamp: Millis::new(parent.timestamp.get() + step.millis),
            parent_hash: parent.hash(),
            l1_origin_number: number,
            l1_origin_hash: keccak256(format!("origin {number}")),
            forced_through: parent.forced_through + step.forced,
            tx_count: step.body.len() as u32,
            tx_root: tx_root(&step.body),
        };
        blocks.push(Block { header: parent.clone(), transactions: step.body.clone() });
    }
    blocks
}

/// Blocks with transactions given as (rollup, size), a quarter of a second apart.
pub(super) fn chain(bodies: &[&[(u64, usize)]]) -> Vec<Block> {
    let steps: Vec<Step> = bodies
        .iter()
        .map(|body| Step {
            epochs: 0,
            proposer: 1,
            millis: 250,
            origins: 0,
            forced: 0,
            body: body
                .iter()
                .map(|(rollup, size)| RollupTransaction {
                    rollup: RollupId::new(*rollup),
                    raw: vec![7; *size].into(),
                })
                .collect(),
        })
        .collect();
    build(&steps)
}

#[test]
fn a_header_says_what_its_blocks_say() {
    let blocks = chain(&[&[(1, 10)], &[], &[(2, 20), (1, 30)]]);
    let payload = payload::encode(&blocks, Version::Raw).unwrap();
    let header = build_header(&blocks, Epoch::new(41), &payload).unwrap();
    let last = &blocks[2].header;
    assert_eq!(header.generation, last.generation);
    assert_eq!((header.first_height, header.last_height), (Height::new(1_001), Height::new(1_003)));
    assert_eq!(header.parent_block_hash, settled().hash());
    assert_eq!(header.last_block_hash, last.hash());
    assert_eq!(header.timestamp.get(), last.timestamp.get() / 1_000);
    assert_eq!((header.blobs_hash, header.state_root), (B256::ZERO, B256::ZERO));
    assert_eq!(build_header(&[], Epoch::new(0), &[]), None);
}

#[test]
fn the_epoch_stays_as_old_as_it_can_settle() {
    let params = Params { max_epoch_lag: 3, ..Params::for_tests() };
    let default = |last, before, head, depth| {
        let epoch = default_epoch(
            &params,
            Epoch::new(last),
            Epoch::new(before),
            Epoch::new(head),
            Epoch::new(depth),
        );
        epoch.get()
    };
    assert_eq!(default(5, 4, 6, 6), 5);
    assert_eq!(default(5, 6, 6, 6), 6);
    assert_eq!(default(5, 4, 7, 7), 5);
    assert_eq!(default(5, 4, 8, 7), 7, "one epoch later it could not settle any more");
    assert_eq!(default(5, 4, 900, 899), 899, "after an outage");
    assert_eq!(default(5, 4, 8, 4), 7, "what is at depth stands still");
    assert_eq!(default(5, 4, 900, 6), 899, "and for long");
}

#[test]
fn an_epoch_is_legal_between_the_blocks_and_the_clock() {
    let params = Params { max_epoch_lag: 3, ..Params::for_tests() };
    let legal = |epoch| {
        epoch_is_legal(&params, Epoch::new(epoch), Epoch::new(5), Epoch::new(6), Epoch::new(10))
    };
    assert_eq!((0..12).filter(|epoch| legal(*epoch)).collect::<Vec<_>>(), [7, 8, 9, 10]);
}

#[test]
fn a_header_that_does_not_fit_its_payload_is_refused() {
    let blocks = chain(&[&[(1, 10)], &[(2, 5)]]);
    let payload = payload::encode_cheapest(&blocks).unwrap();
    let header = build_header(&blocks, Epoch::new(41), &payload).unwrap();
    let refusal = |change: &dyn Fn(&mut crate::domain::BatchHeader)| {
        let mut header = header.clone();
        change(&mut header);
        open(&header, &payload, 10_000).unwrap_err().to_string()
    };
    let gives_another = |field| format!("the payload's blocks give another {field}");
    let word = B256::repeat_byte(9);
    assert_eq!(refusal(&|h| h.blocks_root = word), gives_another("blocksRoot"));
    assert_eq!(refusal(&|h| h.last_block_hash = word), gives_another("lastBlockHash"));
    assert_eq!(refusal(&|h| h.forced_through = 8), gives_another("forcedThrough"));
    assert_eq!(refusal(&|h| h.timestamp = h.timestamp.next()), gives_another("timestamp"));
    assert_eq!(refusal(&|h| h.usage_hash = word), gives_another("usageHash"));
    assert_eq!(refusal(&|h| h.l1_origin_hash = word), gives_another("blocksRoot"));
    assert_eq!(refusal(&|h| h.parent_block_hash = word), gives_another("blocksRoot"));
    assert_eq!(refusal(&|h| h.generation = h.generation.next()), gives_another("blocksRoot"));
    assert!(refusal(&|h| h.payload_hash = word).starts_with("payload hashes to"));
    assert!(refusal(&|h| h.last_height = h.last_height.next()).starts_with("payload: "));
    let wrong = open(&header, &payload[1..], 10_000).unwrap_err();
    assert!(matches!(wrong, HeaderError::WrongPayload { .. }));
}

proptest! {
    #[test]
    fn the_default_epoch_is_legal_and_the_oldest_as_long_as_that_settles(
        last in 0_u64..20, before in 0_u64..20, behind in 0_u64..60, beyond in 0_u64..50,
    ) {
        let params = Params { max_epoch_lag: 3, ..Params::for_tests() };
        let (last, before) = (Epoch::new(last), Epoch::new(before));
        let oldest = last.max(before);
        let head = Epoch::new(oldest.get() + beyond);
        let depth = Epoch::new(head.get().saturating_sub(behind));
        let epoch = default_epoch(&params, last, before, head, depth);
        prop_assert!(epoch_is_legal(&params, epoch, last, before, head));
        prop_assert_eq!(epoch == oldest, beyond < 3);
    }

    #[test]
    fn usage_is_what_the_bodies_take_without_naming_rollups(steps in steps(6)) {
        let blocks = build(&steps);
        let charged: u64 = usage(&blocks).iter().map(|entry| u64::from(entry.bytes)).sum();
        let bodies: usize = blocks.iter().map(|block| body::body_bytes(&block.transactions)).sum();
        let transactions = || blocks.iter().flat_map(|block| &block.transactions);
        let named: usize = transactions().map(|tx| body::max_transaction_bytes(tx) - body::transaction_bytes(tx)).sum();
        let bodies = bodies as u64;
        prop_assert!(charged <= bodies && bodies <= charged + named as u64);
    }

    #[test]
    fn blocks_come_back_from_header_and_payload(steps in steps(12), packed in any::<bool>()) {
        let blocks = build(&steps);
        let version = if packed { Version::Zstd } else { Version::Raw };
        let payload = payload::encode(&blocks, version).unwrap();
        let header = build_header(&blocks, Epoch::new(90), &payload).unwrap();
        prop_assert_eq!(open(&header, &payload, 100_000), Ok(blocks));
    }
}
