// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {CaseStatus, ISlasher, Offence} from "../../contracts/interfaces/ISlasher.sol";
import {ITally} from "../../contracts/interfaces/ITally.sol";
import {RecordLib} from "../../contracts/lib/RecordLib.sol";
import {BatchHeader} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// Slasher, liveness
/// └── reportMissedTurns
///     ├── it jails for a term, takes a small share at once, pays the bounty and says so
///     ├── it adds to no correlation, holds no pool and tombstones nobody
///     ├── when fewer than three were missed, or no more than half: it reverts
///     ├── when it is not active, or unknown: it reverts
///     ├── when members with more than a third of the weight have a miss: it reverts
///     ├── it looks at the running epoch and the seven before
///     ├── given a return: it looks at the epochs after it only
///     └── given turns that nobody mocked: it counts what the tally booked
contract LivenessTest is Offences {
    address private _reporter = makeAddr("reporter");

    function setUp() external {
        _begin(4);
    }

    function test_missedTurns_jailsSlashesPaysAndSaysSo() external {
        uint32 id = _idAt(OFFENDER);
        _mockTurns(OFFENDER, 5, 3);
        uint64 epoch = _epoch();
        bytes32 caseId = RecordLib.caseId(Offence.MissedTurn, id, 0, bytes32(uint256(epoch)));
        uint256 slashedWei = STAKE_WEI * p.missedTurnBps / 10_000;
        uint256 bountyWei = slashedWei * p.bountyBps / 10_000;

        vm.expectEmit(address(slasher));
        emit ISlasher.Reported(caseId, id, Offence.MissedTurn, _reporter, bytes32(uint256(epoch)));
        vm.expectEmit(address(slasher));
        emit ISlasher.Executed(caseId, id, slashedWei, bountyWei, slashedWei - bountyWei);
        vm.prank(_reporter);
        assertEq(slasher.reportMissedTurns(id), caseId);

        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Jailed));
        assertEq(registry.sequencer(id).jailedUntil, block.timestamp + p.jailSeconds);
        assertEq(registry.assetsOf(id), STAKE_WEI - slashedWei);
        assertEq(slasher.bountyOf(_reporter), bountyWei);
        assertEq(uint256(slasher.caseOf(caseId).status), uint256(CaseStatus.None));
    }

    function test_missedTurns_isNoSafetyOffence() external {
        _begin(20);
        _mockTurns(0, 3, 3);
        uint32 id = _idAt(0);
        slasher.reportMissedTurns(id);
        // No hold: its owner may add stake at once.
        _give(registry.ownerOf(id), 1 ether);
        vm.prank(registry.ownerOf(id));
        registry.topUp(id, 1 ether);

        // A double vote beside it costs 5 % and 3 times its own twentieth, and no more.
        bytes32 caseId = _reportVotes(1, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        assertEq(registry.assetsOf(_idAt(1)), STAKE_WEI * 80 / 100);
    }

    function test_missedTurns_revertsWhen_notAbsent() external {
        uint32 id = _idAt(OFFENDER);
        _expectNotAbsent(id, 0, 0);
        _expectNotAbsent(id, 2, 2);
        _expectNotAbsent(id, 6, 3);
        _expectNotAbsent(id, 100, 50);
    }

    function test_missedTurns_revertsWhen_notActive() external {
        uint32 id = _idAt(OFFENDER);
        _mockTurns(OFFENDER, 3, 3);
        slasher.reportMissedTurns(id);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, id, Status.Jailed));
        slasher.reportMissedTurns(id);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 9));
        slasher.reportMissedTurns(9);
    }

    function test_missedTurns_revertsWhen_manyAreAbsent() external {
        uint32 id = _idAt(OFFENDER);
        uint256 weight = settlement.memberAt(0, 1, 0).weight;
        _mockTurns(OFFENDER, 3, 3);
        _mockTurns(0, 9, 1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.OutageTooWide.selector, 4 * weight, 2 * weight));
        slasher.reportMissedTurns(id);
    }

    /// Exactly a third is no outage yet.
    function test_missedTurns_upToAThirdOfTheWeight() external {
        _begin(3);
        _mockTurns(OFFENDER, 3, 3);
        slasher.reportMissedTurns(_idAt(OFFENDER));
        assertEq(uint256(registry.sequencer(_idAt(OFFENDER)).status), uint256(Status.Jailed));
    }

    function test_missedTurns_looksAtEightEpochs() external {
        uint32 id = _idAt(OFFENDER);
        _startEpoch(9);
        vm.expectCall(at.tally, abi.encodeCall(ITally.turnsBetween, (id, 2, 9)));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotAbsent.selector, 0, 0));
        slasher.reportMissedTurns(id);
    }

    function test_missedTurns_looksOnlyAtEpochsAfterTheReturn() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        _mockTurns(OFFENDER, 3, 3);
        slasher.reportMissedTurns(id);
        _give(owner, 1 ether);
        vm.prank(owner);
        registry.topUp(id, 1 ether);
        _advance(p.jailSeconds);
        vm.prank(owner);
        registry.unjail(id);
        uint64 back = _epoch();

        vm.clearMockedCalls();
        _startEpoch(back + 2);
        vm.expectCall(at.tally, abi.encodeCall(ITally.turnsBetween, (id, back + 1, back + 2)));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotAbsent.selector, 0, 0));
        slasher.reportMissedTurns(id);
    }

    function test_missedTurns_countsWhatTheTallyBooked() external {
        address leader = settlement.memberAt(0, 1, OFFENDER).signer;
        uint32 id = registry.idOf(leader);
        for (uint256 i = 0; i < 3; ++i) {
            BatchHeader memory header = _nextHeaderLedBy(OFFENDER);
            _advance(p.takeoverSeconds);
            _settleAs(_memberDrawn(1, header.lastHeight / p.turnLength, 1), header);
        }
        // A batch of another turn closes the third.
        _settle(_nextHeaderLedBy(0));
        _tallyAll();

        (uint256 turns, uint256 missed) = tally.turnsBetween(id, 0, 1);
        assertEq(turns, 3);
        assertEq(missed, 3);
        slasher.reportMissedTurns(id);
        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Jailed));
    }

    function _mockTurns(uint256 index, uint256 turns, uint256 missed) private {
        vm.mockCall(
            at.tally, abi.encodeWithSelector(ITally.turnsBetween.selector, _idAt(index)), abi.encode(turns, missed)
        );
    }

    function _expectNotAbsent(uint32 id, uint256 turns, uint256 missed) private {
        _mockTurns(OFFENDER, turns, missed);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotAbsent.selector, turns, missed));
        slasher.reportMissedTurns(id);
    }
}
