//! Where nonces are chosen and used: one order at a time, for a fee that nodes take.
//!
//! What nodes refuse is learned from and tried again within the account's limit: a tip below a node's minimum, a replacement
//! below 110 % of what waits, a nonce that was used. Nothing is tried without end: what is at the limit rests, each time
//! longer ([`Flights::rest`]). A transaction whose answer did not come may have arrived: it counts as sent, and is looked
//! after like the others.

use super::account::{Account, Order, Sent};
use super::error::L1Error;
use super::fees::Fees;
use super::flights::{Carries, Flight, Tend};
use super::refusal::Refusal;
use super::settlement;
use alloy::consensus::Transaction as _;
use alloy::primitives::{Bytes, U256};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Offers that are made for one nonce in a row, and nonces that are tried for one order.
const ATTEMPTS: u32 = 4;
/// How often to ask what the account has.
const ASK_BALANCE: Duration = Duration::from_secs(15);
/// An L1 block is waited for between two looks, twice as long after each failure, up to this many doublings.
const MAX_DOUBLINGS: u32 = 4;
/// Gas of a transaction that does nothing.
const FILL_GAS: u64 = 21_000;

/// The right to use an account's nonces. Others wait while somebody has it.
#[derive(Debug)]
pub struct Desk<'a> {
    account: &'a Account,
    _turn: MutexGuard<'a, ()>,
}

impl Account {
    /// Waits for the turn, and knows then what earlier processes had sent.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from telling the account's nonces, at the first time; [`L1Error::Silent`] while nothing may be
    /// sent.
    pub async fn desk(&self) -> Result<Desk<'_>, L1Error> {
        let turn = self.shared.turn.lock().await;
        if self.is_silent() {
            return Err(L1Error::Silent);
        }
        let desk = Desk { account: self, _turn: turn };
        if !self.shared.is_recovered.load(Ordering::Relaxed) {
            desk.recover().await?;
            self.shared.is_recovered.store(true, Ordering::Relaxed);
        }
        Ok(desk)
    }

    /// Looks after what is on its way: shows it again to nodes that have forgotten it, raises fees, fills nonces that
    /// nobody wants. Without anything on its way it asks L1 for nothing.
    ///
    /// # Errors
    ///
    /// What is in the way to L1; what is left undone is due again at the next call.
    pub async fn tend(&self) -> Result<(), L1Error> {
        if self.is_silent() {
            return Ok(());
        }
        let desk = self.desk().await?;
        if self.flights().is_idle() {
            self.note(|state| (state.is_at_fee_limit, state.lacks_funds) = (false, false));
            return Ok(());
        }
        desk.look().await?;
        let due = self.flights().tend(self.now(), self.block());
        if due.is_empty() {
            return Ok(());
        }
        let mut first_error = None;
        for what in due {
            if let Err(error) = desk.tend(what).await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

impl Desk<'_> {
    /// Sends at the next free nonce; `order` has its gas. Nothing is wanted of it after `until`.
    ///
    /// # Errors
    ///
    /// [`L1Error::Refused`] with what the node has against it: it is not on its way. Or what keeps the nodes from telling
    /// nonce and fees.
    pub async fn send(
        &self,
        carries: Carries,
        order: &Order,
        until: Option<Duration>,
    ) -> Result<Sent, L1Error> {
        let mut last = None;
        let mut least = 0_u64;
        for _ in 0..ATTEMPTS {
            self.look().await?;
            let nonce = self.account.flights().next_free().max(least);
            least = nonce.saturating_add(1);
            match self.fly(nonce, carries, order, until).await {
                Ok(Some(sent)) => return Ok(sent),
                Ok(None) => break,
                Err(error) => match error.refusal() {
                    // Somebody else used it, or the node that told the nonce lags: the next one.
                    Some(Refusal::NonceTooLow | Refusal::ReplacementUnderpriced) => {
                        last = Some(error);
                    }
                    _ => return Err(error),
                },
            }
        }
        let reason = "no nonce was taken".to_owned();
        let why = Refusal::ReplacementUnderpriced;
        Err(last.unwrap_or(L1Error::Refused { why, code: 0, reason }))
    }

    /// Puts an order in place of what waits at a nonce. `None` if it waits now for lower fees, or was included meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Desk::send`].
    pub async fn replace(
        &self,
        nonce: u64,
        carries: Carries,
        order: &Order,
        until: Option<Duration>,
    ) -> Result<Option<Sent>, L1Error> {
        let result = self.fly(nonce, carries, order, until).await;
        if !matches!(result, Ok(Some(_))) {
            let now = self.account.now();
            self.account.flights().rest(nonce, now, self.account.block());
        }
        match result {
            Err(error) if settles_itself(&error) => {
                debug!(nonce, %error, "transaction not replaced");
                Ok(None)
            }
            result => result,
        }
    }

    /// Puts a transaction that does nothing in place of what waits at a nonce.
    ///
    /// # Errors
    ///
    /// As [`Desk::send`].
    pub async fn fill(&self, nonce: u64) -> Result<Option<Sent>, L1Error> {
        let order = Order {
            to: Some(self.account.address()),
            value_wei: U256::ZERO,
            input: Bytes::new(),
            gas: Some(FILL_GAS),
            what: "nothing",
        };
        self.account.flights().give_up(nonce);
        self.replace(nonce, Carries::Nothing, &order, None).await
    }

    /// Asks for the account's nonces. Who knows of an L1 block at which fewer were used than was seen has to: what L1 took
    /// back is on its way again, and nobody shows it to the nodes before that is known.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from telling them; [`L1Error::BadAnswer`] for one that is not believed.
    pub async fn look(&self) -> Result<(), L1Error> {
        let account = self.account;
        let look = || async {
            let included = account.client.nonce(account.address(), false).await?;
            let pending = account.client.nonce(account.address(), true).await?;
            let now = account.now();
            if !account.flights().see(included, pending, now, account.is_owner()) {
                warn!(included, pending, "a nonce far beyond all that was sent is not believed");
                return Err(L1Error::BadAnswer { what: "nonce of the account" });
            }
            Ok(())
        };
        account.client.checked(look).await
    }

    /// Finds what earlier processes had sent: in this agent's file, else in the node's pool, where it tells that.
    async fn recover(&self) -> Result<(), L1Error> {
        let account = self.account;
        if let Some(log) = &account.shared.log {
            match log.read() {
                Ok(flights) => *account.flights() = flights,
                Err(error) => warn!(%error, "what was sent before is not known from the file"),
            }
        }
        self.look().await?;
        let unknown: Vec<u64> = account
            .flights()
            .waiting()
            .filter(|flight| flight.attempts.is_empty())
            .map(|flight| flight.nonce)
            .collect();
        for nonce in &unknown {
            // Many nodes do not tell: then a replacement finds out what it takes.
            let Ok(found) = account.client.waiting_at(account.address(), *nonce).await else {
                break;
            };
            // Included meanwhile, or forgotten.
            let Some(found) = found else { continue };
            let spans = (found.inner.to() == account.shared.settlement)
                .then(|| settlement::span_of(found.inner.input()))
                .flatten();
            let carries = spans.map_or(Carries::Duty, Carries::Settlement);
            let fees = Fees {
                max_fee_wei: found.inner.max_fee_per_gas(),
                priority_fee_wei: found.inner.max_priority_fee_per_gas().unwrap_or_default(),
            };
            let (hash, gas) = (*found.inner.tx_hash(), found.inner.gas_limit());
            account.flights().found(*nonce, carries, hash, fees, gas);
        }
        let waiting = account.flights().waiting().count();
        if waiting > 0 && account.is_owner() {
            info!(
                waiting,
                unknown = unknown.len(),
                "transactions from before the start are on their way"
            );
        }
        Ok(())
    }

    /// Sends at this nonce, for what it takes. `None` if nothing new can be offered.
    async fn fly(
        &self,
        nonce: u64,
        carries: Carries,
        order: &Order,
        until: Option<Duration>,
    ) -> Result<Option<Sent>, L1Error> {
        let account = self.account;
        // It may have fallen while this had the turn.
        if account.is_silent() {
            return Err(L1Error::Silent);
        }
        let gas = order.gas.unwrap_or(FILL_GAS);
        let mut result = Ok(None);
        let mut offered = None;
        for _ in 0..ATTEMPTS {
            let asked = account.client.fees().await?;
            let now = account.now();
            account.note(|state| state.asked = Some(asked));
            let (fees, at_limit) = account.flights().quote(nonce, asked, account.limit, now);
            account.note(|state| state.is_at_fee_limit = at_limit);
            if at_limit {
                warn!(nonce, limit_wei = account.limit.max_fee_wei, "the fee is at its limit");
            }
            // What was refused is not offered again at once.
            if offered.replace(fees) == Some(fees) {
                return result;
            }
            let (sent, raw) = account.sign(order, nonce, gas, fees)?;
            let before = account.flights().at(nonce).cloned();
            account.flights().sending(carries, order, sent, until, now);
            self.keep();
            match account.client.send_raw(&raw).await {
                Ok(_) => {}
                Err(L1Error::Refused { why: Refusal::AlreadyKnown, .. }) => {}
                Err(error) => match error.refusal() {
                    Some(why) => {
                        self.was_refused(sent, why, before);
                        let is_own_nonce = account.is_owner()
                            || account
                                .flights()
                                .at(nonce)
                                .is_some_and(|flight| !flight.attempts.is_empty());
                        let is_for_its_tip =
                            matches!(why, Refusal::TipTooLow { .. } | Refusal::Underpriced);
                        if is_for_its_tip
                            && sent.fees.priority_fee_wei >= account.limit.priority_fee_wei
                        {
                            account.note(|state| state.is_at_tip_limit = true);
                            return Err(error);
                        }
                        let again = why.is_about_fees()
                            && (why != Refusal::ReplacementUnderpriced || is_own_nonce);
                        if !again {
                            return Err(error);
                        }
                        debug!(nonce, %error, "more is asked for");
                        result = Err(error);
                        continue;
                    }
                    // It may have arrived.
                    None => warn!(nonce, %error, "no answer to a transaction, it is looked after"),
                },
            }
            account.flights().taken(sent);
            account.note(|state| (state.lacks_funds, state.is_at_tip_limit) = (false, false));
            return Ok(Some(sent));
        }
        result
    }

    fn was_refused(&self, sent: Sent, why: Refusal, before: Option<Flight>) {
        let account = self.account;
        let now = account.now();
        let tip = account.flights().least_tip(now);
        account.flights().refused(sent, why, before, now);
        let learned = account.flights().least_tip(now);
        if learned != tip {
            info!(tip_wei = ?learned, "l1 nodes want a higher tip");
        }
        if why == Refusal::NoFunds {
            account.note(|state| state.lacks_funds = true);
        }
        self.keep();
    }

    fn keep(&self) {
        let account = self.account;
        if let Some(log) = &account.shared.log
            && let Err(error) = log.write(&account.flights())
        {
            warn!(%error, "what is sent is not on disk: after a restart the pool has to tell");
        }
    }

    async fn tend(&self, what: Tend) -> Result<(), L1Error> {
        match what {
            Tend::Show { nonce } => self.show(nonce).await,
            Tend::Fill { nonce } => {
                info!(nonce, "a transaction that is not wanted any more is replaced");
                self.fill(nonce).await.map(drop)
            }
            Tend::Raise { nonce, is_first } => self.raise(nonce, is_first).await,
        }
    }

    /// Sends the same bytes again if the node does not have them: it has forgotten them, or does not show what waits. For
    /// neither a higher fee is due.
    async fn show(&self, nonce: u64) -> Result<(), L1Error> {
        let account = self.account;
        let Some(flight) = account.flights().at(nonce).cloned() else { return Ok(()) };
        let (Some(order), Some(sent)) = (flight.order, flight.attempts.last()) else {
            return Ok(());
        };
        let known = account.client.knows(sent.hash).await?;
        let now = account.now();
        account.flights().shown(nonce, known, now);
        if known {
            return Ok(());
        }
        let (_, raw) = account.sign(&order, nonce, sent.gas, sent.fees)?;
        match account.client.send_raw(&raw).await {
            Ok(_) => debug!(nonce, tx = %sent.hash, "transaction sent again"),
            Err(error) => match error.refusal() {
                Some(Refusal::AlreadyKnown | Refusal::NonceTooLow) => {}
                Some(why) if why.is_about_fees() => return self.raise(nonce, true).await,
                _ => return Err(error),
            },
        }
        Ok(())
    }

    async fn raise(&self, nonce: u64, is_first: bool) -> Result<(), L1Error> {
        let account = self.account;
        let Some(flight) = account.flights().at(nonce).cloned() else { return Ok(()) };
        let Some(order) = flight.order.clone() else { return Ok(()) };
        if !is_first {
            // It waits for those before it, unless it pays too little for itself.
            let asked = account.fees().await?;
            if flight.fees().is_some_and(|fees| fees.covers(asked)) {
                let now = account.now();
                account.flights().rest(nonce, now, account.block());
                return Ok(());
            }
        }
        // Somebody waits for this order, if L1 would still take it.
        if flight.carries == Carries::Duty
            && is_first
            && let Err(L1Error::Reverted { reason, .. }) = account.check(&order).await
        {
            info!(nonce, %reason, "a transaction that L1 would not take any more is replaced");
            return self.fill(nonce).await.map(drop);
        }
        let raised = self.replace(nonce, flight.carries, &order, flight.wanted_until()).await?;
        if let Some(sent) = raised {
            info!(nonce, tx = %sent.hash, max_fee_wei = sent.fees.max_fee_wei, "fee raised");
        }
        Ok(())
    }
}

/// Looks after an agent's account until `shutdown`: what is on its way, and what is left to pay with.
pub async fn keep(account: Account, shutdown: CancellationToken) {
    let mut failures = 0_u32;
    let mut asked_balance: Option<Duration> = None;
    loop {
        failures = match account.tend().await {
            Ok(()) => 0,
            Err(error) => {
                warn!(%error, "transactions on their way were not looked after");
                failures.saturating_add(1)
            }
        };
        let now = account.now();
        if asked_balance.is_none_or(|at| now.saturating_sub(at) >= ASK_BALANCE) {
            match account.client.balance(account.address()).await {
                Ok(wei) => {
                    account.note(|state| state.balance_wei = Some(wei));
                    asked_balance = Some(now);
                }
                Err(error) => debug!(%error, "the account's balance is not known"),
            }
            match account.client.fees().await {
                Ok(asked) => account.note(|state| state.asked = Some(asked)),
                Err(error) => debug!(%error, "what L1 asks for gas is not known"),
            }
        }
        let pause = account.block().saturating_mul(1 << failures.min(MAX_DOUBLINGS));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether the next look shows what it was about: the transaction was included, or waits for a higher offer.
const fn settles_itself(error: &L1Error) -> bool {
    matches!(error.refusal(), Some(Refusal::NonceTooLow | Refusal::ReplacementUnderpriced))
}
