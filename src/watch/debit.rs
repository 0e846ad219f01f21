//! The duty to debit rollups for what settled of them (R43).

use super::duty::{Agent, Due, Duty, DutyError};
use crate::batch::{Usage, usage, usage_hash};
use crate::domain::{BatchNumber, Height, SettledBatch};
use crate::l1::{L1Error, Refusal, duties};
use crate::storage::{Store, StoreError};
use std::collections::BTreeSet;
use tracing::{info, warn};

/// Batches whose rollups are debited in one transaction: those from a multiple of it on. L1 marks 256 batches in a word.
const DEBIT_AT_ONCE: u64 = 16;
/// How many settled batches an agent that starts looks back on for debits that nobody made.
const DEBIT_BACK: u64 = 256;
/// What a call takes for each batch, for a rollup that it debits for the first time, and for one that it debited before, at
/// today's prices. Only a guess at how much fits: where L1 is dearer, its nodes refuse, and that halves.
const GAS_PER_BATCH: u64 = 60_000;
const GAS_PER_NEW_ROLLUP: u64 = 12_500;
const GAS_PER_ROLLUP: u64 = 5_500;
/// What a call may take by that: with what is added to an estimate it stays below what a transaction may ask for (EIP-7825).
const GAS_AT_ONCE: u64 = 12_000_000;
/// Bytes of a batch in the input, of a rollup in its list, and of all. Nodes refuse transactions of more than 128 KiB.
const BYTES_PER_BATCH: u64 = 1_200;
const BYTES_PER_ROLLUP: u64 = 12;
const BYTES_AT_ONCE: u64 = 120 * 1024;

/// Debits rollups for a group of batches once all of it is settled for good, in its turn; in several calls where one would
/// not fit into a transaction.
#[derive(Debug, Default)]
pub(super) struct Debit {
    /// The first batches of calls that are due. What waits is the next call: whoever makes one is given time for the one behind.
    due: Due<u64>,
    /// The first group of [`DEBIT_AT_ONCE`] batches that may not be debited yet; none before the settled chain was seen.
    next_debit: Option<u64>,
    cut: Cut,
}

/// How much of a group one call debits.
#[derive(Debug, Default)]
struct Cut {
    /// The most batches, once more were refused.
    at_most: Option<usize>,
    /// Batches that were refused by themselves: nobody can debit them.
    given_up: BTreeSet<BatchNumber>,
}

impl Cut {
    /// How many of what is due, from the first on, go into one call; at least one if there is any.
    fn next(&self, due: &[(SettledBatch, Vec<Usage>)]) -> usize {
        let (mut gas, mut bytes, mut count) = (0_u64, 0_u64, 0_usize);
        let mut debited = BTreeSet::new();
        for (_, usage) in due {
            (gas, bytes) =
                (gas.saturating_add(GAS_PER_BATCH), bytes.saturating_add(BYTES_PER_BATCH));
            for entry in usage {
                let is_new = debited.insert(entry.rollup);
                gas = gas.saturating_add(if is_new { GAS_PER_NEW_ROLLUP } else { GAS_PER_ROLLUP });
                bytes = bytes.saturating_add(BYTES_PER_ROLLUP);
            }
            if count > 0 && (gas > GAS_AT_ONCE || bytes > BYTES_AT_ONCE) {
                break;
            }
            count = count.saturating_add(1);
        }
        count.min(self.at_most.unwrap_or(usize::MAX))
    }

    /// A call with these was refused and will be: the next one has half of them, and one alone is given up; with it may be gone
    /// what was in the way of the others.
    fn refused(&mut self, call: &[(SettledBatch, Vec<Usage>)]) {
        match call {
            [(one, _)] => {
                self.given_up.insert(one.number);
                self.at_most = None;
            }
            several => self.at_most = Some((several.len() / 2).max(1)),
        }
    }
}

/// Whether fewer batches in a call may be taken where these were not, and whether the same call ever will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The call is of no use as it is. One of its batches may be why.
    Never,
    /// It is too large for now.
    TooMuch,
    /// It has nothing to do with how much it is.
    Later,
}

fn verdict(error: &L1Error) -> Verdict {
    match error {
        L1Error::Reverted { .. } => Verdict::Never,
        L1Error::Refused { why, .. } => match why {
            Refusal::GasLimit | Refusal::TooManyBytes | Refusal::RangeTooLarge => Verdict::Never,
            Refusal::FeeAboveNodesCap => Verdict::TooMuch,
            _ => Verdict::Later,
        },
        _ => Verdict::Later,
    }
}

impl Duty for Debit {
    const NAME: &'static str = "debit";

    async fn step(&mut self, agent: &Agent) -> Result<(), DutyError> {
        let (params, depth, tip) = {
            let mirror = agent.mirror.read();
            (mirror.params.clone(), mirror.at_depth, mirror.tip.as_ref().map(|tip| tip.number))
        };
        let Some(tip) = tip else { return Ok(()) };
        let oldest = tip.get().saturating_sub(DEBIT_BACK) / DEBIT_AT_ONCE;
        let group = *self.next_debit.get_or_insert(oldest);
        let first = group.saturating_mul(DEBIT_AT_ONCE);
        let last = first.saturating_add(DEBIT_AT_ONCE).saturating_sub(1);
        let newest = agent.store.settled(BatchNumber::new(last))?;
        let settled_deep =
            |batch: &SettledBatch| depth.is_some_and(|depth| batch.block.number <= depth.number);
        if newest.as_ref().is_none_or(|batch| !settled_deep(batch)) {
            return Ok(());
        }
        let word = duties::debited(agent.account.client(), &agent.deployment, first / 256).await?;
        let mut due = Vec::new();
        for number in first.max(1)..=last {
            let bit = usize::try_from(number % 256).expect("a remainder of 256 fits");
            if !word.bit(bit)
                && !self.cut.given_up.contains(&BatchNumber::new(number))
                && let Some(one) = usage_of(&agent.store, BatchNumber::new(number))?
            {
                due.push(one);
            }
        }
        let call = due.get(..self.cut.next(&due)).unwrap_or_default();
        let Some((begins, _)) = call.first() else {
            self.next_debit = Some(group.saturating_add(1));
            self.cut = Cut::default();
            return Ok(());
        };
        let (begins, batches) = (begins.number.get(), call.len());
        if !self.due.is_turn(agent, begins, group, &params) {
            return Ok(());
        }
        let Err(error) = duties::debit(&agent.account, &agent.deployment, call).await else {
            info!(begins, batches, "rollups debited");
            self.due.done(begins);
            return Ok(());
        };
        match verdict(&error) {
            Verdict::Never => {
                if batches == 1 {
                    warn!(batch = begins, %error, "rollups not debited: nobody pays for this batch");
                } else {
                    info!(begins, batches, %error, "rollups not debited: fewer at once");
                }
                self.cut.refused(call);
                Ok(())
            }
            // One alone waits until it is cheaper.
            Verdict::TooMuch if batches > 1 => {
                self.cut.refused(call);
                Ok(())
            }
            Verdict::TooMuch | Verdict::Later => Err(error.into()),
        }
    }
}

/// A settled batch and what its rollups take of it, if they take anything and its blocks are known here.
fn usage_of(
    store: &Store,
    number: BatchNumber,
) -> Result<Option<(SettledBatch, Vec<Usage>)>, StoreError> {
    let Some(batch) = store.settled(number)? else { return Ok(None) };
    let mut blocks = Vec::new();
    for height in batch.header.first_height.get()..=batch.header.last_height.get() {
        let Some(decided) = store.block(Height::new(height))? else { return Ok(None) };
        blocks.push(decided.block);
    }
    let usage = usage(&blocks);
    // What a quorum committed to may be another list than its blocks have: L1 takes no other.
    let as_settled = !usage.is_empty() && usage_hash(&usage) == batch.header.usage_hash;
    Ok(as_settled.then_some((batch, usage)))
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]
mod tests {
    use super::{Agent, Cut, DEBIT_AT_ONCE, Debit, Duty};
    use crate::batch::{Usage, usage, usage_hash};
    use crate::domain::{
        BatchHeader, BatchNumber, Deployment, Epoch, Height, L1Block, RollupId, Seconds,
        SettledBatch, SettledTip, SignedTransaction,
    };
    use crate::l1::pool_model::{Node, Rules};
    use crate::l1::{Account, Client, duties};
    use crate::testing::{Surroundings, batch_header, key, params, raw_priced};
    use alloy::consensus::{Transaction as _, TxEnvelope};
    use alloy::eips::eip2718::Decodable2718 as _;
    use alloy::primitives::{Address, B256, Bytes, U256};
    use alloy::rpc::client::RpcClient;
    use alloy::rpc::json_rpc::{
        ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
    };
    use alloy::transports::{TransportError, TransportFut};
    use serde_json::{Value, json};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};
    use std::time::Duration;

    /// EIP-7825.
    const CAP: u64 = 16_777_216;
    const ROLLUPS: Address = Address::repeat_byte(3);

    /// What L1 takes for a debit, and which batches it takes no more.
    #[derive(Clone, Debug, Default)]
    struct Prices {
        new: u64,
        known: u64,
        /// Revert whatever else is in the call.
        refused: BTreeSet<u64>,
        /// Of single batches.
        dear: BTreeMap<u64, u64>,
        /// How the node says that a call takes too much.
        says: &'static str,
    }

    /// A [`Node`] before which the rollups' contract stands: it marks what is debited, and refuses what no block has room for.
    #[derive(Clone)]
    struct L1 {
        node: Node,
        prices: Arc<Prices>,
        /// The batches that a transaction names, by its nonce.
        sent: Arc<Mutex<BTreeMap<u64, Vec<u64>>>>,
    }

    impl L1 {
        /// What is debited by what is included.
        fn debited(&self) -> BTreeSet<u64> {
            let next = self.node.lock().nonce;
            self.sent.lock().unwrap().range(..next).flat_map(|(_, named)| named).copied().collect()
        }

        fn gas_of(&self, input: &[u8]) -> Result<u64, &'static str> {
            let named = duties::named_by(input).unwrap();
            let done = self.debited();
            let named: Vec<_> = named.iter().filter(|(number, _)| !done.contains(number)).collect();
            if named.is_empty() || named.iter().any(|(one, _)| self.prices.refused.contains(one)) {
                return Err("execution reverted");
            }
            let mut known = BTreeSet::new();
            let mut gas = 100_000;
            for (number, usage) in named {
                gas += 60_000 + self.prices.dear.get(number).unwrap_or(&0);
                for entry in usage.chunks(12) {
                    let is_new = known.insert(entry[..8].to_vec());
                    gas += if is_new { self.prices.new } else { self.prices.known };
                }
            }
            if gas > CAP { Err(self.prices.says) } else { Ok(gas) }
        }

        /// What stands before the node answers itself.
        fn answer(&self, request: &SerializedRequest) -> Option<Result<Value, String>> {
            let params: Value = serde_json::from_str(request.params()?.get()).unwrap();
            match request.method() {
                "eth_call" => {
                    let word = self.debited().iter().fold(U256::ZERO, |word, one| {
                        word | (U256::ONE << usize::try_from(*one).unwrap())
                    });
                    Some(Ok(json!(B256::from(word))))
                }
                "eth_estimateGas" => {
                    let order = &params[0];
                    let input =
                        if order["input"].is_null() { &order["data"] } else { &order["input"] };
                    let input: Bytes = serde_json::from_value(input.clone()).unwrap();
                    let gas = self.gas_of(&input);
                    Some(gas.map(|gas| json!(format!("0x{gas:x}"))).map_err(ToOwned::to_owned))
                }
                "eth_sendRawTransaction" => {
                    let raw: Bytes = serde_json::from_value(params[0].clone()).unwrap();
                    let sent = TxEnvelope::decode_2718(&mut &raw[..]).unwrap();
                    if sent.gas_limit() > CAP {
                        return Some(Err("transaction gas limit too high".to_owned()));
                    }
                    // Whatever else is sent fills a nonce.
                    let named = duties::named_by(sent.input()).unwrap_or_default();
                    assert!(
                        named.is_empty() || self.gas_of(sent.input()).unwrap() <= sent.gas_limit()
                    );
                    let named = named.into_iter().map(|(number, _)| number).collect();
                    self.sent.lock().unwrap().insert(sent.nonce(), named);
                    None
                }
                _ => None,
            }
        }
    }

    impl tower::Service<RequestPacket> for L1 {
        type Response = ResponsePacket;
        type Error = TransportError;
        type Future = TransportFut<'static>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, packet: RequestPacket) -> Self::Future {
            let RequestPacket::Single(request) = &packet else {
                unreachable!("the client sends no batches")
            };
            let payload = match self.answer(request) {
                None => return self.node.call(packet),
                Some(Ok(value)) => {
                    ResponsePayload::Success(serde_json::value::to_raw_value(&value).unwrap())
                }
                Some(Err(message)) => {
                    let message = message.into();
                    ResponsePayload::Failure(ErrorPayload { code: -32_000, message, data: None })
                }
            };
            let answer = Response { id: request.id().clone(), payload };
            Box::pin(async move { Ok(ResponsePacket::Single(answer)) })
        }
    }

    /// Batch `number`, of one block in which so many rollups have a transaction.
    fn settle(around: &Surroundings, number: u64, transactions: &[SignedTransaction]) {
        let height = around.decide(transactions);
        let block = around.store.block(height).unwrap().unwrap().block;
        let header = BatchHeader {
            first_height: height,
            usage_hash: usage_hash(&usage(&[block])),
            ..batch_header(height.get())
        };
        let batch = SettledBatch {
            number: BatchNumber::new(number),
            header,
            poster: Address::repeat_byte(9),
            signers: 7,
            block: L1Block { number: 1, hash: B256::ZERO, timestamp: Seconds::new(11) },
            tx_hash: B256::repeat_byte(12),
            parent_settled_at: Seconds::new(10),
            payload_bytes: 13,
            refund_wei: 14,
            late: false,
            led: false,
        };
        around.store.settle_from(batch.number, &[batch]).unwrap();
    }

    /// Lets an agent debit batches 1 to 47, of which 16 to 31 have a transaction of each of `rollups`, until it has nothing
    /// more to debit. Returns what was debited, and how many batches each call named.
    async fn debits(rollups: u64, prices: Prices) -> (BTreeSet<u64>, Vec<usize>) {
        let around = Surroundings::in_memory(params());
        let many: Vec<SignedTransaction> = (1..=rollups)
            .map(|rollup| {
                let raw = raw_priced(&key(1), 0, RollupId::new(rollup), 1_000_000_000);
                SignedTransaction::decode(raw, 1 << 16).unwrap()
            })
            .collect();
        for number in 1..=47 {
            let transactions = if (16..32).contains(&number) { &many[..] } else { &many[..1] };
            settle(&around, number, transactions);
        }
        around.mirror.update(|mirror| {
            let head = L1Block { number: 2, hash: B256::ZERO, timestamp: Seconds::new(12) };
            (mirror.head, mirror.at_depth) = (Some(head), Some(head));
            mirror.tip = Some(SettledTip {
                number: BatchNumber::new(47),
                last_height: Height::new(47),
                last_block_hash: B256::ZERO,
                epoch: Epoch::new(0),
                timestamp: head.timestamp,
                settled_at: head.timestamp,
            });
        });
        let node = Node::new(1, Rules::plain(), 0);
        let l1 = L1 { node: node.clone(), prices: prices.into(), sent: Arc::default() };
        let address = Address::repeat_byte(2);
        let deployment = Deployment {
            chain_id: 1,
            block: 1,
            stake_token: address,
            registry: address,
            settlement: address,
            tally: address,
            slasher: address,
            reward_pool: address,
            rollups: ROLLUPS,
            guardian: address,
        };
        let client = Client::over(RpcClient::new(l1.clone(), true), 1);
        let agent = Agent {
            account: Account::new(client, &[1; 32]).unwrap(),
            signer: key(1).address(),
            deployment,
            mirror: around.mirror.clone(),
            store: around.store.clone(),
        };
        let mining = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(12)).await;
                node.lock().mine();
            }
        });
        let mut duty = Debit::default();
        // Fewer than this, or it tries the same again and again.
        for step in 0.. {
            assert!(step < 150, "{:?} of {duty:?}", l1.sent);
            duty.step(&agent).await.unwrap();
            if duty.next_debit == Some(3) {
                break;
            }
        }
        mining.abort();
        let calls = l1.sent.lock().unwrap().values().map(Vec::len).collect();
        (l1.debited(), calls)
    }

    fn today() -> Prices {
        let says = "gas required exceeds allowance (16777216)";
        Prices { new: 12_000, known: 5_100, says, ..Prices::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_does_not_fit_into_a_transaction_is_debited_in_several() {
        let all: BTreeSet<u64> = (1..48).collect();
        assert_eq!(debits(2, today()).await, (all.clone(), vec![15, 16, 16]));

        let (debited, calls) = debits(150, today()).await;
        assert_eq!(debited, all);
        assert_eq!(calls.iter().sum::<usize>(), 47, "{calls:?}");
        assert_eq!(calls.len(), 4, "no more of them than it takes: {calls:?}");

        // Under prices that nobody told the agent.
        for says in
            [today().says, "execution reverted", "transaction gas limit too high", "oversized data"]
        {
            let (debited, calls) =
                debits(150, Prices { new: 40_000, known: 25_000, says, ..today() }).await;
            assert_eq!(debited, all, "{says}");
            assert_eq!(calls.iter().sum::<usize>(), 47, "{says}: {calls:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_nobody_can_debit_frees_no_other_one() {
        let all = 1..48;
        let refused: BTreeSet<u64> = [18, 31, 40].into();
        let expected: BTreeSet<u64> =
            all.clone().filter(|number| !refused.contains(number)).collect();
        let (debited, _) = debits(3, Prices { refused, ..today() }).await;
        assert_eq!(debited, expected);

        // One takes all that a transaction may, and is debited; another more.
        let dear = [(17, CAP - 500_000), (29, CAP)].into();
        let (debited, _) = debits(3, Prices { dear, ..today() }).await;
        assert_eq!(debited, all.filter(|number| *number != 29).collect());
    }

    #[test]
    fn a_call_has_as_many_as_fit_and_one_at_least() {
        let batch = |rollups: std::ops::Range<u64>| {
            let around = Surroundings::in_memory(params());
            settle(&around, 1, &[]);
            let batch = around.store.settled(BatchNumber::new(1)).unwrap().unwrap();
            let usage = rollups.map(|id| Usage { rollup: RollupId::new(id), bytes: 9 }).collect();
            (batch, usage)
        };
        let cut = Cut::default();
        assert_eq!(cut.next(&[]), 0);
        assert_eq!(cut.next(&[batch(0..9_000)]), 1, "one is tried, however large");
        let group = |rollups| vec![batch(rollups); usize::try_from(DEBIT_AT_ONCE).unwrap()];
        assert_eq!(cut.next(&group(0..100)), 16);
        // 6.31 million for the first, 2.81 for each other one.
        assert_eq!(cut.next(&group(0..500)), 3, "gas");
        let different: Vec<_> = (0..16).map(|n| batch(n * 100..(n + 1) * 100)).collect();
        assert_eq!(cut.next(&different), 9, "who is new in the call is dearer");
        let halved = Cut { at_most: Some(4), ..Cut::default() };
        assert_eq!(halved.next(&group(0..100)), 4);
        assert_eq!(halved.next(&group(0..500)), 3);
    }
}
