// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchInbox} from "./BatchInbox.sol";
import {ForcedInbox} from "./ForcedInbox.sol";
import {Restart} from "./Restart.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title The settlement contract of a deployment
/// @notice {Rota}, {BatchInbox}, {ForcedInbox} and {Restart} in one: a call from one contract to another costs 3,000 gas a
/// batch.
contract Settlement is ForcedInbox, Restart {
    constructor(Params memory params, Addresses memory addresses)
        BatchInbox(params, addresses)
        ForcedInbox(params, addresses)
        Restart(params)
    {}
}
