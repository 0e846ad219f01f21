//! Weighted draws without replacement (R11).

use crate::crypto::words::Words;
use crate::domain::{LeaderSet, Turn};
use alloy::primitives::{B256, U256};

/// Member number `a` in the draw order of a turn, as its place in the set; `a` counts modulo the number of members.
/// `None` if the set has none.
pub fn draw(set: &LeaderSet, turn: Turn, a: u32) -> Option<usize> {
    let count = u32::try_from(set.members().len()).ok()?;
    let index = a.checked_rem(count)?;
    Draws::new(set, turn).nth(usize::try_from(index).ok()?)
}

/// All members in the draw order of a turn, as places in the set.
pub fn draw_order(set: &LeaderSet, turn: Turn) -> Vec<usize> {
    Draws::new(set, turn).collect()
}

/// The members that are still to be drawn, in member order.
struct Draws {
    seed: B256,
    turn: Turn,
    next: u32,
    undrawn: Vec<(usize, u64)>,
    remaining: u64,
}

impl Draws {
    fn new(set: &LeaderSet, turn: Turn) -> Self {
        let undrawn = set.members().iter().map(|member| member.weight).enumerate().collect();
        Self { seed: set.seed(), turn, next: 0, undrawn, remaining: set.total() }
    }
}

impl Iterator for Draws {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let hash = Words::with_capacity(3)
            .word(self.seed)
            .uint(self.turn.get())
            .uint(self.next.into())
            .hash();
        let x = U256::from_be_bytes(hash.0).checked_rem(U256::from(self.remaining))?;
        let x: u64 = x.saturating_to();
        let mut cumulative: u64 = 0;
        let place = self.undrawn.iter().position(|(_, weight)| {
            cumulative = cumulative.saturating_add(*weight);
            cumulative > x
        })?;
        let (member, weight) = self.undrawn.remove(place);
        self.remaining = self.remaining.saturating_sub(weight);
        self.next = self.next.saturating_add(1);
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "small numbers of the tests' own making"
    )]

    use super::{draw, draw_order};
    use crate::domain::{Epoch, Generation, LeaderSet, Member, Turn};
    use alloy::primitives::{Address, B256, U256, keccak256};
    use alloy::sol_types::SolValue;
    use proptest::prelude::*;

    fn set(seed: B256, weights: &[u64]) -> LeaderSet {
        let members = (1_u64..)
            .zip(weights)
            .map(|(i, weight)| Member {
                signer: Address::left_padding_from(&i.to_be_bytes()),
                weight: *weight,
            })
            .collect();
        LeaderSet::new(Generation::new(0), Epoch::new(0), seed, members).unwrap()
    }

    /// R11 as it reads, slow.
    fn by_the_rule(set: &LeaderSet, turn: u64, a: u32) -> usize {
        let members = set.members();
        let mut drawn = Vec::new();
        for i in 0..=a % members.len() as u32 {
            let left: u64 =
                (0..members.len()).filter(|m| !drawn.contains(m)).map(|m| members[m].weight).sum();
            let hash = keccak256((set.seed(), turn, i).abi_encode());
            let x = U256::from_be_bytes(hash.0) % U256::from(left);
            let mut cumulative = U256::ZERO;
            for (m, member) in members.iter().enumerate() {
                if drawn.contains(&m) {
                    continue;
                }
                cumulative += U256::from(member.weight);
                if cumulative > x {
                    drawn.push(m);
                    break;
                }
            }
        }
        drawn[drawn.len() - 1]
    }

    #[test]
    fn an_empty_set_draws_nobody() {
        assert_eq!(draw(&set(B256::ZERO, &[]), Turn::new(0), 0), None);
        assert!(draw_order(&set(B256::ZERO, &[]), Turn::new(0)).is_empty());
    }

    #[test]
    fn heavy_members_lead_in_proportion() {
        let set = set(keccak256("seed"), &[1, 3]);
        let led = (0..4_000).filter(|t| draw(&set, Turn::new(*t), 0) == Some(1)).count();
        assert!((2_850..3_150).contains(&led), "{led} of 4000");
    }

    proptest! {
        #[test]
        fn draws_are_those_of_the_rule(
            seed in any::<[u8; 32]>(), turn in any::<u64>(), a in any::<u32>(),
            weights in prop::collection::vec(prop_oneof![1_u64..5, 1_u64..1 << 48], 1..40),
        ) {
            let set = set(seed.into(), &weights);
            prop_assert_eq!(draw(&set, Turn::new(turn), a), Some(by_the_rule(&set, turn, a)));
        }

        #[test]
        fn the_order_holds_every_member_once(
            seed in any::<[u8; 32]>(), turn in any::<u64>(),
            weights in prop::collection::vec(1_u64..1 << 40, 1..=128),
        ) {
            let set = set(seed.into(), &weights);
            let order = draw_order(&set, Turn::new(turn));
            let last = order.len() - 1;
            for a in [0, last / 2, last] {
                prop_assert_eq!(draw(&set, Turn::new(turn), a as u32), Some(order[a]));
            }
            let mut sorted = order;
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..weights.len()));
        }
    }
}
