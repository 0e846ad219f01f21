//! A restart on L1 (R33): where it stands, and its three steps.

use super::account::{Account, Order};
use super::actions;
use super::bindings::{ICalendar, IRestart};
use super::client::Client;
use super::error::L1Error;
use crate::domain::{Deployment, Epoch, Generation, Height, Params, Seconds, SettledTip};
use serde::Serialize;

/// After so many lapsed restarts in a row the least number of members suffices to finish one (R33).
const LAPSES_UNTIL_FEW_SUFFICE: u64 = 3;

/// What can be done about a restart at an L1 time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stage", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Stage {
    /// Nothing: too little time has passed since the last settlement.
    NotDue {
        /// L1 time from which one can be opened.
        open_from: Seconds,
    },
    /// Anybody can open one.
    Due,
    /// Sequencers check in.
    CheckIn {
        /// L1 time at which that ends.
        until: Seconds,
    },
    /// Anybody can finish it, if enough have checked in.
    Finish {
        /// L1 time at which it lapses.
        until: Seconds,
    },
}

impl Stage {
    /// The stage at `now`: `opened` is the restart opened last, if there ever was one, and `settled_at` the time of the
    /// last settlement or of the beginning of the generation, which ends a restart that was opened before.
    pub fn at(
        params: &Params,
        settled_at: Seconds,
        opened: Option<(Seconds, Seconds, Seconds)>,
        now: Seconds,
    ) -> Self {
        let under_way = opened
            .filter(|(opened_at, _, finish_until)| *opened_at > settled_at && now < *finish_until);
        match under_way {
            Some((_, until, _)) if now < until => Self::CheckIn { until },
            Some((_, _, until)) => Self::Finish { until },
            None => {
                let due = settled_at.get().saturating_add(params.restart_delay_seconds);
                let open_from = Seconds::new(due);
                if now < open_from { Self::NotDue { open_from } } else { Self::Due }
            }
        }
    }
}

/// Where a network stands between its last settlement and a restart.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartStatus {
    /// The generation in which batches settle.
    pub generation: Generation,
    /// The settled chain, which a restart keeps.
    pub tip: SettledTip,
    /// L1 time.
    pub now: Seconds,
    /// What can be done.
    #[serde(flatten)]
    pub stage: Stage,
    /// Sequencers that have checked in to the restart under way.
    pub checked_in: u64,
    /// Their weight.
    pub weight: u64,
    /// The weight that is needed to finish; `None` once enough restarts have lapsed for the least number of members to do.
    pub needed: Option<u64>,
    /// Weight of the set in force.
    pub total: u64,
    /// Restarts in a row that came to nothing.
    pub lapsed: u64,
}

/// What a finished restart began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// The generation.
    pub generation: Generation,
    /// Epoch of its first set.
    pub epoch: Epoch,
    /// The settled height from which it goes on.
    pub last_height: Height,
}

/// How far the end of a restart came (R33): it takes two calls, with L1 blocks in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finishing {
    /// The members are fixed, and the block that their seed comes from was pinned just now.
    Closed,
    /// Nobody has done so, and it was not to be done.
    Open,
    /// That block is there too short a time, or not yet.
    Waiting {
        /// Its number.
        pinned: u64,
    },
    /// The generation has begun.
    Begun(Begun),
}

/// Where a restart stands.
///
/// # Errors
///
/// What keeps the nodes from answering, or [`L1Error::Reverted`] before the first set is sealed.
pub async fn status(
    client: &Client,
    deployment: &Deployment,
    params: &Params,
) -> Result<RestartStatus, L1Error> {
    let to = deployment.settlement;
    let head = client.head().await?;
    let generation = client.call(to, &ICalendar::generationCall {}).await?;
    let epoch = params.epoch_at(head.timestamp).get();
    let total = client.call(to, &ICalendar::totalAtCall { generation, epoch }).await?;
    let tip = actions::tip(client, deployment).await?;
    let last = client.call(to, &IRestart::restartCall {}).await?;

    let opened = (last.openedAt != 0).then(|| {
        let [opened_at, check_in_until, finish_until] =
            [last.openedAt, last.checkInUntil, last.finishUntil].map(Seconds::new);
        (opened_at, check_in_until, finish_until)
    });
    let stage = Stage::at(params, tip.settled_at, opened, head.timestamp);
    let under_way = matches!(stage, Stage::CheckIn { .. } | Stage::Finish { .. });
    let needed = (last.lapsed < LAPSES_UNTIL_FEW_SUFFICE).then(|| (total / 3).saturating_add(1));
    Ok(RestartStatus {
        generation: Generation::new(generation),
        tip,
        now: head.timestamp,
        stage,
        checked_in: if under_way { last.count } else { 0 },
        weight: if under_way { last.weight } else { 0 },
        needed,
        total,
        lapsed: last.lapsed,
    })
}

/// Opens a restart. Returns the L1 time at which check-in ends.
///
/// # Errors
///
/// [`L1Error::Reverted`] when none is due or one is under way, or what is in the way to L1.
pub async fn open(account: &Account, deployment: &Deployment) -> Result<Seconds, L1Error> {
    let order = Order::call(deployment.settlement, &IRestart::openRestartCall {});
    let receipt = account.execute(&order).await?;
    let opened = actions::event::<IRestart::RestartOpened>(&receipt)?;
    Ok(Seconds::new(opened.checkInUntil))
}

/// Says that sequencer `id`, of which `account` is the owner or the signer, is there: for the restart under way, or, while
/// there is none, after it missed the last one.
///
/// # Errors
///
/// As [`open`].
pub async fn check_in(account: &Account, deployment: &Deployment, id: u32) -> Result<(), L1Error> {
    let order = Order::call(deployment.settlement, &IRestart::checkInCall { id });
    account.execute(&order).await?;
    Ok(())
}

/// Takes the next step towards the end of the restart under way: closes its check-in if nobody has and it `closes`, and finishes it
/// `patience` L1 blocks later than it could be finished at first: all who wait for it wait for the same block.
///
/// # Errors
///
/// As [`open`]; [`L1Error::BadAnswer`] when no node has the pinned block's header in a form that L1 takes.
pub async fn finish(
    account: &Account,
    deployment: &Deployment,
    closes: bool,
    patience: u64,
) -> Result<Finishing, L1Error> {
    let to = deployment.settlement;
    let client = &account.client;
    let pinned = client.call(to, &IRestart::pinnedForRestartCall {}).await?;
    if pinned == 0 && !closes {
        return Ok(Finishing::Open);
    }
    if pinned == 0 {
        account.execute(&Order::call(to, &IRestart::closeCheckInCall {})).await?;
        return Ok(Finishing::Closed);
    }
    if client.head().await?.number <= pinned.saturating_add(patience) {
        return Ok(Finishing::Waiting { pinned });
    }
    let (header, _) = client.raw_header(pinned).await?;
    let order = Order::call(to, &IRestart::finishRestartCall { header });
    let receipt = account.execute(&order).await?;
    let started = actions::event::<IRestart::GenerationStarted>(&receipt)?;
    Ok(Finishing::Begun(Begun {
        generation: Generation::new(started.generation),
        epoch: Epoch::new(started.epoch),
        last_height: Height::new(started.lastHeight),
    }))
}

#[cfg(test)]
mod tests {
    use super::Stage;
    use crate::domain::{Params, Seconds};

    const SETTLED: Seconds = Seconds::new(1_000);

    /// Opened at 1,200 with the devnet's windows of 60 s.
    fn stage(now: u64) -> Stage {
        let opened = [1_200, 1_260, 1_320].map(Seconds::new);
        Stage::at(&Params::for_tests(), SETTLED, Some(opened.into()), Seconds::new(now))
    }

    #[test]
    fn a_restart_goes_through_its_stages_and_lapses() {
        let at = Seconds::new;
        assert_eq!(stage(1_200), Stage::CheckIn { until: at(1_260) });
        assert_eq!(stage(1_260), Stage::Finish { until: at(1_320) });
        assert_eq!(stage(1_320), Stage::Due);
    }

    #[test]
    fn a_settlement_ends_it_and_the_delay_runs_again() {
        let opened = [900, 960, 1_020].map(Seconds::new);
        let stage =
            |now| Stage::at(&Params::for_tests(), SETTLED, Some(opened.into()), Seconds::new(now));
        assert_eq!(stage(1_001), Stage::NotDue { open_from: Seconds::new(1_180) });
        assert_eq!(stage(1_180), Stage::Due);
    }
}
