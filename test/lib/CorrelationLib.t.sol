// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {Correlation, CorrelationLib} from "../../contracts/lib/CorrelationLib.sol";

/// CorrelationLib
/// ├── around: the weight of a bucket and of both neighbours, also of the first bucket, which has one
/// ├── a group of four buckets is forgotten with the first report a ring later
/// └── a full bucket stays full
contract CorrelationLibTest is Test {
    uint64 private constant RING = 32;

    Correlation private _ring;
    mapping(uint64 bucket => uint256 weight) private _model;

    function setUp() external {
        _ring.prepare();
    }

    function testFuzz_around_isTheWeightOfABucketAndItsNeighbours(uint8[24] calldata steps, uint32[24] calldata weights)
        external
    {
        uint64 bucket;
        for (uint256 i = 0; i < steps.length; ++i) {
            bucket += steps[i] % 5;
            _add(bucket, weights[i]);

            uint64 asked = bucket < 3 ? 0 : bucket - 3;
            for (; asked <= bucket + 2; ++asked) {
                uint256 before = asked == 0 ? 0 : _model[asked - 1];
                assertEq(_ring.around(asked), before + _model[asked] + _model[asked + 1]);
            }
        }
    }

    function test_around_theFirstBucketHasOneNeighbour() external {
        _add(0, 3);
        _add(1, 4);
        assertEq(_ring.around(0), 7);
        assertEq(_ring.around(1), 7);
    }

    function test_at_forgetsWhatLiesARingBehind() external {
        _add(4, 3);
        _add(7, 3);
        _add(4 + RING - 1, 1);
        assertEq(_ring.at(4), 3);
        _add(4 + RING, 2);
        assertEq(_ring.at(4), 0);
        assertEq(_ring.at(7), 0);
        assertEq(_ring.at(4 + RING), 2);
    }

    function test_add_leavesAFullBucketFull() external {
        uint256 full = type(uint56).max;
        _add(8, full - 1);
        _add(9, 2);
        _ring.add(8, 5);
        assertEq(_ring.at(8), full);
        assertEq(_ring.at(9), 2);
        _ring.add(8, full);
        assertEq(_ring.at(8), full);
    }

    function _add(uint64 bucket, uint256 weight) private {
        _ring.add(bucket, weight);
        _model[bucket] += weight;
    }
}
