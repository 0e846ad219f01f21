//! What became of every transaction that the traffic sent. Pure: told of events with their times, it keeps count.

use alloy::primitives::{B256, Bytes};
use serde::Serialize;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// All transactions of one run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: HashMap<B256, Entry>,
    /// Hashes in the order of sending.
    order: Vec<B256>,
    decided: u64,
    settled: u64,
    doubled: u64,
    first_sent: Option<Instant>,
    last_settled: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    raw: Bytes,
    sent: Instant,
    tried: Instant,
    decided: Option<Instant>,
    settled: Option<Instant>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half were as fast or faster.
    pub p50: u64,
    /// 95 % were as fast or faster.
    pub p95: u64,
    /// 99 % were as fast or faster.
    pub p99: u64,
}

/// Counts of a run so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) sent: u64,
    pub(super) decided: u64,
    pub(super) settled: u64,
    /// Settled more than once.
    pub(super) doubled: u64,
    /// Settled transactions a second, from the first submission to the last settlement.
    pub(super) settled_tps: f64,
}

impl Ledger {
    /// A transaction is about to be submitted.
    pub(super) fn sent(&mut self, hash: B256, raw: Bytes, at: Instant) {
        self.first_sent.get_or_insert(at);
        let entry = Entry { raw, sent: at, tried: at, decided: None, settled: None };
        if self.entries.insert(hash, entry).is_none() {
            self.order.push(hash);
        }
    }

    /// A decided block holds it. Later decisions of the same transaction change nothing.
    pub(super) fn decided(&mut self, hash: B256, at: Instant) {
        let Some(entry) = self.entries.get_mut(&hash) else { return };
        if entry.decided.is_none() {
            entry.decided = Some(at);
            entry.raw = Bytes::new();
            self.decided = self.decided.saturating_add(1);
        }
    }

    /// Derived from L1.
    pub(super) fn settled(&mut self, hash: B256, at: Instant) {
        self.decided(hash, at);
        let Some(entry) = self.entries.get_mut(&hash) else { return };
        if entry.settled.replace(at).is_some() {
            self.doubled = self.doubled.saturating_add(1);
        } else {
            self.settled = self.settled.saturating_add(1);
            self.last_settled = Some(at);
        }
    }

    /// Settlements are about to be counted from the start again.
    pub(super) fn forget_settled(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.settled = None);
        (self.settled, self.doubled, self.last_settled) = (0, 0, None);
    }

    /// Transactions that nothing was heard of for `patience`, oldest first, at most `limit`; counts this as a new try.
    /// What a wallet does when its node dies.
    pub(super) fn overdue(&mut self, now: Instant, patience: Duration, limit: usize) -> Vec<Bytes> {
        let entries = &mut self.entries;
        let mut found = Vec::new();
        for hash in &self.order {
            if found.len() >= limit {
                break;
            }
            let Some(entry) = entries.get_mut(hash) else { continue };
            if entry.decided.is_none() && now.saturating_duration_since(entry.tried) >= patience {
                entry.tried = now;
                found.push(entry.raw.clone());
            }
        }
        found
    }

    /// Sent and not decided.
    pub(super) fn undecided(&self) -> u64 {
        self.totals().sent.saturating_sub(self.decided)
    }

    /// Sent and not settled.
    pub(super) fn unsettled(&self) -> u64 {
        self.totals().sent.saturating_sub(self.settled)
    }

    /// The counts.
    pub(super) fn totals(&self) -> Totals {
        let span = match (self.first_sent, self.last_settled) {
            (Some(first), Some(last)) => last.saturating_duration_since(first).as_secs_f64(),
            _ => 0.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate, shown to people")]
        let settled_tps = if span > 0.0 { self.settled as f64 / span } else { 0.0 };
        Totals {
            sent: self.order.len() as u64,
            decided: self.decided,
            settled: self.settled,
            doubled: self.doubled,
            settled_tps,
        }
    }

    /// Submit to decided.
    pub(super) fn decided_ms(&self) -> Percentiles {
        self.percentiles(|entry| entry.decided)
    }

    /// Submit to settled.
    pub(super) fn settled_ms(&self) -> Percentiles {
        self.percentiles(|entry| entry.settled)
    }

    fn percentiles(&self, event: impl Fn(&Entry) -> Option<Instant>) -> Percentiles {
        let mut times: Vec<u64> = self
            .entries
            .values()
            .filter_map(|entry| event(entry).map(|at| at.saturating_duration_since(entry.sent)))
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            .collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let index = times.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
            times.get(index).copied().unwrap_or_default()
        };
        Percentiles { p50: at(50), p95: at(95), p99: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u8) -> B256 {
        B256::repeat_byte(number)
    }

    #[test]
    fn counts_each_transaction_once_and_names_what_settled_twice() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for number in 0..3 {
            ledger.sent(hash(number), Bytes::new(), start);
        }
        ledger.decided(hash(0), start);
        ledger.decided(hash(0), start);
        ledger.settled(hash(0), start);
        ledger.settled(hash(1), start);
        ledger.settled(hash(1), start);
        ledger.settled(hash(9), start);

        let totals = ledger.totals();
        assert_eq!((totals.sent, totals.decided, totals.settled, totals.doubled), (3, 2, 2, 1));
        assert_eq!((ledger.undecided(), ledger.unsettled()), (1, 1));
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for number in 1..=100 {
            ledger.sent(hash(number), Bytes::new(), start);
            ledger.decided(hash(number), start + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(ledger.decided_ms(), Percentiles { p50: 50, p95: 95, p99: 99 });
        assert_eq!(ledger.settled_ms(), Percentiles::default());
    }

    #[test]
    fn hands_out_what_was_not_heard_of_once_per_patience() {
        let start = Instant::now();
        let patience = Duration::from_secs(3);
        let mut ledger = Ledger::default();
        for number in 0..3 {
            ledger.sent(hash(number), Bytes::from(vec![number]), start);
        }
        ledger.decided(hash(0), start);

        assert!(ledger.overdue(start, patience, 10).is_empty());
        let later = start + patience;
        assert_eq!(ledger.overdue(later, patience, 1), [Bytes::from(vec![1])]);
        assert_eq!(ledger.overdue(later, patience, 10), [Bytes::from(vec![2])]);
        assert!(ledger.overdue(later, patience, 10).is_empty());
    }
}
