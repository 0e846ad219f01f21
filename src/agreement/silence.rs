//! When an agent keeps silent (R46, R47). Pure: told what others say and what time it is, it says whether to speak.
//!
//! An agent that has all its records cannot contradict itself. One whose store is new, came from elsewhere or is older than what
//! it signed could: so it is silent until blocks that others decided have led it beyond all heights of which it has seen a
//! message, and until it has then listened for a while for messages of its own key. If it hears one that it has no record of,
//! another machine signs with its key, and it stays silent. Nobody speaks at a height that others have decided.
//!
//! Local policy, not consensus-critical: who is silent is absent, no more.

use crate::domain::{Generation, Height};
use malachitebft_app_channel::app::types::PeerId;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How long an agent with all its records waits for others' heights before it speaks without knowing them. Who cannot reach a
/// quorum may still be the one vote that somebody else's quorum lacks.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection without a word of its height means height 0: every other height is told when the connection is
/// made, and every two seconds.
const UNTOLD: Duration = Duration::from_secs(7);

/// How long a store in doubt looks around before it listens: whoever is stuck at a height says so again within that time.
/// Heights that are voted on meanwhile are none for it, since it may have had a part in them.
const LOOK_AROUND: Duration = Duration::from_secs(5);

/// Why an agent signs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The store was made for a key that had been in a leader set: what it signed before is not in it.
    New,
    /// The store's file is not the one that was used last, so it may be a copy, and older than what was signed.
    Moved,
    /// What the key signed was exported, so that another machine signs in this one's place.
    HandedOver,
    /// An earlier run ended before it was sure of its records.
    Unsure,
    /// The key signed something of which the store has no record: the store is older than that.
    Older {
        /// The height of it.
        height: Height,
    },
    /// The key signs while this agent does not: another machine uses it. Lasts until the next start.
    Elsewhere {
        /// The height of what was heard.
        height: Height,
    },
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("signs nothing yet: the store is new and the key is not"),
            Self::Moved => f.write_str("signs nothing yet: the store's file was moved or copied"),
            Self::HandedOver => {
                f.write_str("signs nothing yet: its records were exported to another machine")
            }
            Self::Unsure => f.write_str("signs nothing yet: it was not sure of its records before"),
            Self::Older { height } => write!(
                f,
                "signs nothing yet: its key signed at height {height} what the store has no record of"
            ),
            Self::Elsewhere { height } => write!(
                f,
                "signs nothing: another machine signs with its key, heard at height {height}"
            ),
        }
    }
}

/// The members of a height but this agent, with their names in the network, and what this agent adds.
#[derive(Clone, Debug, Default)]
pub(super) struct Company {
    pub(super) own: u64,
    pub(super) others: Vec<(Option<PeerId>, u64)>,
}

impl Company {
    /// The weight of the others for which `holds`.
    fn weight(&self, holds: impl Fn(&PeerId) -> bool) -> u128 {
        let held = self.others.iter().filter(|(name, _)| name.as_ref().is_some_and(&holds));
        held.map(|(_, weight)| u128::from(*weight)).sum()
    }

    fn total(&self) -> u128 {
        let others: u128 = self.others.iter().map(|(_, weight)| u128::from(*weight)).sum();
        others.saturating_add(self.own.into())
    }

    /// Whether one of those that hold this weight follows the protocol.
    fn is_honest(&self, weight: u128) -> bool {
        weight.saturating_mul(3) > self.total()
    }

    /// Whether they decide, together with this agent.
    fn is_quorum(&self, weight: u128) -> bool {
        let with_own = weight.saturating_add(self.own.into());
        with_own.saturating_mul(3) > self.total().saturating_mul(2)
    }
}

/// What to do with what is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Say it.
    Speak,
    /// Keep it to oneself.
    Mute,
    /// Ask again in a moment: it is not known yet where the others are.
    Wait,
}

/// What a message of the own key without a record means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The store is older than was thought.
    Older,
    /// Another machine uses the key.
    Elsewhere,
    /// One more of those that a store in doubt is expected to lack.
    Expected,
}

#[derive(Debug)]
enum Standing {
    Trusted,
    Doubted {
        why: Silence,
        since: Instant,
        /// The highest height of which a message was met that this key may have had a part in.
        seen: Height,
        /// Since when it listens, and the first height that was open then.
        listening: Option<(Instant, Height)>,
    },
    Elsewhere {
        height: Height,
    },
}

/// The state of one agent.
#[derive(Debug)]
pub(super) struct Silencer {
    /// In which generation heights are counted.
    generation: Option<Generation>,
    standing: Standing,
    muted_through: Option<Height>,
    /// Whether a quorum was known to be no further than this agent, once.
    caught_up: bool,
    began: Instant,
    /// How long to listen (R47), and for how many decided heights where others decide: an agent that takes up decided blocks
    /// hears of votes through them alone.
    listen_for: (Duration, u64),
    /// What peers say that they have decided.
    tips: BTreeMap<PeerId, Height>,
    connected: BTreeMap<PeerId, Instant>,
}

impl Silencer {
    /// Begins with doubt, or without.
    pub(super) fn new(doubt: Option<Silence>, listen_for: (Duration, u64), now: Instant) -> Self {
        let standing = match doubt {
            Some(why) => {
                let seen = Height::default();
                Standing::Doubted { why, since: now, seen, listening: None }
            }
            None => Standing::Trusted,
        };
        Self {
            generation: None,
            standing,
            muted_through: None,
            caught_up: false,
            began: now,
            listen_for,
            tips: BTreeMap::new(),
            connected: BTreeMap::new(),
        }
    }

    /// Why nothing is signed, if so.
    pub(super) const fn silence(&self) -> Option<Silence> {
        match self.standing {
            Standing::Trusted => None,
            Standing::Doubted { why, .. } => Some(why),
            Standing::Elsewhere { height } => Some(Silence::Elsewhere { height }),
        }
    }

    /// An engine begins, in a generation. Who is connected is forgotten: it connects anew. In another generation heights begin
    /// at a lower one, and records are by generation (R33): what was said and heard at heights of the one before is about others.
    /// Whoever is in doubt looks around and listens there from the beginning, as it may have been there already.
    pub(super) fn begin(&mut self, generation: Generation, now: Instant) {
        self.tips.clear();
        self.connected.clear();
        let before = self.generation.replace(generation);
        if before.is_none_or(|before| before == generation) {
            return;
        }
        self.muted_through = None;
        if let Standing::Doubted { since, seen, listening, .. } = &mut self.standing {
            (*since, *seen, *listening) = (now, Height::default(), None);
        }
    }

    /// A peer is connected.
    pub(super) fn connected(&mut self, peer: PeerId, now: Instant) {
        self.connected.entry(peer).or_insert(now);
    }

    /// A peer is gone, and what it said with it.
    pub(super) fn disconnected(&mut self, peer: &PeerId) {
        self.connected.remove(peer);
        self.tips.remove(peer);
    }

    /// A peer says what it has decided.
    pub(super) fn told(&mut self, peer: PeerId, tip: Height) {
        let known = self.tips.entry(peer).or_insert(tip);
        *known = tip.max(*known);
    }

    /// Says nothing any more up to and at this height.
    pub(super) fn mute_through(&mut self, height: Height) {
        self.muted_through = self.muted_through.max(Some(height));
    }

    /// A message of the own key was met, signed and without a record, at a height that is not decided here.
    pub(super) fn hear_itself(&mut self, at: Height, now: Instant) -> Heard {
        match &mut self.standing {
            Standing::Trusted => {
                let why = Silence::Older { height: at };
                self.standing = Standing::Doubted { why, since: now, seen: at, listening: None };
                Heard::Older
            }
            Standing::Doubted { listening: Some((_, open)), .. } if at >= *open => {
                self.standing = Standing::Elsewhere { height: at };
                Heard::Elsewhere
            }
            Standing::Doubted { seen, .. } => {
                *seen = at.max(*seen);
                Heard::Expected
            }
            Standing::Elsewhere { .. } => Heard::Expected,
        }
    }

    /// A message of somebody was met at this height.
    pub(super) fn hear_others(&mut self, at: Height, now: Instant) {
        if let Standing::Doubted { seen, since, .. } = &mut self.standing
            && now.saturating_duration_since(*since) < LOOK_AROUND
        {
            *seen = at.max(*seen);
        }
    }

    /// Weight of those whose decided height is known, or known to be none.
    fn reporting(&self, company: &Company, now: Instant) -> u128 {
        company.weight(|name| {
            let untold = self
                .connected
                .get(name)
                .is_some_and(|since| now.saturating_duration_since(*since) >= UNTOLD);
            self.tips.contains_key(name) || untold
        })
    }

    /// Whether others have decided `height`.
    fn is_decided(&self, height: Height, company: &Company) -> bool {
        let ahead = company.weight(|name| self.tips.get(name).is_some_and(|tip| *tip >= height));
        company.is_honest(ahead)
    }

    /// What to do with what is to be said at the running height; `settled` is what L1 has settled. What has settled was
    /// decided: who is asked for a word about it has forgotten that it gave one.
    pub(super) fn verdict(
        &mut self,
        height: Height,
        settled: Height,
        company: &Company,
        now: Instant,
    ) -> Verdict {
        let is_over = height <= settled || self.muted_through >= Some(height);
        if self.silence().is_some() || is_over {
            return Verdict::Mute;
        }
        if self.caught_up {
            // One ahead is who was a moment faster.
            let behind = self.is_decided(height.next(), company);
            return if behind { Verdict::Mute } else { Verdict::Speak };
        }
        if self.is_decided(height, company) {
            return Verdict::Mute;
        }
        // At the first height nobody has anything to tell.
        self.caught_up = height.previous().is_none_or(|decided| decided == Height::default())
            || company.is_quorum(self.reporting(company, now));
        let waited = now.saturating_duration_since(self.began) >= PATIENCE;
        if self.caught_up || waited { Verdict::Speak } else { Verdict::Wait }
    }

    /// Goes on listening at the running height; `settled` is what L1 has settled. True once doubt is over.
    pub(super) fn listen(
        &mut self,
        height: Height,
        settled: Height,
        company: &Company,
        now: Instant,
    ) -> bool {
        let among =
            !self.is_decided(height, company) && company.is_quorum(self.reporting(company, now));
        let Standing::Doubted { seen, since, listening, .. } = &mut self.standing else {
            return false;
        };
        let looked = now.saturating_duration_since(*since) >= LOOK_AROUND;
        if !looked || !among || height <= settled.max(*seen) {
            return false;
        }
        match listening {
            None => {
                *listening = Some((now, height));
                false
            }
            Some((since, open)) => {
                let (time, heights) = self.listen_for;
                let heard = height.get().saturating_sub(open.get());
                let alone = company.others.is_empty();
                if now.saturating_duration_since(*since) < time || (heard < heights && !alone) {
                    return false;
                }
                self.standing = Standing::Trusted;
                self.caught_up = true;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Company, Heard, LOOK_AROUND, PATIENCE, Silence, Silencer, UNTOLD, Verdict};
    use crate::domain::{Generation, Height};
    use malachitebft_app_channel::app::types::PeerId;
    use std::time::Duration;
    use tokio::time::Instant;

    const LISTEN: Duration = Duration::from_secs(2);
    const HEIGHTS: u64 = 2;

    /// This agent and three others of the same weight.
    struct Scene {
        peers: [PeerId; 3],
        company: Company,
        now: Instant,
        silencer: Silencer,
    }

    impl Scene {
        fn new(doubt: Option<Silence>) -> Self {
            let peers =
                [(); 3].map(|()| PeerId::from_bytes(&libp2p::PeerId::random().to_bytes()).unwrap());
            let others = peers.map(|peer| (Some(peer), 1)).to_vec();
            let now = Instant::now();
            let silencer = Silencer::new(doubt, (LISTEN, HEIGHTS), now);
            Self { peers, company: Company { own: 1, others }, now, silencer }
        }

        fn told(&mut self, tips: &[u64]) {
            for (peer, tip) in self.peers.into_iter().zip(tips) {
                self.silencer.told(peer, Height::new(*tip));
            }
        }

        fn passes(&mut self, time: Duration) {
            self.now = self.now.checked_add(time).unwrap();
        }

        fn verdict(&mut self, height: u64) -> Verdict {
            self.silencer.verdict(Height::new(height), Height::default(), &self.company, self.now)
        }

        fn listens(&mut self, height: u64) -> bool {
            let height = Height::new(height);
            self.silencer.listen(height, Height::default(), &self.company, self.now)
        }

        fn hears(&mut self, height: u64) -> Heard {
            self.silencer.hear_itself(Height::new(height), self.now)
        }
    }

    #[test]
    fn waits_until_a_quorum_with_itself_says_where_it_is() {
        let mut scene = Scene::new(None);
        scene.told(&[8]);
        assert_eq!(scene.verdict(9), Verdict::Wait);
        scene.told(&[8, 8]);
        assert_eq!(scene.verdict(9), Verdict::Speak);
    }

    #[test]
    fn speaks_after_a_while_when_no_quorum_can_be_reached() {
        let mut scene = Scene::new(None);
        assert_eq!(scene.verdict(9), Verdict::Wait);
        scene.passes(PATIENCE);
        assert_eq!(scene.verdict(9), Verdict::Speak);
    }

    #[test]
    fn a_single_member_and_the_first_height_of_all_wait_for_nobody() {
        let mut scene = Scene::new(None);
        assert_eq!(scene.verdict(1), Verdict::Speak);
        let mut alone = Scene::new(None);
        alone.company.others.clear();
        assert_eq!(alone.verdict(9), Verdict::Speak);
    }

    #[test]
    fn says_nothing_at_a_height_that_has_settled_also_when_nobody_can_be_asked() {
        let mut alone = Scene::new(None);
        alone.company.others.clear();
        let mut verdict = |height, settled| {
            let (height, settled) = (Height::new(height), Height::new(settled));
            alone.silencer.verdict(height, settled, &alone.company, alone.now)
        };
        assert_eq!(verdict(9, 9), Verdict::Mute);
        assert_eq!(verdict(8, 9), Verdict::Mute);
        assert_eq!(verdict(10, 9), Verdict::Speak);
        assert_eq!(verdict(9, 9), Verdict::Mute, "also once it has caught up");
        assert_eq!(verdict(9, 8), Verdict::Speak, "l1 took a batch back");
    }

    #[test]
    fn says_nothing_at_a_height_that_others_have_decided() {
        let mut scene = Scene::new(None);
        scene.told(&[9, 9]);
        assert_eq!(scene.verdict(9), Verdict::Mute, "at the start not even at the last of them");
        assert_eq!(scene.verdict(10), Verdict::Speak);
        scene.told(&[11, 11]);
        assert_eq!(scene.verdict(11), Verdict::Speak, "later they may have been a moment faster");
        assert_eq!(scene.verdict(10), Verdict::Mute);
    }

    #[test]
    fn no_liar_alone_silences_anybody() {
        let mut scene = Scene::new(None);
        scene.told(&[u64::MAX, 8]);
        assert_eq!(scene.verdict(9), Verdict::Speak);
        assert_eq!(scene.verdict(10), Verdict::Speak);
    }

    #[test]
    fn a_store_in_doubt_passes_what_was_seen_and_then_listens() {
        let mut scene = Scene::new(Some(Silence::New));
        scene.told(&[20, 20, 20]);
        assert_eq!(scene.hears(15), Heard::Expected);
        scene.passes(LOOK_AROUND);
        for height in [1, 16, 20] {
            assert!(!scene.listens(height));
            scene.passes(LISTEN);
            assert_eq!(scene.verdict(height), Verdict::Mute);
        }
        assert!(!scene.listens(21), "it has just begun to listen");
        scene.passes(LISTEN);
        assert!(!scene.listens(22), "it has not heard enough");
        assert!(scene.listens(23));
        assert_eq!(scene.verdict(23), Verdict::Speak);
    }

    #[test]
    fn a_store_in_doubt_does_not_speak_at_a_height_that_was_voted_on_before_it_listened() {
        let mut scene = Scene::new(Some(Silence::Moved));
        scene.told(&[8, 8, 8]);
        scene.silencer.hear_others(Height::new(9), scene.now);
        for _ in 0..5 {
            assert!(!scene.listens(9));
            scene.passes(LISTEN);
        }
        scene.silencer.hear_others(Height::new(10), scene.now);
        scene.told(&[9, 9, 9]);
        assert!(!scene.listens(10));
        scene.passes(LISTEN);
        assert!(!scene.listens(11));
        assert!(scene.listens(12));
    }

    #[test]
    fn without_a_quorum_in_reach_doubt_does_not_pass() {
        let mut scene = Scene::new(Some(Silence::New));
        scene.told(&[8]);
        for _ in 0..10 {
            assert!(!scene.listens(9));
            scene.passes(PATIENCE);
            assert_eq!(scene.verdict(9), Verdict::Mute);
        }
    }

    #[test]
    fn nor_below_what_l1_has_settled() {
        let mut scene = Scene::new(Some(Silence::New));
        scene.company.others.clear();
        for _ in 0..3 {
            scene.passes(LOOK_AROUND);
            let (height, settled) = (Height::new(9), Height::new(9));
            assert!(!scene.silencer.listen(height, settled, &scene.company, scene.now));
        }
    }

    #[test]
    fn who_is_connected_and_tells_no_height_has_none() {
        let mut scene = Scene::new(Some(Silence::New));
        for peer in scene.peers {
            scene.silencer.connected(peer, scene.now);
        }
        assert!(!scene.listens(1));
        scene.passes(UNTOLD);
        assert!(!scene.listens(1));
        scene.passes(LISTEN);
        assert!(scene.listens(3));
    }

    #[test]
    fn hearing_itself_while_it_listens_silences_it_until_the_next_start() {
        let mut scene = Scene::new(Some(Silence::Moved));
        scene.told(&[8, 8, 8]);
        scene.passes(LOOK_AROUND);
        assert!(!scene.listens(9));
        assert_eq!(scene.hears(9), Heard::Elsewhere);
        scene.told(&[50, 50, 50]);
        for _ in 0..3 {
            scene.passes(LISTEN);
            assert!(!scene.listens(60));
            assert_eq!(scene.verdict(60), Verdict::Mute);
        }
        let silence = scene.silencer.silence();
        assert_eq!(silence, Some(Silence::Elsewhere { height: Height::new(9) }));
    }

    #[test]
    fn who_meets_a_message_of_its_own_without_a_record_doubts_its_store() {
        let mut scene = Scene::new(None);
        scene.told(&[8, 8, 8]);
        assert_eq!(scene.verdict(9), Verdict::Speak);
        assert_eq!(scene.hears(9), Heard::Older);
        assert_eq!(scene.verdict(9), Verdict::Mute);
        scene.passes(LOOK_AROUND);
        assert!(!scene.listens(9), "that height is not for it any more");
        scene.told(&[9, 9, 9]);
        assert!(!scene.listens(10));
        scene.passes(LISTEN);
        assert!(scene.listens(12));
    }

    #[test]
    fn what_was_muted_in_one_generation_is_no_height_of_the_next() {
        let mut scene = Scene::new(None);
        let (old, new) = (Generation::new(3), Generation::new(4));
        scene.silencer.begin(old, scene.now);
        scene.told(&[8, 8, 8]);
        scene.silencer.mute_through(Height::new(90));
        assert_eq!(scene.verdict(9), Verdict::Mute);
        scene.silencer.begin(old, scene.now);
        scene.told(&[8, 8, 8]);
        assert_eq!(scene.verdict(9), Verdict::Mute, "an engine that is only started again");
        scene.silencer.begin(new, scene.now);
        scene.told(&[8, 8, 8]);
        assert_eq!(scene.verdict(9), Verdict::Speak);
        scene.silencer.mute_through(Height::new(10));
        assert_eq!(scene.verdict(10), Verdict::Mute);
    }

    #[test]
    fn a_store_in_doubt_listens_anew_in_another_generation_whatever_it_saw_in_the_one_before() {
        let mut scene = Scene::new(Some(Silence::Moved));
        let (old, new) = (Generation::new(0), Generation::new(1));
        scene.silencer.begin(old, scene.now);
        scene.told(&[200, 200, 200]);
        assert_eq!(scene.hears(180), Heard::Expected);
        scene.passes(LOOK_AROUND);
        assert!(!scene.listens(201), "it has just begun to listen");
        scene.silencer.begin(old, scene.now);
        scene.told(&[200, 200, 200]);
        assert_eq!(scene.hears(201), Heard::Elsewhere, "an engine that is only started again");

        let mut scene = Scene::new(Some(Silence::Moved));
        scene.silencer.begin(old, scene.now);
        scene.told(&[200, 200, 200]);
        assert_eq!(scene.hears(180), Heard::Expected);
        scene.passes(LOOK_AROUND);
        assert!(!scene.listens(201));
        scene.silencer.begin(new, scene.now);
        scene.told(&[100, 100, 100]);
        assert_eq!(scene.hears(101), Heard::Expected, "it may have been there before");
        scene.passes(LOOK_AROUND);
        assert!(!scene.listens(101));
        scene.told(&[101, 101, 101]);
        assert!(!scene.listens(102));
        scene.passes(LISTEN);
        assert!(scene.listens(104));
        assert_eq!(scene.verdict(104), Verdict::Speak);
    }

    #[test]
    fn a_muted_height_passes() {
        let mut scene = Scene::new(None);
        scene.silencer.mute_through(Height::new(1));
        assert_eq!(scene.verdict(1), Verdict::Mute);
        assert_eq!(scene.verdict(2), Verdict::Wait);
    }
}
