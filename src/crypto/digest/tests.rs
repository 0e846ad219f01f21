//! Held against alloy's own EIP-712 implementation, field by field.

use super::SigningDomain;
use crate::domain::{self, Epoch, Generation, Height, RollupId, Round, Seconds, VoteType};
use alloy::primitives::{Address, B256, keccak256};
use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};

alloy::sol! {
    struct Batch {
        uint32 generation; uint64 epoch; uint64 firstHeight; uint64 lastHeight; bytes32 parentBlockHash;
        bytes32 blocksRoot; bytes32 lastBlockHash; uint64 forcedThrough; uint64 l1OriginNumber; bytes32 l1OriginHash;
        uint64 timestamp; bytes32 payloadHash; bytes32 blobsHash; bytes32 usageHash; bytes32 stateRoot;
        uint64 regularSince;
    }
    struct Prevote { uint32 generation; uint64 height; uint32 round; bytes32 blockHash; }
    struct Precommit { uint32 generation; uint64 height; uint32 round; bytes32 blockHash; }
    struct Proposal { uint32 generation; uint64 height; uint32 round; int32 polRound; bytes32 blockHash; }
    struct OrderReceipt {
        uint32 generation; uint64 height; uint32 index; uint64 rollup; bytes32 txHash; address sender;
        bytes32 prevReceiptHash;
    }
    struct Possession { address owner; address signer; }
    struct PosterPossession { uint32 sequencer; address poster; }
}

const CONTRACT: Address = Address::repeat_byte(0x42);

fn ours() -> SigningDomain {
    SigningDomain::new(31_337, CONTRACT)
}

fn theirs() -> Eip712Domain {
    eip712_domain! { name: "Rota", version: "1", chain_id: 31_337, verifying_contract: CONTRACT, }
}

fn word(name: &str) -> B256 {
    keccak256(name)
}

#[test]
fn the_separator_is_that_of_eip_712() {
    assert_eq!(ours().separator(), theirs().separator());
}

#[test]
fn a_batch_is_hashed_field_by_field() {
    let header = domain::BatchHeader {
        generation: Generation::new(1),
        epoch: Epoch::new(2),
        first_height: Height::new(3),
        last_height: Height::new(4),
        parent_block_hash: word("parent"),
        blocks_root: word("root"),
        last_block_hash: word("last"),
        forced_through: 5,
        l1_origin_number: 6,
        l1_origin_hash: word("origin"),
        timestamp: Seconds::new(u64::MAX),
        payload_hash: word("payload"),
        blobs_hash: word("blobs"),
        usage_hash: word("usage"),
        state_root: word("state"),
        regular_since: Seconds::new(77),
    };
    let expected = Batch {
        generation: 1,
        epoch: 2,
        firstHeight: 3,
        lastHeight: 4,
        parentBlockHash: word("parent"),
        blocksRoot: word("root"),
        lastBlockHash: word("last"),
        forcedThrough: 5,
        l1OriginNumber: 6,
        l1OriginHash: word("origin"),
        timestamp: u64::MAX,
        payloadHash: word("payload"),
        blobsHash: word("blobs"),
        usageHash: word("usage"),
        stateRoot: word("state"),
        regularSince: 77,
    };
    assert_eq!(ours().batch(&header), expected.eip712_signing_hash(&theirs()));
}

#[test]
fn the_two_kinds_of_vote_have_digests_of_their_own() {
    let vote = domain::Vote {
        generation: Generation::new(u32::MAX),
        height: Height::new(8),
        round: Round::new(9),
        block_hash: word("block"),
    };
    let prevote = Prevote { generation: u32::MAX, height: 8, round: 9, blockHash: word("block") };
    let precommit =
        Precommit { generation: u32::MAX, height: 8, round: 9, blockHash: word("block") };
    assert_eq!(ours().vote(VoteType::Prevote, &vote), prevote.eip712_signing_hash(&theirs()));
    assert_eq!(ours().vote(VoteType::Precommit, &vote), precommit.eip712_signing_hash(&theirs()));
}

#[test]
fn a_negative_pol_round_is_sign_extended() {
    for pol_round in [-1, 0, i32::MAX, i32::MIN] {
        let proposal = domain::Proposal {
            generation: Generation::new(0),
            height: Height::new(1),
            round: Round::new(2),
            pol_round,
            block_hash: word("block"),
        };
        let expected = Proposal {
            generation: 0,
            height: 1,
            round: 2,
            polRound: pol_round,
            blockHash: word("block"),
        };
        assert_eq!(ours().proposal(&proposal), expected.eip712_signing_hash(&theirs()));
    }
}

#[test]
fn a_receipt_is_hashed_field_by_field() {
    let receipt = domain::OrderReceipt {
        generation: Generation::new(1),
        height: Height::new(2),
        index: 3,
        rollup: RollupId::new(4),
        tx_hash: word("tx"),
        sender: Address::repeat_byte(5),
        prev_receipt_hash: word("before"),
    };
    let expected = OrderReceipt {
        generation: 1,
        height: 2,
        index: 3,
        rollup: 4,
        txHash: word("tx"),
        sender: Address::repeat_byte(5),
        prevReceiptHash: word("before"),
    };
    assert_eq!(ours().receipt(&receipt), expected.eip712_signing_hash(&theirs()));
}

#[test]
fn a_posters_possession_binds_sequencer_and_poster() {
    let (sequencer, poster) = (7, Address::repeat_byte(6));
    let expected = PosterPossession { sequencer, poster }.eip712_signing_hash(&theirs());
    let id = crate::domain::SequencerId::new(sequencer);
    assert_eq!(ours().poster_possession(id, poster), expected);
    let other = crate::domain::SequencerId::new(8);
    assert_ne!(ours().poster_possession(other, poster), expected);
}

#[test]
fn possession_binds_owner_and_signer() {
    let (owner, signer) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let expected = Possession { owner, signer }.eip712_signing_hash(&theirs());
    assert_eq!(ours().possession(owner, signer), expected);
    assert_ne!(ours().possession(signer, owner), expected);
}
