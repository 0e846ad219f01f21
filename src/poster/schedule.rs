//! When this agent may post a batch (R28), and when it does: local policy within what L1 admits. Pure.

use crate::domain::{BatchHeader, LeaderSet, Params, Seconds};
use crate::rota::draw_order;
use alloy::primitives::Address;

/// After so many takeover times anyone is admitted.
const TAKEOVERS_UNTIL_OPEN: u64 = 5;

/// L1 time from which the member with signer `own` posts this batch, if it has not settled: the leader of the turn at
/// once, the next in line after the takeover time, each further one, whom L1 admits together, a little after the one
/// before, so that they do not pay for each other's reverts. Who is no member comes last. A batch that is not regular all
/// may post together, once nothing has settled since `settled_at` for as long as it takes until anyone may.
pub fn opens_at(
    params: &Params,
    set: &LeaderSet,
    header: &BatchHeader,
    settled_at: Seconds,
    own: Address,
) -> Seconds {
    let takeover = params.takeover_seconds;
    // Two L1 blocks: time enough to see that the one before has done it.
    let step = params.l1_block_seconds.saturating_mul(2);
    let order = draw_order(set, params.turn_of(header.last_height));
    let place = set.index_of(own).and_then(|own| order.iter().position(|place| *place == own));
    if !header.is_regular() {
        let place = place.unwrap_or(set.members().len());
        let behind = step.saturating_mul(u64::try_from(place).unwrap_or(u64::MAX));
        return Seconds::new(opens_to_all(params, header, settled_at).get().saturating_add(behind));
    }
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
    Seconds::new(header.regular_since.get().saturating_add(wait))
}

/// L1 time from which L1 takes a batch from anyone (R28), where `settled_at` is the time of the batch before.
pub fn opens_to_all(params: &Params, header: &BatchHeader, settled_at: Seconds) -> Seconds {
    let since =
        if header.is_regular() { header.regular_since } else { header.timestamp.max(settled_at) };
    let wait = params.takeover_seconds.saturating_mul(TAKEOVERS_UNTIL_OPEN);
    Seconds::new(since.get().saturating_add(wait))
}

/// Whether a transaction that the next L1 block includes would be admitted and on time: posting is open, and the
/// header's timestamp is not ahead of that block by more than the drift.
pub fn may_post(
    params: &Params,
    set: &LeaderSet,
    header: &BatchHeader,
    settled_at: Seconds,
    own: Address,
    head: Seconds,
) -> bool {
    let next = head.get().saturating_add(params.l1_block_seconds);
    next >= opens_at(params, set, header, settled_at, own).get()
        && header.timestamp.max(header.regular_since).get()
            <= next.saturating_add(params.drift_seconds)
}

#[cfg(test)]
mod tests {
    use super::{may_post, opens_at, opens_to_all};
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
            regular_since: Seconds::new(T),
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
            .map(|place| {
                let own = set.members()[*place].signer;
                opens_at(&params, &set, &header(), Seconds::new(T), own).get()
            })
            .collect();
        let takeover = params.takeover_seconds;
        let step = 2 * params.l1_block_seconds;
        assert_eq!(opens, [0, T + takeover, T + 2 * takeover, T + 2 * takeover + step]);
        let stranger =
            opens_at(&params, &set, &header(), Seconds::new(T), Address::repeat_byte(9)).get();
        assert!(stranger >= T + 5 * takeover && stranger > opens[3]);
    }

    #[test]
    fn nothing_is_posted_ahead_of_l1_time() {
        let (params, set) = (params(), set());
        let order = draw_order(&set, params.turn_of(header().last_height));
        let leader = set.members()[order[0]].signer;
        let early = T - params.drift_seconds - params.l1_block_seconds;
        let may = |header: &BatchHeader, head: u64| {
            may_post(&params, &set, header, Seconds::new(0), leader, Seconds::new(head))
        };
        assert!(may(&header(), early));
        assert!(!may(&header(), early - 1));
        // Nor before the block that showed its end.
        let shown_later = BatchHeader { regular_since: Seconds::new(T + 9), ..header() };
        assert!(may(&shown_later, early + 9));
        assert!(!may(&shown_later, early + 8));
    }

    #[test]
    fn the_windows_open_from_when_the_end_of_the_batch_was_known() {
        let (params, set) = (params(), set());
        let order = draw_order(&set, params.turn_of(header().last_height));
        let second = set.members()[order[1]].signer;
        let shown_later = BatchHeader { regular_since: Seconds::new(T + 600), ..header() };
        let opens = opens_at(&params, &set, &shown_later, Seconds::new(0), second);
        assert_eq!(opens.get(), T + 600 + params.takeover_seconds);
    }

    #[test]
    fn what_is_not_regular_waits_until_nothing_has_settled_for_five_takeovers() {
        let (params, set) = (params(), set());
        let irregular = BatchHeader { regular_since: Seconds::new(0), ..header() };
        let takeovers = 5 * params.takeover_seconds;
        let order = draw_order(&set, params.turn_of(header().last_height));
        for (settled_at, expected) in [(T - 1, T), (T + 7, T + 7)] {
            let settled_at = Seconds::new(settled_at);
            let all = opens_to_all(&params, &irregular, settled_at).get();
            assert_eq!(all, expected + takeovers);
            for (place, member) in order.iter().enumerate() {
                let own = set.members()[*member].signer;
                let opens = opens_at(&params, &set, &irregular, settled_at, own).get();
                let step = 2 * params.l1_block_seconds * u64::try_from(place).unwrap();
                assert_eq!(opens, all + step, "the leader of the turn too");
            }
        }
    }
}
