//! When this agent may post a batch (R28), and when it does: local policy within what L1 admits. Pure.

use crate::domain::{BatchHeader, LeaderSet, Params, Seconds};
use crate::rota::draw_order;
use alloy::primitives::Address;

/// After so many takeover times anyone is admitted.
const TAKEOVERS_UNTIL_OPEN: u64 = 5;

/// L1 time from which the member with signer `own` posts this batch, if it has not settled: the leader of the turn at
/// once, the next in line after the takeover time, each further one, whom L1 admits together, a little after the one
/// before, so that they do not pay for each other's reverts. Who is no member comes last.
pub fn opens_at(params: &Params, set: &LeaderSet, header: &BatchHeader, own: Address) -> Seconds {
    let takeover = params.takeover_seconds;
    // Two L1 blocks: time enough to see that the one before has done it.
    let step = params.l1_block_seconds.saturating_mul(2);
    let order = draw_order(set, params.turn_of(header.last_height));
    let place = set.index_of(own).and_then(|own| order.iter().position(|place| *place == own));
    let wait = match place {
        Some(0) => return Seconds::new(0),
        Some(1) => takeover,
        Some(place) => {
            let behind = u64::try_from(place).unwrap_or(u64::MAX).saturating_sub(2);
            takeover.saturating_mul(2).saturating_add(behind.saturating_mul(step))
        }
        None => {
            let members = u64::try_from(set.members().len()).unwrap_or(u64::MAX);
            let last = takeover.saturating_mul(2).saturating_add(members.saturating_mul(step));
            last.max(takeover.saturating_mul(TAKEOVERS_UNTIL_OPEN))
        }
    };
    Seconds::new(header.timestamp.get().saturating_add(wait))
}

/// Whether a transaction that the next L1 block includes would be admitted and on time: posting is open, and the
/// header's timestamp is not ahead of that block by more than the drift.
pub fn may_post(
    params: &Params,
    set: &LeaderSet,
    header: &BatchHeader,
    own: Address,
    head: Seconds,
) -> bool {
    let next = head.get().saturating_add(params.l1_block_seconds);
    next >= opens_at(params, set, header, own).get()
        && header.timestamp.get() <= next.saturating_add(params.drift_seconds)
}

#[cfg(test)]
mod tests {
    use super::{may_post, opens_at};
    use crate::domain::{
        BatchHeader, Epoch, Generation, Height, LeaderSet, Member, Params, Seconds,
    };
    use crate::rota::draw_order;
    use alloy::primitives::{Address, B256};

    const T: u64 = 1_000;

    fn set() -> LeaderSet {
        let members =
            (1..=4).map(|n| Member { signer: Address::repeat_byte(n), weight: 10 }).collect();
        LeaderSet::new(Generation::new(0), Epoch::new(0), B256::repeat_byte(3), members).unwrap()
    }

    fn header() -> BatchHeader {
        BatchHeader {
            generation: Generation::new(0),
            epoch: Epoch::new(0),
            first_height: Height::new(1),
            last_height: Height::new(9),
            parent_block_hash: B256::ZERO,
            blocks_root: B256::ZERO,
            last_block_hash: B256::ZERO,
            forced_through: 0,
            l1_origin_number: 0,
            l1_origin_hash: B256::ZERO,
            timestamp: Seconds::new(T),
            payload_hash: B256::ZERO,
            blobs_hash: B256::ZERO,
            usage_hash: B256::ZERO,
            state_root: B256::ZERO,
        }
    }

    fn params() -> Params {
        crate::testing::params()
    }

    #[test]
    fn posting_opens_one_after_the_other() {
        let (params, set) = (params(), set());
        let order = draw_order(&set, params.turn_of(header().last_height));
        let opens: Vec<u64> = order
            .iter()
            .map(|place| opens_at(&params, &set, &header(), set.members()[*place].signer).get())
            .collect();
        let takeover = params.takeover_seconds;
        let step = 2 * params.l1_block_seconds;
        assert_eq!(opens, [0, T + takeover, T + 2 * takeover, T + 2 * takeover + step]);
        let stranger = opens_at(&params, &set, &header(), Address::repeat_byte(9)).get();
        assert!(stranger >= T + 5 * takeover && stranger > opens[3]);
    }

    #[test]
    fn nothing_is_posted_ahead_of_l1_time() {
        let (params, set) = (params(), set());
        let order = draw_order(&set, params.turn_of(header().last_height));
        let leader = set.members()[order[0]].signer;
        let early = T - params.drift_seconds - params.l1_block_seconds;
        assert!(may_post(&params, &set, &header(), leader, Seconds::new(early)));
        assert!(!may_post(&params, &set, &header(), leader, Seconds::new(early - 1)));
    }
}
