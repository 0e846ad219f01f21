//! Posting: whoever's turn it is brings certified batches to L1 (R28), in order, several on their way at once.
//!
//! [`opens_at`] says when this agent may; [`plan`] says what to send; the task in [`run`] does it, at the nonces that the
//! account has for it ([`crate::l1::flights`]). What to post follows after a restart or a reorg from the settled tip, the
//! decided blocks and the attestations in the store, and what is on its way from the account. While L1 does not answer,
//! batches wait; when it is back they are posted in the same order.

#[cfg(test)]
mod model_tests;
mod pipeline;
mod schedule;
#[cfg(test)]
mod tests;

pub use pipeline::{Action, Look, MAX_FLIGHTS, failures, plan};
pub use schedule::{may_post, opens_at, opens_to_all};

use crate::attest::{LedgerHandle, payload_for};
use crate::blocking::blocking;
use crate::domain::{Deployment, Epoch, Generation, Height, L1Block, LeaderSet, Params};
use crate::l1::flights::{Carries, Span};
use crate::l1::{Account, Certified, Desk, L1Error, MirrorHandle, fitting, settle_order};
use crate::storage::{Store, StoreError};
use alloy::primitives::{Address, B256, Bytes};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Batches that are looked at together; more wait until these have settled.
const MAX_READY: usize = 48;
/// The shortest and the longest pause between two looks.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(15);

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
    /// The generation of what is on its way.
    generation: Option<Generation>,
    payloads: BTreeMap<(Height, B256), Bytes>,
    /// What had settled at the last look: less than that was taken back by L1.
    settled: Option<Height>,
    /// The account's nonce at an L1 block, so that it is asked once.
    nonce_at: Option<(B256, u64)>,
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
            generation: None,
            payloads: BTreeMap::new(),
            settled: None,
            nonce_at: None,
        }
    }

    /// Does what there is to do now.
    async fn step(&mut self) -> Result<(), PostError> {
        // What was kept since before the start may be behind L1: a batch on an old tip reverts, and is paid for.
        if !self.mirror.read().is_ready() || self.account.is_silent() {
            return Ok(());
        }
        let Some((params, head, settled)) = self.view() else { return Ok(()) };
        let generation = self.mirror.read().generation();
        if self.generation.replace(generation).is_some_and(|before| before != generation) {
            self.account.flights().void_settlements();
        }
        let ready = self.ready(&params, head).await?;
        let account = self.account.clone();
        // What L1 takes back is on its way again, though nothing is left to send.
        let is_taken_back = self.settled.is_some_and(|before| settled < before);
        if ready.is_empty() && !is_taken_back && account.flights().waiting().next().is_none() {
            self.settled = Some(settled);
            return Ok(());
        }
        // Nobody else chooses a nonce between the look and what follows from it.
        let desk = account.desk().await?;
        let nonce = match self.nonce_at {
            Some((hash, nonce)) if hash == head.hash => nonce,
            _ => account.client().nonce_at(account.address(), head.hash).await?,
        };
        self.nonce_at = Some((head.hash, nonce));
        let is_behind = nonce < account.flights().included();
        if is_behind || is_taken_back {
            desk.look().await?;
        }
        self.settled = Some(settled);
        let (actions, failures) = {
            let group = |first: Height, end: Height| {
                let from = ready.iter().position(|batch| batch.header.first_height == first)?;
                let to = ready.iter().take_while(|batch| batch.header.last_height < end).count();
                let batches = ready.get(from..to)?;
                let last = batches.get(fitting(batches).checked_sub(1)?)?;
                Some(Span { first, last: last.header.last_height })
            };
            let l1_block = Duration::from_secs(params.l1_block_seconds);
            let look = Look { now: account.now(), l1_block, settled, nonce, group: &group };
            let flights = account.flights();
            // What was included after this L1 block and is not remembered may have settled what seems to be next.
            if (nonce..flights.included()).any(|nonce| flights.at(nonce).is_none()) {
                return Ok(());
            }
            let failures = failures(&flights, &look).map_or(0, |(count, _)| count);
            (plan(&flights, &look), failures)
        };
        account.note_failed_settlements(failures);
        for action in actions {
            // What follows counts on what comes before it.
            if !self.act(&desk, action, &ready, settled, nonce).await? {
                break;
            }
        }
        Ok(())
    }

    /// Does one thing; whether it was done.
    async fn act(
        &self,
        desk: &Desk<'_>,
        action: Action,
        ready: &[Certified],
        settled: Height,
        included: u64,
    ) -> Result<bool, PostError> {
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
                let is_alone = self.account.flights().live(included).next().is_none();
                if span.first == settled.next() && is_alone {
                    self.account.check(&order).await?;
                }
                let sent = desk.send(Carries::Settlement(span), &order, None).await?;
                info!(first = %span.first, last = %span.last, tx = %sent.hash, nonce = sent.nonce, "batch sent");
                Ok(true)
            }
            Action::Replace { nonce, span } => {
                let carries = Carries::Settlement(span);
                let sent = desk.replace(nonce, carries, &order_of(span), None).await?;
                if let Some(sent) = &sent {
                    info!(first = %span.first, last = %span.last, tx = %sent.hash, nonce, "batch sent in place of another transaction");
                }
                Ok(sent.is_some())
            }
            Action::Cancel { nonce } => {
                desk.fill(nonce).await?;
                Ok(true)
            }
        }
    }

    /// One look, and what was in its way: for who has a clock of their own.
    #[cfg(test)]
    pub(crate) async fn look(&mut self) -> Result<(), String> {
        self.step().await.map_err(|error| error.to_string())
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
            // When the batch before will have settled, at the earliest.
            let mut settled_at = tip.settled_at;
            let mut found = Vec::new();
            for index in 0..ledger.open().len().min(MAX_READY) {
                let Some(certificate) = ledger.certificate(index, oldest, newest, set_of) else {
                    break;
                };
                let header = &certificate.header;
                let Some(set) = set_of(header.epoch) else { break };
                if header.first_height != next
                    || !may_post(params, &set, header, settled_at, self.signer, head.timestamp)
                {
                    break;
                }
                oldest = header.epoch;
                next = header.last_height.next();
                settled_at = head.timestamp;
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
}

/// Posts until `shutdown`.
pub async fn run(mut poster: Poster, shutdown: CancellationToken) {
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
