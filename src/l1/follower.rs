//! Follows L1: the canonical chain block by block, and what its events say, into the mirror and the store.
//!
//! Blocks are tied together by parent hash. When L1 reorganises, the follower goes back to the last block that both
//! chains share, rebuilds the mirror from the events up to there, and goes on. When no node answers, the mirror stays as
//! it is and the follower keeps trying.

use super::client::Client;
use super::error::L1Error;
use super::facts::{self, Fact};
use super::mirror::MirrorHandle;
use crate::blocking::blocking;
use crate::domain::{BatchNumber, Deployment, ForcedEntry, L1Block, RollupId, SettledBatch};
use crate::storage::{Store, StoreError};
use alloy::eips::BlockNumberOrTag;
use alloy::primitives::B256;
use alloy::rpc::types::Log;
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Blocks that are followed one by one at the start, and kept for reorgs. What lies deeper is read in ranges and taken
/// for final.
const WINDOW_BLOCKS: u64 = 128;
/// Blocks of one request for logs; halved while a node refuses.
const RANGE_BLOCKS: u64 = 2_000;
/// Requests in flight while catching up.
const CONCURRENCY: usize = 8;
/// The longest pause between two attempts to reach L1.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Why following stops or pauses.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A reorg deeper than what is kept: everything is read again.
    #[error("l1 reorganised below block {number}, deeper than what is kept")]
    TooDeep { number: u64 },
}

/// Follows until `shutdown`. `poll` is the pause between two looks at L1 while nothing happens.
pub async fn run(
    client: Client,
    deployment: Deployment,
    mirror: MirrorHandle,
    store: Store,
    poll: Duration,
    shutdown: CancellationToken,
) {
    let mut follower = Follower::new(client, deployment, mirror, store);
    let mut pause = poll;
    loop {
        pause = match follower.step().await {
            Ok(()) => poll,
            Err(FollowError::TooDeep { number }) => {
                warn!(number, "l1 reorganised deeper than what is kept, reading it again");
                follower.chain = None;
                poll
            }
            Err(error) => {
                warn!(%error, retry_in = ?pause, "l1 not followed");
                pause.saturating_mul(2).min(MAX_PAUSE)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Blocks and facts of the canonical chain, as far as it was followed. Pure.
#[derive(Debug, Default)]
struct Chain {
    /// The newest blocks; the first one is taken for final.
    blocks: BTreeMap<u64, L1Block>,
    /// Everything that events said, with the block that they are in. Of those blocks that are taken for final, only the
    /// last settled batch is kept, the last escape, the first and last balances, and the forced entries after that batch; of forced entries the bytes
    /// are in the store alone.
    facts: Vec<(L1Block, Fact)>,
}

impl Chain {
    fn tip(&self) -> Option<L1Block> {
        self.blocks.last_key_value().map(|(_, block)| *block)
    }

    /// Drops the tip and what it said.
    fn pop(&mut self) {
        if let Some((number, _)) = self.blocks.pop_last() {
            self.facts.retain(|(block, _)| block.number < number);
        }
    }

    /// Takes a block. `needed` is the oldest that a block of ours may name as its origin.
    fn push(&mut self, block: L1Block, facts: Vec<Fact>, needed: u64) {
        self.facts.extend(facts.into_iter().map(|fact| (block, fact)));
        self.blocks.insert(block.number, block);
        self.prune(needed);
    }

    /// Forgets what no reorg and no rebuild needs any more: of old blocks only the last word on each thing is of use, and
    /// the first on a rollup, which says since when it is registered.
    fn prune(&mut self, needed: u64) {
        let Some(tip) = self.tip() else { return };
        let oldest = tip.number.saturating_sub(WINDOW_BLOCKS);
        self.blocks = self.blocks.split_off(&oldest);
        let needed = needed.min(oldest);
        let last_old = |is_kind: fn(&Fact) -> bool| {
            self.facts.iter().rposition(|(block, fact)| block.number < oldest && is_kind(fact))
        };
        let settled = last_old(|fact| matches!(fact, Fact::Settled(_)));
        let escaped = last_old(|fact| matches!(fact, Fact::Escaped(_)));
        let passed = match settled.and_then(|index| self.facts.get(index)) {
            Some((_, Fact::Settled(batch))) => batch.header.forced_through,
            _ => 0,
        };
        // The first balance of a rollup says since when it is registered.
        let mut balances: BTreeMap<RollupId, (usize, usize)> = BTreeMap::new();
        for (index, (block, fact)) in self.facts.iter().enumerate() {
            if let Fact::RollupBalance { rollup, .. } = fact
                && block.number < needed
            {
                balances.entry(*rollup).or_insert((index, index)).1 = index;
            }
        }
        let mut index = 0_usize;
        self.facts.retain(|(block, fact)| {
            let keep = match fact {
                Fact::RollupBalance { rollup, .. } => balances
                    .get(rollup)
                    .is_none_or(|(first, last)| index == *first || index >= *last),
                _ if block.number >= oldest => true,
                Fact::Settled(_) => Some(index) == settled,
                Fact::Escaped(_) => Some(index) == escaped,
                Fact::Forced(entry) => entry.index >= passed,
                _ => true,
            };
            index = index.saturating_add(1);
            keep
        });
    }
}

struct Follower {
    client: Client,
    deployment: Deployment,
    mirror: MirrorHandle,
    store: Store,
    chain: Option<Chain>,
}

impl Follower {
    const fn new(
        client: Client,
        deployment: Deployment,
        mirror: MirrorHandle,
        store: Store,
    ) -> Self {
        Self { client, deployment, mirror, store, chain: None }
    }

    /// Brings mirror and store to what L1 says now.
    async fn step(&mut self) -> Result<(), FollowError> {
        let head = self.client.head().await?;
        let mut chain = match self.chain.take() {
            Some(chain) => chain,
            None => self.catch_up(head).await?,
        };
        let result = self.follow(&mut chain, head).await;
        self.chain = Some(chain);
        result?;
        self.look_at_depth().await
    }

    async fn follow(&self, chain: &mut Chain, head: L1Block) -> Result<(), FollowError> {
        if self.go_back(chain, head).await? {
            self.rebuild(chain).await?;
        }
        let Some(tip) = chain.tip() else { return Ok(()) };
        let numbers = tip.number.saturating_add(1)..=head.number;
        let mut blocks = futures::stream::iter(numbers)
            .map(|number| self.block_with_logs(number))
            .buffered(CONCURRENCY);
        let mut parent = tip.hash;
        while let Some((block, parent_hash, logs)) = blocks.try_next().await? {
            if parent_hash != parent {
                // L1 changed while we were reading: the next step goes back first.
                debug!(number = block.number, "l1 changed while it was read");
                return Ok(());
            }
            parent = block.hash;
            let facts =
                facts::read(&self.client, &self.deployment, &block, &logs, Some(&self.store))
                    .await?;
            self.take(chain, block, facts).await?;
        }
        Ok(())
    }

    /// Drops blocks that are not canonical any more. Whether there were any.
    async fn go_back(&self, chain: &mut Chain, head: L1Block) -> Result<bool, FollowError> {
        let mut went_back = false;
        while let Some(tip) = chain.tip() {
            let canonical = if tip.number > head.number {
                None
            } else if tip.number == head.number {
                Some(head)
            } else {
                let number = BlockNumberOrTag::Number(tip.number);
                self.client.block(number).await?.map(|(block, _)| block)
            };
            if canonical.is_some_and(|block| block.hash == tip.hash) {
                break;
            }
            chain.pop();
            went_back = true;
            if chain.blocks.is_empty() {
                return Err(FollowError::TooDeep { number: tip.number });
            }
        }
        if went_back {
            let to = chain.tip().map_or(0, |tip| tip.number);
            info!(to, "l1 reorganised");
        }
        Ok(went_back)
    }

    /// Makes store and mirror say what `chain` says, and nothing else.
    async fn rebuild(&self, chain: &Chain) -> Result<(), FollowError> {
        let last = chain.facts.iter().rev().find_map(|(_, fact)| match fact {
            Fact::Settled(batch) => Some(batch.number),
            _ => None,
        });
        let next = last.unwrap_or_default().next();
        self.settle_from(next, Vec::new()).await?;
        let end = chain.tip().map_or(0, |tip| tip.number.saturating_add(1));
        self.force_from(end, &mut []).await?;
        self.mirror.update(|mirror| {
            mirror.forget_facts();
            for (block, fact) in &chain.facts {
                mirror.apply(block, fact);
            }
            mirror.head = chain.tip();
            mirror.blocks.split_off(&end);
        });
        Ok(())
    }

    /// Takes one block and its facts: the store first, then the mirror.
    async fn take(
        &self,
        chain: &mut Chain,
        block: L1Block,
        mut facts: Vec<Fact>,
    ) -> Result<(), FollowError> {
        self.keep_forced(block.number, &mut facts).await?;
        let settled = settled_in(&facts);
        if let Some(first) = settled.first().map(|batch| batch.number) {
            self.settle_from(first, settled).await?;
        }
        let decided = self.decided_origin()?.unwrap_or(0);
        let oldest = self.mirror.update(|mirror| {
            for fact in &facts {
                mirror.apply(&block, fact);
            }
            mirror.head = Some(block);
            mirror.blocks.insert(block.number, block);
            let settled =
                mirror.last_settled.as_ref().map_or(0, |batch| batch.header.l1_origin_number);
            let oldest = settled.min(decided).min(block.number.saturating_sub(WINDOW_BLOCKS));
            mirror.forget_before(oldest);
            oldest
        });
        chain.push(block, facts, oldest);
        Ok(())
    }

    /// L1 origin of this agent's own last decided block.
    fn decided_origin(&self) -> Result<Option<u64>, StoreError> {
        let Some((height, _)) = self.store.decided_tip()? else { return Ok(None) };
        Ok(self.store.header(height)?.map(|(_, header)| header.l1_origin_number))
    }

    /// Reads everything from the deployment up to a little below `head`, in ranges.
    async fn catch_up(&self, head: L1Block) -> Result<Chain, FollowError> {
        let start = self.deployment.block.min(head.number);
        let anchor = head.number.saturating_sub(WINDOW_BLOCKS).max(start);
        let mut chain = Chain::default();

        self.force_from(start, &mut []).await?;
        let mut from = start;
        let mut span = RANGE_BLOCKS;
        while from <= anchor {
            let to = from.saturating_add(span).saturating_sub(1).min(anchor);
            let filter = facts::filter(&self.deployment).from_block(from).to_block(to);
            let logs = match self.client.logs(&filter).await {
                Ok(logs) => logs,
                Err(L1Error::Refused { .. }) if span > 1 => {
                    span /= 2;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for (number, logs) in facts::by_block(logs) {
                let (block, _) = self.block(number).await?;
                let mut read =
                    facts::read(&self.client, &self.deployment, &block, &logs, Some(&self.store))
                        .await?;
                self.keep_forced(number, &mut read).await?;
                chain.facts.extend(read.into_iter().map(|fact| (block, fact)));
            }
            from = to.saturating_add(1);
        }

        // Decided blocks that are not settled yet name origins from the settled one on: those are still of use. An agent
        // that is behind goes through the origins after that of its own tip (R15), the first time after that of block 0.
        let settled = chain.facts.iter().rev().find_map(|(_, fact)| match fact {
            Fact::Settled(batch) => Some(batch.header.l1_origin_number),
            _ => None,
        });
        let began = chain.facts.iter().find_map(|(_, fact)| match fact {
            Fact::Genesis(header) => Some(header.l1_origin_number),
            _ => None,
        });
        let decided = self.decided_origin()?.or(began);
        let oldest = [settled, decided].into_iter().flatten().fold(anchor, u64::min);
        let blocks: Vec<L1Block> = futures::stream::iter(oldest..=anchor)
            .map(|number| async move { self.block(number).await.map(|(block, _)| block) })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;

        let settled: Vec<Fact> = chain.facts.iter().map(|(_, fact)| fact.clone()).collect();
        self.settle_from(BatchNumber::new(1), settled_in(&settled)).await?;
        let anchor = blocks.last().copied().ok_or(L1Error::BadAnswer { what: "block" })?;
        chain.blocks.insert(anchor.number, anchor);
        self.mirror.update(|mirror| {
            mirror.forget_facts();
            for (block, fact) in &chain.facts {
                mirror.apply(block, fact);
            }
            mirror.head = Some(anchor);
            mirror.blocks = blocks.iter().map(|block| (block.number, *block)).collect();
        });
        info!(from = start, to = anchor.number, facts = chain.facts.len(), "l1 read");
        Ok(chain)
    }

    /// Where the newest block at depth is (R16): by finality where L1 has it, else by number. Never goes back.
    async fn look_at_depth(&self) -> Result<(), FollowError> {
        let finalized = self.client.finality().await?;
        let deeper = {
            let mirror = self.mirror.read();
            let number = mirror.head.map(|head| match finalized {
                Some(block) => block.number.min(head.number),
                None => head.number.saturating_sub(mirror.params.origin_depth_blocks),
            });
            number
                .and_then(|number| mirror.blocks.get(&number).copied())
                .filter(|block| mirror.at_depth.is_none_or(|known| known.number < block.number))
        };
        if let Some(block) = deeper {
            self.mirror.update(|mirror| mirror.at_depth = Some(block));
        }
        Ok(())
    }

    async fn block(&self, number: u64) -> Result<(L1Block, B256), L1Error> {
        self.client
            .block(BlockNumberOrTag::Number(number))
            .await?
            .ok_or(L1Error::BadAnswer { what: "block" })
    }

    /// A block with the events in it: those are asked for by its hash, so that they cannot be another block's.
    async fn block_with_logs(&self, number: u64) -> Result<(L1Block, B256, Vec<Log>), L1Error> {
        let (block, parent) = self.block(number).await?;
        let filter = facts::filter(&self.deployment).at_block_hash(block.hash);
        Ok((block, parent, self.client.logs(&filter).await?))
    }

    /// Puts what block `number` says of the forced queue into the store, if it says anything.
    async fn keep_forced(&self, number: u64, facts: &mut [Fact]) -> Result<(), StoreError> {
        if facts.iter().any(|fact| matches!(fact, Fact::Forced(_) | Fact::Escaped(_))) {
            self.force_from(number, facts).await?;
        }
        Ok(())
    }

    /// Makes the store say of the forced queue, from L1 block `first` on, what `facts` do, and takes the bytes out of them.
    async fn force_from(&self, first: u64, facts: &mut [Fact]) -> Result<(), StoreError> {
        let (mut entries, mut escapes) = (Vec::new(), Vec::new());
        for fact in facts {
            match fact {
                Fact::Forced(entry) => {
                    let mut bare = ForcedEntry::clone(entry);
                    bare.transaction.raw.clear();
                    entries.push(std::mem::replace(entry, Arc::new(bare)));
                }
                Fact::Escaped(escape) => escapes.push(*escape),
                _ => {}
            }
        }
        let store = self.store.clone();
        blocking(move || store.force_from(first, entries.iter().map(Arc::as_ref), &escapes)).await
    }

    async fn settle_from(
        &self,
        first: BatchNumber,
        batches: Vec<SettledBatch>,
    ) -> Result<(), FollowError> {
        let store = self.store.clone();
        Ok(blocking(move || store.settle_from(first, &batches)).await?)
    }
}

fn settled_in(facts: &[Fact]) -> Vec<SettledBatch> {
    facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Settled(batch) => Some(SettledBatch::clone(batch)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Chain, Fact, WINDOW_BLOCKS};
    use crate::domain::{L1Block, RollupId, Seconds};
    use alloy::primitives::{B256, U256};

    /// Blocks 1 to 300, each with a balance of rollup 7 that is its number; one in ten has one of rollup 8.
    fn chain(needed: u64) -> Chain {
        let mut chain = Chain::default();
        for number in 1..=300 {
            let block = L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(number) };
            let balance = |rollup| Fact::RollupBalance {
                rollup: RollupId::new(rollup),
                balance_wei: U256::from(number),
            };
            let facts =
                if number % 10 == 0 { vec![balance(7), balance(8)] } else { vec![balance(7)] };
            chain.push(block, facts, needed.min(number));
        }
        chain
    }

    fn blocks_of(chain: &Chain, asked: u64) -> Vec<u64> {
        let of = |fact: &Fact| matches!(fact, Fact::RollupBalance { rollup, .. } if rollup.get() == asked);
        chain.facts.iter().filter(|(_, fact)| of(fact)).map(|(block, _)| block.number).collect()
    }

    #[test]
    fn balances_are_kept_from_the_window_on_with_the_last_before_and_the_first() {
        let chain = chain(u64::MAX);
        let oldest = 300_u64.saturating_sub(WINDOW_BLOCKS);
        let expected: Vec<u64> = [1].into_iter().chain(oldest.saturating_sub(1)..=300).collect();
        assert_eq!(blocks_of(&chain, 7), expected);
        let expected: Vec<u64> = [10].into_iter().chain((170..=300).step_by(10)).collect();
        assert_eq!(blocks_of(&chain, 8), expected);
    }

    #[test]
    fn balances_that_an_old_origin_may_ask_for_are_kept() {
        let expected: Vec<u64> = [1].into_iter().chain(49..=300).collect();
        assert_eq!(blocks_of(&chain(50), 7), expected);
    }
}
