// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISequencerRegistry, Status} from "../contracts/interfaces/ISequencerRegistry.sol";
import {BlockProof, Case, CaseStatus, ISlasher, KeyReference, Offence} from "../contracts/interfaces/ISlasher.sol";
import {KeyLib} from "../contracts/lib/KeyLib.sol";
import {MerkleLib} from "../contracts/lib/MerkleLib.sol";
import {SetLib} from "../contracts/lib/SetLib.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../script/ConfigLib.sol";
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
/// ├── reportDoubleProposal
/// │   └── when only polRound differs: it reverts
/// ├── reportDoubleAttestation
/// │   ├── it takes two last blocks at one height without proofs
/// │   ├── it takes two blocks inside of batches with proofs
/// │   ├── it takes a batch whose parent is not the last block before it, in either order
/// │   ├── it books a broken link and the block it breaks with as one position
/// │   └── when the block is the same, outside, or not proven: it reverts
/// ├── execute
/// │   ├── it slashes base and correlated share, tombstones, pays the bounty and burns the rest
/// │   ├── when it is too early: it reverts
/// │   ├── when it was executed: it reverts
/// │   ├── given several offenders around the same time: each pays for all
/// │   ├── given several cases of one offender: they count once, the largest
/// │   └── given exits on their way: they pay too
/// ├── delay
/// │   └── the guardian puts an execution off, once
/// └── claimBounty: it pays once
contract SlasherTest is Offences {
    address private _reporter = makeAddr("reporter");

    function setUp() external {
        _begin(4);
    }

    /* EVERY REPORT */

    function test_report_jailsHoldsRecordsAndSaysSo() external {
        uint32 id = _idAt(OFFENDER);
        bytes32 position = bytes32((uint256(HEIGHT) << 40) | (uint256(ROUND) << 8) | 1);
        bytes32 caseId = keccak256(abi.encode(Offence.DoubleVote, id, uint32(0), position));

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
        _warpTo(slasher.executableAt(caseId));
        _expectSlashed(caseId, 80);
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
            id,
            _secret(OFFENDER),
            _secret(0),
            abi.encodeWithSelector(ISlasher.NotSignedBy.selector, current, author)
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
        vm.expectPartialRevert(ISlasher.NotSignedBy.selector);
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
        Proposal memory a = _proposal(BLOCK_A);
        Proposal memory b = _proposal(BLOCK_A);
        b.polRound = 1;
        Signature memory signatureA = _signProposal(_secret(OFFENDER), a);
        Signature memory signatureB = _signProposal(_secret(OFFENDER), b);

        vm.expectRevert(abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A));
        slasher.reportDoubleProposal(_key(OFFENDER), a, signatureA, b, signatureB);
    }

    /* DOUBLE ATTESTATION */

    function test_doubleAttestation_takesTwoLastBlocksWithoutProofs() external {
        (BatchHeader memory a,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b,,) = _twoBlocks(9, keccak256("9"), BLOCK_B);
        BlockProof memory none;
        bytes32 caseId = _reportBatches(10, a, none, b, none);
        assertEq(caseId, _attestationCase(10));
    }

    function test_doubleAttestation_takesBlocksInsideWithProofs() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        assertEq(_reportBatches(10, a, proofA, b, proofB), _attestationCase(10));
    }

    function test_doubleAttestation_takesABrokenLinkInEitherOrder() external {
        (BatchHeader memory earlier,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory later,,) = _twoBlocks(11, keccak256("11"), keccak256("12"));
        later.parentBlockHash = BLOCK_B;
        BlockProof memory none;

        uint256 snapshot = vm.snapshotState();
        assertEq(_reportBatches(11, earlier, none, later, none), _attestationCase(10));
        vm.revertToState(snapshot);
        assertEq(_reportBatches(11, later, none, earlier, none), _attestationCase(10));
    }

    function test_revertsWhen_brokenLinkIsAnAlreadyReportedHeight() external {
        (BatchHeader memory a,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b,,) = _twoBlocks(9, keccak256("9"), BLOCK_B);
        (BatchHeader memory later,,) = _twoBlocks(11, keccak256("11"), keccak256("12"));
        later.parentBlockHash = BLOCK_B;
        BlockProof memory none;
        _reportBatches(10, a, none, b, none);
        _expectBatchesRevert(
            11, a, none, later, none, abi.encodeWithSelector(ISlasher.AlreadyReported.selector, _attestationCase(10))
        );
    }

    function test_revertsWhen_linkHolds() external {
        (BatchHeader memory earlier,,) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory later,,) = _twoBlocks(11, keccak256("11"), keccak256("12"));
        later.parentBlockHash = BLOCK_A;
        BlockProof memory none;
        _expectBatchesRevert(
            11, earlier, none, later, none, abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A)
        );
    }

    /// Another split or another attesting epoch of the same blocks is legal (R23).
    function test_revertsWhen_blocksAreTheSame() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_A, keccak256("11"));
        b.epoch = 2;
        _expectBatchesRevert(10, a, proofA, b, proofB, abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A));
    }

    function test_revertsWhen_heightIsOutside() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        _expectBatchesRevert(
            12, a, proofA, b, proofB, abi.encodeWithSelector(ISlasher.HeightOutsideBatch.selector, 9, 10, 12)
        );
    }

    function test_revertsWhen_blockIsNotInTheBatch() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        proofB.blockHash = keccak256("planted");
        bytes32 root = keccak256(abi.encodePacked(hex"01", MerkleLib.blockLeaf(proofB.blockHash), proofB.siblings[0]));
        _expectBatchesRevert(
            10, a, proofA, b, proofB, abi.encodeWithSelector(ISlasher.BlockNotInBatch.selector, b.blocksRoot, root)
        );
    }

    function test_revertsWhen_proofHasAnotherLength() external {
        (BatchHeader memory a,, BlockProof memory proofA) = _twoBlocks(9, keccak256("9"), BLOCK_A);
        (BatchHeader memory b, BlockProof memory proofB,) = _twoBlocks(10, BLOCK_B, keccak256("11"));
        proofB.siblings = new bytes32[](2);
        _expectBatchesRevert(
            10, a, proofA, b, proofB, abi.encodeWithSelector(MerkleLib.ProofLengthWrong.selector, 1, 2)
        );
    }

    /* EXECUTE */

    function test_execute_slashesTombstonesPaysAndBurns() external {
        uint32 id = _idAt(OFFENDER);
        bytes32 caseId = _reportVotesAs(_reporter, OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        // 5 %, and 3 times the quarter of the weight that offended.
        uint256 slashedWei = STAKE_WEI * 80 / 100;
        uint256 bountyWei = slashedWei / 10;

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Slashed(id, slashedWei, slashedWei);
        vm.expectEmit(address(slasher));
        emit ISlasher.Executed(caseId, id, slashedWei, bountyWei, slashedWei - bountyWei);
        slasher.execute(caseId);

        assertEq(registry.assetsOf(id), STAKE_WEI - slashedWei);
        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Tombstoned));
        assertEq(slasher.bountyOf(_reporter), bountyWei);
        assertEq(token.balanceOf(0x000000000000000000000000000000000000dEaD), slashedWei - bountyWei);
        assertEq(token.balanceOf(address(slasher)), bountyWei);
    }

    function test_execute_revertsWhen_tooEarly() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        uint64 due = slasher.executableAt(caseId);
        _warpTo(due - 1);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotDue.selector, due, due - 1));
        slasher.execute(caseId);
    }

    function test_execute_revertsWhen_executed() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyExecuted.selector, caseId));
        slasher.execute(caseId);
    }

    function test_execute_revertsWhen_unknown() external {
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, bytes32(uint256(1))));
        slasher.execute(bytes32(uint256(1)));
    }

    function test_execute_countsNeighbouringWindows() external {
        _begin(20);
        // Buckets b - 1, b, b + 1 and b + 2: the first three count for the case in b.
        bytes32 early = _reportVotes(0, HEIGHT);
        _nextWindow();
        bytes32 middle = _reportVotes(1, HEIGHT);
        _nextWindow();
        bytes32 late = _reportVotes(2, HEIGHT);
        _nextWindow();
        bytes32 after_ = _reportVotes(3, HEIGHT);
        _warpTo(slasher.executableAt(after_));

        // Each is a twentieth of the weight: 5 % + 3 x 5 % for each that counts.
        _expectSlashed(early, 5 + 2 * 15);
        _expectSlashed(middle, 5 + 3 * 15);
        _expectSlashed(late, 5 + 3 * 15);
        _expectSlashed(after_, 5 + 2 * 15);
    }

    function test_execute_neverTakesMoreThanAll() external {
        bytes32 a = _reportVotes(0, HEIGHT);
        bytes32 b = _reportVotes(1, HEIGHT);
        _warpTo(slasher.executableAt(a));
        _expectSlashed(a, 100);
        _expectSlashed(b, 100);
    }

    function test_execute_countsAnOffenderOnceInTheCorrelation() external {
        _begin(20);
        bytes32 caseId = _reportVotes(0, HEIGHT);
        _reportVotes(0, HEIGHT + 1);
        _reportVotes(0, HEIGHT + 2);
        _warpTo(slasher.executableAt(caseId));
        _expectSlashed(caseId, 5 + 15);
    }

    /// The cases of one offender that were open together cost it what the largest costs, in whatever order they execute.
    function test_execute_countsOpenCasesOnceTheLargest() external {
        _begin(20);
        uint32 id = _idAt(0);
        bytes32 small = _reportVotes(0, HEIGHT);
        _nextWindow();
        _nextWindow();
        // Two others join in near the second case, of which the first sees neither.
        bytes32 large = _reportVotes(0, HEIGHT + 1);
        _reportVotes(1, HEIGHT);
        _reportVotes(2, HEIGHT);
        _warpTo(slasher.executableAt(large));

        slasher.execute(small);
        uint256 afterSmall = registry.assetsOf(id);
        slasher.execute(large);
        assertEq(afterSmall, STAKE_WEI * 80 / 100);
        // 5 %, and 3 times 5 % for itself and for each of the others.
        assertEq(registry.assetsOf(id), STAKE_WEI * (100 - 5 - 3 * 15) / 100);
    }

    function test_execute_smallerCaseAfterTheLargerTakesNothing() external {
        bytes32 a = _reportVotes(OFFENDER, HEIGHT);
        bytes32 b = _reportVotes(OFFENDER, HEIGHT + 1);
        _warpTo(slasher.executableAt(a));
        _expectSlashed(a, 80);
        _expectSlashed(b, 0);
    }

    function test_execute_slashesExitsOnTheirWay() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        uint256 shares = registry.sharesOf(id, owner);
        vm.prank(owner);
        uint256 exitId = registry.requestExit(id, shares);

        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);

        settlement.seal(_epoch() + 1);
        (bool known, uint64 claimableAt) = registry.claimableAt(exitId);
        assertTrue(known);
        _warpTo(claimableAt);
        vm.prank(owner);
        assertApproxEqAbs(registry.claim(exitId), STAKE_WEI * 20 / 100, 1);
    }

    /* GUARDIAN */

    function test_delay_putsAnExecutionOffOnce() external {
        address guardian = _beginWithGuardian();
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        uint64 due = slasher.executableAt(caseId) + 120;

        vm.expectEmit(address(slasher));
        emit ISlasher.Delayed(caseId, due);
        vm.prank(guardian);
        slasher.delay(caseId);

        assertEq(slasher.executableAt(caseId), due);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyDelayed.selector, caseId));
        vm.prank(guardian);
        slasher.delay(caseId);

        _warpTo(due);
        slasher.execute(caseId);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyExecuted.selector, caseId));
        vm.prank(guardian);
        slasher.delay(caseId);
    }

    function test_delay_revertsWhen_notTheGuardian() external {
        address guardian = _beginWithGuardian();
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotGuardian.selector, guardian, address(this)));
        slasher.delay(caseId);
    }

    function test_delay_revertsWhen_thereIsNoCase() external {
        address guardian = _beginWithGuardian();
        vm.expectRevert(abi.encodeWithSelector(ISlasher.UnknownCase.selector, bytes32(uint256(1))));
        vm.prank(guardian);
        slasher.delay(bytes32(uint256(1)));
    }

    /* BOUNTY */

    function test_claimBounty_paysOnce() external {
        bytes32 caseId = _reportVotesAs(_reporter, OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        uint256 bountyWei = slasher.bountyOf(_reporter);

        vm.expectEmit(address(slasher));
        emit ISlasher.BountyClaimed(_reporter, bountyWei);
        vm.prank(_reporter);
        assertEq(slasher.claimBounty(), bountyWei);

        assertEq(token.balanceOf(_reporter), bountyWei);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NoBounty.selector, _reporter));
        vm.prank(_reporter);
        slasher.claimBounty();
    }

    /* PARTS */

    function _beginWithGuardian() private returns (address guardian) {
        guardian = makeAddr("guardian");
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.guardian = guardian;
        config.params.guardianDelaySeconds = 120;
        _deploy(config);
        _joinMany(4);
        _sealFirst();
        _sealThrough(1);
    }

    function _nextWindow() private {
        uint64 window = p.correlationWindowSeconds;
        _warpTo((block.timestamp / window + 1) * window);
    }

    /// @dev Executing `caseId` takes `percent` of a full pool.
    function _expectSlashed(bytes32 caseId, uint256 percent) private {
        uint32 id = slasher.caseOf(caseId).sequencer;
        uint256 before = registry.assetsOf(id);
        slasher.execute(caseId);
        assertEq(before - registry.assetsOf(id), STAKE_WEI * percent / 100);
    }

    function _reportVotesAs(address reporter, uint256 index, uint64 height) private returns (bytes32 caseId) {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        (a.height, b.height) = (height, height);
        Signature memory signatureA = _signVote(_secret(index), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(index), VoteType.Precommit, b);
        vm.prank(reporter);
        return slasher.reportDoubleVote(_key(index), VoteType.Precommit, a, signatureA, b, signatureB);
    }

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

    function _attestationCase(uint64 height) private view returns (bytes32) {
        bytes32 position = bytes32(uint256(height) << 40);
        return keccak256(abi.encode(Offence.DoubleAttestation, _idAt(OFFENDER), uint32(0), position));
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

    function _expectBatchesRevert(
        uint64 height,
        BatchHeader memory a,
        BlockProof memory proofA,
        BatchHeader memory b,
        BlockProof memory proofB,
        bytes memory reason
    ) private {
        Signature memory signatureA = _sign(_secret(OFFENDER), settlement.batchDigest(a));
        Signature memory signatureB = _sign(_secret(OFFENDER), settlement.batchDigest(b));
        vm.expectRevert(reason);
        slasher.reportDoubleAttestation(_key(OFFENDER), height, a, signatureA, proofA, b, signatureB, proofB);
    }
}
