// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BlockProof, ISlasher, KeyReference} from "../../contracts/interfaces/ISlasher.sol";
import {ITally} from "../../contracts/interfaces/ITally.sol";
import {ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {BatchHeader, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Offences} from "../utils/Offences.sol";

/// @title Attacks on slashing (gallery, chapter 5)
contract SlashingAttacks is Offences {
    function setUp() external {
        _begin(4);
    }

    /// Challenging costs an offender what it loses: its own report leaves it a tenth of the slash at most.
    function test_attack042_offenderChallengesItself() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        bytes32 caseId = _reportVotesAs(owner, OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        uint256 slashedWei = STAKE_WEI - registry.assetsOf(id);
        assertEq(slasher.bountyOf(owner), slashedWei / 10);
        assertEq(slasher.toBurn(), slashedWei - slashedWei / 10);
    }

    /// Whoever copies a report gains nothing if its author had committed to it.
    function test_attack043_reportIsCopiedByWhoSeesIt() external {
        address author = makeAddr("author");
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        _commitTo(author, report, "salt");
        _advance(p.l1BlockSeconds);
        _reportVotesAs(makeAddr("copier"), OFFENDER, HEIGHT);
        vm.prank(author);
        slasher.claimCase(report, "salt");
        assertEq(slasher.caseOf(caseId).reporter, author);
    }

    /// Nothing that the accused signed says when: the window runs by L1 time.
    function test_attack048_windowRunsByL1TimeAlone() external {
        BlockProof memory none;
        (BatchHeader memory a,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b,,) = _twoBlocks(9, keccak256("9"), BLOCK_B);
        (a.timestamp, b.timestamp) = (0, type(uint64).max);
        bytes32 caseId = _reportBatches(10, a, none, b, none);
        assertEq(slasher.caseOf(caseId).reportedAt, block.timestamp);
    }

    function test_attack049_oneFaultInTwoOrders() external {
        bytes32 caseId = _reportVotes(OFFENDER, _vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_A));
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_B));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
        slasher.reportDoubleVote(
            _key(OFFENDER), VoteType.Precommit, _vote(BLOCK_B), signatureB, _vote(BLOCK_A), signatureA
        );
    }

    /// A key of two sets is one offender.
    function test_attack049_oneFaultUnderTwoSets() external {
        _sealThrough(2);
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_A));
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_B));
        KeyReference key = _keyIn(2);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
        slasher.reportDoubleVote(key, VoteType.Precommit, _vote(BLOCK_A), signatureA, _vote(BLOCK_B), signatureB);
    }

    /// What cannot be slashed does not protect what can.
    function test_attack050_oneBadItemAmongMany() external {
        bytes[] memory reports = new bytes[](3);
        reports[0] = hex"deadbeef";
        reports[1] = _callVotes(0, HEIGHT);
        reports[2] = _callVotes(1, HEIGHT);
        assertEq(slasher.reportMany(reports), 2);
    }

    /// Several offenders at once cost each at most all it has.
    function test_attack051_slashOfMoreThanTheBalance() external {
        bytes32 a = _reportVotes(0, HEIGHT);
        bytes32 b = _reportVotes(1, HEIGHT);
        _warpTo(slasher.executableAt(a));
        slasher.execute(a);
        slasher.execute(b);
        assertEq(registry.assetsOf(_idAt(0)), 0);
        assertEq(registry.assetsOf(_idAt(1)), 0);
        assertEq(slasher.toBurn() + slasher.bountyOf(address(this)), 2 * STAKE_WEI);
    }

    /// A case that takes nothing shields nobody from a later one that takes more.
    function test_attack052_caseThatTakesNothing() external {
        _begin(20);
        bytes32 first = _reportVotes(0, HEIGHT);
        bytes32 same = _reportVotes(0, HEIGHT + 1);
        _nextWindow();
        _nextWindow();
        bytes32 larger = _reportVotes(0, HEIGHT + 2);
        _reportVotes(1, HEIGHT);
        _warpTo(slasher.executableAt(larger));

        slasher.execute(first);
        uint256 before = registry.assetsOf(_idAt(0));
        slasher.execute(same);
        assertEq(registry.assetsOf(_idAt(0)), before);
        slasher.execute(larger);
        assertEq(registry.assetsOf(_idAt(0)), before - STAKE_WEI * 15 / 100);
    }

    /// Evidence is good in the last second of its window and not in the next.
    function test_attack053_evidenceAtTheEdgeOfItsWindow() external {
        _sealThrough(3);
        uint64 until = settlement.startOf(2) + p.evidenceWindowSeconds;
        bytes memory report = _callVotes(0, HEIGHT);
        _warpTo(until - 1);
        uint256 snapshot = vm.snapshotState();
        (bool taken,) = address(slasher).call(report);
        assertTrue(taken);
        vm.revertToState(snapshot);

        _warpTo(until);
        bytes memory answer;
        (taken, answer) = address(slasher).call(report);
        assertFalse(taken);
        assertEq(answer, abi.encodeWithSelector(ISlasher.EvidenceTooOld.selector, until, until));
    }

    /// A fault under an old key is the sequencer's that held it.
    function test_attack054_faultUnderAKeyHeldBeforeRotation() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        (address signer, uint256 secret) = makeAddrAndKey("new key");
        bytes memory proof = _proof(owner, secret);
        vm.prank(owner);
        registry.rotateSigner(id, signer, proof);
        _sealThrough(3);

        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        assertEq(slasher.caseOf(caseId).sequencer, id);
    }

    /// Whoever takes the seat of one that left does not answer for it.
    function test_attack055_seatIsUsedAgain() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        uint256 shares = registry.sharesOf(id, owner);
        vm.prank(owner);
        registry.requestExit(id, shares);
        uint32 newcomer = _join(50, STAKE_WEI).id;
        _sealThrough(4);

        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        assertEq(slasher.caseOf(caseId).sequencer, id);
        assertEq(uint256(registry.sequencer(newcomer).status), uint256(Status.Active));
    }

    /// Reporting oneself brings a tenth back at most.
    function test_attack056_offenderReportsItself() external {
        uint32 id = _idAt(OFFENDER);
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        uint256 before = registry.assetsOf(id);
        slasher.execute(caseId);
        uint256 lostWei = before - registry.assetsOf(id);
        assertLe(slasher.bountyOf(address(this)) * 2, lostWei);
    }

    /// However many are reported, each execution is of one case.
    function test_attack057_executionsAreBounded() external {
        bytes32 first = _reportVotes(OFFENDER, HEIGHT);
        for (uint64 i = 1; i < 40; ++i) {
            _reportVotes(OFFENDER, HEIGHT + i);
        }
        _warpTo(slasher.executableAt(first));
        uint256 gas = gasleft();
        slasher.execute(first);
        assertLt(gas - gasleft(), 300_000);
    }

    /// Nobody but evidence makes a case, not the guardian either.
    function test_attack058_nobodyVotes() external {
        Config memory config = ConfigLib.read("devnet");
        config.guardian = makeAddr("guardian");
        config.params.guardianDelaySeconds = 60;
        _deploy(config);
        vm.prank(config.guardian);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, bytes32("any")));
        slasher.delay("any");
    }

    /// A case that is open waits for its window, and is executed by anyone once.
    function test_attack060_caseAcrossWindowsExecutesOnce() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId) + 40 * p.correlationWindowSeconds);
        vm.prank(makeAddr("anyone"));
        slasher.execute(caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyExecuted.selector, caseId));
        slasher.execute(caseId);
    }

    /// A message that only names its author convicts nobody.
    function test_attack063_messageThatTheAccusedDidNotSign() external {
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_A));
        Signature memory forged = _signVote(_secret(0), VoteType.Precommit, _vote(BLOCK_B));
        address accused = settlement.memberAt(0, 1, OFFENDER).signer;
        address author = settlement.memberAt(0, 1, 0).signer;
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotSignedBy.selector, accused, author));
        slasher.reportDoubleVote(_key(OFFENDER), VoteType.Precommit, _vote(BLOCK_A), signatureA, _vote(BLOCK_B), forged);
    }

    /// An outage that takes more than a third of the weight jails nobody.
    function test_attack064_outageOfMany() external {
        _mockTurns(0, 4, 4);
        _mockTurns(1, 4, 4);
        uint256 weight = settlement.memberAt(0, 1, 0).weight;
        uint32 id = _idAt(0);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.OutageTooWide.selector, 4 * weight, 2 * weight));
        slasher.reportMissedTurns(id);
    }

    /// A sequencer that came back is not jailed again for what it missed before.
    function test_attack065_missesCountOnce() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        for (uint256 i = 0; i < 3; ++i) {
            BatchHeader memory header = _nextHeaderLedBy(OFFENDER);
            _advance(p.takeoverSeconds);
            _settleAs(_memberDrawn(1, header.lastHeight / p.turnLength, 1), header);
        }
        _settle(_nextHeaderLedBy(0));
        _tallyAll();
        slasher.reportMissedTurns(id);

        vm.expectRevert(
            abi.encodeWithSelector(
                ISequencerRegistry.JailNotServed.selector, block.timestamp + p.jailSeconds, block.timestamp
            )
        );
        vm.prank(owner);
        registry.unjail(id);
        _advance(p.jailSeconds);
        _give(owner, 1 ether);
        vm.startPrank(owner);
        registry.topUp(id, 1 ether);
        registry.unjail(id);
        vm.stopPrank();

        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotAbsent.selector, 0, 0));
        slasher.reportMissedTurns(id);
        _startEpoch(_epoch() + 1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotAbsent.selector, 0, 0));
        slasher.reportMissedTurns(id);
    }

    /// A leader answers for turns in which a batch ended and settled late, not for those in which there was none.
    function test_attack066_turnWithoutABatch() external {
        _advance(3 * p.takeoverSeconds);
        _settle(_nextHeader(40));
        _settle(_nextHeader(8));
        _tallyAll();
        for (uint256 i = 0; i < 4; ++i) {
            (, uint256 missed) = tally.turnsBetween(_idAt(i), 0, _epoch());
            assertEq(missed, 0);
        }
    }

    /// The accused is who signed, whoever its owner or poster is.
    function test_attack067_identityIsTheSigners() external {
        uint32 id = _idAt(OFFENDER);
        _namePoster(id, "poster");
        assertEq(slasher.caseOf(_reportVotes(OFFENDER, HEIGHT)).sequencer, id);
    }

    /// However many offences overlap, all of them together take the pool and no more.
    function test_attack068_overlappingOffences() external {
        uint32 id = _idAt(OFFENDER);
        _mockTurns(OFFENDER, 3, 3);
        slasher.reportMissedTurns(id);
        bytes32 votes = _reportVotes(OFFENDER, HEIGHT);
        bytes32 proposals = _reportProposals(OFFENDER, _proposal(BLOCK_A), _proposal(BLOCK_B));
        _reportVotes(0, HEIGHT);
        _warpTo(slasher.executableAt(proposals));
        slasher.execute(votes);
        slasher.execute(proposals);
        assertEq(registry.assetsOf(id), 0);
        assertEq(slasher.toBurn() + slasher.bountyOf(address(this)), STAKE_WEI);
    }

    /// The place of the offender's key in another set.
    function _keyIn(uint64 epoch) private view returns (KeyReference) {
        address signer = settlement.memberAt(0, 1, OFFENDER).signer;
        uint8 index;
        while (settlement.memberAt(0, epoch, index).signer != signer) ++index;
        return KeyLib.inSet(0, epoch, index);
    }

    function _mockTurns(uint256 index, uint256 turns, uint256 missed) private {
        vm.mockCall(
            at.tally, abi.encodeWithSelector(ITally.turnsBetween.selector, _idAt(index)), abi.encode(turns, missed)
        );
    }
}
