//! What events on L1 say, in domain types: all that the mirror is made of besides blocks.

use super::bindings::{
    IBatchInbox, IForcedInbox, IRestart, IRollups, IRota, ISequencerRegistry, ISlasher, Status,
};
use super::client::Client;
use super::convert;
use super::error::L1Error;
use super::settlement;
use crate::domain::{
    BatchNumber, BlockHeader, Deployment, Epoch, ForcedEntry, ForcedEscape, Generation,
    GenerationStart, Height, L1Block, LeaderSet, RollupId, RollupTransaction, Seconds,
    SettledBatch,
};
use crate::storage::Store;
use alloy::primitives::{Address, B256, U256};
use alloy::rpc::types::{Filter, Log};
use alloy::sol_types::SolEvent;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::warn;

/// One thing that L1 said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Block 0 was fixed.
    Genesis(BlockHeader),
    /// A set was frozen.
    Sealed(Arc<LeaderSet>),
    /// A restart was opened: until when sequencers check in, and until when it can be finished.
    RestartOpened { check_in_until: Seconds, finish_until: Seconds },
    /// A sequencer said that it is there.
    CheckedIn { id: u32 },
    /// A sequencer said so after it had missed a restart.
    Returned { id: u32 },
    /// A restart was finished.
    GenerationStarted(GenerationStart),
    /// A sequencer joined with this key.
    Joined { id: u32, signer: Address },
    /// It took another key.
    Rotated { id: u32, signer: Address },
    /// It may count again (active or jailed), or it leaves for good (by its exit, evicted, tombstoned).
    Stays { id: u32, stays: bool },
    /// It said where it is reached.
    Endpoint { id: u32, agreement: String, link: String },
    /// A rollup was registered, funded or debited, and has this allowance now.
    RollupBalance { rollup: RollupId, balance_wei: U256 },
    /// A transaction was forced.
    Forced(Arc<ForcedEntry>),
    /// Forced entries were consumed without a batch.
    Escaped(ForcedEscape),
    /// A batch settled.
    Settled(Arc<SettledBatch>),
    /// An offence was reported.
    Reported { case: B256 },
    /// Its penalty was applied.
    Executed { case: B256 },
}

/// All events that become facts.
pub(super) fn filter(deployment: &Deployment) -> Filter {
    Filter::new()
        .address(vec![
            deployment.settlement,
            deployment.registry,
            deployment.rollups,
            deployment.slasher,
        ])
        .event_signature(vec![
            IRota::GenesisFixed::SIGNATURE_HASH,
            IRota::Sealed::SIGNATURE_HASH,
            IRestart::RestartOpened::SIGNATURE_HASH,
            IRestart::CheckedIn::SIGNATURE_HASH,
            IRestart::Returned::SIGNATURE_HASH,
            IRestart::GenerationStarted::SIGNATURE_HASH,
            IBatchInbox::BatchSettled::SIGNATURE_HASH,
            IForcedInbox::ForcedEnqueued::SIGNATURE_HASH,
            IForcedInbox::ForcedEscaped::SIGNATURE_HASH,
            ISequencerRegistry::Joined::SIGNATURE_HASH,
            ISequencerRegistry::SignerRotated::SIGNATURE_HASH,
            ISequencerRegistry::EndpointChanged::SIGNATURE_HASH,
            ISequencerRegistry::StatusChanged::SIGNATURE_HASH,
            IRollups::RollupRegistered::SIGNATURE_HASH,
            IRollups::RollupFunded::SIGNATURE_HASH,
            IRollups::RollupDebited::SIGNATURE_HASH,
            ISlasher::Reported::SIGNATURE_HASH,
            ISlasher::Executed::SIGNATURE_HASH,
        ])
}

/// Reads the logs of one block, in order. What an event only points to (a set's code, a batch's header in the
/// transaction's input) is fetched, unless the store knows the batch already.
pub(super) async fn read(
    client: &Client,
    deployment: &Deployment,
    block: &L1Block,
    logs: &[Log],
    store: Option<&Store>,
) -> Result<Vec<Fact>, L1Error> {
    let mut facts = Vec::with_capacity(logs.len());
    // Submissions of one transaction settle in the order in which its input has them.
    let mut opened: Option<(B256, std::vec::IntoIter<settlement::SettledPayload>)> = None;
    for log in logs {
        let bad = |_| L1Error::BadAnswer { what: "event" };
        let topic = log.topic0().copied().unwrap_or_default();
        let fact = match topic {
            IRota::GenesisFixed::SIGNATURE_HASH => {
                let event = IRota::GenesisFixed::decode_log(&log.inner).map_err(bad)?;
                Fact::Genesis(convert::block_header(&event.header))
            }
            IRota::Sealed::SIGNATURE_HASH => {
                let event = IRota::Sealed::decode_log(&log.inner).map_err(bad)?;
                let code = client.code(event.pointer).await?;
                Fact::Sealed(Arc::new(convert::leader_set(&code, Epoch::new(event.epoch))?))
            }
            IRestart::RestartOpened::SIGNATURE_HASH => {
                let event = IRestart::RestartOpened::decode_log(&log.inner).map_err(bad)?;
                Fact::RestartOpened {
                    check_in_until: Seconds::new(event.checkInUntil),
                    finish_until: Seconds::new(event.finishUntil),
                }
            }
            IRestart::CheckedIn::SIGNATURE_HASH => {
                let event = IRestart::CheckedIn::decode_log(&log.inner).map_err(bad)?;
                Fact::CheckedIn { id: event.id }
            }
            IRestart::Returned::SIGNATURE_HASH => {
                let event = IRestart::Returned::decode_log(&log.inner).map_err(bad)?;
                Fact::Returned { id: event.id }
            }
            IRestart::GenerationStarted::SIGNATURE_HASH => {
                let event = IRestart::GenerationStarted::decode_log(&log.inner).map_err(bad)?;
                Fact::GenerationStarted(GenerationStart {
                    generation: Generation::new(event.generation),
                    epoch: Epoch::new(event.epoch),
                    last_height: Height::new(event.lastHeight),
                    last_block_hash: event.lastBlockHash,
                    finished_in: *block,
                })
            }
            ISequencerRegistry::Joined::SIGNATURE_HASH => {
                let event = ISequencerRegistry::Joined::decode_log(&log.inner).map_err(bad)?;
                Fact::Joined { id: event.id, signer: event.signer }
            }
            ISequencerRegistry::SignerRotated::SIGNATURE_HASH => {
                let event =
                    ISequencerRegistry::SignerRotated::decode_log(&log.inner).map_err(bad)?;
                Fact::Rotated { id: event.id, signer: event.newSigner }
            }
            ISequencerRegistry::StatusChanged::SIGNATURE_HASH => {
                let event =
                    ISequencerRegistry::StatusChanged::decode_log(&log.inner).map_err(bad)?;
                let stays = matches!(event.status, Status::Active | Status::Jailed);
                Fact::Stays { id: event.id, stays }
            }
            ISequencerRegistry::EndpointChanged::SIGNATURE_HASH => {
                let event =
                    ISequencerRegistry::EndpointChanged::decode_log(&log.inner).map_err(bad)?;
                // Whoever publishes nonsense is not reached; nobody else suffers from it.
                let Some((agreement, link)) = event.endpoint.split_once(',') else {
                    warn!(sequencer = event.id, "endpoint is no pair of addresses");
                    continue;
                };
                Fact::Endpoint {
                    id: event.id,
                    agreement: agreement.trim().to_owned(),
                    link: link.trim().to_owned(),
                }
            }
            IRollups::RollupRegistered::SIGNATURE_HASH => {
                let event = IRollups::RollupRegistered::decode_log(&log.inner).map_err(bad)?;
                Fact::RollupBalance {
                    rollup: RollupId::new(event.chainId),
                    balance_wei: event.balanceWei,
                }
            }
            IRollups::RollupFunded::SIGNATURE_HASH => {
                let event = IRollups::RollupFunded::decode_log(&log.inner).map_err(bad)?;
                Fact::RollupBalance {
                    rollup: RollupId::new(event.chainId),
                    balance_wei: event.balanceWei,
                }
            }
            IRollups::RollupDebited::SIGNATURE_HASH => {
                let event = IRollups::RollupDebited::decode_log(&log.inner).map_err(bad)?;
                Fact::RollupBalance {
                    rollup: RollupId::new(event.chainId),
                    balance_wei: event.balanceWei,
                }
            }
            ISlasher::Reported::SIGNATURE_HASH => {
                let event = ISlasher::Reported::decode_log(&log.inner).map_err(bad)?;
                Fact::Reported { case: event.caseId }
            }
            ISlasher::Executed::SIGNATURE_HASH => {
                let event = ISlasher::Executed::decode_log(&log.inner).map_err(bad)?;
                Fact::Executed { case: event.caseId }
            }
            IForcedInbox::ForcedEnqueued::SIGNATURE_HASH => {
                let event = IForcedInbox::ForcedEnqueued::decode_log(&log.inner).map_err(bad)?;
                Fact::Forced(Arc::new(ForcedEntry {
                    index: event.index,
                    sender: event.sender,
                    fee_wei: event.feeWei.saturating_to(),
                    block: *block,
                    transaction: RollupTransaction {
                        rollup: RollupId::new(event.rollup),
                        raw: event.data.transaction.clone(),
                    },
                }))
            }
            IForcedInbox::ForcedEscaped::SIGNATURE_HASH => {
                let event = IForcedInbox::ForcedEscaped::decode_log(&log.inner).map_err(bad)?;
                Fact::Escaped(ForcedEscape {
                    first: event.first,
                    through: event.through,
                    block: *block,
                    tx_hash: log.transaction_hash.unwrap_or_default(),
                })
            }
            IBatchInbox::BatchSettled::SIGNATURE_HASH => {
                let event = IBatchInbox::BatchSettled::decode_log(&log.inner).map_err(bad)?;
                let tx_hash = log.transaction_hash.unwrap_or_default();
                let number = BatchNumber::new(event.number);
                let known = store.and_then(|store| store.settled(number).ok().flatten());
                if let Some(batch) =
                    known.filter(|batch| batch.tx_hash == tx_hash && batch.block == *block)
                {
                    facts.push(Fact::Settled(Arc::new(batch)));
                    continue;
                }
                if opened.as_ref().is_none_or(|(hash, _)| *hash != tx_hash) {
                    let all = settlement::fetch(client, deployment, tx_hash).await?;
                    opened = Some((tx_hash, all.into_iter()));
                }
                let found = opened.as_mut().and_then(|(_, rest)| {
                    rest.find(|payload| payload.digest(deployment) == event.headerHash)
                });
                let found = found.ok_or(L1Error::BadAnswer { what: "settlement input" })?;
                Fact::Settled(Arc::new(SettledBatch {
                    number,
                    header: found.header,
                    poster: event.poster,
                    signers: event.signers,
                    block: *block,
                    tx_hash,
                    parent_settled_at: Seconds::new(event.parentSettledAt),
                    payload_bytes: u64::try_from(found.payload.len()).unwrap_or(u64::MAX),
                    payload_tokens: event.payloadTokens,
                    late: event.late,
                }))
            }
            _ => continue,
        };
        facts.push(fact);
    }
    Ok(facts)
}

/// Logs in order, grouped by their block.
pub(super) fn by_block(logs: Vec<Log>) -> BTreeMap<u64, Vec<Log>> {
    let mut blocks: BTreeMap<u64, Vec<Log>> = BTreeMap::new();
    for log in logs {
        blocks.entry(log.block_number.unwrap_or_default()).or_default().push(log);
    }
    blocks
}
