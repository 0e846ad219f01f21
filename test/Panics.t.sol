// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox} from "../contracts/interfaces/IBatchInbox.sol";
import {IRestart} from "../contracts/interfaces/IRestart.sol";
import {IRollups} from "../contracts/interfaces/IRollups.sol";
import {IRota} from "../contracts/interfaces/IRota.sol";
import {BlockProof, ISlasher, KeyReference} from "../contracts/interfaces/ISlasher.sol";
import {ITally, Settled} from "../contracts/interfaces/ITally.sol";
import {KeyLib} from "../contracts/lib/KeyLib.sol";
import {BatchHeader, Signature} from "../contracts/types/Wire.sol";
import {Offences} from "./utils/Offences.sol";
import {Actor} from "./utils/System.sol";

/// Numbers at the edges of their types
/// ├── it answers every function of plain words with a result or an error of its own, also before genesis and after a restart
/// ├── it answers every number in a header to settle, and every number of a batch to tally or debit
/// └── it answers every number in evidence
contract PanicsTest is Offences {
    /// What takes plain words and may be called by anyone.
    string private constant REGISTRY = "topUp(uint32,uint256) delegate(uint32,uint256) unjail(uint32)"
        " requestExit(uint32,uint256) leave(uint32,uint256,uint256) flush(uint256) claim(uint256) claimTo(uint256,address)"
        " claimableAt(uint256) proposeOwner(uint32,address) acceptOwner(uint32,address) setOperator(uint32,address)"
        " setWithdrawal(uint32,address) rightsOf(uint32) payeeOf(uint32)"
        " sequencer(uint32) exit(uint256) sharesOf(uint32,address) waitingSharesOf(uint32,address) idOf(address)"
        " ownerOf(uint32) assetsOf(uint32) posterOf(address) signerOfPoster(address) membersAtEpochStart(uint64) membersCheckedIn(uint64) startGeneration(uint64)";
    string private constant SETTLEMENT = "epochAt(uint64) startOf(uint64) leaderSet(uint64)"
        " leaderSetOf(uint32,uint64) setOf(uint32,uint64) leaderOf(uint64,uint64) schedule(uint64,uint64,uint64)"
        " endOf(uint32,uint64) countsFrom(uint64) memberAt(uint32,uint64,uint256) totalAt(uint32,uint64)"
        " ringValue(uint64) forcedEntry(uint64) lateEntries(uint64) checkIn(uint32)";
    string private constant TALLY = "compensate(uint64,uint64,uint64,address,bytes32) compensation(uint64)"
        " attendance(uint32,uint64,uint256) attendances(uint32,uint64) isClosed(uint64) turnsOf(uint32,uint64)"
        " turnsBetween(uint32,uint64,uint64)";
    string private constant SLASHER = "reportMissedTurns(uint32) commit(bytes32) execute(bytes32)"
        " delay(bytes32) executableAt(bytes32) caseOf(bytes32) bountyOf(address) claimBounty(address)";
    string private constant REWARD_POOL = "fund(uint256) posterBalance(address) signerReward(uint32,uint64,uint256)"
        " owedTo(address) setCommission(uint32,uint16) commission(uint32) commissionBalance(uint32) claimCommission(uint32)"
        " claimPosterTo(address) claimCommissionTo(uint32,address)";
    string private constant ROLLUPS = "register(uint64) fund(uint64) debitedBatches(uint64) isOpen(uint64) rollup(uint64)"
        " proposeOwner(uint64,address) acceptOwner(uint64) nextOwner(uint64) owed(uint64)";

    function setUp() external {
        _begin(4);
        _settle(_nextHeader(1));
    }

    function test_plainWords_makeNothingPanic() external {
        _tryEverything();
    }

    function test_plainWords_beforeGenesis_makeNothingPanic() external {
        _deploy();
        _joinMany(4);
        _tryEverything();
    }

    function test_plainWords_inANewGeneration_makeNothingPanic() external {
        Actor[] memory actors = new Actor[](4);
        for (uint256 i = 0; i < actors.length; ++i) {
            actors[i] = _actor(i);
        }
        _restart(actors, 3);
        _tryEverything();
    }

    function test_headers_makeNothingPanic() external {
        BatchHeader memory header = _nextHeader(1);
        address leader = _leader(header);
        uint128 signers = _quorum(header.epoch);
        // generation, epoch, firstHeight, lastHeight, forcedThrough, l1OriginNumber, timestamp, regularSince
        uint256[8] memory fields = [uint256(0), 1, 2, 3, 7, 8, 10, 15];
        for (uint256 i = 0; i < fields.length; ++i) {
            uint256[] memory values = _edges(fields[i] == 0 ? 32 : 64);
            for (uint256 j = 0; j < values.length; ++j) {
                BatchHeader memory edge = _with(header, fields[i], values[j]);
                Signature[] memory signatures = _signAll(settlement.batchDigest(edge));
                vm.startPrank(leader, leader);
                bytes memory call = abi.encodeCall(IBatchInbox.settle, (edge, signers, signatures, PAYLOAD));
                _try(address(settlement), call, string.concat("settle, field ", vm.toString(fields[i])));
                vm.stopPrank();
            }
        }
    }

    function test_numbersOfBatches_makeNothingPanic() external {
        Settled[] memory batches = new Settled[](1);
        batches[0] = _settledBatches[0];
        uint256[] memory values = _edges(64);
        for (uint256 i = 0; i < values.length; ++i) {
            uint64 number = uint64(values[i]);
            _try(address(tally), abi.encodeCall(ITally.tally, (number, batches)), "tally");
            _try(address(rollups), abi.encodeCall(IRollups.debit, (number, batches[0], "")), "debit");
        }
    }

    function test_seals_makeNothingPanic() external {
        uint256[] memory values = _edges(64);
        for (uint256 i = 0; i < values.length; ++i) {
            _try(address(settlement), abi.encodeCall(IRota.pin, (uint64(values[i]))), "pin");
        }
        _pin(_epoch() + 1);
        bytes memory header = _mineWithHeader(settlement.pinned());
        for (uint256 i = 0; i < values.length; ++i) {
            _try(address(settlement), abi.encodeCall(IRota.seal, (uint64(values[i]), header)), "seal");
            _try(address(settlement), abi.encodeCall(IRota.seal, (uint64(values[i]), "")), "seal without a header");
        }
        _try(address(settlement), abi.encodeCall(IRestart.finishRestart, (header)), "finish");
        _try(address(settlement), abi.encodeCall(IRestart.closeCheckIn, ()), "close");
    }

    function test_evidence_makesNothingPanic() external {
        uint256[] memory values = _edges(64);
        for (uint256 i = 0; i < values.length; ++i) {
            uint64 edge = uint64(values[i]);
            _tryKeys(_callVotes(OFFENDER, edge), "double vote");
            for (uint256 j = 0; j < values.length; ++j) {
                for (uint256 k = 0; k < values.length; ++k) {
                    _tryBatches(edge, uint64(values[j]), uint64(values[k]));
                }
            }
        }
    }

    /* EVIDENCE */

    /// @dev Two headers of the same heights, so that the pair is judged block against block and as a link in both orders.
    function _tryBatches(uint64 height, uint64 firstHeight, uint64 lastHeight) private {
        (BatchHeader memory a,, BlockProof memory proof) = _twoBlocks(1, BLOCK_A, BLOCK_B);
        (a.firstHeight, a.lastHeight) = (firstHeight, lastHeight);
        BatchHeader memory b = abi.decode(abi.encode(a), (BatchHeader));
        b.lastBlockHash = BLOCK_A;
        Signature memory none;
        bytes memory call =
            abi.encodeCall(ISlasher.reportDoubleAttestation, (_key(OFFENDER), height, a, none, proof, b, none, proof));
        _try(address(slasher), call, "double attestation");
    }

    /// @dev The same report under keys at the edges of their places. The reference is the first word of the arguments.
    function _tryKeys(bytes memory report, string memory what) private {
        uint256[] memory epochs = _edges(64);
        uint32[3] memory generations = [0, 1, type(uint32).max];
        uint8[3] memory indexes = [0, 4, type(uint8).max];
        for (uint256 i = 0; i < epochs.length * 9; ++i) {
            KeyReference key = KeyLib.inSet(generations[i % 3], uint64(epochs[i / 9]), indexes[(i / 3) % 3]);
            assembly ("memory-safe") {
                mstore(add(report, 0x24), key)
            }
            _try(address(slasher), report, what);
        }
    }

    /* CALLING */

    /// @dev As the owner of sequencer 1, who has tokens to spend.
    function _tryEverything() private {
        address owner = registry.ownerOf(1);
        _give(owner, 100 ether);
        vm.startPrank(owner);
        token.approve(address(rewardPool), 100 ether);
        uint256 made = _tryAll(address(registry), REGISTRY) + _tryAll(address(settlement), SETTLEMENT)
            + _tryAll(address(tally), TALLY) + _tryAll(address(slasher), SLASHER)
            + _tryAll(address(rewardPool), REWARD_POOL) + _tryAll(address(rollups), ROLLUPS);
        vm.stopPrank();
        assertGt(made, 2000);
    }

    /// @dev Every function in `signatures` with every combination of words at the edges of their types.
    function _tryAll(address target, string memory signatures) private returns (uint256 made) {
        string[] memory each = vm.split(signatures, " ");
        for (uint256 i = 0; i < each.length; ++i) {
            string[] memory halves = vm.split(vm.replace(each[i], ")", ""), "(");
            string[] memory types = vm.split(halves[1], ",");
            bytes memory selector = abi.encodePacked(bytes4(keccak256(bytes(each[i]))));
            made += _tryWords(target, each[i], selector, types, 0);
        }
    }

    function _tryWords(address target, string memory what, bytes memory call, string[] memory types, uint256 next)
        private
        returns (uint256 made)
    {
        if (next == types.length) {
            _try(target, call, what);
            return 1;
        }
        uint256[] memory values = _edgesOf(types[next]);
        for (uint256 i = 0; i < values.length; ++i) {
            made += _tryWords(target, what, bytes.concat(call, bytes32(values[i])), types, next + 1);
        }
    }

    /// @dev Calls and undoes; what reverts must do so with an error, and not with `Panic(uint256)`.
    function _try(address target, bytes memory call, string memory what) private {
        uint256 snapshot = vm.snapshotState();
        (bool done, bytes memory answer) = target.call{gas: 30_000_000}(call);
        vm.revertToStateAndDelete(snapshot);
        if (done) return;

        assertGe(answer.length, 4, string.concat(what, " reverts without an error: ", vm.toString(call)));
        assertNotEq(bytes4(answer), bytes4(keccak256("Panic(uint256)")), string.concat(what, ": ", vm.toString(call)));
    }

    function _edgesOf(string memory name) private pure returns (uint256[] memory) {
        if (keccak256(bytes(name)) == keccak256("address")) {
            uint256[] memory addresses = new uint256[](2);
            addresses[1] = type(uint160).max;
            return addresses;
        }
        if (keccak256(bytes(name)) == keccak256("bytes32")) return new uint256[](1);
        return _edges(vm.parseUint(vm.replace(name, "uint", "")));
    }

    function _edges(uint256 bits) private pure returns (uint256[] memory values) {
        values = new uint256[](6);
        (values[1], values[2], values[3]) = (1, 2, (1 << (bits - 1)));
        (values[4], values[5]) = (type(uint256).max >> (256 - bits), (type(uint256).max >> (256 - bits)) - 1);
    }

    function _with(BatchHeader memory header, uint256 field, uint256 value) private pure returns (BatchHeader memory) {
        bytes memory encoded = abi.encode(header);
        assembly ("memory-safe") {
            mstore(add(add(encoded, 0x20), shl(5, field)), value)
        }
        return abi.decode(encoded, (BatchHeader));
    }

    /// @dev Signatures of the first three of four members of epoch 1, whatever epoch is signed.
    function _signAll(bytes32 digest) private view returns (Signature[] memory signatures) {
        signatures = new Signature[](3);
        for (uint256 i = 0; i < 3; ++i) {
            signatures[i] = _sign(_secret(i), digest);
        }
    }
}
