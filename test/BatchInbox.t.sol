// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {VmSafe} from "forge-std/Vm.sol";

import {IBatchInbox, Submission, Tip} from "../contracts/interfaces/IBatchInbox.sol";
import {ICalendar} from "../contracts/interfaces/ICalendar.sol";
import {IRota, LeaderSet} from "../contracts/interfaces/IRota.sol";
import {CertificateLib} from "../contracts/lib/CertificateLib.sol";
import {BatchHeader, Signature} from "../contracts/types/Wire.sol";
import {Chain} from "./utils/Chain.sol";

/// Calls on behalf of whoever calls it.
contract Relay {
    function settle(IBatchInbox inbox, BatchHeader calldata header, uint128 signers, Signature[] calldata signatures)
        external
    {
        inbox.settle(header, signers, signatures, hex"0001020300");
    }

    function settleMany(IBatchInbox inbox, Submission[] calldata submissions) external {
        inbox.settleMany(submissions);
    }
}

/// BatchInbox
/// ├── settle
/// │   ├── it moves the tip, fills the ring and says so
/// │   ├── it settles batch upon batch
/// │   ├── given the caller
/// │   │   ├── when it is a contract: it reverts
/// │   │   └── when it has code delegated to: it reverts
/// │   ├── given the chain
/// │   │   ├── when nothing was ever sealed: it reverts
/// │   │   ├── when the generation is another: it reverts
/// │   │   ├── when the first height skips or repeats: it reverts
/// │   │   ├── when there is no block: it reverts
/// │   │   ├── when there are 2^14 blocks: it settles
/// │   │   ├── when there is one more: it reverts
/// │   │   ├── when the parent is another block: it reverts
/// │   │   └── when a state root is named: it reverts
/// │   ├── given the times
/// │   │   ├── when the epoch is not begun, too old, or before that of the batch before: it reverts
/// │   │   ├── when the epoch lags as far as it may, or its set is carried: it settles
/// │   │   ├── when the timestamp goes back or too far ahead: it reverts
/// │   │   ├── when the timestamp is ahead by the drift: it settles
/// │   │   ├── when the origin goes back or is not mined: it reverts
/// │   │   ├── when L1 knows another hash of the origin: it reverts
/// │   │   └── when L1 has forgotten the origin: it settles
/// │   ├── given the forced queue: see ForcedInbox.t.sol
/// │   ├── when blobs are named: it reverts
/// │   ├── given the poster: see PosterWindow.t.sol
/// │   ├── when the payload is another: it reverts
/// │   └── given the certificate
/// │       ├── when exactly two thirds signed, or nobody: it reverts
/// │       ├── over all bitmaps: it takes exactly what is above two thirds
/// │       ├── when a member beyond the set is named: it reverts
/// │       ├── when a signature is missing or spare: it reverts
/// │       ├── when a signature is another member's: it reverts
/// │       └── when it is for another chain: it reverts
/// ├── settleMany
/// │   ├── it settles several, each on the one before
/// │   ├── when one is wrong: none settles
/// │   └── when there is none: it reverts
/// └── ringValue: it reverts outside of what the ring holds
contract BatchInboxTest is Chain {
    function setUp() external {
        _begin(4);
    }

    /* SETTLE */

    function test_settle_movesTipFillsRingAndSaysSo() external {
        BatchHeader memory header = _nextHeader(8);
        address leader = _leader(header);
        uint128 signers = _quorum(header.epoch);
        bytes32 digest = settlement.batchDigest(header);
        uint64 parentSettledAt = settlement.tip().settledAt;

        Signature[] memory signatures = _attest(header, signers);

        vm.recordLogs();
        vm.prank(leader, leader);
        settlement.settle(header, signers, signatures, PAYLOAD);
        VmSafe.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs.length, 1);
        assertEq(logs[0].emitter, address(settlement));
        assertEq(uint256(logs[0].topics[1]), 1);
        assertEq(logs[0].topics[2], digest);
        (,,, uint128 refundWei,,) = abi.decode(logs[0].data, (address, uint128, uint64, uint128, bool, bool));
        assertEq(logs[0].data, abi.encode(leader, signers, parentSettledAt, refundWei, false, true));
        assertGt(refundWei, 21_000 * 1 gwei);

        Tip memory tip = settlement.tip();
        assertEq(tip.number, 1);
        assertEq(tip.lastHeight, header.lastHeight);
        assertEq(tip.lastBlockHash, header.lastBlockHash);
        assertEq(tip.epoch, header.epoch);
        assertEq(tip.timestamp, header.timestamp);
        assertEq(tip.l1OriginNumber, header.l1OriginNumber);
        assertEq(tip.settledAt, block.timestamp);
        assertEq(tip.forcedThrough, 0);
        assertEq(tip.consumed, 0);
        assertEq(
            settlement.ringValue(1),
            keccak256(
                abi.encode(
                    digest,
                    signers,
                    leader,
                    block.timestamp,
                    parentSettledAt,
                    block.basefee,
                    block.blobbasefee,
                    refundWei,
                    0,
                    false,
                    true
                )
            )
        );
    }

    function test_settle_settlesBatchUponBatch() external {
        for (uint64 i = 1; i <= 5; ++i) {
            _settle(_nextHeader(i));
            _advance(3);
        }

        assertEq(settlement.tip().number, 5);
        assertEq(settlement.tip().lastHeight, 1 + 2 + 3 + 4 + 5);
    }

    function testFuzz_settle_takesAnyRunOfBlocksThatExtendsTheChain(uint64 blocks) external {
        blocks = uint64(bound(blocks, 1, 1 << 14));
        _settle(_nextHeader(blocks));
        assertEq(settlement.tip().lastHeight, blocks);
    }

    /* CALLER */

    function test_revertsWhen_callerIsContract() external {
        BatchHeader memory header = _nextHeader(8);
        Signature[] memory signatures = _attest(header, _first(3));
        Relay relay = new Relay();
        address leader = _leader(header);

        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.CallerNotOrigin.selector, leader, address(relay)));
        vm.prank(leader, leader);
        relay.settle(settlement, header, _first(3), signatures);

        Submission[] memory submissions = new Submission[](1);
        submissions[0] = Submission(header, _first(3), signatures, PAYLOAD);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.CallerNotOrigin.selector, leader, address(relay)));
        vm.prank(leader, leader);
        relay.settleMany(settlement, submissions);
    }

    /// An account that has delegated its code can call itself, and the call is then not the transaction's input.
    function test_revertsWhen_callerHasDelegatedCode() external {
        BatchHeader memory header = _nextHeader(8);
        address leader = _leader(header);
        Relay relay = new Relay();
        vm.signAndAttachDelegation(address(relay), _keyOf(leader));

        _expectSettleRevert(leader, header, abi.encodeWithSelector(IBatchInbox.CallerHasCode.selector, leader));
    }

    /* CHAIN */

    function test_revertsWhen_nothingWasSealed() external {
        _deploy();
        BatchHeader memory header = _nextHeader(8);

        address anyone = makeAddr("anyone");
        vm.expectRevert(abi.encodeWithSelector(ICalendar.NoSetInForce.selector, 0, 0));
        vm.prank(anyone, anyone);
        settlement.settle(header, 0, new Signature[](0), PAYLOAD);
    }

    function test_revertsWhen_generationDiffers() external {
        BatchHeader memory header = _nextHeader(8);
        header.generation = 1;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.GenerationMismatch.selector, 0, 1));
    }

    function test_revertsWhen_firstHeightSkips() external {
        BatchHeader memory header = _nextHeader(8);
        header.firstHeight = 2;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.FirstHeightNotNext.selector, 1, 2));
    }

    function test_revertsWhen_firstHeightRepeats() external {
        _settle(_nextHeader(8));
        BatchHeader memory header = _nextHeader(8);
        header.firstHeight = 8;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.FirstHeightNotNext.selector, 9, 8));
    }

    function test_revertsWhen_thereIsNoBlock() external {
        BatchHeader memory header = _nextHeader(8);
        header.lastHeight = 0;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.LastHeightOutOfRange.selector, 1, 1 << 14, 0));
    }

    function test_settle_takesLargestBatch() external {
        _settle(_nextHeader(1 << 14));
        assertEq(settlement.tip().lastHeight, 1 << 14);
    }

    function test_revertsWhen_thereAreTooManyBlocks() external {
        _expectRevert(
            _nextHeader((1 << 14) + 1),
            abi.encodeWithSelector(IBatchInbox.LastHeightOutOfRange.selector, 1, 1 << 14, (1 << 14) + 1)
        );
    }

    function test_revertsWhen_parentIsAnotherBlock() external {
        BatchHeader memory header = _nextHeader(8);
        bytes32 parent = header.parentBlockHash;
        header.parentBlockHash = keccak256("another");
        _expectRevert(
            header, abi.encodeWithSelector(IBatchInbox.ParentBlockMismatch.selector, parent, header.parentBlockHash)
        );
    }

    function test_revertsWhen_stateRootIsNamed() external {
        BatchHeader memory header = _nextHeader(8);
        header.stateRoot = keccak256("state");
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.StateRootNotZero.selector, header.stateRoot));
    }

    /* TIMES */

    function test_revertsWhen_epochNotBegun() external {
        BatchHeader memory header = _nextHeader(8);
        header.epoch = 2;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.EpochOutOfRange.selector, 0, 1, 2));
    }

    function test_revertsWhen_epochLagsTooFar() external {
        _sealThrough(5);
        BatchHeader memory header = _nextHeader(8);
        header.epoch = 5 - uint64(p.maxEpochLag) - 1;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.EpochOutOfRange.selector, 2, 5, 1));
    }

    function test_settle_takesEpochThatLagsAsFarAsItMay() external {
        _sealThrough(5);
        BatchHeader memory header = _nextHeader(8);
        header.epoch = 2;
        _settle(header);
        assertEq(settlement.tip().epoch, 2);
    }

    function test_revertsWhen_epochBeforeThatOfTheBatchBefore() external {
        _settle(_nextHeader(8));
        BatchHeader memory header = _nextHeader(8);
        header.epoch = 0;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.EpochOutOfRange.selector, 1, 1, 0));
    }

    function test_settle_takesCarriedEpoch() external {
        _startEpoch(3);
        _settle(_nextHeader(8));
        assertEq(settlement.tip().epoch, 3);
    }

    function test_revertsWhen_timestampGoesBack() external {
        _settle(_nextHeader(8));
        BatchHeader memory header = _nextHeader(8);
        uint64 before = header.timestamp;
        header.timestamp = before - 1;
        _expectRevert(
            header,
            abi.encodeWithSelector(
                IBatchInbox.TimestampOutOfRange.selector, before, before + p.driftSeconds, before - 1
            )
        );
    }

    function test_settle_takesTimestampAheadByTheDrift() external {
        BatchHeader memory header = _nextHeader(8);
        header.timestamp += p.driftSeconds;
        header.regularSince = header.timestamp;
        _settle(header);
        assertEq(settlement.tip().timestamp, header.timestamp);
    }

    function test_revertsWhen_timestampAheadByMore() external {
        BatchHeader memory header = _nextHeader(8);
        uint64 latest = header.timestamp + p.driftSeconds;
        header.timestamp = latest + 1;
        _expectRevert(
            header, abi.encodeWithSelector(IBatchInbox.TimestampOutOfRange.selector, p.genesis, latest, latest + 1)
        );
    }

    function test_revertsWhen_regularSinceBeforeTheLastBlock() external {
        BatchHeader memory header = _nextHeader(8);
        uint64 time = header.timestamp;
        header.regularSince = time - 1;
        _expectRevert(
            header,
            abi.encodeWithSelector(IBatchInbox.RegularSinceOutOfRange.selector, time, time + p.driftSeconds, time - 1)
        );
    }

    function test_revertsWhen_regularSinceAheadByMoreThanTheDrift() external {
        BatchHeader memory header = _nextHeader(8);
        uint64 latest = header.timestamp + p.driftSeconds;
        header.regularSince = latest + 1;
        _expectRevert(
            header,
            abi.encodeWithSelector(IBatchInbox.RegularSinceOutOfRange.selector, header.timestamp, latest, latest + 1)
        );
        header.regularSince = latest;
        _settle(header);
    }

    function test_revertsWhen_regularSinceIsAtTheEndOfItsType() external {
        BatchHeader memory header = _nextHeader(8);
        header.regularSince = type(uint64).max;
        _expectRevert(
            header,
            abi.encodeWithSelector(
                IBatchInbox.RegularSinceOutOfRange.selector,
                header.timestamp,
                header.timestamp + p.driftSeconds,
                type(uint64).max
            )
        );
    }

    function test_revertsWhen_originGoesBack() external {
        _settle(_nextHeader(8));
        BatchHeader memory header = _nextHeader(8);
        uint64 newest = uint64(block.number) - 1;
        header.l1OriginNumber = newest - 1;
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.OriginOutOfRange.selector, newest, newest, newest - 1));
    }

    function test_revertsWhen_originIsNotMined() external {
        BatchHeader memory header = _nextHeader(8);
        uint64 oldest = settlement.tip().l1OriginNumber;
        header.l1OriginNumber = uint64(block.number);
        _expectRevert(
            header,
            abi.encodeWithSelector(
                IBatchInbox.OriginOutOfRange.selector, oldest, uint64(block.number) - 1, uint64(block.number)
            )
        );
    }

    function test_revertsWhen_originHasAnotherHash() external {
        BatchHeader memory header = _nextHeader(8);
        bytes32 known = header.l1OriginHash;
        header.l1OriginHash = keccak256("another");
        _expectRevert(
            header, abi.encodeWithSelector(IBatchInbox.OriginHashMismatch.selector, known, header.l1OriginHash)
        );
    }

    function test_settle_takesOriginThatL1HasForgotten() external {
        BatchHeader memory header = _nextHeader(8);
        header.l1OriginHash = keccak256("only agents know");
        vm.roll(block.number + 257);
        _settle(header);
        assertEq(settlement.tip().l1OriginNumber, header.l1OriginNumber);
    }

    /* FIXED FIELDS */

    function test_revertsWhen_blobsAreNamed() external {
        BatchHeader memory header = _nextHeader(8);
        header.blobsHash = keccak256("blobs");
        _expectRevert(header, abi.encodeWithSelector(IBatchInbox.BlobsHashNotZero.selector, header.blobsHash));
    }

    function test_revertsWhen_payloadIsAnother() external {
        BatchHeader memory header = _nextHeader(8);
        header.payloadHash = keccak256("another");
        _expectRevert(
            header,
            abi.encodeWithSelector(IBatchInbox.PayloadHashMismatch.selector, keccak256(PAYLOAD), header.payloadHash)
        );
    }

    /* CERTIFICATE */

    function test_revertsWhen_exactlyTwoThirdsSigned() external {
        _begin(3);
        BatchHeader memory header = _nextHeader(8);
        _expectRevert(header, _first(2), abi.encodeWithSelector(IBatchInbox.QuorumNotReached.selector, 300, 200));
    }

    function testFuzz_settle_takesExactlyWhatIsAboveTwoThirds(uint128 signers) external {
        _begin(7);
        BatchHeader memory header = _nextHeader(8);
        signers = uint128(bound(signers, 0, _first(7)));
        uint256 signed = 100 * CertificateLib.countSigners(signers);
        Signature[] memory signatures = _attest(header, signers);
        address leader = _leader(header);

        if (3 * signed <= 2 * 700) {
            vm.expectRevert(abi.encodeWithSelector(IBatchInbox.QuorumNotReached.selector, 700, signed));
        }
        vm.prank(leader, leader);
        settlement.settle(header, signers, signatures, PAYLOAD);
    }

    function test_revertsWhen_nobodySigned() external {
        BatchHeader memory header = _nextHeader(8);
        _expectRevert(header, 0, abi.encodeWithSelector(IBatchInbox.QuorumNotReached.selector, 400, 0));
    }

    function test_revertsWhen_memberBeyondTheSetIsNamed() external {
        BatchHeader memory header = _nextHeader(8);
        uint128 signers = _first(5);
        Signature[] memory signatures = _attest(header, _first(4));
        _expectSettleRevert(
            _leader(header),
            header,
            signers,
            signatures,
            abi.encodeWithSelector(CertificateLib.SignerOutsideSet.selector, 4, signers)
        );
    }

    function test_revertsWhen_signatureIsMissing() external {
        BatchHeader memory header = _nextHeader(8);
        _expectSettleRevert(
            _leader(header),
            header,
            _first(3),
            _attest(header, _first(2)),
            abi.encodeWithSelector(CertificateLib.SignatureCountWrong.selector, 3, 2)
        );
    }

    function test_revertsWhen_signatureIsSpare() external {
        BatchHeader memory header = _nextHeader(8);
        _expectSettleRevert(
            _leader(header),
            header,
            _first(3),
            _attest(header, _first(4)),
            abi.encodeWithSelector(CertificateLib.SignatureCountWrong.selector, 3, 4)
        );
    }

    function test_revertsWhen_signatureIsAnotherMembers() external {
        BatchHeader memory header = _nextHeader(8);
        Signature[] memory signatures = _attest(header, _first(3));
        (signatures[0], signatures[1]) = (signatures[1], signatures[0]);
        _expectSettleRevert(
            _leader(header),
            header,
            _first(3),
            signatures,
            abi.encodeWithSelector(
                CertificateLib.SignatureInvalid.selector, 0, settlement.memberAt(0, header.epoch, 0).signer
            )
        );
    }

    function test_revertsWhen_signedOnAnotherChain() external {
        BatchHeader memory header = _nextHeader(8);
        Signature[] memory signatures = _attest(header, _first(3));
        address first = settlement.memberAt(0, header.epoch, 0).signer;
        vm.chainId(block.chainid + 1);
        _expectSettleRevert(
            _leader(header),
            header,
            _first(3),
            signatures,
            abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 0, first)
        );
    }

    /* MANY */

    function test_settleMany_settlesEachOnTheOneBefore() external {
        (address leader, Submission[] memory submissions) = _two();

        vm.prank(leader, leader);
        settlement.settleMany(submissions);

        assertEq(settlement.tip().number, 2);
        assertEq(settlement.tip().lastHeight, 4);
        assertEq(settlement.tip().lastBlockHash, submissions[1].header.lastBlockHash);
    }

    function test_settleMany_revertsWhen_oneIsWrong() external {
        (address leader, Submission[] memory submissions) = _two();
        submissions[1].signers = 0;
        submissions[1].signatures = new Signature[](0);

        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.QuorumNotReached.selector, 400, 0));
        vm.prank(leader, leader);
        settlement.settleMany(submissions);

        assertEq(settlement.tip().number, 0);
    }

    function test_settleMany_revertsWhen_thereIsNone() external {
        address anyone = makeAddr("anyone");
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NothingToSettle.selector));
        vm.prank(anyone, anyone);
        settlement.settleMany(new Submission[](0));
    }

    /* RING */

    function test_ringValue_revertsWhen_batchNeverSettled() external {
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NotInRing.selector, 1, 0, 1));
        settlement.ringValue(1);
    }

    function test_ringValue_revertsWhen_numberIsZero() external {
        _settle(_nextHeader(1));
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NotInRing.selector, 1, 1, 0));
        settlement.ringValue(0);
    }

    /* PARTS */

    /// @dev Two submissions of two blocks each, the second on the first, in one turn.
    function _two() private view returns (address leader, Submission[] memory submissions) {
        submissions = new Submission[](2);
        BatchHeader memory header = _nextHeader(2);
        leader = _leader(header);
        submissions[0] = _submission(header);

        BatchHeader memory next = _nextHeader(4);
        next.firstHeight = 3;
        next.parentBlockHash = header.lastBlockHash;
        submissions[1] = _submission(next);
    }

    function _expectRevert(BatchHeader memory header, bytes memory reason) private {
        _expectRevert(header, _first(3), reason);
    }

    function _expectRevert(BatchHeader memory header, uint128 signers, bytes memory reason) private {
        // What the chain refuses before it looks at the set may name a set that does not exist.
        LeaderSet memory set = settlement.leaderSet(_epoch());
        Signature[] memory signatures = _attestWith(set, header, signers);
        _expectSettleRevert(_leader(header), header, signers, signatures, reason);
    }

    function _expectSettleRevert(address poster, BatchHeader memory header, bytes memory reason) private {
        _expectSettleRevert(poster, header, _first(3), _attest(header, _first(3)), reason);
    }

    function _expectSettleRevert(
        address poster,
        BatchHeader memory header,
        uint128 signers,
        Signature[] memory signatures,
        bytes memory reason
    ) private {
        vm.expectRevert(reason);
        vm.prank(poster, poster);
        settlement.settle(header, signers, signatures, PAYLOAD);
    }

    function _attestWith(LeaderSet memory set, BatchHeader memory header, uint128 signers)
        private
        view
        returns (Signature[] memory signatures)
    {
        bytes32 digest = settlement.batchDigest(header);
        uint256 found;
        signatures = new Signature[](CertificateLib.countSigners(signers));
        for (uint256 i = 0; i < set.members.length; ++i) {
            if ((signers >> i) & 1 == 1) signatures[found++] = _sign(_keyOf(set.members[i].signer), digest);
        }
    }
}
