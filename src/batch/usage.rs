//! How many bytes of a batch each rollup takes (R43).

use crate::batch::body::transaction_bytes;
use crate::domain::{Block, RollupId};
use alloy::primitives::{B256, keccak256};
use std::collections::BTreeMap;

/// What one rollup takes in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The rollup.
    pub rollup: RollupId,
    /// Bytes of its transactions in the uncompressed payload, each with its length.
    pub bytes: u32,
}

/// What each rollup takes in a batch, ascending by rollup.
pub fn usage(blocks: &[Block]) -> Vec<Usage> {
    let mut by_rollup: BTreeMap<RollupId, u32> = BTreeMap::new();
    for transaction in blocks.iter().flat_map(|block| &block.transactions) {
        let bytes = by_rollup.entry(transaction.rollup).or_default();
        let more = u32::try_from(transaction_bytes(transaction)).unwrap_or(u32::MAX);
        *bytes = bytes.saturating_add(more);
    }
    by_rollup.into_iter().map(|(rollup, bytes)| Usage { rollup, bytes }).collect()
}

/// keccak256 of the [`packed_usage`].
pub fn usage_hash(usage: &[Usage]) -> B256 {
    keccak256(packed_usage(usage))
}

/// The list as L1 takes it: 8 bytes of rollup and 4 of bytes each.
pub fn packed_usage(usage: &[Usage]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(usage.len().saturating_mul(12));
    for entry in usage {
        packed.extend_from_slice(&entry.rollup.get().to_be_bytes());
        packed.extend_from_slice(&entry.bytes.to_be_bytes());
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::{Usage, usage, usage_hash};
    use crate::batch::tests::chain;
    use crate::domain::RollupId;
    use alloy::primitives::{hex, keccak256};

    #[test]
    fn rollups_ascend_and_each_length_is_counted() {
        let blocks = chain(&[&[(9, 200), (3, 10)], &[(9, 1)]]);
        let list = usage(&blocks);
        assert_eq!(
            list,
            [
                Usage { rollup: RollupId::new(3), bytes: 11 },
                Usage { rollup: RollupId::new(9), bytes: 204 }
            ]
        );
        assert_eq!(
            usage_hash(&list),
            keccak256(hex!("00000000000000030000000b0000000000000009000000cc"))
        );
    }

    #[test]
    fn nothing_is_the_hash_of_nothing() {
        assert_eq!(usage_hash(&usage(&chain(&[&[]]))), keccak256([]));
    }
}
