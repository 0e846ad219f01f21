//! What settled while an agent was away. Peers of a later generation serve their own blocks alone, and of those only as many as
//! they keep: what nobody offers any more, or gives, is read from L1, whose settlement stands for its certificates. When that is
//! so says [`super::behind`].

use super::behind::Why;
use super::validity::{judge_body, judge_commitment};
use super::{AgreementError, Member};
use crate::blocking::blocking;
use crate::domain::{Block, Certificate, DecidedBlock, Height, SettledBatch};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// The pause after L1 did not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// The blocks of settled batches.
#[async_trait]
pub trait History: Send + Sync {
    /// The blocks of a batch, in order.
    ///
    /// # Errors
    ///
    /// [`HistoryError`].
    async fn blocks(&self, batch: &SettledBatch) -> Result<Vec<Block>, HistoryError>;
}

/// Why there are no blocks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Nobody answered; that can pass.
    #[error("l1 does not answer: {reason}")]
    Silent {
        /// What was said instead.
        reason: String,
    },
    /// What settled is no blocks: more than two thirds of a set signed what they should not have.
    #[error("the payload of batch {number} holds no blocks: {reason}")]
    NoBlocks {
        /// The batch.
        number: crate::domain::BatchNumber,
        /// What is wrong with it.
        reason: String,
    },
}

/// Appends what settled up to `last` and is not in the store. False on shutdown.
pub(super) async fn fill(member: &Member, last: Height) -> Result<bool, AgreementError> {
    loop {
        let next = member.tip()?.0.height.next();
        if next > last {
            return Ok(true);
        }
        let Some(batch) = settled_with(member, next)? else {
            let reason = "no settled batch holds it".to_owned();
            return Err(AgreementError::NoHistory { height: next, reason });
        };
        if matches!(take(member, next, &batch).await?, Taken::Shutdown) {
            return Ok(false);
        }
    }
}

/// Appends what settled for good in the running generation and is not in the store: as much as `batches` hold, so that it can be
/// looked again whether peers give it. Ends early when L1 does not answer. How many batches were read; nothing on shutdown.
pub(super) async fn catch_up(
    member: &Member,
    why: Why,
    batches: u32,
) -> Result<Option<u32>, AgreementError> {
    tracing::info!(?why, batches, "settled blocks are read from l1");
    let mut read = 0_u32;
    while read < batches {
        let next = member.tip()?.0.height.next();
        let Some(batch) = final_with(member, next)? else { break };
        match take(member, next, &batch).await {
            Ok(Taken::Blocks) => read = read.saturating_add(1),
            Ok(Taken::Nothing) => break,
            Ok(Taken::Shutdown) => return Ok(None),
            // Somebody may give them yet: nobody said that they cannot be had.
            Err(error @ AgreementError::NoHistory { .. }) if why == Why::NotGiven => {
                tracing::error!(%error, "no settled blocks on l1, waiting for peers");
                break;
            }
            Err(error) => return Err(error),
        }
        member.decided.send_replace(member.tip()?.0.height);
    }
    Ok(Some(read))
}

/// What came of reading a batch.
enum Taken {
    Blocks,
    /// L1 did not answer, and a pause was made.
    Nothing,
    Shutdown,
}

/// Appends the blocks of a batch from `next` on, if L1 answers.
async fn take(
    member: &Member,
    next: Height,
    batch: &SettledBatch,
) -> Result<Taken, AgreementError> {
    tracing::info!(batch = %batch.number, from = %next, "reading settled blocks from l1");
    match member.history.blocks(batch).await {
        Ok(blocks) => append(member, next, blocks).await?,
        Err(error @ HistoryError::NoBlocks { .. }) => {
            return Err(AgreementError::NoHistory { height: next, reason: error.to_string() });
        }
        Err(error) => {
            tracing::warn!(%error, retry_in = ?PAUSE, "settled blocks not read");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => return Ok(Taken::Nothing),
                () = member.shutdown.cancelled() => return Ok(Taken::Shutdown),
            }
        }
    }
    match member.shutdown.is_cancelled() {
        true => Ok(Taken::Shutdown),
        false => Ok(Taken::Blocks),
    }
}

/// The batch that holds a height, if it settled for good, in the running generation: L1 has its blocks.
pub(super) fn final_with(
    member: &Member,
    height: Height,
) -> Result<Option<SettledBatch>, AgreementError> {
    let (generation, _) = member.store.standing()?;
    let found = settled_with(member, height)?;
    let mirror = member.mirror.read();
    Ok(found.filter(|batch| batch.header.generation == generation && mirror.is_final(batch)))
}

fn settled_with(member: &Member, height: Height) -> Result<Option<SettledBatch>, AgreementError> {
    let Some(number) = member.store.settled_at_height(height)? else { return Ok(None) };
    Ok(member.store.settled(number)?)
}

/// Appends the blocks from `next` on. They have no certificate: the batch's is on L1.
async fn append(member: &Member, next: Height, blocks: Vec<Block>) -> Result<(), AgreementError> {
    let params = member.mirror.read().params.clone();
    let mut expected = next;
    for block in blocks.into_iter().skip_while(|block| block.header.height < next) {
        let height = block.header.height;
        let block = Arc::new(block);
        let judged = async {
            judge_commitment(&block).await?;
            judge_body(&params, &block, member.source.as_ref()).await
        };
        let included = judged
            .await
            .map_err(|error| AgreementError::NoHistory { height, reason: error.to_string() })?;
        let store = member.store.clone();
        blocking(move || {
            let (block, certificate) = (Arc::unwrap_or_clone(block), Certificate::default());
            store.append_decided(&DecidedBlock { block, certificate }, &included)
        })
        .await?;
        expected = height.next();
    }
    if expected == next {
        let reason = "its batch holds no such block".to_owned();
        return Err(AgreementError::NoHistory { height: next, reason });
    }
    Ok(())
}
