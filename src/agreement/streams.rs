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

#[cfg(test)]
mod tests {
    use super::{
        Arrived, BadStream, PIECE_BYTES, Part, Round, STREAMS_A_PEER, StreamContent, StreamMessage,
        Streams, cut, stream_id,
    };
    use crate::batch::body;
    use crate::domain::{Block, Height, RollupId, RollupTransaction, Signer};
    use crate::testing::header;
    use alloy::primitives::B256;
    use malachitebft_app_channel::app::types::PeerId;

    const LIMIT: usize = 4 * PIECE_BYTES;
    const PROPOSER: Signer = Signer([7; 20]);

    fn peer() -> PeerId {
        PeerId::from_bytes(&libp2p::PeerId::random().to_bytes()).unwrap()
    }

    fn block(bytes: usize) -> Block {
        let raw = vec![0xab; bytes].into();
        let transactions = vec![RollupTransaction { rollup: RollupId::new(5), raw }];
        Block { header: header(9, B256::ZERO), transactions }
    }

    fn messages(block: &Block, attempt: u64) -> Vec<StreamMessage<Part>> {
        let id = stream_id(block.header.hash(), Round::ZERO, attempt);
        let body = body::encode(&block.transactions);
        cut(id, Round::new(1), Round::ZERO, PROPOSER, &block.header, &body)
    }

    fn feed(
        streams: &mut Streams,
        from: PeerId,
        messages: impl IntoIterator<Item = StreamMessage<Part>>,
    ) -> Result<Option<Arrived>, BadStream> {
        let mut last = Ok(None);
        for message in messages {
            last = streams.insert(from, message);
        }
        last
    }

    fn arrived(block: Block) -> Arrived {
        Arrived { round: Round::new(1), pol_round: Round::ZERO, proposer: PROPOSER, block }
    }

    #[test]
    fn a_block_arrives_whole_in_any_order() {
        let block = block(3 * PIECE_BYTES);
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        assert_eq!(feed(&mut streams, from, messages(&block, 1)), Ok(Some(arrived(block.clone()))));
        let backwards = messages(&block, 2).into_iter().rev();
        assert_eq!(feed(&mut streams, from, backwards), Ok(Some(arrived(block))));
    }

    #[test]
    fn a_missing_piece_keeps_the_block_back() {
        let mut some = messages(&block(3 * PIECE_BYTES), 1);
        some.remove(1);
        assert_eq!(feed(&mut Streams::new(LIMIT), peer(), some), Ok(None));
    }

    #[test]
    fn one_peer_cannot_finish_the_stream_of_another() {
        let mut streams = Streams::new(LIMIT);
        let mut all = messages(&block(10), 1);
        let end = all.pop().unwrap();
        assert_eq!(feed(&mut streams, peer(), all), Ok(None));
        assert_eq!(streams.insert(peer(), end), Ok(None));
    }

    #[test]
    fn a_stream_is_bounded_in_bytes_and_messages() {
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        let large: Vec<_> = messages(&block(5 * PIECE_BYTES), 1).into_iter().take(6).collect();
        assert_eq!(feed(&mut streams, from, large), Err(BadStream::TooLong { limit: LIMIT }));

        let id = stream_id(B256::ZERO, Round::ZERO, 2);
        let far = StreamMessage::new(id.clone(), u64::MAX, StreamContent::Fin);
        assert!(matches!(streams.insert(from, far), Err(BadStream::TooLong { .. })));
        let piece = Part::Body(vec![0; PIECE_BYTES + 1]);
        let fat = StreamMessage::new(id, 1, StreamContent::Data(piece));
        let actual = PIECE_BYTES + 1;
        assert_eq!(streams.insert(from, fat), Err(BadStream::PieceTooLarge { actual }));
    }

    #[test]
    fn a_new_stream_takes_the_place_of_the_oldest() {
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        let mut first = messages(&block(10), 0);
        let end = first.pop().unwrap();
        feed(&mut streams, from, first).unwrap();
        for attempt in 1..=STREAMS_A_PEER as u64 {
            feed(&mut streams, from, messages(&block(10), attempt).into_iter().take(1)).unwrap();
        }
        assert_eq!(streams.insert(from, end), Ok(None));
    }

    #[test]
    fn a_stream_without_a_header_is_no_block() {
        let id = stream_id(B256::ZERO, Round::ZERO, 1);
        let all = [
            StreamMessage::new(id.clone(), 0, StreamContent::Data(Part::Body(vec![1]))),
            StreamMessage::new(id, 1, StreamContent::Fin),
        ];
        let result = feed(&mut Streams::new(LIMIT), peer(), all);
        assert_eq!(result, Err(BadStream::NoHeader));
    }

    #[test]
    fn heights_that_are_over_are_forgotten() {
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        let mut all = messages(&block(10), 1);
        let end = all.pop().unwrap();
        feed(&mut streams, from, all).unwrap();
        streams.forget_below(Height::new(10));
        assert_eq!(streams.insert(from, end), Ok(None));
    }
}
