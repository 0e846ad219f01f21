//! How many blocks one request for logs asks for. Pure.
//!
//! Providers bound the blocks, the results or the bytes of a request, each by other numbers and in other words. So the
//! number of blocks is found: doubled while it is answered, halved when refused, then brought close to what was refused. Now
//! and then more is tried again, more rarely each time that it is refused.

/// What is asked for at first.
const FIRST: u64 = 2_000;
/// The most that is asked for.
const MOST: u64 = 16_384;
/// Answers in a row after which more is tried again, at first and at most.
const PATIENCE: u32 = 32;
const MAX_PATIENCE: u32 = 4_096;

/// The number of blocks to ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    blocks: u64,
    /// The most that was answered.
    good: u64,
    /// Less than what was refused.
    ceiling: u64,
    answered: u32,
    patience: u32,
    /// Whether more than the ceiling is being tried.
    is_trying: bool,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            blocks: FIRST,
            good: 0,
            ceiling: MOST,
            answered: 0,
            patience: PATIENCE,
            is_trying: false,
        }
    }
}

impl Span {
    /// The last block of a request that begins at `from` and need not go beyond `to`.
    pub(super) fn end(&self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.blocks.saturating_sub(1)).min(to)
    }

    /// `blocks` were answered.
    pub(super) fn answered(&mut self, blocks: u64) {
        self.answered = self.answered.saturating_add(1);
        // The last request of a run is short and says nothing.
        if blocks >= self.blocks {
            self.good = self.good.max(blocks);
            if self.is_trying {
                (self.ceiling, self.patience) = (self.doubled(), PATIENCE);
            }
            let room = self.ceiling.saturating_sub(self.blocks);
            if room >= self.blocks {
                self.blocks = self.blocks.saturating_mul(2);
            } else if room > self.blocks / 8 {
                self.blocks = self.blocks.saturating_add(room.div_ceil(2));
            }
            self.is_trying &= self.ceiling < MOST;
        }
        if self.answered >= self.patience && self.ceiling < MOST {
            (self.ceiling, self.answered, self.is_trying) = (self.doubled(), 0, true);
            self.blocks = self.blocks.saturating_mul(2).min(self.ceiling);
        }
    }

    const fn doubled(&self) -> u64 {
        let more = self.ceiling.saturating_mul(2);
        if more < MOST { more } else { MOST }
    }

    /// `blocks` were too many. Whether fewer can be asked for.
    pub(super) fn refused(&mut self, blocks: u64) -> bool {
        self.answered = 0;
        if self.good >= blocks {
            self.good = blocks / 2;
        }
        if self.is_trying {
            self.is_trying = false;
            self.patience = self.patience.saturating_mul(2).min(MAX_PATIENCE);
            self.ceiling = self.good.max(1);
        } else {
            self.ceiling = blocks.saturating_sub(1).max(1);
        }
        self.blocks = if self.good > 0 { self.good } else { (blocks / 2).max(1) };
        blocks > 1
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{MOST, Span};

    /// Reads `blocks` from a node that takes `limit` at once. How many requests that took, and how many it refused.
    fn read(span: &mut Span, blocks: u64, limit: u64) -> (u64, u64) {
        let (mut from, mut requests, mut refused) = (0, 0, 0);
        while from < blocks {
            requests += 1;
            let end = span.end(from, blocks - 1);
            let asked = end - from + 1;
            if asked > limit {
                refused += 1;
                assert!(span.refused(asked));
            } else {
                span.answered(asked);
                from = end + 1;
            }
        }
        (requests, refused)
    }

    #[test]
    fn finds_what_every_provider_takes() {
        for limit in [1, 5, 10, 50, 100, 500, 799, 800, 1_000, 1_024, 2_000, 2_048, 10_000] {
            let (requests, refused) = read(&mut Span::default(), 100_000, limit);
            let least = 100_000_u64.div_ceil(limit.min(MOST));
            assert!(
                requests <= 2 * least + 30,
                "limit {limit}: {requests} requests, at least {least}"
            );
            assert!(refused <= 48, "limit {limit}: {refused} of {requests} refused");
        }
    }

    #[test]
    fn grows_again_once_a_node_takes_more() {
        let mut span = Span::default();
        read(&mut span, 1_000, 10);
        read(&mut span, 200_000, MOST);
        assert!(span.end(1, u64::MAX) >= MOST / 2);
    }

    #[test]
    fn one_block_cannot_be_halved() {
        let mut span = Span::default();
        assert!(!span.refused(1));
        assert_eq!((span.end(7, 99), span.end(u64::MAX, u64::MAX)), (7, u64::MAX));
    }
}
