// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title What L1 prices a payload by
library PayloadLib {
    uint256 private constant LOW_BITS = 0x7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f;
    uint256 private constant HIGH_BITS = 0x8080808080808080808080808080808080808080808080808080808080808080;
    uint256 private constant ONES = 0x0101010101010101010101010101010101010101010101010101010101010101;

    /// @notice How many bytes are not zero: L1 prices those otherwise.
    /// @dev About 2 gas a byte: free wherever the floor of EIP-7623 binds, which leaves 6 even for a zero byte. Unchecked:
    /// every sum is of bytes in calldata, and their indexes stay below its length.
    function nonzeroBytes(bytes calldata payload) internal pure returns (uint256 nonzero) {
        unchecked {
            uint256 length = payload.length;
            uint256 offset;
            for (; offset + 32 <= length; offset += 32) {
                nonzero += _nonzeroBytes(_wordAt(payload, offset));
            }
            // Of the last word, only what belongs to the payload.
            if (offset < length) nonzero += _nonzeroBytes(_wordAt(payload, offset) >> (8 * (offset + 32 - length)));
        }
    }

    /// @dev Adding 0x7f to the low seven bits of a byte carries into its top bit unless they are zero; the product sums
    /// the 32 flags in its highest byte.
    function _nonzeroBytes(uint256 word) private pure returns (uint256) {
        unchecked {
            return ((((((word & LOW_BITS) + LOW_BITS) | word) & HIGH_BITS) >> 7) * ONES) >> 248;
        }
    }

    /// @dev A slice of calldata, `bytes32(payload[offset:offset + 32])`, without its bounds checks. Memory-safe: no memory.
    function _wordAt(bytes calldata payload, uint256 offset) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(add(payload.offset, offset))
        }
    }
}
