// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title What forcing a transaction costs
/// @notice Does not overflow: where the product would, a fee is what nobody has.
library FeeLib {
    /// @notice `feeWei`, doubled `doublings` times; at the most 2^256 - 1.
    function doubled(uint256 feeWei, uint256 doublings) internal pure returns (uint256) {
        // A shift of 256 and more leaves nothing of the largest fee either.
        if (feeWei > type(uint256).max >> doublings) return type(uint256).max;
        return feeWei << doublings;
    }

    /// @notice What an entry costs while `waiting` others wait (R31): `feeWei`, doubled for every `doublingEntries` of them, which
    /// are not zero, at most `maxDoublings` times.
    function forced(uint256 feeWei, uint256 waiting, uint256 doublingEntries, uint256 maxDoublings)
        internal
        pure
        returns (uint256)
    {
        return doubled(feeWei, Math.min(waiting / doublingEntries, maxDoublings));
    }
}
