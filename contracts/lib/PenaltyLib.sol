// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// What a sequencer's safety offences have cost it.
struct Penalty {
    uint128 baseWei;
    uint64 shareBps;
    bool applied;
}

using PenaltyLib for Penalty global;

/// @title Safety offences count once, the largest (R34)
/// @notice Each case takes a share of what the pool held at the first execution. A case that was open by then takes only what
/// it has beyond those before it.
///
/// Invariant: all that is ever taken is at most the base. Derivation: the shares beyond each other sum to the largest one, which
/// is at most the whole, and every part is rounded down.
library PenaltyLib {
    using SafeCast for uint256;

    uint256 internal constant BPS = 10_000;

    /// @notice Counts another case, whose share is `shareBps`, at most {BPS}; returns what it takes.
    /// @param assetsWei What the pool holds now; it matters for the first case only.
    function add(Penalty memory penalty, uint256 assetsWei, uint64 shareBps) internal pure returns (uint256 amountWei) {
        if (!penalty.applied) {
            penalty.applied = true;
            penalty.baseWei = assetsWei.toUint128();
        }
        if (shareBps <= penalty.shareBps) return 0;

        uint256 beyondBps = shareBps - penalty.shareBps;
        penalty.shareBps = shareBps;
        return penalty.baseWei * beyondBps / BPS;
    }

    /// @notice Base share plus `factor` times the part that `correlated` has of `total`; all at most the whole, which it is of
    /// an empty set.
    function shareOf(uint256 baseBps, uint256 factor, uint256 correlated, uint256 total)
        internal
        pure
        returns (uint64)
    {
        uint256 share = total == 0 ? BPS : baseBps + factor * correlated * BPS / total;

        // Casting is safe: at most 10,000.
        return uint64(share < BPS ? share : BPS);
    }
}
