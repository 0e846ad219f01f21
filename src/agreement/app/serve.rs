//! What the application has for peers that catch up.

use super::App;
use crate::agreement::AgreementError;
use crate::agreement::codec::encode_block;
use crate::agreement::context::{HeaderValue, RotaContext};
use crate::blocking::blocking;
use crate::domain::{DecidedBlock, Height};
use malachitebft_app_channel::app::types::sync::RawDecidedValue;
use malachitebft_core_types::{
    CommitCertificate, CommitSignature, ExtendedCommitCertificate, Round, Value as _,
    VoteExtensions,
};
use std::ops::RangeInclusive;

impl App {
    /// Decided blocks as peers ask for them, as far as they are kept with their certificates.
    pub(super) async fn decided_values(
        &self,
        range: RangeInclusive<Height>,
    ) -> Result<Vec<RawDecidedValue<RotaContext>>, AgreementError> {
        let store = self.tools.store.clone();
        blocking(move || {
            let mut values = Vec::new();
            let end = range
                .end()
                .get()
                .min(range.start().get().saturating_add(crate::agreement::SYNC_BATCH));
            // Of a block that was dropped the header may still be here.
            if *range.start() < store.certified_from()? {
                return Ok(values);
            }
            for height in range.start().get()..=end {
                let Some(decided) = store.block(Height::new(height))? else { break };
                // One from L1 has none, and is of no use to anybody.
                if decided.certificate.signatures.is_empty() {
                    break;
                }
                values.push(raw(decided));
            }
            Ok(values)
        })
        .await
    }
}

/// A decided block as peers ask for it.
fn raw(decided: DecidedBlock) -> RawDecidedValue<RotaContext> {
    let DecidedBlock { block, certificate } = decided;
    let commit = CommitCertificate {
        height: block.header.height,
        round: Round::new(certificate.round.get()),
        value_id: HeaderValue::new(block.header.clone()).id(),
        commit_signatures: certificate
            .signatures
            .into_iter()
            .map(|(signer, signature)| CommitSignature::new(signer, signature))
            .collect(),
    };
    let none = VoteExtensions::new(Vec::new());
    let certificate =
        ExtendedCommitCertificate::from_commit_certificate_and_extensions(commit, none);
    RawDecidedValue::new(encode_block(&block), certificate)
}
