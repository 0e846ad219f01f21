// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../../contracts/interfaces/IBatchInbox.sol";
import {ParamsLib} from "../../contracts/lib/ParamsLib.sol";
import {Params} from "../../contracts/types/Params.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Chain} from "../utils/Chain.sol";
import {Actor} from "../utils/System.sol";

/// Deployments that could never have worked, and what settles when nobody is left. The numbers are those of the gallery.
contract ParameterAttacksTest is Chain {
    /// 120: everybody leaves, the empty set is in force, and a batch that names the epoch before, in which they were members.
    function test_attack120_nothingSettlesUnderAnEmptySet() external {
        _deploy();
        vm.fee(1 gwei);
        Actor memory alice = _joinMany(1)[0];
        _sealFirst();
        _advance(1);
        uint256 shares = registry.sharesOf(alice.id, alice.owner);
        vm.prank(alice.owner);
        registry.requestExit(alice.id, shares);
        _warpTo(settlement.startOf(0) + p.exitDelaySeconds);
        uint64 before = _epoch();
        BatchHeader memory header = _nextHeader(1);
        uint128 signers = _quorum(before);
        Signature[] memory signatures = _attest(header, signers);
        address leader = _leader(header);
        uint256 snapshot = vm.snapshotState();

        // As long as the old set is in force, it settles.
        vm.prank(leader, leader);
        settlement.settle(header, signers, signatures, PAYLOAD);
        vm.revertToState(snapshot);

        _sealSet(before + 1);
        assertEq(settlement.leaderSet(before + 1).members.length, 0);
        _startEpoch(before + 1);
        vm.prank(leader, leader);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.EmptySetInForce.selector, before + 1));
        settlement.settle(header, signers, signatures, PAYLOAD);
    }

    /// 125: a restart that can never be finished, a chain that began before its contracts, exits without margin.
    function test_attack125_whatCouldNeverWorkIsNotDeployed() external {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.restartWindowSeconds = 0;
        _refuses(config, abi.encodeWithSelector(ParamsLib.RestartWindowIsZero.selector));

        config = ConfigLib.read("devnet");
        config.params.genesis = uint64(block.timestamp) - 1;
        uint256 minimum = block.timestamp + config.params.l1BlockSeconds;
        _refuses(config, abi.encodeWithSelector(ParamsLib.GenesisTooEarly.selector, minimum, config.params.genesis));

        config = ConfigLib.read("devnet");
        config.params.commissionDelaySeconds = config.params.exitDelaySeconds - 1;
        (uint64 exitDelay, uint64 delay) = (config.params.exitDelaySeconds, config.params.commissionDelaySeconds);
        _refuses(config, abi.encodeWithSelector(ParamsLib.CommissionDelayBelowExitDelay.selector, exitDelay, delay));
    }

    /// 140: whatever single number of the profile is zero, the deployment is refused or it is one that may be zero.
    function test_property140_noWindowIsZero() external {
        Config memory config = ConfigLib.read("devnet");
        bytes memory encoded = abi.encode(config.params);
        uint256 refused;
        for (uint256 at = 32; at <= encoded.length; at += 32) {
            bytes memory other = bytes.concat(encoded);
            assembly ("memory-safe") {
                mstore(add(other, at), 0)
            }
            (bool ok, bytes memory answer) = address(this).call(abi.encodePacked(this.check.selector, other));
            if (ok) continue;
            ++refused;
            assertNotEq(bytes4(answer), bytes4(keccak256("Panic(uint256)")));
        }
        assertGt(refused, 20);
    }

    function check(Params calldata params) external pure {
        ParamsLib.check(params);
    }

    function _refuses(Config memory config, bytes memory error_) private {
        vm.expectRevert(error_);
        this.deploy(config);
    }

    function deploy(Config memory config) external {
        _deploy(config);
    }
}
