//! What goes into execution and what comes out of it.

use crate::skip::SkipReason;
use crate::transaction::Prepared;
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{BlockBody, Header, ReceiptEnvelope, TxEnvelope};
use alloy_eips::eip7685::Requests;
use alloy_primitives::{Address, B256, Bytes};

/// What one height of the derived order brings for one rollup. What escaped after a height stands before the next one's own.
#[derive(Debug, Clone)]
pub struct Height {
    /// Its number; the first is 1, and none is left out.
    pub number: u64,
    /// In milliseconds; before that of the height before it counts as that.
    pub timestamp_ms: u64,
    /// Who proposed it.
    pub proposer: Address,
    /// The hash of its block.
    pub block_hash: B256,
    /// The hash of the L1 block that it was built on.
    pub l1_origin_hash: B256,
    /// The rollup's transactions in their order.
    pub transactions: Vec<Prepared>,
}

impl Height {
    /// The second that its transactions are executed in.
    #[must_use]
    pub const fn second(&self) -> u64 {
        self.timestamp_ms / 1_000
    }
}

/// What became of one ordered transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is in the block of its second, at this index, whatever its status.
    Included {
        /// Its place among the block's transactions.
        index: usize,
    },
    /// It is in no block, and nothing of it is in the state.
    Skipped(SkipReason),
}

/// What became of a height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// The block that this height closed: that of an earlier second.
    pub closed: Option<Block>,
    /// For each of the height's transactions, in their order: its hash and what became of it.
    pub fates: Vec<(B256, Fate)>,
}

/// A closed block, as any Ethereum client takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
    /// The transactions with their senders.
    pub transactions: Vec<Recovered<TxEnvelope>>,
    /// A receipt for each.
    pub receipts: Vec<ReceiptEnvelope>,
    /// What the fork's contracts asked the consensus layer for. A rollup has none: nobody acts on them.
    pub requests: Requests,
    /// The last height of its second.
    pub last_height: u64,
}

impl Block {
    /// The block's RLP: header, transactions, no ommers, no withdrawals.
    #[must_use]
    pub fn rlp(&self) -> Bytes {
        let body = BlockBody {
            transactions: self.transactions.iter().map(|tx| tx.inner().clone()).collect(),
            ommers: Vec::new(),
            withdrawals: Some(Default::default()),
        };
        alloy_rlp::encode(alloy_consensus::Block::new(self.header.clone(), body)).into()
    }
}

/// What the open second holds so far: a block without its root, to which more may be added, and none be taken away.
#[derive(Debug, Clone, Copy)]
pub struct Pending<'a> {
    /// The number that the block will have.
    pub number: u64,
    /// Its second.
    pub timestamp: u64,
    /// Who will be paid its priority fees.
    pub beneficiary: Address,
    /// What a transaction pays for gas at least.
    pub base_fee: u64,
    /// The transactions so far.
    pub transactions: &'a [Recovered<TxEnvelope>],
    /// Their receipts.
    pub receipts: &'a [ReceiptEnvelope],
}
