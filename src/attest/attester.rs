//! What the attesting task does at each turn. No clock but L1's and a monotonic one for repeats; blocks on the store.

mod answer;
mod receive;

use super::budget::Budgets;
use super::decided::read_blocks;
use super::ledger::{Cut, Ledger, Signed};
use super::{CONGESTED_BATCHES, LedgerHandle, Message, Peers};
use crate::batch::payload;
use crate::batch::{BatchRange, Splitter, build_header, default_epoch};
use crate::crypto::Signature;
use crate::domain::{
    BatchHeader, BatchNumber, Block, Epoch, Evidence, Generation, Height, LeaderSet, Params,
    Seconds, SequencerId,
};
use crate::guard::{Guard, GuardError};
use crate::l1::MirrorHandle;
use crate::poster;
use crate::rota::draw;
use crate::storage::{Store, StoreError};
use alloy::primitives::{Address, B256};
use answer::Judged;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// How long to wait before an attestation is sent or asked for again.
const REPEAT: Duration = Duration::from_secs(2);
/// How long a quorum of a packed payload may be missing before one of the raw payload is asked for (R24): agents whose
/// compression differs sign different packed ones.
const RAW_AFTER: Duration = Duration::from_secs(20);
/// After so many takeover times without a settlement members sign what is not regular (R23). By then anyone may post the
/// regular batch (R28), and nobody has.
const TAKEOVERS_UNTIL_IRREGULAR: u64 = 5;
/// Open batches, from the oldest on, whose attestations are repeated and asked for.
const REPEATED_BATCHES: usize = 32;
/// Attestations are dropped this many settled batches later, if their batch is final by then.
const KEPT_BATCHES: u64 = 64;

/// Why attesting cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The decided chain is not the settled one: more than 2/3 of a set signed something else than they decided.
    #[error("block {height} settled as {settled}, but was decided as {decided}")]
    Diverged {
        /// The height.
        height: Height,
        /// On L1.
        settled: B256,
        /// Here.
        decided: B256,
    },
}

/// The attesting machine of one agent.
pub struct Attester {
    mirror: MirrorHandle,
    store: Store,
    guard: Arc<Guard>,
    peers: Arc<dyn Peers>,
    ledger: LedgerHandle,
    evidence: mpsc::Sender<Evidence>,
    cutter: Option<Cutter>,
    repeated: Option<Instant>,
    started: Instant,
    budgets: Budgets,
    /// Attestations that are not on disk yet.
    unsaved: Vec<Signed>,
    /// Members whose contradictions are on disk already: another one proves nothing more.
    convicted: BTreeSet<Address>,
    /// Since when a quorum is asked for, by first height.
    asked_since: BTreeMap<Height, Instant>,
    /// Headers of open batches that this agent has tried to sign, by first height: what the guard refuses is not tried again.
    tried: BTreeMap<Height, B256>,
    /// Attestations of batches before this one are dropped already.
    pruned: BatchNumber,
    /// What ranges of blocks commit to that others have asked for.
    judged: BTreeMap<(Height, Height), Judged>,
    /// The settled block that was compared last with the one that was decided.
    compared: Option<(Height, B256)>,
    /// How often blocks were packed because somebody asked.
    pub(super) packed: u64,
}

/// The decided chain above the last cut.
struct Cutter {
    splitter: Splitter,
    /// Blocks that no batch holds yet.
    pending: VecDeque<Block>,
}

/// What matters of L1, read at once.
#[derive(Clone, Copy)]
struct View {
    /// The generation of this agent's chain, and that of the batch settled last.
    generation: Generation,
    settled_generation: Generation,
    batch: BatchNumber,
    settled: Height,
    settled_hash: B256,
    settled_epoch: Epoch,
    settled_at: Seconds,
    head: Option<Seconds>,
    at_head: Epoch,
    at_depth: Epoch,
}

impl Attester {
    /// Attests with the key behind `guard`, if it is in a set.
    pub fn new(
        mirror: MirrorHandle,
        store: Store,
        guard: Arc<Guard>,
        peers: Arc<dyn Peers>,
        ledger: LedgerHandle,
        evidence: mpsc::Sender<Evidence>,
    ) -> Self {
        Self {
            mirror,
            store,
            guard,
            peers,
            ledger,
            evidence,
            cutter: None,
            repeated: None,
            started: Instant::now(),
            budgets: Budgets::default(),
            unsaved: Vec::new(),
            convicted: BTreeSet::new(),
            asked_since: BTreeMap::new(),
            tried: BTreeMap::new(),
            pruned: BatchNumber::new(0),
            judged: BTreeMap::new(),
            compared: None,
            packed: 0,
        }
    }

    /// Does all that there is to do now.
    pub(crate) fn advance(
        &mut self,
        messages: Vec<(SequencerId, Message)>,
    ) -> Result<(), AttestError> {
        let Some(view) = self.view()? else { return Ok(()) };
        self.follow_settlement(&view)?;
        self.cut(&view)?;
        self.renew_epochs(&view)?;
        self.sign_open(&view)?;
        for (from, message) in messages {
            if !self.may_cost(from, 1) {
                debug!(%from, "more than a peer may say");
                continue;
            }
            match message {
                Message::Attestation { header, signature } => {
                    self.receive(from, &header, signature)?;
                }
                Message::Want { header } => self.answer(&view, from, &header)?,
            }
        }
        self.repeat(&view)?;
        // One write for all that came.
        let unsaved = std::mem::take(&mut self.unsaved);
        if !unsaved.is_empty() {
            self.store.keep_attestations(
                unsaved
                    .iter()
                    .map(|signed| (&signed.header, signed.digest, signed.signer, signed.signature)),
            )?;
        }
        self.ledger.announce();
        self.prune(view.batch)
    }

    /// Drops attestations that nobody can ask for any more, some batches at a time: what is final on L1 settles no second
    /// time. The guard's own records stay.
    fn prune(&mut self, settled: BatchNumber) -> Result<(), AttestError> {
        let Some(number) = settled.get().checked_sub(KEPT_BATCHES) else { return Ok(()) };
        if number < self.pruned.get().saturating_add(KEPT_BATCHES) {
            return Ok(());
        }
        let number = BatchNumber::new(number);
        let Some(batch) = self.store.settled(number)? else { return Ok(()) };
        if self.mirror.read().is_final(&batch) {
            self.store.settled_for_good_before(batch.header.first_height)?;
            self.pruned = number;
        }
        Ok(())
    }

    fn view(&self) -> Result<Option<View>, AttestError> {
        let (generation, _) = self.store.standing()?;
        let mirror = self.mirror.read();
        let Some(tip) = mirror.tip.as_ref() else { return Ok(None) };
        let epoch_of = |block: Option<crate::domain::L1Block>| {
            block.map_or(tip.epoch, |block| mirror.params.epoch_at(block.timestamp))
        };
        let settled_generation =
            mirror.last_settled.as_ref().map_or(Generation::new(0), |last| last.header.generation);
        Ok(Some(View {
            generation,
            settled_generation,
            batch: tip.number,
            settled: tip.last_height,
            settled_hash: tip.last_block_hash,
            settled_epoch: tip.epoch,
            settled_at: tip.settled_at,
            head: mirror.head.map(|head| head.timestamp),
            at_head: epoch_of(mirror.head),
            at_depth: epoch_of(mirror.at_depth),
        }))
    }

    /// Drops what settled; starts over above the settled height where the cuts do not follow from it, or are of an earlier
    /// generation: those settle no more (R33).
    fn follow_settlement(&mut self, view: &View) -> Result<(), AttestError> {
        self.compare(view)?;
        let follows = {
            let mut ledger = self.ledger.lock();
            if ledger.as_ref().is_some_and(|ledger| ledger.generation() != view.generation) {
                *ledger = None;
            }
            match ledger.as_mut() {
                Some(ledger) if ledger.settled_in() == (view.settled, view.settled_epoch) => {
                    self.cutter.is_some()
                }
                Some(ledger) => {
                    // After a reorg the ledger has forgotten what it must have again.
                    let went_back = view.settled < ledger.settled();
                    ledger.settle(view.settled, view.settled_epoch) && !went_back
                }
                None => {
                    *ledger = Some(Ledger::new(view.generation, view.settled, view.settled_epoch));
                    false
                }
            }
        };
        let outrun = self.cutter.as_ref().is_some_and(|cutter| {
            cutter.splitter.open_since().unwrap_or(cutter.splitter.next_height()) <= view.settled
        });
        if !follows || outrun {
            self.start_over(view)?;
        }
        Ok(())
    }

    /// Compares each settled block with the one that was decided, also where the cuts go on from its height: nothing that is cut
    /// behind another block settles.
    fn compare(&mut self, view: &View) -> Result<(), AttestError> {
        let settled = (view.settled, view.settled_hash);
        if self.compared == Some(settled) || view.settled_generation > view.generation {
            return Ok(());
        }
        let Some((decided, _)) = self.store.header(view.settled)? else { return Ok(()) };
        if decided != view.settled_hash {
            return Err(AttestError::Diverged {
                height: view.settled,
                settled: view.settled_hash,
                decided,
            });
        }
        self.compared = Some(settled);
        Ok(())
    }

    fn start_over(&mut self, view: &View) -> Result<(), AttestError> {
        self.cutter = None;
        self.tried.clear();
        // L1 shows a later generation's batches already: this agent is about to go over to it.
        if view.settled_generation > view.generation {
            return Ok(());
        }
        // Block 0 and what sync brings may come later than L1's word of them.
        let Some((_, header)) = self.store.header(view.settled)? else { return Ok(()) };
        let mut ledger = Ledger::new(view.generation, view.settled, view.settled_epoch);
        for known in self.store.attestations_from(view.settled.next())? {
            if known.header.generation != view.generation {
                continue;
            }
            let digest = self.guard.domain().batch(&known.header);
            // What contradicts has been reported when it came. Nothing is cut yet: it counts once its batch is.
            ledger.add_known(Signed {
                digest,
                signer: known.signer,
                signature: known.signature,
                header: known.header,
            });
        }
        *self.ledger.lock() = Some(ledger);
        let params = self.mirror.read().params.clone();
        self.cutter =
            Some(Cutter { splitter: Splitter::new(&params, &header), pending: VecDeque::new() });
        info!(above = %view.settled, "cutting batches");
        Ok(())
    }

    /// Cuts what is decided, and signs it.
    fn cut(&mut self, view: &View) -> Result<(), AttestError> {
        while self.ledger.lock().as_ref().is_some_and(|l| l.open().len() < CONGESTED_BATCHES) {
            let Some(cutter) = self.cutter.as_mut() else { return Ok(()) };
            let Some(decided) = self.store.block(cutter.splitter.next_height())? else {
                return Ok(());
            };
            // The chain went over to another generation in this moment. Never a batch of blocks of two.
            if decided.block.header.generation != view.generation {
                self.cutter = None;
                return Ok(());
            }
            let body_bytes = crate::batch::body::body_bytes(&decided.block.transactions);
            let range = cutter
                .splitter
                .push(&decided.block.header, body_bytes)
                .expect("the next height is the one that was read");
            cutter.pending.push_back(decided.block);
            if let Some(range) = range {
                let count = cutter
                    .pending
                    .iter()
                    .take_while(|block| block.header.height <= range.last)
                    .count();
                let blocks: Vec<Block> = cutter.pending.drain(..count).collect();
                self.attest_new(view, range, &blocks)?;
            }
        }
        Ok(())
    }

    fn attest_new(
        &mut self,
        view: &View,
        range: BatchRange,
        blocks: &[Block],
    ) -> Result<(), AttestError> {
        let Some(last) = blocks.last() else { return Ok(()) };
        let last_block_epoch = last.header.epoch;
        let before = self
            .ledger
            .lock()
            .as_ref()
            .map_or(view.settled_epoch, |ledger| ledger.epoch_before(ledger.open().len()));
        let params = self.mirror.read().params.clone();
        let epoch = default_epoch(&params, last_block_epoch, before, view.at_head, view.at_depth);
        let header = match payload::encode_cheapest(blocks) {
            Ok(payload) => build_header(blocks, epoch, &payload).map(|header| BatchHeader {
                regular_since: regular_since(epoch, last_block_epoch, before, range.since),
                ..header
            }),
            Err(error) => {
                error!(%error, first = %range.first, last = %range.last, "batch has no payload");
                None
            }
        };
        let Some(header) = header else { return Ok(()) };
        let digest = self.guard.domain().batch(&header);
        let cut = Cut { digest, header, last_block_epoch, since: range.since };
        debug!(first = %range.first, last = %range.last, %epoch, "batch cut");
        let may_sign = match self.ledger.lock().as_mut() {
            Some(ledger) => {
                self.unsaved.extend(ledger.push(cut.clone()));
                ledger.follows_regular(ledger.open().len().saturating_sub(1))
            }
            None => false,
        };
        if !may_sign {
            return Ok(());
        }
        self.tried.insert(cut.header.first_height, cut.digest);
        self.sign_and_send(&cut.header, blocks)
    }

    /// Signs the open batches that may be signed and are not yet: those that follow on regular ones, in the header that they
    /// have now. What comes behind one that is not regular waits until that has settled.
    fn sign_open(&mut self, view: &View) -> Result<(), AttestError> {
        let due: Vec<Cut> = {
            let ledger = self.ledger.lock();
            let Some(ledger) = ledger.as_ref() else { return Ok(()) };
            let mut due = Vec::new();
            for cut in ledger.open() {
                if self.tried.get(&cut.header.first_height) != Some(&cut.digest) {
                    due.push(cut.clone());
                }
                if !cut.header.is_regular() {
                    break;
                }
            }
            due
        };
        for cut in due {
            let (first, last) = (cut.header.first_height, cut.header.last_height);
            self.tried.insert(first, cut.digest);
            let blocks = read_blocks(&self.store, first, last)?;
            self.sign_and_send(&cut.header, &blocks)?;
        }
        self.tried = self.tried.split_off(&view.settled.next());
        Ok(())
    }

    /// Signs if this agent is in the set, and tells the poster of the turn and the next in line.
    fn sign_and_send(&mut self, header: &BatchHeader, blocks: &[Block]) -> Result<(), AttestError> {
        let Some(set) = self.set_of(header) else { return Ok(()) };
        if let Some(signature) = self.sign(header, blocks, &set)? {
            self.tell_posters(header, signature, &set);
        }
        Ok(())
    }

    fn sign(
        &mut self,
        header: &BatchHeader,
        blocks: &[Block],
        set: &LeaderSet,
    ) -> Result<Option<Signature>, AttestError> {
        let own = self.guard.address();
        if set.index_of(own).is_none() {
            return Ok(None);
        }
        let hashes: Vec<(Height, B256)> =
            blocks.iter().map(|block| (block.header.height, block.header.hash())).collect();
        let signature = match self.guard.sign_attestation(header, &hashes) {
            Ok(signature) => signature,
            Err(GuardError::Store(error)) => return Err(error.into()),
            Err(refusal) => {
                warn!(%refusal, first = %header.first_height, "batch not signed");
                return Ok(None);
            }
        };
        let digest = self.guard.domain().batch(header);
        let signed = Signed { header: header.clone(), digest, signer: own, signature };
        if let Some(ledger) = self.ledger.lock().as_mut() {
            ledger.add_known(signed.clone());
        }
        self.unsaved.push(signed);
        Ok(Some(signature))
    }

    fn tell_posters(&self, header: &BatchHeader, signature: Signature, set: &LeaderSet) {
        let turn = self.mirror.read().params.turn_of(header.last_height);
        let own = self.guard.address();
        let mut told = None;
        for attempt in 0..2 {
            let poster = draw(set, turn, attempt)
                .and_then(|place| set.members().get(place))
                .map(|member| member.signer);
            if let Some(poster) = poster.filter(|poster| *poster != own && told != Some(*poster)) {
                let header = Box::new(header.clone());
                self.peers.send(poster, Message::Attestation { header, signature });
                told = Some(poster);
            }
        }
    }

    fn may_cost(&mut self, from: SequencerId, units: u64) -> bool {
        self.budgets.take(from, units, self.started.elapsed())
    }

    /// Gives open batches another epoch where R22 asks for one: a later one after an outage, or because the batch before got
    /// one. Which of them are regular follows.
    fn renew_epochs(&mut self, view: &View) -> Result<(), AttestError> {
        let params: Params = self.mirror.read().params.clone();
        let mirror = self.mirror.clone();
        let set_in = |epoch| mirror.read().set_for(view.generation, epoch);
        let mut index = 0_usize;
        loop {
            let (cut, epoch, since) = {
                let ledger = self.ledger.lock();
                let Some(ledger) = ledger.as_ref() else { return Ok(()) };
                let Some(cut) = ledger.open().get(index) else { return Ok(()) };
                let before = ledger.epoch_before(index);
                let at_head = view.at_head;
                let legal =
                    before.max(Epoch::new(at_head.get().saturating_sub(params.max_epoch_lag)));
                let certified = ledger
                    .certificate(index, legal, at_head, set_in)
                    .map(|certificate| certificate.header);
                let epoch =
                    default_epoch(&params, cut.last_block_epoch, before, at_head, view.at_depth);
                let since = regular_since(epoch, cut.last_block_epoch, before, cut.since);
                let (epoch, since) = match certified {
                    // What a quorum signed and can still settle stays; the batches after it follow its epoch. A regular one
                    // does not give way to one that is not.
                    Some(header) if header.is_regular() || since.get() == 0 => {
                        (header.epoch, header.regular_since)
                    }
                    _ => (epoch, since),
                };
                let is_same = (epoch, since) == (cut.header.epoch, cut.header.regular_since);
                ((!is_same).then(|| cut.clone()), epoch, since)
            };
            if let Some(cut) = cut {
                let header = BatchHeader { epoch, regular_since: since, ..cut.header };
                let digest = self.guard.domain().batch(&header);
                info!(first = %header.first_height, %epoch, "batch attested in another epoch");
                if let Some(ledger) = self.ledger.lock().as_mut() {
                    ledger.replace(index, Cut { header, digest, ..cut });
                }
            }
            index = index.saturating_add(1);
        }
    }

    /// Sends again, and asks for, what may have been lost: for the oldest open batches only.
    fn repeat(&mut self, view: &View) -> Result<(), AttestError> {
        if self.repeated.is_some_and(|last| last.elapsed() < REPEAT) {
            return Ok(());
        }
        self.repeated = Some(Instant::now());
        let (params, head) = {
            let mirror = self.mirror.read();
            (mirror.params.clone(), mirror.head)
        };
        let Some(head) = head else { return Ok(()) };
        let own = self.guard.address();
        let set_in = |epoch| self.mirror.read().set_for(view.generation, epoch);
        let open: Vec<(Cut, Vec<Address>)> = {
            let ledger = self.ledger.lock();
            let Some(ledger) = ledger.as_ref() else { return Ok(()) };
            let cuts = ledger.open().iter().take(REPEATED_BATCHES).enumerate();
            let signable = cuts.take_while(|(index, _)| ledger.follows_regular(*index));
            signable
                .map(|(index, cut)| {
                    let set = self.set_of(&cut.header);
                    let certified =
                        ledger.certificate(index, Epoch::new(0), view.at_head, set_in).is_some();
                    let missing = match set {
                        Some(set) if !certified => ledger.missing(index, &set),
                        _ => Vec::new(),
                    };
                    (cut.clone(), missing)
                })
                .collect()
        };
        for (cut, missing) in open {
            let Some(set) = self.set_of(&cut.header) else { continue };
            if let Ok(Some(signature)) = self.store.attestation(own, cut.digest) {
                self.tell_posters(&cut.header, signature, &set);
            }
            let opens = poster::opens_at(&params, &set, &cut.header, view.settled_at, own);
            let is_turn =
                head.timestamp.get().saturating_add(params.l1_block_seconds) >= opens.get();
            let first = cut.header.first_height;
            if !is_turn || missing.is_empty() {
                self.asked_since.remove(&first);
                continue;
            }
            let missing: Vec<Address> =
                missing.into_iter().filter(|member| *member != own).collect();
            for member in &missing {
                let header = Box::new(cut.header.clone());
                self.peers.send(*member, Message::Want { header });
            }
            let since = *self.asked_since.entry(first).or_insert_with(Instant::now);
            if since.elapsed() >= RAW_AFTER {
                self.ask_for_raw(&cut, &set)?;
            }
        }
        let oldest = view.settled.next();
        self.asked_since = self.asked_since.split_off(&oldest);
        self.judged = self.judged.split_off(&(oldest, oldest));
        Ok(())
    }

    /// Signs, and asks all others to sign, the raw payload of a batch whose packed one finds no quorum (R24).
    fn ask_for_raw(&mut self, cut: &Cut, set: &LeaderSet) -> Result<(), AttestError> {
        let (first, last) = (cut.header.first_height, cut.header.last_height);
        let blocks = read_blocks(&self.store, first, last)?;
        let raw = payload::encode(&blocks, payload::Version::Raw).ok();
        let regular_since = cut.header.regular_since;
        let header = raw
            .and_then(|payload| build_header(&blocks, cut.header.epoch, &payload))
            .map(|header| BatchHeader { regular_since, ..header });
        let Some(header) = header.filter(|header| header.payload_hash != cut.header.payload_hash)
        else {
            return Ok(());
        };
        info!(%first, "the packed payload finds no quorum, the raw one is asked for");
        self.learn_payload(&header)?;
        let own = self.guard.address();
        if self.store.attestation(own, self.guard.domain().batch(&header))?.is_none() {
            self.sign(&header, &blocks, set)?;
        }
        for member in set.members().iter().map(|member| member.signer) {
            if member != own {
                let header = Box::new(header.clone());
                self.peers.send(member, Message::Want { header });
            }
        }
        Ok(())
    }

    /// The set that attests to a header.
    fn set_of(&self, header: &BatchHeader) -> Option<Arc<LeaderSet>> {
        self.mirror.read().set_for(header.generation, header.epoch)
    }
}

/// What the header of a cut in `epoch` says of being regular (R23): that it is, since the cut was known, in the one epoch in
/// which it can be. `before` is the epoch of the batch before.
fn regular_since(epoch: Epoch, last_block: Epoch, before: Epoch, since: Seconds) -> Seconds {
    if epoch == last_block.max(before) { since } else { Seconds::new(0) }
}
