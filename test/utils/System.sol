// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IBatchInbox} from "../../contracts/interfaces/IBatchInbox.sol";
import {IForcedInbox} from "../../contracts/interfaces/IForcedInbox.sol";
import {IRestart} from "../../contracts/interfaces/IRestart.sol";
import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {IRollups} from "../../contracts/interfaces/IRollups.sol";
import {IRota, LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {ISequencerRegistry} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {ISlasher} from "../../contracts/interfaces/ISlasher.sol";
import {ITally} from "../../contracts/interfaces/ITally.sol";
import {Addresses, Params} from "../../contracts/types/Params.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";

/// The deployed settlement contract, which is one contract of several files.
interface ISettlement is IRota, IBatchInbox, IForcedInbox, IRestart {}

/// The stake token of a development chain.
interface IStakeToken is IERC20 {
    function mint(address to, uint256 amountWei) external;
}

/// One sequencer of a test: its keys, and its id once it has joined.
struct Actor {
    uint32 id;
    address owner;
    address signer;
    uint256 key;
}

/// @title A whole system to test in
/// @notice Deploys the devnet profile, lets sequencers join with keys that sign, seals epochs and signs what members
/// sign. Time and block numbers advance together.
abstract contract System is Test {
    bytes32 private constant POSSESSION_TYPEHASH = keccak256("Possession(address owner,address signer)");
    bytes32 private constant POSTER_TYPEHASH = keccak256("PosterPossession(uint32 sequencer,address poster)");
    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant PREVOTE_TYPEHASH =
        keccak256("Prevote(uint32 generation,uint64 height,uint32 round,bytes32 blockHash)");
    bytes32 private constant PRECOMMIT_TYPEHASH =
        keccak256("Precommit(uint32 generation,uint64 height,uint32 round,bytes32 blockHash)");
    bytes32 private constant PROPOSAL_TYPEHASH =
        keccak256("Proposal(uint32 generation,uint64 height,uint32 round,int32 polRound,bytes32 blockHash)");

    string internal constant ENDPOINT = "/ip4/127.0.0.1/tcp/27000/p2p/12D3KooWA,/ip4/127.0.0.1/tcp/27001/p2p/12D3KooWA";
    uint256 internal constant STAKE_WEI = 100 ether;

    Params internal p;
    Addresses internal at;
    IStakeToken internal token;
    ISequencerRegistry internal registry;
    ISettlement internal settlement;
    ITally internal tally;
    ISlasher internal slasher;
    IRewardPool internal rewardPool;
    IRollups internal rollups;

    mapping(address signer => uint256 key) private _keys;
    mapping(uint64 number => bytes header) private _headers;

    /* DEPLOYING */

    /// @notice The devnet profile on a chain that has some blocks behind it.
    function _deploy() internal {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        _deploy(ConfigLib.read("devnet"));
    }

    /// @notice Deploys the artifacts that ship, in the order of script/DeployLib.sol.
    function _deploy(Config memory config) internal {
        p = config.params;
        at.stakeToken = config.stakeToken;
        if (config.stakeToken == address(0)) at.stakeToken = vm.deployCode("StakeToken.sol:StakeToken");
        uint256 nonce = vm.getNonce(address(this));
        at.registry = vm.computeCreateAddress(address(this), nonce);
        at.settlement = vm.computeCreateAddress(address(this), nonce + 1);
        at.tally = vm.computeCreateAddress(address(this), nonce + 2);
        at.slasher = vm.computeCreateAddress(address(this), nonce + 3);
        at.rewardPool = vm.computeCreateAddress(address(this), nonce + 4);
        at.rollups = vm.computeCreateAddress(address(this), nonce + 5);
        at.guardian = config.guardian;

        bytes memory arguments = abi.encode(p, at);
        vm.deployCode("SequencerRegistry.sol:SequencerRegistry", arguments);
        vm.deployCode("Settlement.sol:Settlement", arguments);
        vm.deployCode("Tally.sol:Tally", arguments);
        vm.deployCode("Slasher.sol:Slasher", arguments);
        vm.deployCode("RewardPool.sol:RewardPool", arguments);
        vm.deployCode("Rollups.sol:Rollups", arguments);

        _attach();
    }

    /// @notice Takes the addresses in {at} for the system to work with.
    function _attach() internal {
        token = IStakeToken(at.stakeToken);
        registry = ISequencerRegistry(at.registry);
        settlement = ISettlement(at.settlement);
        tally = ITally(at.tally);
        slasher = ISlasher(at.slasher);
        rewardPool = IRewardPool(at.rewardPool);
        rollups = IRollups(at.rollups);
    }

    /* SEQUENCERS */

    /// @notice Keys of sequencer number `i`; it has not joined yet.
    function _actor(uint256 i) internal returns (Actor memory actor) {
        (actor.owner,) = makeAddrAndKey(string.concat("owner ", vm.toString(i)));
        (actor.signer, actor.key) = makeAddrAndKey(string.concat("signer ", vm.toString(i)));
        _keys[actor.signer] = actor.key;
        actor.id = registry.idOf(actor.signer);
    }

    /// @notice Lets sequencer number `i` join with `stakeWei`, which it is given before.
    function _join(uint256 i, uint256 stakeWei) internal returns (Actor memory actor) {
        actor = _actor(i);
        _give(actor.owner, stakeWei);
        bytes memory proof = _proof(actor.owner, actor.key);

        vm.prank(actor.owner);
        actor.id = registry.join(actor.signer, ENDPOINT, stakeWei, proof);
    }

    /// @notice Lets sequencers 0 to `n` - 1 join with the same stake.
    function _joinMany(uint256 n) internal returns (Actor[] memory actors) {
        actors = new Actor[](n);
        for (uint256 i = 0; i < n; ++i) {
            actors[i] = _join(i, STAKE_WEI);
        }
    }

    /// @notice Gives `to` stake tokens that the registry may take.
    function _give(address to, uint256 amountWei) internal {
        token.mint(to, amountWei);
        vm.prank(to);
        token.approve(address(registry), type(uint256).max);
    }

    /// @notice Proof of possession of `key` for `owner`, as {ISequencerRegistry.join} takes it.
    function _proof(address owner, uint256 key) internal view returns (bytes memory) {
        return _proof(owner, key, address(registry), block.chainid);
    }

    function _proof(address owner, uint256 key, address verifying, uint256 chainId)
        internal
        pure
        returns (bytes memory)
    {
        bytes32 message = keccak256(abi.encode(POSSESSION_TYPEHASH, owner, vm.addr(key)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, _digest(message, verifying, chainId));
        return abi.encodePacked(r, s, v);
    }

    /// @notice Proof of possession of the poster address of `key` for sequencer `id`.
    function _posterProof(uint32 id, uint256 key) internal view returns (bytes memory) {
        bytes32 message = keccak256(abi.encode(POSTER_TYPEHASH, id, vm.addr(key)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, _digest(message, address(registry), block.chainid));
        return abi.encodePacked(r, s, v);
    }

    /// @notice The owner of `id` names the address of `name` as its poster.
    function _namePoster(uint32 id, string memory name) internal returns (address poster) {
        uint256 key;
        (poster, key) = makeAddrAndKey(name);
        bytes memory proof = _posterProof(id, key);
        address owner = registry.ownerOf(id);
        vm.prank(owner);
        registry.setPoster(id, poster, proof);
    }

    /// @notice The owner of `id` takes its poster's name back.
    function _dropPoster(uint32 id) internal {
        address owner = registry.ownerOf(id);
        vm.prank(owner);
        registry.setPoster(id, address(0), "");
    }

    /* TIME */

    /// @notice Moves L1 on by whole blocks, at least to `time`.
    function _warpTo(uint256 time) internal {
        if (time <= block.timestamp) return;
        uint256 blocks = (time - block.timestamp + p.l1BlockSeconds - 1) / p.l1BlockSeconds;
        vm.roll(block.number + blocks);
        vm.warp(time);
    }

    function _advance(uint256 seconds_) internal {
        _warpTo(block.timestamp + seconds_);
    }

    /// @notice Moves L1 to the start of `epoch`.
    function _startEpoch(uint64 epoch) internal {
        _warpTo(settlement.startOf(epoch));
    }

    function _epoch() internal view returns (uint64) {
        return settlement.epochAt(uint64(block.timestamp));
    }

    /* SETS */

    /// @notice The RLP header of a block with this prevrandao, with as many fields as Prague gives it.
    function _l1Header(uint64 number, bytes32 random) internal pure returns (bytes memory) {
        bytes memory front =
            abi.encodePacked(hex"a0", keccak256(abi.encode(number)), hex"a0", keccak256("no ommers"), hex"94");
        front = abi.encodePacked(front, address(0xfee), hex"a0", keccak256("state"), hex"a0", keccak256("transactions"));
        front = abi.encodePacked(front, hex"a0", keccak256("receipts"), hex"b90100", new bytes(256), hex"80");
        bytes memory numbers =
            abi.encodePacked(hex"88", number, hex"8401c9c380", hex"80", hex"846b0a6e6d", hex"83010203");
        bytes memory back =
            abi.encodePacked(hex"a0", random, hex"88", bytes8(0), hex"84342770c0", hex"a0", keccak256("later"));
        uint16 length = uint16(front.length + numbers.length + back.length);
        return abi.encodePacked(hex"f9", length, front, numbers, back);
    }

    /// @notice The seed that follows from the one before and an L1 block's prevrandao (R4).
    function _seed(bytes32 before, uint256 random) internal pure returns (bytes32) {
        return bytes32(bytes12(keccak256(abi.encode(before, random))));
    }

    /// @notice Freezes the set of `epoch` and pins the block for its seal, unless that is done.
    function _pin(uint64 epoch) internal {
        if (settlement.pinned() == 0) settlement.pin(epoch);
    }

    /// @notice Moves L1 on until block `number` has a hash, within the same second, and gives it a header with the prevrandao
    /// of now; the one that it has, if it has one.
    function _mineWithHeader(uint64 number) internal returns (bytes memory header) {
        if (block.number <= number) vm.roll(number + 1);
        header = _headers[number];
        if (header.length == 0) {
            header = _l1Header(number, bytes32(block.prevrandao));
            _headers[number] = header;
        }
        if (block.number <= number + 256) vm.setBlockhash(number, keccak256(header));
    }

    /// @notice Both calls of a seal.
    function _sealSet(uint64 epoch) internal {
        _pin(epoch);
        settlement.seal(epoch, _mineWithHeader(settlement.pinned()));
    }

    /// @notice {_sealSet}, if that is possible; says whether it was.
    function _trySealSet(uint64 epoch) internal returns (bool done) {
        if (settlement.pinned() == 0) {
            (done,) = address(settlement).call(abi.encodeCall(settlement.pin, (epoch)));
            if (!done) return false;
        }
        bytes memory header = _mineWithHeader(settlement.pinned());
        (done,) = address(settlement).call(abi.encodeCall(settlement.seal, (epoch, header)));
    }

    /// @notice Both calls that end a restart.
    function _finishRestart() internal {
        if (settlement.pinnedForRestart() == 0) settlement.closeCheckIn();
        settlement.finishRestart(_mineWithHeader(settlement.pinnedForRestart()));
    }

    /// @notice {_finishRestart}, if that is possible; says whether it was.
    function _tryFinishRestart() internal returns (bool done) {
        if (settlement.pinnedForRestart() == 0) {
            (done,) = address(settlement).call(abi.encodeCall(settlement.closeCheckIn, ()));
            if (!done) return false;
        }
        bytes memory header = _mineWithHeader(settlement.pinnedForRestart());
        (done,) = address(settlement).call(abi.encodeCall(settlement.finishRestart, (header)));
    }

    /// @notice Genesis, first set, block 0: the set of epoch 0.
    function _sealFirst() internal {
        _startEpoch(0);
        _sealSet(_epoch());
    }

    /// @notice Seals every epoch up to `epoch`, each in the one before, and stops at the start of `epoch`. Flushes the churn
    /// queues meanwhile, as agents do.
    function _sealThrough(uint64 epoch) internal {
        while (_epoch() < epoch) {
            _flush();
            _sealSet(_epoch() + 1);
            _startEpoch(_epoch() + 1);
        }
    }

    /* RESTARTS */

    /// @notice Waits until a restart can be opened, and opens it.
    function _openRestart() internal {
        _warpTo(settlement.tip().settledAt + p.restartDelaySeconds);
        settlement.openRestart();
    }

    function _checkIn(Actor memory actor) internal {
        vm.prank(actor.signer);
        settlement.checkIn(actor.id);
    }

    /// @notice A new generation of the first `n` of `actors`, from now on.
    function _restart(Actor[] memory actors, uint256 n) internal {
        _openRestart();
        for (uint256 i = 0; i < n; ++i) {
            _checkIn(actors[i]);
        }
        _advance(p.restartWindowSeconds);
        _finishRestart();
    }

    /// @notice Lets the churn queues move in every epoch until `epoch` begins, and seals nothing.
    function _flushThrough(uint64 epoch) internal {
        for (; _epoch() < epoch; _startEpoch(_epoch() + 1)) {
            _flush();
        }
    }

    /// @notice Lets the churn queues move as far as they can in this epoch; says whether they did.
    function _flush() internal returns (bool moved) {
        (moved,) = address(registry).call(abi.encodeCall(registry.flush, (type(uint256).max)));
    }

    /// @notice A bitmap of the first members of `epoch`'s set whose weight is just above 2/3.
    function _quorum(uint64 epoch) internal view returns (uint128 signers) {
        LeaderSet memory set = settlement.leaderSet(epoch);
        uint256 weight;
        for (uint256 i = 0; 3 * weight <= 2 * uint256(set.total); ++i) {
            weight += set.members[i].weight;
            signers |= uint128(1) << uint128(i);
        }
    }

    /// @notice Key of a signer that an {Actor} was made for.
    function _keyOf(address signer) internal view returns (uint256 key) {
        key = _keys[signer];
        require(key != 0, "no actor has this signer");
    }

    /* SIGNATURES */

    /// @notice The signatures of a certificate: those of the members in `signers`, in member order.
    function _attest(BatchHeader memory header, uint128 signers) internal view returns (Signature[] memory signatures) {
        LeaderSet memory set = settlement.leaderSetOf(header.generation, header.epoch);
        bytes32 digest = settlement.batchDigest(header);

        uint256 found;
        signatures = new Signature[](set.members.length);
        for (uint256 i = 0; i < set.members.length; ++i) {
            if ((signers >> i) & 1 == 1) signatures[found++] = _sign(_keyOf(set.members[i].signer), digest);
        }
        // Memory-safe: only ever shortens the array.
        assembly ("memory-safe") {
            mstore(signatures, found)
        }
    }

    function _signVote(uint256 key, VoteType voteType, Vote memory vote) internal view returns (Signature memory) {
        bytes32 typehash = voteType == VoteType.Prevote ? PREVOTE_TYPEHASH : PRECOMMIT_TYPEHASH;
        return
            _signMessage(key, keccak256(abi.encode(typehash, vote.generation, vote.height, vote.round, vote.blockHash)));
    }

    function _signProposal(uint256 key, Proposal memory proposal) internal view returns (Signature memory) {
        bytes32 message = keccak256(
            abi.encode(
                PROPOSAL_TYPEHASH,
                proposal.generation,
                proposal.height,
                proposal.round,
                proposal.polRound,
                proposal.blockHash
            )
        );
        return _signMessage(key, message);
    }

    /// @notice Signs an EIP-712 struct hash in the domain of the settlement contract.
    function _signMessage(uint256 key, bytes32 message) internal view returns (Signature memory) {
        return _sign(key, _digest(message, address(settlement), block.chainid));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (Signature memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(key, digest);
        return Signature({r: r, vs: vs});
    }

    function _digest(bytes32 message, address verifying, uint256 chainId) internal pure returns (bytes32) {
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256(bytes("Rota")), keccak256(bytes("1")), chainId, verifying));
        return keccak256(abi.encodePacked(hex"1901", domain, message));
    }
}
