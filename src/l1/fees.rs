//! What is paid for gas. Pure.

/// What a transaction pays for gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// The most for a unit of gas.
    pub max_fee_wei: u128,
    /// The part of it for the block's builder.
    pub priority_fee_wei: u128,
}

impl Fees {
    /// From whole gwei.
    pub fn of_gwei(max_fee: u64, priority_fee: u64) -> Self {
        let wei = |gwei: u64| u128::from(gwei).saturating_mul(1_000_000_000);
        Self { max_fee_wei: wei(max_fee), priority_fee_wei: wei(priority_fee) }
    }

    /// With at least this tip: the whole fee has room for the rise.
    #[must_use]
    pub const fn with_tip(self, tip_wei: u128) -> Self {
        let rise = tip_wei.saturating_sub(self.priority_fee_wei);
        Self {
            max_fee_wei: self.max_fee_wei.saturating_add(rise),
            priority_fee_wei: self.priority_fee_wei.saturating_add(rise),
        }
    }

    /// With at most this tip: what is beyond it is not paid.
    #[must_use]
    pub const fn with_tip_at_most(self, tip_wei: u128) -> Self {
        let excess = self.priority_fee_wei.saturating_sub(tip_wei);
        Self {
            max_fee_wei: self.max_fee_wei.saturating_sub(excess),
            priority_fee_wei: self.priority_fee_wei.saturating_sub(excess),
        }
    }

    /// What a unit of gas costs now: what is asked has room for the base fee to double.
    pub const fn now(self) -> u128 {
        let base = self.max_fee_wei.saturating_sub(self.priority_fee_wei) / 2;
        base.saturating_add(self.priority_fee_wei)
    }

    /// Whether an offer of this is enough for what is asked now. What is asked has room for the base fee to double.
    pub const fn covers(self, asked: Self) -> bool {
        let room = asked.max_fee_wei.saturating_sub(asked.priority_fee_wei) / 2;
        self.max_fee_wei >= asked.max_fee_wei.saturating_sub(room)
            && self.priority_fee_wei >= asked.priority_fee_wei
    }

    /// Higher by what nodes ask of a replacement (10 %), and a little.
    #[must_use]
    pub const fn bumped(self) -> Self {
        Self { max_fee_wei: bump(self.max_fee_wei), priority_fee_wei: bump(self.priority_fee_wei) }
    }

    /// Twice as much.
    #[must_use]
    pub const fn doubled(self) -> Self {
        Self {
            max_fee_wei: self.max_fee_wei.saturating_mul(2),
            priority_fee_wei: self.priority_fee_wei.saturating_mul(2),
        }
    }

    /// Not more than `max_fee_wei` for a unit of gas.
    #[must_use]
    pub fn capped(self, max_fee_wei: u128) -> Self {
        Self {
            max_fee_wei: self.max_fee_wei.min(max_fee_wei),
            priority_fee_wei: self.priority_fee_wei.min(max_fee_wei),
        }
    }

    /// The larger of both, each by itself.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            max_fee_wei: self.max_fee_wei.max(other.max_fee_wei),
            priority_fee_wei: self.priority_fee_wei.max(other.priority_fee_wei),
        }
    }
}

const fn bump(wei: u128) -> u128 {
    wei.saturating_add(wei / 8).saturating_add(1)
}
