//! Frozen sets and draws (R4, R11).

use crate::chain::Chain;
use crate::harness::{Harness, SetCase, Settlement};
use crate::inputs;
use alloy::primitives::{Address, B256, U256};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rota::crypto::SecretKey;
use rota::domain::{Epoch, Generation, LeaderSet, Member, Turn};
use rota::rota::draw;
use std::collections::BTreeSet;

const SETS: usize = 64;
const DRAWS: usize = 16;
/// How many stretches of the deployed schedule, of 256 turns each.
const STRETCHES: usize = 8;

/// Up to as many members as a set can have, whose weights stay within 56 bits together.
fn members(random: &mut StdRng) -> Vec<Member> {
    let count = match random.gen_range(0..8) {
        0 => 1,
        1 => LeaderSet::MAX_MEMBERS,
        _ => random.gen_range(2..LeaderSet::MAX_MEMBERS),
    };
    let signers: BTreeSet<Address> = (0..count).map(|_| inputs::address(random)).collect();
    // A sum of at most 128 = 2^7 weights below 2^49; or one that has all 56 bits to itself.
    let bits = if signers.len() == 1 { 56 } else { random.gen_range(1..=49) };
    signers
        .into_iter()
        .map(|signer| Member { signer, weight: inputs::number(random, bits).max(1) })
        .collect()
}

fn packed(member: &Member) -> U256 {
    (U256::from_be_slice(member.signer.as_slice()) << 96) | (U256::from(member.weight) << 40)
}

#[tokio::test]
async fn random_sets_freeze_to_the_same_code_and_draw_the_same_members() {
    let mut random = inputs::generator();
    let mut sets = Vec::new();
    let mut cases = Vec::new();
    for _ in 0..SETS {
        let (seed, generation) = (inputs::word(&mut random), inputs::small(&mut random));
        let members = members(&mut random);
        let mut words: Vec<U256> = members.iter().map(packed).collect();
        words.shuffle(&mut random);
        cases.push(SetCase {
            members: words,
            seed,
            generation,
            turns: (0..DRAWS).map(|_| inputs::number(&mut random, 64)).collect(),
            draws: (0..DRAWS).map(|_| inputs::small(&mut random)).collect(),
        });
        let generation = Generation::new(generation);
        sets.push(LeaderSet::new(generation, Epoch::new(5), seed, members).unwrap());
    }

    let chain = Chain::start().await;
    let answers = chain.harness(Harness::freezeCall { cases: cases.clone() }).await;

    assert_eq!(answers.len(), SETS);
    for ((set, case), answer) in sets.iter().zip(&cases).zip(&answers) {
        assert_eq!(set.to_code(), answer.code.to_vec(), "{set:?}");
        assert_eq!(LeaderSet::from_code(&answer.code, Epoch::new(5)).as_ref(), Ok(set));
        for (i, (turn, a)) in case.turns.iter().zip(&case.draws).enumerate() {
            let turn = Turn::new(*turn);
            let expected = [draw(set, turn, 0), draw(set, turn, *a)].map(|place| place.unwrap());
            let actual = [answer.first[i].to::<usize>(), answer.drawn[i].to::<usize>()];
            assert_eq!(expected, actual, "turn {turn}, draws 0 and {a} of {set:?}");
        }
    }
}

#[tokio::test]
async fn the_deployed_schedule_names_whom_the_agent_draws_from_the_sealed_set() {
    let mut random = inputs::generator();
    let one = U256::from(10).pow(U256::from(18));
    let joining: Vec<(SecretKey, U256)> = (0..7)
        .map(|_| {
            let key = SecretKey::from_bytes(random.r#gen()).unwrap();
            (key, one * U256::from(random.gen_range(100..100_000)))
        })
        .collect();
    let chain = Chain::start().await;
    let deployed = chain.deploy(&joining).await;
    let (settlement, epoch) = (deployed.deployment.settlement, deployed.epoch.get());

    let set = chain.ask(settlement, Settlement::setOfCall { generation: 0, epoch }).await.unwrap();
    assert_eq!(set.sealedFor, epoch);
    // The code was stored by the pin, when the seed of this epoch could not be known.
    let code = chain.code_at(set.pointer).await;
    let frozen = LeaderSet::from_code(&code, deployed.epoch).unwrap();
    assert_eq!(frozen.seed(), B256::ZERO, "no set was sealed before");
    assert_ne!(set.seed, B256::ZERO);
    let set = frozen.with_seed(set.seed);
    let mut expected: Vec<Member> = joining
        .iter()
        .map(|(key, stake)| Member { signer: key.address(), weight: (*stake / one).to() })
        .collect();
    expected.sort_by_key(|member| member.signer);
    assert_eq!(set.members(), expected);

    for _ in 0..STRETCHES {
        let first = inputs::number(&mut random, 63);
        let call = Settlement::scheduleCall { epoch, firstTurn: first, count: 256 };
        let actual = chain.ask(settlement, call).await.unwrap();
        let expected: Vec<Address> = (first..first + 256)
            .map(|turn| set.members()[draw(&set, Turn::new(turn), 0).unwrap()].signer)
            .collect();
        assert_eq!(expected, actual, "from turn {first} on of {set:?}");
    }
}
