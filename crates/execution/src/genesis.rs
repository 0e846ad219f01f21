//! A rollup's first block, from the JSON file that geth, reth and ethrex take.
//!
//! Clients read such files with different tolerance: what one of them ignores, another obeys. Anything that could make two
//! of them start from different blocks is refused here, with the name of its field.

use crate::forks::Forks;
use crate::system;
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_genesis::{Genesis as File, GenesisAccount};
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{Address, B64, B256, Bloom, U256};
use alloy_trie::EMPTY_ROOT_HASH;
use alloy_trie::root::state_root_ref_unhashed;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// No client takes a block with more.
const MAX_EXTRA_DATA: usize = 32;
/// The bounds that Ethereum sets to a block's gas limit.
const GAS_LIMITS: std::ops::RangeInclusive<u64> = 5_000..=0x7fff_ffff_ffff_ffff;

/// Fields of the file itself. `number` and what follows stand there in files that were exported.
const FIELDS: [&str; 15] = [
    "config",
    "nonce",
    "timestamp",
    "extraData",
    "gasLimit",
    "difficulty",
    "mixHash",
    "coinbase",
    "alloc",
    "baseFeePerGas",
    "excessBlobGas",
    "blobGasUsed",
    "number",
    "parentHash",
    "gasUsed",
];
/// Without these a client would start from a value of its own.
const REQUIRED: [&str; 5] = ["config", "gasLimit", "difficulty", "alloc", "baseFeePerGas"];
/// Forks by block, which must all be there and be 0.
const BY_BLOCK: [&str; 10] = [
    "homesteadBlock",
    "eip150Block",
    "eip155Block",
    "eip158Block",
    "byzantiumBlock",
    "constantinopleBlock",
    "petersburgBlock",
    "istanbulBlock",
    "berlinBlock",
    "londonBlock",
];
/// Forks by block that changed no execution: they may be missing, or 0.
const HARMLESS: [&str; 5] = [
    "muirGlacierBlock",
    "arrowGlacierBlock",
    "grayGlacierBlock",
    "mergeNetsplitBlock",
    "mergeForkBlock",
];
/// Forks by time that execution knows, in their order.
const BY_TIME: [&str; 4] = ["shanghaiTime", "cancunTime", "pragueTime", "osakaTime"];
/// What else a configuration may hold. Blobs there are none, so their schedule changes nothing.
const SETTINGS: [&str; 13] = [
    "chainId",
    "terminalTotalDifficulty",
    "terminalTotalDifficultyPassed",
    "depositContractAddress",
    "blobSchedule",
    "ethash",
    "eip150Hash",
    "daoForkSupport",
    "bpo1Time",
    "bpo2Time",
    "bpo3Time",
    "bpo4Time",
    "bpo5Time",
];

/// Why a genesis file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// No JSON, or a value of the wrong kind.
    #[error("genesis file: {reason}")]
    Unreadable {
        /// What the reader says, with line and column where it knows them.
        reason: String,
    },
    /// A field that has to be there is not.
    #[error("genesis file: {field} is missing")]
    Missing {
        /// The field, as a path.
        field: String,
    },
    /// A field that nobody here knows, and that another client may obey.
    #[error("genesis file: {field} is unknown")]
    Unknown {
        /// The field, as a path.
        field: String,
    },
    /// A field holds what it must not.
    #[error("genesis file: {field} is {found}, which must be {expected}")]
    Unfit {
        /// The field, as a path.
        field: String,
        /// What stands there.
        found: String,
        /// What would do.
        expected: String,
    },
}

/// A genesis file that was checked, with the block that it makes.
#[derive(Debug, Clone)]
pub struct Genesis {
    chain_id: u64,
    forks: Forks,
    header: Header,
    hash: B256,
    alloc: BTreeMap<Address, GenesisAccount>,
}

impl Genesis {
    /// Reads and checks a file, which must be that of `chain_id`.
    ///
    /// # Errors
    ///
    /// [`GenesisError`], which names the field.
    pub fn parse(json: &str, chain_id: u64) -> Result<Self, GenesisError> {
        let unreadable = |e: serde_json::Error| GenesisError::Unreadable { reason: e.to_string() };
        let value: Value = serde_json::from_str(json).map_err(unreadable)?;
        check_fields(&value)?;
        // From the text once more: errors then know their place, and a field that stands there twice is one.
        let file: File = serde_json::from_str(json).map_err(unreadable)?;
        let found = file.config.chain_id;
        if found != chain_id || chain_id == 0 {
            return Err(unfit(
                "config.chainId",
                found,
                format!("the rollup's, {chain_id}, and not 0"),
            ));
        }
        check_header(&file)?;
        let forks = forks_of(&file)?;
        check_accounts(&file, &forks)?;

        let header = header_of(&file, &forks);
        Ok(Self { chain_id, forks, hash: header.hash_slow(), header, alloc: file.alloc })
    }

    /// The chain id that transactions are signed for.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// When which rules begin.
    #[must_use]
    pub const fn forks(&self) -> &Forks {
        &self.forks
    }

    /// The header of block 0.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The hash of block 0.
    #[must_use]
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// What the accounts hold before the first block.
    #[must_use]
    pub const fn accounts(&self) -> &BTreeMap<Address, GenesisAccount> {
        &self.alloc
    }
}

fn unfit(
    field: impl Into<String>,
    found: impl ToString,
    expected: impl Into<String>,
) -> GenesisError {
    GenesisError::Unfit { field: field.into(), found: found.to_string(), expected: expected.into() }
}

/// The object at `field`, of which `known` says what it may hold.
fn object<'a>(
    value: &'a Value,
    field: &str,
    known: impl Fn(&str) -> bool,
) -> Result<&'a Map<String, Value>, GenesisError> {
    let prefix = if field.is_empty() { String::new() } else { format!("{field}.") };
    let map = value.as_object().ok_or_else(|| GenesisError::Unreadable {
        reason: format!("{} is no object", if field.is_empty() { "the whole" } else { field }),
    })?;
    match map.keys().find(|key| !known(key)) {
        Some(key) => Err(GenesisError::Unknown { field: format!("{prefix}{key}") }),
        None => Ok(map),
    }
}

fn is_set(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).is_some_and(|value| !value.is_null())
}

/// Whether only what is known stands there, and all that is needed. Values are looked at later, by their types.
fn check_fields(value: &Value) -> Result<(), GenesisError> {
    let file = object(value, "", |key| FIELDS.contains(&key))?;
    if let Some(field) = REQUIRED.iter().find(|key| !is_set(file, key)) {
        return Err(GenesisError::Missing { field: (*field).into() });
    }
    // Not in the type: no client's own files have it.
    if let Some(used) = file.get("gasUsed").filter(|used| !used.is_null() && !is_zero(used)) {
        return Err(unfit("gasUsed", used, "0"));
    }
    let empty = Value::Null;
    let config = object(file.get("config").unwrap_or(&empty), "config", |key| {
        [&BY_BLOCK[..], &HARMLESS, &BY_TIME, &SETTINGS].iter().any(|list| list.contains(&key))
    })?;
    let needed = ["chainId", "terminalTotalDifficulty", "shanghaiTime"];
    if let Some(key) = needed.iter().chain(&BY_BLOCK).find(|key| !is_set(config, key)) {
        return Err(GenesisError::Missing { field: format!("config.{key}") });
    }
    let later = BY_TIME.iter().rposition(|key| is_set(config, key)).unwrap_or_default();
    if let Some(key) = BY_TIME.iter().take(later).find(|key| !is_set(config, key)) {
        return Err(GenesisError::Missing { field: format!("config.{key}") });
    }
    for key in BY_BLOCK.iter().chain(&HARMLESS) {
        if let Some(at) = config.get(*key).filter(|at| !at.is_null() && !is_zero(at)) {
            return Err(unfit(format!("config.{key}"), at, "0"));
        }
    }
    let accounts = object(file.get("alloc").unwrap_or(&empty), "alloc", |_| true)?;
    let mut seen = BTreeMap::new();
    for (address, account) in accounts {
        let field = format!("alloc.{address}");
        // Clients differ in which of two they take.
        if let Some(other) = seen.insert(address.trim_start_matches("0x").to_lowercase(), address) {
            return Err(unfit(field, format!("there also as {other}"), "there once"));
        }
        let known = ["balance", "nonce", "code", "storage", "secretKey"];
        let account = object(account, &field, |key| known.contains(&key))?;
        if !is_set(account, "balance") {
            return Err(GenesisError::Missing { field: format!("{field}.balance") });
        }
    }
    Ok(())
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.trim_start_matches("0x").trim_start_matches('0').is_empty(),
        _ => false,
    }
}

/// What of the header does not follow from the forks.
fn check_header(file: &File) -> Result<(), GenesisError> {
    let zero = |field: &str, found: U256| {
        if found.is_zero() { Ok(()) } else { Err(unfit(field, found, "0")) }
    };
    zero(
        "config.terminalTotalDifficulty",
        file.config.terminal_total_difficulty.unwrap_or_default(),
    )?;
    // Otherwise a client takes the block for one of proof of work.
    zero("difficulty", file.difficulty)?;
    zero("number", U256::from(file.number.unwrap_or_default()))?;
    // No transaction of a rollup carries blobs, so their price never moves from its lowest.
    zero("excessBlobGas", U256::from(file.excess_blob_gas.unwrap_or_default()))?;
    zero("blobGasUsed", U256::from(file.blob_gas_used.unwrap_or_default()))?;
    zero("parentHash", file.parent_hash.unwrap_or_default().into())?;
    if !GAS_LIMITS.contains(&file.gas_limit) {
        let bounds = format!("from {} to {}", GAS_LIMITS.start(), GAS_LIMITS.end());
        return Err(unfit("gasLimit", file.gas_limit, bounds));
    }
    if file.extra_data.len() > MAX_EXTRA_DATA {
        let found = format!("{} bytes long", file.extra_data.len());
        return Err(unfit("extraData", found, format!("at most {MAX_EXTRA_DATA} bytes")));
    }
    let base_fee = file.base_fee_per_gas.unwrap_or_default();
    if base_fee == 0 || u64::try_from(base_fee).is_err() {
        return Err(unfit("baseFeePerGas", base_fee, "from 1 to 2^64 - 1"));
    }
    Ok(())
}

/// When the forks begin, which must be in their order, Shanghai from the start.
fn forks_of(file: &File) -> Result<Forks, GenesisError> {
    let config = &file.config;
    let times = [config.shanghai_time, config.cancun_time, config.prague_time, config.osaka_time];
    let mut before = 0;
    for (name, time) in BY_TIME.iter().zip(times) {
        let Some(time) = time else { continue };
        if time < before {
            return Err(unfit(format!("config.{name}"), time, "not before the fork before it"));
        }
        before = time;
    }
    let shanghai = config.shanghai_time.unwrap_or_default();
    if shanghai > file.timestamp {
        let expected = format!("at most the file's timestamp, {}", file.timestamp);
        return Err(unfit("config.shanghaiTime", shanghai, expected));
    }
    Ok(Forks {
        shanghai,
        cancun: config.cancun_time,
        prague: config.prague_time,
        osaka: config.osaka_time,
        deposit_contract: config.deposit_contract_address,
    })
}

/// Whether the accounts fit what execution relies on.
fn check_accounts(file: &File, forks: &Forks) -> Result<(), GenesisError> {
    let mut total = U256::ZERO;
    for (address, account) in &file.alloc {
        // A sum that overflows would let a balance overflow while executing.
        total = total.checked_add(account.balance).ok_or_else(|| {
            unfit(
                format!("alloc.{address}.balance"),
                account.balance,
                "so that all add up to less than 2^256",
            )
        })?;
        if account.nonce == Some(u64::MAX) {
            return Err(unfit(format!("alloc.{address}.nonce"), u64::MAX, "at most 2^64 - 2"));
        }
        // Clients disagree on whether a contract can be created where storage is (EIP-7610).
        let new = account.nonce.unwrap_or_default() == 0 && account.non_empty_code().is_none();
        if new && account.storage_slots().next().is_some() {
            let expected = "empty, as the account has neither nonce nor code";
            return Err(unfit(format!("alloc.{address}.storage"), "not empty", expected));
        }
    }
    let active =
        [(forks.cancun, &system::SINCE_CANCUN[..]), (forks.prague, &system::SINCE_PRAGUE[..])];
    for (_, contracts) in active.iter().filter(|(time, _)| time.is_some()) {
        for contract in contracts.iter() {
            let held = file.alloc.get(&contract.address).and_then(|account| account.code.as_ref());
            match held {
                Some(code) if *code == *contract.code => {}
                // A client that calls it after each block, or trusts what it left in the state, would stop.
                None => {
                    let field = format!("alloc.{}.code ({})", contract.address, contract.name);
                    return Err(GenesisError::Missing { field });
                }
                Some(code) => {
                    let field = format!("alloc.{}.code", contract.address);
                    let expected = format!("that of {}", contract.name);
                    return Err(unfit(field, format!("{} other bytes", code.len()), expected));
                }
            }
        }
    }
    // Whoever could have it emit a malformed log would make a block that no client takes.
    if let Some(address) = forks.deposit_contract
        && file.alloc.get(&address).and_then(GenesisAccount::non_empty_code).is_some()
    {
        let expected = "without code: a rollup has no validators to deposit for";
        return Err(unfit("config.depositContractAddress", address, expected));
    }
    Ok(())
}

fn header_of(file: &File, forks: &Forks) -> Header {
    let cancun = forks.is_cancun_active_at_timestamp(file.timestamp);
    let prague = forks.is_prague_active_at_timestamp(file.timestamp);
    Header {
        parent_hash: B256::ZERO,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: file.coinbase,
        state_root: state_root_ref_unhashed(&file.alloc),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        difficulty: U256::ZERO,
        number: 0,
        gas_limit: file.gas_limit,
        gas_used: 0,
        timestamp: file.timestamp,
        extra_data: file.extra_data.clone(),
        mix_hash: file.mix_hash,
        nonce: B64::from(file.nonce),
        base_fee_per_gas: file.base_fee_per_gas.and_then(|fee| u64::try_from(fee).ok()),
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: cancun.then_some(0),
        excess_blob_gas: cancun.then_some(0),
        parent_beacon_block_root: cancun.then_some(B256::ZERO),
        requests_hash: prague.then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
