//! Answers have the shapes of Ethereum's execution API, and the tables of docs/RPC.md list what is served.

use super::Service;
use super::letter::table;
use crate::agreement::BlockSource as _;
use crate::rpc::RpcLimits;
use crate::rpc::methods::{self, Run};
use crate::testing::{ROLLUP, key, raw_transaction};
use alloy::consensus::transaction::RlpEcdsaEncodableTx;
use alloy::consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy::eips::eip2930::{AccessList, AccessListItem};
use alloy::eips::eip7702::{Authorization, SignedAuthorization};
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const SCHEMA: &str = include_str!("../../../test/clients/schema.json");

/// What answers should look like.
struct Schema {
    shapes: Map<String, Value>,
    alternatives: Map<String, Value>,
}

impl Schema {
    /// Says what is wrong with a value that should be of a kind, and where.
    fn check(&self, kind: &str, value: &Value, at: &str) -> Result<(), String> {
        let wrong = || Err(format!("{at}: {value} is no {kind}"));
        if let Some(kinds) = self.alternatives.get(kind) {
            return self.check(kinds.as_str().unwrap(), value, at);
        }
        if let Some(alternatives) = split(kind, '|') {
            let tried: Vec<_> = alternatives.iter().map(|one| self.check(one, value, at)).collect();
            return match tried.iter().any(Result::is_ok) {
                true => Ok(()),
                false => {
                    Err(tried.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; "))
                }
            };
        }
        if let Some(kind) = kind.strip_suffix('?') {
            return if value.is_null() { Ok(()) } else { self.check(kind, value, at) };
        }
        if let Some(of) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
            let Some(values) = value.as_array() else { return wrong() };
            let mut each = values.iter().enumerate();
            return each.try_for_each(|(n, one)| self.check(of, one, &format!("{at}[{n}]")));
        }
        if let Some(of) = kind.strip_prefix('{').and_then(|kind| kind.strip_suffix('}')) {
            let (name, of) = of.split_once(": ").unwrap();
            let Some(members) = value.as_object() else { return wrong() };
            return members.iter().try_for_each(|(member, one)| {
                self.check(name, &json!(member), at)?;
                self.check(of, one, &format!("{at}.{member}"))
            });
        }
        if let Some(shape) = self.shapes.get(kind) {
            return self.check_shape(shape.as_object().unwrap(), value, at);
        }
        let text = value.as_str().unwrap_or_default();
        let hex = |digits: std::ops::RangeInclusive<usize>| {
            let rest = text.strip_prefix("0x").unwrap_or("-");
            digits.contains(&rest.len())
                && rest.bytes().all(|one| matches!(one, b'0'..=b'9' | b'a'..=b'f'))
        };
        let uint = |most| hex(1..=most) && (text == "0x0" || !text.starts_with("0x0"));
        let fits = match kind {
            "null" => value.is_null(),
            "bool" => value.is_boolean(),
            "text" => !text.is_empty(),
            "decimal" => !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit()),
            "ratio" => value.as_f64().is_some_and(|ratio| (0.0..=1.0).contains(&ratio)),
            "uint" | "uint256" => uint(64),
            "hash" => hex(64..=64),
            "address" => text.parse::<Address>().is_ok() && text.starts_with("0x"),
            "bytes" => hex(0..=usize::MAX) && text.len().is_multiple_of(2),
            "bytes8" => hex(16..=16),
            "bytes256" => hex(512..=512),
            exactly => text == exactly,
        };
        if fits { Ok(()) } else { wrong() }
    }

    fn check_shape(
        &self,
        shape: &Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let Some(members) = value.as_object() else { return Err(format!("{at}: {value}")) };
        for (name, kind) in shape {
            let (name, may_miss) = match name.strip_suffix('?') {
                Some(name) => (name, true),
                None => (name.as_str(), false),
            };
            match members.get(name) {
                None if may_miss => {}
                None => return Err(format!("{at}: {name} is missing")),
                Some(value) => {
                    self.check(kind.as_str().unwrap(), value, &format!("{at}.{name}"))?
                }
            }
        }
        let known =
            |name: &str| shape.contains_key(name) || shape.contains_key(&format!("{name}?"));
        match members.keys().find(|name| !known(name)) {
            Some(unknown) => Err(format!("{at}: {unknown} has no place there")),
            None => Ok(()),
        }
    }
}

/// Cuts at a sign that stands outside all brackets.
fn split(kind: &str, at: char) -> Option<Vec<String>> {
    let (mut depth, mut parts) = (0_usize, vec![String::new()]);
    for sign in kind.chars() {
        match sign {
            '[' | '{' => depth = depth.saturating_add(1),
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if sign == at && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(sign);
        }
    }
    (parts.len() > 1).then_some(parts)
}

fn sign<T: SignableTransaction<Signature> + RlpEcdsaEncodableTx>(tx: &T) -> Bytes {
    let signature = key(1).sign(tx.signature_hash()).to_rsv();
    let signature = Signature::from_raw_array(&signature).unwrap();
    let mut raw = Vec::new();
    tx.eip2718_encode(&signature, &mut raw);
    raw.into()
}

/// One transaction of each type, and one that creates a contract.
fn of_each_type() -> [Bytes; 5] {
    let (chain_id, gas_limit) = (ROLLUP.get(), 100_000);
    let to = TxKind::Call(Address::repeat_byte(0xaa));
    let access_list = AccessList(vec![AccessListItem {
        address: Address::repeat_byte(1),
        storage_keys: vec![B256::repeat_byte(2)],
    }]);
    let (fee, value) = (3_000_000_000_u128, U256::from(5));
    let authorization = Authorization {
        chain_id: U256::from(chain_id),
        address: Address::repeat_byte(3),
        nonce: 7,
    };
    let by = key(2).sign(authorization.signature_hash()).to_rsv();
    let by = Signature::from_raw_array(&by).unwrap();
    let authorization: SignedAuthorization = authorization.into_signed(by);
    [
        sign(&TxLegacy {
            chain_id: Some(chain_id),
            nonce: 0,
            gas_price: fee,
            gas_limit,
            to,
            value,
            input: Bytes::new(),
        }),
        sign(&TxEip2930 {
            chain_id,
            nonce: 1,
            gas_price: fee,
            gas_limit,
            to,
            value,
            access_list: access_list.clone(),
            input: Bytes::from_static(&[1, 2]),
        }),
        sign(&TxEip1559 {
            chain_id,
            nonce: 2,
            gas_limit,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: 1,
            to,
            value,
            access_list: access_list.clone(),
            input: Bytes::new(),
        }),
        sign(&TxEip7702 {
            chain_id,
            nonce: 3,
            gas_limit,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: 1,
            to: Address::repeat_byte(0xaa),
            value,
            access_list,
            authorization_list: vec![authorization],
            input: Bytes::new(),
        }),
        sign(&TxEip1559 {
            chain_id,
            nonce: 4,
            gas_limit,
            max_fee_per_gas: fee,
            max_priority_fee_per_gas: 1,
            to: TxKind::Create,
            value: U256::ZERO,
            access_list: AccessList::default(),
            input: Bytes::from_static(&[0x60, 0x00]),
        }),
    ]
}

#[tokio::test]
async fn every_answer_has_the_shape_of_ethereums_execution_api() {
    let mut document: Value = serde_json::from_str(SCHEMA).unwrap();
    let part = |document: &mut Value, name| match document[name].take() {
        Value::Object(part) => part,
        other => panic!("{name}: {other}"),
    };
    let schema = Schema {
        shapes: part(&mut document, "shapes"),
        alternatives: part(&mut document, "alternatives"),
    };

    let service = Service::start(RpcLimits::default()).await;
    let mut hashes = Vec::new();
    for raw in of_each_type() {
        hashes.push(service.call("eth_sendRawTransaction", json!([raw])).await);
    }
    assert!(service.pool.has_work());
    service.decide();
    let waiting = service.send(2, 0).await;
    let filter = service.call("eth_newFilter", json!([{}])).await;
    let block = service.call("eth_getBlockByNumber", json!(["0x1", false])).await;
    assert_eq!(block["transactions"].as_array().unwrap().len(), 5, "{block}");
    let words = BTreeMap::from([
        ("$sender", json!(key(1).address())),
        ("$blockHash", block["hash"].clone()),
        ("$hash", hashes[4].clone()),
        ("$waiting", waiting),
        ("$nowhere", json!(B256::repeat_byte(0xfe))),
        ("$raw", json!(raw_transaction(&key(3), 0))),
        ("$decided", json!(of_each_type()[0])),
        ("$filter", filter),
    ]);
    let calls = document["calls"].as_array().unwrap();
    for call in calls {
        let method = call[0].as_str().unwrap();
        let params = fill(&call[1], &words);
        let result = service.call(method, params.clone()).await;
        let kind = call[2].as_str().unwrap();
        if let Err(reason) = schema.check(kind, &result, method) {
            panic!("{method} {params}: {reason}");
        }
    }
    // Every method that answers with a value is in it.
    for (name, method) in methods::all() {
        let answers = !matches!(method.run, Run::Unexecuted | Run::Subscribe | Run::Unsubscribe);
        if answers && !name.starts_with("rota_") {
            assert!(calls.iter().any(|call| call[0] == name), "{name} has no line in the schema");
        }
    }
}

fn fill(params: &Value, words: &BTreeMap<&str, Value>) -> Value {
    match params {
        Value::String(text) => words.get(text.as_str()).unwrap_or(params).clone(),
        Value::Array(all) => all.iter().map(|one| fill(one, words)).collect(),
        Value::Object(all) => {
            Value::Object(all.iter().map(|(name, one)| (name.clone(), fill(one, words))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn the_checker_refuses_what_is_not_of_a_shape() {
    let document: Value = serde_json::from_str(SCHEMA).unwrap();
    let schema = Schema {
        shapes: document["shapes"].as_object().unwrap().clone(),
        alternatives: document["alternatives"].as_object().unwrap().clone(),
    };
    let refused = |kind: &str, value: Value| {
        assert!(schema.check(kind, &value, "").is_err(), "{kind} {value}")
    };
    for wrong in
        [json!("0x"), json!("0x01"), json!("1"), json!(1), json!(null), json!("0xG"), json!("0xA")]
    {
        refused("uint", wrong);
    }
    refused("hash", json!("0x12"));
    refused("bytes", json!("0x123"));
    refused("[uint]", json!(["0x1", 1]));
    refused("PoolStatus", json!({ "pending": "0x1" }));
    refused("PoolStatus", json!({ "pending": "0x1", "queued": "0x1", "more": 1 }));
    refused("{decimal: uint}", json!({ "0x1": "0x1" }));
    refused("Transaction", json!({ "type": "0x2" }));
    assert!(schema.check("[hash]|[Log]", &json!([]), "").is_ok());
    assert!(schema.check("uint?", &json!(null), "").is_ok());
}

#[test]
fn the_tables_of_methods_list_what_is_served() {
    let mut listed = BTreeMap::new();
    for row in [table("### `eth_*`"), table("### Others")].concat() {
        let [name, arguments, _, cost] = row.as_slice() else { panic!("{row:?}") };
        let name = name.trim_matches('`').to_owned();
        let units = cost.split([' ', ',']).next().unwrap().parse::<u32>().unwrap();
        assert!(listed.insert(name, (arguments.clone(), units)).is_none(), "{row:?}");
    }
    let served: BTreeMap<_, _> = methods::all()
        .into_iter()
        .map(|(name, method)| (name.to_owned(), (method.params.join(", "), method.units())))
        .collect();
    assert_eq!(listed, served);
}

#[tokio::test]
async fn what_takes_execution_says_so_with_one_code() {
    let service = Service::start(RpcLimits::default()).await;
    for (name, method) in methods::all() {
        if matches!(method.run, Run::Unexecuted) {
            let answer = service.call_at("/", name, json!([])).await;
            assert_eq!(answer["error"]["code"], -32004, "{answer}");
            // Libraries take data for what a contract reverted with.
            assert!(answer["error"].get("data").is_none(), "{answer}");
            let text = answer["error"]["message"].as_str().unwrap();
            assert!(text.starts_with(name) && text.contains("a follower of the rollup"), "{text}");
        }
    }
}
