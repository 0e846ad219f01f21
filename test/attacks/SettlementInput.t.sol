// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IBatchInbox, Submission} from "../../contracts/interfaces/IBatchInbox.sol";
import {BatchHeader, Signature} from "../../contracts/types/Wire.sol";
import {Chain} from "../utils/Chain.sol";

/// Which forms of `settleMany`'s input settle: those that a decoder with unsigned offsets reads
/// ├── given the leader of the turn, or a stranger after five takeovers
/// │   ├── when the submission stands in front of the array: it reverts
/// │   ├── when the signatures stand in front of the submission: it reverts
/// │   └── when the payload does: it reverts
/// ├── when the second submission is the one that points back: it reverts, and none settles
/// ├── when the signatures or the payload stand inside their submission's head: it reverts
/// ├── when an empty payload stands in front of the input itself: it reverts
/// ├── when the payload stands in front of its signatures, or lies over them: it reverts
/// ├── when it lies over the submission after, or shares its payload: it reverts
/// └── when parts stand further back than they have to: it settles
contract SettlementInputAttacks is Chain {
    uint256 private constant HEAD_BYTES = 19 * 32;
    /// Where the array's heads end if nothing stands in front of the array: selector, offset, length, one offset.
    uint256 private constant FIRST = 4 + 3 * 32;

    BatchHeader private _header;

    function setUp() external {
        _begin(4);
        _header = _nextHeader(8);
    }

    function test_attack108_submissionInFrontOfTheArray() external {
        bytes memory tail = _whole(_header);
        uint256 size = tail.length;
        bytes memory input = _input(32 + size, tail, _words(1, _minus(size + 32)), "");
        _expectRefusedByAll(input, 0, 4 + 32 + size + 64, 4 + 32);
    }

    function test_attack108_signaturesInFrontOfTheSubmission() external {
        (bytes memory head, bytes memory signatures, bytes memory payload) = _parts(_header);
        uint256 s = signatures.length;
        bytes memory submission = bytes.concat(_withOffsets(head, _minus(s + 64), HEAD_BYTES), payload);
        bytes memory input = _input(32 + s, signatures, _words(1, 32), submission);
        _expectRefusedByAll(input, 0, FIRST + s + HEAD_BYTES + 32, 4 + 32 + 32);
    }

    function test_attack108_payloadInFrontOfTheSubmission() external {
        (bytes memory head, bytes memory signatures, bytes memory payload) = _parts(_header);
        uint256 s = payload.length;
        bytes memory submission = bytes.concat(_withOffsets(head, HEAD_BYTES, _minus(s + 64)), signatures);
        bytes memory input = _input(32 + s, payload, _words(1, 32), submission);
        _expectRefusedByAll(input, 0, FIRST + s + HEAD_BYTES + signatures.length + 32, 4 + 32 + 32);
    }

    function test_attack108_secondSubmissionPointsBack() external {
        BatchHeader memory second = _nextHeader(16);
        second.firstHeight = 9;
        second.parentBlockHash = _header.lastBlockHash;
        bytes memory tail = _whole(second);
        bytes memory array = bytes.concat(_words(2, 64), bytes32(_minus(tail.length + 32)));
        bytes memory input = _input(32 + tail.length, tail, array, _whole(_header));
        // The first one stands as it should, and settles until the second one undoes it.
        bytes memory first = _whole(_header);
        uint256 padding = (32 - PAYLOAD.length % 32) % 32;
        _expectRefused(_leader(_header), input, 1, FIRST + tail.length + 32 + first.length - padding, 4 + 32);
        assertEq(settlement.tip().number, 0);
    }

    function test_attack108_signaturesInsideTheHead() external {
        (bytes memory head, bytes memory signatures, bytes memory payload) = _parts(_header);
        bytes memory submission =
            bytes.concat(_withOffsets(head, HEAD_BYTES - 32, HEAD_BYTES + signatures.length), signatures, payload);
        // The length is read where the offset of the payload stands; the array ends within the input.
        submission = bytes.concat(submission, new bytes(64 * (HEAD_BYTES + signatures.length)));
        bytes memory input = _input(32, "", _words(1, 32), submission);
        _expectRefused(_leader(_header), input, 0, FIRST + HEAD_BYTES + 32, FIRST + HEAD_BYTES);
    }

    function test_attack108_payloadInsideTheHead() external {
        (bytes memory head, bytes memory signatures,) = _parts(_header);
        // Word 12 of the header is zero here: the hash of blobs. As a length it makes the payload empty.
        bytes memory submission = bytes.concat(_withOffsets(head, HEAD_BYTES, 12 * 32), signatures);
        bytes memory input = _input(32, "", _words(1, 32), submission);
        _expectRefused(_leader(_header), input, 0, FIRST + HEAD_BYTES + signatures.length + 32, FIRST + 13 * 32);
    }

    /// In front of byte 0 everything is zero, so the payload is empty; a quorum may have signed that.
    function test_attack108_emptyPayloadInFrontOfTheInput() external {
        _header.payloadHash = keccak256("");
        (bytes memory head, bytes memory signatures,) = _parts(_header);
        uint256 far = _minus(1 << 200);
        bytes memory submission = bytes.concat(_withOffsets(head, HEAD_BYTES, far), signatures);
        bytes memory input = _input(32, "", _words(1, 32), submission);
        uint256 at;
        unchecked {
            at = FIRST + far + 32;
        }
        _expectRefusedByAll(input, 0, FIRST + HEAD_BYTES + signatures.length + 32, at);
    }

    /// Each of them would be refunded as if it had been sent for itself.
    function test_attack145_twoBatchesOfOnePayload() external {
        BatchHeader memory second = _nextHeader(16);
        second.firstHeight = 9;
        second.parentBlockHash = _header.lastBlockHash;
        (bytes memory head, bytes memory signatures, bytes memory payload) = _parts(_header);
        // The first one's payload is the second one's.
        bytes memory tail = _whole(second);
        uint256 size = HEAD_BYTES + signatures.length;
        uint256 shared = size + tail.length - payload.length;
        bytes memory first = bytes.concat(_withOffsets(head, HEAD_BYTES, shared), signatures);
        bytes memory array = bytes.concat(_words(2, 64), bytes32(64 + size));
        bytes memory input = _input(32, "", array, bytes.concat(first, tail));
        uint256 end = 4 + 4 * 32 + shared + 32 + PAYLOAD.length;
        _expectRefused(_leader(_header), input, 1, end, 4 + 4 * 32 + size);
        assertEq(settlement.tip().number, 0);
    }

    function test_attack145_aPayloadOfSignatures() external {
        (bytes memory head, bytes memory signatures,) = _parts(_header);
        // The number of signatures is its length.
        bytes memory submission = bytes.concat(_withOffsets(head, HEAD_BYTES, HEAD_BYTES), signatures);
        bytes memory input = _input(32, "", _words(1, 32), submission);
        uint256 end = FIRST + HEAD_BYTES + signatures.length + 32;
        _expectRefused(_leader(_header), input, 0, end, FIRST + HEAD_BYTES + 32);

        // Alone, too.
        input = bytes.concat(IBatchInbox.settle.selector, submission);
        _expectRefused(_leader(_header), input, 0, 4 + HEAD_BYTES + signatures.length + 32, 4 + HEAD_BYTES + 32);
    }

    function test_attack145_signaturesInsideTheHeadOfOneAlone() external {
        (bytes memory head,, bytes memory payload) = _parts(_header);
        // Word 12 of the header is zero here: as a length it makes no signatures.
        bytes memory input = bytes.concat(IBatchInbox.settle.selector, _withOffsets(head, 12 * 32, HEAD_BYTES), payload);
        _expectRefused(_leader(_header), input, 0, 4 + HEAD_BYTES + 32, 4 + 13 * 32);
    }

    /// No member signs that way and no agent posts it, but it can be read.
    function testFuzz_gapsInFrontOfEachPartChangeNothing(uint8 first, uint8 second, uint8 third) external {
        (bytes memory head, bytes memory signatures, bytes memory payload) = _parts(_header);
        uint256 at = HEAD_BYTES + second;
        head = _withOffsets(head, at, at + signatures.length + third);
        bytes memory submission = bytes.concat(new bytes(first), head, new bytes(second), signatures);
        submission = bytes.concat(submission, new bytes(third), payload);

        _expectSettled(_input(32, "", _words(1, 32 + uint256(first)), submission));
    }

    function test_attack145_aPayloadInFrontOfItsSignatures() external {
        (bytes memory head, bytes memory signatures, bytes memory payload) = _parts(_header);
        head = _withOffsets(head, HEAD_BYTES + payload.length, HEAD_BYTES);
        bytes memory input = _input(32, "", _words(1, 32), bytes.concat(head, payload, signatures));
        uint256 end = FIRST + HEAD_BYTES + payload.length + signatures.length + 32;
        _expectRefused(_leader(_header), input, 0, end, FIRST + HEAD_BYTES + 32);
    }

    /* PARTS */

    /// @dev The head of `header`'s submission without offsets, and its tails with their lengths.
    function _parts(BatchHeader memory header)
        private
        view
        returns (bytes memory head, bytes memory signatures, bytes memory payload)
    {
        uint128 signers = _quorum(header.epoch);
        Signature[] memory signed = _attest(header, signers);
        head = abi.encode(header, signers);
        signatures = _dynamic(abi.encode(signed));
        payload = header.payloadHash == keccak256("") ? bytes("") : _dynamic(abi.encode(PAYLOAD));
        assertEq(head.length, HEAD_BYTES - 64);
    }

    /// @dev A submission as encoders write it.
    function _whole(BatchHeader memory header) private view returns (bytes memory) {
        (bytes memory head, bytes memory signatures, bytes memory payload) = _parts(header);
        return bytes.concat(_withOffsets(head, HEAD_BYTES, HEAD_BYTES + signatures.length), signatures, payload);
    }

    /// @dev What stands behind the offset of one dynamic value.
    function _dynamic(bytes memory encoded) private pure returns (bytes memory tail) {
        tail = new bytes(encoded.length - 32);
        for (uint256 i = 0; i < tail.length; ++i) {
            tail[i] = encoded[i + 32];
        }
    }

    function _withOffsets(bytes memory head, uint256 signatures, uint256 payload) private pure returns (bytes memory) {
        return bytes.concat(head, _words(signatures, payload));
    }

    function _words(uint256 a, uint256 b) private pure returns (bytes memory) {
        return abi.encode(a, b);
    }

    function _minus(uint256 bytes_) private pure returns (uint256) {
        return type(uint256).max - bytes_ + 1;
    }

    /// @dev `offset` is that of the array, whose length and only offset are in `array`.
    function _input(uint256 offset, bytes memory before, bytes memory array, bytes memory behind)
        private
        pure
        returns (bytes memory)
    {
        return bytes.concat(IBatchInbox.settleMany.selector, bytes32(offset), before, array, behind);
    }

    function _send(address poster, bytes memory input) private returns (bool done, bytes memory answer) {
        vm.prank(poster, poster);
        (done, answer) = address(settlement).call(input);
    }

    function _expectSettled(bytes memory input) private {
        (bool done,) = _send(_leader(_header), input);
        assertTrue(done);
        assertEq(settlement.tip().lastHeight, 8);
    }

    function _expectRefused(address poster, bytes memory input, uint256 index, uint256 minimum, uint256 actual)
        private
    {
        (bool done, bytes memory answer) = _send(poster, input);
        assertFalse(done);
        assertEq(answer, abi.encodeWithSelector(IBatchInbox.InputPointsBack.selector, index, minimum, actual));
    }

    function _expectRefusedByAll(bytes memory input, uint256 index, uint256 minimum, uint256 actual) private {
        _expectRefused(_leader(_header), input, index, minimum, actual);
        _advance(5 * p.takeoverSeconds);
        _expectRefused(makeAddr("stranger"), input, index, minimum, actual);
        assertEq(settlement.tip().number, 0);
    }
}
