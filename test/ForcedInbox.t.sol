// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {StdStorage, stdStorage} from "forge-std/StdStorage.sol";

import {Submission, Tip} from "../contracts/interfaces/IBatchInbox.sol";
import {ForcedEntry, IForcedInbox, LateEntries} from "../contracts/interfaces/IForcedInbox.sol";
import {TipLib} from "../contracts/lib/TipLib.sol";
import {BatchHeader} from "../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../script/ConfigLib.sol";
import {Chain} from "./utils/Chain.sol";

/// ForcedInbox
/// ├── force
/// │   ├── it continues the chain of hashes, burns what was sent and says so
/// │   ├── when more than the fee is sent: all of it burns
/// │   ├── when the rollup is not registered: it reverts
/// │   ├── when the transaction is empty or too long: it reverts
/// │   ├── when the transaction is as long as it may be: it takes it
/// │   ├── when the queue is full: it reverts
/// │   └── when less than the fee is sent: it reverts
/// ├── forcedFee
/// │   ├── it doubles with every so many that wait, and saturates
/// │   └── it falls as entries are consumed
/// ├── settle
/// │   ├── it consumes what the header says
/// │   ├── when forcedThrough goes back: it reverts
/// │   ├── when forcedThrough is above the length: it reverts
/// │   ├── when an entry is left that is due at the origin: it reverts
/// │   ├── when an entry is left that is due a block later: it settles
/// │   ├── when a due entry is left behind 16 others: it settles
/// │   ├── when a due entry is left behind 15 others: it reverts
/// │   ├── when an escape is ahead: it counts 16 from the header before, and never goes back
/// │   ├── settleMany: each consumes on top of the one before
/// │   ├── within the grace: it is not late
/// │   ├── a block later: it is late, consuming or not
/// │   └── lateEntries: exactly those beyond the grace
/// ├── escape
/// │   ├── it consumes what is open, touches no height and says so
/// │   ├── when the first entry is a second short: it reverts
/// │   ├── it takes 16 at most, and stops at the first that is not open
/// │   ├── it pays for what it consumes, not for what was consumed before
/// │   ├── when nothing waits: it reverts
/// │   └── when there is no block 0 yet: it reverts
/// └── forcedEntry: it reverts beyond the queue
contract ForcedInboxTest is Chain {
    using stdStorage for StdStorage;

    address private constant BURN = 0x000000000000000000000000000000000000dEaD;

    address private immutable _sender = makeAddr("sender");

    function setUp() external {
        _begin(4);
        rollups.register{value: p.rollupFeeWei}(ROLLUP);
    }

    /* FORCE */

    function test_force_continuesTheChainOfHashesBurnsAndSaysSo() external {
        uint256 burnedWei = BURN.balance;
        bytes32 chainHash;
        for (uint64 i = 0; i < 3; ++i) {
            bytes memory transaction = abi.encode("transaction", i);
            chainHash = keccak256(abi.encode(chainHash, i, ROLLUP, _sender, keccak256(transaction)));

            vm.expectEmit(address(settlement));
            emit IForcedInbox.ForcedEnqueued(i, ROLLUP, _sender, p.forcedFeeWei, chainHash, transaction);
            assertEq(_forceAs(_sender, transaction), i);

            ForcedEntry memory entry = settlement.forcedEntry(i);
            assertEq(entry.enqueuedAtBlock, block.number);
            assertEq(entry.enqueuedAt, block.timestamp);
            assertEq(entry.feeWei, p.forcedFeeWei);
            assertEq(entry.chainHash, chainHash);
            _advance(1);
        }

        assertEq(settlement.forcedLength(), 3);
        assertEq(settlement.forcedConsumed(), 0);
        assertEq(BURN.balance - burnedWei, 3 * p.forcedFeeWei);
        assertEq(address(settlement).balance, 0);
    }

    function test_force_burnsAllThatIsSent() external {
        uint256 burnedWei = BURN.balance;
        settlement.force{value: 3 ether}(ROLLUP, "a");
        assertEq(settlement.forcedEntry(0).feeWei, 3 ether);
        assertEq(BURN.balance - burnedWei, 3 ether);
    }

    function test_force_revertsWhen_theRollupIsNotRegistered() external {
        vm.expectRevert(abi.encodeWithSelector(IForcedInbox.ForcedRollupUnknown.selector, 77));
        settlement.force{value: 1 ether}(77, "a");
    }

    function test_force_revertsWhen_theTransactionIsEmptyOrTooLong() external {
        uint256 most = p.forcedMaxBytes;
        vm.expectRevert(abi.encodeWithSelector(IForcedInbox.ForcedLength.selector, 1, most, 0));
        settlement.force{value: 1 ether}(ROLLUP, "");
        vm.expectRevert(abi.encodeWithSelector(IForcedInbox.ForcedLength.selector, 1, most, most + 1));
        settlement.force{value: 1 ether}(ROLLUP, new bytes(most + 1));
    }

    function test_force_takesTheLongestTransaction() external {
        settlement.force{value: p.forcedFeeWei}(ROLLUP, new bytes(p.forcedMaxBytes));
        assertEq(settlement.forcedLength(), 1);
    }

    function test_force_revertsWhen_theQueueIsFull() external {
        _pretendLength(TipLib.MAX_FORCED);
        vm.expectRevert(abi.encodeWithSelector(IForcedInbox.ForcedQueueFull.selector, TipLib.MAX_FORCED));
        settlement.force{value: 1 ether}(ROLLUP, "a");
    }

    function test_force_revertsWhen_lessThanTheFeeIsSent() external {
        vm.expectRevert(
            abi.encodeWithSelector(IForcedInbox.ForcedFeeTooSmall.selector, p.forcedFeeWei, p.forcedFeeWei - 1)
        );
        settlement.force{value: p.forcedFeeWei - 1}(ROLLUP, "a");

        _force(p.forcedFeeDoublingEntries);
        vm.expectRevert(
            abi.encodeWithSelector(IForcedInbox.ForcedFeeTooSmall.selector, 2 * p.forcedFeeWei, p.forcedFeeWei)
        );
        settlement.force{value: p.forcedFeeWei}(ROLLUP, "a");
    }

    /* FEE */

    /// The formula, doubled step by step.
    function testFuzz_forcedFee_doublesUpToItsBoundAndSaturates(uint256 firstWei, uint64 doubling, uint64 waiting)
        external
    {
        Config memory config = ConfigLib.read("devnet");
        config.params.forcedFeeWei = firstWei;
        config.params.forcedFeeDoublingEntries = uint64(bound(doubling, 1, type(uint64).max));
        config.params.forcedFeeMaxDoublings = uint64(firstWei % 11);
        _deploy(config);
        waiting = uint64(bound(waiting, 0, TipLib.MAX_FORCED));
        _pretendLength(waiting);

        uint256 expectedWei = firstWei;
        uint256 doublings = waiting / config.params.forcedFeeDoublingEntries;
        for (uint256 i = 0; i < doublings && i < config.params.forcedFeeMaxDoublings && expectedWei != 0; ++i) {
            if (expectedWei > type(uint256).max / 2) {
                expectedWei = type(uint256).max;
                break;
            }
            expectedWei *= 2;
        }
        assertEq(settlement.forcedFee(), expectedWei);
    }

    function test_forcedFee_fallsAsEntriesAreConsumed() external {
        _force(p.forcedFeeDoublingEntries);
        assertEq(settlement.forcedFee(), 2 * p.forcedFeeWei);
        _settleThrough(1);
        assertEq(settlement.forcedFee(), p.forcedFeeWei);
    }

    /* SETTLE */

    function test_settle_consumesWhatTheHeaderSays() external {
        _force(5);
        _settleThrough(3);
        _expectConsumed(3, 3);
        _settleThrough(3);
        _expectConsumed(3, 3);
        _settleThrough(5);
        _expectConsumed(5, 5);
    }

    function test_settle_revertsWhen_forcedThroughGoesBack() external {
        _force(5);
        _settleThrough(3);
        _expectRefused(2, abi.encodeWithSelector(IForcedInbox.ForcedThroughGoesBack.selector, 3, 2));
    }

    function test_settle_revertsWhen_forcedThroughIsAboveTheLength() external {
        _expectRefused(1, abi.encodeWithSelector(IForcedInbox.ForcedThroughAboveQueue.selector, 0, 1));
        _force(5);
        _expectRefused(6, abi.encodeWithSelector(IForcedInbox.ForcedThroughAboveQueue.selector, 5, 6));
    }

    function test_settle_revertsWhen_anEntryIsLeftThatIsDueAtTheOrigin() external {
        uint64 dueAtBlock = uint64(block.number) + p.forcedDeadlineBlocks;
        _force(1);
        _advance(1);
        _force(1);
        // The origin is one block behind.
        _rollTo(dueAtBlock + 1);
        _expectRefused(
            0, abi.encodeWithSelector(IForcedInbox.ForcedEntryLeftBehind.selector, 0, dueAtBlock, dueAtBlock)
        );
        _settleThrough(1);

        _rollTo(dueAtBlock + 2);
        _expectRefused(
            1, abi.encodeWithSelector(IForcedInbox.ForcedEntryLeftBehind.selector, 1, dueAtBlock + 1, dueAtBlock + 1)
        );
        _settleThrough(2);
    }

    function test_settle_leavesAnEntryThatIsDueABlockLater() external {
        _force(1);
        _rollTo(block.number + p.forcedDeadlineBlocks);
        _settleThrough(0);
        _expectConsumed(0, 0);
    }

    function test_settle_leavesDueEntriesBehindSixteenOthers() external {
        _force(33);
        _advance(p.forcedDeadlineBlocks + 1);
        uint64 origin = uint64(block.number) - 1;
        uint64 dueAtBlock = settlement.forcedEntry(0).enqueuedAtBlock + p.forcedDeadlineBlocks;
        _expectRefused(15, abi.encodeWithSelector(IForcedInbox.ForcedEntryLeftBehind.selector, 15, dueAtBlock, origin));
        _settleThrough(16);
        _expectRefused(31, abi.encodeWithSelector(IForcedInbox.ForcedEntryLeftBehind.selector, 31, dueAtBlock, origin));
        _settleThrough(33);
        _expectConsumed(33, 33);
    }

    /// The headers follow at their own pace what an escape has consumed already.
    function test_settle_followsAnEscapeAtItsOwnPace() external {
        _force(16);
        _advance(p.forcedDeadlineBlocks);
        _force(4);
        _advance(_escapeSeconds() - p.forcedDeadlineBlocks);
        settlement.escape();
        _expectConsumed(0, 16);

        bytes memory reason = abi.encodeWithSelector(
            IForcedInbox.ForcedEntryLeftBehind.selector,
            16,
            settlement.forcedEntry(16).enqueuedAtBlock + p.forcedDeadlineBlocks,
            block.number - 1
        );
        _expectRefused(0, reason);
        _expectRefused(15, reason);
        _settleThrough(16);
        _expectConsumed(16, 16);

        _advance(_escapeSeconds());
        settlement.escape();
        _expectConsumed(16, 20);
        _settleThrough(18);
        _expectConsumed(18, 20);
        _settleThrough(20);
        _expectConsumed(20, 20);
    }

    function test_settleMany_consumesOnTopOfTheOneBefore() external {
        _force(20);
        _advance(p.forcedDeadlineBlocks + 1);
        BatchHeader memory a = _headerThrough(16);
        a.lastHeight = 2;
        BatchHeader memory b = _headerThrough(20);
        b.firstHeight = 3;
        b.lastHeight = 4;
        b.parentBlockHash = a.lastBlockHash;
        Submission[] memory submissions = new Submission[](2);
        (submissions[0], submissions[1]) = (_submission(a), _submission(b));
        address leader = _leader(a);
        vm.prank(leader, leader);
        settlement.settleMany(submissions);
        _expectConsumed(20, 20);
    }

    /* LATENESS */

    function test_settle_isNotLateWithinTheGrace() external {
        _force(2);
        _rollTo(block.number + p.forcedDeadlineBlocks + p.forcedGraceBlocks);
        _settleExpecting(2, false);
        assertEq(settlement.lateEntries(1).through, 0);
    }

    function test_settle_isLateABlockAfterTheGrace() external {
        _force(2);
        _rollTo(block.number + p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1);
        _settleExpecting(2, true);
        _expectLate(1, 0, 2);
        _settleExpecting(2, false);
    }

    /// An honest quorum never does this; one that keeps its origin old could.
    function test_settle_isLateThoughItConsumesNothing() external {
        BatchHeader memory old = _nextHeader(8);
        _force(1);
        _rollTo(block.number + p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1);
        BatchHeader memory header = _nextHeader(8);
        (header.l1OriginNumber, header.l1OriginHash) = (old.l1OriginNumber, old.l1OriginHash);
        _settle(header);
        assertTrue(_settledBatches[0].late);
        _requireRing(1);
        _expectLate(1, 0, 0);
    }

    function testFuzz_lateEntries_areThoseBeyondTheGrace(uint256 late, uint256 others, uint256 through) external {
        late = bound(late, 1, 40);
        others = bound(others, 0, 40);
        through = bound(through, 1, late + others);
        uint256 start = block.number;
        _force(late / 2);
        _advance(1);
        _force(late - late / 2);
        _rollTo(start + p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1);
        _advance(1);
        _force(others);
        if (through < 16 && through < late) through = late;
        _settleThrough(uint64(through));
        _expectLate(1, 0, uint64(through < late ? through : late));
    }

    /* ESCAPE */

    function test_escape_consumesTouchesNoHeightAndSaysSo() external {
        _settle(_nextHeader(8));
        _force(3);
        _advance(_escapeSeconds());
        Tip memory before = settlement.tip();

        vm.expectEmit(address(settlement));
        emit IForcedInbox.ForcedEscaped(0, 3, _sender);
        vm.prank(_sender);
        assertEq(settlement.escape(), 3);

        before.consumed = 3;
        assertEq(abi.encode(settlement.tip()), abi.encode(before));
        assertEq(settlement.forcedConsumed(), 3);
        assertEq(settlement.generation(), 0);
        _settle(_nextHeader(8));
    }

    function test_escape_revertsWhen_theFirstIsASecondShort() external {
        uint64 openFrom = uint64(block.timestamp) + _escapeSeconds();
        _force(1);
        _warpTo(openFrom - 1);
        vm.expectRevert(abi.encodeWithSelector(IForcedInbox.EscapeNotDue.selector, openFrom, openFrom - 1));
        settlement.escape();
        _advance(1);
        assertEq(settlement.escape(), 1);
    }

    function test_escape_takesAThousandAndTwentyFourAtMost() external {
        _force(1030);
        _advance(_escapeSeconds());
        uint256 before = gasleft();
        assertEq(settlement.escape(), 1024);
        assertLt(before - gasleft(), 100_000);
        assertEq(settlement.escape(), 1030);
    }

    function test_escape_stopsAtTheFirstThatIsNotOpen() external {
        _force(2);
        _advance(1);
        _force(2);
        uint64 openFrom = uint64(block.timestamp) + _escapeSeconds();
        _warpTo(openFrom - 1);
        assertEq(settlement.escape(), 2);
        vm.expectRevert(abi.encodeWithSelector(IForcedInbox.EscapeNotDue.selector, openFrom, openFrom - 1));
        settlement.escape();
    }

    function test_escape_doesNotPayForWhatWasConsumedBefore() external {
        _force(1025);
        _advance(_escapeSeconds());
        uint256 thousand = _gasOfEscape();
        assertEq(settlement.forcedConsumed(), 1024);
        assertLt(_gasOfEscape(), thousand / 2);
        assertEq(settlement.forcedConsumed(), 1025);
    }

    function test_escape_revertsWhen_nothingWaits() external {
        vm.expectRevert(IForcedInbox.NothingToEscape.selector);
        settlement.escape();
        _force(1);
        _settleThrough(1);
        _advance(_escapeSeconds());
        vm.expectRevert(IForcedInbox.NothingToEscape.selector);
        settlement.escape();
    }

    function test_escape_revertsWhen_thereIsNoBlockZero() external {
        _deploy();
        _force(1);
        _advance(_escapeSeconds());
        vm.expectRevert(IForcedInbox.EscapeBeforeGenesis.selector);
        settlement.escape();
    }

    /* READING */

    function test_forcedEntry_revertsBeyondTheQueue() external {
        _force(2);
        vm.expectRevert(abi.encodeWithSelector(IForcedInbox.UnknownForcedEntry.selector, 2, 2));
        settlement.forcedEntry(2);
    }

    /* PARTS */

    function _gasOfEscape() private returns (uint256) {
        vm.cool(at.settlement);
        uint256 before = gasleft();
        settlement.escape();
        return before - gasleft();
    }

    function _escapeSeconds() private view returns (uint64) {
        return p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
    }

    function _rollTo(uint256 number) private {
        _advance((number - block.number) * p.l1BlockSeconds);
        assertEq(block.number, number);
    }

    /// @dev As if so many entries were there; what they hold is not asked for.
    function _pretendLength(uint256 length) private {
        stdstore.target(address(settlement)).sig("forcedLength()").checked_write(length);
    }

    function _expectConsumed(uint64 through, uint64 consumed) private view {
        assertEq(settlement.tip().forcedThrough, through);
        assertEq(settlement.tip().consumed, consumed);
        assertEq(settlement.forcedConsumed(), consumed);
    }

    function _expectRefused(uint64 through, bytes memory reason) private {
        Submission memory submission = _submission(_headerThrough(through));
        address leader = _leader(submission.header);
        vm.expectRevert(reason);
        vm.prank(leader, leader);
        settlement.settle(submission.header, submission.signers, submission.signatures, submission.payload);
    }

    /// @dev The ring says whether it was late.
    function _settleExpecting(uint64 through, bool late) private {
        _settleThrough(through);
        assertEq(_settledBatches[_settledBatches.length - 1].late, late);
        _requireRing(settlement.tip().number);
    }

    function _requireRing(uint64 number) private {
        assertEq(tally.nextTally(), number);
        _tallyAll();
    }

    function _expectLate(uint64 batch, uint64 first, uint64 through) private view {
        LateEntries memory late = settlement.lateEntries(batch);
        assertEq(late.first, first);
        assertEq(late.through, through);
        uint256 feesWei;
        for (uint64 i = first; i < through; ++i) {
            feesWei += settlement.forcedEntry(i).feeWei;
        }
        assertEq(late.feesWei, feesWei);
    }
}
