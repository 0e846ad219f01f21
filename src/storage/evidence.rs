//! Offences that were found and are not on L1 for good: from the moment they are found, so that a crash on the way to the
//! report loses none.

use super::{Store, StoreError, decode, encode};
use crate::domain::Evidence;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

const EVIDENCE: TableDefinition<(&[u8; 20], &[u8]), &[u8]> = TableDefinition::new("evidence");
/// Of one offender: its cases count once, so a few are enough to convict it.
const KEPT_OF_ONE: usize = 4;
/// Of all. Sets are smaller by far than what this leaves room for.
const KEPT: u64 = 512;

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.open_table(EVIDENCE)?;
    Ok(())
}

/// What L1 tells offences of one key apart by.
fn place(evidence: &Evidence) -> Vec<u8> {
    encode(&evidence.position())
}

impl Store {
    /// Keeps the proof of an offence. `false` if one of the same position is kept, or as many as are of use: then the new
    /// one is left out, because those that wait are reported first and convict as well.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn keep_evidence(&self, evidence: &Evidence) -> Result<bool, StoreError> {
        let (offender, place) = (evidence.offender(), place(evidence));
        self.write(|transaction| {
            let mut table = transaction.open_table(EVIDENCE)?;
            let key = (&offender.0.0, place.as_slice());
            let known = table.get(key)?.is_some();
            let mut of_one = 0_usize;
            for entry in table.range((&offender.0.0, [].as_slice())..)? {
                if *entry?.0.value().0 != offender.0.0 {
                    break;
                }
                of_one = of_one.saturating_add(1);
            }
            if known || of_one >= KEPT_OF_ONE || table.len()? >= KEPT {
                return Ok(false);
            }
            table.insert(key, encode(evidence).as_slice())?;
            Ok(true)
        })
    }

    /// All that is kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] or [`StoreError::Damaged`].
    pub fn evidence(&self) -> Result<Vec<Evidence>, StoreError> {
        self.view(|transaction| {
            let mut all = Vec::new();
            for entry in transaction.open_table(EVIDENCE)?.iter()? {
                all.push(decode("evidence", entry?.1.value())?);
            }
            Ok(all)
        })
    }

    /// Drops what L1 has for good, or does not take.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`].
    pub fn drop_evidence(&self, evidence: &Evidence) -> Result<(), StoreError> {
        let (offender, place) = (evidence.offender(), place(evidence));
        self.write(|transaction| {
            transaction.open_table(EVIDENCE)?.remove((&offender.0.0, place.as_slice()))?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_OF_ONE, Store};
    use crate::crypto::Signature;
    use crate::domain::{Evidence, Generation, Height, Round, Vote, VoteType};
    use alloy::primitives::{Address, B256};

    fn double_vote(offender: u8, height: u64) -> Evidence {
        let signed = |block| {
            let vote = Vote {
                generation: Generation::new(0),
                height: Height::new(height),
                round: Round::new(0),
                block_hash: B256::repeat_byte(block),
            };
            (vote, Signature::from_compact([block; 64]))
        };
        Evidence::DoubleVote {
            offender: Address::repeat_byte(offender),
            vote_type: VoteType::Prevote,
            a: signed(1),
            b: signed(2),
        }
    }

    #[test]
    fn what_was_found_is_there_after_a_restart_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rota.redb");
        let evidence = double_vote(1, 7);
        let store = Store::open(&path).unwrap();
        assert!(store.keep_evidence(&evidence).unwrap());
        assert!(!store.keep_evidence(&evidence).unwrap(), "one position, one offence");
        drop(store);

        let store = Store::open(&path).unwrap();
        assert_eq!(store.evidence().unwrap(), std::slice::from_ref(&evidence));
        store.drop_evidence(&evidence).unwrap();
        assert_eq!(store.evidence().unwrap(), []);
    }

    #[test]
    fn one_offender_does_not_keep_others_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("rota.redb")).unwrap();
        let kept = (0..10).filter(|height| store.keep_evidence(&double_vote(2, *height)).unwrap());
        assert_eq!(kept.count(), KEPT_OF_ONE);
        assert!(store.keep_evidence(&double_vote(1, 0)).unwrap());
        assert!(store.keep_evidence(&double_vote(3, 0)).unwrap());
    }
}
