//! Whatever the order in which one account's transactions come to whatever agents, what is accepted is ordered.

use crate::agreement::BlockSource as _;
use crate::domain::{Params, RollupTransaction, SequencerId, SignedTransaction};
use crate::mempool::{Limits, Origin, Pool, admit_forwarded};
use crate::testing::{ROLLUP, Surroundings, key, transaction};
use alloy::primitives::Address;
use proptest::prelude::{ProptestConfig, Strategy, prop_oneof, proptest};
use std::collections::BTreeMap;

const AGENTS: usize = 3;
const ACCOUNTS: u8 = 2;

/// An agent that can end and begin anew. What it accepted is on its disk.
struct Agent {
    around: Surroundings,
    pool: Option<Pool>,
    accepted: Vec<RollupTransaction>,
}

impl Agent {
    fn new() -> Self {
        let mut agent = Self {
            around: Surroundings::new(Params::for_tests()),
            pool: None,
            accepted: Vec::new(),
        };
        agent.start();
        agent
    }

    fn start(&mut self) {
        if self.pool.is_some() {
            return;
        }
        let (store, mirror) = (self.around.store.clone(), self.around.mirror.clone());
        let pool = Pool::new(Limits::default(), store, mirror).unwrap();
        for one in &self.accepted {
            let _ = pool.admit_again(one.decode(1 << 16).unwrap(), Origin::Local);
        }
        self.pool = Some(pool);
    }

    fn submit(&mut self, one: &SignedTransaction) {
        if let Some(pool) = &self.pool
            && pool.admit(one.clone(), Origin::Local).is_ok()
        {
            self.accepted.push(one.transaction.clone());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Submit { to: usize, by: u8, nonce: u64 },
    Crash { who: usize },
    Start { who: usize },
    Forward { from: usize, to: usize },
    Lead { who: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..AGENTS, 1..=ACCOUNTS, 0_u64..5)
            .prop_map(|(to, by, nonce)| Step::Submit { to, by, nonce }),
        1 => (0..AGENTS).prop_map(|who| Step::Crash { who }),
        1 => (0..AGENTS).prop_map(|who| Step::Start { who }),
        3 => (0..AGENTS, 0..AGENTS).prop_map(|(from, to)| Step::Forward { from, to }),
        2 => (0..AGENTS).prop_map(|who| Step::Lead { who }),
    ]
}

fn forward(agents: &[Agent], from: usize, to: usize) {
    let (Some(source), Some(target)) = (&agents[from].pool, &agents[to].pool) else { return };
    let waiting = source.local_after(0, 1_000).into_iter().map(|(_, one)| one.transaction);
    assert!(admit_forwarded(target, SequencerId::new(9), &waiting.collect::<Vec<_>>()));
}

/// Decides what this agent proposes. The number of transactions in the block.
fn lead(agents: &[Agent], who: usize) -> usize {
    let Some(pool) = &agents[who].pool else { return 0 };
    let body: Vec<SignedTransaction> =
        pool.collect(1 << 20, &|_| true).iter().map(|one| one.decode(1 << 16).unwrap()).collect();
    let mut next: BTreeMap<Address, u64> = BTreeMap::new();
    for one in &body {
        let store = &agents[who].around.store;
        let expected = next
            .entry(one.sender)
            .or_insert_with(|| store.next_nonce(ROLLUP, one.sender).unwrap().unwrap_or(0));
        assert_eq!(one.nonce, *expected, "each transaction has its effect");
        *expected += 1;
    }
    if !body.is_empty() {
        for agent in agents {
            agent.around.decide(&body);
        }
    }
    body.len()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 64, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn what_is_accepted_anywhere_is_ordered_whatever_comes_first(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut agents: Vec<Agent> = (0..AGENTS).map(|_| Agent::new()).collect();
        for step in steps {
            match step {
                Step::Submit { to, by, nonce } => agents[to].submit(&transaction(&key(by), nonce)),
                Step::Crash { who } => agents[who].pool = None,
                Step::Start { who } => agents[who].start(),
                Step::Forward { from, to } => forward(&agents, from, to),
                Step::Lead { who } => {
                    lead(&agents, who);
                }
            }
        }
        // All agents are there, and lead in turn.
        agents.iter_mut().for_each(Agent::start);
        for leader in 0..AGENTS {
            for from in 0..AGENTS {
                forward(&agents, from, leader);
            }
            lead(&agents, leader);
        }
        for by in 1..=ACCOUNTS {
            let account = key(by).address();
            let accepted = |nonce| {
                let one = transaction(&key(by), nonce).transaction;
                agents.iter().any(|agent| agent.accepted.contains(&one))
            };
            // What has everything before it: nonce 0 is the first, whatever came first.
            let expected = (0..5).take_while(|nonce| accepted(*nonce)).count() as u64;
            for agent in &agents {
                let next = agent.around.store.next_nonce(ROLLUP, account).unwrap().unwrap_or(0);
                assert_eq!(next, expected);
                assert_eq!(agent.pool.as_ref().unwrap().pending_nonce(ROLLUP, account), expected);
            }
        }
    }
}

#[test]
fn a_nonce_that_comes_before_the_first_one_bricks_nobody() {
    let mut agents: Vec<Agent> = (0..2).map(|_| Agent::new()).collect();
    agents[1].submit(&transaction(&key(1), 1));
    assert_eq!(lead(&agents, 1), 0, "nonce 0 comes first");
    agents[0].submit(&transaction(&key(1), 0));
    assert_eq!(agents[0].accepted.len(), 1);
    assert_eq!(lead(&agents, 0), 1);
    assert_eq!(lead(&agents, 1), 1);
    assert_eq!(agents[0].around.store.next_nonce(ROLLUP, key(1).address()).unwrap(), Some(2));
}
