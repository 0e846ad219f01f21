//! Who proposes a height, and in which epoch it is agreed on (R12, R15). All of it follows from headers, never from the
//! round of a certificate: agents may hold certificates of different rounds.

use crate::domain::{BlockHeader, Epoch, GenerationStart, LeaderSet, Params, Round, Seconds};
use crate::rota::{draw, draw_order};

/// Epoch of the height after `parent`, given the time of the L1 block that `parent` names as its origin (R15).
pub fn epoch_of_next(params: &Params, parent: &BlockHeader, origin_time: Seconds) -> Epoch {
    parent.epoch.max(params.epoch_at(origin_time))
}

/// The generation that begins with the height after `parent`, if `start` does: the first block of a generation is in the
/// epoch in which that began, and follows from nothing that an earlier generation named (R33).
pub fn beginning_after<'a>(
    start: Option<&'a GenerationStart>,
    parent: &BlockHeader,
) -> Option<&'a GenerationStart> {
    start.filter(|start| start.generation > parent.generation && start.last_height == parent.height)
}

/// Who holds the height after `parent`, agreed on by `set` in `epoch`: the proposer of `parent` if turn, epoch and
/// generation are the same and it is in the set, else the first draw of the turn (R12). A place in the set; `None` if
/// the set has no member.
pub fn holder(
    params: &Params,
    parent: &BlockHeader,
    epoch: Epoch,
    set: &LeaderSet,
) -> Option<usize> {
    let turn = params.turn_of(parent.height.next());
    let same_term = turn == params.turn_of(parent.height)
        && parent.epoch == epoch
        && parent.generation == set.generation();
    let sticky = if same_term { set.index_of(parent.proposer) } else { None };
    sticky.or_else(|| draw(set, turn, 0))
}

/// The proposers of the height after `parent`, from round 0 on: the holder, then the draw order of the turn without it.
/// Places in the set, every member once.
pub fn order(params: &Params, parent: &BlockHeader, epoch: Epoch, set: &LeaderSet) -> Vec<usize> {
    let holder = holder(params, parent, epoch, set);
    let drawn = draw_order(set, params.turn_of(parent.height.next()));
    holder.into_iter().chain(drawn.into_iter().filter(|member| Some(*member) != holder)).collect()
}

/// The proposer of a round, given the order of the height; `None` if the set has no member.
pub fn proposer(order: &[usize], round: Round) -> Option<usize> {
    let count = u32::try_from(order.len()).ok()?;
    let place = usize::try_from(round.get().checked_rem(count)?).ok()?;
    order.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::{epoch_of_next, holder, order, proposer};
    use crate::domain::{
        BlockHeader, Epoch, Generation, Height, LeaderSet, Member, Millis, Params, Round, Seconds,
        Turn,
    };
    use crate::rota::{draw, draw_order};
    use alloy::primitives::{Address, B256, keccak256};
    use proptest::prelude::*;

    fn params() -> Params {
        Params::for_tests()
    }

    fn set() -> LeaderSet {
        let members =
            (1..=7_u8).map(|i| Member { signer: Address::repeat_byte(i), weight: 10 }).collect();
        LeaderSet::new(Generation::new(0), Epoch::new(3), keccak256("seed"), members).unwrap()
    }

    /// Block 8 of the turn 8..=15, by somebody who was not drawn for it.
    fn parent() -> BlockHeader {
        let set = set();
        let last = *draw_order(&set, Turn::new(1)).last().unwrap();
        BlockHeader {
            generation: Generation::new(0),
            height: Height::new(8),
            epoch: Epoch::new(4),
            proposer: set.members()[last].signer,
            timestamp: Millis::new(0),
            parent_hash: B256::ZERO,
            l1_origin_number: 0,
            l1_origin_hash: B256::ZERO,
            forced_through: 0,
            tx_count: 0,
            tx_root: B256::ZERO,
        }
    }

    fn signer(place: Option<usize>) -> Address {
        set().members()[place.unwrap()].signer
    }

    #[test]
    fn whoever_proposed_the_parent_keeps_the_turn() {
        let parent = parent();
        let holder = holder(&params(), &parent, parent.epoch, &set());
        assert_eq!(signer(holder), parent.proposer);
    }

    #[test]
    fn a_new_turn_epoch_or_generation_or_a_stranger_starts_from_the_draw() {
        let (set, epoch) = (set(), Epoch::new(4));
        let new_turn = BlockHeader { height: Height::new(15), ..parent() };
        let new_epoch = BlockHeader { epoch: Epoch::new(3), ..parent() };
        let new_generation = BlockHeader { generation: Generation::new(1), ..parent() };
        let stranger = BlockHeader { proposer: Address::repeat_byte(99), ..parent() };
        for parent in [new_turn, new_epoch, new_generation, stranger] {
            let turn = params().turn_of(parent.height.next());
            assert_eq!(holder(&params(), &parent, epoch, &set), draw(&set, turn, 0));
        }
    }

    #[test]
    fn the_order_is_the_holder_then_the_draws_without_it() {
        let parent = parent();
        let order = order(&params(), &parent, parent.epoch, &set());
        let mut drawn = draw_order(&set(), Turn::new(1));
        let last = drawn.pop().unwrap();
        drawn.insert(0, last);
        assert_eq!(order, drawn);
    }

    #[test]
    fn rounds_go_round() {
        assert_eq!(proposer(&[4, 2, 9], Round::new(0)), Some(4));
        assert_eq!(proposer(&[4, 2, 9], Round::new(5)), Some(9));
        assert_eq!(proposer(&[4, 2, 9], Round::new(u32::MAX)), Some(4));
        assert_eq!(proposer(&[], Round::new(0)), None);
    }

    #[test]
    fn epochs_follow_the_origin_and_never_go_back() {
        let parent = parent();
        let at = |seconds| epoch_of_next(&params(), &parent, Seconds::new(seconds));
        assert_eq!(at(0), Epoch::new(4));
        assert_eq!(at(1_000 + 5 * 60 - 1), Epoch::new(4));
        assert_eq!(at(1_000 + 5 * 60), Epoch::new(5));
    }

    proptest! {
        #[test]
        fn everybody_proposes_once_before_anybody_does_twice(
            height in 0_u64..1_000, epoch in 3_u64..6, by in 0_u8..10, first in any::<u32>(),
        ) {
            let set = set();
            let parent = BlockHeader {
                height: Height::new(height),
                proposer: Address::repeat_byte(by),
                ..parent()
            };
            let epoch = Epoch::new(epoch);
            let order = order(&params(), &parent, epoch, &set);
            prop_assert_eq!(order.first().copied(), holder(&params(), &parent, epoch, &set));
            let rounds = (0..7).map(|i| Round::new((first / 2).saturating_add(i)));
            let mut proposers: Vec<_> = rounds.filter_map(|round| proposer(&order, round)).collect();
            proposers.sort_unstable();
            prop_assert!(proposers.into_iter().eq(0..7));
        }
    }
}
