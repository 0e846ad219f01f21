// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {Actor} from "../utils/System.sol";
import {Staking} from "../utils/Staking.sol";

/// SequencerRegistry, delegation
/// ├── delegate
/// │   ├── it takes the stake, gives shares at the price of the pool, and counts as weight
/// │   ├── it may be the owner's too
/// │   └── when unknown, jailed, leaving, tombstoned, held, dead, or below a unit: it reverts
/// ├── requestExit of a delegator
/// │   ├── it may leave any rest, also less than the minimum stake
/// │   ├── it adds up, each exit paid once
/// │   └── it leaves the sequencer in its set
/// ├── requestExit of the owner
/// │   ├── when it would keep less than the minimum of its own: it reverts, whatever others hold
/// │   └── when it takes all of its own: nothing of the pool counts, and delegators leave by the same clock
/// └── slash
///     └── it takes from every holder its part
contract DelegationTest is Staking {
    Actor private alice;
    address private dora = makeAddr("dora");

    function setUp() public {
        _deploy();
        alice = _join(0, STAKE_WEI);
    }

    /* DELEGATE */

    function test_delegate_takesStakeAndGivesShares() public {
        _give(dora, 60 ether);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Delegated(alice.id, dora, 60 ether, 60_000 ether);
        vm.prank(dora);
        uint256 shares = registry.delegate(alice.id, 60 ether);

        assertEq(shares, 60_000 ether);
        assertEq(registry.sharesOf(alice.id, dora), 60_000 ether);
        assertEq(registry.assetsOf(alice.id), 160 ether);
        assertEq(token.balanceOf(address(registry)), 160 ether);
        assertEq(_weightAtStart(alice.signer), 160);
    }

    function test_delegate_buysAtThePriceOfThePool() public {
        _topUp(alice, STAKE_WEI);
        _slash(alice.id, STAKE_WEI, false);

        assertEq(_delegate(dora, alice.id, 50 ether), uint256(50 ether) * (200_000 ether + 1000) / (100 ether + 1));
    }

    function test_delegate_mayBeTheOwners() public {
        _delegate(alice.owner, alice.id, 5 ether);

        assertEq(registry.sharesOf(alice.id, alice.owner), 105_000 ether);
    }

    function test_delegate_revertsWhen_idIsUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 7));
        registry.delegate(7, 1 ether);
    }

    function test_delegate_revertsWhen_jailed() public {
        _jailAbsent(alice.id, 0);

        _expectStatusNotAllowed(Status.Jailed);
        registry.delegate(alice.id, 1 ether);
    }

    function test_delegate_revertsWhen_leaving() public {
        _exitAll(alice);

        _expectStatusNotAllowed(Status.Leaving);
        registry.delegate(alice.id, 1 ether);
    }

    function test_delegate_revertsWhen_tombstoned() public {
        _slash(alice.id, 1, true);

        _expectStatusNotAllowed(Status.Tombstoned);
        registry.delegate(alice.id, 1 ether);
    }

    function test_delegate_revertsWhen_belowAUnit() public {
        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.AmountBelowUnit.selector, 1 ether, uint256(1 ether) - 1)
        );
        registry.delegate(alice.id, 1 ether - 1);
    }

    function test_delegate_revertsWhen_theTotalWouldNotFit() public {
        uint256 maximum = 1 ether * 2 ** 56 - 1;

        vm.expectRevert(
            abi.encodeWithSelector(
                ISequencerRegistry.TotalStakeAboveMaximum.selector, maximum, 1 ether * 2 ** 56 + STAKE_WEI
            )
        );
        registry.delegate(alice.id, 1 ether * 2 ** 56);
    }

    /* LEAVING AGAIN */

    function test_requestExit_ofADelegatorMayLeaveAnyRest() public {
        _delegate(dora, alice.id, 60 ether);

        _exit(dora, alice.id, 59_999 ether);

        assertEq(registry.sharesOf(alice.id, dora), 1 ether);
        assertEq(uint8(registry.sequencer(alice.id).status), uint8(Status.Active));
    }

    function test_requestExit_ofADelegatorAddsUpAndIsPaidOnce() public {
        _join(1, STAKE_WEI);
        _delegate(dora, alice.id, 60 ether);
        _sealFirst();
        uint256 first = _exit(dora, alice.id, 20_000 ether);
        uint256 second = _exit(dora, alice.id, 40_000 ether);
        _sealThrough(2);
        _advance(p.exitDelaySeconds);

        assertEq(_claim(dora, second), 40 ether);
        assertEq(_claim(dora, first), 20 ether);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitAlreadyClaimed.selector, first));
        _claim(dora, first);
        assertEq(registry.assetsOf(alice.id), STAKE_WEI);
    }

    function test_requestExit_ofADelegatorLeavesTheSequencerInItsSet() public {
        _delegate(dora, alice.id, 60 ether);

        _exit(dora, alice.id, 60_000 ether);

        assertEq(_weightAtStart(alice.signer), 100);
    }

    function test_requestExit_revertsWhen_theOwnerWouldKeepLessThanTheMinimumOfItsOwn() public {
        _delegate(dora, alice.id, 1000 ether);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.RestBelowMinimum.selector, 100 ether, 100 ether - 1));
        _exit(alice, 1000);
    }

    function test_requestExit_ofTheOwnerTakesTheSequencerAlong() public {
        _join(1, 3 * STAKE_WEI);
        _delegate(dora, alice.id, 60 ether);
        _sealFirst();
        // The 160 are the smallest member, so all may leave in one epoch; her delegator follows in the same.
        _exitAll(alice);
        uint256 exitId = _exit(dora, alice.id, 60_000 ether);

        assertEq(uint8(registry.sequencer(alice.id).status), uint8(Status.Leaving));
        assertEq(registry.exit(exitId).queuedShares, 0);
        _startEpoch(1);
        assertEq(_weightAtStart(alice.signer), 0);

        (bool known, uint64 time) = registry.claimableAt(exitId);
        assertFalse(known);
        _sealSet(2);
        (known, time) = registry.claimableAt(exitId);
        assertEq(time, settlement.startOf(2) + p.exitDelaySeconds);
        _warpTo(time);
        assertEq(_claim(dora, exitId), 60 ether);
    }

    /* SLASHED TOGETHER */

    function test_slash_takesFromEveryHolderItsPart() public {
        _join(1, STAKE_WEI);
        _delegate(dora, alice.id, 300 ether);
        _sealFirst();
        uint256 ofOwner = _exitAll(alice);
        _slash(alice.id, 40 ether, true);
        uint256 ofDora = _exit(dora, alice.id, 300_000 ether);
        _flush();
        _sealThrough(2);
        _advance(p.exitDelaySeconds);

        assertEq(_claim(alice.owner, ofOwner), 90 ether);
        assertEq(_claim(dora, ofDora), 270 ether);
    }

    /* FUZZ */

    /// Two delegators, a slash in between, everybody leaves: nobody takes out more than its part.
    function testFuzz_delegatorsTakeOutTheirPart(uint256 first, uint256 second, uint256 slashed) public {
        first = bound(first, 1 ether, 1e9 ether);
        second = bound(second, 1 ether, 1e9 ether);
        slashed = bound(slashed, 0, first);
        // Her own stake stays above the minimum, and so large that everybody else can leave in one epoch.
        _topUp(alice, 1e11 ether);
        _join(1, STAKE_WEI);
        _sealFirst();
        address carl = makeAddr("carl");
        _delegate(dora, alice.id, first);
        if (slashed != 0) _slash(alice.id, slashed, false);
        uint256 assetsWei = registry.assetsOf(alice.id);
        uint256 worthWei = first * assetsWei / (assetsWei + slashed);
        _delegate(carl, alice.id, second);
        uint256 ofDora = _exit(dora, alice.id, registry.sharesOf(alice.id, dora));
        uint256 ofCarl = _exit(carl, alice.id, registry.sharesOf(alice.id, carl));
        _sealThrough(2);
        _advance(p.exitDelaySeconds);

        uint256 paidToDora = _claim(dora, ofDora);
        uint256 paidToCarl = _claim(carl, ofCarl);
        assertApproxEqAbs(paidToDora, worthWei, 2);
        assertLe(paidToCarl, second);
        assertApproxEqAbs(paidToCarl, second, 2);
        assertGe(registry.assetsOf(alice.id) + 1, assetsWei - worthWei);
    }

    /* HELPERS */

    function _expectStatusNotAllowed(Status status) private {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, alice.id, status));
    }
}
