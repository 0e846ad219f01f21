//! Structured logs on standard error: a static message, the data as fields.

use crate::config::LogFormat;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Why logs did not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not in the form of `tracing`.
    #[error("log: expected a filter such as info,rota::poster=debug, found {filter}: {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What the parser said.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs can be started once in a process.
    #[error("logs were started already")]
    Started,
}

/// Sends the logs of this process to standard error.
///
/// # Errors
///
/// [`LogError::Filter`] names the filter that does not parse; [`LogError::Started`] at a second call.
pub fn start_logs(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Started)
}
