// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ICalendar, Member} from "../contracts/interfaces/ICalendar.sol";
import {IRewardPool} from "../contracts/interfaces/IRewardPool.sol";
import {IRota, LeaderSet} from "../contracts/interfaces/IRota.sol";
import {CodeLib} from "../contracts/lib/CodeLib.sol";
import {DrawLib} from "../contracts/lib/DrawLib.sol";
import {FrozenSet, SetLib} from "../contracts/lib/SetLib.sol";
import {BlockHeader} from "../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../script/ConfigLib.sol";
import {Actor, System} from "./utils/System.sol";

/// Rota
/// ├── seal
/// │   ├── given nothing was ever sealed
/// │   │   ├── when before genesis: it reverts
/// │   │   ├── when the epoch is not the running one: it reverts
/// │   │   ├── when too few are eligible: it reverts, and the next epoch can be tried
/// │   │   ├── it freezes who had joined when the epoch began
/// │   │   └── it fixes block 0
/// │   └── given a set was sealed
/// │       ├── when the epoch is not the next one: it reverts
/// │       ├── when it was sealed already: it reverts
/// │       ├── when too few are eligible: it reverts and the set before is carried
/// │       ├── it freezes the state of the start of the running epoch
/// │       ├── it chains the seed
/// │       ├── it leaves out who is jailed at the call
/// │       └── it refunds the sealer
/// ├── leaderSet, leaderSetOf, setOf, memberAt, totalAt
/// │   ├── they give the sealed or the carried set, members ascending by signer
/// │   └── when nothing was sealed at or before: they revert
/// ├── leaderOf, schedule
/// │   ├── they give first draws
/// │   └── when the schedule is too long, or ends after the last turn: it reverts
/// ├── endOf, countsFrom
/// │   └── they find by search what a walk would find
/// └── epochAt, startOf, params, generation
///     ├── they give what was deployed
///     └── when an epoch would begin after all time: startOf and countsFrom revert
contract RotaTest is System {
    using DrawLib for FrozenSet;

    function setUp() public {
        _deploy();
    }

    /* THE FIRST SEAL */

    function test_seal_revertsWhen_beforeGenesis() public {
        _joinMany(2);
        vm.warp(p.genesis - 1);

        vm.expectRevert(abi.encodeWithSelector(IRota.BeforeGenesis.selector, p.genesis, p.genesis - 1));
        settlement.seal(0, "");
    }

    function test_seal_revertsWhen_firstIsNotTheRunningEpoch() public {
        _joinMany(2);
        _startEpoch(3);

        vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, 3, 2));
        settlement.seal(2, "");
        vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, 3, 4));
        settlement.seal(4, "");
    }

    function test_seal_revertsWhen_nobodyHadJoinedBeforeTheEpoch() public {
        _startEpoch(0);
        _joinMany(2);

        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 1, 0));
        settlement.pin(0);

        _startEpoch(1);
        _sealSet(1);
        assertEq(settlement.leaderSet(1).members.length, 2);
    }

    function test_seal_firstCountsWhoJoinedBeforeGenesis() public {
        _joinMany(2);
        vm.warp(p.genesis);
        _join(2, STAKE_WEI);

        _sealSet(0);

        assertEq(settlement.leaderSet(0).members.length, 2);
    }

    function test_seal_fixesBlockZero() public {
        _joinMany(1);
        _startEpoch(2);
        _pin(2);
        bytes memory l1Header = _mineWithHeader(settlement.pinned());
        BlockHeader memory header = BlockHeader({
            generation: 0,
            height: 0,
            epoch: 2,
            proposer: address(0),
            timestamp: p.genesis * 1000,
            parentHash: 0,
            l1OriginNumber: uint64(block.number) - 1,
            l1OriginHash: blockhash(block.number - 1),
            forcedThrough: 0,
            txCount: 0,
            txRoot: keccak256(hex"02")
        });
        bytes32 blockHash = keccak256(abi.encode(header));

        vm.expectEmit(address(settlement));
        emit IRota.GenesisFixed(blockHash, header);
        settlement.seal(2, l1Header);

        assertEq(settlement.tip().lastBlockHash, blockHash);
        assertEq(settlement.tip().lastHeight, 0);
        assertEq(settlement.tip().epoch, 2);
        assertEq(settlement.tip().timestamp, p.genesis);
        assertEq(settlement.tip().l1OriginNumber, header.l1OriginNumber);
    }

    /* LATER SEALS */

    function test_seal_revertsWhen_epochIsNotTheNext() public {
        _joinMany(1);
        _sealFirst();

        vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, 1, 0));
        settlement.seal(0, "");
        vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, 1, 2));
        settlement.seal(2, "");

        // The last second of the window, and the first one after it.
        _warpTo(settlement.startOf(1) - 1);
        _sealSet(1);
        _startEpoch(2);
        vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, 3, 2));
        settlement.seal(2, "");
    }

    function test_seal_revertsWhen_sealedAlready() public {
        _joinMany(1);
        _sealFirst();
        _sealSet(1);

        vm.expectRevert(abi.encodeWithSelector(IRota.AlreadySealed.selector, 1));
        settlement.seal(1, "");
    }

    function test_seal_tooFewMembersCarriesTheSetBefore() public {
        Config memory config = ConfigLib.read("devnet");
        config.params.minMembers = 2;
        _deploy(config);
        Actor[] memory actors = _joinMany(2);
        _sealFirst();
        _startEpoch(1);
        vm.prank(at.slasher);
        registry.jail(actors[0].id, 0, 0);

        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 2, 1));
        settlement.pin(2);

        _startEpoch(4);
        LeaderSet memory set = settlement.leaderSet(4);
        assertEq(set.sealedFor, 0);
        assertEq(set.members.length, 2, "frozen means frozen: the jailed member stays");
    }

    function test_seal_freezesTheStateOfTheStartOfTheRunningEpoch() public {
        Actor[] memory actors = _joinMany(2);
        _sealFirst();
        _startEpoch(5);
        _sealSet(6);
        _startEpoch(6);

        // In epoch 6: one tops up, one rotates, one joins. None of it is in the set of 7; all of it is in that of 8.
        _give(actors[0].owner, 50 ether);
        vm.prank(actors[0].owner);
        registry.topUp(actors[0].id, 50 ether);
        Actor memory next = _actor(9);
        bytes memory proof = _proof(actors[1].owner, next.key);
        vm.prank(actors[1].owner);
        registry.rotateSigner(actors[1].id, next.signer, proof);
        Actor memory late = _join(2, STAKE_WEI);

        // Only 100 may enter in an epoch (R7), so the newcomer waits with a half.
        _sealSet(7);
        LeaderSet memory set = settlement.leaderSet(7);
        assertEq(set.total, 200);
        assertEq(set.members.length, 2);
        assertEq(_weightIn(set, actors[0].signer), 100);
        assertEq(_weightIn(set, actors[1].signer), 100);

        _startEpoch(7);
        _sealSet(8);
        set = settlement.leaderSet(8);
        assertEq(set.total, 300);
        assertEq(_weightIn(set, actors[0].signer), 150);
        assertEq(_weightIn(set, actors[1].signer), 0);
        assertEq(_weightIn(set, next.signer), 100);
        assertEq(_weightIn(set, late.signer), 50);
    }

    function test_seal_ofAChangeInEveryEpochLagsByOne() public {
        Actor memory alice = _joinMany(1)[0];
        _sealFirst();
        _give(alice.owner, 1000 ether);

        // 10 more in each epoch k; the set of k + 1 counts what was there when k began.
        for (uint64 k = 0; k < 4; ++k) {
            vm.prank(alice.owner);
            registry.topUp(alice.id, 10 ether);
            _sealSet(k + 1);
            assertEq(settlement.leaderSet(k + 1).total, 100 + 10 * k);
            _startEpoch(k + 1);
        }
    }

    /// Up to two changes in each of ten epochs, the seal before, between or after them; held against a plain history.
    function testFuzz_seal_countsTheStateOfTheStartOfTheRunningEpoch(uint256 dice) public {
        Actor memory alice = _joinMany(1)[0];
        _sealFirst();
        _give(alice.owner, 1000 ether);
        uint256 stake = 100;

        for (uint64 epoch = 0; epoch < 10; ++epoch) {
            uint256 atStart = stake;
            uint256 sealAfter = dice % 3;
            for (uint256 i = 0; i < 3; ++i) {
                if (i == sealAfter) _sealSet(epoch + 1);
                dice >>= 3;
                if (dice % 8 > 4 || i == 2) continue;

                vm.startPrank(alice.owner);
                if (dice % 2 == 0 && stake > 110) {
                    registry.requestExit(alice.id, 10_000 ether);
                    stake -= 10;
                } else {
                    registry.topUp(alice.id, 20 ether);
                    stake += 20;
                }
                vm.stopPrank();
                _advance(5);
            }
            assertEq(settlement.leaderSet(epoch + 1).total, atStart);
            _startEpoch(epoch + 1);
        }
    }

    function test_seal_leavesOutTheExitsOfTheEpochBefore() public {
        Actor[] memory actors = _joinMany(2);
        _sealFirst();
        uint256 shares = registry.sharesOf(actors[0].id, actors[0].owner);
        vm.prank(actors[0].owner);
        registry.requestExit(actors[0].id, shares);

        _sealSet(1);
        assertEq(settlement.leaderSet(1).members.length, 2);
        _startEpoch(1);
        _sealSet(2);
        assertEq(settlement.leaderSet(2).members.length, 1);
    }

    function test_pin_leavesOutWhoIsJailedAtTheCall() public {
        Actor[] memory actors = _joinMany(2);
        _sealFirst();
        _startEpoch(1);
        vm.prank(at.slasher);
        registry.jail(actors[0].id, 0, 0);

        _sealSet(2);

        assertEq(settlement.leaderSet(2).members.length, 1);
        assertEq(settlement.leaderSet(2).members[0].signer, actors[1].signer);
        assertEq(settlement.leaderSet(1).members.length, 2);
    }

    function test_seal_chainsTheSeed() public {
        _joinMany(1);
        _startEpoch(0);
        vm.prevrandao(bytes32(uint256(11)));
        _sealSet(0);
        bytes32 first = _seed(bytes32(0), 11);
        assertEq(settlement.leaderSet(0).seed, first);

        // Epoch 1 is carried; the seed goes on from the last set that was sealed.
        _startEpoch(1);
        vm.prevrandao(bytes32(uint256(22)));
        _sealSet(2);
        assertEq(settlement.leaderSet(2).seed, _seed(first, 22));
    }

    function test_seal_saysWhereTheSetLies() public {
        _joinMany(3);
        _startEpoch(0);
        bytes32 seed = _seed(bytes32(0), block.prevrandao);
        address pointer = vm.computeCreateAddress(address(settlement), vm.getNonce(address(settlement)));

        _pin(0);
        uint64 pinned = settlement.pinned();
        vm.expectEmit(address(settlement));
        emit IRota.Sealed(0, 0, pointer, seed, 300, 3, pinned);
        _sealSet(0);

        (address found, uint64 sealedFor, bytes32 told) = settlement.setOf(0, 0);
        assertEq(told, seed);
        assertEq(found, pointer);
        assertEq(sealedFor, 0);
        assertEq(pointer.code.length, 45 + 3 * 27);
    }

    function test_seal_refundsTheSealer() public {
        _joinMany(4);
        _sealFirst();
        vm.fee(10 gwei);
        vm.txGasPrice(10 gwei);
        rewardPool.fund{value: 1 ether}(0);
        address sealer = makeAddr("sealer");

        bytes memory header = _mineWithHeader(settlement.pinned());
        vm.prank(sealer, sealer);
        uint256 before = gasleft();
        settlement.seal(1, header);
        uint256 used = before - gasleft();

        uint256 refund = rewardPool.posterBalance(sealer);
        // Its own gas, that of the transaction around it, and a margin.
        assertGt(refund, (used + 21_000) * 10 gwei);
        assertLt(refund, (used + 21_000) * 10 gwei * 125 / 100);
    }

    function test_seal_withAnEmptyRewardPoolGoesOn() public {
        _joinMany(1);
        _sealFirst();
        vm.fee(10 gwei);

        _sealSet(1);

        assertEq(rewardPool.posterBalance(address(this)), 0);
    }

    function test_seal_ofTheLargestSet() public {
        _joinMany(p.maxMembers);
        _sealFirst();
        _sealSet(1);

        LeaderSet memory set = settlement.leaderSet(1);
        assertEq(set.members.length, p.maxMembers);
        for (uint256 i = 1; i < set.members.length; ++i) {
            assertGt(uint160(set.members[i].signer), uint160(set.members[i - 1].signer));
        }
    }

    function test_pin_revertsWhen_codeCannotBeDeposited() public {
        _joinMany(2);
        _startEpoch(0);
        // The next address to create at is taken, as no honest chain would have it: the deposit fails like out of gas.
        address pointer = vm.computeCreateAddress(address(settlement), vm.getNonce(address(settlement)));
        vm.etch(pointer, hex"00");

        vm.expectRevert(abi.encodeWithSelector(CodeLib.CodeDepositFailed.selector, 44 + 2 * 27));
        settlement.pin(0);
    }

    /* READING */

    function test_leaderSet_givesSealedAndCarriedSets() public {
        Actor[] memory actors = _joinMany(3);
        _sealFirst();
        _startEpoch(4);
        _sealSet(5);
        _startEpoch(6);

        assertEq(settlement.leaderSet(0).sealedFor, 0);
        assertEq(settlement.leaderSet(4).sealedFor, 0);
        assertEq(settlement.leaderSet(5).sealedFor, 5);
        assertEq(settlement.leaderSet(6).sealedFor, 5);
        assertEq(settlement.leaderSetOf(0, 6).seed, settlement.leaderSet(5).seed);

        LeaderSet memory set = settlement.leaderSet(6);
        assertEq(set.generation, 0);
        assertEq(set.total, 300);
        assertEq(set.members.length, 3);
        for (uint256 i = 0; i < 3; ++i) {
            if (i != 0) assertGt(uint160(set.members[i].signer), uint160(set.members[i - 1].signer));
            assertEq(_weightIn(set, actors[i].signer), 100);
            Member memory member = settlement.memberAt(0, 6, i);
            assertEq(member.signer, set.members[i].signer);
            assertEq(member.weight, 100);
        }
        assertEq(settlement.totalAt(0, 6), 300);
    }

    function test_leaderSet_revertsWhen_nothingWasSealed() public {
        bytes memory none = abi.encodeWithSelector(ICalendar.NoSetInForce.selector, 0, 3);
        vm.expectRevert(none);
        settlement.leaderSet(3);

        _joinMany(1);
        _startEpoch(4);
        _sealSet(4);
        vm.expectRevert(none);
        settlement.leaderSet(3);
        vm.expectRevert(none);
        settlement.setOf(0, 3);
        vm.expectRevert(none);
        settlement.leaderOf(3, 0);
        vm.expectRevert(abi.encodeWithSelector(ICalendar.NoSetInForce.selector, 1, 4));
        settlement.leaderSetOf(1, 4);
    }

    function test_memberAt_revertsWhen_indexIsOutside() public {
        _joinMany(2);
        _sealFirst();

        vm.expectRevert(abi.encodeWithSelector(SetLib.IndexOutsideSet.selector, 2, 2));
        settlement.memberAt(0, 0, 2);
    }

    function test_leaderOf_andSchedule_giveFirstDraws() public {
        _joinMany(5);
        _sealFirst();
        (address pointer,, bytes32 seed) = settlement.setOf(0, 0);
        FrozenSet set = SetLib.load(SetLib.record(pointer, seed));

        address[] memory leaders = settlement.schedule(0, 7, 20);
        assertEq(leaders.length, 20);
        for (uint64 i = 0; i < 20; ++i) {
            (address expected,) = set.member(set.draw(7 + i, 0));
            assertEq(leaders[i], expected);
            assertEq(settlement.leaderOf(0, 7 + i), expected);
        }
        assertEq(settlement.schedule(0, 0, 0).length, 0);
    }

    function test_schedule_revertsWhen_tooLong() public {
        _joinMany(1);
        _sealFirst();

        assertEq(settlement.schedule(0, 0, 256).length, 256);
        vm.expectRevert(abi.encodeWithSelector(IRota.ScheduleTooLong.selector, 256, 257));
        settlement.schedule(0, 0, 257);
    }

    function test_schedule_revertsWhen_itEndsAfterTheLastTurn() public {
        _joinMany(1);
        _sealFirst();
        uint64 last = type(uint64).max - 1;

        assertEq(settlement.schedule(0, last - 2, 3).length, 3);
        vm.expectRevert(abi.encodeWithSelector(IRota.ScheduleTooLong.selector, 3, 4));
        settlement.schedule(0, last - 2, 4);
    }

    function test_startOf_revertsWhen_theEpochWouldBeginAfterAllTime() public {
        uint64 last = (type(uint64).max - p.genesis) / p.epochSeconds;

        assertEq(settlement.startOf(last), p.genesis + last * p.epochSeconds);
        vm.expectRevert(abi.encodeWithSelector(ICalendar.EpochBeyondTime.selector, last, last + 1));
        settlement.startOf(last + 1);
    }

    function test_countsFrom_revertsWhen_theEpochIsTheLastNumber() public {
        uint64 last = type(uint64).max;

        vm.expectRevert(abi.encodeWithSelector(ICalendar.EpochBeyondTime.selector, last - 1, last));
        settlement.countsFrom(last);
        _joinMany(1);
        _sealFirst();
        (bool known,) = settlement.countsFrom(last - 1);
        assertFalse(known);
    }

    function testFuzz_endOfAndCountsFrom_findWhatAWalkFinds(uint256 pattern) public {
        _joinMany(1);
        _sealFirst();
        bool[20] memory isSealed;
        isSealed[0] = true;
        for (uint64 e = 1; e < 20; ++e) {
            if ((pattern >> e) & 1 == 1) {
                _sealSet(e);
                isSealed[e] = true;
            }
            _startEpoch(e);
        }

        for (uint64 asked = 0; asked < 20; ++asked) {
            (bool known, uint64 time) = settlement.endOf(0, asked);
            uint64 walk = asked + 1;
            while (walk < 20 && !isSealed[walk]) ++walk;
            assertEq(known, walk < 20);
            assertEq(time, known ? settlement.startOf(walk) : 0);

            // A seal two epochs on reads the start of the next, which is the first to hold the change.
            (known, time) = settlement.countsFrom(asked);
            walk = asked + 2;
            while (walk < 20 && !isSealed[walk]) ++walk;
            assertEq(known, walk < 20);
            assertEq(time, known ? settlement.startOf(walk) : 0);

            walk = asked;
            while (!isSealed[walk]) --walk;
            (, uint64 sealedFor,) = settlement.setOf(0, asked);
            assertEq(sealedFor, walk);
        }
    }

    function test_timeAndParameters() public view {
        assertEq(settlement.epochAt(p.genesis - 1), 0);
        assertEq(settlement.epochAt(p.genesis), 0);
        assertEq(settlement.epochAt(p.genesis + p.epochSeconds - 1), 0);
        assertEq(settlement.epochAt(p.genesis + p.epochSeconds), 1);
        assertEq(settlement.startOf(0), p.genesis);
        assertEq(settlement.startOf(3), p.genesis + 3 * p.epochSeconds);
        assertEq(abi.encode(settlement.params()), abi.encode(p));
        assertEq(settlement.generation(), 0);
    }

    /* HELPERS */

    function _weightIn(LeaderSet memory set, address signer) private pure returns (uint64) {
        for (uint256 i = 0; i < set.members.length; ++i) {
            if (set.members[i].signer == signer) return set.members[i].weight;
        }
        return 0;
    }
}
