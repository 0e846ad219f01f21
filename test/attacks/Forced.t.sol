// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {StdStorage, stdStorage} from "forge-std/StdStorage.sol";
import {Vm} from "forge-std/Vm.sol";

import {Tip} from "../../contracts/interfaces/IBatchInbox.sol";
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
    /// clears any number of them away, 16 with each call.
    function test_attack083_escapeNeedsNoSequencerAndCannotBeSaturated() external {
        _forceAs(_user, "mine");
        for (uint256 i = 0; i < 40; ++i) {
            _forceAs(_censor, abi.encode(i));
        }
        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds);
        Tip memory tip = settlement.tip();

        vm.startPrank(_user);
        assertEq(settlement.escape(), 16);
        assertEq(settlement.escape(), 32);
        assertEq(settlement.escape(), 41);
        vm.stopPrank();
        assertEq(settlement.tip().number, tip.number);
        assertEq(settlement.tip().lastHeight, tip.lastHeight);
        assertEq(settlement.forcedFee(), p.forcedFeeWei);
    }

    /// The fee neither overflows into a cheap one nor stops the queue from being consumed.
    function test_attack084_feeSaturates() external {
        uint256 enough = 256 * uint256(p.forcedFeeDoublingEntries);
        assertLt(enough, TipLib.MAX_FORCED);
        stdstore.target(address(settlement)).sig("forcedLength()").checked_write(enough);
        assertEq(settlement.forcedFee(), type(uint256).max);

        vm.deal(_censor, type(uint128).max);
        rollups.register{value: p.rollupFeeWei}(ROLLUP);
        vm.expectRevert(
            abi.encodeWithSelector(IForcedInbox.ForcedFeeTooSmall.selector, type(uint256).max, type(uint128).max)
        );
        vm.prank(_censor);
        settlement.force{value: type(uint128).max}(ROLLUP, "a");
        _settleThrough(16);
        assertEq(settlement.forcedConsumed(), 16);
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

    function _expectRefused(BatchHeader memory header, bytes memory reason) private {
        uint128 signers = _first(4);
        Signature[] memory signatures = _attest(header, signers);
        address leader = _leader(header);
        vm.expectRevert(reason);
        vm.prank(leader, leader);
        settlement.settle(header, signers, signatures, PAYLOAD);
    }
}
