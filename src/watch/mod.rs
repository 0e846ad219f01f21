//! What agents do for the network on L1 besides posting: seal sets, take the steps of a restart, flush the churn queues, let in
//! what waited in the forced queue for too long, book what settled, debit rollups for it, credit what signers earned, report offences and execute their penalties. Anyone may do
//! each of these; who does it when is a matter of turns, so that agents do not pay for each other's reverts, and of patience,
//! so that it is done when somebody is away.
//!
//! Each duty is a file, looks at L1 by itself and pauses by itself after a failure ([`duty::keep_doing`]): what L1 or a node
//! has against one of them delays no other, and neither does a transaction that waits for its inclusion.

mod absence;
mod credit;
mod debit;
mod duty;
mod escape;
mod flush;
mod penalty;
mod report;
mod restart;
mod revive;
mod seal;
mod tally;
#[cfg(test)]
mod tests;
mod turns;

pub use restart::{RestartPlan, restart_plan};
pub use turns::{SealPlan, patience, seal_plan};

use crate::config::RestartDuty;
use crate::domain::{Deployment, Evidence};
use crate::l1::{Account, MirrorHandle};
use crate::storage::Store;
use alloy::primitives::Address;
use duty::{Agent, keep_doing};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The watching task of one agent.
pub struct Watcher {
    agent: Agent,
    restart_duty: RestartDuty,
}

impl Watcher {
    /// Pays from `account`, and takes the turns of the member with this signer.
    pub const fn new(
        account: Account,
        signer: Address,
        deployment: Deployment,
        mirror: MirrorHandle,
        store: Store,
        restart_duty: RestartDuty,
    ) -> Self {
        Self { agent: Agent { account, signer, deployment, mirror, store }, restart_duty }
    }
}

/// Watches until `shutdown`. `found` tells of evidence that the agreement and the attester put into the store.
pub async fn run(watcher: Watcher, found: mpsc::Receiver<Evidence>, shutdown: CancellationToken) {
    let Watcher { agent, restart_duty } = watcher;
    let on = || (agent.clone(), shutdown.clone());
    macro_rules! together {
        ($($duty:expr),* $(,)?) => {
            tokio::join!($(async {
                let (agent, shutdown) = on();
                keep_doing($duty, agent, shutdown).await;
            }),*)
        };
    }
    together!(
        revive::Revive::new(restart_duty),
        seal::Seal::default(),
        flush::Flush::default(),
        escape::Escape::default(),
        report::Report::new(found),
        penalty::Penalty::default(),
        absence::Absence::default(),
        tally::Tally::default(),
        debit::Debit::default(),
        credit::Credit::default(),
    );
}
