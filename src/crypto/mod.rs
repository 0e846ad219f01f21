//! Signatures, digests and trees: everything that L1 checks again.

mod signature;

pub use signature::{SecretKey, Signature, SignatureError};
