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
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{Added, Cut, Ledger, MAX_INTRODUCED, MAX_UNKNOWN, Refusal, Signed};
    use crate::crypto::Signature;
    use crate::domain::{
        BatchHeader, Epoch, Evidence, Generation, Height, LeaderSet, Member, Seconds,
    };
    use alloy::primitives::{Address, B256};
    use std::sync::Arc;

    fn address(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    fn set() -> Arc<LeaderSet> {
        let members = (1..=4).map(|n| Member { signer: address(n), weight: 10 }).collect();
        let set = LeaderSet::new(Generation::new(0), Epoch::new(1), B256::ZERO, members);
        Arc::new(set.unwrap())
    }

    fn header(first: u64, last: u64, salt: u8) -> BatchHeader {
        BatchHeader {
            generation: Generation::new(0),
            epoch: Epoch::new(1),
            first_height: Height::new(first),
            last_height: Height::new(last),
            parent_block_hash: B256::repeat_byte(u8::try_from(first).unwrap() - 1),
            blocks_root: B256::repeat_byte(salt),
            last_block_hash: B256::repeat_byte(u8::try_from(last).unwrap()),
            forced_through: 0,
            l1_origin_number: 0,
            l1_origin_hash: B256::ZERO,
            timestamp: Seconds::new(0),
            payload_hash: B256::repeat_byte(salt),
            blobs_hash: B256::ZERO,
            usage_hash: B256::ZERO,
            state_root: B256::ZERO,
            regular_since: Seconds::new(0),
        }
    }

    /// Stands in for the EIP-712 digest: different for different headers.
    fn digest(header: &BatchHeader) -> B256 {
        alloy::primitives::keccak256(format!("{header:?}"))
    }

    fn cut(header: BatchHeader) -> Cut {
        let (last_block_epoch, since) = (header.epoch, header.regular_since);
        Cut { digest: digest(&header), last_block_epoch, since, header }
    }

    fn add(
        ledger: &mut Ledger,
        header: &BatchHeader,
        signer: u8,
    ) -> Result<(bool, Option<Evidence>), Refusal> {
        let Added { is_new, evidence, .. } = ledger.add(signed(header, signer), &set())?;
        Ok((is_new, evidence))
    }

    fn signed(header: &BatchHeader, signer: u8) -> Signed {
        Signed {
            header: header.clone(),
            digest: digest(header),
            signer: address(signer),
            signature: Signature::from_compact([signer; 64]),
        }
    }

    fn certificate(ledger: &Ledger, index: usize) -> Option<super::Certificate> {
        ledger.certificate(index, Epoch::new(0), Epoch::new(9), |_| Some(set()))
    }

    #[test]
    fn three_of_four_equal_members_certify() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        let header = header(1, 3, 1);
        ledger.push(cut(header.clone()));
        for signer in [4, 2] {
            assert_eq!(add(&mut ledger, &header, signer), Ok((true, None)));
        }
        assert_eq!(certificate(&ledger, 0), None);
        assert_eq!(ledger.missing(0, &set()), [address(1), address(3)]);
        assert_eq!(add(&mut ledger, &header, 2), Ok((false, None)), "counted once");

        add(&mut ledger, &header, 1).unwrap();
        let certificate = certificate(&ledger, 0).unwrap();
        assert_eq!(certificate.signers, 0b1011);
        let in_member_order = [1, 2, 4].map(|n| Signature::from_compact([n; 64]));
        assert_eq!(certificate.signatures, in_member_order);
    }

    #[test]
    fn a_quorum_over_the_same_blocks_in_another_epoch_counts_too() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        ledger.push(cut(header(1, 3, 1)));
        let later = BatchHeader { epoch: Epoch::new(2), ..header(1, 3, 1) };
        for signer in 1..=3 {
            add(&mut ledger, &later, signer).unwrap();
        }
        assert_eq!(certificate(&ledger, 0).unwrap().header.epoch, Epoch::new(2));
        let too_old = ledger.certificate(0, Epoch::new(3), Epoch::new(9), |_| Some(set()));
        assert_eq!(too_old, None);
    }

    #[test]
    fn a_regular_certificate_comes_first_and_contradicts_no_other_of_the_same_blocks() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        let own = BatchHeader { regular_since: Seconds::new(7), ..header(1, 3, 1) };
        ledger.push(cut(own.clone()));
        let irregular =
            BatchHeader { regular_since: Seconds::new(0), epoch: Epoch::new(2), ..own.clone() };
        // Of the same blocks, and since when another one has it that they are regular: not a batch that is known here.
        let elsewhere = BatchHeader { regular_since: Seconds::new(8), ..own.clone() };
        for signer in 1..=3 {
            assert_eq!(add(&mut ledger, &irregular, signer), Ok((true, None)));
            let added = ledger.add(signed(&elsewhere, signer), &set()).unwrap();
            assert_eq!((added.is_decided, added.evidence), (false, None));
        }
        assert_eq!(certificate(&ledger, 0).unwrap().header, irregular);
        for signer in 1..=3 {
            assert_eq!(add(&mut ledger, &own, signer), Ok((true, None)));
        }
        assert_eq!(certificate(&ledger, 0).unwrap().header, own);
        // Also where the own cut has gone over to another epoch.
        let later = BatchHeader { epoch: Epoch::new(3), ..irregular };
        let since = own.regular_since;
        let digest = digest(&later);
        let renewed = Cut { header: later, digest, last_block_epoch: Epoch::new(1), since };
        ledger.replace(0, renewed);
        assert_eq!(certificate(&ledger, 0).unwrap().header, own);
        assert!(!ledger.follows_regular(1));
    }

    #[test]
    fn refuses_strangers_and_what_is_out_of_range() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(5), Epoch::new(0));
        let settled = Height::new(5);
        let refusal = add(&mut ledger, &header(5, 7, 1), 1).unwrap_err();
        assert_eq!(refusal, Refusal::OutOfRange { first: Height::new(5), settled });
        let refusal = add(&mut ledger, &header(6, 7, 1), 9).unwrap_err();
        assert_eq!(refusal, Refusal::NotMember { signer: address(9), epoch: Epoch::new(1) });
        let other = BatchHeader { generation: Generation::new(1), ..header(6, 7, 1) };
        assert!(matches!(add(&mut ledger, &other, 1), Err(Refusal::OtherGeneration { .. })));
    }

    #[test]
    fn an_offender_cannot_fill_the_places_of_the_own_header_or_of_others() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        let own = header(1, 3, 99);
        ledger.push(cut(own.clone()));
        for salt in 0..u8::try_from(MAX_UNKNOWN).unwrap() {
            add(&mut ledger, &header(1, 3, salt), 4).unwrap();
        }
        let more = add(&mut ledger, &header(1, 3, 50), 4).unwrap_err();
        assert_eq!(more, Refusal::TooManyUnknown { signer: address(4) });
        assert_eq!(add(&mut ledger, &header(1, 3, 50), 3), Ok((true, None)), "another signer");
        let in_epoch = |epoch| BatchHeader { epoch: Epoch::new(epoch), ..own.clone() };
        for epoch in 0..MAX_INTRODUCED {
            let epoch = 10 + u64::try_from(epoch).unwrap();
            assert_eq!(add(&mut ledger, &in_epoch(epoch), 4), Ok((true, None)));
        }
        let more = add(&mut ledger, &in_epoch(50), 4).unwrap_err();
        assert_eq!(more, Refusal::TooManyVariants { signer: address(4), first: Height::new(1) });
        assert_eq!(add(&mut ledger, &in_epoch(50), 3), Ok((true, None)));
        assert_eq!(add(&mut ledger, &own, 4), Ok((true, None)));
    }

    #[test]
    fn what_came_before_the_own_cut_counts_once_it_is_cut() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        let early = header(1, 3, 1);
        for signer in 1..=3 {
            let added = ledger.add(signed(&early, signer), &set()).unwrap();
            assert!(added.is_new && !added.is_decided);
        }
        let other = header(1, 2, 7);
        add(&mut ledger, &other, 1).unwrap();
        let counted = ledger.push(cut(early.clone()));
        assert_eq!(counted.len(), 3);
        assert!(certificate(&ledger, 0).is_some());
        assert_eq!(add(&mut ledger, &other, 1), Ok((false, None)), "still kept to compare");
    }

    #[test]
    fn another_payload_version_of_a_cut_counts_once_its_hash_is_known() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        let own = header(1, 3, 1);
        ledger.push(cut(own.clone()));
        let raw = BatchHeader { payload_hash: B256::repeat_byte(9), ..own.clone() };
        assert!(ledger.asks_for_payload(&own).is_none());
        assert!(ledger.asks_for_payload(&header(1, 4, 1)).is_none(), "of other blocks");
        assert!(ledger.asks_for_payload(&raw).is_some());
        ledger.learn_payload(Height::new(1), raw.payload_hash);
        assert!(ledger.asks_for_payload(&raw).is_none());
        for signer in 1..=3 {
            assert!(ledger.add(signed(&raw, signer), &set()).unwrap().is_decided);
        }
        assert_eq!(certificate(&ledger, 0).unwrap().header, raw);
        let neither = BatchHeader { payload_hash: B256::repeat_byte(8), ..own };
        assert!(!ledger.add(signed(&neither, 1), &set()).unwrap().is_decided);
    }

    #[test]
    fn a_message_is_compared_with_few_others_however_much_is_open() {
        let mut most = Vec::new();
        for open in [50_u64, 500, 2_000] {
            let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
            let wide = |first: u64, last: u64, salt: u8| BatchHeader {
                first_height: Height::new(first),
                last_height: Height::new(last),
                parent_block_hash: B256::ZERO,
                last_block_hash: B256::ZERO,
                ..header(1, 1, salt)
            };
            for batch in 0..open {
                let own = wide(3 * batch + 1, 3 * batch + 3, 1);
                ledger.push(cut(own.clone()));
                for signer in 1..=4 {
                    ledger.add(signed(&own, signer), &set()).unwrap();
                }
            }
            // One height each, at even heights: none touches another or ends with it. And one over all.
            let mut compared = 0;
            let mut kept = 0;
            for height in (2..3 * open).step_by(2) {
                for salt in 0..8 {
                    let short = wide(height, height, salt);
                    let rivals = ledger.rivals(&short, address(4)).count();
                    let overlapping = ledger.overlapping(&short, address(4)).len();
                    compared = compared.max(rivals + overlapping);
                    kept += usize::from(ledger.add(signed(&short, 4), &set()).is_ok());
                }
            }
            let all = wide(1, 3 * open, 5);
            compared = compared.max(ledger.overlapping(&all, address(4)).len());
            assert_eq!(kept, MAX_UNKNOWN);
            assert!(compared <= 2 * (MAX_UNKNOWN + 3 * (MAX_INTRODUCED + 1)), "{compared}");
            most.push(compared);
        }
        assert!(most.windows(2).all(|pair| pair[0] == pair[1]), "{most:?}");
    }

    #[test]
    fn two_ends_at_one_height_are_an_offence_and_two_splits_are_not() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        assert_eq!(add(&mut ledger, &header(1, 3, 1), 1), Ok((true, None)));
        assert_eq!(add(&mut ledger, &header(1, 4, 1), 1), Ok((true, None)), "another split");
        assert_eq!(add(&mut ledger, &header(4, 6, 1), 1), Ok((true, None)), "the next batch");

        let forked = BatchHeader { last_block_hash: B256::repeat_byte(77), ..header(2, 3, 1) };
        assert_eq!(add(&mut ledger, &forked, 2), Ok((true, None)), "another signer");
        let (_, evidence) = add(&mut ledger, &forked, 1).unwrap();
        assert_eq!(evidence.unwrap().offender(), address(1));

        let torn = BatchHeader { parent_block_hash: B256::repeat_byte(78), ..header(7, 8, 1) };
        let (_, evidence) = add(&mut ledger, &torn, 1).unwrap();
        assert!(evidence.is_some(), "it does not begin where the batch to 6 ends");
    }

    #[test]
    fn settling_drops_what_is_settled_and_asks_for_a_new_cut_when_the_split_differs() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        for (first, last) in [(1, 3), (4, 6), (7, 9)] {
            ledger.push(cut(header(first, last, 1)));
        }
        assert!(ledger.settle(Height::new(3), Epoch::new(1)));
        assert_eq!(ledger.open().len(), 2);
        assert_eq!(ledger.epoch_before(0), Epoch::new(1));
        assert!(!ledger.settle(Height::new(5), Epoch::new(1)), "4..=5 settled as a batch");
        assert!(ledger.open().is_empty());
        // A reorg took it back.
        assert!(ledger.settle(Height::new(0), Epoch::new(0)));
    }
}
