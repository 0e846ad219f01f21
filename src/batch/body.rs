//! The body of a block: its own transactions, as agreement streams them and as payloads hold them.
//!
//! ```text
//! body        = { [ switch ] transaction }
//! transaction = length (> 0) ‖ raw EIP-2718 bytes
//! switch      = 0 ‖ rollup          only where the rollup changes; it is 0 before the first transaction
//! ```
//!
//! Numbers are LEB128. A block with one rollup pays for its id once; the encoding is canonical, so that size accounting
//! (R20, R43) is the same everywhere.

use crate::batch::wire::{MAX_NUMBER_BYTES, Reader, WireError, number_bytes, put_number};
use crate::domain::{RollupId, RollupTransaction};
use alloy::primitives::Bytes;

/// The most bytes that one more transaction adds to a body: a switch, the length and the raw bytes.
pub fn max_transaction_bytes(transaction: &RollupTransaction) -> usize {
    transaction_bytes(transaction).saturating_add(1 + MAX_NUMBER_BYTES)
}

/// Bytes of a transaction without the switch before it: what its rollup is charged for (R43).
pub fn transaction_bytes(transaction: &RollupTransaction) -> usize {
    number_bytes(transaction.raw.len() as u64).saturating_add(transaction.raw.len())
}

/// Bytes that [`encode`] gives, without encoding.
pub fn body_bytes(transactions: &[RollupTransaction]) -> usize {
    let mut rollup = RollupId::new(0);
    let mut bytes: usize = 0;
    for transaction in transactions {
        if transaction.rollup != rollup {
            rollup = transaction.rollup;
            bytes = bytes.saturating_add(1).saturating_add(number_bytes(rollup.get()));
        }
        bytes = bytes.saturating_add(transaction_bytes(transaction));
    }
    bytes
}

/// Encodes a body. A transaction without any bytes has no encoding; no block that honest members agree on holds one, and
/// what is written for it does not decode.
pub fn encode(transactions: &[RollupTransaction]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body_bytes(transactions));
    write(&mut out, transactions);
    out
}

/// Decodes a whole body. Strict: what it accepts is what [`encode`] writes for the result.
///
/// # Errors
///
/// [`WireError`] says where the first deviation is.
pub fn decode(bytes: &[u8]) -> Result<Vec<RollupTransaction>, WireError> {
    let mut reader = Reader::new(bytes);
    let mut body = Vec::new();
    let mut rollup = RollupId::new(0);
    while !reader.is_at_end() {
        body.push(read_transaction(&mut reader, &mut rollup)?);
    }
    Ok(body)
}

/// Appends a body to a payload.
pub(super) fn write(out: &mut Vec<u8>, transactions: &[RollupTransaction]) {
    let mut rollup = RollupId::new(0);
    for transaction in transactions {
        if transaction.rollup != rollup {
            rollup = transaction.rollup;
            out.push(0);
            put_number(out, rollup.get());
        }
        put_number(out, transaction.raw.len() as u64);
        out.extend_from_slice(&transaction.raw);
    }
}

/// Reads a body of `count` transactions out of a payload.
pub(super) fn read(
    reader: &mut Reader<'_>,
    count: u32,
) -> Result<Vec<RollupTransaction>, WireError> {
    let mut rollup = RollupId::new(0);
    (0..count).map(|_| read_transaction(reader, &mut rollup)).collect()
}

fn read_transaction(
    reader: &mut Reader<'_>,
    rollup: &mut RollupId,
) -> Result<RollupTransaction, WireError> {
    let mut at = reader.at();
    let mut length = reader.number("transaction length")?;
    if length == 0 {
        let id_at = reader.at();
        let id = reader.number("rollup")?;
        if id == rollup.get() {
            return Err(WireError::NotCanonical { field: "rollup", at: id_at, value: id });
        }
        *rollup = RollupId::new(id);
        at = reader.at();
        length = reader.number("transaction length")?;
        if length == 0 {
            return Err(WireError::NotCanonical { field: "transaction length", at, value: 0 });
        }
    }
    let length = usize::try_from(length)
        .map_err(|_| WireError::BadNumber { field: "transaction length", at })?;
    let raw = Bytes::copy_from_slice(reader.take(length, "transaction")?);
    Ok(RollupTransaction { rollup: *rollup, raw })
}

#[cfg(test)]
mod tests {
    use super::{WireError, body_bytes, decode, encode, max_transaction_bytes};
    use crate::batch::tests::bodies;
    use crate::domain::{RollupId, RollupTransaction};
    use proptest::prelude::*;

    fn tx(rollup: u64, raw: &'static [u8]) -> RollupTransaction {
        RollupTransaction { rollup: RollupId::new(rollup), raw: raw.into() }
    }

    #[test]
    fn a_rollup_is_named_once_for_a_run() {
        let body = [tx(300, b"a"), tx(300, b"bc"), tx(1, b"d")];
        assert_eq!(encode(&body), [0, 0xac, 2, 1, b'a', 2, b'b', b'c', 0, 1, 1, b'd']);
    }

    #[test]
    fn other_ways_to_write_the_same_are_refused() {
        let not_canonical = |field, at, value| Err(WireError::NotCanonical { field, at, value });
        assert_eq!(decode(&[0, 5, 1, b'a', 0, 5, 1, b'b']), not_canonical("rollup", 5, 5));
        assert_eq!(decode(&[0, 5, 0, 6, 1, b'a']), not_canonical("transaction length", 2, 0));
        assert_eq!(decode(&[0, 0, 1, b'a']), not_canonical("rollup", 1, 0));
        assert_eq!(decode(&[0, 5]), Err(WireError::Short { field: "transaction length", at: 2 }));
        assert_eq!(decode(&[0, 5, 9, 1]), Err(WireError::Short { field: "transaction", at: 3 }));
    }

    proptest! {
        #[test]
        fn a_body_comes_back(body in bodies(20)) {
            let bytes = encode(&body);
            prop_assert_eq!(bytes.len(), body_bytes(&body));
            prop_assert!(bytes.len() <= body.iter().map(max_transaction_bytes).sum());
            prop_assert_eq!(decode(&bytes), Ok(body));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(0_u8..6, 0..40)) {
            if let Ok(body) = decode(&bytes) {
                prop_assert_eq!(encode(&body), bytes);
            }
        }
    }
}
