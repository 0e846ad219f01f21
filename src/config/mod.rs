//! What an operator chooses: one TOML file, `ROTA_*` in the environment, flags. A flag wins over the environment, which
//! wins over the file. Every name is the same in all three: `--rpc-listen`, `ROTA_RPC_LISTEN`, `rpc-listen = "…"`.
//!
//! Parameters of the protocol are not here: they are read from L1.

mod identity;
mod keystore;
mod redact;
mod rpc_limits;
mod settings;
mod web3_storage;

pub use identity::{Identity, IdentityError};
pub use keystore::{KeystoreError, create_key, open_key};
pub(crate) use redact::{causes, redact, redact_text};
pub use settings::{
    ConfigError, LogFormat, RestartDuty, Settings, http_url, read_password, socket, whole,
};
pub use web3_storage::{StorageError, Strength};

use crate::domain::{Deployment, RollupId};
use crate::l1::Fees;
use crate::rpc::RpcLimits;
use alloy::signers::local::PrivateKeySigner;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// A checked configuration of one agent. Nothing in it is read again while the agent runs.
pub struct Config {
    /// HTTP or WebSocket URLs of L1 nodes, the preferred one first; never empty.
    pub l1_rpc: Vec<Url>,
    /// How often L1 is asked for new blocks.
    pub l1_poll: Duration,
    /// Where the contracts are.
    pub deployment: Deployment,
    /// Folder of everything that the agent writes.
    pub data_dir: PathBuf,
    /// The hot key: signs votes, proposals, attestations and L1 transactions.
    pub signer: PrivateKeySigner,
    /// The agent's name and key in the peer-to-peer networks.
    pub identity: Identity,
    /// Where the agreement engine listens.
    pub agreement_listen: SocketAddr,
    /// Where the peer link listens.
    pub link_listen: SocketAddr,
    /// Where JSON-RPC listens, HTTP and WebSocket.
    pub rpc_listen: SocketAddr,
    /// Where metrics and health are served; nowhere if `None`.
    pub telemetry_listen: Option<SocketAddr>,
    /// The rollup that the root of the RPC server speaks for.
    pub default_rollup: RollupId,
    /// Transactions that the mempool holds at most.
    pub mempool_transactions: usize,
    /// Bytes of the store's file that are kept in memory at most.
    pub store_cache_bytes: usize,
    /// Blocks that are kept behind the newest one; `None`: all of them.
    pub keep_blocks: Option<u64>,
    /// What the agent does by itself about a restart of the network.
    pub restart_duty: RestartDuty,
    /// What clients of JSON-RPC may ask for.
    pub rpc_limits: RpcLimits,
    /// The most that the agent pays for a unit of L1 gas, in wei.
    pub max_l1_fee: Fees,
}

/// Name of the store in the data folder.
pub(crate) const STORE: &str = "store.redb";

impl Config {
    /// The embedded store.
    pub fn store_path(&self) -> PathBuf {
        self.data_dir.join(STORE)
    }
}

impl fmt::Debug for Config {
    /// Shows what an operator chose. Keys do not appear: the signer shows as its address, the identity as its peer id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("l1_rpc", &self.l1_rpc.iter().map(redact).collect::<Vec<_>>())
            .field("deployment", &self.deployment)
            .field("data_dir", &self.data_dir)
            .field("signer", &self.signer.address())
            .field("identity", &self.identity)
            .field("agreement_listen", &self.agreement_listen)
            .field("link_listen", &self.link_listen)
            .field("rpc_listen", &self.rpc_listen)
            .field("telemetry_listen", &self.telemetry_listen)
            .field("default_rollup", &self.default_rollup)
            .field("restart_duty", &self.restart_duty)
            .finish_non_exhaustive()
    }
}
