//! Between pools: what clients gave this agent goes to those who will lead, what peers forward comes in.
//!
//! A client's transaction goes to the leader of this turn and of the next, once it is on disk. Whoever becomes one of the
//! two gets everything that waits, and what has waited long goes out again: a leader may have been full, or gone. The
//! agent that a client submitted to keeps the transaction; the copies of others are theirs to drop.
//!
//! The other members get it once, a little later. They recover its sender while they have nothing else to do, and not
//! between a proposal and their vote, when all of them do and everybody waits; and whoever takes over from a leader that
//! is gone has something to propose.

use crate::domain::{Height, RollupTransaction, SequencerId, SignedTransaction, TransactionError};
use crate::l1::MirrorHandle;
use crate::mempool::arrival::take_in;
use crate::mempool::{Origin, Pool, Refusal};
use crate::network::{Delivery, Link, LinkMessage, MAX_TRANSACTIONS};
use crate::rota;
use crate::storage::Store;
use alloy::primitives::Address;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Transactions that come in within this time travel in one message.
const GATHER: Duration = Duration::from_millis(3);

/// How long transactions gather for those who do not lead, for each of them: whatever the size of the set, an agent sends
/// them no more than a thousand messages a second.
const GATHER_A_MEMBER: Duration = Duration::from_millis(1);

/// How often what still waits since the last time is sent again.
const AGAIN: Duration = Duration::from_secs(4);

/// Raw bytes in one message, about: a message stays well below [`crate::network::MAX_MESSAGE_BYTES`].
const MESSAGE_BYTES: usize = 64 << 10;

/// Transactions looked at in one go, so that the pool's lock is short.
const PAGE: usize = 1_024;

/// Takes the transactions of this agent's clients to the leaders, and then to all members.
pub struct Forwarder {
    /// Where they wait.
    pub pool: Arc<Pool>,
    /// The way to them.
    pub link: Link,
    /// The decided chain, whose tip says whose turn it is.
    pub store: Store,
    /// The leader sets.
    pub mirror: MirrorHandle,
    /// This agent's signer: it needs nothing forwarded.
    pub own: Address,
}

/// How far the forwarder is.
#[derive(Debug)]
struct Progress {
    leaders: Vec<Address>,
    /// The last arrival that went to all of `leaders`.
    sent: u64,
    /// What `sent` was when things were last sent again.
    sent_before: u64,
    /// The members that do not lead.
    others: Vec<Address>,
    /// The last arrival that went to `others`.
    told: u64,
    /// When they may get more.
    tell_at: Instant,
}

impl Forwarder {
    /// Runs until `shutdown`. `decided` is marked changed with each decided block.
    pub async fn run(self, mut decided: watch::Receiver<Height>, shutdown: CancellationToken) {
        let mut accepted = self.pool.accepted();
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = Progress {
            leaders: Vec::new(),
            sent: 0,
            sent_before: 0,
            others: Vec::new(),
            told: 0,
            tell_at: Instant::now(),
        };
        self.follow(&mut progress);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = decided.changed() => self.follow(&mut progress),
                Ok(()) = accepted.changed() => tokio::time::sleep(GATHER).await,
                () = sleep_until(progress.tell_at), if progress.told < progress.sent => {}
                _ = again.tick() => {
                    let through = std::mem::replace(&mut progress.sent_before, progress.sent);
                    self.send(&progress.leaders, 0, through);
                }
            }
            // What is not on disk yet stays here.
            let through = *accepted.borrow_and_update();
            progress.sent = self.send(&progress.leaders, progress.sent, through);
            self.tell_others(&mut progress);
        }
    }

    /// Sends the leaders' transactions on to the other members, unless they got some only just now.
    fn tell_others(&self, progress: &mut Progress) {
        let now = Instant::now();
        if now < progress.tell_at || progress.told >= progress.sent {
            return;
        }
        self.send(&progress.others, progress.told, progress.sent);
        progress.told = progress.sent;
        let members = u32::try_from(progress.others.len()).unwrap_or(u32::MAX);
        let pause = GATHER_A_MEMBER.saturating_mul(members);
        progress.tell_at = now.checked_add(pause).unwrap_or(now);
    }

    /// Finds out who leads now; who did not before gets everything that the others have.
    fn follow(&self, progress: &mut Progress) {
        let (leaders, others) = self.recipients();
        let fresh: Vec<Address> =
            leaders.iter().filter(|one| !progress.leaders.contains(one)).copied().collect();
        if !fresh.is_empty() {
            self.send(&fresh, 0, progress.sent);
        }
        (progress.leaders, progress.others) = (leaders, others);
    }

    /// The leaders of this turn and of the next, and the other members, without this agent.
    fn recipients(&self) -> (Vec<Address>, Vec<Address>) {
        let tip = self.store.decided_tip().and_then(|tip| match tip {
            Some((height, _)) => {
                Ok(self.store.header(height)?.zip(Some(self.store.generation_start()?)))
            }
            None => Ok(None),
        });
        match tip {
            Ok(Some(((_, header), start))) => {
                let mirror = self.mirror.read();
                let upcoming = rota::upcoming(&mirror, start.as_ref(), &header, 2);
                let mut leaders: Vec<Address> =
                    upcoming.iter().map(|one| one.leader).filter(|one| *one != self.own).collect();
                leaders.dedup();
                let (_, _, set) = rota::expected_term(&mirror, start.as_ref(), &header);
                let members = set.iter().flat_map(|set| set.members()).map(|one| one.signer);
                let others =
                    members.filter(|one| *one != self.own && !leaders.contains(one)).collect();
                (leaders, others)
            }
            Ok(None) => (Vec::new(), Vec::new()),
            Err(error) => {
                warn!(%error, "the forwarder cannot read the decided chain");
                (Vec::new(), Vec::new())
            }
        }
    }

    /// Sends what arrived after `after` and not after `through`; returns how far it came.
    fn send(&self, to: &[Address], after: u64, through: u64) -> u64 {
        let mut last = after;
        loop {
            let mut page = self.pool.local_after(last, PAGE);
            page.retain(|(arrival, _)| *arrival <= through);
            let Some((arrival, _)) = page.last() else { return last };
            last = *arrival;
            for message in messages(page.into_iter().map(|(_, one)| one)) {
                for peer in to {
                    match self.link.send(*peer, &message) {
                        Ok(sent) => debug!(%peer, ?sent, "transactions forwarded"),
                        Err(error) => warn!(%peer, %error, "transactions cannot be forwarded"),
                    }
                }
            }
        }
    }
}

/// Packs transactions into messages, in order.
fn messages(transactions: impl Iterator<Item = SignedTransaction>) -> Vec<LinkMessage> {
    let mut messages = Vec::new();
    let mut packed: Vec<RollupTransaction> = Vec::new();
    let mut bytes: usize = 0;
    for SignedTransaction { transaction, .. } in transactions {
        let size = transaction.raw.len();
        let full = bytes.saturating_add(size) > MESSAGE_BYTES || packed.len() >= MAX_TRANSACTIONS;
        if full && !packed.is_empty() {
            messages.push(LinkMessage::Transactions(std::mem::take(&mut packed)));
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        packed.push(transaction);
    }
    if !packed.is_empty() {
        messages.push(LinkMessage::Transactions(packed));
    }
    messages
}

/// Takes in what peers forward, one message after the other, each checked off the async threads. Runs until `shutdown`.
pub async fn receive(
    pool: Arc<Pool>,
    link: Link,
    mut incoming: mpsc::Receiver<Delivery<Vec<RollupTransaction>>>,
    shutdown: CancellationToken,
) {
    loop {
        let delivery = tokio::select! {
            () = shutdown.cancelled() => return,
            delivery = incoming.recv() => match delivery {
                Some(delivery) => delivery,
                None => return,
            },
        };
        let (from, pool) = (delivery.from, Arc::clone(&pool));
        let honest =
            tokio::task::spawn_blocking(move || admit(&pool, from, &delivery.content)).await;
        if !honest.unwrap_or(true) {
            link.report(from);
        }
    }
}

/// Admits what a peer forwarded. False if an honest agent would not have forwarded it.
pub(crate) fn admit(pool: &Pool, from: SequencerId, forwarded: &[RollupTransaction]) -> bool {
    for transaction in forwarded {
        if pool.has_seen(transaction.rollup, transaction.hash()) {
            continue;
        }
        let raw = transaction.raw.clone();
        match take_in(pool, transaction.rollup, raw, Origin::Peer(from)) {
            Ok(_) => {}
            // The bound on size is this agent's own.
            Err(Refusal::Invalid(error)) if !matches!(error, TransactionError::TooLarge { .. }) => {
                debug!(peer = %from, %error, "a forwarded transaction is none");
                return false;
            }
            Err(refusal) => {
                debug!(peer = %from, %refusal, "a forwarded transaction is refused");
            }
        }
    }
    true
}

#[cfg(test)]
mod tests;
