//! Posting: whoever's turn it is brings certified batches to L1 (R28), in order, several on their way at once.
//!
//! [`opens_at`] says when this agent may; [`Pipeline`] says what to send; the task in [`run`] does it. Nothing of this is
//! kept on disk: after a restart or a reorg all of it follows from the settled tip, the decided blocks and the attestations
//! in the store. While L1 does not answer, batches wait; when it is back they are posted in the same order.

mod pipeline;
mod schedule;
#[cfg(test)]
mod tests;

pub use pipeline::{Action, Flight, Look, MAX_FLIGHTS, Pipeline, Span};
pub use schedule::{may_post, opens_at};

use crate::attest::{LedgerHandle, payload_for};
use crate::blocking::blocking;
use crate::domain::{Deployment, Epoch, Generation, Height, L1Block, LeaderSet, Params};
use crate::l1::{Account, Certified, L1Error, MirrorHandle, Order, fitting, settle_order};
use crate::storage::{Store, StoreError};
use alloy::primitives::{Address, B256, Bytes, U256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Batches that are looked at together; more wait until these have settled.
const MAX_READY: usize = 48;
/// The shortest and the longest pause between two looks.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// Gas of a transaction that does nothing.
const CANCEL_GAS: u64 = 21_000;

/// Why posting pauses.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The posting task of one agent.
pub struct Poster {
    account: Account,
    /// The member that this account posts for.
    signer: Address,
    deployment: Deployment,
    mirror: MirrorHandle,
    store: Store,
    ledger: LedgerHandle,
    pipeline: Pipeline,
    /// The generation of what is on its way.
    generation: Generation,
    payloads: BTreeMap<(Height, B256), Bytes>,
    started: Instant,
}

impl Poster {
    /// Posts from `account` for the member with this signer: the account is the signer's own, or the poster address that
    /// the registry knows for it.
    pub fn new(
        account: Account,
        signer: Address,
        deployment: Deployment,
        mirror: MirrorHandle,
        store: Store,
        ledger: LedgerHandle,
    ) -> Self {
        Self {
            account,
            signer,
            deployment,
            mirror,
            store,
            ledger,
            pipeline: Pipeline::default(),
            generation: Generation::new(0),
            payloads: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    /// Does what there is to do now.
    async fn step(&mut self) -> Result<(), PostError> {
        // What was kept since before the start may be behind L1: a batch on an old tip reverts, and is paid for.
        if !self.mirror.read().is_ready() {
            return Ok(());
        }
        let Some((params, head, settled)) = self.view() else { return Ok(()) };
        let generation = self.mirror.read().generation();
        if self.generation != generation {
            self.generation = generation;
            self.pipeline.void();
        }
        let ready = self.ready(&params, head).await?;
        let now = self.started.elapsed();
        let l1_block = Duration::from_secs(params.l1_block_seconds);
        if ready.is_empty() && self.pipeline.live(0).next().is_none() {
            return Ok(());
        }
        let own = self.account.address();
        let nonce = self.account.client().nonce_at(own, head.hash).await?;
        let mut lost = Vec::new();
        for flight in self.pipeline.live(nonce) {
            if flight.should_be_known(now, l1_block)
                && !self.account.client().knows(flight.sent.hash).await?
            {
                lost.push(flight.sent.nonce);
            }
        }

        let actions = {
            let group = |first: Height| {
                let from = ready.iter().position(|batch| batch.header.first_height == first)?;
                let batches = ready.get(from..)?;
                let last = batches.get(fitting(batches).checked_sub(1)?)?;
                Some(Span { first, last: last.header.last_height })
            };
            let look = Look { now, l1_block, settled, nonce, lost: &lost, group: &group };
            self.pipeline.plan(&look)
        };
        for action in actions {
            self.act(action, &ready, settled, nonce).await?;
        }
        Ok(())
    }

    async fn act(
        &mut self,
        action: Action,
        ready: &[Certified],
        settled: Height,
        included: u64,
    ) -> Result<(), PostError> {
        let now = self.started.elapsed();
        let order_of = |span: Span| {
            let batches: Vec<Certified> = ready
                .iter()
                .skip_while(|batch| batch.header.first_height < span.first)
                .take_while(|batch| batch.header.last_height <= span.last)
                .cloned()
                .collect();
            settle_order(&self.deployment, &batches)
        };
        match action {
            Action::Send(span) => {
                let order = order_of(span);
                // Nothing is before it: L1 can say already whether it will refuse, and a refusal costs nothing yet.
                if span.first == settled.next() && self.pipeline.live(included).next().is_none() {
                    self.account.check(&order).await?;
                }
                let sent = self.account.send(&order).await?;
                info!(first = %span.first, last = %span.last, tx = %sent.hash, nonce = sent.nonce, "batch sent");
                self.pipeline.sent(Some(span), order, sent, now);
            }
            Action::Replace { nonce, span } => {
                self.replace(nonce, Some(span), order_of(span), now).await?;
            }
            Action::Raise { nonce } => {
                if let Some(flight) = self.pipeline.at(nonce) {
                    let (span, order) = (flight.span, flight.order.clone());
                    self.replace(nonce, span, order, now).await?;
                }
            }
            Action::Cancel { nonce } => {
                let order = Order {
                    to: Some(self.account.address()),
                    value_wei: U256::ZERO,
                    input: Bytes::new(),
                    gas: Some(CANCEL_GAS),
                };
                self.replace(nonce, None, order, now).await?;
            }
        }
        Ok(())
    }

    async fn replace(
        &mut self,
        nonce: u64,
        span: Option<Span>,
        order: Order,
        now: Duration,
    ) -> Result<(), PostError> {
        let Some(before) = self.pipeline.at(nonce).map(|flight| flight.sent) else { return Ok(()) };
        let fees = self.account.raised(before.fees).await?;
        if fees.max_fee_wei <= before.fees.max_fee_wei {
            warn!(nonce, tx = %before.hash, "fee is at its limit, the transaction waits");
            self.pipeline.wait(nonce, now);
            return Ok(());
        }
        match self.account.replace(&order, &before, fees).await {
            Ok(sent) => {
                debug!(nonce, tx = %sent.hash, "transaction replaced");
                self.pipeline.sent(span, order, sent, now);
                Ok(())
            }
            // Included in this moment; the next look sees it.
            Err(L1Error::Refused { reason, .. }) => {
                debug!(nonce, %reason, "transaction not replaced");
                self.pipeline.wait(nonce, now);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn view(&self) -> Option<(Params, L1Block, Height)> {
        let mirror = self.mirror.read();
        let settled = mirror.tip.as_ref()?.last_height;
        Some((mirror.params.clone(), mirror.head?, settled))
    }

    /// The certified batches from the settled tip on that this agent may post now, with their payloads.
    async fn ready(&mut self, params: &Params, head: L1Block) -> Result<Vec<Certified>, PostError> {
        let (tip, generation) = {
            let mirror = self.mirror.read();
            let Some(tip) = mirror.tip.clone() else { return Ok(Vec::new()) };
            (tip, mirror.generation())
        };
        // The mirror is read while the ledger is held, never the other way round: as in the attester.
        let set_of = |epoch: Epoch| -> Option<Arc<LeaderSet>> {
            self.mirror.read().set_for(generation, epoch)
        };
        let certificates = {
            let ledger = self.ledger.lock();
            // Batches of an earlier generation settle no more.
            let Some(ledger) = ledger.as_ref().filter(|one| one.generation() == generation) else {
                return Ok(Vec::new());
            };
            let newest = params.epoch_at(head.timestamp);
            let lagging = Epoch::new(newest.get().saturating_sub(params.max_epoch_lag));
            let mut oldest = tip.epoch.max(lagging);
            let mut next = tip.last_height.next();
            let mut found = Vec::new();
            for index in 0..ledger.open().len().min(MAX_READY) {
                let Some(certificate) = ledger.certificate(index, oldest, newest, set_of) else {
                    break;
                };
                let header = &certificate.header;
                let Some(set) = set_of(header.epoch) else { break };
                if header.first_height != next
                    || !may_post(params, &set, header, self.signer, head.timestamp)
                {
                    break;
                }
                oldest = header.epoch;
                next = header.last_height.next();
                found.push(certificate);
            }
            found
        };

        let first = certificates.first().map_or(Height::new(u64::MAX), |c| c.header.first_height);
        self.payloads.retain(|(height, _), _| *height >= first);
        let mut ready = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            let key = (certificate.header.first_height, certificate.header.payload_hash);
            let payload = match self.payloads.get(&key) {
                Some(payload) => payload.clone(),
                None => {
                    let (store, header) = (self.store.clone(), certificate.header.clone());
                    let built = blocking(move || payload_for(&store, &header)).await?;
                    let Some(payload) = built else {
                        warn!(first = %certificate.header.first_height, "certified batch is not of the decided blocks");
                        break;
                    };
                    self.payloads.insert(key, payload.clone());
                    payload
                }
            };
            ready.push(Certified {
                header: certificate.header,
                signers: certificate.signers,
                signatures: certificate.signatures,
                members: certificate.members,
                payload,
            });
        }
        Ok(ready)
    }

    /// Waits, for a bounded time, until what this account had sent before the agent started is included.
    async fn let_earlier_ones_land(&self, shutdown: &CancellationToken) {
        let block = Duration::from_secs(self.mirror.read().params.l1_block_seconds);
        let deadline = Instant::now().checked_add(block.saturating_mul(4));
        while deadline.is_some_and(|deadline| Instant::now() < deadline) {
            if matches!(self.account.waiting().await, Ok(0)) {
                return;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(MIN_PAUSE) => {}
            }
        }
    }
}

/// Posts until `shutdown`.
pub async fn run(mut poster: Poster, shutdown: CancellationToken) {
    poster.let_earlier_ones_land(&shutdown).await;
    let mut ledger = poster.ledger.subscribe();
    let mut mirror = poster.mirror.subscribe();
    let mut failures = 0_u32;
    loop {
        let pause = match poster.step().await {
            Ok(()) => {
                failures = 0;
                MIN_PAUSE
            }
            Err(error) => {
                let pause = MIN_PAUSE.saturating_mul(2 << failures.min(7)).min(MAX_PAUSE);
                warn!(%error, retry_in = ?pause, "not posted");
                failures = failures.saturating_add(1);
                pause
            }
        };
        // At least this long: several changes in a row are one look.
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let block = Duration::from_secs(poster.mirror.read().params.l1_block_seconds);
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ledger.changed() => {}
            _ = mirror.changed() => {}
            () = tokio::time::sleep(block) => {}
        }
    }
}
