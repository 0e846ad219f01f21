use super::Service;
use crate::agreement::BlockSource as _;
use crate::crypto::Signature;
use crate::domain::{
    BatchHeader, BatchNumber, Epoch, ForcedEscape, Generation, Height, L1Block, LeaderSet, Member,
    Seconds, SettledBatch, SettledTip,
};
use crate::rpc::RpcLimits;
use crate::testing::{forced, key, transaction};
use alloy::primitives::{Address, B256};
use serde_json::{Value, json};
use std::sync::Arc;

const A: Address = Address::repeat_byte(1);
const B: Address = Address::repeat_byte(2);

fn header() -> BatchHeader {
    BatchHeader {
        generation: Generation::new(0),
        epoch: Epoch::new(0),
        first_height: Height::new(1),
        last_height: Height::new(2),
        parent_block_hash: B256::ZERO,
        blocks_root: B256::ZERO,
        last_block_hash: B256::repeat_byte(3),
        forced_through: 0,
        l1_origin_number: 1,
        l1_origin_hash: B256::repeat_byte(1),
        timestamp: Seconds::new(6),
        payload_hash: B256::ZERO,
        blobs_hash: B256::ZERO,
        usage_hash: B256::ZERO,
        state_root: B256::ZERO,
        regular_since: Seconds::new(0),
    }
}

fn l1_block(number: u64) -> L1Block {
    L1Block { number, hash: B256::repeat_byte(1), timestamp: Seconds::new(1_700_000_000) }
}

/// A set of two members, of which one alone is no quorum.
fn seal(service: &Service) {
    let members = vec![Member { signer: A, weight: 2 }, Member { signer: B, weight: 1 }];
    let set =
        LeaderSet::new(Generation::new(0), Epoch::new(0), B256::repeat_byte(9), members).unwrap();
    service.around.mirror.update(|mirror| {
        mirror.sets.insert((Generation::new(0), Epoch::new(0)), Arc::new(set));
        mirror.blocks.insert(1, l1_block(1));
    });
}

#[tokio::test]
async fn a_transaction_passes_through_its_stages() {
    let service = Service::start(RpcLimits::default()).await;
    seal(&service);
    let hash = service.send(1, 0).await;
    let status = || async {
        let mut answer = service.call("rota_getTransaction", json!([hash])).await;
        answer["status"].take()
    };
    let receipt = || service.call("eth_getTransactionReceipt", json!([hash]));
    assert_eq!(status().await, "pending");
    assert_eq!(receipt().await, Value::Null);
    let waiting = service.call("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(waiting["blockNumber"], Value::Null);

    service.decide();
    assert_eq!(status().await, "decided");
    assert_eq!(receipt().await["status"], "0x1");

    let (store, digest) = (&service.around.store, B256::repeat_byte(4));
    let signature = Signature::from_compact([1; 64]);
    store.keep_attestations([(&header(), digest, A, signature)]).unwrap();
    assert_eq!(status().await, "decided", "two thirds are not more than two thirds");
    store.keep_attestations([(&header(), digest, B, signature)]).unwrap();
    assert_eq!(status().await, "attested");

    let batch = SettledBatch {
        number: BatchNumber::new(1),
        header: header(),
        poster: A,
        signers: 0b10,
        block: l1_block(10),
        tx_hash: B256::repeat_byte(12),
        parent_settled_at: Seconds::new(10),
        payload_bytes: 13,
        refund_wei: 14,
        late: false,
        led: false,
    };
    store.settle_from(BatchNumber::new(1), &[batch]).unwrap();
    service.around.mirror.update(|mirror| {
        mirror.tip = Some(SettledTip {
            number: BatchNumber::new(1),
            last_height: Height::new(2),
            last_block_hash: B256::repeat_byte(3),
            epoch: Epoch::new(0),
            timestamp: Seconds::new(6),
            settled_at: Seconds::new(7),
        });
        mirror.at_depth = Some(l1_block(9));
    });
    assert_eq!(status().await, "settled");
    let finalized = service.call("eth_getBlockByNumber", json!(["finalized", false])).await;
    assert_eq!(finalized["number"], "0x0");
    service.around.mirror.update(|mirror| mirror.at_depth = Some(l1_block(10)));
    let found = service.call("rota_getTransaction", json!([hash])).await;
    assert_eq!(found["status"], "final");
    assert_eq!(
        (&found["height"], &found["index"], &found["batch"]),
        (&json!(1), &json!(0), &json!(1))
    );
    assert_eq!(found["l1Transaction"], json!(B256::repeat_byte(12)));

    let batch = service.call("rota_getBatch", json!(["latest"])).await;
    assert_eq!((&batch["status"], &batch["signers"]), (&json!("final"), &json!([B])));
    assert_eq!(service.call("rota_getBatch", json!([2])).await, Value::Null);
    // Height 2 is settled and not decided here yet: the last block that there is to show is 1.
    let finalized = service.call("eth_getBlockByNumber", json!(["finalized", false])).await;
    assert_eq!(finalized["number"], "0x1");
}

#[tokio::test]
async fn a_forced_transaction_passes_through_its_stages() {
    let service = Service::start(RpcLimits::default()).await;
    seal(&service);
    let (store, mirror) = (&service.around.store, &service.around.mirror);
    let entries: Vec<_> = (0..2).map(|n| forced(n, transaction(&key(1), n).transaction)).collect();
    let hash = entries[0].transaction.hash();
    store.force_from(0, &entries, &[]).unwrap();
    mirror.update(|mirror| (0..2).for_each(|n| mirror.forced.push(n, 100 + n)));

    let stage = || service.call("rota_getTransaction", json!([hash]));
    let receipt = || service.call("eth_getTransactionReceipt", json!([hash]));
    let deadline = mirror.read().params.forced_deadline_blocks;
    let found = stage().await;
    assert_eq!((&found["status"], &found["height"]), (&json!("queued"), &Value::Null));
    assert_eq!(found["forced"]["dueAtBlock"], 100 + deadline);
    assert_eq!((&found["forced"]["entry"], &found["forced"]["feeWei"]), (&json!(0), &json!("7")));
    assert_eq!(receipt().await, Value::Null);
    let waiting = service.call("eth_getTransactionByHash", json!([hash])).await;
    assert_eq!((&waiting["hash"], &waiting["blockNumber"]), (&json!(hash), &Value::Null));
    let status = service.call("rota_status", json!([])).await;
    let queue = json!({ "length": 2, "consumed": 0, "nextDueAtBlock": 100 + deadline });
    assert_eq!(status["forced"], queue);

    // In the block it stands before the block's own.
    let own = service.send(2, 0).await;
    let block = service.pool.collect(1 << 20, &|_| true);
    let block: Vec<_> = block.iter().map(|one| one.decode(1 << 16).unwrap()).collect();
    service.around.decide_consuming(1, A, &block);
    let found = stage().await;
    assert_eq!((&found["status"], &found["height"]), (&json!("decided"), &json!(1)));
    assert_eq!((&found["index"], &found["forced"]["entry"]), (&Value::Null, &json!(0)));
    assert_eq!(receipt().await["transactionIndex"], "0x0");
    let block = service.call("eth_getBlockByNumber", json!(["0x1", false])).await;
    assert_eq!(block["transactions"], json!([hash, own]));

    // The other one gets in without a block.
    let tx_hash = B256::repeat_byte(8);
    let escape = ForcedEscape { first: 1, through: 2, block: l1_block(300), tx_hash };
    store.force_from(102, [], &[escape]).unwrap();
    let other = entries[1].transaction.hash();
    let found = service.call("rota_getTransaction", json!([other])).await;
    assert_eq!((&found["status"], &found["batch"]), (&json!("settled"), &Value::Null));
    assert_eq!(
        (&found["forced"]["escaped"], &found["l1Block"]["number"]),
        (&json!(true), &json!(300))
    );
    mirror.update(|mirror| mirror.at_depth = Some(l1_block(300)));
    let found = service.call("rota_getTransaction", json!([other])).await;
    assert_eq!((&found["status"], &found["l1Transaction"]), (&json!("final"), &json!(tx_hash)));
}

#[tokio::test]
async fn status_and_schedule_name_the_leader() {
    let service = Service::start(RpcLimits::default()).await;
    let before = service.call("rota_status", json!([])).await;
    assert_eq!(before["leader"], Value::Null);
    assert_eq!(service.call("rota_schedule", json!([])).await, Value::Null);
    seal(&service);
    service.decide();
    let status = service.call("rota_status", json!([])).await;
    let schedule = service.call("rota_schedule", json!([0, 0, 3])).await;
    // The proposer of the test's blocks holds the rest of their turn.
    assert_eq!(status["leader"], json!(A));
    assert_eq!(status["decided"]["height"], 1);
    assert_eq!(schedule["totalWeight"], "3");
    assert_eq!(schedule["turns"].as_array().unwrap().len(), 3);
    assert_eq!(schedule["turns"][1]["firstHeight"], 8);
    let block = service.call("rota_getBlock", json!([1])).await;
    assert_eq!(block["hash"], status["decided"]["hash"]);
}
