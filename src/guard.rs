//! The guard in front of every signature of a sequencer's key (R46).
//!
//! One durable record per key and position is on disk *before* the signature leaves this agent: an attestation's before it
//! exists outside of this module, a vote's and a proposal's when the caller says, see [`Recorded`]. A record that waits for
//! the engine's log waits in memory, not in the store: whatever else is written meanwhile, and an orderly end of the process,
//! leave it out, so that the disk never holds a vote that the log does not know. Asked for the same
//! message again, the guard gives the same signature; asked for one that conflicts, it refuses, and nothing was
//! signed. A conflict is a different block at one position: for votes and proposals (generation, height, round, kind),
//! for attestations (generation, height), where a batch also speaks for the block before its first.
//!
//! Calls block for the time of one disk flush.

mod archive;

pub use archive::{Archive, ArchiveError, ExportError, TakenIn, export, export_incomplete, import};

use crate::crypto::{SecretKey, Signature, SigningDomain, merkle};
use crate::domain::{BatchHeader, Generation, Height, Proposal, Round, Vote, VoteType};
use crate::storage::{Attested, Ballot, BallotKind, BallotRecord, Store, StoreError};
use alloy::primitives::{Address, B256, keccak256};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Signs for one key, each position once.
#[derive(Debug)]
pub struct Guard {
    key: SecretKey,
    address: Address,
    domain: SigningDomain,
    store: Store,
    /// Records that wait for the engine's log. They count already.
    unwritten: Mutex<BTreeMap<Ballot, BallotRecord>>,
    silent: Arc<AtomicBool>,
}

/// When the record of a vote or proposal is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Before the signature is given out.
    First,
    /// In one transaction with the entry of the engine's log, see [`Guard::unwritten`]. No other write takes it along, so this
    /// is for whoever writes that entry alone, before the signature leaves this process.
    WithItsEntry,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Another block was signed at this position: a second signature would be an offence.
    #[error(
        "height {height}, round {round}: {kind:?} for {standing} is on record, refused {refused}"
    )]
    Conflict {
        /// What was to be signed.
        kind: BallotKind,
        /// The height.
        height: Height,
        /// The round.
        round: Round,
        /// The block that was signed.
        standing: B256,
        /// The block that was not.
        refused: B256,
    },
    /// Another block was attested at a height of this batch, or as the block before it.
    #[error("block {standing} of height {height} was attested, refused a batch with another")]
    AttestedOtherwise {
        /// The height.
        height: Height,
        /// The block that was attested.
        standing: B256,
    },
    /// What was signed there long ago is not on record any more.
    #[error("records through height {through} were dropped, refused height {height}")]
    NoRecords {
        /// What was to be signed; of a batch its first height.
        height: Height,
        /// The last height without records.
        through: Height,
    },
    /// The blocks given are not those that the header commits to.
    #[error("the batch header does not commit to the {given} blocks given for it")]
    NotTheBatch {
        /// How many were given.
        given: usize,
    },
    /// The agent keeps silent: its records may not be complete (R46, R47).
    #[error("the agent keeps silent")]
    Silent,
    /// The record could not be written, so nothing leaves.
    #[error("guard: {0}")]
    Store(#[from] StoreError),
}

impl Guard {
    /// Guards `key` with the records in `store`; `domain` is the settlement contract's.
    pub fn new(key: SecretKey, domain: SigningDomain, store: Store) -> Self {
        let address = key.address();
        Self { key, address, domain, store, unwritten: Mutex::default(), silent: Arc::default() }
    }

    /// Address of the key.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// The domain that it signs in.
    pub const fn domain(&self) -> &SigningDomain {
        &self.domain
    }

    /// Signs a vote.
    ///
    /// # Errors
    ///
    /// [`GuardError::Conflict`] when another vote of this type stands at its position; [`GuardError::NoRecords`] where records
    /// were dropped; [`GuardError::Store`].
    pub fn sign_vote(
        &self,
        vote_type: VoteType,
        vote: &Vote,
        recorded: Recorded,
    ) -> Result<Signature, GuardError> {
        let ballot = Ballot {
            signer: self.address,
            kind: match vote_type {
                VoteType::Prevote => BallotKind::Prevote,
                VoteType::Precommit => BallotKind::Precommit,
            },
            generation: vote.generation,
            height: vote.height,
            round: vote.round,
        };
        let digest = self.domain.vote(vote_type, vote);
        self.sign_ballot(&ballot, vote.block_hash, -1, digest, recorded)
    }

    /// Signs a proposal. One block in one round may be proposed with several rounds of an earlier quorum: that is no
    /// conflict (§7).
    ///
    /// # Errors
    ///
    /// [`GuardError::Conflict`] when a proposal of another block stands at its position; [`GuardError::Store`].
    pub fn sign_proposal(
        &self,
        proposal: &Proposal,
        recorded: Recorded,
    ) -> Result<Signature, GuardError> {
        let ballot = Ballot {
            signer: self.address,
            kind: BallotKind::Proposal,
            generation: proposal.generation,
            height: proposal.height,
            round: proposal.round,
        };
        let digest = self.domain.proposal(proposal);
        self.sign_ballot(&ballot, proposal.block_hash, proposal.pol_round, digest, recorded)
    }

    /// Signs a batch header. `blocks` are the heights and hashes of all its blocks, ascending.
    ///
    /// # Errors
    ///
    /// [`GuardError::NotTheBatch`] when the header does not commit to `blocks`; [`GuardError::AttestedOtherwise`] when
    /// it conflicts with what was attested; [`GuardError::Store`].
    pub fn sign_attestation(
        &self,
        header: &BatchHeader,
        blocks: &[(Height, B256)],
    ) -> Result<Signature, GuardError> {
        self.must_speak()?;
        let digest = self.domain.batch(header);
        if let Some(given) = self.store.attestation(self.address, digest)? {
            return Ok(given);
        }
        if !commits_to(header, blocks) {
            return Err(GuardError::NotTheBatch { given: blocks.len() });
        }
        let mut spoken_for = Vec::with_capacity(blocks.len().saturating_add(1));
        spoken_for.extend(
            header.first_height.previous().map(|before| (before, header.parent_block_hash)),
        );
        spoken_for.extend_from_slice(blocks);

        let signature = self.key.sign(digest);
        let recorded = self.store.record_attestation(
            self.address,
            header.generation,
            &spoken_for,
            digest,
            signature,
        )?;
        match recorded {
            Attested::Recorded => Ok(signature),
            Attested::Otherwise { height, standing } => {
                Err(GuardError::AttestedOtherwise { height, standing })
            }
            Attested::NoRecords { through } => {
                Err(GuardError::NoRecords { height: header.first_height, through })
            }
        }
    }

    /// Records of signatures that were given out and are not on disk. They are to be written together with the log's entries
    /// of the same messages ([`Store::append_engine_log`]), and then confirmed.
    pub fn unwritten(&self) -> Vec<(Ballot, BallotRecord)> {
        self.waiting().iter().map(|(ballot, record)| (*ballot, *record)).collect()
    }

    /// Confirms that these records are on disk.
    pub fn written(&self, records: &[(Ballot, BallotRecord)]) {
        let mut waiting = self.waiting();
        for (ballot, _) in records {
            waiting.remove(ballot);
        }
    }

    /// Drops the records that are not on disk: the engine that asked for them has ended before it flushed its log, so that
    /// none of those signatures has left.
    pub fn forget_unwritten(&self) {
        self.waiting().clear();
    }

    /// Whether the agent keeps silent, now and later, for what is to be silent with it.
    pub fn silence(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.silent)
    }

    /// Signs nothing while `silent`.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    fn must_speak(&self) -> Result<(), GuardError> {
        if self.silent.load(Ordering::SeqCst) { Err(GuardError::Silent) } else { Ok(()) }
    }

    /// Whether there is a record that this key signed this block at this position, or may have been: where records were
    /// dropped, a message of its own is no news of another machine.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn has_signed(&self, ballot: &Ballot, block_hash: [u8; 32]) -> Result<bool, StoreError> {
        let waiting = self.waiting().get(ballot).copied();
        let standing = match waiting {
            Some(record) => Some(record),
            None => self.store.ballot(ballot)?,
        };
        match standing {
            Some(record) => Ok(record.block_hash == block_hash),
            None => Ok(self.store.signs_above(self.address)? >= Some(ballot.height)),
        }
    }

    /// Whether this key has precommitted a block at a height, in any round.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn has_precommitted(
        &self,
        generation: Generation,
        height: Height,
    ) -> Result<bool, StoreError> {
        let is_one = |ballot: &Ballot, record: &BallotRecord| {
            ballot.kind == BallotKind::Precommit && record.block_hash != [0; 32]
        };
        let waits = self.waiting().iter().any(|(ballot, record)| {
            (ballot.generation, ballot.height) == (generation, height) && is_one(ballot, record)
        });
        let on_disk = self.store.ballots_at(self.address, generation, height)?;
        Ok(waits || on_disk.iter().any(|(ballot, record)| is_one(ballot, record)))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Ballot, BallotRecord>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs that this key speaks through a network identity. `preimage` starts with the engine's separator `PoV`, so it
    /// is neither EIP-712 nor a transaction; it commits to nothing that could conflict and needs no record.
    pub(crate) fn sign_identity(&self, preimage: &[u8]) -> Signature {
        self.key.sign(keccak256(preimage))
    }

    /// Signs that this key speaks through the peer link as `peer`. Like an identity it commits to nothing that could conflict.
    pub fn sign_link(&self, peer: &[u8]) -> Signature {
        self.key.sign(self.domain.link(peer))
    }

    /// Signs without a record, so that a test can plant an offender. Never in a release.
    #[cfg(feature = "byzantine")]
    pub(crate) fn sign_unguarded(&self, digest: B256) -> Signature {
        self.key.sign(digest)
    }

    fn sign_ballot(
        &self,
        ballot: &Ballot,
        block_hash: B256,
        pol_round: i32,
        digest: B256,
        recorded: Recorded,
    ) -> Result<Signature, GuardError> {
        self.must_speak()?;
        let signature = self.key.sign(digest);
        let mut waiting = self.waiting();
        let written = self.store.ballot(ballot)?;
        let standing = written.or_else(|| waiting.get(ballot).copied());
        // Looked at after the record: one that was dropped meanwhile is no free position.
        if standing.is_none()
            && let Some(through) = self.store.signs_above(self.address)?
            && ballot.height <= through
        {
            return Err(GuardError::NoRecords { height: ballot.height, through });
        }
        let record = BallotRecord { block_hash: block_hash.0, pol_round, signature };
        let standing = standing.unwrap_or(record);
        if standing.block_hash == block_hash.0 {
            match recorded {
                _ if written.is_some() => {}
                Recorded::First => {
                    self.store.record_ballot(ballot, &standing)?;
                    waiting.remove(ballot);
                }
                Recorded::WithItsEntry => {
                    waiting.insert(*ballot, standing);
                }
            }
            return Ok(signature);
        }
        Err(GuardError::Conflict {
            kind: ballot.kind,
            height: ballot.height,
            round: ballot.round,
            standing: B256::new(standing.block_hash),
            refused: block_hash,
        })
    }
}

/// The digest that a record's signature is of.
fn digest_of(domain: &SigningDomain, ballot: &Ballot, record: &BallotRecord) -> B256 {
    let Ballot { kind, generation, height, round, .. } = *ballot;
    let block_hash = B256::new(record.block_hash);
    let vote = Vote { generation, height, round, block_hash };
    match kind {
        BallotKind::Prevote => domain.vote(VoteType::Prevote, &vote),
        BallotKind::Precommit => domain.vote(VoteType::Precommit, &vote),
        BallotKind::Proposal => {
            let pol_round = record.pol_round;
            domain.proposal(&Proposal { generation, height, round, pol_round, block_hash })
        }
    }
}

/// Whether `blocks` are exactly what the header commits to.
fn commits_to(header: &BatchHeader, blocks: &[(Height, B256)]) -> bool {
    let heights = (header.first_height.get()..=header.last_height.get()).map(Height::new);
    let leaves: Vec<B256> = blocks.iter().map(|(_, hash)| merkle::block_leaf(*hash)).collect();
    heights.eq(blocks.iter().map(|(height, _)| *height))
        && blocks.last().is_some_and(|(_, hash)| *hash == header.last_block_hash)
        && merkle::root(&leaves) == header.blocks_root
}

#[cfg(test)]
mod tests {
    use super::{Guard, GuardError, Recorded};
    use crate::crypto::{SecretKey, SigningDomain, merkle};
    use crate::domain::{
        BatchHeader, Epoch, Generation, Height, Proposal, Round, Seconds, Vote, VoteType,
    };
    use crate::storage::Store;
    use alloy::primitives::{Address, B256};
    use std::path::Path;

    pub(super) fn guard_at(folder: &Path) -> Guard {
        let store = Store::open(folder.join("rota.redb")).unwrap();
        let domain = SigningDomain::new(31_337, Address::repeat_byte(7));
        Guard::new(SecretKey::from_bytes([1; 32]).unwrap(), domain, store)
    }

    pub(super) fn vote(block: u8) -> Vote {
        Vote {
            generation: Generation::new(0),
            height: Height::new(5),
            round: Round::new(1),
            block_hash: B256::repeat_byte(block),
        }
    }

    pub(super) fn batch(
        first: u64,
        hashes: &[B256],
        parent: B256,
    ) -> (BatchHeader, Vec<(Height, B256)>) {
        let blocks: Vec<_> = (first..).map(Height::new).zip(hashes.iter().copied()).collect();
        let leaves: Vec<_> = hashes.iter().map(|hash| merkle::block_leaf(*hash)).collect();
        let header = BatchHeader {
            generation: Generation::new(0),
            epoch: Epoch::new(1),
            first_height: Height::new(first),
            last_height: blocks.last().unwrap().0,
            parent_block_hash: parent,
            blocks_root: merkle::root(&leaves),
            last_block_hash: *hashes.last().unwrap(),
            forced_through: 0,
            l1_origin_number: 1,
            l1_origin_hash: B256::repeat_byte(1),
            timestamp: Seconds::new(9),
            payload_hash: B256::repeat_byte(2),
            blobs_hash: B256::ZERO,
            usage_hash: B256::repeat_byte(3),
            state_root: B256::ZERO,
            regular_since: Seconds::new(0),
        };
        (header, blocks)
    }

    #[test]
    fn the_same_vote_gets_the_same_signature_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = guard_at(folder.path())
            .sign_vote(VoteType::Prevote, &vote(1), Recorded::First)
            .unwrap();
        let guard = guard_at(folder.path());
        let again = guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::First).unwrap();
        assert_eq!(first, again);
        let digest = guard.domain().vote(VoteType::Prevote, &vote(1));
        assert_eq!(again.recover(digest), Ok(guard.address()));
    }

    #[test]
    fn a_conflicting_vote_is_refused_and_another_type_or_round_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::First).unwrap();
        let error = guard.sign_vote(VoteType::Prevote, &vote(2), Recorded::First).unwrap_err();
        assert!(matches!(error, GuardError::Conflict { .. }), "{error}");
        guard.sign_vote(VoteType::Precommit, &vote(2), Recorded::First).unwrap();
        guard
            .sign_vote(
                VoteType::Prevote,
                &Vote { round: Round::new(2), ..vote(2) },
                Recorded::First,
            )
            .unwrap();
    }

    #[test]
    fn a_proposal_may_differ_in_its_earlier_round_alone() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        let proposal = Proposal {
            generation: Generation::new(0),
            height: Height::new(5),
            round: Round::new(2),
            pol_round: -1,
            block_hash: B256::repeat_byte(1),
        };
        guard.sign_proposal(&proposal, Recorded::First).unwrap();
        guard
            .sign_proposal(&Proposal { pol_round: 1, ..proposal.clone() }, Recorded::First)
            .unwrap();
        let other = Proposal { block_hash: B256::repeat_byte(2), ..proposal };
        assert!(matches!(
            guard.sign_proposal(&other, Recorded::First),
            Err(GuardError::Conflict { .. })
        ));
    }

    #[test]
    fn the_same_blocks_may_be_attested_in_another_split() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        let hash = B256::repeat_byte;
        let (header, blocks) = batch(1, &[hash(1), hash(2)], hash(0));
        let signature = guard.sign_attestation(&header, &blocks).unwrap();
        assert_eq!(guard.sign_attestation(&header, &blocks).unwrap(), signature);
        let (header, blocks) = batch(2, &[hash(2), hash(3)], hash(1));
        guard.sign_attestation(&header, &blocks).unwrap();
    }

    #[test]
    fn another_block_at_an_attested_height_is_refused_also_as_a_parent() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        let hash = B256::repeat_byte;
        let (header, blocks) = batch(1, &[hash(1), hash(2)], hash(0));
        guard.sign_attestation(&header, &blocks).unwrap();

        let (header, blocks) = batch(2, &[hash(9)], hash(1));
        let error = guard.sign_attestation(&header, &blocks).unwrap_err();
        assert!(matches!(error, GuardError::AttestedOtherwise { .. }), "{error}");
        let (header, blocks) = batch(3, &[hash(3)], hash(9));
        let error = guard.sign_attestation(&header, &blocks).unwrap_err();
        assert!(matches!(error, GuardError::AttestedOtherwise { .. }), "{error}");
    }

    #[test]
    fn blocks_that_the_header_does_not_commit_to_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        let hash = B256::repeat_byte;
        let (header, mut blocks) = batch(1, &[hash(1), hash(2)], hash(0));
        blocks.reverse();
        let error = guard.sign_attestation(&header, &blocks).unwrap_err();
        assert!(matches!(error, GuardError::NotTheBatch { given: 2 }), "{error}");
    }

    /// What a store says that was opened from the file as it is now.
    fn of_a_copy(folder: &Path, asked: &Vote) -> Result<crate::crypto::Signature, GuardError> {
        let copy = tempfile::tempdir().unwrap();
        let (from, to) = (folder.join("rota.redb"), copy.path().join("rota.redb"));
        std::fs::copy(from, to).unwrap();
        guard_at(copy.path()).sign_vote(VoteType::Prevote, asked, Recorded::First)
    }

    #[test]
    fn a_record_that_waits_for_the_log_counts_at_once_and_goes_to_disk_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::WithItsEntry).unwrap();
        let conflict = guard.sign_vote(VoteType::Prevote, &vote(2), Recorded::WithItsEntry);
        assert!(matches!(conflict, Err(GuardError::Conflict { .. })), "it counts at once");
        guard.store.flush().unwrap();
        of_a_copy(folder.path(), &vote(2)).expect("no other flush takes it to disk");

        let records = guard.unwritten();
        let at = (Generation::new(0), Height::new(5));
        guard.store.append_engine_log(at.0, at.1, 0, &[vec![1]], &records).unwrap();
        guard.written(&records);
        assert_eq!(guard.unwritten(), []);
        let conflict = of_a_copy(folder.path(), &vote(2));
        assert!(matches!(conflict, Err(GuardError::Conflict { .. })), "{conflict:?}");
    }

    #[test]
    fn an_orderly_end_does_not_keep_what_waits_for_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::WithItsEntry).unwrap();
        // Anybody else's write, and the close of the store, both flush it.
        let (header, blocks) = batch(1, &[B256::repeat_byte(1)], B256::ZERO);
        guard.sign_attestation(&header, &blocks).unwrap();
        drop(guard);
        let guard = guard_at(folder.path());
        guard.sign_vote(VoteType::Prevote, &vote(2), Recorded::First).unwrap();
    }

    #[test]
    fn what_waits_can_still_be_recorded_first() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::WithItsEntry).unwrap();
        guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::First).unwrap();
        assert_eq!(guard.unwritten(), []);
        let conflict = of_a_copy(folder.path(), &vote(2));
        assert!(matches!(conflict, Err(GuardError::Conflict { .. })), "{conflict:?}");
    }

    #[test]
    fn knows_the_heights_at_which_it_is_bound_to_a_block() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard_at(folder.path());
        let at =
            |height: u64| guard.has_precommitted(Generation::new(0), Height::new(height)).unwrap();
        guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::First).unwrap();
        guard.sign_vote(VoteType::Precommit, &vote(0), Recorded::First).unwrap();
        assert!(!at(5), "a prevote and a precommit for nil bind to nothing");
        let later = Vote { round: Round::new(2), ..vote(1) };
        guard.sign_vote(VoteType::Precommit, &later, Recorded::WithItsEntry).unwrap();
        assert!(at(5) && !at(4) && !at(6));
        let records = guard.unwritten();
        guard
            .store
            .append_engine_log(Generation::new(0), Height::new(5), 0, &[], &records)
            .unwrap();
        guard.written(&records);
        assert!(at(5) && !at(4) && !at(6));
    }
}
