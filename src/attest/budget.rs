//! What one peer may cost this agent's attester. Pure.
//!
//! Work is counted in units of about one signature check, and one block to be read is one. A peer that asks for more than it
//! is granted is not answered; honest ones repeat what they need, and what was signed once is repeated for one unit.

use crate::domain::SequencerId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Units that a peer may use at once: more than an agent says that has just cut [`super::CONGESTED_BATCHES`].
const CAPACITY: u64 = 16_384;
/// Units that come back in a second.
const PER_SECOND: u64 = 1_024;
/// Peers that are remembered. Beyond that the one that has used least is forgotten.
const MAX_PEERS: usize = 512;

/// What is left to each peer.
#[derive(Debug, Default)]
pub(super) struct Budgets(BTreeMap<SequencerId, Budget>);

#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u64,
    at: Duration,
}

impl Budgets {
    /// Takes `cost` from what `peer` has at the monotonic time `now`. Whether there is so much; if not, nothing is taken.
    pub(super) fn take(&mut self, peer: SequencerId, cost: u64, now: Duration) -> bool {
        if !self.0.contains_key(&peer) && self.0.len() >= MAX_PEERS {
            let fullest = self.0.iter().max_by_key(|(_, budget)| budget.left).map(|(one, _)| *one);
            if let Some(fullest) = fullest {
                self.0.remove(&fullest);
            }
        }
        let budget = self.0.entry(peer).or_insert(Budget { left: CAPACITY, at: now });
        let millis = u64::try_from(now.saturating_sub(budget.at).as_millis()).unwrap_or(u64::MAX);
        let back = millis.saturating_mul(PER_SECOND) / 1_000;
        if back > 0 {
            *budget = Budget { left: budget.left.saturating_add(back).min(CAPACITY), at: now };
        }
        match budget.left.checked_sub(cost) {
            Some(left) => {
                budget.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budgets, CAPACITY, MAX_PEERS, PER_SECOND};
    use crate::domain::SequencerId;
    use std::time::Duration;

    const PEER: SequencerId = SequencerId::new(u32::MAX);

    #[test]
    fn what_a_peer_has_used_comes_back_with_time_and_no_faster() {
        let mut budgets = Budgets::default();
        assert!(budgets.take(PEER, CAPACITY, Duration::ZERO));
        assert!(!budgets.take(PEER, 1, Duration::ZERO));
        assert!(budgets.take(PEER, PER_SECOND, Duration::from_secs(1)));
        assert!(!budgets.take(PEER, 1, Duration::from_secs(1)));
        assert!(!budgets.take(PEER, CAPACITY.saturating_add(1), Duration::MAX));
        assert!(budgets.take(PEER, CAPACITY, Duration::MAX), "never more than the capacity");
    }

    #[test]
    fn one_peer_uses_up_nothing_of_another() {
        let mut budgets = Budgets::default();
        assert!(budgets.take(PEER, CAPACITY, Duration::ZERO));
        assert!(budgets.take(SequencerId::new(2), CAPACITY, Duration::ZERO));
    }

    #[test]
    fn remembers_a_bounded_number_of_peers_and_those_that_used_most() {
        let mut budgets = Budgets::default();
        assert!(budgets.take(PEER, CAPACITY, Duration::ZERO));
        for n in 0..MAX_PEERS.saturating_mul(2) {
            let other = SequencerId::new(u32::try_from(n).unwrap());
            assert!(budgets.take(other, 1, Duration::ZERO));
        }
        assert_eq!(budgets.0.len(), MAX_PEERS);
        assert!(!budgets.take(PEER, 1, Duration::ZERO));
    }
}
