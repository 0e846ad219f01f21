//! Between the peer link and the attester: each has its own words, so that neither depends on the other.

use crate::agreement::Reach;
use crate::attest;
use crate::domain::SequencerId;
use crate::network::{Delivery, Link, LinkMessage, Sent, SignedBatchMessage};
use alloy::primitives::Address;
use libp2p::PeerId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// The way from the attester to the other members, and what agreement knows of it.
#[derive(Debug)]
pub(super) struct LinkPeers {
    link: Link,
}

impl LinkPeers {
    pub(super) const fn new(link: Link) -> Self {
        Self { link }
    }
}

impl attest::Peers for LinkPeers {
    fn send(&self, to: Address, message: attest::Message) {
        // Whether it arrives does not matter: the poster asks again for what it misses.
        match self.link.send(to, &to_link(message)) {
            Ok(Sent::UnknownPeer) => debug!(%to, "message not sent: no endpoint with this key"),
            Ok(Sent::Queued | Sent::DroppedOldest) => {}
            Err(error) => warn!(%to, %error, "message not sent"),
        }
    }

    fn answer(&self, to: SequencerId, message: attest::Message) {
        if let Err(error) = self.link.answer(to, &to_link(message)) {
            warn!(%to, %error, "answer not sent");
        }
    }
}

fn to_link(message: attest::Message) -> LinkMessage {
    match message {
        attest::Message::Attestation { header, signature } => {
            LinkMessage::Attestation { header: *header, signature }
        }
        attest::Message::Want { header } => LinkMessage::WantAttestation { header: *header },
    }
}

impl Reach for LinkPeers {
    fn is_reachable(&self, signer: Address) -> bool {
        self.link.is_connected(signer)
    }

    fn sequencer_of(&self, peer: &PeerId) -> Option<SequencerId> {
        self.link.sequencer_of(peer)
    }
}

/// Hands what peers say about batches over to the attester, until `stop`. A peer's place at the link is free again only
/// once the attester's queue has taken its message.
pub(super) async fn hand_over(
    mut incoming: mpsc::Receiver<Delivery<SignedBatchMessage>>,
    attester: mpsc::Sender<(SequencerId, attest::Message)>,
    stop: CancellationToken,
) {
    let handing = async {
        while let Some(delivery) = incoming.recv().await {
            let message = match &delivery.content {
                SignedBatchMessage::Attestation { header, signature } => {
                    attest::Message::Attestation {
                        header: Box::new(header.clone()),
                        signature: *signature,
                    }
                }
                SignedBatchMessage::Want { header } => {
                    attest::Message::Want { header: Box::new(header.clone()) }
                }
            };
            if attester.send((delivery.from, message)).await.is_err() {
                break;
            }
        }
        // Whoever ends first is told by the token; the attester outlives the link.
        std::future::pending::<()>().await;
    };
    stop.run_until_cancelled(handing).await;
}
