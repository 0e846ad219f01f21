// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {Pool} from "../../contracts/lib/PoolLib.sol";

/// @title A pool is solvent whatever happens to it
/// @notice A slash is proven for every amount. Where amounts are multiplied and divided solvers give up, so there every
/// small case is tried instead: each rounding occurs among them, and nothing in the formulas depends on the width. Fuzz
/// tests of the registry take the widths that occur.
contract PoolProofs is Test {
    uint128 private constant BOUND = 9;

    Pool private _pool;

    /// @notice A slash takes what is asked or all there is, and never more; it touches nobody's shares.
    function check_aSlashTakesAtMostWhatIsThere(uint128 assets, uint128 shares, uint256 amount) public {
        _pool.assetsWei = assets;
        _pool.shares = shares;

        uint256 taken = _pool.slash(amount);

        assert(taken <= assets && taken <= amount);
        assert(taken == amount || taken == assets);
        assert(_pool.assetsWei == assets - taken);
        assert(_pool.shares == shares);
    }

    /// @notice A slash takes of each part as much as it has of the whole, to the wei, and leaves neither with less than nothing.
    function test_everySmallCase_aSlashTakesOfBothPartsAlike() public {
        for (uint128 working = 0; working < 2 * BOUND; ++working) {
            for (uint128 resting = 0; resting < 2 * BOUND; ++resting) {
                uint128 assets = working + resting;
                for (uint128 amount = 0; assets != 0 && amount <= assets + 1; ++amount) {
                    _given(working, 1, resting, 1);

                    uint256 taken = _pool.slash(amount);
                    uint256 restingTaken = resting - _pool.restingWei;
                    uint256 workingTaken = working - _pool.workingWei();

                    assertEq(restingTaken + workingTaken, taken);
                    assertLe(restingTaken * assets, taken * resting);
                    assertLt(taken * resting, (restingTaken + 1) * assets);
                    assertLt(workingTaken * assets, taken * working + assets);
                }
            }
        }
    }

    /// @notice A reward is the working part's alone.
    function check_aRewardLeavesTheRestingPartAlone(uint64 working, uint64 resting, uint64 amount) public {
        (_pool.assetsWei, _pool.restingWei, _pool.restingShares) = (uint128(working) + resting, resting, resting);

        uint256 before = _pool.restingWei;
        _pool.reward(amount);

        assert(_pool.restingWei == before && _pool.restingShares == resting);
        assert(_pool.workingWei() == uint256(working) + amount);
    }

    /// @notice All shares together can always be paid, whatever was slashed before: no exit is ever stuck.
    function test_everySmallCase_allSharesCanBePaid() public {
        for (uint128 working = 0; working < BOUND; ++working) {
            for (uint128 resting = 0; resting < BOUND; ++resting) {
                for (uint128 shares = 0; shares < 1000 * BOUND; shares += 1502) {
                    for (uint128 slashed = 0; slashed <= working + resting; slashed += 3) {
                        _given(working, shares, resting, shares / 2);
                        _pool.slash(slashed);

                        _pool.retire(shares);
                        assertLe(_pool.redeem(_pool.restingShares), working + resting - slashed);
                        assertEq(_pool.shares, 0);
                        assertEq(_pool.restingShares, 0);
                        assertLe(_pool.restingWei, _pool.assetsWei);
                    }
                }
            }
        }
    }

    /// @notice Who deposits and leaves at once gets no more than it brought, whether it works meanwhile or only waits.
    function test_everySmallCase_aRoundTripGainsNothing() public {
        for (uint128 working = 0; working < BOUND; ++working) {
            for (uint128 resting = 0; resting < BOUND; resting += 2) {
                for (uint128 shares = 0; shares < 1000 * BOUND; shares += 1502) {
                    for (uint128 amount = 0; amount < BOUND; ++amount) {
                        _given(working, shares, resting, shares / 3);
                        assertLe(_pool.redeem(_pool.retire(_pool.deposit(amount))), amount);

                        _given(working, shares, resting, shares / 3);
                        assertLe(_pool.redeem(_pool.retire(_pool.wake(_pool.wait(amount)))), amount);

                        _given(working, shares, resting, shares / 3);
                        assertLe(_pool.redeem(_pool.wait(amount)), amount);
                    }
                }
            }
        }
    }

    /// @notice What waits gains nothing of what is credited before it works: it buys no more than it is worth.
    function test_everySmallCase_whatWaitsGainsNothingOfARewardBefore() public {
        for (uint128 working = 1; working < BOUND; ++working) {
            for (uint128 amount = 0; amount < BOUND; ++amount) {
                for (uint128 reward = 0; reward < BOUND; reward += 2) {
                    _given(working, working * 1000, 0, 0);
                    uint256 waiting = _pool.wait(amount);
                    _pool.reward(reward);

                    assertEq(_pool.restingWorth(waiting), amount);
                    assertLe(_pool.worth(_pool.wake(waiting)), amount);
                    // Nobody who worked before has less than before.
                    assertGe(_pool.worth(uint256(working) * 1000) + 1, working + reward - reward / working);
                }
            }
        }
    }

    /// @notice An exit in two parts takes no more than the exit at once, on each of its two ways.
    function test_everySmallCase_anExitInPartsGainsNothing() public {
        for (uint128 assets = 0; assets < BOUND; ++assets) {
            for (uint128 shares = 0; shares < 1000 * BOUND; shares += 1003) {
                for (uint128 part = 0; part <= shares; part += 499) {
                    _given(0, 0, assets, shares);
                    uint256 atOnce = _pool.redeem(shares);
                    _given(0, 0, assets, shares);
                    assertLe(_pool.redeem(part) + _pool.redeem(shares - part), atOnce);

                    _given(assets, shares, 0, 0);
                    atOnce = _pool.redeem(_pool.retire(shares));
                    _given(assets, shares, 0, 0);
                    assertLe(_pool.redeem(_pool.retire(part) + _pool.retire(shares - part)), atOnce);
                }
            }
        }
    }

    function _given(uint128 working, uint128 shares, uint128 resting, uint128 restingShares) private {
        _pool.assetsWei = working + resting;
        _pool.shares = shares;
        (_pool.restingWei, _pool.restingShares, _pool.waitingShares) = (resting, restingShares, 0);
    }
}
