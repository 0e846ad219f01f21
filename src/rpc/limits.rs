//! Bounds of the service, and what happens at each.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What clients may ask for (local policy). An address is an IPv4 address, or the /64 network of an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcLimits {
    /// Connections at a time, HTTP and WebSocket together; one more is answered 503 and closed.
    pub connections: usize,
    /// Of them, from one address; one more is answered 503 and closed.
    pub connections_per_address: usize,
    /// Bytes of a request or a WebSocket message; a larger one is refused with code -32007.
    pub request_bytes: u32,
    /// Bytes of a response; a larger one is replaced by an error with code -32008.
    pub response_bytes: u32,
    /// Bytes of all responses that are being made or that clients have not taken yet; a call that may answer with much waits
    /// until there is room.
    pub answer_bytes_in_all: usize,
    /// Calls in a batch request; a longer one is refused as a whole with code -32030.
    pub batch_calls: usize,
    /// What an address may ask for in a second, in units (docs/RPC.md says what costs how many). As much is kept for bursts.
    /// What is beyond is refused with code -32005.
    pub units_per_second: u32,
    /// What all addresses together may ask for.
    pub units_per_second_in_all: u32,
    /// Subscriptions of a connection; one more is refused with code -32006.
    pub subscriptions: u32,
    /// Subscriptions and filters of an address; one more is refused with code -32006.
    pub subscriptions_per_address: u32,
    /// Subscriptions and filters in all; one more is refused with code -32006.
    pub subscriptions_in_all: u32,
    /// Time in which a request must have come in and be answered; after it the answer is HTTP 408. Also how long a client
    /// may leave its answers unread: nothing more is read from it meanwhile, and then it is cut.
    pub request_timeout: Duration,
    /// An HTTP connection without a request for this long is closed. A WebSocket connection is pinged instead.
    pub idle_timeout: Duration,
}

impl Default for RpcLimits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_per_address: 256,
            request_bytes: 4 << 20,
            response_bytes: 16 << 20,
            answer_bytes_in_all: 256 << 20,
            batch_calls: 1_000,
            units_per_second: 10_000,
            units_per_second_in_all: 20_000,
            subscriptions: 64,
            subscriptions_per_address: 256,
            subscriptions_in_all: 4_096,
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
        }
    }
}

/// What was used of a rate.
#[derive(Debug)]
pub(super) struct Rate {
    period: Duration,
    burst: Duration,
    /// When all that was used will have been given back.
    full_at: Mutex<Instant>,
}

impl Rate {
    pub(super) fn new(units_per_second: u32, now: Instant) -> Self {
        let second = Duration::from_secs(1);
        let period = second.checked_div(units_per_second).unwrap_or(second);
        Self { period, burst: second, full_at: Mutex::new(now) }
    }

    /// Takes units, or says after how long they are there. More units than a burst holds pass when nothing is used.
    pub(super) fn take(&self, units: u32, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = self.period.saturating_mul(units);
        let used = full_at.saturating_duration_since(now);
        let over = used.saturating_add(cost).saturating_sub(self.burst);
        if !used.is_zero() && !over.is_zero() {
            return Err(over.min(used));
        }
        *full_at = now.checked_add(used.saturating_add(cost)).unwrap_or(now);
        Ok(())
    }

    /// Takes units for work that was done already: whoever asks next waits for them. How many of them were there.
    pub(super) fn charge(&self, units: u32, now: Instant) -> u32 {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let used = full_at.saturating_duration_since(now);
        let cost = self.period.saturating_mul(units);
        *full_at = now.checked_add(used.saturating_add(cost)).unwrap_or(now);
        let left = self.burst.saturating_sub(used).as_nanos();
        let left = left.checked_div(self.period.as_nanos()).unwrap_or_default();
        u32::try_from(left).unwrap_or(u32::MAX).min(units)
    }

    /// As [`Rate::charge`], but what is owed is never more than a burst: nobody waits long for what others did.
    pub(super) fn charge_within_a_burst(&self, units: u32, now: Instant) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let used = full_at.saturating_duration_since(now);
        let cost = self.period.saturating_mul(units);
        // More than a burst may be owed already: `take` grants that when nothing is used.
        let owed = used.saturating_add(cost).min(self.burst).max(used);
        *full_at = now.checked_add(owed).unwrap_or(now);
    }

    /// Whether less than this part of a burst is used.
    pub(super) fn has_used_less_than(&self, part: u32, now: Instant) -> bool {
        let full_at = *self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let part = self.burst.checked_div(part).unwrap_or_default();
        full_at.saturating_duration_since(now) < part
    }

    /// Whether nothing is used: forgetting it then changes nothing.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        *self.full_at.lock().unwrap_or_else(PoisonError::into_inner) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use std::time::{Duration, Instant};

    #[test]
    fn a_burst_passes_and_then_one_unit_a_period() {
        let start = Instant::now();
        let rate = Rate::new(10, start);
        assert_eq!(rate.take(10, start), Ok(()));
        assert_eq!(rate.take(1, start), Err(Duration::from_millis(100)));
        let later = start.checked_add(Duration::from_millis(100)).unwrap();
        assert_eq!(rate.take(1, later), Ok(()));
        assert_eq!(rate.take(1, later), Err(Duration::from_millis(100)));
    }

    #[test]
    fn a_call_dearer_than_a_burst_is_not_refused_for_ever() {
        let start = Instant::now();
        let rate = Rate::new(10, start);
        assert_eq!(rate.take(20, start), Ok(()));
        assert_eq!(rate.take(20, start), Err(Duration::from_secs(2)));
        let later = start.checked_add(Duration::from_secs(2)).unwrap();
        assert_eq!(rate.take(20, later), Ok(()));
    }

    #[test]
    fn what_a_call_turned_out_to_cost_is_paid_by_the_next_one() {
        let start = Instant::now();
        let rate = Rate::new(10, start);
        assert!(rate.is_full(start));
        assert_eq!(rate.take(1, start), Ok(()));
        rate.charge(99, start);
        assert_eq!(rate.take(1, start), Err(Duration::from_millis(9_100)));
        let later = start.checked_add(Duration::from_secs(10)).unwrap();
        assert!(rate.is_full(later));
        assert_eq!(rate.take(1, later), Ok(()));
    }
}
