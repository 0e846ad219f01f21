// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {PriceList} from "./PricingLib.sol";

/// What the batches that a transaction has settled so far have cost it.
struct Bill {
    uint256 gasAtStart;
    PriceList list;
    uint256 zeroBytes;
    uint256 bytes_;
    /// Gas that the batches before are refunded together.
    uint256 charged;
}

using RefundLib for Bill global;

/// @title What a settlement is refunded
/// @notice L1 prices transactions, not batches: the dearer of what executes and the floor under its calldata. So a batch is
/// refunded by how much it raises the price of its transaction, and all batches of a transaction together exactly what L1
/// takes for all of them, in whatever pieces they are tallied. Never more than was paid: what stands here of calldata and of
/// gas that is not measured is at most what there is. test/gas/ holds it against both price lists.
library RefundLib {
    /// Calldata that every batch has, without signatures and payload: 21 words. Of these, so many bytes are not zero at the
    /// least: six hashes, that is, in which a poster found no more than a few zeros.
    uint256 private constant BATCH_BYTES = 640;
    uint256 private constant BATCH_NONZERO = 180;
    uint256 private constant SIGNATURE_BYTES = 64;
    /// Who looks for signatures with more than eight zeros finds a share of a percent in it.
    uint256 private constant SIGNATURE_NONZERO = 56;
    /// What follows on the measurement: the ring's word, which is changed already, and the event.
    uint256 private constant TAIL_GAS = 3_000;

    /// @notice Adds a batch to the bill, once all but the end of its settlement is done.
    /// @param nonzero Bytes of the payload that are not zero.
    /// @return gas What it is refunded.
    function add(Bill memory bill, uint256 signatures, uint256 payloadBytes, uint256 nonzero)
        internal
        view
        returns (uint256 gas)
    {
        uint256 executed = bill.gasAtStart - gasleft() + TAIL_GAS;
        return charge(bill, executed, signatures, payloadBytes, nonzero);
    }

    /// @notice {add}, with what was executed so far as an argument.
    function charge(Bill memory bill, uint256 executed, uint256 signatures, uint256 payloadBytes, uint256 nonzero)
        internal
        pure
        returns (uint256 gas)
    {
        // Cannot overflow: all of it is calldata that a transaction paid for.
        unchecked {
            uint256 bytes_ = BATCH_NONZERO + SIGNATURE_NONZERO * signatures + nonzero;
            uint256 size = BATCH_BYTES + SIGNATURE_BYTES * signatures + payloadBytes;
            bill.bytes_ += bytes_;
            bill.zeroBytes += size - bytes_;
        }
        uint256 total = bill.list.cost(executed, bill.zeroBytes, bill.bytes_);
        // Should L1 ever charge less for an event than stands here, a batch earns nothing rather than not settle.
        if (total <= bill.charged) return 0;
        gas = total - bill.charged;
        bill.charged = total;
    }
}
