// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Deployment} from "./Deployment.sol";
import {IRota} from "./interfaces/IRota.sol";
import {ChurnState, ISequencerRegistry, Status} from "./interfaces/ISequencerRegistry.sol";
import {Budget, ChurnLib} from "./lib/ChurnLib.sol";
import {Pool} from "./lib/PoolLib.sol";
import {SetLib} from "./lib/SetLib.sol";
import {Standing} from "./lib/StandingLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title What counts, and how fast that changes (R4, R7)
/// @notice Stake is in its pool, and slashable, from the moment of the deposit until it is claimed. Whether it *counts* is
/// decided here: shares wait at the end of a queue until there is room for their weight in the epoch's budget, on the way
/// in as on the way out. A place in the entry queue is a permission to let so many idle shares of a pool count, no more: if
/// they are not there any more when its turn comes, it is passed over.
///
/// Invariants: of the weight that a seal could read, no more than the limit enters and no more than the limit leaves in an
/// epoch; what a report or a slash takes away comes on top. At most `maxMembers` sequencers weigh something at any time.
abstract contract Churn is ISequencerRegistry, Deployment {
    using SafeCast for uint256;

    /// What belongs to one id. The order is that of the words: `standing` two, `owner` one, `poster` one, `pool` three.
    struct Entry {
        Standing standing;
        address owner;
        uint40 joinedAt;
        /// When it last joined, was unjailed, checked in or came back: what a seal asks for after a restart (R33).
        uint40 aliveAt;
        address poster;
        uint40 checkedInAt;
        Pool pool;
        string endpoint;
    }

    /// An {Exit}, in two words. Its place in the exit queue is its id.
    struct ExitRecord {
        uint32 sequencer;
        address holder;
        /// In which the last of it left the queue.
        uint64 epoch;
        uint128 shares;
        uint128 queuedShares;
    }

    /// A place in the entry queue, in one word.
    struct Entrance {
        uint32 sequencer;
        /// Whose seat it takes; zero once that counts no more, and for most.
        uint32 evicted;
        uint128 shares;
    }

    /// Both queues: the next place to serve, and the one behind the last.
    struct Cursor {
        uint64 entrance;
        uint64 entrances;
        uint64 exit;
        uint64 exits;
    }

    /// Stake by which a newcomer has to exceed whom it evicts, in tenths.
    uint256 private constant EVICTION_TENTHS = 11;

    IRota internal immutable SETTLEMENT;
    uint64 internal immutable GENESIS;
    uint64 internal immutable EPOCH_SECONDS;
    uint256 private immutable MIN_MEMBERS;
    uint256 private immutable MAX_MEMBERS;
    uint256 internal immutable WEIGHT_UNIT_WEI;

    /// Ids that may weigh something; a vacated seat is given away when somebody needs it. Eight to a slot. There can be up to
    /// twice `maxMembers`: who counted when the epoch began, and who counts now.
    uint32[] private _seats;
    Cursor private _cursor;
    Budget private _budget;

    mapping(uint32 id => Entry) internal _entries;
    mapping(uint256 place => Entrance) private _entrances;
    mapping(uint256 exitId => ExitRecord) internal _exits;

    constructor(Params memory params, Addresses memory addresses) {
        SETTLEMENT = IRota(addresses.settlement);
        GENESIS = params.genesis;
        EPOCH_SECONDS = params.epochSeconds;
        MIN_MEMBERS = params.minMembers;
        MAX_MEMBERS = params.maxMembers;
        WEIGHT_UNIT_WEI = params.weightUnitWei;
        // Exits are numbered from 1 on.
        (_cursor.exit, _cursor.exits) = (1, 1);
    }

    /* FLUSHING */

    /// @inheritdoc ISequencerRegistry
    function flush(uint256 max) external returns (uint256 steps) {
        Budget memory budget = _budgetNow();
        Cursor memory cursor = _cursor;

        steps = _flushEntrances(cursor, budget, max);
        steps += _flushExits(cursor, budget, max);
        require(steps != 0, NothingMoves());

        _cursor = cursor;
        _keep(budget);
    }

    function _flushEntrances(Cursor memory cursor, Budget memory budget, uint256 max) private returns (uint256 steps) {
        for (; steps < max && cursor.entrance != cursor.entrances; ++steps) {
            Entrance memory entrance = _entrances[cursor.entrance];
            uint64 entered = budget.entered;
            if (_admit(entrance, budget, 0)) {
                delete _entrances[cursor.entrance++];
                continue;
            }
            // The budget is used up, perhaps by a slice of this one.
            if (budget.entered == entered) return steps;
            _entrances[cursor.entrance] = entrance;
            return steps + 1;
        }
    }

    function _flushExits(Cursor memory cursor, Budget memory budget, uint256 max) private returns (uint256 steps) {
        for (; steps < max && cursor.exit != cursor.exits; ++steps) {
            uint64 left = budget.left;
            if (!_release(cursor.exit, budget)) return budget.left == left ? steps : steps + 1;
            ++cursor.exit;
        }
    }

    /* ENTERING */

    /// @dev Lets `shares` of a pool count, now or when their turn comes; `fresh` of them are not among the idle ones yet.
    function _enter(Entry storage entry, uint32 id, uint256 shares, uint256 fresh) internal {
        Cursor memory cursor = _cursor;
        Budget memory budget = _budgetNow();
        Entrance memory entrance = Entrance({sequencer: id, evicted: 0, shares: shares.toUint128()});

        if (cursor.entrance == cursor.entrances) {
            bool done = _admit(entrance, budget, fresh);
            _keep(budget);
            if (done) return;
        } else {
            entry.pool.idleShares += fresh.toUint128();
        }
        _entrances[cursor.entrances] = entrance;
        _cursor.entrances = cursor.entrances + 1;

        emit EntranceQueued(id, cursor.entrances, entrance.shares);
    }

    /// @dev Lets in what there is room for; says whether that was all. `fresh` shares are to become idle first.
    function _admit(Entrance memory entrance, Budget memory budget, uint256 fresh) private returns (bool done) {
        Entry storage entry = _entries[entrance.sequencer];
        Pool storage pool = entry.pool;
        uint256 idle = pool.idleShares + fresh;

        bool ready = _seat(entrance, entry, budget);
        if (!ready || entry.standing.status != Status.Active) {
            if (fresh != 0) pool.idleShares = idle.toUint128();
            return ready;
        }

        uint256 counted = pool.stayingShares() - idle;
        uint256 admitted = Math.min(entrance.shares, idle);
        uint256 before = _units(pool, counted);
        uint256 rise = _units(pool, counted + admitted) - before;
        uint256 room = budget.roomIn();
        done = rise <= room;
        if (!done) {
            rise = room;
            // What counts already may be worth a little more than its whole units.
            admitted = Math.max(counted, _sharesOf(pool, before + rise)) - counted;
        }

        // Casting is safe here and below: parts of what fits.
        entrance.shares -= uint128(admitted);
        if (idle - admitted != pool.idleShares) pool.idleShares = (idle - admitted).toUint128();
        budget.noteIn(rise);
        _refresh(entry, entry.standing.signer);
    }

    /// @dev Has a seat ready for whoever weighs nothing yet, if need be that of the smallest, who sinks within the budget
    /// first. Says whether the entrance can go on.
    function _seat(Entrance memory entrance, Entry storage entry, Budget memory budget) private returns (bool ready) {
        if (entrance.evicted == 0) {
            if (entry.standing.weight() != 0 || entry.standing.status != Status.Active) return true;
            if (budget.roomIn() == 0) return false;

            uint32 smallest = _evictable(entry);
            if (smallest != 0) {
                entrance.evicted = smallest;
                emit Evicted(smallest, entrance.sequencer);
                _close(_entries[smallest], smallest);
            } else if (_isFull()) {
                // Too small when its turn came: it is evicted itself, before it ever counted.
                emit Evicted(entrance.sequencer, entrance.sequencer);
                _close(entry, entrance.sequencer);
                return true;
            }
        }
        if (entrance.evicted != 0) {
            if (!_sink(_entries[entrance.evicted], budget)) return false;
            entrance.evicted = 0;
        }
        if (entry.standing.status == Status.Active) _takeSeat(entrance.sequencer, entry.standing.signer);
        return true;
    }

    /// @dev Takes weight of an evicted sequencer away as far as the budget goes; says whether it counts no more.
    function _sink(Entry storage entry, Budget memory budget) private returns (bool gone) {
        Pool storage pool = entry.pool;
        uint256 weight = entry.standing.weight();
        uint256 drop = Math.min(weight, budget.roomIn());

        pool.idleShares = (pool.stayingShares() - _sharesOf(pool, weight - drop)).toUint128();
        budget.noteIn(drop);
        _refresh(entry, entry.standing.signer);
        return drop == weight;
    }

    /* LEAVING */

    /// @dev Puts an exit at the end of the queue. What takes no weight away does not wait there.
    function _leave(uint32 id, address holder, uint256 shares) internal returns (uint256 exitId) {
        Cursor memory cursor = _cursor;
        Budget memory budget = _budgetNow();
        bool first = cursor.exit == cursor.exits;
        if (!first) budget.limit = budget.left;

        exitId = cursor.exits;
        _exits[exitId] = ExitRecord({
            sequencer: id, holder: holder, epoch: 0, shares: shares.toUint128(), queuedShares: shares.toUint128()
        });
        bool done = _release(exitId, budget);

        if (first && done) ++cursor.exit;
        ++cursor.exits;
        _cursor = cursor;
        if (first) _keep(budget);
    }

    /// @dev Lets go what there is room for; says whether that was all. What an owner takes out of a pool that closes takes
    /// all weight along; of others, idle shares go first.
    function _release(uint256 exitId, Budget memory budget) private returns (bool done) {
        ExitRecord storage exit_ = _exits[exitId];
        Entry storage entry = _entries[exit_.sequencer];
        Pool storage pool = entry.pool;
        uint256 queued = exit_.queuedShares;
        if (queued == 0) return true;

        bool whole = pool.closing && exit_.holder == entry.owner;
        uint256 counted = pool.countedShares();
        uint256 idle = whole ? 0 : Math.min(pool.idleShares, queued);
        uint256 kept = whole ? 0 : counted + idle - queued;
        if (_counts(entry)) {
            uint256 before = _units(pool, counted);
            uint256 drop = before - _units(pool, kept);
            uint256 room = budget.roomOut();
            if (drop > room) {
                drop = room;
                kept = room == 0 ? counted : Math.min(counted, _sharesOf(pool, before - room));
            }
            budget.noteOut(drop);
        }

        // Casting is safe below: all of these are parts of the pool's shares, which have 128 bits.
        uint256 gone = idle + counted - kept;
        if (whole) {
            pool.idleShares += uint128(gone);
            gone = kept == 0 ? queued : 0;
            idle = gone;
        }
        pool.idleShares -= uint128(idle);
        pool.leavingShares += uint128(gone);
        exit_.queuedShares = uint128(queued - gone);
        _refresh(entry, entry.standing.signer);
        if (gone != queued) return false;

        exit_.epoch = _epoch();
        emit ExitLeft(exitId, exit_.epoch);
        return true;
    }

    /// @dev The sequencer leaves for good.
    function _close(Entry storage entry, uint32 id) internal {
        entry.pool.closing = true;
        if (entry.standing.status != Status.Active) return;

        entry.standing.status = Status.Leaving;
        emit StatusChanged(id, Status.Leaving);
    }

    /* SEATS */

    /// @inheritdoc ISequencerRegistry
    function membersAtEpochStart(uint64 aliveSince) public view returns (uint256[] memory words) {
        uint64 running = _epoch();
        uint32[] memory ids = _seats;
        words = new uint256[](ids.length);

        uint256 found;
        // Unchecked: both indices are below the length of both arrays.
        unchecked {
            for (uint256 i = 0; i < ids.length; ++i) {
                Entry storage entry = _entries[ids[i]];
                uint256 word = entry.standing.wordAtStartOf(running);
                if (SetLib.weightOf(word) == 0) continue;
                if (aliveSince == 0 || entry.aliveAt >= aliveSince) words[found++] = word;
            }
        }

        // Memory-safe: only ever shortens the array.
        assembly ("memory-safe") {
            mstore(words, found)
        }
    }

    /// @inheritdoc ISequencerRegistry
    function membersCheckedIn(uint64 openedAt) external view returns (uint256[] memory words) {
        uint32[] memory ids = _seats;
        words = new uint256[](ids.length);

        uint256 found;
        for (uint256 i = 0; i < ids.length; ++i) {
            Entry storage entry = _entries[ids[i]];
            if (entry.standing.weight() == 0 || entry.checkedInAt < openedAt) continue;
            words[found++] = SetLib.word(entry.standing.signer, entry.standing.weight());
        }

        // Memory-safe: only ever shortens the array.
        assembly ("memory-safe") {
            mstore(words, found)
        }
    }

    /// @dev A newcomer too small for a full set is told before its stake is taken, rather than when its turn comes.
    function _requireRoomFor(Entry storage entry) internal view {
        if (!_isFull() || _evictable(entry) != 0) return;
        (, uint256 smallestWei) = _smallest();
        revert ActiveSetFull(Math.ceilDiv(smallestWei * EVICTION_TENTHS, 10), _stakeWei(entry));
    }

    /// @dev Whether as many as may weigh something do.
    function _isFull() private view returns (bool) {
        uint32[] memory ids = _seats;
        if (ids.length < MAX_MEMBERS) return false;

        uint256 counting;
        for (uint256 i = 0; i < ids.length; ++i) {
            if (_entries[ids[i]].standing.weight() != 0) ++counting;
        }
        return counting >= MAX_MEMBERS;
    }

    /// @dev Who has to give way to `entry`; zero if nobody has to, or nobody does.
    function _evictable(Entry storage entry) private view returns (uint32 id) {
        if (!_isFull()) return 0;
        uint256 stakeWei;
        (id, stakeWei) = _smallest();
        if (_stakeWei(entry) * 10 < stakeWei * EVICTION_TENTHS) return 0;
    }

    /// @dev Of those who weigh something the one with the least stake; of equals the one that joined later.
    function _smallest() private view returns (uint32 smallest, uint256 smallestWei) {
        uint32[] memory ids = _seats;
        smallestWei = type(uint256).max;
        for (uint256 i = 0; i < ids.length; ++i) {
            Entry storage entry = _entries[ids[i]];
            if (entry.standing.weight() == 0) continue;
            uint256 stakeWei = _stakeWei(entry);
            if (stakeWei < smallestWei || (stakeWei == smallestWei && ids[i] > smallest)) {
                (smallest, smallestWei) = (ids[i], stakeWei);
            }
        }
    }

    /// @dev Seats are kept in the order of the keys with which their holders took them, so that a seal finds its members
    /// nearly sorted; everybody between the freed seat and the new place moves by one. A seat is free if its holder weighs
    /// nothing, now and at the start of the running epoch.
    function _takeSeat(uint32 id, address signer) private {
        uint32[] memory ids = _seats;
        uint64 running = _epoch();
        uint256 seat = ids.length;
        for (uint256 i = 0; i < ids.length; ++i) {
            if (ids[i] == id) return;
            if (ids.length < MAX_MEMBERS || seat != ids.length) continue;
            Standing storage standing = _entries[ids[i]].standing;
            if (standing.weight() == 0 && SetLib.weightOf(standing.wordAtStartOf(running)) == 0) seat = i;
        }
        if (seat == ids.length) _seats.push(id);

        uint256 low = 0;
        uint256 high = ids.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (_entries[ids[middle]].standing.signer < signer) low = middle + 1;
            else high = middle;
        }

        for (; seat > low; --seat) {
            _seats[seat] = ids[seat - 1];
        }
        for (; seat + 1 < low; ++seat) {
            _seats[seat] = ids[seat + 1];
        }
        _seats[seat] = id;
    }

    /* THE BUDGET */

    /// @inheritdoc ISequencerRegistry
    function churn() external view returns (ChurnState memory) {
        Budget memory budget = _budgetNow();
        return ChurnState({
            limit: budget.limit,
            entered: budget.entered,
            left: budget.left,
            entrances: _cursor.entrances - _cursor.entrance,
            exits: _cursor.exits - _cursor.exit
        });
    }

    /// @dev Read once an epoch from the set in force, so that it does not depend on when a set is sealed.
    function _budgetNow() private view returns (Budget memory budget) {
        uint32 stamp = _stamp();
        budget = _budget;
        if (stamp == 0 || budget.stamp != stamp) budget = Budget({stamp: stamp, limit: _limit(), entered: 0, left: 0});
    }

    function _keep(Budget memory budget) private {
        if (budget.limit != ChurnLib.UNLIMITED) _budget = budget;
    }

    /// @dev Before the first set there is only what it would be; as long as it would have too few members, nobody is kept
    /// out.
    function _limit() private view returns (uint64) {
        if (block.timestamp < GENESIS) return ChurnLib.UNLIMITED;

        try SETTLEMENT.setOf(SETTLEMENT.generation(), _epoch()) returns (address pointer, uint64) {
            return ChurnLib.limitOf(ChurnLib.wordsOf(SetLib.load(pointer)));
        } catch {
            uint256[] memory words = membersAtEpochStart(0);
            return words.length < MIN_MEMBERS ? ChurnLib.UNLIMITED : ChurnLib.limitOf(words);
        }
    }

    /* PARTS */

    /// @dev Records key and weight as they are from now on (R3).
    function _refresh(Entry storage entry, address signer) internal {
        entry.standing.change(_stamp(), signer, _weight(entry));
    }

    /// @dev Casting is safe: the total of all pools is below 2^56 units.
    function _weight(Entry storage entry) internal view returns (uint56) {
        return _counts(entry) ? uint56(_units(entry.pool, entry.pool.countedShares())) : 0;
    }

    function _counts(Entry storage entry) private view returns (bool) {
        Status status = entry.standing.status;
        return status == Status.Active || status == Status.Leaving;
    }

    /// @dev Whole weight units that `shares` are worth.
    function _units(Pool storage pool, uint256 shares) private view returns (uint256) {
        return pool.worth(shares) / WEIGHT_UNIT_WEI;
    }

    /// @dev The fewest shares that are worth so many units.
    function _sharesOf(Pool storage pool, uint256 units) private view returns (uint256) {
        return pool.sharesWorth(units * WEIGHT_UNIT_WEI);
    }

    /// @dev What has not left the churn queue: by this sequencers are compared.
    function _stakeWei(Entry storage entry) internal view returns (uint256) {
        return entry.pool.worth(entry.pool.stayingShares());
    }

    /// @dev The running epoch, as {IRota.epochAt}; 0 before genesis.
    function _epoch() internal view returns (uint64) {
        uint64 time = uint64(block.timestamp);
        return time < GENESIS ? 0 : (time - GENESIS) / EPOCH_SECONDS;
    }

    /// @dev Now, as {Standing.changed}. Casting is safe: 2^32 epochs of a second are 136 years.
    function _stamp() internal view returns (uint32) {
        return block.timestamp < GENESIS ? 0 : uint32(_epoch() + 1);
    }
}
