// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {FrozenSet, SetLib} from "../../contracts/lib/SetLib.sol";
import {Sets} from "../utils/Sets.sol";

/// SetLib
/// ├── store
/// │   ├── it writes the documented bytes
/// │   └── when the set is too large: it reverts
/// └── load
///     ├── it gives back what was stored, for every size
///     └── member, when the index is outside: it reverts
contract SetLibTest is Test {
    function test_storesTheDocumentedBytes() public {
        uint256[] memory members = new uint256[](2);
        members[0] = SetLib.word(address(0x1111111111111111111111111111111111111111), 0x01020304050607);
        members[1] = SetLib.word(address(0x2222222222222222222222222222222222222222), 1);

        (address pointer, uint64 total) = SetLib.store(members, bytes32(uint256(0xabcd)), 0x0a0b0c0d);

        assertEq(total, 0x01020304050608);
        assertEq(
            pointer.code,
            bytes.concat(
                hex"00",
                hex"01020304050608",
                bytes32(uint256(0xabcd)),
                hex"0a0b0c0d",
                hex"02",
                hex"1111111111111111111111111111111111111111",
                hex"01020304050607",
                hex"2222222222222222222222222222222222222222",
                hex"00000000000001"
            )
        );
    }

    function test_storesAnEmptySet() public {
        (address pointer, uint64 total) = SetLib.store(new uint256[](0), bytes32(uint256(1)), 0);

        assertEq(total, 0);
        assertEq(pointer.code.length, SetLib.HEADER_BYTES);
        assertEq(SetLib.load(pointer).count(), 0);
    }

    function testFuzz_loadsWhatWasStored(uint256 n, bytes32 seed, uint32 generation, uint56 weight) public {
        n = bound(n, 1, SetLib.MAX_MEMBERS);
        uint56[] memory weights = new uint56[](2);
        weights[0] = uint56(bound(weight, 1, type(uint56).max / SetLib.MAX_MEMBERS));
        weights[1] = 1;
        uint256[] memory members = Sets.words(n, weights);

        (address pointer, uint64 total) = SetLib.store(members, seed, generation);
        FrozenSet set = SetLib.load(pointer);
        // What is allocated after a load must not touch it.
        bytes memory after_ = abi.encode(type(uint256).max, type(uint256).max);

        assertEq(set.total(), total);
        assertEq(set.seed(), seed);
        assertEq(set.generation(), generation);
        assertEq(set.count(), n);
        uint256 sum;
        for (uint256 i = 0; i < n; ++i) {
            (address signer, uint64 memberWeight) = set.member(i);
            assertEq(SetLib.word(signer, uint56(memberWeight)), members[i]);
            sum += memberWeight;
        }
        assertEq(sum, total);
        assertEq(after_.length, 64);
    }

    function test_revertsWhen_setIsTooLarge() public {
        uint256[] memory members = Sets.ascending(129);

        vm.expectRevert(abi.encodeWithSelector(SetLib.SetTooLarge.selector, 128, 129));
        this.store(members);
    }

    function test_revertsWhen_indexIsOutsideTheSet() public {
        (address pointer,) = SetLib.store(Sets.ascending(3), bytes32(0), 0);

        vm.expectRevert(abi.encodeWithSelector(SetLib.IndexOutsideSet.selector, 3, 3));
        this.member(pointer, 3);
    }

    function store(uint256[] memory members) external returns (address pointer) {
        (pointer,) = SetLib.store(members, bytes32(0), 0);
    }

    function member(address pointer, uint256 index) external view returns (address signer) {
        (signer,) = SetLib.load(pointer).member(index);
    }
}
