// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CodeLib} from "./CodeLib.sol";

/// A frozen set in memory: the place at which the code of its data contract was copied.
type FrozenSet is uint256;

using SetLib for FrozenSet global;

/// @title Frozen leader sets in code storage (R4)
/// @notice An epoch has one word ({record}): where the code of its set lies, and its seed. Epochs whose members and weights
/// are those of the epoch sealed before share the code; then `seed` in the code is that of the first of them. Code of a set,
/// all big-endian:
///
///     offset  0     1        8       40            44       45 + 27·i     65 + 27·i
///             STOP  total 7  seed 32 generation 4  count 1  signer 20     weight 7
///
/// One copy brings the whole set into memory (6 gas a member); every reader is one `mload`.
library SetLib {
    uint256 internal constant HEADER_BYTES = 45;
    uint256 internal constant MEMBER_BYTES = 27;
    uint256 internal constant MAX_MEMBERS = 128;

    /// @notice A set holds more members than its count byte and the signers bitmap can carry.
    error SetTooLarge(uint256 maximum, uint256 actual);

    /// @notice There is no member at this index of the set.
    error IndexOutsideSet(uint256 count, uint256 index);

    /// @notice A member as one word, left-aligned: signer, weight, five zero bytes. Words sort as signers do.
    function word(address signer, uint56 weight) internal pure returns (uint256) {
        return (uint256(uint160(signer)) << 96) | (uint256(weight) << 40);
    }

    /// @notice Leaves of the first `found` words the `maximum` with the most weight, of equals those with the lower signer, and
    /// cuts the array behind them. So nothing that makes them too many can keep a set from being frozen.
    function keepLargest(uint256[] memory words, uint256 found, uint256 maximum) internal pure {
        while (found > maximum) {
            uint256 least = 0;
            for (uint256 i = 1; i < found; ++i) {
                if (_rank(words[i]) < _rank(words[least])) least = i;
            }
            words[least] = words[--found];
        }
        // Memory-safe: only ever shortens the array.
        assembly ("memory-safe") {
            mstore(words, found)
        }
    }

    /// @dev Weight above the signer, of which the lowest counts most.
    function _rank(uint256 word_) private pure returns (uint256) {
        return (uint256(weightOf(word_)) << 160) | uint160(~uint160(signerOf(word_)));
    }

    /// @notice Freezes members given as {word}s in ascending order; returns where, and the sum of the weights.
    function store(uint256[] memory members, bytes32 seed_, uint32 generation_)
        internal
        returns (address pointer, uint64 total_)
    {
        uint256 n = members.length;
        require(n <= MAX_MEMBERS, SetTooLarge(MAX_MEMBERS, n));

        uint256 sum;
        bytes memory packed = new bytes(n * MEMBER_BYTES + 5);
        // Memory-safe: reads the words of `members` and writes 32 bytes at 27·i each; the five zeros beyond a member are
        // overwritten by the next one, and those after the last lie in the five bytes that were allocated for them. The
        // sum of at most 128 weights of 56 bits cannot overflow.
        assembly ("memory-safe") {
            let source := add(members, 0x20)
            let end := add(source, shl(5, n))
            for { let target := add(packed, 0x20) } lt(source, end) { target := add(target, 27) } {
                let word_ := mload(source)
                sum := add(sum, and(shr(40, word_), 0xffffffffffffff))
                mstore(target, word_)
                source := add(source, 0x20)
            }
        }
        // Memory-safe: cuts the spare bytes off again.
        assembly ("memory-safe") {
            mstore(packed, sub(mload(packed), 5))
        }

        // Casting is safe: the registry keeps the staked total below 2^56 units, and n is at most 128.
        total_ = uint56(sum);
        pointer = CodeLib.store(abi.encodePacked(uint56(sum), seed_, generation_, uint8(n), packed));
    }

    /// @notice What is kept of an epoch in one word: the seed, whose last 20 bytes are zero, and there the pointer.
    function record(address pointer, bytes32 seed_) internal pure returns (bytes32) {
        return seed_ | bytes32(uint256(uint160(pointer)));
    }

    /// @notice `value` cut to what a seed has: 12 bytes, so that it fits beside a pointer. Nobody chooses a seed, so all that
    /// matters is that nobody knows it in advance.
    function seedOf(bytes32 value) internal pure returns (bytes32) {
        return value & ~bytes32(uint256(type(uint160).max));
    }

    /// @notice Where the set of a {record} lies; zero if there is none.
    function pointerOf(bytes32 record_) internal pure returns (address) {
        // Casting is safe: it cuts the pointer out.
        return address(uint160(uint256(record_)));
    }

    /// @notice Copies the whole set of a {record} into memory, with the seed of that.
    function load(bytes32 record_) internal view returns (FrozenSet set) {
        set = load(pointerOf(record_));
        bytes32 seed_ = seedOf(record_);
        // Memory-safe: within what {load} allocated, which is at least {HEADER_BYTES}.
        assembly ("memory-safe") {
            mstore(add(set, 8), seed_)
        }
    }

    /// @notice Whether the set holds exactly these {word}s, in this order.
    function holds(FrozenSet set, uint256[] memory members) internal pure returns (bool) {
        uint256 n = members.length;
        if (count(set) != n) return false;
        for (uint256 i = 0; i < n; ++i) {
            if (memberAt(set, i) >> 40 != members[i] >> 40) return false;
        }
        return true;
    }

    /// @notice Copies the whole set at `pointer` into memory.
    function load(address pointer) internal view returns (FrozenSet set) {
        // Memory-safe: allocates the code's length and one word more, so that reading the last member's word stays
        // inside, and moves the free pointer behind it.
        assembly ("memory-safe") {
            let size := extcodesize(pointer)
            let start := mload(0x40)
            extcodecopy(pointer, start, 0, size)
            mstore(0x40, and(add(add(start, size), 0x3f), not(0x1f)))
            set := start
        }
    }

    // Memory-safe, here and below: they read what {load} allocated.

    /// @notice Sum of the members' weights.
    function total(FrozenSet set) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(200, mload(add(set, 1)))
        }
    }

    function seed(FrozenSet set) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := mload(add(set, 8))
        }
    }

    function generation(FrozenSet set) internal pure returns (uint32 value) {
        assembly ("memory-safe") {
            value := shr(224, mload(add(set, 40)))
        }
    }

    function count(FrozenSet set) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := byte(0, mload(add(set, 44)))
        }
    }

    /// @notice Member `index` as one {word}, with five bytes of what follows it in the low bits.
    /// @dev Does not check `index`: the settlement loop checks its bitmap against {count} once instead.
    function memberAt(FrozenSet set, uint256 index) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(add(set, 45), mul(index, 27)))
        }
    }

    /// @notice Signer and weight of member `index`, which must be one.
    function member(FrozenSet set, uint256 index) internal pure returns (address signer, uint64 weight) {
        uint256 n = count(set);
        require(index < n, IndexOutsideSet(n, index));

        uint256 value = memberAt(set, index);
        return (signerOf(value), weightOf(value));
    }

    function signerOf(uint256 value) internal pure returns (address) {
        // Casting is safe: the shift leaves 160 bits.
        return address(uint160(value >> 96));
    }

    function weightOf(uint256 value) internal pure returns (uint64) {
        // Truncation is meant: the weight is the 56 bits below the signer.
        return uint56(value >> 40);
    }
}
