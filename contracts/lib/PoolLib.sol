// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// A sequencer's stake, in three words:
///
///     assets 128 | jailed until 40 | closing 8 | returning 8     (from the low bits up)
///     shares 128 | waiting shares 128
///     resting assets 128 | resting shares 128
///
/// It has two parts. The *working* part stands behind the weight: {shares} are shares of it, and what is credited is its alone.
/// The *resting* part is what waits to work and what is on its way out; {restingShares} are shares of that.
struct Pool {
    /// Of both parts.
    uint128 assetsWei;
    /// L1 time before which whoever was absent cannot come back, then that at which it came back (R35).
    uint40 jailedUntil;
    /// Its sequencer leaves for good: no more deposits, and nothing of it counts again.
    bool closing;
    /// A place in the entry queue stands for all of the working part.
    bool returning;
    uint128 shares;
    /// Of the resting shares, those that wait to work; the others have left the churn queue and are not claimed yet.
    uint128 waitingShares;
    uint128 restingWei;
    uint128 restingShares;
}

using PoolLib for Pool global;

/// What deposits, exits and their ways between the parts move.
struct Parts {
    uint256 assetsWei;
    uint256 shares;
    uint256 waitingShares;
    uint256 restingWei;
    uint256 restingShares;
}

/// @title Stake as shares of a pool, of which one part works and the other rests
/// @notice A reward raises what working shares are worth and nothing else: what waits or leaves earns nothing. A slash takes
/// the same part of both, and touches no holder: whoever holds shares, leaving ones included, loses its part in the same step.
///
/// Invariant: what all shares of a part can take out never exceeds its assets. Derivation: with S shares, A assets and the
/// virtual V shares and 1 wei, S shares are worth floor(S·(A + 1) / (S + V)), and S·(A + 1) / (S + V) < A + 1, so the
/// floor is at most A. Every single conversion rounds down, to the advantage of the part that is left behind or entered, so
/// sums of them never take more.
///
/// The virtual shares leave nothing to gain from inflating the price of a share: assets are counted, not read from the
/// token's balance, so a donation changes nothing, and rounding loses at most 1/V of a wei's price.
///
/// No product overflows: all stake together is below 2^116 wei, and shares are kept within 128 bits. What is taken out of a part
/// is no more than it has; if that were ever not so, the difference would not fit into 128 bits and the write would revert. So
/// nothing here is checked a second time.
library PoolLib {
    using SafeCast for uint256;

    /// Keeps shares of the largest possible stake (2^56 units of up to 2^60 wei) within 128 bits.
    uint256 internal constant VIRTUAL_SHARES = 1000;
    uint256 internal constant VIRTUAL_ASSETS = 1;

    /* IN AND OUT */

    /// @notice Puts `amountWei` to work; returns the shares that stand for it.
    function deposit(Pool storage pool, uint256 amountWei) internal returns (uint256 shares) {
        Parts memory parts = _read(pool);
        shares = sharesFor(pool, amountWei);
        unchecked {
            parts.assetsWei += amountWei;
            parts.shares += shares;
        }
        _write(pool, parts);
    }

    /// @notice Puts `amountWei` to rest, to wait; returns the resting shares that stand for it.
    function wait(Pool storage pool, uint256 amountWei) internal returns (uint256 shares) {
        Parts memory parts = _read(pool);
        shares = _sharesFor(amountWei, parts.restingShares, parts.restingWei);
        unchecked {
            parts.assetsWei += amountWei;
            parts.restingWei += amountWei;
            parts.restingShares += shares;
            parts.waitingShares += shares;
        }
        _write(pool, parts);
    }

    /// @notice Takes resting shares that do not wait out; returns what they were worth.
    function redeem(Pool storage pool, uint256 shares) internal returns (uint256 amountWei) {
        Parts memory parts = _read(pool);
        amountWei = restingWorth(pool, shares);
        unchecked {
            parts.assetsWei -= amountWei;
            parts.restingWei -= amountWei;
            parts.restingShares -= shares;
        }
        _write(pool, parts);
    }

    /* FROM PART TO PART */

    /// @notice Puts `waiting` shares to work; returns the shares that they become.
    function wake(Pool storage pool, uint256 waiting) internal returns (uint256 shares) {
        Parts memory parts = _read(pool);
        uint256 amountWei = restingWorth(pool, waiting);
        shares = sharesFor(pool, amountWei);
        unchecked {
            parts.restingWei -= amountWei;
            parts.restingShares -= waiting;
            parts.waitingShares -= waiting;
            parts.shares += shares;
        }
        _write(pool, parts);
    }

    /// @notice Puts `shares` to rest, on their way out; returns the resting shares that they become.
    /// @dev Beyond what 128 bits hold they become no more: that many stand only for what was slashed to next to nothing, and
    /// an exit must never keep the queue from moving.
    function retire(Pool storage pool, uint256 shares) internal returns (uint256 resting) {
        Parts memory parts = _read(pool);
        uint256 amountWei = worth(pool, shares);
        uint256 bought = _sharesFor(amountWei, parts.restingShares, parts.restingWei);
        unchecked {
            resting = Math.min(bought, type(uint128).max - parts.restingShares);
            parts.shares -= shares;
            parts.restingWei += amountWei;
            parts.restingShares += resting;
        }
        _write(pool, parts);
    }

    /* WITHOUT ANYBODY'S DOING */

    /// @notice Adds `amountWei` for what works: the price of a share rises, none is made.
    function reward(Pool storage pool, uint256 amountWei) internal {
        pool.assetsWei = (pool.assetsWei + amountWei).toUint128();
    }

    /// @notice Takes up to `amountWei`, of each part as much as it has of the whole; returns what there was to take.
    function slash(Pool storage pool, uint256 amountWei) internal returns (uint256 slashedWei) {
        (uint256 assets, uint256 resting) = (pool.assetsWei, pool.restingWei);
        slashedWei = Math.min(amountWei, assets);
        pool.assetsWei = (assets - slashedWei).toUint128();
        // What this rounds off is taken from the working part, which has at least its part rounded up.
        if (resting != 0) pool.restingWei = (resting - resting * slashedWei / assets).toUint128();
    }

    /* WORTH */

    /// @notice Assets of the working part.
    function workingWei(Pool storage pool) internal view returns (uint256) {
        return pool.assetsWei - pool.restingWei;
    }

    /// @notice All that stays: what works, and what waits to.
    function stakeWei(Pool storage pool) internal view returns (uint256) {
        return workingWei(pool) + restingWorth(pool, pool.waitingShares);
    }

    /// @notice What working `shares` are worth, rounded down.
    function worth(Pool storage pool, uint256 shares) internal view returns (uint256) {
        return _worth(shares, workingWei(pool), pool.shares);
    }

    /// @notice What resting `shares` are worth, rounded down.
    function restingWorth(Pool storage pool, uint256 shares) internal view returns (uint256) {
        return _worth(shares, pool.restingWei, pool.restingShares);
    }

    /// @notice Working shares that `amountWei` buys, or that are worth no more than it.
    function sharesFor(Pool storage pool, uint256 amountWei) internal view returns (uint256) {
        return _sharesFor(amountWei, pool.shares, workingWei(pool));
    }

    /// @notice The fewest resting shares that are worth `amountWei`.
    function restingFor(Pool storage pool, uint256 amountWei) internal view returns (uint256) {
        return Math.ceilDiv(amountWei * (pool.restingShares + VIRTUAL_SHARES), pool.restingWei + VIRTUAL_ASSETS);
    }

    function _read(Pool storage pool) private view returns (Parts memory) {
        return Parts({
            assetsWei: pool.assetsWei,
            shares: pool.shares,
            waitingShares: pool.waitingShares,
            restingWei: pool.restingWei,
            restingShares: pool.restingShares
        });
    }

    function _write(Pool storage pool, Parts memory parts) private {
        pool.assetsWei = parts.assetsWei.toUint128();
        pool.shares = parts.shares.toUint128();
        pool.waitingShares = parts.waitingShares.toUint128();
        pool.restingWei = parts.restingWei.toUint128();
        pool.restingShares = parts.restingShares.toUint128();
    }

    function _sharesFor(uint256 amountWei, uint256 total, uint256 assets) private pure returns (uint256) {
        unchecked {
            return amountWei * (total + VIRTUAL_SHARES) / (assets + VIRTUAL_ASSETS);
        }
    }

    function _worth(uint256 shares, uint256 assets, uint256 total) private pure returns (uint256) {
        unchecked {
            return shares * (assets + VIRTUAL_ASSETS) / (total + VIRTUAL_SHARES);
        }
    }
}
