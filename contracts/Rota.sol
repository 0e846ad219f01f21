// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Deployment} from "./Deployment.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {IRota, LeaderSet, Member} from "./interfaces/IRota.sol";
import {ISequencerRegistry} from "./interfaces/ISequencerRegistry.sol";
import {CodeLib} from "./lib/CodeLib.sol";
import {DrawLib} from "./lib/DrawLib.sol";
import {FrozenSet, SetLib} from "./lib/SetLib.sol";
import {SortLib} from "./lib/SortLib.sol";
import {Addresses, Params} from "./types/Params.sol";
import {BlockHeader} from "./types/Wire.sol";

/// @title Whose turn it is
/// @notice See {IRota}. A set is frozen once, as the code of a data contract, and never changes; an epoch that nobody
/// sealed carries the set of the last sealed one before it. Nothing here is ever deleted.
abstract contract Rota is IRota, Deployment {
    uint64 internal constant MAX_SCHEDULE = 256;
    /// Gas of a seal outside of what {seal} can measure: intrinsic gas, calldata, its last lines.
    uint256 internal constant SEAL_OVERHEAD_GAS = 30_000;
    /// Root of a tree without leaves (R25).
    bytes32 private constant EMPTY_ROOT = keccak256(hex"02");

    uint64 internal immutable GENESIS;
    uint64 internal immutable EPOCH_SECONDS;
    uint64 private immutable MIN_MEMBERS;
    ISequencerRegistry internal immutable REGISTRY;
    IRewardPool internal immutable REWARD_POOL;
    /// All parameters, as code: a view reads them, nothing that settles does.
    address private immutable PARAMS_POINTER;

    /// Where the set lies that was sealed for an epoch; zero for an epoch that carries another's.
    mapping(uint32 generation => mapping(uint64 epoch => address pointer)) private _sealed;

    /// Epochs that were sealed, ascending; four to a slot.
    mapping(uint32 generation => uint64[] epochs) private _sealedEpochs;

    constructor(Params memory p, Addresses memory addresses) Deployment(p, addresses, addresses.settlement) {
        GENESIS = p.genesis;
        EPOCH_SECONDS = p.epochSeconds;
        MIN_MEMBERS = p.minMembers;
        REGISTRY = ISequencerRegistry(addresses.registry);
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        PARAMS_POINTER = CodeLib.store(abi.encode(p));
    }

    /* SEALING */

    /// @inheritdoc IRota
    function seal(uint64 epoch) external {
        uint256 gasAtStart = gasleft();
        uint64 time = uint64(block.timestamp);
        uint32 current = generation();
        bool first = _sealedEpochs[current].length == 0;

        require(time >= GENESIS, BeforeGenesis(GENESIS, time));
        uint64 expected = first ? epochAt(time) : epochAt(time) + 1;
        require(epoch == expected, EpochNotSealable(expected, epoch));
        require(_sealed[current][epoch] == address(0), AlreadySealed(epoch));

        uint256[] memory members = REGISTRY.membersAtEpochStart();
        require(members.length >= MIN_MEMBERS, TooFewMembers(MIN_MEMBERS, members.length));
        _freeze(current, epoch, members);
        if (first) _fixGenesis(epoch);

        REWARD_POOL.creditSealer(msg.sender, (gasAtStart - gasleft() + SEAL_OVERHEAD_GAS) * block.basefee);
    }

    /// @dev Makes `members` the set of `epoch`, with a seed that follows from the one before.
    function _freeze(uint32 current, uint64 epoch, uint256[] memory members) private {
        uint64[] storage epochs = _sealedEpochs[current];
        uint256 count = epochs.length;
        bytes32 seedBefore = count == 0 ? bytes32(0) : SetLib.load(_sealed[current][epochs[count - 1]]).seed();

        // The words have the signer in front: sorted words are sorted signers.
        SortLib.sort(members);
        bytes32 seed = keccak256(abi.encode(seedBefore, block.prevrandao, epoch));
        (address pointer, uint64 total) = SetLib.store(members, seed, current);
        _sealed[current][epoch] = pointer;
        epochs.push(epoch);

        emit Sealed(current, epoch, pointer, seed, total, members.length);
    }

    /// @dev Block 0 names the block before this call as its origin: the newest one whose hash L1 can tell.
    function _fixGenesis(uint64 epoch) private {
        BlockHeader memory header = BlockHeader({
            generation: 0,
            height: 0,
            epoch: epoch,
            proposer: address(0),
            timestamp: GENESIS * 1000,
            parentHash: bytes32(0),
            l1OriginNumber: uint64(block.number - 1),
            l1OriginHash: blockhash(block.number - 1),
            forcedThrough: 0,
            txCount: 0,
            txRoot: EMPTY_ROOT
        });
        bytes32 blockHash = keccak256(abi.encode(header));

        _onGenesis(header, blockHash);

        emit GenesisFixed(blockHash, header);
    }

    /// @dev The settled chain starts: block 0 is its tip.
    function _onGenesis(BlockHeader memory header, bytes32 blockHash) internal virtual;

    /* READING */

    /// @inheritdoc IRota
    function epochAt(uint64 time) public view returns (uint64) {
        return time < GENESIS ? 0 : (time - GENESIS) / EPOCH_SECONDS;
    }

    /// @inheritdoc IRota
    function startOf(uint64 epoch) public view returns (uint64) {
        return GENESIS + epoch * EPOCH_SECONDS;
    }

    /// @inheritdoc IRota
    /// @dev Kept by the settled chain, beside its tip: a settlement reads both, and one slot is cheaper than two.
    function generation() public view virtual returns (uint32);

    /// @inheritdoc IRota
    function params() external view returns (Params memory) {
        return abi.decode(CodeLib.load(PARAMS_POINTER), (Params));
    }

    /// @inheritdoc IRota
    function leaderSet(uint64 epoch) external view returns (LeaderSet memory) {
        return leaderSetOf(generation(), epoch);
    }

    /// @inheritdoc IRota
    function leaderSetOf(uint32 generation_, uint64 epoch) public view returns (LeaderSet memory set) {
        (address pointer, uint64 sealedFor) = setOf(generation_, epoch);
        FrozenSet frozen = SetLib.load(pointer);

        set.generation = frozen.generation();
        set.sealedFor = sealedFor;
        set.seed = frozen.seed();
        set.total = uint64(frozen.total());
        set.members = new Member[](frozen.count());
        for (uint256 i = 0; i < set.members.length; ++i) {
            (address signer, uint64 weight) = frozen.member(i);
            set.members[i] = Member({signer: signer, weight: weight});
        }
    }

    /// @inheritdoc IRota
    function setOf(uint32 generation_, uint64 epoch) public view returns (address pointer, uint64 sealedFor) {
        pointer = _sealed[generation_][epoch];
        if (pointer != address(0)) return (pointer, epoch);

        // Carried: the last epoch sealed before this one.
        uint64[] storage epochs = _sealedEpochs[generation_];
        uint256 after_ = _firstAtOrAfter(epochs, epoch);
        require(after_ != 0, NoSetInForce(generation_, epoch));
        sealedFor = epochs[after_ - 1];
        pointer = _sealed[generation_][sealedFor];
    }

    /// @inheritdoc IRota
    function memberAt(uint32 generation_, uint64 epoch, uint256 index) external view returns (Member memory) {
        (address signer, uint64 weight) = SetLib.load(_setAt(generation_, epoch)).member(index);
        return Member({signer: signer, weight: weight});
    }

    /// @inheritdoc IRota
    function totalAt(uint32 generation_, uint64 epoch) external view returns (uint64) {
        return uint64(SetLib.load(_setAt(generation_, epoch)).total());
    }

    /// @inheritdoc IRota
    function leaderOf(uint64 epoch, uint64 turn) external view returns (address) {
        FrozenSet set = SetLib.load(_setAt(generation(), epoch));
        return SetLib.signerOf(set.memberAt(DrawLib.draw0(set, turn)));
    }

    /// @inheritdoc IRota
    function schedule(uint64 epoch, uint64 firstTurn, uint64 count) external view returns (address[] memory leaders) {
        require(count <= MAX_SCHEDULE, ScheduleTooLong(MAX_SCHEDULE, count));

        FrozenSet set = SetLib.load(_setAt(generation(), epoch));
        leaders = new address[](count);
        for (uint64 i = 0; i < count; ++i) {
            leaders[i] = SetLib.signerOf(set.memberAt(DrawLib.draw0(set, firstTurn + i)));
        }
    }

    /// @inheritdoc IRota
    function firstSealedAtOrAfter(uint64 epoch) external view returns (bool found, uint64 sealedEpoch) {
        uint64[] storage epochs = _sealedEpochs[generation()];
        uint256 i = _firstAtOrAfter(epochs, epoch);
        if (i == epochs.length) return (false, 0);
        return (true, epochs[i]);
    }

    /// @dev Where the set in force in `epoch` lies: one slot read for an epoch that was itself sealed, else a search.
    function _setAt(uint32 generation_, uint64 epoch) internal view returns (address pointer) {
        pointer = _sealed[generation_][epoch];
        if (pointer == address(0)) (pointer,) = setOf(generation_, epoch);
    }

    /// @dev Index of the first of the ascending `epochs` that is at or after `epoch`; their number if none is.
    function _firstAtOrAfter(uint64[] storage epochs, uint64 epoch) private view returns (uint256 low) {
        uint256 high = epochs.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (epochs[middle] < epoch) low = middle + 1;
            else high = middle;
        }
    }
}
