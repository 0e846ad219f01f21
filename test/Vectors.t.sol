// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";
import {stdJson} from "forge-std/StdJson.sol";

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {CodeLib} from "../contracts/lib/CodeLib.sol";
import {DigestLib} from "../contracts/lib/DigestLib.sol";
import {DrawLib} from "../contracts/lib/DrawLib.sol";
import {MerkleLib} from "../contracts/lib/MerkleLib.sol";
import {PayloadLib} from "../contracts/lib/PayloadLib.sol";
import {FrozenSet, SetLib} from "../contracts/lib/SetLib.sol";
import {BatchHeader, BlockHeader, OrderReceipt, Proposal, Vote, VoteType} from "../contracts/types/Wire.sol";

/// The libraries under test, which take calldata.
contract VectorSubject {
    function hashOf(Vote calldata vote, VoteType voteType) external pure returns (bytes32) {
        return DigestLib.structHash(vote, voteType);
    }

    function hashOf(Proposal calldata proposal) external pure returns (bytes32) {
        return DigestLib.structHash(proposal);
    }

    function hashOf(BatchHeader calldata header) external pure returns (bytes32) {
        return DigestLib.structHash(header);
    }

    function hashOf(OrderReceipt calldata receipt) external pure returns (bytes32) {
        return DigestLib.structHash(receipt);
    }

    function rootOf(bytes32 leaf, uint256 index, uint256 size, bytes32[] calldata siblings)
        external
        pure
        returns (bytes32)
    {
        return MerkleLib.rootOf(leaf, index, size, siblings);
    }

    function tokens(bytes calldata payload) external pure returns (uint256) {
        return payload.length + 3 * PayloadLib.nonzeroBytes(payload);
    }
}

/// One draw of draw.json.
struct DrawVector {
    uint256 a;
    uint256 member;
    uint256 set;
    address signer;
    uint256 turn;
}

/// @title What both languages must compute alike
/// @notice Reads test/vectors/, which the agent writes and reads too.
contract VectorsTest is Test {
    using DrawLib for FrozenSet;
    using stdJson for string;

    string private constant DRAW_VECTOR =
        "DrawVector(uint256 a,uint256 member,uint256 set,address signer,uint256 turn)";

    VectorSubject private immutable SUBJECT = new VectorSubject();
    string private _json;

    /* SETS AND DRAWS */

    function test_setsAreReadFromTheirCode() external {
        _read("draw");
        uint256 n = _length("sets");
        for (uint256 i = 0; i < n; ++i) {
            FrozenSet set = _set(i);
            uint256[] memory weights = _json.readUintArray(_key("sets", i, "weights"));
            address[] memory signers = _json.readAddressArray(_key("sets", i, "signers"));

            assertEq(set.total(), _uint("sets", i, "total"));
            assertEq(set.seed(), _word("sets", i, "seed"));
            assertEq(set.generation(), _uint("sets", i, "generation"));
            assertEq(set.count(), _uint("sets", i, "count"));
            assertEq(set.count(), weights.length);
            for (uint256 m = 0; m < weights.length; ++m) {
                (address signer, uint64 weight) = set.member(m);
                assertEq(signer, signers[m]);
                assertEq(weight, weights[m]);
            }
        }
    }

    function test_setsAreStoredAsTheirCode() external {
        _read("draw");
        uint256 n = _length("sets");
        for (uint256 i = 0; i < n; ++i) {
            uint256[] memory weights = _json.readUintArray(_key("sets", i, "weights"));
            address[] memory signers = _json.readAddressArray(_key("sets", i, "signers"));
            uint256[] memory words = new uint256[](weights.length);
            for (uint256 m = 0; m < words.length; ++m) {
                words[m] = SetLib.word(signers[m], uint56(weights[m]));
            }

            (address pointer,) = SetLib.store(words, _word("sets", i, "seed"), uint32(_uint("sets", i, "generation")));
            assertEq(pointer.code, _json.readBytes(_key("sets", i, "code")));
        }
    }

    function test_draws() external {
        _read("draw");
        FrozenSet[] memory sets = new FrozenSet[](_length("sets"));
        for (uint256 i = 0; i < sets.length; ++i) {
            sets[i] = _set(i);
        }

        DrawVector[] memory draws = abi.decode(vm.parseJsonTypeArray(_json, ".draws", DRAW_VECTOR), (DrawVector[]));
        assertNotEq(draws.length, 0);
        for (uint256 i = 0; i < draws.length; ++i) {
            uint256 index = sets[draws[i].set].draw(uint64(draws[i].turn), uint32(draws[i].a));
            (address signer,) = sets[draws[i].set].member(index);

            assertEq(index, draws[i].member);
            assertEq(signer, draws[i].signer);
        }
    }

    function test_drawOrders() external {
        _read("draw");
        uint256 n = _length("orders");
        for (uint256 i = 0; i < n; ++i) {
            FrozenSet set = _set(_uint("orders", i, "set"));
            uint256[] memory members = _json.readUintArray(_key("orders", i, "members"));
            for (uint32 a = 0; a < members.length; ++a) {
                assertEq(set.draw(uint64(_uint("orders", i, "turn")), a), members[a]);
            }
        }
    }

    /* TREES */

    function test_treesOfBlocks() external {
        _read("trees");
        uint256 n = _length("blocks");
        for (uint256 i = 0; i < n; ++i) {
            bytes32[] memory leaves = _json.readBytes32Array(_key("blocks", i, "hashes"));
            for (uint256 j = 0; j < leaves.length; ++j) {
                leaves[j] = MerkleLib.blockLeaf(leaves[j]);
            }
            assertEq(_root(leaves), _word("blocks", i, "root"));
        }
    }

    function test_treesOfTransactions() external {
        _read("trees");
        uint256 n = _length("transactions");
        for (uint256 i = 0; i < n; ++i) {
            bytes32[] memory leaves = _json.readBytes32Array(_key("transactions", i, "hashes"));
            uint256[] memory rollups = _json.readUintArray(_key("transactions", i, "rollups"));
            for (uint256 j = 0; j < leaves.length; ++j) {
                leaves[j] = MerkleLib.transactionLeaf(uint64(rollups[j]), leaves[j]);
            }
            assertEq(_root(leaves), _word("transactions", i, "root"));
        }
    }

    function test_proofs() external {
        _read("trees");
        uint256 n = _length("proofs");
        for (uint256 i = 0; i < n; ++i) {
            bytes32[] memory siblings = _json.readBytes32Array(_key("proofs", i, "siblings"));
            bool proves;
            try SUBJECT.rootOf(
                _word("proofs", i, "leaf"), _uint("proofs", i, "index"), _uint("proofs", i, "size"), siblings
            ) returns (
                bytes32 root
            ) {
                proves = root == _word("proofs", i, "root");
            } catch {}

            assertEq(proves, _json.readBool(_key("proofs", i, "valid")), vm.toString(i));
        }
    }

    /* WHAT IS HASHED AND SIGNED */

    function test_blockHashes() external {
        _read("block");
        uint256 n = _length("blocks");
        for (uint256 i = 0; i < n; ++i) {
            BlockHeader memory header = BlockHeader({
                generation: uint32(_uint("blocks", i, "generation")),
                height: uint64(_uint("blocks", i, "height")),
                epoch: uint64(_uint("blocks", i, "epoch")),
                proposer: _json.readAddress(_key("blocks", i, "proposer")),
                timestamp: uint64(_uint("blocks", i, "timestamp")),
                parentHash: _word("blocks", i, "parentHash"),
                l1OriginNumber: uint64(_uint("blocks", i, "l1OriginNumber")),
                l1OriginHash: _word("blocks", i, "l1OriginHash"),
                forcedThrough: uint64(_uint("blocks", i, "forcedThrough")),
                txCount: uint32(_uint("blocks", i, "txCount")),
                txRoot: _word("blocks", i, "txRoot")
            });
            assertEq(DigestLib.blockHash(header), _word("blocks", i, "hash"));
        }
    }

    function test_batchDigests() external {
        _read("batch");
        _checkSeparator();
        uint256 n = _length("batches");
        for (uint256 i = 0; i < n; ++i) {
            _checkSigned("batches", i, SUBJECT.hashOf(_batchHeader("batches", i)));
        }
    }

    function test_voteDigests() external {
        _read("votes");
        _checkSeparator();
        uint256 n = _length("votes");
        for (uint256 i = 0; i < n; ++i) {
            Vote memory vote = Vote({
                generation: uint32(_uint("votes", i, "generation")),
                height: uint64(_uint("votes", i, "height")),
                round: uint32(_uint("votes", i, "round")),
                blockHash: _word("votes", i, "blockHash")
            });
            _checkSigned("votes", i, SUBJECT.hashOf(vote, VoteType(_uint("votes", i, "voteType"))));
        }
    }

    function test_proposalDigests() external {
        _read("votes");
        uint256 n = _length("proposals");
        for (uint256 i = 0; i < n; ++i) {
            Proposal memory proposal = Proposal({
                generation: uint32(_uint("proposals", i, "generation")),
                height: uint64(_uint("proposals", i, "height")),
                round: uint32(_uint("proposals", i, "round")),
                polRound: int32(_json.readInt(_key("proposals", i, "polRound"))),
                blockHash: _word("proposals", i, "blockHash")
            });
            _checkSigned("proposals", i, SUBJECT.hashOf(proposal));
        }
    }

    function test_receiptDigests() external {
        _read("receipts");
        _checkSeparator();
        uint256 n = _length("receipts");
        for (uint256 i = 0; i < n; ++i) {
            OrderReceipt memory receipt = OrderReceipt({
                generation: uint32(_uint("receipts", i, "generation")),
                height: uint64(_uint("receipts", i, "height")),
                index: uint32(_uint("receipts", i, "index")),
                rollup: uint64(_uint("receipts", i, "rollup")),
                txHash: _word("receipts", i, "txHash"),
                sender: _json.readAddress(_key("receipts", i, "sender")),
                prevReceiptHash: _word("receipts", i, "prevReceiptHash")
            });
            _checkSigned("receipts", i, SUBJECT.hashOf(receipt));
        }
    }

    /* PAYLOADS */

    function test_payloads() external {
        _read("payload");
        _checkSeparator();
        uint256 n = _length("payloads");
        for (uint256 i = 0; i < n; ++i) {
            bytes memory payload = _json.readBytes(_key("payloads", i, "payload"));
            BatchHeader memory header = _batchHeader("payloads", i);

            assertEq(keccak256(payload), header.payloadHash);
            assertEq(SUBJECT.tokens(payload), _uint("payloads", i, "tokens"));
            assertEq(keccak256(_usage(i)), header.usageHash);
            _checkSigned("payloads", i, SUBJECT.hashOf(header));
        }
    }

    /// @dev (uint64 chain id, uint32 uncompressed bytes) of each rollup, packed, ascending.
    function _usage(uint256 i) private view returns (bytes memory packed) {
        uint256[] memory rollups = _json.readUintArray(_key("payloads", i, "usageRollups"));
        uint256[] memory sizes = _json.readUintArray(_key("payloads", i, "usageBytes"));
        for (uint256 j = 0; j < rollups.length; ++j) {
            packed = abi.encodePacked(packed, uint64(rollups[j]), uint32(sizes[j]));
        }
    }

    /* READING */

    function _read(string memory name) private {
        _json = vm.readFile(string.concat("test/vectors/", name, ".json"));
    }

    function _key(string memory list, uint256 i, string memory field) private pure returns (string memory) {
        return string.concat(".", list, "[", vm.toString(i), "].", field);
    }

    /// @dev An empty list would test nothing.
    function _length(string memory list) private view returns (uint256 length) {
        while (vm.keyExistsJson(_json, string.concat(".", list, "[", vm.toString(length), "]"))) ++length;
        assertNotEq(length, 0, string.concat("no vectors in ", list));
    }

    function _uint(string memory list, uint256 i, string memory field) private view returns (uint256) {
        return _json.readUint(_key(list, i, field));
    }

    function _word(string memory list, uint256 i, string memory field) private view returns (bytes32) {
        return _json.readBytes32(_key(list, i, field));
    }

    function _set(uint256 i) private returns (FrozenSet) {
        bytes memory code = _json.readBytes(_key("sets", i, "code"));
        bytes memory data = new bytes(code.length - 1);
        for (uint256 j = 0; j < data.length; ++j) {
            data[j] = code[j + 1];
        }
        return SetLib.load(CodeLib.store(data));
    }

    function _batchHeader(string memory list, uint256 i) private view returns (BatchHeader memory header) {
        header.generation = uint32(_uint(list, i, "generation"));
        header.epoch = uint64(_uint(list, i, "epoch"));
        header.firstHeight = uint64(_uint(list, i, "firstHeight"));
        header.lastHeight = uint64(_uint(list, i, "lastHeight"));
        header.parentBlockHash = _word(list, i, "parentBlockHash");
        header.blocksRoot = _word(list, i, "blocksRoot");
        header.lastBlockHash = _word(list, i, "lastBlockHash");
        header.forcedThrough = uint64(_uint(list, i, "forcedThrough"));
        header.l1OriginNumber = uint64(_uint(list, i, "l1OriginNumber"));
        header.l1OriginHash = _word(list, i, "l1OriginHash");
        header.timestamp = uint64(_uint(list, i, "timestamp"));
        header.payloadHash = _word(list, i, "payloadHash");
        header.blobsHash = _word(list, i, "blobsHash");
        header.usageHash = _word(list, i, "usageHash");
        header.stateRoot = _word(list, i, "stateRoot");
        header.regularSince = uint64(_uint(list, i, "regularSince"));
    }

    /* CHECKING */

    function _checkSeparator() private view {
        assertEq(_separator(), _json.readBytes32(".separator"));
    }

    function _separator() private view returns (bytes32) {
        return DigestLib.domainSeparator(_json.readUint(".chainId"), _json.readAddress(".settlement"));
    }

    /// @dev The message has the digest of the vector, and its signature is the signer's, also in the compact form.
    function _checkSigned(string memory list, uint256 i, bytes32 message) private view {
        bytes32 digest = DigestLib.digest(_separator(), message);
        assertEq(digest, _word(list, i, "digest"));

        (address recovered, ECDSA.RecoverError fault,) =
            ECDSA.tryRecover(digest, _word(list, i, "r"), _word(list, i, "vs"));
        assertEq(uint256(fault), uint256(ECDSA.RecoverError.NoError));
        assertEq(recovered, _json.readAddress(_key(list, i, "signer")));
    }

    /// @dev Level by level; the odd node at the end moves up.
    function _root(bytes32[] memory level) private pure returns (bytes32) {
        if (level.length == 0) return MerkleLib.EMPTY_ROOT;
        while (level.length > 1) {
            bytes32[] memory next = new bytes32[]((level.length + 1) / 2);
            for (uint256 i = 0; i < next.length; ++i) {
                next[i] = 2 * i + 1 < level.length
                    ? keccak256(abi.encodePacked(hex"01", level[2 * i], level[2 * i + 1]))
                    : level[2 * i];
            }
            level = next;
        }
        return level[0];
    }
}
