//! Batches on their way to L1 and back: the input of `settle` and `settleMany`.

use super::account::Order;
use super::bindings::{IBatchInbox, Submission};
use super::calldata;
use super::client::Client;
use super::convert;
use super::error::L1Error;
use super::flights::Span;
use crate::crypto::{Signature, SigningDomain};
use crate::domain::{BatchHeader, Deployment, SettledBatch};
use alloy::consensus::Transaction as _;
use alloy::eips::Encodable2718 as _;
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use alloy::rpc::types::Transaction;
use alloy::sol_types::SolCall as _;
use serde_json::Value;

/// Nodes refuse larger transactions.
const MAX_TRANSACTION_BYTES: usize = 128 * 1024;
/// What the envelope around the input takes at most: fees, nonce, address, signature.
const ENVELOPE_BYTES: usize = 256;
/// Gas of a settlement beyond its calldata: what is read and written, and per signature and member. Measured maxima (the
/// benches of the contracts) with room to spare; what is not used is not paid.
const BASE_GAS: u64 = 150_000;
const GAS_PER_SIGNATURE: u64 = 8_000;
const GAS_PER_MEMBER: u64 = 1_000;
/// Calldata at its dearest: the floor under a byte in the lists of prices that deployments know, of now (40, EIP-7623) and of L1's
/// next fork. What is above the price of the day is not paid; what is below would never be included.
const GAS_PER_BYTE: u64 = 64;
const INTRINSIC_GAS: u64 = 21_000;
/// The most that a transaction may ask for (EIP-7825).
const MAX_TRANSACTION_GAS: u64 = 16_000_000;

/// A batch that a quorum has signed, ready to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// The header.
    pub header: BatchHeader,
    /// Bit i set: member i of the attesting set signed.
    pub signers: u128,
    /// Their signatures, in the order of the members.
    pub signatures: Vec<Signature>,
    /// How many members the attesting set has.
    pub members: usize,
    /// The payload's bytes.
    pub payload: Bytes,
}

/// A batch as the transaction that settled it carried it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledPayload {
    /// The header.
    pub header: BatchHeader,
    /// Bit i set: member i of the attesting set signed.
    pub signers: u128,
    /// Their signatures.
    pub signatures: Vec<Signature>,
    /// The payload's bytes.
    pub payload: Bytes,
}

impl SettledPayload {
    /// The EIP-712 digest of its header.
    pub(super) fn digest(&self, deployment: &Deployment) -> B256 {
        SigningDomain::new(deployment.chain_id, deployment.settlement).batch(&self.header)
    }
}

impl Certified {
    /// Bytes that it takes in a transaction's input, about.
    fn input_bytes(&self) -> usize {
        // 15 words of header, and offsets, lengths, bitmap and padding.
        let words = 26_usize.saturating_add(self.signatures.len().saturating_mul(2));
        words.saturating_mul(32).saturating_add(self.payload.len())
    }

    fn gas(&self) -> u64 {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        count(self.input_bytes())
            .saturating_mul(GAS_PER_BYTE)
            .saturating_add(BASE_GAS)
            .saturating_add(count(self.signatures.len()).saturating_mul(GAS_PER_SIGNATURE))
            .saturating_add(count(self.members).saturating_mul(GAS_PER_MEMBER))
    }
}

/// How many of `batches`, from the first on, fit one transaction; at least one if there is any.
pub fn fitting(batches: &[Certified]) -> usize {
    let mut bytes = ENVELOPE_BYTES;
    let mut gas = INTRINSIC_GAS;
    let mut count = 0_usize;
    for batch in batches {
        bytes = bytes.saturating_add(batch.input_bytes());
        gas = gas.saturating_add(batch.gas());
        if count > 0 && (bytes > MAX_TRANSACTION_BYTES || gas > MAX_TRANSACTION_GAS) {
            break;
        }
        count = count.saturating_add(1);
    }
    count
}

/// The transaction that settles `batches` in this order. Its gas is given, not estimated: an estimate would fail while
/// the batch before is still on its way.
pub fn order(deployment: &Deployment, batches: &[Certified]) -> Order {
    let gas = batches.iter().map(Certified::gas).fold(INTRINSIC_GAS, u64::saturating_add);
    let input: Bytes = match batches {
        [one] => {
            let submission = submission(one);
            IBatchInbox::settleCall {
                header: submission.header,
                signers: submission.signers,
                signatures: submission.signatures,
                payload: submission.payload,
            }
            .abi_encode()
            .into()
        }
        several => {
            IBatchInbox::settleManyCall { submissions: several.iter().map(submission).collect() }
                .abi_encode()
                .into()
        }
    };
    let to = Some(deployment.settlement);
    Order { to, value_wei: U256::ZERO, input, gas: Some(gas), what: "settle" }
}

fn submission(batch: &Certified) -> Submission {
    Submission {
        header: convert::sol_batch_header(&batch.header),
        signers: batch.signers,
        signatures: batch.signatures.iter().map(convert::sol_signature).collect(),
        payload: batch.payload.clone(),
    }
}

/// What a transaction to settlement carries.
#[derive(Debug)]
pub(super) struct Settling {
    /// Its batches in order; none if its input is nothing that the contract reads.
    pub(super) batches: Vec<SettledPayload>,
    /// Whether its hash is that of what the node told: then nobody made it up.
    pub(super) is_proven: bool,
}

impl Settling {
    /// Reads what a node told of a transaction. Fields that are of no use here are not looked at, so that a kind of
    /// transaction that was invented later is no obstacle.
    fn of(told: &Value, deployment: &Deployment, tx_hash: B256) -> Result<Self, L1Error> {
        let bad = L1Error::BadAnswer { what: "settlement transaction" };
        let field = |name| told.get(name).cloned().unwrap_or_default();
        let to: Option<Address> = serde_json::from_value(field("to")).map_err(|_| bad.clone())?;
        if to != Some(deployment.settlement) {
            return Err(bad);
        }
        let input: Bytes = serde_json::from_value(field("input")).map_err(|_| bad)?;
        let known: Option<Transaction> = serde_json::from_value(told.clone()).ok();
        let is_proven = known.is_some_and(|transaction| {
            let encoded = transaction.inner.encoded_2718();
            transaction.inner.input() == &input && keccak256(encoded) == tx_hash
        });
        Ok(Self { batches: calldata::read(&input).unwrap_or_default(), is_proven })
    }
}

/// What a transaction settled, from its input.
async fn fetch(
    client: &Client,
    deployment: &Deployment,
    tx_hash: B256,
) -> Result<Settling, L1Error> {
    let told = client.told_of_transaction(tx_hash).await?;
    Settling::of(&told, deployment, tx_hash)
}

/// What a transaction settled, with the batch of which this is the digest among it: else the node made it up, unless it is
/// proven that L1 has this input.
///
/// # Errors
///
/// [`L1Error::BadAnswer`] when no node tells that, or what is in the way to L1.
pub(super) async fn fetch_with(
    client: &Client,
    deployment: &Deployment,
    tx_hash: B256,
    digest: B256,
) -> Result<Settling, L1Error> {
    client
        .checked(|| async {
            let settling = fetch(client, deployment, tx_hash).await?;
            let has = |batch: &SettledPayload| batch.digest(deployment) == digest;
            match settling.is_proven || settling.batches.iter().any(has) {
                true => Ok(settling),
                false => Err(L1Error::BadAnswer { what: "settlement input" }),
            }
        })
        .await
}

/// The payload of a settled batch, from the transaction that settled it. It has the hash that the batch's header has for it:
/// L1 took no other.
///
/// # Errors
///
/// [`L1Error::BadAnswer`] when no node tells it, or what is in the way to L1.
pub async fn payload_of(
    client: &Client,
    deployment: &Deployment,
    batch: &SettledBatch,
) -> Result<Bytes, L1Error> {
    client
        .checked(|| async {
            let header = &batch.header;
            fetch(client, deployment, batch.tx_hash)
                .await?
                .batches
                .into_iter()
                .find(|carried| {
                    carried.header == *header && keccak256(&carried.payload) == header.payload_hash
                })
                .map(|carried| carried.payload)
                .ok_or(L1Error::BadAnswer { what: "settlement input" })
        })
        .await
}

/// The heights that a settlement carries, from its input; `None` if it is none.
pub(super) fn span_of(input: &Bytes) -> Option<Span> {
    let batches = calldata::read(input)?;
    let first = batches.first()?.header.first_height;
    Some(Span { first, last: batches.last()?.header.last_height })
}

#[cfg(test)]
mod tests {
    use super::{Certified, MAX_TRANSACTION_GAS, Settling, fitting, order};
    use crate::crypto::Signature;
    use crate::domain::{Deployment, Seconds};
    use crate::testing::batch_header;
    use alloy::consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
    use alloy::eips::Encodable2718 as _;
    use alloy::network::TxSignerSync as _;
    use alloy::primitives::{Address, B256, Bytes, TxKind, keccak256};
    use alloy::signers::local::PrivateKeySigner;
    use serde_json::{Value, json};

    fn deployment() -> Deployment {
        let nowhere = Address::ZERO;
        Deployment {
            chain_id: 1,
            block: 0,
            stake_token: nowhere,
            registry: nowhere,
            settlement: Address::repeat_byte(7),
            tally: nowhere,
            slasher: nowhere,
            reward_pool: nowhere,
            rollups: nowhere,
            guardian: nowhere,
        }
    }

    #[test]
    fn the_gas_that_is_given_suffices_for_every_payload_under_each_list_of_prices() {
        for profile in [
            include_str!("../../script/config/devnet.json"),
            include_str!("../../script/config/testnet.json"),
        ] {
            let p = crate::l1::read_params(profile, Seconds::new(0)).unwrap();
            let lists = [
                (p.transaction_gas, p.zero_byte_floor_gas, p.byte_floor_gas),
                (p.next_transaction_gas, p.next_zero_byte_floor_gas, p.next_byte_floor_gas),
            ];
            for (payload, byte) in
                [0, 1_000, 33_000, 100_000].into_iter().flat_map(|size| [(size, 0), (size, 1)])
            {
                let batch = Certified {
                    header: batch_header(1),
                    signers: 7,
                    signatures: vec![Signature::from_compact([1; 64]); 3],
                    members: 4,
                    payload: vec![byte; payload].into(),
                };
                for batches in [vec![batch.clone()], vec![batch.clone(), batch]] {
                    let fitting = batches.get(..fitting(&batches)).unwrap();
                    let order = order(&deployment(), fitting);
                    let given = order.gas.unwrap();
                    for (transaction, zero, other) in lists {
                        let zeros = order.input.iter().filter(|byte| **byte == 0).count();
                        let others = order.input.len().saturating_sub(zeros);
                        let [zeros, others] = [zeros, others].map(|n| u64::try_from(n).unwrap());
                        let floor = transaction
                            .saturating_add(zeros.saturating_mul(zero))
                            .saturating_add(others.saturating_mul(other));
                        assert!(given > floor, "{payload} bytes: {given}, at least {floor}");
                    }
                    assert!(given <= MAX_TRANSACTION_GAS);
                }
            }
        }
    }

    /// A signed transaction to settlement, as a node tells it.
    fn told(input: &'static [u8]) -> (Value, B256) {
        let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(5)).unwrap();
        let mut transaction = TxEip1559 {
            chain_id: 1,
            to: TxKind::Call(deployment().settlement),
            input: Bytes::from_static(input),
            ..TxEip1559::default()
        };
        let signature = signer.sign_transaction_sync(&mut transaction).unwrap();
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        let hash = keccak256(envelope.encoded_2718());
        let mut told = serde_json::to_value(&envelope).unwrap();
        told["from"] = json!(signer.address());
        told["hash"] = json!(hash);
        (told, hash)
    }

    #[test]
    fn an_input_that_nobody_can_read_is_proven_by_the_transactions_hash() {
        let (told, hash) = told(b"rubbish");
        let settling = Settling::of(&told, &deployment(), hash).unwrap();
        assert!(settling.is_proven && settling.batches.is_empty());
    }

    #[test]
    fn a_node_that_tells_another_input_or_hash_proves_nothing() {
        let (told, hash) = told(b"rubbish");
        let mut other = told.clone();
        other["input"] = json!("0x0102");
        assert!(!Settling::of(&other, &deployment(), hash).unwrap().is_proven);
        assert!(!Settling::of(&told, &deployment(), B256::repeat_byte(1)).unwrap().is_proven);
    }

    #[test]
    fn a_kind_of_transaction_that_is_not_known_can_be_read() {
        let (mut told, hash) = told(b"rubbish");
        told["type"] = json!("0x7b");
        let settling = Settling::of(&told, &deployment(), hash).unwrap();
        assert!(!settling.is_proven);
    }

    #[test]
    fn a_transaction_to_somebody_else_is_no_settlement() {
        let (mut told, hash) = told(b"rubbish");
        for to in [json!(Address::repeat_byte(8)), json!(null), json!(7)] {
            told["to"] = to;
            assert!(Settling::of(&told, &deployment(), hash).is_err());
        }
    }
}
