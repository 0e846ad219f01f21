//! Logs of a long stretch of L1, in ranges as large as the node grants.

use super::client::Client;
use super::error::L1Error;
use super::refusal::Refusal;
use alloy::rpc::types::{Filter, Log};
use std::time::Duration;

/// Blocks of the first request, and the most that one asks for.
const FIRST_BLOCKS: u64 = 2_000;
const MOST_BLOCKS: u64 = 10_000;
/// Times that a request for one block, or one that a node has no time for, is made again.
const PATIENCE: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Blocks that the next request asks for. Halved when a node wants less, and a little larger after each answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(u64);

impl Default for Span {
    fn default() -> Self {
        Self(FIRST_BLOCKS)
    }
}

impl Span {
    /// The last block of a request that begins at `from`, within a stretch that ends at `to`.
    pub(super) fn end(self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.0.saturating_sub(1)).min(to)
    }

    fn grow(&mut self) {
        self.0 = self.0.saturating_add(self.0 / 8).saturating_add(1).min(MOST_BLOCKS);
    }

    /// Asks for less, if there is less than this.
    const fn halve(&mut self) -> bool {
        let can = self.0 > 1;
        if can {
            self.0 /= 2;
        }
        can
    }
}

/// The logs of as many blocks from `from` on as the node grants at once, and the last of those blocks.
///
/// # Errors
///
/// What keeps the nodes from answering for even one block.
pub(super) async fn next(
    client: &Client,
    filter: &Filter,
    from: u64,
    to: u64,
    span: &mut Span,
) -> Result<(Vec<Log>, u64), L1Error> {
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0_u32;
    loop {
        let end = span.end(from, to);
        match client.logs(&filter.clone().from_block(from).to_block(end)).await {
            Ok(logs) => {
                span.grow();
                return Ok((logs, end));
            }
            Err(error) => {
                let smaller = match error.refusal() {
                    Some(Refusal::RangeTooLarge) => span.halve(),
                    Some(Refusal::OverLimit) => {
                        tokio::time::sleep(pause).await;
                        span.halve()
                    }
                    _ => false,
                };
                if smaller {
                    continue;
                }
                attempts = attempts.saturating_add(1);
                if attempts > PATIENCE || !error.is_transient() {
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
        }
    }
}

/// All logs from `from` to `to`, in order.
///
/// # Errors
///
/// As [`next`].
pub(super) async fn all(
    client: &Client,
    filter: &Filter,
    from: u64,
    to: u64,
) -> Result<Vec<Log>, L1Error> {
    let mut span = Span::default();
    let (mut found, mut at) = (Vec::new(), from);
    while at <= to {
        let (logs, end) = next(client, filter, at, to, &mut span).await?;
        found.extend(logs);
        let Some(after) = end.checked_add(1) else { break };
        at = after;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own making")]

    use super::{L1Error, all};
    use crate::l1::client::Client;
    use alloy::primitives::U64;
    use alloy::rpc::client::RpcClient;
    use alloy::rpc::json_rpc::{
        ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload,
    };
    use alloy::rpc::types::Filter;
    use alloy::transports::{TransportError, TransportFut};
    use serde_json::Value;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    /// A node that grants so many blocks, and notes what it was asked for.
    #[derive(Clone)]
    struct Node {
        grants: u64,
        code: i64,
        words: &'static str,
        asked: Arc<Mutex<Vec<(u64, u64)>>>,
    }

    impl tower::Service<RequestPacket> for Node {
        type Response = ResponsePacket;
        type Error = TransportError;
        type Future = TransportFut<'static>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, packet: RequestPacket) -> Self::Future {
            let RequestPacket::Single(request) = packet else { panic!("one request at a time") };
            let params: Value = serde_json::from_str(request.params().unwrap().get()).unwrap();
            let block = |name| serde_json::from_value::<U64>(params[0][name].clone()).unwrap().to();
            let (from, to): (u64, u64) = (block("fromBlock"), block("toBlock"));
            let payload = if to - from < self.grants {
                self.asked.lock().unwrap().push((from, to));
                ResponsePayload::Success(serde_json::value::to_raw_value(&[0; 0]).unwrap())
            } else {
                let (code, message) = (self.code, self.words.into());
                ResponsePayload::Failure(ErrorPayload { code, message, data: None })
            };
            let response = Response { id: request.id().clone(), payload };
            Box::pin(std::future::ready(Ok(ResponsePacket::Single(response))))
        }
    }

    async fn read(
        grants: u64,
        code: i64,
        words: &'static str,
        to: u64,
    ) -> (Result<usize, L1Error>, Vec<(u64, u64)>) {
        let asked = Arc::default();
        let node = Node { grants, code, words, asked: Arc::clone(&asked) };
        let client = Client::over(RpcClient::new(node, true), 1);
        let read = all(&client, &Filter::new(), 5, to).await.map(|logs| logs.len());
        let asked = asked.lock().unwrap().clone();
        (read, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn asks_for_less_until_the_node_grants_it_and_leaves_no_block_out() {
        for (grants, code, words) in [
            (500, -32_005, "query exceeds max block range 500"),
            (1_000, -32_602, "block range is too wide"),
            (10, -32_005, "limit exceeded"),
            (1, -32_000, "range limit"),
            (1_000_000, 0, ""),
        ] {
            let (read, asked) = read(grants, code, words, 4_321).await;
            assert_eq!(read, Ok(0), "{words}");
            let mut next = 5;
            for (from, to) in asked {
                assert_eq!(from, next, "{words}");
                assert!(from <= to);
                next = to + 1;
            }
            assert_eq!(next, 4_322, "{words}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_block_that_a_number_can_name_is_the_end() {
        let asked = Arc::default();
        let node = Node { grants: 10_000, code: 0, words: "", asked: Arc::clone(&asked) };
        let client = Client::over(RpcClient::new(node, true), 1);
        let read = all(&client, &Filter::new(), u64::MAX - 3_000, u64::MAX).await;
        assert_eq!(read.map(|logs| logs.len()), Ok(0));
        assert_eq!(asked.lock().unwrap().last().map(|(_, to)| *to), Some(u64::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_grants_nothing_is_given_up() {
        let (read, _) = read(0, -32_005, "query exceeds max block range 0", 9).await;
        assert!(matches!(read, Err(L1Error::Refused { .. })), "{read:?}");
    }
}
