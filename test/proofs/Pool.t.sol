// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {Pool} from "../../contracts/lib/PoolLib.sol";

/// @title A pool is solvent whatever happens to it
/// @notice A slash is proven for every amount. Where amounts are multiplied and divided solvers give up, so there every
/// small case is tried instead: each rounding occurs among them, and nothing in the formulas depends on the width. Fuzz
/// tests of the registry take the widths that occur.
contract PoolProofs is Test {
    uint128 private constant BOUND = 13;

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

    /// @notice All shares together can always be paid, whatever was slashed before: no exit is ever stuck.
    function test_everySmallCase_allSharesCanBePaid() public {
        for (uint128 assets = 0; assets < BOUND; ++assets) {
            for (uint128 shares = 0; shares < 1000 * BOUND; shares += 501) {
                for (uint128 slashed = 0; slashed <= assets; slashed += 3) {
                    _given(assets, shares);
                    _pool.slash(slashed);

                    assertLe(_pool.redeem(shares), assets - slashed);
                    assertEq(_pool.shares, 0);
                }
            }
        }
    }

    /// @notice Who deposits and leaves at once gets no more than it brought.
    function test_everySmallCase_aRoundTripGainsNothing() public {
        for (uint128 assets = 0; assets < BOUND; ++assets) {
            for (uint128 shares = 0; shares < 1000 * BOUND; shares += 501) {
                for (uint128 amount = 0; amount < BOUND; ++amount) {
                    _given(assets, shares);
                    uint256 bought = _pool.deposit(amount);
                    // Casting is safe: a few thousand shares.
                    _pool.leavingShares += uint128(bought);

                    assertLe(_pool.redeem(bought), amount);
                }
            }
        }
    }

    /// @notice An exit in two parts takes no more than the exit at once.
    function test_everySmallCase_anExitInPartsGainsNothing() public {
        for (uint128 assets = 0; assets < BOUND; ++assets) {
            for (uint128 shares = 0; shares < 1000 * BOUND; shares += 1003) {
                for (uint128 part = 0; part <= shares; part += 499) {
                    _given(assets, shares);
                    uint256 atOnce = _pool.redeem(shares);
                    _given(assets, shares);

                    assertLe(_pool.redeem(part) + _pool.redeem(shares - part), atOnce);
                }
            }
        }
    }

    function _given(uint128 assets, uint128 shares) private {
        _pool.assetsWei = assets;
        _pool.shares = shares;
        _pool.leavingShares = shares;
    }
}
