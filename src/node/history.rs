//! Between L1 and agreement: the blocks of settled batches, for an agent that was away when they were decided.

use crate::agreement::{History, HistoryError};
use crate::batch::open;
use crate::domain::{Block, Deployment, SettledBatch};
use crate::l1::{Client, settled_payload};
use async_trait::async_trait;

/// Reads payloads from the transactions that settled them.
pub(super) struct L1History {
    client: Client,
    deployment: Deployment,
    max_payload_bytes: usize,
}

impl L1History {
    pub(super) const fn new(
        client: Client,
        deployment: Deployment,
        max_payload_bytes: usize,
    ) -> Self {
        Self { client, deployment, max_payload_bytes }
    }
}

#[async_trait]
impl History for L1History {
    async fn blocks(&self, batch: &SettledBatch) -> Result<Vec<Block>, HistoryError> {
        let payload = settled_payload(&self.client, &self.deployment, batch)
            .await
            .map_err(|error| HistoryError::Silent { reason: error.to_string() })?;
        open(&batch.header, &payload, self.max_payload_bytes).map_err(|error| {
            HistoryError::NoBlocks { number: batch.number, reason: error.to_string() }
        })
    }
}
