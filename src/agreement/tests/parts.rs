//! What the application believes of the parts that arrive, whoever sends them.

use crate::agreement::app::{App, Tools};
use crate::agreement::context::{Part, Proposal, RotaContext};
use crate::agreement::evidence::{EvidencePool, Heard, Witness};
use crate::agreement::heights::Heights;
use crate::agreement::streams::{cut, stream_id};
use crate::agreement::testing::{
    Chain, Everybody, Nothing, domain, l1_block, proposal, signed_proposal,
};
use crate::agreement::verify::RecoveringVerifier;
use crate::agreement::voice::Voice;
use crate::agreement::{Clock, Faults, Timeouts};
use crate::batch::body;
use crate::crypto::{SecretKey, Signature};
use crate::domain::{Block, Generation, Height, Millis, RollupTransaction, tx_root};
use crate::guard::Guard;
use crate::l1::MirrorHandle;
use crate::storage::Store;
use crate::testing::{key, transaction};
use alloy::primitives::B256;
use malachitebft_app_channel::app::types::streaming::{StreamId, StreamMessage};
use malachitebft_app_channel::app::types::{PeerId, ProposedValue};
use malachitebft_app_channel::{AppMsg, NetworkMsg};
use malachitebft_core_types::{Round, Validity};
use malachitebft_engine::util::streaming::StreamContent;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

type Message = StreamMessage<Part>;
type Told = Option<ProposedValue<RotaContext>>;

/// What its clock shows at first: long after the L1 of these tests.
const STARTED: u64 = 2_000_000;

/// An application at height 8 that only hears.
struct Listener {
    app: App,
    chain: Chain,
    clock: Clock,
    mirror: MirrorHandle,
    nudged: Arc<AtomicBool>,
    /// Who lets messages through to the engine.
    witness: Witness,
    /// Where its clock started; it runs on.
    time: Arc<AtomicU64>,
    _sent: mpsc::Receiver<NetworkMsg<RotaContext>>,
    _folder: TempDir,
}

impl Listener {
    async fn new() -> Self {
        let chain = Chain::new(4);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("rota.redb")).unwrap();
        let (clock, nudged) = (Clock::default(), Arc::new(AtomicBool::new(false)));
        let nudges = Arc::clone(&nudged);
        let time = Arc::new(AtomicU64::new(STARTED));
        let (shown, since) = (Arc::clone(&time), Instant::now());
        let params = chain.mirror().params;
        let mirror = MirrorHandle::new(chain.mirror());
        let heights = Heights::default();
        let generation = Generation::new(0);
        let verifier = RecoveringVerifier::new(generation, domain(), heights.clone());
        let pool = EvidencePool::new(generation, verifier.clone(), heights.clone());
        let witness = Witness::new(pool).0;
        let (network, sent) = mpsc::channel(64);
        let guard = Arc::new(Guard::new(key(9), domain(), store.clone()));
        let told = watch::Sender::default();
        let voice = Voice::new(None, mirror.clone(), guard.clone(), store.clone(), told, false);
        let tools = Tools {
            address: guard.address(),
            params,
            start: None,
            timeouts: Timeouts::for_interval(Duration::from_millis(250)),
            reach: Arc::new(Everybody),
            guard,
            voice,
            mirror: mirror.clone(),
            store,
            source: Arc::new(Nothing::default()),
            heights,
            decided: watch::channel(Height::new(7)).0,
            network,
            verifier,
            witness: witness.clone(),
            clock: clock.clone(),
            nudge: Box::new(move || nudges.store(true, Ordering::SeqCst)),
            time: Box::new(move || {
                let passed = u64::try_from(since.elapsed().as_millis()).unwrap();
                Millis::new(shown.load(Ordering::SeqCst) + passed)
            }),
            faults: Faults::default(),
        };
        let parent = chain.parent();
        let hash = parent.hash();
        let mut app = App::new(tools, (parent, hash));
        let (reply, _started) = oneshot::channel();
        app.on(AppMsg::ConsensusReady { reply }).await.unwrap();
        app.start_when_due().await.unwrap();
        let _sent = sent;
        Self { app, chain, clock, mirror, nudged, witness, time, _sent, _folder: folder }
    }

    /// What the engine is told because the application asked to be asked.
    async fn is_asked_again(&mut self) -> Told {
        self.app.start_when_due().await.unwrap();
        if !self.nudged.swap(false, Ordering::SeqCst) {
            return None;
        }
        let nothing = StreamMessage::new(StreamId::new(Vec::new().into()), 0, StreamContent::Fin);
        self.hears(peer(0), nothing).await
    }

    async fn hears(&mut self, from: PeerId, message: Message) -> Told {
        self.app.part(from, message).await.unwrap()
    }

    async fn hears_all(
        &mut self,
        from: PeerId,
        messages: Vec<Message>,
    ) -> Vec<ProposedValue<RotaContext>> {
        let mut told = Vec::new();
        for message in messages {
            told.extend(self.hears(from, message).await);
        }
        told
    }
}

fn peer(n: u8) -> PeerId {
    let keys = libp2p::identity::Keypair::ed25519_from_bytes([n + 1; 32]).unwrap();
    PeerId::from_bytes(&keys.public().to_peer_id().to_bytes()).unwrap()
}

fn transactions(count: u64) -> Vec<RollupTransaction> {
    (0..count).map(|nonce| transaction(&key(0x77), nonce).transaction).collect()
}

fn messages(
    (proposal, signature): (Proposal, Signature),
    block: &Block,
    attempt: u64,
) -> Vec<Message> {
    let id = stream_id(block.header.hash(), Round::ZERO, attempt);
    cut(&id, proposal, signature, &body::encode(&block.transactions))
}

/// A block as its round's proposer sends it.
fn honest(chain: &Chain, round: u32, block: &Block) -> Vec<Message> {
    let signed = signed_proposal(chain, round, block);
    messages((signed.message().clone(), signed.signature()), block, 1)
}

fn junk(chain: &Chain, round: u32, salt: u64) -> Block {
    let mut block = chain.block(round, Vec::new());
    block.header.parent_hash = B256::from(alloy::primitives::U256::from(salt));
    block
}

#[tokio::test]
async fn a_block_of_the_rounds_proposer_is_told_whoever_sends_it() {
    let mut listener = Listener::new().await;
    let block = listener.chain.block(0, transactions(3));
    let all = honest(&listener.chain, 0, &block);
    let told = listener.hears_all(peer(3), all.clone()).await;
    let [value] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((value.value.hash(), value.validity), (block.header.hash(), Validity::Valid));
    assert_eq!(listener.hears_all(peer(2), all).await, vec![], "once");
}

#[tokio::test]
async fn two_junk_headers_in_the_name_of_each_round_keep_no_honest_block_out() {
    let mut listener = Listener::new().await;
    let stranger = key(0x55);
    for round in 0..8 {
        for salt in 0..2 {
            let block = junk(&listener.chain, round, salt);
            let claimed = listener.chain.proposer(round).address();
            let forged = proposal(&stranger, claimed, &block.header, Round::new(round), Round::Nil);
            let told = listener.hears_all(peer(1), messages(forged, &block, salt)).await;
            assert_eq!(told, vec![], "the engine was told a block that nobody signed");
        }
    }
    let block = listener.chain.block(0, transactions(1));
    let all = honest(&listener.chain, 0, &block);
    assert_eq!(listener.hears_all(peer(2), all).await.len(), 1);
}

#[tokio::test]
async fn a_member_names_no_block_in_a_round_of_another() {
    let mut listener = Listener::new().await;
    let member = listener.chain.proposer(1);
    let mut block = listener.chain.block(1, Vec::new());
    let own = |block: &Block, round: u32| {
        proposal(&member, member.address(), &block.header, Round::new(round), Round::Nil)
    };
    for round in [0, 2, 3, 4] {
        let early = messages(own(&block, round), &block, 1);
        assert_eq!(listener.hears_all(peer(1), early).await, vec![], "round {round}");
    }
    block.header.height = block.header.height.next();
    let later = messages(own(&block, 0), &block, 2);
    assert_eq!(listener.hears_all(peer(1), later).await, vec![], "another height");
}

#[tokio::test]
async fn a_foreign_body_under_a_true_header_speaks_against_nobody() {
    let mut listener = Listener::new().await;
    let block = listener.chain.block(0, transactions(2));
    let other = Block { transactions: transactions(1), ..block.clone() };
    let signed = signed_proposal(&listener.chain, 0, &block);
    let mixed = messages((signed.message().clone(), signed.signature()), &other, 7);
    assert_eq!(listener.hears_all(peer(1), mixed).await, vec![]);
    let all = honest(&listener.chain, 0, &block);
    assert_eq!(listener.hears_all(peer(2), all).await.len(), 1);
}

#[tokio::test]
async fn an_invalid_block_that_its_proposer_signed_is_told_as_invalid_once() {
    let mut listener = Listener::new().await;
    let block = junk(&listener.chain, 0, 5);
    let all = honest(&listener.chain, 0, &block);
    let told = listener.hears_all(peer(1), all.clone()).await;
    assert_eq!(told.iter().map(|value| value.validity).collect::<Vec<_>>(), [Validity::Invalid]);
    assert_eq!(listener.hears_all(peer(2), all).await, vec![], "replayed");
}

#[tokio::test]
async fn of_two_blocks_of_one_proposer_in_one_round_the_engine_is_told_the_first() {
    let mut listener = Listener::new().await;
    let (a, b) =
        (listener.chain.block(0, transactions(1)), listener.chain.block(0, transactions(2)));
    let (first, second) = (honest(&listener.chain, 0, &a), honest(&listener.chain, 0, &b));
    assert_eq!(listener.hears_all(peer(1), first).await.len(), 1);
    assert_eq!(listener.hears_all(peer(1), second).await, vec![]);
}

#[tokio::test]
async fn blocks_with_a_far_origin_fill_nothing_that_others_need() {
    let mut listener = Listener::new().await;
    let member = listener.chain.proposer(1);
    for salt in 0..200_u64 {
        let round = 1 + 4 * u32::try_from(salt % 2).unwrap();
        let mut block = junk(&listener.chain, 1, salt);
        block.header.parent_hash = listener.chain.parent().hash();
        block.header.l1_origin_number = 1_000_000 + salt;
        let by = proposal(&member, member.address(), &block.header, Round::new(round), Round::Nil);
        assert_eq!(listener.hears_all(peer(1), messages(by, &block, salt)).await, vec![]);
    }
    let block = listener.chain.block(0, transactions(1));
    let all = honest(&listener.chain, 0, &block);
    assert_eq!(listener.hears_all(peer(2), all).await.len(), 1);
}

#[tokio::test]
async fn a_block_is_proposed_again_by_the_next_proposer_under_its_own_signature() {
    let mut listener = Listener::new().await;
    let block = listener.chain.block(0, transactions(1));
    let again = listener.chain.proposer(1);
    let by = proposal(&again, again.address(), &block.header, Round::new(1), Round::ZERO);
    let told = listener.hears_all(peer(1), messages(by, &block, 1)).await;
    let [value] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((value.round, value.valid_round), (Round::new(1), Round::ZERO));
    assert_eq!(value.proposer.0, again.address().0.0);

    let stolen = proposal(&again, again.address(), &block.header, Round::new(5), Round::Nil);
    let told = listener.hears_all(peer(1), messages(stolen, &block, 2)).await;
    assert_eq!(told, vec![], "without an earlier quorum a block is its proposer's own");
}

#[tokio::test]
async fn a_block_whose_origin_is_not_at_depth_yet_is_told_once_it_is() {
    let mut listener = Listener::new().await;
    let mut block = listener.chain.block(0, Vec::new());
    let origin = l1_block(10);
    block.header.l1_origin_number = origin.number;
    block.header.l1_origin_hash = origin.hash;
    block.header.timestamp = origin.timestamp.to_millis();
    let all = honest(&listener.chain, 0, &block);
    assert_eq!(listener.hears_all(peer(1), all).await, vec![]);
    assert_eq!(listener.is_asked_again().await, None);

    listener.mirror.update(|mirror| mirror.at_depth = Some(l1_block(10)));
    listener.app.look_at_l1();
    let told = listener.is_asked_again().await.unwrap();
    assert_eq!((told.value.hash(), told.validity), (block.header.hash(), Validity::Valid));
    assert_eq!(listener.is_asked_again().await, None);
}

#[tokio::test]
async fn a_block_ahead_of_the_clock_is_told_once_the_clock_has_caught_up() {
    const AHEAD: u64 = 1_000_000;
    let mut listener = Listener::new().await;
    let drift = listener.mirror.read().params.drift().get();
    let mut block = listener.chain.block(0, Vec::new());
    block.header.timestamp = Millis::new(STARTED + drift + AHEAD);
    let all = honest(&listener.chain, 0, &block);
    assert_eq!(listener.hears_all(peer(1), all).await, vec![]);
    assert_eq!(listener.is_asked_again().await, None);
    let again = listener.app.start_when_due().await.unwrap();
    assert!(again.is_some_and(|at| at <= Instant::now() + Duration::from_secs(1)), "{again:?}");

    listener.time.store(STARTED + AHEAD, Ordering::SeqCst);
    let told = listener.is_asked_again().await.unwrap();
    assert_eq!((told.value.hash(), told.validity), (block.header.hash(), Validity::Valid));
}

#[tokio::test]
async fn the_proposal_of_a_block_that_came_early_is_still_heard() {
    let mut listener = Listener::new().await;
    let by = listener.chain.proposer(1);
    let mut block = listener.chain.block(1, transactions(1));
    block.header.height = block.header.height.next();
    let signed = proposal(&by, by.address(), &block.header, Round::ZERO, Round::Nil);
    let (message, signature) = signed.clone();
    assert_eq!(listener.hears_all(peer(1), messages(signed, &block, 1)).await, vec![]);
    assert_eq!(listener.witness.proposal(&message, signature), Heard::Signed);
    assert_eq!(listener.witness.proposal(&message, signature), Heard::Useless, "once");
}

#[tokio::test]
async fn an_agent_whose_clock_is_off_sees_it_in_what_others_propose() {
    for off in [20_000, -20_000] {
        let mut listener = Listener::new().await;
        let drift = listener.mirror.read().params.drift();
        let first = listener.chain.block(0, Vec::new());
        // The proposer of the next height, as far as anybody knows by now.
        let mut second = listener.chain.block(1, Vec::new());
        second.header.height = first.header.height.next();
        for (round, mut block) in [(0, first), (1, second)] {
            let now = listener.time.load(Ordering::SeqCst);
            block.header.timestamp = Millis::new(now.saturating_sub_signed(off));
            let by = listener.chain.proposer(round);
            let signed = proposal(&by, by.address(), &block.header, Round::ZERO, Round::Nil);
            listener.hears_all(peer(1), messages(signed, &block, 1)).await;
        }
        let fault = listener.clock.fault(drift).expect("it is noticed");
        assert_eq!(fault.millis.signum(), off.signum(), "{fault:?}");
    }
}

/// One thing that somebody hostile does.
#[derive(Clone, Debug)]
enum Move {
    /// The next honest message, from the honest proposer.
    Honest,
    /// A stream as any key signs it, in any name, for any round and height.
    Stream {
        by: u8,
        as_member: u8,
        round: u32,
        earlier: Option<u32>,
        height: u8,
        body: u8,
        from: u8,
    },
    /// A message that was sent before, by somebody else, at another place, or in pieces of another stream.
    Replay { which: Index, from: u8, sequence: Option<u8>, stream: Option<Index> },
    /// A piece of nothing.
    Body { from: u8, id: u8, sequence: u8 },
}

fn moves() -> impl Strategy<Value = Move> {
    let stream = (
        0..6_u8,
        0..4_u8,
        prop_oneof![0..5_u32, Just(10), Just(u32::MAX)],
        proptest::option::of(0..3_u32),
        6..12_u8,
        0..4_u8,
        1..4_u8,
    )
        .prop_map(|(by, as_member, round, earlier, height, body, from)| Move::Stream {
            by,
            as_member,
            round,
            earlier,
            height,
            body,
            from,
        });
    let replay = (
        any::<Index>(),
        1..4_u8,
        proptest::option::of(0..5_u8),
        proptest::option::of(any::<Index>()),
    )
        .prop_map(|(which, from, sequence, stream)| Move::Replay {
            which,
            from,
            sequence,
            stream,
        });
    let body = (1..4_u8, any::<u8>(), 0..5_u8).prop_map(|(from, id, sequence)| Move::Body {
        from,
        id,
        sequence,
    });
    prop_oneof![3 => Just(Move::Honest), 4 => stream, 4 => replay, 2 => body]
}

/// What anybody has truly signed: (height, round, signer, block).
type Made = BTreeSet<(u64, u32, [u8; 20], B256)>;

fn attack(
    chain: &Chain,
    step: &Move,
    sent: &[(PeerId, Message)],
    made: &mut Made,
) -> Vec<(PeerId, Message)> {
    match step {
        Move::Honest => Vec::new(),
        Move::Stream { by, as_member, round, earlier, height, body, from } => {
            // The honest proposer of round 0 signs nothing but its block.
            let signer: SecretKey = match by {
                1..=3 => chain.proposer(u32::from(*by)),
                other => key(0x60 + other),
            };
            let claimed = chain.proposer(u32::from(*as_member)).address();
            let mut block = chain.block(u32::from(*as_member), transactions(u64::from(*body)));
            block.header.height = Height::new(u64::from(*height));
            if *body == 3 {
                block.header.tx_root = tx_root(&[]);
            }
            if *body == 2 {
                block.header.timestamp = Millis::new(u64::MAX);
            }
            let pol = earlier.map_or(Round::Nil, Round::new);
            let signed = proposal(&signer, claimed, &block.header, Round::new(*round), pol);
            if signer.address() == claimed {
                made.insert((u64::from(*height), *round, claimed.0.0, block.header.hash()));
            }
            let all = messages(signed, &block, u64::from(*from));
            all.into_iter().map(|message| (peer(*from), message)).collect()
        }
        Move::Replay { which, from, sequence, stream } => {
            if sent.is_empty() {
                return Vec::new();
            }
            let (_, mut message) = which.get(sent).clone();
            if let Some(sequence) = sequence {
                message.sequence = u64::from(*sequence);
            }
            if let Some(stream) = stream {
                message.stream_id = stream.get(sent).1.stream_id.clone();
            }
            vec![(peer(*from), message)]
        }
        Move::Body { from, id, sequence } => {
            let id = StreamId::new(vec![*id; 48].into());
            let content = StreamContent::Data(Part::Body(vec![*sequence; 100]));
            vec![(peer(*from), StreamMessage::new(id, u64::from(*sequence), content))]
        }
    }
}

async fn withstands(steps: Vec<Move>) {
    let mut listener = Listener::new().await;
    let chain = Chain::new(4);
    let block = chain.block(0, transactions(2));
    let mut rest = honest(&chain, 0, &block);
    rest.reverse();
    let mut made = Made::new();
    made.insert((8, 0, chain.proposer(0).address().0.0, block.header.hash()));
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    let last = vec![Move::Honest; rest.len()];
    for step in steps.iter().chain(&last) {
        let now = match step {
            Move::Honest => rest.pop().map(|message| (peer(0), message)).into_iter().collect(),
            other => attack(&chain, other, &sent, &mut made),
        };
        for (from, message) in now {
            sent.push((from, message.clone()));
            told.extend(listener.hears(from, message).await);
        }
    }

    let set = chain.term().set;
    let mut rounds = BTreeSet::new();
    for value in &told {
        let round = value.round.as_u32().unwrap();
        let key = (value.height.get(), round, value.proposer.0, value.value.hash());
        assert!(made.contains(&key), "told what nobody signed: {value:?}");
        assert_eq!(value.height, Height::new(8));
        assert!(set.proposes(&value.proposer, round), "told what is out of turn: {value:?}");
        assert!(rounds.insert(round), "told two blocks of one round: {value:?}");
    }
    let in_its_round = told.iter().find(|value| value.round == Round::ZERO).unwrap();
    assert_eq!(in_its_round.value.hash(), block.header.hash());
    assert_eq!(in_its_round.validity, Validity::Valid);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_arrives_the_engine_is_told_what_is_signed_and_the_honest_block_among_it(
        steps in proptest::collection::vec(moves(), 0..80)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(withstands(steps));
    }
}
