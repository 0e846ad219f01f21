//! What several modules' tests need: signed transactions, and an agent's surroundings without an agent.

use crate::crypto::SecretKey;
use crate::domain::{
    BatchHeader, Block, BlockHeader, Certificate, DecidedBlock, Epoch, ForcedEntry, Generation,
    Height, L1Block, Millis, Params, RollupId, RollupTransaction, Seconds, SignedTransaction,
};
use crate::l1::{Allowance, Mirror, MirrorHandle};
use crate::storage::{IncludedTransaction, Store};
use alloy::consensus::transaction::RlpEcdsaEncodableTx;
use alloy::consensus::{SignableTransaction, TxEip1559, TxEip7702};
use alloy::eips::eip7702;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};

/// The rollup of these tests.
pub(crate) const ROLLUP: RollupId = RollupId::new(4242);

/// A key made of one byte.
pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes([n; 32]).unwrap()
}

/// An EIP-1559 transaction of [`ROLLUP`], signed.
pub(crate) fn raw_transaction(from: &SecretKey, nonce: u64) -> Bytes {
    raw_priced(from, nonce, ROLLUP, 1_000_000_000)
}

/// The same with another rollup and fee.
pub(crate) fn raw_priced(from: &SecretKey, nonce: u64, rollup: RollupId, fee_wei: u128) -> Bytes {
    signed(from, TxEip1559 { chain_id: rollup.get(), ..plain(nonce, fee_wei) })
}

/// The same with so many bytes of input.
pub(crate) fn raw_transaction_with(from: &SecretKey, nonce: u64, input: usize) -> Bytes {
    let input = vec![1; input].into();
    signed(from, TxEip1559 { input, gas_limit: 30_000_000, ..plain(nonce, 1_000_000_000) })
}

fn plain(nonce: u64, fee_wei: u128) -> TxEip1559 {
    TxEip1559 {
        chain_id: ROLLUP.get(),
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee_wei,
        max_priority_fee_per_gas: fee_wei,
        to: TxKind::Call(Address::repeat_byte(0xaa)),
        value: U256::from(1),
        ..Default::default()
    }
}

fn signed(from: &SecretKey, tx: TxEip1559) -> Bytes {
    let signature = from.sign(tx.signature_hash()).to_rsv();
    let signature = alloy::primitives::Signature::from_raw_array(&signature).unwrap();
    let mut raw = Vec::new();
    tx.eip2718_encode(&signature, &mut raw);
    raw.into()
}

/// A type 4 transaction of [`ROLLUP`] with so many authorizations, all of an account that is not the sender.
pub(crate) fn raw_delegating(from: &SecretKey, nonce: u64, authorizations: usize) -> Bytes {
    let by = key(0x77);
    let authorization = |nonce| {
        let authorization = eip7702::Authorization {
            chain_id: U256::from(ROLLUP.get()),
            address: Address::ZERO,
            nonce,
        };
        let signature = by.sign(authorization.signature_hash()).to_rsv();
        let signature = alloy::primitives::Signature::from_raw_array(&signature).unwrap();
        authorization.into_signed(signature)
    };
    let count = u64::try_from(authorizations).unwrap();
    let tx = TxEip7702 {
        chain_id: ROLLUP.get(),
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        authorization_list: (0..count).map(authorization).collect(),
        ..Default::default()
    };
    let signature = from.sign(tx.signature_hash()).to_rsv();
    let signature = alloy::primitives::Signature::from_raw_array(&signature).unwrap();
    let mut raw = Vec::new();
    tx.eip2718_encode(&signature, &mut raw);
    raw.into()
}

/// The same, decoded.
pub(crate) fn transaction(from: &SecretKey, nonce: u64) -> SignedTransaction {
    SignedTransaction::decode(raw_transaction(from, nonce), 1 << 16).unwrap()
}

/// The parameters of the devnet profile.
pub(crate) fn params() -> Params {
    let mut profile: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("../script/config/devnet.json")).unwrap();
    profile.insert("genesis".into(), 1_700_000_000_u64.into());
    serde_json::from_value(profile.into()).unwrap()
}

/// A store in a folder of its own and a mirror in which [`ROLLUP`] is registered.
pub(crate) struct Surroundings {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) mirror: MirrorHandle,
}

impl Surroundings {
    pub(crate) fn new(params: Params) -> Self {
        Self::within(tempfile::tempdir().unwrap(), params)
    }

    /// The same in memory where the system has such a folder, for tests that write much.
    pub(crate) fn in_memory(params: Params) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self::within(folder, params)
    }

    fn within(folder: tempfile::TempDir, params: Params) -> Self {
        let store = Store::open(folder.path().join("store.redb")).unwrap();
        let mut mirror = Mirror::new(params);
        mirror.rollups.insert(ROLLUP, Allowance::new(0, U256::MAX));
        mirror.read_through = Some((0, 0));
        let genesis = header(0, B256::ZERO);
        store.write_genesis(&genesis).unwrap();
        mirror.genesis = Some(genesis);
        Self { folder, store, mirror: MirrorHandle::new(mirror) }
    }

    /// Decides the next block with these transactions, and returns its height.
    pub(crate) fn decide(&self, transactions: &[SignedTransaction]) -> Height {
        self.decide_by(Address::repeat_byte(1), transactions)
    }

    /// The same, by this proposer.
    pub(crate) fn decide_by(&self, by: Address, transactions: &[SignedTransaction]) -> Height {
        self.decide_consuming(0, by, transactions)
    }

    /// The same, with so many more forced entries.
    pub(crate) fn decide_consuming(
        &self,
        forced: u64,
        by: Address,
        transactions: &[SignedTransaction],
    ) -> Height {
        let (tip, parent) = self.store.decided_tip().unwrap().unwrap();
        let mut header = header(tip.next().get(), parent);
        header.proposer = by;
        let (_, parent) = self.store.header(tip).unwrap().unwrap();
        header.forced_through = parent.forced_through.saturating_add(forced);
        header.tx_count = transactions.len().try_into().unwrap();
        let included: Vec<_> = transactions.iter().map(IncludedTransaction::from).collect();
        let body: Vec<RollupTransaction> =
            transactions.iter().map(|one| one.transaction.clone()).collect();
        let height = header.height;
        let decided = DecidedBlock {
            block: Block { header, transactions: body },
            certificate: Certificate::default(),
        };
        self.store.append_decided(&decided, &included).unwrap();
        height
    }
}

/// An entry of the forced queue, in L1 block 100 + `index`.
pub(crate) fn forced(index: u64, transaction: RollupTransaction) -> ForcedEntry {
    let block = L1Block {
        number: index.saturating_add(100),
        hash: B256::repeat_byte(1),
        timestamp: Seconds::new(1_700_000_000),
    };
    ForcedEntry { index, sender: Address::repeat_byte(0xbb), fee_wei: 7, block, transaction }
}

/// A header on top of `parent_hash`.
pub(crate) fn header(height: u64, parent_hash: B256) -> BlockHeader {
    BlockHeader {
        generation: Generation::new(0),
        height: Height::new(height),
        epoch: Epoch::new(0),
        proposer: Address::repeat_byte(1),
        timestamp: Millis::new(height.saturating_mul(250).saturating_add(1_700_000_000_000)),
        parent_hash,
        l1_origin_number: 1,
        l1_origin_hash: B256::repeat_byte(1),
        forced_through: 0,
        tx_count: 0,
        tx_root: B256::ZERO,
    }
}

/// A batch header whose heights end at `last_height`.
pub(crate) fn batch_header(last_height: u64) -> BatchHeader {
    BatchHeader {
        generation: Generation::new(0),
        epoch: Epoch::new(0),
        first_height: Height::new(1),
        last_height: Height::new(last_height),
        parent_block_hash: B256::repeat_byte(1),
        blocks_root: B256::repeat_byte(2),
        last_block_hash: B256::repeat_byte(3),
        forced_through: 0,
        l1_origin_number: 1,
        l1_origin_hash: B256::repeat_byte(1),
        timestamp: Seconds::new(1_700_000_001),
        payload_hash: B256::repeat_byte(4),
        blobs_hash: B256::ZERO,
        usage_hash: B256::repeat_byte(5),
        state_root: B256::ZERO,
        regular_since: Seconds::new(0),
    }
}

/// The header of a batch that ends with the block that shows that it does.
pub(crate) fn regular(header: BatchHeader) -> BatchHeader {
    BatchHeader { regular_since: header.timestamp, ..header }
}
