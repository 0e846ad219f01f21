//! The relations between parameters (§12), as `contracts/lib/ParamsLib.sol` checks them when a contract is created: told all at
//! once, and without L1. The contracts decide; names and bounds here are theirs.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "sums and products of a few numbers of 64 bits, in 256 bits"
)]

use crate::domain::{LeaderSet, Params};
use alloy::primitives::U256;
use std::fmt;

const BPS: u64 = 10_000;
const MILLIS: u64 = 1_000;
const MAX_CALLDATA_BATCH_BYTES: u64 = 100_000;
const MAX_FORCED_FEE_DOUBLINGS: u64 = 10;
const MAX_WEIGHT_UNIT_WEI: u64 = 1 << 60;
/// What the tally counts of an epoch at the most: 20 bits.
const MAX_ATTESTED_SECONDS: u64 = (1 << 20) - 1;
const MAX_REFUND_MARGIN_BPS: u64 = 5_000;
const MAX_PRIORITY_WEI: u64 = 1_000_000_000;
const MAX_TRANSACTION_GAS: u64 = 100_000;
const MAX_BYTE_GAS: u64 = 1_000;
const MAX_WRITE_GAS: u64 = 1_000_000;
const MAX_BOOKING_GAS: u64 = 1_000_000;
/// What a change of a slot takes today (EIP-2929).
const WRITE_GAS: u64 = 2_900;
/// L1 blocks of the shortest epoch, and of the shortest restart window.
const MIN_SEALING_BLOCKS: u64 = 8;

/// A relation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The parameter that is too small or too large for the others, as in the configuration.
    pub parameter: &'static str,
    /// The contracts' error.
    pub error: &'static str,
    /// What it carries: the sides of the comparison by their names.
    pub sides: Vec<(&'static str, U256)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}(", self.parameter, self.error)?;
        for (index, (name, value)) in self.sides.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}: {value}")?;
        }
        f.write_str(")")
    }
}

/// Collects what does not hold.
#[derive(Default)]
struct Found(Vec<Violation>);

/// A number of 64 bits among those of 256: nothing below overflows, as in the contracts.
fn wide(value: u64) -> U256 {
    U256::from(value)
}

impl Found {
    fn not_zero(&mut self, parameter: &'static str, error: &'static str, value: u64) {
        self.need(value != 0, parameter, error, &[]);
    }

    fn need(
        &mut self,
        holds: bool,
        parameter: &'static str,
        error: &'static str,
        sides: &[(&'static str, U256)],
    ) {
        if !holds {
            self.0.push(Violation { parameter, error, sides: sides.to_vec() });
        }
    }

    /// `actual` is at least `least`.
    fn at_least(
        &mut self,
        parameter: &'static str,
        error: &'static str,
        names: [&'static str; 2],
        least: U256,
        actual: U256,
    ) {
        let [least_name, actual_name] = names;
        let sides = [(least_name, least), (actual_name, actual)];
        self.need(actual >= least, parameter, error, &sides);
    }

    /// `actual` is at most `most`.
    fn at_most(
        &mut self,
        parameter: &'static str,
        error: &'static str,
        names: [&'static str; 2],
        most: U256,
        actual: U256,
    ) {
        let [most_name, actual_name] = names;
        let sides = [(most_name, most), (actual_name, actual)];
        self.need(actual <= most, parameter, error, &sides);
    }
}

/// Every relation that does not hold, in the order in which the contracts check them. A relation that divides by a
/// parameter which is zero is left out: that one is named.
pub fn violations(p: &Params) -> Vec<Violation> {
    let mut found = Found::default();
    fields(p, &mut found);
    prices(p, &mut found);
    delays(p, &mut found);
    pace(p, &mut found);
    sizes(p, &mut found);
    found.at_least(
        "commissionDelaySeconds",
        "CommissionDelayBelowExitDelay",
        ["minimum", "actual"],
        wide(p.exit_delay_seconds),
        wide(p.commission_delay_seconds),
    );
    found.0
}

fn fields(p: &Params, found: &mut Found) {
    found.not_zero("epochSeconds", "EpochIsZero", p.epoch_seconds);
    found.not_zero("turnLength", "TurnLengthIsZero", p.turn_length);
    found.not_zero("intervalMillis", "IntervalIsZero", p.interval_millis);
    found.not_zero("l1BlockSeconds", "L1BlockIsZero", p.l1_block_seconds);
    found.not_zero(
        "correlationWindowSeconds",
        "CorrelationWindowIsZero",
        p.correlation_window_seconds,
    );
    found.not_zero("restartWindowSeconds", "RestartWindowIsZero", p.restart_window_seconds);
    found.not_zero("exitMarginSeconds", "ExitMarginIsZero", p.exit_margin_seconds);
    found.not_zero("bountyBps", "BountyIsZero", p.bounty_bps);
    found.not_zero("jailSeconds", "JailIsZero", p.jail_seconds);
    let mut within = |parameter, error, most: u64, actual: U256| {
        let sides = [("maximum", wide(most)), ("actual", actual)];
        found.need(!actual.is_zero() && actual <= wide(most), parameter, error, &sides);
    };
    within("weightUnitWei", "WeightUnitOutOfRange", MAX_WEIGHT_UNIT_WEI, p.weight_unit_wei);
    for (parameter, error, actual) in [
        ("maxBatchBytes", "MaxBatchBytesOutOfRange", p.max_batch_bytes),
        ("forcedMaxBytes", "ForcedMaxBytesOutOfRange", p.forced_max_bytes),
    ] {
        within(parameter, error, MAX_CALLDATA_BATCH_BYTES, wide(actual));
    }
    found.not_zero(
        "forcedFeeDoublingEntries",
        "ForcedFeeDoublingIsZero",
        p.forced_fee_doubling_entries,
    );
    found.at_most(
        "forcedFeeMaxDoublings",
        "ForcedFeeDoublingsTooMany",
        ["maximum", "actual"],
        wide(MAX_FORCED_FEE_DOUBLINGS),
        wide(p.forced_fee_max_doublings),
    );
    for (parameter, bps) in [
        ("commissionRaiseBps", p.commission_raise_bps),
        ("minSelfBondBps", p.min_self_bond_bps),
        ("doubleSignBps", p.double_sign_bps),
        ("brokenPromiseBps", p.broken_promise_bps),
        ("missedTurnBps", p.missed_turn_bps),
    ] {
        let names = ["wholeBps", "actualBps"];
        found.at_most(parameter, "ShareAboveWhole", names, wide(BPS), wide(bps));
    }
}

fn prices(p: &Params, found: &mut Found) {
    let margin = wide(p.refund_margin_bps);
    let names = ["maximumBps", "actualBps"];
    let error = "RefundMarginTooLarge";
    found.at_most("refundMarginBps", error, names, wide(MAX_REFUND_MARGIN_BPS), margin);
    let names = ["maximumWei", "actualWei"];
    let tip = wide(p.priority_wei);
    found.at_most("priorityWei", "PriorityTooLarge", names, wide(MAX_PRIORITY_WEI), tip);
    let names = ["maximum", "actual"];
    let gas = wide(p.transaction_gas.max(p.next_transaction_gas));
    let error = "TransactionGasTooLarge";
    found.at_most("transactionGas", error, names, wide(MAX_TRANSACTION_GAS), gas);
    let bytes = [
        p.zero_byte_gas,
        p.byte_gas,
        p.zero_byte_floor_gas,
        p.byte_floor_gas,
        p.next_zero_byte_gas,
        p.next_byte_gas,
        p.next_zero_byte_floor_gas,
        p.next_byte_floor_gas,
    ];
    let gas = wide(bytes.into_iter().max().unwrap_or_default());
    found.at_most("byteGas", "ByteGasTooLarge", names, wide(MAX_BYTE_GAS), gas);
    let write = p.repriced_write_gas;
    let sides = [
        ("minimum", wide(WRITE_GAS + 1)),
        ("maximum", wide(MAX_WRITE_GAS)),
        ("actual", wide(write)),
    ];
    let within = write > WRITE_GAS && write <= MAX_WRITE_GAS;
    found.need(within, "repricedWriteGas", "RepricedWriteGasOutOfRange", &sides);
    let booking = wide(p.rollup_booking_gas);
    let most = wide(MAX_BOOKING_GAS);
    found.at_most("rollupBookingGas", "BookingGasTooLarge", names, most, booking);
}

fn delays(p: &Params, found: &mut Found) {
    let takeovers = wide(5) * wide(p.takeover_seconds);
    let turn_millis = wide(p.turn_length) * wide(p.interval_millis);
    let evidence = wide(p.evidence_window_seconds);
    let minimum = ["minimum", "actual"];

    let least = evidence
        + wide(2) * wide(p.correlation_window_seconds)
        + wide(p.guardian_delay_seconds)
        + wide(p.exit_margin_seconds);
    let exit = wide(p.exit_delay_seconds);
    found.at_least("exitDelaySeconds", "ExitDelayTooShort", minimum, least, exit);

    let least = (wide(p.max_epoch_lag) + wide(1)) * wide(p.epoch_seconds);
    let error = "EvidenceWindowShorterThanLag";
    found.at_least("evidenceWindowSeconds", error, minimum, least, evidence);
    let lag = wide(p.max_epoch_lag);
    found.at_least("maxEpochLag", "MaxEpochLagTooSmall", minimum, wide(2), lag);
    let attested = (lag + wide(2)) * wide(p.epoch_seconds);
    let names = ["maximumSeconds", "actualSeconds"];
    let most = wide(MAX_ATTESTED_SECONDS);
    found.at_most("epochSeconds", "AttestedTimeTooLong", names, most, attested);

    let block = wide(p.l1_block_seconds);
    let least = wide(p.origin_depth_blocks) * block + wide(p.max_batch_age_seconds) + takeovers;
    let deadline = wide(p.forced_deadline_blocks) * block;
    let names = ["minimumSeconds", "actualSeconds"];
    let error = "ForcedDeadlineTooShort";
    found.at_least("forcedDeadlineBlocks", error, names, least, deadline);

    let least = turn_millis + wide(2) * block * wide(MILLIS);
    let takeover = wide(p.takeover_seconds) * wide(MILLIS);
    let names = ["minimumMillis", "actualMillis"];
    found.at_least("takeoverSeconds", "TakeoverTooShort", names, least, takeover);

    let escape = wide(p.escape_delay_seconds);
    let sides = [("takeovers", takeovers), ("actual", escape)];
    let error = "EscapeDelayNotAboveTakeovers";
    found.need(escape > takeovers, "escapeDelaySeconds", error, &sides);
    let restart = wide(p.restart_delay_seconds);
    let sides = [("escapeDelay", escape), ("actual", restart)];
    let error = "RestartDelayNotAboveEscapeDelay";
    found.need(restart > escape, "restartDelaySeconds", error, &sides);

    let least = restart + wide(p.restart_window_seconds);
    let error = "EvidenceWindowShorterThanRestart";
    found.at_least("evidenceWindowSeconds", error, minimum, least, evidence);
}

fn pace(p: &Params, found: &mut Found) {
    let minimum = ["minimum", "actual"];
    let least = wide(MIN_SEALING_BLOCKS) * wide(p.l1_block_seconds);
    let epoch = wide(p.epoch_seconds);
    found.at_least("epochSeconds", "EpochTooShort", minimum, least, epoch);
    let window = wide(p.restart_window_seconds);
    found.at_least("restartWindowSeconds", "RestartWindowTooShort", minimum, least, window);

    let in_millis = ["minimumMillis", "actualMillis"];
    let turn = wide(p.turn_length) * wide(p.interval_millis);
    let least = wide(2) * wide(p.l1_block_seconds) * wide(MILLIS);
    found.at_least("turnLength", "TurnTooShort", in_millis, least, turn);

    let (minimum, maximum) = (["minimum", "actual"], ["maximum", "actual"]);
    let age = wide(p.max_batch_age_seconds);
    let error = "MaxBatchAgeBelowL1Block";
    found.at_least("maxBatchAgeSeconds", error, minimum, wide(p.l1_block_seconds), age);
    let idle_interval = wide(p.idle_interval_millis);
    let error = "MaxBatchAgeBelowIdleInterval";
    let age_millis = age * wide(MILLIS);
    found.at_least("maxBatchAgeSeconds", error, in_millis, idle_interval, age_millis);
    let idle = wide(p.idle_batch_age_seconds);
    let parameter = "idleBatchAgeSeconds";
    found.at_least(parameter, "IdleBatchAgeBelowMaxBatchAge", minimum, age, idle);
    let epoch = wide(p.epoch_seconds);
    found.at_most(parameter, "IdleBatchAgeAboveEpoch", maximum, epoch, idle);
    let quarter = wide(p.restart_delay_seconds / 4);
    let error = "IdleBatchAgeAboveQuarterOfRestartDelay";
    found.at_most(parameter, error, maximum, quarter, idle);
    let quarter = wide(p.takeover_seconds / 4);
    let error = "DriftAboveQuarterOfTakeover";
    found.at_most("driftSeconds", error, maximum, quarter, wide(p.drift_seconds));
}

fn sizes(p: &Params, found: &mut Found) {
    let out = wide(p.bounty_bps) + wide(p.compensation_bps);
    let names = ["maximumBps", "actualBps"];
    let error = "BountyAndCompensationAboveHalf";
    found.at_most("bountyBps", error, names, wide(BPS / 2), out);

    if p.max_batch_age_seconds != 0 {
        let twice = wide(2) * wide(p.evidence_window_seconds);
        let least = twice.div_ceil(wide(p.max_batch_age_seconds));
        let ring = wide(p.ring_size);
        found.at_least("ringSize", "RingTooSmall", ["minimum", "actual"], least, ring);
    }
    if p.interval_millis != 0 {
        let seconds = wide(p.origin_depth_blocks) * wide(p.l1_block_seconds)
            + wide(6) * wide(p.takeover_seconds);
        let batches = (seconds * wide(MILLIS)).div_ceil(wide(p.interval_millis));
        let least = p.rollup_byte_wei.saturating_mul(wide(p.max_batch_bytes) * batches);
        let names = ["minimumWei", "actualWei"];
        let reserve = p.rollup_reserve_wei;
        found.at_least("rollupReserveWei", "RollupReserveTooSmall", names, least, reserve);
    }
    let most = U256::from(LeaderSet::MAX_MEMBERS);
    let names = ["maximum", "actual"];
    found.at_most("maxMembers", "MaxMembersTooLarge", names, most, wide(p.max_members));
    let sides =
        [("minimum", wide(1)), ("maximum", wide(p.max_members)), ("actual", wide(p.min_members))];
    let within = p.min_members >= 1 && p.min_members <= p.max_members;
    found.need(within, "minMembers", "MinMembersOutOfRange", &sides);
    let names = ["minimumWei", "actualWei"];
    let (unit, stake) = (p.weight_unit_wei, p.min_stake_wei);
    found.at_least("minStakeWei", "MinStakeBelowWeightUnit", names, unit, stake);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Seconds;
    use std::collections::{BTreeMap, BTreeSet};

    const CONTRACT: &str = include_str!("../../contracts/lib/ParamsLib.sol");
    const PROFILES: [&str; 2] = [
        include_str!("../../script/config/devnet.json"),
        include_str!("../../script/config/testnet.json"),
    ];

    fn profile() -> Params {
        crate::l1::read_params(PROFILES[0], Seconds::new(0)).unwrap()
    }

    /// A parameter file for each relation that breaks it, and perhaps others.
    fn broken() -> Vec<Params> {
        let p = profile;
        let wei = U256::from;
        vec![
            Params { epoch_seconds: 0, ..p() },
            Params { turn_length: 0, ..p() },
            Params { interval_millis: 0, ..p() },
            Params { l1_block_seconds: 0, ..p() },
            Params { correlation_window_seconds: 0, ..p() },
            Params { weight_unit_wei: U256::ZERO, ..p() },
            Params { weight_unit_wei: U256::MAX, ..p() },
            Params { max_batch_bytes: 0, ..p() },
            Params { max_batch_bytes: 100_001, ..p() },
            Params { forced_max_bytes: 0, ..p() },
            Params { forced_max_bytes: u64::MAX, ..p() },
            Params { forced_fee_doubling_entries: 0, ..p() },
            Params { forced_fee_max_doublings: 11, ..p() },
            Params { commission_raise_bps: 10_001, ..p() },
            Params { min_self_bond_bps: 10_001, ..p() },
            Params { double_sign_bps: u64::MAX, ..p() },
            Params { restart_window_seconds: 0, ..p() },
            Params { exit_margin_seconds: 0, ..p() },
            Params { bounty_bps: 0, ..p() },
            Params { jail_seconds: 0, ..p() },
            Params { commission_delay_seconds: 0, ..p() },
            Params { refund_margin_bps: 5_001, ..p() },
            Params { priority_wei: 1_000_000_001, ..p() },
            Params { next_transaction_gas: 100_001, ..p() },
            Params { next_byte_floor_gas: 1_001, ..p() },
            Params { repriced_write_gas: 2_900, ..p() },
            Params { rollup_booking_gas: 1_000_001, ..p() },
            Params { repriced_write_gas: 1_000_001, ..p() },
            Params { exit_delay_seconds: 0, ..p() },
            Params { evidence_window_seconds: 0, ..p() },
            Params { evidence_window_seconds: u64::MAX, ..p() },
            Params { max_epoch_lag: 1, ..p() },
            Params { max_epoch_lag: u64::MAX, ..p() },
            Params { forced_deadline_blocks: 0, ..p() },
            Params { takeover_seconds: 0, ..p() },
            Params { takeover_seconds: u64::MAX, ..p() },
            Params { escape_delay_seconds: 0, ..p() },
            Params { escape_delay_seconds: u64::MAX, ..p() },
            Params { restart_delay_seconds: 0, ..p() },
            Params { turn_length: 1, ..p() },
            Params { max_batch_age_seconds: 0, ..p() },
            Params { idle_interval_millis: u64::MAX, ..p() },
            Params { idle_batch_age_seconds: 0, ..p() },
            Params { idle_batch_age_seconds: u64::MAX, ..p() },
            Params { drift_seconds: u64::MAX, ..p() },
            Params { bounty_bps: u64::MAX, compensation_bps: u64::MAX, ..p() },
            Params { ring_size: 0, ..p() },
            Params { rollup_byte_wei: U256::MAX, ..p() },
            Params { max_members: u64::MAX, ..p() },
            Params { min_members: 0, ..p() },
            Params { min_members: 200, ..p() },
            Params { min_stake_wei: wei(1), ..p() },
        ]
    }

    #[test]
    fn profiles_hold_every_relation() {
        for profile in PROFILES {
            let params = crate::l1::read_params(profile, Seconds::new(0)).unwrap();
            assert_eq!(violations(&params), []);
        }
    }

    #[test]
    fn knows_each_relation_of_the_contracts_by_the_names_that_it_has_there() {
        let mut declared: BTreeMap<&str, Vec<&str>> = CONTRACT
            .lines()
            .filter_map(|line| line.trim().strip_prefix("error ")?.strip_suffix(");"))
            .map(|error| {
                let (name, sides) = error.split_once('(').unwrap();
                let names = sides.split(", ").filter_map(|side| side.strip_prefix("uint256 "));
                (name, names.collect())
            })
            .collect();
        // About the L1 time of the deployment, which parameters alone do not tell.
        assert!(declared.remove("GenesisTooEarly").is_some());
        // Nor do they tell the chain, and on the development chain a pin may be near.
        assert!(declared.remove("SeedDistanceTooShort").is_some());
        let mut seen = BTreeSet::new();
        for params in broken() {
            let found = violations(&params);
            assert!(!found.is_empty(), "{params:?}");
            for one in found {
                let sides: Vec<&str> = one.sides.iter().map(|(name, _)| *name).collect();
                assert_eq!(declared.get(one.error), Some(&sides), "{one}");
                seen.insert(one.error);
            }
        }
        assert_eq!(seen, declared.keys().copied().collect());
    }

    #[test]
    fn tells_all_that_does_not_hold_at_once() {
        let params = Params { exit_delay_seconds: 1, ring_size: 1, min_members: 0, ..profile() };
        let told: Vec<String> = violations(&params).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "exitDelaySeconds: ExitDelayTooShort(minimum: 420, actual: 1)",
                "ringSize: RingTooSmall(minimum: 240, actual: 1)",
                "minMembers: MinMembersOutOfRange(minimum: 1, maximum: 128, actual: 0)",
            ]
        );
    }

    #[test]
    fn the_largest_numbers_overflow_nothing() {
        let mut value = serde_json::to_value(profile()).unwrap();
        for field in value.as_object_mut().unwrap().values_mut() {
            *field = match field.is_string() {
                true => serde_json::json!(U256::MAX),
                false => serde_json::json!(u64::MAX),
            };
        }
        let params: Params = serde_json::from_value(value).unwrap();
        assert!(violations(&params).len() > 5);
    }
}
