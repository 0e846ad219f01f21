// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Where a sequencer's life stands.
enum Status {
    None,
    Active,
    /// All of its self-stake is on the way out; no set sealed from now on counts it.
    Leaving,
    /// Reported or absent; out of sets until {unjail}.
    Jailed,
    /// Convicted of a safety offence; for ever out of sets.
    Tombstoned
}

/// One sequencer. Stake is `shares` of a pool that holds `assetsWei` of the stake token; `leavingShares` of them are
/// queued to leave and stay slashable until claimed.
struct Sequencer {
    address owner;
    address signer;
    /// May post batches for the signer (R28); zero if none.
    address poster;
    Status status;
    uint64 joinedAt;
    uint256 assetsWei;
    uint256 shares;
    uint256 leavingShares;
    /// Two multiaddrs, comma-separated: of the agreement engine and of the peer link, each ending in /p2p/<PeerId>.
    string endpoint;
}

/// One exit on its way (R8).
struct Exit {
    uint32 sequencer;
    address holder;
    /// Zero once claimed.
    uint256 shares;
    /// The epoch in which it was requested, k in R8.
    uint64 epoch;
}

/// @title Who
/// @notice Stake, keys, endpoints and statuses of sequencers (R3, R7-R9, R36).
interface ISequencerRegistry {
    event Joined(uint32 indexed id, address indexed owner, address indexed signer, uint256 stakeWei, uint256 shares);
    event EndpointChanged(uint32 indexed id, string endpoint);
    event PosterChanged(uint32 indexed id, address poster);
    event SignerRotated(uint32 indexed id, address indexed oldSigner, address indexed newSigner);
    event ToppedUp(uint32 indexed id, address indexed holder, uint256 amountWei, uint256 shares);
    event ExitRequested(
        uint256 indexed exitId, uint32 indexed id, address indexed holder, uint256 shares, uint64 epoch
    );
    event ExitClaimed(uint256 indexed exitId, uint32 indexed id, address indexed holder, uint256 amountWei);
    event StatusChanged(uint32 indexed id, Status status);
    event Slashed(uint32 indexed id, uint256 requestedWei, uint256 slashedWei);

    /// @notice Registers a sequencer; the caller is its owner. `proof` is `signer`'s 65-byte signature over the EIP-712
    /// message Possession(address owner,address signer) in the domain (Rota, 1, chain id, this registry).
    function join(address signer, address poster, string calldata endpoint, uint256 stakeWei, bytes calldata proof)
        external
        returns (uint32 id);

    function topUp(uint32 id, uint256 amountWei) external returns (uint256 shares);

    /// @notice Sends `shares` of the caller on their way out; several exits add up.
    function requestExit(uint32 id, uint256 shares) external returns (uint256 exitId);

    /// @notice Pays an exit to its holder once its clock (R8) has run out.
    function claim(uint256 exitId) external returns (uint256 amountWei);

    /// @notice L1 time from which `exitId` can be claimed; `known` is false while its last set has no successor yet.
    function claimableAt(uint256 exitId) external view returns (bool known, uint64 time);

    /// @notice Makes `signer` the key of `id` (R3: counts from the first set sealed for two epochs on). Owner only.
    function rotateSigner(uint32 id, address signer, bytes calldata proof) external;

    function setPoster(uint32 id, address poster) external;

    function setEndpoint(uint32 id, string calldata endpoint) external;

    function sequencer(uint32 id) external view returns (Sequencer memory);

    function exit(uint256 exitId) external view returns (Exit memory);

    /// @notice Shares of `holder` in the pool of `id`, without those that are leaving.
    function sharesOf(uint32 id, address holder) external view returns (uint256);

    /// @notice Id of the sequencer that `signer` belongs or ever belonged to; 0 if none.
    function idOf(address signer) external view returns (uint32);

    /// @notice Ids run from 1 to `count`.
    function count() external view returns (uint32);

    function stakeToken() external view returns (address);

    /// @notice Poster address of the sequencer that `signer` belongs or ever belonged to; zero if none.
    function posterOf(address signer) external view returns (address);

    /// @notice Whether `poster` is or ever was the poster address of the sequencer behind `signer`. Blame (R29) is booked
    /// after the fact, when an honest leader may have named another poster already.
    function wasPoster(address signer, address poster) external view returns (bool);

    /// @notice Slasher only. Jails `id` at once (a tombstoned one stays so), and until `heldUntil` its pool takes no
    /// deposits and pays no claims (R36).
    function jail(uint32 id, uint64 heldUntil) external;

    /// @notice Slasher only. Takes up to `amountWei` out of the pool of `id`, sends it to the slasher and says how much it
    /// was; tombstones it if `tombstone`.
    function slash(uint32 id, uint256 amountWei, bool tombstone) external returns (uint256 slashedWei);
}
