//! When the next height starts (R19). Local policy, not consensus-critical.
//!
//! The engine itself waits out the interval after each decision, collecting late precommits. From then on a height starts
//! as soon as a transaction or a forced entry waits here, or the height's first proposer shows that it has started, and at the
//! latest after the idle interval. Nothing waits while catching up. What any other member proposes starts nothing: it has nothing
//! to propose before the first has failed to, and one member alone would set the pace of all.

use crate::domain::{Height, Signer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// What the pace of one height depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When the height that is over was started.
    pub(super) started: Instant,
    /// Whether it was decided by sync: others are ahead.
    pub(super) behind: bool,
}

/// Who has proposed at heights that are still to start here. Of members alone, so bounded by those and the heights ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct Begun(BTreeMap<Height, BTreeSet<Signer>>);

impl Begun {
    /// A proposal of this member was met, under its signature.
    pub(super) fn note(&mut self, height: Height, by: Signer) {
        self.0.entry(height).or_default().insert(by);
    }

    /// Whether the first proposer of a height is among those; it is asked for only if there are any.
    pub(super) fn by_first(&self, height: Height, first: impl FnOnce() -> Option<Signer>) -> bool {
        self.0.get(&height).is_some_and(|by| first().is_some_and(|first| by.contains(&first)))
    }

    /// A height starts.
    pub(super) fn start(&mut self, height: Height) {
        self.0 = self.0.split_off(&height.next());
    }
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
    /// When the next height starts, if work waits or not, and if its first proposer has begun or not.
    pub(super) fn start_of_next(&self, has_work: bool, has_begun: bool, idle: Duration) -> Start {
        if self.behind || has_work || has_begun {
            return Start::Now;
        }
        self.started.checked_add(idle).map_or(Start::Now, Start::At)
    }
}

#[cfg(test)]
mod tests {
    use super::{Begun, Pace, Start};
    use crate::domain::{Height, Signer};
    use std::time::Duration;
    use tokio::time::Instant;

    const IDLE: Duration = Duration::from_secs(1);
    const NEXT: Height = Height::new(8);

    fn pace() -> Pace {
        Pace { started: Instant::now(), behind: false }
    }

    #[test]
    fn an_idle_agent_waits_for_the_idle_interval() {
        let pace = pace();
        assert_eq!(pace.start_of_next(false, false, IDLE), Start::At(pace.started + IDLE));
    }

    #[test]
    fn work_starts_the_height_and_so_does_its_first_proposer() {
        assert_eq!(pace().start_of_next(true, false, IDLE), Start::Now);
        assert_eq!(pace().start_of_next(false, true, IDLE), Start::Now);
    }

    #[test]
    fn nothing_waits_while_catching_up() {
        assert_eq!(Pace { behind: true, ..pace() }.start_of_next(false, false, IDLE), Start::Now);
    }

    #[test]
    fn only_the_first_proposer_of_that_height_has_begun_it() {
        let (first, other) = (Signer([1; 20]), Signer([2; 20]));
        let mut begun = Begun::default();
        assert!(!begun.by_first(NEXT, || panic!("nobody has")));
        begun.note(NEXT, other);
        begun.note(NEXT.next(), first);
        assert!(!begun.by_first(NEXT, || Some(first)));
        assert!(!begun.by_first(NEXT, || None), "not known yet");
        begun.note(NEXT, first);
        assert!(begun.by_first(NEXT, || Some(first)));
        begun.start(NEXT);
        assert!(!begun.by_first(NEXT, || Some(first)));
        assert!(begun.by_first(NEXT.next(), || Some(first)));
    }
}
