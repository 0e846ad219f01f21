//! Calls that change nothing.

use crate::support::{
    BURNER, CHAIN_ID, COUNTER, Chain, ENVIRONMENT, Fork, REVERTER, address, deploy, genesis_json,
    sign, wallet,
};
use alloy_primitives::{Address, Bytes, U256, hex};
use rota_execution::{Call, CallOutcome, Genesis};
use serde_json::json;

/// Returns its slot 0.
const TELLER: [u8; 9] = hex!("5f545f5260205ff300");

fn called(chain: &Chain, call: Call) -> CallOutcome {
    chain.executor.call(call).unwrap()
}

fn to(contract: Address) -> Call {
    Call { from: address(0), to: Some(contract), ..Call::default() }
}

#[test]
fn a_call_sees_the_last_closed_block_and_changes_nothing() {
    let mut json = genesis_json(Fork::Osaka);
    let teller = Address::repeat_byte(0x47);
    json["alloc"][teller.to_string()] = json!({
        "balance": "0x0", "code": Bytes::from_static(&TELLER),
        "storage": { format!("{:#066x}", 0): format!("{:#066x}", 7) },
    });
    let mut chain = Chain::new(Genesis::parse(&json.to_string(), CHAIN_ID).unwrap());
    let seven = CallOutcome::Returned { output: U256::from(7).to_be_bytes_vec().into() };
    assert_eq!(called(&chain, to(teller)), seven);
    // From a contract, as some do that simulate others.
    assert_eq!(called(&chain, Call { from: teller, ..to(teller) }), seven);

    let raws: Vec<Bytes> = [&COUNTER[..], &REVERTER, &BURNER, &ENVIRONMENT]
        .iter()
        .zip(0..)
        .map(|(code, nonce)| sign(&wallet(0), deploy(nonce, code)))
        .collect();
    chain.add(&raws);
    let [counter, reverter, burner, environment] =
        [0, 1, 2, 3].map(|nonce| address(0).create(nonce));
    // Nothing is there as long as its second is open.
    let nothing = CallOutcome::Returned { output: Bytes::new() };
    assert_eq!(called(&chain, to(reverter)), nothing);
    chain.close();
    let head = chain.executor.head().1;
    assert_eq!(called(&chain, to(counter)), nothing);
    assert_eq!(called(&chain, to(environment)), nothing);
    assert_eq!(called(&chain, to(reverter)), CallOutcome::Reverted { output: Bytes::new() });
    assert!(matches!(called(&chain, to(burner)), CallOutcome::Failed { .. }));
    assert_eq!(chain.slot(counter, 0), U256::ZERO);
    assert_eq!(chain.executor.head().1, head);
}

#[test]
fn a_call_that_cannot_begin_says_why() {
    let chain = Chain::at(Fork::Prague);
    let refused = |call: Call, word: &str| match called(&chain, call) {
        CallOutcome::Refused { reason } => assert!(reason.contains(word), "{reason}"),
        other => panic!("{other:?}"),
    };
    refused(Call { from: address(99), value: U256::from(1), ..to(address(1)) }, "funds");
    refused(Call { gas_limit: Some(20_999), ..to(address(1)) }, "gas");
    refused(Call { to: None, input: vec![0; 49_153].into(), ..to(address(1)) }, "initcode");
    // Whatever it asks for, it gets no more than a block may hold.
    let all = Call { gas_limit: Some(u64::MAX), value: U256::from(1), ..to(address(1)) };
    assert_eq!(called(&chain, all), CallOutcome::Returned { output: Bytes::new() });
}
