// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {Exit, Sequencer, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {Offences} from "../utils/Offences.sol";

/// Attacks on what a pool earns, by stake that carries nothing.
contract PoolsAttacksTest is Offences {
    address private _dora = makeAddr("dora");
    address private _whale = makeAddr("whale");
    uint32 private _id;

    function setUp() public {
        _begin(4);
        _id = _idAt(0);
        _fund(1000 ether);
    }

    /* 115: EXITS THAT NOBODY CLAIMS */

    /// 115: an exit whose clock has run out long ago, and that its holder leaves where it is, has no part in what others earn.
    function test_attack115_aMaturedExitEarnsNothing() public {
        _delegateAs(_dora, STAKE_WEI);
        _sealThrough(4);
        uint256 exitId = _exitAllOf(_dora);
        while (!_isClaimable(exitId)) _sealThrough(_epoch() + 1);

        uint256 before = registry.assetsOf(_id);
        _workFor(10, 3);
        _creditAll();
        uint256 earnedWei = registry.assetsOf(_id) - before;
        assertGt(earnedWei, 1 ether);

        vm.prank(_dora);
        assertEq(registry.claim(exitId), STAKE_WEI);
        assertApproxEqAbs(_worthOf(registry.ownerOf(_id)), STAKE_WEI + earnedWei, 2);
    }

    /// 115: nor does one that has left the queue and waits for its clock; while it is in the queue it counts, and earns.
    function test_attack115_anExitEarnsAsLongAsItCounts() public {
        _delegateAs(_dora, STAKE_WEI);
        _sealThrough(4);
        _work(3);
        _startEpoch(_epoch() + p.maxEpochLag + 1);
        _creditAll();
        uint256 worthWei = _worthOf(_dora);
        assertGt(worthWei, STAKE_WEI);

        uint256 exitId = _exitAllOf(_dora);
        Exit memory left = registry.exit(exitId);
        Sequencer memory pool = registry.sequencer(_id);
        assertEq(left.queuedShares, 0);
        assertApproxEqAbs(left.restingShares * pool.restingWei / pool.restingShares, worthWei, 2);
        _seal();
        _work(3);
        _startEpoch(_epoch() + p.maxEpochLag + 1);
        _creditAll();
        assertEq(registry.sequencer(_id).restingWei, pool.restingWei);
    }

    /* 116: DELEGATIONS THAT NEVER COUNTED */

    /// 116: a hundred times the pool that waits for its turn takes nothing of what the pool earns meanwhile.
    function test_attack116_whatWaitsTakesNothingOfWhatOthersCarry() public {
        // The epoch's limit is used up before the whale comes.
        _give(_dora, 100 ether);
        uint32 other = _idAt(1);
        vm.prank(_dora);
        registry.delegate(other, 100 ether);
        _delegateAs(_whale, 10_000 ether);
        assertEq(registry.sharesOf(_id, _whale), 0);

        _work(10);
        _startEpoch(_epoch() + p.maxEpochLag + 1);
        uint256 before = registry.assetsOf(_id);
        _creditAll();
        uint256 earnedWei = registry.assetsOf(_id) - before;
        assertGt(earnedWei, 1 ether);

        assertEq(registry.sequencer(_id).restingWei, 10_000 ether);
        assertApproxEqAbs(_worthOf(registry.ownerOf(_id)), STAKE_WEI + earnedWei, 2);
        // And when its turn comes it pays for what is in the pool by then.
        _sealThrough(_epoch() + 2);
        assertGt(registry.sharesOf(_id, _whale), 0);
        assertLe(_worthOf(_whale), 10_000 ether);
    }

    /// 116: whoever takes back what waits gets what it brought, less what was slashed meanwhile, in proportion.
    function test_attack116_whatWaitsIsSlashedInProportion() public {
        _give(_dora, 100 ether);
        uint32 other = _idAt(1);
        vm.prank(_dora);
        registry.delegate(other, 100 ether);
        _delegateAs(_whale, 300 ether);
        vm.prank(at.slasher);
        registry.slash(_id, 40 ether, false);

        assertEq(registry.sequencer(_id).restingWei, 270 ether);
        assertEq(registry.assetsOf(_id), 360 ether);
        uint256 waiting = registry.waitingSharesOf(_id, _whale);
        vm.prank(_whale);
        uint256 exitId = registry.leave(_id, 0, waiting);
        while (!_isClaimable(exitId)) _sealThrough(_epoch() + 1);
        vm.prank(_whale);
        assertApproxEqAbs(registry.claim(exitId), 270 ether, 1);
    }

    /// 116: an owner refuses what it does not want, by a cap or altogether.
    function test_attack116_anOwnerCapsWhatOthersDelegate() public {
        vm.prank(registry.ownerOf(_id));
        rewardPool.setDelegationCap(_id, 50 ether);
        _delegateAs(_dora, 50 ether);
        _give(_whale, 1 ether);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.DelegationAboveCap.selector, 50 ether, 51 ether));
        vm.prank(_whale);
        registry.delegate(_id, 1 ether);

        vm.expectRevert(abi.encodeWithSelector(IRewardPool.NotOwner.selector, registry.ownerOf(_id), address(this)));
        rewardPool.setDelegationCap(_id, 0);
        vm.prank(registry.ownerOf(_id));
        rewardPool.setDelegationCap(_id, type(uint256).max);
        assertEq(rewardPool.delegationCap(_id), type(uint128).max);
        _delegateAs(_whale, 1 ether);
    }

    /* 119: REWARDS THAT NOBODY TALLIED */

    /// 119: twenty epochs that settled and that nobody tallied: a deposit waits until they are credited, and shares in none.
    function test_attack119_aDepositSharesInNoUntalliedEpoch() public {
        for (uint256 i = 0; i < 20; ++i) {
            _settle(_nextHeader(8));
            _sealThrough(_epoch() + 1);
        }
        assertTrue(tally.isBehind());
        _delegateAs(_whale, 900 ether);
        assertEq(registry.sharesOf(_id, _whale), 0);
        _sealThrough(_epoch() + 1);
        assertEq(registry.sharesOf(_id, _whale), 0);

        uint256 before = registry.assetsOf(_id);
        _tallyAll();
        _creditAll();
        uint256 earnedWei = registry.assetsOf(_id) - before;
        assertGt(earnedWei, 3 ether);
        // What the pool earned goes to work before the deposit does, and both within the budget of epochs.
        for (uint256 i = 0; i < 8; ++i) {
            _sealThrough(_epoch() + 1);
            _creditAll();
        }
        assertGt(registry.sharesOf(_id, _whale), 0);
        assertLe(_worthOf(_whale), 900 ether);
        assertGe(_worthOf(registry.ownerOf(_id)) + 2, STAKE_WEI + earnedWei);
    }

    /// 119: a flood of batches keeps nobody's deposit out: anybody tallies it away, and if nobody ever does, the deposit goes to
    /// work an exitDelay later.
    function test_attack119_aFloodHoldsNoDepositForEver() public {
        for (uint256 i = 0; i < 40; ++i) {
            _settle(_nextHeader(1));
        }
        _sealThrough(_epoch() + p.maxEpochLag + 1);
        _settle(_nextHeader(1));
        assertTrue(tally.isBehind());
        _delegateAs(_dora, 10 ether);
        assertEq(registry.sharesOf(_id, _dora), 0);

        uint256 snapshot = vm.snapshotState();
        _tallyAll();
        _creditAll();
        assertTrue(_flush());
        assertGt(registry.sharesOf(_id, _dora), 0);

        vm.revertToState(snapshot);
        _advance(p.exitDelaySeconds - 1);
        assertFalse(_flush());
        _advance(1);
        assertTrue(_flush());
        assertGt(registry.sharesOf(_id, _dora), 0);
    }

    /// 119: what leaves does not wait for rewards at all.
    function test_attack119_exitsMoveWhileDepositsWait() public {
        for (uint256 i = 0; i < 8; ++i) {
            _settle(_nextHeader(8));
            _sealThrough(_epoch() + 1);
        }
        assertTrue(tally.isBehind());
        _delegateAs(_dora, 10 ether);
        address owner = registry.ownerOf(_id);
        uint256 shares = registry.sharesOf(_id, owner);
        vm.prank(owner);
        uint256 exitId = registry.requestExit(_id, shares);
        assertEq(registry.exit(exitId).queuedShares, 0);
        assertEq(uint8(registry.sequencer(_id).status), uint8(Status.Leaving));
    }

    /* 136: WHATEVER HAPPENS */

    /// 136: whatever is deposited, credited, slashed, moved and sent on its way, in any order: what rests is worth no more
    /// after a credit than before, a slash takes the same part of both, and all together can be paid.
    /// forge-config: default.fuzz.runs = 64
    function testFuzz_property136_whatDoesNotCountEarnsNothing(uint256 seed) public {
        for (uint256 i = 0; i < 40; ++i) {
            uint256 drawn = uint256(keccak256(abi.encode(seed, i)));
            address holder = drawn % 2 == 0 ? _dora : _whale;
            uint256 amountWei = 1 ether + (drawn >> 64) % 200 ether;
            uint256 what = (drawn >> 8) % 6;
            bool active = registry.sequencer(_id).status == Status.Active;
            if (what == 0 && active) _delegateAs(holder, amountWei);
            if (what == 1) _expectCreditOfWhatWorks(amountWei / 10);
            if (what == 2 && active) _expectSlashOfBoth(amountWei / 100);
            if (what == 3) _flush();
            if (what == 4) _leaveSome(holder, drawn >> 128);
            if (what == 5) _startEpoch(_epoch() + 1);
        }
        Sequencer memory pool = registry.sequencer(_id);
        assertLe(pool.restingWei, pool.assetsWei);
        assertLe(uint256(pool.weight) * p.weightUnitWei, pool.assetsWei - pool.restingWei);
        assertLe(_worthOf(_dora) + _worthOf(_whale), pool.assetsWei - pool.restingWei);
    }

    function _expectCreditOfWhatWorks(uint256 amountWei) private {
        Sequencer memory before = registry.sequencer(_id);
        vm.prank(at.rewardPool);
        bool taken = registry.creditReward(_id, amountWei);
        if (taken) token.mint(at.registry, amountWei);
        Sequencer memory pool = registry.sequencer(_id);
        assertEq(pool.restingWei, before.restingWei);
        assertEq(pool.assetsWei, before.assetsWei + (taken ? amountWei : 0));
        assertEq(pool.weight, before.weight);
        assertEq(taken, before.weight != 0);
    }

    function _expectSlashOfBoth(uint256 amountWei) private {
        Sequencer memory before = registry.sequencer(_id);
        vm.prank(at.slasher);
        uint256 slashedWei = registry.slash(_id, amountWei, false);
        uint256 restingWei = before.restingWei - registry.sequencer(_id).restingWei;
        assertEq(restingWei, before.restingWei * slashedWei / before.assetsWei);
    }

    function _leaveSome(address holder, uint256 drawn) private {
        uint256 shares = registry.sharesOf(_id, holder);
        uint256 waiting = registry.waitingSharesOf(_id, holder);
        (shares, waiting) = (shares / (1 + drawn % 3), drawn % 2 == 0 ? waiting : 0);
        if (shares + waiting == 0) return;
        vm.prank(holder);
        registry.leave(_id, shares, waiting);
    }

    /// 136: a deployment asks its owners for a least part of what they lead; neither a delegation nor an exit goes below it.
    function test_property136_anOwnerHoldsItsLeastPart() public {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.minSelfBondBps = 2000;
        _deploy(config);
        uint32 id = _join(0, 2 * STAKE_WEI).id;
        address owner = registry.ownerOf(id);
        _give(_dora, 2000 ether);
        vm.startPrank(_dora);
        registry.delegate(id, 800 ether);
        vm.expectRevert(abi.encodeWithSelector(IRewardPool.SelfBondTooSmall.selector, 200.2 ether, 200 ether));
        registry.delegate(id, 1 ether);
        vm.stopPrank();

        vm.expectPartialRevert(IRewardPool.SelfBondTooSmall.selector);
        vm.prank(owner);
        registry.requestExit(id, 1000 ether);
        // Who leaves altogether leaves nobody behind that it would have to lead.
        uint256 all = registry.sharesOf(id, owner);
        vm.prank(owner);
        registry.requestExit(id, all);
    }

    /* PARTS */

    function _fund(uint256 tokenWei) private {
        token.mint(address(this), tokenWei);
        token.approve(at.rewardPool, tokenWei);
        rewardPool.fund(tokenWei);
    }

    function _delegateAs(address holder, uint256 amountWei) private {
        _give(holder, amountWei);
        vm.prank(holder);
        registry.delegate(_id, amountWei);
    }

    function _exitAllOf(address holder) private returns (uint256 exitId) {
        uint256 shares = registry.sharesOf(_id, holder);
        uint256 waiting = registry.waitingSharesOf(_id, holder);
        vm.prank(holder);
        return registry.leave(_id, shares, waiting);
    }

    function _isClaimable(uint256 exitId) private view returns (bool) {
        (bool known, uint64 time) = registry.claimableAt(exitId);
        return known && time <= block.timestamp;
    }

    function _worthOf(address holder) private view returns (uint256) {
        Sequencer memory pool = registry.sequencer(_id);
        return registry.sharesOf(_id, holder) * (pool.assetsWei - pool.restingWei + 1) / (pool.shares + 1000);
    }

    /// @dev `batches` batches that settle now, tallied.
    function _work(uint256 batches) private {
        for (uint256 i = 0; i < batches; ++i) {
            _settle(_nextHeader(8));
        }
        _tallyAll();
    }

    function _workFor(uint256 epochs, uint256 batches) private {
        for (uint256 i = 0; i < epochs; ++i) {
            _work(batches);
            _seal();
            _startEpoch(_epoch() + 1);
        }
        _startEpoch(_epoch() + p.maxEpochLag + 1);
    }

    function _seal() private {
        _sealSet(_epoch() + 1);
    }

    function _creditAll() private {
        (, bool due,,) = rewardPool.nextCredit();
        while (due) {
            rewardPool.creditEpoch();
            (, due,,) = rewardPool.nextCredit();
        }
    }
}
