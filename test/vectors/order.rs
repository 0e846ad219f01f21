//! `order.json`: in which epoch a height is agreed on, who holds it, and who proposes its rounds (R10, R12, R15).

use crate::derivation::params;
use crate::draw::sets;
use crate::json::{dec, hex, number};
use alloy::primitives::{Address, B256};
use rota::domain::{BlockHeader, Epoch, Generation, Height, LeaderSet, Millis, Round, Seconds};
use rota::rota::{draw_order, epoch_of_next, holder, order, proposer};
use serde_json::{Value, json};

/// What a case changes in a parent that holds its turn.
type Change = (&'static str, fn(&mut BlockHeader));

fn parent(set: &LeaderSet, height: u64, proposer: Address) -> BlockHeader {
    BlockHeader {
        generation: set.generation(),
        height: Height::new(height),
        epoch: Epoch::new(4),
        proposer,
        timestamp: Millis::new(0),
        parent_hash: B256::ZERO,
        l1_origin_number: 0,
        l1_origin_hash: B256::ZERO,
        forced_through: 0,
        tx_count: 0,
        tx_root: B256::ZERO,
    }
}

fn cases() -> Vec<Value> {
    let changes: [Change; 5] = [
        ("the proposer of the parent goes on", |_| {}),
        ("a turn begins", |parent| parent.height = Height::new(parent.height.get() + 1)),
        ("the parent is of an epoch before", |parent| parent.epoch = Epoch::new(3)),
        ("the parent is of another generation", |parent| {
            parent.generation = Generation::new(parent.generation.get().wrapping_sub(1));
        }),
        ("the proposer of the parent is in the set no more", |parent| {
            parent.proposer = Address::repeat_byte(0xee);
        }),
    ];
    let params = params();
    let mut cases = Vec::new();
    for (index, (_, set)) in sets().into_iter().enumerate() {
        // The last height but one of a turn: the next is of the same turn, and the one after it is not.
        let turn = number("order", index as u64) % 1_000_000;
        let height = turn * params.turn_length + params.turn_length - 2;
        let drawn = draw_order(&set, params.turn_of(Height::new(height)));
        let last = set.members()[*drawn.last().unwrap()].signer;
        for (name, change) in changes {
            let mut parent = parent(&set, height, last);
            change(&mut parent);
            let epoch = Epoch::new(4);
            let places = order(&params, &parent, epoch, &set);
            let rounds = [0, 1, set.members().len() as u32, u32::MAX]
                .map(|round| (round, proposer(&places, Round::new(round)).unwrap()));
            cases.push(json!({
                "name": name, "set": index, "epoch": dec(epoch.get()),
                "parentGeneration": parent.generation.get(), "parentHeight": dec(parent.height.get()),
                "parentEpoch": dec(parent.epoch.get()), "parentProposer": hex(parent.proposer),
                "turn": dec(params.turn_of(parent.height.next()).get()),
                "holder": holder(&params, &parent, epoch, &set).unwrap(), "order": places,
                "rounds": rounds.iter().map(|(round, _)| *round).collect::<Vec<_>>(),
                "proposers": rounds.iter().map(|(_, member)| *member).collect::<Vec<_>>(),
            }));
        }
    }
    cases
}

fn epochs() -> Vec<Value> {
    let mut params = params();
    (params.genesis, params.epoch_seconds) = (1_000, 60);
    let set = sets().remove(0).1;
    let parent = parent(&set, 41, Address::ZERO);
    [0, 999, 1_000, 1_239, 1_240, 1_299, 1_300, u64::MAX]
        .map(|time| {
            let epoch = epoch_of_next(&params, &parent, Seconds::new(time));
            json!({ "originTime": dec(time), "parentEpoch": dec(4), "epoch": dec(epoch.get()) })
        })
        .to_vec()
}

#[test]
fn order_vectors_hold() {
    let value = json!({
        "turnLength": dec(params().turn_length), "cases": cases(),
        "genesis": dec(1_000), "epochSeconds": dec(60), "epochs": epochs(),
    });
    crate::hold("order.json", &value);
}
