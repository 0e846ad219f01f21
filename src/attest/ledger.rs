//! The batches after the settled one, as this agent cut them, and who has signed which header. Pure.
//!
//! What is kept is bounded by what this agent decided, not by what members sign: an attestation counts if its header is that
//! of a batch of this agent's own cut, in whatever epoch and payload version (R23). What is not, be it false or ahead of this
//! agent, is kept for comparison only, [`MAX_UNKNOWN`] of each signer. What a new one is compared with is found by heights,
//! so that a message costs the same however much is open.

use crate::crypto::Signature;
use crate::domain::{
    BatchHeader, BlockProof, Epoch, Evidence, Generation, Height, LeaderSet, Seconds,
};
use alloy::primitives::{Address, B256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Headers of batches with one first height that this agent signs for those who ask: other epochs, splits and payload
/// versions of the same blocks (R23).
pub const MAX_VARIANTS: usize = 8;
/// Headers of one batch that one signer may be the first to show: other epochs and payload versions.
const MAX_INTRODUCED: usize = 4;
/// Attestations of one signer that are kept though their batch is none of this agent's cut.
pub const MAX_UNKNOWN: usize = 4;
/// How far above the settled height attestations are taken in.
const MAX_AHEAD: u64 = 1 << 16;

/// A batch as this agent would settle it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its header.
    pub header: BatchHeader,
    /// EIP-712 digest of the header.
    pub digest: B256,
    /// Epoch of its last block.
    pub last_block_epoch: Epoch,
    /// When it was known to end: what its header says if it is regular (R23).
    pub since: Seconds,
}

/// A header with the signatures of a quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The header.
    pub header: BatchHeader,
    /// Bit i set: member i of the attesting set signed.
    pub signers: u128,
    /// Their signatures, in the order of the members.
    pub signatures: Vec<Signature>,
    /// How many members the set has.
    pub members: usize,
}

/// Why an attestation is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its batch is settled, or too far ahead.
    #[error("batch from height {first} is not among the open ones above height {settled}")]
    OutOfRange {
        /// First height of the batch.
        first: Height,
        /// The settled height.
        settled: Height,
    },
    /// It is of another generation.
    #[error("generation {actual}, expected {expected}")]
    OtherGeneration {
        /// The running one.
        expected: Generation,
        /// The header's.
        actual: Generation,
    },
    /// Nobody with this key is in the set of the header's epoch.
    #[error("{signer} is not in the set of epoch {epoch}")]
    NotMember {
        /// Who signed.
        signer: Address,
        /// The epoch.
        epoch: Epoch,
    },
    /// The signer has shown enough other headers of this batch.
    #[error("{signer} has shown {MAX_INTRODUCED} other headers of the batch from height {first}")]
    TooManyVariants {
        /// Who signed.
        signer: Address,
        /// First height of the batch.
        first: Height,
    },
    /// The batch is none of this agent's, and enough such ones of the signer are kept.
    #[error("{MAX_UNKNOWN} attestations of {signer} are of batches that are not known here")]
    TooManyUnknown {
        /// Who signed.
        signer: Address,
    },
}

/// An attestation whose signer is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The batch.
    pub header: BatchHeader,
    /// EIP-712 digest of the header.
    pub digest: B256,
    /// Who signed.
    pub signer: Address,
    /// The signature.
    pub signature: Signature,
}

/// What became of an attestation that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// It was not known before.
    pub is_new: bool,
    /// It is of a batch of this agent's cut: it may settle, and is worth keeping on disk.
    pub is_decided: bool,
    /// It contradicts another one of the same signer.
    pub evidence: Option<Evidence>,
}

/// Open batches and attestations.
#[derive(Debug)]
pub struct Ledger {
    generation: Generation,
    /// Last settled height and the epoch in which its batch was attested.
    settled: (Height, Epoch),
    cuts: VecDeque<Cut>,
    /// Headers of own cuts, by first height.
    variants: BTreeMap<Height, Vec<Variant>>,
    /// First heights of them, by last height.
    ends: BTreeMap<Height, Height>,
    /// Hash of the payload of a cut in the other version than its header has, by first height.
    other_payloads: BTreeMap<Height, B256>,
    /// Attestations of batches that are not cut here, by first height.
    unknown: BTreeMap<Height, Vec<Signed>>,
    /// First heights of them, by signer.
    unknown_of: BTreeMap<Address, Vec<Height>>,
}

#[derive(Debug)]
struct Variant {
    header: BatchHeader,
    digest: B256,
    /// Who showed it first.
    introduced_by: Address,
    signatures: BTreeMap<Address, Signature>,
}

impl Ledger {
    /// Starts above a settled height.
    pub const fn new(generation: Generation, settled: Height, epoch: Epoch) -> Self {
        Self {
            generation,
            settled: (settled, epoch),
            cuts: VecDeque::new(),
            variants: BTreeMap::new(),
            ends: BTreeMap::new(),
            other_payloads: BTreeMap::new(),
            unknown: BTreeMap::new(),
            unknown_of: BTreeMap::new(),
        }
    }

    /// The generation of its batches.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Last settled height.
    pub const fn settled(&self) -> Height {
        self.settled.0
    }

    /// The settled height, and the epoch that attested it: after a reorg the one can be the same and the other not.
    pub const fn settled_in(&self) -> (Height, Epoch) {
        self.settled
    }

    /// Batches that were cut and have not settled.
    pub const fn open(&self) -> &VecDeque<Cut> {
        &self.cuts
    }

    /// Takes a new settled height, higher or (after a reorg) lower. Whether the batches that are still open begin right
    /// above it; if not they are dropped and must be cut again from there.
    #[must_use]
    pub fn settle(&mut self, settled: Height, epoch: Epoch) -> bool {
        self.settled = (settled, epoch);
        while self.cuts.front().is_some_and(|cut| cut.header.last_height <= settled) {
            self.cuts.pop_front();
        }
        let next = settled.next();
        self.variants = self.variants.split_off(&next);
        self.other_payloads = self.other_payloads.split_off(&next);
        self.ends.retain(|_, first| *first >= next);
        self.unknown = self.unknown.split_off(&next);
        self.unknown_of.retain(|_, firsts| {
            firsts.retain(|first| *first >= next);
            !firsts.is_empty()
        });
        let follows = self.cuts.front().is_none_or(|cut| cut.header.first_height == next);
        if !follows {
            self.cuts.clear();
        }
        follows
    }

    /// Appends a batch, which begins where the last one ends. Returns attestations of it that had come earlier.
    pub fn push(&mut self, cut: Cut) -> Vec<Signed> {
        let first = cut.header.first_height;
        self.cuts.push_back(cut);
        let early = self.unknown.remove(&first).unwrap_or_default();
        let mut counted = Vec::new();
        for signed in early {
            let firsts = self.unknown_of.entry(signed.signer).or_default();
            if let Some(place) = firsts.iter().position(|one| *one == first) {
                firsts.swap_remove(place);
            }
            if self.is_decided(&signed.header) && self.count(&signed).is_ok() {
                counted.push(signed);
            } else {
                self.set_aside(signed);
            }
        }
        counted
    }

    /// Gives an open batch another header (a later epoch, R22).
    pub fn replace(&mut self, index: usize, cut: Cut) {
        if let Some(slot) = self.cuts.get_mut(index) {
            *slot = cut;
        }
    }

    /// Epoch of the batch before open batch `index`, as R22 asks for it.
    pub fn epoch_before(&self, index: usize) -> Epoch {
        let before = index.checked_sub(1).and_then(|before| self.cuts.get(before));
        before.map_or(self.settled.1, |cut| cut.header.epoch)
    }

    /// Whether open batch `index` follows on regular ones from the settled tip. Only then is it known what regular means for it:
    /// one that is not may settle in whatever epoch, or not at all.
    pub fn follows_regular(&self, index: usize) -> bool {
        self.cuts.iter().take(index).all(|cut| cut.header.is_regular())
    }

    /// The batch of the own cut that `height` is in, and its place among the open ones.
    pub fn cut_at(&self, height: Height) -> Option<(usize, &Cut)> {
        let index = self.cuts.partition_point(|cut| cut.header.last_height < height);
        let cut = self.cuts.get(index)?;
        (cut.header.first_height <= height).then_some((index, cut))
    }

    /// The batch of the own cut over the same blocks, if the header may be of another payload version of it and it is not
    /// known what hash that has: [`Ledger::learn_payload`] has to be told.
    pub fn asks_for_payload(&self, header: &BatchHeader) -> Option<&Cut> {
        let cut = self.cut_from(header.first_height)?;
        let is_known = header.payload_hash == cut.header.payload_hash
            || self.other_payloads.contains_key(&header.first_height);
        (is_of(header, cut) && !is_known).then_some(cut)
    }

    /// Takes the hash of the payload of the cut from `first` on in the other version.
    pub fn learn_payload(&mut self, first: Height, hash: B256) {
        self.other_payloads.insert(first, hash);
    }

    /// Takes an attestation; `set` is the one of the header's epoch. It is compared with others of the same signer even if
    /// it is not kept.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing changed, and it contradicts nothing.
    pub fn add(&mut self, signed: Signed, set: &LeaderSet) -> Result<Added, Refusal> {
        let Signed { header, signer, .. } = &signed;
        let first = header.first_height;
        let settled = self.settled.0;
        if header.generation != self.generation {
            return Err(Refusal::OtherGeneration {
                expected: self.generation,
                actual: header.generation,
            });
        }
        let newest = settled.get().saturating_add(MAX_AHEAD);
        if first <= settled || first.get() > newest || header.last_height < first {
            return Err(Refusal::OutOfRange { first, settled });
        }
        let signer = *signer;
        if set.index_of(signer).is_none() {
            return Err(Refusal::NotMember { signer, epoch: header.epoch });
        }
        let evidence = self.contradiction(&signed);
        let is_decided = self.is_decided(header);
        let kept = if is_decided { self.count(&signed) } else { self.compare_later(signed) };
        match kept {
            Ok(is_new) => Ok(Added { is_new, is_decided, evidence }),
            Err(_) if evidence.is_some() => Ok(Added { is_new: false, is_decided, evidence }),
            Err(refusal) => Err(refusal),
        }
    }

    /// Takes an attestation that this agent had on disk, or made: whatever it is of, it was judged before.
    pub fn add_known(&mut self, signed: Signed) {
        if !self.is_decided(&signed.header) || self.count(&signed).is_err() {
            self.set_aside(signed);
        }
    }

    fn cut_from(&self, first: Height) -> Option<&Cut> {
        let index = self.cuts.binary_search_by_key(&first, |cut| cut.header.first_height).ok()?;
        self.cuts.get(index)
    }

    /// Whether this is a header of a batch of the own cut, in any epoch and payload version, regular or not.
    fn is_decided(&self, header: &BatchHeader) -> bool {
        let Some(cut) = self.cut_from(header.first_height) else { return false };
        is_of(header, cut)
            && (header.payload_hash == cut.header.payload_hash
                || self.other_payloads.get(&header.first_height) == Some(&header.payload_hash))
    }

    /// Counts an attestation of a decided batch. Whether it is new.
    fn count(&mut self, signed: &Signed) -> Result<bool, Refusal> {
        let Signed { header, digest, signer, signature } = signed;
        let first = header.first_height;
        let is_own_header = self.cut_from(first).is_some_and(|cut| cut.digest == *digest);
        let variants = self.variants.entry(first).or_default();
        if let Some(known) = variants.iter_mut().find(|variant| variant.digest == *digest) {
            return Ok(known.signatures.insert(*signer, *signature).is_none());
        }
        // Nobody can keep the headers of others out, nor this agent's own.
        let introduced = variants.iter().filter(|variant| variant.introduced_by == *signer).count();
        if introduced >= MAX_INTRODUCED && !is_own_header {
            return Err(Refusal::TooManyVariants { signer: *signer, first });
        }
        variants.push(Variant {
            header: header.clone(),
            digest: *digest,
            introduced_by: *signer,
            signatures: BTreeMap::from([(*signer, *signature)]),
        });
        self.ends.insert(header.last_height, first);
        Ok(true)
    }

    /// Keeps an attestation of a batch that is not known here, if its signer has not too many of them. Whether it is new.
    fn compare_later(&mut self, signed: Signed) -> Result<bool, Refusal> {
        let signer = signed.signer;
        if self.unknown_by(signer).any(|known| known.digest == signed.digest) {
            return Ok(false);
        }
        if self.unknown_of.get(&signer).map_or(0, Vec::len) >= MAX_UNKNOWN {
            return Err(Refusal::TooManyUnknown { signer });
        }
        self.set_aside(signed);
        Ok(true)
    }

    fn set_aside(&mut self, signed: Signed) {
        let first = signed.header.first_height;
        self.unknown_of.entry(signed.signer).or_default().push(first);
        self.unknown.entry(first).or_default().push(signed);
    }

    /// What is kept of a signer though its batch is not known here.
    fn unknown_by(&self, signer: Address) -> impl Iterator<Item = &Signed> {
        let firsts: BTreeSet<Height> =
            self.unknown_of.get(&signer).into_iter().flatten().copied().collect();
        firsts
            .into_iter()
            .filter_map(|first| self.unknown.get(&first))
            .flatten()
            .filter(move |known| known.signer == signer)
    }

    /// Headers of the own cut from `first` on that `signer` has signed.
    fn decided_by(
        &self,
        first: Height,
        signer: Address,
    ) -> impl Iterator<Item = (&BatchHeader, Signature)> {
        self.variants
            .get(&first)
            .into_iter()
            .flatten()
            .filter_map(move |variant| Some((&variant.header, *variant.signatures.get(&signer)?)))
    }

    /// How many headers of batches from `first` on `signer` has signed.
    pub fn signed_variants(&self, first: Height, signer: Address) -> usize {
        let unknown = self.unknown.get(&first).into_iter().flatten();
        let unknown = unknown.filter(|known| known.signer == signer).count();
        self.decided_by(first, signer).count().saturating_add(unknown)
    }

    /// The certificate of open batch `index`: of its own header, or of another one over the same blocks whose epoch is
    /// between `oldest` and `newest`, rather of a regular one. `None` without a quorum.
    pub fn certificate(
        &self,
        index: usize,
        oldest: Epoch,
        newest: Epoch,
        set_of: impl Fn(Epoch) -> Option<std::sync::Arc<LeaderSet>>,
    ) -> Option<Certificate> {
        let cut = self.cuts.get(index)?;
        let variants = self.variants.get(&cut.header.first_height)?;
        let mut usable: Vec<&Variant> = variants
            .iter()
            .filter(|variant| {
                variant.header.last_height == cut.header.last_height
                    && variant.header.last_block_hash == cut.header.last_block_hash
                    && variant.header.parent_block_hash == cut.header.parent_block_hash
                    && (oldest..=newest).contains(&variant.header.epoch)
            })
            .collect();
        usable.sort_by_key(|variant| (variant.digest != cut.digest, !variant.header.is_regular()));
        usable.into_iter().find_map(|variant| {
            let set = set_of(variant.header.epoch)?;
            certify(variant, &set)
        })
    }

    /// Members of `set` whose attestation of open batch `index` is missing.
    pub fn missing(&self, index: usize, set: &LeaderSet) -> Vec<Address> {
        let Some(cut) = self.cuts.get(index) else { return Vec::new() };
        let variant = self
            .variants
            .get(&cut.header.first_height)
            .and_then(|variants| variants.iter().find(|variant| variant.digest == cut.digest));
        set.members()
            .iter()
            .map(|member| member.signer)
            .filter(|signer| variant.is_none_or(|known| !known.signatures.contains_key(signer)))
            .collect()
    }

    /// Headers that `signer` signed and that end inside of this batch, or in which this one ends, where one of the two may
    /// be of other blocks than were decided: whether they hold the same blocks takes a look at blocks.
    pub fn overlapping(
        &self,
        header: &BatchHeader,
        signer: Address,
    ) -> Vec<(BatchHeader, Signature)> {
        let ends_inside = |inner: &BatchHeader, outer: &BatchHeader| {
            outer.first_height <= inner.last_height && inner.last_height < outer.last_height
        };
        // Of decided batches only the one in which it ends.
        let around = self.ends.range(header.last_height.next()..).next();
        let decided = around.into_iter().flat_map(|(_, first)| self.decided_by(*first, signer));
        decided
            .chain(self.unknown_by(signer).map(|known| (&known.header, known.signature)))
            .filter(|(other, _)| ends_inside(other, header) || ends_inside(header, other))
            .map(|(other, signature)| (other.clone(), signature))
            .collect()
    }

    /// What a header of a signer can contradict without a look at blocks: few, whatever is open.
    fn rivals(
        &self,
        header: &BatchHeader,
        signer: Address,
    ) -> impl Iterator<Item = (&BatchHeader, Signature)> {
        let before = header.first_height.get().checked_sub(1).map(Height::new);
        let ends_there = [Some(header.last_height), before]
            .into_iter()
            .flatten()
            .filter_map(|last| self.ends.get(&last).copied());
        let after = std::iter::once(header.last_height.next());
        let firsts: BTreeSet<Height> = ends_there.chain(after).collect();
        let decided = firsts.into_iter().flat_map(move |first| self.decided_by(first, signer));
        decided.chain(self.unknown_by(signer).map(|known| (&known.header, known.signature)))
    }

    /// Another attestation of its signer that L1 can see contradicts this one without Merkle proofs (§7): a different
    /// block at the same last height, or a batch that does not begin on the block with which the one before ends.
    fn contradiction(&self, signed: &Signed) -> Option<Evidence> {
        let Signed { header, signer, signature, .. } = signed;
        self.rivals(header, *signer).find_map(|(other, standing)| {
            let same_end = other.last_height == header.last_height
                && other.last_block_hash != header.last_block_hash;
            let breaks = |before: &BatchHeader, after: &BatchHeader| {
                before.last_height.next() == after.first_height
                    && before.last_block_hash != after.parent_block_hash
            };
            if !same_end && !breaks(other, header) && !breaks(header, other) {
                return None;
            }
            let height = if same_end {
                header.last_height
            } else {
                header.first_height.max(other.first_height)
            };
            Some(Evidence::DoubleAttestation {
                offender: *signer,
                a: (Box::new(other.clone()), standing),
                b: (Box::new(header.clone()), *signature),
                height,
                proof_a: BlockProof::of_last(other),
                proof_b: BlockProof::of_last(header),
            })
        })
    }
}

/// Whether a header is of the blocks of a cut: all but epoch and payload is that of the cut's, and it is regular since then, or
/// not at all.
fn is_of(header: &BatchHeader, cut: &Cut) -> bool {
    let as_ours = BatchHeader {
        epoch: header.epoch,
        payload_hash: header.payload_hash,
        regular_since: header.regular_since,
        ..cut.header.clone()
    };
    as_ours == *header && (!header.is_regular() || header.regular_since == cut.since)
}

/// All signatures of a header, if they are those of a quorum. Every one that there is goes to L1: absent members earn
/// nothing (R42), and above about a kilobyte of payload they cost no execution (EIP-7623).
fn certify(variant: &Variant, set: &LeaderSet) -> Option<Certificate> {
    let mut signers = 0_u128;
    let mut signatures = Vec::new();
    let mut signed = 0_u64;
    for (index, member) in set.members().iter().enumerate() {
        if let Some(signature) = variant.signatures.get(&member.signer) {
            signers |= 1_u128.checked_shl(u32::try_from(index).ok()?)?;
            signatures.push(*signature);
            signed = signed.saturating_add(member.weight);
        }
    }
    set.is_quorum(signed).then(|| Certificate {
        header: variant.header.clone(),
        signers,
        signatures,
        members: set.members().len(),
    })
}

#[cfg(test)]
mod tests;
