//! The file from which a restarted agent knows what it had sent. It holds nonces, hashes and fees, not the transactions.
//!
//! The file is written before a transaction leaves, so that nothing is in a pool that is not in it. It is a help and not a
//! condition: without it, or with another account's, nonces that L1 does not have yet are of unknown content.

use super::account::Sent;
use super::fees::Fees;
use super::flights::{Carries, Flight, Flights, Span};
use crate::domain::Height;
use alloy::primitives::{Address, B256, U128};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Attempts of a flight that are kept: the newest ones.
const KEPT_ATTEMPTS: usize = 8;

/// Where the flights of an account are kept.
#[derive(Debug)]
pub(super) struct FlightLog {
    path: PathBuf,
    chain_id: u64,
    account: Address,
}

#[derive(Serialize, Deserialize)]
struct Record {
    chain_id: u64,
    account: Address,
    flights: Vec<Kept>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    nonce: u64,
    carries: What,
    attempts: Vec<Attempt>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Settlement { first: u64, last: u64 },
    Duty,
    Unknown,
    Nothing,
}

#[derive(Serialize, Deserialize)]
struct Attempt {
    hash: B256,
    max_fee_wei: U128,
    priority_fee_wei: U128,
    gas: u64,
}

impl FlightLog {
    pub(super) const fn new(path: PathBuf, chain_id: u64, account: Address) -> Self {
        Self { path, chain_id, account }
    }

    /// What an earlier process left; nothing if there is no file, or one that is not of this account.
    ///
    /// # Errors
    ///
    /// What the system says about a file that is there.
    pub(super) fn read(&self) -> std::io::Result<Flights> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Flights::default());
            }
            Err(error) => return Err(error),
        };
        let record: Record = serde_json::from_slice(&bytes)?;
        if (record.chain_id, record.account) != (self.chain_id, self.account) {
            return Ok(Flights::default());
        }
        Ok(Flights::restored(record.flights.into_iter().map(Kept::into_flight)))
    }

    /// Puts what is known into the place of what was known.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn write(&self, flights: &Flights) -> std::io::Result<()> {
        let record = Record {
            chain_id: self.chain_id,
            account: self.account,
            flights: flights.all().map(Kept::of).collect(),
        };
        let next = self.path.with_extension("next");
        let mut file = std::fs::File::create(&next)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        // The name is on disk only once its folder is.
        std::fs::File::open(self.path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl Kept {
    fn of(flight: &Flight) -> Self {
        let carries = match flight.carries {
            Carries::Settlement(Span { first, last }) => {
                What::Settlement { first: first.get(), last: last.get() }
            }
            Carries::Duty => What::Duty,
            Carries::Unknown => What::Unknown,
            Carries::Nothing => What::Nothing,
        };
        let surplus = flight.attempts.len().saturating_sub(KEPT_ATTEMPTS);
        let attempts = flight.attempts.iter().skip(surplus).map(|sent| Attempt {
            hash: sent.hash,
            max_fee_wei: U128::from(sent.fees.max_fee_wei),
            priority_fee_wei: U128::from(sent.fees.priority_fee_wei),
            gas: sent.gas,
        });
        Self { nonce: flight.nonce, carries, attempts: attempts.collect() }
    }

    fn into_flight(self) -> Flight {
        let nonce = self.nonce;
        let carries = match self.carries {
            What::Settlement { first, last } => {
                Carries::Settlement(Span { first: Height::new(first), last: Height::new(last) })
            }
            What::Duty => Carries::Duty,
            What::Unknown => Carries::Unknown,
            What::Nothing => Carries::Nothing,
        };
        let sent = |attempt: Attempt| Sent {
            hash: attempt.hash,
            nonce,
            fees: Fees {
                max_fee_wei: attempt.max_fee_wei.to(),
                priority_fee_wei: attempt.priority_fee_wei.to(),
            },
            gas: attempt.gas,
        };
        Flight::restored(nonce, carries, self.attempts.into_iter().map(sent).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::FlightLog;
    use crate::domain::Height;
    use crate::l1::flights::{Carries, Flights, Span};
    use crate::l1::{Fees, Order, Sent};
    use alloy::primitives::{Address, B256, Bytes, U256};
    use std::path::Path;
    use std::time::Duration;

    const ACCOUNT: Address = Address::repeat_byte(1);

    fn log(folder: &Path, chain_id: u64, account: Address) -> FlightLog {
        FlightLog::new(folder.join("l1-flights.json"), chain_id, account)
    }

    /// One settlement with fees at the end of their type.
    fn flights() -> Flights {
        let mut flights = Flights::default();
        assert!(flights.see(7, 8, Duration::ZERO, true));
        let span = Span { first: Height::new(1), last: Height::new(u64::MAX) };
        let order =
            Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None, what: "" };
        let fees = Fees { max_fee_wei: u128::MAX, priority_fee_wei: 1 };
        let sent = Sent { hash: B256::repeat_byte(3), nonce: 8, fees, gas: 9 };
        flights.sending(Carries::Settlement(span), &order, sent, None, Duration::ZERO);
        flights
    }

    #[test]
    fn what_was_written_is_read_again_without_the_transactions() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path(), 1, ACCOUNT);
        assert_eq!(log.read().unwrap().all().count(), 0, "nothing yet");
        let before = flights();
        log.write(&before).unwrap();
        let after = log.read().unwrap();
        let both: Vec<_> = before.all().zip(after.all()).collect();
        assert_eq!(both.len(), 2);
        for (one, other) in both {
            assert_eq!((one.nonce, one.carries), (other.nonce, other.carries));
            assert_eq!(one.attempts, other.attempts);
            assert_eq!(other.order, None);
        }
        assert_eq!(after.at(8).unwrap().fees().unwrap().max_fee_wei, u128::MAX);
    }

    #[test]
    fn a_nonce_that_a_node_made_up_is_not_believed_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path(), 1, ACCOUNT);
        let mut before = Flights::default();
        assert!(before.see(1_000_000, 1_000_000, Duration::ZERO, true));
        let order =
            Order { to: None, value_wei: U256::ZERO, input: Bytes::new(), gas: None, what: "" };
        let fees = Fees { max_fee_wei: 2, priority_fee_wei: 1 };
        let sent = Sent { hash: B256::ZERO, nonce: 1_000_000, fees, gas: 9 };
        before.sending(Carries::Duty, &order, sent, None, Duration::ZERO);
        log.write(&before).unwrap();
        let mut after = log.read().unwrap();
        assert!(after.see(7, 7, Duration::ZERO, true));
        assert_eq!((after.next_free(), after.waiting().count()), (7, 0));
    }

    #[test]
    fn the_file_of_another_account_or_chain_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        log(folder.path(), 1, ACCOUNT).write(&flights()).unwrap();
        for (chain_id, account) in [(2, ACCOUNT), (1, Address::ZERO)] {
            assert_eq!(log(folder.path(), chain_id, account).read().unwrap().all().count(), 0);
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_and_not_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("l1-flights.json"), b"{\"chain_id\":1").unwrap();
        log(folder.path(), 1, ACCOUNT).read().unwrap_err();
    }
}
