//! Writing to L1: one account that signs, pays and counts its own nonces.

use super::client::{Client, Fees};
use super::error::{L1Error, describe_revert};
use super::refusal::Refusal;
use alloy::consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::rpc::types::TransactionReceipt;
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// Gas estimates have no margin; one node's ran out of gas on another.
const GAS_PADDING_PERCENT: u64 = 130;
/// How long a transaction may stay unmined before its fee is raised, how often, and how often to look.
const PATIENCE: Duration = Duration::from_secs(36);
const MAX_BUMPS: u32 = 5;
const POLL: Duration = Duration::from_millis(250);
/// Attempts to find a nonce that the node takes.
const NONCE_ATTEMPTS: u32 = 4;

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
}

impl Order {
    /// A call of a contract.
    pub(super) fn call<C: SolCall>(to: Address, call: &C) -> Self {
        Self { to: Some(to), value_wei: U256::ZERO, input: call.abi_encode().into(), gas: None }
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

/// An L1 account with its key. Clones share one order of nonces: whatever an agent sends from this account goes through
/// one of them, one transaction at a time.
#[derive(Clone, Debug)]
pub struct Account {
    client: Client,
    key: PrivateKeySigner,
    max_fee_wei: u128,
    /// Held while a nonce is chosen and used. This is the one lock that is kept across an `await`: between the two the
    /// node must be asked, and nobody else may choose.
    turn: Arc<Mutex<()>>,
}

impl Account {
    /// The account of a 32-byte key.
    ///
    /// # Errors
    ///
    /// [`L1Error::BadConfig`] when the bytes are no key.
    pub fn new(client: Client, key: &[u8; 32]) -> Result<Self, L1Error> {
        let key = PrivateKeySigner::from_bytes(&B256::from(*key)).map_err(|_| {
            L1Error::BadConfig { field: "key".to_owned(), reason: "not a secp256k1 key".to_owned() }
        })?;
        Ok(Self { client, key, max_fee_wei: u128::MAX, turn: Arc::default() })
    }

    /// The same account, paying at most `max_fee_wei` for a unit of gas: beyond that its transactions wait.
    #[must_use]
    pub fn with_max_fee(self, max_fee_wei: u128) -> Self {
        Self { max_fee_wei, ..self }
    }

    /// Its address.
    pub const fn address(&self) -> Address {
        self.key.address()
    }

    /// What it reads L1 with.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Sends at the next free nonce. Says nothing of inclusion.
    ///
    /// # Errors
    ///
    /// [`L1Error::Reverted`] when the estimate already fails, or what the node or the way to it has against it.
    pub async fn send(&self, order: &Order) -> Result<Sent, L1Error> {
        let gas = match order.gas {
            Some(gas) => gas,
            None => self.estimate(order).await?,
        };
        let fees = self.fees().await?;
        let _turn = self.turn.lock().await;
        let mut nonce = self.client.nonce(self.address(), true).await?;
        for _ in 0..NONCE_ATTEMPTS {
            match self.submit(order, nonce, gas, fees).await {
                // Another process uses this account, or the node's pool lags behind: look again.
                Err(error) if is_nonce_trouble(&error) => {
                    nonce =
                        nonce.saturating_add(1).max(self.client.nonce(self.address(), true).await?);
                }
                result => return result,
            }
        }
        let reason = "no nonce was taken".to_owned();
        Err(L1Error::Refused { why: Refusal::ReplacementUnderpriced, code: 0, reason })
    }

    /// Asks whether L1 would take this now, without sending it.
    ///
    /// # Errors
    ///
    /// [`L1Error::Reverted`] with the contract's reason, or what is in the way to L1.
    pub async fn check(&self, order: &Order) -> Result<(), L1Error> {
        self.estimate(order).await.map(|_| ())
    }

    /// How many of its transactions wait in the node's pool.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub async fn waiting(&self) -> Result<u64, L1Error> {
        let pending = self.client.nonce(self.address(), true).await?;
        Ok(pending.saturating_sub(self.client.nonce(self.address(), false).await?))
    }

    /// What a replacement should pay: more than before by what nodes ask for, and what is asked now, within the cap.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub async fn raised(&self, before: Fees) -> Result<Fees, L1Error> {
        Ok(before.bumped().max(self.fees().await?).capped(self.max_fee_wei))
    }

    /// Sends again at the nonce of an earlier transaction, to take its place.
    ///
    /// # Errors
    ///
    /// As [`Account::send`]; the node refuses a fee that is not higher by 10 %.
    pub async fn replace(&self, order: &Order, sent: &Sent, fees: Fees) -> Result<Sent, L1Error> {
        let _turn = self.turn.lock().await;
        self.submit(order, sent.nonce, order.gas.unwrap_or(sent.gas), fees).await
    }

    /// Sends, raises the fee while it is not included, and waits for the receipt of a success.
    ///
    /// # Errors
    ///
    /// [`L1Error::Reverted`] when it was included and failed, [`L1Error::NotIncluded`] when it was not, or whatever
    /// [`Account::send`] fails with.
    pub async fn execute(&self, order: &Order) -> Result<TransactionReceipt, L1Error> {
        let first = self.send(order).await?;
        let mut attempts = vec![first];
        let mut raised = Instant::now();
        loop {
            for attempt in &attempts {
                if let Some(receipt) = self.client.receipt(attempt.hash).await? {
                    return self.succeeded(order, receipt).await;
                }
            }
            if raised.elapsed() >= PATIENCE {
                let last = attempts.last().copied().unwrap_or(first);
                if attempts.len() > MAX_BUMPS as usize {
                    let seconds = PATIENCE.as_secs().saturating_mul(u64::from(MAX_BUMPS));
                    return Err(L1Error::NotIncluded { tx: last.hash, seconds });
                }
                let fees = self.raised(last.fees).await?;
                match self.replace(order, &last, fees).await {
                    Ok(sent) => attempts.push(sent),
                    // Included in this moment: the next look finds the receipt.
                    Err(error) if is_nonce_trouble(&error) => {}
                    Err(error) => return Err(error),
                }
                raised = Instant::now();
            }
            sleep(POLL).await;
        }
    }

    /// What a transaction should pay now.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub async fn fees(&self) -> Result<Fees, L1Error> {
        Ok(self.client.fees().await?.capped(self.max_fee_wei))
    }

    async fn estimate(&self, order: &Order) -> Result<u64, L1Error> {
        let gas = self
            .client
            .estimate_gas(self.address(), order.to, order.value_wei, &order.input)
            .await?;
        Ok(gas.saturating_mul(GAS_PADDING_PERCENT) / 100)
    }

    async fn submit(
        &self,
        order: &Order,
        nonce: u64,
        gas: u64,
        fees: Fees,
    ) -> Result<Sent, L1Error> {
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
        let hash = *envelope.tx_hash();
        match self.client.send_raw(&envelope.encoded_2718()).await {
            Ok(_) => {}
            // The same bytes were sent before: it waits already.
            Err(L1Error::Refused { why: Refusal::AlreadyKnown, .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(Sent { hash, nonce, fees, gas })
    }

    async fn succeeded(
        &self,
        order: &Order,
        receipt: TransactionReceipt,
    ) -> Result<TransactionReceipt, L1Error> {
        if receipt.status() {
            return Ok(receipt);
        }
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

/// Whether a nonce is used, or its transaction cannot be replaced at this fee.
const fn is_nonce_trouble(error: &L1Error) -> bool {
    matches!(error.refusal(), Some(Refusal::NonceTooLow | Refusal::ReplacementUnderpriced))
}
