//! A guard's records as a file, to take them to another machine or to keep them elsewhere: JSON that people can read.

use crate::crypto::{Signature, SigningDomain};
use crate::domain::{Generation, Height, Round};
use crate::storage::{Ballot, BallotKind, BallotRecord, Standing, Store, StoreError};
use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

/// The only form there is so far.
const VERSION: u32 = 1;

/// All that one key has signed in one deployment, position by position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Archive {
    version: u32,
    key: Address,
    domain: B256,
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

/// Why a file was not taken in. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Of a later release.
    #[error("version is {actual}, this release reads {expected}")]
    Version {
        /// The one that is read.
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
}

/// All records of a key.
///
/// # Errors
///
/// [`StoreError`].
pub fn export(store: &Store, key: Address, domain: &SigningDomain) -> Result<Archive, StoreError> {
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
    Ok(Archive { version: VERSION, key, domain: domain.separator(), ballots, attested })
}

/// Takes records in. It only adds: what the store holds stays. From then on the records are taken for all that the key has
/// signed.
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
    if archive.version != VERSION {
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
    if let Some((generation, height)) = store.take_in(key, &ballots, &attested)? {
        return Err(ArchiveError::Contradiction { generation, height });
    }
    store.keep_standing(key, Standing::Trusted)?;
    Ok(TakenIn { ballots: ballots.len(), attested: attested.len() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{batch, guard_at, vote};
    use super::super::{Guard, GuardError, Recorded};
    use super::{ArchiveError, export, import};
    use crate::crypto::SigningDomain;
    use crate::domain::{Proposal, VoteType};
    use crate::storage::Standing;
    use alloy::primitives::{Address, B256};

    fn used(folder: &std::path::Path) -> Guard {
        let guard = guard_at(folder);
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
        assert_eq!((taken.ballots, taken.attested), (3, 2));
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
        let later = super::Archive { version: 2, ..archive };
        let refused = import(store, key, domain, &later);
        assert!(matches!(refused, Err(ArchiveError::Version { actual: 2, .. })), "{refused:?}");
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
        let before = export(&new.store, new.address(), new.domain()).unwrap();
        let refused = import(&new.store, new.address(), new.domain(), &archive);
        assert!(matches!(refused, Err(ArchiveError::Contradiction { .. })), "{refused:?}");
        assert_eq!(export(&new.store, new.address(), new.domain()).unwrap(), before);
        assert_eq!(new.store.key_standing(new.address()).unwrap(), None);
    }
}
