// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPool} from "../contracts/interfaces/IRewardPool.sol";
import {SetLib} from "../contracts/lib/SetLib.sol";
import {BatchHeader} from "../contracts/types/Wire.sol";
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
/// ├── creditPoster, creditSealer, reserve
/// │   ├── when the caller is not the tally: those of batches revert
/// │   ├── when the caller is not the settlement contract: that of a seal reverts
/// │   ├── when the pool has less: they credit what it has
/// │   └── when the pool is empty: they do nothing
/// ├── claimPoster
/// │   ├── it pays all, once
/// │   ├── when there is nothing: it reverts
/// │   ├── when the poster claims again while it is paid: the second claim reverts
/// │   └── when the poster takes no ETH: only it is stuck
/// ├── claimSigner
/// │   ├── it pays the owner by weight and participation, once, whoever calls
/// │   ├── over all participations: the claims of an epoch sum to at most what was reserved
/// │   ├── when the epoch is not closed, or there is no such member: it reverts
/// │   ├── when the member signed nothing: it reverts
/// │   └── when the sequencer is tombstoned: its share goes back to the pool
/// └── donations change nothing
contract RewardPoolTest is Offences {
    address private _poster = makeAddr("poster");

    function setUp() external {
        _begin(4);
    }

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

    function test_creditSealer_revertsWhen_notTheSettlement() external {
        vm.prank(at.tally);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NotSettlement.selector, at.settlement, at.tally));
        rewardPool.creditSealer(_poster, 1);
    }

    function test_creditPoster_creditsWhatThePoolHas() external {
        _fund(1 ether, 0);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.PosterCredited(_poster, 9, 1 ether);
        _creditPoster(3 ether);
        assertEq(rewardPool.posterBalance(_poster), 1 ether);
        _expectFree(0, 0);
    }

    function test_creditSealer_creditsWhatThePoolHas() external {
        _fund(1 ether, 0);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SealerCredited(_poster, 1 ether);
        vm.prank(at.settlement);
        rewardPool.creditSealer(_poster, 3 ether);
        assertEq(rewardPool.posterBalance(_poster), 1 ether);
    }

    function test_reserve_setsAsideWhatThePoolHas() external {
        _fund(0, 1 ether);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignersReserved(0, 1, 9, 1 ether);
        vm.prank(at.tally);
        rewardPool.reserve(0, 1, 9, 3 ether);
        _expectFree(0, 0);
    }

    function test_credits_doNothingWhen_thePoolIsEmpty() external {
        vm.recordLogs();
        vm.startPrank(at.tally);
        rewardPool.creditPoster(_poster, 1, 1 ether);
        rewardPool.reserve(0, 1, 1, 1 ether);
        vm.stopPrank();
        vm.prank(at.settlement);
        rewardPool.creditSealer(_poster, 1 ether);
        assertEq(vm.getRecordedLogs().length, 0);
        assertEq(rewardPool.posterBalance(_poster), 0);
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

        vm.expectRevert();
        stubborn.claim(rewardPool);
        assertEq(rewardPool.posterBalance(address(stubborn)), 1 ether);
        vm.prank(_poster);
        rewardPool.claimPoster();
        assertEq(_poster.balance, 1 ether);
    }

    /* SIGNERS */

    function test_claimSigner_paysTheOwnerOnceWhoeverCalls() external {
        _closedEpoch();
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        // One batch; three of four signed: each a quarter of the reward, the absent quarter stayed in the pool.
        uint256 amountWei = p.signersRewardWei / 4;
        assertEq(rewardPool.signerReward(0, 1, 0), amountWei);
        uint256 before = token.balanceOf(owner);

        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignerClaimed(id, 0, 1, amountWei);
        vm.prank(makeAddr("anyone"));
        assertEq(rewardPool.claimSigner(0, 1, 0), amountWei);

        assertEq(token.balanceOf(owner) - before, amountWei);
        assertEq(rewardPool.signerReward(0, 1, 0), 0);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.AlreadyClaimed.selector, 0, 1, 0));
        rewardPool.claimSigner(0, 1, 0);
    }

    function testFuzz_claimSigner_paysAtMostWhatWasReserved(uint96 funded, uint8 batches) external {
        uint256 fundedWei = bound(funded, 1, 3 ether);
        _fund(0, fundedWei);
        batches = uint8(bound(batches, 1, 6));
        for (uint256 i = 0; i < batches; ++i) {
            _settle(_nextHeader(1));
            _advance(1);
        }
        _tallyAll();
        _startEpoch(1 + p.maxEpochLag + 1);

        uint256 paidWei;
        for (uint256 i = 0; i < 4; ++i) {
            if (rewardPool.signerReward(0, 1, i) != 0) paidWei += rewardPool.claimSigner(0, 1, i);
        }
        (, uint256 freeWei) = rewardPool.freeWei();
        assertLe(paidWei + freeWei, fundedWei);
        assertEq(token.balanceOf(address(rewardPool)), fundedWei - paidWei);
        // Nothing but rounding stays behind.
        assertLe(fundedWei - paidWei - freeWei, 4);
    }

    function test_claimSigner_revertsWhen_epochNotClosed() external {
        _fund(0, 100 ether);
        _settle(_nextHeader(8));
        _tallyAll();
        assertEq(rewardPool.signerReward(0, 1, 0), 0);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.EpochNotClosed.selector, 1));
        rewardPool.claimSigner(0, 1, 0);
    }

    function test_claimSigner_revertsWhen_noSuchMember() external {
        _closedEpoch();
        vm.expectRevert(abi.encodeWithSelector(SetLib.IndexOutsideSet.selector, 4, 4));
        rewardPool.claimSigner(0, 1, 4);
    }

    function test_claimSigner_revertsWhen_memberSignedNothing() external {
        _closedEpoch();
        vm.expectRevert(IRewardPool.NothingToClaim.selector);
        rewardPool.claimSigner(0, 1, 3);
    }

    function test_claimSigner_returnsTheShareOfATombstonedSequencer() external {
        _closedEpoch();
        bytes32 caseId = _reportVotes(0, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        (, uint256 before) = rewardPool.freeWei();
        uint32 id = _idAt(0);

        assertEq(rewardPool.signerReward(0, 1, 0), 0);
        vm.expectEmit(address(rewardPool));
        emit IRewardPool.SignerForfeited(id, 0, 1, p.signersRewardWei / 4);
        assertEq(rewardPool.claimSigner(0, 1, 0), 0);

        (, uint256 freeWei) = rewardPool.freeWei();
        assertEq(freeWei - before, p.signersRewardWei / 4);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.AlreadyClaimed.selector, 0, 1, 0));
        rewardPool.claimSigner(0, 1, 0);
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

    /// @dev One batch, signed by members 0 to 2, in an epoch that is closed.
    function _closedEpoch() private {
        _fund(0, 100 ether);
        BatchHeader memory header = _nextHeader(8);
        _settle(header);
        _tallyAll();
        _startEpoch(1 + p.maxEpochLag + 1);
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
