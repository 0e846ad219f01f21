// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Settled} from "../interfaces/ITally.sol";
import {DigestLib} from "./DigestLib.sol";

/// @title What the ring holds of a settled batch (R26)
library SettledLib {
    /// @notice {IBatchInbox.ringValue} of a batch, worked out from what is claimed to have settled.
    /// @param domain EIP-712 domain separator of the deployment.
    function ringValue(Settled calldata batch, bytes32 domain) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                DigestLib.digest(domain, DigestLib.structHash(batch.header)),
                batch.signers,
                batch.poster,
                batch.settledAt,
                batch.parentSettledAt,
                batch.baseFeeWei,
                batch.blobBaseFeeWei,
                batch.refundWei,
                batch.blobs,
                batch.late,
                batch.led
            )
        );
    }
}
