// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Churn} from "./Churn.sol";
import {ISequencerRegistry, Rights} from "./interfaces/ISequencerRegistry.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Who has what
/// @notice What the registry and its office share beyond {Churn}: sums, keys, and how tokens come in.
///
/// The office works on the registry's storage, so all storage of either is declared here and in {Churn}, and none in
/// themselves: then their layouts are one by construction.
///
/// Invariants: the stake token's balance here is at least the sum of all pools' assets, which is `_totalWei`, and of what
/// was slashed and not paid out. It holds because a deposit adds to a pool exactly what the token delivered, a claim sends
/// exactly what it took out of a pool, and a slash moves from a pool to what the slasher pays out. The weight of a
/// sequencer times the weight unit is never above what works in its pool.
abstract contract Holdings is Churn {
    using SafeERC20 for IERC20;

    /// The total weight fits the seven bytes that a set has for it (R4).
    uint256 internal constant WEIGHT_LIMIT = 1 << 56;

    IERC20 internal immutable STAKE_TOKEN;
    uint256 internal immutable MIN_STAKE_WEI;

    uint256 internal _totalWei;
    /// What slashes took and the slasher has not paid out.
    uint256 internal _slashedWei;

    /// Of every signer and every poster that there ever was: no address is two sequencers'.
    mapping(address key => uint32 id) internal _idOf;

    mapping(uint32 id => Rights) internal _rights;

    constructor(Params memory params, Addresses memory addresses) Churn(params, addresses) {
        STAKE_TOKEN = IERC20(addresses.stakeToken);
        MIN_STAKE_WEI = params.minStakeWei;
    }

    function _entry(uint32 id) internal view returns (Entry storage entry) {
        entry = _entries[id];
        require(entry.owner != address(0), ISequencerRegistry.UnknownSequencer(id));
    }

    function _ownEntry(uint32 id) internal view returns (Entry storage entry) {
        entry = _entry(id);
        require(msg.sender == entry.owner, ISequencerRegistry.NotOwner(entry.owner, msg.sender));
    }

    /// @dev Under which `account` is a holder of that pool.
    function _holderOf(Entry storage entry, address account) internal view returns (address) {
        return account == entry.owner ? OWNER : account;
    }

    function _requireNotHeld(Entry storage entry, uint32 id) internal view {
        uint64 heldUntil = entry.standing.heldUntil();
        require(block.timestamp >= heldUntil, ISequencerRegistry.PoolHeld(id, heldUntil));
    }

    /// @dev What the owner's own stake that stays is worth.
    function _ownWei(Entry storage entry, uint32 id) internal view returns (uint256) {
        Holding storage own = _holdings[id][OWNER];
        return entry.pool.worth(own.shares) + entry.pool.restingWorth(own.waiting);
    }

    /// @dev {ISequencerRegistry.claimableAt}.
    function _claimableAt(uint256 exitId) internal view returns (bool known, uint64 time) {
        ExitRecord storage exit_ = _exits[exitId];
        require(exit_.sequencer != 0, ISequencerRegistry.UnknownExit(exitId));

        // In the queue it has no epoch yet.
        if (exit_.epoch == 0) return (false, 0);
        (known, time) = SETTLEMENT.countsFrom(exit_.epoch - 1);
        if (known) time += EXIT_DELAY_SECONDS;
    }

    /// @dev Counts `amountWei` that the caller brings into a pool, as `holder`'s.
    function _put(uint32 id, address holder, uint256 amountWei, bool priced) internal returns (uint256 shares) {
        uint256 total = Math.saturatingAdd(_totalWei, amountWei);
        uint256 maximum = WEIGHT_LIMIT * WEIGHT_UNIT_WEI - 1;
        require(total <= maximum, ISequencerRegistry.TotalStakeAboveMaximum(maximum, total));

        _totalWei = total;
        return _enter({id: id, holder: holder, amountWei: amountWei, priced: priced});
    }

    /// @dev Takes the tokens last: all that they could see by calling back is settled.
    function _pull(uint256 amountWei) internal {
        uint256 before = STAKE_TOKEN.balanceOf(address(this));
        STAKE_TOKEN.safeTransferFrom(msg.sender, address(this), amountWei);
        uint256 delivered = STAKE_TOKEN.balanceOf(address(this)) - before;
        require(delivered == amountWei, ISequencerRegistry.TokenDelivered(amountWei, delivered));
    }
}
