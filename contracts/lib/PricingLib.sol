// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Params} from "../types/Params.sol";

/// What a deployment knows of L1's prices, in one word.
type Pricing is uint256;

/// One list of prices in gas: of a transaction, and of a byte of its calldata.
type PriceList is uint256;

using PricingLib for Pricing global;
using PricingLib for PriceList global;

/// @title L1's prices of what a contract cannot measure
/// @notice What execution takes is measured with `gasleft`, whatever L1 charges for it. Left over are what a transaction
/// pays before it executes, and the floor under its calldata (EIP-7623). Deployments cannot be changed and L1's prices can, so
/// there are two lists: the second is in force once changing a slot takes as much as repricedWriteGas. From the low bits up:
///
///     list 72 | next list 72 | repricedWriteGas 24 | marginBps 16 | priorityWei 48
///     list: transaction 24 | zeroByte 12 | byte 12 | zeroByteFloor 12 | byteFloor 12
///
/// {ParamsLib} keeps every field within its width.
library PricingLib {
    uint256 private constant LIST = 72;
    uint256 private constant WRITE = 144;
    uint256 private constant MARGIN = 168;
    uint256 private constant PRIORITY = 184;
    uint256 private constant BPS = 10_000;
    /// Of more gas of a batch there is no margin: what settling takes without its payload, whose bytes are its leader's choice. It
    /// grows by the signature.
    uint256 private constant BATCH_GAS = 65_000;
    uint256 private constant SIGNATURE_GAS = 4500;
    /// Nor is there of more gas of a duty: somebody can make some of them dearer for less.
    uint256 private constant DUTY_GAS = 400_000;

    uint256 private constant ZERO_BYTE = 24;
    uint256 private constant BYTE = 36;
    uint256 private constant ZERO_BYTE_FLOOR = 48;
    uint256 private constant BYTE_FLOOR = 60;

    function pack(Params memory p) internal pure returns (Pricing) {
        uint256 now_ = _list(p.transactionGas, p.zeroByteGas, p.byteGas, p.zeroByteFloorGas, p.byteFloorGas);
        uint256 next =
            _list(p.nextTransactionGas, p.nextZeroByteGas, p.nextByteGas, p.nextZeroByteFloorGas, p.nextByteFloorGas);
        return Pricing.wrap(
            now_ | (next << LIST) | (uint256(p.repricedWriteGas) << WRITE) | (uint256(p.refundMarginBps) << MARGIN)
                | (uint256(p.priorityWei) << PRIORITY)
        );
    }

    function _list(uint256 transaction, uint256 zeroByte, uint256 byte_, uint256 zeroByteFloor, uint256 byteFloor)
        private
        pure
        returns (uint256)
    {
        return transaction | (zeroByte << ZERO_BYTE) | (byte_ << BYTE) | (zeroByteFloor << ZERO_BYTE_FLOOR)
            | (byteFloor << BYTE_FLOOR);
    }

    /// @notice The list in force if changing a slot that was read before took `writeGas`.
    function listAt(Pricing pricing, uint256 writeGas) internal pure returns (PriceList) {
        uint256 word = Pricing.unwrap(pricing);
        return PriceList.wrap(writeGas < uint24(word >> WRITE) ? word : word >> LIST);
    }

    /// @notice What a transaction pays that executes `executed` gas, with so much calldata. Grows with each argument.
    /// @dev Unchecked: prices have at most 24 bits, and gas and bytes of a transaction far fewer than 200.
    function cost(PriceList list, uint256 executed, uint256 zeroBytes, uint256 bytes_) internal pure returns (uint256) {
        unchecked {
            uint256 word = PriceList.unwrap(list);
            uint256 plain = executed + zeroBytes * ((word >> ZERO_BYTE) & 0xfff) + bytes_ * ((word >> BYTE) & 0xfff);
            uint256 floor = zeroBytes * ((word >> ZERO_BYTE_FLOOR) & 0xfff) + bytes_ * ((word >> BYTE_FLOOR) & 0xfff);
            return (word & 0xffffff) + (plain > floor ? plain : floor);
        }
    }

    /// @notice What a unit of gas is refunded with: what was paid for it, but no more than the base fee and a bounded tip.
    function priceOf(Pricing pricing, uint256 gasPriceWei, uint256 baseFeeWei) internal pure returns (uint256) {
        uint256 mostWei = highestPrice(pricing, baseFeeWei);
        return gasPriceWei < mostWei ? gasPriceWei : mostWei;
    }

    /// @notice The most that a unit of gas is refunded with.
    function highestPrice(Pricing pricing, uint256 baseFeeWei) internal pure returns (uint256) {
        return baseFeeWei + (Pricing.unwrap(pricing) >> PRIORITY);
    }

    /// @notice {marginOf} a batch with so many signatures: of bounded gas at the base fee, so that nobody earns by filling it.
    function marginOfBatch(Pricing pricing, uint256 refundWei, uint256 signatures, uint256 baseFeeWei)
        internal
        pure
        returns (uint256)
    {
        return marginOf(pricing, refundWei, (BATCH_GAS + SIGNATURE_GAS * signatures) * baseFeeWei);
    }

    /// @notice {marginOf} a duty whose gas is refunded with `priceWei` each.
    function marginOfDuty(Pricing pricing, uint256 workWei, uint256 priceWei) internal pure returns (uint256) {
        return marginOf(pricing, workWei, DUTY_GAS * priceWei);
    }

    /// @notice What is paid for work beyond the refund of its gas, of `mostWei` of that at most.
    function marginOf(Pricing pricing, uint256 refundWei, uint256 mostWei) internal pure returns (uint256) {
        return (refundWei < mostWei ? refundWei : mostWei) * uint16(Pricing.unwrap(pricing) >> MARGIN) / BPS;
    }
}
