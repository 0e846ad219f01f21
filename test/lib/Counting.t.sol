// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {AttendanceLib, Lanes} from "../../contracts/lib/AttendanceLib.sol";
import {Correlation} from "../../contracts/lib/CorrelationLib.sol";
import {PayloadLib} from "../../contracts/lib/PayloadLib.sol";
import {FrozenSet, SetLib} from "../../contracts/lib/SetLib.sol";

/// The libraries under test, which take calldata.
contract CountingSubject {
    function nonzeroBytes(bytes calldata payload) external pure returns (uint256) {
        return PayloadLib.nonzeroBytes(payload);
    }
}

/// What is counted by hand, against the plain way to do it
/// ├── PayloadLib.nonzeroBytes: it is every byte but the zeros
/// ├── AttendanceLib: it counts each member on its own, to the ends of its field
/// └── CorrelationLib
///     ├── it sums a bucket and its neighbours
///     ├── it keeps 32 windows apart
///     ├── when a group was overwritten: it reads as nothing
///     └── when a bucket is full: it stays full
contract CountingTest is Test {
    CountingSubject private immutable SUBJECT = new CountingSubject();

    Correlation private _ring;
    uint256[11] private _stored;

    /* PAYLOAD */

    function testFuzz_nonzeroBytes_areAllButTheZeros(bytes calldata payload, uint256 seed) external view {
        bytes memory sparse = payload;
        uint256 expected;
        for (uint256 i = 0; i < sparse.length; ++i) {
            if (uint256(keccak256(abi.encode(seed, i))) % 3 == 0) sparse[i] = 0;
            if (sparse[i] != 0) ++expected;
        }
        assertEq(SUBJECT.nonzeroBytes(sparse), expected);
    }

    function test_nonzeroBytes_ofEveryLengthAroundAWord() external view {
        for (uint256 length = 0; length <= 70; ++length) {
            bytes memory payload = new bytes(length);
            assertEq(SUBJECT.nonzeroBytes(payload), 0);
            for (uint256 i = 0; i < length; ++i) {
                payload[i] = i % 2 == 0 ? bytes1(0x80) : bytes1(0x01);
            }
            assertEq(SUBJECT.nonzeroBytes(payload), length);
        }
    }

    /* ATTENDANCE */

    function testFuzz_attendance_countsEachMemberOnItsOwn(uint128[] calldata bitmaps) external {
        uint256[] memory words = new uint256[](128);
        for (uint256 i = 0; i < 128; ++i) {
            words[i] = SetLib.word(address(uint160(i + 1)), uint56(i * i + 1));
        }
        (address pointer,) = SetLib.store(words, 0, 0);
        FrozenSet set = SetLib.load(pointer);

        Lanes memory lanes;
        for (uint256 b = 0; b < bitmaps.length; ++b) {
            lanes.add(bitmaps[b], b + 1);
        }
        lanes.addTo(_stored, 128);
        lanes.addTo(_stored, 128);

        uint256 weight;
        for (uint256 i = 0; i < 128; ++i) {
            uint256 expected;
            for (uint256 b = 0; b < bitmaps.length; ++b) {
                expected += ((bitmaps[b] >> i) & 1) * (b + 1);
            }
            weight += expected * (i * i + 1);
            assertEq(AttendanceLib.secondsOf(_stored, i), 2 * expected);
        }
        assertEq(lanes.signedWeight(set), weight);
    }

    /// Every lane full, and none of it in another.
    function testFuzz_attendance_keepsLanesApartAtTheEndsOfTheirFields(uint128 signers) external {
        Lanes memory lanes;
        lanes.add(signers, AttendanceLib.MAX_SECONDS - 1);
        lanes.add(signers, 1);
        lanes.addTo(_stored, 128);
        for (uint256 i = 0; i < 128; ++i) {
            assertEq(AttendanceLib.secondsOf(_stored, i), (signers >> i) & 1 == 1 ? AttendanceLib.MAX_SECONDS : 0);
        }
        for (uint256 w = 0; w < 11; ++w) {
            assertEq(_stored[w] >> 240, 0);
        }
    }

    /* CORRELATION */

    function testFuzz_correlation_sumsABucketAndItsNeighbours(uint32 first, uint64[32] calldata weights) external {
        _ring.prepare();
        for (uint64 i = 0; i < 32; ++i) {
            _ring.add(uint64(first) * 4 + i, weights[i] % (1 << 50));
        }
        for (uint64 i = 1; i < 31; ++i) {
            assertEq(
                _ring.around(uint64(first) * 4 + i),
                uint256(weights[i - 1] % (1 << 50)) + weights[i] % (1 << 50) + weights[i + 1] % (1 << 50)
            );
        }
    }

    function test_correlation_addsUpWithinABucket() external {
        _ring.prepare();
        _ring.add(7, 3);
        _ring.add(7, 4);
        assertEq(_ring.at(7), 7);
        assertEq(_ring.at(6) + _ring.at(8), 0);
    }

    function test_correlation_readsAsNothingWhen_overwritten() external {
        _ring.prepare();
        _ring.add(100, 3);
        _ring.add(100 + 32, 5);
        assertEq(_ring.at(100), 0);
        assertEq(_ring.at(132), 5);
    }

    function test_correlation_isEmptyBeforeTheFirstReport() external {
        _ring.prepare();
        for (uint64 bucket = 0; bucket < 64; ++bucket) {
            assertEq(_ring.around(bucket), 0);
        }
    }

    function test_correlation_staysFullWhen_full() external {
        _ring.prepare();
        _ring.add(5, type(uint56).max - 1);
        _ring.add(5, 9);
        _ring.add(6, 1);
        assertEq(_ring.at(5), type(uint56).max);
        assertEq(_ring.at(6), 1);
    }
}
