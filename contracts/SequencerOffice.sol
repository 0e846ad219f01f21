// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Holdings} from "./Holdings.sol";
import {ISequencerRegistry, Rights, Status} from "./interfaces/ISequencerRegistry.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title The registry's office
/// @notice What owners do now and then: joining, keys, coming back, being paid. It is code of {SequencerRegistry}, which
/// creates it and delegates these calls to it for good, and which has no room for it (EIP-170). It keeps nothing itself.
///
/// @dev Called at its own address it finds no sequencer, so that nothing can be done but {join}, which asks.
contract SequencerOffice is Holdings, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @notice Called at its own address instead of the registry's.
    error NotAtRegistry(address registry, address actual);

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant POSSESSION_TYPEHASH = keccak256("Possession(address owner,address signer)");
    bytes32 private constant POSTER_TYPEHASH = keccak256("PosterPossession(uint32 sequencer,address poster)");
    uint256 private constant MIN_ENDPOINT_BYTES = 1;
    uint256 private constant MAX_ENDPOINT_BYTES = 256;

    address private immutable REGISTRY;

    constructor(Params memory params, Addresses memory addresses) Holdings(params, addresses) {
        REGISTRY = addresses.registry;
    }

    /* JOINING */

    /// @notice {ISequencerRegistry.join}.
    function join(address signer, string calldata endpoint, uint256 stakeWei, bytes calldata proof)
        external
        nonReentrant
        returns (uint32 id)
    {
        require(address(this) == REGISTRY, NotAtRegistry(REGISTRY, address(this)));
        id = _count + 1;
        Entry storage entry = _entries[id];

        require(stakeWei >= MIN_STAKE_WEI, ISequencerRegistry.StakeBelowMinimum(MIN_STAKE_WEI, stakeWei));

        _count = id;
        entry.owner = msg.sender;
        entry.aliveAt = uint40(block.timestamp);
        entry.standing.status = Status.Active;
        _takeKey(id, msg.sender, signer, proof);
        entry.standing.change(_stamp(), signer, 0);
        _requireRoomFor(entry, stakeWei);
        // It owes nothing to what its pool earned before: there was none.
        uint256 shares = _put(id, OWNER, stakeWei, true);

        emit ISequencerRegistry.Joined(id, msg.sender, signer, stakeWei, shares);
        emit ISequencerRegistry.StatusChanged(id, Status.Active);
        _setEndpoint(id, endpoint);

        _pull(stakeWei);
    }

    /// @notice {ISequencerRegistry.unjail}.
    function unjail(uint32 id) external {
        Entry storage entry = _operatedEntry(id);
        Status status = entry.standing.status;

        bool jailed = status == Status.Jailed;
        require(
            jailed || (status == Status.Active && !entry.pool.returning),
            ISequencerRegistry.StatusNotAllowed(id, status)
        );
        require(!entry.pool.closing, ISequencerRegistry.PoolClosing(id));
        if (jailed) {
            _requireNotHeld(entry, id);
            uint64 until = entry.pool.jailedUntil;
            require(block.timestamp >= until, ISequencerRegistry.JailNotServed(until, uint64(block.timestamp)));
            // Kept as the end of the jail: what was missed before it counts no more (R35).
            entry.pool.jailedUntil = block.timestamp.toUint40();
            entry.standing.revive();
            entry.aliveAt = uint40(block.timestamp);
            emit ISequencerRegistry.StatusChanged(id, Status.Active);
        }
        uint256 ownWei = _ownWei(entry, id);
        require(ownWei >= MIN_STAKE_WEI, ISequencerRegistry.StakeBelowMinimum(MIN_STAKE_WEI, ownWei));
        _comeBack(entry, id);
    }

    /// @notice {ISequencerRegistry.rotateSigner}.
    function rotateSigner(uint32 id, address signer, bytes calldata proof) external {
        Entry storage entry = _ownEntry(id);
        Status status = entry.standing.status;
        address oldSigner = entry.standing.signer;

        require(status == Status.Active || status == Status.Jailed, ISequencerRegistry.StatusNotAllowed(id, status));

        _takeKey(id, msg.sender, signer, proof);
        entry.standing.change(_stamp(), signer, entry.standing.weight());

        emit ISequencerRegistry.SignerRotated(id, oldSigner, signer);
    }

    /// @notice {ISequencerRegistry.setPoster}.
    function setPoster(uint32 id, address poster, bytes calldata proof) external {
        Entry storage entry = _operatedEntry(id);

        if (poster != address(0)) {
            uint32 taken = _idOf[poster];
            require(taken == 0 || taken == id, ISequencerRegistry.PosterTaken(poster, taken));
            _requireProof(keccak256(abi.encode(POSTER_TYPEHASH, id, poster)), poster, proof);
            _idOf[poster] = id;
        }
        entry.poster = poster;

        emit ISequencerRegistry.PosterChanged(id, poster);
    }

    /// @notice {ISequencerRegistry.setEndpoint}.
    function setEndpoint(uint32 id, string calldata endpoint) external {
        _operatedEntry(id);
        _setEndpoint(id, endpoint);
    }

    /* BEING PAID */

    /// @notice {ISequencerRegistry.claim}.
    function claim(uint256 exitId) external returns (uint256 amountWei) {
        return claimTo(exitId, msg.sender);
    }

    /// @notice {ISequencerRegistry.claimTo}.
    function claimTo(uint256 exitId, address to) public nonReentrant returns (uint256 amountWei) {
        ExitRecord storage exit_ = _exits[exitId];
        (uint32 id, address holder) = (exit_.sequencer, exit_.holder);
        Entry storage entry = _entries[id];

        require(id != 0, ISequencerRegistry.UnknownExit(exitId));
        require(msg.sender == holder, ISequencerRegistry.NotHolder(holder, msg.sender));
        require(to != address(0), ISequencerRegistry.RecipientIsZero());
        require(!exit_.claimed, ISequencerRegistry.ExitAlreadyClaimed(exitId));
        require(exit_.epoch != 0, ISequencerRegistry.ExitQueued(exitId, exit_.queuedShares));
        (bool known, uint64 time) = _claimableAt(exitId);
        require(known, ISequencerRegistry.ExitClockNotStarted(exit_.epoch + 1));
        require(block.timestamp >= time, ISequencerRegistry.ExitNotDue(time, uint64(block.timestamp)));
        _requireNotHeld(entry, id);

        exit_.claimed = true;
        amountWei = entry.pool.redeem(exit_.restingShares);
        exit_.restingShares = 0;
        _totalWei -= amountWei;

        emit ISequencerRegistry.ExitClaimed(exitId, id, holder, to, amountWei);

        if (amountWei != 0) STAKE_TOKEN.safeTransfer(to, amountWei);
    }

    /* RIGHTS */

    /// @notice {ISequencerRegistry.proposeOwner}.
    function proposeOwner(uint32 id, address next) external {
        _ownEntry(id);
        _rights[id].nextOwner = next;

        emit ISequencerRegistry.OwnerProposed(id, next);
    }

    /// @notice {ISequencerRegistry.acceptOwner}.
    function acceptOwner(uint32 id, address withdrawal) external {
        Entry storage entry = _entry(id);
        Rights storage rights = _rights[id];
        (address before, address next, address actual) = (entry.owner, rights.nextOwner, rights.withdrawal);
        Holding memory brought = _holdings[id][next];

        require(msg.sender == next, ISequencerRegistry.NotOwner(next, msg.sender));
        // Nor has it ever been one: a key that was changed just now still stands in sets.
        require(_idOf[next] == 0, ISequencerRegistry.SignerNotAllowed(next));
        require(withdrawal == actual, ISequencerRegistry.WithdrawalDiffers(actual, withdrawal));
        // Its places in the queue are in its own name, and would be passed over.
        require(brought.waiting == 0, ISequencerRegistry.StakeWaits(brought.waiting));

        rights.nextOwner = address(0);
        entry.owner = next;
        if (brought.shares != 0) {
            delete _holdings[id][next];
            _holdings[id][OWNER].shares += brought.shares;
        }

        emit ISequencerRegistry.OwnerChanged(id, before, next);
    }

    /// @notice {ISequencerRegistry.setOperator}.
    function setOperator(uint32 id, address operator) external {
        _ownEntry(id);
        _rights[id].operator = operator;

        emit ISequencerRegistry.OperatorChanged(id, operator);
    }

    /// @notice {ISequencerRegistry.setWithdrawal}.
    function setWithdrawal(uint32 id, address to) external {
        Entry storage entry = _entry(id);
        Rights storage rights = _rights[id];
        address known = rights.withdrawal;
        address may = known == address(0) ? entry.owner : known;
        require(msg.sender == may, ISequencerRegistry.NotOwner(may, msg.sender));
        rights.withdrawal = to;

        emit ISequencerRegistry.WithdrawalChanged(id, to);
    }

    /* PARTS */

    function _operatedEntry(uint32 id) private view returns (Entry storage entry) {
        entry = _entry(id);
        require(
            msg.sender == entry.owner || msg.sender == _rights[id].operator,
            ISequencerRegistry.NotOwner(entry.owner, msg.sender)
        );
    }

    function _takeKey(uint32 id, address owner, address signer, bytes calldata proof) private {
        require(signer != address(0) && signer != owner, ISequencerRegistry.SignerNotAllowed(signer));
        require(_idOf[signer] == 0, ISequencerRegistry.SignerTaken(signer, _idOf[signer]));
        _requireProof(keccak256(abi.encode(POSSESSION_TYPEHASH, owner, signer)), signer, proof);

        _idOf[signer] = id;
    }

    function _requireProof(bytes32 message, address key, bytes calldata proof) private view {
        // Worked out anew each time: a fork of L1 that takes another chain id takes no proofs of this one.
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("Rota"), keccak256("1"), block.chainid, address(this)));
        (address recovered,,) = ECDSA.tryRecover(MessageHashUtils.toTypedDataHash(domain, message), proof);
        require(recovered == key, ISequencerRegistry.ProofNotBySigner(key, recovered));
    }

    /// @dev Agents read it from the event; L1 has no use for it, and a slot costs more than a hundred bytes of an event.
    function _setEndpoint(uint32 id, string calldata endpoint) private {
        uint256 length = bytes(endpoint).length;
        require(
            length >= MIN_ENDPOINT_BYTES && length <= MAX_ENDPOINT_BYTES,
            ISequencerRegistry.EndpointLength(MIN_ENDPOINT_BYTES, MAX_ENDPOINT_BYTES, length)
        );

        emit ISequencerRegistry.EndpointChanged(id, endpoint);
    }
}
