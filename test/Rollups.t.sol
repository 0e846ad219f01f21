// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../contracts/interfaces/IBatchInbox.sol";
import {IRewardPool} from "../contracts/interfaces/IRewardPool.sol";
import {Debit, IRollups, Rollup} from "../contracts/interfaces/IRollups.sol";
import {Settled} from "../contracts/interfaces/ITally.sol";
import {BatchHeader} from "../contracts/types/Wire.sol";
import {Chain} from "./utils/Chain.sol";

/// Rollups
/// ├── register
/// │   ├── it takes the chain id for the caller, burns the fee, keeps the rest as allowance
/// │   └── when the id is zero or taken, or the fee is too small: it reverts
/// ├── fund
/// │   ├── it adds to the allowance, once what is owed is paid
/// │   └── when not registered, or nothing is sent: it reverts
/// ├── debit
/// │   ├── it takes each rollup's price, and funds the reward pool with the sum
/// │   ├── it reads the list as agents write it
/// │   ├── it takes what the batch cost, each part rounded up, whatever the base fee and however few the bytes
/// │   ├── when a rollup has less: it pays what it has, and owes the rest
/// │   ├── when a rollup is not registered: it pays nothing
/// │   ├── when nobody pays anything: the batch is debited all the same
/// │   ├── when it is the first of the epoch, or of many: it is refunded as a whole, else in part
/// │   ├── over all lists and balances: what balances lose is what the pool gains
/// │   └── when debited before, not in the ring, not what settled, or with another list: it reverts
/// ├── debitMany
/// │   ├── it debits several, in any order, with one payment
/// │   ├── it leaves out what is debited already
/// │   └── when all are, or none is given, or one is wrong: it reverts
/// └── isOpen
///     ├── it is whether the balance reaches the reserve
///     └── a debit closes, funding opens again
contract RollupsTest is Chain {
    address private constant BURN = 0x000000000000000000000000000000000000dEaD;

    function setUp() public {
        _begin(4);
    }

    function test_register_takesTheChainIdAndBurnsTheFee() public {
        address owner = makeAddr("rollup owner");
        vm.deal(owner, 10 ether);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupRegistered(4242, owner, 1 ether);
        vm.prank(owner);
        rollups.register{value: p.rollupFeeWei + 1 ether}(4242);

        Rollup memory found = rollups.rollup(4242);
        assertEq(found.owner, owner);
        assertEq(found.registeredAtBlock, block.number);
        assertEq(found.balanceWei, 1 ether);
        assertEq(BURN.balance, p.rollupFeeWei);
        assertEq(address(rollups).balance, 1 ether);
    }

    function test_register_revertsWhen_chainIdIsZeroOrTaken() public {
        vm.expectRevert(IRollups.ChainIdIsZero.selector);
        rollups.register{value: 1 ether}(0);

        rollups.register{value: 1 ether}(4242);
        vm.expectRevert(abi.encodeWithSelector(IRollups.AlreadyRegistered.selector, 4242, address(this)));
        vm.prank(makeAddr("late"));
        vm.deal(makeAddr("late"), 1 ether);
        rollups.register{value: 1 ether}(4242);
    }

    function test_register_revertsWhen_feeIsTooSmall() public {
        vm.expectRevert(abi.encodeWithSelector(IRollups.FeeTooSmall.selector, p.rollupFeeWei, p.rollupFeeWei - 1));
        rollups.register{value: p.rollupFeeWei - 1}(4242);
    }

    function test_fund_addsToTheAllowance() public {
        rollups.register{value: p.rollupFeeWei}(4242);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupFunded(4242, 3, 3);
        rollups.fund{value: 3}(4242);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupFunded(4242, 4, 7);
        rollups.fund{value: 4}(4242);

        assertEq(rollups.rollup(4242).balanceWei, 7);
    }

    function test_fund_revertsWhen_notRegisteredOrNothingIsSent() public {
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotRegistered.selector, 4242));
        rollups.fund{value: 1}(4242);

        rollups.register{value: p.rollupFeeWei}(4242);
        vm.expectRevert(IRollups.NothingSent.selector);
        rollups.fund(4242);
    }

    /* DEBIT */

    function test_debit_takesThePriceAndFundsThePool() public {
        _register(3, 1 ether);
        _register(9, 2 ether);
        uint64 number = _settleUsing(_usage(3, 11, 9, 204));
        (uint256 freeBefore,) = rewardPool.freeWei();
        (uint256 first, uint256 second) = (_price(number, 11, 215), _price(number, 204, 215));

        vm.expectEmit(address(rollups));
        emit IRollups.RollupDebited(3, number, first, 1 ether - first);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupDebited(9, number, second, 2 ether - second);
        vm.expectEmit(address(rollups));
        emit IRollups.BatchDebited(number, first + second);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.Funded(address(rollups), first + second, 0);
        _debit(number, _usage(3, 11, 9, 204));

        assertEq(rollups.rollup(3).balanceWei, 1 ether - first);
        assertEq(rollups.rollup(9).balanceWei, 2 ether - second);
        (uint256 freeWei,) = rewardPool.freeWei();
        assertEq(freeWei, freeBefore + first + second);
        assertEq(address(rollups).balance, 3 ether - first - second);
        assertEq(rollups.debitedBatches(0), 1 << number);
    }

    function test_debit_readsTheListAsAgentsWriteIt() public pure {
        assertEq(_usage(3, 11, 9, 204), hex"00000000000000030000000b0000000000000009000000cc");
    }

    function test_debit_takesWhatThereIsWhen_aRollupHasLess() public {
        _register(3, 5);
        uint64 number = _settleUsing(_usage(3, 11));
        uint256 owedWei = _price(number, 11, 11) - 5;

        vm.expectEmit(address(rollups));
        emit IRollups.RollupDebited(3, number, 5, 0);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupOwes(3, owedWei);
        _debit(number, _usage(3, 11));
        assertEq(rollups.rollup(3).balanceWei, 0);
        assertEq(rollups.owed(3), owedWei);

        number = _settleUsing(_usage(3, 11));
        owedWei += _price(number, 11, 11);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupOwes(3, owedWei);
        vm.expectEmit(address(rollups));
        emit IRollups.BatchDebited(number, 0);
        _debit(number, _usage(3, 11));
        assertEq(rollups.rollup(3).balanceWei, 0);
        assertEq(rollups.owed(3), owedWei);
    }

    function test_fund_paysWhatIsOwedFirst() public {
        _register(3, 5);
        uint64 number = _settleUsing(_usage(3, 11));
        _debit(number, _usage(3, 11));
        uint256 owedWei = rollups.owed(3);
        (uint256 freeBefore,) = rewardPool.freeWei();

        vm.expectEmit(address(rollups));
        emit IRollups.RollupFunded(3, 0, 0);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupOwes(3, owedWei - 1);
        rollups.fund{value: 1}(3);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupFunded(3, 7, 7);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupOwes(3, 0);
        rollups.fund{value: owedWei + 6}(3);

        assertEq(rollups.owed(3), 0);
        assertEq(rollups.rollup(3).balanceWei, 7);
        assertEq(address(rollups).balance, 7);
        (uint256 freeWei,) = rewardPool.freeWei();
        assertEq(freeWei - freeBefore, owedWei);
    }

    /// Few bytes or many, at any base fee: the pool gets back what the batch costs it, with the work of booking.
    function testFuzz_debit_takesWhatTheBatchCost(uint32[3] memory sizes, uint64 baseFeeWei) public {
        baseFeeWei = uint64(bound(baseFeeWei, 1, 10_000 gwei));
        vm.fee(baseFeeWei);
        vm.txGasPrice(baseFeeWei);
        bytes memory usage;
        uint256 bytes_;
        for (uint64 i = 0; i < 3; ++i) {
            sizes[i] = uint32(bound(sizes[i], 1, type(uint32).max));
            bytes_ += sizes[i];
            _register(i + 1, 20 ether);
            usage = bytes.concat(usage, abi.encodePacked(i + 1, sizes[i]));
        }
        uint64 number = _settleUsing(usage);
        (uint256 freeBefore,) = rewardPool.freeWei();
        _debit(number, usage);
        (uint256 freeWei,) = rewardPool.freeWei();

        uint256 costWei = _costOf(number);
        // Each pays for its own words, besides.
        uint256 entryWei = p.rollupBookingGas / 8 * (baseFeeWei + p.priorityWei);
        assertGe(freeWei - freeBefore, costWei + 3 * entryWei);
        assertLe(freeWei - freeBefore, costWei + 3 * entryWei + 2);
        for (uint64 i = 0; i < 3; ++i) {
            uint256 paidWei = 20 ether - rollups.rollup(i + 1).balanceWei;
            assertLe(paidWei, costWei * sizes[i] / bytes_ + 1 + entryWei);
        }
    }

    /// Who debits the first of an epoch gets all of its gas back; who debits few after that in proportion, so that nobody makes
    /// sixteen calls of one; who debits sixteen all of it whenever it is.
    function test_debit_isRefundedAsADuty() public {
        _register(3, 10 ether);
        for (uint256 i = 0; i < 20; ++i) {
            _settleUsing(_usage(3, 11));
        }
        uint256 firstWei = _debitPaid(1, 1);
        assertGt(firstWei, 60_000 * 1 gwei);
        uint256 secondWei = _debitPaid(2, 1);
        assertLt(secondWei, firstWei / 4);
        uint256 manyWei = _debitPaid(3, 16);
        assertGt(manyWei, firstWei);
        _advance(p.epochSeconds);
        assertGt(_debitPaid(19, 1), 2 * secondWei);
    }

    function test_debit_ofABatchThatNobodyPaysForIsNobodysDuty() public {
        uint64 number = _settleUsing(_usage(3, 11));
        vm.recordLogs();
        rollups.debit(number, _settledBatches[number - 1], _usage(3, 11));
        assertEq(_dutiesWei(address(this)), 0);
    }

    /// @dev Debits so many batches at the gas price of the batches.
    function _debitPaid(uint64 first, uint64 n) private returns (uint256) {
        Debit[] memory debits = new Debit[](n);
        for (uint64 i = 0; i < n; ++i) {
            debits[i] = _debitOf(first + i, _usage(3, 11));
        }
        vm.recordLogs();
        rollups.debitMany(debits);
        return _dutiesWei(address(this));
    }

    /// What was ordered before its owner closed it is paid, and what is told of the rest opens nothing.
    function test_debit_takesFromAClosedRollupToo() public {
        _register(3, 1 ether);
        uint64 number = _settleUsing(_usage(3, 11));
        uint256 price = _price(number, 11, 11);
        vm.prank(rollups.rollup(3).owner);
        rollups.setClosed(3, true);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupDebited(3, number, price, 0);
        _debit(number, _usage(3, 11));
        assertEq(rollups.rollup(3).balanceWei, 1 ether - price);
    }

    function test_debit_leavesOutWhoIsNotRegistered() public {
        _register(9, 1 ether);
        uint64 number = _settleUsing(_usage(3, 11, 9, 1));

        _debit(number, _usage(3, 11, 9, 1));
        assertEq(rollups.rollup(3).owner, address(0));
        assertEq(rollups.rollup(9).balanceWei, 1 ether - _price(number, 1, 12));
        assertEq(rollups.owed(3), 0);
    }

    function test_debit_marksABatchThatNobodyPaysFor() public {
        uint64 number = _settleUsing("");
        vm.recordLogs();
        _debit(number, "");

        // Nothing was paid, so the pool heard nothing.
        assertEq(vm.getRecordedLogs().length, 1);
        assertEq(rollups.debitedBatches(0), 1 << number);
    }

    function testFuzz_debit_movesWhatBalancesLose(uint64[3] memory balances, uint32[3] memory sizes) public {
        bytes memory usage;
        uint256 total;
        for (uint64 i = 0; i < 3; ++i) {
            _register(i + 1, balances[i]);
            total += balances[i];
            usage = bytes.concat(usage, abi.encodePacked(i + 1, sizes[i]));
        }
        (uint256 freeBefore,) = rewardPool.freeWei();
        uint64 number = _settleUsing(usage);
        _debit(number, usage);

        uint256 bytes_ = uint256(sizes[0]) + sizes[1] + sizes[2];
        uint256 left;
        for (uint64 i = 0; i < 3; ++i) {
            uint256 price = _price(number, sizes[i], bytes_);
            uint256 expected = balances[i] > price ? balances[i] - price : 0;
            assertEq(rollups.rollup(i + 1).balanceWei, expected);
            left += expected;
        }
        (uint256 freeWei,) = rewardPool.freeWei();
        assertEq(freeWei - freeBefore, total - left);
        assertEq(address(rollups).balance, left);
        assertEq(address(rewardPool).balance, freeWei);
    }

    function test_debit_revertsWhen_debitedBefore() public {
        uint64 number = _settleUsing(_usage(3, 11));
        _debit(number, _usage(3, 11));
        vm.expectRevert(abi.encodeWithSelector(IRollups.AlreadyDebited.selector, number));
        _debit(number, _usage(3, 11));
    }

    function test_debit_revertsWhen_notInTheRing() public {
        _settleUsing(_usage(3, 11));
        Settled memory batch = _settledBatches[0];
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NotInRing.selector, 1, 1, 2));
        rollups.debit(2, batch, _usage(3, 11));
    }

    function test_debit_revertsWhen_notWhatSettled() public {
        uint64 number = _settleUsing(_usage(3, 11));
        Settled memory batch = _settledBatches[number - 1];
        batch.header.usageHash = keccak256(_usage(9, 11));
        bytes32 digest = settlement.batchDigest(batch.header);
        bytes32 actual = keccak256(
            abi.encode(
                digest,
                batch.signers,
                batch.poster,
                batch.settledAt,
                batch.parentSettledAt,
                batch.baseFeeWei,
                batch.blobBaseFeeWei,
                batch.refundWei,
                batch.blobs,
                batch.late,
                batch.led
            )
        );
        bytes32 expected = settlement.ringValue(number);
        vm.expectRevert(abi.encodeWithSelector(IRollups.RingValueMismatch.selector, number, expected, actual));
        rollups.debit(number, batch, _usage(9, 11));
    }

    function test_debit_revertsWhen_theListIsAnother() public {
        uint64 number = _settleUsing(_usage(3, 11));
        vm.expectRevert(
            abi.encodeWithSelector(IRollups.UsageMismatch.selector, keccak256(_usage(3, 11)), keccak256(_usage(3, 10)))
        );
        _debit(number, _usage(3, 10));

        vm.expectRevert(abi.encodeWithSelector(IRollups.UsageLengthWrong.selector, 12, 11));
        _debit(number, new bytes(11));
    }

    function test_debit_revertsWhen_theListIsNotAscending() public {
        uint64 number = _settleUsing(_usage(9, 11, 3, 11));
        vm.expectRevert(abi.encodeWithSelector(IRollups.UsageNotAscending.selector, 9, 3));
        _debit(number, _usage(9, 11, 3, 11));

        number = _settleUsing(_usage(9, 11, 9, 11));
        vm.expectRevert(abi.encodeWithSelector(IRollups.UsageNotAscending.selector, 9, 9));
        _debit(number, _usage(9, 11, 9, 11));

        number = _settleUsing(_usage(0, 11));
        vm.expectRevert(abi.encodeWithSelector(IRollups.UsageNotAscending.selector, 0, 0));
        _debit(number, _usage(0, 11));
    }

    /* DEBIT MANY */

    function test_debitMany_debitsSeveralInAnyOrder() public {
        _register(3, 1 ether);
        (uint256 freeBefore,) = rewardPool.freeWei();
        Debit[] memory debits = new Debit[](3);
        for (uint256 i = 0; i < 3; ++i) {
            debits[2 - i] = _debitOf(_settleUsing(_usage(3, 11)), _usage(3, 11));
        }
        uint256 price = _price(1, 1, 1) + _price(2, 1, 1) + _price(3, 1, 1);

        vm.txGasPrice(0);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.Funded(address(rollups), price, 0);
        rollups.debitMany(debits);

        assertEq(rollups.rollup(3).balanceWei, 1 ether - price);
        (uint256 freeWei,) = rewardPool.freeWei();
        assertEq(freeWei - freeBefore, price);
        assertEq(rollups.debitedBatches(0), 14);
    }

    function test_debitMany_leavesOutWhatIsDebited() public {
        _register(3, 1 ether);
        Debit[] memory debits = new Debit[](3);
        debits[0] = _debitOf(_settleUsing(_usage(3, 11)), _usage(3, 11));
        debits[1] = _debitOf(_settleUsing(_usage(3, 11)), _usage(3, 11));
        debits[2] = debits[1];
        _debit(debits[0].number, debits[0].usage);

        rollups.debitMany(debits);
        assertEq(rollups.rollup(3).balanceWei, 1 ether - _price(1, 1, 1) - _price(2, 1, 1));

        vm.expectRevert(IRollups.NothingToDebit.selector);
        rollups.debitMany(debits);
    }

    function test_debitMany_revertsWhen_noneIsGivenOrOneIsWrong() public {
        vm.expectRevert(IRollups.NothingToDebit.selector);
        rollups.debitMany(new Debit[](0));

        Debit[] memory debits = new Debit[](2);
        debits[0] = _debitOf(_settleUsing(_usage(3, 11)), _usage(3, 11));
        debits[1] = _debitOf(_settleUsing(_usage(3, 11)), _usage(3, 12));
        vm.expectRevert(
            abi.encodeWithSelector(IRollups.UsageMismatch.selector, keccak256(_usage(3, 11)), keccak256(_usage(3, 12)))
        );
        rollups.debitMany(debits);
        assertEq(rollups.debitedBatches(0), 0);
    }

    function test_debitedBatches_isABitForEachBatch() public {
        for (uint256 i = 0; i < 257; ++i) {
            _settleUsing("");
        }
        _debit(255, "");
        _debit(256, "");
        _debit(257, "");
        assertEq(rollups.debitedBatches(0), uint256(1) << 255);
        assertEq(rollups.debitedBatches(1), 3);
    }

    /* IS OPEN */

    function test_isOpen_closesByADebitAndOpensByFunding() public {
        _register(3, p.rollupReserveWei);
        assertTrue(rollups.isOpen(3));

        _debit(_settleUsing(_usage(3, 1)), _usage(3, 1));
        assertFalse(rollups.isOpen(3));

        rollups.fund{value: _price(1, 1, 1)}(3);
        assertTrue(rollups.isOpen(3));
    }

    function test_isOpen_fromTheReserveOn() public {
        assertFalse(rollups.isOpen(4242));
        rollups.register{value: p.rollupFeeWei + p.rollupReserveWei - 1}(4242);
        assertFalse(rollups.isOpen(4242));

        rollups.fund{value: 1}(4242);
        assertTrue(rollups.isOpen(4242));
    }

    /* PARTS */

    function _register(uint64 chainId, uint256 balanceWei) private {
        vm.deal(address(this), p.rollupFeeWei + balanceWei);
        rollups.register{value: p.rollupFeeWei + balanceWei}(chainId);
        vm.deal(address(this), 100 ether);
    }

    function _usage(uint64 chainId, uint32 size) private pure returns (bytes memory) {
        return abi.encodePacked(chainId, size);
    }

    function _usage(uint64 a, uint32 sizeA, uint64 b, uint32 sizeB) private pure returns (bytes memory) {
        return abi.encodePacked(a, sizeA, b, sizeB);
    }

    /// @dev Settles a batch that commits to `usage`; returns its number.
    function _settleUsing(bytes memory usage) private returns (uint64 number) {
        BatchHeader memory header = _nextHeader(8);
        header.usageHash = keccak256(usage);
        _settle(header);
        return settlement.tip().number;
    }

    /// @dev By somebody who pays nothing for gas: nothing is refunded.
    function _debit(uint64 number, bytes memory usage) private {
        uint256 gasPriceWei = tx.gasprice;
        vm.txGasPrice(0);
        rollups.debit(number, _settledBatches[number - 1], usage);
        vm.txGasPrice(gasPriceWei);
    }

    function _costOf(uint64 number) private view returns (uint256) {
        Settled memory batch = _settledBatches[number - 1];
        uint256 refundWei = batch.refundWei;
        uint256 highestWei = batch.baseFeeWei + p.priorityWei;
        return refundWei + _marginWei(batch) + p.rollupBookingGas * 3 / 4 * highestWei;
    }

    /// @dev Of `size` of the batch's bytes, rounded up.
    function _price(uint64 number, uint256 size, uint256 bytes_) private view returns (uint256) {
        if (size == 0) return 0;
        uint256 highestWei = _settledBatches[number - 1].baseFeeWei + p.priorityWei;
        return (_costOf(number) * size + bytes_ - 1) / bytes_ + p.rollupBookingGas / 8 * highestWei;
    }

    function _debitOf(uint64 number, bytes memory usage) private view returns (Debit memory) {
        return Debit({number: number, batch: _settledBatches[number - 1], usage: usage});
    }
}
