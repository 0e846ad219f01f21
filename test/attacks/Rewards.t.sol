// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";

import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {ISequencerRegistry, Sequencer} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {ITally, Settled} from "../../contracts/interfaces/ITally.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {CallbackToken} from "../utils/HostileTokens.sol";
import {Offences} from "../utils/Offences.sol";

/// Takes no ETH.
contract Stubborn {
    function claim(IRewardPool pool) external {
        pool.claimPoster();
    }
}

/// @title Attacks on rewards (gallery, chapter 6)
contract RewardsAttacks is Offences {
    bytes4 private constant REENTERED = bytes4(keccak256("ReentrancyGuardReentrantCall()"));

    function setUp() external {
        _begin(4);
    }

    function test_attack069_rewardsForASeatThatDidNothing() external {
        _closeEpoch();
        assertEq(rewardPool.signerReward(0, 1, 3), 0);
        rewardPool.creditEpoch();
        assertEq(registry.assetsOf(_idAt(3)), STAKE_WEI);
    }

    /// Whoever was convicted after its work and before it was credited for it earns nothing.
    function test_attack069_rewardsAfterASlash() external {
        _closeEpoch();
        uint32 id = _idAt(0);
        bytes32 caseId = _reportVotes(0, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        uint256 assets = registry.assetsOf(id);
        (, uint256 before) = rewardPool.freeWei();

        rewardPool.creditEpoch();
        assertEq(registry.assetsOf(id), assets);
        (, uint256 freeWei) = rewardPool.freeWei();
        assertEq(freeWei - before, _rewardWei(0) / 4);
    }

    function test_attack069_rewardsAfterAnExit() external {
        _closeEpoch();
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        uint256 shares = registry.sharesOf(id, owner);
        vm.prank(owner);
        uint256 exitId = registry.requestExit(id, shares);
        _sealThrough(_epoch() + 2);
        (, uint64 time) = registry.claimableAt(exitId);
        _warpTo(time + p.exitDelaySeconds);
        vm.prank(owner);
        registry.claim(exitId);

        rewardPool.creditEpoch();
        assertEq(registry.assetsOf(id), 0);
        assertEq(rewardPool.commissionBalance(id), 0);
    }

    /// Rewards follow the sequencer, whatever its key is by now.
    function test_attack070_rotationDuringARewardEpoch() external {
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        (address signer, uint256 secret) = makeAddrAndKey("new key");
        bytes memory proof = _proof(owner, secret);
        vm.prank(owner);
        registry.rotateSigner(id, signer, proof);
        _closeEpoch();

        rewardPool.creditEpoch();
        assertEq(registry.assetsOf(id), STAKE_WEI + _rewardWei(0) / 4);
    }

    /// Neither contract takes what it was not told of for anybody's.
    function test_attack071_donationsMoveNoPriceAndNoReward() external {
        _closeEpoch();
        uint32 id = _idAt(0);
        uint256 before = rewardPool.signerReward(0, 1, 0);
        token.mint(address(rewardPool), 1000 ether);
        token.mint(address(registry), 1000 ether);
        assertEq(rewardPool.signerReward(0, 1, 0), before);
        assertEq(registry.assetsOf(id), STAKE_WEI);

        rewardPool.creditEpoch();
        assertEq(registry.assetsOf(id), STAKE_WEI + before);
    }

    /// Rewards raise the price of a share as far as an attacker would want it, and the next deposit still gets its worth.
    function test_attack071_depositAfterAPriceRise() external {
        _closeEpoch();
        rewardPool.creditEpoch();
        uint32 id = _idAt(0);
        address victim = makeAddr("victim");
        _give(victim, 7 ether);
        vm.prank(victim);
        uint256 shares = registry.delegate(id, 7 ether);

        Sequencer memory known = registry.sequencer(id);
        assertApproxEqAbs(shares * (known.assetsWei + 1) / (known.shares + 1000), 7 ether, 1);
    }

    /// Nobody posts a root of rewards: they follow from what settled, and nothing else is taken for it.
    function test_attack072_rewardsThatOneOperatorMakesUp() external {
        _fund(0, 100 ether);
        _settle(_nextHeader(8));
        Settled[] memory batches = new Settled[](1);
        batches[0] = _settledBatches[0];
        batches[0].signers = _first(4);

        bytes32 actual = this.ringValueOf(batches[0]);
        vm.expectRevert(abi.encodeWithSelector(ITally.RingValueMismatch.selector, 1, settlement.ringValue(1), actual));
        tally.tally(1, batches);
    }

    function test_attack073_creditedTwice() external {
        _closeEpoch();
        rewardPool.creditEpoch();
        uint256 assets = registry.assetsOf(_idAt(0));
        vm.expectRevert(IRewardPool.NothingToCredit.selector);
        rewardPool.creditEpoch();
        assertEq(registry.assetsOf(_idAt(0)), assets);
    }

    /// Payouts are pulled: a receiver that takes nothing keeps only itself waiting.
    function test_attack074_oneReceiverThatTakesNoEth() external {
        Stubborn stubborn = new Stubborn();
        address poster = makeAddr("poster");
        _fund(2 ether, 0);
        vm.startPrank(at.tally);
        rewardPool.creditPoster(address(stubborn), 1, 1 ether);
        rewardPool.creditPoster(poster, 2, 1 ether);
        vm.stopPrank();

        vm.expectRevert(Errors.FailedCall.selector);
        stubborn.claim(rewardPool);
        vm.prank(poster);
        assertEq(rewardPool.claimPoster(), 1 ether);
        assertEq(rewardPool.posterBalance(address(stubborn)), 1 ether);
    }

    /// A raise that is announced when a payout comes does not touch it.
    function test_attack075_commissionRaisedJustBeforeAPayout() external {
        _closeEpoch();
        uint32 id = _idAt(0);
        vm.prank(registry.ownerOf(id));
        rewardPool.setCommission(id, uint16(p.commissionRaiseBps));
        _advance(p.commissionDelaySeconds - 1);

        rewardPool.creditEpoch();
        assertEq(rewardPool.commissionBalance(id), 0);
        assertEq(registry.assetsOf(id), STAKE_WEI + _rewardWei(0) / 4);
    }

    /// A deposit between the close of an epoch and its credit would share in what it did not carry.
    function test_attack075_depositJustBeforeAPayout() external {
        _closeEpoch();
        uint32 id = _idAt(0);
        address late = makeAddr("late");
        _give(late, 1000 ether);
        vm.prank(late);
        assertEq(registry.delegate(id, 1000 ether), 0);
        assertFalse(_flush());

        rewardPool.creditEpoch();
        for (uint256 i = 0; registry.waitingSharesOf(id, late) != 0; ++i) {
            assertLt(i, 20);
            _flush();
            _startEpoch(_epoch() + 1);
        }
        Sequencer memory known = registry.sequencer(id);
        // What it put in, and nothing of the reward.
        assertLe(registry.sharesOf(id, late) * known.assetsWei / known.shares, 1000 ether);
    }

    /// Ten wei for three signers: nine are paid, one goes back.
    function test_attack076_dust() external {
        _fund(0, 10);
        _settle(_nextHeader(8));
        _tallyAll();
        _startEpoch(1 + p.maxEpochLag + 1);

        assertEq(rewardPool.creditEpoch(), 9);
        (, uint256 freeWei) = rewardPool.freeWei();
        assertEq(freeWei, 1);
        assertEq(token.balanceOf(address(rewardPool)), 1);
    }

    /* TOKENS THAT CALL BACK */

    function test_attack074_reentryWhileAnEpochIsCredited() external {
        CallbackToken hostile = _beginWithHostileToken();
        _closeEpoch();
        uint256 held = token.balanceOf(address(registry));

        hostile.arm(address(rewardPool), abi.encodeCall(IRewardPool.creditEpoch, ()));
        uint256 creditedWei = rewardPool.creditEpoch();
        _expectRefused(hostile);
        assertEq(token.balanceOf(address(registry)) - held, creditedWei);
    }

    function test_attack074_reentryWhileACommissionIsPaid() external {
        CallbackToken hostile = _beginWithHostileToken();
        uint32 id = _idAt(0);
        vm.prank(registry.ownerOf(id));
        rewardPool.setCommission(id, 500);
        _advance(p.commissionDelaySeconds);
        _closeEpoch();
        rewardPool.creditEpoch();

        hostile.arm(address(rewardPool), abi.encodeCall(IRewardPool.claimCommission, (id)));
        uint256 paidWei = rewardPool.claimCommission(id);
        _expectRefused(hostile);
        assertEq(token.balanceOf(registry.ownerOf(id)), paidWei);
    }

    /// The registry takes no reward while it moves stake.
    function test_attack074_creditWhileStakeMoves() external {
        CallbackToken hostile = _beginWithHostileToken();
        _fund(0, 100 ether);
        _settle(_nextHeader(8));
        _tallyAll();
        uint32 id = _idAt(0);
        address owner = registry.ownerOf(id);
        _give(owner, 10 ether);
        _startEpoch(1 + p.maxEpochLag);

        // Closed and due by the time the tokens move, had the deposit been asked for a second later.
        hostile.arm(address(rewardPool), abi.encodeCall(IRewardPool.creditEpoch, ()));
        vm.prank(owner);
        registry.topUp(id, 10 ether);
        assertEq(hostile.attempts(), 1);
        assertEq(bytes4(hostile.answer()), IRewardPool.EpochNotClosed.selector);
    }

    /* PARTS */

    function _expectRefused(CallbackToken hostile) private view {
        assertEq(hostile.attempts(), 1);
        assertEq(bytes4(hostile.answer()), REENTERED);
    }

    function _beginWithHostileToken() private returns (CallbackToken hostile) {
        hostile = new CallbackToken();
        Config memory config = ConfigLib.read("devnet");
        config.stakeToken = address(hostile);
        delete _settledBatches;
        _deploy(config);
        _joinMany(4);
        _sealFirst();
        _sealThrough(_epoch() + 1);
    }

    /// @dev One batch, signed by members 0 to 2, in an epoch that is closed then.
    function _closeEpoch() private {
        _fund(0, 100 ether);
        uint64 epoch = _epoch();
        _settle(_nextHeader(8));
        _tallyAll();
        _startEpoch(epoch + p.maxEpochLag + 1);
    }

    function _fund(uint256 ethWei, uint256 tokenWei) private {
        vm.deal(address(this), ethWei);
        token.mint(address(this), tokenWei);
        token.approve(address(rewardPool), tokenWei);
        rewardPool.fund{value: ethWei}(tokenWei);
    }
}
