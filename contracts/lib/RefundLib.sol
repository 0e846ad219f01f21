// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title What a settlement is refunded
/// @notice The gas that settling one batch takes at least, worked out from what the ring knows of it. A batch that settled
/// in the same block as the one before may have shared its transaction, and is refunded what one more batch in a
/// transaction takes. What only some pay (a fresh ring slot, a takeover, members that did not sign) is left to the poster's
/// margin. test/gas/ holds the figures against what is really spent.
library RefundLib {
    /// One more batch in a transaction, without signatures and payload.
    uint256 internal constant BATCH_GAS = 17_000;
    /// What the first batch of a transaction takes beyond that: 21,000, and storage that is cold.
    uint256 internal constant TRANSACTION_GAS = 36_000;
    /// 64 bytes of calldata and one `ecrecover`.
    uint256 internal constant SIGNATURE_GAS = 4_200;
    /// Calldata tokens (EIP-7623) of a batch without signatures and payload, and of one signature.
    uint256 internal constant BATCH_TOKENS = 900;
    uint256 internal constant SIGNATURE_TOKENS = 250;

    uint256 private constant TOKEN_GAS = 4;
    /// What a token costs at least, however little is executed.
    uint256 private constant TOKEN_FLOOR_GAS = 10;
    uint256 private constant TRANSACTION_FLOOR_GAS = 21_000;

    /// @param alone The batch before settled in an earlier block.
    function gasOf(bool alone, uint256 signatures, uint256 payloadTokens) internal pure returns (uint256) {
        uint256 executed = BATCH_GAS + SIGNATURE_GAS * signatures + TOKEN_GAS * payloadTokens;
        uint256 floor = TOKEN_FLOOR_GAS * (BATCH_TOKENS + SIGNATURE_TOKENS * signatures + payloadTokens);
        if (alone) {
            executed += TRANSACTION_GAS;
            floor += TRANSACTION_FLOOR_GAS;
        }
        return executed > floor ? executed : floor;
    }
}
