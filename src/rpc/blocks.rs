//! `eth_*` about decided blocks, their transactions and receipts.

use crate::domain::Height;
use crate::rpc::RpcError;
use crate::rpc::arguments::BlockReference;
use crate::rpc::methods::{Answer, Call, Method, Run};
use crate::rpc::view::{self, RollupBlock};
use alloy::primitives::{Bytes, U64};

const HASH: &[&str] = &["hash"];
const BLOCK: &[&str] = &["block"];
const HASH_INDEX: &[&str] = &["hash", "index"];
const BLOCK_INDEX: &[&str] = &["block", "index"];

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "eth_getTransactionByHash", params: HASH, run: Run::Dear(transaction) },
    Method { name: "eth_getTransactionReceipt", params: HASH, run: Run::Dear(receipt) },
    Method { name: "eth_getRawTransactionByHash", params: HASH, run: Run::Dear(raw) },
    Method {
        name: "eth_getBlockByNumber",
        params: &["block", "full"],
        run: Run::Dear(|call| block(call, by_number(call)?)),
    },
    Method {
        name: "eth_getBlockByHash",
        params: &["hash", "full"],
        run: Run::Dear(|call| block(call, by_hash(call)?)),
    },
    Method { name: "eth_getBlockReceipts", params: BLOCK, run: Run::Dear(receipts) },
    Method {
        name: "eth_getBlockTransactionCountByNumber",
        params: BLOCK,
        run: Run::Dear(|call| count(call, by_number(call)?)),
    },
    Method {
        name: "eth_getBlockTransactionCountByHash",
        params: HASH,
        run: Run::Dear(|call| count(call, by_hash(call)?)),
    },
    Method {
        name: "eth_getTransactionByBlockNumberAndIndex",
        params: BLOCK_INDEX,
        run: Run::Dear(|call| transaction_at(call, by_number(call)?)),
    },
    Method {
        name: "eth_getTransactionByBlockHashAndIndex",
        params: HASH_INDEX,
        run: Run::Dear(|call| transaction_at(call, by_hash(call)?)),
    },
    Method {
        name: "eth_getRawTransactionByBlockNumberAndIndex",
        params: BLOCK_INDEX,
        run: Run::Dear(|call| raw_at(call, by_number(call)?)),
    },
    Method {
        name: "eth_getRawTransactionByBlockHashAndIndex",
        params: HASH_INDEX,
        run: Run::Dear(|call| raw_at(call, by_hash(call)?)),
    },
    Method {
        name: "eth_getUncleCountByBlockNumber",
        params: BLOCK,
        run: Run::Now(|call| uncle_count(call, by_number(call)?)),
    },
    Method {
        name: "eth_getUncleCountByBlockHash",
        params: HASH,
        run: Run::Now(|call| uncle_count(call, by_hash(call)?)),
    },
    Method {
        name: "eth_getUncleByBlockNumberAndIndex",
        params: BLOCK_INDEX,
        run: Run::Now(|call| no_uncle(call, by_number(call)?)),
    },
    Method {
        name: "eth_getUncleByBlockHashAndIndex",
        params: HASH_INDEX,
        run: Run::Now(|call| no_uncle(call, by_hash(call)?)),
    },
];

fn by_number(call: &Call<'_>) -> Result<BlockReference, RpcError> {
    call.arguments.block(0)
}

fn by_hash(call: &Call<'_>) -> Result<BlockReference, RpcError> {
    Ok(BlockReference::Hash(call.arguments.hash(0, "hash")?))
}

fn index(call: &Call<'_>) -> Result<usize, RpcError> {
    let index = call.arguments.number(1, "index")?;
    let index = index.ok_or_else(|| call.arguments.invalid(1, "index", "a number"))?;
    // Beyond what a block can hold there is nothing.
    Ok(usize::try_from(index).unwrap_or(usize::MAX))
}

/// Reads a block, and charges for what is in it.
fn at(call: &Call<'_>, height: Height) -> Result<Option<RollupBlock>, RpcError> {
    let block = RollupBlock::read(&call.context().store, call.rollup()?, height)?;
    call.touch(block.as_ref().map_or(0, RollupBlock::len));
    Ok(block)
}

fn read(call: &Call<'_>, block: BlockReference) -> Result<Option<RollupBlock>, RpcError> {
    let Some(height) = view::resolve(call.context(), block)? else { return Ok(None) };
    at(call, height)
}

/// The block that holds a transaction and its place among the rollup's own.
pub(super) fn find(call: &Call<'_>) -> Result<Option<(RollupBlock, usize)>, RpcError> {
    let hash = call.arguments.hash(0, "hash")?;
    let rollup = call.rollup()?;
    let Some(place) = call.context().store.place_of(rollup, hash)? else { return Ok(None) };
    let Some(block) = at(call, place.height())? else { return Ok(None) };
    let index = block.index_of(hash);
    Ok(index.map(|index| (block, index)))
}

fn transaction(call: &Call<'_>) -> Answer {
    if let Some((block, index)) = find(call)? {
        return call.answer(block.transaction(index)?);
    }
    call.answer(view::waiting(call)?.map(|signed| view::pending(&signed)).transpose()?)
}

fn raw(call: &Call<'_>) -> Answer {
    if let Some((block, index)) = find(call)? {
        return call.answer(block.raw(index));
    }
    call.answer(view::waiting(call)?.map(|signed| signed.transaction.raw))
}

fn receipt(call: &Call<'_>) -> Answer {
    call.answer(find(call)?.map(|(block, index)| block.receipt(index)).transpose()?)
}

fn block(call: &Call<'_>, block: BlockReference) -> Answer {
    let full = call.arguments.flag(1, "full")?;
    let Some(block) = read(call, block)? else { return call.answer(()) };
    let head = call.shared.heads.of_block(&block);
    call.answer(block.to_block(&head, full)?)
}

fn receipts(call: &Call<'_>) -> Answer {
    let block = read(call, by_number(call)?)?;
    call.answer(block.map(|block| block.receipts()).transpose()?)
}

fn count(call: &Call<'_>, block: BlockReference) -> Answer {
    call.answer(read(call, block)?.map(|block| U64::from(block.len())))
}

fn transaction_at(call: &Call<'_>, block: BlockReference) -> Answer {
    let index = index(call)?;
    let Some(block) = read(call, block)?.filter(|block| index < block.len()) else {
        return call.answer(());
    };
    call.answer(block.transaction(index)?)
}

fn raw_at(call: &Call<'_>, block: BlockReference) -> Answer {
    let index = index(call)?;
    let raw: Option<Bytes> = read(call, block)?.and_then(|block| block.raw(index));
    call.answer(raw)
}

/// Agreement decides one block a height: none is left beside it.
fn uncle_count(call: &Call<'_>, block: BlockReference) -> Answer {
    call.rollup()?;
    let exists = view::resolve(call.context(), block)?.is_some();
    call.answer(exists.then_some(U64::ZERO))
}

fn no_uncle(call: &Call<'_>, _: BlockReference) -> Answer {
    index(call)?;
    call.answer(())
}
