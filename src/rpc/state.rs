//! What `eth_*` says of accounts. An order knows their nonces; the rest takes execution.

use crate::rpc::RpcError;
use crate::rpc::arguments::BlockReference;
use crate::rpc::methods::{Answer, Call, Method, Run};
use crate::rpc::view::{self, GAS_LIMIT};
use crate::storage::NonceAt;
use alloy::primitives::{TxKind, U64, U256};
use alloy::rpc::types::TransactionRequest;

/// What every account shows as its balance, 10^27 wei, so that wallets let their users send.
const BALANCE_WEI: u128 = 1_000_000_000_000_000_000_000_000_000;

/// Gas that is suggested on top of the intrinsic gas for a transaction that may run code.
const EXECUTION_GAS: u64 = 2_000_000;

const ACCOUNT: &[&str] = &["address", "block"];

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "eth_getTransactionCount", params: ACCOUNT, run: Run::Now(nonce) },
    Method { name: "eth_getBalance", params: ACCOUNT, run: Run::Now(balance) },
    Method { name: "eth_getCode", params: ACCOUNT, run: Run::Now(code) },
    Method {
        name: "eth_estimateGas",
        params: &["transaction", "block", "stateOverrides", "blockOverrides"],
        run: Run::Now(estimate_gas),
    },
    Method {
        name: "eth_call",
        params: &["transaction", "block", "stateOverrides", "blockOverrides"],
        run: Run::Unexecuted,
    },
    Method {
        name: "eth_getStorageAt",
        params: &["address", "slot", "block"],
        run: Run::Unexecuted,
    },
    Method {
        name: "eth_getProof",
        params: &["address", "storageKeys", "block"],
        run: Run::Unexecuted,
    },
    Method {
        name: "eth_createAccessList",
        params: &["transaction", "block"],
        run: Run::Unexecuted,
    },
    Method { name: "eth_simulateV1", params: &["payload", "block"], run: Run::Unexecuted },
    Method { name: "debug_traceTransaction", params: &["hash", "options"], run: Run::Unexecuted },
    Method {
        name: "debug_traceCall",
        params: &["transaction", "block", "options"],
        run: Run::Unexecuted,
    },
];

/// Where a call wants to know something of an account; an error when there is no such block.
fn at(call: &Call<'_>, position: usize) -> Result<BlockReference, RpcError> {
    let block = call.arguments.block(position)?;
    if matches!(block, BlockReference::Latest | BlockReference::Pending) {
        return Ok(block);
    }
    let height =
        view::resolve(call.context(), block)?.ok_or_else(|| call.arguments.no_block(position))?;
    Ok(BlockReference::Height(height))
}

fn nonce(call: &Call<'_>) -> Answer {
    let sender = call.arguments.address(0, "address")?;
    let rollup = call.rollup()?;
    let context = call.context();
    let next = match at(call, 1)? {
        BlockReference::Pending => context.pool.pending_nonce(rollup, sender),
        BlockReference::Height(height) => {
            let tip = context.store.standing()?.1;
            let back = tip.get().saturating_sub(height.get());
            call.touch(usize::try_from(back).unwrap_or(usize::MAX) / 16);
            match context.store.nonce_at(rollup, sender, height)? {
                NonceAt::Next(next) => next,
                NonceAt::From(first) => return Err(RpcError::NotKept { block: height, first }),
                NonceAt::NoBlock => return Err(call.arguments.no_block(1)),
            }
        }
        _ => context.store.next_nonce(rollup, sender)?.unwrap_or(0),
    };
    call.answer(U64::from(next))
}

fn balance(call: &Call<'_>) -> Answer {
    call.arguments.address(0, "address")?;
    at(call, 1)?;
    call.answer(U256::from(BALANCE_WEI))
}

fn code(call: &Call<'_>) -> Answer {
    call.arguments.address(0, "address")?;
    at(call, 1)?;
    call.answer("0x")
}

/// The intrinsic gas, and an allowance if code may run: nobody executes here.
fn estimate_gas(call: &Call<'_>) -> Answer {
    let request: TransactionRequest = call.arguments.object(0, "transaction")?;
    at(call, 1)?;
    let input = request.input.input().cloned().unwrap_or_default();
    let creates = !matches!(request.to, Some(TxKind::Call(_)));
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
    call.answer(U64::from(gas.min(GAS_LIMIT)))
}
