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
    working: U256,
    shares: U256,
    resting: U256,
    resting_shares: U256,
    waiting: U256,
}

const VIRTUAL_SHARES: u64 = 1_000;

/// Within what L1 keeps an amount in.
fn fits(value: U512) -> Option<U256> {
    (value < U512::from(1) << 128).then(|| value.to())
}

fn sum(a: U256, b: U256) -> Option<U256> {
    fits(U512::from(a) + U512::from(b))
}

/// Shares that `amount` buys, not yet within anything.
fn bought(amount: U256, shares: U256, assets: U256) -> U512 {
    U512::from(amount) * (U512::from(shares) + U512::from(VIRTUAL_SHARES))
        / (U512::from(assets) + U512::from(1))
}

/// What `part` of `shares` is worth.
fn worth(part: U256, shares: U256, assets: U256) -> U256 {
    let product = U512::from(part) * (U512::from(assets) + U512::from(1));
    (product / (U512::from(shares) + U512::from(VIRTUAL_SHARES))).to()
}

impl Model {
    fn assets(&self) -> U256 {
        self.working + self.resting
    }

    /// What a step gives, and the pool after it.
    fn after(&self, step: &Step) -> Option<(U256, Self)> {
        let amount = step.amount;
        let mut next = self.clone();
        let result = match step.kind {
            Kind::Deposit => {
                sum(self.assets(), amount)?;
                let shares = fits(bought(amount, self.shares, self.working))?;
                next.working += amount;
                next.shares = sum(self.shares, shares)?;
                shares
            }
            Kind::Wait => {
                sum(self.assets(), amount)?;
                let shares = fits(bought(amount, self.resting_shares, self.resting))?;
                next.resting += amount;
                next.resting_shares = sum(self.resting_shares, shares)?;
                next.waiting += shares;
                shares
            }
            Kind::Wake => {
                next.waiting = self.waiting.checked_sub(amount)?;
                let wei = worth(amount, self.resting_shares, self.resting);
                let shares = fits(bought(wei, self.shares, self.working))?;
                next.resting -= wei;
                next.working += wei;
                next.resting_shares -= amount;
                next.shares = sum(self.shares, shares)?;
                shares
            }
            Kind::Retire => {
                next.shares = self.shares.checked_sub(amount)?;
                let wei = worth(amount, self.shares, self.working);
                // Beyond 128 bits they become no more, or an exit would keep the queue from moving.
                let room = U256::from(u128::MAX) - self.resting_shares;
                let shares = bought(wei, self.resting_shares, self.resting).min(U512::from(room));
                let shares: U256 = shares.to();
                next.working -= wei;
                next.resting += wei;
                next.resting_shares += shares;
                shares
            }
            Kind::Redeem => {
                // Only what does not wait.
                let leaving = self.resting_shares - self.waiting;
                leaving.checked_sub(amount)?;
                let wei = worth(amount, self.resting_shares, self.resting);
                next.resting -= wei;
                next.resting_shares -= amount;
                wei
            }
            Kind::Reward => {
                sum(self.assets(), amount)?;
                next.working += amount;
                U256::ZERO
            }
            Kind::Slash => {
                let slashed = amount.min(self.assets());
                if !self.resting.is_zero() {
                    let part = U512::from(self.resting) * U512::from(slashed);
                    next.resting -= (part / U512::from(self.assets())).to::<U256>();
                }
                next.working = self.assets() - slashed - next.resting;
                slashed
            }
            Kind::__Invalid => unreachable!("no test makes one"),
        };
        Some((result, next))
    }

    fn answer(&self, result: Option<U256>) -> StepAnswer {
        let third = self.resting / U256::from(3);
        let sharing =
            U512::from(third) * (U512::from(self.resting_shares) + U512::from(VIRTUAL_SHARES));
        let resting = U512::from(self.resting);
        StepAnswer {
            done: result.is_some(),
            result: result.unwrap_or_default(),
            assetsWei: self.assets(),
            shares: self.shares,
            restingWei: self.resting,
            restingShares: self.resting_shares,
            waitingShares: self.waiting,
            workingWorthWei: worth(self.shares, self.shares, self.working),
            stakeWei: self.working + worth(self.waiting, self.resting_shares, self.resting),
            // The fewest that are worth it: rounded up.
            restingForAThird: ((sharing + resting) / (resting + U512::from(1))).to(),
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
    let (kind, amount) = match random.gen_range(0..14) {
        0..2 => (Kind::Deposit, inputs::amount(random, bits)),
        2..4 => (Kind::Wait, inputs::amount(random, bits)),
        4..6 => (Kind::Wake, part(random, pool.waiting)),
        6..8 => (Kind::Retire, part(random, pool.shares)),
        8..10 => (Kind::Redeem, part(random, pool.resting_shares - pool.waiting)),
        10 => (Kind::Reward, inputs::amount(random, bits)),
        11..13 => (Kind::Slash, part(random, pool.assets())),
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
        let bits = [4, 64, 90, 110, 116][random.gen_range(0..5)];
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
