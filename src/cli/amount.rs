//! Amounts as people write them: digits, and decimals after a point. Nothing else is one: no sign, no exponent, no
//! thousands. A library that takes `-1` for 2^256 − 10^18 wei would have it ordered.

use crate::domain::Deployment;
use crate::l1::{Client, L1Error, actions};
use alloy::primitives::U256;
use alloy::primitives::utils::{ParseUnits, Unit};
use std::str::FromStr;

/// Decimals of ETH.
const ETHER: u8 = 18;

/// An amount that was written down, of something whose decimals are not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// All digits, without the point.
    digits: String,
    /// How many of them stand behind the point.
    behind: usize,
}

impl FromStr for Written {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (whole, behind) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(behind) {
            return Err("expected digits, and decimals after a point, such as 12.5".to_owned());
        }
        let behind = behind.trim_end_matches('0');
        Ok(Self { digits: format!("{whole}{behind}"), behind: behind.len() })
    }
}

impl Written {
    /// In the smallest unit of something with that many decimals.
    fn scaled(&self, decimals: u8) -> Result<U256, String> {
        let left = usize::from(decimals)
            .checked_sub(self.behind)
            .ok_or_else(|| format!("expected at most {decimals} decimals"))?;
        let digits = U256::from_str_radix(&self.digits, 10);
        let scale = U256::from(10).checked_pow(U256::from(left));
        match (digits, scale) {
            (Ok(digits), Some(scale)) => digits.checked_mul(scale),
            _ => None,
        }
        .ok_or_else(|| "the amount is above 2^256 of the smallest unit".to_owned())
    }
}

/// An amount of ETH, as flags give it, in wei.
pub(super) fn ether(text: &str) -> Result<U256, String> {
    text.parse::<Written>()?.scaled(ETHER)
}

/// The token that is staked: ERC-20s count in units that each of them chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct StakeToken {
    decimals: u8,
}

impl StakeToken {
    /// Asks L1.
    pub(super) async fn of(client: &Client, deployment: &Deployment) -> Result<Self, L1Error> {
        let decimals = actions::stake_token_decimals(client, deployment).await?;
        Ok(Self { decimals })
    }

    /// An amount that `argument` gave, in the token's smallest unit.
    pub(super) fn units(self, argument: &str, amount: &Written) -> eyre::Result<U256> {
        amount.scaled(self.decimals).map_err(|reason| eyre::eyre!("{argument}: {reason}"))
    }

    /// A number of smallest units as people read it: 1.5 rather than 1.500000000000000000.
    pub(super) fn show(self, units: U256) -> String {
        shown(units, self.decimals)
    }
}

/// A number of wei of ETH as people read it.
pub(super) fn units(wei: U256) -> String {
    shown(wei, ETHER)
}

fn shown(units: U256, decimals: u8) -> String {
    // More decimals than a number of 256 bits has digits.
    let Some(unit) = Unit::new(decimals) else { return format!("{units} of 10^-{decimals}") };
    let text = ParseUnits::from(units).format_units(unit);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: u64 = 1_000_000_000_000_000_000;

    #[test]
    fn takes_digits_and_decimals_and_nothing_else() {
        for (text, wei) in [
            ("0", 0),
            ("1", ONE),
            ("0.5", ONE / 2),
            ("1.50", ONE / 2 * 3),
            ("007", 7 * ONE),
            ("0.000000000000000001", 1),
            ("1.0000000000000000000000", ONE),
        ] {
            assert_eq!(ether(text), Ok(U256::from(wei)), "{text}");
        }
        for text in [
            "", "-1", "+1", "-0", "1e18", "1,5", "1_000", ".5", "5.", "1.5.5", "0x10", " 1", "1 ",
            "NaN", "inf", "½", "١", "1 ether", "--1",
        ] {
            assert!(ether(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_finer_or_larger_than_can_be() {
        assert_eq!(ether("0.0000000000000000001"), Err("expected at most 18 decimals".to_owned()));
        let largest = "115792089237316195423570985008687907853269984665640564039457";
        assert_eq!(ether(&format!("{largest}.584007913129639935")), Ok(U256::MAX));
        for above in
            [format!("{largest}.584007913129639936"), format!("{largest}0"), "9".repeat(999)]
        {
            assert!(ether(&above).unwrap_err().contains("above 2^256"), "{above}");
        }
    }

    #[test]
    fn counts_in_the_decimals_of_the_token() {
        let amount: Written = "12.5".parse().unwrap();
        let token = |decimals| StakeToken { decimals };
        assert_eq!(token(6).units("stake", &amount).unwrap(), U256::from(12_500_000));
        assert_eq!(token(6).show(U256::from(12_500_000)), "12.5");
        assert_eq!(token(0).show(U256::from(1_200)), "1200");
        assert_eq!(token(1).show(U256::from(1_200)), "120");
        let refused = token(0).units("stake", &amount).unwrap_err().to_string();
        assert_eq!(refused, "stake: expected at most 0 decimals");
        assert_eq!(token(200).show(U256::from(7)), "7 of 10^-200");
        assert_eq!(units(U256::from(ONE / 2)), "0.5");
    }
}
