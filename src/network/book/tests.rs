#![expect(clippy::arithmetic_side_effects, reason = "tests")]

use super::*;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

fn endpoint(id: u32, key: u8, link: String) -> (Address, PeerEndpoint) {
    let signer = Address::repeat_byte(key);
    let id = SequencerId::new(id);
    (signer, PeerEndpoint { id, signer, agreement: String::new(), link })
}

fn link(name: PeerId, port: u16) -> String {
    format!("/ip4/127.0.0.1/tcp/{port}/p2p/{name}")
}

fn later(now: Instant, seconds: u64) -> Instant {
    now.checked_add(Duration::from_secs(seconds)).unwrap()
}

const fn key(n: u8) -> Address {
    Address::repeat_byte(n)
}

/// Both have greeted each other.
fn meets(book: &mut Book, name: PeerId, by: u8, now: Instant) {
    book.connected(name, true, now);
    book.greeted_by(name, key(by), 1, now);
    book.has_greeted(name);
}

fn way_by_key(book: &Book, by: u8) -> Option<PeerId> {
    book.way_to(*book.keys().get(&key(by))?)
}

#[test]
fn follows_the_registry() {
    let (own, a, b) = (PeerId::random(), PeerId::random(), PeerId::random());
    let now = Instant::now();
    let mut book = Book::default();
    let first = BTreeMap::from([
        endpoint(1, 1, link(own, 1)),
        endpoint(2, 2, link(a, 2)),
        endpoint(3, 3, "no address".into()),
        endpoint(4, 4, "/ip4/127.0.0.1/tcp/4".into()),
    ]);
    let changes = book.update(&first, own, now);
    assert_eq!(changes, Changes { allow: vec![a], refuse: vec![] });
    assert_eq!(book.due(now).len(), 1);
    assert_eq!(
        book.sequencers().collect::<Vec<_>>(),
        [(SequencerId::new(2), false)],
        "not oneself"
    );

    let second = BTreeMap::from([endpoint(5, 5, link(b, 5))]);
    let changes = book.update(&second, own, now);
    assert_eq!(changes, Changes { allow: vec![b], refuse: vec![a] });
    assert_eq!(book.sequencer_of(a), None);
    assert_eq!(book.sequencers().collect::<Vec<_>>(), [(SequencerId::new(5), false)]);
}

#[test]
fn each_key_of_a_sequencer_leads_to_it_whichever_it_greets_with() {
    for (old, new) in [(1, 9), (9, 1)] {
        for speaks in [old, new] {
            let (own, a) = (PeerId::random(), PeerId::random());
            let now = Instant::now();
            let mut book = Book::default();
            book.update(&BTreeMap::from([endpoint(4, old, link(a, 4))]), own, now);
            meets(&mut book, a, speaks, now);
            let rotated =
                BTreeMap::from([endpoint(4, old, link(a, 4)), endpoint(4, new, link(a, 4))]);
            book.update(&rotated, own, now);
            assert_eq!((way_by_key(&book, old), way_by_key(&book, new)), (Some(a), Some(a)));
            assert_eq!(book.sequencer_of(a), Some(SequencerId::new(4)));
        }
    }
}

#[test]
fn who_claims_the_name_of_another_gains_and_spoils_nothing() {
    let (own, victim) = (PeerId::random(), PeerId::random());
    let now = Instant::now();
    let mut book = Book::default();
    let honest = endpoint(7, 7, link(victim, 7));
    book.update(&BTreeMap::from([honest.clone()]), own, now);
    meets(&mut book, victim, 7, now);
    for port in 1..4 {
        let claims = BTreeMap::from([honest.clone(), endpoint(1, 1, link(victim, port))]);
        assert_eq!(book.update(&claims, own, now), Changes::default());
        assert_eq!((way_by_key(&book, 7), way_by_key(&book, 1)), (Some(victim), None));
        assert_eq!(book.sequencer_of(victim), Some(SequencerId::new(7)));
    }
    // Gone and back: both addresses are dialled, and whoever answers has to prove itself.
    book.connected(victim, false, now);
    assert_eq!((way_by_key(&book, 7), book.sequencer_of(victim)), (None, None));
    let due = book.due(later(now, 1));
    assert_eq!(due.iter().map(|(_, addresses)| addresses.len()).collect::<Vec<_>>(), [2]);
    meets(&mut book, victim, 7, now);
    assert_eq!(way_by_key(&book, 7), Some(victim));
}

#[test]
fn a_key_that_the_registry_shows_elsewhere_or_not_yet_speaks_for_nobody() {
    let (own, a, b) = (PeerId::random(), PeerId::random(), PeerId::random());
    let now = Instant::now();
    let mut book = Book::default();
    let both = BTreeMap::from([endpoint(1, 1, link(a, 1)), endpoint(2, 2, link(b, 2))]);
    book.update(&both, own, now);
    meets(&mut book, a, 2, now);
    assert_eq!(book.sequencer_of(a), None, "sequencer 2 has another name");
    meets(&mut book, a, 3, now);
    assert_eq!(book.sequencer_of(a), None, "nobody has that key");
    let rotated = BTreeMap::from([endpoint(1, 1, link(a, 1)), endpoint(1, 3, link(a, 1))]);
    book.update(&rotated, own, now);
    assert_eq!(book.sequencer_of(a), Some(SequencerId::new(1)), "now sequencer 1 has");
}

#[test]
fn a_peer_that_began_again_is_greeted_again_and_heard_in_time() {
    let (own, a) = (PeerId::random(), PeerId::random());
    let now = Instant::now();
    let mut book = Book::default();
    book.update(&BTreeMap::from([endpoint(2, 2, link(a, 2))]), own, now);
    book.connected(a, true, now);
    assert_eq!(book.due_greetings(now), [a]);
    assert!(book.due_greetings(now).is_empty(), "not twice at once");
    assert_eq!(book.due_greetings(later(now, 1)), [a], "until it takes it");
    assert!(book.listens_to(a, 1, now));
    book.greeted_by(a, key(2), 1, now);
    book.has_greeted(a);
    assert!(book.due_greetings(later(now, 60)).is_empty());
    assert!(!book.listens_to(a, 1, later(now, 60)), "it said that");
    assert!(book.listens_to(a, 2, later(now, 60)));
    assert!(!book.listens_to(a, 3, later(now, 60)), "no more often than one greets");
    book.greeted_by(a, key(2), 2, later(now, 60));
    assert_eq!(book.way_to(SequencerId::new(2)), None);
    assert_eq!(book.due_greetings(later(now, 60)), [a]);
}

#[test]
fn dials_less_and_less_often_until_it_works_or_the_address_changes() {
    let (own, a) = (PeerId::random(), PeerId::random());
    let now = Instant::now();
    let mut book = Book::default();
    let endpoints = BTreeMap::from([endpoint(2, 2, link(a, 2))]);
    book.update(&endpoints, own, now);
    let mut dials: u32 = 0;
    for tenth in 0..600 {
        let at = now.checked_add(Duration::from_millis(tenth * 100)).unwrap();
        dials += u32::try_from(book.due(at).len()).unwrap();
    }
    assert!((8..16).contains(&dials), "{dials} dials in a minute");
    book.connected(a, true, later(now, 60));
    assert!(book.due(later(now, 90)).is_empty());
    book.connected(a, false, later(now, 90));
    assert_eq!(book.due(later(now, 91)).len(), 1);
    let moved = BTreeMap::from([endpoint(2, 2, link(a, 3))]);
    book.update(&moved, own, later(now, 91));
    assert_eq!(book.due(later(now, 91)).len(), 1, "a new address is tried at once");
}

#[test]
fn keeps_the_barred_out_for_a_while() {
    let (own, a) = (PeerId::random(), PeerId::random());
    let now = Instant::now();
    let mut book = Book::default();
    book.update(&BTreeMap::from([endpoint(2, 2, link(a, 2))]), own, now);
    assert!(book.bar(a, now));
    assert!(!book.bar(a, now), "once");
    assert!(book.due(later(now, 1)).is_empty());
    assert!(book.pardon(later(now, 29)).is_empty());
    assert_eq!(book.pardon(later(now, 31)), [a]);
    assert_eq!(book.due(later(now, 31)).len(), 1);
}

/// What happens on L1 and on the wire, to sequencers 1 to 4 that follow the rules and 5 to 8 that say anything.
#[derive(Clone, Debug)]
enum Step {
    /// An honest one takes a further key.
    Rotate { who: u32 },
    /// It moves, under its own name.
    Move { who: u32, port: u16 },
    /// A liar writes something into its endpoint: a name of anybody, or none.
    Claim { who: u32, name: usize, port: u16 },
    /// A liar leaves, and its entry with it.
    Leave { who: u32 },
    /// An honest one loses its connection, and comes back as a process with one of its keys.
    Reconnect { who: u32, with: usize },
    /// A liar speaks by its own name, with the key of anybody that it could have: its own.
    Speak { who: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u32..5).prop_map(|who| Step::Rotate { who }),
        (1u32..5, any::<u16>()).prop_map(|(who, port)| Step::Move { who, port }),
        (5u32..9, 0usize..10, any::<u16>()).prop_map(|(who, name, port)| Step::Claim {
            who,
            name,
            port
        }),
        (5u32..9).prop_map(|who| Step::Leave { who }),
        (1u32..5, any::<usize>()).prop_map(|(who, with)| Step::Reconnect { who, with }),
        Just(5u32).prop_map(|who| Step::Speak { who }),
    ]
}

proptest! {
    /// Every sequencer that follows the rules is reached by each of its keys, whatever others write into the registry,
    /// and what comes from it is taken as coming from it.
    #[test]
    fn who_follows_the_rules_is_reached_by_each_key(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let now = Instant::now();
        let own = PeerId::random();
        // Names 1 to 8 are those of the sequencers; 0 is this agent's, 9 nobody's.
        let names: Vec<PeerId> = (0..10).map(|n| if n == 0 { own } else { PeerId::random() }).collect();
        let id = |who: u32| usize::try_from(who).unwrap();
        let mut keys: BTreeMap<u32, Vec<u8>> =
            (1..9).map(|who| (who, vec![u8::try_from(who).unwrap() * 16])).collect();
        let mut links: BTreeMap<u32, String> =
            (1..5).map(|who| (who, link(names[id(who)], 1))).collect();
        let mut fresh = 1_u8;
        let mut session = 1;
        let mut book = Book::default();
        let endpoints = |keys: &BTreeMap<u32, Vec<u8>>, links: &BTreeMap<u32, String>| {
            let of = |(who, link): (&u32, &String)| {
                keys[who].iter().map(|key| endpoint(*who, *key, link.clone())).collect::<Vec<_>>()
            };
            links.iter().flat_map(of).collect::<BTreeMap<_, _>>()
        };
        book.update(&endpoints(&keys, &links), own, now);
        for who in 1..5 {
            meets(&mut book, names[id(who)], keys[&who][0], now);
        }
        for step in steps {
            match step {
                Step::Rotate { who } => {
                    // Below or above all others, in turn.
                    fresh = fresh.wrapping_add(101) | 1;
                    if !keys.values().flatten().any(|key| *key == fresh) {
                        keys.get_mut(&who).unwrap().push(fresh);
                    }
                }
                Step::Move { who, port } => {
                    links.insert(who, link(names[id(who)], port));
                }
                Step::Claim { who, name, port } => {
                    links.insert(who, link(names[name], port));
                }
                Step::Leave { who } => {
                    links.remove(&who);
                }
                Step::Reconnect { who, with } => {
                    let held = &keys[&who];
                    session += 1;
                    book.connected(names[id(who)], false, now);
                    book.connected(names[id(who)], true, now);
                    book.greeted_by(names[id(who)], key(held[with % held.len()]), session, now);
                    book.has_greeted(names[id(who)]);
                }
                Step::Speak { who } => {
                    meets(&mut book, names[id(who)], keys[&who][0], now);
                }
            }
            book.update(&endpoints(&keys, &links), own, now);
            for who in 1..5 {
                for one in &keys[&who] {
                    assert_eq!(way_by_key(&book, *one), Some(names[id(who)]), "sequencer {who}");
                }
                assert_eq!(book.sequencer_of(names[id(who)]), Some(SequencerId::new(who)));
            }
        }
    }
}
