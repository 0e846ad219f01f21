// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Deployment} from "./Deployment.sol";
import {SigningDomain} from "./SigningDomain.sol";
import {IRota} from "./interfaces/IRota.sol";
import {ISequencerRegistry} from "./interfaces/ISequencerRegistry.sol";
import {BlockProof, Case, CaseStatus, ISlasher, KeyReference, Offence} from "./interfaces/ISlasher.sol";
import {Correlation} from "./lib/CorrelationLib.sol";
import {DigestLib} from "./lib/DigestLib.sol";
import {MerkleLib} from "./lib/MerkleLib.sol";
import {Addresses, Params} from "./types/Params.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "./types/Wire.sol";

/// @title Evidence in, stake out
/// @notice See {ISlasher}. Two signatures of one key that exclude each other are a fault whatever the reason for them was,
/// and nothing else is judged here: no votes, no committee, no view of who was online.
contract Slasher is ISlasher, Deployment, SigningDomain, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// A {Case}, in one word.
    struct Record {
        address reporter;
        uint32 sequencer;
        uint40 reportedAt;
        Offence offence;
        CaseStatus status;
        /// The guardian has delayed the execution; it can do so once.
        bool delayed;
    }

    /// What a sequencer's safety offences have cost it. They count once, the largest: a second case that was open at the
    /// first execution takes only what it has beyond the first.
    struct Penalty {
        uint128 baseWei;
        uint64 shareBps;
        bool applied;
    }

    uint256 private constant BPS = 10_000;
    /// Tokens sent here are burned, whatever the token can do.
    address private constant BURNED = 0x000000000000000000000000000000000000dEaD;

    IERC20 private immutable STAKE_TOKEN;
    IRota private immutable SETTLEMENT;
    ISequencerRegistry private immutable REGISTRY;
    address private immutable GUARDIAN;
    uint64 private immutable GENESIS;
    uint64 private immutable EPOCH_SECONDS;
    uint64 private immutable EVIDENCE_WINDOW_SECONDS;
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

    constructor(Params memory p, Addresses memory addresses)
        Deployment(p, addresses, addresses.slasher)
        SigningDomain(addresses.settlement)
    {
        STAKE_TOKEN = IERC20(addresses.stakeToken);
        SETTLEMENT = IRota(addresses.settlement);
        REGISTRY = ISequencerRegistry(addresses.registry);
        GUARDIAN = addresses.guardian;
        GENESIS = p.genesis;
        EPOCH_SECONDS = p.epochSeconds;
        EVIDENCE_WINDOW_SECONDS = p.evidenceWindowSeconds;
        CORRELATION_WINDOW_SECONDS = p.correlationWindowSeconds;
        GUARDIAN_DELAY_SECONDS = p.guardianDelaySeconds;
        EXIT_MARGIN_SECONDS = p.exitMarginSeconds;
        WEIGHT_UNIT_WEI = p.weightUnitWei;
        DOUBLE_SIGN_BPS = p.doubleSignBps;
        CORRELATION_FACTOR = p.correlationFactor;
        BOUNTY_BPS = p.bountyBps;
        _correlation.prepare();
    }

    /* REPORTING */

    /// @inheritdoc ISlasher
    function reportDoubleVote(
        KeyReference calldata key,
        VoteType voteType,
        Vote calldata a,
        Signature calldata signatureA,
        Vote calldata b,
        Signature calldata signatureB
    ) external returns (bytes32 caseId) {
        require(a.generation == b.generation, GenerationDiffers(a.generation, b.generation));
        require(a.height == b.height, HeightDiffers(a.height, b.height));
        require(a.round == b.round, RoundDiffers(a.round, b.round));
        require(a.blockHash != b.blockHash, SameBlock(a.blockHash));

        address signer = _keyOf(key);
        bytes32 domain = domainSeparator();
        _requireSigned(signer, DigestLib.digest(domain, DigestLib.structHash(a, voteType)), signatureA);
        _requireSigned(signer, DigestLib.digest(domain, DigestLib.structHash(b, voteType)), signatureB);

        return _report(Offence.DoubleVote, signer, a.generation, _position(a.height, a.round, uint8(voteType)));
    }

    /// @inheritdoc ISlasher
    function reportDoubleProposal(
        KeyReference calldata key,
        Proposal calldata a,
        Signature calldata signatureA,
        Proposal calldata b,
        Signature calldata signatureB
    ) external returns (bytes32 caseId) {
        require(a.generation == b.generation, GenerationDiffers(a.generation, b.generation));
        require(a.height == b.height, HeightDiffers(a.height, b.height));
        require(a.round == b.round, RoundDiffers(a.round, b.round));
        require(a.blockHash != b.blockHash, SameBlock(a.blockHash));

        address signer = _keyOf(key);
        bytes32 domain = domainSeparator();
        _requireSigned(signer, DigestLib.digest(domain, DigestLib.structHash(a)), signatureA);
        _requireSigned(signer, DigestLib.digest(domain, DigestLib.structHash(b)), signatureB);

        return _report(Offence.DoubleProposal, signer, a.generation, _position(a.height, a.round, 0));
    }

    /// @inheritdoc ISlasher
    function reportDoubleAttestation(
        KeyReference calldata key,
        uint64 height,
        BatchHeader calldata a,
        Signature calldata signatureA,
        BlockProof calldata proofA,
        BatchHeader calldata b,
        Signature calldata signatureB,
        BlockProof calldata proofB
    ) external returns (bytes32 caseId) {
        require(a.generation == b.generation, GenerationDiffers(a.generation, b.generation));
        uint64 differing = _differingHeight(height, a, proofA, b, proofB);

        address signer = _keyOf(key);
        bytes32 domain = domainSeparator();
        _requireSigned(signer, DigestLib.digest(domain, DigestLib.structHash(a)), signatureA);
        _requireSigned(signer, DigestLib.digest(domain, DigestLib.structHash(b)), signatureB);

        return _report(Offence.DoubleAttestation, signer, a.generation, _position(differing, 0, 0));
    }

    /// @dev The height at which the two headers hold different blocks: `height` itself, or, where the later one only names
    /// the block before it as its parent, the one below.
    function _differingHeight(
        uint64 height,
        BatchHeader calldata a,
        BlockProof calldata proofA,
        BatchHeader calldata b,
        BlockProof calldata proofB
    ) private pure returns (uint64) {
        if (a.lastHeight + 1 == height && b.firstHeight == height) {
            return _brokenLink(height, a, b);
        }
        if (b.lastHeight + 1 == height && a.firstHeight == height) return _brokenLink(height, b, a);

        bytes32 blockA = _blockAt(height, a, proofA);
        bytes32 blockB = _blockAt(height, b, proofB);
        require(blockA != blockB, SameBlock(blockA));
        return height;
    }

    function _brokenLink(uint64 height, BatchHeader calldata earlier, BatchHeader calldata later)
        private
        pure
        returns (uint64)
    {
        require(earlier.lastBlockHash != later.parentBlockHash, SameBlock(later.parentBlockHash));
        return height - 1;
    }

    /// @dev The block that `header` holds at `height`. Its last one needs no proof: the header names it.
    function _blockAt(uint64 height, BatchHeader calldata header, BlockProof calldata proof)
        private
        pure
        returns (bytes32)
    {
        require(
            header.firstHeight <= height && height <= header.lastHeight,
            HeightOutsideBatch(header.firstHeight, header.lastHeight, height)
        );
        if (height == header.lastHeight && proof.siblings.length == 0) return header.lastBlockHash;

        bytes32 root = MerkleLib.rootOf({
            leaf: MerkleLib.blockLeaf(proof.blockHash),
            index: height - header.firstHeight,
            size: header.lastHeight - header.firstHeight + 1,
            siblings: proof.siblings
        });
        require(root == header.blocksRoot, BlockNotInBatch(header.blocksRoot, root));
        return proof.blockHash;
    }

    /// @dev R9: the key named, while evidence against it counts. That it does for `evidenceWindow` after the set named here
    /// ended; a reporter who can names a later one.
    function _keyOf(KeyReference calldata key) private view returns (address signer) {
        uint64 time = uint64(block.timestamp);
        uint64 begun = _startOf(key.epoch);
        require(begun <= time, EpochNotBegun(begun, time));

        (bool known, uint64 end) = SETTLEMENT.endOf(key.generation, key.epoch);
        require(!known || time < end + EVIDENCE_WINDOW_SECONDS, EvidenceTooOld(end + EVIDENCE_WINDOW_SECONDS, time));

        return SETTLEMENT.memberAt(key.generation, key.epoch, key.index).signer;
    }

    function _requireSigned(address signer, bytes32 digest, Signature calldata signature) private pure {
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, signature.r, signature.vs);
        require(fault == ECDSA.RecoverError.NoError && recovered == signer, NotSignedBy(signer, recovered));
    }

    /// @dev Where an offence took place, whatever the evidence looked like: height 64, round 32, vote type 8.
    function _position(uint64 height, uint32 round, uint8 voteType) private pure returns (bytes32) {
        return bytes32((uint256(height) << 40) | (uint256(round) << 8) | voteType);
    }

    function _report(Offence offence, address signer, uint32 generation, bytes32 position)
        private
        returns (bytes32 caseId)
    {
        uint32 id = REGISTRY.idOf(signer);
        uint64 bucket = _bucketOf(uint64(block.timestamp));
        caseId = keccak256(abi.encode(offence, id, generation, position));
        require(_records[caseId].status == CaseStatus.None, AlreadyReported(caseId));

        _records[caseId] = Record({
            reporter: msg.sender,
            sequencer: id,
            reportedAt: uint40(block.timestamp),
            offence: offence,
            status: CaseStatus.Reported,
            delayed: false
        });

        emit Reported(caseId, id, offence, msg.sender, position);

        // Held a window longer than until the execution, so that it comes first whatever else is reported meanwhile, and no
        // longer, so that a case that nobody executes frees the pool. An offender weighs once, and holds once, for what it
        // did in a window and the next; if it goes on, its later cases must not miss its own weight.
        uint64 margin = GUARDIAN_DELAY_SECONDS + EXIT_MARGIN_SECONDS;
        (uint256 assetsWei, bool held) =
            REGISTRY.jail(id, _startOfBucket(bucket + 2) + margin, _startOfBucket(bucket + 3) + margin);
        if (held) _correlation.add(bucket, assetsWei / WEIGHT_UNIT_WEI);
    }

    /* EXECUTING */

    /// @inheritdoc ISlasher
    function execute(bytes32 caseId) external nonReentrant {
        Record memory record = _records[caseId];
        Penalty memory penalty = _penalties[record.sequencer];
        uint64 due = executableAt(caseId);

        require(record.status == CaseStatus.Reported, AlreadyExecuted(caseId));
        require(block.timestamp >= due, NotDue(due, uint64(block.timestamp)));

        if (!penalty.applied) penalty.baseWei = REGISTRY.assetsOf(record.sequencer).toUint128();
        uint64 shareBps = _shareBps(_bucketOf(record.reportedAt));
        uint64 beyondBps = shareBps > penalty.shareBps ? shareBps - penalty.shareBps : 0;
        penalty.shareBps += beyondBps;
        penalty.applied = true;
        _penalties[record.sequencer] = penalty;
        _records[caseId].status = CaseStatus.Executed;

        uint256 slashedWei = REGISTRY.slash(record.sequencer, penalty.baseWei * beyondBps / BPS, true);
        uint256 bountyWei = slashedWei * BOUNTY_BPS / BPS;
        _bounties[record.reporter] += bountyWei;

        emit Executed(caseId, record.sequencer, slashedWei, bountyWei, slashedWei - bountyWei);

        if (slashedWei != bountyWei) STAKE_TOKEN.safeTransfer(BURNED, slashedWei - bountyWei);
    }

    /// @inheritdoc ISlasher
    function delay(bytes32 caseId) external {
        Record storage record = _records[caseId];

        require(msg.sender == GUARDIAN, NotGuardian(GUARDIAN, msg.sender));
        require(record.status != CaseStatus.None, UnknownCase(caseId));
        require(record.status == CaseStatus.Reported, AlreadyExecuted(caseId));
        require(!record.delayed, AlreadyDelayed(caseId));

        record.delayed = true;

        emit Delayed(caseId, executableAt(caseId));
    }

    /// @inheritdoc ISlasher
    function claimBounty() external nonReentrant returns (uint256 amountWei) {
        amountWei = _bounties[msg.sender];

        require(amountWei != 0, NoBounty(msg.sender));

        _bounties[msg.sender] = 0;

        emit BountyClaimed(msg.sender, amountWei);

        STAKE_TOKEN.safeTransfer(msg.sender, amountWei);
    }

    /// @dev Base share plus the factor times what offended around the same time, of the weight in force; all at most.
    function _shareBps(uint64 bucket) private view returns (uint64) {
        uint256 total = SETTLEMENT.totalAt(SETTLEMENT.generation(), SETTLEMENT.epochAt(uint64(block.timestamp)));
        uint256 correlated = _correlation.around(bucket);
        uint256 share = total == 0 ? BPS : DOUBLE_SIGN_BPS + CORRELATION_FACTOR * correlated * BPS / total;

        // Casting is safe: at most 10,000.
        return uint64(share < BPS ? share : BPS);
    }

    /* READING */

    /// @inheritdoc ISlasher
    function executableAt(bytes32 caseId) public view returns (uint64) {
        Record storage record = _records[caseId];
        require(record.status != CaseStatus.None, UnknownCase(caseId));
        return _startOfBucket(_bucketOf(record.reportedAt) + 2) + (record.delayed ? GUARDIAN_DELAY_SECONDS : 0);
    }

    /// @inheritdoc ISlasher
    function caseOf(bytes32 caseId) external view returns (Case memory) {
        Record storage record = _records[caseId];
        return Case({
            sequencer: record.sequencer,
            offence: record.offence,
            status: record.status,
            reporter: record.reporter,
            reportedAt: record.reportedAt
        });
    }

    /// @inheritdoc ISlasher
    function bountyOf(address reporter) external view returns (uint256) {
        return _bounties[reporter];
    }

    function _startOf(uint64 epoch) private view returns (uint64) {
        return GENESIS + epoch * EPOCH_SECONDS;
    }

    function _bucketOf(uint64 time) private view returns (uint64) {
        return time / CORRELATION_WINDOW_SECONDS;
    }

    function _startOfBucket(uint64 bucket) private view returns (uint64) {
        return bucket * CORRELATION_WINDOW_SECONDS;
    }
}
