// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISequencerRegistry, Exit, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {Actor} from "../utils/System.sol";
import {Staking} from "../utils/Staking.sol";

/// SequencerRegistry, exits of owners (of delegators: Delegation.t.sol)
/// ├── requestExit
/// │   ├── it queues shares; several add up
/// │   ├── it names the running epoch
/// │   ├── when everything leaves: the sequencer is leaving
/// │   └── when zero, above the holding, or the rest is below the minimum: it reverts
/// ├── claim
/// │   ├── when the clock has run out: it pays the holder
/// │   ├── the clock starts at the first set sealed without the shares, after however many carried ones
/// │   ├── it pays what a slash left, and nothing of a dead pool
/// │   └── when unknown, another's, paid, not started, not due, or held: it reverts
/// └── over all stakes, slashes and top-ups: the holder gets what it put in less what was slashed, or 1 wei less
contract ExitTest is Staking {
    Actor private alice;

    function setUp() public {
        _deploy();
        alice = _actor(0);
    }

    /* REQUEST */

    function test_requestExit_queuesSharesAndAddsUp() public {
        _join(0, 300 ether);

        vm.startPrank(alice.owner);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.ExitRequested(1, 1, alice.owner, alice.owner, 50_000 ether, 0, 0);
        registry.requestExit(1, 50_000 ether);
        registry.requestExit(1, 100_000 ether);
        vm.stopPrank();

        assertEq(registry.sequencer(1).restingShares, 150_000 ether);
        assertEq(registry.sharesOf(1, alice.owner), 150_000 ether);
        assertEq(uint8(registry.sequencer(1).status), uint8(Status.Active));
        Exit memory second = registry.exit(2);
        assertEq(second.sequencer, 1);
        assertEq(second.holder, alice.owner);
        assertEq(second.restingShares, 100_000 ether);
        assertEq(second.epoch, 0);
    }

    function test_requestExit_namesTheRunningEpoch() public {
        _join(0, STAKE_WEI);
        _sealFirst();
        _startEpoch(5);

        assertEq(registry.exit(_exitAll(_actor(0))).epoch, 5);
    }

    function test_requestExit_ofEverythingIsLeaving() public {
        _join(0, STAKE_WEI);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(1, Status.Leaving);
        _exitAll(_actor(0));

        assertEq(uint8(registry.sequencer(1).status), uint8(Status.Leaving));
    }

    /// An owner that takes out what works first and what waits last leaves no weight of others behind that it would go on leading
    /// with nothing of its own at stake.
    function test_leave_ofWhatWaitsLastTakesAllWeightAlong() public {
        alice = _join(0, 1000 ether);
        for (uint256 i = 1; i < 4; ++i) {
            _join(i, 1000 ether);
        }
        _delegate(makeAddr("dora"), 1, 500 ether);
        _sealFirst();
        _sealThrough(2);
        // Somebody is in the queue already, so what is topped up waits.
        _delegate(makeAddr("whale"), 2, 10_000 ether);
        _topUp(alice, 1000 ether);
        uint256 waiting = registry.waitingSharesOf(1, alice.owner);
        assertGt(waiting, 0);

        uint256 working = registry.sharesOf(1, alice.owner);
        vm.startPrank(alice.owner);
        registry.leave(1, working, 0);
        uint256 last = registry.leave(1, 0, waiting);
        vm.stopPrank();
        assertEq(uint8(registry.sequencer(1).status), uint8(Status.Leaving));
        _sealThrough(_epoch() + 6);

        assertEq(registry.sequencer(1).weight, 0);
        assertEq(_weightAtStart(alice.signer), 0);
        assertGt(registry.exit(last).epoch, 2);
    }

    function test_requestExit_revertsWhen_sharesAreZeroOrAboveTheHolding() public {
        _join(0, STAKE_WEI);
        vm.startPrank(alice.owner);

        vm.expectRevert(ISequencerRegistry.AmountIsZero.selector);
        registry.requestExit(1, 0);

        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.SharesAboveHolding.selector, 100_000 ether, 100_000 ether + 1)
        );
        registry.requestExit(1, 100_000 ether + 1);
    }

    function test_requestExit_revertsWhen_restIsBelowMinimum() public {
        _join(0, 150 ether);
        vm.startPrank(alice.owner);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.RestBelowMinimum.selector, 100 ether, 100 ether - 1));
        registry.requestExit(1, 50_000 ether + 1000);

        registry.requestExit(1, 50_000 ether);
    }

    /* CLAIM */

    function test_claim_paysAfterTheClock() public {
        _joinMany(2);
        _sealFirst();
        uint256 exitId = _exitAll(_actor(0));
        (bool known,) = registry.claimableAt(exitId);
        assertFalse(known);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitClockNotStarted.selector, 2));
        vm.prank(alice.owner);
        registry.claim(exitId);

        // Requested in epoch 0: the first set sealed for epoch 2 or later does not count the shares any more.
        _sealThrough(3);
        uint64 due = settlement.startOf(2) + p.exitDelaySeconds;
        uint64 time;
        (known, time) = registry.claimableAt(exitId);
        assertTrue(known);
        assertEq(time, due);

        _warpTo(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitNotDue.selector, due, due - 1));
        vm.prank(alice.owner);
        registry.claim(exitId);

        _warpTo(due);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.ExitClaimed(exitId, 1, alice.owner, alice.owner, STAKE_WEI);
        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), STAKE_WEI);
        assertEq(registry.sequencer(1).restingShares, 0);
        assertEq(registry.sequencer(1).shares, 0);

        assertEq(token.balanceOf(alice.owner), STAKE_WEI);
        assertEq(registry.assetsOf(1), 0);
        assertEq(registry.exit(exitId).restingShares, 0);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitAlreadyClaimed.selector, exitId));
        vm.prank(alice.owner);
        registry.claim(exitId);
    }

    function test_claim_clockStartsAtTheFirstSealedSetAfterCarriedOnes() public {
        _joinMany(2);
        _sealFirst();
        uint256 exitId = _exitAll(_actor(0));

        // Nobody seals 1 to 7: the first set, which counts the shares, is carried all the while.
        _startEpoch(7);
        _sealSet(8);

        (bool known, uint64 time) = registry.claimableAt(exitId);
        assertTrue(known);
        assertEq(time, settlement.startOf(8) + p.exitDelaySeconds);
    }

    function test_claim_paysWhatASlashLeft() public {
        _joinMany(2);
        _sealFirst();
        uint256 exitId = _exitAll(_actor(0));
        _sealThrough(2);
        _slash(1, 25 ether, false);
        _advance(p.exitDelaySeconds);

        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), 75 ether);
    }

    function test_claim_ofADeadPoolPaysNothing() public {
        vm.expectCall(at.stakeToken, abi.encodeWithSelector(token.transfer.selector), 0);
        _joinMany(2);
        _sealFirst();
        uint256 exitId = _exitAll(_actor(0));
        _sealThrough(2);
        _slash(1, STAKE_WEI, true);
        _advance(p.exitDelaySeconds);

        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), 0);
    }

    function test_claim_revertsWhen_exitIsUnknownOrAnothers() public {
        _join(0, STAKE_WEI);
        uint256 exitId = _exitAll(_actor(0));

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownExit.selector, exitId + 1));
        registry.claim(exitId + 1);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownExit.selector, exitId + 1));
        registry.claimableAt(exitId + 1);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownExit.selector, exitId + 1));
        registry.exit(exitId + 1);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotHolder.selector, alice.owner, address(this)));
        registry.claim(exitId);
    }

    function test_claim_revertsWhen_poolIsHeld() public {
        _joinMany(2);
        _sealFirst();
        uint256 exitId = _exitAll(_actor(0));
        _sealThrough(2);
        _advance(p.exitDelaySeconds);
        uint64 until = uint64(block.timestamp + 10);
        _jail(1, until);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolHeld.selector, 1, until));
        vm.prank(alice.owner);
        registry.claim(exitId);

        vm.warp(until);
        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), STAKE_WEI);
    }

    /* FUZZ */

    function testFuzz_shareArithmeticNeverFavoursTheHolder(uint256 stake, uint256 slashed, uint256 extra) public {
        stake = bound(stake, p.minStakeWei, 1e9 ether);
        slashed = bound(slashed, 0, stake - stake / 1e6);
        extra = bound(extra, p.weightUnitWei, 1e9 ether);
        // So much else that Bob can leave in one epoch.
        _join(0, 1e11 ether);
        Actor memory bob = _join(1, stake);
        if (slashed != 0) _slash(bob.id, slashed, false);
        _give(bob.owner, extra);
        vm.prank(bob.owner);
        registry.topUp(bob.id, extra);
        _sealFirst();
        uint256 exitId = _exitAll(bob);
        _sealThrough(2);
        _advance(p.exitDelaySeconds);

        vm.prank(bob.owner);
        uint256 paid = registry.claim(exitId);

        assertLe(paid, stake - slashed + extra);
        assertApproxEqAbs(paid, stake - slashed + extra, 1);
        assertEq(registry.assetsOf(bob.id), stake - slashed + extra - paid);
        assertEq(registry.assetsOf(1), 1e11 ether);
    }
}
