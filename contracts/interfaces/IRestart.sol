// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// The restart opened last. It is over once the tip's `settledAt` is not before `openedAt`: a batch settled, or a
/// generation began.
struct RestartState {
    /// Zero if there never was one.
    uint64 openedAt;
    uint64 checkInUntil;
    uint64 finishUntil;
    /// Restarts in a row, right before this one, that ended without a batch and without a new generation.
    uint64 lapsed;
    /// Sequencers that checked in, and their weight when they did.
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

    /// @notice A sequencer that had missed the restart is eligible again.
    event Returned(uint32 indexed id);

    /// @notice Follows the `Sealed` event of the generation's first set. Its first block has height `lastHeight` + 1, the
    /// parent `lastBlockHash` and an origin at or after this one's L1 block. A seal emits it too, after an empty set (R5).
    event GenerationStarted(uint32 indexed generation, uint64 indexed epoch, uint64 lastHeight, bytes32 lastBlockHash);

    error RestartNotDue(uint64 openFrom, uint64 time);
    error RestartUnderWay(uint64 finishUntil);
    error NoRestartOpen();
    error CheckInOver(uint64 until, uint64 time);
    error FinishNotOpen(uint64 from, uint64 until, uint64 time);
    error AlreadyCheckedIn(uint32 id);
    error NotOwnerOrSigner(uint32 id, address caller);

    /// @notice The sequencer weighs nothing: it is jailed, tombstoned or leaving.
    error NotEligible(uint32 id);

    /// @notice What checked in and still weighs something is not more than a third of the set in force.
    error CheckedInTooFew(uint256 needed, uint256 actual);

    /// @notice Opens a restart, once restartDelay has passed since the last batch settled or since the generation began.
    /// Check-ins are taken for restartWindow from then on, and for another restartWindow it can be finished. One that was
    /// neither finished nor ended by a batch until then has lapsed, and the next can be opened.
    ///
    /// Reverts with {ICalendar.NoSetInForce} before block 0, {RestartNotDue}, {RestartUnderWay}.
    function openRestart() external;

    /// @notice Says that sequencer `id` is there. Its owner or its signer calls.
    ///
    /// While no restart is open, this brings back a sequencer that missed the one with which the running generation began:
    /// it is eligible again, as of the next epoch.
    ///
    /// Reverts with {NoRestartOpen}, {CheckInOver}, {ISequencerRegistry.UnknownSequencer}, {NotOwnerOrSigner},
    /// {NotEligible}, {AlreadyCheckedIn}.
    function checkIn(uint32 id) external;

    /// @notice Raises the generation, with those who checked in as the set of the running epoch, each with the key and
    /// weight of this moment. They must hold more than a third of the weight of the set in force; after three restarts in a
    /// row that lapsed, minMembers of them suffice.
    ///
    /// Reverts with {NoRestartOpen}, {FinishNotOpen}, {CheckedInTooFew}, {TipLib.GenerationAboveMaximum}.
    function finishRestart() external;

    function restart() external view returns (RestartState memory);
}
