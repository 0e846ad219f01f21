// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// A sequencer's stake. Leaving and idle shares are among `shares`; what is neither counts.
struct Pool {
    uint128 assetsWei;
    /// L1 time before which whoever was absent cannot come back, then that at which it came back (R35).
    uint40 jailedUntil;
    /// Its sequencer leaves for good: no more deposits, and nothing of it counts again.
    bool closing;
    uint128 shares;
    /// Have left the churn queue and are not claimed yet.
    uint128 leavingShares;
    /// Stay, but do not count: they wait in the entry queue, or their sequencer leaves.
    uint128 idleShares;
}

using PoolLib for Pool global;

/// @title Stake as shares of a pool
/// @notice A slash lowers the assets and touches no holder: whoever holds shares, leaving ones included, loses its part
/// in the same step.
///
/// Invariant: what all shares together can take out never exceeds the assets. Derivation: with S shares, A assets and the
/// virtual V shares and 1 wei, S shares are worth floor(S·(A + 1) / (S + V)), and S·(A + 1) / (S + V) < A + 1, so the
/// floor is at most A. Every single conversion rounds down, to the pool's favour, so parts never sum to more.
///
/// The virtual shares leave nothing to gain from inflating the price of a share: assets are counted, not read from the
/// token's balance, so a donation changes nothing, and rounding loses at most 1/V of a wei's price.
library PoolLib {
    using SafeCast for uint256;

    /// Keeps shares of the largest possible stake (2^56 units of up to 2^60 wei) within 128 bits.
    uint256 internal constant VIRTUAL_SHARES = 1000;
    uint256 internal constant VIRTUAL_ASSETS = 1;

    /// @notice Puts `amountWei` in; returns the shares that stand for it.
    function deposit(Pool storage pool, uint256 amountWei) internal returns (uint256 shares) {
        (uint256 assets, uint256 total) = (pool.assetsWei, pool.shares);
        shares = Math.mulDiv(amountWei, total + VIRTUAL_SHARES, assets + VIRTUAL_ASSETS);
        pool.assetsWei = (assets + amountWei).toUint128();
        pool.shares = (total + shares).toUint128();
    }

    /// @notice Takes leaving shares out; returns what they were worth.
    function redeem(Pool storage pool, uint256 shares) internal returns (uint256 amountWei) {
        (uint256 assets, uint256 total) = (pool.assetsWei, pool.shares);
        amountWei = Math.mulDiv(shares, assets + VIRTUAL_ASSETS, total + VIRTUAL_SHARES);
        pool.assetsWei = (assets - amountWei).toUint128();
        pool.shares = (total - shares).toUint128();
        pool.leavingShares = (pool.leavingShares - shares).toUint128();
    }

    /// @notice Adds `amountWei` for everybody: the price of a share rises, none is made.
    function reward(Pool storage pool, uint256 amountWei) internal {
        pool.assetsWei = (pool.assetsWei + amountWei).toUint128();
    }

    /// @notice Takes up to `amountWei` from everybody; returns what there was to take.
    function slash(Pool storage pool, uint256 amountWei) internal returns (uint256 slashedWei) {
        uint256 assets = pool.assetsWei;
        slashedWei = Math.min(amountWei, assets);
        pool.assetsWei = (assets - slashedWei).toUint128();
    }

    /// @notice What `shares` that stay are worth, rounded down.
    function worth(Pool storage pool, uint256 shares) internal view returns (uint256) {
        uint256 total = pool.shares;
        return total == 0 ? 0 : Math.mulDiv(pool.assetsWei, shares, total);
    }

    /// @notice The fewest shares that are worth `amountWei`, which must be no more than the assets.
    function sharesWorth(Pool storage pool, uint256 amountWei) internal view returns (uint256) {
        return amountWei == 0 ? 0 : Math.mulDiv(amountWei, pool.shares, pool.assetsWei, Math.Rounding.Ceil);
    }

    /// @notice Shares that have not left the churn queue.
    function stayingShares(Pool storage pool) internal view returns (uint256) {
        return pool.shares - pool.leavingShares;
    }

    /// @notice Shares that count as weight (R4).
    function countedShares(Pool storage pool) internal view returns (uint256) {
        return pool.stayingShares() - pool.idleShares;
    }
}
