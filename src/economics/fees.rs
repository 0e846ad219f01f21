//! Base fees of L1 that look like real ones, hour by hour for a year.
//!
//! Deterministic: a seed and whole numbers decide all of it, so that a figure in a document can be played again.

/// Hours of a year.
const HOURS: usize = 8_760;
const GWEI: u64 = 1_000_000_000;

/// A year of base fees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FeeSeries {
    /// What it looks like.
    pub(super) name: &'static str,
    /// Base fee of each hour, in wei.
    pub(super) fees_wei: Vec<u64>,
}

/// How a series moves.
struct Shape {
    name: &'static str,
    /// Where it goes back to, and what it stays within, in wei.
    mean_wei: u64,
    least_wei: u64,
    most_wei: u64,
    /// One hour in so many begins a spike to this; none if it is zero.
    spike_hours: u64,
    spike_wei: u64,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "quiet",
        mean_wei: GWEI / 10,
        least_wei: GWEI / 100,
        most_wei: GWEI,
        spike_hours: 0,
        spike_wei: 0,
    },
    Shape {
        name: "20 gwei",
        mean_wei: 20 * GWEI,
        least_wei: 2 * GWEI,
        most_wei: 120 * GWEI,
        spike_hours: 0,
        spike_wei: 0,
    },
    Shape {
        name: "spikes of 500 gwei",
        mean_wei: 5 * GWEI,
        least_wei: GWEI / 2,
        most_wei: 500 * GWEI,
        spike_hours: 168,
        spike_wei: 500 * GWEI,
    },
];

/// Quiet, around 20 gwei, and quiet with spikes of 500 gwei, which begin about once a week and decay by a quarter an hour.
pub(super) fn series(seed: u64) -> Vec<FeeSeries> {
    SHAPES
        .iter()
        .zip(0..)
        .map(|(shape, place)| FeeSeries {
            name: shape.name,
            fees_wei: shape.play(seed.wrapping_add(place)),
        })
        .collect()
}

impl Shape {
    fn play(&self, seed: u64) -> Vec<u64> {
        let mut random = Random(seed);
        let mut fee = self.mean_wei;
        (0..HOURS)
            .map(|_| {
                let spike = self.spike_hours != 0 && random.below(self.spike_hours) == 0;
                fee = if spike { self.spike_wei } else { self.next(fee, &mut random) };
                fee
            })
            .collect()
    }

    /// A quarter of the way back at most where it is far away, an eighth else, and up to a quarter up or down.
    fn next(&self, fee: u64, random: &mut Random) -> u64 {
        let pull = if fee > self.mean_wei.saturating_mul(4) { 4 } else { 8 };
        let back = if fee > self.mean_wei {
            fee.saturating_sub(fee.saturating_sub(self.mean_wei).checked_div(pull).unwrap_or(0))
        } else {
            fee.saturating_add(self.mean_wei.saturating_sub(fee).checked_div(pull).unwrap_or(0))
        };
        let noise = random.below(501);
        let moved = u128::from(back).saturating_mul(u128::from(noise.saturating_add(750))) / 1_000;
        u64::try_from(moved).unwrap_or(u64::MAX).clamp(self.least_wei, self.most_wei)
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)).checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{GWEI, HOURS, series};

    #[test]
    fn a_seed_is_a_year_and_always_the_same() {
        let played = series(7);
        assert_eq!(played, series(7));
        assert_ne!(played, series(8));
        assert!(played.iter().all(|one| one.fees_wei.len() == HOURS));
    }

    #[test]
    fn they_look_like_what_they_are_called() {
        for seed in 0..20 {
            let played = series(seed);
            let of = |name: &str| {
                let one = played.iter().find(|one| one.name == name).unwrap();
                let mut fees = one.fees_wei.clone();
                fees.sort_unstable();
                (fees[0], fees[HOURS / 2], fees[HOURS - 1])
            };
            let (_, middle, most) = of("quiet");
            assert!(middle < GWEI / 4 && most <= GWEI, "{seed}");
            let (least, middle, most) = of("20 gwei");
            assert!(least >= 2 * GWEI && most <= 120 * GWEI, "{seed}");
            assert!((10 * GWEI..30 * GWEI).contains(&middle), "{seed}: {middle}");
            let (_, middle, most) = of("spikes of 500 gwei");
            assert!(middle < 20 * GWEI && most == 500 * GWEI, "{seed}: {middle}");
        }
    }
}
