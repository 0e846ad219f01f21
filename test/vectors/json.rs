//! How values stand in the files: flat objects, 64-bit numbers as decimal strings, bytes in hex.

use alloy::primitives::{Address, B256, hex, keccak256};
use rota::crypto::{SecretKey, Signature, SigningDomain};
use rota::domain::{BatchHeader, BlockHeader};
use serde_json::{Map, Value, json};

/// The L1 of all vectors.
pub(crate) const L1_CHAIN_ID: u64 = 31_337;

/// The settlement contract of all vectors.
pub(crate) fn settlement() -> Address {
    Address::from_word(keccak256("settlement"))
}

/// The registry of all vectors.
pub(crate) fn registry() -> Address {
    Address::from_word(keccak256("registry"))
}

/// The domain of everything but proofs of possession.
pub(crate) fn domain() -> SigningDomain {
    SigningDomain::new(L1_CHAIN_ID, settlement())
}

/// The one who signs all vectors.
pub(crate) fn key() -> SecretKey {
    SecretKey::from_bytes(keccak256("signer").0).unwrap()
}

/// A word that depends on a name and a number.
pub(crate) fn word(name: &str, number: u64) -> B256 {
    keccak256(format!("{name} {number}"))
}

/// A number that depends on a name and a number.
pub(crate) fn number(name: &str, which: u64) -> u64 {
    u64::from_be_bytes(word(name, which)[..8].try_into().unwrap())
}

/// Bytes that depend on a name and a number.
pub(crate) fn bytes(name: &str, which: u64, length: usize) -> Vec<u8> {
    (0..).flat_map(|part| word(&format!("{name} {which}"), part).0).take(length).collect()
}

pub(crate) fn dec(value: u64) -> Value {
    Value::String(value.to_string())
}

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> Value {
    Value::String(hex::encode_prefixed(bytes))
}

pub(crate) fn object(
    fields: impl IntoIterator<Item = (&'static str, Value)>,
) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) fn block_header(header: &BlockHeader) -> Map<String, Value> {
    object([
        ("generation", json!(header.generation.get())),
        ("height", dec(header.height.get())),
        ("epoch", dec(header.epoch.get())),
        ("proposer", hex(header.proposer)),
        ("timestamp", dec(header.timestamp.get())),
        ("parentHash", hex(header.parent_hash)),
        ("l1OriginNumber", dec(header.l1_origin_number)),
        ("l1OriginHash", hex(header.l1_origin_hash)),
        ("forcedThrough", dec(header.forced_through)),
        ("txCount", json!(header.tx_count)),
        ("txRoot", hex(header.tx_root)),
        ("hash", hex(header.hash())),
    ])
}

pub(crate) fn batch_header(header: &BatchHeader) -> Map<String, Value> {
    object([
        ("generation", json!(header.generation.get())),
        ("epoch", dec(header.epoch.get())),
        ("firstHeight", dec(header.first_height.get())),
        ("lastHeight", dec(header.last_height.get())),
        ("parentBlockHash", hex(header.parent_block_hash)),
        ("blocksRoot", hex(header.blocks_root)),
        ("lastBlockHash", hex(header.last_block_hash)),
        ("forcedThrough", dec(header.forced_through)),
        ("l1OriginNumber", dec(header.l1_origin_number)),
        ("l1OriginHash", hex(header.l1_origin_hash)),
        ("timestamp", dec(header.timestamp.get())),
        ("payloadHash", hex(header.payload_hash)),
        ("blobsHash", hex(header.blobs_hash)),
        ("usageHash", hex(header.usage_hash)),
        ("stateRoot", hex(header.state_root)),
        ("regularSince", dec(header.regular_since.get())),
    ])
}

/// A digest, [`key`]'s signature over it in both forms, and who that is.
pub(crate) fn signed(mut fields: Map<String, Value>, digest: B256) -> Value {
    let signature: Signature = key().sign(digest);
    assert_eq!(signature.recover(digest), Ok(key().address()));
    let compact = signature.to_compact();
    fields.extend(object([
        ("digest", hex(digest)),
        ("signer", hex(key().address())),
        ("r", hex(&compact[..32])),
        ("vs", hex(&compact[32..])),
        ("v", json!(signature.to_rsv()[64])),
    ]));
    Value::Object(fields)
}

/// What every file of digests begins with.
pub(crate) fn domain_fields() -> Map<String, Value> {
    object([
        ("name", json!("Rota")),
        ("version", json!("1")),
        ("chainId", dec(L1_CHAIN_ID)),
        ("settlement", hex(settlement())),
        ("separator", hex(domain().separator())),
    ])
}
