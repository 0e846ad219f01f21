//! `payload.json`: blocks, the bytes that carry them, and the header that stands for them (R21, R24, R43).

use crate::json::{batch_header, block_header, bytes, dec, domain, hex, number, signed, word};
use alloy::primitives::{Address, Bytes};
use rota::batch::payload::{Version, encode, encode_cheapest, unpack};
use rota::batch::{body, build_header, open, usage};
use rota::domain::{
    Block, BlockHeader, Epoch, Generation, Height, Millis, RollupId, RollupTransaction, tx_root,
};
use serde_json::{Value, json};

const LIMIT: usize = 100_000;

/// What one block says, relative to the block before.
struct Step {
    epochs: u64,
    proposer: u64,
    millis: u64,
    origins: u64,
    forced: u64,
    /// Rollup and size of each transaction.
    body: Vec<(u64, usize)>,
}

fn step(proposer: u64, millis: u64, body: &[(u64, usize)]) -> Step {
    Step { epochs: 0, proposer, millis, origins: 0, forced: 0, body: body.to_vec() }
}

fn chain(name: &str, steps: &[Step]) -> Vec<Block> {
    let mut parent = BlockHeader {
        generation: Generation::new(1),
        height: Height::new(41),
        epoch: Epoch::new(6),
        proposer: Address::ZERO,
        timestamp: Millis::new(1_700_000_000_500),
        parent_hash: word(name, 0),
        l1_origin_number: 900,
        l1_origin_hash: word("origin", 900),
        forced_through: 2,
        tx_count: 0,
        tx_root: tx_root(&[]),
    };
    let mut count = 0;
    let mut blocks = Vec::new();
    for step in steps {
        let transactions: Vec<RollupTransaction> = step
            .body
            .iter()
            .map(|(rollup, size)| {
                count += 1;
                RollupTransaction {
                    rollup: RollupId::new(*rollup),
                    raw: bytes(name, count, *size).into(),
                }
            })
            .collect();
        let origin = parent.l1_origin_number + step.origins;
        parent = BlockHeader {
            generation: parent.generation,
            height: parent.height.next(),
            epoch: Epoch::new(parent.epoch.get() + step.epochs),
            proposer: Address::from_word(word("proposer", step.proposer)),
            timestamp: Millis::new(parent.timestamp.get() + step.millis),
            parent_hash: parent.hash(),
            l1_origin_number: origin,
            l1_origin_hash: word("origin", origin),
            forced_through: parent.forced_through + step.forced,
            tx_count: transactions.len() as u32,
            tx_root: tx_root(&transactions),
        };
        blocks.push(Block { header: parent.clone(), transactions });
    }
    blocks
}

fn chains() -> Vec<(&'static str, Vec<Block>)> {
    let empty = [step(1, 250, &[])];
    let one = [step(1, 250, &[(4_242, 110)])];
    let small = [step(1, 0, &[(1, 1), (1, 127), (2, 128), (1, 300)])];
    let mixed = [
        Step { origins: 3, epochs: 1, ..step(1, 250, &[(1, 110), (1, 111), (4_242, 112)]) },
        Step { forced: 1, ..step(1, 251, &[]) },
        Step { origins: 1, ..step(2, 249, &[(u64::MAX, 200)]) },
        Step { forced: 16, ..step(1, 1_000, &[]) },
        Step { epochs: 2, origins: 40, ..step(3, 0, &[(4_242, 90), (1, 110)]) },
        step(3, 5, &[(1, 110)]),
    ];
    let many: Vec<Step> = (0..20)
        .map(|i| Step {
            origins: u64::from(i % 4 == 0),
            epochs: u64::from(i == 10),
            ..step(i / 8, 240 + number("millis", i) % 20, &[(1, 80 + (i as usize) % 40); 2])
        })
        .collect();
    // Few distinct bytes, as call data has: here zstd earns its frame.
    let mut alike = chain("alike", &[step(1, 250, &[(1, 200); 8])]);
    for (index, transaction) in alike[0].transactions.iter_mut().enumerate() {
        let mut raw = bytes("alike", 0, 200);
        raw[199] = index as u8;
        transaction.raw = raw.into();
    }
    alike[0].header.tx_root = tx_root(&alike[0].transactions);
    vec![
        ("an empty block", chain("empty", &empty)),
        ("one transaction", chain("one", &one)),
        ("lengths around 128", chain("small", &small)),
        ("every code of a row", chain("mixed", &mixed)),
        ("twenty blocks", chain("many", &many)),
        ("transactions that are alike", alike),
    ]
}

fn block(block: &Block) -> Value {
    let mut fields = block_header(&block.header);
    let body = &block.transactions;
    fields.insert("body".to_owned(), hex(body::encode(body)));
    fields.insert("rollups".to_owned(), body.iter().map(|tx| dec(tx.rollup.get())).collect());
    fields.insert("raws".to_owned(), body.iter().map(|tx| hex(&tx.raw)).collect());
    Value::Object(fields)
}

fn vector(name: &str, version: &str, blocks: &[Block], payload: &[u8]) -> Value {
    let header = build_header(blocks, Epoch::new(11), payload).unwrap();
    let usage = usage(blocks);
    let tokens: u64 = payload.iter().map(|byte| if *byte == 0 { 1 } else { 4 }).sum();
    let Value::Object(mut fields) = signed(batch_header(&header), domain().batch(&header)) else {
        panic!("a signed header is an object");
    };
    let more = json!({
        "name": format!("{name}, {version}"),
        "payload": hex(payload),
        "tokens": dec(tokens),
        "usageRollups": usage.iter().map(|entry| dec(entry.rollup.get())).collect::<Vec<_>>(),
        "usageBytes": usage.iter().map(|entry| entry.bytes).collect::<Vec<_>>(),
        "blocks": blocks.iter().map(block).collect::<Vec<_>>(),
    });
    fields.extend(more.as_object().unwrap().clone());
    Value::Object(fields)
}

fn vectors() -> Vec<(Vec<Block>, Bytes, Value)> {
    let mut vectors = Vec::new();
    for (name, blocks) in chains() {
        for (kind, version) in [("raw", Version::Raw), ("zstd", Version::Zstd)] {
            let payload = encode(&blocks, version).unwrap();
            let value = vector(name, kind, &blocks, &payload);
            vectors.push((blocks.clone(), payload, value));
        }
    }
    vectors
}

/// Payloads of version 1, and what they hold or that nobody may read them: the accepted form of a frame, around its edges.
fn frames() -> Vec<(&'static str, usize, Vec<u8>)> {
    let content: Vec<u8> = (0..300_u16).map(|i| (i / 9) as u8).collect();
    let frame = zstd::bulk::compress(&content, 9).unwrap();
    let empty = zstd::bulk::compress(&[], 9).unwrap();
    let skippable: &[u8] = &[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let blocks = &frame[7..];
    let head = |descriptor: u8, rest: &[u8]| {
        [&[0x28, 0xb5, 0x2f, 0xfd, descriptor][..], rest, blocks].concat()
    };
    // A block that is one byte many times, and the last.
    let repeated =
        |length: usize| [(length << 3 | 3) as u8, (length >> 5) as u8, (length >> 13) as u8, 7];
    let small =
        |size: u8, blocks: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size][..], blocks].concat();
    let four = |size: u32, length: usize| {
        [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &size.to_le_bytes(), &repeated(length)].concat()
    };
    vec![
        ("a frame", LIMIT, frame.clone()),
        ("a frame of another level", LIMIT, zstd::bulk::compress(&content, 19).unwrap()),
        ("a frame that holds as much as it may", 300, frame.clone()),
        ("a frame that holds a byte more than it may", 299, frame.clone()),
        ("a size of four bytes", LIMIT, four(65_792, 65_792)),
        ("a size of four bytes where two would do", LIMIT, four(65_791, 65_791)),
        ("a size that goes beyond every batch", LIMIT, four(u32::MAX, 4)),
        ("an empty frame", LIMIT, empty.clone()),
        ("nothing", LIMIT, Vec::new()),
        ("two frames", LIMIT, [&frame[..], &frame].concat()),
        ("a frame and an empty one", LIMIT, [&frame[..], &empty].concat()),
        ("an empty frame and one", LIMIT, [&empty[..], &frame].concat()),
        ("a frame to be skipped alone", LIMIT, skippable.to_vec()),
        ("a frame to be skipped before", LIMIT, [skippable, &frame].concat()),
        ("a frame to be skipped after", LIMIT, [&frame[..], skippable].concat()),
        ("a byte after", LIMIT, [&frame[..], &[0]].concat()),
        ("a frame that was cut", LIMIT, frame[..frame.len() - 1].to_vec()),
        ("a window of 2^30 bytes", LIMIT, head(0x40, &[0xa0, 44, 0])),
        ("a window of 2^17 bytes", LIMIT, head(0x40, &[0x38, 44, 0])),
        ("no size", LIMIT, head(0x00, &[0x38])),
        ("a size of eight bytes", LIMIT, head(0xe0, &300_u64.to_le_bytes())),
        ("a checksum", LIMIT, [head(0x64, &[44, 0]), vec![1, 2, 3, 4]].concat()),
        ("a dictionary", LIMIT, head(0x61, &[0, 44, 0])),
        ("the unused bit", LIMIT, head(0x70, &[44, 0])),
        ("the reserved bit", LIMIT, head(0x68, &[44, 0])),
        ("an empty block before the last", LIMIT, small(4, &[0, 0, 0, 0x21, 0, 0, 1, 2, 3, 4])),
        ("an empty last block", LIMIT, small(4, &[0x20, 0, 0, 1, 2, 3, 4, 1, 0, 0])),
        ("no last block", LIMIT, small(4, &[0x20, 0, 0, 1, 2, 3, 4])),
        ("a block of the reserved kind", LIMIT, small(4, &[0x27, 0, 0, 7])),
        ("a block longer than the content", LIMIT, small(4, &repeated(5))),
        ("blocks shorter than the size", LIMIT, small(4, &repeated(3))),
        ("blocks longer than the size", LIMIT, small(4, &[0x22, 0, 0, 7, 0x23, 0, 0, 7])),
    ]
}

fn frame_vector(name: &str, limit: usize, frame: &[u8]) -> Value {
    let payload = [&[1][..], frame].concat();
    let (content, refusal) = match unpack(&payload, limit) {
        Ok(content) => (hex(content), Value::Null),
        Err(error) => (Value::Null, error.to_string().into()),
    };
    json!({
        "name": name,
        "limit": limit,
        "payload": hex(payload),
        "content": content,
        "refusal": refusal,
    })
}

#[test]
fn payloads_hold_and_are_read_back() {
    let (contents, payloads): (Vec<_>, Vec<Value>) =
        vectors().into_iter().map(|(blocks, payload, value)| ((blocks, payload), value)).unzip();
    let mut fields = crate::json::domain_fields();
    fields.insert("payloads".to_owned(), payloads.into());
    let frames = frames().into_iter().map(|(name, limit, frame)| frame_vector(name, limit, &frame));
    fields.insert("frames".to_owned(), frames.collect());
    crate::hold("payload.json", &Value::Object(fields));
    for (index, (blocks, payload)) in contents.into_iter().enumerate() {
        let header = build_header(&blocks, Epoch::new(11), &payload).unwrap();
        assert!(open(&header, &payload, LIMIT) == Ok(blocks), "payloads[{index}]");
    }
}

#[test]
fn the_cheapest_is_one_of_the_two() {
    for (name, blocks) in chains() {
        let cheapest = encode_cheapest(&blocks).unwrap();
        let version = if cheapest[0] == 0 { Version::Raw } else { Version::Zstd };
        assert_eq!(cheapest, encode(&blocks, version).unwrap(), "{name}");
    }
}
