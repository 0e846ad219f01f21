// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Submission} from "../../contracts/interfaces/IBatchInbox.sol";
import {Debit} from "../../contracts/interfaces/IRollups.sol";
import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {BlockProof, KeyReference} from "../../contracts/interfaces/ISlasher.sol";
import {Settled} from "../../contracts/interfaces/ITally.sol";
import {KeyLib} from "../../contracts/lib/KeyLib.sol";
import {BatchHeader, Proposal, Signature, Vote, VoteType} from "../../contracts/types/Wire.sol";
import {Actor} from "../utils/System.sol";
import {Measuring} from "../utils/Measuring.sol";

/// @title Gas of whole transactions
/// @notice Measures every figure of bench/gas.json in isolation, so that the 21,000 of a transaction, its calldata and cold
/// storage count. `tools/gas` writes the file; `tools/gas --check` fails when a figure has grown by more than 1 %.
///
/// Conditions: leader in the middle of the set, no payload, the tip settled before; the ring slot warm (in use before)
/// except in `…_cold`; equal stakes; a pool that has all it is asked for.
contract GasTest is Measuring {
    function test_gas() external {
        vm.skip(!_isMeasured(), "measures whole transactions: run tools/gas");

        _settlement();
        _forced();
        _seal();
        _slasher();
        _staking();
        _rewards();
        _restarts();

        if (RECORDS) return;
        _checkBudgets();
        if (vm.envOr("ROTA_GAS_WRITE", false)) _write();
        else _check();
    }

    /// @dev What the project promises, whatever the file says.
    function _checkBudgets() private view {
        assertLe(_figures["settle_4_3"], 75_000);
        assertLe(_figures["settle_48_33"], 215_000);
        assertLe(_figures["settle_100_67"], 380_000);
        assertLe(_figures["slash_double_vote"], 80_000);
    }

    /// Transactions whose refunds are held against what they take under both price lists (R42): alone or with their like, with
    /// payloads or without, together with unlike ones. Only test/gas/main.rs can: an isolated call pays nothing, so that
    /// nothing is refunded.
    function test_refund() external {
        vm.skip(!RECORDS, "written out for `cargo test --test gas`");

        bytes[] memory payloads = new bytes[](1);
        _recordRefund("refund_1_1", 1, 1, payloads);
        _recordRefund("refund_4_3", 4, 3, payloads);
        _recordRefund("refund_48_33", 48, 33, payloads);
        _recordRefund("refund_100_67", 100, 67, payloads);
        payloads[0] = vm.randomBytes(400);
        _recordRefund("refund_4_3_random_400", 4, 3, payloads);
        payloads[0] = vm.randomBytes(100_000);
        _recordRefund("refund_4_3_random_100000", 4, 3, payloads);
        payloads[0] = new bytes(20_000);
        _recordRefund("refund_4_3_zeros_20000", 4, 3, payloads);

        payloads = new bytes[](5);
        _recordRefund("refund_5_of_1_1", 1, 1, payloads);
        _recordRefund("refund_5_of_48_33", 48, 33, payloads);
        payloads[0] = vm.randomBytes(60_000);
        _recordRefund("refund_random_60000_and_4_empty", 48, 33, payloads);
        payloads[4] = new bytes(20_000);
        _recordRefund("refund_random_60000_and_zeros_20000", 4, 3, payloads);
        for (uint256 i = 0; i < payloads.length; ++i) {
            payloads[i] = vm.randomBytes(1000);
        }
        _recordRefund("refund_5_of_random_1000", 4, 3, payloads);
    }

    function _recordRefund(string memory name, uint256 n, uint256 k, bytes[] memory payloads) private {
        _beginSettled(n);
        (address leader, Submission[] memory submissions) = _inOneTurn(n / 2, k, payloads);
        vm.prank(leader, leader);
        settlement.settleMany(submissions);
        _take(name);
    }

    /* FIGURES */

    function _settlement() private {
        _measureSettle("settle_4_3", 4, 3, true);
        _measureSettle("settle_48_33", 48, 33, true);
        _measureSettle("settle_100_67", 100, 67, true);
        _measureSettle("settle_4_3_cold", 4, 3, false);

        _beginSettled(4);
        (address leader, Submission[] memory submissions) = _inOneTurn({index: 2, k: 3, payload: "", batches: 5});
        _warmRing(leader, submissions);
        vm.prank(leader, leader);
        settlement.settleMany(submissions);
        _note("settle_many_5_of_4_3");
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
        uint256 settleGas = _take("settle_4_3_forced_16");

        vm.revertToState(snapshot);
        snapshot = vm.snapshotState();
        _advance(p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds);
        settlement.escape();
        uint256 escapeGas = _take("escape_16");

        vm.revertToState(snapshot);
        // Going back forgets what is noted, too.
        _note("settle_4_3_forced_16", settleGas);
        _note("escape_16", escapeGas);
        _advance((p.forcedDeadlineBlocks + p.forcedGraceBlocks + 1) * p.l1BlockSeconds);
        _settleThrough(16);
        _giveRefunds();
        _tallyAll();
        tally.compensate(2, 15, ROLLUP, sender, keccak256(transaction));
        _note("compensate");
    }

    function _seal() private {
        _measureSeal("4", 4);
        _measureSeal("48", 48);
        _measureSeal("100", 100);
    }

    function _measureSeal(string memory name, uint256 n) private {
        _beginSettled(n);
        settlement.pin(2);
        _note(string.concat("pin_unchanged_", name));
        bytes memory header = _mineWithHeader(settlement.pinned());
        settlement.seal(2, header);
        _note(string.concat("seal_", name));

        // A key that changed: all members are stored anew.
        (Actor memory actor, Actor memory key) = (_actor(0), _actor(n));
        bytes memory proof = _proof(actor.owner, key.key);
        vm.prank(actor.owner);
        registry.rotateSigner(actor.id, key.signer, proof);
        _startEpoch(2);
        settlement.pin(3);
        _note(string.concat("pin_", name));
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
        _measureReportMany();
        _measureCase();
        _measureMissedTurns();
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

    /// @dev Four double votes of four members, under their places in a set.
    function _measureReportMany() private {
        _beginSettled(20);
        bytes[] memory reports = new bytes[](4);
        for (uint256 i = 0; i < 4; ++i) {
            reports[i] = _callVotes(i, HEIGHT);
        }
        slasher.reportMany(reports);
        _note("report_many_4_in_set");
    }

    /// @dev From a commitment to the payout, of the first case that there is.
    function _measureCase() private {
        _beginSettled(4);
        address author = makeAddr("author");
        bytes32 caseId = _votesCase(OFFENDER, HEIGHT);
        bytes memory report = _callVotes(OFFENDER, HEIGHT);
        vm.prank(author);
        slasher.commit(keccak256(abi.encode(keccak256(report), author, bytes32("salt"))));
        _note("commit");

        _advance(1);
        _reportVotes(OFFENDER, HEIGHT);
        vm.prank(author);
        slasher.claimCase(report, "salt");
        _note("claim_case");

        vm.prank(at.guardian);
        slasher.delay(caseId);
        _note("delay");

        _warpTo(slasher.executableAt(caseId));
        slasher.execute(caseId);
        _note("execute");

        vm.prank(author);
        slasher.claimBounty(author);
        _note("claim_bounty");

        slasher.sweep();
        _note("sweep");
    }

    function _measureMissedTurns() private {
        _beginSettled(4);
        for (uint256 i = 0; i < 3; ++i) {
            BatchHeader memory header = _nextHeaderLedBy(OFFENDER);
            _advance(p.takeoverSeconds);
            _settleAs(_memberDrawn(header.epoch, header.lastHeight / p.turnLength, 1), header);
        }
        _settle(_nextHeaderLedBy(0));
        _tallyAll();
        slasher.reportMissedTurns(_idAt(OFFENDER));
        _note("report_missed_turns_4");
    }

    function _staking() private {
        _beginSettled(4);
        Actor memory actor = _actor(100);
        _give(actor.owner, 2 * STAKE_WEI);
        bytes memory proof = _proof(actor.owner, actor.key);

        vm.prank(actor.owner);
        uint32 id = registry.join(actor.signer, ENDPOINT, STAKE_WEI, proof);
        _note("join");

        _measureSettings(actor, id);
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
        uint256 exitId = registry.leave(id, shares, 0);
        _note("exit");

        _sealThrough(20);
        _advance(p.exitDelaySeconds);
        _creditDue();
        vm.prank(actor.owner);
        registry.claim(exitId);
        _note("claim");

        _measureEviction();
    }

    function _measureSettings(Actor memory actor, uint32 id) private {
        Actor memory next = _actor(101);
        bytes memory proof = _proof(actor.owner, next.key);
        vm.prank(actor.owner);
        registry.rotateSigner(id, next.signer, proof);
        _note("rotate");

        (address poster, uint256 key) = makeAddrAndKey("poster");
        proof = _posterProof(id, key);
        vm.prank(actor.owner);
        registry.setPoster(id, poster, proof);
        _note("set_poster");

        vm.prank(actor.owner);
        registry.setEndpoint(id, ENDPOINT);
        _note("set_endpoint");
    }

    /// @dev What is due has to be in the pools before shares are priced.
    function _creditDue() private {
        if (tally.isBehind()) _tallyAll();
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
        registry.flush(16);
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
        registry.join(late.signer, ENDPOINT, 2 * STAKE_WEI, proof);
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
        _giveRefunds();
        for (uint256 i = 0; i < batches.length; ++i) {
            batches[i] = _settledBatches[1 + i];
        }
        tally.tally(2, batches);
        _note("tally_20");

        _advance(p.epochSeconds * (p.maxEpochLag + 2));
        rewardPool.creditEpoch();
        _note("credit_epoch_48");

        _measureClaims();
        _owners();
        _rollups();
    }

    /// @dev What a poster and an owner are paid, of an epoch of four members.
    function _measureClaims() private {
        _beginSettled(4);
        token.mint(address(this), 1 ether);
        vm.deal(address(this), 1 ether);
        rewardPool.fund{value: 1 ether}(1 ether);
        _note("fund");

        address signer = settlement.memberAt(0, 1, 0).signer;
        uint32 id = registry.idOf(signer);
        vm.prank(registry.ownerOf(id));
        rewardPool.setCommission(id, 500);
        _note("set_commission");

        vm.prank(registry.ownerOf(id));
        rewardPool.setDelegationCap(id, 1000 ether);
        _note("set_delegation_cap");

        _advance(p.commissionDelaySeconds);
        _sealThrough(_epoch());
        BatchHeader memory header = _nextHeader(1);
        _settle(header);
        _giveRefunds();
        _tallyAll();
        vm.prank(_leader(header));
        rewardPool.claimPoster();
        _note("claim_rewards");

        _advance(p.epochSeconds * (p.maxEpochLag + 2));
        _creditDue();
        vm.prank(registry.ownerOf(id));
        rewardPool.claimCommission(id);
        _note("claim_commission");
        _earnings(id);
    }

    /// A sequencer and a rollup that change hands, who runs the one and whom it pays, and payments to somebody else.
    function _owners() private {
        _beginSettled(4);
        address owner = registry.ownerOf(1);
        vm.prank(owner);
        registry.proposeOwner(1, address(this));
        _note("propose_owner");
        registry.acceptOwner(1, address(0));
        _note("accept_owner");
        registry.setOperator(1, owner);
        _note("set_operator");
        registry.setWithdrawal(1, owner);
        _note("set_withdrawal");
        _delegate(owner, 2);
        vm.startPrank(owner);
        uint256 exitId = registry.leave(2, registry.sharesOf(2, owner), registry.waitingSharesOf(2, owner));
        vm.stopPrank();
        _sealThrough(_epoch() + 3);
        (, uint64 time) = registry.claimableAt(exitId);
        _warpTo(time);
        vm.prank(owner);
        registry.claimTo(exitId, address(this));
        _note("claim_to");

        vm.deal(address(this), 1 ether);
        rollups.register{value: 1 ether}(1);
        rollups.proposeOwner(1, owner);
        _note("propose_rollup_owner");
        vm.prank(owner);
        rollups.acceptOwner(1);
        _note("accept_rollup_owner");
        vm.prank(owner);
        rollups.setClosed(1, true);
        _note("close_rollup");
    }

    /// What was earned goes to somebody else.
    function _earnings(uint32 id) private {
        BatchHeader memory header = _nextHeader(1);
        _settle(header);
        _giveRefunds();
        _tallyAll();
        vm.prank(_leader(header));
        rewardPool.claimPosterTo(payable(makeAddr("elsewhere")));
        _note("claim_rewards_to");

        _advance(p.epochSeconds * (p.maxEpochLag + 2));
        _creditDue();
        vm.prank(registry.ownerOf(id));
        rewardPool.claimCommissionTo(id, makeAddr("elsewhere"));
        _note("claim_commission_to");
    }

    function _delegate(address holder, uint32 id) private {
        _give(holder, STAKE_WEI / 10);
        vm.prank(holder);
        registry.delegate(id, STAKE_WEI / 10);
    }

    /// Batches of two rollups that pay.
    function _rollups() private {
        _beginSettled(4);
        vm.deal(address(this), 100 ether);
        rollups.register{value: 1 ether}(1);
        rollups.register{value: 1 ether}(2);
        _note("register");
        rollups.fund{value: 1 ether}(2);
        _note("fund_rollup");
        bytes memory usage = abi.encodePacked(uint64(1), uint32(40_000), uint64(2), uint32(50_000));
        for (uint256 i = 0; i < 18; ++i) {
            BatchHeader memory header = _nextHeader(1);
            header.usageHash = keccak256(usage);
            _settle(header);
        }
        _giveRefunds();
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
        settlement.closeCheckIn();
        _note("close_check_in_4");
        bytes memory header = _mineWithHeader(settlement.pinnedForRestart());
        settlement.finishRestart(header);
        _note("finish_restart_4");
    }
}
