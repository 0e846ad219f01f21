// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Vm} from "forge-std/Vm.sol";

import {RewardPool} from "../contracts/RewardPool.sol";
import {Rollups} from "../contracts/Rollups.sol";
import {SequencerRegistry} from "../contracts/SequencerRegistry.sol";
import {Settlement} from "../contracts/Settlement.sol";
import {Slasher} from "../contracts/Slasher.sol";
import {StakeToken} from "../contracts/StakeToken.sol";
import {Tally} from "../contracts/Tally.sol";
import {Addresses} from "../contracts/types/Params.sol";
import {Config} from "./ConfigLib.sol";

/// @title A whole deployment
/// @notice The contracts name each other in their constructors, so their addresses are computed first, from the
/// deployer's next nonces, in this order: stake token (only if the configuration names none), registry, settlement,
/// tally, slasher, reward pool, rollups. Each constructor checks that it stands where it was announced.
library DeployLib {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice Deploys with the account that creates contracts now, `deployer`.
    function deploy(Config memory config, address deployer) internal returns (Addresses memory addresses) {
        addresses = announce(config, deployer);

        if (config.stakeToken == address(0)) new StakeToken();
        new SequencerRegistry(config.params, addresses);
        new Settlement(config.params, addresses);
        new Tally(config.params, addresses);
        new Slasher(config.params, addresses);
        new RewardPool(config.params, addresses);
        new Rollups(config.params, addresses);
    }

    /// @notice Where {deploy} will put everything.
    function announce(Config memory config, address deployer) internal view returns (Addresses memory addresses) {
        uint64 nonce = VM.getNonce(deployer);

        addresses.stakeToken = config.stakeToken;
        if (config.stakeToken == address(0)) addresses.stakeToken = VM.computeCreateAddress(deployer, nonce++);
        addresses.registry = VM.computeCreateAddress(deployer, nonce++);
        addresses.settlement = VM.computeCreateAddress(deployer, nonce++);
        addresses.tally = VM.computeCreateAddress(deployer, nonce++);
        addresses.slasher = VM.computeCreateAddress(deployer, nonce++);
        addresses.rewardPool = VM.computeCreateAddress(deployer, nonce++);
        addresses.rollups = VM.computeCreateAddress(deployer, nonce);
        addresses.guardian = config.guardian;
    }
}
