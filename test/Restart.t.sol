// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox, Tip} from "../contracts/interfaces/IBatchInbox.sol";
import {ICalendar} from "../contracts/interfaces/ICalendar.sol";
import {IRestart, RestartState} from "../contracts/interfaces/IRestart.sol";
import {IRota, LeaderSet} from "../contracts/interfaces/IRota.sol";
import {ISequencerRegistry} from "../contracts/interfaces/ISequencerRegistry.sol";
import {TipLib, TipWord} from "../contracts/lib/TipLib.sol";
import {BatchHeader, Signature} from "../contracts/types/Wire.sol";
import {Chain} from "./utils/Chain.sol";
import {Actor} from "./utils/System.sol";

/// Restart, given four sequencers of equal weight
/// ├── openRestart
/// │   ├── when block 0 is not fixed: it reverts
/// │   ├── when restartDelay has not passed since block 0, the last batch or the generation: it reverts
/// │   ├── when one is under way: it reverts
/// │   ├── it says until when one checks in and finishes
/// │   └── it counts the restarts that lapsed in a row
/// ├── checkIn
/// │   ├── given no restart is open
/// │   │   ├── when there never was one, or a batch ended it: it reverts
/// │   │   ├── when the sequencer did not miss the last one: it reverts
/// │   │   └── it brings back who missed the last one, as of the next epoch
/// │   └── given one is open
/// │       ├── when the window is over: it reverts
/// │       ├── when the caller is neither owner nor signer: it reverts
/// │       ├── when the sequencer is unknown, jailed, tombstoned or leaving: it reverts
/// │       ├── when it has checked in: it reverts, but not for a check-in in an earlier restart
/// │       └── it counts the sequencer and its weight
/// └── finishRestart
///     ├── when none is open, a batch ended it, or it is finished: it reverts
///     ├── when it is too early or too late: it reverts
///     ├── when a third or less checked in: it reverts
///     ├── when three lapsed before: minMembers suffice
///     ├── it freezes who checked in as of this block
///     ├── it goes on from the settled chain
///     ├── it voids the next epoch's set, which can be sealed again
///     └── it leaves out of later seals who neither checked in nor joined since
contract RestartTest is Chain {
    Actor[] private _actors;

    function setUp() public {
        _begin(4);
        for (uint256 i = 0; i < 4; ++i) {
            _actors.push(_actor(i));
        }
    }

    /* OPENING */

    function test_openRestart_revertsWhen_blockZeroIsNotFixed() public {
        _deploy();
        _joinMany(1);
        _startEpoch(100);

        vm.expectRevert(abi.encodeWithSelector(ICalendar.NoSetInForce.selector, 0, 100));
        settlement.openRestart();
    }

    function test_openRestart_revertsWhen_blockZeroIsTooYoung() public {
        uint64 openFrom = p.genesis + p.restartDelaySeconds;
        _warpTo(openFrom - 1);

        vm.expectRevert(abi.encodeWithSelector(IRestart.RestartNotDue.selector, openFrom, openFrom - 1));
        settlement.openRestart();

        _warpTo(openFrom);
        settlement.openRestart();
    }

    function test_openRestart_revertsWhen_theLastBatchIsTooYoung() public {
        _advance(7);
        _settle(_nextHeader(3));
        uint64 openFrom = uint64(block.timestamp) + p.restartDelaySeconds;
        _warpTo(openFrom - 1);

        vm.expectRevert(abi.encodeWithSelector(IRestart.RestartNotDue.selector, openFrom, openFrom - 1));
        settlement.openRestart();

        _warpTo(openFrom);
        settlement.openRestart();
    }

    function test_openRestart_revertsWhen_theGenerationIsTooYoung() public {
        _restart(_actors, 2);
        uint64 openFrom = uint64(block.timestamp) + p.restartDelaySeconds;
        _warpTo(openFrom - 1);

        vm.expectRevert(abi.encodeWithSelector(IRestart.RestartNotDue.selector, openFrom, openFrom - 1));
        settlement.openRestart();

        _warpTo(openFrom);
        settlement.openRestart();
    }

    function test_openRestart_revertsWhen_oneIsUnderWay() public {
        _openRestart();
        uint64 finishUntil = settlement.restart().finishUntil;

        _warpTo(finishUntil - 1);
        vm.expectRevert(abi.encodeWithSelector(IRestart.RestartUnderWay.selector, finishUntil));
        settlement.openRestart();

        _warpTo(finishUntil);
        settlement.openRestart();
    }

    function test_openRestart_saysUntilWhen() public {
        assertEq(abi.encode(settlement.restart()), abi.encode(RestartState(0, 0, 0, 0, 0, 0)));
        _warpTo(p.genesis + p.restartDelaySeconds + 5);
        uint64 time = uint64(block.timestamp);

        vm.expectEmit(address(settlement));
        emit IRestart.RestartOpened(time, time + p.restartWindowSeconds, time + 2 * p.restartWindowSeconds);
        settlement.openRestart();

        RestartState memory state = settlement.restart();
        assertEq(state.openedAt, time);
        assertEq(state.checkInUntil, time + p.restartWindowSeconds);
        assertEq(state.finishUntil, time + 2 * p.restartWindowSeconds);
        assertEq(state.lapsed, 0);
    }

    function test_openRestart_countsWhatLapsedInARow() public {
        for (uint64 lapsed = 0; lapsed < 3; ++lapsed) {
            _openRestart();
            assertEq(settlement.restart().lapsed, lapsed);
            _advance(2 * p.restartWindowSeconds);
        }

        // A batch in between, and the row is broken.
        _settle(_nextHeader(1));
        _openRestart();
        assertEq(settlement.restart().lapsed, 0);

        // So it is by a generation.
        _advance(2 * p.restartWindowSeconds);
        _restart(_actors, 2);
        _openRestart();
        assertEq(settlement.restart().lapsed, 0);
    }

    /* CHECKING IN */

    function test_checkIn_revertsWhen_noRestartIsOpen() public {
        vm.prank(_actors[0].signer);
        vm.expectRevert(IRestart.NoRestartOpen.selector);
        settlement.checkIn(_actors[0].id);

        _openRestart();
        // The very block in which a batch settles ends it.
        _settle(_nextHeader(1));
        vm.prank(_actors[0].signer);
        vm.expectRevert(IRestart.NoRestartOpen.selector);
        settlement.checkIn(_actors[0].id);
    }

    function test_checkIn_revertsWhen_theWindowIsOver() public {
        _openRestart();
        uint64 until = settlement.restart().checkInUntil;
        _warpTo(until - 1);
        _checkIn(_actors[0]);

        _warpTo(until);
        vm.prank(_actors[1].signer);
        vm.expectRevert(abi.encodeWithSelector(IRestart.CheckInOver.selector, until, until));
        settlement.checkIn(_actors[1].id);
    }

    function test_checkIn_revertsWhen_callerIsNeitherOwnerNorSigner() public {
        _openRestart();
        uint32 id = _actors[0].id;
        address stranger = makeAddr("stranger");
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IRestart.NotOwnerOrSigner.selector, id, stranger));
        settlement.checkIn(id);

        // A key that was given up speaks for nobody.
        Actor memory next = _actor(9);
        bytes memory proof = _proof(_actors[0].owner, next.key);
        vm.prank(_actors[0].owner);
        registry.rotateSigner(id, next.signer, proof);
        vm.prank(_actors[0].signer);
        vm.expectRevert(abi.encodeWithSelector(IRestart.NotOwnerOrSigner.selector, id, _actors[0].signer));
        settlement.checkIn(id);

        vm.prank(next.signer);
        settlement.checkIn(id);
    }

    function test_checkIn_revertsWhen_notEligible() public {
        vm.startPrank(at.slasher);
        registry.jail(_actors[0].id, 0, 0);
        registry.slash(_actors[1].id, 1 ether, true);
        vm.stopPrank();
        _leave(_actors[2]);
        _openRestart();

        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(_actors[i].owner);
            vm.expectRevert(abi.encodeWithSelector(IRestart.NotEligible.selector, _actors[i].id));
            settlement.checkIn(_actors[i].id);
        }
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 99));
        settlement.checkIn(99);
    }

    function test_checkIn_revertsWhen_checkedInAlready() public {
        _openRestart();
        _checkIn(_actors[0]);

        vm.prank(_actors[0].owner);
        vm.expectRevert(abi.encodeWithSelector(IRestart.AlreadyCheckedIn.selector, _actors[0].id));
        settlement.checkIn(_actors[0].id);

        // It is asked again in the next one.
        _advance(2 * p.restartWindowSeconds);
        _openRestart();
        _checkIn(_actors[0]);
        assertEq(settlement.restart().count, 1);
    }

    function test_checkIn_countsTheSequencerAndItsWeight() public {
        _openRestart();
        uint64 openedAt = settlement.restart().openedAt;
        _advance(10);

        vm.expectEmit(address(settlement));
        emit IRestart.CheckedIn(openedAt, _actors[0].id, 100);
        _checkIn(_actors[0]);
        vm.prank(_actors[1].owner);
        settlement.checkIn(_actors[1].id);

        assertEq(settlement.restart().count, 2);
        assertEq(settlement.restart().weight, 200);
    }

    function test_checkIn_bringsBackWhoMissedTheLastOne() public {
        _restart(_actors, 2);
        uint64 epoch = _epoch();
        _startEpoch(epoch + 1);

        vm.prank(_actors[0].signer);
        vm.expectRevert(abi.encodeWithSelector(IRestart.AlreadyCheckedIn.selector, _actors[0].id));
        settlement.checkIn(_actors[0].id);

        vm.expectEmit(address(settlement));
        emit IRestart.Returned(_actors[3].id);
        _checkIn(_actors[3]);

        // It was not there when the epoch began, so the seal of this epoch leaves it out, called before or after.
        _sealSet(epoch + 2);
        assertEq(settlement.leaderSet(epoch + 2).total, 200);
        _startEpoch(epoch + 2);
        _sealSet(epoch + 3);
        assertEq(settlement.leaderSet(epoch + 3).total, 300);
    }

    /* FINISHING */

    function test_finishRestart_revertsWhen_noneIsOpen() public {
        vm.expectRevert(IRestart.NoRestartOpen.selector);
        settlement.finishRestart("");

        _openRestart();
        _checkIn(_actors[0]);
        _checkIn(_actors[1]);
        _advance(p.restartWindowSeconds);
        // A batch in the last moment: the set in force has returned.
        uint256 snapshot = vm.snapshotState();
        _settle(_nextHeader(1));
        vm.expectRevert(IRestart.NoRestartOpen.selector);
        settlement.finishRestart("");

        vm.revertToState(snapshot);
        _finishRestart();
        vm.expectRevert(IRestart.NoRestartOpen.selector);
        settlement.finishRestart("");
    }

    function test_finishRestart_revertsOutsideOfItsWindow() public {
        _openRestart();
        _checkIn(_actors[0]);
        _checkIn(_actors[1]);
        uint64 from = settlement.restart().checkInUntil;
        uint64 until = settlement.restart().finishUntil;

        _warpTo(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IRestart.FinishNotOpen.selector, from, until, from - 1));
        settlement.finishRestart("");

        _warpTo(from);
        settlement.closeCheckIn();
        bytes memory header = _mineWithHeader(settlement.pinnedForRestart());
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(IRestart.FinishNotOpen.selector, from, until, until));
        settlement.finishRestart(header);

        vm.warp(until - 1);
        settlement.finishRestart(header);
        assertEq(settlement.generation(), 1);
    }

    function test_finishRestart_revertsWhen_aThirdOrLessCheckedIn() public {
        _openRestart();
        _checkIn(_actors[0]);
        _advance(p.restartWindowSeconds);

        vm.expectRevert(abi.encodeWithSelector(IRestart.CheckedInTooFew.selector, 134, 100));
        settlement.closeCheckIn();
    }

    /// Exactly a third is too few; one unit more is enough.
    function testFuzz_finishRestart_needsMoreThanAThird(uint256 here, uint256 away) public {
        _deploy();
        here = bound(here, 100, 1e6);
        away = bound(away, 100, 1e6);
        Actor[] memory actors = new Actor[](2);
        actors[0] = _join(0, here * 1 ether);
        actors[1] = _join(1, away * 1 ether);
        _sealFirst();
        _openRestart();
        _checkIn(actors[0]);
        _advance(p.restartWindowSeconds);

        bool enough = 3 * here > here + away;
        if (!enough) {
            vm.expectRevert(abi.encodeWithSelector(IRestart.CheckedInTooFew.selector, (here + away) / 3 + 1, here));
            settlement.closeCheckIn();
        } else {
            _finishRestart();
        }
        assertEq(settlement.generation(), enough ? 1 : 0);
    }

    function test_finishRestart_needsNoThirdAfterThreeLapsed() public {
        for (uint256 lapsed = 0; lapsed < 3; ++lapsed) {
            _openRestart();
            _checkIn(_actors[3]);
            _advance(p.restartWindowSeconds);
            vm.expectRevert(abi.encodeWithSelector(IRestart.CheckedInTooFew.selector, 134, 100));
            settlement.closeCheckIn();
            _advance(p.restartWindowSeconds);
        }

        // Nobody is below minMembers.
        settlement.openRestart();
        uint256 snapshot = vm.snapshotState();
        _advance(p.restartWindowSeconds);
        vm.expectRevert(abi.encodeWithSelector(IRestart.CheckedInTooFew.selector, 134, 0));
        settlement.closeCheckIn();

        vm.revertToState(snapshot);
        _checkIn(_actors[3]);
        _advance(p.restartWindowSeconds);
        _finishRestart();
        assertEq(settlement.leaderSet(_epoch()).members[0].signer, _actors[3].signer);
    }

    function test_finishRestart_freezesWhoCheckedInAsOfThisBlock() public {
        _openRestart();
        for (uint256 i = 0; i < 4; ++i) {
            _checkIn(_actors[i]);
        }
        _advance(p.restartWindowSeconds);
        // After it checked in: one tops up, one takes another key, one is jailed.
        _give(_actors[0].owner, 50 ether);
        vm.prank(_actors[0].owner);
        registry.topUp(_actors[0].id, 50 ether);
        Actor memory next = _actor(9);
        bytes memory proof = _proof(_actors[1].owner, next.key);
        vm.prank(_actors[1].owner);
        registry.rotateSigner(_actors[1].id, next.signer, proof);
        vm.prank(at.slasher);
        registry.jail(_actors[2].id, 0, 0);
        bytes32 seedBefore = settlement.leaderSet(_epoch()).seed;

        _finishRestart();

        LeaderSet memory set = settlement.leaderSet(_epoch());
        assertEq(set.generation, 1);
        assertEq(set.sealedFor, _epoch());
        assertEq(set.seed, _seed(seedBefore, block.prevrandao));
        assertEq(set.members.length, 3);
        assertEq(set.total, 350);
        assertEq(_weightIn(set, _actors[0].signer), 150);
        assertEq(_weightIn(set, next.signer), 100);
        assertEq(_weightIn(set, _actors[3].signer), 100);
    }

    function test_finishRestart_goesOnFromTheSettledChain() public {
        _settle(_nextHeader(5));
        Tip memory before = settlement.tip();
        _openRestart();
        _checkIn(_actors[1]);
        _checkIn(_actors[2]);
        _advance(p.restartWindowSeconds);
        uint64 epoch = _epoch();
        bytes32 seed = _seed(settlement.leaderSet(epoch).seed, block.prevrandao);

        address pointer = vm.computeCreateAddress(address(settlement), vm.getNonce(address(settlement)));
        settlement.closeCheckIn();
        uint64 pinned = settlement.pinnedForRestart();
        vm.expectEmit(address(settlement));
        emit IRota.Sealed(1, epoch, pointer, seed, 200, 2, pinned);
        vm.expectEmit(address(settlement));
        emit IRestart.GenerationStarted(1, epoch, 5, before.lastBlockHash);
        _finishRestart();

        Tip memory tip = settlement.tip();
        assertEq(tip.number, before.number);
        assertEq(tip.lastHeight, 5);
        assertEq(tip.lastBlockHash, before.lastBlockHash);
        assertEq(tip.timestamp, before.timestamp);
        assertEq(tip.forcedThrough, before.forcedThrough);
        assertEq(tip.consumed, before.consumed);
        assertEq(tip.epoch, epoch);
        assertEq(tip.l1OriginNumber, block.number);
        assertEq(tip.settledAt, block.timestamp);
        assertEq(settlement.generation(), 1);

        _advance(1);
        _settle(_nextHeader(3));
        assertEq(settlement.tip().lastHeight, 8);
        assertEq(settlement.tip().number, before.number + 1);
        _tallyAll();
    }

    function test_finishRestart_bindsTheFirstBatch() public {
        _advance(5);
        BatchHeader memory old = _nextHeader(2);
        old.epoch = 1;
        _restart(_actors, 3);
        uint64 epoch = _epoch();
        uint64 finishedIn = uint64(block.number);
        BatchHeader memory header = _nextHeader(2);

        // In the block of the finish no origin is possible yet.
        _expectRefused(
            header,
            abi.encodeWithSelector(
                IBatchInbox.OriginOutOfRange.selector, finishedIn, finishedIn - 1, header.l1OriginNumber
            )
        );
        _advance(1);
        _expectRefused(old, abi.encodeWithSelector(IBatchInbox.GenerationMismatch.selector, 1, 0));
        _expectRefused(
            header,
            abi.encodeWithSelector(
                IBatchInbox.OriginOutOfRange.selector, finishedIn, block.number - 1, header.l1OriginNumber
            )
        );
        header.epoch = epoch - 1;
        _expectRefused(header, abi.encodeWithSelector(IBatchInbox.EpochOutOfRange.selector, epoch, _epoch(), epoch - 1));
        header = _nextHeader(2);
        header.parentBlockHash = keccak256("decided, never settled");
        _expectRefused(
            header,
            abi.encodeWithSelector(
                IBatchInbox.ParentBlockMismatch.selector, settlement.tip().lastBlockHash, header.parentBlockHash
            )
        );

        header = _nextHeader(2);
        assertEq(header.l1OriginNumber, finishedIn);
        _settle(header);
    }

    function test_finishRestart_voidsTheSetOfTheNextEpoch() public {
        _openRestart();
        _checkIn(_actors[0]);
        _checkIn(_actors[1]);
        _advance(p.restartWindowSeconds);
        uint64 epoch = _epoch();
        _sealSet(epoch + 1);
        assertEq(settlement.leaderSet(epoch + 1).total, 400);

        _finishRestart();
        assertEq(settlement.leaderSet(epoch + 1).sealedFor, epoch);
        _sealSet(epoch + 1);

        LeaderSet memory set = settlement.leaderSet(epoch + 1);
        assertEq(set.sealedFor, epoch + 1);
        assertEq(set.total, 200);
        vm.expectRevert(abi.encodeWithSelector(IRota.AlreadySealed.selector, epoch + 1));
        settlement.seal(epoch + 1, "");

        _startEpoch(epoch + 1);
        _settle(_nextHeader(1));
    }

    function test_finishRestart_leavesOutWhoIsAway() public {
        _openRestart();
        _checkIn(_actors[0]);
        _checkIn(_actors[1]);
        _advance(p.restartWindowSeconds);
        _finishRestart();
        Actor memory newcomer = _join(4, STAKE_WEI);
        _startEpoch(_epoch() + 1);
        _sealSet(_epoch() + 1);

        LeaderSet memory set = settlement.leaderSet(_epoch() + 1);
        assertEq(set.members.length, 3);
        assertEq(_weightIn(set, newcomer.signer), 100);
        assertEq(_weightIn(set, _actors[2].signer) + _weightIn(set, _actors[3].signer), 0);

        // Whoever serves a term is heard of again when it ends it.
        vm.prank(at.slasher);
        registry.jail(_actors[3].id, 0, 0);
        vm.prank(_actors[3].owner);
        registry.unjail(_actors[3].id);
        _startEpoch(_epoch() + 1);
        _sealSet(_epoch() + 1);
        assertEq(_weightIn(settlement.leaderSet(_epoch() + 1), _actors[3].signer), 100);

        // The next restart asks everybody anew.
        _restart(_actors, 2);
        _startEpoch(_epoch() + 1);
        _sealSet(_epoch() + 1);
        assertEq(settlement.leaderSet(_epoch() + 1).members.length, 2);
    }

    function test_inGeneration_revertsWhen_generationsRunOut() public {
        TipWord word = this.inGeneration(4095);
        assertEq(word.generation(), 4095);

        vm.expectRevert(abi.encodeWithSelector(TipLib.GenerationAboveMaximum.selector, 4095, 4096));
        this.inGeneration(4096);
    }

    /* HELPERS */

    /// For the test above: external, so that it can revert on its own.
    function inGeneration(uint32 generation) external pure returns (TipWord) {
        return TipWord.wrap(0).inGeneration(generation, 1, 2, 3);
    }

    function _expectRefused(BatchHeader memory header, bytes memory reason) private {
        Signature[] memory signatures = new Signature[](0);
        address poster = _actors[0].signer;
        vm.prank(poster, poster);
        vm.expectRevert(reason);
        settlement.settle(header, 0, signatures, PAYLOAD);
    }

    function _leave(Actor memory actor) private {
        uint256 shares = registry.sharesOf(actor.id, actor.owner);
        vm.prank(actor.owner);
        registry.requestExit(actor.id, shares);
    }

    function _weightIn(LeaderSet memory set, address signer) private pure returns (uint64) {
        for (uint256 i = 0; i < set.members.length; ++i) {
            if (set.members[i].signer == signer) return set.members[i].weight;
        }
        return 0;
    }
}
