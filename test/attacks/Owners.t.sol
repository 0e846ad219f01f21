// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRestart} from "../../contracts/interfaces/IRestart.sol";
import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {IRollups} from "../../contracts/interfaces/IRollups.sol";
import {ISequencerRegistry} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {ISlasher} from "../../contracts/interfaces/ISlasher.sol";
import {Offences} from "../utils/Offences.sol";
import {Staking} from "../utils/Staking.sol";
import {Actor} from "../utils/System.sol";

/// Earns, and receives no ETH.
contract Deaf {
    function claim(IRewardPool pool) external {
        pool.claimPoster();
    }

    function claimTo(IRewardPool pool, address payable to) external {
        pool.claimPosterTo(to);
    }
}

/// @title Attacks on owners, and on what they are owed (gallery, chapter 10)
contract OwnerAttacks is Offences, Staking {
    address private _owner;
    address private _next = makeAddr("next");
    address private _stranger = makeAddr("stranger");

    function setUp() external {
        _begin(4);
        _owner = registry.ownerOf(1);
        vm.deal(address(this), 10 ether);
        rewardPool.fund{value: 2 ether}(0);
    }

    /// 129: who earns and cannot be paid has it paid to somebody who can.
    function test_attack129_whoCannotReceiveHasItPaidElsewhere() external {
        Deaf deaf = new Deaf();
        vm.prank(at.tally);
        rewardPool.creditPoster(address(deaf), 1, 1 ether);

        vm.expectRevert();
        deaf.claim(rewardPool);
        assertEq(rewardPool.posterBalance(address(deaf)), 1 ether);

        deaf.claimTo(rewardPool, payable(_next));
        assertEq(_next.balance, 1 ether);
        assertEq(rewardPool.posterBalance(address(deaf)), 0);
    }

    /// 129: each claim goes to whom its owner names, to nobody else's and not to nobody.
    function test_attack129_everyBalanceGoesWhereItsOwnerSays() external {
        vm.expectRevert(IRewardPool.RecipientIsZero.selector);
        rewardPool.claimPosterTo(payable(address(0)));
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NotOwner.selector, _owner, _stranger));
        vm.prank(_stranger);
        rewardPool.claimCommissionTo(1, _stranger);
        vm.expectRevert(IRewardPool.RecipientIsZero.selector);
        vm.prank(_owner);
        rewardPool.claimCommissionTo(1, address(0));

        uint256 shares = registry.sharesOf(1, _owner);
        vm.prank(_owner);
        uint256 exitId = registry.requestExit(1, shares);
        _sealThrough(4);
        _advance(p.exitDelaySeconds);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotHolder.selector, _owner, _stranger));
        vm.prank(_stranger);
        registry.claimTo(exitId, _stranger);
        vm.prank(_owner);
        uint256 paidWei = registry.claimTo(exitId, _next);
        assertEq(token.balanceOf(_next), paidWei);
        assertApproxEqAbs(paidWei, STAKE_WEI, 1);

        vm.expectRevert(ISlasher.RecipientIsZero.selector);
        slasher.claimBounty(address(0));
    }

    /// 141: a sequencer changes hands in two steps, with all that its owner holds and may.
    function test_attack141_aSequencerChangesHandsInTwoSteps() external {
        uint256 shares = registry.sharesOf(1, _owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, _owner, _stranger));
        vm.prank(_stranger);
        registry.proposeOwner(1, _stranger);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.OwnerProposed(1, _next);
        vm.prank(_owner);
        registry.proposeOwner(1, _next);
        assertEq(registry.ownerOf(1), _owner);
        assertEq(registry.rightsOf(1).nextOwner, _next);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, _next, _stranger));
        vm.prank(_stranger);
        registry.acceptOwner(1, address(0));

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.OwnerChanged(1, _owner, _next);
        vm.prank(_next);
        registry.acceptOwner(1, address(0));
        assertEq(registry.ownerOf(1), _next);
        assertEq(registry.rightsOf(1).nextOwner, address(0));
        assertEq(registry.sharesOf(1, _next), shares);
        assertEq(registry.sharesOf(1, _owner), 0);

        // The one before owns nothing of it any more, the new one all.
        vm.startPrank(_owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, _next, _owner));
        registry.setEndpoint(1, ENDPOINT);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SharesAboveHolding.selector, 0, 1));
        registry.requestExit(1, 1);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, address(0), _owner));
        registry.acceptOwner(1, address(0));
        vm.stopPrank();
        vm.startPrank(_next);
        registry.setEndpoint(1, ENDPOINT);
        rewardPool.setCommission(1, 100);
        registry.requestExit(1, shares);
        vm.stopPrank();
    }

    /// 141: an offer that was taken back or replaced is none, and what was delegated before counts as the owner's.
    function test_attack141_offersAreReplacedAndStakesAdded() external {
        _give(_next, 10 ether);
        vm.prank(_next);
        uint256 delegated = registry.delegate(1, 10 ether);
        uint256 shares = registry.sharesOf(1, _owner);

        vm.startPrank(_owner);
        registry.proposeOwner(1, _stranger);
        registry.proposeOwner(1, address(0));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, address(0), _stranger));
        vm.prank(_stranger);
        registry.acceptOwner(1, address(0));

        vm.prank(_owner);
        registry.proposeOwner(1, _next);
        vm.prank(_next);
        registry.acceptOwner(1, address(0));
        assertEq(registry.sharesOf(1, _next), shares + delegated);

        // To itself: nothing is doubled or lost.
        vm.startPrank(_next);
        registry.proposeOwner(1, _next);
        registry.acceptOwner(1, address(0));
        vm.stopPrank();
        assertEq(registry.sharesOf(1, _next), shares + delegated);
    }

    /// 141: the hot key owns nothing, by this way neither.
    function test_attack141_theHotKeyCannotBecomeTheOwner() external {
        address signer = registry.sequencer(1).signer;
        vm.prank(_owner);
        registry.proposeOwner(1, signer);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerNotAllowed.selector, signer));
        vm.prank(signer);
        registry.acceptOwner(1, address(0));
    }

    /// 141: nor can a key that was hot until just now, and still stands in sets, nor one that posted, whosever it was.
    function test_attack141_aKeyThatWasEverHotOwnsNothing() external {
        address signer = registry.sequencer(1).signer;
        Actor memory key = _actor(30);
        bytes memory proof = _proof(_owner, key.key);
        vm.prank(_owner);
        registry.rotateSigner(1, key.signer, proof);
        address poster = _namePoster(1, "poster");
        _dropPoster(1);
        address[3] memory hot = [signer, poster, registry.sequencer(2).signer];
        for (uint256 i = 0; i < hot.length; ++i) {
            vm.prank(_owner);
            registry.proposeOwner(1, hot[i]);
            vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerNotAllowed.selector, hot[i]));
            vm.prank(hot[i]);
            registry.acceptOwner(1, address(0));
        }
        assertEq(registry.ownerOf(1), _owner);
    }

    /// 141: an exit that is on its way stays whose it is, and so does what it is slashed for.
    function test_attack141_exitsDoNotChangeHands() external {
        uint256 shares = registry.sharesOf(1, _owner);
        vm.prank(_owner);
        uint256 exitId = registry.requestExit(1, shares);
        vm.prank(_owner);
        registry.proposeOwner(1, _next);
        vm.prank(_next);
        registry.acceptOwner(1, address(0));
        assertEq(registry.exit(exitId).holder, _owner);
        assertEq(registry.sharesOf(1, _next), 0);
    }

    /// 141: what waits to work changes hands too, and goes to work as the new owner's.
    function test_attack141_whatWaitsChangesHandsAndGoesToWork() external {
        _delegate(makeAddr("whale"), 2, 10_000 ether);
        _give(_owner, 50 ether);
        vm.prank(_owner);
        registry.topUp(1, 50 ether);
        uint256 waiting = registry.waitingSharesOf(1, _owner);
        assertGt(waiting, 0);
        uint256 shares = registry.sharesOf(1, _owner);
        _handOver();
        assertEq(registry.waitingSharesOf(1, _owner), 0);
        assertEq(registry.waitingSharesOf(1, _next), waiting);

        for (uint64 epoch = _epoch() + 1; registry.waitingSharesOf(1, _next) != 0; ++epoch) {
            _sealThrough(epoch);
            registry.flush(16);
        }
        assertApproxEqAbs(registry.sharesOf(1, _next), shares + 50 ether * 1000, 1000);
        assertEq(registry.sharesOf(1, _owner), 0);
    }

    /// 141: who has delegated what still waits lets it in first: as the owner's it would have no place in the queue.
    function test_attack141_whatTheNextOwnerHasWaitingIsNotLost() external {
        _delegate(makeAddr("whale"), 2, 10_000 ether);
        _delegate(_next, 1, 10 ether);
        uint256 waiting = registry.waitingSharesOf(1, _next);
        vm.prank(_owner);
        registry.proposeOwner(1, _next);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.StakeWaits.selector, waiting));
        vm.prank(_next);
        registry.acceptOwner(1, address(0));

        vm.startPrank(_next);
        registry.leave(1, 0, waiting);
        registry.acceptOwner(1, address(0));
        vm.stopPrank();
        assertEq(registry.ownerOf(1), _next);
    }

    /// 141: an owner that has left for good takes all weight along, whoever owns the sequencer, and its exit, by then.
    function test_attack141_aSequencerThatLeavesTakesItsWeightAlongWhoeverOwnsIt() external {
        uint256 shares = registry.sharesOf(1, _owner);
        vm.prank(_owner);
        registry.setWithdrawal(1, _stranger);
        _delegate(makeAddr("dora"), 1, 100 ether);
        vm.prank(_owner);
        uint256 exitId = registry.requestExit(1, shares);
        vm.prank(_owner);
        registry.proposeOwner(1, _next);
        vm.prank(_next);
        registry.acceptOwner(1, _stranger);
        for (uint64 epoch = _epoch() + 1; registry.exit(exitId).epoch == 0; ++epoch) {
            _sealThrough(epoch);
            if (registry.churn().exits != 0) registry.flush(16);
        }
        assertEq(registry.sequencer(1).weight, 0);
        assertEq(registry.exit(exitId).holder, _stranger);
    }

    /// 141: who runs a sequencer brings it back, says where it is and who posts, and moves no stake of it.
    function test_attack141_anOperatorRunsItAndMovesNoStake() external {
        address operator = makeAddr("operator");
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, _owner, operator));
        vm.prank(operator);
        registry.setEndpoint(1, ENDPOINT);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, _owner, operator));
        vm.prank(operator);
        registry.setOperator(1, operator);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.OperatorChanged(1, operator);
        vm.prank(_owner);
        registry.setOperator(1, operator);
        (address poster, uint256 key) = makeAddrAndKey("its poster");
        bytes memory proof = _posterProof(1, key);
        _jailAbsent(1, uint64(block.timestamp));
        vm.startPrank(operator);
        registry.unjail(1);
        registry.setEndpoint(1, ENDPOINT);
        registry.setPoster(1, poster, proof);
        assertEq(registry.posterOf(registry.sequencer(1).signer), poster);

        bytes memory refused = abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, _owner, operator);
        vm.expectRevert(refused);
        registry.topUp(1, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SharesAboveHolding.selector, 0, 1));
        registry.requestExit(1, 1);
        vm.expectRevert(refused);
        registry.proposeOwner(1, operator);
        vm.expectRevert(refused);
        registry.setOperator(1, _stranger);
        vm.expectRevert(refused);
        registry.setWithdrawal(1, operator);
        vm.expectRevert(refused);
        registry.rotateSigner(1, operator, "");
        vm.stopPrank();

        // The owner may all that as before, and takes the rights back.
        vm.startPrank(_owner);
        registry.setEndpoint(1, ENDPOINT);
        registry.setOperator(1, address(0));
        vm.stopPrank();
        vm.expectRevert(refused);
        vm.prank(operator);
        registry.setEndpoint(1, ENDPOINT);
    }

    /// 141: with a withdrawal address the owner's key moves stake out to nobody else, nor does a hand-over.
    function test_attack141_aStolenOwnerKeyGetsNoStake() external {
        address cold = makeAddr("cold");
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, _owner, _stranger));
        vm.prank(_stranger);
        registry.setWithdrawal(1, _stranger);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.WithdrawalChanged(1, cold);
        vm.prank(_owner);
        registry.setWithdrawal(1, cold);
        assertEq(registry.payeeOf(1), cold);

        // A thief has the owner's key from here on.
        vm.startPrank(_owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, cold, _owner));
        registry.setWithdrawal(1, _stranger);
        registry.proposeOwner(1, _stranger);
        vm.stopPrank();
        vm.prank(_stranger);
        registry.acceptOwner(1, cold);
        vm.prank(_stranger);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, cold, _stranger));
        registry.setWithdrawal(1, _stranger);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NotOwner.selector, cold, _stranger));
        vm.prank(_stranger);
        rewardPool.claimCommissionTo(1, _stranger);
        uint256 shares = registry.sharesOf(1, _stranger);
        vm.prank(_stranger);
        uint256 exitId = registry.requestExit(1, shares);
        assertEq(registry.exit(exitId).holder, cold);
        _sealThrough(4);
        _advance(p.exitDelaySeconds);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotHolder.selector, cold, _stranger));
        vm.prank(_stranger);
        registry.claim(exitId);
        vm.prank(cold);
        uint256 paidWei = registry.claim(exitId);
        assertEq(token.balanceOf(cold), paidWei);
        assertApproxEqAbs(paidWei, STAKE_WEI, 1);

        vm.prank(cold);
        registry.setWithdrawal(1, address(0));
        assertEq(registry.payeeOf(1), _stranger);
    }

    /// 141: a delegator's exit is its own, whatever the owner has named.
    function test_attack141_aWithdrawalAddressIsTheOwnersAlone() external {
        address dora = makeAddr("dora");
        _delegate(dora, 1, 10 ether);
        vm.prank(_owner);
        registry.setWithdrawal(1, makeAddr("cold"));
        uint256 waiting = registry.waitingSharesOf(1, dora);
        uint256 shares = registry.sharesOf(1, dora);
        vm.prank(dora);
        uint256 exitId = registry.leave(1, shares, waiting);
        assertEq(registry.exit(exitId).holder, dora);
    }

    /// 141: whoever takes a sequencer over says with which withdrawal address: none is set in front of it.
    function test_attack141_noWithdrawalAddressIsSetJustBeforeTheHandOver() external {
        vm.startPrank(_owner);
        registry.proposeOwner(1, _next);
        registry.setWithdrawal(1, _owner);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.WithdrawalDiffers.selector, _owner, address(0)));
        vm.prank(_next);
        registry.acceptOwner(1, address(0));
    }

    /// 141: the code of the office does nothing at an address of its own.
    function test_attack141_theOfficeTakesNoStakeForItself() external {
        address office = vm.computeCreateAddress(at.registry, 1);
        assertGt(office.code.length, 0);
        bytes memory reason = abi.encodeWithSignature("NotAtRegistry(address,address)", at.registry, office);
        vm.expectRevert(reason);
        ISequencerRegistry(office).join(_stranger, ENDPOINT, STAKE_WEI, "");
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 1));
        vm.prank(_owner);
        ISequencerRegistry(office).proposeOwner(1, _owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownExit.selector, 1));
        ISequencerRegistry(office).claim(1);
    }

    function _handOver() private {
        vm.prank(_owner);
        registry.proposeOwner(1, _next);
        vm.prank(_next);
        registry.acceptOwner(1, address(0));
    }

    /// 141: a rollup changes hands in two steps too.
    function test_attack141_aRollupChangesHandsInTwoSteps() external {
        rollups.register{value: p.rollupFeeWei + 1 ether}(77);
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotOwner.selector, address(this), _stranger));
        vm.prank(_stranger);
        rollups.proposeOwner(77, _stranger);
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotRegistered.selector, 78));
        rollups.proposeOwner(78, _next);
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotRegistered.selector, 78));
        rollups.acceptOwner(78);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupOffered(77, _next);
        rollups.proposeOwner(77, _next);
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotOwner.selector, _next, _stranger));
        vm.prank(_stranger);
        rollups.acceptOwner(77);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupOwnerChanged(77, address(this), _next);
        vm.prank(_next);
        rollups.acceptOwner(77);
        assertEq(rollups.rollup(77).owner, _next);
        assertEq(rollups.rollup(77).balanceWei, 1 ether);
        assertEq(rollups.nextOwner(77), address(0));
    }

    /// 141: in a catastrophe the owner's key need not be there: the operator checks in.
    function test_attack141_theOperatorChecksIn() external {
        vm.prank(_owner);
        registry.setOperator(1, _next);
        _openRestart();
        vm.expectRevert(abi.encodeWithSelector(IRestart.NotOwnerOrSigner.selector, 1, _stranger));
        vm.prank(_stranger);
        settlement.checkIn(1);
        vm.prank(_next);
        settlement.checkIn(1);
        assertEq(settlement.restart().count, 1);
    }

    /// 141: a rollup's owner closes it, and has it open again; nobody else does, and no debit is lost by it.
    function test_attack141_aRollupIsClosedAndOpenedByItsOwnerAlone() external {
        rollups.register{value: p.rollupFeeWei + p.rollupReserveWei}(77);
        assertTrue(rollups.isOpen(77));
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotOwner.selector, address(this), _stranger));
        vm.prank(_stranger);
        rollups.setClosed(77, true);
        vm.expectRevert(abi.encodeWithSelector(IRollups.NothingChanges.selector, 77));
        rollups.setClosed(77, false);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupClosed(77, true, 0);
        rollups.setClosed(77, true);
        assertFalse(rollups.isOpen(77));
        assertTrue(rollups.rollup(77).closed);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupFunded(77, 1 ether, 0);
        rollups.fund{value: 1 ether}(77);
        assertFalse(rollups.isOpen(77));
        assertEq(rollups.rollup(77).balanceWei, p.rollupReserveWei + 1 ether);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupClosed(77, false, p.rollupReserveWei + 1 ether);
        rollups.setClosed(77, false);
        assertTrue(rollups.isOpen(77));
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotRegistered.selector, 78));
        rollups.setClosed(78, true);
    }
}
