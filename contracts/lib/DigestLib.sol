// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

import {BatchHeader, BlockHeader, OrderReceipt, Proposal, Vote, VoteType} from "../types/Wire.sol";

/// @title What sequencers sign
/// @notice EIP-712 struct hashes, and the domain that every one of them is signed under: name `Rota`, version `1`, the
/// chain id of L1 and the settlement contract. A message of another deployment, chain or kind has another digest.
library DigestLib {
    bytes32 internal constant PREVOTE_TYPEHASH =
        keccak256("Prevote(uint32 generation,uint64 height,uint32 round,bytes32 blockHash)");

    bytes32 internal constant PRECOMMIT_TYPEHASH =
        keccak256("Precommit(uint32 generation,uint64 height,uint32 round,bytes32 blockHash)");

    bytes32 internal constant PROPOSAL_TYPEHASH =
        keccak256("Proposal(uint32 generation,uint64 height,uint32 round,int32 polRound,bytes32 blockHash)");

    bytes32 internal constant BATCH_TYPEHASH = keccak256(
        "Batch(uint32 generation,uint64 epoch,uint64 firstHeight,uint64 lastHeight,bytes32 parentBlockHash,"
        "bytes32 blocksRoot,bytes32 lastBlockHash,uint64 forcedThrough,uint64 l1OriginNumber,bytes32 l1OriginHash,"
        "uint64 timestamp,bytes32 payloadHash,bytes32 blobsHash,bytes32 usageHash,bytes32 stateRoot,"
        "uint64 regularSince)"
    );

    bytes32 internal constant ORDER_RECEIPT_TYPEHASH = keccak256(
        "OrderReceipt(uint32 generation,uint64 height,uint32 index,uint64 rollup,bytes32 txHash,address sender,"
        "bytes32 prevReceiptHash)"
    );

    /// @dev Which of the domain's fields are there (EIP-5267): name, version, chain id, verifying contract.
    bytes1 private constant DOMAIN_FIELDS = hex"0f";

    /// @notice Domain separator of the deployment whose settlement contract is `settlement`, on L1 `chainId`.
    function domainSeparator(uint256 chainId, address settlement) internal pure returns (bytes32) {
        return MessageHashUtils.toDomainSeparator({
            fields: DOMAIN_FIELDS,
            name: "Rota",
            version: "1",
            chainId: chainId,
            verifyingContract: settlement,
            salt: bytes32(0)
        });
    }

    /// @notice What is signed: the digest of a struct hash under a domain.
    function digest(bytes32 domain, bytes32 message) internal pure returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domain, message);
    }

    // The structs are static and their ABI encoding is the concatenation of their fields' words, which is what EIP-712
    // hashes behind the type hash. They are taken from calldata as they are: field by field it would cost 600 gas more in
    // every settlement. A field wider than its type gives a hash that nobody signed. Memory-safe: the hashes are made
    // behind the free pointer.

    function structHash(Vote calldata vote, VoteType voteType) internal pure returns (bytes32 hashed) {
        bytes32 typehash = voteType == VoteType.Prevote ? PREVOTE_TYPEHASH : PRECOMMIT_TYPEHASH;
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, typehash)
            calldatacopy(add(start, 32), vote, 128)
            hashed := keccak256(start, 160)
        }
    }

    function structHash(Proposal calldata proposal) internal pure returns (bytes32 hashed) {
        bytes32 typehash = PROPOSAL_TYPEHASH;
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, typehash)
            calldatacopy(add(start, 32), proposal, 160)
            hashed := keccak256(start, 192)
        }
    }

    function structHash(BatchHeader calldata header) internal pure returns (bytes32 hashed) {
        bytes32 typehash = BATCH_TYPEHASH;
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, typehash)
            calldatacopy(add(start, 32), header, 512)
            hashed := keccak256(start, 544)
        }
    }

    function structHash(OrderReceipt calldata receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(ORDER_RECEIPT_TYPEHASH, receipt));
    }

    /// @notice Hash of a block (R13): its header's ABI encoding, outside of EIP-712.
    function blockHash(BlockHeader memory header) internal pure returns (bytes32) {
        return keccak256(abi.encode(header));
    }
}
