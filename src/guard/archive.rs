//! A guard's records as a file, to take them to another machine or to keep them elsewhere: JSON that people can read.

use crate::crypto::{Signature, SigningDomain};
use crate::domain::{Generation, Height, Round};
use crate::storage::{Ballot, BallotKind, BallotRecord, Standing, Store, StoreError};
use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The form that is written. The first one did not say whether it is complete, and counts as if it were not; the second one
/// not whether records were dropped: none were then.
const VERSION: u32 = 3;

/// What one key has signed in one deployment, position by position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archive {
    version: u32,
    key: Address,
    domain: B256,
    /// Whether it was all, when it was written, and the store that it came from signs no more.
    #[serde(default)]
    complete: bool,
    /// The height through which records were dropped: the key signs nothing there any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dropped_through: Option<Height>,
    ballots: Vec<ArchivedBallot>,
    attested: Vec<ArchivedBlock>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchivedBallot {
    kind: BallotKind,
    generation: Generation,
    height: Height,
    round: Round,
    block_hash: B256,
    pol_round: i32,
    signature: Signature,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchivedBlock {
    generation: Generation,
    height: Height,
    block_hash: B256,
}

/// Why there are no records to take elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store may not know all that the key has signed: who takes its records for all of them signs what contradicts the
    /// rest.
    #[error(
        "the store does not know all that {key} has signed ({}): a machine that trusts these records may sign twice. Is \
         data-dir the right one? With --incomplete they are written for a machine that listens before it signs", match standing {
            None => "it was never used with this key",
            Some((Standing::Trusted, _)) => "its file was moved or copied",
            Some(_) => "it is in doubt itself",
        }
    )]
    Incomplete {
        /// The key.
        key: Address,
        /// How it stands, and whether the store is where it was.
        standing: Option<(Standing, bool)>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a file was not taken in. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Of a later release.
    #[error("version is {actual}, this release reads 1 to {expected}")]
    Version {
        /// The last one that is read.
        expected: u32,
        /// The file's.
        actual: u32,
    },
    /// The records are of another key.
    #[error("key is {actual}, the agent's is {expected}")]
    OtherKey {
        /// The agent's.
        expected: Address,
        /// The file's.
        actual: Address,
    },
    /// The records are of another deployment.
    #[error("domain is {actual}, this deployment's is {expected}")]
    OtherDomain {
        /// This deployment's.
        expected: B256,
        /// The file's.
        actual: B256,
    },
    /// A record carries no signature of the key: the file was changed.
    #[error("ballots[{index}].signature is not the key's")]
    NotSigned {
        /// Its place in the file.
        index: usize,
    },
    /// File and store hold different blocks at one position: the key has signed twice.
    #[error(
        "height {height}, generation {generation}: the file and the store name different blocks; the key has signed twice"
    )]
    Contradiction {
        /// The generation.
        generation: Generation,
        /// The height.
        height: Height,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was in a file that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenIn {
    /// Votes and proposals.
    pub ballots: usize,
    /// Attested blocks.
    pub attested: usize,
    /// Whether the store is now taken to know all that the key has signed.
    pub trusted: bool,
}

/// All that a key has signed, for another machine to sign in this one's place. From then on this store does not sign with the
/// key, until records are taken in again: it is on disk that it does not when this returns. As long as the agent has not run
/// again, the same can be had again.
///
/// # Errors
///
/// [`ExportError::Incomplete`] unless the store was used with the key, where it is now, with all its records.
pub fn export(store: &Store, key: Address, domain: &SigningDomain) -> Result<Archive, ExportError> {
    match store.key_standing(key)? {
        Some((Standing::Trusted | Standing::HandedOver, true)) => {}
        standing => return Err(ExportError::Incomplete { key, standing }),
    }
    let archive = Archive { complete: true, ..export_incomplete(store, key, domain)? };
    store.keep_standing(key, Standing::HandedOver)?;
    Ok(archive)
}

/// What a store knows of a key, for a machine that will listen before it signs.
///
/// # Errors
///
/// [`StoreError`].
pub fn export_incomplete(
    store: &Store,
    key: Address,
    domain: &SigningDomain,
) -> Result<Archive, StoreError> {
    let ballots = store.ballots_of(key)?.into_iter().map(|(ballot, record)| ArchivedBallot {
        kind: ballot.kind,
        generation: ballot.generation,
        height: ballot.height,
        round: ballot.round,
        block_hash: record.block_hash.into(),
        pol_round: record.pol_round,
        signature: record.signature,
    });
    let ballots = ballots.collect();
    let attested = store
        .attested_of(key)?
        .into_iter()
        .map(|(generation, height, block_hash)| ArchivedBlock { generation, height, block_hash });
    let attested = attested.collect();
    // Read last: what is dropped meanwhile is missing above, and covered by this.
    let dropped_through = store.signs_above(key)?;
    let (version, domain) = (VERSION, domain.separator());
    Ok(Archive { version, key, domain, complete: false, dropped_through, ballots, attested })
}

/// Takes records in. It only adds: what the store holds stays. From then on the records are taken for all that the key has
/// signed if the file says that it holds all, and the store held none besides (else the key has signed since, and nobody knows
/// what more) or was known to hold all itself. Otherwise the key is in doubt with this store, whatever it was before.
///
/// # Errors
///
/// [`ArchiveError`].
pub fn import(
    store: &Store,
    key: Address,
    domain: &SigningDomain,
    archive: &Archive,
) -> Result<TakenIn, ArchiveError> {
    if !(1..=VERSION).contains(&archive.version) {
        return Err(ArchiveError::Version { expected: VERSION, actual: archive.version });
    }
    if archive.key != key {
        return Err(ArchiveError::OtherKey { expected: key, actual: archive.key });
    }
    if archive.domain != domain.separator() {
        let expected = domain.separator();
        return Err(ArchiveError::OtherDomain { expected, actual: archive.domain });
    }
    let mut ballots = Vec::with_capacity(archive.ballots.len());
    for (index, archived) in archive.ballots.iter().enumerate() {
        let ArchivedBallot { kind, generation, height, round, .. } = *archived;
        let ballot = Ballot { signer: key, kind, generation, height, round };
        let record = BallotRecord {
            block_hash: archived.block_hash.0,
            pol_round: archived.pol_round,
            signature: archived.signature,
        };
        let digest = super::digest_of(domain, &ballot, &record);
        if archived.signature.recover(digest) != Ok(key) {
            return Err(ArchiveError::NotSigned { index });
        }
        ballots.push((ballot, record));
    }
    let attested: Vec<_> = archive
        .attested
        .iter()
        .map(|block| (block.generation, block.height, block.block_hash))
        .collect();
    let positions: BTreeSet<Ballot> = ballots.iter().map(|(ballot, _)| *ballot).collect();
    let blocks: BTreeSet<_> =
        attested.iter().map(|(generation, height, _)| (*generation, *height)).collect();
    // Where the file's store had dropped its records it knew them once.
    let dropped = |height: Height| archive.dropped_through >= Some(height);
    let has_more = store
        .ballots_of(key)?
        .iter()
        .any(|(ballot, _)| !positions.contains(ballot) && !dropped(ballot.height))
        || store.attested_of(key)?.iter().any(|(generation, height, _)| {
            !blocks.contains(&(*generation, *height)) && !dropped(*height)
        });
    let is_complete = archive.complete && archive.version > 1;
    let knew_all = store.key_standing(key)? == Some((Standing::Trusted, true));
    let trusted = is_complete && (knew_all || !has_more);
    let standing = if trusted { Standing::Trusted } else { Standing::Doubted };
    let dropped_through = archive.dropped_through;
    let refused = store.take_in(key, &ballots, &attested, dropped_through, standing)?;
    if let Some((generation, height)) = refused {
        return Err(ArchiveError::Contradiction { generation, height });
    }
    Ok(TakenIn { ballots: ballots.len(), attested: attested.len(), trusted })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{batch, guard_at, vote};
    use super::super::{Guard, GuardError, Recorded};
    use super::{Archive, ArchiveError, ExportError, export, export_incomplete, import};
    use crate::crypto::SigningDomain;
    use crate::domain::{Proposal, VoteType};
    use crate::storage::{Ballot, BallotKind, Standing};
    use alloy::primitives::{Address, B256};
    use std::path::Path;

    fn used(folder: &Path) -> Guard {
        let guard = guard_at(folder);
        guard.store.keep_standing(guard.address(), Standing::Trusted).unwrap();
        guard.sign_vote(VoteType::Prevote, &vote(1), Recorded::First).unwrap();
        guard.sign_vote(VoteType::Precommit, &vote(0), Recorded::First).unwrap();
        let of = vote(3);
        let proposal = Proposal {
            generation: of.generation,
            height: of.height,
            round: of.round,
            pol_round: 0,
            block_hash: of.block_hash,
        };
        guard.sign_proposal(&proposal, Recorded::First).unwrap();
        let (header, blocks) = batch(1, &[B256::repeat_byte(1)], B256::ZERO);
        guard.sign_attestation(&header, &blocks).unwrap();
        guard
    }

    #[test]
    fn records_come_through_a_file_and_bind_on_the_other_side() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = used(from.path());
        let archive = export(&old.store, old.address(), old.domain()).unwrap();
        let text = serde_json::to_string(&archive).unwrap();
        let archive = serde_json::from_str(&text).unwrap();

        let new = guard_at(to.path());
        let taken = import(&new.store, new.address(), new.domain(), &archive).unwrap();
        assert_eq!((taken.ballots, taken.attested, taken.trusted), (3, 2, true));
        let refused = new.sign_vote(VoteType::Prevote, &vote(2), Recorded::First);
        assert!(matches!(refused, Err(GuardError::Conflict { .. })), "{refused:?}");
        let (header, blocks) = batch(1, &[B256::repeat_byte(9)], B256::ZERO);
        let refused = new.sign_attestation(&header, &blocks);
        assert!(matches!(refused, Err(GuardError::AttestedOtherwise { .. })), "{refused:?}");
        let standing = new.store.key_standing(new.address()).unwrap();
        assert_eq!(standing, Some((Standing::Trusted, true)));
        assert_eq!(export(&new.store, new.address(), new.domain()).unwrap(), archive);
        import(&new.store, new.address(), new.domain(), &archive).expect("twice is no harm");
    }

    #[test]
    fn a_file_of_another_key_deployment_or_version_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let guard = used(folder.path());
        let (store, key, domain) = (&guard.store, guard.address(), guard.domain());
        let archive = export(store, key, domain).unwrap();
        let other = Address::repeat_byte(9);
        let refused = import(store, other, domain, &archive);
        assert!(matches!(refused, Err(ArchiveError::OtherKey { .. })), "{refused:?}");
        let elsewhere = SigningDomain::new(1, other);
        let refused = import(store, key, &elsewhere, &archive);
        assert!(matches!(refused, Err(ArchiveError::OtherDomain { .. })), "{refused:?}");
        let later = Archive { version: 4, ..archive };
        let refused = import(store, key, domain, &later);
        assert!(matches!(refused, Err(ArchiveError::Version { actual: 4, .. })), "{refused:?}");
    }

    #[test]
    fn a_file_that_was_changed_or_contradicts_the_store_leaves_it_as_it_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = used(from.path());
        let archive = export(&old.store, old.address(), old.domain()).unwrap();

        let new = guard_at(to.path());
        let mut changed = archive.clone();
        changed.ballots[1].block_hash = B256::repeat_byte(8);
        let refused = import(&new.store, new.address(), new.domain(), &changed);
        assert!(matches!(refused, Err(ArchiveError::NotSigned { index: 1 })), "{refused:?}");

        new.sign_vote(VoteType::Prevote, &vote(2), Recorded::First).unwrap();
        let held = |guard: &Guard| {
            export_incomplete(&guard.store, guard.address(), guard.domain()).unwrap()
        };
        let before = held(&new);
        let refused = import(&new.store, new.address(), new.domain(), &archive);
        assert!(matches!(refused, Err(ArchiveError::Contradiction { .. })), "{refused:?}");
        assert_eq!(held(&new), before);
        assert_eq!(standing(&new), None);
    }

    fn standing(guard: &Guard) -> Option<(Standing, bool)> {
        guard.store.key_standing(guard.address()).unwrap()
    }

    fn exported(guard: &Guard) -> Result<Archive, ExportError> {
        export(&guard.store, guard.address(), guard.domain())
    }

    fn taken_into(folder: &Path, archive: &Archive) -> Option<(Standing, bool)> {
        let guard = guard_at(folder);
        let taken = import(&guard.store, guard.address(), guard.domain(), archive).unwrap();
        let standing = standing(&guard);
        assert_eq!(taken.trusted, standing == Some((Standing::Trusted, true)));
        standing
    }

    /// A store that may not know all must not become one that does by way of a file: neither one that was never used with
    /// the key (the wrong folder, the wrong key), nor one that was lost and made anew, nor a restored backup.
    #[test]
    fn a_store_that_may_not_know_all_gives_no_file_that_says_so() {
        let (folder, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let empty = guard_at(folder.path());
        let refused = exported(&empty);
        assert!(matches!(refused, Err(ExportError::Incomplete { standing: None, .. })));

        empty.store.keep_standing(empty.address(), Standing::Doubted).unwrap();
        let refused = exported(&empty).unwrap_err();
        assert!(refused.to_string().contains("is in doubt itself"), "{refused}");
        drop(empty);

        let restored = tempfile::tempdir().unwrap();
        drop(used(restored.path()));
        std::fs::remove_file(restored.path().join("rota.redb.seal")).unwrap();
        let restored = guard_at(restored.path());
        let refused = exported(&restored).unwrap_err();
        assert!(refused.to_string().contains("moved or copied"), "{refused}");

        let partly = export_incomplete(&restored.store, restored.address(), restored.domain());
        let partly = partly.unwrap();
        assert_eq!(taken_into(to.path(), &partly), Some((Standing::Doubted, true)));
        assert_eq!(standing(&restored), Some((Standing::Trusted, false)), "it is as it was");
    }

    #[test]
    fn a_store_that_was_exported_signs_no_more_until_records_are_taken_in_again() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = used(from.path());
        let archive = exported(&old).unwrap();
        assert_eq!(standing(&old), Some((Standing::HandedOver, true)));
        assert_eq!(exported(&old).unwrap(), archive, "a file that was not written can be again");
        assert_eq!(taken_into(to.path(), &archive), Some((Standing::Trusted, true)));
        drop(old);

        let doubt = crate::agreement::doubt_of;
        let old = guard_at(from.path());
        let why = doubt(&old.store, old.address(), true).unwrap();
        assert_eq!(why, Some(crate::agreement::Silence::HandedOver));
        assert!(exported(&old).is_err(), "it has run since");
        import(&old.store, old.address(), old.domain(), &archive).unwrap();
        assert_eq!(
            doubt(&old.store, old.address(), true).unwrap(),
            None,
            "the move was called off"
        );
    }

    #[test]
    fn a_file_that_is_older_than_what_the_store_holds_is_not_taken_for_all() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = used(from.path());
        let archive = exported(&old).unwrap();
        let new = guard_at(to.path());
        let later = crate::domain::Vote { height: crate::domain::Height::new(9), ..vote(1) };
        new.sign_vote(VoteType::Prevote, &later, Recorded::First).unwrap();
        drop(new);
        assert_eq!(taken_into(to.path(), &archive), Some((Standing::Doubted, true)));
        // One that knows all anyhow goes on.
        let new = guard_at(to.path());
        new.store.keep_standing(new.address(), Standing::Trusted).unwrap();
        drop(new);
        assert_eq!(taken_into(to.path(), &archive), Some((Standing::Trusted, true)));
    }

    #[test]
    fn a_file_of_the_first_form_is_taken_in_and_not_for_all() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let archive = exported(&used(from.path())).unwrap();
        let mut text = serde_json::to_value(&archive).unwrap();
        let fields = text.as_object_mut().unwrap();
        fields.remove("complete");
        fields.insert("version".to_owned(), 1.into());
        let first: Archive = serde_json::from_value(text).unwrap();
        assert_eq!(taken_into(to.path(), &first), Some((Standing::Doubted, true)));
        let claims = Archive { version: 1, ..archive };
        assert_eq!(taken_into(to.path(), &claims), Some((Standing::Doubted, true)));
    }

    #[test]
    fn where_records_were_dropped_nothing_is_signed_here_nor_where_the_rest_was_taken() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = used(from.path());
        let through = vote(1).height;
        let drop_records = |store: &crate::storage::Store| {
            store.write_dropped_through(through).unwrap();
        };
        drop_records(&old.store);
        let archive = export(&old.store, old.address(), old.domain()).unwrap();
        let archive = serde_json::from_str(&serde_json::to_string(&archive).unwrap()).unwrap();
        let new = guard_at(to.path());
        let taken = import(&new.store, new.address(), new.domain(), &archive).unwrap();
        assert_eq!((taken.ballots, taken.attested, taken.trusted), (0, 0, true));
        for guard in [&old, &new] {
            // What was signed there, another block, and another kind: it is not known any more which was which.
            for (kind, block) in [(VoteType::Prevote, 1), (VoteType::Precommit, 7)] {
                let refused = guard.sign_vote(kind, &vote(block), Recorded::WithItsEntry);
                assert!(matches!(refused, Err(GuardError::NoRecords { .. })), "{refused:?}");
            }
            // So a vote of its own that comes back from there is not another machine's.
            let at = |height| Ballot {
                signer: guard.address(),
                kind: BallotKind::Precommit,
                generation: vote(1).generation,
                height,
                round: vote(1).round,
            };
            assert!(guard.has_signed(&at(through), [7; 32]).unwrap());
            assert!(!guard.has_signed(&at(through.next()), [7; 32]).unwrap());
            // A batch speaks for the block before its first one too.
            for (first, refuses) in
                [(through.get(), true), (through.get() + 1, true), (through.get() + 2, false)]
            {
                let (header, blocks) = batch(first, &[B256::repeat_byte(9)], B256::ZERO);
                let signed = guard.sign_attestation(&header, &blocks);
                assert_eq!(
                    matches!(signed, Err(GuardError::NoRecords { .. })),
                    refuses,
                    "{signed:?}"
                );
                assert_eq!(signed.is_ok(), !refuses);
            }
            let above = crate::domain::Vote { height: through.next(), ..vote(1) };
            guard.sign_vote(VoteType::Prevote, &above, Recorded::First).unwrap();
        }
        // The same file again: what the store has signed since is not in it, what was dropped is no more than it says.
        let again = import(&new.store, new.address(), new.domain(), &archive).unwrap();
        assert!(again.trusted);
    }
}
