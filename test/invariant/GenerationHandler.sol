// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RestartState} from "../../contracts/interfaces/IRestart.sol";
import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Actor} from "../utils/System.sol";
import {SealBooks} from "./SealBooks.sol";

/// @title Sequencers that come, go, fall silent and start again
/// @notice Restarts are quick here, so that a run holds several. Each call is something that anyone may try; whether it
/// must succeed follows from the clock and from the ghosts alone.
contract GenerationHandler is SealBooks {
    uint256 private constant MAX_SEQUENCERS = 10;

    uint64 public lastHeight;
    bytes32 public lastBlockHash;
    uint256 public settled;
    /// Batches that settled although another generation had signed them.
    uint256 public settledOfAnother;
    /// Times at which the generation changed by anything but one more.
    uint256 public jumps;

    /// Times at which somebody was offered another seed for a set than the one that it had been offered before.
    uint256 public secondSeeds;

    Actor[] private _all;
    mapping(uint32 generation => mapping(uint64 epoch => bytes32 seed)) private _offered;
    mapping(uint32 id => bool) private _left;

    /// Watches the generation over every action.
    modifier watched() {
        _openBooks();
        _;
        _closeBooks();
        uint32 now_ = settlement.generation();
        if (now_ != generation && now_ != generation + 1) ++jumps;
        generation = now_;
    }

    constructor() {
        _deployWithQuickRestarts();
        Actor[] memory actors = _joinMany(4);
        for (uint256 i = 0; i < actors.length; ++i) {
            _all.push(actors[i]);
        }
        vm.deal(address(this), 1000 ether);
        rewardPool.fund{value: 1000 ether}(0);
        _startEpoch(0);
        _trySeal(0);
        lastBlockHash = settlement.tip().lastBlockHash;
    }

    /* SETTLING */

    function settle(uint64 blocks) external watched {
        if (settlement.totalAt(generation, _epoch()) == 0) return;
        BatchHeader memory header = _nextHeader(uint64(bound(blocks, 1, 12)));
        bool due = header.l1OriginNumber >= settlement.tip().l1OriginNumber;
        address leader = _leader(header);

        bool done = _trySettle(header, _attestAll(header), leader);
        assertEq(done, due, "a batch settles once its origin is not before the generation's");
        if (!done) return;
        ++settled;
        assertEq(header.firstHeight, lastHeight + 1);
        assertEq(header.parentBlockHash, lastBlockHash);
        (lastHeight, lastBlockHash) = (header.lastHeight, header.lastBlockHash);
    }

    /// What all members of an older generation signed, as they signed it or under the running generation's name.
    function settleOfAnother(uint32 other, bool renamed) external watched {
        if (generation == 0 || settlement.totalAt(generation, _epoch()) == 0) return;
        BatchHeader memory header = _nextHeader(3);
        address leader = _leader(header);
        header.generation = uint32(bound(other, 0, generation - 1));
        Signature[] memory signatures = _attestAll(header);
        if (renamed) header.generation = generation;

        if (_trySettle(header, signatures, leader)) ++settledOfAnother;
    }

    /* RESTARTING */

    function open() external watched {
        uint64 settledAt = settlement.tip().settledAt;
        RestartState memory state = settlement.restart();
        bool due = block.timestamp >= settledAt + p.restartDelaySeconds
            && (state.openedAt <= settledAt || block.timestamp >= state.finishUntil);

        try settlement.openRestart() {
            assertTrue(due, "opened too early");
        } catch {
            assertFalse(due, "a due restart was refused");
        }
    }

    function checkIn(uint256 who) external watched {
        Actor memory actor = _all[bound(who, 0, _all.length - 1)];
        vm.prank(actor.signer);
        try settlement.checkIn(actor.id) {
            assertFalse(_left[actor.id], "whoever left is not asked");
        } catch {}
    }

    /// All who are still there check in within the window, and somebody finishes.
    function restart(uint256 here) external watched {
        this.open();
        RestartState memory state = settlement.restart();
        if (state.openedAt <= settlement.tip().settledAt || block.timestamp >= state.checkInUntil) return;
        for (uint256 i = 0; i < _all.length; ++i) {
            if ((here >> i) & 1 == 1) this.checkIn(i);
        }
        _warpTo(state.checkInUntil);
        this.finish();
    }

    function finish() external watched {
        uint64 height = settlement.tip().lastHeight;
        if (_tryFinish()) assertEq(settlement.generation(), generation + 1);
        assertEq(settlement.tip().lastHeight, height, "what is settled stays");
    }

    /* SEQUENCERS AND TIME */

    function seal() external watched {
        uint64 running = _epoch();
        _trySeal(running + 1);
        if (_trySeal(running)) {
            assertEq(settlement.generation(), generation + 1, "the running epoch is sealed by a new generation only");
        }
    }

    /// The first half of a seal, so that anything may happen before the other.
    function pin() external watched {
        uint64 next = _epoch() + 1;
        if (!_tryPin(next)) _tryPin(next - 1);
    }

    /// Who seals knows what the seed will be: reports that were kept back come now.
    function jail(uint256 who) external watched {
        uint32 id = _all[bound(who, 0, _all.length - 1)].id;
        vm.prank(at.slasher);
        registry.jailAbsent(id, uint64(block.timestamp) + 1);
    }

    function unjail(uint256 who) external watched {
        Actor memory actor = _all[bound(who, 0, _all.length - 1)];
        vm.prank(actor.owner);
        try registry.unjail(actor.id) {
            assertFalse(_left[actor.id], "whoever left is back");
        } catch {}
    }

    /// Somebody seals from a contract that looks at the seed, and reverts: it did not like it.
    function shop(uint64 later, bytes32 random) external watched {
        vm.roll(block.number + bound(later, 0, 40));
        vm.prevrandao(random);
        uint64 epoch = _epoch() + 1;
        if (!_tryPin(epoch)) return;
        _bookDuties();
        bytes memory header = _mineWithHeader(settlement.pinned());
        try this.look(epoch, header) {}
        catch (bytes memory seed) {
            // The contracts' own errors are shorter, or longer.
            if (seed.length == 32) _offer(epoch, bytes32(seed));
        }
        // What was undone is nobody's.
        vm.getRecordedLogs();
    }

    function _offer(uint64 epoch, bytes32 seed) private {
        bytes32 before = _offered[generation][epoch];
        if (before != 0 && before != seed) ++secondSeeds;
        _offered[generation][epoch] = seed;
    }

    /// Seals, and undoes it with the seed as the reason.
    function look(uint64 epoch, bytes calldata header) external {
        settlement.seal(epoch, header);
        bytes32 seed = settlement.leaderSet(epoch).seed;
        assembly ("memory-safe") {
            mstore(0, seed)
            revert(0, 32)
        }
    }

    function join() external watched {
        if (_all.length < MAX_SEQUENCERS) _all.push(_join(_all.length, STAKE_WEI));
    }

    function leave(uint256 who) external watched {
        Actor memory actor = _all[bound(who, 0, _all.length - 1)];
        if (_left[actor.id]) return;
        _left[actor.id] = true;
        uint256 shares = registry.sharesOf(actor.id, actor.owner);
        uint256 waiting = registry.waitingSharesOf(actor.id, actor.owner);
        vm.prank(actor.owner);
        registry.leave(actor.id, shares, waiting);
    }

    function pass(uint256 seconds_) external watched {
        _advance(bound(seconds_, 1, 40));
    }

    /// Long enough for an empty set.
    function passLong() external watched {
        _advance(p.exitDelaySeconds);
    }

    /* READING */

    function contracts() external view returns (address) {
        return at.settlement;
    }

    function _attestAll(BatchHeader memory header) private view returns (Signature[] memory) {
        // An older generation may have begun after the epoch asked for; it has a set in force by now.
        LeaderSet memory set = settlement.leaderSetOf(header.generation, header.epoch);
        return _attest(header, _first(set.members.length));
    }

    function _trySettle(BatchHeader memory header, Signature[] memory signatures, address poster)
        private
        returns (bool)
    {
        vm.prank(poster, poster);
        try settlement.settle(header, _first(signatures.length), signatures, PAYLOAD) {
            return true;
        } catch {
            return false;
        }
    }
}
