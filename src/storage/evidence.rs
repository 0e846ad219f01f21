//! Offences that were found and are not on L1 for good: from the moment they are found, so that a crash on the way to the
//! report loses none.

use super::{Store, StoreError, decode, encode};
use crate::domain::Evidence;
use alloy::primitives::Address;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

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

/// Whether an offence is to be kept beside those that are.
fn is_of_use(
    table: &impl ReadableTable<(&'static [u8; 20], &'static [u8]), &'static [u8]>,
    offender: Address,
    place: &[u8],
) -> Result<bool, StoreError> {
    if table.get((&offender.0.0, place))?.is_some() {
        return Ok(false);
    }
    let mut of_one = 0_usize;
    for entry in table.range((&offender.0.0, [].as_slice())..)? {
        if *entry?.0.value().0 != offender.0.0 {
            break;
        }
        of_one = of_one.saturating_add(1);
    }
    Ok(of_one < KEPT_OF_ONE && table.len()? < KEPT)
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
        // Whoever offends without end does not keep those waiting who write.
        if !self
            .view(|transaction| is_of_use(&transaction.open_table(EVIDENCE)?, offender, &place))?
        {
            return Ok(false);
        }
        self.write(|transaction| {
            let mut table = transaction.open_table(EVIDENCE)?;
            if !is_of_use(&table, offender, &place)? {
                return Ok(false);
            }
            table.insert((&offender.0.0, place.as_slice()), encode(evidence).as_slice())?;
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
    fn what_is_of_no_use_waits_for_no_writer() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("rota.redb")).unwrap();
        for height in 0..KEPT_OF_ONE as u64 {
            assert!(store.keep_evidence(&double_vote(1, height)).unwrap());
        }
        let (other, (done, looked)) = (store.clone(), std::sync::mpsc::channel());
        let kept = store
            .write(|_| {
                std::thread::spawn(move || done.send(other.keep_evidence(&double_vote(1, 99))));
                Ok(looked.recv_timeout(std::time::Duration::from_secs(60)))
            })
            .unwrap();
        assert!(!kept.expect("it does not wait for the writer").unwrap());
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
