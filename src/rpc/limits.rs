//! Bounds of the service, and what happens at each.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What clients may ask for (local policy).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcLimits {
    /// Connections at a time, HTTP and WebSocket together; one more is answered 503 and closed.
    pub connections: usize,
    /// Bytes of a request or a WebSocket message; a larger one is refused with code -32007.
    pub request_bytes: u32,
    /// Bytes of a response; a larger one is replaced by an error with code -32008.
    pub response_bytes: u32,
    /// Calls in a batch request; a longer one is refused as a whole with code -32030.
    pub batch_calls: usize,
    /// What a connection may ask for in a second, in units: most calls cost one, those that read whole blocks twenty. As
    /// much is kept for bursts. What is beyond is refused with code -32005.
    pub units_per_second: u32,
    /// Subscriptions of a connection; one more is refused with code -32006.
    pub subscriptions: u32,
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
            request_bytes: 4 << 20,
            response_bytes: 16 << 20,
            batch_calls: 1_000,
            units_per_second: 10_000,
            subscriptions: 64,
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
        }
    }
}

/// What one connection has used of its rate.
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
}
