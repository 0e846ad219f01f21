use super::Intake;
use crate::agreement::BlockSource;
use crate::domain::{
    RollupId, RollupTransaction, SequencerId, SignedTransaction, TransactionError,
};
use crate::l1::Mirror;
use crate::mempool::{AdmissionPolicy, Limits, Origin, Pool, Refusal};
use crate::storage::Journal;
use crate::testing::{
    ROLLUP, Surroundings, forced, key, params, raw_priced, raw_transaction, transaction,
};
use std::sync::Arc;

fn start(around: &Surroundings) -> (Arc<Pool>, Intake, impl Future<Output = ()>) {
    let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone()).unwrap();
    let pool = Arc::new(pool);
    let (journal, held) = Journal::open(around.folder.path().join("journal")).unwrap();
    let (intake, thread) =
        Intake::start(Arc::clone(&pool), journal, held, Box::new(|| {})).unwrap();
    (pool, intake, thread)
}

fn collected(pool: &Pool) -> Vec<SignedTransaction> {
    let open = |_| true;
    let block = pool.collect(1 << 20, &open);
    block.iter().map(|tx| tx.decode(1 << 16).unwrap()).collect()
}

#[tokio::test]
async fn what_was_accepted_survives_the_process_until_it_is_decided() {
    let around = Surroundings::new(params());
    let (pool, intake, thread) = start(&around);
    let from = key(1);
    for nonce in 0..3 {
        let hash = intake.submit(ROLLUP, raw_transaction(&from, nonce)).await.unwrap();
        assert_eq!(hash, transaction(&from, nonce).hash);
    }
    assert_eq!(pool.pending_nonce(ROLLUP, from.address()), 3);
    drop((pool, intake));
    thread.await;

    around.decide(&[transaction(&from, 0)]);
    let (pool, intake, _) = start(&around);
    // The answer comes after what the journal held is back.
    intake.submit(ROLLUP, raw_transaction(&from, 3)).await.unwrap();
    assert_eq!(collected(&pool), [1, 2, 3].map(|nonce| transaction(&from, nonce)));
    assert!(pool.is_local(transaction(&from, 2).hash));
}

#[tokio::test]
async fn what_was_forced_leaves_the_pool_once_a_block_consumes_it() {
    let around = Surroundings::new(params());
    let (pool, intake, _) = start(&around);
    let from = key(1);
    for nonce in 0..2 {
        intake.submit(ROLLUP, raw_transaction(&from, nonce)).await.unwrap();
    }
    // Under another rollup than it was signed for it has no effect: nobody keeps others' transactions out that way.
    let first = transaction(&from, 0).transaction;
    let misplaced = RollupTransaction { rollup: RollupId::new(7), ..first.clone() };
    around.store.force_from(0, &[forced(0, misplaced), forced(1, first)], &[]).unwrap();
    around.decide_consuming(1, from.address(), &[]);
    assert_eq!(collected(&pool), [0, 1].map(|nonce| transaction(&from, nonce)));
    around.decide_consuming(1, from.address(), &[]);
    assert_eq!(collected(&pool), [transaction(&from, 1)]);
    assert_eq!(pool.pending_nonce(ROLLUP, from.address()), 2);
    // Whoever submits it again learns that it is known.
    let again = intake.submit(ROLLUP, raw_transaction(&from, 0)).await;
    assert_eq!(again.unwrap(), transaction(&from, 0).hash);
}

#[tokio::test]
async fn blocks_leave_the_pool_before_the_next_collection() {
    let around = Surroundings::new(params());
    let (pool, intake, _) = start(&around);
    let from = key(1);
    for nonce in 0..2 {
        intake.submit(ROLLUP, raw_transaction(&from, nonce)).await.unwrap();
    }
    assert!(pool.has_work());
    around.decide(&[transaction(&from, 0)]);
    assert_eq!(collected(&pool), [transaction(&from, 1)]);
    // Nonce 1 with another fee, as another agent's client sent it.
    let other = raw_priced(&from, 1, ROLLUP, 7);
    around.decide(&[SignedTransaction::decode(other, 1 << 16).unwrap()]);
    assert_eq!(collected(&pool), []);
    assert!(!pool.has_work());
    assert_eq!(pool.pending_nonce(ROLLUP, from.address()), 2);
}

#[tokio::test]
async fn submitting_again_is_answered_the_same() {
    let around = Surroundings::new(params());
    let (_pool, intake, _) = start(&around);
    let from = key(1);
    let hash = transaction(&from, 0).hash;
    assert_eq!(intake.submit(ROLLUP, raw_transaction(&from, 0)).await, Ok(hash));
    assert_eq!(intake.submit(ROLLUP, raw_transaction(&from, 0)).await, Ok(hash));
    around.decide(&[transaction(&from, 0)]);
    assert_eq!(intake.submit(ROLLUP, raw_transaction(&from, 0)).await, Ok(hash));
    let late = intake.submit(ROLLUP, raw_priced(&from, 0, ROLLUP, 5)).await;
    assert_eq!(late, Err(Refusal::NonceTooLow { expected: 1, actual: 0 }));
}

#[tokio::test]
async fn refuses_what_is_not_for_this_rollup_or_for_none() {
    let around = Surroundings::new(params());
    let (_pool, intake, _) = start(&around);
    let from = key(1);
    let other = RollupId::new(7);
    let raw = raw_priced(&from, 0, other, 1);
    assert_eq!(
        intake.submit(ROLLUP, raw.clone()).await,
        Err(Refusal::WrongRollup { expected: ROLLUP, actual: other })
    );
    assert_eq!(intake.submit(other, raw).await, Err(Refusal::UnknownRollup { rollup: other }));
    assert!(matches!(
        intake.submit(ROLLUP, vec![3, 0xc0].into()).await,
        Err(Refusal::Invalid(TransactionError::Blob))
    ));
    let mut forged = raw_transaction(&from, 0).to_vec();
    forged.truncate(forged.len() - 1);
    assert!(matches!(
        intake.submit(ROLLUP, forged.into()).await,
        Err(Refusal::Invalid(TransactionError::Malformed { .. }))
    ));
}

#[tokio::test]
async fn a_disk_that_fails_promises_nothing() {
    let around = Surroundings::new(params());
    let folder = around.folder.path().join("journal");
    let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone()).unwrap();
    let pool = Arc::new(pool);
    let (journal, held) = Journal::open(&folder).unwrap();
    let (intake, _) = Intake::start(Arc::clone(&pool), journal, held, Box::new(|| {})).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let from = key(1);
    let refused = intake.submit(ROLLUP, raw_transaction(&from, 0)).await;
    assert!(matches!(refused, Err(Refusal::NotStored { .. })), "{refused:?}");
    assert_eq!(pool.waiting().transactions, 0);

    std::fs::create_dir_all(&folder).unwrap();
    intake.submit(ROLLUP, raw_transaction(&from, 0)).await.unwrap();
}

#[tokio::test]
async fn remembers_whom_it_checked_already() {
    let around = Surroundings::new(params());
    let (pool, _, _) = start(&around);
    let known = transaction(&key(1), 0);
    assert_eq!(pool.known(ROLLUP, known.hash), None);
    pool.admit(known.clone(), Origin::Local).unwrap();
    let included = pool.known(ROLLUP, known.hash).unwrap();
    assert_eq!((included.sender, included.nonce), (known.sender, 0));
    assert_eq!(pool.known(RollupId::new(7), known.hash), None);
}

#[tokio::test]
async fn takes_nothing_that_no_block_can_hold() {
    let mut small = params();
    small.max_batch_bytes = 250;
    let around = Surroundings::new(small);
    let (pool, intake, _) = start(&around);
    let limit = pool.limits().transaction_bytes;
    assert_eq!(limit, 250 - 128 - 32);
    let raw = raw_transaction(&key(1), 0);
    let too_large = TransactionError::TooLarge { limit, actual: raw.len() };
    assert_eq!(intake.submit(ROLLUP, raw).await, Err(Refusal::Invalid(too_large)));
}

#[tokio::test]
async fn nothing_is_forwarded_before_it_is_on_disk() {
    let around = Surroundings::new(params());
    let (pool, intake, _) = start(&around);
    let accepted = pool.accepted();
    pool.admit(transaction(&key(2), 0), Origin::Peer(SequencerId::new(3))).unwrap();
    assert_eq!(*accepted.borrow(), 0);
    intake.submit(ROLLUP, raw_transaction(&key(1), 0)).await.unwrap();
    assert_eq!(*accepted.borrow(), 2);
    assert_eq!(pool.local_hashes(), [transaction(&key(1), 0).hash].into());
}

#[tokio::test]
async fn whoever_listens_has_heard_of_a_transaction_by_the_time_that_its_client_is_answered() {
    let around = Surroundings::new(params());
    let (pool, intake, _) = start(&around);
    intake.submit(ROLLUP, raw_transaction(&key(1), 0)).await.unwrap();
    let mut feed = pool.feed().listen();
    let hash = intake.submit(ROLLUP, raw_transaction(&key(1), 1)).await.unwrap();
    // A block takes it before anybody looks: it is told all the same, once, and not again when it is submitted again.
    let _ = around.decide(&collected(&pool));
    assert_eq!(pool.get(hash), None);
    assert_eq!(intake.submit(ROLLUP, raw_transaction(&key(1), 1)).await, Ok(hash));
    let told: Vec<_> = std::iter::from_fn(|| feed.try_recv().ok()).map(|one| one.hash).collect();
    assert_eq!(told, [hash]);
}

#[tokio::test]
async fn a_nonce_at_the_end_of_its_type_stops_nobody_from_wherever_it_comes() {
    let around = Surroundings::new(params());
    let last = RollupTransaction { rollup: ROLLUP, raw: raw_transaction(&key(1), u64::MAX) };
    // As an agent that still took it left it behind.
    let (mut journal, _) = Journal::open(around.folder.path().join("journal")).unwrap();
    journal.append(&[(last.hash(), &last)]).unwrap();
    drop(journal);
    let (pool, intake, _) = start(&around);
    let refused = Err(Refusal::Invalid(TransactionError::NoSuchNonce));
    assert_eq!(intake.submit(ROLLUP, last.raw).await, refused);
    intake.submit(ROLLUP, raw_transaction(&key(2), 0)).await.unwrap();
    assert_eq!(collected(&pool), [transaction(&key(2), 0)]);
}

#[tokio::test]
async fn a_replacement_that_is_not_stored_leaves_what_it_replaced() {
    let around = Surroundings::new(params());
    let folder = around.folder.path().join("journal");
    let (pool, intake, _) = start(&around);
    let from = key(1);
    let first = intake.submit(ROLLUP, raw_transaction(&from, 0)).await.unwrap();
    // The segment is closed by a folder that is gone, as soon as another is needed.
    let filler = raw_transaction(&key(2), 0);
    std::fs::remove_dir_all(&folder).unwrap();
    drop(intake);
    let (journal, _) = Journal::open(&folder).unwrap();
    let (intake, _) =
        Intake::start(Arc::clone(&pool), journal, Vec::new(), Box::new(|| {})).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let dearer = raw_priced(&from, 0, ROLLUP, 2_000_000_000);
    let refused = intake.submit(ROLLUP, dearer).await;
    assert!(matches!(refused, Err(Refusal::NotStored { .. })), "{refused:?}");
    assert!(pool.is_local(first), "it is still promised");
    assert!(matches!(intake.submit(ROLLUP, filler).await, Err(Refusal::NotStored { .. })));
    assert_eq!(collected(&pool), [transaction(&from, 0)]);
}

#[tokio::test]
async fn what_finds_no_room_after_a_start_stays_in_the_journal_and_comes_back() {
    let around = Surroundings::new(params());
    let (_, intake, thread) = start(&around);
    let all: Vec<_> = (1..=6).map(|by| transaction(&key(by), 0)).collect();
    for one in &all {
        intake.submit(ROLLUP, one.transaction.raw.clone()).await.unwrap();
    }
    drop(intake);
    thread.await;

    for _ in 0..2 {
        let limits = Limits { transactions: 2, ..Limits::default() };
        let pool = Pool::new(limits, around.store.clone(), around.mirror.clone()).unwrap();
        let pool = Arc::new(pool);
        let (journal, held) = Journal::open(around.folder.path().join("journal")).unwrap();
        let (intake, thread) =
            Intake::start(Arc::clone(&pool), journal, held, Box::new(|| {})).unwrap();
        while around.store.decided_tip().unwrap().unwrap().0.get() < 2 {
            let waiting = collected(&pool);
            assert!(waiting.len() <= 2);
            if let Some(first) = waiting.first() {
                around.decide(std::slice::from_ref(first));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(intake);
        thread.await;
    }
    // A process with room has the rest.
    let (pool, intake, _) = start(&around);
    intake.submit(ROLLUP, raw_transaction(&key(9), 0)).await.unwrap();
    let left: std::collections::HashSet<_> = collected(&pool).iter().map(|one| one.hash).collect();
    let undecided =
        all.iter().filter(|one| around.store.locate(ROLLUP, one.hash).unwrap().is_none());
    assert!(
        undecided.clone().count() == 4 && undecided.into_iter().all(|one| left.contains(&one.hash))
    );
}

/// Takes no transaction of one sender, and panics at it.
struct Fragile(alloy::primitives::Address);

impl AdmissionPolicy for Fragile {
    fn admit(&self, _: &Mirror, transaction: &SignedTransaction) -> Result<(), Refusal> {
        assert_ne!(transaction.sender, self.0, "as a bug would");
        Ok(())
    }
}

#[tokio::test]
async fn a_thread_that_panics_is_known_to_have_ended_with_all_that_it_held() {
    let around = Surroundings::new(params());
    let fragile = Fragile(key(2).address());
    let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone()).unwrap();
    let pool = Arc::new(pool.with_policy(fragile));
    let (journal, held) = Journal::open(around.folder.path().join("journal")).unwrap();
    let (intake, ended) = Intake::start(Arc::clone(&pool), journal, held, Box::new(|| {})).unwrap();
    let mut ended = std::pin::pin!(ended);
    intake.submit(ROLLUP, raw_transaction(&key(1), 0)).await.unwrap();
    let ends = futures::poll!(&mut ended);
    assert!(ends.is_pending(), "it works");
    let refused = intake.submit(ROLLUP, raw_transaction(&key(2), 0)).await;
    assert_eq!(refused, Err(Refusal::Stopping));
    ended.await;
    assert_eq!(Arc::strong_count(&pool), 1);
}

#[tokio::test]
async fn a_start_that_is_stopped_while_it_takes_entries_in_suspects_none() {
    let around = Surroundings::new(params());
    let folder = around.folder.path().join("journal");
    let (mut journal, _) = Journal::open(&folder).unwrap();
    let all: Vec<_> = (1..=3).map(|by| transaction(&key(by), 0)).collect();
    let listed: Vec<_> = all.iter().map(|one| (one.hash, &one.transaction)).collect();
    journal.append(&listed).unwrap();
    drop(journal);
    for _ in 0..10 {
        let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone());
        let pool = Arc::new(pool.unwrap());
        let (journal, held) = Journal::open(&folder).unwrap();
        // The first entry is taken in; before the second one the agent was told to stop.
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let step = Box::new(move || {
            let _ = gate.recv();
        });
        let (intake, ended) = Intake::start(Arc::clone(&pool), journal, held, step).unwrap();
        drop(intake);
        drop(go);
        ended.await;
        assert!(!folder.join("taking-in").exists(), "nothing is suspected");
    }
    let (pool, _intake, _) = start(&around);
    while pool.waiting().transactions < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
