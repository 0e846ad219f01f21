//! The engine's log, in the store. The engine writes down what it hears and signs, and has the log flushed before each
//! message that it publishes, before it starts a round and before it decides.
//!
//! Here an entry waits in memory until that flush, and then goes to disk in one transaction together with the guard's
//! records and the blocks that rode since the last one (see [`Store::ride`]): one flush of the disk for all that a message
//! must not leave without. The engine's own log, a file beside the store, cost a flush more for each message, one
//! for each flush that had nothing to write, and one to begin each height.
//!
//! What the guard signs is put down by the signer, whatever the engine then makes of it, so that no record is on disk without
//! its entry and no entry without its record: the two live and die together (R46). Twice the engine gives a signature out and
//! does not flush: while it replays the log, and from the round on in which it sends the prevotes that bind it ahead of its own
//! messages. There the signer flushes.
//!
//! A page belongs to one life of the engine. Once it is closed nothing of that life comes to the disk any more, however late.

use super::codec::BorshCodec;
use super::context::RotaContext;
use crate::blocking::blocking;
use crate::domain::{Generation, Height, Round};
use crate::guard::Guard;
use crate::storage::{BallotKind, Store, StoreError};
use async_trait::async_trait;
use malachitebft_core_consensus::{HIDDEN_LOCK_ROUND, Input};
use malachitebft_engine::wal::{Msg, WalRef, decode_entry, encode_entry};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why the log did not take an entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The entry has no encoding.
    #[error("entry of the engine's log: {0}")]
    Encoding(#[from] std::io::Error),
    /// The engine that writes has ended.
    #[error("the engine's log is closed")]
    Closed,
    /// What is signed belongs to another height than the log is at.
    #[error("the engine's log is not at height {height}")]
    OtherHeight {
        /// The height of what was to be signed.
        height: Height,
    },
}

/// What is being written, shared by the log and the signer. Calls block for as long as the disk takes.
#[derive(Clone)]
pub(super) struct Page {
    store: Store,
    guard: Arc<Guard>,
    generation: Generation,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    height: Option<Height>,
    /// Number of the first entry in `fresh`.
    next: u64,
    /// Entries that are not on disk yet.
    fresh: Vec<Vec<u8>>,
    /// Entries that the signer put down and the engine has yet to bring, as it does with what it hears.
    expected: Vec<Vec<u8>>,
    /// Whether the key voted at this height and the log of it is gone.
    lost: bool,
    /// Whether the engine flushes before it publishes what is signed now. It does not while it replays the log.
    flushing: bool,
    closed: bool,
}

impl Page {
    /// The page of one life of the engine.
    pub(super) fn new(store: Store, guard: Arc<Guard>, generation: Generation) -> Self {
        // Of an engine before this one, which has ended.
        guard.forget_unwritten();
        Self { store, guard, generation, lines: Arc::default() }
    }

    fn lines(&self) -> Result<MutexGuard<'_, Lines>, LogError> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.closed { Err(LogError::Closed) } else { Ok(lines) }
    }

    /// Turns to a height; what was noted of it before the process ended comes back to be replayed.
    pub(super) fn begin(&self, height: Height) -> Result<Vec<Vec<u8>>, LogError> {
        let mut lines = self.lines()?;
        if lines.height == Some(height) {
            return Ok(Vec::new());
        }
        let entries = self.store.begin_engine_log(self.generation, height)?;
        let signed = self.store.ballots_at(self.guard.address(), self.generation, height)?;
        let voted = signed.iter().any(|(ballot, _)| ballot.kind != BallotKind::Proposal);
        let lost = entries.is_empty() && voted;
        if lost {
            tracing::error!(%height, "votes of this height are on record and the engine's log is gone");
        }
        *lines = Lines {
            height: Some(height),
            next: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            flushing: entries.is_empty(),
            lost,
            ..Lines::default()
        };
        Ok(entries)
    }

    pub(super) fn reset(&self, height: Height) -> Result<(), LogError> {
        let mut lines = self.lines()?;
        self.store.clear_engine_log()?;
        *lines = Lines { height: Some(height), ..Lines::default() };
        Ok(())
    }

    /// Takes an entry of the engine.
    pub(super) fn append(&self, height: Height, entry: Input<RotaContext>) -> Result<(), LogError> {
        let mut lines = self.lines()?;
        // The engine appends nothing while it replays.
        lines.flushing = true;
        if lines.height != Some(height) {
            return Ok(());
        }
        let bytes = encode(entry)?;
        match lines.expected.iter().position(|own| *own == bytes) {
            Some(place) => {
                lines.expected.swap_remove(place);
            }
            None => lines.fresh.push(bytes),
        }
        Ok(())
    }

    /// Puts down what the guard has just signed. When this returns the signature may be given to the engine.
    ///
    /// # Errors
    ///
    /// [`LogError`]: the signature must not be given out.
    pub(super) fn put(
        &self,
        height: Height,
        round: Round,
        signed: Input<RotaContext>,
    ) -> Result<(), LogError> {
        let bytes = encode(signed)?;
        let mut lines = self.lines()?;
        if lines.height != Some(height) {
            return Err(LogError::OtherHeight { height });
        }
        lines.fresh.push(bytes.clone());
        lines.expected.push(bytes);
        if lines.flushing && i64::from(round.get()) < HIDDEN_LOCK_ROUND.as_i64() {
            return Ok(());
        }
        self.write(&mut lines)
    }

    /// Whether the log of a height is gone at which this key has voted: what bound it there is not known any more (R46).
    pub(super) fn is_lost_at(&self, height: Height) -> bool {
        self.lines().is_ok_and(|lines| lines.lost && lines.height == Some(height))
    }

    pub(super) fn flush(&self) -> Result<(), LogError> {
        let mut lines = self.lines()?;
        self.write(&mut lines)
    }

    fn write(&self, lines: &mut Lines) -> Result<(), LogError> {
        let Some(height) = lines.height else { return Ok(()) };
        let records = self.guard.unwritten();
        let (generation, first) = (self.generation, lines.next);
        self.store.append_engine_log(generation, height, first, &lines.fresh, &records)?;
        self.guard.written(&records);
        let written = u64::try_from(lines.fresh.len()).unwrap_or(u64::MAX);
        lines.next = lines.next.saturating_add(written);
        lines.fresh.clear();
        Ok(())
    }

    /// Ends this life of the engine: what is on its way to the disk arrives, what was not flushed is forgotten, and so are
    /// its signatures, which have not left.
    pub(super) fn close(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        *lines = Lines { closed: true, ..Lines::default() };
        self.guard.forget_unwritten();
    }
}

fn encode(entry: Input<RotaContext>) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    encode_entry(entry, &BorshCodec, &mut bytes)?;
    Ok(bytes)
}

/// Takes the place of the engine's own log.
pub(super) struct EngineLog;

impl EngineLog {
    /// Starts the log of an engine.
    ///
    /// # Errors
    ///
    /// The actor system's.
    pub(super) async fn spawn(page: Page) -> Result<WalRef<RotaContext>, SpawnErr> {
        Actor::spawn(None, Self, page).await.map(|(log, _)| log)
    }
}

#[async_trait]
impl Actor for EngineLog {
    type Msg = Msg<RotaContext>;
    type State = Page;
    type Arguments = Page;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        page: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(page)
    }

    /// A reply that nobody waits for any more is no error: the engine is ending.
    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        page: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let page = page.clone();
        match message {
            Msg::StartedHeight(height, reply) => {
                let entries = blocking(move || page.begin(height)).await;
                let decode = |entry: &Vec<u8>| decode_entry(&BorshCodec, entry.as_slice());
                let inputs = entries.map(|entries| entries.iter().map(decode).collect());
                let _ = reply.send(inputs.map_err(Into::into));
            }
            Msg::Reset(height, reply) => {
                let reset = blocking(move || page.reset(height)).await;
                let _ = reply.send(reset.map_err(Into::into));
            }
            Msg::Append(height, entry, reply) => {
                let _ = reply.send(page.append(height, entry).map_err(Into::into));
            }
            Msg::Flush(reply) => {
                let flushed = blocking(move || page.flush()).await;
                let _ = reply.send(flushed.map_err(Into::into));
            }
            Msg::Dump => tracing::debug!(lines = ?page.lines, "the engine's log"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{LogError, Page};
    use crate::agreement::between::BLANK;
    use crate::agreement::context::{BlockId, HeightSet, RotaContext, Vote};
    use crate::agreement::heights::{Heights, Term};
    use crate::agreement::signing::GuardedSigner;
    use crate::agreement::silence::Verdict;
    use crate::agreement::tests::compare_log_and_guard;
    use crate::agreement::verify::RecoveringVerifier;
    use crate::agreement::voice::{Ear, Voice};
    use crate::crypto::{Signature, SigningDomain};
    use crate::domain::{
        Epoch, Generation, Height, L1Block, LeaderSet, Member, Params, Seconds, Signer,
    };
    use crate::guard::Guard;
    use crate::l1::{Mirror, MirrorHandle};
    use crate::storage::Store;
    use crate::testing::{header, key};
    use alloy::primitives::{Address, B256};
    use malachitebft_core_consensus::Input;
    use malachitebft_core_types::{Context, NilOrVal, Round, SignedMessage, Timeout};
    use malachitebft_signing::Signer as _;
    use std::path::Path;
    use std::sync::Arc;
    use tokio::sync::watch;

    const GENERATION: Generation = Generation::new(0);
    const HEIGHT: Height = Height::new(5);

    /// The voice of a key that is alone in the set of the heights of these tests.
    fn voice(guard: &Arc<Guard>, store: &Store) -> Voice {
        let heights = Heights::default();
        for height in [HEIGHT, HEIGHT.next()] {
            let members = vec![Member { signer: key(1).address(), weight: 1 }];
            let set = LeaderSet::new(GENERATION, Epoch::new(0), B256::ZERO, members).unwrap();
            let parent = header(height.previous().unwrap().get(), B256::ZERO);
            let term = Term {
                generation: GENERATION,
                height,
                epoch: Epoch::new(0),
                parent_hash: parent.hash(),
                earliest_origin: L1Block {
                    number: parent.l1_origin_number,
                    hash: parent.l1_origin_hash,
                    timestamp: Seconds::new(0),
                },
                set: HeightSet::new(&set, vec![0]).unwrap(),
                parent,
            };
            heights.note(&term, None);
        }
        let mirror = MirrorHandle::new(Mirror::new(Params::for_tests()));
        let told = watch::Sender::default();
        let voice = Voice::new(None, mirror, Arc::clone(guard), store.clone(), told, false);
        let verifier = RecoveringVerifier::new(GENERATION, *guard.domain(), heights.clone());
        voice.begin(Ear { generation: GENERATION, heights, verifier });
        voice
    }

    fn is_muted(desk: &Desk, height: Height) -> bool {
        desk.voice.verdict(height) == Verdict::Mute
    }

    /// An engine's signer with its page, on a store of its own.
    struct Desk {
        store: Store,
        page: Page,
        signer: GuardedSigner,
        voice: Voice,
    }

    impl Desk {
        fn at(folder: &Path) -> Self {
            let store = Store::open(folder.join("rota.redb")).unwrap();
            let domain = SigningDomain::new(1, Address::repeat_byte(1));
            let guard = Arc::new(Guard::new(key(1), domain, store.clone()));
            let page = Page::new(store.clone(), Arc::clone(&guard), GENERATION);
            let voice = voice(&guard, &store);
            let signer = GuardedSigner::new(GENERATION, guard, page.clone(), voice.clone());
            Self { store, page, signer, voice }
        }

        async fn sign(&self, vote: &Vote) -> Signature {
            self.signer.sign_vote(vote.clone()).await.unwrap().signature
        }

        /// How many messages of its own are on the disk, with a record of each.
        fn written(&self, folder: &Path) -> usize {
            let copy = tempfile::tempdir().unwrap();
            let remains = copy.path().join("rota.redb");
            std::fs::copy(folder.join("rota.redb"), &remains).unwrap();
            let store = Store::open(remains).unwrap();
            compare_log_and_guard(&store, key(1).address())
        }
    }

    fn vote(round: u32, block: Option<u8>) -> Vote {
        let value = block.map_or(NilOrVal::Nil, |byte| NilOrVal::Val(BlockId([byte; 32])));
        RotaContext.new_prevote(HEIGHT, Round::new(round), value, Signer(key(1).address().0.0))
    }

    fn timeout() -> Input<RotaContext> {
        Input::TimeoutElapsed(Timeout::propose(Round::ZERO))
    }

    #[tokio::test]
    async fn what_was_signed_and_not_flushed_is_on_no_record_however_the_process_ends() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.page.append(HEIGHT, timeout()).unwrap();
        desk.sign(&vote(0, None)).await;
        // Others write meanwhile, and an orderly end writes whatever rides.
        desk.store.keep_own_proposal(crate::domain::Round::new(0), &block()).unwrap();
        assert_eq!(desk.written(folder.path()), 0);
        drop(desk);

        let desk = Desk::at(folder.path());
        assert!(desk.page.begin(HEIGHT).unwrap().is_empty());
        assert_ne!(desk.sign(&vote(0, Some(1))).await, BLANK, "the other vote has never left");
        desk.page.flush().unwrap();
        assert_eq!(desk.written(folder.path()), 1);
    }

    fn block() -> crate::domain::Block {
        let header = crate::testing::header(5, alloy::primitives::B256::ZERO);
        crate::domain::Block { header, transactions: Vec::new() }
    }

    #[tokio::test]
    async fn an_own_message_is_written_once_though_the_engine_brings_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.page.append(HEIGHT, timeout()).unwrap();
        let signature = desk.sign(&vote(0, None)).await;
        let message = SignedMessage::new(vote(0, None), signature);
        desk.page.append(HEIGHT, Input::Vote(message)).unwrap();
        desk.page.flush().unwrap();
        assert_eq!(desk.store.engine_log().len(), 2);
        assert_eq!(desk.written(folder.path()), 1);
    }

    #[tokio::test]
    async fn while_the_log_is_replayed_a_message_is_on_disk_before_the_engine_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.page.append(HEIGHT, timeout()).unwrap();
        desk.page.flush().unwrap();
        drop(desk);

        let desk = Desk::at(folder.path());
        assert_eq!(desk.page.begin(HEIGHT).unwrap().len(), 1);
        desk.sign(&vote(0, None)).await;
        assert_eq!(desk.written(folder.path()), 1);
        drop(desk);
        let desk = Desk::at(folder.path());
        assert_eq!(desk.page.begin(HEIGHT).unwrap().len(), 2);
    }

    /// From that round on the engine sends the prevotes that bind it, its own among them, before it flushes.
    #[tokio::test]
    async fn in_late_rounds_a_message_is_on_disk_before_the_engine_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.sign(&vote(9, None)).await;
        assert_eq!(desk.written(folder.path()), 0);
        desk.sign(&vote(10, None)).await;
        assert_eq!(desk.written(folder.path()), 2);
    }

    #[tokio::test]
    async fn nothing_of_an_ended_engine_is_written_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.sign(&vote(0, None)).await;
        desk.page.close();
        assert!(matches!(desk.page.flush(), Err(LogError::Closed)));
        assert!(matches!(desk.page.begin(HEIGHT.next()), Err(LogError::Closed)));
        assert!(desk.signer.sign_vote(vote(1, None)).await.is_err(), "it may sign no more");
        assert_eq!(desk.written(folder.path()), 0);
    }

    #[tokio::test]
    async fn a_height_whose_log_is_gone_though_it_was_voted_on_is_sat_out() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.sign(&vote(0, None)).await;
        desk.page.flush().unwrap();
        desk.store.clear_engine_log().unwrap();
        drop(desk);
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        assert_eq!(desk.sign(&vote(1, None)).await, BLANK);
        desk.page.begin(HEIGHT.next()).unwrap();
        assert!(is_muted(&desk, HEIGHT) && !is_muted(&desk, HEIGHT.next()));
    }

    #[tokio::test]
    async fn nothing_is_signed_for_another_height_than_the_logs() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT.next()).unwrap();
        assert!(desk.signer.sign_vote(vote(0, None)).await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_leaves_its_position_blank_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.sign(&vote(0, Some(1))).await;
        assert_eq!(desk.sign(&vote(0, Some(2))).await, BLANK);
        assert_ne!(desk.sign(&vote(1, Some(2))).await, BLANK);
        assert!(!is_muted(&desk, HEIGHT));
        desk.page.flush().unwrap();
        assert_eq!(desk.written(folder.path()), 2, "what was refused is in neither");
    }

    #[tokio::test]
    async fn a_refusal_at_a_height_where_a_block_was_precommitted_concerns_all_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let desk = Desk::at(folder.path());
        desk.page.begin(HEIGHT).unwrap();
        desk.sign(&vote(0, Some(1))).await;
        let by = Signer(key(1).address().0.0);
        let value = NilOrVal::Val(BlockId([1; 32]));
        desk.sign(&RotaContext.new_precommit(HEIGHT, Round::ZERO, value, by)).await;
        assert_eq!(desk.sign(&vote(0, None)).await, BLANK);
        assert_eq!(desk.sign(&vote(1, None)).await, BLANK);
        assert!(is_muted(&desk, HEIGHT) && !is_muted(&desk, HEIGHT.next()));
    }
}
