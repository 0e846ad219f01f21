// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BlockProof, ISlasher, Offence} from "../../contracts/interfaces/ISlasher.sol";
import {MerkleLib} from "../../contracts/lib/MerkleLib.sol";
import {RecordLib} from "../../contracts/lib/RecordLib.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// Slasher, double attestation
/// └── reportDoubleAttestation
///     ├── it takes two last blocks at one height without proofs
///     ├── it takes two blocks inside of batches with proofs
///     ├── it takes a batch whose parent is not the last block before it, in either order
///     ├── it books a broken link and the block it breaks with as one position
///     └── when the generation differs, or the block is the same, outside, or not proven: it reverts
contract DoubleAttestationTest is Offences {
    function setUp() external {
        _begin(4);
    }

    function test_doubleAttestation_takesTwoLastBlocksWithoutProofs() external {
        (BatchHeader memory a,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b,,) = _twoBlocks(9, keccak256("9"), BLOCK_B);
        BlockProof memory none;
        bytes32 caseId = _reportBatches(10, a, none, b, none);
        assertEq(caseId, _attestationCase(10));
    }

    function test_doubleAttestation_takesBlocksInsideWithProofs() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        assertEq(_reportBatches(10, a, proofA, b, proofB), _attestationCase(10));
    }

    function test_doubleAttestation_takesABrokenLinkInEitherOrder() external {
        (BatchHeader memory earlier,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory later,,) = _twoBlocks(11, keccak256("11"), keccak256("12"));
        later.parentBlockHash = BLOCK_B;
        BlockProof memory none;

        uint256 snapshot = vm.snapshotState();
        assertEq(_reportBatches(11, earlier, none, later, none), _attestationCase(10));
        vm.revertToState(snapshot);
        assertEq(_reportBatches(11, later, none, earlier, none), _attestationCase(10));
    }

    function test_revertsWhen_brokenLinkIsAnAlreadyReportedHeight() external {
        (BatchHeader memory a,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b,,) = _twoBlocks(9, keccak256("9"), BLOCK_B);
        (BatchHeader memory later,,) = _twoBlocks(11, keccak256("11"), keccak256("12"));
        later.parentBlockHash = BLOCK_B;
        BlockProof memory none;
        _reportBatches(10, a, none, b, none);
        _expectBatchesRevert(
            11, a, none, later, none, abi.encodeWithSelector(ISlasher.AlreadyReported.selector, _attestationCase(10))
        );
    }

    function test_revertsWhen_linkHolds() external {
        (BatchHeader memory earlier,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory later,,) = _twoBlocks(11, keccak256("11"), keccak256("12"));
        later.parentBlockHash = BLOCK_A;
        BlockProof memory none;
        _expectBatchesRevert(
            11, earlier, none, later, none, abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A)
        );
    }

    /// Another split or another attesting epoch of the same blocks is legal (R23).
    function test_revertsWhen_blocksAreTheSame() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_A, keccak256("11"));
        b.epoch = 2;
        _expectBatchesRevert(10, a, proofA, b, proofB, abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A));
    }

    /// Nor is it an offence to sign the regular batch and one of the same blocks that is not, or two that were regular above
    /// different tips.
    function test_revertsWhen_onlyWhatIsSaidOfBeingRegularDiffers() external {
        (BatchHeader memory a,, BlockProof memory proof) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        bytes memory same = abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A);
        (a.regularSince, b.regularSince) = (a.timestamp + 1, 0);
        _expectBatchesRevert(10, a, proof, b, proof, same);
        (BatchHeader memory c, BlockProof memory proofC,) = _twoBlocks(10, BLOCK_A, keccak256("11"));
        c.regularSince = c.timestamp + 1;
        _expectBatchesRevert(10, a, proof, c, proofC, same);
    }

    function test_revertsWhen_batchesAreOfDifferentGenerations() external {
        (BatchHeader memory a,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b,,) = _twoBlocks(9, keccak256("9"), BLOCK_B);
        b.generation = 1;
        BlockProof memory none;
        _expectBatchesRevert(10, a, none, b, none, abi.encodeWithSelector(ISlasher.GenerationDiffers.selector, 0, 1));
    }

    function test_revertsWhen_heightIsOutside() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        _expectBatchesRevert(
            12, a, proofA, b, proofB, abi.encodeWithSelector(ISlasher.HeightOutsideBatch.selector, 9, 10, 12)
        );
        _expectBatchesRevert(
            8, a, proofA, b, proofB, abi.encodeWithSelector(ISlasher.HeightOutsideBatch.selector, 9, 10, 8)
        );
    }

    function test_revertsWhen_blockIsNotInTheBatch() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        proofB.blockHash = keccak256("planted");
        bytes32 root = keccak256(abi.encodePacked(hex"01", MerkleLib.blockLeaf(proofB.blockHash), proofB.siblings[0]));
        _expectBatchesRevert(
            10, a, proofA, b, proofB, abi.encodeWithSelector(ISlasher.BlockNotInBatch.selector, b.blocksRoot, root)
        );
    }

    function test_revertsWhen_proofHasAnotherLength() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        proofB.siblings = new bytes32[](2);
        _expectBatchesRevert(
            10, a, proofA, b, proofB, abi.encodeWithSelector(MerkleLib.ProofLengthWrong.selector, 1, 2)
        );
    }

    /* PARTS */

    function _attestationCase(uint64 height) private view returns (bytes32) {
        bytes32 position = bytes32(uint256(height) << 40);
        return RecordLib.caseId(Offence.DoubleAttestation, _idAt(OFFENDER), 0, position);
    }

    function _expectBatchesRevert(
        uint64 height,
        BatchHeader memory a,
        BlockProof memory proofA,
        BatchHeader memory b,
        BlockProof memory proofB,
        bytes memory reason
    ) private {
        Signature memory signatureA = _sign(_secret(OFFENDER), settlement.batchDigest(a));
        Signature memory signatureB = _sign(_secret(OFFENDER), settlement.batchDigest(b));
        vm.expectRevert(reason);
        slasher.reportDoubleAttestation(_key(OFFENDER), height, a, signatureA, proofA, b, signatureB, proofB);
    }
}
