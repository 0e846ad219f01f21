//! ABI encoding of static fields: one 32-byte word each.

use alloy::primitives::{Address, B256, keccak256};

/// Words in the order in which they were added.
pub(crate) struct Words(Vec<u8>);

impl Words {
    /// No words yet; room for `count` of them.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count.saturating_mul(32)))
    }

    /// Adds a `bytes32`.
    pub(crate) fn word(mut self, word: B256) -> Self {
        self.0.extend_from_slice(word.as_slice());
        self
    }

    /// Adds an unsigned integer of at most 64 bits.
    pub(crate) fn uint(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&[0; 24]);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Adds an `int32`, sign-extended.
    pub(crate) fn int32(mut self, value: i32) -> Self {
        self.0.extend_from_slice(&[if value < 0 { 0xff } else { 0 }; 28]);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Adds an address.
    pub(crate) fn address(mut self, address: Address) -> Self {
        self.0.extend_from_slice(&[0; 12]);
        self.0.extend_from_slice(address.as_slice());
        self
    }

    /// keccak256 of all words.
    pub(crate) fn hash(self) -> B256 {
        keccak256(self.0)
    }
}
