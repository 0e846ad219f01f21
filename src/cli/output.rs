//! What commands print: text for people, or one JSON object.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Display;
use std::time::Duration;

/// Where results go: standard output, in one of two forms. Progress goes to standard error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) const fn json(self) -> bool {
        self.json
    }

    /// Prints a result.
    pub(super) fn print(self, text: impl Display, value: &impl Serialize) {
        if self.json {
            let line = serde_json::to_string(value).expect("results are plain data");
            println!("{line}");
        } else {
            println!("{text}");
        }
    }
}

/// Shows on standard error that something takes its time; nothing when that is no terminal.
pub(crate) fn progress(message: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style).with_message(message.into());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
