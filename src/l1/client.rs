//! Reading L1: several nodes with fallback, typed calls, and the check that the deployment is what it says.

use super::bindings::{self, IRota};
use super::convert;
use super::error::L1Error;
use super::facts;
use super::fees::Fees;
use super::nodes::{Heard, Nodes};
use super::refusal::Refusal;
use super::retry::Patience;
use super::transport::Bounded;
use crate::config::{causes, redact};
use crate::domain::{Deployment, L1Block, Params, Seconds};
use alloy::consensus::proofs::calculate_receipt_root;
use alloy::consensus::{BlockHeader as _, Header};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::{AnyReceiptEnvelope, Ethereum, TransactionBuilder as _};
use alloy::primitives::{Address, B256, Bytes, U64, U256, keccak256};
use alloy::providers::{DynProvider, Provider as _, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::state::AccountOverride;
use alloy::rpc::types::{Block, Filter, Log, Transaction, TransactionReceipt, TransactionRequest};
use alloy::sol_types::{SolCall, SolValue as _};
use alloy::transports::layers::RetryBackoffLayer;
use alloy::transports::{RpcError, TransportError};
use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tower::ServiceBuilder;
use url::Url;

/// Chain id of Anvil and Hardhat.
pub(super) const DEVELOPMENT_CHAIN: u64 = 31_337;
/// How long one request may take on the way to one node.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Retries of a request that was rate-limited, and the pause before each in milliseconds.
const RATE_LIMIT_RETRIES: u32 = 4;
const RATE_LIMIT_PAUSE_MILLIS: u64 = 300;
/// More than any node grants: rate limits are answered, not foreseen.
const COMPUTE_UNITS_PER_SECOND: u64 = 1_000_000;

/// No node that was asked has the receipts of a block.
const NO_RECEIPTS: &str = "receipts of a block";

/// What L1 tells of its finality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finality {
    /// The newest block that is finalized.
    At(L1Block),
    /// It is a development chain, whose finality is not worth the name.
    None,
    /// The node tells none: nothing is finalized yet, or this L1 knows no finality.
    Untold,
}

/// A block as a node tells it.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Number, hash and time.
    pub(super) block: L1Block,
    /// Its parent's hash.
    pub(super) parent: B256,
    /// The header, if it has the hash that it is told with: not on an L1 whose headers have other fields.
    pub(super) header: Option<Header>,
}

/// A receipt with its transaction's hash, which no root holds.
pub(super) type Receipt = (B256, AnyReceiptEnvelope);
type ToldReceipt = TransactionReceipt<AnyReceiptEnvelope<Log>>;

/// Without what a node tells beside it.
fn bare(told: AnyReceiptEnvelope<Log>) -> AnyReceiptEnvelope {
    let inner = told.inner.map_logs(|log| log.inner);
    AnyReceiptEnvelope { inner, r#type: told.r#type }
}

/// Reads L1. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    provider: DynProvider,
    chain_id: u64,
    nodes: Option<Nodes>,
}

impl Client {
    /// Talks to the first of `urls` that answers, and learns the chain id. Those that do not answer now may later.
    ///
    /// # Errors
    ///
    /// [`L1Error::BadUrl`] for anything but http(s); [`L1Error::ChainsDiffer`] when two nodes are not on one chain: none
    /// of them can stand in for another; whatever keeps all of them from answering.
    pub async fn connect(urls: &[Url]) -> Result<Self, L1Error> {
        Self::of(urls, None).await
    }

    /// Talks to `urls` as nodes of the chain with this id, though none may answer now. Each is asked for its chain before it
    /// is asked for anything else.
    ///
    /// # Errors
    ///
    /// [`L1Error::BadUrl`] for anything but http(s).
    pub async fn expecting(urls: &[Url], chain_id: u64) -> Result<Self, L1Error> {
        Self::of(urls, Some(chain_id)).await
    }

    async fn of(urls: &[Url], chain_id: Option<u64>) -> Result<Self, L1Error> {
        let http = alloy::transports::http::reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|error| L1Error::Unreachable { reason: causes(&error) })?;
        for url in urls {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(L1Error::BadUrl { url: redact(url) });
            }
        }
        if urls.is_empty() {
            return Err(L1Error::BadUrl { url: "(none)".to_owned() });
        }
        let chain_id = match chain_id {
            Some(chain_id) => chain_id,
            None => common_chain_id(&http, urls).await?,
        };
        // Retries go outside: they turn what a node refuses into an error, at which the next node would be asked, and its
        // silence told in place of the refusal.
        let retries = RetryBackoffLayer::new_with_policy(
            RATE_LIMIT_RETRIES,
            RATE_LIMIT_PAUSE_MILLIS,
            COMPUTE_UNITS_PER_SECOND,
            Patience::default(),
        );
        let nodes = Nodes::new(&http, urls, chain_id);
        let service = ServiceBuilder::new().layer(retries).service(nodes.clone());
        let provider = RootProvider::new(RpcClient::new(service, false)).erased();
        Ok(Self { provider, chain_id, nodes: Some(nodes) })
    }

    /// Asks `nodes` of a chain whose id is known.
    pub(crate) fn over(nodes: RpcClient, chain_id: u64) -> Self {
        Self { provider: RootProvider::new(nodes).erased(), chain_id, nodes: None }
    }

    /// Chain id of L1.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Whether L1 is a chain for development, on which everything may be on one machine.
    pub const fn is_development_chain(&self) -> bool {
        self.chain_id == DEVELOPMENT_CHAIN
    }

    /// Leaves the node that is asked first for another: what it told does not add up.
    pub(super) fn distrust(&self, why: &str) {
        if let Some(nodes) = &self.nodes {
            nodes.distrust(why);
        }
    }

    /// Leaves who told what cannot be.
    pub(super) fn leave(&self, heard: &Heard, why: &str) {
        if let Some(nodes) = &self.nodes {
            nodes.leave(heard, why);
        }
    }

    /// Asks for something that `ask` also holds against what it has to be. A node whose answer cannot be
    /// ([`L1Error::BadAnswer`]) is left and the next one asked, each node once; what no node has is nobody's fault. With one
    /// node alone the error is the caller's, to ask again after a while.
    ///
    /// # Errors
    ///
    /// What `ask` found last.
    pub(crate) async fn checked<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, L1Error>
    where
        F: Future<Output = Result<T, L1Error>>,
    {
        let Some(nodes) = &self.nodes else { return ask().await };
        let mut left = nodes.count();
        loop {
            let (told, heard) = Nodes::hear(ask()).await;
            left = left.saturating_sub(1);
            match told {
                Err(error @ L1Error::BadAnswer { .. }) if !heard.is_empty() => {
                    nodes.leave(&heard, &error.to_string());
                    if left == 0 {
                        return Err(error);
                    }
                }
                told => {
                    heard.pass_on();
                    return told;
                }
            }
        }
    }

    /// Makes one request; an answer that does not read is nobody's word.
    async fn ask<T, F>(&self, contract: Address, mut ask: impl FnMut() -> F) -> Result<T, L1Error>
    where
        F: Future<Output = Result<T, TransportError>>,
    {
        self.checked(|| {
            let asked = ask();
            async move { asked.await.map_err(|error| L1Error::of(&error, contract)) }
        })
        .await
    }

    /// The nodes themselves, for what this client has no word for.
    pub(super) const fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Checks that this L1 holds `deployment`, and reads its parameters.
    ///
    /// # Errors
    ///
    /// [`L1Error::WrongChain`], [`L1Error::NoContract`] or [`L1Error::OtherDeployment`] when it does not: an agent must
    /// not start.
    pub async fn verify(&self, deployment: &Deployment) -> Result<Params, L1Error> {
        if deployment.chain_id != self.chain_id {
            return Err(L1Error::WrongChain {
                expected: deployment.chain_id,
                actual: self.chain_id,
            });
        }
        let contracts = [
            ("registry", deployment.registry),
            ("settlement", deployment.settlement),
            ("tally", deployment.tally),
            ("slasher", deployment.slasher),
            ("rewardPool", deployment.reward_pool),
            ("rollups", deployment.rollups),
        ];
        for (name, address) in contracts.into_iter().chain([("stakeToken", deployment.stake_token)])
        {
            if self.code(address).await?.is_empty() {
                return Err(L1Error::NoContract { name, address });
            }
        }

        let words = self.call(deployment.settlement, &IRota::paramsCall {}).await?;
        let expected = keccak256((words, convert::addresses(deployment)).abi_encode_params());
        for (name, address) in contracts {
            let actual = self.call(address, &bindings::DEPLOYMENT_HASHCall {}).await?;
            if actual != expected {
                return Err(L1Error::OtherDeployment { name, address, expected, actual });
            }
        }
        convert::params(&words)
    }

    /// Calls a view at the newest block.
    ///
    /// # Errors
    ///
    /// [`L1Error::Reverted`] with the custom error, or what keeps the nodes from answering.
    pub(super) async fn call<C: SolCall>(
        &self,
        contract: Address,
        call: &C,
    ) -> Result<C::Return, L1Error> {
        self.call_at(contract, call, BlockId::latest()).await
    }

    pub(super) async fn call_at<C: SolCall>(
        &self,
        contract: Address,
        call: &C,
        block: BlockId,
    ) -> Result<C::Return, L1Error> {
        let request = TransactionRequest::default().with_to(contract).with_input(call.abi_encode());
        let bad = || L1Error::BadAnswer { what: C::SIGNATURE };
        let told = self.checked(|| async {
            let asked = self.provider.call(request.clone()).block(block);
            let bytes = asked.await.map_err(|error| L1Error::of(&error, contract))?;
            // Where there is no contract nothing is returned, and that is nobody's fault.
            (!bytes.is_empty())
                .then(|| C::abi_decode_returns(&bytes))
                .transpose()
                .map_err(|_| bad())
        });
        told.await?.ok_or_else(bad)
    }

    /// The newest block.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub async fn head(&self) -> Result<L1Block, L1Error> {
        self.block(BlockNumberOrTag::Latest)
            .await?
            .map(|(block, _)| block)
            .ok_or(L1Error::BadAnswer { what: "newest block" })
    }

    /// The newest block that L1 calls finalized. Before anything is, nodes say so with an error of their own each.
    pub(super) async fn finality(&self) -> Result<Finality, L1Error> {
        if self.chain_id() == DEVELOPMENT_CHAIN {
            return Ok(Finality::None);
        }
        match self.block(BlockNumberOrTag::Finalized).await {
            Ok(Some((block, _))) => Ok(Finality::At(block)),
            Ok(None) => Ok(Finality::Untold),
            Err(error) => match error.refusal() {
                Some(Refusal::BlockUnknown | Refusal::Other) => Ok(Finality::Untold),
                _ => Err(error),
            },
        }
    }

    /// A block by number, with its parent's hash.
    pub(super) async fn block(
        &self,
        number: BlockNumberOrTag,
    ) -> Result<Option<(L1Block, B256)>, L1Error> {
        Ok(self.header(number).await?.map(|told| (told.block, told.parent)))
    }

    /// A block's header by number.
    pub(super) async fn header(&self, number: BlockNumberOrTag) -> Result<Option<Told>, L1Error> {
        let block: Option<Block> = self
            .checked(|| async {
                let asked = self.provider.get_block_by_number(number);
                let block = asked.await.map_err(|error| L1Error::of(&error, Address::ZERO))?;
                match (number, &block) {
                    (BlockNumberOrTag::Number(asked), Some(told))
                        if told.header.number() != asked =>
                    {
                        let what = "block with the number that was asked for";
                        Err(L1Error::BadAnswer { what })
                    }
                    _ => Ok(block),
                }
            })
            .await?;
        Ok(block.map(|block| {
            let header = block.header;
            let known = L1Block {
                number: header.number(),
                hash: header.hash,
                timestamp: Seconds::new(header.timestamp()),
            };
            let is_whole = header.inner.hash_slow() == header.hash;
            let parent = header.parent_hash();
            Told { block: known, parent, header: is_whole.then_some(header.inner) }
        }))
    }

    /// Logs that pass a filter, and none that do not: whoever tells others may tell anything.
    pub(super) async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, L1Error> {
        let (from, to) = (filter.get_from_block(), filter.get_to_block());
        let is_asked_for = |log: &Log| {
            let within = |number: u64| {
                from.is_none_or(|from| from <= number) && to.is_none_or(|to| number <= to)
            };
            let at = filter.get_block_hash().is_none_or(|hash| log.block_hash == Some(hash));
            at && log.block_number.is_some_and(within) && facts::passes(filter, &log.inner)
        };
        self.checked(|| async {
            let asked = self.provider.get_logs(filter);
            let logs = asked.await.map_err(|error| L1Error::of(&error, Address::ZERO))?;
            match logs.iter().all(is_asked_for) {
                true => Ok(logs),
                false => Err(L1Error::BadAnswer { what: "logs: some were not asked for" }),
            }
        })
        .await
    }

    /// The receipts of the block with this header, which give the root in it: those of kinds that are not known here too, as
    /// all kinds so far are written in one way.
    ///
    /// # Errors
    ///
    /// [`L1Error::BadAnswer`] when no node that was asked tells them; what keeps the nodes from answering.
    pub(super) async fn receipts(&self, header: &Header) -> Result<Vec<Receipt>, L1Error> {
        let number = U64::from(header.number);
        self.checked(|| async {
            let asked = self.provider.raw_request("eth_getBlockReceipts".into(), [number]);
            let told: Option<Vec<ToldReceipt>> =
                asked.await.map_err(|error| L1Error::of(&error, Address::ZERO))?;
            let told = told.ok_or(L1Error::BadAnswer { what: NO_RECEIPTS })?;
            let hashes: Vec<B256> = told.iter().map(|one| one.transaction_hash).collect();
            let receipts: Vec<AnyReceiptEnvelope> =
                told.into_iter().map(|one| bare(one.inner)).collect();
            match calculate_receipt_root(&receipts) == header.receipts_root {
                true => Ok(hashes.into_iter().zip(receipts).collect()),
                false => Err(L1Error::BadAnswer { what: "receipts: they are not the block's" }),
            }
        })
        .await
    }

    pub(super) async fn code(&self, address: Address) -> Result<Bytes, L1Error> {
        self.ask(address, || self.provider.get_code_at(address).into_future()).await
    }

    pub(super) async fn transaction(&self, hash: B256) -> Result<Option<Transaction>, L1Error> {
        self.ask(Address::ZERO, || self.provider.get_transaction_by_hash(hash).into_future()).await
    }

    /// A transaction as the node tells it, whatever kind it is of.
    pub(super) async fn told_of_transaction(&self, hash: B256) -> Result<Value, L1Error> {
        let asked = self.provider.raw_request("eth_getTransactionByHash".into(), (hash,));
        let told: Option<Value> =
            asked.await.map_err(|error| L1Error::of(&error, Address::ZERO))?;
        told.ok_or(L1Error::BadAnswer { what: "transaction" })
    }

    pub(super) async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, L1Error> {
        self.ask(Address::ZERO, || self.provider.get_transaction_receipt(hash).into_future()).await
    }

    /// ETH of an account, in wei.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub async fn balance(&self, account: Address) -> Result<U256, L1Error> {
        self.ask(account, || self.provider.get_balance(account).into_future()).await
    }

    /// Next nonce of an account: counting what waits in the node's pool, or only what was included.
    pub(super) async fn nonce(&self, account: Address, pending: bool) -> Result<u64, L1Error> {
        let block = if pending { BlockId::pending() } else { BlockId::latest() };
        self.nonce_by(account, block).await
    }

    async fn nonce_by(&self, account: Address, block: BlockId) -> Result<u64, L1Error> {
        let ask = || self.provider.get_transaction_count(account).block_id(block).into_future();
        self.ask(account, ask).await
    }

    /// Next nonce of an account by what is included up to a block.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering, and a block that is not canonical any more.
    pub async fn nonce_at(&self, account: Address, block: B256) -> Result<u64, L1Error> {
        self.nonce_by(account, BlockId::hash(block)).await
    }

    /// Whether a node has this transaction, waiting or included.
    ///
    /// # Errors
    ///
    /// What keeps the nodes from answering.
    pub async fn knows(&self, transaction: B256) -> Result<bool, L1Error> {
        Ok(self.transaction(transaction).await?.is_some())
    }

    /// What waits in the node's pool at a nonce of an account, where the node tells that. Nodes have one of two methods for
    /// it, or none.
    pub(super) async fn waiting_at(
        &self,
        account: Address,
        nonce: u64,
    ) -> Result<Option<Transaction>, L1Error> {
        let params = (account, U64::from(nonce));
        let found = self.provider.raw_request("eth_getTransactionBySenderAndNonce".into(), params);
        if let Ok(found) = found.await {
            return Ok(found);
        }
        let pool: PoolContent = self
            .provider
            .raw_request("txpool_contentFrom".into(), [account])
            .await
            .map_err(|error| L1Error::of(&error, account))?;
        let key = nonce.to_string();
        Ok([pool.pending, pool.queued].into_iter().find_map(|mut part| part.remove(&key)))
    }

    /// What to pay for a prompt inclusion: by the fees of late blocks, and at least the tip that the node asks for, below
    /// which many take nothing.
    pub(super) async fn fees(&self) -> Result<Fees, L1Error> {
        let estimate = self
            .provider
            .estimate_eip1559_fees()
            .await
            .map_err(|error| L1Error::of(&error, Address::ZERO))?;
        let fees = Fees {
            max_fee_wei: estimate.max_fee_per_gas,
            priority_fee_wei: estimate.max_priority_fee_per_gas,
        };
        match self.provider.get_max_priority_fee_per_gas().await {
            Ok(tip) => Ok(fees.with_tip(tip)),
            // The node has no opinion, or not this method.
            Err(RpcError::ErrorResp(_) | RpcError::NullResp) => Ok(fees),
            Err(error) => Err(L1Error::of(&error, Address::ZERO)),
        }
    }

    pub(super) async fn estimate_gas(
        &self,
        from: Address,
        to: Option<Address>,
        value: U256,
        input: &Bytes,
    ) -> Result<u64, L1Error> {
        let mut request = TransactionRequest::default()
            .with_from(from)
            .with_value(value)
            .with_input(input.clone());
        match to {
            Some(to) => request.set_to(to),
            None => request.set_create(),
        }
        self.provider
            .estimate_gas(request)
            .await
            .map_err(|error| L1Error::of(&error, to.unwrap_or_default()))
    }

    /// Runs a contract's creation as if `from` had this nonce; nothing is sent.
    pub(super) async fn try_create(
        &self,
        from: Address,
        nonce: u64,
        code: &Bytes,
    ) -> Result<(), L1Error> {
        let mut request = TransactionRequest::default().with_from(from).with_input(code.clone());
        request.set_create();
        let account = AccountOverride { nonce: Some(nonce), ..AccountOverride::default() };
        self.provider
            .call(request)
            .account_override(from, account)
            .await
            .map(|_| ())
            .map_err(|error| L1Error::of(&error, from.create(nonce)))
    }

    pub(super) async fn send_raw(&self, raw: &[u8]) -> Result<B256, L1Error> {
        self.provider
            .send_raw_transaction(raw)
            .await
            .map(|pending| *pending.tx_hash())
            .map_err(|error| L1Error::of(&error, Address::ZERO))
    }
}

/// The chain id that all nodes tell that answer. The first error, if none does.
async fn common_chain_id(
    http: &alloy::transports::http::reqwest::Client,
    urls: &[Url],
) -> Result<u64, L1Error> {
    let asked = urls.iter().map(|url| async move {
        let node = Bounded::new(http.clone(), url.clone(), Bounded::turns());
        let node = RpcClient::new(node, false);
        let told = RootProvider::<Ethereum>::new(node).get_chain_id().await;
        (redact(url), told.map_err(|error| L1Error::of(&error, Address::ZERO)))
    });
    let mut known: Option<(String, u64)> = None;
    let mut silent = None;
    for (node, told) in join_all(asked).await {
        match (told, &known) {
            (Err(error), _) => {
                tracing::warn!(node, %error, "an L1 node does not answer");
                silent.get_or_insert(error);
            }
            (Ok(chain_id), None) => known = Some((node, chain_id)),
            (Ok(chain_id), Some((first, expected))) if chain_id != *expected => {
                return Err(L1Error::ChainsDiffer {
                    first: first.clone(),
                    expected: *expected,
                    second: node,
                    actual: chain_id,
                });
            }
            (Ok(_), Some(_)) => {}
        }
    }
    match known {
        Some((_, chain_id)) => Ok(chain_id),
        None => Err(silent.unwrap_or_else(|| L1Error::BadUrl { url: "(none)".to_owned() })),
    }
}

/// What `txpool_contentFrom` answers: transactions by nonce.
#[derive(Debug, Deserialize)]
struct PoolContent {
    #[serde(default)]
    pending: BTreeMap<String, Transaction>,
    #[serde(default)]
    queued: BTreeMap<String, Transaction>,
}
