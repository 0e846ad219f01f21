//! Penalties (R34) and fees of the forced queue (R31), as `rota simulate` works them out.

use crate::chain::Chain;
use crate::harness::{FeeCase, Harness, PenaltyCase};
use crate::inputs;
use alloy::primitives::U256;
use rand::Rng as _;
use rand::rngs::StdRng;
use rota::domain::Seconds;
use rota::economics::Network;
use rota::l1::read_params;

const PENALTIES: usize = 512;
const QUEUES: usize = 64;

fn network(random: &mut StdRng) -> Network {
    let config = include_str!("../../script/config/devnet.json");
    let mut params = read_params(config, Seconds::new(0)).unwrap();
    params.double_sign_bps = random.gen_range(0..=10_000);
    params.correlation_factor = random.gen_range(0..=10);
    params.forced_fee_wei = inputs::amount(random, 96);
    params.forced_fee_doubling_entries = random.gen_range(1..=64);
    params.forced_fee_max_doublings = random.gen_range(0..=10);
    let stake_wei = params.weight_unit_wei * U256::from(random.gen_range(1..=u64::from(u32::MAX)));
    Network { params, members: random.gen_range(1..=128), stake_wei }
}

#[tokio::test]
async fn random_penalties_and_fees_are_those_of_the_contracts() {
    let mut random = inputs::generator();
    let random = &mut random;
    let chain = Chain::start().await;

    let networks: Vec<(Network, u64)> = (0..PENALTIES)
        .map(|_| {
            let network = network(random);
            let group = random.gen_range(1..=network.members);
            (network, group)
        })
        .collect();
    let cases = networks
        .iter()
        .map(|(network, group)| {
            let weight = network.stake_wei / network.params.weight_unit_wei;
            PenaltyCase {
                baseBps: U256::from(network.params.double_sign_bps),
                factor: U256::from(network.params.correlation_factor),
                correlated: weight * U256::from(*group),
                total: weight * U256::from(network.members),
            }
        })
        .collect();
    let answers = chain.harness(Harness::penaltiesOfCall { cases }).await;
    for ((network, group), answer) in networks.iter().zip(answers) {
        assert_eq!(network.double_sign_bps(*group), answer, "{group} of {network:?}");
    }

    let queues: Vec<(Network, u64)> =
        (0..QUEUES).map(|_| (network(random), random.gen_range(0..=512))).collect();
    let cases = queues
        .iter()
        .map(|(network, entries)| FeeCase {
            feeWei: network.params.forced_fee_wei,
            doublingEntries: U256::from(network.params.forced_fee_doubling_entries),
            maxDoublings: U256::from(network.params.forced_fee_max_doublings),
            entries: U256::from(*entries),
        })
        .collect();
    let answers = chain.harness(Harness::feesOfCall { cases }).await;
    for ((network, entries), answer) in queues.iter().zip(answers) {
        assert_eq!(network.queue_fees_wei(*entries), answer, "{entries} entries, {network:?}");
    }
}
