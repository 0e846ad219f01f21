// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Weight of the offenders reported in each of the last 29 to 32 correlation windows.
struct Correlation {
    uint256[8] words;
}

using CorrelationLib for Correlation global;

/// @title How much stake offended at the same time (R34)
/// @notice A ring of eight words, each with four buckets:
///
///     group + 1 as tag 32 | bucket 3, 56 | bucket 2, 56 | bucket 1, 56 | bucket 0, 56
///
/// A bucket is one correlation window; group = bucket / 4 lies in word group % 8. The words are never zero, so a report
/// never pays for a fresh slot. A group that was overwritten, 29 to 32 windows later, reads as nothing: a case that nobody
/// executed for so long counts without the others.
library CorrelationLib {
    uint256 private constant WORDS = 8;
    uint256 private constant LANES = 4;
    uint256 private constant LANE_BITS = 56;
    uint256 private constant TAG = 224;
    uint256 private constant LANE_MASK = (1 << LANE_BITS) - 1;

    /// @notice Makes all words nonzero.
    function prepare(Correlation storage ring) internal {
        for (uint256 i = 0; i < WORDS; ++i) {
            ring.words[i] = uint256(type(uint32).max) << TAG;
        }
    }

    /// @notice Adds `weight` to `bucket`, which is that of now. A full bucket stays full.
    function add(Correlation storage ring, uint64 bucket, uint256 weight) internal {
        uint256 group = bucket / LANES;
        uint256 shift = (bucket % LANES) * LANE_BITS;
        uint256 word = ring.words[group % WORDS];
        if (word >> TAG != _tag(group)) word = _tag(group) << TAG;

        uint256 before = (word >> shift) & LANE_MASK;
        uint256 sum = before + weight < LANE_MASK ? before + weight : LANE_MASK;
        ring.words[group % WORDS] = word + ((sum - before) << shift);
    }

    /// @notice Weight in `bucket` and its two neighbours.
    function around(Correlation storage ring, uint64 bucket) internal view returns (uint256 weight) {
        weight = ring.at(bucket) + ring.at(bucket + 1);
        if (bucket != 0) weight += ring.at(bucket - 1);
    }

    function at(Correlation storage ring, uint64 bucket) internal view returns (uint256) {
        uint256 group = bucket / LANES;
        uint256 word = ring.words[group % WORDS];
        return word >> TAG == _tag(group) ? (word >> ((bucket % LANES) * LANE_BITS)) & LANE_MASK : 0;
    }

    /// @dev Never zero, and never what {prepare} writes: groups of windows of a second fit in 31 bits until the year 2242.
    function _tag(uint256 group) private pure returns (uint256) {
        return (group + 1) & type(uint32).max;
    }
}
