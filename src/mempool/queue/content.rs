//! Looking at what waits.

use super::Mempool;
use crate::domain::{RollupId, SignedTransaction};
use alloy::primitives::Address;

/// One sender's transactions that wait in a rollup, in nonce order.
#[derive(Clone, Debug)]
pub struct LaneContent {
    /// Who signed them.
    pub sender: Address,
    /// What a block could take now.
    pub ready: Vec<SignedTransaction>,
    /// What waits for lower nonces.
    pub parked: Vec<SignedTransaction>,
}

impl Mempool {
    /// What waits in a rollup, or of one sender in it, by sender; at most `most` transactions.
    pub fn content(
        &self,
        rollup: RollupId,
        sender: Option<Address>,
        most: usize,
    ) -> Vec<LaneContent> {
        let mut keys: Vec<_> = match sender {
            Some(sender) => vec![(rollup, sender)],
            None => self.lanes.keys().filter(|(of, _)| *of == rollup).copied().collect(),
        };
        keys.sort_unstable();
        let mut left = most;
        let mut content = Vec::new();
        for key in keys {
            let Some(lane) = self.lanes.get(&key) else { continue };
            let end = lane.run_end();
            let mut ready = Vec::new();
            let mut parked = Vec::new();
            for entry in lane.iter().take(left) {
                let is_ready = entry.transaction.nonce < end;
                let part = if is_ready { &mut ready } else { &mut parked };
                part.push(entry.transaction.clone());
            }
            left = left.saturating_sub(ready.len()).saturating_sub(parked.len());
            if !ready.is_empty() || !parked.is_empty() {
                content.push(LaneContent { sender: key.1, ready, parked });
            }
            if left == 0 {
                break;
            }
        }
        content
    }

    /// How many transactions of a rollup a block could take now, and how many wait for lower nonces.
    pub fn count_of(&self, rollup: RollupId) -> (usize, usize) {
        let (mut ready, mut parked) = (0_usize, 0_usize);
        for lane in self.lanes.iter().filter(|((of, _), _)| *of == rollup).map(|(_, lane)| lane) {
            ready = ready.saturating_add(lane.len().saturating_sub(lane.parked()));
            parked = parked.saturating_add(lane.parked());
        }
        (ready, parked)
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::Millis;
    use crate::mempool::{Limits, Mempool, Origin};
    use crate::testing::{ROLLUP, key, transaction};

    #[test]
    fn what_waits_is_told_by_sender_and_by_what_it_waits_for() {
        let mut pool = Mempool::new(Limits::default());
        for (n, nonce) in [(1, 0), (1, 1), (1, 3), (2, 0)] {
            let one = transaction(&key(n), nonce);
            pool.admit(one, Origin::Local, 0, Millis::new(0)).unwrap();
        }
        assert_eq!(pool.count_of(ROLLUP), (3, 1));
        let all = pool.content(ROLLUP, None, 10);
        assert_eq!(all.iter().map(|one| one.ready.len()).sum::<usize>(), 3);
        let of_one = pool.content(ROLLUP, Some(key(1).address()), 10);
        let nonces = |part: &[crate::domain::SignedTransaction]| -> Vec<u64> {
            part.iter().map(|one| one.nonce).collect()
        };
        assert_eq!((nonces(&of_one[0].ready), nonces(&of_one[0].parked)), (vec![0, 1], vec![3]));
        assert_eq!(
            pool.content(ROLLUP, None, 2).iter().map(|one| one.ready.len()).sum::<usize>(),
            2
        );
        assert!(pool.content(crate::domain::RollupId::new(7), None, 10).is_empty());
        assert!(pool.content(ROLLUP, None, 0).is_empty());
    }
}
