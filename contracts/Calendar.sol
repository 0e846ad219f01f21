// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ICalendar, Member} from "./interfaces/ICalendar.sol";
import {ISequencerRegistry} from "./interfaces/ISequencerRegistry.sol";
import {FrozenSet, SetLib} from "./lib/SetLib.sol";
import {TipWord} from "./lib/TipLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Which epoch is when, and whose
/// @notice See {ICalendar}. A set is frozen once, as the code of a data contract, and never changes; an epoch that nobody
/// sealed carries the set, and the seed, of the last sealed one before it. Nothing here is ever deleted.
///
/// The settlement contract settles with these slots, and {Rotation} changes them in its name. So all that either of them
/// reads of the other's is declared here, and this contract comes first in both: what each has besides, only the
/// settlement contract may keep in slots.
abstract contract Calendar is ICalendar {
    /// How a generation began: by the first seal of all, by a restart, or by a seal after nobody was left (R5, R33).
    struct Beginning {
        uint64 time;
        /// The epoch of its first set, running at that time.
        uint64 epoch;
        /// Nobody is eligible who neither checked in nor joined or returned at this L1 time or later; zero if all are.
        uint64 aliveSince;
        /// The epoch in which the members of that set were read: later changes are not in it.
        uint64 frozenIn;
    }

    /// The restart opened last, in one word.
    struct Attempt {
        uint64 openedAt;
        uint64 lapsed;
        uint64 count;
        uint64 weight;
    }

    /// Who checked in to the restart opened last, frozen, and the L1 block that their seed will come from.
    struct Closed {
        address pointer;
        /// Zero as long as it is not closed.
        uint64 number;
        /// The epoch in which it was closed.
        uint32 epoch;
    }

    /// Who is sealed in the running epoch of a generation, frozen, and the L1 block whose prevrandao goes into the seed; in one
    /// word.
    struct Pin {
        /// Zero as long as nothing was ever pinned.
        address pointer;
        uint16 generation;
        uint32 epoch;
        uint48 number;
    }

    uint64 internal immutable GENESIS;
    uint64 internal immutable EPOCH_SECONDS;
    ISequencerRegistry internal immutable REGISTRY;

    /// The set that was sealed for an epoch and its seed, as {SetLib.record}; zero for an epoch that carries another's.
    mapping(uint32 generation => mapping(uint64 epoch => bytes32 record)) internal _sealed;

    /// Epochs that were sealed, ascending; four to a slot.
    mapping(uint32 generation => uint64[] epochs) internal _sealedEpochs;

    mapping(uint32 generation => Beginning) internal _beginnings;

    Pin internal _pin;

    Attempt internal _attempt;
    Closed internal _closed;

    /// The settled chain's tip.
    TipWord internal _tip;
    bytes32 internal _lastBlockHash;

    constructor(Params memory p, Addresses memory addresses) {
        GENESIS = p.genesis;
        EPOCH_SECONDS = p.epochSeconds;
        REGISTRY = ISequencerRegistry(addresses.registry);
    }

    /// @inheritdoc ICalendar
    function epochAt(uint64 time) public view returns (uint64) {
        return time < GENESIS ? 0 : (time - GENESIS) / EPOCH_SECONDS;
    }

    /// @inheritdoc ICalendar
    function startOf(uint64 epoch) public view returns (uint64) {
        uint64 last = (type(uint64).max - GENESIS) / EPOCH_SECONDS;
        require(epoch <= last, EpochBeyondTime(last, epoch));
        return GENESIS + epoch * EPOCH_SECONDS;
    }

    /// @inheritdoc ICalendar
    /// @dev Kept beside the tip: a settlement reads both, and one slot is cheaper than two.
    function generation() public view returns (uint32) {
        return _tip.generation();
    }

    /// @inheritdoc ICalendar
    function setOf(uint32 generation_, uint64 epoch)
        external
        view
        returns (address pointer, uint64 sealedFor, bytes32 seed)
    {
        bytes32 record;
        (record, sealedFor) = _recordOf(generation_, epoch);
        return (SetLib.pointerOf(record), sealedFor, SetLib.seedOf(record));
    }

    /// @dev What was sealed for `epoch`: one slot read for an epoch that was itself sealed, else a search.
    function _recordOf(uint32 generation_, uint64 epoch) internal view returns (bytes32 record, uint64 sealedFor) {
        record = _sealed[generation_][epoch];
        if (record != 0) return (record, epoch);

        // Carried: the last epoch sealed before this one.
        uint64[] storage epochs = _sealedEpochs[generation_];
        uint256 after_ = _firstAfter(epochs, epoch);
        require(after_ != 0, NoSetInForce(generation_, epoch));
        sealedFor = epochs[after_ - 1];
        record = _sealed[generation_][sealedFor];
    }

    /// @inheritdoc ICalendar
    function memberAt(uint32 generation_, uint64 epoch, uint256 index) external view returns (Member memory) {
        (address signer, uint64 weight) = _setAt(generation_, epoch).member(index);
        return Member({signer: signer, weight: weight});
    }

    /// @inheritdoc ICalendar
    function totalAt(uint32 generation_, uint64 epoch) external view returns (uint64) {
        return uint64(_setAt(generation_, epoch).total());
    }

    /// @inheritdoc ICalendar
    function endOf(uint32 generation_, uint64 epoch) public view returns (bool known, uint64 time) {
        uint64[] storage epochs = _sealedEpochs[generation_];
        uint256 next = _firstAfter(epochs, epoch);
        require(next != 0, NoSetInForce(generation_, epoch));
        if (next != epochs.length) (known, time) = (true, startOf(epochs[next]));

        uint64 begun = _beginnings[generation_ + 1].time;
        if (begun != 0 && (!known || begun < time)) (known, time) = (true, begun);
    }

    /// @dev The set in force in `epoch`.
    function _setAt(uint32 generation_, uint64 epoch) internal view returns (FrozenSet) {
        (bytes32 record,) = _recordOf(generation_, epoch);
        return SetLib.load(record);
    }

    /// @dev Index of the first of the ascending `epochs` that is after `epoch`; their number if none is.
    function _firstAfter(uint64[] storage epochs, uint64 epoch) private view returns (uint256 low) {
        uint256 high = epochs.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (epochs[middle] <= epoch) low = middle + 1;
            else high = middle;
        }
    }
}
