//! Flags of `rota devnet`.

use clap::Args;
use std::time::Duration;

/// Try everything on this machine: Anvil, contracts, agents, traffic and a live view
///
/// Starts Anvil, deploys the contracts, stakes agents that run as separate processes, and sends them signed transactions.
/// L1 listens on port 8545 and the agents' JSON-RPC on 8645 and up, as far as those are free. Ctrl-C stops everything and leaves nothing behind.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Agents
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub agents: u8,
    /// Transactions a second that made-up users send in all; 0 for none
    #[arg(long, value_name = "RATE", default_value_t = 20.0, value_parser = rate)]
    pub tps: f64,
    /// Stop after this time (90s, 10m, 1h); runs until Ctrl-C without it
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Keep the data folder, with keys, settings and logs
    #[arg(long)]
    pub keep: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected transactions a second, from 0 to 100000".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 90s, 10m or 1h".to_owned();
    let (digits, seconds) = match text.char_indices().next_back() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3_600),
        _ => (Some(text), 1),
    };
    let count: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(expected)?;
    match count.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        for wrong in ["", "s", "0s", "-1s", "1.5m", "tomorrow", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_bounded() {
        assert_eq!(rate("0"), Ok(0.0));
        assert_eq!(rate("2.5"), Ok(2.5));
        for wrong in ["-1", "NaN", "inf", "1e9", "fast"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
