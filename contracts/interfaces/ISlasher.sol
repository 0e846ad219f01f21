// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchHeader, Proposal, Signature, Vote, VoteType} from "../types/Wire.sol";

/// Kinds of offence (§7). The numbers are part of the position key.
enum Offence {
    DoubleProposal,
    DoubleVote,
    DoubleAttestation,
    DoublePromise,
    BrokenPromise,
    MissedTurn
}

/// Names the offender's key to a report, in one word that {KeyLib} draws (R9): as an active sequencer's current one, or by
/// its place in a frozen set.
type KeyReference is uint256;

/// A Merkle proof that the block at `height` of a batch has hash `blockHash` (R25). Empty siblings, and `blockHash` the
/// header's own lastBlockHash, at an equal last height.
struct BlockProof {
    bytes32 blockHash;
    bytes32[] siblings;
}

enum CaseStatus {
    None,
    Reported,
    Executed
}

struct Case {
    uint32 sequencer;
    Offence offence;
    CaseStatus status;
    /// Who reported it. Of the first case against a sequencer: who has the bounty of all.
    address reporter;
    uint64 reportedAt;
}

/// @title Evidence in, stake out
/// @notice Verifies each offence from signatures and Merkle proofs alone (R34-R37).
interface ISlasher {
    event Reported(
        bytes32 indexed caseId, uint32 indexed sequencer, Offence indexed offence, address reporter, bytes32 position
    );
    event Executed(
        bytes32 indexed caseId, uint32 indexed sequencer, uint256 slashedWei, uint256 bountyWei, uint256 burnedWei
    );

    /// @notice `reporter` has evidence of something, and says later of what.
    event Committed(address indexed reporter, bytes32 commitment);

    /// @notice The bounty of the offender that case `caseId` is against is `reporter`'s, who proved it, and no longer
    /// `before`'s, who had learned of its offences later.
    event CaseClaimed(bytes32 indexed caseId, address indexed reporter, address indexed before);

    /// @notice Item `index` of a {reportMany} was not taken; `reason` is the error that it would have reverted with.
    event Skipped(uint256 indexed index, bytes reason);

    /// @notice The guardian put an execution off, once.
    event Delayed(bytes32 indexed caseId, uint64 executableAt);

    event BountyClaimed(address indexed reporter, address indexed to, uint256 amountWei);

    /// @notice What slashes left to burn was sent where nobody has the key.
    event Swept(uint256 amountWei);

    error GenerationDiffers(uint32 a, uint32 b);
    error HeightDiffers(uint64 a, uint64 b);
    error RoundDiffers(uint32 a, uint32 b);

    /// @notice Both messages are for the same block: no offence, however they differ otherwise.
    error SameBlock(bytes32 blockHash);

    error HeightOutsideBatch(uint64 firstHeight, uint64 lastHeight, uint64 height);

    /// @notice The proof leads to another root than the header's.
    error BlockNotInBatch(bytes32 expected, bytes32 actual);

    /// @notice The set named is not in force yet, and could still become another.
    error EpochNotBegun(uint256 start, uint64 time);

    error EvidenceTooOld(uint64 until, uint64 time);

    /// @notice `expected` did not sign this message; `actual` is zero if the signature is not well-formed. Where a sequencer
    /// is named and no key, whoever signed the first message is expected of the second.
    error NotSignedBy(address expected, address actual);

    error AlreadyReported(bytes32 caseId);
    error UnknownCase(bytes32 caseId);
    error AlreadyExecuted(bytes32 caseId);
    error NotDue(uint64 executableAt, uint64 time);

    /// @notice The caller's last commitment is not to this report with this salt.
    error CommitmentDiffers(bytes24 expected, bytes24 actual);

    /// @notice The offender was reported, or committed to by who has its bounty, no later than the caller's commitment.
    error CommittedTooLate(uint64 before, uint64 committedAt);

    /// @notice A commitment serves reports of the next correlation window.
    error CommitmentLapsed(uint64 until, uint64 reportedAt);

    error ClaimTooLate(uint64 until, uint64 time);

    /// @notice Who committed names the key by its place in a set.
    error ClaimOutsideSet(uint32 sequencer);

    /// @notice Too few missed turns since the sequencer was jailed last, in the last eight epochs.
    error NotAbsent(uint256 turns, uint256 missed);

    /// @notice Members with more than a third of the weight missed turns: that is an outage, for which nobody is jailed.
    error OutageTooWide(uint256 total, uint256 missingWeight);

    error TooManyReports(uint256 maximum, uint256 actual);

    /// @notice {reportMany} passes on reports and nothing else.
    error NotAReport(bytes4 selector);

    error NotGuardian(address expected, address actual);
    error AlreadyDelayed(bytes32 caseId);
    error NoBounty(address reporter);
    error NothingToSweep();
    error RecipientIsZero();

    /// @notice Settlement did not say what weighed at `time`; with enough gas it does.
    error TotalUnknown(uint64 time);

    // Every report jails the offender at once, holds its pool until a while after the case can be executed, and reverts
    // with {EpochNotBegun}, {EvidenceTooOld}, {ICalendar.NoSetInForce}, {SetLib.IndexOutsideSet}, {NotSignedBy} (a, then b),
    // {AlreadyReported}, {ISequencerRegistry.StatusNotAllowed} for a tombstoned sequencer, after what is named below. The case
    // is named by a hash of offence, offender, generation and position, the last 32 bits of which are the offender's id. `key`
    // is one of the two forms that {KeyLib} draws. Named as a sequencer's current key it is the cheaper one: the first four
    // do not arise, and {ISequencerRegistry.StatusNotAllowed} and {ISequencerRegistry.KeyNotCurrent} say if the sequencer
    // is not active or its key is another.

    /// @notice Two votes of one type, height and round for different blocks, of which one may be nil.
    ///
    /// Reverts with {GenerationDiffers}, {HeightDiffers}, {RoundDiffers}, {SameBlock}.
    function reportDoubleVote(
        KeyReference key,
        VoteType voteType,
        Vote calldata a,
        Signature calldata signatureA,
        Vote calldata b,
        Signature calldata signatureB
    ) external returns (bytes32 caseId);

    /// @notice Two proposals of one height and round for different blocks. Another polRound alone is no offence.
    ///
    /// Reverts with {GenerationDiffers}, {HeightDiffers}, {RoundDiffers}, {SameBlock}.
    function reportDoubleProposal(
        KeyReference key,
        Proposal calldata a,
        Signature calldata signatureA,
        Proposal calldata b,
        Signature calldata signatureB
    ) external returns (bytes32 caseId);

    /// @notice Two batch headers that hold different blocks at `height`, or, with `height` = the earlier one's
    /// lastHeight + 1 = the later one's firstHeight, a later one whose parent is not the earlier one's last block. The
    /// position of the second form is the height of that parent. Either may come first.
    ///
    /// Reverts with {GenerationDiffers}, {HeightOutsideBatch}, {MerkleLib.ProofLengthWrong}, {BlockNotInBatch},
    /// {SameBlock}.
    function reportDoubleAttestation(
        KeyReference key,
        uint64 height,
        BatchHeader calldata a,
        Signature calldata signatureA,
        BlockProof calldata proofA,
        BatchHeader calldata b,
        Signature calldata signatureB,
        BlockProof calldata proofB
    ) external returns (bytes32 caseId);

    /// @notice Jails an active sequencer that missed at least three turns, and more than half of its turns, in the running
    /// epoch and the seven before, by settlement time (R35), and takes missedTurnBps of its pool at once, a part of it as the
    /// caller's bounty. Misses up to the epoch in which it was jailed no more do not count: none counts twice. Nobody is
    /// jailed while members with more than a third of the weight in force have a miss in these epochs. This is no safety
    /// offence: it adds to no correlation, holds no pool and tombstones nobody, and {caseOf} does not know it. The call is refunded
    /// as a duty (R42).
    ///
    /// Reverts with {ISequencerRegistry.UnknownSequencer}, {ISequencerRegistry.StatusNotAllowed}, {NotAbsent},
    /// {ICalendar.NoSetInForce}, {OutageTooWide}.
    function reportMissedTurns(uint32 sequencer) external returns (bytes32 caseId);

    /// @notice Makes reports, each as if the caller had sent it alone: calldata of a function that reports. What reverts is
    /// skipped, with an event, and keeps no other from being taken.
    ///
    /// Reverts with {TooManyReports}.
    /// @return taken How many were taken.
    function reportMany(bytes[] calldata reports) external returns (uint256 taken);

    /// @notice Shows that the caller has evidence without showing it: `commitment` is
    /// keccak256(abi.encode(keccak256(report), caller, salt)), with the calldata of a report and a salt that nobody can
    /// guess. Whoever then sees the caller's report on its way and is included first has gained nothing: {claimCase}. A
    /// reporter has one commitment; the next replaces it.
    /// @dev It holds the evidence: knowing where somebody is going to offend is not enough. Who offends on purpose has the
    /// evidence before all others, and can be its own first reporter; that leaves it a tenth of what it loses.
    function commit(bytes32 commitment) external;

    /// @notice Makes the report that the caller committed to, in calldata of {reportDoubleVote}, {reportDoubleProposal} or
    /// {reportDoubleAttestation}, as if it had come when the caller committed: if nobody reported the offender, or had
    /// committed against it, by then, the bounty of all its cases is the caller's. A case that is open is proved again and
    /// else left as it is. Of several who committed the earliest has the bounty. Possible until the first case of the
    /// offender can be executed, and against a first report that came within a correlation window of the commitment.
    ///
    /// Reverts with {CommitmentDiffers}, {NotAReport}, as the report would but for {AlreadyReported}, {ClaimOutsideSet},
    /// {ClaimTooLate}, {CommittedTooLate}, {CommitmentLapsed}.
    function claimCase(bytes calldata report, bytes32 salt) external returns (bytes32 caseId);

    /// @notice Applies the penalty of a case whose correlation window has passed: tombstones the sequencer and takes a share
    /// of its pool, a part of it as the bounty of whoever reported the sequencer first, by whatever case; the rest is set
    /// aside to {sweep}. All cases that were open at the first execution count once, the largest: a second one takes only
    /// what it has beyond the first. The share is measured by the weight that was in force at the report; the whole pool
    /// goes where none was. No token moves.
    ///
    /// Reverts with {UnknownCase}, {AlreadyExecuted}, {NotDue}, {TotalUnknown}.
    function execute(bytes32 caseId) external;

    /// @notice Puts an execution off by guardianDelaySeconds, once. The guardian can neither cancel a case nor open one.
    ///
    /// Reverts with {NotGuardian}, {UnknownCase}, {AlreadyExecuted}, {AlreadyDelayed}.
    function delay(bytes32 caseId) external;

    /// @notice L1 time from which `caseId` can be executed: the start of the second correlation window after that of the
    /// report, later if delayed. Reverts with {UnknownCase}.
    function executableAt(bytes32 caseId) external view returns (uint64);

    /// @notice All zeros if there is no such case.
    function caseOf(bytes32 caseId) external view returns (Case memory);

    /// @notice Bounty owed to `reporter`, in wei of the stake token.
    function bountyOf(address reporter) external view returns (uint256);

    /// @notice Pays the caller's bounties to `to`. Reverts with {RecipientIsZero}, {NoBounty}.
    function claimBounty(address to) external returns (uint256 amountWei);

    /// @notice Wei of the stake token that slashes took and that are nobody's: {sweep} burns them.
    function toBurn() external view returns (uint256);

    /// @notice Sends what is to burn where nobody has the key. Anyone may. If the token refuses, it stays where nobody can
    /// take it either. Reverts with {NothingToSweep}.
    function sweep() external returns (uint256 amountWei);
}
