// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {StdInvariant} from "forge-std/StdInvariant.sol";
import {Test} from "forge-std/Test.sol";

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {Tip} from "../../contracts/interfaces/IBatchInbox.sol";
import {SystemHandler} from "./SystemHandler.sol";
import {EthBooks, TokenBooks} from "./system/Ledger.sol";

/// @title Invariants of everything together (README.md)
contract SystemInvariants is StdInvariant, Test {
    uint256 private constant WALK = 2000;

    SystemHandler private _handler;

    function setUp() external {
        _handler = new SystemHandler();
        targetContract(address(_handler));
        targetSelector(FuzzSelector({addr: address(_handler), selectors: _handler.actions()}));
    }

    /// One run holds all of it: what is wrong between two parts shows only where both run, and after long enough.
    /// forge-config: default.invariant.depth = 128
    function invariant_nothingIsLostMadeOrTaken() external view {
        _everyTokenIsSomewhere();
        _everyWeiOfEthIsSomewhere();
        _everyShareIsSomebodys();
        _noOffenceCostsTwice();
        _theSettledChainIsOneLine();
        _whoeverIsUpMissesNothing();
        _whatIsOwedIsSomebodys();
        assertLe(_handler.reservedEverWei(), _handler.chainTimeWei(), "a second of the chain has one price");
    }

    function _everyTokenIsSomewhere() private view {
        TokenBooks memory books = _handler.tokenBooks();
        (address[6] memory at, address stakeToken) = _handler.system();
        uint256[6] memory namedWei;
        // Bounties and what is to burn wait where the stake was.
        namedWei[0] = books.poolsWei + books.bountiesWei + books.toBurnWei;
        namedWei[4] = books.freeWei + books.reservedWei + books.commissionsWei;

        uint256 sumWei = books.burnedWei + books.paidOutWei;
        for (uint256 i = 0; i < 6; ++i) {
            uint256 heldWei = IERC20(stakeToken).balanceOf(at[i]);
            assertEq(heldWei, namedWei[i] + _handler.donatedTokensWei(at[i]), "a contract holds what is named in it");
            sumWei += namedWei[i];
        }
        assertEq(sumWei, books.putInWei, "tokens are lost or made");
        assertEq(books.burnedWei + books.toBurnWei, _handler.slashedAndBurnedWei(), "nothing else burns");
    }

    function _everyWeiOfEthIsSomewhere() private view {
        EthBooks memory books = _handler.ethBooks();
        (address[6] memory at,) = _handler.system();
        uint256[6] memory namedWei;
        namedWei[4] = books.freeWei + books.setAsideWei + books.namedWei;
        namedWei[5] = books.rollupsWei;

        uint256 sumWei = books.burnedWei + books.paidOutWei;
        for (uint256 i = 0; i < 6; ++i) {
            assertEq(at[i].balance, namedWei[i] + _handler.donatedEthWei(at[i]), "a contract holds what is named in it");
            sumWei += namedWei[i];
        }
        assertEq(sumWei, books.putInWei, "ETH is lost or made");
        assertEq(books.burnedWei, _handler.feesBurnedWei(), "every fee burns, and nothing else");
    }

    /// A dry spell destroys nothing: what is due and was not there is in somebody's name.
    function _whatIsOwedIsSomebodys() private view {
        EthBooks memory books = _handler.ethBooks();
        assertEq(books.owedToNamedWei + books.owedAsideWei, books.owedWei, "debts are lost or made");
    }

    function _everyShareIsSomebodys() private view {
        for (uint32 id = 1; id <= _handler.count(); ++id) {
            (uint256 heldAndLeaving, uint256 inPool) = _handler.sharesOfAll(id);
            assertEq(heldAndLeaving, inPool, "shares are lost or made");
        }
    }

    function _noOffenceCostsTwice() private view {
        for (uint256 i = 0; i < _handler.caseCount(); ++i) {
            assertLe(_handler.executionsOf(i), 1, "a case is executed once");
        }
        for (uint32 id = 1; id <= _handler.count(); ++id) {
            (uint256 takenWei, uint256 baseWei) = _handler.takenFrom(id);
            assertLe(takenWei, baseWei, "no sequencer pays more than it had");
        }
    }

    function _theSettledChainIsOneLine() private view {
        Tip memory tip = _handler.tip();
        assertEq(tip.number, _handler.settled());
        assertEq(tip.lastHeight, _handler.lastHeight());
        assertEq(tip.lastBlockHash, _handler.lastBlockHash());
        assertEq(tip.consumed, _handler.consumed());
    }

    function _whoeverIsUpMissesNothing() private view {
        for (uint32 id = 1; id <= _handler.count(); ++id) {
            (uint256 missed, uint256 silent) = _handler.missesOf(id);
            assertLe(missed, silent, "whoever was there has missed a turn");
        }
    }

    /// A long walk of the same actions, always the same: none of them is idle, or the invariant would hold for want of
    /// anything to hold.
    function test_everyActionComesToSomething() external {
        bytes4[] memory actions = _handler.actions();
        for (uint256 i = 0; i < WALK; ++i) {
            uint256 drawn = uint256(keccak256(abi.encode("walk", i)));
            bytes4 action = actions[drawn % actions.length];
            bytes32[3] memory arguments;
            for (uint256 j = 0; j < 3; ++j) {
                arguments[j] = keccak256(abi.encode(drawn, j));
            }
            (bool done, bytes memory answer) = address(_handler).call(abi.encodePacked(action, arguments));
            // Memory-safe: passes on what the handler said, and ends the call.
            assembly ("memory-safe") {
                if iszero(done) { revert(add(answer, 32), mload(answer)) }
            }
        }
        this.invariant_nothingIsLostMadeOrTaken();

        string[33] memory all = [
            "sealed",
            "joined",
            "topped up",
            "delegated",
            "requested exits",
            "claimed exits",
            "claimed exits of the slashed",
            "unjailed",
            "rotated",
            "claimed commissions",
            "handed over",
            "named whom to pay",
            "settled",
            "settled late",
            "settled splits",
            "forced",
            "escaped",
            "compensated",
            "booked",
            "booked in a dry spell",
            "credited",
            "claimed ETH",
            "funded rollups",
            "debited",
            "reported",
            "reported again",
            "swept",
            "took a case over",
            "executed",
            "jailed for absence",
            "claimed bounties",
            "restarted",
            "refused thefts"
        ];
        for (uint256 i = 0; i < all.length; ++i) {
            assertGt(_handler.times(all[i]), 0, all[i]);
        }
    }
}
