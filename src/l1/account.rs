//! Writing to L1: one account that signs and pays. [`Desk`](super::Desk) says at which nonce and for how much.

use super::client::Client;
use super::error::{L1Error, describe_revert};
use super::fees::Fees;
use super::flight_log::FlightLog;
use super::flights::{Carries, Flights};
use super::reverts::{Resting, Reverts};
use alloy::consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::rpc::types::TransactionReceipt;
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What is paid for a unit of gas at most where nobody said so, and the largest tip that is believed then: 500 and 20 gwei.
pub(crate) const DEFAULT_LIMIT: Fees =
    Fees { max_fee_wei: 500_000_000_000, priority_fee_wei: 20_000_000_000 };
/// Gas estimates have no margin; one node's ran out of gas on another.
const GAS_PADDING_PERCENT: u64 = 130;
/// Nodes estimate as if gas cost nothing. Then nothing is refunded for a duty (R42), and to credit a refund writes three words,
/// some for the first time, which L1's next fork makes dearer: that much more than it estimates at the most.
const CREDIT_GAS: u64 = 150_000;
/// The most that a transaction may ask for (EIP-7825): what is added to an estimate stays below.
const MAX_TRANSACTION_GAS: u64 = 16_777_216;
/// Time between two L1 blocks where nobody said so, and the shortest that is believed.
const DEFAULT_BLOCK: Duration = Duration::from_secs(12);
const MIN_BLOCK: Duration = Duration::from_millis(100);
/// L1 blocks after which whoever waits for a transaction gives it up, and the shortest time for it.
const EXECUTE_BLOCKS: u32 = 15;
const MIN_EXECUTE: Duration = Duration::from_secs(60);
/// How often to ask for a receipt: several times in an L1 block, within these.
const MIN_POLL: Duration = Duration::from_millis(100);
const MAX_POLL: Duration = Duration::from_secs(2);

/// What to send to L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The contract; `None` creates one.
    pub to: Option<Address>,
    /// ETH to send along, in wei.
    pub value_wei: U256,
    /// Calldata, or creation code with its arguments.
    pub input: Bytes,
    /// Gas limit; estimated when `None`.
    pub gas: Option<u64>,
    /// What it calls, for whoever is told of it.
    pub what: &'static str,
}

impl Order {
    /// A call of a contract.
    pub(super) fn call<C: SolCall>(to: Address, call: &C) -> Self {
        let what = C::SIGNATURE.split('(').next().unwrap_or_default();
        let input = call.abi_encode().into();
        Self { to: Some(to), value_wei: U256::ZERO, input, gas: None, what }
    }

    /// A call of a contract whose input is there already.
    pub(super) fn input(to: Address, what: &'static str, input: Bytes) -> Self {
        Self { to: Some(to), value_wei: U256::ZERO, input, gas: None, what }
    }

    /// The same with ETH.
    pub(super) fn with_value(self, value_wei: U256) -> Self {
        Self { value_wei, ..self }
    }
}

/// A transaction that a node took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its hash.
    pub hash: B256,
    /// Its nonce.
    pub nonce: u64,
    /// What it offers to pay.
    pub fees: Fees,
    /// Its gas limit.
    pub gas: u64,
}

/// An L1 account with its key, and the one owner of its nonces: clones share them. Whatever is sent from this account goes
/// through [`Account::send`], [`Account::execute`] or a [`Desk`](super::Desk), one transaction at a time.
#[derive(Clone, Debug)]
pub struct Account {
    pub(super) client: Client,
    key: PrivateKeySigner,
    /// The most for a unit of gas, and the largest tip that is believed.
    pub(super) limit: Fees,
    silence: Arc<AtomicBool>,
    pub(super) shared: Arc<Shared>,
}

/// What the clones of an account share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Held while a nonce is chosen and used. This is the one lock that is kept across an `await`: between the two the
    /// node must be asked, and nobody else may choose.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Never held across an `await`: whoever only looks need not wait for a node.
    flights: Mutex<Flights>,
    /// Where flights are kept, if the account is this process's alone.
    pub(super) log: Option<FlightLog>,
    /// The contract whose calls are settlements, to know what an earlier process sent.
    pub(super) settlement: Option<Address>,
    /// What earlier processes left is known.
    pub(super) is_recovered: AtomicBool,
    pub(super) block: Duration,
    started: Instant,
    pub(super) state: Mutex<State>,
    /// What was paid for in vain.
    pub(super) reverts: Mutex<Reverts>,
}

/// How an account stands, for whoever watches an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its ETH, as far as it was asked lately.
    pub balance_wei: Option<U256>,
    /// What nodes asked for a unit of gas last.
    pub asked: Option<Fees>,
    /// A flight waits because what it takes is above the limit.
    pub is_at_fee_limit: bool,
    /// What was to be sent last was refused for its tip, which is the largest that is believed.
    pub is_at_tip_limit: bool,
    /// The account could not pay what was to be sent last.
    pub lacks_funds: bool,
    /// Transactions that L1 included and refused since the start.
    pub paid_in_vain: u64,
    /// What of these is not tried again now.
    pub resting: Vec<Resting>,
    /// How often in a row the settlement of what is next was included and refused.
    pub failed_settlements: u32,
}

impl Account {
    /// The account of a 32-byte key. Others may send from it too: what they have waiting is left alone.
    ///
    /// # Errors
    ///
    /// [`L1Error::BadConfig`] when the bytes are no key.
    pub fn new(client: Client, key: &[u8; 32]) -> Result<Self, L1Error> {
        let key = PrivateKeySigner::from_bytes(&B256::from(*key)).map_err(|_| {
            L1Error::BadConfig { field: "key".to_owned(), reason: "not a secp256k1 key".to_owned() }
        })?;
        let shared = Shared {
            turn: tokio::sync::Mutex::default(),
            flights: Mutex::default(),
            log: None,
            settlement: None,
            is_recovered: AtomicBool::new(false),
            block: DEFAULT_BLOCK,
            started: Instant::now(),
            state: Mutex::default(),
            reverts: Mutex::default(),
        };
        let (silence, shared) = (Arc::default(), Arc::new(shared));
        Ok(Self { client, key, limit: DEFAULT_LIMIT, silence, shared })
    }

    /// The same account, paying at most `limit.max_fee_wei` for a unit of gas: beyond that its transactions wait. Nodes that
    /// ask for a larger tip than `limit.priority_fee_wei` are offered that.
    #[must_use]
    pub fn with_limit(self, limit: Fees) -> Self {
        Self { limit, ..self }
    }

    /// The same account as an agent has it: this process's alone, with its flights kept in the file at `path`. L1 makes a
    /// block every `block`; what goes to `settlement` are settlements. Before it is cloned.
    #[must_use]
    pub fn owned(self, path: PathBuf, settlement: Address, block: Duration) -> Self {
        let log = FlightLog::new(path, self.client.chain_id(), self.address());
        let shared = Shared {
            turn: tokio::sync::Mutex::default(),
            flights: Mutex::default(),
            log: Some(log),
            settlement: Some(settlement),
            is_recovered: AtomicBool::new(false),
            block: block.max(MIN_BLOCK),
            started: Instant::now(),
            state: Mutex::default(),
            reverts: Mutex::default(),
        };
        Self { shared: Arc::new(shared), ..self }
    }

    /// The same account, from which nothing is sent while `silence` is set: another agent may run with the same key, and to
    /// it these nonces belong. Before it is cloned.
    #[must_use]
    pub fn silent_while(self, silence: Arc<AtomicBool>) -> Self {
        Self { silence, ..self }
    }

    /// Whether nothing may be sent now.
    pub fn is_silent(&self) -> bool {
        self.silence.load(Ordering::Relaxed)
    }

    /// Its address.
    pub const fn address(&self) -> Address {
        self.key.address()
    }

    /// What it reads L1 with.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// What is on its way. Never hold the guard across an `.await`.
    pub fn flights(&self) -> MutexGuard<'_, Flights> {
        self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands, as far as is known without asking.
    pub fn state(&self) -> State {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (state.resting, state.paid_in_vain) = self.reverts().told(self.now());
        state
    }

    /// Takes note of how often in a row the settlement of what is next was included and refused.
    pub fn note_failed_settlements(&self, times: u32) {
        self.note(|state| state.failed_settlements = times);
    }

    /// Never held across an `await`.
    fn reverts(&self) -> MutexGuard<'_, Reverts> {
        self.shared.reverts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Time by the clock that flights count in.
    pub fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Time between two L1 blocks.
    pub fn block(&self) -> Duration {
        self.shared.block
    }

    /// Asks whether L1 would take this now, without sending it.
    ///
    /// # Errors
    ///
    /// [`L1Error::Reverted`] with the contract's reason, or what is in the way to L1.
    pub async fn check(&self, order: &Order) -> Result<(), L1Error> {
        self.estimate(order).await.map(|_| ())
    }

    /// Sends at the next free nonce. Says nothing of inclusion; the fee is raised while it is not.
    ///
    /// # Errors
    ///
    /// [`L1Error::Reverted`] when the estimate already fails, or what the node or the way to it has against it.
    pub async fn send(&self, order: &Order) -> Result<Sent, L1Error> {
        self.refuse_what_is_too_dear().await?;
        let order = Order { gas: Some(self.gas_of(order).await?), ..order.clone() };
        self.desk().await?.send(Carries::Duty, &order, None).await
    }

    /// Sends, raises the fee while it is not included and L1 would still take it, and waits for the receipt of a success.
    /// Other orders of the same account go on meanwhile. What is given up leaves no hole: its nonce is filled.
    ///
    /// # Errors
    ///
    /// [`L1Error::Reverted`] when it was included and failed, or when L1 would not take it any more while it waited;
    /// [`L1Error::NotIncluded`] when it was not included in time; [`L1Error::Resting`] when it was included and failed
    /// before, and is not tried again yet; or whatever [`Account::send`] fails with.
    pub async fn execute(&self, order: &Order) -> Result<TransactionReceipt, L1Error> {
        let now = self.now();
        self.reverts().allow(order, now).map_err(|one| L1Error::Resting {
            what: one.what,
            failures: one.failures,
            seconds: one.until.saturating_sub(now).as_secs(),
        })?;
        self.refuse_what_is_too_dear().await?;
        let order = Order { gas: Some(self.gas_of(order).await?), ..order.clone() };
        let patience = self.block().saturating_mul(EXECUTE_BLOCKS).max(MIN_EXECUTE);
        let until = self.now().saturating_add(patience);
        let first = self.desk().await?.send(Carries::Duty, &order, Some(until)).await?;
        let nonce = first.nonce;
        let poll = self.block().checked_div(8).unwrap_or(MIN_POLL).clamp(MIN_POLL, MAX_POLL);
        // Beyond what an L1 without answers may cost: attempts that were sent may still be included.
        let mut silent: Option<L1Error> = None;
        loop {
            let attempts = self.flights().at(nonce).map(|flight| flight.attempts.clone());
            for attempt in attempts.unwrap_or_else(|| vec![first]).iter().rev() {
                match self.client.receipt(attempt.hash).await {
                    Ok(Some(receipt)) if receipt.to != order.to => {
                        // The transaction that fills the nonce was faster.
                        return Err(L1Error::NotIncluded {
                            tx: first.hash,
                            seconds: patience.as_secs(),
                        });
                    }
                    Ok(Some(receipt)) => {
                        if !self.is_owner() {
                            self.flights().forget(nonce);
                        }
                        return self.succeeded(&order, receipt).await;
                    }
                    Ok(None) => silent = None,
                    Err(error) if error.is_transient() => silent = Some(error),
                    Err(error) => return Err(error),
                }
            }
            let given_up = self
                .flights()
                .at(nonce)
                .is_none_or(|flight| !matches!(flight.carries, Carries::Duty));
            if given_up || self.now() >= until {
                self.flights().give_up(nonce);
                let seconds = patience.as_secs();
                return Err(silent.unwrap_or(L1Error::NotIncluded { tx: first.hash, seconds }));
            }
            // An agent has a task for this; here may be none.
            if !self.is_owner()
                && let Err(error) = self.tend().await
            {
                tracing::debug!(%error, "transactions on their way were not looked after");
            }
            sleep(poll).await;
        }
    }

    /// What a transaction should pay now.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub async fn fees(&self) -> Result<Fees, L1Error> {
        let asked = self.client.fees().await?.with_tip_at_most(self.limit.priority_fee_wei);
        Ok(asked.capped(self.limit.max_fee_wei))
    }

    /// Who sends by hand is told before anything is signed that it would wait; an agent's transactions do wait.
    async fn refuse_what_is_too_dear(&self) -> Result<(), L1Error> {
        if self.is_owner() {
            return Ok(());
        }
        let asked = self.client.fees().await?.with_tip_at_most(self.limit.priority_fee_wei);
        let (asked_wei, limit_wei) = (asked.now(), self.limit.max_fee_wei);
        if asked_wei > limit_wei {
            return Err(L1Error::TooDear { asked_wei, limit_wei });
        }
        Ok(())
    }

    /// Whether nobody else sends from this account.
    pub(super) fn is_owner(&self) -> bool {
        self.shared.log.is_some()
    }

    async fn gas_of(&self, order: &Order) -> Result<u64, L1Error> {
        match order.gas {
            Some(gas) => Ok(gas),
            None => self.estimate(order).await,
        }
    }

    async fn estimate(&self, order: &Order) -> Result<u64, L1Error> {
        let gas = self
            .client
            .estimate_gas(self.address(), order.to, order.value_wei, &order.input)
            .await?;
        let padded = (gas.saturating_mul(GAS_PADDING_PERCENT) / 100).saturating_add(CREDIT_GAS);
        // What is above by itself is for the node to judge: not every chain has that bound.
        Ok(padded.min(MAX_TRANSACTION_GAS).max(gas))
    }

    /// Signs a transaction; the same one has the same bytes each time.
    pub(crate) fn sign(
        &self,
        order: &Order,
        nonce: u64,
        gas: u64,
        fees: Fees,
    ) -> Result<(Sent, Vec<u8>), L1Error> {
        let transaction = TxEip1559 {
            chain_id: self.client.chain_id(),
            nonce,
            gas_limit: gas,
            max_fee_per_gas: fees.max_fee_wei,
            max_priority_fee_per_gas: fees.priority_fee_wei,
            to: order.to.map_or(TxKind::Create, TxKind::Call),
            value: order.value_wei,
            input: order.input.clone(),
            ..TxEip1559::default()
        };
        let signature = self
            .key
            .sign_hash_sync(&transaction.signature_hash())
            .map_err(|_| L1Error::BadAnswer { what: "signature" })?;
        let envelope = TxEnvelope::Eip1559(transaction.into_signed(signature));
        let sent = Sent { hash: *envelope.tx_hash(), nonce, fees, gas };
        Ok((sent, envelope.encoded_2718()))
    }

    async fn succeeded(
        &self,
        order: &Order,
        receipt: TransactionReceipt,
    ) -> Result<TransactionReceipt, L1Error> {
        if receipt.status() {
            self.reverts().succeeded(order);
            return Ok(receipt);
        }
        self.reverts().failed(order, self.now());
        let contract = order.to.unwrap_or_default();
        // The receipt has no reason: ask what the same call would say now.
        let reason = match self
            .client
            .estimate_gas(self.address(), order.to, order.value_wei, &order.input)
            .await
        {
            Err(L1Error::Reverted { reason, .. }) => reason,
            _ => describe_revert(&[]),
        };
        Err(L1Error::Reverted { contract, reason })
    }
}
