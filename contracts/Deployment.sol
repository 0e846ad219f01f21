// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ParamsLib} from "./lib/ParamsLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title One contract of a deployment
/// @notice The contracts of a deployment name each other in their constructors, before most of them exist. This base
/// makes a mistake in that impossible to deploy: each contract stands where it was announced, all of them were given
/// the same addresses and the same parameters, and the parameters agree with each other (§12).
abstract contract Deployment {
    /// @notice This contract is not where the deployment announced it.
    error NotAtAnnouncedAddress(address expected, address actual);

    /// @notice This contract was given other parameters or addresses than the registry.
    error DeploymentDiffers(bytes32 expected, bytes32 actual);

    /// @notice keccak256(abi.encode(params, addresses)): the same in every contract of a deployment.
    bytes32 public immutable DEPLOYMENT_HASH;

    /// @param announced The address in `addresses` that is this contract's.
    constructor(Params memory params, Addresses memory addresses, address announced) {
        require(address(this) == announced, NotAtAnnouncedAddress(announced, address(this)));
        ParamsLib.check(params);

        DEPLOYMENT_HASH = keccak256(abi.encode(params, addresses));

        // The registry is deployed first; it cannot be asked during its own construction.
        if (address(this) != addresses.registry) {
            bytes32 expected = Deployment(addresses.registry).DEPLOYMENT_HASH();
            require(DEPLOYMENT_HASH == expected, DeploymentDiffers(expected, DEPLOYMENT_HASH));
        } else {
            ParamsLib.checkGenesis(params, block.timestamp);
            ParamsLib.checkSeedDistance(params, block.chainid);
        }
    }
}
