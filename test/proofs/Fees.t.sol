// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {FeeLib} from "../../contracts/lib/FeeLib.sol";
import {PriceList, Pricing} from "../../contracts/lib/PricingLib.sol";
import {Bill} from "../../contracts/lib/RefundLib.sol";

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

    /// @notice What a transaction pays is at least what it executes, and never overflows: under either list, any gas, and as many
    /// bytes as L1 can ever take. Prices are those of the profiles: no solver multiplies two unknowns in time.
    function check_aTransactionPaysWhatItExecutes(bool next, uint64 executed, uint32 zeroBytes, uint32 bytes_)
        public
        pure
    {
        uint256 gas = _list(next).cost(executed, zeroBytes, bytes_);

        assert(gas >= executed);
        assert(gas < 1 << 65);
    }

    /// @notice More of anything is never cheaper: so what a batch adds to its transaction is not below nothing.
    function check_aTransactionNeverGetsCheaper(bool next, uint64 executed, uint32 bytes_, uint32 more) public pure {
        PriceList prices = _list(next);
        assert(prices.cost(uint256(executed) + more, bytes_, 0) >= prices.cost(executed, bytes_, 0));
        assert(prices.cost(executed, uint256(bytes_) + more, 0) >= prices.cost(executed, bytes_, 0));
        assert(prices.cost(executed, 0, uint256(bytes_) + more) >= prices.cost(executed, 0, bytes_));
    }

    /// @notice Two batches of a transaction are refunded together what the bill says of both: what the first one got is never
    /// given again.
    function check_aBillIsPaidOnce(bool next, uint64 first, uint32 more, uint32 payload, uint32 payloadMore)
        public
        pure
    {
        Bill memory bill;
        bill.list = _list(next);
        uint256 sum = bill.charge(first, 1, payload, 0);
        sum += bill.charge(uint256(first) + more, 1, payloadMore, payloadMore);

        assert(sum == bill.charged);
    }

    /// @notice A unit of gas is never refunded with more than was paid for it.
    function check_aPriceIsAtMostWhatWasPaid(uint256 pricing, uint128 gasPriceWei, uint64 baseFeeWei) public pure {
        assert(Pricing.wrap(pricing).priceOf(gasPriceWei, baseFeeWei) <= gasPriceWei);
    }

    /// @dev Of the profiles: transaction, zero byte, byte, and the floors under both.
    function _list(bool next) private pure returns (PriceList) {
        return next ? _list(15_000, 4, 16, 64, 64) : _list(21_000, 4, 16, 10, 40);
    }

    function _list(uint256 transaction, uint256 zero, uint256 one, uint256 zeroFloor, uint256 floor)
        private
        pure
        returns (PriceList)
    {
        return PriceList.wrap(transaction | (zero << 24) | (one << 36) | (zeroFloor << 48) | (floor << 60));
    }
}
