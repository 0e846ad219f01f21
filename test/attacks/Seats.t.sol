// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISequencerRegistry, Sequencer, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {SetLib} from "../../contracts/lib/SetLib.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Staking} from "../utils/Staking.sol";
import {Actor} from "../utils/System.sol";

/// Attacks on seats: more who weigh something than there are, seats of the dead, raids. A set of four seats, so that
/// "one too many" is a fifth.
contract SeatsAttacksTest is Staking {
    uint64 private constant SEATS = 4;

    Actor[] private _actors;

    function setUp() public {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.maxMembers = SEATS;
        _deploy(config);
        for (uint256 i = 0; i < SEATS; ++i) {
            _actors.push(_join(i, STAKE_WEI));
        }
        _sealFirst();
    }

    /* 110: WEIGHT WITHOUT A SEAT */

    /// 110: a pool of which less than a unit is left to count holds a seat that counts as free; a rise of its price and a new
    /// key then make it the one too many, and no set can be sealed any more.
    function test_attack110_aPriceRiseAndANewKeyGiveNoWeightWithoutASeat() public {
        Actor memory last = _withHighestSigner();
        _sealThrough(1);
        // Of the evicted and of who evicted it both may count for a while: the seats are five from now on.
        _join(8, 110 ether);
        _sealThrough(4);

        _credit(last.id, uint256(1 ether) / 3);
        Actor memory other = _actors[0].id == last.id ? _actors[1] : _actors[0];
        _delegate(makeAddr("whale"), other.id, 1000 ether);
        address dora = makeAddr("dora");
        _delegate(dora, last.id, 1 ether);

        _jailAbsent(last.id, 0);
        _join(9, 150 ether);
        _unjail(last);
        for (uint256 i = 0; i < 16; ++i) {
            _seal();
            _startEpoch(_epoch() + 1);
            _moveOne();
        }
        _credit(last.id, 1 ether);
        _rotate(last, 20);

        for (uint256 i = 0; i < 8; ++i) {
            _expectSeats();
            _sealSet(_epoch() + 1);
            _startEpoch(_epoch() + 1);
            _flush();
        }
    }

    /// 110: nor does a rise of the price alone, however large, nor a deposit that waits, lift anybody without a seat.
    function test_attack110_whoHasNoSeatStaysAtNothing() public {
        Actor memory late = _join(8, 110 ether);
        _sealThrough(3);
        uint32 evicted = _whoWeighsNothing();
        assertFalse(_credits(evicted, 1000 ether));
        _rotate(_actorOf(evicted), 21);
        assertEq(registry.sequencer(evicted).weight, 0);
        assertGt(registry.sequencer(late.id).weight, 0);
        _expectSeats();
    }

    /// 110: more words than a set holds, however they came to be, are cut to the largest; of equals the lower signer stays.
    function test_attack110_aSealTakesTheLargestOfTooMany() public pure {
        uint256[] memory words = new uint256[](6);
        words[0] = SetLib.word(address(5), 7);
        words[1] = SetLib.word(address(9), 1);
        words[2] = SetLib.word(address(1), 3);
        words[3] = SetLib.word(address(7), 3);
        words[4] = SetLib.word(address(3), 3);
        words[5] = SetLib.word(address(2), 100);

        SetLib.keepLargest(words, 5, 3);

        assertEq(words.length, 3);
        uint256 sum;
        for (uint256 i = 0; i < 3; ++i) {
            address signer = SetLib.signerOf(words[i]);
            assertTrue(signer == address(5) || signer == address(1) || signer == address(3));
            sum += uint160(signer);
        }
        assertEq(sum, 9);
    }

    /* 123: SEATS OF THE DEAD */

    /// 123: who missed a restart keeps no newcomer out, and is no reason to evict the living.
    function test_attack123_theDeadHoldNoSeat() public {
        _restart(_actors, 2);
        Actor memory late = _join(8, 105 ether);
        Actor memory later = _join(9, 105 ether);
        _sealThrough(_epoch() + 4);

        assertEq(registry.membersAtEpochStart(settlement.restart().openedAt).length, SEATS);
        for (uint256 i = 0; i < 2; ++i) {
            assertEq(registry.sequencer(_actors[i].id).weight, 100);
        }
        assertEq(registry.sequencer(late.id).weight, 105);
        assertEq(registry.sequencer(later.id).weight, 105);
        assertEq(settlement.leaderSet(_epoch()).members.length, SEATS);
    }

    /// 123: whoever returns later finds the seats taken, and comes in as everybody does: by the queue, with enough stake.
    function test_attack123_whoReturnsTakesNoSeatThatIsTaken() public {
        _restart(_actors, 2);
        _join(8, 105 ether);
        _join(9, 105 ether);
        _sealThrough(_epoch() + 4);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ActiveSetFull.selector, 110 ether, 100 ether));
        _checkIn(_actors[2]);
        _topUp(_actors[2], 20 ether);
        _checkIn(_actors[2]);
        for (uint256 i = 0; i < 5; ++i) {
            _sealThrough(_epoch() + 1);
            _expectSeats();
        }
        assertEq(registry.sequencer(_actors[2].id).weight, 120);
    }

    /// 123: in the next restart the dead of the one before are heard again, as far as there are seats.
    function test_attack123_aSecondRestartHearsTheDeadOfTheFirst() public {
        _restart(_actors, 2);
        _openRestart();
        for (uint256 i = 0; i < SEATS; ++i) {
            _checkIn(_actors[i]);
        }
        _advance(p.restartWindowSeconds);
        _finishRestart();

        assertEq(settlement.leaderSet(_epoch()).members.length, SEATS);
        _sealThrough(_epoch() + 3);
        assertEq(settlement.leaderSet(_epoch()).members.length, SEATS);
    }

    /// 123: who waits in the queue while a restart is finished says that it is there, as all do, and keeps its place; who does
    /// not is no member that nobody has heard of.
    function test_attack123_whoWaitsThroughARestartKeepsItsPlace() public {
        _delegate(makeAddr("whale"), _actors[0].id, 500 ether);
        Actor memory late = _join(8, 150 ether);
        Actor memory dead = _join(9, 150 ether);
        _openRestart();
        for (uint256 i = 0; i < SEATS; ++i) {
            _checkIn(_actors[i]);
        }
        uint64 weight = settlement.restart().weight;
        _checkIn(late);
        assertEq(settlement.restart().weight, weight);
        assertEq(settlement.restart().count, SEATS, "who weighs nothing is nobody's quorum");
        _advance(p.restartWindowSeconds);
        _finishRestart();
        assertEq(settlement.leaderSet(_epoch()).members.length, SEATS);

        _sealThrough(_epoch() + 20);
        assertEq(registry.sequencer(late.id).weight, 150);
        assertEq(registry.sequencer(dead.id).weight, 0);
    }

    /* 127: RAIDS */

    /// 127: who evicts and leaves at once binds its own stake for an exitDelay; the evicted has its seat back an epoch or two
    /// later, and nothing of its stake was ever bound.
    function test_attack127_aRaidCostsTheRaiderMoreThanItsVictim() public {
        Actor memory raider = _join(8, 110 ether);
        _sealThrough(3);
        uint32 victim = _whoWeighsNothing();
        assertEq(registry.sequencer(raider.id).weight, 110);
        uint256 raid = _exitAll(raider);
        _sealThrough(_epoch() + 2);

        _unjail(_actorOf(victim));
        assertEq(uint8(registry.sequencer(victim).status), uint8(Status.Active));
        assertGt(registry.sequencer(victim).weight, 0);
        _sealThrough(_epoch() + 2);
        assertEq(registry.sequencer(victim).weight, 100);
        (bool known, uint64 raidersStakeIsFree) = registry.claimableAt(raid);
        assertTrue(known);
        assertGt(raidersStakeIsFree, block.timestamp + p.exitDelaySeconds / 2);
        _expectSeats();
    }

    /// 127: rounds of raids with the same stake: each takes the raider as long as its stake is bound, its victim is back for
    /// most of that time, and after all of them nobody is gone.
    function test_attack127_roundsOfRaidsRemoveNobody() public {
        uint256 out;
        uint256 bound;
        for (uint256 round = 0; round < 3; ++round) {
            uint256 begun = block.timestamp;
            Actor memory raider = _join(10 + round, 110 ether);
            _sealThrough(_epoch() + 3);
            uint32 victim = _whoWeighsNothing();
            uint256 raid = _exitAll(raider);
            _sealThrough(_epoch() + 2);
            _unjail(_actorOf(victim));
            out += block.timestamp - begun;
            _sealThrough(_epoch() + 3);
            (, uint64 free) = registry.claimableAt(raid);
            while (block.timestamp < free) {
                _sealThrough(_epoch() + 1);
            }
            _claim(raider.owner, raid);
            bound += block.timestamp - begun;
        }

        assertGt(bound, 2 * out);
        for (uint256 i = 0; i < SEATS; ++i) {
            assertEq(registry.sequencer(_actors[i].id).weight, 100);
        }
    }

    /// 127: nor does a newcomer that is gone before the victim has sunk take anything for good.
    function test_attack127_aRaiderThatVanishesLeavesTheVictimItsSeat() public {
        _topUp(_actors[0], 70 ether);
        Actor memory raider = _join(8, 300 ether);
        _exitAll(raider);
        _sealThrough(2);

        for (uint256 i = 0; i < SEATS; ++i) {
            Sequencer memory one = registry.sequencer(_actors[i].id);
            assertGt(one.weight, 0);
            if (one.weight < 100) _unjail(_actors[i]);
        }
        _sealThrough(4);
        for (uint256 i = 1; i < SEATS; ++i) {
            assertEq(registry.sequencer(_actors[i].id).weight, 100);
        }
    }

    /* 135: WHATEVER HAPPENS */

    /// 135: joins, jails, returns, rewards, new keys, exits, delegations and restarts in any order: at no start of an epoch do
    /// more weigh something than there are seats, and every epoch can be sealed.
    /// forge-config: default.fuzz.runs = 64
    function testFuzz_property135_seatsHoldAndEveryEpochIsSealed(uint256 seed) public {
        for (uint256 i = 0; i < 48; ++i) {
            uint256 drawn = uint256(keccak256(abi.encode(seed, i)));
            _actAtRandom(drawn);
            if (drawn % 3 != 0) continue;
            _expectSeats();
            if (registry.membersAtEpochStart(_aliveSince()).length != 0) _seal();
            _startEpoch(_epoch() + 1);
        }
    }

    function _actAtRandom(uint256 drawn) private {
        Actor memory actor = _actors[(drawn >> 8) % _actors.length];
        uint256 what = (drawn >> 16) % 10;
        uint256 amountWei = 1 ether + (drawn >> 32) % 60 ether;
        if (what == 0 && _actors.length < 16) return _tryJoin(100 ether + amountWei);
        if (what == 1) return _jailIfActive(actor);
        if (what == 2) return _tryAs(actor.owner, abi.encodeCall(registry.unjail, (actor.id)));
        if (what == 3) {
            _credits(actor.id, amountWei);
            return;
        }
        if (what == 4) return _rotate(actor, 100 + drawn % 1e9);
        if (what == 5 && _isActive(actor)) _delegate(makeAddr("dora"), actor.id, amountWei);
        if (what == 6) _tryExit(actor, (drawn >> 40) % 3 == 0);
        if (what == 7) _flush();
        if (what == 8 && (drawn >> 48) % 4 == 0) _tryRestart(drawn);
        if (what == 9) {
            vm.prank(actor.signer);
            (bool done,) = address(settlement).call(abi.encodeCall(settlement.checkIn, (actor.id)));
            if (done) _expectSeats();
        }
    }

    function _tryJoin(uint256 stakeWei) private {
        Actor memory actor = _actor(200 + _actors.length);
        _give(actor.owner, stakeWei);
        bytes memory proof = _proof(actor.owner, actor.key);
        vm.prank(actor.owner);
        (bool done,) = address(registry).call(abi.encodeCall(registry.join, (actor.signer, ENDPOINT, stakeWei, proof)));
        if (!done) return;
        actor.id = registry.idOf(actor.signer);
        _actors.push(actor);
    }

    function _jailIfActive(Actor memory actor) private {
        if (_isActive(actor)) _jailAbsent(actor.id, 0);
    }

    function _tryExit(Actor memory actor, bool all) private {
        uint256 holding = registry.sharesOf(actor.id, actor.owner);
        if (holding == 0) return;
        _tryAs(actor.owner, abi.encodeCall(registry.requestExit, (actor.id, all ? holding : holding / 3)));
    }

    function _tryRestart(uint256 drawn) private {
        _warpTo(settlement.tip().settledAt + p.restartDelaySeconds);
        (bool done,) = address(settlement).call(abi.encodeCall(settlement.openRestart, ()));
        if (!done) return;
        for (uint256 i = 0; i < _actors.length; ++i) {
            if ((drawn >> (100 + i)) & 1 == 0) continue;
            vm.prank(registry.sequencer(_actors[i].id).signer);
            (done,) = address(settlement).call(abi.encodeCall(settlement.checkIn, (_actors[i].id)));
        }
        _advance(p.restartWindowSeconds);
        done = _tryFinishRestart();
        _advance(p.restartWindowSeconds);
    }

    function _tryAs(address caller, bytes memory call) private {
        vm.prank(caller);
        (bool done,) = address(registry).call(call);
        if (done) _expectSeats();
    }

    /* PARTS */

    function _expectSeats() private view {
        uint64 since = _aliveSince();
        assertLe(registry.membersAtEpochStart(since).length, SEATS, "more than there are seats");
        // A seal would leave out whoever is too many. After a restart some keep a weight without a seat.
        if (settlement.generation() != 0) return;
        uint256 weighing;
        for (uint32 id = 1; id <= registry.count(); ++id) {
            if (registry.sequencer(id).weight != 0) ++weighing;
        }
        assertLe(weighing, SEATS, "weight without a seat");
    }

    function _aliveSince() private view returns (uint64) {
        return settlement.generation() == 0 ? 0 : settlement.restart().openedAt;
    }

    function _isActive(Actor memory actor) private view returns (bool) {
        return registry.sequencer(actor.id).status == Status.Active;
    }

    /// @dev Seals the next epoch unless that was done.
    function _seal() private {
        uint64 next = _epoch() + 1;
        (, uint64 sealedFor,) = settlement.setOf(settlement.generation(), next);
        if (sealedFor != next) _sealSet(next);
    }

    function _moveOne() private {
        (bool done,) = address(registry).call(abi.encodeCall(registry.flush, (1)));
        done;
    }

    function _credit(uint32 id, uint256 amountWei) private {
        _credits(id, amountWei);
    }

    /// @dev As the reward pool does, which sends what it credits.
    function _credits(uint32 id, uint256 amountWei) private returns (bool taken) {
        vm.prank(at.rewardPool);
        taken = registry.creditReward(id, amountWei);
        if (taken) token.mint(address(registry), amountWei);
    }

    function _rotate(Actor memory actor, uint256 number) private {
        Actor memory next = _actor(number);
        bytes memory proof = _proof(actor.owner, next.key);
        vm.prank(actor.owner);
        (bool done,) = address(registry).call(abi.encodeCall(registry.rotateSigner, (actor.id, next.signer, proof)));
        done;
    }

    function _withHighestSigner() private view returns (Actor memory highest) {
        for (uint256 i = 0; i < SEATS; ++i) {
            if (_actors[i].signer > highest.signer) highest = _actors[i];
        }
    }

    function _whoWeighsNothing() private view returns (uint32) {
        for (uint256 i = 0; i < SEATS; ++i) {
            if (registry.sequencer(_actors[i].id).weight == 0) return _actors[i].id;
        }
        revert("everybody weighs something");
    }

    function _actorOf(uint32 id) private view returns (Actor memory) {
        for (uint256 i = 0; i < _actors.length; ++i) {
            if (_actors[i].id == id) return _actors[i];
        }
        revert("nobody has this id");
    }
}
