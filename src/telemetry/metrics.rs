//! All metrics of an agent in one table. Names carry their unit; Prometheus adds `_total` to counters.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Declares the metrics: a field, its type, and the help text that Prometheus shows.
macro_rules! table {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident,)*) => {
        /// The metrics, shared by all tasks: cloning is cheap and counts into the same numbers.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            registry: Arc<Registry>,
            $($(#[doc = $help])+ pub $name: $kind,)*
        }

        impl Metrics {
            /// Names of all metrics, without the prefix and what Prometheus adds.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// A fresh table, all zero.
            pub fn new() -> Self {
                let mut registry = Registry::with_prefix("rota");
                $(
                    let $name = $kind::default();
                    registry.register(stringify!($name), concat!($($help),+).trim(), $name.clone());
                )*
                Self { registry: Arc::new(registry), $($name,)* }
            }
        }
    };
}

table! {
    /// Last decided height
    decided_height: Gauge,
    /// Last height that is settled on L1
    settled_height: Gauge,
    /// Batches settled on L1 by anybody
    settled_batches: Gauge,
    /// Number of the newest L1 block seen
    l1_head_number: Gauge,
    /// Number of the newest L1 block at the depth that consensus reads
    l1_depth_number: Gauge,
    /// Seconds since the newest L1 block seen was made
    l1_head_age_seconds: Gauge,
    /// Milliseconds by which this agent's clock is ahead of the other agents', below 0 behind; 0 while nothing is known
    clock_offset_milliseconds: Gauge,
    /// L1 blocks that are there and not read yet
    l1_unread_blocks: Gauge,
    /// Bytes of the store's file
    store_bytes: Gauge,
    /// First height of which the block is kept; 0 if none was dropped
    store_kept_from: Gauge,
    /// Epoch of the newest L1 block seen
    epoch: Gauge,
    /// Generation in which batches settle
    generation: Gauge,
    /// 1 while this agent's sequencer is in the set in force
    member: Gauge,
    /// 1 while this agent signs nothing because its store may not know all that its key has signed
    silent: Gauge,
    /// Messages of this agent's key that were met and that its store has no record of, since the start
    own_messages_without_record: Gauge,
    /// Transactions that wait in the mempool
    mempool_transactions: Gauge,
    /// Entries of the forced queue that L1 has not seen consumed
    forced_waiting: Gauge,
    /// Sequencers whose endpoint is known
    known_peers: Gauge,
    /// Age of the oldest decided block that L1 has not settled, in seconds by L1's time
    oldest_unsettled_seconds: Gauge,
    /// ETH of the account that posts, in gwei
    account_balance_gwei: Gauge,
    /// Transactions of that account on their way to L1
    account_flights: Gauge,
    /// Transactions of that account that L1 included and refused since the start: paid for in vain
    l1_paid_in_vain: Gauge,
    /// What of these is not tried again now
    l1_resting: Gauge,
    /// What L1 asked for a unit of gas when something was sent last, in wei
    l1_fee_wei: Gauge,
    /// Transactions in decided blocks since the start
    decided_transactions: Counter,
    /// Offences seen since the start, whether or not somebody else reported them first
    evidence: Counter,
}

impl Metrics {
    /// The table in the OpenMetrics text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string fails only if an encoder does, and ours encode plain integers.
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_each_metric_with_its_help() {
        let metrics = Metrics::new();
        metrics.decided_height.set(7);
        metrics.clone().decided_transactions.inc_by(3);

        let text = metrics.render();

        assert!(text.contains("# HELP rota_decided_height Last decided height."), "{text}");
        assert!(text.contains("rota_decided_height 7"), "{text}");
        assert!(text.contains("rota_decided_transactions_total 3"), "{text}");
    }
}
