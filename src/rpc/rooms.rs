//! Budgets of memory: what clients' requests, answers and notifications take, over all connections and by address.
//!
//! Whoever needs room takes it before the bytes are there, and gives it back once they are gone. Each address has a share,
//! and a quarter of every budget is for addresses that hold nothing of it: many that hold much leave something for the next
//! one. Whoever waits while its address holds something and then gives that back is such an address from then on. Nobody waits
//! without end: requests, answers and notifications have deadlines of their own.

use crate::rpc::RpcError;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

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
    /// How many rooms of the budget the address holds.
    held: watch::Sender<usize>,
}

impl Share {
    /// Returns once the address holds no room.
    async fn holds_nothing(&self) {
        // It does not end before the share does, which is borrowed here.
        let _ = self.held.subscribe().wait_for(|held| *held == 0).await;
    }

    /// One more room.
    fn hold(&self) -> Holding {
        self.held.send_modify(|held| *held = held.saturating_add(1));
        Holding(self.held.clone())
    }

    /// One room, if there is none: of several who wait one is the first.
    fn hold_as_first(&self) -> Option<Holding> {
        let mut is_first = false;
        self.held.send_if_modified(|held| {
            is_first = *held == 0;
            if is_first {
                *held = 1;
            }
            is_first
        });
        is_first.then(|| Holding(self.held.clone()))
    }
}

/// That an address holds a room.
#[derive(Debug)]
struct Holding(watch::Sender<usize>);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held = held.saturating_sub(1));
    }
}

/// Room for some bytes. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    permits: Vec<OwnedSemaphorePermit>,
    /// After the permits: whoever hears that nothing is held finds them free.
    _holding: Option<Holding>,
}

impl Room {
    /// Gives back what so many bytes do not take.
    pub(super) fn shrink(&mut self, bytes: usize) {
        for permit in &mut self.permits {
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
        Some(Room { permits: vec![permit], _holding: None })
    }

    /// Room for so many bytes, or for as many as there are in all; waits for it.
    pub(super) async fn take(&self, bytes: usize, in_all: usize) -> Result<Room, RpcError> {
        let permits = u32::try_from(grains(bytes).min(grains(in_all))).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.0).acquire_many_owned(permits).await.map_err(closed)?;
        Ok(Room { permits: vec![permit], _holding: None })
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
        Share { own: semaphore(permits), held: watch::Sender::new(0) }
    }

    /// Waits for room for so many bytes, at most the largest.
    pub(super) async fn take(&self, share: &Share, bytes: usize) -> Result<Room, RpcError> {
        let wanted = grains(bytes).min(self.largest);
        let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
        let own = Arc::clone(&share.own).acquire_many_owned(permits).await.map_err(closed)?;
        let common = async {
            let permit = Arc::clone(&self.common).acquire_many_owned(permits).await;
            Ok((permit.map_err(closed)?, share.hold()))
        };
        let (permit, holding) = if wanted <= self.kept_for_first {
            tokio::select! {
                biased;
                taken = common => taken,
                taken = self.take_as_first(share, permits) => taken,
            }
        } else {
            common.await
        }?;
        Ok(Room { permits: vec![own, permit], _holding: Some(holding) })
    }

    /// Waits for permits of the part that is for addresses that hold nothing.
    async fn take_as_first(
        &self,
        share: &Share,
        permits: u32,
    ) -> Result<(OwnedSemaphorePermit, Holding), RpcError> {
        loop {
            share.holds_nothing().await;
            let permit = Arc::clone(&self.first).acquire_many_owned(permits).await;
            let permit = permit.map_err(closed)?;
            // The same address may have been given other room meanwhile.
            if let Some(holding) = share.hold_as_first() {
                return Ok((permit, holding));
            }
        }
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

    /// Whether one that waits is given room now.
    async fn is_served<T>(waiting: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        timeout(SOON, waiting).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_all_back_while_it_waits_is_a_newcomer_once_and_not_for_all_its_questions() {
        let budget = Budget::new(16 * MIB, MIB);
        let others: Vec<_> = (0..11).map(|_| budget.share()).collect();
        let mut held = Vec::new();
        for share in &others {
            held.push(budget.take_largest(share).await.unwrap());
        }
        let own = budget.share();
        let before = budget.take(&own, MIB / 2).await.unwrap();
        let rest = budget.take(&budget.share(), MIB / 2).await.unwrap();
        // What is given back in common is for who asked earlier, and more than one waits for it.
        let mut earlier = Box::pin(budget.take_largest(&others[0]));
        assert!(is_served(&mut earlier).await.is_none());
        let mut one = Box::pin(budget.take(&own, MIB / 2));
        let mut two = Box::pin(budget.take(&own, MIB / 2));
        assert!(is_served(&mut one).await.is_none() && is_served(&mut two).await.is_none());

        drop(before);
        let room = is_served(&mut two).await.unwrap().unwrap();
        assert!(is_served(&mut one).await.is_none(), "its address holds something now");
        assert!(is_served(&mut earlier).await.is_none());
        // As soon as that is gone, the other one is the first.
        drop(room);
        let room = is_served(&mut one).await.unwrap().unwrap();
        drop(rest);
        is_served(&mut earlier).await.unwrap().unwrap();
        drop(room);
        assert_eq!(*own.held.borrow(), 0);
        assert_eq!(budget.first.available_permits(), budget.kept_for_first);
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
