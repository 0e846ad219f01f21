//! Reads stretches of L1: logs in ranges that adapt, headers and inputs side by side, each request again until it is
//! answered or has failed often enough. What was read up to an error is the caller's to keep.

use super::client::{Client, Told};
use super::error::L1Error;
use super::facts::{self, Fact};
use super::proven::logs_of_receipts;
use super::refusal::Refusal;
use super::span::Span;
use crate::domain::{Deployment, L1Block, Seconds};
use crate::storage::Store;
use alloy::consensus::Header;
use alloy::eips::BlockNumberOrTag;
use alloy::primitives::B256;
use alloy::rpc::types::{Filter, Log};
use futures::{StreamExt as _, TryStreamExt as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

/// Requests in flight.
const CONCURRENCY: usize = 16;
/// Attempts at one request.
const ATTEMPTS: u32 = 5;
/// The pause before the second attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How long nodes are not asked for receipts after none of them had any to give, again and again: for a reason that nobody
/// knows, or because what they tell does not read.
const REFUSED_RECEIPTS: Duration = Duration::from_secs(60);

/// A block with its parent's hash and what its events say.
pub(super) type Read = (L1Block, B256, Vec<Fact>);

/// Reads L1 for one deployment.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    deployment: Deployment,
    filter: Filter,
    span: Span,
    /// Until when nodes are taken to have no receipts that can be read.
    no_receipts: Mutex<Option<Instant>>,
}

impl Reader {
    pub(super) fn new(client: Client, deployment: Deployment) -> Self {
        let filter = facts::filter(&deployment);
        Self { client, deployment, filter, span: Span::default(), no_receipts: Mutex::default() }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Logs from `from` on, as many blocks as one request gives and none after `to`; and the last block of that.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering, also for a single block.
    async fn logs(&mut self, from: u64, to: u64) -> Result<(u64, Vec<Log>), L1Error> {
        loop {
            let end = self.span.end(from, to);
            let blocks = end.saturating_sub(from).saturating_add(1);
            let filter = self.filter.clone().from_block(from).to_block(end);
            let client = &self.client;
            match patiently(|| client.logs(&filter)).await {
                Ok(logs) => {
                    self.span.answered(blocks);
                    return Ok((end, logs));
                }
                Err(error) if is_too_much(&error) && self.span.refused(blocks) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What the blocks say that have something to say, from `from` on and as far as one request for logs reaches; and
    /// the last block of that. For blocks that L1 will not take back.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub(super) async fn facts(
        &mut self,
        from: u64,
        to: u64,
        store: &Store,
    ) -> Result<(L1Block, Vec<(L1Block, Vec<Fact>)>), L1Error> {
        let (end, logs) = self.logs(from, to).await?;
        let this = &*self;
        let read = futures::stream::iter(facts::by_block(logs))
            .map(|(number, logs)| async move {
                let block = match block_of(number, &logs) {
                    Some(block) => block,
                    None => this.block(number).await?.0,
                };
                let facts = this.facts_of(&block, &logs, store).await?;
                Ok::<_, L1Error>((block, facts))
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        Ok((this.block(end).await?.0, read))
    }

    /// All blocks from `from` on, as far as one request for logs reaches and at most `most`, each with what it says; fewer
    /// where one of them cannot be read: a head that is too high does not hide what is below it.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub(super) async fn blocks(
        &mut self,
        from: u64,
        to: u64,
        most: u64,
        store: &Store,
    ) -> Result<Vec<Read>, L1Error> {
        let to = to.min(from.saturating_add(most).saturating_sub(1));
        let (end, logs) = self.logs(from, to).await?;
        let mut logs = facts::by_block(logs);
        let numbers = (from..=end).map(|number| (number, logs.remove(&number).unwrap_or_default()));
        let numbers: Vec<(u64, Vec<Log>)> = numbers.collect();
        let this = &*self;
        let mut answers = futures::stream::iter(numbers)
            .map(|(number, logs)| async move {
                let told = this.told(number).await?;
                let (block, parent) = (told.block, told.parent);
                // Where they are of another block, L1 went on meanwhile, or one of two nodes is wrong.
                let are_of_this =
                    logs.iter().all(|log| log.block_hash == Some(block.hash) && !log.removed);
                let logs = this.logs_in(&told, are_of_this.then_some(logs)).await?;
                let facts = this.facts_of(&block, &logs, store).await?;
                Ok((block, parent, facts))
            })
            .buffered(CONCURRENCY);
        let mut read = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(block) => read.push(block),
                Err(error) if read.is_empty() => return Err(error),
                Err(error) => {
                    debug!(%error, "fewer blocks were read than l1 is said to have");
                    break;
                }
            }
        }
        Ok(read)
    }

    /// The newest block with the events in it.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub(super) async fn one(&self, number: u64, store: &Store) -> Result<Read, L1Error> {
        let told = self.told(number).await?;
        let logs = self.logs_in(&told, None).await?;
        Ok((told.block, told.parent, self.facts_of(&told.block, &logs, store).await?))
    }

    /// All logs of a block. Its header says whether there may be any, and its receipts, which give the header's root, say
    /// which: a log that a node leaves out would be missing for ever. `known` are those that it told by themselves. They are
    /// believed where nothing can be proven: on an L1 whose headers or receipts have other fields, and of nodes that have no
    /// receipts. None at all are asked for again.
    async fn logs_in(&self, told: &Told, known: Option<Vec<Log>>) -> Result<Vec<Log>, L1Error> {
        if let Some(header) = &told.header {
            if !facts::may_hold(&self.filter, header) {
                if known.is_some_and(|known| !known.is_empty()) {
                    let block = told.block.number;
                    warn!(
                        block,
                        "an l1 node made up logs, the block's header leaves no room for them"
                    );
                }
                return Ok(Vec::new());
            }
            if let Some(proven) = self.proven_logs(told, header).await? {
                if known.is_some_and(|known| known.len() < proven.len()) {
                    let block = told.block.number;
                    warn!(block, "an l1 node left out logs, its receipts have them");
                }
                return Ok(proven);
            }
        }
        match known {
            Some(known) if !known.is_empty() => Ok(known),
            // A node that was behind when it answered for a range has left out whole blocks. By its hash, so that they cannot be
            // another block's, and a node that does not have it says so.
            _ => {
                let filter = self.filter.clone().at_block_hash(told.block.hash);
                patiently(|| self.client.logs(&filter)).await
            }
        }
    }

    /// The logs of a block as its receipts have them; `None` where no node has such a method, or none tells any that can be
    /// read. One refusal alone, or one answer that does not read, is no reason to go without: it would hide what the receipts
    /// are read for.
    async fn proven_logs(&self, told: &Told, header: &Header) -> Result<Option<Vec<Log>>, L1Error> {
        let lock = || self.no_receipts.lock().unwrap_or_else(PoisonError::into_inner);
        if lock().is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let is_ours = |log: &alloy::primitives::Log| facts::passes(&self.filter, log);
        match patiently(|| self.client.receipts(header)).await {
            Ok(receipts) => {
                let receipts = receipts.iter().map(|(hash, receipt)| (hash, receipt));
                Ok(Some(logs_of_receipts(&told.block, receipts, is_ours)))
            }
            // Who says so is not asked again for a while, and whoever has them is.
            Err(error) if error.is_no_method() => Ok(None),
            Err(error) if is_no_telling(&error) => {
                let rest = REFUSED_RECEIPTS;
                *lock() = Instant::now().checked_add(rest);
                warn!(%error, ?rest, "l1 nodes give no receipts of a block: whether logs are missing is not seen");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A block as a node tells it.
    async fn told(&self, number: u64) -> Result<Told, L1Error> {
        patiently(|| async {
            let found = self.client.header(BlockNumberOrTag::Number(number)).await?;
            found.ok_or(L1Error::BadAnswer { what: "block" })
        })
        .await
    }

    /// The headers of some blocks.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub(super) async fn headers(
        &self,
        numbers: impl IntoIterator<Item = u64>,
    ) -> Result<Vec<L1Block>, L1Error> {
        futures::stream::iter(numbers)
            .map(|number| async move { self.block(number).await.map(|(block, _)| block) })
            .buffered(CONCURRENCY)
            .try_collect()
            .await
    }

    async fn facts_of(
        &self,
        block: &L1Block,
        logs: &[Log],
        store: &Store,
    ) -> Result<Vec<Fact>, L1Error> {
        if logs.is_empty() {
            return Ok(Vec::new());
        }
        let (client, deployment) = (&self.client, &self.deployment);
        patiently(|| client.checked(|| facts::read(client, deployment, block, logs, Some(store))))
            .await
    }

    /// A block and its parent's hash.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering; [`L1Error::BadAnswer`] when none of them has it.
    pub(super) async fn block(&self, number: u64) -> Result<(L1Block, B256), L1Error> {
        self.told(number).await.map(|told| (told.block, told.parent))
    }
}

/// Whether nodes refuse for no known reason, or tell what does not read.
fn is_no_telling(error: &L1Error) -> bool {
    match error {
        L1Error::BadAnswer { what } => *what == "json",
        error => error.refusal() == Some(Refusal::Other),
    }
}

/// The block that logs say they are in, where the node tells all of it with them.
fn block_of(number: u64, logs: &[Log]) -> Option<L1Block> {
    let log = logs.first()?;
    Some(L1Block {
        number,
        hash: log.block_hash?,
        timestamp: Seconds::new(log.block_timestamp.filter(|time| *time > 0)?),
    })
}

/// Whether fewer blocks may be answered. A limit of which the node does not say what it bounds may be one of blocks.
fn is_too_much(error: &L1Error) -> bool {
    match error.refusal() {
        Some(refusal) => matches!(
            refusal,
            Refusal::RangeTooLarge | Refusal::OverLimit | Refusal::TooManyBytes | Refusal::Other
        ),
        // A node that runs out of time over a range says nothing at all.
        None => matches!(error, L1Error::Unreachable { .. }),
    }
}

/// Asks again while the answer is one that can pass, a few times and ever more slowly.
pub(super) async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, L1Error>
where
    F: Future<Output = Result<T, L1Error>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(error) if error.is_transient() && !is_a_size(&error) => {}
            result => return result,
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    ask().await
}

/// A limit on what is asked for at once: time does not help, fewer blocks may.
fn is_a_size(error: &L1Error) -> bool {
    matches!(
        error.refusal(),
        Some(Refusal::RangeTooLarge | Refusal::OverLimit | Refusal::TooManyBytes)
    )
}
