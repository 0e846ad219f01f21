// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {ISequencerRegistry, Status} from "../contracts/interfaces/ISequencerRegistry.sol";
import {Case, CaseStatus, ISlasher, KeyReference, Offence} from "../contracts/interfaces/ISlasher.sol";
import {KeyLib} from "../contracts/lib/KeyLib.sol";
import {RecordLib} from "../contracts/lib/RecordLib.sol";
import {SetLib} from "../contracts/lib/SetLib.sol";
import {Proposal, Signature, Vote, VoteType} from "../contracts/types/Wire.sol";
import {Offences} from "./utils/Offences.sol";

/// Slasher
/// ├── every report
/// │   ├── it jails, holds the pool, records the case and says so
/// │   ├── when the position was reported, in whatever order of evidence: it reverts
/// │   ├── when a signature is another's, high-s or nonsense: it reverts
/// │   ├── under an active sequencer's current key: it is as good
/// │   ├── when the sequencer named is not active, has another key, or there is none: it reverts
/// │   ├── when the key is not in the set named: it reverts
/// │   ├── when the epoch named has not begun: it reverts
/// │   ├── until evidenceWindow after the set ended: it is accepted; then it reverts
/// │   └── when the offender is tombstoned: it reverts
/// ├── reportDoubleVote
/// │   ├── it takes both kinds of vote, and a nil vote
/// │   ├── it keeps prevote and precommit apart
/// │   └── when height, round, generation or type differ, or the block does not: it reverts
/// └── reportDoubleProposal
///     └── when height, round or generation differ, or only polRound does: it reverts
contract SlasherTest is Offences {
    address private _reporter = makeAddr("reporter");

    function setUp() external {
        _begin(4);
    }

    /* EVERY REPORT */

    function test_report_jailsHoldsRecordsAndSaysSo() external {
        uint32 id = _idAt(OFFENDER);
        bytes32 position = bytes32((uint256(HEIGHT) << 40) | (uint256(ROUND) << 8) | 1);
        bytes32 caseId = RecordLib.caseId(Offence.DoubleVote, id, 0, position);

        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, b);

        vm.expectEmit(address(slasher));
        emit ISlasher.Reported(caseId, id, Offence.DoubleVote, _reporter, position);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(id, Status.Jailed);
        vm.prank(_reporter);
        slasher.reportDoubleVote(_key(OFFENDER), VoteType.Precommit, a, signatureA, b, signatureB);

        Case memory case_ = slasher.caseOf(caseId);
        assertEq(case_.sequencer, id);
        assertEq(uint256(case_.offence), uint256(Offence.DoubleVote));
        assertEq(uint256(case_.status), uint256(CaseStatus.Reported));
        assertEq(case_.reporter, _reporter);
        assertEq(case_.reportedAt, block.timestamp);
        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Jailed));
        uint64 window = p.correlationWindowSeconds;
        assertEq(slasher.executableAt(caseId), (block.timestamp / window + 2) * window);
    }

    function test_report_holdsThePoolForABoundedTime() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        uint64 until =
            slasher.executableAt(_reportVotes(OFFENDER, HEIGHT)) + p.correlationWindowSeconds + p.exitMarginSeconds;
        _give(owner, 1 ether);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolHeld.selector, id, until));
        vm.prank(owner);
        registry.topUp(id, 1 ether);

        _warpTo(until);
        vm.prank(owner);
        registry.topUp(id, 1 ether);
    }

    function test_report_holdsThePoolOnceForAWindowAndTheNext() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        _reportVotes(OFFENDER, HEIGHT);
        uint64 until = uint64(block.timestamp / 60 + 3) * 60 + p.exitMarginSeconds;
        _nextWindow();
        _reportVotes(OFFENDER, HEIGHT + 1);
        _give(owner, 1 ether);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolHeld.selector, id, until));
        vm.prank(owner);
        registry.topUp(id, 1 ether);

        _nextWindow();
        _reportVotes(OFFENDER, HEIGHT + 2);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolHeld.selector, id, until + 120));
        vm.prank(owner);
        registry.topUp(id, 1 ether);
    }

    function test_revertsWhen_positionWasReported() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        // The other way round, and with a third block: the same fault.
        (Vote memory a, Vote memory b, Vote memory c) = (_vote(BLOCK_A), _vote(BLOCK_B), _vote(keccak256("c")));
        _expectVotesRevert(b, a, abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
        _expectVotesRevert(a, c, abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
    }

    function test_revertsWhen_firstSignatureIsAnothers() external {
        address expected = settlement.memberAt(0, 1, OFFENDER).signer;
        address actual = settlement.memberAt(0, 1, 0).signer;
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(0), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, b);

        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotSignedBy.selector, expected, actual));
        slasher.reportDoubleVote(_key(OFFENDER), VoteType.Precommit, a, signatureA, b, signatureB);

        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotSignedBy.selector, expected, actual));
        slasher.reportDoubleVote(_key(OFFENDER), VoteType.Precommit, b, signatureB, a, signatureA);
    }

    function test_revertsWhen_signatureIsNonsense() external {
        address expected = settlement.memberAt(0, 1, OFFENDER).signer;
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory none;
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, b);

        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotSignedBy.selector, expected, address(0)));
        slasher.reportDoubleVote(_key(OFFENDER), VoteType.Precommit, a, none, b, signatureB);
    }

    function test_report_ofASequencerUnderItsCurrentKey() external {
        uint32 id = _idAt(OFFENDER);
        uint256 snapshot = vm.snapshotState();
        bytes32 inSet = _reportVotes(OFFENDER, HEIGHT);
        vm.revertToState(snapshot);

        bytes32 caseId = _reportCurrent(id, _secret(OFFENDER), _secret(OFFENDER));

        assertEq(caseId, inSet);
        assertEq(slasher.caseOf(caseId).sequencer, id);
        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Jailed));
    }

    function test_revertsWhen_keyNamedAsCurrentIsAnothers() external {
        (uint32 id, address current) = (_idAt(OFFENDER), settlement.memberAt(0, 1, OFFENDER).signer);
        address author = settlement.memberAt(0, 1, 0).signer;
        _expectCurrentRevert(
            id,
            _secret(0),
            _secret(0),
            abi.encodeWithSelector(ISequencerRegistry.KeyNotCurrent.selector, id, current, author)
        );
        _expectCurrentRevert(
            id, _secret(OFFENDER), _secret(0), abi.encodeWithSelector(ISlasher.NotSignedBy.selector, current, author)
        );
    }

    function test_revertsWhen_firstSignatureUnderACurrentKeyIsNonsense() external {
        KeyReference key = KeyLib.ofSequencer(_idAt(OFFENDER));
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory none;

        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotSignedBy.selector, address(0), address(0)));
        slasher.reportDoubleVote(key, VoteType.Precommit, a, none, b, none);
    }

    function test_revertsWhen_sequencerNamedIsNotActive() external {
        uint32 id = _idAt(OFFENDER);
        uint256 secret = _secret(OFFENDER);
        _expectCurrentRevert(
            9, secret, secret, abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, 9, Status.None)
        );

        _reportVotes(OFFENDER, HEIGHT + 1);
        _expectCurrentRevert(
            id, secret, secret, abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, id, Status.Jailed)
        );
    }

    /// Who leaves answers for the sets that count it, and no longer for a key that it has put away.
    function test_revertsWhen_sequencerNamedLeaves() external {
        uint32 id = _idAt(OFFENDER);
        uint256 secret = _secret(OFFENDER);
        address owner = registry.ownerOf(id);
        uint256 shares = registry.sharesOf(id, owner);
        vm.prank(owner);
        registry.requestExit(id, shares);

        _expectCurrentRevert(
            id, secret, secret, abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, id, Status.Leaving)
        );
        _reportVotes(OFFENDER, HEIGHT);
    }

    function test_revertsWhen_keyIsNotInTheSet() external {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, b);

        vm.expectRevert(abi.encodeWithSelector(SetLib.IndexOutsideSet.selector, 4, 4));
        slasher.reportDoubleVote(_key(4), VoteType.Precommit, a, signatureA, b, signatureB);
    }

    function test_revertsWhen_epochHasNotBegun() external {
        KeyReference key = KeyLib.inSet({generation: 0, epoch: 2, index: uint8(OFFENDER)});
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, b);

        vm.expectRevert(abi.encodeWithSelector(ISlasher.EpochNotBegun.selector, settlement.startOf(2), block.timestamp));
        slasher.reportDoubleVote(key, VoteType.Precommit, a, signatureA, b, signatureB);
    }

    function test_report_isAcceptedUntilTheWindowAfterTheSetEnds() external {
        _sealThrough(3);
        // The set of epoch 1 ended with the start of the next sealed one.
        uint64 until = settlement.startOf(2) + p.evidenceWindowSeconds;
        _warpTo(until - 1);
        _reportVotes(OFFENDER, HEIGHT);

        _warpTo(until);
        _expectVotesRevert(
            0, _vote(BLOCK_A), _vote(BLOCK_B), abi.encodeWithSelector(ISlasher.EvidenceTooOld.selector, until, until)
        );
    }

    function test_report_isAcceptedAsLongAsTheSetIsCarried() external {
        _startEpoch(30);
        _reportVotes(OFFENDER, HEIGHT);
    }

    function test_revertsWhen_offenderIsTombstoned() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);

        Vote memory a = _vote(BLOCK_A);
        Vote memory b = _vote(BLOCK_B);
        (a.height, b.height) = (HEIGHT + 1, HEIGHT + 1);
        _expectVotesRevert(
            a,
            b,
            abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, _idAt(OFFENDER), Status.Tombstoned)
        );
    }

    /* DOUBLE VOTE */

    function test_doubleVote_takesNilAgainstABlock() external {
        _reportVotes(OFFENDER, _vote(BLOCK_A), _vote(0));
    }

    function test_doubleVote_keepsTheTypesApart() external {
        bytes32 precommit = _reportVotes(OFFENDER, HEIGHT);
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Prevote, a);
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Prevote, b);
        bytes32 prevote = slasher.reportDoubleVote(_key(OFFENDER), VoteType.Prevote, a, signatureA, b, signatureB);
        assertNotEq(prevote, precommit);
    }

    function test_revertsWhen_votesAreOfDifferentTypes() external {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Prevote, b);

        // What the second signature recovers to under the wrong type is anybody's address.
        bytes32 typehash = keccak256("Precommit(uint32 generation,uint64 height,uint32 round,bytes32 blockHash)");
        bytes32 message = keccak256(abi.encode(typehash, b.generation, b.height, b.round, b.blockHash));
        bytes32 digest = _digest(message, address(settlement), block.chainid);
        (address anybody,,) = ECDSA.tryRecover(digest, signatureB.r, signatureB.vs);
        address expected = settlement.memberAt(0, 1, OFFENDER).signer;
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotSignedBy.selector, expected, anybody));
        slasher.reportDoubleVote(_key(OFFENDER), VoteType.Precommit, a, signatureA, b, signatureB);
    }

    function test_revertsWhen_votesAreForTheSameBlock() external {
        _expectVotesRevert(_vote(BLOCK_A), _vote(BLOCK_A), abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A));
    }

    function test_revertsWhen_votesAreOfDifferentHeights() external {
        Vote memory b = _vote(BLOCK_B);
        b.height = HEIGHT + 1;
        _expectVotesRevert(
            _vote(BLOCK_A), b, abi.encodeWithSelector(ISlasher.HeightDiffers.selector, HEIGHT, HEIGHT + 1)
        );
    }

    function test_revertsWhen_votesAreOfDifferentRounds() external {
        Vote memory b = _vote(BLOCK_B);
        b.round = ROUND + 1;
        _expectVotesRevert(_vote(BLOCK_A), b, abi.encodeWithSelector(ISlasher.RoundDiffers.selector, ROUND, ROUND + 1));
    }

    function test_revertsWhen_votesAreOfDifferentGenerations() external {
        Vote memory b = _vote(BLOCK_B);
        b.generation = 1;
        _expectVotesRevert(_vote(BLOCK_A), b, abi.encodeWithSelector(ISlasher.GenerationDiffers.selector, 0, 1));
    }

    /* DOUBLE PROPOSAL */

    function test_doubleProposal_isReported() external {
        bytes32 caseId = _reportProposals(OFFENDER, _proposal(BLOCK_A), _proposal(BLOCK_B));
        assertEq(uint256(slasher.caseOf(caseId).offence), uint256(Offence.DoubleProposal));
    }

    function test_revertsWhen_onlyPolRoundDiffers() external {
        Proposal memory b = _proposal(BLOCK_A);
        b.polRound = 1;
        _expectProposalRevert(b, abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A));
    }

    function test_revertsWhen_proposalsAreOfDifferentHeights() external {
        Proposal memory b = _proposal(BLOCK_B);
        b.height = HEIGHT + 1;
        _expectProposalRevert(b, abi.encodeWithSelector(ISlasher.HeightDiffers.selector, HEIGHT, HEIGHT + 1));
    }

    function test_revertsWhen_proposalsAreOfDifferentRounds() external {
        Proposal memory b = _proposal(BLOCK_B);
        b.round = ROUND + 1;
        _expectProposalRevert(b, abi.encodeWithSelector(ISlasher.RoundDiffers.selector, ROUND, ROUND + 1));
    }

    function test_revertsWhen_proposalsAreOfDifferentGenerations() external {
        Proposal memory b = _proposal(BLOCK_B);
        b.generation = 1;
        _expectProposalRevert(b, abi.encodeWithSelector(ISlasher.GenerationDiffers.selector, 0, 1));
    }

    /* PARTS */

    /// @dev Two precommits signed with these keys, by a sequencer named as who has the key now.
    function _reportCurrent(uint32 id, uint256 secretA, uint256 secretB) private returns (bytes32 caseId) {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(secretA, VoteType.Precommit, a);
        Signature memory signatureB = _signVote(secretB, VoteType.Precommit, b);
        return slasher.reportDoubleVote(KeyLib.ofSequencer(id), VoteType.Precommit, a, signatureA, b, signatureB);
    }

    function _expectCurrentRevert(uint32 id, uint256 secretA, uint256 secretB, bytes memory reason) private {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(secretA, VoteType.Precommit, a);
        Signature memory signatureB = _signVote(secretB, VoteType.Precommit, b);
        vm.expectRevert(reason);
        slasher.reportDoubleVote(KeyLib.ofSequencer(id), VoteType.Precommit, a, signatureA, b, signatureB);
    }

    /// @dev `b` against the offender's proposal of {BLOCK_A}.
    function _expectProposalRevert(Proposal memory b, bytes memory reason) private {
        Proposal memory a = _proposal(BLOCK_A);
        Signature memory signatureA = _signProposal(_secret(OFFENDER), a);
        Signature memory signatureB = _signProposal(_secret(OFFENDER), b);
        vm.expectRevert(reason);
        slasher.reportDoubleProposal(_key(OFFENDER), a, signatureA, b, signatureB);
    }

    function _expectVotesRevert(Vote memory a, Vote memory b, bytes memory reason) private {
        _expectVotesRevert(OFFENDER, a, b, reason);
    }

    function _expectVotesRevert(uint256 index, Vote memory a, Vote memory b, bytes memory reason) private {
        Signature memory signatureA = _signVote(_secret(index), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(index), VoteType.Precommit, b);
        vm.expectRevert(reason);
        slasher.reportDoubleVote(_key(index), VoteType.Precommit, a, signatureA, b, signatureB);
    }
}
