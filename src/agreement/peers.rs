//! Whom the engine keeps a connection to: every sequencer whose endpoint the registry shows, as the mirror has it.

use crate::domain::PeerEndpoint;
use crate::l1::MirrorHandle;
use alloy::primitives::Address;
use malachitebft_app_channel::NetworkRequest;
use malachitebft_app_channel::app::net::Multiaddr;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// Addresses of all peers but this agent's own. An endpoint without `/p2p/<PeerId>` is left out: its links would be
/// refused and dialled again for ever.
pub(super) fn addresses(mirror: &MirrorHandle, own: Address) -> BTreeSet<Multiaddr> {
    mirror
        .read()
        .peers
        .values()
        .filter(|peer| peer.signer != own)
        .filter_map(|peer| match parse(peer) {
            Some(address) => Some(address),
            None => {
                tracing::warn!(signer = %peer.signer, endpoint = peer.agreement, "endpoint cannot be dialled");
                None
            }
        })
        .collect()
}

fn parse(peer: &PeerEndpoint) -> Option<Multiaddr> {
    let address: Multiaddr = peer.agreement.parse().ok()?;
    address.to_string().contains("/p2p/").then_some(address)
}

/// Follows the mirror until the engine ends.
pub(super) async fn follow(
    mirror: MirrorHandle,
    own: Address,
    mut known: BTreeSet<Multiaddr>,
    network: mpsc::Sender<NetworkRequest>,
) {
    let mut changes = mirror.subscribe();
    loop {
        let wanted = addresses(&mirror, own);
        for gone in known.difference(&wanted) {
            let asked = NetworkRequest::remove_persistent_peer(&network, gone.clone()).await;
            tracing::info!(peer = %gone, result = ?asked, "peer removed");
        }
        for new in wanted.difference(&known) {
            let asked = NetworkRequest::add_persistent_peer(&network, new.clone()).await;
            tracing::info!(peer = %new, result = ?asked, "peer added");
        }
        known = wanted;
        if changes.changed().await.is_err() {
            return;
        }
    }
}
