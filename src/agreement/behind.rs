//! When an agent reads settled blocks from L1 instead of waiting for peers (R45), and how many batches at once.
//!
//! What settled for good L1 has, and nobody's word is needed to know that. Peers are asked first, since they give certificates
//! too. They are not waited for when none that is connected offers the next block; when those who offer it do not give the
//! batch that holds it within a time in which anybody would; and when nobody has it any more, which looks the same.
//!
//! While L1 is read there is no engine, and nobody can connect. So little is read at first, then it is looked again who is there;
//! more each time, as long as peers bring no batch.
//!
//! Pure: time is given. Local policy, not consensus-critical: whatever way a settled block comes, it is the same one.

use crate::domain::BatchNumber;
use std::time::{Duration, Instant};

/// How often in a row it must be found that no peer offers the next block: those who do may only be about to connect.
const UNOFFERED: u32 = 8;

/// How long whoever had to read L1 waits for a batch, as long as peers have not brought one since.
const NEXT_PATIENCE: Duration = Duration::from_secs(5);

/// Batches that are read before it is looked again who is there, at most.
const MOST_AT_ONCE: u32 = 64;

/// Why blocks are read from L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Peers have gone on, and no peer that is connected offers the next block any more.
    Unoffered,
    /// Nobody has given the settled batch that holds the next block.
    NotGiven,
}

/// How far behind what settled for good an agent is.
#[derive(Debug)]
pub(super) struct Behind {
    patience: Duration,
    unoffered: u32,
    /// The settled batch that holds the next block, and since when it does, as far as this engine knows.
    waits_for: Option<(BatchNumber, Instant)>,
    /// How many batches are read next time.
    at_once: u32,
}

impl Behind {
    /// Waits so long for peers to give a settled batch.
    pub(super) const fn new(patience: Duration) -> Self {
        Self { patience, unoffered: 0, waits_for: None, at_once: 1 }
    }

    /// An engine begins: nobody is connected.
    pub(super) const fn begin(&mut self) {
        self.unoffered = 0;
        self.waits_for = None;
    }

    /// Looks at the batch that settled for good and holds the next block, if there is one. `unoffered` if peers have gone on and
    /// none of them offers it. Says whether to read L1.
    pub(super) fn look(
        &mut self,
        batch: Option<BatchNumber>,
        unoffered: bool,
        now: Instant,
    ) -> Option<Why> {
        let Some(batch) = batch else {
            // All that settled for good is here.
            (self.unoffered, self.waits_for, self.at_once) = (0, None, 1);
            return None;
        };
        self.unoffered = if unoffered { self.unoffered.saturating_add(1) } else { 0 };
        let since = match self.waits_for {
            Some((before, since)) if before == batch => since,
            before => {
                if before.is_some() {
                    // Peers have brought a whole batch.
                    self.at_once = 1;
                }
                self.waits_for = Some((batch, now));
                now
            }
        };
        let patience = if self.at_once > 1 { NEXT_PATIENCE } else { self.patience };
        if self.unoffered >= UNOFFERED {
            return Some(Why::Unoffered);
        }
        (now.saturating_duration_since(since) >= patience.min(self.patience))
            .then_some(Why::NotGiven)
    }

    /// L1 had nothing to read: peers have all the time again, since what they give is all that there is.
    pub(super) const fn nothing_read(&mut self) {
        self.at_once = 1;
    }

    /// How many batches to read now.
    pub(super) const fn read(&mut self) -> u32 {
        let now = self.at_once;
        self.at_once = match now.saturating_mul(2) {
            more if more > MOST_AT_ONCE => MOST_AT_ONCE,
            more => more,
        };
        now
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{Behind, MOST_AT_ONCE, NEXT_PATIENCE, UNOFFERED, Why};
    use crate::domain::BatchNumber;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(60);
    const TICK: Duration = Duration::from_millis(250);

    const fn batch(number: u64) -> Option<BatchNumber> {
        Some(BatchNumber::new(number))
    }

    #[test]
    fn a_batch_that_peers_offer_and_do_not_give_is_read_from_l1_after_a_while() {
        let (mut behind, start) = (Behind::new(PATIENCE), Instant::now());
        let mut now = start;
        while now < start + PATIENCE {
            assert_eq!(behind.look(batch(7), false, now), None);
            now += TICK;
        }
        assert_eq!(behind.look(batch(7), false, now), Some(Why::NotGiven));
    }

    #[test]
    fn who_gives_a_batch_within_the_time_is_waited_for_and_who_gives_a_block_now_and_then_is_not() {
        let (mut behind, start) = (Behind::new(PATIENCE), Instant::now());
        for number in 1..100 {
            let now = start + (PATIENCE - TICK) * u32::try_from(number).unwrap();
            assert_eq!(behind.look(batch(number), false, now), None, "{number}");
        }
        // One block of the batch after another changes nothing.
        let (mut behind, mut found) = (Behind::new(PATIENCE), None);
        for second in 0..=60 {
            found = behind.look(batch(7), false, start + Duration::from_secs(second));
        }
        assert_eq!(found, Some(Why::NotGiven));
    }

    #[test]
    fn what_nobody_offers_is_read_after_a_moment_unless_somebody_comes_who_does() {
        let (mut behind, now) = (Behind::new(PATIENCE), Instant::now());
        for _ in 1..UNOFFERED {
            assert_eq!(behind.look(batch(7), true, now), None);
        }
        assert_eq!(behind.look(batch(7), false, now), None);
        for _ in 1..UNOFFERED {
            assert_eq!(behind.look(batch(7), true, now), None);
        }
        assert_eq!(behind.look(batch(7), true, now), Some(Why::Unoffered));
        behind.begin();
        assert_eq!(behind.look(batch(7), true, now), None, "they may be about to connect");
    }

    #[test]
    fn what_has_not_settled_for_good_is_never_read() {
        let (mut behind, start) = (Behind::new(PATIENCE), Instant::now());
        for second in 0..1_000 {
            assert_eq!(behind.look(None, true, start + Duration::from_secs(second)), None);
        }
    }

    /// Reads as the loop around it does; returns how many batches were read at once, and how long it took to begin.
    fn life(behind: &mut Behind, at: u64, now: &mut Instant) -> (u32, Duration) {
        let began = *now;
        behind.begin();
        while behind.look(batch(at), false, *now).is_none() {
            *now += TICK;
        }
        (behind.read(), *now - began)
    }

    #[test]
    fn more_is_read_each_time_and_peers_are_looked_for_in_between() {
        let (mut behind, mut now) = (Behind::new(PATIENCE), Instant::now());
        let mut at = 1;
        for (times, expected) in [1, 2, 4, 8, 16, 32, 64, 64, 64].into_iter().enumerate() {
            let (read, waited) = life(&mut behind, at, &mut now);
            assert_eq!(read, expected);
            assert_eq!(waited, if times == 0 { PATIENCE } else { NEXT_PATIENCE });
            at += u64::from(read);
        }
        assert_eq!(behind.read(), MOST_AT_ONCE);
        // A peer that connected brings a batch: it is waited for again.
        behind.begin();
        assert_eq!(behind.look(batch(at), false, now), None);
        assert_eq!(behind.look(batch(at + 1), false, now), None);
        assert_eq!(life(&mut behind, at + 2, &mut now), (1, PATIENCE));
        // So it is where L1 gives nothing.
        assert_eq!(life(&mut behind, at + 2, &mut now), (2, NEXT_PATIENCE));
        behind.nothing_read();
        assert_eq!(life(&mut behind, at + 2, &mut now), (1, PATIENCE));
        // And once all that settled is here.
        assert_eq!(behind.look(None, false, now), None);
        assert_eq!(life(&mut behind, at + 9, &mut now), (1, PATIENCE));
    }
}
