//! Promises (R38-R41).

use crate::domain::{Generation, Height, RollupId};
use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// A promise, EIP-712 `OrderReceipt`: "this transaction is number `index` of block `height`". Consensus-critical.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderReceipt {
    /// The running generation.
    pub generation: Generation,
    /// The height it is promised for.
    pub height: Height,
    /// Its place among the block's own transactions.
    pub index: u32,
    /// The rollup it is for.
    pub rollup: RollupId,
    /// Its hash.
    pub tx_hash: B256,
    /// Who signed it.
    pub sender: Address,
    /// Digest of the receipt before it in the same block; zero for the first (R40).
    pub prev_receipt_hash: B256,
}
