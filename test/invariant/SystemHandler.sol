// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {RestartState} from "../../contracts/interfaces/IRestart.sol";
import {Stakers} from "./system/Stakers.sol";
import {Thieves} from "./system/Thieves.sol";

/// @title Everybody at once
/// @notice Sequencers, delegators, posters, senders, reporters, thieves and time act on one system; what each of them does
/// stands in `system/`. Every action takes what Forge draws and makes something lawful of it, or something that must fail.
contract SystemHandler is Stakers, Thieves {
    constructor() {
        _begin();
        lastBlockHash = settlement.tip().lastBlockHash;
    }

    /* TIME */

    /// Up to an epoch and a half, with keepers that do their work or without any.
    function pass(uint256 seconds_, uint256 kept) external {
        _travel(block.timestamp + bound(seconds_, 1, 90), kept % 4 != 0);
    }

    /* RESTARTING */

    /// Nothing settles for long enough; whoever is in `here` checks in, and somebody finishes.
    function restart(uint256 here) external {
        _travel(settlement.tip().settledAt + p.restartDelaySeconds, true);
        _try(_keeper, at.settlement, abi.encodeCall(settlement.openRestart, ()));
        RestartState memory state = settlement.restart();
        if (state.openedAt <= settlement.tip().settledAt) return;
        for (uint32 id = 1; id <= registry.count(); ++id) {
            // Three of four, each by two bits.
            if ((here >> (2 * id)) & 3 != 0) _checkInOf(id);
        }
        _travel(state.checkInUntil, false);
        uint32 generation = settlement.generation();
        if (settlement.pinnedForRestart() == 0) {
            (bool closed,) = _try(_keeper, at.settlement, abi.encodeCall(settlement.closeCheckIn, ()));
            if (!closed) return;
        }
        bytes memory header = _mineWithHeader(settlement.pinnedForRestart());
        (bool done,) = _try(_keeper, at.settlement, abi.encodeCall(settlement.finishRestart, (header)));
        if (!done) return;
        assertEq(settlement.generation(), generation + 1, "generations follow each other");
        assertEq(settlement.tip().lastHeight, lastHeight, "what is settled stays");
        _did("restarted");
    }

    /// Whoever missed a restart says that it is back.
    function comeBack(uint256 who) external {
        _checkInOf(_pickId(who));
    }

    function _checkInOf(uint32 id) private {
        address signer = registry.sequencer(id).signer;
        (bool done,) = _try(signer, at.settlement, abi.encodeCall(settlement.checkIn, (id)));
        if (!done) return;
        _heardAt[id] = block.timestamp;
        _did("checked in");
    }

    /* ALL */

    /// @notice Everything that may happen.
    function actions() external pure returns (bytes4[] memory all) {
        all = new bytes4[](45);
        (all[0], all[1], all[2]) = (this.join.selector, this.topUp.selector, this.delegate.selector);
        (all[3], all[4], all[5]) = (this.undelegate.selector, this.leave.selector, this.claim.selector);
        (all[6], all[7], all[8]) = (this.unjail.selector, this.rotate.selector, this.setPoster.selector);
        (all[9], all[10]) = (this.flush.selector, this.setCommission.selector);
        (all[11], all[12]) = (this.claimCommission.selector, this.settle.selector);
        (all[13], all[14], all[15]) = (this.settleLate.selector, this.force.selector, this.escape.selector);
        (all[16], all[17], all[18]) = (this.compensate.selector, this.book.selector, this.credit.selector);
        (all[19], all[20]) = (this.fundRewards.selector, this.claimPoster.selector);
        (all[21], all[22]) = (this.fundRollup.selector, this.debit.selector);
        (all[23], all[24], all[25]) = (this.report.selector, this.reportCommitted.selector, this.execute.selector);
        (all[26], all[27], all[28]) = (this.reportAbsent.selector, this.claimBounty.selector, this.fallSilent.selector);
        (all[29], all[30]) = (this.stealStake.selector, this.stealByTheBackDoor.selector);
        (all[31], all[32]) = (this.stealNames.selector, this.stealBounty.selector);
        (all[33], all[34]) = (this.stealSettlement.selector, this.stealBookings.selector);
        (all[35], all[36]) = (this.giveTokens.selector, this.giveEth.selector);
        (all[37], all[38], all[39]) = (this.pass.selector, this.restart.selector, this.comeBack.selector);
        (all[40], all[41]) = (this.settleSplit.selector, this.stealPosters.selector);
        (all[42], all[43], all[44]) = (this.leaveQueue.selector, this.handOver.selector, this.setWithdrawal.selector);
    }
}
