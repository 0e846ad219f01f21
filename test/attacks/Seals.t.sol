// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {SetLib} from "../../contracts/lib/SetLib.sol";
import {Staking} from "../utils/Staking.sol";
import {Actor} from "../utils/System.sol";

/// What a seal costs. The number is that of the attack gallery.
contract SealsTest is Staking {
    Actor[] private _actors;

    function setUp() public {
        _deploy();
        Actor[] memory actors = _joinMany(7);
        for (uint256 i = 0; i < actors.length; ++i) {
            _actors.push(actors[i]);
        }
        _sealFirst();
    }

    /// 142: a seal that finds the members and weights of the one before stores nothing but a seed, and each epoch has its own.
    function test_property142_whatDidNotChangeIsNotStoredAgain() public {
        // The block that was pinned for the first set is that of this seal, too.
        _sealSet(1);
        _startEpoch(1);
        (address first,,) = settlement.setOf(0, 0);
        (,, bytes32 seed) = settlement.setOf(0, 1);
        uint64 created = vm.getNonce(address(settlement));
        for (uint64 epoch = 2; epoch < 7; ++epoch) {
            vm.prevrandao(keccak256(abi.encode(epoch)));
            _sealSet(epoch);
            (address pointer, uint64 sealedFor, bytes32 next) = settlement.setOf(0, epoch);
            assertEq(pointer, first);
            assertEq(sealedFor, epoch);
            assertEq(next, _seed(seed, uint256(keccak256(abi.encode(epoch)))));
            assertEq(settlement.leaderSet(epoch).seed, next);
            assertEq(settlement.leaderSet(epoch).members.length, 7);
            seed = next;
            _startEpoch(epoch);
        }
        assertEq(vm.getNonce(address(settlement)), created, "a contract was created");
    }

    /// 142: what changed is stored, and what was stored stays as it was: weights, keys, and who is there.
    function test_property142_whatChangedIsStored() public {
        _sealSet(1);
        _startEpoch(1);
        _topUp(_actors[2], 5 ether);
        _sealThrough(3);
        Actor memory key = _actor(20);
        bytes memory proof = _proof(_actors[4].owner, key.key);
        vm.prank(_actors[4].owner);
        registry.rotateSigner(_actors[4].id, key.signer, proof);
        _sealThrough(5);
        _jailAbsent(_actors[5].id, uint64(block.timestamp) + p.jailSeconds);
        _sealThrough(7);

        address[4] memory pointers;
        uint64[4] memory totals = [uint64(700), 705, 705, 605];
        uint64[4] memory epochs = [uint64(2), 4, 5, 7];
        for (uint256 i = 0; i < 4; ++i) {
            (pointers[i],,) = settlement.setOf(0, epochs[i]);
            assertEq(settlement.totalAt(0, epochs[i]), totals[i]);
            for (uint256 j = 0; j < i; ++j) {
                assertTrue(pointers[i] != pointers[j]);
            }
        }
        assertEq(settlement.leaderSet(7).members.length, 6);
    }

    /// 142: the leaders of an epoch are drawn by its own seed, whatever code its members lie in.
    function testFuzz_property142_eachEpochHasItsOwnLeaders(bytes32 random) public {
        vm.prevrandao(random);
        _sealSet(1);
        vm.prevrandao(keccak256(abi.encode(random)));
        _startEpoch(1);
        _sealSet(2);
        address[] memory before = settlement.schedule(1, 0, 64);
        address[] memory then = settlement.schedule(2, 0, 64);
        assertNotEq(keccak256(abi.encode(before)), keccak256(abi.encode(then)));

        LeaderSet memory set = settlement.leaderSet(2);
        for (uint64 turn = 0; turn < 64; ++turn) {
            uint256 x = uint256(keccak256(abi.encode(set.seed, turn, uint32(0)))) % set.total;
            uint256 index = 0;
            for (uint256 sum = set.members[0].weight; sum <= x; sum += set.members[index].weight) {
                ++index;
            }
            assertEq(then[turn], set.members[index].signer);
        }
    }

    /// 142: a set of another generation is never shared.
    function test_property142_aGenerationHasItsOwnCode() public {
        _restart(_actors, 7);
        (address before,,) = settlement.setOf(0, 0);
        (address pointer,,) = settlement.setOf(1, _epoch());
        assertTrue(pointer != before);
        assertEq(SetLib.load(pointer).generation(), 1);
        _sealThrough(_epoch() + 2);
        assertEq(settlement.leaderSet(_epoch()).generation, 1);
        assertEq(settlement.leaderSet(_epoch()).members.length, 7);
    }
}
