//! The attester with messages of members who do not do as they should.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

use super::{AttestError, Attester, Cut, LedgerHandle, Message, Peers};
use crate::crypto::{SecretKey, SigningDomain};
use crate::domain::{
    BatchHeader, BatchNumber, Block, Certificate, DecidedBlock, Epoch, Evidence, Generation,
    Height, L1Block, LeaderSet, Member, Millis, PeerEndpoint, Seconds, SequencerId, SettledTip,
};
use crate::guard::Guard;
use crate::testing::{Surroundings, header, key, params};
use alloy::primitives::{Address, B256};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Three blocks are a batch: they are 23 s apart, and an idle batch ends after 45 s.
const BLOCKS: u64 = 9;

#[derive(Default)]
struct Sent(Mutex<Vec<Message>>);

impl Peers for Sent {
    fn send(&self, _: Address, message: Message) {
        self.0.lock().unwrap().push(message);
    }

    fn answer(&self, _: SequencerId, message: Message) {
        self.0.lock().unwrap().push(message);
    }
}

impl Sent {
    fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Member4 {
    around: Surroundings,
    attester: Attester,
    ledger: LedgerHandle,
    sent: Arc<Sent>,
    domain: SigningDomain,
    _evidence: mpsc::Receiver<Evidence>,
}

fn id(n: u8) -> SequencerId {
    SequencerId::new(n.into())
}

impl Member4 {
    /// The attester of the first of four members, who have decided some blocks.
    fn new() -> Self {
        let around = Surroundings::new(params());
        let (hash, mut parent) = around.store.header(Height::new(0)).unwrap().unwrap();
        let genesis_hash = hash;
        for height in 1..=BLOCKS {
            let timestamp = Millis::new(parent.timestamp.get() + 23_000);
            let header = crate::domain::BlockHeader {
                timestamp,
                tx_root: crate::domain::tx_root(&[]),
                ..header(height, parent.hash())
            };
            let block = Block { header: header.clone(), transactions: Vec::new() };
            let certificate = Certificate::default();
            around.store.append_decided(&DecidedBlock { block, certificate }, &[]).unwrap();
            parent = header;
        }
        let mut members: Vec<Member> =
            (1..=4).map(|n| Member { signer: key(n).address(), weight: 10 }).collect();
        members.sort_by_key(|member| member.signer);
        let (generation, epoch) = (Generation::new(0), Epoch::new(0));
        let set = LeaderSet::new(generation, epoch, B256::repeat_byte(3), members).unwrap();
        let timestamp = parent.timestamp.to_seconds();
        around.mirror.update(|mirror| {
            mirror.params.epoch_seconds = 1_000_000;
            mirror.sets.insert((generation, epoch), Arc::new(set));
            for n in 1..=4 {
                let signer = key(n).address();
                let (agreement, link) = (String::new(), String::new());
                mirror.peers.insert(signer, PeerEndpoint { id: id(n), signer, agreement, link });
            }
            // Late enough that all are admitted to post.
            let now = Seconds::new(timestamp.get() + 3_600);
            mirror.head = Some(L1Block { number: 9, hash: B256::ZERO, timestamp: now });
            mirror.tip = Some(SettledTip {
                number: BatchNumber::new(0),
                last_height: Height::new(0),
                last_block_hash: genesis_hash,
                epoch,
                timestamp: Seconds::new(1_700_000_000),
                settled_at: Seconds::new(1_700_000_000),
            });
        });
        let domain = SigningDomain::new(1, Address::repeat_byte(9));
        let guard = Arc::new(Guard::new(key(1), domain, around.store.clone()));
        let (found, evidence) = mpsc::channel(64);
        let (ledger, sent) = (LedgerHandle::default(), Arc::new(Sent::default()));
        let attester = Attester::new(
            around.mirror.clone(),
            around.store.clone(),
            guard,
            Arc::clone(&sent) as Arc<dyn Peers>,
            ledger.clone(),
            found,
        );
        let mut member = Self { around, attester, ledger, sent, domain, _evidence: evidence };
        member.attester.advance(Vec::new()).unwrap();
        member
    }

    fn cut(&self, index: usize) -> BatchHeader {
        self.ledger.lock().as_ref().unwrap().open()[index].header.clone()
    }

    fn signed(&self, key: &SecretKey, header: &BatchHeader) -> Message {
        let signature = key.sign(self.domain.batch(header));
        Message::Attestation { header: Box::new(header.clone()), signature }
    }

    fn is_certified(&self, index: usize) -> bool {
        let set = self.around.mirror.read().set_for(Generation::new(0), Epoch::new(0));
        let ledger = self.ledger.lock();
        let ledger = ledger.as_ref().unwrap();
        ledger.certificate(index, Epoch::new(0), Epoch::new(0), |_| set.clone()).is_some()
    }

    fn kept(&self) -> usize {
        self.around.store.attestations_from(Height::new(0)).unwrap().len()
    }
}

/// A header of other blocks.
fn forged(header: &BatchHeader, first: u64, last: u64, salt: u8) -> BatchHeader {
    BatchHeader {
        first_height: Height::new(first),
        last_height: Height::new(last),
        parent_block_hash: B256::repeat_byte(0xee),
        blocks_root: B256::repeat_byte(salt),
        last_block_hash: B256::repeat_byte(salt),
        ..header.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn attestations_of_decided_batches_count_and_are_kept() {
    let mut member = Member4::new();
    assert!(member.ledger.open() >= 2, "{} batches", member.ledger.open());
    let own = member.kept();
    let header = member.cut(0);
    let messages = (2..=3).map(|n| (id(n), member.signed(&key(n), &header))).collect();
    member.attester.advance(messages).unwrap();
    assert!(member.is_certified(0));
    assert_eq!(member.kept(), own + 2);
}

#[tokio::test(start_paused = true)]
async fn headers_that_nobody_decided_are_neither_counted_nor_kept_on_disk() {
    let mut member = Member4::new();
    let own = member.kept();
    let header = member.cut(0);
    for first in (20..400).step_by(2) {
        let salt = u8::try_from(first % 251).unwrap();
        let message = member.signed(&key(4), &forged(&header, first, first, salt));
        member.attester.advance(vec![(id(4), message)]).unwrap();
    }
    assert_eq!(member.kept(), own);
    assert_eq!(member.around.store.evidence().unwrap(), []);
    // Nobody else is hindered, nor the liar where it says what was decided.
    let messages = [2, 4].map(|n| (id(n), member.signed(&key(n), &header))).to_vec();
    member.attester.advance(messages).unwrap();
    assert!(member.is_certified(0));
}

#[tokio::test(start_paused = true)]
async fn a_short_batch_of_other_blocks_is_convicted_whichever_comes_first() {
    for false_first in [true, false] {
        let mut member = Member4::new();
        let decided = member.cut(0);
        let middle = decided.first_height.next().get();
        let short = forged(&decided, middle, middle, 7);
        let mut messages = vec![
            (id(4), member.signed(&key(4), &short)),
            (id(4), member.signed(&key(4), &decided)),
        ];
        if !false_first {
            messages.reverse();
        }
        member.attester.advance(messages).unwrap();
        let evidence = member.around.store.evidence().unwrap();
        assert_eq!(evidence.len(), 1, "false first: {false_first}");
        assert_eq!(evidence[0].offender(), key(4).address());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_more_than_its_share_waits_and_others_do_not() {
    let mut member = Member4::new();
    let header = member.cut(0);
    // Each asks to read all blocks, for a header that is not of them.
    let wide = |n: u64| BatchHeader {
        regular_since: Seconds::new(0),
        ..forged(&header, 1, BLOCKS, u8::try_from(n % 251).unwrap())
    };
    let wants: Vec<(SequencerId, Message)> =
        (0..17_000).map(|n| (id(4), Message::Want { header: Box::new(wide(n)) })).collect();
    member.attester.advance(wants).unwrap();
    member.sent.take();
    assert_eq!(member.attester.packed, 0, "none is of the decided blocks, as their headers tell");
    let raw = {
        let blocks: Vec<Block> = (header.first_height.get()..=header.last_height.get())
            .map(|height| member.around.store.block(Height::new(height)).unwrap().unwrap().block)
            .collect();
        let raw = crate::batch::payload::encode(&blocks, crate::batch::payload::Version::Raw);
        crate::batch::build_header(&blocks, header.epoch, &raw.unwrap()).unwrap()
    };
    let want = || Message::Want { header: Box::new(raw.clone()) };
    member.attester.advance(vec![(id(4), want())]).unwrap();
    let answers = |messages: Vec<Message>| {
        let is_raw = |message: &Message| matches!(message, Message::Attestation { header, .. } if **header == raw);
        messages.iter().filter(|message| is_raw(message)).count()
    };
    assert_eq!(answers(member.sent.take()), 0, "its share is used up");
    member.attester.advance(vec![(id(3), want())]).unwrap();
    assert_eq!(answers(member.sent.take()), 1, "another one is answered");
    tokio::time::advance(Duration::from_secs(1)).await;
    member.attester.advance(vec![(id(4), want())]).unwrap();
    assert_eq!(answers(member.sent.take()), 1, "what is signed already is said again for little");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_hash_costs_its_receiver_one_look_at_the_blocks_however_often_it_is_asked() {
    let mut member = Member4::new();
    let own = member.cut(0);
    let wrong = |n: u64| {
        let payload_hash = B256::from(alloy::primitives::U256::from(n));
        // All is as decided, but the hash; half of them say that they are regular.
        let regular_since = if n.is_multiple_of(2) { own.regular_since } else { Seconds::new(0) };
        BatchHeader { payload_hash, regular_since, ..own.clone() }
    };
    let wants: Vec<(SequencerId, Message)> =
        (0..1_000).map(|n| (id(4), Message::Want { header: Box::new(wrong(n)) })).collect();
    member.sent.take();
    member.attester.advance(wants).unwrap();
    assert_eq!(member.attester.packed, 1);
    let is_attestation = |message: &Message| matches!(message, Message::Attestation { .. });
    assert!(!member.sent.take().iter().any(is_attestation), "and nothing of it is signed");

    // Of whatever ranges it asks, what it may have packed is bounded by what it may cost.
    let last = own.last_height.get();
    let asked: Vec<_> = (1..=last)
        .flat_map(|first| (first..=last).map(move |last| (first, last)))
        .map(|(first, last)| {
            let at = |height| member.around.store.header(Height::new(height)).unwrap().unwrap();
            let ((_, begin), (last_block_hash, end)) = (at(first), at(last));
            BatchHeader {
                first_height: Height::new(first),
                last_height: Height::new(last),
                parent_block_hash: begin.parent_hash,
                last_block_hash,
                timestamp: end.timestamp.to_seconds(),
                regular_since: Seconds::new(0),
                ..own.clone()
            }
        })
        .collect();
    let (ranges, before) = (asked.len(), member.attester.packed);
    for _ in 0..5 {
        let again =
            asked.iter().map(|header| (id(4), Message::Want { header: Box::new(header.clone()) }));
        member.attester.advance(again.collect()).unwrap();
    }
    let packed = member.attester.packed - before;
    assert!(packed <= u64::try_from(ranges).unwrap(), "{packed} for {ranges} ranges");
}

#[tokio::test(start_paused = true)]
async fn the_raw_payload_is_asked_for_once_the_packed_one_finds_no_quorum() {
    let mut member = Member4::new();
    let packed = member.cut(0);
    let wanted = |messages: Vec<Message>| -> Vec<BatchHeader> {
        let mut headers: Vec<BatchHeader> = messages
            .into_iter()
            .filter_map(|message| match message {
                Message::Want { header } if header.first_height == packed.first_height => {
                    Some(*header)
                }
                _ => None,
            })
            .collect();
        headers.dedup();
        headers
    };
    let mut raw = None;
    for second in 0..40 {
        tokio::time::advance(Duration::from_secs(1)).await;
        member.attester.advance(Vec::new()).unwrap();
        let others: Vec<BatchHeader> =
            wanted(member.sent.take()).into_iter().filter(|one| *one != packed).collect();
        if let Some(header) = others.first() {
            assert!(second >= 19, "after {second} s");
            raw = Some(header.clone());
            break;
        }
    }
    let raw = raw.expect("the raw payload is asked for");
    assert_eq!(BatchHeader { payload_hash: packed.payload_hash, ..raw.clone() }, packed);
    let messages = (2..=3).map(|n| (id(n), member.signed(&key(n), &raw))).collect();
    member.attester.advance(messages).unwrap();
    assert!(member.is_certified(0), "two others and this agent have signed it");
}

/// What a member of the set is answered when it asks for a header.
fn answer_to(member: &mut Member4, header: &BatchHeader) -> bool {
    member.sent.take();
    let want = Message::Want { header: Box::new(header.clone()) };
    member.attester.advance(vec![(id(4), want)]).unwrap();
    member.sent.take().iter().any(
        |message| matches!(message, Message::Attestation { header: one, .. } if **one == *header),
    )
}

/// The header of other splits of the decided chain.
fn split(member: &Member4, first: u64, last: u64, regular_since: Seconds) -> BatchHeader {
    let blocks: Vec<Block> = (first..=last)
        .map(|height| member.around.store.block(Height::new(height)).unwrap().unwrap().block)
        .collect();
    let payload = crate::batch::payload::encode_cheapest(&blocks).unwrap();
    let header = crate::batch::build_header(&blocks, Epoch::new(0), &payload).unwrap();
    BatchHeader { regular_since, ..header }
}

fn at(member: &Member4, head: u64, settled_at: u64) {
    member.around.mirror.update(|mirror| {
        let timestamp = Seconds::new(head);
        mirror.head = Some(L1Block { number: 10, hash: B256::ZERO, timestamp });
        mirror.tip.as_mut().unwrap().settled_at = Seconds::new(settled_at);
    });
}

#[tokio::test(start_paused = true)]
async fn signs_regular_for_nothing_but_its_own_cut() {
    let mut member = Member4::new();
    let own = member.cut(0);
    let since = own.regular_since;
    assert_eq!(since, own.timestamp, "shown by its last block");
    let last = own.last_height.get();
    for (first, last) in [(1, 1), (1, last - 1), (1, last + 1), (2, last), (last, last + 1)] {
        let other = split(&member, first, last, since);
        assert!(!answer_to(&mut member, &other), "{first} to {last}");
    }
    let earlier = BatchHeader { regular_since: Seconds::new(since.get() - 1), ..own.clone() };
    assert!(!answer_to(&mut member, &earlier));
    let elsewhere = Epoch::new(1);
    member.around.mirror.update(|mirror| {
        let set = mirror.set_for(Generation::new(0), Epoch::new(0)).unwrap();
        mirror.sets.insert((Generation::new(0), elsewhere), set);
    });
    assert!(!answer_to(&mut member, &BatchHeader { epoch: elsewhere, ..own.clone() }));
    // Its own cuts, the first and what follows on it.
    let next = member.cut(1);
    assert!(answer_to(&mut member, &own));
    assert!(answer_to(&mut member, &next));
}

#[tokio::test(start_paused = true)]
async fn signs_what_is_not_regular_once_nobody_has_brought_what_is() {
    let mut member = Member4::new();
    let takeovers = 5 * member.around.mirror.read().params.takeover_seconds;
    let own = member.cut(0);
    let due = own.regular_since.get() + takeovers;
    let first = split(&member, 1, 1, Seconds::new(0));
    at(&member, due - 1, 0);
    assert!(!answer_to(&mut member, &first), "its batch may be posted by those whose turn it is");
    at(&member, due, due - takeovers + 1);
    assert!(!answer_to(&mut member, &first), "something settled since");
    // A split that ends in the next batch, and one of it alone.
    let next = member.cut(1);
    for (first, last) in
        [(1, next.first_height.get()), (next.first_height.get(), next.last_height.get() - 1)]
    {
        at(&member, next.regular_since.get() + takeovers - 1, 0);
        let other = split(&member, first, last, Seconds::new(0));
        assert!(!answer_to(&mut member, &other), "{first} to {last}");
    }
    at(&member, due, 0);
    assert!(answer_to(&mut member, &first));
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_batch_that_is_not_regular_waits_until_that_has_settled() {
    let mut member = Member4::new();
    let (own, next) = (member.cut(0), member.cut(1));
    // An outage of some epochs: the default epoch is too old now.
    let late = own.timestamp.get() + 100_000;
    member.around.mirror.update(|mirror| {
        let set = mirror.set_for(Generation::new(0), Epoch::new(0)).unwrap();
        mirror.params.epoch_seconds = 1_000;
        let head = L1Block { number: 9, hash: B256::ZERO, timestamp: Seconds::new(late) };
        (mirror.head, mirror.at_depth) = (Some(head), Some(head));
        let running = mirror.params.epoch_at(head.timestamp);
        mirror.sets.insert((Generation::new(0), running), set);
    });
    member.sent.take();
    member.attester.advance(Vec::new()).unwrap();
    let running = member.cut(0).epoch;
    assert_ne!(running, own.epoch);
    assert!(!member.cut(0).is_regular());
    assert_eq!((member.cut(1).epoch, member.cut(1).regular_since), (running, next.regular_since));
    let attested = |member: &Member4| -> Vec<BatchHeader> {
        let headers = member.sent.take().into_iter().filter_map(|message| match message {
            Message::Attestation { header, .. } => Some(*header),
            Message::Want { .. } => None,
        });
        headers.filter(|header| header.epoch == running).collect()
    };
    let (first, second) = (member.cut(0), member.cut(1));
    let sent = attested(&member);
    assert!(sent.contains(&first) && !sent.contains(&second));
    assert!(!answer_to(&mut member, &second));

    member.around.mirror.update(|mirror| {
        let tip = mirror.tip.as_mut().unwrap();
        (tip.number, tip.last_height) = (BatchNumber::new(1), first.last_height);
        (tip.last_block_hash, tip.epoch) = (first.last_block_hash, first.epoch);
    });
    member.attester.advance(Vec::new()).unwrap();
    assert!(attested(&member).contains(&second));
}

#[tokio::test(start_paused = true)]
async fn a_reorg_that_leaves_the_height_and_changes_the_epoch_of_the_tip_is_seen() {
    let mut member = Member4::new();
    let (first, second) = (member.cut(0), member.cut(1));
    let tip_in = |member: &Member4, epoch: u64| {
        member.around.mirror.update(|mirror| {
            let set = mirror.set_for(Generation::new(0), Epoch::new(0)).unwrap();
            mirror.sets.insert((Generation::new(0), Epoch::new(epoch)), set);
            let tip = mirror.tip.as_mut().unwrap();
            (tip.number, tip.last_height) = (BatchNumber::new(1), first.last_height);
            (tip.last_block_hash, tip.epoch) = (first.last_block_hash, Epoch::new(epoch));
        });
    };
    tip_in(&member, 0);
    member.attester.advance(Vec::new()).unwrap();
    assert_eq!(member.cut(0), second);
    // The same blocks, attested by another set, in one step of what L1 shows.
    tip_in(&member, 1);
    member.attester.advance(Vec::new()).unwrap();
    assert_eq!(member.cut(0).epoch, Epoch::new(1));
    assert!(answer_to(&mut member, &BatchHeader { epoch: Epoch::new(1), ..second }));
}

/// L1 shows that blocks up to this one have settled, as this one.
fn show_settled(member: &Member4, last: u64, as_block: Option<B256>) {
    let (decided, header) = member.around.store.header(Height::new(last)).unwrap().unwrap();
    member.around.mirror.update(|mirror| {
        let tip = mirror.tip.as_mut().unwrap();
        (tip.number, tip.last_height) = (BatchNumber::new(last), Height::new(last));
        tip.last_block_hash = as_block.unwrap_or(decided);
        tip.timestamp = header.timestamp.to_seconds();
    });
}

/// What an agent cuts that starts now.
fn cut_from_anew(member: &Member4) -> Vec<Cut> {
    let guard = Guard::new(key(1), member.domain, member.around.store.clone());
    let ledger = LedgerHandle::default();
    let mut attester = Attester::new(
        member.around.mirror.clone(),
        member.around.store.clone(),
        Arc::new(guard),
        Arc::new(Sent::default()),
        ledger.clone(),
        mpsc::channel(64).0,
    );
    attester.advance(Vec::new()).unwrap();
    let ledger = ledger.lock();
    ledger.as_ref().unwrap().open().iter().cloned().collect()
}

#[tokio::test(start_paused = true)]
async fn cuts_follow_from_the_settled_tip_alone_whatever_l1_showed_before_it() {
    let mut member = Member4::new();
    // Forward and back, to the ends of its own cuts and to those of others' splits, one after the other.
    let mut last = 0;
    for step in 1..=3 * (BLOCKS + 1) {
        last = (last + step * 7) % (BLOCKS + 1);
        show_settled(&member, last, None);
        member.attester.advance(Vec::new()).unwrap();
        let open: Vec<Cut> =
            member.ledger.lock().as_ref().unwrap().open().iter().cloned().collect();
        assert_eq!(open, cut_from_anew(&member), "settled through {last}");
        assert!(open.first().is_none_or(|cut| cut.header.first_height.get() == last + 1));
        assert!(last > 3 || open.len() >= 2, "{} above {last}", open.len());
        // What was signed is signed, and counts again.
        let ledger = member.ledger.lock();
        let ledger = ledger.as_ref().unwrap();
        for (index, cut) in open.iter().enumerate() {
            let set = member.around.mirror.read().set_for(Generation::new(0), cut.header.epoch);
            let missing = ledger.missing(index, &set.unwrap());
            assert!(!missing.contains(&key(1).address()), "{last}, {index}");
        }
    }
    assert_eq!(member.around.store.evidence().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn another_block_than_was_decided_is_noticed_where_the_cuts_would_go_on() {
    let mut member = Member4::new();
    let last = member.cut(0).last_height.get();
    let other = B256::repeat_byte(0xee);
    let noticed = |member: &mut Member4| {
        let noticed = member.attester.advance(Vec::new());
        matches!(noticed, Err(AttestError::Diverged { height, settled, .. })
            if height.get() == last && settled == other)
    };
    show_settled(&member, last, Some(other));
    assert!(noticed(&mut member), "it settled at the end of an own cut");
    show_settled(&member, last, None);
    member.attester.advance(Vec::new()).unwrap();
    // L1 takes it back, and shows another one in its place.
    show_settled(&member, last, Some(other));
    assert!(noticed(&mut member));
}
