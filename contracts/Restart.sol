// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Rota} from "./Rota.sol";
import {IRestart, RestartState} from "./interfaces/IRestart.sol";
import {SetLib} from "./lib/SetLib.sol";
import {Params} from "./types/Params.sol";

/// @title A new generation after a catastrophe
/// @notice See {IRestart}. Settling never asks whether a restart is open: a settlement moves the time in the tip, and a
/// restart that was opened before that time is over. So does the beginning of a generation.
abstract contract Restart is IRestart, Rota {
    /// After so many lapsed restarts in a row, minMembers that checked in suffice.
    uint64 private constant LAPSES_UNTIL_FEW_SUFFICE = 3;
    /// Calldata of {closeCheckIn}, and of {finishRestart} around the header.
    uint256 private constant CLOSE_BYTES = 4;
    uint256 private constant FINISH_BYTES = 68;

    uint64 private immutable DELAY_SECONDS;
    uint64 private immutable WINDOW_SECONDS;

    constructor(Params memory p) {
        DELAY_SECONDS = p.restartDelaySeconds;
        WINDOW_SECONDS = p.restartWindowSeconds;
    }

    /// @inheritdoc IRestart
    function openRestart() external {
        uint64 time = uint64(block.timestamp);
        uint64 settledAt = _tip.settledAt();
        Attempt memory last = _attempt;
        bool unanswered = last.openedAt > settledAt;

        require(settledAt != 0, NoSetInForce(0, epochAt(time)));
        require(time >= settledAt + DELAY_SECONDS, RestartNotDue(settledAt + DELAY_SECONDS, time));
        uint64 finishUntil = last.openedAt + 2 * WINDOW_SECONDS;
        require(!unanswered || time >= finishUntil, RestartUnderWay(finishUntil));

        _attempt = Attempt({openedAt: time, lapsed: unanswered ? last.lapsed + 1 : 0, count: 0, weight: 0});
        delete _closed;

        emit RestartOpened(time, time + WINDOW_SECONDS, time + 2 * WINDOW_SECONDS);
    }

    /// @inheritdoc IRestart
    function checkIn(uint32 id) external {
        uint64 time = uint64(block.timestamp);
        Attempt memory attempt = _attempt;
        if (attempt.openedAt <= _tip.settledAt()) return _comeBack(id);

        uint64 until = attempt.openedAt + WINDOW_SECONDS;
        require(time < until, CheckInOver(until, time));

        uint64 weight = REGISTRY.checkIn(id, msg.sender, attempt.openedAt);
        // Who waits in the queue is heard of, and is nobody's quorum.
        if (weight != 0) attempt.count += 1;
        attempt.weight += weight;
        _attempt = attempt;

        emit CheckedIn(attempt.openedAt, id, weight);
    }

    /// @dev No restart is open: this is for who missed the one that the running generation began with.
    function _comeBack(uint32 id) private {
        require(_aliveSince(generation()) != 0, NoRestartOpen());

        REGISTRY.comeBack(id, msg.sender);

        emit Returned(id);
    }

    /// @inheritdoc IRestart
    function closeCheckIn() external {
        uint256 gasAtStart = gasleft();
        Attempt memory attempt = _requireFinishing();
        uint64 standing = pinnedForRestart();
        require(standing == 0, PinStands(standing));
        _requireTimeUntil(attempt.openedAt + 2 * WINDOW_SECONDS);

        // As with a pin: what was frozen once stays, also if L1 forgets the block.
        address pointer = _closed.pointer;
        if (pointer == address(0)) pointer = _freezeCheckedIn(attempt);
        uint64 number = _newPin();
        _closed.number = number;

        emit CheckInClosed(attempt.openedAt, pointer, number);
        REWARD_POOL.creditDuty(msg.sender, gasAtStart - gasleft(), CLOSE_BYTES, CLOSE_BYTES, 16);
    }

    /// @dev Freezes who checked in, if they are enough, and notes in which epoch.
    function _freezeCheckedIn(Attempt memory attempt) private returns (address pointer) {
        uint64 running = epochAt(uint64(block.timestamp));
        uint256[] memory members = REGISTRY.membersCheckedIn(attempt.openedAt);
        (uint64 last, bytes32 newest) = _newest(generation());
        if (attempt.lapsed < LAPSES_UNTIL_FEW_SUFFICE || members.length < MIN_MEMBERS) {
            uint256 total = _setAt(generation(), running).total();
            uint256 weight = _weightOf(members);
            require(weight > total / 3, CheckedInTooFew(total / 3 + 1, weight));
            // A third of nobody is anybody: the first after an empty set are as many as a seal would ask for (R5).
            if (total == 0) _requireEnough(members.length, last, newest);
        }

        // With the seed of now: a seal between this call and the next changes nothing of what comes.
        (pointer,) = SetLib.store(_sorted(members), SetLib.seedOf(newest), generation() + 1);
        // Casting is safe: 2^32 epochs of a second are 136 years.
        (_closed.pointer, _closed.epoch) = (pointer, uint32(running));
    }

    /// @inheritdoc IRestart
    function pinnedForRestart() public view returns (uint64) {
        uint64 number = _closed.number;
        return number != 0 && _isRemembered(number) ? number : 0;
    }

    /// @inheritdoc IRestart
    function finishRestart(bytes calldata header) external {
        uint256 gasAtStart = gasleft();
        Attempt memory attempt = _requireFinishing();
        Closed memory closed = _closed;
        require(closed.number != 0, CheckInNotClosed());

        bytes32 seed = _seedAfter(SetLib.load(closed.pointer).seed(), closed.number, header);
        _begin(epochAt(uint64(block.timestamp)), closed.epoch, attempt.openedAt, closed.pointer, seed, closed.number);
        _creditHeader(gasAtStart, FINISH_BYTES, header);
    }

    /// @dev The restart under way, which has to be past its check-in.
    function _requireFinishing() private view returns (Attempt memory attempt) {
        attempt = _attempt;
        uint64 time = uint64(block.timestamp);
        uint64 from = attempt.openedAt + WINDOW_SECONDS;

        require(attempt.openedAt > _tip.settledAt(), NoRestartOpen());
        require(time >= from && time < from + WINDOW_SECONDS, FinishNotOpen(from, from + WINDOW_SECONDS, time));
    }

    function _weightOf(uint256[] memory members) private pure returns (uint256 weight) {
        for (uint256 i = 0; i < members.length; ++i) {
            weight += SetLib.weightOf(members[i]);
        }
    }

    /// @inheritdoc IRestart
    function restart() external view returns (RestartState memory state) {
        Attempt memory attempt = _attempt;
        if (attempt.openedAt == 0) return state;

        return RestartState({
            openedAt: attempt.openedAt,
            checkInUntil: attempt.openedAt + WINDOW_SECONDS,
            finishUntil: attempt.openedAt + 2 * WINDOW_SECONDS,
            lapsed: attempt.lapsed,
            count: attempt.count,
            weight: attempt.weight
        });
    }
}
