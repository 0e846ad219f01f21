// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Submission, Tip} from "../../contracts/interfaces/IBatchInbox.sol";
import {Settled} from "../../contracts/interfaces/ITally.sol";
import {LateEntries} from "../../contracts/interfaces/IForcedInbox.sol";
import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {Status} from "../../contracts/interfaces/ISequencerRegistry.sol";
import {CaseStatus} from "../../contracts/interfaces/ISlasher.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Offences} from "../utils/Offences.sol";

/// @title What posters, members, watchers and time do to a running system
/// @notice Each call is one thing that somebody does; what the rules forbid is tried too, and must fail. The ghosts keep
/// count of what should have come of it.
contract ChainHandler is Offences {
    uint256 private constant MEMBERS = 5;
    address private constant BURN = 0x000000000000000000000000000000000000dEaD;
    address private constant SENDER = address(uint160(uint256(keccak256("sender"))));

    uint256 public settled;
    uint64 public lastHeight;
    bytes32 public lastBlockHash;
    /// Certificates of two thirds or less that settled anyway.
    uint256 public settledWithoutQuorum;
    /// Batches that settled although they did not extend the chain.
    uint256 public settledAside;

    /// Entries that batches and escapes should have consumed.
    uint64 public consumed;
    /// What senders of entries sent.
    uint256 public sentWei;
    /// Batches that settled although they left an entry that was due at their origin, and consumed fewer than 16.
    uint256 public leftBehind;
    uint256 private _burnedBefore;
    /// What senders of late entries were compensated with.
    uint256 public compensatedWei;
    mapping(uint64 index => bool) public compensated;
    mapping(uint64 index => bytes32 transactionHash) private _transactions;
    /// By what the pools of members and the balances of owners grew.
    uint256 public creditedWei;
    uint256 public claimedCommissionsWei;
    uint256 public donatedWei;
    uint256 public fundedWei;
    uint256 public debitedWei;
    /// What rollups paid of what they owed, and what all batches that were debited have cost.
    uint256 public debtsPaidWei;
    uint256 public costsWei;
    /// What transactions of several batches paid for their gas, and what they are refunded.
    uint256 public spentWei;
    uint256 public refundedWei;
    mapping(uint64 number => bytes list) public usages;

    bytes32[] public cases;
    /// Tokens that left the registry.
    mapping(uint32 sequencer => uint256 slashedWei) public slashed;
    mapping(uint32 sequencer => uint256 assetsWei) public assetsAtFirstExecution;
    mapping(bytes32 caseId => uint256 times) public executions;

    constructor() {
        _begin(MEMBERS);
        vm.deal(address(this), 1 ether);
        token.mint(address(this), 20 ether);
        token.approve(address(rewardPool), type(uint256).max);
        rewardPool.fund{value: 1 ether}(20 ether);
        vm.deal(address(this), p.rollupFeeWei);
        rollups.register{value: p.rollupFeeWei}(1);
        lastBlockHash = settlement.tip().lastBlockHash;
        _forceAs(SENDER, "first");
        _transactions[0] = keccak256("first");
        _burnedBefore = BURN.balance;
        // What Forge calls would be paid for otherwise, and by nobody.
        vm.txGasPrice(0);
    }

    /* SETTLING */

    function settle(uint128 signers, uint64 blocks) external {
        BatchHeader memory header = _nextHeader(uint64(bound(blocks, 1, 12)));
        LeaderSet memory set = settlement.leaderSet(header.epoch);
        signers = uint128(bound(signers, 0, (uint256(1) << set.members.length) - 1));
        if (_isDue(settlement.forcedConsumed(), header.l1OriginNumber)) {
            header.forcedThrough = settlement.forcedLength();
        }
        uint256 weight;
        for (uint256 i = 0; i < set.members.length; ++i) {
            if ((signers >> i) & 1 == 1) weight += set.members[i].weight;
        }

        bool quorum = 3 * weight > 2 * uint256(set.total);
        bool done = _trySettle(header, signers);
        if (done && !quorum) ++settledWithoutQuorum;
        if (done) _extend(header);
        assertEq(done, quorum, "a quorum settles, and nothing else does");
    }

    /// A batch that does not extend the chain, with the signatures of all.
    function settleAside(uint8 wrong) external {
        BatchHeader memory header = _nextHeader(3);
        wrong = uint8(bound(wrong, 0, 3));
        if (wrong == 0) ++header.firstHeight;
        if (wrong == 1) header.parentBlockHash = keccak256("fork");
        if (wrong == 2) header.lastHeight = header.firstHeight - 1;
        if (wrong == 3 && header.firstHeight > 1) --header.firstHeight;
        else if (wrong == 3) header.stateRoot = keccak256("state");

        uint256 members = settlement.leaderSet(header.epoch).members.length;
        if (_trySettle(header, _first(members))) ++settledAside;
    }

    /// Two batches in one transaction, of which the first has a payload.
    function settleTogether(uint16 size) external {
        Submission[] memory submissions = new Submission[](2);
        BatchHeader memory header = _nextHeader(1);
        if ((header.lastHeight + 1) % p.turnLength == 0) return; // the second is another's turn
        address leader = _leader(header);
        Settled[2] memory batches;
        for (uint256 i = 0; i < 2; ++i) {
            bytes memory payload = i == 0 ? vm.randomBytes(size) : bytes("");
            header.payloadHash = keccak256(payload);
            submissions[i] = _submission(header);
            submissions[i].payload = payload;
            submissions[i].header = abi.decode(abi.encode(header), (BatchHeader));
            batches[i] = _settledBy(leader, submissions[i].header, submissions[i].signers);
            header.parentBlockHash = header.lastBlockHash;
            (header.firstHeight, header.lastHeight) = (header.lastHeight + 1, header.lastHeight + 1);
            header.lastBlockHash = keccak256(abi.encode("block", header.lastHeight));
        }
        batches[1].parentSettledAt = uint64(block.timestamp);
        // What is open to escape goes along.
        uint64 next = _firstNotOpen(header.forcedThrough > consumed ? header.forcedThrough : consumed);
        bytes memory call = abi.encodeCall(settlement.settleMany, (submissions));
        vm.recordLogs();
        vm.txGasPrice(1 gwei);
        vm.prank(leader, leader);
        uint256 before = gasleft();
        (bool done,) = at.settlement.call(call);
        uint256 executed = before - gasleft();
        vm.txGasPrice(0);
        if (!done) return; // an entry is due
        consumed = next;
        spentWei += _priced(call, executed) * 1 gwei;
        uint128[] memory refundsWei = _refundsWei();
        for (uint256 i = 0; i < 2; ++i) {
            refundedWei += refundsWei[i];
            batches[i].refundWei = refundsWei[i];
            _settledBatches.push(batches[i]);
            _extend(submissions[i].header);
        }
    }

    /* FORCED QUEUE */

    /// Pays up to three times the fee.
    function force(uint8 length, uint8 times) external {
        uint256 feeWei = settlement.forcedFee() * bound(times, 1, 3);
        if (feeWei > 1000 ether) return;
        vm.deal(SENDER, feeWei);
        bytes memory transaction = new bytes(uint256(length) + 1);
        _transactions[settlement.forcedLength()] = keccak256(transaction);
        vm.prank(SENDER);
        settlement.force{value: feeWei}(ROLLUP, transaction);
        sentWei += feeWei;
    }

    /// A batch of all, with any forcedThrough near what is there, and an origin that is new or never moves.
    function settleThrough(uint64 through, bool moves) external {
        uint64 length = settlement.forcedLength();
        Tip memory before = settlement.tip();
        BatchHeader memory header = _headerThrough(uint64(bound(through, before.forcedThrough / 2, length + 1)));
        if (!moves) {
            header.l1OriginNumber = before.l1OriginNumber;
            header.l1OriginHash = blockhash(before.l1OriginNumber);
        }
        through = header.forcedThrough;

        bool lawful = through >= before.forcedThrough && through <= length;
        // What is open to escape goes along.
        uint64 next = _firstNotOpen(through > before.consumed ? through : before.consumed);
        if (lawful && next < length && through < before.forcedThrough + 16) {
            lawful = !_isDue(next, header.l1OriginNumber);
        }
        bool done = _trySettle(header, _first(settlement.leaderSet(header.epoch).members.length));
        if (done && (!lawful || settlement.forcedConsumed() < next)) ++leftBehind;
        if (done) _extend(header);
        assertEq(done, lawful, "a batch that follows the queue settles, and nothing else does");
    }

    /// Entries escape exactly once they have waited long enough.
    function escape() external {
        uint64 first = settlement.forcedConsumed();
        uint64 next = _firstNotOpen(first);

        try settlement.escape() {
            consumed = next;
            assertGt(next, first);
        } catch {
            assertEq(next, first);
        }
    }

    function compensate(uint256 batch, uint64 index) external {
        if (settled == 0) return;
        batch = bound(batch, 1, settled);
        LateEntries memory late = settlement.lateEntries(uint64(batch));
        if (late.through == 0 || tally.compensation(uint64(batch)) == 0) return;
        index = uint64(bound(index, late.first, late.through - 1));
        if (compensated[index]) return;
        compensatedWei += tally.compensate(uint64(batch), index, ROLLUP, SENDER, _transactions[index]);
        compensated[index] = true;
    }

    function bookAll() external {
        if (tally.nextTally() <= settled) _tallyAll();
    }

    function credit() external {
        (, bool due,,) = rewardPool.nextCredit();
        if (!due) return;
        uint256[] memory before = new uint256[](MEMBERS);
        for (uint256 i = 0; i < MEMBERS; ++i) {
            before[i] = registry.assetsOf(_idAt(i));
        }
        uint256 heldWei = poolsWei();
        vm.txGasPrice(1 gwei);
        rewardPool.creditEpoch();
        vm.txGasPrice(0);
        creditedWei += poolsWei() - heldWei;
        for (uint256 i = 0; i < MEMBERS; ++i) {
            assertGe(registry.assetsOf(_idAt(i)), before[i], "a credit took something");
        }
    }

    function setCommission(uint256 index, uint16 bps) external {
        uint32 id = _idAt(bound(index, 0, MEMBERS - 1));
        bps = uint16(bound(bps, 0, rewardPool.commission(id).bps + p.commissionRaiseBps));
        vm.prank(registry.ownerOf(id));
        rewardPool.setCommission(id, bps > 10_000 ? 10_000 : bps);
    }

    function claimCommission(uint256 index) external {
        uint32 id = _idAt(bound(index, 0, MEMBERS - 1));
        if (rewardPool.commissionBalance(id) == 0) return;
        address owner = registry.ownerOf(id);
        uint256 before = token.balanceOf(owner);
        rewardPool.claimCommission(id);
        claimedCommissionsWei += token.balanceOf(owner) - before;
    }

    function donate(uint96 amountWei) external {
        token.mint(address(rewardPool), amountWei);
        donatedWei += amountWei;
    }

    /* ROLLUPS */

    /// A batch that takes bytes of rollup 1 and of a rollup that nobody registered.
    function settleUsing(uint32 size) external {
        BatchHeader memory header = _nextHeader(1);
        bytes memory usage = abi.encodePacked(uint64(1), size, uint64(2), size);
        header.usageHash = keccak256(usage);
        if (!_trySettle(header, _quorum(header.epoch))) return;
        _extend(header);
        usages[settlement.tip().number] = usage;
    }

    function fundRollup(uint96 amountWei) external {
        amountWei = uint96(bound(amountWei, 1, 1 ether));
        vm.deal(address(this), amountWei);
        uint256 owedWei = rollups.owed(1);
        rollups.fund{value: amountWei}(1);
        uint256 paidWei = owedWei - rollups.owed(1);
        debtsPaidWei += paidWei;
        fundedWei += amountWei - paidWei;
    }

    /// Anybody debits any batch, and again.
    function debit(uint64 number) external {
        if (settled == 0) return;
        number = uint64(bound(number, 1, settled));
        bool before = (rollups.debitedBatches(number / 256) >> (number % 256)) & 1 != 0;
        bool known = usages[number].length != 0;
        uint256 balanceWei = rollups.rollup(1).balanceWei;
        vm.txGasPrice(1 gwei);
        try rollups.debit(number, _settledBatches[number - 1], usages[number]) {
            vm.txGasPrice(0);
            assertTrue(known && !before, "debited twice, or without its list");
            uint256 paidWei = balanceWei - rollups.rollup(1).balanceWei;
            debitedWei += paidWei;
            costsWei += _costOf(_settledBatches[number - 1]);
        } catch {
            vm.txGasPrice(0);
            assertTrue(!known || before, "a batch cannot be debited");
        }
    }

    /// @notice What the pools of all members hold.
    function poolsWei() public view returns (uint256 sumWei) {
        for (uint256 i = 0; i < MEMBERS; ++i) {
            sumWei += registry.assetsOf(_idAt(i));
        }
    }

    function commissionsWei() external view returns (uint256 sumWei) {
        for (uint256 i = 0; i < MEMBERS; ++i) {
            sumWei += rewardPool.commissionBalance(_idAt(i));
        }
    }

    /// @notice What waits for the signers of all epochs so far.
    function waitingWei() external view returns (uint256 sumWei) {
        (bool waits,,, uint64 epoch) = rewardPool.nextCredit();
        if (!waits) return 0;
        for (; epoch <= _epoch(); ++epoch) {
            for (uint256 i = 0; i < MEMBERS && i < settlement.leaderSet(epoch).members.length; ++i) {
                sumWei += rewardPool.signerReward(0, epoch, i);
            }
        }
    }

    function owedByRollup() external view returns (uint256) {
        return rollups.owed(1);
    }

    function rollupWei() external view returns (uint256 heldWei, uint256 balanceWei) {
        return (address(rollups).balance, rollups.rollup(1).balanceWei);
    }

    function claimPoster(uint256 index) external {
        address poster = settlement.memberAt(0, 1, bound(index, 0, MEMBERS - 1)).signer;
        if (rewardPool.posterBalance(poster) == 0) return;
        vm.prank(poster);
        rewardPool.claimPoster();
    }

    /* TIME */

    function pass(uint16 seconds_) external {
        _advance(bound(seconds_, 1, 2 * p.epochSeconds));
        (, uint64 sealedFor,) = settlement.setOf(0, _epoch() + 1);
        if (sealedFor <= _epoch()) _trySealSet(_epoch() + 1);
    }

    /* SLASHING */

    /// At most two of the five ever offend, so that the others can go on; at few heights, so that positions meet again.
    function report(uint256 index, uint64 height) external {
        (index, height) = (bound(index, 0, 1), uint64(bound(height, 1, 4)));
        bool isNew = slasher.caseOf(_votesCase(index, height)).sequencer == 0;
        bool counts = registry.sequencer(_idAt(index)).status != Status.Tombstoned && _keyCounts();

        try this.tryReport(index, height) returns (bytes32 caseId) {
            assertTrue(isNew && counts, "reported twice, after a conviction, or too late");
            cases.push(caseId);
        } catch {
            assertFalse(isNew && counts, "evidence was refused");
        }
    }

    /// For {report} alone: external, so that it can fail on its own.
    function tryReport(uint256 index, uint64 height) external returns (bytes32) {
        return _reportVotes(index, height);
    }

    /// Waits for the case or not, and asks for its execution more than once.
    function execute(uint256 which, bool waits, uint8 times) external {
        if (cases.length == 0) return;
        bytes32 caseId = cases[bound(which, 0, cases.length - 1)];
        if (waits) _warpTo(slasher.executableAt(caseId));

        for (times = uint8(bound(times, 1, 3)); times != 0; --times) {
            _tryExecute(caseId, slasher.caseOf(caseId).sequencer);
        }
    }

    function _tryExecute(bytes32 caseId, uint32 id) private {
        (uint256 assetsWei, uint256 takenWei) = (registry.assetsOf(id), _takenWei());
        bool first = registry.sequencer(id).status != Status.Tombstoned;
        bool due = block.timestamp >= slasher.executableAt(caseId);
        bool open = slasher.caseOf(caseId).status == CaseStatus.Reported;

        try slasher.execute(caseId) {
            assertTrue(due, "executed too early");
            ++executions[caseId];
            slashed[id] += _takenWei() - takenWei;
            if (first) assetsAtFirstExecution[id] = assetsWei;
        } catch {
            assertFalse(due && open, "a due case was refused");
        }
    }

    /// @dev What slashes handed on: all bounties are this handler's, and nobody fetches any.
    function _takenWei() private view returns (uint256) {
        return slasher.toBurn() + slasher.bountyOf(address(this));
    }

    /* READING */

    function caseCount() external view returns (uint256) {
        return cases.length;
    }

    function offender(uint256 index) external view returns (uint32) {
        return _idAt(index);
    }

    /// ETH in the names of all who ever posted, sealed or sent.
    function owedEthWei() external view returns (uint256 sum) {
        sum = rewardPool.posterBalance(address(this)) + rewardPool.posterBalance(SENDER);
        for (uint256 i = 0; i < MEMBERS; ++i) {
            sum += rewardPool.posterBalance(settlement.memberAt(0, 1, i).signer);
        }
    }

    /// ETH set aside for senders and not yet in their names.
    function setAsideWei() external view returns (uint256 coveredWei) {
        (coveredWei,) = rewardPool.setAside();
    }

    function forcedLength() external view returns (uint64) {
        return settlement.forcedLength();
    }

    function burned() external view returns (uint256 burnedWei, uint256 heldWei) {
        return (BURN.balance - _burnedBefore, at.settlement.balance);
    }

    function tip() external view returns (Tip memory) {
        return settlement.tip();
    }

    function pool() external view returns (uint256 ethWei, uint256 tokenWei, uint256 freeEthWei, uint256 freeTokenWei) {
        (freeEthWei, freeTokenWei) = rewardPool.freeWei();
        return (at.rewardPool.balance, token.balanceOf(at.rewardPool), freeEthWei, freeTokenWei);
    }

    /* PARTS */

    function _costOf(Settled memory batch) private view returns (uint256) {
        uint256 refundWei = batch.refundWei;
        uint256 highestWei = batch.baseFeeWei + p.priorityWei;
        return refundWei + _marginWei(batch) + (p.rollupBookingGas * 3 / 4 + p.rollupBookingGas / 8) * highestWei;
    }

    function _extend(BatchHeader memory header) private {
        ++settled;
        assertEq(header.firstHeight, lastHeight + 1);
        assertEq(header.parentBlockHash, lastBlockHash);
        lastHeight = header.lastHeight;
        lastBlockHash = header.lastBlockHash;
    }

    function _isDue(uint64 index, uint64 origin) private view returns (bool) {
        if (index >= settlement.forcedLength()) return false;
        return settlement.forcedEntry(index).enqueuedAtBlock + p.forcedDeadlineBlocks <= origin;
    }

    function _trySettle(BatchHeader memory header, uint128 signers) private returns (bool done) {
        address leader = _leader(header);
        Signature[] memory signatures = _attest(header, signers);
        Settled memory batch = _settledBy(leader, header, signers);
        // What is open to escape goes along.
        uint64 next = _firstNotOpen(header.forcedThrough > consumed ? header.forcedThrough : consumed);
        vm.recordLogs();
        vm.txGasPrice(1 gwei);
        vm.prank(leader, leader);
        try settlement.settle(header, signers, signatures, PAYLOAD) {
            batch.refundWei = _refundsWei()[0];
            _settledBatches.push(batch);
            consumed = next;
            done = true;
        } catch {}
        vm.txGasPrice(0);
    }

    /// @dev Evidence against the set of epoch 1 counts.
    function _keyCounts() private view returns (bool) {
        (bool known, uint64 end) = settlement.endOf(0, 1);
        return !known || block.timestamp < end + p.evidenceWindowSeconds;
    }
}
