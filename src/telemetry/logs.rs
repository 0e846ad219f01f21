//! Structured logs on standard error: a static message, the data as fields.

use crate::config::{LogFormat, redact_text};
use std::io::{IsTerminal as _, Write};
use tracing_subscriber::EnvFilter;

/// What is logged unless asked for otherwise. The engine tells every vote at `info`. Of its network nothing is told: a
/// table of all peers every five seconds, an `ERROR` a second for each peer that is away, and lines that whoever connects
/// can cause; agents that come and go, and what hostile peers do, this agent says itself, so many lines a minute.
pub const DEFAULT_LOG: &str = "info,arc_malachitebft_core_consensus=warn,arc_malachitebft_engine=warn,\
    arc_malachitebft_network=off,arc_malachitebft_discovery=off";

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

/// Takes the secrets out of URLs on their way to a log: our own errors hold none, but those of libraries may. The subscriber
/// writes each event at once.
struct Redacting<W>(W);

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        match std::str::from_utf8(event) {
            Ok(text) if text.contains("://") => self.0.write_all(redact_text(text).as_bytes())?,
            _ => self.0.write_all(event)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
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
        .with_writer(|| Redacting(std::io::stderr()))
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Started)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_log_line_holds_the_secret_of_a_url_in_either_form() {
        let url = "https://user:SECRET@rpc.example:8443/v2/SECRET?key=SECRET";
        for json in [false, true] {
            let kept = Kept::default();
            let writer = kept.clone();
            let logs = tracing_subscriber::fmt().with_writer(move || Redacting(writer.clone()));
            let log = || {
                tracing::warn!(%url, quoted = ?url, "asked {url}");
                tracing::warn!(reason = format!("error for url ({url}): refused"), "no answer");
            };
            match json {
                false => tracing::subscriber::with_default(logs.finish(), log),
                true => tracing::subscriber::with_default(logs.json().finish(), log),
            }
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.lines().count(), 2);
            assert!(!text.contains("SECRET") && text.contains("rpc.example:8443"), "{text}");
            if json {
                for line in text.lines() {
                    let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert!(parsed["fields"].is_object(), "{line}");
                }
            }
        }
    }

    #[test]
    fn the_default_filter_parses_and_stands_in_the_example() {
        assert!(EnvFilter::try_new(DEFAULT_LOG).is_ok(), "{DEFAULT_LOG}");
        let example = include_str!("../../rota.example.toml");
        assert!(example.contains(&format!("log = \"{DEFAULT_LOG}\"")), "{DEFAULT_LOG}");
    }

    #[test]
    fn nothing_that_a_peer_can_cause_in_the_engines_network_is_a_line() {
        for crate_name in ["arc_malachitebft_network", "arc_malachitebft_discovery"] {
            assert!(DEFAULT_LOG.contains(&format!("{crate_name}=off")), "{crate_name}");
        }
    }
}
