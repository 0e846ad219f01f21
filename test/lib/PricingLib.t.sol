// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {PriceList, Pricing, PricingLib} from "../../contracts/lib/PricingLib.sol";
import {Bill} from "../../contracts/lib/RefundLib.sol";
import {Params} from "../../contracts/types/Params.sol";

/// PricingLib, RefundLib
/// ├── pack: every field at the end of its width comes back, and stands in no other's way
/// ├── listAt: the second list is in force from repricedWriteGas on
/// ├── cost: the dearer of what executes and the floor
/// ├── priceOf: base fee and tip, the tip within its bound
/// └── a bill: never more than its transaction; what is cheaper than the dearest before adds nothing
contract PricingLibTest is Test {
    Params private p;

    function setUp() external {
        (p.transactionGas, p.zeroByteGas, p.byteGas) = (21_000, 4, 16);
        (p.zeroByteFloorGas, p.byteFloorGas) = (10, 40);
        (p.nextTransactionGas, p.nextZeroByteGas, p.nextByteGas) = (15_000, 4, 16);
        (p.nextZeroByteFloorGas, p.nextByteFloorGas) = (64, 64);
        (p.repricedWriteGas, p.refundMarginBps, p.priorityWei) = (6000, 2000, 0.01 gwei);
    }

    function test_pack_keepsEveryFieldAtTheEndOfItsWidth() external view {
        Params memory q;
        assertEq(Pricing.unwrap(PricingLib.pack(q)), 0);

        q = p;
        (q.transactionGas, q.nextTransactionGas) = (100_000, 0);
        Pricing pricing = PricingLib.pack(q);
        assertEq(pricing.listAt(0).cost(0, 0, 0), 100_000);
        assertEq(pricing.listAt(6000).cost(0, 0, 0), 0);
        (q.zeroByteGas, q.byteGas, q.zeroByteFloorGas, q.byteFloorGas) = (1000, 0, 0, 0);
        assertEq(PricingLib.pack(q).listAt(0).cost(0, 1, 1), 101_000);
        (q.zeroByteGas, q.byteGas) = (0, 1000);
        assertEq(PricingLib.pack(q).listAt(0).cost(0, 1, 2), 102_000);
        (q.byteGas, q.zeroByteFloorGas) = (0, 1000);
        assertEq(PricingLib.pack(q).listAt(0).cost(0, 3, 2), 103_000);
        (q.zeroByteFloorGas, q.byteFloorGas) = (0, 1000);
        assertEq(PricingLib.pack(q).listAt(0).cost(0, 3, 4), 104_000);
        (q.repricedWriteGas, q.refundMarginBps, q.priorityWei) = (1_000_000, 5000, 1 gwei);
        pricing = PricingLib.pack(q);
        assertEq(pricing.listAt(999_999).cost(0, 0, 0), 100_000);
        assertEq(pricing.listAt(1_000_000).cost(0, 0, 0), 0);
        assertEq(pricing.marginOf(10_000, 20_000), 5000);
        assertEq(pricing.priceOf(9 gwei, 7 gwei), 8 gwei);
    }

    function test_marginOfBatch_endsWhereThePayloadBegins() external view {
        Pricing pricing = PricingLib.pack(p);
        assertEq(pricing.highestPrice(1 gwei), 1.01 gwei);
        uint256 mostWei = 92_000 gwei; // of six signatures
        assertEq(pricing.marginOfBatch(mostWei - 10, 6, 1 gwei), (mostWei - 10) / 5);
        assertEq(pricing.marginOfBatch(mostWei, 6, 1 gwei), mostWei / 5);
        assertEq(pricing.marginOfBatch(mostWei + 10, 6, 1 gwei), mostWei / 5);
        assertEq(pricing.marginOfBatch(type(uint128).max, 6, 1 gwei), mostWei / 5);
        assertEq(pricing.marginOfBatch(type(uint128).max, 67, 1 gwei), 366_500 gwei / 5);
        assertEq(pricing.marginOfDuty(399_999 gwei, 1 gwei), 399_999 gwei / 5);
        assertEq(pricing.marginOfDuty(5_000_000 gwei, 1 gwei), 400_000 gwei / 5);
    }

    function test_listAt_changesWithThePriceOfAWrite() external view {
        Pricing pricing = PricingLib.pack(p);
        // An empty transaction, and one whose calldata decides.
        assertEq(pricing.listAt(2900).cost(0, 0, 0), 21_000);
        assertEq(pricing.listAt(5999).cost(0, 100, 100), 21_000 + 5000);
        assertEq(pricing.listAt(6000).cost(0, 100, 100), 15_000 + 12_800);
        assertEq(pricing.listAt(12_150).cost(0, 0, 0), 15_000);
    }

    function testFuzz_cost_isTheDearerOfBoth(uint32 executed, uint24 zeros, uint24 others) external view {
        uint256 tokens = uint256(zeros) + 4 * uint256(others);
        uint256 plain = uint256(executed) + 4 * tokens;
        uint256 floor = 10 * tokens;
        uint256 cost = PricingLib.pack(p).listAt(0).cost(executed, zeros, others);
        assertEq(cost, 21_000 + (plain > floor ? plain : floor));
    }

    function test_priceOf_isWhatWasPaidUpToABound() external view {
        Pricing pricing = PricingLib.pack(p);
        assertEq(pricing.priceOf(5 gwei, 5 gwei), 5 gwei);
        assertEq(pricing.priceOf(5.01 gwei, 5 gwei), 5.01 gwei);
        assertEq(pricing.priceOf(500 gwei, 5 gwei), 5.01 gwei);
        assertEq(pricing.priceOf(0, 5 gwei), 0);
    }

    function test_aBill_addsOnlyWhatMakesItsTransactionDearer() external view {
        Bill memory bill;
        bill.list = PricingLib.pack(p).listAt(0);
        uint256 first = bill.charge(100_000, 3, 60_000, 60_000);
        // Its calldata decides, so 100,000 more of execution are free.
        assertEq(first, 21_000 + 10 * (460 + 4 * 180) + 3 * (8 * 10 + 56 * 40) + 60_000 * 40);
        uint256 second = bill.charge(200_000, 3, 0, 0);
        assertEq(second, first - 21_000 - 60_000 * 40);
        assertEq(bill.charged, first + second);
    }

    function testFuzz_aBill_isWhatItsTransactionCosts(uint32[5] memory executed, uint16[5] memory sizes) external view {
        Bill memory bill;
        bill.list = PricingLib.pack(p).listAt(0);
        uint256 sum;
        uint256 total;
        for (uint256 i = 0; i < sizes.length; ++i) {
            total += executed[i];
            sum += bill.charge(total, 4, sizes[i], sizes[i] / 3);
        }
        assertEq(sum, bill.charged);
        assertEq(sum, bill.list.cost(total, bill.zeroBytes, bill.bytes_));
    }
}
