//! What becomes of a transaction that arrives, from a client or a peer: judged in the order of what it costs to find out.
//!
//! Recovering a key takes as long as hashing a whole transaction many times over, and a type 4 transaction asks for one more
//! with each of its authorizations (R17). So those are counted in the bytes before anything is recovered, and more than
//! [`MOST_AUTHORIZATIONS`] are refused; then come the sender, the policy and the nonce, and the authorizations only of what
//! would be taken. Local policy: a block may hold what this agent does not take in.

use crate::domain::{RollupId, SignedTransaction, TransactionError, authorizations_listed};
use crate::mempool::{Admission, Origin, Pool, Refusal};
use alloy::primitives::Bytes;

/// Authorizations of one transaction that is taken in. Wallets sign one or two.
pub(crate) const MOST_AUTHORIZATIONS: usize = 32;

/// Admits what came for `rollup`; what it is, and what the pool did with it.
///
/// # Errors
///
/// [`Refusal`].
pub(super) fn take_in(
    pool: &Pool,
    rollup: RollupId,
    raw: Bytes,
    origin: Origin,
) -> Result<(SignedTransaction, Admission), Refusal> {
    let limit = pool.limits().transaction_bytes;
    let listed = authorizations_listed(&raw);
    if listed > MOST_AUTHORIZATIONS && raw.len() <= limit {
        let (limit, actual) = (MOST_AUTHORIZATIONS, listed);
        return Err(Refusal::TooManyAuthorizations { limit, actual });
    }
    let partly = SignedTransaction::decode_partly(raw, limit)?;
    let actual = partly.signed().transaction.rollup;
    if actual != rollup {
        return Err(Refusal::Invalid(TransactionError::WrongRollup { expected: rollup, actual }));
    }
    pool.screen(partly.signed())?;
    let signed = partly.whole();
    let admission = pool.admit_again(signed.clone(), origin)?;
    Ok((signed, admission))
}

#[cfg(test)]
mod tests {
    use super::{MOST_AUTHORIZATIONS, take_in};
    use crate::domain::{RollupId, SignedTransaction, recoveries};
    use crate::l1::Allowance;
    use crate::mempool::{Admission, Limits, Origin, Pool, Refusal};
    use crate::testing::{ROLLUP, Surroundings, key, params, raw_delegating, transaction};
    use alloy::primitives::U256;

    fn pool(around: &Surroundings) -> Pool {
        Pool::new(Limits::default(), around.store.clone(), around.mirror.clone()).unwrap()
    }

    /// What comes of a transaction, and how many keys were recovered for that.
    fn taken(
        pool: &Pool,
        nonce: u64,
        authorizations: usize,
    ) -> (Result<Admission, Refusal>, usize) {
        let raw = raw_delegating(&key(1), nonce, authorizations);
        let before = recoveries();
        let taken = take_in(pool, ROLLUP, raw, Origin::Local).map(|(_, admission)| admission);
        (taken, recoveries().saturating_sub(before))
    }

    #[test]
    fn what_is_refused_costs_no_more_than_it_takes_to_know() {
        let around = Surroundings::new(params());
        let pool = pool(&around);
        let most = MOST_AUTHORIZATIONS;
        for listed in [most + 1, 680] {
            let too_many = Refusal::TooManyAuthorizations { limit: most, actual: listed };
            assert_eq!(taken(&pool, 0, listed), (Err(too_many), 0));
        }

        around.decide(&[transaction(&key(1), 0)]);
        let low = Refusal::NonceTooLow { expected: 1, actual: 0 };
        assert_eq!(taken(&pool, 0, most), (Err(low), 1));

        around.mirror.update(|mirror| {
            mirror.rollups.insert(ROLLUP, Allowance::new(0, U256::ZERO));
        });
        let (closed, cost) = taken(&pool, 1, most);
        assert!(matches!(closed, Err(Refusal::ClosedRollup { .. })), "{closed:?}");
        assert_eq!(cost, 1);
        let elsewhere = raw_delegating(&key(1), 1, most);
        let before = recoveries();
        take_in(&pool, RollupId::new(7), elsewhere, Origin::Local).unwrap_err();
        assert_eq!(recoveries().saturating_sub(before), 1);
    }

    #[test]
    fn what_is_taken_has_all_its_authorizations() {
        let around = Surroundings::new(params());
        let pool = pool(&around);
        assert_eq!(taken(&pool, 0, MOST_AUTHORIZATIONS), (Ok(Admission::Added), 33));
        let hash = *pool.local_hashes().iter().next().unwrap();
        let whole = pool.get(hash).unwrap();
        assert_eq!(whole.authorizations.len(), MOST_AUTHORIZATIONS);
        let again = SignedTransaction::decode(whole.transaction.raw.clone(), 1 << 16).unwrap();
        assert_eq!(again, whole);
        // A block may hold more, and means the same everywhere.
        let raw = raw_delegating(&key(1), 0, MOST_AUTHORIZATIONS + 1);
        let more = SignedTransaction::decode(raw, 1 << 16).unwrap();
        assert_eq!(more.authorizations.len(), MOST_AUTHORIZATIONS + 1);
    }
}
