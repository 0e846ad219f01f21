// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Deployment} from "./Deployment.sol";
import {IRota} from "./interfaces/IRota.sol";
import {ISequencerRegistry} from "./interfaces/ISequencerRegistry.sol";
import {Case, CaseStatus, ISlasher, KeyReference, Offence} from "./interfaces/ISlasher.sol";
import {Correlation} from "./lib/CorrelationLib.sol";
import {KeyLib} from "./lib/KeyLib.sol";
import {Penalty, PenaltyLib} from "./lib/PenaltyLib.sol";
import {Record, RecordLib} from "./lib/RecordLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title What was reported, and what it costs
/// @notice Keeps the cases that the evidence opened, holds the offender's pool meanwhile, and takes the penalty once it is
/// known who else offended at the same time (R34).
abstract contract Cases is ISlasher, Deployment, ReentrancyGuardTransient {
    using KeyLib for KeyReference;
    using SafeERC20 for IERC20;

    /// What a reporter says that it knows of, in one word: the hash cut to 192 bits, and the L1 time.
    struct Commitment {
        bytes24 hash;
        uint64 time;
    }

    uint256 internal constant BPS = PenaltyLib.BPS;
    /// Tokens sent here are burned, whatever the token can do.
    address private constant BURNED = 0x000000000000000000000000000000000000dEaD;

    IERC20 private immutable STAKE_TOKEN;
    IRota internal immutable SETTLEMENT;
    ISequencerRegistry internal immutable REGISTRY;
    address private immutable GUARDIAN;
    uint64 private immutable CORRELATION_WINDOW_SECONDS;
    uint64 private immutable GUARDIAN_DELAY_SECONDS;
    uint64 private immutable EXIT_MARGIN_SECONDS;
    uint256 private immutable WEIGHT_UNIT_WEI;
    uint256 private immutable DOUBLE_SIGN_BPS;
    uint256 private immutable CORRELATION_FACTOR;
    uint256 private immutable BOUNTY_BPS;

    Correlation private _correlation;

    mapping(bytes32 caseId => Record) private _records;
    mapping(uint32 sequencer => Penalty) private _penalties;
    mapping(address reporter => uint256 wei_) private _bounties;
    mapping(address reporter => Commitment) private _commitments;

    /// When the reporter of a case had committed to it, if it took the case over from another one.
    mapping(bytes32 caseId => uint64 time) private _claimedBy;

    constructor(Params memory p, Addresses memory addresses) Deployment(p, addresses, addresses.slasher) {
        STAKE_TOKEN = IERC20(addresses.stakeToken);
        SETTLEMENT = IRota(addresses.settlement);
        REGISTRY = ISequencerRegistry(addresses.registry);
        GUARDIAN = addresses.guardian;
        CORRELATION_WINDOW_SECONDS = p.correlationWindowSeconds;
        GUARDIAN_DELAY_SECONDS = p.guardianDelaySeconds;
        EXIT_MARGIN_SECONDS = p.exitMarginSeconds;
        WEIGHT_UNIT_WEI = p.weightUnitWei;
        DOUBLE_SIGN_BPS = p.doubleSignBps;
        CORRELATION_FACTOR = p.correlationFactor;
        BOUNTY_BPS = p.bountyBps;
        _correlation.prepare();
    }

    /* OPENING */

    /// @dev Opens the case of what `signer` signed, whom `key` names.
    function _open(KeyReference key, address signer, Offence offence, uint32 generation, bytes32 position)
        internal
        returns (bytes32 caseId)
    {
        uint32 id = key.isInSet() ? REGISTRY.idOf(signer) : key.sequencer();
        caseId = keccak256(abi.encode(offence, id, generation, position));
        require(Record.unwrap(_records[caseId]) == 0, AlreadyReported(caseId));

        _records[caseId] = RecordLib.open(msg.sender, id, offence);

        emit Reported(caseId, id, offence, msg.sender, position);

        // Held a window longer than until the execution, so that it comes first whatever else is reported meanwhile, and no
        // longer, so that a case that nobody executes frees the pool. An offender weighs once, and holds once, for what it
        // did in a window and the next; if it goes on, its later cases must not miss its own weight.
        uint64 bucket = _bucketOf(uint64(block.timestamp));
        uint64 margin = GUARDIAN_DELAY_SECONDS + EXIT_MARGIN_SECONDS;
        uint64 enough = _startOfBucket(bucket + 2) + margin;
        uint64 heldUntil = enough + CORRELATION_WINDOW_SECONDS;
        (uint256 assetsWei, bool held) =
            key.isInSet() ? REGISTRY.jail(id, enough, heldUntil) : (REGISTRY.jailUnderKey(id, signer, heldUntil), true);
        if (held) _correlation.add(bucket, assetsWei / WEIGHT_UNIT_WEI);
    }

    /* COMMITTING */

    /// @inheritdoc ISlasher
    function commit(bytes32 commitment) external {
        _commitments[msg.sender] = Commitment({hash: bytes24(commitment), time: uint64(block.timestamp)});

        emit Committed(msg.sender, commitment);
    }

    /// @inheritdoc ISlasher
    function claimCase(bytes32 caseId, bytes32 salt) external {
        Record record = _recordOf(caseId);
        Commitment memory known = _commitments[msg.sender];
        (uint64 time, uint64 due) = (uint64(block.timestamp), _dueOf(record));
        uint64 before = _claimedBy[caseId] == 0 ? record.reportedAt() : _claimedBy[caseId];

        require(record.status() == CaseStatus.Reported, AlreadyExecuted(caseId));
        require(time < due, ClaimTooLate(due, time));
        bytes24 hash = bytes24(keccak256(abi.encode(caseId, msg.sender, salt)));
        require(known.hash == hash, CommitmentDiffers(hash, known.hash));
        require(known.time < before, CommittedTooLate(before, known.time));
        uint64 until = known.time + CORRELATION_WINDOW_SECONDS;
        require(record.reportedAt() <= until, CommitmentLapsed(until, record.reportedAt()));

        delete _commitments[msg.sender];
        _claimedBy[caseId] = known.time;
        _records[caseId] = record.withReporter(msg.sender);

        emit CaseClaimed(caseId, msg.sender, record.reporter());
    }

    /* EXECUTING */

    /// @inheritdoc ISlasher
    function execute(bytes32 caseId) external nonReentrant {
        Record record = _recordOf(caseId);
        uint32 id = record.sequencer();
        Penalty memory penalty = _penalties[id];
        uint64 due = _dueOf(record);

        require(record.status() == CaseStatus.Reported, AlreadyExecuted(caseId));
        require(block.timestamp >= due, NotDue(due, uint64(block.timestamp)));

        uint256 assetsWei = penalty.applied ? 0 : REGISTRY.assetsOf(id);
        uint256 amountWei = penalty.add(assetsWei, _shareBps(_bucketOf(record.reportedAt())));
        _penalties[id] = penalty;
        _records[caseId] = record.withStatus(CaseStatus.Executed);

        _punish(caseId, id, record.reporter(), amountWei, true);
    }

    /// @inheritdoc ISlasher
    function delay(bytes32 caseId) external {
        require(msg.sender == GUARDIAN, NotGuardian(GUARDIAN, msg.sender));
        Record record = _recordOf(caseId);
        require(record.status() == CaseStatus.Reported, AlreadyExecuted(caseId));
        require(!record.isDelayed(), AlreadyDelayed(caseId));

        record = record.withDelay();
        _records[caseId] = record;

        emit Delayed(caseId, _dueOf(record));
    }

    /// @inheritdoc ISlasher
    function claimBounty() external nonReentrant returns (uint256 amountWei) {
        amountWei = _bounties[msg.sender];

        require(amountWei != 0, NoBounty(msg.sender));

        _bounties[msg.sender] = 0;

        emit BountyClaimed(msg.sender, amountWei);

        STAKE_TOKEN.safeTransfer(msg.sender, amountWei);
    }

    /// @dev Takes up to `amountWei` of the pool of `id`: a part for `reporter`, the rest burns.
    function _punish(bytes32 caseId, uint32 id, address reporter, uint256 amountWei, bool tombstone) internal {
        uint256 slashedWei = REGISTRY.slash(id, amountWei, tombstone);
        uint256 bountyWei = slashedWei * BOUNTY_BPS / BPS;
        _bounties[reporter] += bountyWei;

        emit Executed(caseId, id, slashedWei, bountyWei, slashedWei - bountyWei);

        if (slashedWei != bountyWei) STAKE_TOKEN.safeTransfer(BURNED, slashedWei - bountyWei);
    }

    /// @dev Base share plus the factor times what offended around the same time, of the weight in force; all at most.
    function _shareBps(uint64 bucket) private view returns (uint64) {
        uint256 total = SETTLEMENT.totalAt(SETTLEMENT.generation(), SETTLEMENT.epochAt(uint64(block.timestamp)));
        return PenaltyLib.shareOf(DOUBLE_SIGN_BPS, CORRELATION_FACTOR, _correlation.around(bucket), total);
    }

    /* READING */

    /// @inheritdoc ISlasher
    function executableAt(bytes32 caseId) external view returns (uint64) {
        return _dueOf(_recordOf(caseId));
    }

    /// @inheritdoc ISlasher
    function caseOf(bytes32 caseId) external view returns (Case memory) {
        Record record = _records[caseId];
        return Case({
            sequencer: record.sequencer(),
            offence: record.offence(),
            status: record.status(),
            reporter: record.reporter(),
            reportedAt: record.reportedAt()
        });
    }

    /// @inheritdoc ISlasher
    function bountyOf(address reporter) external view returns (uint256) {
        return _bounties[reporter];
    }

    function _recordOf(bytes32 caseId) private view returns (Record record) {
        record = _records[caseId];
        require(Record.unwrap(record) != 0, UnknownCase(caseId));
    }

    function _dueOf(Record record) private view returns (uint64) {
        return _startOfBucket(_bucketOf(record.reportedAt()) + 2) + (record.isDelayed() ? GUARDIAN_DELAY_SECONDS : 0);
    }

    function _bucketOf(uint64 time) private view returns (uint64) {
        return time / CORRELATION_WINDOW_SECONDS;
    }

    function _startOfBucket(uint64 bucket) private view returns (uint64) {
        return bucket * CORRELATION_WINDOW_SECONDS;
    }
}
