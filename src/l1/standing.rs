//! Which of several L1 nodes is asked: the first one that is in order. Pure; time comes as an argument.
//!
//! Nodes are not mixed. Each has its own view of L1's head, so one is asked for everything until it fails, stands still,
//! falls behind, goes back or tells what cannot be; then it rests, longer each time, while the next one is asked, and is
//! preferred again after that.

use std::time::Duration;
use tokio::time::Instant;

/// The first rest of a node; it doubles with every failure in a row.
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest rest.
const MAX_REST: Duration = Duration::from_secs(120);
/// Blocks that a node may be behind of what was seen before without being left: load balancers mix backends.
const TOLERATED_LAG: u64 = 3;
/// Blocks that a head may be beyond the best that is known and one for each second since: L1 makes no more, and a node that
/// was asked rarely may show many at once.
const LEAP: u64 = 1_024;
/// A head that is the same for so long is compared with those of other nodes.
const STILL: Duration = Duration::from_secs(20);
/// What a node told wrongly is forgotten after so long without more of it.
const FORGIVEN: Duration = Duration::from_secs(3_600);
/// For how long a node that says that it has no such method is not asked for it.
const WITHOUT_METHOD: Duration = Duration::from_secs(600);

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
    /// How often it told what cannot be, as a head of a chain that it did not have, and when it last did.
    lies: u32,
    lied: Option<Instant>,
    /// How often it was left: what it told before the last time is no news of it.
    left: u32,
    /// Methods that it says it does not have, and until when that counts.
    without: Vec<(String, Instant)>,
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
    /// It is further than L1 can have come since the last one: another node is believed first.
    Doubtful,
}

/// How all nodes stand.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    nodes: Vec<Node>,
    /// The highest head that any node told.
    best: u64,
    /// When a head was last believed.
    believed: Option<Instant>,
}

impl Standing {
    pub(super) fn new(count: usize) -> Self {
        Self { nodes: vec![Node::default(); count], best: 0, believed: None }
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
        if node.lied.is_some_and(|at| now.saturating_duration_since(at) >= FORGIVEN) {
            (node.lies, node.lied) = (0, None);
        }
        let times = node.failures.max(node.lies).min(10);
        let rest = FIRST_REST.saturating_mul(1 << times).min(MAX_REST);
        node.failures = node.failures.saturating_add(1);
        node.left = node.left.saturating_add(1);
        node.rests_until = now.checked_add(rest);
        Some(rest)
    }

    /// How often a node was left until now.
    pub(super) fn times_left(&self, index: usize) -> u32 {
        self.nodes.get(index).map_or(0, |node| node.left)
    }

    /// The node told what cannot be, when it had been left `left` times: it rests, longer each time, also if it was asked
    /// while it rested. For how long; `None` when it was left since, for this answer or another one of that moment.
    pub(super) fn lied(&mut self, index: usize, left: u32, now: Instant) -> Option<Duration> {
        let node = self.nodes.get_mut(index).filter(|node| node.left == left)?;
        node.rests_until = None;
        let rest = self.failed(index, now);
        self.count_lie(index, now);
        rest
    }

    fn count_lie(&mut self, index: usize, now: Instant) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        node.lies = node.lies.saturating_add(1);
        node.lied = Some(now);
    }

    /// The node says that it does not have a method. Whether that is news.
    pub(super) fn lacks_method(&mut self, index: usize, method: &str, now: Instant) -> bool {
        let is_news = !self.is_without(index, method, now);
        if let (Some(node), Some(until)) =
            (self.nodes.get_mut(index), now.checked_add(WITHOUT_METHOD))
            && is_news
        {
            node.without.retain(|(known, _)| known != method);
            node.without.push((method.to_owned(), until));
        }
        is_news
    }

    /// Whether the node said of late that it does not have a method.
    pub(super) fn is_without(&self, index: usize, method: &str, now: Instant) -> bool {
        let without = self.nodes.get(index).map(|node| node.without.iter());
        without.is_some_and(|mut all| all.any(|(known, until)| known == method && now < *until))
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
        if let Some(believed) = self.believed {
            let elapsed = now.saturating_duration_since(believed).as_secs();
            if number > self.best.saturating_add(LEAP).saturating_add(elapsed) {
                return HeadVerdict::Doubtful;
            }
        }
        let Some(node) = self.nodes.get_mut(index) else { return HeadVerdict::Fine };
        let since = match node.head {
            Some((known, since)) if known == number => since,
            _ => now,
        };
        node.head = Some((number, since));
        self.believed = Some(now);
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

    /// The node does not have block `number`. Whether it told a head that is well beyond that: then its head is not worth
    /// anything, nor what was made of it, and it rests, longer each time.
    pub(super) fn denied(&mut self, index: usize, number: u64, now: Instant) -> bool {
        let Some(node) = self.nodes.get_mut(index) else { return false };
        let reach = number.saturating_add(TOLERATED_LAG);
        if node.head.is_none_or(|(head, _)| head <= reach) {
            return false;
        }
        node.head = None;
        self.failed(index, now);
        self.count_lie(index, now);
        let others = self.nodes.iter().filter_map(|node| node.head).map(|(head, _)| head);
        (self.best, self.believed) = (others.max().unwrap_or(number), Some(now));
        true
    }

    /// Every node was asked, and `number` is the highest head: what was seen before is not there any more.
    pub(super) fn settle_for(&mut self, number: u64, now: Instant) {
        (self.best, self.believed) = (number, Some(now));
        for node in &mut self.nodes {
            // Who was compared stands for another while.
            node.head = node.head.map(|(head, _)| (head, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FORGIVEN, HeadVerdict, LEAP, STILL, Standing, WITHOUT_METHOD};
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
    fn a_head_that_l1_cannot_have_reached_is_doubted_and_forgets_nothing() {
        let (mut standing, now) = (Standing::new(2), Instant::now());
        assert_eq!(standing.told_head(0, 100, now), HeadVerdict::Fine);
        for head in [u64::MAX, 1 << 40, 100 + LEAP + 26] {
            assert_eq!(standing.told_head(1, head, now + seconds(25)), HeadVerdict::Doubtful);
        }
        assert_eq!(standing.told_head(0, 101, now + seconds(25)), HeadVerdict::Fine);
        assert_eq!(standing.told_head(1, 101 + LEAP, now + seconds(25)), HeadVerdict::Fine);
    }

    #[test]
    fn who_does_not_have_the_blocks_below_its_head_rests_and_its_head_is_forgotten() {
        let (mut standing, mut now) = (Standing::new(2), Instant::now());
        standing.told_head(0, 1 << 40, now);
        assert_eq!(standing.told_head(1, 100, now), HeadVerdict::Behind);
        assert!(standing.denied(0, 101, now));
        assert!(!standing.denied(0, 101, now), "once for each head");
        assert!(!standing.denied(1, 98, now), "load balancers mix backends");
        assert_eq!(standing.told_head(1, 100, now), HeadVerdict::Fine);
        assert_eq!(standing.order(now, true), [1, 0]);
        // It does better meanwhile, and is trusted for ever shorter.
        let mut rests = Vec::new();
        for _ in 0..6 {
            now += seconds(120);
            standing.answered(0, now);
            standing.told_head(0, 1_000, now);
            assert!(standing.denied(0, 101, now));
            let rested = (0..=120).find(|n| !standing.rests(0, now + seconds(*n)));
            rests.push(rested.unwrap());
        }
        assert_eq!(rests, [10, 20, 40, 80, 120, 120]);
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

    #[test]
    fn who_told_what_cannot_be_rests_longer_each_time_whatever_else_it_answers_well() {
        let (mut standing, mut now) = (Standing::new(2), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..4 {
            let left = standing.times_left(0);
            let rest = standing.lied(0, left, now).unwrap();
            assert_eq!(standing.order(now, false), [1, 0]);
            assert_eq!(standing.lied(0, left, now), None, "one of many answers of that moment");
            rests.push(rest.as_secs());
            now += rest;
            standing.answered(0, now);
        }
        assert_eq!(rests, [5, 10, 20, 40]);
        now += FORGIVEN;
        for rest in [5, 10] {
            let left = standing.times_left(0);
            assert_eq!(standing.lied(0, left, now), Some(seconds(rest)));
            now += seconds(rest);
            standing.answered(0, now);
        }
    }

    #[test]
    fn who_lies_while_all_rest_is_asked_after_the_others() {
        let (mut standing, now) = (Standing::new(2), Instant::now());
        standing.lied(0, 0, now);
        standing.failed(1, now + seconds(1));
        assert_eq!(standing.order(now + seconds(1), false), [0, 1]);
        let left = standing.times_left(0);
        assert!(standing.lied(0, left, now + seconds(1)).is_some());
        assert_eq!(standing.order(now + seconds(1), false), [1, 0]);
    }

    #[test]
    fn a_method_that_a_node_does_not_have_is_its_own_affair_and_not_for_ever() {
        let (mut standing, now) = (Standing::new(2), Instant::now());
        assert!(standing.lacks_method(0, "eth_getBlockReceipts", now));
        assert!(!standing.lacks_method(0, "eth_getBlockReceipts", now), "it is no news");
        let without = |index, method, at| standing.is_without(index, method, at);
        assert!(without(0, "eth_getBlockReceipts", now));
        assert!(!without(0, "debug_getRawHeader", now) && !without(1, "eth_getBlockReceipts", now));
        assert!(!without(0, "eth_getBlockReceipts", now + WITHOUT_METHOD));
    }
}
