// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchHeader, BlockHeader, Proposal, Signature, Vote, VoteType} from "../types/Wire.sol";

/// Kinds of offence (§7). The numbers are part of the position key.
enum Offence {
    DoubleProposal,
    DoubleVote,
    DoubleAttestation,
    DoublePromise,
    BrokenPromise,
    MissedTurn
}

/// Names a frozen set that holds the offender's key, and its place there (R9).
struct KeyReference {
    uint32 generation;
    uint64 epoch;
    uint256 index;
}

/// A Merkle proof that the block at `height` of a batch has hash `blockHash` (R25). Empty siblings, and `blockHash` the
/// header's own lastBlockHash, at an equal last height.
struct BlockProof {
    bytes32 blockHash;
    bytes32[] siblings;
}

enum CaseStatus {
    None,
    Reported,
    Executed
}

struct Case {
    uint32 sequencer;
    Offence offence;
    CaseStatus status;
    address reporter;
    uint64 reportedAt;
}

/// @title Evidence in, stake out
/// @notice Verifies each offence from signatures and Merkle proofs alone (R34-R37).
interface ISlasher {
    event Reported(
        bytes32 indexed caseId, uint32 indexed sequencer, Offence indexed offence, address reporter, bytes32 position
    );
    event Executed(
        bytes32 indexed caseId, uint32 indexed sequencer, uint256 slashedWei, uint256 bountyWei, uint256 burnedWei
    );

    function reportDoubleVote(
        KeyReference calldata key,
        VoteType voteType,
        Vote calldata a,
        Signature calldata signatureA,
        Vote calldata b,
        Signature calldata signatureB
    ) external returns (bytes32 caseId);

    function reportDoubleProposal(
        KeyReference calldata key,
        Proposal calldata a,
        Signature calldata signatureA,
        Proposal calldata b,
        Signature calldata signatureB
    ) external returns (bytes32 caseId);

    /// @notice Two batch headers that hold different blocks at `height`, or, with `height` = the earlier one's
    /// lastHeight + 1 = the later one's firstHeight, a later one whose parent is not the earlier one's last block.
    function reportDoubleAttestation(
        KeyReference calldata key,
        uint64 height,
        BatchHeader calldata a,
        Signature calldata signatureA,
        BlockProof calldata proofA,
        BatchHeader calldata b,
        Signature calldata signatureB,
        BlockProof calldata proofB
    ) external returns (bytes32 caseId);

    /// @notice Applies the penalty of a case whose correlation window has passed.
    function execute(bytes32 caseId) external;

    /// @notice L1 time from which `caseId` can be executed.
    function executableAt(bytes32 caseId) external view returns (uint64);

    function caseOf(bytes32 caseId) external view returns (Case memory);

    /// @notice Bounty owed to `reporter`, in wei of the stake token.
    function bountyOf(address reporter) external view returns (uint256);

    /// @notice Pays the caller's bounties.
    function claimBounty() external returns (uint256 amountWei);
}
