// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Deployment} from "./Deployment.sol";
import {Holdings} from "./Holdings.sol";
import {SequencerOffice} from "./SequencerOffice.sol";
import {IRestart} from "./interfaces/IRestart.sol";
import {ChurnState, Exit, ISequencerRegistry, Rights, Sequencer, Status} from "./interfaces/ISequencerRegistry.sol";
import {Standing} from "./lib/StandingLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Who
/// @notice See {ISequencerRegistry}. What is seldom called is code of {SequencerOffice}, which works on the storage of this
/// contract: both are one contract in two pieces, since neither would fit as one (EIP-170). The office is created here, and
/// nobody can name another.
contract SequencerRegistry is ISequencerRegistry, Deployment, Holdings, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    address private immutable SLASHER;
    address private immutable OFFICE;

    modifier onlySettlement() {
        _requireSettlement();
        _;
    }

    modifier onlySlasher() {
        _requireSlasher();
        _;
    }

    constructor(Params memory params, Addresses memory addresses)
        Deployment(params, addresses, addresses.registry)
        Holdings(params, addresses)
    {
        SLASHER = addresses.slasher;
        OFFICE = address(new SequencerOffice(params, addresses));
    }

    /* AT THE OFFICE */

    /// @inheritdoc ISequencerRegistry
    function join(address, string calldata, uint256, bytes calldata) external returns (uint32) {
        return uint32(_atOffice());
    }

    /// @inheritdoc ISequencerRegistry
    function unjail(uint32) external {
        _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function rotateSigner(uint32, address, bytes calldata) external {
        _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function setPoster(uint32, address, bytes calldata) external {
        _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function setEndpoint(uint32, string calldata) external {
        _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function claim(uint256) external returns (uint256) {
        return _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function claimTo(uint256, address) external returns (uint256) {
        return _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function proposeOwner(uint32, address) external {
        _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function acceptOwner(uint32, address) external {
        _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function setOperator(uint32, address) external {
        _atOffice();
    }

    /// @inheritdoc ISequencerRegistry
    function setWithdrawal(uint32, address) external {
        _atOffice();
    }

    /// @dev Has the office do what was asked for, and ends the call with its answer: it never returns.
    function _atOffice() private returns (uint256 done) {
        address office = OFFICE;
        // Memory-safe: uses what is free, and ends the call.
        assembly ("memory-safe") {
            let memory_ := mload(0x40)
            calldatacopy(memory_, 0, calldatasize())
            done := delegatecall(gas(), office, memory_, calldatasize(), 0, 0)
            returndatacopy(memory_, 0, returndatasize())
            if done { return(memory_, returndatasize()) }
            revert(memory_, returndatasize())
        }
    }

    /* STAKING */

    /// @inheritdoc ISequencerRegistry
    function topUp(uint32 id, uint256 amountWei) external nonReentrant returns (uint256 shares) {
        Entry storage entry = _ownEntry(id);
        Status status = entry.standing.status;

        require(status == Status.Active || status == Status.Jailed, StatusNotAllowed(id, status));
        require(!entry.pool.closing, PoolClosing(id));

        shares = _add(entry, id, amountWei);

        emit ToppedUp(id, msg.sender, amountWei, shares);

        _pull(amountWei);
    }

    /// @inheritdoc ISequencerRegistry
    function delegate(uint32 id, uint256 amountWei) external nonReentrant returns (uint256 shares) {
        Entry storage entry = _entry(id);
        Status status = entry.standing.status;

        require(status == Status.Active, StatusNotAllowed(id, status));

        shares = _add(entry, id, amountWei);
        REWARD_POOL.requireDelegable(id, _ownWei(entry, id), entry.pool.stakeWei());

        emit Delegated(id, msg.sender, amountWei, shares);

        _pull(amountWei);
    }

    /* LEAVING */

    /// @inheritdoc ISequencerRegistry
    function requestExit(uint32 id, uint256 shares) external returns (uint256 exitId) {
        return _requestExit(id, shares, 0);
    }

    /// @inheritdoc ISequencerRegistry
    function leave(uint32 id, uint256 shares, uint256 waitingShares) external returns (uint256 exitId) {
        return _requestExit(id, shares, waitingShares);
    }

    function _requestExit(uint32 id, uint256 shares, uint256 waiting) private returns (uint256 exitId) {
        Entry storage entry = _entry(id);
        address holder = _holderOf(entry, msg.sender);
        Holding memory holding = _holdings[id][holder];

        require(shares != 0 || waiting != 0, AmountIsZero());
        require(shares <= holding.shares, SharesAboveHolding(holding.shares, shares));
        require(waiting <= holding.waiting, SharesAboveHolding(holding.waiting, waiting));

        // Casting is safe: both are no more than what is held.
        holding.shares -= uint128(shares);
        holding.waiting -= uint128(waiting);
        _holdings[id][holder] = holding;
        bool leads = holder == OWNER && !entry.pool.closing;
        bool keeps = holding.shares != 0 || holding.waiting != 0;
        if (leads && !keeps) _close(entry, id);
        address payee = holder == OWNER ? payeeOf(id) : msg.sender;
        exitId = _leave(id, payee, shares, waiting, leads && !keeps);
        if (leads && keeps) _requireOwnStake(entry, id);

        emit ExitRequested(exitId, id, msg.sender, payee, shares, waiting, _epoch());
    }

    /// @inheritdoc ISequencerRegistry
    function flush(uint256 max) external returns (uint256 steps) {
        return _flush(max);
    }

    /* FOR THE SETTLEMENT CONTRACT */

    /// @inheritdoc ISequencerRegistry
    function startGeneration(uint64 openedAt) external onlySettlement {
        // Casting is safe: a time of L1, as those that it is compared with.
        _aliveSince = uint40(openedAt);
        _measureAnew();
    }

    /// @inheritdoc ISequencerRegistry
    function checkIn(uint32 id, address caller, uint64 openedAt) external onlySettlement returns (uint64 weight) {
        Entry storage entry = _entryOf(id, caller);
        bool missed = _missedRestart(entry);
        // Who waits in the queue says that it is there as well, and keeps its place.
        require(entry.standing.weight() != 0 || !missed, IRestart.NotEligible(id));
        require(entry.checkedInAt < openedAt, IRestart.AlreadyCheckedIn(id));

        if (missed) _reseat(entry, id);
        (entry.aliveAt, entry.checkedInAt) = (uint40(block.timestamp), uint40(block.timestamp));
        return entry.standing.weight();
    }

    /// @inheritdoc ISequencerRegistry
    function comeBack(uint32 id, address caller) external onlySettlement {
        Entry storage entry = _entryOf(id, caller);
        Standing storage standing = entry.standing;
        require(_missedRestart(entry), IRestart.AlreadyCheckedIn(id));

        entry.aliveAt = uint40(block.timestamp);
        _weigh(standing, 0);
        standing.weightBefore = 0;
        _comeBack(entry, id);
    }

    /// @dev For its owner, its operator or its signer, while it may be in sets.
    function _entryOf(uint32 id, address caller) private view returns (Entry storage entry) {
        entry = _entry(id);
        require(
            caller == entry.owner || caller == entry.standing.signer || caller == _rights[id].operator,
            IRestart.NotOwnerOrSigner(id, caller)
        );
        require(entry.standing.status == Status.Active, IRestart.NotEligible(id));
    }

    /* FOR THE REWARD POOL */

    /// @inheritdoc ISequencerRegistry
    function creditReward(uint32 id, uint256 amountWei) external nonReentrant returns (bool taken) {
        require(msg.sender == address(REWARD_POOL), NotRewardPool(address(REWARD_POOL), msg.sender));
        Entry storage entry = _entries[id];
        uint256 total = _totalWei + amountWei;

        // What weighs something has shares that work.
        if (entry.standing.weight() == 0 || total > WEIGHT_LIMIT * WEIGHT_UNIT_WEI - 1) return false;

        _totalWei = total;
        entry.pool.reward(amountWei);

        emit Rewarded(id, amountWei);
        return true;
    }

    /* FOR THE SLASHER */

    /// @inheritdoc ISequencerRegistry
    function jail(uint32 id, uint64 enough, uint64 heldUntil)
        external
        onlySlasher
        returns (uint256 assetsWei, bool held)
    {
        Entry storage entry = _entries[id];
        Status status = entry.standing.status;

        require(status != Status.None, UnknownSequencer(id));
        require(status != Status.Tombstoned, StatusNotAllowed(id, status));

        assetsWei = entry.pool.assetsWei;
        held = entry.standing.heldUntil() < enough;
        if (status != Status.Jailed) _silence(entry, id, Status.Jailed, heldUntil);
        else if (held) entry.standing.silence(_stamp(), Status.Jailed, uint256(heldUntil).toUint56());
    }

    /// @inheritdoc ISequencerRegistry
    function jailUnderKey(uint32 id, address signer, uint64 heldUntil)
        external
        onlySlasher
        returns (uint256 assetsWei)
    {
        Entry storage entry = _entries[id];
        (Status status, address current) = (entry.standing.status, entry.standing.signer);

        require(status == Status.Active, StatusNotAllowed(id, status));
        require(current == signer, KeyNotCurrent(id, current, signer));

        _silence(entry, id, Status.Jailed, heldUntil);
        return entry.pool.assetsWei;
    }

    /// @inheritdoc ISequencerRegistry
    function jailAbsent(uint32 id, uint64 until) external onlySlasher {
        Entry storage entry = _entry(id);
        Status status = entry.standing.status;

        require(status != Status.Tombstoned, StatusNotAllowed(id, status));

        if (until > entry.pool.jailedUntil) entry.pool.jailedUntil = uint256(until).toUint40();
        if (status != Status.Jailed) _silence(entry, id, Status.Jailed, 0);
    }

    /// @inheritdoc ISequencerRegistry
    function slash(uint32 id, uint256 amountWei, bool tombstone)
        external
        onlySlasher
        nonReentrant
        returns (uint256 slashedWei)
    {
        Entry storage entry = _entry(id);
        Standing storage standing = entry.standing;
        uint256 assetsBefore = entry.pool.assetsWei;
        uint56 weightBefore = standing.weight();

        slashedWei = entry.pool.slash(amountWei);
        _totalWei -= slashedWei;
        if (slashedWei != 0) {
            // Both values sink at once: this is no change that could wait for two epochs (R3). Casting is safe: below 2^56.
            standing.sink(uint56(Math.min(weightBefore, entry.pool.workingWei() / WEIGHT_UNIT_WEI)));
            // Casting is safe: the product is divided by more than it was multiplied with.
            standing.weightBefore = uint56(standing.weightBefore * (assetsBefore - slashedWei) / assetsBefore);
        }
        bool sunk = standing.weight() == 0 && weightBefore != 0;
        if (tombstone && standing.status != Status.Tombstoned) {
            _silence(entry, id, Status.Tombstoned, standing.heldUntil());
        }
        if (standing.status == Status.Active && (sunk || _ownWei(entry, id) < MIN_STAKE_WEI)) {
            _silence(entry, id, Status.Jailed, 0);
        }

        _slashedWei += slashedWei;

        emit Slashed(id, amountWei, slashedWei);
    }

    /// @inheritdoc ISequencerRegistry
    function payOut(address to, uint256 amountWei) external onlySlasher nonReentrant {
        _slashedWei -= amountWei;

        STAKE_TOKEN.safeTransfer(to, amountWei);
    }

    /* READING */

    /// @inheritdoc ISequencerRegistry
    function membersAtEpochStart(uint64 aliveSince) external view returns (uint256[] memory words) {
        return _members(aliveSince, 0);
    }

    /// @inheritdoc ISequencerRegistry
    function membersCheckedIn(uint64 openedAt) external view returns (uint256[] memory words) {
        return _members(0, openedAt);
    }

    /// @inheritdoc ISequencerRegistry
    function churn() external view returns (ChurnState memory) {
        return _churnNow();
    }

    /// @inheritdoc ISequencerRegistry
    function claimableAt(uint256 exitId) external view returns (bool known, uint64 time) {
        return _claimableAt(exitId);
    }

    /// @inheritdoc ISequencerRegistry
    function sequencer(uint32 id) external view returns (Sequencer memory) {
        Entry storage entry = _entry(id);
        return Sequencer({
            owner: entry.owner,
            signer: entry.standing.signer,
            poster: entry.poster,
            status: entry.standing.status,
            assetsWei: entry.pool.assetsWei,
            shares: entry.pool.shares,
            weight: entry.standing.weight(),
            restingWei: entry.pool.restingWei,
            restingShares: entry.pool.restingShares,
            waitingShares: entry.pool.waitingShares,
            jailedUntil: uint64(Math.max(entry.standing.heldUntil(), entry.pool.jailedUntil))
        });
    }

    /// @inheritdoc ISequencerRegistry
    function exit(uint256 exitId) external view returns (Exit memory) {
        ExitRecord storage exit_ = _exits[exitId];
        require(exit_.sequencer != 0, UnknownExit(exitId));
        return Exit({
            sequencer: exit_.sequencer,
            holder: exit_.holder,
            restingShares: exit_.restingShares,
            queuedShares: exit_.queuedShares,
            epoch: exit_.epoch == 0 ? 0 : exit_.epoch - 1,
            claimed: exit_.claimed
        });
    }

    /// @inheritdoc ISequencerRegistry
    function sharesOf(uint32 id, address holder) external view returns (uint256) {
        return _holdings[id][_holderOf(_entries[id], holder)].shares;
    }

    /// @inheritdoc ISequencerRegistry
    function waitingSharesOf(uint32 id, address holder) external view returns (uint256) {
        return _holdings[id][_holderOf(_entries[id], holder)].waiting;
    }

    /// @inheritdoc ISequencerRegistry
    function idOf(address key) external view returns (uint32) {
        return _idOf[key];
    }

    /// @inheritdoc ISequencerRegistry
    function count() external view returns (uint32) {
        return _count;
    }

    /// @inheritdoc ISequencerRegistry
    function stakeToken() external view returns (address) {
        return address(STAKE_TOKEN);
    }

    /// @inheritdoc ISequencerRegistry
    function ownerOf(uint32 id) external view returns (address) {
        return _entry(id).owner;
    }

    /// @inheritdoc ISequencerRegistry
    function payeeOf(uint32 id) public view returns (address payee) {
        payee = _rights[id].withdrawal;
        if (payee == address(0)) payee = _entry(id).owner;
    }

    /// @inheritdoc ISequencerRegistry
    function rightsOf(uint32 id) external view returns (Rights memory) {
        return _rights[id];
    }

    /// @inheritdoc ISequencerRegistry
    function assetsOf(uint32 id) external view returns (uint256) {
        return _entry(id).pool.assetsWei;
    }

    /// @inheritdoc ISequencerRegistry
    function posterOf(address signer) external view returns (address) {
        return _entries[_idOf[signer]].poster;
    }

    /// @inheritdoc ISequencerRegistry
    function signerOfPoster(address poster) external view returns (address) {
        Entry storage entry = _entries[_idOf[poster]];
        return entry.poster == poster ? entry.standing.signer : address(0);
    }

    /* PARTS */

    function _requireSettlement() private view {
        require(msg.sender == address(SETTLEMENT), NotSettlement(address(SETTLEMENT), msg.sender));
    }

    function _requireSlasher() private view {
        require(msg.sender == SLASHER, NotSlasher(SLASHER, msg.sender));
    }

    /// @dev An owner that keeps something keeps the minimum, and its least part of what it leads.
    function _requireOwnStake(Entry storage entry, uint32 id) private view {
        uint256 ownWei = _ownWei(entry, id);
        require(ownWei >= MIN_STAKE_WEI, RestBelowMinimum(MIN_STAKE_WEI, ownWei));
        REWARD_POOL.requireLed(ownWei, entry.pool.stakeWei());
    }

    /// @dev Takes all weight away at once; a report holds the pool (R36).
    function _silence(Entry storage entry, uint32 id, Status status, uint64 heldUntil) private {
        entry.standing.silence(_stamp(), status, uint256(heldUntil).toUint56());
        emit StatusChanged(id, status);
    }

    /// @dev Puts `amountWei` of the caller into a pool that may take it.
    function _add(Entry storage entry, uint32 id, uint256 amountWei) private returns (uint256 shares) {
        _requireNotHeld(entry, id);
        require(entry.pool.assetsWei != 0, PoolDead(id));
        require(amountWei >= WEIGHT_UNIT_WEI, AmountBelowUnit(WEIGHT_UNIT_WEI, amountWei));

        return _put(id, _holderOf(entry, msg.sender), amountWei, REWARD_POOL.isUpToDate());
    }
}
