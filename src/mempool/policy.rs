//! Whose transactions an agent takes in: its own business, never a question of validity (R43).

use crate::domain::SignedTransaction;
use crate::l1::Mirror;
use crate::mempool::Refusal;

/// Decides by rollup whether a transaction is taken into the pool, by what the rollup has left, what the transaction pays,
/// or anything else that an operator can answer for. Asked once, when a transaction arrives; a block is judged without it,
/// and whatever another leader orders is ordered.
pub trait AdmissionPolicy: Send + Sync {
    /// Says why not. Of a type 4 transaction the authorizations are not shown: they are recovered afterwards.
    ///
    /// # Errors
    ///
    /// [`Refusal`], which the client is told.
    fn admit(&self, mirror: &Mirror, transaction: &SignedTransaction) -> Result<(), Refusal>;
}

/// Takes what can be ordered now: of rollups that are registered and have their reserve left at the newest L1 block seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenRollups;

impl AdmissionPolicy for OpenRollups {
    fn admit(&self, mirror: &Mirror, transaction: &SignedTransaction) -> Result<(), Refusal> {
        let rollup = transaction.transaction.rollup;
        let Some(allowance) = mirror.rollups.get(&rollup) else {
            return Err(Refusal::unknown_rollup(rollup, mirror.is_ready()));
        };
        let (reserve_wei, balance_wei) =
            (mirror.params.rollup_reserve_wei, allowance.balance_at(u64::MAX));
        if balance_wei < reserve_wei {
            return Err(Refusal::ClosedRollup { rollup, reserve_wei, balance_wei });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{AdmissionPolicy, OpenRollups};
    use crate::domain::{Params, SignedTransaction};
    use crate::l1::{Allowance, Mirror};
    use crate::mempool::{Admission, Limits, Origin, Pool, Refusal};
    use crate::testing::{ROLLUP, Surroundings, key, transaction};
    use alloy::primitives::U256;

    #[test]
    fn registered_and_open_rollups_are_taken() {
        let tx = transaction(&key(5), 0);
        let reserve_wei = U256::from(9);
        let mut mirror =
            Mirror::new(Params { rollup_reserve_wei: reserve_wei, ..Params::for_tests() });
        // While L1 is being read, what is not there may be there all the same.
        let unread = Refusal::L1NotRead { rollup: ROLLUP };
        assert_eq!(OpenRollups.admit(&mirror, &tx), Err(unread));
        mirror.read_through = Some((9, 9));
        let unknown = Refusal::UnknownRollup { rollup: ROLLUP };
        assert_eq!(OpenRollups.admit(&mirror, &tx), Err(unknown));

        let balance_wei = U256::from(8);
        mirror.rollups.insert(ROLLUP, Allowance::new(7, balance_wei));
        let closed = Refusal::ClosedRollup { rollup: ROLLUP, reserve_wei, balance_wei };
        assert_eq!(OpenRollups.admit(&mirror, &tx), Err(closed));

        mirror.rollups.insert(ROLLUP, Allowance::new(7, reserve_wei));
        assert_eq!(OpenRollups.admit(&mirror, &tx), Ok(()));
    }

    /// Takes even nonces.
    struct Even;

    impl AdmissionPolicy for Even {
        fn admit(&self, _: &Mirror, transaction: &SignedTransaction) -> Result<(), Refusal> {
            if transaction.nonce.is_multiple_of(2) { Ok(()) } else { Err(Refusal::Busy) }
        }
    }

    #[test]
    fn an_operator_decides_otherwise_without_changing_what_is_valid() {
        let around = Surroundings::new(Params::for_tests());
        let pool = Pool::new(Limits::default(), around.store.clone(), around.mirror.clone())
            .unwrap()
            .with_policy(Even);
        let admit = |nonce| pool.admit(transaction(&key(5), nonce), Origin::Local);
        assert_eq!(admit(0), Ok(Admission::Added));
        assert_eq!(admit(1), Err(Refusal::Busy));
        // What was promised before a restart is kept whatever the policy says now.
        let promised = transaction(&key(5), 1);
        assert_eq!(pool.admit_again(promised, Origin::Local), Ok(Admission::Added));
    }
}
