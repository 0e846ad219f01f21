// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Deployment} from "./Deployment.sol";
import {Commission, IRewardPool} from "./interfaces/IRewardPool.sol";
import {ISequencerRegistry} from "./interfaces/ISequencerRegistry.sol";
import {Attendance, ITally} from "./interfaces/ITally.sol";
import {PriceList, Pricing, PricingLib} from "./lib/PricingLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Paid for work
/// @notice See {IRewardPool}.
///
/// Invariants: the ETH here is at least what is free, plus what is set aside for senders, plus all that balances have, and
/// the stake token here is at least what is free plus what is reserved for epochs plus the owners' commissions. Both hold because every wei that {fund} took in is
/// moved, never copied: from free to somebody's name, and from there out. What arrives without {fund} is nobody's.
///
/// ETH that becomes due while too little is free is owed: it stays in the name of whom it is due to, and is paid from what is
/// free when that one asks, first come, first served. What becomes due later takes only what is free beyond all that is owed. So
/// a dry spell costs time and nothing else, whoever tallies in it, and nobody who works on is paid before who waits.
///
/// Rewards of an epoch are credited to all its members in one step, not claimed one by one: then whether any pool waits for
/// rewards is one question with one answer ({nextCredit}), which the registry asks before it prices a share; a rotated key
/// or an absent owner holds up nobody; and what remains of an epoch is known when it ends.
contract RewardPool is IRewardPool, Deployment, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// An epoch for whose signers something is reserved.
    struct EpochKey {
        uint32 generation;
        uint64 epoch;
    }

    /// ETH that is free and ETH that is owed, in one word.
    struct Funds {
        uint128 free;
        uint128 owed;
    }

    /// ETH in somebody's name, in one word: what is here for it, and what is owed to it. Once used the word is never zero again: L1
    /// would give whoever claims a part of what the pool paid for it, and the pool would pay for it anew.
    struct Balance {
        uint128 covered;
        uint120 owed;
        bool used;
    }

    uint256 private constant BPS = 10_000;
    uint256 private constant LARGEST_CAP_WEI = type(uint128).max;
    /// More ETH than there can be: what is due beyond it at once is cut, so that no sum of such amounts runs over.
    uint128 private constant MAX_DUE_WEI = 1 << 92;
    /// Of crediting, what neither measurement holds: the call before it, to an account that is cold, and words that are changed
    /// already and an event after it.
    uint256 private constant CREDIT_TAIL_GAS = 5000;
    /// Calldata of {creditEpoch}.
    uint256 private constant CREDIT_BYTES = 4;

    IERC20 private immutable STAKE_TOKEN;
    address private immutable SETTLEMENT;
    address private immutable SLASHER;
    address private immutable ROLLUPS;
    Pricing private immutable PRICING;
    ITally private immutable TALLY;
    ISequencerRegistry private immutable REGISTRY;
    uint64 private immutable COMMISSION_RAISE_BPS;
    uint64 private immutable COMMISSION_DELAY_SECONDS;
    uint256 private immutable MIN_SELF_BOND_BPS;

    Funds private _eth;
    /// One above how many duties were refunded to who sent their transaction; never zero, so that changing it has one price.
    uint256 private _duties = 1;
    uint256 private _freeTokenWei;

    mapping(address account => Balance) private _balances;
    /// For senders of entries that came late, not in the name of any of them yet.
    Balance private _senders;
    mapping(uint32 generation => mapping(uint64 epoch => uint256 tokenWei)) private _reserved;

    /// Epochs with a reserve, in the order in which they were attested, and how many of them are credited.
    EpochKey[] private _epochs;
    uint256 private _credited;

    mapping(uint32 sequencer => Commission) private _commission;
    mapping(uint32 sequencer => uint256 tokenWei) private _commissionBalance;
    /// How much less than the largest number others may delegate.
    mapping(uint32 sequencer => uint256 tokenWei) private _belowLargestCap;

    modifier onlyTally() {
        require(msg.sender == address(TALLY), NotTally(address(TALLY), msg.sender));
        _;
    }

    constructor(Params memory params, Addresses memory addresses) Deployment(params, addresses, addresses.rewardPool) {
        STAKE_TOKEN = IERC20(addresses.stakeToken);
        SETTLEMENT = addresses.settlement;
        SLASHER = addresses.slasher;
        ROLLUPS = addresses.rollups;
        PRICING = PricingLib.pack(params);
        TALLY = ITally(addresses.tally);
        REGISTRY = ISequencerRegistry(addresses.registry);
        COMMISSION_RAISE_BPS = params.commissionRaiseBps;
        COMMISSION_DELAY_SECONDS = params.commissionDelaySeconds;
        MIN_SELF_BOND_BPS = params.minSelfBondBps;
    }

    /* FUNDING */

    /// @inheritdoc IRewardPool
    function fund(uint256 tokenWei) external payable nonReentrant {
        require(msg.value != 0 || tokenWei != 0, NothingSent());

        uint256 deliveredWei = tokenWei == 0 ? 0 : _pull(tokenWei);

        if (msg.value != 0) _eth.free += msg.value.toUint128();
        _freeTokenWei += deliveredWei;

        emit Funded(msg.sender, msg.value, deliveredWei);
    }

    /// @dev A token may deliver less than was asked for; what arrived is what counts.
    function _pull(uint256 tokenWei) private returns (uint256 deliveredWei) {
        uint256 before = STAKE_TOKEN.balanceOf(address(this));
        STAKE_TOKEN.safeTransferFrom(msg.sender, address(this), tokenWei);
        return STAKE_TOKEN.balanceOf(address(this)) - before;
    }

    /* FOR THE SETTLEMENT CONTRACT AND THE TALLY */

    /// @inheritdoc IRewardPool
    function creditPoster(address poster, uint64 batch, uint256 amountWei) external onlyTally {
        uint256 dueWei = _creditEth(_balances[poster], amountWei);
        if (dueWei != 0) emit PosterCredited(poster, batch, dueWei);
    }

    /// @inheritdoc IRewardPool
    function creditDuty(address worker, uint256 gasSpent, uint256 size, uint256 nonzero, uint256 sixteenths) external {
        uint256 gasAtStart = gasleft();
        require(
            msg.sender == SETTLEMENT || msg.sender == address(TALLY) || msg.sender == address(REGISTRY)
                || msg.sender == SLASHER || msg.sender == ROLLUPS,
            NotDuty(msg.sender)
        );
        uint256 priceWei = PRICING.priceOf(tx.gasprice, block.basefee);
        if (priceWei == 0) return;
        _creditDuty(worker, _dutyGas(worker, gasSpent, size, nonzero) * sixteenths / 16, priceWei, gasAtStart);
    }

    /// @dev What the call of a duty took, with what its transaction pays besides if the worker sent it: of any other call there can
    /// be several in a transaction, and their calldata is made up in memory. What changing a word takes that nothing else
    /// changes says which prices are in force.
    function _dutyGas(address worker, uint256 gasSpent, uint256 size, uint256 nonzero) private returns (uint256) {
        // Code at the sender could call several times, too (EIP-7702).
        if (worker != tx.origin || worker.code.length != 0) return gasSpent;

        uint256 duties = _duties;
        uint256 gasBefore = gasleft();
        _duties = duties + 1;
        PriceList list = PRICING.listAt(gasBefore - gasleft());
        return list.cost(gasSpent, size - nonzero, nonzero);
    }

    /// @dev Crediting is work, too. What it takes is known once it is done, so what is due for it is added to words that are
    /// changed already, which costs next to nothing.
    function _creditDuty(address worker, uint256 gas, uint256 priceWei, uint256 gasAtStart) private {
        Balance storage balance = _balances[worker];
        uint256 workWei = gas * priceWei;
        uint256 dueWei = _creditEth(balance, workWei + PRICING.marginOfDuty(workWei, priceWei));
        dueWei += _creditEth(balance, (gasAtStart - gasleft() + CREDIT_TAIL_GAS) * priceWei);

        emit DutyCredited(msg.sender, worker, dueWei);
    }

    /// @inheritdoc IRewardPool
    function reserve(uint32 generation, uint64 epoch, uint64 batch, uint256 amountWei) external onlyTally {
        uint256 free = _freeTokenWei;
        uint256 reservedWei = amountWei < free ? amountWei : free;
        if (reservedWei == 0) return;

        _freeTokenWei = free - reservedWei;
        uint256 before = _reserved[generation][epoch];
        if (before == 0) _epochs.push(EpochKey({generation: generation, epoch: epoch}));
        _reserved[generation][epoch] = before + reservedWei;

        emit SignersReserved(generation, epoch, batch, reservedWei);
    }

    /// @inheritdoc IRewardPool
    function reserveForSenders(uint64 batch, uint256 amountWei) external onlyTally {
        uint256 dueWei = _creditEth(_senders, amountWei);

        emit SendersReserved(batch, dueWei);
    }

    /// @inheritdoc IRewardPool
    function creditSender(address sender, uint64 entry, uint256 amountWei) external onlyTally {
        Balance memory senders = _senders;
        uint128 amount = amountWei.toUint128();
        uint128 covered = amount < senders.covered ? amount : senders.covered;
        uint120 owing = uint256(amount - covered).toUint120();
        _senders = Balance({covered: senders.covered - covered, owed: senders.owed - owing, used: true});
        Balance memory balance = _balances[sender];
        _balances[sender] = Balance({covered: balance.covered + covered, owed: balance.owed + owing, used: true});

        emit SenderCredited(sender, entry, amountWei);
    }

    /* CLAIMING */

    /// @inheritdoc IRewardPool
    function claimPoster() external nonReentrant returns (uint256 ethWei) {
        return _payPoster(payable(msg.sender));
    }

    /// @inheritdoc IRewardPool
    function claimPosterTo(address payable to) external nonReentrant returns (uint256 ethWei) {
        require(to != address(0), RecipientIsZero());

        return _payPoster(to);
    }

    function _payPoster(address payable to) private returns (uint256 ethWei) {
        Balance memory balance = _balances[msg.sender];
        Funds memory funds = _eth;
        // Casting is safe: the smaller one is taken.
        uint120 paid = balance.owed < funds.free ? balance.owed : uint120(funds.free);
        ethWei = uint256(balance.covered) + paid;

        require(ethWei != 0, NothingToClaim());

        _balances[msg.sender] = Balance({covered: 0, owed: balance.owed - paid, used: true});
        if (paid != 0) _eth = Funds({free: funds.free - paid, owed: funds.owed - paid});

        emit PosterClaimed(msg.sender, ethWei);

        Address.sendValue(to, ethWei);
    }

    /// @inheritdoc IRewardPool
    function claimCommission(uint32 id) external nonReentrant returns (uint256 amountWei) {
        return _payCommission(id, REGISTRY.payeeOf(id));
    }

    /// @inheritdoc IRewardPool
    function claimCommissionTo(uint32 id, address to) external nonReentrant returns (uint256 amountWei) {
        address payee = REGISTRY.payeeOf(id);

        require(msg.sender == payee, NotOwner(payee, msg.sender));
        require(to != address(0), RecipientIsZero());

        return _payCommission(id, to);
    }

    function _payCommission(uint32 id, address to) private returns (uint256 amountWei) {
        amountWei = _commissionBalance[id];

        require(amountWei != 0, NothingToClaim());

        _commissionBalance[id] = 0;

        emit CommissionClaimed(id, to, amountWei);

        STAKE_TOKEN.safeTransfer(to, amountWei);
    }

    /* SIGNERS AND WHO DELEGATES TO THEM */

    /// @inheritdoc IRewardPool
    function creditEpoch() external nonReentrant returns (uint256 creditedWei) {
        uint256 gasAtStart = gasleft();
        uint256 place = _credited;
        require(place < _epochs.length, NothingToCredit());
        EpochKey memory key = _epochs[place];
        require(TALLY.isClosed(key.epoch), EpochNotClosed(key.epoch));

        uint256 reservedWei = _reserved[key.generation][key.epoch];
        _credited = place + 1;
        _reserved[key.generation][key.epoch] = 0;

        uint256 commissionWei;
        (creditedWei, commissionWei) = _creditMembers(key, reservedWei);
        uint256 returnedWei = reservedWei - creditedWei - commissionWei;
        _freeTokenWei += returnedWei;

        emit EpochCredited(key.generation, key.epoch, creditedWei, commissionWei, returnedWei);

        if (creditedWei != 0) _sendToRegistry(creditedWei);

        uint256 gasAfter = gasleft();
        uint256 priceWei = PRICING.priceOf(tx.gasprice, block.basefee);
        if (priceWei == 0) return creditedWei;
        uint256 gas = _dutyGas(msg.sender, gasAtStart - gasAfter, CREDIT_BYTES, CREDIT_BYTES);
        _creditDuty(msg.sender, gas, priceWei, gasAfter);
    }

    /// @dev The parts of all members sum to at most what was reserved, because the signed weights that they are parts of sum
    /// to {Attendance.signedWeight}.
    function _creditMembers(EpochKey memory key, uint256 reservedWei)
        private
        returns (uint256 creditedWei, uint256 commissionWei)
    {
        Attendance[] memory members = TALLY.attendances(key.generation, key.epoch);
        for (uint256 i = 0; i < members.length; ++i) {
            uint256 partWei = _partOf(members[i], reservedWei);
            if (partWei == 0) continue;
            uint32 id = REGISTRY.idOf(members[i].signer);
            uint256 ownersWei = partWei * _bpsNow(_commission[id]) / BPS;
            uint256 poolsWei = partWei - ownersWei;

            if (!REGISTRY.creditReward(id, poolsWei)) {
                emit SignerForfeited(id, key.generation, key.epoch, partWei);
                continue;
            }

            creditedWei += poolsWei;
            if (ownersWei != 0) {
                commissionWei += ownersWei;
                _commissionBalance[id] += ownersWei;
            }
            emit SignerCredited(id, key.generation, key.epoch, poolsWei, ownersWei);
        }
    }

    function _sendToRegistry(uint256 amountWei) private {
        uint256 before = STAKE_TOKEN.balanceOf(address(REGISTRY));
        STAKE_TOKEN.safeTransfer(address(REGISTRY), amountWei);
        uint256 delivered = STAKE_TOKEN.balanceOf(address(REGISTRY)) - before;
        require(delivered == amountWei, TokenDelivered(amountWei, delivered));
    }

    /// @inheritdoc IRewardPool
    function setCommission(uint32 id, uint16 bps) external {
        address owner = REGISTRY.ownerOf(id);
        uint16 current = _bpsNow(_commission[id]);

        require(msg.sender == owner, NotOwner(owner, msg.sender));
        require(bps <= BPS, CommissionAboveWhole(BPS, bps));
        uint256 maximum = current + COMMISSION_RAISE_BPS;
        require(bps <= maximum, CommissionRaiseTooLarge(maximum, bps));

        uint256 from = bps > current ? block.timestamp + COMMISSION_DELAY_SECONDS : block.timestamp;
        _commission[id] = Commission({bps: bps > current ? current : bps, nextBps: bps, nextFrom: from.toUint40()});

        // Casting is safe: it fitted into 40 bits.
        emit CommissionChanged(id, bps, uint64(from));
    }

    /* WHAT OTHERS MAY DELEGATE */

    /// @inheritdoc IRewardPool
    function setDelegationCap(uint32 id, uint256 capWei) external {
        address owner = REGISTRY.ownerOf(id);
        require(msg.sender == owner, NotOwner(owner, msg.sender));
        capWei = capWei < LARGEST_CAP_WEI ? capWei : LARGEST_CAP_WEI;
        _belowLargestCap[id] = LARGEST_CAP_WEI - capWei;

        emit DelegationCapChanged(id, capWei);
    }

    /// @inheritdoc IRewardPool
    function delegationCap(uint32 id) public view returns (uint256 capWei) {
        return LARGEST_CAP_WEI - _belowLargestCap[id];
    }

    /// @inheritdoc IRewardPool
    function requireDelegable(uint32 id, uint256 ownWei, uint256 stakeWei) external view {
        // Each is rounded down by itself.
        uint256 othersWei = ownWei < stakeWei ? stakeWei - ownWei : 0;
        uint256 capWei = delegationCap(id);
        require(othersWei <= capWei, DelegationAboveCap(capWei, othersWei));
        requireLed(ownWei, stakeWei);
    }

    /// @inheritdoc IRewardPool
    function requireLed(uint256 ownWei, uint256 stakeWei) public view {
        uint256 minimumWei = stakeWei * MIN_SELF_BOND_BPS / BPS;
        require(ownWei >= minimumWei, SelfBondTooSmall(minimumWei, ownWei));
    }

    /* READING */

    /// @inheritdoc IRewardPool
    function posterBalance(address poster) external view returns (uint256 ethWei) {
        return _balances[poster].covered;
    }

    /// @inheritdoc IRewardPool
    function owedTo(address account) external view returns (uint256 ethWei) {
        return _balances[account].owed;
    }

    /// @inheritdoc IRewardPool
    function setAside() external view returns (uint256 coveredWei, uint256 owedWei) {
        return (_senders.covered, _senders.owed);
    }

    /// @inheritdoc IRewardPool
    function owed() external view returns (uint256 ethWei) {
        return _eth.owed;
    }

    /// @inheritdoc IRewardPool
    function nextCredit() public view returns (bool waits, bool due, uint32 generation, uint64 epoch) {
        if (_credited == _epochs.length) return (false, false, 0, 0);
        EpochKey storage key = _epochs[_credited];
        (generation, epoch) = (key.generation, key.epoch);
        return (true, TALLY.isClosed(epoch), generation, epoch);
    }

    /// @inheritdoc IRewardPool
    function isUpToDate() external view returns (bool) {
        (, bool due,,) = nextCredit();
        return !due && !TALLY.isBehind();
    }

    /// @inheritdoc IRewardPool
    function signerReward(uint32 generation, uint64 epoch, uint256 index) external view returns (uint256) {
        return _partOf(TALLY.attendance(generation, epoch, index), _reserved[generation][epoch]);
    }

    /// @inheritdoc IRewardPool
    function commission(uint32 id) external view returns (Commission memory) {
        Commission memory known = _commission[id];
        known.bps = _bpsNow(known);
        return known;
    }

    /// @inheritdoc IRewardPool
    function commissionBalance(uint32 id) external view returns (uint256 tokenWei) {
        return _commissionBalance[id];
    }

    /// @inheritdoc IRewardPool
    function freeWei() external view returns (uint256 ethWei, uint256 tokenWei) {
        return (_eth.free, _freeTokenWei);
    }

    /* PARTS */

    /// @dev Takes what becomes due out of what is free beyond all that is owed, as far as it goes, and owes the rest: an empty
    /// pool stops nobody.
    function _creditEth(Balance storage balance, uint256 amountWei) private returns (uint256 dueWei) {
        // Casting is safe: the smaller one is taken.
        uint128 due = amountWei < MAX_DUE_WEI ? uint128(amountWei) : MAX_DUE_WEI;
        if (due == 0) return 0;

        Funds memory funds = _eth;
        uint128 left = funds.free > funds.owed ? funds.free - funds.owed : 0;
        uint128 covered = due < left ? due : left;
        _eth = Funds({free: funds.free - covered, owed: funds.owed + (due - covered)});
        // Casting is safe: no more than MAX_DUE_WEI.
        uint120 owing = uint120(due - covered);
        Balance memory before = balance;
        (balance.covered, balance.owed, balance.used) = (before.covered + covered, before.owed + owing, true);
        return due;
    }

    /// @dev By weight and participation.
    function _partOf(Attendance memory attendance, uint256 reservedWei) private pure returns (uint256) {
        if (attendance.signedWeight == 0) return 0;
        return reservedWei * attendance.attended * attendance.weight / attendance.signedWeight;
    }

    function _bpsNow(Commission memory known) private view returns (uint16) {
        return block.timestamp < known.nextFrom ? known.bps : known.nextBps;
    }
}
