//! Who may do what for a sequencer or a rollup, and who is paid what they take out (R48).

use super::account::{Account, Order};
use super::bindings::{IRollups, ISequencerRegistry};
use super::client::Client;
use super::error::L1Error;
use crate::domain::{Deployment, RollupId};
use alloy::primitives::Address;

/// What a sequencer's owner has given to others. The zero address is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// To whom it is offered.
    pub next_owner: Address,
    /// Who runs it besides its owner.
    pub operator: Address,
    /// Whom all that its owner takes out is paid to.
    pub withdrawal: Address,
}

/// What the owner of sequencer `id` has given to others.
///
/// # Errors
///
/// What is in the way to L1.
pub async fn rights(client: &Client, deployment: &Deployment, id: u32) -> Result<Rights, L1Error> {
    let call = ISequencerRegistry::rightsOfCall { id };
    let known = client.call(deployment.registry, &call).await?;
    Ok(Rights {
        next_owner: known.nextOwner,
        operator: known.operator,
        withdrawal: known.withdrawal,
    })
}

/// Offers a sequencer of `owner` to `next`; the zero address takes the offer back.
///
/// # Errors
///
/// [`L1Error::Reverted`] with the registry's reason, or what is in the way to L1.
pub async fn propose_owner(
    owner: &Account,
    deployment: &Deployment,
    id: u32,
    next: Address,
) -> Result<(), L1Error> {
    let call = ISequencerRegistry::proposeOwnerCall { id, next };
    owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Takes over a sequencer that was offered to `account`, if what it pays goes to `withdrawal`.
///
/// # Errors
///
/// As [`propose_owner`].
pub async fn accept_owner(
    account: &Account,
    deployment: &Deployment,
    id: u32,
    withdrawal: Address,
) -> Result<(), L1Error> {
    let call = ISequencerRegistry::acceptOwnerCall { id, withdrawal };
    account.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Lets `operator` run a sequencer of `owner` as well; the zero address is nobody.
///
/// # Errors
///
/// As [`propose_owner`].
pub async fn set_operator(
    owner: &Account,
    deployment: &Deployment,
    id: u32,
    operator: Address,
) -> Result<(), L1Error> {
    let call = ISequencerRegistry::setOperatorCall { id, operator };
    owner.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Has what the owner of a sequencer takes out paid to `to`. `account` is the owner where nobody is named yet, else who is.
///
/// # Errors
///
/// As [`propose_owner`].
pub async fn set_withdrawal(
    account: &Account,
    deployment: &Deployment,
    id: u32,
    to: Address,
) -> Result<(), L1Error> {
    let call = ISequencerRegistry::setWithdrawalCall { id, to };
    account.execute(&Order::call(deployment.registry, &call)).await?;
    Ok(())
}

/// Offers a rollup of `owner` to `next`; the zero address takes the offer back.
///
/// # Errors
///
/// As [`propose_owner`].
pub async fn propose_rollup_owner(
    owner: &Account,
    deployment: &Deployment,
    rollup: RollupId,
    next: Address,
) -> Result<(), L1Error> {
    let call = IRollups::proposeOwnerCall { chainId: rollup.get(), next };
    owner.execute(&Order::call(deployment.rollups, &call)).await?;
    Ok(())
}

/// Takes over a rollup that was offered to `account`.
///
/// # Errors
///
/// As [`propose_owner`].
pub async fn accept_rollup_owner(
    account: &Account,
    deployment: &Deployment,
    rollup: RollupId,
) -> Result<(), L1Error> {
    let call = IRollups::acceptOwnerCall { chainId: rollup.get() };
    account.execute(&Order::call(deployment.rollups, &call)).await?;
    Ok(())
}

/// Closes a rollup of `owner`, or opens it again.
///
/// # Errors
///
/// As [`propose_owner`].
pub async fn set_rollup_closed(
    owner: &Account,
    deployment: &Deployment,
    rollup: RollupId,
    closed: bool,
) -> Result<(), L1Error> {
    let call = IRollups::setClosedCall { chainId: rollup.get(), closed };
    owner.execute(&Order::call(deployment.rollups, &call)).await?;
    Ok(())
}
