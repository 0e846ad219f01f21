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
    // refunds, in ETH: the share on top of them that whoever works keeps, and the tip that is refunded at the most
    uint64 refundMarginBps;
    uint64 priorityWei;
    // rewards: wei of the stake token, to all signers together for a second of the chain
    uint256 signersSecondWei;
    // What L1 charges that a contract cannot measure, in gas: a transaction, a byte of its calldata, zero or not, and the
    // floors under these (EIP-7623).
    uint64 transactionGas;
    uint64 zeroByteGas;
    uint64 byteGas;
    uint64 zeroByteFloorGas;
    uint64 byteFloorGas;
    // The same once L1 takes as much as repricedWriteGas for a change of a slot.
    uint64 repricedWriteGas;
    uint64 nextTransactionGas;
    uint64 nextZeroByteGas;
    uint64 nextByteGas;
    uint64 nextZeroByteFloorGas;
    uint64 nextByteFloorGas;
    // forced queue: what an entry costs while nothing waits
    uint256 forcedFeeWei;
    // rollups
    uint256 rollupFeeWei;
    uint256 rollupReserveWei;
    /// What a byte costs at the base fee that the reserve is made for.
    uint256 rollupByteWei;
    /// Gas that rollups pay for a batch besides, at its base fee, for tallying and debiting it.
    uint64 rollupBookingGas;
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
