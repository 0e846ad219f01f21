//! Whether votes and proposals are signed by whom they name, and two signatures of one member at one position.
//!
//! The engine reports a few pairs per member, for the running height alone, when the height is over; late votes it drops
//! unread. So everything that arrives is looked at here first, before any such filter: checked, bounded and reported once.
//! It happens on the way in, in the task that hands messages to the engine, and not beside it: nothing can pass unread
//! because somebody sends much.

use super::context::{HeightSet, Proposal, RotaContext, Vote};
use super::heights::Heights;
use super::verify::RecoveringVerifier;
use crate::blocking::blocking;
use crate::crypto::Signature;
use crate::domain::{self, Evidence, Generation, Height, Round, Signer, VoteType};
use crate::storage::Store;
use alloy::primitives::Address;
use malachitebft_core_consensus::MisbehaviorEvidence;
use malachitebft_core_types::{Proposal as _, Validator as _, ValidatorSet as _, Vote as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Votes and proposals that are remembered; the lowest heights make room.
const KEPT: usize = 32_768;

/// Positions of one member at one height that are remembered. More of them is more rounds than any height takes, or a
/// member that wants others forgotten: the first stay.
const A_MEMBER: usize = 64;

/// Messages of one member for a height that has not begun which are passed on: what the engine puts aside for a height is
/// bounded, and all members' together stay below that. Each counts once, and is passed on once: whoever sends another's again
/// uses up nothing of the other's.
const EARLY: usize = 24;

/// Members, one for each height, whose early messages are counted: those of the largest set at the heights ahead, and more.
const EARLY_SIGNERS: usize = 512;

/// Offences that may wait for the disk. At more, what completes one is not noted, and completes it when it comes again.
const WAITING: usize = 1_024;

type Pair<T> = (T, Signature);

/// What was first seen at a position, and whether an offence was reported there.
#[derive(Debug)]
struct Seen<T> {
    first: Pair<T>,
    reported: bool,
}

/// What is to be thought of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Signed by the member that it names, for a height that runs or is about to.
    Signed,
    /// Too late or too early to be of use to anybody, or in the name of nobody who has a say; whether it is signed was not
    /// asked in each case.
    Useless,
    /// Not signed by whom it names.
    Unsigned,
}

/// Remembers what members signed lately.
pub(super) struct EvidencePool {
    generation: Generation,
    verifier: RecoveringVerifier,
    heights: Heights,
    votes: BTreeMap<(Height, Signer, Round, VoteType), Seen<domain::Vote>>,
    proposals: BTreeMap<(Height, Signer, Round), Seen<domain::Proposal>>,
    /// Messages that were passed on, by their signatures.
    early: BTreeMap<(Height, Signer), BTreeSet<[u8; 64]>>,
}

impl EvidencePool {
    pub(super) const fn new(
        generation: Generation,
        verifier: RecoveringVerifier,
        heights: Heights,
    ) -> Self {
        Self {
            generation,
            verifier,
            heights,
            votes: BTreeMap::new(),
            proposals: BTreeMap::new(),
            early: BTreeMap::new(),
        }
    }

    /// Whether a message of `signer` at `height` is worth a look: it is a member's where the set is known, and where it is
    /// not, of a height that is about to begin. Before this agent's first one it knows no members, but who is registered.
    fn matters(&self, height: Height, signer: &Signer) -> bool {
        match (self.heights.set_of(height), self.heights.running()) {
            (Some(set), _) => set.contains(signer),
            (None, Some(running)) => {
                let ahead = height.get().saturating_sub(running.get());
                (1..=Heights::AHEAD).contains(&ahead) && self.heights.expects(signer)
            }
            (None, None) => self.heights.may_begin(height, signer),
        }
    }

    /// What a signed message that matters is worth.
    fn worth(&mut self, height: Height, signer: Signer, signature: &Signature) -> Heard {
        let running = self.heights.running();
        if self.heights.set_of(height).is_some() {
            return if Some(height) < running { Heard::Useless } else { Heard::Signed };
        }
        if let Some(running) = running {
            self.early.retain(|(height, _), _| {
                let ahead = height.get().saturating_sub(running.get());
                (1..=Heights::AHEAD).contains(&ahead)
            });
        }
        let room = self.early.len() < EARLY_SIGNERS;
        let passed = match self.early.get_mut(&(height, signer)) {
            Some(passed) => passed,
            None if room => self.early.entry((height, signer)).or_default(),
            None => return Heard::Useless,
        };
        let fits = passed.len() < EARLY && passed.insert(signature.to_compact());
        if fits { Heard::Signed } else { Heard::Useless }
    }

    /// Looks at a vote; returns what it is worth and the offence that it completes, if that may be reported.
    pub(super) fn vote(
        &mut self,
        vote: &Vote,
        signature: Signature,
        may_report: bool,
    ) -> (Heard, Option<Evidence>) {
        let voter = *vote.validator_address();
        let Some((vote_type, signed)) = vote.to_domain(self.generation) else {
            return (Heard::Unsigned, None);
        };
        if !self.matters(signed.height, &voter) {
            return (Heard::Useless, None);
        }
        let offender = Address::new(voter.0);
        if !self.verifier.checks_vote(vote, &signature, offender) {
            return (Heard::Unsigned, None);
        }
        let heard = self.worth(signed.height, voter, &signature);
        if self.heights.set_of(signed.height).is_none() {
            return (heard, None);
        }
        let key = (signed.height, voter, signed.round, vote_type);
        let Some(seen) = self.votes.get_mut(&key) else {
            let all = (signed.height, voter, Round::new(0), VoteType::Prevote)
                ..=(signed.height, voter, Round::new(u32::MAX), VoteType::Precommit);
            if self.votes.range(all).count() < A_MEMBER {
                self.votes.insert(key, Seen { first: (signed, signature), reported: false });
                shrink(&mut self.votes);
            }
            return (heard, None);
        };
        if !may_report || seen.reported || seen.first.0.block_hash == signed.block_hash {
            return (heard, None);
        }
        seen.reported = true;
        let a = seen.first.clone();
        (heard, Some(Evidence::DoubleVote { offender, vote_type, a, b: (signed, signature) }))
    }

    /// Looks at a proposal that is about to be passed on; returns what it is worth and the offence that it completes. A
    /// difference in the earlier round alone is none (§7).
    pub(super) fn proposal(
        &mut self,
        proposal: &Proposal,
        signature: Signature,
        may_report: bool,
    ) -> (Heard, Option<Evidence>) {
        let (heard, offence) = self.look_at_proposal(proposal, signature, may_report);
        let heard = match heard {
            Heard::Signed => {
                self.worth(proposal.height(), *proposal.validator_address(), &signature)
            }
            worthless => worthless,
        };
        (heard, offence)
    }

    /// The same of one that came with its block, and goes no further: the message itself is still to come, and is passed on
    /// then.
    fn look_at_proposal(
        &mut self,
        proposal: &Proposal,
        signature: Signature,
        may_report: bool,
    ) -> (Heard, Option<Evidence>) {
        let proposer = *proposal.validator_address();
        let Some(signed) = proposal.to_domain(self.generation) else {
            return (Heard::Unsigned, None);
        };
        if !self.matters(signed.height, &proposer) {
            return (Heard::Useless, None);
        }
        let offender = Address::new(proposer.0);
        if !self.verifier.checks_proposal(proposal, &signature, offender) {
            return (Heard::Unsigned, None);
        }
        let heard = Heard::Signed;
        if self.heights.set_of(signed.height).is_none() {
            return (heard, None);
        }
        let key = (signed.height, proposer, signed.round);
        let Some(seen) = self.proposals.get_mut(&key) else {
            let all = (signed.height, proposer, Round::new(0))
                ..=(signed.height, proposer, Round::new(u32::MAX));
            if self.proposals.range(all).count() < A_MEMBER {
                self.proposals.insert(key, Seen { first: (signed, signature), reported: false });
                shrink(&mut self.proposals);
            }
            return (heard, None);
        };
        if !may_report || seen.reported || seen.first.0.block_hash == signed.block_hash {
            return (heard, None);
        }
        seen.reported = true;
        let a = seen.first.clone();
        (heard, Some(Evidence::DoubleProposal { offender, a, b: (signed, signature) }))
    }
}

fn shrink<K: Ord, V>(seen: &mut BTreeMap<K, V>) {
    while seen.len() > KEPT {
        seen.pop_first();
    }
}

/// The pool as all who hear messages share it.
#[derive(Clone)]
pub(super) struct Witness {
    pool: Arc<Mutex<EvidencePool>>,
    heights: Heights,
    offences: mpsc::Sender<Evidence>,
}

impl Witness {
    /// A witness, and what it finds.
    pub(super) fn new(pool: EvidencePool) -> (Self, mpsc::Receiver<Evidence>) {
        let (offences, found) = mpsc::channel(WAITING);
        let heights = pool.heights.clone();
        (Self { pool: Arc::new(Mutex::new(pool)), heights, offences }, found)
    }

    /// Looks at a vote. Blocks for the time of recovering a signature.
    pub(super) fn vote(&self, vote: &Vote, signature: Signature) -> Heard {
        self.look(|pool, may_report| pool.vote(vote, signature, may_report))
    }

    /// Looks at a proposal that is about to be passed on. Blocks for the time of recovering a signature.
    pub(super) fn proposal(&self, proposal: &Proposal, signature: Signature) -> Heard {
        self.look(|pool, may_report| pool.proposal(proposal, signature, may_report))
    }

    /// Looks at a proposal that came with its block. Blocks for the time of recovering a signature.
    pub(super) fn came_with_block(&self, proposal: &Proposal, signature: Signature) -> Heard {
        self.look(|pool, may_report| pool.look_at_proposal(proposal, signature, may_report))
    }

    /// Looks at a certificate, so at each of its votes: they are of the running height, of as many members, who together
    /// weigh more than `thirds` thirds of the set. Blocks for the time of recovering those that were not seen before.
    pub(super) fn certificate(
        &self,
        height: Height,
        votes: &[(Vote, Signature)],
        thirds: u128,
    ) -> Heard {
        match self.heights.set_of(height) {
            Some(set) if self.heights.running() == Some(height) => {
                self.certified(&set, votes, thirds)
            }
            _ => Heard::Useless,
        }
    }

    /// Looks at each vote of a certificate of this set. If the height is over meanwhile, it is of no use, and nobody's fault.
    fn certified(&self, set: &HeightSet, votes: &[(Vote, Signature)], thirds: u128) -> Heard {
        let mut voters = BTreeSet::new();
        let mut weight = 0_u128;
        for (vote, signature) in votes {
            let voter = vote.validator_address();
            let Some(member) = set.get_by_address(voter) else { return Heard::Unsigned };
            if !voters.insert(*voter) {
                return Heard::Unsigned;
            }
            match self.vote(vote, *signature) {
                Heard::Signed => {}
                worthless => return worthless,
            }
            weight = weight.saturating_add(member.voting_power().into());
        }
        let total = u128::from(set.total_voting_power());
        let enough = weight.saturating_mul(3) > total.saturating_mul(thirds);
        if enough { Heard::Signed } else { Heard::Unsigned }
    }

    fn look(
        &self,
        look: impl FnOnce(&mut EvidencePool, bool) -> (Heard, Option<Evidence>),
    ) -> Heard {
        let room = self.offences.try_reserve().ok();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let (heard, offence) = look(&mut pool, room.is_some());
        if let (Some(room), Some(offence)) = (room, offence) {
            room.send(offence);
        }
        heard
    }

    /// The signature of a proposal that was seen.
    pub(super) fn signed(
        &self,
        height: Height,
        by: Signer,
        round: Round,
    ) -> Option<Pair<domain::Proposal>> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.proposals.get(&(height, by, round)).map(|seen| seen.first.clone())
    }

    /// Looks at what the engine found in a height.
    pub(super) fn found(&self, evidence: &MisbehaviorEvidence<RotaContext>) {
        for (_, pairs) in evidence.votes.iter() {
            for vote in pairs.iter().flat_map(|(a, b)| [a, b]) {
                self.vote(&vote.message, vote.signature);
            }
        }
        for (_, pairs) in evidence.proposals.iter() {
            for proposal in pairs.iter().flat_map(|(a, b)| [a, b]) {
                self.proposal(&proposal.message, proposal.signature);
            }
        }
    }
}

/// Hands on what is found until the witness is gone: to the disk first, then to the sink, which may make this wait.
pub(super) async fn report(
    mut found: mpsc::Receiver<Evidence>,
    store: Store,
    sink: mpsc::Sender<Evidence>,
) {
    while let Some(offence) = found.recv().await {
        let (kept, copy) = (store.clone(), offence.clone());
        match blocking(move || kept.keep_evidence(&copy)).await {
            // It is there already, or as many of its offender as are of use: nothing is written or told again.
            Ok(false) => {}
            Ok(true) => {
                let (offender, position) = (offence.offender(), offence.position());
                tracing::warn!(%offender, ?position, "offence seen");
            }
            Err(error) => {
                tracing::warn!(%error, "evidence not kept: a crash before the report loses it");
            }
        }
        if sink.send(offence).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{A_MEMBER, EARLY, Evidence, EvidencePool, Heard, Signature, Witness};
    use crate::agreement::context::{BlockId, HeaderValue, HeightSet, Proposal, RotaContext, Vote};
    use crate::agreement::heights::{Heights, Term};
    use crate::agreement::verify::RecoveringVerifier;
    use crate::crypto::{SecretKey, SigningDomain};
    use crate::domain::{
        BlockHeader, Epoch, Generation, Height, L1Block, LeaderSet, Member, Millis, Seconds, Signer,
    };
    use crate::storage::Store;
    use crate::testing::{header, key};
    use alloy::primitives::{Address, B256};
    use malachitebft_core_types::{Context, NilOrVal, Round};
    use tokio::sync::mpsc;

    const GENERATION: Generation = Generation::new(0);
    const HEIGHT: Height = Height::new(8);

    fn domain() -> SigningDomain {
        SigningDomain::new(1, Address::repeat_byte(1))
    }

    /// A pool that knows one member, the key 1, at one height.
    fn pool() -> EvidencePool {
        pool_at(Heights::default())
    }

    fn pool_at(heights: Heights) -> EvidencePool {
        begin(&heights, HEIGHT);
        let verifier = RecoveringVerifier::new(GENERATION, domain(), heights.clone());
        EvidencePool::new(GENERATION, verifier, heights)
    }

    fn begin(heights: &Heights, height: Height) {
        let members = vec![Member { signer: key(1).address(), weight: 1 }];
        let set = LeaderSet::new(GENERATION, Epoch::new(0), B256::ZERO, members).unwrap();
        let parent = header(height.get().saturating_sub(1), B256::ZERO);
        heights.note(
            &Term {
                generation: GENERATION,
                height,
                epoch: Epoch::new(0),
                parent_hash: parent.hash(),
                earliest_origin: L1Block {
                    number: parent.l1_origin_number,
                    hash: parent.l1_origin_hash,
                    timestamp: Seconds::new(0),
                },
                set: HeightSet::new(&set, vec![0]).unwrap(),
                parent,
            },
            None,
        );
    }

    fn signer_of(key: &SecretKey) -> Signer {
        Signer(key.address().0.0)
    }

    fn vote(by: &SecretKey, height: Height, block: Option<u8>) -> (Vote, Signature) {
        let value = block.map_or(NilOrVal::Nil, |byte| NilOrVal::Val(BlockId([byte; 32])));
        let vote = RotaContext.new_precommit(height, Round::new(1), value, signer_of(by));
        let (vote_type, signed) = vote.to_domain(GENERATION).unwrap();
        (vote, by.sign(domain().vote(vote_type, &signed)))
    }

    fn proposal(by: &SecretKey, pol_round: Round, timestamp: u64) -> (Proposal, Signature) {
        let header =
            BlockHeader { timestamp: Millis::new(timestamp), ..header(HEIGHT.get(), B256::ZERO) };
        let value = HeaderValue::new(header);
        let proposal =
            RotaContext.new_proposal(HEIGHT, Round::new(1), value, pol_round, signer_of(by));
        let signature = by.sign(domain().proposal(&proposal.to_domain(GENERATION).unwrap()));
        (proposal, signature)
    }

    fn votes(pool: &mut EvidencePool, votes: &[(Vote, Signature)]) -> Vec<Evidence> {
        votes.iter().filter_map(|(vote, signature)| pool.vote(vote, *signature, true).1).collect()
    }

    #[test]
    fn two_votes_for_different_blocks_are_reported_once() {
        let by = key(1);
        let seen = [
            vote(&by, HEIGHT, Some(1)),
            vote(&by, HEIGHT, Some(1)),
            vote(&by, HEIGHT, None),
            vote(&by, HEIGHT, Some(2)),
        ];
        let offences = votes(&mut pool(), &seen);
        let [Evidence::DoubleVote { offender, a, b, .. }] = offences.as_slice() else {
            panic!("{offences:?}")
        };
        assert_eq!(*offender, by.address());
        assert_eq!((a.0.block_hash, b.0.block_hash), (B256::repeat_byte(1), B256::ZERO));
    }

    #[test]
    fn nobody_is_accused_with_a_forged_vote() {
        let (honest, forger) = (key(1), key(2));
        let mut forged = vote(&forger, HEIGHT, Some(2));
        forged.0 = vote(&honest, HEIGHT, Some(2)).0;
        let seen = [vote(&honest, HEIGHT, Some(1)), forged.clone()];
        assert_eq!(votes(&mut pool(), &seen), vec![]);
        let seen = [forged, vote(&honest, HEIGHT, Some(1))];
        assert_eq!(votes(&mut pool(), &seen), vec![]);
    }

    #[test]
    fn strangers_and_unknown_heights_are_left_alone() {
        let stranger = key(2);
        let seen = [vote(&stranger, HEIGHT, Some(1)), vote(&stranger, HEIGHT, Some(2))];
        assert_eq!(votes(&mut pool(), &seen), vec![]);
        let later = Height::new(900);
        let seen = [vote(&key(1), later, Some(1)), vote(&key(1), later, Some(2))];
        assert_eq!(votes(&mut pool(), &seen), vec![]);
    }

    #[test]
    fn one_block_proposed_with_two_earlier_rounds_is_no_offence() {
        let (mut pool, by) = (pool(), key(1));
        for (proposal, signature) in [proposal(&by, Round::Nil, 1), proposal(&by, Round::ZERO, 1)] {
            assert_eq!(pool.proposal(&proposal, signature, true), (Heard::Signed, None));
        }
        let (other, signature) = proposal(&by, Round::Nil, 2);
        let (_, offence) = pool.proposal(&other, signature, true);
        assert!(matches!(offence, Some(Evidence::DoubleProposal { .. })), "{offence:?}");
    }

    #[test]
    fn an_offence_that_nobody_has_room_for_is_found_again() {
        let (mut pool, by) = (pool(), key(1));
        let ((a, first), (b, second)) = (vote(&by, HEIGHT, Some(1)), vote(&by, HEIGHT, Some(2)));
        assert_eq!(pool.vote(&a, first, true).1, None);
        assert_eq!(pool.vote(&b, second, false), (Heard::Signed, None));
        assert!(pool.vote(&b, second, true).1.is_some());
    }

    #[tokio::test]
    async fn whatever_is_sent_beside_it_a_double_vote_is_reported() {
        let (witness, mut found) = Witness::new(pool());
        let (by, stranger) = (key(1), key(2));
        let ((a, first), (b, second)) = (vote(&by, HEIGHT, Some(1)), vote(&by, HEIGHT, Some(2)));
        assert_eq!(witness.vote(&a, first), Heard::Signed);
        for height in 0..2_000 {
            let (junk, signature) = vote(&stranger, Height::new(height), Some(3));
            assert_eq!(witness.vote(&junk, signature), Heard::Useless);
            assert_eq!(witness.vote(&a, signature), Heard::Unsigned);
        }
        assert_eq!(witness.vote(&b, second), Heard::Signed);
        assert_eq!(found.recv().await.unwrap().offender(), by.address());
    }

    #[test]
    fn a_member_cannot_fill_the_pool_with_rounds() {
        let (mut pool, by) = (pool(), key(1));
        for round in 0..200_u32 {
            let value = NilOrVal::Nil;
            let vote = RotaContext.new_prevote(HEIGHT, Round::new(round), value, signer_of(&by));
            let (vote_type, signed) = vote.to_domain(GENERATION).unwrap();
            let signature = by.sign(domain().vote(vote_type, &signed));
            assert_eq!(pool.vote(&vote, signature, true), (Heard::Signed, None));
        }
        assert_eq!(pool.votes.len(), A_MEMBER);
    }

    #[test]
    fn a_certificate_is_as_good_as_each_of_its_votes() {
        let by = key(1);
        let (witness, _found) = Witness::new(pool());
        let (good, signature) = vote(&by, HEIGHT, Some(1));
        let mut forged = vote(&key(2), HEIGHT, Some(1));
        forged.0 = good.clone();
        let certificate = |votes: &[(Vote, Signature)]| witness.certificate(HEIGHT, votes, 2);
        assert_eq!(certificate(&[(good.clone(), signature)]), Heard::Signed);
        assert_eq!(certificate(&[(good.clone(), signature), (good, signature)]), Heard::Unsigned);
        assert_eq!(certificate(&[forged]), Heard::Unsigned);
        assert_eq!(certificate(&[vote(&key(2), HEIGHT, Some(1))]), Heard::Unsigned);
        assert_eq!(certificate(&[]), Heard::Unsigned);
        let early = [vote(&by, HEIGHT.next(), Some(1))];
        assert_eq!(witness.certificate(HEIGHT.next(), &early, 2), Heard::Useless);
    }

    #[test]
    fn whoever_sends_anothers_message_again_uses_up_nothing_of_its() {
        let (mut pool, by) = (pool(), key(1));
        let next = HEIGHT.next();
        let (first, signature) = vote(&by, next, Some(1));
        assert_eq!(pool.vote(&first, signature, true), (Heard::Signed, None));
        for _ in 0..10 * EARLY {
            assert_eq!(pool.vote(&first, signature, true), (Heard::Useless, None));
        }
        let (second, signature) = vote(&by, next, Some(2));
        assert_eq!(pool.vote(&second, signature, true), (Heard::Signed, None));
    }

    #[test]
    fn a_proposal_that_came_with_its_block_is_still_passed_on_before_its_height_begins() {
        let (witness, _found) = Witness::new(pool());
        let by = key(1);
        let early = header(HEIGHT.next().get(), B256::ZERO);
        let (round, value) = (Round::new(0), HeaderValue::new(early));
        let next = HEIGHT.next();
        let proposal = RotaContext.new_proposal(next, round, value, Round::Nil, signer_of(&by));
        let signature = by.sign(domain().proposal(&proposal.to_domain(GENERATION).unwrap()));
        assert_eq!(witness.came_with_block(&proposal, signature), Heard::Signed);
        assert_eq!(witness.proposal(&proposal, signature), Heard::Signed);
        assert_eq!(witness.proposal(&proposal, signature), Heard::Useless, "once");
        assert_eq!(witness.came_with_block(&proposal, signature), Heard::Signed);
        let forged = key(2).sign(domain().proposal(&proposal.to_domain(GENERATION).unwrap()));
        assert_eq!(witness.came_with_block(&proposal, forged), Heard::Unsigned);
    }

    #[test]
    fn before_the_first_height_whoever_is_registered_is_heard_and_only_about_that() {
        let heights = Heights::default();
        let verifier = RecoveringVerifier::new(GENERATION, domain(), heights.clone());
        let mut pool = EvidencePool::new(GENERATION, verifier, heights.clone());
        let (honest, made_up) = (key(1), key(2));
        let (early, signature) = vote(&honest, HEIGHT, Some(1));
        assert_eq!(pool.vote(&early, signature, true), (Heard::Useless, None), "nobody is known");
        heights.begin_after(Height::new(HEIGHT.get() - 1), [signer_of(&honest)].into_iter());
        for height in [HEIGHT.get() - 1, HEIGHT.get() + Heights::AHEAD, u64::MAX] {
            let (vote, signature) = vote(&honest, Height::new(height), Some(1));
            assert_eq!(pool.vote(&vote, signature, true), (Heard::Useless, None), "{height}");
        }
        let (vote, forged) = vote(&made_up, HEIGHT, Some(1));
        assert_eq!(pool.vote(&vote, forged, true), (Heard::Useless, None));
        assert!(pool.early.is_empty());
        assert_eq!(pool.vote(&early, signature, true), (Heard::Signed, None));
    }

    #[test]
    fn a_certificate_whose_height_is_over_while_it_is_looked_at_is_nobodys_fault() {
        let heights = Heights::default();
        let (witness, _found) = Witness::new(pool_at(heights.clone()));
        let set = heights.set_of(HEIGHT).unwrap();
        let by = key(1);
        begin(&heights, HEIGHT.next());
        assert_eq!(witness.certified(&set, &[vote(&by, HEIGHT, Some(1))], 2), Heard::Useless);
    }

    #[tokio::test]
    async fn of_offences_without_number_a_few_are_kept_and_each_is_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("rota.redb")).unwrap();
        let (found, offences) = mpsc::channel(1_000);
        let (sink, mut told) = mpsc::channel(1_000);
        let (mut pool, by) = (pool(), key(1));
        for round in 0..u32::try_from(A_MEMBER).unwrap() {
            for block in [1, 2] {
                let value = NilOrVal::Val(BlockId([block; 32]));
                let signer = signer_of(&by);
                let vote = RotaContext.new_prevote(HEIGHT, Round::new(round), value, signer);
                let (vote_type, signed) = vote.to_domain(GENERATION).unwrap();
                let signature = by.sign(domain().vote(vote_type, &signed));
                if let (_, Some(offence)) = pool.vote(&vote, signature, true) {
                    found.send(offence).await.unwrap();
                }
            }
        }
        drop(found);
        super::report(offences, store.clone(), sink).await;
        let mut handed_on = 0;
        while told.recv().await.is_some() {
            handed_on += 1;
        }
        assert_eq!(handed_on, A_MEMBER);
        let kept = store.evidence().unwrap().len();
        assert!((1..10).contains(&kept), "{kept}");
    }

    #[test]
    fn what_comes_early_is_bounded_for_each_member() {
        let (mut pool, by) = (pool(), key(1));
        let next = HEIGHT.next();
        for byte in 0..60_u8 {
            let (vote, signature) = vote(&by, next, Some(byte));
            let expected = if usize::from(byte) < EARLY { Heard::Signed } else { Heard::Useless };
            assert_eq!(pool.vote(&vote, signature, true), (expected, None));
        }
        let (other, signature) = vote(&key(2), next, None);
        assert_eq!(pool.vote(&other, signature, true), (Heard::Useless, None));
        let (far, signature) = vote(&by, Height::new(900), None);
        assert_eq!(pool.vote(&far, signature, true), (Heard::Useless, None));
    }
}
