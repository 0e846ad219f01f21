//! A member that asks the others for every split and every epoch (R23), for whoever tests that nobody gains or loses by
//! it. Not in a release.

use super::decided::read_blocks;
use super::{Message, Peers};
use crate::batch::build_header;
use crate::batch::payload::{self, Version};
use crate::domain::{BatchHeader, Block, Epoch, Height};
use crate::l1::MirrorHandle;
use crate::storage::{Store, StoreError};
use alloy::primitives::Address;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Blocks above the settled tip that are split: in every way in which a batch of so many can begin at the tip or end at the
/// newest.
const SPLIT: usize = 12;

/// Asks all others for every split of what is not settled, each time that a block is decided, until `stop`.
///
/// # Errors
///
/// [`StoreError`] when the store fails.
pub async fn ask_for_splits(
    store: Store,
    mirror: MirrorHandle,
    peers: Arc<dyn Peers>,
    own: Address,
    mut decided: watch::Receiver<Height>,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut asked = 0_u64;
    while let Some(Ok(())) = stop.run_until_cancelled(decided.changed()).await {
        let height = *decided.borrow_and_update();
        let (first, epochs, members) = {
            let mirror = mirror.read();
            let (Some(tip), Some(set)) = (mirror.tip.as_ref(), mirror.sets.values().next_back())
            else {
                continue;
            };
            let running = mirror.head.map(|head| mirror.params.epoch_at(head.timestamp));
            let members: Vec<Address> =
                set.members().iter().map(|m| m.signer).filter(|one| *one != own).collect();
            (tip.last_height.next(), [Some(tip.epoch), running], members)
        };
        let blocks = read_blocks(&store, first, height)?;
        let newest = blocks.get(blocks.len().saturating_sub(SPLIT)..).unwrap_or_default();
        for epoch in epochs.into_iter().flatten() {
            for header in splits(newest, epoch) {
                for member in &members {
                    let header = Box::new(header.clone());
                    peers.send(*member, Message::Want { header });
                }
                asked = asked.saturating_add(1);
            }
        }
        info!(asked, "asked the others for every split");
    }
    Ok(())
}

/// The headers of all runs that begin with the first of these blocks, and of all that end with the last: as regular ones and
/// as others, in both versions.
fn splits(blocks: &[Block], epoch: Epoch) -> Vec<BatchHeader> {
    let ends = (1..=blocks.len()).filter_map(|end| blocks.get(..end));
    let starts = (1..blocks.len()).filter_map(|start| blocks.get(start..));
    let mut headers = Vec::new();
    for run in ends.chain(starts) {
        for version in [Version::Raw, Version::Zstd] {
            let Ok(payload) = payload::encode(run, version) else { continue };
            let Some(header) = build_header(run, epoch.max(last_epoch(run)), &payload) else {
                continue;
            };
            headers.push(BatchHeader { regular_since: header.timestamp, ..header.clone() });
            headers.push(header);
        }
    }
    headers
}

fn last_epoch(run: &[Block]) -> Epoch {
    run.last().map_or(Epoch::new(0), |block| block.header.epoch)
}
