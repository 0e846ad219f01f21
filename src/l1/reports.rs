//! What reporters do on L1 besides [`super::duties::report`]: accuse absent sequencers, and commit to a report before they
//! make it.

use super::account::{Account, Order};
use super::actions::event;
use super::bindings::{ICalendar, IRota, ISlasher, ITally};
use super::client::Client;
use super::duties::KeyReference;
use super::error::L1Error;
use crate::domain::{Deployment, Epoch, Evidence, VoteType};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::sol_types::SolValue as _;

/// Turns in which a batch ended, and how many of them were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// All of them.
    pub all: U256,
    /// Those that were missed (R29).
    pub missed: U256,
}

impl Turns {
    /// Whether R35 jails for this much: three missed at least, and more than half.
    pub fn are_absence(&self) -> bool {
        self.missed >= U256::from(3_u8) && self.missed.saturating_add(self.missed) > self.all
    }
}

/// Turns of a sequencer that were booked for epochs `first` to `last`.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn turns_between(
    client: &Client,
    deployment: &Deployment,
    sequencer: u32,
    first: Epoch,
    last: Epoch,
) -> Result<Turns, L1Error> {
    let call = ITally::turnsBetweenCall { sequencer, first: first.get(), last: last.get() };
    let booked = client.call(deployment.tally, &call).await?;
    Ok(Turns { all: booked.turns, missed: booked.missed })
}

/// Reports that a sequencer misses its turns (R35). Returns the case's id.
///
/// # Errors
///
/// [`L1Error::Reverted`] when it is not jailed for that, or what is in the way to L1.
pub async fn report_missed_turns(
    account: &Account,
    deployment: &Deployment,
    sequencer: u32,
) -> Result<B256, L1Error> {
    let order = Order::call(deployment.slasher, &ISlasher::reportMissedTurnsCall { sequencer });
    let receipt = account.execute(&order).await?;
    event::<ISlasher::Reported>(&receipt).map(|event| event.caseId)
}

/// Generations in whose sets a key is looked for: each but the first began with a restart.
const GENERATIONS_BACK: usize = 3;

/// The place of `signer`'s key in the newest of the last `back` epochs' sets that holds it, of the running generation or of one
/// of the two before.
///
/// # Errors
///
/// What keeps the nodes from answering.
pub async fn place_of(
    client: &Client,
    deployment: &Deployment,
    signer: Address,
    now: Epoch,
    back: u64,
) -> Result<Option<KeyReference>, L1Error> {
    let running = client.call(deployment.settlement, &ICalendar::generationCall {}).await?;
    for generation in (0..=running).rev().take(GENERATIONS_BACK) {
        for epoch in (now.get().saturating_sub(back)..=now.get()).rev() {
            let call = IRota::leaderSetOfCall { generation, epoch };
            let set = match client.call(deployment.settlement, &call).await {
                Ok(set) => set,
                // No set of this generation was in force yet.
                Err(L1Error::Reverted { .. }) => break,
                Err(error) => return Err(error),
            };
            let index = set.members.iter().position(|member| member.signer == signer);
            if let Some(index) = index.and_then(|index| u8::try_from(index).ok()) {
                let generation = crate::domain::Generation::new(generation);
                let epoch = Epoch::new(epoch);
                return Ok(Some(KeyReference::InSet { generation, epoch, index }));
            }
        }
    }
    Ok(None)
}

/// The id that L1 gives the case of an offence of a sequencer.
pub fn case_id(sequencer: u32, evidence: &Evidence) -> B256 {
    let (offence, generation, position) = match evidence {
        Evidence::DoubleProposal { a: (a, _), .. } => {
            (0_u8, a.generation, position(a.height.get(), a.round.get(), 0))
        }
        Evidence::DoubleVote { vote_type, a: (a, _), .. } => {
            let vote_type = match vote_type {
                VoteType::Prevote => 0,
                VoteType::Precommit => 1,
            };
            (1, a.generation, position(a.height.get(), a.round.get(), vote_type))
        }
        Evidence::DoubleAttestation { a: (a, _), b: (b, _), height, .. } => {
            // Where one batch begins after the other, they differ in the block below.
            let follows = a.last_height.next() == b.first_height && *height == b.first_height
                || b.last_height.next() == a.first_height && *height == a.first_height;
            let differing = height.get().saturating_sub(u64::from(follows));
            (2, a.generation, position(differing, 0, 0))
        }
    };
    let words =
        (U256::from(offence), U256::from(sequencer), U256::from(generation.get()), position);
    let mut id = keccak256(words.abi_encode());
    // Of the hash it has the front; its end says against whom it is.
    if let Some((_, rest)) = id.split_first_chunk_mut::<7>() {
        rest.fill(0);
    }
    if let Some(end) = id.last_chunk_mut::<4>() {
        *end = sequencer.to_be_bytes();
    }
    id
}

/// Height 64, round 32, vote type 8.
fn position(height: u64, round: u32, vote_type: u8) -> B256 {
    let word = U256::from(height).wrapping_shl(40) | U256::from(round).wrapping_shl(8);
    B256::from(word | U256::from(vote_type))
}

/// Commits the account to a report, whose calldata `report` is, with a salt that nobody can guess.
///
/// # Errors
///
/// What is in the way to L1.
pub async fn commit(
    account: &Account,
    deployment: &Deployment,
    report: &Bytes,
    salt: B256,
) -> Result<(), L1Error> {
    let commitment = keccak256((keccak256(report), account.address(), salt).abi_encode());
    let call = ISlasher::commitCall { commitment };
    account.execute(&Order::call(deployment.slasher, &call)).await?;
    Ok(())
}

/// Makes the report to which the account committed in an earlier block: the bounty of all the offender's cases is the
/// account's, if nobody reported or committed earlier. Returns the case's id.
///
/// # Errors
///
/// [`L1Error::Reverted`] when it is not the account's, or proves nothing, or what is in the way to L1.
pub async fn claim_case(
    account: &Account,
    deployment: &Deployment,
    report: &Bytes,
    salt: B256,
) -> Result<B256, L1Error> {
    let call = ISlasher::claimCaseCall { report: report.clone(), salt };
    let receipt = account.execute(&Order::call(deployment.slasher, &call)).await?;
    event::<ISlasher::CaseClaimed>(&receipt).map(|event| event.caseId)
}

/// Burns what slashes took and left to nobody. Returns how much it was, in wei of the stake token.
///
/// # Errors
///
/// [`L1Error::Reverted`] when there is nothing, or the token refuses; or what is in the way to L1.
pub async fn sweep(account: &Account, deployment: &Deployment) -> Result<U256, L1Error> {
    let receipt =
        account.execute(&Order::call(deployment.slasher, &ISlasher::sweepCall {})).await?;
    event::<ISlasher::Swept>(&receipt).map(|event| event.amountWei)
}
