//! `eth_*`, `net_*` and `web3_*`: what wallets and libraries need to submit and track transactions.

use crate::domain::Height;
use crate::rpc::arguments::{Arguments, BlockReference};
use crate::rpc::methods::{Call, Method, endpoint, registered_rollup};
use crate::rpc::view::{self, BASE_FEE_WEI, GAS_LIMIT, PRIORITY_FEE_WEI, RollupBlock};
use crate::rpc::{RpcContext, RpcError};
use alloy::primitives::{U64, U256};
use alloy::rpc::types::{FeeHistory, TransactionRequest};
use jsonrpsee::server::{RegisterMethodError, RpcModule};
use serde::Serialize;
use serde_json::{Value, json};

/// What every account shows as its balance, 10^27 wei, so that wallets let their users send.
const BALANCE_WEI: u128 = 1_000_000_000_000_000_000_000_000_000;

/// Gas that is suggested on top of the intrinsic gas for a transaction that may run code.
const EXECUTION_GAS: u64 = 2_000_000;

/// Blocks that one fee history covers at most.
const FEE_HISTORY_BLOCKS: u64 = 1_024;

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "web3_clientVersion", most: 0, dear: false, answer: client_version },
    Method { name: "net_version", most: 0, dear: false, answer: net_version },
    Method { name: "net_listening", most: 0, dear: false, answer: |_| Ok(Value::Bool(true)) },
    Method { name: "eth_chainId", most: 0, dear: false, answer: chain_id },
    Method { name: "eth_syncing", most: 0, dear: false, answer: |_| Ok(Value::Bool(false)) },
    Method { name: "eth_accounts", most: 0, dear: false, answer: |_| Ok(json!([])) },
    Method { name: "eth_blockNumber", most: 0, dear: false, answer: block_number },
    Method { name: "eth_gasPrice", most: 0, dear: false, answer: gas_price },
    Method { name: "eth_maxPriorityFeePerGas", most: 0, dear: false, answer: priority_fee },
    Method { name: "eth_feeHistory", most: 3, dear: false, answer: fee_history },
    Method { name: "eth_estimateGas", most: 4, dear: false, answer: estimate_gas },
    Method { name: "eth_getTransactionCount", most: 2, dear: false, answer: transaction_count },
    Method { name: "eth_getBalance", most: 2, dear: false, answer: balance },
    Method { name: "eth_getCode", most: 2, dear: false, answer: code },
    Method { name: "eth_call", most: 4, dear: false, answer: call },
    Method { name: "eth_getTransactionByHash", most: 1, dear: true, answer: transaction },
    Method { name: "eth_getTransactionReceipt", most: 1, dear: true, answer: receipt },
    Method { name: "eth_getBlockByNumber", most: 2, dear: true, answer: block_by_number },
    Method { name: "eth_getBlockByHash", most: 2, dear: true, answer: block_by_hash },
    Method { name: "eth_getBlockReceipts", most: 1, dear: true, answer: block_receipts },
    Method {
        name: "eth_getBlockTransactionCountByNumber",
        most: 1,
        dear: true,
        answer: block_transaction_count,
    },
];

/// `eth_sendRawTransaction`: answers with the hash once the transaction is on disk.
pub(super) fn register_submission(
    module: &mut RpcModule<RpcContext>,
) -> Result<(), RegisterMethodError> {
    module.register_async_method(
        "eth_sendRawTransaction",
        |params, context, extensions| async move {
            let arguments = Arguments::read(&params, 1)?;
            let raw = arguments.bytes(0, "transaction")?;
            let rollup = registered_rollup(&context, &endpoint(&extensions))?;
            Ok::<_, RpcError>(context.intake.submit(rollup, raw).await?)
        },
    )?;
    Ok(())
}

fn answer(value: impl Serialize) -> Result<Value, RpcError> {
    serde_json::to_value(value).map_err(RpcError::internal)
}

fn quantity(value: u128) -> Result<Value, RpcError> {
    answer(U256::from(value))
}

fn client_version(_: &Call<'_>) -> Result<Value, RpcError> {
    Ok(crate::rpc::CLIENT_VERSION.into())
}

fn net_version(call: &Call<'_>) -> Result<Value, RpcError> {
    Ok(call.rollup()?.to_string().into())
}

fn chain_id(call: &Call<'_>) -> Result<Value, RpcError> {
    answer(U64::from(call.rollup()?.get()))
}

fn block_number(call: &Call<'_>) -> Result<Value, RpcError> {
    let tip = call.context.store.decided_tip()?.map_or(Height::new(0), |(height, _)| height);
    answer(U64::from(tip.get()))
}

fn gas_price(_: &Call<'_>) -> Result<Value, RpcError> {
    quantity(BASE_FEE_WEI.saturating_add(PRIORITY_FEE_WEI))
}

fn priority_fee(_: &Call<'_>) -> Result<Value, RpcError> {
    quantity(PRIORITY_FEE_WEI)
}

fn fee_history(call: &Call<'_>) -> Result<Value, RpcError> {
    let wanted = call.arguments.count(0, "blockCount", FEE_HISTORY_BLOCKS)?;
    let newest = call.arguments.block(1)?;
    let percentiles = call.arguments.percentiles(2)?;
    let newest = view::resolve(call.context, newest)?.ok_or_else(|| call.arguments.no_block(1))?;
    let blocks = wanted.min(newest.get().saturating_add(1));
    let rows = usize::try_from(blocks).unwrap_or_default();
    let reward = vec![PRIORITY_FEE_WEI; percentiles.len()];
    answer(FeeHistory {
        base_fee_per_gas: vec![BASE_FEE_WEI; rows.saturating_add(1)],
        gas_used_ratio: vec![0.0; rows],
        base_fee_per_blob_gas: Vec::new(),
        blob_gas_used_ratio: Vec::new(),
        oldest_block: newest.get().saturating_add(1).saturating_sub(blocks),
        reward: (!percentiles.is_empty()).then(|| vec![reward; rows]),
    })
}

/// The intrinsic gas, and an allowance if code may run: nobody executes here.
fn estimate_gas(call: &Call<'_>) -> Result<Value, RpcError> {
    let request: TransactionRequest = call.arguments.object(0, "transaction")?;
    call.arguments.block(1)?;
    let input = request.input.input().cloned().unwrap_or_default();
    let creates = !matches!(request.to, Some(alloy::primitives::TxKind::Call(_)));
    let authorizations = request.authorization_list.as_ref().map_or(0, Vec::len);
    let accesses = request.access_list.as_ref();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);

    let zeros = input.iter().filter(|byte| **byte == 0).count();
    let others = input.len().saturating_sub(zeros);
    let mut gas = 21_000_u64
        .saturating_add(count(zeros).saturating_mul(4))
        .saturating_add(count(others).saturating_mul(16))
        .saturating_add(count(authorizations).saturating_mul(25_000))
        .saturating_add(accesses.map_or(0, |list| {
            let addresses = count(list.len()).saturating_mul(2_400);
            addresses.saturating_add(count(list.storage_keys_count()).saturating_mul(1_900))
        }));
    if creates {
        gas = gas.saturating_add(32_000);
    }
    if creates || !input.is_empty() {
        gas = gas.saturating_add(EXECUTION_GAS);
    }
    answer(U64::from(gas.min(GAS_LIMIT)))
}

fn transaction_count(call: &Call<'_>) -> Result<Value, RpcError> {
    let sender = call.arguments.address(0, "address")?;
    let block = call.arguments.block(1)?;
    let rollup = call.rollup()?;
    let next = match block {
        BlockReference::Pending => call.context.pool.pending_nonce(rollup, sender),
        BlockReference::Latest => call.context.store.next_nonce(rollup, sender)?.unwrap_or(0),
        _ => return Err(call.arguments.not_kept(1)),
    };
    answer(U64::from(next))
}

fn balance(call: &Call<'_>) -> Result<Value, RpcError> {
    call.arguments.address(0, "address")?;
    call.arguments.block(1)?;
    quantity(BALANCE_WEI)
}

fn code(call: &Call<'_>) -> Result<Value, RpcError> {
    call.arguments.address(0, "address")?;
    call.arguments.block(1)?;
    Ok("0x".into())
}

/// As of an account without code: nothing is returned.
fn call(call: &Call<'_>) -> Result<Value, RpcError> {
    call.arguments.object::<TransactionRequest>(0, "transaction")?;
    call.arguments.block(1)?;
    Ok("0x".into())
}

/// The block that holds a transaction and its place among the rollup's own.
fn find(call: &Call<'_>) -> Result<Option<(RollupBlock, usize)>, RpcError> {
    let hash = call.arguments.hash(0, "hash")?;
    let rollup = call.rollup()?;
    let store = &call.context.store;
    let Some(place) = store.place_of(rollup, hash)? else { return Ok(None) };
    let Some(block) = RollupBlock::read(store, rollup, place.height())? else { return Ok(None) };
    let index = block.index_of(hash);
    Ok(index.map(|index| (block, index)))
}

fn transaction(call: &Call<'_>) -> Result<Value, RpcError> {
    if let Some((block, index)) = find(call)? {
        return answer(block.transaction(index)?);
    }
    let (hash, rollup) = (call.arguments.hash(0, "hash")?, call.rollup()?);
    let pooled = call.context.pool.get(hash).filter(|one| one.transaction.rollup == rollup);
    let waiting = match pooled {
        None => view::queued(&call.context.store, rollup, hash)?,
        pooled => pooled,
    };
    answer(waiting.map(|signed| view::pending(&signed)).transpose()?)
}

fn receipt(call: &Call<'_>) -> Result<Value, RpcError> {
    answer(find(call)?.map(|(block, index)| block.receipt(index)).transpose()?)
}

fn read_block(call: &Call<'_>, block: BlockReference) -> Result<Option<RollupBlock>, RpcError> {
    let rollup = call.rollup()?;
    let Some(height) = view::resolve(call.context, block)? else { return Ok(None) };
    RollupBlock::read(&call.context.store, rollup, height)
}

fn block_by_number(call: &Call<'_>) -> Result<Value, RpcError> {
    let (block, full) = (call.arguments.block(0)?, call.arguments.flag(1, "full")?);
    answer(read_block(call, block)?.map(|block| block.to_block(full)).transpose()?)
}

fn block_by_hash(call: &Call<'_>) -> Result<Value, RpcError> {
    let hash = call.arguments.hash(0, "hash")?;
    let full = call.arguments.flag(1, "full")?;
    let block = read_block(call, BlockReference::Hash(hash))?;
    answer(block.map(|block| block.to_block(full)).transpose()?)
}

fn block_receipts(call: &Call<'_>) -> Result<Value, RpcError> {
    let block = read_block(call, call.arguments.block(0)?)?;
    answer(block.map(|block| block.receipts()).transpose()?)
}

fn block_transaction_count(call: &Call<'_>) -> Result<Value, RpcError> {
    let block = read_block(call, call.arguments.block(0)?)?;
    answer(block.map(|block| U64::from(block.len())))
}
