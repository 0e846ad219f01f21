// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {FrozenSet, SetLib} from "./SetLib.sol";

/// For how many seconds of the chain each member of a set attested: word w holds members 12·w to 12·w + 11, 20 bits each, the
/// first lowest. The highest 16 bits of a word stay zero.
struct Lanes {
    uint256[11] words;
}

using AttendanceLib for Lanes global;

/// @title Counting who attested, and for how long
library AttendanceLib {
    uint256 internal constant MAX_SECONDS = (1 << LANE) - 1;
    uint256 private constant LANE = 20;
    uint256 private constant MEMBERS_A_WORD = 12;

    /// @notice Adds `added` for every member whose bit is set.
    /// @dev Unchecked: the caller keeps the sums within {MAX_SECONDS}, so no lane overflows into the next.
    function add(Lanes memory lanes, uint128 signers, uint256 added) internal pure {
        unchecked {
            uint256 rest = signers;
            for (uint256 w = 0; rest != 0; ++w) {
                lanes.words[w] += _spread(rest & 0xfff) * added;
                rest >>= MEMBERS_A_WORD;
            }
        }
    }

    /// @notice Adds all sums to those in storage, for a set of `count` members.
    /// @dev Unchecked: the caller keeps the sums within {MAX_SECONDS}.
    function addTo(Lanes memory lanes, uint256[11] storage stored, uint256 count) internal {
        unchecked {
            for (uint256 w = 0; w * MEMBERS_A_WORD < count; ++w) {
                if (lanes.words[w] != 0) stored[w] += lanes.words[w];
            }
        }
    }

    /// @notice Sum over the members of `set` of weight times seconds.
    /// @dev Unchecked: at most 2^7 members, each with less than 2^56 times 2^20.
    function signedWeight(Lanes memory lanes, FrozenSet set) internal pure returns (uint256 sum) {
        uint256 count = set.count();
        unchecked {
            uint256 word;
            for (uint256 i = 0; i < count; ++i) {
                word = i % MEMBERS_A_WORD == 0 ? lanes.words[i / MEMBERS_A_WORD] : word >> LANE;
                sum += (word & MAX_SECONDS) * SetLib.weightOf(set.memberAt(i));
            }
        }
    }

    /// @notice Seconds of member `index`.
    function secondsOf(uint256[11] storage stored, uint256 index) internal view returns (uint64) {
        // Casting is safe: the mask leaves 20 bits.
        return uint64((stored[index / MEMBERS_A_WORD] >> (LANE * (index % MEMBERS_A_WORD))) & MAX_SECONDS);
    }

    /// @dev Moves bit i of twelve to bit 20·i: thirds 80 bits apart, their halves 40, single bits 20.
    function _spread(uint256 bits) private pure returns (uint256) {
        bits =
            (bits | (bits << 76) | (bits << 152)) & 0x00000000000000000000000f0000000000000000000f0000000000000000000f;
        bits = (bits | (bits << 38)) & 0x0000000000000300000000030000000003000000000300000000030000000003;
        return (bits | (bits << 19)) & 0x0000000010000100001000010000100001000010000100001000010000100001;
    }
}
