//! The batches after the settled one, as this agent cut them, and who has signed which header. Pure.

use crate::crypto::Signature;
use crate::domain::{BatchHeader, BlockProof, Epoch, Evidence, Generation, Height, LeaderSet};
use alloy::primitives::{Address, B256};
use std::collections::{BTreeMap, VecDeque};

/// Headers that are kept for batches with one first height: other epochs, splits and payload versions of the same blocks
/// (R23), or an offender's.
pub const MAX_VARIANTS: usize = 8;
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
    /// Enough other headers are known for this first height.
    #[error("{MAX_VARIANTS} headers are known for the batch from height {first}")]
    TooManyVariants {
        /// First height of the batch.
        first: Height,
    },
}

/// Open batches and attestations.
#[derive(Debug)]
pub struct Ledger {
    generation: Generation,
    /// Last settled height and the epoch in which its batch was attested.
    settled: (Height, Epoch),
    cuts: VecDeque<Cut>,
    variants: BTreeMap<Height, Vec<Variant>>,
}

#[derive(Debug)]
struct Variant {
    header: BatchHeader,
    digest: B256,
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
        let follows = self.cuts.front().is_none_or(|cut| cut.header.first_height == next);
        if !follows {
            self.cuts.clear();
        }
        follows
    }

    /// Appends a batch, which begins where the last one ends.
    pub fn push(&mut self, cut: Cut) {
        self.cuts.push_back(cut);
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

    /// Takes an attestation whose signature was recovered to `signer`; `set` is the one of the header's epoch. Returns
    /// whether it is new, and the proof of an offence if it contradicts another one of the same signer.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing changed.
    pub fn add(
        &mut self,
        header: &BatchHeader,
        digest: B256,
        signer: Address,
        signature: Signature,
        set: &LeaderSet,
    ) -> Result<(bool, Option<Evidence>), Refusal> {
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
        if set.index_of(signer).is_none() {
            return Err(Refusal::NotMember { signer, epoch: header.epoch });
        }

        let evidence = self.contradiction(header, signer, signature);
        let variants = self.variants.entry(first).or_default();
        if let Some(known) = variants.iter_mut().find(|variant| variant.digest == digest) {
            return Ok((known.signatures.insert(signer, signature).is_none(), evidence));
        }
        // An offender who fills the places must not keep this agent's own header out.
        let is_own = self.cuts.iter().any(|cut| cut.digest == digest);
        if variants.len() >= MAX_VARIANTS && !is_own {
            return Err(Refusal::TooManyVariants { first });
        }
        variants.push(Variant {
            header: header.clone(),
            digest,
            signatures: BTreeMap::from([(signer, signature)]),
        });
        Ok((true, evidence))
    }

    /// How many headers of batches from `first` on `signer` has signed.
    pub fn signed_variants(&self, first: Height, signer: Address) -> usize {
        self.variants.get(&first).map_or(0, |variants| {
            variants.iter().filter(|variant| variant.signatures.contains_key(&signer)).count()
        })
    }

    /// The certificate of open batch `index`: of its own header, or of another one over the same blocks whose epoch is
    /// between `oldest` and `newest`. `None` without a quorum.
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
        usable.sort_by_key(|variant| variant.digest != cut.digest);
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

    /// Headers that `signer` signed and that end inside of this batch, or in which this one ends: whether they hold the
    /// same blocks takes a look at blocks.
    pub fn overlapping(
        &self,
        header: &BatchHeader,
        signer: Address,
    ) -> Vec<(BatchHeader, Signature)> {
        let ends_inside = |inner: &BatchHeader, outer: &BatchHeader| {
            outer.first_height <= inner.last_height && inner.last_height < outer.last_height
        };
        self.variants
            .values()
            .flatten()
            .filter(|variant| {
                ends_inside(&variant.header, header) || ends_inside(header, &variant.header)
            })
            .filter_map(|variant| {
                variant
                    .signatures
                    .get(&signer)
                    .map(|signature| (variant.header.clone(), *signature))
            })
            .collect()
    }

    /// Another attestation of `signer` that L1 can see contradicts this one without Merkle proofs (§7): a different
    /// block at the same last height, or a batch that does not begin on the block with which the one before ends.
    fn contradiction(
        &self,
        header: &BatchHeader,
        signer: Address,
        signature: Signature,
    ) -> Option<Evidence> {
        self.variants.values().flatten().find_map(|variant| {
            let other = &variant.header;
            let same_end = other.last_height == header.last_height
                && other.last_block_hash != header.last_block_hash;
            let breaks = |before: &BatchHeader, after: &BatchHeader| {
                before.last_height.next() == after.first_height
                    && before.last_block_hash != after.parent_block_hash
            };
            if !same_end && !breaks(other, header) && !breaks(header, other) {
                return None;
            }
            let standing = variant.signatures.get(&signer)?;
            let height = if same_end {
                header.last_height
            } else {
                header.first_height.max(other.first_height)
            };
            Some(Evidence::DoubleAttestation {
                offender: signer,
                a: (Box::new(other.clone()), *standing),
                b: (Box::new(header.clone()), signature),
                height,
                proof_a: BlockProof::of_last(other),
                proof_b: BlockProof::of_last(header),
            })
        })
    }
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

    use super::{Cut, Ledger, MAX_VARIANTS, Refusal};
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
        }
    }

    /// Stands in for the EIP-712 digest: different for different headers.
    fn digest(header: &BatchHeader) -> B256 {
        alloy::primitives::keccak256(format!("{header:?}"))
    }

    fn cut(header: BatchHeader) -> Cut {
        Cut { digest: digest(&header), last_block_epoch: header.epoch, header }
    }

    fn add(
        ledger: &mut Ledger,
        header: &BatchHeader,
        signer: u8,
    ) -> Result<(bool, Option<Evidence>), Refusal> {
        let signature = Signature::from_compact([signer; 64]);
        ledger.add(header, digest(header), address(signer), signature, &set())
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
    fn an_offender_cannot_fill_the_places_of_the_own_header() {
        let mut ledger = Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        let own = header(1, 3, 99);
        ledger.push(cut(own.clone()));
        for salt in 0..u8::try_from(MAX_VARIANTS).unwrap() {
            add(&mut ledger, &header(1, 3, salt), 4).unwrap();
        }
        let more = add(&mut ledger, &header(1, 3, 50), 4).unwrap_err();
        assert_eq!(more, Refusal::TooManyVariants { first: Height::new(1) });
        assert_eq!(add(&mut ledger, &own, 1), Ok((true, None)));
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
