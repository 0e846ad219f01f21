//! Drops what nobody needs any more, a little at a time. Its own task: consensus waits for none of it but one small step.

use crate::blocking::blocking;
use crate::domain::{BatchNumber, Height, Seconds};
use crate::l1::MirrorHandle;
use crate::storage::{Horizon, Store, StoreError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often it is looked what may go.
const EVERY: Duration = Duration::from_secs(10);
/// Between two steps others write.
const BETWEEN: Duration = Duration::from_millis(20);
/// Undone blocks are looked at once in so many times: there are some only after a restart of the network.
const UNDONE_EVERY: u32 = 360;
/// Settled batches that are kept with their blocks beside those in L1's ring: the watcher debits, tallies and reports of them.
const BATCHES_BESIDE_RING: u64 = 256;

/// What may go by what L1 shows and the store holds, if `keep_blocks` are to be kept behind the tip. `None` while that cannot be
/// said.
///
/// A block goes only if all of this holds: it is so far behind the tip; its batch is settled for good, and further back than what
/// L1 still takes debits and tallies of; it was made longer ago than evidence is good for, so that its certificate
/// convicts nobody any more.
pub(super) fn horizon(
    mirror: &MirrorHandle,
    store: &Store,
    keep_blocks: u64,
) -> Result<Option<Horizon>, StoreError> {
    let (params, tip, depth) = {
        let mirror = mirror.read();
        (mirror.params.clone(), mirror.tip.clone(), mirror.at_depth)
    };
    let (Some(tip), Some(depth)) = (tip, depth) else { return Ok(None) };
    let Some((decided, _)) = store.decided_tip()? else { return Ok(None) };
    let kept_batches = params.ring_size.saturating_add(BATCHES_BESIDE_RING);
    let batches = BatchNumber::new(tip.number.get().saturating_sub(kept_batches));
    let Some(first_kept) = store.settled(batches)? else { return Ok(None) };
    // Of one that could not be read nobody knows where it begins; the next one says.
    if first_kept.block.number > depth.number || first_kept.is_unread() {
        return Ok(None);
    }
    let behind = decided.get().saturating_add(1).saturating_sub(keep_blocks);
    let blocks = Height::new(behind.min(first_kept.header.first_height.get()));
    let window = params.evidence_window_seconds;
    let made_before = Seconds::new(depth.timestamp.get().saturating_sub(window)).to_millis();
    Ok(Some(Horizon { blocks, made_before, batches }))
}

/// Prunes until `stop`. A store that fails ends the agent elsewhere; here it is tried again.
pub(super) async fn run(
    store: Store,
    mirror: MirrorHandle,
    keep_blocks: u64,
    stop: CancellationToken,
) {
    let mut times = 0_u32;
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let pruning =
            all_that_may_go(&store, &mirror, keep_blocks, times.is_multiple_of(UNDONE_EVERY));
        times = times.wrapping_add(1);
        match stop.run_until_cancelled(pruning).await {
            Some(Ok(())) => {}
            Some(Err(error)) => warn!(%error, "nothing was pruned"),
            None => return,
        }
    }
}

async fn all_that_may_go(
    store: &Store,
    mirror: &MirrorHandle,
    keep_blocks: u64,
    undone_too: bool,
) -> Result<(), StoreError> {
    let Some(horizon) = horizon(mirror, store, keep_blocks)? else { return Ok(()) };
    let before = store.kept_from()?;
    loop {
        let store = store.clone();
        if !blocking(move || store.prune(horizon)).await? {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    let now = store.kept_from()?;
    if now > before {
        tracing::debug!(kept_from = %now, "old blocks dropped");
    }
    if undone_too {
        let store = store.clone();
        let dropped = blocking(move || store.prune_undone()).await?;
        if dropped > 0 {
            info!(dropped, "undone blocks dropped, whose transactions were all ordered since");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BATCHES_BESIDE_RING, horizon};
    use crate::domain::{
        BatchHeader, BatchNumber, Height, L1Block, Params, Seconds, SettledBatch, SettledTip,
    };
    use crate::testing::{Surroundings, batch_header};
    use alloy::primitives::{Address, B256};

    const KEPT: u64 = BATCHES_BESIDE_RING + 4;

    fn l1(number: u64, timestamp: u64) -> L1Block {
        L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(timestamp) }
    }

    /// `KEPT + 10` batches of one block each, batch n in L1 block n.
    fn settled() -> Surroundings {
        let around = Surroundings::new(Params { ring_size: 4, ..Params::for_tests() });
        let count = KEPT + 10;
        for number in 1..=count {
            let height = around.decide(&[]);
            let header = BatchHeader { first_height: height, ..batch_header(height.get()) };
            let batch = SettledBatch {
                number: BatchNumber::new(number),
                header,
                poster: Address::ZERO,
                signers: 1,
                block: l1(number, 2_000_000_000),
                tx_hash: B256::ZERO,
                parent_settled_at: Seconds::new(0),
                payload_bytes: 0,
                refund_wei: 0,
                late: false,
                led: false,
            };
            around.store.settle(&[batch]).unwrap();
        }
        around.mirror.update(|mirror| {
            mirror.tip = Some(SettledTip {
                number: BatchNumber::new(count),
                last_height: Height::new(count),
                last_block_hash: B256::ZERO,
                epoch: crate::domain::Epoch::new(0),
                timestamp: Seconds::new(0),
                settled_at: Seconds::new(0),
            });
        });
        around
    }

    #[test]
    fn nothing_goes_before_l1_shows_it_settled_for_good() {
        let around = settled();
        assert_eq!(horizon(&around.mirror, &around.store, 1).unwrap(), None);
        around.mirror.update(|mirror| mirror.at_depth = Some(l1(9, 2_000_000_000)));
        assert_eq!(horizon(&around.mirror, &around.store, 1).unwrap(), None, "10 is not deep");
        around.mirror.update(|mirror| mirror.at_depth = Some(l1(10, 2_000_000_000)));
        let found = horizon(&around.mirror, &around.store, 1).unwrap().unwrap();
        assert_eq!((found.blocks, found.batches), (Height::new(10), BatchNumber::new(10)));
    }

    #[test]
    fn what_is_to_be_kept_is_kept_whatever_settled_and_so_is_what_convicts() {
        let around = settled();
        around.mirror.update(|mirror| mirror.at_depth = Some(l1(20, 2_000_000_000)));
        let window = around.mirror.read().params.evidence_window_seconds;
        let tip = KEPT + 10;
        for (keep, expected) in [(0, 10), (tip - 9, 10), (tip - 4, 5), (tip + 1, 0), (u64::MAX, 0)]
        {
            let found = horizon(&around.mirror, &around.store, keep).unwrap().unwrap();
            assert_eq!(found.blocks, Height::new(expected), "{keep}");
            assert_eq!(found.made_before.get(), (2_000_000_000 - window) * 1_000);
        }
    }
}
