//! `rota status`: the network as L1 shows it, or one agent as it says itself.

use crate::cli::Chain;
use crate::cli::amount::StakeToken;
use crate::cli::output::Output;
use crate::config::http_url;
use crate::domain::SequencerRecord;
use crate::l1::actions;
use crate::rpc_client::RpcClient;
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use url::Url;

/// Show sequencers and the settled chain, or one agent
///
/// Asks L1 (--l1-rpc, --deployment) for everybody, or one agent for its own view (--rpc).
#[derive(Args)]
pub(super) struct Options {
    /// JSON-RPC of an agent; what the environment says of L1 is then not asked for
    #[arg(long, value_name = "URL", value_parser = http_url)]
    rpc: Option<Url>,
    #[command(flatten)]
    chain: Chain,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    if let Some(url) = options.rpc {
        let status = RpcClient::new(url).call("rota_status", json!([])).await?;
        output.print(serde_json::to_string_pretty(&status)?, &status);
        return Ok(());
    }
    let (client, deployment) = options.chain.open().await?;
    let tip = actions::tip(&client, &deployment).await?;
    let sequencers = actions::sequencers(&client, &deployment).await?;
    let token = StakeToken::of(&client, &deployment).await?;
    let mut text = format!(
        "batches settled: {}\nlast settled height: {}\n\n{}",
        tip.number,
        tip.last_height,
        heading()
    );
    for sequencer in &sequencers {
        text.push('\n');
        text.push_str(&row(sequencer, token));
    }
    output.print(text, &json!({ "tip": tip, "sequencers": sequencers }));
    Ok(())
}

fn heading() -> String {
    format!("{:>4}  {:<42}  {:>12}  {}", "id", "signer", "stake", "status")
}

fn row(sequencer: &SequencerRecord, token: StakeToken) -> String {
    let mut row = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        row,
        "{:>4}  {:<42}  {:>12}  {:?}",
        sequencer.id,
        sequencer.signer,
        token.show(sequencer.stake_wei),
        sequencer.status
    );
    row
}
