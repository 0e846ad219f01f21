//! Transactions that L1 included and refused: paid for, and of no use. Pure.
//!
//! What an agent is about to send is tried on a node first, which costs nothing. A node that answers wrongly, or a contract
//! that judges otherwise once a transaction is included, would have an agent pay for the same failure for ever: so the same
//! transaction is tried again ever more slowly, a few times and then once a day, and all transactions of a kind have a budget. Nothing is
//! given up for ever: some transactions are the same in each epoch, and whoever wins a few races for them would keep all agents from them.

use super::account::Order;
use alloy::primitives::{Address, B256, Keccak256};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How often the same transaction may fail at cost before it is tried once a day. Each failure counts until there was none for two.
pub(super) const ATTEMPTS: u32 = 6;
/// The pause after the second failure of a transaction. It doubles. One failure may be the doing of somebody who was faster, or
/// of what had to come before.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Failures at cost of one kind, whatever the transactions said, within a time.
pub(super) const OF_A_KIND: usize = 16;
const WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// The pause between more of them: whoever wins each race could otherwise keep an agent from a duty for a day with sixteen.
const REST: Duration = Duration::from_secs(600);
/// Transactions that are remembered; of more the one that may be tried again first is forgotten.
const REMEMBERED: usize = 1_024;

/// Why a transaction is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// What it calls.
    pub what: &'static str,
    /// How often it, or its kind, failed at cost.
    pub failures: u32,
    /// From when it is tried again.
    pub until: Duration,
}

/// A transaction that failed.
#[derive(Debug)]
struct Cause {
    resting: Resting,
    /// When it did last.
    failed: Duration,
}

impl Cause {
    fn is_forgotten(&self, now: Duration) -> bool {
        now.saturating_sub(self.failed) >= WITHIN.saturating_mul(2)
    }
}

/// What failed at cost.
#[derive(Debug, Default)]
pub(super) struct Reverts {
    causes: BTreeMap<B256, Cause>,
    kinds: BTreeMap<(Address, &'static str), VecDeque<Duration>>,
    /// All failures since the start.
    total: u64,
}

fn cause(order: &Order) -> B256 {
    let mut hash = Keccak256::new();
    hash.update(order.to.unwrap_or_default());
    hash.update(order.value_wei.to_be_bytes::<32>());
    hash.update(&order.input);
    hash.finalize()
}

fn kind(order: &Order) -> (Address, &'static str) {
    (order.to.unwrap_or_default(), order.what)
}

/// Until when a kind that failed at these times rests, if its budget is used up.
fn rests_until(failures: &VecDeque<Duration>) -> Option<Duration> {
    let (first, last) = (failures.front()?, failures.back()?);
    let until = first.saturating_add(WITHIN).min(last.saturating_add(REST));
    (failures.len() >= OF_A_KIND).then_some(until)
}

impl Reverts {
    /// Whether this may be tried now; else what keeps it.
    pub(super) fn allow(&mut self, order: &Order, now: Duration) -> Result<(), Resting> {
        if let Some(Cause { resting, .. }) = self.causes.get(&cause(order))
            && now < resting.until
        {
            return Err(resting.clone());
        }
        let Some(failures) = self.kinds.get_mut(&kind(order)) else { return Ok(()) };
        failures.retain(|at| now.saturating_sub(*at) < WITHIN);
        match rests_until(failures) {
            Some(until) if now < until => Err(Resting {
                what: order.what,
                failures: u32::try_from(failures.len()).unwrap_or(u32::MAX),
                until,
            }),
            _ => Ok(()),
        }
    }

    /// Takes note of a failure that was paid for.
    pub(super) fn failed(&mut self, order: &Order, now: Duration) {
        self.total = self.total.saturating_add(1);
        let times = self.kinds.entry(kind(order)).or_default();
        times.push_back(now);
        // Older ones are not needed to know when the next may be tried.
        while times.len() > OF_A_KIND {
            times.pop_front();
        }
        let cause = cause(order);
        let before = self.causes.get(&cause).filter(|one| !one.is_forgotten(now));
        let failures = before.map_or(0, |one| one.resting.failures).saturating_add(1);
        let pause = match failures.checked_sub(2) {
            _ if failures >= ATTEMPTS => WITHIN,
            Some(doublings) => FIRST_PAUSE.saturating_mul(1 << doublings.min(ATTEMPTS)),
            None => Duration::ZERO,
        };
        let until = now.saturating_add(pause);
        let resting = Resting { what: order.what, failures, until };
        self.causes.insert(cause, Cause { resting, failed: now });
        while self.causes.len() > REMEMBERED {
            let soonest = self.causes.iter().min_by_key(|(_, one)| one.resting.until);
            let Some(soonest) = soonest.map(|(cause, _)| *cause) else { return };
            self.causes.remove(&soonest);
        }
    }

    /// Takes note that it did what it should.
    pub(super) fn succeeded(&mut self, order: &Order) {
        self.causes.remove(&cause(order));
    }

    /// What failed more than once and is not tried now, one of each kind, and how often anything failed.
    pub(super) fn told(&self, now: Duration) -> (Vec<Resting>, u64) {
        let mut told: BTreeMap<&'static str, Resting> = BTreeMap::new();
        let resting = self
            .causes
            .values()
            .map(|one| &one.resting)
            .filter(|one| one.failures > 1 && now < one.until);
        for one in resting {
            let worst = told.entry(one.what).or_insert_with(|| one.clone());
            if one.failures > worst.failures {
                *worst = one.clone();
            }
        }
        for ((_, what), times) in &self.kinds {
            if let Some(until) = rests_until(times).filter(|until| now < *until) {
                let failures = u32::try_from(times.len()).unwrap_or(u32::MAX);
                told.insert(what, Resting { what, failures, until });
            }
        }
        (told.into_values().collect(), self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS, OF_A_KIND, Order, REMEMBERED, REST, Reverts, WITHIN};
    use alloy::primitives::{Address, U256};
    use std::time::Duration;

    fn order(n: usize) -> Order {
        Order {
            to: Some(Address::repeat_byte(1)),
            value_wei: U256::ZERO,
            input: n.to_be_bytes().to_vec().into(),
            gas: None,
            what: "execute",
        }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Tries whenever it may for ten days, and fails each time. How often, and what was paid in the first hour.
    fn tries(mut next: impl FnMut(u64) -> Order) -> (u32, u32) {
        let mut reverts = Reverts::default();
        let (mut paid, mut first_hour) = (0_u32, 0_u32);
        for second in (0..864_000).step_by(12) {
            let order = next(second);
            if reverts.allow(&order, at(second)).is_ok() {
                reverts.failed(&order, at(second));
                paid = paid.saturating_add(1);
                first_hour = first_hour.saturating_add(u32::from(second < 3_600));
            }
        }
        (paid, first_hour)
    }

    #[test]
    fn what_fails_each_time_is_paid_for_a_few_times_ever_more_slowly_and_then_once_a_day() {
        let (paid, first_hour) = tries(|_| order(1));
        assert_eq!((paid, first_hour), (ATTEMPTS.saturating_add(9), 6));
        let mut reverts = Reverts::default();
        for n in 0..ATTEMPTS {
            reverts.failed(&order(1), at(u64::from(n)));
        }
        let resting = reverts.allow(&order(1), at(6)).unwrap_err();
        let day = at(5).saturating_add(WITHIN);
        assert_eq!((resting.failures, resting.until), (ATTEMPTS, day));
        assert!(reverts.allow(&order(2), at(9)).is_ok(), "another one of the kind is not blamed");
        assert_eq!(reverts.told(at(9)), (vec![resting], u64::from(ATTEMPTS)));
        assert!(reverts.allow(&order(1), day).is_ok());
        reverts.failed(&order(1), day);
        assert!(reverts.allow(&order(1), day.saturating_add(at(60))).is_err());
    }

    #[test]
    fn races_that_were_lost_in_one_epoch_after_the_other_keep_nobody_from_a_duty_for_ever() {
        let mut reverts = Reverts::default();
        // The same calldata in each epoch, an hour apart; somebody is always faster.
        for epoch in 0..u64::from(ATTEMPTS) {
            assert!(reverts.allow(&order(1), at(3_600 * epoch)).is_ok(), "epoch {epoch}");
            reverts.failed(&order(1), at(3_600 * epoch));
        }
        assert!(reverts.allow(&order(1), at(3_600 * 6)).is_err());
        assert!(reverts.allow(&order(1), at(3_600 * 5).saturating_add(WITHIN)).is_ok());
        // And what was lost long ago does not count.
        let later = at(3_600 * 5).saturating_add(WITHIN * 2);
        reverts.failed(&order(1), later);
        assert!(reverts.allow(&order(1), later).is_ok());
    }

    #[test]
    fn a_kind_that_fails_with_ever_new_words_has_a_budget_and_then_a_try_in_ten_minutes() {
        let mut number = 0_usize;
        let (paid, first_hour) = tries(|_| {
            number = number.saturating_add(1);
            order(number)
        });
        let budget = u32::try_from(OF_A_KIND).unwrap();
        // Sixteen in the first minutes, and one every ten from then on.
        assert_eq!(first_hour, budget.saturating_add(5));
        assert_eq!(paid, budget.saturating_add(10 * 24 * 6 - 1));
    }

    #[test]
    fn a_success_ends_the_pauses_of_a_transaction_and_time_those_of_its_kind() {
        let mut reverts = Reverts::default();
        reverts.failed(&order(1), at(0));
        assert_eq!(reverts.told(at(0)).0, [], "once may happen to anybody");
        assert!(reverts.allow(&order(1), at(0)).is_ok());
        reverts.failed(&order(1), at(0));
        assert_eq!(reverts.allow(&order(1), at(59)).unwrap_err().until, at(60));
        assert_eq!(reverts.told(at(59)).0.len(), 1);
        assert!(reverts.allow(&order(1), at(60)).is_ok());
        reverts.succeeded(&order(1));
        for n in 2..OF_A_KIND {
            assert!(reverts.allow(&order(n), at(100)).is_ok());
            reverts.failed(&order(n), at(100));
        }
        assert!(reverts.allow(&order(99), at(101)).is_err());
        assert_eq!(reverts.told(at(101)).0.len(), 1);
        assert!(reverts.allow(&order(99), at(100).saturating_add(REST)).is_ok());
        assert_eq!(reverts.told(at(100).saturating_add(REST)).0, []);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_was_given_up_goes_last() {
        let mut reverts = Reverts::default();
        for _ in 0..ATTEMPTS {
            reverts.failed(&order(0), at(0));
        }
        for n in 1..REMEMBERED.saturating_mul(2) {
            reverts.failed(&order(n), at(1));
        }
        assert_eq!(reverts.causes.len(), REMEMBERED);
        assert_eq!(reverts.allow(&order(0), at(2)).unwrap_err().until, WITHIN);
    }
}
