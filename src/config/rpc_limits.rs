//! Bounds of JSON-RPC, as an operator sets them.

use crate::config::{ConfigError, Settings};
use crate::rpc::RpcLimits;
use std::time::Duration;

/// The least that a request and an answer may have: a transaction of the largest size and a block of hashes fit.
const LEAST_BYTES: u32 = 1 << 18;

/// The limits that `settings` give, each the default where they say nothing.
pub(super) fn rpc_limits(settings: &Settings) -> Result<RpcLimits, ConfigError> {
    let default = RpcLimits::default();
    let seconds = |setting, given: Option<u64>, default: Duration| match given {
        Some(seconds) => above_zero(setting, seconds).map(Duration::from_secs),
        None => Ok(default),
    };
    let bytes = |setting, given: Option<u32>, default: u32| match given {
        Some(bytes) if bytes < LEAST_BYTES => Err(ConfigError::Invalid {
            setting,
            expected: "at least 262144 bytes",
            found: bytes.to_string(),
        }),
        given => Ok(given.unwrap_or(default)),
    };
    let Settings { rpc_connections, rpc_batch_calls, rpc_units_per_second, .. } = settings;
    Ok(RpcLimits {
        connections: above_zero("rpc-connections", rpc_connections.unwrap_or(default.connections))?,
        connections_per_address: above_zero(
            "rpc-connections-per-address",
            settings.rpc_connections_per_address.unwrap_or(default.connections_per_address),
        )?,
        request_bytes: bytes(
            "rpc-request-bytes",
            settings.rpc_request_bytes,
            default.request_bytes,
        )?,
        response_bytes: bytes(
            "rpc-response-bytes",
            settings.rpc_response_bytes,
            default.response_bytes,
        )?,
        batch_calls: above_zero("rpc-batch-calls", rpc_batch_calls.unwrap_or(default.batch_calls))?,
        units_per_second: above_zero(
            "rpc-units-per-second",
            rpc_units_per_second.unwrap_or(default.units_per_second),
        )?,
        units_per_second_in_all: above_zero(
            "rpc-units-per-second-in-all",
            settings.rpc_units_per_second_in_all.unwrap_or(default.units_per_second_in_all),
        )?,
        subscriptions_per_address: settings
            .rpc_subscriptions_per_address
            .unwrap_or(default.subscriptions_per_address),
        subscriptions_in_all: settings
            .rpc_subscriptions_in_all
            .unwrap_or(default.subscriptions_in_all),
        answer_bytes_in_all: default.answer_bytes_in_all,
        // None at all is a choice: subscriptions are then refused.
        subscriptions: settings.rpc_subscriptions.unwrap_or(default.subscriptions),
        request_timeout: seconds(
            "rpc-request-seconds",
            settings.rpc_request_seconds,
            default.request_timeout,
        )?,
        idle_timeout: seconds("rpc-idle-seconds", settings.rpc_idle_seconds, default.idle_timeout)?,
    })
}

fn above_zero<T: PartialEq + Default>(setting: &'static str, value: T) -> Result<T, ConfigError> {
    if value == T::default() {
        let (expected, found) = ("a number above zero", "0".to_owned());
        return Err(ConfigError::Invalid { setting, expected, found });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_the_default() {
        assert_eq!(rpc_limits(&Settings::default()).unwrap(), RpcLimits::default());
    }

    #[test]
    fn each_setting_reaches_its_limit() {
        let settings = Settings {
            rpc_connections: Some(1),
            rpc_connections_per_address: Some(6),
            rpc_units_per_second_in_all: Some(7),
            rpc_subscriptions_per_address: Some(8),
            rpc_subscriptions_in_all: Some(9),
            rpc_request_bytes: Some(300_000),
            rpc_response_bytes: Some(400_000),
            rpc_batch_calls: Some(2),
            rpc_units_per_second: Some(3),
            rpc_subscriptions: Some(0),
            rpc_request_seconds: Some(4),
            rpc_idle_seconds: Some(5),
            ..Settings::default()
        };
        let expected = RpcLimits {
            connections: 1,
            connections_per_address: 6,
            units_per_second_in_all: 7,
            subscriptions_per_address: 8,
            subscriptions_in_all: 9,
            answer_bytes_in_all: RpcLimits::default().answer_bytes_in_all,
            request_bytes: 300_000,
            response_bytes: 400_000,
            batch_calls: 2,
            units_per_second: 3,
            subscriptions: 0,
            request_timeout: Duration::from_secs(4),
            idle_timeout: Duration::from_secs(5),
        };
        assert_eq!(rpc_limits(&settings).unwrap(), expected);
    }

    #[test]
    fn limits_that_serve_nobody_are_refused() {
        let none = Settings::default;
        let cases = [
            ("rpc-connections", Settings { rpc_connections: Some(0), ..none() }),
            (
                "rpc-connections-per-address",
                Settings { rpc_connections_per_address: Some(0), ..none() },
            ),
            (
                "rpc-units-per-second-in-all",
                Settings { rpc_units_per_second_in_all: Some(0), ..none() },
            ),
            ("rpc-request-bytes", Settings { rpc_request_bytes: Some(1_000), ..none() }),
            ("rpc-response-bytes", Settings { rpc_response_bytes: Some(0), ..none() }),
            ("rpc-batch-calls", Settings { rpc_batch_calls: Some(0), ..none() }),
            ("rpc-units-per-second", Settings { rpc_units_per_second: Some(0), ..none() }),
            ("rpc-request-seconds", Settings { rpc_request_seconds: Some(0), ..none() }),
            ("rpc-idle-seconds", Settings { rpc_idle_seconds: Some(0), ..none() }),
        ];
        for (setting, settings) in cases {
            let refusal = rpc_limits(&settings).unwrap_err().to_string();
            assert!(refusal.starts_with(setting), "{setting}: {refusal}");
        }
    }
}
