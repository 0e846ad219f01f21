// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {BatchInbox} from "./BatchInbox.sol";
import {ForcedEntry, IForcedInbox, LateEntries} from "./interfaces/IForcedInbox.sol";
import {IRollups} from "./interfaces/IRollups.sol";
import {FeeLib} from "./lib/FeeLib.sol";
import {TipLib, TipWord} from "./lib/TipLib.sol";
import {Addresses, Params} from "./types/Params.sol";
import {BatchHeader} from "./types/Wire.sol";

/// @title The way in that no sequencer can close
/// @notice See {IForcedInbox}. The tip holds how far the queue is consumed, so a batch that meets an empty queue reads one
/// slot more than without it.
///
/// Invariants: consumed never goes back and never exceeds the length; entries ascend by L1 block, so the first that waits is
/// the oldest, and one comparison says whether anything is due or late.
abstract contract ForcedInbox is IForcedInbox, BatchInbox {
    using SafeCast for uint256;

    /// A {ForcedEntry}, in two words.
    struct Entry {
        uint64 enqueuedAtBlock;
        uint64 enqueuedAt;
        /// What this entry and all before it burned.
        uint128 burnedWei;
        bytes32 chainHash;
    }

    /// Nobody has the key of this address; what is sent there is gone.
    address payable private constant BURN = payable(0x000000000000000000000000000000000000dEaD);

    /// Entries that a block consumes at most (R17).
    uint64 private constant STEP = 16;
    /// Entries that a call to {escape} consumes at most: so many that an outage is over with few calls, and so few that
    /// whoever derives can hold what they carry.
    uint64 private constant ESCAPE_STEP = 1024;

    IRollups private immutable ROLLUPS;
    uint256 private immutable FEE_WEI;
    uint64 private immutable FEE_DOUBLING_ENTRIES;
    uint64 private immutable FEE_MAX_DOUBLINGS;
    uint64 private immutable MAX_BYTES;
    uint64 private immutable DEADLINE_BLOCKS;
    uint64 private immutable GRACE_BLOCKS;
    uint64 private immutable ESCAPE_SECONDS;

    Entry[] private _entries;

    mapping(uint64 batch => LateEntries) private _late;

    constructor(Params memory p, Addresses memory addresses) {
        ROLLUPS = IRollups(addresses.rollups);
        FEE_WEI = p.forcedFeeWei;
        FEE_DOUBLING_ENTRIES = p.forcedFeeDoublingEntries;
        FEE_MAX_DOUBLINGS = p.forcedFeeMaxDoublings;
        MAX_BYTES = p.forcedMaxBytes;
        DEADLINE_BLOCKS = p.forcedDeadlineBlocks;
        GRACE_BLOCKS = p.forcedGraceBlocks;
        ESCAPE_SECONDS = p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
    }

    /* ENQUEUING */

    /// @inheritdoc IForcedInbox
    function force(uint64 rollup, bytes calldata transaction) external payable returns (uint64 index) {
        index = forcedLength();
        uint256 feeWei = forcedFee();

        require(ROLLUPS.rollup(rollup).owner != address(0), ForcedRollupUnknown(rollup));
        require(
            transaction.length != 0 && transaction.length <= MAX_BYTES, ForcedLength(1, MAX_BYTES, transaction.length)
        );
        require(index < TipLib.MAX_FORCED, ForcedQueueFull(TipLib.MAX_FORCED));
        require(msg.value >= feeWei, ForcedFeeTooSmall(feeWei, msg.value));

        (uint256 burnedWei, bytes32 hashBefore) = _until(index);
        bytes32 chainHash = keccak256(abi.encode(hashBefore, index, rollup, msg.sender, keccak256(transaction)));
        _entries.push(
            Entry({
                enqueuedAtBlock: uint64(block.number),
                enqueuedAt: uint64(block.timestamp),
                burnedWei: (burnedWei + msg.value).toUint128(),
                chainHash: chainHash
            })
        );

        emit ForcedEnqueued(index, rollup, msg.sender, msg.value, chainHash, transaction);

        Address.sendValue(BURN, msg.value);
    }

    /// @inheritdoc IForcedInbox
    function forcedFee() public view returns (uint256 feeWei) {
        return FeeLib.forced(FEE_WEI, forcedLength() - forcedConsumed(), FEE_DOUBLING_ENTRIES, FEE_MAX_DOUBLINGS);
    }

    /* CONSUMING */

    /// @inheritdoc BatchInbox
    function _consume(BatchHeader calldata header, TipWord before)
        internal
        override
        returns (uint64 consumed, bool late)
    {
        uint64 length = forcedLength();
        uint64 through = header.forcedThrough;
        uint64 first = before.consumed();

        require(through >= before.forcedThrough(), ForcedThroughGoesBack(before.forcedThrough(), through));
        require(through <= length, ForcedThroughAboveQueue(length, through));
        if (first == length) return (first, false);

        consumed = through > first ? through : first;
        if (consumed < length && block.timestamp >= _escapeOpenFrom(consumed)) {
            // What anybody may let in goes first, whatever the batch's origin says and however many it consumes. The batch
            // brings it along: were it refused until somebody else has, one entry in each block would hold up all of them.
            first = _letIn(first, length);
            consumed = through > first ? through : first;
        }
        if (consumed < length) {
            uint64 openFrom = _escapeOpenFrom(consumed);
            require(block.timestamp < openFrom, ForcedEntryOverdue(consumed, openFrom, uint64(block.timestamp)));

            uint64 dueAtBlock = _entries[consumed].enqueuedAtBlock + DEADLINE_BLOCKS;
            require(
                dueAtBlock > header.l1OriginNumber || through >= before.forcedThrough() + STEP,
                ForcedEntryLeftBehind(consumed, dueAtBlock, header.l1OriginNumber)
            );
        }

        if (first == length) return (first, false);

        // The oldest that it consumes or, if it consumes none, leaves.
        late = _isLate(first);
        if (late && consumed > first) _noteLate(before.number() + 1, first, consumed);
    }

    /// @dev Entries ascend by block: those of `first` to `consumed` that are late come first.
    function _noteLate(uint64 batch, uint64 first, uint64 consumed) private {
        (uint64 low, uint64 high) = (first + 1, consumed);
        while (low < high) {
            uint64 middle = (low + high) / 2;
            if (_isLate(middle)) low = middle + 1;
            else high = middle;
        }

        (uint256 burnedBefore,) = _until(first);
        (uint256 burned,) = _until(low);
        _late[batch] = LateEntries({first: first, through: low, feesWei: (burned - burnedBefore).toUint128()});
    }

    function _isLate(uint64 index) private view returns (bool) {
        return _entries[index].enqueuedAtBlock + DEADLINE_BLOCKS + GRACE_BLOCKS < block.number;
    }

    /// @inheritdoc IForcedInbox
    function escape() external returns (uint64 consumed) {
        TipWord tip = _tip;
        uint64 first = tip.consumed();
        uint64 length = forcedLength();

        require(tip.settledAt() != 0, EscapeBeforeGenesis());
        require(first < length, NothingToEscape());
        uint64 openFrom = _escapeOpenFrom(first);
        require(block.timestamp >= openFrom, EscapeNotDue(openFrom, uint64(block.timestamp)));

        consumed = _letIn(first, length);
        _tip = tip.withConsumed(consumed);
    }

    /// @dev Lets in entry `first`, which is open, and all that are open behind it, up to as many as an escape takes. The caller
    /// keeps how far that is.
    function _letIn(uint64 first, uint64 length) private returns (uint64 through) {
        through = _firstNotOpen(first + 1, length < first + ESCAPE_STEP ? length : first + ESCAPE_STEP);

        emit ForcedEscaped(first, through, msg.sender);
    }

    /// @dev The first of entries `low` up to `high` that is not open to escape, else `high`: they ascend by time.
    function _firstNotOpen(uint64 low, uint64 high) private view returns (uint64) {
        while (low < high) {
            uint64 middle = (low + high) / 2;
            if (block.timestamp >= _escapeOpenFrom(middle)) low = middle + 1;
            else high = middle;
        }
        return low;
    }

    function _escapeOpenFrom(uint64 index) private view returns (uint64) {
        return _entries[index].enqueuedAt + ESCAPE_SECONDS;
    }

    /* READING */

    /// @inheritdoc IForcedInbox
    function forcedLength() public view returns (uint64) {
        // Casting is safe: {force} bounds it.
        return uint64(_entries.length);
    }

    /// @inheritdoc IForcedInbox
    function forcedConsumed() public view returns (uint64) {
        return _tip.consumed();
    }

    /// @inheritdoc IForcedInbox
    function forcedEntry(uint64 index) external view returns (ForcedEntry memory) {
        require(index < _entries.length, UnknownForcedEntry(forcedLength(), index));
        Entry storage entry = _entries[index];
        (uint256 burnedBefore,) = _until(index);

        return ForcedEntry({
            enqueuedAtBlock: entry.enqueuedAtBlock,
            enqueuedAt: entry.enqueuedAt,
            feeWei: entry.burnedWei - burnedBefore,
            chainHash: entry.chainHash
        });
    }

    /// @inheritdoc IForcedInbox
    function lateEntries(uint64 batch) external view returns (LateEntries memory) {
        return _late[batch];
    }

    /// @dev What the first `count` entries burned, and the chain hash of the last of them.
    function _until(uint64 count) private view returns (uint256 burnedWei, bytes32 chainHash) {
        if (count == 0) return (0, 0);
        Entry storage entry = _entries[count - 1];
        return (entry.burnedWei, entry.chainHash);
    }
}
