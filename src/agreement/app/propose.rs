//! What the application proposes: builds, signs and sends it.

use super::App;
use crate::agreement::AgreementError;
use crate::agreement::context::{HeaderValue, Proposal, RotaContext};
use crate::agreement::heights::Term;
use crate::agreement::silence::Verdict;
use crate::agreement::streams::{cut, stream_id};
use crate::agreement::validity;
use crate::agreement::verify::Signed;
use crate::batch::{body, payload};
use crate::blocking::blocking;
use crate::domain::{self, Block, BlockHeader, Generation, Height, L1Block, Signer, tx_root};
use crate::guard::{GuardError, Recorded};
use crate::l1::Mirror;
use alloy::primitives::B256;
use malachitebft_app_channel::NetworkMsg;
use malachitebft_app_channel::app::types::LocallyProposedValue;
use malachitebft_core_types::{Context as _, Proposal as _, Round};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl App {
    /// The block to propose: the one of an earlier round or run if there is one (R18), else a new one, on disk before
    /// anybody hears of it.
    pub(super) async fn propose(
        &mut self,
        height: Height,
        round: Round,
    ) -> Result<Option<LocallyProposedValue<RotaContext>>, AgreementError> {
        let Some(term) = &self.term else { return Ok(None) };
        if term.height != height {
            return Ok(None);
        }
        let generation = term.generation;
        let store = self.tools.store.clone();
        let own = blocking(move || store.own_proposals(generation, height)).await?;
        let earlier = own.first().and_then(|(_, hash)| {
            self.candidates
                .included(height, *hash)
                .map(|(block, included)| (block, included, *hash))
        });
        let (block, included, hash) = match earlier {
            Some((block, included, hash)) => (block, included.as_ref().clone(), hash),
            None => {
                let block = self.build(term, own.is_empty()).await;
                let included =
                    validity::judge_body(&self.tools.params, &block, self.tools.source.as_ref())
                        .await;
                match included {
                    Ok(included) => (Arc::clone(&block), included, block.header.hash()),
                    Err(error) => {
                        tracing::error!(%height, %error, "the mempool gave what no block may hold");
                        let empty = self.build(term, false).await;
                        (Arc::clone(&empty), Vec::new(), empty.header.hash())
                    }
                }
            }
        };
        let value = HeaderValue::new(block.header.clone());
        let by = Signer(self.tools.address.0.0);
        let proposal = RotaContext.new_proposal(height, round, value.clone(), Round::Nil, by);
        let kept = Some(Arc::clone(&block));
        let Some(signed) = self.sign(generation, proposal, kept).await? else { return Ok(None) };
        let transactions = block.transactions.len();
        self.candidates.hold_own(signed.clone(), Arc::clone(&block), included);
        tracing::debug!(%height, %round, %hash, transactions, "proposing");
        self.stream(&signed, &block).await;
        Ok(Some(LocallyProposedValue::new(height, round, value)))
    }

    /// Has the guard sign a proposal of this agent's. Its record and, where it is this agent's own, the block go to disk
    /// in one flush before the signature is anywhere else (R18, R46). `None` when the guard refuses: the round passes
    /// without a proposal, and nothing conflicting was signed.
    async fn sign(
        &self,
        generation: Generation,
        proposal: Proposal,
        kept: Option<Arc<Block>>,
    ) -> Result<Option<Signed<Proposal>>, AgreementError> {
        let Some(message) = proposal.to_domain(generation) else { return Ok(None) };
        let height = message.height;
        // Who does not know yet where the others are proposes in a later round: whoever waits here, answers nobody meanwhile.
        if self.tools.voice.verdict(height) != Verdict::Speak {
            return Ok(None);
        }
        let (guard, store) = (Arc::clone(&self.tools.guard), self.tools.store.clone());
        let voice = self.tools.voice.clone();
        let signing = blocking(move || {
            if let Some(block) = kept {
                store.keep_own_proposal(message.round, &block)?;
            }
            match guard.sign_proposal(&message, Recorded::First) {
                Ok(signature) => {
                    // A record that stood before took nothing along.
                    store.flush()?;
                    Ok(Some(signature))
                }
                Err(GuardError::Store(error)) => Err(error),
                Err(refusal) => {
                    // As the signer of votes does: the engine may not know what this key is bound to.
                    let bound = guard.has_precommitted(generation, height)?;
                    if bound {
                        voice.mute_through(height);
                    }
                    tracing::error!(%height, whole_height = bound, %refusal, "not proposed");
                    Ok(None)
                }
            }
        });
        let Some(signature) = signing.await? else { return Ok(None) };
        match self.tools.verifier.proposal(proposal, signature) {
            Ok(signed) => Ok(Some(signed)),
            Err(error) => {
                tracing::error!(%height, %error, "asked to propose out of turn");
                Ok(None)
            }
        }
    }

    /// Builds a block on the tip.
    async fn build(&self, term: &Term, with_transactions: bool) -> Arc<Block> {
        let parent = term.parent.clone();
        let (origin, forced_through) = {
            let mirror = self.tools.mirror.read();
            let newer = self.newer_origin(&mirror, term.earliest_origin.number);
            let origin = newer.unwrap_or(term.earliest_origin);
            (origin, self.forced_through(&mirror, &parent, origin.number))
        };
        let (generation, epoch) = (term.generation, term.epoch);
        let (parent_hash, height) = (term.parent_hash, term.height);
        let proposer = self.tools.address;
        let (source, mirror) = (Arc::clone(&self.tools.source), self.tools.mirror.clone());
        let limit = payload::max_body_bytes(&self.tools.params);
        let (faults, now) = (self.tools.faults.clone(), self.now());
        blocking(move || {
            let transactions = if with_transactions {
                source.collect(limit, &|rollup| {
                    mirror.read().is_open(rollup, origin.number) && !faults.censors(rollup)
                })
            } else {
                Vec::new()
            };
            let header = BlockHeader {
                generation,
                height,
                epoch,
                proposer,
                timestamp: now.max(parent.timestamp).max(origin.timestamp.to_millis()),
                parent_hash,
                l1_origin_number: origin.number,
                l1_origin_hash: origin.hash,
                forced_through,
                tx_count: u32::try_from(transactions.len()).unwrap_or(u32::MAX),
                tx_root: tx_root(&transactions),
            };
            Arc::new(Block { header, transactions })
        })
        .await
    }

    /// The L1 block that a child of `parent` should name, if it is a newer one (R16).
    fn newer_origin(&self, mirror: &Mirror, than: u64) -> Option<L1Block> {
        let half_an_l1_block = self.tools.params.l1_block_seconds.saturating_mul(500);
        let settling = Duration::from_millis(half_an_l1_block);
        self.origins.pick(Instant::now(), settling).filter(|block| {
            block.number > than
                && mirror.blocks.get(&block.number).is_some_and(|seen| seen.hash == block.hash)
        })
    }

    /// How far a child of `parent` consumes the forced queue: as far as it may (R17).
    fn forced_through(&self, mirror: &Mirror, parent: &BlockHeader, origin: u64) -> u64 {
        let range = mirror.forced.range(&self.tools.params, parent.forced_through, origin);
        range.map_or(parent.forced_through, |range| {
            match self.tools.faults.leaves_forced_behind() {
                true => *range.start(),
                false => (*range.end()).max(*range.start()),
            }
        })
    }

    /// Whether the next block could consume an entry of the forced queue.
    pub(super) fn has_forced(&self) -> bool {
        let mirror = self.tools.mirror.read();
        let parent = &self.tip.0;
        let origin = self.newer_origin(&mirror, parent.l1_origin_number);
        let origin = origin.map_or(parent.l1_origin_number, |block| block.number);
        self.forced_through(&mirror, parent, origin) > parent.forced_through
    }

    /// Sends a block again, for a proposal of this agent's or for another's that it has seen.
    pub(super) async fn restream(
        &mut self,
        height: Height,
        hash: B256,
        round: Round,
        pol_round: Round,
        by: Signer,
    ) -> Result<(), AgreementError> {
        let (Some(term), Some(number)) = (&self.term, round.as_u32()) else { return Ok(()) };
        let Some(block) = self.candidates.block(height, hash) else {
            tracing::warn!(%height, %hash, "asked to send a block that is not held");
            return Ok(());
        };
        let held = self.candidates.signed(height, by, number);
        let signed = match held.filter(|signed| signed.message().hash() == hash).cloned() {
            Some(signed) if signed.message().pol_round() == pol_round => Some(signed),
            _ => {
                let value = HeaderValue::new(block.header.clone());
                let proposal = RotaContext.new_proposal(height, round, value, pol_round, by);
                if by.0 == self.tools.address.0.0 {
                    self.sign(term.generation, proposal, None).await?
                } else {
                    let seen = self.tools.witness.signed(height, by, domain::Round::new(number));
                    seen.and_then(|(_, signature)| {
                        self.tools.verifier.proposal(proposal, signature).ok()
                    })
                }
            }
        };
        match signed {
            Some(signed) => self.stream(&signed, &block).await,
            None => tracing::debug!(%height, %round, %hash, "no signed proposal to send it under"),
        }
        Ok(())
    }

    /// Sends a block in parts to everybody.
    async fn stream(&mut self, signed: &Signed<Proposal>, block: &Block) {
        let proposal = signed.message();
        self.streams_sent = self.streams_sent.wrapping_add(1);
        let id = stream_id(proposal.hash(), proposal.round(), self.streams_sent);
        let body = body::encode(&block.transactions);
        for message in cut(&id, proposal.clone(), signed.signature(), &body) {
            if self.tools.network.send(NetworkMsg::PublishProposalPart(message)).await.is_err() {
                return;
            }
        }
    }
}
