//! What a deployment fixes for ever, as read from L1 (§12 of the protocol).

use crate::domain::{Epoch, Height, Millis, Seconds, Turn};
use alloy::primitives::U256;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// All parameters of a deployment; the names are those of the contracts' `Params`. Read from L1, never configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the names are those of contracts/types/Params.sol, which explains them"
)]
pub struct Params {
    pub genesis: u64,
    pub epoch_seconds: u64,
    pub max_epoch_lag: u64,
    pub min_members: u64,
    pub max_members: u64,
    pub l1_block_seconds: u64,
    pub origin_depth_blocks: u64,
    pub turn_length: u64,
    pub interval_millis: u64,
    pub idle_interval_millis: u64,
    pub max_batch_bytes: u64,
    pub max_batch_age_seconds: u64,
    pub idle_batch_age_seconds: u64,
    pub takeover_seconds: u64,
    pub drift_seconds: u64,
    pub ring_size: u64,
    pub forced_deadline_blocks: u64,
    pub forced_grace_blocks: u64,
    pub forced_max_bytes: u64,
    pub forced_fee_doubling_entries: u64,
    pub forced_fee_max_doublings: u64,
    pub escape_delay_seconds: u64,
    pub restart_delay_seconds: u64,
    pub restart_window_seconds: u64,
    pub evidence_window_seconds: u64,
    pub correlation_window_seconds: u64,
    pub guardian_delay_seconds: u64,
    pub exit_margin_seconds: u64,
    pub exit_delay_seconds: u64,
    pub commission_raise_bps: u64,
    pub commission_delay_seconds: u64,
    pub min_stake_wei: U256,
    pub weight_unit_wei: U256,
    pub min_self_bond_bps: u64,
    pub double_sign_bps: u64,
    pub correlation_factor: u64,
    pub broken_promise_bps: u64,
    pub missed_turn_bps: u64,
    pub bounty_bps: u64,
    pub compensation_bps: u64,
    pub jail_seconds: u64,
    pub refund_margin_bps: u64,
    pub priority_wei: u64,
    pub signers_second_wei: U256,
    pub transaction_gas: u64,
    pub zero_byte_gas: u64,
    pub byte_gas: u64,
    pub zero_byte_floor_gas: u64,
    pub byte_floor_gas: u64,
    pub repriced_write_gas: u64,
    pub next_transaction_gas: u64,
    pub next_zero_byte_gas: u64,
    pub next_byte_gas: u64,
    pub next_zero_byte_floor_gas: u64,
    pub next_byte_floor_gas: u64,
    pub forced_fee_wei: U256,
    pub rollup_fee_wei: U256,
    pub rollup_reserve_wei: U256,
    pub rollup_byte_wei: U256,
    pub rollup_booking_gas: u64,
}

impl Params {
    /// Epoch of an L1 time (R1); times before genesis are in epoch 0.
    pub const fn epoch_at(&self, time: Seconds) -> Epoch {
        match time.get().saturating_sub(self.genesis).checked_div(self.epoch_seconds) {
            Some(epoch) => Epoch::new(epoch),
            None => Epoch::new(0),
        }
    }

    /// First second of an epoch; stays at the largest.
    pub const fn start_of(&self, epoch: Epoch) -> Seconds {
        Seconds::new(self.genesis.saturating_add(epoch.get().saturating_mul(self.epoch_seconds)))
    }

    /// L1 blocks from a pin to the block that it pins (R4).
    pub fn seed_distance_blocks(&self) -> u64 {
        const MOST: u64 = 96;
        let time = self.epoch_seconds.min(self.restart_window_seconds) / 4;
        time.checked_div(self.l1_block_seconds).unwrap_or(0).min(MOST)
    }

    /// L1 blocks that whoever pins needs before the end of the window, so that what is pinned can be used: one that includes the pin, the
    /// distance to the pinned block, one that shows it, one that includes what uses it, one to spare, and of twenty slots one that is
    /// missed.
    pub fn seal_blocks(&self) -> u64 {
        let distance = self.seed_distance_blocks();
        distance.saturating_add(distance / 20).saturating_add(4)
    }

    /// Whether nobody who pins can know who will propose the pinned block: L1 knows its proposers for 64 slots (R4).
    pub fn hides_proposers(&self) -> bool {
        const LEAST: u64 = 65;
        self.seed_distance_blocks() >= LEAST
    }

    /// The turn that a height belongs to (R10).
    pub const fn turn_of(&self, height: Height) -> Turn {
        match height.get().checked_div(self.turn_length) {
            Some(turn) => Turn::new(turn),
            None => Turn::new(0),
        }
    }

    /// Time between the starts of two heights while transactions wait.
    pub const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_millis)
    }

    /// Time between the starts of two heights while none does (R19).
    pub const fn idle_interval(&self) -> Duration {
        Duration::from_millis(self.idle_interval_millis)
    }

    /// How long an agent whose records may not be complete listens before it signs (R47): the length of a turn.
    pub const fn listening(&self) -> Duration {
        Duration::from_millis(self.interval_millis.saturating_mul(self.turn_length))
    }

    /// How far ahead of a voter's clock a block's timestamp may be.
    pub const fn drift(&self) -> Millis {
        Seconds::new(self.drift_seconds).to_millis()
    }
}

#[cfg(test)]
impl Params {
    /// The devnet profile, with genesis at 1,000 s.
    pub(crate) fn for_tests() -> Self {
        let ether = U256::from(10).pow(U256::from(18));
        Self {
            genesis: 1_000,
            epoch_seconds: 60,
            max_epoch_lag: 3,
            min_members: 1,
            max_members: 128,
            l1_block_seconds: 1,
            origin_depth_blocks: 4,
            turn_length: 8,
            interval_millis: 250,
            idle_interval_millis: 1_000,
            max_batch_bytes: 100_000,
            max_batch_age_seconds: 2,
            idle_batch_age_seconds: 45,
            takeover_seconds: 4,
            drift_seconds: 1,
            ring_size: 1_024,
            forced_deadline_blocks: 40,
            forced_grace_blocks: 10,
            forced_max_bytes: 32_768,
            forced_fee_doubling_entries: 32,
            forced_fee_max_doublings: 5,
            escape_delay_seconds: 120,
            restart_delay_seconds: 180,
            restart_window_seconds: 60,
            evidence_window_seconds: 240,
            correlation_window_seconds: 60,
            guardian_delay_seconds: 0,
            exit_margin_seconds: 60,
            exit_delay_seconds: 600,
            commission_raise_bps: 500,
            commission_delay_seconds: 60,
            min_stake_wei: ether,
            weight_unit_wei: ether,
            min_self_bond_bps: 0,
            double_sign_bps: 500,
            correlation_factor: 3,
            broken_promise_bps: 100,
            missed_turn_bps: 10,
            bounty_bps: 1_000,
            compensation_bps: 4_000,
            jail_seconds: 120,
            refund_margin_bps: 2_000,
            priority_wei: 10_000_000,
            signers_second_wei: U256::ZERO,
            transaction_gas: 21_000,
            zero_byte_gas: 4,
            byte_gas: 16,
            zero_byte_floor_gas: 10,
            byte_floor_gas: 40,
            repriced_write_gas: 6_000,
            next_transaction_gas: 15_000,
            next_zero_byte_gas: 4,
            next_byte_gas: 16,
            next_zero_byte_floor_gas: 64,
            next_byte_floor_gas: 64,
            forced_fee_wei: U256::ZERO,
            rollup_fee_wei: U256::ZERO,
            rollup_reserve_wei: U256::ZERO,
            rollup_byte_wei: U256::ZERO,
            rollup_booking_gas: 170_000,
        }
    }
}
