//! Tells what is found as it is found: a line each, for people or for programs.

use super::records::{self, FORMAT, L1Place, Record, Stand, Summary};
use crate::derive::{Item, Noop};
use crate::domain::{Block, Deployment, RollupId};
use crate::l1::Derived;
use crate::l1::proven::{Proven, Verified, Wire};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

/// A chain whose block at depth is older than this has stopped, or the node has.
const OLD_SECONDS: u64 = 3_600;

/// Writes what is found, and keeps count.
pub(super) struct Teller<O> {
    out: O,
    json: bool,
    rollup: RollupId,
    summary: Summary,
    /// What was counted up to each L1 block, for those who follow: what a reorg takes back counts no more.
    counted: BTreeMap<u64, Counted>,
}

/// What was told so far.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    transactions: u64,
    noops: u64,
    violations: u64,
}

impl<O: Write> Teller<O> {
    pub(super) fn new(out: O, json: bool, rollup: u64) -> Self {
        let summary = Summary { rollup, ..Summary::default() };
        Self { out, json, rollup: RollupId::new(rollup), summary, counted: BTreeMap::new() }
    }

    fn line(&mut self, record: &Record) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut self.out, record)?;
            self.out.write_all(b"\n")?;
            return self.out.flush();
        }
        match text(record) {
            Some(text) => writeln!(self.out, "{text}"),
            None => Ok(()),
        }
    }

    pub(super) fn start<W: Wire>(
        &mut self,
        deployment: &Deployment,
        proven: &Proven<W>,
    ) -> io::Result<()> {
        let anchor = proven.anchor_block();
        self.read(proven);
        self.line(&Record::Start {
            format: FORMAT,
            rollup: self.summary.rollup,
            chain_id: deployment.chain_id,
            settlement: deployment.settlement,
            l1_block: anchor.number,
            l1_block_hash: anchor.hash,
        })
    }

    /// Notes how far L1 was read, and how much of it was believed.
    pub(super) fn read<W: Wire>(&mut self, proven: &Proven<W>) {
        let anchor = proven.anchor_block();
        self.summary.l1_block = Some(anchor.number);
        self.summary.l1_block_hash = Some(anchor.hash);
        self.summary.unproven = proven.unproven().iter().map(ToString::to_string).collect();
        self.summary.lies = proven.nodes().lies().iter().map(ToString::to_string).collect();
        self.summary.requests = proven.nodes().requests();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.summary.l1_age_seconds = now.saturating_sub(anchor.timestamp.get());
    }

    /// Tells what an L1 block meant; of batches in `told` what is the rollup's, of others only what is wrong with them.
    pub(super) fn tell(
        &mut self,
        verified: Verified,
        told: &RangeInclusive<u64>,
    ) -> io::Result<()> {
        for violation in verified.violations {
            self.summary.violations = self.summary.violations.saturating_add(1);
            self.line(&records::violation(violation))?;
        }
        for step in verified.derived {
            match step {
                Derived::Batch(batch, derived) => {
                    let number = batch.number.get();
                    let l1 = L1Place::of_batch(&batch);
                    self.summary.checked = self.summary.checked.saturating_add(1);
                    let is_told = told.contains(&number);
                    if is_told {
                        let transactions = derived.items.len().saturating_add(derived.noops.len());
                        self.line(&records::batch(&batch, transactions))?;
                    }
                    if let Some(flaw) = &derived.flaw {
                        self.summary.flawed.push(number);
                        self.line(&Record::Flaw { batch: number, reason: flaw.to_string(), l1 })?;
                    }
                    if is_told {
                        let (items, noops) = (derived.items, derived.noops);
                        self.found(Some(number), items, noops, &derived.blocks, l1)?;
                    }
                }
                // An escape belongs to no batch; it is told with the one before.
                Derived::Escape(escape, derived) if told.contains(&self.summary.checked.max(1)) => {
                    let l1 = L1Place::of_escape(&escape);
                    let (first, through) = (derived.first, derived.through);
                    self.line(&Record::Escape { first, through, l1 })?;
                    self.found(None, derived.items, derived.noops, &[], l1)?;
                }
                Derived::Escape(..) => {}
            }
        }
        Ok(())
    }

    /// Tells what is the rollup's, in order of place.
    fn found(
        &mut self,
        batch: Option<u64>,
        items: Vec<Item>,
        noops: Vec<Noop>,
        blocks: &[Block],
        l1: L1Place,
    ) -> io::Result<()> {
        let rollup = self.rollup;
        for item in items {
            if item.transaction.transaction.rollup == rollup {
                self.summary.transactions = self.summary.transactions.saturating_add(1);
                let stand = Stand::new(batch, item.place, blocks);
                self.line(&records::transaction(stand, item, l1))?;
            }
        }
        for noop in noops {
            if noop.transaction.rollup == rollup {
                self.summary.noops = self.summary.noops.saturating_add(1);
                let stand = Stand::new(batch, noop.place, blocks);
                self.line(&records::noop(stand, noop, l1))?;
            }
        }
        Ok(())
    }

    /// Takes note that all up to this L1 block is told.
    pub(super) fn mark(&mut self, l1_block: u64) {
        let Summary { transactions, noops, violations, .. } = self.summary;
        self.counted.insert(l1_block, Counted { transactions, noops, violations });
    }

    /// Tells that L1 took back what was told of later blocks.
    pub(super) fn reorganised(&mut self, kept_l1_block: u64, kept_batch: u64) -> io::Result<()> {
        self.counted.split_off(&kept_l1_block.saturating_add(1));
        let kept = self.counted.last_key_value().map(|(_, counted)| *counted).unwrap_or_default();
        (self.summary.transactions, self.summary.noops) = (kept.transactions, kept.noops);
        (self.summary.violations, self.summary.checked) = (kept.violations, kept_batch);
        self.summary.flawed.retain(|batch| *batch <= kept_batch);
        self.line(&Record::Reorg { kept_l1_block, kept_batch })
    }

    /// What the settlers did wrong, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        let Summary { flawed, violations, .. } = &self.summary;
        let flawed: Vec<String> = flawed.iter().map(u64::to_string).collect();
        let flaws = (!flawed.is_empty()).then(|| {
            format!("batches whose payload is not what was signed: {}", flawed.join(", "))
        });
        let broken =
            (*violations > 0).then(|| format!("{violations} rules broken, each named above"));
        let faults: Vec<String> = [flaws, broken].into_iter().flatten().collect();
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    /// The last line.
    pub(super) fn finish(&mut self, error: Option<&str>, exit_code: u8) -> io::Result<()> {
        let mut summary = std::mem::take(&mut self.summary);
        (summary.error, summary.exit_code) = (error.map(str::to_owned), exit_code);
        self.line(&Record::Summary(Box::new(summary)))
    }
}

fn text(record: &Record) -> Option<String> {
    Some(match record {
        Record::Start { .. } | Record::Batch { .. } | Record::Escape { .. } => return None,
        Record::Transaction { stand, hash, sender, nonce, .. } => {
            format!("{stand} {hash} from {sender} nonce {nonce}")
        }
        Record::Noop { stand, hash, reason, detail, .. } => {
            let detail = detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{stand} {hash} has no effect: {reason}{detail}")
        }
        Record::Flaw { batch, reason, l1 } => format!(
            "batch {batch} (L1 block {}, transaction {}) counts for nothing: {reason}",
            l1.l1_block, l1.l1_transaction
        ),
        Record::Violation { rule, batch, height, l1_block, what } => {
            let batch = batch.map(|batch| format!(" batch {batch}")).unwrap_or_default();
            let height = height.map(|height| format!(" height {height}")).unwrap_or_default();
            format!("{rule} is broken in L1 block {l1_block}{batch}{height}: {what}")
        }
        Record::Reorg { kept_l1_block, kept_batch } => format!(
            "L1 took back what came after its block {kept_l1_block}: batches after {kept_batch} are told again"
        ),
        Record::Summary(summary) => summary_text(summary),
    })
}

fn summary_text(summary: &Summary) -> String {
    let up_to = match (summary.l1_block, summary.l1_block_hash) {
        (Some(number), Some(hash)) => format!("up to L1 block {number} ({hash})"),
        _ => "of L1".to_owned(),
    };
    let mut text = format!(
        "{} batches {up_to}: {} transactions of rollup {}, {} without effect",
        summary.checked, summary.transactions, summary.rollup, summary.noops
    );
    text += match summary.unproven.as_slice() {
        [] => "; all of it follows from that block's hash",
        _ => "; all of it follows from that block's hash, but for ",
    };
    text += &summary.unproven.join(", ");
    if summary.l1_age_seconds > OLD_SECONDS && summary.l1_block.is_some() {
        text += &format!(
            "\nthat block is {} s old: what settled since then is not in this",
            summary.l1_age_seconds
        );
    }
    for lie in &summary.lies {
        text += &format!("\nanother node told the truth where one did not: {lie}");
    }
    if summary.error.is_some() {
        text += "\nthis is not all: see the error";
    }
    text
}
