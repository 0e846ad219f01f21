// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRollups, Rollup} from "../contracts/interfaces/IRollups.sol";
import {System} from "./utils/System.sol";

/// Rollups
/// ├── register
/// │   ├── it takes the chain id for the caller, burns the fee, keeps the rest as allowance
/// │   └── when the id is zero or taken, or the fee is too small: it reverts
/// ├── fund
/// │   ├── it adds to the allowance
/// │   └── when not registered, or nothing is sent: it reverts
/// └── isOpen
///     └── it is whether the balance reaches the reserve
contract RollupsTest is System {
    address private constant BURN = 0x000000000000000000000000000000000000dEaD;

    function setUp() public {
        _deploy();
    }

    function test_register_takesTheChainIdAndBurnsTheFee() public {
        address owner = makeAddr("rollup owner");
        vm.deal(owner, 10 ether);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupRegistered(4242, owner, 1 ether);
        vm.prank(owner);
        rollups.register{value: p.rollupFeeWei + 1 ether}(4242);

        Rollup memory found = rollups.rollup(4242);
        assertEq(found.owner, owner);
        assertEq(found.registeredAtBlock, block.number);
        assertEq(found.balanceWei, 1 ether);
        assertEq(BURN.balance, p.rollupFeeWei);
        assertEq(address(rollups).balance, 1 ether);
    }

    function test_register_revertsWhen_chainIdIsZeroOrTaken() public {
        vm.expectRevert(IRollups.ChainIdIsZero.selector);
        rollups.register{value: 1 ether}(0);

        rollups.register{value: 1 ether}(4242);
        vm.expectRevert(abi.encodeWithSelector(IRollups.AlreadyRegistered.selector, 4242, address(this)));
        vm.prank(makeAddr("late"));
        vm.deal(makeAddr("late"), 1 ether);
        rollups.register{value: 1 ether}(4242);
    }

    function test_register_revertsWhen_feeIsTooSmall() public {
        vm.expectRevert(abi.encodeWithSelector(IRollups.FeeTooSmall.selector, p.rollupFeeWei, p.rollupFeeWei - 1));
        rollups.register{value: p.rollupFeeWei - 1}(4242);
    }

    function test_fund_addsToTheAllowance() public {
        rollups.register{value: p.rollupFeeWei}(4242);

        vm.expectEmit(address(rollups));
        emit IRollups.RollupFunded(4242, 3, 3);
        rollups.fund{value: 3}(4242);
        vm.expectEmit(address(rollups));
        emit IRollups.RollupFunded(4242, 4, 7);
        rollups.fund{value: 4}(4242);

        assertEq(rollups.rollup(4242).balanceWei, 7);
    }

    function test_fund_revertsWhen_notRegisteredOrNothingIsSent() public {
        vm.expectRevert(abi.encodeWithSelector(IRollups.NotRegistered.selector, 4242));
        rollups.fund{value: 1}(4242);

        rollups.register{value: p.rollupFeeWei}(4242);
        vm.expectRevert(IRollups.NothingSent.selector);
        rollups.fund(4242);
    }

    function test_isOpen_fromTheReserveOn() public {
        assertFalse(rollups.isOpen(4242));
        rollups.register{value: p.rollupFeeWei + p.rollupReserveWei - 1}(4242);
        assertFalse(rollups.isOpen(4242));

        rollups.fund{value: 1}(4242);
        assertTrue(rollups.isOpen(4242));
    }
}
