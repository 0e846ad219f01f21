// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {IRota} from "../../contracts/interfaces/IRota.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {BlockingToken, FeeToken, HookToken, Reentrant, ShrinkingToken} from "../utils/HostileTokens.sol";
import {Staking} from "../utils/Staking.sol";
import {Actor} from "../utils/System.sol";

/// Attacks on staking and leaving. The numbers are those of the attack gallery.
contract StakingAttacksTest is Staking {
    function setUp() public {
        _deploy();
    }

    /// 1: a key that is registered, or ever was, for a second sequencer.
    function test_attack001_aKeyServesOneSequencerOnly() public {
        Actor memory alice = _join(0, STAKE_WEI);
        Actor memory next = _actor(7);
        bytes memory rotation = _proof(alice.owner, next.key);
        vm.prank(alice.owner);
        registry.rotateSigner(alice.id, next.signer, rotation);

        Actor memory bob = _actor(1);
        _give(bob.owner, 2 * STAKE_WEI);
        uint256[2] memory keys = [alice.key, next.key];
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory proof = _proof(bob.owner, keys[i]);
            vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerTaken.selector, vm.addr(keys[i]), alice.id));
            vm.prank(bob.owner);
            registry.join(vm.addr(keys[i]), ENDPOINT, STAKE_WEI, proof);
        }
    }

    /// 2: a proof of possession made for another owner, contract or chain.
    function test_attack002_aProofServesOneOwnerContractAndChain() public {
        Actor memory alice = _actor(0);
        Actor memory mallory = _actor(1);
        _give(mallory.owner, STAKE_WEI);

        bytes[3] memory proofs = [
            _proof(alice.owner, alice.key),
            _proof(mallory.owner, alice.key, address(settlement), block.chainid),
            _proof(mallory.owner, alice.key, address(registry), block.chainid + 1)
        ];
        for (uint256 i = 0; i < proofs.length; ++i) {
            vm.prank(mallory.owner);
            (bool ok, bytes memory answer) =
                address(registry).call(abi.encodeCall(registry.join, (alice.signer, ENDPOINT, STAKE_WEI, proofs[i])));
            assertFalse(ok);
            assertEq(bytes4(answer), ISequencerRegistry.ProofNotBySigner.selector);
        }
    }

    /// 3: a new key to shake off what the old one did.
    function test_attack003_aRotatedKeyStillLeadsToItsStake() public {
        Actor memory alice = _join(0, STAKE_WEI);
        Actor memory next = _actor(7);
        bytes memory proof = _proof(alice.owner, next.key);
        vm.prank(alice.owner);
        registry.rotateSigner(alice.id, next.signer, proof);

        assertEq(registry.idOf(alice.signer), alice.id);
    }

    /// 4: an exit in the block of the offence, or one that waits to be claimed.
    function test_attack004_anExitOnItsWayIsFullySlashable() public {
        _join(1, STAKE_WEI);
        Actor memory alice = _join(0, STAKE_WEI);
        _sealFirst();
        uint256 exitId = _exit(alice, 100_000 ether);
        _sealThrough(2);
        _advance(p.exitDelaySeconds);

        vm.prank(at.slasher);
        assertEq(registry.slash(alice.id, 60 ether, true), 60 ether);

        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), 40 ether);
    }

    /// 5: an exit faster than evidence. {ParamsLibTest} shows that no deployment can have such delays; here, that the last
    /// moment at which evidence is taken lies before the first claim.
    function test_attack005_evidenceOutlastsTheLastSetThatCountsAnExit() public {
        Actor[] memory actors = _joinMany(2);
        _sealFirst();
        uint256 exitId = _exit(actors[0], 100_000 ether);
        _sealThrough(3);

        (, uint64 claimable) = registry.claimableAt(exitId);
        uint64 lastSetEnded = settlement.startOf(2);
        assertEq(settlement.leaderSet(1).members.length, 2);
        assertEq(settlement.leaderSet(2).members.length, 1);
        assertGt(claimable, lastSetEnded + p.evidenceWindowSeconds + 2 * p.correlationWindowSeconds);
    }

    /// 6: part of the stake, to get around the delay.
    function test_attack006_aPartialExitTakesTheSameQueue() public {
        Actor memory alice = _join(0, 2 * STAKE_WEI);
        _sealFirst();
        uint256 exitId = _exit(alice, 1000);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitClockNotStarted.selector, 2));
        vm.prank(alice.owner);
        registry.claim(exitId);
    }

    /// 7: a second exit that overwrites the first.
    function test_attack007_exitsAddUpAndAreEachPaidOnce() public {
        Actor memory alice = _join(0, 4 * STAKE_WEI);
        _join(1, STAKE_WEI);
        _sealFirst();
        uint256 first = _exit(alice, 100_000 ether);
        uint256 second = _exit(alice, 200_000 ether);
        _sealThrough(6);
        _advance(p.exitDelaySeconds);

        vm.startPrank(alice.owner);
        assertEq(registry.claim(second), 200 ether);
        assertEq(registry.claim(first), 100 ether);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ExitAlreadyClaimed.selector, second));
        registry.claim(second);
    }

    /// 8: what was delegated in all, against the sum of what everybody holds.
    function test_attack008_thePoolIsTheSumOfItsHolders() public {
        Actor memory alice = _join(0, 3 * STAKE_WEI);
        (address dora, address carl) = (makeAddr("dora"), makeAddr("carl"));
        _delegate(dora, alice.id, 7 ether);
        _slash(alice.id, 1 ether, false);
        _delegate(carl, alice.id, 11 ether);
        _exit(dora, alice.id, 3000 ether);

        uint256 held = registry.sharesOf(alice.id, alice.owner) + registry.sharesOf(alice.id, dora)
            + registry.sharesOf(alice.id, carl);
        assertEq(registry.sequencer(alice.id).shares, held);
        assertEq(registry.sequencer(alice.id).restingShares, registry.exit(1).restingShares);
        assertEq(registry.assetsOf(alice.id), 317 ether);
        // With what was slashed.
        assertEq(token.balanceOf(address(registry)), 318 ether);
    }

    /// 11: a deposit just before a draw.
    function test_attack011_aDepositCountsTwoEpochsLater() public {
        Actor memory alice = _join(0, STAKE_WEI);
        _sealFirst();
        _give(alice.owner, 900 ether);
        vm.prank(alice.owner);
        registry.topUp(alice.id, 900 ether);

        // And only as much of it as churn lets in: in the first epoch as much as there was.
        _sealSet(1);
        assertEq(settlement.leaderSet(0).total, 100);
        assertEq(settlement.leaderSet(1).total, 100);
        _startEpoch(1);
        _sealSet(2);
        assertEq(settlement.leaderSet(2).total, 200);
    }

    /// 12: join, be drawn and leave, all in one epoch.
    function test_attack012_noSeatForWhoJoinsAndLeavesInAnEpoch() public {
        _join(0, STAKE_WEI);
        _sealFirst();
        Actor memory mallory = _join(1, 10 * STAKE_WEI);
        _exitAll(mallory);

        _sealSet(1);
        _startEpoch(1);
        _sealSet(2);

        assertEq(settlement.leaderSet(1).members.length, 1);
        assertEq(settlement.leaderSet(2).members.length, 1);
    }

    /// 11: a top-up that dodges the ejection of who was slashed below the minimum.
    function test_attack011_aTopUpAfterTheSlashDoesNotKeepTheSeat() public {
        Actor memory alice = _join(0, STAKE_WEI);
        _join(1, STAKE_WEI);
        _sealFirst();
        _startEpoch(1);
        _slash(alice.id, 1 ether, false);
        _topUp(alice, 2 ether);

        // Topped up or not, the set frozen next goes without; back it comes as newcomers do.
        _sealSet(2);
        assertEq(settlement.leaderSet(2).members.length, 1);
        _unjail(alice);
        _startEpoch(2);
        _sealSet(3);
        assertEq(settlement.leaderSet(3).members.length, 2);
    }

    /// 13: the entry queue flooded, with dust and with stake.
    function test_attack013_aFloodDelaysAndDoesNotKeepOut() public {
        for (uint256 i = 0; i < 4; ++i) {
            _join(i, STAKE_WEI);
        }
        _sealFirst();
        Actor memory mallory = _join(9, 200 ether);
        address sybil = makeAddr("sybil");
        _give(sybil, 100 ether);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.AmountBelowUnit.selector, 1 ether, 1));
        vm.prank(sybil);
        registry.delegate(mallory.id, 1);
        for (uint256 i = 0; i < 30; ++i) {
            vm.prank(sybil);
            registry.delegate(mallory.id, 1 ether);
        }
        Actor memory honest = _join(5, STAKE_WEI);

        // 130 wait before it, of which 100 enter in an epoch; a step costs little, and anybody takes as many as they like.
        _startEpoch(1);
        assertEq(registry.flush(1), 1);
        _startEpoch(2);
        uint256 gas = gasleft();
        assertEq(registry.flush(30), 30);
        assertLt(gas - gasleft(), 30 * 30_000);
        registry.flush(1);
        _startEpoch(3);
        assertEq(_weightAtStart(honest.signer), 70);
    }

    /// 14: everybody leaves at once.
    function test_attack014_aMassExitLeavesTheLastSetInForceAndTheDoorOpen() public {
        Config memory config = ConfigLib.read("devnet");
        config.params.minMembers = 2;
        config.params.maxMembers = 3;
        _deploy(config);
        Actor[] memory actors = _joinMany(3);
        _sealFirst();
        _sealSet(1);
        for (uint256 i = 0; i < 3; ++i) {
            _exitAll(actors[i]);
        }

        // One leaves in each epoch; the last two never leave the set that they were the quorum of.
        assertEq(registry.churn().exits, 2);
        _startEpoch(1);
        _sealSet(2);
        assertEq(settlement.leaderSet(2).members.length, 2);
        assertTrue(_flush());
        assertFalse(_flush());
        _startEpoch(2);
        assertTrue(_flush());
        vm.expectRevert(abi.encodeWithSelector(IRota.TooFewMembers.selector, 2, 1));
        settlement.pin(3);
        _startEpoch(3);
        assertEq(settlement.leaderSet(3).sealedFor, 2);
        assertEq(settlement.leaderSet(3).members.length, 2);

        // All seats were taken by people who have left: that must not keep anybody out.
        _join(3, STAKE_WEI);
        _startEpoch(4);
        _join(4, STAKE_WEI);
        _startEpoch(5);
        _sealSet(6);
        assertEq(settlement.leaderSet(6).members.length, 2);
    }

    /// 15: a token that keeps a fee.
    function test_attack015_aTokenThatDeliversLessIsRefused() public {
        _deployWith(address(new FeeToken()));
        Actor memory alice = _actor(0);
        _give(alice.owner, STAKE_WEI);
        bytes memory proof = _proof(alice.owner, alice.key);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.TokenDelivered.selector, 100 ether, 99 ether));
        vm.prank(alice.owner);
        registry.join(alice.signer, ENDPOINT, STAKE_WEI, proof);
    }

    /// 15: a token that keeps a fee, on the other ways in.
    function test_attack015_aTokenThatDeliversLessIsRefusedLaterToo() public {
        FeeToken fee = new FeeToken();
        _deployWith(address(fee));
        // One that starts to keep a fee after somebody joined: the registry has an allowance of what it needs.
        Actor memory alice = _actor(0);
        _give(alice.owner, STAKE_WEI);
        fee.setFree(true);
        bytes memory proof = _proof(alice.owner, alice.key);
        vm.prank(alice.owner);
        uint32 id = registry.join(alice.signer, ENDPOINT, STAKE_WEI, proof);
        fee.setFree(false);
        _give(address(this), 100 ether);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.TokenDelivered.selector, 100 ether, 99 ether));
        registry.delegate(id, 100 ether);
        _give(alice.owner, 100 ether);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.TokenDelivered.selector, 100 ether, 99 ether));
        vm.prank(alice.owner);
        registry.topUp(id, 100 ether);
    }

    /// 15: a token whose balances shrink by themselves. Whoever claims first is paid in full, and the last one waits for what
    /// is not there: nobody is paid twice, and no counter wraps.
    function test_attack015_aTokenThatShrinksPaysWhatIsThere() public {
        ShrinkingToken shrinking = new ShrinkingToken();
        _deployWith(address(shrinking));
        Actor memory alice = _join(0, STAKE_WEI);
        Actor memory bob = _join(1, STAKE_WEI);
        _join(2, STAKE_WEI);
        _sealFirst();
        uint256 ofAlice = _exitAll(alice);
        _sealThrough(1);
        uint256 ofBob = _exitAll(bob);
        _sealThrough(4);
        _advance(p.exitDelaySeconds);
        shrinking.shrink(address(registry), 150 ether);

        assertEq(_claim(alice.owner, ofAlice), STAKE_WEI);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, registry, 50 ether, STAKE_WEI)
        );
        _claim(bob.owner, ofBob);
        token.mint(address(registry), 50 ether);
        assertEq(_claim(bob.owner, ofBob), STAKE_WEI);
    }

    /// 15: a token that calls back is not called by a slash.
    function test_attack015_aSlashPaysOnceWhateverTheTokenCalls() public {
        _deployWith(address(new HookToken()));
        Actor memory alice = _join(0, STAKE_WEI);

        assertEq(_slash(alice.id, 40 ether, true), 40 ether);

        assertEq(token.balanceOf(address(registry)), STAKE_WEI);
        assertEq(registry.assetsOf(alice.id), 60 ether);
    }

    /// 15: a token that calls back, on the way in and on the way out.
    function test_attack015_aTokenThatCallsBackGainsNothing() public {
        _deployWith(address(new HookToken()));
        Reentrant mallory = new Reentrant(registry);
        Actor memory keys = _actor(0);
        token.mint(address(mallory), 300 ether);
        _join(1, STAKE_WEI);
        bytes memory topUp = abi.encodeCall(registry.topUp, (2, 100 ether));

        mallory.arm(topUp);
        mallory.run(
            abi.encodeCall(registry.join, (keys.signer, ENDPOINT, STAKE_WEI, _proof(address(mallory), keys.key)))
        );
        assertEq(mallory.attempts(), 1);
        assertEq(mallory.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));

        mallory.arm("");
        _sealFirst();
        mallory.run(abi.encodeCall(registry.requestExit, (2, 100_000 ether)));
        _sealThrough(2);
        _advance(p.exitDelaySeconds);
        mallory.arm(abi.encodeCall(registry.claim, (1)));
        mallory.run(abi.encodeCall(registry.claim, (1)));

        assertEq(mallory.attempts(), 2);
        assertEq(mallory.answer(), abi.encodePacked(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector));
        assertEq(token.balanceOf(address(mallory)), 300 ether);
        assertEq(token.balanceOf(address(registry)), STAKE_WEI);
    }

    /// 16: just below the minimum, again and again.
    function test_attack016_noStakeStaysBelowTheMinimumByChoice() public {
        Actor memory alice = _join(0, STAKE_WEI + 1 ether);

        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.RestBelowMinimum.selector, STAKE_WEI, STAKE_WEI - 1 ether)
        );
        vm.prank(alice.owner);
        registry.requestExit(alice.id, 2000 ether);

        _exit(alice, 1000 ether);
        assertEq(uint8(registry.sequencer(alice.id).status), uint8(Status.Active));
    }

    /// 17: slashed to nothing, then topped up, then claimed.
    function test_attack017_aPoolSlashedToNothingStaysClosed() public {
        Actor memory alice = _join(0, STAKE_WEI);
        _join(1, STAKE_WEI);
        _sealFirst();
        vm.prank(at.slasher);
        registry.slash(alice.id, type(uint256).max, false);
        _give(alice.owner, STAKE_WEI);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolDead.selector, alice.id));
        vm.prank(alice.owner);
        registry.topUp(alice.id, STAKE_WEI);

        uint256 exitId = _exit(alice, 100_000 ether);
        _sealThrough(2);
        _advance(p.exitDelaySeconds);
        vm.prank(alice.owner);
        assertEq(registry.claim(exitId), 0);
        assertEq(registry.assetsOf(alice.id), 0);
    }

    /// 18: a recipient that cannot be paid.
    function test_attack018_oneBlockedRecipientHoldsUpNobodyElse() public {
        BlockingToken blocking = new BlockingToken();
        _deployWith(address(blocking));
        Actor memory alice = _join(0, STAKE_WEI);
        Actor memory bob = _join(1, STAKE_WEI);
        _join(2, STAKE_WEI);
        _sealFirst();
        uint256 exitOfAlice = _exit(alice, 100_000 ether);
        uint256 exitOfBob = _exit(bob, 100_000 ether);
        _sealThrough(3);
        _advance(p.exitDelaySeconds);
        blocking.setBlocked(alice.owner);

        vm.expectRevert(abi.encodeWithSelector(BlockingToken.Blocked.selector, alice.owner));
        vm.prank(alice.owner);
        registry.claim(exitOfAlice);
        vm.prank(bob.owner);
        assertEq(registry.claim(exitOfBob), STAKE_WEI);

        blocking.setBlocked(address(0));
        vm.prank(alice.owner);
        assertEq(registry.claim(exitOfAlice), STAKE_WEI);
    }

    /// 19: slashes of one wei and exits of one share, to collect what rounding leaves.
    function test_attack019_roundingFavoursThePool() public {
        Actor memory alice = _join(0, 2 * STAKE_WEI);
        _join(1, STAKE_WEI);
        _sealFirst();
        for (uint256 i = 0; i < 20; ++i) {
            vm.prank(at.slasher);
            assertEq(registry.slash(alice.id, 1, false), 1);
        }
        uint256[10] memory exits;
        for (uint256 i = 0; i < 10; ++i) {
            exits[i] = _exit(alice, 1999);
        }
        _sealThrough(2);
        _advance(p.exitDelaySeconds);

        // A share is worth a little less than 1/1000 of a wei, so 1,999 of them buy one wei and never two.
        vm.startPrank(alice.owner);
        for (uint256 i = 0; i < 10; ++i) {
            assertEq(registry.claim(exits[i]), 1);
        }
        assertEq(registry.assetsOf(alice.id), 2 * STAKE_WEI - 30);
        // With what was slashed.
        assertEq(token.balanceOf(address(registry)), 3 * STAKE_WEI - 10);
    }

    /// 71: a donation, to move the price of a share.
    function test_attack071_aDonationMovesNoPrice() public {
        Actor memory alice = _join(0, STAKE_WEI);
        token.mint(address(registry), 1_000_000 ether);
        _give(alice.owner, 1 ether);

        vm.prank(alice.owner);
        assertEq(registry.topUp(alice.id, 1 ether), 1000 ether);
        assertEq(registry.assetsOf(alice.id), 101 ether);
    }
}
