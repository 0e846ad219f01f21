// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Calendar} from "./Calendar.sol";
import {Member} from "./interfaces/ICalendar.sol";
import {IRestart} from "./interfaces/IRestart.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {IRota, LeaderSet} from "./interfaces/IRota.sol";
import {CodeLib} from "./lib/CodeLib.sol";
import {DrawLib} from "./lib/DrawLib.sol";
import {L1BlockLib} from "./lib/L1BlockLib.sol";
import {ParamsLib} from "./lib/ParamsLib.sol";
import {PayloadLib} from "./lib/PayloadLib.sol";
import {FrozenSet, SetLib} from "./lib/SetLib.sol";
import {SortLib} from "./lib/SortLib.sol";
import {TipLib} from "./lib/TipLib.sol";
import {Addresses, Params} from "./types/Params.sol";
import {BlockHeader} from "./types/Wire.sol";

/// @title Whose turn it is
/// @notice See {IRota}. Runs as part of the settlement contract (see {Rotation}), on slots that {Calendar} declares.
abstract contract Rota is IRota, Calendar {
    uint64 internal constant MAX_SCHEDULE = 256;
    /// Of so many slots of L1 one may be missed, without a block, and a pin still leads to a seal.
    uint64 private constant SLOTS_A_SPARE_ONE = 20;
    /// Calldata of {pin}, and of {seal} around the header.
    uint256 private constant PIN_BYTES = 36;
    uint256 private constant PIN_NONZERO_BYTES = 5;
    uint256 private constant SEAL_BYTES = 100;
    /// Root of a tree without leaves (R25).
    bytes32 private constant EMPTY_ROOT = keccak256(hex"02");

    uint64 internal immutable MIN_MEMBERS;
    uint64 private immutable EXIT_DELAY_SECONDS;
    IRewardPool internal immutable REWARD_POOL;
    /// L1 blocks from the call that pins to the block that it pins.
    uint64 private immutable SEED_DISTANCE;
    /// From a pin to the first block in which its seal can be.
    uint64 private immutable SEAL_SECONDS;
    /// All parameters, as code.
    address private immutable PARAMS_POINTER;

    constructor(Params memory p, Addresses memory addresses) Calendar(p, addresses) {
        MIN_MEMBERS = p.minMembers;
        EXIT_DELAY_SECONDS = p.exitDelaySeconds;
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        uint64 distance = ParamsLib.seedDistanceBlocks(p);
        SEED_DISTANCE = distance;
        SEAL_SECONDS = (distance + distance / SLOTS_A_SPARE_ONE + 1) * p.l1BlockSeconds;
        PARAMS_POINTER = CodeLib.store(abi.encode(p));
    }

    /* SEALING */

    /// @inheritdoc IRota
    function pin(uint64 epoch) external {
        uint256 gasAtStart = gasleft();
        _pinFor(epoch);
        REWARD_POOL.creditDuty(msg.sender, gasAtStart - gasleft(), PIN_BYTES, PIN_NONZERO_BYTES, 16);
    }

    function _pinFor(uint64 epoch) private {
        uint32 current = generation();
        (uint64 last, bytes32 newest) = _newest(current);
        (uint64 running, bool vacant) = _requireSealable(epoch, last, newest);
        uint64 standing = pinned();
        require(standing == 0, PinStands(standing));
        _requireTimeUntil(startOf(running + 1));

        // What was frozen once in an epoch stays, also if L1 forgets the block: there is no second list to try.
        address pointer = pinnedSet();
        if (pointer == address(0)) pointer = _freeze(current, last, newest, vacant);
        uint64 number = _newPin();
        // Casting is safe: the tip has 12 bits for a generation, 2^32 epochs of a second are 136 years, and no chain gets to
        // 2^48 blocks.
        _pin = Pin({pointer: pointer, generation: uint16(current), epoch: uint32(running), number: uint48(number)});

        emit Pinned(current, running, number, pointer);
    }

    /// @dev Freezes who is to be sealed after `newest`, the set of epoch `last` (R3). Most pins find what the one before found, and
    /// then its code does for both.
    function _freeze(uint32 current, uint64 last, bytes32 newest, bool vacant) private returns (address pointer) {
        uint256[] memory members = REGISTRY.membersAtEpochStart(_aliveSince(current));
        _requireEnough(members.length, last, newest);
        // Nobody after nobody is nothing new, and would be paid for again and again.
        require(!(vacant && members.length == 0), TooFewMembers(MIN_MEMBERS, 0));
        uint32 generation_ = vacant ? current + 1 : current;
        _sorted(members);
        if (newest != 0) {
            FrozenSet before = SetLib.load(newest);
            if (before.generation() == generation_ && before.holds(members)) return SetLib.pointerOf(newest);
        }
        (pointer,) = SetLib.store(members, SetLib.seedOf(newest), generation_);
    }

    /// @dev Fewer than minMembers are enough once what leaves has waited for as long as an exit takes since `newest`, the set of
    /// epoch `last` (R5).
    function _requireEnough(uint256 count, uint64 last, bytes32 newest) internal view {
        if (count >= MIN_MEMBERS) return;
        bool waited = newest != 0 && block.timestamp >= startOf(last) + EXIT_DELAY_SECONDS;
        require(waited, TooFewMembers(MIN_MEMBERS, count));
    }

    /// @dev What is pinned now has to be there, and a block after it, before `end`: nobody is paid for what comes to nothing.
    function _requireTimeUntil(uint64 end) internal view {
        uint64 until = end - SEAL_SECONDS;
        require(block.timestamp < until, PinTooLate(until, uint64(block.timestamp)));
    }

    /// @dev The block that a call pins now.
    function _newPin() internal view returns (uint64) {
        return uint64(block.number) + SEED_DISTANCE;
    }

    /// @dev Whether a pin of block `number` can still be used, now or later.
    function _isRemembered(uint64 number) internal view returns (bool) {
        return number >= block.number || L1BlockLib.hashOf(number) != 0;
    }

    /// @inheritdoc IRota
    function pinned() public view returns (uint64) {
        uint64 number = _pinIn(generation(), epochAt(uint64(block.timestamp))).number;
        return number != 0 && _isRemembered(number) ? number : 0;
    }

    /// @inheritdoc IRota
    function pinnedSet() public view returns (address) {
        return _pinIn(generation(), epochAt(uint64(block.timestamp))).pointer;
    }

    /// @dev What was pinned in this epoch of this generation; zeros if nothing was.
    function _pinIn(uint32 generation_, uint64 epoch) private view returns (Pin memory last) {
        last = _pin;
        if (last.generation != generation_ || last.epoch != epoch) delete last;
    }

    /// @inheritdoc IRota
    function seal(uint64 epoch, bytes calldata header) external {
        uint256 gasAtStart = gasleft();
        _seal(epoch, header);
        _creditHeader(gasAtStart, SEAL_BYTES, header);
    }

    /// @dev For a call that has `header` in its calldata, with `size` bytes around it.
    function _creditHeader(uint256 gasAtStart, uint256 size, bytes calldata header) internal {
        uint256 nonzero = PayloadLib.nonzeroBytes(header);
        REWARD_POOL.creditDuty(msg.sender, gasAtStart - gasleft(), size + header.length, nonzero, 16);
    }

    /// @dev Reads nothing of who is there: that was frozen by the pin, before anybody could know the seed.
    function _seal(uint64 epoch, bytes calldata header) private {
        uint32 current = generation();
        (uint64 last, bytes32 newest) = _newest(current);
        (uint64 running, bool vacant) = _requireSealable(epoch, last, newest);

        Pin memory last_ = _pinIn(current, running);
        require(last_.pointer != address(0), NothingPinned(running));
        bytes32 seed = _seedAfter(newest, last_.number, header);

        if (vacant) return _begin(epoch, epoch, _aliveSince(current), last_.pointer, seed, last_.number);
        _book(current, epoch, last_.pointer, seed, last_.number);
        if (newest == 0) _fixGenesis(epoch);
    }

    /// @dev That `epoch` is the one that can be sealed now, after `newest`, the set of epoch `last`; and whether that is empty:
    /// then no height has a leader, so the chain goes on in a new generation, from the running epoch on.
    function _requireSealable(uint64 epoch, uint64 last, bytes32 newest)
        private
        view
        returns (uint64 running, bool vacant)
    {
        uint64 time = uint64(block.timestamp);
        require(time >= GENESIS, BeforeGenesis(GENESIS, time));
        running = epochAt(time);
        bool any = newest != 0;
        vacant = any && last <= running && SetLib.load(newest).count() == 0;
        uint64 expected = any && !vacant ? running + 1 : running;
        require(epoch == expected, EpochNotSealable(expected, epoch));
        require(!any || vacant || last != epoch, AlreadySealed(epoch));
    }

    /// @dev What follows from the seed of `newest`, a {SetLib.record}, with prevrandao of L1 block `number`, whose header has
    /// to be `header`. Nothing else goes into it: no epoch, no caller, and no moment of a call.
    function _seedAfter(bytes32 newest, uint64 number, bytes calldata header) internal view returns (bytes32) {
        bytes32 random = L1BlockLib.randomnessOf(number, header);
        return SetLib.seedOf(keccak256(abi.encode(SetLib.seedOf(newest), random)));
    }

    /// @dev The {SetLib.record} sealed last in `generation_`, zero if none was.
    function _newest(uint32 generation_) internal view returns (uint64 epoch, bytes32 record) {
        uint64[] storage epochs = _sealedEpochs[generation_];
        uint256 count = epochs.length;
        if (count == 0) return (0, 0);

        epoch = epochs[count - 1];
        return (epoch, _sealed[generation_][epoch]);
    }

    /// @dev The words have the signer in front: sorted words are sorted signers.
    function _sorted(uint256[] memory members) internal pure returns (uint256[] memory) {
        SortLib.sort(members);
        return members;
    }

    /// @dev The set at `pointer` is that of `epoch`, with a seed that has prevrandao of L1 block `number` in it.
    function _book(uint32 generation_, uint64 epoch, address pointer, bytes32 seed, uint64 number) private {
        _sealed[generation_][epoch] = SetLib.record(pointer, seed);
        _sealedEpochs[generation_].push(epoch);

        FrozenSet set = SetLib.load(pointer);
        emit Sealed(generation_, epoch, pointer, seed, uint64(set.total()), set.count(), number);
    }

    /// @dev The next generation begins, with the set at `pointer` as that of `epoch`, the running one. What the one before
    /// sealed beyond that is void: nothing looks for it in this one. Its members were read in epoch `frozenIn`.
    function _begin(uint64 epoch, uint64 frozenIn, uint64 aliveSince, address pointer, bytes32 seed, uint64 number)
        internal
    {
        uint32 current = generation();
        _beginnings[current + 1] =
            Beginning({time: uint64(block.timestamp), epoch: epoch, aliveSince: aliveSince, frozenIn: frozenIn});
        _book(current + 1, epoch, pointer, seed, number);
        // The origin is this block: the first batch names it or a later one, so nothing ordered before settles.
        _tip = _tip.inGeneration({
            generation_: current + 1,
            epoch_: epoch,
            l1OriginNumber_: uint64(block.number),
            time: uint64(block.timestamp)
        });

        emit IRestart.GenerationStarted(current + 1, epoch, _tip.lastHeight(), _lastBlockHash);
        REGISTRY.startGeneration(aliveSince);
    }

    /// @dev Generation 0 began without a restart: a seal of it does not pay for the question.
    function _aliveSince(uint32 generation_) internal view returns (uint64) {
        return generation_ == 0 ? 0 : _beginnings[generation_].aliveSince;
    }

    /// @dev Block 0 names the block before this call as its origin: the newest one whose hash L1 can tell.
    function _fixGenesis(uint64 epoch) private {
        BlockHeader memory header = BlockHeader({
            generation: 0,
            height: 0,
            epoch: epoch,
            proposer: address(0),
            timestamp: GENESIS * 1000,
            parentHash: bytes32(0),
            l1OriginNumber: uint64(block.number - 1),
            l1OriginHash: blockhash(block.number - 1),
            forcedThrough: 0,
            txCount: 0,
            txRoot: EMPTY_ROOT
        });
        bytes32 blockHash = keccak256(abi.encode(header));

        _beginnings[0] = Beginning({time: uint64(block.timestamp), epoch: epoch, aliveSince: 0, frozenIn: epoch});
        _tip = TipLib.pack({
            number_: 0,
            lastHeight_: 0,
            epoch_: epoch,
            timestamp_: GENESIS,
            l1OriginNumber_: header.l1OriginNumber,
            settledAt_: uint64(block.timestamp),
            forcedThrough_: 0,
            consumed_: 0,
            generation_: 0
        });
        _lastBlockHash = blockHash;

        emit GenesisFixed(blockHash, header);
    }

    /* READING */

    /// @inheritdoc IRota
    function params() external view returns (Params memory) {
        bytes memory encoded = CodeLib.load(PARAMS_POINTER);
        // What lies there is what is returned already; to decode and encode it again takes a kilobyte of code.
        // Memory-safe: reads what was allocated, and ends the call.
        assembly ("memory-safe") {
            return(add(encoded, 32), mload(encoded))
        }
    }

    /// @inheritdoc IRota
    function leaderSet(uint64 epoch) external view returns (LeaderSet memory) {
        return leaderSetOf(generation(), epoch);
    }

    /// @inheritdoc IRota
    function leaderSetOf(uint32 generation_, uint64 epoch) public view returns (LeaderSet memory set) {
        (bytes32 record, uint64 sealedFor) = _recordOf(generation_, epoch);
        FrozenSet frozen = SetLib.load(record);

        set.generation = generation_;
        set.sealedFor = sealedFor;
        set.seed = frozen.seed();
        set.total = uint64(frozen.total());
        set.members = new Member[](frozen.count());
        for (uint256 i = 0; i < set.members.length; ++i) {
            (address signer, uint64 weight) = frozen.member(i);
            set.members[i] = Member({signer: signer, weight: weight});
        }
    }

    /// @inheritdoc IRota
    function leaderOf(uint64 epoch, uint64 turn) external view returns (address) {
        FrozenSet set = _setAt(generation(), epoch);
        return SetLib.signerOf(set.memberAt(DrawLib.draw0(set, turn)));
    }

    /// @inheritdoc IRota
    function schedule(uint64 epoch, uint64 firstTurn, uint64 count) external view returns (address[] memory leaders) {
        uint64 left = type(uint64).max - firstTurn;
        uint64 maximum = left < MAX_SCHEDULE ? left : MAX_SCHEDULE;
        require(count <= maximum, ScheduleTooLong(maximum, count));

        FrozenSet set = _setAt(generation(), epoch);
        leaders = new address[](count);
        for (uint64 i = 0; i < count; ++i) {
            leaders[i] = SetLib.signerOf(set.memberAt(DrawLib.draw0(set, firstTurn + i)));
        }
    }

    /// @inheritdoc IRota
    function countsFrom(uint64 epoch) external view returns (bool known, uint64 time) {
        require(epoch != type(uint64).max, EpochBeyondTime(type(uint64).max - 1, epoch));
        // No set was ever sealed with what was before the change: the first of all comes, or came, after it.
        Beginning storage first = _beginnings[0];
        if (first.time == 0 || first.epoch > epoch) {
            return (epochAt(uint64(block.timestamp)) > epoch, startOf(epoch + 1));
        }

        // The last generation whose first set was frozen in `epoch` or before: those of all later ones count the change.
        uint32 low = 0;
        uint32 high = generation();
        while (low < high) {
            uint32 middle = high - (high - low) / 2;
            if (_beginnings[middle].frozenIn > epoch) high = middle - 1;
            else low = middle;
        }

        // A seal for `epoch` + 1 still read the start of `epoch`. A restart may take until a later epoch to begin with whom it froze.
        uint64 begun = _beginnings[low].epoch;
        return endOf(low, begun > epoch + 1 ? begun : epoch + 1);
    }
}
