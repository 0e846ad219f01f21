// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {Exit, ISequencerRegistry, Sequencer, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {SetLib} from "../../contracts/lib/SetLib.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Actor, System} from "../utils/System.sol";

/// Acts as owners, delegators, the slasher and time do, in a set of few seats. Every action either finds somebody for whom it
/// is allowed, or is refused for the one reason that it names.
contract StakeHandler is System {
    uint256 public depositedWei;
    uint256 public claimedWei;
    uint256 public slashedWei;
    uint256 public donatedWei;
    uint64 public sealedLast;

    /// Weight by which an epoch's churn ever exceeded its limit.
    uint256 public excess;
    /// By how much slashes of the running epoch took more of the weight of its start than of what counts next.
    uint256 private _madeUp;
    /// The most who ever weighed something at the start of an epoch.
    uint256 public mostMembers;
    /// Who ever weighed something when an epoch began and had no seat to be sealed from.
    uint256 public seatless;
    /// What was credited, and how much of it what rests was ever worth more afterwards, or who weighed nothing got.
    uint256 public rewardedWei;
    uint256 public earnedByRestWei;

    address[3] private _delegators;
    uint256[] private _open;
    uint256 private _keysUsed;
    mapping(uint32 id => uint256 number) private _numberOf;

    constructor() {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.maxMembers = 3;
        _deploy(config);
        for (uint256 i = 0; i < 3; ++i) {
            _delegators[i] = makeAddr(string.concat("delegator ", vm.toString(i)));
            _joinAs(STAKE_WEI);
        }
        _sealFirst();
    }

    /* ACTIONS */

    function join(uint256 stakeWei) external {
        if (registry.count() >= 16) return;
        _joinAs(bound(stakeWei, p.minStakeWei, 1000 ether));
    }

    function topUp(uint256 who, uint256 amountWei) external {
        Actor memory actor = _pick(who);
        Sequencer memory entry = registry.sequencer(actor.id);
        if (entry.status != Status.Active && entry.status != Status.Jailed) return;
        // A pool slashed to next to nothing prices its shares beyond what 128 bits hold; it is as good as dead.
        if (entry.assetsWei < 1 ether || registry.sharesOf(actor.id, actor.owner) == 0) return;
        amountWei = bound(amountWei, p.weightUnitWei, 1000 ether);
        _give(actor.owner, amountWei);

        bytes memory call = abi.encodeCall(registry.topUp, (actor.id, amountWei));
        if (_try(actor.owner, call, ISequencerRegistry.PoolClosing.selector)) depositedWei += amountWei;
    }

    function delegate(uint256 who, uint256 delegator, uint256 amountWei) external {
        Actor memory actor = _pick(who);
        Sequencer memory entry = registry.sequencer(actor.id);
        if (entry.status != Status.Active || entry.assetsWei < 1 ether) return;
        amountWei = bound(amountWei, p.weightUnitWei, 1000 ether);
        address holder = _delegators[bound(delegator, 0, 2)];
        _give(holder, amountWei);

        vm.prank(holder);
        registry.delegate(actor.id, amountWei);
        depositedWei += amountWei;
    }

    function undelegate(uint256 who, uint256 delegator, uint256 shares) external {
        Actor memory actor = _pick(who);
        address holder = _delegators[bound(delegator, 0, 2)];
        uint256 holding = registry.sharesOf(actor.id, holder);
        if (holding == 0) return;

        vm.prank(holder);
        _open.push(registry.requestExit(actor.id, bound(shares, 1, holding)));
    }

    /// Who waits to work takes a part of it back, or all; an owner keeps enough.
    function leaveQueue(uint256 who, uint256 delegator) external {
        Actor memory actor = _pick(who);
        _leaveQueue(actor.id, _delegators[bound(delegator, 0, 2)]);
    }

    /// An owner tops up, takes out what works, and then what waits, if it does.
    function leaveInTwoParts(uint256 who) external {
        this.topUp(who, 1000 ether);
        Actor memory actor = _pick(who);
        _leaveAs(actor, registry.sharesOf(actor.id, actor.owner), 0);
        _leaveAs(actor, 0, registry.waitingSharesOf(actor.id, actor.owner));
    }

    function _leaveAs(Actor memory actor, uint256 shares, uint256 waiting) private {
        if (shares == 0 && waiting == 0) return;
        vm.prank(actor.owner);
        (bool ok, bytes memory answer) =
            address(registry).call(abi.encodeCall(registry.leave, (actor.id, shares, waiting)));
        if (ok) return _open.push(abi.decode(answer, (uint256)));
        // Casting is safe: an error begins with its selector.
        bytes4 reason = bytes4(answer);
        require(
            reason == ISequencerRegistry.RestBelowMinimum.selector || reason == IRewardPool.SelfBondTooSmall.selector,
            "leave was refused for another reason"
        );
    }

    function _leaveQueue(uint32 id, address holder) private {
        uint256 waiting = registry.waitingSharesOf(id, holder);
        if (waiting == 0) return;
        vm.prank(holder);
        _open.push(registry.leave(id, 0, waiting));
    }

    function flush(uint256 max) external {
        _try(
            address(this), abi.encodeCall(registry.flush, (bound(max, 1, 20))), ISequencerRegistry.NothingMoves.selector
        );
    }

    function unjail(uint256 who) external {
        Actor memory actor = _pick(who);
        if (registry.sequencer(actor.id).status != Status.Jailed) return;
        vm.prank(actor.owner);
        (bool ok, bytes memory answer) = address(registry).call(abi.encodeCall(registry.unjail, (actor.id)));
        bytes4 reason = bytes4(answer);
        require(
            ok || reason == ISequencerRegistry.StakeBelowMinimum.selector
                || reason == ISequencerRegistry.ActiveSetFull.selector
                || reason == ISequencerRegistry.PoolClosing.selector,
            "unjail was refused for another reason"
        );
    }

    function requestExit(uint256 who, uint256 shares) external {
        Actor memory actor = _pick(who);
        uint256 holding = registry.sharesOf(actor.id, actor.owner);
        if (holding == 0) return;
        shares = bound(shares, 1, holding);
        Sequencer memory entry = registry.sequencer(actor.id);
        uint256 waiting = registry.waitingSharesOf(actor.id, actor.owner);
        uint256 rest = Math.mulDiv(entry.assetsWei - entry.restingWei + 1, holding - shares, entry.shares + 1000)
            + Math.mulDiv(entry.restingWei + 1, waiting, entry.restingShares + 1000);
        // Nothing stays of what is less than the minimum.
        bool all = rest < p.minStakeWei;
        if (all) shares = holding;

        vm.prank(actor.owner);
        _open.push(registry.leave(actor.id, shares, all ? waiting : 0));
    }

    /// @dev Waits for the clock of the exit, as its holder would; the set after the last one that counts it has to be sealed.
    function claim(uint256 which) external {
        if (_open.length == 0) return;
        which = bound(which, 0, _open.length - 1);
        uint256 exitId = _open[which];
        (bool known, uint64 time) = registry.claimableAt(exitId);
        if (!known) return;
        _warpTo(time);

        vm.prank(registry.exit(exitId).holder);
        claimedWei += registry.claim(exitId);
        _open[which] = _open[_open.length - 1];
        _open.pop();
    }

    function slash(uint256 who, uint256 amountWei, bool tombstone) external {
        Actor memory actor = _pick(who);
        amountWei = bound(amountWei, 0, registry.assetsOf(actor.id) * 11 / 10);
        // Else next to nobody would be left to be evicted.
        if (amountWei % 2 == 0) amountWei /= 50;

        uint256 weight = registry.sequencer(actor.id).weight;
        uint256 before = _weights();
        vm.prank(at.slasher);
        slashedWei += registry.slash(actor.id, amountWei, tombstone && amountWei % 4 == 0);
        // What it had when the epoch began sinks with its assets; what it has from the next one on only as far as rewards, which
        // weigh nothing, do not make up for it.
        uint256 sank = weight - registry.sequencer(actor.id).weight;
        uint256 sankBefore = before - _weights();
        if (sankBefore > sank) _madeUp += sankBefore - sank;
    }

    /// The reward pool credits somebody: the price of a share rises, often by odd amounts.
    function reward(uint256 who, uint256 amountWei) external {
        Actor memory actor = _pick(who);
        Sequencer memory before = registry.sequencer(actor.id);
        amountWei = bound(amountWei, 1, 40 ether) / (who % 3 == 0 ? 7 : 1);
        vm.prank(at.rewardPool);
        if (!registry.creditReward(actor.id, amountWei)) return;
        token.mint(at.registry, amountWei);
        rewardedWei += amountWei;

        Sequencer memory entry = registry.sequencer(actor.id);
        earnedByRestWei += entry.restingWei - before.restingWei;
        if (before.weight == 0) earnedByRestWei += amountWei;
    }

    function jail(uint256 who) external {
        Actor memory actor = _pick(who);
        if (registry.sequencer(actor.id).status == Status.Tombstoned) return;

        vm.prank(at.slasher);
        registry.jail(actor.id, 0, 0);
    }

    function rotate(uint256 who) external {
        Actor memory actor = _pick(who);
        Status status = registry.sequencer(actor.id).status;
        if (status != Status.Active && status != Status.Jailed) return;
        Actor memory next = _actor(_keysUsed++);
        bytes memory proof = _proof(actor.owner, next.key);

        vm.prank(actor.owner);
        registry.rotateSigner(actor.id, next.signer, proof);
    }

    function donate(uint256 amountWei) external {
        amountWei = bound(amountWei, 0, 1000 ether);
        token.mint(address(registry), amountWei);
        donatedWei += amountWei;
    }

    function seal() external {
        uint64 next = _epoch() + 1;
        if (sealedLast == next || registry.membersAtEpochStart(0).length < p.minMembers) return;
        if (_trySealSet(next)) sealedLast = next;
    }

    /// @dev Looks at what an epoch has let in when the next one begins.
    function pass(uint256 seconds_) external {
        uint64 next = _epoch() + 1;
        seconds_ = bound(seconds_, 1, 2 * p.epochSeconds);
        if (block.timestamp + seconds_ < settlement.startOf(next)) {
            _advance(seconds_);
            return;
        }

        uint256 limit = registry.churn().limit;
        uint256 before = _weights();
        _startEpoch(next);
        uint256 now_ = _weights();
        if (limit != type(uint64).max && now_ > before + limit + _madeUp) excess = now_ - before - limit - _madeUp;
        _madeUp = 0;
    }

    /* WHAT THE INVARIANTS READ */

    function openExits() external view returns (uint256[] memory) {
        return _open;
    }

    function _joinAs(uint256 stakeWei) private {
        uint256 number = _keysUsed++;
        Actor memory actor = _actor(number);
        _give(actor.owner, stakeWei);
        bytes memory proof = _proof(actor.owner, actor.key);
        bytes memory call = abi.encodeCall(registry.join, (actor.signer, ENDPOINT, stakeWei, proof));
        if (!_try(actor.owner, call, ISequencerRegistry.ActiveSetFull.selector)) return;

        _numberOf[registry.idOf(actor.signer)] = number;
        depositedWei += stakeWei;
    }

    /// @dev Whether the registry did it; if not, it said `reason`.
    function _try(address caller, bytes memory call, bytes4 reason) private returns (bool ok) {
        bytes memory answer;
        vm.prank(caller);
        (ok, answer) = address(registry).call(call);
        require(ok || bytes4(answer) == reason, "refused for another reason");
    }

    function _weights() private returns (uint256 sum) {
        uint256[] memory words = registry.membersAtEpochStart(0);
        if (words.length > mostMembers) mostMembers = words.length;
        uint256 weighing;
        for (uint32 id = 1; id <= registry.count(); ++id) {
            if (registry.sequencer(id).weight != 0) ++weighing;
        }
        if (weighing > p.maxMembers) seatless += weighing - p.maxMembers;
        for (uint256 i = 0; i < words.length; ++i) {
            sum += SetLib.weightOf(words[i]);
        }
    }

    /// @dev The owner stays that of the number with which it joined, whatever its key is now.
    function _pick(uint256 who) private returns (Actor memory actor) {
        uint32 id = uint32(bound(who, 1, registry.count()));
        actor = _actor(_numberOf[id]);
        actor.id = id;
    }

    /* HANDLES, FOR THE INVARIANT CONTRACT */

    function contracts() external view returns (address registry_, address settlement_, address token_) {
        return (at.registry, at.settlement, at.stakeToken);
    }

    function heldByDelegators(uint32 id) external view returns (uint256 shares, uint256 waiting) {
        for (uint256 i = 0; i < 3; ++i) {
            shares += registry.sharesOf(id, _delegators[i]);
            waiting += registry.waitingSharesOf(id, _delegators[i]);
        }
    }

    function maxMembers() external view returns (uint256) {
        return p.maxMembers;
    }

    function weightUnitWei() external view returns (uint256) {
        return p.weightUnitWei;
    }
}

/// Invariants of stake; README.md says them in words.
contract StakeInvariants is System {
    StakeHandler private _handler;

    function setUp() public {
        _handler = new StakeHandler();
        (at.registry, at.settlement, at.stakeToken) = _handler.contracts();
        _attach();

        bytes4[] memory actions = new bytes4[](21);
        actions[0] = StakeHandler.join.selector;
        actions[1] = StakeHandler.topUp.selector;
        actions[2] = StakeHandler.requestExit.selector;
        actions[3] = StakeHandler.claim.selector;
        actions[4] = StakeHandler.slash.selector;
        actions[5] = StakeHandler.jail.selector;
        actions[6] = StakeHandler.rotate.selector;
        actions[7] = StakeHandler.donate.selector;
        actions[8] = StakeHandler.seal.selector;
        actions[9] = StakeHandler.pass.selector;
        actions[10] = StakeHandler.delegate.selector;
        actions[11] = StakeHandler.undelegate.selector;
        actions[12] = StakeHandler.flush.selector;
        actions[13] = StakeHandler.unjail.selector;
        // Twice as often as the rest.
        actions[14] = StakeHandler.join.selector;
        actions[15] = StakeHandler.unjail.selector;
        actions[16] = StakeHandler.reward.selector;
        actions[17] = StakeHandler.reward.selector;
        actions[18] = StakeHandler.leaveQueue.selector;
        actions[19] = StakeHandler.flush.selector;
        actions[20] = StakeHandler.leaveInTwoParts.selector;
        targetContract(address(_handler));
        targetSelector(FuzzSelector({addr: address(_handler), selectors: actions}));
    }

    function invariant_stakeIsBackedByTokens() public view {
        assertEq(token.balanceOf(at.registry), _assets() + _handler.donatedWei() + _handler.slashedWei());
    }

    function invariant_nothingIsLostOrMade() public view {
        uint256 inWei = _handler.depositedWei() + _handler.rewardedWei();
        assertEq(inWei, _assets() + _handler.claimedWei() + _handler.slashedWei());
    }

    function invariant_sharesAddUp() public view {
        uint256 n = registry.count();
        uint256[] memory leaving = new uint256[](n + 1);
        uint256[] memory queued = new uint256[](n + 1);
        uint256[] memory open = _handler.openExits();
        for (uint256 i = 0; i < open.length; ++i) {
            Exit memory exit = registry.exit(open[i]);
            leaving[exit.sequencer] += exit.restingShares;
            queued[exit.sequencer] += exit.queuedShares;
        }
        for (uint32 id = 1; id <= n; ++id) {
            Sequencer memory entry = registry.sequencer(id);
            (uint256 held, uint256 waiting) = _handler.heldByDelegators(id);
            held += registry.sharesOf(id, entry.owner);
            waiting += registry.waitingSharesOf(id, entry.owner);
            assertEq(entry.shares, held + queued[id]);
            assertEq(entry.waitingShares, waiting);
            assertEq(entry.restingShares, waiting + leaving[id]);
            assertLe(entry.restingWei, entry.assetsWei);
            assertLe(uint256(entry.weight) * _handler.weightUnitWei(), entry.assetsWei - entry.restingWei);
        }
    }

    function invariant_churnStaysWithinItsLimit() public view {
        assertEq(_handler.excess(), 0);
    }

    function invariant_noMoreCountThanThereAreSeats() public view {
        assertLe(_handler.mostMembers(), _handler.maxMembers());
        assertLe(registry.membersAtEpochStart(0).length, _handler.maxMembers());
        assertEq(_handler.seatless(), 0);
    }

    /// @dev Not evicted nor jailed alone: closed by its owner's last exit, of which nothing waits any more.
    function invariant_whoHasLeftForGoodWeighsNothing() public view {
        if (registry.churn().exits != 0) return;
        for (uint32 id = 1; id <= registry.count(); ++id) {
            Sequencer memory entry = registry.sequencer(id);
            if (entry.status == Status.Leaving) assertEq(entry.weight, 0);
        }
    }

    function invariant_whatRestsOrWeighsNothingEarnsNothing() public view {
        assertEq(_handler.earnedByRestWei(), 0);
    }

    function invariant_sharesNeverBuyMoreThanTheAssets() public view {
        for (uint32 id = 1; id <= registry.count(); ++id) {
            Sequencer memory entry = registry.sequencer(id);
            uint256 workingWei = entry.assetsWei - entry.restingWei;
            assertLe(Math.mulDiv(entry.shares, workingWei + 1, entry.shares + 1000), workingWei);
            uint256 resting = entry.restingShares;
            assertLe(Math.mulDiv(resting, entry.restingWei + 1, resting + 1000), entry.restingWei);
        }
    }

    function invariant_noWeightAboveStake() public view {
        uint256[] memory words = registry.membersAtEpochStart(0);
        for (uint256 i = 0; i < words.length; ++i) {
            uint32 id = registry.idOf(SetLib.signerOf(words[i]));
            assertLe(SetLib.weightOf(words[i]) * _handler.weightUnitWei(), registry.assetsOf(id));
        }
    }

    function invariant_frozenSetsAreSound() public view {
        LeaderSet memory set = settlement.leaderSet(_handler.sealedLast());
        uint256 sum;
        for (uint256 i = 0; i < set.members.length; ++i) {
            if (i != 0) assertGt(uint160(set.members[i].signer), uint160(set.members[i - 1].signer));
            assertGt(set.members[i].weight, 0);
            sum += set.members[i].weight;
        }
        assertEq(set.total, sum);
        assertLe(set.members.length, SetLib.MAX_MEMBERS);
    }

    function _assets() private view returns (uint256 sum) {
        for (uint32 id = 1; id <= registry.count(); ++id) {
            sum += registry.assetsOf(id);
        }
    }
}
