//! What settled while an agent was away. Peers of a later generation serve their own blocks alone, so after a restart the
//! blocks before it are read from L1, whose certificates stand for those that nobody serves any more.

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
        tracing::info!(batch = %batch.number, from = %next, through = %last, "reading settled blocks from l1");
        match member.history.blocks(&batch).await {
            Ok(blocks) => append(member, next, blocks).await?,
            Err(error @ HistoryError::NoBlocks { .. }) => {
                return Err(AgreementError::NoHistory { height: next, reason: error.to_string() });
            }
            Err(error) => {
                tracing::warn!(%error, retry_in = ?PAUSE, "settled blocks not read");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = member.shutdown.cancelled() => return Ok(false),
                }
            }
        }
    }
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
