// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CaseStatus, Offence} from "../interfaces/ISlasher.sol";

/// What is kept of a case, in one word; zero if there is none.
type Record is uint256;

using RecordLib for Record global;

/// @title What is kept of a report
/// @notice From the low bits up:
///
///     reporter 160 | reportedAt 34 | offence 3 | status 2 | delayed 1 | tag 56
///
/// The tag is the front of the case's id, which ends in the offender's: so one word of an offender says of which case it
/// is. Times reach to the year 2514. Assembled by hand: as a struct it would be read and written back once for every field.
library RecordLib {
    uint256 private constant REPORTED_AT = 160;
    uint256 private constant OFFENCE = 194;
    uint256 private constant STATUS = 197;
    uint256 private constant DELAYED = 199;
    uint256 private constant TAG = 200;

    uint256 private constant REPORTED_AT_MASK = (1 << 34) - 1;
    uint256 private constant OFFENCE_MASK = (1 << 3) - 1;
    uint256 private constant STATUS_MASK = (1 << 2) - 1;

    /// @notice Names a case: where somebody offended and how, whatever the evidence looked like. It begins with 56 bits of the
    /// hash, ends in the offender's id, and has nothing between: a case has one name.
    function caseId(Offence offence_, uint32 sequencer, uint32 generation, bytes32 position)
        internal
        pure
        returns (bytes32 id)
    {
        // keccak256(abi.encode(...)) beyond the memory in use, which nobody reads: memory-safe, and a report's gas counts.
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, offence_)
            mstore(add(words, 0x20), sequencer)
            mstore(add(words, 0x40), generation)
            mstore(add(words, 0x60), position)
            id := or(shl(TAG, shr(TAG, keccak256(words, 0x80))), and(sequencer, 0xffffffff))
        }
    }

    /// @notice Whom the case of this id is against.
    function offenderOf(bytes32 id) internal pure returns (uint32) {
        // Truncation is meant, here and below: the casts cut the fields out of the word.
        return uint32(uint256(id));
    }

    /// @notice The case `id`, reported now. Never zero, as its status is not.
    function open(bytes32 id, address reporter_, Offence offence_) internal view returns (Record) {
        return Record.wrap(
            uint160(reporter_) | (block.timestamp << REPORTED_AT) | (uint256(offence_) << OFFENCE)
                | (uint256(CaseStatus.Reported) << STATUS) | (uint256(id) >> TAG << TAG)
        );
    }

    /// @notice Whether this is a case, and that of `id` among those of its offender.
    /// @dev Two cases of one offender with one tag can be searched for, not found by chance: then the second is refused as
    /// reported. Their offender gains nothing by it, as all its cases cost it what the largest does.
    function isOf(Record record, bytes32 id) internal pure returns (bool) {
        return Record.unwrap(record) != 0 && Record.unwrap(record) >> TAG << TAG | offenderOf(id) == uint256(id);
    }

    /// @notice The same case with another status.
    function withStatus(Record record, CaseStatus status_) internal pure returns (Record) {
        uint256 word = Record.unwrap(record);
        return Record.wrap(word & ~(STATUS_MASK << STATUS) | (uint256(status_) << STATUS));
    }

    /// @notice The same case, its bounty somebody else's.
    function withReporter(Record record, address reporter_) internal pure returns (Record) {
        uint256 word = Record.unwrap(record);
        return Record.wrap((word >> REPORTED_AT << REPORTED_AT) | uint160(reporter_));
    }

    /// @notice The same case, put off by the guardian.
    function withDelay(Record record) internal pure returns (Record) {
        return Record.wrap(Record.unwrap(record) | (1 << DELAYED));
    }

    function reporter(Record record) internal pure returns (address) {
        return address(uint160(Record.unwrap(record)));
    }

    function reportedAt(Record record) internal pure returns (uint64) {
        return uint64((Record.unwrap(record) >> REPORTED_AT) & REPORTED_AT_MASK);
    }

    function offence(Record record) internal pure returns (Offence) {
        return Offence((Record.unwrap(record) >> OFFENCE) & OFFENCE_MASK);
    }

    function status(Record record) internal pure returns (CaseStatus) {
        return CaseStatus((Record.unwrap(record) >> STATUS) & STATUS_MASK);
    }

    function isDelayed(Record record) internal pure returns (bool) {
        return (Record.unwrap(record) >> DELAYED) & 1 != 0;
    }
}
