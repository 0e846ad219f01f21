// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {stdJson} from "forge-std/StdJson.sol";
import {Vm} from "forge-std/Vm.sol";

import {Params} from "../contracts/types/Params.sol";

/// What a configuration in script/config/ says.
struct Config {
    Params params;
    /// Zero on a development chain: a token is deployed there.
    address stakeToken;
    /// Zero if there is none.
    address guardian;
}

/// @title Configurations of a deployment
/// @notice One flat JSON object with the fields of {Params} by name; numbers of up to 64 bits as numbers, wei as decimal
/// strings. Instead of `genesis` there is `genesisDelaySeconds`, counted from the moment of deployment.
library ConfigLib {
    using stdJson for string;

    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice Reads script/config/`profile`.json.
    function read(string memory profile) internal view returns (Config memory config) {
        string memory json = VM.readFile(string.concat("script/config/", profile, ".json"));

        config.stakeToken = json.readAddress(".stakeToken");
        config.guardian = json.readAddress(".guardian");
        _readSets(config.params, json);
        _readBatches(config.params, json);
        _readDelays(config.params, json);
        _readAmounts(config.params, json);
        _readPrices(config.params, json);
    }

    function _readSets(Params memory p, string memory json) private view {
        p.genesis = uint64(block.timestamp) + _number(json, ".genesisDelaySeconds");
        p.epochSeconds = _number(json, ".epochSeconds");
        p.maxEpochLag = _number(json, ".maxEpochLag");
        p.minMembers = _number(json, ".minMembers");
        p.maxMembers = _number(json, ".maxMembers");
        p.l1BlockSeconds = _number(json, ".l1BlockSeconds");
        p.originDepthBlocks = _number(json, ".originDepthBlocks");
    }

    function _readBatches(Params memory p, string memory json) private pure {
        p.turnLength = _number(json, ".turnLength");
        p.intervalMillis = _number(json, ".intervalMillis");
        p.idleIntervalMillis = _number(json, ".idleIntervalMillis");
        p.maxBatchBytes = _number(json, ".maxBatchBytes");
        p.maxBatchAgeSeconds = _number(json, ".maxBatchAgeSeconds");
        p.idleBatchAgeSeconds = _number(json, ".idleBatchAgeSeconds");
        p.takeoverSeconds = _number(json, ".takeoverSeconds");
        p.driftSeconds = _number(json, ".driftSeconds");
        p.ringSize = _number(json, ".ringSize");
    }

    function _readDelays(Params memory p, string memory json) private pure {
        p.forcedDeadlineBlocks = _number(json, ".forcedDeadlineBlocks");
        p.forcedGraceBlocks = _number(json, ".forcedGraceBlocks");
        p.forcedMaxBytes = _number(json, ".forcedMaxBytes");
        p.forcedFeeDoublingEntries = _number(json, ".forcedFeeDoublingEntries");
        p.forcedFeeMaxDoublings = _number(json, ".forcedFeeMaxDoublings");
        p.escapeDelaySeconds = _number(json, ".escapeDelaySeconds");
        p.restartDelaySeconds = _number(json, ".restartDelaySeconds");
        p.restartWindowSeconds = _number(json, ".restartWindowSeconds");
        p.evidenceWindowSeconds = _number(json, ".evidenceWindowSeconds");
        p.correlationWindowSeconds = _number(json, ".correlationWindowSeconds");
        p.guardianDelaySeconds = _number(json, ".guardianDelaySeconds");
        p.exitMarginSeconds = _number(json, ".exitMarginSeconds");
        p.exitDelaySeconds = _number(json, ".exitDelaySeconds");
        p.commissionRaiseBps = _number(json, ".commissionRaiseBps");
        p.commissionDelaySeconds = _number(json, ".commissionDelaySeconds");
    }

    function _readAmounts(Params memory p, string memory json) private pure {
        p.minStakeWei = json.readUint(".minStakeWei");
        p.weightUnitWei = json.readUint(".weightUnitWei");
        p.minSelfBondBps = _number(json, ".minSelfBondBps");
        p.doubleSignBps = _number(json, ".doubleSignBps");
        p.correlationFactor = _number(json, ".correlationFactor");
        p.brokenPromiseBps = _number(json, ".brokenPromiseBps");
        p.missedTurnBps = _number(json, ".missedTurnBps");
        p.bountyBps = _number(json, ".bountyBps");
        p.compensationBps = _number(json, ".compensationBps");
        p.jailSeconds = _number(json, ".jailSeconds");
        p.signersSecondWei = json.readUint(".signersSecondWei");
        p.forcedFeeWei = json.readUint(".forcedFeeWei");
        p.rollupFeeWei = json.readUint(".rollupFeeWei");
        p.rollupReserveWei = json.readUint(".rollupReserveWei");
        p.rollupByteWei = json.readUint(".rollupByteWei");
        p.rollupBookingGas = _number(json, ".rollupBookingGas");
    }

    function _readPrices(Params memory p, string memory json) private pure {
        p.refundMarginBps = _number(json, ".refundMarginBps");
        p.priorityWei = _number(json, ".priorityWei");
        p.transactionGas = _number(json, ".transactionGas");
        p.zeroByteGas = _number(json, ".zeroByteGas");
        p.byteGas = _number(json, ".byteGas");
        p.zeroByteFloorGas = _number(json, ".zeroByteFloorGas");
        p.byteFloorGas = _number(json, ".byteFloorGas");
        p.repricedWriteGas = _number(json, ".repricedWriteGas");
        p.nextTransactionGas = _number(json, ".nextTransactionGas");
        p.nextZeroByteGas = _number(json, ".nextZeroByteGas");
        p.nextByteGas = _number(json, ".nextByteGas");
        p.nextZeroByteFloorGas = _number(json, ".nextZeroByteFloorGas");
        p.nextByteFloorGas = _number(json, ".nextByteFloorGas");
    }

    function _number(string memory json, string memory key) private pure returns (uint64) {
        uint256 value = json.readUint(key);
        require(value <= type(uint64).max, string.concat(key, " is above 64 bits"));
        // Casting is safe: checked above.
        return uint64(value);
    }
}
