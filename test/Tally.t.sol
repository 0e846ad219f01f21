// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox, Submission} from "../contracts/interfaces/IBatchInbox.sol";
import {IRewardPool} from "../contracts/interfaces/IRewardPool.sol";
import {Attendance, ITally, Settled} from "../contracts/interfaces/ITally.sol";
import {CertificateLib} from "../contracts/lib/CertificateLib.sol";
import {BatchHeader, Signature} from "../contracts/types/Wire.sol";
import {Chain} from "./utils/Chain.sol";
import {Actor} from "./utils/System.sol";

/// Tally
/// ├── tally
/// │   ├── it says what it booked and moves on
/// │   ├── it credits posters with refund and margin, signers with their share
/// │   ├── it credits each poster of a mixed run
/// │   ├── it counts who signed, in the generation in which they did
/// │   ├── when it is called in pieces: it books the same
/// │   ├── when nothing is handed in: it reverts
/// │   ├── when batches are skipped or repeated: it reverts
/// │   ├── when a batch never settled: it reverts
/// │   ├── when any field was changed: it reverts
/// │   └── when batches left the ring: it goes on with the first that is there
/// ├── blame (R29)
/// │   ├── given a leader who posts: its turn counts and is not missed, also the very first
/// │   ├── given a leader who posts late, after somebody could have taken over: not missed
/// │   ├── given a former poster address of the leader: not missed
/// │   ├── given another poster a takeover after the batch was ready: missed
/// │   ├── given another poster less than a takeover after the parent settled: not missed
/// │   ├── given a batch attested after the epoch of its timestamp: not missed
/// │   ├── given a leader who posted another batch of the turn: not missed
/// │   └── given a batch of the turn that lapsed: not counted
/// ├── attendance: it is closed once nothing of the epoch can settle or be tallied
/// └── turnsBetween: it sums up to 256 epochs; when there are more: it reverts
contract TallyTest is Chain {
    function setUp() external {
        _beginFunded(4);
    }

    function _beginFunded(uint256 n) private {
        _begin(n);
        vm.deal(address(this), 100 ether);
        token.mint(address(this), 1000 ether);
        token.approve(address(rewardPool), type(uint256).max);
        rewardPool.fund{value: 100 ether}(1000 ether);
    }

    /* TALLY */

    function test_tally_saysWhatItBookedAndMovesOn() external {
        _settleSome(3);
        assertEq(tally.nextTally(), 1);

        vm.expectEmit(address(tally));
        emit ITally.Tallied(1, 3);
        tally.tally(1, _batches(1, 3));

        assertEq(tally.nextTally(), 4);
    }

    function test_tally_creditsPosterAndSigners() external {
        BatchHeader memory header = _nextHeader(8);
        address leader = _leader(header);
        _settle(header);
        // Three of four signed.
        uint256 amountWei = _dueWei(0, 3, 4);

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.PosterCredited(leader, 1, amountWei);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignersReserved(0, 1, 1, _rewardWei(0) * 3 / 4);
        _tallyAll();

        assertEq(rewardPool.posterBalance(leader), amountWei);
    }

    function test_tally_paysNoMarginForWhatIsNotRegular() external {
        BatchHeader memory header = _nextHeader(8);
        header.regularSince = 0;
        _advance(5 * p.takeoverSeconds);
        address stranger = makeAddr("stranger");
        _settleAs(stranger, header);
        _advance(1);
        // The same poster, of the same epoch, goes on with a regular one.
        BatchHeader memory next = _nextHeader(8);
        next.epoch = header.epoch;
        _advance(5 * p.takeoverSeconds);
        _settleAs(stranger, next);
        _tallyAll();
        assertEq(rewardPool.posterBalance(stranger), _settledBatches[0].refundWei + _dueWei(1, 3, 4));
    }

    function test_tally_creditsEachPosterOfAMixedRun() external {
        BatchHeader memory first = _nextHeader(8);
        _settle(first);
        BatchHeader memory second = _nextHeader(8);
        while (_leader(second) == _leader(first)) {
            second = _nextHeader(second.lastHeight - second.firstHeight + 1 + p.turnLength);
        }
        _settle(second);
        _tallyAll();

        assertEq(rewardPool.posterBalance(_leader(first)), _dueWei(0, 3, 4));
        assertEq(rewardPool.posterBalance(_leader(second)), _dueWei(1, 3, 4));
    }

    function testFuzz_tally_countsWhoSigned(uint256 seed) external {
        _beginFunded(20);
        uint256[20] memory expected;
        uint256 signedWeight;
        for (uint256 b = 0; b < 4; ++b) {
            // Any fourteen or more of twenty are a quorum.
            uint128 signers = uint128(uint256(keccak256(abi.encode(seed, b)))) & _first(20);
            while (CertificateLib.countSigners(signers) < 14) signers |= signers + 1;
            for (uint256 i = 0; i < 20; ++i) {
                if ((signers >> i) & 1 == 1) expected[i] += b == 0 ? p.epochSeconds : b;
            }
            signedWeight += 100 * CertificateLib.countSigners(signers) * (b == 0 ? p.epochSeconds : b);
            _settleSignedBy(signers);
            _advance(b + 1);
        }
        _tallyAll();

        for (uint256 i = 0; i < 20; ++i) {
            Attendance memory attendance = tally.attendance(0, 1, i);
            assertEq(attendance.attended, expected[i]);
            assertEq(attendance.signedWeight, signedWeight);
            assertEq(attendance.weight, 100);
            assertEq(attendance.signer, settlement.memberAt(0, 1, i).signer);
        }
    }

    function test_tally_countsInTheGenerationThatSigned() external {
        Actor[] memory actors = new Actor[](4);
        for (uint256 i = 0; i < 4; ++i) {
            actors[i] = _actor(i);
        }
        _restart(actors, 4);
        _advance(p.l1BlockSeconds);
        _settle(_nextHeader(1));
        _tallyAll();

        uint64 epoch = _settledBatches[0].header.epoch;
        // The first of a generation counts from the start of its epoch at the earliest.
        assertEq(
            tally.attendance(1, epoch, 0).attended, _settledBatches[0].header.timestamp - settlement.startOf(epoch)
        );
        assertEq(tally.attendance(0, epoch, 0).attended, 0);

        // Another batch of the same turn makes no other turn of it.
        BatchHeader memory header = _nextHeader(1);
        address leader = _leader(header);
        _settle(header);
        _closeTurn();
        (uint256 turns,) = tally.turnsOf(registry.idOf(leader), epoch);
        assertEq(turns, 1);
    }

    function test_tally_inPiecesBooksTheSame() external {
        _settleSome(6);
        uint256 snapshot = vm.snapshotState();
        tally.tally(1, _batches(1, 6));
        uint256[5] memory atOnce = _books();

        vm.revertToState(snapshot);
        tally.tally(1, _batches(1, 1));
        tally.tally(2, _batches(2, 4));
        tally.tally(5, _batches(5, 6));
        uint256[5] memory inPieces = _books();
        for (uint256 i = 0; i < 5; ++i) {
            assertEq(inPieces[i], atOnce[i]);
        }
    }

    function test_tally_booksWhatSettleManySettled() external {
        BatchHeader memory a = _nextHeader(2);
        BatchHeader memory b = _nextHeader(4);
        b.firstHeight = 3;
        b.parentBlockHash = a.lastBlockHash;
        Submission[] memory submissions = new Submission[](2);
        (submissions[0], submissions[1]) = (_submission(a), _submission(b));
        address leader = _leader(a);
        Settled[] memory batches = new Settled[](2);
        batches[0] = _settledBy(leader, a, submissions[0].signers);
        batches[1] = _settledBy(leader, b, submissions[1].signers);
        batches[1].parentSettledAt = uint64(block.timestamp);

        vm.recordLogs();
        vm.prank(leader, leader);
        settlement.settleMany(submissions);
        uint128[] memory refundsWei = _refundsWei();
        (batches[0].refundWei, batches[1].refundWei) = (refundsWei[0], refundsWei[1]);
        tally.tally(1, batches);
        assertEq(tally.nextTally(), 3);
    }

    function test_tally_revertsWhen_nothingIsHandedIn() external {
        vm.expectRevert(ITally.NothingToTally.selector);
        tally.tally(1, new Settled[](0));
    }

    function test_tally_revertsWhen_batchesAreSkipped() external {
        _settleSome(2);
        Settled[] memory batches = _batches(2, 2);
        vm.expectRevert(abi.encodeWithSelector(ITally.TallyNotNext.selector, 1, 2));
        tally.tally(2, batches);
    }

    function test_tally_revertsWhen_batchesAreRepeated() external {
        _settleSome(2);
        _tallyAll();
        Settled[] memory batches = _batches(2, 2);
        vm.expectRevert(abi.encodeWithSelector(ITally.TallyNotNext.selector, 3, 2));
        tally.tally(2, batches);
    }

    function test_tally_revertsWhen_batchNeverSettled() external {
        _settleSome(1);
        Settled[] memory batches = new Settled[](2);
        (batches[0], batches[1]) = (_settledBatches[0], _settledBatches[0]);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NotInRing.selector, 1, 1, 2));
        tally.tally(1, batches);
    }

    function testFuzz_tally_revertsWhen_anyFieldWasChanged(uint8 field) external {
        _settleSome(1);
        Settled memory batch = _settledBatches[0];
        field = uint8(bound(field, 0, 11));
        if (field == 0) batch.header.usageHash = keccak256("other");
        if (field == 1) batch.signers ^= 1;
        if (field == 2) batch.poster = address(1);
        if (field == 3) ++batch.settledAt;
        if (field == 4) ++batch.parentSettledAt;
        if (field == 5) ++batch.baseFeeWei;
        if (field == 6) ++batch.blobBaseFeeWei;
        if (field == 7) ++batch.refundWei;
        if (field == 8) ++batch.blobs;
        if (field == 9) batch.late = !batch.late;
        if (field == 10) batch.led = !batch.led;
        if (field == 11) ++batch.header.regularSince;
        Settled[] memory batches = new Settled[](1);
        batches[0] = batch;

        bytes32 actual = this.ringValueOf(batch);
        vm.expectRevert(abi.encodeWithSelector(ITally.RingValueMismatch.selector, 1, settlement.ringValue(1), actual));
        tally.tally(1, batches);
    }

    function test_tally_goesOnWithTheFirstThatIsThere() external {
        uint64 ring = p.ringSize;
        _settleSome(2);
        _settleFast(ring);

        assertEq(tally.nextTally(), 3);
        Settled[] memory batches = _batches(1, 1);
        vm.expectRevert(abi.encodeWithSelector(ITally.TallyNotNext.selector, 3, 1));
        tally.tally(1, batches);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NotInRing.selector, 3, ring + 2, 2));
        settlement.ringValue(2);
        tally.tally(3, _batches(3, 4));
        assertEq(tally.nextTally(), 5);
    }

    /* BLAME */

    function test_blame_sparesLeadersWhoPost() external {
        BatchHeader memory header = _nextHeader(8);
        _settle(header);
        _closeTurn();
        _expectTurns(_leader(header), 1, 0);
    }

    function test_blame_countsTheVeryFirstTurn() external {
        _deploy();
        delete _settledBatches;
        _joinMany(4);
        _sealFirst();
        _advance(p.l1BlockSeconds);
        BatchHeader memory header = _nextHeader(1);
        uint32 id = registry.idOf(_leader(header));
        _settle(header);
        _closeTurn();

        (uint256 turns, uint256 missed) = tally.turnsOf(id, 0);
        assertEq(turns, 1);
        assertEq(missed, 0);
    }

    function test_blame_sparesLeadersWhoPostLate() external {
        BatchHeader memory header = _nextHeader(8);
        _advance(3 * p.takeoverSeconds);
        _settle(header);
        _closeTurn();
        _expectTurns(_leader(header), 1, 0);
    }

    function test_blame_sparesLeadersWhoseFormerPosterPosted() external {
        BatchHeader memory header = _nextHeader(8);
        address leader = _leader(header);
        uint32 id = registry.idOf(leader);
        address poster = _namePoster(id, "poster");
        _advance(2 * p.takeoverSeconds);
        _settleAs(poster, header);
        _dropPoster(id);

        _closeTurn();
        _expectTurns(leader, 1, 0);
    }

    function test_blame_findsLeadersWhoWereNotThere() external {
        BatchHeader memory header = _nextHeader(8);
        _advance(p.takeoverSeconds);
        _settleAs(_memberDrawn(1, 1, 1), header);
        BatchHeader memory next = _nextHeader(8);
        _settle(next);

        vm.expectEmit(address(tally));
        emit ITally.TurnMissed(0, 1, _leader(header), 1);
        _tallyAll();
        _expectTurns(_leader(header), 1, 1);
    }

    /// Counting from the timestamp alone would blame a leader who waited for the batch before.
    function test_blame_sparesLeadersWhoWaitedForTheParent() external {
        BatchHeader memory parent = _nextHeader(8);
        uint64 parentTime = uint64(block.timestamp);
        _advance(p.takeoverSeconds);
        _settle(parent);

        BatchHeader memory header = _nextHeader(8);
        (header.timestamp, header.regularSince) = (parentTime, parentTime);
        _advance(p.takeoverSeconds - 1);
        address next = _memberDrawn(1, header.lastHeight / p.turnLength, 1);
        assertNotEq(next, _leader(header));
        _settleAs(next, header);
        _closeTurn();
        _expectTurns(_leader(header), _leader(header) == _leader(parent) ? 2 : 1, 0);
    }

    function test_blame_sparesLeadersOfALaterEpoch() external {
        BatchHeader memory header = _nextHeader(8);
        uint64 time = uint64(block.timestamp);
        _sealThrough(2);
        header.epoch = 2;
        (header.timestamp, header.regularSince) = (time, time);
        _settleAs(makeAddr("stranger"), header);
        _closeTurn();
        _expectTurns(_leader(header), 1, 0);
    }

    function test_blame_sparesLeadersWhoPostedAnotherBatchOfTheTurn() external {
        BatchHeader memory header = _nextHeader(4);
        _advance(p.takeoverSeconds);
        _settleAs(_memberDrawn(1, 0, 1), header);
        _settle(_nextHeader(3));
        _closeTurn();
        _expectTurns(_leader(header), 1, 0);
    }

    function test_blame_forgetsTurnsOfWhichABatchLapsed() external {
        BatchHeader memory header = _nextHeader(2);
        _advance(p.takeoverSeconds);
        _settleAs(_memberDrawn(1, 0, 1), header);
        tally.tally(1, _batches(1, 1));
        _settle(_nextHeader(1));
        _settleFast(p.ringSize);
        tally.tally(3, _batches(3, 3));

        (uint256 turns,) = tally.turnsOf(registry.idOf(_leader(header)), 1);
        assertEq(turns, 0);
    }

    /* CLOSING */

    function test_attendance_closesOnceTheEpochIsPastAndTallied() external {
        _settleSome(1);
        assertFalse(tally.attendance(0, 1, 0).closed);

        _startEpoch(1 + p.maxEpochLag + 1);
        assertFalse(tally.attendance(0, 1, 0).closed);

        _tallyAll();
        assertTrue(tally.attendance(0, 1, 0).closed);
    }

    function test_attendance_staysOpenAsLongAsTheEpochCanAttest() external {
        _settleSome(1);
        _tallyAll();
        _warpTo(settlement.startOf(1 + p.maxEpochLag + 1) - 1);
        assertFalse(tally.attendance(0, 1, 0).closed);
    }

    function test_attendance_closesBehindTheTally() external {
        _settleSome(1);
        _startEpoch(1 + p.maxEpochLag + 1);
        _settleSome(2);
        tally.tally(1, _batches(1, 2));
        // Batch 3 is open, but batch 2 was attested by a later epoch already.
        assertTrue(tally.attendance(0, 1, 0).closed);
    }

    function test_isClosed_isFalseOfEpochsBeyondAllTime() external view {
        assertFalse(tally.isClosed(type(uint64).max));
    }

    function test_turnsBetween_sumsUpTo256Epochs() external {
        for (uint256 i = 0; i < 2; ++i) {
            BatchHeader memory header = _nextHeaderLedBy(0);
            _settle(header);
            _closeTurn();
            _sealThrough(_epoch() + 1);
        }
        uint32 id = registry.idOf(settlement.memberAt(0, 1, 0).signer);
        (uint256 first,) = tally.turnsOf(id, 1);
        (uint256 second,) = tally.turnsOf(id, 2);
        assertGt(first, 0);
        assertGt(second, 0);

        (uint256 turns,) = tally.turnsBetween(id, 1, 256);
        assertEq(turns, first + second);
        (turns,) = tally.turnsBetween(id, 2, 2);
        assertEq(turns, second);
        (turns,) = tally.turnsBetween(id, 2, 1);
        assertEq(turns, 0);
        (turns,) = tally.turnsBetween(id, type(uint64).max - 255, type(uint64).max);
        assertEq(turns, 0);
    }

    function test_turnsBetween_revertsWhen_thereAreMoreThan256Epochs() external {
        vm.expectRevert(abi.encodeWithSelector(ITally.TooManyEpochs.selector, 256, 257));
        tally.turnsBetween(1, 1, 257);
        vm.expectRevert(abi.encodeWithSelector(ITally.TooManyEpochs.selector, 256, uint256(1) << 64));
        tally.turnsBetween(1, 0, type(uint64).max);
    }

    /* PARTS */

    function _settleSome(uint256 n) private {
        for (uint256 i = 0; i < n; ++i) {
            _settle(_nextHeader(3));
            _advance(1);
        }
    }

    function _settleSignedBy(uint128 signers) private {
        BatchHeader memory header = _nextHeader(1);
        address leader = _leader(header);
        Signature[] memory signatures = _attest(header, signers);
        _settleNoted(leader, header, signers, signatures);
    }

    /// @dev Many batches of one block in this second.
    function _settleFast(uint256 n) private {
        for (uint256 i = 0; i < n; ++i) {
            _settle(_nextHeader(1));
        }
    }

    /// @dev Settles and tallies a batch of the next turn, so that the running one counts.
    function _closeTurn() private {
        _settle(_nextHeader(p.turnLength));
        _tallyAll();
    }

    function _batches(uint256 first, uint256 last) private view returns (Settled[] memory batches) {
        batches = new Settled[](last + 1 - first);
        for (uint256 i = 0; i < batches.length; ++i) {
            batches[i] = _settledBatches[first - 1 + i];
        }
    }

    /// @dev All that a tally leaves behind.
    function _books() private view returns (uint256[5] memory books) {
        for (uint256 i = 0; i < 4; ++i) {
            address signer = settlement.memberAt(0, 1, i).signer;
            (uint256 turns, uint256 missed) = tally.turnsOf(registry.idOf(signer), 1);
            Attendance memory attendance = tally.attendance(0, 1, i);
            books[i] =
                uint256(keccak256(abi.encode(rewardPool.posterBalance(signer), turns, missed, attendance.attended)));
        }
        (, books[4]) = rewardPool.freeWei();
    }

    function _expectTurns(address leader, uint256 turns, uint256 missed) private view {
        (uint256 actualTurns, uint256 actualMissed) = tally.turnsOf(registry.idOf(leader), _epoch());
        assertEq(actualTurns, turns);
        assertEq(actualMissed, missed);
    }
}
