// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ICalendar} from "../contracts/interfaces/ICalendar.sol";
import {IRestart} from "../contracts/interfaces/IRestart.sol";
import {IRota, LeaderSet} from "../contracts/interfaces/IRota.sol";
import {ISequencerRegistry} from "../contracts/interfaces/ISequencerRegistry.sol";
import {DrawLib} from "../contracts/lib/DrawLib.sol";
import {SetLib} from "../contracts/lib/SetLib.sol";
import {BatchHeader, Signature} from "../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../script/ConfigLib.sol";
import {Chain} from "./utils/Chain.sol";
import {Actor} from "./utils/System.sol";

/// Sets that end otherwise than by the next seal (R5, R8, R33)
/// ├── seal, given too few are eligible
/// │   ├── when exitDelay has not passed since the start of the epoch sealed last: it reverts
/// │   ├── when it has: it freezes who is left
/// │   └── given nobody is left
/// │       ├── the set is empty, and every view says so
/// │       ├── no batch settles
/// │       ├── the next seal is of the running epoch, and begins a generation
/// │       └── when too few have come: it reverts, until exitDelay has passed again
/// ├── endOf, countsFrom
/// │   ├── given restarts and seals in any order: they find what a walk over all sets finds
/// │   └── given nothing was ever sealed: a change counts from the epoch after it
/// └── claim
///     ├── given the last sequencer leaves: it is paid
///     ├── given no set was ever sealed: it is paid
///     ├── given a restart while the exit waits: the clock starts with the generation
///     └── given a restart in the epoch of the exit: the clock waits for the set after it
contract GenerationsTest is Chain {
    /// When a set of a walk came into force, the last epoch whose changes it counts, and whose it is.
    struct Step {
        uint64 time;
        uint64 counts;
        uint64 sealedFor;
        uint32 generation;
    }

    Step[] private _steps;

    /* TOO FEW */

    function test_seal_tooFewAreCarriedForExitDelay() public {
        Actor[] memory actors = _beginWithMinimum(2);
        _leave(actors[0]);
        _sealSet(1);
        _startEpoch(1);

        uint64 until = settlement.startOf(1) + p.exitDelaySeconds;
        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 2, 1));
        settlement.pin(2);
        _warpTo(until - 1);
        uint64 next = _epoch() + 1;
        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 2, 1));
        settlement.pin(next);

        _warpTo(until);
        _sealSet(next);
        assertEq(settlement.leaderSet(next).members.length, 1);
        assertEq(settlement.leaderSet(next).members[0].signer, actors[1].signer);
        assertEq(settlement.leaderSet(next - 1).members.length, 2);

        // The one who is left goes on in the same generation, and somebody else makes the minimum again.
        _startEpoch(next);
        _settle(_nextHeader(2));
        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 2, 1));
        settlement.pin(next + 1);
        _join(7, STAKE_WEI);
        _startEpoch(next + 1);
        _sealSet(next + 2);
        assertEq(settlement.generation(), 0);
        assertEq(settlement.leaderSet(next + 2).members.length, 2);
    }

    function test_seal_ofNobodyLeavesAnEmptySet() public {
        uint64 epoch = _vacate();

        LeaderSet memory set = settlement.leaderSet(epoch);
        assertEq(set.sealedFor, epoch);
        assertEq(set.generation, 0);
        assertEq(set.total, 0);
        assertEq(set.members.length, 0);
        assertEq(settlement.totalAt(0, epoch), 0);
        vm.expectRevert(abi.encodeWithSelector(SetLib.IndexOutsideSet.selector, 0, 0));
        settlement.memberAt(0, epoch, 0);
        vm.expectRevert(DrawLib.EmptySet.selector);
        settlement.leaderOf(epoch, 0);
        vm.expectRevert(DrawLib.EmptySet.selector);
        settlement.schedule(epoch, 0, 4);
    }

    function test_seal_ofNobodyLetsNothingSettle() public {
        _vacate();
        BatchHeader memory header = _nextHeader(1);
        Signature[] memory none = new Signature[](0);
        vm.startPrank(address(1), address(1));

        vm.expectRevert(DrawLib.EmptySet.selector);
        settlement.settle(header, 0, none, PAYLOAD);

        // Nor when anyone may post.
        header.timestamp = settlement.tip().timestamp;
        header.regularSince = header.timestamp;
        vm.expectRevert(DrawLib.EmptySet.selector);
        settlement.settle(header, 0, none, PAYLOAD);
    }

    function test_seal_afterNobodyBeginsAGeneration() public {
        uint64 epoch = _vacate();
        Actor memory newcomer = _join(5, STAKE_WEI);
        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 1, 0));
        settlement.pin(epoch);

        _startEpoch(epoch + 1);
        vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, epoch + 1, epoch + 2));
        settlement.seal(epoch + 2, "");
        bytes32 lastBlockHash = settlement.tip().lastBlockHash;
        _pin(epoch + 1);
        vm.expectEmit(address(settlement));
        emit IRestart.GenerationStarted(1, epoch + 1, 0, lastBlockHash);
        _sealSet(epoch + 1);

        assertEq(settlement.generation(), 1);
        assertEq(settlement.tip().epoch, epoch + 1);
        assertEq(settlement.tip().l1OriginNumber, block.number);
        LeaderSet memory set = settlement.leaderSet(epoch + 1);
        assertEq(set.members[0].signer, newcomer.signer);
        assertEq(set.seed, _seed(settlement.leaderSetOf(0, epoch).seed, block.prevrandao));

        // From here on as ever.
        _advance(1);
        _settle(_nextHeader(3));
        _sealSet(epoch + 2);
        vm.expectRevert(abi.encodeWithSelector(IRota.AlreadySealed.selector, epoch + 2));
        settlement.seal(epoch + 2, "");
    }

    function test_seal_afterNobodyNeedsTheMinimumOrExitDelay() public {
        Actor[] memory actors = _beginWithMinimum(2);
        _leave(actors[0]);
        _leave(actors[1]);
        _flushThrough(2);
        uint64 epoch = _vacateFrom(0);
        _join(5, STAKE_WEI);
        _startEpoch(epoch + 1);

        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 2, 1));
        settlement.pin(epoch + 1);

        _warpTo(settlement.startOf(epoch) + p.exitDelaySeconds);
        _sealSet(_epoch());
        assertEq(settlement.generation(), 1);
        assertEq(settlement.leaderSet(_epoch()).members.length, 1);
    }

    /* LOOKING UP */

    /// Twelve epochs, in each of them perhaps a restart before or after the seal, perhaps neither.
    /// forge-config: default.fuzz.runs = 64
    function testFuzz_endOfAndCountsFrom_acrossGenerations(uint256 dice) public {
        _deployWithQuickRestarts();
        Actor[] memory actors = _joinMany(1);
        _sealFirst();
        _steps.push(Step({time: uint64(block.timestamp), counts: type(uint64).max, sealedFor: 0, generation: 0}));

        for (uint64 epoch = 0; epoch < 12; ++epoch) {
            if (dice % 3 == 0) _restartOf(actors);
            if ((dice >> 2) % 2 == 0) _sealNext();
            if ((dice >> 3) % 3 == 0) _restartOf(actors);
            // The check-in is closed in this epoch, and the restart finishes in the next one.
            if ((dice >> 5) % 3 == 0) _restartAcross(actors, epoch + 1);
            dice >>= 7;
            if (_epoch() <= epoch) _startEpoch(epoch + 1);
        }

        for (uint64 epoch = 0; epoch < 12; ++epoch) {
            (bool known, uint64 time) = settlement.countsFrom(epoch);
            (bool walkKnown, uint64 walkTime) = _walkToCount(epoch);
            assertEq(known, walkKnown, "countsFrom");
            assertEq(time, walkTime, "countsFrom");

            for (uint32 generation = 0; generation <= settlement.generation(); ++generation) {
                uint64 begun = _beginningOf(generation);
                if (begun > epoch) {
                    vm.expectRevert(abi.encodeWithSelector(ICalendar.NoSetInForce.selector, generation, epoch));
                    settlement.endOf(generation, epoch);
                    continue;
                }
                (known, time) = settlement.endOf(generation, epoch);
                (walkKnown, walkTime) = _walkToEnd(generation, epoch);
                assertEq(known, walkKnown, "endOf");
                assertEq(time, walkTime, "endOf");
            }
        }
    }

    function test_countsFrom_beforeAnySeal() public {
        _deploy();
        _startEpoch(3);
        (bool known,) = settlement.countsFrom(3);
        assertFalse(known, "a seal of epoch 3 would read the start of it");

        _startEpoch(4);
        (bool knownNow, uint64 time) = settlement.countsFrom(3);
        assertTrue(knownNow);
        assertEq(time, settlement.startOf(4));

        // What the first seal then freezes changes nothing about that.
        _startEpoch(5);
        _join(0, STAKE_WEI);
        _startEpoch(6);
        _sealSet(6);
        (knownNow, time) = settlement.countsFrom(3);
        assertTrue(knownNow);
        assertEq(time, settlement.startOf(4));
        (known,) = settlement.countsFrom(6);
        assertFalse(known);
    }

    /* EXITS */

    function test_claim_ofTheLastSequencer() public {
        _deploy();
        Actor memory alice = _joinMany(1)[0];
        _sealFirst();
        uint256 exitId = _leave(alice);
        uint64 epoch = _vacateFrom(0);
        (bool known, uint64 time) = registry.claimableAt(exitId);

        assertTrue(known);
        assertEq(time, settlement.startOf(epoch) + p.exitDelaySeconds);
        _warpTo(time);
        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), STAKE_WEI);
    }

    function test_claim_givenNoSetWasEverSealed() public {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.minMembers = 3;
        _deploy(config);
        Actor memory alice = _joinMany(2)[0];
        _startEpoch(5);
        uint256 exitId = _leave(alice);
        vm.prank(alice.owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitClockNotStarted.selector, 7));
        registry.claim(exitId);

        _warpTo(settlement.startOf(6) + p.exitDelaySeconds);
        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), STAKE_WEI);
    }

    function test_claim_givenARestartWhileTheExitWaits() public {
        _begin(3);
        Actor memory alice = _actor(0);
        uint256 exitId = _leave(alice);
        Actor[] memory rest = new Actor[](2);
        (rest[0], rest[1]) = (_actor(1), _actor(2));
        // Sealed for the epoch after the finish, and void with it: the set that counts her ended at the finish.
        _openRestart();
        _checkIn(rest[0]);
        _checkIn(rest[1]);
        _advance(p.restartWindowSeconds);
        _sealSet(_epoch() + 1);
        (, uint64 before) = registry.claimableAt(exitId);
        _finishRestart();

        (bool known, uint64 time) = registry.claimableAt(exitId);
        assertTrue(known);
        assertEq(time, block.timestamp + p.exitDelaySeconds);
        assertLt(time, before);
    }

    function test_claim_givenARestartInTheEpochOfTheExit() public {
        _begin(3);
        Actor[] memory actors = new Actor[](2);
        (actors[0], actors[1]) = (_actor(0), _actor(1));
        _restart(actors, 2);
        uint64 epoch = _epoch();
        // Right after the finish, which still counts her.
        uint256 exitId = _leave(actors[0]);

        (bool known,) = registry.claimableAt(exitId);
        assertFalse(known);
        _sealSet(epoch + 1);
        (known,) = registry.claimableAt(exitId);
        assertFalse(known, "the seal reads the start of this epoch");
        assertEq(settlement.leaderSet(epoch + 1).members.length, 2);

        _startEpoch(epoch + 1);
        _sealSet(epoch + 2);
        uint64 time;
        (known, time) = registry.claimableAt(exitId);
        assertTrue(known);
        assertEq(time, settlement.startOf(epoch + 2) + p.exitDelaySeconds);
    }

    /// Whoever is frozen by the close of a check-in is in the set that the finish begins, epochs later: the clock waits for the end
    /// of that one.
    function test_claim_givenAnExitBetweenTheCloseOfACheckInAndTheFinish() public {
        _deployWithQuickRestarts();
        Actor[] memory actors = _joinMany(2);
        _sealFirst();
        _startEpoch(3);
        _warpTo(settlement.startOf(4) - 2 - p.restartWindowSeconds);
        settlement.openRestart();
        _checkIn(actors[0]);
        _checkIn(actors[1]);
        _advance(p.restartWindowSeconds);
        settlement.closeCheckIn();
        uint256 exitId = _leave(actors[0]);

        _startEpoch(4);
        _finishRestart();
        assertEq(settlement.leaderSet(4).members.length, 2, "she leads");
        (bool known,) = registry.claimableAt(exitId);
        assertFalse(known, "she is in the set in force");
        vm.warp(block.timestamp + p.exitDelaySeconds);
        vm.prank(actors[0].owner);
        vm.expectRevert();
        registry.claim(exitId);

        uint64 next = _epoch() + 1;
        _sealSet(next);
        assertEq(settlement.leaderSet(next).members.length, 1);
        uint64 time;
        (known, time) = registry.claimableAt(exitId);
        assertTrue(known);
        assertEq(time, settlement.startOf(next) + p.exitDelaySeconds);
    }

    /* CONDITIONS */

    function _beginWithMinimum(uint64 minMembers) private returns (Actor[] memory actors) {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.minMembers = minMembers;
        // It ends within an epoch, so that a pin is possible right before it.
        config.params.exitDelaySeconds += 10;
        config.params.commissionDelaySeconds += 10;
        _deploy(config);
        actors = _joinMany(minMembers);
        _sealFirst();
    }

    /// @dev One sequencer, which leaves. Returns the epoch that runs now, under an empty set.
    function _vacate() private returns (uint64 epoch) {
        _deploy();
        _leave(_joinMany(1)[0]);
        _startEpoch(0);
        // It left before genesis, but was there when epoch 0 began: nobody can begin a chain that way.
        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 1, 0));
        settlement.pin(0);

        _deploy();
        Actor memory alice = _joinMany(1)[0];
        _sealFirst();
        _leave(alice);
        return _vacateFrom(0);
    }

    /// @dev Everybody has left; `sealedFor` is the epoch sealed last.
    function _vacateFrom(uint64 sealedFor) private returns (uint64 epoch) {
        _warpTo(settlement.startOf(sealedFor) + p.exitDelaySeconds);
        epoch = _epoch() + 1;
        _sealSet(epoch);
        _startEpoch(epoch);
    }

    function _leave(Actor memory actor) private returns (uint256 exitId) {
        uint256 shares = registry.sharesOf(actor.id, actor.owner);
        vm.prank(actor.owner);
        return registry.requestExit(actor.id, shares);
    }

    /* WALKING */

    function _restartOf(Actor[] memory actors) private {
        _restart(actors, 1);
        _steps.push(
            Step({
                time: uint64(block.timestamp),
                // What changed in its own epoch may have come after it.
                counts: _epochBefore(),
                sealedFor: _epoch(),
                generation: settlement.generation()
            })
        );
    }

    function _restartAcross(Actor[] memory actors, uint64 next) private {
        uint64 open = settlement.startOf(next) - 2 - p.restartWindowSeconds;
        if (open < settlement.tip().settledAt + p.restartDelaySeconds || block.timestamp > open) return;

        _warpTo(open);
        settlement.openRestart();
        _checkIn(actors[0]);
        _advance(p.restartWindowSeconds);
        settlement.closeCheckIn();
        uint64 before = _epochBefore();
        _startEpoch(next);
        _finishRestart();
        _steps.push(
            Step({time: uint64(block.timestamp), counts: before, sealedFor: next, generation: settlement.generation()})
        );
    }

    function _sealNext() private {
        uint64 next = _epoch() + 1;
        _sealSet(next);
        _steps.push(
            Step({
                time: settlement.startOf(next),
                counts: _epochBefore(),
                sealedFor: next,
                generation: settlement.generation()
            })
        );
    }

    /// @dev The last epoch that is over; the largest number if none is.
    function _epochBefore() private view returns (uint64) {
        return _epoch() == 0 ? type(uint64).max : _epoch() - 1;
    }

    /// @dev When the first set that counts what changed in `epoch` came into force; what a restart voided did not.
    function _walkToCount(uint64 epoch) private view returns (bool known, uint64 time) {
        for (uint256 i = 0; i < _steps.length; ++i) {
            Step storage step = _steps[i];
            if (step.counts == type(uint64).max || step.counts < epoch) continue;
            if (!known || step.time < time) (known, time) = (true, step.time);
        }
    }

    /// @dev Epoch of the first set of `generation`.
    function _beginningOf(uint32 generation) private view returns (uint64) {
        uint256 i;
        while (_steps[i].generation != generation) ++i;
        return _steps[i].sealedFor;
    }

    /// @dev When a set came into force that follows the one of `epoch`.
    function _walkToEnd(uint32 generation, uint64 epoch) private view returns (bool known, uint64 time) {
        for (uint256 i = 0; i < _steps.length; ++i) {
            Step storage step = _steps[i];
            bool follows = step.generation == generation ? step.sealedFor > epoch : step.generation == generation + 1;
            if (follows && (!known || step.time < time)) (known, time) = (true, step.time);
        }
    }
}
