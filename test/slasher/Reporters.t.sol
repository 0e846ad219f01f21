// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISlasher, Offence} from "../../contracts/interfaces/ISlasher.sol";
import {Offences} from "../utils/Offences.sol";

/// Slasher, reporters
/// ├── commit, claimCase
/// │   ├── given another's later report: the committed reporter takes the case and its bounty
/// │   ├── given two who committed: the earlier has it, whoever claims first
/// │   ├── given a commitment that was replaced: it is gone
/// │   └── when the salt is another, the commitment no older than the report, or lapsed; when the case is unknown, due or
/// │       executed: it reverts
/// └── reportMany
///     ├── it takes what can be taken, as the caller's, and names the rest
///     ├── when an item is no report: it is skipped
///     └── when there are too many: it reverts
contract ReportersTest is Offences {
    bytes32 private constant SALT = keccak256("salt");

    address private _author = makeAddr("first");
    address private _thief = makeAddr("thief");

    function setUp() external {
        _begin(4);
    }

    /* COMMITTING */

    function test_claimCase_givesTheBountyToWhoKnewFirst() external {
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        _commit(_author, caseId);
        _advance(1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);

        vm.expectEmit(address(slasher));
        emit ISlasher.CaseClaimed(caseId, _author, _thief);
        _claim(_author, caseId);

        assertEq(slasher.caseOf(caseId).reporter, _author);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        assertEq(slasher.bountyOf(_thief), 0);
        assertEq(slasher.bountyOf(_author), STAKE_WEI * 80 / 100 / 10);
    }

    function test_claimCase_goesToTheEarliestCommitment() external {
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        address second = makeAddr("second");
        _commit(_author, caseId);
        _advance(1);
        _commit(second, caseId);
        _advance(1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);

        uint256 snapshot = vm.snapshotState();
        _claim(second, caseId);
        _claim(_author, caseId);
        assertEq(slasher.caseOf(caseId).reporter, _author);

        vm.revertToState(snapshot);
        _claim(_author, caseId);
        uint64 before = uint64(block.timestamp) - 2;
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommittedTooLate.selector, before, before + 1));
        _claim(second, caseId);
    }

    /// Whoever only learns of a case from a report cannot take it, in the same block or a later one.
    function test_claimCase_revertsWhen_committedNoEarlierThanTheReport() external {
        bytes32 caseId = _reportVotesAs(_author, OFFENDER, HEIGHT);
        uint64 time = uint64(block.timestamp);
        _commit(_thief, caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommittedTooLate.selector, time, time));
        _claim(_thief, caseId);
    }

    function test_claimCase_revertsWhen_commitmentIsAnother() external {
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        _commit(_author, caseId);
        _advance(1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);

        bytes24 expected = bytes24(_commitment(_thief, caseId));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommitmentDiffers.selector, expected, bytes24(0)));
        _claim(_thief, caseId);

        // Another commitment takes the place of the first.
        vm.prank(_author);
        slasher.commit(SALT);
        expected = bytes24(_commitment(_author, caseId));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommitmentDiffers.selector, expected, bytes24(SALT)));
        _claim(_author, caseId);
    }

    function test_claimCase_revertsWhen_commitmentLapsed() external {
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        _commit(_author, caseId);
        uint64 until = uint64(block.timestamp) + p.correlationWindowSeconds;
        _warpTo(until + 1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommitmentLapsed.selector, until, until + 1));
        _claim(_author, caseId);
    }

    function test_claimCase_revertsWhen_unknownDueOrExecuted() external {
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        _commit(_author, caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, caseId));
        _claim(_author, caseId);

        _advance(1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);
        uint64 due = slasher.executableAt(caseId);
        _warpTo(due);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.ClaimTooLate.selector, due, due));
        _claim(_author, caseId);

        slasher.execute(caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyExecuted.selector, caseId));
        _claim(_author, caseId);
    }

    function _commitment(address reporter, bytes32 caseId) private pure returns (bytes32) {
        return keccak256(abi.encode(caseId, reporter, SALT));
    }

    function _commit(address reporter, bytes32 caseId) private {
        bytes32 commitment = _commitment(reporter, caseId);
        vm.expectEmit(address(slasher));
        emit ISlasher.Committed(reporter, commitment);
        vm.prank(reporter);
        slasher.commit(commitment);
    }

    function _claim(address reporter, bytes32 caseId) private {
        vm.prank(reporter);
        slasher.claimCase(caseId, SALT);
    }

    /* MANY AT ONCE */

    function test_reportMany_takesWhatCanBeTakenAndNamesTheRest() external {
        bytes32 known = _reportVotes(0, HEIGHT);
        bytes[] memory reports = new bytes[](4);
        reports[0] = _callVotes(0, HEIGHT);
        reports[1] = _callVotes(1, HEIGHT);
        reports[2] = abi.encodeCall(ISlasher.reportMissedTurns, (_idAt(3)));
        reports[3] = _callVotes(2, HEIGHT);

        vm.expectEmit(address(slasher));
        emit ISlasher.Skipped(0, abi.encodeWithSelector(ISlasher.AlreadyReported.selector, known));
        vm.expectEmit(address(slasher));
        emit ISlasher.Skipped(2, abi.encodeWithSelector(ISlasher.NotAbsent.selector, 0, 0));
        vm.prank(_author);
        assertEq(slasher.reportMany(reports), 2);

        assertEq(slasher.caseOf(_votesCase(1, HEIGHT)).reporter, _author);
        assertEq(slasher.caseOf(_votesCase(2, HEIGHT)).reporter, _author);
    }

    function test_reportMany_skipsWhatIsNoReport() external {
        bytes[] memory reports = new bytes[](3);
        reports[0] = abi.encodeCall(ISlasher.commit, (SALT));
        reports[1] = hex"01";
        reports[2] = abi.encodeCall(ISlasher.reportMany, (new bytes[](0)));
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectEmit(address(slasher));
            emit ISlasher.Skipped(i, abi.encodeWithSelector(ISlasher.NotAReport.selector, bytes4(reports[i])));
        }
        assertEq(slasher.reportMany(reports), 0);
    }

    function test_reportMany_revertsWhen_thereAreTooMany() external {
        vm.expectRevert(abi.encodeWithSelector(ISlasher.TooManyReports.selector, 32, 33));
        slasher.reportMany(new bytes[](33));
    }
}
