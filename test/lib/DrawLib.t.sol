// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {DrawLib} from "../../contracts/lib/DrawLib.sol";
import {FrozenSet, SetLib} from "../../contracts/lib/SetLib.sol";
import {Sets} from "../utils/Sets.sol";

/// DrawLib
/// ├── draw
/// │   ├── it is the draw as R11 writes it down
/// │   ├── over all a: it visits each member once
/// │   ├── when a is at or above the number of members: it wraps
/// │   ├── it favours weight
/// │   └── when the set is empty: it reverts
/// └── draw0
///     └── it is draw with a = 0
contract DrawLibTest is Test {
    using DrawLib for FrozenSet;

    uint56[] private _weights = [1, 5, 2, 1_000_000, 3];

    /// R11 in the plainest possible words: a list that shrinks, weights that are checked.
    function byTheRule(uint256[] memory members, bytes32 seed, uint64 turn, uint32 a) private pure returns (uint256) {
        uint256 n = members.length;
        bool[] memory drawn = new bool[](n);
        uint256 chosen;
        for (uint32 i = 0; i <= a % n; ++i) {
            uint256 remaining;
            for (uint256 j = 0; j < n; ++j) {
                if (!drawn[j]) remaining += SetLib.weightOf(members[j]);
            }
            uint256 x = uint256(keccak256(abi.encode(seed, turn, i))) % remaining;
            uint256 cumulative;
            for (uint256 j = 0; j < n; ++j) {
                if (drawn[j]) continue;
                cumulative += SetLib.weightOf(members[j]);
                if (cumulative > x) {
                    chosen = j;
                    break;
                }
            }
            drawn[chosen] = true;
        }
        return chosen;
    }

    function testFuzz_drawsAsTheRuleSays(uint256 n, bytes32 seed, uint64 turn, uint32 a) public {
        uint256[] memory members = Sets.words(bound(n, 1, 12), _weights);
        FrozenSet set = _load(members, seed);

        assertEq(set.draw(turn, a), byTheRule(members, seed, turn, a));
    }

    function testFuzz_drawZeroIsTheFirstDraw(uint256 n, bytes32 seed, uint64 turn) public {
        FrozenSet set = _load(Sets.words(bound(n, 1, 128), _weights), seed);

        assertEq(set.draw0(turn), set.draw(turn, 0));
    }

    function testFuzz_visitsEveryMemberOnce(uint256 n, bytes32 seed, uint64 turn) public {
        n = bound(n, 1, 24);
        FrozenSet set = _load(Sets.ascending(n), seed);

        uint256 seen;
        for (uint32 a = 0; a < n; ++a) {
            seen |= 1 << set.draw(turn, a);
        }
        assertEq(seen, (1 << n) - 1);
    }

    function test_wrapsBehindTheLastMember() public {
        FrozenSet set = _load(Sets.ascending(5), keccak256("seed"));

        assertEq(set.draw(7, 5), set.draw(7, 0));
        assertEq(set.draw(7, type(uint32).max), set.draw(7, type(uint32).max % 5));
    }

    function test_favoursWeight() public {
        uint56[] memory weights = new uint56[](2);
        (weights[0], weights[1]) = (1, 3);
        FrozenSet set = _load(Sets.words(2, weights), keccak256("seed"));

        uint256 heavy;
        for (uint64 turn = 0; turn < 1000; ++turn) {
            heavy += set.draw0(turn);
        }
        // 750 expected; 50 are more than 3.6 standard deviations, and the seed is fixed.
        assertApproxEqAbs(heavy, 750, 50);
    }

    function test_onlyMemberIsAlwaysDrawn() public {
        FrozenSet set = _load(Sets.ascending(1), keccak256("seed"));

        assertEq(set.draw0(0), 0);
        assertEq(set.draw(3, 9), 0);
    }

    function test_revertsWhen_setIsEmpty() public {
        vm.expectRevert(DrawLib.EmptySet.selector);
        this.drawEmpty(false);

        vm.expectRevert(DrawLib.EmptySet.selector);
        this.drawEmpty(true);
    }

    function drawEmpty(bool first) external returns (uint256) {
        FrozenSet set = _load(new uint256[](0), bytes32(0));
        return first ? set.draw0(1) : set.draw(1, 1);
    }

    function _load(uint256[] memory members, bytes32 seed) private returns (FrozenSet) {
        (address pointer,) = SetLib.store(members, seed, 0);
        return SetLib.load(pointer);
    }
}
