// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// @title Paid for work
/// @notice Holds ETH for posters (refund of L1 gas and a margin) and the stake token for signers (R42). Anyone funds it;
/// everything is pulled.
interface IRewardPool {
    event Funded(address indexed from, uint256 ethWei, uint256 tokenWei);
    event PosterCredited(address indexed poster, uint64 indexed batch, uint256 amountWei);
    event SignersReserved(uint32 indexed generation, uint64 indexed epoch, uint64 indexed batch, uint256 amountWei);
    event SealerCredited(address indexed sealer, uint256 amountWei);
    event PosterClaimed(address indexed poster, uint256 amountWei);
    event SignerClaimed(uint32 indexed sequencer, uint32 indexed generation, uint64 indexed epoch, uint256 amountWei);

    function fund(uint256 tokenWei) external payable;

    /// @notice Refunds the caller of {IRota.seal}: adds up to `amountWei` of ETH, as far as the pool has it, to what
    /// `sealer` can claim as a poster. Settlement only; never reverts for want of funds, or an empty pool would stop the
    /// rotation.
    function creditSealer(address sealer, uint256 amountWei) external;

    function posterBalance(address poster) external view returns (uint256 ethWei);

    function claimPoster() external returns (uint256 ethWei);

    /// @notice Wei of the stake token that the member at `index` of the epoch's set can claim for it.
    function signerReward(uint32 generation, uint64 epoch, uint256 index) external view returns (uint256);

    /// @notice Pays the rewards of an ended epoch to the owner of the sequencer behind member `index`.
    function claimSigner(uint32 generation, uint64 epoch, uint256 index) external returns (uint256);
}
