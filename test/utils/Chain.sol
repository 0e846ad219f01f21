// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {VmSafe} from "forge-std/Vm.sol";

import {IBatchInbox, Submission, Tip} from "../../contracts/interfaces/IBatchInbox.sol";
import {IRewardPool} from "../../contracts/interfaces/IRewardPool.sol";
import {LeaderSet} from "../../contracts/interfaces/IRota.sol";
import {Settled} from "../../contracts/interfaces/ITally.sol";
import {DrawLib} from "../../contracts/lib/DrawLib.sol";
import {FrozenSet, SetLib} from "../../contracts/lib/SetLib.sol";
import {SettledLib} from "../../contracts/lib/SettledLib.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Config, ConfigLib} from "../../script/ConfigLib.sol";
import {System} from "./System.sol";

/// Sees the fees that a called contract sees: in isolation they differ from those of the test itself.
contract Fees {
    uint256 public baseFeeWei;
    uint256 public blobBaseFeeWei;

    function read() external returns (uint256, uint256) {
        baseFeeWei = block.basefee;
        blobBaseFeeWei = block.blobbasefee;
        return (baseFeeWei, blobBaseFeeWei);
    }
}

/// @title A settled chain to test on
/// @notice Builds the batches that an honest quorum would build on the tip, and settles them.
abstract contract Chain is System {
    bytes internal constant PAYLOAD = hex"0001020300";

    uint64 internal constant ROLLUP = 901;

    Fees private immutable FEES = new Fees();

    /// @notice What {tally} will be asked to book, in the order in which it settled.
    Settled[] internal _settledBatches;

    /// @notice A running system of `n` sequencers at the start of epoch 1.
    function _begin(uint256 n) internal {
        _deploy();
        vm.fee(1 gwei);
        vm.txGasPrice(1 gwei);
        _joinMany(n);
        _sealFirst();
        _sealThrough(1);
    }

    /// @notice The devnet profile with restarts so quick that an epoch has room for several.
    function _deployWithQuickRestarts() internal {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        Config memory config = ConfigLib.read("devnet");
        config.params.escapeDelaySeconds = 21;
        config.params.restartDelaySeconds = 22;
        config.params.restartWindowSeconds = 8;
        config.params.idleBatchAgeSeconds = 5;
        _deploy(config);
    }

    /// @notice A regular header of `blocks` blocks on the tip, as of now, for {PAYLOAD}.
    function _nextHeader(uint64 blocks) internal view returns (BatchHeader memory header) {
        Tip memory tip = settlement.tip();
        header.generation = settlement.generation();
        header.epoch = _epoch();
        header.firstHeight = tip.lastHeight + 1;
        header.lastHeight = tip.lastHeight + blocks;
        header.parentBlockHash = tip.lastBlockHash;
        header.lastBlockHash = keccak256(abi.encode("block", header.lastHeight));
        header.blocksRoot = keccak256(abi.encode("root", header.lastHeight));
        header.forcedThrough = tip.forcedThrough;
        header.l1OriginNumber = uint64(block.number) - 1;
        header.l1OriginHash = blockhash(block.number - 1);
        header.timestamp = uint64(block.timestamp);
        header.payloadHash = keccak256(PAYLOAD);
        header.usageHash = keccak256("usage");
        header.regularSince = header.timestamp;
    }

    /// @notice {_nextHeader} that ends in a turn whose leader is member `index`, within 2^14 blocks.
    function _nextHeaderLedBy(uint256 index) internal view returns (BatchHeader memory header) {
        LeaderSet memory set = settlement.leaderSet(_epoch());
        uint64 turn = settlement.tip().lastHeight / p.turnLength + 1;
        while (settlement.leaderOf(_epoch(), turn) != set.members[index].signer) ++turn;
        return _nextHeader((turn + 1) * p.turnLength - 1 - settlement.tip().lastHeight);
    }

    /// @notice Leader of the turn in which `header` ends.
    function _leader(BatchHeader memory header) internal view returns (address) {
        return settlement.leaderOf(header.epoch, header.lastHeight / p.turnLength);
    }

    /// @notice Signer of draw `a` of `turn`.
    function _memberDrawn(uint64 epoch, uint64 turn, uint32 a) internal view returns (address) {
        (address pointer,, bytes32 seed) = settlement.setOf(settlement.generation(), epoch);
        FrozenSet set = SetLib.load(SetLib.record(pointer, seed));
        return SetLib.signerOf(set.memberAt(DrawLib.draw(set, turn, a)));
    }

    /// @notice Settles `header` with a quorum, sent by its leader.
    function _settle(BatchHeader memory header) internal {
        _settleAs(_leader(header), header);
    }

    function _settleAs(address poster, BatchHeader memory header) internal {
        uint128 signers = _quorum(header.epoch);
        Signature[] memory signatures = _attest(header, signers);
        _settleNoted(poster, header, signers, signatures);
    }

    /// @notice Settles it, and notes what {tally} will be asked to book.
    function _settleNoted(address poster, BatchHeader memory header, uint128 signers, Signature[] memory signatures)
        internal
    {
        Settled memory batch = _settledBy(poster, header, signers);
        uint256 gasPriceWei = tx.gasprice;
        if (gasPriceWei == 0) vm.txGasPrice(batch.baseFeeWei);
        vm.recordLogs();
        vm.prank(poster, poster);
        settlement.settle(header, signers, signatures, PAYLOAD);
        vm.txGasPrice(gasPriceWei);
        batch.refundWei = _refundsWei()[0];
        _settledBatches.push(batch);
    }

    /// @notice What the batches are refunded that settled since logs are recorded.
    function _refundsWei() internal returns (uint128[] memory refundsWei) {
        VmSafe.Log[] memory logs = vm.getRecordedLogs();
        refundsWei = new uint128[](logs.length);
        uint256 found;
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IBatchInbox.BatchSettled.selector) continue;
            (,,, refundsWei[found++],,) = abi.decode(logs[i].data, (address, uint128, uint64, uint128, bool, bool));
        }
        // Memory-safe: only ever shortens the array.
        assembly ("memory-safe") {
            mstore(refundsWei, found)
        }
    }

    /// @notice What the poster of batch number `i` + 1 of {_settledBatches} is due if `signed` of `members` signed it.
    function _dueWei(uint256 i, uint256 signed, uint256 members) internal view returns (uint256) {
        return _settledBatches[i].refundWei + _marginWei(_settledBatches[i]) * signed / members;
    }

    /// @notice The margin of a batch that everybody signed.
    function _marginWei(Settled memory batch) internal view returns (uint256) {
        if (batch.header.regularSince == 0) return 0;
        uint256 mostWei = 65_000 * batch.baseFeeWei;
        for (uint256 i = 0; i < 128; ++i) {
            if (batch.signers >> i & 1 == 1) mostWei += 4500 * batch.baseFeeWei;
        }
        return (batch.refundWei < mostWei ? batch.refundWei : mostWei) * p.refundMarginBps / 10_000;
    }

    /// @notice What the ring will hold of `header` if `poster` settles it now, but for what it is refunded.
    function _settledBy(address poster, BatchHeader memory header, uint128 signers) internal returns (Settled memory) {
        (uint256 baseFeeWei, uint256 blobBaseFeeWei) = FEES.read();
        return Settled({
            header: header,
            signers: signers,
            poster: poster,
            settledAt: uint64(block.timestamp),
            parentSettledAt: settlement.tip().settledAt,
            baseFeeWei: baseFeeWei,
            blobBaseFeeWei: blobBaseFeeWei,
            refundWei: 0,
            blobs: 0,
            late: _isLate(header.forcedThrough),
            led: _isLedBy(poster, header)
        });
    }

    function _isLedBy(address poster, BatchHeader memory header) internal view returns (bool) {
        address leader = _leader(header);
        return poster == leader || poster == registry.posterOf(leader);
    }

    /// @notice What all members of the set together would be paid for batch number `i` + 1 of {_settledBatches}: the time that
    /// it adds to the chain.
    function _rewardWei(uint256 i) internal view returns (uint256) {
        return p.signersSecondWei * _secondsAdded(i);
    }

    function _secondsAdded(uint256 i) internal view returns (uint256) {
        uint64 from = i == 0 ? p.genesis : _settledBatches[i - 1].header.timestamp;
        return _settledBatches[i].header.timestamp - from;
    }

    /// @notice What the ring would have to hold for `batch` to be tallied. External, so that the batch is calldata.
    function ringValueOf(Settled calldata batch) external view returns (bytes32) {
        return SettledLib.ringValue(batch, settlement.domainSeparator());
    }

    /// @notice Whether a batch that settles now and consumes what is before `through` is late (R30).
    function _isLate(uint64 through) private view returns (bool) {
        uint64 first = settlement.forcedConsumed();
        uint64 next = _firstNotOpen(through > first ? through : first);
        if (next != through && next != first) first = next;
        if (first == settlement.forcedLength()) return false;
        uint64 age = uint64(block.number) - settlement.forcedEntry(first).enqueuedAtBlock;
        return age > p.forcedDeadlineBlocks + p.forcedGraceBlocks;
    }

    /* FORCED QUEUE */

    /// @notice The first entry from `index` on that is not open to escape, were there no bound to how many an escape takes.
    function _firstNotOpen(uint64 index) internal view returns (uint64) {
        uint64 delay = p.forcedDeadlineBlocks * p.l1BlockSeconds + p.escapeDelaySeconds;
        while (
            index < settlement.forcedLength() && settlement.forcedEntry(index).enqueuedAt + delay <= block.timestamp
        ) {
            ++index;
        }
        return index;
    }

    /// @notice Enqueues `transaction` from `sender` for exactly what it costs.
    function _forceAs(address sender, bytes memory transaction) internal returns (uint64 index) {
        if (rollups.rollup(ROLLUP).owner == address(0)) {
            vm.deal(address(this), address(this).balance + p.rollupFeeWei);
            rollups.register{value: p.rollupFeeWei}(ROLLUP);
        }
        uint256 feeWei = settlement.forcedFee();
        vm.deal(sender, sender.balance + feeWei);
        vm.prank(sender);
        return settlement.force{value: feeWei}(ROLLUP, transaction);
    }

    /// @notice Enqueues `n` transactions in this L1 block.
    function _force(uint256 n) internal {
        for (uint256 i = 0; i < n; ++i) {
            _forceAs(makeAddr("sender"), abi.encode("forced", settlement.forcedLength()));
        }
    }

    /// @notice {_nextHeader} of 8 blocks that consumes all before entry `through`.
    function _headerThrough(uint64 through) internal view returns (BatchHeader memory header) {
        header = _nextHeader(8);
        header.forcedThrough = through;
    }

    function _settleThrough(uint64 through) internal {
        _settle(_headerThrough(through));
    }

    /// @notice Books everything that {_settleAs} settled and nobody has booked. Whoever does pays nothing for gas, so that nothing
    /// is booked but the batches.
    function _tallyAll() internal {
        uint64 first = tally.nextTally();
        uint256 n = _settledBatches.length + 1 - first;
        Settled[] memory batches = new Settled[](n);
        for (uint256 i = 0; i < n; ++i) {
            batches[i] = _settledBatches[first - 1 + i];
        }
        uint256 gasPriceWei = tx.gasprice;
        vm.txGasPrice(0);
        tally.tally(first, batches);
        vm.txGasPrice(gasPriceWei);
    }

    /// @notice What {IRewardPool.creditDuty} and {IRewardPool.creditEpoch} put in the name of `worker` since logs are recorded.
    function _dutiesWei(address worker) internal returns (uint256 sumWei) {
        VmSafe.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != IRewardPool.DutyCredited.selector) continue;
            if (address(uint160(uint256(logs[i].topics[2]))) == worker) sumWei += abi.decode(logs[i].data, (uint256));
        }
    }

    /// @notice Gas of a transaction with such calldata that executes so much: what Forge, without isolation, does not add
    /// (EIP-7623).
    function _priced(bytes memory call, uint256 executed) internal pure returns (uint256) {
        uint256 tokens;
        for (uint256 i = 0; i < call.length; ++i) {
            tokens += call[i] == 0 ? 1 : 4;
        }
        executed += 4 * tokens;
        uint256 floor = 10 * tokens;
        return 21_000 + (executed > floor ? executed : floor);
    }

    function _submission(BatchHeader memory header) internal view returns (Submission memory) {
        uint128 signers = _quorum(header.epoch);
        return Submission({header: header, signers: signers, signatures: _attest(header, signers), payload: PAYLOAD});
    }

    /// @notice The first `k` members of a set.
    function _first(uint256 k) internal pure returns (uint128) {
        return uint128((uint256(1) << k) - 1);
    }
}
