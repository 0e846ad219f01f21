//! Merkle trees (R25). Consensus-critical, and checked on L1 by the same rules.
//!
//! A leaf is keccak256(0x00 ‖ content), a node keccak256(0x01 ‖ left ‖ right); the last node of an odd level is promoted
//! as it is; the empty tree's root is keccak256(0x02). The number of leaves is always known from a header, so which side
//! a sibling stands on, and on which levels there is one, follow from (index, size) and are not part of a proof.

use crate::domain::RollupId;
use alloy::primitives::{B256, keccak256};

/// Leaf of a transaction tree: keccak256(0x00 ‖ rollup as 8 bytes ‖ transaction hash).
pub fn transaction_leaf(rollup: RollupId, tx_hash: B256) -> B256 {
    let mut bytes = [0; 41];
    bytes[1..9].copy_from_slice(&rollup.get().to_be_bytes());
    bytes[9..].copy_from_slice(tx_hash.as_slice());
    keccak256(bytes)
}

/// Leaf of a tree of blocks: keccak256(0x00 ‖ block hash).
pub fn block_leaf(block_hash: B256) -> B256 {
    let mut bytes = [0; 33];
    bytes[1..].copy_from_slice(block_hash.as_slice());
    keccak256(bytes)
}

/// Root of the tree over `leaves`.
pub fn root(leaves: &[B256]) -> B256 {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    level.first().copied().unwrap_or_else(|| keccak256([0x02]))
}

/// The siblings of leaf `index`, from the bottom up; `None` if there is no such leaf.
pub fn prove(leaves: &[B256], index: usize) -> Option<Vec<B256>> {
    if index >= leaves.len() {
        return None;
    }
    let mut siblings = Vec::new();
    let mut level = leaves.to_vec();
    let mut place = index;
    while level.len() > 1 {
        siblings.extend(level.get(place ^ 1));
        level = parents(&level);
        place /= 2;
    }
    Some(siblings)
}

/// Whether `siblings` prove that `leaf` is number `index` of the `size` leaves under `root`. A proof that is shorter or
/// longer than (index, size) ask for proves nothing.
pub fn verify(root: B256, leaf: B256, index: u64, size: u64, siblings: &[B256]) -> bool {
    if index >= size {
        return false;
    }
    let mut rest = siblings.iter();
    let (mut node, mut place, mut width) = (leaf, index, size);
    while width > 1 {
        // The last node of an odd level has no sibling and is promoted.
        if place ^ 1 < width {
            let Some(sibling) = rest.next() else { return false };
            node = if place % 2 == 0 { join(node, *sibling) } else { join(*sibling, node) };
        }
        place /= 2;
        width = width.div_ceil(2);
    }
    rest.next().is_none() && node == root
}

/// The next level up.
fn parents(level: &[B256]) -> Vec<B256> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => join(*left, *right),
            [promoted, ..] => *promoted,
            [] => B256::ZERO, // chunks are never empty
        })
        .collect()
}

fn join(left: B256, right: B256) -> B256 {
    let mut bytes = [0; 65];
    bytes[0] = 0x01;
    bytes[1..33].copy_from_slice(left.as_slice());
    bytes[33..].copy_from_slice(right.as_slice());
    keccak256(bytes)
}

#[cfg(test)]
mod tests {
    use super::{block_leaf, join, prove, root, transaction_leaf, verify};
    use crate::domain::RollupId;
    use alloy::primitives::{B256, keccak256};
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<B256> {
        (0..count).map(|i| block_leaf(keccak256(i.to_string()))).collect()
    }

    #[test]
    fn the_empty_tree_has_a_root_of_its_own() {
        assert_eq!(root(&[]), keccak256([0x02]));
        assert_eq!(prove(&[], 0), None);
        assert!(!verify(root(&[]), B256::ZERO, 0, 0, &[]));
    }

    #[test]
    fn a_single_leaf_is_its_own_root() {
        let only = leaves(1);
        assert_eq!(root(&only), only[0]);
        assert!(verify(only[0], only[0], 0, 1, &[]));
    }

    #[test]
    fn the_last_of_an_odd_level_is_promoted() {
        let l = leaves(5);
        let expected = join(join(join(l[0], l[1]), join(l[2], l[3])), l[4]);
        assert_eq!(root(&l), expected);
        assert_eq!(prove(&l, 4).unwrap(), vec![join(join(l[0], l[1]), join(l[2], l[3]))]);
    }

    #[test]
    fn leaves_of_transactions_tell_rollups_apart() {
        let hash = keccak256("tx");
        assert_ne!(
            transaction_leaf(RollupId::new(1), hash),
            transaction_leaf(RollupId::new(2), hash)
        );
    }

    proptest! {
        #[test]
        fn every_leaf_has_a_proof_and_only_at_its_place(size in 1_usize..70, pick in any::<prop::sample::Index>()) {
            let all = leaves(size);
            let index = pick.index(size);
            let proof = prove(&all, index).unwrap();
            let top = root(&all);
            prop_assert!(verify(top, all[index], index as u64, size as u64, &proof));
            for other in (0..size).filter(|other| *other != index) {
                prop_assert!(!verify(top, all[index], other as u64, size as u64, &proof));
            }
        }

        #[test]
        fn a_proof_of_any_other_length_or_content_is_refused(
            size in 2_usize..70, pick in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
        ) {
            let all = leaves(size);
            let index = pick.index(size);
            let proof = prove(&all, index).unwrap();
            let (top, leaf) = (root(&all), all[index]);
            let mut longer = proof.clone();
            longer.push(B256::ZERO);
            prop_assert!(!verify(top, leaf, index as u64, size as u64, &longer));
            prop_assert!(!verify(top, leaf, index as u64, size as u64, &proof[1..]));
            let mut wrong = proof.clone();
            let place = flip.index(wrong.len());
            wrong[place].0[0] ^= 1;
            prop_assert!(!verify(top, leaf, index as u64, size as u64, &wrong));
        }
    }
}
