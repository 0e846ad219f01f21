// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Tip} from "../interfaces/IBatchInbox.sol";

/// The tip of the settled chain without the hash of its last block, in one word.
type TipWord is uint256;

using TipLib for TipWord global;

/// @title The tip in one word
/// @notice A settlement reads and writes one slot for all of it; Solidity would write a packed struct field by field. From
/// the lowest bit up:
///
///     number 30 | lastHeight 40 | epoch 28 | timestamp 34 | settledAt 34 | origin 32 | forced 23 | consumed 23 | generation 12
///
/// Times reach to the year 2514, and so do origins. Heights a quorum could drive up at will, numbers whoever pays for it, and
/// epochs run out as early as they are short, so {pack} checks these; the forced queue checks its own length.
library TipLib {
    uint256 private constant LAST_HEIGHT = 30;
    uint256 private constant EPOCH = 70;
    uint256 private constant TIMESTAMP = 98;
    uint256 private constant SETTLED_AT = 132;
    uint256 private constant ORIGIN = 166;
    uint256 private constant FORCED = 198;
    uint256 private constant CONSUMED = 221;
    uint256 private constant GENERATION = 244;

    uint64 private constant MAX_NUMBER = (1 << 30) - 1;
    uint64 private constant MAX_HEIGHT = (1 << 40) - 1;
    uint64 private constant MAX_EPOCH = (1 << 28) - 1;
    uint32 private constant MAX_GENERATION = (1 << 12) - 1;
    /// Entries that the forced queue can ever have.
    uint64 internal constant MAX_FORCED = (1 << 23) - 1;

    /// @notice Heights end here.
    error HeightAboveMaximum(uint64 maximum, uint64 actual);

    /// @notice Numbers of batches end here.
    error NumberAboveMaximum(uint64 maximum, uint64 actual);

    /// @notice Epochs end here.
    error EpochAboveMaximum(uint64 maximum, uint64 actual);

    /// @notice Generations end here.
    error GenerationAboveMaximum(uint32 maximum, uint32 actual);

    function pack(
        uint64 number_,
        uint64 lastHeight_,
        uint64 epoch_,
        uint64 timestamp_,
        uint64 l1OriginNumber_,
        uint64 settledAt_,
        uint64 forcedThrough_,
        uint64 consumed_,
        uint32 generation_
    ) internal pure returns (TipWord) {
        require(lastHeight_ <= MAX_HEIGHT, HeightAboveMaximum(MAX_HEIGHT, lastHeight_));

        require(number_ <= MAX_NUMBER, NumberAboveMaximum(MAX_NUMBER, number_));
        require(epoch_ <= MAX_EPOCH, EpochAboveMaximum(MAX_EPOCH, epoch_));

        uint256 word = number_;
        word |= uint256(lastHeight_) << LAST_HEIGHT;
        word |= uint256(epoch_) << EPOCH;
        word |= uint256(timestamp_) << TIMESTAMP;
        word |= uint256(settledAt_) << SETTLED_AT;
        word |= uint256(l1OriginNumber_) << ORIGIN;
        word |= uint256(forcedThrough_) << FORCED;
        word |= uint256(consumed_) << CONSUMED;
        word |= uint256(generation_) << GENERATION;
        return TipWord.wrap(word);
    }

    /// @notice The same tip, for the first batch of a generation to build on: one that names neither an epoch before
    /// `epoch_` nor an origin before `l1OriginNumber_`. What waits for settlements counts from `time` on.
    function inGeneration(TipWord word, uint32 generation_, uint64 epoch_, uint64 l1OriginNumber_, uint64 time)
        internal
        pure
        returns (TipWord)
    {
        require(generation_ <= MAX_GENERATION, GenerationAboveMaximum(MAX_GENERATION, generation_));

        return pack({
            number_: word.number(),
            lastHeight_: word.lastHeight(),
            epoch_: epoch_,
            timestamp_: word.timestamp(),
            l1OriginNumber_: l1OriginNumber_,
            settledAt_: time,
            forcedThrough_: word.forcedThrough(),
            consumed_: word.consumed(),
            generation_: generation_
        });
    }

    /// @dev `consumed_` is at most {MAX_FORCED}.
    function withConsumed(TipWord word, uint64 consumed_) internal pure returns (TipWord) {
        uint256 others = TipWord.unwrap(word) & ~(uint256(MAX_FORCED) << CONSUMED);
        return TipWord.wrap(others | (uint256(consumed_) << CONSUMED));
    }

    function unpack(TipWord word, bytes32 lastBlockHash) internal pure returns (Tip memory) {
        return Tip({
            number: word.number(),
            lastHeight: word.lastHeight(),
            lastBlockHash: lastBlockHash,
            epoch: word.epoch(),
            timestamp: word.timestamp(),
            l1OriginNumber: word.l1OriginNumber(),
            settledAt: word.settledAt(),
            forcedThrough: word.forcedThrough(),
            consumed: word.consumed()
        });
    }

    function number(TipWord word) internal pure returns (uint64) {
        return _bits(word, 0, 30);
    }

    function lastHeight(TipWord word) internal pure returns (uint64) {
        return _bits(word, LAST_HEIGHT, 40);
    }

    function epoch(TipWord word) internal pure returns (uint64) {
        return _bits(word, EPOCH, 28);
    }

    function timestamp(TipWord word) internal pure returns (uint64) {
        return _bits(word, TIMESTAMP, 34);
    }

    function settledAt(TipWord word) internal pure returns (uint64) {
        return _bits(word, SETTLED_AT, 34);
    }

    function l1OriginNumber(TipWord word) internal pure returns (uint64) {
        return _bits(word, ORIGIN, 32);
    }

    function forcedThrough(TipWord word) internal pure returns (uint64) {
        return _bits(word, FORCED, 23);
    }

    function consumed(TipWord word) internal pure returns (uint64) {
        return _bits(word, CONSUMED, 23);
    }

    function generation(TipWord word) internal pure returns (uint32) {
        return uint32(_bits(word, GENERATION, 12));
    }

    /// @dev Casting is safe: no field is wider than 40 bits.
    function _bits(TipWord word, uint256 shift, uint256 width) private pure returns (uint64) {
        return uint64((TipWord.unwrap(word) >> shift) & ((1 << width) - 1));
    }
}
