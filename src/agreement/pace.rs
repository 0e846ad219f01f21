//! When the next height starts (R19). Local policy, not consensus-critical.
//!
//! The engine itself waits out the interval after each decision, collecting late precommits. From then on a height starts
//! as soon as a transaction or a forced entry waits here, or a part of the next height shows that somebody else has started, and at the
//! latest after the idle interval. Nothing waits while catching up.

use crate::domain::Height;
use std::time::{Duration, Instant};

/// What the pace of one height depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When the height that is over was started.
    pub(super) started: Instant,
    /// Whether it was decided by sync: others are ahead.
    pub(super) behind: bool,
    /// The highest height of which a part was seen.
    pub(super) seen: Height,
}

/// When to start a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// At once.
    Now,
    /// Then, if nothing happens before.
    At(Instant),
}

impl Pace {
    /// When `next` starts, if work waits or not.
    pub(super) fn start_of(&self, next: Height, has_work: bool, idle: Duration) -> Start {
        if self.behind || has_work || self.seen >= next {
            return Start::Now;
        }
        self.started.checked_add(idle).map_or(Start::Now, Start::At)
    }
}

#[cfg(test)]
mod tests {
    use super::{Pace, Start};
    use crate::domain::Height;
    use std::time::{Duration, Instant};

    const IDLE: Duration = Duration::from_secs(1);
    const NEXT: Height = Height::new(8);

    fn pace() -> Pace {
        Pace { started: Instant::now(), behind: false, seen: Height::new(7) }
    }

    #[test]
    fn an_idle_agent_waits_for_the_idle_interval() {
        let pace = pace();
        assert_eq!(pace.start_of(NEXT, false, IDLE), Start::At(pace.started + IDLE));
    }

    #[test]
    fn work_starts_the_height() {
        assert_eq!(pace().start_of(NEXT, true, IDLE), Start::Now);
    }

    #[test]
    fn a_part_of_the_height_starts_it() {
        assert_eq!(Pace { seen: NEXT, ..pace() }.start_of(NEXT, false, IDLE), Start::Now);
    }

    #[test]
    fn nothing_waits_while_catching_up() {
        assert_eq!(Pace { behind: true, ..pace() }.start_of(NEXT, false, IDLE), Start::Now);
    }
}
