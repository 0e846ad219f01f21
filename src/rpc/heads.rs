//! Headers of decided blocks as rollups see them, made and encoded once for all who ask and all who subscribe.

use crate::blocking::blocking;
use crate::domain::{Height, RollupId};
use crate::rpc::RpcError;
use crate::rpc::view::RollupBlock;
use crate::storage::Store;
use alloy::primitives::B256;
use alloy::rpc::types::Header;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Headers that are kept, the newest asked for.
const KEPT: usize = 1_024;

/// A header and its JSON.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The header.
    pub(super) header: Arc<Header>,
    /// What `newHeads` tells of it.
    pub(super) json: Arc<str>,
}

/// The headers that were asked for last.
#[derive(Debug, Default)]
pub(super) struct Heads {
    kept: Mutex<Kept>,
    /// Subscribers all want the newest head at the same time: one makes it, the others find it.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    by_name: HashMap<(RollupId, B256), Head>,
    order: VecDeque<(RollupId, B256)>,
    made: u64,
}

impl Heads {
    fn find(&self, name: (RollupId, B256)) -> Option<Head> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).by_name.get(&name).cloned()
    }

    /// The header of a block that was read.
    pub(super) fn of_block(&self, block: &RollupBlock) -> Arc<Header> {
        self.of(block).header
    }

    fn of(&self, block: &RollupBlock) -> Head {
        let name = block.name();
        if let Some(head) = self.find(name) {
            return head;
        }
        let header = Arc::new(block.header());
        let json = serde_json::to_string(&*header).expect("a header has a JSON form").into();
        let head = Head { header, json };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made = kept.made.saturating_add(1);
        if kept.by_name.insert(name, head.clone()).is_none() {
            kept.order.push_back(name);
        }
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_name.remove(&oldest);
        }
        head
    }

    /// The header at a height; `None` when nothing is decided there.
    pub(super) async fn at(
        self: &Arc<Self>,
        store: &Store,
        rollup: RollupId,
        height: Height,
    ) -> Result<Option<Head>, RpcError> {
        let Some((hash, _)) = store.header(height)? else { return Ok(None) };
        if let Some(head) = self.find((rollup, hash)) {
            return Ok(Some(head));
        }
        let _turn = self.turn.lock().await;
        if let Some(head) = self.find((rollup, hash)) {
            return Ok(Some(head));
        }
        let (heads, store) = (Arc::clone(self), store.clone());
        blocking(move || {
            Ok(RollupBlock::read(&store, rollup, height)?.map(|block| heads.of(&block)))
        })
        .await
    }

    /// How many were made.
    #[cfg(test)]
    pub(super) fn made(&self) -> u64 {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).made
    }
}
