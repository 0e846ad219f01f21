// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchInbox} from "./BatchInbox.sol";
import {Deployment} from "./Deployment.sol";
import {ForcedInbox} from "./ForcedInbox.sol";
import {Rotation} from "./Rotation.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title The settlement contract of a deployment
/// @notice {BatchInbox}, {ForcedInbox} and, through {Rotation}, {IRota} and {IRestart} in one: a call from one contract to
/// another costs 3,000 gas a batch.
contract Settlement is Deployment, ForcedInbox {
    address private immutable ROTATION;

    constructor(Params memory params, Addresses memory addresses)
        Deployment(params, addresses, addresses.settlement)
        BatchInbox(params, addresses)
        ForcedInbox(params, addresses)
    {
        ROTATION = address(new Rotation(params, addresses));
    }

    /// @dev What this contract has no function for, {Rotation} does in its name.
    fallback() external {
        address rotation = ROTATION;
        // Memory-safe: it writes from the free pointer on, and ends the call. Otherwise all of the contract compiled worse.
        assembly ("memory-safe") {
            let free := mload(0x40)
            calldatacopy(free, 0, calldatasize())
            let ok := delegatecall(gas(), rotation, free, calldatasize(), 0, 0)
            returndatacopy(free, 0, returndatasize())
            if ok { return(free, returndatasize()) }
            revert(free, returndatasize())
        }
    }
}
