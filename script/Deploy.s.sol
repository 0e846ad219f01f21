// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Script} from "forge-std/Script.sol";
import {console2} from "forge-std/console2.sol";

import {Addresses} from "../contracts/types/Params.sol";
import {Config, ConfigLib} from "./ConfigLib.sol";
import {DeployLib} from "./DeployLib.sol";

/// @title Deploys everything that a profile describes
/// @notice `forge script script/Deploy.s.sol --sig "run(string)" devnet --rpc-url … --private-key … --broadcast` deploys
/// script/config/devnet.json and prints where each contract stands.
contract Deploy is Script {
    function run(string calldata profile) external returns (Addresses memory addresses) {
        Config memory config = ConfigLib.read(profile);

        vm.startBroadcast();
        (, address deployer,) = vm.readCallers();
        addresses = DeployLib.deploy(config, deployer);
        vm.stopBroadcast();

        console2.log("stakeToken", addresses.stakeToken);
        console2.log("registry  ", addresses.registry);
        console2.log("settlement", addresses.settlement);
        console2.log("tally     ", addresses.tally);
        console2.log("slasher   ", addresses.slasher);
        console2.log("rewardPool", addresses.rewardPool);
        console2.log("rollups   ", addresses.rollups);
        console2.log("genesis   ", config.params.genesis);
    }
}
