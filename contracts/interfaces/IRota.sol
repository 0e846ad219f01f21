// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Params} from "../types/Params.sol";
import {BlockHeader} from "../types/Wire.sol";
import {ICalendar, Member} from "./ICalendar.sol";

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
interface IRota is ICalendar {
    /// @notice A set was frozen. `pointer` is the contract whose code holds it: a STOP byte, then total (7 bytes),
    /// seed (32), generation (4), count (1), then per member signer (20) and weight (7), all big-endian.
    /// The seed in it is that of the set sealed before it was frozen; that of this epoch is `seed`, and `pinned` is the L1 block
    /// whose prevrandao went into it.
    event Sealed(
        uint32 indexed generation,
        uint64 indexed epoch,
        address pointer,
        bytes32 seed,
        uint64 total,
        uint256 count,
        uint64 pinned
    );

    /// @notice What is sealed in the running epoch, `epoch`, is the set at `pointer`, as in {Sealed}, with a seed that comes from
    /// L1 block `number`.
    event Pinned(uint32 indexed generation, uint64 indexed epoch, uint64 number, address pointer);

    /// @notice The first seal fixed block 0, the parent of everything.
    event GenesisFixed(bytes32 indexed blockHash, BlockHeader header);

    /// @notice Nothing can be sealed before genesis.
    error BeforeGenesis(uint64 genesis, uint64 time);

    /// @notice This epoch cannot be sealed now.
    /// @param expected The only epoch that can: the running one as long as nothing was ever sealed or the set in force is
    /// empty, else the next.
    error EpochNotSealable(uint64 expected, uint64 actual);

    /// @notice The set of this epoch is frozen already.
    error AlreadySealed(uint64 epoch);

    /// @notice Too few sequencers are eligible; the set before is carried, until exitDelay has passed since the start of
    /// the epoch sealed last (R5).
    error TooFewMembers(uint256 minimum, uint256 actual);

    /// @notice The block for this epoch's seal, or for this restart, is pinned already, and L1 remembers it or has yet to make it.
    error PinStands(uint64 number);

    /// @notice Too little of the epoch, or of the restart, is left for the block that would be pinned, and a seal after it.
    error PinTooLate(uint64 until, uint64 time);

    /// @notice No set and no block was pinned in this epoch for what is to be sealed in it.
    error NothingPinned(uint64 epoch);

    /// @notice A schedule of at most `maximum` turns can be asked for at once, and none beyond turn 2^64 - 2.
    error ScheduleTooLong(uint64 maximum, uint64 actual);

    /// @notice Seals the set of `epoch`: the running epoch as long as nothing was ever sealed (R2), else the next. The set is
    /// the one that was frozen in this epoch ({pin}): nothing that happened since then changes it. The caller is refunded as for
    /// any duty (R42).
    ///
    /// Under an empty set nothing is ordered or settled, and the next seal is of the running epoch and begins a generation (R5,
    /// {IRestart.GenerationStarted}).
    ///
    /// The seed comes from the block that was pinned with the set, whose RLP header is `header`. Whoever calls, and whenever, it
    /// is the same one (R4).
    ///
    /// Reverts with {BeforeGenesis}, {EpochNotSealable}, {AlreadySealed}, {NothingPinned}, {L1BlockLib.BlockNotRemembered},
    /// {L1BlockLib.HeaderMismatch}.
    function seal(uint64 epoch, bytes calldata header) external;

    /// @notice Freezes who is to be sealed in `epoch`, with the keys and weights of the start of the running epoch (R3), and fixes
    /// the L1 block from which the seed comes: a block that is yet to come. Once an epoch; should L1 forget that block, another is
    /// pinned for the same set. The caller's gas is refunded as for {seal}.
    ///
    /// If too few were eligible for exitDelay, the set holds whoever is, even nobody (R5).
    ///
    /// Reverts with {BeforeGenesis}, {EpochNotSealable}, {AlreadySealed}, {PinStands}, {PinTooLate}, {TooFewMembers},
    /// {CodeLib.CodeDepositFailed}.
    function pin(uint64 epoch) external;

    /// @notice The L1 block that is pinned for the seals of the running epoch; zero if none is, or L1 has forgotten it.
    function pinned() external view returns (uint64);

    /// @notice The contract whose code holds the set that is frozen for the seals of the running epoch; zero if none is.
    function pinnedSet() external view returns (address);

    /// @notice The set in force in `epoch` of the running generation, sealed or carried.
    function leaderSet(uint64 epoch) external view returns (LeaderSet memory);

    /// @notice The set in force in `epoch` of `generation`, as {leaderSet}.
    function leaderSetOf(uint32 generation, uint64 epoch) external view returns (LeaderSet memory);

    /// @notice Signer of the first draw of `turn` under the set in force in `epoch` (R11).
    function leaderOf(uint64 epoch, uint64 turn) external view returns (address);

    /// @notice {leaderOf} for `count` turns from `firstTurn` on, at most 256.
    ///
    /// Reverts with {ScheduleTooLong}, {NoSetInForce}, {DrawLib.EmptySet}.
    function schedule(uint64 epoch, uint64 firstTurn, uint64 count) external view returns (address[] memory);

    /// @notice L1 time from which on every set in force, of whatever generation, counts a change of stake or key that was
    /// made in `epoch` (R3, R8). `known` is false as long as no such set was sealed. O(log n).
    ///
    /// Reverts with {EpochBeyondTime}.
    function countsFrom(uint64 epoch) external view returns (bool known, uint64 time);

    /// @notice All parameters of the deployment.
    function params() external view returns (Params memory);
}
