//! What owners, delegators and reporters do with the command line while a network runs, and what its agents do for them
//! without being asked: credit rewards, debit rollups, jail who stays away.

use crate::{STAKE_WEI, beside, block_on, key, plan, record, rota, session, until, wei};
use alloy::primitives::{U256, keccak256};
use rota::crypto::{SecretKey, SigningDomain};
use rota::devnet::{ROLLUP, Session};
use rota::domain::{Evidence, Generation, Height, Round, SequencerStatus, Vote, VoteType};
use rota::l1::{Account, actions};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The key of Anvil's second account, whose owner delegates.
const DELEGATOR_KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const ONE: u128 = 1_000_000_000_000_000_000;

#[test]
fn delegators_earn_absentees_are_jailed_and_reporters_are_paid() {
    let _seat = beside();
    block_on(async {
        let mut quick = plan(4);
        // Epochs so short that rewards are credited, and absence is seen, within minutes.
        quick.params = vec![
            ("epochSeconds", 20),
            ("idleBatchAgeSeconds", 20),
            ("jailSeconds", 5),
            // Time to look at a case before it is executed.
            ("correlationWindowSeconds", 20),
        ];
        let mut session = session(quick, 10.0).await;
        let params = rota(&session, DELEGATOR_KEY, 0, &["params"]);
        assert_eq!((&params["epochSeconds"], &params["jailSeconds"]), (&json!(20), &json!(5)));

        let id = delegate_and_set_terms(&session).await;
        pay(&session).await;
        stay_away_and_come_back(&mut session).await;
        earn(&session, id).await;
        report_with_a_commitment(&session).await;

        session.stop_sending();
        crate::settle(&mut session).await;
        let report = session.end().await;
        assert_eq!((report.lost, report.doubled), (0, 0), "{report:?}");
    });
}

/// Somebody delegates to the sequencer of agent 0, whose owner sets a commission and moves it. Returns its number.
async fn delegate_and_set_terms(session: &Session) -> String {
    let signer = session.network.signers()[0];
    let id = record(session, signer).await.id.to_string();
    let delegator: [u8; 32] = alloy::hex::decode(DELEGATOR_KEY).unwrap().try_into().unwrap();
    let delegator = Account::new(session.network.l1().clone(), &delegator).unwrap();
    let tokens = U256::from(100 * ONE);
    let deployment = session.network.deployment();
    actions::mint(&delegator, deployment, delegator.address(), tokens).await.unwrap();
    let dust = rota(session, DELEGATOR_KEY, 6, &["delegate", &id, "--amount", "0.5"]);
    assert!(dust["error"].as_str().unwrap().contains("AmountBelowUnit"), "{dust}");
    let delegated = rota(session, DELEGATOR_KEY, 0, &["delegate", &id, "--amount", "100"]);
    assert_eq!(delegated["sequencer"].to_string(), id, "{delegated}");
    assert!(record(session, signer).await.stake_wei >= U256::from(STAKE_WEI + 100 * ONE));

    let owner = key("owner", 0);
    let capped = rota(session, &owner, 0, &["cap", &id, "--set", "100.5"]);
    assert_eq!(capped["capWei"], json!((ONE * 201 / 2).to_string()), "{capped}");
    let beyond = rota(session, DELEGATOR_KEY, 6, &["delegate", &id, "--amount", "1"]);
    assert!(beyond["error"].as_str().unwrap().contains("DelegationAboveCap"), "{beyond}");
    let refused = rota(session, DELEGATOR_KEY, 6, &["cap", &id, "--none"]);
    assert!(refused["error"].as_str().unwrap().contains("NotOwner"), "{refused}");
    let open = rota(session, &owner, 0, &["cap", &id, "--none"]);
    assert_eq!(open["capWei"], Value::Null, "{open}");
    let refused = rota(session, DELEGATOR_KEY, 6, &["commission", &id, "--set", "4"]);
    assert!(refused["error"].as_str().unwrap().contains("NotOwner"), "{refused}");
    let refused = rota(session, &owner, 6, &["commission", &id, "--set", "5.01"]);
    assert!(refused["error"].as_str().unwrap().contains("CommissionRaiseTooLarge"), "{refused}");
    let raised = rota(session, &owner, 0, &["commission", &id, "--set", "4"]);
    assert_eq!(raised["nextBps"], 400, "{raised}");
    // It counts once whoever delegated could have left: longer than this test.
    assert_eq!(rota(session, DELEGATOR_KEY, 0, &["commission", &id])["bps"], 0);

    let endpoint = endpoint_of(session, &id).await;
    let somewhere = Command::new(env!("CARGO_BIN_EXE_rota"))
        .args(["endpoint", &id, "--set", "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2"])
        .output()
        .unwrap();
    let refusal = String::from_utf8_lossy(&somewhere.stderr).into_owned();
    assert_eq!(somewhere.status.code(), Some(2), "{refusal}");
    assert!(refusal.contains("--set") && refusal.contains("/p2p/<PeerId>"), "{refusal}");
    let moved = rota(session, &owner, 0, &["endpoint", &id, "--set", &endpoint]);
    assert_eq!(moved["endpoint"], json!(endpoint), "{moved}");
    id
}

/// What the registry announced last for a sequencer: it keeps endpoints in its events alone.
async fn endpoint_of(session: &Session, id: &str) -> String {
    let topic = keccak256("EndpointChanged(uint32,string)").to_string();
    let of = format!("0x{:064x}", id.parse::<u32>().unwrap());
    let registry = session.network.deployment().registry;
    let filter = json!({ "fromBlock": "0x0", "address": registry, "topics": [topic, of] });
    let l1 = crate::client(session.network.l1_url().clone());
    let logs = l1.call("eth_getLogs", json!([filter])).await.unwrap();
    let data = logs.as_array().unwrap().last().unwrap()["data"].as_str().unwrap();
    let data = alloy::hex::decode(data).unwrap();
    let length = usize::from(data[62]) * 256 + usize::from(data[63]);
    String::from_utf8(data[64..64 + length].to_vec()).unwrap()
}

/// Anybody adds to the reward pool and to a rollup's allowance, of which the agents debit what its bytes cost.
async fn pay(session: &Session) {
    let owner = key("owner", 1);
    let funded = rota(session, &owner, 0, &["fund", "--eth", "0.5"]);
    assert_eq!(wei(&funded["ethWei"]), ONE / 2, "{funded}");
    let before = allowance(session).await;
    rota(session, &owner, 0, &["rollup", "fund", &ROLLUP.to_string(), "--allowance", "1"]);
    let after = allowance(session).await;
    assert!(after + ONE / 10 > before + ONE, "{before} and 1 make {after}");
    until("settled bytes are debited", || async { allowance(session).await < after }).await;
}

/// The others jail agent 3 for its absence, and only it; its owner brings it back.
async fn stay_away_and_come_back(session: &mut Session) {
    let signers = session.network.signers();
    let absent = signers[3];
    let id = record(session, absent).await.id.to_string();
    let present = record(session, signers[1]).await.id.to_string();
    let spared = rota(session, DELEGATOR_KEY, 6, &["report", "missed-turns", &present]);
    assert!(spared["error"].as_str().unwrap().contains("NotAbsent"), "{spared}");

    session.network.kill(3).await;
    until("the absentee is jailed", || async {
        record(session, absent).await.status == SequencerStatus::Jailed
    })
    .await;
    let jailed = record(session, absent).await;
    let other = record(session, signers[1]).await;
    assert!(jailed.stake_wei < other.stake_wei, "a small share is gone: {jailed:?} {other:?}");
    for signer in &signers[..3] {
        assert_eq!(record(session, *signer).await.status, SequencerStatus::Active);
    }

    session.network.restart(3).unwrap();
    session.network.answering(crate::DEADLINE).await.unwrap();
    let other = rota(session, DELEGATOR_KEY, 6, &["unjail", &id]);
    assert!(other["error"].as_str().unwrap().contains("NotOwner"), "{other}");
    let l1 = crate::client(session.network.l1_url().clone());
    let block = l1.call("eth_blockNumber", json!([])).await.unwrap();
    let (then, wait) = (number(&block), 6);
    until("its term is served", || async {
        number(&l1.call("eth_blockNumber", json!([])).await.unwrap()) >= then + wait
    })
    .await;
    rota(session, &key("owner", 3), 0, &["unjail", &id]);
    assert_eq!(record(session, absent).await.status, SequencerStatus::Active);
}

/// Rewards of closed epochs are in the pool, whose delegator leaves with more than it brought; the owner has its part.
async fn earn(session: &Session, id: String) {
    let signer = session.network.signers()[0];
    until("an epoch is credited", || async {
        record(session, signer).await.stake_wei > U256::from(STAKE_WEI + 100 * ONE)
    })
    .await;
    let owner = key("owner", 0);
    let earned = rota(session, &owner, 0, &["rewards"]);
    let sequencers = earned["sequencers"].as_array().unwrap();
    assert_eq!(sequencers.len(), 1, "{earned}");
    assert_eq!(sequencers[0]["sequencer"].to_string(), id, "{earned}");
    let claimed = rota(session, &owner, 0, &["rewards", "--claim"]);
    assert_eq!(wei(&claimed["commissionWei"]), 0, "{claimed}");

    let left = rota(session, DELEGATOR_KEY, 0, &["undelegate", &id]);
    let exit = left["exit"].as_str().unwrap();
    let early = rota(session, DELEGATOR_KEY, 1, &["claim", "--exit", exit]);
    assert!(early["error"].as_str().unwrap().starts_with("exit "), "{early}");
    let again = rota(session, DELEGATOR_KEY, 1, &["undelegate", &id]);
    assert!(again["error"].as_str().unwrap().contains("has no stake"), "{again}");
}

/// Somebody proves a double vote that agent 2 never published, having committed to the case before.
async fn report_with_a_commitment(session: &Session) {
    let offender = session.network.signers()[2];
    let file = session.network.folder().join("evidence.json");
    let honest = double_vote(session, [b"a", b"a"]);
    write(&file, &honest);
    let path = file.to_str().unwrap();
    let refused = rota(session, DELEGATOR_KEY, 6, &["report", "evidence", path]);
    assert!(refused["error"].as_str().unwrap().contains("SameBlock"), "{refused}");

    write(&file, &double_vote(session, [b"a", b"b"]));
    let reported = rota(session, DELEGATOR_KEY, 0, &["report", "evidence", path, "--commit"]);
    let id = record(session, offender).await.id;
    assert_eq!(reported["sequencer"], id, "{reported}");
    assert_eq!(record(session, offender).await.status, SequencerStatus::Jailed);
    let again = rota(session, DELEGATOR_KEY, 6, &["report", "evidence", path]);
    assert!(again["error"].as_str().unwrap().contains("AlreadyReported"), "{again}");

    until("the agents execute the case", || async {
        record(session, offender).await.status == SequencerStatus::Tombstoned
    })
    .await;
    let paid = rota(session, DELEGATOR_KEY, 0, &["claim", "--bounty"]);
    // A tenth of 5 % and three times its weight, a little less than a quarter now that somebody delegated.
    assert!(wei(&paid["paidWei"]) >= STAKE_WEI * 75 / 1000, "{paid}");
}

/// Two precommits of agent 2 for one height and round.
fn double_vote(session: &Session, blocks: [&[u8]; 2]) -> Evidence {
    let deployment = session.network.deployment();
    let domain = SigningDomain::new(deployment.chain_id, deployment.settlement);
    let secret: [u8; 32] = alloy::hex::decode(key("signer", 2)).unwrap().try_into().unwrap();
    let secret = SecretKey::from_bytes(secret).unwrap();
    let [a, b] = blocks.map(|block| {
        let vote = Vote {
            generation: Generation::new(0),
            height: Height::new(1_000_000),
            round: Round::new(0),
            block_hash: keccak256(block),
        };
        let signature = secret.sign(domain.vote(VoteType::Precommit, &vote));
        (vote, signature)
    });
    Evidence::DoubleVote { offender: secret.address(), vote_type: VoteType::Precommit, a, b }
}

fn write(file: &Path, evidence: &Evidence) {
    fs::write(file, serde_json::to_string(evidence).unwrap()).unwrap();
}

/// What the development network's rollup has left, in wei of ETH.
async fn allowance(session: &Session) -> u128 {
    let (client, deployment) = (session.network.l1(), session.network.deployment());
    actions::rollup(client, deployment, ROLLUP).await.unwrap().allowance_wei.to()
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}
