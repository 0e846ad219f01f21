//! What a person is told of a network that runs: where everything is, and lines to copy that work as they stand.

use crate::devnet::anvil;
use crate::devnet::network::{GUEST, Network, ROLLUP};
use crate::devnet::wallet::known_key;
use std::fmt::Write as _;
use std::path::Path;

/// Where the lines to copy begin.
pub const LINES: &str = "In another terminal:\n\n";

/// Where L1, the agents and the contracts are, and what to do with them.
pub fn announcement(network: &Network) -> String {
    let (l1, deployment) = (network.l1_url(), network.deployment());
    let folder = network.folder();
    let mut text = format!("\nL1 (Anvil)   chain {:<8} {l1}\n", deployment.chain_id);
    let agents = network.rpc_urls();
    for (index, url) in agents.iter().enumerate() {
        let mut socket = url.clone();
        // A URL with http takes ws in its place.
        let _ = socket.set_scheme("ws");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "agent {index:<6} rollup {ROLLUP:<7} {url}   {socket}");
    }
    let file = folder.join("deployment.json");
    let _ = writeln!(text, "contracts    {}", file.display());
    let _ = writeln!(text, "logs         {}\n", folder.join("agent-0/agent.log").display());

    let key = alloy::hex::encode_prefixed(known_key(GUEST, 0));
    let rpc = agents.first().map(ToString::to_string).unwrap_or_default();
    let to = "0x000000000000000000000000000000000000dEaD";
    let rota = quoted(network.program());
    text.push_str(LINES);
    let _ = write!(
        text,
        "export ROTA_L1_RPC={l1} ROTA_DEPLOYMENT={deployment} ROTA_RPC={rpc}\n\
         export ROTA_OWNER_KEY={key}   # of a guest with ETH on L1; everybody knows it\n\
         {rota} send {to} --value 0.001\n",
        deployment = quoted(&file),
    );
    // Before the one that is forced: whoever sends first has the nonce.
    if let Some(cast) = anvil::installed("cast") {
        let cast = quoted(&std::path::absolute(&cast).unwrap_or(cast));
        let _ = writeln!(text, "{cast} send --rpc-url {rpc} --private-key {key} {to} --value 1");
    }
    let _ = write!(
        text,
        "{rota} force {to} --value 0.001 --rollup {ROLLUP}\n\
         {rota} escape --dry-run\n\
         {rota} verify --rollup {ROLLUP}\n\
         {rota} status\n",
    );
    text
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '@');
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;
    use std::path::Path;

    #[test]
    fn paths_are_one_word_for_a_shell() {
        assert_eq!(quoted(Path::new("/tmp/rota-1/d.json")), "/tmp/rota-1/d.json");
        assert_eq!(quoted(Path::new("/my files/it's")), r"'/my files/it'\''s'");
    }
}
