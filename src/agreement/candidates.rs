//! Blocks that may be decided: who proposed each, and whether this agent may vote for it.
//!
//! The engine is told a block, valid or not, for a proposal alone that the proposer of its round signed, and once for each.
//! It keeps two values a round: whoever could name one there without a signature could keep the honest one out.

use super::AgreementError;
use super::context::{HeaderValue, Proposal, RotaContext};
use super::heights::Term;
use super::source::BlockSource;
use super::streams::Arrived;
use super::validity::{Invalid, NotYet, judge_body, judge_commitment, judge_header, judge_view};
use super::verify::Signed;
use crate::blocking::blocking;
use crate::domain::{Block, Height, Millis, Signer};
use crate::l1::MirrorHandle;
use crate::storage::{IncludedTransaction, Store};
use alloy::primitives::B256;
use malachitebft_core_consensus::ProposedValue;
use malachitebft_core_types::{Proposal as _, Round, Validity};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Proposals of one signer that are held for one height. At more, those of its highest rounds stay.
const A_SIGNER: usize = 4;

/// Where the proposals of a height begin.
const LOWEST: Signer = Signer([0; 20]);

/// How far a block may be judged.
#[derive(Clone, Debug)]
enum Standing {
    /// Arrived before its height, or not to be judged yet (R16).
    Open,
    /// Fit to be voted for; on disk. Never goes back.
    Valid(Arc<Vec<IncludedTransaction>>),
}

/// A block, whoever proposes it.
#[derive(Clone, Debug)]
struct Held {
    block: Arc<Block>,
    standing: Standing,
}

/// A proposal of a block.
#[derive(Clone, Debug)]
struct Proposed {
    signed: Signed<Proposal>,
    /// Whether the engine was told.
    told: bool,
}

/// What came of judging a block.
enum Verdict {
    Valid(Arc<Vec<IncludedTransaction>>),
    NotYet(NotYet),
    Invalid(Invalid),
}

/// A valid block, and what the index needs of its transactions.
pub(super) type Included = (Arc<Block>, Arc<Vec<IncludedTransaction>>);

/// The candidates of the running height and of the ones after it.
pub(super) struct Candidates {
    store: Store,
    mirror: MirrorHandle,
    source: Arc<dyn BlockSource>,
    blocks: BTreeMap<(Height, B256), Held>,
    proposals: BTreeMap<(Height, Signer, u32), Proposed>,
}

impl Candidates {
    pub(super) fn new(store: Store, mirror: MirrorHandle, source: Arc<dyn BlockSource>) -> Self {
        Self { store, mirror, source, blocks: BTreeMap::new(), proposals: BTreeMap::new() }
    }

    /// Drops what is decided, what arrived early and is by nobody who proposes in its round, and takes up again what an
    /// earlier run of this agent has found valid at this height. Of the latter the engine's own log tells the engine.
    pub(super) async fn begin(&mut self, term: &Term) -> Result<(), AgreementError> {
        let height = term.height;
        self.blocks = self.blocks.split_off(&(height, B256::ZERO));
        self.proposals = self.proposals.split_off(&(height, LOWEST, 0));
        self.proposals
            .retain(|(at, _, _), proposed| *at != height || may_propose(term, &proposed.signed));
        self.forget_unproposed(height);

        let store = self.store.clone();
        let kept = blocking(move || store.undecided_at(height)).await?;
        for (hash, block) in kept {
            let block = Arc::new(block);
            let params = self.mirror.read().params.clone();
            match judge_body(&params, &block, self.source.as_ref()).await {
                Ok(included) => {
                    let standing = Standing::Valid(Arc::new(included));
                    self.blocks.insert((height, hash), Held { block, standing });
                }
                Err(error) => tracing::error!(%height, %hash, %error, "kept block is invalid"),
            }
        }
        Ok(())
    }

    /// A block, if it is held.
    pub(super) fn block(&self, height: Height, hash: B256) -> Option<Arc<Block>> {
        self.blocks.get(&(height, hash)).map(|held| Arc::clone(&held.block))
    }

    /// What a signer has proposed in a round, as it signed it.
    pub(super) fn signed(
        &self,
        height: Height,
        by: Signer,
        round: u32,
    ) -> Option<&Signed<Proposal>> {
        self.proposals.get(&(height, by, round)).map(|proposed| &proposed.signed)
    }

    /// What the index needs of a valid block's transactions.
    pub(super) fn included(&self, height: Height, hash: B256) -> Option<Included> {
        let held = self.blocks.get(&(height, hash))?;
        match &held.standing {
            Standing::Valid(included) => Some((Arc::clone(&held.block), Arc::clone(included))),
            Standing::Open => None,
        }
    }

    /// Holds a block of this agent's own, which is on disk already, with the proposal that the engine is told in another
    /// way.
    pub(super) fn hold_own(
        &mut self,
        signed: Signed<Proposal>,
        block: Arc<Block>,
        included: Vec<IncludedTransaction>,
    ) {
        let height = block.header.height;
        let key = (height, signed.message().hash());
        let standing = Standing::Valid(Arc::new(included));
        self.blocks.insert(key, Held { block, standing });
        self.note(Proposed { signed, told: true });
    }

    /// Takes a block that arrived in parts; returns what the engine is to be told at once. `term` is that of the running
    /// height: a block of a later one waits for it.
    pub(super) async fn arrived(
        &mut self,
        term: &Term,
        arrived: Arrived,
        now: Millis,
    ) -> Result<Option<ProposedValue<RotaContext>>, AgreementError> {
        let Arrived { signed, block } = arrived;
        let proposal = signed.message();
        let (height, hash) = (block.header.height, proposal.hash());
        if height < term.height || (height == term.height && !may_propose(term, &signed)) {
            return Ok(None);
        }
        let place = (height, *proposal.validator_address(), proposal.round_number());
        match self.proposals.get(&place) {
            // Two blocks of one signer in one round are its offence; this agent goes by the first.
            Some(first) if first.told || first.signed.message().hash() != hash => return Ok(None),
            Some(_) => {}
            None if !self.has_room(place) => return Ok(None),
            None => {}
        }
        if self.block(height, hash).is_none() {
            let block = Arc::new(block);
            if let Err(error) = judge_commitment(&block).await {
                tracing::debug!(%height, %hash, %error, "parts of no block");
                return Ok(None);
            }
            self.blocks.insert((height, hash), Held { block, standing: Standing::Open });
        }
        if !self.proposals.contains_key(&place) {
            self.note(Proposed { signed, told: false });
        }
        if height > term.height {
            return Ok(None);
        }
        self.tell(term, place, now).await
    }

    /// What the engine is to be told when a round starts: what it was not told yet and may vote for by now.
    pub(super) async fn round_started(
        &mut self,
        term: &Term,
        now: Millis,
    ) -> Result<Vec<ProposedValue<RotaContext>>, AgreementError> {
        let mut proposed = Vec::new();
        for place in self.untold(term.height) {
            proposed.extend(self.tell(term, place, now).await?);
        }
        Ok(proposed)
    }

    /// One more thing that the engine is to be told, if something that could not be judged before can be by now.
    pub(super) async fn judged_anew(
        &mut self,
        term: &Term,
        now: Millis,
    ) -> Result<Option<ProposedValue<RotaContext>>, AgreementError> {
        for place in self.untold(term.height) {
            let told = self.tell(term, place, now).await?;
            if told.is_some() {
                return Ok(told);
            }
        }
        Ok(None)
    }

    /// Whether something waits to be judged.
    pub(super) fn wait(&self, height: Height) -> bool {
        !self.untold(height).is_empty()
    }

    /// When the first thing that is ahead of the clock is so no more.
    pub(super) fn valid_from(&self, height: Height, now: Millis) -> Option<Millis> {
        let drift = self.mirror.read().params.drift().get();
        self.untold(height)
            .into_iter()
            .filter_map(|place| self.proposals.get(&place))
            .map(|proposed| {
                proposed.signed.message().header().timestamp.get().saturating_sub(drift)
            })
            .filter(|from| *from > now.get())
            .min()
            .map(Millis::new)
    }

    /// Takes a block that peers have decided (R14, R16: their votes stand for what only a clock or a view of L1 can
    /// say). `None` when it is not what a certificate of honest members could be about.
    pub(super) async fn synced(
        &mut self,
        term: &Term,
        block: Block,
        round: Round,
        proposer: Signer,
    ) -> Result<Option<ProposedValue<RotaContext>>, AgreementError> {
        let block = Arc::new(block);
        let params = self.mirror.read().params.clone();
        let judged = async {
            judge_header(term, &block.header, round.as_u32().unwrap_or_default())?;
            judge_commitment(&block).await?;
            judge_body(&params, &block, self.source.as_ref()).await
        };
        let included = match judged.await {
            Ok(included) => Arc::new(included),
            Err(error) => {
                tracing::warn!(height = %term.height, %error, "synced block refused");
                return Ok(None);
            }
        };
        self.keep(&block).await?;
        let value = HeaderValue::new(block.header.clone());
        let key = (term.height, value.hash());
        self.blocks.insert(key, Held { block, standing: Standing::Valid(included) });
        Ok(Some(ProposedValue {
            height: term.height,
            round,
            valid_round: Round::Nil,
            proposer,
            value,
            validity: Validity::Valid,
        }))
    }

    fn untold(&self, height: Height) -> Vec<(Height, Signer, u32)> {
        self.proposals
            .range((height, LOWEST, 0)..)
            .take_while(|((at, _, _), _)| *at == height)
            .filter(|(_, proposed)| !proposed.told)
            .map(|(place, _)| *place)
            .collect()
    }

    /// The rounds for which proposals of a signer are held.
    fn rounds_of(&self, height: Height, signer: Signer) -> Vec<u32> {
        let all = (height, signer, 0)..=(height, signer, u32::MAX);
        self.proposals.range(all).map(|((_, _, round), _)| *round).collect()
    }

    /// Whether a new proposal is taken in. A signer's lowest rounds make room for its higher ones and never come back, so
    /// that nothing is judged over and over.
    fn has_room(&self, (height, signer, round): (Height, Signer, u32)) -> bool {
        let rounds = self.rounds_of(height, signer);
        rounds.len() < A_SIGNER || rounds.first().is_some_and(|lowest| *lowest < round)
    }

    fn note(&mut self, proposed: Proposed) {
        let proposal = proposed.signed.message();
        let (height, signer) = (proposal.height(), *proposal.validator_address());
        self.proposals.insert((height, signer, proposal.round_number()), proposed);
        let rounds = self.rounds_of(height, signer);
        if rounds.len() > A_SIGNER
            && let Some(lowest) = rounds.first()
        {
            self.proposals.remove(&(height, signer, *lowest));
            self.forget_unproposed(height);
        }
    }

    /// Forgets blocks that were not found valid and that nobody proposes any more.
    fn forget_unproposed(&mut self, height: Height) {
        let proposals = &self.proposals;
        self.blocks.retain(|(at, hash), held| {
            *at != height
                || matches!(held.standing, Standing::Valid(_))
                || proposals
                    .range((height, LOWEST, 0)..)
                    .take_while(|((at, _, _), _)| *at == height)
                    .any(|(_, proposed)| proposed.signed.message().hash() == *hash)
        });
    }

    /// Judges a proposed block unless it was found valid before, and says what the engine is to be told.
    async fn tell(
        &mut self,
        term: &Term,
        place: (Height, Signer, u32),
        now: Millis,
    ) -> Result<Option<ProposedValue<RotaContext>>, AgreementError> {
        let Some(signed) = self.proposals.get(&place).map(|proposed| proposed.signed.clone())
        else {
            return Ok(None);
        };
        let key = (term.height, signed.message().hash());
        let Some(held) = self.blocks.get(&key).cloned() else { return Ok(None) };
        let verdict = match &held.standing {
            Standing::Valid(included) => Verdict::Valid(Arc::clone(included)),
            Standing::Open => self.judge(term, &held.block, place.2, now).await,
        };
        let (height, hash) = key;
        let validity = match verdict {
            Verdict::Valid(included) => {
                if matches!(held.standing, Standing::Open) {
                    self.keep(&held.block).await?;
                }
                let standing = Standing::Valid(included);
                self.blocks.insert(key, Held { standing, ..held });
                Validity::Valid
            }
            Verdict::NotYet(reason) => {
                tracing::debug!(%height, %hash, %reason, "block is not valid yet");
                return Ok(None);
            }
            Verdict::Invalid(reason) => {
                let signer = place.1;
                tracing::warn!(%height, %hash, %signer, %reason, "a proposed block is invalid");
                self.blocks.remove(&key);
                Validity::Invalid
            }
        };
        if let Some(proposed) = self.proposals.get_mut(&place) {
            proposed.told = true;
        }
        Ok(Some(proposed_value(&signed, validity)))
    }

    async fn judge(&self, term: &Term, block: &Arc<Block>, round: u32, now: Millis) -> Verdict {
        if let Err(error) = judge_header(term, &block.header, round) {
            return Verdict::Invalid(error);
        }
        let view = {
            let mirror = self.mirror.read();
            judge_view(&mirror, &term.parent, block, now)
        };
        match view {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Verdict::NotYet(reason),
            Err(error) => return Verdict::Invalid(error),
        }
        let params = self.mirror.read().params.clone();
        match judge_body(&params, block, self.source.as_ref()).await {
            Ok(included) => Verdict::Valid(Arc::new(included)),
            Err(error) => Verdict::Invalid(error),
        }
    }

    async fn keep(&self, block: &Arc<Block>) -> Result<(), AgreementError> {
        let (store, block) = (self.store.clone(), Arc::clone(block));
        blocking(move || store.keep_undecided(&block)).await.map_err(Into::into)
    }
}

/// Whether who signed a proposal of this height proposes in its round, and a block that it may (R14).
fn may_propose(term: &Term, signed: &Signed<Proposal>) -> bool {
    let proposal = signed.message();
    let round = proposal.round_number();
    let owner = Signer(proposal.header().proposer.0.0);
    term.set.proposes(proposal.validator_address(), round) && term.set.has_proposed(&owner, round)
}

fn proposed_value(signed: &Signed<Proposal>, validity: Validity) -> ProposedValue<RotaContext> {
    let proposal = signed.message();
    ProposedValue {
        height: proposal.height(),
        round: proposal.round(),
        valid_round: proposal.pol_round(),
        proposer: *proposal.validator_address(),
        value: proposal.value().clone(),
        validity,
    }
}
