// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";
import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";

import {SortLib} from "../../contracts/lib/SortLib.sol";

/// SortLib.sort
/// ├── it sorts as OpenZeppelin's does
/// └── it sorts what is sorted, reversed, equal, single or empty
contract SortLibTest is Test {
    function testFuzz_sortsAsOpenZeppelin(uint256[] memory words) public pure {
        for (uint256 i = 0; i < words.length; ++i) {
            words[i] |= 1 << 255;
        }
        uint256[] memory expected = abi.decode(abi.encode(words), (uint256[]));
        Arrays.sort(expected);

        SortLib.sort(words);

        assertEq(words, expected);
    }

    function test_sortsEverySizeAndOrder() public pure {
        for (uint256 n = 0; n <= 128; ++n) {
            uint256[] memory up = new uint256[](n);
            uint256[] memory down = new uint256[](n);
            uint256[] memory same = new uint256[](n);
            for (uint256 i = 0; i < n; ++i) {
                (up[i], down[i], same[i]) = (n + 1 + i, n + n - i, n + 1);
            }
            uint256[] memory expected = abi.decode(abi.encode(up), (uint256[]));

            SortLib.sort(up);
            SortLib.sort(down);
            SortLib.sort(same);

            assertEq(up, expected);
            assertEq(down, expected);
            if (n != 0) assertEq(same[0], same[n - 1]);
        }
    }
}
