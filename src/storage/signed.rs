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

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(BALLOTS)?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(BATCHES)?;
    Ok(())
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

    /// Records that a key attests these blocks, unless it has attested another block at one of their heights: then that
    /// height and block are returned and nothing is written.
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
    ) -> Result<Option<(Height, B256)>, StoreError> {
        self.write(|transaction| {
            let mut attested = transaction.open_table(BLOCKS)?;
            for (height, hash) in blocks {
                let key = (&signer.0.0, generation.get(), height.get());
                let standing = attested.get(key)?.map(|standing| B256::new(*standing.value()));
                if let Some(other) = standing.filter(|standing| standing != hash) {
                    return Ok(Some((*height, other)));
                }
            }
            for (height, hash) in blocks {
                let key = (&signer.0.0, generation.get(), height.get());
                attested.insert(key, &hash.0)?;
            }
            transaction
                .open_table(BATCHES)?
                .insert((&signer.0.0, &digest.0), &signature.to_compact())?;
            Ok(None)
        })
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

    /// Adds records of a file and notes how the key stands with them, unless one of them names another block than a record
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
mod tests {
    use super::{Ballot, BallotKind, BallotRecord, Store};
    use crate::crypto::Signature;
    use crate::domain::{Generation, Height, Round};
    use alloy::primitives::{Address, B256};

    const SIGNER: Address = Address::repeat_byte(1);
    const GENERATION: Generation = Generation::new(0);

    fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("rota.redb")).unwrap();
        (folder, store)
    }

    fn record(byte: u8) -> BallotRecord {
        BallotRecord {
            block_hash: [byte; 32],
            pol_round: -1,
            signature: Signature::from_compact([byte; 64]),
        }
    }

    #[test]
    fn the_first_record_of_a_position_stands() {
        let (_folder, store) = open();
        let position = Ballot {
            signer: SIGNER,
            kind: BallotKind::Prevote,
            generation: GENERATION,
            height: Height::new(7),
            round: Round::new(0),
        };
        assert_eq!(store.record_ballot(&position, &record(1)).unwrap(), record(1));
        assert_eq!(store.record_ballot(&position, &record(2)).unwrap(), record(1));
        assert_eq!(store.ballot(&position).unwrap(), Some(record(1)));
        let precommit = Ballot { kind: BallotKind::Precommit, ..position };
        assert_eq!(store.ballot(&precommit).unwrap(), None);
    }

    #[test]
    fn a_height_finds_its_own_ballots_by_kind_and_round() {
        let (_folder, store) = open();
        let at = |kind, height, round| Ballot {
            signer: SIGNER,
            kind,
            generation: GENERATION,
            height: Height::new(height),
            round: Round::new(round),
        };
        let here = [
            at(BallotKind::Prevote, 7, 0),
            at(BallotKind::Prevote, 7, u32::MAX),
            at(BallotKind::Proposal, 7, 3),
        ];
        let elsewhere = [
            at(BallotKind::Prevote, 6, u32::MAX),
            at(BallotKind::Precommit, 8, 0),
            Ballot { signer: Address::repeat_byte(2), ..here[0] },
            Ballot { generation: Generation::new(1), ..here[0] },
        ];
        for ballot in here.iter().chain(&elsewhere) {
            store.record_ballot(ballot, &record(1)).unwrap();
        }
        let found = store.ballots_at(SIGNER, GENERATION, Height::new(7)).unwrap();
        assert_eq!(found, here.map(|ballot| (ballot, record(1))));
    }

    #[test]
    fn a_conflicting_attestation_leaves_no_trace() {
        let (_folder, store) = open();
        let hash = B256::repeat_byte;
        let signature = Signature::from_compact([3; 64]);
        let attest = |blocks: &[(Height, B256)], digest| {
            store.record_attestation(SIGNER, GENERATION, blocks, digest, signature).unwrap()
        };
        let (first, second, third) = (Height::new(1), Height::new(2), Height::new(3));

        assert_eq!(attest(&[(first, hash(1)), (second, hash(2))], hash(0xa)), None);
        assert_eq!(
            attest(&[(third, hash(3)), (second, hash(9))], hash(0xb)),
            Some((second, hash(2)))
        );
        assert_eq!(store.attestation(SIGNER, hash(0xb)).unwrap(), None);
        assert_eq!(attest(&[(third, hash(4))], hash(0xc)), None);
        assert_eq!(store.attestation(SIGNER, hash(0xa)).unwrap(), Some(signature));
    }
}
