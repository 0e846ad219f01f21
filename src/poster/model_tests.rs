//! The poster and its account against a model of a node's pool: whatever the pool does, and wherever the agent is killed,
//! what is certified settles, once, with a bounded number of transactions.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use super::{Poster, run};
use crate::attest::{Cut, LedgerHandle, Signed};
use crate::batch::{build_header, payload};
use crate::crypto::SigningDomain;
use crate::domain::{
    BatchNumber, Block, Certificate, DecidedBlock, Deployment, Epoch, Generation, Height, L1Block,
    LeaderSet, Member, Seconds, SettledTip,
};
use crate::l1::pool_model::{GWEI, Node, Rules, Shows};
use crate::l1::{self, Account, Client, Order};
use crate::testing::{Surroundings, header, key, params};
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::client::RpcClient;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CHAIN: u64 = 1;
const BLOCK: Duration = Duration::from_secs(1);
/// Batches of two heights each, and L1 blocks between two of them.
const BATCHES: u64 = 12;
const PACE: u64 = 4;
/// The most for a unit of gas. The base fee of these models goes up to half of it.
const LIMIT: l1::Fees = l1::Fees { max_fee_wei: 500 * GWEI, priority_fee_wei: 500 * GWEI };

/// One agent's poster and account, without the rest of the agent.
struct Agent {
    node: Node,
    around: Surroundings,
    ledger: LedgerHandle,
    batches: Vec<Cut>,
    set: Arc<LeaderSet>,
    path: PathBuf,
    domain: SigningDomain,
    running: Option<[JoinHandle<()>; 2]>,
    cut: usize,
}

fn deployment() -> Deployment {
    let [a, b, c, d, e, f, g] = [1, 2, 3, 4, 5, 6, 7].map(Address::repeat_byte);
    Deployment {
        chain_id: CHAIN,
        block: 1,
        stake_token: a,
        registry: b,
        settlement: c,
        tally: d,
        slasher: e,
        reward_pool: f,
        rollups: g,
        guardian: Address::ZERO,
    }
}

impl Agent {
    fn new(seed: u64, rules: Rules) -> Self {
        let mut params = params();
        params.epoch_seconds = 1_000_000;
        let around = Surroundings::new(params);
        let own = key(1).address();
        let members = vec![Member { signer: own, weight: 1 }];
        let set = LeaderSet::new(Generation::new(0), Epoch::new(0), B256::ZERO, members).unwrap();
        let set = Arc::new(set);
        around.mirror.update(|mirror| {
            mirror.sets.insert((Generation::new(0), Epoch::new(0)), Arc::clone(&set));
        });
        let domain = SigningDomain::new(CHAIN, deployment().settlement);
        let mut parent = header(0, B256::ZERO);
        let mut batches = Vec::new();
        for _ in 0..BATCHES {
            let mut blocks = Vec::new();
            for _ in 0..2 {
                let height = parent.height.next();
                let header = header(height.get(), parent.hash());
                let block = Block { header: header.clone(), transactions: Vec::new() };
                let certificate = Certificate::default();
                let decided = DecidedBlock { block: block.clone(), certificate };
                around.store.append_decided(&decided, &[]).unwrap();
                blocks.push(block);
                parent = header;
            }
            let payload = payload::encode_cheapest(&blocks).unwrap();
            let header = build_header(&blocks, Epoch::new(0), &payload).unwrap();
            let header = crate::testing::regular(header);
            let digest = domain.batch(&header);
            let (last_block_epoch, since) = (Epoch::new(0), header.regular_since);
            batches.push(Cut { header, digest, last_block_epoch, since });
        }
        let path = around.folder.path().join("l1-flights.json");
        let ledger = LedgerHandle::default();
        let empty = crate::attest::Ledger::new(Generation::new(0), Height::new(0), Epoch::new(0));
        *ledger.lock() = Some(empty);
        let node = Node::new(seed, rules, 5);
        Self { node, around, ledger, batches, set, path, domain, running: None, cut: 0 }
    }

    fn account(&self) -> Account {
        let client = Client::over(RpcClient::new(self.node.clone(), true), CHAIN);
        Account::new(client, &[1; 32]).unwrap().with_limit(LIMIT).owned(
            self.path.clone(),
            deployment().settlement,
            BLOCK,
        )
    }

    fn start(&mut self) -> Account {
        let account = self.account();
        let poster = Poster::new(
            account.clone(),
            key(1).address(),
            deployment(),
            self.around.mirror.clone(),
            self.around.store.clone(),
            self.ledger.clone(),
        );
        let shutdown = CancellationToken::new();
        self.running = Some([
            tokio::spawn(run(poster, shutdown.clone())),
            tokio::spawn(l1::keep(account.clone(), shutdown)),
        ]);
        account
    }

    /// As [`Agent::start`] of a second agent with the same key, which does not know all that this has signed.
    fn start_silent(&self, silence: Arc<AtomicBool>, folder: &Path) -> [JoinHandle<()>; 2] {
        let client = Client::over(RpcClient::new(self.node.clone(), true), CHAIN);
        let path = folder.join("l1-flights.json");
        let account = Account::new(client, &[1; 32])
            .unwrap()
            .with_limit(LIMIT)
            .owned(path, deployment().settlement, BLOCK)
            .silent_while(silence);
        let poster = Poster::new(
            account.clone(),
            key(1).address(),
            deployment(),
            self.around.mirror.clone(),
            self.around.store.clone(),
            self.ledger.clone(),
        );
        let shutdown = CancellationToken::new();
        [tokio::spawn(run(poster, shutdown.clone())), tokio::spawn(l1::keep(account, shutdown))]
    }

    /// Ends it in the middle of whatever it does.
    fn kill(&mut self) {
        for task in self.running.take().into_iter().flatten() {
            task.abort();
        }
    }

    /// One L1 block, and what the follower and the attester make of it, `lag` blocks late.
    async fn block(&mut self, lag: usize) {
        tokio::time::sleep(BLOCK).await;
        let seen = {
            let mut model = self.node.lock();
            model.mine();
            let last = model.blocks.len() - 1;
            model.blocks[last.saturating_sub(lag)].clone()
        };
        let due = usize::try_from(seen.number / PACE).unwrap().min(self.batches.len());
        let settled = Height::new(seen.settled);
        {
            let mut ledger = self.ledger.lock();
            let ledger = ledger.as_mut().unwrap();
            let _ = ledger.settle(settled, Epoch::new(0));
            for cut in &self.batches[self.cut..due] {
                ledger.push(cut.clone());
                let signature = key(1).sign(self.domain.batch(&cut.header));
                let own = key(1).address();
                let (header, digest) = (cut.header.clone(), cut.digest);
                ledger.add(Signed { header, digest, signer: own, signature }, &self.set).unwrap();
            }
            self.cut = self.cut.max(due);
        }
        self.around.mirror.update(|mirror| {
            let timestamp = Seconds::new(mirror.params.genesis + seen.number);
            mirror.head = Some(L1Block { number: seen.number, hash: seen.hash, timestamp });
            mirror.tip = Some(SettledTip {
                number: BatchNumber::new(settled.get() / 2),
                last_height: settled,
                last_block_hash: B256::ZERO,
                epoch: Epoch::new(0),
                timestamp,
                settled_at: timestamp,
            });
        });
    }

    fn settled(&self) -> u64 {
        self.node.lock().settled
    }
}

/// What holds whatever happens.
fn check(agent: &Agent, blocks: u64, context: &str) {
    let model = agent.node.lock();
    assert_eq!(model.settled, 2 * BATCHES, "not all has settled: {context}");
    assert_eq!(model.doubled, [], "a batch was on its way twice: {context}");
    assert_eq!(model.reverted, 0, "paid for nothing: {context}");
    let bound = 8 * BATCHES + blocks;
    assert!(model.sends <= bound, "{} transactions, at most {bound}: {context}", model.sends);
}

/// Runs until all has settled and the last thing that waits is included, killing the agent now and then for 100 blocks.
async fn run_to_the_end(seed: u64, rules: Rules, kills_in_hundred: u64, plant: u64) {
    let context = format!("seed {seed}, {rules:?}, kills {kills_in_hundred}, planted {plant}");
    let mut agent = Agent::new(seed, rules);
    for nonce in 5..5 + plant {
        let fees = l1::Fees { max_fee_wei: 120 * GWEI, priority_fee_wei: 2 * GWEI };
        agent.node.lock().plant(&stray(&agent, nonce, fees));
    }
    if plant > 0 {
        agent.node.lock().base = 240 * GWEI;
    }
    agent.start();
    let mut blocks = 0;
    while agent.settled() < 2 * BATCHES || agent.node.lock().waiting() > 0 {
        blocks += 1;
        assert!(blocks < 2_000, "it has not ended, {} settled: {context}", agent.settled());
        let lag = usize::try_from(agent.node.lock().random(2)).unwrap();
        agent.block(lag).await;
        let roll = agent.node.lock().random(100);
        if blocks < 100 && roll < kills_in_hundred {
            let pause = agent.node.lock().random(1_000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            agent.kill();
            // The file is lost too. Then the pool has to tell: one that hides what waits, or its content, or forgets,
            // cannot.
            let pool_tells =
                rules.shows == Shows::All && rules.forgets == 0 && rules.finds_by_nonce;
            if agent.node.lock().random(4) == 0 && pool_tells {
                let _ = std::fs::remove_file(&agent.path);
            }
            agent.start();
        }
    }
    check(&agent, blocks, &context);
    agent.kill();
}

/// A transaction of the agent's account that no process of it remembers.
fn stray(agent: &Agent, nonce: u64, fees: l1::Fees) -> Vec<u8> {
    let order = Order {
        to: Some(Address::repeat_byte(0xee)),
        value_wei: U256::ZERO,
        input: Bytes::new(),
        gas: Some(50_000),
        what: "",
    };
    agent.account().sign(&order, nonce, 50_000, fees).unwrap().1
}

#[tokio::test(start_paused = true)]
async fn settles_at_a_plain_node_without_a_replacement() {
    let rules = Rules::plain();
    let mut agent = Agent::new(1, rules);
    agent.start();
    let mut blocks = 0;
    while agent.settled() < 2 * BATCHES {
        blocks += 1;
        assert!(blocks < 200);
        agent.block(0).await;
    }
    check(&agent, blocks, "plain");
    assert!(agent.node.lock().sends <= 2 * BATCHES, "{} sends", agent.node.lock().sends);
    agent.kill();
}

#[tokio::test(start_paused = true)]
async fn what_was_stuck_before_a_restart_is_replaced() {
    for finds_by_nonce in [true, false] {
        let rules = Rules { finds_by_nonce, highest_base: 250, ..Rules::plain() };
        run_to_the_end(3, rules, 0, 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_minimum_tip_is_learned_and_paid() {
    for (tells_tip, names_minimum) in [(true, true), (false, true), (false, false)] {
        let min_tip = 3 * GWEI;
        let rules = Rules { tells_tip, names_minimum, min_tip, ..Rules::plain() };
        run_to_the_end(5, rules, 0, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_show_what_waits_raises_no_fee() {
    let rules = Rules { shows: Shows::Nothing, highest_base: 200, ..Rules::plain() };
    run_to_the_end(7, rules, 0, 0).await;
}

#[tokio::test(start_paused = true)]
async fn settles_once_whatever_the_pool_does_and_wherever_the_agent_is_killed() {
    let seeds = std::env::var("ROTA_POOL_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(80_u64) {
        let pick = |shift: u32, count: u64| (seed >> shift) % count;
        let rules = Rules {
            shows: [Shows::All, Shows::Late, Shows::Nothing][usize::try_from(seed % 3).unwrap()],
            min_tip: [1, GWEI, 5 * GWEI][usize::try_from(seed / 3 % 3).unwrap()],
            names_minimum: pick(1, 2) == 0,
            tells_tip: pick(2, 2) == 0,
            finds_by_nonce: pick(3, 2) == 0,
            fails: [0, 30, 120][usize::try_from(seed % 3).unwrap()],
            forgets: [0, 100][usize::try_from(pick(4, 2)).unwrap()],
            highest_base: 240,
        };
        run_to_the_end(seed, rules, 8, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_keeps_silent_sends_nothing_from_the_account_that_it_shares() {
    let mut agent = Agent::new(1, Rules::plain());
    let silence = Arc::new(AtomicBool::new(true));
    let folder = tempfile::tempdir().unwrap();
    let second = agent.start_silent(Arc::clone(&silence), folder.path());
    // What waits from elsewhere would be outbid, and the batches that are due would be posted.
    let fees = l1::Fees { max_fee_wei: 20 * GWEI, priority_fee_wei: 2 * GWEI };
    agent.node.lock().plant(&stray(&agent, 6, fees));
    for _ in 0..60 {
        agent.block(0).await;
    }
    assert_eq!(agent.node.lock().sends, 0);
    assert_eq!(agent.settled(), 0);
    // Once it may speak it does what is due.
    silence.store(false, Ordering::Relaxed);
    for _ in 0..200 {
        agent.block(0).await;
    }
    assert_eq!(agent.settled(), 2 * BATCHES);
    for task in second {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_l1_takes_back_and_pools_forget_is_shown_again() {
    let mut agent = Agent::new(1, Rules::plain());
    agent.start();
    while agent.settled() < 2 * BATCHES {
        agent.block(0).await;
    }
    // The account has seen by now that nothing is on its way, and there is nothing more to send.
    agent.block(0).await;
    agent.block(0).await;
    let forgotten = {
        let mut model = agent.node.lock();
        let blocks =
            model.blocks.iter().rev().take_while(|block| block.settled >= 2 * BATCHES).count();
        model.take_back(blocks);
        model.settled
    };
    assert!(forgotten < 2 * BATCHES);
    for _ in 0..300 {
        agent.block(0).await;
    }
    assert_eq!(agent.settled(), 2 * BATCHES);
    agent.kill();
}
