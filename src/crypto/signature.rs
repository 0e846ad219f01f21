//! secp256k1 signatures in the form in which L1 takes them (EIP-2098).

use alloy::primitives::{Address, B256, B512};
use borsh::{BorshDeserialize, BorshSerialize};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A compact signature: r, then s with the parity of y in its top bit (EIP-2098). Whether it is valid shows in
/// [`Signature::recover`] only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature([u8; 64]);

/// Why a signature speaks for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// v of a 65-byte signature is neither 27 nor 28.
    #[error("signature v is {v}, expected 27 or 28")]
    BadV {
        /// The byte that was there.
        v: u8,
    },
    /// s is in the upper half, where EIP-2 allows none.
    #[error("signature s is in the upper half of the curve order")]
    HighS,
    /// r or s is zero or too large, or no point fits.
    #[error("signature does not recover to a key")]
    NotRecoverable,
}

/// Half of the curve's order, rounded down: the largest s that is allowed (EIP-2).
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// The top bit of a byte: where EIP-2098 keeps the parity.
const PARITY: u8 = 0x80;

/// As 0x and 128 hexadecimal digits.
impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        B512::new(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        B512::deserialize(deserializer).map(|bytes| Self(bytes.0))
    }
}

impl Signature {
    /// Takes the 64 bytes of an EIP-2098 signature.
    pub const fn from_compact(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Takes r, s and v of a 65-byte signature.
    ///
    /// # Errors
    ///
    /// [`SignatureError::BadV`] unless v is 27 or 28; [`SignatureError::HighS`], as the top bit must be free.
    pub fn from_rsv(bytes: [u8; 65]) -> Result<Self, SignatureError> {
        let [compact @ .., v] = bytes;
        let odd = match v {
            27 => false,
            28 => true,
            _ => return Err(SignatureError::BadV { v }),
        };
        Self::from_parts(compact, odd)
    }

    /// Takes r ‖ s and the parity of y.
    ///
    /// # Errors
    ///
    /// [`SignatureError::HighS`] when s is in the upper half.
    pub fn from_parts(mut rs: [u8; 64], odd_y: bool) -> Result<Self, SignatureError> {
        if rs[32..] > HALF_ORDER[..] {
            return Err(SignatureError::HighS);
        }
        if odd_y {
            rs[32] |= PARITY;
        }
        Ok(Self(rs))
    }

    /// The 64 bytes, as L1 takes them: r, then vs.
    pub const fn to_compact(self) -> [u8; 64] {
        self.0
    }

    /// r ‖ s ‖ v with v 27 or 28, as wallets and `ecrecover` know it.
    pub fn to_rsv(self) -> [u8; 65] {
        let (rs, odd_y) = self.parts();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&rs);
        bytes[64] = if odd_y { 28 } else { 27 };
        bytes
    }

    /// Address of the key that signed `digest`.
    ///
    /// # Errors
    ///
    /// [`SignatureError::HighS`] or [`SignatureError::NotRecoverable`]: nobody signed this.
    pub fn recover(&self, digest: B256) -> Result<Address, SignatureError> {
        let (rs, odd_y) = self.parts();
        if rs[32..] > HALF_ORDER[..] {
            return Err(SignatureError::HighS);
        }
        let id = if odd_y { RecoveryId::One } else { RecoveryId::Zero };
        RecoverableSignature::from_compact(&rs, id)
            .and_then(|signature| signature.recover_ecdsa(Message::from_digest(digest.0)))
            .map(|key| address_of(&key))
            .map_err(|_| SignatureError::NotRecoverable)
    }

    fn parts(self) -> ([u8; 64], bool) {
        let mut rs = self.0;
        let odd_y = rs[32] & PARITY != 0;
        rs[32] &= !PARITY;
        (rs, odd_y)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", alloy::primitives::hex::encode(self.0))
    }
}

/// A secp256k1 key. Never printed; wiped when dropped.
pub struct SecretKey(secp256k1::SecretKey);

impl SecretKey {
    /// Takes the 32 bytes of a key.
    ///
    /// # Errors
    ///
    /// [`SignatureError::NotRecoverable`] when they are zero or not below the curve's order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, SignatureError> {
        secp256k1::SecretKey::from_secret_bytes(bytes)
            .map(Self)
            .map_err(|_| SignatureError::NotRecoverable)
    }

    /// Address of the key.
    pub fn address(&self) -> Address {
        address_of(&self.0.public_key())
    }

    /// Signs a digest: deterministic (RFC 6979), low s.
    pub fn sign(&self, digest: B256) -> Signature {
        let signature =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(digest.0), &self.0);
        let (id, rs) = signature.serialize_compact();
        Signature::from_parts(rs, matches!(id, RecoveryId::One | RecoveryId::Three))
            .expect("libsecp256k1 only makes signatures with a low s")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.address())
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

fn address_of(key: &PublicKey) -> Address {
    Address::from_raw_public_key(&key.serialize_uncompressed()[1..])
}
