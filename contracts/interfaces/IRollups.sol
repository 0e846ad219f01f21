// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

struct Rollup {
    address owner;
    uint64 registeredAtBlock;
    uint256 balanceWei;
}

/// @title Rollups
/// @notice Chain ids that the network orders for, with a prepaid payload allowance (R43).
interface IRollups {
    event RollupRegistered(uint64 indexed chainId, address indexed owner, uint256 balanceWei);
    event RollupFunded(uint64 indexed chainId, uint256 amountWei, uint256 balanceWei);

    /// @notice Registers a chain id, first come; the fee is burned, what is sent beyond it is the allowance.
    function register(uint64 chainId) external payable;

    function fund(uint64 chainId) external payable;

    /// @notice Registered, and its balance is at least the reserve.
    function isOpen(uint64 chainId) external view returns (bool);

    function rollup(uint64 chainId) external view returns (Rollup memory);
}
