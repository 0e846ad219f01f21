//! What an agent does about a restart (R33). Local policy; pure.

use super::turns::{STEP_BLOCKS, place_among, share};
use crate::config::RestartDuty;
use crate::domain::{Generation, Seconds};
use crate::l1::Mirror;
use alloy::primitives::Address;

/// Something to do now. Two plans are equal if L1, asked twice, says the same to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestartPlan {
    /// Open a restart: nothing has settled since.
    Open {
        /// Since when, or since which restart that lapsed.
        since: Seconds,
    },
    /// Say that this sequencer is there.
    CheckIn {
        /// Its id.
        id: u32,
        /// Until when that is asked for.
        until: Seconds,
    },
    /// Say so after the last restart was missed.
    Return {
        /// The id.
        id: u32,
        /// The generation that it was missed in.
        generation: Generation,
    },
    /// Finish the restart.
    Finish {
        /// Until when it can be.
        until: Seconds,
    },
}

/// What the agent with signer `own` should do, by what L1 shows. To check in is its own; the rest is anybody's, and a matter
/// of turns.
pub fn restart_plan(mirror: &Mirror, own: Address, duty: RestartDuty) -> Option<RestartPlan> {
    if duty == RestartDuty::None {
        return None;
    }
    let now = mirror.head?.timestamp;
    // L1 takes the word of active ones alone.
    let id = mirror.sequencer_of(own).filter(|id| mirror.is_active(*id));
    if let Some(restart) = mirror.restart.as_ref().filter(|one| now < one.finish_until) {
        if restart.can_finish_at(now) {
            let until = restart.finish_until;
            return (duty == RestartDuty::All).then_some(RestartPlan::Finish { until });
        }
        let until = restart.check_in_until;
        let id = id.filter(|id| !restart.checked_in.contains(id))?;
        return Some(RestartPlan::CheckIn { id, until });
    }

    let settled_at = mirror.tip.as_ref()?.settled_at;
    let due = settled_at.get().saturating_add(mirror.params.restart_delay_seconds);
    if duty == RestartDuty::All && now.get() >= due {
        let lapsed = mirror.restart.as_ref().map(|restart| restart.finish_until);
        return Some(RestartPlan::Open { since: lapsed.unwrap_or(settled_at) });
    }
    let id = id.filter(|id| mirror.missed_restart(*id))?;
    Some(RestartPlan::Return { id, generation: mirror.generation() })
}

/// What of the end of a restart is this agent's to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FinishingTurn {
    /// Whether to close the check-in if nobody has: what is pinned then can be used in time.
    pub(super) closes: bool,
    /// L1 blocks to leave to others once the restart can be finished: those who wait for it wait for the same block.
    pub(super) patience: u64,
}

/// The turn of the agent with signer `own`, with both: one after the other of those who checked in with weight, in another order
/// for each restart, then the rest; nobody leaves others more than half of what is left for it. Who leads in the set in force
/// does not matter: it may be gone. Neither do those who weigh nothing, of whom anybody can have many.
pub(super) fn finishing_turn(mirror: &Mirror, own: Address) -> FinishingTurn {
    let (Some(restart), Some(head)) = (&mirror.restart, mirror.head) else {
        return FinishingTurn { closes: false, patience: 0 };
    };
    let ranked: Vec<u32> = restart.weighing.iter().copied().collect();
    let until = restart.finish_until.get();
    let place = place_among(&ranked, mirror.sequencer_of(own), until).saturating_mul(STEP_BLOCKS);
    let blocks = |from: u64, to: u64| {
        to.saturating_sub(from).checked_div(mirror.params.l1_block_seconds).unwrap_or(0)
    };
    let (from, now) = (restart.check_in_until.get(), head.timestamp.get());
    let (needed, left) = (mirror.params.seal_blocks(), blocks(now, until));
    let room = blocks(from, until).saturating_sub(needed);
    FinishingTurn {
        closes: blocks(from, now) >= share(place, room) && needed <= left,
        patience: share(place, left),
    }
}

#[cfg(test)]
mod tests {
    use super::{FinishingTurn, RestartPlan, finishing_turn, restart_plan};
    use crate::config::RestartDuty;
    use crate::domain::{
        BatchNumber, Epoch, Height, L1Block, Seconds, SequencerStatus, SettledTip,
    };
    use crate::l1::{Mirror, Restart};
    use crate::testing::params;
    use alloy::primitives::{Address, B256};
    use std::collections::BTreeSet;

    const OWN: Address = Address::repeat_byte(1);

    /// Something settled at 1,000; the restart, if one is open, was opened at 1,200. This agent's sequencer is number 4.
    fn mirror(now: u64, open: bool) -> Mirror {
        mirror_of(4, now, open)
    }

    fn mirror_of(own: u32, now: u64, open: bool) -> Mirror {
        let mut mirror = Mirror::new(params());
        let timestamp = Seconds::new(now);
        mirror.head = Some(L1Block { number: 1, hash: B256::ZERO, timestamp });
        mirror.joined(own, OWN);
        mirror.tip = Some(SettledTip {
            number: BatchNumber::new(1),
            last_height: Height::new(9),
            last_block_hash: B256::ZERO,
            epoch: Epoch::new(0),
            timestamp: Seconds::new(999),
            settled_at: Seconds::new(1_000),
        });
        mirror.restart = open.then(|| Restart {
            opened_at: Seconds::new(1_200),
            check_in_until: Seconds::new(1_260),
            finish_until: Seconds::new(1_320),
            checked_in: BTreeSet::new(),
            weighing: BTreeSet::new(),
            closed: None,
        });
        mirror
    }

    fn plans(mirror: &Mirror) -> [Option<RestartPlan>; 3] {
        [RestartDuty::None, RestartDuty::CheckIn, RestartDuty::All]
            .map(|duty| restart_plan(mirror, OWN, duty))
    }

    #[test]
    fn opening_and_finishing_are_done_by_those_who_were_told_to() {
        assert_eq!(plans(&mirror(1_179, false)), [None; 3]);
        let open = RestartPlan::Open { since: Seconds::new(1_000) };
        assert_eq!(plans(&mirror(1_180, false)), [None, None, Some(open)]);
        let finish = RestartPlan::Finish { until: Seconds::new(1_320) };
        assert_eq!(plans(&mirror(1_260, true)), [None, None, Some(finish)]);
        let again = RestartPlan::Open { since: Seconds::new(1_320) };
        assert_eq!(plans(&mirror(1_320, true)), [None, None, Some(again)]);
    }

    /// The turn of sequencer `own` when so many seconds are left until `until`, the end of a window of a minute.
    fn turn(left: u64, until: u64, own: u32) -> FinishingTurn {
        let mut mirror = mirror_of(own, until.saturating_sub(left), true);
        let restart = mirror.restart.as_mut().unwrap();
        restart.finish_until = Seconds::new(until);
        restart.check_in_until = Seconds::new(until.saturating_sub(60));
        // Those from 100 on weigh nothing, and may be anybody's.
        restart.weighing = [2, 4, 9, 11].into();
        restart.checked_in = [2, 4, 9, 11].into_iter().chain(100..400).collect();
        finishing_turn(&mirror, OWN)
    }

    #[test]
    fn those_who_are_there_finish_one_after_the_other() {
        let all = |left, until| [2, 4, 9, 11, 5].map(|own| turn(left, until, own).patience);
        // 1,320 is the first one's, 1,321 the next one's; who did not check in is the last.
        assert_eq!(all(60, 1_320), [0, 3, 6, 9, 12]);
        assert_eq!(all(60, 1_321), [9, 0, 3, 6, 12]);
        // However many there are, and however little is left, everybody's time comes.
        assert_eq!(all(10, 1_320), [0, 3, 5, 5, 5]);
        assert_eq!(all(1, 1_320), [0; 5]);
    }

    #[test]
    fn those_who_are_there_close_one_after_the_other_and_in_time() {
        let all = |left, until| [2, 4, 9, 11, 5].map(|own| turn(left, until, own).closes);
        assert_eq!(all(60, 1_320), [true, false, false, false, false]);
        assert_eq!(all(57, 1_321), [false, true, true, false, false]);
        assert_eq!(all(48, 1_320), [true; 5]);
        // What would be pinned now comes too late.
        let needed = params().seal_blocks();
        assert_eq!((all(needed, 1_320), all(needed - 1, 1_320)), ([true; 5], [false; 5]));
    }

    #[test]
    fn with_the_shortest_window_and_all_members_gone_everybody_has_time_to_close() {
        for there in [0_u32, 1, 64, 128] {
            let mut mirror = mirror_of(1_000, 100_000, true);
            mirror.params.l1_block_seconds = 12;
            mirror.params.epoch_seconds = 3_600;
            mirror.params.restart_window_seconds = 260 * 12;
            let restart = mirror.restart.as_mut().unwrap();
            restart.check_in_until = Seconds::new(100_000);
            restart.finish_until = Seconds::new(100_000 + 260 * 12);
            restart.weighing = (1..=there).collect();
            let distance = mirror.params.seed_distance_blocks();
            assert_eq!(distance, 65);
            let closes = (0..260).find(|block| {
                mirror.head.as_mut().unwrap().timestamp = Seconds::new(100_000 + 12 * block);
                finishing_turn(&mirror, OWN).closes
            });
            let (closed, patience) = (closes.unwrap(), finishing_turn(&mirror, OWN).patience);
            assert!(closed <= 95, "{there}: closed in block {closed}");
            assert!(patience <= (260 - closed) / 2, "{there}");
        }
    }

    #[test]
    fn who_is_jailed_or_leaves_says_nothing_that_l1_would_not_take() {
        for status in [SequencerStatus::Jailed, SequencerStatus::Leaving] {
            let mut mirror = mirror(1_200, true);
            mirror.becomes(4, status);
            assert_eq!(plans(&mirror), [None; 3], "{status:?}");
        }
    }

    #[test]
    fn an_agent_checks_in_once() {
        let mut mirror = mirror(1_200, true);
        let check_in = RestartPlan::CheckIn { id: 4, until: Seconds::new(1_260) };
        assert_eq!(plans(&mirror), [None, Some(check_in), Some(check_in)]);
        mirror.restart.as_mut().unwrap().checked_in.insert(4);
        assert_eq!(plans(&mirror), [None; 3]);
    }
}
