// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../../contracts/interfaces/IBatchInbox.sol";
import {IRota} from "../../contracts/interfaces/IRota.sol";
import {CertificateLib} from "../../contracts/lib/CertificateLib.sol";
import {Settled} from "../../contracts/interfaces/ITally.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Chain} from "../utils/Chain.sol";

/// @title Attacks on the settled chain (gallery, chapters 3 and 4)
contract SettlementAttacks is Chain {
    function setUp() external {
        _begin(4);
    }

    /// A batch of another deployment, with the same members, is signed under another domain.
    function test_attack029_batchOfAnotherDeployment() external {
        BatchHeader memory header = _nextHeader(8);
        Signature[] memory elsewhere = _attest(header, _first(3));
        address before = address(settlement);

        _begin(4);
        assertNotEq(address(settlement), before);
        BatchHeader memory here = _nextHeader(8);
        header.parentBlockHash = here.parentBlockHash;
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            elsewhere,
            abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 0, settlement.memberAt(0, 1, 0).signer)
        );
    }

    /// Copying the leader's transaction gains nothing: it is not the copier's turn.
    function test_attack030_frontRunnerCopiesTheBatch() external {
        BatchHeader memory header = _nextHeader(8);
        address copier = makeAddr("copier");
        _expectRefused(
            copier,
            header,
            _first(3),
            _attest(header, _first(3)),
            abi.encodeWithSelector(
                IBatchInbox.PosterNotAdmitted.selector,
                _leader(header),
                copier,
                header.timestamp + 5 * p.takeoverSeconds
            )
        );
        _settle(header);
    }

    /// Once anyone may post, another choice of signatures settles the same batch, and the leader's own comes too late: it
    /// reverts and costs it nothing but gas.
    function test_attack030_anotherChoiceOfSignaturesHasTheSameEffect() external {
        BatchHeader memory header = _nextHeader(8);
        _advance(5 * p.takeoverSeconds);
        address copier = makeAddr("copier");
        Signature[] memory others = _attest(header, 14);
        vm.prank(copier, copier);
        settlement.settle(header, 14, others, PAYLOAD);

        assertEq(settlement.tip().lastBlockHash, header.lastBlockHash);
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            _attest(header, _first(3)),
            abi.encodeWithSelector(IBatchInbox.FirstHeightNotNext.selector, 9, 1)
        );
    }

    /// After a reorg the chain may have another tip: a batch on the old one is refused.
    function test_attack031_parentIsStale() external {
        BatchHeader memory header = _nextHeader(8);
        header.parentBlockHash = keccak256("before the reorg");
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            _attest(header, _first(3)),
            abi.encodeWithSelector(
                IBatchInbox.ParentBlockMismatch.selector, settlement.tip().lastBlockHash, keccak256("before the reorg")
            )
        );
    }

    function test_attack032_twoBatchesOfTheSameHeights() external {
        BatchHeader memory header = _nextHeader(8);
        BatchHeader memory other = _nextHeader(8);
        other.lastBlockHash = keccak256("other");
        _settle(header);
        _expectRefused(
            _leader(other),
            other,
            _first(3),
            _attest(other, _first(3)),
            abi.encodeWithSelector(IBatchInbox.FirstHeightNotNext.selector, 9, 1)
        );
    }

    function test_attack033_signatureInItsOtherForm() external {
        BatchHeader memory header = _nextHeader(8);
        Signature[] memory signatures = _attest(header, _first(3));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        uint256 vs = uint256(signatures[1].vs);
        signatures[1].vs = bytes32((order - (vs & (type(uint256).max >> 1))) ^ (((vs >> 255) ^ 1) << 255));
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            signatures,
            abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 1, settlement.memberAt(0, 1, 1).signer)
        );
    }

    /// There is no way to name a member twice; a signature given twice is not its neighbour's.
    function test_attack034_signerCountedTwice() external {
        BatchHeader memory header = _nextHeader(8);
        Signature[] memory signatures = _attest(header, _first(3));
        signatures[2] = signatures[1];
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            signatures,
            abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 2, settlement.memberAt(0, 1, 2).signer)
        );
    }

    /// With up to three members all must sign: two thirds is not more than two thirds.
    function test_attack035_quorumOfSmallSets() external {
        for (uint256 n = 1; n <= 3; ++n) {
            _begin(n);
            BatchHeader memory header = _nextHeader(8);
            _expectRefused(
                _leader(header),
                header,
                _first(n - 1),
                _attest(header, _first(n - 1)),
                abi.encodeWithSelector(IBatchInbox.QuorumNotReached.selector, 100 * n, 100 * (n - 1))
            );
            address leader = _leader(header);
            Signature[] memory all = _attest(header, _first(n));
            vm.prank(leader, leader);
            settlement.settle(header, _first(n), all, PAYLOAD);
        }
    }

    function test_attack036_descendantBeforeItsParent() external {
        BatchHeader memory child = _nextHeader(8);
        (child.firstHeight, child.lastHeight) = (9, 16);
        _expectRefused(
            _leader(child),
            child,
            _first(3),
            _attest(child, _first(3)),
            abi.encodeWithSelector(IBatchInbox.FirstHeightNotNext.selector, 1, 9)
        );
    }

    /// A contract can hold any payload in a call that the transaction does not show.
    function test_attack037_payloadThatTheTransactionDoesNotShow() external {
        BatchHeader memory header = _nextHeader(8);
        Signature[] memory signatures = _attest(header, _first(3));
        address leader = _leader(header);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.CallerNotOrigin.selector, leader, address(this)));
        vm.prank(address(this), leader);
        settlement.settle(header, _first(3), signatures, PAYLOAD);
    }

    /// Blocks of a batch are bounded by L1; its bytes by what L1 takes as calldata, and by the agents before they sign.
    function test_attack038_batchOfMoreBlocksThanAnybodyCanDerive() external {
        BatchHeader memory header = _nextHeader((1 << 14) + 1);
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            _attest(header, _first(3)),
            abi.encodeWithSelector(IBatchInbox.LastHeightOutOfRange.selector, 1, 1 << 14, (1 << 14) + 1)
        );
    }

    /// Nothing loops over what is settled, or over what nobody tallied; what a caller asks for is bounded.
    function test_attack039_nothingGrowsWithWhatIsOpen() external {
        _settle(_nextHeader(1));
        uint256 early = _gasOfOneMore();
        for (uint256 i = 0; i < 50; ++i) {
            _settle(_nextHeader(1));
        }
        assertApproxEqAbs(_gasOfOneMore(), early, 2000);

        vm.expectRevert(abi.encodeWithSelector(IRota.ScheduleTooLong.selector, 256, 257));
        settlement.schedule(1, 0, 257);
    }

    /// At capacity the oldest is still there; one more, and it is gone rather than another's.
    function test_attack040_ringWrapsAround() external {
        Config memory config = ConfigLib.read("devnet");
        config.params.ringSize = 2 * config.params.evidenceWindowSeconds / config.params.maxBatchAgeSeconds;
        _deploy(config);
        _joinMany(4);
        _sealFirst();
        for (uint256 i = 0; i < p.ringSize; ++i) {
            _settle(_nextHeader(1));
        }
        bytes32 oldest = settlement.ringValue(1);

        _settle(_nextHeader(1));
        assertNotEq(settlement.ringValue(p.ringSize + 1), oldest);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NotInRing.selector, 2, p.ringSize + 1, 1));
        settlement.ringValue(1);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.NotInRing.selector, 2, p.ringSize + 1, p.ringSize + 2));
        settlement.ringValue(p.ringSize + 2);
    }

    function test_attack041_severalInOneL1BlockAreOrdered() external {
        _settle(_nextHeader(1));
        _settle(_nextHeader(1));
        assertEq(settlement.tip().number, 2);
        assertNotEq(settlement.ringValue(1), settlement.ringValue(2));
    }

    /// L1 forgets a hash after 256 blocks. A forged one passes there only with the signatures of a quorum, whose members
    /// know every block; before that it does not pass at all.
    function test_attack045_originThatL1HasForgotten() external {
        BatchHeader memory header = _nextHeader(8);
        bytes32 known = header.l1OriginHash;
        header.l1OriginHash = keccak256("forged");
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            _attest(header, _first(3)),
            abi.encodeWithSelector(IBatchInbox.OriginHashMismatch.selector, known, header.l1OriginHash)
        );

        vm.roll(block.number + 257);
        _expectRefused(
            _leader(header),
            header,
            _first(2),
            _attest(header, _first(2)),
            abi.encodeWithSelector(IBatchInbox.QuorumNotReached.selector, 400, 200)
        );
    }

    /// What a header says of time cannot make its poster's turn last: turns end by L1 time, the timestamp is bounded by it
    /// on one side and by the batch before on the other, and lateness counts L1 blocks, however old an origin was named.
    function test_attack048_timesThatTheJudgedOnesChoose() external {
        BatchHeader memory header = _nextHeader(8);
        header.timestamp = uint64(block.timestamp) + p.driftSeconds + 1;
        _expectRefused(
            _leader(header),
            header,
            _first(3),
            _attest(header, _first(3)),
            abi.encodeWithSelector(
                IBatchInbox.TimestampOutOfRange.selector,
                settlement.tip().timestamp,
                header.timestamp - 1,
                header.timestamp
            )
        );

        BatchHeader memory old = _nextHeader(8);
        _force(1);
        _advance(p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1);
        header = _nextHeader(8);
        (header.l1OriginNumber, header.l1OriginHash) = (old.l1OriginNumber, old.l1OriginHash);
        _settle(header);
        assertTrue(_settledBatches[0].late);
        _tallyAll();
    }

    function _gasOfOneMore() private returns (uint256) {
        BatchHeader memory header = _nextHeader(1);
        address leader = _leader(header);
        Signature[] memory signatures = _attest(header, _first(3));
        Settled memory batch = _settledBy(leader, header, _first(3));
        vm.recordLogs();
        vm.prank(leader, leader);
        uint256 before = gasleft();
        settlement.settle(header, _first(3), signatures, PAYLOAD);
        uint256 spent = before - gasleft();
        batch.refundWei = _refundsWei()[0];
        _settledBatches.push(batch);
        return spent;
    }

    function _expectRefused(
        address poster,
        BatchHeader memory header,
        uint128 signers,
        Signature[] memory signatures,
        bytes memory reason
    ) private {
        vm.expectRevert(reason);
        vm.prank(poster, poster);
        settlement.settle(header, signers, signatures, PAYLOAD);
    }
}
