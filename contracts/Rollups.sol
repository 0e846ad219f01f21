// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";

import {Deployment} from "./Deployment.sol";
import {SigningDomain} from "./SigningDomain.sol";
import {IBatchInbox} from "./interfaces/IBatchInbox.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {Debit, IRollups, Rollup} from "./interfaces/IRollups.sol";
import {Settled} from "./interfaces/ITally.sol";
import {FeeLib} from "./lib/FeeLib.sol";
import {SettledLib} from "./lib/SettledLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Rollups
/// @notice See {IRollups}.
///
/// Invariant: the ETH held here is at least the sum of all balances. It holds because registering and funding add to a
/// balance at most what was sent, and a debit passes on exactly what it took from balances.
contract Rollups is IRollups, Deployment, SigningDomain {
    /// Nobody has the key of this address; what is sent there is gone.
    address payable private constant BURN = payable(0x000000000000000000000000000000000000dEaD);
    /// Of a usage list: a chain id of 8 bytes and a count of 4.
    uint256 private constant ENTRY_BYTES = 12;
    uint64 private constant BATCHES_A_WORD = 256;

    IBatchInbox private immutable SETTLEMENT;
    IRewardPool private immutable REWARD_POOL;
    uint256 private immutable FEE_WEI;
    uint256 private immutable RESERVE_WEI;
    uint256 private immutable BYTE_WEI;

    mapping(uint64 chainId => Rollup) private _rollups;
    mapping(uint64 group => uint256 bitmap) private _debited;
    /// @inheritdoc IRollups
    mapping(uint64 chainId => address) public nextOwner;

    constructor(Params memory params, Addresses memory addresses)
        Deployment(params, addresses, addresses.rollups)
        SigningDomain(addresses.settlement)
    {
        SETTLEMENT = IBatchInbox(addresses.settlement);
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        FEE_WEI = params.rollupFeeWei;
        RESERVE_WEI = params.rollupReserveWei;
        BYTE_WEI = params.rollupByteWei;
    }

    /* FUNDING */

    /// @inheritdoc IRollups
    function register(uint64 chainId) external payable {
        address owner = _rollups[chainId].owner;

        require(chainId != 0, ChainIdIsZero());
        require(owner == address(0), AlreadyRegistered(chainId, owner));
        require(msg.value >= FEE_WEI, FeeTooSmall(FEE_WEI, msg.value));

        uint256 balanceWei = msg.value - FEE_WEI;
        _rollups[chainId] =
            Rollup({owner: msg.sender, registeredAtBlock: uint64(block.number), closed: false, balanceWei: balanceWei});

        emit RollupRegistered(chainId, msg.sender, balanceWei);

        Address.sendValue(BURN, FEE_WEI);
    }

    /// @inheritdoc IRollups
    function fund(uint64 chainId) external payable {
        Rollup storage funded = _rollups[chainId];

        require(funded.owner != address(0), NotRegistered(chainId));
        require(msg.value != 0, NothingSent());

        funded.balanceWei += msg.value;

        emit RollupFunded(chainId, msg.value, _allowance(funded.closed, funded.balanceWei));
    }

    /* OWNERS */

    /// @inheritdoc IRollups
    function proposeOwner(uint64 chainId, address next) external {
        _owned(chainId);
        nextOwner[chainId] = next;

        emit RollupOffered(chainId, next);
    }

    /// @inheritdoc IRollups
    function acceptOwner(uint64 chainId) external {
        (address before, address next) = (_rollups[chainId].owner, nextOwner[chainId]);

        require(before != address(0), NotRegistered(chainId));
        require(msg.sender == next, NotOwner(next, msg.sender));

        delete nextOwner[chainId];
        _rollups[chainId].owner = next;

        emit RollupOwnerChanged(chainId, before, next);
    }

    /// @inheritdoc IRollups
    function setClosed(uint64 chainId, bool closed) external {
        Rollup storage owned = _owned(chainId);
        require(owned.closed != closed, NothingChanges(chainId));
        owned.closed = closed;

        emit RollupClosed(chainId, closed, _allowance(closed, owned.balanceWei));
    }

    /// @dev What agents go by: they need not know why there is none.
    function _allowance(bool closed, uint256 balanceWei) private pure returns (uint256 allowanceWei) {
        return closed ? 0 : balanceWei;
    }

    function _owned(uint64 chainId) private view returns (Rollup storage owned) {
        owned = _rollups[chainId];
        require(owned.owner != address(0), NotRegistered(chainId));
        require(msg.sender == owned.owner, NotOwner(owned.owner, msg.sender));
    }

    /* DEBITING */

    /// @inheritdoc IRollups
    function debit(uint64 number, Settled calldata batch, bytes calldata usage) external {
        require(!_isDebited(number), AlreadyDebited(number));

        _passOn(_debit(number, batch, usage));
    }

    /// @inheritdoc IRollups
    function debitMany(Debit[] calldata debits) external {
        uint256 paidWei;
        bool any;
        for (uint256 i = 0; i < debits.length; ++i) {
            Debit calldata one = debits[i];
            if (_isDebited(one.number)) continue;
            paidWei += _debit(one.number, one.batch, one.usage);
            any = true;
        }
        require(any, NothingToDebit());

        _passOn(paidWei);
    }

    /// @dev Everything but the payment, which comes last and once.
    function _debit(uint64 number, Settled calldata batch, bytes calldata usage) private returns (uint256 paidWei) {
        bytes32 expected = SETTLEMENT.ringValue(number);
        bytes32 actual = SettledLib.ringValue(batch, domainSeparator());
        require(actual == expected, RingValueMismatch(number, expected, actual));
        require(usage.length % ENTRY_BYTES == 0, UsageLengthWrong(ENTRY_BYTES, usage.length));
        bytes32 usageHash = keccak256(usage);
        require(usageHash == batch.header.usageHash, UsageMismatch(batch.header.usageHash, usageHash));

        _debited[number / BATCHES_A_WORD] |= 1 << (number % BATCHES_A_WORD);
        // Zero is no chain id: nothing is registered under it, so nothing is lost by refusing it as an entry.
        uint64 before;
        for (uint256 i = 0; i < usage.length; i += ENTRY_BYTES) {
            uint96 entry = uint96(bytes12(usage[i:i + ENTRY_BYTES]));
            // Truncation is meant: the casts cut the two fields out of the entry.
            (uint64 chainId, uint32 size) = (uint64(entry >> 32), uint32(entry));
            require(chainId > before, UsageNotAscending(before, chainId));
            before = chainId;
            paidWei += _take(chainId, number, size);
        }

        emit BatchDebited(number, paidWei);
    }

    /// @dev The price of `size` bytes, or what there is. A rollup that is not registered has nothing.
    function _take(uint64 chainId, uint64 number, uint32 size) private returns (uint256 amountWei) {
        Rollup storage debited = _rollups[chainId];
        uint256 balanceWei = debited.balanceWei;
        amountWei = FeeLib.priceOf(BYTE_WEI, size, balanceWei);
        if (amountWei == 0) return 0;

        balanceWei -= amountWei;
        debited.balanceWei = balanceWei;

        emit RollupDebited(chainId, number, amountWei, _allowance(debited.closed, balanceWei));
    }

    function _passOn(uint256 paidWei) private {
        if (paidWei != 0) REWARD_POOL.fund{value: paidWei}(0);
    }

    function _isDebited(uint64 number) private view returns (bool) {
        return (_debited[number / BATCHES_A_WORD] >> (number % BATCHES_A_WORD)) & 1 != 0;
    }

    /* READING */

    /// @inheritdoc IRollups
    function debitedBatches(uint64 group) external view returns (uint256 bitmap) {
        return _debited[group];
    }

    /// @inheritdoc IRollups
    function isOpen(uint64 chainId) external view returns (bool) {
        Rollup storage asked = _rollups[chainId];
        return asked.owner != address(0) && !asked.closed && asked.balanceWei >= RESERVE_WEI;
    }

    /// @inheritdoc IRollups
    function rollup(uint64 chainId) external view returns (Rollup memory) {
        return _rollups[chainId];
    }
}
