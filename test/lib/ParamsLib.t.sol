// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {ParamsLib} from "../../contracts/lib/ParamsLib.sol";
import {Params} from "../../contracts/types/Params.sol";
import {ConfigLib} from "../../script/ConfigLib.sol";

/// ParamsLib.check
/// ├── it accepts both profiles
/// ├── for each relation of §12, at its bound: it accepts
/// └── for each relation of §12, one beyond its bound: it reverts with its own error
///
/// Each test starts from a set of parameters in which every relation has room, puts one relation at its bound, checks,
/// and goes one beyond.
contract ParamsLibTest is Test {
    Params private p;

    function setUp() public {
        p = ConfigLib.read("testnet").params;
        p.exitDelaySeconds = 30 days;
        p.commissionDelaySeconds = 60 days;
        p.evidenceWindowSeconds = 4 days;
        p.takeoverSeconds = 60;
        p.ringSize = 65_536;
        p.rollupReserveWei = 10 ether;
        p.forcedDeadlineBlocks = 1000;
        p.restartDelaySeconds = 50 hours;
        p.turnLength = 30;
        p.epochSeconds = 2 hours;
    }

    function test_acceptsTheProfiles() public view {
        ParamsLib.check(ConfigLib.read("devnet").params);
        ParamsLib.check(ConfigLib.read("testnet").params);
        ParamsLib.check(p);
    }

    /* FIELDS */

    function test_revertsWhen_epochIsZero() public {
        p.epochSeconds = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.EpochIsZero.selector));
    }

    function test_revertsWhen_turnLengthIsZero() public {
        p.turnLength = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.TurnLengthIsZero.selector));
    }

    function test_revertsWhen_intervalIsZero() public {
        p.intervalMillis = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.IntervalIsZero.selector));
    }

    function test_revertsWhen_restartWindowIsZero() public {
        p.restartWindowSeconds = 8 * p.l1BlockSeconds;
        _accepts();
        p.restartWindowSeconds = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.RestartWindowIsZero.selector));
    }

    function test_revertsWhen_exitMarginIsZero() public {
        p.exitMarginSeconds = 1;
        _accepts();
        p.exitMarginSeconds = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.ExitMarginIsZero.selector));
    }

    function test_revertsWhen_bountyIsZero() public {
        p.bountyBps = 1;
        _accepts();
        p.bountyBps = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.BountyIsZero.selector));
    }

    function test_revertsWhen_jailIsZero() public {
        p.jailSeconds = 1;
        _accepts();
        p.jailSeconds = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.JailIsZero.selector));
    }

    function test_revertsWhen_commissionRisesFasterThanOneCanLeave() public {
        p.commissionDelaySeconds = p.exitDelaySeconds;
        _accepts();
        p.commissionDelaySeconds = p.exitDelaySeconds - 1;
        _refuses(
            abi.encodeWithSelector(
                ParamsLib.CommissionDelayBelowExitDelay.selector, p.exitDelaySeconds, p.exitDelaySeconds - 1
            )
        );
    }

    function test_revertsWhen_genesisIsInThePastOrTooNear() public {
        uint256 time = 1_800_000_000;
        p.genesis = uint64(time) + p.l1BlockSeconds;
        this.checkGenesis(p, time);
        for (uint64 early = 1; early < 1 << 30; early *= 2) {
            p.genesis = uint64(time) + p.l1BlockSeconds - early;
            vm.expectRevert(
                abi.encodeWithSelector(ParamsLib.GenesisTooEarly.selector, time + p.l1BlockSeconds, p.genesis)
            );
            this.checkGenesis(p, time);
        }
    }

    /// A pin, its block and its seal, with time to spare.
    function test_revertsWhen_anEpochOrARestartWindowIsShorterThanEightBlocks() public {
        p.restartWindowSeconds = 96;
        _accepts();
        assertEq(ParamsLib.seedDistanceBlocks(p), 2);
        p.restartWindowSeconds = 95;
        _refuses(abi.encodeWithSelector(ParamsLib.RestartWindowTooShort.selector, 96, 95));
        p.restartWindowSeconds = 96;
        (p.epochSeconds, p.idleBatchAgeSeconds) = (96, 96);
        _accepts();
        (p.epochSeconds, p.idleBatchAgeSeconds) = (95, 95);
        _refuses(abi.encodeWithSelector(ParamsLib.EpochTooShort.selector, 96, 95));
    }

    function test_revertsWhen_whoPinsMayKnowTheProposerOfThePinnedBlock() public {
        p.l1BlockSeconds = 12;
        for (uint64 chain = 1; chain < 4; ++chain) {
            p.epochSeconds = 4 * 65 * 12;
            p.restartWindowSeconds = p.epochSeconds;
            this.checkSeedDistance(p, chain);
            p.restartWindowSeconds -= 1;
            vm.expectRevert(abi.encodeWithSelector(ParamsLib.SeedDistanceTooShort.selector, 65, 64));
            this.checkSeedDistance(p, chain);
            (p.restartWindowSeconds, p.epochSeconds) = (p.epochSeconds, p.restartWindowSeconds);
            vm.expectRevert(abi.encodeWithSelector(ParamsLib.SeedDistanceTooShort.selector, 65, 64));
            this.checkSeedDistance(p, chain);
            // Nobody proposes on a development chain.
            this.checkSeedDistance(p, 31_337);
        }
        p.epochSeconds = 1 << 20;
        p.restartWindowSeconds = 1 << 20;
        assertEq(ParamsLib.seedDistanceBlocks(p), 96);
    }

    function test_revertsWhen_l1BlockIsZero() public {
        p.l1BlockSeconds = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.L1BlockIsZero.selector));
    }

    function test_revertsWhen_correlationWindowIsZero() public {
        p.correlationWindowSeconds = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.CorrelationWindowIsZero.selector));
    }

    function test_revertsWhen_weightUnitIsOutOfRange() public {
        p.weightUnitWei = 2 ** 60;
        p.minStakeWei = 2 ** 60;
        _accepts();

        p.weightUnitWei = 2 ** 60 + 1;
        _refuses(abi.encodeWithSelector(ParamsLib.WeightUnitOutOfRange.selector, 2 ** 60, 2 ** 60 + 1));

        p.weightUnitWei = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.WeightUnitOutOfRange.selector, 2 ** 60, 0));
    }

    /* PRICES */

    function test_revertsWhen_theMarginIsTooLarge() public {
        p.refundMarginBps = 5000;
        _accepts();

        p.refundMarginBps = 5001;
        _refuses(abi.encodeWithSelector(ParamsLib.RefundMarginTooLarge.selector, 5000, 5001));
    }

    function test_revertsWhen_theTipIsTooLarge() public {
        p.priorityWei = 1 gwei;
        _accepts();

        p.priorityWei = 1 gwei + 1;
        _refuses(abi.encodeWithSelector(ParamsLib.PriorityTooLarge.selector, 1 gwei, 1 gwei + 1));
    }

    function test_revertsWhen_aTransactionIsTooDear() public {
        (p.transactionGas, p.nextTransactionGas) = (100_000, 100_000);
        _accepts();

        p.transactionGas = 100_001;
        _refuses(abi.encodeWithSelector(ParamsLib.TransactionGasTooLarge.selector, 100_000, 100_001));
        (p.transactionGas, p.nextTransactionGas) = (100_000, 100_002);
        _refuses(abi.encodeWithSelector(ParamsLib.TransactionGasTooLarge.selector, 100_000, 100_002));
    }

    function test_revertsWhen_anyByteIsTooDear() public {
        for (uint256 i = 0; i < 8; ++i) {
            _setByteGas(i, 1000);
            _accepts();

            _setByteGas(i, 1001);
            _refuses(abi.encodeWithSelector(ParamsLib.ByteGasTooLarge.selector, 1000, 1001));
            _setByteGas(i, 1000);
        }
    }

    function _setByteGas(uint256 which, uint64 gas) private {
        if (which == 0) p.zeroByteGas = gas;
        if (which == 1) p.byteGas = gas;
        if (which == 2) p.zeroByteFloorGas = gas;
        if (which == 3) p.byteFloorGas = gas;
        if (which == 4) p.nextZeroByteGas = gas;
        if (which == 5) p.nextByteGas = gas;
        if (which == 6) p.nextZeroByteFloorGas = gas;
        if (which == 7) p.nextByteFloorGas = gas;
    }

    function test_revertsWhen_theRepricedWriteIsOutOfRange() public {
        p.repricedWriteGas = 2901;
        _accepts();
        p.repricedWriteGas = 1_000_000;
        _accepts();

        p.repricedWriteGas = 2900;
        _refuses(abi.encodeWithSelector(ParamsLib.RepricedWriteGasOutOfRange.selector, 2901, 1_000_000, 2900));
        p.repricedWriteGas = 1_000_001;
        _refuses(abi.encodeWithSelector(ParamsLib.RepricedWriteGasOutOfRange.selector, 2901, 1_000_000, 1_000_001));
    }

    function test_revertsWhen_forcedMaxBytesIsOutOfRange() public {
        p.forcedMaxBytes = 100_001;
        _refuses(abi.encodeWithSelector(ParamsLib.ForcedMaxBytesOutOfRange.selector, 100_000, 100_001));

        p.forcedMaxBytes = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.ForcedMaxBytesOutOfRange.selector, 100_000, 0));
    }

    function test_revertsWhen_forcedFeeNeverDoubles() public {
        p.forcedFeeDoublingEntries = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.ForcedFeeDoublingIsZero.selector));
    }

    function test_revertsWhen_forcedFeeDoublesTooOften() public {
        p.forcedFeeMaxDoublings = 10;
        _accepts();

        p.forcedFeeMaxDoublings = 11;
        _refuses(abi.encodeWithSelector(ParamsLib.ForcedFeeDoublingsTooMany.selector, 10, 11));
    }

    function test_revertsWhen_maxBatchBytesIsOutOfRange() public {
        p.maxBatchBytes = 100_001;
        _refuses(abi.encodeWithSelector(ParamsLib.MaxBatchBytesOutOfRange.selector, 100_000, 100_001));

        p.maxBatchBytes = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.MaxBatchBytesOutOfRange.selector, 100_000, 0));
    }

    function test_revertsWhen_aPenaltyIsAboveTheWhole() public {
        (p.doubleSignBps, p.brokenPromiseBps, p.missedTurnBps) = (10_000, 10_000, 10_000);
        _accepts();

        bytes memory error_ = abi.encodeWithSelector(ParamsLib.ShareAboveWhole.selector, 10_000, 10_001);
        p.doubleSignBps = 10_001;
        _refuses(error_);
        (p.doubleSignBps, p.brokenPromiseBps) = (10_000, 10_001);
        _refuses(error_);
        (p.brokenPromiseBps, p.missedTurnBps) = (10_000, 10_001);
        _refuses(error_);
        (p.missedTurnBps, p.commissionRaiseBps) = (10_000, 10_001);
        _refuses(error_);
    }

    /* DELAYS */

    function test_revertsWhen_exitDelayIsTooShort() public {
        uint64 minimum =
            p.evidenceWindowSeconds + 2 * p.correlationWindowSeconds + p.guardianDelaySeconds + p.exitMarginSeconds;
        p.exitDelaySeconds = minimum;
        _accepts();

        p.exitDelaySeconds = minimum - 1;
        _refuses(abi.encodeWithSelector(ParamsLib.ExitDelayTooShort.selector, minimum, minimum - 1));
    }

    function test_revertsWhen_evidenceWindowIsShorterThanTheLag() public {
        p.maxEpochLag = 47;
        _accepts();

        p.maxEpochLag = 48;
        _refuses(
            abi.encodeWithSelector(
                ParamsLib.EvidenceWindowShorterThanLag.selector, 49 * 2 hours, p.evidenceWindowSeconds
            )
        );
    }

    function test_revertsWhen_maxEpochLagIsTooSmall() public {
        p.maxEpochLag = 2;
        _accepts();

        p.maxEpochLag = 1;
        _refuses(abi.encodeWithSelector(ParamsLib.MaxEpochLagTooSmall.selector, 2, 1));
    }

    function test_revertsWhen_anEpochCanAttestLongerThanIsCounted() public {
        (p.maxEpochLag, p.evidenceWindowSeconds) = (2, type(uint32).max);
        (p.exitDelaySeconds, p.ringSize) = (type(uint64).max, type(uint64).max);
        p.commissionDelaySeconds = type(uint64).max;
        p.epochSeconds = 262_143; // a quarter of 2^20 - 1, rounded down
        _accepts();

        p.epochSeconds = 262_144;
        _refuses(abi.encodeWithSelector(ParamsLib.AttestedTimeTooLong.selector, 1_048_575, 1_048_576));
    }

    function test_revertsWhen_forcedDeadlineIsTooShort() public {
        // 96 blocks of 12 s, 24 s of batch age, five takeovers of 60 s: 1,476 s, which is 123 blocks.
        p.forcedDeadlineBlocks = 123;
        _accepts();

        p.forcedDeadlineBlocks = 122;
        _refuses(abi.encodeWithSelector(ParamsLib.ForcedDeadlineTooShort.selector, 1476, 1464));
    }

    function test_revertsWhen_takeoverIsTooShort() public {
        p.takeoverSeconds = 54;
        _accepts();

        p.takeoverSeconds = 53;
        _refuses(abi.encodeWithSelector(ParamsLib.TakeoverTooShort.selector, 54_000, 53_000));
    }

    function test_revertsWhen_escapeDelayIsNotAboveTheTakeovers() public {
        p.escapeDelaySeconds = 301;
        _accepts();

        p.escapeDelaySeconds = 300;
        _refuses(abi.encodeWithSelector(ParamsLib.EscapeDelayNotAboveTakeovers.selector, 300, 300));
    }

    function test_revertsWhen_restartDelayIsNotAboveTheEscapeDelay() public {
        p.escapeDelaySeconds = p.restartDelaySeconds - 1;
        _accepts();

        p.escapeDelaySeconds = p.restartDelaySeconds;
        _refuses(
            abi.encodeWithSelector(
                ParamsLib.RestartDelayNotAboveEscapeDelay.selector, p.restartDelaySeconds, p.restartDelaySeconds
            )
        );
    }

    function test_revertsWhen_evidenceWindowIsShorterThanARestart() public {
        p.evidenceWindowSeconds = p.restartDelaySeconds + p.restartWindowSeconds;
        _accepts();

        p.evidenceWindowSeconds -= 1;
        _refuses(
            abi.encodeWithSelector(
                ParamsLib.EvidenceWindowShorterThanRestart.selector,
                p.evidenceWindowSeconds + 1,
                p.evidenceWindowSeconds
            )
        );
    }

    /* PACE */

    function test_revertsWhen_turnIsTooShort() public {
        p.turnLength = 24;
        _accepts();

        p.turnLength = 23;
        _refuses(abi.encodeWithSelector(ParamsLib.TurnTooShort.selector, 24_000, 23_000));
    }

    function test_revertsWhen_maxBatchAgeIsBelowAnL1Block() public {
        p.maxBatchAgeSeconds = 12;
        _accepts();

        p.maxBatchAgeSeconds = 11;
        _refuses(abi.encodeWithSelector(ParamsLib.MaxBatchAgeBelowL1Block.selector, 12, 11));
    }

    function test_revertsWhen_maxBatchAgeIsBelowTheIdleInterval() public {
        p.idleIntervalMillis = 24_000;
        _accepts();

        p.idleIntervalMillis = 24_001;
        _refuses(abi.encodeWithSelector(ParamsLib.MaxBatchAgeBelowIdleInterval.selector, 24_001, 24_000));
    }

    function test_revertsWhen_idleBatchAgeIsBelowMaxBatchAge() public {
        p.idleBatchAgeSeconds = 24;
        _accepts();

        p.idleBatchAgeSeconds = 23;
        _refuses(abi.encodeWithSelector(ParamsLib.IdleBatchAgeBelowMaxBatchAge.selector, 24, 23));
    }

    function test_revertsWhen_idleBatchAgeIsAboveAnEpoch() public {
        p.idleBatchAgeSeconds = 2 hours;
        _accepts();

        p.idleBatchAgeSeconds = 2 hours + 1;
        _refuses(abi.encodeWithSelector(ParamsLib.IdleBatchAgeAboveEpoch.selector, 2 hours, 2 hours + 1));
    }

    function test_revertsWhen_idleBatchAgeIsAboveAQuarterOfTheRestartDelay() public {
        p.epochSeconds = 20 hours;
        p.idleBatchAgeSeconds = 12.5 hours;
        _accepts();

        p.idleBatchAgeSeconds = 12.5 hours + 1;
        _refuses(
            abi.encodeWithSelector(
                ParamsLib.IdleBatchAgeAboveQuarterOfRestartDelay.selector, 12.5 hours, 12.5 hours + 1
            )
        );
    }

    function test_revertsWhen_driftIsAboveAQuarterOfATakeover() public {
        p.driftSeconds = 15;
        _accepts();

        p.driftSeconds = 16;
        _refuses(abi.encodeWithSelector(ParamsLib.DriftAboveQuarterOfTakeover.selector, 15, 16));
    }

    /* SIZES */

    function test_revertsWhen_bountyAndCompensationAreAboveHalf() public {
        (p.bountyBps, p.compensationBps) = (2000, 3000);
        _accepts();

        p.bountyBps = 2001;
        _refuses(abi.encodeWithSelector(ParamsLib.BountyAndCompensationAboveHalf.selector, 5000, 5001));
    }

    function test_revertsWhen_ringIsTooSmall() public {
        p.ringSize = 28_800; // 8 days of batches of 24 s
        _accepts();

        p.ringSize = 28_799;
        _refuses(abi.encodeWithSelector(ParamsLib.RingTooSmall.selector, 28_800, 28_799));
    }

    function test_revertsWhen_rollupReserveIsTooSmall() public {
        // 96 blocks of 12 s and six takeovers of 60 s: 1,512 s, a batch of 100,000 bytes in each.
        uint256 minimum = p.rollupByteWei * 100_000 * 1512;
        p.rollupReserveWei = minimum;
        _accepts();

        p.rollupReserveWei = minimum - 1;
        _refuses(abi.encodeWithSelector(ParamsLib.RollupReserveTooSmall.selector, minimum, minimum - 1));
    }

    function test_revertsWhen_maxMembersIsTooLarge() public {
        p.maxMembers = 128;
        _accepts();

        p.maxMembers = 129;
        _refuses(abi.encodeWithSelector(ParamsLib.MaxMembersTooLarge.selector, 128, 129));
    }

    function test_revertsWhen_minMembersIsOutOfRange() public {
        p.minMembers = 1;
        _accepts();
        p.minMembers = p.maxMembers;
        _accepts();

        p.minMembers = 0;
        _refuses(abi.encodeWithSelector(ParamsLib.MinMembersOutOfRange.selector, 1, p.maxMembers, 0));
        p.minMembers = p.maxMembers + 1;
        _refuses(abi.encodeWithSelector(ParamsLib.MinMembersOutOfRange.selector, 1, p.maxMembers, p.maxMembers + 1));
    }

    function test_revertsWhen_minStakeIsBelowTheWeightUnit() public {
        p.minStakeWei = p.weightUnitWei;
        _accepts();

        p.minStakeWei = p.weightUnitWei - 1;
        _refuses(
            abi.encodeWithSelector(ParamsLib.MinStakeBelowWeightUnit.selector, p.weightUnitWei, p.weightUnitWei - 1)
        );
    }

    function testFuzz_neverOverflowsOnWildDelays(uint64 a, uint64 b, uint64 c) public {
        (p.exitDelaySeconds, p.evidenceWindowSeconds, p.restartDelaySeconds) = (a, b, c);
        (p.epochSeconds, p.maxEpochLag, p.turnLength) = (type(uint64).max, type(uint64).max, type(uint64).max);

        // Whatever it answers, it answers with an error of its own and not with a panic.
        (bool ok, bytes memory answer) = address(this).staticcall(abi.encodeCall(this.check, (p)));
        assertFalse(ok);
        assertNotEq(bytes4(answer), bytes4(keccak256("Panic(uint256)")));
    }

    /* HELPERS */

    function check(Params memory params) external pure {
        ParamsLib.check(params);
    }

    function checkSeedDistance(Params memory params, uint256 chainId) external pure {
        ParamsLib.checkSeedDistance(params, chainId);
    }

    function checkGenesis(Params memory params, uint256 time) external pure {
        ParamsLib.checkGenesis(params, time);
    }

    function _accepts() private view {
        this.check(p);
    }

    function _refuses(bytes memory error_) private {
        vm.expectRevert(error_);
        this.check(p);
    }
}
