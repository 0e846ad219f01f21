// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {SetLib} from "../../contracts/lib/SetLib.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Actor, System} from "./System.sol";

/// @title What owners, delegators and the slasher do with stake
abstract contract Staking is System {
    /// @notice Gives `to` the tokens and has it top up its own sequencer.
    function _topUp(Actor memory actor, uint256 amountWei) internal returns (uint256 shares) {
        _give(actor.owner, amountWei);
        vm.prank(actor.owner);
        return registry.topUp(actor.id, amountWei);
    }

    /// @notice Gives `holder` the tokens and has it delegate them to `id`.
    function _delegate(address holder, uint32 id, uint256 amountWei) internal returns (uint256 shares) {
        _give(holder, amountWei);
        vm.prank(holder);
        return registry.delegate(id, amountWei);
    }

    function _exit(Actor memory actor, uint256 shares) internal returns (uint256 exitId) {
        return _exit(actor.owner, actor.id, shares);
    }

    function _exit(address holder, uint32 id, uint256 shares) internal returns (uint256 exitId) {
        vm.prank(holder);
        return registry.requestExit(id, shares);
    }

    /// @notice Takes back all of what `holder` has waiting; zero if nothing does.
    function _leaveQueue(address holder, uint32 id) internal returns (uint256 exitId) {
        uint256 waiting = registry.waitingSharesOf(id, holder);
        if (waiting == 0) return 0;
        vm.prank(holder);
        return registry.leave(id, 0, waiting);
    }

    function _exitAll(Actor memory actor) internal returns (uint256 exitId) {
        uint256 waiting = registry.waitingSharesOf(actor.id, actor.owner);
        uint256 shares = registry.sharesOf(actor.id, actor.owner);
        vm.prank(actor.owner);
        return registry.leave(actor.id, shares, waiting);
    }

    function _claim(address holder, uint256 exitId) internal returns (uint256 amountWei) {
        vm.prank(holder);
        return registry.claim(exitId);
    }

    function _unjail(Actor memory actor) internal {
        vm.prank(actor.owner);
        registry.unjail(actor.id);
    }

    /// @notice Jails as a report does, with a pool held until `heldUntil`.
    function _jail(uint32 id, uint64 heldUntil) internal {
        vm.prank(at.slasher);
        registry.jail(id, heldUntil, heldUntil);
    }

    function _jailAbsent(uint32 id, uint64 until) internal {
        vm.prank(at.slasher);
        registry.jailAbsent(id, until);
    }

    function _slash(uint32 id, uint256 amountWei, bool tombstone) internal returns (uint256) {
        vm.prank(at.slasher);
        return registry.slash(id, amountWei, tombstone);
    }

    /// @notice Weight of `signer` at the start of the running epoch, as a seal would read it now; 0 if it is left out.
    function _weightAtStart(address signer) internal view returns (uint64) {
        uint256[] memory words = registry.membersAtEpochStart(0);
        for (uint256 i = 0; i < words.length; ++i) {
            if (SetLib.signerOf(words[i]) == signer) return SetLib.weightOf(words[i]);
        }
        return 0;
    }

    /// @notice A devnet that stakes `stakeToken`.
    function _deployWith(address stakeToken) internal {
        Config memory config = ConfigLib.read("devnet");
        config.stakeToken = stakeToken;
        _deploy(config);
    }
}
