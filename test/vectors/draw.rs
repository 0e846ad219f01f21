//! `draw.json`: frozen sets and draws from them (R4, R11).

use crate::json::{bytes, dec, hex, number, word};
use alloy::primitives::Address;
use rota::domain::{Epoch, Generation, LeaderSet, Member, Turn};
use rota::rota::{draw, draw_order};
use serde_json::{Value, json};

fn set(name: &str, generation: u32, weights: &[u64]) -> LeaderSet {
    let mut signers: Vec<Address> =
        (0..weights.len() as u64).map(|i| Address::from_slice(&bytes(name, i, 20))).collect();
    signers.sort_unstable();
    let members =
        signers.into_iter().zip(weights).map(|(signer, weight)| Member { signer, weight: *weight });
    LeaderSet::new(Generation::new(generation), Epoch::new(0), word(name, 0), members.collect())
        .unwrap()
}

pub(crate) fn sets() -> Vec<(&'static str, LeaderSet)> {
    let random = |name: &str, count: u64, below: u64| -> Vec<u64> {
        (0..count).map(|i| 1 + number(name, i) % below).collect()
    };
    vec![
        ("one member", set("one", 0, &[1])),
        ("one member with all the weight there can be", set("heavy", 0, &[(1 << 56) - 1])),
        ("two equal members", set("two", 1, &[5, 5])),
        ("four members as on devnet", set("four", 0, &[100, 100, 100, 100])),
        ("a dwarf among giants", set("dwarf", u32::MAX, &[1, 1 << 54, 1 << 54, (1 << 54) - 2])),
        ("seven members, total up to 2^56", set("seven", 2, &random("seven", 7, 1 << 53))),
        ("48 members", set("48", 3, &random("48", 48, 1_000_000))),
        ("128 members", set("128", 4, &random("128", 128, 1 << 48))),
    ]
}

fn vectors() -> Value {
    let mut listed = Vec::new();
    let mut draws = Vec::new();
    for (index, (name, set)) in sets().into_iter().enumerate() {
        let members = set.members();
        listed.push(json!({
            "name": name,
            "generation": set.generation().get(),
            "seed": hex(set.seed()),
            "total": dec(set.total()),
            "count": members.len(),
            "signers": members.iter().map(|m| hex(m.signer)).collect::<Vec<_>>(),
            "weights": members.iter().map(|m| dec(m.weight)).collect::<Vec<_>>(),
            "code": hex(set.to_code()),
        }));
        for turn in [0, 1, 2, number("turn", index as u64), u64::MAX] {
            let turn = Turn::new(turn);
            let count = members.len() as u32;
            let beyond = [count, count + 1, 1_000_003, u32::MAX];
            for a in
                [0, 1, 2, count / 2, count - 1].into_iter().filter(|a| *a < count).chain(beyond)
            {
                let member = draw(&set, turn, a).unwrap();
                draws.push(json!({
                    "set": index, "turn": dec(turn.get()), "a": a, "member": member,
                    "signer": hex(members[member].signer),
                }));
            }
        }
    }
    let orders: Vec<Value> = sets()
        .iter()
        .enumerate()
        .map(|(index, (_, set))| {
            let turn = 17;
            json!({ "set": index, "turn": dec(turn), "members": draw_order(set, Turn::new(turn)) })
        })
        .collect();
    json!({ "sets": listed, "draws": draws, "orders": orders })
}

#[test]
fn draws_hold() {
    crate::hold("draw.json", &vectors());
}

#[test]
fn the_code_of_each_set_is_read_back() {
    for (name, set) in sets() {
        assert_eq!(
            LeaderSet::from_code(&set.to_code(), Epoch::new(0)).as_ref(),
            Ok(&set),
            "{name}"
        );
    }
}
