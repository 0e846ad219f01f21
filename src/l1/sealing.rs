//! Which set can be sealed, as L1 says it itself (R2, R5): for whoever seals by hand.

use super::bindings::ICalendar;
use super::client::Client;
use super::error::L1Error;
use crate::domain::{Deployment, Epoch, Params, Seconds};

/// What there is to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealable {
    /// Nothing yet.
    Before {
        /// L1 time of genesis.
        genesis: Seconds,
    },
    /// The set of an epoch, until the running one ends.
    Due {
        /// The epoch: the next one, or the running one if nobody leads in it.
        epoch: Epoch,
        /// L1 time at which the running epoch ends.
        until: Seconds,
    },
    /// Nothing more before the running epoch ends.
    Done {
        /// The epoch whose set is sealed, the next one.
        epoch: Epoch,
    },
}

/// What can be sealed now.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn sealable(
    client: &Client,
    deployment: &Deployment,
    params: &Params,
) -> Result<Sealable, L1Error> {
    let to = deployment.settlement;
    let now = client.head().await?.timestamp;
    let genesis = Seconds::new(params.genesis);
    if now < genesis {
        return Ok(Sealable::Before { genesis });
    }
    let running = params.epoch_at(now);
    let (next, until) = (running.next(), params.start_of(running.next()));
    if sealed_for(client, deployment, running).await?.is_none() {
        return Ok(Sealable::Due { epoch: running, until });
    }
    // An empty one as well: that is what is in force next.
    let generation = client.call(to, &ICalendar::generationCall {}).await?;
    let set = client.call(to, &ICalendar::setOfCall { generation, epoch: next.get() }).await?;
    if set.sealedFor == next.get() {
        return Ok(Sealable::Done { epoch: next });
    }
    Ok(Sealable::Due { epoch: next, until })
}

/// For which epoch the set was sealed that is in force in `epoch`; `None` if nobody leads in it.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn sealed_for(
    client: &Client,
    deployment: &Deployment,
    epoch: Epoch,
) -> Result<Option<Epoch>, L1Error> {
    let (to, epoch) = (deployment.settlement, epoch.get());
    let generation = client.call(to, &ICalendar::generationCall {}).await?;
    let total = match client.call(to, &ICalendar::totalAtCall { generation, epoch }).await {
        Ok(total) => total,
        // Before the first set there is none.
        Err(L1Error::Reverted { reason, .. }) if reason.starts_with("NoSetInForce") => 0,
        Err(error) => return Err(error),
    };
    if total == 0 {
        return Ok(None);
    }
    let set = client.call(to, &ICalendar::setOfCall { generation, epoch }).await?;
    Ok(Some(Epoch::new(set.sealedFor)))
}

#[cfg(test)]
mod tests {
    use super::{Sealable, sealable};
    use crate::domain::Seconds;
    use crate::l1::testing::World;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn l1_says_what_is_to_be_sealed_before_the_first_set_and_after_it() {
        let world = World::deploy(|config| config).await;
        let look =
            async || sealable(&world.client, &world.deployment, &world.params).await.unwrap();
        let genesis = Seconds::new(world.params.genesis);
        assert_eq!(look().await, Sealable::Before { genesis });
        world.skip_to(world.params.genesis).await;
        let now = world.client.head().await.unwrap().timestamp;
        let running = world.params.epoch_at(now);
        let until = world.params.start_of(running.next());
        assert_eq!(look().await, Sealable::Due { epoch: running, until });

        let world = World::with_members(1).await;
        let look =
            async || sealable(&world.client, &world.deployment, &world.params).await.unwrap();
        let Sealable::Due { epoch, until } = look().await else { panic!("the next one is due") };
        assert_eq!(world.params.start_of(epoch), until);
        world.seal(epoch).await;
        assert_eq!(look().await, Sealable::Done { epoch });
    }
}
