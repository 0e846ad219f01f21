// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IRestart} from "./interfaces/IRestart.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {IRota} from "./interfaces/IRota.sol";
import {ChurnState, ISequencerRegistry, Status} from "./interfaces/ISequencerRegistry.sol";
import {ITally} from "./interfaces/ITally.sol";
import {Budget, ChurnLib} from "./lib/ChurnLib.sol";
import {Pool} from "./lib/PoolLib.sol";
import {SetLib} from "./lib/SetLib.sol";
import {Standing} from "./lib/StandingLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title What counts, and how fast that changes (R4, R7)
/// @notice Stake is in its pool, and slashable, from the moment of the deposit until it is claimed. Whether it *counts* is
/// decided here: a deposit rests at the end of a queue until there is room for its weight in the epoch's budget, and an exit
/// works on until there is room for it to leave. A place in the entry queue is a permission, for so many resting shares of a
/// holder or for all that a pool has working; what is not there any more when its turn comes is passed over.
///
/// Weight is what {Standing} says, in whole units, and never more than the working part of the pool is worth. {_admit} alone
/// raises it, within the budget, and from nothing only behind a seat. So neither a reward nor a rounding nor a new key moves
/// it: what rewards add counts once its owner or a deposit brings it in.
///
/// Invariants: of the weight that a seal could read, no more than the limit enters and no more than the limit leaves in an
/// epoch; what a report or a slash takes away comes on top. At most `maxMembers` sequencers have a seat at any time, and
/// nobody else is ever sealed.
abstract contract Churn {
    using SafeCast for uint256;

    /// What belongs to one id. The order is that of the words: `standing` two, `owner` one, `poster` one, `pool` three.
    struct Entry {
        Standing standing;
        address owner;
        /// When it last joined, was unjailed, checked in or came back: what a seal asks for after a restart (R33).
        uint40 aliveAt;
        address poster;
        uint40 checkedInAt;
        Pool pool;
    }

    /// What a holder has in a pool, in one word. That of its owner is {OWNER}'s, so that it goes along when the owner changes, and
    /// with it its places in the queue.
    struct Holding {
        uint128 shares;
        /// Resting shares that wait to work.
        uint128 waiting;
    }

    /// An {Exit}, in two words. Its place in the exit queue is its id.
    ///
    ///     sequencer 32 | holder 160 | epoch 48 | closes 8 | claimed 8      (from the low bits up)
    ///     resting shares 128 | queued shares 128
    struct ExitRecord {
        uint32 sequencer;
        address holder;
        /// In which the last of it left the queue.
        uint48 epoch;
        /// It is the one with which the owner leaves for good: all weight of the pool goes along.
        bool closes;
        bool claimed;
        uint128 restingShares;
        uint128 queuedShares;
    }

    /// A place in the entry queue, in two words, of which the second is used for deposits alone.
    struct Entrance {
        uint32 sequencer;
        /// Whose seat it takes; zero once that counts no more, and for most.
        uint32 evicted;
        /// L1 time at which it was taken.
        uint64 since;
        /// Resting shares of the holder.
        uint128 shares;
        /// Zero if all of the pool's working part is to count; {OWNER} for the owner, whoever that is by then.
        address holder;
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
    /// Stands for the owner of a pool among its holders. Nobody has the key of this address.
    address internal constant OWNER = address(1);
    /// Who lets at least so many places move is refunded as a whole.
    uint256 private constant WHOLE_FLUSH = 16;
    /// Calldata of {flush}.
    uint256 private constant FLUSH_BYTES = 36;

    IRota internal immutable SETTLEMENT;
    IRewardPool internal immutable REWARD_POOL;
    ITally private immutable TALLY;
    uint64 internal immutable GENESIS;
    uint64 internal immutable EPOCH_SECONDS;
    uint64 internal immutable EXIT_DELAY_SECONDS;
    uint256 private immutable MAX_MEMBERS;
    uint256 internal immutable WEIGHT_UNIT_WEI;

    uint32 internal _count;
    /// Who neither joined nor was heard of at this L1 time or later missed the restart that the running generation began with.
    uint40 internal _aliveSince;
    /// Generations that began after the first, counted modulo 2^16: what the running epoch's limit is measured by.
    uint16 private _begun;

    /// Ids that may weigh something; a vacated seat is given away when somebody needs it. Eight to a slot. There can be up to
    /// twice `maxMembers`: who counted when the epoch began, and who counts now.
    uint32[] private _seats;
    Cursor private _cursor;
    Budget private _budget;

    mapping(uint32 id => Entry) internal _entries;
    mapping(uint32 id => mapping(address holder => Holding)) internal _holdings;
    mapping(uint256 place => Entrance) private _entrances;
    mapping(uint256 exitId => ExitRecord) internal _exits;

    constructor(Params memory params, Addresses memory addresses) {
        SETTLEMENT = IRota(addresses.settlement);
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        TALLY = ITally(addresses.tally);
        GENESIS = params.genesis;
        EPOCH_SECONDS = params.epochSeconds;
        EXIT_DELAY_SECONDS = params.exitDelaySeconds;
        MAX_MEMBERS = params.maxMembers;
        WEIGHT_UNIT_WEI = params.weightUnitWei;
        // Exits are numbered from 1 on.
        (_cursor.exit, _cursor.exits) = (1, 1);
    }

    /* FLUSHING */

    /// @dev {ISequencerRegistry.flush}.
    function _flush(uint256 max) internal returns (uint256 steps) {
        uint256 gasAtStart = gasleft();
        Budget memory budget = _budgetNow();
        Cursor memory cursor = _cursor;

        if (cursor.entrance != cursor.entrances) steps = _flushEntrances(cursor, budget, max);
        steps += _flushExits(cursor, budget, max);
        require(steps != 0, ISequencerRegistry.NothingMoves());

        // Who moves few at a time could do it more often: as of a tally, only the first such call of an epoch is refunded as a whole.
        uint256 sixteenths = budget.flushed && steps < WHOLE_FLUSH ? steps : WHOLE_FLUSH;
        budget.flushed = true;
        _cursor = cursor;
        _keep(budget);
        REWARD_POOL.creditDuty(msg.sender, gasAtStart - gasleft(), FLUSH_BYTES, 4, sixteenths);
    }

    function _flushEntrances(Cursor memory cursor, Budget memory budget, uint256 max) private returns (uint256 steps) {
        bool priced = REWARD_POOL.isUpToDate();
        for (; steps < max && cursor.entrance != cursor.entrances; ++steps) {
            Entrance memory entrance = _entrances[cursor.entrance];
            // A deposit is priced only with what its pool has earned (R42), else it would share in what it did not carry; but
            // nothing depends on the reward pool for ever.
            bool waits = entrance.holder != address(0) && !priced;
            if (waits && block.timestamp < entrance.since + EXIT_DELAY_SECONDS) return steps;

            uint64 entered = budget.entered;
            if (_serve(entrance, budget)) {
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

    /// @dev Lets `amountWei` that `holder` brings, or if there is no holder all of the pool's working part, count, now or when
    /// its turn comes. Returns the working shares that it got at once.
    function _enter(uint32 id, address holder, uint256 amountWei, bool priced) internal returns (uint256 shares) {
        Pool storage pool = _entries[id].pool;
        Holding storage holding = _holdings[id][holder];
        Cursor memory cursor = _cursor;
        Entrance memory entrance =
            Entrance({sequencer: id, evicted: 0, since: uint64(block.timestamp), shares: 0, holder: holder});

        if (priced && cursor.entrance == cursor.entrances) {
            Budget memory budget = _budgetNow();
            (bool done, uint256 takenWei) = _admit(entrance, amountWei, budget);
            _keep(budget);
            if (takenWei != 0) {
                shares = pool.deposit(takenWei);
                holding.shares += shares.toUint128();
            }
            if (done) return shares;
            amountWei -= takenWei;
        }
        if (holder == address(0)) {
            pool.returning = true;
        } else {
            entrance.shares = pool.wait(amountWei).toUint128();
            holding.waiting += entrance.shares;
        }
        _entrances[cursor.entrances] = entrance;
        _cursor.entrances = cursor.entrances + 1;

        emit ISequencerRegistry.EntranceQueued(id, cursor.entrances, _nameOf(id, holder), entrance.shares);
    }

    /// @dev Lets all that works of a pool count, now or when its turn comes.
    function _comeBack(Entry storage entry, uint32 id) internal {
        _requireRoomFor(entry, entry.pool.stakeWei());
        _enter({id: id, holder: address(0), amountWei: 0, priced: true});
    }

    /// @dev Serves a place of the queue; says whether it is served.
    function _serve(Entrance memory entrance, Budget memory budget) private returns (bool done) {
        Pool storage pool = _entries[entrance.sequencer].pool;
        Holding storage holding = _holdings[entrance.sequencer][entrance.holder];
        uint256 waiting = Math.min(entrance.shares, holding.waiting);
        bool ofPool = entrance.holder == address(0);
        if (waiting == 0 && !ofPool) return true;
        uint256 offeredWei = pool.restingWorth(waiting);
        // What was slashed to next to nothing prices its shares beyond what 128 bits hold: it takes nothing in any more.
        if (pool.shares + pool.sharesFor(offeredWei) > type(uint128).max) return true;

        uint256 takenWei;
        (done, takenWei) = _admit(entrance, offeredWei, budget);
        if (ofPool && done) pool.returning = false;
        if (takenWei == 0) return done;

        if (takenWei != offeredWei) waiting = Math.min(waiting, pool.restingFor(takenWei));
        uint256 shares = pool.wake(waiting);
        // Casting is safe: parts of what the pool has.
        entrance.shares -= uint128(waiting);
        holding.waiting -= uint128(waiting);
        holding.shares += uint128(shares);

        emit ISequencerRegistry.Entered(
            entrance.sequencer, _nameOf(entrance.sequencer, entrance.holder), waiting, shares
        );
    }

    /// @dev Raises the weight of a pool to which `offeredWei` are offered, as far as there is room. Says whether that was all,
    /// and how much of what is offered goes to work.
    function _admit(Entrance memory entrance, uint256 offeredWei, Budget memory budget)
        private
        returns (bool done, uint256 takenWei)
    {
        Entry storage entry = _entries[entrance.sequencer];
        Pool storage pool = entry.pool;
        Status status = entry.standing.status;
        // What is offered to it stays where it is, for its holder to take out.
        if (pool.closing || status == Status.Tombstoned) return (true, 0);

        uint256 weight = entry.standing.weight();
        uint256 wanted = (pool.workingWei() + offeredWei) / WEIGHT_UNIT_WEI;
        // It joins what does not count yet either, and comes in with that; or all together are worth less than a unit.
        bool silent = status != Status.Active || wanted <= weight;
        // Nor does whoever missed a restart take a seat before it says that it is there.
        bool waits = _missedRestart(entry) || (weight == 0 && pool.returning && entrance.holder != address(0));
        if (silent || waits) return (true, offeredWei);

        if (budget.roomIn() == 0) return (false, 0);
        if (weight == 0) {
            uint256 stakeWei = pool.stakeWei() + (entrance.shares == 0 ? offeredWei : 0);
            if (!_seat(entrance, entry.standing.signer, stakeWei, budget)) return (false, 0);
            if (entrance.evicted != 0) {
                // Too small when its turn came: it works without a seat, until it comes back or is topped up.
                return (true, offeredWei);
            }
        }

        uint256 room = budget.roomIn();
        done = wanted - weight <= room;
        takenWei = offeredWei;
        if (!done) {
            wanted = weight + room;
            // What works already may suffice for the slice.
            takenWei = Math.saturatingSub(wanted * WEIGHT_UNIT_WEI, pool.workingWei());
        }
        budget.noteIn(wanted - weight);
        _weigh(entry.standing, wanted);
    }

    /// @dev Has a seat ready for whoever weighs nothing yet, if need be that of the smallest, who sinks within the budget
    /// first. Says whether it is; leaves the newcomer as the evicted itself if nobody gives way to it.
    function _seat(Entrance memory entrance, address signer, uint256 stakeWei, Budget memory budget)
        private
        returns (bool ready)
    {
        if (entrance.evicted != 0) {
            // It has left meanwhile, or is dead: whether there is a free seat now is another question.
            Entry storage victim = _entries[entrance.evicted];
            if (victim.standing.weight() == 0 || _missedRestart(victim)) entrance.evicted = 0;
        }
        if (entrance.evicted == 0) {
            (bool full, uint32 smallest, uint256 smallestWei) = _smallest();
            if (full) {
                bool tooSmall = stakeWei * 10 < smallestWei * EVICTION_TENTHS;
                entrance.evicted = tooSmall ? entrance.sequencer : smallest;
                emit ISequencerRegistry.Evicted(entrance.evicted, entrance.sequencer);
                if (tooSmall) return true;
            }
        }
        if (entrance.evicted != 0) {
            Standing storage standing = _entries[entrance.evicted].standing;
            uint256 weight = standing.weight();
            uint256 drop = Math.min(weight, budget.roomIn());
            budget.noteIn(drop);
            _weigh(standing, weight - drop);
            if (drop != weight) return false;
            entrance.evicted = 0;
        }
        _takeSeat(entrance.sequencer, signer);
        return true;
    }

    /* LEAVING */

    /// @dev Puts an exit at the end of the queue. What takes no weight away does not wait there, as what waited to work.
    function _leave(uint32 id, address holder, uint256 shares, uint256 waiting, bool closes)
        internal
        returns (uint256 exitId)
    {
        Cursor memory cursor = _cursor;
        Budget memory budget = _budgetNow();
        bool first = cursor.exit == cursor.exits;
        if (!first) budget.limit = budget.left;

        exitId = cursor.exits;
        ExitRecord storage exit_ = _exits[exitId];
        (exit_.sequencer, exit_.holder, exit_.closes) = (id, holder, closes);
        (exit_.restingShares, exit_.queuedShares) = (waiting.toUint128(), shares.toUint128());
        if (waiting != 0) _entries[id].pool.waitingShares -= uint128(waiting);
        bool done = _release(exitId, budget);

        if (first && done) ++cursor.exit;
        ++cursor.exits;
        _cursor = cursor;
        if (first) _keep(budget);
    }

    /// @dev Lets go what there is room for; says whether that was all. What an owner takes out of a pool that closes takes
    /// all weight along; of others, what does not count goes first.
    function _release(uint256 exitId, Budget memory budget) private returns (bool done) {
        ExitRecord storage exit_ = _exits[exitId];
        if (exit_.epoch != 0) return true;
        Entry storage entry = _entries[exit_.sequencer];
        Pool storage pool = entry.pool;
        uint256 queued = exit_.queuedShares;

        uint256 gone = queued;
        uint256 weight = entry.standing.weight();
        // Whoever owns a pool that closes takes all of its weight along, also with an exit of nothing but what waited to work.
        bool whole = weight != 0 && exit_.closes;
        if (whole || (weight != 0 && queued != 0)) {
            uint256 workingWei = pool.workingWei();
            uint256 kept = whole ? 0 : Math.min(weight, (workingWei - pool.worth(queued)) / WEIGHT_UNIT_WEI);
            // What no set counts, as its sequencer missed a restart, takes nothing of what others may leave with.
            bool counts = !_missedRestart(entry);
            uint256 room = counts ? budget.roomOut() : weight;
            if (weight - kept > room) {
                kept = weight - room;
                gone = whole ? 0 : Math.min(queued, pool.sharesFor(workingWei - kept * WEIGHT_UNIT_WEI));
            }
            if (kept != weight) {
                if (counts) budget.noteOut(weight - kept);
                _weigh(entry.standing, kept);
            }
            whole = whole && kept != 0;
        }
        if (gone != 0) {
            // Casting is safe: both are parts of what the pool has.
            exit_.restingShares += uint128(pool.retire(gone));
            exit_.queuedShares = uint128(queued - gone);
        }
        if (gone != queued || whole) return false;

        uint64 epoch = _epoch();
        // One more, so that none is zero. Casting is safe: 2^48 epochs of a second are nine million years.
        exit_.epoch = uint48(epoch + 1);
        emit ISequencerRegistry.ExitLeft(exitId, epoch);
        return true;
    }

    /// @dev The sequencer leaves for good.
    function _close(Entry storage entry, uint32 id) internal {
        entry.pool.closing = true;
        if (entry.standing.status != Status.Active) return;

        entry.standing.status = Status.Leaving;
        emit ISequencerRegistry.StatusChanged(id, Status.Leaving);
    }

    /* SEATS */

    /// @dev Who was heard of since `aliveSince`, as of the start of the running epoch; or, if it is not zero, who checked in
    /// since `openedAt`, as of now.
    function _members(uint64 aliveSince, uint64 openedAt) internal view returns (uint256[] memory words) {
        uint64 running = openedAt == 0 ? _epoch() : type(uint64).max;
        uint32[] memory ids = _seats;
        words = new uint256[](ids.length);

        uint256 found;
        // Unchecked: both indices are below the length of both arrays.
        unchecked {
            for (uint256 i = 0; i < ids.length; ++i) {
                Entry storage entry = _entries[ids[i]];
                uint256 word = entry.standing.wordAtStartOf(running);
                if (SetLib.weightOf(word) == 0) continue;
                if (aliveSince != 0 && entry.aliveAt < aliveSince) continue;
                if (openedAt == 0 || entry.checkedInAt >= openedAt) words[found++] = word;
            }
        }
        SetLib.keepLargest(words, found, MAX_MEMBERS);
    }

    /// @dev Whoever missed the restart takes a free seat, and was not there at the start of the running epoch (R3).
    function _reseat(Entry storage entry, uint32 id) internal {
        (bool full,,) = _smallest();
        require(!full, IRestart.NotEligible(id));
        Standing storage standing = entry.standing;
        _weigh(standing, standing.weight());
        standing.weightBefore = 0;
        _takeSeat(id, standing.signer);
    }

    /// @dev Who is too small for a full set is told before its stake is taken, rather than when its turn comes.
    function _requireRoomFor(Entry storage entry, uint256 stakeWei) internal view {
        if (entry.standing.weight() != 0) return;
        (bool full,, uint256 smallestWei) = _smallest();
        uint256 minimumWei = Math.ceilDiv(smallestWei * EVICTION_TENTHS, 10);
        require(!full || stakeWei >= minimumWei, ISequencerRegistry.ActiveSetFull(minimumWei, stakeWei));
    }

    /// @dev Whether as many as may have a seat do, and of them the one with the least stake: of equals the one that joined
    /// later.
    function _smallest() private view returns (bool full, uint32 smallest, uint256 smallestWei) {
        uint32[] memory ids = _seats;
        if (ids.length < MAX_MEMBERS) return (false, 0, 0);

        uint256 seated;
        smallestWei = type(uint128).max;
        for (uint256 i = 0; i < ids.length; ++i) {
            Entry storage entry = _entries[ids[i]];
            if (entry.standing.weight() == 0 || _missedRestart(entry)) continue;
            ++seated;
            uint256 stakeWei = entry.pool.stakeWei();
            if (stakeWei < smallestWei || (stakeWei == smallestWei && ids[i] > smallest)) {
                (smallest, smallestWei) = (ids[i], stakeWei);
            }
        }
        full = seated >= MAX_MEMBERS;
    }

    /// @dev Nothing asks for who was heard of while nobody missed one.
    function _missedRestart(Entry storage entry) internal view returns (bool) {
        return _aliveSince != 0 && entry.aliveAt < _aliveSince;
    }

    /// @dev Seats are kept in the order of the keys with which their holders took them, so that a seal finds its members
    /// nearly sorted; everybody between the freed seat and the new place moves by one. A seat is free if its holder weighs
    /// nothing, now and at the start of the running epoch, or missed the restart.
    function _takeSeat(uint32 id, address signer) private {
        uint32[] memory ids = _seats;
        uint64 running = _epoch();
        uint256 seat = ids.length;
        for (uint256 i = 0; i < ids.length; ++i) {
            if (ids[i] == id) return;
            if (ids.length < MAX_MEMBERS || seat != ids.length) continue;
            Entry storage entry = _entries[ids[i]];
            bool counts = entry.standing.weight() != 0 || SetLib.weightOf(entry.standing.wordAtStartOf(running)) != 0;
            if (!counts || _missedRestart(entry)) seat = i;
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

    /// @dev {ISequencerRegistry.churn}.
    function _churnNow() internal view returns (ChurnState memory) {
        Budget memory budget = _budgetNow();
        return ChurnState({
            limit: budget.limit,
            entered: budget.entered,
            left: budget.left,
            entrances: _cursor.entrances - _cursor.entrance,
            exits: _cursor.exits - _cursor.exit
        });
    }

    /// @dev Read once an epoch from the set in force, so that it does not depend on when a set is sealed; and once more if a
    /// generation begins in it.
    function _budgetNow() private view returns (Budget memory budget) {
        uint32 stamp = _stamp();
        budget = _budget;
        uint16 begun = _begun;
        if (stamp == 0 || budget.stamp != stamp) {
            return Budget({stamp: stamp, begun: begun, limit: _limit(), entered: 0, left: 0, flushed: false});
        }
        // What moved in this epoch has moved.
        if (budget.begun != begun) (budget.begun, budget.limit) = (begun, _limit());
    }

    /// @dev Another set is in force from now on, which may be much smaller.
    function _measureAnew() internal {
        unchecked {
            ++_begun;
        }
    }

    function _keep(Budget memory budget) private {
        if (budget.limit != ChurnLib.UNLIMITED) _budget = budget;
    }

    function _limit() private view returns (uint64) {
        if (block.timestamp < GENESIS) return ChurnLib.UNLIMITED;

        return TALLY.churnLimit(_aliveSince);
    }

    /* PARTS */

    /// @dev The address by which events name `holder`.
    function _nameOf(uint32 id, address holder) private view returns (address) {
        return holder == OWNER ? _entries[id].owner : holder;
    }

    /// @dev Records a weight as it is from now on (R3). Casting is safe: the total of all pools is below 2^56 units.
    function _weigh(Standing storage standing, uint256 weight) internal {
        standing.change(_stamp(), standing.signer, uint56(weight));
    }

    /// @dev The running epoch, as {ICalendar.epochAt}; 0 before genesis.
    function _epoch() internal view returns (uint64) {
        uint64 time = uint64(block.timestamp);
        return time < GENESIS ? 0 : (time - GENESIS) / EPOCH_SECONDS;
    }

    /// @dev Now, as {Standing.changed}. Casting is safe: 2^32 epochs of a second are 136 years.
    function _stamp() internal view returns (uint32) {
        return block.timestamp < GENESIS ? 0 : uint32(_epoch() + 1);
    }
}
