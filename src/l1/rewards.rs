//! What work has earned on L1, and how it is taken out (R42). Used by the CLI, the watcher and the devnet.

use super::account::{Account, Order};
use super::actions::{event, id_of};
use super::bindings::{IRewardPool, IRota, ISlasher};
use super::client::Client;
use super::error::L1Error;
use crate::domain::{Deployment, Epoch, Generation, SequencerRecord};
use alloy::primitives::{Address, U256};

/// An epoch whose rewards wait to be credited to its signers' pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingEpoch {
    /// The generation that it belongs to.
    pub generation: Generation,
    /// The epoch.
    pub epoch: Epoch,
    /// No batch of it can settle or be tallied any more: it can be credited.
    pub due: bool,
}

/// What the owner of a sequencer keeps of its pool's rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commission {
    /// In basis points, now.
    pub bps: u16,
    /// In basis points from `next_from` on.
    pub next_bps: u16,
    /// L1 time in seconds.
    pub next_from: u64,
    /// What the owner can claim, in wei of the stake token.
    pub balance_wei: U256,
}

/// ETH that `poster` can claim for batches and seals.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn poster_balance(
    client: &Client,
    deployment: &Deployment,
    poster: Address,
) -> Result<U256, L1Error> {
    let pool = deployment.reward_pool;
    let here = client.call(pool, &IRewardPool::posterBalanceCall { poster }).await?;
    let owed = client.call(pool, &IRewardPool::owedToCall { account: poster }).await?;
    let free = client.call(pool, &IRewardPool::freeWeiCall {}).await?.ethWei;
    Ok(here.saturating_add(owed.min(free)))
}

/// Bounties that `reporter` can claim, in wei of the stake token.
///
/// # Errors
///
/// As [`poster_balance`].
pub async fn bounty(
    client: &Client,
    deployment: &Deployment,
    reporter: Address,
) -> Result<U256, L1Error> {
    client.call(deployment.slasher, &ISlasher::bountyOfCall { reporter }).await
}

/// The first epoch whose rewards wait, if one does.
///
/// # Errors
///
/// As [`poster_balance`].
pub async fn next_credit(
    client: &Client,
    deployment: &Deployment,
) -> Result<Option<WaitingEpoch>, L1Error> {
    let next = client.call(deployment.reward_pool, &IRewardPool::nextCreditCall {}).await?;
    Ok(next.waits.then(|| WaitingEpoch {
        generation: Generation::new(next.generation),
        epoch: Epoch::new(next.epoch),
        due: next.due,
    }))
}

/// Whether all is credited that is over, so that deposits go to work (R42).
///
/// # Errors
///
/// As [`poster_balance`].
pub async fn is_up_to_date(client: &Client, deployment: &Deployment) -> Result<bool, L1Error> {
    client.call(deployment.reward_pool, &IRewardPool::isUpToDateCall {}).await
}

/// Credits the first epoch that waits to the pools of all of its signers. Returns what went into pools, in wei.
///
/// # Errors
///
/// [`L1Error::Reverted`] when none waits or it is not due, or what is in the way to L1.
pub async fn credit_epoch(account: &Account, deployment: &Deployment) -> Result<U256, L1Error> {
    let order = Order::call(deployment.reward_pool, &IRewardPool::creditEpochCall {});
    let receipt = account.execute(&order).await?;
    Ok(event::<IRewardPool::EpochCredited>(&receipt)?.creditedWei)
}

/// What a sequencer has earned with its signatures in an epoch that waits, in wei, its owner's commission included.
///
/// # Errors
///
/// As [`poster_balance`].
pub async fn signer_reward(
    client: &Client,
    deployment: &Deployment,
    waiting: WaitingEpoch,
    sequencer: &SequencerRecord,
) -> Result<U256, L1Error> {
    let (generation, epoch) = (waiting.generation.get(), waiting.epoch.get());
    let call = IRota::leaderSetOfCall { generation, epoch };
    let set = client.call(deployment.settlement, &call).await?;
    let mut place = set.members.iter().position(|member| member.signer == sequencer.signer);
    if place.is_none() {
        // The set may hold a key that was rotated since.
        for (index, member) in set.members.iter().enumerate() {
            if id_of(client, deployment, member.signer).await? == Some(sequencer.id) {
                place = Some(index);
                break;
            }
        }
    }
    let Some(index) = place else { return Ok(U256::ZERO) };
    let call = IRewardPool::signerRewardCall { generation, epoch, index: U256::from(index) };
    client.call(deployment.reward_pool, &call).await
}

/// What the owner of a sequencer keeps and has kept.
///
/// # Errors
///
/// As [`poster_balance`].
pub async fn commission(
    client: &Client,
    deployment: &Deployment,
    id: u32,
) -> Result<Commission, L1Error> {
    let known = client.call(deployment.reward_pool, &IRewardPool::commissionCall { id }).await?;
    let call = IRewardPool::commissionBalanceCall { id };
    let balance_wei = client.call(deployment.reward_pool, &call).await?;
    Ok(Commission {
        bps: known.bps,
        next_bps: known.nextBps,
        next_from: known.nextFrom.to(),
        balance_wei,
    })
}

/// Sets what the owner of a sequencer keeps. Returns the L1 time from which it counts, in seconds.
///
/// # Errors
///
/// [`L1Error::Reverted`] when it is not the owner's account or the raise too large, or what is in the way to L1.
pub async fn set_commission(
    owner: &Account,
    deployment: &Deployment,
    id: u32,
    bps: u16,
) -> Result<u64, L1Error> {
    let order = Order::call(deployment.reward_pool, &IRewardPool::setCommissionCall { id, bps });
    let receipt = owner.execute(&order).await?;
    Ok(event::<IRewardPool::CommissionChanged>(&receipt)?.from)
}

/// How much others may delegate to a sequencer; `None` without a cap.
///
/// # Errors
///
/// As [`poster_balance`].
pub async fn delegation_cap(
    client: &Client,
    deployment: &Deployment,
    id: u32,
) -> Result<Option<U256>, L1Error> {
    let call = IRewardPool::delegationCapCall { id };
    let cap_wei = client.call(deployment.reward_pool, &call).await?;
    Ok(Some(cap_wei).filter(|wei| *wei < U256::from(u128::MAX)))
}

/// Sets how much others may delegate to a sequencer; `None` takes the cap away.
///
/// # Errors
///
/// [`L1Error::Reverted`] when it is not the owner's account, or what is in the way to L1.
pub async fn set_delegation_cap(
    owner: &Account,
    deployment: &Deployment,
    id: u32,
    cap_wei: Option<U256>,
) -> Result<(), L1Error> {
    let call = IRewardPool::setDelegationCapCall { id, capWei: cap_wei.unwrap_or(U256::MAX) };
    owner.execute(&Order::call(deployment.reward_pool, &call)).await?;
    Ok(())
}

/// Pays a sequencer's commissions to its owner. Returns how much, in wei of the stake token. Anyone may.
///
/// # Errors
///
/// As [`credit_epoch`].
pub async fn claim_commission(
    account: &Account,
    deployment: &Deployment,
    id: u32,
) -> Result<U256, L1Error> {
    let order = Order::call(deployment.reward_pool, &IRewardPool::claimCommissionCall { id });
    let receipt = account.execute(&order).await?;
    Ok(event::<IRewardPool::CommissionClaimed>(&receipt)?.amountWei)
}
