//! `rota escape`: what was forced and nobody settled gets in, without any sequencer.

use crate::cli::output::{Output, progress};
use crate::cli::{Chain, Owner};
use crate::domain::{Deployment, Params, Seconds};
use crate::l1::force::{self, QueueState};
use crate::l1::{Account, Client};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// How often L1 is asked for the time.
const POLL: Duration = Duration::from_secs(1);

/// Let in what was forced and nobody settled in time
///
/// Needs L1 alone; anybody may.
///
/// Entries of the forced queue open one after the other, the deadline and the escape delay after they were enqueued. From
/// then on they are derived without a batch, at the place of this call on L1.
#[derive(Args)]
pub(super) struct Options {
    /// Only say what is open, or when the first entry will be
    #[arg(long)]
    dry_run: bool,
    /// Wait until the first entry that waits is open
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let (client, deployment) = options.chain.open().await?;
    let params = client.verify(&deployment).await?;
    let look = Look { client: &client, deployment: &deployment, params: &params };
    let (state, now) = look.at_queue().await?;
    if options.dry_run {
        output.print(describe(&state, now), &told(&state, now));
        return Ok(());
    }

    let account = options.owner.account(client.clone())?;
    let waiting = progress(describe(&state, now));
    let done = look.escape(&account, options.wait).await;
    waiting.finish_and_clear();
    let Escaped { first, through, calls } = done?;
    let last = through.saturating_sub(1);
    output.print(
        format!("entries {first} to {last} of the forced queue are in ({calls} L1 transactions)"),
        &json!({ "first": first, "last": last, "calls": calls }),
    );
    Ok(())
}

/// What was let in.
struct Escaped {
    first: u64,
    through: u64,
    calls: u32,
}

struct Look<'a> {
    client: &'a Client,
    deployment: &'a Deployment,
    params: &'a Params,
}

impl Look<'_> {
    /// The queue, and L1's time.
    async fn at_queue(&self) -> eyre::Result<(QueueState, Seconds)> {
        let now = self.client.head().await?.timestamp;
        Ok((force::state(self.client, self.deployment, self.params).await?, now))
    }

    /// Lets in everything that is open; what is not yet is waited for, or an error.
    async fn escape(&self, account: &Account, wait: bool) -> eyre::Result<Escaped> {
        loop {
            let (state, now) = self.at_queue().await?;
            if is_open(&state, now) {
                break;
            }
            if state.escape_open_from.is_none() || !wait {
                eyre::bail!(describe(&state, now));
            }
            sleep(POLL).await;
        }
        let (first, mut through) = force::escape(account, self.deployment).await?;
        let mut calls = 1_u32;
        loop {
            let (state, now) = self.at_queue().await?;
            if !is_open(&state, now) {
                return Ok(Escaped { first, through, calls });
            }
            (_, through) = force::escape(account, self.deployment).await?;
            calls = calls.saturating_add(1);
        }
    }
}

fn is_open(state: &QueueState, now: Seconds) -> bool {
    state.escape_open_from.is_some_and(|from| from <= now)
}

fn describe(state: &QueueState, now: Seconds) -> String {
    let QueueState { length, consumed, escape_open_from } = state;
    let waiting = length.saturating_sub(*consumed);
    match escape_open_from {
        None => format!("nothing waits in the forced queue; {length} entries were ever in it"),
        Some(from) if *from <= now => {
            format!(
                "entry {consumed} is open to escape, since L1 time {from}; {waiting} wait in all"
            )
        }
        Some(from) => format!(
            "entry {consumed} is open to escape in {} s, at L1 time {from}, unless a batch settles it before; {waiting} wait \
             in all",
            from.get().saturating_sub(now.get())
        ),
    }
}

fn told(state: &QueueState, now: Seconds) -> Value {
    json!({
        "length": state.length,
        "consumed": state.consumed,
        "escapeOpenFrom": state.escape_open_from,
        "isOpen": is_open(state, now),
        "l1Time": now,
    })
}

#[cfg(test)]
mod tests {
    use super::{describe, is_open};
    use crate::domain::Seconds;
    use crate::l1::force::QueueState;

    #[test]
    fn says_what_is_open_or_when_it_will_be() {
        let state = |from| QueueState { length: 9, consumed: 7, escape_open_from: from };
        let waits = state(Some(Seconds::new(100)));
        assert!(!is_open(&waits, Seconds::new(99)) && is_open(&waits, Seconds::new(100)));
        assert!(describe(&waits, Seconds::new(60)).contains("open to escape in 40 s"));
        assert!(
            describe(&waits, Seconds::new(100)).starts_with("entry 7 is open to escape, since")
        );
        let empty = QueueState { consumed: 9, ..state(None) };
        assert!(!is_open(&empty, Seconds::new(100)));
        assert!(describe(&empty, Seconds::new(100)).starts_with("nothing waits"));
    }
}
