//! Who does what everybody may do, and when. Local policy; pure.

use crate::domain::{Epoch, LeaderSet, Params, Seconds, Turn};
use crate::l1::Mirror;
use crate::rota::{draw, draw_order};
use alloy::primitives::Address;
use std::time::Duration;

/// Parts of the window in which a set can be sealed; each belongs to one member (R2).
const TENTHS: u64 = 10;
/// From this one on whoever sees the pin or the seal missing sends it. A pin leads to a seal until about seven tenths.
const LATE_TENTH: u64 = 4;
/// L1 blocks that each agent waits for the one before it in the order.
pub(super) const STEP_BLOCKS: u64 = 3;

/// A set to be sealed now, by this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPlan {
    /// The epoch to seal.
    pub epoch: Epoch,
    /// The part of the window that it is now.
    pub tenth: u64,
    /// Whether to pin it if nobody has: what is pinned now can be sealed in time.
    pub pins: bool,
    /// L1 blocks to leave to others once the set can be sealed (R4): those who wait for it wait for the same block.
    pub patience: u64,
}

/// The set that the member with signer `own` should seal now, by what L1 shows. Before the first set, and while an empty
/// one is in force (R5), there are no members to take turns: all who can be sealed try, one L1 block after the other.
pub fn seal_plan(mirror: &Mirror, own: Address) -> Option<SealPlan> {
    let params = &mirror.params;
    let head = mirror.head?.timestamp;
    let since_genesis = head.get().checked_sub(params.genesis)?;
    let running = params.epoch_at(head);
    let now = Moment::of(params, head);

    let generation = mirror.generation();
    let Some(set) = mirror.set_for(generation, running).filter(|set| !set.members().is_empty())
    else {
        // Nobody leads: a seal of the running epoch begins a generation. Before the first set it is asked again once per L1 block.
        let tenth = if mirror.genesis.is_none() { since_genesis } else { now.tenth };
        let place = place_of_all(mirror, own, running.get());
        return now.plan(running, 0, place).map(|plan| SealPlan { tenth, ..plan });
    };
    let epoch = running.next();
    if mirror.sets.contains_key(&(generation, epoch)) {
        return None;
    }
    let turn = Turn::new(epoch.get());
    let chosen = draw(&set, turn, u32::try_from(now.tenth).ok()?)?;
    if set.members().get(chosen).is_some_and(|member| member.signer == own) {
        return now.plan(epoch, now.into, 0);
    }
    // One L1 block after the other, in an order that only stake buys a place in.
    let late = now.blocks.saturating_mul(LATE_TENTH) / TENTHS;
    (now.into >= late).then(|| now.plan(epoch, late, place_in_set(&set, own, turn)))?
}

/// Where an L1 time lies in its epoch, in L1 blocks.
struct Moment {
    tenth: u64,
    /// Since the epoch began.
    into: u64,
    /// In an epoch.
    blocks: u64,
    /// From a pin to the seal, at least.
    sealing: u64,
}

impl Moment {
    fn of(params: &Params, time: Seconds) -> Self {
        let blocks = |seconds: u64| seconds.checked_div(params.l1_block_seconds).unwrap_or(0);
        let into = time.get().saturating_sub(params.start_of(params.epoch_at(time)).get());
        let tenth = into.saturating_mul(TENTHS).checked_div(params.epoch_seconds);
        Self {
            tenth: tenth.unwrap_or(TENTHS).min(TENTHS),
            into: blocks(into),
            blocks: blocks(params.epoch_seconds),
            sealing: params.seal_blocks(),
        }
    }

    /// What the agent at `place` of those who try from the block `start` of the epoch on does now. Nobody leaves others more than half
    /// of the blocks in which a pin still leads to a seal, nor, once it can be sealed, more than half of those that are left:
    /// whoever comes last, behind however many, has time.
    fn plan(&self, epoch: Epoch, start: u64, place: u64) -> Option<SealPlan> {
        let room = self.blocks.saturating_sub(self.sealing.saturating_add(start));
        let is_turn = self.into >= start.saturating_add(share(place, room));
        let left = self.blocks.saturating_sub(self.into);
        is_turn.then(|| SealPlan {
            epoch,
            tenth: self.tenth,
            pins: self.sealing <= left,
            patience: share(place, left),
        })
    }
}

/// L1 blocks, of `room`, that are left to the others by whoever wants to leave them `wanted`: half at most.
pub(super) fn share(wanted: u64, room: u64) -> u64 {
    wanted.min(room / 2)
}

/// The place of the agent with signer `own` in the draw order of a turn; behind all members if it is none.
pub(super) fn place_in_set(set: &LeaderSet, own: Address, turn: Turn) -> u64 {
    let own = set.index_of(own);
    let place = own.and_then(|own| draw_order(set, turn).into_iter().position(|one| one == own));
    u64::try_from(place.unwrap_or(set.members().len())).unwrap_or(u64::MAX)
}

/// Its place among all sequencers that can be sealed: what there is when nobody leads. A place costs a sequencer's stake, and no number of
/// keys is more than one.
pub(super) fn place_of_all(mirror: &Mirror, own: Address, seed: u64) -> u64 {
    place_among(&mirror.sealable(), mirror.sequencer_of(own), seed)
}

/// The place of a sequencer among `ids`, each of which is the first for some seed; behind all of them if it is none.
pub(super) fn place_among(ids: &[u32], own: Option<u32>, seed: u64) -> u64 {
    let count = u64::try_from(ids.len()).unwrap_or(u64::MAX);
    let first = seed.checked_rem(count).unwrap_or(0);
    own.and_then(|own| ids.iter().position(|id| *id == own))
        .and_then(|place| u64::try_from(place).ok())
        .and_then(|place| place.saturating_add(count).saturating_sub(first).checked_rem(count))
        .unwrap_or(count)
}

/// How long the agent at place `rank` of an order leaves something to those before it: never more than half an epoch, however many they
/// are, for some of it has to be done within one.
pub fn patience(params: &Params, rank: u64) -> Duration {
    let step = params.l1_block_seconds.saturating_mul(STEP_BLOCKS);
    Duration::from_secs(share(rank.saturating_mul(step), params.epoch_seconds))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{LATE_TENTH, SealPlan, TENTHS, patience, seal_plan};
    use crate::domain::{
        Epoch, Generation, GenerationStart, Height, L1Block, LeaderSet, Member, Params, Seconds,
        SequencerStatus,
    };
    use crate::l1::Mirror;
    use alloy::primitives::{Address, B256};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn address(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    /// L1 at `seconds` after genesis; four have joined, and epoch 0 is sealed if `sealed`.
    fn mirror(seconds: u64, sealed: bool) -> Mirror {
        let params: Params = crate::testing::params();
        let mut mirror = Mirror::new(params);
        at(&mut mirror, seconds);
        for n in 1..=4 {
            mirror.joined(n.into(), address(n));
        }
        if sealed {
            let members = (1..=4).map(|n| Member { signer: address(n), weight: 10 }).collect();
            seal(&mut mirror, members);
        }
        mirror
    }

    fn at(mirror: &mut Mirror, seconds: u64) {
        let timestamp = Seconds::new(mirror.params.genesis + seconds);
        let number = 9 + seconds / mirror.params.l1_block_seconds;
        mirror.head = Some(L1Block { number, hash: B256::ZERO, timestamp });
    }

    /// Epoch 0 is sealed.
    fn seal(mirror: &mut Mirror, members: Vec<Member>) {
        let (generation, epoch) = (Generation::new(0), Epoch::new(0));
        let set = LeaderSet::new(generation, epoch, B256::repeat_byte(7), members).unwrap();
        mirror.sets.insert((generation, epoch), Arc::new(set));
        mirror.genesis = Some(crate::testing::header(0, B256::ZERO));
    }

    fn who(mirror: &Mirror) -> Vec<u8> {
        (1..=4).filter(|n| seal_plan(mirror, address(*n)).is_some()).collect()
    }

    /// An L1 of 12 s with epochs of 300 blocks, where others are in front of the four honest ones: `many` of them.
    fn crowded(many: u32) -> Mirror {
        let mut mirror = mirror(0, false);
        mirror.params.l1_block_seconds = 12;
        mirror.params.epoch_seconds = 3_600;
        mirror.params.restart_window_seconds = 86_400;
        for n in 1..=many {
            let low = Address::left_padding_from(&n.to_be_bytes());
            mirror.joined(4 + n, low);
        }
        mirror
    }

    /// Plays the epoch that begins `start` seconds after genesis block by block with the honest alone, and says in which block
    /// of it a pin and a seal of theirs were included.
    fn plays(mirror: &mut Mirror, start: u64) -> (Option<u64>, Option<u64>) {
        let (distance, blocks) = (mirror.params.seed_distance_blocks(), 300);
        let (mut pinned_in, mut sealed_in) = (None, None);
        for block in 0..blocks - 1 {
            at(mirror, start + 12 * block);
            for n in 1..=4 {
                let Some(plan) = seal_plan(mirror, address(n)) else { continue };
                match pinned_in {
                    None if plan.pins => pinned_in = Some(block + 1),
                    Some(pin) if block > pin + distance + plan.patience => {
                        sealed_in = sealed_in.or(Some(block + 1));
                    }
                    _ => {}
                }
            }
        }
        (pinned_in, sealed_in)
    }

    #[test]
    fn however_many_are_in_front_an_honest_one_pins_and_seals_the_first_set_within_an_epoch() {
        for epoch in [0, 1, 2, 303, 304] {
            for many in [0, 111, 300, 5_000] {
                let mut mirror = crowded(many);
                let (pin, seal) = plays(&mut mirror, 3_600 * epoch);
                assert!(pin.is_some() && seal.is_some_and(|block| block < 240), "{many}: {seal:?}");
            }
        }
    }

    #[test]
    fn however_many_are_in_front_an_honest_one_ends_an_empty_set_within_an_epoch() {
        for many in [0, 111, 300, 5_000] {
            let mut mirror = crowded(many);
            seal(&mut mirror, Vec::new());
            let (pin, seal) = plays(&mut mirror, 3_600);
            assert!(pin.is_some() && seal.is_some_and(|block| block < 240), "{many}: {seal:?}");
        }
    }

    #[test]
    fn nobody_is_in_front_for_more_keys_nor_from_jail_nor_on_its_way_out() {
        let mut mirror = mirror(4 * 60, false);
        assert_eq!(who(&mirror), [1], "it is the turn of the first of four");
        for n in 5..=200 {
            mirror.rotated(2, address(n));
        }
        assert_eq!(who(&mirror), [1]);
        at(&mut mirror, 4 * 60 + 1);
        assert_eq!(who(&mirror), [1, 2]);
        mirror.becomes(1, SequencerStatus::Jailed);
        mirror.becomes(3, SequencerStatus::Leaving);
        at(&mut mirror, 4 * 60);
        assert_eq!(who(&mirror), [2]);
        at(&mut mirror, 4 * 60 + 1);
        assert_eq!(who(&mirror), [2, 4]);
    }

    #[test]
    fn all_members_have_time_to_pin_and_to_seal_when_it_is_late() {
        let mut mirror = crowded(124);
        let low = |n: u32| Address::left_padding_from(&n.to_be_bytes());
        let mut members: Vec<Member> =
            (1..=124).map(|n| Member { signer: low(n), weight: 1 }).collect();
        members.extend((1..=4).map(|n| Member { signer: address(n), weight: 1 }));
        seal(&mut mirror, members);
        let late = 300 * LATE_TENTH / TENTHS;
        let mut pinned = BTreeSet::new();
        for block in late..300 {
            at(&mut mirror, 12 * block);
            let plan = |n: u8| seal_plan(&mirror, address(n)).filter(|plan| plan.pins);
            pinned.extend((1..=4).filter(|n| plan(*n).is_some()));
            if pinned.len() == 4 {
                assert!(block <= late + 50, "the last one pins in block {block}");
                break;
            }
        }
        assert_eq!(pinned.len(), 4);
        let (_, seal) = plays(&mut mirror, 0);
        assert!(seal.is_some(), "the others did nothing");
    }

    #[test]
    fn nobody_pins_what_cannot_be_sealed_any_more() {
        let mut mirror = crowded(0);
        let room = mirror.params.seal_blocks();
        assert_eq!(room, 75 + 3 + 4);
        for (block, pins) in [(300 - room, true), (300 - room + 1, false), (299, false)] {
            at(&mut mirror, 12 * block);
            assert_eq!(seal_plan(&mirror, address(1)).unwrap().pins, pins, "{block}");
        }
    }

    #[test]
    fn nobody_waits_for_more_than_half_an_epoch_for_others() {
        let params = crowded(0).params;
        assert_eq!(patience(&params, 2).as_secs(), 72);
        for rank in [100, 128, u64::MAX] {
            assert_eq!(patience(&params, rank).as_secs(), 1_800);
        }
    }

    #[test]
    fn the_first_set_is_sealed_by_one_after_the_other() {
        assert_eq!(who(&mirror(0, false)), [1]);
        assert_eq!(who(&mirror(2, false)), [1, 2, 3]);
        let plan = seal_plan(&mirror(130, false), address(1)).unwrap();
        let expected = SealPlan { epoch: Epoch::new(2), tenth: 130, pins: true, patience: 2 };
        assert_eq!(plan, expected, "in the third epoch it is the third");
    }

    #[test]
    fn nobody_seals_before_genesis() {
        let mut early = mirror(0, false);
        early.params.genesis += 1;
        assert_eq!(who(&early), [0_u8; 0]);
    }

    #[test]
    fn all_who_have_joined_try_to_end_an_empty_set() {
        let mut mirror = mirror(60, true);
        let (generation, epoch) = (Generation::new(0), Epoch::new(1));
        let empty = LeaderSet::new(generation, epoch, B256::ZERO, Vec::new()).unwrap();
        mirror.sets.insert((generation, epoch), Arc::new(empty));
        assert_eq!(who(&mirror), [2], "in each epoch somebody else is the first");
        assert_eq!(seal_plan(&mirror, address(2)).unwrap().epoch, epoch);
        at(&mut mirror, 62);
        assert_eq!(who(&mirror), [2, 3, 4]);
    }

    #[test]
    fn the_sets_of_an_earlier_generation_do_not_count() {
        let mut mirror = mirror(1, true);
        let set = mirror.sets.values().next().cloned().unwrap();
        mirror.sets.insert((Generation::new(0), Epoch::new(1)), set);
        let restarted = Generation::new(1);
        let members = vec![Member { signer: address(3), weight: 10 }];
        let left = LeaderSet::new(restarted, Epoch::new(0), B256::ZERO, members).unwrap();
        mirror.sets.insert((restarted, Epoch::new(0)), Arc::new(left));
        mirror.generations.insert(
            restarted,
            GenerationStart {
                generation: restarted,
                epoch: Epoch::new(0),
                last_height: Height::new(0),
                last_block_hash: B256::ZERO,
                finished_in: mirror.head.unwrap(),
            },
        );
        assert_eq!(who(&mirror), [3]);
    }

    #[test]
    fn each_tenth_of_the_window_has_one_sealer_until_it_is_late() {
        for tenth in 0..LATE_TENTH {
            assert_eq!(who(&mirror(6 * tenth + 1, true)).len(), 1, "tenth {tenth}");
        }
        assert_eq!(who(&mirror(59, true)).len(), 4);
    }

    #[test]
    fn what_is_sealed_is_left_alone() {
        let mut mirror = mirror(1, true);
        let set = mirror.sets.values().next().cloned().unwrap();
        mirror.sets.insert((Generation::new(0), Epoch::new(1)), set);
        assert_eq!(who(&mirror), [0_u8; 0]);
    }
}
