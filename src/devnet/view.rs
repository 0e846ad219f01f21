//! What a person sees while the network runs: a few lines redrawn in place on a terminal, one plain line now and then
//! where there is none.

use crate::devnet::ledger::{Percentiles, Totals};
use crate::devnet::observer::Seen;
use crate::domain::{Height, Params};
use crate::rota::draw;
use alloy::primitives::Address;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// How often plain lines come.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// One look at the network.
#[derive(Debug)]
pub(super) struct Picture {
    /// Name of each agent's signer, by index: agents are called by their index.
    pub(super) signers: Vec<Address>,
    /// Indices of agents that do not run.
    pub(super) down: Vec<usize>,
    /// The highest decided height that an agent told.
    pub(super) decided: Height,
    /// Stake of each agent, in whole tokens.
    pub(super) stakes: Vec<String>,
    /// Counts of the traffic.
    pub(super) totals: Totals,
    /// Settled transactions a second, lately.
    pub(super) tps: f64,
    /// Submit to decided.
    pub(super) decided_ms: Percentiles,
    /// Submit to settled.
    pub(super) settled_ms: Percentiles,
}

/// Where the picture goes.
pub(super) enum View {
    /// Lines redrawn in place.
    Live {
        /// Draws them together.
        _together: MultiProgress,
        /// One a line.
        lines: Vec<ProgressBar>,
    },
    /// A line now and then.
    Plain {
        /// When the last one came.
        last: Option<Instant>,
    },
}

impl View {
    /// Redraws on standard error if that is a terminal.
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Plain { last: None };
        }
        let together = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        let style = ProgressStyle::with_template("{wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let lines = (0..LINES)
            .map(|_| together.add(ProgressBar::new_spinner().with_style(style.clone())))
            .collect();
        Self::Live { _together: together, lines }
    }

    /// Shows a picture.
    pub(super) fn show(&mut self, picture: &Picture, seen: &Seen, params: &Params) {
        match self {
            Self::Live { lines, .. } => {
                for (line, text) in lines.iter().zip(describe(picture, seen, params)) {
                    line.set_message(text);
                }
            }
            Self::Plain { last } => {
                if last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
                    *last = Some(Instant::now());
                    eprintln!("{}", describe(picture, seen, params).join(" | "));
                }
            }
        }
    }

    /// Leaves the last picture standing.
    pub(super) fn finish(&self) {
        if let Self::Live { lines, .. } = self {
            lines.iter().for_each(ProgressBar::abandon);
        }
    }
}

/// Lines of a picture.
const LINES: usize = 6;

fn describe(picture: &Picture, seen: &Seen, params: &Params) -> [String; LINES] {
    let Picture { totals, decided_ms, settled_ms, .. } = picture;
    let name = |signer: Address| match picture.signers.iter().position(|known| *known == signer) {
        Some(index) => format!("agent {index}"),
        None => signer.to_string(),
    };
    let next = picture.decided.next();
    let turn = params.turn_of(next);
    let (l1, epoch, leader) = match &seen.head {
        Some((head, epoch, set)) => {
            let leader = set.as_ref().and_then(|set| {
                set.members().get(draw(set, turn, 0)?).map(|member| name(member.signer))
            });
            (head.number, epoch.get(), leader.unwrap_or_else(|| "nobody yet".to_owned()))
        }
        None => (0, 0, "nobody yet".to_owned()),
    };
    let settled = seen.last.as_ref().map_or(0, |(batch, _)| batch.header.last_height.get());
    let stakes: Vec<String> = picture
        .stakes
        .iter()
        .enumerate()
        .map(|(index, stake)| {
            let down = if picture.down.contains(&index) { " (down)" } else { "" };
            format!("{index}: {stake}{down}")
        })
        .collect();
    let forced = match seen.forced {
        0 => String::new(),
        waiting => format!("; {waiting} forced transactions wait"),
    };
    let last = match &seen.last {
        Some((batch, gas)) => format!(
            "batch {} (heights {} to {}) by {}, {gas} gas, L1 transaction {}",
            batch.number,
            batch.header.first_height,
            batch.header.last_height,
            name(batch.poster),
            batch.tx_hash
        ),
        None => "no batch settled yet".to_owned(),
    };
    let away = seen.away.map_or_else(String::new, |since| {
        format!("; L1 does not answer for {} s: what it told last", since.elapsed().as_secs())
    });
    [
        format!("L1 block {l1}, epoch {epoch}, turn {turn}, leader {leader}{away}"),
        format!(
            "decided height {}, settled height {settled} in {} batches{forced}",
            picture.decided, seen.batches
        ),
        format!(
            "transactions: {} sent, {} decided, {} settled, {:.1} settled/s",
            totals.sent, totals.decided, totals.settled, picture.tps
        ),
        format!(
            "submit to decided p50 {} p95 {} ms, to settled p50 {} p95 {} ms",
            decided_ms.p50, decided_ms.p95, settled_ms.p50, settled_ms.p95
        ),
        last,
        format!("stake in tokens, by agent: {}; offences {}", stakes.join(", "), seen.reported),
    ]
}
