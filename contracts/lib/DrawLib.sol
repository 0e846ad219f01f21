// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {FrozenSet, SetLib} from "./SetLib.sol";

/// @title Whose turn it is: draws by weight without replacement (R11)
/// @dev Unchecked throughout: the weights of a set sum to its total, below 2^56, so no sum here can overflow and no
/// cumulative loop can run past the last undrawn member. Checked, a draw costs 178 gas a member instead of 115.
library DrawLib {
    /// @notice The set holds nobody, so there is nobody to draw.
    error EmptySet();

    /// @notice Index of the first draw of `turn`: {draw} with `a` = 0, without its bookkeeping.
    function draw0(FrozenSet set, uint64 turn) internal pure returns (uint256 index) {
        uint256 total = set.total();
        require(total != 0, EmptySet());

        uint256 x = _point(set.seed(), turn, 0) % total;
        unchecked {
            uint256 cumulative = SetLib.weightOf(set.memberAt(0));
            while (cumulative <= x) {
                cumulative += SetLib.weightOf(set.memberAt(++index));
            }
        }
    }

    /// @notice Index of draw `a` of `turn`, `a` taken modulo the number of members.
    function draw(FrozenSet set, uint64 turn, uint32 a) internal pure returns (uint256 index) {
        uint256 remaining = set.total();
        require(remaining != 0, EmptySet());

        bytes32 seed = set.seed();
        uint256 last = a % set.count();
        uint256 drawn;
        unchecked {
            for (uint256 i = 0; i <= last; ++i) {
                uint256 x = _point(seed, turn, i) % remaining;
                uint256 cumulative;
                for (index = 0;; ++index) {
                    if ((drawn >> index) & 1 == 1) continue;
                    uint256 weight = SetLib.weightOf(set.memberAt(index));
                    cumulative += weight;
                    if (cumulative > x) {
                        remaining -= weight;
                        break;
                    }
                }
                drawn |= 1 << index;
            }
        }
    }

    /// @dev keccak256(abi.encode(bytes32 seed, uint64 turn, uint32 a)) as a number.
    function _point(bytes32 seed, uint64 turn, uint256 a) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, turn, a)));
    }
}
