#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use super::{Added, Cut, Ledger, MAX_INTRODUCED, MAX_UNKNOWN, Refusal, Signed};
use crate::crypto::Signature;
use crate::domain::{BatchHeader, Epoch, Evidence, Generation, Height, LeaderSet, Member, Seconds};
use alloy::primitives::{Address, B256};
use std::sync::Arc;

fn address(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn set() -> Arc<LeaderSet> {
    let members = (1..=4).map(|n| Member { signer: address(n), weight: 10 }).collect();
    let set = LeaderSet::new(Generation::new(0), Epoch::new(1), B256::ZERO, members);
    Arc::new(set.unwrap())
}

fn header(first: u64, last: u64, salt: u8) -> BatchHeader {
    BatchHeader {
        generation: Generation::new(0),
        epoch: Epoch::new(1),
        first_height: Height::new(first),
        last_height: Height::new(last),
        parent_block_hash: B256::repeat_byte(u8::try_from(first).unwrap() - 1),
        blocks_root: B256::repeat_byte(salt),
        last_block_hash: B256::repeat_byte(u8::try_from(last).unwrap()),
        forced_through: 0,
        l1_origin_number: 0,
        l1_origin_hash: B256::ZERO,
        timestamp: Seconds::new(0),
        payload_hash: B256::repeat_byte(salt),
        blobs_hash: B256::ZERO,
        usage_hash: B256::ZERO,
        state_root: B256::ZERO,
        regular_since: Seconds::new(0),
    }
}

/// Stands in for the EIP-712 digest: different for different headers.
fn digest(header: &BatchHeader) -> B256 {
    alloy::primitives::keccak256(format!("{header:?}"))
}

fn cut(header: BatchHeader) -> Cut {
    let (last_block_epoch, since) = (header.epoch, header.regular_since);
    Cut { digest: digest(&header), last_block_epoch, since, header }
}

fn add(
    ledger: &mut Ledger,
    header: &BatchHeader,
    signer: u8,
) -> Result<(bool, Option<Evidence>), Refusal> {
    let Added { is_new, evidence, .. } = ledger.add(signed(header, signer), &set())?;
    Ok((is_new, evidence))
}

fn signed(header: &BatchHeader, signer: u8) -> Signed {
    Signed {
        header: header.clone(),
        digest: digest(header),
        signer: address(signer),
        signature: Signature::from_compact([signer; 64]),
    }
}

fn certificate(ledger: &Ledger, index: usize) -> Option<super::Certificate> {
    ledger.certificate(index, Epoch::new(0), Epoch::new(9), |_| Some(set()))
}

#[test]
fn three_of_four_equal_members_certify() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    let header = header(1, 3, 1);
    ledger.push(cut(header.clone()));
    for signer in [4, 2] {
        assert_eq!(add(&mut ledger, &header, signer), Ok((true, None)));
    }
    assert_eq!(certificate(&ledger, 0), None);
    assert_eq!(ledger.missing(0, &set()), [address(1), address(3)]);
    assert_eq!(add(&mut ledger, &header, 2), Ok((false, None)), "counted once");

    add(&mut ledger, &header, 1).unwrap();
    let certificate = certificate(&ledger, 0).unwrap();
    assert_eq!(certificate.signers, 0b1011);
    let in_member_order = [1, 2, 4].map(|n| Signature::from_compact([n; 64]));
    assert_eq!(certificate.signatures, in_member_order);
}

#[test]
fn a_quorum_over_the_same_blocks_in_another_epoch_counts_too() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    ledger.push(cut(header(1, 3, 1)));
    let later = BatchHeader { epoch: Epoch::new(2), ..header(1, 3, 1) };
    for signer in 1..=3 {
        add(&mut ledger, &later, signer).unwrap();
    }
    assert_eq!(certificate(&ledger, 0).unwrap().header.epoch, Epoch::new(2));
    let too_old = ledger.certificate(0, Epoch::new(3), Epoch::new(9), |_| Some(set()));
    assert_eq!(too_old, None);
}

#[test]
fn a_regular_certificate_comes_first_and_contradicts_no_other_of_the_same_blocks() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    let own = BatchHeader { regular_since: Seconds::new(7), ..header(1, 3, 1) };
    ledger.push(cut(own.clone()));
    let irregular =
        BatchHeader { regular_since: Seconds::new(0), epoch: Epoch::new(2), ..own.clone() };
    // Of the same blocks, and since when another one has it that they are regular: not a batch that is known here.
    let elsewhere = BatchHeader { regular_since: Seconds::new(8), ..own.clone() };
    for signer in 1..=3 {
        assert_eq!(add(&mut ledger, &irregular, signer), Ok((true, None)));
        let added = ledger.add(signed(&elsewhere, signer), &set()).unwrap();
        assert_eq!((added.is_decided, added.evidence), (false, None));
    }
    assert_eq!(certificate(&ledger, 0).unwrap().header, irregular);
    for signer in 1..=3 {
        assert_eq!(add(&mut ledger, &own, signer), Ok((true, None)));
    }
    assert_eq!(certificate(&ledger, 0).unwrap().header, own);
    // Also where the own cut has gone over to another epoch.
    let later = BatchHeader { epoch: Epoch::new(3), ..irregular };
    let since = own.regular_since;
    let digest = digest(&later);
    let renewed = Cut { header: later, digest, last_block_epoch: Epoch::new(1), since };
    ledger.replace(0, renewed);
    assert_eq!(certificate(&ledger, 0).unwrap().header, own);
    assert!(!ledger.follows_regular(1));
}

#[test]
fn refuses_strangers_and_what_is_out_of_range() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(5), Epoch::new(0));
    let settled = Height::new(5);
    let refusal = add(&mut ledger, &header(5, 7, 1), 1).unwrap_err();
    assert_eq!(refusal, Refusal::OutOfRange { first: Height::new(5), settled });
    let refusal = add(&mut ledger, &header(6, 7, 1), 9).unwrap_err();
    assert_eq!(refusal, Refusal::NotMember { signer: address(9), epoch: Epoch::new(1) });
    let other = BatchHeader { generation: Generation::new(1), ..header(6, 7, 1) };
    assert!(matches!(add(&mut ledger, &other, 1), Err(Refusal::OtherGeneration { .. })));
}

#[test]
fn an_offender_cannot_fill_the_places_of_the_own_header_or_of_others() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    let own = header(1, 3, 99);
    ledger.push(cut(own.clone()));
    for salt in 0..u8::try_from(MAX_UNKNOWN).unwrap() {
        add(&mut ledger, &header(1, 3, salt), 4).unwrap();
    }
    let more = add(&mut ledger, &header(1, 3, 50), 4).unwrap_err();
    assert_eq!(more, Refusal::TooManyUnknown { signer: address(4) });
    assert_eq!(add(&mut ledger, &header(1, 3, 50), 3), Ok((true, None)), "another signer");
    let in_epoch = |epoch| BatchHeader { epoch: Epoch::new(epoch), ..own.clone() };
    for epoch in 0..MAX_INTRODUCED {
        let epoch = 10 + u64::try_from(epoch).unwrap();
        assert_eq!(add(&mut ledger, &in_epoch(epoch), 4), Ok((true, None)));
    }
    let more = add(&mut ledger, &in_epoch(50), 4).unwrap_err();
    assert_eq!(more, Refusal::TooManyVariants { signer: address(4), first: Height::new(1) });
    assert_eq!(add(&mut ledger, &in_epoch(50), 3), Ok((true, None)));
    assert_eq!(add(&mut ledger, &own, 4), Ok((true, None)));
}

#[test]
fn what_came_before_the_own_cut_counts_once_it_is_cut() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    let early = header(1, 3, 1);
    for signer in 1..=3 {
        let added = ledger.add(signed(&early, signer), &set()).unwrap();
        assert!(added.is_new && !added.is_decided);
    }
    let other = header(1, 2, 7);
    add(&mut ledger, &other, 1).unwrap();
    let counted = ledger.push(cut(early.clone()));
    assert_eq!(counted.len(), 3);
    assert!(certificate(&ledger, 0).is_some());
    assert_eq!(add(&mut ledger, &other, 1), Ok((false, None)), "still kept to compare");
}

#[test]
fn another_payload_version_of_a_cut_counts_once_its_hash_is_known() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    let own = header(1, 3, 1);
    ledger.push(cut(own.clone()));
    let raw = BatchHeader { payload_hash: B256::repeat_byte(9), ..own.clone() };
    assert!(ledger.asks_for_payload(&own).is_none());
    assert!(ledger.asks_for_payload(&header(1, 4, 1)).is_none(), "of other blocks");
    assert!(ledger.asks_for_payload(&raw).is_some());
    ledger.learn_payload(Height::new(1), raw.payload_hash);
    assert!(ledger.asks_for_payload(&raw).is_none());
    for signer in 1..=3 {
        assert!(ledger.add(signed(&raw, signer), &set()).unwrap().is_decided);
    }
    assert_eq!(certificate(&ledger, 0).unwrap().header, raw);
    let neither = BatchHeader { payload_hash: B256::repeat_byte(8), ..own };
    assert!(!ledger.add(signed(&neither, 1), &set()).unwrap().is_decided);
}

#[test]
fn a_message_is_compared_with_few_others_however_much_is_open() {
    let mut most = Vec::new();
    for open in [50_u64, 500, 2_000] {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        let wide = |first: u64, last: u64, salt: u8| BatchHeader {
            first_height: Height::new(first),
            last_height: Height::new(last),
            parent_block_hash: B256::ZERO,
            last_block_hash: B256::ZERO,
            ..header(1, 1, salt)
        };
        for batch in 0..open {
            let own = wide(3 * batch + 1, 3 * batch + 3, 1);
            ledger.push(cut(own.clone()));
            for signer in 1..=4 {
                ledger.add(signed(&own, signer), &set()).unwrap();
            }
        }
        // One height each, at even heights: none touches another or ends with it. And one over all.
        let mut compared = 0;
        let mut kept = 0;
        for height in (2..3 * open).step_by(2) {
            for salt in 0..8 {
                let short = wide(height, height, salt);
                let rivals = ledger.rivals(&short, address(4)).count();
                let overlapping = ledger.overlapping(&short, address(4)).len();
                compared = compared.max(rivals + overlapping);
                kept += usize::from(ledger.add(signed(&short, 4), &set()).is_ok());
            }
        }
        let all = wide(1, 3 * open, 5);
        compared = compared.max(ledger.overlapping(&all, address(4)).len());
        assert_eq!(kept, MAX_UNKNOWN);
        assert!(compared <= 2 * (MAX_UNKNOWN + 3 * (MAX_INTRODUCED + 1)), "{compared}");
        most.push(compared);
    }
    assert!(most.windows(2).all(|pair| pair[0] == pair[1]), "{most:?}");
}

#[test]
fn two_ends_at_one_height_are_an_offence_and_two_splits_are_not() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    assert_eq!(add(&mut ledger, &header(1, 3, 1), 1), Ok((true, None)));
    assert_eq!(add(&mut ledger, &header(1, 4, 1), 1), Ok((true, None)), "another split");
    assert_eq!(add(&mut ledger, &header(4, 6, 1), 1), Ok((true, None)), "the next batch");

    let forked = BatchHeader { last_block_hash: B256::repeat_byte(77), ..header(2, 3, 1) };
    assert_eq!(add(&mut ledger, &forked, 2), Ok((true, None)), "another signer");
    let (_, evidence) = add(&mut ledger, &forked, 1).unwrap();
    assert_eq!(evidence.unwrap().offender(), address(1));

    let torn = BatchHeader { parent_block_hash: B256::repeat_byte(78), ..header(7, 8, 1) };
    let (_, evidence) = add(&mut ledger, &torn, 1).unwrap();
    assert!(evidence.is_some(), "it does not begin where the batch to 6 ends");
}

#[test]
fn settling_drops_what_is_settled_and_asks_for_a_new_cut_when_the_split_differs() {
    let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
    for (first, last) in [(1, 3), (4, 6), (7, 9)] {
        ledger.push(cut(header(first, last, 1)));
    }
    assert!(ledger.settle(Height::new(3), Epoch::new(1)));
    assert_eq!(ledger.open().len(), 2);
    assert_eq!(ledger.epoch_before(0), Epoch::new(1));
    assert!(!ledger.settle(Height::new(5), Epoch::new(1)), "4..=5 settled as a batch");
    assert!(ledger.open().is_empty());
    // A reorg took it back.
    assert!(ledger.settle(Height::new(0), Epoch::new(0)));
}
