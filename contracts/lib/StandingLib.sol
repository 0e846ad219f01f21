// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Status} from "../interfaces/ISequencerRegistry.sol";
import {SetLib} from "./SetLib.sol";

/// What a seal reads of a sequencer, in two words; the second only if something changed in the running epoch.
///
///     signer 160 | weight or hold 56 | changed 32 | status 8      (from the low bits up)
///     signerBefore 160 | weightBefore 56
///
/// Who is jailed or tombstoned weighs nothing, so the bits of its weight say until when its pool is held (R36): a report
/// then writes one word of the sequencer and no other.
struct Standing {
    address signer;
    uint56 weightOrHold;
    /// When `signer` or the weight changed last: 0 before genesis, else epoch + 1.
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
    uint256 private constant WEIGHT = 160;
    uint256 private constant CHANGED = 216;
    uint256 private constant STATUS = 248;

    /// @notice What counts now; zero while jailed, tombstoned or gone.
    function weight(Standing storage standing) internal view returns (uint56) {
        return _weightOf(_read(standing));
    }

    /// @notice L1 time until which the pool takes no deposits and pays no claims (R36); zero if no report holds it.
    function heldUntil(Standing storage standing) internal view returns (uint64) {
        uint256 slot = _read(standing);
        // Truncation is meant, here and below: the casts cut the fields out of the word.
        return _counts(slot) ? 0 : uint56(slot >> WEIGHT);
    }

    /// @notice Records a change of key or weight at `stamp` (as {Standing.changed}). Who does not count keeps its hold.
    function change(Standing storage standing, uint32 stamp, address signer, uint56 weight_) internal {
        uint256 slot = _read(standing);
        if (uint32(slot >> CHANGED) != stamp) {
            standing.signerBefore = address(uint160(slot));
            standing.weightBefore = _weightOf(slot);
        }
        uint256 field = _counts(slot) ? weight_ : uint56(slot >> WEIGHT);
        _write(standing, signer, field, stamp, Status(slot >> STATUS));
    }

    /// @notice Lets the weight sink at once, whatever the epoch: a slash is no change that could wait.
    function sink(Standing storage standing, uint56 weight_) internal {
        uint256 slot = _read(standing);
        if (_counts(slot)) {
            _write(standing, address(uint160(slot)), weight_, uint32(slot >> CHANGED), Status(slot >> STATUS));
        }
    }

    /// @notice Takes all weight away at `stamp`, also what the start of the running epoch would still count, by a status
    /// that does not count; the pool is held until `hold`.
    /// @dev Before a change in the running epoch the previous values are not looked at, and the next change replaces them.
    function silence(Standing storage standing, uint32 stamp, Status status, uint56 hold) internal {
        uint256 slot = _read(standing);
        uint32 changed = uint32(slot >> CHANGED);
        _write(standing, address(uint160(slot)), hold, changed, status);
        if (changed == stamp) standing.weightBefore = 0;
    }

    /// @notice Lets a sequencer count again whose pool is held no more: from nothing on.
    function revive(Standing storage standing) internal {
        uint256 slot = _read(standing);
        _write(standing, address(uint160(slot)), 0, uint32(slot >> CHANGED), Status.Active);
    }

    /// @notice The member word as of the start of epoch `running`, with or without weight.
    function wordAtStartOf(Standing storage standing, uint64 running) internal view returns (uint256) {
        uint256 slot = _read(standing);
        if (uint32(slot >> CHANGED) > running) return SetLib.word(standing.signerBefore, standing.weightBefore);
        return SetLib.word(address(uint160(slot)), _weightOf(slot));
    }

    /// @dev Without a branch: a seal does this for every member. The status bounds a factor of 0 or 1, the mask cuts 56 bits.
    /// The assembly here and below is memory-safe: it touches no memory.
    function _weightOf(uint256 slot) private pure returns (uint56 weight_) {
        uint256 firstWithout = uint256(Status.Jailed);
        assembly ("memory-safe") {
            weight_ := mul(lt(shr(248, slot), firstWithout), and(shr(160, slot), 0xffffffffffffff))
        }
    }

    /// @dev None, Active and Leaving come before Jailed and Tombstoned, and None has no weight to count.
    function _counts(uint256 slot) private pure returns (bool) {
        return slot >> STATUS < uint256(Status.Jailed);
    }

    /// @dev The first word, as drawn above, in one go: a seal does this for every member.
    function _read(Standing storage standing) private view returns (uint256 slot) {
        assembly ("memory-safe") {
            slot := sload(standing.slot)
        }
    }

    /// @dev The first word in one go, of fields that fit: field by field the compiler would read it back for each.
    function _write(Standing storage standing, address signer, uint256 field, uint32 changed, Status status) private {
        uint256 slot = uint160(signer) | (field << WEIGHT) | (uint256(changed) << CHANGED) | (uint256(status) << STATUS);
        assembly ("memory-safe") {
            sstore(standing.slot, slot)
        }
    }
}
