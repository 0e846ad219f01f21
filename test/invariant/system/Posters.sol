// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Vm} from "forge-std/Vm.sol";

import {Tip} from "../../../contracts/interfaces/IBatchInbox.sol";
import {LateEntries} from "../../../contracts/interfaces/IForcedInbox.sol";
import {IRewardPool} from "../../../contracts/interfaces/IRewardPool.sol";
import {Debit} from "../../../contracts/interfaces/IRollups.sol";
import {Settled} from "../../../contracts/interfaces/ITally.sol";
import {BatchHeader, Signature} from "../../../contracts/types/Wire.sol";
import {Ledger} from "./Ledger.sol";

/// @title What posters, senders, rollups and those who book do
abstract contract Posters is Ledger {
    /// What a sender enqueued.
    struct Sent {
        address sender;
        uint64 rollup;
        bytes32 transactionHash;
    }

    uint256 public settled;
    uint64 public lastHeight;
    bytes32 public lastBlockHash;
    /// Entries that batches and escapes should have consumed.
    uint64 public consumed;

    Sent[] internal _sent;
    /// Batches for whose late entries something was set aside.
    uint64[] internal _lateBatches;
    mapping(uint64 index => bool) internal _compensated;
    /// Bytes of {ROLLUP} in a batch; {_usageOf} makes the whole list of them.
    mapping(uint64 number => uint32 bytes_) internal _bytesIn;
    mapping(uint64 number => bool) internal _debited;
    /// Regular batches of each sequencer's turns that others settled: it was not there, or too late.
    mapping(uint32 id => uint256) internal _silentFor;

    /* SETTLING */

    /// The leader of the turn, or who posts for it, settles what all or just enough signed.
    function settle(uint256 blocks, uint256 how, uint256 size) external {
        if (!_canSettle()) return;
        BatchHeader memory header = _nextHeader(uint64(bound(blocks, 1, 20)));
        _followQueue(header, how & 12 == 0);
        header.usageHash = keccak256(_usageOf(_noteBytes(size)));
        address poster = registry.posterOf(_leader(header));
        _post(how & 1 == 0 || poster == address(0) ? _leader(header) : poster, header, _signersOf(header, how & 2 == 0));
    }

    /// Whoever is next does it for a leader that is silent, each in its time.
    function settleLate(uint256 blocks, uint256 how, uint256 who) external {
        if (!_canSettle()) return;
        BatchHeader memory header = _nextHeader(uint64(bound(blocks, 1, 20)));
        _followQueue(header, how & 12 == 0);
        uint256 takeovers = how % 3 == 0 ? 1 : how % 3 == 1 ? 2 : 5;
        _advance(takeovers * p.takeoverSeconds);

        uint256 n = settlement.leaderSet(header.epoch).members.length;
        address poster = _keeper;
        if (takeovers == 2) poster = settlement.memberAt(header.generation, header.epoch, who % n).signer;
        if (takeovers == 1) {
            poster = n == 1 ? _leader(header) : _memberDrawn(header.epoch, header.lastHeight / p.turnLength, 1);
        }
        _post(poster, header, _quorum(header.epoch));
        _did("settled late");
    }

    /// Whoever is a member has a part of what would be the next batch signed, in any lawful epoch, and settles it once all could.
    /// Its leader was there all the time, and had nothing to settle yet.
    function settleSplit(uint256 blocks, uint256 how, uint256 who) external {
        if (!_canSettle()) return;
        BatchHeader memory header = _nextHeader(uint64(bound(blocks, 1, 20)));
        header.regularSince = 0;
        _followQueue(header, how & 12 == 0);
        _advance(5 * p.takeoverSeconds);
        if (how & 1 == 0) header.epoch = _epoch();
        uint256 n = settlement.leaderSetOf(header.generation, header.epoch).members.length;
        if (n == 0) return;
        address poster = settlement.memberAt(header.generation, header.epoch, who % n).signer;
        _post(poster, header, _quorum(header.epoch));
        _did("settled splits");
    }

    /// @dev Somebody leads, and there is a block to be the origin since the generation began.
    function _canSettle() internal returns (bool) {
        if (settlement.tip().l1OriginNumber >= block.number) _advance(1);
        return settlement.totalAt(settlement.generation(), _epoch()) != 0;
    }

    /// @dev Consumes what is due, or all there is.
    function _followQueue(BatchHeader memory header, bool all) internal view {
        uint64 first = settlement.forcedConsumed();
        uint64 length = settlement.forcedLength();
        bool due = first != length
            && settlement.forcedEntry(first).enqueuedAtBlock + p.forcedDeadlineBlocks <= header.l1OriginNumber;
        if (due || all) header.forcedThrough = length;
    }

    /// @dev Bytes in the next batch.
    function _noteBytes(uint256 size) private returns (uint32 bytes_) {
        bytes_ = uint32(bound(size, 2, 30_000_000));
        _bytesIn[uint64(settled) + 1] = bytes_;
    }

    /// @dev Bytes of both rollups and of one that nobody registered.
    function _usageOf(uint32 bytes_) internal pure returns (bytes memory) {
        return abi.encodePacked(ROLLUP, bytes_, OTHER_ROLLUP, bytes_ / 2, uint64(903), bytes_);
    }

    function _signersOf(BatchHeader memory header, bool all) private view returns (uint128) {
        return all ? _first(settlement.leaderSet(header.epoch).members.length) : _quorum(header.epoch);
    }

    /// @dev Settles, and writes down what should have come of it.
    /// Every seventh at fees that a batch or two of exhaust the pool at.
    function _post(address poster, BatchHeader memory header, uint128 signers) internal {
        vm.fee(settled % 7 == 6 ? 2000 gwei : 1 gwei);
        Signature[] memory signatures = _attest(header, signers);
        if (header.regularSince != 0 && !_isLedBy(poster, header)) ++_silentFor[registry.idOf(_leader(header))];
        _settleNoted(poster, header, signers, signatures);

        ++settled;
        assertEq(header.firstHeight, lastHeight + 1, "a batch begins where the chain ended");
        assertEq(header.parentBlockHash, lastBlockHash, "a batch names the last block");
        (lastHeight, lastBlockHash) = (header.lastHeight, header.lastBlockHash);
        if (header.forcedThrough > consumed) consumed = header.forcedThrough;
        // What is open to escape goes along.
        consumed = _firstNotOpen(consumed);
        _name(poster);
        _did("settled");
    }

    /// @notice Turns that `id` has missed by the tally of the last 200 epochs, and those in which it was not there.
    function missesOf(uint32 id) external view returns (uint256 missed, uint256 silent) {
        uint64 epoch = _epoch();
        (, missed) = tally.turnsBetween(id, epoch < 200 ? 0 : epoch - 200, epoch);
        silent = _silentFor[id];
    }

    /* FORCED QUEUE */

    /// Pays up to three times the fee.
    function force(uint256 who, uint256 length, uint256 multiple) external {
        uint256 feeWei = settlement.forcedFee() * bound(multiple, 1, 3);
        if (feeWei > 1000 ether) return;
        address sender = _senders[who % 2];
        uint64 rollup = who % 3 == 0 ? OTHER_ROLLUP : ROLLUP;
        bytes memory transaction = new bytes(bound(length, 1, 64));
        vm.deal(sender, feeWei);
        vm.prank(sender);
        settlement.force{value: feeWei}(rollup, transaction);
        _sent.push(Sent({sender: sender, rollup: rollup, transactionHash: keccak256(transaction)}));
        _ethInWei += feeWei;
        feesBurnedWei += feeWei;
        _did("forced");
    }

    /// Anyone lets escape what has waited long enough, now or once it has.
    function escape(uint256 wait) external {
        uint64 first = settlement.forcedConsumed();
        uint64 length = settlement.forcedLength();
        uint64 delay = p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
        if (wait % 2 == 0 && first != length) _travel(settlement.forcedEntry(first).enqueuedAt + delay, true);
        uint64 next = first;
        while (
            next < length && next < first + 1024 && settlement.forcedEntry(next).enqueuedAt + delay <= block.timestamp
        ) {
            ++next;
        }

        (bool done,) = _try(_thief, at.settlement, abi.encodeCall(settlement.escape, ()));
        assertEq(done, next != first, "what has waited escapes, and nothing else does");
        consumed = next;
        if (done) _did("escaped");
    }

    /// A sender of an entry that came late gets back no more than it burned.
    function compensate(uint256 which, uint256 index) external {
        if (_lateBatches.length == 0) return;
        uint64 batch = _lateBatches[which % _lateBatches.length];
        LateEntries memory late = settlement.lateEntries(batch);
        uint64 entry = uint64(bound(index, late.first, late.through - 1));
        if (_compensated[entry]) return;
        Sent memory sent = _sent[entry];
        uint256 beforeWei = rewardPool.posterBalance(sent.sender) + rewardPool.owedTo(sent.sender);
        uint256 amountWei = tally.compensate(batch, entry, sent.rollup, sent.sender, sent.transactionHash);
        assertLe(amountWei, settlement.forcedEntry(entry).feeWei, "nobody gains by coming late");
        uint256 afterWei = rewardPool.posterBalance(sent.sender) + rewardPool.owedTo(sent.sender);
        assertEq(afterWei - beforeWei, amountWei, "the sender has it");
        _compensated[entry] = true;
        _did("compensated");
    }

    /* BOOKING */

    function book(uint256 n) external {
        _book(bound(n, 1, 20));
    }

    /// @dev What leaves the free part of the reward pool is reserved, set aside or in somebody's name.
    function _book(uint256 n) internal {
        uint64 first = tally.nextTally();
        if (first > settled) return;
        if (n > settled + 1 - first) n = settled + 1 - first;
        Settled[] memory batches = new Settled[](n);
        for (uint256 i = 0; i < n; ++i) {
            batches[i] = _settledBatches[first - 1 + i];
        }
        (uint256 freeEthWei, uint256 freeTokenWei) = rewardPool.freeWei();
        uint256 namedBeforeWei = namedWei();
        (uint256 asideBeforeWei,) = rewardPool.setAside();

        vm.recordLogs();
        vm.txGasPrice(1 gwei);
        vm.prank(_keeper);
        tally.tally(first, batches);
        vm.txGasPrice(0);

        (uint256 ethLeftWei, uint256 tokenLeftWei) = rewardPool.freeWei();
        assertEq(freeTokenWei - tokenLeftWei, _noteReserved(vm.getRecordedLogs()), "all that left is reserved");
        if (rewardPool.owed() != 0) _did("booked in a dry spell");
        _noteSetAside(first, n);
        (uint256 asideNowWei,) = rewardPool.setAside();
        assertEq(
            freeEthWei - ethLeftWei,
            namedWei() - namedBeforeWei + asideNowWei - asideBeforeWei,
            "all that left is somebody's"
        );
        _did("booked");
    }

    function _noteReserved(Vm.Log[] memory logs) private returns (uint256 sumWei) {
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IRewardPool.SignersReserved.selector) continue;
            uint256 amountWei = abi.decode(logs[i].data, (uint256));
            _reservedFor[uint32(uint256(logs[i].topics[1]))][uint64(uint256(logs[i].topics[2]))] += amountWei;
            sumWei += amountWei;
        }
        _reservedWei += sumWei;
        reservedEverWei += sumWei;
    }

    function _noteSetAside(uint64 first, uint256 n) private {
        for (uint64 number = first; number < first + n; ++number) {
            uint256 asideWei = tally.compensation(number);
            if (asideWei == 0) continue;
            _lateBatches.push(number);
        }
    }

    /// The first epoch that waits is credited, now or once it is closed and booked.
    function credit(uint256 wait) external {
        (bool waits,, uint32 generation, uint64 epoch) = rewardPool.nextCredit();
        if (waits && wait % 4 != 0) {
            _travel(settlement.startOf(epoch + p.maxEpochLag + 1), true);
            _book(settled);
        }
        _creditNext(generation, epoch);
    }

    /// @inheritdoc Ledger
    function _creditDue() internal override {
        (, bool due, uint32 generation, uint64 epoch) = rewardPool.nextCredit();
        for (; due; (, due, generation, epoch) = rewardPool.nextCredit()) {
            _creditNext(generation, epoch);
        }
    }

    /// @dev What was reserved for the epoch is gone with it, to the wei.
    function _creditNext(uint32 generation, uint64 epoch) private {
        uint256 poolsBeforeWei = poolsWei();
        uint256 commissionsBeforeWei = commissionsWei();
        uint256 heldBeforeWei = token.balanceOf(at.registry);
        (, uint256 freeBeforeWei) = rewardPool.freeWei();

        (bool done, bytes memory answer) = _try(_keeper, at.rewardPool, abi.encodeCall(rewardPool.creditEpoch, ()));
        if (!done) return;
        uint256 creditedWei = abi.decode(answer, (uint256));
        (, uint256 freeWei) = rewardPool.freeWei();
        assertEq(poolsWei() - poolsBeforeWei, creditedWei, "the pools have it");
        assertEq(token.balanceOf(at.registry) - heldBeforeWei, creditedWei, "the registry holds it");
        uint256 goneWei = creditedWei + commissionsWei() - commissionsBeforeWei + freeWei - freeBeforeWei;
        assertEq(goneWei, _reservedFor[generation][epoch], "an epoch's reserve goes with it");
        _reservedWei -= goneWei;
        _reservedFor[generation][epoch] = 0;
        _did("credited");
    }

    function fundRewards(uint256 ethWei, uint256 tokenWei) external {
        _fund(bound(ethWei, 0, 0.01 ether), bound(tokenWei, 1, 5 ether));
    }

    function claimPoster(uint256 who) external {
        address account =
            who % 4 == 0 ? _keeper : who % 4 == 1 ? _senders[who % 3 % 2] : registry.sequencer(_pickId(who / 4)).signer;
        (uint256 freeWei,) = rewardPool.freeWei();
        uint256 dueWei = rewardPool.posterBalance(account) + Math.min(rewardPool.owedTo(account), freeWei);
        if (dueWei == 0) return;
        uint256 beforeWei = account.balance;
        vm.prank(account);
        rewardPool.claimPoster();
        assertEq(account.balance - beforeWei, dueWei, "whoever is named is paid");
        _ethOutWei += dueWei;
        _did("claimed ETH");
    }

    /* ROLLUPS */

    function fundRollup(uint256 which, uint256 amountWei) external {
        amountWei = bound(amountWei, 1, 0.05 ether);
        vm.deal(address(this), amountWei);
        rollups.fund{value: amountWei}(which % 2 == 0 ? ROLLUP : OTHER_ROLLUP);
        _ethInWei += amountWei;
        _did("funded rollups");
    }

    /// Anybody debits two batches at once; what rollups pay is free for rewards. What was debited before is left out.
    function debit(uint256 a, uint256 b) external {
        if (settled == 0) return;
        uint64 one = uint64(bound(a, 1, settled));
        uint64 other = uint64(bound(b, 1, settled));
        if (_isPaid(one) && _isPaid(other)) return;
        // A batch without a list cannot be debited, and keeps one that comes with it from being.
        if (_bytesIn[one] == 0) one = other;
        if (_bytesIn[other] == 0) other = one;
        if (_isPaid(one) && _isPaid(other)) return;
        Debit[] memory debits = new Debit[](2);
        debits[0] = _debitOf(one);
        debits[1] = _debitOf(other);
        (uint256 freeBeforeWei,) = rewardPool.freeWei();
        uint256 namedBeforeWei = namedWei();
        uint256 rollupsBeforeWei = rollupsWei();
        uint256 owedBeforeWei = rollups.owed(ROLLUP) + rollups.owed(OTHER_ROLLUP);
        uint256 dueWei = _due(one) + (one == other ? 0 : _due(other));

        vm.txGasPrice(1 gwei);
        rollups.debitMany(debits);
        vm.txGasPrice(0);

        (uint256 freeWei,) = rewardPool.freeWei();
        uint256 paidWei = rollupsBeforeWei - rollupsWei();
        uint256 owesWei = rollups.owed(ROLLUP) + rollups.owed(OTHER_ROLLUP) - owedBeforeWei;
        assertGe(paidWei + owesWei, dueWei, "rollups pay or owe what their bytes cost");
        assertLe(paidWei + owesWei, dueWei + 4, "a rollup pays more than what its bytes cost");
        assertEq(freeWei + namedWei() - namedBeforeWei, freeBeforeWei + paidWei, "what rollups pay funds the rewards");
        (_debited[one], _debited[other]) = (true, true);
        _did("debited");
    }

    function _isPaid(uint64 number) private view returns (bool) {
        return _debited[number] || _bytesIn[number] == 0;
    }

    function _debitOf(uint64 number) internal view returns (Debit memory) {
        return Debit(number, _settledBatches[number - 1], _usageOf(_bytesIn[number]));
    }

    /// @dev What the bytes of both rollups cost, rounded down; those of the third one nobody pays for.
    function _due(uint64 number) private view returns (uint256) {
        if (_debited[number]) return 0;
        Settled memory batch = _settledBatches[number - 1];
        uint256 refundWei = batch.refundWei;
        uint256 highestWei = batch.baseFeeWei + p.priorityWei;
        uint256 costWei = refundWei + _marginWei(batch) + p.rollupBookingGas * 3 / 4 * highestWei;
        uint256 bytes_ = _bytesIn[number];
        uint256 all = 2 * bytes_ + bytes_ / 2;
        uint256 wordsWei = bytes_ == 0 ? 0 : p.rollupBookingGas / 8 * highestWei * (bytes_ / 2 == 0 ? 1 : 2);
        return costWei * bytes_ / all + costWei * (bytes_ / 2) / all + wordsWei;
    }

    /* READING */

    function tip() external view returns (Tip memory) {
        return settlement.tip();
    }
}
