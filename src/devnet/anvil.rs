//! The L1 of a development network: Anvil, with a block each second.

use crate::devnet::DevnetError;
use crate::devnet::child::{Child, Ends};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use url::Url;

/// Anvil's first account: its key is printed by every Anvil and known to everybody.
pub(super) const RICH_KEY: [u8; 32] =
    alloy::hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

/// How long Anvil may take to listen.
const START_BUDGET: Duration = Duration::from_secs(30);

/// A running Anvil.
pub(super) struct Anvil {
    /// Where it listens.
    pub(super) url: Url,
    child: Child,
}

impl Anvil {
    /// Starts Anvil as mainnet-like as it can be: Prague, 60 M gas a block, a block each `block_seconds`. With `port` 0 it
    /// takes a free one, which it tells itself.
    ///
    /// `agent` is this project's binary, which watches over Anvil: Anvil itself would outlive a killed parent.
    ///
    /// # Errors
    ///
    /// [`DevnetError::AnvilMissing`] names what installs it; [`DevnetError::AnvilSilent`] when it does not listen.
    pub(super) async fn start(
        agent: &Path,
        folder: &Path,
        block_seconds: u64,
        port: u16,
    ) -> Result<Self, DevnetError> {
        let program = find()?;
        let (block_seconds, port) = (block_seconds.to_string(), port.to_string());
        let arguments: Vec<String> = [
            "supervise",
            "--",
            &program.to_string_lossy(),
            "--port",
            &port,
            "--block-time",
            &block_seconds,
            "--hardfork",
            "prague",
            "--gas-limit",
            "60000000",
            // Keeps every state in memory and none on disk, so that nothing is left behind.
            "--prune-history",
            "512",
        ]
        .map(str::to_owned)
        .into();
        let log = folder.join("anvil.log");
        let mut child = Child::spawn(agent, &arguments, &log, true, Ends::ByItself)
            .map_err(|source| DevnetError::Spawn { program: "anvil", source })?;
        let output = child.output().ok_or_else(|| DevnetError::AnvilSilent { log: log.clone() })?;
        let url = tokio::time::timeout(START_BUDGET, listening(output))
            .await
            .ok()
            .flatten()
            .ok_or(DevnetError::AnvilSilent { log })?;
        Ok(Self { url, child })
    }

    /// Makes it hang, or go on.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub(super) fn pause(&self, pause: bool) -> std::io::Result<()> {
        self.child.pause_watched(pause)
    }

    /// Stops it.
    pub(super) async fn stop(&mut self) {
        self.child.stop(Duration::from_secs(5)).await;
    }
}

/// Waits for the line that names the port; then goes on reading, so that Anvil never waits for a reader.
async fn listening(output: ChildStdout) -> Option<Url> {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix("Listening on ") {
            let url = format!("http://{address}").parse().ok();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return url;
        }
    }
    None
}

/// Where Anvil is: `$ANVIL`, else the binary that npm installed, else what is on the path. Not npm's `.bin/anvil`: that is a script,
/// which would leave Anvil behind when it is killed.
///
/// # Errors
///
/// [`DevnetError::AnvilMissing`].
pub fn find() -> Result<PathBuf, DevnetError> {
    match std::env::var_os("ANVIL").filter(|named| !named.is_empty()) {
        Some(named) => Ok(named.into()),
        None => installed("anvil").ok_or(DevnetError::AnvilMissing),
    }
}

/// Where a program of Foundry is: the binary that npm installed, else what is on the path.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let installed = [PathBuf::from("."), PathBuf::from(env!("CARGO_MANIFEST_DIR"))]
        .into_iter()
        .filter_map(|root| std::fs::read_dir(root.join("node_modules/@foundry-rs")).ok())
        .flatten()
        .flatten()
        .map(|package| package.path().join("bin").join(name));
    let on_path = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).map(|dir| dir.join(name)).collect::<Vec<_>>())
        .unwrap_or_default();
    installed.chain(on_path).find(|path| path.is_file())
}
