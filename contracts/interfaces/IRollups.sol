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

    error ChainIdIsZero();
    error AlreadyRegistered(uint64 chainId, address owner);
    error NotRegistered(uint64 chainId);
    error FeeTooSmall(uint256 minimumWei, uint256 actualWei);
    error NothingSent();

    /// @notice Registers a chain id, first come; the fee is burned, what is sent beyond it is the allowance.
    ///
    /// Reverts with {ChainIdIsZero}, {AlreadyRegistered}, {FeeTooSmall}.
    function register(uint64 chainId) external payable;

    /// @notice Adds to the allowance of a registered chain id. Anyone may; nothing is ever paid back.
    ///
    /// Reverts with {NotRegistered}, {NothingSent}.
    function fund(uint64 chainId) external payable;

    /// @notice Registered, and its balance is at least the reserve.
    function isOpen(uint64 chainId) external view returns (bool);

    /// @notice All zeros if `chainId` is not registered.
    function rollup(uint64 chainId) external view returns (Rollup memory);
}
