// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title A stake token for development chains
/// @notice Anybody mints any amount, so it refuses to exist anywhere but on a chain that holds nothing of value. A real
/// deployment names its own ERC-20.
contract StakeToken is ERC20 {
    /// Chain id of Anvil and Hardhat.
    uint256 private constant DEVELOPMENT_CHAIN = 31_337;

    /// @notice This is no development chain.
    error NotDevelopmentChain(uint256 expected, uint256 actual);

    constructor() ERC20("Rota Development Stake", "RDS") {
        require(block.chainid == DEVELOPMENT_CHAIN, NotDevelopmentChain(DEVELOPMENT_CHAIN, block.chainid));
    }

    function mint(address to, uint256 amountWei) external {
        _mint(to, amountWei);
    }
}
