//! Signatures, digests and trees: everything that L1 checks again.

mod digest;
pub mod merkle;
mod signature;
pub(crate) mod words;

pub use digest::SigningDomain;
pub use signature::{SecretKey, Signature, SignatureError};
