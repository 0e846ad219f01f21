// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Submission} from "../../contracts/interfaces/IBatchInbox.sol";
import {Debit} from "../../contracts/interfaces/IRollups.sol";
import {IRota} from "../../contracts/interfaces/IRota.sol";
import {ITally, Settled} from "../../contracts/interfaces/ITally.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// @title Attacks on the reward pool by who cuts batches and who tallies (gallery, chapter 5)
contract PayAttacks is Offences {
    uint64 private constant BLOCKS = 8;

    /// Gas of the last transaction of {_settleTogether}.
    uint256 private _spent;

    function setUp() external {
        _begin(5);
        _fundPool(1 ether, 1000 ether);
    }

    /* 111: THE NUMBER OF BATCHES IS THE POSTER'S CHOICE */

    /// The same blocks as one batch or as eight: signers earn the same, to the rounding of eight divisions.
    function test_attack111_splitsEarnSignersNothing() external {
        uint256 snapshot = vm.snapshotState();
        _settleAll(1, false);
        (uint256 wholeWei, uint256 wholeSeconds) = _earned();

        vm.revertToState(snapshot);
        delete _settledBatches;
        _settleAll(BLOCKS, false);
        (uint256 splitWei, uint256 splitSeconds) = _earned();

        assertEq(splitSeconds, wholeSeconds);
        assertLe(splitWei, wholeWei);
        assertLe(wholeWei - splitWei, BLOCKS);
    }

    /// Wherever a chain of blocks is cut, each member earns by the time that it attested, and all together what the time costs.
    function testFuzz_attack111_whateverIsCutASecondHasOnePrice(uint256 cuts, uint8[12] memory gaps) external {
        uint64 begun = uint64(block.timestamp);
        uint64 from = 0;
        for (uint64 i = 0; i < gaps.length; ++i) {
            _advance(uint256(gaps[i] % 4) + 1); // all within the epoch
            if ((cuts >> i) & 1 == 1 || i + 1 == gaps.length) {
                _settle(_nextHeader(i + 1 - from));
                from = i + 1;
            }
        }
        _tallyAll();
        (uint256 earnedWei, uint256 attended) = _earned();
        uint256 added = block.timestamp - p.genesis;
        assertGt(added, block.timestamp - begun);
        assertEq(attended, added);
        // Four of five signed.
        assertApproxEqAbs(earnedWei, p.signersSecondWei * added * 4 / 5, gaps.length);
        assertLe(earnedWei, p.signersSecondWei * added * 4 / 5);
    }

    /// Where the first set is sealed long after genesis, nobody is paid for the time in which there was no chain.
    function test_attack111_aLateStartEarnsNothingForBefore() external {
        _deploy();
        _joinMany(4);
        _fundPool(1 ether, 1_000_000 ether);
        _warpTo(p.genesis + 10 days);
        _sealSet(_epoch());
        delete _settledBatches;
        _advance(10);
        BatchHeader memory header = _nextHeader(8);
        header.epoch = _epoch();
        _settle(header);
        _tallyAll();

        uint256 begun = settlement.startOf(header.epoch); // when the first set was sealed
        for (uint256 i = 0; i < 4; ++i) {
            assertLe(tally.attendance(0, header.epoch, i).attended, header.timestamp - begun);
        }
    }

    /// Who settles single blocks that nobody cut, once anybody may, is refunded no more than the time that they add would have
    /// cost at full load; and there is no margin in it.
    function test_attack111_splitsThatAreNotRegularDrainNothing() external {
        address mallory = makeAddr("mallory");
        uint256 wholeWei = _refundOfOne(mallory, p.maxBatchAgeSeconds);
        uint256 partWei = _refundOfOne(mallory, 1);
        uint256 nothingWei = _refundOfOne(mallory, 0);

        assertGt(wholeWei, 0);
        assertApproxEqAbs(partWei, wholeWei / p.maxBatchAgeSeconds, 1 + wholeWei / 100);
        assertEq(nothingWei, 0);
    }

    /* 117: L1 PRICES TRANSACTIONS, NOT BATCHES */

    /// A batch whose payload is dear takes others along whose execution costs nothing then: together they are refunded what
    /// their transaction paid, not what each would have paid alone.
    function test_attack117_unlikeBatchesOfOneTransaction() external {
        bytes[] memory payloads = new bytes[](8);
        payloads[0] = vm.randomBytes(60_000);
        _expectRefund(payloads);
        (payloads[0], payloads[7]) = (payloads[7], payloads[0]);
        _expectRefund(payloads);
        payloads[3] = new bytes(30_000);
        _expectRefund(payloads);
        payloads[0] = vm.randomBytes(1000);
        _expectRefund(payloads);
    }

    /// Alone or with its like, with or without a payload: the same.
    function test_attack117_likeBatchesOfOneTransaction() external {
        for (uint256 n = 1; n <= 7; n += 3) {
            bytes[] memory payloads = new bytes[](n);
            _expectRefund(payloads);
            for (uint256 i = 0; i < n; ++i) {
                payloads[i] = vm.randomBytes(2000);
            }
            _expectRefund(payloads);
            for (uint256 i = 0; i < n; ++i) {
                payloads[i] = new bytes(2000);
            }
            _expectRefund(payloads);
        }
    }

    function testFuzz_attack117_whateverIsInATransaction(uint16[6] memory sizes, uint8 zeros) external {
        bytes[] memory payloads = new bytes[](sizes.length);
        for (uint256 i = 0; i < sizes.length; ++i) {
            uint256 size = sizes[i] % 20_000;
            payloads[i] = (zeros >> i) & 1 == 1 ? new bytes(size) : vm.randomBytes(size);
        }
        _expectRefund(payloads);
    }

    /// What the sender of a transaction did not pay for its gas it does not get back: a tip above the bound, or none.
    function test_attack117_noMoreThanTheGasPrice() external {
        vm.fee(10 gwei);
        vm.txGasPrice(10 gwei);
        bytes[] memory payloads = new bytes[](1);
        uint256 withoutTipWei = _settleTogether(payloads);
        vm.txGasPrice(10 gwei + p.priorityWei);
        uint256 withTipWei = _settleTogether(payloads);
        vm.txGasPrice(1000 gwei);
        uint256 withHugeTipWei = _settleTogether(payloads);

        // What was cold in the first is not in the others.
        assertLt(withTipWei, withoutTipWei * (10 gwei + p.priorityWei) / 10 gwei);
        assertApproxEqRel(withHugeTipWei, withTipWei, 0.01 ether);
    }

    /* 118: WHO WORKS FOR NOTHING */

    /// A takeover from a poster address costs what it costs under the member's own key, however many members there are.
    function test_attack118_aTakeoverByAPosterAsksNobodyElse() external {
        _begin(128);
        BatchHeader memory header = _nextHeader(8);
        address signer;
        uint64 turn = header.lastHeight / p.turnLength;
        address[2] memory first = [_memberDrawn(header.epoch, turn, 0), _memberDrawn(header.epoch, turn, 1)];
        for (uint256 i = 127; signer == address(0); --i) {
            signer = settlement.memberAt(0, header.epoch, i).signer;
            if (signer == first[0] || signer == first[1]) signer = address(0);
        }
        address poster = _namePoster(registry.idOf(signer), "poster");
        _advance(2 * p.takeoverSeconds);
        uint256 snapshot = vm.snapshotState();
        uint256 own = _gasOf(signer, header);
        vm.revertToState(snapshot);
        uint256 delegated = _gasOf(poster, header);
        // Its own place is looked for twice in the set, once by each key, and the registry is asked twice.
        assertLt(delegated, own + 40_000);
    }

    /// Seal, tally, credit, flush and debit give back what they cost, and more, to who sends them; also a quiet epoch's.
    function test_attack118_everyDutyPaysForItself() external {
        _begin(16);
        delete _settledBatches;
        _fundPool(100 ether, 1000 ether);
        _registerRollup(10 ether);
        _expectPaid(at.settlement, abi.encodeCall(settlement.pin, (2)));
        bytes memory mined = _mineWithHeader(settlement.pinned());
        _expectPaid(at.settlement, abi.encodeCall(settlement.seal, (2, mined)));

        bytes memory usage = abi.encodePacked(ROLLUP, uint32(1000));
        for (uint256 i = 0; i < 17; ++i) {
            BatchHeader memory header = _nextHeader(1);
            header.usageHash = keccak256(usage);
            _settle(header);
        }
        Settled[] memory batches = new Settled[](16);
        Debit[] memory debits = new Debit[](16);
        for (uint64 i = 0; i < 16; ++i) {
            batches[i] = _settledBatches[i];
            debits[i] = Debit({number: i + 1, batch: _settledBatches[i], usage: usage});
        }
        _expectPaid(at.tally, abi.encodeCall(tally.tally, (1, batches)));
        _expectPaid(at.rollups, abi.encodeCall(rollups.debitMany, (debits)));
        batches = new Settled[](1);
        batches[0] = _settledBatches[16];
        _expectPaid(at.tally, abi.encodeCall(tally.tally, (17, batches)));

        _startEpoch(2);
        _sealThrough(_epoch() + p.maxEpochLag + 2);
        // The second of them waits for the next epoch.
        _join(200, 2 * STAKE_WEI);
        _join(201, 2 * STAKE_WEI);
        _expectPaid(at.rewardPool, abi.encodeCall(rewardPool.creditEpoch, ()));
        _advance(p.epochSeconds);
        _expectPaid(at.registry, abi.encodeCall(registry.flush, (16)));
    }

    /// Whoever does in sixteen calls what one could do pays for it.
    function test_attack118_dutiesInPiecesPayNobody() external {
        _begin(16);
        delete _settledBatches;
        _fundPool(100 ether, 1000 ether);
        for (uint256 i = 0; i < 20; ++i) {
            _settle(_nextHeader(1));
        }
        Settled[] memory batches = new Settled[](1);
        for (uint64 i = 0; i < 20; ++i) {
            batches[0] = _settledBatches[i];
            (uint256 spentWei, uint256 paidWei) = _do(at.tally, abi.encodeCall(tally.tally, (i + 1, batches)));
            // The first of an epoch alone.
            assertEq(paidWei >= spentWei, i == 0);
            if (i != 0) assertLt(paidWei, spentWei / 4);
        }
    }

    /// Nor does a call that moves one place of a churn queue bring what one that moves all would, but for the first of an epoch.
    function test_attack118_aFlushInPiecesPaysNobody() external {
        _begin(16);
        _fundPool(100 ether, 0);
        // The epoch's limit is used up by the first; behind the second wait small ones.
        _join(200, 2 * STAKE_WEI);
        _join(201, STAKE_WEI);
        for (uint256 i = 0; i < 3; ++i) {
            _give(address(this), 1 ether);
            registry.delegate(_idAt(i), 1 ether);
        }
        assertEq(registry.churn().entrances, 4);
        _advance(p.epochSeconds);
        _sealThrough(_epoch());
        bytes memory flush = abi.encodeCall(registry.flush, (1));
        _expectPaid(at.registry, flush);
        for (uint256 i = 0; i < 2; ++i) {
            (uint256 spentWei, uint256 paidWei) = _do(at.registry, flush);
            assertLt(paidWei, spentWei / 2);
        }
        // However many it names.
        (uint256 spentWei_, uint256 paidWei_) = _do(at.registry, abi.encodeCall(registry.flush, (10_000)));
        assertLt(paidWei_, spentWei_ / 2);
        assertEq(registry.churn().entrances, 0);
    }

    /// Absences that are reported in one call were one transaction's work, whatever else the call names.
    function test_attack118_absencesReportedTogetherAreOneTransaction() external {
        _begin(24);
        _fundPool(100 ether, 0);
        bytes[] memory reports = new bytes[](8);
        for (uint256 i = 0; i < 8; ++i) {
            bytes memory ask = abi.encodeWithSelector(ITally.turnsBetween.selector, _idAt(i));
            vm.mockCall(at.tally, ask, abi.encode(3, 3));
            reports[i] = abi.encodeCall(slasher.reportMissedTurns, (_idAt(i)));
        }
        // One that is none.
        reports[7] = reports[0];
        bytes memory many = abi.encodeCall(slasher.reportMany, (reports));
        uint256 snapshot = vm.snapshotState();
        (uint256 spentWei, uint256 paidWei) = _do(at.slasher, many);
        assertGe(paidWei, spentWei * 9 / 10);
        // The work with its margin, and what crediting took, once.
        assertLe(paidWei, spentWei * (10_000 + p.refundMarginBps) / 10_000);

        // Whoever calls from a contract, twice: nothing of the first call is paid for in the second.
        vm.revertToState(snapshot);
        vm.recordLogs();
        assertEq(slasher.reportMany(reports), 7);
        assertEq(slasher.reportMany(reports), 0);
        assertLe(_dutiesWei(address(this)), paidWei);
    }

    /// An irregular batch has no margin, so its rollups pay for none.
    function test_attack118_aMarginThatNobodyGetsIsPaidByNobody() external {
        _registerRollup(1 ether);
        bytes memory usage = abi.encodePacked(ROLLUP, uint32(1000));
        BatchHeader memory header = _nextHeader(1);
        (header.usageHash, header.regularSince) = (keccak256(usage), 0);
        _advance(5 * p.takeoverSeconds);
        _settleAs(makeAddr("mallory"), header);
        uint256 beforeWei = rollups.rollup(ROLLUP).balanceWei;
        rollups.debit(1, _settledBatches[0], usage);
        uint256 paidWei = beforeWei - rollups.rollup(ROLLUP).balanceWei;
        assertEq(paidWei, _settledBatches[0].refundWei + _bookingWei());
    }

    /// What booking a batch takes grows by the rollup in it, so each pays for its own words: who spreads its bytes over many costs
    /// neither the pool nor the others.
    function test_attack118_aRollupAmongManyPaysForItsOwnWords() external {
        (uint256 onePaidWei, uint256 oneCreditedWei,) = _debitAmong(1);
        uint256[3] memory counts = [uint256(2), 12, 60];
        for (uint256 i = 0; i < counts.length; ++i) {
            (uint256 paidWei, uint256 creditedWei, uint256 firstWei) = _debitAmong(counts[i]);
            assertGe(paidWei - onePaidWei, creditedWei - oneCreditedWei, "the pool pays for a rollup's words");
            assertLe(firstWei, onePaidWei, "another rollup does");
        }
    }

    /// @dev What `n` rollups with 110 bytes each pay for a batch, what whoever debits it gets, and what the first one pays.
    function _debitAmong(uint256 n) private returns (uint256 paidWei, uint256 creditedWei, uint256 firstWei) {
        uint256 snapshot = vm.snapshotState();
        bytes memory usage;
        for (uint64 i = 0; i < n; ++i) {
            vm.deal(address(this), 1 ether);
            rollups.register{value: 1 ether}(ROLLUP + i);
            usage = abi.encodePacked(usage, ROLLUP + i, uint32(110));
        }
        BatchHeader memory header = _nextHeader(1);
        header.usageHash = keccak256(usage);
        _settle(header);
        uint256 beforeWei = at.rollups.balance;
        uint256 firstBeforeWei = rollups.rollup(ROLLUP).balanceWei;
        (uint256 spentWei, uint256 gotWei) =
            _do(at.rollups, abi.encodeCall(rollups.debit, (1, _settledBatches[0], usage)));
        assertGe(gotWei, spentWei * 99 / 100);
        creditedWei = gotWei;
        paidWei = beforeWei - at.rollups.balance;
        firstWei = firstBeforeWei - rollups.rollup(ROLLUP).balanceWei;
        vm.revertToState(snapshot);
        delete _settledBatches;
    }

    /// Of a duty that somebody can make dear at little cost there is a margin up to a bound.
    function test_attack118_dearDutiesHaveNoDearerMargin() external {
        _begin(100);
        _fundPool(100 ether, 0);
        address owner = _actor(0).owner;
        _give(owner, 1 ether);
        uint32 id = registry.idOf(_actor(0).signer);
        vm.prank(owner);
        registry.topUp(id, 1 ether);
        _startEpoch(2);
        (uint256 spentWei, uint256 paidWei) = _do(at.settlement, abi.encodeCall(settlement.pin, (3)));
        // So much that a margin on all of it would be more than what is allowed for below.
        assertGt(spentWei, 700_000 * tx.gasprice);
        assertLe(paidWei, spentWei + 400_000 * tx.gasprice * p.refundMarginBps / 10_000 + 50_000 * tx.gasprice);
    }

    /// One batch in front of an honest tally of many does not undo it.
    function test_attack118_aTallyBooksWhatIsLeftOfIt() external {
        _begin(4);
        delete _settledBatches;
        _fundPool(1 ether, 0);
        for (uint256 i = 0; i < 6; ++i) {
            _settle(_nextHeader(1));
        }
        Settled[] memory all = new Settled[](6);
        Settled[] memory few = new Settled[](2);
        for (uint64 i = 0; i < 6; ++i) {
            all[i] = _settledBatches[i];
            if (i < 2) few[i] = all[i];
        }
        uint256 snapshot = vm.snapshotState();
        tally.tally(1, all);
        uint256 dueWei = rewardPool.posterBalance(_settledBatches[0].poster);
        vm.revertToState(snapshot);

        tally.tally(1, few);
        vm.expectEmit(at.tally);
        emit ITally.Tallied(3, 6);
        tally.tally(1, all);
        assertEq(tally.nextTally(), 7);
        assertEq(rewardPool.posterBalance(_settledBatches[0].poster), dueWei);
        vm.expectRevert(abi.encodeWithSelector(ITally.TallyNotNext.selector, 7, 1));
        tally.tally(1, all);
        vm.expectRevert(abi.encodeWithSelector(ITally.TallyNotNext.selector, 7, 8));
        tally.tally(8, all);
    }

    /// Whoever claims leaves the word in which its balance was: L1 would give it a part of what the pool paid for that, and the
    /// pool would pay for it again.
    function test_attack118_aClaimFreesNoWord() external {
        _settle(_nextHeader(1));
        _tallyAll();
        address poster = _settledBatches[0].poster;
        vm.record();
        vm.prank(poster);
        rewardPool.claimPoster();
        (, bytes32[] memory written) = vm.accesses(at.rewardPool);
        assertGt(written.length, 0);
        for (uint256 i = 0; i < written.length; ++i) {
            assertTrue(vm.load(at.rewardPool, written[i]) != 0);
        }
        assertEq(rewardPool.posterBalance(poster), 0);
        assertEq(rewardPool.owedTo(poster), 0);
    }

    /// Both ends of a restart give back what they cost. To open one and to check in nobody is paid for: one can be opened for a
    /// chain that is given up.
    function test_attack118_aRestartPaysForItself() external {
        _begin(48);
        _fundPool(100 ether, 0);
        _advance(p.restartDelaySeconds);
        (, uint256 paidWei) = _do(at.settlement, abi.encodeCall(settlement.openRestart, ()));
        assertEq(paidWei, 0);
        for (uint256 i = 0; i < 40; ++i) {
            _checkIn(_actor(i));
        }
        _warpTo(settlement.restart().checkInUntil);
        _expectPaid(at.settlement, abi.encodeCall(settlement.closeCheckIn, ()));
        bytes memory header = _mineWithHeader(settlement.pinnedForRestart());
        _expectPaid(at.settlement, abi.encodeCall(settlement.finishRestart, (header)));
    }

    /// A pin is paid for each time that L1 forgot the block of the one before, until the seal that needs it is made; the ones after the
    /// first freeze nobody and cost less.
    function test_attack118_aPinForNothingIsPaidToNobody() external {
        bytes memory pin = abi.encodeCall(settlement.pin, (2));
        _expectPaid(at.settlement, pin);
        vm.roll(settlement.pinned() + 10_000);
        assertEq(settlement.pinned(), 0);
        _expectPaid(at.settlement, pin);
        settlement.seal(2, _mineWithHeader(settlement.pinned()));

        vm.roll(settlement.pinned() + 10_000);
        assertEq(settlement.pinned(), 0);
        vm.expectRevert(abi.encodeWithSelector(IRota.AlreadySealed.selector, 2));
        settlement.pin(2);
    }

    /// A batch that somebody pays for takes no others along of which nobody pays anything.
    function test_attack118_debitsThatBringNothingAreNobodysDuty() external {
        _registerRollup(1 ether);
        Debit[] memory debits = new Debit[](16);
        for (uint64 i = 0; i < 16; ++i) {
            bytes memory usage = abi.encodePacked(i == 3 ? ROLLUP : ROLLUP + 1, uint32(1000));
            BatchHeader memory header = _nextHeader(1);
            header.usageHash = keccak256(usage);
            _settle(header);
            debits[i] = Debit({number: i + 1, batch: _settledBatches[i], usage: usage});
        }
        Debit[] memory alone = new Debit[](1);
        alone[0] = debits[3];
        uint256 snapshot = vm.snapshotState();
        (uint256 spentWei, uint256 aloneWei) = _do(at.rollups, abi.encodeCall(rollups.debitMany, (alone)));
        assertGe(aloneWei, spentWei);
        vm.revertToState(snapshot);

        uint256 togetherWei;
        (spentWei, togetherWei) = _do(at.rollups, abi.encodeCall(rollups.debitMany, (debits)));
        assertLe(togetherWei, aloneWei);
        assertLt(togetherWei, spentWei);
    }

    /// Nor is what was debited already, named again ten thousand times.
    function test_attack118_debitsThatAreDoneAlreadyAreNobodysDuty() external {
        _registerRollup(1 ether);
        bytes memory usage = abi.encodePacked(ROLLUP, uint32(1000));
        Debit[] memory debits = new Debit[](300);
        for (uint64 i = 0; i < 2; ++i) {
            BatchHeader memory header = _nextHeader(1);
            header.usageHash = keccak256(usage);
            _settle(header);
            debits[i] = Debit({number: i + 1, batch: _settledBatches[i], usage: usage});
        }
        rollups.debit(1, debits[0].batch, usage);
        Debit[] memory alone = new Debit[](1);
        alone[0] = debits[1];
        for (uint256 i = 2; i < debits.length; ++i) {
            debits[i] = debits[0];
        }
        // The first of an epoch is paid whole, however few it debits.
        _startEpoch(_epoch() + 1);
        uint256 snapshot = vm.snapshotState();
        (, uint256 aloneWei) = _do(at.rollups, abi.encodeCall(rollups.debitMany, (alone)));
        vm.revertToState(snapshot);

        (, uint256 togetherWei) = _do(at.rollups, abi.encodeCall(rollups.debitMany, (debits)));
        assertGt(togetherWei, 0);
        assertLe(togetherWei, aloneWei);
    }

    /// Whose bytes a batch holds is its leader's choice, and whoever pays for them, they bring the leader nothing.
    function test_attack118_bytesEarnNoMargin() external {
        bytes memory payload = vm.randomBytes(90_000);
        BatchHeader memory header = _nextHeader(1);
        header.payloadHash = keccak256(payload);
        address leader = _leader(header);
        Signature[] memory signatures = _attest(header, _first(4));
        Settled memory batch = _settledBy(leader, header, _first(4));
        vm.recordLogs();
        vm.prank(leader, leader);
        settlement.settle(header, _first(4), signatures, payload);
        batch.refundWei = _refundsWei()[0];
        _settledBatches.push(batch);
        _tallyAll();
        uint256 refundWei = batch.refundWei;
        assertGt(refundWei, 3_000_000 * tx.gasprice);
        uint256 dueWei = rewardPool.posterBalance(leader);
        assertGt(dueWei, refundWei);
        // What settling four signatures takes without a byte.
        uint256 mostWei = 83_000 * block.basefee;
        assertLe(dueWei - refundWei, mostWei * p.refundMarginBps / 10_000);
    }

    /// Few bytes that make a regular batch are paid for by whose they are, with the margin: nobody gains by sending some.
    function test_attack118_aSmallBatchIsPaidForByItsRollup() external {
        _begin(5);
        delete _settledBatches;
        _fundPool(1 ether, 0);
        _registerRollup(1 ether);
        bytes memory usage = abi.encodePacked(ROLLUP, uint32(110));
        BatchHeader memory header = _nextHeader(1);
        header.usageHash = keccak256(usage);
        _settle(header);
        (uint256 beforeWei,) = rewardPool.freeWei();
        _tallyAll();
        vm.txGasPrice(0);
        rollups.debit(1, _settledBatches[0], usage);
        (uint256 afterWei,) = rewardPool.freeWei();
        assertGe(afterWei, beforeWei);
        assertGt(rewardPool.posterBalance(_leader(header)), 0);
    }

    /* 138: EVERY DUTY AT EVERY BASE FEE */

    /// A quorum of two thirds is enough for who posts, too, and a base fee as low or as high as it may be.
    function testFuzz_attack138_everyDutyPaysAtEveryBaseFee(uint64 baseFeeWei) external {
        baseFeeWei = uint64(bound(baseFeeWei, 1000, 10_000 gwei));
        _begin(48);
        delete _settledBatches;
        _fundPool(1000 ether, 0);
        vm.fee(baseFeeWei);
        vm.txGasPrice(baseFeeWei);
        _expectPaid(at.settlement, abi.encodeCall(settlement.pin, (2)));
        bytes memory mined = _mineWithHeader(settlement.pinned());
        _expectPaid(at.settlement, abi.encodeCall(settlement.seal, (2, mined)));

        BatchHeader memory header = _nextHeader(1);
        address leader = _leader(header);
        uint128 signers = _first(33);
        Signature[] memory signatures = _attest(header, signers);
        bytes memory call_ = abi.encodeCall(settlement.settle, (header, signers, signatures, PAYLOAD));
        Settled memory batch = _settledBy(leader, header, signers);
        vm.recordLogs();
        vm.prank(leader, leader);
        uint256 before = gasleft();
        (bool done,) = at.settlement.call(call_);
        uint256 spentWei = _priced(call_, before - gasleft()) * baseFeeWei;
        assertTrue(done);
        batch.refundWei = _refundsWei()[0];
        _settledBatches.push(batch);
        assertGe(_dueWei(0, 33, 48), spentWei);
        assertLe(batch.refundWei, spentWei);

        Settled[] memory batches = new Settled[](1);
        batches[0] = batch;
        _expectPaid(at.tally, abi.encodeCall(tally.tally, (1, batches)));
        assertEq(rewardPool.posterBalance(leader), _dueWei(0, 33, 48));
    }

    function testFuzz_attack138_aRollupPaysWhatItsBytesCost(uint64 baseFeeWei, uint32 size, uint16 payloadBytes)
        external
    {
        baseFeeWei = uint64(bound(baseFeeWei, 1000, 10_000 gwei));
        size = uint32(bound(size, 1, 100_000));
        vm.fee(baseFeeWei);
        vm.txGasPrice(baseFeeWei);
        _registerRollup(1000 ether);
        bytes memory usage = abi.encodePacked(ROLLUP, size);
        bytes memory payload = vm.randomBytes(payloadBytes);
        BatchHeader memory header = _nextHeader(1);
        (header.usageHash, header.payloadHash) = (keccak256(usage), keccak256(payload));
        address leader = _leader(header);
        Signature[] memory signatures = _attest(header, _first(4));
        bytes memory call_ = abi.encodeCall(settlement.settle, (header, _first(4), signatures, payload));
        Settled memory batch = _settledBy(leader, header, _first(4));
        vm.recordLogs();
        vm.prank(leader, leader);
        uint256 before = gasleft();
        (bool done,) = at.settlement.call(call_);
        uint256 spentWei = _priced(call_, before - gasleft()) * baseFeeWei;
        assertTrue(done);
        batch.refundWei = _refundsWei()[0];

        uint256 beforeWei = rollups.rollup(ROLLUP).balanceWei;
        rollups.debit(1, batch, usage);
        uint256 chargedWei = beforeWei - rollups.rollup(ROLLUP).balanceWei;
        // With the work of booking, which is dearer than the smallest batch.
        assertGe(chargedWei, spentWei);
        assertLe(chargedWei, 2 * spentWei + _bookingWei() + 1);
    }

    function _bookingWei() private view returns (uint256) {
        // Of one rollup.
        return (p.rollupBookingGas * 3 / 4 + p.rollupBookingGas / 8) * (block.basefee + p.priorityWei);
    }

    /* 121: A TALLY IN A DRY SPELL */

    /// Whoever tallies while the pool is empty costs nobody anything.
    function test_attack121_tallyWhileThePoolIsEmpty() external {
        _begin(5);
        delete _settledBatches;
        address poster = _leader(_nextHeader(1));
        for (uint256 i = 0; i < 5; ++i) {
            BatchHeader memory header = _nextHeader(1);
            _settle(header);
        }
        uint256 snapshot = vm.snapshotState();
        _fundPool(1 ether, 0);
        _tallyAll();
        uint256 dueWei = rewardPool.posterBalance(poster);
        assertGt(dueWei, 0);

        vm.revertToState(snapshot);
        vm.prank(makeAddr("mallory"));
        _tallyAll();
        _fundPool(1 ether, 0);
        vm.prank(poster);
        assertEq(rewardPool.claimPoster(), dueWei);
    }

    /// Who works on in a dry spell is not paid before who waits: what comes in is for debts first.
    function test_attack121_laterWorkTakesNothingThatIsOwed() external {
        _begin(5);
        delete _settledBatches;
        BatchHeader memory header = _nextHeader(1);
        address first = _leader(header);
        _settle(header);
        _tallyAll();
        uint256 owedWei = rewardPool.owedTo(first);
        _fundPool(owedWei, 0);

        while (_leader(header) == first) {
            header = _nextHeader(header.lastHeight - header.firstHeight + 1 + p.turnLength);
        }
        _settle(header);
        _tallyAll();
        assertEq(rewardPool.posterBalance(_leader(header)), 0);
        vm.prank(first);
        assertEq(rewardPool.claimPoster(), owedWei);
    }

    /* PARTS */

    /// @dev Batches of these payloads in one transaction of the leader's: what is refunded stays within what L1 takes, and is
    /// three quarters of it. Without isolation Forge meters what is executed alone, so the rest is added here.
    function _expectRefund(bytes[] memory payloads) private {
        uint256 refunded = _settleTogether(payloads) / tx.gasprice;
        assertLe(refunded, _spent);
        assertGe(refunded * 4, _spent * 3);
    }

    function _settleTogether(bytes[] memory payloads) private returns (uint256 refundedWei) {
        _advance(1);
        Submission[] memory submissions = new Submission[](payloads.length);
        BatchHeader memory header = _nextHeaderLedBy(2);
        address leader = _leader(header);
        header.lastHeight -= uint64(payloads.length) - 1;
        for (uint256 i = 0; i < payloads.length; ++i) {
            header.payloadHash = keccak256(payloads[i]);
            submissions[i].header = abi.decode(abi.encode(header), (BatchHeader));
            submissions[i].signers = _first(4);
            submissions[i].signatures = _attest(header, _first(4));
            submissions[i].payload = payloads[i];
            header.parentBlockHash = header.lastBlockHash;
            header.firstHeight = header.lastHeight + 1;
            header.lastHeight += 1;
        }
        bytes memory call_ = abi.encodeCall(settlement.settleMany, (submissions));
        vm.recordLogs();
        vm.prank(leader, leader);
        uint256 before = gasleft();
        (bool done,) = at.settlement.call(call_);
        // What the test itself takes for the call: copying it, and the prank.
        _spent = _priced(call_, before - gasleft());
        assertTrue(done);
        uint128[] memory refundsWei = _refundsWei();
        for (uint256 i = 0; i < refundsWei.length; ++i) {
            refundedWei += refundsWei[i];
        }
    }

    function _gasOf(address poster, BatchHeader memory header) private returns (uint256) {
        Signature[] memory signatures = _attest(header, _quorum(header.epoch));
        uint128 signers = _quorum(header.epoch);
        vm.prank(poster, poster);
        uint256 before = gasleft();
        settlement.settle(header, signers, signatures, PAYLOAD);
        return before - gasleft();
    }

    function _expectPaid(address duty, bytes memory call_) private {
        (uint256 spentWei, uint256 paidWei) = _do(duty, call_);
        assertGe(paidWei, spentWei);
        assertLe(paidWei, spentWei * 14 / 10);
    }

    /// @dev What a transaction of somebody's costs it, and brings it.
    function _do(address duty, bytes memory call_) private returns (uint256 spentWei, uint256 paidWei) {
        address worker = makeAddr("worker");
        assertGt(duty.code.length, 0); // whom a transaction calls is warm
        vm.recordLogs();
        vm.prank(worker, worker);
        uint256 before = gasleft();
        (bool done,) = duty.call(call_);
        spentWei = _priced(call_, before - gasleft()) * tx.gasprice;
        assertTrue(done);
        paidWei = _dutiesWei(worker);
    }

    /// @dev {BLOCKS} blocks, two seconds apart, in so many batches.
    function _settleAll(uint64 batches, bool irregular) private {
        for (uint64 i = 0; i < BLOCKS; ++i) {
            _advance(2);
            if ((i + 1) % (BLOCKS / batches) != 0) continue;
            BatchHeader memory header = _nextHeader(BLOCKS / batches);
            if (irregular) header.regularSince = 0;
            _settle(header);
        }
        _tallyAll();
    }

    /// @dev Tokens reserved for all members, and the seconds of the first one.
    function _earned() private view returns (uint256 wei_, uint256 seconds_) {
        for (uint256 i = 0; i < 5; ++i) {
            wei_ += rewardPool.signerReward(0, 1, i);
        }
        seconds_ = tally.attendance(0, 1, 0).attended;
    }

    /// @dev What `poster` gets for a block `added` seconds after the one before that nobody cut.
    function _refundOfOne(address poster, uint256 added) private returns (uint256 wei_) {
        _settle(_nextHeader(1));
        _tallyAll();
        _advance(added);
        BatchHeader memory header = _nextHeader(1);
        header.regularSince = 0;
        _advance(5 * p.takeoverSeconds);
        wei_ = rewardPool.posterBalance(poster);
        _settleAs(poster, header);
        _tallyAll();
        return rewardPool.posterBalance(poster) - wei_;
    }

    function _registerRollup(uint256 sentWei) private {
        vm.deal(address(this), sentWei);
        rollups.register{value: sentWei}(ROLLUP);
    }

    function _fundPool(uint256 ethWei, uint256 tokenWei) private {
        vm.deal(address(this), ethWei);
        token.mint(address(this), tokenWei);
        token.approve(address(rewardPool), tokenWei);
        rewardPool.fund{value: ethWei}(tokenWei);
    }
}
