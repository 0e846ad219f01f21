//! The block of the open second.

use crate::block::{Fate, Height, Pending};
use crate::forks::Forks;
use crate::genesis::Genesis;
use crate::overlay::{Hashes, ReadyCodes, View};
use crate::skip::SkipReason;
use crate::state::{Changes, State};
use crate::transaction::Prepared;
use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::transaction::Recovered;
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, ReceiptEnvelope, Transaction as _, TxEnvelope,
};
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_eips::eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS;
use alloy_eips::eip7685::Requests;
use alloy_eips::eip7840::BlobParams;
use alloy_evm::block::{BlockExecutionError, BlockExecutionResult, BlockExecutor};
use alloy_evm::eth::receipt_builder::AlloyReceiptBuilder;
use alloy_evm::eth::{EthBlockExecutionCtx, EthBlockExecutor};
use alloy_evm::precompiles::PrecompilesMap;
use alloy_evm::{EthEvm, EthEvmFactory, Evm as _, EvmEnv, EvmFactory as _};
use alloy_hardforks::EthereumHardforks;
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, b256};
use alloy_rlp::Encodable as _;
use alloy_trie::EMPTY_ROOT_HASH;
use revm::context_interface::Cfg as _;
use revm::inspector::NoOpInspector;

/// No client takes a larger block from Osaka on (EIP-7934): 10 MiB less a margin of 2 MiB.
const MAX_BLOCK_SIZE: usize = 8 * 1024 * 1024;
/// Keccak of `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 =
    b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
/// More than all of a block takes that is no transaction.
const FRAME_SIZE: usize = 1_024;
/// From here on the next base fee could leave its type.
const MAX_BASE_FEE: u64 = u64::MAX / 2;

type Executor<'a, S> = EthBlockExecutor<
    'a,
    EthEvm<View<'a, S>, NoOpInspector, PrecompilesMap>,
    &'a Forks,
    AlloyReceiptBuilder,
>;

/// What a block is executed upon.
#[derive(Debug)]
pub(crate) struct Ground<'a, S> {
    pub(crate) genesis: &'a Genesis,
    pub(crate) state: &'a S,
    pub(crate) hashes: &'a Hashes,
    pub(crate) codes: &'a mut ReadyCodes,
}

/// A block to which heights of its second may still add.
#[derive(Debug)]
pub(crate) struct Open {
    /// As it stands: without roots, gas and bloom.
    header: Header,
    changes: Changes,
    body: Body,
}

#[derive(Debug, Default)]
struct Body {
    transactions: Vec<Recovered<TxEnvelope>>,
    receipts: Vec<ReceiptEnvelope>,
    gas_used: u64,
    /// Of the transactions in the block, in bytes.
    size: usize,
}

/// A block that nothing is added to any more; its state root is still to come.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) header: Header,
    pub(crate) changes: Changes,
    pub(crate) transactions: Vec<Recovered<TxEnvelope>>,
    pub(crate) receipts: Vec<ReceiptEnvelope>,
    pub(crate) requests: Requests,
}

impl Open {
    /// The block that `height` opens upon `parent`; `None` if no header can state its base fee.
    pub(crate) fn new(
        parent: &Header,
        parent_hash: B256,
        height: &Height,
        forks: &Forks,
    ) -> Option<Self> {
        let base_fee = parent.base_fee_per_gas.filter(|fee| *fee < MAX_BASE_FEE)?;
        let params = BaseFeeParams::ethereum();
        let base_fee =
            calc_next_block_base_fee(parent.gas_used, parent.gas_limit, base_fee, params);
        let cancun = forks.is_cancun_active_at_timestamp(height.second());
        let header = Header {
            parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: height.proposer,
            number: parent.number.saturating_add(1),
            gas_limit: parent.gas_limit,
            timestamp: height.second(),
            extra_data: extra_data(height.number),
            mix_hash: height.block_hash,
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            blob_gas_used: cancun.then_some(0),
            excess_blob_gas: cancun.then_some(0),
            parent_beacon_block_root: cancun.then_some(height.l1_origin_hash),
            ..Header::default()
        };
        Some(Self { header, changes: Changes::default(), body: Body::default() })
    }

    pub(crate) const fn second(&self) -> u64 {
        self.header.timestamp
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.body.transactions.is_empty()
    }

    pub(crate) fn pending(&self) -> Pending<'_> {
        Pending {
            number: self.header.number,
            timestamp: self.header.timestamp,
            beneficiary: self.header.beneficiary,
            base_fee: self.header.base_fee_per_gas.unwrap_or_default(),
            transactions: &self.body.transactions,
            receipts: &self.body.receipts,
        }
    }

    /// Executes what the block begins with, before the first height's transactions.
    pub(crate) fn begin<S: State>(
        &mut self,
        ground: Ground<'_, S>,
    ) -> Result<(), BlockExecutionError> {
        executor(&self.header, &mut self.changes, ground).apply_pre_execution_changes()
    }

    /// Executes what a height brings.
    pub(crate) fn add<S: State>(
        &mut self,
        height: u64,
        transactions: Vec<Prepared>,
        ground: Ground<'_, S>,
    ) -> Result<Vec<(B256, Fate)>, BlockExecutionError> {
        let before = self.body.transactions.len();
        let mut executor = executor(&self.header, &mut self.changes, ground);
        executor.receipts = std::mem::take(&mut self.body.receipts);
        executor.cumulative_tx_gas_used = self.body.gas_used;

        let mut fates = Vec::with_capacity(transactions.len());
        for transaction in transactions {
            let hash = transaction.hash();
            let fate = match transaction.into_outcome() {
                Ok(transaction) => self.body.execute(&mut executor, transaction)?,
                Err(reason) => Fate::Skipped(reason),
            };
            fates.push((hash, fate));
        }
        self.body.gas_used = executor.cumulative_tx_gas_used;
        self.body.receipts = executor.receipts;
        if self.body.transactions.len() > before {
            self.header.extra_data = extra_data(height);
        }
        Ok(fates)
    }

    /// Executes what the block ends with, and makes all of its header but the state root.
    pub(crate) fn finish<S: State>(
        mut self,
        ground: Ground<'_, S>,
    ) -> Result<Finished, BlockExecutionError> {
        let prague = ground.genesis.forks().is_prague_active_at_timestamp(self.second());
        let mut executor = executor(&self.header, &mut self.changes, ground);
        executor.receipts = self.body.receipts;
        executor.cumulative_tx_gas_used = self.body.gas_used;
        let (_, BlockExecutionResult { receipts, requests, gas_used, .. }) = executor.finish()?;

        let mut header = self.header;
        header.gas_used = gas_used;
        header.transactions_root = calculate_transaction_root(&self.body.transactions);
        header.receipts_root = calculate_receipt_root(&receipts);
        header.logs_bloom =
            receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | *receipt.logs_bloom());
        header.requests_hash = prague.then(|| requests.requests_hash());
        let (changes, transactions) = (self.changes, self.body.transactions);
        Ok(Finished { header, changes, transactions, receipts, requests })
    }
}

impl Body {
    /// Executes one transaction and takes it in, or finds why a block cannot hold it here.
    fn execute<S: State>(
        &mut self,
        executor: &mut Executor<'_, S>,
        transaction: Recovered<TxEnvelope>,
    ) -> Result<Fate, BlockExecutionError> {
        let spec = executor.spec;
        let block = executor.evm.block();
        let (second, base_fee) = (block.timestamp.saturating_to(), block.basefee);
        let left = block.gas_limit.saturating_sub(executor.cumulative_tx_gas_used);
        let gas_limit = transaction.gas_limit();
        let cap = executor.evm.cfg_env().tx_gas_limit_cap();
        if gas_limit > cap {
            return Ok(Fate::Skipped(SkipReason::GasCap { gas_limit, cap }));
        }
        if gas_limit > left {
            return Ok(Fate::Skipped(SkipReason::BlockGas { gas_limit, left }));
        }
        let size = transaction.length();
        if spec.is_osaka_active_at_timestamp(second) {
            let left = MAX_BLOCK_SIZE.saturating_sub(FRAME_SIZE).saturating_sub(self.size);
            if size > left {
                return Ok(Fate::Skipped(SkipReason::BlockSize { size, left }));
            }
        }
        match executor.execute_transaction_without_commit(&transaction) {
            Ok(output) => {
                if spec.is_prague_active_at_timestamp(second)
                    && let Some(address) = deposit(spec, output.result.result.logs())
                {
                    return Ok(Fate::Skipped(SkipReason::Deposit { address }));
                }
                executor.commit_transaction(output);
                let index = self.transactions.len();
                self.transactions.push(transaction);
                self.size = self.size.saturating_add(size);
                Ok(Fate::Included { index })
            }
            Err(error) => match SkipReason::of(&error, &transaction, base_fee) {
                Some(reason) => Ok(Fate::Skipped(reason)),
                None => Err(error),
            },
        }
    }
}

/// Whose log one of these is that a client would take for a deposit: where the genesis file says that the contract is, or
/// where mainnet has it.
fn deposit(forks: &Forks, logs: &[Log]) -> Option<Address> {
    let mut deposits = logs.iter().filter(|log| log.topics().first() == Some(&DEPOSIT_EVENT));
    let is_contract = |address: &Address| {
        forks.deposit_contract == Some(*address) || *address == MAINNET_DEPOSIT_CONTRACT_ADDRESS
    };
    deposits.find(|log| is_contract(&log.address)).map(|log| log.address)
}

/// The library's executor, for a block that begins.
fn executor<'a, S: State>(
    header: &'a Header,
    changes: &'a mut Changes,
    ground: Ground<'a, S>,
) -> Executor<'a, S> {
    let Ground { genesis, state, hashes, codes } = ground;
    let env = env(header, genesis);
    let context = EthBlockExecutionCtx {
        parent_hash: header.parent_hash,
        parent_beacon_block_root: header.parent_beacon_block_root,
        ommers: &[],
        withdrawals: None,
        extra_data: Bytes::new(),
        tx_count_hint: None,
        slot_number: None,
    };
    let evm = EthEvmFactory::default().create_evm(View { state, changes, hashes, codes }, env);
    EthBlockExecutor::new(evm, context, genesis.forks(), AlloyReceiptBuilder::default())
}

/// What contracts see of the block, and its rules.
pub(crate) fn env(header: &Header, genesis: &Genesis) -> EvmEnv {
    // Whatever the schedule of blobs is: without any, their price stays at its lowest.
    let blobs = header.excess_blob_gas.map(|_| BlobParams::cancun());
    EvmEnv::for_eth_block(header, genesis.forks(), genesis.chain_id(), blobs)
}

/// What the header says of the order: the last height that the block has a transaction of.
fn extra_data(height: u64) -> Bytes {
    Bytes::copy_from_slice(&height.to_be_bytes())
}
