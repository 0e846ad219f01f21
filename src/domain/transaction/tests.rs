#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own making")]

use super::{MAX_NONCE, RollupTransaction, SignedTransaction, TransactionError};
use crate::crypto::{SecretKey, SignatureError};
use crate::domain::RollupId;
use alloy::consensus::transaction::{RlpEcdsaDecodableTx, SignableTransaction};
use alloy::consensus::{TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy::eips::eip7702::{Authorization as Eip7702Authorization, SignedAuthorization};
use alloy::primitives::{Address, Bytes, Signature, TxKind, U256};
use proptest::prelude::*;

const LIMIT: usize = 4096;
const CHAIN: u64 = 4_242;

fn key() -> SecretKey {
    SecretKey::from_bytes([7; 32]).unwrap()
}

/// Signs with our own key and encodes with alloy; `mutate` may spoil the signature.
fn encode_with<T>(tx: &T, mutate: impl FnOnce(Signature) -> Signature) -> Bytes
where
    T: RlpEcdsaDecodableTx + SignableTransaction<Signature>,
{
    let rsv = key().sign(tx.signature_hash()).to_rsv();
    let signature = mutate(Signature::from_raw_array(&rsv).unwrap());
    let mut raw = Vec::new();
    tx.eip2718_encode(&signature, &mut raw);
    raw.into()
}

fn encode<T>(tx: &T) -> Bytes
where
    T: RlpEcdsaDecodableTx + SignableTransaction<Signature>,
{
    encode_with(tx, |signature| signature)
}

fn eip1559() -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN,
        nonce: 9,
        gas_limit: 21_000,
        max_fee_per_gas: 30,
        max_priority_fee_per_gas: 2,
        to: TxKind::Call(Address::repeat_byte(1)),
        value: U256::from(5),
        ..Default::default()
    }
}

/// An authorization by the same key.
fn authorization(chain_id: u64, nonce: u64) -> SignedAuthorization {
    let authorization =
        Eip7702Authorization { chain_id: U256::from(chain_id), address: Address::ZERO, nonce };
    let signature = key().sign(authorization.signature_hash()).to_rsv();
    authorization.into_signed(Signature::from_raw_array(&signature).unwrap())
}

fn eip7702(nonce: u64, authorization_list: Vec<SignedAuthorization>) -> TxEip7702 {
    TxEip7702 {
        chain_id: CHAIN,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 30,
        max_priority_fee_per_gas: 2,
        authorization_list,
        ..Default::default()
    }
}

fn legacy(chain_id: Option<u64>) -> TxLegacy {
    TxLegacy {
        chain_id,
        nonce: 9,
        gas_limit: 21_000,
        gas_price: 30,
        to: TxKind::Create,
        value: U256::ZERO,
        input: Bytes::from_static(&[0xfe]),
    }
}

#[test]
fn every_type_that_an_l2_knows_is_decoded() {
    let raws = [
        (encode(&legacy(Some(CHAIN))), 30),
        (
            encode(&TxEip2930 {
                chain_id: CHAIN,
                nonce: 9,
                gas_limit: 21_000,
                gas_price: 30,
                ..Default::default()
            }),
            30,
        ),
        (encode(&eip1559()), 2),
        (encode(&eip7702(9, vec![authorization(CHAIN, 10)])), 2),
    ];
    for (raw, priority_fee_wei) in raws {
        let signed = SignedTransaction::decode(raw.clone(), LIMIT).unwrap();
        assert_eq!(signed.sender, key().address());
        assert_eq!(signed.transaction, RollupTransaction { rollup: RollupId::new(CHAIN), raw });
        assert_eq!(signed.hash, signed.transaction.hash());
        assert_eq!((signed.nonce, signed.gas_limit), (9, 21_000));
        assert_eq!((signed.max_fee_wei, signed.priority_fee_wei), (30, priority_fee_wei));
    }
}

#[test]
fn size_is_looked_at_first() {
    let raw = encode(&eip1559());
    let limit = raw.len() - 1;
    assert_eq!(
        SignedTransaction::decode(raw.clone(), limit),
        Err(TransactionError::TooLarge { limit, actual: raw.len() })
    );
    assert!(SignedTransaction::decode(raw.clone(), raw.len()).is_ok());
}

#[test]
fn blob_transactions_are_refused() {
    let raw = Bytes::from_static(&[3, 0xc0]);
    assert_eq!(SignedTransaction::decode(raw, LIMIT), Err(TransactionError::Blob));
}

#[test]
fn blob_transactions_are_refused_as_such_whatever_they_bring_along() {
    let raw: Bytes = [&[3][..], &vec![0xc0; 200_000]].concat().into();
    assert_eq!(SignedTransaction::decode(raw, LIMIT), Err(TransactionError::Blob));
}

#[test]
fn refuses_a_nonce_at_the_end_of_its_type() {
    let nonce = u64::MAX;
    let raws = |nonce| {
        [
            encode(&TxLegacy { nonce, ..legacy(Some(CHAIN)) }),
            encode(&TxEip2930 { chain_id: CHAIN, nonce, ..Default::default() }),
            encode(&TxEip1559 { nonce, ..eip1559() }),
            encode(&eip7702(nonce, vec![authorization(CHAIN, 0)])),
        ]
    };
    for raw in raws(nonce) {
        let refused = SignedTransaction::decode(raw, LIMIT);
        assert_eq!(refused, Err(TransactionError::NoSuchNonce));
    }
    for raw in raws(MAX_NONCE) {
        assert_eq!(SignedTransaction::decode(raw, LIMIT).unwrap().nonce, MAX_NONCE);
    }
}

#[test]
fn an_authorization_counts_if_an_evm_of_this_chain_would_look_at_it() {
    let spoilt = |y_parity, r, s| {
        let good = authorization(CHAIN, 3);
        SignedAuthorization::new_unchecked(good.inner().clone(), y_parity, r, s)
    };
    let good = authorization(CHAIN, 3);
    let listed = vec![
        good.clone(),
        authorization(0, 4),
        authorization(CHAIN + 1, 5),
        authorization(CHAIN, MAX_NONCE),
        authorization(CHAIN, u64::MAX),
        spoilt(2, good.r(), good.s()),
        spoilt(255, good.r(), good.s()),
        spoilt(good.y_parity(), U256::ZERO, good.s()),
        spoilt(good.y_parity(), good.r(), U256::MAX),
    ];
    let signed = SignedTransaction::decode(encode(&eip7702(2, listed)), LIMIT).unwrap();
    let counted: Vec<u64> = signed.authorizations.iter().map(|one| one.nonce).collect();
    assert_eq!(counted, [3, 4, MAX_NONCE]);
    assert!(signed.authorizations.iter().all(|one| one.authority == key().address()));
    assert_eq!(signed.nonce_after(), 5, "its own nonce, then 3 and 4");
}

#[test]
fn a_type_4_transaction_without_authorizations_is_none() {
    let refused = SignedTransaction::decode(encode(&eip7702(0, Vec::new())), LIMIT);
    assert!(matches!(refused, Err(TransactionError::Malformed { .. })), "{refused:?}");
}

#[test]
fn a_transaction_without_a_chain_id_is_refused() {
    for raw in [
        encode(&legacy(None)),
        encode(&legacy(Some(0))),
        encode(&TxEip1559 { chain_id: 0, ..eip1559() }),
    ] {
        assert_eq!(SignedTransaction::decode(raw, LIMIT), Err(TransactionError::NoChainId));
    }
}

#[test]
fn a_high_s_is_refused() {
    const ORDER: U256 =
        alloy::uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
    let raw = encode_with(&eip1559(), |s| Signature::new(s.r(), ORDER - s.s(), !s.v()));
    assert_eq!(
        SignedTransaction::decode(raw, LIMIT),
        Err(TransactionError::BadSignature(SignatureError::HighS))
    );
}

#[test]
fn a_signature_that_speaks_for_nobody_is_refused() {
    for (r, s) in
        [(U256::ZERO, U256::from(1)), (U256::from(1), U256::ZERO), (U256::MAX, U256::from(1))]
    {
        let raw = encode_with(&eip1559(), |_| Signature::new(r, s, false));
        assert_eq!(
            SignedTransaction::decode(raw, LIMIT),
            Err(TransactionError::BadSignature(SignatureError::NotRecoverable))
        );
    }
}

#[test]
fn a_trailing_byte_is_refused() {
    for raw in [encode(&eip1559()), encode(&legacy(Some(CHAIN)))] {
        let longer: Bytes = [raw.as_ref(), &[0]].concat().into();
        assert!(matches!(
            SignedTransaction::decode(longer, LIMIT),
            Err(TransactionError::Malformed { .. })
        ));
    }
}

#[test]
fn a_transaction_is_for_the_rollup_that_it_is_listed_under() {
    let good = SignedTransaction::decode(encode(&eip1559()), LIMIT).unwrap().transaction;
    let (expected, actual) = (RollupId::new(1), good.rollup);
    assert_eq!(good.decode(LIMIT).unwrap().sender, key().address());
    assert_eq!(
        RollupTransaction { rollup: expected, ..good }.decode(LIMIT),
        Err(TransactionError::WrongRollup { expected, actual })
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..6) {
        let _ = SignedTransaction::decode(bytes.clone().into(), LIMIT);
        let typed: Vec<u8> = [&[kind][..], &bytes].concat();
        let _ = SignedTransaction::decode(typed.into(), LIMIT);
    }

    #[test]
    fn a_flipped_bit_gives_another_transaction_or_none(
        place in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let raw = encode(&eip1559());
        let original = SignedTransaction::decode(raw.clone(), LIMIT).unwrap();
        let mut bytes = raw.to_vec();
        bytes[place.index(raw.len())] ^= 1 << bit;
        if let Ok(other) = SignedTransaction::decode(bytes.clone().into(), LIMIT) {
            prop_assert_eq!(other.transaction.raw.as_ref(), bytes.as_slice());
            prop_assert_ne!(other.hash, original.hash);
            prop_assert_ne!((other.sender, other.nonce), (original.sender, original.nonce));
        }
    }
}
