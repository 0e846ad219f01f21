//! What agents say to each other. Local form: nothing here is signed or hashed as it stands.

use crate::crypto::Signature;
use crate::domain::{BatchHeader, RollupTransaction};
use crate::network::{MAX_MESSAGE_BYTES, MAX_TRANSACTIONS};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

/// A message between agents. The receiver believes nothing in it: transactions and attestations carry their own
/// signatures, and a request is answered by what the receiver's own records say.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LinkMessage {
    /// Transactions for the receiver's next blocks, in the order in which they were accepted.
    Transactions(Vec<RollupTransaction>),
    /// The sender attests a batch.
    Attestation {
        /// What is attested.
        header: BatchHeader,
        /// Over its EIP-712 digest.
        signature: Signature,
    },
    /// The sender asks for the receiver's attestation of a batch (R23).
    WantAttestation {
        /// The batch.
        header: BatchHeader,
    },
    /// The first message on a connection, in both directions: who the sender is. Nothing else is taken before it.
    Hello {
        /// By a key of its sequencer, over the name by which it is connected ([`SigningDomain::link`]).
        ///
        /// [`SigningDomain::link`]: crate::crypto::SigningDomain::link
        signature: Signature,
        /// Tells this process of the sender from an earlier one, which was greeted and took that with it.
        session: u64,
    },
}

/// Why bytes are no message, or a message does not fit one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Larger than a message may be.
    #[error("message is {actual} bytes, at most {limit}")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// Its size.
        actual: usize,
    },
    /// More transactions than a message may carry.
    #[error("message holds {actual} transactions, at most {limit}")]
    TooMany {
        /// The bound.
        limit: usize,
        /// How many there were.
        actual: usize,
    },
    /// Not borsh, cut off, or with bytes left over.
    #[error("message does not decode: {reason}")]
    Malformed {
        /// What the decoder met.
        reason: String,
    },
}

/// Messages of one lane keep their order; lanes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Transactions.
    Transactions,
    /// What batches need to settle.
    Attestations,
}

impl LinkMessage {
    /// The bytes on the wire.
    ///
    /// # Errors
    ///
    /// [`MessageError::TooMany`] or [`MessageError::TooLarge`]: cut it in two.
    pub fn encode(&self) -> Result<Bytes, MessageError> {
        self.check()?;
        let bytes = borsh::to_vec(self)
            .map_err(|error| MessageError::Malformed { reason: error.to_string() })?;
        bounded(&bytes)?;
        Ok(bytes.into())
    }

    /// Reads bytes from the wire.
    ///
    /// # Errors
    ///
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        bounded(bytes)?;
        let message: Self = borsh::from_slice(bytes)
            .map_err(|error| MessageError::Malformed { reason: error.to_string() })?;
        message.check()?;
        Ok(message)
    }

    pub(super) const fn lane(&self) -> Lane {
        match self {
            Self::Transactions(_) => Lane::Transactions,
            Self::Attestation { .. } | Self::WantAttestation { .. } | Self::Hello { .. } => {
                Lane::Attestations
            }
        }
    }

    fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Transactions(all) if all.len() > MAX_TRANSACTIONS => {
                Err(MessageError::TooMany { limit: MAX_TRANSACTIONS, actual: all.len() })
            }
            _ => Ok(()),
        }
    }
}

fn bounded(bytes: &[u8]) -> Result<(), MessageError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::TooLarge { limit: MAX_MESSAGE_BYTES, actual: bytes.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RollupId;
    use proptest::prelude::{any, proptest};

    fn transactions(count: usize, size: usize) -> LinkMessage {
        let one = RollupTransaction { rollup: RollupId::new(1), raw: vec![9; size].into() };
        LinkMessage::Transactions(vec![one; count])
    }

    #[test]
    fn comes_back_as_it_was() {
        let message = transactions(3, 100);
        assert_eq!(LinkMessage::decode(&message.encode().unwrap()), Ok(message));
    }

    #[test]
    fn is_bounded_in_count_and_in_bytes_on_both_sides() {
        let many = transactions(MAX_TRANSACTIONS + 1, 1);
        let limit = MAX_TRANSACTIONS;
        assert_eq!(many.encode(), Err(MessageError::TooMany { limit, actual: limit + 1 }));
        let bytes = borsh::to_vec(&many).unwrap();
        assert_eq!(
            LinkMessage::decode(&bytes),
            Err(MessageError::TooMany { limit, actual: limit + 1 })
        );
        let large = transactions(2, MAX_MESSAGE_BYTES / 2);
        assert!(matches!(large.encode(), Err(MessageError::TooLarge { .. })));
        let bytes = borsh::to_vec(&large).unwrap();
        assert!(matches!(LinkMessage::decode(&bytes), Err(MessageError::TooLarge { .. })));
    }

    #[test]
    fn refuses_what_is_cut_off_or_goes_on() {
        let bytes = transactions(2, 30).encode().unwrap();
        for length in 0..bytes.len() {
            assert!(LinkMessage::decode(&bytes[..length]).is_err());
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(LinkMessage::decode(&longer).is_err());
    }

    proptest! {
        #[test]
        fn never_panics_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = LinkMessage::decode(&bytes);
        }
    }
}
