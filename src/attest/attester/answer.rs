//! What an attester does when somebody asks it to sign.

use super::{AttestError, Attester, TAKEOVERS_UNTIL_IRREGULAR, View};
use crate::attest::decided::{MAX_READ_BLOCKS, read_blocks_within};
use crate::attest::{MAX_VARIANTS, Message};
use crate::batch::payload::{self, Version};
use crate::batch::{build_header, epoch_is_legal};
use crate::domain::{BatchHeader, Block, Epoch, LeaderSet, Seconds, SequencerId};
use alloy::primitives::B256;
use tracing::debug;

/// Payload bytes that are packed for one unit of what a peer may cost: about as long as a signature takes.
const BYTES_PER_UNIT: u64 = 512;
/// Ranges of blocks of which it is remembered what they commit to.
const MAX_JUDGED: usize = 256;

impl Attester {
    /// Signs what a member of the attesting set asks for, if it is legal (R23). What was signed before is said again without
    /// a look at blocks; else each block counts against what the peer may cost.
    pub(super) fn answer(
        &mut self,
        view: &View,
        from: SequencerId,
        header: &BatchHeader,
    ) -> Result<(), AttestError> {
        let own = self.guard.address();
        let Some(set) = self.set_of(header) else { return Ok(()) };
        if !self.is_member(from, &set) || set.index_of(own).is_none() {
            return Ok(());
        }
        let digest = self.guard.domain().batch(header);
        if let Some(signature) = self.store.attestation(own, digest)? {
            let header = Box::new(header.clone());
            self.peers.answer(from, Message::Attestation { header, signature });
            return Ok(());
        }
        if !self.may_sign(view, header) {
            debug!(%from, first = %header.first_height, "asked to sign what is not regular here, or not yet due");
            return Ok(());
        }
        let known = self
            .ledger
            .lock()
            .as_ref()
            .filter(|_| !header.is_regular())
            .map_or(0, |ledger| ledger.signed_variants(header.first_height, own));
        if known >= MAX_VARIANTS {
            debug!(%from, first = %header.first_height, "asked to sign more than a peer may ask for");
            return Ok(());
        }
        let Some(blocks) = self.legal_blocks(view, from, header)? else {
            debug!(%from, first = %header.first_height, "asked to sign what is not legal here");
            return Ok(());
        };
        if let Some(signature) = self.sign(header, &blocks, &set)? {
            let header = Box::new(header.clone());
            self.peers.answer(from, Message::Attestation { header, signature });
        }
        Ok(())
    }

    /// Whether a header that somebody asks for may be signed now (R23), as far as its blocks do not matter. A regular one if it
    /// is what this agent has cut itself: whatever it cannot judge yet, as it has not seen the tip or not decided the block
    /// that shows the end, it may be asked for again. Any other one only when the regular batch over its blocks, which all
    /// could bring to L1 for some time now, has not settled, nor any other: before that, it would do nothing but take the
    /// regular one from those whose turn it is.
    fn may_sign(&self, view: &View, header: &BatchHeader) -> bool {
        let ledger = self.ledger.lock();
        let Some(ledger) = ledger.as_ref() else { return false };
        let cut = ledger.cut_at(header.last_height);
        if header.is_regular() {
            return cut.is_some_and(|(index, cut)| {
                let as_ours =
                    BatchHeader { payload_hash: header.payload_hash, ..cut.header.clone() };
                as_ours == *header && ledger.follows_regular(index)
            });
        }
        let params = &self.mirror.read().params;
        let since = match cut {
            Some((_, cut)) => Some(cut.since),
            // It has not ended. Had agreement gone on it would have by this time.
            None => {
                self.cutter.as_ref().and_then(|cutter| cutter.splitter.open_began()).map(|began| {
                    let age = params.idle_batch_age_seconds;
                    Seconds::new(began.to_seconds().get().saturating_add(age))
                })
            }
        };
        let wait = params.takeover_seconds.saturating_mul(TAKEOVERS_UNTIL_IRREGULAR);
        let is_due = |since: Seconds| {
            let due = since.max(view.settled_at).get().saturating_add(wait);
            view.head.is_some_and(|head| head.get() >= due)
        };
        since.is_some_and(is_due)
    }

    /// Whether a sequencer is in a set, by any of its keys.
    fn is_member(&self, sequencer: SequencerId, set: &LeaderSet) -> bool {
        let mirror = self.mirror.read();
        let id_of = |signer| mirror.peers.get(signer).map(|peer| peer.id);
        set.members().iter().any(|member| id_of(&member.signer) == Some(sequencer))
    }

    /// The blocks of a header that may be signed; `None` if it may not, or if to find out costs more than the peer may ask for.
    ///
    /// What costs least is asked first: what the header says of itself, then what the headers of its blocks say, then whether it
    /// is known what payloads its blocks have. Only then are blocks read, and packed once; what came of it is remembered, so
    /// that a header with a wrong hash costs a look into memory each time but the first.
    fn legal_blocks(
        &mut self,
        view: &View,
        from: SequencerId,
        header: &BatchHeader,
    ) -> Result<Option<Vec<Block>>, AttestError> {
        let (first, last) = (header.first_height, header.last_height);
        let count = last.get().saturating_sub(first.get());
        let in_range = header.generation == view.generation
            && view.settled < first
            && first <= last
            && count < MAX_READ_BLOCKS;
        if !in_range {
            return Ok(None);
        }
        let (Some((_, begin)), Some((last_hash, end))) =
            (self.store.header(first)?, self.store.header(last)?)
        else {
            return Ok(None);
        };
        let params = self.mirror.read().params.clone();
        let before = view.settled_epoch;
        let fits = epoch_is_legal(&params, header.epoch, end.epoch, before, view.at_head)
            && header.parent_block_hash == begin.parent_hash
            && header.last_block_hash == last_hash
            && header.forced_through == end.forced_through
            && header.timestamp == end.timestamp.to_seconds();
        if !fits {
            return Ok(None);
        }
        let known = self.judged.get(&(first, last)).filter(|judged| judged.is_over(last_hash));
        if known.is_some_and(|judged| !judged.commits_to(header)) {
            return Ok(None);
        }
        let is_known = known.is_some();
        if !self.may_cost(from, count.saturating_add(1)) {
            return Ok(None);
        }
        let max_bytes = usize::try_from(params.max_batch_bytes).unwrap_or(usize::MAX);
        let Some(blocks) = read_blocks_within(&self.store, first, last, max_bytes)? else {
            return Ok(None);
        };
        if is_known {
            return Ok(Some(blocks));
        }
        let bytes: usize = blocks.iter().map(payload::block_bytes).sum();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if !self.may_cost(from, bytes / BYTES_PER_UNIT) {
            return Ok(None);
        }
        let Some(judged) = Judged::of(&blocks) else { return Ok(None) };
        self.packed = self.packed.saturating_add(1);
        let is_legal = judged.commits_to(header);
        // Those that begin first settle first, and are asked for again.
        if self.judged.len() >= MAX_JUDGED {
            self.judged.pop_last();
        }
        self.judged.insert((first, last), judged);
        Ok(is_legal.then_some(blocks))
    }
}

/// What blocks commit to: their batch header, and the hashes of their payload in each version.
#[derive(Debug)]
pub(super) struct Judged {
    built: BatchHeader,
    payloads: Vec<B256>,
}

impl Judged {
    fn of(blocks: &[Block]) -> Option<Self> {
        let mut payloads = Vec::new();
        let mut built = None;
        for version in [Version::Zstd, Version::Raw] {
            let Ok(payload) = payload::encode(blocks, version) else { continue };
            let header = build_header(blocks, Epoch::new(0), &payload)?;
            payloads.push(header.payload_hash);
            built = Some(header);
        }
        Some(Self { built: built?, payloads })
    }

    /// Whether it is of the blocks that are decided now: a restart may have put others in their place.
    fn is_over(&self, last_hash: B256) -> bool {
        self.built.last_block_hash == last_hash
    }

    /// Whether a header is that of these blocks, in whatever epoch. Whether it is regular is not theirs to say.
    fn commits_to(&self, header: &BatchHeader) -> bool {
        let BatchHeader { epoch, regular_since, payload_hash, .. } = *header;
        let built = BatchHeader { epoch, regular_since, payload_hash, ..self.built.clone() };
        built == *header && self.payloads.contains(&payload_hash)
    }
}
