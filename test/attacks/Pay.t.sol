// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {BatchHeader} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// @title Attacks on the reward pool by who cuts batches and who tallies (gallery, chapter 5)
contract PayAttacks is Offences {
    uint64 private constant BLOCKS = 8;

    function setUp() external {
        _begin(5);
        _fundPool(1 ether, 1000 ether);
    }

    /* 111: THE NUMBER OF BATCHES IS THE POSTER'S CHOICE */

    /// The same blocks as one batch or as eight: signers earn the same, to the rounding of eight divisions.
    function test_attack111_splitsEarnSignersNothing() external {
        uint256 snapshot = vm.snapshotState();
        _settleAll(1, false);
        (uint256 wholeWei, uint256 wholeSeconds) = _earned();

        vm.revertToState(snapshot);
        delete _settledBatches;
        _settleAll(BLOCKS, false);
        (uint256 splitWei, uint256 splitSeconds) = _earned();

        assertEq(splitSeconds, wholeSeconds);
        assertLe(splitWei, wholeWei);
        assertLe(wholeWei - splitWei, BLOCKS);
    }

    /// Wherever a chain of blocks is cut, each member earns by the time that it attested, and all together what the time costs.
    function testFuzz_attack111_whateverIsCutASecondHasOnePrice(uint256 cuts, uint8[12] memory gaps) external {
        uint64 begun = uint64(block.timestamp);
        uint64 from = 0;
        for (uint64 i = 0; i < gaps.length; ++i) {
            _advance(uint256(gaps[i] % 4) + 1); // all within the epoch
            if ((cuts >> i) & 1 == 1 || i + 1 == gaps.length) {
                _settle(_nextHeader(i + 1 - from));
                from = i + 1;
            }
        }
        _tallyAll();
        (uint256 earnedWei, uint256 attended) = _earned();
        uint256 added = block.timestamp - p.genesis;
        assertGt(added, block.timestamp - begun);
        assertEq(attended, added);
        // Four of five signed.
        assertApproxEqAbs(earnedWei, p.signersSecondWei * added * 4 / 5, gaps.length);
        assertLe(earnedWei, p.signersSecondWei * added * 4 / 5);
    }

    /// Where the first set is sealed long after genesis, nobody is paid for the time in which there was no chain.
    function test_attack111_aLateStartEarnsNothingForBefore() external {
        _deploy();
        _joinMany(4);
        _fundPool(1 ether, 1_000_000 ether);
        _warpTo(p.genesis + 10 days);
        _sealSet(_epoch());
        delete _settledBatches;
        _advance(10);
        BatchHeader memory header = _nextHeader(8);
        header.epoch = _epoch();
        _settle(header);
        _tallyAll();

        uint256 begun = settlement.startOf(header.epoch); // when the first set was sealed
        for (uint256 i = 0; i < 4; ++i) {
            assertLe(tally.attendance(0, header.epoch, i).attended, header.timestamp - begun);
        }
    }

    /// Who settles single blocks that nobody cut, once anybody may, is refunded no more than the time that they add would have
    /// cost at full load; and there is no margin in it.
    function test_attack111_splitsThatAreNotRegularDrainNothing() external {
        address mallory = makeAddr("mallory");
        uint256 wholeWei = _refundOfOne(mallory, p.maxBatchAgeSeconds);
        uint256 partWei = _refundOfOne(mallory, 1);
        uint256 nothingWei = _refundOfOne(mallory, 0);

        assertGt(wholeWei, 0);
        assertApproxEqAbs(partWei, wholeWei / p.maxBatchAgeSeconds, 1 + wholeWei / 100);
        assertEq(nothingWei, 0);
    }

    /* 121: A TALLY IN A DRY SPELL */

    /// Whoever tallies while the pool is empty costs nobody anything.
    function test_attack121_tallyWhileThePoolIsEmpty() external {
        _begin(5);
        delete _settledBatches;
        address poster = _leader(_nextHeader(1));
        for (uint256 i = 0; i < 5; ++i) {
            BatchHeader memory header = _nextHeader(1);
            _settle(header);
        }
        uint256 snapshot = vm.snapshotState();
        _fundPool(1 ether, 0);
        _tallyAll();
        uint256 dueWei = rewardPool.posterBalance(poster);
        assertGt(dueWei, 0);

        vm.revertToState(snapshot);
        vm.prank(makeAddr("mallory"));
        _tallyAll();
        _fundPool(1 ether, 0);
        vm.prank(poster);
        assertEq(rewardPool.claimPoster(), dueWei);
    }

    /// Who works on in a dry spell is not paid before who waits: what comes in is for debts first.
    function test_attack121_laterWorkTakesNothingThatIsOwed() external {
        _begin(5);
        delete _settledBatches;
        BatchHeader memory header = _nextHeader(1);
        address first = _leader(header);
        _settle(header);
        _tallyAll();
        uint256 owedWei = rewardPool.owedTo(first);
        _fundPool(owedWei, 0);

        while (_leader(header) == first) {
            header = _nextHeader(header.lastHeight - header.firstHeight + 1 + p.turnLength);
        }
        _settle(header);
        _tallyAll();
        assertEq(rewardPool.posterBalance(_leader(header)), 0);
        vm.prank(first);
        assertEq(rewardPool.claimPoster(), owedWei);
    }

    /* PARTS */

    /// @dev {BLOCKS} blocks, two seconds apart, in so many batches.
    function _settleAll(uint64 batches, bool irregular) private {
        for (uint64 i = 0; i < BLOCKS; ++i) {
            _advance(2);
            if ((i + 1) % (BLOCKS / batches) != 0) continue;
            BatchHeader memory header = _nextHeader(BLOCKS / batches);
            if (irregular) header.regularSince = 0;
            _settle(header);
        }
        _tallyAll();
    }

    /// @dev Tokens reserved for all members, and the seconds of the first one.
    function _earned() private view returns (uint256 wei_, uint256 seconds_) {
        for (uint256 i = 0; i < 5; ++i) {
            wei_ += rewardPool.signerReward(0, 1, i);
        }
        seconds_ = tally.attendance(0, 1, 0).attended;
    }

    /// @dev What `poster` gets for a block `added` seconds after the one before that nobody cut.
    function _refundOfOne(address poster, uint256 added) private returns (uint256 wei_) {
        _settle(_nextHeader(1));
        _tallyAll();
        _advance(added);
        BatchHeader memory header = _nextHeader(1);
        header.regularSince = 0;
        _advance(5 * p.takeoverSeconds);
        wei_ = rewardPool.posterBalance(poster);
        _settleAs(poster, header);
        _tallyAll();
        return rewardPool.posterBalance(poster) - wei_;
    }

    function _fundPool(uint256 ethWei, uint256 tokenWei) private {
        vm.deal(address(this), ethWei);
        token.mint(address(this), tokenWei);
        token.approve(address(rewardPool), tokenWei);
        rewardPool.fund{value: ethWei}(tokenWei);
    }
}
