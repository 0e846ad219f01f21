//! Which L1 block a proposer names as origin (R16). Local policy: voters accept any at depth.

use crate::domain::L1Block;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Blocks that are held at most: those of the settling time, and one older.
const KEPT: usize = 64;

/// The newest L1 blocks at depth, with the time since when this agent sees them there.
#[derive(Debug, Default)]
pub(super) struct Origins {
    seen: VecDeque<(Instant, L1Block)>,
}

impl Origins {
    /// Notes the newest block at depth.
    pub(super) fn observe(&mut self, at_depth: Option<L1Block>, now: Instant) {
        let Some(block) = at_depth else { return };
        if self.seen.back().is_some_and(|(_, newest)| newest.number >= block.number) {
            return;
        }
        self.seen.push_back((now, block));
        if self.seen.len() > KEPT {
            self.seen.pop_front();
        }
    }

    /// The newest block that has been at depth here for `settling`, so that other agents see it there too. `None`: none
    /// has, and the origin of the parent must do.
    pub(super) fn pick(&self, now: Instant, settling: Duration) -> Option<L1Block> {
        self.seen
            .iter()
            .rev()
            .find(|(since, _)| now.saturating_duration_since(*since) >= settling)
            .map(|(_, block)| *block)
    }
}

#[cfg(test)]
mod tests {
    use super::Origins;
    use crate::domain::{L1Block, Seconds};
    use alloy::primitives::B256;
    use std::time::Duration;
    use tokio::time::Instant;

    fn block(number: u64) -> L1Block {
        L1Block { number, hash: B256::with_last_byte(1), timestamp: Seconds::new(number) }
    }

    #[test]
    fn a_proposer_names_what_others_have_had_the_time_to_see() {
        let (mut origins, start) = (Origins::default(), Instant::now());
        let (settling, step) = (Duration::from_millis(500), Duration::from_secs(1));
        assert_eq!(origins.pick(start, settling), None);
        origins.observe(Some(block(1)), start);
        assert_eq!(origins.pick(start, settling), None);
        origins.observe(Some(block(2)), start + step);
        assert_eq!(origins.pick(start + step, settling), Some(block(1)));
        assert_eq!(origins.pick(start + step + settling, settling), Some(block(2)));
    }
}
