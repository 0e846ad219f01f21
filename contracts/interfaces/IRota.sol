// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BlockHeader} from "../types/Wire.sol";
import {Params} from "../types/Params.sol";

/// One member of a frozen leader set, in the set's order (ascending by signer as a number).
struct Member {
    address signer;
    uint64 weight;
}

/// A frozen leader set (R4) and the epoch in which it was sealed; a carried set keeps its own `sealedFor`.
struct LeaderSet {
    uint32 generation;
    uint64 sealedFor;
    bytes32 seed;
    uint64 total;
    Member[] members;
}

/// @title Whose turn it is
/// @notice Freezes the leader set of each epoch one epoch ahead and draws the leader of every turn from it (R1-R6,
/// R10-R12).
interface IRota {
    /// @notice A set was frozen. `pointer` is the contract whose code holds it: a STOP byte, then total (7 bytes),
    /// seed (32), generation (4), count (1), then per member signer (20) and weight (7), all big-endian.
    event Sealed(
        uint32 indexed generation, uint64 indexed epoch, address pointer, bytes32 seed, uint64 total, uint256 count
    );

    /// @notice The first seal fixed block 0, the parent of everything.
    event GenesisFixed(bytes32 indexed blockHash, BlockHeader header);

    /// @notice Freezes the set of `epoch`: the running epoch as long as nothing was ever sealed (R2), else the next.
    function seal(uint64 epoch) external;

    /// @notice Epoch of an L1 time in seconds. Times before genesis are in epoch 0.
    function epochAt(uint64 time) external view returns (uint64);

    /// @notice First second of an epoch.
    function startOf(uint64 epoch) external view returns (uint64);

    /// @notice The set in force in `epoch` of the running generation, sealed or carried.
    function leaderSet(uint64 epoch) external view returns (LeaderSet memory);

    /// @notice The set in force in `epoch` of `generation`, as {leaderSet}.
    function leaderSetOf(uint32 generation, uint64 epoch) external view returns (LeaderSet memory);

    /// @notice Signer of the first draw of `turn` under the set in force in `epoch` (R11).
    function leaderOf(uint64 epoch, uint64 turn) external view returns (address);

    /// @notice {leaderOf} for `count` turns from `firstTurn` on, at most 256.
    function schedule(uint64 epoch, uint64 firstTurn, uint64 count) external view returns (address[] memory);

    /// @notice The first epoch at or after `epoch` that was sealed; `found` is false if none was yet.
    function firstSealedAtOrAfter(uint64 epoch) external view returns (bool found, uint64 sealedEpoch);

    /// @notice All parameters of the deployment.
    function params() external view returns (Params memory);

    /// @notice The running generation (R33).
    function generation() external view returns (uint32);

    /// @notice Member `index` of the set in force in `epoch` of `generation`; reverts when there is none.
    function memberAt(uint32 generation, uint64 epoch, uint256 index) external view returns (Member memory);

    /// @notice Total weight of the set in force in `epoch` of `generation`.
    function totalAt(uint32 generation, uint64 epoch) external view returns (uint64);
}
