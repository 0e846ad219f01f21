// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Test} from "forge-std/Test.sol";

import {CertificateLib} from "../../contracts/lib/CertificateLib.sol";
import {SetLib} from "../../contracts/lib/SetLib.sol";
import {Signature} from "../../contracts/types/Wire.sol";

/// The library under test, which takes calldata.
contract CertificateSubject {
    function signedWeight(address set, bytes32 digest, uint128 signers, Signature[] calldata signatures)
        external
        view
        returns (uint256)
    {
        return CertificateLib.signedWeight(SetLib.load(set), digest, signers, signatures);
    }

    function plainSignedWeight(address set, bytes32 digest, uint128 signers, Signature[] calldata signatures)
        external
        view
        returns (uint256)
    {
        return CertificateLib.plainSignedWeight(SetLib.load(set), digest, signers, signatures);
    }
}

/// CertificateLib
/// ├── it is what its plain version is, weight or error
/// │   ├── when all is well: the fast loop answers
/// │   ├── over random sets, bitmaps and signatures
/// │   └── over certificates with one thing wrong
/// ├── each way to be wrong has its error
/// └── countSigners counts bits
contract CertificateLibTest is Test {
    uint256 private constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    bytes32 private constant DIGEST = keccak256("digest");

    CertificateSubject private immutable SUBJECT = new CertificateSubject();

    /// @dev Secret keys of the members, in member order.
    uint256[] private _keys;
    address private _set;

    function setUp() external {
        _makeSet(12);
    }

    /* DIFFERENTIAL */

    function testFuzz_fastAgreesWithPlain(uint128 signers, uint8 size, uint8 fault, uint256 seed) external {
        _makeSet(bound(size, 1, 20));
        signers = uint128(bound(signers, 0, (uint256(1) << _keys.length) - 1));
        Signature[] memory signatures = _sign(signers);
        (signers, signatures) = _break(signers, signatures, fault, seed);
        _expectAgreement(signers, signatures);
    }

    function test_fastAgreesWithPlain_overEveryFaultAtEveryPlace() external view {
        for (uint8 fault = 0; fault <= FAULTS; ++fault) {
            for (uint256 seed = 0; seed < 12; ++seed) {
                uint128 signers = 0xfff;
                Signature[] memory signatures = _sign(signers);
                (signers, signatures) = _break(signers, signatures, fault, seed);
                _expectAgreement(signers, signatures);
            }
        }
    }

    function test_fastAgreesWithPlain_inTheLargestSet() external {
        _makeSet(128);
        uint128 signers = type(uint128).max;
        Signature[] memory signatures = _sign(signers);
        _expectAgreement(signers, signatures);
        assertEq(SUBJECT.signedWeight(_set, DIGEST, signers, signatures), 128 * 129 / 2);
    }

    uint8 private constant FAULTS = 9;

    /// @dev A certificate with one thing wrong; fault 0 is none.
    function _break(uint128 signers, Signature[] memory signatures, uint8 fault, uint256 seed)
        private
        view
        returns (uint128, Signature[] memory)
    {
        fault = uint8(bound(fault, 0, FAULTS));
        if (signatures.length == 0) return (signers, signatures);
        uint256 i = seed % signatures.length;
        uint256 vs = uint256(signatures[i].vs);
        if (fault == 1) signatures[i].r = bytes32(seed);
        if (fault == 2) signatures[i].vs = bytes32(vs ^ (1 << 255));
        // The other root of the same signature: valid for `ecrecover`, not in low-s form.
        if (fault == 3) {
            signatures[i].vs = bytes32(((ORDER - (vs & type(uint256).max >> 1)) ^ ((vs >> 255 ^ 1) << 255)));
        }
        if (fault == 4) (signatures[i].r, signatures[i].vs) = (0, 0);
        if (fault == 5) signatures[i] = signatures[(i + 1) % signatures.length];
        if (fault == 6) signers ^= uint128(1) << uint128(seed % 128);
        if (fault == 7) signatures = _resize(signatures, signatures.length - 1);
        if (fault == 8) signatures = _resize(signatures, signatures.length + 1);
        if (fault == 9) signatures[i].vs = bytes32(vs ^ (uint256(1) << (seed % 255)));
        return (signers, signatures);
    }

    /// @dev Alike in what they return, and in the error with its arguments.
    function _expectAgreement(uint128 signers, Signature[] memory signatures) private view {
        bytes memory call = abi.encode(_set, DIGEST, signers, signatures);
        (bool valid, bytes memory answer) =
            address(SUBJECT).staticcall(bytes.concat(CertificateSubject.signedWeight.selector, call));
        (bool plainValid, bytes memory plainAnswer) =
            address(SUBJECT).staticcall(bytes.concat(CertificateSubject.plainSignedWeight.selector, call));
        assertEq(valid, plainValid);
        assertEq(answer, plainAnswer);
    }

    /// The plain loop costs more: were it the one that answered, this would show.
    function test_fastLoopAnswersGoodCertificates() external view {
        Signature[] memory signatures = _sign(0xfff);
        uint256 start = gasleft();
        SUBJECT.signedWeight(_set, DIGEST, 0xfff, signatures);
        uint256 fast = start - gasleft();
        start = gasleft();
        SUBJECT.plainSignedWeight(_set, DIGEST, 0xfff, signatures);
        assertLt(fast, start - gasleft());
    }

    /* ERRORS */

    function test_revertsWhen_signerIsOutsideTheSet() external {
        Signature[] memory signatures = _sign(1);
        vm.expectRevert(abi.encodeWithSelector(CertificateLib.SignerOutsideSet.selector, 12, 1 << 12));
        SUBJECT.signedWeight(_set, DIGEST, 1 << 12, signatures);
    }

    function test_revertsWhen_signatureIsMissing() external {
        Signature[] memory signatures = _resize(_sign(0xff), 7);
        vm.expectRevert(abi.encodeWithSelector(CertificateLib.SignatureCountWrong.selector, 8, 7));
        SUBJECT.signedWeight(_set, DIGEST, 0xff, signatures);
    }

    function test_revertsWhen_sIsHigh() external {
        (uint128 signers, Signature[] memory signatures) = _break(0xff, _sign(0xff), 3, 5);
        vm.expectRevert(abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 5, vm.addr(_keys[5])));
        SUBJECT.signedWeight(_set, DIGEST, signers, signatures);
    }

    /// A failed recovery leaves its output untouched: the word there must not be the signer before.
    function test_revertsWhen_recoveryFailsAfterAGoodOne() external {
        Signature[] memory signatures = _sign(3);
        signatures[1] = Signature({r: 0, vs: 0});
        vm.expectRevert(abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 1, vm.addr(_keys[1])));
        SUBJECT.signedWeight(_set, DIGEST, 3, signatures);
    }

    function test_revertsWhen_aMemberIsTheZeroAddress() external {
        uint256[] memory words = new uint256[](1);
        words[0] = SetLib.word(address(0), 7);
        (_set,) = SetLib.store(words, 0, 0);
        Signature[] memory signatures = new Signature[](1);

        vm.expectRevert(abi.encodeWithSelector(CertificateLib.SignatureInvalid.selector, 0, address(0)));
        SUBJECT.signedWeight(_set, DIGEST, 1, signatures);
    }

    /* COUNTING */

    function testFuzz_countSigners_countsBits(uint128 signers) external pure {
        uint256 bits;
        for (uint256 i = 0; i < 128; ++i) {
            bits += (signers >> i) & 1;
        }
        assertEq(CertificateLib.countSigners(signers), bits);
    }

    function test_countSigners_countsAll() external pure {
        assertEq(CertificateLib.countSigners(type(uint128).max), 128);
    }

    /* PARTS */

    /// @dev `n` members in ascending order, member i weighing i + 1.
    function _makeSet(uint256 n) private {
        delete _keys;
        for (uint256 i = 0; i < n; ++i) {
            uint256 key = uint256(keccak256(abi.encode("member", i)));
            _keys.push(key);
            for (uint256 j = i; j != 0 && vm.addr(_keys[j - 1]) > vm.addr(key); --j) {
                (_keys[j - 1], _keys[j]) = (key, _keys[j - 1]);
            }
        }
        uint256[] memory words = new uint256[](n);
        for (uint256 i = 0; i < n; ++i) {
            words[i] = SetLib.word(vm.addr(_keys[i]), uint56(i + 1));
        }
        (_set,) = SetLib.store(words, 0, 0);
    }

    function _sign(uint128 signers) private view returns (Signature[] memory signatures) {
        signatures = new Signature[](CertificateLib.countSigners(signers));
        uint256 found;
        for (uint256 i = 0; i < _keys.length; ++i) {
            if ((signers >> i) & 1 == 0) continue;
            (bytes32 r, bytes32 vs) = vm.signCompact(_keys[i], DIGEST);
            signatures[found++] = Signature({r: r, vs: vs});
        }
    }

    function _resize(Signature[] memory signatures, uint256 length) private pure returns (Signature[] memory resized) {
        resized = new Signature[](length);
        for (uint256 i = 0; i < length && i < signatures.length; ++i) {
            resized[i] = signatures[i];
        }
    }
}
