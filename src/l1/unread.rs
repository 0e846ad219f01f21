//! Batches that L1 took and this agent cannot read: the chain goes on from what L1 tells besides (R44).
//!
//! The contract refuses inputs that decoders refuse, and [`super::calldata`] reads what an older one took; this is for the
//! form that nobody has thought of. Only the event and `tip()` are left then. `tip()` says where the last batch of an L1
//! block ended; of the batches before it in that block, or where no node has that state any more, nobody knows the end:
//! they count as empty until the next batch that can be read says where it begins.

use super::bindings::IBatchInbox;
use super::client::Client;
use super::facts::Fact;
use crate::domain::{
    BatchHeader, BatchNumber, Deployment, Epoch, Generation, Height, L1Block, Seconds, SettledBatch,
};
use alloy::eips::BlockId;
use alloy::primitives::B256;
use std::sync::Arc;
use tracing::error;

/// Names a batch that cannot be read.
pub(super) fn say(number: BatchNumber, block: &L1Block, transaction: B256) {
    error!(
        batch = %number, l1_block = block.number, %transaction,
        "l1 took a batch whose input cannot be read: it counts as one whose payload does not decode"
    );
}

/// What L1 tells of a batch's end: everything else is zero until [`complete`].
pub(super) async fn header(
    client: &Client,
    deployment: &Deployment,
    block: &L1Block,
    number: BatchNumber,
) -> BatchHeader {
    let mut header = unknown();
    let at = BlockId::hash(block.hash);
    // No state of that block, no node: not a reason to stop either.
    if let Ok(tip) = client.call_at(deployment.settlement, &IBatchInbox::tipCall {}, at).await
        && tip.number == number.get()
    {
        header.last_height = Height::new(tip.lastHeight);
        header.last_block_hash = tip.lastBlockHash;
        header.epoch = Epoch::new(tip.epoch);
        header.timestamp = Seconds::new(tip.timestamp);
        header.l1_origin_number = tip.l1OriginNumber;
        header.forced_through = tip.forcedThrough;
    }
    header
}

const fn unknown() -> BatchHeader {
    BatchHeader {
        generation: Generation::new(0),
        epoch: Epoch::new(0),
        first_height: Height::new(0),
        last_height: Height::new(0),
        parent_block_hash: B256::ZERO,
        blocks_root: B256::ZERO,
        last_block_hash: B256::ZERO,
        forced_through: 0,
        l1_origin_number: 0,
        l1_origin_hash: B256::ZERO,
        timestamp: Seconds::new(0),
        payload_hash: B256::ZERO,
        blobs_hash: B256::ZERO,
        usage_hash: B256::ZERO,
        state_root: B256::ZERO,
        regular_since: Seconds::new(0),
    }
}

/// Where the settled chain stands, as a header that says no more than that. Pure.
#[derive(Clone, Debug)]
pub(super) struct End(BatchHeader);

impl Default for End {
    fn default() -> Self {
        Self(unknown())
    }
}

impl End {
    /// Goes on with a fact.
    pub(super) fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Genesis(block) => {
                let end = &mut self.0;
                (end.generation, end.epoch) = (block.generation, block.epoch);
                (end.last_height, end.last_block_hash) = (block.height, block.hash());
                end.timestamp = block.timestamp.to_seconds();
                (end.l1_origin_number, end.l1_origin_hash) =
                    (block.l1_origin_number, block.l1_origin_hash);
            }
            Fact::GenerationStarted { start, .. } => {
                (self.0.generation, self.0.epoch) = (start.generation, start.epoch);
            }
            Fact::Settled(batch) => self.0 = batch.header.clone(),
            _ => {}
        }
    }

    /// Goes on with facts; batches that could not be read are made to follow what was there before them.
    pub(super) fn complete(mut self, facts: &mut [Fact]) {
        for fact in facts {
            if let Fact::Settled(batch) = fact
                && batch.is_unread()
            {
                complete(Arc::make_mut(batch), &self.0);
            }
            self.note(fact);
        }
    }
}

/// Whether facts hold a batch that could not be read.
pub(super) fn any(facts: &[Fact]) -> bool {
    facts.iter().any(|fact| matches!(fact, Fact::Settled(batch) if batch.is_unread()))
}

/// Makes a batch that could not be read follow what settled before it.
fn complete(batch: &mut SettledBatch, before: &BatchHeader) {
    let told = &batch.header;
    let mut header =
        if told.last_height > before.last_height { told.clone() } else { before.clone() };
    header.generation = before.generation;
    header.first_height = before.last_height.next();
    header.parent_block_hash = before.last_block_hash;
    (header.blocks_root, header.payload_hash) = (B256::ZERO, B256::ZERO);
    (header.usage_hash, header.blobs_hash) = (B256::ZERO, B256::ZERO);
    (header.state_root, header.regular_since) = (B256::ZERO, Seconds::new(0));
    batch.header = header;
}

#[cfg(test)]
mod tests {
    use super::{End, Fact, unknown};
    use crate::domain::{BatchHeader, BatchNumber, Height, L1Block, Seconds, SettledBatch};
    use crate::testing::batch_header;
    use alloy::primitives::{Address, B256};
    use std::sync::Arc;

    fn settled(number: u64, header: BatchHeader) -> Fact {
        Fact::Settled(Arc::new(SettledBatch {
            number: BatchNumber::new(number),
            header,
            poster: Address::ZERO,
            signers: 1,
            block: L1Block { number: 9, hash: B256::ZERO, timestamp: Seconds::new(9) },
            tx_hash: B256::ZERO,
            parent_settled_at: Seconds::new(8),
            payload_bytes: 0,
            refund_wei: 0,
            late: false,
            led: false,
        }))
    }

    fn header_of(fact: &Fact) -> &BatchHeader {
        match fact {
            Fact::Settled(batch) => &batch.header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_batch_that_cannot_be_read_ends_where_l1_says() {
        // The first of two in one block, and the last, of which `tip()` tells.
        let first = settled(2, unknown());
        let told = BatchHeader {
            last_height: Height::new(20),
            last_block_hash: B256::repeat_byte(7),
            timestamp: Seconds::new(1_700_000_009),
            forced_through: 3,
            ..unknown()
        };
        let mut facts = [settled(1, batch_header(8)), first, settled(3, told)];
        End::default().complete(&mut facts);
        let (first, last) = (header_of(&facts[1]), header_of(&facts[2]));
        assert_eq!((first.first_height.get(), first.last_height.get()), (9, 8));
        assert_eq!(first.last_block_hash, batch_header(8).last_block_hash);
        assert_eq!((last.first_height.get(), last.last_height.get()), (9, 20));
        assert_eq!((last.parent_block_hash, last.forced_through), (first.last_block_hash, 3));
        assert!(last.payload_hash.is_zero() && !last.last_block_hash.is_zero());
    }

    #[test]
    fn what_nobody_tells_leaves_the_chain_where_it_was_until_a_batch_is_read() {
        let next = BatchHeader { first_height: Height::new(15), ..batch_header(30) };
        let mut facts =
            [settled(1, batch_header(8)), settled(2, unknown()), settled(3, next.clone())];
        End::default().complete(&mut facts);
        assert_eq!(header_of(&facts[1]).last_height.get(), 8);
        assert_eq!(header_of(&facts[2]), &next);
    }
}
