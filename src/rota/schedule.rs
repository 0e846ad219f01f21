//! Who leads the turns to come, as far as it can be said now.

use crate::domain::{BlockHeader, Epoch, Generation, GenerationStart, LeaderSet, Turn};
use crate::l1::Mirror;
use crate::rota::{beginning_after, draw, epoch_of_next, holder};
use alloy::primitives::Address;
use std::sync::Arc;

/// A turn and who is expected to lead it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The turn.
    pub turn: Turn,
    /// Signer of its leader.
    pub leader: Address,
}

/// Generation and epoch of the height after `parent` as far as L1 is known, and the set in force there. `start` is how the
/// running generation began.
pub fn expected_term(
    mirror: &Mirror,
    start: Option<&GenerationStart>,
    parent: &BlockHeader,
) -> (Generation, Epoch, Option<Arc<LeaderSet>>) {
    let (generation, epoch) = match beginning_after(start, parent) {
        Some(start) => (start.generation, start.epoch),
        None => {
            let origin = mirror.blocks.get(&parent.l1_origin_number);
            let epoch = origin.map_or(parent.epoch, |origin| {
                epoch_of_next(&mirror.params, parent, origin.timestamp)
            });
            (parent.generation, epoch)
        }
    };
    (generation, epoch, mirror.set_for(generation, epoch))
}

/// The turn of the height after `parent` and those that follow, `count` in all, by the set in force now. An expectation:
/// a leader that fails loses the rest of its turn (R12), and a later epoch may have another set. Empty while the set is
/// not known, or has no member. `start` is how the running generation began.
pub fn upcoming(
    mirror: &Mirror,
    start: Option<&GenerationStart>,
    parent: &BlockHeader,
    count: u32,
) -> Vec<Expected> {
    let (_, epoch, Some(set)) = expected_term(mirror, start, parent) else { return Vec::new() };
    let first = mirror.params.turn_of(parent.height.next());
    (0..u64::from(count))
        .filter_map(|offset| {
            let turn = Turn::new(first.get().saturating_add(offset));
            let place = match offset {
                0 => holder(&mirror.params, parent, epoch, &set),
                _ => draw(&set, turn, 0),
            };
            let leader = set.members().get(place?)?.signer;
            Some(Expected { turn, leader })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::upcoming;
    use crate::domain::{Epoch, Generation, Height, LeaderSet, Member};
    use crate::l1::Mirror;
    use crate::testing::{header, params};
    use alloy::primitives::{Address, B256};
    use std::sync::Arc;

    fn mirror() -> Mirror {
        let mut mirror = Mirror::new(params());
        let members = (1..=4)
            .map(|n| Member { signer: Address::repeat_byte(n), weight: u64::from(n) })
            .collect();
        let set = LeaderSet::new(Generation::new(0), Epoch::new(0), B256::repeat_byte(7), members);
        mirror.sets.insert((Generation::new(0), Epoch::new(0)), Arc::new(set.unwrap()));
        mirror
    }

    #[test]
    fn names_nobody_without_a_set() {
        assert!(upcoming(&Mirror::new(params()), None, &header(1, B256::ZERO), 3).is_empty());
    }

    #[test]
    fn the_proposer_keeps_its_turn_and_draws_lead_the_next_ones() {
        let mirror = mirror();
        let mut parent = header(9, B256::ZERO);
        for n in 1..=4 {
            parent.proposer = Address::repeat_byte(n);
            let expected = upcoming(&mirror, None, &parent, 3);
            assert_eq!(expected.iter().map(|e| e.turn.get()).collect::<Vec<_>>(), [1, 2, 3]);
            assert_eq!(expected[0].leader, parent.proposer);
        }
        let later = upcoming(&mirror, None, &parent, 3);
        parent.height = Height::new(15);
        let after = upcoming(&mirror, None, &parent, 2);
        assert_eq!(after[..], later[1..], "a turn begins with its draw");
    }
}
