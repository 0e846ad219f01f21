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
    GenerationHandler private _handler;
    ISettlement private _settlement;

    function setUp() external {
        _handler = new GenerationHandler();
        _settlement = ISettlement(_handler.contracts());
        bytes4[] memory selectors = new bytes4[](12);
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

    function invariant_settledChainIsLinearAcrossGenerations() external view {
        Tip memory tip = _settlement.tip();
        assertEq(tip.number, _handler.settled());
        assertEq(tip.lastHeight, _handler.lastHeight());
        assertEq(tip.lastBlockHash, _handler.lastBlockHash());
    }

    function invariant_nothingOfOneGenerationSettlesInAnother() external view {
        assertEq(_handler.settledOfAnother(), 0);
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
