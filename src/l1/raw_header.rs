//! The bytes of a block's header, as L1's consensus hashes them, for contracts that take no node's word.
//!
//! A fork may add fields. What is written from what a node tells then misses them, and does not hash to the block's hash: the node
//! is asked for the bytes themselves. Bytes count only if they hash to the hash, and what they say of prevrandao is read from
//! them, not from what the node says beside them.

use super::client::Client;
use super::error::L1Error;
use alloy::primitives::{Address, B256, Bytes, U64, keccak256};
use alloy::providers::Provider as _;
use alloy::rlp;
use alloy::rpc::types::Header;
use serde::Deserialize;
use serde_json::Value;

/// Where prevrandao stands among a header's fields. Forks add fields behind those that there are (EIP-4399 has put it in the
/// place of the mix hash), and the contracts look for it here.
const RANDOM_FIELD: usize = 13;

/// What every fork's blocks have.
#[derive(Deserialize)]
struct Named {
    hash: B256,
    number: U64,
}

impl Client {
    /// The RLP header of a block and its prevrandao.
    ///
    /// # Errors
    ///
    /// [`L1Error::UnknownHeader`] when the header has fields that this release does not know, and no node gives its bytes;
    /// [`L1Error::BadAnswer`] when what a node gives is another block's header, or none.
    pub(super) async fn raw_header(&self, number: u64) -> Result<(Bytes, B256), L1Error> {
        self.checked(|| self.told_raw_header(number)).await
    }

    async fn told_raw_header(&self, number: u64) -> Result<(Bytes, B256), L1Error> {
        let of = |error| L1Error::of(&error, Address::ZERO);
        let params = (U64::from(number), false);
        let told: Option<Value> =
            self.provider().raw_request("eth_getBlockByNumber".into(), params).await.map_err(of)?;
        let told = told.ok_or(L1Error::BadAnswer { what: "block" })?;
        let named = Named::deserialize(&told).map_err(|_| L1Error::BadAnswer { what: "block" })?;
        if named.number.to::<u64>() != number {
            return Err(L1Error::BadAnswer { what: "block with the number that was asked for" });
        }
        // The fields that are known may read otherwise in a later fork: then they cannot be written either.
        let written = serde_json::from_value::<Header>(told).map(|told| rlp::encode(&told.inner));
        let bytes: Bytes = match written {
            Ok(written) if keccak256(&written) == named.hash => written.into(),
            _ => {
                let params = (U64::from(number),);
                let bytes = self.provider().raw_request("debug_getRawHeader".into(), params).await;
                bytes.map_err(of).map_err(|error| match error {
                    L1Error::Refused { .. } | L1Error::BadAnswer { .. } => {
                        L1Error::UnknownHeader { number, reason: error.to_string() }
                    }
                    error => error,
                })?
            }
        };
        if keccak256(&bytes) != named.hash {
            return Err(L1Error::BadAnswer {
                what: "raw header: it does not hash to the block's hash",
            });
        }
        let random =
            random_of(&bytes).ok_or(L1Error::BadAnswer { what: "raw header: no prevrandao" })?;
        Ok((bytes, random))
    }
}

fn random_of(header: &[u8]) -> Option<B256> {
    let mut rest = header;
    let mut fields = rlp::Header::decode_bytes(&mut rest, true).ok()?;
    if !rest.is_empty() {
        return None;
    }
    for _ in 0..RANDOM_FIELD {
        let field = rlp::Header::decode(&mut fields).ok()?;
        fields = fields.get(field.payload_length..)?;
    }
    B256::try_from(rlp::Header::decode_bytes(&mut fields, false).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::random_of;
    use crate::l1::client::Client;
    use crate::l1::error::L1Error;
    use alloy::consensus::Header;
    use alloy::primitives::{B256, Bytes, U256, keccak256};
    use alloy::rlp::{self, Encodable as _};
    use alloy::rpc::client::RpcClient;
    use alloy::transports::mock::Asserter;
    use serde_json::{Value, json};

    const NUMBER: u64 = 7;
    const RANDOM: B256 = B256::repeat_byte(9);

    fn header() -> Header {
        Header {
            number: NUMBER,
            mix_hash: RANDOM,
            base_fee_per_gas: Some(7),
            withdrawals_root: Some(B256::repeat_byte(1)),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::repeat_byte(2)),
            requests_hash: Some(B256::repeat_byte(3)),
            ..Header::default()
        }
    }

    /// The header with fields of a fork that nobody knows yet behind those that it has.
    fn of_a_later_fork() -> Vec<u8> {
        let mut fields = Vec::new();
        let known = rlp::encode(header());
        fields.extend_from_slice(rlp::Header::decode_bytes(&mut known.as_slice(), true).unwrap());
        B256::repeat_byte(0xab).encode(&mut fields);
        vec![U256::from(5), U256::ZERO].encode(&mut fields);
        let mut bytes = Vec::new();
        rlp::Header { list: true, payload_length: fields.len() }.encode(&mut bytes);
        bytes.extend_from_slice(&fields);
        bytes
    }

    /// The block as a node tells it that has a header with these bytes.
    fn told(bytes: &[u8]) -> Value {
        let mut told = serde_json::to_value(header()).unwrap();
        told["hash"] = json!(keccak256(bytes));
        told["laterHash"] = json!(B256::repeat_byte(0xab));
        told
    }

    async fn read(answers: impl IntoIterator<Item = Value>) -> Result<(Bytes, B256), L1Error> {
        let node = Asserter::new();
        for answer in answers {
            match answer.get("error") {
                Some(error) => node.push_failure(serde_json::from_value(error.clone()).unwrap()),
                None => node.push_success(&answer),
            }
        }
        let read = Client::over(RpcClient::mocked(node.clone()), 1).raw_header(NUMBER).await;
        assert!(node.read_q().is_empty(), "all of it was asked for");
        read
    }

    #[tokio::test]
    async fn a_header_of_known_fields_is_written_from_what_a_node_tells() {
        let bytes = rlp::encode(header());
        assert_eq!(read([told(&bytes)]).await, Ok((bytes.into(), RANDOM)));
    }

    #[tokio::test]
    async fn fields_of_a_later_fork_are_in_the_bytes_that_a_node_gives() {
        let bytes = of_a_later_fork();
        let given = json!(Bytes::from(bytes.clone()));
        // What the node says beside them is not what is believed.
        let mut otherwise = told(&bytes);
        otherwise["mixHash"] = json!(B256::repeat_byte(0xff));
        let mut unreadable = told(&bytes);
        unreadable["difficulty"] = json!({ "of": "another kind" });
        for told in [told(&bytes), otherwise, unreadable] {
            assert_eq!(read([told, given.clone()]).await, Ok((bytes.clone().into(), RANDOM)));
        }
    }

    #[tokio::test]
    async fn where_no_node_gives_the_bytes_it_is_said_which_block_and_what_is_missing() {
        let unknown =
            json!({ "error": { "code": -32_601, "message": "the method does not exist" } });
        let told = told(&of_a_later_fork());
        for answer in [unknown, json!("nonsense"), Value::Null] {
            let error = read([told.clone(), answer]).await.unwrap_err();
            assert!(matches!(error, L1Error::UnknownHeader { number: NUMBER, .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.contains("block 7") && said.contains("debug_getRawHeader"), "{said}");
        }
    }

    #[tokio::test]
    async fn bytes_of_another_header_are_refused() {
        let bytes = of_a_later_fork();
        for other in [rlp::encode(header()), Vec::new(), bytes[1..].to_vec()] {
            let error = read([told(&bytes), json!(Bytes::from(other))]).await.unwrap_err();
            assert!(matches!(error, L1Error::BadAnswer { .. }), "{error:?}");
            assert!(error.to_string().contains("does not hash"), "{error}");
        }
        let mut another = told(&rlp::encode(header()));
        another["number"] = json!("0x8");
        let error = read([another]).await.unwrap_err();
        assert!(error.to_string().contains("number that was asked for"), "{error}");
    }

    #[test]
    fn prevrandao_is_read_from_whatever_comes_behind_it_and_from_nothing_else() {
        assert_eq!(random_of(&rlp::encode(header())), Some(RANDOM));
        let bytes = of_a_later_fork();
        assert_eq!(random_of(&bytes), Some(RANDOM));
        for end in 0..bytes.len() {
            assert_eq!(random_of(&bytes[..end]), None);
        }
        let more: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert_eq!(random_of(&more), None, "something is behind it");
        let short: Vec<B256> = vec![RANDOM; 13];
        assert_eq!(random_of(&rlp::encode(short)), None, "too few fields");
        let bytes = vec![U256::from(1); 14];
        assert_eq!(random_of(&rlp::encode(bytes)), None, "not 32 bytes");
    }
}
