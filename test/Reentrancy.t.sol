// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IRewardPool} from "../contracts/interfaces/IRewardPool.sol";
import {KeyLib} from "../contracts/lib/KeyLib.sol";
import {Signature, Vote, VoteType} from "../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../script/ConfigLib.sol";
import {CallbackToken} from "./utils/HostileTokens.sol";
import {Offences} from "./utils/Offences.sol";
import {Actor} from "./utils/System.sol";

/// Calls back while it is paid ETH, and remembers how that ended.
contract CallbackPoster {
    bytes private _call;
    bytes public answer;
    uint256 public attempts;

    function claim(IRewardPool pool, bytes calldata call_) external {
        _call = call_;
        pool.claimPoster();
    }

    receive() external payable {
        ++attempts;
        (, answer) = msg.sender.call(_call);
    }
}

/// Every function that moves stake tokens, under a token that calls back in the middle of the transfer: into the same
/// function, and into each other one of its contract that moves value. Both end as if nobody had called.
///
/// Moves of ETH: {IRewardPool.claimPoster} pays whoever calls, which here calls back; what {force} and {register} burn
/// goes to an address without code; {debit} pays the reward pool.
///
/// Moves of stake tokens
/// ├── registry: join, topUp, delegate, claim, slash (by an execution)
/// ├── slasher: claimBounty, sweep; execute and reportMissedTurns call no token
/// └── reward pool: fund, creditEpoch, claimCommission
contract ReentrancyTest is Offences {
    CallbackToken private _hostile;
    uint32 private _signer;
    Actor private _newcomer;
    bytes private _newcomersProof;
    address private _dora = makeAddr("dora");
    uint256 private _exitId;
    bytes32 private _caseId;

    /// A network in which each of the moves is due: an exit, a case, a bounty, a closed epoch, a commission.
    function setUp() external {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        _hostile = new CallbackToken();
        Config memory config = ConfigLib.read("devnet");
        config.stakeToken = address(_hostile);
        _deploy(config);
        vm.fee(1 gwei);
        _joinMany(8);
        _sealFirst();
        _sealThrough(1);

        token.mint(address(this), 1000 ether);
        token.approve(address(rewardPool), type(uint256).max);
        vm.deal(address(this), 100 ether);
        rewardPool.fund{value: 50 ether}(500 ether);
        // It signs: a quorum is the first members.
        _signer = _idAt(0);
        vm.prank(registry.ownerOf(_signer));
        rewardPool.setCommission(_signer, 500);
        _newcomer = _actor(20);
        _newcomersProof = _proof(_newcomer.owner, _newcomer.key);
        _give(_newcomer.owner, STAKE_WEI);
        _give(_dora, 100 ether);
        _give(registry.ownerOf(1), 1 ether);
        vm.prank(_dora);
        registry.delegate(2, 50 ether);
        vm.prank(_dora);
        _exitId = registry.requestExit(2, 10_000 ether);
        _sealThrough(3);
        _advance(p.exitDelaySeconds);
        _sealThrough(_epoch() + 1);
    }

    /* THE REGISTRY */

    function test_join() external {
        _refuses(address(registry), _movesOfRegistry(), _joins);
    }

    function test_topUp() external {
        _refuses(address(registry), _movesOfRegistry(), _topsUp);
    }

    function test_delegate() external {
        _refuses(address(registry), _movesOfRegistry(), _delegates);
    }

    function test_claim() external {
        _refuses(address(registry), _movesOfRegistry(), _claims);
    }

    function test_payOut() external {
        _report();
        slasher.execute(_caseId);
        _refuses(address(registry), _movesOfRegistry(), _claimsBounty);
    }

    /* THE SLASHER */

    /// A conviction calls no token at all, that of the absent neither.
    function test_execute() external {
        _report();
        _hostile.arm(address(slasher), abi.encodeCall(slasher.sweep, ()));
        slasher.execute(_caseId);
        assertEq(_hostile.attempts(), 0);
    }

    function test_sweep() external {
        _report();
        slasher.execute(_caseId);
        _refuses(address(slasher), _movesOfSlasher(), _sweeps);
    }

    function test_claimBounty() external {
        _report();
        slasher.execute(_caseId);
        _refuses(address(slasher), _movesOfSlasher(), _claimsBounty);
    }

    function test_reportMissedTurns() external {
        vm.mockCall(
            at.tally,
            abi.encodeWithSelector(tally.turnsBetween.selector, registry.idOf(_actor(5).signer)),
            abi.encode(3, 3)
        );
        _hostile.arm(address(slasher), abi.encodeCall(slasher.sweep, ()));
        slasher.reportMissedTurns(registry.idOf(_actor(5).signer));
        assertEq(_hostile.attempts(), 0);
    }

    /* THE REWARD POOL */

    function test_fund() external {
        _refuses(address(rewardPool), _movesOfPool(), _funds);
    }

    function test_creditEpoch() external {
        _earn();
        _refuses(address(rewardPool), _movesOfPool(), _credits);
    }

    function test_claimCommission() external {
        _earn();
        rewardPool.creditEpoch();
        _refuses(address(rewardPool), _movesOfPool(), _claimsCommission);
    }

    function test_claimPoster() external {
        CallbackPoster poster = new CallbackPoster();
        vm.prank(at.tally);
        rewardPool.creditPoster(address(poster), 1, 2 ether);
        (uint256 freeWei,) = rewardPool.freeWei();
        uint256 heldWei = at.rewardPool.balance;
        bytes[] memory calls = _movesOfPool();

        uint256 snapshot = vm.snapshotState();
        for (uint256 i = 0; i < calls.length; ++i) {
            vm.revertToState(snapshot);
            poster.claim(rewardPool, calls[i]);
            assertEq(poster.attempts(), 1);
            assertEq(poster.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
            assertEq(address(poster).balance, 2 ether);
            assertEq(at.rewardPool.balance, heldWei - 2 ether);
            assertEq(rewardPool.posterBalance(address(poster)), 0);
            (uint256 freeAfterWei,) = rewardPool.freeWei();
            assertEq(freeAfterWei, freeWei);
        }
    }

    /* WHAT MOVES */

    function _joins() private {
        vm.prank(_newcomer.owner);
        registry.join(_newcomer.signer, ENDPOINT, STAKE_WEI, _newcomersProof);
    }

    function _topsUp() private {
        vm.prank(registry.ownerOf(1));
        registry.topUp(1, 1 ether);
    }

    function _delegates() private {
        vm.prank(_dora);
        registry.delegate(2, 10 ether);
    }

    function _claims() private {
        vm.prank(_dora);
        registry.claim(_exitId);
    }

    function _sweeps() private {
        slasher.sweep();
    }

    function _claimsBounty() private {
        slasher.claimBounty(address(this));
    }

    function _funds() private {
        rewardPool.fund(1 ether);
    }

    function _credits() private {
        rewardPool.creditEpoch();
    }

    function _claimsCommission() private {
        rewardPool.claimCommission(_signer);
    }

    /* CONDITIONS */

    function _report() private {
        (Vote memory a, Vote memory b) = (_vote(BLOCK_A), _vote(BLOCK_B));
        Signature memory signatureA = _signVote(_secret(OFFENDER), VoteType.Precommit, a);
        Signature memory signatureB = _signVote(_secret(OFFENDER), VoteType.Precommit, b);
        _caseId = slasher.reportDoubleVote(
            KeyLib.ofSequencer(_idAt(OFFENDER)), VoteType.Precommit, a, signatureA, b, signatureB
        );
        _warpTo(slasher.executableAt(_caseId));
    }

    /// @dev A batch that everybody's epoch pays for, in an epoch that is closed then.
    function _earn() private {
        delete _settledBatches;
        _settle(_nextHeader(8));
        _tallyAll();
        _startEpoch(_epoch() + p.maxEpochLag + 1);
    }

    function _movesOfRegistry() private view returns (bytes[] memory calls) {
        calls = new bytes[](5);
        calls[4] = abi.encodeCall(registry.claimTo, (_exitId, _dora));
        calls[0] = abi.encodeCall(registry.join, (_newcomer.signer, ENDPOINT, STAKE_WEI, _newcomersProof));
        calls[1] = abi.encodeCall(registry.topUp, (1, 1 ether));
        calls[2] = abi.encodeCall(registry.delegate, (2, 1 ether));
        calls[3] = abi.encodeCall(registry.claim, (_exitId));
    }

    function _movesOfSlasher() private view returns (bytes[] memory calls) {
        calls = new bytes[](4);
        calls[0] = abi.encodeCall(slasher.execute, (_caseId));
        calls[1] = abi.encodeCall(slasher.claimBounty, (address(this)));
        calls[2] = abi.encodeCall(slasher.reportMissedTurns, (1));
        calls[3] = abi.encodeCall(slasher.sweep, ());
    }

    function _movesOfPool() private view returns (bytes[] memory calls) {
        calls = new bytes[](6);
        calls[4] = abi.encodeCall(rewardPool.claimPosterTo, (payable(_dora)));
        calls[5] = abi.encodeCall(rewardPool.claimCommissionTo, (_signer, _dora));
        calls[0] = abi.encodeCall(rewardPool.fund, (1 ether));
        calls[1] = abi.encodeCall(rewardPool.creditEpoch, ());
        calls[2] = abi.encodeCall(rewardPool.claimPoster, ());
        calls[3] = abi.encodeCall(rewardPool.claimCommission, (_signer));
    }

    /// @dev Has `move` done alone, then with each of `calls` to `target` out of its middle: all are refused, and all balances
    /// end alike.
    function _refuses(address target, bytes[] memory calls, function() internal move) private {
        uint256 snapshot = vm.snapshotState();
        uint256[] memory before = _balances();
        move();
        uint256[] memory expected = _balances();
        assertTrue(keccak256(abi.encode(before)) != keccak256(abi.encode(expected)), "nothing moves");

        for (uint256 i = 0; i < calls.length; ++i) {
            vm.revertToState(snapshot);
            _hostile.arm(target, calls[i]);
            move();
            assertEq(_hostile.attempts(), 1);
            assertEq(
                _hostile.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector)
            );
            assertEq(_balances(), expected);
        }
    }

    function _balances() private view returns (uint256[] memory balances) {
        address[7] memory holders =
            [at.registry, at.slasher, at.rewardPool, _dora, _newcomer.owner, registry.ownerOf(1), address(this)];
        balances = new uint256[](holders.length + 2);
        for (uint256 i = 0; i < holders.length; ++i) {
            balances[i] = token.balanceOf(holders[i]);
        }
        balances[holders.length] = slasher.bountyOf(address(this));
        balances[holders.length + 1] = rewardPool.commissionBalance(_signer);
    }
}
