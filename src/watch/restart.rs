//! What an agent does about a restart (R33). Local policy; pure.

use super::turns::STEP_BLOCKS;
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
    let id = mirror.peers.get(&own).map(|peer| peer.id.get());
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

/// L1 blocks that the agent with signer `own` leaves to others once the restart can be finished: those who wait for it wait for
/// the same block. One after the other of those who checked in, in another order for each restart, then the rest; nobody
/// leaves others more than half of what is left.
pub(super) fn finishing_patience(mirror: &Mirror, own: Address) -> u64 {
    let (Some(restart), Some(head)) = (&mirror.restart, mirror.head) else { return 0 };
    let id = mirror.peers.get(&own).map(|peer| peer.id.get());
    let here = u64::try_from(restart.checked_in.len()).unwrap_or(u64::MAX);
    let until = restart.finish_until.get();
    let first = until.checked_rem(here).unwrap_or(0);
    let rank = id
        .and_then(|id| restart.checked_in.iter().position(|one| *one == id))
        .and_then(|place| u64::try_from(place).ok())
        .and_then(|place| place.saturating_add(here).saturating_sub(first).checked_rem(here))
        .unwrap_or(here);
    let left = until.saturating_sub(head.timestamp.get()) / 2;
    let most = left.checked_div(mirror.params.l1_block_seconds).unwrap_or(0);
    rank.saturating_mul(STEP_BLOCKS).min(most)
}

#[cfg(test)]
mod tests {
    use super::{RestartPlan, finishing_patience, restart_plan};
    use crate::config::RestartDuty;
    use crate::domain::{
        BatchNumber, Epoch, Height, L1Block, PeerEndpoint, Seconds, SequencerId, SettledTip,
    };
    use crate::l1::{Mirror, Restart};
    use crate::testing::params;
    use alloy::primitives::{Address, B256};
    use std::collections::BTreeSet;

    const OWN: Address = Address::repeat_byte(1);

    /// Something settled at 1,000; the restart, if one is open, was opened at 1,200.
    fn mirror(now: u64, open: bool) -> Mirror {
        let mut mirror = Mirror::new(params());
        let timestamp = Seconds::new(now);
        mirror.head = Some(L1Block { number: 1, hash: B256::ZERO, timestamp });
        let (agreement, link) = (String::new(), String::new());
        mirror
            .peers
            .insert(OWN, PeerEndpoint { id: SequencerId::new(4), signer: OWN, agreement, link });
        mirror.tip = Some(SettledTip {
            number: BatchNumber::new(1),
            last_height: Height::new(9),
            last_block_hash: B256::ZERO,
            epoch: Epoch::new(0),
            timestamp: Seconds::new(999),
            settled_at: Seconds::new(1_000),
        });
        mirror.restart = open.then(|| Restart {
            check_in_until: Seconds::new(1_260),
            finish_until: Seconds::new(1_320),
            checked_in: BTreeSet::new(),
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

    #[test]
    fn those_who_are_there_finish_one_after_the_other() {
        let patience = |left: u64, until: u64, own: u32| {
            let mut mirror = mirror(until - left, true);
            mirror.peers.get_mut(&OWN).unwrap().id = SequencerId::new(own);
            let restart = mirror.restart.as_mut().unwrap();
            restart.finish_until = Seconds::new(until);
            restart.checked_in = [2, 4, 9, 11].into();
            finishing_patience(&mirror, OWN)
        };
        let all = |left, until| [2, 4, 9, 11, 5].map(|own| patience(left, until, own));
        // 1,320 is the first one's, 1,321 the next one's; who did not check in is the last.
        assert_eq!(all(60, 1_320), [0, 3, 6, 9, 12]);
        assert_eq!(all(60, 1_321), [9, 0, 3, 6, 12]);
        // However many there are, and however little is left, everybody's time comes.
        assert_eq!(all(10, 1_320), [0, 3, 5, 5, 5]);
        assert_eq!(all(1, 1_320), [0; 5]);
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
