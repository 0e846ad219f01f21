//! `block.json`, `batch.json`, `votes.json` and `receipts.json`: what is hashed and signed.

use crate::json::{
    L1_CHAIN_ID, batch_header, block_header, dec, domain, domain_fields, hex, number, object,
    registry, signed, word,
};
use alloy::primitives::{Address, B256};
use rota::crypto::SigningDomain;
use rota::domain::{
    BatchHeader, BlockHeader, Epoch, Generation, Height, Millis, OrderReceipt, Proposal, RollupId,
    Round, Seconds, SequencerId, Vote, VoteType, tx_root,
};
use serde_json::{Map, Value, json};

/// The largest number at 0, small ones at 1, anything after that.
fn sample(name: &str, which: u64) -> u64 {
    match which {
        0 => u64::MAX,
        1 => u64::try_from(name.len()).unwrap(),
        _ => number(name, which),
    }
}

fn sample32(name: &str, which: u64) -> u32 {
    sample(name, which) as u32
}

fn sample_hash(name: &str, which: u64) -> B256 {
    if which == 0 { B256::repeat_byte(0xff) } else { word(name, which) }
}

fn sample_address(name: &str, which: u64) -> Address {
    Address::from_word(sample_hash(name, which))
}

fn blocks() -> Vec<BlockHeader> {
    let genesis = BlockHeader {
        generation: Generation::new(0),
        height: Height::new(0),
        epoch: Epoch::new(0),
        proposer: Address::ZERO,
        timestamp: Millis::new(1_700_000_000_000),
        parent_hash: B256::ZERO,
        l1_origin_number: 17,
        l1_origin_hash: word("origin", 17),
        forced_through: 0,
        tx_count: 0,
        tx_root: tx_root(&[]),
    };
    let others = (0..4).map(|i| BlockHeader {
        generation: Generation::new(sample32("generation", i)),
        height: Height::new(sample("height", i)),
        epoch: Epoch::new(sample("epoch", i)),
        proposer: sample_address("proposer", i),
        timestamp: Millis::new(sample("timestamp", i)),
        parent_hash: sample_hash("parent", i),
        l1_origin_number: sample("origin", i),
        l1_origin_hash: sample_hash("origin", i),
        forced_through: sample("forced", i),
        tx_count: sample32("count", i),
        tx_root: sample_hash("root", i),
    });
    std::iter::once(genesis).chain(others).collect()
}

fn batches() -> impl Iterator<Item = BatchHeader> {
    (0..4).map(|i| BatchHeader {
        generation: Generation::new(sample32("generation", i)),
        epoch: Epoch::new(sample("epoch", i)),
        first_height: Height::new(sample("first", i)),
        last_height: Height::new(sample("last", i)),
        parent_block_hash: sample_hash("parent", i),
        blocks_root: sample_hash("root", i),
        last_block_hash: sample_hash("last", i),
        forced_through: sample("forced", i),
        l1_origin_number: sample("origin", i),
        l1_origin_hash: sample_hash("origin", i),
        timestamp: Seconds::new(sample("timestamp", i)),
        payload_hash: sample_hash("payload", i),
        blobs_hash: sample_hash("blobs", i),
        usage_hash: sample_hash("usage", i),
        state_root: sample_hash("state", i),
        regular_since: Seconds::new(if i == 0 { 0 } else { sample("regular", i) }),
    })
}

fn with_domain(lists: Value) -> Value {
    let mut fields = domain_fields();
    if let Value::Object(lists) = lists {
        fields.extend(lists);
    }
    Value::Object(fields)
}

#[test]
fn blocks_hold() {
    let blocks: Vec<Map<String, Value>> = blocks().iter().map(block_header).collect();
    crate::hold("block.json", &json!({ "blocks": blocks }));
}

#[test]
fn batches_hold() {
    let batches: Vec<Value> =
        batches().map(|header| signed(batch_header(&header), domain().batch(&header))).collect();
    crate::hold("batch.json", &with_domain(json!({ "batches": batches })));
}

#[test]
fn votes_hold() {
    let mut votes = Vec::new();
    let mut proposals = Vec::new();
    for i in 0..5 {
        let (generation, height, round) =
            (sample32("generation", i), sample("height", i), sample32("round", i));
        // The last is a vote for nil.
        let block_hash = if i == 4 { B256::ZERO } else { sample_hash("block", i) };
        let fields = object([
            ("generation", json!(generation)),
            ("height", dec(height)),
            ("round", json!(round)),
            ("blockHash", hex(block_hash)),
        ]);
        let vote = Vote {
            generation: Generation::new(generation),
            height: Height::new(height),
            round: Round::new(round),
            block_hash,
        };
        for vote_type in [VoteType::Prevote, VoteType::Precommit] {
            let mut fields = fields.clone();
            fields.insert("voteType".to_owned(), json!(vote_type as u8));
            votes.push(signed(fields, domain().vote(vote_type, &vote)));
        }
        for pol_round in [-1, 0, i32::MAX] {
            let proposal = Proposal {
                generation: vote.generation,
                height: vote.height,
                round: vote.round,
                pol_round,
                block_hash: sample_hash("block", i),
            };
            let mut fields = fields.clone();
            fields.insert("polRound".to_owned(), json!(pol_round));
            fields.insert("blockHash".to_owned(), hex(proposal.block_hash));
            proposals.push(signed(fields, domain().proposal(&proposal)));
        }
    }
    crate::hold("votes.json", &with_domain(json!({ "votes": votes, "proposals": proposals })));
}

#[test]
fn receipts_hold() {
    // Receipts of one block, each naming the digest of the one before (R40).
    let mut prev_receipt_hash = B256::ZERO;
    let mut receipts = Vec::new();
    for i in 0..4 {
        let receipt = OrderReceipt {
            generation: Generation::new(7),
            height: Height::new(u64::MAX - 1),
            index: i,
            rollup: RollupId::new(sample("rollup", i.into())),
            tx_hash: sample_hash("transaction", i.into()),
            sender: sample_address("sender", i.into()),
            prev_receipt_hash,
        };
        let fields = object([
            ("generation", json!(receipt.generation.get())),
            ("height", dec(receipt.height.get())),
            ("index", json!(receipt.index)),
            ("rollup", dec(receipt.rollup.get())),
            ("txHash", hex(receipt.tx_hash)),
            ("sender", hex(receipt.sender)),
            ("prevReceiptHash", hex(receipt.prev_receipt_hash)),
        ]);
        prev_receipt_hash = domain().receipt(&receipt);
        receipts.push(signed(fields, prev_receipt_hash));
    }
    let registry_domain = SigningDomain::new(L1_CHAIN_ID, registry());
    let possessions: Vec<Value> = (0..2)
        .map(|i| {
            let (owner, signer) = (sample_address("owner", i), crate::json::key().address());
            let fields = object([("owner", hex(owner)), ("registry", hex(registry()))]);
            signed(fields, registry_domain.possession(owner, signer))
        })
        .collect();
    let posters: Vec<Value> = [1, u32::MAX]
        .map(|id| {
            let digest = registry_domain
                .poster_possession(SequencerId::new(id), crate::json::key().address());
            signed(object([("sequencer", json!(id)), ("registry", hex(registry()))]), digest)
        })
        .to_vec();
    crate::hold(
        "receipts.json",
        &with_domain(
            json!({ "receipts": receipts, "possessions": possessions, "posters": posters }),
        ),
    );
}
