// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";

import {Deployment} from "./Deployment.sol";
import {IRollups, Rollup} from "./interfaces/IRollups.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Rollups
/// @notice See {IRollups}. Invariant: the ETH held here is at least the sum of all balances.
contract Rollups is IRollups, Deployment {
    /// Nobody has the key of this address; what is sent there is gone.
    address payable private constant BURN = payable(0x000000000000000000000000000000000000dEaD);

    uint256 private immutable FEE_WEI;
    uint256 private immutable RESERVE_WEI;

    mapping(uint64 chainId => Rollup) private _rollups;

    constructor(Params memory params, Addresses memory addresses) Deployment(params, addresses, addresses.rollups) {
        FEE_WEI = params.rollupFeeWei;
        RESERVE_WEI = params.rollupReserveWei;
    }

    /// @inheritdoc IRollups
    function register(uint64 chainId) external payable {
        address owner = _rollups[chainId].owner;

        require(chainId != 0, ChainIdIsZero());
        require(owner == address(0), AlreadyRegistered(chainId, owner));
        require(msg.value >= FEE_WEI, FeeTooSmall(FEE_WEI, msg.value));

        uint256 balanceWei = msg.value - FEE_WEI;
        _rollups[chainId] = Rollup({owner: msg.sender, registeredAtBlock: uint64(block.number), balanceWei: balanceWei});

        emit RollupRegistered(chainId, msg.sender, balanceWei);

        Address.sendValue(BURN, FEE_WEI);
    }

    /// @inheritdoc IRollups
    function fund(uint64 chainId) external payable {
        Rollup storage funded = _rollups[chainId];

        require(funded.owner != address(0), NotRegistered(chainId));
        require(msg.value != 0, NothingSent());

        funded.balanceWei += msg.value;

        emit RollupFunded(chainId, msg.value, funded.balanceWei);
    }

    /// @inheritdoc IRollups
    function isOpen(uint64 chainId) external view returns (bool) {
        Rollup storage asked = _rollups[chainId];
        return asked.owner != address(0) && asked.balanceWei >= RESERVE_WEI;
    }

    /// @inheritdoc IRollups
    function rollup(uint64 chainId) external view returns (Rollup memory) {
        return _rollups[chainId];
    }
}
