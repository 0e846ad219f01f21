//! Genesis files: what they make, and what is refused by the name of its field.

use crate::support::{CHAIN_ID, Chain, FORKS, Fork, genesis, genesis_json};
use alloy_primitives::{Address, B256};
use rota_execution::{ExecutionError, Executor, Genesis, GenesisError, MemoryState, State};
use serde_json::{Value, json};

fn parse(json: &Value) -> Result<Genesis, GenesisError> {
    Genesis::parse(&json.to_string(), CHAIN_ID)
}

/// The file with the value at `pointer` replaced, or taken out.
fn with(fork: Fork, pointer: &str, value: Option<Value>) -> Value {
    let mut json = genesis_json(fork);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = json.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => drop(parent.insert(key.into(), value)),
        None => assert!(parent.remove(key).is_some()),
    }
    json
}

#[test]
fn a_header_has_the_fields_of_its_fork() {
    for fork in FORKS {
        let genesis = genesis(fork);
        let header = genesis.header();
        assert_eq!(header.hash_slow(), genesis.hash());
        assert_eq!(header.parent_beacon_block_root.is_some(), fork >= Fork::Cancun);
        assert_eq!(header.requests_hash.is_some(), fork >= Fork::Prague);
        assert_eq!(header.withdrawals_root, Some(alloy_trie::EMPTY_ROOT_HASH));
    }
}

#[test]
fn a_state_that_was_not_empty_is_refused() {
    let mut state = MemoryState::default();
    let _ = Executor::new(genesis(Fork::Prague), MemoryState::default()).unwrap();
    let mut changes = rota_execution::Changes::default();
    let account =
        rota_execution::Account { nonce: 1, balance: Default::default(), code_hash: B256::ZERO };
    let change = rota_execution::AccountChange { account: Some(account), ..Default::default() };
    changes.accounts.insert(Address::repeat_byte(9), change);
    state.apply(changes).unwrap();
    let refused = Executor::new(genesis(Fork::Prague), state);
    assert!(matches!(refused, Err(ExecutionError::GenesisRoot { .. })));
}

#[test]
fn an_empty_account_of_the_file_stands_in_the_tree() {
    // Clients put it there, and so does its hash.
    let json = with(
        Fork::Prague,
        "/alloc/0x00000000000000000000000000000000000000aa",
        Some(json!({ "balance": "0x0" })),
    );
    let genesis = parse(&json).unwrap();
    let chain = Chain::new(genesis);
    assert!(chain.account(Address::with_last_byte(0xaa)).is_some());
}

#[test]
fn names_the_field_that_is_missing() {
    let fields = [
        "config",
        "gasLimit",
        "difficulty",
        "alloc",
        "baseFeePerGas",
        "config/chainId",
        "config/shanghaiTime",
        "config/terminalTotalDifficulty",
        "config/londonBlock",
        "config/homesteadBlock",
        "config/cancunTime",
    ];
    for field in fields {
        let error = parse(&with(Fork::Prague, &format!("/{field}"), None)).unwrap_err();
        assert_eq!(error, GenesisError::Missing { field: field.replace('/', ".") });
        if field == "alloc" || field == "config" {
            continue;
        }
        let null = parse(&with(Fork::Prague, &format!("/{field}"), Some(Value::Null))).unwrap_err();
        assert_eq!(null, error);
    }
}

#[test]
fn names_the_system_contract_that_is_missing() {
    for contract in rota_execution::SINCE_CANCUN.iter().chain(rota_execution::SINCE_PRAGUE.iter()) {
        let account = format!("/alloc/{}", contract.address);
        let error = parse(&with(Fork::Prague, &account, None)).unwrap_err();
        let GenesisError::Missing { field } = &error else { panic!("{error}") };
        assert!(field.contains(contract.name) && field.contains(&contract.address.to_string()));

        let error = parse(&with(Fork::Prague, &format!("{account}/code"), Some(json!("0x00"))))
            .unwrap_err();
        assert!(error.to_string().contains(contract.name), "{error}");
    }
    // Before the fork nobody calls them.
    let beacon = format!("/alloc/{}", rota_execution::SINCE_CANCUN[0].address);
    assert!(parse(&with(Fork::Shanghai, &beacon, None)).is_ok());
}

#[test]
fn names_the_field_that_is_unknown() {
    let fields = [
        "gaslimit",
        "config/chainID",
        "config/amsterdamTime",
        "config/bogotaTime",
        "config/verkleTime",
        "config/clique",
        "config/daoForkBlock",
        "config/optimism",
        "alloc/0xaa/balances",
    ];
    for field in fields {
        let mut json = genesis_json(Fork::Prague);
        json["alloc"]["0xaa"] = json!({ "balance": "0x1" });
        let (parent, key) = field.rsplit_once('/').unwrap_or(("", field));
        let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
        json.pointer_mut(&parent).unwrap()[key] = json!(0);
        let error = parse(&json).unwrap_err();
        assert_eq!(error, GenesisError::Unknown { field: field.replace('/', ".") });
    }
}

#[test]
fn names_the_field_that_does_not_fit() {
    let account = format!("/alloc/{}", crate::support::address(0));
    let cases = [
        ("/config/chainId", json!(CHAIN_ID + 1), "config.chainId"),
        ("/config/londonBlock", json!(5), "config.londonBlock"),
        ("/config/terminalTotalDifficulty", json!(1), "config.terminalTotalDifficulty"),
        ("/config/shanghaiTime", json!(2_000), "config.cancunTime"),
        ("/config/pragueTime", json!(0), "config.pragueTime"),
        ("/difficulty", json!("0x1"), "difficulty"),
        ("/number", json!("0x1"), "number"),
        ("/gasUsed", json!("0x1"), "gasUsed"),
        ("/excessBlobGas", json!("0x1"), "excessBlobGas"),
        ("/blobGasUsed", json!("0x1"), "blobGasUsed"),
        ("/parentHash", json!(B256::repeat_byte(1)), "parentHash"),
        ("/gasLimit", json!("0x1387"), "gasLimit"),
        ("/gasLimit", json!("0x8000000000000000"), "gasLimit"),
        ("/extraData", json!(format!("0x{}", "00".repeat(33))), "extraData"),
        ("/baseFeePerGas", json!("0x0"), "baseFeePerGas"),
        ("/baseFeePerGas", json!("0x10000000000000000"), "baseFeePerGas"),
        (&format!("{account}/balance"), json!(format!("0x{}", "f".repeat(64))), "balance"),
        (&format!("{account}/nonce"), json!("0xffffffffffffffff"), "nonce"),
        (
            &format!("{account}/storage"),
            json!({ (B256::ZERO.to_string()): B256::with_last_byte(1) }),
            "storage",
        ),
    ];
    for (pointer, value, field) in cases {
        let mut json = with(Fork::Prague, pointer, Some(value));
        if pointer.ends_with("pragueTime") {
            json["config"]["cancunTime"] = json!(7);
        }
        let error = parse(&json).unwrap_err();
        let GenesisError::Unfit { field: found, .. } = &error else { panic!("{pointer}: {error}") };
        assert!(found.contains(field), "{pointer}: {error}");
    }
}

#[test]
fn shanghai_begins_no_later_than_the_chain() {
    let error =
        parse(&with(Fork::Shanghai, "/config/shanghaiTime", Some(json!(1_001)))).unwrap_err();
    assert!(matches!(error, GenesisError::Unfit { field, .. } if field == "config.shanghaiTime"));
}

#[test]
fn an_account_that_stands_there_twice_is_refused() {
    let mut json = genesis_json(Fork::Prague);
    let address = crate::support::address(0).to_string().to_lowercase();
    json["alloc"][address] = json!({ "balance": "0x1" });
    assert!(
        matches!(parse(&json), Err(GenesisError::Unfit { field, .. }) if field.starts_with("alloc."))
    );
}

#[test]
fn nobody_can_log_as_the_deposit_contract() {
    let mut json = genesis_json(Fork::Prague);
    json["config"]["depositContractAddress"] = json!(Address::repeat_byte(7));
    assert!(parse(&json).is_ok());
    json["alloc"][Address::repeat_byte(7).to_string()] =
        json!({ "balance": "0x0", "code": "0x00" });
    let error = parse(&json).unwrap_err();
    assert!(
        matches!(error, GenesisError::Unfit { field, .. } if field == "config.depositContractAddress")
    );
}

#[test]
fn what_is_no_genesis_file_is_refused() {
    for text in ["", "{", "[]", "7", "{\"config\": 1}"] {
        assert!(Genesis::parse(text, CHAIN_ID).is_err(), "{text}");
    }
    let mut json = genesis_json(Fork::Prague);
    json["gasLimit"] = json!("0xzz");
    assert!(matches!(parse(&json), Err(GenesisError::Unreadable { .. })));
}
