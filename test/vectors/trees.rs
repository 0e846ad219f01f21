//! `trees.json`: roots and proofs of trees of blocks and transactions (R25).

use crate::json::{dec, hex, number, word};
use alloy::primitives::B256;
use rota::crypto::merkle;
use rota::domain::RollupId;
use serde_json::{Value, json};

const SIZES: [u64; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 100];

fn block_leaves(size: u64) -> Vec<B256> {
    (0..size).map(|i| merkle::block_leaf(word("block", i))).collect()
}

fn rollup(i: u64) -> RollupId {
    match i % 4 {
        0 => RollupId::new(1),
        1 => RollupId::new(u64::MAX),
        _ => RollupId::new(number("rollup", i)),
    }
}

fn transaction_leaves(size: u64) -> Vec<B256> {
    (0..size).map(|i| merkle::transaction_leaf(rollup(i), word("transaction", i))).collect()
}

fn proof(leaves: &[B256], index: usize) -> Value {
    let siblings = merkle::prove(leaves, index).unwrap();
    let root = merkle::root(leaves);
    assert!(merkle::verify(root, leaves[index], index as u64, leaves.len() as u64, &siblings));
    json!({
        "root": hex(root), "leaf": hex(leaves[index]), "index": index, "size": leaves.len(),
        "siblings": siblings.iter().map(hex).collect::<Vec<_>>(), "valid": true,
    })
}

/// Proofs that prove nothing: one sibling too many or too few, another index, another size, another leaf.
fn broken(leaves: &[B256]) -> Vec<Value> {
    let index = leaves.len() - 1;
    let (root, size) = (merkle::root(leaves), leaves.len() as u64);
    let good = merkle::prove(leaves, index).unwrap();
    let longer = [&good[..], &[B256::ZERO]].concat();
    let shorter = good[1..].to_vec();
    let at = index as u64;
    let cases = [
        (leaves[index], at, size, longer),
        (leaves[index], at, size, shorter),
        (leaves[index], at - 1, size, good.clone()),
        (leaves[index], size, size, good.clone()),
        (leaves[index], at, size + 4, good.clone()),
        (leaves[0], at, size, good),
    ];
    cases
        .into_iter()
        .map(|(leaf, index, size, siblings)| {
            assert!(!merkle::verify(root, leaf, index, size, &siblings));
            json!({
                "root": hex(root), "leaf": hex(leaf), "index": index, "size": size,
                "siblings": siblings.iter().map(hex).collect::<Vec<_>>(), "valid": false,
            })
        })
        .collect()
}

#[test]
fn trees_hold() {
    let blocks: Vec<Value> = SIZES
        .iter()
        .map(|size| {
            let hashes: Vec<Value> = (0..*size).map(|i| hex(word("block", i))).collect();
            json!({ "size": size, "hashes": hashes, "root": hex(merkle::root(&block_leaves(*size))) })
        })
        .collect();
    let transactions: Vec<Value> = SIZES
        .iter()
        .map(|size| {
            let rollups: Vec<Value> = (0..*size).map(|i| dec(rollup(i).get())).collect();
            let hashes: Vec<Value> = (0..*size).map(|i| hex(word("transaction", i))).collect();
            let root = merkle::root(&transaction_leaves(*size));
            json!({ "size": size, "rollups": rollups, "hashes": hashes, "root": hex(root) })
        })
        .collect();
    let mut proofs = Vec::new();
    for leaves in SIZES.iter().skip(1).map(|size| block_leaves(*size)) {
        let last = leaves.len() - 1;
        let mut indexes = vec![0, last / 2, last];
        indexes.dedup();
        proofs.extend(indexes.into_iter().map(|index| proof(&leaves, index)));
    }
    for size in [3, 6, 33] {
        proofs.extend(broken(&transaction_leaves(size)));
        proofs.push(proof(&transaction_leaves(size), 1));
    }
    crate::hold(
        "trees.json",
        &json!({ "blocks": blocks, "transactions": transactions, "proofs": proofs }),
    );
}
