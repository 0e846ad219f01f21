//! How borsh writes the alloy types that domain types hold: as the bytes that they are. Local form, for disk and peers;
//! what is hashed or settled has encodings of its own.

use alloy::primitives::{Address, B256, Bytes};
use borsh::io::{Read, Result, Write};
use borsh::{BorshDeserialize, BorshSerialize};

pub(super) fn write_hash<W: Write>(hash: &B256, writer: &mut W) -> Result<()> {
    hash.0.serialize(writer)
}

pub(super) fn read_hash<R: Read>(reader: &mut R) -> Result<B256> {
    <[u8; 32]>::deserialize_reader(reader).map(B256::new)
}

pub(super) fn write_hashes<W: Write>(hashes: &[B256], writer: &mut W) -> Result<()> {
    hashes.iter().map(|hash| hash.0).collect::<Vec<_>>().serialize(writer)
}

pub(super) fn read_hashes<R: Read>(reader: &mut R) -> Result<Vec<B256>> {
    Vec::<[u8; 32]>::deserialize_reader(reader)
        .map(|hashes| hashes.into_iter().map(B256::new).collect())
}

pub(super) fn write_address<W: Write>(address: &Address, writer: &mut W) -> Result<()> {
    address.0.0.serialize(writer)
}

pub(super) fn read_address<R: Read>(reader: &mut R) -> Result<Address> {
    <[u8; 20]>::deserialize_reader(reader).map(Address::new)
}

pub(super) fn write_bytes<W: Write>(bytes: &Bytes, writer: &mut W) -> Result<()> {
    bytes.0.as_ref().serialize(writer)
}

pub(super) fn read_bytes<R: Read>(reader: &mut R) -> Result<Bytes> {
    Vec::<u8>::deserialize_reader(reader).map(Bytes::from)
}
