//! A wallet that sends each field of each type of transaction at the ends of its type and one beyond.

use super::rlp::{Draft, KINDS, Kind, Rlp, authorization, bytes, ends, fields, number};
use super::{Core, ROLLUPS};
use crate::crypto::SecretKey;
use crate::domain::{RollupId, RollupTransaction, SignedTransaction, authorizations_listed};
use crate::mempool::{Intake, Limits, Pool};
use crate::storage::Journal;
use crate::testing::{ROLLUP, key, raw_transaction};
use alloy::primitives::Bytes;
use std::sync::Arc;

/// A key for each transaction, so that none stands in another's way.
fn fresh(n: &mut u32) -> SecretKey {
    *n += 1;
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    SecretKey::from_bytes(bytes).unwrap()
}

/// What a field that is no number can hold.
fn odd_values(field: &str, by: &SecretKey, chain_id: u64) -> Vec<Rlp> {
    match field {
        "to" => [0, 1, 19, 20, 21, 32].map(|length| bytes(&vec![0xff; length])).to_vec(),
        "data" => {
            [1, 55, 56, 65_000, 65_536, 130_000].map(|length| bytes(&vec![0; length])).to_vec()
        }
        "accessList" => {
            let entry = |address: usize, keys: usize, key: usize| {
                let keys = vec![bytes(&vec![1; key]); keys];
                Rlp::List(vec![bytes(&vec![2; address]), Rlp::List(keys)])
            };
            let some = [
                entry(20, 0, 0),
                entry(20, 1, 32),
                entry(19, 0, 0),
                entry(21, 0, 0),
                entry(20, 1, 31),
                entry(20, 1, 33),
                entry(20, 2_000, 32),
            ];
            let mut all: Vec<_> = some.map(|one| Rlp::List(vec![one])).to_vec();
            all.extend([
                bytes(&[]),
                Rlp::List(vec![bytes(&[])]),
                Rlp::List(vec![entry(20, 0, 0); 2_000]),
            ]);
            all
        }
        "authorizationList" => {
            let mut all =
                vec![bytes(&[]), Rlp::List(Vec::new()), Rlp::List(vec![Rlp::List(Vec::new())])];
            let widths = [32, 20, 8, 1, 32, 32];
            for (at, width) in widths.into_iter().enumerate() {
                let values = ends(width).into_iter().chain([bytes(&[0]), Rlp::List(Vec::new())]);
                all.extend(values.map(|value| {
                    Rlp::List(vec![authorization(by, chain_id, 1, Some((at, value)))])
                }));
            }
            let chain = (1..400).map(|nonce| authorization(by, chain_id, nonce, None));
            all.push(Rlp::List(chain.collect()));
            all.push(Rlp::List(vec![authorization(by, chain_id, u64::MAX, None)]));
            all
        }
        _ => unreachable!("{field} is a number"),
    }
}

/// What each part of a signature can hold.
fn signature_values() -> Vec<Rlp> {
    let order = alloy::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let half = alloy::hex!("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0");
    let next_to = |number: [u8; 32], last: u8| {
        let mut other = number;
        other[31] = last;
        bytes(&other)
    };
    let mut all = ends(32);
    all.extend([bytes(&order), next_to(order, 0x40), bytes(&half), next_to(half, 0xa1)]);
    all.extend([2, 26, 27, 28, 34, 35, 36, 255, 256, u128::from(u64::MAX) * 2 + 37].map(number));
    all.extend([bytes(&[0]), Rlp::List(Vec::new())]);
    all
}

/// All of it, each transaction by a key of its own.
pub(super) fn all() -> Vec<Bytes> {
    let mut keys = 0;
    let mut all = Vec::new();
    for kind in KINDS {
        for chain_id in ROLLUPS {
            let by = fresh(&mut keys);
            all.push(Draft::plain(kind, &by, chain_id, 0).sign(&by, |_| {}));
        }
        let chain_id = ROLLUP.get();
        for (field, width) in fields(kind) {
            let values = |by: &SecretKey| match width {
                0 => odd_values(field, by, chain_id),
                width => {
                    let leading_zero = bytes(&[0]);
                    ends(*width).into_iter().chain([leading_zero, Rlp::List(Vec::new())]).collect()
                }
            };
            let count = values(&fresh(&mut keys)).len();
            for at in 0..count {
                let by = fresh(&mut keys);
                let draft = Draft::plain(kind, &by, chain_id, 0);
                all.push(draft.with(field, values(&by)[at].clone()).sign(&by, |_| {}));
            }
        }
        for part in 0..3 {
            for value in signature_values() {
                let by = fresh(&mut keys);
                let draft = Draft::plain(kind, &by, chain_id, 0);
                all.push(draft.sign(&by, |parts| parts[part] = value));
            }
        }
    }
    // What follows a nonce at the end of its type, from one account.
    for end in [u64::MAX - 2, u64::MAX - 1, u64::MAX] {
        let draft = Draft::plain(Kind::Type2, &key(3), ROLLUP.get(), end);
        all.push(draft.sign(&key(3), |_| {}));
    }
    all.push(Bytes::new());
    all.extend((0..=255).map(|first| Bytes::from(vec![first])));
    all.extend((0..=255).map(|first| Bytes::from(vec![first; 40])));
    all
}

/// A client that nobody expects anything odd of is served.
async fn goes_on(core: &mut Core, by: u8) {
    core.submit(&raw_transaction(&key(by), 0)).unwrap();
    core.drain().await;
    let own = SignedTransaction::decode(raw_transaction(&key(by), 0), 1 << 16).unwrap();
    assert!(core.derived.contains(&(ROLLUP, own.hash)));
}

#[tokio::test]
async fn whatever_a_wallet_submits_is_refused_with_a_reason_or_ordered() {
    let mut core = Core::new(Limits::default());
    let (mut taken, mut refused) = (0, 0);
    for raw in all() {
        match core.submit(&raw) {
            Ok(_) => taken += 1,
            Err(refusal) => {
                refused += 1;
                assert!(!refusal.to_string().is_empty() && refusal.code() < -32_000, "{refusal:?}");
            }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
    goes_on(&mut core, 5).await;
}

#[tokio::test]
async fn whatever_a_peer_forwards_is_dropped_or_ordered_and_only_what_no_agent_takes_costs_the_link()
 {
    let mut core = Core::new(Limits { per_peer: usize::MAX, ..Limits::default() });
    for raw in all() {
        for rollup in [ROLLUPS[0], ROLLUPS[3]].map(RollupId::new) {
            let keeps = core.forward(rollup, &raw);
            let decoded = SignedTransaction::decode(raw.clone(), 1 << 16);
            let is_honest = match &decoded {
                // What it is nobody looks at: it is refused by the number of its authorizations.
                _ if authorizations_listed(&raw) > 32 => true,
                Ok(signed) => signed.transaction.rollup == rollup,
                Err(crate::domain::TransactionError::TooLarge { .. }) => true,
                Err(_) => false,
            };
            assert_eq!(keeps, is_honest, "{decoded:?}");
        }
    }
    goes_on(&mut core, 5).await;
}

#[tokio::test]
async fn whatever_a_leader_puts_into_a_block_it_is_judged_and_what_is_valid_is_derived() {
    let mut core = Core::new(Limits::default());
    let mut valid = 0;
    for raw in all() {
        let decoded = SignedTransaction::decode(raw.clone(), 1 << 20);
        let rollup = decoded.as_ref().map_or(ROLLUP, |signed| signed.transaction.rollup);
        let is_valid = core.decide(vec![RollupTransaction { rollup, raw }]).await;
        if is_valid {
            assert!(decoded.is_ok());
            valid += 1;
        }
    }
    assert!(valid > 100, "{valid}");
    goes_on(&mut core, 5).await;
}

#[tokio::test]
async fn whatever_comes_back_from_the_journal_an_agent_starts_and_serves() {
    let core = Core::new(Limits::default());
    let folder = core.around.folder.path().join("journal");
    let (mut journal, _) = Journal::open(&folder).unwrap();
    let records: Vec<_> =
        all().into_iter().map(|raw| RollupTransaction { rollup: ROLLUP, raw }).collect();
    let listed: Vec<_> = records.iter().map(|one| (one.hash(), one)).collect();
    journal.append(&listed).unwrap();
    drop(journal);
    for start in 0..3 {
        let (store, mirror) = (core.around.store.clone(), core.around.mirror.clone());
        let pool = Arc::new(Pool::new(Limits::default(), store, mirror).unwrap());
        let (journal, held) = Journal::open(&folder).unwrap();
        let (intake, thread) =
            Intake::start(Arc::clone(&pool), journal, held, Box::new(|| {})).unwrap();
        intake.submit(ROLLUP, raw_transaction(&key(5), start)).await.unwrap();
        assert!(pool.waiting().transactions > 100);
        drop(intake);
        thread.await;
    }
}
