//! Frames as clients cut them.

use super::{Bounds, Gate, Head, LONG, MessageRoom, PIECE};
use crate::rpc::RpcLimits;
use crate::rpc::visitors::{Guest, Visitors};
use bytes::BytesMut;
use futures::{SinkExt as _, StreamExt as _};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

const MOST: usize = 1 << 20;

fn guest(visitors: &Arc<Visitors>, address: &str) -> Arc<Guest> {
    let stop = CancellationToken::new();
    Arc::new(visitors.enter(address.parse().unwrap(), stop, Instant::now()).unwrap())
}

fn gate(patience: Duration) -> (Gate<DuplexStream>, DuplexStream, MessageRoom) {
    let limits = RpcLimits { request_bytes: 1 << 20, ..RpcLimits::default() };
    let visitors = Visitors::new(limits, Instant::now());
    let (served, client) = tokio::io::duplex(64 << 10);
    let room = MessageRoom::default();
    let bounds = Bounds { most: MOST, patience };
    (Gate::new(served, guest(&visitors, "10.0.0.1"), bounds, Arc::clone(&room)), client, room)
}

/// The service's side: the gate, and the library behind it with its bounds.
async fn served(gate: Gate<DuplexStream>) -> WebSocketStream<Gate<DuplexStream>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .max_message_size(Some(MOST))
        .max_frame_size(Some(PIECE));
    WebSocketStream::from_raw_socket(gate, Role::Server, Some(config)).await
}

#[tokio::test]
async fn a_long_frame_arrives_whole_though_it_is_handed_on_in_pieces() {
    let (gate, client, room) = gate(Duration::from_secs(60));
    let mut server = served(gate).await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    for size in [0, 1, 125, 126, 65_535, 65_536, PIECE, PIECE + 1, 3 * PIECE + 2, MOST] {
        let text: String =
            (0..size).map(|n| char::from(b'a' + u8::try_from(n % 23).unwrap())).collect();
        let (sent, told) = tokio::join!(client.send(Message::text(text.clone())), server.next());
        sent.unwrap();
        assert_eq!(told.unwrap().unwrap(), Message::text(text), "{size}");
        let holds = room.lock().unwrap().take().is_some();
        assert_eq!(holds, size > super::LONG, "{size}");
    }
}

#[tokio::test]
async fn a_message_in_frames_of_its_own_arrives_with_pings_between_them() {
    let (gate, client, _room) = gate(Duration::from_secs(60));
    let mut server = served(gate).await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let part = "x".repeat(PIECE + 7);
    let frames = async {
        let data = |kind, last| Frame::message(part.clone(), OpCode::Data(kind), last);
        client.send(Message::Frame(data(Data::Text, false))).await.unwrap();
        client.send(Message::Ping("p".into())).await.unwrap();
        client.send(Message::Frame(data(Data::Continue, false))).await.unwrap();
        client.send(Message::Frame(data(Data::Continue, true))).await.unwrap();
        client.send(Message::text("next")).await.unwrap();
    };
    let told = async {
        let mut all = Vec::new();
        while all.len() < 3 {
            all.push(server.next().await.unwrap().unwrap());
        }
        all
    };
    let ((), told) = tokio::join!(frames, told);
    assert_eq!(told[0], Message::Ping("p".into()));
    assert_eq!(told[1], Message::text(part.repeat(3)));
    assert_eq!(told[2], Message::text("next"));
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_by_its_head_alone() {
    for length in [1 + u64::try_from(MOST).unwrap(), 1 << 40, (1 << 63) - 1] {
        let (gate, mut client, room) = gate(Duration::from_secs(60));
        let mut server = served(gate).await;
        let mut head = BytesMut::new();
        Head { first: 0x81, length, mask: Some([1, 2, 3, 4]) }.write(&mut head);
        client.write_all(&head).await.unwrap();
        let refusal = server.next().await.unwrap().unwrap_err();
        assert!(matches!(refusal, Error::Capacity(_)), "{refusal}");
        assert!(room.lock().unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_message_ends_the_connection_in_time_and_what_it_took_is_given_back() {
    for sent in [1_usize, 7, 14, 100, 50_000] {
        let (gate, mut client, _room) = gate(Duration::from_secs(30));
        let mut server = served(gate).await;
        let mut bytes = BytesMut::new();
        Head { first: 0x81, length: 900_000, mask: Some([0; 4]) }.write(&mut bytes);
        bytes.resize(bytes.len() + 50_000, b'a');
        client.write_all(&bytes[..sent]).await.unwrap();
        let refusal = server.next().await.unwrap().unwrap_err();
        assert!(refusal.to_string().contains("in time"), "{sent}: {refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_has_all_the_time_between_messages() {
    let (gate, client, _room) = gate(Duration::from_secs(30));
    let mut server = served(gate).await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    let talk = async {
        for _ in 0..3 {
            client.send(Message::Ping("p".into())).await.unwrap();
            tokio::time::sleep(Duration::from_secs(100)).await;
            client.send(Message::text("t")).await.unwrap();
        }
    };
    let told = async {
        for _ in 0..6 {
            server.next().await.unwrap().unwrap();
        }
    };
    tokio::join!(talk, told);
}

#[tokio::test(start_paused = true)]
async fn unfinished_messages_of_one_address_hold_no_more_than_its_share() {
    let limits = RpcLimits { request_bytes: 4 << 20, ..RpcLimits::default() };
    let visitors = Visitors::new(limits, Instant::now());
    let mut read = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..40 {
        let (served, mut client) = tokio::io::duplex(64 << 10);
        let bounds = Bounds { most: 4 << 20, patience: Duration::from_secs(30) };
        let mut gate =
            Gate::new(served, guest(&visitors, "10.0.0.1"), bounds, MessageRoom::default());
        let mut head = BytesMut::new();
        Head { first: 0x81, length: 4 << 20, mask: Some([0; 4]) }.write(&mut head);
        client.write_all(&head).await.unwrap();
        clients.push(client);
        read.push(tokio::spawn(async move {
            let mut buffer = [0; 64];
            let first = gate.read(&mut buffer).await;
            (first.map(|bytes| bytes > 0).map_err(|error| error.kind()), gate)
        }));
    }
    // Two of 4 MiB fit the 8 MiB of an address; the others are not read on, and end. Whoever began holds its room.
    let (mut begun, mut late) = (Vec::new(), 0);
    for one in read {
        match one.await.unwrap() {
            (Ok(true), gate) => begun.push(gate),
            (Err(std::io::ErrorKind::TimedOut), _) => late += 1,
            (other, _) => panic!("{other:?}"),
        }
    }
    assert_eq!((begun.len(), late), (2, 38));
    let (own, other) = (guest(&visitors, "10.0.0.1"), guest(&visitors, "10.0.0.2"));
    let moment = Duration::from_millis(1);
    let room = other.request_room(4 << 20);
    tokio::time::timeout(moment, room).await.unwrap().unwrap();
    assert!(tokio::time::timeout(moment, own.request_room(LONG)).await.is_err());
    drop(begun);
    tokio::time::timeout(moment, own.request_room(4 << 20)).await.unwrap().unwrap();
}

proptest! {
    #[test]
    fn heads_are_read_as_they_are_written(first: u8, length in 0_u64..1 << 63, mask: Option<[u8; 4]>) {
        let head = Head { first, length, mask };
        let mut bytes = BytesMut::new();
        head.write(&mut bytes);
        for end in 0..bytes.len() {
            prop_assert_eq!(Head::read(&bytes[..end]), None);
        }
        let size = bytes.len();
        bytes.extend_from_slice(b"behind");
        prop_assert_eq!(Head::read(&bytes), Some((head, size)));
    }

    /// Whatever comes, the gate hands on no more than it was sent and the heads of the pieces, and comes to an end.
    #[test]
    fn arbitrary_bytes_are_handed_on_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut gate, mut client, _room) = gate(Duration::from_secs(1));
            client.write_all(&bytes).await.unwrap();
            drop(client);
            let mut told = Vec::new();
            let _ = gate.read_to_end(&mut told).await;
            // One frame has one head more than it was sent with, at most.
            assert!(told.len() <= bytes.len().saturating_add(14));
        });
    }
}
