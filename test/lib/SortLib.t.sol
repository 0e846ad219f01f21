// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";
import {Arrays} from "@openzeppelin/contracts/utils/Arrays.sol";

import {SortLib} from "../../contracts/lib/SortLib.sol";

/// SortLib.sort
/// ├── it sorts as OpenZeppelin's does
/// └── it sorts what is sorted, reversed, equal, single or empty
contract SortLibTest is Test {
    function testFuzz_sortsAsOpenZeppelin(uint256[] memory values) public pure {
        uint256[] memory expected = abi.decode(abi.encode(values), (uint256[]));
        Arrays.sort(expected);

        assertEq(SortLib.sort(values), expected);
    }

    function test_sortsEverySizeAndOrder() public pure {
        for (uint256 n = 0; n <= 128; ++n) {
            uint256[] memory up = new uint256[](n);
            uint256[] memory down = new uint256[](n);
            uint256[] memory same = new uint256[](n);
            for (uint256 i = 0; i < n; ++i) {
                (up[i], down[i], same[i]) = (i, n - 1 - i, 7);
            }
            uint256[] memory expected = abi.decode(abi.encode(up), (uint256[]));

            assertEq(SortLib.sort(up), expected);
            assertEq(SortLib.sort(down), expected);
            assertEq(SortLib.sort(same).length, n);
        }
    }

    function test_leavesWhatIsAllocatedAfterwardsAlone() public pure {
        uint256[] memory values = new uint256[](5);
        (values[0], values[1], values[2], values[3], values[4]) = (5, 4, 3, 2, 1);
        uint256[] memory sorted = SortLib.sort(values);
        bytes memory later = new bytes(64);

        assertEq(later, new bytes(64));
        assertEq(sorted[4], 5);
        assertEq(sorted[0], 1);
    }
}
