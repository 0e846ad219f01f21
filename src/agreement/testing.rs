#![expect(clippy::arithmetic_side_effects, reason = "tests")]

//! A height to be agreed on, for tests: its set with all keys, an L1 that shows what its blocks need, and signed proposals.

use super::context::{HeaderValue, Proposal, RotaContext};
use super::heights::{Heights, Term};
use super::source::{BlockSource, Reach};
use super::verify::{RecoveringVerifier, Signed};
use crate::crypto::{SecretKey, Signature, SigningDomain};
use crate::domain::{
    Block, BlockHeader, Epoch, Generation, Height, L1Block, LeaderSet, Member, Millis, Params,
    RollupId, RollupTransaction, Seconds, SequencerId, Signer, tx_root,
};
use crate::l1::{Allowance, Mirror};
use crate::storage::IncludedTransaction;
use crate::testing::{ROLLUP, key};
use alloy::primitives::{Address, B256, U256};
use libp2p::PeerId;
use malachitebft_core_types::{Context as _, Round};
use std::sync::Arc;
use tokio::sync::Notify;

/// The domain that these tests sign in.
pub(super) fn domain() -> SigningDomain {
    SigningDomain::new(1, Address::repeat_byte(1))
}

/// The height after block 7; the keys of its members are 1, 2, ….
pub(super) struct Chain {
    members: u8,
    set: LeaderSet,
}

impl Chain {
    /// `members` have equal weights.
    pub(super) fn new(members: u8) -> Self {
        let mut all: Vec<_> =
            (1..=members).map(|n| Member { signer: key(n).address(), weight: 10 }).collect();
        all.sort_by_key(|member| member.signer);
        let set = LeaderSet::new(Generation::new(0), Epoch::new(0), B256::ZERO, all).unwrap();
        Self { members, set }
    }

    /// What L1 shows: blocks 0 to 8 at depth, the set, the rollup.
    pub(super) fn mirror(&self) -> Mirror {
        let mut mirror = Mirror::new(Params::for_tests());
        for number in 0..=12 {
            mirror.blocks.insert(number, l1_block(number));
        }
        mirror.head = Some(l1_block(12));
        mirror.at_depth = Some(l1_block(8));
        mirror.sets.insert((Generation::new(0), Epoch::new(0)), Arc::new(self.set.clone()));
        mirror.rollups.insert(ROLLUP, Allowance::new(0, U256::MAX));
        mirror
    }

    /// Block 7.
    pub(super) fn parent(&self) -> BlockHeader {
        let origin = l1_block(4);
        BlockHeader {
            generation: Generation::new(0),
            height: Height::new(7),
            epoch: Epoch::new(0),
            proposer: Address::ZERO,
            timestamp: origin.timestamp.to_millis(),
            parent_hash: B256::repeat_byte(6),
            l1_origin_number: origin.number,
            l1_origin_hash: origin.hash,
            forced_through: 0,
            tx_count: 0,
            tx_root: tx_root(&[]),
        }
    }

    /// The terms of height 8.
    pub(super) fn term(&self) -> Term {
        let parent = self.parent();
        Term::after(&self.mirror(), None, &parent, parent.hash()).unwrap()
    }

    /// The key of who proposes in a round.
    pub(super) fn proposer(&self, round: u32) -> SecretKey {
        let set = self.term().set;
        let proposes = |key: &SecretKey| set.proposes(&Signer(key.address().0.0), round);
        (1..=self.members).map(key).find(proposes).unwrap()
    }

    /// A block of height 8 by the proposer of a round.
    pub(super) fn block(&self, round: u32, transactions: Vec<RollupTransaction>) -> Block {
        let (parent, origin) = (self.parent(), l1_block(6));
        let header = BlockHeader {
            height: parent.height.next(),
            proposer: self.proposer(round).address(),
            timestamp: Millis::new(origin.timestamp.to_millis().get() + 500),
            parent_hash: parent.hash(),
            l1_origin_number: origin.number,
            l1_origin_hash: origin.hash,
            tx_count: transactions.len().try_into().unwrap(),
            tx_root: tx_root(&transactions),
            ..parent
        };
        Block { header, transactions }
    }

    /// Who checks signatures, once height 8 has begun.
    pub(super) fn verifier(&self) -> RecoveringVerifier {
        let heights = Heights::default();
        heights.note(&self.term(), None);
        RecoveringVerifier::new(Generation::new(0), domain(), heights)
    }
}

/// A block of the L1 of these tests, one a second.
pub(super) fn l1_block(number: u64) -> L1Block {
    let byte = u8::try_from(number).unwrap();
    L1Block { number, hash: B256::repeat_byte(byte + 1), timestamp: Seconds::new(1_000 + number) }
}

/// A proposal as `by` would sign it, in the name of `proposer`.
pub(super) fn proposal(
    by: &SecretKey,
    proposer: Address,
    header: &BlockHeader,
    round: Round,
    pol_round: Round,
) -> (Proposal, Signature) {
    let value = HeaderValue::new(header.clone());
    let signer = Signer(proposer.0.0);
    let proposal = RotaContext.new_proposal(header.height, round, value, pol_round, signer);
    let signed = proposal.to_domain(header.generation);
    let signature = signed
        .map_or(Signature::from_compact([0; 64]), |signed| by.sign(domain().proposal(&signed)));
    (proposal, signature)
}

/// The proposal of a block by the proposer of a round.
pub(super) fn signed_proposal(chain: &Chain, round: u32, block: &Block) -> Signed<Proposal> {
    let by = chain.proposer(round);
    let (proposal, signature) =
        proposal(&by, by.address(), &block.header, Round::new(round), Round::Nil);
    chain.verifier().proposal(proposal, signature).unwrap()
}

/// A mempool with nothing in it.
#[derive(Default)]
pub(super) struct Nothing(Notify);

impl BlockSource for Nothing {
    fn collect(&self, _: usize, _: &dyn Fn(RollupId) -> bool) -> Vec<RollupTransaction> {
        Vec::new()
    }

    fn has_work(&self) -> bool {
        false
    }

    fn work(&self) -> &Notify {
        &self.0
    }

    fn known(&self, _: RollupId, _: B256) -> Option<IncludedTransaction> {
        None
    }
}

/// Everybody can be reached, as far as anybody knows.
#[derive(Debug)]
pub(super) struct Everybody;

impl Reach for Everybody {
    fn is_reachable(&self, _: Address) -> bool {
        true
    }

    fn sequencer_of(&self, _: &PeerId) -> Option<SequencerId> {
        None
    }
}
