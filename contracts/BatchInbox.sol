// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Calendar} from "./Calendar.sol";
import {SigningDomain} from "./SigningDomain.sol";
import {IBatchInbox, Submission, Tip} from "./interfaces/IBatchInbox.sol";
import {CertificateLib} from "./lib/CertificateLib.sol";
import {DigestLib} from "./lib/DigestLib.sol";
import {DrawLib} from "./lib/DrawLib.sol";
import {PayloadLib} from "./lib/PayloadLib.sol";
import {Pricing, PricingLib} from "./lib/PricingLib.sol";
import {Bill, RefundLib} from "./lib/RefundLib.sol";
import {FrozenSet, SetLib} from "./lib/SetLib.sol";
import {TipLib, TipWord} from "./lib/TipLib.sol";
import {Addresses, Params} from "./types/Params.sol";
import {BatchHeader, Signature} from "./types/Wire.sol";

/// @title The settled chain
/// @notice See {IBatchInbox}. A batch is judged completely when it settles; nothing judges it again. What is booked for
/// it afterwards (see {Tally}) changes neither the chain nor who may extend it.
abstract contract BatchInbox is IBatchInbox, Calendar, SigningDomain {
    uint64 private constant MAX_BLOCKS = 1 << 14;
    /// After so many takeover times anyone may post.
    uint64 private constant TAKEOVERS_UNTIL_OPEN = 5;
    /// What stands of a {Submission} in its place: 16 words of header, the bitmap, and two offsets.
    uint256 private constant SUBMISSION_HEAD_BYTES = 19 * 32;
    uint256 private constant SIGNATURE_BYTES = 64;

    uint64 private immutable TURN_LENGTH;
    uint64 private immutable TAKEOVER_SECONDS;
    uint64 private immutable MAX_EPOCH_LAG;
    uint64 private immutable RING_SIZE;
    uint64 private immutable DRIFT_SECONDS;
    Pricing private immutable PRICING;

    /// Slot `number % RING_SIZE` belongs to the newest batch of that remainder.
    mapping(uint64 slot => bytes32 value) private _ring;

    constructor(Params memory p, Addresses memory addresses)
        Calendar(p, addresses)
        SigningDomain(addresses.settlement)
    {
        TURN_LENGTH = p.turnLength;
        TAKEOVER_SECONDS = p.takeoverSeconds;
        MAX_EPOCH_LAG = p.maxEpochLag;
        RING_SIZE = p.ringSize;
        DRIFT_SECONDS = p.driftSeconds;
        PRICING = PricingLib.pack(p);
    }

    /* SETTLING */

    /// @inheritdoc IBatchInbox
    function settle(
        BatchHeader calldata header,
        uint128 signers,
        Signature[] calldata signatures,
        bytes calldata payload
    ) external {
        Bill memory bill;
        bill.gasAtStart = gasleft();
        _requireDirectCall();
        // As {_requireApart}, which says what is wrong: of offsets that are no nested ones the compiler has looked at the ends.
        bool isApart;
        assembly ("memory-safe") {
            let signaturesEnd := add(signatures.offset, shl(6, signatures.length))
            isApart := iszero(or(lt(signatures.offset, 644), lt(payload.offset, add(signaturesEnd, 32))))
        }
        if (!isApart) _requireApart(0, 4 + SUBMISSION_HEAD_BYTES + 32, signatures, payload);
        _settle(header, signers, signatures, payload, bill);
    }

    /// @inheritdoc IBatchInbox
    function settleMany(Submission[] calldata submissions) external {
        Bill memory bill;
        bill.gasAtStart = gasleft();
        _requireDirectCall();
        require(submissions.length != 0, NothingToSettle());

        // Where the submission after may begin.
        uint256 end;
        assembly ("memory-safe") {
            end := add(submissions.offset, shl(5, submissions.length))
        }
        for (uint256 i = 0; i < submissions.length; ++i) {
            Submission calldata submission = submissions[i];
            uint256 at;
            assembly ("memory-safe") {
                at := submission
            }
            // Wraps around for what points back, to above any input.
            unchecked {
                require(at - end <= msg.data.length, InputPointsBack(i, end, at));
            }
            Signature[] calldata signatures = submission.signatures;
            bytes calldata payload = submission.payload;
            end = _requireApart(i, at + SUBMISSION_HEAD_BYTES + 32, signatures, payload);
            _settle(submission.header, submission.signers, signatures, payload, bill);
        }
    }

    /// @dev Solidity takes the offsets of what is nested in calldata as signed, and adds them without looking: they may
    /// point back, in front of what they belong to. ABI decoders elsewhere refuse that, so that a batch would settle
    /// which nobody can read. And whatever lies over something else is calldata that is refunded twice. Here everything stands
    /// behind what comes before it: submissions behind the heads of the array and each other, the signatures of each behind its
    /// own head, and its payload behind these. Differences are compared, as an offset below zero ends far above any input.
    /// @param bound Where the signatures may begin, behind the word with their number.
    /// @return end Where the payload ends.
    function _requireApart(uint256 index, uint256 bound, Signature[] calldata signatures, bytes calldata payload)
        private
        pure
        returns (uint256 end)
    {
        uint256 signaturesAt;
        uint256 payloadAt;
        assembly ("memory-safe") {
            signaturesAt := signatures.offset
            payloadAt := payload.offset
        }
        // Cannot overflow where it matters: `bound` lies within the input or shortly behind it, what Solidity takes as an array or
        // as bytes ends within it, and what wraps around is above any input.
        unchecked {
            require(signaturesAt - bound <= msg.data.length, InputPointsBack(index, bound, signaturesAt));
            // Behind the word with its length.
            bound = signaturesAt + signatures.length * SIGNATURE_BYTES + 32;
            require(payloadAt - bound <= msg.data.length, InputPointsBack(index, bound, payloadAt));
            return payloadAt + payload.length;
        }
    }

    function _settle(
        BatchHeader calldata header,
        uint128 signers,
        Signature[] calldata signatures,
        bytes calldata payload,
        Bill memory bill
    ) private {
        TipWord before = _tip;

        _requireExtends(header, before);
        _requireTimely(header, before);
        (uint64 consumed, bool late) = _consume(header, before);
        FrozenSet set = _setAt(header.generation, header.epoch);
        bool led = _requirePoster(header, set, before.settledAt());
        _requirePayload(header, payload);
        bytes32 headerHash = batchDigest(header);
        _requireQuorum(set, headerHash, signers, signatures);

        _extend(header, before, consumed, bill);
        uint128 refundWei = _charge(bill, before, headerHash, signatures.length, payload);
        _record(before, headerHash, signers, refundWei, late, led);
    }

    function _requireQuorum(FrozenSet set, bytes32 headerHash, uint128 signers, Signature[] calldata signatures)
        private
        view
    {
        uint256 signed = CertificateLib.signedWeight(set, headerHash, signers, signatures);
        require(3 * signed > 2 * set.total(), QuorumNotReached(set.total(), signed));
    }

    /// @dev What the batch is refunded. The ring's slot is written for the price of that alone, which is another the first
    /// time: {_record} writes it again for next to nothing.
    function _charge(Bill memory bill, TipWord before, bytes32 headerHash, uint256 signatures, bytes calldata payload)
        private
        returns (uint128 refundWei)
    {
        _ring[(before.number() + 1) % RING_SIZE] = headerHash;
        uint256 gas = bill.add(signatures, payload.length, PayloadLib.nonzeroBytes(payload));
        // Casting is safe: somebody pays that much for gas, and has it.
        return uint128(gas * PRICING.priceOf(tx.gasprice, block.basefee));
    }

    /// @dev The batch is the tip from here on. What writing that takes says which prices are in force: the word was read, and
    /// it changes. After the first batch of a transaction it says nothing any more.
    function _extend(BatchHeader calldata header, TipWord before, uint64 consumed, Bill memory bill) private {
        TipWord tip_ = TipLib.pack({
            number_: before.number() + 1,
            lastHeight_: header.lastHeight,
            epoch_: header.epoch,
            timestamp_: header.timestamp,
            l1OriginNumber_: header.l1OriginNumber,
            settledAt_: uint64(block.timestamp),
            forcedThrough_: header.forcedThrough,
            consumed_: consumed,
            generation_: header.generation
        });
        uint256 gasBefore = gasleft();
        _tip = tip_;
        if (bill.charged == 0) bill.list = PRICING.listAt(gasBefore - gasleft());
        _lastBlockHash = header.lastBlockHash;
    }

    /// @dev What {Tally} and derivation find of it later.
    function _record(TipWord before, bytes32 headerHash, uint128 signers, uint128 refundWei, bool late, bool led)
        private
    {
        uint64 number = before.number() + 1;
        _ring[number % RING_SIZE] = keccak256(
            abi.encode(
                headerHash,
                signers,
                msg.sender,
                block.timestamp,
                before.settledAt(),
                block.basefee,
                block.blobbasefee,
                refundWei,
                uint256(0),
                late,
                led
            )
        );

        emit BatchSettled(number, headerHash, msg.sender, signers, before.settledAt(), refundWei, late, led);
    }

    /// @dev So that the payload is the transaction's input, where derivation looks for it.
    function _requireDirectCall() private view {
        require(msg.sender == tx.origin, CallerNotOrigin(tx.origin, msg.sender));
        require(msg.sender.code.length == 0, CallerHasCode(msg.sender));
    }

    /// @dev The batch is the next one of the settled chain.
    function _requireExtends(BatchHeader calldata header, TipWord before) private view {
        uint64 first = before.lastHeight() + 1;

        require(header.generation == before.generation(), GenerationMismatch(before.generation(), header.generation));
        require(header.firstHeight == first, FirstHeightNotNext(first, header.firstHeight));
        require(
            header.lastHeight >= first && header.lastHeight < first + MAX_BLOCKS,
            LastHeightOutOfRange(first, first + MAX_BLOCKS - 1, header.lastHeight)
        );
        bytes32 parent = _lastBlockHash;
        require(header.parentBlockHash == parent, ParentBlockMismatch(parent, header.parentBlockHash));
        require(header.stateRoot == 0, StateRootNotZero(header.stateRoot));
    }

    /// @dev Epoch, timestamp and origin lie between those of the batch before and what L1 has reached (R22, R26).
    function _requireTimely(BatchHeader calldata header, TipWord before) private view {
        uint64 time = uint64(block.timestamp);
        uint64 running = epochAt(time);
        uint64 oldest = running > MAX_EPOCH_LAG ? running - MAX_EPOCH_LAG : 0;
        if (oldest < before.epoch()) oldest = before.epoch();
        require(header.epoch >= oldest && header.epoch <= running, EpochOutOfRange(oldest, running, header.epoch));
        // A batch of the running epoch finds nobody who could have led it.
        if (header.epoch != running) _requireSomebody(header.generation, running);

        require(
            header.timestamp >= before.timestamp() && header.timestamp <= time + DRIFT_SECONDS,
            TimestampOutOfRange(before.timestamp(), time + DRIFT_SECONDS, header.timestamp)
        );

        require(
            header.l1OriginNumber >= before.l1OriginNumber() && header.l1OriginNumber < block.number,
            OriginOutOfRange(before.l1OriginNumber(), uint64(block.number) - 1, header.l1OriginNumber)
        );
        // Zero once it is more than 256 blocks old; agents and verifiers check older ones.
        bytes32 known = blockhash(header.l1OriginNumber);
        require(known == 0 || known == header.l1OriginHash, OriginHashMismatch(known, header.l1OriginHash));
    }

    /// @dev Nothing settles while the set in force is empty, whatever set a batch names (R5).
    function _requireSomebody(uint32 generation_, uint64 running) private view {
        (bytes32 record,) = _recordOf(generation_, running);
        require(SetLib.pointerOf(record).code.length > SetLib.HEADER_BYTES, EmptySetInForce(running));
    }

    /// @dev Judges what `header` says of the forced queue (R30): how far that is consumed then, and whether the batch is late.
    function _consume(BatchHeader calldata header, TipWord before) internal virtual returns (uint64 consumed, bool late);

    /// @dev Who may post opens step by step with the age of the batch (R28), and whether its leader does is said here once and
    /// for all. The leader under its own key is admitted without a call to another contract.
    function _requirePoster(BatchHeader calldata header, FrozenSet set, uint64 settledAt)
        private
        view
        returns (bool led)
    {
        uint64 since = header.regularSince;
        uint64 time = uint64(block.timestamp);
        if (since != 0) {
            uint64 latest = time + DRIFT_SECONDS;
            require(
                since >= header.timestamp && since <= latest, RegularSinceOutOfRange(header.timestamp, latest, since)
            );
        } else {
            // From when nothing regular has settled though anybody could have brought it: nobody is overtaken by this one.
            since = header.timestamp > settledAt ? header.timestamp : settledAt;
        }
        uint64 open = since + TAKEOVERS_UNTIL_OPEN * TAKEOVER_SECONDS;
        require(header.regularSince != 0 || time >= open, IrregularTooEarly(open, time));

        uint64 turn = header.lastHeight / TURN_LENGTH;
        address leader = SetLib.signerOf(set.memberAt(DrawLib.draw0(set, turn)));
        if (_actsFor(leader, msg.sender)) return true;
        if (time >= open) return false;

        bool admitted;
        if (time >= since + 2 * TAKEOVER_SECONDS) {
            admitted = _isMember(set, msg.sender);
        } else if (time >= since + TAKEOVER_SECONDS) {
            admitted = _actsFor(SetLib.signerOf(set.memberAt(DrawLib.draw(set, turn, 1))), msg.sender);
        }
        require(admitted, PosterNotAdmitted(leader, msg.sender, open));
    }

    /// @dev A poster address is one sequencer's alone (R28): its key is looked for in its place, and no member is asked for
    /// its poster. Signers are compared first.
    function _isMember(FrozenSet set, address caller) private view returns (bool) {
        return _isSigner(set, caller) || _isSigner(set, REGISTRY.signerOfPoster(caller));
    }

    function _isSigner(FrozenSet set, address signer) private pure returns (bool) {
        uint256 count = set.count();
        for (uint256 i = 0; i < count; ++i) {
            if (SetLib.signerOf(set.memberAt(i)) == signer) return true;
        }
        return false;
    }

    function _actsFor(address signer, address caller) private view returns (bool) {
        return signer == caller || REGISTRY.posterOf(signer) == caller;
    }

    /// @dev Exactly one form of the payload: calldata, as long as there are no blobs.
    function _requirePayload(BatchHeader calldata header, bytes calldata payload) private pure {
        require(header.blobsHash == 0, BlobsHashNotZero(header.blobsHash));
        bytes32 payloadHash = keccak256(payload);
        require(header.payloadHash == payloadHash, PayloadHashMismatch(payloadHash, header.payloadHash));
    }

    /* READING */

    /// @inheritdoc IBatchInbox
    function tip() external view returns (Tip memory) {
        return _tip.unpack(_lastBlockHash);
    }

    /// @inheritdoc IBatchInbox
    function ringValue(uint64 number) public view returns (bytes32) {
        (uint64 first, uint64 last) = ringRange();
        require(number >= first && number <= last, NotInRing(first, last, number));
        return _ring[number % RING_SIZE];
    }

    /// @inheritdoc IBatchInbox
    function ringRange() public view returns (uint64 first, uint64 last) {
        last = _tip.number();
        first = last > RING_SIZE ? last - RING_SIZE + 1 : 1;
    }

    /// @inheritdoc IBatchInbox
    function batchDigest(BatchHeader calldata header) public view returns (bytes32) {
        return DigestLib.digest(domainSeparator(), DigestLib.structHash(header));
    }

    /// @inheritdoc SigningDomain
    function domainSeparator() public view override(IBatchInbox, SigningDomain) returns (bytes32) {
        return SigningDomain.domainSeparator();
    }
}
