// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../../../contracts/interfaces/IBatchInbox.sol";
import {LateEntries} from "../../../contracts/interfaces/IForcedInbox.sol";
import {IRewardPool} from "../../../contracts/interfaces/IRewardPool.sol";
import {IRollups} from "../../../contracts/interfaces/IRollups.sol";
import {Exit, ISequencerRegistry} from "../../../contracts/interfaces/ISequencerRegistry.sol";
import {Case, CaseStatus, ISlasher} from "../../../contracts/interfaces/ISlasher.sol";
import {ITally, Settled} from "../../../contracts/interfaces/ITally.sol";
import {KeyLib} from "../../../contracts/lib/KeyLib.sol";
import {BatchHeader, Signature, Vote} from "../../../contracts/types/Wire.sol";
import {Watchers} from "./Watchers.sol";

/// @title What thieves try, and what griefers give away
/// @notice Everything that a thief tries here must be refused, with the error and the arguments that name why.
abstract contract Thieves is Watchers {
    /// Takes an exit that is another's, or that its own holder had already, or more than one has.
    function stealStake(uint256 which, uint256 how) external {
        if (how % 3 == 2) {
            uint32 id = _pickId(which);
            uint256 holding = registry.sharesOf(id, _delegators[0]);
            bytes memory call = abi.encodeCall(registry.requestExit, (id, holding + 1));
            return _refused(
                _delegators[0],
                at.registry,
                call,
                abi.encodeWithSelector(ISequencerRegistry.SharesAboveHolding.selector, holding, holding + 1)
            );
        }
        uint256 exitId = _pickExit(which);
        if (exitId == 0) return;
        Exit memory exit = registry.exit(exitId);
        bytes memory claim_ = abi.encodeCall(registry.claim, (exitId));
        if (exit.claimed) {
            _refused(
                exit.holder,
                at.registry,
                claim_,
                abi.encodeWithSelector(ISequencerRegistry.ExitAlreadyClaimed.selector, exitId)
            );
        }
        _refused(
            _thief,
            at.registry,
            claim_,
            abi.encodeWithSelector(ISequencerRegistry.NotHolder.selector, exit.holder, _thief)
        );
    }

    /// @dev Exits are numbered from 1 on; of all that ever were.
    function _pickExit(uint256 which) private view returns (uint256) {
        uint256 n = times["requested exits"];
        return n == 0 ? 0 : bound(which, 1, n);
    }

    /// Calls what only the contracts of the system may call.
    function stealByTheBackDoor(uint256 who, uint256 amountWei) external {
        uint32 id = _pickId(who);
        bytes memory error_ = abi.encodeWithSelector(ISequencerRegistry.NotSlasher.selector, at.slasher, _thief);
        _refused(_thief, at.registry, abi.encodeCall(registry.slash, (id, amountWei, true)), error_);
        _refused(_thief, at.registry, abi.encodeCall(registry.jail, (id, 0, 1)), error_);
        error_ = abi.encodeWithSelector(ISequencerRegistry.NotRewardPool.selector, at.rewardPool, _thief);
        _refused(_thief, at.registry, abi.encodeCall(registry.creditReward, (id, amountWei)), error_);
        error_ = abi.encodeWithSelector(IRewardPool.NotTally.selector, at.tally, _thief);
        _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.creditPoster, (_thief, 1, amountWei)), error_);
        _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.creditSender, (_thief, 0, amountWei)), error_);
        _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.reserveForSenders, (1, amountWei)), error_);
        error_ = abi.encodeWithSelector(IRewardPool.NotDuty.selector, _thief);
        _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.creditDuty, (_thief, amountWei, 0, 0, 16)), error_);
    }

    /// Names an address as its poster that is another's, even with the other's consent, or that has not been asked.
    function stealPosters(uint256 who, uint256 whose) external {
        (uint32 id, address owner) = _pickOwner(who);
        uint32 other = _pickId(whose);
        address signer = registry.sequencer(other).signer;
        bytes memory proof = _posterProof(id, _keyOf(signer));
        if (other != id) {
            bytes memory taken = abi.encodeWithSelector(ISequencerRegistry.PosterTaken.selector, signer, other);
            _refused(owner, at.registry, abi.encodeCall(registry.setPoster, (id, signer, proof)), taken);
        }
        bytes memory unproven = abi.encodeWithSelector(ISequencerRegistry.ProofNotBySigner.selector, _thief, address(0));
        _refused(owner, at.registry, abi.encodeCall(registry.setPoster, (id, _thief, "")), unproven);
    }

    /// Claims what is in no thief's name, and changes what is another's.
    function stealNames(uint256 who) external {
        (uint32 id, address owner) = _pickOwner(who);
        bytes memory error_ = abi.encodeWithSelector(IRewardPool.NothingToClaim.selector);
        _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.claimPoster, ()), error_);
        if (rewardPool.commissionBalance(id) == 0) {
            _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.claimCommission, (id)), error_);
        }
        error_ = abi.encodeWithSelector(IRewardPool.NotOwner.selector, owner, _thief);
        _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.setCommission, (id, 0)), error_);
        error_ = abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, owner, _thief);
        _refused(_thief, at.registry, abi.encodeCall(registry.topUp, (id, 1 ether)), error_);
        _refused(_thief, at.registry, abi.encodeCall(registry.setPoster, (id, _thief, "")), error_);
        _refused(_thief, at.registry, abi.encodeCall(registry.proposeOwner, (id, _thief)), error_);
        _refused(_thief, at.registry, abi.encodeCall(registry.setOperator, (id, _thief)), error_);
        _stealRights(id);
        error_ = abi.encodeWithSelector(IRollups.AlreadyRegistered.selector, ROLLUP, address(this));
        _refused(_thief, at.rollups, abi.encodeCall(rollups.register, (ROLLUP)), error_);
        error_ = abi.encodeWithSelector(ISlasher.NoBounty.selector, _thief);
        _refused(_thief, at.slasher, abi.encodeCall(slasher.claimBounty, (_thief)), error_);
    }

    function _stealRights(uint32 id) private {
        address payee = registry.payeeOf(id);
        bytes memory error_ = abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, address(0), _thief);
        _refused(_thief, at.registry, abi.encodeCall(registry.acceptOwner, (id, address(0))), error_);
        error_ = abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, payee, _thief);
        _refused(_thief, at.registry, abi.encodeCall(registry.setWithdrawal, (id, _thief)), error_);
        error_ = abi.encodeWithSelector(IRewardPool.NotOwner.selector, payee, _thief);
        _refused(_thief, at.rewardPool, abi.encodeCall(rewardPool.claimCommissionTo, (id, _thief)), error_);
        error_ = abi.encodeWithSelector(IRollups.NotOwner.selector, address(this), _thief);
        _refused(_thief, at.rollups, abi.encodeCall(rollups.proposeOwner, (ROLLUP, _thief)), error_);
        _refused(_thief, at.rollups, abi.encodeCall(rollups.setClosed, (ROLLUP, true)), error_);
        error_ = abi.encodeWithSelector(IRollups.NotOwner.selector, address(0), _thief);
        _refused(_thief, at.rollups, abi.encodeCall(rollups.acceptOwner, (ROLLUP)), error_);
    }

    /// Reports a case again, claims it without having committed, or reports whoever signed one block twice.
    function stealBounty(uint256 which) external {
        if (_cases.length == 0) return;
        bytes32 caseId = _cases[which % _cases.length];
        Case memory case_ = slasher.caseOf(caseId);
        bytes memory call = _reports[caseId];
        if (call.length != 0) {
            _refused(_thief, at.slasher, call, abi.encodeWithSelector(ISlasher.AlreadyReported.selector, caseId));
        }

        bytes24 hash = bytes24(keccak256(abi.encode(keccak256(call), _thief, bytes32(0))));
        bytes memory error_ = abi.encodeWithSelector(ISlasher.CommitmentDiffers.selector, hash, bytes24(0));
        _refused(_thief, at.slasher, abi.encodeCall(slasher.claimCase, (call, bytes32(0))), error_);

        address signer = registry.sequencer(case_.sequencer).signer;
        Vote memory vote = _vote(BLOCK_A);
        call = _callOfVotes(KeyLib.ofSequencer(case_.sequencer), _keyOf(signer), vote, vote);
        _refused(_thief, at.slasher, call, abi.encodeWithSelector(ISlasher.SameBlock.selector, BLOCK_A));
    }

    /// Settles with too few signatures, or under another generation.
    function stealSettlement(uint256 signers, uint256 other) external {
        if (!_canSettle()) return;
        BatchHeader memory header = _nextHeader(4);
        _followQueue(header, false);
        (uint256 total, uint256 signed, uint128 few) = _tooFew(header.epoch, signers);
        bytes memory error_ = abi.encodeWithSelector(IBatchInbox.QuorumNotReached.selector, total, signed);
        _refusedBatch(header, few, error_);

        uint32 generation = settlement.generation();
        header.generation = uint32(bound(other, generation + 1, generation + 5));
        error_ = abi.encodeWithSelector(IBatchInbox.GenerationMismatch.selector, generation, header.generation);
        Signature[] memory none = new Signature[](0);
        bytes memory call = abi.encodeCall(settlement.settle, (header, 0, none, PAYLOAD));
        _refusedTo(_thief, call, error_);
        if (generation == 0) return;
        // What the members of an older one would have signed.
        header.generation = uint32(bound(other, 0, generation - 1));
        error_ = abi.encodeWithSelector(IBatchInbox.GenerationMismatch.selector, generation, header.generation);
        uint256 n = settlement.leaderSetOf(header.generation, header.epoch).members.length;
        _refusedBatch(header, _first(n), error_);
    }

    /// @dev Any of the members, without whoever would make them more than two thirds.
    function _tooFew(uint64 epoch, uint256 signers) private view returns (uint256 total, uint256 signed, uint128 few) {
        uint32 generation = settlement.generation();
        total = settlement.totalAt(generation, epoch);
        uint256 n = settlement.leaderSet(epoch).members.length;
        for (uint256 i = 0; i < n; ++i) {
            uint256 weight = settlement.memberAt(generation, epoch, i).weight;
            if ((signers >> i) & 1 == 0 || 3 * (signed + weight) > 2 * total) continue;
            signed += weight;
            few |= uint128(1) << uint128(i);
        }
    }

    function _refusedBatch(BatchHeader memory header, uint128 signers, bytes memory error_) private {
        Signature[] memory signatures = _attest(header, signers);
        bytes memory call = abi.encodeCall(settlement.settle, (header, signers, signatures, PAYLOAD));
        _refusedTo(header.generation == settlement.generation() ? _leader(header) : _thief, call, error_);
    }

    /// @dev Settling wants the caller to be the origin of the transaction.
    function _refusedTo(address poster, bytes memory call, bytes memory error_) private {
        vm.prank(poster, poster);
        (bool done, bytes memory answer) = at.settlement.call(call);
        assertFalse(done, "a thief settled");
        assertEq(answer, error_, "refused for another reason");
        _did("refused thefts");
    }

    /// Books again, debits again, and has a sender's compensation go to a thief, or twice to the sender.
    function stealBookings(uint256 which) external {
        if (settled == 0) return;
        uint64 number = uint64(bound(which, 1, settled));
        uint64 next = tally.nextTally();
        if (number < next) {
            Settled[] memory batches = new Settled[](1);
            batches[0] = _settledBatches[number - 1];
            bytes memory error_ = abi.encodeWithSelector(ITally.TallyNotNext.selector, next, number);
            _refused(_thief, at.tally, abi.encodeCall(tally.tally, (number, batches)), error_);
        }
        if (_debited[number]) {
            bytes memory call =
                abi.encodeCall(rollups.debit, (number, _settledBatches[number - 1], _usageOf(_bytesIn[number])));
            bytes memory error_ = abi.encodeWithSelector(IRollups.AlreadyDebited.selector, number);
            _refused(_thief, at.rollups, call, error_);
        }
        if (_lateBatches.length != 0) _stealCompensation(_lateBatches[which % _lateBatches.length], which);
    }

    function _stealCompensation(uint64 batch, uint256 which) private {
        LateEntries memory late = settlement.lateEntries(batch);
        uint64 index = uint64(bound(which, late.first, late.through - 1));
        Sent memory sent = _sent[index];
        if (_compensated[index]) {
            _refused(
                _thief,
                at.tally,
                abi.encodeCall(tally.compensate, (batch, index, sent.rollup, sent.sender, sent.transactionHash)),
                abi.encodeWithSelector(ITally.AlreadyCompensated.selector, index)
            );
            return;
        }
        bytes32 before = index == 0 ? bytes32(0) : settlement.forcedEntry(index - 1).chainHash;
        _refused(
            _thief,
            at.tally,
            abi.encodeCall(tally.compensate, (batch, index, sent.rollup, _thief, sent.transactionHash)),
            abi.encodeWithSelector(
                ITally.ChainHashMismatch.selector,
                index,
                settlement.forcedEntry(index).chainHash,
                keccak256(abi.encode(before, index, sent.rollup, _thief, sent.transactionHash))
            )
        );
    }

    function _refused(address caller, address target, bytes memory call, bytes memory error_) private {
        vm.prank(caller);
        (bool done, bytes memory answer) = target.call(call);
        assertFalse(done, "a theft succeeded");
        assertEq(answer, error_, "refused for another reason");
        _did("refused thefts");
    }

    /// Sends tokens where nobody asked for any. They are nobody's from then on.
    function giveTokens(uint256 where, uint256 amountWei) external {
        address to = _contractAt(where);
        amountWei = bound(amountWei, 1, 100 ether);
        token.mint(to, amountWei);
        donatedTokensWei[to] += amountWei;
    }

    /// Forces ETH upon a contract, as a contract that destroys itself does.
    function giveEth(uint256 where, uint256 amountWei) external {
        address to = _contractAt(where);
        amountWei = bound(amountWei, 1, 1 ether);
        vm.deal(to, to.balance + amountWei);
        donatedEthWei[to] += amountWei;
    }

    function _contractAt(uint256 where) private view returns (address) {
        address[6] memory all = [at.registry, at.settlement, at.tally, at.slasher, at.rewardPool, at.rollups];
        return all[where % 6];
    }
}
