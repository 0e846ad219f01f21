//! When a request that a node was too busy for is made again. A node says so itself, and is heeded within a bound: a request
//! holds the follower's or the account's turn meanwhile.

use alloy::transports::TransportError;
use alloy::transports::layers::{RateLimitRetryPolicy, RetryPolicy};
use std::time::Duration;

/// The longest pause that a node may ask for.
const MAX_HINT: Duration = Duration::from_secs(2);

/// Asks again when the node says that there were too many requests, after what it says, but not much later.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience(RateLimitRetryPolicy);

impl RetryPolicy for Patience {
    fn should_retry(&self, error: &TransportError) -> bool {
        self.0.should_retry(error)
    }

    fn backoff_hint(&self, error: &TransportError) -> Option<Duration> {
        Some(self.0.backoff_hint(error)?.min(MAX_HINT))
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_HINT, Patience};
    use alloy::transports::TransportErrorKind;
    use alloy::transports::layers::RetryPolicy as _;
    use std::time::Duration;

    #[test]
    fn a_node_that_asks_for_five_minutes_gets_two_seconds() {
        let hint = |seconds| {
            let asked = Some(Duration::from_secs(seconds));
            let error = TransportErrorKind::http_error_with_retry_after(503, String::new(), asked);
            assert!(Patience::default().should_retry(&error));
            Patience::default().backoff_hint(&error)
        };
        assert_eq!(hint(1), Some(Duration::from_secs(1)));
        assert_eq!(hint(300), Some(MAX_HINT));
    }
}
