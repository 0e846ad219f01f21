// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {Tip} from "../../contracts/interfaces/IBatchInbox.sol";
import {MerkleLib} from "../../contracts/lib/MerkleLib.sol";
import {TipLib, TipWord} from "../../contracts/lib/TipLib.sol";

/// @title What is packed by hand reads back
contract WordProofs is Test {
    /// @notice Fields that fit come back as they went in; none reaches into its neighbour.
    function check_theTipReadsBack(Tip memory tip, uint32 generation) public pure {
        vm.assume(tip.number < 1 << 30 && tip.lastHeight < 1 << 40 && tip.epoch < 1 << 28);
        vm.assume(tip.timestamp < 1 << 34 && tip.settledAt < 1 << 34 && tip.l1OriginNumber < 1 << 32);
        vm.assume(tip.forcedThrough < 1 << 23 && tip.consumed < 1 << 23 && generation < 1 << 12);

        TipWord word = TipLib.pack({
            number_: tip.number,
            lastHeight_: tip.lastHeight,
            epoch_: tip.epoch,
            timestamp_: tip.timestamp,
            l1OriginNumber_: tip.l1OriginNumber,
            settledAt_: tip.settledAt,
            forcedThrough_: tip.forcedThrough,
            consumed_: tip.consumed,
            generation_: generation
        });

        assert(word.number() == tip.number && word.lastHeight() == tip.lastHeight);
        assert(word.epoch() == tip.epoch && word.timestamp() == tip.timestamp);
        assert(word.settledAt() == tip.settledAt && word.l1OriginNumber() == tip.l1OriginNumber);
        assert(word.forcedThrough() == tip.forcedThrough && word.consumed() == tip.consumed);
        assert(word.generation() == generation);
    }
}

/// @title Merkle proofs of positions (R25), for every tree of up to eight leaves
contract MerkleProofs is Test {
    /// @notice Two leaves that are proven at one position under one root are the same leaf.
    function check_onePositionHoldsOneLeaf(
        uint256 index,
        bytes32 leafA,
        bytes32[3] calldata siblingsA,
        bytes32 leafB,
        bytes32[3] calldata siblingsB
    ) public view {
        for (uint256 size = 1; size <= 8; ++size) {
            for (uint256 i = 0; i < size; ++i) {
                if (i != index) continue;
                bytes32 rootA = this.rootOf(leafA, i, size, siblingsA);
                bytes32 rootB = this.rootOf(leafB, i, size, siblingsB);
                assert(rootA != rootB || leafA == leafB);
            }
        }
    }

    /// @dev With as many of the siblings as the position needs.
    function rootOf(bytes32 leaf, uint256 index, uint256 size, bytes32[3] calldata siblings)
        external
        pure
        returns (bytes32)
    {
        bytes32[] calldata used;
        uint256 length = MerkleLib.proofLength(index, size);
        assembly ("memory-safe") {
            used.offset := siblings
            used.length := length
        }
        return MerkleLib.rootOf(leaf, index, size, used);
    }
}

/// @title What a quorum is (R26), for 1 to 100 members
contract QuorumProofs is Test {
    /// @notice Of n equal members the smallest quorum is floor(2n / 3) + 1.
    function check_theSmallestQuorumOfEquals(uint8 members, uint8 signed) public pure {
        vm.assume(members >= 1 && members <= 100 && signed <= members);

        bool reached = 3 * uint256(signed) > 2 * uint256(members);

        assert(reached == (signed >= 2 * uint256(members) / 3 + 1));
    }

    /// @notice Two quorums of one set share more than a third of its weight, so at least one honest member.
    function check_twoQuorumsShareAnHonestMember(uint16 onlyA, uint16 both, uint16 onlyB, uint16 neither) public pure {
        uint256 total = uint256(onlyA) + both + onlyB + neither;
        uint256 a = uint256(onlyA) + both;
        uint256 b = uint256(onlyB) + both;
        unchecked {
            // 18 bits at most: no product here runs over.
            vm.assume(3 * a > 2 * total && 3 * b > 2 * total);

            assert(3 * uint256(both) > total);
        }
    }

    /// @notice While less than a third is silent, the rest is a quorum; a third is too much.
    function check_theRestIsAQuorum(uint56 silent, uint56 rest) public pure {
        uint256 total = uint256(silent) + rest;
        vm.assume(total != 0);

        assert((3 * uint256(rest) > 2 * total) == (3 * uint256(silent) < total));
    }
}
