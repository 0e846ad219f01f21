// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";

import {Commission, IRewardPool} from "../contracts/interfaces/IRewardPool.sol";
import {ISequencerRegistry, Sequencer} from "../contracts/interfaces/ISequencerRegistry.sol";
import {Offences} from "./utils/Offences.sol";

/// Claims again while it is being paid.
contract GreedyPoster {
    IRewardPool private immutable POOL;
    bytes public refusal;

    constructor(IRewardPool pool) {
        POOL = pool;
    }

    function claim() external {
        POOL.claimPoster();
    }

    receive() external payable {
        try POOL.claimPoster() {}
        catch (bytes memory reason) {
            refusal = reason;
        }
    }
}

/// Takes no ETH.
contract StubbornPoster {
    function claim(IRewardPool pool) external {
        pool.claimPoster();
    }
}

/// RewardPool
/// ├── fund
/// │   ├── it takes both and says so
/// │   └── when nothing is sent: it reverts
/// ├── creditPoster, creditDuty, reserve
/// │   ├── when the caller is not the tally: those of batches revert
/// │   ├── when the caller is no contract of the deployment: that of a duty reverts
/// │   ├── that of a duty is its gas at what was paid, a margin, and what crediting takes; nothing where gas is free
/// │   ├── when the pool has less ETH: they owe the rest, and what is due later does not take what is owed
/// │   ├── over all amounts: none reverts
/// │   └── when the pool has no token: nothing is reserved
/// ├── claimPoster
/// │   ├── it pays all, once, and of what is owed as much as is free
/// │   ├── when there is nothing: it reverts
/// │   ├── when the poster claims again while it is paid: the second claim reverts
/// │   └── when the poster takes no ETH: only it is stuck
/// ├── creditEpoch
/// │   ├── it adds each member's part to its pool, by weight and participation, whoever calls
/// │   ├── it keeps the owner's commission, at what it is at that time
/// │   ├── over all participations and commissions: nothing of what was reserved is lost or made, and no share price falls
/// │   ├── it credits epochs in the order in which they were attested
/// │   ├── when nothing waits, or the epoch is not closed: it reverts
/// │   ├── when a member signed nothing: nothing goes to it
/// │   ├── when a member is jailed, tombstoned or has left, or its pool is dead: its part goes back to the reward pool
/// │   ├── when that goes for all: no token moves
/// │   ├── when nobody tallied an epoch: nothing waits
/// │   └── when the token delivers less, or calls back: it reverts
/// ├── nextCredit
/// │   └── it is the first epoch that waits, due once closed
/// ├── setCommission
/// │   ├── a raise counts after the delay, lowering at once; the last word counts
/// │   └── when not the owner, too large, above the whole, or of nobody: it reverts
/// ├── claimCommission
/// │   ├── it pays the owner once, whoever calls
/// │   └── when there is none, or the token calls back: it reverts
/// └── donations change nothing
contract RewardPoolTest is Offences {
    address private _poster = makeAddr("poster");

    /// @dev Nobody had funded the pool when the first sets were sealed: what that is refunded with is owed, and paid here.
    function setUp() external {
        _begin(4);
        _fund(rewardPool.owed(), 0);
        rewardPool.claimPoster();
    }

    receive() external payable {}

    /* FUND */

    function test_fund_takesBothAndSaysSo() external {
        vm.deal(address(this), 5 ether);
        token.mint(address(this), 7 ether);
        token.approve(address(rewardPool), 7 ether);

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.Funded(address(this), 5 ether, 7 ether);
        rewardPool.fund{value: 5 ether}(7 ether);

        _expectFree(5 ether, 7 ether);
        assertEq(token.balanceOf(address(rewardPool)), 7 ether);
    }

    function test_fund_revertsWhen_nothingIsSent() external {
        vm.expectRevert(IRewardPool.NothingSent.selector);
        rewardPool.fund(0);
    }

    /* CREDITS */

    function test_credits_revertWhen_notTheTally() external {
        vm.startPrank(at.settlement);
        bytes memory reason = abi.encodeWithSelector(IRewardPool.NotTally.selector, at.tally, at.settlement);
        vm.expectRevert(reason);
        rewardPool.creditPoster(_poster, 1, 1);
        vm.expectRevert(reason);
        rewardPool.reserve(0, 1, 1, 1);
    }

    function test_creditDuty_isForTheContractsOfTheDeploymentAlone() external {
        address[5] memory contracts = [at.settlement, at.tally, at.registry, at.slasher, at.rollups];
        for (uint256 i = 0; i < contracts.length; ++i) {
            vm.prank(contracts[i]);
            rewardPool.creditDuty(_poster, 1, 0, 0, 16);
        }
        address[4] memory others = [address(this), _poster, at.rewardPool, at.guardian];
        for (uint256 i = 0; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IRewardPool.NotDuty.selector, others[i]));
            rewardPool.creditDuty(_poster, 1, 0, 0, 16);
        }
    }

    function test_creditDuty_isTheGasAMarginAndWhatItTakesItself() external {
        _fund(1 ether, 0);
        vm.fee(10 gwei);
        vm.txGasPrice(10 gwei);
        uint256 dueWei = _creditDuty(100_000, 0);
        uint256 workWei = 100_000 * 10 gwei;
        workWei += workWei * p.refundMarginBps / 10_000;
        assertGt(dueWei, workWei + 5000 * 10 gwei);
        assertLt(dueWei, workWei + 70_000 * 10 gwei);
        assertEq(rewardPool.posterBalance(_poster), dueWei);

        // No more than was paid for the gas, and no tip above the bound.
        vm.txGasPrice(5 gwei);
        assertLt(_creditDuty(100_000, 0), dueWei / 2);
        vm.txGasPrice(1000 gwei);
        uint256 gasDueWei = _creditDuty(1_000_000, 0);
        assertLt(gasDueWei, (1_200_000 + 70_000) * (10 gwei + p.priorityWei));
        vm.txGasPrice(0);
        assertEq(_creditDuty(100_000, 0), 0);
    }

    function test_creditDuty_addsATransactionForItsSender() external {
        _fund(1 ether, 0);
        uint256 aloneWei = _creditDuty(100_000, 100);
        vm.startPrank(at.settlement, _poster);
        vm.recordLogs();
        rewardPool.creditDuty(_poster, 100_000, 100, 60, 16);
        vm.stopPrank();
        uint256 gas = 21_000 + 40 * 4 + 60 * 16;
        assertApproxEqAbs(_dutiesWei(_poster), aloneWei + gas * 1 gwei * 12 / 10, 30_000 gwei);
    }

    /// @dev What a duty of so much gas brings its worker.
    function _creditDuty(uint256 gas, uint256 size) private returns (uint256) {
        vm.recordLogs();
        vm.prank(at.settlement);
        rewardPool.creditDuty(_poster, gas, size, 0, 16);
        return _dutiesWei(_poster);
    }

    function test_creditPoster_owesWhatThePoolDoesNotHave() external {
        _fund(1 ether, 0);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.PosterCredited(_poster, 9, 3 ether);
        _creditPoster(3 ether);
        assertEq(rewardPool.posterBalance(_poster), 1 ether);
        assertEq(rewardPool.owedTo(_poster), 2 ether);
        assertEq(rewardPool.owed(), 2 ether);
        _expectFree(0, 0);
    }

    function test_creditDuty_owesWhatThePoolDoesNotHave() external {
        _fund(0.0001 ether, 0);
        uint256 dueWei = _creditDuty(1_000_000, 0);
        assertGt(dueWei, 0.001 ether);
        assertEq(rewardPool.posterBalance(_poster), 0.0001 ether);
        assertEq(rewardPool.owedTo(_poster), dueWei - 0.0001 ether);
    }

    function test_credits_takeOnlyWhatIsNotOwed() external {
        _creditPoster(2 ether);
        _fund(5 ether, 0);
        address other = makeAddr("other");
        vm.prank(at.tally);
        rewardPool.creditPoster(other, 10, 4 ether);
        // Two of the five are for who waits.
        assertEq(rewardPool.posterBalance(other), 3 ether);
        assertEq(rewardPool.owedTo(other), 1 ether);
        _expectFree(2 ether, 0);

        vm.prank(_poster);
        assertEq(rewardPool.claimPoster(), 2 ether);
        vm.prank(other);
        assertEq(rewardPool.claimPoster(), 3 ether);
        assertEq(rewardPool.owed(), 1 ether);
    }

    function test_claimPoster_paysOfWhatIsOwedAsMuchAsIsFree() external {
        _creditPoster(3 ether);
        vm.prank(_poster);
        vm.expectRevert(IRewardPool.NothingToClaim.selector);
        rewardPool.claimPoster();

        _fund(1 ether, 0);
        vm.prank(_poster);
        assertEq(rewardPool.claimPoster(), 1 ether);
        assertEq(rewardPool.owedTo(_poster), 2 ether);
        _fund(5 ether, 0);
        vm.prank(_poster);
        assertEq(rewardPool.claimPoster(), 2 ether);
        assertEq(rewardPool.owed(), 0);
        _expectFree(3 ether, 0);
    }

    /// Nobody has so much; a credit of it reverts nothing, and neither does a hundred million of them.
    function test_credits_areCutAtTheEndOfTheirField() external {
        _creditPoster(type(uint256).max);
        _creditPoster(type(uint256).max);
        assertEq(rewardPool.owedTo(_poster), 2 * (uint256(1) << 92));
        assertEq(rewardPool.owed(), 2 * (uint256(1) << 92));
    }

    function test_reserve_setsAsideWhatThePoolHas() external {
        _fund(0, 1 ether);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignersReserved(0, 1, 9, 1 ether);
        vm.prank(at.tally);
        rewardPool.reserve(0, 1, 9, 3 ether);
        _expectFree(0, 0);
    }

    function test_reserve_doesNothingWhen_thePoolIsEmpty() external {
        vm.recordLogs();
        vm.prank(at.tally);
        rewardPool.reserve(0, 1, 1, 1 ether);
        assertEq(vm.getRecordedLogs().length, 0);
    }

    /* POSTERS */

    function test_claimPoster_paysAllOnce() external {
        _fund(5 ether, 0);
        _creditPoster(2 ether);

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.PosterClaimed(_poster, 2 ether);
        vm.prank(_poster);
        assertEq(rewardPool.claimPoster(), 2 ether);

        assertEq(_poster.balance, 2 ether);
        _expectFree(3 ether, 0);
        vm.expectRevert(IRewardPool.NothingToClaim.selector);
        vm.prank(_poster);
        rewardPool.claimPoster();
    }

    function test_claimPoster_revertsWhen_reentered() external {
        GreedyPoster greedy = new GreedyPoster(rewardPool);
        _poster = address(greedy);
        _fund(5 ether, 0);
        _creditPoster(2 ether);

        greedy.claim();
        assertEq(address(greedy).balance, 2 ether);
        assertEq(bytes4(greedy.refusal()), bytes4(keccak256("ReentrancyGuardReentrantCall()")));
    }

    function test_claimPoster_leavesOthersAloneWhen_oneTakesNoEth() external {
        StubbornPoster stubborn = new StubbornPoster();
        _fund(5 ether, 0);
        _creditPoster(1 ether);
        vm.prank(at.tally);
        rewardPool.creditPoster(address(stubborn), 9, 1 ether);

        vm.expectRevert(Errors.FailedCall.selector);
        stubborn.claim(rewardPool);
        assertEq(rewardPool.posterBalance(address(stubborn)), 1 ether);
        vm.prank(_poster);
        rewardPool.claimPoster();
        assertEq(_poster.balance, 1 ether);
    }

    /* CREDITING EPOCHS */

    function test_creditEpoch_addsEachPartToItsPoolWhoeverCalls() external {
        _closedEpoch();
        uint32 id = _idAt(0);
        // One batch; three of four signed: each a quarter of the reward, the absent quarter stayed in the pool.
        uint256 partWei = _rewardWei(0) / 4;
        assertEq(rewardPool.signerReward(0, 1, 0), partWei);
        uint256 shares = registry.sequencer(id).shares;

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Rewarded(id, partWei);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignerCredited(id, 0, 1, partWei, 0);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.EpochCredited(0, 1, 3 * partWei, 0, 0);
        vm.prank(makeAddr("anyone"));
        assertEq(rewardPool.creditEpoch(), 3 * partWei);

        assertEq(registry.assetsOf(id), STAKE_WEI + partWei);
        assertEq(registry.sequencer(id).shares, shares);
        assertEq(registry.assetsOf(_idAt(3)), STAKE_WEI);
        assertEq(token.balanceOf(address(registry)), 4 * STAKE_WEI + 3 * partWei);
        assertEq(rewardPool.signerReward(0, 1, 0), 0);
        vm.expectRevert(IRewardPool.NothingToCredit.selector);
        rewardPool.creditEpoch();
    }

    function test_creditEpoch_keepsTheCommission() external {
        uint32 id = _idAt(0);
        _setCommission(id, 500);
        _advance(p.commissionDelaySeconds);
        // So long a time of the chain is paid for.
        _fund(0, 1000 ether);
        _closedEpoch();
        uint256 partWei = _rewardWei(0) / 4;
        uint256 ownersWei = partWei * 500 / 10_000;

        uint64 epoch = _epoch() - p.maxEpochLag - 1;
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignerCredited(id, 0, epoch, partWei - ownersWei, ownersWei);
        rewardPool.creditEpoch();

        assertEq(registry.assetsOf(id), STAKE_WEI + partWei - ownersWei);
        assertEq(rewardPool.commissionBalance(id), ownersWei);
    }

    function testFuzz_creditEpoch_losesAndMakesNothing(uint96 funded, uint8 batches, uint16[4] memory bps) external {
        uint256 fundedWei = bound(funded, 1, 3 ether);
        _fund(0, fundedWei);
        uint256[4] memory prices;
        for (uint256 i = 0; i < 4; ++i) {
            _setCommission(_idAt(i), uint16(bound(bps[i], 0, 500)));
            prices[i] = _price(_idAt(i));
        }
        batches = uint8(bound(batches, 1, 6));
        for (uint256 i = 0; i < batches; ++i) {
            _settle(_nextHeader(1));
            _advance(1);
        }
        _tallyAll();
        _startEpoch(1 + p.maxEpochLag + 1);
        (, uint256 freeBefore) = rewardPool.freeWei();
        uint256 reservedWei = fundedWei - freeBefore;

        uint256 creditedWei = reservedWei == 0 ? 0 : rewardPool.creditEpoch();
        uint256 commissionsWei;
        for (uint256 i = 0; i < 4; ++i) {
            commissionsWei += rewardPool.commissionBalance(_idAt(i));
            assertGe(_price(_idAt(i)), prices[i]);
        }
        (, uint256 freeWei) = rewardPool.freeWei();
        assertLe(creditedWei + commissionsWei, reservedWei);
        assertEq(creditedWei + commissionsWei + freeWei, fundedWei);
        assertEq(token.balanceOf(address(rewardPool)), freeWei + commissionsWei);
        assertEq(token.balanceOf(address(registry)), 4 * STAKE_WEI + creditedWei);
        // Nothing but rounding came back.
        assertLe(freeWei - freeBefore, 3);
    }

    function test_creditEpoch_goesByTheOrderOfTheChain() external {
        _fund(0, 100 ether);
        _settle(_nextHeader(8));
        _sealThrough(2);
        _settle(_nextHeader(8));
        _tallyAll();
        _startEpoch(1 + p.maxEpochLag + 1);

        _expectNext(true, true, 1);
        rewardPool.creditEpoch();
        _expectNext(true, false, 2);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.EpochNotClosed.selector, 2));
        rewardPool.creditEpoch();

        _startEpoch(2 + p.maxEpochLag + 1);
        _expectNext(true, true, 2);
        rewardPool.creditEpoch();
        _expectNext(false, false, 0);
    }

    function test_creditEpoch_revertsWhen_nothingWaits() external {
        _startEpoch(1 + p.maxEpochLag + 1);
        vm.expectRevert(IRewardPool.NothingToCredit.selector);
        rewardPool.creditEpoch();
    }

    function test_creditEpoch_waitsForTheTally() external {
        _fund(0, 100 ether);
        _settle(_nextHeader(8));
        _tallyAll();
        _settle(_nextHeader(8));
        _startEpoch(1 + p.maxEpochLag + 1);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.EpochNotClosed.selector, 1));
        rewardPool.creditEpoch();

        _tallyAll();
        // All of the time is the first one's.
        assertEq(rewardPool.creditEpoch(), _rewardWei(0) * 3 / 4);
    }

    function test_creditEpoch_creditsAnEpochThatHadNoReserveAtFirst() external {
        _settle(_nextHeader(8));
        _tallyAll();
        _expectNext(false, false, 0);
        _fund(0, 100 ether);
        _advance(8);
        _settle(_nextHeader(8));
        _tallyAll();
        _startEpoch(1 + p.maxEpochLag + 1);
        assertEq(rewardPool.creditEpoch(), p.signersSecondWei * 8 / 4 * 3);
    }

    function test_creditEpoch_returnsThePartOfWhoIsJailed() external {
        _closedEpoch();
        _reportVotes(0, HEIGHT);
        _expectForfeit(_idAt(0));
    }

    function test_creditEpoch_returnsThePartOfWhoIsTombstoned() external {
        _closedEpoch();
        bytes32 caseId = _reportVotes(0, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        _expectForfeit(_idAt(0));
    }

    function test_creditEpoch_movesNoTokenWhenAllPartsGoBack() external {
        _closedEpoch();
        for (uint256 i = 0; i < 4; ++i) {
            uint32 id = _idAt(i);
            vm.prank(at.slasher);
            registry.jailAbsent(id, 0);
        }

        vm.expectCall(at.stakeToken, abi.encodeWithSelector(token.transfer.selector), 0);
        assertEq(rewardPool.creditEpoch(), 0);
    }

    function test_creditEpoch_returnsThePartOfADeadPool() external {
        _closedEpoch();
        uint32 id = _idAt(0);
        vm.prank(at.slasher);
        registry.slash(id, type(uint128).max, false);
        _expectForfeit(id);
    }

    function test_creditEpoch_returnsThePartOfWhoHasLeft() external {
        _closedEpoch();
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        uint256 shares = registry.sharesOf(id, owner);
        vm.prank(owner);
        uint256 exitId = registry.requestExit(id, shares);
        _sealThrough(_epoch() + 2);
        (, uint64 time) = registry.claimableAt(exitId);
        // What has left the queue earns no more, so its claim waits for nothing.
        _warpTo(time);
        vm.prank(owner);
        assertApproxEqAbs(registry.claim(exitId), STAKE_WEI, 1);

        _expectForfeit(id);
    }

    function test_creditEpoch_countsForWhoLeavesLater() external {
        _closedEpoch();
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        uint256 shares = registry.sharesOf(id, owner);
        rewardPool.creditEpoch();
        vm.prank(owner);
        uint256 exitId = registry.requestExit(id, shares);
        _sealThrough(_epoch() + 2);
        (, uint64 time) = registry.claimableAt(exitId);
        _warpTo(time);

        vm.prank(owner);
        // Rounding leaves the virtual shares a wei or so.
        assertApproxEqAbs(registry.claim(exitId), STAKE_WEI + _rewardWei(0) / 4, 2);
    }

    function test_creditEpoch_revertsWhen_theTokenKeepsAFee() external {
        _closedEpoch();
        uint256 totalWei = _rewardWei(0) / 4 * 3;
        uint256 held = token.balanceOf(address(registry));
        bytes memory asked = abi.encodeWithSignature("balanceOf(address)", registry);
        bytes[] memory answers = new bytes[](2);
        (answers[0], answers[1]) = (abi.encode(held), abi.encode(held + totalWei - 1));
        vm.mockCalls(address(token), asked, answers);

        vm.expectRevert(abi.encodeWithSelector(IRewardPool.TokenDelivered.selector, totalWei, totalWei - 1));
        rewardPool.creditEpoch();
    }

    function test_creditReward_revertsWhen_notTheRewardPool() external {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotRewardPool.selector, at.rewardPool, address(this)));
        registry.creditReward(1, 1);
    }

    /// The weight of all stake has 56 bits: what would lift it beyond goes back instead.
    function test_creditReward_takesNothingWhen_theTotalWouldNotFit() external {
        uint256 roomWei = p.weightUnitWei * 2 ** 56 - 1 - 4 * STAKE_WEI;
        vm.startPrank(at.rewardPool);
        assertFalse(registry.creditReward(1, roomWei + 1));
        assertEq(registry.assetsOf(1), STAKE_WEI);
        assertTrue(registry.creditReward(1, roomWei));
        assertEq(registry.assetsOf(1), STAKE_WEI + roomWei);
    }

    /* WHAT WAITS FOR A CREDIT */

    function test_deposits_waitForTheCredit() external {
        _closedEpoch();
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        _give(owner, 10 ether);
        assertFalse(rewardPool.isUpToDate());
        vm.prank(owner);
        assertEq(registry.topUp(id, 10 ether), 0);
        assertEq(registry.waitingSharesOf(id, owner), 10 ether * 1000);
        assertFalse(_flush());

        rewardPool.creditEpoch();
        assertTrue(rewardPool.isUpToDate());
        uint256 before = registry.sharesOf(id, owner);
        assertTrue(_flush());
        // What was earned before is in the price.
        assertLt(registry.sharesOf(id, owner) - before, 10 ether * 1000);
        assertGt(registry.sharesOf(id, owner), before);
    }

    /* COMMISSIONS */

    function test_setCommission_raisesAfterTheDelayAndLowersAtOnce() external {
        uint32 id = _idAt(0);
        uint64 from = uint64(block.timestamp) + p.commissionDelaySeconds;
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.CommissionChanged(id, 500, from);
        _setCommission(id, 500);
        _expectCommission(id, 0, 500, from);

        _warpTo(from - 1);
        _expectCommission(id, 0, 500, from);
        _warpTo(from);
        _expectCommission(id, 500, 500, from);

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.CommissionChanged(id, 200, uint64(block.timestamp));
        _setCommission(id, 200);
        _expectCommission(id, 200, 200, block.timestamp);
    }

    function test_setCommission_takesAnAnnouncedRaiseBack() external {
        uint32 id = _idAt(0);
        _setCommission(id, 500);
        _setCommission(id, 0);
        _advance(p.commissionDelaySeconds);
        assertEq(rewardPool.commission(id).bps, 0);
    }

    function test_setCommission_startsTheDelayAnewWithAnotherRaise() external {
        uint32 id = _idAt(0);
        _setCommission(id, 500);
        _advance(p.commissionDelaySeconds - 1);
        _setCommission(id, 400);
        _advance(1);
        assertEq(rewardPool.commission(id).bps, 0);
        _advance(p.commissionDelaySeconds - 1);
        assertEq(rewardPool.commission(id).bps, 400);
    }

    function test_setCommission_revertsWhen_notAllowed() external {
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NotOwner.selector, owner, address(this)));
        rewardPool.setCommission(id, 1);

        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.CommissionAboveWhole.selector, 10_000, 10_001));
        rewardPool.setCommission(id, 10_001);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.CommissionRaiseTooLarge.selector, 500, 501));
        rewardPool.setCommission(id, 501);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 99));
        rewardPool.setCommission(99, 1);
        vm.stopPrank();
    }

    function test_claimCommission_paysTheOwnerOnceWhoeverCalls() external {
        uint32 id = _creditedCommission();
        address owner = registry.ownerOf(id);
        uint256 amountWei = _rewardWei(0) / 4 * 500 / 10_000;
        uint256 before = token.balanceOf(owner);

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.CommissionClaimed(id, owner, amountWei);
        vm.prank(makeAddr("anyone"));
        assertEq(rewardPool.claimCommission(id), amountWei);

        assertEq(token.balanceOf(owner) - before, amountWei);
        vm.expectRevert(IRewardPool.NothingToClaim.selector);
        rewardPool.claimCommission(id);
    }

    function test_claimCommission_revertsWhen_ofNobody() external {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 99));
        rewardPool.claimCommission(99);
    }

    /* DONATIONS */

    function test_donationsChangeNothing() external {
        token.mint(address(rewardPool), 100 ether);
        vm.deal(address(rewardPool), 100 ether);
        _expectFree(0, 0);
        _creditPoster(1 ether);
        assertEq(rewardPool.posterBalance(_poster), 0);
    }

    /* PARTS */

    /// @dev One batch, signed by members 0 to 2 of the running epoch, which is closed then.
    function _closedEpoch() private {
        _fund(0, 100 ether);
        uint64 epoch = _epoch();
        _settle(_nextHeader(8));
        _tallyAll();
        _startEpoch(epoch + p.maxEpochLag + 1);
    }

    function _creditedCommission() private returns (uint32 id) {
        id = _idAt(0);
        _setCommission(id, 500);
        _advance(p.commissionDelaySeconds);
        // So long a time of the chain is paid for.
        _fund(0, 1000 ether);
        _closedEpoch();
        rewardPool.creditEpoch();
    }

    function _setCommission(uint32 id, uint16 bps) private {
        vm.prank(registry.ownerOf(id));
        rewardPool.setCommission(id, bps);
    }

    function _expectCommission(uint32 id, uint16 bps, uint16 nextBps, uint256 from) private view {
        Commission memory known = rewardPool.commission(id);
        assertEq(known.bps, bps);
        assertEq(known.nextBps, nextBps);
        assertEq(known.nextFrom, from);
    }

    function _expectNext(bool waits, bool due, uint64 epoch) private view {
        (bool actualWaits, bool actualDue, uint32 generation, uint64 actualEpoch) = rewardPool.nextCredit();
        assertEq(actualWaits, waits);
        assertEq(actualDue, due);
        assertEq(generation, 0);
        assertEq(actualEpoch, epoch);
    }

    /// @dev Credits the epoch; the part of `id`, a quarter of the reward, goes back.
    function _expectForfeit(uint32 id) private {
        (, uint256 before) = rewardPool.freeWei();
        uint256 assets = registry.assetsOf(id);

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignerForfeited(id, 0, 1, _rewardWei(0) / 4);
        rewardPool.creditEpoch();

        (, uint256 freeWei) = rewardPool.freeWei();
        assertEq(freeWei - before, _rewardWei(0) / 4);
        assertEq(registry.assetsOf(id), assets);
        assertEq(rewardPool.commissionBalance(id), 0);
    }

    /// @dev What 10^21 shares of a pool would be worth.
    function _price(uint32 id) private view returns (uint256) {
        Sequencer memory known = registry.sequencer(id);
        return (known.assetsWei + 1) * 1e21 / (known.shares + 1000);
    }

    function _fund(uint256 ethWei, uint256 tokenWei) private {
        vm.deal(address(this), ethWei);
        token.mint(address(this), tokenWei);
        token.approve(address(rewardPool), tokenWei);
        rewardPool.fund{value: ethWei}(tokenWei);
    }

    function _creditPoster(uint256 amountWei) private {
        vm.prank(at.tally);
        rewardPool.creditPoster(_poster, 9, amountWei);
    }

    function _expectFree(uint256 ethWei, uint256 tokenWei) private view {
        (uint256 actualEthWei, uint256 actualTokenWei) = rewardPool.freeWei();
        assertEq(actualEthWei, ethWei);
        assertEq(actualTokenWei, tokenWei);
    }
}
