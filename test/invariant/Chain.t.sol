// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {StdInvariant} from "forge-std/StdInvariant.sol";
import {Test} from "forge-std/Test.sol";

import {Tip} from "../../contracts/interfaces/IBatchInbox.sol";
import {ChainHandler} from "./ChainHandler.sol";

/// @title Invariants of the settled chain, of the forced queue, of slashing and of the reward pool (README.md)
contract ChainInvariants is StdInvariant, Test {
    ChainHandler private _handler;

    function setUp() external {
        _handler = new ChainHandler();
        bytes4[] memory selectors = new bytes4[](19);
        selectors[0] = ChainHandler.settle.selector;
        selectors[1] = ChainHandler.settleAside.selector;
        selectors[2] = ChainHandler.bookAll.selector;
        selectors[3] = ChainHandler.credit.selector;
        selectors[4] = ChainHandler.claimPoster.selector;
        selectors[5] = ChainHandler.pass.selector;
        selectors[6] = ChainHandler.report.selector;
        selectors[7] = ChainHandler.execute.selector;
        selectors[8] = ChainHandler.force.selector;
        selectors[9] = ChainHandler.settleThrough.selector;
        selectors[10] = ChainHandler.escape.selector;
        selectors[11] = ChainHandler.compensate.selector;
        selectors[12] = ChainHandler.setCommission.selector;
        selectors[13] = ChainHandler.claimCommission.selector;
        selectors[14] = ChainHandler.donate.selector;
        selectors[15] = ChainHandler.settleUsing.selector;
        selectors[16] = ChainHandler.fundRollup.selector;
        selectors[17] = ChainHandler.debit.selector;
        selectors[18] = ChainHandler.settleTogether.selector;
        targetContract(address(_handler));
        targetSelector(FuzzSelector({addr: address(_handler), selectors: selectors}));
    }

    function invariant_settledChainIsLinear() external view {
        Tip memory tip = _handler.tip();
        assertEq(tip.number, _handler.settled());
        assertEq(tip.lastHeight, _handler.lastHeight());
        assertEq(tip.lastBlockHash, _handler.lastBlockHash());
        assertEq(_handler.settledAside(), 0);
    }

    function invariant_onlyMoreThanTwoThirdsSettle() external view {
        assertEq(_handler.settledWithoutQuorum(), 0);
    }

    function invariant_noCaseIsExecutedTwice() external view {
        for (uint256 i = 0; i < _handler.caseCount(); ++i) {
            assertLe(_handler.executions(_handler.cases(i)), 1);
        }
    }

    function invariant_noSequencerPaysMoreThanItHad() external view {
        for (uint256 i = 0; i < 2; ++i) {
            uint32 id = _handler.offender(i);
            assertLe(_handler.slashed(id), _handler.assetsAtFirstExecution(id));
        }
    }

    function invariant_forcedQueueOnlyMovesForward() external view {
        Tip memory tip = _handler.tip();
        assertEq(tip.consumed, _handler.consumed());
        assertLe(tip.forcedThrough, tip.consumed);
        assertLe(tip.consumed, _handler.forcedLength());
    }

    function invariant_everyForcedFeeBurns() external view {
        (uint256 burnedWei, uint256 heldWei) = _handler.burned();
        assertEq(burnedWei, _handler.sentWei());
        assertEq(heldWei, 0);
    }

    function invariant_nothingDueIsLeftBehind() external view {
        assertEq(_handler.leftBehind(), 0);
    }

    function invariant_rewardPoolIsSolvent() external view {
        (uint256 ethWei, uint256 tokenWei, uint256 freeEthWei, uint256 freeTokenWei) = _handler.pool();
        assertEq(ethWei, freeEthWei + _handler.owedEthWei() + _handler.setAsideWei());
        uint256 namedWei = freeTokenWei + _handler.commissionsWei() + _handler.waitingWei() + _handler.donatedWei();
        assertGe(tokenWei, namedWei);
        // Each part of an epoch that waits is rounded down; what that leaves is returned with the epoch's credit.
        assertLe(tokenWei - namedWei, 500);
    }

    function invariant_rewardsAreWhatWasFunded() external view {
        (, uint256 tokenWei,,) = _handler.pool();
        uint256 paidWei = _handler.creditedWei() + _handler.claimedCommissionsWei();
        assertEq(tokenWei + paidWei, 20 ether + _handler.donatedWei());
    }

    function invariant_rollupsAreBacked() external view {
        (uint256 heldWei, uint256 balanceWei) = _handler.rollupWei();
        assertEq(heldWei, balanceWei);
        assertEq(balanceWei, _handler.fundedWei() - _handler.debitedWei());
    }

    /// What two batches of one transaction are refunded is at most what that paid, and three quarters of it.
    function invariant_refundsStayWithinWhatWasSpent() external view {
        assertLe(_handler.refundedWei(), _handler.spentWei());
        assertGe(4 * _handler.refundedWei(), 3 * _handler.spentWei());
    }

    /// What rollups pay and owe is at most what all debited batches have cost.
    function invariant_rollupsPayWhatBatchesCost() external view {
        assertLe(_handler.debitedWei() + _handler.debtsPaidWei() + _handler.owedByRollup(), _handler.costsWei());
    }
}
