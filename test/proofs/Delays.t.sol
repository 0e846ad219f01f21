// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {ParamsLib} from "../../contracts/lib/ParamsLib.sol";
import {Params} from "../../contracts/types/Params.sol";

/// @title An exit cannot outrun evidence (R8, R9, R34)
contract DelayProofs is Test {
    /// @notice Whatever delays a deployment accepts: evidence that is reported at the last moment at which it counts can be
    /// executed, with the guardian's delay and the margin, before the last set that counted the shares has been over for
    /// exitDelay. Bounded to 8 and 16 bits, which the solver can do; the sums know nothing of widths.
    ///
    /// @param ended L1 time at which that set ended.
    /// @param reportedAt Of the report.
    /// @param bucketStart Of the correlation window that holds the report.
    function check_anExitCannotOutrunEvidence(
        uint8 evidenceWindow,
        uint8 correlationWindow,
        uint8 guardianDelay,
        uint8 exitMargin,
        uint16 exitDelay,
        uint8 ended,
        uint16 reportedAt,
        uint16 bucketStart
    ) public view {
        Params memory p = _others();
        p.evidenceWindowSeconds = evidenceWindow;
        p.correlationWindowSeconds = correlationWindow;
        p.guardianDelaySeconds = guardianDelay;
        p.exitMarginSeconds = exitMargin;
        p.exitDelaySeconds = exitDelay;
        vm.assume(_accepted(p));
        unchecked {
            vm.assume(reportedAt < uint256(ended) + evidenceWindow);
        }
        vm.assume(bucketStart <= reportedAt);

        // Cannot overflow: none has more than 16 bits. Checked sums would be more than the solver can do.
        unchecked {
            uint256 window = correlationWindow;
            uint256 executableAt = uint256(bucketStart) + window + window + guardianDelay;
            assert(executableAt + exitMargin < uint256(ended) + exitDelay);
        }
    }

    function _accepted(Params memory p) private view returns (bool) {
        try this.check(p) {
            return true;
        } catch {
            return false;
        }
    }

    /// @dev Parameters that no relation to a delay above stands in the way of.
    function _others() private pure returns (Params memory p) {
        p.epochSeconds = 60;
        (p.restartWindowSeconds, p.bountyBps, p.jailSeconds) = (8, 1, 1);
        p.commissionDelaySeconds = type(uint64).max;
        p.maxEpochLag = 2;
        (p.minMembers, p.maxMembers) = (1, 128);
        p.l1BlockSeconds = 1;
        p.turnLength = 8;
        (p.intervalMillis, p.idleIntervalMillis) = (250, 1000);
        p.maxBatchBytes = 100_000;
        (p.maxBatchAgeSeconds, p.idleBatchAgeSeconds) = (1, 1);
        p.takeoverSeconds = 4;
        p.ringSize = type(uint64).max;
        (p.forcedDeadlineBlocks, p.forcedMaxBytes, p.forcedFeeDoublingEntries) = (100, 1, 1);
        (p.escapeDelaySeconds, p.restartDelaySeconds) = (21, 22);
        (p.minStakeWei, p.weightUnitWei, p.repricedWriteGas) = (1, 1, 5000);
    }

    function check(Params memory p) external pure {
        ParamsLib.check(p);
    }
}
