// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BlockProof, ISlasher, KeyReference, Offence} from "../../contracts/interfaces/ISlasher.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {MerkleLib} from "../../contracts/lib/MerkleLib.sol";
import {RecordLib} from "../../contracts/lib/RecordLib.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Chain} from "./Chain.sol";

/// @title Offences to report
/// @notice Evidence against member `OFFENDER` of the set of epoch 1, as watchers would put it together.
abstract contract Offences is Chain {
    uint256 internal constant OFFENDER = 2;
    uint64 internal constant HEIGHT = 100;
    uint32 internal constant ROUND = 3;

    bytes32 internal constant BLOCK_A = keccak256("a");
    bytes32 internal constant BLOCK_B = keccak256("b");

    /// @notice Names the key of member `index` by its place in the set of epoch 1.
    function _key(uint256 index) internal pure returns (KeyReference) {
        return KeyLib.inSet({generation: 0, epoch: 1, index: uint8(index)});
    }

    /// @notice Secret key of member `index` of the set of epoch 1.
    function _secret(uint256 index) internal view returns (uint256) {
        return _keyOf(settlement.memberAt(0, 1, index).signer);
    }

    function _idAt(uint256 index) internal view returns (uint32) {
        return registry.idOf(settlement.memberAt(0, 1, index).signer);
    }

    /// @notice Moves to the next correlation window.
    function _nextWindow() internal {
        uint64 window = p.correlationWindowSeconds;
        _warpTo((block.timestamp / window + 1) * window);
    }

    function _vote(bytes32 blockHash) internal pure returns (Vote memory) {
        return Vote({generation: 0, height: HEIGHT, round: ROUND, blockHash: blockHash});
    }

    function _proposal(bytes32 blockHash) internal pure returns (Proposal memory) {
        return Proposal({generation: 0, height: HEIGHT, round: ROUND, polRound: -1, blockHash: blockHash});
    }

    /// @notice Reports a double precommit of `index` at `height`.
    function _reportVotes(uint256 index, uint64 height) internal returns (bytes32 caseId) {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        (a.height, b.height) = (height, height);
        return _reportVotes(index, a, b);
    }

    function _reportVotes(uint256 index, Vote memory a, Vote memory b) internal returns (bytes32 caseId) {
        uint256 secret = _secret(index);
        Signature memory signatureA = _signVote(secret, VoteType.Precommit, a);
        Signature memory signatureB = _signVote(secret, VoteType.Precommit, b);
        return slasher.reportDoubleVote(_key(index), VoteType.Precommit, a, signatureA, b, signatureB);
    }

    /// @notice Reports a double precommit of `index` at `height` as `reporter`.
    function _reportVotesAs(address reporter, uint256 index, uint64 height) internal returns (bytes32 caseId) {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        (a.height, b.height) = (height, height);
        Signature memory signatureA = _signVote(_secret(index), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(index), VoteType.Precommit, b);
        vm.prank(reporter);
        return slasher.reportDoubleVote(_key(index), VoteType.Precommit, a, signatureA, b, signatureB);
    }

    /// @notice Calldata of the report of a double precommit of `index` at `height`.
    function _callVotes(uint256 index, uint64 height) internal view returns (bytes memory) {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        (a.height, b.height) = (height, height);
        Signature memory signatureA = _signVote(_secret(index), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(index), VoteType.Precommit, b);
        return
            abi.encodeCall(ISlasher.reportDoubleVote, (_key(index), VoteType.Precommit, a, signatureA, b, signatureB));
    }

    /// @notice The case of a double precommit of `index` at `height`.
    function _votesCase(uint256 index, uint64 height) internal view returns (bytes32) {
        bytes32 position = bytes32((uint256(height) << 40) | (uint256(ROUND) << 8) | 1);
        return RecordLib.caseId(Offence.DoubleVote, _idAt(index), 0, position);
    }

    /// @notice Commits `reporter` to `report`, which is calldata.
    function _commitTo(address reporter, bytes memory report, bytes32 salt) internal {
        vm.prank(reporter);
        slasher.commit(keccak256(abi.encode(keccak256(report), reporter, salt)));
    }

    function _reportProposals(uint256 index, Proposal memory a, Proposal memory b) internal returns (bytes32 caseId) {
        uint256 secret = _secret(index);
        Signature memory signatureA = _signProposal(secret, a);
        Signature memory signatureB = _signProposal(secret, b);
        return slasher.reportDoubleProposal(_key(index), a, signatureA, b, signatureB);
    }

    function _reportBatches(
        uint64 height,
        BatchHeader memory a,
        BlockProof memory proofA,
        BatchHeader memory b,
        BlockProof memory proofB
    ) internal returns (bytes32 caseId) {
        uint256 secret = _secret(OFFENDER);
        Signature memory signatureA = _sign(secret, settlement.batchDigest(a));
        Signature memory signatureB = _sign(secret, settlement.batchDigest(b));
        return slasher.reportDoubleAttestation(_key(OFFENDER), height, a, signatureA, proofA, b, signatureB, proofB);
    }

    /// @notice A header of two blocks from `firstHeight` on, with the root over them, and the proofs of both.
    function _twoBlocks(uint64 firstHeight, bytes32 first, bytes32 second)
        internal
        pure
        returns (BatchHeader memory header, BlockProof memory proofOfFirst, BlockProof memory proofOfSecond)
    {
        (bytes32 left, bytes32 right) = (MerkleLib.blockLeaf(first), MerkleLib.blockLeaf(second));
        header.epoch = 1;
        header.firstHeight = firstHeight;
        header.lastHeight = firstHeight + 1;
        header.blocksRoot = keccak256(abi.encodePacked(hex"01", left, right));
        header.lastBlockHash = second;

        proofOfFirst.blockHash = first;
        proofOfFirst.siblings = new bytes32[](1);
        proofOfFirst.siblings[0] = right;
        proofOfSecond.blockHash = second;
        proofOfSecond.siblings = new bytes32[](1);
        proofOfSecond.siblings[0] = left;
    }
}
