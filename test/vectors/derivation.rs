//! `derivation.json`: what L1 shows, step by step, and what a rollup executes (R32, R33, R43, R44).
//!
//! The inputs are written first and derived as they are read back: nothing counts that does not stand in the file.

use crate::json::{batch_header, block_header, dec, hex, key, word};
use alloy::consensus::TxEip1559;
use alloy::consensus::transaction::{RlpEcdsaEncodableTx, SignableTransaction};
use alloy::primitives::{Address, B256, Bytes, keccak256};
use rota::batch::build_header;
use rota::batch::payload::{Version, encode};
use rota::derive::{Derivation, Item, Noop, NoopReason};
use rota::domain::{
    BatchHeader, BatchNumber, Block, BlockHeader, Epoch, ForcedEntry, Generation, Height, L1Block,
    Millis, Params, Place, RollupId, RollupTransaction, Seconds, tx_root,
};
use serde_json::{Value, json};

/// L1 origins from which on these rollups were registered.
const REGISTERED: [(u64, u64); 3] = [(7, 0), (8, 0), (9, 902)];

/// Heights that one batch can hold (R26).
const MOST: u64 = 1 << 14;

pub(crate) fn params() -> Params {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/script/config/devnet.json"));
    let mut value: Value = serde_json::from_slice(&text.unwrap()).unwrap();
    value["genesis"] = json!(0);
    serde_json::from_value(value).unwrap()
}

/// A transfer of nothing, signed for `chain`, listed under `rollup`.
fn transaction(rollup: u64, chain: u64, nonce: u64) -> RollupTransaction {
    let tx = TxEip1559 { chain_id: chain, nonce, gas_limit: 21_000, ..Default::default() };
    let rsv = key().sign(tx.signature_hash()).to_rsv();
    let mut raw = Vec::new();
    let signature = alloy::primitives::Signature::from_raw_array(&rsv).unwrap();
    tx.eip2718_encode(&signature, &mut raw);
    RollupTransaction { rollup: RollupId::new(rollup), raw: raw.into() }
}

fn tx(rollup: u64, nonce: u64) -> RollupTransaction {
    transaction(rollup, rollup, nonce)
}

fn garbage(rollup: u64) -> RollupTransaction {
    RollupTransaction { rollup: RollupId::new(rollup), raw: Bytes::from_static(&[2, 0xc0]) }
}

fn genesis() -> BlockHeader {
    BlockHeader {
        generation: Generation::new(0),
        height: Height::new(0),
        epoch: Epoch::new(6),
        proposer: Address::ZERO,
        timestamp: Millis::new(1_700_000_000_000),
        parent_hash: B256::ZERO,
        l1_origin_number: 900,
        l1_origin_hash: word("origin", 900),
        forced_through: 0,
        tx_count: 0,
        tx_root: tx_root(&[]),
    }
}

/// The chain that a run settles, and what L1 shows of it.
struct Run {
    name: &'static str,
    /// The last block, as far as headers of blocks say.
    tip: BlockHeader,
    /// Its hash as the last batch says, which a flawed one may have made up.
    tip_hash: B256,
    batches: u64,
    entries: u64,
    steps: Vec<Value>,
}

/// How many entries a block consumes besides, by how much its origin is newer, and its transactions.
type Body = (u64, u64, Vec<RollupTransaction>);

impl Run {
    fn new(name: &'static str) -> Self {
        let tip = genesis();
        Self { name, tip_hash: tip.hash(), tip, batches: 0, entries: 0, steps: Vec::new() }
    }

    fn entry(mut self, transaction: &RollupTransaction, registered: bool) -> Self {
        self.steps.push(json!({
            "kind": "entry", "entry": dec(self.entries), "rollup": dec(transaction.rollup.get()),
            "raw": hex(&transaction.raw), "registered": registered,
        }));
        self.entries += 1;
        self
    }

    fn escape(mut self, through: u64) -> Self {
        self.steps.push(json!({ "kind": "escape", "through": dec(through) }));
        self
    }

    fn restart(mut self) -> Self {
        self.tip.generation = Generation::new(self.tip.generation.get() + 1);
        self
    }

    fn blocks(&self, bodies: &[Body]) -> Vec<Block> {
        let (mut parent, mut parent_hash) = (self.tip.clone(), self.tip_hash);
        let mut blocks = Vec::new();
        for (forced, origins, transactions) in bodies {
            let origin = parent.l1_origin_number + origins;
            parent = BlockHeader {
                height: parent.height.next(),
                proposer: Address::from_word(word("proposer", 1)),
                timestamp: Millis::new(parent.timestamp.get() + 250),
                parent_hash,
                l1_origin_number: origin,
                l1_origin_hash: word("origin", origin),
                forced_through: parent.forced_through + forced,
                tx_count: transactions.len() as u32,
                tx_root: tx_root(transactions),
                ..parent
            };
            parent_hash = parent.hash();
            blocks.push(Block { header: parent.clone(), transactions: transactions.clone() });
        }
        blocks
    }

    /// Settles blocks as they are.
    fn settle(self, bodies: &[Body]) -> Self {
        self.settle_as(bodies, |_, _| {})
    }

    /// Settles blocks under a header, or with a payload, that `change` may have changed.
    fn settle_as(
        mut self,
        bodies: &[Body],
        change: impl Fn(&mut BatchHeader, &mut Vec<u8>),
    ) -> Self {
        let blocks = self.blocks(bodies);
        let mut payload = encode(&blocks, Version::Zstd).unwrap().to_vec();
        let mut header = build_header(&blocks, Epoch::new(6), &payload).unwrap();
        change(&mut header, &mut payload);
        self.tip = blocks.last().unwrap().header.clone();
        self.show(&header, &payload)
    }

    fn show(mut self, header: &BatchHeader, payload: &[u8]) -> Self {
        self.batches += 1;
        let mut step = batch_header(header);
        step.insert("kind".to_owned(), json!("batch"));
        step.insert("batch".to_owned(), dec(self.batches));
        step.insert("payload".to_owned(), hex(payload));
        self.steps.push(Value::Object(step));
        self.tip.height = header.last_height;
        self.tip.forced_through = header.forced_through;
        self.tip_hash = header.last_block_hash;
        self
    }

    /// Settles so many heights with a payload that holds no blocks.
    fn settle_nothing(self, heights: u64) -> Self {
        let last = Height::new(self.tip.height.get() + heights);
        let header = BatchHeader {
            generation: self.tip.generation,
            epoch: Epoch::new(6),
            first_height: self.tip.height.next(),
            last_height: last,
            parent_block_hash: self.tip_hash,
            blocks_root: word("nobody's root", last.get()),
            last_block_hash: word("nobody's block", last.get()),
            forced_through: self.tip.forced_through,
            l1_origin_number: self.tip.l1_origin_number,
            l1_origin_hash: self.tip.l1_origin_hash,
            timestamp: Seconds::new(self.tip.timestamp.get() / 1_000),
            payload_hash: keccak256([]),
            blobs_hash: B256::ZERO,
            usage_hash: keccak256([]),
            state_root: B256::ZERO,
            regular_since: Seconds::new(0),
        };
        self.show(&header, &[])
    }

    fn value(mut self) -> Value {
        let genesis = genesis();
        let mut derivation = Derivation::new(&params(), &genesis);
        for step in &mut self.steps {
            derive(&mut derivation, step);
        }
        json!({
            "name": self.name,
            "genesis": block_header(&genesis),
            "registered": REGISTERED.iter()
                .map(|(rollup, from)| json!({ "rollup": dec(*rollup), "from": dec(*from) }))
                .collect::<Vec<_>>(),
            "steps": self.steps,
        })
    }
}

/// Takes a step as it stands in the file, and adds what follows from it.
fn derive(derivation: &mut Derivation, step: &mut Value) {
    let (items, noops) = match step["kind"].as_str().unwrap() {
        "entry" => {
            let transaction = RollupTransaction {
                rollup: RollupId::new(u64_of(step, "rollup")),
                raw: bytes_of(step, "raw").into(),
            };
            let entry = ForcedEntry {
                index: u64_of(step, "entry"),
                sender: Address::ZERO,
                fee_wei: 0,
                block: L1Block { number: 0, hash: B256::ZERO, timestamp: Seconds::new(0) },
                transaction,
            };
            derivation.enqueue(entry, step["registered"].as_bool().unwrap()).unwrap();
            return;
        }
        "escape" => {
            let escape = derivation.escape(u64_of(step, "through")).unwrap();
            (escape.items, escape.noops)
        }
        _ => {
            let number = BatchNumber::new(u64_of(step, "batch"));
            let (header, payload) = (header_of(step), bytes_of(step, "payload"));
            let registered = |rollup: RollupId, origin: u64| {
                REGISTERED.iter().any(|(id, from)| *id == rollup.get() && origin >= *from)
            };
            let batch = derivation.settle(number, &header, &payload, &registered).unwrap();
            step["flawed"] = json!(batch.flaw.is_some());
            (batch.items, batch.noops)
        }
    };
    step["executed"] = items.iter().map(executed).collect();
    step["dropped"] = noops.iter().map(dropped).collect();
}

fn place(place: Place) -> Value {
    match place {
        Place::Block { height, index } => json!({ "height": dec(height.get()), "index": index }),
        Place::Forced { height, entry } => {
            json!({ "height": dec(height.get()), "entry": dec(entry) })
        }
    }
}

fn executed(item: &Item) -> Value {
    let mut value = place(item.place);
    value["rollup"] = dec(item.transaction.transaction.rollup.get());
    value["hash"] = hex(item.transaction.hash);
    value["sender"] = hex(item.transaction.sender);
    value["nonce"] = dec(item.transaction.nonce);
    value
}

fn dropped(noop: &Noop) -> Value {
    let mut value = place(noop.place);
    value["rollup"] = dec(noop.transaction.rollup.get());
    value["hash"] = hex(noop.transaction.hash());
    value["reason"] = match &noop.reason {
        NoopReason::Duplicate { first } => {
            value["keptAt"] = dec(first.get());
            json!("duplicate")
        }
        NoopReason::Invalid(_) => json!("invalid"),
        NoopReason::Unregistered => json!("unregistered"),
    };
    value
}

fn u64_of(value: &Value, key: &str) -> u64 {
    value[key].as_str().unwrap().parse().unwrap()
}

fn bytes_of(value: &Value, key: &str) -> Vec<u8> {
    alloy::primitives::hex::decode(value[key].as_str().unwrap()).unwrap()
}

fn header_of(value: &Value) -> BatchHeader {
    let hash = |key: &str| B256::from_slice(&bytes_of(value, key));
    BatchHeader {
        generation: Generation::new(value["generation"].as_u64().unwrap() as u32),
        epoch: Epoch::new(u64_of(value, "epoch")),
        first_height: Height::new(u64_of(value, "firstHeight")),
        last_height: Height::new(u64_of(value, "lastHeight")),
        parent_block_hash: hash("parentBlockHash"),
        blocks_root: hash("blocksRoot"),
        last_block_hash: hash("lastBlockHash"),
        forced_through: u64_of(value, "forcedThrough"),
        l1_origin_number: u64_of(value, "l1OriginNumber"),
        l1_origin_hash: hash("l1OriginHash"),
        timestamp: Seconds::new(u64_of(value, "timestamp")),
        payload_hash: hash("payloadHash"),
        blobs_hash: hash("blobsHash"),
        usage_hash: hash("usageHash"),
        state_root: hash("stateRoot"),
        regular_since: Seconds::new(u64_of(value, "regularSince")),
    }
}

/// Where each field of a header that is not what the blocks say leads.
fn changed_headers() -> Vec<Run> {
    type Change = (&'static str, fn(&mut BatchHeader, &mut Vec<u8>));
    let changes: [Change; 13] = [
        ("a payload that does not hash to payloadHash", |_, payload| payload.push(0)),
        ("a payload that does not decode", |header, payload| {
            *payload = vec![1];
            header.payload_hash = keccak256(payload);
        }),
        ("another blocksRoot", |header, _| header.blocks_root = word("another", 1)),
        ("another lastBlockHash", |header, _| header.last_block_hash = word("another", 2)),
        ("another forcedThrough", |header, _| header.forced_through = 2),
        ("another l1OriginNumber", |header, _| header.l1_origin_number += 1),
        ("another l1OriginHash", |header, _| header.l1_origin_hash = word("another", 3)),
        ("another timestamp", |header, _| {
            header.timestamp = Seconds::new(header.timestamp.get() + 1)
        }),
        ("another usageHash", |header, _| header.usage_hash = word("another", 4)),
        ("another epoch, which is no flaw", |header, _| header.epoch = Epoch::new(8)),
        ("another blobsHash, which is no flaw", |header, _| header.blobs_hash = word("another", 5)),
        ("another stateRoot, which is no flaw", |header, _| header.state_root = word("another", 6)),
        ("another regularSince, which is no flaw", |header, _| {
            header.regular_since = Seconds::new(1)
        }),
    ];
    let run = |(name, change): Change| {
        Run::new(name)
            .entry(&tx(7, 20), true)
            .entry(&tx(8, 20), true)
            .settle_as(&[(0, 0, vec![tx(7, 0)]), (1, 1, vec![tx(8, 0)])], change)
            .settle(&[(0, 0, vec![tx(7, 0), tx(7, 20), tx(8, 20)])])
    };
    changes.into_iter().map(run).collect()
}

/// A transaction that comes again just within 2^18 heights of where it was kept, and just beyond; heights are passed in
/// batches whose payload is none.
fn comes_again() -> Run {
    let mut run =
        Run::new("what comes again after 2^18 heights").settle(&[(0, 0, vec![tx(7, 0), tx(7, 1)])]);
    for _ in 1..16 {
        run = run.settle_nothing(MOST);
    }
    // Height 1 kept them. Of heights 2^18 and 2^18 + 1, the first is still within.
    run.settle_nothing(MOST - 2).settle(&[
        (0, 0, vec![tx(7, 0)]),
        (0, 0, vec![tx(7, 0), tx(7, 1)]),
        (0, 0, vec![tx(7, 0), tx(7, 1)]),
    ])
}

fn runs() -> Vec<Run> {
    let mut runs = vec![
        Run::new("entries first, then each block's own; what has no effect spoils nothing else")
            .entry(&tx(7, 3), true)
            .entry(&garbage(7), true)
            .entry(&tx(9, 3), false)
            .entry(&tx(8, 3), true)
            .settle(&[
                (2, 0, vec![tx(7, 0), garbage(7), tx(8, 0), tx(8, 0)]),
                (1, 1, vec![transaction(7, 8, 1), tx(7, 3), tx(9, 0)]),
                (0, 1, vec![tx(9, 0), tx(10, 0), tx(7, u64::MAX - 1), tx(7, u64::MAX)]),
            ])
            .settle(&[(1, 0, vec![tx(8, 3), tx(7, 0)])]),
        Run::new("escapes between batches, of what is not consumed yet")
            .entry(&tx(7, 0), true)
            .entry(&tx(7, 1), true)
            .entry(&tx(7, 2), true)
            .escape(1)
            .settle(&[(2, 0, vec![tx(7, 0), tx(7, 3)])])
            .escape(1)
            .escape(3)
            .settle(&[(1, 0, vec![tx(7, 2)])]),
        Run::new("a restart: heights go on, and so does what was kept")
            .settle(&[(0, 0, vec![tx(7, 0)])])
            .restart()
            .settle(&[(0, 40, vec![tx(7, 0), tx(7, 1)])]),
    ];
    runs.extend(changed_headers());
    runs.push(comes_again());
    runs
}

#[test]
fn derivation_vectors_hold() {
    let runs: Vec<Value> = runs().into_iter().map(Run::value).collect();
    crate::hold("derivation.json", &json!({ "runs": runs }));
}
