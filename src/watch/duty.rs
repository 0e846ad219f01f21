//! What the duties have in common: whose agent it is, whose turn it is, and that none of them waits for another.

use super::turns::patience;
use crate::domain::{Deployment, Params, Turn};
use crate::l1::{Account, L1Error, MirrorHandle};
use crate::rota::draw_order;
use crate::storage::{Store, StoreError};
use alloy::primitives::Address;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The shortest and the longest pause between two looks of one duty.
const LOOK: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(120);
/// Doublings of the pause after failures in a row, up to the longest.
const MAX_DOUBLINGS: u32 = 8;
/// After so long something that was due is taken for done by somebody else.
const FORGET: Duration = Duration::from_secs(120);

/// Why a duty was not done now.
#[derive(Debug, thiserror::Error)]
pub(super) enum DutyError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The agent for which duties are done.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) account: Account,
    /// The agent's own signer: its place in the sets says when its turn is.
    pub(super) signer: Address,
    pub(super) deployment: Deployment,
    pub(super) mirror: MirrorHandle,
    pub(super) store: Store,
}

/// Something that an agent does on L1 for everybody.
pub(super) trait Duty: Send {
    /// What logs call it.
    const NAME: &'static str;

    /// Does what is due now. It may wait for a transaction's inclusion: nobody waits for it.
    fn step(&mut self, agent: &Agent) -> impl Future<Output = Result<(), DutyError>> + Send;
}

/// Since when things are due that are not done: what patience counts from.
#[derive(Debug)]
pub(super) struct Due<K>(BTreeMap<K, Instant>);

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Due<K> {
    /// Whether something that is due has waited as long as those before this agent in the order may take for it.
    pub(super) fn is_turn(&mut self, agent: &Agent, what: K, seed: u64, params: &Params) -> bool {
        // What is not asked about any more was done by somebody.
        self.0.retain(|other, since| *other == what || since.elapsed() < FORGET);
        let since = *self.0.entry(what).or_insert_with(Instant::now);
        since.elapsed() >= patience(params, agent.rank(seed))
    }

    /// Takes note that it is done, or that L1 answered.
    pub(super) fn done(&mut self, what: K) {
        self.0.remove(&what);
    }
}

impl Agent {
    /// This agent's place in the order of the running set; behind all members if it is none.
    pub(super) fn rank(&self, seed: u64) -> usize {
        let mirror = self.mirror.read();
        let set = mirror.head.and_then(|head| {
            mirror.set_for(mirror.generation(), mirror.params.epoch_at(head.timestamp))
        });
        let Some(set) = set else { return 0 };
        let own = set.index_of(self.signer);
        own.and_then(|own| {
            draw_order(&set, Turn::new(seed)).into_iter().position(|place| place == own)
        })
        .unwrap_or(set.members().len())
    }
}

/// Does a duty at each change of L1 until `shutdown`. After a failure it pauses by itself, ever longer: other duties do not
/// notice.
pub(super) async fn keep_doing<D: Duty>(mut duty: D, agent: Agent, shutdown: CancellationToken) {
    let mut changes = agent.mirror.subscribe();
    let mut failures = 0_u32;
    loop {
        // A duty that is done already may look due in what was kept since before the start.
        let is_ready = agent.mirror.read().is_ready();
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = duty.step(&agent), if is_ready => result,
            () = std::future::ready(()), if !is_ready => Ok(()),
        };
        let pause = match result {
            Ok(()) => {
                failures = 0;
                LOOK
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = LOOK.saturating_mul(1 << failures.min(MAX_DOUBLINGS)).min(MAX_PAUSE);
                warn!(duty = D::NAME, %error, retry_in = ?pause, "duty not done");
                pause
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Without a change nothing new can be due but what patience waits for.
        let block = Duration::from_secs(agent.mirror.read().params.l1_block_seconds);
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(block) => {}
        }
    }
}
