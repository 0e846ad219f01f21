// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {stdJson} from "forge-std/StdJson.sol";

import {Submission} from "../../contracts/interfaces/IBatchInbox.sol";
import {Debit} from "../../contracts/interfaces/IRollups.sol";
import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {BlockProof, KeyReference} from "../../contracts/interfaces/ISlasher.sol";
import {Settled} from "../../contracts/interfaces/ITally.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {RefundLib} from "../../contracts/lib/RefundLib.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Actor} from "../utils/System.sol";
import {Chain} from "../utils/Chain.sol";

/// @title Gas of whole transactions
/// @notice Measures every figure of bench/gas.json in isolation, so that the 21,000 of a transaction, its calldata and cold
/// storage count. `tools/gas` writes the file; `tools/gas --check` fails when a figure has grown by more than 1 %.
///
/// Conditions: leader in the middle of the set, no payload, the tip settled before; the ring slot warm (in use before)
/// except in `…_cold`; equal stakes; a pool that has all it is asked for.
contract GasTest is Chain {
    using stdJson for string;

    string private constant FILE = "bench/gas.json";
    uint256 private constant TOLERANCE_PERMILLE = 10;

    string[] private _names;
    mapping(string name => uint256 gas) private _figures;

    function test_gas() external {
        vm.skip(!_isolated(), "measures whole transactions: run tools/gas");

        _settlement();
        _forced();
        _seal();
        _slasher();
        _staking();
        _rewards();
        _restarts();

        if (vm.envOr("ROTA_GAS_WRITE", false)) _write();
        else _check();
    }

    /// What the pool refunds never exceeds what the poster spent (R42), alone in a transaction or not, with a payload or
    /// without. At least three quarters come back of a batch that is alone.
    function test_refund() external {
        vm.skip(!_isolated(), "measures whole transactions: run tools/gas");

        _checkRefund({n: 1, k: 1, payload: "", batches: 1});
        _checkRefund({n: 4, k: 3, payload: "", batches: 1});
        _checkRefund({n: 48, k: 33, payload: "", batches: 1});
        _checkRefund({n: 4, k: 3, payload: vm.randomBytes(400), batches: 1});
        _checkRefund({n: 4, k: 3, payload: vm.randomBytes(20_000), batches: 1});
        _checkRefund({n: 4, k: 3, payload: new bytes(20_000), batches: 1});
        _checkRefund({n: 1, k: 1, payload: "", batches: 5});
        _checkRefund({n: 48, k: 33, payload: "", batches: 3});
        _checkRefund({n: 4, k: 3, payload: vm.randomBytes(400), batches: 3});
        _checkRefund({n: 4, k: 3, payload: vm.randomBytes(20_000), batches: 3});
    }

    function _checkRefund(uint256 n, uint256 k, bytes memory payload, uint256 batches) private {
        _beginSettled(n);
        (address leader, Submission[] memory submissions) = _inOneTurn(n / 2, k, payload, batches);
        _warmRing(leader, submissions);

        vm.prank(leader, leader);
        settlement.settleMany(submissions);
        uint256 spent = vm.lastCallGas().gasTotalUsed;

        uint256 tokens;
        for (uint256 i = 0; i < payload.length; ++i) {
            tokens += payload[i] == 0 ? 1 : 4;
        }
        uint256 refunded = RefundLib.gasOf(true, k, tokens) + (batches - 1) * RefundLib.gasOf(false, k, tokens);
        assertLe(refunded, spent);
        if (batches == 1) assertGe(refunded * 4, spent * 3);
    }

    /// @dev Batches that follow each other, signed by the first `k` members, in a turn of member `index`.
    function _inOneTurn(uint256 index, uint256 k, bytes memory payload, uint256 batches)
        private
        view
        returns (address leader, Submission[] memory submissions)
    {
        submissions = new Submission[](batches);
        BatchHeader memory header = _emptyHeaderLedBy(index);
        leader = _leader(header);
        header.payloadHash = keccak256(payload);
        header.lastHeight -= uint64(batches) - 1;
        for (uint256 i = 0; i < batches; ++i) {
            submissions[i].header = abi.decode(abi.encode(header), (BatchHeader));
            submissions[i].signers = _first(k);
            submissions[i].signatures = _attest(header, _first(k));
            submissions[i].payload = payload;
            header.parentBlockHash = header.lastBlockHash;
            header.firstHeight = header.lastHeight + 1;
            header.lastHeight += 1;
        }
    }

    /* FIGURES */

    function _settlement() private {
        _measureSettle("settle_4_3", 4, 3, true);
        _measureSettle("settle_48_33", 48, 33, true);
        _measureSettle("settle_100_67", 100, 67, true);
        _measureSettle("settle_4_3_cold", 4, 3, false);
    }

    function _measureSettle(string memory name, uint256 n, uint256 k, bool warm) private {
        _beginSettled(n);
        BatchHeader memory header = _emptyHeaderLedBy(n / 2);
        address leader = _leader(header);
        (, Submission[] memory submissions) = _inOneTurn(n / 2, k, "", 1);
        if (warm) _warmRing(leader, submissions);

        vm.prank(leader, leader);
        settlement.settle(header, _first(k), submissions[0].signatures, "");
        _note(name);
    }

    /// @dev An entry of 200 bytes, a batch that consumes 16, an escape of 16, a sender compensated for one of 16.
    function _forced() private {
        _beginSettled(4);
        _force(15);
        address sender = makeAddr("sender");
        bytes memory transaction = vm.randomBytes(200);
        vm.deal(sender, 1 ether);
        uint256 feeWei = settlement.forcedFee();
        vm.prank(sender);
        settlement.force{value: feeWei}(ROLLUP, transaction);
        _note("force");

        uint256 snapshot = vm.snapshotState();
        _advance(p.forcedDeadlineBlocks);
        (address leader, Submission[] memory submissions) = _inOneTurn({index: 2, k: 3, payload: "", batches: 1});
        submissions[0].header.forcedThrough = 16;
        submissions[0].signatures = _attest(submissions[0].header, _first(3));
        _warmRing(leader, submissions);
        vm.prank(leader, leader);
        settlement.settle(submissions[0].header, _first(3), submissions[0].signatures, "");
        uint256 settleGas = vm.lastCallGas().gasTotalUsed;

        vm.revertToState(snapshot);
        snapshot = vm.snapshotState();
        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds);
        settlement.escape();
        uint256 escapeGas = vm.lastCallGas().gasTotalUsed;

        vm.revertToState(snapshot);
        // Going back forgets what is noted, too.
        _note("settle_4_3_forced_16", settleGas);
        _note("escape_16", escapeGas);
        _advance((p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1) * p.l1BlockSeconds);
        _settleThrough(16);
        _tallyAll();
        tally.compensate(2, 15, ROLLUP, sender, keccak256(transaction));
        _note("compensate");
    }

    function _seal() private {
        _measureSeal("seal_4", 4);
        _measureSeal("seal_48", 48);
        _measureSeal("seal_100", 100);
    }

    function _measureSeal(string memory name, uint256 n) private {
        _beginSettled(n);
        settlement.seal(2);
        _note(name);
    }

    function _slasher() private {
        _measureDoubleVote("slash_double_vote", false);
        _measureDoubleVote("slash_double_vote_in_set", true);

        (uint256 secret, KeyReference key) = _beginWithOffender();
        Proposal memory proposalA =
            Proposal({generation: 0, height: 100, round: 1, polRound: -1, blockHash: keccak256("a")});
        Proposal memory proposalB =
            Proposal({generation: 0, height: 100, round: 1, polRound: -1, blockHash: keccak256("b")});
        slasher.reportDoubleProposal(
            key, proposalA, _signProposal(secret, proposalA), proposalB, _signProposal(secret, proposalB)
        );
        _note("slash_double_proposal");

        _measureDoubleAttestation();
    }

    /// @dev Under the offender's current key, or `inSet` under its place in a frozen set.
    function _measureDoubleVote(string memory name, bool inSet) private {
        (uint256 secret, KeyReference key) = _beginWithOffender();
        if (inSet) key = KeyLib.inSet({generation: 0, epoch: 1, index: 2});
        Vote memory voteA = Vote({generation: 0, height: 100, round: 1, blockHash: keccak256("a")});
        Vote memory voteB = Vote({generation: 0, height: 100, round: 1, blockHash: keccak256("b")});
        slasher.reportDoubleVote(
            key,
            VoteType.Precommit,
            voteA,
            _signVote(secret, VoteType.Precommit, voteA),
            voteB,
            _signVote(secret, VoteType.Precommit, voteB)
        );
        _note(name);
    }

    function _measureDoubleAttestation() private {
        (uint256 secret, KeyReference key) = _beginWithOffender();
        BatchHeader memory a = _nextHeader(8);
        BatchHeader memory b = _nextHeader(8);
        b.lastBlockHash = keccak256("b");
        Signature memory signatureA = _sign(secret, settlement.batchDigest(a));
        Signature memory signatureB = _sign(secret, settlement.batchDigest(b));
        BlockProof memory none;
        slasher.reportDoubleAttestation(key, a.lastHeight, a, signatureA, none, b, signatureB, none);
        _note("slash_double_attestation");
    }

    function _staking() private {
        _beginSettled(4);
        Actor memory actor = _actor(100);
        _give(actor.owner, 2 * STAKE_WEI);
        bytes memory proof = _proof(actor.owner, actor.key);

        vm.prank(actor.owner);
        uint32 id = registry.join(actor.signer, address(0), ENDPOINT, STAKE_WEI, proof);
        _note("join");

        _sealThrough(2);
        _creditDue();
        vm.prank(actor.owner);
        registry.topUp(id, STAKE_WEI);
        _note("top_up");

        address dora = makeAddr("dora");
        _give(dora, STAKE_WEI);
        _sealThrough(4);
        _creditDue();
        vm.prank(dora);
        registry.delegate(id, STAKE_WEI);
        _note("delegate");

        _sealThrough(5);
        vm.prank(dora);
        registry.requestExit(id, STAKE_WEI * 500);
        _note("undelegate");

        _measureFlush(id);
        _sealThrough(10);
        _measureUnjail(actor, id);

        uint256 shares = registry.sharesOf(id, actor.owner);
        vm.prank(actor.owner);
        uint256 exitId = registry.requestExit(id, shares);
        _note("exit");

        _sealThrough(20);
        _advance(p.exitDelaySeconds);
        _creditDue();
        vm.prank(actor.owner);
        registry.claim(exitId);
        _note("claim");

        _measureEviction();
    }

    /// @dev What is due has to be in the pools before shares are priced.
    function _creditDue() private {
        (, bool due,,) = rewardPool.nextCredit();
        while (due) {
            rewardPool.creditEpoch();
            (, due,,) = rewardPool.nextCredit();
        }
    }

    /// @dev One place of the entry queue, of a delegation that did not fit into the epoch before.
    function _measureFlush(uint32 id) private {
        address carl = makeAddr("carl");
        _give(carl, 5 * STAKE_WEI);
        _creditDue();
        vm.prank(carl);
        registry.delegate(id, 5 * STAKE_WEI);
        _startEpoch(_epoch() + 1);
        registry.flush(1);
        _note("flush_1");
    }

    function _measureUnjail(Actor memory actor, uint32 id) private {
        vm.prank(at.slasher);
        registry.jailAbsent(id, 0);
        vm.prank(actor.owner);
        registry.unjail(id);
        _note("unjail");
    }

    /// @dev Into a full set of 128 equal members.
    function _measureEviction() private {
        _beginSettled(128);
        Actor memory late = _actor(200);
        _give(late.owner, 2 * STAKE_WEI);
        bytes memory proof = _proof(late.owner, late.key);
        vm.prank(late.owner);
        registry.join(late.signer, address(0), ENDPOINT, 2 * STAKE_WEI, proof);
        _note("join_evicting");
    }

    function _rewards() private {
        _beginSettled(48);
        Settled[] memory batches = new Settled[](20);
        for (uint256 i = 0; i < batches.length; ++i) {
            BatchHeader memory header = _nextHeader(p.turnLength / 4);
            _settle(header);
            _advance(1);
        }
        for (uint256 i = 0; i < batches.length; ++i) {
            batches[i] = _settledBatches[1 + i];
        }
        tally.tally(2, batches);
        _note("tally_20");

        _advance(p.epochSeconds * (p.maxEpochLag + 2));
        rewardPool.creditEpoch();
        _note("credit_epoch_48");

        _rollups();
    }

    /// Batches of two rollups that pay.
    function _rollups() private {
        _beginSettled(4);
        vm.deal(address(this), 100 ether);
        rollups.register{value: 1 ether}(1);
        rollups.register{value: 1 ether}(2);
        bytes memory usage = abi.encodePacked(uint64(1), uint32(40_000), uint64(2), uint32(50_000));
        for (uint256 i = 0; i < 18; ++i) {
            BatchHeader memory header = _nextHeader(1);
            header.usageHash = keccak256(usage);
            _settle(header);
        }
        rollups.debit(2, _settledBatches[1], usage);
        rollups.debit(3, _settledBatches[2], usage);
        _note("debit");

        Debit[] memory debits = new Debit[](16);
        for (uint64 i = 0; i < 16; ++i) {
            debits[i] = Debit({number: i + 4, batch: _settledBatches[i + 3], usage: usage});
        }
        rollups.debitMany(debits);
        _note("debit_16");
    }

    function _restarts() private {
        _beginSettled(4);
        _warpTo(settlement.tip().settledAt + p.restartDelaySeconds);
        settlement.openRestart();
        _note("open_restart");

        for (uint256 i = 0; i < 4; ++i) {
            _checkIn(_actor(i));
            // The second: the first of all writes to a word that was never written.
            if (i == 1) _note("check_in");
        }
        _advance(p.restartWindowSeconds);
        settlement.finishRestart();
        _note("finish_restart_4");
    }

    /* CONDITIONS */

    /// @dev `n` sequencers, a funded pool, one batch settled and tallied.
    function _beginSettled(uint256 n) private {
        delete _settledBatches;
        _begin(n);
        vm.deal(address(this), 100 ether);
        token.mint(address(this), 1000 ether);
        token.approve(address(rewardPool), type(uint256).max);
        rewardPool.fund{value: 100 ether}(1000 ether);

        _settle(_nextHeader(1));
        _tallyAll();
        _advance(1);
    }

    /// @return secret Key of member 2 of the set of epoch 1.
    /// @return key Names it as the sequencer's current one.
    function _beginWithOffender() private returns (uint256 secret, KeyReference key) {
        _beginSettled(4);
        address signer = settlement.memberAt(0, 1, 2).signer;
        return (_keyOf(signer), KeyLib.ofSequencer(registry.idOf(signer)));
    }

    function _emptyHeaderLedBy(uint256 index) private view returns (BatchHeader memory header) {
        header = _nextHeaderLedBy(index);
        header.payloadHash = keccak256("");
    }

    /// @dev Settles them once to see which slots are written first, takes that back, and puts something there.
    function _warmRing(address leader, Submission[] memory submissions) private {
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

    function _isolated() private returns (bool) {
        _deploy();
        vm.prank(address(1));
        token.approve(address(2), 0);
        return vm.lastCallGas().gasTotalUsed > 21_000;
    }

    /* THE FILE */

    function _note(string memory name) private {
        _note(name, vm.lastCallGas().gasTotalUsed);
    }

    function _note(string memory name, uint256 gas) private {
        _names.push(name);
        _figures[name] = gas;
    }

    function _write() private {
        string memory json;
        for (uint256 i = 0; i < _names.length; ++i) {
            json = vm.serializeUint("gas", _names[i], _figures[_names[i]]);
        }
        vm.writeJson(json, FILE);
    }

    function _check() private {
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
