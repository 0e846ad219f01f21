// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Exit, Sequencer, Status} from "../../../contracts/interfaces/ISequencerRegistry.sol";
import {Config, ConfigLib} from "../../../script/ConfigLib.sol";
import {Offences} from "../../utils/Offences.sol";
import {Refusals} from "./Refusals.sol";

/// Where every stake token is that anybody ever put into the system, in wei.
struct TokenBooks {
    uint256 poolsWei;
    uint256 freeWei;
    uint256 reservedWei;
    uint256 commissionsWei;
    uint256 bountiesWei;
    uint256 toBurnWei;
    uint256 burnedWei;
    uint256 paidOutWei;
    uint256 putInWei;
}

/// Where every wei of ETH is.
struct EthBooks {
    uint256 freeWei;
    uint256 setAsideWei;
    uint256 namedWei;
    uint256 rollupsWei;
    uint256 burnedWei;
    uint256 paidOutWei;
    uint256 putInWei;
    /// What is owed; of that, to accounts, and to senders that nobody named yet.
    uint256 owedWei;
    uint256 owedToNamedWei;
    uint256 owedAsideWei;
}

/// @title The people of a whole system, and the books that are kept about it
/// @notice A devnet of six seats whose restarts are quick. Every transfer that somebody asks for is written down here by
/// what that somebody should have paid or got; the contracts' own figures are read beside it and never used for it, but for
/// how far a slash or a reserve went, which is held against what moved.
abstract contract Ledger is Offences, Refusals {
    address internal constant BURN = 0x000000000000000000000000000000000000dEaD;
    uint64 internal constant OTHER_ROLLUP = 902;
    /// Who may ever join, and how many of them are active when nobody else joins.
    uint256 internal constant MAX_SEQUENCERS = 24;
    uint256 internal constant MAX_ACTIVE = 8;

    address[3] internal _delegators = [makeAddr("delegator 0"), makeAddr("delegator 1"), makeAddr("delegator 2")];
    address[2] internal _senders = [makeAddr("sender 0"), makeAddr("sender 1")];
    address[2] internal _reporters = [makeAddr("reporter 0"), makeAddr("reporter 1")];
    /// Flushes, seals, tallies and credits.
    address internal _keeper = makeAddr("keeper");
    address internal _thief = makeAddr("thief");

    /// Everybody in whose name ETH may be.
    address[] private _named;
    mapping(address account => bool) private _isNamed;

    /// How often something happened, by its name.
    mapping(string what => uint256 times) public times;

    /* GHOSTS */

    uint256 internal _tokensInWei;
    uint256 internal _tokensOutWei;
    /// What slashes should have burned.
    uint256 public slashedAndBurnedWei;
    mapping(uint32 generation => mapping(uint64 epoch => uint256 tokenWei)) internal _reservedFor;
    uint256 internal _reservedWei;
    /// All that was ever reserved for signers.
    uint256 public reservedEverWei;

    uint256 internal _ethInWei;
    uint256 internal _ethOutWei;
    /// What forced fees and rollup fees should have burned.
    uint256 public feesBurnedWei;

    /// What arrived without being asked for, by contract.
    mapping(address contract_ => uint256 tokenWei) public donatedTokensWei;
    mapping(address contract_ => uint256 ethWei) public donatedEthWei;

    uint256[] internal _openExits;
    uint256 internal _keysUsed;
    mapping(uint32 id => uint256 time) internal _heardAt;

    /* BEGINNING */

    function _begin() internal {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        vm.fee(1 gwei);
        Config memory config = ConfigLib.read("devnet");
        config.params.maxMembers = 6;
        config.params.escapeDelaySeconds = 21;
        config.params.restartDelaySeconds = 22;
        config.params.restartWindowSeconds = 8;
        config.params.idleBatchAgeSeconds = 5;
        _deploy(config);

        _name(address(this));
        _name(_keeper);
        _name(_thief);
        _name(_senders[0]);
        _name(_senders[1]);
        for (uint256 i = 0; i < 4; ++i) {
            _joinAs(STAKE_WEI);
        }
        _registerRollup(ROLLUP);
        _registerRollup(OTHER_ROLLUP);
        // Enough for signers whatever they are paid: what is paid is bounded by time, and not by what there is.
        _fund(0.1 ether, 1_000_000 ether);
        _startEpoch(0);
        _keepUp();
        _travel(settlement.startOf(1), true);
    }

    function _registerRollup(uint64 chainId) private {
        uint256 sentWei = p.rollupFeeWei + 0.05 ether;
        vm.deal(address(this), sentWei);
        rollups.register{value: sentWei}(chainId);
        _ethInWei += sentWei;
        feesBurnedWei += p.rollupFeeWei;
    }

    function _fund(uint256 ethWei, uint256 tokenWei) internal {
        vm.deal(address(this), ethWei);
        token.mint(address(this), tokenWei);
        token.approve(at.rewardPool, tokenWei);
        rewardPool.fund{value: ethWei}(tokenWei);
        _ethInWei += ethWei;
        _tokensInWei += tokenWei;
    }

    function _joinAs(uint256 stakeWei) internal returns (bool done) {
        uint256 number = _keysUsed++;
        (address owner,) = makeAddrAndKey(string.concat("owner ", vm.toString(number)));
        address signer = _actor(number).signer;
        _give(owner, stakeWei);
        bytes memory proof = _proof(owner, _keyOf(signer));
        (done,) = _try(owner, at.registry, abi.encodeCall(registry.join, (signer, ENDPOINT, stakeWei, proof)));
        if (!done) return false;

        _tokensInWei += stakeWei;
        _heardAt[registry.idOf(signer)] = block.timestamp;
        _name(signer);
    }

    /* ACTING */

    /// @dev Calls `target` as `caller`. A refusal is as good as success, but only if what it says is so.
    function _try(address caller, address target, bytes memory call) internal returns (bool ok, bytes memory answer) {
        vm.prank(caller);
        (ok, answer) = target.call(call);
        if (!ok) _requireSo(answer);
    }

    function _did(string memory what) internal {
        ++times[what];
    }

    /// @dev From now on ETH may be in the name of `account`.
    function _name(address account) internal {
        if (_isNamed[account]) return;
        _isNamed[account] = true;
        _named.push(account);
    }

    /// @inheritdoc Refusals
    function _isHeardOf(uint32 id, uint256 time) internal view override returns (bool) {
        return _heardAt[id] >= time;
    }

    /* TIME */

    /// @dev Time goes on to `time`, if it is ahead; keepers do meanwhile in each epoch what they do, or they do not.
    function _travel(uint256 time, bool kept) internal {
        while (block.timestamp < time) {
            if (kept) _keepUp();
            uint256 next = settlement.startOf(_epoch() + 1);
            _warpTo(next < time ? next : time);
        }
    }

    /// @dev Churn moves and the next epoch is sealed, or the running one if nobody is left in its set.
    function _keepUp() internal {
        _try(_keeper, at.registry, abi.encodeCall(registry.flush, (type(uint256).max)));
        for (uint64 next = 0; next < 2 && settlement.pinned() == 0; ++next) {
            _try(_keeper, at.settlement, abi.encodeCall(settlement.pin, (_epoch() + 1 - next)));
        }
        if (settlement.pinned() == 0) return;
        bytes memory header = _mineWithHeader(settlement.pinned());
        (bool done,) = _try(_keeper, at.settlement, abi.encodeCall(settlement.seal, (_epoch() + 1, header)));
        if (!done) (done,) = _try(_keeper, at.settlement, abi.encodeCall(settlement.seal, (_epoch(), header)));
        if (done) _did("sealed");
    }

    /// @dev Credits what is due, as whoever wants to put stake in does first.
    function _creditDue() internal virtual;

    /* PICKING */

    /// @dev Mostly somebody who is not convicted: of a long run's sequencers most are.
    function _pickId(uint256 who) internal view returns (uint32 id) {
        uint32 n = registry.count();
        id = uint32(who % n) + 1;
        for (uint256 i = 0; who % 4 != 0 && i < n && _isConvicted(id); ++i) {
            id = id % n + 1;
        }
    }

    function _isConvicted(uint32 id) internal view returns (bool) {
        return registry.sequencer(id).status == Status.Tombstoned;
    }

    function _pickOwner(uint256 who) internal view returns (uint32 id, address owner) {
        id = _pickId(who);
        owner = registry.ownerOf(id);
    }

    function _activeCount() internal view returns (uint256 active) {
        for (uint32 id = 1; id <= registry.count(); ++id) {
            if (registry.sequencer(id).status == Status.Active) ++active;
        }
    }

    /* THE BOOKS */

    function tokenBooks() external view returns (TokenBooks memory books) {
        (, books.freeWei) = rewardPool.freeWei();
        books.poolsWei = poolsWei();
        books.commissionsWei = commissionsWei();
        books.bountiesWei = slasher.bountyOf(_reporters[0]) + slasher.bountyOf(_reporters[1]);
        books.toBurnWei = slasher.toBurn();
        books.burnedWei = token.balanceOf(BURN);
        books.reservedWei = _reservedWei;
        books.paidOutWei = _tokensOutWei;
        books.putInWei = _tokensInWei;
    }

    function ethBooks() external view returns (EthBooks memory books) {
        (books.freeWei,) = rewardPool.freeWei();
        (books.setAsideWei, books.owedAsideWei) = rewardPool.setAside();
        books.namedWei = namedWei();
        books.owedWei = rewardPool.owed();
        books.owedToNamedWei = owedToNamedWei();
        books.rollupsWei = rollupsWei();
        books.burnedWei = BURN.balance;
        books.paidOutWei = _ethOutWei;
        books.putInWei = _ethInWei;
    }

    /// @notice What all pools hold, shares that wait to leave or to be claimed included.
    function poolsWei() public view returns (uint256 sumWei) {
        for (uint32 id = 1; id <= registry.count(); ++id) {
            sumWei += registry.assetsOf(id);
        }
    }

    function commissionsWei() public view returns (uint256 sumWei) {
        for (uint32 id = 1; id <= registry.count(); ++id) {
            sumWei += rewardPool.commissionBalance(id);
        }
    }

    function namedWei() public view returns (uint256 sumWei) {
        for (uint256 i = 0; i < _named.length; ++i) {
            sumWei += rewardPool.posterBalance(_named[i]);
        }
    }

    function owedToNamedWei() public view returns (uint256 sumWei) {
        for (uint256 i = 0; i < _named.length; ++i) {
            sumWei += rewardPool.owedTo(_named[i]);
        }
    }

    /// @notice All that signers can have earned: the time that the settled chain has run for, at its price.
    function chainTimeWei() external view returns (uint256) {
        return p.signersSecondWei * (settlement.tip().timestamp - p.genesis);
    }

    function rollupsWei() public view returns (uint256) {
        return rollups.rollup(ROLLUP).balanceWei + rollups.rollup(OTHER_ROLLUP).balanceWei;
    }

    /// @notice Shares of `id` as its holders and the exits that nobody claimed yet have them, and as its pool has them.
    function sharesOfAll(uint32 id) external view returns (uint256 heldAndLeaving, uint256 inPool) {
        Sequencer memory entry = registry.sequencer(id);
        // Working and resting shares are apart in the pool; that each of them adds up, their sums show.
        inPool = entry.shares + entry.restingShares;
        heldAndLeaving = registry.sharesOf(id, entry.owner) + registry.waitingSharesOf(id, entry.owner);
        for (uint256 i = 0; i < _delegators.length; ++i) {
            heldAndLeaving += registry.sharesOf(id, _delegators[i]) + registry.waitingSharesOf(id, _delegators[i]);
        }
        for (uint256 i = 0; i < _openExits.length; ++i) {
            Exit memory exit = registry.exit(_openExits[i]);
            if (exit.sequencer == id) heldAndLeaving += exit.restingShares + exit.queuedShares;
        }
    }

    /* HANDLES */

    function system() external view returns (address[6] memory contracts, address stakeToken) {
        contracts = [at.registry, at.settlement, at.tally, at.slasher, at.rewardPool, at.rollups];
        stakeToken = at.stakeToken;
    }

    function count() external view returns (uint32) {
        return registry.count();
    }
}
