//! Where an agent listens: held from its first moment on, so that whoever is handed a free port is not handed one of these
//! before the agent has come so far as to listen, nor while its engine starts again.

use super::NodeError;
use crate::config::Config;
use crate::ports::HeldPort;
use serde_json::json;
use std::net::SocketAddr;

/// The ports of an agent, with what port 0 became.
pub(super) struct Listening {
    agreement: HeldPort,
    link: HeldPort,
    rpc: HeldPort,
    telemetry: Option<HeldPort>,
}

impl Listening {
    /// The file in the data folder that tells them.
    const FILE: &str = "listening.json";

    /// Holds all ports that the settings name.
    ///
    /// # Errors
    ///
    /// [`NodeError::Listen`] names the setting.
    pub(super) fn hold(config: &Config) -> Result<Self, NodeError> {
        let hold = |setting, address| {
            HeldPort::hold(address).map_err(|source| NodeError::Listen { setting, address, source })
        };
        Ok(Self {
            agreement: hold("agreement-listen", config.agreement_listen)?,
            link: hold("link-listen", config.link_listen)?,
            rpc: hold("rpc-listen", config.rpc_listen)?,
            telemetry: config
                .telemetry_listen
                .map(|address| hold("telemetry-listen", address))
                .transpose()?,
        })
    }

    /// Writes down where the agent will be reached: with port 0 in its settings, nobody else knows.
    ///
    /// # Errors
    ///
    /// [`NodeError::DataDir`].
    pub(super) fn tell(&self, config: &Config) -> Result<(), NodeError> {
        let text = json!({
            "agreement": self.agreement(),
            "link": self.link(),
            "rpc": self.rpc(),
            "telemetry": self.telemetry(),
            "peerId": config.identity.peer_id().to_string(),
        });
        tracing::info!(
            agreement = %self.agreement(),
            link = %self.link(),
            rpc = %self.rpc(),
            telemetry = ?self.telemetry(),
            "ports are held"
        );
        let path = config.data_dir.join(Self::FILE);
        std::fs::write(&path, format!("{text:#}\n"))
            .map_err(|source| NodeError::DataDir { path, source })
    }

    pub(super) const fn agreement(&self) -> SocketAddr {
        self.agreement.address()
    }

    pub(super) const fn link(&self) -> SocketAddr {
        self.link.address()
    }

    pub(super) const fn rpc(&self) -> SocketAddr {
        self.rpc.address()
    }

    pub(super) fn telemetry(&self) -> Option<SocketAddr> {
        self.telemetry.as_ref().map(HeldPort::address)
    }
}
