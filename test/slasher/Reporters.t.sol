// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {CaseStatus, ISlasher, Offence} from "../../contracts/interfaces/ISlasher.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {Proposal, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// Slasher, reporters
/// ├── commit, claimCase
/// │   ├── given another's later report of the same offence, or of another one: the committed reporter has the bounty
/// │   ├── given no report: it makes it
/// │   ├── given two who committed: the earlier has it, whoever claims first
/// │   ├── given a commitment that was replaced: it is gone
/// │   ├── when the salt or the evidence is another, the commitment no older than the report, or lapsed; when the first case
/// │   │   is due or executed: it reverts
/// │   ├── when the evidence proves nothing: it reverts as the report does
/// │   └── when an open case is proved by a key that is not its offender's: it reverts
/// ├── execute
/// │   └── given several cases of one offender: the bounty of all is its first reporter's, whichever is executed first
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
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commit(_author, report);
        _advance(1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);

        vm.expectEmit(address(slasher));
        emit ISlasher.CaseClaimed(caseId, _author, _thief);
        assertEq(_claim(_author, report), caseId);

        assertEq(slasher.caseOf(caseId).reporter, _author);
        _executeAndExpect(caseId, _author);
    }

    /// The offender sees the report on its way, and is included first with two other votes.
    function test_claimCase_givesTheBountyOfAnotherCaseOfTheOffender() external {
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commit(_author, report);
        _advance(1);
        bytes32 other = _reportVotesAs(_thief, OFFENDER, HEIGHT + 1);

        bytes32 caseId = _claim(_author, report);

        assertEq(caseId, _votesCase(OFFENDER, HEIGHT));
        assertEq(uint256(slasher.caseOf(caseId).status), uint256(CaseStatus.Reported));
        assertEq(slasher.caseOf(other).reporter, _author);
        _executeAndExpect(other, _author);
    }

    function test_claimCase_makesTheReport() external {
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commit(_author, report);
        _advance(1);
        bytes32 caseId = _claim(_author, report);
        assertEq(slasher.caseOf(caseId).reporter, _author);
        assertEq(slasher.caseOf(caseId).reportedAt, block.timestamp);
        assertEq(uint256(registry.sequencer(_idAt(OFFENDER)).status), uint256(Status.Jailed));
    }

    function test_claimCase_goesToTheEarliestCommitment() external {
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        address second = makeAddr("second");
        _commit(_author, report);
        _advance(1);
        _commit(second, report);
        _advance(1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);

        uint256 snapshot = vm.snapshotState();
        _claim(second, report);
        _claim(_author, report);
        assertEq(slasher.caseOf(caseId).reporter, _author);

        vm.revertToState(snapshot);
        _claim(_author, report);
        uint64 before = uint64(block.timestamp) - 2;
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommittedTooLate.selector, before, before + 1));
        _claim(second, report);
    }

    /// Whoever only learns of an offence from a report cannot take its bounty, in the same block or a later one.
    function test_claimCase_revertsWhen_committedNoEarlierThanTheReport() external {
        _reportVotesAs(_author, OFFENDER, HEIGHT);
        uint64 time = uint64(block.timestamp);
        bytes memory report = _callVotes(OFFENDER, HEIGHT + 1);
        _commit(_thief, report);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommittedTooLate.selector, time, time));
        _claim(_thief, report);

        _advance(1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommittedTooLate.selector, time, time));
        _claim(_thief, report);
    }

    function test_claimCase_revertsWhen_commitmentIsAnother() external {
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commit(_author, report);
        _advance(1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);

        bytes24 expected = bytes24(_commitment(_thief, report));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommitmentDiffers.selector, expected, bytes24(0)));
        _claim(_thief, report);

        // Another commitment takes the place of the first.
        vm.prank(_author);
        slasher.commit(SALT);
        expected = bytes24(_commitment(_author, report));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommitmentDiffers.selector, expected, bytes24(SALT)));
        _claim(_author, report);
    }

    function test_claimCase_revertsWhen_commitmentLapsed() external {
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commit(_author, report);
        uint64 until = uint64(block.timestamp) + p.correlationWindowSeconds;
        _warpTo(until + 1);
        _reportVotesAs(_thief, OFFENDER, HEIGHT);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommitmentLapsed.selector, until, until + 1));
        _claim(_author, report);
    }

    function test_claimCase_revertsWhen_dueOrExecuted() external {
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commit(_author, report);
        _advance(1);
        bytes32 caseId = _reportVotesAs(_thief, OFFENDER, HEIGHT);
        uint64 due = slasher.executableAt(caseId);
        _warpTo(due);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.ClaimTooLate.selector, due, due));
        _claim(_author, report);

        slasher.execute(caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.ClaimTooLate.selector, due, due));
        _claim(_author, report);
    }

    function test_claimCase_revertsWhen_theReportDoes() external {
        Vote memory vote = _vote(BLOCK_A);
        Signature memory none;
        bytes memory report =
            abi.encodeCall(ISlasher.reportDoubleVote, (_key(OFFENDER), VoteType.Precommit, vote, none, vote, none));
        _commit(_author, report);
        _advance(1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A));
        _claim(_author, report);
    }

    function test_claimCase_revertsWhen_itIsNoEvidence() external {
        bytes memory report = abi.encodeCall(ISlasher.reportMissedTurns, (1));
        _commit(_author, report);
        _advance(1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotAReport.selector, ISlasher.reportMissedTurns.selector));
        _claim(_author, report);

        _commit(_author, "");
        _advance(1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotAReport.selector, bytes4(0)));
        _claim(_author, "");
    }

    /// Two messages of a made-up key, said to be the offender's, prove nothing of a case that is open; and whoever committed to
    /// the offender's own key without its place would be at the mercy of who has it jailed first.
    function test_claimCase_revertsWhen_theKeyIsNamedByNoSet() external {
        (, uint256 secret) = makeAddrAndKey("anybody");
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(secret, VoteType.Precommit, a);
        Signature memory signatureB = _signVote(secret, VoteType.Precommit, b);
        uint32 id = _idAt(OFFENDER);
        bytes memory report = abi.encodeCall(
            ISlasher.reportDoubleVote, (KeyLib.ofSequencer(id), VoteType.Precommit, a, signatureA, b, signatureB)
        );
        _commit(_thief, report);
        _advance(1);
        _reportVotesAs(_author, OFFENDER, HEIGHT);

        vm.expectRevert(abi.encodeWithSelector(ISlasher.ClaimOutsideSet.selector, id));
        _claim(_thief, report);
    }

    /// A claim looks again at what is open; a report after it, in the same transaction or another, does not.
    function test_claimCase_leavesReportsAsTheyAre() external {
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commit(_author, report);
        _advance(1);
        bytes32 caseId = _claim(_author, report);
        (bool done, bytes memory answer) = address(slasher).call(report);
        assertFalse(done);
        assertEq(answer, abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
    }

    /* SEVERAL CASES OF ONE OFFENDER */

    /// Two positions of one equivocation, a second kind and one of another window, by whoever else: the first has it all.
    function test_execute_paysTheFirstReporterWhicheverCaseComesFirst() external {
        bytes32 first = _reportVotesAs(_author, OFFENDER, HEIGHT);
        bytes32 second = _reportVotesAs(_thief, OFFENDER, HEIGHT + 1);
        (Proposal memory a, Proposal memory b) = (_proposal(BLOCK_A), _proposal(BLOCK_B));
        Signature memory signatureA = _signProposal(_secret(OFFENDER), a);
        Signature memory signatureB = _signProposal(_secret(OFFENDER), b);
        vm.prank(_thief);
        bytes32 third = slasher.reportDoubleProposal(_key(OFFENDER), a, signatureA, b, signatureB);
        _nextWindow();
        _nextWindow();
        bytes32 later = _reportVotesAs(_thief, OFFENDER, HEIGHT + 2);
        _reportVotes(0, HEIGHT);
        _warpTo(slasher.executableAt(later));

        slasher.execute(later);
        slasher.execute(third);
        slasher.execute(second);
        slasher.execute(first);
        assertEq(slasher.bountyOf(_thief), 0);
        assertEq(slasher.bountyOf(_author), (STAKE_WEI - registry.assetsOf(_idAt(OFFENDER))) / 10);
        assertGt(slasher.bountyOf(_author), 0);
        assertEq(slasher.caseOf(second).reporter, _thief);
    }

    function test_reportMany_inOneTransactionTheFirstIsTheFirst() external {
        bytes[] memory reports = new bytes[](2);
        (reports[0], reports[1]) = (_callVotes(OFFENDER, HEIGHT), _callVotes(OFFENDER, HEIGHT + 1));
        vm.prank(_author);
        assertEq(slasher.reportMany(reports), 2);
        _reportVotesAs(_thief, OFFENDER, HEIGHT + 2);
        _executeAndExpect(_votesCase(OFFENDER, HEIGHT + 2), _author);
    }

    function _executeAndExpect(bytes32 caseId, address beneficiary) private {
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        assertEq(slasher.bountyOf(beneficiary), STAKE_WEI * 80 / 100 / 10);
        assertEq(slasher.bountyOf(_thief), 0);
    }

    function _commitment(address reporter, bytes memory report) private pure returns (bytes32) {
        return keccak256(abi.encode(keccak256(report), reporter, SALT));
    }

    function _commit(address reporter, bytes memory report) private {
        vm.expectEmit(address(slasher));
        emit ISlasher.Committed(reporter, _commitment(reporter, report));
        _commitTo(reporter, report, SALT);
    }

    function _claim(address reporter, bytes memory report) private returns (bytes32 caseId) {
        vm.prank(reporter);
        return slasher.claimCase(report, SALT);
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
