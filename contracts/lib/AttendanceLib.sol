// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {FrozenSet, SetLib} from "./SetLib.sol";

/// How often each member of a set signed: word w holds members 16·w to 16·w + 15, 16 bits each, the first lowest.
struct Lanes {
    uint256[8] words;
}

using AttendanceLib for Lanes global;

/// @title Counting who signed
library AttendanceLib {
    uint256 private constant MEMBERS_A_WORD = 16;

    /// @notice Adds one for every member whose bit is set.
    /// @dev Unchecked: the caller adds fewer than 2^16 bitmaps, so no lane overflows into the next.
    function add(Lanes memory lanes, uint128 signers) internal pure {
        unchecked {
            uint256 rest = signers;
            for (uint256 w = 0; rest != 0; ++w) {
                lanes.words[w] += _spread(rest & 0xffff);
                rest >>= MEMBERS_A_WORD;
            }
        }
    }

    /// @notice Adds all counts to those in storage, for a set of `count` members.
    /// @dev Unchecked: the caller keeps the sums below 2^16.
    function addTo(Lanes memory lanes, uint256[8] storage stored, uint256 count) internal {
        unchecked {
            for (uint256 w = 0; w * MEMBERS_A_WORD < count; ++w) {
                if (lanes.words[w] != 0) stored[w] += lanes.words[w];
            }
        }
    }

    /// @notice Sum over the members of `set` of weight times count.
    /// @dev Unchecked: at most 2^7 members, each with less than 2^56 times 2^16.
    function signedWeight(Lanes memory lanes, FrozenSet set) internal pure returns (uint256 sum) {
        uint256 count = set.count();
        unchecked {
            uint256 word;
            for (uint256 i = 0; i < count; ++i) {
                word = i % MEMBERS_A_WORD == 0 ? lanes.words[i / MEMBERS_A_WORD] : word >> 16;
                sum += (word & type(uint16).max) * SetLib.weightOf(set.memberAt(i));
            }
        }
    }

    /// @notice Count of member `index`.
    function countOf(uint256[8] storage stored, uint256 index) internal view returns (uint64) {
        // Casting is safe: the shift and the mask leave 16 bits.
        return uint16(stored[index / MEMBERS_A_WORD] >> (16 * (index % MEMBERS_A_WORD)));
    }

    /// @dev Moves bit i to bit 16·i: halves 8 bits apart move 120 up, then quarters 60, eighths 30, single bits 15.
    function _spread(uint256 bits) private pure returns (uint256) {
        bits = (bits | (bits << 120)) & 0x000000000000000000000000000000ff000000000000000000000000000000ff;
        bits = (bits | (bits << 60)) & 0x000000000000000f000000000000000f000000000000000f000000000000000f;
        bits = (bits | (bits << 30)) & 0x0000000300000003000000030000000300000003000000030000000300000003;
        return (bits | (bits << 15)) & 0x0001000100010001000100010001000100010001000100010001000100010001;
    }
}
