//! What execution reads and changes: accounts, their storage and their code, with the root that stands in a header.

use alloy_primitives::{Address, B256, Bytes, U256};
use std::collections::BTreeMap;

/// An account as the state tree knows it, but for the root of its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// How many transactions it has sent, or contracts created.
    pub nonce: u64,
    /// In wei.
    pub balance: U256,
    /// Keccak of its code; that of nothing if it has none.
    pub code_hash: B256,
}

/// What a block changes of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The account afterwards; `None` if there is none any more.
    pub account: Option<Account>,
    /// Whether nothing remains of the storage that it had before the block.
    pub wiped: bool,
    /// Slots with their values afterwards; 0 empties one.
    pub slots: BTreeMap<U256, U256>,
}

/// What a block changes, in one order on every machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// By address.
    pub accounts: BTreeMap<Address, AccountChange>,
    /// Code that may be new, by its hash. Code is never taken back: another account may have the same.
    pub codes: BTreeMap<B256, Bytes>,
}

/// The state of a rollup after its last closed block.
///
/// An implementation keeps, for every block that can still be undone, what undoes it. It is all or nothing: after an error
/// the state is what it was before the call.
pub trait State {
    /// What can go wrong: a disk, never a transaction.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The account at `address`, if there is one.
    ///
    /// # Errors
    ///
    /// Whatever keeps the state cannot be read.
    fn account(&self, address: Address) -> Result<Option<Account>, Self::Error>;

    /// What the slot of an account holds; 0 if nothing.
    ///
    /// # Errors
    ///
    /// Whatever keeps the state cannot be read.
    fn slot(&self, address: Address, slot: U256) -> Result<U256, Self::Error>;

    /// The code with this hash, if an account has ever had it.
    ///
    /// # Errors
    ///
    /// Whatever keeps the state cannot be read.
    fn code(&self, hash: B256) -> Result<Option<Bytes>, Self::Error>;

    /// Takes a block's changes in, so that [`State::undo`] can take them back, and tells the root that they make.
    ///
    /// # Errors
    ///
    /// Whatever keeps the state cannot be read or written.
    fn apply(&mut self, changes: Changes) -> Result<B256, Self::Error>;

    /// Takes the last block back that was applied and not sealed, and tells the root before it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Whatever keeps the state cannot be read or written.
    fn undo(&mut self) -> Result<Option<B256>, Self::Error>;

    /// Gives up what would undo all but the last `kept` blocks: those before are settled.
    ///
    /// # Errors
    ///
    /// Whatever keeps the state cannot be written.
    fn seal(&mut self, kept: usize) -> Result<(), Self::Error>;
}
