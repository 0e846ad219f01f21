//! What whoever keeps the network running on L1 pays and gets back, and what the reward pool and rollups make of it (R42, R43),
//! hour by hour over a year of base fees.
//!
//! Pure, and in whole numbers. What transactions take and are refunded is measured (bench/refunds.json, written by `make gas`),
//! under today's price list and that of the next fork; the formulas are those of the contracts.

use super::fees::{FeeSeries, series};
use crate::domain::Params;
use alloy::primitives::U256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MEASURED: &str = include_str!("../../bench/refunds.json");
const BPS: u128 = 10_000;
const SECONDS_AN_HOUR: u64 = 3_600;
/// Batches that the measured tally and debit book.
const TALLIED: u128 = 20;
const DEBITED: u128 = 16;
/// Of the transactions that settle: how many members the set has, and how many signed.
const SETTLED: [(&str, u128, u128); 3] =
    [("settle_4_3", 4, 3), ("settle_48_33", 48, 33), ("settle_100_67", 100, 67)];

/// What a transaction takes, and what its sender is refunded of it, in gas; of a duty with the margin.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Measured {
    paid: u128,
    refunded: u128,
}

/// One price list: transactions by what they do.
type List = BTreeMap<String, Measured>;

/// What one duty came to in a year.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DutyBalance {
    /// The fees that were played.
    pub fees: &'static str,
    /// The price list.
    pub prices: String,
    /// What is done.
    pub duty: String,
    /// What it costs and brings when it is done once an hour, all year, in wei.
    pub spent_wei: U256,
    /// What it brings.
    pub paid_wei: U256,
    /// Hours in which it would have lost money.
    pub losing_hours: u64,
}

/// What a year at one load came to for the pool and for rollups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolBalance {
    /// The fees that were played.
    pub fees: &'static str,
    /// The price list.
    pub prices: String,
    /// How many batches settle in an hour; at one a day's traffic would fit into one, and nobody pays for it.
    pub batches_an_hour: u64,
    /// What the pool pays to who works, in wei.
    pub paid_wei: U256,
    /// What rollups pay into it.
    pub income_wei: U256,
    /// Least and most of what rollups pay for the batches of an hour, in hundredths of what those cost who settled and booked them.
    pub least_percent: u128,
    /// The same at the most.
    pub most_percent: u128,
    /// What signers earn together, in wei of the stake token.
    pub signers_wei: U256,
}

/// Everything that is played of duties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Year {
    /// Each duty under each series of fees and each price list.
    pub duties: Vec<DutyBalance>,
    /// The pool at a few loads.
    pub pools: Vec<PoolBalance>,
}

/// Plays a year of every series of fees.
pub(super) fn play(params: &Params, seed: u64) -> Year {
    let lists: BTreeMap<String, List> =
        serde_json::from_str(MEASURED).expect("bench/refunds.json is what `make gas` writes");
    let mut year = Year { duties: Vec::new(), pools: Vec::new() };
    for fees in series(seed) {
        for (prices, list) in &lists {
            for (duty, measured) in list {
                year.duties.push(balance(params, &fees, prices, duty, *measured));
            }
            let busy = SECONDS_AN_HOUR.checked_div(params.max_batch_age_seconds).unwrap_or(0);
            for batches in [1, busy] {
                year.pools.extend(pool(params, &fees, prices, list, batches));
            }
        }
    }
    year
}

/// The margin of a batch with so many signatures, in gas, at the share of all members: what settling takes without a payload has one.
fn margin_of_batch(params: &Params, refunded: u128, signatures: u128) -> u128 {
    const BATCH_GAS: u128 = 65_000;
    const SIGNATURE_GAS: u128 = 4_500;
    let most = BATCH_GAS.saturating_add(SIGNATURE_GAS.saturating_mul(signatures));
    refunded.min(most).saturating_mul(params.refund_margin_bps.into()) / BPS
}

/// What settling brings: with the margin for the share of the members whose signatures it has.
fn brought(params: &Params, duty: &str, gas: Measured) -> u128 {
    SETTLED.iter().find(|(name, _, _)| *name == duty).map_or(
        gas.refunded,
        |(_, members, signed)| {
            let whole = margin_of_batch(params, gas.refunded, *signed);
            gas.refunded
                .saturating_add(whole.saturating_mul(*signed).checked_div(*members).unwrap_or(0))
        },
    )
}

fn balance(
    params: &Params,
    fees: &FeeSeries,
    prices: &str,
    duty: &str,
    gas: Measured,
) -> DutyBalance {
    let brought = brought(params, duty, gas);
    let mut found = DutyBalance {
        fees: fees.name,
        prices: prices.to_owned(),
        duty: duty.to_owned(),
        spent_wei: U256::ZERO,
        paid_wei: U256::ZERO,
        losing_hours: 0,
    };
    for base_fee in &fees.fees_wei {
        // With the largest tip that comes back.
        let price = u128::from(*base_fee).saturating_add(params.priority_wei.into());
        let (spent, paid) = (gas.paid.saturating_mul(price), brought.saturating_mul(price));
        found.spent_wei = found.spent_wei.saturating_add(U256::from(spent));
        found.paid_wei = found.paid_wei.saturating_add(U256::from(paid));
        found.losing_hours = found.losing_hours.saturating_add(u64::from(paid < spent));
    }
    found
}

/// A network of four at so many batches an hour, with the two rollups of the measured debit, which have what they need; of one an hour nobody pays for the bytes, as
/// there are none.
fn pool(
    params: &Params,
    fees: &FeeSeries,
    prices: &str,
    list: &List,
    batches: u64,
) -> Option<PoolBalance> {
    let (settle, tally) = (*list.get("settle_4_3")?, *list.get("tally_20")?);
    let (debit, pin, seal) = (*list.get("debit_16")?, *list.get("pin_4")?, *list.get("seal_4")?);
    let traffic = batches > 1;
    let debits = u128::from(traffic);
    let epochs = u128::from(SECONDS_AN_HOUR.checked_div(params.epoch_seconds)?);
    // What a batch costs who works on it, and what the pool pays for that.
    let cost = settle
        .paid
        .saturating_add(tally.paid / TALLIED)
        .saturating_add((debit.paid / DEBITED).saturating_mul(debits));
    let out = brought(params, "settle_4_3", settle)
        .saturating_add(tally.refunded / TALLIED)
        .saturating_add((debit.refunded / DEBITED).saturating_mul(debits));
    let charged = settle.refunded.saturating_add(margin_of_batch(params, settle.refunded, 3));
    let mut found = PoolBalance {
        fees: fees.name,
        prices: prices.to_owned(),
        batches_an_hour: batches,
        paid_wei: U256::ZERO,
        income_wei: U256::ZERO,
        least_percent: u128::MAX,
        most_percent: 0,
        signers_wei: params
            .signers_second_wei
            .saturating_mul(U256::from(SECONDS_AN_HOUR))
            .saturating_mul(U256::from(fees.fees_wei.len())),
    };
    for base_fee in &fees.fees_wei {
        let base_fee = u128::from(*base_fee);
        let price = base_fee.saturating_add(params.priority_wei.into());
        let batches = u128::from(batches);
        let paid = out
            .saturating_mul(batches)
            .saturating_add(pin.refunded.saturating_add(seal.refunded).saturating_mul(epochs))
            .saturating_mul(price);
        found.paid_wei = found.paid_wei.saturating_add(U256::from(paid));
        if !traffic {
            continue;
        }
        let booking = price.saturating_mul(params.rollup_booking_gas.into());
        let one = charged.saturating_mul(price).saturating_add(booking);
        let income = U256::from(one.saturating_mul(batches));
        found.income_wei = found.income_wei.saturating_add(income);
        let percent = one.saturating_mul(100).checked_div(cost.saturating_mul(price))?;
        found.least_percent = found.least_percent.min(percent);
        found.most_percent = found.most_percent.max(percent);
    }
    found.least_percent = found.least_percent.min(found.most_percent);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::play;
    use crate::domain::{Params, Seconds};

    const PROFILES: [&str; 2] = [
        include_str!("../../script/config/devnet.json"),
        include_str!("../../script/config/testnet.json"),
    ];

    fn profiles() -> impl Iterator<Item = Params> {
        PROFILES.iter().map(|text| crate::l1::read_params(text, Seconds::new(0)).unwrap())
    }

    #[test]
    fn no_duty_loses_money_at_any_fee_under_any_price_list() {
        for params in profiles() {
            let year = play(&params, 1);
            for duty in ["settle_4_3", "settle_48_33", "settle_100_67", "pin_4", "pin_100"] {
                assert_eq!(year.duties.iter().filter(|one| one.duty == duty).count(), 6, "{duty}");
            }
            for duty in [
                "seal_4",
                "seal_100",
                "tally_20",
                "credit_epoch_48",
                "flush_1",
                "debit_16",
                "report_missed_turns_4",
                "close_check_in_4",
                "finish_restart_4",
            ] {
                assert_eq!(year.duties.iter().filter(|one| one.duty == duty).count(), 6, "{duty}");
            }
            for one in &year.duties {
                assert_eq!(one.losing_hours, 0, "{one:?}");
                assert!(one.paid_wei >= one.spent_wei, "{one:?}");
            }
        }
    }

    #[test]
    fn rollups_pay_all_that_their_bytes_cost_and_never_twice_as_much_in_any_hour() {
        for params in profiles() {
            for one in play(&params, 1).pools.iter().filter(|one| one.batches_an_hour > 1) {
                assert!(one.least_percent >= 100 && one.most_percent <= 200, "{one:?}");
            }
        }
    }
}
