//! Blocks that arrive in parts. Parts are unsigned, so nothing is believed here: a stream is bounded in bytes and
//! messages, a peer in streams, and what comes out is only a candidate.

use super::context::Part;
use crate::batch::body;
use crate::domain::{Block, BlockHeader, Height, Signer};
use alloy::primitives::B256;
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_app_channel::app::types::streaming::{StreamId, StreamMessage};
use malachitebft_core_types::Round;
use malachitebft_engine::util::streaming::StreamContent;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Largest piece of a body in one message.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Streams that one peer may have open; its oldest is dropped for a new one.
const STREAMS_A_PEER: usize = 8;

/// Peers whose streams are held; at more, newcomers wait until a height is over.
const PEERS: usize = 256;

/// A block as it arrived, and for which proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) round: Round,
    pub(super) pol_round: Round,
    pub(super) proposer: Signer,
    pub(super) block: Block,
}

/// A stream that breaks the rules. It is dropped whole; its sender can start another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadStream {
    #[error("a piece of {actual} bytes, at most {PIECE_BYTES}")]
    PieceTooLarge { actual: usize },
    #[error("more than {limit} bytes or messages")]
    TooLong { limit: usize },
    #[error("message {sequence} after the end")]
    AfterTheEnd { sequence: u64 },
    #[error("it begins without a header, or has two")]
    NoHeader,
    #[error("the body does not decode")]
    Undecodable,
}

#[derive(Debug, Default)]
struct Stream {
    parts: BTreeMap<u64, Part>,
    bytes: usize,
    end: Option<u64>,
}

/// All open streams.
#[derive(Debug)]
pub(super) struct Streams {
    by_peer: HashMap<PeerId, VecDeque<(StreamId, Stream)>>,
    max_body_bytes: usize,
}

impl Streams {
    pub(super) fn new(max_body_bytes: usize) -> Self {
        Self { by_peer: HashMap::new(), max_body_bytes }
    }

    /// Forgets everything: a height is over, and who is behind gets its blocks by sync or by a restream.
    pub(super) fn forget_below(&mut self, height: Height) {
        for streams in self.by_peer.values_mut() {
            streams.retain(|(_, stream)| stream.height().is_none_or(|at| at >= height));
        }
        self.by_peer.retain(|_, streams| !streams.is_empty());
    }

    /// Takes one message of a stream; returns the block that it completes.
    pub(super) fn insert(
        &mut self,
        publisher: PeerId,
        message: StreamMessage<Part>,
    ) -> Result<Option<Arrived>, BadStream> {
        if self.by_peer.len() >= PEERS && !self.by_peer.contains_key(&publisher) {
            return Ok(None);
        }
        let streams = self.by_peer.entry(publisher).or_default();
        let id = message.stream_id.clone();
        let place = match streams.iter().position(|(open, _)| *open == id) {
            Some(place) => place,
            None => {
                if streams.len() >= STREAMS_A_PEER {
                    streams.pop_front();
                }
                streams.push_back((id, Stream::default()));
                streams.len().saturating_sub(1)
            }
        };
        let Some((_, stream)) = streams.get_mut(place) else { return Ok(None) };
        let taken = stream.take(message, self.max_body_bytes);
        let complete = stream.is_complete();
        if taken.is_ok() && !complete {
            return Ok(None);
        }
        let stream = streams.remove(place).map(|(_, stream)| stream).unwrap_or_default();
        taken?;
        stream.assemble().map(Some)
    }
}

impl Stream {
    fn height(&self) -> Option<Height> {
        self.parts.values().find_map(|part| match part {
            Part::Init { height, .. } => Some(*height),
            Part::Body(_) => None,
        })
    }

    fn take(&mut self, message: StreamMessage<Part>, limit: usize) -> Result<(), BadStream> {
        let sequence = message.sequence;
        let pieces = limit.div_ceil(PIECE_BYTES).saturating_add(2);
        if usize::try_from(sequence).map_or(true, |place| place > pieces) {
            return Err(BadStream::TooLong { limit: pieces });
        }
        if self.end.is_some_and(|end| sequence > end) {
            return Err(BadStream::AfterTheEnd { sequence });
        }
        match message.content {
            StreamContent::Fin => self.end = Some(sequence),
            StreamContent::Data(part) => {
                if let Part::Body(piece) = &part {
                    if piece.len() > PIECE_BYTES {
                        return Err(BadStream::PieceTooLarge { actual: piece.len() });
                    }
                    self.bytes = self.bytes.saturating_add(piece.len());
                }
                if self.bytes > limit {
                    return Err(BadStream::TooLong { limit });
                }
                self.parts.entry(sequence).or_insert(part);
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let count = u64::try_from(self.parts.len()).unwrap_or(u64::MAX);
        self.end.is_some_and(|end| end == count)
    }

    fn assemble(self) -> Result<Arrived, BadStream> {
        let mut parts = self.parts.into_values();
        let Some(Part::Init { height, round, pol_round, proposer, header }) = parts.next() else {
            return Err(BadStream::NoHeader);
        };
        let mut bytes = Vec::with_capacity(self.bytes);
        for part in parts {
            match part {
                Part::Body(piece) => bytes.extend_from_slice(&piece),
                Part::Init { .. } => return Err(BadStream::NoHeader),
            }
        }
        if header.height != height {
            return Err(BadStream::NoHeader);
        }
        let transactions = body::decode(&bytes).map_err(|_| BadStream::Undecodable)?;
        Ok(Arrived { round, pol_round, proposer, block: Block { header: *header, transactions } })
    }
}

/// Cuts a block into the messages of one stream.
pub(super) fn cut(
    id: StreamId,
    round: Round,
    pol_round: Round,
    proposer: Signer,
    header: &BlockHeader,
    body: &[u8],
) -> Vec<StreamMessage<Part>> {
    let init = Part::Init {
        height: header.height,
        round,
        pol_round,
        proposer,
        header: Box::new(header.clone()),
    };
    let pieces = body.chunks(PIECE_BYTES).map(|piece| Part::Body(piece.to_vec()));
    let parts = std::iter::once(init).chain(pieces).map(StreamContent::Data);
    (0..)
        .zip(parts.chain(std::iter::once(StreamContent::Fin)))
        .map(|(sequence, content)| StreamMessage::new(id.clone(), sequence, content))
        .collect()
}

/// Names the stream of a proposal: unique per publisher.
pub(super) fn stream_id(hash: B256, round: Round, attempt: u64) -> StreamId {
    let mut bytes = hash.to_vec();
    bytes.extend_from_slice(&round.as_i64().to_be_bytes());
    bytes.extend_from_slice(&attempt.to_be_bytes());
    StreamId::new(bytes.into())
}
