//! Trees and proofs (R25).

use crate::chain::Chain;
use crate::harness::{Harness, LeafOutsideTree, ProofCase, ProofLengthWrong};
use crate::inputs;
use alloy::primitives::{B256, U256};
use alloy::sol_types::SolError as _;
use rand::Rng as _;
use rand::rngs::StdRng;
use rota::crypto::merkle;
use rota::domain::RollupId;

const TREES: usize = 64;
const PROOFS: usize = 8;
/// Proofs of trees that nobody could build, which both judge by index and size.
const GIANTS: usize = 256;

/// What one leaf stands for.
#[derive(Clone, Copy)]
struct Content {
    of_block: bool,
    rollup: u64,
    hash: B256,
}

impl Content {
    fn leaf(self) -> B256 {
        if self.of_block {
            merkle::block_leaf(self.hash)
        } else {
            merkle::transaction_leaf(RollupId::new(self.rollup), self.hash)
        }
    }
}

/// A case, and the root under which it should be found.
struct Claim {
    content: Content,
    index: u64,
    size: u64,
    siblings: Vec<B256>,
    root: B256,
    holds: bool,
}

impl Claim {
    fn case(&self) -> ProofCase {
        ProofCase {
            ofBlock: self.content.of_block,
            rollup: self.content.rollup,
            content: self.content.hash,
            index: U256::from(self.index),
            size: U256::from(self.size),
            siblings: self.siblings.clone(),
        }
    }
}

fn contents(random: &mut StdRng) -> Vec<Content> {
    let of_block = random.r#gen();
    let size = match random.gen_range(0..4) {
        0 => random.gen_range(1..5),
        1 => 1 << random.gen_range(0..9),
        _ => random.gen_range(1..300),
    };
    (0..size)
        .map(|_| Content {
            of_block,
            rollup: if of_block { 0 } else { inputs::number(random, 64) },
            hash: B256::new(random.r#gen()),
        })
        .collect()
}

/// A proof of a leaf, and the same with one thing wrong.
fn claims(random: &mut StdRng, contents: &[Content]) -> [Claim; 2] {
    let leaves: Vec<B256> = contents.iter().map(|content| content.leaf()).collect();
    let (root, size) = (merkle::root(&leaves), leaves.len());
    let index = random.gen_range(0..size);
    let good = || Claim {
        content: contents[index],
        index: index as u64,
        size: size as u64,
        siblings: merkle::prove(&leaves, index).unwrap(),
        root,
        holds: true,
    };
    let mut bad = Claim { holds: false, ..good() };
    match random.gen_range(0..7) {
        0 => bad.siblings.push(B256::new(random.r#gen())),
        1 if bad.siblings.pop().is_some() => {}
        2 if !bad.siblings.is_empty() => {
            let at = random.gen_range(0..bad.siblings.len());
            bad.siblings[at] = B256::new(random.r#gen());
        }
        3 => bad.content.hash = B256::new(random.r#gen()),
        4 if size > 1 => bad.index = (bad.index + random.gen_range(1..bad.size)) % bad.size,
        5 => bad.index = bad.size + random.gen_range(0..3),
        _ => bad.content.of_block = !bad.content.of_block,
    }
    [good(), bad]
}

fn giant(random: &mut StdRng) -> Claim {
    let count = random.gen_range(0..66);
    Claim {
        content: Content { of_block: true, rollup: 0, hash: inputs::word(random) },
        index: inputs::number(random, 64),
        size: inputs::number(random, 64),
        siblings: (0..count).map(|_| inputs::word(random)).collect(),
        root: B256::ZERO,
        holds: false,
    }
}

/// How many levels of such a tree have a sibling for the leaf's node.
fn proof_length(index: u64, size: u64) -> usize {
    let (mut place, mut width, mut length) = (index, size, 0);
    while width > 1 {
        length += usize::from(place ^ 1 < width);
        place /= 2;
        width = width.div_ceil(2);
    }
    length
}

#[tokio::test]
async fn random_proofs_lead_both_to_the_same_root_or_to_the_error_that_is_due() {
    let mut random = inputs::generator();
    let mut claims: Vec<Claim> = Vec::new();
    for _ in 0..TREES {
        let contents = contents(&mut random);
        claims.extend((0..PROOFS / 2).flat_map(|_| self::claims(&mut random, &contents)));
    }
    claims.extend((0..GIANTS).map(|_| giant(&mut random)));
    // Siblings of the right number, so that the giants' sides are compared and not their lengths alone.
    for claim in claims.iter_mut().rev().take(GIANTS / 2).filter(|claim| claim.index < claim.size) {
        let length = proof_length(claim.index, claim.size);
        claim.siblings.resize_with(length, || B256::new(random.r#gen()));
    }

    let chain = Chain::start().await;
    let cases = claims.iter().map(Claim::case).collect();
    let answers = chain.harness(Harness::rootsOfCall { cases }).await;

    assert_eq!(answers.len(), claims.len());
    for (i, (claim, answer)) in claims.iter().zip(&answers).enumerate() {
        let Claim { content, index, size, siblings, root, holds } = claim;
        let verify = |root| merkle::verify(root, content.leaf(), *index, *size, siblings);
        let expected = proof_length(*index, *size);
        assert_eq!(verify(*root), *holds, "claim {i}: {index} of {size}");
        if index >= size {
            let error = LeafOutsideTree { size: U256::from(*size), index: U256::from(*index) };
            assert_eq!(answer.error, error.abi_encode(), "claim {i}");
            assert!(!verify(answer.root), "claim {i}: {index} of {size}");
        } else if siblings.len() == expected {
            assert!(answer.error.is_empty(), "claim {i}: {}", answer.error);
            assert_eq!(answer.root == *root, *holds, "claim {i}: {index} of {size}");
            assert!(verify(answer.root), "claim {i}: {index} of {size}, root {}", answer.root);
        } else {
            let (expected, actual) = (U256::from(expected), U256::from(siblings.len()));
            let error = ProofLengthWrong { expected, actual };
            assert_eq!(answer.error, error.abi_encode(), "claim {i}");
            assert!(!verify(answer.root), "claim {i}: {index} of {size}");
        }
    }
}
