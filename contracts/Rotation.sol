// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Restart} from "./Restart.sol";
import {Rota} from "./Rota.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title The part of the settlement contract that seldom runs
/// @notice {Rota} and {Restart}: what is called once an epoch, once in a catastrophe, or by nobody but people who look. The
/// settlement contract has no room for it (EIP-170), so it creates this one in its constructor, and whatever it does not
/// know itself it has this code do in its own name and on its own slots (DELEGATECALL). Nobody can put another in its place.
///
/// Called directly it works on slots of its own, which are empty and which nobody reads, and no other contract listens to it.
contract Rotation is Restart {
    constructor(Params memory params, Addresses memory addresses) Rota(params, addresses) Restart(params) {}
}
