//! The open block's changes over the state of the last closed one, as revm reads and writes them.

use crate::state::{Account, AccountChange, Changes, State};
use alloy_primitives::map::{AddressMap, HashMap};
use alloy_primitives::{Address, B256, U256};
use alloy_trie::KECCAK_EMPTY;
use revm::bytecode::Bytecode;
use revm::database_interface::{DBErrorMarker, Database, DatabaseCommit};
use revm::state::{Account as Touched, AccountInfo};
use std::collections::VecDeque;
use std::fmt;

/// How many blocks back BLOCKHASH reaches.
const REACH: u64 = 256;
/// Contracts whose code is kept ready to run. Beyond, all are given up and read anew.
const READY_CODES: usize = 512;

/// Why the state under a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError<E> {
    #[error(transparent)]
    State(E),
    #[error("the state has no code with hash {hash}, which an account of it has")]
    NoCode { hash: B256 },
}

impl<E: std::error::Error + Send + Sync + 'static> DBErrorMarker for ReadError<E> {}

/// Code that was made ready to run. It changes what execution costs, never what it does.
#[derive(Debug, Default)]
pub(crate) struct ReadyCodes(HashMap<B256, Bytecode>);

/// Hashes of the newest blocks.
#[derive(Debug)]
pub(crate) struct Hashes {
    /// The last is that of `newest`.
    hashes: VecDeque<B256>,
    newest: u64,
}

impl Hashes {
    pub(crate) fn new(genesis: B256) -> Self {
        Self { hashes: VecDeque::from([genesis]), newest: 0 }
    }

    /// Adds the next block's, and keeps what BLOCKHASH may ask for after `undoable` blocks are undone.
    pub(crate) fn push(&mut self, hash: B256, undoable: usize) {
        self.hashes.push_back(hash);
        self.newest = self.newest.saturating_add(1);
        let reach = usize::try_from(REACH).unwrap_or(usize::MAX);
        while self.hashes.len() > reach.saturating_add(undoable) {
            self.hashes.pop_front();
        }
    }

    pub(crate) fn pop(&mut self) {
        self.hashes.pop_back();
        self.newest = self.newest.saturating_sub(1);
    }

    /// The hash of a block that BLOCKHASH may ask for. Others it does not ask for; they would be 0 as the opcode has it.
    fn get(&self, number: u64) -> B256 {
        let back = self.newest.checked_sub(number).filter(|back| *back < REACH);
        let index = back.and_then(|back| {
            self.hashes.len().checked_sub(usize::try_from(back).ok()?.checked_add(1)?)
        });
        index.and_then(|index| self.hashes.get(index)).copied().unwrap_or_default()
    }
}

/// A state as the open block sees it.
pub(crate) struct View<'a, S> {
    pub(crate) state: &'a S,
    pub(crate) changes: &'a mut Changes,
    pub(crate) hashes: &'a Hashes,
    pub(crate) codes: &'a mut ReadyCodes,
}

/// The library wants one; a whole state is nothing to print.
impl<S> fmt::Debug for View<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("changes", &self.changes.accounts.len())
            .finish_non_exhaustive()
    }
}

impl<S: State> View<'_, S> {
    fn commit_account(&mut self, address: Address, touched: Touched) {
        if !touched.is_touched() {
            return;
        }
        let destroyed = touched.is_selfdestructed();
        let change = self.changes.accounts.entry(address).or_default();
        // What is created anew finds no storage, whatever stood there: from a destroyed contract of the same block, say.
        if destroyed || touched.is_created() {
            change.wiped = true;
            change.slots.clear();
        }
        // An account that is touched and empty is none (EIP-161).
        if destroyed || touched.info.is_empty() {
            *change = AccountChange { account: None, wiped: true, slots: Default::default() };
            return;
        }
        let code_hash = touched.info.code_hash;
        change.account =
            Some(Account { nonce: touched.info.nonce, balance: touched.info.balance, code_hash });
        for (slot, value) in &touched.storage {
            if value.is_changed() {
                change.slots.insert(*slot, value.present_value());
            }
        }
        // Code that is ready may be in no state: the block that brought it was given up or undone.
        if (touched.is_created() || touched.original_info().code_hash != code_hash)
            && code_hash != KECCAK_EMPTY
            && let Some(code) = touched.info.code
        {
            self.changes.codes.insert(code_hash, code.original_bytes());
            self.codes.keep(code_hash, code);
        }
    }
}

impl ReadyCodes {
    fn keep(&mut self, hash: B256, code: Bytecode) {
        if self.0.len() >= READY_CODES {
            self.0.clear();
        }
        self.0.insert(hash, code);
    }
}

impl<S: State> Database for View<'_, S> {
    type Error = ReadError<S::Error>;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Self::Error> {
        let account = match self.changes.accounts.get(&address) {
            Some(change) => change.account,
            None => self.state.account(address).map_err(ReadError::State)?,
        };
        Ok(account.map(|Account { nonce, balance, code_hash }| AccountInfo {
            nonce,
            balance,
            code_hash,
            code: (code_hash == KECCAK_EMPTY).then(Bytecode::default),
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Self::Error> {
        if let Some(code) = self.codes.0.get(&hash) {
            return Ok(code.clone());
        }
        let bytes = match self.changes.codes.get(&hash) {
            Some(bytes) => bytes.clone(),
            None => {
                let held = self.state.code(hash).map_err(ReadError::State)?;
                held.ok_or(ReadError::NoCode { hash })?
            }
        };
        // Bytes that begin like a delegation and are none can stand in a genesis file: they are code that does nothing.
        let code = Bytecode::new_raw_checked(bytes.clone())
            .unwrap_or_else(|_| Bytecode::new_legacy(bytes));
        self.codes.keep(hash, code.clone());
        Ok(code)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Self::Error> {
        if let Some(change) = self.changes.accounts.get(&address) {
            match change.slots.get(&slot) {
                Some(value) => return Ok(*value),
                None if change.wiped => return Ok(U256::ZERO),
                None => {}
            }
        }
        self.state.slot(address, slot).map_err(ReadError::State)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Self::Error> {
        Ok(self.hashes.get(number))
    }
}

impl<S: State> DatabaseCommit for View<'_, S> {
    fn commit(&mut self, changes: AddressMap<Touched>) {
        // In any order: each account is written on its own, and what is kept is sorted.
        for (address, account) in changes {
            self.commit_account(address, account);
        }
    }
}
