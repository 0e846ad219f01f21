//! What is on its way to L1, and what to do next. Holds no client and no clock: show it L1, do what it says.
//!
//! A flight is one transaction: a nonce and the batches it carries. Flights of one account are included in the order of
//! their nonces, so consecutive batches may be on their way together. Everything is derived again at each look from the
//! settled height and the account's nonce on the same L1 block: a reorg that takes a settlement back makes its flight
//! live again or leaves a gap to fill, and a restarted agent with no flights begins where L1 stands. A batch can thus be
//! sent twice, which L1 refuses, but never be left out.

use crate::domain::Height;
use crate::l1::{Order, Sent};
use std::time::Duration;

/// Transactions on their way at most.
pub const MAX_FLIGHTS: usize = 6;
/// Flights that are remembered after they were included, for reorgs.
const MAX_REMEMBERED: usize = 64;
/// L1 blocks that a transaction may wait before its fee is raised; doubles each time, up to the bound.
const PATIENCE_BLOCKS: u32 = 3;
const MAX_DOUBLINGS: u32 = 5;

/// Consecutive heights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: Height,
    /// The last.
    pub last: Height,
}

/// One transaction on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    /// The heights that it settles; `None` if it only fills its nonce.
    pub span: Option<Span>,
    /// What was sent, to send it again.
    pub order: Order,
    /// Hash, nonce and fees of the newest attempt.
    pub sent: Sent,
    since: Duration,
    raised: u32,
}

/// What L1 shows at one block.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Monotonic time.
    pub now: Duration,
    /// Time between two L1 blocks.
    pub l1_block: Duration,
    /// Last settled height.
    pub settled: Height,
    /// Next nonce of the account, by what is included.
    pub nonce: u64,
    /// Nonces whose transaction the node has lost.
    pub lost: &'a [u64],
    /// Batches ready to be sent, grouped into transactions from any first height on.
    pub group: &'a dyn Fn(Height) -> Option<Span>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these at the next free nonce.
    Send(Span),
    /// Send these at this nonce, in place of what was sent there.
    Replace {
        /// The nonce.
        nonce: u64,
        /// The heights.
        span: Span,
    },
    /// Send the same again at this nonce, for a higher fee.
    Raise {
        /// The nonce.
        nonce: u64,
    },
    /// Fill this nonce with nothing: its batches were settled by somebody else.
    Cancel {
        /// The nonce.
        nonce: u64,
    },
}

/// The flights of one account.
#[derive(Debug, Default)]
pub struct Pipeline {
    flights: Vec<Flight>,
}

impl Pipeline {
    /// Flights that L1 has not included, by nonce.
    pub fn live(&self, nonce: u64) -> impl Iterator<Item = &Flight> {
        self.flights.iter().filter(move |flight| flight.sent.nonce >= nonce)
    }

    /// The flight at a nonce.
    pub fn at(&self, nonce: u64) -> Option<&Flight> {
        self.flights.iter().find(|flight| flight.sent.nonce == nonce)
    }

    /// Says what to do about what L1 shows.
    pub fn plan(&self, look: &Look<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut next = look.settled.next();
        let mut live = 0_usize;
        for flight in self.live(look.nonce) {
            live = live.saturating_add(1);
            let nonce = flight.sent.nonce;
            let carries_next = flight.span.filter(|span| span.first == next);
            if let Some(span) = carries_next {
                if look.lost.contains(&nonce) || flight.is_overdue(look) {
                    actions.push(Action::Raise { nonce });
                }
                next = span.last.next();
            } else if let Some(span) = (look.group)(next) {
                actions.push(Action::Replace { nonce, span });
                next = span.last.next();
            } else if flight.span.is_some() {
                actions.push(Action::Cancel { nonce });
            } else if look.lost.contains(&nonce) || flight.is_overdue(look) {
                actions.push(Action::Raise { nonce });
            }
        }
        while live < MAX_FLIGHTS {
            let Some(span) = (look.group)(next) else { break };
            actions.push(Action::Send(span));
            next = span.last.next();
            live = live.saturating_add(1);
        }
        actions
    }

    /// Takes note of a transaction that a node took: a new one, or one in place of another.
    pub fn sent(&mut self, span: Option<Span>, order: Order, sent: Sent, now: Duration) {
        let before = self.at(sent.nonce);
        let raised = before
            .filter(|flight| flight.span == span)
            .map_or(0, |flight| flight.raised.saturating_add(1));
        self.flights.retain(|flight| flight.sent.nonce != sent.nonce);
        self.flights.push(Flight { span, order, sent, since: now, raised });
        self.flights.sort_by_key(|flight| flight.sent.nonce);
        let surplus = self.flights.len().saturating_sub(MAX_REMEMBERED);
        self.flights.drain(..surplus);
    }

    /// Takes note that nothing of what is on its way can settle any more: its nonces are free for other batches.
    pub fn void(&mut self) {
        for flight in &mut self.flights {
            flight.span = None;
        }
    }

    /// Takes note that a fee could not be raised: try again only after the patience for it.
    pub fn wait(&mut self, nonce: u64, now: Duration) {
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.sent.nonce == nonce) {
            flight.since = now;
        }
    }
}

impl Flight {
    fn is_overdue(&self, look: &Look<'_>) -> bool {
        let patience = look
            .l1_block
            .saturating_mul(PATIENCE_BLOCKS)
            .saturating_mul(1 << self.raised.min(MAX_DOUBLINGS));
        look.now.saturating_sub(self.since) >= patience
    }

    /// Whether it was sent long enough ago that a node should know it.
    pub fn should_be_known(&self, look_at: Duration, l1_block: Duration) -> bool {
        look_at.saturating_sub(self.since) >= l1_block
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{Action, Look, MAX_FLIGHTS, Pipeline, Span};
    use crate::domain::Height;
    use crate::l1::{Fees, Order, Sent};
    use alloy::primitives::{B256, Bytes, U256};
    use std::time::Duration;

    const BLOCK: Duration = Duration::from_secs(1);

    fn span(first: u64, last: u64) -> Span {
        Span { first: Height::new(first), last: Height::new(last) }
    }

    /// Batches of ten heights are ready up to `end`; each fills a transaction.
    fn tens(end: u64) -> impl Fn(Height) -> Option<Span> {
        move |first| {
            (first.get() % 10 == 1 && first.get() < end).then(|| span(first.get(), first.get() + 9))
        }
    }

    struct Account {
        pipeline: Pipeline,
        now: Duration,
        /// Next nonce to give out, and next one to be included.
        pending: u64,
        included: u64,
    }

    impl Account {
        fn new() -> Self {
            let (pipeline, now) = (Pipeline::default(), Duration::ZERO);
            Self { pipeline, now, pending: 7, included: 7 }
        }

        /// Plans, and does what the plan says as a node would.
        fn look(&mut self, settled: u64, end: u64, lost: &[u64]) -> Vec<Action> {
            let group = tens(end);
            let look = Look {
                now: self.now,
                l1_block: BLOCK,
                settled: Height::new(settled),
                nonce: self.included,
                lost,
                group: &group,
            };
            let actions = self.pipeline.plan(&look);
            for action in &actions {
                let (nonce, carried) = match *action {
                    Action::Send(span) => {
                        self.pending += 1;
                        (self.pending - 1, Some(span))
                    }
                    Action::Replace { nonce, span } => (nonce, Some(span)),
                    Action::Raise { nonce } => (nonce, self.pipeline.at(nonce).unwrap().span),
                    Action::Cancel { nonce } => (nonce, None),
                };
                let order =
                    Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None };
                let fees = Fees { max_fee_wei: 1, priority_fee_wei: 1 };
                let sent = Sent { hash: B256::ZERO, nonce, fees, gas: 1 };
                self.pipeline.sent(carried, order, sent, self.now);
            }
            actions
        }

        fn wait(&mut self, blocks: u32) {
            self.now += BLOCK * blocks;
        }
    }

    #[test]
    fn sends_all_that_is_ready_and_nothing_twice() {
        let mut account = Account::new();
        let sent = [Action::Send(span(1, 10)), Action::Send(span(11, 20))];
        assert_eq!(account.look(0, 20, &[]), sent);
        assert_eq!(account.look(0, 20, &[]), []);
        account.included = 8;
        assert_eq!(account.look(10, 30, &[]), [Action::Send(span(21, 30))]);
    }

    #[test]
    fn bounds_what_is_on_its_way() {
        let mut account = Account::new();
        assert_eq!(account.look(0, 1_000, &[]).len(), MAX_FLIGHTS);
        assert_eq!(account.look(0, 1_000, &[]), []);
        account.included += 1;
        assert_eq!(account.look(10, 1_000, &[]).len(), 1);
    }

    #[test]
    fn raises_the_fee_of_what_waits_ever_more_patiently() {
        let mut account = Account::new();
        account.look(0, 10, &[]);
        let mut raised_at = Vec::new();
        for block in 1..=40 {
            account.wait(1);
            if account.look(0, 10, &[]) == [Action::Raise { nonce: 7 }] {
                raised_at.push(block);
            }
        }
        assert_eq!(raised_at, [3, 9, 21]);
    }

    #[test]
    fn sends_again_what_the_node_has_lost() {
        let mut account = Account::new();
        account.look(0, 20, &[]);
        assert_eq!(account.look(0, 20, &[8]), [Action::Raise { nonce: 8 }]);
    }

    #[test]
    fn a_transaction_that_failed_is_followed_by_a_new_one() {
        let mut account = Account::new();
        account.look(0, 10, &[]);
        account.included = 8;
        assert_eq!(account.look(0, 10, &[]), [Action::Send(span(1, 10))]);
    }

    #[test]
    fn puts_the_missing_batch_in_place_of_those_that_cannot_settle_without_it() {
        let mut account = Account::new();
        account.look(0, 30, &[]);
        // The first of three was included and failed: the others would fail too.
        account.included = 8;
        let expected = [
            Action::Replace { nonce: 8, span: span(1, 10) },
            Action::Replace { nonce: 9, span: span(11, 20) },
            Action::Send(span(21, 30)),
        ];
        assert_eq!(account.look(0, 30, &[]), expected);
    }

    #[test]
    fn gives_up_what_somebody_else_settled() {
        let mut account = Account::new();
        account.look(0, 20, &[]);
        let cancelled = [Action::Cancel { nonce: 7 }, Action::Cancel { nonce: 8 }];
        assert_eq!(account.look(20, 20, &[]), cancelled);
        assert_eq!(account.look(20, 20, &[]), [], "once");
        let reused = [Action::Replace { nonce: 7, span: span(21, 30) }];
        assert_eq!(account.look(20, 30, &[]), reused);
    }

    #[test]
    fn what_a_restart_undid_makes_way_for_batches_of_the_same_heights() {
        let mut account = Account::new();
        account.look(0, 20, &[]);
        account.pipeline.void();
        assert_eq!(account.look(0, 0, &[]), [], "there is nothing to put in their place yet");
        let replaced = [
            Action::Replace { nonce: 7, span: span(1, 10) },
            Action::Replace { nonce: 8, span: span(11, 20) },
        ];
        assert_eq!(account.look(0, 20, &[]), replaced);
    }

    #[test]
    fn a_reorg_makes_what_was_settled_due_again() {
        let mut account = Account::new();
        account.look(0, 20, &[]);
        account.included = 9;
        assert_eq!(account.look(20, 20, &[]), []);
        // L1 takes both back; the node still has the first transaction, not the second.
        account.included = 7;
        assert_eq!(account.look(0, 20, &[8]), [Action::Raise { nonce: 8 }]);
        account.included = 9;
        assert_eq!(account.look(20, 20, &[]), []);
        assert_eq!(account.look(20, 30, &[]), [Action::Send(span(21, 30))]);
    }
}
