//! Two signatures of one member at one position.
//!
//! The engine reports a few pairs per member, for the running height alone, when the height is over; late votes it drops
//! unread. So everything that arrives is looked at here too, before any such filter: checked, bounded and reported once.

use super::context::{Proposal, RotaContext, Vote};
use super::heights::Heights;
use super::signing::RecoveringVerifier;
use crate::blocking::blocking;
use crate::crypto::Signature;
use crate::domain::{self, Evidence, Generation, Height, Round, Signer, VoteType};
use crate::storage::Store;
use alloy::primitives::Address;
use malachitebft_app_channel::app::events::RxEvent;
use malachitebft_core_consensus::{MisbehaviorEvidence, SignedConsensusMsg};
use malachitebft_core_types::{Proposal as _, Vote as _};
use malachitebft_engine::util::events::Event;
use std::collections::BTreeMap;
use tokio::sync::{broadcast, mpsc};

/// Votes and proposals that are remembered; the lowest heights make room.
const KEPT: usize = 32_768;

type Signed<T> = (T, Signature);

/// What was first seen at a position, and whether an offence was reported there.
#[derive(Debug)]
struct Seen<T> {
    first: Signed<T>,
    reported: bool,
}

/// Remembers what members signed lately.
pub(super) struct EvidencePool {
    generation: Generation,
    verifier: RecoveringVerifier,
    heights: Heights,
    votes: BTreeMap<(Height, Round, VoteType, Signer), Seen<domain::Vote>>,
    proposals: BTreeMap<(Height, Round, Signer), Seen<domain::Proposal>>,
}

impl EvidencePool {
    pub(super) const fn new(
        generation: Generation,
        verifier: RecoveringVerifier,
        heights: Heights,
    ) -> Self {
        Self { generation, verifier, heights, votes: BTreeMap::new(), proposals: BTreeMap::new() }
    }

    fn is_member(&self, signer: &Signer, height: Height) -> bool {
        self.heights.set_of(height).is_some_and(|set| set.contains(signer))
    }

    /// Looks at a vote; returns the offence that it completes.
    pub(super) fn vote(&mut self, vote: &Vote, signature: Signature) -> Option<Evidence> {
        let voter = *vote.validator_address();
        let (vote_type, signed) = vote.to_domain(self.generation)?;
        let key = (signed.height, signed.round, vote_type, voter);
        let news = self
            .votes
            .get(&key)
            .is_none_or(|seen| !seen.reported && seen.first.0.block_hash != signed.block_hash);
        let offender = Address::new(voter.0);
        if !news
            || !self.is_member(&voter, signed.height)
            || !self.verifier.checks_vote(vote, &signature, offender)
        {
            return None;
        }
        let Some(seen) = self.votes.get_mut(&key) else {
            self.votes.insert(key, Seen { first: (signed, signature), reported: false });
            shrink(&mut self.votes);
            return None;
        };
        seen.reported = true;
        let a = seen.first.clone();
        Some(Evidence::DoubleVote { offender, vote_type, a, b: (signed, signature) })
    }

    /// Looks at a proposal; returns the offence that it completes. A difference in the earlier round alone is none (§7).
    pub(super) fn proposal(
        &mut self,
        proposal: &Proposal,
        signature: Signature,
    ) -> Option<Evidence> {
        let proposer = *proposal.validator_address();
        let signed = proposal.to_domain(self.generation)?;
        let key = (signed.height, signed.round, proposer);
        let news = self
            .proposals
            .get(&key)
            .is_none_or(|seen| !seen.reported && seen.first.0.block_hash != signed.block_hash);
        let offender = Address::new(proposer.0);
        if !news
            || !self.is_member(&proposer, signed.height)
            || !self.verifier.checks_proposal(proposal, &signature, offender)
        {
            return None;
        }
        let Some(seen) = self.proposals.get_mut(&key) else {
            self.proposals.insert(key, Seen { first: (signed, signature), reported: false });
            shrink(&mut self.proposals);
            return None;
        };
        seen.reported = true;
        let a = seen.first.clone();
        Some(Evidence::DoubleProposal { offender, a, b: (signed, signature) })
    }

    /// Looks at what the engine found in a height.
    fn found(&mut self, evidence: &MisbehaviorEvidence<RotaContext>) -> Vec<Evidence> {
        let mut offences = Vec::new();
        for (_, pairs) in evidence.votes.iter() {
            for (a, b) in pairs {
                offences.extend(self.vote(&a.message, a.signature));
                offences.extend(self.vote(&b.message, b.signature));
            }
        }
        for (_, pairs) in evidence.proposals.iter() {
            for (a, b) in pairs {
                offences.extend(self.proposal(&a.message, a.signature));
                offences.extend(self.proposal(&b.message, b.signature));
            }
        }
        offences
    }
}

fn shrink<K: Ord, V>(seen: &mut BTreeMap<K, V>) {
    while seen.len() > KEPT {
        seen.pop_first();
    }
}

/// Watches until the engine ends. A sink that is full makes this wait, and the engine's events then overwrite each other:
/// evidence may be missed, agreement is never held up.
pub(super) async fn watch(
    mut pool: EvidencePool,
    mut events: RxEvent<RotaContext>,
    mut found: mpsc::Receiver<MisbehaviorEvidence<RotaContext>>,
    store: Store,
    sink: mpsc::Sender<Evidence>,
) {
    loop {
        let offences: Vec<Evidence> = tokio::select! {
            event = events.recv() => match event {
                Ok(Event::Received(SignedConsensusMsg::Vote(vote))) => {
                    pool.vote(&vote.message, vote.signature).into_iter().collect()
                }
                Ok(Event::Received(SignedConsensusMsg::Proposal(proposal))) => {
                    pool.proposal(&proposal.message, proposal.signature).into_iter().collect()
                }
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "engine events passed unread");
                    continue;
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            evidence = found.recv() => match evidence {
                Some(evidence) => pool.found(&evidence),
                None => return,
            },
        };
        for offence in offences {
            tracing::warn!(offender = %offence.offender(), position = ?offence.position(), "offence seen");
            let (kept, copy) = (store.clone(), offence.clone());
            if let Err(error) = blocking(move || kept.keep_evidence(&copy)).await {
                tracing::warn!(%error, "evidence not kept: a crash before the report loses it");
            }
            if sink.send(offence).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Evidence, EvidencePool, Signature};
    use crate::agreement::context::{BlockId, HeaderValue, HeightSet, Proposal, RotaContext, Vote};
    use crate::agreement::heights::{Heights, Term};
    use crate::agreement::signing::RecoveringVerifier;
    use crate::crypto::{SecretKey, SigningDomain};
    use crate::domain::{
        BlockHeader, Epoch, Generation, Height, L1Block, LeaderSet, Member, Millis, Seconds, Signer,
    };
    use crate::testing::{header, key};
    use alloy::primitives::{Address, B256};
    use malachitebft_core_types::{Context, NilOrVal, Round};

    const GENERATION: Generation = Generation::new(0);
    const HEIGHT: Height = Height::new(8);

    fn domain() -> SigningDomain {
        SigningDomain::new(1, Address::repeat_byte(1))
    }

    /// A pool that knows one member, the key 1, at one height.
    fn pool() -> EvidencePool {
        let members = vec![Member { signer: key(1).address(), weight: 1 }];
        let set = LeaderSet::new(GENERATION, Epoch::new(0), B256::ZERO, members).unwrap();
        let parent = header(7, B256::ZERO);
        let heights = Heights::default();
        heights.note(&Term {
            generation: GENERATION,
            height: HEIGHT,
            epoch: Epoch::new(0),
            parent_hash: parent.hash(),
            earliest_origin: L1Block {
                number: parent.l1_origin_number,
                hash: parent.l1_origin_hash,
                timestamp: Seconds::new(0),
            },
            set: HeightSet::new(&set, vec![0]).unwrap(),
            parent,
        });
        let verifier = RecoveringVerifier::new(GENERATION, domain(), heights.clone());
        EvidencePool::new(GENERATION, verifier, heights)
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
        votes.iter().filter_map(|(vote, signature)| pool.vote(vote, *signature)).collect()
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
            assert_eq!(pool.proposal(&proposal, signature), None);
        }
        let (other, signature) = proposal(&by, Round::Nil, 2);
        let offence = pool.proposal(&other, signature);
        assert!(matches!(offence, Some(Evidence::DoubleProposal { .. })), "{offence:?}");
    }
}
