// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Settled} from "./ITally.sol";

struct Rollup {
    address owner;
    uint64 registeredAtBlock;
    /// Its owner closed it: nothing of it is ordered, whatever its balance.
    bool closed;
    uint256 balanceWei;
}

/// A settled batch and what its rollups take of it, as {IRollups.debitMany} takes several.
struct Debit {
    uint64 number;
    Settled batch;
    /// As in {IRollups.debit}.
    bytes usage;
}

/// @title Rollups
/// @notice Chain ids that the network orders for, with a prepaid payload allowance (R43). What their transactions take of a
/// settled batch is debited afterwards and funds the reward pool.
interface IRollups {
    event RollupRegistered(uint64 indexed chainId, address indexed owner, uint256 balanceWei);
    /// @notice `allowanceWei`, here and below: its balance, or nothing while its owner has closed it.
    event RollupFunded(uint64 indexed chainId, uint256 amountWei, uint256 allowanceWei);

    /// @notice `amountWei` were taken for the bytes in `batch`.
    event RollupDebited(uint64 indexed chainId, uint64 indexed batch, uint256 amountWei, uint256 allowanceWei);

    /// @notice `owedWei` in all is what its bytes cost and the rollup did not have.
    event RollupOwes(uint64 indexed chainId, uint256 owedWei);

    /// @notice All rollups of `batch` were debited, `paidWei` together.
    event BatchDebited(uint64 indexed batch, uint256 paidWei);

    /// @notice `next` may take the rollup over; nobody may if it is zero.
    event RollupOffered(uint64 indexed chainId, address indexed next);
    event RollupOwnerChanged(uint64 indexed chainId, address indexed before, address indexed owner);

    /// @notice Its owner closed it, or has it open again.
    event RollupClosed(uint64 indexed chainId, bool closed, uint256 allowanceWei);

    error ChainIdIsZero();
    error AlreadyRegistered(uint64 chainId, address owner);
    error NotRegistered(uint64 chainId);
    error FeeTooSmall(uint256 minimumWei, uint256 actualWei);
    error NothingSent();
    error NotOwner(address expected, address actual);

    /// @notice It is closed, or open, already.
    error NothingChanges(uint64 chainId);

    error NothingToDebit();
    error AlreadyDebited(uint64 batch);

    /// @notice What was handed in is not what settled as batch `number`.
    error RingValueMismatch(uint64 number, bytes32 expected, bytes32 actual);

    /// @notice The list is not a whole number of entries.
    error UsageLengthWrong(uint256 entryBytes, uint256 actualBytes);

    /// @notice The batch's header commits to another list.
    error UsageMismatch(bytes32 expected, bytes32 actual);

    /// @notice The list is not sorted, or names a rollup twice.
    error UsageNotAscending(uint64 before, uint64 actual);

    /// @notice Registers a chain id, first come; the fee is burned, what is sent beyond it is the allowance.
    ///
    /// Reverts with {ChainIdIsZero}, {AlreadyRegistered}, {FeeTooSmall}.
    function register(uint64 chainId) external payable;

    /// @notice Pays what a registered chain id owes, and adds the rest to its allowance, which opens it again once the reserve is
    /// there. Anyone may; nothing is ever paid back.
    ///
    /// Reverts with {NotRegistered}, {NothingSent}.
    function fund(uint64 chainId) external payable;

    /// @notice Offers a rollup to `next`; zero takes the offer back. Nothing changes until {acceptOwner}. Owner only.
    ///
    /// Reverts with {NotRegistered}, {NotOwner}.
    function proposeOwner(uint64 chainId, address next) external;

    /// @notice Makes the caller the owner of a rollup that was offered to it. Its balance stays where it is.
    ///
    /// Reverts with {NotRegistered}, {NotOwner} and to whom it was offered.
    function acceptOwner(uint64 chainId) external;

    /// @notice To whom `chainId` is offered; zero if to nobody.
    function nextOwner(uint64 chainId) external view returns (address);

    /// @notice Closes a rollup, or opens it again: no block with an origin from this L1 block on orders for it while it is
    /// closed (R43). What was ordered before is debited all the same, and its balance stays. Owner only.
    ///
    /// Reverts with {NotRegistered}, {NotOwner}, {NothingChanges}.
    function setClosed(uint64 chainId, bool closed) external;

    /// @notice Takes from each rollup of a settled batch what its bytes cost, once per batch, while the ring holds it: its part
    /// of what the poster is refunded, with the whole margin, and of rollupBookingGas at the batch's base fee and priorityWei. A rollup that has
    /// less pays what it has and owes the rest; one that is not registered pays nothing: no balance keeps a batch from being
    /// debited. The ETH becomes free ETH of the reward pool, and the caller is refunded as for any duty: all of it for 16 batches
    /// or more, and once in an epoch for fewer, else in proportion; nothing if nobody paid.
    ///
    /// Reverts with {AlreadyDebited}, {IBatchInbox.NotInRing}, {RingValueMismatch}, {UsageLengthWrong}, {UsageMismatch},
    /// {UsageNotAscending}.
    /// @dev A list out of order that a quorum signed nevertheless is as lost as a `usageHash` of nothing: the network's
    /// own members keep themselves from being paid.
    /// @param usage The list behind `batch.header.usageHash`, packed: for each rollup, ascending, its chain id (8 bytes) and
    /// the bytes that it takes of the uncompressed payload (4 bytes).
    function debit(uint64 number, Settled calldata batch, bytes calldata usage) external;

    /// @notice Debits several batches, in any order. Those that are debited already are left out, so that two who do this
    /// at once do not undo each other.
    ///
    /// Reverts with {NothingToDebit} if there is none, and as {debit} without {AlreadyDebited}.
    function debitMany(Debit[] calldata debits) external;

    /// @notice What `chainId` owes the reward pool.
    function owed(uint64 chainId) external view returns (uint256 weiOwed);

    /// @notice Bit i set: batch 256 · `group` + i was debited.
    function debitedBatches(uint64 group) external view returns (uint256 bitmap);

    /// @notice Registered, not closed by its owner, and its balance is at least the reserve.
    function isOpen(uint64 chainId) external view returns (bool);

    /// @notice All zeros if `chainId` is not registered.
    function rollup(uint64 chainId) external view returns (Rollup memory);
}
