//! The input of `settle` and `settleMany` as the contract reads it.
//!
//! A settled batch counts whatever its poster thought of decoders (R26, R44), so this follows what solc 0.8 makes of
//! calldata, and not what the ABI calls valid: offsets of what is nested are signed and may point back, parts may overlap,
//! and what lies in front of the input or behind its end is zero. An input that would have made the contract revert is
//! nothing here. `test/differential` holds it to the compiled contracts. Pure.

use super::bindings::IBatchInbox;
use super::settlement::SettledPayload;
use crate::crypto::Signature;
use crate::domain::{BatchHeader, Epoch, Generation, Height, Seconds};
use alloy::primitives::{B256, Bytes, I256, U256};
use alloy::sol_types::SolCall as _;

/// Bytes of the selector, in front of the arguments.
const SELECTOR: U256 = U256::from_limbs([4, 0, 0, 0]);
const WORD: U256 = U256::from_limbs([32, 0, 0, 0]);
/// A header: 15 words.
const HEADER: U256 = U256::from_limbs([512, 0, 0, 0]);
/// Header, bitmap, and the offsets of signatures and payload: the head of a submission, and of the arguments of `settle`.
const HEAD: U256 = U256::from_limbs([608, 0, 0, 0]);
const SIGNATURE: U256 = U256::from_limbs([64, 0, 0, 0]);
const BYTE: U256 = U256::ONE;
/// A bitmap has as many bits.
const MAX_SIGNATURES: usize = 128;

/// What a transaction to settlement with this input settled, had it not been refused for another reason.
pub(super) fn read(input: &Bytes) -> Option<Vec<SettledPayload>> {
    let calldata = Calldata(input);
    match *input.first_chunk::<4>()? {
        IBatchInbox::settleCall::SELECTOR => Some(vec![calldata.arguments()?]),
        IBatchInbox::settleManyCall::SELECTOR => calldata.submissions(),
        _ => None,
    }
}

/// The bytes of a call. Positions are words of the machine: they wrap around.
struct Calldata<'a>(&'a Bytes);

/// Something with a length, as many bytes of which are in the input.
struct Array {
    at: U256,
    length: usize,
}

impl Calldata<'_> {
    fn size(&self) -> U256 {
        U256::from(self.0.len())
    }

    /// The word at a position; zero as far as it is outside.
    fn word(&self, at: U256) -> U256 {
        let mut word = [0; 32];
        if let Ok(at) = usize::try_from(at)
            && let Some(found) = self.0.get(at..)
        {
            for (byte, found) in word.iter_mut().zip(found) {
                *byte = *found;
            }
        }
        U256::from_be_bytes(word)
    }

    /// `count` bytes from a position, all of which are inside.
    fn bytes(&self, at: U256, count: usize) -> Option<Bytes> {
        let start = usize::try_from(at).ok()?;
        let end = start.checked_add(count).filter(|end| *end <= self.0.len())?;
        Some(self.0.slice(start..end))
    }

    /// The arguments of `settle`: offsets are plain numbers here.
    fn arguments(&self) -> Option<SettledPayload> {
        let room = self.size().wrapping_sub(SELECTOR);
        if less(room, HEAD) {
            return None;
        }
        let [signatures, payload] = tails(SELECTOR);
        let signatures = self.argument(signatures, SIGNATURE)?;
        let payload = self.argument(payload, BYTE)?;
        self.payload(SELECTOR, &signatures, &payload)
    }

    /// A dynamic argument, whose offset from the selector's end is at `place`.
    fn argument(&self, place: U256, stride: U256) -> Option<Array> {
        let at = SELECTOR.wrapping_add(long(self.word(place))?);
        if !less(at.wrapping_add(U256::from(31)), self.size()) {
            return None;
        }
        let length = long(self.word(at))?;
        let at = at.wrapping_add(WORD);
        let end = at.wrapping_add(length.wrapping_mul(stride));
        (end <= self.size()).then_some(Array { at, length: usize::try_from(length).ok()? })
    }

    fn submissions(&self) -> Option<Vec<SettledPayload>> {
        if less(self.size().wrapping_sub(SELECTOR), WORD) {
            return None;
        }
        let array = self.argument(SELECTOR, WORD)?;
        (0..array.length)
            .map(|index| {
                let place = array.at.wrapping_add(U256::from(index).wrapping_mul(WORD));
                let at = self.tail(array.at, place, HEAD)?;
                let [signatures, payload] = tails(at);
                let signatures = self.nested(at, signatures, SIGNATURE)?;
                let payload = self.nested(at, payload, BYTE)?;
                self.payload(at, &signatures, &payload)
            })
            .collect()
    }

    /// Where something begins that is nested in what begins at `base`, by the offset at `place`. The offset is signed.
    fn tail(&self, base: U256, place: U256, needed: U256) -> Option<U256> {
        let offset = self.word(place);
        let limit = self.size().wrapping_sub(base).wrapping_sub(needed.wrapping_sub(U256::ONE));
        less(offset, limit).then(|| base.wrapping_add(offset))
    }

    /// An array or bytes that are nested in a struct.
    fn nested(&self, base: U256, place: U256, stride: U256) -> Option<Array> {
        let at = self.tail(base, place, WORD)?;
        let length = long(self.word(at))?;
        let at = at.wrapping_add(WORD);
        let last = self.size().wrapping_sub(length.wrapping_mul(stride));
        (!less(last, at)).then_some(Array { at, length: usize::try_from(length).ok()? })
    }

    fn payload(&self, at: U256, signatures: &Array, payload: &Array) -> Option<SettledPayload> {
        let header = self.header(at)?;
        let signers = u128::try_from(self.word(at.wrapping_add(HEADER))).ok()?;
        if signatures.length > MAX_SIGNATURES {
            return None;
        }
        // The payload is copied to be hashed, and what is copied must end within the input; signatures are read one by one.
        let bytes = match signatures.length.checked_mul(64)? {
            0 => Bytes::new(),
            size => self.bytes(signatures.at, size)?,
        };
        let (compact, _) = bytes.as_chunks::<64>();
        Some(SettledPayload {
            header,
            signers,
            signatures: compact.iter().copied().map(Signature::from_compact).collect(),
            payload: self.bytes(payload.at, payload.length)?,
        })
    }

    /// A header, none of whose fields is wider than its type: those make the contract revert.
    fn header(&self, at: U256) -> Option<BatchHeader> {
        let mut at = at;
        let mut next = || {
            let word = self.word(at);
            at = at.wrapping_add(WORD);
            word
        };
        let number = |word: U256| u64::try_from(word).ok();
        let hash = |word: U256| B256::from(word);
        Some(BatchHeader {
            generation: Generation::new(u32::try_from(next()).ok()?),
            epoch: Epoch::new(number(next())?),
            first_height: Height::new(number(next())?),
            last_height: Height::new(number(next())?),
            parent_block_hash: hash(next()),
            blocks_root: hash(next()),
            last_block_hash: hash(next()),
            forced_through: number(next())?,
            l1_origin_number: number(next())?,
            l1_origin_hash: hash(next()),
            timestamp: Seconds::new(number(next())?),
            payload_hash: hash(next()),
            blobs_hash: hash(next()),
            usage_hash: hash(next()),
            state_root: hash(next()),
            regular_since: Seconds::new(number(next())?),
        })
    }
}

/// Where the offsets of signatures and payload stand in a head.
const fn tails(head: U256) -> [U256; 2] {
    let signatures = head.wrapping_add(HEADER).wrapping_add(WORD);
    [signatures, signatures.wrapping_add(WORD)]
}

/// An offset or length as solc bounds them.
fn long(word: U256) -> Option<U256> {
    (word <= U256::from(u64::MAX)).then_some(word)
}

/// Comparison of signed words (SLT).
fn less(a: U256, b: U256) -> bool {
    I256::from_raw(a) < I256::from_raw(b)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::super::bindings::{IBatchInbox, Submission};
    use super::super::{Certified, convert, settlement};
    use super::{HEAD, read};
    use crate::crypto::Signature;
    use crate::domain::{BatchHeader, Deployment, Epoch, Generation, Height};
    use crate::testing::batch_header;
    use alloy::primitives::{Address, Bytes, U256};
    use alloy::sol_types::{SolCall as _, SolValue as _};
    use proptest::prelude::*;

    fn batch(seed: u8, signatures: usize, payload: usize) -> Certified {
        let header = BatchHeader {
            generation: Generation::new(seed.into()),
            epoch: Epoch::new(u64::MAX),
            first_height: Height::new(seed.into()),
            ..batch_header(u64::from(seed) + 8)
        };
        Certified {
            header,
            signers: u128::MAX,
            signatures: vec![Signature::from_compact([seed; 64]); signatures],
            members: signatures,
            payload: vec![seed; payload].into(),
        }
    }

    fn deployment() -> Deployment {
        Deployment {
            chain_id: 1,
            block: 0,
            stake_token: Address::ZERO,
            registry: Address::ZERO,
            settlement: Address::repeat_byte(7),
            tally: Address::ZERO,
            slasher: Address::ZERO,
            reward_pool: Address::ZERO,
            rollups: Address::ZERO,
            guardian: Address::ZERO,
        }
    }

    /// Header, signers, signatures, payload.
    type Read = (BatchHeader, u128, Vec<Signature>, Bytes);

    fn of(input: &Bytes) -> Option<Vec<Read>> {
        let read = read(input)?;
        let parts =
            |one: super::SettledPayload| (one.header, one.signers, one.signatures, one.payload);
        Some(read.into_iter().map(parts).collect())
    }

    fn parts(batch: &Certified) -> Read {
        let Certified { header, signers, signatures, payload, .. } = batch.clone();
        (header, signers, signatures, payload)
    }

    fn submission(batch: &Certified) -> Submission {
        Submission {
            header: convert::sol_batch_header(&batch.header),
            signers: batch.signers,
            signatures: batch.signatures.iter().map(convert::sol_signature).collect(),
            payload: batch.payload.clone(),
        }
    }

    /// The head of a submission without its offsets, and its tails.
    fn pieces(batch: &Certified) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let one = submission(batch);
        let head = (one.header, one.signers).abi_encode();
        (head, one.signatures.abi_encode()[32..].to_vec(), one.payload.abi_encode()[32..].to_vec())
    }

    fn word(value: usize) -> [u8; 32] {
        U256::from(value).to_be_bytes()
    }

    fn minus(value: usize) -> [u8; 32] {
        U256::ZERO.wrapping_sub(U256::from(value)).to_be_bytes()
    }

    fn many(parts: &[&[u8]]) -> Bytes {
        [IBatchInbox::settleManyCall::SELECTOR.as_slice(), &parts.concat()].concat().into()
    }

    const HEAD_BYTES: usize = 608;

    #[test]
    fn reads_what_agents_send() {
        assert_eq!(HEAD, U256::from(HEAD_BYTES));
        let batches = [batch(1, 3, 5), batch(2, 0, 0), batch(3, 128, 70)];
        let one = settlement::order(&deployment(), &batches[..1]).input;
        assert_eq!(of(&one), Some(vec![parts(&batches[0])]));
        let three = settlement::order(&deployment(), &batches).input;
        assert_eq!(of(&three), Some(batches.iter().map(parts).collect()));
    }

    #[test]
    fn reads_a_submission_that_stands_in_front_of_the_array() {
        let one = batch(1, 3, 5);
        let (head, signatures, payload) = pieces(&one);
        let offsets = [word(HEAD_BYTES), word(HEAD_BYTES + signatures.len())].concat();
        let tail = [head, offsets, signatures, payload].concat();
        let size = tail.len();
        let input = many(&[&word(32 + size), &tail, &word(1), &minus(size + 32)]);
        assert!(IBatchInbox::settleManyCall::abi_decode(&input).is_err());
        assert_eq!(of(&input), Some(vec![parts(&one)]));
    }

    #[test]
    fn reads_signatures_that_stand_in_front_of_their_submission() {
        let one = batch(1, 3, 5);
        let (head, signatures, payload) = pieces(&one);
        let back = minus(signatures.len() + 64);
        let submission = [head.as_slice(), &back, &word(HEAD_BYTES), &payload].concat();
        let before = word(32 + signatures.len());
        let input = many(&[&before, &signatures, &word(1), &word(32), &submission]);
        assert!(IBatchInbox::settleManyCall::abi_decode(&input).is_err());
        assert_eq!(of(&input), Some(vec![parts(&one)]));
    }

    #[test]
    fn reads_a_payload_that_stands_in_front_of_its_submission_but_not_of_the_input() {
        let one = batch(1, 3, 5);
        let (head, signatures, payload) = pieces(&one);
        let back = minus(payload.len() + 64);
        let submission = [head.as_slice(), &word(HEAD_BYTES), &back, &signatures].concat();
        let before = word(32 + payload.len());
        let input = many(&[&before, &payload, &word(1), &word(32), &submission]);
        assert_eq!(of(&input), Some(vec![parts(&one)]));

        let far = minus(1 << 40);
        let submission = [head.as_slice(), &word(HEAD_BYTES), &far, &signatures].concat();
        let input = many(&[&word(32), &word(1), &word(32), &submission]);
        assert_eq!(of(&input), None);
    }

    #[test]
    fn a_field_wider_than_its_type_or_a_tail_that_ends_outside_is_nothing() {
        let one = batch(1, 3, 5);
        let input = settlement::order(&deployment(), &[one.clone(), one]).input.to_vec();
        assert!(read(&Bytes::from(input.clone())).is_some());
        // The first header's generation, in front of its last four bytes.
        let mut wide = input.clone();
        wide[4 + 32 * 4] = 1;
        assert!(read(&wide.into()).is_none());
        assert!(read(&input[..input.len() - 32].to_vec().into()).is_none());
        assert!(read(&Bytes::new()).is_none());
        assert!(read(&Bytes::from_static(&[1, 2, 3, 4, 5])).is_none());
    }

    proptest! {
        /// Wherever a word points, reading ends.
        #[test]
        fn any_input_is_read_or_refused(
            words in prop::collection::vec((0_usize..60, any::<[u8; 32]>(), -80_i32..80, any::<bool>()), 1..6),
            cut in 0_usize..1_500, single in any::<bool>(),
        ) {
            let batches = [batch(1, 3, 5), batch(2, 1, 40)];
            let batches = if single { &batches[..1] } else { &batches };
            let mut input = settlement::order(&deployment(), batches).input.to_vec();
            for (place, random, small, is_small) in words {
                let at = 4 + 32 * place;
                let word = if is_small {
                    let size = usize::try_from(small.unsigned_abs()).unwrap() * 8;
                    if small < 0 { minus(size) } else { word(size) }
                } else {
                    random
                };
                if let Some(found) = input.get_mut(at..at + 32) {
                    found.copy_from_slice(&word);
                }
            }
            input.truncate(input.len().saturating_sub(cut.saturating_sub(1_000)));
            let size = input.len();
            for one in read(&input.into()).unwrap_or_default() {
                prop_assert!(one.payload.len() <= size && one.signatures.len() <= 128);
            }
        }
    }
}
