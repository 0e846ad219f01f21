//! What an operator sees: logs, metrics, health.

mod logs;
mod metrics;
mod server;

pub use logs::{DEFAULT_LOG, LogError, start_logs};
pub use metrics::Metrics;
pub use server::{Health, Probe, serve};
