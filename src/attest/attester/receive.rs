//! What an attester does with others' attestations.

use super::{AttestError, Attester};
use crate::attest::decided::{self, other_payload, read_blocks};
use crate::attest::inner;
use crate::attest::ledger::{Added, Signed};
use crate::crypto::Signature;
use crate::domain::{BatchHeader, Evidence, LeaderSet, SequencerId};
use alloy::primitives::Address;
use tracing::{debug, warn};

impl Attester {
    /// Takes another member's attestation.
    pub(super) fn receive(
        &mut self,
        from: SequencerId,
        header: &BatchHeader,
        signature: Signature,
    ) -> Result<(), AttestError> {
        let Some(set) = self.set_of(header) else {
            debug!(%from, epoch = %header.epoch, "attestation of an epoch without a set");
            return Ok(());
        };
        let digest = self.guard.domain().batch(header);
        let signer = match signature.recover(digest) {
            Ok(signer) => signer,
            Err(error) => {
                debug!(%from, %error, "attestation with a bad signature");
                return Ok(());
            }
        };
        if set.index_of(signer).is_none() {
            debug!(%from, %signer, "attestation of a stranger");
            return Ok(());
        }
        self.learn_payload(header)?;
        self.keep(Signed { header: header.clone(), digest, signer, signature }, &set)
    }

    /// Finds out the hash of the other payload version of an open batch, once, when a header may be of that.
    pub(super) fn learn_payload(&self, header: &BatchHeader) -> Result<(), AttestError> {
        let cut = {
            let ledger = self.ledger.lock();
            ledger.as_ref().and_then(|ledger| ledger.asks_for_payload(header).cloned())
        };
        let Some(cut) = cut else { return Ok(()) };
        let first = cut.header.first_height;
        let blocks = read_blocks(&self.store, first, cut.header.last_height)?;
        // Where there is no other version its hash is taken for the one that is known.
        let other = other_payload(&cut.header, &blocks).unwrap_or(cut.header.payload_hash);
        if let Some(ledger) = self.ledger.lock().as_mut() {
            ledger.learn_payload(first, other);
        }
        Ok(())
    }

    /// Adds to the ledger and, if it is of a decided batch and new there, to what goes to disk; hands a contradiction on.
    fn keep(&mut self, signed: Signed, set: &LeaderSet) -> Result<(), AttestError> {
        let Signed { header, signer, signature, .. } = signed.clone();
        let (added, overlapping) = match self.ledger.lock().as_mut() {
            Some(ledger) => {
                let overlapping = ledger.overlapping(&header, signer);
                (ledger.add(signed.clone(), set), overlapping)
            }
            None => return Ok(()),
        };
        let Added { is_new, is_decided, evidence } = match added {
            Ok(added) => added,
            Err(refusal) => {
                debug!(%signer, %refusal, "attestation not taken");
                return Ok(());
            }
        };
        if is_new && is_decided {
            self.unsaved.push(signed);
        }
        if self.convicted.contains(&signer) {
            return Ok(());
        }
        let evidence = match evidence {
            None if is_new => self.inside(signer, (&header, signature), &overlapping)?,
            found => found,
        };
        let Some(evidence) = evidence else { return Ok(()) };
        warn!(offender = %signer, "double attestation");
        self.store.keep_evidence(&evidence)?;
        self.convicted.insert(signer);
        if self.evidence.try_send(evidence).is_err() {
            warn!(offender = %signer, "evidence queue is full: reported after the next start");
        }
        Ok(())
    }

    /// A contradiction inside of batches that the decided blocks prove.
    fn inside(
        &self,
        signer: Address,
        one: (&BatchHeader, Signature),
        overlapping: &[(BatchHeader, Signature)],
    ) -> Result<Option<Evidence>, AttestError> {
        for (other, signature) in overlapping {
            let at = |height| Ok(self.store.header(height)?.map(|(hash, _)| hash));
            let hashes = |header: &BatchHeader| decided::hashes_of(&self.store, header);
            if let Some(evidence) =
                inner::contradiction(signer, one, (other, *signature), at, hashes)?
            {
                return Ok(Some(evidence));
            }
        }
        Ok(None)
    }
}
