// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {CaseStatus, ISlasher} from "../../contracts/interfaces/ISlasher.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {BlockingToken, HookToken} from "../utils/HostileTokens.sol";
import {Offences} from "../utils/Offences.sol";
import {Actor} from "../utils/System.sol";

/// @title Attacks on bounties, and on what a slash is measured by (gallery, chapters 10 and 11)
contract BountyAttacks is Offences {
    address private constant BURNED = 0x000000000000000000000000000000000000dEaD;

    address private _honest = makeAddr("honest");
    address private _accomplice = makeAddr("accomplice");

    function setUp() external {
        _begin(4);
    }

    /// 114: the offender makes a second pair after the honest report, and its accomplice executes that one first.
    function test_attack114_aLaterPairExecutedFirstTakesNoBounty() external {
        bytes32 honest = _reportVotesAs(_honest, OFFENDER, HEIGHT);
        _advance(1);
        bytes32 later = _reportVotesAs(_accomplice, OFFENDER, HEIGHT + 1);
        _warpTo(slasher.executableAt(later));

        slasher.execute(later);
        slasher.execute(honest);
        assertEq(slasher.bountyOf(_accomplice), 0);
        assertEq(slasher.bountyOf(_honest), STAKE_WEI * 80 / 100 / 10);
    }

    /// 114, by unjail: nobody executes the honest report, the offender comes back and is reported by its accomplice.
    function test_attack114_aReportAfterAnUnjailTakesNoBounty() external {
        uint32 id = _idAt(OFFENDER);
        bytes32 honest = _reportVotesAs(_honest, OFFENDER, HEIGHT);
        _warpTo(registry.sequencer(id).jailedUntil);
        vm.prank(registry.ownerOf(id));
        registry.unjail(id);
        bytes32 later = _reportVotesAs(_accomplice, OFFENDER, HEIGHT + 1);
        _warpTo(slasher.executableAt(later));

        slasher.execute(later);
        slasher.execute(honest);
        assertEq(slasher.bountyOf(_accomplice), 0);
        assertGt(slasher.bountyOf(_honest), 0);
    }

    /// 114, by a commitment: the accomplice knows where the offence is going to be, and commits to the case before there is
    /// evidence of it.
    function test_attack114_aCommitmentToACaseWithoutItsEvidenceTakesNothing() external {
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        vm.prank(_accomplice);
        slasher.commit(keccak256(abi.encode(caseId, _accomplice, bytes32("salt"))));
        _advance(1);
        _reportVotesAs(_honest, OFFENDER, HEIGHT);

        bytes24 committed = bytes24(keccak256(abi.encode(caseId, _accomplice, bytes32("salt"))));
        bytes24 needed = bytes24(keccak256(abi.encode(keccak256(report), _accomplice, bytes32("salt"))));
        vm.expectRevert(abi.encodeWithSelector(ISlasher.CommitmentDiffers.selector, needed, committed));
        vm.prank(_accomplice);
        slasher.claimCase(report, "salt");

        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        assertEq(slasher.bountyOf(_honest), STAKE_WEI * 80 / 100 / 10);
    }

    /// 122: the set shrinks between the report and the execution. Whoever waits takes no more, and whoever hurries no less.
    function test_attack122_theTotalIsThatOfTheReport() external {
        _begin(20);
        bytes32 caseId = _reportVotes(0, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        uint256 snapshot = vm.snapshotState();
        slasher.execute(caseId);
        uint256 atOnceWei = registry.assetsOf(_idAt(0));
        assertEq(atOnceWei, STAKE_WEI * 80 / 100);

        vm.revertToState(snapshot);
        uint32 id = _idAt(0);
        for (uint256 i = 1; i < 12; ++i) {
            uint32 leaver = _idAt(i);
            address owner = registry.ownerOf(leaver);
            uint256 shares = registry.sharesOf(leaver, owner);
            vm.prank(owner);
            registry.requestExit(leaver, shares);
        }
        _startEpoch(_epoch() + 1);
        for (uint256 i = 0; i < 12; ++i) {
            try registry.flush(64) {} catch {}
            _sealThrough(_epoch() + 1);
            _startEpoch(_epoch() + 1);
        }
        assertLt(settlement.totalAt(0, _epoch()), 12 * 100);
        slasher.execute(caseId);
        assertEq(registry.assetsOf(id), atOnceWei);
    }

    /// 122: who offends before there is a set is measured by none, whenever it is executed: the whole pool goes.
    function test_attack122_beforeThereIsASetTheWholePoolIsAtStake() external {
        _deploy();
        _joinMany(4);
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_actor(0).key, VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_actor(0).key, VoteType.Precommit, b);
        bytes32 caseId =
            slasher.reportDoubleVote(KeyLib.ofSequencer(1), VoteType.Precommit, a, signatureA, b, signatureB);
        _join(4, STAKE_WEI);
        _startEpoch(3);
        _sealSet(3);
        assertLt(slasher.caseOf(caseId).reportedAt, settlement.startOf(3));

        _warpTo(slasher.executableAt(caseId) > block.timestamp ? slasher.executableAt(caseId) : block.timestamp);
        slasher.execute(caseId);
        assertEq(registry.assetsOf(1), 0);
    }

    /// 122: a caller short of gas does not pass for an empty set, of which everything would go.
    function test_attack122_aCallerShortOfGasTakesNothingMore() external {
        bytes32 caseId = _reportVotes(OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        uint256 snapshot = vm.snapshotState();
        for (uint256 gas_ = 20_000; gas_ < 400_000; gas_ += 4000) {
            vm.revertToState(snapshot);
            try slasher.execute{gas: gas_}(caseId) {
                assertEq(registry.assetsOf(_idAt(OFFENDER)), STAKE_WEI * 20 / 100);
            } catch {}
        }

        // What a question that ran out of gas looks like.
        vm.revertToState(snapshot);
        uint64 reportedAt = slasher.caseOf(caseId).reportedAt;
        vm.mockCallRevert(address(settlement), abi.encodeWithSelector(settlement.totalAt.selector), "");
        vm.expectRevert(abi.encodeWithSelector(ISlasher.TotalUnknown.selector, reportedAt));
        slasher.execute(caseId);
    }

    /// 122: a restart between the report and the execution changes nothing either.
    function test_attack122_theTotalOfTheReportOutlivesARestart() external {
        _deployWithQuickRestarts();
        Actor[] memory actors = _joinMany(8);
        _sealFirst();
        _sealThrough(1);
        bytes32 caseId = _reportVotes(0, HEIGHT);
        uint32 id = slasher.caseOf(caseId).sequencer;
        uint256 j;
        for (uint256 i = 0; i < 8; ++i) {
            if (actors[i].id != id) actors[j++] = actors[i];
        }
        _restart(actors, 4);
        assertEq(settlement.generation(), 1);
        assertEq(settlement.totalAt(1, _epoch()), 4 * 100);
        if (block.timestamp < slasher.executableAt(caseId)) _warpTo(slasher.executableAt(caseId));

        slasher.execute(caseId);
        // 5 %, and 3 times the eighth of the weight that offended.
        assertEq(registry.assetsOf(id), STAKE_WEI * 5750 / 10_000);
    }

    /// 124: a token that refuses the burn address keeps nobody from being convicted.
    function test_attack124_aTokenThatRefusesTheBurnPreventsNoConviction() external {
        BlockingToken hostile = new BlockingToken();
        _beginWith(address(hostile));
        uint32 id = _idAt(OFFENDER);
        bytes32 caseId = _reportVotesAs(_honest, OFFENDER, HEIGHT);
        hostile.setBlocked(BURNED);
        _warpTo(slasher.executableAt(caseId));

        slasher.execute(caseId);

        assertEq(uint256(slasher.caseOf(caseId).status), uint256(CaseStatus.Executed));
        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Tombstoned));
        // What burns stays out of everybody's reach, and goes once the token lets it.
        uint256 burnWei = slasher.toBurn();
        assertEq(burnWei, STAKE_WEI * 72 / 100);
        vm.expectRevert(abi.encodeWithSelector(BlockingToken.Blocked.selector, BURNED));
        slasher.sweep();
        assertEq(slasher.toBurn(), burnWei);
        vm.prank(_honest);
        slasher.claimBounty(_honest);
        hostile.setBlocked(address(0));
        slasher.sweep();
        assertEq(token.balanceOf(BURNED), burnWei);
    }

    /// 124: nor does one that refuses the slasher, the registry or the reporter, nor one that stands still.
    function test_attack124_aTokenThatStandsStillPreventsNoConviction() external {
        BlockingToken hostile = new BlockingToken();
        _beginWith(address(hostile));
        bytes32 caseId = _reportVotesAs(_honest, OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        vm.mockCallRevert(address(hostile), bytes(""), bytes("stands still"));

        slasher.execute(caseId);
        assertEq(uint256(registry.sequencer(_idAt(OFFENDER)).status), uint256(Status.Tombstoned));
    }

    /// 137: whatever is reported, committed, executed and in whatever order, the first reporter has the bounty of all, to the
    /// wei, and all of the offender's cases together cost what the largest does at the weight of its report.
    function testFuzz_attack137_firstComeFirstPaid(uint256 seed) external {
        uint32 id = _idAt(OFFENDER);
        bytes32[] memory cases = new bytes32[](5);
        cases[0] = _reportVotesAs(_honest, OFFENDER, HEIGHT);
        for (uint256 i = 1; i < 5; ++i) {
            _advance(uint256(keccak256(abi.encode(seed, i))) % 20);
            cases[i] = _reportVotesAs(_accomplice, OFFENDER, HEIGHT + uint64(i));
        }
        _warpTo(slasher.executableAt(cases[4]));
        for (uint256 i = 0; i < 5; ++i) {
            uint256 j = i + uint256(keccak256(abi.encode(seed, "order", i))) % (5 - i);
            (cases[i], cases[j]) = (cases[j], cases[i]);
            slasher.execute(cases[i]);
        }
        uint256 slashedWei = STAKE_WEI - registry.assetsOf(id);
        assertEq(slashedWei, STAKE_WEI * 80 / 100);
        assertEq(slasher.bountyOf(_honest), slashedWei / 10);
        assertEq(slasher.bountyOf(_accomplice), 0);
        assertEq(slasher.toBurn() + slasher.bountyOf(_honest), slashedWei);
        assertEq(token.balanceOf(address(registry)), 4 * STAKE_WEI);
    }

    /// 137: a token that calls back has nothing to call back into: no conviction calls it.
    function test_attack137_noConvictionCallsTheToken() external {
        _beginWith(address(new HookToken()));
        bytes32 caseId = _reportVotesAs(_honest, OFFENDER, HEIGHT);
        _warpTo(slasher.executableAt(caseId));
        vm.expectCall(at.stakeToken, bytes(""), uint64(0));
        slasher.execute(caseId);
    }

    function _beginWith(address stakeToken) private {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.stakeToken = stakeToken;
        _deploy(config);
        _joinMany(4);
        _sealFirst();
        _sealThrough(1);
    }
}
