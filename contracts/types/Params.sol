// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Everything that a deployment fixes for ever (§12). Seconds, milliseconds, wei, bytes, blocks and basis points
/// (1/10,000) as the names say. Agents read these from L1, never from a configuration of their own.
struct Params {
    // time and sets
    uint64 genesis;
    uint64 epochSeconds;
    uint64 maxEpochLag;
    uint64 minMembers;
    uint64 maxMembers;
    uint64 l1BlockSeconds;
    uint64 originDepthBlocks;
    // turns and blocks
    uint64 turnLength;
    uint64 intervalMillis;
    uint64 idleIntervalMillis;
    // batches
    uint64 maxBatchBytes;
    uint64 maxBatchAgeSeconds;
    uint64 idleBatchAgeSeconds;
    uint64 takeoverSeconds;
    uint64 driftSeconds;
    uint64 ringSize;
    // forced queue, escape, restart
    uint64 forcedDeadlineBlocks;
    uint64 forcedGraceBlocks;
    /// Largest transaction that the queue takes.
    uint64 forcedMaxBytes;
    /// The fee doubles with every so many entries that wait.
    uint64 forcedFeeDoublingEntries;
    /// At most so many times, however many wait.
    uint64 forcedFeeMaxDoublings;
    uint64 escapeDelaySeconds;
    uint64 restartDelaySeconds;
    uint64 restartWindowSeconds;
    // evidence and exits
    uint64 evidenceWindowSeconds;
    uint64 correlationWindowSeconds;
    uint64 guardianDelaySeconds;
    uint64 exitMarginSeconds;
    uint64 exitDelaySeconds;
    // commission: by how much a sequencer can raise it at once, and how long before a raise counts
    uint64 commissionRaiseBps;
    uint64 commissionDelaySeconds;
    // stake
    uint256 minStakeWei;
    uint256 weightUnitWei;
    /// Least part of what it leads that an owner holds itself, when others delegate.
    uint64 minSelfBondBps;
    // slashing
    uint64 doubleSignBps;
    uint64 correlationFactor;
    uint64 brokenPromiseBps;
    uint64 missedTurnBps;
    uint64 bountyBps;
    uint64 compensationBps;
    uint64 jailSeconds;
    // rewards: wei of ETH to the poster of a regular batch, wei of the stake token to all signers together for a second of the
    // chain
    uint256 posterMarginWei;
    uint256 signersSecondWei;
    // forced queue: what an entry costs while nothing waits
    uint256 forcedFeeWei;
    // rollups
    uint256 rollupFeeWei;
    uint256 rollupReserveWei;
    uint256 rollupByteWei;
}

/// Where the contracts of one deployment stand. They are announced to every constructor before the first of them
/// exists (computed from the deployer's nonces), and each constructor checks its own.
struct Addresses {
    /// The ERC-20 that is staked.
    address stakeToken;
    address registry;
    address settlement;
    address tally;
    address slasher;
    address rewardPool;
    address rollups;
    /// May delay one execution of a slash once, by guardianDelaySeconds; zero if the deployment has none.
    address guardian;
}
