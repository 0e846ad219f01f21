// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {FrozenSet, SetLib} from "./SetLib.sol";

/// How much weight may move in an epoch, and how much has. One word.
struct Budget {
    /// The epoch + 1; zero if there never was one.
    uint32 stamp;
    /// The generation by whose set `limit` is measured, as a count.
    uint16 begun;
    uint64 limit;
    uint64 entered;
    uint64 left;
    /// Some places moved already in this epoch.
    bool flushed;
}

using ChurnLib for Budget global;

/// @title The limit of churn (R7)
library ChurnLib {
    /// Nothing limits churn: there is no network yet that it could take over.
    uint64 internal constant UNLIMITED = type(uint64).max;

    /// @notice Weight that can still enter. More may have entered than the limit is now, since a generation began.
    function roomIn(Budget memory budget) internal pure returns (uint256) {
        return budget.limit > budget.entered ? budget.limit - budget.entered : 0;
    }

    /// @notice Weight that can still leave, as {roomIn}.
    function roomOut(Budget memory budget) internal pure returns (uint256) {
        return budget.limit > budget.left ? budget.limit - budget.left : 0;
    }

    /// @notice Notes what entered. Casting is safe: nobody notes more than there was room for.
    function noteIn(Budget memory budget, uint256 weight) internal pure {
        budget.entered += uint64(weight);
    }

    /// @notice As {noteIn}.
    function noteOut(Budget memory budget, uint256 weight) internal pure {
        budget.left += uint64(weight);
    }

    /// @notice An eighth of the weight of these members, or the smallest of them if that is more.
    function limitOf(uint256[] memory words) internal pure returns (uint64) {
        uint256 total;
        uint256 smallest = type(uint64).max;
        for (uint256 i = 0; i < words.length; ++i) {
            uint256 weight = SetLib.weightOf(words[i]);
            total += weight;
            if (weight < smallest) smallest = weight;
        }
        if (total == 0) return UNLIMITED;

        // Casting is safe: weights have 56 bits, and there are at most 128 of them.
        return uint64(total / 8 > smallest ? total / 8 : smallest);
    }

    /// @notice The members of a set, as words.
    function wordsOf(FrozenSet set) internal pure returns (uint256[] memory words) {
        words = new uint256[](set.count());
        for (uint256 i = 0; i < words.length; ++i) {
            words[i] = set.memberAt(i);
        }
    }
}
