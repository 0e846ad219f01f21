// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title What a settlement is refunded
/// @notice The gas that settling one batch takes at least, worked out from what the ring knows of it. It leaves out what
/// batches of one transaction share (the 21,000 of the transaction itself) and what only some of them pay (a fresh ring
/// slot, a takeover), so that it never exceeds what was spent; the poster's margin is there for the rest.
library RefundLib {
    /// Storage, set, checks and event of one settlement, without signatures and payload.
    uint256 internal constant BATCH_GAS = 30_000;
    /// 64 bytes of calldata and one `ecrecover`.
    uint256 internal constant SIGNATURE_GAS = 4_200;
    /// Calldata tokens (EIP-7623) of a batch without signatures and payload, and of one signature.
    uint256 internal constant BATCH_TOKENS = 900;
    uint256 internal constant SIGNATURE_TOKENS = 250;
    /// A token costs this much, or the larger amount if execution does not make up the difference.
    uint256 private constant TOKEN_GAS = 4;
    uint256 private constant TOKEN_FLOOR_GAS = 10;

    function gasOf(uint256 signatures, uint256 payloadTokens) internal pure returns (uint256) {
        uint256 executed = BATCH_GAS + SIGNATURE_GAS * signatures + TOKEN_GAS * payloadTokens;
        uint256 floor = TOKEN_FLOOR_GAS * (BATCH_TOKENS + SIGNATURE_TOKENS * signatures + payloadTokens);
        return executed > floor ? executed : floor;
    }
}
