//! Which of several L1 nodes is asked: the first one that is in order. Pure; time comes as an argument.
//!
//! Nodes are not mixed. Each has its own view of L1's head, so one is asked for everything until it fails, stands still,
//! falls behind or goes back; then it rests, longer each time, while the next one is asked, and is preferred again after
//! that.

use std::time::Duration;
use tokio::time::Instant;

/// The first rest of a node; it doubles with every failure in a row.
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest rest.
const MAX_REST: Duration = Duration::from_secs(120);
/// Blocks that a node may be behind of what was seen before without being left: load balancers mix backends.
const TOLERATED_LAG: u64 = 3;
/// A head that is the same for so long is compared with those of other nodes.
const STILL: Duration = Duration::from_secs(20);

/// One node.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Failures since it was last in order.
    failures: u32,
    rests_until: Option<Instant>,
    /// Whether it is known to be on the right chain.
    is_known: bool,
    /// Whether it is known to be on another one: it is never asked again.
    is_foreign: bool,
    /// Whether it was left for its head: until that is in order it is preferred for nothing but heads.
    is_behind: bool,
    /// Its newest head, and since when that is its newest.
    head: Option<(u64, Instant)>,
}

/// What to make of a head that a node told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadVerdict {
    /// It may stand.
    Fine,
    /// It is behind what was seen before: another node may know better.
    Behind,
    /// It has not changed for long: another node may have gone on.
    Still,
}

/// How all nodes stand.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    nodes: Vec<Node>,
    /// The highest head that any node told.
    best: u64,
}

impl Standing {
    pub(super) fn new(count: usize) -> Self {
        Self { nodes: vec![Node::default(); count], best: 0 }
    }

    /// In which order to ask, for the newest block or for something else: those in order by preference, then those that
    /// rest, the one whose rest ends first at the front. A node of another chain is not among them.
    pub(super) fn order(&self, now: Instant, for_head: bool) -> Vec<usize> {
        let rest = |node: &Node| node.rests_until.filter(|until| *until > now);
        let mut order: Vec<(Option<Instant>, bool, usize)> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.is_foreign)
            .map(|(index, node)| (rest(node), node.is_behind && !for_head, index))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(.., index)| index).collect()
    }

    /// Whether a node rests: it may take long to say nothing.
    pub(super) fn rests(&self, index: usize, now: Instant) -> bool {
        let until = self.nodes.get(index).and_then(|node| node.rests_until);
        until.is_some_and(|until| until > now)
    }

    /// The node answered as it should.
    pub(super) fn answered(&mut self, index: usize, now: Instant) {
        if let Some(node) = self.nodes.get_mut(index)
            && !node.is_behind
            && node.rests_until.is_none_or(|until| until <= now)
        {
            (node.failures, node.rests_until) = (0, None);
        }
    }

    /// The node's head is behind another one's: it rests, and so does its good name. For how long; `None` when it rests
    /// already.
    pub(super) fn fell_behind(&mut self, index: usize, now: Instant) -> Option<Duration> {
        let node = self.nodes.get_mut(index)?;
        node.is_behind = true;
        self.failed(index, now)
    }

    /// The node failed or is not to be believed: it rests. For how long; `None` when it rests already.
    pub(super) fn failed(&mut self, index: usize, now: Instant) -> Option<Duration> {
        let node = self.nodes.get_mut(index)?;
        if node.rests_until.is_some_and(|until| until > now) {
            return None;
        }
        let rest = FIRST_REST.saturating_mul(1 << node.failures.min(10)).min(MAX_REST);
        node.failures = node.failures.saturating_add(1);
        node.rests_until = now.checked_add(rest);
        Some(rest)
    }

    pub(super) fn is_known(&self, index: usize) -> bool {
        self.nodes.get(index).is_some_and(|node| node.is_known)
    }

    /// The node has told its chain.
    pub(super) fn told_chain(&mut self, index: usize, is_ours: bool) {
        if let Some(node) = self.nodes.get_mut(index) {
            (node.is_known, node.is_foreign) = (is_ours, !is_ours);
        }
    }

    /// The node told its head.
    pub(super) fn told_head(&mut self, index: usize, number: u64, now: Instant) -> HeadVerdict {
        let Some(node) = self.nodes.get_mut(index) else { return HeadVerdict::Fine };
        let since = match node.head {
            Some((known, since)) if known == number => since,
            _ => now,
        };
        node.head = Some((number, since));
        let best = self.best;
        self.best = best.max(number);
        if number.saturating_add(TOLERATED_LAG) < best {
            HeadVerdict::Behind
        } else if now.duration_since(since) >= STILL {
            HeadVerdict::Still
        } else {
            node.is_behind &= number < self.best;
            HeadVerdict::Fine
        }
    }

    /// Every node was asked, and `number` is the highest head: what was seen before is not there any more.
    pub(super) fn settle_for(&mut self, number: u64, now: Instant) {
        self.best = number;
        for node in &mut self.nodes {
            // Who was compared stands for another while.
            node.head = node.head.map(|(head, _)| (head, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HeadVerdict, STILL, Standing};
    use std::time::Duration;
    use tokio::time::Instant;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_first_node_is_asked_until_it_fails_and_again_after_its_rest() {
        let (mut standing, now) = (Standing::new(3), Instant::now());
        assert_eq!(standing.order(now, false), [0, 1, 2]);
        assert_eq!(standing.failed(0, now), Some(seconds(5)));
        assert_eq!(standing.order(now, false), [1, 2, 0]);
        assert!(standing.rests(0, now) && !standing.rests(1, now));
        assert_eq!(standing.order(now + seconds(5), false), [0, 1, 2]);
    }

    #[test]
    fn rests_grow_while_a_node_fails_and_begin_small_once_it_was_in_order() {
        let (mut standing, mut now) = (Standing::new(2), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..9 {
            let rest = standing.failed(0, now).unwrap();
            assert_eq!(standing.failed(0, now), None, "a request on its way fails too");
            rests.push(rest.as_secs());
            now += rest;
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 120, 120, 120, 120]);
        standing.answered(0, now);
        assert_eq!(standing.failed(0, now), Some(seconds(5)));
        // An answer that was on its way when the rest began does not end it.
        standing.answered(0, now);
        assert_eq!(standing.order(now, false), [1, 0]);
    }

    #[test]
    fn when_all_rest_the_one_whose_rest_ends_first_is_asked_first() {
        let (mut standing, now) = (Standing::new(3), Instant::now());
        standing.failed(1, now);
        standing.failed(0, now + seconds(1));
        standing.failed(2, now + seconds(1));
        assert_eq!(standing.order(now + seconds(1), false), [1, 0, 2]);
    }

    #[test]
    fn a_node_of_another_chain_is_never_asked() {
        let (mut standing, now) = (Standing::new(2), Instant::now());
        standing.told_chain(0, false);
        standing.told_chain(1, true);
        assert_eq!((standing.order(now, false), standing.is_known(1)), (vec![1], true));
    }

    #[test]
    fn a_lag_of_a_few_blocks_is_tolerated_and_more_is_not() {
        let (mut standing, now) = (Standing::new(2), Instant::now());
        assert_eq!(standing.told_head(0, 100, now), HeadVerdict::Fine);
        for number in [99, 97, 101, 98] {
            assert_eq!(standing.told_head(0, number, now), HeadVerdict::Fine, "{number}");
        }
        assert_eq!(standing.told_head(0, 97, now), HeadVerdict::Behind);
        standing.settle_for(97, now);
        assert_eq!(standing.told_head(0, 97, now), HeadVerdict::Fine);
    }

    #[test]
    fn who_fell_behind_is_asked_for_heads_alone_until_it_has_caught_up() {
        let (mut standing, now) = (Standing::new(2), Instant::now());
        standing.told_head(1, 100, now);
        assert_eq!(standing.told_head(0, 90, now), HeadVerdict::Behind);
        let rest = standing.fell_behind(0, now).unwrap();
        let later = now + rest;
        assert_eq!(
            (standing.order(later, true), standing.order(later, false)),
            (vec![0, 1], vec![1, 0])
        );
        // Answers to other questions do not make up for it.
        standing.answered(0, later);
        assert_eq!(standing.told_head(0, 99, later), HeadVerdict::Fine);
        assert_eq!(standing.order(later, false), [1, 0]);
        assert_eq!(standing.told_head(0, 101, later), HeadVerdict::Fine);
        assert_eq!(standing.order(later, false), [0, 1]);
    }

    #[test]
    fn a_head_that_does_not_move_is_compared_after_a_while() {
        let (mut standing, now) = (Standing::new(2), Instant::now());
        assert_eq!(standing.told_head(0, 100, now), HeadVerdict::Fine);
        assert_eq!(standing.told_head(0, 100, now + STILL), HeadVerdict::Still);
        standing.settle_for(100, now + STILL);
        assert_eq!(standing.told_head(0, 100, now + STILL), HeadVerdict::Fine);
        assert_eq!(standing.told_head(0, 101, now + STILL + STILL), HeadVerdict::Fine);
    }
}
