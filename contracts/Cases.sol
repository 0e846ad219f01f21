// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {Deployment} from "./Deployment.sol";
import {ICalendar} from "./interfaces/ICalendar.sol";
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
///
/// All cases of an offender share one slash, so they share one bounty: that of its first case, whichever is executed first.
/// What its first report writes is all that the others need, so a report pays for one slot as it would without them.
///
/// A conviction moves no token. What it takes stays with the registry, in the name of a reporter or of nobody, until
/// somebody fetches it: no token can be in the way of a penalty.
abstract contract Cases is ISlasher, Deployment, ReentrancyGuardTransient {
    using KeyLib for KeyReference;

    /// What a reporter says that it knows of, in one word: the hash cut to 192 bits, and the L1 time.
    struct Commitment {
        bytes24 hash;
        uint64 time;
    }

    uint256 internal constant BPS = PenaltyLib.BPS;
    /// Tokens sent here are burned, whatever the token can do.
    address private constant BURNED = 0x000000000000000000000000000000000000dEaD;

    IRota internal immutable SETTLEMENT;
    ISequencerRegistry internal immutable REGISTRY;
    address private immutable GUARDIAN;
    uint64 private immutable CORRELATION_WINDOW_SECONDS;
    uint64 private immutable GUARDIAN_DELAY_SECONDS;
    /// From the start of the correlation window of a report until its case was surely executed.
    uint64 private immutable ENOUGH_SECONDS;
    uint256 private immutable WEIGHT_UNIT_WEI;
    uint256 private immutable DOUBLE_SIGN_BPS;
    uint256 private immutable CORRELATION_FACTOR;
    uint256 private immutable BOUNTY_BPS;

    Correlation private _correlation;

    /// The case of the first report against a sequencer; whoever it names as reporter has the bounty of all.
    mapping(uint32 sequencer => Record) private _first;
    /// The other cases of those who have a first.
    mapping(bytes32 caseId => Record) private _others;
    mapping(uint32 sequencer => Penalty) private _penalties;
    mapping(address reporter => uint256 wei_) private _bounties;
    mapping(address reporter => Commitment) private _commitments;

    /// When the reporter that {_first} names had committed, if it took the bounty over from another one.
    mapping(uint32 sequencer => uint64 time) private _committedAt;

    /// What was slashed, is nobody's, and is not sent away yet.
    uint256 private _toBurnWei;

    /// Whether the evidence on its way is to be looked at again, for a case that was opened with it or with other.
    bool internal transient _claiming;

    constructor(Params memory p, Addresses memory addresses) Deployment(p, addresses, addresses.slasher) {
        SETTLEMENT = IRota(addresses.settlement);
        REGISTRY = ISequencerRegistry(addresses.registry);
        GUARDIAN = addresses.guardian;
        CORRELATION_WINDOW_SECONDS = p.correlationWindowSeconds;
        GUARDIAN_DELAY_SECONDS = p.guardianDelaySeconds;
        ENOUGH_SECONDS = 2 * p.correlationWindowSeconds + p.guardianDelaySeconds + p.exitMarginSeconds;
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
        // Without a place in a set the key is the offender's as long as nobody has it jailed or changed: whoever wants the bounty
        // would see to that first.
        require(!_claiming || key.isInSet(), ClaimOutsideSet(id));
        caseId = RecordLib.caseId(offence, id, generation, position);
        if (!_isNew(caseId, id, offence)) return caseId;

        emit Reported(caseId, id, offence, msg.sender, position);

        // Held a window longer than until the execution, so that it comes first whatever else is reported meanwhile, and no
        // longer, so that a case that nobody executes frees the pool. An offender weighs once, and holds once, for what it
        // did in a window and the next; if it goes on, its later cases must not miss its own weight.
        uint64 bucket = _bucketOf(uint64(block.timestamp));
        uint64 enough = _startOfBucket(bucket) + ENOUGH_SECONDS;
        uint64 heldUntil = enough + CORRELATION_WINDOW_SECONDS;
        (uint256 assetsWei, bool held) =
            key.isInSet() ? REGISTRY.jail(id, enough, heldUntil) : (REGISTRY.jailUnderKey(id, signer, heldUntil), true);
        if (held) _correlation.add(bucket, assetsWei / WEIGHT_UNIT_WEI);
    }

    /// @dev Keeps a new case as the caller's. One that is known is refused, unless its evidence is only looked at again.
    function _isNew(bytes32 caseId, uint32 id, Offence offence) private returns (bool) {
        Record record = RecordLib.open(caseId, msg.sender, offence);
        Record first = _first[id];
        // Without a first there are no others: most reports look at one slot.
        if (Record.unwrap(first) == 0) {
            _first[id] = record;
            return true;
        }
        if (first.isOf(caseId) || Record.unwrap(_others[caseId]) != 0) {
            require(_claiming, AlreadyReported(caseId));
            return false;
        }
        _others[caseId] = record;
        return true;
    }

    /* COMMITTING */

    /// @inheritdoc ISlasher
    function commit(bytes32 commitment) external {
        _commitments[msg.sender] = Commitment({hash: bytes24(commitment), time: uint64(block.timestamp)});

        emit Committed(msg.sender, commitment);
    }

    /// @inheritdoc ISlasher
    function claimCase(bytes calldata report, bytes32 salt) external returns (bytes32 caseId) {
        Commitment memory known = _commitments[msg.sender];
        bytes24 hash = bytes24(keccak256(abi.encode(keccak256(report), msg.sender, salt)));
        require(known.hash == hash, CommitmentDiffers(hash, known.hash));
        delete _commitments[msg.sender];

        caseId = _prove(report);

        uint32 id = RecordLib.offenderOf(caseId);
        Record first = _first[id];
        (uint64 time, uint64 reportedAt) = (uint64(block.timestamp), first.reportedAt());
        uint64 before = _committedAt[id] == 0 ? reportedAt : _committedAt[id];
        // The guardian puts off what is taken, not who has the bounty.
        uint64 due = _startOfBucket(_bucketOf(reportedAt) + 2);
        uint64 until = known.time + CORRELATION_WINDOW_SECONDS;
        require(time < due, ClaimTooLate(due, time));
        require(known.time < before, CommittedTooLate(before, known.time));
        require(reportedAt <= until, CommitmentLapsed(until, reportedAt));

        _committedAt[id] = known.time;
        _first[id] = first.withReporter(msg.sender);

        emit CaseClaimed(caseId, msg.sender, first.reporter());
    }

    /// @dev The case that `report` proves, which it opens unless it is open. Reverts as the report would.
    function _prove(bytes calldata report) internal virtual returns (bytes32 caseId);

    /* EXECUTING */

    /// @inheritdoc ISlasher
    function execute(bytes32 caseId) external nonReentrant {
        Record record = _recordOf(caseId);
        uint32 id = RecordLib.offenderOf(caseId);
        Penalty memory penalty = _penalties[id];
        uint64 due = _dueOf(record);

        require(record.status() == CaseStatus.Reported, AlreadyExecuted(caseId));
        require(block.timestamp >= due, NotDue(due, uint64(block.timestamp)));

        uint256 assetsWei = penalty.applied ? 0 : REGISTRY.assetsOf(id);
        uint256 amountWei = penalty.add(assetsWei, _shareBps(record.reportedAt()));
        _penalties[id] = penalty;
        _keep(caseId, record.withStatus(CaseStatus.Executed));

        _punish(caseId, id, _first[id].reporter(), amountWei, true);
    }

    /// @inheritdoc ISlasher
    function delay(bytes32 caseId) external {
        require(msg.sender == GUARDIAN, NotGuardian(GUARDIAN, msg.sender));
        Record record = _recordOf(caseId);
        require(record.status() == CaseStatus.Reported, AlreadyExecuted(caseId));
        require(!record.isDelayed(), AlreadyDelayed(caseId));

        record = record.withDelay();
        _keep(caseId, record);

        emit Delayed(caseId, _dueOf(record));
    }

    /// @inheritdoc ISlasher
    function claimBounty(address to) external nonReentrant returns (uint256 amountWei) {
        amountWei = _bounties[msg.sender];

        require(to != address(0), RecipientIsZero());
        require(amountWei != 0, NoBounty(msg.sender));

        _bounties[msg.sender] = 0;

        emit BountyClaimed(msg.sender, to, amountWei);

        REGISTRY.payOut(to, amountWei);
    }

    /// @inheritdoc ISlasher
    function sweep() external nonReentrant returns (uint256 amountWei) {
        amountWei = _toBurnWei;

        require(amountWei != 0, NothingToSweep());

        _toBurnWei = 0;

        emit Swept(amountWei);

        REGISTRY.payOut(BURNED, amountWei);
    }

    /// @dev Takes up to `amountWei` of the pool of `id`: a part for `reporter`, the rest burns.
    function _punish(bytes32 caseId, uint32 id, address reporter, uint256 amountWei, bool tombstone) internal {
        uint256 slashedWei = REGISTRY.slash(id, amountWei, tombstone);
        uint256 bountyWei = slashedWei * BOUNTY_BPS / BPS;
        if (bountyWei != 0) _bounties[reporter] += bountyWei;
        if (slashedWei != bountyWei) _toBurnWei += slashedWei - bountyWei;

        emit Executed(caseId, id, slashedWei, bountyWei, slashedWei - bountyWei);
    }

    /// @dev Base share plus the factor times what offended around the same time, of the weight in force at the report; all at
    /// most.
    function _shareBps(uint64 reportedAt) private view returns (uint64) {
        uint256 around = _correlation.around(_bucketOf(reportedAt));
        return PenaltyLib.shareOf(DOUBLE_SIGN_BPS, CORRELATION_FACTOR, around, _totalWhen(reportedAt));
    }

    /// @dev The total of the set that was in force at `time`, which is not ahead: sets are kept, so a report need not ask.
    /// Zero if there was none yet. Where a generation began in the block of `time` its set counts.
    function _totalWhen(uint64 time) private view returns (uint256) {
        // The last generation that had begun: that before it ends, whatever it had sealed, when it begins.
        uint32 low = 0;
        uint32 high = SETTLEMENT.generation();
        while (low < high) {
            uint32 middle = high - (high - low) / 2;
            (, uint64 begun) = SETTLEMENT.endOf(middle - 1, type(uint64).max);
            if (begun > time) high = middle - 1;
            else low = middle;
        }

        try SETTLEMENT.totalAt(low, SETTLEMENT.epochAt(time)) returns (uint64 total) {
            return total;
        } catch (bytes memory reason) {
            // Without this a caller short of gas would have it fail, and take the whole pool.
            require(bytes4(reason) == ICalendar.NoSetInForce.selector, TotalUnknown(time));
            return 0;
        }
    }

    /* READING */

    /// @inheritdoc ISlasher
    function executableAt(bytes32 caseId) external view returns (uint64) {
        return _dueOf(_recordOf(caseId));
    }

    /// @inheritdoc ISlasher
    function caseOf(bytes32 caseId) external view returns (Case memory) {
        Record record = _read(caseId);
        if (Record.unwrap(record) == 0) return Case(0, Offence(0), CaseStatus.None, address(0), 0);
        return Case({
            sequencer: RecordLib.offenderOf(caseId),
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

    /// @inheritdoc ISlasher
    function toBurn() external view returns (uint256) {
        return _toBurnWei;
    }

    function _read(bytes32 caseId) private view returns (Record record) {
        record = _first[RecordLib.offenderOf(caseId)];
        if (!record.isOf(caseId)) record = _others[caseId];
    }

    /// @dev Keeps what became of a case that is known.
    function _keep(bytes32 caseId, Record record) private {
        uint32 id = RecordLib.offenderOf(caseId);
        if (_first[id].isOf(caseId)) _first[id] = record;
        else _others[caseId] = record;
    }

    function _recordOf(bytes32 caseId) private view returns (Record record) {
        record = _read(caseId);
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
