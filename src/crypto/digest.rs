//! EIP-712 digests: what members sign and L1 recovers signers from. Consensus-critical.

use crate::crypto::words::Words;
use crate::domain::{BatchHeader, OrderReceipt, Proposal, SequencerId, Vote, VoteType};
use alloy::primitives::{Address, B256, keccak256};
use std::sync::LazyLock;

/// Type hashes, by the strings that stand in the protocol's notation section.
struct Types {
    domain: B256,
    batch: B256,
    prevote: B256,
    precommit: B256,
    proposal: B256,
    receipt: B256,
    possession: B256,
    poster_possession: B256,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| Types {
    domain: keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
    ),
    batch: keccak256(
        "Batch(uint32 generation,uint64 epoch,uint64 firstHeight,uint64 lastHeight,\
         bytes32 parentBlockHash,bytes32 blocksRoot,bytes32 lastBlockHash,uint64 forcedThrough,\
         uint64 l1OriginNumber,bytes32 l1OriginHash,uint64 timestamp,bytes32 payloadHash,\
         bytes32 blobsHash,bytes32 usageHash,bytes32 stateRoot,uint64 regularSince)",
    ),
    prevote: keccak256("Prevote(uint32 generation,uint64 height,uint32 round,bytes32 blockHash)"),
    precommit: keccak256(
        "Precommit(uint32 generation,uint64 height,uint32 round,bytes32 blockHash)",
    ),
    proposal: keccak256(
        "Proposal(uint32 generation,uint64 height,uint32 round,int32 polRound,bytes32 blockHash)",
    ),
    receipt: keccak256(
        "OrderReceipt(uint32 generation,uint64 height,uint32 index,uint64 rollup,bytes32 txHash,\
         address sender,bytes32 prevReceiptHash)",
    ),
    possession: keccak256("Possession(address owner,address signer)"),
    poster_possession: keccak256("PosterPossession(uint32 sequencer,address poster)"),
});

/// The EIP-712 domain of one contract of one deployment: name `Rota`, version `1`. The settlement contract's domain is
/// for everything but [`SigningDomain::possession`], which stands in the registry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningDomain {
    separator: B256,
}

impl SigningDomain {
    /// The domain of `verifying_contract` on the L1 with this chain id.
    pub fn new(l1_chain_id: u64, verifying_contract: Address) -> Self {
        let separator = Words::with_capacity(5)
            .word(TYPES.domain)
            .word(keccak256("Rota"))
            .word(keccak256("1"))
            .uint(l1_chain_id)
            .address(verifying_contract)
            .hash();
        Self { separator }
    }

    /// What a key signs to speak through the peer link as `peer`, the bytes of a libp2p peer id. Begins with a letter, so
    /// that it is neither EIP-712 nor a transaction; local form, no vector.
    pub fn link(&self, peer: &[u8]) -> B256 {
        let mut preimage = b"rota link 2".to_vec();
        preimage.extend_from_slice(self.separator.as_slice());
        preimage.extend_from_slice(peer);
        keccak256(preimage)
    }

    /// The domain separator.
    pub const fn separator(&self) -> B256 {
        self.separator
    }

    /// Digest of a batch header; also the `headerHash` that L1 stores and names in its events.
    pub fn batch(&self, header: &BatchHeader) -> B256 {
        let words = Words::with_capacity(17)
            .word(TYPES.batch)
            .uint(header.generation.get().into())
            .uint(header.epoch.get())
            .uint(header.first_height.get())
            .uint(header.last_height.get())
            .word(header.parent_block_hash)
            .word(header.blocks_root)
            .word(header.last_block_hash)
            .uint(header.forced_through)
            .uint(header.l1_origin_number)
            .word(header.l1_origin_hash)
            .uint(header.timestamp.get())
            .word(header.payload_hash)
            .word(header.blobs_hash)
            .word(header.usage_hash)
            .word(header.state_root)
            .uint(header.regular_since.get());
        self.digest(words)
    }

    /// Digest of a vote: all precommits for one block in one round share it.
    pub fn vote(&self, vote_type: VoteType, vote: &Vote) -> B256 {
        let type_hash = match vote_type {
            VoteType::Prevote => TYPES.prevote,
            VoteType::Precommit => TYPES.precommit,
        };
        let words = Words::with_capacity(5)
            .word(type_hash)
            .uint(vote.generation.get().into())
            .uint(vote.height.get())
            .uint(vote.round.get().into())
            .word(vote.block_hash);
        self.digest(words)
    }

    /// Digest of a proposal.
    pub fn proposal(&self, proposal: &Proposal) -> B256 {
        let words = Words::with_capacity(6)
            .word(TYPES.proposal)
            .uint(proposal.generation.get().into())
            .uint(proposal.height.get())
            .uint(proposal.round.get().into())
            .int32(proposal.pol_round)
            .word(proposal.block_hash);
        self.digest(words)
    }

    /// Digest of a promise; also what the next receipt of the block names as `prevReceiptHash` (R40).
    pub fn receipt(&self, receipt: &OrderReceipt) -> B256 {
        let words = Words::with_capacity(8)
            .word(TYPES.receipt)
            .uint(receipt.generation.get().into())
            .uint(receipt.height.get())
            .uint(receipt.index.into())
            .uint(receipt.rollup.get())
            .word(receipt.tx_hash)
            .address(receipt.sender)
            .word(receipt.prev_receipt_hash);
        self.digest(words)
    }

    /// Digest by which a signer key proves that it agrees to serve `owner`. In the registry's domain.
    pub fn possession(&self, owner: Address, signer: Address) -> B256 {
        let words = Words::with_capacity(3).word(TYPES.possession).address(owner).address(signer);
        self.digest(words)
    }

    /// Digest by which an address proves that it agrees to post for a sequencer. In the registry's domain.
    pub fn poster_possession(&self, sequencer: SequencerId, poster: Address) -> B256 {
        let words = Words::with_capacity(3)
            .word(TYPES.poster_possession)
            .uint(sequencer.get().into())
            .address(poster);
        self.digest(words)
    }

    /// keccak256(0x1901 ‖ separator ‖ struct hash).
    fn digest(&self, words: Words) -> B256 {
        let mut bytes = [0; 66];
        bytes[0] = 0x19;
        bytes[1] = 0x01;
        bytes[2..34].copy_from_slice(self.separator.as_slice());
        bytes[34..].copy_from_slice(words.hash().as_slice());
        keccak256(bytes)
    }
}

#[cfg(test)]
mod tests;
