//! Budgets of memory: what clients' requests, answers and notifications take, over all connections and by address.
//!
//! Whoever needs room takes it before the bytes are there, and gives it back once they are gone. Each address has a share,
//! and a quarter of every budget is for addresses that hold nothing of it: many that hold much leave something for the next
//! one. Nobody waits without end: requests, answers and notifications have deadlines of their own.

use crate::rpc::RpcError;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit stands for.
const GRAIN: usize = 1_024;

/// One address may take this part of a budget.
const SHARE: usize = 8;

/// This part of a budget is for addresses that hold nothing of it.
const KEPT_FOR_FIRST: usize = 4;

/// Bytes that all addresses share.
#[derive(Debug)]
pub(super) struct Budget {
    common: Arc<Semaphore>,
    first: Arc<Semaphore>,
    permits: usize,
    kept_for_first: usize,
    largest: usize,
}

/// What one address may take of a budget.
#[derive(Debug)]
pub(super) struct Share {
    own: Arc<Semaphore>,
    permits: usize,
}

/// Room for some bytes. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room(Vec<OwnedSemaphorePermit>);

impl Room {
    /// Gives back what so many bytes do not take.
    pub(super) fn shrink(&mut self, bytes: usize) {
        for permit in &mut self.0 {
            let excess = permit.num_permits().saturating_sub(grains(bytes));
            drop(permit.split(excess));
        }
    }
}

/// Bytes that belong to one connection: whatever others hold, it has these.
#[derive(Debug)]
pub(super) struct Own(Arc<Semaphore>);

impl Own {
    pub(super) fn new(bytes: usize) -> Self {
        Self(semaphore(grains(bytes)))
    }

    /// Room for so many bytes, if that much is free.
    pub(super) fn try_take(&self, bytes: usize) -> Option<Room> {
        let permits = u32::try_from(grains(bytes)).ok()?;
        let permit = Arc::clone(&self.0).try_acquire_many_owned(permits).ok()?;
        Some(Room(vec![permit]))
    }

    /// Room for so many bytes, or for as many as there are in all; waits for it.
    pub(super) async fn take(&self, bytes: usize, in_all: usize) -> Result<Room, RpcError> {
        let permits = u32::try_from(grains(bytes).min(grains(in_all))).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.0).acquire_many_owned(permits).await.map_err(closed)?;
        Ok(Room(vec![permit]))
    }
}

impl Budget {
    /// So many bytes, of which the largest request takes `largest`.
    pub(super) fn new(bytes: usize, largest: usize) -> Self {
        let (permits, largest) = (grains(bytes), grains(largest).min(grains(bytes)));
        // Where it is too small to be divided, all of it is for everybody.
        let quarter = permits.checked_div(KEPT_FOR_FIRST).unwrap_or_default();
        let kept_for_first = if quarter >= largest { quarter } else { 0 };
        Self {
            common: semaphore(permits.saturating_sub(kept_for_first)),
            first: semaphore(kept_for_first),
            permits,
            kept_for_first,
            largest,
        }
    }

    /// An address's part: the largest request always fits.
    pub(super) fn share(&self) -> Share {
        let permits = self.permits.checked_div(SHARE).unwrap_or_default().max(self.largest);
        Share { own: semaphore(permits), permits }
    }

    /// Waits for room for so many bytes, at most the largest.
    pub(super) async fn take(&self, share: &Share, bytes: usize) -> Result<Room, RpcError> {
        let wanted = grains(bytes).min(self.largest);
        let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
        let own = Arc::clone(&share.own).acquire_many_owned(permits).await.map_err(closed)?;
        let is_first = share.own.available_permits().saturating_add(wanted) >= share.permits;
        let common = Arc::clone(&self.common).acquire_many_owned(permits);
        let permit = if is_first && wanted <= self.kept_for_first {
            tokio::select! {
                biased;
                permit = common => permit,
                permit = Arc::clone(&self.first).acquire_many_owned(permits) => permit,
            }
        } else {
            common.await
        };
        Ok(Room(vec![own, permit.map_err(closed)?]))
    }

    /// Room for the largest request.
    pub(super) async fn take_largest(&self, share: &Share) -> Result<Room, RpcError> {
        self.take(share, self.largest.saturating_mul(GRAIN)).await
    }
}

fn closed(_: tokio::sync::AcquireError) -> RpcError {
    RpcError::internal("the service stops")
}

const fn grains(bytes: usize) -> usize {
    bytes.div_ceil(GRAIN)
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

#[cfg(test)]
mod tests {
    use super::{Budget, Own};
    use std::time::Duration;
    use tokio::time::timeout;

    const MIB: usize = 1 << 20;
    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn room_is_given_back_as_it_shrinks_and_goes() {
        let budget = Budget::new(8 * MIB, MIB);
        let share = budget.share();
        let mut first = budget.take_largest(&share).await.unwrap();
        assert!(timeout(SOON, budget.take_largest(&share)).await.is_err(), "an eighth is one");
        first.shrink(100);
        assert!(timeout(SOON, budget.take_largest(&share)).await.is_err(), "a little is missing");
        budget.take(&share, MIB - 4_096).await.unwrap();
        drop(first);
        budget.take_largest(&share).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_nothing_finds_room_where_many_hold_much() {
        let budget = Budget::new(16 * MIB, MIB);
        let greedy: Vec<_> = (0..40).map(|_| budget.share()).collect();
        let mut held = Vec::new();
        // Each has one, and wants a second one as long as there is any.
        for share in &greedy[..8] {
            held.push(budget.take_largest(share).await.unwrap());
        }
        for share in &greedy[..8] {
            if let Ok(room) = timeout(SOON, budget.take_largest(share)).await {
                held.push(room.unwrap());
            }
        }
        assert_eq!(held.len(), 12, "a quarter is not for them");
        for _ in 0..4 {
            let newcomer = budget.share();
            held.push(timeout(SOON, budget.take_largest(&newcomer)).await.unwrap().unwrap());
        }
        let late = budget.share();
        assert!(timeout(SOON, budget.take_largest(&late)).await.is_err(), "all is taken");
        held.pop();
        timeout(SOON, budget.take_largest(&late)).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_is_too_small_to_be_divided_is_for_everybody() {
        let budget = Budget::new(MIB, 4 * MIB);
        let (one, two) = (budget.share(), budget.share());
        let room = budget.take_largest(&one).await.unwrap();
        assert!(timeout(SOON, budget.take_largest(&two)).await.is_err());
        drop(room);
        budget.take_largest(&two).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_all_that_a_connection_has_takes_all_of_it() {
        let own = Own::new(64 << 10);
        assert!(own.try_take(65 << 10).is_none());
        let all = own.take(MIB, 64 << 10).await.unwrap();
        assert!(own.try_take(1).is_none());
        drop(all);
        assert!(own.try_take(1).is_some());
    }
}
