//! Attestations that contradict each other inside of a batch (§7). Pure.
//!
//! The batch that ends first names its last block; what the other one holds at that height takes a Merkle proof, and a
//! proof takes the hashes of all its blocks. This agent knows those of the decided chain: so it convicts whoever signed
//! a batch of decided blocks and a shorter one that is none. Of two batches of which neither is of decided blocks only
//! the offender has the blocks: if they do not end at one height or touch each other, nobody can prove anything.

use crate::crypto::Signature;
use crate::crypto::merkle::{block_leaf, prove, root};
use crate::domain::{BatchHeader, BlockProof, Evidence, Height};
use alloy::primitives::{Address, B256};

/// What shows that `signer` signed different blocks at the last height of the batch that ends first. `decided` gives the
/// hashes of the decided blocks of a batch; it is asked only if they can convict.
///
/// # Errors
///
/// Those of `decided`.
pub(super) fn contradiction<E>(
    signer: Address,
    one: (&BatchHeader, Signature),
    other: (&BatchHeader, Signature),
    at: impl FnOnce(Height) -> Result<Option<B256>, E>,
    decided: impl FnOnce(&BatchHeader) -> Result<Option<Vec<B256>>, E>,
) -> Result<Option<Evidence>, E> {
    let (short, long) =
        if one.0.last_height < other.0.last_height { (one, other) } else { (other, one) };
    let height = short.0.last_height;
    if height < long.0.first_height
        || at(height)?.is_none_or(|hash| hash == short.0.last_block_hash)
    {
        return Ok(None);
    }
    let Some(hashes) = decided(long.0)? else { return Ok(None) };
    Ok(prove_block(long.0, height, &hashes).map(|proof| Evidence::DoubleAttestation {
        offender: signer,
        a: (Box::new(short.0.clone()), short.1),
        b: (Box::new(long.0.clone()), long.1),
        height,
        proof_a: BlockProof::of_last(short.0),
        proof_b: proof,
    }))
}

/// The proof of the block at `height` of a batch, if these are the hashes of its blocks.
fn prove_block(header: &BatchHeader, height: Height, hashes: &[B256]) -> Option<BlockProof> {
    let leaves: Vec<B256> = hashes.iter().map(|hash| block_leaf(*hash)).collect();
    if root(&leaves) != header.blocks_root {
        return None;
    }
    let index = usize::try_from(height.get().checked_sub(header.first_height.get())?).ok()?;
    Some(BlockProof { block_hash: *hashes.get(index)?, siblings: prove(&leaves, index)? })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::contradiction;
    use crate::crypto::Signature;
    use crate::crypto::merkle::{block_leaf, root, verify};
    use crate::domain::{BatchHeader, Evidence, Height};
    use alloy::primitives::{Address, B256};
    use std::convert::Infallible;

    const SIGNER: Address = Address::repeat_byte(1);

    fn hash(height: u64) -> B256 {
        B256::with_last_byte(u8::try_from(height).unwrap())
    }

    /// Heights `first` to `last` of the decided chain.
    fn header(first: u64, last: u64) -> BatchHeader {
        let leaves: Vec<B256> = (first..=last).map(|height| block_leaf(hash(height))).collect();
        BatchHeader {
            first_height: Height::new(first),
            last_height: Height::new(last),
            parent_block_hash: hash(first - 1),
            blocks_root: root(&leaves),
            last_block_hash: hash(last),
            ..crate::testing::batch_header(last)
        }
    }

    fn found(one: &BatchHeader, other: &BatchHeader) -> Option<Evidence> {
        let signature = Signature::from_compact([1; 64]);
        let at = |height: Height| Ok::<_, Infallible>(Some(hash(height.get())));
        let decided = |header: &BatchHeader| {
            let heights = header.first_height.get()..=header.last_height.get();
            Ok(Some(heights.map(hash).collect()))
        };
        contradiction(SIGNER, (one, signature), (other, signature), at, decided).unwrap()
    }

    #[test]
    fn a_shorter_batch_of_other_blocks_is_convicted_by_the_decided_one() {
        let long = header(4, 10);
        let forged = BatchHeader { last_block_hash: B256::repeat_byte(9), ..header(4, 7) };
        for evidence in [found(&forged, &long), found(&long, &forged)] {
            let Some(Evidence::DoubleAttestation { a, height, proof_a, proof_b, .. }) = evidence
            else {
                panic!("{evidence:?}");
            };
            assert_eq!((*a.0, height), (forged.clone(), Height::new(7)));
            assert_eq!(proof_a.block_hash, forged.last_block_hash);
            let leaf = block_leaf(proof_b.block_hash);
            assert!(verify(long.blocks_root, leaf, 3, 7, &proof_b.siblings));
        }
    }

    #[test]
    fn another_split_of_the_same_blocks_is_legal() {
        assert_eq!(found(&header(4, 7), &header(4, 10)), None);
        assert_eq!(found(&header(6, 12), &header(4, 10)), None);
    }

    #[test]
    fn batches_that_do_not_meet_and_unknown_blocks_prove_nothing() {
        let forged = BatchHeader { last_block_hash: B256::repeat_byte(9), ..header(4, 7) };
        assert_eq!(found(&forged, &header(9, 12)), None);
        let unknown = BatchHeader { blocks_root: B256::repeat_byte(8), ..header(4, 10) };
        assert_eq!(found(&forged, &unknown), None);
    }
}
