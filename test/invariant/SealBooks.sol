// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Vm} from "forge-std/Vm.sol";

import {IRestart} from "../../contracts/interfaces/IRestart.sol";
import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {IRota, LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {SetLib} from "../../contracts/lib/SetLib.sol";
import {SortLib} from "../../contracts/lib/SortLib.sol";
import {Chain} from "../utils/Chain.sol";

/// @title Who was there at a pin, who is in the set that was sealed, and who was paid for it
/// @notice The list of a pin is what the registry says in the moment of the call, not what the settlement contract kept of it.
abstract contract SealBooks is Chain {
    /// Sets that were sealed.
    uint256 public seals;
    /// Of these, sets whose members are not those of their pin, or of their restart's closed check-in.
    uint256 public otherSets;
    /// Calls that were refunded.
    uint256 public paid;
    /// Refunds of what was refunded before, or of what did nothing.
    uint256 public paidForNothing;

    uint32 public generation;

    /// What {ISequencerRegistry.membersAtEpochStart} is asked with.
    uint64 private _aliveSince;
    mapping(uint32 generation => mapping(uint64 epoch => bytes32 list)) private _pinned;
    bytes32 private _closed;
    /// The restart that it is of.
    uint64 private _closedOf;
    mapping(bytes32 duty => bool) private _done;
    uint256 private _depth;

    /// @dev Before an action; actions may call each other. Forge forgets prices and recordings between calls.
    function _openBooks() internal {
        if (_depth++ != 0) return;
        vm.fee(1 gwei);
        vm.txGasPrice(1 gwei);
        vm.recordLogs();
    }

    /// @dev After it.
    function _closeBooks() internal {
        if (--_depth == 0) _bookDuties();
    }

    /* SEALS */

    /// @dev Pins what is to be sealed for `epoch`, unless that is done; says whether it is.
    function _tryPin(uint64 epoch) internal returns (bool done) {
        if (settlement.pinned() != 0) {
            // Asked all the same: a second one, with another block, would be refunded too.
            (done,) = address(settlement).call(abi.encodeCall(settlement.pin, (epoch)));
            if (done) ++paidForNothing;
            return true;
        }
        bool first = settlement.pinnedSet() == address(0);
        bytes32 list = _hashOf(registry.membersAtEpochStart(_aliveSince));
        (done,) = address(settlement).call(abi.encodeCall(settlement.pin, (epoch)));
        if (done && first) _pinned[generation][_epoch()] = list;
    }

    /// @dev Both calls; what else happens may happen between them.
    function _trySeal(uint64 epoch) internal returns (bool done) {
        if (!_tryPin(epoch)) return false;
        bytes32 list = _pinned[generation][_epoch()];
        bytes memory header = _mineWithHeader(settlement.pinned());
        (done,) = address(settlement).call(abi.encodeCall(settlement.seal, (epoch, header)));
        if (done) _compare(epoch, list);
    }

    /// @dev Both calls that end a restart.
    function _tryFinish() internal returns (bool done) {
        uint64 openedAt = settlement.restart().openedAt;
        if (settlement.pinnedForRestart() == 0) {
            bytes32 list = _hashOf(registry.membersCheckedIn(openedAt));
            (done,) = address(settlement).call(abi.encodeCall(settlement.closeCheckIn, ()));
            if (!done) return false;
            // Closed again, since L1 forgot the block, it is the list of the first time.
            if (_closedOf != openedAt) (_closedOf, _closed) = (openedAt, list);
        }
        bytes memory header = _mineWithHeader(settlement.pinnedForRestart());
        (done,) = address(settlement).call(abi.encodeCall(settlement.finishRestart, (header)));
        if (!done) return false;
        _aliveSince = openedAt;
        _compare(_epoch(), _closed);
    }

    function _compare(uint64 epoch, bytes32 list) private {
        LeaderSet memory set = settlement.leaderSet(epoch);
        uint256[] memory words = new uint256[](set.members.length);
        for (uint256 i = 0; i < words.length; ++i) {
            words[i] = SetLib.word(set.members[i].signer, uint56(set.members[i].weight));
        }
        ++seals;
        if (_hashOf(words) != list) ++otherSets;
    }

    function _hashOf(uint256[] memory words) private pure returns (bytes32) {
        SortLib.sort(words);
        return keccak256(abi.encodePacked(words));
    }

    /* DUTIES */

    /// @dev Each refund stands for one thing that was done, and for one that was not done before.
    function _bookDuties() internal {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 refunds;
        uint256 duties;
        for (uint256 i = 0; i < logs.length; ++i) {
            bytes32 kind = logs[i].topics[0];
            if (kind == IRewardPool.DutyCredited.selector) ++refunds;
            bool isDuty = kind == IRota.Pinned.selector || kind == IRota.Sealed.selector
                || kind == IRestart.CheckInClosed.selector;
            if (!isDuty) continue;
            // Of a seal, generation and epoch are what it is of; of a pin the block is, too, as L1 can forget one.
            bytes memory rest = kind == IRota.Sealed.selector ? bytes("") : logs[i].data;
            bytes32 duty = keccak256(abi.encode(logs[i].topics, rest));
            if (_done[duty]) ++paidForNothing;
            _done[duty] = true;
            ++duties;
        }
        paid += refunds;
        if (refunds > duties) paidForNothing += refunds - duties;
    }
}
