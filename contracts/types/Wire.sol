// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

// What sequencers sign and what L1 reads back. Field order is consensus-critical: each struct is hashed or
// encoded in exactly this order, here and in the agent (vectors: test/vectors/).

/// A block header (R13). Its hash is keccak256 of its ABI encoding.
struct BlockHeader {
    uint32 generation;
    uint64 height;
    uint64 epoch;
    /// Signer of the member whose block this is; zero in block 0 alone.
    address proposer;
    /// Milliseconds.
    uint64 timestamp;
    bytes32 parentHash;
    uint64 l1OriginNumber;
    bytes32 l1OriginHash;
    uint64 forcedThrough;
    uint32 txCount;
    bytes32 txRoot;
}

/// A batch header (R21): what the members of the attesting epoch's set sign as EIP-712 `Batch`.
struct BatchHeader {
    uint32 generation;
    /// The epoch that attests, E in R22.
    uint64 epoch;
    uint64 firstHeight;
    uint64 lastHeight;
    bytes32 parentBlockHash;
    bytes32 blocksRoot;
    bytes32 lastBlockHash;
    uint64 forcedThrough;
    uint64 l1OriginNumber;
    bytes32 l1OriginHash;
    /// Seconds: floor(timestamp of the last block / 1000).
    uint64 timestamp;
    bytes32 payloadHash;
    bytes32 blobsHash;
    bytes32 usageHash;
    bytes32 stateRoot;
    /// Zero unless the batch is regular (R23): then the seconds, rounded down, of the block that showed where it ends.
    uint64 regularSince;
}

/// An EIP-2098 compact signature: `vs` is s with the parity of y in its top bit. Low s only.
struct Signature {
    bytes32 r;
    bytes32 vs;
}

/// The two kinds of vote. The numbers are part of an offence's position key.
enum VoteType {
    Prevote,
    Precommit
}

/// One vote: EIP-712 `Prevote` or `Precommit`. A nil vote has a zero `blockHash`.
struct Vote {
    uint32 generation;
    uint64 height;
    uint32 round;
    bytes32 blockHash;
}

/// One proposal: EIP-712 `Proposal`. A nil `polRound` is -1.
struct Proposal {
    uint32 generation;
    uint64 height;
    uint32 round;
    int32 polRound;
    bytes32 blockHash;
}

/// A promise (EIP-712 `OrderReceipt`): "this transaction is number `index` of block `height`".
struct OrderReceipt {
    uint32 generation;
    uint64 height;
    uint32 index;
    uint64 rollup;
    bytes32 txHash;
    address sender;
    bytes32 prevReceiptHash;
}
