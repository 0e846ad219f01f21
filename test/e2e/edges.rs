//! A wallet at the ends of its types: each field of each type of transaction at 0, 1, the last but one, the last and one
//! beyond, signed and sent to a running network. Nothing stops, and what is refused names the field.

use crate::{beside, block_on, plan, session, until};
use alloy::hex;
use alloy::primitives::{Address, U256, keccak256};
use alloy::rlp::{BufMut as _, Header};
use alloy::signers::SignerSync as _;
use alloy::signers::local::PrivateKeySigner;
use rota::rpc_client::{RpcClient, RpcClientError};
use serde_json::json;

/// The development network's rollup.
const ROLLUP: u64 = 901;

/// A field as it is written: a number in as few bytes as it takes, bytes, or lists of these.
#[derive(Clone, Debug)]
enum Item {
    Bytes(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    fn number(value: U256) -> Self {
        Self::Bytes(value.to_be_bytes_trimmed_vec())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bytes(bytes) if bytes.len() == 1 && bytes[0] < 0x80 => out.put_u8(bytes[0]),
            Self::Bytes(bytes) => {
                Header { list: false, payload_length: bytes.len() }.encode(out);
                out.extend_from_slice(bytes);
            }
            Self::List(items) => {
                let mut payload = Vec::new();
                items.iter().for_each(|item| item.write(&mut payload));
                Header { list: true, payload_length: payload.len() }.encode(out);
                out.extend_from_slice(&payload);
            }
        }
    }
}

/// A transaction before it is signed: its type, and its fields by name.
#[derive(Clone, Debug)]
struct Draft {
    kind: u8,
    fields: Vec<(&'static str, Item)>,
}

/// Fresh keys: no sender's nonce is spent twice.
fn wallet(number: u64) -> PrivateKeySigner {
    let seed = keccak256(format!("edge wallet {number}"));
    PrivateKeySigner::from_bytes(&seed).unwrap()
}

fn small(value: u64) -> Item {
    Item::number(U256::from(value))
}

fn to() -> Item {
    Item::Bytes(Address::repeat_byte(0xaa).to_vec())
}

/// An authorization that is signed by somebody who has no other.
fn authorization(number: u64, change: Option<(&str, &Item)>) -> Item {
    let signed = [("chainId", small(ROLLUP)), ("address", to()), ("nonce", small(0))];
    let pick = |name: &str, item: &Item| match change {
        Some((changed, value)) if changed == name => value.clone(),
        _ => item.clone(),
    };
    let mut items: Vec<Item> = signed.iter().map(|(name, item)| pick(name, item)).collect();
    let mut message = vec![5];
    Item::List(items.clone()).write(&mut message);
    let signature = wallet(1_000_000 + number).sign_hash_sync(&keccak256(&message)).unwrap();
    let rest = [
        ("yParity", small(u64::from(signature.v()))),
        ("r", Item::number(signature.r())),
        ("s", Item::number(signature.s())),
    ];
    items.extend(rest.iter().map(|(name, item)| pick(name, item)));
    Item::List(items)
}

impl Draft {
    fn plain(kind: u8, number: u64) -> Self {
        let price = small(2_000_000_000);
        let mut fields = Vec::new();
        if kind > 0 {
            fields.push(("chainId", small(ROLLUP)));
        }
        fields.push(("nonce", small(0)));
        if kind < 2 {
            fields.push(("gasPrice", price));
        } else {
            fields.push(("maxPriorityFeePerGas", small(1)));
            fields.push(("maxFeePerGas", price));
        }
        fields.push(("gas", small(100_000)));
        fields.push(("to", to()));
        fields.push(("value", small(1)));
        fields.push(("input", Item::Bytes(Vec::new())));
        if kind > 0 {
            fields.push(("accessList", Item::List(Vec::new())));
        }
        if kind == 4 {
            let list = vec![authorization(number, None)];
            fields.push(("authorizationList", Item::List(list)));
        }
        Self { kind, fields }
    }

    fn with(mut self, name: &str, item: Item) -> Self {
        for (known, value) in &mut self.fields {
            if *known == name {
                *value = item.clone();
            }
        }
        self
    }

    /// The signed bytes; `change` replaces a field of the signature.
    fn signed(&self, by: &PrivateKeySigner, change: Option<(&str, &Item)>) -> Vec<u8> {
        let mut items: Vec<Item> = self.fields.iter().map(|(_, item)| item.clone()).collect();
        let envelope = |items: Vec<Item>| {
            let mut bytes = if self.kind == 0 { Vec::new() } else { vec![self.kind] };
            Item::List(items).write(&mut bytes);
            bytes
        };
        let mut unsigned = items.clone();
        if self.kind == 0 {
            unsigned.extend([small(ROLLUP), small(0), small(0)]);
        }
        let signature = by.sign_hash_sync(&keccak256(envelope(unsigned))).unwrap();
        let odd = u64::from(signature.v());
        let first = match self.kind {
            0 => ("v", small(ROLLUP * 2 + 35 + odd)),
            _ => ("yParity", small(odd)),
        };
        let rest = [first, ("r", Item::number(signature.r())), ("s", Item::number(signature.s()))];
        items.extend(rest.into_iter().map(|(name, item)| match change {
            Some((changed, value)) if changed == name => value.clone(),
            _ => item,
        }));
        envelope(items)
    }
}

/// The ends of a number of so many bits: what is sent, and whether it is beyond.
fn ends(bits: usize) -> Vec<(Item, bool)> {
    let last = U256::MAX >> (256 - bits);
    let mut beyond = vec![0; bits / 8 + 1];
    beyond[0] = 1;
    let within = [U256::ZERO, U256::from(1), last - U256::from(1), last];
    let mut all: Vec<(Item, bool)> =
        within.into_iter().map(|value| (Item::number(value), false)).collect();
    all.push((Item::Bytes(beyond), true));
    all
}

/// Bits of each field that is a number.
const NUMBERS: [(&str, usize); 7] = [
    ("chainId", 64),
    ("nonce", 64),
    ("gasPrice", 128),
    ("maxPriorityFeePerGas", 128),
    ("maxFeePerGas", 128),
    ("gas", 64),
    ("value", 256),
];

/// All that the wallet sends: what it is, the field, whether that is beyond its type, and the bytes. Each from a sender of
/// its own, numbered after `number`.
pub(super) fn all(mut number: u64) -> Vec<(String, &'static str, bool, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |kind: u8,
                   field: &'static str,
                   is_beyond,
                   make: &dyn Fn(&Draft, &PrivateKeySigner, u64) -> Vec<u8>| {
        number += 1;
        let draft = Draft::plain(kind, number);
        let bytes = make(&draft, &wallet(number), number);
        all.push((format!("type {kind}, {field}, number {number}"), field, is_beyond, bytes));
    };
    for kind in [0, 1, 2, 4] {
        let plain = Draft::plain(kind, 0);
        for (field, bits) in NUMBERS {
            if !plain.fields.iter().any(|(known, _)| *known == field) {
                continue;
            }
            for (item, is_beyond) in ends(bits) {
                add(kind, field, is_beyond, &|draft, by, _| {
                    draft.clone().with(field, item.clone()).signed(by, None)
                });
            }
        }
        for length in [0, 1, 19, 20, 21, 32] {
            let item = Item::Bytes(vec![7; length]);
            let is_wrong = !(length == 20 || length == 0 && kind != 4);
            add(kind, "to", is_wrong, &|draft, by, _| {
                draft.clone().with("to", item.clone()).signed(by, None)
            });
        }
        for length in [0, 1, 55, 56, 131_072 - 1_024] {
            let item = Item::Bytes(vec![1; length]);
            add(kind, "input", false, &|draft, by, _| {
                draft.clone().with("input", item.clone()).signed(by, None)
            });
        }
        let first = if kind == 0 { "v" } else { "yParity" };
        for (field, bits) in [(first, if kind == 0 { 128 } else { 8 }), ("r", 256), ("s", 256)] {
            for (item, is_beyond) in ends(bits) {
                add(kind, field, is_beyond, &|draft, by, _| draft.signed(by, Some((field, &item))));
            }
        }
    }
    for (field, bits) in [("chainId", 256), ("nonce", 64), ("yParity", 8), ("r", 256), ("s", 256)] {
        for (item, is_beyond) in ends(bits) {
            add(4, field, is_beyond, &|draft, by, number| {
                let list = vec![authorization(number, Some((field, &item)))];
                draft.clone().with("authorizationList", Item::List(list)).signed(by, None)
            });
        }
    }
    all
}

#[test]
fn a_wallet_at_the_ends_of_its_types_stops_nobody_and_is_told_which_field() {
    let _seat = beside();
    block_on(async {
        let session = session(plan(2), 0.0).await;
        let agents: Vec<RpcClient> =
            session.network.rpc_urls().iter().cloned().map(crate::client).collect();
        let (mut taken, mut refused) = (Vec::new(), 0);
        for (index, (what, field, is_beyond, raw)) in all(0).into_iter().enumerate() {
            let agent = &agents[index % agents.len()];
            let params = json!([format!("0x{}", hex::encode(&raw))]);
            match agent.call("eth_sendRawTransaction", params).await {
                Ok(hash) => {
                    assert!(!is_beyond, "{what}: accepted as {hash}");
                    assert_eq!(hash, json!(keccak256(&raw)), "{what}");
                    taken.push(hash);
                }
                Err(RpcClientError::Refused { code, message, .. }) => {
                    refused += 1;
                    assert!((-32_032..=-32_010).contains(&code), "{what}: {code} {message}");
                    assert!(!is_beyond || message.contains(field), "{what}: {message}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        assert!(taken.len() > 60 && refused > 60, "{} taken, {refused} refused", taken.len());

        // Both agents go on: what is signed as usual is decided, and each knows of it.
        for (index, agent) in agents.iter().enumerate() {
            let by = wallet(9_000_000 + u64::try_from(index).unwrap());
            let raw = Draft::plain(2, 0).signed(&by, None);
            let params = json!([format!("0x{}", hex::encode(&raw))]);
            let hash = agent.call("eth_sendRawTransaction", params).await.unwrap();
            for other in &agents {
                until("a receipt", || async {
                    let receipt = other.call("eth_getTransactionReceipt", json!([hash])).await;
                    receipt.is_ok_and(|receipt| receipt.is_object())
                })
                .await;
            }
        }
        // And so is all that was taken and waits for nothing: an accepted nonce 0 is the sender's next one.
        until("more than half of what was taken is decided", || async {
            let mut decided = 0;
            for hash in &taken {
                let stands = agents[0].call("rota_getTransaction", json!([hash])).await.unwrap();
                decided +=
                    usize::from(stands["height"].is_string() || stands["height"].is_number());
            }
            decided > taken.len() / 2
        })
        .await;
        session.end().await;
    });
}
