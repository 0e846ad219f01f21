//! Implementations that nobody here wrote execute our blocks: EthereumJS, and Ethereum's executable specification.

use crate::support::{
    CHAIN_ID, CREATOR, Chain, FORKS, Fork, GENESIS_TIME, address, authorize, call, delegate,
    genesis_json, pay, sign, wallet,
};
use crate::traffic;
use alloy_consensus::{TxEip1559, TxEip7702};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use rota_execution::{Block, Fate, Genesis};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Who executes our blocks.
#[derive(Debug, Clone, Copy)]
enum Judge {
    /// From npm.
    EthereumJs,
    /// Ethereum's executable specification, from PyPI.
    Specification,
}

const JUDGES: [Judge; 2] = [Judge::EthereumJs, Judge::Specification];

/// What a judge says: the genesis block's hash, and for each block its hash, or what is wrong with it.
struct Opinion {
    genesis: String,
    blocks: Vec<Result<String, String>>,
}

/// A chain as its judge is given it.
struct Case {
    genesis: Value,
    blocks: Vec<Bytes>,
}

/// Feeds the blocks of each chain to a judge as a client would take them: header rules, execution, roots.
///
/// All of a test at once: starting a judge takes longer than most chains.
fn ask(judge: Judge, cases: &[Case]) -> Vec<Opinion> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (program, script, needs) = match judge {
        Judge::EthereumJs => ("node".into(), "ethereumjs.mjs", "node_modules/@ethereumjs/vm"),
        Judge::Specification => {
            let python = root.join("target/python-specification/bin/python");
            (python, "specification.py", "target/python-specification/.rota-lock")
        }
    };
    assert!(
        root.join(needs).exists(),
        "{needs} is missing: run `make setup`, and read what it says"
    );
    let mut child = Command::new(program)
        .arg(root.join("crates/execution/tests").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let input: Value = cases
        .iter()
        .map(|case| json!({ "genesis": case.genesis, "blocks": case.blocks }))
        .collect();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answer: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer.len(), cases.len());
    let text = |value: &Value| value.as_str().map(String::from);
    let opinion = |answer: Value| Opinion {
        genesis: text(&answer["genesis"]).unwrap(),
        blocks: answer["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|block| text(&block["hash"]).ok_or_else(|| text(&block["error"]).unwrap()))
            .collect(),
    };
    answer.into_iter().map(opinion).collect()
}

fn agree(chains: &[(Value, Chain)]) {
    let case = |(genesis, chain): &(Value, Chain)| Case {
        genesis: genesis.clone(),
        blocks: chain.blocks.iter().map(Block::rlp).collect(),
    };
    let cases: Vec<Case> = chains.iter().map(case).collect();
    for judge in JUDGES {
        for ((_, chain), opinion) in chains.iter().zip(ask(judge, &cases)) {
            assert_eq!(opinion.genesis, hex::encode_prefixed(chain.executor.genesis().hash()));
            let (said, last) = (opinion.blocks.len(), opinion.blocks.last());
            assert_eq!(said, chain.blocks.len(), "{judge:?}: {last:?}");
            for (said, block) in opinion.blocks.iter().zip(&chain.blocks) {
                let expected = hex::encode_prefixed(block.hash);
                assert_eq!(
                    said.as_ref(),
                    Ok(&expected),
                    "{judge:?}, block {}",
                    block.header.number
                );
            }
        }
    }
}

/// Seconds of traffic in each fork: most of what these tests take, so few; `ROTA_EXECUTION_SECONDS` asks for more.
fn seconds() -> u64 {
    let text = std::env::var("ROTA_EXECUTION_SECONDS").unwrap_or_else(|_| "12".into());
    let seconds = text.parse().expect("ROTA_EXECUTION_SECONDS is a number of seconds");
    assert!(seconds >= 12, "in fewer seconds not everything occurs");
    seconds
}

#[test]
fn others_agree_on_every_block_in_every_fork() {
    let mut chains = Vec::new();
    let mut reasons = BTreeSet::new();
    for (seed, fork) in (100..).zip(FORKS) {
        let mut chain = Chain::at(fork);
        let heights = traffic::run(&mut chain, seconds(), seed);
        assert!(chain.blocks.len() > 8);

        let mut again = Chain::at(fork);
        let fates: Vec<Fate> = heights.into_iter().flat_map(|height| again.give(height)).collect();
        reasons.extend(fates.iter().map(name));
        chains.push((genesis_json(fork), chain));
    }
    // One of them is that it is included.
    assert!(reasons.len() >= 9, "{reasons:?}");
    agree(&chains);
}

#[test]
fn others_agree_while_forks_begin() {
    let mut json = genesis_json(Fork::Osaka);
    for (field, after) in [("cancunTime", 4), ("pragueTime", 8), ("osakaTime", 12)] {
        json["config"][field] = json!(GENESIS_TIME + after);
    }
    let mut chain = Chain::new(Genesis::parse(&json.to_string(), CHAIN_ID).unwrap());
    traffic::run(&mut chain, 16, 7);
    agree(&[(json, chain)]);
}

#[test]
fn others_agree_at_the_ends_of_types() {
    let chains: Vec<_> = [Fork::Cancun, Fork::Prague].map(at_the_ends).into();
    agree(&chains);
}

/// Gas, fees, balances and nonces as high as they go.
fn at_the_ends(fork: Fork) -> (Value, Chain) {
    let creator = Address::repeat_byte(0x46);
    let mut json = genesis_json(fork);
    json["gasLimit"] = json!("0x7fffffffffffffff");
    json["baseFeePerGas"] = json!("0x4000000000000000");
    json["alloc"][creator.to_string()] = json!({
        "balance": "0x0", "nonce": "0xfffffffffffffffe", "code": Bytes::from_static(&CREATOR),
    });
    for index in 0..3 {
        let account = &mut json["alloc"][address(index).to_string()];
        account["balance"] = json!(U256::from(1) << 254);
    }
    for index in [0, 3] {
        json["alloc"][address(index).to_string()]["nonce"] = json!("0xfffffffffffffffe");
    }
    let mut chain = Chain::new(Genesis::parse(&json.to_string(), CHAIN_ID).unwrap());
    let rich = |transaction: TxEip1559| TxEip1559 {
        max_fee_per_gas: 1 << 65,
        max_priority_fee_per_gas: 1 << 65,
        ..transaction
    };
    let last = u64::MAX - 1;
    let value = U256::from(1) << 253;
    // Creates twice: the creator's nonce is then at its end.
    let fates = chain.second(&[
        sign(&wallet(0), TxEip1559 { value, ..rich(pay(last, address(2), 0)) }),
        sign(&wallet(0), rich(pay(u64::MAX, address(2), 0))),
        sign(&wallet(1), TxEip1559 { gas_limit: 1 << 62, ..rich(call(0, creator, &[])) }),
        sign(&wallet(1), TxEip1559 { gas_limit: 1 << 62, ..rich(call(1, creator, &[])) }),
        sign(&wallet(1), TxEip1559 { value: U256::MAX, ..rich(pay(2, address(2), 0)) }),
    ]);
    let names: Vec<_> = fates.iter().map(name).collect();
    assert_eq!(names, ["included", "nonce-at-end", "included", "included", "unaffordable"]);
    if fork >= Fork::Prague {
        // The first moves the account's nonce to its end, and the second finds it there.
        for (nonce, authorized) in [(2, last), (3, u64::MAX)] {
            let list = vec![authorize(3, authorized, creator)];
            let (max_fee_per_gas, max_priority_fee_per_gas) = (1 << 65, 0);
            let transaction = delegate(nonce, address(3), list);
            let transaction =
                TxEip7702 { max_fee_per_gas, max_priority_fee_per_gas, ..transaction };
            let fates = chain.second(&[sign(&wallet(1), transaction)]);
            assert_eq!(fates, [Fate::Included { index: 0 }]);
        }
        assert_eq!(chain.account(address(3)).unwrap().nonce, u64::MAX);
    }
    assert_eq!(chain.account(creator).unwrap().nonce, u64::MAX);
    (json, chain)
}

fn name(fate: &Fate) -> &'static str {
    match fate {
        Fate::Skipped(reason) => reason.name(),
        Fate::Included { .. } => "included",
    }
}

#[test]
fn others_refuse_what_was_forged() {
    // Otherwise their agreement would say nothing.
    let mut chain = Chain::at(Fork::Prague);
    for nonce in 0..2 {
        chain.second(&[sign(&wallet(0), pay(nonce, address(1), 1))]);
    }
    let genesis = genesis_json(Fork::Prague);
    let forge = |change: fn(&mut Block)| {
        let mut block = chain.blocks[1].clone();
        change(&mut block);
        Case { genesis: genesis.clone(), blocks: vec![chain.blocks[0].rlp(), block.rlp()] }
    };
    let cases = [
        forge(|block| block.header.state_root = B256::repeat_byte(1)),
        forge(|block| block.header.receipts_root = B256::repeat_byte(1)),
        forge(|block| block.header.gas_used += 1),
        forge(|block| block.header.base_fee_per_gas = Some(1)),
        forge(|block| block.header.timestamp = GENESIS_TIME + 1),
        forge(|block| block.header.parent_beacon_block_root = Some(B256::repeat_byte(1))),
        forge(|block| block.header.requests_hash = Some(B256::repeat_byte(1))),
        forge(|block| drop(block.transactions.pop())),
    ];
    for judge in JUDGES {
        for (index, opinion) in ask(judge, &cases).into_iter().enumerate() {
            assert!(opinion.blocks[0].is_ok());
            assert!(opinion.blocks[1].is_err(), "{judge:?} takes forgery {index}");
        }
    }
}
