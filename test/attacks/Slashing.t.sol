// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ISlasher, KeyReference} from "../../contracts/interfaces/ISlasher.sol";
import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// @title Attacks on slashing and rewards (gallery, chapters 5 and 6)
contract SlashingAttacks is Offences {
    function setUp() external {
        _begin(4);
    }

    function test_attack049_oneFaultInTwoOrders() external {
        bytes32 caseId = _reportVotes(OFFENDER, _vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_A));
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_B));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
        slasher.reportDoubleVote(
            _key(OFFENDER), VoteType.Precommit, _vote(BLOCK_B), signatureB, _vote(BLOCK_A), signatureA
        );
    }

    /// A key of two sets is one offender.
    function test_attack049_oneFaultUnderTwoSets() external {
        _sealThrough(2);
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_A));
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_B));
        KeyReference key = _keyIn(2);
        vm.expectRevert(abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
        slasher.reportDoubleVote(key, VoteType.Precommit, _vote(BLOCK_A), signatureA, _vote(BLOCK_B), signatureB);
    }

    /// Several offenders at once cost each at most all it has.
    function test_attack051_slashOfMoreThanTheBalance() external {
        bytes32 a = _reportVotes(0, HEIGHT);
        bytes32 b = _reportVotes(1, HEIGHT);
        _warpTo(slasher.executableAt(a));
        slasher.execute(a);
        slasher.execute(b);
        assertEq(registry.assetsOf(_idAt(0)), 0);
        assertEq(registry.assetsOf(_idAt(1)), 0);
        assertEq(token.balanceOf(address(registry)), 2 * STAKE_WEI);
    }

    /// A fault under an old key is the sequencer's that held it.
    function test_attack054_faultUnderAKeyHeldBeforeRotation() external {
        uint32 id = _idAt(OFFENDER);
        address owner = registry.ownerOf(id);
        (address signer, uint256 secret) = makeAddrAndKey("new key");
        bytes memory proof = _proof(owner, secret);
        vm.prank(owner);
        registry.rotateSigner(id, signer, proof);
        _sealThrough(3);

        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        assertEq(slasher.caseOf(caseId).sequencer, id);
    }

    /// Reporting oneself brings a tenth back at most.
    function test_attack056_offenderReportsItself() external {
        uint32 id = _idAt(OFFENDER);
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        uint256 before = registry.assetsOf(id);
        slasher.execute(caseId);
        uint256 lostWei = before - registry.assetsOf(id);
        assertLe(slasher.bountyOf(address(this)) * 2, lostWei);
    }

    /// A message that only names its author convicts nobody.
    function test_attack063_messageThatTheAccusedDidNotSign() external {
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, _vote(BLOCK_A));
        Signature memory forged = _signVote(_secret(0), VoteType.Precommit, _vote(BLOCK_B));
        address accused = settlement.memberAt(0, 1, OFFENDER).signer;
        address author = settlement.memberAt(0, 1, 0).signer;
        vm.expectRevert(abi.encodeWithSelector(ISlasher.NotSignedBy.selector, accused, author));
        slasher.reportDoubleVote(_key(OFFENDER), VoteType.Precommit, _vote(BLOCK_A), signatureA, _vote(BLOCK_B), forged);
    }

    function test_attack069_rewardsForASeatThatDidNothing() external {
        _closeEpoch();
        assertEq(rewardPool.signerReward(0, 1, 3), 0);
        vm.expectRevert(IRewardPool.NothingToClaim.selector);
        rewardPool.claimSigner(0, 1, 3);
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

        rewardPool.claimSigner(0, 1, 0);
        assertEq(token.balanceOf(owner), p.signersRewardWei / 4);
    }

    function test_attack071_donationToThePool() external {
        _closeEpoch();
        uint256 before = rewardPool.signerReward(0, 1, 0);
        token.mint(address(rewardPool), 1000 ether);
        assertEq(rewardPool.signerReward(0, 1, 0), before);
    }

    function test_attack073_claimedTwice() external {
        _closeEpoch();
        rewardPool.claimSigner(0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.AlreadyClaimed.selector, 0, 1, 0));
        rewardPool.claimSigner(0, 1, 0);
    }

    /// The place of the offender's key in another set.
    function _keyIn(uint64 epoch) private view returns (KeyReference) {
        address signer = settlement.memberAt(0, 1, OFFENDER).signer;
        uint8 index;
        while (settlement.memberAt(0, epoch, index).signer != signer) ++index;
        return KeyLib.inSet(0, epoch, index);
    }

    /// @dev One batch, signed by members 0 to 2, in an epoch that is closed.
    function _closeEpoch() private {
        token.mint(address(this), 100 ether);
        token.approve(address(rewardPool), 100 ether);
        rewardPool.fund(100 ether);
        _settle(_nextHeader(8));
        _tallyAll();
        _startEpoch(1 + p.maxEpochLag + 1);
    }
}
