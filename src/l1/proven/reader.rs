//! From the anchor down to the deployment, and up again with what our contracts said.

use super::check::{self, Kept, Lie, Wrong};
use super::nodes::{NoAnswer, Nodes, Silence, Wire};
use crate::domain::{Deployment, L1Block, Params, Seconds};
use crate::l1::bindings::{IBatchInbox, IRota};
use crate::l1::error::L1Error;
use crate::l1::replay::ReplayError;
use crate::l1::{convert, facts};
use alloy::consensus::Header;
use alloy::primitives::{Address, B256, Bytes, Log, U256, keccak256};
use alloy::rpc::types::{Filter, Log as ToldLog, Transaction};
use alloy::sol_types::{SolCall as _, SolEvent as _, SolValue as _};
use futures::stream::{self, Stream, StreamExt as _};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests that are made ahead. How many of them are under way at once is the nodes' business.
const AHEAD: usize = 64;

/// The block that everything is proven against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// As far below the newest one that a node tells of as an L1 origin is, so that hardly any reorg takes it back.
    AtDepth,
    /// The block with this number, and whatever hash a node gives it.
    Number(u64),
    /// The block with this hash: then nothing is taken unproven.
    Hash(B256),
}

/// How far reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Headers: how many of how many are proven.
    Headers(u64, u64),
    /// Blocks in which our contracts may have said something: how many of how many are read.
    Blocks(u64, u64),
}

/// Why L1 could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProvenError {
    /// A node told what cannot be, and no other told better.
    #[error(transparent)]
    Lie(#[from] Lie),
    /// No node answered.
    #[error(transparent)]
    Silence(#[from] Silence),
    /// Nodes or deployment are of another chain, or the deployment is not there.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// What is proven does not derive.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// What L1 settled, or froze, has no reading: its contracts are not the ones that this code knows.
    #[error("L1 block {l1_block} has what cannot be read ({reason}): {what}")]
    Unreadable {
        /// The block.
        l1_block: u64,
        /// Why.
        reason: L1Error,
        /// The batches that it settled, each with its transaction.
        what: String,
    },
    /// The chain ends before the deployment begins.
    #[error("L1 block {anchor} is below the deployment's, {first}")]
    TooEarly {
        /// The anchor.
        anchor: u64,
        /// The deployment's block.
        first: u64,
    },
    /// The file names addresses of different deployments.
    #[error(
        "settlement at {settlement} knows no rollups at {rollups}: the deployment file mixes deployments"
    )]
    OtherDeployment {
        /// From the file.
        settlement: Address,
        /// From the file.
        rollups: Address,
    },
    /// The contract tells parameters of another form: another release made it.
    #[error(
        "settlement at {settlement} tells {actual} bytes of parameters, this release reads {expected}: the deployment is of another release, or no node tells the truth"
    )]
    OtherRelease {
        /// From the file.
        settlement: Address,
        /// What its parameters take here.
        expected: usize,
        /// What was told.
        actual: usize,
    },
    /// A block that was proven before is not below the new anchor any more.
    #[error("L1 reorganised: block {number} is not the one that was read")]
    Reorganised {
        /// The newest block that was read.
        number: u64,
    },
}

impl From<NoAnswer> for ProvenError {
    fn from(none: NoAnswer) -> Self {
        match none {
            NoAnswer::Silence(silence) => silence.into(),
            NoAnswer::Lie(lie) => lie.into(),
        }
    }
}

/// An L1 block in which our contracts said something, proven.
#[derive(Clone, Debug)]
pub struct ProvenBlock {
    /// The block.
    pub block: L1Block,
    /// prevrandao of the L1 blocks from which the seeds of the sets come that were frozen in it, by number.
    pub(super) pinned: Vec<(u64, B256)>,
    pub(super) logs: Vec<ToldLog>,
    /// Those that settled something, by hash.
    pub(super) transactions: Vec<(B256, Transaction)>,
    /// Code of the sets that were frozen.
    pub(super) codes: Vec<(Address, Bytes)>,
}

/// L1 up to an anchor, proven.
pub struct Proven<W> {
    pub(super) nodes: Nodes<W>,
    pub(super) deployment: Deployment,
    filter: Filter,
    headers: VecDeque<Kept>,
    unproven: Vec<&'static str>,
}

impl<W: Wire> Proven<W> {
    /// Takes the anchor, and proves the parameters and all headers down to the deployment's block.
    ///
    /// # Errors
    ///
    /// [`ProvenError`] names who lies, or what is in the way.
    pub async fn open(
        nodes: Nodes<W>,
        deployment: Deployment,
        anchor: Anchor,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Self, Params), ProvenError> {
        let chain_id: u64 =
            nodes.ask(0, "eth_chainId", json!([]), |told| check::number("chain id", &told)).await?;
        if chain_id != deployment.chain_id {
            let (expected, actual) = (deployment.chain_id, chain_id);
            return Err(L1Error::WrongChain { expected, actual }.into());
        }
        let filter = facts::verifying_filter(&deployment);
        let mut proven =
            Self { nodes, deployment, filter, headers: VecDeque::new(), unproven: Vec::new() };
        let anchor = proven.anchor(anchor).await?;
        proven.descend(anchor, proven.deployment.block, None, progress).await?;
        match proven.prove_params().await {
            Ok(params) => Ok((proven, params)),
            Err(error) => Err(proven.judged(error).await),
        }
    }

    /// The block that everything is proven against.
    pub fn anchor_block(&self) -> L1Block {
        let none = L1Block { number: 0, hash: B256::ZERO, timestamp: Seconds::new(0) };
        self.headers.back().map_or(none, |kept| kept.block)
    }

    /// Gives back who is asked, to begin anew.
    pub fn into_nodes(self) -> Nodes<W> {
        self.nodes
    }

    /// Who is asked.
    pub const fn nodes(&self) -> &Nodes<W> {
        &self.nodes
    }

    /// What no node had a proof of.
    pub fn unproven(&self) -> &[&'static str] {
        &self.unproven
    }

    /// A proven header by its number, if it is between the deployment's block and the anchor.
    pub fn block(&self, number: u64) -> Option<L1Block> {
        self.kept(number).map(|kept| kept.block)
    }

    fn kept(&self, number: u64) -> Option<&Kept> {
        let first = self.headers.front()?.block.number;
        self.headers.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Goes on to a newer anchor; the headers in between are proven to lead to the old one.
    ///
    /// # Errors
    ///
    /// [`ProvenError::Reorganised`] when they do not: begin anew. Otherwise as [`Self::open`], and nothing changes.
    pub async fn advance(
        &mut self,
        anchor: Anchor,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<bool, ProvenError> {
        let anchor = self.anchor(anchor).await?;
        let before = self.anchor_block();
        let is_same =
            self.kept(anchor.number).is_some_and(|kept| kept.block.hash == anchor.hash_slow());
        if is_same {
            return Ok(false);
        }
        if anchor.number <= before.number {
            return Err(ProvenError::Reorganised { number: before.number });
        }
        self.descend(anchor, before.number.saturating_add(1), Some(before), progress).await?;
        Ok(true)
    }

    async fn anchor(&self, anchor: Anchor) -> Result<Header, ProvenError> {
        let number = match anchor {
            Anchor::Hash(hash) => {
                let read = |told: Value| {
                    let number = check::number(
                        "number of a block",
                        told.get("number").unwrap_or(&Value::Null),
                    )?;
                    check::header(told, number, Some(hash))
                };
                return Ok(self
                    .nodes
                    .ask(0, "eth_getBlockByHash", json!([hash, false]), read)
                    .await?);
            }
            Anchor::Number(number) => number,
            Anchor::AtDepth => {
                let read = |told| check::number("newest block's number", &told);
                let newest: u64 = self.nodes.ask(0, "eth_blockNumber", json!([]), read).await?;
                // Only a hint of which block to take; the parameters are proven later.
                let settlement = self.deployment.settlement;
                let call = Bytes::from(IRota::paramsCall {}.abi_encode());
                let asked = json!([{ "to": settlement, "input": call }, "latest"]);
                let (params, _) = self.parameters(newest, asked, |_, _| Ok(())).await?;
                newest.saturating_sub(params.origin_depth_blocks)
            }
        };
        let first = self.deployment.block;
        if number < first {
            return Err(ProvenError::TooEarly { anchor: number, first });
        }
        let params = json!([hex(number), false]);
        let read = |told| check::header(told, number, None);
        Ok(self.nodes.ask(number, "eth_getBlockByNumber", params, read).await?)
    }

    /// Proves the headers from `anchor` down to `last`, which follows `below` where that is known, and keeps them.
    async fn descend(
        &mut self,
        anchor: Header,
        last: u64,
        below: Option<L1Block>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ProvenError> {
        let all = anchor.number.saturating_sub(last).saturating_add(1);
        if anchor.number < last {
            return Err(ProvenError::TooEarly { anchor: anchor.number, first: last });
        }
        let mut down = VecDeque::new();
        let top = Kept::of(&anchor, facts::may_hold(&self.filter, &anchor));
        let mut parent = top.parent_hash;
        down.push_front(top);
        {
            let numbers = (last..anchor.number).rev();
            let mut told =
                stream::iter(numbers).map(|number| self.told_header(number)).buffered(AHEAD);
            while let Some(next) = told.next().await {
                let (number, header) = next;
                let header = match header.filter(|header| header.hash_slow() == parent) {
                    Some(header) => header,
                    // What it has under this number is not below the anchor. It may know what is by its hash.
                    None => self.header_by_hash(number, parent).await?,
                };
                let kept = Kept::of(&header, facts::may_hold(&self.filter, &header));
                parent = kept.parent_hash;
                down.push_front(kept);
                progress(Progress::Headers(u64::try_from(down.len()).unwrap_or(u64::MAX), all));
            }
        }
        if let Some(below) = below
            && parent != below.hash
        {
            return Err(ProvenError::Reorganised { number: below.number });
        }
        self.headers.append(&mut down);
        Ok(())
    }

    async fn told_header(&self, number: u64) -> (u64, Option<Header>) {
        let params = json!([hex(number), false]);
        let read = |told| check::header(told, number, None);
        (number, self.nodes.ask_once(number, "eth_getBlockByNumber", params, read).await.ok())
    }

    async fn header_by_hash(&self, number: u64, hash: B256) -> Result<Header, ProvenError> {
        let read = |told| check::header(told, number, Some(hash));
        Ok(self.nodes.ask_once(number, "eth_getBlockByHash", json!([hash, false]), read).await?)
    }

    /// The blocks from `from` on in which our contracts said something, in order.
    pub fn blocks<'a>(
        &'a self,
        from: u64,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> impl Stream<Item = Result<ProvenBlock, ProvenError>> + 'a {
        let hits: Vec<&Kept> =
            self.headers.iter().filter(|kept| kept.may_hold && kept.block.number >= from).collect();
        let all = u64::try_from(hits.len()).unwrap_or(u64::MAX);
        let read = stream::iter(hits).map(|kept| self.read(kept)).buffered(AHEAD);
        read.enumerate().filter_map(move |(index, read)| async move {
            progress(Progress::Blocks(
                u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1),
                all,
            ));
            read.transpose()
        })
    }

    async fn read(&self, kept: &Kept) -> Result<Option<ProvenBlock>, ProvenError> {
        let number = kept.block.number;
        let root = kept.receipts_root;
        let params = json!([hex(number)]);
        let read = |told| check::receipts(told, root);
        let receipts = self.nodes.ask_once(number, "eth_getBlockReceipts", params, read).await?;
        let is_ours = |log: &Log| facts::passes(&self.filter, log);
        if !receipts.iter().any(|receipt| receipt.logs().iter().any(is_ours)) {
            return Ok(None);
        }

        let (root, hash) = (kept.transactions_root, kept.block.hash);
        let read = |told| check::transactions(told, root);
        let params = json!([hash, true]);
        let transactions = self.nodes.ask_once(number, "eth_getBlockByHash", params, read).await?;
        let hashes: Vec<B256> = transactions.iter().map(check::hash_of).collect();
        let logs = check::logs(&kept.block, hashes.iter().zip(&receipts), is_ours);
        let mut codes = Vec::new();
        let mut pinned = Vec::new();
        for log in &logs {
            if let Ok(sealed) = IRota::Sealed::decode_log(&log.inner) {
                let (code, _) = self.prove_code(sealed.pointer).await?;
                codes.push((sealed.pointer, code));
                pinned
                    .extend(self.kept(sealed.pinned).map(|kept| (sealed.pinned, kept.prev_randao)));
            }
        }
        let settling = |hash: &B256| {
            logs.iter().any(|log| {
                log.transaction_hash == Some(*hash)
                    && log.topic0() == Some(&IBatchInbox::BatchSettled::SIGNATURE_HASH)
            })
        };
        let transactions =
            hashes.iter().copied().zip(transactions).filter(|(hash, _)| settling(hash)).collect();
        Ok(Some(ProvenBlock { block: kept.block, pinned, logs, transactions, codes }))
    }

    /// The code of a contract, and whether it is proven.
    async fn prove_code(&self, account: Address) -> Result<(Bytes, bool), ProvenError> {
        let Some(anchor) = self.headers.back() else {
            return Err(ProvenError::TooEarly { anchor: 0, first: self.deployment.block });
        };
        let (number, state_root) = (anchor.block.number, anchor.state_root);
        let at = hex(number);
        let read = |told| check::code_hash(told, account, state_root);
        let asked = json!([account, [], at]);
        let expected = match self.nodes.ask(number, "eth_getProof", asked, read).await {
            Ok(hash) => Some(hash),
            Err(NoAnswer::Silence(_)) => None,
            Err(NoAnswer::Lie(lie)) => return Err(lie.into()),
        };
        let read = |told| check::code(told, account, expected);
        let code = self.nodes.ask(number, "eth_getCode", json!([account, at]), read).await?;
        Ok((code, expected.is_some()))
    }

    /// The parameters that the settlement contract tells.
    async fn parameters(
        &self,
        number: u64,
        asked: Value,
        check: impl Fn(&Params, &[U256; convert::PARAMS]) -> Result<(), Wrong> + Send + Sync,
    ) -> Result<Words, ProvenError> {
        let (settlement, expected) =
            (self.deployment.settlement, convert::PARAMS.saturating_mul(32));
        let other = AtomicUsize::new(expected);
        let read = |told: Value| {
            let bytes: Bytes = check::read("parameters", told)?;
            if bytes.len() != expected {
                other.store(bytes.len(), Ordering::Relaxed);
                let problem = format!("are {} bytes, expected {expected}", bytes.len());
                return Err(Wrong::because("parameters", problem));
            }
            let (params, words) = words(&bytes)?;
            check(&params, &words)?;
            Ok((params, words))
        };
        let told = self.nodes.ask(number, "eth_call", asked, read).await;
        // Of another length they are of another release: then no node lied.
        match (told, other.into_inner()) {
            (Ok(told), _) => Ok(told),
            (Err(NoAnswer::Lie(_)), 0) => {
                Err(L1Error::NoContract { name: "settlement", address: settlement }.into())
            }
            (Err(NoAnswer::Lie(_)), actual) if actual != expected => {
                Err(ProvenError::OtherRelease { settlement, expected, actual })
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// What an error means once L1 was looked at again. If the block that all is proven against is there no more, that is
    /// why something does not follow from it, and nobody lied.
    pub async fn judged(&self, error: ProvenError) -> ProvenError {
        if !matches!(error, ProvenError::Lie(_) | ProvenError::Silence(_)) {
            return error;
        }
        let anchor = self.anchor_block();
        let read = |told| check::header(told, anchor.number, None);
        let asked = json!([hex(anchor.number), false]);
        match self.nodes.ask(anchor.number, "eth_getBlockByNumber", asked, read).await {
            Ok(header) if header.hash_slow() != anchor.hash => {
                if let ProvenError::Lie(lie) = &error {
                    self.nodes.take_back(lie);
                }
                ProvenError::Reorganised { number: anchor.number }
            }
            _ => error,
        }
    }

    /// The parameters, whose hash, together with the addresses, the settlement contract holds in its code.
    async fn prove_params(&mut self) -> Result<Params, ProvenError> {
        let settlement = self.deployment.settlement;
        let (code, is_proven) = self.prove_code(settlement).await?;
        if code.is_empty() {
            let (name, address) = ("settlement", settlement);
            return Err(L1Error::NoContract { name, address }.into());
        }
        if !is_proven {
            self.unproven.push("the code of the settlement contract and of frozen sets");
        }
        // The contract holds where rollups are registered; a file with other addresses is not the node's fault.
        if !code.windows(20).any(|window| window == self.deployment.rollups.as_slice()) {
            return Err(ProvenError::OtherDeployment {
                settlement,
                rollups: self.deployment.rollups,
            });
        }
        let number = self.anchor_block().number;
        let call = Bytes::from(IRota::paramsCall {}.abi_encode());
        let asked = json!([{ "to": settlement, "input": call }, hex(number)]);
        let addresses = convert::addresses(&self.deployment);
        let check = |_: &Params, words: &[U256; convert::PARAMS]| {
            let hash = keccak256((*words, addresses.clone()).abi_encode_params());
            if !check::holds_word(&code, hash) {
                let problem = format!(
                    "hash, with the deployment's addresses, to {hash}, which is not in the settlement contract's code"
                );
                return Err(Wrong::because("parameters", problem));
            }
            Ok(())
        };
        Ok(self.parameters(number, asked, check).await?.0)
    }
}

/// The parameters, and the words in which a contract tells them.
type Words = (Params, [U256; convert::PARAMS]);

fn words(bytes: &Bytes) -> Result<Words, Wrong> {
    let words = IRota::paramsCall::abi_decode_returns(bytes)
        .map_err(|error| Wrong::because("parameters", error.to_string()))?;
    let params =
        convert::params(&words).map_err(|error| Wrong::because("parameters", error.to_string()))?;
    Ok((params, words))
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}
