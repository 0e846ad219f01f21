// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {stdJson} from "forge-std/StdJson.sol";
import {VmSafe} from "forge-std/Vm.sol";

import {Submission} from "../../contracts/interfaces/IBatchInbox.sol";
import {KeyReference} from "../../contracts/interfaces/ISlasher.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {BatchHeader} from "../../contracts/types/Wire.sol";
import {Offences} from "./Offences.sol";

/// A measured transaction and all that it met, for test/gas/main.rs to run it under other rules. Calls and slots are in
/// `accesses`, as Forge recorded them; what it does not record of the accounts that they name follows.
struct Recorded {
    string name;
    uint256 blockNumber;
    uint256 timestamp;
    uint256 baseFeeWei;
    uint256 prevrandao;
    /// The blocks that were pinned, for a seal and for a restart, and their hashes, as far as there are.
    uint64[2] pinned;
    bytes32[2] hashes;
    VmSafe.AccountAccess[] accesses;
    address[] accounts;
    bytes[] codes;
    uint64[] nonces;
    /// The reward pool's own words. Where gas costs nothing no duty is refunded, and Forge does not meet them.
    address pool;
    bytes32[16] poolSlots;
}

/// @title Measuring whole transactions
/// @notice The file that figures go to and are held against, and the conditions under which they are taken: leader in the
/// middle of the set, no payload, the tip settled before; the ring slot warm (in use before); equal stakes; a pool that has
/// all it is asked for.
abstract contract Measuring is Offences {
    using stdJson for string;

    string private constant FILE = "bench/gas.json";
    uint256 private constant TOLERANCE_PERMILLE = 10;

    /// Whether transactions are written out instead of being measured, and where to.
    bool internal immutable RECORDS = vm.envOr("ROTA_GAS_RECORD", false);
    string private constant TRANSACTIONS = "cache/gas/transactions";

    string[] private _names;
    mapping(string name => mapping(address account => bool)) private _written;
    mapping(string name => uint256 gas) internal _figures;

    /* CONDITIONS */

    /// @dev Batches that follow each other, signed by the first `k` members, in a turn of member `index`.
    function _inOneTurn(uint256 index, uint256 k, bytes memory payload, uint256 batches)
        internal
        view
        returns (address leader, Submission[] memory submissions)
    {
        bytes[] memory payloads = new bytes[](batches);
        for (uint256 i = 0; i < batches; ++i) {
            payloads[i] = payload;
        }
        return _inOneTurn(index, k, payloads);
    }

    /// @dev The same with a payload for each.
    function _inOneTurn(uint256 index, uint256 k, bytes[] memory payloads)
        internal
        view
        returns (address leader, Submission[] memory submissions)
    {
        submissions = new Submission[](payloads.length);
        BatchHeader memory header = _emptyHeaderLedBy(index);
        leader = _leader(header);
        header.lastHeight -= uint64(payloads.length) - 1;
        for (uint256 i = 0; i < payloads.length; ++i) {
            header.payloadHash = keccak256(payloads[i]);
            submissions[i].header = abi.decode(abi.encode(header), (BatchHeader));
            submissions[i].signers = _first(k);
            submissions[i].signatures = _attest(header, _first(k));
            submissions[i].payload = payloads[i];
            header.parentBlockHash = header.lastBlockHash;
            header.firstHeight = header.lastHeight + 1;
            header.lastHeight += 1;
        }
    }

    /// @dev `n` sequencers, a funded pool, one batch settled and tallied.
    function _beginSettled(uint256 n) internal {
        delete _settledBatches;
        _begin(n);
        vm.deal(address(this), 100 ether);
        token.mint(address(this), 1000 ether);
        token.approve(address(rewardPool), type(uint256).max);
        rewardPool.fund{value: 100 ether}(1000 ether);

        _settle(_nextHeader(1));
        _giveRefunds();
        _tallyAll();
        _advance(1);
        _record();
    }

    /// @return secret Key of member 2 of the set of epoch 1.
    /// @return key Names it as the sequencer's current one.
    function _beginWithOffender() internal returns (uint256 secret, KeyReference key) {
        _beginSettled(4);
        address signer = settlement.memberAt(0, 1, 2).signer;
        return (_keyOf(signer), KeyLib.ofSequencer(registry.idOf(signer)));
    }

    function _emptyHeaderLedBy(uint256 index) internal view returns (BatchHeader memory header) {
        header = _nextHeaderLedBy(index);
        header.payloadHash = keccak256("");
    }

    /// @dev Settles them once to see which slots are written first, takes that back, and puts something there.
    function _warmRing(address leader, Submission[] memory submissions) internal {
        uint256 snapshot = vm.snapshotState();
        vm.record();
        vm.prank(leader, leader);
        settlement.settleMany(submissions);
        (, bytes32[] memory written) = vm.accesses(address(settlement));
        vm.revertToState(snapshot);

        for (uint256 i = 0; i < written.length; ++i) {
            if (vm.load(address(settlement), written[i]) == 0) {
                vm.store(address(settlement), written[i], bytes32(uint256(1)));
            }
        }
    }

    /// @dev What is settled in isolation pays nothing and is refunded nothing: the ring is made to say that each batch is refunded
    /// what one at 1 gwei would be, so that booking them is what it is.
    function _giveRefunds() internal {
        uint256 base = _ringBase();
        for (uint256 i = 0; i < _settledBatches.length; ++i) {
            _settledBatches[i].refundWei = 80_000 gwei;
            bytes32 slot = keccak256(abi.encode((i + 1) % p.ringSize, base));
            vm.store(at.settlement, slot, this.ringValueOf(_settledBatches[i]));
        }
    }

    function _ringBase() private view returns (uint256 base) {
        bytes32 value = settlement.ringValue(1);
        while (vm.load(at.settlement, keccak256(abi.encode(1 % p.ringSize, base))) != value) ++base;
    }

    /// @dev Whether what is called is a transaction of its own, or is to be written out as one.
    function _isMeasured() internal returns (bool) {
        if (RECORDS) return true;
        _deploy();
        vm.prank(address(1));
        token.approve(address(2), 0);
        return vm.lastCallGas().gasTotalUsed > 21_000;
    }

    /* TRANSACTIONS */

    /// @dev From here on what is called is recorded; what was before is forgotten.
    function _record() private {
        if (RECORDS) vm.startStateDiffRecording();
    }

    function _writeOut(string memory name) private {
        Recorded memory recorded;
        recorded.name = name;
        (recorded.blockNumber, recorded.timestamp) = (block.number, block.timestamp);
        (recorded.baseFeeWei, recorded.prevrandao) = (block.basefee, block.prevrandao);
        recorded.accesses = vm.stopAndReturnStateDiff();
        recorded.pinned = [settlement.pinned(), settlement.pinnedForRestart()];
        recorded.hashes = [blockhash(recorded.pinned[0]), blockhash(recorded.pinned[1])];

        uint256 found;
        recorded.accounts = new address[](2 * recorded.accesses.length);
        for (uint256 i = 0; i < recorded.accesses.length; ++i) {
            address[2] memory named = [recorded.accesses[i].account, recorded.accesses[i].accessor];
            for (uint256 j = 0; j < 2; ++j) {
                if (_written[name][named[j]]) continue;
                _written[name][named[j]] = true;
                recorded.accounts[found++] = named[j];
            }
        }
        address[] memory accounts = recorded.accounts;
        // Memory-safe: only ever shortens the array.
        assembly ("memory-safe") {
            mstore(accounts, found)
        }
        recorded.codes = new bytes[](found);
        recorded.nonces = new uint64[](found);
        for (uint256 i = 0; i < found; ++i) {
            recorded.codes[i] = accounts[i].code;
            recorded.nonces[i] = vm.getNonce(accounts[i]);
        }
        recorded.pool = at.rewardPool;
        for (uint256 i = 0; i < recorded.poolSlots.length; ++i) {
            recorded.poolSlots[i] = vm.load(at.rewardPool, bytes32(i));
        }
        vm.writeLine(TRANSACTIONS, vm.toString(abi.encode(recorded)));
        _record();
    }

    /* THE FILE */

    /// @dev The last call that was made.
    function _note(string memory name) internal {
        _note(name, _take(name));
    }

    /// @dev What the last call took, to be noted later: going back to a snapshot forgets what is noted.
    function _take(string memory name) internal returns (uint256 gas) {
        if (RECORDS) _writeOut(name);
        return vm.lastCallGas().gasTotalUsed;
    }

    function _note(string memory name, uint256 gas) internal {
        _names.push(name);
        _figures[name] = gas;
    }

    function _write() internal {
        string memory json;
        for (uint256 i = 0; i < _names.length; ++i) {
            json = vm.serializeUint("gas", _names[i], _figures[_names[i]]);
        }
        vm.writeJson(json, FILE);
    }

    function _check() internal {
        string memory json = vm.readFile(FILE);
        bool grown;
        for (uint256 i = 0; i < _names.length; ++i) {
            string memory name = _names[i];
            uint256 old = json.readUint(string.concat(".", name));
            if (_figures[name] * 1000 > old * (1000 + TOLERANCE_PERMILLE)) {
                grown = true;
                emit log_string(string.concat(
                        name, " grew from ", vm.toString(old), " to ", vm.toString(_figures[name])
                    ));
            }
        }
        assertFalse(grown, "gas grew by more than 1 %: if that is meant, run `make gas` and commit bench/gas.json");
    }
}
