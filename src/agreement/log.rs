//! The engine's log, in the store. The engine writes down what it hears and signs, and has the log flushed before each
//! message that it publishes, before it starts a round and before it decides.
//!
//! Here an entry waits in memory until that flush, and then goes to disk in one transaction together with the guard's
//! records and the blocks that rode since the last one (see [`Store::ride`]): one flush of the disk for all that a message
//! must not leave without. The engine's own log, a file beside the store, cost a flush more for each message, one
//! for each flush that had nothing to write, and one to begin each height.

use super::codec::BorshCodec;
use super::context::RotaContext;
use crate::blocking::blocking;
use crate::domain::{Generation, Height};
use crate::storage::{Store, StoreError};
use async_trait::async_trait;
use malachitebft_core_consensus::Input;
use malachitebft_engine::wal::{Msg, WalRef, decode_entry, encode_entry};
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the engine flushes the log before it publishes what is signed now. It does not while it replays the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Flushing(Arc<AtomicBool>);

impl Flushing {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, on: bool) {
        self.0.store(on, Ordering::SeqCst);
    }
}

/// Takes the place of the engine's own log.
pub(super) struct EngineLog {
    store: Store,
    generation: Generation,
    flushing: Flushing,
}

/// Where the log is.
#[derive(Debug, Default)]
pub(super) struct Page {
    height: Option<Height>,
    /// Number of the first entry in `fresh`.
    next: u64,
    /// Entries that are not on disk yet.
    fresh: Vec<Vec<u8>>,
}

impl EngineLog {
    /// Starts the log of a generation.
    ///
    /// # Errors
    ///
    /// The actor system's.
    pub(super) async fn spawn(
        store: Store,
        generation: Generation,
        flushing: Flushing,
    ) -> Result<WalRef<RotaContext>, SpawnErr> {
        flushing.set(false);
        let log = Self { store, generation, flushing };
        Actor::spawn(None, log, ()).await.map(|(log, _)| log)
    }

    /// Turns to a height; what was noted of it before the process ended comes back to be replayed.
    async fn begin(
        &self,
        page: &mut Page,
        height: Height,
    ) -> Result<Vec<std::io::Result<Input<RotaContext>>>, StoreError> {
        if page.height == Some(height) {
            return Ok(Vec::new());
        }
        let (store, generation) = (self.store.clone(), self.generation);
        let entries = blocking(move || store.begin_engine_log(generation, height)).await?;
        self.flushing.set(entries.is_empty());
        let next = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        *page = Page { height: Some(height), next, fresh: Vec::new() };
        Ok(entries.iter().map(|entry| decode_entry(&BorshCodec, entry.as_slice())).collect())
    }

    async fn reset(&self, page: &mut Page, height: Height) -> Result<(), StoreError> {
        let store = self.store.clone();
        blocking(move || store.clear_engine_log()).await?;
        *page = Page { height: Some(height), ..Page::default() };
        Ok(())
    }

    fn append(
        &self,
        page: &mut Page,
        height: Height,
        entry: Input<RotaContext>,
    ) -> std::io::Result<()> {
        // The engine appends nothing while it replays.
        self.flushing.set(true);
        if page.height != Some(height) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        encode_entry(entry, &BorshCodec, &mut bytes)?;
        page.fresh.push(bytes);
        Ok(())
    }

    async fn flush(&self, page: &mut Page) -> Result<(), StoreError> {
        let Some(height) = page.height else { return Ok(()) };
        let (store, generation, first) = (self.store.clone(), self.generation, page.next);
        let fresh = page.fresh.clone();
        blocking(move || store.append_engine_log(generation, height, first, &fresh)).await?;
        let written = u64::try_from(page.fresh.len()).unwrap_or(u64::MAX);
        page.next = page.next.saturating_add(written);
        page.fresh.clear();
        Ok(())
    }
}

#[async_trait]
impl Actor for EngineLog {
    type Msg = Msg<RotaContext>;
    type State = Page;
    type Arguments = ();

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(Page::default())
    }

    /// A reply that nobody waits for any more is no error: the engine is ending.
    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        page: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::StartedHeight(height, reply) => {
                let _ = reply.send(self.begin(page, height).await.map_err(Into::into));
            }
            Msg::Reset(height, reply) => {
                let _ = reply.send(self.reset(page, height).await.map_err(Into::into));
            }
            Msg::Append(height, entry, reply) => {
                let _ = reply.send(self.append(page, height, entry).map_err(Into::into));
            }
            Msg::Flush(reply) => {
                let _ = reply.send(self.flush(page).await.map_err(Into::into));
            }
            Msg::Dump => tracing::debug!(?page, "the engine's log"),
        }
        Ok(())
    }
}
