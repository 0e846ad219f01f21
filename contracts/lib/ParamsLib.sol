// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Params} from "../types/Params.sol";
import {AttendanceLib} from "./AttendanceLib.sol";
import {SetLib} from "./SetLib.sol";

/// @title Relations between parameters (§12)
/// @notice Nothing can be changed after deployment, so each relation is checked once, in every constructor, with an
/// error of its own that carries the two sides of the comparison.
library ParamsLib {
    uint256 internal constant BPS = 10_000;
    uint256 internal constant MILLIS = 1000;
    /// Largest payload of a deployment that allows calldata (R24).
    uint256 internal constant MAX_CALLDATA_BATCH_BYTES = 100_000;
    /// Keeps the total stake, 2^56 units, and its shares within 128 bits.
    uint256 internal constant MAX_WEIGHT_UNIT_WEI = 1 << 60;
    /// Beyond a thousand times its first price the forced queue would be closed to all but the rich when it is needed.
    uint256 internal constant MAX_FORCED_FEE_DOUBLINGS = 10;
    /// Whoever works gets at most half again of what it spent; whoever pays itself a tip, as proposer of L1, not much.
    uint256 internal constant MAX_REFUND_MARGIN_BPS = 5000;
    uint256 internal constant MAX_PRIORITY_WEI = 1 gwei;
    /// Bounds of what L1 can be said to charge: several times what it does, and within the fields of {PricingLib}.
    uint256 internal constant MAX_TRANSACTION_GAS = 100_000;
    uint256 internal constant MAX_BYTE_GAS = 1000;
    uint256 internal constant MAX_WRITE_GAS = 1_000_000;
    uint256 internal constant MAX_BOOKING_GAS = 1_000_000;
    /// What a change of a slot takes today (EIP-2929).
    uint256 internal constant WRITE_GAS = 2900;
    /// L1 blocks of the shortest epoch, and of the shortest restart window.
    uint256 internal constant MIN_SEALING_BLOCKS = 8;
    /// L1 blocks from a pin to the pinned block. It can be known for 64 slots who will propose.
    uint64 internal constant MIN_SEED_DISTANCE = 65;
    uint64 internal constant MAX_SEED_DISTANCE = 96;
    uint256 internal constant DEVELOPMENT_CHAIN_ID = 31_337;

    /* ZERO VALUES AND BOUNDS OF ONE FIELD */

    error EpochIsZero();
    error TurnLengthIsZero();
    error IntervalIsZero();
    error L1BlockIsZero();
    error CorrelationWindowIsZero();
    error RestartWindowIsZero();
    error ExitMarginIsZero();
    error BountyIsZero();
    error JailIsZero();
    error WeightUnitOutOfRange(uint256 maximum, uint256 actual);
    error MaxBatchBytesOutOfRange(uint256 maximum, uint256 actual);
    error ForcedMaxBytesOutOfRange(uint256 maximum, uint256 actual);
    error ForcedFeeDoublingIsZero();
    error ForcedFeeDoublingsTooMany(uint256 maximum, uint256 actual);
    error ShareAboveWhole(uint256 wholeBps, uint256 actualBps);
    error RefundMarginTooLarge(uint256 maximumBps, uint256 actualBps);
    error PriorityTooLarge(uint256 maximumWei, uint256 actualWei);
    error TransactionGasTooLarge(uint256 maximum, uint256 actual);
    error ByteGasTooLarge(uint256 maximum, uint256 actual);
    error RepricedWriteGasOutOfRange(uint256 minimum, uint256 maximum, uint256 actual);
    error BookingGasTooLarge(uint256 maximum, uint256 actual);

    /* RELATIONS, IN THE ORDER OF §12 */

    error ExitDelayTooShort(uint256 minimum, uint256 actual);
    error EvidenceWindowShorterThanLag(uint256 minimum, uint256 actual);
    error MaxEpochLagTooSmall(uint256 minimum, uint256 actual);
    error AttestedTimeTooLong(uint256 maximumSeconds, uint256 actualSeconds);
    error ForcedDeadlineTooShort(uint256 minimumSeconds, uint256 actualSeconds);
    error TakeoverTooShort(uint256 minimumMillis, uint256 actualMillis);
    error EscapeDelayNotAboveTakeovers(uint256 takeovers, uint256 actual);
    error RestartDelayNotAboveEscapeDelay(uint256 escapeDelay, uint256 actual);
    error EvidenceWindowShorterThanRestart(uint256 minimum, uint256 actual);
    error EpochTooShort(uint256 minimum, uint256 actual);
    error RestartWindowTooShort(uint256 minimum, uint256 actual);
    error TurnTooShort(uint256 minimumMillis, uint256 actualMillis);
    error MaxBatchAgeBelowL1Block(uint256 minimum, uint256 actual);
    error MaxBatchAgeBelowIdleInterval(uint256 minimumMillis, uint256 actualMillis);
    error IdleBatchAgeBelowMaxBatchAge(uint256 minimum, uint256 actual);
    error IdleBatchAgeAboveEpoch(uint256 maximum, uint256 actual);
    error IdleBatchAgeAboveQuarterOfRestartDelay(uint256 maximum, uint256 actual);
    error DriftAboveQuarterOfTakeover(uint256 maximum, uint256 actual);
    error BountyAndCompensationAboveHalf(uint256 maximumBps, uint256 actualBps);
    error RingTooSmall(uint256 minimum, uint256 actual);
    error RollupReserveTooSmall(uint256 minimumWei, uint256 actualWei);
    error MaxMembersTooLarge(uint256 maximum, uint256 actual);
    error MinMembersOutOfRange(uint256 minimum, uint256 maximum, uint256 actual);
    error MinStakeBelowWeightUnit(uint256 minimumWei, uint256 actualWei);
    error CommissionDelayBelowExitDelay(uint256 minimum, uint256 actual);
    error GenesisTooEarly(uint256 minimum, uint256 actual);
    error SeedDistanceTooShort(uint256 minimumBlocks, uint256 actualBlocks);

    /// @notice Reverts with the error of the first relation that does not hold, in the order in which they stand above.
    function check(Params memory p) internal pure {
        _checkFields(p);
        _checkPrices(p);
        _checkDelays(p);
        _checkPace(p);
        _checkSizes(p);
        // Whoever does not like a raise can be gone before it counts.
        require(
            p.commissionDelaySeconds >= p.exitDelaySeconds,
            CommissionDelayBelowExitDelay(p.exitDelaySeconds, p.commissionDelaySeconds)
        );
    }

    /// @notice Reverts if genesis is not at least an L1 block after `time`, when the first contract is deployed: sequencers
    /// join before it.
    function checkGenesis(Params memory p, uint256 time) internal pure {
        uint256 minimum = time + p.l1BlockSeconds;
        require(p.genesis >= minimum, GenesisTooEarly(minimum, p.genesis));
    }

    /// @notice L1 blocks from the call that pins to the block that it pins (R4): a quarter of an epoch, or of the time in which a
    /// restart can be finished if that is shorter. What is left is for the seal.
    function seedDistanceBlocks(Params memory p) internal pure returns (uint64 blocks) {
        uint64 time = p.restartWindowSeconds < p.epochSeconds ? p.restartWindowSeconds : p.epochSeconds;
        blocks = time / 4 / p.l1BlockSeconds;
        if (blocks > MAX_SEED_DISTANCE) blocks = MAX_SEED_DISTANCE;
    }

    /// @notice Reverts if whoever pins, on L1 with chain id `chainId`, could know who will propose the pinned block. On the
    /// development chain nobody proposes.
    function checkSeedDistance(Params memory p, uint256 chainId) internal pure {
        uint256 distance = seedDistanceBlocks(p);
        require(
            distance >= MIN_SEED_DISTANCE || chainId == DEVELOPMENT_CHAIN_ID,
            SeedDistanceTooShort(MIN_SEED_DISTANCE, distance)
        );
    }

    function _checkFields(Params memory p) private pure {
        require(p.epochSeconds != 0, EpochIsZero());
        require(p.turnLength != 0, TurnLengthIsZero());
        require(p.intervalMillis != 0, IntervalIsZero());
        require(p.l1BlockSeconds != 0, L1BlockIsZero());
        require(p.correlationWindowSeconds != 0, CorrelationWindowIsZero());
        require(p.restartWindowSeconds != 0, RestartWindowIsZero());
        require(p.exitMarginSeconds != 0, ExitMarginIsZero());
        require(p.bountyBps != 0, BountyIsZero());
        require(p.jailSeconds != 0, JailIsZero());
        require(
            p.weightUnitWei != 0 && p.weightUnitWei <= MAX_WEIGHT_UNIT_WEI,
            WeightUnitOutOfRange(MAX_WEIGHT_UNIT_WEI, p.weightUnitWei)
        );
        require(
            p.maxBatchBytes != 0 && p.maxBatchBytes <= MAX_CALLDATA_BATCH_BYTES,
            MaxBatchBytesOutOfRange(MAX_CALLDATA_BATCH_BYTES, p.maxBatchBytes)
        );
        require(
            p.forcedMaxBytes != 0 && p.forcedMaxBytes <= MAX_CALLDATA_BATCH_BYTES,
            ForcedMaxBytesOutOfRange(MAX_CALLDATA_BATCH_BYTES, p.forcedMaxBytes)
        );
        require(p.forcedFeeDoublingEntries != 0, ForcedFeeDoublingIsZero());
        require(
            p.forcedFeeMaxDoublings <= MAX_FORCED_FEE_DOUBLINGS,
            ForcedFeeDoublingsTooMany(MAX_FORCED_FEE_DOUBLINGS, p.forcedFeeMaxDoublings)
        );
        require(p.commissionRaiseBps <= BPS, ShareAboveWhole(BPS, p.commissionRaiseBps));
        require(p.minSelfBondBps <= BPS, ShareAboveWhole(BPS, p.minSelfBondBps));
        require(p.doubleSignBps <= BPS, ShareAboveWhole(BPS, p.doubleSignBps));
        require(p.brokenPromiseBps <= BPS, ShareAboveWhole(BPS, p.brokenPromiseBps));
        require(p.missedTurnBps <= BPS, ShareAboveWhole(BPS, p.missedTurnBps));
    }

    /// @dev Refunds are paid out of what others put in: a mistake in a price must not be able to empty it.
    function _checkPrices(Params memory p) private pure {
        require(
            p.refundMarginBps <= MAX_REFUND_MARGIN_BPS, RefundMarginTooLarge(MAX_REFUND_MARGIN_BPS, p.refundMarginBps)
        );
        require(p.priorityWei <= MAX_PRIORITY_WEI, PriorityTooLarge(MAX_PRIORITY_WEI, p.priorityWei));
        uint256 transactionGas = Math.max(p.transactionGas, p.nextTransactionGas);
        require(transactionGas <= MAX_TRANSACTION_GAS, TransactionGasTooLarge(MAX_TRANSACTION_GAS, transactionGas));
        uint256 byteGas = Math.max(
            Math.max(Math.max(p.zeroByteGas, p.byteGas), Math.max(p.zeroByteFloorGas, p.byteFloorGas)),
            Math.max(Math.max(p.nextZeroByteGas, p.nextByteGas), Math.max(p.nextZeroByteFloorGas, p.nextByteFloorGas))
        );
        require(byteGas <= MAX_BYTE_GAS, ByteGasTooLarge(MAX_BYTE_GAS, byteGas));
        require(
            p.repricedWriteGas > WRITE_GAS && p.repricedWriteGas <= MAX_WRITE_GAS,
            RepricedWriteGasOutOfRange(WRITE_GAS + 1, MAX_WRITE_GAS, p.repricedWriteGas)
        );
        require(p.rollupBookingGas <= MAX_BOOKING_GAS, BookingGasTooLarge(MAX_BOOKING_GAS, p.rollupBookingGas));
    }

    function _checkDelays(Params memory p) private pure {
        uint256 takeovers = 5 * uint256(p.takeoverSeconds);
        uint256 turnMillis = uint256(p.turnLength) * p.intervalMillis;

        // Evidence has to reach an exit before its claim, and the correlation window of what was reported has to end.
        uint256 minExit = uint256(p.evidenceWindowSeconds) + 2 * uint256(p.correlationWindowSeconds)
            + p.guardianDelaySeconds + p.exitMarginSeconds;
        require(p.exitDelaySeconds >= minExit, ExitDelayTooShort(minExit, p.exitDelaySeconds));

        uint256 minEvidence = (uint256(p.maxEpochLag) + 1) * p.epochSeconds;
        require(
            p.evidenceWindowSeconds >= minEvidence, EvidenceWindowShorterThanLag(minEvidence, p.evidenceWindowSeconds)
        );
        require(p.maxEpochLag >= 2, MaxEpochLagTooSmall(2, p.maxEpochLag));
        // What one epoch can attest, as long as the chain stands nowhere still, has to fit what the tally counts of it.
        uint256 attested = (uint256(p.maxEpochLag) + 2) * p.epochSeconds;
        require(attested <= AttendanceLib.MAX_SECONDS, AttestedTimeTooLong(AttendanceLib.MAX_SECONDS, attested));

        uint256 minDeadline = uint256(p.originDepthBlocks) * p.l1BlockSeconds + p.maxBatchAgeSeconds + takeovers;
        uint256 deadline = uint256(p.forcedDeadlineBlocks) * p.l1BlockSeconds;
        require(deadline >= minDeadline, ForcedDeadlineTooShort(minDeadline, deadline));

        uint256 minTakeover = turnMillis + 2 * uint256(p.l1BlockSeconds) * MILLIS;
        uint256 takeover = uint256(p.takeoverSeconds) * MILLIS;
        require(takeover >= minTakeover, TakeoverTooShort(minTakeover, takeover));

        require(p.escapeDelaySeconds > takeovers, EscapeDelayNotAboveTakeovers(takeovers, p.escapeDelaySeconds));
        require(
            p.restartDelaySeconds > p.escapeDelaySeconds,
            RestartDelayNotAboveEscapeDelay(p.escapeDelaySeconds, p.restartDelaySeconds)
        );

        uint256 restart = uint256(p.restartDelaySeconds) + p.restartWindowSeconds;
        require(p.evidenceWindowSeconds >= restart, EvidenceWindowShorterThanRestart(restart, p.evidenceWindowSeconds));
    }

    function _checkPace(Params memory p) private pure {
        // A pin, a block two blocks on, and the seal take three; whoever comes a few blocks late needs time, too.
        uint256 minSealing = MIN_SEALING_BLOCKS * p.l1BlockSeconds;
        require(p.epochSeconds >= minSealing, EpochTooShort(minSealing, p.epochSeconds));
        require(p.restartWindowSeconds >= minSealing, RestartWindowTooShort(minSealing, p.restartWindowSeconds));

        uint256 turnMillis = uint256(p.turnLength) * p.intervalMillis;
        uint256 minTurn = 2 * uint256(p.l1BlockSeconds) * MILLIS;
        require(turnMillis >= minTurn, TurnTooShort(minTurn, turnMillis));

        require(
            p.maxBatchAgeSeconds >= p.l1BlockSeconds, MaxBatchAgeBelowL1Block(p.l1BlockSeconds, p.maxBatchAgeSeconds)
        );
        uint256 maxBatchAgeMillis = uint256(p.maxBatchAgeSeconds) * MILLIS;
        require(
            maxBatchAgeMillis >= p.idleIntervalMillis,
            MaxBatchAgeBelowIdleInterval(p.idleIntervalMillis, maxBatchAgeMillis)
        );
        require(
            p.idleBatchAgeSeconds >= p.maxBatchAgeSeconds,
            IdleBatchAgeBelowMaxBatchAge(p.maxBatchAgeSeconds, p.idleBatchAgeSeconds)
        );
        require(p.idleBatchAgeSeconds <= p.epochSeconds, IdleBatchAgeAboveEpoch(p.epochSeconds, p.idleBatchAgeSeconds));
        uint256 quarter = p.restartDelaySeconds / 4;
        require(
            p.idleBatchAgeSeconds <= quarter, IdleBatchAgeAboveQuarterOfRestartDelay(quarter, p.idleBatchAgeSeconds)
        );

        uint256 maxDrift = p.takeoverSeconds / 4;
        require(p.driftSeconds <= maxDrift, DriftAboveQuarterOfTakeover(maxDrift, p.driftSeconds));
    }

    function _checkSizes(Params memory p) private pure {
        uint256 outOfSlash = uint256(p.bountyBps) + p.compensationBps;
        require(outOfSlash <= BPS / 2, BountyAndCompensationAboveHalf(BPS / 2, outOfSlash));

        // maxBatchAge is at least one L1 block here, so not zero.
        uint256 minRing = Math.ceilDiv(2 * uint256(p.evidenceWindowSeconds), p.maxBatchAgeSeconds);
        require(p.ringSize >= minRing, RingTooSmall(minRing, p.ringSize));

        // At full load a single block fills a batch, so the most batches that can be under way are the blocks of that
        // time. What they can cost has to be there before the first of them is ordered: debits come after settlement.
        uint256 underWaySeconds = uint256(p.originDepthBlocks) * p.l1BlockSeconds + 6 * uint256(p.takeoverSeconds);
        uint256 batches = Math.ceilDiv(underWaySeconds * MILLIS, p.intervalMillis);
        uint256 minReserve = Math.saturatingMul(p.rollupByteWei, p.maxBatchBytes * batches);
        require(p.rollupReserveWei >= minReserve, RollupReserveTooSmall(minReserve, p.rollupReserveWei));

        require(p.maxMembers <= SetLib.MAX_MEMBERS, MaxMembersTooLarge(SetLib.MAX_MEMBERS, p.maxMembers));
        require(p.minMembers >= 1 && p.minMembers <= p.maxMembers, MinMembersOutOfRange(1, p.maxMembers, p.minMembers));

        // A sequencer that may join weighs something.
        require(p.minStakeWei >= p.weightUnitWei, MinStakeBelowWeightUnit(p.weightUnitWei, p.minStakeWei));
    }
}
