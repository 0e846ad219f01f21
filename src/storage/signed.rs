//! What this machine's keys have signed: the records behind the guard (R46). Each is on disk before its signature leaves.
//! Records of votes and proposals come here with the entries of the engine's log, in its transaction.

use super::{Standing, Store, StoreError, decode, encode};
use crate::crypto::Signature;
use crate::domain::{Generation, Height, Round};
use alloy::primitives::{Address, B256};
use borsh::{BorshDeserialize, BorshSerialize};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

const BALLOTS: TableDefinition<&[u8; Ballot::KEY_BYTES], &[u8]> =
    TableDefinition::new("signed_ballots");
const BLOCKS: TableDefinition<(&[u8; 20], u32, u64), &[u8; 32]> =
    TableDefinition::new("attested_blocks");
const BATCHES: TableDefinition<(&[u8; 20], &[u8; 32]), &[u8; 64]> =
    TableDefinition::new("signed_batches");

/// What a member can sign once per height and round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
pub enum BallotKind {
    /// A prevote.
    Prevote = 0,
    /// A precommit.
    Precommit = 1,
    /// A proposal.
    Proposal = 2,
}

/// The position of a vote or proposal: one key signs one block hash there, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ballot {
    /// The key.
    pub signer: Address,
    /// What is signed.
    pub kind: BallotKind,
    /// The running generation.
    pub generation: Generation,
    /// The height.
    pub height: Height,
    /// The round.
    pub round: Round,
}

impl Ballot {
    const KEY_BYTES: usize = 37;

    /// The ballot of a key that begins with this signer and kind.
    fn of_key(signer: Address, kind: BallotKind, key: &[u8; Self::KEY_BYTES]) -> Self {
        let [.., g0, g1, g2, g3, h0, h1, h2, h3, h4, h5, h6, h7, r0, r1, r2, r3] = *key;
        Self {
            signer,
            kind,
            generation: Generation::new(u32::from_be_bytes([g0, g1, g2, g3])),
            height: Height::new(u64::from_be_bytes([h0, h1, h2, h3, h4, h5, h6, h7])),
            round: Round::new(u32::from_be_bytes([r0, r1, r2, r3])),
        }
    }

    fn key(&self) -> [u8; Self::KEY_BYTES] {
        let mut key = [0; Self::KEY_BYTES];
        key[..20].copy_from_slice(self.signer.as_slice());
        key[20] = self.kind as u8;
        key[21..25].copy_from_slice(&self.generation.get().to_be_bytes());
        key[25..33].copy_from_slice(&self.height.get().to_be_bytes());
        key[33..].copy_from_slice(&self.round.get().to_be_bytes());
        key
    }
}

/// What was signed at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BallotRecord {
    /// The block; zero for nil.
    pub block_hash: [u8; 32],
    /// A proposal's round of an earlier quorum of prevotes; -1 elsewhere.
    pub pol_round: i32,
    /// The signature.
    pub signature: Signature,
}

/// Heights of batches that were signed, so that they are found by it.
const BATCH_ENDS: TableDefinition<(u64, &[u8; 20], &[u8; 32]), ()> =
    TableDefinition::new("signed_batch_ends");
/// Through which height records were dropped, by key; [`EVERY_KEY`] for all of them.
const SIGNS_ABOVE: TableDefinition<&[u8; 20], u64> = TableDefinition::new("signs_above");
const EVERY_KEY: &[u8; 20] = &[0; 20];
/// Records of each sort that go at once, at most.
const STEP_RECORDS: usize = 1_024;

/// What came of recording an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attested {
    /// It is on record.
    Recorded,
    /// Another block is, at one of its heights.
    Otherwise {
        /// The height.
        height: Height,
        /// The block that is.
        standing: B256,
    },
    /// Records through this height were dropped, and it speaks for such a one.
    NoRecords {
        /// The height.
        through: Height,
    },
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(BALLOTS)?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(BATCHES)?;
    transaction.open_table(BATCH_ENDS)?;
    transaction.open_table(SIGNS_ABOVE)?;
    Ok(())
}

fn through(
    table: &impl ReadableTable<&'static [u8; 20], u64>,
    signer: Address,
) -> Result<Option<Height>, StoreError> {
    let every = table.get(EVERY_KEY)?.map(|height| height.value());
    let own = table.get(&signer.0.0)?.map(|height| height.value());
    Ok(every.max(own).map(Height::new))
}

/// Notes that there are no records of this key, or of all, through a height.
fn raise(
    transaction: &WriteTransaction,
    signer: &[u8; 20],
    height: Height,
) -> Result<(), StoreError> {
    let mut table = transaction.open_table(SIGNS_ABOVE)?;
    let before = table.get(signer)?.map_or(0, |before| before.value());
    if height.get() > before {
        table.insert(signer, height.get())?;
    }
    Ok(())
}

/// Notes that nothing is signed through a height any more, and drops records that stand there, of all keys: a bounded number,
/// and in one transaction, so that no position is free that was taken. Whether there may be more.
pub(super) fn drop_through(
    transaction: &WriteTransaction,
    height: Height,
) -> Result<bool, StoreError> {
    raise(transaction, EVERY_KEY, height)?;
    let mut dropped = 0_usize;
    let mut ballots = transaction.open_table(BALLOTS)?;
    for key in ballots_through(&ballots, height)? {
        ballots.remove(&key)?;
        dropped = dropped.saturating_add(1);
    }
    let mut blocks = transaction.open_table(BLOCKS)?;
    for (signer, generation, at) in blocks_through(&blocks, height)? {
        blocks.remove((&signer, generation, at))?;
        dropped = dropped.saturating_add(1);
    }
    let mut ends = transaction.open_table(BATCH_ENDS)?;
    let mut batches = transaction.open_table(BATCHES)?;
    let mut over = Vec::new();
    for entry in ends.range(..=(height.get(), &[0xff; 20], &[0xff; 32]))?.take(STEP_RECORDS) {
        let key = entry?.0;
        let (end, signer, digest) = key.value();
        over.push((end, *signer, *digest));
    }
    for (end, signer, digest) in over {
        ends.remove((end, &signer, &digest))?;
        batches.remove((&signer, &digest))?;
        dropped = dropped.saturating_add(1);
    }
    Ok(dropped >= STEP_RECORDS)
}

/// The positions of votes and proposals through a height, at most [`STEP_RECORDS`]. They are in order of signer, kind and
/// generation first: of each of those the first ones are looked at.
fn ballots_through(
    table: &impl ReadableTable<&'static [u8; Ballot::KEY_BYTES], &'static [u8]>,
    height: Height,
) -> Result<Vec<[u8; Ballot::KEY_BYTES]>, StoreError> {
    let mut found = Vec::new();
    let mut next = [0; Ballot::KEY_BYTES];
    while found.len() < STEP_RECORDS {
        let first = table.range::<&[u8; Ballot::KEY_BYTES]>(&next..)?.next().transpose()?;
        let Some(first) = first.map(|(key, _)| *key.value()) else { break };
        let mut last = first;
        last[25..33].copy_from_slice(&height.get().to_be_bytes());
        last[33..].fill(0xff);
        if first <= last {
            let left = STEP_RECORDS.saturating_sub(found.len());
            for entry in table.range::<&[u8; Ballot::KEY_BYTES]>(&first..=&last)?.take(left) {
                found.push(*entry?.0.value());
            }
        }
        // On to the next kind. Nobody signs at the very last position, so that nothing is looked at twice.
        next = first;
        next[25..].fill(0xff);
        if next == first {
            break;
        }
    }
    Ok(found)
}

/// The attested blocks through a height, at most [`STEP_RECORDS`], as [`ballots_through`] finds them.
fn blocks_through(
    table: &impl ReadableTable<(&'static [u8; 20], u32, u64), &'static [u8; 32]>,
    height: Height,
) -> Result<Vec<([u8; 20], u32, u64)>, StoreError> {
    let mut found = Vec::new();
    let mut next = ([0; 20], 0_u32, 0_u64);
    while found.len() < STEP_RECORDS {
        let first = table.range((&next.0, next.1, next.2)..)?.next().transpose()?;
        let Some((signer, generation, at)) = first.map(|(key, _)| {
            let (signer, generation, at) = key.value();
            (*signer, generation, at)
        }) else {
            break;
        };
        if at <= height.get() {
            let range = (&signer, generation, at)..=(&signer, generation, height.get());
            let left = STEP_RECORDS.saturating_sub(found.len());
            for entry in table.range(range)?.take(left) {
                let key = entry?.0;
                found.push((signer, generation, key.value().2));
            }
        }
        if at == u64::MAX {
            break;
        }
        next = (signer, generation, u64::MAX);
    }
    Ok(found)
}

/// Records a ballot as part of a transaction, unless the position is taken; returns what then stands there.
pub(super) fn keep_ballot(
    transaction: &WriteTransaction,
    ballot: &Ballot,
    record: &BallotRecord,
) -> Result<BallotRecord, StoreError> {
    let mut ballots = transaction.open_table(BALLOTS)?;
    let standing = ballots
        .get(&ballot.key())?
        .map(|record| decode("signed_ballots", record.value()))
        .transpose()?;
    if let Some(standing) = standing {
        return Ok(standing);
    }
    ballots.insert(&ballot.key(), encode(record).as_slice())?;
    Ok(*record)
}

impl Store {
    /// What was signed at a position, if anything.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn ballot(&self, ballot: &Ballot) -> Result<Option<BallotRecord>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(BALLOTS)?.get(&ballot.key())?;
            found.map(|record| decode("signed_ballots", record.value())).transpose()
        })
    }

    /// What a key has signed at a height, by kind and round.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn ballots_at(
        &self,
        signer: Address,
        generation: Generation,
        height: Height,
    ) -> Result<Vec<(Ballot, BallotRecord)>, StoreError> {
        let kinds = [BallotKind::Prevote, BallotKind::Precommit, BallotKind::Proposal];
        self.view(|transaction| {
            let table = transaction.open_table(BALLOTS)?;
            let mut found = Vec::new();
            for kind in kinds {
                let place = |round| Ballot { signer, kind, generation, height, round };
                let first = place(Round::new(0)).key();
                let last = place(Round::new(u32::MAX)).key();
                for entry in table.range::<&[u8; Ballot::KEY_BYTES]>(&first..=&last)? {
                    let (key, record) = entry?;
                    let ballot = Ballot::of_key(signer, kind, key.value());
                    found.push((ballot, decode("signed_ballots", record.value())?));
                }
            }
            Ok(found)
        })
    }

    /// Records a ballot unless the position is taken; returns the record that then stands there, the older one if so. It
    /// is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn record_ballot(
        &self,
        ballot: &Ballot,
        record: &BallotRecord,
    ) -> Result<BallotRecord, StoreError> {
        self.write(|transaction| keep_ballot(transaction, ballot, record))
    }

    /// Records that a key attests these blocks, ascending, unless it has attested another block at one of their heights, or
    /// records of one of them were dropped: then nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn record_attestation(
        &self,
        signer: Address,
        generation: Generation,
        blocks: &[(Height, B256)],
        digest: B256,
        signature: Signature,
    ) -> Result<Attested, StoreError> {
        self.write(|transaction| {
            let from = through(&transaction.open_table(SIGNS_ABOVE)?, signer)?;
            if let Some(from) = from
                && blocks.iter().any(|(height, _)| *height <= from)
            {
                return Ok(Attested::NoRecords { through: from });
            }
            let mut attested = transaction.open_table(BLOCKS)?;
            for (height, hash) in blocks {
                let key = (&signer.0.0, generation.get(), height.get());
                let standing = attested.get(key)?.map(|standing| B256::new(*standing.value()));
                if let Some(other) = standing.filter(|standing| standing != hash) {
                    return Ok(Attested::Otherwise { height: *height, standing: other });
                }
            }
            for (height, hash) in blocks {
                let key = (&signer.0.0, generation.get(), height.get());
                attested.insert(key, &hash.0)?;
            }
            transaction
                .open_table(BATCHES)?
                .insert((&signer.0.0, &digest.0), &signature.to_compact())?;
            if let Some((end, _)) = blocks.last() {
                transaction
                    .open_table(BATCH_ENDS)?
                    .insert((end.get(), &signer.0.0, &digest.0), ())?;
            }
            Ok(Attested::Recorded)
        })
    }

    /// The height through which records of a key were dropped, if any were: nothing is to be signed there any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn signs_above(&self, signer: Address) -> Result<Option<Height>, StoreError> {
        self.view(|transaction| through(&transaction.open_table(SIGNS_ABOVE)?, signer))
    }

    /// Drops records through a height, as pruning does, for tests of the guard.
    #[cfg(test)]
    pub(crate) fn write_dropped_through(&self, height: Height) -> Result<bool, StoreError> {
        self.write(|transaction| drop_through(transaction, height))
    }

    /// All that a key has signed by position, for a file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn ballots_of(&self, signer: Address) -> Result<Vec<(Ballot, BallotRecord)>, StoreError> {
        let kinds = [BallotKind::Prevote, BallotKind::Precommit, BallotKind::Proposal];
        self.view(|transaction| {
            let table = transaction.open_table(BALLOTS)?;
            let mut found = Vec::new();
            for kind in kinds {
                let place = |generation, height, round| Ballot {
                    signer,
                    kind,
                    generation: Generation::new(generation),
                    height: Height::new(height),
                    round: Round::new(round),
                };
                let (first, last) =
                    (place(0, 0, 0).key(), place(u32::MAX, u64::MAX, u32::MAX).key());
                for entry in table.range::<&[u8; Ballot::KEY_BYTES]>(&first..=&last)? {
                    let (key, record) = entry?;
                    let ballot = Ballot::of_key(signer, kind, key.value());
                    found.push((ballot, decode("signed_ballots", record.value())?));
                }
            }
            Ok(found)
        })
    }

    /// All blocks that a key has attested, for a file.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn attested_of(
        &self,
        signer: Address,
    ) -> Result<Vec<(Generation, Height, B256)>, StoreError> {
        self.view(|transaction| {
            let table = transaction.open_table(BLOCKS)?;
            let (first, last) = ((&signer.0.0, 0, 0), (&signer.0.0, u32::MAX, u64::MAX));
            let mut found = Vec::new();
            for entry in table.range(first..=last)? {
                let (key, hash) = entry?;
                let (_, generation, height) = key.value();
                let hash = B256::new(*hash.value());
                found.push((Generation::new(generation), Height::new(height), hash));
            }
            Ok(found)
        })
    }

    /// Adds records of a file, and through which height its store had dropped some, and notes how the key stands with them, unless one of them names another block than a record
    /// that stands: then its generation and height are returned and nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn take_in(
        &self,
        signer: Address,
        ballots: &[(Ballot, BallotRecord)],
        attested: &[(Generation, Height, B256)],
        dropped_through: Option<Height>,
        standing: Standing,
    ) -> Result<Option<(Generation, Height)>, StoreError> {
        let transaction = self.database.begin_write()?;
        for (ballot, record) in ballots {
            let standing = keep_ballot(&transaction, ballot, record)?;
            if standing.block_hash != record.block_hash {
                transaction.abort()?;
                return Ok(Some((ballot.generation, ballot.height)));
            }
        }
        {
            let mut table = transaction.open_table(BLOCKS)?;
            for (generation, height, hash) in attested {
                let key = (&signer.0.0, generation.get(), height.get());
                let standing = table.insert(key, &hash.0)?.map(|hash| B256::new(*hash.value()));
                if standing.is_some_and(|standing| standing != *hash) {
                    drop(table);
                    transaction.abort()?;
                    return Ok(Some((*generation, *height)));
                }
            }
        }
        if let Some(height) = dropped_through {
            raise(&transaction, &signer.0.0, height)?;
        }
        super::standing::keep(&transaction, signer, standing, self.place)?;
        self.commit(transaction)?;
        Ok(None)
    }

    /// The attestation that a key has given for a batch digest, if any.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn attestation(
        &self,
        signer: Address,
        digest: B256,
    ) -> Result<Option<Signature>, StoreError> {
        self.view(|transaction| {
            let found = transaction.open_table(BATCHES)?.get((&signer.0.0, &digest.0))?;
            Ok(found.map(|signature| Signature::from_compact(*signature.value())))
        })
    }
}

#[cfg(test)]
mod tests;
