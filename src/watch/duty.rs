//! What the duties have in common: whose agent it is, whose turn it is, and that none of them waits for another.

use super::turns::{patience, place_in_set, place_of_all};
use crate::domain::{Deployment, Params, Turn};
use crate::l1::{Account, L1Error, MirrorHandle};
use crate::storage::{Store, StoreError};
use alloy::primitives::Address;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The shortest and the longest pause between two looks of one duty.
const LOOK: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(120);
/// Doublings of the pause after failures in a row, up to the longest.
const MAX_DOUBLINGS: u32 = 8;
/// What was due and was not asked about for so long is taken for done by somebody else.
const FORGET: Duration = Duration::from_secs(3_600);

/// Why a duty was not done now.
#[derive(Debug, thiserror::Error)]
pub(super) enum DutyError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The agent for which duties are done.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) account: Account,
    /// The agent's own signer: its place in the sets says when its turn is.
    pub(super) signer: Address,
    pub(super) deployment: Deployment,
    pub(super) mirror: MirrorHandle,
    pub(super) store: Store,
}

/// Something that an agent does on L1 for everybody.
pub(super) trait Duty: Send {
    /// What logs call it.
    const NAME: &'static str;

    /// Does what is due now. It may wait for a transaction's inclusion: nobody waits for it.
    fn step(&mut self, agent: &Agent) -> impl Future<Output = Result<(), DutyError>> + Send;
}

/// Since when things are due that are not done: what patience counts from; and when each was last asked about.
#[derive(Debug)]
pub(super) struct Due<K>(BTreeMap<K, Since>);

#[derive(Debug)]
struct Since {
    due: Instant,
    asked: Instant,
}

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Due<K> {
    /// Whether something that is due has waited as long as those before this agent in the order may take for it.
    pub(super) fn is_turn(&mut self, agent: &Agent, what: K, seed: u64, params: &Params) -> bool {
        let now = Instant::now();
        let since = self.0.entry(what).or_insert(Since { due: now, asked: now });
        since.asked = now;
        let is_turn = since.due.elapsed() >= patience(params, agent.rank(seed));
        // What is not asked about any more was done by somebody. What is asked about now and then, among much else, still waits.
        self.0.retain(|_, since| since.asked.elapsed() < FORGET);
        is_turn
    }

    /// Takes note that it is done, or that L1 answered.
    pub(super) fn done(&mut self, what: K) {
        self.0.remove(&what);
    }
}

impl Agent {
    /// This agent's place in the order of the running set, behind all members if it is none; where nobody leads, in that of all who
    /// can be sealed.
    pub(super) fn rank(&self, seed: u64) -> u64 {
        let mirror = self.mirror.read();
        let set = mirror.head.and_then(|head| {
            mirror.set_for(mirror.generation(), mirror.params.epoch_at(head.timestamp))
        });
        match set.filter(|set| !set.members().is_empty()) {
            Some(set) => place_in_set(&set, self.signer, Turn::new(seed)),
            None => place_of_all(&mirror, self.signer, seed),
        }
    }
}

/// Does a duty at each change of L1 until `shutdown`. After a failure it pauses by itself, ever longer: other duties do not
/// notice.
pub(super) async fn keep_doing<D: Duty>(mut duty: D, agent: Agent, shutdown: CancellationToken) {
    let mut changes = agent.mirror.subscribe();
    let mut failures = 0_u32;
    loop {
        // Who keeps silent spends nothing: another agent may run with the same key. A duty that is done already may look due in what was kept since before the start.
        let is_ready = agent.mirror.read().is_ready() && !agent.account.is_silent();
        let result = tokio::select! {
            () = shutdown.cancelled() => return,
            result = duty.step(&agent), if is_ready => result,
            () = std::future::ready(()), if !is_ready => Ok(()),
        };
        let pause = match result {
            Ok(()) => {
                failures = 0;
                LOOK
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let pause = LOOK.saturating_mul(1 << failures.min(MAX_DOUBLINGS)).min(MAX_PAUSE);
                warn!(duty = D::NAME, %error, retry_in = ?pause, "duty not done");
                pause
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Without a change nothing new can be due but what patience waits for.
        let block = Duration::from_secs(agent.mirror.read().params.l1_block_seconds);
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Agent, Due, Duty, DutyError, keep_doing};
    use crate::domain::{Deployment, Epoch, Generation, L1Block, LeaderSet, Member, Seconds};
    use crate::l1::pool_model::{Node, Rules};
    use crate::l1::{Account, Client, L1Error, Refusal};
    use crate::testing::{Surroundings, key, params};
    use alloy::primitives::{Address, B256};
    use alloy::rpc::client::RpcClient;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    fn agent(around: &Surroundings, node: &Node) -> Agent {
        let account =
            Account::new(Client::over(RpcClient::new(node.clone(), true), 1), &[1; 32]).unwrap();
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
            rollups: address,
            guardian: address,
        };
        Agent {
            account,
            signer: key(1).address(),
            deployment,
            mirror: around.mirror.clone(),
            store: around.store.clone(),
        }
    }

    struct Fails(Arc<AtomicU32>);

    impl Duty for Fails {
        const NAME: &'static str = "fails";

        async fn step(&mut self, _: &Agent) -> Result<(), DutyError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let reason = "insufficient funds".to_owned();
            Err(L1Error::Refused { why: Refusal::NoFunds, code: -32_000, reason }.into())
        }
    }

    /// Waits for a receipt that never comes.
    struct Waits;

    impl Duty for Waits {
        const NAME: &'static str = "waits";

        async fn step(&mut self, _: &Agent) -> Result<(), DutyError> {
            std::future::pending().await
        }
    }

    struct Works(Arc<AtomicU32>);

    impl Duty for Works {
        const NAME: &'static str = "works";

        async fn step(&mut self, _: &Agent) -> Result<(), DutyError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_and_one_that_waits_delay_no_other() {
        let around = Surroundings::new(params());
        let node = Node::new(1, Rules::plain(), 0);
        let shutdown = CancellationToken::new();
        let [failed, worked] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let all = {
            let (one, two, three) =
                [0, 1, 2].map(|_| (agent(&around, &node), shutdown.clone())).into();
            let (failed, worked) = (Arc::clone(&failed), Arc::clone(&worked));
            tokio::spawn(async move {
                tokio::join!(
                    keep_doing(Fails(failed), one.0, one.1),
                    keep_doing(Waits, two.0, two.1),
                    keep_doing(Works(worked), three.0, three.1),
                )
            })
        };
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(worked.load(Ordering::Relaxed) >= 190, "{worked:?}");
        let failed = failed.load(Ordering::Relaxed);
        assert!((5..=12).contains(&failed), "{failed} tries in five minutes");
        shutdown.cancel();
        all.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_in_line_waits_for_its_turn() {
        let around = Surroundings::new(params());
        let node = Node::new(1, Rules::plain(), 0);
        let agent = agent(&around, &node);
        let mut due: Due<u8> = Due::default();
        assert!(due.is_turn(&agent, 1, 7, &params()), "without a set everybody is the first");
        let mut members: Vec<Member> =
            (1..=4).map(|n| Member { signer: key(n).address(), weight: 1 }).collect();
        members.sort_by_key(|member| member.signer);
        let (generation, epoch) = (Generation::new(0), Epoch::new(0));
        let set = LeaderSet::new(generation, epoch, B256::ZERO, members).unwrap();
        around.mirror.update(|mirror| {
            mirror.sets.insert((generation, epoch), Arc::new(set));
            let timestamp = Seconds::new(mirror.params.genesis);
            mirror.head = Some(L1Block { number: 1, hash: B256::ZERO, timestamp });
        });
        let seed = (0..100).find(|seed| agent.rank(*seed) == 2).unwrap();
        assert!(!due.is_turn(&agent, 2, seed, &params()));
        tokio::time::advance(super::patience(&params(), 2)).await;
        assert!(due.is_turn(&agent, 2, seed, &params()));
        due.done(2);
        assert!(!due.is_turn(&agent, 2, seed, &params()), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn of_much_that_is_due_at_once_each_has_its_turn() {
        let around = Surroundings::new(params());
        let node = Node::new(1, Rules::plain(), 0);
        let mut agent = agent(&around, &node);
        // L1 blocks of 12 s, and the last one of four in the order.
        let params =
            crate::domain::Params { l1_block_seconds: 12, epoch_seconds: 3_600, ..params() };
        around.mirror.update(|mirror| {
            for n in 1..=6 {
                mirror.joined(n.into(), key(n).address());
            }
        });
        agent.signer = key(6).address();
        assert_eq!(agent.rank(0), 5);
        let mut due: Due<u8> = Due::default();
        let mut had = std::collections::BTreeSet::new();
        for _ in 0..20 {
            for what in 0..10 {
                if due.is_turn(&agent, what, 0, &params) {
                    had.insert(what);
                }
            }
            tokio::time::advance(Duration::from_secs(12)).await;
        }
        assert_eq!(had.len(), 10, "each waits for 180 s, and no longer as there are others");
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_leads_one_after_the_other_does_what_is_due() {
        let around = Surroundings::new(params());
        let node = Node::new(1, Rules::plain(), 0);
        let mut agent = agent(&around, &node);
        around.mirror.update(|mirror| {
            for n in 1..=4 {
                mirror.joined(n.into(), key(n).address());
            }
        });
        let mut ranks = |seed: u64| {
            [1, 2, 3, 4].map(|n| {
                agent.signer = key(n).address();
                agent.rank(seed)
            })
        };
        assert_eq!((ranks(0), ranks(1)), ([0, 1, 2, 3], [3, 0, 1, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_watcher_asks_l1_little_however_many_members_there_are() {
        let around = Surroundings::new(params());
        let node = Node::new(1, Rules::plain(), 0);
        let agent = agent(&around, &node);
        let members =
            (1..=100).map(|n| Member { signer: Address::with_last_byte(n), weight: 1 }).collect();
        let (generation, epoch) = (Generation::new(0), Epoch::new(0));
        let set = LeaderSet::new(generation, epoch, B256::ZERO, members).unwrap();
        around.mirror.update(|mirror| {
            mirror.params.epoch_seconds = 1_000_000;
            mirror.sets.insert((generation, epoch), Arc::new(set));
        });
        let shutdown = CancellationToken::new();
        let watcher =
            crate::watch::Watcher { agent, restart_duty: crate::config::RestartDuty::All };
        let (_found, evidence) = mpsc::channel(1);
        let watching = tokio::spawn(crate::watch::run(watcher, evidence, shutdown.clone()));
        let seconds = 120;
        for second in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            around.mirror.update(|mirror| {
                let timestamp = Seconds::new(mirror.params.genesis.saturating_add(second));
                let head = L1Block { number: second, hash: B256::ZERO, timestamp };
                (mirror.head, mirror.at_depth) = (Some(head), Some(head));
            });
        }
        let reads = node.lock().reads;
        assert!((1..=3 * seconds).contains(&reads), "{reads} requests in {seconds} s");
        shutdown.cancel();
        watching.await.unwrap();
    }
}
