// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Deployment} from "./Deployment.sol";
import {SigningDomain} from "./SigningDomain.sol";
import {IBatchInbox} from "./interfaces/IBatchInbox.sol";
import {ForcedEntry, IForcedInbox, LateEntries} from "./interfaces/IForcedInbox.sol";
import {IRewardPool} from "./interfaces/IRewardPool.sol";
import {IRota} from "./interfaces/IRota.sol";
import {ISequencerRegistry} from "./interfaces/ISequencerRegistry.sol";
import {Attendance, ITally, Settled} from "./interfaces/ITally.sol";
import {AttendanceLib, Lanes} from "./lib/AttendanceLib.sol";
import {CertificateLib} from "./lib/CertificateLib.sol";
import {ChurnLib} from "./lib/ChurnLib.sol";
import {DigestLib} from "./lib/DigestLib.sol";
import {DrawLib} from "./lib/DrawLib.sol";
import {Pricing, PricingLib} from "./lib/PricingLib.sol";
import {FrozenSet, SetLib} from "./lib/SetLib.sol";
import {SettledLib} from "./lib/SettledLib.sol";
import {Addresses, Params} from "./types/Params.sol";

/// @title What settled batches earned and who missed a turn
/// @notice See {ITally}. Doing this in `settle` would cost 10,000 gas a batch.
contract Tally is ITally, Deployment, SigningDomain {
    /// How far the tally is, and the turn that is not over yet. Batches of one turn follow each other; the turn is counted
    /// once a batch of another one is tallied.
    struct Cursor {
        /// The last batch tallied, the epoch and the generation that attested it, and its timestamp; zero if that is not known.
        uint32 number;
        uint32 epoch;
        uint16 lastGeneration;
        uint40 timestamp;
        /// Epoch in which the last batch of the turn settled.
        uint32 settledEpoch;
        /// One above the epoch in which few batches were last tallied for a whole refund.
        uint32 refundedEpoch;
        /// Somebody else settled a batch of the turn too late for its leader to have been there in time.
        bool missed;
        /// Its leader settled a batch of the turn.
        bool posted;
        /// The last batch tallied was regular.
        bool regular;
        /// Zero if no turn is open.
        address leader;
        uint64 turn;
        uint32 generation;
    }

    /// What is booked at once: batches in a row of one poster and one attesting epoch, all regular or none.
    struct Run {
        address poster;
        bool any;
        bool regular;
        uint32 generation;
        uint64 epoch;
        uint64 last;
        /// Refunds and margins.
        uint256 dueWei;
        /// Seconds of the chain for which the run pays its signers, and for which the epoch can still pay.
        uint256 counted;
        uint256 room;
        FrozenSet set;
        Lanes attended;
    }

    /// Participation in what an epoch attested: for how many seconds of the chain its signers are paid, the sum over members
    /// of weight times seconds attested, and 20 bits of seconds for each member.
    struct Participation {
        uint64 counted;
        uint192 signedWeight;
        uint256[11] lanes;
    }

    uint256 private constant MAX_EPOCHS = 256;
    /// Who tallies so many batches is refunded as a whole.
    uint256 private constant WHOLE_TALLY = 16;
    /// Calldata of {tally} around its batches, and of one of them.
    uint256 private constant TALLY_BYTES = 100;
    uint256 private constant SETTLED_BYTES = 26 * 32;
    /// Bytes of a batch that are not zero at the least: six hashes in which nobody found more than a few.
    uint256 private constant SETTLED_NONZERO = 180;

    IBatchInbox private immutable INBOX;
    IForcedInbox private immutable FORCED;
    IRota private immutable ROTA;
    ISequencerRegistry private immutable REGISTRY;
    IRewardPool private immutable REWARD_POOL;
    uint64 private immutable GENESIS;
    uint64 private immutable EPOCH_SECONDS;
    uint64 private immutable MAX_EPOCH_LAG;
    uint64 private immutable TURN_LENGTH;
    uint64 private immutable TAKEOVER_SECONDS;
    uint256 private immutable MIN_MEMBERS;
    uint256 private immutable SIGNERS_SECOND_WEI;
    uint64 private immutable MAX_BATCH_AGE_SECONDS;
    Pricing private immutable PRICING;

    Cursor private _cursor;

    mapping(uint32 generation => mapping(uint64 epoch => Participation)) private _participation;

    /// Turns and missed turns, 16 bits each, of eight epochs in a word.
    mapping(uint32 sequencer => mapping(uint64 epochsOfEight => uint256 counts)) private _turns;

    /// ETH set aside for the senders of what came late with a batch.
    mapping(uint64 batch => uint256 ethWei) private _compensation;

    /// Bit i: entry 256·word + i was compensated.
    mapping(uint64 word => uint256 bits) private _compensated;

    constructor(Params memory p, Addresses memory addresses)
        Deployment(p, addresses, addresses.tally)
        SigningDomain(addresses.settlement)
    {
        INBOX = IBatchInbox(addresses.settlement);
        FORCED = IForcedInbox(addresses.settlement);
        ROTA = IRota(addresses.settlement);
        REGISTRY = ISequencerRegistry(addresses.registry);
        REWARD_POOL = IRewardPool(addresses.rewardPool);
        GENESIS = p.genesis;
        EPOCH_SECONDS = p.epochSeconds;
        MAX_EPOCH_LAG = p.maxEpochLag;
        TURN_LENGTH = p.turnLength;
        TAKEOVER_SECONDS = p.takeoverSeconds;
        MIN_MEMBERS = p.minMembers;
        SIGNERS_SECOND_WEI = p.signersSecondWei;
        MAX_BATCH_AGE_SECONDS = p.maxBatchAgeSeconds;
        PRICING = PricingLib.pack(p);
    }

    /* TALLYING */

    /// @inheritdoc ITally
    function tally(uint64 first, Settled[] calldata batches) external {
        uint256 gasAtStart = gasleft();
        uint64 expected = nextTally();

        require(batches.length != 0, NothingToTally());
        require(first <= expected && expected - first < batches.length, TallyNotNext(expected, first));

        // Somebody was faster with some of them: the rest is booked all the same, so that one batch does not undo twenty.
        batches = batches[expected - first:];
        bool whole = _tally(expected, batches);

        uint256 size = TALLY_BYTES + SETTLED_BYTES * batches.length;
        uint256 spent = gasAtStart - gasleft();
        uint256 sixteenths = whole ? WHOLE_TALLY : batches.length;
        REWARD_POOL.creditDuty(msg.sender, spent, size, SETTLED_NONZERO * batches.length, sixteenths);
    }

    /// @return whole Whether the work is refunded as a whole.
    function _tally(uint64 first, Settled[] calldata batches) private returns (bool whole) {
        Cursor memory cursor = _cursor;
        // A batch that lapsed may have been the one that its leader settled, or irregular: the open turn blames nobody, nor
        // does the next batch. Nor is anybody paid for the time up to it.
        if (first != cursor.number + 1) {
            (cursor.leader, cursor.regular, cursor.timestamp) = (address(0), false, 0);
        } else if (first == 1) {
            // Casting is safe: times fit into 40 bits.
            (cursor.regular, cursor.timestamp) = (true, uint40(GENESIS));
        }
        whole = _isWhole(cursor, batches.length);

        Run memory run;
        for (uint256 i = 0; i < batches.length; ++i) {
            Settled calldata batch = batches[i];
            // Casting is safe: a transaction holds far fewer batches than 2^64.
            uint64 number = first + uint64(i);
            _requireInRing(number, batch);

            if (
                !run.any || run.epoch != batch.header.epoch || run.generation != batch.header.generation
                    || run.poster != batch.poster || run.regular != _isRegular(batch)
            ) {
                if (run.any) _book(run);
                run = _startRun(batch);
            }
            run.last = number;
            uint256 added = _secondsOf(cursor, batch);
            if (batch.late) {
                _setAside(number, batch, run.set, added);
            } else {
                run.dueWei += _dueOf(batch, run.set, added);
                _attend(run, batch.signers, added);
            }
            if (run.regular) _watchTurn(cursor, run.set, batch);
            // Casting is safe: {TipLib} has numbers of 30 bits, epochs of 28, times of 34, generations of 12.
            cursor.number = uint32(number);
            cursor.epoch = uint32(batch.header.epoch);
            cursor.lastGeneration = uint16(batch.header.generation);
            cursor.timestamp = uint40(batch.header.timestamp);
            cursor.regular = run.regular;
        }
        _cursor = cursor;
        emit Tallied(first, cursor.number);

        _book(run);
    }

    /// @dev What a call costs whatever it does would else be paid, with a margin, for as many calls as there are batches: who
    /// tallies few is refunded by their number. But once in an epoch all of it, as a quiet epoch has to be closed, too.
    function _isWhole(Cursor memory cursor, uint256 batches) private view returns (bool) {
        if (batches >= WHOLE_TALLY) return true;
        // Casting is safe: epochs have 28 bits.
        uint32 next = uint32(_epochAt(block.timestamp)) + 1;
        if (cursor.refundedEpoch == next) return false;
        cursor.refundedEpoch = next;
        return true;
    }

    function _requireInRing(uint64 number, Settled calldata batch) private view {
        bytes32 expected = INBOX.ringValue(number);
        bytes32 actual = SettledLib.ringValue(batch, domainSeparator());
        require(actual == expected, RingValueMismatch(number, expected, actual));
    }

    /* REWARDS */

    /// @dev Seconds of the chain that the batch adds, wherever it is cut: those of all batches add up to the chain's own. What
    /// stands as the settlement before the first batch of a generation is the call that began it, the first seal of all or the
    /// end of a restart: before, there was no chain to keep.
    function _secondsOf(Cursor memory cursor, Settled calldata batch) private pure returns (uint256) {
        uint256 from = cursor.timestamp;
        if (from == 0) return 0;
        if (cursor.number == 0 || batch.header.generation != cursor.lastGeneration) {
            if (batch.parentSettledAt > from) from = batch.parentSettledAt;
        }
        return batch.header.timestamp > from ? batch.header.timestamp - from : 0;
    }

    /// @dev What its poster is due: the refund and, if the batch is regular, a margin that grows with the share of the members
    /// whose signatures it has. Where an irregular one is cut is anybody's choice, so its refund grows with the time that it
    /// adds, up to that of a batch at full load: whatever is cut, a second of the chain costs the pool no more.
    function _dueOf(Settled calldata batch, FrozenSet set, uint256 added) private view returns (uint256) {
        uint256 refundWei = batch.refundWei;
        if (_isRegular(batch)) {
            uint256 signatures = CertificateLib.countSigners(batch.signers);
            return refundWei + PRICING.marginOfBatch(refundWei, signatures, batch.baseFeeWei) * signatures / set.count();
        }
        return added < MAX_BATCH_AGE_SECONDS ? refundWei * added / MAX_BATCH_AGE_SECONDS : refundWei;
    }

    /// @dev For as many seconds as the epoch still has room for; beyond, nobody is paid.
    function _attend(Run memory run, uint128 signers, uint256 added) private pure {
        uint256 counted = added < run.room ? added : run.room;
        run.room -= counted;
        run.counted += counted;
        run.attended.add(signers, counted);
    }

    function _isRegular(Settled calldata batch) private pure returns (bool) {
        return batch.header.regularSince != 0;
    }

    function _startRun(Settled calldata batch) private view returns (Run memory run) {
        run.any = true;
        run.poster = batch.poster;
        run.regular = _isRegular(batch);
        run.generation = batch.header.generation;
        run.epoch = batch.header.epoch;
        run.room = AttendanceLib.MAX_SECONDS - _participation[run.generation][run.epoch].counted;
        run.set = _setOf(batch.header.generation, batch.header.epoch);
    }

    /// @dev Participation first, then what is due for it.
    function _book(Run memory run) private {
        if (run.dueWei != 0) REWARD_POOL.creditPoster(run.poster, run.last, run.dueWei);
        if (run.counted == 0) return;

        uint256 signedWeight = AttendanceLib.signedWeight(run.attended, run.set);
        Participation storage participation = _participation[run.generation][run.epoch];
        // Casting is safe: 20 bits of seconds times 128 weights of 56 bits have fewer than 84 bits.
        participation.counted += uint64(run.counted);
        participation.signedWeight += uint192(signedWeight);
        AttendanceLib.addTo(run.attended, participation.lanes, run.set.count());
        REWARD_POOL.reserve(run.generation, run.epoch, run.last, SIGNERS_SECOND_WEI * signedWeight / run.set.total());
    }

    /* COMPENSATION */

    /// @dev What a late batch would have earned in ETH, up to what its late entries burned.
    function _setAside(uint64 number, Settled calldata batch, FrozenSet set, uint256 added) private {
        uint256 feesWei = FORCED.lateEntries(number).feesWei;
        if (feesWei == 0) return;

        uint256 earnedWei = _dueOf(batch, set, added);
        if (earnedWei > feesWei) earnedWei = feesWei;
        if (earnedWei == 0) return;
        _compensation[number] = earnedWei;
        REWARD_POOL.reserveForSenders(number, earnedWei);
    }

    /// @inheritdoc ITally
    function compensate(uint64 batch, uint64 index, uint64 rollup, address sender, bytes32 transactionHash)
        external
        returns (uint256 amountWei)
    {
        LateEntries memory late = FORCED.lateEntries(batch);
        uint256 compensated = _compensated[index / 256];
        uint256 bit = 1 << (index % 256);

        require(index >= late.first && index < late.through, EntryNotLate(batch, index));
        require(compensated & bit == 0, AlreadyCompensated(index));
        uint256 feeWei = _requireEnqueued(index, rollup, sender, transactionHash);
        uint256 wholeWei = _compensation[batch];
        require(wholeWei != 0, NothingToCompensate(batch));

        // All parts together are at most the whole: the fees are parts of their sum, and each part is rounded down.
        amountWei = wholeWei * feeWei / late.feesWei;
        _compensated[index / 256] = compensated | bit;

        REWARD_POOL.creditSender(sender, index, amountWei);
    }

    /// @dev The chain of hashes stands for what the queue does not keep: rollup, sender and transaction.
    function _requireEnqueued(uint64 index, uint64 rollup, address sender, bytes32 transactionHash)
        private
        view
        returns (uint256 feeWei)
    {
        ForcedEntry memory entry = FORCED.forcedEntry(index);
        bytes32 hashBefore = index == 0 ? bytes32(0) : FORCED.forcedEntry(index - 1).chainHash;
        bytes32 actual = keccak256(abi.encode(hashBefore, index, rollup, sender, transactionHash));
        require(actual == entry.chainHash, ChainHashMismatch(index, entry.chainHash, actual));
        return entry.feeWei;
    }

    /* BLAME */

    /// @dev R29, of a regular batch: others are nobody's turn. Turns are kept apart by their leader too: when a turn's batches
    /// were attested by two sets, each leader answers for its own.
    function _watchTurn(Cursor memory cursor, FrozenSet set, Settled calldata batch) private {
        uint64 turn = batch.header.lastHeight / TURN_LENGTH;
        if (
            cursor.leader == address(0) || turn != cursor.turn || batch.header.epoch != cursor.epoch
                || batch.header.generation != cursor.generation || !cursor.regular
        ) {
            address leader = SetLib.signerOf(set.memberAt(DrawLib.draw0(set, turn)));
            if (leader != cursor.leader || turn != cursor.turn || batch.header.generation != cursor.generation) {
                if (cursor.leader != address(0)) _closeTurn(cursor);
                cursor.leader = leader;
                cursor.turn = turn;
                cursor.generation = batch.header.generation;
                cursor.missed = false;
                cursor.posted = false;
            }
        }

        // Casting is safe: epochs have 28 bits.
        cursor.settledEpoch = uint32(_epochAt(batch.settledAt));
        if (batch.led) {
            cursor.posted = true;
        } else if (cursor.regular) {
            // Behind an irregular one the leader had to have its batch signed anew.
            uint64 ready = batch.header.regularSince;
            if (batch.parentSettledAt > ready) ready = batch.parentSettledAt;
            if (batch.settledAt >= ready + TAKEOVER_SECONDS && batch.header.epoch <= _epochAt(batch.header.timestamp)) {
                cursor.missed = true;
            }
        }
    }

    function _closeTurn(Cursor memory cursor) private {
        bool missed = cursor.missed && !cursor.posted;
        uint32 id = REGISTRY.idOf(cursor.leader);
        uint64 group = cursor.settledEpoch / 8;
        uint256 shift = (cursor.settledEpoch % 8) * 32;
        uint256 counts = _turns[id][group];

        // 65,535 turns in an epoch are never reached (a turn takes at least two L1 blocks); beyond, none is counted.
        if ((counts >> shift) & type(uint16).max != type(uint16).max) {
            _turns[id][group] = counts + (uint256(missed ? 0x10001 : 1) << shift);
        }

        if (missed) emit TurnMissed(cursor.generation, cursor.turn, cursor.leader, cursor.settledEpoch);
    }

    /* READING */

    /// @inheritdoc ITally
    function nextTally() public view returns (uint64) {
        (uint64 first,) = INBOX.ringRange();
        uint64 next = _cursor.number + 1;
        return next > first ? next : first;
    }

    /// @inheritdoc ITally
    function attendance(uint32 generation, uint64 epoch, uint256 index) external view returns (Attendance memory) {
        return _attendance(_setOf(generation, epoch), _participation[generation][epoch], index, isClosed(epoch));
    }

    /// @inheritdoc ITally
    function attendances(uint32 generation, uint64 epoch) external view returns (Attendance[] memory all) {
        FrozenSet set = _setOf(generation, epoch);
        Participation storage participation = _participation[generation][epoch];
        bool closed = isClosed(epoch);

        all = new Attendance[](set.count());
        for (uint256 i = 0; i < all.length; ++i) {
            all[i] = _attendance(set, participation, i, closed);
        }
    }

    function _attendance(FrozenSet set, Participation storage participation, uint256 index, bool closed)
        private
        view
        returns (Attendance memory)
    {
        (address signer, uint64 weight) = set.member(index);
        return Attendance({
            signer: signer,
            weight: weight,
            attended: AttendanceLib.secondsOf(participation.lanes, index),
            signedWeight: participation.signedWeight,
            closed: closed
        });
    }

    /// @inheritdoc ITally
    function turnsOf(uint32 sequencer, uint64 epoch) external view returns (uint256 turns, uint256 missed) {
        uint256 counts = _turns[sequencer][epoch / 8] >> ((epoch % 8) * 32);
        return (counts & type(uint16).max, (counts >> 16) & type(uint16).max);
    }

    /// @inheritdoc ITally
    function compensation(uint64 batch) external view returns (uint256 amountWei) {
        return _compensation[batch];
    }

    /// @inheritdoc ITally
    function turnsBetween(uint32 sequencer, uint64 first, uint64 last)
        external
        view
        returns (uint256 turns, uint256 missed)
    {
        if (first > last) return (0, 0);
        uint256 epochs = uint256(last) - first + 1;
        require(epochs <= MAX_EPOCHS, TooManyEpochs(MAX_EPOCHS, epochs));

        uint256 counts;
        for (uint256 epoch = first; epoch <= last; ++epoch) {
            if (epoch == first || epoch % 8 == 0) counts = _turns[sequencer][uint64(epoch / 8)];
            uint256 lane = counts >> ((epoch % 8) * 32);
            turns += lane & type(uint16).max;
            missed += (lane >> 16) & type(uint16).max;
        }
    }

    /// @inheritdoc ITally
    /// @dev Attesting epochs never go back along the chain, and a batch cannot name one that lags further than R22 allows.
    function isClosed(uint64 epoch) public view returns (bool) {
        if (!_isLagOver(epoch)) return false;
        (, uint64 last) = INBOX.ringRange();
        return _cursor.epoch > epoch || nextTally() > last;
    }

    /// @inheritdoc ITally
    /// @dev What is not tallied was attested by the epoch of the last batch tallied or a later one.
    function isBehind() external view returns (bool) {
        (, uint64 last) = INBOX.ringRange();
        return nextTally() <= last && _isLagOver(_cursor.epoch);
    }

    /// @inheritdoc ITally
    /// @dev Before the first set, and under an empty one, there is only what the next would be; as long as it would have too few
    /// members, nobody is kept out.
    function churnLimit(uint64 aliveSince) external view returns (uint64) {
        try ROTA.setOf(ROTA.generation(), ROTA.epochAt(uint64(block.timestamp))) returns (
            address pointer, uint64, bytes32
        ) {
            FrozenSet set = SetLib.load(pointer);
            if (set.count() != 0) return ChurnLib.limitOf(ChurnLib.wordsOf(set));
        } catch {}
        uint256[] memory words = REGISTRY.membersAtEpochStart(aliveSince);
        return words.length < MIN_MEMBERS ? ChurnLib.UNLIMITED : ChurnLib.limitOf(words);
    }

    function _isLagOver(uint64 epoch) private view returns (bool) {
        return block.timestamp >= GENESIS + (uint256(epoch) + MAX_EPOCH_LAG + 1) * EPOCH_SECONDS;
    }

    function _setOf(uint32 generation, uint64 epoch) private view returns (FrozenSet) {
        (address pointer,, bytes32 seed) = ROTA.setOf(generation, epoch);
        return SetLib.load(SetLib.record(pointer, seed));
    }

    /// @dev {ICalendar.epochAt} without a call, of a time that is not before genesis.
    function _epochAt(uint256 time) private view returns (uint64) {
        // Casting is safe: times fit into 64 bits.
        return (uint64(time) - GENESIS) / EPOCH_SECONDS;
    }
}
