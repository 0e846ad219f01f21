//! One L1 node over HTTP, whose answers are bounded: what a node sends is read as it comes, and no further than it may.

use crate::config::redact;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::http::reqwest;
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tower::Service;
use url::Url;

/// Bytes of an answer. The receipts of the largest blocks, and what providers give of logs at once, have less than half.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// Bytes of an answer that is read at any time; of longer ones few are read at once.
const SMALL: usize = 1 << 20;
const LARGE_AT_ONCE: usize = 4;
/// Bytes of an error that are kept: some nodes send a web page.
const ERROR_BYTES: usize = 4 << 10;

/// Posts requests to one URL.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    http: reqwest::Client,
    url: Url,
    large: Arc<Semaphore>,
}

impl Bounded {
    /// Whose turn it is to read a long answer; shared by nodes that stand in for each other.
    pub(super) fn turns() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(LARGE_AT_ONCE))
    }

    pub(super) const fn new(http: reqwest::Client, url: Url, large: Arc<Semaphore>) -> Self {
        Self { http, url, large }
    }

    async fn post(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let sent =
            self.http.post(self.url.clone()).json(&request).headers(request.headers()).send();
        let mut answer = sent.await.map_err(failed)?;
        let status = answer.status();
        let mut body = Vec::new();
        let mut turn = None;
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            let length = body.len().saturating_add(chunk.len());
            if !status.is_success() && length > ERROR_BYTES {
                break;
            }
            if length > MAX_ANSWER_BYTES {
                let limit = MAX_ANSWER_BYTES;
                let reason =
                    format!("query returned more than {limit} bytes, nothing longer is read");
                return Err(TransportErrorKind::http_error(413, reason));
            }
            if length > SMALL && turn.is_none() {
                turn = self.large.acquire().await.ok();
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).into_owned();
            return Err(TransportErrorKind::http_error(status.as_u16(), text));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let start = body.get(..body.len().min(ERROR_BYTES)).unwrap_or_default();
            TransportError::deser_err(error, String::from_utf8_lossy(start))
        })
    }
}

/// Names the node, without what its URL may hold of a secret.
fn failed(mut error: reqwest::Error) -> TransportError {
    let node = error.url().and_then(|url| Url::parse(&redact(url)).ok());
    error = error.without_url();
    TransportErrorKind::custom(match node {
        Some(node) => error.with_url(node),
        None => error,
    })
}

impl Service<RequestPacket> for Bounded {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().post(request))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounded, MAX_ANSWER_BYTES};
    use crate::l1::{Client, L1Error, Refusal};
    use alloy::primitives::Address;
    use alloy::providers::{Provider as _, RootProvider};
    use alloy::rpc::client::RpcClient;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use url::Url;

    /// A node that answers everything with an endless text; how much of it anybody took.
    async fn endless(head: &'static str, piece: usize, pause: Duration) -> (Url, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let taken = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let taken = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut asked = [0; 4_096];
                    let _ = stream.read(&mut asked).await;
                    let _ = stream.write_all(head.as_bytes()).await;
                    let piece = vec![b'1'; piece];
                    while stream.write_all(&piece).await.is_ok() {
                        taken.fetch_add(piece.len(), Ordering::Relaxed);
                        tokio::time::sleep(pause).await;
                    }
                });
            }
        });
        (url, taken)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";

    #[tokio::test(flavor = "multi_thread")]
    async fn an_endless_answer_is_read_to_a_bound_and_told_as_too_much() {
        let (url, taken) = endless(OK, 1 << 16, Duration::ZERO).await;
        let node = Bounded::new(reqwest_client(), url, Bounded::turns());
        let provider = RootProvider::<alloy::network::Ethereum>::new(RpcClient::new(node, true));
        let error = provider.get_block_number().await.unwrap_err();
        let told = L1Error::of(&error, Address::ZERO);
        assert!(matches!(told, L1Error::Refused { why: Refusal::RangeTooLarge, .. }), "{told:?}");
        // What sockets hold is beyond what was read.
        assert!(taken.load(Ordering::Relaxed) < MAX_ANSWER_BYTES.saturating_mul(2));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_web_page_as_an_error_is_kept_in_its_beginning_alone() {
        let page = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\n\r\n";
        let (url, taken) = endless(page, 1 << 16, Duration::ZERO).await;
        let error = Client::connect(&[url]).await.unwrap_err();
        assert!(error.to_string().len() < 10_000, "{error}");
        assert!(taken.load(Ordering::Relaxed) < MAX_ANSWER_BYTES);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_that_drips_is_left_in_time() {
        let (url, _) = endless(OK, 1, Duration::from_millis(100)).await;
        let asked = tokio::time::Instant::now();
        let error = Client::connect(&[url]).await.unwrap_err();
        assert!(matches!(error, L1Error::Unreachable { .. }), "{error}");
        assert!(asked.elapsed() < Duration::from_secs(60));
    }

    fn reqwest_client() -> alloy::transports::http::reqwest::Client {
        alloy::transports::http::reqwest::Client::builder().no_proxy().build().unwrap()
    }
}
