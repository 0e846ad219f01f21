//! Signing through the guard. Verification is in `verify`.

use super::between::BLANK;
use super::context::{Proposal, RotaContext, Vote};
use super::log::Page;
use super::voice::Voice;
use crate::crypto::Signature;
use crate::domain::{self, Generation, Height};
use crate::guard::{Guard, GuardError, Recorded};
use async_trait::async_trait;
use malachitebft_core_consensus::Input;
use malachitebft_core_types::{SignedMessage, ValidatorProof, VoteExtensionScope};
use malachitebft_signing::{Error, Signer};
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
        if self.page.is_lost_at(height) {
            self.voice.mute_through(height);
        }
        if !self.voice.speaks_at(height).await {
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
            // It has fallen silent since it was asked, or its records of that height were dropped.
            Err(GuardError::Silent | GuardError::NoRecords { .. }) => Ok(BLANK),
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
