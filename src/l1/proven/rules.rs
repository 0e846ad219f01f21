//! What members should not have signed and L1 cannot judge: the rules of blocks, seen from L1 alone. Pure.
//!
//! L1 checks a batch's header and not the blocks under it. More than two thirds of a set can therefore settle blocks that
//! break R12 to R17. That changes nothing in what is derived (R44), and everything in whom to trust, so it is named. What L1
//! does check of R22 and R26 is checked again: should it be broken, the contracts are not the ones that this code knows.

use super::cuts::Cuts;
use super::pins::Pins;
use super::reader::ProvenBlock;
use crate::batch::body::body_bytes;
use crate::batch::payload::max_body_bytes;
use crate::derive::{DerivedBatch, NoopReason};
use crate::domain::{
    Block, BlockHeader, Epoch, Generation, Height, L1Block, LeaderSet, Params, Place, Seconds,
    SettledBatch,
};
use crate::l1::Mirror;
use crate::l1::bindings::{IForcedInbox, IRestart, IRota};
use alloy::primitives::{Address, B256, keccak256};
use alloy::sol_types::{SolEvent as _, SolValue as _};

/// A rule that was broken, by whom and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, as docs/PROTOCOL.md numbers it.
    pub rule: &'static str,
    /// The batch, if it is about one.
    pub batch: Option<u64>,
    /// The height, if it is about a block.
    pub height: Option<u64>,
    /// The L1 block that holds it.
    pub l1_block: u64,
    /// What is wrong, with what it should have been.
    pub what: String,
}

/// What the rules need to know of what came before.
#[derive(Debug, Default)]
pub(super) struct Rules {
    parent: Option<BlockHeader>,
    /// Epoch and timestamp of the batch before.
    batch: Option<(Epoch, Seconds)>,
    /// L1 blocks of the entries of the forced queue, in order.
    entries: Vec<u64>,
    chain_hash: B256,
    pins: Pins,
    cuts: Cuts,
}

/// Collects what is wrong in one place.
struct Finder<'a> {
    found: &'a mut Vec<Violation>,
    batch: Option<u64>,
    height: Option<u64>,
    l1_block: u64,
}

impl Finder<'_> {
    fn expect(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            let (batch, height, l1_block) = (self.batch, self.height, self.l1_block);
            self.found.push(Violation { rule, batch, height, l1_block, what: what() });
        }
    }
}

/// What rules ask of L1 and of the mirror.
pub(super) struct View<'a> {
    pub(super) mirror: &'a Mirror,
    /// Canonical L1 blocks, proven.
    pub(super) l1: &'a dyn Fn(u64) -> Option<L1Block>,
    /// Who sent the settling transaction.
    pub(super) sender: Option<Address>,
}

impl Rules {
    /// Looks at the events of an L1 block: pins, seals and the forced queue.
    pub(super) fn see(&mut self, block: &ProvenBlock, params: &Params, found: &mut Vec<Violation>) {
        let (batch, height, l1_block) = (None, None, block.block.number);
        let mut finder = Finder { found, batch, height, l1_block };
        for log in &block.logs {
            if let Ok(event) = IRota::Sealed::decode_log(&log.inner) {
                let pinned = block.pinned.iter().find(|(number, _)| *number == event.pinned);
                let random = pinned.map(|(_, prev_randao)| *prev_randao);
                for what in self.pins.sealed(&event.data, &block.block, random, params) {
                    finder.expect(false, "R4", || what);
                }
                let code = block.codes.iter().find(|(pointer, _)| *pointer == event.pointer);
                let set = code
                    .and_then(|(_, code)| LeaderSet::from_code(code, Epoch::new(event.epoch)).ok())
                    // Epochs that are sealed with the same members share the code.
                    .map(|set| set.with_seed(event.seed));
                match set.map(|set| crate::l1::convert::is_sealed(&set, &event.data)) {
                    Some(Ok(())) => {}
                    Some(Err(field)) => finder.expect(false, "R4", || {
                        format!("the set of epoch {} is stored with another {field}", event.epoch)
                    }),
                    None => finder.expect(false, "R4", || {
                        format!("the set of epoch {} is not stored as a set", event.epoch)
                    }),
                }
            } else if let Ok(event) = IRota::Pinned::decode_log(&log.inner) {
                for what in self.pins.pinned(&event.data, &block.block, params) {
                    finder.expect(false, "R4", || what);
                }
            } else if let Ok(event) = IRestart::RestartOpened::decode_log(&log.inner) {
                self.pins.opened(&event.data);
            } else if let Ok(event) = IRestart::CheckInClosed::decode_log(&log.inner) {
                for what in self.pins.closed(&event.data, &block.block, params) {
                    finder.expect(false, "R33", || what);
                }
            } else if let Ok(event) = IRestart::GenerationStarted::decode_log(&log.inner) {
                self.pins.began(&event.data);
            } else if let Ok(event) = IForcedInbox::ForcedEnqueued::decode_log(&log.inner) {
                let entry = (
                    self.chain_hash,
                    event.index,
                    event.rollup,
                    event.sender,
                    keccak256(&event.transaction),
                );
                let expected = keccak256(entry.abi_encode());
                finder.expect(event.chainHash == expected, "R31", || {
                    format!(
                        "entry {} has chain hash {}, expected {expected}",
                        event.index, event.chainHash
                    )
                });
                self.chain_hash = event.chainHash;
                self.entries.push(l1_block);
            } else if let Ok(event) = IRota::GenesisFixed::decode_log(&log.inner) {
                let genesis = crate::l1::convert::block_header(&event.header);
                self.cuts.begin(&genesis);
                self.parent = Some(genesis);
            }
        }
    }

    /// Looks at a settled batch and its blocks.
    pub(super) fn settled(
        &mut self,
        batch: &SettledBatch,
        derived: &DerivedBatch,
        view: &View<'_>,
        found: &mut Vec<Violation>,
    ) {
        let number = Some(batch.number.get());
        let l1_block = batch.block.number;
        let mut finder = Finder { found, batch: number, height: None, l1_block };
        self.judge_header(batch, view, &mut finder);
        let (parent, params) = (self.parent.as_ref(), &view.mirror.params);
        let begun = began(view.mirror, batch.header.generation, batch.header.first_height);
        for one in self.cuts.take(batch, &derived.blocks, parent, begun, params) {
            let (batch, l1_block) = (Some(one.batch), one.l1_block);
            Finder { found: &mut *finder.found, batch, height: None, l1_block }.expect(
                false,
                "R23",
                || one.what.clone(),
            );
        }
        for block in &derived.blocks {
            finder.height = Some(block.header.height.get());
            self.judge_block(batch, block, view, &mut finder);
            self.parent = Some(block.header.clone());
        }
        if derived.blocks.is_empty() {
            // Nobody knows the last block of a payload that does not decode.
            self.parent = None;
        }
        for noop in &derived.noops {
            if let (Place::Block { height, .. }, NoopReason::Invalid(error)) =
                (noop.place, &noop.reason)
            {
                finder.height = Some(height.get());
                finder.expect(false, "R17", || {
                    format!("transaction {} is none: {error}", noop.transaction.hash())
                });
            }
        }
        self.batch = Some((batch.header.epoch, batch.header.timestamp));
    }

    fn judge_header(&self, batch: &SettledBatch, view: &View<'_>, finder: &mut Finder<'_>) {
        let (header, params) = (&batch.header, &view.mirror.params);
        let running = params.epoch_at(batch.block.timestamp);
        let (epoch, timestamp) = (header.epoch, header.timestamp);
        if let Some((before, then)) = self.batch {
            finder.expect(epoch >= before, "R22", || {
                format!("is attested in epoch {epoch}, below {before} of the batch before")
            });
            finder.expect(timestamp >= then, "R26", || {
                format!("is of {timestamp}, the batch before of {then}")
            });
        }
        let oldest = running.get().saturating_sub(params.max_epoch_lag);
        finder.expect((oldest..=running.get()).contains(&epoch.get()), "R22", || {
            format!("is attested in epoch {epoch}, expected {oldest} to {running}")
        });
        let latest = batch.block.timestamp.get().saturating_add(params.drift_seconds);
        finder.expect(timestamp.get() <= latest, "R26", || {
            format!("is of {timestamp}, at most {latest} when it settled")
        });
        finder.expect(header.l1_origin_number < batch.block.number, "R26", || {
            format!("names origin {}, not below its own L1 block", header.l1_origin_number)
        });
        if let Some(sender) = view.sender {
            finder.expect(batch.poster == sender, "R28", || {
                format!("has poster {}, but {sender} sent it", batch.poster)
            });
        }
    }

    fn judge_block(
        &self,
        batch: &SettledBatch,
        block: &Block,
        view: &View<'_>,
        finder: &mut Finder<'_>,
    ) {
        let (header, params) = (&block.header, &view.mirror.params);
        let epoch = header.epoch;
        finder.expect(epoch <= batch.header.epoch, "R22", || {
            format!("is of epoch {epoch}, above {} in which it was attested", batch.header.epoch)
        });
        let set = view.mirror.set_for(header.generation, epoch);
        let is_member = set.is_some_and(|set| set.index_of(header.proposer).is_some());
        finder.expect(is_member, "R14", || {
            format!("was proposed by {}, who is in no set of epoch {epoch}", header.proposer)
        });
        judge_origin(header, view, finder);

        let bytes = body_bytes(&block.transactions);
        let most = max_body_bytes(params);
        finder.expect(bytes <= most, "R17", || format!("has {bytes} bytes, at most {most}"));
        for transaction in &block.transactions {
            let rollup = transaction.rollup;
            finder.expect(view.mirror.is_open(rollup, header.l1_origin_number), "R43", || {
                format!("has {} of rollup {rollup}, which was not open", transaction.hash())
            });
        }
        if let Some(parent) = &self.parent {
            self.judge_child(header, parent, view, finder);
        }
    }

    fn judge_child(
        &self,
        header: &BlockHeader,
        parent: &BlockHeader,
        view: &View<'_>,
        finder: &mut Finder<'_>,
    ) {
        let params = &view.mirror.params;
        let begun = (header.generation != parent.generation)
            .then(|| began(view.mirror, header.generation, header.height))
            .flatten();
        let expected = match begun {
            Some(epoch) => Some(epoch),
            None => (view.l1)(parent.l1_origin_number)
                .map(|origin| parent.epoch.max(params.epoch_at(origin.timestamp))),
        };
        if let Some(expected) = expected {
            let epoch = header.epoch;
            finder.expect(epoch == expected, "R15", || {
                format!("is of epoch {epoch}, expected {expected}")
            });
        }
        let (origin, before) = (header.l1_origin_number, parent.l1_origin_number);
        finder.expect(origin >= before, "R16", || {
            format!("names origin {origin}, below its parent's {before}")
        });
        let (time, then) = (header.timestamp, parent.timestamp);
        finder.expect(time >= then, "R17", || format!("is of {time} ms, its parent of {then} ms"));
        self.judge_forced(header, parent, params, finder);
    }

    /// The forced queue as it was at the block's origin (R17).
    fn judge_forced(
        &self,
        header: &BlockHeader,
        parent: &BlockHeader,
        params: &Params,
        finder: &mut Finder<'_>,
    ) {
        const STEP: u64 = 16;
        let origin = header.l1_origin_number;
        let count = |until: Option<u64>| {
            let until = until.map(|until| self.entries.partition_point(|block| *block <= until));
            u64::try_from(until.unwrap_or_default()).unwrap_or(u64::MAX)
        };
        let length = count(Some(origin));
        let due = count(origin.checked_sub(params.forced_deadline_blocks));
        let before = parent.forced_through;
        let most = before.saturating_add(STEP).min(length).max(before);
        let least = before.max(due.min(before.saturating_add(STEP)));
        let through = header.forced_through;
        finder.expect((least..=most).contains(&through), "R17", || {
            format!("consumes forced entries through {through}, expected {least} to {most}")
        });
    }
}

fn judge_origin(header: &BlockHeader, view: &View<'_>, finder: &mut Finder<'_>) {
    let number = header.l1_origin_number;
    let Some(origin) = (view.l1)(number) else {
        finder.expect(false, "R16", || format!("names origin {number}, which is no L1 block here"));
        return;
    };
    finder.expect(header.l1_origin_hash == origin.hash, "R16", || {
        format!("names {} as L1 block {number}, expected {}", header.l1_origin_hash, origin.hash)
    });
    let least = origin.timestamp.get().saturating_mul(1_000);
    finder.expect(header.timestamp.get() >= least, "R16", || {
        format!("is of {} ms, before its origin's {least} ms", header.timestamp)
    });
}

/// The epoch in which a generation began, if its first block has this height (R33).
fn began(mirror: &Mirror, generation: Generation, height: Height) -> Option<Epoch> {
    let start = mirror.generations.get(&generation)?;
    (start.last_height.next() == height).then_some(start.epoch)
}
