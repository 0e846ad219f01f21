//! The agent's core as a whole, without network and engine: what clients and peers send is decoded, and goes through pool,
//! block building, judging, store, splitter, payload and derivation; through the intake's thread only where a test starts one.
//! Whatever it is, all of it comes to an end within counted steps, and goes on working afterwards.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers of the tests' own making")]

mod forced;
mod fuzz;
mod orders;
mod rlp;
mod wallet;

use crate::agreement::{BlockSource as _, judge_body};
use crate::batch::payload::{Version, block_bytes, encode, max_body_bytes};
use crate::batch::{Splitter, build_header};
use crate::derive::{Derivation, Item};
use crate::domain::{
    BatchNumber, Block, BlockHeader, Certificate, DecidedBlock, Epoch, Params, RollupId,
    RollupTransaction, SequencerId, SignedTransaction, tx_root,
};
use crate::l1::Allowance;
use crate::mempool::{Admission, Limits, Origin, Pool, Refusal, admit_forwarded};
use crate::testing::{Surroundings, header};
use alloy::primitives::{B256, Bytes, U256};
use std::collections::HashSet;
use std::sync::Arc;

/// Rollups that these transactions name.
const ROLLUPS: [u64; 4] = [4_242, 1, u64::MAX - 1, u64::MAX];

/// Who forwards.
const PEER: SequencerId = SequencerId::new(9);

/// One agent's core.
struct Core {
    around: Surroundings,
    params: Params,
    pool: Arc<Pool>,
    parent: BlockHeader,
    splitter: Splitter,
    derivation: Derivation,
    /// Decided blocks that no batch holds yet.
    open: Vec<Block>,
    batches: u64,
    /// Transactions in decided blocks, without repetition.
    ordered: HashSet<(RollupId, B256)>,
    /// Of those, what was derived to be executed.
    derived: HashSet<(RollupId, B256)>,
}

impl Core {
    fn new(limits: Limits) -> Self {
        let params = Params::for_tests();
        let around = Surroundings::new(params.clone());
        around.mirror.update(|mirror| {
            for rollup in ROLLUPS.map(RollupId::new) {
                mirror.rollups.insert(rollup, Allowance::new(0, U256::MAX));
            }
        });
        let pool = Pool::new(limits, around.store.clone(), around.mirror.clone()).unwrap();
        let genesis = header(0, B256::ZERO);
        Self {
            pool: Arc::new(pool),
            splitter: Splitter::new(&params, &genesis),
            derivation: Derivation::new(&params, &genesis),
            parent: genesis,
            around,
            params,
            open: Vec::new(),
            batches: 0,
            ordered: HashSet::new(),
            derived: HashSet::new(),
        }
    }

    /// A process that ended, and begins anew with an empty pool.
    fn begin_anew(&mut self) {
        let (store, mirror) = (self.around.store.clone(), self.around.mirror.clone());
        self.pool = Arc::new(Pool::new(self.pool.limits().clone(), store, mirror).unwrap());
    }

    /// What a client gets to hear.
    fn submit(&self, raw: &Bytes) -> Result<Admission, Refusal> {
        let signed = SignedTransaction::decode(raw.clone(), self.pool.limits().transaction_bytes)?;
        self.pool.admit(signed, Origin::Local)
    }

    /// What a peer forwards under `rollup`. False if it loses its connection for that.
    fn forward(&self, rollup: RollupId, raw: &Bytes) -> bool {
        admit_forwarded(&self.pool, PEER, &[RollupTransaction { rollup, raw: raw.clone() }])
    }

    /// Proposes, judges and decides a block of what waits; the number of its transactions.
    async fn order(&mut self) -> usize {
        let body = self.pool.collect(max_body_bytes(&self.params), &|_| true);
        let count = body.len();
        assert!(self.decide(body).await, "an own block is valid");
        count
    }

    /// Judges a block with this body, and decides it if it is valid.
    async fn decide(&mut self, transactions: Vec<RollupTransaction>) -> bool {
        let header = BlockHeader {
            tx_count: transactions.len().try_into().unwrap(),
            tx_root: tx_root(&transactions),
            ..header(self.parent.height.next().get(), self.parent.hash())
        };
        let block = Arc::new(Block { header: header.clone(), transactions });
        let Some(included) = judge_body(&self.params, &block, self.pool.as_ref()).await else {
            return false;
        };
        let block = Arc::unwrap_or_clone(block);
        let decided = DecidedBlock { block: block.clone(), certificate: Certificate::default() };
        self.around.store.append_decided(&decided, &included).unwrap();
        self.ordered.extend(block.transactions.iter().map(|one| (one.rollup, one.hash())));
        let cut = self.splitter.push(&header, block_bytes(&block) - 128).unwrap();
        self.parent = header;
        self.open.push(block);
        if let Some(range) = cut {
            let end = self.open.iter().position(|one| one.header.height > range.last);
            let later = self.open.split_off(end.unwrap_or(self.open.len()));
            let batch = std::mem::replace(&mut self.open, later);
            self.settle(&batch);
        }
        true
    }

    /// Settles what is open, whatever the splitter says.
    fn settle_all(&mut self) {
        let batch = std::mem::take(&mut self.open);
        if !batch.is_empty() {
            self.settle(&batch);
            self.splitter = Splitter::new(&self.params, &self.parent);
        }
    }

    fn settle(&mut self, blocks: &[Block]) {
        let payload = encode(blocks, Version::Zstd).unwrap();
        let header = build_header(blocks, Epoch::new(1), &payload).unwrap();
        self.batches += 1;
        let number = BatchNumber::new(self.batches);
        let derived = self.derivation.settle(number, &header, &payload, &|_, _| true).unwrap();
        assert_eq!(derived.flaw, None);
        assert_eq!(derived.blocks, blocks);
        let item = |item: &Item| (item.transaction.transaction.rollup, item.transaction.hash);
        self.derived.extend(derived.items.iter().map(item));
    }

    /// Orders until nothing is left that could be. Each block takes something, or the pool would offer it for ever.
    async fn drain(&mut self) {
        let waiting = self.pool.waiting().transactions;
        for _ in 0..=waiting {
            if self.order().await == 0 {
                self.settle_all();
                assert_eq!(self.derived, self.ordered, "what was ordered is derived, once");
                return;
            }
        }
        panic!("{waiting} transactions were not ordered in as many blocks");
    }
}
