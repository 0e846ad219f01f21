// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// One member of a frozen leader set, in the set's order (ascending by signer as a number).
struct Member {
    address signer;
    uint64 weight;
}

/// @title Which epoch is when, and whose
/// @notice What other contracts ask of the rota, and every settlement with them.
interface ICalendar {
    /// @notice No set of this generation was sealed at or before this epoch.
    error NoSetInForce(uint32 generation, uint64 epoch);

    /// @notice The epoch would begin after the last second that 64 bits can name.
    error EpochBeyondTime(uint64 last, uint64 actual);

    /// @notice Epoch of an L1 time in seconds. Times before genesis are in epoch 0.
    function epochAt(uint64 time) external view returns (uint64);

    /// @notice First second of an epoch.
    ///
    /// Reverts with {EpochBeyondTime}.
    function startOf(uint64 epoch) external view returns (uint64);

    /// @notice The contract whose code holds the set in force in `epoch` of `generation`, the epoch it was sealed for, and the
    /// seed of its draws, which the code does not hold: several epochs may share that, and it is stored before the seed is known.
    /// @dev For an epoch after the next the answer can still change: a later seal replaces what would be carried.
    ///
    /// Reverts with {NoSetInForce}.
    function setOf(uint32 generation, uint64 epoch)
        external
        view
        returns (address pointer, uint64 sealedFor, bytes32 seed);

    /// @notice L1 time at which the set in force in `epoch` of `generation` ends or ended: the start of the next sealed
    /// epoch, or the beginning of the next generation if that is earlier. `known` is false as long as neither is in sight.
    /// O(log n).
    ///
    /// Reverts with {NoSetInForce}.
    function endOf(uint32 generation, uint64 epoch) external view returns (bool known, uint64 time);

    /// @notice The running generation (R33).
    function generation() external view returns (uint32);

    /// @notice Member `index` of the set in force in `epoch` of `generation`; reverts when there is none.
    function memberAt(uint32 generation, uint64 epoch, uint256 index) external view returns (Member memory);

    /// @notice Total weight of the set in force in `epoch` of `generation`.
    function totalAt(uint32 generation, uint64 epoch) external view returns (uint64);
}
