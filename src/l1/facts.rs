//! What events on L1 say, in domain types: all that the mirror is made of besides blocks.

use super::bindings::{
    IBatchInbox, IForcedInbox, IRestart, IRollups, IRota, ISequencerRegistry, ISlasher,
};
use super::client::Client;
use super::convert;
use super::error::L1Error;
use super::{settlement, unread};
use crate::domain::{
    BatchNumber, BlockHeader, Deployment, Epoch, ForcedEntry, ForcedEscape, Generation,
    GenerationStart, Height, L1Block, LeaderSet, RollupId, RollupTransaction, Seconds,
    SequencerStatus, SettledBatch,
};
use crate::storage::Store;
use alloy::consensus::Header;
use alloy::primitives::{Address, B256, BloomInput, U256};
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
    /// A sequencer said that it is there, and weighs so much.
    CheckedIn { id: u32, weight: u64 },
    /// Check-in was closed: those who will lead lie here.
    CheckInClosed { pointer: Address },
    /// A sequencer said so after it had missed a restart.
    Returned { id: u32 },
    /// A generation began with the set that lies here: by the finish of a restart, or by a seal after an empty set.
    GenerationStarted { start: GenerationStart, pointer: Address },
    /// A sequencer joined with this key.
    Joined { id: u32, signer: Address },
    /// It took another key.
    Rotated { id: u32, signer: Address },
    /// It joined or came back (active), was jailed, or leaves for good (by its exit, evicted, tombstoned).
    Status { id: u32, status: SequencerStatus },
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
            IRestart::CheckInClosed::SIGNATURE_HASH,
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
            IRollups::RollupClosed::SIGNATURE_HASH,
            ISlasher::Reported::SIGNATURE_HASH,
            ISlasher::Executed::SIGNATURE_HASH,
        ])
}

/// [`filter`], and what becomes no fact but has to fit what does: pins.
pub(super) fn verifying_filter(deployment: &Deployment) -> Filter {
    let mut filter = filter(deployment);
    let more = vec![IRota::Pinned::SIGNATURE_HASH];
    let [topics, ..] = &mut filter.topics;
    *topics = std::mem::take(topics).extend(more);
    filter
}

/// Whether a log is one that is asked for.
pub(super) fn passes(filter: &Filter, log: &alloy::primitives::Log) -> bool {
    filter.matches_address(log.address) && filter.matches_topics(log.topics())
}

/// Whether a header's bloom leaves room for an event that is asked for: one of the contracts with one of the events.
pub(super) fn may_hold(filter: &Filter, header: &Header) -> bool {
    let has = |bytes: &[u8]| header.logs_bloom.contains_input(BloomInput::Raw(bytes));
    let [topics, ..] = &filter.topics;
    filter.address.iter().any(|address| has(address.as_slice()))
        && topics.iter().any(|topic| has(topic.as_slice()))
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
    let mut opened: Option<Opened> = None;
    // A generation's first set is sealed right before it begins.
    let mut sealed_at = Address::ZERO;
    for log in logs {
        let topic = log.topic0().copied().unwrap_or_default();
        let fact = match topic {
            IRota::GenesisFixed::SIGNATURE_HASH => {
                let Some(event) = decode::<IRota::GenesisFixed>(log) else { continue };
                Fact::Genesis(convert::block_header(&event.header))
            }
            IRota::Sealed::SIGNATURE_HASH => {
                let Some(event) = decode::<IRota::Sealed>(log) else { continue };
                // Never passed over: without it this agent would count on another set than the others do. A node may not
                // be as far as its own log, or tell another code than is there; another one is asked then.
                let read = client.checked(|| async {
                    let code = client.code(event.pointer).await?;
                    let set = convert::leader_set(&code, Epoch::new(event.epoch), event.seed)?;
                    if let Err(field) = convert::is_sealed(&set, &event) {
                        warn!(
                            epoch = event.epoch,
                            field, "an l1 node tells another leader set than was sealed"
                        );
                        return Err(L1Error::BadAnswer { what: "leader set" });
                    }
                    Ok(set)
                });
                let set = read.await?;
                sealed_at = event.pointer;
                Fact::Sealed(Arc::new(set))
            }
            IRestart::RestartOpened::SIGNATURE_HASH => {
                let Some(event) = decode::<IRestart::RestartOpened>(log) else { continue };
                Fact::RestartOpened {
                    check_in_until: Seconds::new(event.checkInUntil),
                    finish_until: Seconds::new(event.finishUntil),
                }
            }
            IRestart::CheckedIn::SIGNATURE_HASH => {
                let Some(event) = decode::<IRestart::CheckedIn>(log) else { continue };
                Fact::CheckedIn { id: event.id, weight: event.weight }
            }
            IRestart::CheckInClosed::SIGNATURE_HASH => {
                let Some(event) = decode::<IRestart::CheckInClosed>(log) else { continue };
                Fact::CheckInClosed { pointer: event.pointer }
            }
            IRestart::Returned::SIGNATURE_HASH => {
                let Some(event) = decode::<IRestart::Returned>(log) else { continue };
                Fact::Returned { id: event.id }
            }
            IRestart::GenerationStarted::SIGNATURE_HASH => {
                let Some(event) = decode::<IRestart::GenerationStarted>(log) else { continue };
                let start = GenerationStart {
                    generation: Generation::new(event.generation),
                    epoch: Epoch::new(event.epoch),
                    last_height: Height::new(event.lastHeight),
                    last_block_hash: event.lastBlockHash,
                    finished_in: *block,
                };
                Fact::GenerationStarted { start, pointer: sealed_at }
            }
            ISequencerRegistry::Joined::SIGNATURE_HASH => {
                let Some(event) = decode::<ISequencerRegistry::Joined>(log) else { continue };
                Fact::Joined { id: event.id, signer: event.signer }
            }
            ISequencerRegistry::SignerRotated::SIGNATURE_HASH => {
                let Some(event) = decode::<ISequencerRegistry::SignerRotated>(log) else {
                    continue;
                };
                Fact::Rotated { id: event.id, signer: event.newSigner }
            }
            ISequencerRegistry::StatusChanged::SIGNATURE_HASH => {
                let Some(event) = decode::<ISequencerRegistry::StatusChanged>(log) else {
                    continue;
                };
                Fact::Status { id: event.id, status: convert::status(event.status) }
            }
            ISequencerRegistry::EndpointChanged::SIGNATURE_HASH => {
                let Some(event) = decode::<ISequencerRegistry::EndpointChanged>(log) else {
                    continue;
                };
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
                let Some(event) = decode::<IRollups::RollupRegistered>(log) else { continue };
                Fact::RollupBalance {
                    rollup: RollupId::new(event.chainId),
                    balance_wei: event.balanceWei,
                }
            }
            IRollups::RollupFunded::SIGNATURE_HASH => {
                let Some(event) = decode::<IRollups::RollupFunded>(log) else { continue };
                Fact::RollupBalance {
                    rollup: RollupId::new(event.chainId),
                    balance_wei: event.allowanceWei,
                }
            }
            IRollups::RollupDebited::SIGNATURE_HASH => {
                let Some(event) = decode::<IRollups::RollupDebited>(log) else { continue };
                Fact::RollupBalance {
                    rollup: RollupId::new(event.chainId),
                    balance_wei: event.allowanceWei,
                }
            }
            IRollups::RollupClosed::SIGNATURE_HASH => {
                let Some(event) = decode::<IRollups::RollupClosed>(log) else { continue };
                Fact::RollupBalance {
                    rollup: RollupId::new(event.chainId),
                    balance_wei: event.allowanceWei,
                }
            }
            ISlasher::Reported::SIGNATURE_HASH => {
                let Some(event) = decode::<ISlasher::Reported>(log) else { continue };
                Fact::Reported { case: event.caseId }
            }
            ISlasher::Executed::SIGNATURE_HASH => {
                let Some(event) = decode::<ISlasher::Executed>(log) else { continue };
                Fact::Executed { case: event.caseId }
            }
            IForcedInbox::ForcedEnqueued::SIGNATURE_HASH => {
                let Some(event) = decode::<IForcedInbox::ForcedEnqueued>(log) else { continue };
                Fact::Forced(Arc::new(ForcedEntry {
                    index: event.index,
                    sender: event.sender,
                    fee_wei: event.feeWei.saturating_to(),
                    block: *block,
                    transaction: RollupTransaction {
                        rollup: RollupId::new(event.rollup),
                        raw: event.transaction.clone(),
                    },
                }))
            }
            IForcedInbox::ForcedEscaped::SIGNATURE_HASH => {
                let Some(event) = decode::<IForcedInbox::ForcedEscaped>(log) else { continue };
                Fact::Escaped(ForcedEscape {
                    first: event.first,
                    through: event.through,
                    block: *block,
                    tx_hash: log.transaction_hash.unwrap_or_default(),
                })
            }
            IBatchInbox::BatchSettled::SIGNATURE_HASH => {
                let Some(event) = decode::<IBatchInbox::BatchSettled>(log) else { continue };
                let tx_hash = log.transaction_hash.unwrap_or_default();
                let number = BatchNumber::new(event.number);
                let known = store.and_then(|store| store.settled(number).ok().flatten());
                if let Some(batch) = known.filter(|batch| {
                    batch.tx_hash == tx_hash && batch.block == *block && !batch.is_unread()
                }) {
                    facts.push(Fact::Settled(Arc::new(batch)));
                    continue;
                }
                if opened.as_ref().is_none_or(|opened| opened.tx_hash != tx_hash) {
                    let digest = event.headerHash;
                    let settling = settlement::fetch_with(client, deployment, tx_hash, digest);
                    let settling = settling.await?;
                    let (is_proven, rest) = (settling.is_proven, settling.batches.into_iter());
                    opened = Some(Opened { tx_hash, is_proven, rest });
                }
                let carried = opened.as_mut().and_then(|opened| {
                    let digest = event.headerHash;
                    let mut rest = opened.rest.clone();
                    let found = rest.find(|payload| payload.digest(deployment) == digest)?;
                    opened.rest = rest;
                    Some(found)
                });
                let is_proven = opened.as_ref().is_some_and(|opened| opened.is_proven);
                let (header, payload_bytes) = match carried {
                    Some(carried) => {
                        let bytes = u64::try_from(carried.payload.len()).unwrap_or(u64::MAX);
                        (carried.header, bytes)
                    }
                    None if is_proven => {
                        unread::say(number, block, tx_hash);
                        (unread::header(client, deployment, block, number).await, 0)
                    }
                    // Another input than L1 has: this node, or the next one, will tell better.
                    None => return Err(L1Error::BadAnswer { what: "settlement input" }),
                };
                Fact::Settled(Arc::new(SettledBatch {
                    number,
                    header,
                    poster: event.poster,
                    signers: event.signers,
                    block: *block,
                    tx_hash,
                    parent_settled_at: Seconds::new(event.parentSettledAt),
                    payload_bytes,
                    refund_wei: event.refundWei,
                    late: event.late,
                    led: event.led,
                }))
            }
            _ => continue,
        };
        facts.push(fact);
    }
    Ok(facts)
}

/// A settling transaction whose batches are being matched with events.
struct Opened {
    tx_hash: B256,
    is_proven: bool,
    rest: std::vec::IntoIter<settlement::SettledPayload>,
}

/// Reads an event. The contracts emit none that does not decode; should a node tell one, nobody waits for it.
fn decode<E: SolEvent>(log: &Log) -> Option<E> {
    match E::decode_log(&log.inner) {
        Ok(event) => Some(event.data),
        Err(_) => {
            pass_over(E::SIGNATURE, log);
            None
        }
    }
}

fn pass_over(what: &str, log: &Log) {
    let (block, transaction) = (log.block_number, log.transaction_hash);
    warn!(what, block, ?transaction, "l1 told what does not decode, it is passed over");
}

/// Logs in order, grouped by their block.
pub(super) fn by_block(logs: Vec<Log>) -> BTreeMap<u64, Vec<Log>> {
    let mut blocks: BTreeMap<u64, Vec<Log>> = BTreeMap::new();
    for log in logs {
        blocks.entry(log.block_number.unwrap_or_default()).or_default().push(log);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::super::bindings::{
        IForcedInbox, IRestart, IRollups, IRota, ISequencerRegistry, ISlasher,
    };
    use super::{Client, Fact, Log, read};
    use crate::domain::{Deployment, L1Block, Seconds};
    use alloy::primitives::{Address, B256, Bytes, LogData};
    use alloy::sol_types::SolEvent as _;
    use proptest::prelude::*;

    /// Events of which everything is in the log.
    const EVENTS: [B256; 14] = [
        IRota::GenesisFixed::SIGNATURE_HASH,
        IRestart::RestartOpened::SIGNATURE_HASH,
        IRestart::CheckedIn::SIGNATURE_HASH,
        IRestart::Returned::SIGNATURE_HASH,
        IRestart::GenerationStarted::SIGNATURE_HASH,
        IForcedInbox::ForcedEnqueued::SIGNATURE_HASH,
        IForcedInbox::ForcedEscaped::SIGNATURE_HASH,
        ISequencerRegistry::Joined::SIGNATURE_HASH,
        ISequencerRegistry::SignerRotated::SIGNATURE_HASH,
        ISequencerRegistry::EndpointChanged::SIGNATURE_HASH,
        IRollups::RollupClosed::SIGNATURE_HASH,
        IRollups::RollupRegistered::SIGNATURE_HASH,
        ISlasher::Reported::SIGNATURE_HASH,
        ISlasher::Executed::SIGNATURE_HASH,
    ];

    const BLOCK: L1Block = L1Block { number: 9, hash: B256::ZERO, timestamp: Seconds::new(9) };

    /// Reads logs with no node in reach.
    fn facts_of(logs: &[Log]) -> Vec<Fact> {
        let nowhere = Address::ZERO;
        let deployment = Deployment {
            chain_id: 1,
            block: 0,
            stake_token: nowhere,
            registry: nowhere,
            settlement: nowhere,
            tally: nowhere,
            slasher: nowhere,
            reward_pool: nowhere,
            rollups: nowhere,
            guardian: nowhere,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let url = "http://127.0.0.1:1".parse().unwrap();
            let client = Client::expecting(&[url], 1).await.unwrap();
            read(&client, &deployment, &BLOCK, logs, None).await.unwrap()
        })
    }

    fn log(topics: Vec<B256>, data: Vec<u8>) -> Log {
        let data = LogData::new_unchecked(topics, data.into());
        let inner = alloy::primitives::Log { address: Address::ZERO, data };
        Log { inner, ..Log::default() }
    }

    fn endpoint(text: &[u8]) -> Log {
        let mut data = vec![0; 64];
        data[31] = 32;
        data[63] = u8::try_from(text.len()).unwrap();
        data.extend_from_slice(text);
        data.resize(data.len().next_multiple_of(32), 0);
        let id = B256::with_last_byte(3);
        log(vec![ISequencerRegistry::EndpointChanged::SIGNATURE_HASH, id], data)
    }

    #[test]
    fn an_endpoint_that_is_no_text_or_no_pair_stops_nobody() {
        let good = endpoint(b"/ip4/1.2.3.4/tcp/1 , /ip4/1.2.3.4/tcp/2");
        let logs = [endpoint(b""), endpoint(b"\xff\xfe,\xff"), endpoint(b"one"), good];
        let facts = facts_of(&logs);
        let last = facts.last();
        assert!(
            matches!(last, Some(Fact::Endpoint { id: 3, link, .. }) if link == "/ip4/1.2.3.4/tcp/2")
        );
        assert!(facts.len() <= 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a node says that a contract emitted, following goes on.
        #[test]
        fn any_log_is_read_or_passed_over(
            logs in prop::collection::vec((
                any::<prop::sample::Index>(),
                prop::collection::vec(any::<[u8; 32]>(), 0..4),
                prop::collection::vec(prop_oneof![Just([0_u8; 32]), any::<[u8; 32]>(), (0_u8..200).prop_map(|n| {
                    let mut word = [0; 32];
                    word[31] = n;
                    word
                })], 0..14),
                0_usize..40,
            ), 1..12),
        ) {
            let logs: Vec<Log> = logs
                .into_iter()
                .map(|(event, topics, words, cut)| {
                    let mut all = vec![*event.get(&EVENTS)];
                    all.extend(topics.into_iter().map(B256::new));
                    let mut data = words.concat();
                    data.truncate(data.len().saturating_sub(cut.saturating_sub(20)));
                    log(all, Bytes::from(data).to_vec())
                })
                .collect();
            prop_assert!(facts_of(&logs).len() <= logs.len());
        }
    }
}
