// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Status} from "../interfaces/ISequencerRegistry.sol";
import {SetLib} from "./SetLib.sol";

/// What a seal reads of a sequencer, in two words; the second only if something changed in the running epoch.
///
///     signer 160 | weight 56 | changed 32 | status 8      (from the low bits up)
///     signerBefore 160 | weightBefore 56
struct Standing {
    address signer;
    /// Zero while jailed, tombstoned or gone.
    uint56 weight;
    /// When `signer` or `weight` changed last: 0 before genesis, else epoch + 1.
    uint32 changed;
    Status status;
    /// As they were when the epoch of `changed` began.
    address signerBefore;
    uint56 weightBefore;
}

using StandingLib for Standing global;

/// @title Key and weight as of the start of an epoch (R3)
/// @notice Only the start of the *running* epoch is ever asked for, so one previous value is enough: it is kept by the
/// first change in an epoch and left alone by the others.
library StandingLib {
    /// @notice Records a change of key or weight at `stamp` (as {Standing.changed}).
    function change(Standing storage standing, uint32 stamp, address signer, uint56 weight) internal {
        if (standing.changed != stamp) {
            standing.signerBefore = standing.signer;
            standing.weightBefore = standing.weight;
            standing.changed = stamp;
        }
        standing.signer = signer;
        standing.weight = weight;
    }

    /// @notice Takes all weight away at `stamp`, also what the start of the running epoch would still count.
    /// @dev Before a change in the running epoch the previous values are not looked at, and the next change replaces them.
    function silence(Standing storage standing, uint32 stamp, Status status) internal {
        uint256 changed;
        // Reads and writes the first word of the struct, as drawn above, once: a report pays for it. What stays is the
        // signer in the low 160 bits and `changed` above the weight.
        assembly ("memory-safe") {
            let slot := sload(standing.slot)
            changed := and(shr(216, slot), 0xffffffff)
            slot := or(and(slot, 0xffffffffffffffffffffffffffffffffffffffff), shl(216, changed))
            sstore(standing.slot, or(slot, shl(248, status)))
        }
        if (changed == stamp) standing.weightBefore = 0;
    }

    /// @notice The member word as of the start of epoch `running`, with or without weight.
    function wordAtStartOf(Standing storage standing, uint64 running) internal view returns (uint256) {
        uint256 slot;
        // Reads the first word of the struct, as drawn above, in one go: a seal does this for every member.
        assembly ("memory-safe") {
            slot := sload(standing.slot)
        }
        // Truncation is meant: the casts cut the fields out of the word.
        if (uint32(slot >> 216) > running) return SetLib.word(standing.signerBefore, standing.weightBefore);
        return SetLib.word(address(uint160(slot)), uint56(slot >> 160));
    }
}
