//! Blocks that arrive in parts. The first part of a stream carries the proposal, signed, and comes in here only after its
//! signature was checked; the pieces of the body are believed once the header commits to them. A stream is bounded in bytes
//! and messages, a peer in streams, and no peer takes the place of another that is still sending.

use super::context::{Part, Proposal};
use super::verify::Signed;
use crate::batch::body;
use crate::crypto::Signature;
use crate::domain::{Block, Height};
use alloy::primitives::B256;
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_app_channel::app::types::streaming::{StreamId, StreamMessage};
use malachitebft_core_types::Round;
use malachitebft_engine::util::streaming::StreamContent;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Largest piece of a body in one message.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// Streams that one peer may have open; for a new one its oldest without a header goes, else its oldest.
const STREAMS_A_PEER: usize = 8;

/// Peers whose streams are held; at more, the one that was silent for longest makes room.
const PEERS: usize = 256;

/// Bytes of a stream's name.
const ID_BYTES: usize = 48;

/// A block as it arrived, and the proposal that it arrived for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) signed: Signed<Proposal>,
    pub(super) block: Block,
}

/// What a message of a stream brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The first message. That it can only be made of a checked signature is the point.
    Header(Box<Signed<Proposal>>),
    /// A piece of the body.
    Body(Vec<u8>),
    /// The stream is over.
    End,
}

/// A stream that breaks the rules. It is dropped whole; its sender can start another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadStream {
    #[error("a name of {actual} bytes, expected {ID_BYTES}")]
    NoName { actual: usize },
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

#[derive(Debug)]
struct Stream {
    header: Option<Box<Signed<Proposal>>>,
    body: BTreeMap<u64, Vec<u8>>,
    bytes: usize,
    end: Option<u64>,
    /// The height that ran when it was opened.
    opened_at: Height,
}

#[derive(Debug, Default)]
struct Peer {
    streams: VecDeque<(StreamId, Stream)>,
    /// When it sent last, counted in messages.
    last: u64,
}

/// All open streams.
#[derive(Debug)]
pub(super) struct Streams {
    by_peer: HashMap<PeerId, Peer>,
    max_body_bytes: usize,
    running: Height,
    messages: u64,
}

impl Streams {
    pub(super) fn new(max_body_bytes: usize) -> Self {
        Self { by_peer: HashMap::new(), max_body_bytes, running: Height::default(), messages: 0 }
    }

    /// A height begins. Streams of earlier ones are forgotten, and those that still have no header after a whole height:
    /// who is behind gets its blocks by sync or by a restream.
    pub(super) fn begin(&mut self, height: Height) {
        let before = self.running;
        self.running = height;
        for peer in self.by_peer.values_mut() {
            peer.streams.retain(|(_, stream)| match &stream.header {
                Some(signed) => signed.message().header().height >= height,
                None => stream.opened_at >= before,
            });
        }
        self.by_peer.retain(|_, peer| !peer.streams.is_empty());
    }

    /// Takes one message of a stream; returns the block that it completes.
    pub(super) fn insert(
        &mut self,
        publisher: PeerId,
        id: &StreamId,
        sequence: u64,
        piece: Piece,
    ) -> Result<Option<Arrived>, BadStream> {
        let actual = id.to_bytes().len();
        if actual != ID_BYTES {
            return Err(BadStream::NoName { actual });
        }
        self.make_room(&publisher);
        self.messages = self.messages.saturating_add(1);
        let (running, limit) = (self.running, self.max_body_bytes);
        let peer = self.by_peer.entry(publisher).or_default();
        peer.last = self.messages;
        let place = peer.place_of(id, running);
        let Some((_, stream)) = peer.streams.get_mut(place) else { return Ok(None) };
        let taken = stream.take(sequence, piece, limit);
        if taken.is_ok() && !stream.is_complete() {
            return Ok(None);
        }
        let Some((_, stream)) = peer.streams.remove(place) else { return Ok(None) };
        taken?;
        stream.assemble().map(Some)
    }

    fn make_room(&mut self, newcomer: &PeerId) {
        if self.by_peer.len() < PEERS || self.by_peer.contains_key(newcomer) {
            return;
        }
        let silent = self.by_peer.iter().min_by_key(|(_, peer)| peer.last).map(|(id, _)| *id);
        if let Some(silent) = silent {
            self.by_peer.remove(&silent);
        }
    }
}

impl Peer {
    /// Where a stream is, opened if it is new.
    fn place_of(&mut self, id: &StreamId, running: Height) -> usize {
        if let Some(place) = self.streams.iter().position(|(open, _)| open == id) {
            return place;
        }
        if self.streams.len() >= STREAMS_A_PEER {
            let worst = self.streams.iter().position(|(_, stream)| stream.header.is_none());
            self.streams.remove(worst.unwrap_or_default());
        }
        self.streams.push_back((id.clone(), Stream::opened_at(running)));
        self.streams.len().saturating_sub(1)
    }
}

impl Stream {
    const fn opened_at(running: Height) -> Self {
        Self { header: None, body: BTreeMap::new(), bytes: 0, end: None, opened_at: running }
    }

    fn take(&mut self, sequence: u64, piece: Piece, limit: usize) -> Result<(), BadStream> {
        let pieces = limit.div_ceil(PIECE_BYTES).saturating_add(2);
        if usize::try_from(sequence).map_or(true, |place| place > pieces) {
            return Err(BadStream::TooLong { limit: pieces });
        }
        if self.end.is_some_and(|end| sequence > end) {
            return Err(BadStream::AfterTheEnd { sequence });
        }
        match piece {
            Piece::End => self.end = Some(sequence),
            Piece::Header(signed) => {
                if sequence != 0 {
                    return Err(BadStream::NoHeader);
                }
                self.header.get_or_insert(signed);
            }
            Piece::Body(piece) => {
                if sequence == 0 {
                    return Err(BadStream::NoHeader);
                }
                if piece.len() > PIECE_BYTES {
                    return Err(BadStream::PieceTooLarge { actual: piece.len() });
                }
                if self.body.contains_key(&sequence) {
                    return Ok(());
                }
                self.bytes = self.bytes.saturating_add(piece.len());
                if self.bytes > limit {
                    return Err(BadStream::TooLong { limit });
                }
                self.body.insert(sequence, piece);
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let parts = self.body.len().saturating_add(usize::from(self.header.is_some()));
        let count = u64::try_from(parts).unwrap_or(u64::MAX);
        self.end.is_some_and(|end| end == count)
    }

    fn assemble(self) -> Result<Arrived, BadStream> {
        let Some(signed) = self.header else { return Err(BadStream::NoHeader) };
        let bytes: Vec<u8> = self.body.into_values().flatten().collect();
        let transactions = body::decode(&bytes).map_err(|_| BadStream::Undecodable)?;
        let header = signed.message().header().clone();
        Ok(Arrived { signed: *signed, block: Block { header, transactions } })
    }
}

/// Cuts a block into the messages of one stream.
pub(super) fn cut(
    id: &StreamId,
    proposal: Proposal,
    signature: Signature,
    body: &[u8],
) -> Vec<StreamMessage<Part>> {
    let init = Part::Init { proposal: Box::new(proposal), signature };
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
        Arrived, BadStream, PEERS, PIECE_BYTES, Part, Piece, Round, STREAMS_A_PEER, StreamContent,
        StreamId, Streams, cut, stream_id,
    };
    use crate::agreement::testing::{Chain, signed_proposal};
    use crate::batch::body;
    use crate::domain::{Block, Height, RollupId, RollupTransaction};
    use alloy::primitives::B256;
    use malachitebft_app_channel::app::types::PeerId;

    const LIMIT: usize = 4 * PIECE_BYTES;

    fn peer() -> PeerId {
        PeerId::from_bytes(&libp2p::PeerId::random().to_bytes()).unwrap()
    }

    fn block(bytes: usize) -> Block {
        let raw = vec![0xab; bytes].into();
        Chain::new(4).block(0, vec![RollupTransaction { rollup: RollupId::new(5), raw }])
    }

    type Messages = Vec<(StreamId, u64, Piece)>;

    fn messages(block: &Block, attempt: u64) -> Messages {
        let chain = Chain::new(4);
        let signed = signed_proposal(&chain, 0, block);
        let id = stream_id(block.header.hash(), Round::ZERO, attempt);
        let body = body::encode(&block.transactions);
        cut(&id, signed.message().clone(), signed.signature(), &body)
            .into_iter()
            .map(|message| {
                let piece = match message.content {
                    StreamContent::Fin => Piece::End,
                    StreamContent::Data(Part::Body(piece)) => Piece::Body(piece),
                    StreamContent::Data(Part::Init { .. }) => {
                        Piece::Header(Box::new(signed.clone()))
                    }
                };
                (message.stream_id, message.sequence, piece)
            })
            .collect()
    }

    fn feed(
        streams: &mut Streams,
        from: PeerId,
        messages: impl IntoIterator<Item = (StreamId, u64, Piece)>,
    ) -> Result<Option<Arrived>, BadStream> {
        let mut last = Ok(None);
        for (id, sequence, piece) in messages {
            last = streams.insert(from, &id, sequence, piece);
        }
        last
    }

    fn block_of(result: Result<Option<Arrived>, BadStream>) -> Option<Block> {
        result.unwrap().map(|arrived| arrived.block)
    }

    #[test]
    fn a_block_arrives_whole_in_any_order() {
        let block = block(3 * PIECE_BYTES);
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        assert_eq!(block_of(feed(&mut streams, from, messages(&block, 1))), Some(block.clone()));
        let backwards = messages(&block, 2).into_iter().rev();
        assert_eq!(block_of(feed(&mut streams, from, backwards)), Some(block));
    }

    #[test]
    fn a_missing_piece_keeps_the_block_back() {
        let mut some = messages(&block(3 * PIECE_BYTES), 1);
        some.remove(1);
        assert_eq!(feed(&mut Streams::new(LIMIT), peer(), some), Ok(None));
    }

    #[test]
    fn a_missing_header_keeps_the_block_back() {
        let mut some = messages(&block(3 * PIECE_BYTES), 1);
        some.remove(0);
        assert_eq!(feed(&mut Streams::new(LIMIT), peer(), some), Ok(None));
    }

    #[test]
    fn one_peer_cannot_finish_the_stream_of_another() {
        let mut streams = Streams::new(LIMIT);
        let mut all = messages(&block(10), 1);
        let (id, sequence, end) = all.pop().unwrap();
        assert_eq!(feed(&mut streams, peer(), all), Ok(None));
        assert_eq!(streams.insert(peer(), &id, sequence, end), Ok(None));
    }

    #[test]
    fn a_stream_is_bounded_in_bytes_and_messages_and_name() {
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        let large: Vec<_> = messages(&block(5 * PIECE_BYTES), 1).into_iter().take(6).collect();
        assert_eq!(feed(&mut streams, from, large), Err(BadStream::TooLong { limit: LIMIT }));

        let id = stream_id(B256::ZERO, Round::ZERO, 2);
        let far = streams.insert(from, &id, u64::MAX, Piece::End);
        assert!(matches!(far, Err(BadStream::TooLong { .. })), "{far:?}");
        let actual = PIECE_BYTES + 1;
        let fat = streams.insert(from, &id, 1, Piece::Body(vec![0; actual]));
        assert_eq!(fat, Err(BadStream::PieceTooLarge { actual }));
        let long = StreamId::new(vec![0; 1 << 20].into());
        let named = streams.insert(from, &long, 0, Piece::End);
        assert_eq!(named, Err(BadStream::NoName { actual: 1 << 20 }));
    }

    #[test]
    fn a_header_stands_at_the_beginning_and_nowhere_else() {
        let id = stream_id(B256::ZERO, Round::ZERO, 1);
        let (_, _, header) = messages(&block(10), 1).remove(0);
        let mut streams = Streams::new(LIMIT);
        assert_eq!(streams.insert(peer(), &id, 1, header), Err(BadStream::NoHeader));
        let body = Piece::Body(vec![1]);
        assert_eq!(streams.insert(peer(), &id, 0, body), Err(BadStream::NoHeader));
    }

    #[test]
    fn a_new_stream_takes_the_place_of_one_without_a_header_first() {
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        let mut first = messages(&block(10), 0);
        let (id, sequence, end) = first.pop().unwrap();
        feed(&mut streams, from, first).unwrap();
        for attempt in 1..=3 * STREAMS_A_PEER as u64 {
            let headless = messages(&block(10), attempt).into_iter().skip(1).take(1);
            feed(&mut streams, from, headless).unwrap();
        }
        assert!(streams.insert(from, &id, sequence, end).unwrap().is_some());

        for attempt in 100..=100 + STREAMS_A_PEER as u64 {
            feed(&mut streams, from, messages(&block(10), attempt).into_iter().take(1)).unwrap();
        }
        let mut oldest = messages(&block(10), 100);
        let (id, sequence, end) = oldest.pop().unwrap();
        assert_eq!(streams.insert(from, &id, sequence, end), Ok(None));
    }

    #[test]
    fn however_many_peers_send_junk_a_stream_that_goes_on_is_finished() {
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        let mut last = Ok(None);
        for (id, sequence, piece) in messages(&block(3 * PIECE_BYTES), 1) {
            last = streams.insert(from, &id, sequence, piece);
            for _ in 0..PEERS - 1 {
                let id = stream_id(B256::ZERO, Round::ZERO, 1);
                streams.insert(peer(), &id, 1, Piece::Body(vec![1])).unwrap();
            }
        }
        assert!(last.unwrap().is_some());
        assert!(streams.by_peer.len() <= PEERS);
    }

    #[test]
    fn heights_that_are_over_are_forgotten() {
        let mut streams = Streams::new(LIMIT);
        let from = peer();
        let mut all = messages(&block(10), 1);
        let (id, sequence, end) = all.pop().unwrap();
        let height = block(10).header.height;
        feed(&mut streams, from, all).unwrap();
        streams.begin(height);
        assert_eq!(streams.by_peer.len(), 1);
        streams.begin(height.next());
        assert!(streams.by_peer.is_empty());
        assert_eq!(streams.insert(from, &id, sequence, end), Ok(None));
    }

    #[test]
    fn a_stream_that_never_shows_a_header_is_forgotten_after_a_height() {
        let mut streams = Streams::new(LIMIT);
        streams.begin(Height::new(8));
        let id = stream_id(B256::ZERO, Round::ZERO, 1);
        streams.insert(peer(), &id, 1, Piece::Body(vec![1])).unwrap();
        streams.begin(Height::new(9));
        assert_eq!(streams.by_peer.len(), 1, "its header may be on the way");
        streams.begin(Height::new(10));
        assert!(streams.by_peer.is_empty());
    }
}
