// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Where a sequencer's life stands.
enum Status {
    None,
    Active,
    /// It leaves for good, by its owner's exit or evicted; it counts until the churn queue has let all its weight go.
    Leaving,
    /// Reported or absent; out of sets until {unjail}.
    Jailed,
    /// Convicted of a safety offence; for ever out of sets.
    Tombstoned
}

/// One sequencer. Its pool holds `assetsWei` of the stake token. Of these `restingWei` rest, as `restingShares`: what waits to
/// work, `waitingShares` of them, and what has left the churn queue and is not claimed yet. The others work, as `shares`, and
/// earn; `weight` says for how many units of them the sequencer counts. All of it can be slashed.
struct Sequencer {
    address owner;
    address signer;
    /// May post batches for the signer (R28); zero if none.
    address poster;
    Status status;
    uint256 assetsWei;
    uint256 shares;
    uint64 weight;
    uint256 restingWei;
    uint256 restingShares;
    uint256 waitingShares;
    /// L1 time before which a jailed sequencer cannot come back; of an active one, that at which it was jailed no more.
    uint64 jailedUntil;
}

/// One exit on its way (R8).
struct Exit {
    uint32 sequencer;
    address holder;
    /// Resting shares: what has left the churn queue. Zero once claimed.
    uint256 restingShares;
    /// Working shares: what is still in the churn queue, earns and counts.
    uint256 queuedShares;
    /// The epoch in which the last of it left the churn queue, k in R8; zero before.
    uint64 epoch;
    bool claimed;
}

/// Who may do what for a sequencer besides its owner; zero where nobody is named.
struct Rights {
    /// To whom it is offered.
    address nextOwner;
    /// May do what running it takes: unjail, endpoint, poster, check-in.
    address operator;
    /// Whom all that its owner takes out is paid to.
    address withdrawal;
}

/// How far churn (R7) has come in the running epoch, in weight units.
struct ChurnState {
    /// How much may enter, and how much may leave; the largest number if nothing limits it.
    uint64 limit;
    uint64 entered;
    uint64 left;
    /// Places in the two queues, some of which may move nothing any more.
    uint64 entrances;
    uint64 exits;
}

/// @title Who
/// @notice Stake, keys, endpoints and statuses of sequencers (R3, R7-R9, R36).
interface ISequencerRegistry {
    event Joined(uint32 indexed id, address indexed owner, address indexed signer, uint256 stakeWei, uint256 shares);
    /// @notice Two multiaddrs, comma-separated: of the agreement engine and of the peer link, each ending in /p2p/<PeerId>. L1
    /// keeps them nowhere else.
    event EndpointChanged(uint32 indexed id, string endpoint);
    event PosterChanged(uint32 indexed id, address poster);
    event SignerRotated(uint32 indexed id, address indexed oldSigner, address indexed newSigner);
    event ToppedUp(uint32 indexed id, address indexed holder, uint256 amountWei, uint256 shares);
    event Delegated(uint32 indexed id, address indexed holder, uint256 amountWei, uint256 shares);
    /// @notice `holder` sends shares on their way out; from now on they are `payee`'s to claim.
    event ExitRequested(
        uint256 indexed exitId,
        uint32 indexed id,
        address indexed holder,
        address payee,
        uint256 shares,
        uint256 waitingShares,
        uint64 epoch
    );
    event ExitLeft(uint256 indexed exitId, uint64 epoch);
    /// @notice `holder` had its exit paid to `to`.
    event ExitClaimed(uint256 indexed exitId, uint32 indexed id, address indexed holder, address to, uint256 amountWei);
    event StatusChanged(uint32 indexed id, Status status);
    /// @notice `waitingShares` of `holder` wait at `place` of the entry queue until there is room for their weight; all that
    /// works in the pool of `id` if `holder` is zero.
    event EntranceQueued(uint32 indexed id, uint64 place, address indexed holder, uint256 waitingShares);
    /// @notice `waitingShares` that waited work now, as `shares`.
    event Entered(uint32 indexed id, address indexed holder, uint256 waitingShares, uint256 shares);
    /// @notice `id` gives up its seat to `by`; `by` itself goes without if it was too small for one when its turn came.
    event Evicted(uint32 indexed id, uint32 indexed by);
    /// @notice Rewards of a closed epoch went into the pool (R42).
    event Rewarded(uint32 indexed id, uint256 amountWei);
    /// @notice `next` may take `id` over; nobody may if it is zero.
    event OwnerProposed(uint32 indexed id, address indexed next);
    /// @notice What `before` had in the pool as its owner is `owner`'s now, together with what that had delegated.
    event OwnerChanged(uint32 indexed id, address indexed before, address indexed owner);
    event OperatorChanged(uint32 indexed id, address indexed operator);
    event WithdrawalChanged(uint32 indexed id, address indexed to);
    event Slashed(uint32 indexed id, uint256 requestedWei, uint256 slashedWei);

    /* ERRORS OF WHOEVER CALLS */

    error UnknownSequencer(uint32 id);
    error UnknownExit(uint256 exitId);
    error NotOwner(address expected, address actual);
    error NotHolder(address expected, address actual);
    error RecipientIsZero();

    /// @notice What the owner takes out is paid to `expected`, not to `actual`.
    error WithdrawalDiffers(address expected, address actual);

    /// @notice Whoever becomes the owner has delegated what still waits to work: let it in, or take it out, first.
    error StakeWaits(uint256 waitingShares);
    error NotSettlement(address expected, address actual);
    error NotSlasher(address expected, address actual);
    error NotRewardPool(address expected, address actual);

    /* ERRORS OF KEYS AND ENDPOINTS */

    /// @notice A signer can be neither zero nor its own owner.
    error SignerNotAllowed(address signer);

    /// @notice A key belongs to one sequencer for ever, also after a rotation (R9).
    error SignerTaken(address signer, uint32 id);

    /// @notice A poster address belongs to one sequencer for ever, and is never another's signer (R28).
    error PosterTaken(address poster, uint32 id);

    /// @notice The proof of possession was not signed by `expected`; `actual` is zero if it is no signature at all.
    error ProofNotBySigner(address expected, address actual);

    error EndpointLength(uint256 minimum, uint256 maximum, uint256 actual);

    /* ERRORS OF STAKE */

    /// @notice The stake token delivered another amount than was asked for (a fee on transfer, a rebase).
    error TokenDelivered(uint256 expectedWei, uint256 actualWei);

    error StakeBelowMinimum(uint256 minimumWei, uint256 actualWei);

    /// @notice The total weight would reach 2^56 units (R4).
    error TotalStakeAboveMaximum(uint256 maximumWei, uint256 actualWei);

    /// @notice Every seat is taken, and nobody gives way to less than 1.1 times the smallest stake.
    error ActiveSetFull(uint256 minimumWei, uint256 actualWei);

    /// @notice The sequencer's life does not allow this any more, or not now.
    error StatusNotAllowed(uint32 id, Status actual);

    /// @notice `actual` is not the key that the sequencer has now.
    error KeyNotCurrent(uint32 id, address expected, address actual);

    /// @notice Nothing moves in or out of a pool while a report is pending (R36).
    error PoolHeld(uint32 id, uint64 heldUntil);

    /// @notice The pool was slashed to nothing and is closed.
    error PoolDead(uint32 id);

    /// @notice The sequencer leaves for good; its pool takes no deposits any more, and it does not come back.
    error PoolClosing(uint32 id);

    /// @notice A deposit of less than a weight unit: it could count for nothing, and buy nothing.
    error AmountBelowUnit(uint256 minimumWei, uint256 actualWei);

    error AmountIsZero();
    error SharesAboveHolding(uint256 holding, uint256 asked);

    /// @notice What an owner leaves behind of its own must be nothing or the minimum stake.
    error RestBelowMinimum(uint256 minimumWei, uint256 actualWei);

    /// @notice Who was jailed cannot come back before `until`.
    error JailNotServed(uint64 until, uint64 time);

    /// @notice Nothing waits in the churn queues, or there is no room in this epoch for what does.
    error NothingMoves();

    /// @notice `queuedShares` of the exit are still in the churn queue (R7); {flush} moves it.
    error ExitQueued(uint256 exitId, uint256 queuedShares);

    error ExitAlreadyClaimed(uint256 exitId);

    /// @notice The last set that counts these shares was not followed by another yet; anyone can seal that (R8).
    /// @param firstEpoch The first epoch whose seal starts the clock.
    error ExitClockNotStarted(uint64 firstEpoch);

    error ExitNotDue(uint64 claimableAt, uint64 time);

    /* JOINING AND LEAVING */

    /// @notice Registers a sequencer; the caller is its owner. Its weight enters by the churn queue (R7). `proof` is `signer`'s 65-byte signature over the EIP-712
    /// message Possession(address owner,address signer) in the domain (Rota, 1, chain id, this registry).
    ///
    /// Reverts with {StakeBelowMinimum}, {SignerNotAllowed}, {SignerTaken}, {ProofNotBySigner}, {TotalStakeAboveMaximum},
    /// {ActiveSetFull}, {EndpointLength}, {TokenDelivered}.
    function join(address signer, string calldata endpoint, uint256 stakeWei, bytes calldata proof)
        external
        returns (uint32 id);

    /// @notice Adds to the owner's stake, also while jailed. Owner only. It rests until there is room for its weight, and
    /// until the rewards of all epochs that are over are credited, but for that no longer than exitDelay; then it works. What
    /// could work at once is returned.
    ///
    /// Reverts with {UnknownSequencer}, {NotOwner}, {StatusNotAllowed}, {PoolClosing}, {PoolHeld}, {PoolDead},
    /// {AmountBelowUnit}, {TotalStakeAboveMaximum}, {TokenDelivered}.
    function topUp(uint32 id, uint256 amountWei) external returns (uint256 shares);

    /// @notice Adds the caller's stake to the pool of `id`: it rests as {topUp} says, then counts as the sequencer's weight,
    /// earns with it, and is slashed with it from the start. The caller leaves by {requestExit}, as owners do.
    ///
    /// Reverts with {UnknownSequencer}, {StatusNotAllowed} unless active, {PoolHeld}, {PoolDead}, {AmountBelowUnit},
    /// {IRewardPool.DelegationAboveCap}, {IRewardPool.SelfBondTooSmall}, {TotalStakeAboveMaximum}, {TokenDelivered}.
    function delegate(uint32 id, uint256 amountWei) external returns (uint256 shares);

    /// @notice Brings back a sequencer that was jailed, that gave up its seat, or that works more than it counts for, with at
    /// least the minimum of the owner's own stake in the pool: all of it enters by the queue. Owner only. What a report jailed
    /// comes back when its pool is held no more: by then the case was executed, and a safety offence has tombstoned it.
    ///
    /// Reverts with {UnknownSequencer}, {NotOwner}, {StatusNotAllowed} unless jailed, or active and not on its way back
    /// already, {PoolClosing}, {PoolHeld}, {JailNotServed}, {StakeBelowMinimum}, {ActiveSetFull}.
    function unjail(uint32 id) external;

    /// @notice Sends working `shares` of the caller on their way out; several exits add up. They earn until there is room for
    /// their weight to leave. An owner that sends all of its own takes the sequencer along: it leaves for good, nothing of its
    /// pool counts any more, and delegators can follow.
    ///
    /// Reverts with {UnknownSequencer}, {AmountIsZero}, {SharesAboveHolding}, for the owner with {RestBelowMinimum},
    /// {IRewardPool.SelfBondTooSmall}.
    function requestExit(uint32 id, uint256 shares) external returns (uint256 exitId);

    /// @notice {requestExit} that also takes `waitingShares` of the caller that still wait to work, or them alone: these are on
    /// their way at once.
    function leave(uint32 id, uint256 shares, uint256 waitingShares) external returns (uint256 exitId);

    /// @notice Lets up to `max` places of each churn queue move as far as the epoch's limit allows. Anyone may call it, as
    /// often as they like. Refunded as a duty (R42) if `max` is 16 or more: who moves few at a time could do it more often.
    ///
    /// Reverts with {NothingMoves}.
    function flush(uint256 max) external returns (uint256 steps);

    /// @notice How far churn has come in the running epoch.
    function churn() external view returns (ChurnState memory);

    /// @notice Pays an exit to its holder, the caller, once its clock (R8) has run out.
    ///
    /// Reverts with {UnknownExit}, {NotHolder}, {ExitAlreadyClaimed}, {ExitQueued}, {ExitClockNotStarted}, {ExitNotDue},
    /// {PoolHeld}.
    function claim(uint256 exitId) external returns (uint256 amountWei);

    /// @notice {claim}, paid to `to`. Reverts as {claim}, and with {RecipientIsZero}.
    function claimTo(uint256 exitId, address to) external returns (uint256 amountWei);

    /* RIGHTS */

    /// @notice Offers `id` to `next`; zero takes the offer back. Nothing changes until {acceptOwner}. Owner only.
    ///
    /// Reverts with {UnknownSequencer}, {NotOwner}.
    function proposeOwner(uint32 id, address next) external;

    /// @notice Makes the caller, to whom it was offered, the owner of `id`: all that the owner has in the pool is the caller's
    /// from now on, working or waiting, as is what it may do. Exits stay whose they are; operator, withdrawal address, poster
    /// and key stay what they are.
    /// @param withdrawal The withdrawal address that the caller takes it over with: nobody can set one just before.
    ///
    /// Reverts with {UnknownSequencer}, {NotOwner} and to whom it was offered, {SignerNotAllowed} for a key that ever signed or posted,
    /// {WithdrawalDiffers}, {StakeWaits}.
    function acceptOwner(uint32 id, address withdrawal) external;

    /// @notice Lets `operator` do besides the owner what running `id` takes: {unjail}, {setEndpoint}, {setPoster}, and check in
    /// at restarts and come back from them. It moves no stake. Zero is nobody. Owner only.
    ///
    /// Reverts with {UnknownSequencer}, {NotOwner}.
    function setOperator(uint32 id, address operator) external;

    /// @notice Has all that the owner of `id` takes out from now on belong to `to`: exits that it requests, and commissions.
    /// The owner names the first; from then on only the one that is named can name another, or with zero none. So who gets hold
    /// of the owner's key, or is handed the sequencer, gets none of its stake.
    ///
    /// Reverts with {UnknownSequencer}, {NotOwner} and who may.
    function setWithdrawal(uint32 id, address to) external;

    /// @notice All zeros if `id` is unknown.
    function rightsOf(uint32 id) external view returns (Rights memory);

    /// @notice Whom what the owner of `id` takes out is paid to: its withdrawal address, or itself if there is none.
    function payeeOf(uint32 id) external view returns (address);

    /// @notice L1 time from which `exitId` can be claimed; `known` is false while it waits in the churn queue,
    /// or its last set has no successor yet.
    function claimableAt(uint256 exitId) external view returns (bool known, uint64 time);

    /// @notice Makes `signer` the key of `id` (R3: counts from the first set sealed for two epochs on). Owner only.
    function rotateSigner(uint32 id, address signer, bytes calldata proof) external;

    /// @notice Lets `poster` post for `id` besides its signer, instead of any other; zero is nobody, and takes no proof.
    /// `proof` is `poster`'s 65-byte signature over the EIP-712 message PosterPossession(uint32 sequencer,address poster) in
    /// the domain (Rota, 1, chain id, this registry). The address belongs to `id` from then on, also once it posts no more.
    /// Owner only.
    ///
    /// Reverts with {UnknownSequencer}, {NotOwner}, {PosterTaken}, {ProofNotBySigner}.
    function setPoster(uint32 id, address poster, bytes calldata proof) external;

    function setEndpoint(uint32 id, string calldata endpoint) external;

    function sequencer(uint32 id) external view returns (Sequencer memory);

    function exit(uint256 exitId) external view returns (Exit memory);

    /// @notice Working shares of `holder` in the pool of `id`, without those that are leaving.
    function sharesOf(uint32 id, address holder) external view returns (uint256);

    /// @notice Resting shares of `holder` in the pool of `id` that wait to work.
    function waitingSharesOf(uint32 id, address holder) external view returns (uint256);

    /// @notice Id of the sequencer that `key` belongs or ever belonged to, as its signer or as its poster; 0 if none.
    function idOf(address key) external view returns (uint32);

    /// @notice Ids run from 1 to `count`.
    function count() external view returns (uint32);

    function stakeToken() external view returns (address);

    /// @notice Owner of `id`, to whom its rewards belong.
    function ownerOf(uint32 id) external view returns (address);

    /// @notice Assets of the pool of `id`, leaving shares included: what a slash is a part of (R34).
    function assetsOf(uint32 id) external view returns (uint256 assetsWei);

    /// @notice The address that may post for the sequencer that `signer` belongs or ever belonged to, besides its key
    /// (R28); zero if it has named none, or if the key is unknown.
    function posterOf(address signer) external view returns (address);

    /// @notice The key of the sequencer whose poster address `poster` is now; zero if it is nobody's.
    function signerOfPoster(address poster) external view returns (address);

    /* FOR THE SETTLEMENT CONTRACT */

    /// @notice Everybody who is eligible now, with key and weight as of the start of the running epoch (R3), in no
    /// order: one word each, {SetLib.word}. Left out is who weighs nothing and who neither joined nor checked in nor
    /// returned at L1 time `aliveSince` or later (R33).
    function membersAtEpochStart(uint64 aliveSince) external view returns (uint256[] memory words);

    /// @notice Everybody who checked in in the restart opened at `openedAt` and is still eligible, with key and weight as of
    /// now, as {membersAtEpochStart}.
    function membersCheckedIn(uint64 openedAt) external view returns (uint256[] memory words);

    /// @notice Settlement only. A generation begins. Whoever did not check in in the restart opened at `openedAt`, and did not join
    /// or return since, has no seat any more; where none led to it, that is the one before, or zero. The running epoch's limit of
    /// churn is that of the new set from now on (R7).
    ///
    /// Reverts with {NotSettlement}.
    function startGeneration(uint64 openedAt) external;

    /// @notice Settlement only. Takes the word of `caller` that `id` is there, in the restart opened at `openedAt`; returns
    /// what it weighs now.
    ///
    /// Reverts with {NotSettlement}, {UnknownSequencer}, {IRestart.NotOwnerOrSigner}, {IRestart.NotEligible},
    /// {IRestart.AlreadyCheckedIn}.
    function checkIn(uint32 id, address caller, uint64 openedAt) external returns (uint64 weight);

    /// @notice Settlement only. Takes the word of `caller` that `id`, which missed the restart that the running generation began
    /// with, is there again: it enters by the queue, as whoever comes back from jail.
    ///
    /// Reverts as {checkIn} does, and with {ActiveSetFull}.
    function comeBack(uint32 id, address caller) external;

    /* FOR THE REWARD POOL */

    /// @notice Reward pool only. Adds `amountWei`, which the reward pool sends in the same transaction, to what works in the
    /// pool of `id`: every working share is worth more, none is made. What rewards add counts as weight once the pool's next
    /// deposit or its owner's {unjail} brings it in. Says whether it was taken: nothing is for who weighs nothing, or would
    /// take the total beyond its maximum.
    ///
    /// Reverts with {NotRewardPool}.
    function creditReward(uint32 id, uint256 amountWei) external returns (bool taken);

    /* FOR THE SLASHER */

    /// @notice Slasher only. Jails `id` at once, and until `heldUntil` its pool takes no deposits and pays no claims (R36),
    /// unless it is held until `enough` or later already. Returns what the pool holds, and whether the hold is new.
    ///
    /// Reverts with {NotSlasher}, {UnknownSequencer}, {StatusNotAllowed} for a tombstoned sequencer.
    function jail(uint32 id, uint64 enough, uint64 heldUntil) external returns (uint256 assetsWei, bool held);

    /// @notice Slasher only. Jails `id` for absence: out of sets at once, and no {unjail} before `until`. Its pool goes on
    /// taking deposits of its owner and paying claims. Of several the longest stands.
    ///
    /// Reverts with {NotSlasher}, {UnknownSequencer}, {StatusNotAllowed} for a tombstoned sequencer.
    function jailAbsent(uint32 id, uint64 until) external;

    /// @notice Slasher only. {jail} of `id` if it is active, so that no pool of it is held yet, and its key is `signer`.
    ///
    /// Reverts with {NotSlasher}, {StatusNotAllowed}, {KeyNotCurrent}.
    function jailUnderKey(uint32 id, address signer, uint64 heldUntil) external returns (uint256 assetsWei);

    /// @notice Slasher only. Takes up to `amountWei` out of the pool of `id`, keeps it for {payOut} and says how much it was;
    /// tombstones it if `tombstone`. Whoever else is left with less than the minimum of its owner's own stake is jailed until
    /// topped up, without a term.
    ///
    /// Reverts with {NotSlasher}, {UnknownSequencer}.
    function slash(uint32 id, uint256 amountWei, bool tombstone) external returns (uint256 slashedWei);

    /// @notice Slasher only. Sends `amountWei` of what slashes took to `to`. Reverts with {NotSlasher}, and if there is less.
    function payOut(address to, uint256 amountWei) external;
}
