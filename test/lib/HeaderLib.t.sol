// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {HeaderLib} from "../../contracts/lib/HeaderLib.sol";
import {System} from "../utils/System.sol";

contract HeaderReader {
    function mixHash(bytes calldata header) external pure returns (bytes32) {
        return HeaderLib.mixHash(header);
    }
}

/// mixHash
/// ├── it finds the mix hash of a header of Prague, and of a fork that added fields behind
/// ├── it finds that of a header that this L1 really made
/// ├── it refuses a header that ends before it, a list in front of it, a length beyond the end, no list
/// └── it ends with an answer or its own error for every input
contract HeaderLibTest is System {
    HeaderReader private immutable READER = new HeaderReader();

    function testFuzz_itFindsTheMixHash(uint64 number, bytes32 random) public view {
        assertEq(READER.mixHash(_l1Header(number, random)), random);
    }

    /// Only what stands behind the mix hash differs between forks. The length in front of the list does too.
    function testFuzz_whatForksAddBehindChangesNothing(bytes32 random, bytes memory later) public view {
        vm.assume(later.length < 60_000);
        bytes memory header = bytes.concat(_l1Header(7, random), later);
        // Casting is safe: bounded above.
        uint16 length = uint16(header.length - 3);
        (header[1], header[2]) = (bytes1(uint8(length >> 8)), bytes1(uint8(length)));
        assertEq(READER.mixHash(header), random);
    }

    function testFuzz_itRefusesWhatEndsTooEarly(bytes32 random, uint256 length) public {
        bytes memory header = _l1Header(7, random);
        // The mix hash ends where the nonce, the base fee and what came later begin: 9, 5 and 33 bytes.
        length = bound(length, 0, header.length - 48);
        bytes memory part = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            part[i] = header[i];
        }
        (bool ok, bytes memory answer) = address(READER).call(abi.encodeCall(READER.mixHash, (part)));
        assertFalse(ok);
        assertEq(bytes4(answer), HeaderLib.HeaderUnreadable.selector);
    }

    function test_itRefusesALengthBeyondTheEnd() public {
        vm.expectRevert(abi.encodeWithSelector(HeaderLib.HeaderUnreadable.selector, 65_539));
        READER.mixHash(bytes.concat(hex"c0", hex"b9ffff", new bytes(100)));
        vm.expectRevert(abi.encodeWithSelector(HeaderLib.HeaderUnreadable.selector, 1));
        READER.mixHash(bytes.concat(hex"c0", hex"bbffffffff", new bytes(100)));
        vm.expectRevert(abi.encodeWithSelector(HeaderLib.HeaderUnreadable.selector, 1));
        READER.mixHash(bytes.concat(hex"c0", hex"b9ff"));
        vm.expectRevert(abi.encodeWithSelector(HeaderLib.HeaderUnreadable.selector, 1));
        READER.mixHash(bytes.concat(hex"c0", hex"b8"));
    }

    function test_itRefusesAListInFront() public {
        vm.expectRevert(abi.encodeWithSelector(HeaderLib.HeaderUnreadable.selector, 1));
        READER.mixHash(bytes.concat(hex"c0", hex"c0", new bytes(100)));
        vm.expectRevert(abi.encodeWithSelector(HeaderLib.HeaderUnreadable.selector, 0));
        READER.mixHash(new bytes(200));
        vm.expectRevert(abi.encodeWithSelector(HeaderLib.HeaderUnreadable.selector, 0));
        READER.mixHash("");
    }

    /// Random bytes, and a header with random bytes in some place.
    function testFuzz_itAnswersEverything(bytes memory input, uint256 at, bytes32 random) public {
        _answers(input);
        _answers(bytes.concat(hex"f9ffff", input));
        bytes memory header = _l1Header(7, random);
        at = bound(at, 0, header.length - 1);
        for (uint256 i = 0; i < input.length && at + i < header.length; ++i) {
            header[at + i] = input[i];
        }
        _answers(header);
    }

    function _answers(bytes memory input) private {
        (bool ok, bytes memory answer) = address(READER).call(abi.encodeCall(READER.mixHash, (input)));
        if (ok) assertEq(answer.length, 32);
        else assertEq(bytes4(answer), HeaderLib.HeaderUnreadable.selector);
    }
}
