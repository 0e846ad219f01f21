//! What an agent counts as it goes: blocks and offences. On its own, so that what it says of itself does not depend on who
//! asks it, and when.

use crate::domain::{Evidence, Height};
use crate::storage::Store;
use crate::telemetry::Metrics;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When the chain went on last, as this agent saw it.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    /// Of an agent that has just started.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// How long nothing was decided. A block that was made in the past counts from when it was made, unless blocks come in
    /// one after the other: an agent that catches up is behind, but does not stand still.
    pub(super) fn still_for(&self, age_of_last: Duration) -> Duration {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        seen.min(age_of_last)
    }

    fn went_on(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Counts decided blocks until `stop`.
pub(super) fn count(
    mut decided: watch::Receiver<Height>,
    store: Store,
    metrics: Metrics,
    progress: Progress,
    stop: CancellationToken,
) -> impl Future<Output = ()> {
    // What is in the store now was decided before.
    let mut through = store.decided_tip().ok().flatten().map_or(0, |(height, _)| height.get());
    async move {
        loop {
            tokio::select! {
                changed = decided.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            let now = decided.borrow_and_update().get();
            progress.went_on();
            for height in through.saturating_add(1)..=now {
                // What cannot be read stops agreement, which says so.
                if let Ok(Some((_, header))) = store.header(Height::new(height)) {
                    metrics.decided_transactions.inc_by(header.tx_count.into());
                }
            }
            // A restart of the network undoes blocks: they are decided anew.
            through = now;
        }
    }
}

/// Hands evidence on to the watcher, and counts it, until `stop`. Takes none while the watcher has no room: who found it
/// then waits or finds it again.
pub(super) async fn relay(
    mut found: mpsc::Receiver<Evidence>,
    watcher: mpsc::Sender<Evidence>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    loop {
        let room = tokio::select! {
            room = watcher.reserve() => room,
            () = stop.cancelled() => return,
        };
        let Ok(room) = room else { return };
        let evidence = tokio::select! {
            evidence = found.recv() => evidence,
            () = stop.cancelled() => return,
        };
        let Some(evidence) = evidence else { return };
        metrics.evidence.inc();
        room.send(evidence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Params;
    use crate::testing::{Surroundings, key, transaction};

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_seen_by_nobody_but_the_clock() {
        let progress = Progress::new();
        tokio::time::advance(Duration::from_secs(223)).await;
        assert_eq!(progress.still_for(Duration::from_secs(230)), Duration::from_secs(223));
        // Somebody asks for the first time: it is no different.
        assert_eq!(progress.still_for(Duration::from_secs(230)), Duration::from_secs(223));
        assert_eq!(progress.still_for(Duration::from_secs(1)), Duration::from_secs(1));
        progress.went_on();
        assert_eq!(progress.still_for(Duration::from_secs(9_999)), Duration::ZERO, "it catches up");
    }

    #[tokio::test]
    async fn counts_the_transactions_of_blocks_that_are_decided_from_now_on() {
        let around = Surroundings::new(Params::for_tests());
        around.decide(&[transaction(&key(1), 0)]);
        let (tell, decided) = watch::channel(Height::new(1));
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let counting =
            count(decided, around.store.clone(), metrics.clone(), Progress::new(), stop.clone());
        let counting = tokio::spawn(counting);
        let reaches = |expected: u64| {
            let metrics = metrics.clone();
            async move {
                while metrics.decided_transactions.get() != expected {
                    tokio::task::yield_now().await;
                }
            }
        };
        around.decide(&[transaction(&key(1), 1), transaction(&key(1), 2)]);
        let last = around.decide(&[transaction(&key(1), 3)]);
        tell.send_replace(last);
        tokio::time::timeout(Duration::from_secs(120), reaches(3)).await.unwrap();

        stop.cancel();
        counting.await.unwrap();
    }
}
