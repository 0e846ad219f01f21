// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {KeyReference} from "../interfaces/ISlasher.sol";

/// @title Which key signed the evidence (R9)
/// @notice Two forms (from the low bits up):
///
///     sequencer 32                                    the key that this active sequencer signs with now
///     index 8 | epoch 64 | generation 32 | ... | 1    the key at this place of a frozen set; the one is the top bit
///
/// The first form reads no set: whoever is active answers for the key it has, so neither an old leaked key nor an exit is
/// in question. The second serves every key of the past.
library KeyLib {
    uint256 private constant IN_SET = 1 << 255;

    function ofSequencer(uint32 id) internal pure returns (KeyReference) {
        return KeyReference.wrap(id);
    }

    function inSet(uint32 generation, uint64 epoch, uint8 index) internal pure returns (KeyReference) {
        return KeyReference.wrap(IN_SET | (uint256(generation) << 72) | (uint256(epoch) << 8) | index);
    }

    /// @notice Whether the key is at a place of a set; else it is a sequencer's current one.
    function isInSet(KeyReference key) internal pure returns (bool) {
        return KeyReference.unwrap(key) & IN_SET != 0;
    }

    /// @dev Truncation is meant, here and below: the casts cut the fields out of the word.
    function sequencer(KeyReference key) internal pure returns (uint32) {
        return uint32(KeyReference.unwrap(key));
    }

    function place(KeyReference key) internal pure returns (uint32 generation, uint64 epoch, uint256 index) {
        uint256 word = KeyReference.unwrap(key);
        return (uint32(word >> 72), uint64(word >> 8), uint8(word));
    }
}
