#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use crate::crypto::Signature;
use crate::domain::{
    BatchHeader, BatchNumber, Certificate, Epoch, Generation, GenerationStart, Height, L1Block,
    Millis, Place, Round, Seconds, SettledBatch, SignedTransaction, Signer,
};
use crate::storage::{
    Attested, Ballot, BallotKind, BallotRecord, Horizon, IncludedTransaction, Store,
};
use crate::testing::{ROLLUP, Surroundings, batch_header, forced, key, params, transaction};
use alloy::primitives::{Address, B256};

const KEY: Address = Address::repeat_byte(7);
const SIGNATURE: Signature = Signature::from_compact([3; 64]);
const ALWAYS: Millis = Millis::new(u64::MAX);

fn before(height: u64) -> Horizon {
    let batches = BatchNumber::new(height);
    Horizon { blocks: Height::new(height), made_before: ALWAYS, batches }
}

fn prune(store: &Store, horizon: Horizon) {
    while store.prune(horizon).unwrap() {}
}

fn settled(height: u64) -> SettledBatch {
    SettledBatch {
        number: BatchNumber::new(height),
        header: BatchHeader { first_height: Height::new(height), ..batch_header(height) },
        poster: KEY,
        signers: 1,
        block: L1Block { number: height, hash: B256::ZERO, timestamp: Seconds::new(1) },
        tx_hash: B256::ZERO,
        parent_settled_at: Seconds::new(0),
        payload_bytes: 0,
        refund_wei: 0,
        late: false,
        led: false,
    }
}

fn ballot(kind: BallotKind, height: u64) -> Ballot {
    let (generation, round) = (Generation::new(0), Round::new(0));
    Ballot { signer: KEY, kind, generation, height: Height::new(height), round }
}

const RECORD: BallotRecord =
    BallotRecord { block_hash: [5; 32], pol_round: -1, signature: SIGNATURE };

/// All that an agent writes for a block: its votes, the block, its attestation, its settlement. A batch is a block.
fn live_through(around: &Surroundings, one: &SignedTransaction) -> u64 {
    let store = &around.store;
    let running = store.decided_tip().unwrap().unwrap().0.next();
    let height = running.get();
    let votes = [BallotKind::Prevote, BallotKind::Precommit].map(|kind| ballot(kind, height));
    let records = votes.map(|vote| (vote, RECORD));
    let generation = Generation::new(0);
    store.begin_engine_log(generation, running).unwrap();
    store.append_engine_log(generation, running, 0, &[vec![1; 200]], &records).unwrap();
    around.decide(std::slice::from_ref(one));
    let (hash, header) = store.header(running).unwrap().unwrap();
    let digest = B256::from(alloy::primitives::U256::from(height));
    let blocks = [(Height::new(height - 1), header.parent_hash), (running, hash)];
    let attested = store.record_attestation(KEY, generation, &blocks, digest, SIGNATURE).unwrap();
    assert_eq!(attested, Attested::Recorded);
    let batch = settled(height);
    store.keep_attestations([(&batch.header, digest, KEY, SIGNATURE)]).unwrap();
    store.settle(&[batch]).unwrap();
    height
}

/// Batches that the store lives through: a hundred thousand with `ROTA_SOAK_BATCHES=100000`, as `make soak-store` has it.
fn batches() -> u64 {
    std::env::var("ROTA_SOAK_BATCHES").map_or(2_000, |count| count.parse().unwrap())
}

#[test]
fn growth_stops_whatever_number_of_batches_settles() {
    const KEPT: u64 = 256;
    let around = Surroundings::in_memory(params());
    let store = &around.store;
    let (count, senders) = (batches(), 20);
    let mut largest = [0, 0];
    for number in 0..count {
        let (by, nonce) = (number % senders, number / senders);
        let height =
            live_through(&around, &transaction(&key(u8::try_from(by + 1).unwrap()), nonce));
        if height.is_multiple_of(8) {
            let settled = Height::new(height.saturating_sub(16));
            store.settled_for_good_before(settled).unwrap();
            prune(store, before(height.saturating_sub(KEPT)));
        }
        if height >= count / 3 {
            let half = usize::from(height >= count / 3 * 2);
            largest[half] = store.size().unwrap().max(largest[half]);
        }
    }
    let [early, late] = largest;
    assert!(late <= early, "the file grew from {early} to {late} bytes");
    // The same from within: of each table that grows with time there is what the last blocks need.
    let bound = usize::try_from(KEPT + 16).unwrap();
    let ballots = store.ballots_of(KEY).unwrap();
    assert!(ballots.len() <= 2 * bound, "{} votes", ballots.len());
    assert!(store.attested_of(KEY).unwrap().len() <= bound);
    assert!(store.attestations_from(Height::new(0)).unwrap().len() <= 32);
    let (oldest, newest) = store.settled_kept().unwrap().unwrap();
    assert!(newest.get() - oldest.get() <= KEPT + 16);
    for (table, most) in store.rows() {
        assert!(most <= u64::try_from(3 * bound).unwrap(), "{table} has {most} rows");
    }
    // And what must not be forgotten is there.
    for by in 0..senders {
        let of = key(u8::try_from(by + 1).unwrap()).address();
        let last = (count - by).div_ceil(senders);
        assert_eq!(store.next_nonce(ROLLUP, of).unwrap(), Some(last));
    }
}

#[test]
fn a_block_goes_with_all_that_was_kept_because_of_it_and_the_next_still_has_its_parent() {
    let around = Surroundings::new(params());
    let store = &around.store;
    let all: Vec<_> = (0..6).map(|nonce| transaction(&key(1), nonce)).collect();
    for one in &all {
        live_through(&around, one);
    }
    let hashes: Vec<_> =
        (0..=6).map(|height| store.header(Height::new(height)).unwrap().unwrap().0).collect();
    prune(store, before(4));
    assert_eq!(store.kept_from().unwrap(), Height::new(4));
    for height in 0..4_u64 {
        assert_eq!(store.block(Height::new(height)).unwrap(), None, "{height}");
        assert_eq!(store.rollup_view(ROLLUP, Height::new(height)).unwrap(), None);
    }
    let has_header = |height| store.header(Height::new(height)).unwrap().is_some();
    let kept: Vec<u64> = (0..=6).filter(|height| has_header(*height)).collect();
    assert_eq!(kept, [0, 3, 4, 5, 6], "block 0 tells the deployment, 3 is the parent of 4");
    let known = |height: usize| store.height_of(hashes[height]).unwrap().is_some();
    assert_eq!([0, 1, 2, 3, 4].map(known), [true, false, false, true, true]);
    for (index, one) in all.iter().enumerate() {
        let found = store.locate(ROLLUP, one.hash).unwrap().is_some();
        assert_eq!(found, index + 1 >= 4, "{index}");
    }
    let settled = |height| store.settled_at_height(Height::new(height)).unwrap();
    assert_eq!(
        [1, 3, 4, 6, 7].map(|height| settled(height).map(BatchNumber::get)),
        [None, None, Some(4), Some(6), None]
    );
    assert_eq!(store.next_nonce(ROLLUP, key(1).address()).unwrap(), Some(6));
    // The chain goes on, and nothing is ever taken twice.
    around.decide(&[transaction(&key(1), 6), all[0].clone()]);
    assert_eq!(store.next_nonce(ROLLUP, key(1).address()).unwrap(), Some(7));
}

#[test]
fn nothing_young_and_never_the_tip_goes() {
    let around = Surroundings::new(params());
    let store = &around.store;
    for nonce in 0..4 {
        live_through(&around, &transaction(&key(1), nonce));
    }
    let made = |height| store.header(Height::new(height)).unwrap().unwrap().1.timestamp;
    let old = Horizon { made_before: made(3), ..before(9) };
    prune(store, old);
    assert_eq!(store.kept_from().unwrap(), Height::new(3), "the third was made at that time");
    prune(store, before(9));
    assert_eq!(store.kept_from().unwrap(), Height::new(4));
    assert!(store.block(Height::new(4)).unwrap().is_some());
    prune(store, before(2));
    assert_eq!(store.kept_from().unwrap(), Height::new(4), "it never goes back");
}

#[test]
fn a_step_is_bounded_and_a_crash_between_two_of_them_leaves_a_whole_store() {
    let around = Surroundings::new(params());
    for nonce in 0..200 {
        live_through(&around, &transaction(&key(1), nonce));
    }
    assert!(around.store.prune(before(150)).unwrap());
    let after_one = around.store.kept_from().unwrap();
    assert_eq!(after_one, Height::new(super::STEP_BLOCKS));
    // The step rides: killed here, the store is as it was before.
    let remains = around.folder.path().join("remains.redb");
    around.store.back_up(&remains);
    let killed = Store::open(&remains).unwrap();
    let first = killed.kept_from().unwrap();
    assert!(first == Height::new(0) || first == after_one, "{first}");
    let votes = killed.ballots_of(KEY).unwrap();
    let free = votes.first().is_none_or(|(vote, _)| vote.height.get() > 1);
    assert_eq!(free, killed.signs_above(KEY).unwrap().is_some());
    prune(&killed, before(150));
    assert_eq!(killed.kept_from().unwrap(), Height::new(150));
}

#[test]
fn votes_of_every_kind_key_and_generation_go_through_the_height_and_no_further() {
    let around = Surroundings::new(params());
    let store = &around.store;
    let kinds = [BallotKind::Prevote, BallotKind::Precommit, BallotKind::Proposal];
    let mut all = Vec::new();
    for signer in [KEY, Address::ZERO, Address::repeat_byte(0xff)] {
        for kind in kinds {
            for generation in [0, 1, u32::MAX] {
                for height in 0..8 {
                    for round in [0, u32::MAX] {
                        let (generation, round) = (Generation::new(generation), Round::new(round));
                        let of = ballot(kind, height);
                        all.push(Ballot { signer, generation, round, ..of });
                    }
                }
            }
        }
    }
    for vote in &all {
        store.record_ballot(vote, &RECORD).unwrap();
    }
    store
        .write(|change| {
            while crate::storage::signed::drop_through(change, Height::new(5))? {}
            Ok(())
        })
        .unwrap();
    for vote in &all {
        let kept = store.ballot(vote).unwrap().is_some();
        assert_eq!(kept, vote.height.get() > 5, "{vote:?}");
    }
}

#[test]
fn entries_of_the_forced_queue_go_with_the_blocks_that_consumed_them() {
    let around = Surroundings::new(params());
    let store = &around.store;
    let entries: Vec<_> =
        (0..5).map(|index| forced(index, transaction(&key(1), index).transaction)).collect();
    store.force_from(0, &entries, &[]).unwrap();
    let by = Address::repeat_byte(1);
    around.decide_consuming(2, by, &[]);
    around.decide_consuming(1, by, &[]);
    around.decide_consuming(1, by, &[]);
    prune(store, before(3));
    assert_eq!(store.forced(0..9).unwrap(), entries[3..]);
    let place = |nonce| store.place_of(ROLLUP, transaction(&key(1), nonce).hash).unwrap();
    assert_eq!(place(1), None);
    assert_eq!(place(3), Some(Place::Forced { height: Height::new(3), entry: 3 }));
    assert_eq!(place(4), None, "nobody has consumed it");
    // Were L1 read again from its beginning, what is over would not count as waiting.
    store.force_from(0, &entries, &[]).unwrap();
    assert!(place(1).is_some());
}

#[test]
fn an_undone_block_stays_as_long_as_one_of_its_transactions_can_be_ordered() {
    let around = Surroundings::new(params());
    let store = &around.store;
    around.decide(&[transaction(&key(1), 0)]);
    around.decide(&[transaction(&key(1), 1)]);
    around.decide(&[transaction(&key(2), 0)]);
    let parent = store.header(Height::new(1)).unwrap().unwrap().0;
    store
        .begin_generation(&GenerationStart {
            generation: Generation::new(1),
            epoch: Epoch::new(0),
            last_height: Height::new(1),
            last_block_hash: parent,
            finished_in: L1Block { number: 5, hash: B256::ZERO, timestamp: Seconds::new(6) },
        })
        .unwrap();
    let decide = |transactions: &[SignedTransaction]| {
        let (tip, hash) = store.decided_tip().unwrap().unwrap();
        let mut header = crate::testing::header(tip.next().get(), hash);
        (header.generation, header.tx_count) =
            (Generation::new(1), transactions.len().try_into().unwrap());
        let body = transactions.iter().map(|one| one.transaction.clone()).collect();
        let included: Vec<_> = transactions.iter().map(IncludedTransaction::from).collect();
        let certificate =
            Certificate { round: Round::new(0), signatures: vec![(Signer([1; 20]), SIGNATURE)] };
        let block = crate::domain::Block { header, transactions: body };
        let decided = crate::domain::DecidedBlock { block, certificate };
        store.append_decided(&decided, &included).unwrap();
    };
    for _ in 0..4 {
        decide(&[]);
    }
    prune(store, before(4));
    assert_eq!(store.prune_undone().unwrap(), 0, "neither was ordered again");
    decide(&[transaction(&key(1), 1)]);
    assert_eq!(store.prune_undone().unwrap(), 1);
    assert_eq!(store.undone().unwrap(), [(Generation::new(0), Height::new(3))]);
    decide(&[transaction(&key(2), 0)]);
    assert_eq!(store.prune_undone().unwrap(), 1);
}

#[test]
fn a_batch_that_could_not_be_read_holds_up_nothing_that_comes_after_it() {
    let around = Surroundings::new(params());
    for nonce in 0..6 {
        live_through(&around, &transaction(&key(1), nonce));
    }
    let last_height = Height::new(u64::MAX);
    let (payload_hash, blocks_root) = (B256::ZERO, B256::ZERO);
    let header = BatchHeader { last_height, payload_hash, blocks_root, ..settled(2).header };
    around.store.settle(&[SettledBatch { header, ..settled(2) }]).unwrap();
    prune(&around.store, before(5));
    let (oldest, newest) = around.store.settled_kept().unwrap().unwrap();
    assert_eq!((oldest.get(), newest.get()), (5, 6));
}

/// Appends a block, with a certificate or as it comes from L1.
fn append(around: &Surroundings, certified: bool) {
    let (tip, hash) = around.store.decided_tip().unwrap().unwrap();
    let mut block = crate::testing::header(tip.next().get(), hash);
    block.tx_count = 0;
    let signatures = certified.then_some((Signer([1; 20]), SIGNATURE)).into_iter().collect();
    let certificate = Certificate { round: Round::new(0), signatures };
    let block = crate::domain::Block { header: block, transactions: Vec::new() };
    let decided = crate::domain::DecidedBlock { block, certificate };
    around.store.append_decided(&decided, &[]).unwrap();
}

#[test]
fn blocks_from_l1_hide_no_certificates_below_them() {
    let around = Surroundings::new(params());
    let from = || around.store.certified_from().unwrap().get();
    for certified in [true, true, false, false, true, false, true, true] {
        append(&around, certified);
        assert_eq!(from(), 0, "the first is certified");
    }
    // What is kept begins among those without a certificate, behind them, and with one again.
    for (kept, expected) in [(2, 2), (3, 5), (4, 5), (5, 5), (6, 7), (7, 7)] {
        prune(&around.store, before(kept));
        assert_eq!(around.store.kept_from().unwrap().get(), kept);
        assert_eq!(from(), expected, "kept from {kept}");
    }
}

#[test]
fn who_begins_with_blocks_from_l1_shows_those_after_them() {
    let around = Surroundings::new(params());
    for expected in [2, 3, 4] {
        append(&around, false);
        assert_eq!(around.store.certified_from().unwrap().get(), expected);
    }
    append(&around, true);
    append(&around, false);
    assert_eq!(around.store.certified_from().unwrap().get(), 4);
}
