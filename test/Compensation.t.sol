// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPool} from "../contracts/interfaces/IRewardPool.sol";
import {ITally} from "../contracts/interfaces/ITally.sol";
import {BatchHeader} from "../contracts/types/Wire.sol";
import {Chain} from "./utils/Chain.sol";

/// Compensation of senders (R30)
/// ├── tally of a late batch
/// │   ├── its poster and its signers earn nothing
/// │   ├── it sets aside what its late entries burned, and leaves the rest in the pool
/// │   ├── when they burned more than the batch would have earned: it sets that aside
/// │   ├── when the pool has less: it owes the rest, which becomes the senders'
/// │   └── when no late entry was consumed: it sets nothing aside
/// └── compensate
///     ├── it puts each sender's part in its name, which the sender claims
///     ├── over all fees: parts are in proportion, at most the fee, and add up to no more than the whole
///     ├── when it is not tallied yet: it reverts
///     ├── when the entry did not come late with the batch: it reverts
///     ├── when it is another's, or another transaction: it reverts
///     └── when it is repeated: it reverts
contract CompensationTest is Chain {
    /// At which a batch earns more than an entry costs.
    uint256 private constant BASE_FEE_WEI = 100 gwei;

    address private immutable _alice = makeAddr("alice");
    address private immutable _bob = makeAddr("bob");

    function setUp() external {
        _begin(4);
        vm.fee(BASE_FEE_WEI);
        vm.txGasPrice(BASE_FEE_WEI);
        _fund(10 ether);
    }

    /* SETTING ASIDE */

    function test_tally_ofALateBatchPaysNeitherPosterNorSigners() external {
        token.mint(address(this), 100 ether);
        token.approve(address(rewardPool), 100 ether);
        rewardPool.fund(100 ether);
        _forceAs(_alice, "a");
        _settleLate(1);
        (, uint256 freeTokenWei) = rewardPool.freeWei();
        _tallyAll();

        (, uint256 freeTokenAfterWei) = rewardPool.freeWei();
        assertEq(freeTokenAfterWei, freeTokenWei);
        assertEq(rewardPool.posterBalance(_settledBatches[0].poster), 0);
        for (uint256 i = 0; i < 4; ++i) {
            assertEq(tally.attendance(0, _settledBatches[0].header.epoch, i).attended, 0);
        }
    }

    function test_tally_setsAsideWhatLateEntriesBurned() external {
        _forceAs(_alice, "a");
        _forceAs(_bob, "b");
        _settleLate(2);
        uint256 feesWei = 2 * p.forcedFeeWei;
        assertLt(feesWei, _earnedWei());
        (uint256 freeWei,) = rewardPool.freeWei();

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SendersReserved(1, feesWei);
        _tallyAll();

        assertEq(tally.compensation(1), feesWei);
        _expectFree(freeWei - feesWei);
    }

    function test_tally_setsAsideNoMoreThanTheBatchWouldHaveEarned() external {
        _forceWei(_alice, "a", 5 ether);
        _settleLate(1);
        _tallyAll();
        assertEq(tally.compensation(1), _earnedWei());
    }

    function test_tally_owesSendersWhatThePoolDoesNotHave() external {
        _begin(4);
        _forceAs(_alice, "a");
        _settleLate(1);
        // The seals of the first sets are owed already.
        uint256 sealsWei = rewardPool.owed();
        _fund(sealsWei + 7);
        _tallyAll();
        uint256 wholeWei = tally.compensation(1);
        assertGt(wholeWei, 7);
        (uint256 coveredWei, uint256 owedWei) = rewardPool.setAside();
        assertEq(coveredWei, 7);
        assertEq(owedWei, wholeWei - 7);
        _expectFree(sealsWei);

        tally.compensate(1, 0, ROLLUP, _alice, keccak256("a"));
        assertEq(rewardPool.posterBalance(_alice), 7);
        assertEq(rewardPool.owedTo(_alice), wholeWei - 7);
        _fund(wholeWei);
        vm.prank(_alice);
        assertEq(rewardPool.claimPoster(), wholeWei);
    }

    function test_tally_setsNothingAsideForABatchThatConsumedNothingLate() external {
        _forceAs(_alice, "a");
        BatchHeader memory old = _nextHeader(8);
        _advance(p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1);
        BatchHeader memory header = _nextHeader(8);
        (header.l1OriginNumber, header.l1OriginHash) = (old.l1OriginNumber, old.l1OriginHash);
        _settle(header);
        assertTrue(_settledBatches[0].late);
        (uint256 freeWei,) = rewardPool.freeWei();
        _tallyAll();
        assertEq(tally.compensation(1), 0);
        _expectFree(freeWei);
    }

    /* COMPENSATING */

    function test_compensate_putsEachPartInItsSendersName() external {
        _forceAs(_alice, "a");
        _forceAs(_bob, "b");
        _settleLate(2);
        _tallyAll();

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SenderCredited(_bob, 1, p.forcedFeeWei);
        assertEq(tally.compensate(1, 1, ROLLUP, _bob, keccak256("b")), p.forcedFeeWei);
        tally.compensate(1, 0, ROLLUP, _alice, keccak256("a"));

        uint256 before = _bob.balance;
        vm.prank(_bob);
        rewardPool.claimPoster();
        assertEq(_bob.balance - before, p.forcedFeeWei);
        assertEq(rewardPool.posterBalance(_alice), p.forcedFeeWei);
    }

    function testFuzz_compensate_partsAreInProportion(uint256[4] memory fees, uint256 poolWei) external {
        _begin(4);
        uint256 sumWei;
        for (uint64 i = 0; i < 4; ++i) {
            fees[i] = bound(fees[i], p.forcedFeeWei, 1 ether);
            sumWei += fees[i];
            _forceWei(_alice, abi.encode(i), fees[i]);
        }
        _settleLate(4);
        _fund(bound(poolWei, 1, 10 ether));
        _tallyAll();

        uint256 wholeWei = tally.compensation(1);
        uint256 creditedWei;
        for (uint64 i = 0; i < 4; ++i) {
            uint256 partWei = tally.compensate(1, i, ROLLUP, _alice, keccak256(abi.encode(i)));
            assertEq(partWei, wholeWei * fees[i] / sumWei);
            assertLe(partWei, fees[i]);
            creditedWei += partWei;
        }
        assertLe(creditedWei, wholeWei);
        assertGe(creditedWei + 4, wholeWei);
        assertEq(rewardPool.posterBalance(_alice) + rewardPool.owedTo(_alice), creditedWei);
        assertGe(address(rewardPool).balance, rewardPool.posterBalance(_alice));
    }

    function test_compensate_revertsWhen_theBatchIsNotTallied() external {
        _forceAs(_alice, "a");
        _settleLate(1);
        vm.expectRevert(abi.encodeWithSelector(ITally.NothingToCompensate.selector, 1));
        tally.compensate(1, 0, ROLLUP, _alice, keccak256("a"));
    }

    function test_compensate_revertsWhen_theEntryDidNotComeLateWithTheBatch() external {
        _forceAs(_alice, "a");
        _settleThrough(1);
        _forceAs(_alice, "b");
        _settleLate(2);
        _forceAs(_alice, "c");
        _settleThrough(3);
        _tallyAll();

        _expectNotLate(1, 0);
        _expectNotLate(2, 0);
        _expectNotLate(2, 2);
        _expectNotLate(3, 2);
        tally.compensate(2, 1, ROLLUP, _alice, keccak256("b"));
    }

    function test_compensate_revertsWhen_itIsAnothers() external {
        _forceAs(_alice, "a");
        _forceAs(_bob, "b");
        _settleLate(2);
        _tallyAll();

        bytes32 first = settlement.forcedEntry(0).chainHash;
        bytes32 second = settlement.forcedEntry(1).chainHash;
        _expectMismatch(1, second, keccak256(abi.encode(first, 1, ROLLUP, _alice, keccak256("b"))));
        tally.compensate(1, 1, ROLLUP, _alice, keccak256("b"));
        _expectMismatch(1, second, keccak256(abi.encode(first, 1, ROLLUP, _bob, keccak256("a"))));
        tally.compensate(1, 1, ROLLUP, _bob, keccak256("a"));
        _expectMismatch(0, first, keccak256(abi.encode(bytes32(0), 0, ROLLUP + 1, _alice, keccak256("a"))));
        tally.compensate(1, 0, ROLLUP + 1, _alice, keccak256("a"));
    }

    function test_compensate_revertsWhen_itIsRepeated() external {
        _forceAs(_alice, "a");
        _forceAs(_bob, "b");
        _settleLate(2);
        _tallyAll();
        tally.compensate(1, 0, ROLLUP, _alice, keccak256("a"));
        vm.expectRevert(abi.encodeWithSelector(ITally.AlreadyCompensated.selector, 0));
        tally.compensate(1, 0, ROLLUP, _alice, keccak256("a"));
        tally.compensate(1, 1, ROLLUP, _bob, keccak256("b"));
        vm.expectRevert(abi.encodeWithSelector(ITally.AlreadyCompensated.selector, 1));
        tally.compensate(1, 1, ROLLUP, _bob, keccak256("b"));
    }

    /* PARTS */

    function _fund(uint256 amountWei) private {
        vm.deal(address(this), address(this).balance + amountWei);
        rewardPool.fund{value: amountWei}(0);
    }

    function _forceWei(address sender, bytes memory transaction, uint256 amountWei) private {
        if (rollups.rollup(ROLLUP).owner == address(0)) rollups.register{value: p.rollupFeeWei}(ROLLUP);
        vm.deal(sender, amountWei);
        vm.prank(sender);
        settlement.force{value: amountWei}(ROLLUP, transaction);
    }

    /// @dev Settles a batch up to `through` when everything that waits is late.
    function _settleLate(uint64 through) private {
        _advance(p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1);
        _settleThrough(through);
        assertTrue(_settledBatches[_settledBatches.length - 1].late);
    }

    function _earnedWei() private view returns (uint256) {
        return _dueWei(_settledBatches.length - 1, 3, 4);
    }

    function _expectFree(uint256 expectedWei) private view {
        (uint256 freeWei,) = rewardPool.freeWei();
        assertEq(freeWei, expectedWei);
    }

    function _expectNotLate(uint64 batch, uint64 index) private {
        vm.expectRevert(abi.encodeWithSelector(ITally.EntryNotLate.selector, batch, index));
        tally.compensate(batch, index, ROLLUP, _alice, keccak256("a"));
    }

    function _expectMismatch(uint64 index, bytes32 expected, bytes32 actual) private {
        vm.expectRevert(abi.encodeWithSelector(ITally.ChainHashMismatch.selector, index, expected, actual));
    }
}
