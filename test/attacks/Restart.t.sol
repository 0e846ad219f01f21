// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../../contracts/interfaces/IBatchInbox.sol";
import {IRestart} from "../../contracts/interfaces/IRestart.sol";
import {IRota, LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {ISlasher, KeyReference} from "../../contracts/interfaces/ISlasher.sol";
import {CertificateLib} from "../../contracts/lib/CertificateLib.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {BatchHeader, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";
import {Actor} from "../utils/System.sol";

/// @title Attacks around restarts and empty sets
/// @notice The numbers are those of the attack gallery.
contract RestartAttacks is Offences {
    Actor[] private _actors;

    function setUp() external {
        _begin(4);
        for (uint256 i = 0; i < 4; ++i) {
            _actors.push(_actor(i));
        }
    }

    /// 4: an exit between the check-in and the finish takes nothing out of reach, and gives no weight away twice.
    function test_attack004_anExitAfterTheCheckInDoesNotCount() external {
        _openRestart();
        _checkIn(_actors[0]);
        _checkIn(_actors[1]);
        uint256 shares = registry.sharesOf(_actors[1].id, _actors[1].owner);
        vm.prank(_actors[1].owner);
        registry.requestExit(_actors[1].id, shares);
        _advance(p.restartWindowSeconds);

        vm.expectRevert(abi.encodeWithSelector(IRestart.CheckedInTooFew.selector, 134, 100));
        settlement.closeCheckIn();
    }

    /// 14: everybody leaves. The last set keeps the chain going, all are paid, and the chain waits for others.
    function test_attack014_aMassExitIsPaidAndTheChainWaitsForOthers() external {
        uint256[] memory exits = new uint256[](4);
        for (uint256 i = 0; i < 4; ++i) {
            uint256 shares = registry.sharesOf(_actors[i].id, _actors[i].owner);
            vm.prank(_actors[i].owner);
            exits[i] = registry.requestExit(_actors[i].id, shares);
        }
        _flushThrough(_epoch() + 4);
        _warpTo(settlement.startOf(1) + p.exitDelaySeconds - 1);
        _settle(_nextHeader(9));
        _advance(1);
        uint64 empty = _epoch() + 1;
        _sealSet(empty);

        _warpTo(settlement.startOf(empty) + p.exitDelaySeconds);
        for (uint256 i = 0; i < 4; ++i) {
            vm.prank(_actors[i].owner);
            assertEq(registry.claim(exits[i]), STAKE_WEI);
        }

        _join(7, STAKE_WEI);
        _startEpoch(_epoch() + 1);
        _sealSet(_epoch());
        _advance(1);
        assertEq(_nextHeader(1).firstHeight, 10);
        _settle(_nextHeader(1));
    }

    /// 25: a finish sent twice, and seals that nobody sends for long after it.
    function test_attack025_aGenerationBeginsOnceAndNeedsNoSeal() external {
        _restart(_actors, 3);
        vm.expectRevert(IRestart.NoRestartOpen.selector);
        settlement.finishRestart("");
        uint64 epoch = _epoch();
        vm.expectRevert(abi.encodeWithSelector(IRota.EpochNotSealable.selector, epoch + 1, epoch));
        settlement.seal(epoch, "");

        _startEpoch(epoch + 500);
        assertEq(settlement.leaderSet(epoch + 500).sealedFor, epoch);
        _settle(_nextHeader(2));
    }

    /// 26: one who is left over leads every turn; nobody leads none.
    function test_attack026_aGenerationOfOneLeadsEveryTurn() external {
        for (uint256 lapsed = 0; lapsed < 3; ++lapsed) {
            _openRestart();
            _advance(2 * p.restartWindowSeconds);
        }
        _restart(_actors, 1);

        address[] memory leaders = settlement.schedule(_epoch(), 0, 50);
        for (uint256 i = 0; i < leaders.length; ++i) {
            assertEq(leaders[i], _actors[0].signer);
        }
        _advance(1);
        _settle(_nextHeader(2));
    }

    /// 29: what the set of the generation before had signed, sent again after the restart, as it was or renamed.
    function test_attack029_aBatchOfAnotherGeneration() external {
        _advance(3);
        BatchHeader memory header = _nextHeader(4);
        uint128 all = _first(4);
        Signature[] memory signatures = _attest(header, all);
        address leader = _leader(header);
        _restart(_actors, 4);
        _advance(1);

        vm.startPrank(leader, leader);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.GenerationMismatch.selector, 1, 0));
        settlement.settle(header, all, signatures, PAYLOAD);

        // The same members, so the same keys; but what they signed was another message.
        BatchHeader memory renamed = _nextHeader(4);
        leader = _leader(renamed);
        address first = settlement.memberAt(1, renamed.epoch, 0).signer;
        vm.stopPrank();
        vm.prank(leader, leader);
        vm.expectRevert(abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 0, first));
        settlement.settle(renamed, all, signatures, PAYLOAD);
    }

    /// 53, 54: evidence against a key of a generation that is over counts from its end, whatever epoch the reporter names.
    function test_attack054_evidenceAgainstAnOldGenerationRunsOut() external {
        _restart(_actors, 2);
        uint64 until = uint64(block.timestamp) + p.evidenceWindowSeconds;
        uint256 secret = _secret(OFFENDER);

        _warpTo(until);
        uint64 epoch = settlement.epochAt(until - 1);
        KeyReference latest = KeyLib.inSet({generation: 0, epoch: epoch, index: uint8(OFFENDER)});
        Signature memory signatureA = _signVote(secret, VoteType.Precommit, _vote(BLOCK_A));
        Signature memory signatureB = _signVote(secret, VoteType.Precommit, _vote(BLOCK_B));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.EvidenceTooOld.selector, until, until));
        slasher.reportDoubleVote(latest, VoteType.Precommit, _vote(BLOCK_A), signatureA, _vote(BLOCK_B), signatureB);

        vm.roll(block.number - 1);
        vm.warp(until - 1);
        slasher.reportDoubleVote(latest, VoteType.Precommit, _vote(BLOCK_A), signatureA, _vote(BLOCK_B), signatureB);
    }

    /// 61: nothing settles, a restart is open, then nobody is left: faults are punished all the same.
    function test_attack061_evidenceIsTakenWhileNothingSettles() external {
        _openRestart();
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        uint32 id = _idAt(OFFENDER);

        // Reported in the window: it cannot check in any more.
        address owner = registry.ownerOf(id);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IRestart.NotEligible.selector, id));
        settlement.checkIn(id);

        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        assertLt(registry.assetsOf(id), STAKE_WEI);
    }

    /// 61: the same under an empty set.
    function test_attack061_evidenceIsTakenWhenNobodyIsLeft() external {
        for (uint256 i = 0; i < 4; ++i) {
            uint256 shares = registry.sharesOf(_actors[i].id, _actors[i].owner);
            vm.prank(_actors[i].owner);
            registry.requestExit(_actors[i].id, shares);
        }
        _flushThrough(_epoch() + 4);
        _warpTo(settlement.startOf(1) + p.exitDelaySeconds);
        _sealSet(_epoch() + 1);
        _startEpoch(_epoch() + 1);
        LeaderSet memory set = settlement.leaderSet(_epoch());
        assertEq(set.total, 0);

        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        uint32 id = _idAt(OFFENDER);
        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        assertLt(registry.assetsOf(id), STAKE_WEI);
    }
}
