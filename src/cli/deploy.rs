//! `rota deploy`: the same deployment as `script/Deploy.s.sol`, from the same parameters.

use crate::cli::Owner;
use crate::cli::output::{Output, progress};
use crate::config::{ConfigError, Settings, http_url};
use crate::domain::Seconds;
use crate::l1::{self, Client};
use clap::Args;
use eyre::WrapErr as _;
use std::fs::{self, File};
use std::path::PathBuf;
use url::Url;

/// Deploy the contracts and write down where they are
///
/// Parameters are fixed for ever; their relations are checked by the contracts themselves. A stake token is deployed
/// only where the parameters name none, and only on a development chain.
#[derive(Args)]
pub(super) struct Options {
    /// URL of an L1 node (http or https)
    #[arg(long, env = "ROTA_L1_RPC", value_name = "URL", value_delimiter = ',', value_parser = http_url)]
    l1_rpc: Option<Vec<Url>>,
    /// Parameters, such as script/config/testnet.json
    #[arg(long, value_name = "FILE")]
    params: PathBuf,
    /// Where to write the addresses, for every other command to read
    #[arg(long, value_name = "FILE", default_value = "deployment.json")]
    out: PathBuf,
    /// Deploy even where everybody can know the seeds in advance, so who leads when
    #[arg(long)]
    allow_known_seeds: bool,
    #[command(flatten)]
    owner: Owner,
}

pub(super) async fn run(options: Options, output: Output) -> eyre::Result<()> {
    let params = fs::read_to_string(&options.params).map_err(|source| ConfigError::Unreadable {
        setting: "params",
        path: options.params.clone(),
        source,
    })?;
    l1::read_params(&params, Seconds::new(0))?;
    let settings = Settings { l1_rpc: options.l1_rpc, ..Settings::default() };
    let client = Client::connect(&settings.l1_rpc()?).await?;
    if !options.allow_known_seeds {
        l1::require_seeds(&client).await.wrap_err(
            "who leads when would not be random here; --allow-known-seeds deploys nevertheless",
        )?;
    }
    let account = options.owner.account(client)?;

    // Nothing is paid before it is sure that the addresses can be kept.
    let unwritable =
        |source| ConfigError::Unwritable { setting: "out", path: options.out.clone(), source };
    let exists = options.out.exists();
    File::options().create(true).append(true).open(&options.out).map_err(unwritable)?;

    let waiting = progress("deploying");
    let deployed = l1::deploy(&account, &params).await;
    waiting.finish_and_clear();
    if deployed.is_err() && !exists {
        // What is left over is an empty file; that deploying failed matters more.
        let _ = fs::remove_file(&options.out);
    }
    let deployment = deployed?;

    let text = serde_json::to_string_pretty(&deployment)?;
    fs::write(&options.out, format!("{text}\n"))
        .map_err(unwritable)
        .wrap_err_with(|| format!("deployed, but not written down: {text}"))?;
    output.print(format!("{text}\nwritten to {}", options.out.display()), &deployment);
    Ok(())
}
