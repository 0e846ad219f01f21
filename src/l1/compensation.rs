//! What senders of forced transactions are owed whose entries came late (R30), from L1's events alone. Used by the CLI.

use super::account::{Account, Order};
use super::actions::event;
use super::bindings::{IForcedInbox, IRewardPool, ITally, LateEntries};
use super::client::Client;
use super::error::L1Error;
use super::ranges;
use crate::domain::{BatchNumber, Deployment, RollupId};
use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use std::collections::BTreeSet;

/// An entry that came late with a batch, and is not compensated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Its number in the forced queue.
    pub index: u64,
    /// The batch that consumed it.
    pub batch: BatchNumber,
    /// The rollup that it was enqueued for.
    pub rollup: RollupId,
    /// Who enqueued it.
    pub sender: Address,
    /// Keccak of its bytes.
    pub transaction_hash: B256,
    /// What its sender gets, in wei.
    pub amount_wei: U256,
}

/// Whose entries, or which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// All of a sender.
    Of(Address),
    /// The one with this number in the forced queue.
    Numbered(u64),
    /// Those that hold the transaction with this hash: the same bytes may be forced more than once.
    Holding(B256),
}

/// How entries stand, in the order of the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Came late with a tallied batch for which something is set aside, and are not compensated yet.
    pub owed: Vec<Owed>,
    /// Numbers of those that are compensated.
    pub compensated: Vec<u64>,
    /// Numbers of those to which nothing is owed: they wait, came in time or escaped, or came with a batch that nobody has
    /// tallied, or for which the pool had nothing.
    pub others: Vec<u64>,
}

/// How entries stand. All that L1 does not know are left out.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn standing(
    client: &Client,
    deployment: &Deployment,
    entries: Entries,
) -> Result<Standing, L1Error> {
    let Events { mut enqueued, reserved, credited } = events(client, deployment).await?;
    enqueued.retain(|entry| match entries {
        Entries::Of(sender) => entry.sender == sender,
        Entries::Numbered(index) => entry.index == index,
        Entries::Holding(hash) => keccak256(&entry.transaction) == hash,
    });
    let mut standing = Standing::default();
    if enqueued.is_empty() {
        return Ok(standing);
    }

    let late = late_batches(client, deployment, reserved).await?;
    for entry in enqueued {
        if credited.contains(&entry.index) {
            standing.compensated.push(entry.index);
        } else if let Some(late) = late.iter().find(|late| late.holds(entry.index)) {
            standing.owed.push(Owed {
                index: entry.index,
                batch: late.batch,
                rollup: RollupId::new(entry.rollup),
                sender: entry.sender,
                transaction_hash: keccak256(&entry.transaction),
                amount_wei: late.part_of(entry.feeWei),
            });
        } else {
            standing.others.push(entry.index);
        }
    }
    Ok(standing)
}

/// Puts what is owed for an entry in its sender's name; the sender claims it as a poster does. Anyone may call. Returns how
/// much it was, in wei.
///
/// # Errors
///
/// [`L1Error::Reverted`] when somebody else was faster, or what is in the way to L1.
pub async fn compensate(
    account: &Account,
    deployment: &Deployment,
    owed: &Owed,
) -> Result<U256, L1Error> {
    let call = ITally::compensateCall {
        batch: owed.batch.get(),
        index: owed.index,
        rollup: owed.rollup.get(),
        sender: owed.sender,
        transactionHash: owed.transaction_hash,
    };
    let receipt = account.execute(&Order::call(deployment.tally, &call)).await?;
    Ok(event::<IRewardPool::SenderCredited>(&receipt)?.amountWei)
}

/// A batch for whose late entries something is set aside.
struct LateBatch {
    batch: BatchNumber,
    entries: LateEntries,
    whole_wei: U256,
}

impl LateBatch {
    fn holds(&self, index: u64) -> bool {
        (self.entries.first..self.entries.through).contains(&index)
    }

    /// As [`ITally::compensateCall`] rounds it: down.
    fn part_of(&self, fee_wei: U256) -> U256 {
        let fees = U256::from(self.entries.feesWei);
        let product = self.whole_wei.saturating_mul(fee_wei);
        product.checked_div(fees).unwrap_or_default()
    }
}

async fn late_batches(
    client: &Client,
    deployment: &Deployment,
    reserved: Vec<IRewardPool::SendersReserved>,
) -> Result<Vec<LateBatch>, L1Error> {
    let mut late = Vec::new();
    for event in reserved {
        let call = IForcedInbox::lateEntriesCall { batch: event.batch };
        let entries = client.call(deployment.settlement, &call).await?;
        let batch = BatchNumber::new(event.batch);
        late.push(LateBatch { batch, entries, whole_wei: event.amountWei });
    }
    Ok(late)
}

/// What is of interest here of all that L1 says since the deployment, read once.
async fn events(client: &Client, deployment: &Deployment) -> Result<Events, L1Error> {
    let filter = Filter::new()
        .address(vec![deployment.settlement, deployment.reward_pool])
        .event_signature(vec![
            IForcedInbox::ForcedEnqueued::SIGNATURE_HASH,
            IRewardPool::SendersReserved::SIGNATURE_HASH,
            IRewardPool::SenderCredited::SIGNATURE_HASH,
        ]);
    let head = client.head().await?.number;
    let mut events = Events::default();
    for log in ranges::all(client, &filter, deployment.block, head).await? {
        match (log.address(), log.topic0().copied().unwrap_or_default()) {
            (address, IForcedInbox::ForcedEnqueued::SIGNATURE_HASH)
                if address == deployment.settlement =>
            {
                events.enqueued.push(decode(&log)?);
            }
            (address, IRewardPool::SendersReserved::SIGNATURE_HASH)
                if address == deployment.reward_pool =>
            {
                events.reserved.push(decode(&log)?);
            }
            (address, IRewardPool::SenderCredited::SIGNATURE_HASH)
                if address == deployment.reward_pool =>
            {
                events.credited.insert(decode::<IRewardPool::SenderCredited>(&log)?.entry);
            }
            _ => {}
        }
    }
    Ok(events)
}

/// Events since the deployment, in order.
#[derive(Default)]
struct Events {
    enqueued: Vec<IForcedInbox::ForcedEnqueued>,
    reserved: Vec<IRewardPool::SendersReserved>,
    /// Numbers of the entries whose senders are credited.
    credited: BTreeSet<u64>,
}

fn decode<E: SolEvent>(log: &Log) -> Result<E, L1Error> {
    let event = E::decode_log(&log.inner);
    event.map(|event| event.data).map_err(|_| L1Error::BadAnswer { what: E::SIGNATURE })
}

#[cfg(test)]
mod tests {
    use super::{Entries, IForcedInbox, Order, Owed, Standing, compensate, event, standing};
    use crate::domain::{BatchNumber, RollupId};
    use crate::l1::testing::{Following, World};
    use crate::l1::{Account, L1Error, Mirror, duties, rewards, settlement};
    use crate::testing::{key, raw_priced};
    use alloy::primitives::{Address, B256, Bytes, U256, keccak256};

    const ROLLUP: RollupId = RollupId::new(77);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn finds_what_late_entries_are_owed_and_what_l1_pays_is_the_same() {
        let world = World::with_members(4).await;
        let (client, deployment) = (&world.client, &world.deployment);
        let following = Following::start(&world);
        let set = |mirror: &Mirror| {
            let genesis = mirror.genesis.clone()?;
            Some((mirror.set_for(genesis.generation, genesis.epoch)?, genesis))
        };
        following.until("a set", |mirror| set(mirror).is_some()).await;
        let (set, genesis) = set(&following.mirror.read()).unwrap();
        let poster = world.poster(world.turn_of(&set, genesis.height.next()));
        let (rich, other) = (world.rich(), world.poster(set.members()[0].signer));
        let look = |entries| standing(client, deployment, entries);

        // Two that nobody takes until they are late, one of which burned more than it had to, and one that comes in time.
        let fee_wei = world.params.forced_fee_wei;
        force(&rich, &world, 0, fee_wei).await;
        force(&other, &world, 1, fee_wei * U256::from(2) + U256::ONE).await;
        let late_after = world.params.forced_deadline_blocks + world.params.forced_grace_blocks;
        world.mine(late_after, 1).await;
        force(&rich, &world, 2, fee_wei).await;
        let mut block = world.block(&set, &genesis, 1);
        block.header.forced_through = 3;
        let payload = crate::batch::payload::encode_cheapest(std::slice::from_ref(&block)).unwrap();
        let header =
            crate::batch::build_header(std::slice::from_ref(&block), genesis.epoch, &payload)
                .unwrap();
        let batch = world.certify(&set, crate::testing::regular(header), payload);
        let order = settlement::order(deployment, std::slice::from_ref(&batch));
        poster.execute(&order).await.unwrap();
        following.until("all consumed", |mirror| mirror.forced.consumed() == 3).await;

        let before = look(Entries::Of(rich.address())).await.unwrap();
        assert_eq!((before.owed.len(), &before.others), (0, &vec![0, 2]), "not tallied yet");
        let settled = following.store.settled(BatchNumber::new(1)).unwrap().unwrap();
        duties::tally(&rich, deployment, &[settled]).await.unwrap();

        let of_rich = look(Entries::Of(rich.address())).await.unwrap();
        let first = one(&of_rich.owed);
        assert_eq!((of_rich.compensated.len(), &of_rich.others), (0, &vec![2]));
        let second = one(&look(Entries::Numbered(1)).await.unwrap().owed);
        assert_eq!((first.index, first.batch, first.rollup), (0, BatchNumber::new(1), ROLLUP));
        assert_eq!((second.index, second.sender), (1, other.address()));
        assert_eq!(first.transaction_hash, keccak256(raw(0)));
        // By the fees, each rounded down; the batch would have earned less than burned.
        assert!(first.amount_wei > U256::ZERO && first.amount_wei < fee_wei);
        assert!(second.amount_wei >= first.amount_wei * U256::from(2));
        let by_hash = look(Entries::Holding(first.transaction_hash)).await.unwrap();
        assert_eq!(by_hash.owed, [first]);
        let unknown =
            [Entries::Numbered(3), Entries::Holding(B256::ZERO), Entries::Of(Address::ZERO)];
        for entries in unknown {
            assert_eq!(look(entries).await.unwrap(), Standing::default());
        }

        // Anybody has them compensated, once; what was foretold is what the senders get.
        for entry in [first, second] {
            let balance = || rewards::poster_balance(client, deployment, entry.sender);
            let had = balance().await.unwrap();
            let paid = compensate(&other, deployment, &entry).await.unwrap();
            assert_eq!(paid, entry.amount_wei);
            assert_eq!(balance().await.unwrap(), had + paid);
            let reason = format!("AlreadyCompensated(index: {})", entry.index);
            let twice = compensate(&rich, deployment, &entry).await.unwrap_err();
            assert_eq!(twice, L1Error::Reverted { contract: deployment.tally, reason });
        }
        let after = look(Entries::Of(rich.address())).await.unwrap();
        assert_eq!((after.owed.len(), after.compensated, after.others), (0, vec![0], vec![2]));
    }

    async fn force(sender: &Account, world: &World, nonce: u64, value_wei: U256) {
        let call = IForcedInbox::forceCall { rollup: ROLLUP.get(), transaction: raw(nonce) };
        let order = Order::call(world.deployment.settlement, &call).with_value(value_wei);
        let enqueued =
            event::<IForcedInbox::ForcedEnqueued>(&sender.execute(&order).await.unwrap());
        assert_eq!(enqueued.unwrap().index, nonce);
    }

    fn raw(nonce: u64) -> Bytes {
        raw_priced(&key(1), nonce, ROLLUP, 1)
    }

    fn one(owed: &[Owed]) -> Owed {
        assert_eq!(owed.len(), 1, "{owed:?}");
        owed[0]
    }
}
