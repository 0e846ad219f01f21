//! What to send next. Holds no client and no clock: show it L1 and what is on its way, do what it says.
//!
//! Flights of one account are included in the order of their nonces, so consecutive batches may be on their way together.
//! Everything is derived again at each look from the settled height and the account's nonce on the same L1 block: a reorg
//! that takes a settlement back makes its flight live again or leaves a gap to fill, and a restarted agent goes on with what
//! it had sent. A batch is on its way at one nonce only: what may carry it already is replaced, never followed. It can still
//! be sent twice when somebody else posts it too, which L1 refuses, but it is never left out.

use crate::domain::Height;
use crate::l1::flights::{Carries, Flight, Flights, Span};
use std::time::Duration;

/// Settlements on their way at most.
pub const MAX_FLIGHTS: usize = 6;

/// Doublings of the pause after settlements of the same first height that L1 included and refused.
const MAX_DOUBLINGS: u32 = 10;

/// After all heights.
const NO_END: Height = Height::new(u64::MAX);

/// What L1 shows at one block.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// Time by the clock of the flights.
    pub now: Duration,
    /// Time between two L1 blocks.
    pub l1_block: Duration,
    /// Last settled height.
    pub settled: Height,
    /// Next nonce of the account, by what is included.
    pub nonce: u64,
    /// Batches ready to be sent, grouped into transactions from any first height on, and not up to another.
    pub group: &'a dyn Fn(Height, Height) -> Option<Span>,
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
    /// Fill this nonce with nothing: its batches were settled by somebody else.
    Cancel {
        /// The nonce.
        nonce: u64,
    },
}

/// How often in a row settlements that begin with what is next were included though it did not settle, and since when the
/// last of them was on its way: each was paid for. What is estimated to succeed and fails all the same is not sent again at
/// once, else it would be paid for with every block of L1.
pub fn failures(flights: &Flights, look: &Look<'_>) -> Option<(u32, Duration)> {
    let next = look.settled.next();
    let failed = flights
        .before(look.nonce)
        .filter(|flight| matches!(flight.carries, Carries::Settlement(span) if span.first == next));
    failed.fold(None, |all: Option<(u32, Duration)>, flight| {
        let (count, since) = all.unwrap_or_default();
        Some((count.saturating_add(1), since.max(flight.since())))
    })
}

/// Whether what is next rests: it failed at cost more than once, and not long ago. Once may be somebody else's doing, who was
/// faster on a chain that is no more.
fn next_rests(flights: &Flights, look: &Look<'_>) -> bool {
    failures(flights, look).is_some_and(|(count, since)| {
        let doublings = count.saturating_sub(1).min(MAX_DOUBLINGS);
        let pause = look.l1_block.saturating_mul(1 << doublings);
        count > 1 && look.now < since.saturating_add(pause)
    })
}

/// Says what to do about what L1 shows. What waits too long is raised by the account itself.
pub fn plan(flights: &Flights, look: &Look<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut next = look.settled.next();
    let mut settling = 0_usize;
    let next_rests = next_rests(flights, look);
    for flight in flights.live(look.nonce) {
        let nonce = flight.nonce;
        // What later ones carry already is not sent with what comes before it.
        let end = flights
            .live(nonce.saturating_add(1))
            .filter_map(|later| match later.carries {
                Carries::Settlement(span) if span.first > next => Some(span.first),
                _ => None,
            })
            .min()
            .unwrap_or(NO_END);
        let rests = flight.rests(look.now);
        let carried = match flight.carries {
            Carries::Settlement(span) => Some(span),
            Carries::Unknown | Carries::Nothing => None,
            // Whoever ordered it waits for it.
            Carries::Duty => continue,
        };
        if let Some(span) = carried.filter(|span| span.first == next) {
            settling = settling.saturating_add(1);
            // An earlier process sent it: the same batches take its place for more, and no others, since what follows is on
            // its way behind it.
            let is_stuck = flight.order.is_none() && flight.is_overdue(look.now, look.l1_block);
            let span = match (look.group)(next, end.min(span.last.next())) {
                Some(same) if is_stuck && !rests => {
                    actions.push(Action::Replace { nonce, span: same });
                    same
                }
                _ => span,
            };
            next = span.last.next();
            continue;
        }
        let follows = |later: &Flight| matches!(later.carries, Carries::Settlement(span) if span.first == next);
        if flights.live(nonce.saturating_add(1)).any(follows) {
            // What is next is on its way behind it already.
            if carried.is_some() && !rests {
                actions.push(Action::Cancel { nonce });
            }
            continue;
        }
        if rests {
            match flight.carries {
                // It may hold the very batches that are next: nothing can be sent after it.
                Carries::Unknown => return actions,
                _ => continue,
            }
        }
        if next_rests && next == look.settled.next() {
            // It cannot settle without what rests, and failing costs more than nothing.
            if carried.is_some() {
                actions.push(Action::Cancel { nonce });
            }
        } else if let Some(span) = (look.group)(next, end) {
            settling = settling.saturating_add(1);
            actions.push(Action::Replace { nonce, span });
            next = span.last.next();
        } else if carried.is_some() {
            actions.push(Action::Cancel { nonce });
        } else if flight.carries == Carries::Unknown {
            return actions;
        }
    }
    while settling < MAX_FLIGHTS && !next_rests {
        let Some(span) = (look.group)(next, NO_END) else { break };
        actions.push(Action::Send(span));
        next = span.last.next();
        settling = settling.saturating_add(1);
    }
    actions
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{Action, Look, MAX_FLIGHTS, plan};
    use crate::domain::Height;
    use crate::l1::flights::{Carries, Flight, Flights, Span};
    use crate::l1::{Fees, Order, Sent};
    use alloy::primitives::{B256, Bytes, U256};
    use std::time::Duration;

    const BLOCK: Duration = Duration::from_secs(1);

    fn span(first: u64, last: u64) -> Span {
        Span { first: Height::new(first), last: Height::new(last) }
    }

    /// Batches of ten heights are ready up to `end`; each fills a transaction.
    fn tens(end: u64) -> impl Fn(Height, Height) -> Option<Span> {
        move |first, _| {
            (first.get() % 10 == 1 && first.get() < end).then(|| span(first.get(), first.get() + 9))
        }
    }

    struct Account {
        flights: Flights,
        now: Duration,
        /// Next nonce to be included.
        included: u64,
    }

    impl Account {
        fn new() -> Self {
            let mut flights = Flights::default();
            assert!(flights.see(7, 7, Duration::ZERO, true));
            Self { flights, now: Duration::ZERO, included: 7 }
        }

        /// Plans, and does what the plan says as a node would.
        fn look(&mut self, settled: u64, end: u64) -> Vec<Action> {
            let group = tens(end);
            let look = Look {
                now: self.now,
                l1_block: BLOCK,
                settled: Height::new(settled),
                nonce: self.included,
                group: &group,
            };
            let actions = plan(&self.flights, &look);
            for action in &actions {
                let (nonce, carries) = match *action {
                    Action::Send(span) => (self.flights.next_free(), Carries::Settlement(span)),
                    Action::Replace { nonce, span } => (nonce, Carries::Settlement(span)),
                    Action::Cancel { nonce } => (nonce, Carries::Nothing),
                };
                self.send(nonce, carries);
            }
            actions
        }

        fn send(&mut self, nonce: u64, carries: Carries) {
            let order =
                Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None, what: "" };
            let fees = Fees { max_fee_wei: 1, priority_fee_wei: 1 };
            let sent = Sent { hash: B256::ZERO, nonce, fees, gas: 1 };
            self.flights.sending(carries, &order, sent, None, self.now);
            self.flights.taken(sent);
        }
    }

    #[test]
    fn sends_all_that_is_ready_and_nothing_twice() {
        let mut account = Account::new();
        let sent = [Action::Send(span(1, 10)), Action::Send(span(11, 20))];
        assert_eq!(account.look(0, 20), sent);
        assert_eq!(account.look(0, 20), []);
        account.included = 8;
        assert_eq!(account.look(10, 30), [Action::Send(span(21, 30))]);
    }

    #[test]
    fn bounds_what_is_on_its_way() {
        let mut account = Account::new();
        assert_eq!(account.look(0, 1_000).len(), MAX_FLIGHTS);
        assert_eq!(account.look(0, 1_000), []);
        account.included += 1;
        assert_eq!(account.look(10, 1_000).len(), 1);
    }

    #[test]
    fn a_transaction_that_failed_is_followed_by_a_new_one() {
        let mut account = Account::new();
        account.look(0, 10);
        account.included = 8;
        assert_eq!(account.look(0, 10), [Action::Send(span(1, 10))]);
    }

    #[test]
    fn puts_the_missing_batch_in_place_of_those_that_cannot_settle_without_it() {
        let mut account = Account::new();
        account.look(0, 30);
        // The first of three was included and failed: the others would fail too.
        account.included = 8;
        let expected = [
            Action::Replace { nonce: 8, span: span(1, 10) },
            Action::Replace { nonce: 9, span: span(11, 20) },
            Action::Send(span(21, 30)),
        ];
        assert_eq!(account.look(0, 30), expected);
    }

    #[test]
    fn gives_up_what_somebody_else_settled() {
        let mut account = Account::new();
        account.look(0, 20);
        let cancelled = [Action::Cancel { nonce: 7 }, Action::Cancel { nonce: 8 }];
        assert_eq!(account.look(20, 20), cancelled);
        assert_eq!(account.look(20, 20), [], "once");
        let reused = [Action::Replace { nonce: 7, span: span(21, 30) }];
        assert_eq!(account.look(20, 30), reused);
    }

    #[test]
    fn what_a_restart_undid_makes_way_for_batches_of_the_same_heights() {
        let mut account = Account::new();
        account.look(0, 20);
        account.flights.void_settlements();
        assert_eq!(account.look(0, 0), [], "there is nothing to put in their place yet");
        let replaced = [
            Action::Replace { nonce: 7, span: span(1, 10) },
            Action::Replace { nonce: 8, span: span(11, 20) },
        ];
        assert_eq!(account.look(0, 20), replaced);
    }

    #[test]
    fn a_reorg_makes_what_was_settled_due_again() {
        let mut account = Account::new();
        account.look(0, 20);
        account.included = 9;
        assert_eq!(account.look(20, 20), []);
        // L1 takes both back: they are on their way again.
        account.included = 7;
        assert_eq!(account.look(0, 20), []);
        account.included = 9;
        assert_eq!(account.look(20, 20), []);
        assert_eq!(account.look(20, 30), [Action::Send(span(21, 30))]);
    }

    #[test]
    fn what_waits_from_before_the_start_is_replaced_and_never_followed() {
        let mut account = Account::new();
        assert!(account.flights.see(7, 9, account.now, true));
        assert_eq!(account.look(0, 0), [], "nothing to put there yet");
        let replaced = [
            Action::Replace { nonce: 7, span: span(1, 10) },
            Action::Replace { nonce: 8, span: span(11, 20) },
            Action::Send(span(21, 30)),
        ];
        assert_eq!(account.look(0, 30), replaced);
    }

    #[test]
    fn nothing_is_sent_after_something_unknown_that_cannot_be_replaced_now() {
        let mut account = Account::new();
        assert!(account.flights.see(7, 8, account.now, true));
        account.flights.rest(7, account.now, BLOCK);
        assert_eq!(account.look(0, 30), []);
        account.now += BLOCK * 100;
        assert_eq!(account.look(0, 10), [Action::Replace { nonce: 7, span: span(1, 10) }]);
    }

    #[test]
    fn what_an_earlier_process_sent_is_replaced_without_what_is_on_its_way_behind_it() {
        let order =
            Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None, what: "" };
        let fees = Fees { max_fee_wei: 1, priority_fee_wei: 1 };
        let sent = Sent { hash: B256::ZERO, nonce: 7, fees, gas: 1 };
        let earlier = Flight::restored(7, Carries::Settlement(span(1, 10)), vec![sent]);
        let mut flights = Flights::restored([earlier]);
        assert!(flights.see(7, 7, Duration::ZERO, true));
        let behind = Sent { nonce: 8, ..sent };
        let carries = Carries::Settlement(span(11, 20));
        flights.sending(carries, &order, behind, None, Duration::ZERO);
        // All that is ready fits one transaction.
        let group = |first: Height, end: Height| {
            Some(Span { first, last: Height::new(40.min(end.get() - 1)) })
        };
        let look =
            |now| Look { now, l1_block: BLOCK, settled: Height::new(0), nonce: 7, group: &group };
        let more = Action::Send(span(21, 40));
        assert_eq!(plan(&flights, &look(Duration::ZERO)).first(), Some(&more));
        let replaced = Action::Replace { nonce: 7, span: span(1, 10) };
        assert_eq!(plan(&flights, &look(BLOCK * 3)).first(), Some(&replaced));
    }

    #[test]
    fn the_orders_of_others_are_left_alone() {
        let mut account = Account::new();
        account.send(7, Carries::Duty);
        assert_eq!(account.look(0, 10), [Action::Send(span(1, 10))]);
        assert_eq!(account.flights.at(8).unwrap().carries, Carries::Settlement(span(1, 10)));
    }

    #[test]
    fn what_rests_at_the_fee_limit_is_not_planned_at_each_look() {
        let mut account = Account::new();
        account.look(0, 20);
        for nonce in [7, 8] {
            account.flights.rest(nonce, account.now, BLOCK);
        }
        assert_eq!(account.look(20, 20), []);
    }

    #[test]
    fn a_settlement_that_l1_refuses_each_time_is_sent_ever_more_seldom() {
        let mut account = Account::new();
        let mut sent = Vec::new();
        // Each one is included with the next block, and nothing settles.
        for block in 0_u32..5_000 {
            account.now = BLOCK * block;
            if !account.look(0, 10).is_empty() {
                sent.push(block);
                account.included += 1;
            }
        }
        assert!(sent.len() <= 16, "{sent:?}");
        let pauses: Vec<u32> = sent.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(pauses.is_sorted() && pauses.last() == Some(&1_024), "{pauses:?}");
        // What settles begins anew.
        assert_eq!(account.look(10, 20), [Action::Send(span(11, 20))]);
    }

    #[test]
    fn what_is_behind_a_settlement_that_rests_is_not_paid_for_in_vain() {
        let mut account = Account::new();
        account.look(0, 30);
        for included in [8, 9] {
            account.included = included;
            account.look(0, 30);
        }
        // Two failed: what takes their place at the next nonces waits, and these carry nothing.
        let waiting: Vec<Carries> = account.flights.live(9).map(|flight| flight.carries).collect();
        assert!(!waiting.is_empty() && waiting.iter().all(|one| *one == Carries::Nothing));
        account.now = BLOCK * 3;
        let again = account.look(0, 30);
        assert_eq!(again.first(), Some(&Action::Replace { nonce: 9, span: span(1, 10) }));
    }
}
