//! Two signatures of one member at one position.
//!
//! The engine reports a few pairs per member, for the running height alone, when the height is over; late votes it drops
//! unread. So everything that arrives is looked at here too, before any such filter: checked, bounded and reported once.

use super::context::{Proposal, RotaContext, Vote};
use super::heights::Heights;
use super::signing::RecoveringVerifier;
use crate::crypto::Signature;
use crate::domain::{self, Evidence, Generation, Height, Round, Signer, VoteType};
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
            if sink.send(offence).await.is_err() {
                return;
            }
        }
    }
}
