// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {MerkleLib} from "../../contracts/lib/MerkleLib.sol";

/// MerkleLib (which roots and proofs are right: Vectors.t.sol)
/// └── rootOf
///     ├── when the leaf is outside the tree, or there is no tree: it reverts
///     └── when there are more or fewer siblings than levels that have one: it reverts
contract MerkleLibTest is Test {
    function test_rootOf_revertsWhen_leafIsOutsideTheTree() external {
        vm.expectRevert(abi.encodeWithSelector(MerkleLib.LeafOutsideTree.selector, 5, 5));
        this.rootOf(5, 5, new bytes32[](3));
        vm.expectRevert(abi.encodeWithSelector(MerkleLib.LeafOutsideTree.selector, 0, 0));
        this.rootOf(0, 0, new bytes32[](0));
    }

    function test_rootOf_revertsWhen_theProofHasAnotherLength() external {
        // Leaf 4 of 5 moves up alone until the root; each other one has a sibling at all three levels.
        vm.expectRevert(abi.encodeWithSelector(MerkleLib.ProofLengthWrong.selector, 1, 3));
        this.rootOf(4, 5, new bytes32[](3));
        vm.expectRevert(abi.encodeWithSelector(MerkleLib.ProofLengthWrong.selector, 3, 2));
        this.rootOf(0, 5, new bytes32[](2));
        vm.expectRevert(abi.encodeWithSelector(MerkleLib.ProofLengthWrong.selector, 0, 1));
        this.rootOf(0, 1, new bytes32[](1));
    }

    function rootOf(uint256 index, uint256 size, bytes32[] calldata siblings) external pure returns (bytes32) {
        return MerkleLib.rootOf({leaf: keccak256("leaf"), index: index, size: size, siblings: siblings});
    }
}
