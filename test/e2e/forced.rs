//! The way in that no sequencer can close, with the command line as its users have it.

use crate::{beside, block_on, metric, plan, session, until, wei};
use alloy::primitives::B256;
use rota::devnet::Session;
use rota::rpc_client::RpcClient;
use serde_json::{Value, json};

/// The key of Anvil's second account: its owner has ETH on L1, and sends on the rollup.
const OWNER_KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
/// The key of Anvil's third account.
const OTHER_KEY: &str = "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const RECEIVER: &str = "0x000000000000000000000000000000000000dEaD";
const DEADLINE_BLOCKS: u64 = 40;

#[cfg(feature = "byzantine")]
#[test]
fn a_forced_transaction_gets_in_although_every_leader_censors_and_its_sender_is_compensated() {
    let _seat = beside();
    block_on(async {
        let mut censors = plan(4);
        // What is taken at the last moment is late here: from its deadline on.
        censors.params.push(("forcedGraceBlocks", 0));
        let flags = ["--censor".to_owned(), "901".to_owned()];
        censors.extra = (0..4).map(|index| (index, flags.to_vec())).collect();
        let session = session(censors, 0.0).await;
        let agent = crate::client(session.network.rpc_urls()[0].clone());

        // What an agent took in waits for as long as its leaders like; its sender forces the same transaction.
        let rpc = agent.url().as_str().to_owned();
        let sent = rota(&session, 0, &["send", RECEIVER, "--rpc", &rpc, "--wait", "pending"]);
        let forced = force(&session, &["--nonce", "0"]);
        assert_eq!(sent["hash"], forced["hash"]);
        let (due, hash) = (forced["dueAtBlock"].as_u64().unwrap(), hash(&forced));
        assert_eq!(due, forced["l1Block"].as_u64().unwrap() + DEADLINE_BLOCKS);
        until("the agent has seen it in the queue", || async {
            stage(&agent, hash).await["status"] == "queued"
        })
        .await;
        assert_eq!(metric(&session, 0, "forced_waiting").await, 1);

        until("the forced transaction is derived from L1", || async {
            session.settled_order().contains(&hash)
        })
        .await;
        // The agent follows L1 at its own pace.
        until("the agent has seen that it settled", || async {
            stage(&agent, hash).await["l1Block"]["number"].is_u64()
        })
        .await;
        let settled = stage(&agent, hash).await;
        assert_eq!(settled["forced"]["escaped"], false, "{settled}");
        let height = settled["height"].as_u64().unwrap();
        let origin = |header: &Value| header["header"]["l1OriginNumber"].as_u64().unwrap();
        let consumer = agent.call("rota_getBlock", json!([height])).await.unwrap();
        let parent = agent.call("rota_getBlock", json!([height - 1])).await.unwrap();
        assert_eq!(
            (&parent["header"]["forcedThrough"], &consumer["header"]["forcedThrough"]),
            (&json!(0), &json!(1))
        );
        // All of them held it back for as long as they could, and not one origin longer.
        assert!(origin(&parent) < due && origin(&consumer) >= due, "{parent} {consumer}");
        assert_eq!(session.settled_order(), [hash], "nothing else got in");
        let status = agent.call("rota_status", json!([])).await.unwrap();
        assert_eq!(status["pool"]["transactions"], 0, "{status}");

        let receipt = agent.call("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        assert_eq!(receipt["blockNumber"], format!("0x{height:x}"));

        let fee = wei(&forced["feeWei"]);
        let settled_at = settled["l1Block"]["number"].as_u64().unwrap();
        assert!(settled_at > due, "late: {settled_at} after {due}");
        let owed = |flags: &[&str]| rota(&session, 0, &[&["compensate"], flags].concat());
        until("the late batch is tallied", || async {
            owed(&["--dry-run"])["entries"].as_array().unwrap().len() == 1
        })
        .await;
        let before = owed(&["--dry-run"]);
        let (number, hashed) = (forced["entry"].to_string(), forced["hash"].as_str().unwrap());
        for named in [number.as_str(), hashed] {
            assert_eq!(owed(&["--dry-run", named]), before);
        }
        let unknown = rota(&session, 1, &["compensate", "77"]);
        assert_eq!(unknown["error"], "the forced queue has no entry 77");
        // Somebody else pays for the call; the sender has the compensation.
        let compensated = crate::rota(&session, OTHER_KEY, 0, &["compensate", hashed]);
        assert_eq!(compensated, before);
        assert_eq!(compensated["entries"][0]["hash"], forced["hash"]);
        let amount = wei(&compensated["amountWei"]);
        assert!(amount > 0 && amount <= fee, "{amount} of {fee}");
        assert_eq!(owed(&[])["entries"], json!([]), "nobody is paid twice");
        let again = rota(&session, 1, &["compensate", &number]);
        assert_eq!(again["error"], format!("entry {number} is compensated already"));
        let rewards = rota(&session, 0, &["rewards"]);
        assert_eq!(rewards["posterWei"], compensated["amountWei"], "{rewards}");
        let claimed = rota(&session, 0, &["rewards", "--claim"]);
        assert_eq!(claimed["posterWei"], compensated["amountWei"], "{claimed}");
        let rewards = rota(&session, 0, &["rewards"]);
        assert_eq!(rewards["posterWei"], "0", "{rewards}");

        let report = session.end().await;
        assert_eq!(report.slashes, 0, "{report:?}");
    });
}

#[test]
fn what_is_forced_is_taken_at_once_and_gets_in_by_escape_when_no_agent_is_left() {
    let _seat = beside();
    block_on(async {
        let mut session = session(plan(2), 0.0).await;
        let agent = crate::client(session.network.rpc_urls()[0].clone());
        let nothing = rota(&session, 0, &["escape", "--dry-run"]);
        assert_eq!((&nothing["length"], &nothing["isOpen"]), (&json!(0), &json!(false)));
        let refused = rota(&session, 1, &["escape"]);
        assert!(refused["error"].as_str().unwrap().starts_with("nothing waits"), "{refused}");

        // Who follows the rules takes it as soon as an origin shows it, long before the deadline.
        let rpc = agent.url().as_str().to_owned();
        let first = force(&session, &["--rpc", &rpc, "--wait", "settled"]);
        let first_hash = hash(&first);
        until("the forced transaction is derived from L1", || async {
            session.settled_order() == [first_hash]
        })
        .await;
        until("the agent has seen that it settled", || async {
            stage(&agent, first_hash).await["l1Block"]["number"].is_u64()
        })
        .await;
        let settled = stage(&agent, first_hash).await;
        let height = settled["height"].as_u64().unwrap();
        let origin = |header: &Value| header["header"]["l1OriginNumber"].as_u64().unwrap();
        let consumer = agent.call("rota_getBlock", json!([height])).await.unwrap();
        let due = first["dueAtBlock"].as_u64().unwrap();
        assert!(origin(&consumer) < due, "{consumer} {first}");

        for index in 0..2 {
            session.network.kill(index).await;
        }
        let mistaken = rota(&session, 1, &["force", "--raw", "0x0909"]);
        assert!(mistaken["error"].as_str().unwrap().contains("no effect"), "{mistaken}");
        let missing = rota(&session, 3, &["force", RECEIVER, "--rollup", "901"]);
        assert!(missing["error"].as_str().unwrap().starts_with("nonce is missing"), "{missing}");
        let unknown = rota(&session, 6, &["force", RECEIVER, "--rollup", "77", "--nonce", "0"]);
        assert!(unknown["error"].as_str().unwrap().contains("ForcedRollupUnknown"), "{unknown}");

        // One call lets in more than a block takes. The last one repeats a nonce with the same bytes: one transaction, for
        // which nobody pays twice without saying so.
        let mut expected = vec![first_hash];
        expected.push(hash(&force(&session, &["--nonce", "1"])));
        let early = rota(&session, 1, &["escape"]);
        assert!(early["error"].as_str().unwrap().contains("unless a batch settles it"), "{early}");
        for nonce in 2..17 {
            expected.push(hash(&force(&session, &["--nonce", &nonce.to_string()])));
        }
        let twice = rota(&session, 1, &["force", RECEIVER, "--rollup", "901", "--nonce", "16"]);
        assert!(twice["error"].as_str().unwrap().contains("is this very transaction"), "{twice}");
        let again = force(&session, &["--nonce", "16", "--again"]);
        assert_eq!(Some(&hash(&again)), expected.last());
        let waiting = rota(&session, 0, &["escape", "--dry-run"]);
        assert_eq!((&waiting["consumed"], &waiting["length"]), (&json!(1), &json!(18)));

        let anvil = crate::client(session.network.l1_url().clone());
        anvil.call("evm_increaseTime", json!([240])).await.unwrap();
        // The last of them: of some that are open already a call lets in those.
        let open_from = again["escapeOpenFrom"].as_u64().unwrap();
        until("the entries are open to escape", || async {
            let newest =
                anvil.call("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
            let time = newest["timestamp"].as_str().unwrap().trim_start_matches("0x").to_owned();
            u64::from_str_radix(&time, 16).unwrap() >= open_from
        })
        .await;
        assert_eq!(rota(&session, 0, &["escape", "--dry-run"])["isOpen"], true);
        let escaped = rota(&session, 0, &["escape", "--wait"]);
        assert_eq!(escaped, json!({ "first": 1, "last": 17, "calls": 1 }));
        until("what escaped is derived from L1", || async {
            session.settled_order().len() >= expected.len()
        })
        .await;
        assert_eq!(session.settled_order(), expected);
        session.end().await;
    });
}

/// Runs `rota force` for the devnet's rollup, signed and paid by the owner.
fn force(session: &Session, flags: &[&str]) -> Value {
    rota(session, 0, &[&["force", RECEIVER, "--rollup", "901"], flags].concat())
}

/// Runs a command of the owner.
fn rota(session: &Session, code: i32, arguments: &[&str]) -> Value {
    crate::rota(session, OWNER_KEY, code, arguments)
}

fn hash(answer: &Value) -> B256 {
    answer["hash"].as_str().unwrap().parse().unwrap()
}

async fn stage(agent: &RpcClient, hash: B256) -> Value {
    agent.call("rota_getTransaction", json!([hash])).await.unwrap()
}
