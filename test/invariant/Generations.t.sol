// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {StdInvariant} from "forge-std/StdInvariant.sol";
import {Test} from "forge-std/Test.sol";

import {Tip} from "../../contracts/interfaces/IBatchInbox.sol";
import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {ISettlement} from "../utils/System.sol";
import {GenerationHandler} from "./GenerationHandler.sol";

/// @title Invariants of generations (README.md)
contract GenerationInvariants is StdInvariant, Test {
    uint64 private constant TURNS = 64;
    /// A part of 64 turns has a deviation of at most 4.
    uint256 private constant SPREAD = 26;

    GenerationHandler private _handler;
    ISettlement private _settlement;

    function setUp() external {
        _handler = new GenerationHandler();
        _settlement = ISettlement(_handler.contracts());
        bytes4[] memory selectors = new bytes4[](15);
        selectors[0] = GenerationHandler.settle.selector;
        selectors[1] = GenerationHandler.settleOfAnother.selector;
        selectors[2] = GenerationHandler.open.selector;
        selectors[3] = GenerationHandler.checkIn.selector;
        selectors[4] = GenerationHandler.restart.selector;
        selectors[5] = GenerationHandler.finish.selector;
        selectors[6] = GenerationHandler.seal.selector;
        selectors[7] = GenerationHandler.join.selector;
        selectors[8] = GenerationHandler.leave.selector;
        selectors[9] = GenerationHandler.pass.selector;
        selectors[10] = GenerationHandler.passLong.selector;
        selectors[11] = GenerationHandler.shop.selector;
        selectors[12] = GenerationHandler.pin.selector;
        selectors[13] = GenerationHandler.jail.selector;
        selectors[14] = GenerationHandler.unjail.selector;
        targetContract(address(_handler));
        targetSelector(FuzzSelector({addr: address(_handler), selectors: selectors}));
    }

    function invariant_generationsOnlyGrowByOne() external view {
        assertEq(_handler.jumps(), 0);
        assertEq(_settlement.generation(), _handler.generation());
    }

    function invariant_nobodyIsOfferedASecondSeed() external view {
        assertEq(_handler.secondSeeds(), 0);
    }

    function invariant_theSetSealedIsTheSetPinned() external view {
        assertEq(_handler.otherSets(), 0);
    }

    function invariant_noDutyIsPaidForTwice() external view {
        assertEq(_handler.paidForNothing(), 0);
    }

    /// Whoever leads is a member that weighs something, and all who do have the set's total together.
    function invariant_turnsAreOfTheSetsWeights() external view {
        uint64 epoch = _settlement.epochAt(uint64(block.timestamp));
        LeaderSet memory set = _settlement.leaderSet(epoch);
        uint256 sum;
        for (uint256 i = 0; i < set.members.length; ++i) {
            sum += set.members[i].weight;
        }
        assertEq(sum, set.total);
        assertEq(sum, _settlement.totalAt(set.generation, epoch));
        if (sum == 0) return;

        address[] memory leaders = _settlement.schedule(epoch, 0, TURNS);
        uint256 led;
        for (uint256 i = 0; i < set.members.length; ++i) {
            assertGt(set.members[i].weight, 0);
            uint256 turns;
            for (uint256 turn = 0; turn < leaders.length; ++turn) {
                if (leaders[turn] == set.members[i].signer) ++turns;
            }
            // Its part of 64 turns, with more than six deviations to either side.
            uint256 part = TURNS * set.members[i].weight / sum;
            assertApproxEqAbs(turns, part, SPREAD, "turns are not by weight");
            led += turns;
        }
        assertEq(led, TURNS, "somebody else leads");
    }

    function invariant_settledChainIsLinearAcrossGenerations() external view {
        Tip memory tip = _settlement.tip();
        assertEq(tip.number, _handler.settled());
        assertEq(tip.lastHeight, _handler.lastHeight());
        assertEq(tip.lastBlockHash, _handler.lastBlockHash());
    }

    function invariant_nothingOfOneGenerationSettlesInAnother() external view {
        assertEq(_handler.settledOfAnother(), 0);
    }

    /// The books above are not empty: a pin, a report, a seal by the pin, and a restart are seen and paid for.
    function test_whatIsBookedIsSeen() external {
        _handler.pass(40);
        _handler.pass(40);
        _handler.pin();
        _handler.jail(1);
        _handler.seal();
        // The first set of all is the other one.
        assertEq(_handler.seals(), 2);
        assertEq(_handler.paid(), 2);
        for (uint256 i = 0; i < 10; ++i) {
            _handler.passLong();
            _handler.restart(15);
        }
        assertGt(_handler.generation(), 0);
        assertGt(_handler.seals(), 2);
        assertGe(_handler.paid(), 4);
    }

    function invariant_aSetOfTheRunningGenerationIsInForce() external view {
        uint64 epoch = _settlement.epochAt(uint64(block.timestamp));
        LeaderSet memory set = _settlement.leaderSet(epoch);
        assertEq(set.generation, _settlement.generation());
        assertLe(set.sealedFor, epoch);
        (bool known, uint64 end) = _settlement.endOf(set.generation, epoch);
        assertTrue(!known || end > block.timestamp);
    }
}
