//! Hashes of blocks, and digests of whatever sequencers sign (R13, R21, R38).

use crate::chain::Chain;
use crate::harness::{self, Harness, Settlement};
use crate::inputs::{self, address, number, small, word};
use alloy::primitives::{Address, B256, U256};
use rand::Rng as _;
use rand::rngs::StdRng;
use rota::crypto::SigningDomain;
use rota::domain::{
    BatchHeader, BlockHeader, Epoch, Generation, Height, Millis, OrderReceipt, Proposal, RollupId,
    Round, Seconds, Vote, VoteType,
};

/// Messages of each kind.
const MESSAGES: usize = 512;

fn block_header(random: &mut StdRng) -> BlockHeader {
    BlockHeader {
        generation: Generation::new(small(random)),
        height: Height::new(number(random, 64)),
        epoch: Epoch::new(number(random, 64)),
        proposer: address(random),
        timestamp: Millis::new(number(random, 64)),
        parent_hash: word(random),
        l1_origin_number: number(random, 64),
        l1_origin_hash: word(random),
        forced_through: number(random, 64),
        tx_count: small(random),
        tx_root: word(random),
    }
}

/// Any batch header.
pub(crate) fn batch_header(random: &mut StdRng) -> BatchHeader {
    BatchHeader {
        generation: Generation::new(small(random)),
        epoch: Epoch::new(number(random, 64)),
        first_height: Height::new(number(random, 64)),
        last_height: Height::new(number(random, 64)),
        parent_block_hash: word(random),
        blocks_root: word(random),
        last_block_hash: word(random),
        forced_through: number(random, 64),
        l1_origin_number: number(random, 64),
        l1_origin_hash: word(random),
        timestamp: Seconds::new(number(random, 64)),
        payload_hash: word(random),
        blobs_hash: word(random),
        usage_hash: word(random),
        state_root: word(random),
        regular_since: Seconds::new(number(random, 64)),
    }
}

/// Any vote.
pub(crate) fn vote(random: &mut StdRng) -> (VoteType, Vote) {
    let vote_type = if random.r#gen() { VoteType::Prevote } else { VoteType::Precommit };
    let vote = Vote {
        generation: Generation::new(small(random)),
        height: Height::new(number(random, 64)),
        round: Round::new(small(random)),
        block_hash: word(random),
    };
    (vote_type, vote)
}

/// Any proposal; the round that it points back to is nil at times, and below zero at others.
pub(crate) fn proposal(random: &mut StdRng) -> Proposal {
    Proposal {
        generation: Generation::new(small(random)),
        height: Height::new(number(random, 64)),
        round: Round::new(small(random)),
        pol_round: match random.gen_range(0..4) {
            0 => -1,
            1 => i32::MIN,
            2 => i32::MAX,
            _ => random.r#gen(),
        },
        block_hash: word(random),
    }
}

fn receipt(random: &mut StdRng) -> OrderReceipt {
    OrderReceipt {
        generation: Generation::new(small(random)),
        height: Height::new(number(random, 64)),
        index: small(random),
        rollup: RollupId::new(number(random, 64)),
        tx_hash: word(random),
        sender: address(random),
        prev_receipt_hash: word(random),
    }
}

/// A vote as L1 takes it.
pub(crate) fn sol_vote(vote: &Vote) -> harness::Vote {
    harness::Vote {
        generation: vote.generation.get(),
        height: vote.height.get(),
        round: vote.round.get(),
        blockHash: vote.block_hash,
    }
}

/// A proposal as L1 takes it.
pub(crate) fn sol_proposal(proposal: &Proposal) -> harness::Proposal {
    harness::Proposal {
        generation: proposal.generation.get(),
        height: proposal.height.get(),
        round: proposal.round.get(),
        polRound: proposal.pol_round,
        blockHash: proposal.block_hash,
    }
}

fn sol_block_header(header: &BlockHeader) -> harness::BlockHeader {
    harness::BlockHeader {
        generation: header.generation.get(),
        height: header.height.get(),
        epoch: header.epoch.get(),
        proposer: header.proposer,
        timestamp: header.timestamp.get(),
        parentHash: header.parent_hash,
        l1OriginNumber: header.l1_origin_number,
        l1OriginHash: header.l1_origin_hash,
        forcedThrough: header.forced_through,
        txCount: header.tx_count,
        txRoot: header.tx_root,
    }
}

/// A batch header as L1 takes it.
pub(crate) fn sol_batch_header(header: &BatchHeader) -> harness::BatchHeader {
    harness::BatchHeader {
        generation: header.generation.get(),
        epoch: header.epoch.get(),
        firstHeight: header.first_height.get(),
        lastHeight: header.last_height.get(),
        parentBlockHash: header.parent_block_hash,
        blocksRoot: header.blocks_root,
        lastBlockHash: header.last_block_hash,
        forcedThrough: header.forced_through,
        l1OriginNumber: header.l1_origin_number,
        l1OriginHash: header.l1_origin_hash,
        timestamp: header.timestamp.get(),
        payloadHash: header.payload_hash,
        blobsHash: header.blobs_hash,
        usageHash: header.usage_hash,
        stateRoot: header.state_root,
        regularSince: header.regular_since.get(),
    }
}

fn sol_receipt(receipt: &OrderReceipt) -> harness::OrderReceipt {
    harness::OrderReceipt {
        generation: receipt.generation.get(),
        height: receipt.height.get(),
        index: receipt.index,
        rollup: receipt.rollup.get(),
        txHash: receipt.tx_hash,
        sender: receipt.sender,
        prevReceiptHash: receipt.prev_receipt_hash,
    }
}

/// Compares message by message, so that a failure shows the message.
#[track_caller]
fn same<T: std::fmt::Debug>(messages: &[T], hash: impl Fn(&T) -> B256, answers: &[B256]) {
    assert_eq!(messages.len(), answers.len());
    for (message, answer) in messages.iter().zip(answers) {
        assert_eq!(hash(message), *answer, "{message:?}");
    }
}

#[tokio::test]
async fn random_headers_votes_proposals_and_receipts_have_the_same_digests() {
    let mut random = inputs::generator();
    let random = &mut random;
    let chain = Chain::start().await;

    let domains: Vec<(u64, Address)> =
        (0..MESSAGES).map(|_| (number(random, 64), address(random))).collect();
    let call = Harness::separatorsCall {
        chainIds: domains.iter().map(|(chain, _)| U256::from(*chain)).collect(),
        settlements: domains.iter().map(|(_, settlement)| *settlement).collect(),
    };
    let separator =
        |(chain, settlement): &(u64, Address)| SigningDomain::new(*chain, *settlement).separator();
    same(&domains, separator, &chain.harness(call).await);

    let blocks: Vec<BlockHeader> = (0..MESSAGES).map(|_| block_header(random)).collect();
    let call = Harness::blockHashesCall { headers: blocks.iter().map(sol_block_header).collect() };
    same(&blocks, BlockHeader::hash, &chain.harness(call).await);

    let ours = SigningDomain::new(domains[0].0, domains[0].1);
    let votes: Vec<(VoteType, Vote)> = (0..MESSAGES).map(|_| vote(random)).collect();
    let call = Harness::voteDigestsCall {
        domain: ours.separator(),
        types: votes.iter().map(|(vote_type, _)| *vote_type as u8).collect(),
        votes: votes.iter().map(|(_, vote)| sol_vote(vote)).collect(),
    };
    same(&votes, |(vote_type, vote)| ours.vote(*vote_type, vote), &chain.harness(call).await);

    let proposals: Vec<Proposal> = (0..MESSAGES).map(|_| proposal(random)).collect();
    let call = Harness::proposalDigestsCall {
        domain: ours.separator(),
        proposals: proposals.iter().map(sol_proposal).collect(),
    };
    same(&proposals, |proposal| ours.proposal(proposal), &chain.harness(call).await);

    let receipts: Vec<OrderReceipt> = (0..MESSAGES).map(|_| receipt(random)).collect();
    let call = Harness::receiptDigestsCall {
        domain: ours.separator(),
        receipts: receipts.iter().map(sol_receipt).collect(),
    };
    same(&receipts, |receipt| ours.receipt(receipt), &chain.harness(call).await);
}

#[tokio::test]
async fn the_deployed_settlement_gives_random_batch_headers_the_agents_digest() {
    let mut random = inputs::generator();
    let chain = Chain::start().await;
    let key = rota::crypto::SecretKey::from_bytes([7; 32]).unwrap();
    let stake_wei = U256::from(10).pow(U256::from(21));
    let deployed = chain.deploy(&[(key, stake_wei)]).await.deployment;
    let domain = SigningDomain::new(deployed.chain_id, deployed.settlement);

    let separator = Settlement::domainSeparatorCall {};
    assert_eq!(Ok(domain.separator()), chain.ask(deployed.settlement, separator).await);

    let headers: Vec<BatchHeader> = (0..MESSAGES).map(|_| batch_header(&mut random)).collect();
    let call = Harness::batchDigestsCall {
        settlement: deployed.settlement,
        headers: headers.iter().map(sol_batch_header).collect(),
    };
    same(&headers, |header| domain.batch(header), &chain.harness(call).await);
}
