//! `web3_*`, `net_*` and what `eth_*` says of the chain as a whole.

use crate::domain::Height;
use crate::rpc::RpcError;
use crate::rpc::methods::{Answer, Call, Method, Run};
use crate::rpc::view::{self, BASE_FEE_WEI, BLOB_BASE_FEE_WEI, PRIORITY_FEE_WEI};
use alloy::primitives::{U64, U256, keccak256};
use alloy::rpc::types::FeeHistory;

/// Blocks that one fee history covers at most.
const FEE_HISTORY_BLOCKS: u64 = 1_024;

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "web3_clientVersion", params: &[], run: Run::Now(client_version) },
    Method { name: "web3_sha3", params: &["data"], run: Run::Now(sha3) },
    Method { name: "net_version", params: &[], run: Run::Now(net_version) },
    Method { name: "net_listening", params: &[], run: Run::Now(|call| call.answer(true)) },
    Method { name: "net_peerCount", params: &[], run: Run::Now(peer_count) },
    Method { name: "eth_chainId", params: &[], run: Run::Now(chain_id) },
    Method { name: "eth_syncing", params: &[], run: Run::Now(|call| call.answer(false)) },
    Method { name: "eth_accounts", params: &[], run: Run::Now(|call| call.answer([(); 0])) },
    Method { name: "eth_blockNumber", params: &[], run: Run::Now(block_number) },
    Method { name: "eth_gasPrice", params: &[], run: Run::Now(gas_price) },
    Method { name: "eth_maxPriorityFeePerGas", params: &[], run: Run::Now(priority_fee) },
    Method { name: "eth_blobBaseFee", params: &[], run: Run::Now(blob_base_fee) },
    Method {
        name: "eth_feeHistory",
        params: &["blockCount", "newestBlock", "rewardPercentiles"],
        run: Run::Dear(fee_history),
    },
];

fn client_version(call: &Call<'_>) -> Answer {
    call.answer(crate::rpc::CLIENT_VERSION)
}

fn sha3(call: &Call<'_>) -> Answer {
    call.answer(keccak256(call.arguments.bytes(0, "data")?))
}

fn net_version(call: &Call<'_>) -> Answer {
    call.answer(call.rollup()?.to_string())
}

fn peer_count(call: &Call<'_>) -> Answer {
    call.answer(U64::from((call.context().peers)()))
}

fn chain_id(call: &Call<'_>) -> Answer {
    call.answer(U64::from(call.rollup()?.get()))
}

fn block_number(call: &Call<'_>) -> Answer {
    let tip = call.context().store.decided_tip()?.map_or(Height::new(0), |(height, _)| height);
    call.answer(U64::from(tip.get()))
}

fn gas_price(call: &Call<'_>) -> Answer {
    call.answer(U256::from(BASE_FEE_WEI.saturating_add(PRIORITY_FEE_WEI)))
}

fn priority_fee(call: &Call<'_>) -> Answer {
    call.answer(U256::from(PRIORITY_FEE_WEI))
}

fn blob_base_fee(call: &Call<'_>) -> Answer {
    call.answer(U256::from(BLOB_BASE_FEE_WEI))
}

fn fee_history(call: &Call<'_>) -> Answer {
    let wanted = call.arguments.count(0, "blockCount", FEE_HISTORY_BLOCKS)?;
    let newest = call.arguments.block(1)?;
    let percentiles = call.arguments.percentiles(2)?;
    let newest =
        view::resolve(call.context(), newest)?.ok_or_else(|| call.arguments.no_block(1))?;
    let blocks = wanted.min(newest.get().saturating_add(1));
    let rows = usize::try_from(blocks).map_err(RpcError::internal)?;
    call.touch(rows.saturating_mul(percentiles.len().saturating_add(1)).div_ceil(64));
    let reward = vec![PRIORITY_FEE_WEI; percentiles.len()];
    let fees = rows.saturating_add(1);
    call.answer(FeeHistory {
        base_fee_per_gas: vec![BASE_FEE_WEI; fees],
        gas_used_ratio: vec![0.0; rows],
        base_fee_per_blob_gas: vec![BLOB_BASE_FEE_WEI; fees],
        blob_gas_used_ratio: vec![0.0; rows],
        oldest_block: newest.get().saturating_add(1).saturating_sub(blocks),
        reward: (!percentiles.is_empty()).then(|| vec![reward; rows]),
    })
}
