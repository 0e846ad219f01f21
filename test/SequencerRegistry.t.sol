// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {stdError} from "forge-std/StdError.sol";

import {ISequencerRegistry, Sequencer, Status} from "../contracts/interfaces/ISequencerRegistry.sol";
import {SetLib} from "../contracts/lib/SetLib.sol";
import {Config, ConfigLib} from "../script/ConfigLib.sol";
import {Actor} from "./utils/System.sol";
import {Staking} from "./utils/Staking.sol";

/// SequencerRegistry
/// ├── join
/// │   ├── it takes the stake, gives shares, keeps the keys, says so
/// │   ├── when the stake is below the minimum: it reverts
/// │   ├── when the signer is zero, or the owner: it reverts
/// │   ├── when the key belongs or ever belonged to somebody: it reverts
/// │   ├── when the proof is of another key, or no signature: it reverts
/// │   ├── when the total weight would reach 2^56: it reverts
/// │   ├── it keeps seats in the order of keys
/// │   ├── when the endpoint is empty or too long: it reverts
/// │   └── when all seats are taken
/// │       ├── by members who count: it reverts (registry/Churn.t.sol: unless it is large enough to evict one)
/// │       ├── by one who weighs nothing any more: it takes that seat
/// │       └── by one who counts until the epoch ends: it takes a seat beside it, and evicts nobody who weighs nothing
/// ├── topUp
/// │   ├── it gives shares at the price of the pool
/// │   └── when below a unit, unknown, not the owner's, leaving, tombstoned, held, or the pool is dead: it reverts
/// ├── requestExit, claim: see registry/Exit.t.sol
/// ├── rotateSigner
/// │   ├── it binds the new key and keeps the old one bound
/// │   └── when not the owner's, or leaving: it reverts
/// ├── setPoster, setEndpoint
/// │   ├── they change what they say; an earlier poster stays known
/// │   ├── posterOf: nobody posts for an unknown signer
/// │   └── when not the owner's: they revert
/// ├── checkIn, comeBack
/// │   └── when not the settlement contract: they revert
/// ├── jail
/// │   ├── it takes the weight away at once and holds the pool; the longer hold stands
/// │   ├── it says what the pool holds, and whether it was not held for long enough before
/// │   └── when not the slasher, or unknown: it reverts
/// └── slash
///     ├── it takes what is there and sends it to the slasher
///     ├── it lowers the weight that the next seal counts, and that of the epochs after it
///     ├── when for ever: it tombstones, and cannot be jailed any more
///     └── when not the slasher, or unknown: it reverts
contract SequencerRegistryTest is Staking {
    Actor private alice;

    function setUp() public {
        _deploy();
        alice = _actor(0);
    }

    /* JOIN */

    function test_join_takesStakeAndGivesShares() public {
        _give(alice.owner, 150 ether);
        bytes memory proof = _proof(alice.owner, alice.key);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Joined(1, alice.owner, alice.signer, 150 ether, 150_000 ether);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(1, Status.Active);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.EndpointChanged(1, ENDPOINT);
        vm.prank(alice.owner);
        uint32 id = registry.join(alice.signer, ENDPOINT, 150 ether, proof);

        assertEq(id, 1);
        assertEq(registry.count(), 1);
        assertEq(token.balanceOf(address(registry)), 150 ether);
        assertEq(registry.sharesOf(1, alice.owner), 150_000 ether);
        assertEq(registry.idOf(alice.signer), 1);
        assertEq(registry.ownerOf(1), alice.owner);
        assertEq(registry.posterOf(alice.signer), address(0));
        assertEq(registry.stakeToken(), address(token));

        Sequencer memory found = registry.sequencer(1);
        assertEq(found.owner, alice.owner);
        assertEq(found.signer, alice.signer);
        assertEq(found.poster, address(0));
        assertEq(uint8(found.status), uint8(Status.Active));
        assertEq(found.assetsWei, 150 ether);
        assertEq(found.shares, 150_000 ether);
        assertEq(found.restingShares, 0);
    }

    function test_join_revertsWhen_stakeIsBelowMinimum() public {
        bytes memory proof = _proof(alice.owner, alice.key);

        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.StakeBelowMinimum.selector, p.minStakeWei, p.minStakeWei - 1)
        );
        vm.prank(alice.owner);
        registry.join(alice.signer, ENDPOINT, p.minStakeWei - 1, proof);
    }

    function test_join_revertsWhen_signerIsNotAllowed() public {
        bytes memory proof = _proof(alice.owner, alice.key);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerNotAllowed.selector, address(0)));
        vm.prank(alice.owner);
        registry.join(address(0), ENDPOINT, STAKE_WEI, proof);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerNotAllowed.selector, alice.owner));
        vm.prank(alice.owner);
        registry.join(alice.owner, ENDPOINT, STAKE_WEI, proof);
    }

    function test_join_revertsWhen_signerIsTaken() public {
        _join(0, STAKE_WEI);
        bytes memory proof = _proof(alice.owner, alice.key);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerTaken.selector, alice.signer, 1));
        vm.prank(alice.owner);
        registry.join(alice.signer, ENDPOINT, STAKE_WEI, proof);
    }

    function test_join_revertsWhen_proofIsOfAnotherKey() public {
        bytes memory proof = _proof(alice.owner, alice.key);
        Actor memory bob = _actor(1);
        (bool ok, bytes memory answer) = _tryJoin(alice.owner, bob.signer, proof);

        assertFalse(ok);
        assertEq(bytes4(answer), ISequencerRegistry.ProofNotBySigner.selector);
    }

    function test_join_revertsWhen_proofIsNoSignature() public {
        (bool ok, bytes memory answer) = _tryJoin(alice.owner, alice.signer, hex"1234");

        assertFalse(ok);
        assertEq(answer, abi.encodeWithSelector(ISequencerRegistry.ProofNotBySigner.selector, alice.signer, address(0)));
    }

    function test_join_revertsWhen_endpointLengthIsOutOfRange() public {
        _give(alice.owner, STAKE_WEI);
        bytes memory proof = _proof(alice.owner, alice.key);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.EndpointLength.selector, 1, 256, 0));
        vm.prank(alice.owner);
        registry.join(alice.signer, "", STAKE_WEI, proof);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.EndpointLength.selector, 1, 256, 257));
        vm.prank(alice.owner);
        registry.join(alice.signer, string(new bytes(257)), STAKE_WEI, proof);

        vm.prank(alice.owner);
        registry.join(alice.signer, string(new bytes(256)), STAKE_WEI, proof);
    }

    function test_join_revertsWhen_allSeatsAreTaken() public {
        _joinMany(p.maxMembers);
        Actor memory late = _actor(p.maxMembers);
        _give(late.owner, STAKE_WEI);
        bytes memory proof = _proof(late.owner, late.key);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ActiveSetFull.selector, 110 ether, STAKE_WEI));
        vm.prank(late.owner);
        registry.join(late.signer, ENDPOINT, STAKE_WEI, proof);
    }

    function test_join_takesTheSeatOfSomebodyJailed() public {
        Actor[] memory actors = _joinMany(p.maxMembers);
        _jail(actors[5].id, 0);

        Actor memory late = _join(p.maxMembers, STAKE_WEI);

        uint256[] memory words = registry.membersAtEpochStart(0);
        assertEq(words.length, p.maxMembers);
        bool found;
        for (uint256 i = 0; i < words.length; ++i) {
            assertNotEq(SetLib.signerOf(words[i]), actors[5].signer);
            if (SetLib.signerOf(words[i]) == late.signer) found = true;
        }
        assertTrue(found);
    }

    function test_join_keepsSeatsInTheOrderOfKeys() public {
        Config memory config = ConfigLib.read("devnet");
        config.params.maxMembers = 12;
        _deploy(config);
        Actor[] memory actors = _joinMany(12);
        _requireAscending(12);

        // Whoever comes later takes the seat of somebody jailed: below, above or in its own place.
        for (uint256 i = 0; i < 12; ++i) {
            _jail(actors[i].id, 0);
            _join(12 + i, STAKE_WEI);
            _requireAscending(12);
        }
    }

    function test_join_revertsWhen_theTotalWeightWouldNotFitItsField() public {
        Config memory config = ConfigLib.read("devnet");
        (config.params.weightUnitWei, config.params.minStakeWei) = (3, 3);
        _deploy(config);
        uint256 maximum = 3 * 2 ** 56 - 1;
        _join(0, maximum - 3);
        _give(alice.owner, 4);

        vm.startPrank(alice.owner);
        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.TotalStakeAboveMaximum.selector, maximum, maximum + 1)
        );
        registry.topUp(1, 4);
        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.TotalStakeAboveMaximum.selector, maximum, type(uint256).max)
        );
        registry.topUp(1, type(uint256).max);
        registry.topUp(1, 3);

        vm.stopPrank();

        assertEq(SetLib.weightOf(registry.membersAtEpochStart(0)[0]), type(uint56).max);
    }

    function test_join_takesTheRoomThatASlashAndAClaimLeft() public {
        Config memory config = ConfigLib.read("devnet");
        (config.params.weightUnitWei, config.params.minStakeWei) = (3, 3);
        _deploy(config);
        _join(0, 3 * 2 ** 56 - 1);

        _slash(1, 6, false);
        _join(1, 6);
        _sealFirst();
        uint256 exitId = _exitAll(_actor(1));
        (, uint64 time) = registry.claimableAt(exitId);
        while (time == 0) {
            _sealThrough(_epoch() + 1);
            (, time) = registry.claimableAt(exitId);
        }
        _warpTo(time);
        uint256 paidWei = _claim(_actor(1).owner, exitId);
        assertGt(paidWei, 2);
        _join(2, paidWei);
    }

    function test_join_besideWhoStillCountsThisEpoch() public {
        Actor[] memory actors = _joinMany(p.maxMembers);
        _sealFirst();
        _exitAll(actors[5]);
        Actor memory late = _join(p.maxMembers, STAKE_WEI);

        assertEq(registry.membersAtEpochStart(0).length, p.maxMembers);
        assertEq(_weightAtStart(actors[5].signer), 100);
        assertEq(_weightAtStart(late.signer), 0);

        _startEpoch(1);
        assertEq(registry.membersAtEpochStart(0).length, p.maxMembers);
        assertEq(_weightAtStart(actors[5].signer), 0);
        assertEq(_weightAtStart(late.signer), 100);
    }

    function test_join_evictsNobodyWhoWeighsNothing() public {
        Actor[] memory actors = _joinMany(p.maxMembers);
        _sealFirst();
        _exitAll(actors[5]);
        Actor memory beside = _join(p.maxMembers, STAKE_WEI);
        Actor memory large = _actor(p.maxMembers + 1);
        _give(large.owner, 110 ether);
        bytes memory proof = _proof(large.owner, large.key);

        // Who left has the least stake of all who hold a seat; the one beside it is the smallest that weighs something.
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Evicted(beside.id, beside.id + 1);
        vm.prank(large.owner);
        registry.join(large.signer, ENDPOINT, 110 ether, proof);
    }

    /* TOP UP */

    function test_topUp_givesSharesAtThePriceOfThePool() public {
        _join(0, STAKE_WEI);
        _slash(1, 50 ether, false);
        _give(alice.owner, 50 ether);

        // Half of the assets are gone, so the same tokens buy twice the shares (up to the virtual ones).
        uint256 expected = uint256(50 ether) * (100_000 ether + 1000) / (50 ether + 1);
        vm.expectEmit(address(registry));
        emit ISequencerRegistry.ToppedUp(1, alice.owner, 50 ether, expected);
        vm.prank(alice.owner);
        uint256 shares = registry.topUp(1, 50 ether);

        assertEq(shares, expected);
        assertEq(registry.assetsOf(1), 100 ether);
        // With what was slashed.
        assertEq(token.balanceOf(address(registry)), 150 ether);
    }

    function test_topUp_revertsWhen_amountIsBelowAUnit() public {
        _join(0, STAKE_WEI);

        vm.expectRevert(
            abi.encodeWithSelector(ISequencerRegistry.AmountBelowUnit.selector, 1 ether, uint256(1 ether) - 1)
        );
        vm.prank(alice.owner);
        registry.topUp(1, 1 ether - 1);
    }

    function test_topUp_revertsWhen_callerIsNotTheOwner() public {
        _join(0, STAKE_WEI);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, alice.owner, address(this)));
        registry.topUp(1, 1);
    }

    function test_topUp_revertsWhen_idIsUnknown() public {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 7));
        registry.topUp(7, 1);
    }

    function test_topUp_revertsWhen_leavingOrTombstoned() public {
        _join(0, STAKE_WEI);
        _exitAll(_actor(0));
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, 1, Status.Leaving));
        vm.prank(alice.owner);
        registry.topUp(1, 1);

        _slash(1, 1, true);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, 1, Status.Tombstoned));
        vm.prank(alice.owner);
        registry.topUp(1, 1);
    }

    function test_topUp_revertsWhen_poolIsHeld() public {
        _join(0, STAKE_WEI);
        _give(alice.owner, 1 ether);
        uint64 until = uint64(block.timestamp + 10);
        _jail(1, until);

        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolHeld.selector, 1, until));
        vm.prank(alice.owner);
        registry.topUp(1, 1 ether);

        vm.warp(until);
        vm.prank(alice.owner);
        registry.topUp(1, 1 ether);
    }

    function test_topUp_revertsWhen_poolIsDead() public {
        _join(0, STAKE_WEI);
        _slash(1, STAKE_WEI, false);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolDead.selector, 1));
        vm.prank(alice.owner);
        registry.topUp(1, 1 ether);
    }

    /* KEYS AND ENDPOINTS */

    function test_rotateSigner_bindsTheNewKeyAndKeepsTheOldOne() public {
        _join(0, STAKE_WEI);
        Actor memory next = _actor(9);
        bytes memory proof = _proof(alice.owner, next.key);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.SignerRotated(1, alice.signer, next.signer);
        vm.prank(alice.owner);
        registry.rotateSigner(1, next.signer, proof);

        assertEq(registry.sequencer(1).signer, next.signer);
        assertEq(registry.idOf(next.signer), 1);
        assertEq(registry.idOf(alice.signer), 1);

        // Not even its own sequencer gets the old key back.
        proof = _proof(alice.owner, alice.key);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerTaken.selector, alice.signer, 1));
        vm.prank(alice.owner);
        registry.rotateSigner(1, alice.signer, proof);
    }

    function test_rotateSigner_revertsWhen_callerIsNotTheOwner() public {
        _join(0, STAKE_WEI);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, alice.owner, address(this)));
        registry.rotateSigner(1, address(1), "");
    }

    function test_rotateSigner_revertsWhen_leaving() public {
        _join(0, STAKE_WEI);
        _exitAll(_actor(0));

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, 1, Status.Leaving));
        vm.prank(alice.owner);
        registry.rotateSigner(1, address(1), "");
    }

    function test_setPoster_takesWhoeverProvesToBeIt() public {
        _join(0, STAKE_WEI);
        (address first, uint256 key) = makeAddrAndKey("first");
        address second = makeAddr("second");
        bytes memory proof = _posterProof(1, key);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.PosterChanged(1, first);
        vm.prank(alice.owner);
        registry.setPoster(1, first, proof);
        assertEq(registry.posterOf(alice.signer), first);
        assertEq(registry.idOf(first), 1);

        assertEq(_namePoster(1, "second"), second);
        assertEq(registry.posterOf(alice.signer), second);
        _dropPoster(1);
        assertEq(registry.posterOf(alice.signer), address(0));

        // What was once its own can be so again; nobody else's.
        _namePoster(1, "first");
        assertEq(registry.posterOf(alice.signer), first);
    }

    function test_setPoster_revertsWhen_theAddressDoesNotProveIt() public {
        _join(0, STAKE_WEI);
        (address poster, uint256 key) = makeAddrAndKey("poster");
        bytes memory ofAnother = _posterProof(2, key);
        bytes memory asSigner = _proof(alice.owner, key);
        (, uint256 strange) = makeAddrAndKey("stranger");
        bytes memory byAnother = _posterProof(1, strange);

        vm.startPrank(alice.owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.ProofNotBySigner.selector, poster, address(0)));
        registry.setPoster(1, poster, "");
        vm.expectPartialRevert(ISequencerRegistry.ProofNotBySigner.selector);
        registry.setPoster(1, poster, ofAnother);
        vm.expectPartialRevert(ISequencerRegistry.ProofNotBySigner.selector);
        registry.setPoster(1, poster, asSigner);
        vm.expectPartialRevert(ISequencerRegistry.ProofNotBySigner.selector);
        registry.setPoster(1, poster, byAnother);
        vm.stopPrank();
        assertEq(registry.idOf(poster), 0);
    }

    function test_setPoster_revertsWhen_theAddressIsAnothers() public {
        _join(0, STAKE_WEI);
        Actor memory bob = _join(1, STAKE_WEI);
        address poster = _namePoster(2, "poster");
        _dropPoster(2);
        (, uint256 key) = makeAddrAndKey("poster");
        bytes memory proof = _posterProof(1, key);
        bytes memory bobs = _posterProof(1, bob.key);

        vm.startPrank(alice.owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PosterTaken.selector, poster, 2));
        registry.setPoster(1, poster, proof);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PosterTaken.selector, bob.signer, 2));
        registry.setPoster(1, bob.signer, bobs);
        vm.stopPrank();

        // Nor does a poster's address become anybody's signer.
        proof = _proof(alice.owner, key);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.SignerTaken.selector, poster, 2));
        vm.prank(alice.owner);
        registry.rotateSigner(1, poster, proof);
    }

    function test_posterOf_unknownSignerIsZero() public {
        assertEq(registry.posterOf(makeAddr("nobody")), address(0));
    }

    function test_setters_revertWhen_callerIsNotTheOwner() public {
        _join(0, STAKE_WEI);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, alice.owner, address(this)));
        registry.setPoster(1, address(this), "");
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotOwner.selector, alice.owner, address(this)));
        registry.setEndpoint(1, ENDPOINT);
    }

    function test_setEndpoint_changesIt() public {
        _join(0, STAKE_WEI);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.EndpointChanged(1, "/dns4/a.example/tcp/1");
        vm.prank(alice.owner);
        registry.setEndpoint(1, "/dns4/a.example/tcp/1");
    }

    /* JAIL AND SLASH */

    function test_jail_takesTheWeightAtOnceAndKeepsTheLongerHold() public {
        _joinMany(2);
        assertEq(registry.membersAtEpochStart(0).length, 2);
        uint64 until = uint64(block.timestamp + 100);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(1, Status.Jailed);
        _jail(1, until);
        _jail(1, until - 50);

        uint256[] memory words = registry.membersAtEpochStart(0);
        assertEq(words.length, 1);
        assertEq(SetLib.signerOf(words[0]), _actor(1).signer);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PoolHeld.selector, 1, until));
        vm.prank(alice.owner);
        registry.topUp(1, 1);
    }

    function test_jail_saysWhatThePoolHoldsAndWhetherItWasHeld() public {
        _join(0, 120 ether);
        uint64 until = uint64(block.timestamp + 100);

        vm.startPrank(at.slasher);
        (uint256 assetsWei, bool held) = registry.jail(1, until, until + 10);
        assertEq(assetsWei, 120 ether);
        assertTrue(held);

        (, held) = registry.jail(1, until + 10, until + 20);
        assertFalse(held);

        (, held) = registry.jail(1, until + 11, until + 20);
        assertTrue(held);
    }

    function test_checkIns_revertWhen_notTheSettlement() public {
        _join(0, STAKE_WEI);
        bytes memory reason =
            abi.encodeWithSelector(ISequencerRegistry.NotSettlement.selector, at.settlement, alice.owner);

        vm.startPrank(alice.owner);
        vm.expectRevert(reason);
        registry.checkIn(1, alice.owner, type(uint64).max);
        vm.expectRevert(reason);
        registry.comeBack(1, alice.owner);
    }

    function test_jail_revertsWhen_notTheSlasherOrUnknown() public {
        _join(0, STAKE_WEI);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotSlasher.selector, at.slasher, address(this)));
        registry.jail(1, 0, 0);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 2));
        _jail(2, 0);
    }

    function test_slash_takesWhatIsThere() public {
        _joinMany(2);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.Slashed(1, 130 ether, 100 ether);
        uint256 slashed = _slash(1, 130 ether, false);

        assertEq(slashed, 100 ether);
        assertEq(registry.assetsOf(1), 0);
        assertEq(registry.assetsOf(2), 100 ether);
        // Nothing has moved yet.
        assertEq(token.balanceOf(address(registry)), 200 ether);
    }

    function test_payOut_sendsWhatWasSlashedAndNoMore() public {
        _joinMany(2);
        _slash(1, 40 ether, false);

        vm.prank(at.slasher);
        registry.payOut(address(7), 30 ether);
        assertEq(token.balanceOf(address(7)), 30 ether);
        assertEq(token.balanceOf(address(registry)), 170 ether);

        vm.expectRevert(stdError.arithmeticError);
        vm.prank(at.slasher);
        registry.payOut(address(7), 10 ether + 1);
    }

    function test_payOut_revertsWhen_callerIsNotTheSlasher() public {
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotSlasher.selector, at.slasher, address(this)));
        registry.payOut(address(7), 0);
    }

    function test_slash_tombstonesForEver() public {
        _joinMany(2);

        vm.expectEmit(address(registry));
        emit ISequencerRegistry.StatusChanged(1, Status.Tombstoned);
        _slash(1, 5 ether, true);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.StatusNotAllowed.selector, 1, Status.Tombstoned));
        _jail(1, 0);
        assertEq(uint8(registry.sequencer(1).status), uint8(Status.Tombstoned));
        assertEq(registry.membersAtEpochStart(0).length, 1);
    }

    function test_slash_lowersWeightNowAndBefore() public {
        _joinMany(1);
        _sealFirst();
        _give(alice.owner, 100 ether);
        vm.prank(alice.owner);
        registry.topUp(1, 100 ether);

        _slash(1, 50 ether, false);

        // A quarter is gone: of the 100 that the next seal counts, and of the 200 after it.
        assertEq(SetLib.weightOf(registry.membersAtEpochStart(0)[0]), 75);
        _startEpoch(1);
        assertEq(SetLib.weightOf(registry.membersAtEpochStart(0)[0]), 150);
    }

    function test_slash_revertsWhen_notTheSlasherOrUnknown() public {
        _join(0, STAKE_WEI);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.NotSlasher.selector, at.slasher, address(this)));
        registry.slash(1, 1, false);

        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.UnknownSequencer.selector, 2));
        _slash(2, 1, false);
    }

    /* HELPERS */

    function _requireAscending(uint256 n) private view {
        uint256[] memory words = registry.membersAtEpochStart(0);
        assertEq(words.length, n);
        for (uint256 i = 1; i < n; ++i) {
            assertGt(words[i], words[i - 1]);
        }
    }

    function _tryJoin(address owner, address signer, bytes memory proof) private returns (bool, bytes memory) {
        _give(owner, STAKE_WEI);
        vm.prank(owner);
        return address(registry).call(abi.encodeCall(registry.join, (signer, ENDPOINT, STAKE_WEI, proof)));
    }
}
