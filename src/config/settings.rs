//! The raw settings and their way to a checked [`Config`].

use crate::config::rpc_limits::rpc_limits;
use crate::config::{Config, Identity, IdentityError, KeystoreError, open_key};
use crate::derive::WINDOW_HEIGHTS;
use crate::domain::{Deployment, RollupId};
use crate::l1::Fees;
use clap::Args;
use serde::Deserialize;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// Reads a URL from a flag or the environment.
///
/// # Errors
///
/// Says what was expected, when the text is no URL of an HTTP server.
pub fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "expected a URL with scheme http or https".to_owned())
}

/// Reads a whole number from a flag or the environment.
///
/// # Errors
///
/// Says what was expected, when the text is none or is out of range.
pub fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a whole number that is not too large".to_owned())
}

/// Reads where to listen from a flag or the environment.
///
/// # Errors
///
/// Says what was expected, when the text is no address with a port. Names of hosts are none.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8645".to_owned())
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What an agent does by itself about a restart of the network (R33).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RestartDuty {
    /// Nothing: its operator does it.
    None,
    /// It checks in to a restart that somebody has opened.
    #[default]
    CheckIn,
    /// It also opens one when it is due, and finishes it.
    All,
}

/// A password. Never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// What the file, the environment and the flags may say. All optional here: what is needed is checked once they are
/// joined.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// URL of an L1 node (http or https); several are tried in order
    #[arg(long, env = "ROTA_L1_RPC", value_name = "URL", value_delimiter = ',', value_parser = http_url)]
    pub l1_rpc: Option<Vec<Url>>,
    /// Milliseconds between two looks at L1 [default: 500]
    #[arg(long, env = "ROTA_L1_POLL_MILLIS", value_name = "MILLISECONDS", value_parser = whole::<u64>)]
    pub l1_poll_millis: Option<u64>,
    /// File that `rota deploy` wrote: where the contracts are
    #[arg(long, env = "ROTA_DEPLOYMENT", value_name = "FILE")]
    pub deployment: Option<PathBuf>,
    /// Folder for the agent's store and logs of its engine [default: rota-data]
    #[arg(long, env = "ROTA_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// The hot key, in Web3 Secret Storage form [default: signer.json in the data folder]
    #[arg(long, env = "ROTA_KEYSTORE", value_name = "FILE")]
    pub keystore: Option<PathBuf>,
    /// File that holds the keystore's password
    #[arg(long, env = "ROTA_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// The keystore's password itself; better kept in a file. Not a flag: other users of a machine can read those
    #[arg(skip)]
    pub password: Option<Password>,
    /// The peer-to-peer key; created when missing [default: identity.key in the data folder]
    #[arg(long, env = "ROTA_IDENTITY", value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Address and port of the agreement engine [default: 0.0.0.0:27000]
    #[arg(long, env = "ROTA_AGREEMENT_LISTEN", value_name = "IP:PORT", value_parser = socket)]
    pub agreement_listen: Option<SocketAddr>,
    /// Address and port of the peer link [default: 0.0.0.0:27001]
    #[arg(long, env = "ROTA_LINK_LISTEN", value_name = "IP:PORT", value_parser = socket)]
    pub link_listen: Option<SocketAddr>,
    /// Address and port of JSON-RPC, HTTP and WebSocket [default: 127.0.0.1:8645]
    #[arg(long, env = "ROTA_RPC_LISTEN", value_name = "IP:PORT", value_parser = socket)]
    pub rpc_listen: Option<SocketAddr>,
    /// Address and port of metrics and health; none are served without it
    #[arg(long, env = "ROTA_TELEMETRY_LISTEN", value_name = "IP:PORT", value_parser = socket)]
    pub telemetry_listen: Option<SocketAddr>,
    /// Chain id of the rollup that the root of JSON-RPC speaks for
    #[arg(long, env = "ROTA_DEFAULT_ROLLUP", value_name = "CHAIN ID", value_parser = whole::<u64>)]
    pub default_rollup: Option<u64>,
    /// Transactions that the mempool holds at most [default: 50000]
    #[arg(long, env = "ROTA_MEMPOOL_TRANSACTIONS", value_name = "COUNT", value_parser = whole::<usize>)]
    pub mempool_transactions: Option<usize>,
    /// MiB of the store's file that are kept in memory at most [default: 128]
    #[arg(long, env = "ROTA_STORE_CACHE_MIB", value_name = "MIB", value_parser = whole::<u64>)]
    pub store_cache_mib: Option<u64>,
    /// Blocks that are kept behind the newest one once they are settled for good, at least 262144; 0 for all of them
    /// [default: 0]
    #[arg(long, env = "ROTA_KEEP_BLOCKS", value_name = "COUNT", value_parser = whole::<u64>)]
    pub keep_blocks: Option<u64>,
    /// Connections to JSON-RPC at a time; one more is answered 503 [default: 1024]
    #[arg(long, env = "ROTA_RPC_CONNECTIONS", value_name = "COUNT", value_parser = whole::<usize>)]
    pub rpc_connections: Option<usize>,
    /// Connections to JSON-RPC from one address at a time; one more is answered 503 [default: 256]
    #[arg(long, env = "ROTA_RPC_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", value_parser = whole::<usize>)]
    pub rpc_connections_per_address: Option<usize>,
    /// Bytes of a JSON-RPC request at most [default: 4194304]
    #[arg(long, env = "ROTA_RPC_REQUEST_BYTES", value_name = "BYTES", value_parser = whole::<u32>)]
    pub rpc_request_bytes: Option<u32>,
    /// Bytes of a JSON-RPC answer at most [default: 16777216]
    #[arg(long, env = "ROTA_RPC_RESPONSE_BYTES", value_name = "BYTES", value_parser = whole::<u32>)]
    pub rpc_response_bytes: Option<u32>,
    /// Calls in one batch request at most [default: 1000]
    #[arg(long, env = "ROTA_RPC_BATCH_CALLS", value_name = "COUNT", value_parser = whole::<usize>)]
    pub rpc_batch_calls: Option<usize>,
    /// Units that an address may ask for in a second: most calls cost one, a submission three, those that read blocks
    /// twenty and one more for each transaction [default: 10000]
    #[arg(long, env = "ROTA_RPC_UNITS_PER_SECOND", value_name = "UNITS", value_parser = whole::<u32>)]
    pub rpc_units_per_second: Option<u32>,
    /// Units that all addresses together may ask for in a second [default: 20000]
    #[arg(long, env = "ROTA_RPC_UNITS_PER_SECOND_IN_ALL", value_name = "UNITS", value_parser = whole::<u32>)]
    pub rpc_units_per_second_in_all: Option<u32>,
    /// Subscriptions and filters of an address at most [default: 256]
    #[arg(long, env = "ROTA_RPC_SUBSCRIPTIONS_PER_ADDRESS", value_name = "COUNT", value_parser = whole::<u32>)]
    pub rpc_subscriptions_per_address: Option<u32>,
    /// Subscriptions and filters in all at most [default: 4096]
    #[arg(long, env = "ROTA_RPC_SUBSCRIPTIONS_IN_ALL", value_name = "COUNT", value_parser = whole::<u32>)]
    pub rpc_subscriptions_in_all: Option<u32>,
    /// Subscriptions of a connection at most [default: 64]
    #[arg(long, env = "ROTA_RPC_SUBSCRIPTIONS", value_name = "COUNT", value_parser = whole::<u32>)]
    pub rpc_subscriptions: Option<u32>,
    /// Seconds in which a request must have come in and be answered [default: 30]
    #[arg(long, env = "ROTA_RPC_REQUEST_SECONDS", value_name = "SECONDS", value_parser = whole::<u64>)]
    pub rpc_request_seconds: Option<u64>,
    /// Seconds after which an HTTP connection without a request is closed [default: 120]
    #[arg(long, env = "ROTA_RPC_IDLE_SECONDS", value_name = "SECONDS", value_parser = whole::<u64>)]
    pub rpc_idle_seconds: Option<u64>,
    /// The most that the agent pays for a unit of L1 gas, in gwei [default: 500]
    #[arg(long, env = "ROTA_MAX_L1_FEE_GWEI", value_name = "GWEI", value_parser = whole::<u64>)]
    pub max_l1_fee_gwei: Option<u64>,
    /// The largest part of it for the block's builder that an L1 node is believed to want, in gwei [default: 20]
    #[arg(long, env = "ROTA_MAX_L1_TIP_GWEI", value_name = "GWEI", value_parser = whole::<u64>)]
    pub max_l1_tip_gwei: Option<u64>,
    /// What the agent does by itself about a restart of the network [default: check-in]
    #[arg(long, env = "ROTA_RESTART_DUTY", value_enum)]
    pub restart_duty: Option<RestartDuty>,
    /// What to log, in the form of `tracing`: `info`, `info,rota::poster=debug` [default: info, without the engine's votes and network]
    #[arg(long, env = "ROTA_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How log lines look [default: text]
    #[arg(long, env = "ROTA_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// Why an agent does not start with these settings. Each names the setting and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that settings name cannot be read.
    #[error("{setting}: cannot read {path}: {source}")]
    Unreadable {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that settings name cannot be written.
    #[error("{setting}: cannot write {path}: {source}")]
    Unwritable {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Everybody on the machine can read a password, or others can change it.
    #[error(
        "{setting}: {path} has mode {mode:o}: others must not read it, nor a group write it. chmod 600 {path}"
    )]
    TooOpen {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A path is read as beside the settings file, and what it names lies in the working directory.
    #[error(
        "{setting}: {given} in the settings file is {expected}, where nothing is; it is not {found}, though that exists: \
         give the whole path, or move one of them"
    )]
    Elsewhere {
        /// The setting.
        setting: &'static str,
        /// As it is written.
        given: PathBuf,
        /// Beside the settings file.
        expected: PathBuf,
        /// In the working directory.
        found: PathBuf,
    },
    /// The settings file is not what it should be.
    #[error("settings {path}: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, key and what was expected.
        source: Box<toml::de::Error>,
    },
    /// The deployment file is not what `rota deploy` writes.
    #[error("deployment {path}: {source}")]
    Deployment {
        /// The file.
        path: PathBuf,
        /// What was expected.
        source: serde_json::Error,
    },
    /// Something without a default was not given.
    #[error("{setting} is missing: expected {expected}")]
    Missing {
        /// The setting.
        setting: &'static str,
        /// What to give.
        expected: &'static str,
    },
    /// A value that cannot work.
    #[error("{setting}: expected {expected}, found {found}")]
    Invalid {
        /// The setting.
        setting: &'static str,
        /// What would do.
        expected: &'static str,
        /// What there was.
        found: String,
    },
    /// The hot key does not open.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The peer-to-peer key does not open.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Settings {
    /// Reads a settings file.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unreadable`], or [`ConfigError::Malformed`] with the line and the key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            setting: "settings",
            path: path.to_owned(),
            source,
        })?;
        let settings: Self = toml::from_str(&text).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        settings.beside(path)
    }

    /// Takes the paths in a settings file as what they look like to who reads it: relative to where it lies, not to wherever
    /// the command is run.
    fn beside(mut self, file: &Path) -> Result<Self, ConfigError> {
        let folder = file.parent().unwrap_or(Path::new(""));
        // An agent that found no data would begin anew beside its key, without the record of what it has signed.
        if let Some(given) = self.data_dir.clone().filter(|given| given.is_relative()) {
            let expected = folder.join(&given);
            if !expected.exists() && given.exists() {
                let found = std::path::absolute(&given).unwrap_or_else(|_| given.clone());
                let setting = "data-dir";
                return Err(ConfigError::Elsewhere { setting, given, expected, found });
            }
        }
        let paths = [
            &mut self.deployment,
            &mut self.data_dir,
            &mut self.keystore,
            &mut self.password_file,
            &mut self.identity,
        ];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        Ok(self)
    }

    /// Fills what is open here from `below`.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            l1_rpc: self.l1_rpc.or(below.l1_rpc),
            l1_poll_millis: self.l1_poll_millis.or(below.l1_poll_millis),
            deployment: self.deployment.or(below.deployment),
            data_dir: self.data_dir.or(below.data_dir),
            keystore: self.keystore.or(below.keystore),
            password_file: self.password_file.or(below.password_file),
            password: self.password.or(below.password),
            identity: self.identity.or(below.identity),
            agreement_listen: self.agreement_listen.or(below.agreement_listen),
            link_listen: self.link_listen.or(below.link_listen),
            rpc_listen: self.rpc_listen.or(below.rpc_listen),
            telemetry_listen: self.telemetry_listen.or(below.telemetry_listen),
            default_rollup: self.default_rollup.or(below.default_rollup),
            mempool_transactions: self.mempool_transactions.or(below.mempool_transactions),
            store_cache_mib: self.store_cache_mib.or(below.store_cache_mib),
            keep_blocks: self.keep_blocks.or(below.keep_blocks),
            rpc_connections: self.rpc_connections.or(below.rpc_connections),
            rpc_connections_per_address: self
                .rpc_connections_per_address
                .or(below.rpc_connections_per_address),
            rpc_units_per_second_in_all: self
                .rpc_units_per_second_in_all
                .or(below.rpc_units_per_second_in_all),
            rpc_subscriptions_per_address: self
                .rpc_subscriptions_per_address
                .or(below.rpc_subscriptions_per_address),
            rpc_subscriptions_in_all: self
                .rpc_subscriptions_in_all
                .or(below.rpc_subscriptions_in_all),
            rpc_request_bytes: self.rpc_request_bytes.or(below.rpc_request_bytes),
            rpc_response_bytes: self.rpc_response_bytes.or(below.rpc_response_bytes),
            rpc_batch_calls: self.rpc_batch_calls.or(below.rpc_batch_calls),
            rpc_units_per_second: self.rpc_units_per_second.or(below.rpc_units_per_second),
            rpc_subscriptions: self.rpc_subscriptions.or(below.rpc_subscriptions),
            rpc_request_seconds: self.rpc_request_seconds.or(below.rpc_request_seconds),
            rpc_idle_seconds: self.rpc_idle_seconds.or(below.rpc_idle_seconds),
            max_l1_fee_gwei: self.max_l1_fee_gwei.or(below.max_l1_fee_gwei),
            max_l1_tip_gwei: self.max_l1_tip_gwei.or(below.max_l1_tip_gwei),
            restart_duty: self.restart_duty.or(below.restart_duty),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
        }
    }

    /// Joins the flags and the environment (in `self`) with the file, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Settings::read`].
    pub fn with_file(mut self, path: Option<&Path>) -> Result<Self, ConfigError> {
        if self.password.is_none() {
            let named = std::env::var("ROTA_PASSWORD").ok();
            self.password = named.filter(|password| !password.is_empty()).map(Password);
        }
        Ok(match path {
            Some(path) => self.over(Self::read(path)?),
            None => self,
        })
    }

    /// The L1 nodes.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when none is given or one is not HTTP.
    pub fn l1_rpc(&self) -> Result<Vec<Url>, ConfigError> {
        let urls =
            self.l1_rpc.clone().filter(|urls| !urls.is_empty()).ok_or(ConfigError::Missing {
                setting: "l1-rpc",
                expected: "the URL of an L1 node, such as http://127.0.0.1:8545",
            })?;
        match urls.iter().find(|url| !matches!(url.scheme(), "http" | "https")) {
            None => Ok(urls),
            Some(url) => Err(ConfigError::Invalid {
                setting: "l1-rpc",
                expected: "a URL with scheme http or https",
                found: url.scheme().to_owned(),
            }),
        }
    }

    /// The deployment, from its file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the file is not given, not there, or not a deployment.
    pub fn deployment(&self) -> Result<Deployment, ConfigError> {
        let path = self.deployment.clone().ok_or(ConfigError::Missing {
            setting: "deployment",
            expected: "the file that `rota deploy` wrote",
        })?;
        let text = fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable {
            setting: "deployment",
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| ConfigError::Deployment { path, source })
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from("rota-data"))
    }

    /// The keystore's file.
    pub fn keystore(&self) -> PathBuf {
        self.keystore.clone().unwrap_or_else(|| self.data_dir().join("signer.json"))
    }

    /// The keystore's password.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when none is given or its file cannot be read.
    pub fn password(&self) -> Result<zeroize::Zeroizing<String>, ConfigError> {
        if let Some(Password(password)) = &self.password {
            return Ok(zeroize::Zeroizing::new(password.clone()));
        }
        let path = self.password_file.as_deref().ok_or(ConfigError::Missing {
            setting: "password-file",
            expected: "the file that holds the keystore's password, or ROTA_PASSWORD",
        })?;
        read_password("password-file", path)
    }

    /// The peer-to-peer key, created if it is missing.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Identity`].
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        let path = self.identity.clone().unwrap_or_else(|| self.data_dir().join("identity.key"));
        Ok(Identity::open_or_create(&path)?)
    }

    /// Where the agreement engine listens.
    pub fn agreement_listen(&self) -> SocketAddr {
        self.agreement_listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 27_000)))
    }

    /// Where the peer link listens.
    pub fn link_listen(&self) -> SocketAddr {
        self.link_listen.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 27_001)))
    }
}

/// Reads the password in the file that `setting` names: its text without the last line break.
///
/// # Errors
///
/// [`ConfigError::Unreadable`]; [`ConfigError::TooOpen`] when others can read the file, or a group can write it.
pub fn read_password(
    setting: &'static str,
    path: &Path,
) -> Result<zeroize::Zeroizing<String>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { setting, path: path.to_owned(), source };
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        return Err(ConfigError::TooOpen { setting, path: path.to_owned(), mode });
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(zeroize::Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    /// Checks everything that can be checked without the network, and opens the keys.
    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let at_least_one = |setting, value: u64| match value {
            0 => Err(ConfigError::Invalid {
                setting,
                expected: "a number above zero",
                found: value.to_string(),
            }),
            _ => Ok(value),
        };
        let l1_rpc = settings.l1_rpc()?;
        let l1_poll = at_least_one("l1-poll-millis", settings.l1_poll_millis.unwrap_or(500))?;
        let deployment = settings.deployment()?;
        let default_rollup = settings.default_rollup.ok_or(ConfigError::Missing {
            setting: "default-rollup",
            expected: "the chain id of a registered rollup",
        })?;
        let max_l1_fee = at_least_one("max-l1-fee-gwei", settings.max_l1_fee_gwei.unwrap_or(500))?;
        let max_l1_tip = at_least_one("max-l1-tip-gwei", settings.max_l1_tip_gwei.unwrap_or(20))?;
        let mempool_transactions = settings.mempool_transactions.unwrap_or(50_000);
        if mempool_transactions == 0 {
            return Err(ConfigError::Invalid {
                setting: "mempool-transactions",
                expected: "a number above zero",
                found: "0".to_owned(),
            });
        }
        let keep_blocks = match settings.keep_blocks.unwrap_or(0) {
            0 => None,
            // A transaction that was kept less than so many heights before is a duplicate (R44): its place has to be known.
            few if few < WINDOW_HEIGHTS => {
                return Err(ConfigError::Invalid {
                    setting: "keep-blocks",
                    expected: "0 for all blocks, or at least 262144",
                    found: few.to_string(),
                });
            }
            blocks => Some(blocks),
        };
        let store_cache = at_least_one("store-cache-mib", settings.store_cache_mib.unwrap_or(128))?;
        let store_cache = store_cache.saturating_mul(1_024 * 1_024);
        let rpc_limits = rpc_limits(&settings)?;
        let signer = open_key(&settings.keystore(), &settings.password()?)?;
        Ok(Self {
            l1_rpc,
            l1_poll: Duration::from_millis(l1_poll),
            deployment,
            data_dir: settings.data_dir(),
            signer,
            identity: settings.identity()?,
            agreement_listen: settings.agreement_listen(),
            link_listen: settings.link_listen(),
            rpc_listen: settings
                .rpc_listen
                .unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8645))),
            telemetry_listen: settings.telemetry_listen,
            default_rollup: RollupId::new(default_rollup),
            mempool_transactions,
            store_cache_bytes: usize::try_from(store_cache).unwrap_or(usize::MAX),
            keep_blocks,
            restart_duty: settings.restart_duty.unwrap_or_default(),
            rpc_limits,
            max_l1_fee: Fees::of_gwei(max_l1_fee, max_l1_tip),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Strength, create_key};

    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rota.example.toml");

    #[test]
    fn example_file_names_every_setting_with_its_default() {
        let example = Settings::read(Path::new(EXAMPLE)).unwrap();

        // A password belongs in no example; everything else must be there. (A URL prints with `None`s of its own.)
        assert!(!example.l1_rpc.clone().unwrap().is_empty());
        let rest =
            Settings { l1_rpc: Some(Vec::new()), password: Some("".into()), ..example.clone() };
        assert!(!format!("{rest:?}").contains("None"), "{rest:?}");
        assert_eq!(example.rpc_listen.unwrap().port(), 8645);
        assert_eq!(example.agreement_listen.unwrap(), Settings::default().agreement_listen());
        assert_eq!(example.link_listen.unwrap(), Settings::default().link_listen());
        assert_eq!(example.restart_duty, Some(RestartDuty::default()));
    }

    #[test]
    fn unknown_keys_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rota.toml");
        fs::write(&path, "rpc-listne = \"127.0.0.1:1\"").unwrap();

        let refusal = Settings::read(&path).unwrap_err().to_string();

        assert!(refusal.contains("rpc-listne"), "{refusal}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Settings { default_rollup: Some(1), ..Settings::default() };
        let file = Settings {
            default_rollup: Some(2),
            mempool_transactions: Some(3),
            ..Settings::default()
        };

        let joined = flags.over(file);

        assert_eq!(joined.default_rollup, Some(1));
        assert_eq!(joined.mempool_transactions, Some(3));
    }

    #[test]
    fn a_flag_that_does_not_parse_is_told_what_was_expected() {
        #[derive(Debug, clap::Parser)]
        struct Flags {
            #[command(flatten)]
            _settings: Settings,
        }
        let cases = [
            ("--rpc-listen", "localhost", "such as 127.0.0.1:8645"),
            ("--link-listen", "127.0.0.1", "expected an IP address and a port"),
            ("--l1-rpc", "ftp://host", "expected a URL with scheme http or https"),
            ("--l1-poll-millis", "often", "expected a whole number"),
            ("--rpc-request-bytes", "4294967296", "that is not too large"),
            ("--rpc-connections", "-1", "expected a whole number"),
        ];
        for (flag, value, expected) in cases {
            let argument = format!("{flag}={value}");
            let refusal = <Flags as clap::Parser>::try_parse_from(["rota", &argument]).unwrap_err();
            let told = refusal.to_string();
            assert!(told.contains(flag) && told.contains(expected), "{argument}: {told}");
        }
    }

    /// Settings that would start an agent, in a folder of their own.
    fn complete(folder: &Path) -> Settings {
        let deployment = folder.join("deployment.json");
        let zero = alloy::primitives::Address::ZERO;
        let contracts = Deployment {
            chain_id: 31_337,
            block: 0,
            stake_token: zero,
            registry: zero,
            settlement: zero,
            tally: zero,
            slasher: zero,
            reward_pool: zero,
            rollups: zero,
            guardian: zero,
        };
        fs::write(&deployment, serde_json::to_string(&contracts).unwrap()).unwrap();
        create_key(&folder.join("signer.json"), "secret", Strength::Light, None).unwrap();
        Settings {
            l1_rpc: Some(vec!["http://user:hunter2@127.0.0.1:8545/key".parse().unwrap()]),
            deployment: Some(deployment),
            data_dir: Some(folder.to_owned()),
            password: Some("secret".into()),
            default_rollup: Some(901),
            ..Settings::default()
        }
    }

    #[test]
    fn complete_settings_make_a_config_that_shows_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let settings = complete(folder.path());

        assert!(!format!("{settings:?}").contains("secret"));
        let config = Config::try_from(settings).unwrap();

        let shown = format!("{config:?}");
        assert!(shown.contains("http://127.0.0.1:8545"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("/key"), "{shown}");
    }

    #[test]
    fn each_refusal_names_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let good = complete(folder.path());
        let cases = [
            ("l1-rpc", Settings { l1_rpc: None, ..good.clone() }),
            (
                "l1-rpc",
                Settings { l1_rpc: Some(vec!["ftp://host".parse().unwrap()]), ..good.clone() },
            ),
            ("l1-poll-millis", Settings { l1_poll_millis: Some(0), ..good.clone() }),
            ("deployment", Settings { deployment: None, ..good.clone() }),
            ("deployment", Settings { deployment: Some("nowhere".into()), ..good.clone() }),
            ("default-rollup", Settings { default_rollup: None, ..good.clone() }),
            ("store-cache-mib", Settings { store_cache_mib: Some(0), ..good.clone() }),
            ("keep-blocks", Settings { keep_blocks: Some((1 << 18) - 1), ..good.clone() }),
            ("mempool-transactions", Settings { mempool_transactions: Some(0), ..good.clone() }),
            ("max-l1-fee-gwei", Settings { max_l1_fee_gwei: Some(0), ..good.clone() }),
            ("max-l1-tip-gwei", Settings { max_l1_tip_gwei: Some(0), ..good.clone() }),
            ("rpc-connections", Settings { rpc_connections: Some(0), ..good.clone() }),
            ("password-file", Settings { password: None, ..good.clone() }),
            ("keystore", Settings { password: Some("wrong".into()), ..good.clone() }),
            ("keystore", Settings { keystore: Some("nowhere".into()), ..good }),
        ];
        for (setting, settings) in cases {
            let refusal = Config::try_from(settings).unwrap_err().to_string();
            assert!(refusal.starts_with(setting), "{setting}: {refusal}");
        }
    }

    #[test]
    fn paths_in_a_settings_file_are_relative_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rota.toml");
        let text = "deployment = \"d.json\"\ndata-dir = \"data\"\nkeystore = \"/etc/key\"\npassword-file = \"../p\"";
        fs::write(&file, text).unwrap();

        let read = Settings::read(&file).unwrap();

        assert_eq!(read.deployment, Some(folder.path().join("d.json")));
        assert_eq!(read.data_dir, Some(folder.path().join("data")));
        assert_eq!(read.keystore, Some("/etc/key".into()));
        assert_eq!(read.password_file, Some(folder.path().join("../p")));
        assert_eq!(read.identity, None);
    }

    #[test]
    fn data_that_lie_in_the_working_directory_are_not_begun_anew_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rota.toml");
        // The tests run in the folder of the package, where there is a src.
        fs::write(&file, "data-dir = \"src\"").unwrap();
        let refused = Settings::read(&file).unwrap_err().to_string();
        assert!(refused.starts_with("data-dir: src in the settings file is"), "{refused}");
        fs::create_dir(folder.path().join("src")).unwrap();
        assert!(Settings::read(&file).is_ok());
    }

    #[test]
    fn a_password_that_others_can_read_is_refused_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "secret\r\n").unwrap();
        let with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_password("password-file", &path)
        };
        for mode in [0o644, 0o604, 0o660, 0o620, 0o602, 0o601, 0o777] {
            let refused = with(mode).unwrap_err().to_string();
            assert!(refused.contains(&format!("has mode {mode:o}")), "{refused}");
        }
        // A group may read what an orchestrator mounts for it.
        for mode in [0o600, 0o400, 0o440, 0o640] {
            assert_eq!(*with(mode).unwrap(), "secret");
        }
    }
}
