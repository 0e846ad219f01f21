//! Blocks that may be decided: what is known of each, and whether this agent may vote for it.

use super::AgreementError;
use super::context::{HeaderValue, RotaContext};
use super::heights::Term;
use super::source::BlockSource;
use super::streams::Arrived;
use super::validity::{Invalid, NotYet, judge_body, judge_commitment, judge_header, judge_view};
use crate::domain::{Block, Height, Millis, Signer};
use crate::l1::MirrorHandle;
use crate::storage::{IncludedTransaction, Store};
use alloy::primitives::B256;
use malachitebft_core_consensus::ProposedValue;
use malachitebft_core_types::{Round, Validity};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Candidates that are held for one height; a correct height has one a round.
const A_HEIGHT: usize = 64;

/// How far a block may be judged.
#[derive(Clone, Debug)]
enum Standing {
    /// Arrived before its height, or not to be judged yet (R16).
    Open,
    /// Fit to be voted for; on disk. Never goes back.
    Valid(Arc<Vec<IncludedTransaction>>),
}

/// A block and the proposal that it arrived for last.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) block: Arc<Block>,
    round: Round,
    pol_round: Round,
    proposer: Signer,
    standing: Standing,
    /// Whether the engine was told.
    announced: bool,
}

impl Candidate {
    fn proposed(&self, validity: Validity) -> ProposedValue<RotaContext> {
        ProposedValue {
            height: self.block.header.height,
            round: self.round,
            valid_round: self.pol_round,
            proposer: self.proposer,
            value: HeaderValue::new(self.block.header.clone()),
            validity,
        }
    }
}

/// What came of judging a block.
enum Verdict {
    Valid(Arc<Vec<IncludedTransaction>>),
    NotYet(NotYet),
    Invalid(Invalid),
}

/// The candidates of the running height and of the ones after it.
pub(super) struct Candidates {
    store: Store,
    mirror: MirrorHandle,
    source: Arc<dyn BlockSource>,
    held: BTreeMap<(Height, B256), Candidate>,
}

impl Candidates {
    pub(super) fn new(store: Store, mirror: MirrorHandle, source: Arc<dyn BlockSource>) -> Self {
        Self { store, mirror, source, held: BTreeMap::new() }
    }

    /// Drops what is decided, and takes up again what an earlier run of this agent has found valid at `height`.
    pub(super) async fn begin(&mut self, height: Height) -> Result<(), AgreementError> {
        self.held = self.held.split_off(&(height, B256::ZERO));
        let store = self.store.clone();
        let kept = blocking(move || store.undecided_at(height)).await?;
        for (hash, block) in kept {
            if self.held.contains_key(&(height, hash)) {
                continue;
            }
            let block = Arc::new(block);
            let params = self.mirror.read().params.clone();
            match judge_body(&params, &block, self.source.as_ref()).await {
                Ok(included) => {
                    let proposer = Signer(block.header.proposer.0.0);
                    let candidate = Candidate {
                        block,
                        round: Round::ZERO,
                        pol_round: Round::Nil,
                        proposer,
                        standing: Standing::Valid(Arc::new(included)),
                        announced: false,
                    };
                    self.held.insert((height, hash), candidate);
                }
                Err(error) => tracing::error!(%height, %hash, %error, "kept block is invalid"),
            }
        }
        Ok(())
    }

    /// A candidate, if it is held.
    pub(super) fn get(&self, height: Height, hash: B256) -> Option<&Candidate> {
        self.held.get(&(height, hash))
    }

    /// What the index needs of a valid candidate's transactions.
    pub(super) fn included(
        &self,
        height: Height,
        hash: B256,
    ) -> Option<(Arc<Block>, Arc<Vec<IncludedTransaction>>)> {
        let candidate = self.held.get(&(height, hash))?;
        match &candidate.standing {
            Standing::Valid(included) => Some((Arc::clone(&candidate.block), Arc::clone(included))),
            Standing::Open => None,
        }
    }

    /// Holds a block of this agent's own, which is on disk already.
    pub(super) fn hold_own(
        &mut self,
        round: Round,
        hash: B256,
        block: Arc<Block>,
        included: Vec<IncludedTransaction>,
    ) {
        let candidate = Candidate {
            round,
            pol_round: Round::Nil,
            proposer: Signer(block.header.proposer.0.0),
            standing: Standing::Valid(Arc::new(included)),
            announced: true,
            block,
        };
        self.held.insert((candidate.block.header.height, hash), candidate);
    }

    /// Takes a block that arrived in parts; returns what the engine is to be told at once. `term` is that of the running
    /// height: a block of a later one waits for it.
    pub(super) async fn arrived(
        &mut self,
        term: &Term,
        arrived: Arrived,
        now: Millis,
    ) -> Result<Option<ProposedValue<RotaContext>>, AgreementError> {
        let Arrived { round, pol_round, proposer, block } = arrived;
        let (height, hash) = (block.header.height, block.header.hash());
        if height < term.height {
            return Ok(None);
        }
        let block = Arc::new(block);
        if let Err(error) = judge_commitment(&block).await {
            tracing::warn!(%height, %hash, %error, "parts of no block");
            return Ok(None);
        }
        if let Some(held) = self.held.get_mut(&(height, hash)) {
            (held.round, held.pol_round, held.proposer) = (round, pol_round, proposer);
        } else {
            let from = (height, B256::ZERO);
            let to = (height, B256::repeat_byte(0xff));
            if self.held.range(from..=to).count() >= A_HEIGHT {
                tracing::warn!(%height, "too many candidates, one dropped");
                return Ok(None);
            }
            let candidate = Candidate {
                block,
                round,
                pol_round,
                proposer,
                standing: Standing::Open,
                announced: false,
            };
            self.held.insert((height, hash), candidate);
        }
        if height > term.height {
            return Ok(None);
        }
        self.announce(term, hash, now).await
    }

    /// What the engine is to be told when a round starts: what it was not told yet and may vote for by now.
    pub(super) async fn round_started(
        &mut self,
        term: &Term,
        now: Millis,
    ) -> Result<Vec<ProposedValue<RotaContext>>, AgreementError> {
        let from = (term.height, B256::ZERO);
        let to = (term.height, B256::repeat_byte(0xff));
        let untold: Vec<B256> = self
            .held
            .range(from..=to)
            .filter(|(_, candidate)| !candidate.announced)
            .map(|((_, hash), _)| *hash)
            .collect();
        let mut proposed = Vec::with_capacity(untold.len());
        for hash in untold {
            proposed.extend(self.announce(term, hash, now).await?);
        }
        Ok(proposed)
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
        let candidate = Candidate {
            round,
            pol_round: Round::Nil,
            proposer,
            standing: Standing::Valid(included),
            announced: true,
            block,
        };
        let proposed = candidate.proposed(Validity::Valid);
        self.held.insert((term.height, candidate.block.header.hash()), candidate);
        Ok(Some(proposed))
    }

    /// Judges a candidate unless it was found valid before, and says what the engine is to be told.
    async fn announce(
        &mut self,
        term: &Term,
        hash: B256,
        now: Millis,
    ) -> Result<Option<ProposedValue<RotaContext>>, AgreementError> {
        let key = (term.height, hash);
        let Some(candidate) = self.held.get(&key).cloned() else { return Ok(None) };
        let verdict = match &candidate.standing {
            Standing::Valid(included) => Verdict::Valid(Arc::clone(included)),
            Standing::Open => self.judge(term, &candidate, now).await,
        };
        match verdict {
            Verdict::Valid(included) => {
                if matches!(candidate.standing, Standing::Open) {
                    self.keep(&candidate.block).await?;
                }
                let proposed = candidate.proposed(Validity::Valid);
                let standing = Standing::Valid(included);
                self.held.insert(key, Candidate { standing, announced: true, ..candidate });
                Ok(Some(proposed))
            }
            Verdict::NotYet(reason) => {
                tracing::debug!(height = %term.height, %hash, %reason, "block is not valid yet");
                Ok(None)
            }
            Verdict::Invalid(reason) => {
                tracing::warn!(height = %term.height, %hash, %reason, "block is invalid");
                self.held.remove(&key);
                // Parts are unsigned: whoever claims a round must not make a true header invalid by it.
                let claimed = matches!(reason, Invalid::NotAProposer { .. });
                Ok((!claimed).then(|| candidate.proposed(Validity::Invalid)))
            }
        }
    }

    async fn judge(&self, term: &Term, candidate: &Candidate, now: Millis) -> Verdict {
        let block = &candidate.block;
        let round = candidate.round.as_u32().unwrap_or_default();
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

/// Runs what waits for the disk on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("work on blocks does not panic")
}
