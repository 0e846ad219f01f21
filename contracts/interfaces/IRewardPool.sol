// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What a sequencer's owner keeps of its pool's rewards, in basis points (1/10,000).
struct Commission {
    uint16 bps;
    /// What it is from `nextFrom` (L1 time) on; the same as `bps` if no raise is announced.
    uint16 nextBps;
    uint40 nextFrom;
}

/// @title Paid for work
/// @notice Holds ETH for posters and for whoever does what has to be done (refund of L1 gas and a margin), and the stake token for signers and those
/// who delegate to them (R42). Anyone funds it; everything is pulled. ETH that becomes due while it is empty it owes, and pays
/// from what comes in later. Of the stake token nothing is owed beyond what it has.
interface IRewardPool {
    event Funded(address indexed from, uint256 ethWei, uint256 tokenWei);
    event PosterCredited(address indexed poster, uint64 indexed batch, uint256 amountWei);
    event SendersReserved(uint64 indexed batch, uint256 amountWei);
    event SenderCredited(address indexed sender, uint64 indexed entry, uint256 amountWei);
    /// @notice What `worker` did for everybody at `contract_` is refunded, with a margin.
    event DutyCredited(address indexed contract_, address indexed worker, uint256 amountWei);
    event SignersReserved(uint32 indexed generation, uint64 indexed epoch, uint64 indexed batch, uint256 amountWei);
    event PosterClaimed(address indexed poster, uint256 amountWei);

    /// @notice The rewards of an epoch went to its signers: `creditedWei` into their pools, `commissionWei` to the owners,
    /// and `returnedWei` back to the reward pool, which are the parts of members that earn nothing and what rounding left.
    event EpochCredited(
        uint32 indexed generation, uint64 indexed epoch, uint256 creditedWei, uint256 commissionWei, uint256 returnedWei
    );

    /// @notice One member's part: `creditedWei` into its pool, `commissionWei` to its owner.
    event SignerCredited(
        uint32 indexed sequencer,
        uint32 indexed generation,
        uint64 indexed epoch,
        uint256 creditedWei,
        uint256 commissionWei
    );

    /// @notice A jailed, tombstoned or exited member's part went back to the reward pool.
    event SignerForfeited(uint32 indexed sequencer, uint32 indexed generation, uint64 indexed epoch, uint256 amountWei);

    /// @notice From L1 time `from` on the owner keeps `bps`.
    event CommissionChanged(uint32 indexed sequencer, uint16 bps, uint64 from);
    /// @notice Others may delegate up to `capWei` to the sequencer.
    event DelegationCapChanged(uint32 indexed sequencer, uint256 capWei);
    event CommissionClaimed(uint32 indexed sequencer, address indexed to, uint256 amountWei);

    /// @notice No contract of this deployment whose work is refunded.
    error NotDuty(address actual);

    error NotTally(address expected, address actual);

    error NothingSent();

    error NothingToClaim();

    error RecipientIsZero();

    error NothingToCredit();

    /// @notice Batches that this epoch attested can still settle or be tallied.
    error EpochNotClosed(uint64 epoch);

    /// @notice The registry received another amount than was sent (a fee on transfer): shares would not be backed.
    error TokenDelivered(uint256 expectedWei, uint256 actualWei);

    error NotOwner(address expected, address actual);

    /// @notice With this the pool would hold `actualWei` of others, and its owner takes no more than `maximumWei`.
    error DelegationAboveCap(uint256 maximumWei, uint256 actualWei);

    /// @notice Of a pool of this size the owner has to hold `minimumWei` itself.
    error SelfBondTooSmall(uint256 minimumWei, uint256 actualWei);

    error CommissionAboveWhole(uint256 wholeBps, uint256 actualBps);

    /// @notice Commissions rise in steps, and each step is announced.
    error CommissionRaiseTooLarge(uint256 maximumBps, uint256 actualBps);

    /// @notice Adds the ETH sent and `tokenWei` of the caller's stake token to the pool.
    ///
    /// Reverts with {NothingSent}.
    function fund(uint256 tokenWei) external payable;

    /// @notice Puts `amountWei` of ETH in the name of `poster` for batches up to `batch`; what the pool does not have it owes.
    /// The tally only. Reverts with {NotTally}.
    function creditPoster(address poster, uint64 batch, uint256 amountWei) external;

    /// @notice Sets `amountWei` of ETH aside for the senders of entries that came late with `batch` (R30); what the pool does
    /// not have it owes. The tally only. Reverts with {NotTally}.
    function reserveForSenders(uint64 batch, uint256 amountWei) external;

    /// @notice Puts `amountWei` of what was set aside so, or is owed, in the name of the sender of entry `entry`, who claims it
    /// as posters do. The tally only. Reverts with {NotTally}.
    /// @dev That it stays within what {reserveForSenders} was told is the tally's to see to.
    function creditSender(address sender, uint64 entry, uint256 amountWei) external;

    /// @notice Refunds who did what has to be done: puts so many sixteenths of the price of `gasSpent` that was measured, with that
    /// of a transaction with `size` bytes of calldata, `nonzero` of them not zero, if `worker` sent it, in the name of `worker`, which
    /// claims it as posters do, with a margin on it, and the price of crediting it; what the pool does not have it owes. The
    /// other contracts of the deployment only; never reverts for want of funds, or an empty pool would stop the rotation. Reverts
    /// with {NotDuty}.
    function creditDuty(address worker, uint256 gasSpent, uint256 size, uint256 nonzero, uint256 sixteenths) external;

    /// @notice Sets up to `amountWei` of the stake token aside, as far as the pool has it, for those who signed batches of
    /// an epoch, the last of them `batch`. The tally only. Reverts with {NotTally}.
    function reserve(uint32 generation, uint64 epoch, uint64 batch, uint256 amountWei) external;

    /// @notice ETH that is here for `poster`, for posting, sealing and entries that came late.
    function posterBalance(address poster) external view returns (uint256 ethWei);

    /// @notice ETH that is owed to `account` besides: it became due while the pool had too little.
    function owedTo(address account) external view returns (uint256 ethWei);

    /// @notice ETH that is owed to everybody together. What becomes due takes only what is free beyond that.
    function owed() external view returns (uint256 ethWei);

    /// @notice ETH for senders of entries that came late which is in nobody's name yet: what is here for them, and what is owed.
    function setAside() external view returns (uint256 coveredWei, uint256 owedWei);

    /// @notice Pays the caller's balance, and of what is owed to it as much as is free. Reverts with {NothingToClaim}.
    function claimPoster() external returns (uint256 ethWei);

    /// @notice Pays the caller's balance to `to`: for a contract that earns and cannot receive ETH.
    ///
    /// Reverts with {RecipientIsZero}, {NothingToClaim}.
    function claimPosterTo(address payable to) external returns (uint256 ethWei);

    /// @notice Credits the first epoch that waits, to all of its members at once; anyone may. A member's part goes by weight
    /// and participation: the owner's commission of it stays here to be claimed, the rest becomes assets of its pool, so
    /// that every share of it is worth more. Nothing goes to who was absent, is jailed or tombstoned, or has left; that and
    /// what rounding leaves go back to the reward pool. What is reserved for an epoch leaves here with it, to the wei. The
    /// caller is refunded as for any duty.
    ///
    /// Reverts with {NothingToCredit}, {EpochNotClosed}, {TokenDelivered}.
    /// @dev Epochs wait in the order in which they were attested. At most maxMembers members are looked at.
    function creditEpoch() external returns (uint256 creditedWei);

    /// @notice The first epoch that waits to be credited, and whether it is due: closed, so that no share of any pool should
    /// be priced before. All zeros if none waits.
    function nextCredit() external view returns (bool waits, bool due, uint32 generation, uint64 epoch);

    /// @notice Whether all is credited that is over: no epoch is due, and no batch waits to be tallied that may be of an epoch
    /// whose lag is over. Until then no deposit goes to work (R42).
    function isUpToDate() external view returns (bool);

    /// @notice Wei of the stake token that the member at `index` of the epoch's set has earned in it as far as is tallied,
    /// its owner's commission included; zero once the epoch is credited. Reverts with {SetLib.IndexOutsideSet}.
    function signerReward(uint32 generation, uint64 epoch, uint256 index) external view returns (uint256);

    /// @notice Sets what the owner keeps of the rewards of its sequencer's pool. Lowering counts at once, and takes an
    /// announced raise back. A raise is at most commissionRaiseBps above what counts now, and counts from
    /// commissionDelaySeconds on; announcing another starts that time anew. Every sequencer begins with none.
    ///
    /// Reverts with {ISequencerRegistry.UnknownSequencer}, {NotOwner}, {CommissionAboveWhole}, {CommissionRaiseTooLarge}.
    function setCommission(uint32 id, uint16 bps) external;

    function commission(uint32 id) external view returns (Commission memory);

    /// @notice Sets how much others may delegate to `id`; zero takes no more of them. What is delegated stays. Owner only; a
    /// sequencer begins without a cap, which is 2^128 - 1.
    ///
    /// Reverts with {ISequencerRegistry.UnknownSequencer}, {NotOwner}.
    function setDelegationCap(uint32 id, uint256 capWei) external;

    function delegationCap(uint32 id) external view returns (uint256 capWei);

    /// @notice Reverts with {DelegationAboveCap} or {SelfBondTooSmall} unless others may have so much of a stake of `stakeWei`
    /// that the owner of `id` has `ownWei` of.
    function requireDelegable(uint32 id, uint256 ownWei, uint256 stakeWei) external view;

    /// @notice Reverts with {SelfBondTooSmall} if an owner has less of `stakeWei` than this deployment asks for.
    function requireLed(uint256 ownWei, uint256 stakeWei) external view;

    /// @notice Commissions that the owner of `id` can claim.
    function commissionBalance(uint32 id) external view returns (uint256 tokenWei);

    /// @notice Pays the commissions of `id` to its owner. Anyone may call.
    ///
    /// Reverts with {ISequencerRegistry.UnknownSequencer}, {NothingToClaim}.
    function claimCommission(uint32 id) external returns (uint256 amountWei);

    /// @notice Pays the commissions of `id` to `to`. Only for whom they are paid to else ({ISequencerRegistry.payeeOf}).
    ///
    /// Reverts with {ISequencerRegistry.UnknownSequencer}, {NotOwner}, {RecipientIsZero}, {NothingToClaim}.
    function claimCommissionTo(uint32 id, address to) external returns (uint256 amountWei);

    /// @notice What was funded and is not yet in anybody's name; what is owed is to be paid from it.
    function freeWei() external view returns (uint256 ethWei, uint256 tokenWei);
}
