//! Agents that die, and one that lies.

use crate::{
    STAKE_WEI, beside, block_on, key, metric, plan, record, rota, session, tokens_of, until, wei,
};
use alloy::primitives::{Address, Bytes, address, keccak256};
use rota::devnet::Session;
use rota::domain::{BatchHeader, SequencerStatus};
use rota::l1::read_settlement;
use rota::rpc_client::RpcClient;
use serde_json::{Value, json};

/// Where tokens go to burn.
const BURNED: Address = address!("000000000000000000000000000000000000dEaD");

#[test]
fn a_killed_leader_is_replaced_and_catches_up_when_it_is_back() {
    let _seat = beside();
    block_on(async {
        let mut session = session(plan(4), 10.0).await;
        until("a first batch is settled", || async { session.report().batches > 0 }).await;

        let leader = leader(&session).await;
        session.network.kill(leader).await;
        let (height, settled) = (session.settled_height(), session.report().settled);
        until("others settle batches without the killed leader", || async {
            session.settled_height().get() > height.get() + 16 && session.report().settled > settled
        })
        .await;

        session.network.restart(leader).unwrap();
        session.network.answering(crate::DEADLINE).await.unwrap();
        let agents: Vec<RpcClient> =
            session.network.rpc_urls().into_iter().map(crate::client).collect();
        let back = agents[leader].clone();
        let goal = decided(&agents[(leader + 1) % agents.len()]).await;
        until("the killed agent has caught up", || async { decided(&back).await >= goal }).await;

        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    });
}

#[test]
fn agents_go_on_ordering_while_l1_is_away_and_settle_everything_when_it_is_back() {
    let _seat = beside();
    block_on(async {
        let mut session = session(plan(4), 10.0).await;
        until("a transaction is settled", || async { session.report().settled > 0 }).await;
        let agent = crate::client(session.network.rpc_urls()[0].clone());

        session.network.pause_l1(true).unwrap();
        let (height, before) = (decided(&agent).await, session.report());
        until("agents decide blocks without L1", || async { decided(&agent).await > height + 24 })
            .await;
        until("the view says that L1 is away", || async { session.l1_is_away() }).await;
        let meanwhile = session.report();
        assert!(meanwhile.sent > before.sent, "{meanwhile:?}");
        assert!(meanwhile.settled >= before.settled && before.settled > 0, "{meanwhile:?}");
        assert!(meanwhile.batches >= before.batches && before.batches > 0, "{meanwhile:?}");

        session.network.pause_l1(false).unwrap();
        until("batches settle again", || async {
            !session.l1_is_away() && session.report().settled > meanwhile.settled
        })
        .await;
        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    });
}

#[cfg(feature = "byzantine")]
#[test]
fn an_equivocator_is_jailed_and_slashed_on_evidence_that_the_others_found() {
    let _seat = beside();
    block_on(async {
        let mut liar = plan(4);
        liar.extra = vec![(3, vec!["--equivocate".to_owned()])];
        // The penalty falls due when the next window has ended.
        liar.params.push(("correlationWindowSeconds", 5));
        let mut session = session(liar, 10.0).await;
        until("the offence is reported on L1", || async { session.report().slashes > 0 }).await;
        let offender = session.network.signers()[3];
        assert_ne!(record(&session, offender).await.status, SequencerStatus::Active);

        until("the penalty is executed", || async {
            record(&session, offender).await.status == SequencerStatus::Tombstoned
        })
        .await;
        session.stop_sending();
        crate::settle(&mut session).await;
        let mut seen = 0;
        for honest in 0..3 {
            seen += metric(&session, honest, "evidence").await;
        }
        assert!(seen > 0, "who found the offence has counted it");

        // It offended in several windows, and agents execute case after case: what is counted here stands still only
        // when none of them runs any more, and nothing of theirs waits for a block.
        for agent in 0..4 {
            session.network.kill(agent).await;
        }
        let l1 = crate::client(session.network.l1_url().clone());
        until("L1 has taken what agents sent", || async {
            l1.call("txpool_status", json!([])).await.unwrap()["pending"] == json!("0x0")
        })
        .await;

        // A quarter of the weight offended: 5 % and three times 25 %, at least.
        let left: u128 = record(&session, offender).await.stake_wei.to();
        assert!(left <= STAKE_WEI / 5, "{left}");
        let (mut bounties, mut reporter) = (0, None);
        for (index, signer) in session.network.signers().into_iter().enumerate() {
            let record = record(&session, signer).await;
            if signer != offender {
                assert_eq!(record.status, SequencerStatus::Active, "{record:?}");
                assert!(record.stake_wei.to::<u128>() >= STAKE_WEI, "{record:?}");
            }
            let earned = rota(&session, &key("signer", index), 0, &["rewards"]);
            assert_eq!(earned["account"], json!(signer));
            let bounty = wei(&earned["bountyWei"]);
            if bounty > 0 {
                reporter = Some((index, bounty));
            }
            bounties += bounty;
        }
        let slashed = STAKE_WEI - left;
        // A conviction moves no token: what is nobody's is sent away by whoever asks for it.
        let from = l1.call("eth_accounts", json!([])).await.unwrap()[0].clone();
        let data = alloy::hex::encode_prefixed(&keccak256("sweep()")[..4]);
        let sweep =
            json!({ "from": from, "to": session.network.deployment().slasher, "data": data });
        l1.call("eth_sendTransaction", json!([sweep])).await.unwrap();
        until("what was slashed burns", || async { tokens_of(&session, BURNED).await > 0 }).await;
        let burned = tokens_of(&session, BURNED).await;
        assert_eq!((bounties, burned), (slashed / 10, slashed - slashed / 10));

        let (reporter, bounty) = reporter.unwrap();
        let paid = rota(&session, &key("signer", reporter), 0, &["claim", "--bounty"]);
        assert_eq!(wei(&paid["paidWei"]), bounty);
        assert_eq!(tokens_of(&session, session.network.signers()[reporter]).await, bounty);
        let nothing = rota(&session, &key("signer", reporter), 6, &["claim", "--bounty"]);
        assert!(nothing["error"].as_str().unwrap().contains("NoBounty"), "{nothing}");

        let report = session.end().await;
        assert_eq!((report.lost, report.doubled), (0, 0), "{report:?}");
    });
}

/// The headers of all that settled, as the transactions on L1 have them.
async fn settled_headers(session: &Session) -> Vec<BatchHeader> {
    let l1 = crate::client(session.network.l1_url().clone());
    let settlement = session.network.deployment().settlement;
    let filter = json!({ "address": settlement, "fromBlock": "0x0" });
    let logs = l1.call("eth_getLogs", json!([filter])).await.unwrap();
    let mut transactions: Vec<&Value> =
        logs.as_array().unwrap().iter().map(|log| &log["transactionHash"]).collect();
    transactions.dedup();
    let mut headers = Vec::new();
    for hash in transactions {
        let found = l1.call("eth_getTransactionByHash", json!([hash])).await.unwrap();
        let input: Bytes = serde_json::from_value(found["input"].clone()).unwrap();
        headers.extend(read_settlement(&input).into_iter().flatten().map(|one| one.header));
    }
    headers
}

#[cfg(feature = "byzantine")]
#[test]
fn a_member_that_asks_for_every_split_and_epoch_gets_nothing_settled_that_others_did_not_cut() {
    let _seat = beside();
    block_on(async {
        let mut greedy = plan(4);
        greedy.extra = vec![(3, vec!["--ask-for-splits".to_owned()])];
        // Splits are lawful once nothing settled for five takeovers: longer than a busy machine stalls.
        greedy.params.extend([("takeoverSeconds", 12), ("forcedDeadlineBlocks", 70)]);
        // A rollup's reserve is for the bytes of so many seconds.
        greedy.params.push(("maxBatchBytes", 50_000));
        let mut session = session(greedy, 20.0).await;
        until("each agent has posted", || async { session.posters().len() == 4 }).await;
        session.stop_sending();
        crate::settle(&mut session).await;

        let headers = settled_headers(&session).await;
        assert!(headers.len() >= 4, "{headers:?}");
        let since: Vec<u64> = headers.iter().map(|header| header.regular_since.get()).collect();
        assert!(since.iter().all(|since| *since > 0), "{since:?}");
        let log = session.network.folder().join("agent-3/agent.log");
        let asked = std::fs::read_to_string(log).unwrap();
        assert!(asked.matches("asked the others for every split").count() > 10, "{asked}");
        for signer in session.network.signers() {
            let record = record(&session, signer).await;
            assert_eq!(record.status, SequencerStatus::Active, "{record:?}");
            assert!(record.stake_wei.to::<u128>() >= STAKE_WEI, "{record:?}");
        }
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled, report.slashes), (0, 0, 0), "{report:?}");
    });
}

/// Index of the agent whose turn it is.
async fn leader(session: &Session) -> usize {
    let agent = crate::client(session.network.rpc_urls()[0].clone());
    let status = agent.call("rota_status", json!([])).await.unwrap();
    let signer: Address = serde_json::from_value(status["leader"].clone()).unwrap();
    session.network.signers().iter().position(|known| *known == signer).unwrap()
}

async fn decided(agent: &RpcClient) -> u64 {
    match agent.call("eth_blockNumber", json!([])).await {
        Ok(height) => {
            u64::from_str_radix(height.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        }
        Err(_) => 0,
    }
}
