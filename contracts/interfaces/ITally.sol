// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchHeader} from "../types/Wire.sol";

/// What the ring holds the hash of, with the header's hash in the header's place (R26): everything that
/// {ITally.tally} needs to know of a settled batch.
struct Settled {
    BatchHeader header;
    uint128 signers;
    address poster;
    uint64 settledAt;
    uint64 parentSettledAt;
    uint256 baseFeeWei;
    uint256 blobBaseFeeWei;
    /// As in {IBatchInbox.BatchSettled}.
    uint128 refundWei;
    uint64 blobs;
    bool late;
    /// Settled by the leader of its turn.
    bool led;
}

/// What one member of a set did in one epoch, as far as it was tallied.
struct Attendance {
    address signer;
    uint64 weight;
    /// Seconds of the chain in the batches that the member signed.
    uint64 attended;
    /// Sum over all members of weight times such seconds.
    uint256 signedWeight;
    /// No batch of the epoch can settle or be tallied any more.
    bool closed;
}

/// @title What settled batches earned and who missed a turn
/// @notice Anyone books settled batches, in order, from what the ring holds the hash of: the poster's refund and margin
/// and the signers' reward (R42), participation, and blame (R29). What nobody books while the ring holds it lapses to the
/// pool. A late batch earns nothing; of the ETH that it would have earned, the senders of the entries that came late with it
/// are compensated (R30).
interface ITally {
    /// @notice Refund, participation and blame of batches `first` to `last` were booked.
    event Tallied(uint64 indexed first, uint64 indexed last);

    /// @notice A turn was missed by its leader (R29).
    event TurnMissed(uint32 indexed generation, uint64 indexed turn, address indexed leader, uint64 epoch);

    error NothingToTally();
    /// @notice Turns of at most `maximum` epochs can be asked for at once.
    error TooManyEpochs(uint256 maximum, uint256 actual);

    /// @notice Entry `index` did not come late with batch `batch`.
    error EntryNotLate(uint64 batch, uint64 index);

    /// @notice This is not what was enqueued as entry `index`.
    error ChainHashMismatch(uint64 index, bytes32 expected, bytes32 actual);

    error AlreadyCompensated(uint64 index);

    /// @notice The batch is not tallied yet, or lapsed, or is owed nothing.
    error NothingToCompensate(uint64 batch);

    /// @notice Batches are tallied in order.
    error TallyNotNext(uint64 expected, uint64 actual);

    /// @notice What was handed in is not what settled as batch `number`.
    error RingValueMismatch(uint64 number, bytes32 expected, bytes32 actual);

    /// @notice Books batches `first`, `first + 1`, ... once each, in order, while the ring still holds them. Refunded as a duty (R42):
    /// all of it for 16 batches or more, and once in an epoch for fewer, else in proportion.
    ///
    /// Reverts with {NothingToTally}, {TallyNotNext}, {IBatchInbox.NotInRing}, {RingValueMismatch}.
    function tally(uint64 first, Settled[] calldata batches) external;

    /// @notice Puts in `sender`'s name what it gets for its entry `index` that came late with batch `batch`: its part, by
    /// fees, of what the batch would have earned, and never more than the fee that it burned. Anyone may call, once for each
    /// entry; `sender` claims it from the pool as a poster does. `rollup`, `sender` and `transactionHash` are those of
    /// {IForcedInbox.ForcedEnqueued}.
    ///
    /// Reverts with {EntryNotLate}, {AlreadyCompensated}, {ChainHashMismatch}, {NothingToCompensate}.
    function compensate(uint64 batch, uint64 index, uint64 rollup, address sender, bytes32 transactionHash)
        external
        returns (uint256 amountWei);

    /// @notice What was set aside for all entries that came late with batch `batch`.
    function compensation(uint64 batch) external view returns (uint256 amountWei);

    /// @notice Next batch number to tally; numbers that fell out of the ring untallied are skipped.
    function nextTally() external view returns (uint64);

    /// @notice What member `index` of the set in force in `epoch` signed of the batches attested in it.
    function attendance(uint32 generation, uint64 epoch, uint256 index) external view returns (Attendance memory);

    /// @notice {attendance} of every member of that set, in its order.
    function attendances(uint32 generation, uint64 epoch) external view returns (Attendance[] memory);

    /// @notice Whether no batch that `epoch` attests can settle or be tallied any more.
    function isClosed(uint64 epoch) external view returns (bool);

    /// @notice Whether a batch waits to be tallied that may be of an epoch whose lag (R22) is over.
    function isBehind() external view returns (bool);

    /// @notice How much weight may enter, and how much may leave, in the running epoch (R7): it follows from the set in force,
    /// so not from when another is sealed. Where nobody is in it, or there is none, it follows from who could be sealed now, of
    /// those that {ISequencerRegistry.membersAtEpochStart} tells for `aliveSince`. For the registry, which has no room for it.
    function churnLimit(uint64 aliveSince) external view returns (uint64);

    /// @notice Turns of `sequencer` in which a batch ended that settled in `epoch`, and how many of them it missed.
    function turnsOf(uint32 sequencer, uint64 epoch) external view returns (uint256 turns, uint256 missed);

    /// @notice {turnsOf} of epochs `first` to `last` together, at most 256 of them; none if `first` is after `last`.
    ///
    /// Reverts with {TooManyEpochs}.
    function turnsBetween(uint32 sequencer, uint64 first, uint64 last)
        external
        view
        returns (uint256 turns, uint256 missed);
}
