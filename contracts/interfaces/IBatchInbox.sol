// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchHeader, Signature} from "../types/Wire.sol";

/// A certificate and the payload in calldata, as {IBatchInbox.settleMany} takes several.
struct Submission {
    BatchHeader header;
    /// Bit i set: member i of the set signed. Signatures follow in member order.
    uint128 signers;
    Signature[] signatures;
    bytes payload;
}

/// Where the settled chain stands.
struct Tip {
    /// Batches settled so far; the first batch has number 1.
    uint64 number;
    uint64 lastHeight;
    bytes32 lastBlockHash;
    /// Attesting epoch, timestamp and origin of the last batch; where a generation began after it, epoch and origin of
    /// that. No batch can go behind them.
    uint64 epoch;
    uint64 timestamp;
    uint64 l1OriginNumber;
    /// L1 time of the last settlement, or of the beginning of the generation if that is later.
    uint64 settledAt;
    /// forcedThrough of the last header, and entries consumed so far (a later escape may be ahead).
    uint64 forcedThrough;
    uint64 consumed;
}

/// @title The settled chain
/// @notice Takes batches that more than 2/3 of an epoch's weight has signed; a settled batch is final with its L1
/// block (R26-R29).
interface IBatchInbox {
    /// @notice A batch settled. With the transaction's input and its block, this is all that {tally} and derivation
    /// need. `headerHash` is {batchDigest}; `refundWei` is by how much it raised what its transaction paid, as far as it is
    /// refunded (R42); `led` says that its turn's leader posted it, under the key that the set has or from the poster address
    /// that it had then.
    event BatchSettled(
        uint64 indexed number,
        bytes32 indexed headerHash,
        address poster,
        uint128 signers,
        uint64 parentSettledAt,
        uint128 refundWei,
        bool late,
        bool led
    );

    /// @notice A payload is the input of its transaction only if the sender itself made the call.
    error CallerNotOrigin(address origin, address caller);

    /// @notice Code at the caller could have put the call together. Code delegated to by EIP-7702 counts: such an account
    /// can call itself with an input that the transaction does not show.
    error CallerHasCode(address caller);

    error GenerationMismatch(uint32 expected, uint32 actual);

    /// @notice The batch does not begin where the settled chain ends.
    error FirstHeightNotNext(uint64 expected, uint64 actual);

    /// @notice A batch holds at least one block and at most 2^14.
    error LastHeightOutOfRange(uint64 minimum, uint64 maximum, uint64 actual);

    /// @notice The first block does not extend the last settled one.
    error ParentBlockMismatch(bytes32 expected, bytes32 actual);

    /// @notice There is no executor whose state a batch could name.
    error StateRootNotZero(bytes32 actual);

    /// @notice The attesting epoch is too old, before that of the last batch, or not begun (R22).
    error EpochOutOfRange(uint64 minimum, uint64 maximum, uint64 actual);

    /// @notice Nobody is in the set in force, so nothing settles (R5).
    error EmptySetInForce(uint64 epoch);

    error TimestampOutOfRange(uint64 minimum, uint64 maximum, uint64 actual);

    error OriginOutOfRange(uint64 minimum, uint64 maximum, uint64 actual);

    /// @notice L1 still knows the origin's hash, and it is another.
    error OriginHashMismatch(bytes32 expected, bytes32 actual);

    /// @notice It is not the caller's turn to post (R28).
    /// @param leader Member whose turn it is.
    /// @param openFrom L1 time from which anyone may.
    error PosterNotAdmitted(address leader, address caller, uint64 openFrom);

    /// @notice This deployment takes no blobs.
    error BlobsHashNotZero(bytes32 actual);

    error PayloadHashMismatch(bytes32 expected, bytes32 actual);

    /// @notice A regular batch is known to be one from its last block on, and no block is ahead of L1 by more than the drift.
    error RegularSinceOutOfRange(uint64 minimum, uint64 maximum, uint64 actual);

    /// @notice Anybody settles a batch that is not regular, but not before `openFrom` (R28).
    error IrregularTooEarly(uint64 openFrom, uint64 time);

    /// @notice Not more than two thirds of the set's weight signed.
    error QuorumNotReached(uint256 total, uint256 signed);

    error NothingToSettle();

    /// @notice The input holds a submission in front of the end of the array's heads or of the submission before, its signatures
    /// in front of the end of its own head, or its payload in front of the end of its signatures: no decoder but Solidity's would
    /// find them, or they would be refunded twice.
    /// @param submission Its index; 0 in {settle}.
    /// @param minimum First byte of the input where it may stand; signatures and payload are counted behind their lengths.
    /// @param actual Where it stands; an offset that leaves the input at its front ends just below 2^256.
    error InputPointsBack(uint256 submission, uint256 minimum, uint256 actual);

    /// @notice There is no such batch, or the ring does not hold it any more.
    error NotInRing(uint64 first, uint64 last, uint64 number);

    /// @notice Settles one batch. Its poster is the caller.
    ///
    /// Reverts with {CallerNotOrigin}, {CallerHasCode}, {InputPointsBack}, {GenerationMismatch}, {FirstHeightNotNext},
    /// {LastHeightOutOfRange}, {ParentBlockMismatch}, {StateRootNotZero}, {EpochOutOfRange}, {TimestampOutOfRange},
    /// {OriginOutOfRange}, {OriginHashMismatch}, {IForcedInbox.ForcedThroughGoesBack}, {IForcedInbox.ForcedThroughAboveQueue},
    /// {IForcedInbox.ForcedEntryLeftBehind}, {ICalendar.NoSetInForce}, {RegularSinceOutOfRange}, {PosterNotAdmitted}, {IrregularTooEarly}, {BlobsHashNotZero}, {PayloadHashMismatch}, {CertificateLib.SignerOutsideSet},
    /// {CertificateLib.SignatureCountWrong}, {CertificateLib.SignatureInvalid}, {QuorumNotReached}.
    /// @param signers Bit i set: member i of the set signed.
    /// @param signatures Signatures of {batchDigest}, in member order.
    /// @param payload The bytes behind `header.payloadHash`.
    function settle(
        BatchHeader calldata header,
        uint128 signers,
        Signature[] calldata signatures,
        bytes calldata payload
    ) external;

    /// @notice Settles several batches, each on top of the one before. All or none.
    ///
    /// Reverts with {CallerNotOrigin}, {CallerHasCode}, {NothingToSettle}, and for each batch with {InputPointsBack} and
    /// as {settle}.
    function settleMany(Submission[] calldata submissions) external;

    function tip() external view returns (Tip memory);

    /// @notice keccak256(abi.encode(header hash, signers, poster, settledAt, parentSettledAt, baseFeeWei, blobBaseFeeWei,
    /// refundWei, blobs, late, led)) of batch `number`, named as in {Settled}. Reverts with {NotInRing}.
    function ringValue(uint64 number) external view returns (bytes32);

    /// @notice The batches whose ring values are still there; `first` > `last` before the first batch.
    function ringRange() external view returns (uint64 first, uint64 last);

    /// @notice EIP-712 digest of a batch header under this deployment's domain: its hash everywhere, and what is signed.
    function batchDigest(BatchHeader calldata header) external view returns (bytes32);

    /// @notice EIP-712 domain separator of everything that sequencers sign.
    function domainSeparator() external view returns (bytes32);
}
