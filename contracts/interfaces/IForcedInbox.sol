// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// An entry of the forced queue. Its transaction is in the event {IForcedInbox.ForcedEnqueued}.
struct ForcedEntry {
    uint64 enqueuedAtBlock;
    uint64 enqueuedAt;
    /// What its sender burned.
    uint256 feeWei;
    /// keccak256(abi.encode(chain hash of the entry before, index, rollup, sender, keccak256(transaction))).
    bytes32 chainHash;
}

/// Entries that came late with a batch (R30): `first` up to but not `through`, and what they burned together.
struct LateEntries {
    uint64 first;
    uint64 through;
    uint128 feesWei;
}

/// @title The way in that no sequencer can close
/// @notice Anyone enqueues a raw transaction for a registered rollup (R31). Batches consume the queue in its order, at most
/// 16 entries more a block than the block before (R17). No batch leaves an entry behind that is due at the origin which the
/// batch names (R30). Once the first waiting entry is older than deadline and escape delay, nothing settles past it whatever
/// its origin, and anyone consumes entries without a sequencer (R32).
///
/// Entries are counted from 0; `forcedThrough` and `consumed` are numbers of entries, so the first one that is not
/// consumed has the index `consumed`.
interface IForcedInbox {
    /// @notice `sender` is who called; what the transaction itself says of its sender is the rollup's business.
    event ForcedEnqueued(
        uint64 indexed index,
        uint64 indexed rollup,
        address indexed sender,
        uint256 feeWei,
        bytes32 chainHash,
        bytes transaction
    );

    /// @notice Entries `first` up to but not `through` were consumed outside of any batch: by {escape}, or by a settlement in front
    /// of its batch. They are derived at this place.
    event ForcedEscaped(uint64 indexed first, uint64 through, address indexed caller);

    error ForcedRollupUnknown(uint64 rollup);
    error ForcedLength(uint256 minimum, uint256 maximum, uint256 actual);
    error ForcedQueueFull(uint64 maximum);
    error ForcedFeeTooSmall(uint256 expectedWei, uint256 actualWei);
    error UnknownForcedEntry(uint64 length, uint64 index);

    /// @notice forcedThrough is below that of the batch before.
    error ForcedThroughGoesBack(uint64 minimum, uint64 actual);

    /// @notice A batch can name no entry that is not there.
    error ForcedThroughAboveQueue(uint64 length, uint64 actual);

    /// @notice The batch leaves entry `index` behind, which is due at its origin, and consumes fewer than 16.
    error ForcedEntryLeftBehind(uint64 index, uint64 dueAtBlock, uint64 originNumber);

    /// @notice The batch would leave entry `index` behind, which has been open to {escape} since L1 time `openFrom`, though it lets
    /// in before itself as many as an escape does. It settles once calls to {escape} have let in enough.
    error ForcedEntryOverdue(uint64 index, uint64 openFrom, uint64 time);

    /// @notice Entries are consumed between blocks, and there is none before block 0.
    error EscapeBeforeGenesis();
    error NothingToEscape();
    error EscapeNotDue(uint64 openFrom, uint64 time);

    /// @notice Enqueues `transaction`, byte for byte, for `rollup`. At least {forcedFee} has to be sent; all of it burns.
    ///
    /// Reverts with {ForcedRollupUnknown}, {ForcedLength}, {ForcedQueueFull}, {ForcedFeeTooSmall}.
    function force(uint64 rollup, bytes calldata transaction) external payable returns (uint64 index);

    /// @notice Consumes up to 1,024 entries that are open to escape (R32): those that have waited for the deadline, counted in
    /// l1BlockSeconds, and escapeDelay. Anyone may, at any time, as often as there are any. Returns the new
    /// {forcedConsumed}.
    ///
    /// Reverts with {EscapeBeforeGenesis}, {NothingToEscape}, {EscapeNotDue}.
    function escape() external returns (uint64 consumed);

    /// @notice What the next entry costs: forcedFee, doubled once for every forcedFeeDoublingEntries that wait, at most
    /// forcedFeeMaxDoublings times; never above 2^256 - 1.
    function forcedFee() external view returns (uint256 feeWei);

    /// @notice Entries ever enqueued.
    function forcedLength() external view returns (uint64);

    /// @notice Entries consumed, by batches or by escape.
    function forcedConsumed() external view returns (uint64);

    /// @notice Reverts with {UnknownForcedEntry}.
    function forcedEntry(uint64 index) external view returns (ForcedEntry memory);

    /// @notice What came late with batch `batch`, for {ITally.compensate}; zeros if nothing did.
    function lateEntries(uint64 batch) external view returns (LateEntries memory);
}
