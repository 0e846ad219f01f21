// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Sorting in memory
/// @notice Insertion sort: 60 gas for a word that stands where it belongs, 45 more for each place that it has to move. The
/// registry hands its members over nearly in order, so a seal of 100 pays 6,000 gas; shuffled it would be 110,000, which
/// is also what OpenZeppelin's quicksort and a merge sort take.
library SortLib {
    /// @notice Sorts `words` in place, ascending. Each must be above the number of words, as {SetLib.word}s are: the length
    /// in front of them ends the search for a place.
    function sort(uint256[] memory words) internal pure {
        // Memory-safe: touches the elements and reads the length only. Words move up by one until the one below is not
        // above the word to place; at the latest that is the length.
        assembly ("memory-safe") {
            let end := add(add(words, 0x20), shl(5, mload(words)))
            for { let next := add(words, 0x40) } lt(next, end) { next := add(next, 0x20) } {
                let word := mload(next)
                let place := next
                for { let below := mload(sub(place, 0x20)) } gt(below, word) { below := mload(sub(place, 0x20)) } {
                    mstore(place, below)
                    place := sub(place, 0x20)
                }
                mstore(place, word)
            }
        }
    }
}
