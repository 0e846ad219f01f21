//! What the engine's actors do for consensus, effect by effect.

use super::Word;
use crate::agreement::AgreementError;
use crate::agreement::app::App;
use crate::agreement::between::BLANK;
use crate::agreement::context::{Part, RotaContext};
use crate::agreement::evidence::Witness;
use crate::agreement::log::{LogError, Page};
use crate::agreement::signing::GuardedSigner;
use crate::agreement::verify::RecoveringVerifier;
use crate::domain::{Height, Signer};
use alloy::primitives::B256;
use malachitebft_app_channel::AppMsg;
use malachitebft_app_channel::app::metrics::Metrics;
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_app_channel::app::types::streaming::StreamMessage;
use malachitebft_core_consensus::{
    ConsensusMsg, Effect, Input, LivenessMsg, MisbehaviorEvidence, Resumable as _, Resume,
};
use malachitebft_core_types::{
    CommitCertificate, HeightParams, LinearTimeouts, Round, Timeout, ValueOrigin, ValueResponse,
    VoteExtensions,
};
use malachitebft_engine::host::Next;
use malachitebft_signing::{Signer as _, Verifier as _, VerifierExt as _};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Timers fire on these steps.
const STEP: Duration = Duration::from_millis(50);

/// What the application is asked for, in order.
pub(super) enum Ask {
    Value(Height, Round),
    Restream {
        height: Height,
        round: Round,
        valid_round: Round,
        by: Signer,
        hash: B256,
    },
    Decided(CommitCertificate<RotaContext>, VoteExtensions<RotaContext>),
    Finalized(
        CommitCertificate<RotaContext>,
        VoteExtensions<RotaContext>,
        MisbehaviorEvidence<RotaContext>,
    ),
    Synced(ValueResponse<RotaContext>, Signer),
    Part(PeerId, StreamMessage<Part>),
}

/// What the effects of consensus reach.
pub(super) struct Engine {
    pub(super) name: PeerId,
    pub(super) address: Signer,
    pub(super) signer: GuardedSigner,
    pub(super) verifier: RecoveringVerifier,
    pub(super) witness: Witness,
    pub(super) page: Page,
    pub(super) metrics: Metrics,
    pub(super) timers: Vec<(Instant, Timeout)>,
    pub(super) timeouts: LinearTimeouts,
    /// When the running height is over at the earliest.
    pub(super) over_at: Option<Instant>,
    pub(super) recovering: bool,
    pub(super) is_member: bool,
    pub(super) inputs: VecDeque<Input<RotaContext>>,
    pub(super) asks: VecDeque<Ask>,
    pub(super) first: Option<oneshot::Receiver<(Height, HeightParams<RotaContext>)>>,
    pub(super) next: Option<oneshot::Receiver<Next<RotaContext>>>,
    pub(super) said: Vec<(Option<PeerId>, Word)>,
    pub(super) nudged: Arc<AtomicBool>,
    /// What peers say that they have decided.
    pub(super) tips: BTreeMap<PeerId, Height>,
    pub(super) given: BTreeMap<Height, ValueResponse<RotaContext>>,
    pub(super) status_at: Option<Instant>,
    pub(super) asked: usize,
    pub(super) failed: Option<AgreementError>,
}

pub(super) fn ended(_: LogError) -> AgreementError {
    AgreementError::EngineEnded
}

impl Engine {
    /// The height that the application starts now, if it does.
    pub(super) fn due_height(&mut self) -> Option<(Height, HeightParams<RotaContext>)> {
        if let Some(first) = &mut self.first
            && let Ok(start) = first.try_recv()
        {
            self.first = None;
            return Some(start);
        }
        let next = self.next.as_mut()?.try_recv().ok()?;
        self.next = None;
        match next {
            Next::Start(height, params) | Next::Restart(height, params) => Some((height, params)),
        }
    }

    pub(super) fn take_given(&mut self, height: Height) {
        self.given = self.given.split_off(&height);
        if let Some(response) = self.given.remove(&height) {
            self.inputs.push_back(Input::SyncValueResponse(response));
        }
    }

    pub(super) fn take_timers(&mut self) {
        let now = Instant::now();
        while let Some(place) = self
            .timers
            .iter()
            .enumerate()
            .filter(|(_, (at, _))| *at <= now)
            .min_by_key(|(place, (at, _))| (*at, *place))
            .map(|(place, _)| place)
        {
            let (_, timeout) = self.timers.remove(place);
            self.inputs.push_back(Input::TimeoutElapsed(timeout));
        }
    }

    /// A timer that was stopped or set anew is not heard of any more, though it may have run out already and wait its turn:
    /// the engine's own scheduler tells timers apart so, and else a height would begin with the end of a round of the last one.
    fn drop_elapsed(&mut self, stopped: impl Fn(&Timeout) -> bool) {
        self.inputs
            .retain(|input| !matches!(input, Input::TimeoutElapsed(timeout) if stopped(timeout)));
    }

    /// Has what must be on disk there, before anything leaves.
    fn flush(&mut self) -> Result<(), AgreementError> {
        if self.recovering || !self.is_member {
            return Ok(());
        }
        self.page.flush().map_err(ended)
    }

    pub(super) async fn act(
        &mut self,
        app: &mut App,
        effect: Effect<RotaContext>,
    ) -> Result<Resume<RotaContext>, String> {
        // Whatever failed first ends this engine: nothing leaves any more.
        if self.failed.is_some() {
            return Err("it has failed".to_owned());
        }
        match self.try_act(app, effect).await {
            Ok(resume) => Ok(resume),
            Err(error) => {
                let reason = error.to_string();
                self.failed = Some(error);
                Err(reason)
            }
        }
    }

    async fn try_act(
        &mut self,
        app: &mut App,
        effect: Effect<RotaContext>,
    ) -> Result<Resume<RotaContext>, AgreementError> {
        let resume = match effect {
            Effect::CancelAllTimeouts(r) => {
                self.timers.clear();
                self.drop_elapsed(|_| true);
                r.resume_with(())
            }
            Effect::CancelTimeout(timeout, r) => {
                self.timers.retain(|(_, running)| *running != timeout);
                self.drop_elapsed(|elapsed| *elapsed == timeout);
                r.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, r) => {
                self.timers.retain(|(_, running)| *running != timeout);
                self.drop_elapsed(|elapsed| *elapsed == timeout);
                let duration = self.timeouts.duration_for(timeout);
                let steps = duration.as_millis().div_ceil(STEP.as_millis());
                let steps = u32::try_from(steps).unwrap_or(u32::MAX);
                let at = Instant::now().checked_add(STEP.saturating_mul(steps));
                self.timers.extend(at.map(|at| (at, timeout)));
                r.resume_with(())
            }
            Effect::StartRound(height, round, proposer, role, r) => {
                self.flush()?;
                let (reply_value, mut values) = oneshot::channel();
                let started = AppMsg::StartedRound { height, round, proposer, role, reply_value };
                app.on(started).await?;
                for value in values.try_recv().unwrap_or_default() {
                    self.inputs.push_back(Input::ProposedValue(value, ValueOrigin::Consensus));
                }
                r.resume_with(())
            }
            Effect::SignProposal(proposal, r) => {
                let signed = self.signer.sign_proposal(proposal).await;
                r.resume_with(signed.map_err(|_| AgreementError::EngineEnded)?)
            }
            Effect::SignVote(vote, r) => {
                let signed = self.signer.sign_vote(vote).await;
                r.resume_with(signed.map_err(|_| AgreementError::EngineEnded)?)
            }
            Effect::VerifySignature(message, key, r) => {
                let signature = message.signature;
                let result = match message.message {
                    ConsensusMsg::Vote(vote) => {
                        self.verifier.verify_signed_vote(&vote, &signature, &key).await
                    }
                    ConsensusMsg::Proposal(proposal) => {
                        self.verifier.verify_signed_proposal(&proposal, &signature, &key).await
                    }
                };
                r.resume_with(result.is_ok_and(|result| result.is_valid()))
            }
            Effect::VerifyCommitCertificate(certificate, set, thresholds, r) => {
                let verifier = &self.verifier;
                let result = verifier
                    .verify_commit_certificate(&RotaContext, &certificate, &set, thresholds)
                    .await;
                r.resume_with(result)
            }
            Effect::VerifyExtendedCommitCertificate(certificate, set, thresholds, policy, r) => {
                let verifier = &self.verifier;
                let result = verifier
                    .verify_extended_commit_certificate(
                        &RotaContext,
                        &certificate,
                        &set,
                        thresholds,
                        policy,
                    )
                    .await;
                r.resume_with(result)
            }
            Effect::VerifyPolkaCertificate(certificate, set, thresholds, r) => {
                let verifier = &self.verifier;
                let result = verifier
                    .verify_polka_certificate(&RotaContext, &certificate, &set, thresholds)
                    .await;
                r.resume_with(result)
            }
            Effect::VerifyRoundCertificate(certificate, set, thresholds, r) => {
                let verifier = &self.verifier;
                let result = verifier
                    .verify_round_certificate(&RotaContext, &certificate, &set, thresholds)
                    .await;
                r.resume_with(result)
            }
            Effect::PublishConsensusMsg(message, r) => {
                self.flush()?;
                if *message.signature() != BLANK {
                    self.said.push((None, Word::Consensus(message)));
                }
                r.resume_with(())
            }
            Effect::PublishLivenessMsg(message, r) => {
                let is_blank =
                    matches!(&message, LivenessMsg::Vote(vote) if vote.signature == BLANK);
                if !is_blank {
                    self.said.push((None, Word::Liveness(message)));
                }
                r.resume_with(())
            }
            Effect::RepublishVote(vote, r) => {
                if vote.signature != BLANK {
                    self.said.push((None, Word::Liveness(LivenessMsg::Vote(vote))));
                }
                r.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, r) => {
                let message = LivenessMsg::SkipRoundCertificate(certificate);
                self.said.push((None, Word::Liveness(message)));
                r.resume_with(())
            }
            Effect::GetValue(height, round, _, r) => {
                self.asks.push_back(Ask::Value(height, round));
                r.resume_with(())
            }
            Effect::RestreamProposal(height, round, valid_round, by, value_id, r) => {
                let hash = value_id.hash();
                self.asks.push_back(Ask::Restream { height, round, valid_round, by, hash });
                r.resume_with(())
            }
            Effect::Decide(certificate, extensions, r) => {
                self.flush()?;
                self.asks.push_back(Ask::Decided(certificate, extensions));
                r.resume_with(())
            }
            Effect::Finalize(certificate, extensions, evidence, r) => {
                self.asks.push_back(Ask::Finalized(certificate, extensions, evidence));
                r.resume_with(())
            }
            Effect::WalAppend(height, entry, r) => {
                if !self.recovering && self.is_member {
                    self.page.append(height, entry).map_err(ended)?;
                }
                r.resume_with(())
            }
            Effect::CertVerifiedSyncValue(response, proposer, r) => {
                self.asks.push_back(Ask::Synced(response, proposer));
                r.resume_with(())
            }
            // Asked for again from another one.
            Effect::CertRejectedSyncValue(_, _, _, r) => r.resume_with(()),
            // Extensions are off at every height.
            Effect::ExtendVote(_, _, _, _, r) => r.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, r) => r.resume_with(Ok(())),
        };
        Ok(resume)
    }
}
