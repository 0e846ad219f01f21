// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {CaseStatus, Offence} from "../interfaces/ISlasher.sol";

/// A {Case}, in one word; zero if there is none.
type Record is uint256;

using RecordLib for Record global;

/// @title What is kept of a report
/// @notice From the low bits up:
///
///     reporter 160 | sequencer 32 | reportedAt 40 | offence 8 | status 8 | delayed 8
///
/// Assembled by hand: as a struct it would be read and written back once for every field.
library RecordLib {
    uint256 private constant SEQUENCER = 160;
    uint256 private constant REPORTED_AT = 192;
    uint256 private constant OFFENCE = 232;
    uint256 private constant STATUS = 240;
    uint256 private constant DELAYED = 248;

    /// @notice A case reported now.
    function open(address reporter_, uint32 sequencer_, Offence offence_) internal view returns (Record) {
        return Record.wrap(
            uint160(reporter_) | (uint256(sequencer_) << SEQUENCER) | (block.timestamp << REPORTED_AT)
                | (uint256(offence_) << OFFENCE) | (uint256(CaseStatus.Reported) << STATUS)
        );
    }

    /// @notice The same case with another status.
    function withStatus(Record record, CaseStatus status_) internal pure returns (Record) {
        uint256 word = Record.unwrap(record);
        return Record.wrap(word & ~(uint256(type(uint8).max) << STATUS) | (uint256(status_) << STATUS));
    }

    /// @notice The same case, its bounty somebody else's.
    function withReporter(Record record, address reporter_) internal pure returns (Record) {
        uint256 word = Record.unwrap(record);
        return Record.wrap((word >> SEQUENCER << SEQUENCER) | uint160(reporter_));
    }

    /// @notice The same case, put off by the guardian.
    function withDelay(Record record) internal pure returns (Record) {
        return Record.wrap(Record.unwrap(record) | (1 << DELAYED));
    }

    // Truncation is meant in all of these: the casts cut the fields out of the word.

    function reporter(Record record) internal pure returns (address) {
        return address(uint160(Record.unwrap(record)));
    }

    function sequencer(Record record) internal pure returns (uint32) {
        return uint32(Record.unwrap(record) >> SEQUENCER);
    }

    function reportedAt(Record record) internal pure returns (uint64) {
        return uint40(Record.unwrap(record) >> REPORTED_AT);
    }

    function offence(Record record) internal pure returns (Offence) {
        return Offence(uint8(Record.unwrap(record) >> OFFENCE));
    }

    function status(Record record) internal pure returns (CaseStatus) {
        return CaseStatus(uint8(Record.unwrap(record) >> STATUS));
    }

    function isDelayed(Record record) internal pure returns (bool) {
        return Record.unwrap(record) >> DELAYED != 0;
    }
}
