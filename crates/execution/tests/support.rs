//! A genesis, accounts that sign, contracts of a few bytes, and a clock of heights.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use rota_execution::{
    Block, Executed, Executor, Fate, Genesis, Height, MemoryState, Prepared, SINCE_CANCUN,
    SINCE_PRAGUE, SkipReason,
};
use serde_json::{Value, json};

pub(crate) const CHAIN_ID: u64 = 7_070;
/// Seconds; the first height is one later.
pub(crate) const GENESIS_TIME: u64 = 1_000;
pub(crate) const GWEI: u128 = 1_000_000_000;
pub(crate) const GAS_LIMIT: u64 = 30_000_000;

/// The fork that a chain has from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Fork {
    Shanghai,
    Cancun,
    Prague,
    Osaka,
}

pub(crate) const FORKS: [Fork; 4] = [Fork::Shanghai, Fork::Cancun, Fork::Prague, Fork::Osaka];

/// Accounts 0 to 15 have 1,000 ETH each.
pub(crate) fn genesis_json(fork: Fork) -> Value {
    let mut alloc = serde_json::Map::new();
    for index in 0..16 {
        alloc.insert(
            wallet(index).address().to_string(),
            json!({ "balance": "0x3635c9adc5dea00000" }),
        );
    }
    for contract in SINCE_CANCUN.iter().chain(SINCE_PRAGUE.iter()) {
        alloc.insert(
            contract.address.to_string(),
            json!({ "balance": "0x0", "nonce": "0x1", "code": contract.code }),
        );
    }
    let mut config = json!({
        "chainId": CHAIN_ID, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
        "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0, "istanbulBlock": 0,
        "berlinBlock": 0, "londonBlock": 0, "mergeNetsplitBlock": 0, "terminalTotalDifficulty": 0,
        "terminalTotalDifficultyPassed": true, "shanghaiTime": 0,
        "blobSchedule": {
            "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 },
            "prague": { "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 },
            "osaka": { "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 },
        },
    });
    let later =
        [(Fork::Cancun, "cancunTime"), (Fork::Prague, "pragueTime"), (Fork::Osaka, "osakaTime")];
    for (_, field) in later.iter().filter(|(begins, _)| *begins <= fork) {
        config[*field] = json!(0);
    }
    json!({
        "config": config, "nonce": "0x0", "timestamp": format!("{GENESIS_TIME:#x}"), "extraData": "0x",
        "gasLimit": format!("{GAS_LIMIT:#x}"), "difficulty": "0x0", "baseFeePerGas": "0x3b9aca00",
        "mixHash": B256::ZERO, "coinbase": Address::ZERO, "alloc": alloc,
    })
}

pub(crate) fn genesis(fork: Fork) -> Genesis {
    Genesis::parse(&genesis_json(fork).to_string(), CHAIN_ID).unwrap()
}

pub(crate) fn wallet(index: u64) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(index.to_be_bytes())).unwrap()
}

pub(crate) fn address(index: u64) -> Address {
    wallet(index).address()
}

pub(crate) fn sign<T>(from: &PrivateKeySigner, transaction: T) -> Bytes
where
    T: SignableTransaction<Signature>,
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let signature = from.sign_hash_sync(&transaction.signature_hash()).unwrap();
    TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
}

/// What most transactions of the tests are: a call of type 2 with a fee that does.
pub(crate) fn call(nonce: u64, to: Address, input: &[u8]) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 300_000,
        max_fee_per_gas: 20 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(to),
        value: U256::ZERO,
        access_list: Default::default(),
        input: Bytes::copy_from_slice(input),
    }
}

pub(crate) fn pay(nonce: u64, to: Address, value: u64) -> TxEip1559 {
    TxEip1559 { gas_limit: 21_000, value: U256::from(value), ..call(nonce, to, &[]) }
}

pub(crate) fn deploy(nonce: u64, runtime: &[u8]) -> TxEip1559 {
    TxEip1559 {
        to: TxKind::Create,
        input: init_code(runtime).into(),
        ..call(nonce, Address::ZERO, &[])
    }
}

pub(crate) fn legacy(nonce: u64, to: Address) -> TxLegacy {
    TxLegacy {
        chain_id: Some(CHAIN_ID),
        nonce,
        gas_price: 20 * GWEI,
        gas_limit: 100_000,
        to: TxKind::Call(to),
        value: U256::from(5),
        input: Bytes::new(),
    }
}

pub(crate) fn with_access_list(nonce: u64, to: Address) -> TxEip2930 {
    TxEip2930 {
        chain_id: CHAIN_ID,
        nonce,
        gas_price: 20 * GWEI,
        gas_limit: 100_000,
        to: TxKind::Call(to),
        value: U256::ZERO,
        access_list: vec![alloy_eips::eip2930::AccessListItem {
            address: to,
            storage_keys: vec![B256::ZERO, B256::with_last_byte(1)],
        }]
        .into(),
        input: Bytes::new(),
    }
}

/// An authorization by account `index` for code at `address`.
pub(crate) fn authorize(index: u64, nonce: u64, address: Address) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(CHAIN_ID), address, nonce };
    let signature = wallet(index).sign_hash_sync(&authorization.signature_hash()).unwrap();
    authorization.into_signed(signature)
}

/// The same with anything for a signature.
pub(crate) fn authorize_by(
    signature: (u8, U256, U256),
    chain_id: u64,
    nonce: u64,
    address: Address,
) -> SignedAuthorization {
    let (y_parity, r, s) = signature;
    let chain_id = U256::from(chain_id);
    SignedAuthorization::new_unchecked(Authorization { chain_id, address, nonce }, y_parity, r, s)
}

pub(crate) fn delegate(nonce: u64, to: Address, list: Vec<SignedAuthorization>) -> TxEip7702 {
    TxEip7702 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 300_000,
        max_fee_per_gas: 20 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to,
        value: U256::ZERO,
        access_list: Default::default(),
        authorization_list: list,
        input: Bytes::new(),
    }
}

/// Adds 1 to its slot 0 and logs.
pub(crate) const COUNTER: [u8; 15] = hex!("60005460010160005560006000a000");
/// Reverts.
pub(crate) const REVERTER: [u8; 5] = hex!("60006000fd");
/// Hashes 4 KiB until its gas is used up: few steps for much gas, since the specification is slow at steps.
pub(crate) const BURNER: [u8; 9] = hex!("5b6110005f20505f56");
/// Writes what the block says of itself into slots 0 to 5: beneficiary, prevRandao, timestamp, number, base fee, the
/// parent's hash.
pub(crate) const ENVIRONMENT: [u8; 29] =
    hex!("4160005544600155426002554360035548600455600143034060055500");
/// Called with data it destroys itself, otherwise it counts in slot 0.
pub(crate) const MORTAL: [u8; 17] = hex!("36600e57600054600101600055005b32ff");

/// Reads the balance of the account that its data names.
pub(crate) const READER: [u8; 5] = hex!("5f35315000");
/// Creates an empty contract.
pub(crate) const CREATOR: [u8; 6] = hex!("5f5f5ff05000");

/// Code that deploys `runtime`.
pub(crate) fn init_code(runtime: &[u8]) -> Vec<u8> {
    let length = u8::try_from(runtime.len()).unwrap();
    let mut code = vec![0x60, length, 0x60, 0x0c, 0x60, 0, 0x39, 0x60, length, 0x60, 0, 0xf3];
    code.extend_from_slice(runtime);
    code
}

/// A chain that heights are given to.
pub(crate) struct Chain {
    pub(crate) executor: Executor<MemoryState>,
    pub(crate) blocks: Vec<Block>,
    timestamp_ms: u64,
}

impl Chain {
    pub(crate) fn new(genesis: Genesis) -> Self {
        let executor = Executor::new(genesis, MemoryState::default()).unwrap();
        Self { executor, blocks: Vec::new(), timestamp_ms: (GENESIS_TIME + 1) * 1_000 }
    }

    pub(crate) fn at(fork: Fork) -> Self {
        Self::new(genesis(fork))
    }

    /// The next height as it would be given.
    pub(crate) fn height(&self, raws: &[Bytes]) -> Height {
        let number = self.executor.next_height();
        height(number, self.timestamp_ms, raws)
    }

    /// The empty height with this number, as [`Chain::close`] gave it.
    pub(crate) fn height_given(&self, number: u64) -> Height {
        height(number, self.timestamp_ms, &[])
    }

    /// The next height, in the running second.
    pub(crate) fn add(&mut self, raws: &[Bytes]) -> Vec<Fate> {
        let height = self.height(raws);
        self.give(height)
    }

    pub(crate) fn give(&mut self, height: Height) -> Vec<Fate> {
        let Executed { closed, fates } = self.executor.execute(height).unwrap();
        self.blocks.extend(closed);
        fates.into_iter().map(|(_, fate)| fate).collect()
    }

    /// Ends the running second with an empty height of the next.
    pub(crate) fn close(&mut self) {
        self.timestamp_ms += 1_000;
        self.add(&[]);
    }

    /// A second of its own for these transactions.
    pub(crate) fn second(&mut self, raws: &[Bytes]) -> Vec<Fate> {
        let fates = self.add(raws);
        self.close();
        fates
    }

    pub(crate) fn last(&self) -> &Block {
        self.blocks.last().unwrap()
    }

    pub(crate) fn slot(&self, address: Address, slot: u64) -> U256 {
        use rota_execution::State;
        self.executor.state().slot(address, U256::from(slot)).unwrap()
    }

    pub(crate) fn account(&self, address: Address) -> Option<rota_execution::Account> {
        use rota_execution::State;
        self.executor.state().account(address).unwrap()
    }
}

pub(crate) fn height(number: u64, timestamp_ms: u64, raws: &[Bytes]) -> Height {
    Height {
        number,
        timestamp_ms,
        proposer: Address::repeat_byte(0xf0),
        block_hash: keccak256(number.to_le_bytes()),
        l1_origin_hash: keccak256((number / 8).to_string()),
        transactions: raws.iter().map(|raw| Prepared::new(raw, CHAIN_ID)).collect(),
    }
}

/// The reason for which the only transaction given was skipped.
pub(crate) fn reason(fates: &[Fate]) -> &SkipReason {
    match fates {
        [Fate::Skipped(reason)] => reason,
        other => panic!("not one that was skipped: {other:?}"),
    }
}
