// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRota, LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {Actor, System} from "../utils/System.sol";

/// Attacks on leader rotation and the freezing of sets. The numbers are those of the attack gallery.
contract RotationAttacksTest is System {
    function setUp() public {
        _deploy();
    }

    /// 20: choosing the block of the seal. Neither the members nor the seed can be chosen so (see 112 for the seed).
    function test_attack020_theMomentOfTheSealChoosesNoMembers() public {
        _joinMany(3);
        _sealFirst();
        uint256 snapshot = vm.snapshotState();

        _sealSet(1);
        uint256 early = settlement.leaderSet(1).total;
        vm.revertToState(snapshot);
        _join(3, 50 * STAKE_WEI);
        _advance(p.epochSeconds - 1);
        _sealSet(1);

        assertEq(settlement.leaderSet(1).total, early);
    }

    /// 21: nobody gets a transaction in at the right moment.
    function test_attack021_anyBlockOfTheWindowWillDoAndNoneIsNoHarm() public {
        _joinMany(2);
        _sealFirst();
        _advance(p.epochSeconds - 1);
        _sealSet(1);

        _startEpoch(50);
        assertEq(settlement.leaderSet(50).sealedFor, 1);
        _sealSet(51);
        assertEq(settlement.leaderSet(51).sealedFor, 51);
    }

    /// 22: slashed between two seals.
    function test_attack022_aJailedMemberIsInNoNewSetAndBreaksNoFrozenOne() public {
        Actor[] memory actors = _joinMany(3);
        _sealFirst();
        _sealSet(1);
        vm.startPrank(at.slasher);
        registry.jail(actors[1].id, 0, 0);
        registry.slash(actors[1].id, 50 ether, true);
        vm.stopPrank();
        _startEpoch(1);

        LeaderSet memory set = settlement.leaderSet(1);
        assertEq(set.members.length, 3);
        assertEq(set.total, 300);
        settlement.schedule(1, 0, 50);

        _sealSet(2);
        assertEq(settlement.leaderSet(2).members.length, 2);
    }

    /// 23: an index beyond a smaller set. Every turn of every set has a leader, and never nobody.
    function testFuzz_attack023_everyTurnHasALeader(uint64 turn, uint8 members) public {
        _joinMany(bound(members, 1, 6));
        _sealFirst();

        assertNotEq(settlement.leaderOf(0, turn), address(0));
    }

    /// 25: setting up an epoch twice, or not for very long.
    function test_attack025_anEpochIsSealedOnceAndNeverLate() public {
        _joinMany(1);
        _sealFirst();
        _sealSet(1);
        vm.expectRevert(abi.encodeWithSelector(IRota.AlreadySealed.selector, 1));
        settlement.seal(1, "");

        _startEpoch(1000);
        for (uint64 e = 2; e <= 1000; e += 499) {
            vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, 1001, e));
            settlement.seal(e, "");
        }
        _sealSet(1001);
    }

    /// 26: the smallest set there is.
    function test_attack026_aSetOfOneLeadsEveryTurn() public {
        Actor memory alice = _joinMany(1)[0];
        _sealFirst();

        address[] memory leaders = settlement.schedule(0, 0, 10);
        for (uint256 i = 0; i < 10; ++i) {
            assertEq(leaders[i], alice.signer);
        }
    }
}
