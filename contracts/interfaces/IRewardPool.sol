// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Paid for work
/// @notice Holds ETH for posters (refund of L1 gas and a margin) and for sealers, and the stake token for signers (R42).
/// Anyone funds it; everything is pulled. What it does not have it does not promise: nothing is ever owed beyond it.
interface IRewardPool {
    event Funded(address indexed from, uint256 ethWei, uint256 tokenWei);
    event PosterCredited(address indexed poster, uint64 indexed batch, uint256 amountWei);
    event SendersReserved(uint64 indexed batch, uint256 amountWei);
    event SenderCredited(address indexed sender, uint64 indexed entry, uint256 amountWei);
    event SealerCredited(address indexed sealer, uint256 amountWei);
    event SignersReserved(uint32 indexed generation, uint64 indexed epoch, uint64 indexed batch, uint256 amountWei);
    event PosterClaimed(address indexed poster, uint256 amountWei);
    event SignerClaimed(uint32 indexed sequencer, uint32 indexed generation, uint64 indexed epoch, uint256 amountWei);

    /// @notice A tombstoned sequencer's share went back to the pool.
    event SignerForfeited(uint32 indexed sequencer, uint32 indexed generation, uint64 indexed epoch, uint256 amountWei);

    error NotSettlement(address expected, address actual);

    error NotTally(address expected, address actual);

    error NothingSent();

    error NothingToClaim();

    /// @notice Batches that this epoch attested can still settle or be tallied.
    error EpochNotClosed(uint64 epoch);

    error AlreadyClaimed(uint32 generation, uint64 epoch, uint256 index);

    /// @notice Adds the ETH sent and `tokenWei` of the caller's stake token to the pool.
    ///
    /// Reverts with {NothingSent}.
    function fund(uint256 tokenWei) external payable;

    /// @notice Adds up to `amountWei` of ETH, as far as the pool has it, to what `poster` can claim for batches up to
    /// `batch`. The tally only. Reverts with {NotTally}.
    function creditPoster(address poster, uint64 batch, uint256 amountWei) external;

    /// @notice Sets up to `amountWei` of ETH aside, as far as the pool has it, for the senders of entries that came late with
    /// `batch` (R30). The tally only. Reverts with {NotTally}.
    function reserveForSenders(uint64 batch, uint256 amountWei) external returns (uint256 reservedWei);

    /// @notice Puts `amountWei` of what was set aside so in the name of the sender of entry `entry`, who claims it as posters
    /// do. The tally only. Reverts with {NotTally}.
    /// @dev That it stays within what {reserveForSenders} returned is the tally's to see to.
    function creditSender(address sender, uint64 entry, uint256 amountWei) external;

    /// @notice Refunds the caller of {IRota.seal}: adds up to `amountWei` of ETH, as far as the pool has it, to what
    /// `sealer` can claim as a poster. Settlement only; never reverts for want of funds, or an empty pool would stop the
    /// rotation. Reverts with {NotSettlement}.
    function creditSealer(address sealer, uint256 amountWei) external;

    /// @notice Sets up to `amountWei` of the stake token aside, as far as the pool has it, for those who signed batches of
    /// an epoch, the last of them `batch`. The tally only. Reverts with {NotTally}.
    function reserve(uint32 generation, uint64 epoch, uint64 batch, uint256 amountWei) external;

    /// @notice ETH that `poster` can claim for posting and sealing.
    function posterBalance(address poster) external view returns (uint256 ethWei);

    /// @notice Pays the caller's balance. Reverts with {NothingToClaim}.
    function claimPoster() external returns (uint256 ethWei);

    /// @notice Wei of the stake token that the member at `index` of the epoch's set can claim for it: zero until the epoch
    /// is closed ({Attendance}), once claimed, and for a tombstoned sequencer.
    function signerReward(uint32 generation, uint64 epoch, uint256 index) external view returns (uint256);

    /// @notice Pays what the member at `index` earned in a closed epoch to the owner of its sequencer. Anyone may call. Of a
    /// tombstoned sequencer nothing is paid, and its share goes back to the pool.
    ///
    /// Reverts with {SetLib.IndexOutsideSet}, {EpochNotClosed}, {AlreadyClaimed}, {NothingToClaim}.
    function claimSigner(uint32 generation, uint64 epoch, uint256 index) external returns (uint256);

    /// @notice What was funded and is not yet in anybody's name.
    function freeWei() external view returns (uint256 ethWei, uint256 tokenWei);
}
