// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../../contracts/interfaces/IBatchInbox.sol";
import {ISequencerRegistry, Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {ISlasher} from "../../contracts/interfaces/ISlasher.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// @title Attacks on blame (gallery, chapter 6)
/// @notice Mallory is a member. A quorum signs for her whatever is lawful; regular is only what all have cut (R23).
contract BlameAttacks is Offences {
    uint256 private constant VICTIM = 2;

    address private _mallory;

    function setUp() external {
        _begin(5);
        vm.deal(address(this), 10 ether);
        rewardPool.fund{value: 1 ether}(0);
        _mallory = settlement.memberAt(0, 1, 0).signer;
    }

    /// Whatever ends in the victim's turn is hers to settle once all could, though the victim has had nothing to post.
    function test_attack109_splitsThatSomebodyAskedForBlameNobody() external {
        for (uint256 i = 0; i < 3; ++i) {
            BatchHeader memory split = _irregular(_nextHeaderLedBy(VICTIM));
            _advance(2 * p.takeoverSeconds);
            _expectTooEarly(split, split.timestamp);
            _advance(3 * p.takeoverSeconds);
            _settleAs(_mallory, split);
        }
        _settle(_nextHeaderLedBy(3));
        _settle(_nextHeaderLedBy(4));
        _tallyAll();

        _expectNotAbsent(VICTIM);
    }

    /// The leader of a turn is another one under another set. Which of the two has missed it is not for the taker-over to say:
    /// only one epoch is regular, and members sign no other.
    function test_attack109_whoeverTakesOverDoesNotChooseWhomItBlames() external {
        _sealThrough(2);
        // Behind nothing regular nobody would be blamed anyhow.
        _settle(_nextHeader(1));
        uint64 lastHeight = settlement.tip().lastHeight;
        uint64 turn = lastHeight / p.turnLength + 1;
        while (
            settlement.leaderOf(1, turn) == settlement.leaderOf(2, turn) || settlement.leaderOf(2, turn) == _mallory
        ) {
            ++turn;
        }
        BatchHeader memory header = _nextHeader((turn + 1) * p.turnLength - 1 - lastHeight);
        header.epoch = 1;
        (address first, address second) = (settlement.leaderOf(1, turn), settlement.leaderOf(2, turn));

        // The regular batch is that of epoch 1. What Mallory asks for instead is of epoch 2.
        BatchHeader memory asked = _irregular(header);
        (asked.epoch, asked.timestamp) = (2, uint64(block.timestamp));
        _advance(5 * p.takeoverSeconds);
        _settleAs(_mallory, asked);
        _settleOthers();
        _tallyAll();

        (, uint256 missed) = tally.turnsOf(registry.idOf(first), 2);
        assertEq(missed, 0);
        (, missed) = tally.turnsOf(registry.idOf(second), 2);
        assertEq(missed, 0);
    }

    /// What is not regular moves the tip under a leader that has its batch signed already: the next one may be late.
    function test_attack109_aTipThatWasMovedBlamesNobody() external {
        BatchHeader memory split = _irregular(_nextHeader(1));
        _advance(5 * p.takeoverSeconds);
        _settleAs(_mallory, split);

        BatchHeader memory header = _nextHeaderLedBy(VICTIM);
        _advance(2 * p.takeoverSeconds);
        _settleAs(settlement.memberAt(0, 1, 1).signer, header);
        _settleOthers();
        _tallyAll();
        _expectNotAbsent(VICTIM);
    }

    /// Nothing but a regular batch settles within five takeovers of the one before, however old its blocks are: who has a backlog to
    /// post is not overtaken by splits of it.
    function test_attack109_nobodyMovesTheTipUnderALeader() external {
        BatchHeader memory old = _nextHeader(8);
        _advance(20 * p.takeoverSeconds);
        _settle(old);
        BatchHeader memory split = _irregular(_nextHeader(1));
        (split.timestamp, split.epoch) = (old.timestamp, old.epoch);
        _advance(5 * p.takeoverSeconds - 1);
        _expectTooEarly(split, settlement.tip().settledAt);

        // Nor does the leader of a turn by itself take the next one's batch to pieces.
        address leader = _leader(split);
        uint128 signers = _quorum(split.epoch);
        Signature[] memory signatures = _attest(split, signers);
        uint64 open = settlement.tip().settledAt + 5 * p.takeoverSeconds;
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.IrregularTooEarly.selector, open, uint64(block.timestamp)));
        vm.prank(leader, leader);
        settlement.settle(split, signers, signatures, PAYLOAD);
    }

    /// A batch may have been known to end long after its last block, where agreement stood still in between.
    function test_attack109_aBatchWhoseEndWasKnownLateBlamesNobodyAtOnce() external {
        BatchHeader memory header = _nextHeaderLedBy(VICTIM);
        _advance(3 * p.takeoverSeconds);
        header.regularSince = uint64(block.timestamp);
        uint64 open = header.regularSince + 5 * p.takeoverSeconds;
        uint128 signers = _quorum(header.epoch);
        Signature[] memory signatures = _attest(header, signers);
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.PosterNotAdmitted.selector, _leader(header), _mallory, open));
        vm.prank(_mallory, _mallory);
        settlement.settle(header, signers, signatures, PAYLOAD);
        _settle(header);
        _settleOthers();
        _tallyAll();
        _expectNotAbsent(VICTIM);
    }

    /// The leader that misses its turns names her who settles them as its own poster, before they are tallied.
    function test_attack113_anothersAddressIsNobodysPoster() external {
        uint32 id = _idAt(VICTIM);
        address owner = registry.ownerOf(id);
        address poster = settlement.memberAt(0, 1, 0).signer;
        uint32 hers = registry.idOf(poster);
        bytes memory own = _posterProof(id, _keyOf(settlement.memberAt(0, 1, VICTIM).signer));
        for (uint256 i = 0; i < 3; ++i) {
            BatchHeader memory header = _nextHeaderLedBy(VICTIM);
            _advance(2 * p.takeoverSeconds);
            _settleAs(poster, header);
        }
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(ISequencerRegistry.PosterTaken.selector, poster, hers));
        registry.setPoster(id, poster, own);
        address stranger = makeAddr("stranger");
        vm.expectPartialRevert(ISequencerRegistry.ProofNotBySigner.selector);
        registry.setPoster(id, stranger, own);
        vm.stopPrank();
        _settleOthers();
        _tallyAll();

        (uint256 turns, uint256 missed) = tally.turnsBetween(id, 0, _epoch());
        assertEq(turns, 3);
        assertEq(missed, 3);
        slasher.reportMissedTurns(id);
        assertEq(uint256(registry.sequencer(id).status), uint256(Status.Jailed));
    }

    /// Though an address agrees, it does so for what comes: what settled before was nobody's.
    function test_attack113_aPosterNamedAfterwardsDidNotPost() external {
        uint32 id = _idAt(VICTIM);
        BatchHeader memory header = _nextHeaderLedBy(VICTIM);
        _advance(5 * p.takeoverSeconds);
        address poster = makeAddr("late poster");
        _settleAs(poster, header);
        _namePoster(id, "late poster");
        _settleOthers();
        _tallyAll();
        (, uint256 missed) = tally.turnsBetween(id, 0, _epoch());
        assertEq(missed, 1);
    }

    /// Property 3, the other way round: what a poster did in its time stays its leader's, whoever posts now.
    function test_attack133_aTurnIsItsLeadersFromTheMomentItSettles() external {
        uint32 id = _idAt(VICTIM);
        address poster = _namePoster(id, "poster");
        BatchHeader memory header = _nextHeaderLedBy(VICTIM);
        _advance(7 * p.takeoverSeconds);
        _settleAs(poster, header);
        assertTrue(_settledBatches[0].led);
        _dropPoster(id);
        _settleOthers();
        _tallyAll();
        (uint256 turns, uint256 missed) = tally.turnsBetween(id, 0, _epoch());
        assertEq(turns, 1);
        assertEq(missed, 0);
    }

    /// Property 2. Mallory has every split in every lawful epoch signed and tries each at any time; those whose turn it is post the
    /// regular batches within five takeovers. All have what they would have without her.
    function testFuzz_attack132_nobodyGainsOrLosesByAskingForSplits(uint256 seed) external {
        uint256 hers = rewardPool.posterBalance(_mallory);
        uint256[5] memory posted;
        for (uint256 i = 0; i < 6; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            BatchHeader memory header = _nextHeaderLedBy(1 + seed % 4);
            for (uint256 tries = 0; tries < 3; ++tries) {
                _advance(uint256(keccak256(abi.encode(seed, tries))) % (5 * p.takeoverSeconds / 3));
                BatchHeader memory split = _irregular(header);
                split.lastHeight =
                    header.firstHeight + uint64(seed >> 16) % (header.lastHeight - header.firstHeight + 1);
                split.epoch = _epoch() - uint64(seed >> 8) % (_epoch() - settlement.tip().epoch + 1);
                uint64 settledAt = settlement.tip().settledAt;
                _expectTooEarly(split, split.timestamp > settledAt ? split.timestamp : settledAt);
            }
            _settle(header);
            ++posted[1 + seed % 4];
        }
        _settleOthers();
        _tallyAll();

        assertEq(rewardPool.posterBalance(_mallory), hers);
        for (uint256 i = 1; i < 5; ++i) {
            (, uint256 missed) = tally.turnsBetween(_idAt(i), 0, _epoch());
            assertEq(missed, 0);
            if (posted[i] != 0) assertGt(rewardPool.posterBalance(settlement.memberAt(0, 1, i).signer), 0);
        }
    }

    function _irregular(BatchHeader memory header) private pure returns (BatchHeader memory same) {
        same = abi.decode(abi.encode(header), (BatchHeader));
        same.regularSince = 0;
    }

    /// Batches of two other turns: all before them is judged.
    function _settleOthers() private {
        _settle(_nextHeaderLedBy(3));
        _settle(_nextHeaderLedBy(4));
    }

    function _expectTooEarly(BatchHeader memory split, uint64 since) private {
        uint128 signers = _quorum(split.epoch);
        Signature[] memory signatures = _attest(split, signers);
        uint64 open = since + 5 * p.takeoverSeconds;
        vm.expectRevert(abi.encodeWithSelector(IBatchInbox.IrregularTooEarly.selector, open, uint64(block.timestamp)));
        vm.prank(_mallory, _mallory);
        settlement.settle(split, signers, signatures, PAYLOAD);
    }

    function _expectNotAbsent(uint256 index) private {
        uint32 id = _idAt(index);
        (, uint256 missed) = tally.turnsBetween(id, 0, _epoch());
        assertEq(missed, 0);
        vm.expectPartialRevert(ISlasher.NotAbsent.selector);
        slasher.reportMissedTurns(id);
    }
}
