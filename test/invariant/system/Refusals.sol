// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IForcedInbox} from "../../../contracts/interfaces/IForcedInbox.sol";
import {IRestart} from "../../../contracts/interfaces/IRestart.sol";
import {IRewardPool} from "../../../contracts/interfaces/IRewardPool.sol";
import {IRota} from "../../../contracts/interfaces/IRota.sol";
import {ChurnState, ISequencerRegistry, Sequencer, Status} from "../../../contracts/interfaces/ISequencerRegistry.sol";
import {CaseStatus, ISlasher} from "../../../contracts/interfaces/ISlasher.sol";
import {ParamsLib} from "../../../contracts/lib/ParamsLib.sol";
import {System} from "../../utils/System.sol";

/// @title Refusals that say what is so
/// @notice Whoever acts lawfully is refused now and then, because of what others did. Each error that may do so is listed
/// here with what must hold when it is raised; any other is a bug.
abstract contract Refusals is System {
    error RefusedForAnotherReason(bytes answer);
    error RefusedForWhatIsNotSo(bytes answer);

    function _requireSo(bytes memory answer) internal view {
        bytes4 reason = bytes4(answer);
        bytes memory arguments = new bytes(answer.length < 4 ? 0 : answer.length - 4);
        for (uint256 i = 0; i < arguments.length; ++i) {
            arguments[i] = answer[i + 4];
        }
        require(
            _isSoOfStake(reason, arguments) || _isSoOfExits(reason, arguments) || _isSoOfSets(reason, arguments)
                || _isSoOfCases(reason, arguments),
            RefusedForAnotherReason(answer)
        );
    }

    /// @dev Whether `reason` is one of these; that it is so is required.
    function _isSoOfStake(bytes4 reason, bytes memory arguments) private view returns (bool) {
        bool so;
        if (reason == ISequencerRegistry.PoolHeld.selector) {
            (uint32 id, uint64 until) = abi.decode(arguments, (uint32, uint64));
            so = until > block.timestamp && registry.sequencer(id).jailedUntil >= until;
        } else if (reason == ISequencerRegistry.PoolDead.selector) {
            so = registry.assetsOf(abi.decode(arguments, (uint32))) == 0;
        } else if (reason == ISequencerRegistry.PoolClosing.selector) {
            so = registry.sequencer(abi.decode(arguments, (uint32))).status != Status.Active;
        } else if (reason == ISequencerRegistry.StatusNotAllowed.selector) {
            (uint32 id, Status status) = abi.decode(arguments, (uint32, Status));
            so = registry.sequencer(id).status == status;
        } else if (
            reason == ISequencerRegistry.ActiveSetFull.selector
                || reason == ISequencerRegistry.StakeBelowMinimum.selector
        ) {
            (uint256 minimumWei, uint256 actualWei) = abi.decode(arguments, (uint256, uint256));
            so = actualWei < minimumWei;
        } else if (reason == ISequencerRegistry.JailNotServed.selector) {
            (uint64 until, uint64 time) = abi.decode(arguments, (uint64, uint64));
            so = time == block.timestamp && time < until;
        } else if (reason == ISequencerRegistry.NothingMoves.selector) {
            ChurnState memory churn = registry.churn();
            so = (churn.entrances == 0 || churn.entered >= churn.limit || !rewardPool.isUpToDate())
                && (churn.exits == 0 || churn.left >= churn.limit);
        } else {
            return false;
        }
        require(so, RefusedForWhatIsNotSo(abi.encodePacked(reason, arguments)));
        return true;
    }

    function _isSoOfExits(bytes4 reason, bytes memory arguments) private view returns (bool) {
        bool so;
        if (reason == ISequencerRegistry.ExitQueued.selector) {
            (uint256 exitId, uint256 queuedShares) = abi.decode(arguments, (uint256, uint256));
            so = queuedShares != 0 && registry.exit(exitId).queuedShares == queuedShares;
        } else if (reason == ISequencerRegistry.ExitClockNotStarted.selector) {
            // Until a set without the shares is sealed, which one for `firstEpoch` or later is.
            (, uint64 sealedFor,) = settlement.setOf(settlement.generation(), _epoch() + 1);
            so = sealedFor < abi.decode(arguments, (uint64));
        } else if (reason == ISequencerRegistry.ExitNotDue.selector) {
            (uint64 from, uint64 time) = abi.decode(arguments, (uint64, uint64));
            so = time == block.timestamp && time < from;
        } else if (reason == IRewardPool.EpochNotClosed.selector) {
            so = !tally.isClosed(abi.decode(arguments, (uint64)));
        } else if (reason == IRewardPool.NothingToCredit.selector) {
            (bool waits,,,) = rewardPool.nextCredit();
            so = !waits;
        } else if (reason == IForcedInbox.NothingToEscape.selector) {
            so = settlement.forcedConsumed() == settlement.forcedLength();
        } else if (reason == IForcedInbox.EscapeNotDue.selector) {
            uint64 from = settlement.forcedEntry(settlement.forcedConsumed()).enqueuedAt + p.forcedDeadlineBlocks
                * p.l1BlockSeconds + p.escapeDelaySeconds;
            so = from > block.timestamp && keccak256(arguments) == keccak256(abi.encode(from, uint64(block.timestamp)));
        } else {
            return false;
        }
        require(so, RefusedForWhatIsNotSo(abi.encodePacked(reason, arguments)));
        return true;
    }

    function _isSoOfSets(bytes4 reason, bytes memory arguments) private view returns (bool) {
        bool so;
        uint64 epoch = _epoch();
        uint64 openedAt = settlement.restart().openedAt;
        bool open = openedAt > settlement.tip().settledAt;
        if (reason == IRota.AlreadySealed.selector) {
            uint64 sealed_ = abi.decode(arguments, (uint64));
            (, uint64 sealedFor,) = settlement.setOf(settlement.generation(), sealed_);
            so = sealedFor == sealed_;
        } else if (reason == IRota.EpochNotSealable.selector) {
            (uint64 expected, uint64 actual) = abi.decode(arguments, (uint64, uint64));
            so = (expected == epoch && actual == epoch + 1) || (expected == epoch + 1 && actual == epoch);
        } else if (reason == IRota.PinTooLate.selector) {
            (uint64 until, uint64 time) = abi.decode(arguments, (uint64, uint64));
            uint64 takes = (ParamsLib.seedDistanceBlocks(p) + 1) * p.l1BlockSeconds;
            bool late = until + takes == settlement.startOf(epoch + 1)
                || until + takes == openedAt + 2 * p.restartWindowSeconds;
            so = time == block.timestamp && time >= until && late;
        } else if (reason == IRota.TooFewMembers.selector || reason == IRestart.CheckedInTooFew.selector) {
            // {IRestart.CheckedInTooFew} has them in the same order: what is needed, and what there is.
            (uint256 minimum, uint256 actual) = abi.decode(arguments, (uint256, uint256));
            so = actual < minimum;
        } else if (reason == IRestart.NotEligible.selector) {
            so = !_mayCheckIn(abi.decode(arguments, (uint32))) || _areSeatsTaken();
        } else if (reason == IRestart.NoRestartOpen.selector) {
            so = !open;
        } else if (reason == IRestart.AlreadyCheckedIn.selector) {
            so = !open || _isHeardOf(abi.decode(arguments, (uint32)), openedAt);
        } else if (reason == IRestart.CheckInOver.selector) {
            so = open && block.timestamp >= openedAt + p.restartWindowSeconds;
        } else if (reason == IRestart.FinishNotOpen.selector) {
            (uint64 from, uint64 until, uint64 time) = abi.decode(arguments, (uint64, uint64, uint64));
            so = time == block.timestamp && (time < from || time >= until);
        } else if (reason == IRestart.RestartNotDue.selector) {
            so = settlement.tip().settledAt + p.restartDelaySeconds > block.timestamp;
        } else if (reason == IRestart.RestartUnderWay.selector) {
            so = open && block.timestamp < openedAt + 2 * p.restartWindowSeconds;
        } else {
            return false;
        }
        require(so, RefusedForWhatIsNotSo(abi.encodePacked(reason, arguments)));
        return true;
    }

    function _isSoOfCases(bytes4 reason, bytes memory arguments) private view returns (bool) {
        bool so;
        if (reason == ISlasher.AlreadyReported.selector) {
            so = slasher.caseOf(abi.decode(arguments, (bytes32))).status != CaseStatus.None;
        } else if (reason == ISlasher.NotAbsent.selector) {
            (uint256 turns, uint256 missed) = abi.decode(arguments, (uint256, uint256));
            so = missed < 3 || 2 * missed <= turns;
        } else if (reason == ISlasher.OutageTooWide.selector) {
            (uint256 total, uint256 missing) = abi.decode(arguments, (uint256, uint256));
            so = 3 * missing > total;
        } else {
            return false;
        }
        require(so, RefusedForWhatIsNotSo(abi.encodePacked(reason, arguments)));
        return true;
    }

    /// @dev Active, and with at least one weight unit that counts.
    function _mayCheckIn(uint32 id) internal view returns (bool) {
        Sequencer memory entry = registry.sequencer(id);
        return entry.status == Status.Active && entry.weight != 0;
    }

    function _areSeatsTaken() private view returns (bool) {
        uint256 weighing;
        for (uint32 id = 1; id <= registry.count(); ++id) {
            if (registry.sequencer(id).weight != 0) ++weighing;
        }
        return weighing >= p.maxMembers;
    }

    /// @dev Whether `id` joined, checked in or came back at `time` or later.
    function _isHeardOf(uint32 id, uint256 time) internal view virtual returns (bool);
}
