//! Arbitrary transactions through the whole core, by seed. `make test` runs a few hundred cases; `make fuzz` runs for
//! `ROTA_FUZZ_SECONDS`, from `ROTA_FUZZ_SEED` on. A failure names the seed of its case.

use super::rlp::{Draft, KINDS, Rlp, authorization, bytes, ends, fields, number};
use super::{Core, ROLLUPS};
use crate::domain::{RollupId, RollupTransaction};
use crate::mempool::Limits;
use crate::testing::{ROLLUP, key, raw_transaction};
use alloy::primitives::Bytes;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::time::{Duration, Instant};

/// Cases in `make test`.
const CASES: u64 = 60;

/// What is done in one case.
const STEPS: u32 = 120;

struct Dice(TestRng);

impl Dice {
    fn of(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound as u64).unwrap()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most + 1)];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A nonce: mostly a low one, sometimes at an end.
    fn nonce(&mut self) -> u64 {
        match self.below(12) {
            0 => u64::MAX - self.below(3) as u64,
            1 => self.0.next_u64(),
            _ => self.below(6) as u64,
        }
    }

    fn value(&mut self, width: usize) -> Rlp {
        match self.below(3) {
            0 => self.one(&ends(width)),
            1 => number(self.0.next_u64().into()),
            _ => bytes(&self.bytes(width)),
        }
    }

    fn transaction(&mut self) -> Bytes {
        if self.below(12) == 0 {
            return self.bytes(300).into();
        }
        let by = key(u8::try_from(1 + self.below(4)).unwrap());
        let chain_id = self.one(&ROLLUPS);
        let kind = self.one(&KINDS);
        let mut draft = Draft::plain(kind, &by, chain_id, self.below(6) as u64);
        draft = draft.with("nonce", number(self.nonce().into()));
        for (field, width) in fields(kind) {
            let rare = self.below(6) == 0;
            draft = match *field {
                "data" if rare => {
                    let length = self.one(&[0, 1, 1_000, 60_000, 66_000, 99_000]);
                    draft.with(field, bytes(&vec![0; length]))
                }
                "authorizationList" => {
                    let listed = (0..self.below(4)).map(|_| {
                        let authority = key(u8::try_from(1 + self.below(4)).unwrap());
                        let chain_id = self.one(&[chain_id, 0, 5]);
                        authorization(&authority, chain_id, self.nonce(), None)
                    });
                    let listed = listed.collect();
                    draft.with(field, Rlp::List(listed))
                }
                "tip" | "maxFee" | "gasPrice" | "value" | "gas" if rare => {
                    let value = self.value(*width);
                    draft.with(field, value)
                }
                _ => draft,
            };
        }
        let spoilt = (self.below(10) == 0).then(|| (self.below(3), self.value(32)));
        let raw = draft.sign(&by, |parts| {
            if let Some((at, value)) = spoilt {
                parts[at] = value;
            }
        });
        if self.below(20) > 0 {
            return raw;
        }
        let mut flipped = raw.to_vec();
        let at = self.below(flipped.len());
        flipped[at] ^= 1 << self.below(8);
        flipped.into()
    }
}

async fn case(seed: u64) {
    let mut dice = Dice::of(seed);
    let small = Limits {
        bytes: 300_000,
        per_sender: 8,
        bytes_per_sender: 150_000,
        per_peer: 16,
        ..Limits::of(24)
    };
    let mut core = Core::new(small);
    let mut seen: Vec<Bytes> = Vec::new();
    let mut promised: Vec<RollupTransaction> = Vec::new();
    for _ in 0..STEPS {
        let again = !seen.is_empty() && dice.below(8) == 0;
        let raw = if again { dice.one(&seen) } else { dice.transaction() };
        seen.push(raw.clone());
        match dice.below(16) {
            0..=5 => {
                if core.submit(&raw).is_ok() {
                    let signed = crate::domain::SignedTransaction::decode(raw, 1 << 20).unwrap();
                    promised.push(signed.transaction);
                }
            }
            6..=9 => {
                let rollup = RollupId::new(dice.one(&ROLLUPS));
                core.forward(rollup, &raw);
            }
            10..=11 => {
                core.order().await;
            }
            // A leader that puts in what it likes, in the order that it likes.
            12..=13 => {
                let count = 1 + dice.below(4);
                let body = (0..count).map(|_| RollupTransaction {
                    rollup: RollupId::new(dice.one(&ROLLUPS)),
                    raw: dice.one(&seen),
                });
                let body = body.collect();
                core.decide(body).await;
            }
            14 => core.settle_all(),
            _ => {
                core.begin_anew();
                for one in &promised {
                    let _ = core.submit(&one.raw);
                }
            }
        }
        core.pool.tend();
        // The bounds alone: what becomes of each promise is for the pool's model to follow (`queue::tests`).
        let waiting = core.pool.waiting();
        assert!(waiting.transactions <= 24 && waiting.bytes <= 300_000, "{waiting:?}");
    }
    core.drain().await;
    // An account that nobody has touched is served.
    while core.submit(&raw_transaction(&key(77), 0)).is_err() {
        core.begin_anew();
    }
    core.drain().await;
    let own = RollupTransaction { rollup: ROLLUP, raw: raw_transaction(&key(77), 0) };
    assert!(core.derived.contains(&(ROLLUP, own.hash())));
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn arbitrary_transactions_come_to_an_end_everywhere_and_hold_nobody_up() {
    let first = setting("ROTA_FUZZ_SEED").unwrap_or(1);
    let budget = setting("ROTA_FUZZ_SECONDS").map(Duration::from_secs);
    let began = Instant::now();
    let mut seed = first;
    loop {
        let is_over = match budget {
            Some(budget) => began.elapsed() >= budget,
            None => seed >= first + CASES,
        };
        if is_over {
            break;
        }
        // Printed when the test fails, and with --nocapture.
        println!("core fuzz: seed {seed}");
        case(seed).await;
        seed += 1;
    }
    println!("core fuzz: {} cases from seed {first}", seed - first);
}
