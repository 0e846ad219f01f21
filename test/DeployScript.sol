// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {Deployment} from "../contracts/Deployment.sol";
import {StakeToken} from "../contracts/StakeToken.sol";
import {IRota} from "../contracts/interfaces/IRota.sol";
import {ISequencerRegistry} from "../contracts/interfaces/ISequencerRegistry.sol";
import {ParamsLib} from "../contracts/lib/ParamsLib.sol";
import {Addresses, Params} from "../contracts/types/Params.sol";
import {Config, ConfigLib} from "../script/ConfigLib.sol";
import {Deploy} from "../script/Deploy.s.sol";

/// Deploy
/// ├── run
/// │   ├── given either profile: it deploys everything, wired as announced
/// │   └── given no token, on a chain that is none for development: it reverts
/// └── Deployment
///     ├── when a contract stands elsewhere than announced: it reverts
///     ├── when it is given other parameters than the registry: it reverts
///     └── when a relation of §12 does not hold: it reverts
contract DeployTest is Test {
    /// What L1 takes as the code of a contract (EIP-170). Forge does not mind more in tests.
    uint256 private constant MAX_CODE_BYTES = 24_576;

    string[6] private _artifacts = [
        "SequencerRegistry.sol:SequencerRegistry",
        "Settlement.sol:Settlement",
        "Tally.sol:Tally",
        "Slasher.sol:Slasher",
        "RewardPool.sol:RewardPool",
        "Rollups.sol:Rollups"
    ];

    function setUp() public {
        vm.warp(1_800_000_000);
    }

    function test_run_deploysTheDevnetProfile() public {
        _deploysAndWires("devnet");
    }

    function test_run_deploysTheTestnetProfile() public {
        _deploysAndWires("testnet");
    }

    function test_run_revertsWhen_aTokenWouldBeNeededOnARealChain() public {
        Deploy script = new Deploy();
        vm.chainId(1);

        vm.expectRevert(abi.encodeWithSelector(StakeToken.NotDevelopmentChain.selector, 31_337, 1));
        script.run("devnet");
    }

    function test_deployment_revertsWhen_aContractStandsElsewhere() public {
        Config memory config = ConfigLib.read("devnet");
        for (uint256 i = 0; i < _artifacts.length; ++i) {
            Addresses memory wrong = _announce(config);
            address actual = vm.computeCreateAddress(address(this), vm.getNonce(address(this)));
            address announced = makeAddr("announced");
            if (i == 0) wrong.registry = announced;
            if (i == 1) wrong.settlement = announced;
            if (i == 2) wrong.tally = announced;
            if (i == 3) wrong.slasher = announced;
            if (i == 4) wrong.rewardPool = announced;
            if (i == 5) wrong.rollups = announced;

            vm.expectRevert(abi.encodeWithSelector(Deployment.NotAtAnnouncedAddress.selector, announced, actual));
            this.create(_artifacts[i], config.params, wrong);
        }
    }

    function test_deployment_revertsWhen_parametersDiffer() public {
        Config memory config = ConfigLib.read("devnet");
        for (uint256 i = 1; i < _artifacts.length; ++i) {
            Addresses memory addresses = _announce(config);
            this.create(_artifacts[0], config.params, addresses);
            // Skip to the nonce of the contract in question.
            vm.setNonce(address(this), uint64(vm.getNonce(address(this)) + i - 1));
            Params memory other = abi.decode(abi.encode(config.params), (Params));
            other.jailSeconds += 1;

            vm.expectRevert(
                abi.encodeWithSelector(
                    Deployment.DeploymentDiffers.selector,
                    keccak256(abi.encode(config.params, addresses)),
                    keccak256(abi.encode(other, addresses))
                )
            );
            this.create(_artifacts[i], other, addresses);
        }
    }

    function test_deployment_revertsWhen_aRelationDoesNotHold() public {
        Config memory config = ConfigLib.read("devnet");
        config.params.maxEpochLag = 1;
        Addresses memory addresses = _announce(config);

        vm.expectRevert(abi.encodeWithSelector(ParamsLib.MaxEpochLagTooSmall.selector, 2, 1));
        this.create(_artifacts[0], config.params, addresses);
    }

    /// @dev External, so that a revert of the constructor can be expected.
    function create(string calldata artifact, Params calldata params, Addresses calldata addresses) external {
        vm.deployCode(artifact, abi.encode(params, addresses));
    }

    function _announce(Config memory config) private view returns (Addresses memory addresses) {
        uint64 nonce = vm.getNonce(address(this));
        addresses.stakeToken = config.stakeToken;
        addresses.registry = vm.computeCreateAddress(address(this), nonce);
        addresses.settlement = vm.computeCreateAddress(address(this), nonce + 1);
        addresses.tally = vm.computeCreateAddress(address(this), nonce + 2);
        addresses.slasher = vm.computeCreateAddress(address(this), nonce + 3);
        addresses.rewardPool = vm.computeCreateAddress(address(this), nonce + 4);
        addresses.rollups = vm.computeCreateAddress(address(this), nonce + 5);
    }

    function _deploysAndWires(string memory profile) private {
        Deploy script = new Deploy();
        Params memory params = ConfigLib.read(profile).params;

        Addresses memory addresses = script.run(profile);

        bytes32 expected = keccak256(abi.encode(params, addresses));
        assertEq(Deployment(addresses.registry).DEPLOYMENT_HASH(), expected);
        assertEq(Deployment(addresses.settlement).DEPLOYMENT_HASH(), expected);
        assertEq(Deployment(addresses.tally).DEPLOYMENT_HASH(), expected);
        assertEq(Deployment(addresses.slasher).DEPLOYMENT_HASH(), expected);
        assertEq(Deployment(addresses.rewardPool).DEPLOYMENT_HASH(), expected);
        assertEq(Deployment(addresses.rollups).DEPLOYMENT_HASH(), expected);
        assertEq(abi.encode(IRota(addresses.settlement).params()), abi.encode(params));
        assertEq(ISequencerRegistry(addresses.registry).stakeToken(), addresses.stakeToken);
        assertGt(addresses.stakeToken.code.length, 0);

        // What the quick profile compiles never ships.
        if (keccak256(bytes(vm.envOr("FOUNDRY_PROFILE", string("default")))) == keccak256("quick")) return;
        assertLe(addresses.registry.code.length, MAX_CODE_BYTES);
        assertLe(addresses.settlement.code.length, MAX_CODE_BYTES);
        assertLe(addresses.tally.code.length, MAX_CODE_BYTES);
        assertLe(addresses.slasher.code.length, MAX_CODE_BYTES);
        assertLe(addresses.rewardPool.code.length, MAX_CODE_BYTES);
    }
}
