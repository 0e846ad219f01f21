// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {Signature} from "../types/Wire.sol";
import {FrozenSet, SetLib} from "./SetLib.sol";

/// @title Certificates: how much of a set signed a digest
/// @notice `signers` has bit i set for member i; the signatures follow in member order. Each member counts once by
/// construction: a bit has one place, and its signature must recover to the member at that place.
library CertificateLib {
    /// @notice The bitmap names a member beyond the set's last one.
    error SignerOutsideSet(uint256 count, uint128 signers);

    /// @notice There is one signature for each bit of the bitmap.
    error SignatureCountWrong(uint256 expected, uint256 actual);

    /// @notice The signature of member `index` is not `expected`'s, or not in low-s form.
    error SignatureInvalid(uint256 index, address expected);

    /// @notice Weight of the members that signed `digest`. Reverts with {SignerOutsideSet}, {SignatureCountWrong},
    /// {SignatureInvalid}.
    /// @dev The fast loop only ever says yes. When it cannot, {plainSignedWeight}, which it must agree with, decides and
    /// says what is wrong.
    function signedWeight(FrozenSet set, bytes32 digest, uint128 signers, Signature[] calldata signatures)
        internal
        view
        returns (uint256 weight)
    {
        bool valid;
        (valid, weight) = _fastSignedWeight(set, digest, signers, signatures);
        if (!valid) weight = plainSignedWeight(set, digest, signers, signatures);
    }

    /// @notice What {signedWeight} means, written to be read.
    function plainSignedWeight(FrozenSet set, bytes32 digest, uint128 signers, Signature[] calldata signatures)
        internal
        pure
        returns (uint256 weight)
    {
        uint256 count = set.count();
        require(uint256(signers) >> count == 0, SignerOutsideSet(count, signers));
        uint256 expected = countSigners(signers);
        require(signatures.length == expected, SignatureCountWrong(expected, signatures.length));

        uint256 used;
        for (uint256 i = 0; i < count; ++i) {
            if ((signers >> i) & 1 == 0) continue;

            (address signer, uint64 memberWeight) = set.member(i);
            Signature calldata signature = signatures[used++];
            (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, signature.r, signature.vs);
            require(fault == ECDSA.RecoverError.NoError && recovered == signer, SignatureInvalid(i, signer));
            weight += memberWeight;
        }
    }

    /// @notice Bits in a bitmap of signers.
    function countSigners(uint128 signers) internal pure returns (uint256 bits) {
        // Cannot overflow: sums of neighbouring lanes, each wide enough for the bits below it.
        unchecked {
            bits = signers;
            bits -= (bits >> 1) & 0x55555555555555555555555555555555;
            bits = (bits & 0x33333333333333333333333333333333) + ((bits >> 2) & 0x33333333333333333333333333333333);
            bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f;
            bits = ((bits * 0x01010101010101010101010101010101) >> 120) & 0xff;
        }
    }

    /// @dev The one loop in assembly: it runs once a member and calls `ecrecover` once a signature, and written plainly
    /// costs about a tenth of a settlement more. `valid` means exactly that {plainSignedWeight} returns `weight`.
    ///
    /// Memory-safe: writes the scratch word at 0, and four words behind the free pointer that it does not keep.
    ///
    ///     input + 0    digest
    ///     input + 32   27 + top bit of vs
    ///     input + 64   r          \ copied together, then
    ///     input + 96   vs         / the top bit is taken off
    ///
    /// The scratch word is all ones before each call: `ecrecover` writes nothing when it fails, also for want of gas, and
    /// no signer is all ones. Signatures past the end of the array are read as whatever stands there in calldata; the
    /// count, checked last, refuses them.
    function _fastSignedWeight(FrozenSet set, bytes32 digest, uint128 signers, Signature[] calldata signatures)
        private
        view
        returns (bool valid, uint256 weight)
    {
        uint256 first = FrozenSet.unwrap(set) + SetLib.HEADER_BYTES;
        uint256 count = set.count();

        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, digest)

            let bits := and(signers, 0xffffffffffffffffffffffffffffffff)
            let next := signatures.offset
            valid := iszero(shr(count, bits))
            for { let place := first } and(valid, iszero(iszero(bits))) { place := add(place, 27) } {
                if and(bits, 1) {
                    calldatacopy(add(input, 64), next, 64)
                    let vs := mload(add(input, 96))
                    let s := shr(1, shl(1, vs))
                    mstore(add(input, 32), add(27, shr(255, vs)))
                    mstore(add(input, 96), s)
                    mstore(0, not(0))
                    pop(staticcall(gas(), 1, input, 128, 0, 32))

                    let member := mload(place)
                    valid := and(
                        eq(mload(0), shr(96, member)),
                        iszero(gt(s, 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0))
                    )
                    weight := add(weight, and(shr(40, member), 0xffffffffffffff))
                    next := add(next, 64)
                }
                bits := shr(1, bits)
            }
            valid := and(valid, eq(next, add(signatures.offset, shl(6, signatures.length))))
        }
    }
}
