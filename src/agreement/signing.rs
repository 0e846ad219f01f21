//! Signing through the guard, verification by recovery (libsecp256k1).

use super::between::BLANK;
use super::context::{Proposal, RotaContext, Vote};
use super::heights::Heights;
use super::log::Page;
use super::voice::Voice;
use crate::crypto::{Signature, SigningDomain};
use crate::domain::{self, Generation, Height, Signer as SignerAddress};
use crate::guard::{Guard, GuardError, Recorded};
use alloy::primitives::{Address, B256, keccak256};
use async_trait::async_trait;
use malachitebft_core_consensus::Input;
use malachitebft_core_types::{
    Proposal as _, Round, SignedMessage, ValidatorProof, VoteExtensionScope,
};
use malachitebft_signing::{Error, Signer, VerificationResult, Verifier};
use std::sync::Arc;

/// Signs what the engine wants to publish, if the guard agrees. What it does not sign comes back blank, see [`super::between`]:
/// the engine goes on without it.
pub(super) struct GuardedSigner {
    generation: Generation,
    guard: Arc<Guard>,
    page: Page,
    voice: Voice,
}

impl GuardedSigner {
    pub(super) const fn new(
        generation: Generation,
        guard: Arc<Guard>,
        page: Page,
        voice: Voice,
    ) -> Self {
        Self { generation, guard, page, voice }
    }

    /// Runs the guard, which waits for the disk, off the async workers. What it signed is put down in the log.
    ///
    /// A refusal concerns the position alone, unless this key is bound to a block of the height: the engine that asks may
    /// then not know of it, and whatever it says at this height could break what was promised.
    async fn guarded(
        &self,
        (height, round): (Height, domain::Round),
        sign: impl FnOnce(&Guard) -> Result<Signature, GuardError> + Send + 'static,
        entry: impl FnOnce(Signature) -> Input<RotaContext> + Send + 'static,
    ) -> Result<Signature, Error> {
        if self.voice.is_muted_at(height) {
            return Ok(BLANK);
        }
        let (guard, page, generation) =
            (Arc::clone(&self.guard), self.page.clone(), self.generation);
        let voice = self.voice.clone();
        let signing = move || match sign(&guard) {
            Ok(signature) => {
                page.put(height, round, entry(signature)).map_err(Error::from_source)?;
                Ok(signature)
            }
            Err(refusal @ GuardError::Conflict { .. }) => {
                let bound =
                    guard.has_precommitted(generation, height).map_err(Error::from_source)?;
                if bound {
                    voice.mute_through(height);
                }
                tracing::error!(%height, %round, whole_height = bound, %refusal, "not signed");
                Ok(BLANK)
            }
            Err(error) => {
                tracing::error!(%height, %error, "not signed");
                Err(Error::from_source(error))
            }
        };
        tokio::task::spawn_blocking(signing).await.map_err(Error::from_source)?
    }
}

/// What the engine never asks for with the configuration it is given.
#[derive(Debug, thiserror::Error)]
enum Unsigned {
    #[error("a message without a round is never signed")]
    NoRound,
    #[error("vote extensions are off")]
    Extension,
}

#[async_trait]
impl Signer<RotaContext> for GuardedSigner {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedMessage<RotaContext, Vote>, Error> {
        let (vote_type, signed) =
            vote.to_domain(self.generation).ok_or_else(|| Error::from_source(Unsigned::NoRound))?;
        let at = (signed.height, signed.round);
        let sign = move |guard: &Guard| guard.sign_vote(vote_type, &signed, Recorded::WithItsEntry);
        let message = vote.clone();
        let entry = move |signature| Input::Vote(SignedMessage::new(message, signature));
        let signature = self.guarded(at, sign, entry).await?;
        Ok(SignedMessage::new(vote, signature))
    }

    async fn sign_proposal(
        &self,
        proposal: Proposal,
    ) -> Result<SignedMessage<RotaContext, Proposal>, Error> {
        let signed = proposal
            .to_domain(self.generation)
            .ok_or_else(|| Error::from_source(Unsigned::NoRound))?;
        let at = (signed.height, signed.round);
        let sign = move |guard: &Guard| guard.sign_proposal(&signed, Recorded::WithItsEntry);
        let message = proposal.clone();
        let entry = move |signature| Input::Proposal(SignedMessage::new(message, signature));
        let signature = self.guarded(at, sign, entry).await?;
        Ok(SignedMessage::new(proposal, signature))
    }

    async fn sign_vote_extension(
        &self,
        _scope: VoteExtensionScope<RotaContext>,
        _extension: (),
    ) -> Result<SignedMessage<RotaContext, ()>, Error> {
        Err(Error::from_source(Unsigned::Extension))
    }

    async fn sign_validator_proof(
        &self,
        public_key: Vec<u8>,
        peer_id: Vec<u8>,
    ) -> Result<ValidatorProof<RotaContext>, Error> {
        let preimage = ValidatorProof::<RotaContext>::signing_bytes(&public_key, &peer_id);
        let signature = self.guard.sign_identity(&preimage);
        Ok(ValidatorProof::new(public_key, peer_id, signature))
    }
}

/// Checks signatures, and of proposals also whose block they are for (R14).
#[derive(Clone)]
pub(super) struct RecoveringVerifier {
    generation: Generation,
    domain: SigningDomain,
    heights: Heights,
}

impl RecoveringVerifier {
    pub(super) const fn new(
        generation: Generation,
        domain: SigningDomain,
        heights: Heights,
    ) -> Self {
        Self { generation, domain, heights }
    }

    /// Whether the vote carries its voter's signature.
    pub(super) fn checks_vote(&self, vote: &Vote, signature: &Signature, by: Address) -> bool {
        vote.to_domain(self.generation).is_some_and(|(vote_type, vote)| {
            is_by(signature, self.domain.vote(vote_type, &vote), by)
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
            .is_some_and(|proposal| is_by(signature, self.domain.proposal(&proposal), by))
    }

    /// R14: a block that is proposed for the first time is its proposer's own; one that is proposed again belongs to
    /// whoever could propose until then. Parts are unsigned: without this a later proposer could put its block under an
    /// honest leader's name.
    fn names_its_proposer(&self, proposal: &Proposal) -> bool {
        let header = proposal.header();
        let Some(round) = proposal.round().as_u32() else { return false };
        if header.height != proposal.height() || header.generation != self.generation {
            return false;
        }
        let owner = SignerAddress(header.proposer.0.0);
        match proposal.pol_round() {
            Round::Nil => owner == *proposal.validator_address(),
            Round::Some(_) => self
                .heights
                .set_of(proposal.height())
                .is_some_and(|set| set.has_proposed(&owner, round)),
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

/// Signs two of everything, for tests of the slashing path. Never in a release.
#[cfg(feature = "byzantine")]
pub(super) struct UnguardedSigner {
    generation: Generation,
    guard: Arc<Guard>,
}

#[cfg(feature = "byzantine")]
impl UnguardedSigner {
    pub(super) const fn new(generation: Generation, guard: Arc<Guard>) -> Self {
        Self { generation, guard }
    }
}

#[cfg(feature = "byzantine")]
#[async_trait]
impl Signer<RotaContext> for UnguardedSigner {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedMessage<RotaContext, Vote>, Error> {
        let (vote_type, signed) =
            vote.to_domain(self.generation).ok_or_else(|| Error::from_source(Unsigned::NoRound))?;
        let digest = self.guard.domain().vote(vote_type, &signed);
        Ok(SignedMessage::new(vote, self.guard.sign_unguarded(digest)))
    }

    async fn sign_proposal(
        &self,
        proposal: Proposal,
    ) -> Result<SignedMessage<RotaContext, Proposal>, Error> {
        let signed = proposal
            .to_domain(self.generation)
            .ok_or_else(|| Error::from_source(Unsigned::NoRound))?;
        let digest = self.guard.domain().proposal(&signed);
        Ok(SignedMessage::new(proposal, self.guard.sign_unguarded(digest)))
    }

    async fn sign_vote_extension(
        &self,
        _scope: VoteExtensionScope<RotaContext>,
        _extension: (),
    ) -> Result<SignedMessage<RotaContext, ()>, Error> {
        Err(Error::from_source(Unsigned::Extension))
    }

    async fn sign_validator_proof(
        &self,
        public_key: Vec<u8>,
        peer_id: Vec<u8>,
    ) -> Result<ValidatorProof<RotaContext>, Error> {
        let preimage = ValidatorProof::<RotaContext>::signing_bytes(&public_key, &peer_id);
        let signature = self.guard.sign_identity(&preimage);
        Ok(ValidatorProof::new(public_key, peer_id, signature))
    }
}
