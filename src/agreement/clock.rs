//! How this agent's clock stands to the others'. Local policy, not consensus-critical.
//!
//! A block carries its proposer's time, and is voted for until it is the drift ahead of the voter's (R17). An agent whose
//! clock is ahead has its blocks refused, one whose clock is behind refuses those of all others: both are absent from
//! agreement, and neither sees why from what is decided. So the time of each signed proposal is compared with the clock
//! when it arrives. A proposal that took long makes the clock look ahead, never behind: of one proposer the smallest of its
//! last differences counts, and of the proposers the middle one, so that no single one of them makes this agent believe
//! anything. Where too few others propose, L1 says one thing: a clock is behind when a block of L1 is ahead of it.

use super::gate::Trouble;
use crate::domain::{Millis, Signer};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Proposers whose times are remembered, the last ones to propose.
const PROPOSERS: usize = 7;

/// Differences of one proposer that are remembered.
const A_PROPOSER: usize = 8;

/// Proposers without whom the others' time is not known.
const FEWEST: usize = 2;

/// Milliseconds that no clock is taken to be ahead for: messages that wait on a busy machine look the same.
const LOOKS_AHEAD: u64 = 2_000;

/// A clock that moved by so much more or less than time passed was set: what was compared before says nothing.
const WAS_SET: Duration = Duration::from_secs(1);

/// What the clock is off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The agents that propose.
    Peers,
    /// The newest block of L1.
    L1,
}

/// How far a clock is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOff {
    /// In milliseconds; above 0 this agent's clock is ahead.
    pub millis: i64,
    /// Off from what.
    pub against: Against,
}

impl std::fmt::Display for ClockOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.millis.unsigned_abs().checked_div(1_000).unwrap_or_default();
        let direction = if self.millis > 0 { "ahead of" } else { "behind" };
        let against = match self.against {
            Against::Peers => "the other agents'",
            Against::L1 => "the newest L1 block's",
        };
        write!(f, "clock: this agent's is {seconds} s {direction} {against}, set it")
    }
}

/// What was compared.
#[derive(Debug, Default)]
struct Compared {
    proposers: VecDeque<(Signer, VecDeque<i64>)>,
    l1_millis: Option<i64>,
    last: Option<(Instant, Millis)>,
    told: Trouble,
}

impl Compared {
    /// Forgets what was compared before the clock was set.
    fn look(&mut self, now: Millis, at: Instant) {
        if let Some((then, before)) = self.last {
            let passed = at.saturating_duration_since(then);
            let ran = i128::from(now.get()).saturating_sub(i128::from(before.get()));
            let should = i128::try_from(passed.as_millis()).unwrap_or(i128::MAX);
            if ran.abs_diff(should) > WAS_SET.as_millis() {
                self.proposers.clear();
                self.l1_millis = None;
            }
        }
        self.last = Some((at, now));
    }

    fn proposal(&mut self, by: Signer, difference: i64) {
        let place = self.proposers.iter().position(|(signer, _)| *signer == by);
        let mut differences = place
            .and_then(|place| self.proposers.remove(place))
            .map_or_else(VecDeque::new, |(_, differences)| differences);
        differences.push_back(difference);
        if differences.len() > A_PROPOSER {
            differences.pop_front();
        }
        self.proposers.push_back((by, differences));
        if self.proposers.len() > PROPOSERS {
            self.proposers.pop_front();
        }
    }

    fn off(&self) -> Option<ClockOff> {
        let mut differences: Vec<i64> =
            self.proposers.iter().filter_map(|(_, all)| all.iter().min().copied()).collect();
        if differences.len() >= FEWEST {
            differences.sort_unstable();
            // Of an even number the one nearer to this clock: two proposers need to agree.
            let upper = differences.get(differences.len().checked_div(2)?).copied()?;
            let lower = differences.len().checked_sub(1)?.checked_div(2)?;
            let lower = differences.get(lower).copied()?;
            let millis = if lower.unsigned_abs() < upper.unsigned_abs() { lower } else { upper };
            return Some(ClockOff { millis, against: Against::Peers });
        }
        self.l1_millis.map(|millis| ClockOff { millis, against: Against::L1 })
    }
}

/// The comparison, shared with those who tell of it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<Mutex<Compared>>);

impl Clock {
    /// How far this agent's clock is off, as far as anything is known. Not every difference is a fault.
    pub fn off(&self) -> Option<ClockOff> {
        self.read().off()
    }

    /// The same where it keeps blocks from being voted for, or is about to: where this clock is behind, by half of what
    /// blocks may be ahead; where it looks ahead, which slow messages do too, by all of it and at least two seconds.
    pub fn fault(&self, drift: Millis) -> Option<ClockOff> {
        self.off().filter(|off| {
            let tolerated = match off.millis {
                ..0 => drift.get().checked_div(2).unwrap_or_default(),
                0.. => drift.get().max(LOOKS_AHEAD),
            };
            off.millis.unsigned_abs() > tolerated
        })
    }

    /// A proposal of `by` that carries `timestamp` arrived at `now`.
    pub(super) fn proposal(&self, by: Signer, timestamp: Millis, now: Millis, at: Instant) {
        let mut compared = self.read();
        compared.look(now, at);
        compared.proposal(by, difference(now, timestamp));
    }

    /// L1 shows a block of this time.
    pub(super) fn l1(&self, timestamp: Millis, now: Millis, at: Instant) {
        let mut compared = self.read();
        compared.look(now, at);
        compared.l1_millis = Some(difference(now, timestamp).min(0));
    }

    /// Tells of a clock that is off, now and then.
    pub(super) fn tell(&self, drift: Millis, at: Instant) {
        let Some(off) = self.fault(drift) else { return };
        if self.read().told.again(at.into_std()).is_some() {
            let (millis, drift) = (off.millis, drift.get());
            tracing::warn!(millis, drift, "{off}: blocks are refused until it is right");
        }
    }

    fn read(&self) -> std::sync::MutexGuard<'_, Compared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machine's clock, so many milliseconds ahead.
pub(super) fn machine(off_millis: i64) -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Millis::new(millis.saturating_add_signed(off_millis))
}

fn difference(now: Millis, timestamp: Millis) -> i64 {
    let of = |millis: Millis| i64::try_from(millis.get()).unwrap_or(i64::MAX);
    of(now).saturating_sub(of(timestamp))
}

#[cfg(test)]
mod tests {
    use super::{Against, Clock, ClockOff};
    use crate::domain::{Millis, Signer};
    use std::time::Duration;
    use tokio::time::Instant;

    const DRIFT: Millis = Millis::new(2_000);
    const NOW: Millis = Millis::new(1_000_000);

    /// Proposals of several, each so many milliseconds before this agent's clock.
    fn heard(differences: &[(u8, i64)]) -> Clock {
        let (clock, at) = (Clock::default(), Instant::now());
        for (by, difference) in differences {
            let timestamp = NOW.get().saturating_sub_signed(*difference);
            clock.proposal(Signer([*by; 20]), Millis::new(timestamp), NOW, at);
        }
        clock
    }

    #[test]
    fn a_clock_that_is_off_from_most_proposers_is_at_fault() {
        for millis in [20_000, -20_000] {
            let off = ClockOff { millis, against: Against::Peers };
            let clock = heard(&[(1, millis), (2, millis), (3, millis)]);
            assert_eq!(clock.fault(DRIFT), Some(off));
            let told = off.to_string();
            assert!(told.starts_with("clock: this agent's is 20 s "), "{told}");
        }
        assert_eq!(heard(&[(1, 30), (2, 40), (3, -20)]).fault(DRIFT), None);
    }

    #[test]
    fn one_proposer_that_lies_makes_nobody_believe_anything() {
        for lie in [20_000, -20_000] {
            assert_eq!(heard(&[(1, lie)]).fault(DRIFT), None);
            assert_eq!(heard(&[(1, lie), (2, 10)]).fault(DRIFT), None);
            assert_eq!(heard(&[(1, lie), (2, 10), (3, 20)]).fault(DRIFT), None);
        }
    }

    #[test]
    fn a_block_that_took_long_does_not_make_the_clock_look_ahead() {
        let slow = [(1, 9_000), (1, 40), (2, 8_000), (2, 60), (3, 9_000), (3, 50)];
        assert_eq!(heard(&slow).fault(DRIFT), None);
    }

    #[test]
    fn l1_shows_a_clock_that_is_behind_where_nobody_else_does() {
        let (clock, at) = (Clock::default(), Instant::now());
        clock.l1(Millis::new(NOW.get() - 90_000), NOW, at);
        assert_eq!(clock.fault(DRIFT), None, "L1 may be quiet");
        clock.l1(Millis::new(NOW.get() + 20_000), NOW, at);
        let behind = ClockOff { millis: -20_000, against: Against::L1 };
        assert_eq!(clock.fault(DRIFT), Some(behind));
    }

    #[test]
    fn a_clock_that_was_set_is_judged_anew() {
        let clock = heard(&[(1, 20_000), (2, 20_000)]);
        let set = Millis::new(NOW.get() - 20_000);
        let at = Instant::now() + Duration::from_millis(10);
        clock.proposal(Signer([1; 20]), set, set, at);
        clock.proposal(Signer([2; 20]), set, set, at);
        assert_eq!(clock.fault(DRIFT), None);
        assert_eq!(clock.off().map(|off| off.millis), Some(0));
    }
}
