//! What people do on L1: join, stake, leave, claim, register a rollup. Used by the CLI and the devnet.

use super::account::{Account, Order};
use super::bindings::{
    self, IBatchInbox, IERC20, IRewardPool, IRollups, IRota, ISequencerRegistry, ISlasher,
};
use super::client::Client;
use super::convert;
use super::error::L1Error;
use crate::crypto::{SecretKey, SigningDomain};
use crate::domain::{
    BatchNumber, Deployment, Epoch, Height, RollupId, Seconds, SequencerId, SequencerRecord,
    SettledTip,
};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::SolEvent;

/// What somebody joins with.
#[derive(Debug)]
pub struct Joining<'a> {
    /// The hot key, which signs votes and attestations.
    pub signer: &'a SecretKey,
    /// "<agreement multiaddr>,<link multiaddr>".
    pub endpoint: String,
    /// Stake in wei of the stake token.
    pub stake_wei: U256,
}

/// Registers a sequencer that `owner` owns, and approves the stake first. Returns its id.
///
/// # Errors
///
/// [`L1Error::Reverted`] with the registry's reason, or what is in the way to L1.
pub async fn join(
    owner: &Account,
    deployment: &Deployment,
    joining: Joining<'_>,
) -> Result<u32, L1Error> {
    approve(owner, deployment, deployment.registry, joining.stake_wei).await?;
    let call = ISequencerRegistry::joinCall {
        signer: joining.signer.address(),
        endpoint: joining.endpoint,
        stakeWei: joining.stake_wei,
        proof: possession(deployment, owner.address(), joining.signer),
    };
    let receipt = owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(event::<ISequencerRegistry::Joined>(&receipt)?.id)
}

/// Adds stake to a sequencer of `owner`.
///
/// # Errors
///
/// As [`join`].
pub async fn top_up(
    owner: &Account,
    deployment: &Deployment,
    id: u32,
    amount_wei: U256,
) -> Result<(), L1Error> {
    approve(owner, deployment, deployment.registry, amount_wei).await?;
    let call = ISequencerRegistry::topUpCall { id, amountWei: amount_wei };
    owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Puts stake of `holder` into a sequencer's pool. Returns the shares that work at once; the rest waits its turn.
///
/// # Errors
///
/// As [`join`].
pub async fn delegate(
    holder: &Account,
    deployment: &Deployment,
    id: u32,
    amount_wei: U256,
) -> Result<U256, L1Error> {
    approve(holder, deployment, deployment.registry, amount_wei).await?;
    let call = ISequencerRegistry::delegateCall { id, amountWei: amount_wei };
    let receipt = holder.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(event::<ISequencerRegistry::Delegated>(&receipt)?.shares)
}

/// Brings a sequencer of `owner` back that was jailed or gave up its seat, or lets all that works in its pool count.
///
/// # Errors
///
/// As [`join`].
pub async fn unjail(owner: &Account, deployment: &Deployment, id: u32) -> Result<(), L1Error> {
    let call = ISequencerRegistry::unjailCall { id };
    owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Shares of `holder` that wait to work in a sequencer's pool.
///
/// # Errors
///
/// As [`join`].
pub async fn waiting_shares_of(
    client: &Client,
    deployment: &Deployment,
    id: u32,
    holder: Address,
) -> Result<U256, L1Error> {
    let call = ISequencerRegistry::waitingSharesOfCall { id, holder };
    client.call(deployment.registry, &call).await
}

/// Working shares of a sequencer's pool that `holder` has and that are not on their way out.
///
/// # Errors
///
/// As [`join`].
pub async fn shares_of(
    client: &Client,
    deployment: &Deployment,
    id: u32,
    holder: Address,
) -> Result<U256, L1Error> {
    client.call(deployment.registry, &ISequencerRegistry::sharesOfCall { id, holder }).await
}

/// Sends working `shares` of a sequencer's pool on their way out, and `waiting` ones that still wait to work. Returns the exit's id and the epoch in which it was requested.
///
/// # Errors
///
/// As [`join`].
pub async fn exit(
    holder: &Account,
    deployment: &Deployment,
    id: u32,
    shares: U256,
    waiting: U256,
) -> Result<(U256, Epoch), L1Error> {
    let call = ISequencerRegistry::leaveCall { id, shares, waitingShares: waiting };
    let receipt = holder.execute(&Order::call(deployment.registry, &call)).await?;
    let requested = event::<ISequencerRegistry::ExitRequested>(&receipt)?;
    Ok((requested.exitId, Epoch::new(requested.epoch)))
}

/// L1 time from which an exit can be claimed; `None` while its last set has no successor yet (R8).
///
/// # Errors
///
/// As [`join`].
pub async fn claimable_at(
    client: &Client,
    deployment: &Deployment,
    exit_id: U256,
) -> Result<Option<Seconds>, L1Error> {
    let call = ISequencerRegistry::claimableAtCall { exitId: exit_id };
    let answer = client.call(deployment.registry, &call).await?;
    Ok(answer.known.then(|| Seconds::new(answer.time)))
}

/// The epoch in which the last of an exit left the churn queue; `None` while it waits there (R7).
///
/// # Errors
///
/// As [`join`].
pub async fn exit_epoch(
    client: &Client,
    deployment: &Deployment,
    exit_id: U256,
) -> Result<Option<Epoch>, L1Error> {
    let call = ISequencerRegistry::exitCall { exitId: exit_id };
    let exit = client.call(deployment.registry, &call).await?;
    Ok(exit.queuedShares.is_zero().then(|| Epoch::new(exit.epoch)))
}

/// Claims an exit whose clock has run out, for `to`. Returns how much stake came back, in wei.
///
/// # Errors
///
/// As [`join`].
pub async fn claim(
    holder: &Account,
    deployment: &Deployment,
    exit_id: U256,
    to: Address,
) -> Result<U256, L1Error> {
    let call = ISequencerRegistry::claimToCall { exitId: exit_id, to };
    let receipt = holder.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(event::<ISequencerRegistry::ExitClaimed>(&receipt)?.amountWei)
}

/// Claims what `poster` is owed for batches and seals, for `to`, in wei of ETH.
///
/// # Errors
///
/// As [`join`].
pub async fn claim_poster(
    poster: &Account,
    deployment: &Deployment,
    to: Address,
) -> Result<U256, L1Error> {
    let order = Order::call(deployment.reward_pool, &IRewardPool::claimPosterToCall { to });
    let receipt = poster.execute(&order).await?;
    Ok(event::<IRewardPool::PosterClaimed>(&receipt)?.amountWei)
}

/// Pays the bounties that `reporter` is owed to `to`, in wei of the stake token.
///
/// # Errors
///
/// As [`join`].
pub async fn claim_bounty(
    reporter: &Account,
    deployment: &Deployment,
    to: Address,
) -> Result<U256, L1Error> {
    let call = ISlasher::bountyOfCall { reporter: reporter.address() };
    let owed = reporter.client().call(deployment.slasher, &call).await?;
    reporter.execute(&Order::call(deployment.slasher, &ISlasher::claimBountyCall { to })).await?;
    Ok(owed)
}

/// Gives a sequencer another hot key (R3: it counts from two epochs on).
///
/// # Errors
///
/// As [`join`].
pub async fn rotate(
    owner: &Account,
    deployment: &Deployment,
    id: u32,
    signer: &SecretKey,
) -> Result<(), L1Error> {
    let call = ISequencerRegistry::rotateSignerCall {
        id,
        signer: signer.address(),
        proof: possession(deployment, owner.address(), signer),
    };
    owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Lets `poster` post for a sequencer of `owner`, in place of any other address; nobody but its signer without one.
///
/// # Errors
///
/// As [`join`].
pub async fn set_poster(
    owner: &Account,
    deployment: &Deployment,
    id: SequencerId,
    poster: Option<&SecretKey>,
) -> Result<(), L1Error> {
    let domain = SigningDomain::new(deployment.chain_id, deployment.registry);
    let (poster, proof) = match poster {
        Some(key) => {
            let digest = domain.poster_possession(id, key.address());
            (key.address(), Bytes::from(key.sign(digest).to_rsv().to_vec()))
        }
        None => (Address::ZERO, Bytes::new()),
    };
    let call = ISequencerRegistry::setPosterCall { id: id.get(), poster, proof };
    owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Publishes where a sequencer is reached.
///
/// # Errors
///
/// As [`join`].
pub async fn set_endpoint(
    owner: &Account,
    deployment: &Deployment,
    id: u32,
    endpoint: String,
) -> Result<(), L1Error> {
    let call = ISequencerRegistry::setEndpointCall { id, endpoint };
    owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Registers a rollup with an allowance of `allowance_wei` of ETH beyond the fee.
///
/// # Errors
///
/// As [`join`].
pub async fn register_rollup(
    account: &Account,
    deployment: &Deployment,
    rollup: RollupId,
    allowance_wei: U256,
) -> Result<(), L1Error> {
    let params = account.client().verify(deployment).await?;
    let call = IRollups::registerCall { chainId: rollup.get() };
    let order = Order::call(deployment.rollups, &call)
        .with_value(params.rollup_fee_wei.saturating_add(allowance_wei));
    account.execute(&order).await?;
    Ok(())
}

/// Where a rollup stands in the registry of rollups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollupStanding {
    /// Who registered it; `None` if nobody has.
    pub owner: Option<Address>,
    /// What is left of its allowance, in wei.
    pub allowance_wei: U256,
    /// Whether its owner has closed it.
    pub closed: bool,
}

/// Where a rollup stands.
///
/// # Errors
///
/// What is in the way to L1.
pub async fn rollup(
    client: &Client,
    deployment: &Deployment,
    rollup: RollupId,
) -> Result<RollupStanding, L1Error> {
    let call = IRollups::rollupCall { chainId: rollup.get() };
    let known = client.call(deployment.rollups, &call).await?;
    let owner = (known.registeredAtBlock != 0).then_some(known.owner);
    Ok(RollupStanding { owner, allowance_wei: known.balanceWei, closed: known.closed })
}

/// ETH that the bytes of a rollup cost and it did not have: whoever funds it pays that first.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn rollup_owes(
    client: &Client,
    deployment: &Deployment,
    rollup: RollupId,
) -> Result<U256, L1Error> {
    let call = IRollups::owedCall { chainId: rollup.get() };
    client.call(deployment.rollups, &call).await
}

/// How many decimals the stake token counts in.
///
/// # Errors
///
/// [`L1Error::Reverted`] when the token does not tell; else what is in the way to L1.
pub async fn stake_token_decimals(client: &Client, deployment: &Deployment) -> Result<u8, L1Error> {
    client.call(deployment.stake_token, &IERC20::decimalsCall {}).await
}

/// Adds ETH to a rollup's allowance.
///
/// # Errors
///
/// As [`join`].
pub async fn fund_rollup(
    account: &Account,
    deployment: &Deployment,
    rollup: RollupId,
    amount_wei: U256,
) -> Result<(), L1Error> {
    let call = IRollups::fundCall { chainId: rollup.get() };
    let order = Order::call(deployment.rollups, &call).with_value(amount_wei);
    account.execute(&order).await?;
    Ok(())
}

/// Funds the reward pool with ETH for posters and stake tokens for signers.
///
/// # Errors
///
/// As [`join`].
pub async fn fund_pool(
    account: &Account,
    deployment: &Deployment,
    eth_wei: U256,
    token_wei: U256,
) -> Result<(), L1Error> {
    approve(account, deployment, deployment.reward_pool, token_wei).await?;
    let call = IRewardPool::fundCall { tokenWei: token_wei };
    let order = Order::call(deployment.reward_pool, &call).with_value(eth_wei);
    account.execute(&order).await?;
    Ok(())
}

/// Mints stake tokens; development chains only.
///
/// # Errors
///
/// As [`join`].
pub async fn mint(
    account: &Account,
    deployment: &Deployment,
    to: Address,
    amount_wei: U256,
) -> Result<(), L1Error> {
    let call = bindings::mintCall { to, amountWei: amount_wei };
    account.execute(&Order::call(deployment.stake_token, &call)).await?;
    Ok(())
}

/// Sends ETH.
///
/// # Errors
///
/// As [`join`].
pub async fn send_eth(account: &Account, to: Address, amount_wei: U256) -> Result<(), L1Error> {
    let order = Order {
        to: Some(to),
        value_wei: amount_wei,
        input: Bytes::new(),
        gas: Some(21_000),
        what: "transfer",
    };
    account.execute(&order).await?;
    Ok(())
}

/// How far a seal came (R4): it takes two calls, with L1 blocks in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealStep {
    /// The set was frozen just now, and the block that its seed comes from pinned.
    Pinned,
    /// Nobody has done so, and it was not to be done.
    Unpinned,
    /// That block is there too short a time, or not yet.
    Waiting {
        /// Its number.
        pinned: u64,
    },
    /// The set is sealed.
    Sealed,
}

/// Takes the next step towards the seal of `epoch` (R2, R4): pins it if nobody has and it `pins`, and seals it `patience` L1 blocks later
/// than it could be sealed at first.
///
/// # Errors
///
/// As [`join`]; [`L1Error::BadAnswer`] when no node has the pinned block's header in a form that L1 takes.
pub async fn seal(
    account: &Account,
    deployment: &Deployment,
    epoch: Epoch,
    pins: bool,
    patience: u64,
) -> Result<SealStep, L1Error> {
    let to = deployment.settlement;
    let client = &account.client;
    let pinned = client.call(to, &IRota::pinnedCall {}).await?;
    if pinned == 0 && !pins {
        return Ok(SealStep::Unpinned);
    }
    if pinned == 0 {
        account.execute(&Order::call(to, &IRota::pinCall { epoch: epoch.get() })).await?;
        return Ok(SealStep::Pinned);
    }
    if client.head().await?.number <= pinned.saturating_add(patience) {
        return Ok(SealStep::Waiting { pinned });
    }
    let (header, _) = client.raw_header(pinned).await?;
    account.execute(&Order::call(to, &IRota::sealCall { epoch: epoch.get(), header })).await?;
    Ok(SealStep::Sealed)
}

/// Where the settled chain stands.
///
/// # Errors
///
/// As [`join`].
pub async fn tip(client: &Client, deployment: &Deployment) -> Result<SettledTip, L1Error> {
    let tip = client.call(deployment.settlement, &IBatchInbox::tipCall {}).await?;
    Ok(SettledTip {
        number: BatchNumber::new(tip.number),
        last_height: Height::new(tip.lastHeight),
        last_block_hash: tip.lastBlockHash,
        epoch: Epoch::new(tip.epoch),
        timestamp: Seconds::new(tip.timestamp),
        settled_at: Seconds::new(tip.settledAt),
    })
}

/// Gas that an included transaction used.
///
/// # Errors
///
/// [`L1Error::BadAnswer`] when no node knows its receipt, or what is in the way to L1.
pub async fn gas_used(client: &Client, tx_hash: B256) -> Result<u64, L1Error> {
    let receipt = client.receipt(tx_hash).await?;
    receipt.map(|receipt| receipt.gas_used).ok_or(L1Error::BadAnswer { what: "receipt" })
}

/// One sequencer as the registry knows it.
///
/// # Errors
///
/// As [`join`].
pub async fn sequencer(
    client: &Client,
    deployment: &Deployment,
    id: u32,
) -> Result<SequencerRecord, L1Error> {
    let call = ISequencerRegistry::sequencerCall { id };
    let known = client.call(deployment.registry, &call).await?;
    Ok(SequencerRecord {
        id,
        owner: known.owner,
        signer: known.signer,
        poster: known.poster,
        status: convert::status(known.status),
        stake_wei: known.assetsWei,
    })
}

/// All sequencers that ever joined.
///
/// # Errors
///
/// As [`join`].
pub async fn sequencers(
    client: &Client,
    deployment: &Deployment,
) -> Result<Vec<SequencerRecord>, L1Error> {
    let count = client.call(deployment.registry, &ISequencerRegistry::countCall {}).await?;
    let mut all = Vec::new();
    for id in 1..=count {
        all.push(sequencer(client, deployment, id).await?);
    }
    Ok(all)
}

/// Id of the sequencer behind a signer or a poster address; `None` if there is none.
///
/// # Errors
///
/// As [`join`].
pub async fn id_of(
    client: &Client,
    deployment: &Deployment,
    signer: Address,
) -> Result<Option<u32>, L1Error> {
    let id =
        client.call(deployment.registry, &ISequencerRegistry::idOfCall { key: signer }).await?;
    Ok((id != 0).then_some(id))
}

async fn approve(
    account: &Account,
    deployment: &Deployment,
    spender: Address,
    amount_wei: U256,
) -> Result<(), L1Error> {
    let allowance = IERC20::allowanceCall { owner: account.address(), spender };
    if account.client().call(deployment.stake_token, &allowance).await? >= amount_wei {
        return Ok(());
    }
    let call = IERC20::approveCall { spender, value: amount_wei };
    account.execute(&Order::call(deployment.stake_token, &call)).await?;
    Ok(())
}

/// The proof that whoever joins as `owner` holds `signer`'s key too.
fn possession(deployment: &Deployment, owner: Address, signer: &SecretKey) -> Bytes {
    let domain = SigningDomain::new(deployment.chain_id, deployment.registry);
    let digest = domain.possession(owner, signer.address());
    Bytes::from(signer.sign(digest).to_rsv().to_vec())
}

/// The first event of a kind in a receipt.
pub(super) fn event<E: SolEvent>(receipt: &TransactionReceipt) -> Result<E, L1Error> {
    receipt
        .inner
        .logs()
        .iter()
        .find_map(|log| E::decode_log(&log.inner).ok())
        .map(|log| log.data)
        .ok_or(L1Error::BadAnswer { what: E::SIGNATURE })
}
