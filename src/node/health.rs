//! Whether the agent does its work: judged, and the metrics brought up to date, whenever somebody asks.

use crate::agreement::Clock;
use crate::domain::Height;
use crate::l1::MirrorHandle;
use crate::mempool::Pool;
use crate::node::progress::Progress;
use crate::storage::Store;
use crate::telemetry::{Health, Metrics, Probe};
use alloy::primitives::Address;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// L1 blocks that may fail to appear before L1 counts as silent.
const SILENT_L1_BLOCKS: u64 = 10;
/// How far in the future L1's newest block may be without a word.
const CLOCK_TOLERANCE_SECONDS: u64 = 3_600;
/// Idle intervals without a decided block after which agreement counts as stalled.
const STALLED_INTERVALS: u32 = 20;

/// A probe over the agent's shared state.
pub(super) fn probe(
    metrics: Metrics,
    progress: Progress,
    mirror: &MirrorHandle,
    store: &Store,
    pool: &Arc<Pool>,
    clock: &Clock,
    signer: Address,
) -> Probe {
    let (mirror, store, pool) = (mirror.clone(), store.clone(), Arc::clone(pool));
    let clock = clock.clone();
    Arc::new(move || {
        let mut reasons = Vec::new();
        let decided = match store.decided_tip() {
            Ok(tip) => tip.map_or(Height::new(0), |(height, _)| height),
            Err(error) => {
                reasons.push(format!("the store fails: {error}"));
                Height::new(0)
            }
        };
        let view = mirror.read();
        let head = view.head.map_or(0, |head| head.number);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let made = store.header(decided).ok().flatten().map(|(_, header)| header.timestamp.get());
        let age = now.saturating_sub(Duration::from_millis(made.unwrap_or_default()));
        let still_for = progress.still_for(age);
        let age =
            view.head.map_or(u64::MAX, |head| now.as_secs().saturating_sub(head.timestamp.get()));
        let ahead = view.head.map_or(0, |head| head.timestamp.get().saturating_sub(now.as_secs()));
        match (view.read_through, view.head) {
            (None, None) => reasons.push("no L1 node has answered yet".to_owned()),
            (None, Some(kept)) => reasons.push(format!(
                "no L1 node has answered since the start: what is known is of block {}",
                kept.number
            )),
            (Some((through, last)), _) if through < last => {
                reasons.push(format!("L1 is being read: block {through} of {last}"));
            }
            _ if age > view.params.l1_block_seconds.saturating_mul(SILENT_L1_BLOCKS) => reasons
                .push(format!(
                    "the newest L1 block is {age} s old: its nodes stand still, or one of the clocks is wrong"
                )),
            _ if ahead > CLOCK_TOLERANCE_SECONDS => reasons.push(format!(
                "the newest L1 block is {ahead} s in the future: one of the clocks is wrong"
            )),
            _ => {}
        }
        let patience = view.params.idle_interval().saturating_mul(STALLED_INTERVALS);
        if still_for > patience.max(Duration::from_secs(10)) && view.genesis.is_some() {
            reasons.push(format!("no block was decided for {} s", still_for.as_secs()));
        }
        reasons.extend(clock.fault(view.params.drift()).map(|off| off.to_string()));
        metrics.clock_offset_milliseconds.set(clock.off().map_or(0, |off| off.millis));
        let settled = view.tip.as_ref().map_or(0, |tip| tip.last_height.get());
        let epoch = view.head.map(|head| view.params.epoch_at(head.timestamp)).unwrap_or_default();
        let generation = view.generation();
        let member =
            view.set_for(generation, epoch).is_some_and(|set| set.index_of(signer).is_some());

        metrics.decided_height.set(number(decided.get()));
        metrics.settled_height.set(number(settled));
        metrics.settled_batches.set(number(view.tip.as_ref().map_or(0, |tip| tip.number.get())));
        metrics.l1_head_number.set(number(head));
        metrics.l1_depth_number.set(number(view.at_depth.map_or(0, |block| block.number)));
        metrics.l1_head_age_seconds.set(number(age));
        let unread = view.read_through.map_or(0, |(through, last)| last.saturating_sub(through));
        metrics.l1_unread_blocks.set(number(unread));
        metrics.epoch.set(number(epoch.get()));
        metrics.generation.set(generation.get().into());
        metrics.member.set(member.into());
        metrics.forced_waiting.set(number(view.forced.waiting()));
        metrics.known_peers.set(i64::try_from(view.peers.len()).unwrap_or(i64::MAX));
        drop(view);
        metrics.store_bytes.set(number(store.size().unwrap_or(0)));
        let waiting = pool.waiting().transactions;
        metrics.mempool_transactions.set(i64::try_from(waiting).unwrap_or(i64::MAX));

        Health {
            healthy: reasons.is_empty(),
            reasons,
            decided_height: decided.get(),
            settled_height: settled,
            l1_head_number: head,
        }
    })
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
