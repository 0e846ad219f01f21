// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Sorting in memory
/// @notice A bottom-up merge sort: no worst case that somebody could prepare, and about a third of the gas of
/// OpenZeppelin's quicksort, which a seal of 100 members would pay 70,000 more for.
library SortLib {
    /// @notice The words of `values` in ascending order. The result may lie in `values` or in a new array; `values` is
    /// used up either way.
    function sort(uint256[] memory values) internal pure returns (uint256[] memory sorted) {
        uint256[] memory spare = new uint256[](values.length);
        sorted = values;

        // Memory-safe: reads and writes the elements of the two arrays only. Runs of `width` bytes are merged in pairs
        // from one array into the other; what is left of a pair when one run is used up is copied whole.
        assembly ("memory-safe") {
            let size := shl(5, mload(values))
            for { let width := 0x20 } lt(width, size) { width := shl(1, width) } {
                let source := add(sorted, 0x20)
                let end := add(source, size)
                let target := add(spare, 0x20)
                for { let left := source } lt(left, end) {} {
                    let middle := add(left, width)
                    if gt(middle, end) { middle := end }
                    let right := middle
                    let limit := add(middle, width)
                    if gt(limit, end) { limit := end }

                    for {} and(lt(left, middle), lt(right, limit)) {} {
                        let x := mload(left)
                        let y := mload(right)
                        let takeLeft := lt(x, y)
                        mstore(target, xor(y, mul(xor(x, y), takeLeft)))
                        left := add(left, shl(5, takeLeft))
                        right := add(right, shl(5, iszero(takeLeft)))
                        target := add(target, 0x20)
                    }
                    let rest := sub(middle, left)
                    mcopy(target, left, rest)
                    target := add(target, rest)
                    rest := sub(limit, right)
                    mcopy(target, right, rest)
                    target := add(target, rest)
                    left := limit
                }
                let swap := sorted
                sorted := spare
                spare := swap
            }
        }
    }
}
