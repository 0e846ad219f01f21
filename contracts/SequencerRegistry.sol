// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Churn} from "./Churn.sol";
import {Deployment} from "./Deployment.sol";
import {IRestart} from "./interfaces/IRestart.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {Exit, ISequencerRegistry, Sequencer, Status} from "./interfaces/ISequencerRegistry.sol";
import {Standing} from "./lib/StandingLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Who
/// @notice See {ISequencerRegistry}.
///
/// Invariants: the stake token's balance here is at least the sum of all pools' assets, which is `_totalWei`. It holds
/// because a deposit adds to a pool exactly what the token delivered, and a claim or a slash sends exactly what it took
/// out of a pool. The weight of a sequencer times the weight unit is never above what stays in its pool.
contract SequencerRegistry is Churn, EIP712, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    bytes32 private constant POSSESSION_TYPEHASH = keccak256("Possession(address owner,address signer)");
    bytes32 private constant POSTER_TYPEHASH = keccak256("PosterPossession(uint32 sequencer,address poster)");
    uint256 private constant MIN_ENDPOINT_BYTES = 1;
    uint256 private constant MAX_ENDPOINT_BYTES = 256;
    /// The total weight fits the seven bytes that a set has for it (R4).
    uint256 private constant WEIGHT_LIMIT = 1 << 56;

    IERC20 private immutable STAKE_TOKEN;
    address private immutable SLASHER;
    IRewardPool private immutable REWARD_POOL;
    uint64 private immutable EXIT_DELAY_SECONDS;
    uint256 private immutable MIN_STAKE_WEI;

    uint32 private _count;
    uint256 private _totalWei;

    /// Of every signer and every poster that there ever was: no address is two sequencers'.
    mapping(address key => uint32 id) private _idOf;
    mapping(uint32 id => mapping(address holder => uint256 shares)) private _holdings;

    modifier onlySettlement() {
        require(msg.sender == address(SETTLEMENT), NotSettlement(address(SETTLEMENT), msg.sender));
        _;
    }

    modifier onlySlasher() {
        require(msg.sender == SLASHER, NotSlasher(SLASHER, msg.sender));
        _;
    }

    constructor(Params memory params, Addresses memory addresses)
        Deployment(params, addresses, addresses.registry)
        Churn(params, addresses)
        EIP712("Rota", "1")
    {
        STAKE_TOKEN = IERC20(addresses.stakeToken);
        SLASHER = addresses.slasher;
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        EXIT_DELAY_SECONDS = params.exitDelaySeconds;
        MIN_STAKE_WEI = params.minStakeWei;
    }

    /* JOINING */

    /// @inheritdoc ISequencerRegistry
    function join(address signer, string calldata endpoint, uint256 stakeWei, bytes calldata proof)
        external
        nonReentrant
        returns (uint32 id)
    {
        id = _count + 1;
        Entry storage entry = _entries[id];

        require(stakeWei >= MIN_STAKE_WEI, StakeBelowMinimum(MIN_STAKE_WEI, stakeWei));

        _count = id;
        entry.owner = msg.sender;
        (entry.joinedAt, entry.aliveAt) = (uint40(block.timestamp), uint40(block.timestamp));
        entry.standing.status = Status.Active;
        _takeKey(id, msg.sender, signer, proof);
        _refresh(entry, signer);
        uint256 shares = _credit(entry, id, stakeWei);
        _requireRoomFor(entry);

        emit Joined(id, msg.sender, signer, stakeWei, shares);
        emit StatusChanged(id, Status.Active);
        _setEndpoint(entry, id, endpoint);
        _enter({entry: entry, id: id, shares: shares, fresh: shares});

        _pull(stakeWei);
    }

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

        emit Delegated(id, msg.sender, amountWei, shares);

        _pull(amountWei);
    }

    /// @inheritdoc ISequencerRegistry
    function unjail(uint32 id) external {
        Entry storage entry = _ownEntry(id);
        Status status = entry.standing.status;

        require(status == Status.Jailed, StatusNotAllowed(id, status));
        require(!entry.pool.closing, PoolClosing(id));
        _requireNotHeld(entry, id);
        uint64 until = entry.pool.jailedUntil;
        require(block.timestamp >= until, JailNotServed(until, uint64(block.timestamp)));
        uint256 ownWei = _ownWei(entry, id);
        require(ownWei >= MIN_STAKE_WEI, StakeBelowMinimum(MIN_STAKE_WEI, ownWei));
        _requireRoomFor(entry);

        // Kept as the end of the jail: what was missed before it counts no more (R35).
        entry.pool.jailedUntil = block.timestamp.toUint40();
        entry.standing.revive();
        entry.aliveAt = uint40(block.timestamp);
        uint256 staying = entry.pool.stayingShares();
        entry.pool.idleShares = staying.toUint128();

        emit StatusChanged(id, Status.Active);
        _enter({entry: entry, id: id, shares: staying, fresh: 0});
    }

    /// @inheritdoc ISequencerRegistry
    function rotateSigner(uint32 id, address signer, bytes calldata proof) external {
        Entry storage entry = _ownEntry(id);
        Status status = entry.standing.status;
        address oldSigner = entry.standing.signer;

        require(status == Status.Active || status == Status.Jailed, StatusNotAllowed(id, status));

        _takeKey(id, msg.sender, signer, proof);
        _refresh(entry, signer);

        emit SignerRotated(id, oldSigner, signer);
    }

    /// @inheritdoc ISequencerRegistry
    function setPoster(uint32 id, address poster, bytes calldata proof) external {
        Entry storage entry = _ownEntry(id);

        if (poster != address(0)) {
            uint32 taken = _idOf[poster];
            require(taken == 0 || taken == id, PosterTaken(poster, taken));
            _requireProof(keccak256(abi.encode(POSTER_TYPEHASH, id, poster)), poster, proof);
            _idOf[poster] = id;
        }
        entry.poster = poster;

        emit PosterChanged(id, poster);
    }

    /// @inheritdoc ISequencerRegistry
    function setEndpoint(uint32 id, string calldata endpoint) external {
        _setEndpoint(_ownEntry(id), id, endpoint);
    }

    /* LEAVING */

    /// @inheritdoc ISequencerRegistry
    function requestExit(uint32 id, uint256 shares) external returns (uint256 exitId) {
        Entry storage entry = _entry(id);
        uint256 holding = _holdings[id][msg.sender];

        require(shares != 0, AmountIsZero());
        require(shares <= holding, SharesAboveHolding(holding, shares));

        _holdings[id][msg.sender] = holding - shares;
        if (msg.sender == entry.owner && !entry.pool.closing) _keepMinimum(entry, id, holding - shares);
        exitId = _leave(id, msg.sender, shares);

        emit ExitRequested(exitId, id, msg.sender, shares, _epoch());
    }

    /// @inheritdoc ISequencerRegistry
    function claim(uint256 exitId) external nonReentrant returns (uint256 amountWei) {
        ExitRecord storage exit_ = _exits[exitId];
        (uint32 id, address holder, uint256 shares) = (exit_.sequencer, exit_.holder, exit_.shares);
        Entry storage entry = _entries[id];

        require(id != 0, UnknownExit(exitId));
        require(msg.sender == holder, NotHolder(holder, msg.sender));
        require(shares != 0, ExitAlreadyClaimed(exitId));
        require(exit_.queuedShares == 0, ExitQueued(exitId, exit_.queuedShares));
        (bool known, uint64 time) = claimableAt(exitId);
        require(known, ExitClockNotStarted(exit_.epoch + 2));
        require(block.timestamp >= time, ExitNotDue(time, uint64(block.timestamp)));
        _requireNotHeld(entry, id);
        if (block.timestamp < time + EXIT_DELAY_SECONDS) _requireCredited();

        exit_.shares = 0;
        amountWei = entry.pool.redeem(shares);
        _totalWei -= amountWei;

        emit ExitClaimed(exitId, id, holder, amountWei);

        if (amountWei != 0) STAKE_TOKEN.safeTransfer(holder, amountWei);
    }

    /* FOR THE SETTLEMENT CONTRACT */

    /// @inheritdoc ISequencerRegistry
    function checkIn(uint32 id, address caller, uint64 openedAt) external onlySettlement returns (uint64 weight) {
        Entry storage entry = _entryOf(id, caller);
        require(entry.checkedInAt < openedAt, IRestart.AlreadyCheckedIn(id));

        (entry.aliveAt, entry.checkedInAt) = (uint40(block.timestamp), uint40(block.timestamp));
        return entry.standing.weight();
    }

    /// @inheritdoc ISequencerRegistry
    function comeBack(uint32 id, address caller, uint64 aliveSince) external onlySettlement {
        Entry storage entry = _entryOf(id, caller);
        Standing storage standing = entry.standing;
        require(entry.aliveAt < aliveSince, IRestart.AlreadyCheckedIn(id));

        entry.aliveAt = uint40(block.timestamp);
        standing.change(_stamp(), standing.signer, standing.weight());
        standing.weightBefore = 0;
    }

    /// @dev For its owner or its signer, while it may be in sets.
    function _entryOf(uint32 id, address caller) private view returns (Entry storage entry) {
        entry = _entry(id);
        require(caller == entry.owner || caller == entry.standing.signer, IRestart.NotOwnerOrSigner(id, caller));
        require(entry.standing.weight() != 0 && !entry.pool.closing, IRestart.NotEligible(id));
    }

    /* FOR THE REWARD POOL */

    /// @inheritdoc ISequencerRegistry
    function creditReward(uint32 id, uint256 amountWei) external nonReentrant returns (bool taken) {
        require(msg.sender == address(REWARD_POOL), NotRewardPool(address(REWARD_POOL), msg.sender));
        Entry storage entry = _entries[id];
        Status status = entry.standing.status;
        uint256 total = _totalWei + amountWei;

        if (status != Status.Active && status != Status.Leaving) return false;
        if (entry.pool.assetsWei == 0 || entry.pool.shares == 0) return false;
        if (total > WEIGHT_LIMIT * WEIGHT_UNIT_WEI - 1) return false;

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
            // Both values sink at once: this is no change that could wait for two epochs (R3).
            standing.sink(_weight(entry));
            // Casting is safe: the product is divided by more than it was multiplied with.
            standing.weightBefore = uint56(Math.mulDiv(standing.weightBefore, assetsBefore - slashedWei, assetsBefore));
        }
        bool sunk = standing.weight() == 0 && weightBefore != 0;
        if (tombstone && standing.status != Status.Tombstoned) {
            _silence(entry, id, Status.Tombstoned, standing.heldUntil());
        }
        if (standing.status == Status.Active && (sunk || _ownWei(entry, id) < MIN_STAKE_WEI)) {
            _silence(entry, id, Status.Jailed, 0);
        }

        emit Slashed(id, amountWei, slashedWei);

        if (slashedWei != 0) STAKE_TOKEN.safeTransfer(SLASHER, slashedWei);
    }

    /* READING */

    /// @inheritdoc ISequencerRegistry
    function claimableAt(uint256 exitId) public view returns (bool known, uint64 time) {
        ExitRecord storage exit_ = _exits[exitId];
        require(exit_.sequencer != 0, UnknownExit(exitId));

        // In the queue it has no epoch yet.
        if (exit_.queuedShares != 0) return (false, 0);
        (known, time) = SETTLEMENT.countsFrom(exit_.epoch);
        if (known) time += EXIT_DELAY_SECONDS;
    }

    /// @inheritdoc ISequencerRegistry
    function sequencer(uint32 id) external view returns (Sequencer memory) {
        Entry storage entry = _entry(id);
        return Sequencer({
            owner: entry.owner,
            signer: entry.standing.signer,
            poster: entry.poster,
            status: entry.standing.status,
            joinedAt: entry.joinedAt,
            assetsWei: entry.pool.assetsWei,
            shares: entry.pool.shares,
            leavingShares: entry.pool.leavingShares,
            idleShares: entry.pool.idleShares,
            jailedUntil: uint64(Math.max(entry.standing.heldUntil(), entry.pool.jailedUntil)),
            endpoint: entry.endpoint
        });
    }

    /// @inheritdoc ISequencerRegistry
    function exit(uint256 exitId) external view returns (Exit memory) {
        ExitRecord storage exit_ = _exits[exitId];
        require(exit_.sequencer != 0, UnknownExit(exitId));
        return Exit({
            sequencer: exit_.sequencer,
            holder: exit_.holder,
            shares: exit_.shares,
            queuedShares: exit_.queuedShares,
            epoch: exit_.epoch
        });
    }

    /// @inheritdoc ISequencerRegistry
    function sharesOf(uint32 id, address holder) external view returns (uint256) {
        return _holdings[id][holder];
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
    function assetsOf(uint32 id) external view returns (uint256) {
        return _entry(id).pool.assetsWei;
    }

    /// @inheritdoc ISequencerRegistry
    function posterOf(address signer) external view returns (address) {
        return _entries[_idOf[signer]].poster;
    }

    /* PARTS */

    function _entry(uint32 id) private view returns (Entry storage entry) {
        entry = _entries[id];
        require(entry.owner != address(0), UnknownSequencer(id));
    }

    function _ownEntry(uint32 id) private view returns (Entry storage entry) {
        entry = _entry(id);
        require(msg.sender == entry.owner, NotOwner(entry.owner, msg.sender));
    }

    function _requireNotHeld(Entry storage entry, uint32 id) private view {
        uint64 heldUntil = entry.standing.heldUntil();
        require(block.timestamp >= heldUntil, PoolHeld(id, heldUntil));
    }

    /// @dev A share is priced only with what its pool has earned (R42): else a deposit just before a payout would share in
    /// what it did not carry, and a claim would leave its part behind.
    function _requireCredited() private view {
        (, bool due, uint32 generation, uint64 epoch) = REWARD_POOL.nextCredit();
        require(!due, RewardsNotCredited(generation, epoch));
    }

    /// @dev What the owner's own shares that stay are worth.
    function _ownWei(Entry storage entry, uint32 id) private view returns (uint256) {
        return entry.pool.worth(_holdings[id][entry.owner]);
    }

    /// @dev An owner that keeps `rest` shares keeps the minimum, or nothing: then the sequencer leaves with it.
    function _keepMinimum(Entry storage entry, uint32 id, uint256 rest) private {
        if (rest != 0) {
            uint256 restWei = entry.pool.worth(rest);
            require(restWei >= MIN_STAKE_WEI, RestBelowMinimum(MIN_STAKE_WEI, restWei));
            return;
        }

        _close(entry, id);
    }

    /// @dev Takes all weight away at once; a report holds the pool (R36).
    function _silence(Entry storage entry, uint32 id, Status status, uint64 heldUntil) private {
        entry.standing.silence(_stamp(), status, uint256(heldUntil).toUint56());
        emit StatusChanged(id, status);
    }

    function _takeKey(uint32 id, address owner, address signer, bytes calldata proof) private {
        require(signer != address(0) && signer != owner, SignerNotAllowed(signer));
        require(_idOf[signer] == 0, SignerTaken(signer, _idOf[signer]));
        _requireProof(keccak256(abi.encode(POSSESSION_TYPEHASH, owner, signer)), signer, proof);

        _idOf[signer] = id;
    }

    function _requireProof(bytes32 message, address key, bytes calldata proof) private view {
        (address recovered,,) = ECDSA.tryRecover(_hashTypedDataV4(message), proof);
        require(recovered == key, ProofNotBySigner(key, recovered));
    }

    /// @dev Puts `amountWei` of the caller into a pool that may take it.
    function _add(Entry storage entry, uint32 id, uint256 amountWei) private returns (uint256 shares) {
        _requireNotHeld(entry, id);
        require(entry.pool.assetsWei != 0, PoolDead(id));
        _requireCredited();
        require(amountWei >= WEIGHT_UNIT_WEI, AmountBelowUnit(WEIGHT_UNIT_WEI, amountWei));

        shares = _credit(entry, id, amountWei);
        // Who is jailed enters with everything when it comes back.
        if (entry.standing.status == Status.Active) _enter({entry: entry, id: id, shares: shares, fresh: shares});
        else entry.pool.idleShares += shares.toUint128();
    }

    function _credit(Entry storage entry, uint32 id, uint256 amountWei) private returns (uint256 shares) {
        uint256 total = Math.saturatingAdd(_totalWei, amountWei);
        uint256 maximum = WEIGHT_LIMIT * WEIGHT_UNIT_WEI - 1;
        require(total <= maximum, TotalStakeAboveMaximum(maximum, total));

        _totalWei = total;
        shares = entry.pool.deposit(amountWei);
        _holdings[id][msg.sender] += shares;
    }

    /// @dev Takes the tokens last: all that they could see by calling back is settled.
    function _pull(uint256 amountWei) private {
        uint256 before = STAKE_TOKEN.balanceOf(address(this));
        STAKE_TOKEN.safeTransferFrom(msg.sender, address(this), amountWei);
        uint256 delivered = STAKE_TOKEN.balanceOf(address(this)) - before;
        require(delivered == amountWei, TokenDelivered(amountWei, delivered));
    }

    function _setEndpoint(Entry storage entry, uint32 id, string calldata endpoint) private {
        uint256 length = bytes(endpoint).length;
        require(
            length >= MIN_ENDPOINT_BYTES && length <= MAX_ENDPOINT_BYTES,
            EndpointLength(MIN_ENDPOINT_BYTES, MAX_ENDPOINT_BYTES, length)
        );
        entry.endpoint = endpoint;

        emit EndpointChanged(id, endpoint);
    }
}
