//! Whether what events said adds up to what the contracts say of themselves. Events that a node left out would be missing
//! for ever: nothing of what comes later names them. So the end of what was read is held against views of the contracts, at
//! the very block up to which it was read.

use super::bindings::{IBatchInbox, ICalendar, IForcedInbox, ISequencerRegistry};
use super::client::Client;
use super::error::L1Error;
use super::mirror::Mirror;
use crate::domain::{Deployment, Epoch, Generation, L1Block};
use alloy::eips::BlockId;
use alloy::primitives::B256;

/// What was read, as far as views tell it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    /// Batches that settled, and the hash of the last block.
    batches: u64,
    last_block_hash: B256,
    /// Entries of the forced queue, and how many of them are consumed.
    forced: u64,
    consumed: u64,
    sequencers: u64,
    generation: Generation,
    /// The running epoch, and for which one the set was sealed that is in force.
    epoch: Epoch,
    sealed_for: Option<Epoch>,
}

impl Folded {
    pub(super) fn of(mirror: &Mirror, head: L1Block) -> Self {
        let (tip, generation) = (mirror.tip.as_ref(), mirror.generation());
        let epoch = mirror.params.epoch_at(head.timestamp);
        Self {
            batches: tip.map_or(0, |tip| tip.number.get()),
            last_block_hash: tip.map_or(B256::ZERO, |tip| tip.last_block_hash),
            forced: mirror.forced.len(),
            consumed: mirror.forced.consumed(),
            sequencers: mirror.count_sequencers(),
            generation,
            epoch,
            sealed_for: mirror.set_for(generation, epoch).map(|set| set.sealed_for()),
        }
    }

    /// What L1 has more than was read, if anything.
    fn misses(&self, l1: &Self) -> Option<String> {
        let counts = [
            ("batches", self.batches, l1.batches),
            ("forced entries", self.forced, l1.forced),
            ("forced entries consumed", self.consumed, l1.consumed),
            ("sequencers", self.sequencers, l1.sequencers),
            ("generation", self.generation.get().into(), l1.generation.get().into()),
        ];
        let missing = counts.into_iter().find(|(_, read, told)| read < told);
        if let Some((what, read, told)) = missing {
            return Some(format!("{what}: {read} by its events, {told} by its contracts"));
        }
        if l1.sealed_for > self.sealed_for {
            let epoch = l1.sealed_for.unwrap_or_default();
            return Some(format!("leader set of epoch {epoch}: in no event, but in its contracts"));
        }
        let is_same = self.batches == l1.batches && self.generation == l1.generation;
        (is_same && self.last_block_hash != l1.last_block_hash).then(|| {
            format!(
                "last settled block: {} by its events, {} by its contracts",
                self.last_block_hash, l1.last_block_hash
            )
        })
    }
}

/// What is missing in what was read up to block `head`, if anything is.
///
/// # Errors
///
/// What keeps the nodes from telling the views at that block.
pub(super) async fn missing(
    client: &Client,
    deployment: &Deployment,
    read: &Folded,
    head: L1Block,
) -> Result<Option<String>, L1Error> {
    let at = BlockId::hash(head.hash);
    let (settlement, registry) = (deployment.settlement, deployment.registry);
    let tip = client.call_at(settlement, &IBatchInbox::tipCall {}, at).await?;
    let forced = client.call_at(settlement, &IForcedInbox::forcedLengthCall {}, at).await?;
    let sequencers = client.call_at(registry, &ISequencerRegistry::countCall {}, at).await?;
    let generation = client.call_at(settlement, &ICalendar::generationCall {}, at).await?;
    let set = ICalendar::setOfCall { generation, epoch: read.epoch.get() };
    let sealed_for = match client.call_at(settlement, &set, at).await {
        Ok(set) if !set.pointer.is_zero() => Some(Epoch::new(set.sealedFor)),
        // There is none yet.
        Ok(_) | Err(L1Error::Reverted { .. }) => None,
        Err(error) => return Err(error),
    };
    let l1 = Folded {
        batches: tip.number,
        last_block_hash: tip.lastBlockHash,
        forced,
        consumed: tip.consumed,
        sequencers: sequencers.into(),
        generation: Generation::new(generation),
        epoch: read.epoch,
        sealed_for,
    };
    Ok(read.misses(&l1))
}

#[cfg(test)]
mod tests {
    use super::{B256, Epoch, Folded, Generation};

    fn some() -> Folded {
        Folded {
            batches: 5,
            last_block_hash: B256::repeat_byte(1),
            forced: 4,
            consumed: 3,
            sequencers: 7,
            generation: Generation::new(1),
            epoch: Epoch::new(9),
            sealed_for: Some(Epoch::new(8)),
        }
    }

    #[test]
    fn each_thing_that_events_left_out_is_named() {
        assert_eq!(some().misses(&some()), None);
        let cases = [
            (Folded { batches: 6, ..some() }, "batches: 5 by its events, 6"),
            (Folded { forced: 5, ..some() }, "forced entries: 4 by"),
            (Folded { consumed: 4, ..some() }, "consumed: 3"),
            (Folded { sequencers: 8, ..some() }, "sequencers: 7"),
            (Folded { generation: Generation::new(2), ..some() }, "generation: 1"),
            (Folded { sealed_for: Some(Epoch::new(9)), ..some() }, "leader set of epoch 9"),
            (Folded { last_block_hash: B256::ZERO, ..some() }, "last settled block"),
        ];
        for (l1, words) in cases {
            let told = some().misses(&l1).unwrap();
            assert!(told.contains(words), "{told}");
        }
        let none = Folded { sealed_for: None, ..some() };
        assert!(none.misses(&some()).is_some());
    }

    #[test]
    fn a_view_that_lags_is_no_reason_to_read_again() {
        let behind = Folded { batches: 4, forced: 3, sealed_for: None, ..some() };
        assert_eq!(some().misses(&behind), None);
    }
}
