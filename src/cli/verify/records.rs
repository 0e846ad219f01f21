//! What `rota verify --json` prints, a line each. docs/VERIFY.md is the description for those who read it.

use crate::derive::{Item, Noop, NoopReason};
use crate::domain::{Block, BlockHeader, ForcedEscape, Place, SettledBatch};
use crate::l1::proven::Violation;
use alloy::primitives::{Address, B256, Bytes};
use serde::Serialize;

/// The version of the format. A field that is added leaves it as it is.
pub(super) const FORMAT: u32 = 1;

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Record {
    Start {
        format: u32,
        rollup: u64,
        chain_id: u64,
        settlement: Address,
        l1_block: u64,
        l1_block_hash: B256,
    },
    Batch {
        batch: u64,
        generation: u32,
        epoch: u64,
        first_height: u64,
        last_height: u64,
        parent_block_hash: B256,
        last_block_hash: B256,
        forced_through: u64,
        timestamp: u64,
        payload_hash: B256,
        poster: Address,
        signers: String,
        late: bool,
        led: bool,
        /// Of all rollups, with and without effect.
        transactions: usize,
        #[serde(flatten)]
        l1: L1Place,
    },
    Escape {
        first: u64,
        through: u64,
        #[serde(flatten)]
        l1: L1Place,
    },
    Transaction {
        #[serde(flatten)]
        stand: Stand,
        hash: B256,
        sender: Address,
        nonce: u64,
        raw: Bytes,
        #[serde(flatten)]
        l1: L1Place,
    },
    Noop {
        #[serde(flatten)]
        stand: Stand,
        hash: B256,
        reason: &'static str,
        /// Where the same transaction was kept, of a duplicate.
        kept_at: Option<u64>,
        /// What is wrong with the bytes, if that is the reason.
        detail: Option<String>,
        raw: Bytes,
        #[serde(flatten)]
        l1: L1Place,
    },
    Flaw {
        batch: u64,
        reason: String,
        #[serde(flatten)]
        l1: L1Place,
    },
    Violation {
        rule: &'static str,
        batch: Option<u64>,
        height: Option<u64>,
        l1_block: u64,
        what: String,
    },
    Reorg {
        kept_l1_block: u64,
        kept_batch: u64,
    },
    Summary(Box<Summary>),
}

/// Where L1 has it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct L1Place {
    pub(super) l1_block: u64,
    pub(super) l1_block_hash: B256,
    pub(super) l1_timestamp: u64,
    pub(super) l1_transaction: B256,
}

impl L1Place {
    pub(super) const fn of_batch(batch: &SettledBatch) -> Self {
        Self {
            l1_block: batch.block.number,
            l1_block_hash: batch.block.hash,
            l1_timestamp: batch.block.timestamp.get(),
            l1_transaction: batch.tx_hash,
        }
    }

    pub(super) const fn of_escape(escape: &ForcedEscape) -> Self {
        Self {
            l1_block: escape.block.number,
            l1_block_hash: escape.block.hash,
            l1_timestamp: escape.block.timestamp.get(),
            l1_transaction: escape.tx_hash,
        }
    }
}

/// Where a transaction stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stand {
    /// Its batch; none of an escape's.
    pub(super) batch: Option<u64>,
    pub(super) height: u64,
    /// Its place among the block's own transactions.
    index: Option<u32>,
    /// Its number in the forced queue.
    forced: Option<u64>,
    /// Its block; none where the payload does not decode, and of an escape's.
    block: Option<BlockFacts>,
}

/// What a rollup executes with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockFacts {
    hash: B256,
    timestamp_ms: u64,
    proposer: Address,
    epoch: u64,
    l1_origin_number: u64,
    l1_origin_hash: B256,
}

impl Stand {
    pub(super) fn new(batch: Option<u64>, place: Place, blocks: &[Block]) -> Self {
        let (index, forced) = match place {
            Place::Block { index, .. } => (Some(index), None),
            Place::Forced { entry, .. } => (None, Some(entry)),
        };
        let height = place.height();
        let block = blocks.iter().find(|block| block.header.height == height);
        let block = block.map(|block| BlockFacts::of(&block.header));
        Self { batch, height: height.get(), index, forced, block }
    }
}

impl std::fmt::Display for Stand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.batch {
            Some(batch) => write!(f, "batch {batch}")?,
            None => f.write_str("escape")?,
        }
        write!(f, " height {}", self.height)?;
        match (self.index, self.forced) {
            (Some(index), _) => write!(f, " index {index}"),
            (_, Some(entry)) => write!(f, " forced entry {entry}"),
            (None, None) => Ok(()),
        }
    }
}

impl BlockFacts {
    fn of(header: &BlockHeader) -> Self {
        Self {
            hash: header.hash(),
            timestamp_ms: header.timestamp.get(),
            proposer: header.proposer,
            epoch: header.epoch.get(),
            l1_origin_number: header.l1_origin_number,
            l1_origin_hash: header.l1_origin_hash,
        }
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    pub(super) rollup: u64,
    /// The last L1 block that was read.
    pub(super) l1_block: Option<u64>,
    pub(super) l1_block_hash: Option<B256>,
    /// Batches that were checked, told or not.
    pub(super) checked: u64,
    pub(super) transactions: u64,
    pub(super) noops: u64,
    /// Batches whose payload is not what was signed, told or not.
    pub(super) flawed: Vec<u64>,
    pub(super) violations: u64,
    /// What was taken from a node without a proof, besides the hash of the last block.
    pub(super) unproven: Vec<String>,
    /// Lies that did no harm, because another node told the truth.
    pub(super) lies: Vec<String>,
    /// Requests to nodes.
    pub(super) requests: u64,
    /// Seconds between that block and this machine's clock.
    pub(super) l1_age_seconds: u64,
    pub(super) error: Option<String>,
    pub(super) exit_code: u8,
}

pub(super) fn batch(batch: &SettledBatch, transactions: usize) -> Record {
    let header = &batch.header;
    Record::Batch {
        batch: batch.number.get(),
        generation: header.generation.get(),
        epoch: header.epoch.get(),
        first_height: header.first_height.get(),
        last_height: header.last_height.get(),
        parent_block_hash: header.parent_block_hash,
        last_block_hash: header.last_block_hash,
        forced_through: header.forced_through,
        timestamp: header.timestamp.get(),
        payload_hash: header.payload_hash,
        poster: batch.poster,
        signers: format!("{:#x}", batch.signers),
        late: batch.late,
        led: batch.led,
        transactions,
        l1: L1Place::of_batch(batch),
    }
}

pub(super) fn transaction(stand: Stand, item: Item, l1: L1Place) -> Record {
    let signed = item.transaction;
    Record::Transaction {
        stand,
        hash: signed.hash,
        sender: signed.sender,
        nonce: signed.nonce,
        raw: signed.transaction.raw,
        l1,
    }
}

pub(super) fn noop(stand: Stand, noop: Noop, l1: L1Place) -> Record {
    let (reason, kept_at, detail) = match noop.reason {
        NoopReason::Duplicate { first } => ("duplicate", Some(first.get()), None),
        NoopReason::Invalid(error) => ("invalid", None, Some(error.to_string())),
        NoopReason::Unregistered => ("unregistered", None, None),
    };
    let hash = noop.transaction.hash();
    Record::Noop { stand, hash, reason, kept_at, detail, raw: noop.transaction.raw, l1 }
}

pub(super) fn violation(violation: Violation) -> Record {
    let Violation { rule, batch, height, l1_block, what } = violation;
    Record::Violation { rule, batch, height, l1_block, what }
}
