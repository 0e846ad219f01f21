// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Deployment} from "./Deployment.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {ISequencerRegistry, Status} from "./interfaces/ISequencerRegistry.sol";
import {Attendance, ITally} from "./interfaces/ITally.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title Paid for work
/// @notice See {IRewardPool}.
///
/// Invariants: the ETH here is at least what is free, plus what is set aside for senders, plus all balances, and the stake token here is at least what
/// is free plus what is reserved for epochs and not yet paid. Both hold because every wei that {fund} took in is moved,
/// never copied: from free to somebody's name, and from there out. What arrives without {fund} is nobody's.
contract RewardPool is IRewardPool, Deployment, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// What the signers of an epoch's batches share, and who of them was paid: bit i for member i.
    struct EpochReward {
        uint128 reservedWei;
        uint128 paid;
    }

    IERC20 private immutable STAKE_TOKEN;
    address private immutable SETTLEMENT;
    ITally private immutable TALLY;
    ISequencerRegistry private immutable REGISTRY;

    uint256 private _freeEthWei;
    uint256 private _freeTokenWei;

    mapping(address poster => uint256 ethWei) private _posterBalance;
    mapping(uint32 generation => mapping(uint64 epoch => EpochReward)) private _epochReward;

    modifier onlyTally() {
        require(msg.sender == address(TALLY), NotTally(address(TALLY), msg.sender));
        _;
    }

    constructor(Params memory params, Addresses memory addresses) Deployment(params, addresses, addresses.rewardPool) {
        STAKE_TOKEN = IERC20(addresses.stakeToken);
        SETTLEMENT = addresses.settlement;
        TALLY = ITally(addresses.tally);
        REGISTRY = ISequencerRegistry(addresses.registry);
    }

    /* FUNDING */

    /// @inheritdoc IRewardPool
    function fund(uint256 tokenWei) external payable nonReentrant {
        require(msg.value != 0 || tokenWei != 0, NothingSent());

        uint256 before = STAKE_TOKEN.balanceOf(address(this));
        if (tokenWei != 0) STAKE_TOKEN.safeTransferFrom(msg.sender, address(this), tokenWei);
        // A token may deliver less than was asked for; what arrived is what counts.
        uint256 deliveredWei = STAKE_TOKEN.balanceOf(address(this)) - before;

        _freeEthWei += msg.value;
        _freeTokenWei += deliveredWei;

        emit Funded(msg.sender, msg.value, deliveredWei);
    }

    /* FOR THE SETTLEMENT CONTRACT AND THE TALLY */

    /// @inheritdoc IRewardPool
    function creditPoster(address poster, uint64 batch, uint256 amountWei) external onlyTally {
        uint256 creditedWei = _creditEth(poster, amountWei);
        if (creditedWei != 0) emit PosterCredited(poster, batch, creditedWei);
    }

    /// @inheritdoc IRewardPool
    function creditSealer(address sealer, uint256 amountWei) external {
        require(msg.sender == SETTLEMENT, NotSettlement(SETTLEMENT, msg.sender));

        uint256 creditedWei = _creditEth(sealer, amountWei);
        if (creditedWei != 0) emit SealerCredited(sealer, creditedWei);
    }

    /// @inheritdoc IRewardPool
    function reserve(uint32 generation, uint64 epoch, uint64 batch, uint256 amountWei) external onlyTally {
        uint256 free = _freeTokenWei;
        uint256 reservedWei = amountWei < free ? amountWei : free;
        if (reservedWei == 0) return;

        _freeTokenWei = free - reservedWei;
        _epochReward[generation][epoch].reservedWei += reservedWei.toUint128();

        emit SignersReserved(generation, epoch, batch, reservedWei);
    }

    /// @inheritdoc IRewardPool
    function reserveForSenders(uint64 batch, uint256 amountWei) external onlyTally returns (uint256 reservedWei) {
        uint256 free = _freeEthWei;
        reservedWei = amountWei < free ? amountWei : free;
        if (reservedWei == 0) return 0;

        _freeEthWei = free - reservedWei;

        emit SendersReserved(batch, reservedWei);
    }

    /// @inheritdoc IRewardPool
    function creditSender(address sender, uint64 entry, uint256 amountWei) external onlyTally {
        _posterBalance[sender] += amountWei;

        emit SenderCredited(sender, entry, amountWei);
    }

    /* CLAIMING */

    /// @inheritdoc IRewardPool
    function claimPoster() external nonReentrant returns (uint256 ethWei) {
        ethWei = _posterBalance[msg.sender];

        require(ethWei != 0, NothingToClaim());

        _posterBalance[msg.sender] = 0;

        emit PosterClaimed(msg.sender, ethWei);

        Address.sendValue(payable(msg.sender), ethWei);
    }

    /// @inheritdoc IRewardPool
    function claimSigner(uint32 generation, uint64 epoch, uint256 index)
        external
        nonReentrant
        returns (uint256 amountWei)
    {
        Attendance memory attendance = TALLY.attendance(generation, epoch, index);
        EpochReward storage reward = _epochReward[generation][epoch];
        uint128 bit = uint128(1) << uint8(index);

        require(attendance.closed, EpochNotClosed(epoch));
        require(reward.paid & bit == 0, AlreadyClaimed(generation, epoch, index));
        amountWei = _shareOf(attendance, reward.reservedWei);
        require(amountWei != 0, NothingToClaim());

        reward.paid |= bit;
        uint32 id = REGISTRY.idOf(attendance.signer);

        // Who was convicted of a safety offence earns nothing: its share goes back to the pool.
        if (REGISTRY.sequencer(id).status == Status.Tombstoned) {
            _freeTokenWei += amountWei;
            emit SignerForfeited(id, generation, epoch, amountWei);
            return 0;
        }

        emit SignerClaimed(id, generation, epoch, amountWei);

        STAKE_TOKEN.safeTransfer(REGISTRY.ownerOf(id), amountWei);
    }

    /* READING */

    /// @inheritdoc IRewardPool
    function posterBalance(address poster) external view returns (uint256 ethWei) {
        return _posterBalance[poster];
    }

    /// @inheritdoc IRewardPool
    function signerReward(uint32 generation, uint64 epoch, uint256 index) external view returns (uint256) {
        Attendance memory attendance = TALLY.attendance(generation, epoch, index);
        EpochReward storage reward = _epochReward[generation][epoch];
        if (!attendance.closed || reward.paid & (uint128(1) << uint8(index)) != 0) return 0;
        if (REGISTRY.sequencer(REGISTRY.idOf(attendance.signer)).status == Status.Tombstoned) return 0;

        return _shareOf(attendance, reward.reservedWei);
    }

    /// @inheritdoc IRewardPool
    function freeWei() external view returns (uint256 ethWei, uint256 tokenWei) {
        return (_freeEthWei, _freeTokenWei);
    }

    /* PARTS */

    /// @dev Credits what the pool has: an empty pool pays nothing, and stops nobody.
    function _creditEth(address account, uint256 amountWei) private returns (uint256 creditedWei) {
        uint256 free = _freeEthWei;
        creditedWei = amountWei < free ? amountWei : free;
        if (creditedWei == 0) return 0;

        _freeEthWei = free - creditedWei;
        _posterBalance[account] += creditedWei;
    }

    /// @dev By weight and participation. The shares of all members sum to at most what was reserved, because the signed
    /// weights that they are parts of sum to {Attendance.signedWeight}.
    function _shareOf(Attendance memory attendance, uint256 reservedWei) private pure returns (uint256) {
        if (attendance.signedWeight == 0) return 0;
        return reservedWei * attendance.attended * attendance.weight / attendance.signedWeight;
    }
}
