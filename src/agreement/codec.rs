//! How the engine's messages travel and rest: borsh.

use super::context::{Part, RotaContext};
use bytes::Bytes;
use malachitebft_app_channel::app::types::codec::{Codec, HasEncodedLen};
use malachitebft_core_consensus::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use malachitebft_core_types::{
    ExtendedCommitCertificate, ExtendedCommitSignature, PolkaCertificate, ValidatorProof,
};
use malachitebft_engine::util::streaming::StreamMessage;
use malachitebft_sync::{RawDecidedValue, Request, Response, Status, ValueResponse};

use crate::agreement::context::BlockId;
use crate::batch::body;
use crate::crypto::Signature;
use crate::domain::{Block, BlockHeader, Height, Signer};
use malachitebft_core_types::Round;

/// The codec of all channels and of the engine's log.
#[derive(Clone, Copy, Debug)]
pub(super) struct BorshCodec;

/// Declares types that have a borsh form as they are.
macro_rules! as_they_are {
    ($($message:ty),+ $(,)?) => {
        $(impl Codec<$message> for BorshCodec {
            type Error = std::io::Error;

            fn decode(&self, bytes: Bytes) -> Result<$message, Self::Error> {
                borsh::from_slice(&bytes)
            }

            fn encode(&self, message: &$message) -> Result<Bytes, Self::Error> {
                borsh::to_vec(message).map(Bytes::from)
            }
        })+
    };
}

as_they_are!(
    Part,
    SignedConsensusMsg<RotaContext>,
    LivenessMsg<RotaContext>,
    StreamMessage<Part>,
    ProposedValue<RotaContext>,
    PolkaCertificate<RotaContext>,
    Status<RotaContext>,
    Request<RotaContext>,
);

/// A proof of identity in three fields: key, peer, signature.
impl Codec<ValidatorProof<RotaContext>> for BorshCodec {
    type Error = std::io::Error;

    fn decode(&self, bytes: Bytes) -> Result<ValidatorProof<RotaContext>, Self::Error> {
        let (key, peer, signature) = borsh::from_slice(&bytes)?;
        Ok(ValidatorProof::new(key, peer, signature))
    }

    fn encode(&self, proof: &ValidatorProof<RotaContext>) -> Result<Bytes, Self::Error> {
        borsh::to_vec(&(&proof.public_key, &proof.peer_id, &proof.signature)).map(Bytes::from)
    }
}

/// A decided block on its way to a peer: the encoded block, and its certificate without extensions.
type SyncedBlock = (Vec<u8>, Height, Round, BlockId, Vec<(Signer, Signature)>);

impl Codec<Response<RotaContext>> for BorshCodec {
    type Error = std::io::Error;

    fn decode(&self, bytes: Bytes) -> Result<Response<RotaContext>, Self::Error> {
        let (start, blocks): (Height, Vec<SyncedBlock>) = borsh::from_slice(&bytes)?;
        let values = blocks
            .into_iter()
            .map(|(value, height, round, value_id, signatures)| {
                let commit_signatures = signatures
                    .into_iter()
                    .map(|(signer, signature)| {
                        ExtendedCommitSignature::new(signer, signature, None)
                    })
                    .collect();
                let certificate =
                    ExtendedCommitCertificate { height, round, value_id, commit_signatures };
                RawDecidedValue::new(value.into(), certificate)
            })
            .collect();
        Ok(Response::ValueResponse(ValueResponse::new(start, values)))
    }

    fn encode(&self, response: &Response<RotaContext>) -> Result<Bytes, Self::Error> {
        let Response::ValueResponse(response) = response;
        let blocks: Vec<SyncedBlock> = response
            .values
            .iter()
            .map(|value| {
                let certificate = &value.certificate;
                let signatures = certificate
                    .commit_signatures
                    .iter()
                    .map(|commit| (commit.address, commit.signature))
                    .collect();
                (
                    value.value_bytes.to_vec(),
                    certificate.height,
                    certificate.round,
                    certificate.value_id,
                    signatures,
                )
            })
            .collect();
        borsh::to_vec(&(response.start_height, blocks)).map(Bytes::from)
    }
}

impl HasEncodedLen<Response<RotaContext>> for BorshCodec {
    fn encoded_len(&self, response: &Response<RotaContext>) -> Result<usize, Self::Error> {
        self.encode(response).map(|bytes| bytes.len())
    }
}

/// A block as it is synced: the header, then the canonical body.
pub(super) fn encode_block(block: &Block) -> Bytes {
    let fields = (&block.header, body::encode(&block.transactions));
    borsh::to_vec(&fields).expect("writing to memory does not fail").into()
}

/// Reads a synced block; `None` when the bytes are none.
pub(super) fn decode_block(bytes: &[u8]) -> Option<Block> {
    let (header, body): (BlockHeader, Vec<u8>) = borsh::from_slice(bytes).ok()?;
    Some(Block { header, transactions: body::decode(&body).ok()? })
}

#[cfg(test)]
mod tests {
    use super::{BorshCodec, Codec, Part, RotaContext, SignedConsensusMsg, StreamMessage};
    use crate::agreement::streams::{cut, stream_id};
    use crate::agreement::testing::{Chain, domain, proposal};
    use crate::domain::{Signer, VoteType};
    use alloy::primitives::B256;
    use malachitebft_core_types::{Context as _, NilOrVal, Round, SignedMessage};

    /// The wire format, field by field. Another one is another `WIRE`, and the hostile peers of the end-to-end tests speak
    /// this one.
    #[test]
    fn parts_and_votes_travel_in_this_form() {
        let chain = Chain::new(4);
        let (block, by) = (chain.block(0, Vec::new()), chain.proposer(0));
        let header = &block.header;
        let signer = Signer(by.address().0.0);
        let (proposal, signature) =
            proposal(&by, by.address(), header, Round::new(2), Round::new(1));
        let id = stream_id(B256::ZERO, Round::ZERO, 1);
        let name = id.to_bytes().to_vec();
        let all = cut(&id, proposal, signature, &[7]);
        let encoded: Vec<_> = all
            .iter()
            .map(|part| Codec::<StreamMessage<Part>>::encode(&BorshCodec, part).unwrap())
            .collect();
        let stream = (name.clone(), 0_u64, 0_u8, 0_u8);
        let fields = (header.height, 1_u8, 2_u32, header, 1_u8, 1_u32, signer);
        assert_eq!(encoded[0], borsh::to_vec(&(stream, fields, signature)).unwrap());
        let body = (name.clone(), 1_u64, 0_u8, 1_u8, vec![7_u8]);
        assert_eq!(encoded[1], borsh::to_vec(&body).unwrap());
        assert_eq!(encoded[2], borsh::to_vec(&(name, 2_u64, 1_u8)).unwrap());

        let id = super::BlockId(header.hash().0);
        let value = NilOrVal::Val(id);
        let vote = RotaContext.new_precommit(header.height, Round::new(3), value, signer);
        let (kind, signed) = vote.to_domain(header.generation).unwrap();
        assert_eq!(kind, VoteType::Precommit);
        let signature = by.sign(domain().vote(kind, &signed));
        let message = SignedConsensusMsg::Vote(SignedMessage::new(vote, signature));
        let encoded = Codec::<SignedConsensusMsg<RotaContext>>::encode(&BorshCodec, &message);
        let fields = (0_u8, 1_u8, header.height, 1_u8, 3_u32, 1_u8, id.0, signer);
        assert_eq!(encoded.unwrap(), borsh::to_vec(&(fields, signature)).unwrap());
    }
}
