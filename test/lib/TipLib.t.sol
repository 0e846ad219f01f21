// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {TipLib, TipWord} from "../../contracts/lib/TipLib.sol";

/// TipLib
/// ├── it takes the last height, number and epoch that have a place
/// └── when the height, number, epoch or generation has none: it reverts
contract TipLibTest is Test {
    uint64 private constant LAST = 2 ** 40 - 1;

    function test_pack_takesTheLastHeight() external view {
        TipWord word = this.tipAt(LAST, 0);
        assertEq(word.lastHeight(), LAST);
        // The field above is not touched.
        assertEq(word.epoch(), 0);
    }

    function test_pack_revertsWhen_heightsEnd() external {
        vm.expectRevert(abi.encodeWithSelector(TipLib.HeightAboveMaximum.selector, LAST, LAST + 1));
        this.tipAt(LAST + 1, 0);
    }

    function test_inGeneration_revertsWhen_generationsEnd() external {
        assertEq(this.tipAt(1, 4095).generation(), 4095);

        vm.expectRevert(abi.encodeWithSelector(TipLib.GenerationAboveMaximum.selector, 4095, 4096));
        this.tipAt(1, 4096);
    }

    /// 128: epochs of one second last eight years and a half, and then they end, rather than write into what stands above.
    function test_attack128_epochsAndNumbersEndWithAnError() external {
        (uint64 lastNumber, uint64 lastEpoch) = (2 ** 30 - 1, 2 ** 28 - 1);
        TipWord word = this.tipOf(lastNumber, lastEpoch);
        assertEq(word.number(), lastNumber);
        assertEq(word.epoch(), lastEpoch);
        assertEq(word.lastHeight(), 0);
        assertEq(word.timestamp(), 0);

        vm.expectRevert(abi.encodeWithSelector(TipLib.NumberAboveMaximum.selector, lastNumber, lastNumber + 1));
        this.tipOf(lastNumber + 1, 0);
        vm.expectRevert(abi.encodeWithSelector(TipLib.EpochAboveMaximum.selector, lastEpoch, lastEpoch + 1));
        this.tipOf(0, lastEpoch + 1);
    }

    function tipOf(uint64 number, uint64 epoch) external pure returns (TipWord) {
        return TipLib.pack({
            number_: number,
            lastHeight_: 0,
            epoch_: epoch,
            timestamp_: 0,
            l1OriginNumber_: 0,
            settledAt_: 0,
            forcedThrough_: 0,
            consumed_: 0,
            generation_: 0
        });
    }

    function tipAt(uint64 height, uint32 generation) external pure returns (TipWord) {
        return TipLib.pack({
            number_: 1,
            lastHeight_: height,
            epoch_: 0,
            timestamp_: 0,
            l1OriginNumber_: 0,
            settledAt_: 0,
            forcedThrough_: 0,
            consumed_: 0,
            generation_: 0
        }).inGeneration({generation_: generation, epoch_: 0, l1OriginNumber_: 0, time: 0});
    }
}
