//! One transaction and the state that it meets.

use crate::recorded::{BatchSettled, DutyCredited, Recorded};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use alloy::sol_types::SolEvent;
use revm::context::result::ExecutionResult;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, Bytecode};
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};
use std::collections::{BTreeMap, BTreeSet};

const CALL: u8 = 0;
const CREATE: u8 = 4;
const CHAIN_ID: u64 = 31337;
/// Enough for any of them under either list. Below the cap of EIP-7825, so that what state costs is not paid from a part of
/// the limit that contracts cannot see (EIP-8037).
const GAS_LIMIT: u64 = 16_777_216;

pub(crate) struct Replay {
    pub(crate) name: String,
    block: BlockEnv,
    transaction: TxEnv,
    state: CacheDB<EmptyDB>,
}

impl Replay {
    /// The last call that was recorded from outside, and what it and all calls in it met.
    pub(crate) fn of(recorded: &Recorded) -> Self {
        let depth = recorded.accesses.iter().map(|access| access.depth).min().unwrap();
        let first = recorded
            .accesses
            .iter()
            .rposition(|access| access.depth == depth && access.kind == CALL)
            .unwrap();
        let accesses = &recorded.accesses[first..];
        let call = &accesses[0];
        assert!(!call.reverted, "{} reverted in Forge", recorded.name);

        let mut state = CacheDB::new(EmptyDB::default());
        let created: BTreeSet<Address> =
            accesses.iter().filter(|a| a.kind == CREATE).map(|a| a.account).collect();
        let mut balances: BTreeMap<Address, U256> = BTreeMap::new();
        let mut met: BTreeSet<Address> = BTreeSet::new();
        for access in accesses {
            met.insert(access.accessor);
            met.insert(access.account);
            balances.entry(access.account).or_insert(access.oldBalance);
        }
        for (i, account) in recorded.accounts.iter().enumerate() {
            if created.contains(account) || !met.contains(account) {
                continue;
            }
            // Whoever sends has no code: Forge lets a contract send.
            let sends = *account == call.accessor;
            let code = if sends { Bytes::new() } else { recorded.codes[i].clone() };
            let balance = if sends {
                U256::MAX >> 8
            } else {
                balances.get(account).copied().unwrap_or_default()
            };
            let info = AccountInfo {
                balance,
                nonce: if sends { 0 } else { recorded.nonces[i] },
                ..AccountInfo::from_bytecode(Bytecode::new_raw(code))
            };
            if !info.is_empty() {
                state.insert_account_info(*account, info);
            }
        }
        let mut known: BTreeSet<(Address, B256)> = BTreeSet::new();
        for slot in accesses.iter().flat_map(|access| &access.storageAccesses) {
            if known.insert((slot.account, slot.slot)) {
                let (key, value) = (slot.slot.into(), slot.previousValue.into());
                state.insert_account_storage(slot.account, key, value).unwrap();
            }
        }

        for (i, value) in recorded.poolSlots.iter().enumerate() {
            let slot = U256::from(i);
            if met.contains(&recorded.pool) && known.insert((recorded.pool, slot.into())) {
                state.insert_account_storage(recorded.pool, slot, (*value).into()).unwrap();
            }
        }

        for (number, hash) in recorded.pinned.iter().zip(recorded.hashes) {
            state.cache.block_hashes.insert(U256::from(*number), hash);
        }

        let block = BlockEnv {
            number: recorded.blockNumber,
            timestamp: recorded.timestamp,
            basefee: recorded.baseFeeWei.to(),
            prevrandao: Some(recorded.prevrandao.into()),
            difficulty: U256::ZERO,
            gas_limit: GAS_LIMIT,
            ..BlockEnv::default()
        };
        let transaction = TxEnv::builder()
            .caller(call.accessor)
            .kind(TxKind::Call(call.account))
            .value(call.value)
            .data(call.data.clone())
            .gas_limit(GAS_LIMIT)
            .gas_price(recorded.baseFeeWei.to())
            .chain_id(Some(CHAIN_ID))
            .build()
            .unwrap();
        Self { name: recorded.name.clone(), block, transaction, state }
    }

    /// Gas that the receipt would say at the base fee of the recording.
    pub(crate) fn gas(&self, spec: SpecId) -> u64 {
        self.run(spec, self.block.clone(), self.transaction.clone())
    }

    /// The same where gas costs nothing, as in Forge's isolated calls: what is refunded there is nothing, and not booked.
    pub(crate) fn gas_for_nothing(&self, spec: SpecId) -> u64 {
        let block = BlockEnv { basefee: 0, ..self.block.clone() };
        self.run(spec, block, TxEnv { gas_price: 0, ..self.transaction.clone() })
    }

    /// Gas that the receipt would say, and what the sender is refunded of it (R42), for a duty with the margin, at the base fee of
    /// the recording.
    pub(crate) fn refund(&self, spec: SpecId) -> (u64, u64) {
        let result = self.result(spec, self.block.clone(), self.transaction.clone());
        let logs = result.logs();
        let settled = logs.iter().filter_map(|log| BatchSettled::decode_log(log).ok());
        let wei: u128 = settled.map(|settled| settled.refundWei).sum();
        let duties = logs.iter().filter_map(|log| DutyCredited::decode_log(log).ok());
        let wei = wei + duties.map(|duty| duty.amountWei.to::<u128>()).sum::<u128>();
        let gas = wei / u128::from(self.block.basefee);
        (result.tx_gas_used(), gas.try_into().unwrap())
    }

    fn run(&self, spec: SpecId, block: BlockEnv, transaction: TxEnv) -> u64 {
        self.result(spec, block, transaction).tx_gas_used()
    }

    fn result(&self, spec: SpecId, block: BlockEnv, transaction: TxEnv) -> ExecutionResult {
        let cfg = CfgEnv::new_with_spec(spec).with_chain_id(CHAIN_ID);
        let context =
            Context::mainnet().with_db(self.state.clone()).with_block(block).with_cfg(cfg);
        let result = context.build_mainnet().transact(transaction).unwrap().result;
        assert!(result.is_success(), "{} under {spec:?}: {result:?}", self.name);
        result
    }
}
