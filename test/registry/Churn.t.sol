// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ChurnState, Exit, ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Actor} from "../utils/System.sol";
import {Staking} from "../utils/Staking.sol";

/// SequencerRegistry, churn
/// ├── the limit
/// │   ├── before genesis: there is none
/// │   ├── it is an eighth of the set in force, or its smallest member, and stands for the epoch
/// │   └── after genesis without a set: it is that of the set that could be sealed; none while that is too small
/// ├── entering
/// │   ├── within the limit: it counts at once
/// │   ├── beyond: it counts in slices, first in first out, whoever flushes, and no more than it queued with
/// │   ├── in a new epoch, before a flush: it overtakes nobody who waits
/// │   ├── when jailed while it waits: its place is passed over, and it queues anew when it comes back
/// │   ├── when jailed and topped up: it does not queue
/// │   └── when it leaves while it waits: its exit does not wait, its place is passed over
/// ├── leaving
/// │   ├── beyond the limit: it counts until its slice has left, and its clock starts with the last
/// │   ├── it is not claimed before it has left the queue
/// │   ├── what takes no weight away does not wait
/// │   └── when the owner leaves: all of the pool leaves in slices
/// ├── seats
/// │   └── who takes one leaves alone whoever entered in the same epoch
/// ├── eviction
/// │   ├── when full and 1.1 times the smallest: the smallest gives up its seat, wherever it sits, of equals who joined later
/// │   ├── when too small: it reverts
/// │   ├── when the smallest is more than the limit left: it sinks in slices first, until the newcomer is jailed meanwhile
/// │   ├── when its turn comes and it is too small by then: it works without a seat
/// │   ├── the evicted comes back once a seat is free, or with more stake
/// │   └── holders of the evicted leave by the exit clock
/// └── flush
///     ├── it takes at most so many steps
///     └── when nothing can move: it reverts
contract ChurnTest is Staking {
    uint64 private constant UNLIMITED = type(uint64).max;

    /* THE LIMIT */

    function test_limit_isNoneBeforeGenesis() public {
        _deploy();
        Actor memory alice = _join(0, STAKE_WEI);
        _topUp(alice, 1e9 ether);

        assertEq(registry.churn().limit, UNLIMITED);
        assertEq(_weightAtStart(alice.signer), 1e9 + 100);
    }

    function test_limit_isAnEighthOrTheSmallest() public {
        _begin(4, 100 ether);
        assertEq(registry.churn().limit, 100);

        _begin(10, 100 ether);
        assertEq(registry.churn().limit, 125);
    }

    function test_limit_standsForTheEpoch() public {
        Actor[] memory actors = _begin(10, 100 ether);
        _topUp(actors[0], 50 ether);
        _sealSet(1);
        _topUp(actors[2], 50 ether);
        ChurnState memory state = registry.churn();
        assertEq(state.limit, 125);
        assertEq(state.entered, 100);
        assertEq(state.left, 0);
    }

    function test_limit_beforeTheFirstSetIsThatOfTheNext() public {
        _deploy();
        _join(0, 100 ether);
        _join(1, 300 ether);
        _startEpoch(0);
        // What joined in the last moment before genesis is part of the state at its start.
        assertEq(registry.churn().limit, 100);

        Actor memory mallory = _join(2, 1000 ether);
        _startEpoch(1);
        _sealSet(1);
        assertEq(_weightAtStart(mallory.signer), 100);
        assertEq(settlement.leaderSet(1).total, 500);
    }

    function test_limit_isNoneWhileTooFewAreThereToSeal() public {
        Config memory config = ConfigLib.read("devnet");
        config.params.minMembers = 3;
        _deploy(config);
        _joinMany(2);
        _startEpoch(0);

        _join(2, 1000 ether);
        _startEpoch(1);
        _sealSet(1);
        assertEq(settlement.leaderSet(1).total, 1200);
    }

    /* ENTERING */

    function test_enter_withinTheLimitCountsAtOnce() public {
        Actor[] memory actors = _begin(4, 100 ether);
        _topUp(actors[0], 60 ether);
        _delegate(makeAddr("dora"), actors[1].id, 40 ether);

        assertEq(registry.churn().entered, 100);
        assertEq(registry.churn().entrances, 0);
        _startEpoch(1);
        assertEq(_weightAtStart(actors[0].signer), 160);
        assertEq(_weightAtStart(actors[1].signer), 140);
    }

    function test_enter_beyondTheLimitInSlicesFirstInFirstOut() public {
        Actor[] memory actors = _begin(4, 100 ether);
        Actor memory late = _expectJoin(4, 250 ether);
        emit ISequencerRegistry.EntranceQueued(5, 0, late.owner, 150_000 ether);
        late = _joinExpected(late, 250 ether);
        _topUp(actors[0], 80 ether);

        assertEq(registry.sequencer(late.id).waitingShares, 150_000 ether);
        assertEq(registry.churn().entrances, 2);
        assertFalse(_flush());

        // The set in force has not changed yet: again 100 may enter, all of them the first one's.
        _startEpoch(1);
        vm.prank(makeAddr("anybody"));
        assertEq(registry.flush(10), 1);
        assertEq(registry.churn().entered, 100);
        _startEpoch(2);
        assertEq(_weightAtStart(late.signer), 200);
        assertEq(registry.flush(10), 2);
        _startEpoch(3);
        assertEq(_weightAtStart(late.signer), 250);
        assertEq(_weightAtStart(actors[0].signer), 150);
        assertEq(registry.flush(10), 1);
        _startEpoch(4);
        assertEq(_weightAtStart(actors[0].signer), 180);
        assertEq(registry.churn().entrances, 0);
    }

    function test_enter_inSlicesWithNoMoreThanItQueuedWith() public {
        Actor[] memory actors = _begin(4, 100 ether);
        Actor memory late = _join(4, 250 ether);
        _topUp(actors[0], 80 ether);
        _topUp(late, 80 ether);

        _startEpoch(1);
        registry.flush(10);
        _startEpoch(2);
        // The first 50 of this limit end what the newcomer queued with at first; the others go before its top-up.
        registry.flush(10);
        _startEpoch(3);
        assertEq(_weightAtStart(late.signer), 250);
        assertEq(_weightAtStart(actors[0].signer), 150);
    }

    function test_enter_inANewEpochOvertakesNobodyWhoWaits() public {
        Actor[] memory actors = _begin(4, 100 ether);
        Actor memory late = _join(4, 250 ether);
        _startEpoch(1);

        // There is room again, for whoever came first: nobody has flushed yet.
        _topUp(actors[0], 80 ether);
        assertEq(registry.churn().entered, 0);
        assertEq(registry.churn().entrances, 2);
        registry.flush(10);
        _startEpoch(2);
        assertEq(_weightAtStart(late.signer), 200);
        assertEq(_weightAtStart(actors[0].signer), 100);
    }

    function test_enter_whoIsJailedMeanwhileIsPassedOver() public {
        _begin(4, 100 ether);
        Actor memory late = _join(4, 250 ether);
        _jailAbsent(late.id, 0);
        _startEpoch(1);

        assertEq(registry.flush(10), 1);
        assertEq(registry.churn().entered, 0);

        _unjail(late);
        assertEq(registry.churn().entered, 100);
        _startEpoch(2);
        assertEq(_weightAtStart(late.signer), 100);
        // It joined what works of its pool, which comes back as a whole.
        assertEq(registry.sequencer(late.id).waitingShares, 0);
        assertEq(registry.sharesOf(late.id, late.owner), 250_000 ether);
    }

    function test_enter_whoIsJailedJoinsWhatDoesNotCountWithATopUp() public {
        Actor[] memory actors = _begin(4, 100 ether);
        _topUp(actors[0], 150 ether);
        assertEq(registry.churn().entrances, 1);
        _jailAbsent(actors[1].id, 0);

        _topUp(actors[1], 50 ether);
        assertEq(registry.churn().entrances, 2);
        assertEq(registry.sequencer(actors[1].id).waitingShares, 50_000 ether);
        _startEpoch(1);
        registry.flush(10);
        assertEq(registry.churn().entered, 50);
        assertEq(registry.sharesOf(actors[1].id, actors[1].owner), 150_000 ether);
        assertEq(registry.sequencer(actors[1].id).weight, 0);
    }

    function test_enter_whoLeavesMeanwhileIsPassedOver() public {
        Actor[] memory actors = _begin(4, 100 ether);
        _topUp(actors[0], 100 ether);
        _topUp(actors[1], 70 ether);
        uint256 exitId = _leaveQueue(actors[1].owner, actors[1].id);

        Exit memory exit_ = registry.exit(exitId);
        assertEq(exit_.queuedShares, 0);
        assertEq(registry.churn().left, 0);
        _startEpoch(1);
        assertEq(registry.flush(10), 1);
        assertEq(registry.churn().entered, 0);
    }

    /* LEAVING */

    function test_leave_beyondTheLimitInSlices() public {
        Actor[] memory actors = _begin(4, 400 ether);
        _startEpoch(1);
        uint256 first = _exit(actors[0], 300_000 ether);
        uint256 second = _exit(actors[1], 250_000 ether);
        assertEq(registry.exit(first).queuedShares, 0);
        assertEq(registry.exit(first).epoch, 1);
        assertEq(registry.exit(second).queuedShares, 150_000 ether);
        _startEpoch(2);
        // Who queues behind others leaves the limit as it is.
        uint256 limit = registry.churn().limit;
        _exit(actors[2], 100_000 ether);
        assertEq(registry.churn().limit, limit);
        assertEq(_weightAtStart(actors[0].signer), 100);
        assertEq(_weightAtStart(actors[1].signer), 300);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.ExitLeft(second, 2);
        registry.flush(10);
        assertEq(registry.exit(second).epoch, 2);
        assertEq(registry.churn().left, 250);
    }

    /// What stays of a slice is rounded up, so that no more weight leaves than may.
    function test_leave_inSlicesOfAPoolWhosePriceIsOdd() public {
        Actor[] memory actors = _begin(4, 400 ether);
        _slash(actors[0].id, 33_333_333_333_333_333_333, false);
        _startEpoch(1);
        _exit(actors[1], 250_000 ether);
        uint256 room = registry.churn().limit - 250;

        uint256 waiting = _exit(actors[0], 260_000 ether);
        assertGt(registry.exit(waiting).queuedShares, 0);
        assertEq(registry.churn().left, registry.churn().limit);
        _startEpoch(2);
        assertEq(_weightAtStart(actors[0].signer), 366 - room);
    }

    /// A part of a weight unit takes none away, so it leaves also when the limit is used up and others wait.
    function test_leave_ofLessThanAUnitWhileOthersWait() public {
        Actor[] memory actors = _begin(4, 400.5 ether);
        _startEpoch(1);
        _exit(actors[0], 300_000 ether);
        uint256 waiting = _exit(actors[1], 250_000 ether);
        assertGt(registry.exit(waiting).queuedShares, 0);

        uint256 small = _exit(actors[2], 300 ether);
        assertEq(registry.exit(small).queuedShares, 0);
        assertEq(registry.exit(small).epoch, 1);
        _startEpoch(2);
        assertEq(_weightAtStart(actors[2].signer), 400);
    }

    function test_claimableAt_isUnknownWhileQueuedWhateverIsSealed() public {
        Actor[] memory actors = _begin(4, 1000 ether);
        _exit(actors[0], 800_000 ether);
        uint256 exitId = _exit(actors[1], 900_000 ether);
        for (uint256 i = 0; i < 4; ++i) {
            _sealSet(_epoch() + 1);
            _startEpoch(_epoch() + 1);
        }

        (bool known,) = registry.claimableAt(exitId);
        assertFalse(known);
    }

    function test_leave_countsUntilItsSliceHasLeft() public {
        Actor[] memory actors = _begin(4, 1000 ether);
        _exit(actors[0], 800_000 ether);
        uint256 exitId = _exit(actors[1], 900_000 ether);
        assertEq(registry.exit(exitId).queuedShares, 700_000 ether);
        (bool known,) = registry.claimableAt(exitId);
        assertFalse(known);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitQueued.selector, exitId, 700_000 ether));
        _claim(actors[1].owner, exitId);

        _exit(actors[3], 600_000 ether);
        _startEpoch(1);
        assertEq(_weightAtStart(actors[1].signer), 800);
        assertEq(_weightAtStart(actors[3].signer), 1000);
        registry.flush(10);
        assertEq(registry.churn().left, 1000);
        assertEq(registry.exit(exitId).epoch, 1);
        assertEq(registry.exit(3).queuedShares, 300_000 ether);
        _startEpoch(2);
        assertEq(_weightAtStart(actors[1].signer), 100);
        assertEq(_weightAtStart(actors[3].signer), 700);
    }

    function test_leave_ofNoWeightDoesNotWait() public {
        Actor[] memory actors = _begin(4, 100 ether);
        _exitAll(actors[0]);
        _exitAll(actors[1]);
        _slash(actors[2].id, 1 ether, true);

        uint256 exitId = _exitAll(actors[2]);

        assertEq(registry.churn().exits, 2);
        assertEq(registry.exit(exitId).queuedShares, 0);
    }

    function test_leave_ofAnOwnerTakesThePoolInSlices() public {
        Actor[] memory actors = _begin(4, 100 ether);
        address dora = makeAddr("dora");
        _delegate(dora, actors[0].id, 100 ether);
        _startEpoch(1);
        uint256 exitId = _exitAll(actors[0]);

        // 200 are to go, 100 may.
        assertEq(registry.exit(exitId).queuedShares, 100_000 ether);
        uint256 ofDora = _exit(dora, actors[0].id, 100_000 ether);
        _startEpoch(2);
        assertEq(_weightAtStart(actors[0].signer), 100);
        registry.flush(10);
        assertEq(registry.exit(exitId).epoch, 2);
        assertEq(registry.exit(exitId).queuedShares, 0);
        assertLe(registry.exit(ofDora).epoch, 2);
        _startEpoch(3);
        assertEq(_weightAtStart(actors[0].signer), 0);
        assertEq(registry.sequencer(actors[0].id).restingShares, 200_000 ether);
    }

    /* SEATS */

    function test_seat_ofWhoEnteredInTheSameEpochIsLeftAlone() public {
        Actor[] memory actors = _beginFull(3, 400 ether);
        _jailAbsent(actors[0].id, 0);
        Actor memory first = _join(3, 100 ether);
        _jailAbsent(actors[1].id, 0);
        Actor memory second = _join(4, 100 ether);

        _startEpoch(1);
        assertEq(_weightAtStart(first.signer), 100);
        assertEq(_weightAtStart(second.signer), 100);
        assertEq(registry.membersAtEpochStart(0).length, 3);
    }

    /* EVICTION */

    function test_evict_theSmallestWhoJoinedLast() public {
        Actor[] memory actors = _beginFull(3, 100 ether);
        Actor memory late = _expectJoin(3, 110 ether);
        emit ISequencerRegistry.Evicted(3, 4);
        late = _joinExpected(late, 110 ether);

        assertEq(uint8(registry.sequencer(actors[2].id).status), uint8(Status.Active));
        assertEq(registry.sequencer(actors[2].id).weight, 0);
        assertEq(registry.churn().entered, 100);
        assertEq(registry.churn().entrances, 1);
        _startEpoch(1);
        assertEq(registry.membersAtEpochStart(0).length, 2);
        registry.flush(10);
        _startEpoch(2);
        assertEq(registry.membersAtEpochStart(0).length, 3);
        assertEq(_weightAtStart(late.signer), 100);
    }

    function test_evict_theSmallestWhereverItSits() public {
        for (uint256 smallest = 0; smallest < 3; ++smallest) {
            Actor[] memory actors = _beginFull(3, 120 ether, smallest, 100 ether);
            Actor memory late = _expectJoin(3, 110 ether);
            emit ISequencerRegistry.Evicted(actors[smallest].id, 4);
            _joinExpected(late, 110 ether);
        }
    }

    function test_evict_revertsWhen_tooSmall() public {
        _beginFull(3, 100 ether);
        Actor memory late = _actor(3);
        _give(late.owner, 110 ether);
        bytes memory proof = _proof(late.owner, late.key);

        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.ActiveSetFull.selector, 110 ether, uint256(110 ether) - 1)
        );
        vm.prank(late.owner);
        registry.join(late.signer, ENDPOINT, 110 ether - 1, proof);
    }

    function test_evict_inSlicesWhenTheLimitIsUsedUp() public {
        Actor[] memory actors = _beginFull(3, 100 ether);
        _topUp(actors[0], 70 ether);
        Actor memory late = _join(3, 200 ether);

        // 30 of the 100 could go in this epoch, the rest in the next, and 30 of the newcomer's come in.
        _startEpoch(1);
        assertEq(_weightAtStart(actors[2].signer), 70);
        registry.flush(10);
        _startEpoch(2);
        assertEq(_weightAtStart(actors[2].signer), 0);
        assertEq(_weightAtStart(late.signer), 30);
    }

    function test_evict_endsWhenTheNewcomerIsJailedMeanwhile() public {
        Actor[] memory actors = _beginFull(3, 100 ether);
        _topUp(actors[0], 70 ether);
        Actor memory late = _join(3, 200 ether);
        _jailAbsent(late.id, 0);

        assertEq(registry.flush(10), 1);
        assertEq(registry.churn().entrances, 0);
        _startEpoch(1);
        // The evicted keeps its seat, and asks for the rest again.
        assertEq(_weightAtStart(actors[2].signer), 70);
        _unjail(actors[2]);
        _startEpoch(2);
        assertEq(_weightAtStart(actors[2].signer), 100);
    }

    function test_evict_whoIsTooSmallWhenItsTurnComes() public {
        Actor[] memory actors = _beginFull(3, 100 ether);
        _topUp(actors[0], 100 ether);
        _topUp(actors[1], 100 ether);
        Actor memory late = _join(3, 110 ether);
        _topUp(actors[2], 100 ether);
        _startEpoch(1);
        registry.flush(10);
        assertEq(registry.sequencer(actors[2].id).waitingShares, 100_000 ether);

        // Her deposit is in the pool, so she is no longer the smallest by enough, although it does not count yet.
        _startEpoch(2);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Evicted(late.id, late.id);
        registry.flush(10);

        assertEq(uint8(registry.sequencer(late.id).status), uint8(Status.Active));
        assertEq(registry.sequencer(late.id).weight, 0);
        assertEq(registry.sharesOf(late.id, late.owner), 110_000 ether);
        uint256 exitId = _exitAll(late);
        assertEq(registry.exit(exitId).epoch, 2);
    }

    function test_evict_holdersLeaveByTheExitClock() public {
        Actor[] memory actors = _beginFull(3, 100 ether);
        _join(3, 110 ether);
        uint256 exitId = _exitAll(actors[2]);

        assertEq(registry.exit(exitId).epoch, 0);
        _sealThrough(4);
        _advance(p.exitDelaySeconds);
        assertEq(_claim(actors[2].owner, exitId), 100 ether);
    }

    /* FLUSH */

    function test_flush_takesAtMostSoManySteps() public {
        Actor[] memory actors = _begin(10, 100 ether);
        _topUp(actors[0], 125 ether);
        for (uint256 i = 1; i < 10; ++i) {
            _topUp(actors[i], 10 ether);
        }
        _startEpoch(1);

        assertEq(registry.flush(4), 4);
        assertEq(registry.churn().entered, 40);
        assertEq(registry.churn().entrances, 5);
    }

    function test_flush_revertsWhen_nothingMoves() public {
        _begin(4, 100 ether);

        vm.expectRevert(ISequencerRegistry.NothingMoves.selector);
        registry.flush(10);
    }

    /* FUZZ */

    /// Whatever comes in and goes out, an epoch moves no more than its limit.
    /// forge-config: default.fuzz.runs = 32
    function testFuzz_noEpochMovesMoreThanItsLimit(uint256 seed) public {
        Actor[] memory actors = _begin(6, 100 ether);
        uint256 before = _total();
        uint64 limit = registry.churn().limit;
        for (uint64 epoch = 0; epoch < 6; ++epoch) {
            for (uint256 i = 0; i < 6; ++i) {
                uint256 amount = uint256(keccak256(abi.encode(seed, epoch, i))) % 300 ether;
                if (amount > 150 ether) _topUp(actors[i], amount);
                uint256 holding = registry.sharesOf(actors[i].id, actors[i].owner);
                if (amount < 50 ether && holding > 250_000 ether) _exit(actors[i], 100_000 ether + amount);
            }
            _flush();
            _sealSet(epoch + 1);
            _startEpoch(epoch + 1);
            uint256 now_ = _total();
            assertLe(now_, before + limit);
            assertGe(now_ + limit, before);
            before = now_;
            limit = registry.churn().limit;
        }
    }

    /* HELPERS */

    /// @dev Readies somebody to join; the event emitted next is expected of it.
    function _expectJoin(uint256 i, uint256 stakeWei) private returns (Actor memory actor) {
        actor = _actor(i);
        _give(actor.owner, stakeWei);
        vm.expectEmit(address(registry));
    }

    function _joinExpected(Actor memory actor, uint256 stakeWei) private returns (Actor memory) {
        bytes memory proof = _proof(actor.owner, actor.key);
        vm.prank(actor.owner);
        actor.id = registry.join(actor.signer, ENDPOINT, stakeWei, proof);
        return actor;
    }

    function _begin(uint256 n, uint256 stakeWei) private returns (Actor[] memory) {
        return _begin(n, stakeWei, 128);
    }

    /// @dev `n` equal members that fill the set.
    function _beginFull(uint256 n, uint256 stakeWei) private returns (Actor[] memory) {
        return _begin(n, stakeWei, n);
    }

    /// @dev The same with one of another stake.
    function _beginFull(uint256 n, uint256 stakeWei, uint256 other, uint256 otherWei) private returns (Actor[] memory) {
        return _begin(n, stakeWei, n, other, otherWei);
    }

    function _begin(uint256 n, uint256 stakeWei, uint256 maxMembers) private returns (Actor[] memory) {
        return _begin(n, stakeWei, maxMembers, 0, stakeWei);
    }

    function _begin(uint256 n, uint256 stakeWei, uint256 maxMembers, uint256 other, uint256 otherWei)
        private
        returns (Actor[] memory actors)
    {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.maxMembers = uint64(maxMembers);
        _deploy(config);
        actors = new Actor[](n);
        for (uint256 i = 0; i < n; ++i) {
            actors[i] = _join(i, i == other ? otherWei : stakeWei);
        }
        _sealFirst();
    }

    function _total() private view returns (uint256 sum) {
        uint256[] memory words = registry.membersAtEpochStart(0);
        for (uint256 i = 0; i < words.length; ++i) {
            sum += (words[i] >> 40) & type(uint56).max;
        }
    }
}
