#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "small numbers of the tests' own making"
)]

use super::{
    HEADER_BYTES, PayloadError, Version, ZSTD_LEVEL, block_bytes, check_compressor, decode, encode,
    encode_cheapest, max_body_bytes, tokens, unpack,
};
use crate::batch::tests::{Step, build, chain, signer, steps};
use crate::batch::{FrameError, WireError, build_header};
use crate::domain::{BatchHeader, Block, Epoch, Params, RollupId, RollupTransaction};
use alloy::primitives::{B256, hex, keccak256};
use proptest::prelude::*;

const LIMIT: usize = 100_000;

fn header(blocks: &[Block], payload: &[u8]) -> BatchHeader {
    build_header(blocks, Epoch::new(90), payload).unwrap()
}

#[test]
fn a_payload_looks_as_documented() {
    let mut steps: Vec<Step> = Vec::new();
    for (proposer, origins) in [(1, 1), (1, 0), (2, 1), (1, 0)] {
        steps.push(Step { epochs: 0, proposer, millis: 250, origins, forced: 0, body: Vec::new() });
    }
    steps[1].body = vec![RollupTransaction { rollup: RollupId::new(5), raw: (&[0xee][..]).into() }];
    steps[3].epochs = 1;
    let blocks = build(&steps);
    let payload = encode(&blocks, Version::Raw).unwrap();
    let expected = [
        &hex!("00")[..],
        // row 1: epoch 40, a new proposer, absolute time, another origin than the batch's, forced 7, no transaction
        &hex!("28 01"),
        signer(1).as_slice(),
        &hex!("f5d295ffbc31 02 8927"),
        keccak256("origin 5001").as_slice(),
        &hex!("07 00"),
        // row 2: nothing new but the time and a transaction
        &hex!("00 00 fa01 00 00 01"),
        // row 3: another proposer, the batch's own origin
        &hex!("00 02"),
        signer(2).as_slice(),
        &hex!("fa01 01 00 00"),
        // row 4: the next epoch, the first proposer again
        &hex!("01 01 fa01 00 00 00"),
        // the only transaction: a switch to rollup 5, one byte
        &hex!("00 05 01 ee"),
    ]
    .concat();
    assert_eq!(hex::encode(&payload), hex::encode(expected));
}

#[test]
fn blocks_that_do_not_link_are_not_written() {
    let blocks = chain(&[&[], &[], &[]]);
    let refusal = |change: &dyn Fn(&mut Vec<Block>)| {
        let mut blocks = blocks.clone();
        change(&mut blocks);
        encode(&blocks, Version::Raw).unwrap_err().to_string()
    };
    let wrong = |height: u64, field: &str| {
        format!("block {height} does not extend the one before: {field}")
    };
    assert_eq!(refusal(&|b| drop(b.remove(1))), wrong(1_003, "height"));
    assert_eq!(refusal(&|b| b[1].header.parent_hash = B256::ZERO), wrong(1_002, "parent hash"));
    assert_eq!(
        refusal(&|b| b[1].header.generation = b[1].header.generation.next()),
        wrong(1_002, "generation")
    );
    assert_eq!(
        refusal(&|b| b[2].header.timestamp = crate::domain::Millis::new(1)),
        wrong(1_003, "timestamp")
    );
    assert_eq!(refusal(&|b| b[2].header.l1_origin_number = 1), wrong(1_003, "L1 origin"));
    assert_eq!(refusal(&Vec::clear), "0 blocks, expected 1 to 16384");
}

#[test]
fn unpacking_stops_at_the_limit() {
    let blocks = chain(&[&[(1, 50_000), (1, 50_000)]]);
    let packed = encode(&blocks, Version::Zstd).unwrap();
    assert!(packed.len() < 1_000, "{} bytes", packed.len());
    let header = header(&blocks, &packed);
    let raw = encode(&blocks, Version::Raw).unwrap();
    let too_large = FrameError::TooLarge { size: raw.len() - 1, limit: LIMIT };
    assert_eq!(decode(&header, &packed, LIMIT), Err(too_large.into()));
    assert_eq!(decode(&header, &packed, 2 * LIMIT), Ok(blocks.clone()));
    assert_eq!(
        decode(&header, &raw, LIMIT),
        Err(PayloadError::TooLarge { limit: LIMIT, actual: raw.len() - 1 })
    );
}

#[test]
fn this_build_compresses_by_the_libzstd_of_all_agents() {
    assert_eq!(check_compressor(), Ok(()));
}

#[test]
fn a_payload_of_two_frames_is_refused_though_they_hold_the_blocks_together() {
    let blocks = chain(&[&[(1, 500)]]);
    let content = unpack(&encode(&blocks, Version::Raw).unwrap(), LIMIT).unwrap();
    let (front, back) = content.split_at(100);
    let frames = [front, back].map(|part| zstd::bulk::compress(part, ZSTD_LEVEL).unwrap());
    let payload = [&[1][..], &frames[0], &frames[1]].concat();
    let header = header(&blocks, &payload);
    let count = frames[1].len();
    assert_eq!(
        crate::batch::open(&header, &payload, LIMIT),
        Err(PayloadError::from(FrameError::Trailing { count }).into())
    );
}

#[test]
fn versions_trailing_bytes_and_empty_payloads_are_refused() {
    let blocks = chain(&[&[(1, 10)]]);
    let raw = encode(&blocks, Version::Raw).unwrap();
    let header = header(&blocks, &raw);
    assert_eq!(decode(&header, &[], LIMIT), Err(PayloadError::UnknownVersion { version: None }));
    assert_eq!(
        decode(&header, &[9], LIMIT),
        Err(PayloadError::UnknownVersion { version: Some(9) })
    );
    let longer = [raw.as_ref(), &[0]].concat();
    assert_eq!(
        decode(&header, &longer, LIMIT),
        Err(WireError::Trailing { at: raw.len() - 1, count: 1 }.into())
    );
}

#[test]
fn a_hostile_count_of_transactions_allocates_nothing() {
    let blocks = chain(&[&[]]);
    let mut raw = encode(&blocks, Version::Raw).unwrap().to_vec();
    let header = header(&blocks, &raw);
    assert_eq!(raw.pop(), Some(0));
    raw.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(
        decode(&header, &raw, LIMIT),
        Err(PayloadError::Wire(WireError::Short { field: "transaction length", .. }))
    ));
}

#[test]
fn the_cheapest_version_is_raw_only_for_small_payloads() {
    let small = encode_cheapest(&chain(&[&[]])).unwrap();
    assert_eq!(small[0], 0);
    let large = encode_cheapest(&chain(&[&[(1, 500)]])).unwrap();
    assert_eq!(large[0], 1);
}

#[test]
fn one_block_always_fits() {
    let params = Params::for_tests();
    let room = max_body_bytes(&params);
    let full = chain(&[&[(u64::MAX, room - 11 - 3)]]);
    assert_eq!(block_bytes(&full[0]), params.max_batch_bytes as usize);
    let raw = encode(&full, Version::Raw).unwrap();
    assert!(raw.len() <= params.max_batch_bytes as usize);
    assert_eq!(decode(&header(&full, &raw), &raw, LIMIT), Ok(full));
}

proptest! {
    #[test]
    fn sizes_bound_the_raw_payload_and_the_cheapest_is_no_dearer(steps in steps(12)) {
        let blocks = build(&steps);
        let raw = encode(&blocks, Version::Raw).unwrap();
        prop_assert!(raw.len() <= blocks.iter().map(block_bytes).sum());
        let bodies: usize = blocks.iter().map(|b| block_bytes(b) - HEADER_BYTES).sum();
        prop_assert!(raw.len() > bodies);
        let cheapest = encode_cheapest(&blocks).unwrap();
        prop_assert!(tokens(&cheapest) <= tokens(&raw));
        prop_assert!(cheapest.len() <= raw.len());
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        steps in steps(4), place in any::<prop::sample::Index>(), with in any::<u8>(), remove in any::<bool>(),
    ) {
        let blocks = build(&steps);
        let raw = encode(&blocks, Version::Raw).unwrap();
        let header = header(&blocks, &raw);
        let mut spoiled = raw.to_vec();
        let place = place.index(spoiled.len());
        if remove {
            spoiled.remove(place);
        } else {
            spoiled[place] = with;
        }
        // What the payload does not say comes from the header; it must be the header of these blocks.
        if let Ok(other) = decode(&header, &spoiled, LIMIT) {
            let last = &other.last().unwrap().header;
            if last.l1_origin_number == header.l1_origin_number && last.l1_origin_hash == header.l1_origin_hash
                && spoiled[0] == 0
            {
                prop_assert_eq!(encode(&other, Version::Raw).unwrap(), spoiled);
            }
        }
    }

    #[test]
    fn arbitrary_payloads_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300), version in 0_u8..3) {
        let blocks = chain(&[&[(1, 10)], &[]]);
        let header = header(&blocks, &[]);
        let typed = [&[version][..], &payload].concat();
        let _ = decode(&header, &typed, LIMIT);
    }
}
