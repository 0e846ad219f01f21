//! Heights in, blocks out.

use crate::block::{Block, Executed, Fate, Height, Pending};
use crate::genesis::Genesis;
use crate::open::{Finished, Ground, Open};
use crate::overlay::{Hashes, ReadyCodes};
use crate::skip::SkipReason;
use crate::state::{Account, AccountChange, Changes, State};
use crate::transaction::Prepared;
use alloy_consensus::Header;
use alloy_evm::block::BlockExecutionError;
use alloy_primitives::{B256, U256};
use alloy_trie::KECCAK_EMPTY;
use std::collections::VecDeque;

/// Why heights are not taken, or not executed. None of it is a transaction's doing.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError<E: std::error::Error + 'static> {
    /// The state cannot be read or written.
    #[error("the state of the rollup: {0}")]
    State(#[source] E),
    /// The state cannot be read while executing, or something went wrong that no order can bring about.
    #[error("height {height}: {source}")]
    Machine {
        /// What was executed.
        height: u64,
        /// As the executor says it.
        #[source]
        source: Box<BlockExecutionError>,
    },
    /// The state that a genesis file was put into was not empty, or does not do what a state should.
    #[error("the state has root {found} after genesis, whose header says {expected}")]
    GenesisRoot {
        /// What the state says.
        found: B256,
        /// What the file says.
        expected: B256,
    },
    /// A height was left out or came twice.
    #[error("height {found} was given, and {expected} is next")]
    Height {
        /// The number that was given.
        found: u64,
        /// The one that would be taken.
        expected: u64,
    },
    /// The state cannot be read for a call.
    #[error("call: {reason}")]
    Call {
        /// Why not.
        reason: String,
    },
    /// What was settled is not undone.
    #[error("heights above {height} cannot be undone: {settled} and those before it are settled")]
    Settled {
        /// Where to go back to.
        height: u64,
        /// The last height of the last block that is settled.
        settled: u64,
    },
}

/// A closed block, as far as the next one needs it.
#[derive(Debug, Clone)]
struct Tip {
    header: Header,
    hash: B256,
    /// The last height of its second. Its second can only be known to be over by a height after that.
    last_height: u64,
}

/// Executes the derived order of one rollup: rules X1 to X4 of the protocol.
///
/// The same heights give the same blocks, whatever is undone and done anew in between, and however they are cut into calls.
/// After an error the executor stands behind its last closed block; [`Executor::next_height`] says what to give it then.
#[derive(Debug)]
pub struct Executor<S> {
    genesis: Genesis,
    state: S,
    /// The last block that is not undone any more.
    base: Tip,
    /// Those after it.
    closed: VecDeque<Tip>,
    open: Option<Open>,
    /// A block that was closed by a height which could then not be executed itself: told with the next one that can.
    untold: Option<Block>,
    next_height: u64,
    /// Of the height before the next.
    timestamp_ms: u64,
    hashes: Hashes,
    codes: ReadyCodes,
}

impl<S: State> Executor<S> {
    /// Begins a chain in an empty state.
    ///
    /// # Errors
    ///
    /// [`ExecutionError::GenesisRoot`] if the state was not empty, [`ExecutionError::State`].
    pub fn new(genesis: Genesis, mut state: S) -> Result<Self, ExecutionError<S::Error>> {
        let found = state.apply(changes_of(&genesis)).map_err(ExecutionError::State)?;
        let expected = genesis.header().state_root;
        if found != expected {
            return Err(ExecutionError::GenesisRoot { found, expected });
        }
        state.seal(0).map_err(ExecutionError::State)?;
        let base = Tip { header: genesis.header().clone(), hash: genesis.hash(), last_height: 0 };
        Ok(Self {
            hashes: Hashes::new(genesis.hash()),
            genesis,
            state,
            base,
            closed: VecDeque::new(),
            open: None,
            untold: None,
            next_height: 1,
            timestamp_ms: 0,
            codes: ReadyCodes::default(),
        })
    }

    /// The height that [`Executor::execute`] takes next.
    #[must_use]
    pub const fn next_height(&self) -> u64 {
        self.next_height
    }

    /// The last closed block: its header and its hash.
    #[must_use]
    pub fn head(&self) -> (&Header, B256) {
        let tip = self.tip();
        (&tip.header, tip.hash)
    }

    /// The genesis block and the rules.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The state after the last closed block.
    #[must_use]
    pub const fn state(&self) -> &S {
        &self.state
    }

    /// The same, for whoever proves something of it.
    pub const fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// What the open second holds, if it holds anything.
    #[must_use]
    pub fn pending(&self) -> Option<Pending<'_>> {
        self.open.as_ref().map(Open::pending)
    }

    /// Reads a transaction for this chain.
    #[must_use]
    pub fn prepare(&self, raw: &[u8]) -> Prepared {
        Prepared::new(raw, self.genesis.chain_id())
    }

    /// Executes the next height. One of a later second closes the block of the open one first. One that is dated before the
    /// one before it counts as dated like that.
    ///
    /// # Errors
    ///
    /// [`ExecutionError::Height`] changes nothing. After [`ExecutionError::State`] and
    /// [`ExecutionError::Machine`] the open second is given up; a block that the height closed before it failed is told by
    /// the next call that does not fail.
    pub fn execute(&mut self, height: Height) -> Result<Executed, ExecutionError<S::Error>> {
        let number = height.number;
        if number != self.next_height {
            return Err(ExecutionError::Height { found: number, expected: self.next_height });
        }
        // Only who has more than two thirds of the weight can order such a height. Whatever settles is executed.
        let timestamp_ms = height.timestamp_ms.max(self.timestamp_ms);
        let height = Height { timestamp_ms, ..height };
        let done = self.close_before(height.second(), number).and_then(|closed| {
            if closed.is_some() {
                self.untold = closed;
            }
            self.add(height)
        });
        match done {
            Ok(fates) => {
                self.next_height = number.saturating_add(1);
                self.timestamp_ms = timestamp_ms;
                Ok(Executed { closed: self.untold.take(), fates })
            }
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// Goes on above `height` without executing what is left up to it: heights that nobody can read bring nothing (R44).
    pub fn pass(&mut self, height: u64) {
        self.next_height = self.next_height.max(height.saturating_add(1));
    }

    /// Says that `height` and all before it are settled: blocks that they close can be undone no more.
    ///
    /// The block of the last settled height itself is not among them: a height of the same second could still follow, as far
    /// as what is settled shows.
    ///
    /// # Errors
    ///
    /// [`ExecutionError::State`].
    pub fn settle(&mut self, height: u64) -> Result<(), ExecutionError<S::Error>> {
        let height = height.min(self.next_height.saturating_sub(1));
        let settled = self.closed.iter().take_while(|tip| tip.last_height < height).count();
        let kept = self.closed.len().saturating_sub(settled);
        self.state.seal(kept).map_err(ExecutionError::State)?;
        if let Some(base) = self.closed.drain(..settled).next_back() {
            self.base = base;
        }
        Ok(())
    }

    /// Undoes all heights above `height`, as a restart does (R33), and tells which is next: at most `height` + 1, and less
    /// where the block of `height` has to be executed anew, since other heights may follow in its second now.
    ///
    /// # Errors
    ///
    /// [`ExecutionError::Settled`], [`ExecutionError::State`].
    pub fn undo_above(&mut self, height: u64) -> Result<u64, ExecutionError<S::Error>> {
        if height >= self.next_height.saturating_sub(1) {
            return Ok(self.next_height);
        }
        let settled = self.base.last_height;
        if settled > height || (settled == height && self.base.header.number > 0) {
            return Err(ExecutionError::Settled { height, settled });
        }
        self.open = None;
        while self.closed.back().is_some_and(|tip| tip.last_height >= height) {
            if self.state.undo().map_err(ExecutionError::State)?.is_none() {
                // Somebody sealed the state behind our back: what is left stands.
                let settled = self.tip().last_height;
                self.give_up();
                return Err(ExecutionError::Settled { height, settled });
            }
            self.closed.pop_back();
            self.hashes.pop();
            self.untold = None;
        }
        self.give_up();
        Ok(self.next_height)
    }

    fn tip(&self) -> &Tip {
        self.closed.back().unwrap_or(&self.base)
    }

    /// Back to where the last closed block ended.
    fn give_up(&mut self) {
        self.open = None;
        let tip = self.tip();
        let (next, timestamp) = (tip.last_height.saturating_add(1), tip.header.timestamp);
        self.next_height = next;
        // Heights of the genesis' second and before may come; of a block's second none may any more.
        let over = if self.tip().header.number > 0 { timestamp.saturating_add(1) } else { 0 };
        self.timestamp_ms = over.saturating_mul(1_000);
    }

    /// Closes the open block, if its second is before `second`. `height` is the first after it.
    fn close_before(
        &mut self,
        second: u64,
        height: u64,
    ) -> Result<Option<Block>, ExecutionError<S::Error>> {
        let Some(open) = self.open.take_if(|open| open.second() < second) else { return Ok(None) };
        let last_height = height.saturating_sub(1);
        let finished = open.finish(self.ground());
        let finished = finished.map_err(|e| machine(last_height, e))?;
        let Finished { mut header, changes, transactions, receipts, requests } = finished;
        header.state_root = self.state.apply(changes).map_err(ExecutionError::State)?;
        let hash = header.hash_slow();
        self.closed.push_back(Tip { header: header.clone(), hash, last_height });
        self.hashes.push(hash, self.closed.len());
        Ok(Some(Block { header, hash, transactions, receipts, requests, last_height }))
    }

    /// Executes a height's transactions in the block of its second, which it may open.
    fn add(&mut self, height: Height) -> Result<Vec<(B256, Fate)>, ExecutionError<S::Error>> {
        if height.transactions.is_empty() {
            return Ok(Vec::new());
        }
        let number = height.number;
        let second = height.second();
        let genesis = self.base_timestamp();
        if second <= genesis {
            return Ok(skip_all(height, &SkipReason::BeforeGenesis { second, genesis }));
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let tip = self.tip();
                let forks = self.genesis.forks();
                let Some(mut open) = Open::new(&tip.header, tip.hash, &height, forks) else {
                    return Ok(skip_all(height, &SkipReason::BaseFeeAtEnd));
                };
                open.begin(self.ground()).map_err(|e| machine(number, e))?;
                open
            }
        };
        let fates = open.add(number, height.transactions, self.ground());
        let fates = fates.map_err(|e| machine(number, e))?;
        // Without a transaction there is no block, and what it would have begun with never happened.
        self.open = Some(open).filter(|open| !open.is_empty());
        Ok(fates)
    }

    pub(crate) const fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    const fn base_timestamp(&self) -> u64 {
        self.genesis.header().timestamp
    }

    const fn ground(&mut self) -> Ground<'_, S> {
        let Self { genesis, state, hashes, codes, .. } = self;
        Ground { genesis, state, hashes, codes }
    }
}

fn machine<E: std::error::Error>(height: u64, source: BlockExecutionError) -> ExecutionError<E> {
    ExecutionError::Machine { height, source: Box::new(source) }
}

/// Skips what would be read for its own reason, if it has one, else for `reason`.
fn skip_all(height: Height, reason: &SkipReason) -> Vec<(B256, Fate)> {
    let skip = |transaction: Prepared| {
        let hash = transaction.hash();
        (hash, Fate::Skipped(transaction.into_outcome().err().unwrap_or_else(|| reason.clone())))
    };
    height.transactions.into_iter().map(skip).collect()
}

/// The genesis' accounts as a block's changes.
fn changes_of(genesis: &Genesis) -> Changes {
    let mut changes = Changes::default();
    for (address, held) in genesis.accounts() {
        let code_hash = held.code_hash().unwrap_or(KECCAK_EMPTY);
        if let Some(code) = held.non_empty_code() {
            changes.codes.insert(code_hash, code.clone());
        }
        let nonce = held.nonce.unwrap_or_default();
        let account = Some(Account { nonce, balance: held.balance, code_hash });
        let slots = held.storage_slots().map(|(slot, value)| (U256::from_be_bytes(slot.0), value));
        let change = AccountChange { account, wiped: false, slots: slots.collect() };
        changes.accounts.insert(*address, change);
    }
    changes
}
