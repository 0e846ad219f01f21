// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Cases} from "./Cases.sol";
import {ISequencerRegistry, Sequencer, Status} from "./interfaces/ISequencerRegistry.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {ISlasher, Offence} from "./interfaces/ISlasher.sol";
import {ITally} from "./interfaces/ITally.sol";
import {RecordLib} from "./lib/RecordLib.sol";
import {FrozenSet, SetLib} from "./lib/SetLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Who was absent
/// @notice Jails those who miss their turns (R29, R35), from what the tally booked.
abstract contract Liveness is Cases {
    /// Epochs that are looked at: the running one and those before.
    uint64 private constant EPOCHS = 8;
    uint256 private constant MIN_MISSED = 3;

    /// Calldata of {reportMissedTurns}.
    uint256 private constant REPORT_BYTES = 36;

    ITally private immutable TALLY;
    IRewardPool private immutable REWARD_POOL;
    uint256 private immutable MISSED_TURN_BPS;
    uint64 private immutable JAIL_SECONDS;

    /// Whether reports come in one call, how many absences those were that were taken, and what these took. Each report would
    /// else be refunded a transaction of its own.
    bool internal transient _isTogether;
    uint64 private transient _absences;
    uint128 private transient _absencesGas;

    constructor(Params memory p, Addresses memory addresses) Cases(p, addresses) {
        TALLY = ITally(addresses.tally);
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        MISSED_TURN_BPS = p.missedTurnBps;
        JAIL_SECONDS = p.jailSeconds;
    }

    /// @inheritdoc ISlasher
    function reportMissedTurns(uint32 id) external nonReentrant returns (bytes32 caseId) {
        uint256 gasAtStart = gasleft();
        Sequencer memory accused = REGISTRY.sequencer(id);
        uint64 last = SETTLEMENT.epochAt(uint64(block.timestamp));
        uint64 first = last < EPOCHS ? 0 : last - EPOCHS + 1;

        require(accused.status == Status.Active, ISequencerRegistry.StatusNotAllowed(id, accused.status));
        _requireAbsent(id, _since(accused, first), last);
        _requireNoOutage(first, last);

        // One at most: whoever comes back answers for later epochs alone.
        uint32 generation = SETTLEMENT.generation();
        bytes32 position = bytes32(uint256(last));
        caseId = RecordLib.caseId(Offence.MissedTurn, id, generation, position);

        emit Reported(caseId, id, Offence.MissedTurn, msg.sender, position);

        REGISTRY.jailAbsent(id, uint64(block.timestamp) + JAIL_SECONDS);
        _punish(caseId, id, msg.sender, accused.assetsWei * MISSED_TURN_BPS / BPS, false);
        // The bounty is a tenth of next to nothing, and everybody is asked whether it was an outage.
        uint256 spent = gasAtStart - gasleft();
        if (_isTogether) {
            _absences += 1;
            // Casting is safe: gas of a transaction.
            _absencesGas += uint128(spent);
        } else {
            _creditAbsences(spent, 1);
        }
    }

    /// @dev All absences that one call reported.
    function _creditTogether() internal {
        (uint256 spent, uint256 absences) = (_absencesGas, _absences);
        if (absences == 0) return;
        // Another call may come in this transaction.
        (_absencesGas, _absences) = (0, 0);
        _creditAbsences(spent, absences);
    }

    function _creditAbsences(uint256 spent, uint256 absences) private {
        REWARD_POOL.creditDuty(msg.sender, spent, REPORT_BYTES * absences, 4 * absences, 16);
    }

    /// @dev The first epoch from `first` on that counts: none up to that in which the accused came back.
    function _since(Sequencer memory accused, uint64 first) private view returns (uint64) {
        if (accused.jailedUntil == 0) return first;
        uint64 back = SETTLEMENT.epochAt(accused.jailedUntil) + 1;
        return back > first ? back : first;
    }

    function _requireAbsent(uint32 id, uint64 first, uint64 last) private view {
        (uint256 turns, uint256 missed) = TALLY.turnsBetween(id, first, last);
        require(missed >= MIN_MISSED && 2 * missed > turns, NotAbsent(turns, missed));
    }

    /// @dev At most 128 members, each two calls.
    function _requireNoOutage(uint64 first, uint64 last) private view {
        (address pointer,,) = SETTLEMENT.setOf(SETTLEMENT.generation(), last);
        FrozenSet set = SetLib.load(pointer);

        uint256 missing;
        for (uint256 i = 0; i < set.count(); ++i) {
            (address signer, uint64 weight) = set.member(i);
            (, uint256 missed) = TALLY.turnsBetween(REGISTRY.idOf(signer), first, last);
            if (missed != 0) missing += weight;
        }
        require(3 * missing <= set.total(), OutageTooWide(set.total(), missing));
    }
}
