// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Actor} from "../utils/System.sol";
import {Staking} from "../utils/Staking.sol";

/// SequencerRegistry, jail
/// ├── jailAbsent
/// │   ├── it takes the weight away at once, also what the start of the epoch counts, and holds no pool
/// │   ├── of several the longest stands
/// │   └── when not the slasher, unknown, or tombstoned: it reverts
/// ├── unjail
/// │   ├── when served: it counts again two epochs later
/// │   ├── when a report's hold has ended without a conviction: it counts again
/// │   ├── when its seat was given away: it takes another
/// │   └── when not the owner's, not jailed, held, not served, below the minimum, closing, or no seat is left: it reverts
/// └── slash
///     ├── when the owner keeps less than the minimum: it jails until topped up, without a term
///     └── when the owner keeps the minimum: it leaves the status alone
contract JailTest is Staking {
    Actor private alice;

    function setUp() public {
        _deploy();
        alice = _join(0, STAKE_WEI);
    }

    /* ABSENCE */

    function test_jailAbsent_takesTheWeightAtOnceAndHoldsNoPool() public {
        _join(1, STAKE_WEI);
        uint64 until = uint64(block.timestamp) + p.jailSeconds;

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(alice.id, Status.Jailed);
        _jailAbsent(alice.id, until);

        assertEq(_weightAtStart(alice.signer), 0);
        assertEq(registry.sequencer(alice.id).jailedUntil, until);
        _topUp(alice, 1 ether);
        assertEq(registry.assetsOf(alice.id), 101 ether);
        assertEq(_weightAtStart(alice.signer), 0);
    }

    function test_jailAbsent_takesTheWeightAlsoOfWhoChangedInTheSameEpoch() public {
        _join(1, STAKE_WEI);
        _sealFirst();
        _startEpoch(1);
        _topUp(alice, 1 ether);
        assertEq(_weightAtStart(alice.signer), 100);

        _jailAbsent(alice.id, 0);
        assertEq(_weightAtStart(alice.signer), 0);
        _startEpoch(2);
        assertEq(_weightAtStart(alice.signer), 0);
    }

    function test_jailAbsent_keepsTheLongestTerm() public {
        uint64 until = uint64(block.timestamp) + 100;

        _jailAbsent(alice.id, until);
        _jailAbsent(alice.id, until - 50);
        assertEq(registry.sequencer(alice.id).jailedUntil, until);

        _jailAbsent(alice.id, until + 1);
        assertEq(registry.sequencer(alice.id).jailedUntil, until + 1);
    }

    function test_jailAbsent_revertsWhen_notTheSlasherUnknownOrTombstoned() public {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotSlasher.selector, at.slasher, address(this)));
        registry.jailAbsent(alice.id, 0);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 2));
        _jailAbsent(2, 0);

        _slash(alice.id, 1, true);
        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, alice.id, Status.Tombstoned)
        );
        _jailAbsent(alice.id, 0);
    }

    /* UNJAIL */

    function test_unjail_countsAgainTwoEpochsLater() public {
        _join(1, STAKE_WEI);
        _sealFirst();
        _startEpoch(1);
        uint64 until = uint64(block.timestamp) + p.jailSeconds;
        _jailAbsent(alice.id, until);
        _sealSet(2);
        assertEq(settlement.leaderSet(2).members.length, 1);

        _warpTo(until - 1);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.JailNotServed.selector, until, until - 1));
        _unjail(alice);

        _warpTo(until);
        uint64 epoch = _epoch();
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(alice.id, Status.Active);
        _unjail(alice);
        assertEq(uint8(registry.sequencer(alice.id).status), uint8(Status.Active));

        _sealSet(epoch + 1);
        assertEq(settlement.leaderSet(epoch + 1).members.length, 1);
        _startEpoch(epoch + 1);
        _sealSet(epoch + 2);
        assertEq(settlement.leaderSet(epoch + 2).members.length, 2);
    }

    function test_unjail_afterAReportsHoldEnded() public {
        uint64 until = uint64(block.timestamp) + 5;
        _jail(alice.id, until);
        assertEq(registry.sequencer(alice.id).jailedUntil, until);

        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolHeld.selector, alice.id, until));
        _unjail(alice);

        vm.warp(until);
        _unjail(alice);
        assertEq(_weightAtStart(alice.signer), 100);
    }

    function test_unjail_takesAnotherSeat() public {
        Config memory config = ConfigLib.read("devnet");
        config.params.maxMembers = 2;
        _deploy(config);
        Actor[] memory actors = _joinMany(2);
        _jailAbsent(actors[0].id, 0);
        _join(2, STAKE_WEI);
        _jailAbsent(actors[1].id, 0);

        _unjail(actors[0]);

        assertEq(registry.membersAtEpochStart(0).length, 2);
        assertEq(_weightAtStart(actors[0].signer), 100);
        assertEq(_weightAtStart(actors[1].signer), 0);
    }

    function test_unjail_revertsWhen_notTheOwners() public {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, alice.owner, address(this)));
        registry.unjail(alice.id);
    }

    function test_unjail_ofWhoIsActiveBringsInWhatRewardsAdded() public {
        vm.prank(at.rewardPool);
        registry.creditReward(alice.id, 10 ether);
        token.mint(at.registry, 10 ether);
        uint64 before = registry.sequencer(alice.id).weight;
        _unjail(alice);

        assertEq(registry.sequencer(alice.id).weight, before + 10);
        _unjail(alice);
        assertEq(registry.sequencer(alice.id).weight, before + 10);
    }

    function test_unjail_revertsWhen_notJailedNorActive() public {
        _slash(alice.id, 1, true);
        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, alice.id, Status.Tombstoned)
        );
        _unjail(alice);
    }

    function test_unjail_revertsWhen_itLeaves() public {
        _exitAll(alice);
        _jailAbsent(alice.id, 0);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolClosing.selector, alice.id));
        _unjail(alice);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolClosing.selector, alice.id));
        vm.prank(alice.owner);
        registry.topUp(alice.id, STAKE_WEI);
    }

    /* BELOW THE MINIMUM */

    function test_slash_belowTheMinimumJailsUntilToppedUp() public {
        _join(1, STAKE_WEI);
        _delegate(makeAddr("dora"), alice.id, 900 ether);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(alice.id, Status.Jailed);
        _slash(alice.id, 10 ether, false);
        assertEq(_weightAtStart(alice.signer), 0);

        // Of the 10 she bears one; what others hold does not count towards her minimum.
        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.StakeBelowMinimum.selector, STAKE_WEI, STAKE_WEI - 1 ether)
        );
        _unjail(alice);

        _topUp(alice, 2 ether);
        _unjail(alice);
        assertEq(_weightAtStart(alice.signer), 992);
    }

    function test_slash_aboveTheMinimumLeavesTheStatusAlone() public {
        _topUp(alice, 1 ether);

        _slash(alice.id, 1 ether, false);

        assertEq(uint8(registry.sequencer(alice.id).status), uint8(Status.Active));
        assertEq(_weightAtStart(alice.signer), 100);
    }
}
