// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {DigestLib} from "./lib/DigestLib.sol";

/// @title The domain that everything of a deployment is signed under
abstract contract SigningDomain {
    address private immutable DOMAIN_SETTLEMENT;
    uint256 private immutable DOMAIN_CHAIN_ID;
    bytes32 private immutable DOMAIN_SEPARATOR;

    constructor(address settlement) {
        DOMAIN_SETTLEMENT = settlement;
        DOMAIN_CHAIN_ID = block.chainid;
        DOMAIN_SEPARATOR = DigestLib.domainSeparator(block.chainid, settlement);
    }

    /// @notice EIP-712 domain separator of everything that sequencers sign.
    /// @dev Worked out anew after a fork of L1 that took another chain id, so that neither fork's signatures count on the
    /// other.
    function domainSeparator() public view virtual returns (bytes32) {
        return block.chainid == DOMAIN_CHAIN_ID
            ? DOMAIN_SEPARATOR
            : DigestLib.domainSeparator(block.chainid, DOMAIN_SETTLEMENT);
    }
}
