//! What an attacker gains and loses under a deployment's parameters: each offence played once, in whole numbers.
//!
//! Pure. The formulas are those of the contracts: penalties R34, liveness R35, forced queue R30 and R31, churn R7. What
//! an attack is worth outside of the protocol nobody here can know, so each outcome says what it costs at least: it pays
//! only for who gains more than that elsewhere.

mod duties;
mod fees;

pub use duties::{DutyBalance, PoolBalance, Year};

use crate::domain::Params;
use alloy::primitives::U256;
use alloy::primitives::utils::format_ether;
use serde::Serialize;

const BPS: u64 = 10_000;
/// A quorum is more than two thirds, so a third of the weight is what it takes to break safety (§2 of the rules).
const SAFETY_DIVISOR: u64 = 3;
/// Entries of the forced queue that a block takes beyond those of the block before (R17).
const ENTRIES_A_BLOCK: u64 = 16;
/// Churn: the part of the total weight that may change in an epoch is one in so many (R7).
const CHURN_DIVISOR: u64 = 8;

/// By what a newcomer has to exceed whom it evicts (R7).
const EVICTION_BPS: u64 = 11_000;
/// What settling a batch takes that is alone in its transaction and has no payload, with a few signatures.
const BATCH_GAS: u64 = 72_000;
/// The base fee at which amounts of ETH are told.
const BASE_FEE_WEI: u64 = 1_000_000_000;

/// A network of equal sequencers to play against.
#[derive(Clone, Debug)]
pub struct Network {
    /// The deployment's parameters.
    pub params: Params,
    /// How many sequencers there are; at least one.
    pub members: u64,
    /// What each has staked.
    pub stake_wei: U256,
}

/// What one attack comes to. Amounts are wei of the stake token, or of ETH where `in_eth` says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What was done.
    pub attack: String,
    /// What the attackers lose together, after everything that they can get back by reporting themselves.
    pub lost_wei: U256,
    /// What others are paid from it: a reporter, a victim.
    pub paid_wei: U256,
    /// What is gone for everybody.
    pub burned_wei: U256,
    /// Amounts are ETH, not the stake token.
    pub in_eth: bool,
    /// What the attackers have for it, in words.
    pub effect: String,
}

impl Network {
    /// Plays every offence and every nuisance.
    pub fn play(&self) -> Vec<Outcome> {
        let all = self.members.max(1);
        let to_break = all.checked_div(SAFETY_DIVISOR).unwrap_or(0).saturating_add(1);
        let mut groups = vec![1, all.div_ceil(CHURN_DIVISOR), to_break.min(all), all];
        groups.dedup();

        let mut outcomes: Vec<Outcome> =
            groups.into_iter().map(|group| self.double_sign(group)).collect();
        outcomes.push(self.broken_promise());
        outcomes.push(self.missed_turns());
        outcomes.push(self.left_out());
        outcomes.push(self.censorship());
        outcomes.extend([64, 256, 1_024].map(|entries| self.queue_flood(entries)));
        outcomes.push(self.entry_flood(8));
        outcomes.push(self.raid());
        outcomes
    }

    /// What a year on L1 brings and costs whoever keeps the network running, over series of fees that `seed` decides.
    pub fn play_fees(&self, seed: u64) -> Year {
        duties::play(&self.params, seed)
    }

    /// R34: the part of its pool, in basis points and rounded down as the contract does, that each of `group` double
    /// signers of one window loses.
    pub fn double_sign_bps(&self, group: u64) -> u64 {
        let correlated = self
            .params
            .correlation_factor
            .saturating_mul(group)
            .saturating_mul(BPS)
            .checked_div(self.members)
            .unwrap_or(BPS);
        self.params.double_sign_bps.saturating_add(correlated).min(BPS)
    }

    fn double_sign(&self, group: u64) -> Outcome {
        let pools = self.stake_wei.saturating_mul(U256::from(group));
        let slashed = part(pools, self.double_sign_bps(group));
        let bounty = part(slashed, self.params.bounty_bps);
        let breaks = group.saturating_mul(SAFETY_DIVISOR) > self.members;
        Outcome {
            attack: format!(
                "{group} of {} sign two blocks at one height and report themselves",
                self.members
            ),
            lost_wei: slashed.saturating_sub(bounty),
            paid_wei: bounty,
            burned_wei: slashed.saturating_sub(bounty),
            in_eth: false,
            effect: if breaks {
                "two histories could both have a quorum; L1 settles one of them".into()
            } else {
                "none: no quorum on both sides; out for ever".into()
            },
        }
    }

    fn broken_promise(&self) -> Outcome {
        let slashed = part(self.stake_wei, self.params.broken_promise_bps);
        let paid =
            part(slashed, self.params.bounty_bps.saturating_add(self.params.compensation_bps));
        Outcome {
            attack: "one leader breaks a promise of its turn".into(),
            lost_wei: slashed.saturating_sub(part(slashed, self.params.bounty_bps)),
            paid_wei: paid,
            burned_wei: slashed.saturating_sub(paid),
            in_eth: false,
            effect: "a user's transaction stands elsewhere; it is compensated".into(),
        }
    }

    fn missed_turns(&self) -> Outcome {
        let slashed = part(self.stake_wei, self.params.missed_turn_bps);
        let bounty = part(slashed, self.params.bounty_bps);
        let forgone = self
            .params
            .signers_second_wei
            .saturating_mul(U256::from(self.params.jail_seconds))
            .checked_div(U256::from(self.members))
            .unwrap_or_default();
        Outcome {
            attack: "one leader is away for three turns of its own and half of them".into(),
            lost_wei: slashed.saturating_add(forgone),
            paid_wei: bounty,
            burned_wei: slashed.saturating_sub(bounty),
            in_eth: false,
            effect: format!(
                "batches of its turns settle {} s later; jailed for {} s at least",
                self.params.takeover_seconds, self.params.jail_seconds
            ),
        }
    }

    /// Margin of a small batch at a base fee of 1 gwei.
    fn margin_wei(&self) -> U256 {
        let gas_wei = U256::from(BATCH_GAS).saturating_mul(U256::from(BASE_FEE_WEI));
        part(gas_wei, self.params.refund_margin_bps)
    }

    fn left_out(&self) -> Outcome {
        let lost = self.margin_wei().checked_div(U256::from(self.members)).unwrap_or_default();
        Outcome {
            attack: "a poster leaves one attestation out of its batch".into(),
            lost_wei: lost,
            paid_wei: U256::ZERO,
            burned_wei: U256::ZERO,
            in_eth: true,
            effect: "the other's share of this batch goes back to the pool, to nobody".into(),
        }
    }

    fn censorship(&self) -> Outcome {
        let deadline = self
            .params
            .forced_deadline_blocks
            .saturating_add(self.params.forced_grace_blocks)
            .saturating_mul(self.params.l1_block_seconds);
        Outcome {
            attack: "all leaders together leave a forced transaction out".into(),
            lost_wei: self.margin_wei(),
            paid_wei: self.params.forced_fee_wei,
            burned_wei: U256::ZERO,
            in_eth: true,
            effect: format!(
                "after {deadline} s each batch works for nothing (the loss is per batch, and its L1 gas); after {} s \
                 each batch lets it in before itself",
                self.params.escape_delay_seconds.saturating_add(
                    self.params.forced_deadline_blocks.saturating_mul(self.params.l1_block_seconds)
                )
            ),
        }
    }

    /// Fees of `entries` that are enqueued while none is consumed.
    pub fn queue_fees_wei(&self, entries: u64) -> U256 {
        let doubling = self.params.forced_fee_doubling_entries.max(1);
        let mut sum = U256::ZERO;
        let mut fee = self.params.forced_fee_wei;
        let (mut left, mut doublings) = (entries, 0);
        while left > 0 {
            let may_double = doublings < self.params.forced_fee_max_doublings;
            let now = if may_double { left.min(doubling) } else { left };
            sum = sum.saturating_add(fee.saturating_mul(U256::from(now)));
            if may_double {
                fee = fee.saturating_mul(U256::from(2));
                doublings = doublings.saturating_add(1);
            }
            left = left.saturating_sub(now);
        }
        sum
    }

    fn queue_flood(&self, entries: u64) -> Outcome {
        let burned = self.queue_fees_wei(entries);
        let blocks = entries.div_ceil(ENTRIES_A_BLOCK);
        Outcome {
            attack: format!("{entries} entries of rubbish in the forced queue at once"),
            lost_wei: burned,
            paid_wei: U256::ZERO,
            burned_wei: burned,
            in_eth: true,
            effect: format!(
                "an honest entry behind them waits {blocks} blocks, {} s, longer",
                blocks.saturating_mul(self.params.interval_millis).div_ceil(1_000)
            ),
        }
    }

    fn entry_flood(&self, epochs: u64) -> Outcome {
        let total = self.stake_wei.saturating_mul(U256::from(self.members));
        let budget = total.checked_div(U256::from(CHURN_DIVISOR)).unwrap_or_default();
        let locked = budget.max(self.stake_wei).saturating_mul(U256::from(epochs));
        Outcome {
            attack: format!(
                "the entry queue is filled for {epochs} epochs with {} tokens",
                format_ether(locked).trim_end_matches('0').trim_end_matches('.')
            ),
            lost_wei: U256::ZERO,
            paid_wei: U256::ZERO,
            burned_wei: U256::ZERO,
            in_eth: false,
            effect: format!(
                "a newcomer waits {} s; the stake is locked and slashable for {} s and works as stake",
                epochs.saturating_mul(self.params.epoch_seconds),
                self.params.exit_delay_seconds
            ),
        }
    }
}

impl Network {
    /// R7, R8: a newcomer evicts the smallest of a full set, and leaves again at once.
    fn raid(&self) -> Outcome {
        let brought = part(self.stake_wei, EVICTION_BPS);
        let epochs = self.params.max_epoch_lag.saturating_add(2);
        let seconds = epochs.saturating_mul(self.params.epoch_seconds);
        let forgone = self
            .params
            .signers_second_wei
            .saturating_mul(U256::from(seconds))
            .checked_div(U256::from(self.members))
            .unwrap_or_default();
        Outcome {
            attack: format!(
                "a raider evicts the smallest of a full set with {} tokens, and leaves",
                format_ether(brought).trim_end_matches('0').trim_end_matches('.')
            ),
            lost_wei: U256::ZERO,
            paid_wei: U256::ZERO,
            burned_wei: U256::ZERO,
            in_eth: false,
            effect: format!(
                "the evicted earns {} tokens less at most, in {seconds} s; the raider's stake is bound and \
                 slashable for {} s, and earns nothing from its exit on",
                format_ether(forgone).trim_end_matches('0').trim_end_matches('.'),
                self.params.exit_delay_seconds
            ),
        }
    }
}

/// `bps` of `amount`, rounded down.
fn part(amount: U256, bps: u64) -> U256 {
    amount.saturating_mul(U256::from(bps)).checked_div(U256::from(BPS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{BPS, Network};
    use crate::domain::Params;
    use alloy::primitives::U256;
    use proptest::prelude::*;

    fn network(members: u64) -> Network {
        let stake_wei = U256::from(1_000) * U256::from(10).pow(U256::from(18));
        Network { params: Params::for_tests(), members, stake_wei }
    }

    #[test]
    fn breaking_safety_costs_everything() {
        for members in 1..=128 {
            let to_break = members / 3 + 1;
            assert_eq!(network(members).double_sign_bps(to_break), BPS, "{members} members");
        }
    }

    #[test]
    fn one_of_many_pays_little_more_than_the_base() {
        assert_eq!(network(128).double_sign_bps(1), 500 + 3 * 78);
    }

    #[test]
    fn the_fee_doubles_with_every_so_many_entries() {
        let mut network = network(4);
        network.params.forced_fee_wei = U256::from(1);
        network.params.forced_fee_doubling_entries = 2;
        network.params.forced_fee_max_doublings = 3;
        assert_eq!(network.queue_fees_wei(5), U256::from(1 + 1 + 2 + 2 + 4));
    }

    #[test]
    fn the_fee_ends_at_the_last_doubling() {
        let mut network = network(4);
        network.params.forced_fee_wei = U256::from(1);
        network.params.forced_fee_doubling_entries = 2;
        network.params.forced_fee_max_doublings = 2;
        assert_eq!(network.queue_fees_wei(9), U256::from(1 + 1 + 2 + 2 + 5 * 4));
        network.params.forced_fee_max_doublings = 0;
        assert_eq!(network.queue_fees_wei(9), U256::from(9));
    }

    proptest! {
        /// Splitting a stake over more sequencers, or offending together, never makes it cheaper.
        #[test]
        fn more_offenders_never_pay_less_each(members in 1_u64..=128, group in 1_u64..=127) {
            let network = network(members);
            let group = group.min(members);
            prop_assert!(network.double_sign_bps(group) >= network.double_sign_bps(group - 1));
        }

        /// Who reports itself still loses.
        #[test]
        fn no_offence_pays_for_itself(members in 1_u64..=128) {
            for outcome in network(members).play() {
                prop_assert!(outcome.burned_wei <= outcome.lost_wei || outcome.paid_wei.is_zero());
                if outcome.attack.contains("report themselves") {
                    prop_assert!(outcome.lost_wei > outcome.paid_wei);
                }
            }
        }
    }
}
