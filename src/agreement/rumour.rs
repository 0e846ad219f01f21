//! What a peer says that it has decided, against what it then gives.
//!
//! Nobody can check a height that a peer claims. The engine asks whoever claims the most for the blocks up to there, again and
//! again, so a claim without blocks behind it keeps it asking for as long as it is made. Here a claim is worth a number of
//! requests: who has left so many unanswered counts for a while as if it had no more than this agent has, longer each time. Who
//! gives blocks is believed again. What blocks are worth the engine judges itself: it checks each certificate.
//!
//! Who offers a range may still lack some of its blocks: it read them from L1, without certificates. It says so when it is asked,
//! which is an answer: it is not asked for that one again for a moment, longer each time, and is believed for all others. Only for
//! a moment, since who is asked too often says the same.
//!
//! Pure: time is given.

use crate::domain::Height;
use malachitebft_app_channel::app::types::PeerId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Requests to one peer that may be without an answer. More than the engine has on their way to one peer at a time.
const PATIENCE: u32 = 16;
/// How long a claim counts for nothing after that: the first time, and at most.
const FIRST_REST: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_secs(3_600);
/// How long a peer that had no answer to a request counts as if it lacked what it was asked for: longer than it takes to find that
/// none has it, and no longer than who was only asked too often may be left alone.
const LACKING: Duration = Duration::from_secs(4);
/// The longest that this becomes where it lacks the same one again and again.
const LONGEST_LACKING: Duration = Duration::from_secs(30);
/// Blocks that one peer lacks that are remembered, more than are asked for at a time; at more, the one that counts for the
/// shortest is forgotten.
const LACKED: usize = 64;

/// What became of the claims of each peer, and what the connected ones offer.
#[derive(Debug, Default)]
pub(super) struct Rumours {
    records: BTreeMap<PeerId, Record>,
    /// The first and the last block that each has, as it says.
    offers: BTreeMap<PeerId, (Height, Height)>,
    /// The blocks that each of them did not have when it was asked, and for how long and until when that counts.
    lacking: BTreeMap<PeerId, BTreeMap<Height, (Duration, Instant)>>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    unanswered: u32,
    /// The next rest.
    rest: Duration,
    resting_until: Option<Instant>,
}

impl Record {
    fn rests(&self, now: Instant) -> bool {
        self.resting_until.is_some_and(|until| now < until)
    }
}

impl Rumours {
    /// A peer is asked for blocks.
    pub(super) fn asked(&mut self, peer: PeerId, now: Instant) {
        let unused = Record { unanswered: 0, rest: FIRST_REST, resting_until: None };
        let record = self.records.entry(peer).or_insert(unused);
        record.unanswered = record.unanswered.saturating_add(1);
        if record.unanswered >= PATIENCE {
            record.resting_until = now.checked_add(record.rest);
            record.unanswered = 0;
            record.rest = record.rest.saturating_mul(2).min(LONGEST_REST);
        }
    }

    /// A peer has given blocks.
    pub(super) fn gave(&mut self, peer: &PeerId) {
        self.records.remove(peer);
    }

    /// A peer was asked for blocks from `first` on and says that it has none.
    pub(super) fn lacks(&mut self, peer: PeerId, first: Height, now: Instant) {
        if let Some(record) = self.records.get_mut(&peer) {
            record.unanswered = record.unanswered.saturating_sub(1);
        }
        let lacked = self.lacking.entry(peer).or_default();
        let rest = match lacked.get(&first) {
            // What was on its way when it said so says nothing new.
            Some((rest, until)) if now < *until => *rest,
            Some((rest, _)) => rest.saturating_mul(2).min(LONGEST_LACKING),
            None => LACKING,
        };
        if let Some(until) = now.checked_add(rest) {
            lacked.insert(first, (rest, until));
        }
        if lacked.len() > LACKED {
            let shortest = lacked.iter().min_by_key(|(height, (_, until))| (*until, **height));
            if let Some(height) = shortest.map(|(height, _)| *height) {
                lacked.remove(&height);
            }
        }
    }

    /// The height that the engine is told of a peer that claims `claimed`, while this agent has decided `decided`.
    pub(super) fn believed(
        &mut self,
        peer: &PeerId,
        claimed: Height,
        decided: Height,
        now: Instant,
    ) -> Height {
        if let Some(lacked) = self.lacking.get_mut(peer) {
            lacked.retain(|height, _| *height > decided);
            if lacked.is_empty() {
                self.lacking.remove(peer);
            }
        }
        match self.gives(peer, decided.next(), now) {
            true => claimed,
            false => claimed.min(decided),
        }
    }

    /// Whether a peer that offers a block may well give it.
    fn gives(&self, peer: &PeerId, height: Height, now: Instant) -> bool {
        let rests = self.records.get(peer).is_some_and(|record| record.rests(now));
        let lacked = self.lacking.get(peer).and_then(|lacked| lacked.get(&height));
        let lacks = lacked.is_some_and(|(_, until)| now < *until);
        !rests && !lacks
    }

    /// A peer says from where to where it has blocks.
    pub(super) fn offers(&mut self, peer: PeerId, first: Height, last: Height) {
        self.offers.insert(peer, (first, last));
    }

    /// An engine begins, with a network of its own: nobody is connected.
    pub(super) fn begin(&mut self) {
        self.offers.clear();
        self.lacking.clear();
    }

    /// Whether some have gone on beyond `next`, and none of those who are connected both offers it and gives what it offers.
    pub(super) fn is_left_behind(&self, next: Height, now: Instant) -> bool {
        let mut gone_on = self.offers.iter().filter(|(_, (_, last))| *last >= next).peekable();
        gone_on.peek().is_some()
            && gone_on.all(|(peer, (first, _))| *first > next || !self.gives(peer, next, now))
    }

    /// A peer that is gone is forgotten, unless its claims rest: coming again makes nobody honest.
    pub(super) fn disconnected(&mut self, peer: &PeerId, now: Instant) {
        self.offers.remove(peer);
        self.lacking.remove(peer);
        if !self.records.get(peer).is_some_and(|record| record.rests(now)) {
            self.records.remove(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{FIRST_REST, LACKED, LACKING, LONGEST_REST, PATIENCE, Rumours};
    use crate::domain::Height;
    use malachitebft_app_channel::app::types::PeerId;
    use std::time::{Duration, Instant};

    const OWN: Height = Height::new(7);
    const CLAIMED: Height = Height::new(1_000);

    fn peer() -> PeerId {
        PeerId::from_bytes(&libp2p::PeerId::random().to_bytes()).unwrap()
    }

    /// Asks as the engine does, which asks for as long as it believes; how often in an hour from `from` on.
    fn asked_in_an_hour(rumours: &mut Rumours, peer: PeerId, from: Instant) -> u32 {
        let mut asked = 0;
        for second in 0..3_600 {
            let now = from + Duration::from_secs(second);
            if rumours.believed(&peer, CLAIMED, OWN, now) > OWN {
                rumours.asked(peer, now);
                asked += 1;
            }
        }
        asked
    }

    #[test]
    fn a_claim_with_nothing_behind_it_is_asked_for_less_and_less() {
        let (mut rumours, peer, start) = (Rumours::default(), peer(), Instant::now());
        let first = asked_in_an_hour(&mut rumours, peer, start);
        assert!(first < 8 * PATIENCE, "{first}");
        let mut later = start;
        for _ in 0..24 {
            later += Duration::from_secs(3_600);
            let asked = asked_in_an_hour(&mut rumours, peer, later);
            assert!(asked <= 2 * PATIENCE, "{asked}");
        }
        let longest = later + Duration::from_secs(3_600) + LONGEST_REST;
        assert_eq!(rumours.believed(&peer, CLAIMED, OWN, longest), CLAIMED, "never for good");
    }

    #[test]
    fn who_gives_blocks_is_believed_however_often_it_is_asked() {
        let (mut rumours, peer, now) = (Rumours::default(), peer(), Instant::now());
        for _ in 0..10 * PATIENCE {
            rumours.asked(peer, now);
            rumours.gave(&peer);
            assert_eq!(rumours.believed(&peer, CLAIMED, OWN, now), CLAIMED);
        }
    }

    #[test]
    fn a_liar_costs_nobody_else_and_does_not_begin_anew_by_connecting_again() {
        let (mut rumours, now) = (Rumours::default(), Instant::now());
        let (liar, other) = (peer(), peer());
        for _ in 0..PATIENCE {
            rumours.asked(liar, now);
        }
        rumours.asked(other, now);
        rumours.disconnected(&liar, now);
        assert_eq!(rumours.believed(&liar, CLAIMED, OWN, now), OWN);
        assert_eq!(rumours.believed(&other, CLAIMED, OWN, now), CLAIMED);
        assert_eq!(rumours.believed(&liar, Height::new(3), OWN, now), Height::new(3));
        assert_eq!(rumours.believed(&liar, CLAIMED, OWN, now + FIRST_REST), CLAIMED);
        rumours.disconnected(&liar, now + FIRST_REST);
        rumours.disconnected(&other, now);
        assert!(rumours.records.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn whoever_is_offered_the_next_block_by_one_of_them_is_not_left_behind() {
        let mut rumours = Rumours::default();
        let [a, b, c] = [(); 3].map(|()| peer());
        let (next, early, now) = (Height::new(5), Height::new(1), Instant::now());
        assert!(!rumours.is_left_behind(next, now), "nobody is there");
        rumours.offers(c, early, Height::new(4));
        assert!(!rumours.is_left_behind(next, now), "nobody has it");
        rumours.offers(a, Height::new(6), Height::new(9));
        assert!(rumours.is_left_behind(next, now));
        rumours.offers(b, next, next);
        assert!(!rumours.is_left_behind(next, now));
        rumours.disconnected(&b, now);
        assert!(rumours.is_left_behind(next, now));
        rumours.begin();
        assert!(!rumours.is_left_behind(next, now));
    }

    #[test]
    fn who_claims_to_have_a_block_and_gives_none_offers_it_to_nobody() {
        let (mut rumours, start) = (Rumours::default(), Instant::now());
        let [liar, honest] = [(); 2].map(|()| peer());
        let next = OWN.next();
        rumours.offers(honest, Height::new(500), CLAIMED);
        rumours.offers(liar, Height::new(1), CLAIMED);
        for _ in 0..PATIENCE {
            assert!(!rumours.is_left_behind(next, start), "it may still give some");
            rumours.asked(liar, start);
        }
        assert!(rumours.is_left_behind(next, start));
        // It connects again and claims the same.
        rumours.disconnected(&liar, start);
        rumours.offers(liar, Height::new(1), CLAIMED);
        assert!(rumours.is_left_behind(next, start));
        assert!(!rumours.is_left_behind(next, start + FIRST_REST), "never for good");
    }

    #[test]
    fn who_lacks_one_block_of_its_range_is_not_asked_for_it_again_at_once_and_is_for_the_next() {
        let (mut rumours, peer, start) = (Rumours::default(), peer(), Instant::now());
        rumours.offers(peer, Height::new(1), CLAIMED);
        rumours.lacks(peer, OWN.next(), start);
        assert_eq!(rumours.believed(&peer, CLAIMED, OWN, start), OWN);
        assert!(rumours.is_left_behind(OWN.next(), start));
        for decided in [OWN.previous().unwrap(), OWN.next()] {
            assert_eq!(rumours.believed(&peer, CLAIMED, decided, start), CLAIMED);
            assert!(!rumours.is_left_behind(decided.next(), start));
        }
        rumours.lacks(peer, OWN.next(), start);
        let later = start + LACKING;
        assert_eq!(rumours.believed(&peer, CLAIMED, OWN, later), CLAIMED, "it may have it by now");
        rumours.lacks(peer, OWN.next(), start);
        rumours.disconnected(&peer, start);
        assert!(rumours.lacking.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn who_lacks_more_than_one_range_is_asked_for_none_of_them_again_at_once() {
        let (mut rumours, peer, start) = (Rumours::default(), peer(), Instant::now());
        rumours.offers(peer, Height::new(1), CLAIMED);
        let ranges = [8, 18, 28].map(Height::new);
        for first in ranges {
            rumours.asked(peer, start);
            rumours.lacks(peer, first, start);
        }
        for first in ranges {
            let decided = first.previous().unwrap();
            assert!(rumours.is_left_behind(first, start), "{first}");
            assert_eq!(rumours.believed(&peer, CLAIMED, decided, start), decided, "{first}");
        }
    }

    #[test]
    fn who_says_what_it_lacks_is_believed_at_once_for_what_comes_after_it() {
        let (mut rumours, honest, start) = (Rumours::default(), peer(), Instant::now());
        let mut asked = 0;
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            if rumours.believed(&honest, CLAIMED, OWN, now) > OWN {
                for first in [8, 18, 28, 38, 48].map(Height::new) {
                    rumours.asked(honest, now);
                    rumours.lacks(honest, first, now);
                }
                asked += 1;
            }
        }
        assert!((10..30).contains(&asked), "less and less, and never for good: {asked}");
        let now = start + Duration::from_secs(600);
        assert_eq!(rumours.believed(&honest, CLAIMED, Height::new(57), now), CLAIMED);
        assert!(rumours.lacking.is_empty(), "what is decided is forgotten");
    }

    #[test]
    fn who_lacks_without_end_takes_no_memory() {
        let (mut rumours, liar, now) = (Rumours::default(), peer(), Instant::now());
        for height in 0..10 * LACKED as u64 {
            rumours.lacks(liar, Height::new(1_000 + height), now);
        }
        assert!(rumours.lacking[&liar].len() <= LACKED);
    }
}
