// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {StakeToken} from "../contracts/StakeToken.sol";

/// StakeToken
/// ├── mint: it gives anybody any amount
/// └── constructor, when the chain is none for development: it reverts
contract StakeTokenTest is Test {
    function test_mint_givesAnybodyAnyAmount() public {
        StakeToken token = new StakeToken();

        token.mint(makeAddr("anybody"), 5);

        assertEq(token.balanceOf(makeAddr("anybody")), 5);
        assertEq(token.totalSupply(), 5);
    }

    function test_constructor_revertsWhen_theChainIsNoneForDevelopment() public {
        vm.chainId(1);

        vm.expectRevert(abi.encodeWithSelector(StakeToken.NotDevelopmentChain.selector, 31_337, 1));
        new StakeToken();
    }
}
