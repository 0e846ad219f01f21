// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {StdStorage, stdStorage} from "forge-std/StdStorage.sol";
import {Vm} from "forge-std/Vm.sol";

import {Submission, Tip} from "../../contracts/interfaces/IBatchInbox.sol";
import {IForcedInbox} from "../../contracts/interfaces/IForcedInbox.sol";
import {TipLib} from "../../contracts/lib/TipLib.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Chain} from "../utils/Chain.sol";

/// @title Attacks on forced inclusion (gallery, chapter 7)
contract ForcedAttacks is Chain {
    using stdStorage for StdStorage;

    address private immutable _user = makeAddr("user");
    address private immutable _censor = makeAddr("censor");

    function setUp() external {
        _begin(4);
    }

    /// However many signed: a batch that leaves a due entry behind is none. Once it is overdue, whoever posts it earns
    /// nothing, which no poster can hide.
    function test_attack077_leaderSkipsADueEntry() external {
        _forceAs(_user, "censored");
        uint64 dueAtBlock = uint64(block.number) + p.forcedDeadlineBlocks;
        _advance(p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1);
        BatchHeader memory header = _nextHeader(8);
        _expectRefused(
            header,
            abi.encodeWithSelector(IForcedInbox.ForcedEntryLeftBehind.selector, 0, dueAtBlock, header.l1OriginNumber)
        );

        _settleThrough(1);
        _tallyAll();
        assertTrue(_settledBatches[0].late);
        assertEq(rewardPool.posterBalance(_leader(header)), 0);
    }

    /// What is spammed costs ever more, all of it burned, and holds no batch up: 16 entries are enough for it.
    function test_attack078_spamStopsNoBatchAndCostsEverMore() external {
        uint256 censorWei = 10 ether;
        vm.deal(_censor, censorWei);
        uint256 spam = 4 * p.forcedFeeDoublingEntries;
        for (uint256 i = 0; i < spam; ++i) {
            _forceAs(_censor, abi.encode(i));
        }
        assertEq(settlement.forcedFee(), p.forcedFeeWei << 4);

        _advance(p.forcedDeadlineBlocks + 1);
        for (uint64 through = 16; through <= spam; through += 16) {
            _settleThrough(through);
        }
        assertEq(settlement.forcedConsumed(), spam);
        assertEq(settlement.forcedFee(), p.forcedFeeWei);
    }

    /// L1 never looks into an entry: whatever it holds, it is enqueued, consumed, and derived as nothing if it is nothing.
    function testFuzz_attack079_malformedEntriesAreConsumedLikeAnyOther(bytes calldata transaction) external {
        vm.assume(transaction.length != 0 && transaction.length <= p.forcedMaxBytes);
        _forceAs(_user, transaction);
        _settleThrough(1);
        assertEq(settlement.forcedConsumed(), 1);
    }

    /// Everything that derivation needs is in the event, and the chain of hashes proves that nothing is missing from it.
    function test_attack080_nothingThatExpiresIsNeeded() external {
        vm.recordLogs();
        _forceAs(_user, "first");
        _forceAs(_censor, "second");
        Vm.Log[] memory logs = vm.getRecordedLogs();

        bytes32 chainHash;
        uint64 found;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IForcedInbox.ForcedEnqueued.selector) continue;
            (,, bytes memory transaction) = abi.decode(logs[i].data, (uint256, bytes32, bytes));
            chainHash = keccak256(
                abi.encode(chainHash, logs[i].topics[1], logs[i].topics[2], logs[i].topics[3], keccak256(transaction))
            );
            assertEq(settlement.forcedEntry(found).chainHash, chainHash);
            ++found;
        }
        assertEq(found, 2);
    }

    /// Due is judged at the origin that the batch was built on: an entry that falls due on the way harms nobody.
    function test_attack081_entryFallsDueBetweenBuildingAndPosting() external {
        _forceAs(_user, "a");
        _advance(p.forcedDeadlineBlocks);
        BatchHeader memory header = _nextHeader(8);
        _advance(p.forcedGraceBlocks);
        _settle(header);
        assertFalse(_settledBatches[0].late);
        _tallyAll();
        assertEq(tally.attendance(0, header.epoch, 0).attended, _secondsAdded(0));
    }

    /// A reorg takes entries away that a batch was built on: L1 refuses it, and the agents build another.
    function test_attack082_reorgRemovesEntries() external {
        uint256 before = vm.snapshotState();
        _forceAs(_user, "a");
        _forceAs(_user, "b");
        BatchHeader memory header = _headerThrough(2);
        vm.revertToState(before);
        _forceAs(_user, "b");

        _expectRefused(header, abi.encodeWithSelector(IForcedInbox.ForcedThroughAboveQueue.selector, 1, 2));
        _settleThrough(1);
    }

    /// Nobody leads, and a rich censor floods the queue. What came before its entries does not wait for them, and anyone
    /// clears any number of them away, 1,024 with each call.
    function test_attack083_escapeNeedsNoSequencerAndCannotBeSaturated() external {
        _forceAs(_user, "mine");
        for (uint256 i = 0; i < 40; ++i) {
            _forceAs(_censor, abi.encode(i));
        }
        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds);
        Tip memory tip = settlement.tip();

        vm.startPrank(_user);
        assertEq(settlement.escape(), 41);
        vm.stopPrank();
        assertEq(settlement.tip().number, tip.number);
        assertEq(settlement.tip().lastHeight, tip.lastHeight);
        assertEq(settlement.forcedFee(), p.forcedFeeWei);
    }

    /// The fee neither overflows into a cheap one nor stops the queue from being consumed, and it does not price out whoever is
    /// in need of the queue.
    function test_attack084_feeEndsAtItsBound() external {
        uint256 enough = 256 * uint256(p.forcedFeeDoublingEntries);
        assertLt(enough, TipLib.MAX_FORCED);
        stdstore.target(address(settlement)).sig("forcedLength()").checked_write(enough);
        assertEq(settlement.forcedFee(), p.forcedFeeWei << p.forcedFeeMaxDoublings);
        // As if all of them had waited since long ago.
        settlement.escape();
        assertEq(settlement.forcedConsumed(), 1024);
    }

    /// A batch says only how far it consumes: it cannot leave one out, take one twice or turn two around.
    function test_attack085_entriesKeepTheirOrder() external {
        uint256 before = vm.snapshotState();
        _forceAs(_user, "a");
        _forceAs(_censor, "b");
        bytes32 order = settlement.forcedEntry(1).chainHash;
        _settleThrough(1);
        assertEq(settlement.forcedConsumed(), 1);
        _expectRefused(_headerThrough(0), abi.encodeWithSelector(IForcedInbox.ForcedThroughGoesBack.selector, 1, 0));

        vm.revertToState(before);
        _forceAs(_censor, "b");
        _forceAs(_user, "a");
        assertNotEq(settlement.forcedEntry(1).chainHash, order);
    }

    /// 126: a quorum that never moves its origin settles on past an entry. From deadline and escape delay on each batch lets it
    /// in before itself.
    function test_attack126_nothingSettlesPastAnEntryThatWaitedForTheEscape() external {
        Tip memory tip = settlement.tip();
        (uint64 origin, bytes32 originHash) = (tip.l1OriginNumber, blockhash(tip.l1OriginNumber));
        _forceAs(_user, "mine");
        uint64 openFrom = uint64(block.timestamp) + p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
        for (uint256 i = 0; i < 3; ++i) {
            _advance(p.forcedDeadlineBlocks / 3 + 1);
            BatchHeader memory stale = _headerThrough(0);
            (stale.l1OriginNumber, stale.l1OriginHash) = (origin, originHash);
            _settle(stale);
        }
        assertEq(settlement.forcedConsumed(), 0);

        _warpTo(openFrom);
        BatchHeader memory header = _headerThrough(0);
        (header.l1OriginNumber, header.l1OriginHash) = (origin, originHash);
        Submission memory one = _submission(header);
        address leader = _leader(header);
        vm.recordLogs();
        vm.prank(leader, leader);
        settlement.settle(one.header, one.signers, one.signatures, one.payload);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertEq(logs[0].topics[0], IForcedInbox.ForcedEscaped.selector, "it stands before the batch");
        assertEq(settlement.tip().lastBlockHash, header.lastBlockHash);
        assertEq(settlement.tip().forcedThrough, 0);
        assertEq(settlement.forcedConsumed(), 1);
    }

    /// 126: an entry in each block of L1, so that another one opens in each: had batches to wait for somebody who lets it in,
    /// none would ever come in time.
    function test_attack126_anEntryInEachBlockHoldsUpNoBatch() external {
        Tip memory tip = settlement.tip();
        bytes32 originHash = blockhash(tip.l1OriginNumber);
        uint64 wait = p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
        uint64 openFrom = uint64(block.timestamp) + wait;
        for (uint256 i = 0; i < 20; ++i) {
            _forceAs(_censor, abi.encode(i));
            _advance(p.l1BlockSeconds);
        }
        _warpTo(openFrom);
        for (uint64 i = 1; i <= 20; ++i) {
            _forceAs(_censor, abi.encode(20 + i));
            BatchHeader memory header = _headerThrough(0);
            (header.l1OriginNumber, header.l1OriginHash) = (tip.l1OriginNumber, originHash);
            _settle(header);
            assertEq(settlement.forcedConsumed(), i);
            _advance(p.l1BlockSeconds);
        }
    }

    /// 126: beyond what an escape takes a batch brings none along, until escapes have.
    function test_attack126_moreThanAnEscapeTakesGoBefore() external {
        for (uint256 i = 0; i < 1025; ++i) {
            _forceAs(_censor, abi.encode(i));
        }
        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds);
        BatchHeader memory header = _headerThrough(16);
        uint64 openFrom =
            settlement.forcedEntry(1024).enqueuedAt + p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
        _expectRefused(
            header,
            abi.encodeWithSelector(IForcedInbox.ForcedEntryOverdue.selector, 1024, openFrom, uint64(block.timestamp))
        );
        settlement.escape();
        _settle(header);
        assertEq(settlement.forcedConsumed(), 1025);
    }

    /// 126: a batch that takes sixteen and leaves the seventeenth lets in that one too.
    function test_attack126_sixteenOthersAreNoWayPast() external {
        for (uint256 i = 0; i < 17; ++i) {
            _forceAs(_censor, abi.encode(i));
        }
        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds);
        _settle(_headerThrough(16));
        assertEq(settlement.forcedConsumed(), 17);
    }

    /// 126: a second before the escape opens, what is not due at its origin may still be left.
    function test_attack126_untilThenTheOriginDecides() external {
        Tip memory tip = settlement.tip();
        bytes32 originHash = blockhash(tip.l1OriginNumber);
        _forceAs(_user, "mine");
        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds - 1);
        BatchHeader memory header = _headerThrough(0);
        (header.l1OriginNumber, header.l1OriginHash) = (tip.l1OriginNumber, originHash);
        _settle(header);
        assertEq(settlement.forcedConsumed(), 0);
        assertTrue(_settledBatches[0].late);
    }

    /// 139: in an outage whoever is in need still gets in: the price ends at its bound, and one call lets in a thousand.
    function test_attack139_anOutagePricesNobodyOutAndEndsWithFewCalls() external {
        uint256 waiting = 512;
        vm.deal(_censor, 1000 ether);
        uint256 paidWei;
        for (uint256 i = 0; i < waiting; ++i) {
            uint256 feeWei = settlement.forcedFee();
            assertLe(feeWei, p.forcedFeeWei << p.forcedFeeMaxDoublings);
            paidWei += feeWei;
            _forceAs(_censor, abi.encode(i));
        }
        assertEq(settlement.forcedFee(), p.forcedFeeWei << p.forcedFeeMaxDoublings);
        assertGt(paidWei, 200 * p.forcedFeeWei);
        _forceAs(_user, "mine");

        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds);
        uint256 before = gasleft();
        settlement.escape();
        assertLt(before - gasleft(), 100_000);
        assertEq(settlement.forcedConsumed(), waiting + 1);
    }

    /// 139: whatever waits, and for how long: no batch settles past what is open to escape, and none is held up by it.
    function testFuzz_attack139_aBatchPassesNoEntryThatIsOpen(uint8 entries, uint8 through, uint16 seconds_) external {
        Tip memory tip = settlement.tip();
        bytes32 originHash = blockhash(tip.l1OriginNumber);
        uint64 n = uint64(bound(entries, 1, 40));
        for (uint256 i = 0; i < n; ++i) {
            _forceAs(_censor, abi.encode(i));
            _advance(1);
        }
        uint64 wait = p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
        _advance(bound(seconds_, wait - 45, wait + 5));
        BatchHeader memory header = _headerThrough(uint64(bound(through, 0, n)));
        (header.l1OriginNumber, header.l1OriginHash) = (tip.l1OriginNumber, originHash);

        uint64 next = header.forcedThrough;
        while (next < n && settlement.forcedEntry(next).enqueuedAt + wait <= block.timestamp) ++next;
        _settle(header);
        assertEq(settlement.forcedConsumed(), next);
    }

    function _expectRefused(BatchHeader memory header, bytes memory reason) private {
        uint128 signers = _first(4);
        Signature[] memory signatures = _attest(header, signers);
        address leader = _leader(header);
        vm.expectRevert(reason);
        vm.prank(leader, leader);
        settlement.settle(header, signers, signatures, PAYLOAD);
    }
}
