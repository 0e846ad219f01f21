// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Merkle trees of blocks and transactions (R25)
/// @notice A leaf is keccak256(0x00 ‖ data), a node keccak256(0x01 ‖ left ‖ right); the odd node at the end of a level
/// moves up unchanged; the root of no leaves is keccak256(0x02). The three prefixes keep leaf, node and empty apart, so
/// that no proof of one passes for another. The number of leaves always comes from a header, never from the prover.
library MerkleLib {
    bytes32 internal constant EMPTY_ROOT = keccak256(hex"02");

    /// @notice There is no leaf at this index of the tree.
    error LeafOutsideTree(uint256 size, uint256 index);

    /// @notice A proof has exactly one sibling for each level at which the leaf's node has one.
    error ProofLengthWrong(uint256 expected, uint256 actual);

    /// @notice Leaf of a tree of blocks.
    function blockLeaf(bytes32 blockHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"00", blockHash));
    }

    /// @notice Leaf of a tree of transactions.
    function transactionLeaf(uint64 rollup, bytes32 txHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"00", rollup, txHash));
    }

    /// @notice Root of the tree of `size` leaves that has `leaf` at `index`, under `siblings` from the bottom up.
    /// @dev Reverts with {LeafOutsideTree}, {ProofLengthWrong}. The sides follow from index and size alone.
    function rootOf(bytes32 leaf, uint256 index, uint256 size, bytes32[] calldata siblings)
        internal
        pure
        returns (bytes32 root)
    {
        require(index < size, LeafOutsideTree(size, index));
        uint256 expected = proofLength(index, size);
        require(siblings.length == expected, ProofLengthWrong(expected, siblings.length));

        root = leaf;
        uint256 used;
        for (uint256 width = size; width > 1; width = (width + 1) / 2) {
            if (index % 2 == 1) {
                root = _node(siblings[used++], root);
            } else if (index + 1 < width) {
                root = _node(root, siblings[used++]);
            }
            index /= 2;
        }
    }

    /// @notice Siblings in a proof of leaf `index` of `size`.
    function proofLength(uint256 index, uint256 size) internal pure returns (uint256 length) {
        for (uint256 width = size; width > 1; width = (width + 1) / 2) {
            if (index % 2 == 1 || index + 1 < width) ++length;
            index /= 2;
        }
    }

    function _node(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"01", left, right));
    }
}
