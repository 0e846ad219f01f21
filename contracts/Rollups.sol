// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Deployment} from "./Deployment.sol";
import {SigningDomain} from "./SigningDomain.sol";
import {IBatchInbox} from "./interfaces/IBatchInbox.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {Debit, IRollups, Rollup} from "./interfaces/IRollups.sol";
import {Settled} from "./interfaces/ITally.sol";
import {CertificateLib} from "./lib/CertificateLib.sol";
import {Pricing, PricingLib} from "./lib/PricingLib.sol";
import {SettledLib} from "./lib/SettledLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Rollups
/// @notice See {IRollups}.
///
/// Invariant: the ETH held here is at least the sum of all balances. It holds because registering and funding add to a
/// balance at most what was sent, less what goes to the pool for debts, and a debit passes on exactly what it took from
/// balances.
///
/// A byte has no price of its own: a batch costs what its settlement was refunded, with the margin, and three quarters of what
/// booking a batch of two rollups takes, and its rollups pay that by their bytes, each rounded up. An eighth of the booking each
/// pays for itself, as each has words of its own that are booked: many with a byte each would else cost the pool, or another one. So the pool gets back what it pays at any base fee and under any
/// prices of L1's. What a rollup does not have it owes, and no more of it is ordered (R43); who funds it again pays that first.
contract Rollups is IRollups, Deployment, SigningDomain {
    /// Nobody has the key of this address; what is sent there is gone.
    address payable private constant BURN = payable(0x000000000000000000000000000000000000dEaD);
    /// Of a usage list: a chain id of 8 bytes and a count of 4.
    uint256 private constant ENTRY_BYTES = 12;
    uint64 private constant BATCHES_A_WORD = 256;
    /// Who debits rollups so often at once is refunded as a whole: of many in a batch not all batches fit into a transaction.
    uint256 private constant WHOLE_DEBIT = 16;
    /// Calldata of one debit, without the usage.
    uint256 private constant DEBIT_BYTES = 28 * 32;
    /// Bytes of it that are not zero at the least: six hashes in which nobody found more than a few.
    uint256 private constant DEBIT_NONZERO = 180;

    IBatchInbox private immutable SETTLEMENT;
    IRewardPool private immutable REWARD_POOL;
    uint256 private immutable FEE_WEI;
    uint256 private immutable RESERVE_WEI;
    uint256 private immutable BOOKING_GAS;
    uint64 private immutable GENESIS;
    uint64 private immutable EPOCH_SECONDS;
    Pricing private immutable PRICING;

    mapping(uint64 chainId => Rollup) private _rollups;
    mapping(uint64 group => uint256 bitmap) private _debited;
    /// @inheritdoc IRollups
    mapping(uint64 chainId => address) public nextOwner;
    mapping(uint64 chainId => uint256 weiOwed) private _owed;
    /// One above the epoch in which few batches were last debited for a whole refund.
    uint64 private _refundedEpoch;

    constructor(Params memory params, Addresses memory addresses)
        Deployment(params, addresses, addresses.rollups)
        SigningDomain(addresses.settlement)
    {
        SETTLEMENT = IBatchInbox(addresses.settlement);
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        FEE_WEI = params.rollupFeeWei;
        RESERVE_WEI = params.rollupReserveWei;
        BOOKING_GAS = params.rollupBookingGas;
        (GENESIS, EPOCH_SECONDS) = (params.genesis, params.epochSeconds);
        PRICING = PricingLib.pack(params);
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

        uint256 owedWei = _owed[chainId];
        uint256 paidWei = Math.min(owedWei, msg.value);
        uint256 addedWei = msg.value - paidWei;
        funded.balanceWei += addedWei;

        emit RollupFunded(chainId, addedWei, _allowance(funded.closed, funded.balanceWei));

        if (paidWei == 0) return;
        _owed[chainId] = owedWei - paidWei;
        emit RollupOwes(chainId, owedWei - paidWei);
        REWARD_POOL.fund{value: paidWei}(0);
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
        uint256 gasAtStart = gasleft();
        require(!_isDebited(number), AlreadyDebited(number));

        (uint256 paidWei, uint256 entries) = _debit(number, batch, usage);
        if (paidWei != 0) _passOn(paidWei, gasAtStart, 1, 1, entries);
    }

    /// @inheritdoc IRollups
    function debitMany(Debit[] calldata debits) external {
        uint256 gasAtStart = gasleft();
        uint256 paidWei;
        uint256 paying;
        uint256 payingEntries;
        bool any;
        for (uint256 i = 0; i < debits.length; ++i) {
            Debit calldata one = debits[i];
            if (_isDebited(one.number)) continue;
            (uint256 debitedWei, uint256 entries) = _debit(one.number, one.batch, one.usage);
            paidWei += debitedWei;
            payingEntries += entries;
            any = true;
            if (debitedWei != 0) ++paying;
        }
        require(any, NothingToDebit());

        // What is skipped is nobody's duty either.
        if (paying != 0) _passOn(paidWei, gasAtStart, debits.length, paying, payingEntries);
    }

    /// @dev Everything but the payment, which comes last and once.
    /// @return paidWei What rollups paid.
    /// @return entries How many of them did.
    function _debit(uint64 number, Settled calldata batch, bytes calldata usage)
        private
        returns (uint256 paidWei, uint256 entries)
    {
        _requireSettled(number, batch, usage);

        _debited[number / BATCHES_A_WORD] |= 1 << (number % BATCHES_A_WORD);
        uint256 costWei = _costOf(batch);
        uint256 entryWei = BOOKING_GAS / 8 * PRICING.highestPrice(batch.baseFeeWei);
        uint256 bytes_ = _bytesOf(usage);
        for (uint256 i = 0; i < usage.length; i += ENTRY_BYTES) {
            (uint64 chainId, uint32 size) = _entryAt(usage, i);
            if (size == 0) continue;
            uint256 dueWei = Math.mulDiv(costWei, size, bytes_, Math.Rounding.Ceil) + entryWei;
            uint256 amountWei = _take(chainId, number, dueWei);
            paidWei += amountWei;
            if (amountWei != 0) ++entries;
        }

        emit BatchDebited(number, paidWei);
    }

    /// @dev The batch is what settled under its number, and `usage` is the list that it committed to.
    function _requireSettled(uint64 number, Settled calldata batch, bytes calldata usage) private view {
        bytes32 expected = SETTLEMENT.ringValue(number);
        bytes32 actual = SettledLib.ringValue(batch, domainSeparator());
        require(actual == expected, RingValueMismatch(number, expected, actual));
        require(usage.length % ENTRY_BYTES == 0, UsageLengthWrong(ENTRY_BYTES, usage.length));
        bytes32 usageHash = keccak256(usage);
        require(usageHash == batch.header.usageHash, UsageMismatch(batch.header.usageHash, usageHash));
    }

    /// @dev All that the pool pays for the batch, and the work on it. Of an irregular one nobody gets a margin; how much of that of a
    /// regular one its poster gets depends on the set, and to ask for that would cost more than is left over.
    function _costOf(Settled calldata batch) private view returns (uint256 costWei) {
        costWei = batch.refundWei + BOOKING_GAS * 3 / 4 * PRICING.highestPrice(batch.baseFeeWei);
        if (batch.header.regularSince == 0) return costWei;
        uint256 signatures = CertificateLib.countSigners(batch.signers);
        costWei += PRICING.marginOfBatch(batch.refundWei, signatures, batch.baseFeeWei);
    }

    /// @dev Of all rollups together. Zero is no chain id: nothing is registered under it, so nothing is lost by refusing it as
    /// an entry.
    function _bytesOf(bytes calldata usage) private pure returns (uint256 bytes_) {
        uint64 before;
        for (uint256 i = 0; i < usage.length; i += ENTRY_BYTES) {
            (uint64 chainId, uint32 size) = _entryAt(usage, i);
            require(chainId > before, UsageNotAscending(before, chainId));
            before = chainId;
            bytes_ += size;
        }
    }

    function _entryAt(bytes calldata usage, uint256 at) private pure returns (uint64 chainId, uint32 size) {
        uint96 entry = uint96(bytes12(usage[at:at + ENTRY_BYTES]));
        // Truncation is meant: the casts cut the two fields out of the entry.
        return (uint64(entry >> 32), uint32(entry));
    }

    /// @dev What is due, or what there is of it, and the rest is owed. A rollup that is not registered has nothing, and nobody
    /// who would owe.
    function _take(uint64 chainId, uint64 number, uint256 dueWei) private returns (uint256 amountWei) {
        Rollup storage debited = _rollups[chainId];
        if (debited.owner == address(0)) return 0;

        uint256 balanceWei = debited.balanceWei;
        amountWei = Math.min(dueWei, balanceWei);
        if (amountWei != 0) {
            balanceWei -= amountWei;
            debited.balanceWei = balanceWei;
            emit RollupDebited(chainId, number, amountWei, _allowance(debited.closed, balanceWei));
        }
        if (amountWei != dueWei) {
            uint256 owedWei = _owed[chainId] + dueWei - amountWei;
            _owed[chainId] = owedWei;
            emit RollupOwes(chainId, owedWei);
        }
    }

    /// @dev Of the work, the part is refunded that brought something: what nobody pays for is nobody's duty. Of calldata,
    /// what no form of the input goes without: two debits can name one usage.
    function _passOn(uint256 paidWei, uint256 gasAtStart, uint256 batches, uint256 paying, uint256 entries) private {
        REWARD_POOL.fund{value: paidWei}(0);

        uint256 sixteenths = _isWhole(entries) ? WHOLE_DEBIT : entries;
        uint256 spent = (gasAtStart - gasleft()) * paying / batches;
        REWARD_POOL.creditDuty(msg.sender, spent, DEBIT_BYTES * paying, DEBIT_NONZERO * paying, sixteenths);
    }

    /// @dev As of a tally: who debits few is refunded by their number, but for the first time in an epoch.
    function _isWhole(uint256 entries) private returns (bool) {
        if (entries >= WHOLE_DEBIT) return true;
        // Casting is safe: a number of epochs.
        uint64 next = uint64((block.timestamp - GENESIS) / EPOCH_SECONDS) + 1;
        if (_refundedEpoch == next) return false;
        _refundedEpoch = next;
        return true;
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
    function owed(uint64 chainId) external view returns (uint256) {
        return _owed[chainId];
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
