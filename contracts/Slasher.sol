// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Cases} from "./Cases.sol";
import {Liveness} from "./Liveness.sol";
import {SigningDomain} from "./SigningDomain.sol";
import {BlockProof, ISlasher, KeyReference, Offence} from "./interfaces/ISlasher.sol";
import {DigestLib} from "./lib/DigestLib.sol";
import {KeyLib} from "./lib/KeyLib.sol";
import {MerkleLib} from "./lib/MerkleLib.sol";
import {Addresses, Params} from "./types/Params.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "./types/Wire.sol";

/// @title Evidence in, stake out
/// @notice See {ISlasher}. Two signatures of one key that exclude each other are a fault whatever the reason for them was,
/// and nothing else is judged here: no votes, no committee, no view of who was online.
contract Slasher is Liveness, SigningDomain {
    using KeyLib for KeyReference;

    /// Reports in one {reportMany}.
    uint256 private constant MAX_REPORTS = 32;

    uint64 private immutable GENESIS;
    uint64 private immutable EPOCH_SECONDS;
    uint64 private immutable EVIDENCE_WINDOW_SECONDS;

    constructor(Params memory p, Addresses memory addresses)
        Liveness(p, addresses)
        SigningDomain(addresses.settlement)
    {
        GENESIS = p.genesis;
        EPOCH_SECONDS = p.epochSeconds;
        EVIDENCE_WINDOW_SECONDS = p.evidenceWindowSeconds;
    }

    /* REPORTING */

    /// @inheritdoc ISlasher
    function reportDoubleVote(
        KeyReference key,
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

        address signer =
            _author(key, DigestLib.structHash(a, voteType), signatureA, DigestLib.structHash(b, voteType), signatureB);
        return _open(key, signer, Offence.DoubleVote, a.generation, _position(a.height, a.round, uint8(voteType)));
    }

    /// @inheritdoc ISlasher
    function reportDoubleProposal(
        KeyReference key,
        Proposal calldata a,
        Signature calldata signatureA,
        Proposal calldata b,
        Signature calldata signatureB
    ) external returns (bytes32 caseId) {
        require(a.generation == b.generation, GenerationDiffers(a.generation, b.generation));
        require(a.height == b.height, HeightDiffers(a.height, b.height));
        require(a.round == b.round, RoundDiffers(a.round, b.round));
        require(a.blockHash != b.blockHash, SameBlock(a.blockHash));

        address signer = _author(key, DigestLib.structHash(a), signatureA, DigestLib.structHash(b), signatureB);
        return _open(key, signer, Offence.DoubleProposal, a.generation, _position(a.height, a.round, 0));
    }

    /// @inheritdoc ISlasher
    function reportDoubleAttestation(
        KeyReference key,
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

        address signer = _author(key, DigestLib.structHash(a), signatureA, DigestLib.structHash(b), signatureB);
        return _open(key, signer, Offence.DoubleAttestation, a.generation, _position(differing, 0, 0));
    }

    /// @inheritdoc ISlasher
    function reportMany(bytes[] calldata reports) external returns (uint256 taken) {
        require(reports.length <= MAX_REPORTS, TooManyReports(MAX_REPORTS, reports.length));

        _isTogether = true;
        for (uint256 i = 0; i < reports.length; ++i) {
            bytes4 selector = bytes4(reports[i]);
            bool done;
            bytes memory answer = abi.encodeWithSelector(NotAReport.selector, selector);
            // To itself, so that the caller stays the reporter; a report takes no ETH and leads back here only through the
            // selectors below.
            if (_isReport(selector)) (done, answer) = address(this).delegatecall(reports[i]);
            if (done) ++taken;
            else emit Skipped(i, answer);
        }
        _isTogether = false;
        _creditTogether();
    }

    function _isReport(bytes4 selector) private pure returns (bool) {
        return _isEvidence(selector) || selector == ISlasher.reportMissedTurns.selector;
    }

    /// @dev Whether it opens a case.
    function _isEvidence(bytes4 selector) private pure returns (bool) {
        return selector == ISlasher.reportDoubleVote.selector || selector == ISlasher.reportDoubleProposal.selector
            || selector == ISlasher.reportDoubleAttestation.selector;
    }

    /// @inheritdoc Cases
    function _prove(bytes calldata report) internal override returns (bytes32 caseId) {
        bytes4 selector = bytes4(report);
        require(_isEvidence(selector), NotAReport(selector));

        _claiming = true;
        bytes memory answer = Address.functionDelegateCall(address(this), report);
        _claiming = false;

        return abi.decode(answer, (bytes32));
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
        if (_isLink(a, b, height)) return _brokenLink(height, a, b);
        if (_isLink(b, a, height)) return _brokenLink(height, b, a);

        bytes32 blockA = _blockAt(height, a, proofA);
        bytes32 blockB = _blockAt(height, b, proofB);
        require(blockA != blockB, SameBlock(blockA));
        return height;
    }

    /// @dev Whether `later` begins at `height`, right after `earlier`.
    function _isLink(BatchHeader calldata earlier, BatchHeader calldata later, uint64 height)
        private
        pure
        returns (bool)
    {
        return uint256(earlier.lastHeight) + 1 == height && later.firstHeight == height;
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
            size: uint256(header.lastHeight) - header.firstHeight + 1,
            siblings: proof.siblings
        });
        require(root == header.blocksRoot, BlockNotInBatch(header.blocksRoot, root));
        return proof.blockHash;
    }

    /// @dev Who signed both messages: the key that `key` names. Of a sequencer's current key the registry says so when it
    /// jails.
    function _author(
        KeyReference key,
        bytes32 a,
        Signature calldata signatureA,
        bytes32 b,
        Signature calldata signatureB
    ) private view returns (address signer) {
        bytes32 domain = domainSeparator();
        address first = _recover(DigestLib.digest(domain, a), signatureA);
        address second = _recover(DigestLib.digest(domain, b), signatureB);

        signer = key.isInSet() ? _keyAt(key) : first;
        require(first == signer && first != address(0), NotSignedBy(signer, first));
        require(second == signer, NotSignedBy(signer, second));
    }

    /// @dev Zero if the signature is not well-formed.
    function _recover(bytes32 digest, Signature calldata signature) private pure returns (address recovered) {
        (recovered,,) = ECDSA.tryRecover(digest, signature.r, signature.vs);
    }

    /// @dev R9: the key at the place named, while evidence against it counts. That it does for `evidenceWindow` after the
    /// set named here ended; a reporter who can names a later one.
    function _keyAt(KeyReference key) private view returns (address) {
        (uint32 generation, uint64 epoch, uint256 index) = key.place();
        uint64 time = uint64(block.timestamp);
        uint256 begun = GENESIS + uint256(epoch) * EPOCH_SECONDS;
        require(begun <= time, EpochNotBegun(begun, time));

        (bool known, uint64 end) = SETTLEMENT.endOf(generation, epoch);
        require(!known || time < end + EVIDENCE_WINDOW_SECONDS, EvidenceTooOld(end + EVIDENCE_WINDOW_SECONDS, time));

        return SETTLEMENT.memberAt(generation, epoch, index).signer;
    }

    /// @dev Where an offence took place, whatever the evidence looked like: height 64, round 32, vote type 8.
    function _position(uint64 height, uint32 round, uint8 voteType) private pure returns (bytes32) {
        return bytes32((uint256(height) << 40) | (uint256(round) << 8) | voteType);
    }
}
