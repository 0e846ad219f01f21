//! Reads L1 as any outsider would: what settled, what it cost, who was reported. Everything that a run counts comes from
//! here; nothing is taken from an agent's word.

use crate::devnet::traffic::SharedLedger;
use crate::domain::{Deployment, Epoch, L1Block, LeaderSet, Params, SettledBatch};
use crate::l1::{Client, Derived, L1Error, Replay, ReplayError, actions};
use alloy::primitives::{Address, B256};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tracing::warn;

/// How often L1 is asked for a new block.
const POLL: Duration = Duration::from_millis(100);
/// The pause after it did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// What L1 shows so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Batches settled.
    pub(super) batches: u64,
    /// L1 gas of their transactions.
    pub(super) gas: u64,
    /// Who posted them.
    pub(super) posters: BTreeSet<Address>,
    /// The last one, with the gas of its transaction.
    pub(super) last: Option<(SettledBatch, u64)>,
    /// Offences reported.
    pub(super) reported: u64,
    /// The newest L1 block, its epoch and the set in force.
    pub(super) head: Option<(L1Block, Epoch, Option<Arc<LeaderSet>>)>,
    /// Forced entries that nobody has consumed.
    pub(super) forced: u64,
    /// Since when L1 does not answer; what else is here is from before.
    pub(super) away: Option<Instant>,
    /// The derived transactions, in order.
    pub(super) order: Vec<B256>,
}

/// A shared [`Seen`].
#[derive(Clone, Debug, Default)]
pub(super) struct SharedSeen(Arc<Mutex<Seen>>);

impl SharedSeen {
    /// What was seen. Never hold it across an `.await`.
    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Derives the settled chain as it grows, until cancelled.
pub(super) async fn watch(
    client: Client,
    deployment: Deployment,
    params: Params,
    ledger: SharedLedger,
    seen: SharedSeen,
) {
    let mut replay = Replay::new(client.clone(), deployment.clone(), params.clone());
    let mut through = 0;
    loop {
        let step = advance(&client, &mut replay, &mut through, &ledger, &seen).await;
        match step {
            Ok(()) => {
                seen.lock().away = None;
                sleep(POLL).await;
            }
            // What was seen stands: the replay goes on once L1 is back.
            Err(ReplayError::L1(error)) => {
                warn!(%error, "L1 does not answer");
                seen.lock().away.get_or_insert_with(Instant::now);
                sleep(PAUSE).await;
            }
            Err(error) => {
                warn!(%error, "L1 does not derive, starting over");
                replay = Replay::new(client.clone(), deployment.clone(), params.clone());
                through = 0;
                *seen.lock() = Seen::default();
                ledger.lock().forget_settled();
                sleep(PAUSE).await;
            }
        }
    }
}

async fn advance(
    client: &Client,
    replay: &mut Replay,
    through: &mut u64,
    ledger: &SharedLedger,
    seen: &SharedSeen,
) -> Result<(), ReplayError> {
    let head = client.head().await?;
    if head.number == *through {
        return Ok(());
    }
    let derived = replay.advance(head.number).await?;
    let now = Instant::now();
    let mut last_tx = None;
    for step in derived {
        let (settled, items) = match step {
            Derived::Batch(batch, meaning) => (Some(Arc::unwrap_or_clone(batch)), meaning.items),
            Derived::Escape(_, meaning) => (None, meaning.items),
        };
        // Several batches in one transaction are counted with its gas once. L1 may fall silent just now: the batch counts
        // all the same.
        let gas = match (&settled, last_tx) {
            (None, _) => (0, 0),
            (Some(batch), Some((hash, gas))) if hash == batch.tx_hash => (gas, 0),
            (Some(batch), _) => {
                let gas = gas_of(client, batch).await.unwrap_or_default();
                (gas, gas)
            }
        };
        // A batch and what it holds at once: whoever sees that a transaction settled sees the batch.
        let mut seen = seen.lock();
        let mut ledger = ledger.lock();
        for item in items {
            ledger.settled(item.transaction.hash, now);
            seen.order.push(item.transaction.hash);
        }
        drop(ledger);
        let Some(batch) = settled else { continue };
        last_tx = Some((batch.tx_hash, gas.0));
        seen.batches = seen.batches.saturating_add(1);
        seen.gas = seen.gas.saturating_add(gas.1);
        seen.posters.insert(batch.poster);
        seen.last = Some((batch, gas.0));
    }
    let mirror = replay.mirror();
    let epoch = mirror.params.epoch_at(head.timestamp);
    let mut seen = seen.lock();
    seen.head = Some((head, epoch, mirror.set_for(mirror.generation(), epoch)));
    seen.reported = mirror.reported;
    seen.forced = mirror.forced.waiting();
    *through = head.number;
    Ok(())
}

async fn gas_of(client: &Client, batch: &SettledBatch) -> Result<u64, L1Error> {
    actions::gas_used(client, batch.tx_hash).await
}
