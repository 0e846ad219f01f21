//! Whether the agent does its work: judged, and the metrics brought up to date, whenever somebody asks.

use crate::agreement::{Clock, Quiet};
use crate::domain::{Height, L1Block, Params};
use crate::l1::{Account, AccountState, Mirror, MirrorHandle};
use crate::mempool::Pool;
use crate::node::progress::Progress;
use crate::storage::Store;
use crate::telemetry::{Health, Metrics, Probe};
use alloy::primitives::{Address, U256};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// L1 blocks that may fail to appear before L1 counts as silent.
const SILENT_L1_BLOCKS: u64 = 10;
/// How far in the future L1's newest block may be without a word.
const CLOCK_TOLERANCE_SECONDS: u64 = 3_600;
/// Idle intervals without a decided block after which agreement counts as stalled.
const STALLED_INTERVALS: u32 = 20;

/// Takeover times until anybody may post a batch (R28), and L1 blocks until it is included.
const TAKEOVERS: u64 = 6;
const INCLUSION_BLOCKS: u64 = 20;
/// Gas that the account should be able to pay for: about ten large settlements.
const LOW_GAS: u64 = 10_000_000;

/// A probe over the agent's shared state.
#[expect(clippy::too_many_arguments, reason = "everything that health is judged by, named once")]
pub(super) fn probe(
    metrics: Metrics,
    progress: Progress,
    mirror: &MirrorHandle,
    store: &Store,
    pool: &Arc<Pool>,
    clock: &Clock,
    account: Account,
    quiet: watch::Receiver<Quiet>,
) -> Probe {
    let (mirror, store, pool) = (mirror.clone(), store.clone(), Arc::clone(pool));
    let clock = clock.clone();
    // The signer's own account.
    let signer = account.address();
    Arc::new(move || {
        let mut reasons = Vec::new();
        let quiet = *quiet.borrow();
        reasons.extend(quiet.silence.map(|silence| format!("the agent {silence}")));
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
        reasons.extend(of_l1(&view, now.as_secs()));
        reasons.extend(
            view.doubt.as_ref().map(|missing| {
                format!("events of L1 are missing in what its nodes told: {missing}")
            }),
        );
        let patience = view.params.idle_interval().saturating_mul(STALLED_INTERVALS);
        if still_for > patience.max(Duration::from_secs(10)) && view.genesis.is_some() {
            reasons.push(format!("no block was decided for {} s", still_for.as_secs()));
        }
        reasons.extend(clock.fault(view.params.drift()).map(|off| off.to_string()));
        metrics.clock_offset_milliseconds.set(clock.off().map_or(0, |off| off.millis));
        let settled = view.tip.as_ref().map_or(0, |tip| tip.last_height.get());
        let unsettled_for = unsettled_for(&store, settled, view.head);
        if unsettled_for > settling_patience(&view.params) {
            reasons.push(format!(
                "nothing has settled since height {settled}: the block after it is {unsettled_for} s old"
            ));
        }
        let epoch = view.head.map(|head| view.params.epoch_at(head.timestamp)).unwrap_or_default();
        let generation = view.generation();
        let member =
            view.set_for(generation, epoch).is_some_and(|set| set.index_of(signer).is_some());

        metrics.silent.set(quiet.silence.is_some().into());
        metrics.own_messages_without_record.set(number(quiet.without_record));
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
        show_store(&metrics, &store);
        let state = account.state();
        reasons.extend(of_account(account.address(), &state));
        let flights = account.flights().waiting().count();
        metrics.oldest_unsettled_seconds.set(number(unsettled_for));
        metrics.account_flights.set(i64::try_from(flights).unwrap_or(i64::MAX));
        show_account(&metrics, &state);
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

/// What the store takes and keeps.
/// What is wrong with L1 as it is seen now, if anything.
fn of_l1(view: &Mirror, now: u64) -> Option<String> {
    let newest = view.head.map_or(0, |head| head.timestamp.get());
    let (age, ahead) = (now.saturating_sub(newest), newest.saturating_sub(now));
    match (view.read_through, view.head) {
        (None, None) => Some("no L1 node has answered yet".to_owned()),
        (None, Some(kept)) => Some(format!(
            "no L1 node has answered since the start: what is known is of block {}",
            kept.number
        )),
        (Some((through, last)), _) if through < last => {
            Some(format!("L1 is being read: block {through} of {last}"))
        }
        _ if age > view.params.l1_block_seconds.saturating_mul(SILENT_L1_BLOCKS) => Some(format!(
            "the newest L1 block is {age} s old: its nodes stand still, or one of the clocks is wrong"
        )),
        _ if ahead > CLOCK_TOLERANCE_SECONDS => Some(format!(
            "the newest L1 block is {ahead} s in the future: one of the clocks is wrong"
        )),
        _ => None,
    }
}

fn show_store(metrics: &Metrics, store: &Store) {
    metrics.store_bytes.set(number(store.size().unwrap_or(0)));
    metrics.store_kept_from.set(number(store.kept_from().map_or(0, Height::get)));
}

/// What the account that posts has, pays and waits for.
fn show_account(metrics: &Metrics, state: &AccountState) {
    metrics.account_balance_gwei.set(gwei(state.balance_wei.unwrap_or_default()));
    metrics.l1_paid_in_vain.set(number(state.paid_in_vain));
    metrics.l1_resting.set(i64::try_from(state.resting.len()).unwrap_or(i64::MAX));
    let fee = state.asked.map_or(0, |asked| asked.max_fee_wei);
    metrics.l1_fee_wei.set(i64::try_from(fee).unwrap_or(i64::MAX));
}

/// Seconds between the oldest decided block that is not settled and the newest L1 block.
fn unsettled_for(store: &Store, settled: u64, head: Option<L1Block>) -> u64 {
    let oldest = store.header(Height::new(settled).next()).ok().flatten();
    oldest.zip(head).map_or(0, |((_, header), head)| {
        head.timestamp.get().saturating_sub(header.timestamp.to_seconds().get())
    })
}

/// How old the oldest unsettled block may get: a batch's age, all takeovers until anybody may post, and L1 blocks to be
/// included in.
const fn settling_patience(params: &Params) -> u64 {
    let age = if params.max_batch_age_seconds > params.idle_batch_age_seconds {
        params.max_batch_age_seconds
    } else {
        params.idle_batch_age_seconds
    };
    age.saturating_add(params.takeover_seconds.saturating_mul(TAKEOVERS))
        .saturating_add(params.l1_block_seconds.saturating_mul(INCLUSION_BLOCKS))
}

/// What is wrong with the account that posts.
fn of_account(address: Address, state: &AccountState) -> Vec<String> {
    let mut reasons = Vec::new();
    if state.lacks_funds {
        reasons.push(format!("the account {address} cannot pay for what is to be sent"));
    } else if let Some((balance, asked)) = state.balance_wei.zip(state.asked) {
        let needed = U256::from(asked.max_fee_wei).saturating_mul(U256::from(LOW_GAS));
        if balance < needed {
            reasons.push(format!(
                "the account {address} is nearly empty: {} gwei, less than {} gwei for {LOW_GAS} gas at what L1 asks now",
                gwei(balance),
                gwei(needed)
            ));
        }
    }
    if state.balance_wei == Some(U256::ZERO) && reasons.is_empty() {
        reasons.push(format!("the account {address} is empty"));
    }
    if state.is_at_fee_limit {
        reasons
            .push("a transaction waits because L1 asks for more than max-l1-fee-gwei".to_owned());
    }
    if state.is_at_tip_limit {
        reasons.push(
            "a transaction waits because L1 nodes want a larger tip than max-l1-tip-gwei"
                .to_owned(),
        );
    }
    if state.failed_settlements > 1 {
        reasons.push(format!(
            "the next batch was included on L1 and refused {} times, each time at cost: it is tried ever more seldom",
            state.failed_settlements
        ));
    }
    for one in &state.resting {
        reasons.push(format!(
            "{} was included on L1 and refused {} times, each time at cost: it rests",
            one.what, one.failures
        ));
    }
    reasons
}

fn gwei(wei: U256) -> i64 {
    let gwei = wei.checked_div(U256::from(1_000_000_000_u64)).unwrap_or_default();
    i64::try_from(gwei).unwrap_or(i64::MAX)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{
        CLOCK_TOLERANCE_SECONDS, LOW_GAS, SILENT_L1_BLOCKS, of_account, of_l1, settling_patience,
        show_account, show_store, unsettled_for,
    };
    use crate::domain::{BatchNumber, Height, L1Block, Millis, Params, Seconds};
    use crate::l1::{AccountState, Fees, Mirror, Resting};
    use crate::storage::Horizon;
    use crate::telemetry::Metrics;
    use crate::testing::{Surroundings, params};
    use alloy::primitives::{Address, B256, U256};
    use std::time::Duration;

    #[test]
    fn an_l1_whose_time_is_a_day_off_is_told_with_by_how_much() {
        const DAY: u64 = 86_400;
        let mut view = Mirror::new(Params::for_tests());
        assert_eq!(of_l1(&view, DAY).unwrap(), "no L1 node has answered yet");
        view.head = Some(block(9, 10 * DAY));
        assert!(of_l1(&view, 10 * DAY).unwrap().contains("since the start"));
        view.read_through = Some((5, 9));
        assert_eq!(of_l1(&view, 10 * DAY).unwrap(), "L1 is being read: block 5 of 9");
        view.read_through = Some((9, 9));
        assert_eq!(of_l1(&view, 10 * DAY), None);
        let behind = of_l1(&view, 11 * DAY).unwrap();
        assert!(behind.contains("86400 s old") && behind.contains("clocks"), "{behind}");
        let ahead = of_l1(&view, 9 * DAY).unwrap();
        assert!(ahead.contains("86400 s in the future"), "{ahead}");
        let slow = view.params.l1_block_seconds.saturating_mul(SILENT_L1_BLOCKS);
        let later = slow.saturating_add(10 * DAY);
        assert_eq!(of_l1(&view, later), None, "L1 may be slow");
        assert_eq!(of_l1(&view, 10 * DAY - CLOCK_TOLERANCE_SECONDS), None, "clocks differ");
    }

    fn block(number: u64, timestamp: u64) -> L1Block {
        L1Block { number, hash: B256::ZERO, timestamp: Seconds::new(timestamp) }
    }

    fn state(balance_wei: u64, fee: u128) -> AccountState {
        AccountState {
            balance_wei: Some(U256::from(balance_wei)),
            asked: Some(Fees { max_fee_wei: fee, priority_fee_wei: 1 }),
            ..AccountState::default()
        }
    }

    fn said(state: &AccountState) -> String {
        of_account(Address::ZERO, state).join("; ")
    }

    #[test]
    fn an_account_that_runs_dry_or_waits_at_its_limit_is_told() {
        assert_eq!(said(&AccountState::default()), "", "nothing is known yet");
        assert_eq!(said(&state(LOW_GAS, 1)), "");
        assert!(said(&state(LOW_GAS - 1, 1)).contains("nearly empty"));
        assert!(said(&state(u64::MAX, u128::MAX)).contains("nearly empty"));
        let empty = AccountState { balance_wei: Some(U256::ZERO), ..AccountState::default() };
        assert!(said(&empty).contains("is empty"));
        let poor = AccountState { lacks_funds: true, ..state(LOW_GAS, 1) };
        assert!(said(&poor).contains("cannot pay"));
        let dear = AccountState { is_at_tip_limit: true, ..state(LOW_GAS, 1) };
        assert!(said(&dear).contains("max-l1-tip-gwei"));
        let resting = vec![Resting { what: "tally", failures: 6, until: Duration::ZERO }];
        let told = said(&AccountState { resting, ..state(LOW_GAS, 1) });
        assert!(told.contains("tally") && told.contains("6 times") && told.contains("rests"));
        let vain = AccountState { failed_settlements: 2, ..state(LOW_GAS, 1) };
        assert!(said(&vain).contains("2 times"));
        let dear = AccountState { is_at_fee_limit: true, ..state(LOW_GAS, 1) };
        assert!(said(&dear).contains("max-l1-fee-gwei"));
    }

    #[test]
    fn what_does_not_settle_is_told_by_the_age_of_the_oldest_block() {
        let around = Surroundings::new(params());
        let head = |seconds: u64| {
            let timestamp = Seconds::new(1_700_000_000_u64.saturating_add(seconds));
            Some(L1Block { number: 1, hash: B256::ZERO, timestamp })
        };
        assert_eq!(unsettled_for(&around.store, 0, head(900)), 0, "nothing is decided");
        around.decide(&[]);
        assert_eq!(unsettled_for(&around.store, 0, head(900)), 900);
        assert_eq!(unsettled_for(&around.store, 1, head(900)), 0, "all is settled");
        assert_eq!(unsettled_for(&around.store, 0, None), 0);
        assert_eq!(unsettled_for(&around.store, u64::MAX, head(900)), 0);
        let patience = settling_patience(&params());
        assert!(patience > params().idle_batch_age_seconds && patience < 900, "{patience}");
    }

    #[test]
    fn blocks_that_were_dropped_and_what_was_paid_in_vain_show_in_the_metrics() {
        let (around, metrics) = (Surroundings::new(params()), Metrics::new());
        let shown = |line: &str| metrics.render().lines().any(|one| one == line);
        for _ in 0..3 {
            around.decide(&[]);
        }
        show_store(&metrics, &around.store);
        assert!(shown("rota_store_kept_from 0"), "{}", metrics.render());
        let made_before = Millis::new(u64::MAX);
        let horizon = Horizon { blocks: Height::new(2), made_before, batches: BatchNumber::new(0) };
        while around.store.prune(horizon).unwrap() {}
        show_store(&metrics, &around.store);
        assert!(shown("rota_store_kept_from 2"), "{}", metrics.render());

        let resting = vec![Resting { what: "tally", failures: 6, until: Duration::ZERO }];
        let vain = AccountState { paid_in_vain: 7, resting, ..state(LOW_GAS, 1) };
        show_account(&metrics, &vain);
        assert!(shown("rota_l1_paid_in_vain 7") && shown("rota_l1_resting 1"));
    }
}
