//! `rota_*`: where the network, its batches and a transaction stand.

use crate::domain::{
    BatchHeader, BatchNumber, BlockHeader, Epoch, Generation, Height, L1Block, Place, RollupId,
    Round, SettledBatch, Turn,
};
use crate::rota::{draw, expected_term, holder};
use crate::rpc::arguments::BlockReference;
use crate::rpc::methods::{Answer, Call, Method, Run};
use crate::rpc::{CLIENT_VERSION, RpcContext, RpcError, view};
use alloy::primitives::{Address, B256, Bytes};
use serde::Serialize;

/// Turns that one schedule covers at most.
const SCHEDULE_TURNS: u64 = 256;

/// Turns that a schedule covers when not asked otherwise.
const SCHEDULE_DEFAULT: u64 = 8;

/// The methods.
pub(super) const METHODS: &[Method] = &[
    Method { name: "rota_status", params: &[], run: Run::Now(status) },
    Method {
        name: "rota_schedule",
        params: &["epoch", "firstTurn", "count"],
        run: Run::Dear(schedule),
    },
    Method { name: "rota_getBlock", params: &["block"], run: Run::Dear(block) },
    Method { name: "rota_getBatch", params: &["batch"], run: Run::Now(batch) },
    Method { name: "rota_getTransaction", params: &["hash"], run: Run::Now(transaction) },
];

/// Where the agent and its network stand.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    client_version: &'static str,
    signer: Address,
    default_rollup: RollupId,
    l1_chain_id: u64,
    settlement: Address,
    generation: Generation,
    /// Epoch of the height that is agreed on now.
    epoch: Option<Epoch>,
    turn: Option<Turn>,
    /// Signer of the member that holds that height.
    leader: Option<Address>,
    decided: Option<DecidedPlace>,
    settled: Option<SettledPlace>,
    final_height: Height,
    l1_head: Option<L1Block>,
    l1_at_depth: Option<L1Block>,
    pool: PoolStatus,
    forced: ForcedStatus,
}

/// The forced queue, as L1 shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ForcedStatus {
    /// Entries ever enqueued.
    length: u64,
    /// Of them, consumed by settled batches or by escape.
    consumed: u64,
    /// L1 origin from which the first waiting entry may not be left behind.
    next_due_at_block: Option<u64>,
}

#[derive(Debug, Serialize)]
struct DecidedPlace {
    height: Height,
    hash: B256,
}

#[derive(Debug, Serialize)]
struct SettledPlace {
    batch: BatchNumber,
    height: Height,
    hash: B256,
}

#[derive(Debug, Serialize)]
struct PoolStatus {
    transactions: usize,
    bytes: usize,
}

/// Who leads the height after a block.
struct Lead {
    generation: Generation,
    epoch: Epoch,
    turn: Turn,
    leader: Option<Address>,
}

/// Follows from the last decided block, from how the generation began and from what the agent knows of L1; `None` before
/// block 0.
fn lead(context: &RpcContext) -> Result<Option<Lead>, RpcError> {
    let Some((height, _)) = context.store.decided_tip()? else { return Ok(None) };
    let Some((_, parent)) = context.store.header(height)? else { return Ok(None) };
    let start = context.store.generation_start()?;
    let mirror = context.mirror.read();
    let (generation, epoch, set) = expected_term(&mirror, start.as_ref(), &parent);
    let leader = set.and_then(|set| {
        let place = holder(&mirror.params, &parent, epoch, &set)?;
        set.members().get(place).map(|member| member.signer)
    });
    Ok(Some(Lead { generation, epoch, turn: mirror.params.turn_of(height.next()), leader }))
}

fn status(call: &Call<'_>) -> Answer {
    let context = call.context();
    let lead = lead(context)?;
    let decided = context.store.decided_tip()?;
    let final_height = view::finalized(&context.store, &context.mirror)?;
    let waiting = context.pool.waiting();
    let mirror = context.mirror.read();
    call.answer(Status {
        client_version: CLIENT_VERSION,
        signer: context.signer,
        default_rollup: context.default_rollup,
        l1_chain_id: context.deployment.chain_id,
        settlement: context.deployment.settlement,
        generation: lead.as_ref().map_or(Generation::new(0), |lead| lead.generation),
        epoch: lead.as_ref().map(|lead| lead.epoch),
        turn: lead.as_ref().map(|lead| lead.turn),
        leader: lead.and_then(|lead| lead.leader),
        decided: decided.map(|(height, hash)| DecidedPlace { height, hash }),
        settled: mirror.tip.as_ref().map(|tip| SettledPlace {
            batch: tip.number,
            height: tip.last_height,
            hash: tip.last_block_hash,
        }),
        final_height,
        l1_head: mirror.head,
        l1_at_depth: mirror.at_depth,
        pool: PoolStatus { transactions: waiting.transactions, bytes: waiting.bytes },
        forced: ForcedStatus {
            length: mirror.forced.len(),
            consumed: mirror.forced.consumed(),
            next_due_at_block: mirror
                .forced
                .oldest_waiting()
                .map(|block| block.saturating_add(mirror.params.forced_deadline_blocks)),
        },
    })
}

/// Who leads from turn to turn. Stickiness within a turn aside (R12), the draws are those of L1.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Schedule {
    generation: Generation,
    epoch: Epoch,
    /// The epoch that the set in force was sealed for; earlier than `epoch` when it was carried forward.
    sealed_for: Epoch,
    seed: B256,
    /// Weights may exceed what JSON numbers hold exactly.
    total_weight: String,
    members: Vec<MemberView>,
    turns: Vec<TurnView>,
}

#[derive(Debug, Serialize)]
struct MemberView {
    signer: Address,
    weight: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TurnView {
    turn: Turn,
    first_height: Height,
    last_height: Height,
    leader: Option<Address>,
}

fn schedule(call: &Call<'_>) -> Answer {
    let lead = lead(call.context())?;
    let now = |read: fn(&Lead) -> u64| lead.as_ref().map_or(0, read);
    let epoch = call.arguments.number(0, "epoch")?.unwrap_or(now(|lead| lead.epoch.get()));
    let first = call.arguments.number(1, "firstTurn")?.unwrap_or(now(|lead| lead.turn.get()));
    let count = match call.arguments.number(2, "count")? {
        Some(_) => call.arguments.count(2, "count", SCHEDULE_TURNS)?,
        None => SCHEDULE_DEFAULT,
    };
    let generation = lead.map_or(Generation::new(0), |lead| lead.generation);
    let mirror = call.context().mirror.read();
    let set = mirror.set_for(generation, Epoch::new(epoch));
    call.answer(set.map(|set| {
        let length = mirror.params.turn_length;
        let turns = (first..first.saturating_add(count)).map(|turn| {
            let start = turn.saturating_mul(length);
            let drawn = draw(&set, Turn::new(turn), 0);
            TurnView {
                turn: Turn::new(turn),
                first_height: Height::new(start),
                last_height: Height::new(start.saturating_add(length.saturating_sub(1))),
                leader: drawn.and_then(|place| set.members().get(place)).map(|one| one.signer),
            }
        });
        let members = set.members().iter();
        Schedule {
            generation,
            epoch: Epoch::new(epoch),
            sealed_for: set.sealed_for(),
            seed: set.seed(),
            total_weight: set.total().to_string(),
            members: members
                .map(|one| MemberView { signer: one.signer, weight: one.weight.to_string() })
                .collect(),
            turns: turns.collect(),
        }
    }))
}

/// A decided block with all rollups' transactions and the certificate that decided it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BlockView {
    hash: B256,
    header: BlockHeader,
    transactions: Vec<TransactionView>,
    certificate: CertificateView,
    /// The batch that settled it, if one has.
    batch: Option<BatchNumber>,
}

#[derive(Debug, Serialize)]
struct TransactionView {
    rollup: RollupId,
    hash: B256,
    raw: Bytes,
}

#[derive(Debug, Serialize)]
struct CertificateView {
    round: Round,
    signatures: Vec<SignatureView>,
}

#[derive(Debug, Serialize)]
struct SignatureView {
    signer: Address,
    /// EIP-2098, 64 bytes.
    signature: Bytes,
}

fn block(call: &Call<'_>) -> Answer {
    let store = &call.context().store;
    let Some(height) = view::resolve(call.context(), call.arguments.block(0)?)? else {
        return call.answer(());
    };
    view::must_be_kept(store, height)?;
    let Some(decided) = store.block(height)? else { return call.answer(()) };
    let transactions = decided.block.transactions.into_iter().map(|one| TransactionView {
        rollup: one.rollup,
        hash: one.hash(),
        raw: one.raw,
    });
    let signatures = decided.certificate.signatures.iter().map(|(signer, signature)| {
        SignatureView { signer: Address::new(signer.0), signature: signature.to_compact().into() }
    });
    call.answer(BlockView {
        hash: decided.block.header.hash(),
        transactions: transactions.collect(),
        certificate: CertificateView {
            round: decided.certificate.round,
            signatures: signatures.collect(),
        },
        batch: store.settled_at_height(height)?,
        header: decided.block.header,
    })
}

/// A settled batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchView {
    number: BatchNumber,
    /// `settled`, or `final` once its L1 block is deep enough.
    status: Stage,
    header: BatchHeader,
    poster: Address,
    /// The members of the attesting set that signed.
    signers: Vec<Address>,
    l1_block: L1Block,
    l1_transaction: B256,
    payload_bytes: u64,
    late: bool,
    led: bool,
}

fn batch(call: &Call<'_>) -> Answer {
    let context = call.context();
    let number = match call.arguments.block(0)? {
        BlockReference::Latest => context.mirror.read().tip.as_ref().map(|tip| tip.number),
        BlockReference::Height(number) => Some(BatchNumber::new(number.get())),
        _ => return Err(call.arguments.no_batch(0)),
    };
    let Some(number) = number else { return call.answer(()) };
    let Some(batch) = context.store.settled(number)? else { return call.answer(()) };
    let mirror = context.mirror.read();
    let set = mirror.set_for(batch.header.generation, batch.header.epoch);
    let members = set.iter().flat_map(|set| set.members());
    let signed = |index: usize| {
        u32::try_from(index).ok().and_then(|index| batch.signers.checked_shr(index)).unwrap_or(0)
            & 1
            == 1
    };
    let signers =
        members.enumerate().filter(|(index, _)| signed(*index)).map(|(_, member)| member.signer);
    call.answer(BatchView {
        number,
        status: stage_of(mirror.is_final(&batch)),
        poster: batch.poster,
        signers: signers.collect(),
        l1_block: batch.block,
        l1_transaction: batch.tx_hash,
        payload_bytes: batch.payload_bytes,
        late: batch.late,
        led: batch.led,
        header: batch.header,
    })
}

/// How far a transaction has come.
///
/// What is queued may wait in a pool too: the queue says more, as it has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    /// Accepted, in no decided block yet.
    Pending,
    /// In the forced queue on L1, consumed by no decided block yet.
    Queued,
    /// In a decided block.
    Decided,
    /// In a batch that more than 2/3 of the weight has signed.
    Attested,
    /// In a batch that L1 has accepted.
    Settled,
    /// Settled in an L1 block that is deep enough.
    Final,
    /// Accepted here, and never to be ordered.
    Dropped,
}

const fn stage_of(is_final: bool) -> Stage {
    if is_final { Stage::Final } else { Stage::Settled }
}

/// Where a transaction stands. What is not known yet is null.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TransactionStatus {
    hash: B256,
    rollup: RollupId,
    status: Stage,
    height: Option<Height>,
    /// Its place among the block's own transactions; null if it came by the forced queue.
    index: Option<u32>,
    block_hash: Option<B256>,
    batch: Option<BatchNumber>,
    l1_block: Option<L1Block>,
    l1_transaction: Option<B256>,
    /// Its entry in the forced queue, if that is where it stands.
    forced: Option<ForcedView>,
    /// Why it was dropped, if it was.
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ForcedView {
    entry: u64,
    sender: Address,
    /// In wei, as text: it may exceed what JSON numbers hold exactly.
    fee_wei: String,
    l1_block: L1Block,
    /// No block with this L1 origin or a later one leaves it behind.
    due_at_block: u64,
    /// Whether it was consumed by escape, without a batch.
    escaped: bool,
}

fn transaction(call: &Call<'_>) -> Answer {
    let hash = call.arguments.hash(0, "hash")?;
    let rollup = call.rollup()?;
    let context = call.context();
    let mut found = TransactionStatus {
        hash,
        rollup,
        status: Stage::Pending,
        height: None,
        index: None,
        block_hash: None,
        batch: None,
        l1_block: None,
        l1_transaction: None,
        forced: None,
        reason: None,
    };
    let place = context.store.place_of(rollup, hash)?;
    if !matches!(place, Some(Place::Block { .. }))
        && let Some(entry) = context.store.forced_as(rollup, hash)?
    {
        let escape = context.store.escape_of(entry.index)?;
        let mirror = context.mirror.read();
        let escaped = escape.is_some();
        found.status = Stage::Queued;
        found.forced = Some(ForcedView {
            entry: entry.index,
            sender: entry.sender,
            fee_wei: entry.fee_wei.to_string(),
            l1_block: entry.block,
            due_at_block: entry.due_at(mirror.params.forced_deadline_blocks),
            escaped,
        });
        if let Some(escape) = escape {
            found.l1_block = Some(escape.block);
            found.l1_transaction = Some(escape.tx_hash);
            found.status =
                stage_of(mirror.at_depth.is_some_and(|depth| escape.block.number <= depth.number));
            return call.answer(found);
        }
    }
    let Some(place) = place else {
        let waits = context.pool.get(hash).is_some_and(|one| one.transaction.rollup == rollup);
        if waits || found.forced.is_some() {
            return call.answer(Some(found));
        }
        return call.answer(context.pool.dropped(rollup, hash).map(|reason| TransactionStatus {
            status: Stage::Dropped,
            reason: Some(reason.to_string()),
            ..found
        }));
    };
    let height = place.height();
    found.height = Some(height);
    found.index = match place {
        Place::Block { index, .. } => Some(index),
        Place::Forced { .. } => None,
    };
    found.block_hash = context.store.header(height)?.map(|(hash, _)| hash);
    found.status = match settled_batch(context, height)? {
        Some(batch) => {
            found.batch = Some(batch.number);
            found.l1_block = Some(batch.block);
            found.l1_transaction = Some(batch.tx_hash);
            stage_of(context.mirror.read().is_final(&batch))
        }
        None if is_attested(context, height)? => Stage::Attested,
        None => Stage::Decided,
    };
    call.answer(Some(found))
}

fn settled_batch(context: &RpcContext, height: Height) -> Result<Option<SettledBatch>, RpcError> {
    let Some(number) = context.store.settled_at_height(height)? else { return Ok(None) };
    Ok(context.store.settled(number)?)
}

/// Whether a batch with this height has been signed by more than 2/3 of the weight of its epoch's set.
fn is_attested(context: &RpcContext, height: Height) -> Result<bool, RpcError> {
    let gathered = context.store.attested_at(height)?;
    let mirror = context.mirror.read();
    Ok(gathered.iter().any(|(header, signers)| {
        mirror.set_for(header.generation, header.epoch).is_some_and(|set| {
            let signed = set.members().iter().filter(|member| signers.contains(&member.signer));
            set.is_quorum(signed.fold(0, |sum: u64, member| sum.saturating_add(member.weight)))
        })
    }))
}
