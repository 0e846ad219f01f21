//! Who does what everybody may do, and when. Local policy; pure.

use crate::domain::{Epoch, Params, Turn};
use crate::l1::Mirror;
use crate::rota::draw;
use alloy::primitives::Address;
use std::time::Duration;

/// Parts of the window in which a set can be sealed; each belongs to one member (R2).
const TENTHS: u64 = 10;
/// From this one on whoever sees the seal missing sends it.
const LATE_TENTH: u64 = 7;
/// L1 blocks that each agent waits for the one before it in the order.
pub(super) const STEP_BLOCKS: u64 = 3;

/// A set to be sealed now, by this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPlan {
    /// The epoch to seal.
    pub epoch: Epoch,
    /// The part of the window that it is now.
    pub tenth: u64,
    /// L1 blocks to leave to others once the set can be sealed (R4): those who wait for it wait for the same block.
    pub patience: u64,
}

/// The set that the member with signer `own` should seal now, by what L1 shows. Before the first set, and while an empty
/// one is in force (R5), there are no members to take turns: all who have joined try, one L1 block after the other.
pub fn seal_plan(mirror: &Mirror, own: Address) -> Option<SealPlan> {
    let params = &mirror.params;
    let now = mirror.head?.timestamp.get();
    let since_genesis = now.checked_sub(params.genesis)?;
    let running = params.epoch_at(mirror.head?.timestamp);
    let place = mirror.peers.keys().position(|signer| *signer == own);
    let patience = u64::try_from(place.unwrap_or(mirror.peers.len())).unwrap_or(u64::MAX);
    let is_time_for_all = |since: u64| since >= patience.saturating_mul(params.l1_block_seconds);
    if mirror.genesis.is_none() {
        // Asked again once per L1 block.
        let plan = SealPlan { epoch: running, tenth: since_genesis, patience };
        return is_time_for_all(since_genesis).then_some(plan);
    }

    let generation = mirror.generation();
    let into = now.saturating_sub(params.start_of(running).get());
    let tenth = into.saturating_mul(TENTHS).checked_div(params.epoch_seconds)?.min(TENTHS);
    let Some(set) = mirror.set_for(generation, running).filter(|set| !set.members().is_empty())
    else {
        // Nobody leads: a seal of the running epoch begins a generation.
        return is_time_for_all(into).then_some(SealPlan { epoch: running, tenth, patience });
    };
    let epoch = running.next();
    if mirror.sets.contains_key(&(generation, epoch)) {
        return None;
    }
    let attempt = u32::try_from(tenth).ok()?;
    let chosen = draw(&set, Turn::new(epoch.get()), attempt)?;
    let is_own = set.members().get(chosen).is_some_and(|member| member.signer == own);
    let place = set.index_of(own).unwrap_or(set.members().len());
    let late = if tenth >= LATE_TENTH {
        // One L1 block after the other, within the tenth.
        let into_tenths =
            into.saturating_sub(params.epoch_seconds.saturating_mul(LATE_TENTH) / TENTHS);
        let step = u64::try_from(place).unwrap_or(u64::MAX).saturating_mul(params.l1_block_seconds);
        into_tenths >= step
    } else {
        false
    };
    let patience = if is_own { 0 } else { u64::try_from(place).unwrap_or(u64::MAX) };
    (is_own || late).then_some(SealPlan { epoch, tenth, patience })
}

/// How long the agent at place `rank` of an order leaves something to those before it.
pub fn patience(params: &Params, rank: usize) -> Duration {
    let rank = u64::try_from(rank).unwrap_or(u64::MAX);
    let step = params.l1_block_seconds.saturating_mul(STEP_BLOCKS);
    Duration::from_secs(rank.saturating_mul(step))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers in tests")]

    use super::{LATE_TENTH, SealPlan, seal_plan};
    use crate::domain::{
        Epoch, Generation, GenerationStart, Height, L1Block, LeaderSet, Member, Params,
        PeerEndpoint, Seconds, SequencerId,
    };
    use crate::l1::Mirror;
    use alloy::primitives::{Address, B256};
    use std::sync::Arc;

    fn address(n: u8) -> Address {
        Address::repeat_byte(n)
    }

    /// L1 at `seconds` after genesis; four have joined, and epoch 0 is sealed if `sealed`.
    fn mirror(seconds: u64, sealed: bool) -> Mirror {
        let params: Params = crate::testing::params();
        let mut mirror = Mirror::new(params);
        let timestamp = Seconds::new(mirror.params.genesis + seconds);
        mirror.head = Some(L1Block { number: 9, hash: B256::ZERO, timestamp });
        for n in 1..=4 {
            let peer = PeerEndpoint {
                id: SequencerId::new(n.into()),
                signer: address(n),
                agreement: String::new(),
                link: String::new(),
            };
            mirror.peers.insert(address(n), peer);
        }
        if sealed {
            let members = (1..=4).map(|n| Member { signer: address(n), weight: 10 }).collect();
            let (generation, epoch) = (Generation::new(0), Epoch::new(0));
            let set = LeaderSet::new(generation, epoch, B256::repeat_byte(7), members).unwrap();
            mirror.sets.insert((generation, epoch), Arc::new(set));
            mirror.genesis = Some(crate::testing::header(0, B256::ZERO));
        }
        mirror
    }

    fn who(mirror: &Mirror) -> Vec<u8> {
        (1..=4).filter(|n| seal_plan(mirror, address(*n)).is_some()).collect()
    }

    #[test]
    fn the_first_set_is_sealed_by_one_after_the_other() {
        assert_eq!(who(&mirror(0, false)), [1]);
        assert_eq!(who(&mirror(2, false)), [1, 2, 3]);
        let plan = seal_plan(&mirror(130, false), address(1)).unwrap();
        assert_eq!(plan, SealPlan { epoch: Epoch::new(2), tenth: 130, patience: 0 });
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
        assert_eq!(who(&mirror), [1]);
        assert_eq!(seal_plan(&mirror, address(1)).unwrap().epoch, epoch);
        mirror.head.as_mut().unwrap().timestamp = Seconds::new(mirror.params.genesis + 62);
        assert_eq!(who(&mirror), [1, 2, 3]);
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
