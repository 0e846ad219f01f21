//! Numbers and bytes as the canonical encodings write them. A number has one encoding only: LEB128, seven bits a byte from
//! the low end, no padding.

use alloy::primitives::{Address, B256};

/// Why bytes are no canonical encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end inside a field.
    #[error("{field} at byte {at}: the bytes end")]
    Short {
        /// What was read.
        field: &'static str,
        /// Where it began.
        at: usize,
    },
    /// A number is padded, or does not fit.
    #[error("{field} at byte {at}: not a canonical number of that width")]
    BadNumber {
        /// What was read.
        field: &'static str,
        /// Where it began.
        at: usize,
    },
    /// A value that the rules have another encoding for, or none.
    #[error("{field} at byte {at}: {value} is not canonical here")]
    NotCanonical {
        /// What was read.
        field: &'static str,
        /// Where it began.
        at: usize,
        /// The number that was there.
        value: u64,
    },
    /// Bytes follow after the end.
    #[error("{count} bytes too many after byte {at}")]
    Trailing {
        /// Where it should have ended.
        at: usize,
        /// How many follow.
        count: usize,
    },
}

/// The most bytes that a number takes.
pub(super) const MAX_NUMBER_BYTES: usize = 10;

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Bytes that [`put_number`] appends.
pub(super) const fn number_bytes(value: u64) -> usize {
    let bits = 64_u32.saturating_sub(value.leading_zeros());
    if bits == 0 { 1 } else { bits.div_ceil(7) as usize }
}

/// A place in bytes that are read from the front.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Refuses bytes that are left over.
    pub(super) const fn finish(self) -> Result<(), WireError> {
        match self.bytes.len().saturating_sub(self.at) {
            0 => Ok(()),
            count => Err(WireError::Trailing { at: self.at, count }),
        }
    }

    pub(super) fn take(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], WireError> {
        let end = self.at.saturating_add(count);
        let taken = self.bytes.get(self.at..end).ok_or(WireError::Short { field, at: self.at })?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn number(&mut self, field: &'static str) -> Result<u64, WireError> {
        let at = self.at;
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, field)?.first().copied().unwrap_or_default();
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and a last byte of zero would be padding.
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(WireError::BadNumber { field, at });
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::BadNumber { field, at })
    }

    pub(super) fn hash(&mut self, field: &'static str) -> Result<B256, WireError> {
        self.take(32, field).map(B256::from_slice)
    }

    pub(super) fn address(&mut self, field: &'static str) -> Result<Address, WireError> {
        self.take(20, field).map(Address::from_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_NUMBER_BYTES, Reader, WireError, number_bytes, put_number};
    use proptest::prelude::*;

    #[test]
    fn padding_and_overflow_are_refused() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xff; 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
        ] {
            assert_eq!(
                Reader::new(bytes).number("n"),
                Err(WireError::BadNumber { field: "n", at: 0 })
            );
        }
        assert_eq!(Reader::new(&[0x80]).number("n"), Err(WireError::Short { field: "n", at: 1 }));
    }

    proptest! {
        #[test]
        fn a_number_comes_back_and_its_length_is_known(bits in 0_u32..64, value in any::<u64>()) {
            let value = value >> bits;
            let mut out = Vec::new();
            put_number(&mut out, value);
            prop_assert_eq!(out.len(), number_bytes(value));
            prop_assert!(out.len() <= MAX_NUMBER_BYTES);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number("n"), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn bytes_that_are_read_are_the_bytes_that_would_be_written(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.number("n") {
                let mut out = Vec::new();
                put_number(&mut out, value);
                prop_assert_eq!(&bytes[..reader.at()], out.as_slice());
            }
        }
    }
}
