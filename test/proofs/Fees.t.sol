// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {FeeLib} from "../../contracts/lib/FeeLib.sol";
import {RefundLib} from "../../contracts/lib/RefundLib.sol";

/// @title Fees, prices and refunds do not overflow (R31, R42, R43)
/// @notice Full widths: a checked operation that could overflow would fail the proof as a revert.
contract FeeProofs is Test {
    /// @notice The fee of the forced queue is exact as long as it is a number of wei, and else what nobody has.
    function check_theForcedFeeSaturates(uint256 feeWei, uint256 doublings) public pure {
        uint256 doubled = FeeLib.doubled(feeWei, doublings);

        assert(doubled >= feeWei);
        // Shifted back it is what it was: no bit fell out.
        assert(doubled == type(uint256).max || doubled >> doublings == feeWei);
    }

    /// @notice Nobody waits longer and pays less: a longer queue costs no less.
    function check_theForcedFeeNeverFalls(uint256 feeWei, uint16 doublings) public pure {
        assert(FeeLib.doubled(feeWei, uint256(doublings) + 1) >= FeeLib.doubled(feeWei, doublings));
    }

    /// @notice A rollup pays no more than it has, and nothing for no bytes; whatever the price.
    function check_aPriceIsAtMostTheBalance(uint256 byteWei, uint32 size, uint256 balanceWei) public pure {
        uint256 price = FeeLib.priceOf(byteWei, size, balanceWei);

        assert(price <= balanceWei);
        assert(size != 0 || price == 0);
        assert(byteWei != 0 || price == 0);
    }

    /// @notice The gas of a refund is below 2^68 for every batch that L1 can hold: at no base fee below 2^188 wei can its price
    /// overflow.
    function check_aRefundIsANumberOfGas(bool alone, uint8 signatures, uint64 payloadTokens) public pure {
        uint256 gas = RefundLib.gasOf(alone, signatures, payloadTokens);

        assert(gas >= RefundLib.BATCH_GAS);
        assert(gas < 1 << 68);
    }
}
