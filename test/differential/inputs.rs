//! Random inputs, in which the ends of each range are likely.

use alloy::primitives::{Address, B256, U256};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The generator of one test. What it prints is shown when the test fails.
pub(crate) fn generator() -> StdRng {
    let seed = std::env::var("DIFFERENTIAL_SEED")
        .map_or_else(|_| rand::random(), |text| text.parse::<u64>().unwrap());
    println!("DIFFERENTIAL_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Below 2^`bits`: zero, the largest, or a number of random length.
pub(crate) fn number(random: &mut StdRng, bits: u32) -> u64 {
    let largest = u64::MAX >> (64 - bits);
    match random.gen_range(0..10) {
        0 => 0,
        1 => largest,
        _ => random.r#gen::<u64>() >> random.gen_range(64 - bits..64),
    }
}

/// The same with up to 32 bits.
pub(crate) fn small(random: &mut StdRng) -> u32 {
    number(random, 32) as u32
}

/// The same for amounts of up to 128 bits.
pub(crate) fn amount(random: &mut StdRng, bits: u32) -> U256 {
    let largest = u128::MAX >> (128 - bits);
    U256::from(match random.gen_range(0..10) {
        0 => 0,
        1 => largest,
        _ => random.r#gen::<u128>() >> random.gen_range(128 - bits..128),
    })
}

/// Any word; zero at times.
pub(crate) fn word(random: &mut StdRng) -> B256 {
    if random.gen_ratio(1, 16) { B256::ZERO } else { B256::new(random.r#gen()) }
}

/// Any address.
pub(crate) fn address(random: &mut StdRng) -> Address {
    Address::from_word(word(random))
}
