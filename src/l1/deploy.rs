//! Deploying: the same contracts, order and parameters as `script/Deploy.s.sol`, from the same configuration.

use super::account::{Account, Order};
use super::bindings;
use super::client::Client;
use super::convert::{self, PARAMS};
use super::error::L1Error;
use crate::domain::{Deployment, Params, Seconds, violations};
use alloy::primitives::{Address, Bytes, U256, address};
use alloy::sol_types::SolValue as _;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Gas of a contract's creation: a floor for constructors, and what each byte of code costs as calldata (EIP-7623) and as
/// deposit. Estimating is not possible, as the constructors ask contracts that are still on the way.
const CONSTRUCTOR_GAS: u64 = 2_000_000;
const GAS_PER_CODE_BYTE: u64 = 250;
/// Keeps the hashes of the last 8,191 blocks (EIP-2935).
const HISTORY: Address = address!("0000F90827F1C53a10cb7A02335B175320002935");
/// Blocks whose prevrandao is looked at before a deployment.
const SEED_BLOCKS: u64 = 8;
/// How long a deployment may take to be included, and how often to look.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(100);

/// Whether seeds mean something on this L1 (R4): prevrandao changes, headers can be shown to the contracts, and hashes are
/// remembered for longer than 256 blocks.
///
/// # Errors
///
/// [`L1Error::NoSeeds`] says what is missing; anything else comes from the way to L1.
pub async fn require_seeds(client: &Client) -> Result<(), L1Error> {
    let none = |reason: String| Err(L1Error::NoSeeds { reason });
    if client.code(HISTORY).await?.is_empty() {
        return none(format!("no contract at {HISTORY} keeps block hashes (EIP-2935)"));
    }
    let head = client.head().await?.number;
    let mut seen = BTreeSet::new();
    // The first block of a chain is nobody's work.
    let first = head.saturating_sub(SEED_BLOCKS).saturating_add(1).max(1);
    for number in first..=head {
        match client.raw_header(number).await {
            Ok((_, random)) => drop(seen.insert(random)),
            Err(L1Error::BadAnswer { .. } | L1Error::Refused { .. }) => {
                return none(format!(
                    "the header of block {number} does not hash to the block's hash"
                ));
            }
            Err(error @ L1Error::UnknownHeader { .. }) => return none(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    if let (1, Some(random), true) = (seen.len(), seen.first(), first < head) {
        return none(format!("prevrandao is {random} in each of the blocks {first} to {head}"));
    }
    Ok(())
}

/// Deploys what `config` (the JSON of `script/config/`) describes, from `account`, and checks the result.
///
/// # Errors
///
/// [`L1Error::BadConfig`] names the first key that is missing, unknown or wrong; [`L1Error::Reverted`] a contract that
/// refused its parameters; anything else comes from the way to L1.
pub async fn deploy(account: &Account, config: &str) -> Result<Deployment, L1Error> {
    let client = account.client();
    let head = client.head().await?;
    let config = Config::parse(config, head.timestamp)?;
    agree(&convert::params(&config.params)?)?;

    let first = client.nonce(account.address(), true).await?;
    let mut nonces = first..;
    let mut next = || account.address().create(nonces.next().unwrap_or(u64::MAX));
    let stake_token = if config.stake_token.is_zero() { next() } else { config.stake_token };
    let deployment = Deployment {
        chain_id: client.chain_id(),
        block: head.number,
        stake_token,
        registry: next(),
        settlement: next(),
        tally: next(),
        slasher: next(),
        reward_pool: next(),
        rollups: next(),
        guardian: config.guardian,
    };

    let arguments = (config.params, convert::addresses(&deployment)).abi_encode_params();
    let mut creations = Vec::new();
    if config.stake_token.is_zero() {
        creations.push(("StakeToken", bindings::STAKE_TOKEN.to_vec()));
    }
    for (name, code) in [
        ("SequencerRegistry", bindings::SEQUENCER_REGISTRY),
        ("Settlement", bindings::SETTLEMENT),
        ("Tally", bindings::TALLY),
        ("Slasher", bindings::SLASHER),
        ("RewardPool", bindings::REWARD_POOL),
        ("Rollups", bindings::ROLLUPS),
    ] {
        creations.push((name, [code, &arguments].concat()));
    }

    // The registry stands alone and checks every parameter: what it refuses is refused before anything is paid.
    let registry = Bytes::from([bindings::SEQUENCER_REGISTRY, &arguments].concat());
    let place = first.saturating_add(u64::from(config.stake_token.is_zero()));
    client.try_create(account.address(), place, &registry).await?;

    // All are sent before the first is included: they come into the same few blocks.
    let mut sent = Vec::with_capacity(creations.len());
    for (name, code) in creations {
        let bytes = u64::try_from(code.len()).unwrap_or(u64::MAX);
        let gas = bytes.saturating_mul(GAS_PER_CODE_BYTE).saturating_add(CONSTRUCTOR_GAS);
        let order = Order {
            to: None,
            value_wei: U256::ZERO,
            input: Bytes::from(code),
            gas: Some(gas),
            what: "creation",
        };
        sent.push((name, account.send(&order).await?, order));
    }
    for (name, transaction, order) in sent {
        let succeeded = await_receipt(client, transaction.hash).await?;
        if !succeeded {
            let from = account.address();
            let reason = match client.try_create(from, transaction.nonce, &order.input).await {
                Err(L1Error::Reverted { reason, .. }) => reason,
                Err(error) => error.to_string(),
                Ok(()) => "its creation ran out of gas".to_owned(),
            };
            let contract = account.address().create(transaction.nonce);
            return Err(L1Error::Reverted { contract, reason: format!("{name}: {reason}") });
        }
    }
    client.verify(&deployment).await?;
    Ok(deployment)
}

async fn await_receipt(client: &Client, hash: alloy::primitives::TxHash) -> Result<bool, L1Error> {
    let start = Instant::now();
    loop {
        if let Some(receipt) = client.receipt(hash).await? {
            return Ok(receipt.status());
        }
        if start.elapsed() >= PATIENCE {
            return Err(L1Error::NotIncluded { tx: hash, seconds: PATIENCE.as_secs() });
        }
        sleep(POLL).await;
    }
}

/// The parameters that `config` (the JSON of `script/config/`) describes, for a deployment at `now`.
///
/// # Errors
///
/// [`L1Error::BadConfig`] names the first key that is missing, unknown or wrong, or all relations that do not hold: what a
/// deployment would refuse.
pub fn read_params(config: &str, now: Seconds) -> Result<Params, L1Error> {
    let params = convert::params(&Config::parse(config, now)?.params)?;
    agree(&params)?;
    Ok(params)
}

/// Checks the relations that the contracts check, all at once: they name the first that does not hold.
fn agree(params: &Params) -> Result<(), L1Error> {
    let found: Vec<String> = violations(params).iter().map(ToString::to_string).collect();
    let Some(first) = violations(params).first().map(|one| one.parameter) else { return Ok(()) };
    let reason = match found.len() {
        1 => "a relation does not hold".to_owned(),
        many => format!("{many} relations do not hold"),
    };
    Err(bad(first, &format!("{reason}:\n  {}", found.join("\n  "))))
}

/// A deployment's configuration, checked.
struct Config {
    params: [U256; PARAMS],
    stake_token: Address,
    guardian: Address,
}

impl Config {
    fn parse(text: &str, now: Seconds) -> Result<Self, L1Error> {
        let mut object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| bad("(file)", &format!("not a JSON object: {error}")))?;
        let mut params = [U256::ZERO; PARAMS];
        for ((name, is_u64), word) in bindings::PARAMS.iter().zip(&mut params) {
            *word = match *name {
                "genesis" => {
                    let delay = take(&mut object, "genesisDelaySeconds")?;
                    let delay = delay
                        .as_u64()
                        .ok_or_else(|| bad("genesisDelaySeconds", "expected whole seconds"))?;
                    U256::from(now.get().saturating_add(delay))
                }
                name if *is_u64 => take(&mut object, name)?
                    .as_u64()
                    .map(U256::from)
                    .ok_or_else(|| bad(name, "expected a whole number below 2^64"))?,
                name => take(&mut object, name)?
                    .as_str()
                    .and_then(|digits| U256::from_str_radix(digits, 10).ok())
                    .ok_or_else(|| bad(name, "expected wei as a decimal string"))?,
            };
        }
        let stake_token = take_address(&mut object, "stakeToken")?;
        let guardian = take_address(&mut object, "guardian")?;
        match object.keys().next() {
            Some(unknown) => Err(bad(unknown, "unknown")),
            None => Ok(Self { params, stake_token, guardian }),
        }
    }
}

fn take(object: &mut Map<String, Value>, key: &str) -> Result<Value, L1Error> {
    object.remove(key).ok_or_else(|| bad(key, "missing"))
}

fn take_address(object: &mut Map<String, Value>, key: &str) -> Result<Address, L1Error> {
    take(object, key)?
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| bad(key, "expected an address"))
}

fn bad(field: &str, reason: &str) -> L1Error {
    L1Error::BadConfig { field: field.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use super::convert;
    use crate::domain::Seconds;
    use alloy::primitives::{Address, U256};

    const DEVNET: &str = include_str!("../../script/config/devnet.json");
    const TESTNET: &str = include_str!("../../script/config/testnet.json");

    #[test]
    fn reads_the_profiles() {
        for profile in [DEVNET, TESTNET] {
            let config = Config::parse(profile, Seconds::new(1_000)).unwrap();
            let params = convert::params(&config.params).unwrap();
            assert!(params.genesis > 1_000, "genesis is counted from now");
            assert!(params.min_stake_wei > U256::ZERO);
            assert_eq!(config.stake_token, Address::ZERO);
        }
    }

    #[test]
    fn names_the_key_that_is_wrong() {
        let message =
            |text: String| Config::parse(&text, Seconds::new(0)).err().unwrap().to_string();
        let missing = message(DEVNET.replace("\"turnLength\": 8,", ""));
        assert!(missing.contains("turnLength: missing"), "{missing}");
        let unknown = message(DEVNET.replace("\"guardian\"", "\"colour\": 1, \"guardian\""));
        assert!(unknown.contains("colour: unknown"), "{unknown}");
        let number = message(DEVNET.replace("\"ringSize\": 1024", "\"ringSize\": -1"));
        assert!(number.contains("ringSize: expected a whole number"), "{number}");
        let wei = message(DEVNET.replace("\"1000000000\"", "1000000000"));
        assert!(wei.contains("rollupByteWei: expected wei"), "{wei}");
    }
}
