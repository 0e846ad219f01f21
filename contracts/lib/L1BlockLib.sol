// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HeaderLib} from "./HeaderLib.sol";

/// @title What L1 remembers of its blocks
library L1BlockLib {
    /// Keeps the hashes of the last 8,191 blocks (EIP-2935). On a chain without it only the last 256 are remembered.
    address internal constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;

    /// @notice L1 does not remember the hash of this block: it is too old, or not there yet.
    error BlockNotRemembered(uint64 number);

    /// @notice These bytes are not the header of that block.
    error HeaderMismatch(bytes32 expected, bytes32 actual);

    /// @notice prevrandao of block `number`, whose header has to be `header`.
    ///
    /// Reverts with {BlockNotRemembered}, {HeaderMismatch}, {HeaderLib.HeaderUnreadable}.
    function randomnessOf(uint64 number, bytes calldata header) internal view returns (bytes32) {
        bytes32 expected = hashOf(number);
        require(expected != 0, BlockNotRemembered(number));
        bytes32 actual = keccak256(header);
        require(actual == expected, HeaderMismatch(expected, actual));
        return HeaderLib.mixHash(header);
    }

    /// @notice Hash of a block before this one, zero if L1 does not remember it.
    function hashOf(uint64 number) internal view returns (bytes32 hash) {
        hash = blockhash(number);
        if (hash != 0 || number >= block.number) return hash;

        // It reverts when asked for a block outside of its window; where there is none, the answer is empty.
        (bool ok, bytes memory answer) = HISTORY.staticcall(abi.encode(number));
        if (ok && answer.length == 32) hash = bytes32(answer);
    }
}
