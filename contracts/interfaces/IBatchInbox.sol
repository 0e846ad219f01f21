// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchHeader, Signature} from "../types/Wire.sol";

/// A certificate and the payload in calldata, as {IBatchInbox.settleMany} takes several.
struct Submission {
    BatchHeader header;
    /// Bit i set: member i of the set signed. Signatures follow in member order.
    uint128 signers;
    Signature[] signatures;
    bytes payload;
}

/// Where the settled chain stands.
struct Tip {
    /// Batches settled so far; the first batch has number 1.
    uint64 number;
    uint64 lastHeight;
    bytes32 lastBlockHash;
    /// Attesting epoch, timestamp and origin of the last batch.
    uint64 epoch;
    uint64 timestamp;
    uint64 l1OriginNumber;
    /// L1 time of the last settlement.
    uint64 settledAt;
    /// forcedThrough of the last header, and entries consumed so far (a later escape may be ahead).
    uint64 forcedThrough;
    uint64 consumed;
}

/// What the ring holds the hash of: everything that {IBatchInbox.tally} needs to know of a settled batch (R26).
struct Settled {
    BatchHeader header;
    uint128 signers;
    address poster;
    uint64 settledAt;
    uint64 parentSettledAt;
    uint256 baseFeeWei;
    uint256 blobBaseFeeWei;
    /// As in {IBatchInbox.BatchSettled}.
    uint64 payloadTokens;
    uint64 blobs;
    bool late;
}

/// @title The settled chain
/// @notice Takes batches that more than 2/3 of an epoch's weight has signed; a settled batch is final with its L1
/// block (R26-R29).
interface IBatchInbox {
    /// @notice A batch settled. With the transaction's input and its block, this is all that {tally} and derivation
    /// need. `headerHash` is {batchDigest}; `payloadTokens` is what L1 prices its payload in calldata by (EIP-7623): one
    /// for a zero byte, four for any other.
    event BatchSettled(
        uint64 indexed number,
        bytes32 indexed headerHash,
        address poster,
        uint128 signers,
        uint64 parentSettledAt,
        uint64 payloadTokens,
        bool late
    );

    /// @notice Refund, participation and blame of batches `first` to `last` were booked.
    event Tallied(uint64 indexed first, uint64 indexed last);

    /// @notice A turn was missed by its leader (R29).
    event TurnMissed(uint32 indexed generation, uint64 indexed turn, address indexed leader, uint64 epoch);

    function settle(
        BatchHeader calldata header,
        uint128 signers,
        Signature[] calldata signatures,
        bytes calldata payload
    ) external;

    function settleMany(Submission[] calldata submissions) external;

    /// @notice Books batches `first`, `first + 1`, ... once each, in order, while the ring still holds them.
    function tally(uint64 first, Settled[] calldata batches) external;

    /// @notice Next batch number to tally; numbers that fell out of the ring untallied are skipped.
    function nextTally() external view returns (uint64);

    function tip() external view returns (Tip memory);

    /// @notice keccak256 of the ABI-encoded ring entry of batch `number`; reverts when it left the ring.
    function ringValue(uint64 number) external view returns (bytes32);

    /// @notice EIP-712 digest of a batch header under this deployment's domain.
    function batchDigest(BatchHeader calldata header) external view returns (bytes32);
}
