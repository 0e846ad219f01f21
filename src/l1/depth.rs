//! Where the newest L1 block at depth is (R16): by finality where L1 has it, else counted in blocks. Pure but for its log.

use super::client::Finality;
use crate::domain::L1Block;
use std::time::Duration;
use tokio::time::Instant;
use tracing::warn;

/// How long an L1 that tells no finality is waited for, and how often it must have said so, before depth is counted in
/// blocks.
const FINALITY_PATIENCE: Duration = Duration::from_secs(60);
const FINALITY_LOOKS: u32 = 10;
/// How often what lasts is said.
pub(super) const SAY_EVERY: Duration = Duration::from_secs(60);

/// What is said once in a while.
#[derive(Debug, Default)]
pub(super) struct Said(Option<Instant>);

impl Said {
    /// Whether it is time to say it again; then it counts as said.
    pub(super) fn is_due(&mut self, every: Duration) -> bool {
        let due = self.0.is_none_or(|at| at.elapsed() >= every);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// What L1 was found to say of finality.
#[derive(Debug, Default)]
pub(super) struct Depth {
    /// It has finalized something: depth is that, and nothing else, from then on.
    pub(super) has_finality: bool,
    /// Since when, and how often, it told none.
    absent: Option<(Instant, u32)>,
    said: Said,
}

impl Depth {
    /// The number of the newest block at depth (R16), `None` while it is waited for. By finality where L1 has it, else
    /// `blocks` below the head; a node that tells no finality for once must not make depth shallower than finality is.
    pub(super) fn number(
        &mut self,
        told: Finality,
        head: L1Block,
        blocks: u64,
        now: Instant,
    ) -> Option<u64> {
        let by_number = head.number.saturating_sub(blocks);
        match told {
            Finality::At(block) => {
                (self.has_finality, self.absent) = (true, None);
                Some(block.number.min(head.number))
            }
            Finality::None => Some(by_number),
            Finality::Untold if self.has_finality => None,
            Finality::Untold => {
                let (since, looks) = self.absent.get_or_insert((now, 0));
                *looks = looks.saturating_add(1);
                let waits =
                    now.duration_since(*since) < FINALITY_PATIENCE || *looks < FINALITY_LOOKS;
                if self.said.is_due(SAY_EVERY) {
                    if waits {
                        warn!("l1 has finalized nothing: waiting for it");
                    } else {
                        warn!(
                            blocks,
                            "l1 tells no finalized block: depth is counted in blocks until it does"
                        );
                    }
                }
                (!waits).then_some(by_number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Depth, FINALITY_LOOKS, FINALITY_PATIENCE, Finality};
    use crate::domain::{L1Block, Seconds};
    use alloy::primitives::B256;
    use tokio::time::Instant;

    const fn block(number: u64) -> L1Block {
        L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(number) }
    }

    #[test]
    fn depth_is_counted_in_blocks_only_after_l1_told_no_finality_for_long() {
        let (mut depth, now) = (Depth::default(), Instant::now());
        let mut ask = |told, now| depth.number(told, block(100), 7, now);
        for _ in 1..FINALITY_LOOKS {
            assert_eq!(ask(Finality::Untold, now + FINALITY_PATIENCE / 2), None);
        }
        assert_eq!(ask(Finality::Untold, now + FINALITY_PATIENCE), None, "half of it has passed");
        assert_eq!(ask(Finality::Untold, now + FINALITY_PATIENCE * 2), Some(93));
        assert_eq!(ask(Finality::At(block(40)), now), Some(40));
    }

    #[test]
    fn one_answer_without_finality_does_not_undo_it() {
        let (mut depth, now) = (Depth::default(), Instant::now());
        assert_eq!(depth.number(Finality::At(block(40)), block(100), 7, now), Some(40));
        for _ in 0..100 {
            let later = now + FINALITY_PATIENCE * 9;
            assert_eq!(depth.number(Finality::Untold, block(100), 7, later), None);
        }
    }

    #[test]
    fn a_node_whose_finality_is_ahead_of_its_head_counts_as_far_as_the_head() {
        let told = Finality::At(block(400));
        assert_eq!(Depth::default().number(told, block(100), 7, Instant::now()), Some(100));
        let none = Depth::default().number(Finality::None, block(5), 7, Instant::now());
        assert_eq!(none, Some(0));
    }
}
