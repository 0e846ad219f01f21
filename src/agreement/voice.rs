//! Who speaks asks here first, and what is heard is told here: [`super::silence`] with its surroundings.

use super::context::{RotaContext, Vote};
use super::heights::Heights;
use super::rumour::Rumours;
use super::silence::{Company, Heard, Silence, Silencer, Verdict};
use super::verify::RecoveringVerifier;
use crate::blocking::blocking;
use crate::crypto::Signature;
use crate::domain::{Generation, Height, Signer};
use crate::guard::Guard;
use crate::l1::MirrorHandle;
use crate::storage::{Ballot, BallotKind, Standing, Store, StoreError};
use alloy::primitives::Address;
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_core_types::{
    CommitCertificate, Context as _, NilOrVal, PolkaCertificate, Proposal as _, Round,
    RoundCertificate, SignedProposal, Validator as _, Vote as _, VoteType,
};
use malachitebft_engine::network::NetworkEvent;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often who has to wait asks again.
pub(super) const AGAIN: Duration = Duration::from_millis(50);

/// No more decided heights than these are listened to, however long a turn is: more than two thirds of a set that holds a
/// second machine's votes leave it out of all of them by no chance.
const MOST_HEIGHTS: u64 = 16;

/// What the rest of the agent is told of its silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quiet {
    /// Why nothing is signed, if so.
    pub silence: Option<Silence>,
    /// Messages of the own key that were met without a record, since the start.
    pub without_record: u64,
}

/// The voice of an agent, shared by all who speak and listen for it. Outlives its engines.
#[derive(Clone)]
pub(super) struct Voice(Arc<Inner>);

struct Inner {
    silencer: Mutex<Silencer>,
    ear: Mutex<Option<Ear>>,
    /// The height at which something was kept back last.
    kept_back: Mutex<Option<Height>>,
    rumours: Arc<Mutex<Rumours>>,
    mirror: MirrorHandle,
    guard: Arc<Guard>,
    store: Store,
    told: watch::Sender<Quiet>,
    /// Says everything, and does not listen: for what a test plants.
    careless: bool,
}

/// What one engine's messages are understood with.
#[derive(Clone)]
pub(super) struct Ear {
    pub(super) generation: Generation,
    pub(super) heights: Heights,
    pub(super) verifier: RecoveringVerifier,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Voice {
    /// The voice of an agent whose store is in doubt, or not.
    pub(super) fn new(
        doubt: Option<Silence>,
        mirror: MirrorHandle,
        guard: Arc<Guard>,
        store: Store,
        told: watch::Sender<Quiet>,
        careless: bool,
    ) -> Self {
        let listen_for = {
            let params = &mirror.read().params;
            (params.listening(), params.turn_length.min(MOST_HEIGHTS))
        };
        let silencer = Silencer::new(doubt, listen_for, Instant::now());
        let voice = Self(Arc::new(Inner {
            silencer: Mutex::new(silencer),
            ear: Mutex::default(),
            kept_back: Mutex::default(),
            rumours: Arc::default(),
            mirror,
            guard,
            store,
            told,
            careless,
        }));
        voice.tell(0);
        voice
    }

    /// An engine begins.
    pub(super) fn begin(&self, ear: Ear) {
        lock(&self.0.silencer).begin(ear.generation, Instant::now());
        *lock(&self.0.ear) = Some(ear);
        *lock(&self.0.kept_back) = None;
        lock(&self.0.rumours).begin();
    }

    /// What peers say that they have.
    pub(super) fn rumours(&self) -> Arc<Mutex<Rumours>> {
        Arc::clone(&self.0.rumours)
    }

    /// Whether peers have gone on and do not offer this height any more.
    pub(super) fn is_left_behind(&self, next: Height) -> bool {
        lock(&self.0.rumours).is_left_behind(next, Instant::now().into_std())
    }

    /// Lets the rest of the agent know.
    fn tell(&self, heard: u64) {
        let silence = lock(&self.0.silencer).silence();
        self.0.guard.set_silent(silence.is_some());
        self.0.told.send_modify(|quiet| {
            quiet.silence = silence;
            quiet.without_record = quiet.without_record.saturating_add(heard);
        });
    }

    /// The members of a height, with the names that the registry gives them.
    fn company(&self, height: Height) -> Option<Company> {
        let set = lock(&self.0.ear).as_ref()?.heights.set_of(height)?;
        let own = Signer(self.0.guard.address().0.0);
        let mirror = self.0.mirror.read();
        let mut company = Company::default();
        for member in set.members() {
            if *member.address() == own {
                company.own = member.voting_power();
                continue;
            }
            let endpoint = mirror.peers.get(&Address::new(member.address().0));
            let name = endpoint.and_then(|endpoint| name_of(&endpoint.agreement));
            company.others.push((name, member.voting_power()));
        }
        Some(company)
    }

    /// What L1 has settled.
    fn settled(&self) -> Height {
        self.0.mirror.read().tip.as_ref().map(|tip| tip.last_height).unwrap_or_default()
    }

    /// What to do with what is to be said at the running height.
    pub(super) fn verdict(&self, height: Height) -> Verdict {
        if self.0.careless {
            return Verdict::Speak;
        }
        let Some(company) = self.company(height) else { return Verdict::Mute };
        let (settled, now) = (self.settled(), Instant::now());
        let verdict = lock(&self.0.silencer).verdict(height, settled, &company, now);
        if verdict == Verdict::Mute {
            *lock(&self.0.kept_back) = Some(height);
        }
        verdict
    }

    /// Whether to speak at the running height, once that is known.
    pub(super) async fn speaks_at(&self, height: Height) -> bool {
        loop {
            match self.verdict(height) {
                Verdict::Speak => return true,
                Verdict::Mute => return false,
                Verdict::Wait => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// The last height that is decided here.
    pub(super) fn decided(&self) -> Height {
        self.0.store.decided_tip().ok().flatten().map_or(Height::default(), |(height, _)| height)
    }

    /// Says nothing any more up to and at this height.
    pub(super) fn mute_through(&self, height: Height) {
        lock(&self.0.silencer).mute_through(height);
    }

    /// Whether votes and proposals of others are of use. Who keeps silent takes up decided blocks with the certificates that
    /// peers have for them: those hold the votes of all, also the ones that are not sent here because another machine
    /// answers to this agent's name.
    pub(super) fn takes_part(&self) -> bool {
        lock(&self.0.silencer).silence().is_none()
    }

    /// Goes on listening at the running height. True once doubt is over while something was kept back at it: then the engine
    /// is to be started again, so that it says it.
    pub(super) fn listen(&self, height: Height) -> bool {
        if self.takes_part() {
            return false;
        }
        let Some(company) = self.company(height) else { return false };
        let (settled, now) = (self.settled(), Instant::now());
        let over = lock(&self.0.silencer).listen(height, settled, &company, now);
        if !over {
            return false;
        }
        tracing::warn!(%height, "nothing of this key was heard: signing from here on");
        self.keep(Standing::Trusted);
        self.tell(0);
        *lock(&self.0.kept_back) == Some(height)
    }

    fn keep(&self, standing: Standing) {
        if let Err(error) = self.0.store.keep_standing(self.0.guard.address(), standing) {
            tracing::error!(%error, "whether the store is trusted is not on disk");
        }
    }

    /// Takes note of what a peer says.
    pub(super) async fn hear(&self, event: &NetworkEvent<RotaContext>) {
        match event {
            NetworkEvent::PeerConnected(peer) => {
                lock(&self.0.silencer).connected(name(peer), Instant::now());
            }
            NetworkEvent::PeerDisconnected(peer) => {
                lock(&self.0.silencer).disconnected(&name(peer));
            }
            NetworkEvent::Status(peer, status) => {
                lock(&self.0.silencer).told(name(peer), status.tip_height);
            }
            NetworkEvent::Vote(_, vote) => {
                self.hear_votes(vec![(vote.message.clone(), vote.signature)]).await;
            }
            NetworkEvent::Proposal(_, proposal) => self.hear_proposal(proposal.clone()).await,
            NetworkEvent::PolkaCertificate(_, certificate) => {
                self.hear_votes(votes_of_polka(certificate)).await;
            }
            NetworkEvent::RoundCertificate(_, certificate) => {
                self.hear_votes(votes_of_round(certificate)).await;
            }
            _ => {}
        }
    }

    /// Takes note of who decided a block. The engine has checked the signatures.
    pub(super) async fn hear_decided(&self, certificate: &CommitCertificate<RotaContext>) {
        let value = NilOrVal::Val(certificate.value_id);
        let (height, round) = (certificate.height, certificate.round);
        let votes = certificate.commit_signatures.iter().map(|commit| {
            let vote = RotaContext.new_precommit(height, round, value, commit.address);
            (vote, commit.signature)
        });
        self.hear_votes(votes.collect()).await;
    }

    fn ear(&self) -> Option<Ear> {
        lock(&self.0.ear).clone()
    }

    async fn hear_votes(&self, votes: Vec<(Vote, Signature)>) {
        if self.0.careless {
            return;
        }
        let own = Signer(self.0.guard.address().0.0);
        for (vote, signature) in votes {
            if *vote.validator_address() != own {
                let silencer = &mut lock(&self.0.silencer);
                silencer.hear_others(vote.height(), Instant::now());
                continue;
            }
            let Some(ear) = self.ear() else { continue };
            let voice = self.clone();
            blocking(move || {
                let Some((vote_type, signed)) = vote.to_domain(ear.generation) else { return };
                let ballot = Ballot {
                    signer: voice.0.guard.address(),
                    kind: match vote_type {
                        crate::domain::VoteType::Prevote => BallotKind::Prevote,
                        crate::domain::VoteType::Precommit => BallotKind::Precommit,
                    },
                    generation: signed.generation,
                    height: signed.height,
                    round: signed.round,
                };
                let is_own =
                    || ear.verifier.checks_vote(&vote, &signature, voice.0.guard.address());
                voice.hear_itself(&ballot, signed.block_hash.0, is_own);
            })
            .await;
        }
    }

    async fn hear_proposal(&self, proposal: SignedProposal<RotaContext>) {
        if self.0.careless {
            return;
        }
        let own = Signer(self.0.guard.address().0.0);
        if *proposal.validator_address() != own {
            lock(&self.0.silencer).hear_others(proposal.height(), Instant::now());
            return;
        }
        let Some(ear) = self.ear() else { return };
        let voice = self.clone();
        blocking(move || {
            let Some(signed) = proposal.message.to_domain(ear.generation) else { return };
            let address = voice.0.guard.address();
            let ballot = Ballot {
                signer: address,
                kind: BallotKind::Proposal,
                generation: signed.generation,
                height: signed.height,
                round: signed.round,
            };
            let is_own =
                || ear.verifier.checks_proposal(&proposal.message, &proposal.signature, address);
            voice.hear_itself(&ballot, signed.block_hash.0, is_own);
        })
        .await;
    }

    /// A message under the own name. What is decided here already is no news: records of it may have been dropped since.
    fn hear_itself(&self, ballot: &Ballot, hash: [u8; 32], is_own: impl FnOnce() -> bool) {
        let decided = match self.0.store.decided_tip() {
            Ok(tip) => tip.map(|(height, _)| height),
            Err(_) => return,
        };
        if decided >= Some(ballot.height) {
            return;
        }
        match self.0.guard.has_signed(ballot, hash) {
            Ok(false) => {}
            // A store that fails ends the agent elsewhere.
            Ok(true) | Err(_) => return,
        }
        if !is_own() {
            return;
        }
        let heard = lock(&self.0.silencer).hear_itself(ballot.height, Instant::now());
        let (height, round, kind) = (ballot.height, ballot.round, ballot.kind);
        match heard {
            Heard::Expected => {
                tracing::debug!(%height, %round, ?kind, "own message without a record");
            }
            Heard::Older => {
                self.keep(Standing::Doubted);
                tracing::error!(
                    %height, %round, ?kind,
                    "this key signed what the store has no record of: the store is older, or another \
                     machine uses the key. Nothing is signed until that is over (OPERATIONS.md, \
                     a lost disk)"
                );
            }
            Heard::Elsewhere => {
                self.keep(Standing::Doubted);
                tracing::error!(
                    %height, %round, ?kind,
                    "another machine signs with this key. Nothing is signed until the next start: \
                     see to it that only one of the two is started again"
                );
            }
        }
        self.tell(1);
    }
}

/// Whether the records of a key in this store may not be all of them, and why (R46). `was_in_a_set` says whether L1 shows
/// the key in a leader set before now; it counts where the store was never used with the key. Notes what it says.
///
/// # Errors
///
/// [`StoreError`].
pub fn doubt_of(
    store: &Store,
    signer: Address,
    was_in_a_set: bool,
) -> Result<Option<Silence>, StoreError> {
    let doubt = match store.key_standing(signer)? {
        None => was_in_a_set.then_some(Silence::New),
        Some((Standing::Trusted, true)) => None,
        Some((Standing::Trusted, false)) => Some(Silence::Moved),
        Some((Standing::Doubted, _)) => Some(Silence::Unsure),
        Some((Standing::HandedOver, _)) => Some(Silence::HandedOver),
    };
    let standing = if doubt.is_some() { Standing::Doubted } else { Standing::Trusted };
    store.keep_standing(signer, standing)?;
    Ok(doubt)
}

/// The name at the end of an address.
fn name_of(address: &str) -> Option<PeerId> {
    address.rsplit_once("/p2p/")?.1.parse().ok()
}

const fn name(peer: &PeerId) -> PeerId {
    *peer
}

fn votes_of_polka(certificate: &PolkaCertificate<RotaContext>) -> Vec<(Vote, Signature)> {
    let value = NilOrVal::Val(certificate.value_id);
    let (height, round) = (certificate.height, certificate.round);
    let votes = certificate.polka_signatures.iter();
    let vote = |by| RotaContext.new_prevote(height, round, value, by);
    votes.map(|signature| (vote(signature.address), signature.signature)).collect()
}

fn votes_of_round(certificate: &RoundCertificate<RotaContext>) -> Vec<(Vote, Signature)> {
    let (height, round): (Height, Round) = (certificate.height, certificate.round);
    let votes = certificate.round_signatures.iter().map(|signature| {
        let (value, by) = (signature.value_id, signature.address);
        let vote = match signature.vote_type {
            VoteType::Prevote => RotaContext.new_prevote(height, round, value, by),
            VoteType::Precommit => RotaContext.new_precommit(height, round, value, by),
        };
        (vote, signature.signature)
    });
    votes.collect()
}
