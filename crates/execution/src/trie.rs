//! A Merkle-Patricia tree in memory that hashes only what changed since its last root.
//!
//! Keys are hashes, so all have 64 nibbles, and no key is a prefix of another: a branch never holds a value. Equal contents
//! have one shape, whatever the order of insertions and removals was. Recursion is as deep as a key is long.

use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieMask};

/// The tree. What it holds for a key is the bytes that go into the leaf as they are.
#[derive(Debug, Default, Clone)]
pub(crate) struct Trie {
    root: Option<Box<Node>>,
}

#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    /// How the parent refers to this node, as long as nothing below it has changed.
    reference: Option<RlpNode>,
}

#[derive(Debug, Clone)]
enum Kind {
    Leaf {
        path: Nibbles,
        value: Vec<u8>,
    },
    /// Followed by a branch, never by another extension or a leaf.
    Extension {
        path: Nibbles,
        child: Box<Node>,
    },
    /// At least two children.
    Branch {
        children: Box<[Option<Box<Node>>; 16]>,
    },
}

impl Trie {
    /// Puts `value` where `key` says, instead of what may be there.
    pub(crate) fn insert(&mut self, key: B256, value: Vec<u8>) {
        let path = Nibbles::unpack(key);
        self.root = Some(match self.root.take() {
            Some(node) => node.insert(path, value),
            None => Node::leaf(path, value),
        });
    }

    /// Takes out what `key` leads to, if anything.
    pub(crate) fn remove(&mut self, key: B256) {
        let path = Nibbles::unpack(key);
        self.root = self.root.take().and_then(|node| node.remove(path));
    }

    /// The root; afterwards every node knows its hash.
    pub(crate) fn root(&mut self) -> B256 {
        let Some(root) = &mut self.root else { return EMPTY_ROOT_HASH };
        let mut buffer = Vec::new();
        root.refer(&mut buffer);
        // What the root refers to itself by may be shorter than a hash; the root of the tree never is.
        root.encode(&mut buffer);
        keccak256(&buffer)
    }

    /// The nodes from the root towards `key`, which prove what it leads to, or that it leads nowhere.
    pub(crate) fn prove(&mut self, key: B256) -> Vec<Bytes> {
        // So that every child knows its hash.
        let _ = self.root();
        let path = Nibbles::unpack(key);
        let mut proof = Vec::new();
        let mut next = self.root.as_deref();
        let mut depth = 0_usize;
        while let Some(node) = next {
            let mut bytes = Vec::new();
            node.encode(&mut bytes);
            proof.push(bytes.into());
            let rest = path.slice(depth.min(path.len())..);
            next = match &node.kind {
                Kind::Leaf { .. } => None,
                Kind::Extension { path, child } if rest.starts_with(path) => {
                    depth = depth.saturating_add(path.len());
                    Some(child)
                }
                Kind::Extension { .. } => None,
                Kind::Branch { children } => {
                    depth = depth.saturating_add(1);
                    rest.first().and_then(|nibble| children.get(usize::from(nibble))?.as_deref())
                }
            };
        }
        // A node that its parent holds inside itself is no entry of a proof of its own.
        let mut outer = true;
        proof.retain(|node: &Bytes| std::mem::replace(&mut outer, false) || node.len() >= 32);
        proof
    }
}

impl Node {
    fn leaf(path: Nibbles, value: Vec<u8>) -> Box<Self> {
        Box::new(Self { kind: Kind::Leaf { path, value }, reference: None })
    }

    fn branch(children: Box<[Option<Box<Node>>; 16]>) -> Box<Self> {
        Box::new(Self { kind: Kind::Branch { children }, reference: None })
    }

    /// `self` behind `path`: an extension before a branch; what has a path of its own takes it in front.
    fn behind(mut self: Box<Self>, path: Nibbles) -> Box<Self> {
        if path.is_empty() {
            return self;
        }
        match &mut self.kind {
            Kind::Leaf { path: own, .. } | Kind::Extension { path: own, .. } => {
                *own = path.join(own);
                self.reference = None;
                self
            }
            Kind::Branch { .. } => {
                Box::new(Self { kind: Kind::Extension { path, child: self }, reference: None })
            }
        }
    }

    fn insert(mut self: Box<Self>, path: Nibbles, value: Vec<u8>) -> Box<Self> {
        self.reference = None;
        match self.kind {
            Kind::Leaf { path: own, value: held } => {
                let common = own.common_prefix_length(&path);
                if common == own.len() {
                    return Self::leaf(path, value);
                }
                let mut children = Box::new([const { None }; 16]);
                place(&mut children, &own, common, |rest| Self::leaf(rest, held));
                place(&mut children, &path, common, |rest| Self::leaf(rest, value));
                Self::branch(children).behind(path.slice(..common))
            }
            Kind::Extension { path: own, child } => {
                let common = own.common_prefix_length(&path);
                if common == own.len() {
                    return child.insert(path.slice(common..), value).behind(own);
                }
                let mut children = Box::new([const { None }; 16]);
                place(&mut children, &own, common, |rest| child.behind(rest));
                place(&mut children, &path, common, |rest| Self::leaf(rest, value));
                Self::branch(children).behind(path.slice(..common))
            }
            Kind::Branch { mut children } => {
                let rest = path.slice(1.min(path.len())..);
                if let Some(child) = child_of(&mut children, &path) {
                    *child = Some(match child.take() {
                        Some(node) => node.insert(rest, value),
                        None => Self::leaf(rest, value),
                    });
                }
                self.kind = Kind::Branch { children };
                self
            }
        }
    }

    fn remove(mut self: Box<Self>, path: Nibbles) -> Option<Box<Self>> {
        match self.kind {
            Kind::Leaf { path: own, .. } if own == path => None,
            Kind::Leaf { .. } => Some(self),
            Kind::Extension { path: own, child } => {
                if !path.starts_with(&own) {
                    self.kind = Kind::Extension { path: own, child };
                    return Some(self);
                }
                child.remove(path.slice(own.len()..)).map(|child| child.behind(own))
            }
            Kind::Branch { mut children } => {
                let rest = path.slice(1.min(path.len())..);
                if let Some(child) = child_of(&mut children, &path)
                    && let Some(node) = child.take()
                {
                    *child = node.remove(rest);
                }
                let mut left = children.iter().enumerate().filter(|(_, child)| child.is_some());
                let only = match (left.next(), left.next()) {
                    (Some((index, _)), None) => Some(index),
                    _ => None,
                };
                if let Some(index) = only {
                    let nibble = u8::try_from(index).unwrap_or(u8::MAX);
                    let child = children.get_mut(index).and_then(Option::take);
                    return child.map(|child| child.behind(Nibbles::from_nibbles([nibble])));
                }
                self.reference = None;
                self.kind = Kind::Branch { children };
                Some(self)
            }
        }
    }

    /// How a parent refers to this node: its encoding if that is short, else its hash.
    fn refer(&mut self, buffer: &mut Vec<u8>) -> RlpNode {
        if let Some(reference) = &self.reference {
            return reference.clone();
        }
        match &mut self.kind {
            Kind::Leaf { .. } => {}
            Kind::Extension { child, .. } => {
                child.refer(buffer);
            }
            Kind::Branch { children } => {
                for child in children.iter_mut().flatten() {
                    child.refer(buffer);
                }
            }
        }
        self.encode(buffer);
        let reference = RlpNode::from_rlp(buffer);
        self.reference = Some(reference.clone());
        reference
    }

    /// Writes the node, whose children know how they are referred to.
    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        let reference = |node: &Node| node.reference.clone().unwrap_or_default();
        match &self.kind {
            Kind::Leaf { path, value } => {
                alloy_rlp::Encodable::encode(&LeafNodeRef::new(path, value), buffer);
            }
            Kind::Extension { path, child } => {
                let child = reference(child);
                alloy_rlp::Encodable::encode(&ExtensionNodeRef::new(path, &child), buffer);
            }
            Kind::Branch { children } => {
                let mut stack = Vec::with_capacity(16);
                let mut mask = TrieMask::default();
                for (nibble, child) in (0..16).zip(children.iter()) {
                    if let Some(child) = child {
                        stack.push(reference(child));
                        mask.set_bit(nibble);
                    }
                }
                alloy_rlp::Encodable::encode(&BranchNodeRef::new(&stack, mask), buffer);
            }
        }
    }
}

/// The child that the first nibble of `path` leads to.
fn child_of<'a>(
    children: &'a mut [Option<Box<Node>>; 16],
    path: &Nibbles,
) -> Option<&'a mut Option<Box<Node>>> {
    children.get_mut(usize::from(path.first()?))
}

/// Puts what `make` makes of the nibbles after `at` under the nibble there.
fn place(
    children: &mut [Option<Box<Node>>; 16],
    path: &Nibbles,
    at: usize,
    make: impl FnOnce(Nibbles) -> Box<Node>,
) {
    let from = path.slice(at.min(path.len())..);
    let rest = from.slice(1.min(from.len())..);
    if let Some(child) = child_of(children, &from) {
        *child = Some(make(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::U256;
    use alloy_trie::HashBuilder;
    use alloy_trie::proof::verify_proof;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The root of the same contents as the library computes it from nothing.
    fn root_of(contents: &BTreeMap<B256, Vec<u8>>) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in contents {
            builder.add_leaf(Nibbles::unpack(key), value);
        }
        builder.root()
    }

    /// Few different keys that share long prefixes, so that all shapes occur.
    fn key() -> impl Strategy<Value = B256> {
        (0_u8..4, 0_usize..4, 0_u8..20, any::<bool>()).prop_map(|(value, at, last, low)| {
            let mut key = B256::ZERO;
            key[[0, 1, 15, 30][at]] = if low { value } else { value.wrapping_mul(16) };
            key[31] = last;
            key
        })
    }

    /// Short values make nodes that their parents hold inside themselves.
    fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
        prop_oneof![
            1 => Just(None),
            1 => (1_u64..200).prop_map(|v| Some(alloy_rlp::encode(U256::from(v)))),
            1 => proptest::collection::vec(any::<u8>(), 40).prop_map(Some),
        ]
    }

    proptest! {
        #[test]
        fn has_the_root_of_its_contents_after_each_change(
            changes in proptest::collection::vec((key(), value(), any::<bool>()), 1..60)
        ) {
            let mut trie = Trie::default();
            let mut contents = BTreeMap::new();
            for (key, value, look) in changes {
                match value {
                    Some(value) => { trie.insert(key, value.clone()); contents.insert(key, value); }
                    None => { trie.remove(key); contents.remove(&key); }
                }
                if look {
                    prop_assert_eq!(trie.root(), root_of(&contents));
                }
            }
            prop_assert_eq!(trie.root(), root_of(&contents));
        }

        #[test]
        fn proves_what_is_there_and_what_is_not(
            contents in proptest::collection::btree_map(key(), value(), 1..30), asked in key()
        ) {
            let mut trie = Trie::default();
            let mut held = BTreeMap::new();
            for (key, value) in contents {
                if let Some(value) = value { trie.insert(key, value.clone()); held.insert(key, value); }
            }
            let root = trie.root();
            let proof = trie.prove(asked);
            let value = held.get(&asked).cloned();
            if held.is_empty() { prop_assert!(proof.is_empty()); return Ok(()); }
            prop_assert!(verify_proof(root, Nibbles::unpack(asked), value.clone(), &proof).is_ok());
            let wrong = if value.is_some() { None } else { Some(vec![1]) };
            prop_assert!(verify_proof(root, Nibbles::unpack(asked), wrong, &proof).is_err());
        }
    }

    #[test]
    fn an_empty_tree_has_the_root_of_none() {
        let mut trie = Trie::default();
        assert_eq!(trie.root(), EMPTY_ROOT_HASH);
        trie.insert(B256::repeat_byte(1), vec![1]);
        trie.remove(B256::repeat_byte(1));
        assert_eq!(trie.root(), EMPTY_ROOT_HASH);
        assert!(trie.prove(B256::ZERO).is_empty());
    }
}
