// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Churn} from "./Churn.sol";
import {Deployment} from "./Deployment.sol";
import {IRestart} from "./interfaces/IRestart.sol";
import {Exit, ISequencerRegistry, Sequencer, Status} from "./interfaces/ISequencerRegistry.sol";
import {Standing} from "./lib/StandingLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Who
/// @notice See {ISequencerRegistry}.
///
/// Invariants: the stake token's balance here is at least the sum of all pools' assets, which is `_totalWei`, and of what
/// was slashed and not paid out. It holds because a deposit adds to a pool exactly what the token delivered, a claim sends
/// exactly what it took out of a pool, and a slash moves from a pool to what the slasher pays out. The weight of a
/// sequencer times the weight unit is never above what works in its pool.
contract SequencerRegistry is Churn, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant POSSESSION_TYPEHASH = keccak256("Possession(address owner,address signer)");
    bytes32 private constant POSTER_TYPEHASH = keccak256("PosterPossession(uint32 sequencer,address poster)");
    uint256 private constant MIN_ENDPOINT_BYTES = 1;
    uint256 private constant MAX_ENDPOINT_BYTES = 256;
    /// The total weight fits the seven bytes that a set has for it (R4).
    uint256 private constant WEIGHT_LIMIT = 1 << 56;

    IERC20 private immutable STAKE_TOKEN;
    address private immutable SLASHER;
    uint256 private immutable MIN_STAKE_WEI;

    uint256 private _totalWei;
    /// What slashes took and the slasher has not paid out.
    uint256 private _slashedWei;

    /// Of every signer and every poster that there ever was: no address is two sequencers'.
    mapping(address key => uint32 id) private _idOf;

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
        Churn(params, addresses)
    {
        STAKE_TOKEN = IERC20(addresses.stakeToken);
        SLASHER = addresses.slasher;
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
        entry.aliveAt = uint40(block.timestamp);
        entry.standing.status = Status.Active;
        _takeKey(id, msg.sender, signer, proof);
        entry.standing.change(_stamp(), signer, 0);
        _requireRoomFor(entry, stakeWei);
        // It owes nothing to what its pool earned before: there was none.
        uint256 shares = _put(id, stakeWei, true);

        emit Joined(id, msg.sender, signer, stakeWei, shares);
        emit StatusChanged(id, Status.Active);
        _setEndpoint(id, endpoint);

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
        REWARD_POOL.requireDelegable(id, _ownWei(entry, id), entry.pool.stakeWei());

        emit Delegated(id, msg.sender, amountWei, shares);

        _pull(amountWei);
    }

    /// @inheritdoc ISequencerRegistry
    function unjail(uint32 id) external {
        Entry storage entry = _ownEntry(id);
        Status status = entry.standing.status;

        bool jailed = status == Status.Jailed;
        require(jailed || (status == Status.Active && !entry.pool.returning), StatusNotAllowed(id, status));
        require(!entry.pool.closing, PoolClosing(id));
        if (jailed) {
            _requireNotHeld(entry, id);
            uint64 until = entry.pool.jailedUntil;
            require(block.timestamp >= until, JailNotServed(until, uint64(block.timestamp)));
            // Kept as the end of the jail: what was missed before it counts no more (R35).
            entry.pool.jailedUntil = block.timestamp.toUint40();
            entry.standing.revive();
            entry.aliveAt = uint40(block.timestamp);
            emit StatusChanged(id, Status.Active);
        }
        uint256 ownWei = _ownWei(entry, id);
        require(ownWei >= MIN_STAKE_WEI, StakeBelowMinimum(MIN_STAKE_WEI, ownWei));
        _comeBack(entry, id);
    }

    /// @inheritdoc ISequencerRegistry
    function rotateSigner(uint32 id, address signer, bytes calldata proof) external {
        Entry storage entry = _ownEntry(id);
        Status status = entry.standing.status;
        address oldSigner = entry.standing.signer;

        require(status == Status.Active || status == Status.Jailed, StatusNotAllowed(id, status));

        _takeKey(id, msg.sender, signer, proof);
        entry.standing.change(_stamp(), signer, entry.standing.weight());

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
        _ownEntry(id);
        _setEndpoint(id, endpoint);
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
        Holding memory holding = _holdings[id][msg.sender];

        require(shares != 0 || waiting != 0, AmountIsZero());
        require(shares <= holding.shares, SharesAboveHolding(holding.shares, shares));
        require(waiting <= holding.waiting, SharesAboveHolding(holding.waiting, waiting));

        // Casting is safe: both are no more than what is held.
        holding.shares -= uint128(shares);
        holding.waiting -= uint128(waiting);
        _holdings[id][msg.sender] = holding;
        bool leads = msg.sender == entry.owner && !entry.pool.closing;
        bool keeps = holding.shares != 0 || holding.waiting != 0;
        if (leads && !keeps) _close(entry, id);
        exitId = _leave(id, msg.sender, shares, waiting);
        if (leads && keeps) _requireOwnStake(entry, id);

        emit ExitRequested(exitId, id, msg.sender, shares, waiting, _epoch());
    }

    /// @inheritdoc ISequencerRegistry
    function claim(uint256 exitId) external nonReentrant returns (uint256 amountWei) {
        ExitRecord storage exit_ = _exits[exitId];
        (uint32 id, address holder) = (exit_.sequencer, exit_.holder);
        Entry storage entry = _entries[id];

        require(id != 0, UnknownExit(exitId));
        require(msg.sender == holder, NotHolder(holder, msg.sender));
        require(!exit_.claimed, ExitAlreadyClaimed(exitId));
        require(exit_.epoch != 0, ExitQueued(exitId, exit_.queuedShares));
        (bool known, uint64 time) = claimableAt(exitId);
        require(known, ExitClockNotStarted(exit_.epoch + 1));
        require(block.timestamp >= time, ExitNotDue(time, uint64(block.timestamp)));
        _requireNotHeld(entry, id);

        exit_.claimed = true;
        amountWei = entry.pool.redeem(exit_.restingShares);
        exit_.restingShares = 0;
        _totalWei -= amountWei;

        emit ExitClaimed(exitId, id, holder, amountWei);

        if (amountWei != 0) STAKE_TOKEN.safeTransfer(holder, amountWei);
    }

    /* FOR THE SETTLEMENT CONTRACT */

    /// @inheritdoc ISequencerRegistry
    function startGeneration(uint64 openedAt) external onlySettlement {
        // Casting is safe: a time of L1, as those that it is compared with.
        _aliveSince = uint40(openedAt);
    }

    /// @inheritdoc ISequencerRegistry
    function checkIn(uint32 id, address caller, uint64 openedAt) external onlySettlement returns (uint64 weight) {
        Entry storage entry = _entryOf(id, caller);
        require(entry.standing.weight() != 0, IRestart.NotEligible(id));
        require(entry.checkedInAt < openedAt, IRestart.AlreadyCheckedIn(id));

        if (_missedRestart(entry)) _reseat(entry, id);
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

    /// @dev For its owner or its signer, while it may be in sets.
    function _entryOf(uint32 id, address caller) private view returns (Entry storage entry) {
        entry = _entry(id);
        require(caller == entry.owner || caller == entry.standing.signer, IRestart.NotOwnerOrSigner(id, caller));
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
    function claimableAt(uint256 exitId) public view returns (bool known, uint64 time) {
        ExitRecord storage exit_ = _exits[exitId];
        require(exit_.sequencer != 0, UnknownExit(exitId));

        // In the queue it has no epoch yet.
        if (exit_.epoch == 0) return (false, 0);
        (known, time) = SETTLEMENT.countsFrom(exit_.epoch - 1);
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
        return _holdings[id][holder].shares;
    }

    /// @inheritdoc ISequencerRegistry
    function waitingSharesOf(uint32 id, address holder) external view returns (uint256) {
        return _holdings[id][holder].waiting;
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

    function _requireSettlement() private view {
        require(msg.sender == address(SETTLEMENT), NotSettlement(address(SETTLEMENT), msg.sender));
    }

    function _requireSlasher() private view {
        require(msg.sender == SLASHER, NotSlasher(SLASHER, msg.sender));
    }

    function _ownEntry(uint32 id) private view returns (Entry storage entry) {
        entry = _entry(id);
        require(msg.sender == entry.owner, NotOwner(entry.owner, msg.sender));
    }

    function _requireNotHeld(Entry storage entry, uint32 id) private view {
        uint64 heldUntil = entry.standing.heldUntil();
        require(block.timestamp >= heldUntil, PoolHeld(id, heldUntil));
    }

    /// @dev What the owner's own stake that stays is worth.
    function _ownWei(Entry storage entry, uint32 id) private view returns (uint256) {
        Holding storage own = _holdings[id][entry.owner];
        return entry.pool.worth(own.shares) + entry.pool.restingWorth(own.waiting);
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

    function _takeKey(uint32 id, address owner, address signer, bytes calldata proof) private {
        require(signer != address(0) && signer != owner, SignerNotAllowed(signer));
        require(_idOf[signer] == 0, SignerTaken(signer, _idOf[signer]));
        _requireProof(keccak256(abi.encode(POSSESSION_TYPEHASH, owner, signer)), signer, proof);

        _idOf[signer] = id;
    }

    function _requireProof(bytes32 message, address key, bytes calldata proof) private view {
        // Worked out anew each time: a fork of L1 that takes another chain id takes no proofs of this one.
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("Rota"), keccak256("1"), block.chainid, address(this)));
        (address recovered,,) = ECDSA.tryRecover(MessageHashUtils.toTypedDataHash(domain, message), proof);
        require(recovered == key, ProofNotBySigner(key, recovered));
    }

    /// @dev Puts `amountWei` of the caller into a pool that may take it.
    function _add(Entry storage entry, uint32 id, uint256 amountWei) private returns (uint256 shares) {
        _requireNotHeld(entry, id);
        require(entry.pool.assetsWei != 0, PoolDead(id));
        require(amountWei >= WEIGHT_UNIT_WEI, AmountBelowUnit(WEIGHT_UNIT_WEI, amountWei));

        return _put(id, amountWei, REWARD_POOL.isUpToDate());
    }

    function _put(uint32 id, uint256 amountWei, bool priced) private returns (uint256 shares) {
        uint256 total = Math.saturatingAdd(_totalWei, amountWei);
        uint256 maximum = WEIGHT_LIMIT * WEIGHT_UNIT_WEI - 1;
        require(total <= maximum, TotalStakeAboveMaximum(maximum, total));

        _totalWei = total;
        return _enter({id: id, holder: msg.sender, amountWei: amountWei, priced: priced});
    }

    /// @dev Takes the tokens last: all that they could see by calling back is settled.
    function _pull(uint256 amountWei) private {
        uint256 before = STAKE_TOKEN.balanceOf(address(this));
        STAKE_TOKEN.safeTransferFrom(msg.sender, address(this), amountWei);
        uint256 delivered = STAKE_TOKEN.balanceOf(address(this)) - before;
        require(delivered == amountWei, TokenDelivered(amountWei, delivered));
    }

    /// @dev Agents read it from the event; L1 has no use for it, and a slot costs more than a hundred bytes of an event.
    function _setEndpoint(uint32 id, string calldata endpoint) private {
        uint256 length = bytes(endpoint).length;
        require(
            length >= MIN_ENDPOINT_BYTES && length <= MAX_ENDPOINT_BYTES,
            EndpointLength(MIN_ENDPOINT_BYTES, MAX_ENDPOINT_BYTES, length)
        );

        emit EndpointChanged(id, endpoint);
    }
}
