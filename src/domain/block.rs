//! Blocks: what one height of agreement orders (R13).

use crate::crypto::Signature;
use crate::crypto::merkle;
use crate::crypto::words::Words;
use crate::domain::encoding::{read_address, read_hash, write_address, write_hash};
use crate::domain::{Epoch, Generation, Height, Millis, RollupTransaction, Round};
use alloy::primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// A block header. Consensus-critical: the block hash is keccak256 of its ABI encoding, field by field in this order.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct BlockHeader {
    /// The generation that ordered it.
    pub generation: Generation,
    /// Its position.
    pub height: Height,
    /// The epoch whose set agreed on it (R15).
    pub epoch: Epoch,
    /// Signer of the member whose block this is; zero in block 0 alone.
    #[borsh(serialize_with = "write_address", deserialize_with = "read_address")]
    pub proposer: Address,
    /// When it was built, by the proposer's clock; never before the parent's.
    pub timestamp: Millis,
    /// Hash of the block before.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub parent_hash: B256,
    /// The L1 block that it was built on (R16).
    pub l1_origin_number: u64,
    /// Hash of that L1 block.
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub l1_origin_hash: B256,
    /// Forced entries consumed up to here, exclusive (R17).
    pub forced_through: u64,
    /// Number of its own transactions.
    pub tx_count: u32,
    /// Root of the tree of its own transactions (R25).
    #[borsh(serialize_with = "write_hash", deserialize_with = "read_hash")]
    pub tx_root: B256,
}

impl BlockHeader {
    /// The block hash: keccak256 of the ABI encoding, 11 words.
    pub fn hash(&self) -> B256 {
        Words::with_capacity(11)
            .uint(self.generation.get().into())
            .uint(self.height.get())
            .uint(self.epoch.get())
            .address(self.proposer)
            .uint(self.timestamp.get())
            .word(self.parent_hash)
            .uint(self.l1_origin_number)
            .word(self.l1_origin_hash)
            .uint(self.forced_through)
            .uint(self.tx_count.into())
            .word(self.tx_root)
            .hash()
    }

    /// Whether the header commits to exactly these transactions, in this order.
    pub fn commits_to(&self, transactions: &[RollupTransaction]) -> bool {
        usize::try_from(self.tx_count) == Ok(transactions.len())
            && self.tx_root == tx_root(transactions)
    }
}

/// Root of the tree of a block's own transactions (R25).
pub fn tx_root(transactions: &[RollupTransaction]) -> B256 {
    let leaves: Vec<B256> =
        transactions.iter().map(|tx| merkle::transaction_leaf(tx.rollup, tx.hash())).collect();
    merkle::root(&leaves)
}

/// A block: the header and the transactions that it commits to, in order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// What the members vote on.
    pub header: BlockHeader,
    /// Its own transactions; forced entries are not part of the body.
    pub transactions: Vec<RollupTransaction>,
}

/// More than 2/3 of the weight of a height's set precommitted to one block.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Certificate {
    /// The round of the precommits.
    pub round: Round,
    /// Signatures over the same precommit digest, by signer. Not sorted.
    pub signatures: Vec<(Signer, Signature)>,
}

/// A signer's address in a form that borsh encodes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Signer(pub [u8; 20]);

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Address::new(self.0).fmt(f)
    }
}

/// A block with the certificate that decided it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DecidedBlock {
    /// The block.
    pub block: Block,
    /// Why it is decided.
    pub certificate: Certificate,
}

#[cfg(test)]
mod tests {
    use super::{BlockHeader, tx_root};
    use crate::domain::{Epoch, Generation, Height, Millis, RollupId, RollupTransaction};
    use alloy::primitives::{Address, B256, keccak256};
    use alloy::sol_types::SolValue;

    #[test]
    fn the_block_hash_is_keccak_of_the_abi_encoding() {
        let header = BlockHeader {
            generation: Generation::new(1),
            height: Height::new(2),
            epoch: Epoch::new(3),
            proposer: Address::repeat_byte(4),
            timestamp: Millis::new(5),
            parent_hash: B256::repeat_byte(6),
            l1_origin_number: 7,
            l1_origin_hash: B256::repeat_byte(8),
            forced_through: 9,
            tx_count: 10,
            tx_root: B256::repeat_byte(11),
        };
        let fields = (
            1_u32,
            2_u64,
            3_u64,
            Address::repeat_byte(4),
            5_u64,
            B256::repeat_byte(6),
            7_u64,
            B256::repeat_byte(8),
            9_u64,
            10_u32,
            B256::repeat_byte(11),
        );
        assert_eq!(header.hash(), keccak256(fields.abi_encode()));
    }

    #[test]
    fn a_header_commits_to_count_order_and_rollup() {
        let tx = |rollup, raw: &'static [u8]| RollupTransaction {
            rollup: RollupId::new(rollup),
            raw: raw.into(),
        };
        let body = [tx(1, b"a"), tx(2, b"b")];
        let header = BlockHeader {
            generation: Generation::new(0),
            height: Height::new(1),
            epoch: Epoch::new(0),
            proposer: Address::ZERO,
            timestamp: Millis::new(0),
            parent_hash: B256::ZERO,
            l1_origin_number: 0,
            l1_origin_hash: B256::ZERO,
            forced_through: 0,
            tx_count: 2,
            tx_root: tx_root(&body),
        };
        assert!(header.commits_to(&body));
        assert!(!header.commits_to(&body[..1]));
        assert!(!header.commits_to(&[tx(2, b"b"), tx(1, b"a")]));
        assert!(!header.commits_to(&[tx(2, b"a"), tx(2, b"b")]));
        assert!(!BlockHeader { tx_count: 3, ..header }.commits_to(&body));
    }
}
