//! Verification by recovery (libsecp256k1), and the one way to what counts as signed.

use super::context::{Proposal, RotaContext, Vote};
use super::heights::Heights;
use crate::crypto::{Signature, SigningDomain};
use crate::domain::{Generation, Signer as SignerAddress};
use alloy::primitives::{Address, B256, keccak256};
use async_trait::async_trait;
use malachitebft_core_types::{Proposal as _, Round, ValidatorProof, VoteExtensionScope};
use malachitebft_signing::{Error, VerificationResult, Verifier};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Signatures that are remembered as good: some heights of the largest set.
const REMEMBERED: usize = 8_192;

/// A message that carries the signature of whom it names. [`RecoveringVerifier`] alone makes one, so what takes a
/// `Signed` cannot be handed something that was merely claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed<T> {
    message: T,
    signature: Signature,
}

impl<T> Signed<T> {
    pub(super) const fn message(&self) -> &T {
        &self.message
    }

    pub(super) const fn signature(&self) -> Signature {
        self.signature
    }
}

/// Why a proposal is not believed. Each is the doing of whoever sent it, or of an agent on another chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Disbelieved {
    #[error("it names no round, or an earlier round that is not earlier")]
    Rounds,
    #[error("its header is of another height, generation or proposer than it may be")]
    NotItsBlock,
    #[error("{signer} does not propose in this round, or is no member")]
    NotTheProposer { signer: SignerAddress },
    #[error("its signature is not that of {signer}")]
    Forged { signer: SignerAddress },
}

/// Good signatures seen lately, each recovered once: a message is looked at when it arrives and again by the engine.
#[derive(Debug, Default)]
struct Recent {
    known: HashSet<(B256, Signature, Address)>,
    order: VecDeque<(B256, Signature, Address)>,
}

impl Recent {
    fn remember(&mut self, key: (B256, Signature, Address)) {
        if !self.known.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Checks signatures, and of proposals also whose block they are for (R14).
#[derive(Clone)]
pub(super) struct RecoveringVerifier {
    generation: Generation,
    domain: SigningDomain,
    heights: Heights,
    recent: Arc<Mutex<Recent>>,
}

impl RecoveringVerifier {
    pub(super) fn new(generation: Generation, domain: SigningDomain, heights: Heights) -> Self {
        Self { generation, domain, heights, recent: Arc::default() }
    }

    /// Looks at everything that a proposal claims and can be checked without its block: its signature, that its signer
    /// proposes in its round, where the set of its height is known, or is a member of a set about now, and whose block it
    /// is (R14).
    ///
    /// # Errors
    ///
    /// [`Disbelieved`].
    pub(super) fn proposal(
        &self,
        proposal: Proposal,
        signature: Signature,
    ) -> Result<Signed<Proposal>, Disbelieved> {
        let signer = *proposal.validator_address();
        let round = proposal.round().as_u32().ok_or(Disbelieved::Rounds)?;
        if proposal.pol_round().as_u32().is_some_and(|earlier| earlier >= round) {
            return Err(Disbelieved::Rounds);
        }
        if !self.names_its_proposer(&proposal) {
            return Err(Disbelieved::NotItsBlock);
        }
        let may = match self.heights.set_of(proposal.height()) {
            Some(set) => set.proposes(&signer, round),
            None => self.heights.expects(&signer),
        };
        if !may {
            return Err(Disbelieved::NotTheProposer { signer });
        }
        if !self.checks_proposal(&proposal, &signature, address(&signer)) {
            return Err(Disbelieved::Forged { signer });
        }
        Ok(Signed { message: proposal, signature })
    }

    /// Whether a proposal names a signer of now and does not carry its signature. Of one by others nothing is known: it may
    /// be too early.
    pub(super) fn is_forged(&self, proposal: &Proposal, signature: &Signature) -> bool {
        let signer = proposal.validator_address();
        self.heights.expects(signer) && !self.checks_proposal(proposal, signature, address(signer))
    }

    /// Whether the vote carries its voter's signature.
    pub(super) fn checks_vote(&self, vote: &Vote, signature: &Signature, by: Address) -> bool {
        vote.to_domain(self.generation).is_some_and(|(vote_type, vote)| {
            self.is_by(signature, self.domain.vote(vote_type, &vote), by)
        })
    }

    /// Whether the proposal carries its proposer's signature, whatever it proposes.
    pub(super) fn checks_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        by: Address,
    ) -> bool {
        proposal
            .to_domain(self.generation)
            .is_some_and(|proposal| self.is_by(signature, self.domain.proposal(&proposal), by))
    }

    fn is_by(&self, signature: &Signature, digest: B256, by: Address) -> bool {
        let key = (digest, *signature, by);
        if self.recent().known.contains(&key) {
            return true;
        }
        let good = is_by(signature, digest, by);
        if good {
            self.recent().remember(key);
        }
        good
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// R14: a block that is proposed for the first time is its proposer's own; one that is proposed again belongs to
    /// whoever could propose until then. Without this a later proposer could put its block under an honest leader's
    /// name.
    fn names_its_proposer(&self, proposal: &Proposal) -> bool {
        let header = proposal.header();
        let Some(round) = proposal.round().as_u32() else { return false };
        if header.height != proposal.height() || header.generation != self.generation {
            return false;
        }
        let owner = SignerAddress(header.proposer.0.0);
        match proposal.pol_round() {
            Round::Nil => owner == *proposal.validator_address(),
            // Where the set is not known yet, this is asked again when the height begins.
            Round::Some(_) => self
                .heights
                .set_of(proposal.height())
                .is_none_or(|set| set.has_proposed(&owner, round)),
        }
    }
}

fn is_by(signature: &Signature, digest: B256, by: Address) -> bool {
    signature.recover(digest) == Ok(by)
}

fn address(signer: &SignerAddress) -> Address {
    Address::new(signer.0)
}

#[async_trait]
impl Verifier<RotaContext> for RecoveringVerifier {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &SignerAddress,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::from_bool(self.checks_vote(vote, signature, address(key))))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &SignerAddress,
    ) -> Result<VerificationResult, Error> {
        let valid = self.names_its_proposer(proposal)
            && self.checks_proposal(proposal, signature, address(key));
        Ok(VerificationResult::from_bool(valid))
    }

    async fn verify_signed_vote_extension(
        &self,
        _scope: &VoteExtensionScope<RotaContext>,
        _extension: &(),
        _signature: &Signature,
        _key: &SignerAddress,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        proof: &ValidatorProof<RotaContext>,
    ) -> Result<VerificationResult, Error> {
        let valid = <[u8; 20]>::try_from(proof.public_key.as_slice()).is_ok_and(|key| {
            is_by(&proof.signature, keccak256(proof.preimage()), Address::new(key))
        });
        Ok(VerificationResult::from_bool(valid))
    }
}
