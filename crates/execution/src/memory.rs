//! A state in memory, with roots that cost what changed and undo of what is not sealed.

use crate::state::{Account, AccountChange, Changes, State};
use crate::trie::Trie;
use alloy_primitives::map::HashMap;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{KECCAK_EMPTY, TrieAccount};
use std::collections::VecDeque;
use std::convert::Infallible;

/// Accounts, storage and code in maps that are only ever asked for one key, and the trees over them.
#[derive(Debug, Default)]
pub struct MemoryState {
    accounts: HashMap<Address, Held>,
    codes: HashMap<B256, Bytes>,
    tree: Trie,
    /// Of each block that is not sealed: what it changed, as it was before.
    undo: VecDeque<Vec<(Address, Before)>>,
}

#[derive(Debug)]
struct Held {
    account: Account,
    storage: Storage,
}

#[derive(Debug, Default)]
struct Storage {
    slots: HashMap<U256, U256>,
    tree: Trie,
}

/// An account before a block.
#[derive(Debug)]
struct Before {
    account: Option<Account>,
    /// Its whole storage, if the block wiped it.
    storage: Option<Storage>,
    /// Otherwise the slots that changed.
    slots: Vec<(U256, U256)>,
}

/// What proves an account and some of its slots under a state root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The account, `None` if the proof is that there is none.
    pub account: Option<TrieAccount>,
    /// Nodes from the state root towards the account.
    pub nodes: Vec<Bytes>,
    /// For each slot that was asked for: its value, and the nodes from the storage root towards it.
    pub slots: Vec<(U256, Vec<Bytes>)>,
}

impl Storage {
    fn set(&mut self, slot: U256, value: U256) -> U256 {
        let key = keccak256(slot.to_be_bytes::<32>());
        if value.is_zero() {
            self.tree.remove(key);
            self.slots.remove(&slot)
        } else {
            self.tree.insert(key, alloy_rlp::encode(value));
            self.slots.insert(slot, value)
        }
        .unwrap_or_default()
    }
}

impl Held {
    fn leaf(&mut self) -> TrieAccount {
        let Account { nonce, balance, code_hash } = self.account;
        TrieAccount { nonce, balance, storage_root: self.storage.tree.root(), code_hash }
    }
}

impl MemoryState {
    /// Nodes that prove what stands under the root for `address`, and for each of `slots`.
    pub fn prove(&mut self, address: Address, slots: &[U256]) -> Proof {
        let nodes = self.tree.prove(keccak256(address));
        let mut held = self.accounts.get_mut(&address);
        let account = held.as_deref_mut().map(Held::leaf);
        let slots = slots
            .iter()
            .map(|slot| match held.as_deref_mut() {
                Some(held) => {
                    let value = held.storage.slots.get(slot).copied().unwrap_or_default();
                    (value, held.storage.tree.prove(keccak256(slot.to_be_bytes::<32>())))
                }
                None => (U256::ZERO, Vec::new()),
            })
            .collect();
        Proof { account, nodes, slots }
    }

    fn change(&mut self, address: Address, change: AccountChange) -> Before {
        let mut held = self.accounts.remove(&address);
        let mut before = Before {
            account: held.as_ref().map(|held| held.account),
            storage: None,
            slots: Vec::new(),
        };
        let gone = change.account.is_none() || change.wiped;
        if gone && let Some(held) = &mut held {
            before.storage = Some(std::mem::take(&mut held.storage));
        }
        let key = keccak256(address);
        let Some(account) = change.account else {
            self.tree.remove(key);
            return before;
        };
        let storage = held.map(|held| held.storage).unwrap_or_default();
        let mut held = Held { account, storage };
        for (slot, value) in change.slots {
            let old = held.storage.set(slot, value);
            if before.storage.is_none() {
                before.slots.push((slot, old));
            }
        }
        self.tree.insert(key, alloy_rlp::encode(held.leaf()));
        self.accounts.insert(address, held);
        before
    }

    fn restore(&mut self, address: Address, before: Before) {
        let key = keccak256(address);
        let held = self.accounts.remove(&address);
        let Some(account) = before.account else {
            self.tree.remove(key);
            return;
        };
        let storage = before.storage.or(held.map(|held| held.storage)).unwrap_or_default();
        let mut held = Held { account, storage };
        for (slot, value) in before.slots {
            held.storage.set(slot, value);
        }
        self.tree.insert(key, alloy_rlp::encode(held.leaf()));
        self.accounts.insert(address, held);
    }
}

impl State for MemoryState {
    type Error = Infallible;

    fn account(&self, address: Address) -> Result<Option<Account>, Infallible> {
        Ok(self.accounts.get(&address).map(|held| held.account))
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        let held = self.accounts.get(&address);
        Ok(held.and_then(|held| held.storage.slots.get(&slot)).copied().unwrap_or_default())
    }

    fn code(&self, hash: B256) -> Result<Option<Bytes>, Infallible> {
        if hash == KECCAK_EMPTY {
            return Ok(Some(Bytes::new()));
        }
        Ok(self.codes.get(&hash).cloned())
    }

    fn apply(&mut self, changes: Changes) -> Result<B256, Infallible> {
        self.codes.extend(changes.codes);
        let mut undo = Vec::with_capacity(changes.accounts.len());
        for (address, change) in changes.accounts {
            undo.push((address, self.change(address, change)));
        }
        self.undo.push_back(undo);
        Ok(self.tree.root())
    }

    fn undo(&mut self) -> Result<Option<B256>, Infallible> {
        let Some(undo) = self.undo.pop_back() else { return Ok(None) };
        for (address, before) in undo {
            self.restore(address, before);
        }
        Ok(Some(self.tree.root()))
    }

    fn seal(&mut self, kept: usize) -> Result<(), Infallible> {
        while self.undo.len() > kept {
            self.undo.pop_front();
        }
        Ok(())
    }
}
