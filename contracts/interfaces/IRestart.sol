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
    /// Sequencers that weighed something when they checked in, and their weight then.
    uint64 count;
    uint64 weight;
}

/// @title A new generation after a catastrophe (R33)
/// @notice When more than a third of a frozen set never returns, no batch can settle and no epoch can help. After
/// restartDelay without a settled batch anyone opens a restart; who is still there checks in; then anyone finishes, and
/// those who checked in are the set of a new generation. What is settled stays; what was only decided is ordered again.
interface IRestart {
    event RestartOpened(uint64 indexed openedAt, uint64 checkInUntil, uint64 finishUntil);
    /// @notice The members of the next generation are fixed, and so is the L1 block that their seed comes from, `number`.
    event CheckInClosed(uint64 indexed openedAt, address pointer, uint64 number);

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
    error CheckInNotClosed();
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

    /// @notice Fixes who checked in as the set of the next generation, each with the key and weight of this moment, and the
    /// L1 block from which its seed comes: one that is yet to come, so that nobody can choose a key or a weight by it (R4).
    /// They must hold more than a third of the weight of the set in force; after three restarts in a row that lapsed,
    /// minMembers of them suffice. Where nobody is in the set in force they are at least minMembers, until exitDelay has passed
    /// since it was sealed for (R5). Once a restart; should L1 forget that block, another is pinned for the same set.
    ///
    /// Reverts with {NoRestartOpen}, {FinishNotOpen}, {IRota.PinStands}, {IRota.PinTooLate}, {CheckedInTooFew},
    /// {IRota.TooFewMembers}.
    function closeCheckIn() external;

    /// @notice Raises the generation, with the set that {closeCheckIn} fixed as that of the running epoch. `header` is the RLP
    /// header of the L1 block that it pinned.
    ///
    /// Reverts with {NoRestartOpen}, {FinishNotOpen}, {CheckInNotClosed}, {L1BlockLib.BlockNotRemembered},
    /// {L1BlockLib.HeaderMismatch}, {TipLib.GenerationAboveMaximum}.
    function finishRestart(bytes calldata header) external;

    /// @notice The L1 block that {closeCheckIn} pinned for the restart opened last; zero if it did not yet, or L1 has
    /// forgotten it.
    function pinnedForRestart() external view returns (uint64);

    function restart() external view returns (RestartState memory);
}
