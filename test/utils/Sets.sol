// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SetLib} from "../../contracts/lib/SetLib.sol";

/// @title Sets for tests of what reads them
library Sets {
    /// @notice `n` members with ascending signers spread over the whole range, member i weighing `weights[i % length]`.
    function words(uint256 n, uint56[] memory weights) internal pure returns (uint256[] memory members) {
        members = new uint256[](n);
        for (uint256 i = 0; i < n; ++i) {
            address signer = address(uint160((i + 1) * (uint256(type(uint160).max) / (n + 1))));
            members[i] = SetLib.word(signer, weights[i % weights.length]);
        }
    }

    /// @notice `n` members that weigh 1 to `n`.
    function ascending(uint256 n) internal pure returns (uint256[] memory) {
        uint56[] memory weights = new uint56[](n);
        for (uint256 i = 0; i < n; ++i) {
            weights[i] = uint56(i + 1);
        }
        return words(n, weights);
    }
}
