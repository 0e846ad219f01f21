//! Whether what is sealed was frozen before its seed could be known (R4, R33): each seal against the pin, or the closed
//! check-in, that it goes by. Pure.

use crate::domain::{L1Block, Params, seed_of};
use crate::l1::bindings::{IRestart, IRota};
use alloy::primitives::{Address, B256, keccak256};
use alloy::sol_types::SolValue as _;

/// L1 remembers at least so many of its blocks.
const REMEMBERED_BLOCKS: u64 = 256;

/// A set that was frozen, and the L1 block from which its seed comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frozen {
    set: Address,
    number: u64,
    /// The seed that this one follows from. Of a pin it is that of the set sealed last, whenever that was.
    before: Option<B256>,
}

/// What was pinned, and the seed that the next one follows from.
#[derive(Debug, Default)]
pub(super) struct Pins {
    generation: u32,
    seed: B256,
    /// The newest pin, with the generation and the running epoch that it is for.
    pinned: Option<(u32, u64, Frozen)>,
    /// When the restart was opened that is under way, and what its check-in was closed with last.
    opened: Option<u64>,
    closed: Option<Frozen>,
}

impl Pins {
    /// A pin in L1 block `at`: what is wrong with it.
    pub(super) fn pinned(
        &mut self,
        event: &IRota::Pinned,
        at: &L1Block,
        params: &Params,
    ) -> Vec<String> {
        let mut wrong = too_near(event.number, at, params);
        let (generation, running) = (self.generation, params.epoch_at(at.timestamp).get());
        if (event.generation, event.epoch) != (generation, running) {
            let (actual, epoch) = (event.generation, event.epoch);
            wrong.push(format!(
                "a pin is for generation {actual} and epoch {epoch}, but {generation} and {running} run"
            ));
        }
        if let Some((before, epoch, frozen)) = self.pinned
            && (before, epoch) == (event.generation, event.epoch)
        {
            let (set, first) = (event.pointer, frozen.set);
            if set != first {
                wrong.push(format!("epoch {epoch} is pinned with set {set}, before with {first}"));
            }
            if at.number <= frozen.number.saturating_add(REMEMBERED_BLOCKS) {
                let number = frozen.number;
                wrong.push(format!(
                    "epoch {epoch} is pinned again while L1 remembers block {number}"
                ));
            }
        }
        let frozen = Frozen { set: event.pointer, number: event.number, before: None };
        self.pinned = Some((event.generation, event.epoch, frozen));
        wrong
    }

    /// A restart was opened: the check-in of the one before is of no use any more.
    pub(super) const fn opened(&mut self, event: &IRestart::RestartOpened) {
        (self.opened, self.closed) = (Some(event.openedAt), None);
    }

    /// A check-in that was closed in L1 block `at`: what is wrong with it.
    pub(super) fn closed(
        &mut self,
        event: &IRestart::CheckInClosed,
        at: &L1Block,
        params: &Params,
    ) -> Vec<String> {
        let (set, number) = (event.pointer, event.number);
        let mut wrong = too_near(number, at, params);
        if self.opened != Some(event.openedAt) {
            let opened = event.openedAt;
            wrong.push(format!(
                "a check-in is closed of a restart opened at {opened}, which is not under way"
            ));
        }
        // A seal in between changes nothing of what comes.
        let mut seed = self.seed;
        if let Some(first) = self.closed {
            seed = first.before.unwrap_or(seed);
            if set != first.set {
                let before = first.set;
                wrong.push(format!("a check-in is closed with set {set}, before with {before}"));
            }
            if at.number <= first.number.saturating_add(REMEMBERED_BLOCKS) {
                let number = first.number;
                wrong.push(format!("a check-in is closed again while L1 remembers block {number}"));
            }
        }
        self.closed = Some(Frozen { set, number, before: Some(seed) });
        wrong
    }

    /// A seal in L1 block `at`, where the pinned block's prevrandao is `random` if there is such a block: what is wrong with it.
    pub(super) fn sealed(
        &mut self,
        event: &IRota::Sealed,
        at: &L1Block,
        random: Option<B256>,
        params: &Params,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let (epoch, number) = (event.epoch, event.pinned);
        let running = params.epoch_at(at.timestamp).get();
        let next = self.generation.saturating_add(1);
        let of_restart = self.closed.filter(|_| event.generation == next && epoch == running);
        let of_epoch = self.pinned.and_then(|(generation, pinned_in, frozen)| {
            let goes_on = event.generation == generation || event.generation == next;
            let is_due = epoch == running || epoch == running.saturating_add(1);
            let fits = (generation, pinned_in) == (self.generation, running) && goes_on && is_due;
            fits.then_some(frozen)
        });
        let frozen = [of_epoch, of_restart]
            .into_iter()
            .flatten()
            .find(|frozen| (frozen.set, frozen.number) == (event.pointer, number));
        if frozen.is_none() {
            wrong.push(format!(
                "epoch {epoch} is sealed with set {} and L1 block {number}, which were not pinned for it",
                event.pointer
            ));
        }
        match random.filter(|_| number < at.number) {
            None => wrong.push(format!("epoch {epoch} takes its seed from L1 block {number}")),
            Some(random) => {
                let before = frozen.and_then(|frozen| frozen.before).unwrap_or(self.seed);
                let expected = seed_of(keccak256((before, random).abi_encode()));
                if event.seed != expected {
                    let actual = event.seed;
                    wrong.push(format!("epoch {epoch} has seed {actual}, expected {expected}"));
                }
            }
        }
        self.seed = event.seed;
        wrong
    }

    /// A generation began: neither a pin nor a restart of the one before is of use in it.
    pub(super) fn began(&mut self, event: &IRestart::GenerationStarted) {
        self.generation = event.generation;
        (self.pinned, self.opened, self.closed) = (None, None, None);
    }
}

/// Whoever pins must not know the block: it is as far away as the parameters say.
fn too_near(number: u64, at: &L1Block, params: &Params) -> Vec<String> {
    let expected = at.number.saturating_add(params.seed_distance_blocks());
    if number == expected {
        return Vec::new();
    }
    vec![format!("L1 block {number} is pinned in block {}, expected {expected}", at.number)]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::Pins;
    use crate::domain::{L1Block, Params, Seconds, seed_of};
    use crate::l1::bindings::{IRestart, IRota};
    use alloy::primitives::{Address, B256, U256, keccak256};
    use alloy::sol_types::SolValue as _;

    const RANDOM: B256 = B256::repeat_byte(9);
    const SET: Address = Address::repeat_byte(1);

    /// L1 block `number` of an L1 with a block a second, of which the tenth is the first of epoch 0.
    fn at(number: u64) -> L1Block {
        let timestamp = Seconds::new(params().genesis + number - 10);
        L1Block { number, hash: B256::ZERO, timestamp }
    }

    fn params() -> Params {
        crate::testing::params()
    }

    fn seed(before: B256) -> B256 {
        seed_of(keccak256((before, RANDOM).abi_encode()))
    }

    fn pin(number: u64, change: impl FnOnce(&mut IRota::Pinned)) -> IRota::Pinned {
        let (generation, epoch) = (0, params().epoch_at(at(number).timestamp).get());
        let number = number + params().seed_distance_blocks();
        let mut event = IRota::Pinned { generation, epoch, number, pointer: SET };
        change(&mut event);
        event
    }

    fn seal(epoch: u64, pinned: u64, before: B256) -> IRota::Sealed {
        let (generation, seed, total, count) = (0, seed(before), 40, U256::from(4));
        IRota::Sealed { generation, epoch, pointer: SET, seed, total, count, pinned }
    }

    /// What is wrong with a seal in block 40, after a pin in block 10.
    fn judged(change: impl FnOnce(&mut IRota::Sealed)) -> Vec<String> {
        let mut pins = Pins::default();
        let pinned = pin(10, |_| ());
        assert_eq!(pins.pinned(&pinned, &at(10), &params()), [""; 0]);
        let mut event = seal(0, pinned.number, B256::ZERO);
        change(&mut event);
        pins.sealed(&event, &at(40), Some(RANDOM), &params())
    }

    #[test]
    fn a_seal_is_of_what_was_pinned() {
        assert_eq!(judged(|_| ()), [""; 0]);
        assert_eq!(judged(|event| event.epoch = 1), [""; 0]);
        let of_another_set = judged(|event| event.pointer = Address::repeat_byte(2));
        assert!(of_another_set[0].contains("not pinned for it"), "{of_another_set:?}");
        let of_another_block = judged(|event| event.pinned += 1);
        assert!(of_another_block[0].contains("not pinned for it"), "{of_another_block:?}");
        assert_eq!(judged(|event| event.epoch = 2).len(), 1);
        assert_eq!(judged(|event| event.generation = 2).len(), 1);
        let of_another_seed = judged(|event| event.seed = B256::repeat_byte(3));
        assert!(of_another_seed[0].contains("expected"), "{of_another_seed:?}");
    }

    #[test]
    fn a_seal_without_a_pin_is_named() {
        let mut pins = Pins::default();
        let event = seal(0, 25, B256::ZERO);
        assert_eq!(pins.sealed(&event, &at(40), Some(RANDOM), &params()).len(), 1);
    }

    #[test]
    fn a_pin_of_the_epoch_before_is_no_pin() {
        let mut pins = Pins::default();
        let pinned = pin(10, |_| ());
        assert_eq!(pins.pinned(&pinned, &at(10), &params()), [""; 0]);
        let event = seal(2, pinned.number, B256::ZERO);
        let next = at(10 + params().epoch_seconds);
        assert_eq!(pins.sealed(&event, &next, Some(RANDOM), &params()).len(), 1);
    }

    #[test]
    fn a_seal_before_its_block_is_named() {
        let mut pins = Pins::default();
        let pinned = pin(10, |_| ());
        assert_eq!(pins.pinned(&pinned, &at(10), &params()), [""; 0]);
        let event = seal(0, pinned.number, B256::ZERO);
        let wrong = pins.sealed(&event, &at(pinned.number), Some(RANDOM), &params());
        assert!(wrong[0].contains("takes its seed from"), "{wrong:?}");
    }

    #[test]
    fn a_pin_is_as_far_away_as_it_must_be_and_of_what_runs() {
        let judged = |change: fn(&mut IRota::Pinned)| {
            Pins::default().pinned(&pin(10, change), &at(10), &params())
        };
        assert!(judged(|event| event.number -= 1)[0].contains("expected 25"));
        assert!(judged(|event| event.number += 1)[0].contains("expected 25"));
        assert!(judged(|event| event.epoch = 1)[0].contains("epoch 1, but"));
        assert!(judged(|event| event.generation = 1)[0].contains("generation 1"));
    }

    #[test]
    fn a_second_pin_of_an_epoch_is_of_the_same_set_and_late() {
        let judged = |number, change: fn(&mut IRota::Pinned)| {
            let mut pins = Pins::default();
            assert_eq!(pins.pinned(&pin(10, |_| ()), &at(10), &params()), [""; 0]);
            // As fast as L1 has to be to forget a block within an epoch.
            let late = L1Block { number, ..at(10) };
            let mut again = pin(10, change);
            again.number = number + params().seed_distance_blocks();
            pins.pinned(&again, &late, &params())
        };
        assert_eq!(judged(25 + 257, |_| ()), [""; 0]);
        assert!(judged(25 + 256, |_| ())[0].contains("is pinned again"));
        let other = judged(25 + 257, |event| event.pointer = Address::repeat_byte(2));
        assert!(other[0].contains("before with"), "{other:?}");
    }

    const fn opened(at: u64) -> IRestart::RestartOpened {
        IRestart::RestartOpened { openedAt: at, checkInUntil: at + 5, finishUntil: at + 10 }
    }

    fn close(opened_at: u64, in_block: u64) -> IRestart::CheckInClosed {
        let number = in_block + params().seed_distance_blocks();
        IRestart::CheckInClosed { openedAt: opened_at, pointer: SET, number }
    }

    #[test]
    fn a_check_in_is_closed_again_only_when_l1_has_forgotten_the_block() {
        let judged = |number| {
            let mut pins = Pins::default();
            pins.opened(&opened(20));
            assert_eq!(pins.closed(&close(20, 10), &at(10), &params()), [""; 0]);
            let late = L1Block { number, ..at(10) };
            pins.closed(&close(20, number), &late, &params())
        };
        let pinned = 10 + params().seed_distance_blocks();
        assert_eq!(judged(pinned + 257), [""; 0]);
        for number in [11, pinned, pinned + 256] {
            assert!(judged(number)[0].contains("closed again"), "{number}");
        }
    }

    #[test]
    fn a_check_in_is_closed_over_one_list_and_goes_on_from_one_seed() {
        let judged = |set| {
            let mut pins = Pins::default();
            pins.opened(&opened(20));
            assert_eq!(pins.closed(&close(20, 10), &at(10), &params()), [""; 0]);
            // A seal in between.
            pins.seed = seed(B256::ZERO);
            let number = 10 + params().seed_distance_blocks() + 257;
            let again = IRestart::CheckInClosed { pointer: set, ..close(20, number) };
            let wrong = pins.closed(&again, &L1Block { number, ..at(10) }, &params());
            assert_eq!(pins.closed.unwrap().before, Some(B256::ZERO));
            wrong
        };
        assert_eq!(judged(SET), [""; 0]);
        let other = judged(Address::repeat_byte(2));
        assert!(other[0].contains("before with"), "{other:?}");
    }

    #[test]
    fn a_check_in_is_of_the_restart_that_is_under_way_and_of_no_use_in_the_next() {
        let mut pins = Pins::default();
        let early = pins.closed(&close(20, 10), &at(10), &params());
        assert!(early[0].contains("opened at 20, which is not under way"), "{early:?}");
        pins.opened(&opened(20));
        assert_eq!(pins.closed(&close(20, 60), &at(60), &params()), [""; 0], "forgotten");
        pins.opened(&opened(90));
        // Its own check-in is closed while L1 remembers the block of the other one.
        assert_eq!(pins.closed(&close(90, 100), &at(100), &params()), [""; 0]);
        pins.opened(&opened(120));
        let mut finish = seal(0, 100 + params().seed_distance_blocks(), B256::ZERO);
        finish.generation = 1;
        let wrong = pins.sealed(&finish, &at(118), Some(RANDOM), &params());
        assert!(wrong[0].contains("not pinned for it"), "{wrong:?}");
    }

    #[test]
    fn a_restart_goes_on_from_the_seed_of_when_its_members_were_fixed() {
        let mut pins = Pins::default();
        let first = pin(10, |_| ());
        pins.pinned(&first, &at(10), &params());
        pins.sealed(&seal(0, first.number, B256::ZERO), &at(26), Some(RANDOM), &params());
        let (begun, restarted) = (seed(B256::ZERO), Address::repeat_byte(7));
        let number = 30 + params().seed_distance_blocks();
        pins.opened(&opened(20));
        let close = IRestart::CheckInClosed { openedAt: 20, pointer: restarted, number };
        assert_eq!(pins.closed(&close, &at(30), &params()), [""; 0]);
        // A seal in between.
        let next = seal(1, first.number, begun);
        assert_eq!(pins.sealed(&next, &at(31), Some(RANDOM), &params()), [""; 0]);
        let mut finish = seal(0, number, begun);
        (finish.generation, finish.pointer) = (1, restarted);
        assert_eq!(pins.sealed(&finish, &at(50), Some(RANDOM), &params()), [""; 0]);
        let (generation, epoch) = (1, 0);
        pins.began(&IRestart::GenerationStarted {
            generation,
            epoch,
            lastHeight: 0,
            lastBlockHash: B256::ZERO,
        });
        // What was pinned in the generation before is of no use in this one.
        let mut late = seal(1, first.number, finish.seed);
        late.generation = 1;
        assert_eq!(pins.sealed(&late, &at(51), Some(RANDOM), &params()).len(), 1);
    }
}
