//! The service over real HTTP and WebSocket on loopback, in front of a store of its own.

mod bad_input;
mod blocks;
mod clients;
mod hostile;
mod letter;
mod libraries;
mod schema;
mod stages;
mod state;
mod telling;

use crate::agreement::BlockSource as _;
use crate::domain::{Deployment, Height};
use crate::mempool::{Intake, Limits, Pool};
use crate::rpc::{RpcContext, RpcLimits, serve};
use crate::storage::Journal;
use crate::testing::{ROLLUP, Surroundings, key, params, raw_transaction};
use alloy::primitives::{Address, Bytes};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running service.
struct Service {
    around: Surroundings,
    pool: Arc<Pool>,
    intake: Intake,
    decided: watch::Sender<Height>,
    /// host:port
    address: String,
    _shutdown: DropGuard,
}

impl Service {
    async fn start(limits: RpcLimits) -> Self {
        let around = Surroundings::new(params());
        let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone());
        let pool = Arc::new(pool.unwrap());
        let (journal, held) = Journal::open(around.folder.path().join("journal")).unwrap();
        let (intake, _) = Intake::start(Arc::clone(&pool), journal, held, Box::new(|| {})).unwrap();
        let decided = watch::Sender::new(Height::new(0));
        let zero = Address::ZERO;
        let context = RpcContext {
            store: around.store.clone(),
            mirror: around.mirror.clone(),
            pool: Arc::clone(&pool),
            intake: intake.clone(),
            decided: decided.subscribe(),
            peers: Arc::new(|| 3),
            default_rollup: ROLLUP,
            deployment: Deployment {
                chain_id: 31_337,
                block: 0,
                stake_token: zero,
                registry: zero,
                settlement: Address::repeat_byte(5),
                tally: zero,
                slasher: zero,
                reward_pool: zero,
                rollups: zero,
                guardian: zero,
            },
            signer: Address::repeat_byte(1),
            limits,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, context, shutdown.clone()));
        Self { around, pool, intake, decided, address, _shutdown: shutdown.drop_guard() }
    }

    /// Decides what the pool holds.
    fn decide(&self) -> Height {
        let block = self.pool.collect(1 << 20, &|_| true);
        let signed: Vec<_> = block.iter().map(|one| one.decode(1 << 16).unwrap()).collect();
        let height = self.around.decide(&signed);
        self.decided.send_replace(height);
        height
    }

    /// Decides what the pool holds, again and again.
    async fn keep_deciding(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.pool.has_work() {
                self.decide();
            }
        }
    }

    /// Decides what the pool holds, and now and then nothing: as a network does.
    async fn keep_a_pace(&self) {
        for round in 0_u64.. {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.pool.has_work() || round.is_multiple_of(8) {
                self.decide();
            }
        }
    }

    async fn post(&self, path: &str, body: impl Into<String>) -> (u16, Value) {
        let answer = reqwest::Client::new()
            .post(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .body(body.into())
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
    }

    async fn call_at(&self, path: &str, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(path, body.to_string()).await.1
    }

    /// The result of a call that succeeds.
    async fn call(&self, method: &str, params: Value) -> Value {
        let mut answer = self.call_at("/", method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Submits a transaction of `key(n)`.
    async fn send(&self, n: u8, nonce: u64) -> Value {
        let raw: Bytes = raw_transaction(&key(n), nonce);
        self.call("eth_sendRawTransaction", json!([raw])).await
    }
}
