// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {VmSafe} from "forge-std/Vm.sol";

import {IBatchInbox} from "../../contracts/interfaces/IBatchInbox.sol";
import {IRestart} from "../../contracts/interfaces/IRestart.sol";
import {IRota, LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {ISlasher, KeyReference} from "../../contracts/interfaces/ISlasher.sol";
import {CertificateLib} from "../../contracts/lib/CertificateLib.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {BatchHeader, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
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

    /// 150: under an empty set a third is nothing. One newcomer opens a restart instead of waiting for others, and would order,
    /// settle and earn alone.
    function test_attack150_aRestartAfterNobodyTakesAsManyAsASeal() external {
        uint64 empty = _emptySet(3);
        _join(10, STAKE_WEI);
        _startEpoch(empty + 1);
        bytes memory tooFew = abi.encodeWithSelector(IRota.TooFewMembers.selector, 3, 1);
        vm.expectRevert(tooFew);
        settlement.pin(empty + 1);

        // As often as it likes: of those that lapse in a row, too, minMembers are asked for.
        for (uint256 i = 0; i < 8; ++i) {
            _openRestart();
            _checkIn(_actor(10));
            _advance(p.restartWindowSeconds);
            uint64 enoughFrom = settlement.startOf(empty) + p.exitDelaySeconds;
            if (block.timestamp >= enoughFrom) break;
            vm.expectRevert(tooFew);
            settlement.closeCheckIn();
            _advance(p.restartWindowSeconds);
        }
        // For as long as an exit takes, and no longer: then a seal would do as well (R5).
        assertGe(block.timestamp, settlement.startOf(empty) + p.exitDelaySeconds);
        _finishRestart();
        assertEq(settlement.leaderSet(_epoch()).total, 100);
    }

    /// 150: who are enough for a seal need not wait for one.
    function test_attack150_asManyAsASealAsksForRestartAtOnce() external {
        uint64 empty = _emptySet(3);
        Actor[] memory actors = new Actor[](3);
        for (uint256 i = 0; i < 3; ++i) {
            actors[i] = _join(10 + i, STAKE_WEI);
        }
        _restart(actors, 3);
        assertLt(block.timestamp, settlement.startOf(empty) + p.exitDelaySeconds);
        assertEq(settlement.leaderSet(_epoch()).total, 300);
    }

    /// 151: a change of a unit just before the finish has the limit of churn read from the set before: three times what the new
    /// one allows would leave it in that epoch, or enter.
    function testFuzz_attack151_aGenerationHasALimitOfItsOwn(uint256 units, bool leaves) external {
        Actor[] memory actors = _restartOfNine(24);
        units = bound(units, 1, 300);
        _topUp(actors[0], units * p.weightUnitWei);
        assertEq(registry.churn().limit, 300);
        uint64 epoch = _epoch();
        _finishRestart();
        assertEq(_epoch(), epoch);

        uint256 total = settlement.leaderSet(epoch).total;
        assertEq(total, 900 + units);
        uint256 limit = total / 8 > 100 ? total / 8 : 100;
        assertEq(registry.churn().limit, limit);
        if (leaves) {
            for (uint256 i = 1; i < 4; ++i) {
                _leaveForGood(actors[i]);
            }
            assertEq(registry.churn().left, limit);
        } else {
            // What entered in this epoch has entered.
            _topUp(actors[1], 300 * p.weightUnitWei);
            uint256 entered = registry.churn().entered;
            assertEq(entered, units > limit ? units : limit);
            assertEq(registry.sequencer(actors[1].id).weight, 100 + entered - units);
        }
        // The next epoch has one as well, of the same set.
        _startEpoch(epoch + 1);
        assertEq(registry.churn().limit, limit);
        assertEq(registry.churn().left + registry.churn().entered, 0);
    }

    /// 151: the same of a generation that a seal begins, with half of those who could be sealed jailed before its pin.
    function test_attack151_aGenerationThatASealBeginsHasALimitOfItsOwn() external {
        uint64 empty = _emptySet(3);
        for (uint256 i = 10; i < 26; ++i) {
            _join(i, STAKE_WEI);
        }
        _startEpoch(empty + 1);
        _topUp(_actor(10), p.weightUnitWei);
        assertEq(registry.churn().limit, 200);
        for (uint256 i = 18; i < 26; ++i) {
            uint32 id = _actor(i).id;
            vm.prank(at.slasher);
            registry.jail(id, 0, 0);
        }
        _sealSet(empty + 1);
        assertEq(settlement.leaderSet(empty + 1).total, 800);
        assertEq(registry.churn().limit, 100);
        _topUp(_actor(11), STAKE_WEI);
        assertEq(registry.churn().entered, 100);
    }

    /// 152: under an empty set, with enough there for the next, whoever comes with ten times as much would count at once.
    function test_attack152_whoComesUnderAnEmptySetIsMeasuredByThoseWhoAreThere() external {
        uint64 empty = _emptySet(4);
        for (uint256 i = 10; i < 14; ++i) {
            _join(i, STAKE_WEI);
        }
        _startEpoch(empty + 1);
        settlement.pin(empty + 1);
        assertEq(registry.churn().limit, 100);
        Actor memory mallory = _join(20, 40 * STAKE_WEI);
        assertEq(registry.sequencer(mallory.id).weight, 100);

        _sealSet(empty + 1);
        assertEq(settlement.leaderSet(empty + 1).total, 400);
        _startEpoch(empty + 2);
        _sealSet(empty + 3);
        assertEq(settlement.leaderSet(empty + 3).total, 500);
    }

    /// 152: as long as a set would have too few members, nobody is kept out; and who missed a restart would be in none.
    function test_attack152_whoMissedARestartSetsNoLimit() external {
        _deployFor(4);
        Actor[] memory actors = _joinMany(8);
        _sealFirst();
        _restart(actors, 3);
        for (uint256 i = 0; i < 3; ++i) {
            _leaveForGood(actors[i]);
        }
        uint64 empty = _sealNobody();
        assertEq(registry.membersAtEpochStart(0).length, 5);
        assertEq(registry.churn().limit, type(uint64).max);
        _join(10, 5 * STAKE_WEI);
        assertEq(registry.sequencer(_actor(10).id).weight, 500);
        assertEq(_epoch(), empty);
    }

    /// 153: nobody finishes for so long that L1 forgets the pinned block, and somebody leaves: there is another block, and no
    /// other list. Else whoever lets it lapse could choose between two.
    function test_attack153_aCheckInIsClosedOverOneList() external {
        uint64 openedAt = _closeOfThree();
        address frozen = _closedSet();
        vm.roll(uint256(settlement.pinnedForRestart()) + 257);
        assertEq(settlement.pinnedForRestart(), 0);
        _leaveForGood(_actors[0]);

        vm.expectEmit(address(settlement));
        emit IRestart.CheckInClosed(openedAt, frozen, uint64(block.number) + 15);
        settlement.closeCheckIn();
        uint64 epoch = _epoch();
        _finishRestart();
        (address pointer,,) = settlement.setOf(1, epoch);
        assertEq(pointer, frozen);
        assertEq(settlement.leaderSet(epoch).members.length, 3);
    }

    /// 153: all who checked in are gone by then. Nobody keeps it from ending so.
    function test_attack153_nobodyKeepsARestartFromEndingByLeaving() external {
        _closeOfThree();
        vm.roll(uint256(settlement.pinnedForRestart()) + 257);
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(at.slasher);
            registry.jail(_actors[i].id, 0, 0);
        }
        _finishRestart();
        assertEq(settlement.leaderSet(_epoch()).total, 300);
    }

    /// 153: what was frozen for a restart that lapsed is not for the next one.
    function test_attack153_theListEndsWithItsRestart() external {
        _closeOfThree();
        _advance(2 * p.restartWindowSeconds);
        _restart(_actors, 2);
        assertEq(settlement.leaderSet(_epoch()).members.length, 2);
    }

    /* WHAT THEY START FROM */

    function _deployFor(uint64 minMembers) private {
        Config memory config = ConfigLib.read("devnet");
        config.params.minMembers = minMembers;
        _deploy(config);
    }

    /// @dev A deployment that all of its minMembers have left, at the start of the epoch whose set is empty.
    function _emptySet(uint64 minMembers) private returns (uint64 empty) {
        _deployFor(minMembers);
        Actor[] memory actors = _joinMany(minMembers);
        _sealFirst();
        for (uint256 i = 0; i < minMembers; ++i) {
            _leaveForGood(actors[i]);
        }
        return _sealNobody();
    }

    /// @dev Lets all who leave be gone, and seals for the next epoch who is left: nobody.
    function _sealNobody() private returns (uint64 empty) {
        _flushThrough(_epoch() + 8);
        _advance(p.exitDelaySeconds);
        empty = _epoch() + 1;
        _sealSet(empty);
        _startEpoch(empty);
        assertEq(settlement.leaderSet(empty).total, 0);
    }

    /// @dev `n` members, of which nine have checked in; it can be closed.
    function _restartOfNine(uint256 n) private returns (Actor[] memory actors) {
        _deployFor(1);
        actors = _joinMany(n);
        _sealFirst();
        _openRestart();
        for (uint256 i = 0; i < 9; ++i) {
            _checkIn(actors[i]);
        }
        _advance(p.restartWindowSeconds);
    }

    /// @dev Three of the four have checked in, and that is closed.
    function _closeOfThree() private returns (uint64 openedAt) {
        _openRestart();
        for (uint256 i = 0; i < 3; ++i) {
            _checkIn(_actors[i]);
        }
        _advance(p.restartWindowSeconds);
        vm.recordLogs();
        settlement.closeCheckIn();
        return settlement.restart().openedAt;
    }

    /// @dev The set of the check-in that was closed last.
    function _closedSet() private returns (address set) {
        VmSafe.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == IRestart.CheckInClosed.selector) {
                (set,) = abi.decode(logs[i].data, (address, uint64));
            }
        }
        assertNotEq(set, address(0));
    }

    function _leaveForGood(Actor memory actor) private {
        uint256 shares = registry.sharesOf(actor.id, actor.owner);
        vm.prank(actor.owner);
        registry.requestExit(actor.id, shares);
    }

    function _topUp(Actor memory actor, uint256 amountWei) private {
        _give(actor.owner, amountWei);
        vm.prank(actor.owner);
        registry.topUp(actor.id, amountWei);
    }
}
