// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// A restart under way, or the last one.
struct RestartState {
    /// Zero if there never was one.
    uint64 openedAt;
    uint64 checkInUntil;
    uint64 finishUntil;
    /// Restarts in a row that ended without a new generation.
    uint64 lapsed;
    /// Sequencers that checked in, and their weight.
    uint64 count;
    uint64 weight;
}

/// @title A new generation after a catastrophe (R33)
/// @notice When more than a third of a frozen set never returns, no batch can settle and no epoch can help. After
/// restartDelay without a settled batch anyone opens a restart; who is still there checks in; then anyone finishes, and
/// those who checked in are the set of a new generation. What is settled stays; what was only decided is ordered again.
interface IRestart {
    event RestartOpened(uint64 indexed openedAt, uint64 checkInUntil, uint64 finishUntil);
    event CheckedIn(uint64 indexed openedAt, uint32 indexed id, uint64 weight);

    /// @notice Follows the `Sealed` event of the generation's first set. Its first block has height `lastHeight` + 1, the
    /// parent `lastBlockHash` and an origin at or after this one's L1 block.
    event GenerationStarted(uint32 indexed generation, uint64 indexed epoch, uint64 lastHeight, bytes32 lastBlockHash);

    error RestartNotDue(uint64 openFrom, uint64 time);
    error RestartUnderWay(uint64 finishUntil);
    error NoRestartOpen();
    error CheckInOver(uint64 until, uint64 time);
    error FinishNotOpen(uint64 from, uint64 until, uint64 time);
    error AlreadyCheckedIn(uint32 id);
    error NotOwnerOrSigner(uint32 id, address caller);
    error NotEligible(uint32 id);
    error CheckedInTooFew(uint256 needed, uint256 actual);

    /// @notice Opens a restart, after restartDelay without a settled batch.
    function openRestart() external;

    /// @notice Says that sequencer `id` is there. Its owner or its signer calls.
    function checkIn(uint32 id) external;

    /// @notice Raises the generation, with those who checked in as the set of the running epoch.
    function finishRestart() external;

    function restart() external view returns (RestartState memory);
}
