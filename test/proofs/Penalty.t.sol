// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {CaseStatus, Offence} from "../../contracts/interfaces/ISlasher.sol";
import {Penalty, PenaltyLib} from "../../contracts/lib/PenaltyLib.sol";
import {Record, RecordLib} from "../../contracts/lib/RecordLib.sol";

/// @title Nobody is slashed twice for one offence, nor for more than there is (R34)
contract PenaltyProofs is Test {
    /// @notice A case that was opened is never taken for none, so it is not opened again; once executed it stays so, whoever
    /// claims it and whatever the guardian does; and it stays the case that it is. Full widths, times of 34 bits.
    function check_anExecutedCaseStaysExecuted(
        bytes32 id,
        address reporter,
        uint8 offence,
        address claimant,
        uint40 time,
        bool delayedFirst,
        bool delayedLater
    ) public {
        vm.assume(offence <= uint8(type(Offence).max));
        vm.assume(time < 1 << 34);
        vm.assume(uint256(id) << 56 >> 88 == 0);
        vm.warp(time);
        Record record = RecordLib.open(id, reporter, Offence(offence));
        assert(Record.unwrap(record) != 0);
        assert(record.status() == CaseStatus.Reported);
        assert(record.reporter() == reporter);

        if (delayedFirst) record = record.withDelay();
        record = record.withStatus(CaseStatus.Executed);
        if (delayedLater) record = record.withDelay();
        record = record.withReporter(claimant);

        assert(record.isOf(id));
        assert(record.status() == CaseStatus.Executed);
        assert(record.reporter() == claimant);
        assert(record.reportedAt() == time);
        assert(uint8(record.offence()) == offence);
        assert(record.isDelayed() == (delayedFirst || delayedLater));
    }

    /// @notice The id of a case ends in its offender's, whatever it is of; and a case is of no id whose front is another. Full
    /// widths.
    function check_aCaseNamesItsOffender(
        uint8 offence,
        uint32 sequencer,
        uint32 generation,
        bytes32 position,
        bytes32 other
    ) public view {
        vm.assume(offence <= uint8(type(Offence).max));
        bytes32 id = RecordLib.caseId(Offence(offence), sequencer, generation, position);
        Record record = RecordLib.open(id, address(1), Offence(offence));

        assert(RecordLib.offenderOf(id) == sequencer);
        bool empty = uint256(other) << 56 >> 88 == 0;
        assert(record.isOf(other) == (empty && uint256(other) >> 200 == uint256(id) >> 200));
        assert(record.isOf(id));
        assert(!Record.wrap(0).isOf(id));
    }

    /// @notice A case that is no larger than one before takes nothing, the base is what the pool held at the first, and what is
    /// counted is the largest share. Full widths.
    function check_onlyTheLargestCaseCounts(Penalty memory before, uint128 assets, uint64 share) public pure {
        vm.assume(before.applied || before.shareBps == 0);
        Penalty memory penalty = Penalty({baseWei: before.baseWei, shareBps: before.shareBps, applied: before.applied});
        vm.assume(share <= before.shareBps);

        assert(penalty.add(assets, share) == 0);
        assert(penalty.applied);
        assert(penalty.baseWei == (before.applied ? before.baseWei : assets));
        assert(penalty.shareBps == before.shareBps);
    }

    /// @notice Whatever cases follow each other, the pool is never asked for more than it held at the first. Products are more
    /// than the solver can do, so every small case is tried: each rounding occurs among them.
    function test_everySmallCase_allCasesTogetherTakeAtMostTheBase() public pure {
        uint64[7] memory shares = [uint64(0), 1, 499, 3333, 5001, 9999, 10_000];
        for (uint256 assets = 0; assets < 23; ++assets) {
            for (uint256 i = 0; i < 343; ++i) {
                Penalty memory penalty;
                uint256 taken = penalty.add(assets, shares[i % 7]);
                // What the pool holds later does not matter.
                taken += penalty.add(assets + 100, shares[i / 7 % 7]);
                taken += penalty.add(0, shares[i / 49]);

                assertLe(taken, assets);
            }
        }
    }

    /// @notice The share of a case is at most the whole, and no less than the base share as long as that is: whatever offended,
    /// of whatever total. The widths that a deployment can have.
    function check_aShareIsAtMostTheWhole(uint16 baseBps, uint8 factor, uint56 correlated, uint56 total) public pure {
        vm.assume(baseBps <= PenaltyLib.BPS);

        uint64 share = PenaltyLib.shareOf(baseBps, factor, correlated, total);

        assert(share <= PenaltyLib.BPS);
        assert(share >= baseBps);
    }
}
