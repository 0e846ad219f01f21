//! Shares of a pool. The agent never computes them, so a model does: what `PoolLib` says, in 512 bits.

use crate::chain::Chain;
use crate::harness::{Harness, Kind, Step, StepAnswer};
use crate::inputs;
use alloy::primitives::{U256, U512};
use rand::Rng as _;
use rand::rngs::StdRng;

const SEQUENCES: usize = 64;
const STEPS: usize = 48;

/// A pool that no amount overflows: it says `None` where L1 has to revert.
#[derive(Clone, Debug, Default)]
struct Model {
    assets: U256,
    shares: U256,
    leaving: U256,
}

/// Rounded down. `None` if the divisor is zero.
fn mul_div(a: U256, b: U256, divisor: U256) -> Option<U512> {
    (U512::from(a) * U512::from(b)).checked_div(U512::from(divisor))
}

/// Within what L1 keeps an amount in.
fn fits(value: U512) -> Option<U256> {
    (value < U512::from(1) << 128).then(|| value.to())
}

impl Model {
    fn staying(&self) -> U256 {
        self.shares - self.leaving
    }

    /// What a step gives, and the pool after it.
    fn after(&self, step: &Step) -> Option<(U256, Self)> {
        let (one, thousand) = (U256::from(1), U256::from(1_000));
        let amount = step.amount;
        let grown = |value: U256, by: U256| fits(U512::from(value) + U512::from(by));
        let mut next = self.clone();
        let result = match step.kind {
            Kind::Deposit => {
                let shares = mul_div(amount, self.shares + thousand, self.assets + one)?;
                let shares = fits(shares)?;
                next.assets = grown(self.assets, amount)?;
                next.shares = grown(self.shares, shares)?;
                shares
            }
            Kind::Leave => {
                next.leaving = grown(self.leaving, amount).filter(|sum| *sum <= self.shares)?;
                U256::ZERO
            }
            Kind::Redeem => {
                next.leaving = self.leaving.checked_sub(amount)?;
                next.shares = self.shares.checked_sub(amount)?;
                let wei = fits(mul_div(amount, self.assets + one, self.shares + thousand)?)?;
                next.assets = self.assets.checked_sub(wei)?;
                wei
            }
            Kind::Reward => {
                next.assets = grown(self.assets, amount)?;
                U256::ZERO
            }
            Kind::Slash => {
                let slashed = amount.min(self.assets);
                next.assets = self.assets - slashed;
                slashed
            }
            Kind::__Invalid => unreachable!("no test makes one"),
        };
        Some((result, next))
    }

    fn answer(&self, result: Option<U256>) -> StepAnswer {
        let worth = mul_div(self.assets, self.staying(), self.shares);
        let third = self.assets / U256::from(3);
        let sharing = U512::from(third) * U512::from(self.shares);
        let shares = if third.is_zero() {
            U512::ZERO
        } else {
            // The fewest that are worth it: rounded up.
            let assets = U512::from(self.assets);
            (sharing + assets - U512::from(1)) / assets
        };
        StepAnswer {
            done: result.is_some(),
            result: result.unwrap_or_default(),
            assetsWei: self.assets,
            shares: self.shares,
            leavingShares: self.leaving,
            stayingWorthWei: worth.unwrap_or_default().to(),
            sharesWorthAThird: shares.to(),
        }
    }
}

/// A part of a whole, all of it, or one more than there is.
fn part(random: &mut StdRng, whole: U256) -> U256 {
    match random.gen_range(0..10) {
        0 => whole,
        1 => whole + U256::from(1),
        2 => U256::ZERO,
        _ => whole / U256::from(random.gen_range(1_u64..1_000)),
    }
}

fn step(random: &mut StdRng, pool: &Model, bits: u32) -> Step {
    let (kind, amount) = match random.gen_range(0..10) {
        0..3 => (Kind::Deposit, inputs::amount(random, bits)),
        3..5 => (Kind::Leave, part(random, pool.staying())),
        5..7 => (Kind::Redeem, part(random, pool.leaving)),
        7 => (Kind::Reward, inputs::amount(random, bits)),
        8 => (Kind::Slash, part(random, pool.assets)),
        _ => (Kind::Slash, inputs::amount(random, bits)),
    };
    Step { kind, amount }
}

#[tokio::test]
async fn random_sequences_leave_the_pool_that_exact_arithmetic_gives() {
    let mut random = inputs::generator();
    let mut sequences = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..SEQUENCES {
        // From a few wei to all that fits, where L1 has to refuse.
        let bits = [4, 64, 90, 116, 128][random.gen_range(0..5)];
        let mut pool = Model::default();
        let (mut steps, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..STEPS {
            let step = step(&mut random, &pool, bits);
            let outcome = pool.after(&step);
            let result = outcome.as_ref().map(|(result, _)| *result);
            pool = outcome.map_or(pool, |(_, next)| next);
            answers.push(pool.answer(result));
            steps.push(step);
        }
        sequences.push(steps);
        expected.push(answers);
    }

    let chain = Chain::start().await;
    let actual = chain.harness(Harness::playCall { sequences: sequences.clone() }).await;

    assert_eq!(actual.len(), SEQUENCES);
    for (number, steps) in sequences.iter().enumerate() {
        for place in 0..STEPS {
            let (expected, actual) = (&expected[number][place], &actual[number][place]);
            assert_eq!(expected, actual, "sequence {number}: {:?}", &steps[..=place]);
        }
    }
    let done = expected.iter().flatten().filter(|answer| answer.done).count();
    assert!(done > SEQUENCES * STEPS / 4, "most steps refused: {done} done");
}
