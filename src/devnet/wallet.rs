//! Accounts of made-up users, and the real signed transactions that they send.

use crate::crypto::SecretKey;
use crate::domain::RollupId;
use alloy::consensus::{SignableTransaction as _, TxEip1559};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};

/// A key for a role in the development network. Deterministic, and known to everybody who reads this line.
pub(super) fn known_key(role: &str, index: usize) -> [u8; 32] {
    keccak256(format!("rota devnet {role} {index}")).0
}

/// A user: signs one transaction after the other.
pub(super) struct Wallet {
    key: SecretKey,
    rollup: RollupId,
    nonce: u64,
}

/// A signed transaction, ready to submit.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    /// Its hash.
    pub(super) hash: B256,
    /// EIP-2718 bytes.
    pub(super) raw: Bytes,
}

impl Wallet {
    /// User number `index` of a rollup, who has not sent anything yet.
    pub(super) fn new(rollup: RollupId, index: usize) -> Self {
        let key = SecretKey::from_bytes(known_key("user", index))
            .expect("a keccak256 hash is below the curve's order but for odds of 2^-128");
        Self { key, rollup, nonce: 0 }
    }

    /// Signs the next transaction: EIP-1559, a transfer of one wei to `to`.
    pub(super) fn sign(&mut self, to: Address) -> Signed {
        let transaction = TxEip1559 {
            chain_id: self.rollup.get(),
            nonce: self.nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(to),
            value: U256::ONE,
            access_list: Vec::new().into(),
            input: Bytes::new(),
        };
        self.nonce = self.nonce.saturating_add(1);
        let signature = self.key.sign(transaction.signature_hash()).to_rsv();
        let signature = Signature::from_raw_array(&signature)
            .expect("r, s and v of 27 or 28 are what alloy takes");
        let signed = transaction.into_signed(signature);
        Signed { hash: *signed.hash(), raw: signed.encoded_2718().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _};
    use alloy::eips::eip2718::Decodable2718 as _;

    #[test]
    fn signs_transactions_that_any_client_decodes() {
        let mut wallet = Wallet::new(RollupId::new(901), 3);
        let sender = SecretKey::from_bytes(known_key("user", 3)).unwrap().address();

        for nonce in 0..3 {
            let signed = wallet.sign(Address::ZERO);

            let decoded = TxEnvelope::decode_2718_exact(&signed.raw).unwrap();
            assert_eq!(*decoded.tx_hash(), signed.hash);
            assert_eq!(decoded.nonce(), nonce);
            assert_eq!(decoded.chain_id(), Some(901));
            assert_eq!(decoded.recover_signer().unwrap(), sender);
        }
    }
}
