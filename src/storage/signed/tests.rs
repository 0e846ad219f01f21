use super::{Attested, Ballot, BallotKind, BallotRecord};
use crate::crypto::Signature;
use crate::domain::{Generation, Height, Round};
use crate::storage::Store;
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

    let recorded = attest(&[(first, hash(1)), (second, hash(2))], hash(0xa));
    assert_eq!(recorded, Attested::Recorded);
    assert_eq!(
        attest(&[(third, hash(3)), (second, hash(9))], hash(0xb)),
        Attested::Otherwise { height: second, standing: hash(2) }
    );
    assert_eq!(store.attestation(SIGNER, hash(0xb)).unwrap(), None);
    assert_eq!(attest(&[(third, hash(4))], hash(0xc)), Attested::Recorded);
    assert_eq!(store.attestation(SIGNER, hash(0xa)).unwrap(), Some(signature));
}
