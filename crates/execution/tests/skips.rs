//! X3: every reason for which a transaction is skipped, and that it leaves nothing behind.

use crate::support::{
    BURNER, CHAIN_ID, COUNTER, Chain, Fork, GAS_LIMIT, GENESIS_TIME, GWEI, READER, address,
    authorize, call, delegate, genesis_json, height, legacy, pay, reason, sign, wallet,
};
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip4844, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use alloy_signer::SignerSync;
use rota_execution::{Fate, Genesis, Prepared, SkipReason};
use serde_json::{Value, json};

/// Why `raw` is skipped between two transactions of another account, after having seen that the block is as without it.
fn skipped_at(genesis: &Value, raw: &Bytes) -> SkipReason {
    // What comes after reads the account of who was skipped, and pays for reading it cold.
    let reader = Address::repeat_byte(0x44);
    let mut genesis = genesis.clone();
    genesis["alloc"][reader.to_string()] =
        json!({ "balance": "0x0", "code": Bytes::from_static(&READER) });
    let parse = || Genesis::parse(&genesis.to_string(), CHAIN_ID).unwrap();
    let (mut with, mut without) = (Chain::new(parse()), Chain::new(parse()));
    let before = sign(&wallet(15), pay(0, address(14), 1));
    let after = sign(&wallet(15), call(1, reader, address(0).into_word().as_slice()));
    let fates = with.second(&[before.clone(), raw.clone(), after.clone()]);
    without.second(&[before, after]);
    assert_eq!(fates[0], Fate::Included { index: 0 });
    assert_eq!(fates[2], Fate::Included { index: 1 });
    assert!(with.last().receipts.iter().all(|receipt| receipt.status()));
    assert_eq!(with.last(), without.last());
    reason(&fates[1..2]).clone()
}

fn skipped(fork: Fork, raw: &Bytes) -> SkipReason {
    skipped_at(&genesis_json(fork), raw)
}

#[test]
fn bytes_that_are_no_transaction() {
    let whole = sign(&wallet(0), pay(0, address(1), 1));
    let longer = [&whole[..], &[0]].concat();
    let shorter = whole[..whole.len() - 1].to_vec();
    // The same fields, with a length that has a leading zero.
    let mut padded = vec![2, 0xf9, 0];
    padded.extend_from_slice(&whole[2..]);
    for raw in [vec![], vec![0x7f], vec![2], vec![0xc0], vec![0xff; 300], longer, shorter, padded] {
        assert_eq!(skipped(Fork::Prague, &raw.into()), SkipReason::Undecodable);
    }
}

#[test]
fn blobs() {
    let transaction = TxEip4844 {
        chain_id: CHAIN_ID,
        gas_limit: 21_000,
        max_fee_per_gas: 20 * GWEI,
        max_fee_per_blob_gas: 1,
        blob_versioned_hashes: vec![alloy_primitives::B256::with_last_byte(1)],
        ..TxEip4844::default()
    };
    let signature = wallet(0).sign_hash_sync(&transaction.signature_hash()).unwrap();
    let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    assert_eq!(skipped(Fork::Osaka, &raw.into()), SkipReason::Blob);
    assert_eq!(skipped(Fork::Osaka, &vec![3].into()), SkipReason::Blob);
}

#[test]
fn another_chain_and_none() {
    let other = sign(&wallet(0), TxEip1559 { chain_id: 1, ..pay(0, address(1), 1) });
    assert_eq!(skipped(Fork::Prague, &other), SkipReason::WrongChain { found: Some(1) });
    let none = sign(&wallet(0), TxLegacy { chain_id: None, ..legacy(0, address(1)) });
    assert_eq!(skipped(Fork::Prague, &none), SkipReason::WrongChain { found: None });
}

#[test]
fn signatures_of_nobody() {
    let transaction = pay(0, address(1), 1);
    let right = wallet(0).sign_hash_sync(&transaction.signature_hash()).unwrap();
    let order = U256::from_be_bytes(alloy_primitives::hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let wrong = [
        Signature::new(right.r(), order - right.s(), !right.v()),
        Signature::new(U256::ZERO, right.s(), right.v()),
        Signature::new(right.r(), U256::ZERO, right.v()),
        Signature::new(U256::MAX, right.s(), right.v()),
    ];
    for signature in wrong {
        let raw = TxEnvelope::from(transaction.clone().into_signed(signature)).encoded_2718();
        assert_eq!(skipped(Fork::Prague, &raw.into()), SkipReason::BadSignature);
    }
}

#[test]
fn a_type_whose_fork_has_not_begun() {
    let raw = sign(&wallet(0), delegate(0, address(1), vec![authorize(1, 0, address(2))]));
    assert_eq!(skipped(Fork::Cancun, &raw), SkipReason::NotYet { kind: 4 });
    let fates = Chain::at(Fork::Prague).add(&[raw]);
    assert_eq!(fates, [Fate::Included { index: 0 }]);
}

#[test]
fn nonces_beside_the_accounts() {
    let mut genesis = genesis_json(Fork::Prague);
    genesis["alloc"][address(0).to_string()]["nonce"] = json!("0x5");
    for (nonce, expected) in [
        (4, SkipReason::NonceTooLow { found: 4, account: 5 }),
        (6, SkipReason::NonceTooHigh { found: 6, account: 5 }),
        (u64::MAX - 1, SkipReason::NonceTooHigh { found: u64::MAX - 1, account: 5 }),
    ] {
        assert_eq!(skipped_at(&genesis, &sign(&wallet(0), pay(nonce, address(1), 1))), expected);
    }
}

#[test]
fn the_nonce_at_the_end_of_its_type() {
    let mut genesis = genesis_json(Fork::Prague);
    genesis["alloc"][address(0).to_string()]["nonce"] = json!("0xfffffffffffffffe");
    let raw = sign(&wallet(0), pay(u64::MAX, address(1), 1));
    assert_eq!(skipped_at(&genesis, &raw), SkipReason::NonceAtEnd);

    let mut chain = Chain::new(Genesis::parse(&genesis.to_string(), CHAIN_ID).unwrap());
    let last = sign(&wallet(0), pay(u64::MAX - 1, address(1), 1));
    let fates = chain.second(&[last, raw]);
    assert_eq!(fates[0], Fate::Included { index: 0 });
    assert_eq!(reason(&fates[1..]), &SkipReason::NonceAtEnd);
}

#[test]
fn a_balance_that_does_not_cover_the_fee_cap() {
    // One wei short of value and gas at the cap, and then just enough, though less is paid.
    let balance = U256::from(1_000_000_000_000_000_000_000_u128);
    let gas = U256::from(21_000 * 20 * GWEI);
    let short = TxEip1559 { value: balance - gas + U256::from(1), ..pay(0, address(1), 0) };
    let found = skipped(Fork::Prague, &sign(&wallet(0), short));
    assert_eq!(found, SkipReason::Funds { balance, needed: balance + U256::from(1) });
    let enough = TxEip1559 { value: balance - gas, ..pay(0, address(1), 0) };
    assert_eq!(
        Chain::at(Fork::Prague).add(&[sign(&wallet(0), enough)]),
        [Fate::Included { index: 0 }]
    );

    let nobody = skipped(Fork::Prague, &sign(&wallet(99), pay(0, address(1), 1)));
    assert_eq!(nobody.name(), "funds");
}

#[test]
fn more_than_any_balance() {
    let raw = sign(&wallet(0), TxEip1559 { value: U256::MAX, ..pay(0, address(1), 0) });
    assert_eq!(skipped(Fork::Prague, &raw).name(), "unaffordable");
    // Gas alone is counted in 128 bits, however rich an account is.
    let mut genesis = genesis_json(Fork::Prague);
    genesis["alloc"][address(0).to_string()]["balance"] = json!(U256::from(1) << 254);
    for (max_fee_per_gas, fits) in [(u128::MAX / 21_000, true), (u128::MAX / 21_000 + 1, false)] {
        let raw = sign(&wallet(0), TxEip1559 { max_fee_per_gas, ..pay(0, address(1), 0) });
        let mut chain = Chain::new(Genesis::parse(&genesis.to_string(), CHAIN_ID).unwrap());
        let fates = chain.second(&[raw]);
        assert_eq!(fates == [Fate::Included { index: 0 }], fits, "{fates:?}");
    }
}

#[test]
fn fees_below_the_base_fee() {
    // 1 gwei, less an eighth after the empty genesis block.
    let base_fee = 875_000_000;
    let fees = |cap: u128| TxEip1559 {
        max_fee_per_gas: cap,
        max_priority_fee_per_gas: 0,
        ..pay(0, address(1), 1)
    };
    let below = sign(&wallet(0), fees(base_fee - 1));
    let expected = SkipReason::FeeCap { fee_cap: base_fee - 1, base_fee: 875_000_000 };
    assert_eq!(skipped(Fork::Prague, &below), expected);
    let enough = sign(&wallet(0), fees(base_fee));
    assert_eq!(Chain::at(Fork::Prague).add(&[enough]), [Fate::Included { index: 0 }]);

    let upside_down = TxEip1559 { max_priority_fee_per_gas: 21 * GWEI, ..pay(0, address(1), 1) };
    assert_eq!(skipped(Fork::Prague, &sign(&wallet(0), upside_down)), SkipReason::PriorityFee);
}

#[test]
fn a_base_fee_that_no_header_can_state() {
    let mut genesis = genesis_json(Fork::Prague);
    genesis["baseFeePerGas"] = json!("0xffffffffffffffff");
    let mut chain = Chain::new(Genesis::parse(&genesis.to_string(), CHAIN_ID).unwrap());
    let rich = TxEip1559 { max_fee_per_gas: u128::from(u64::MAX), ..pay(0, address(1), 1) };
    assert_eq!(reason(&chain.second(&[sign(&wallet(0), rich)])), &SkipReason::BaseFeeAtEnd);
    assert_eq!(reason(&chain.second(&[vec![3].into()])), &SkipReason::Blob);
    assert!(chain.blocks.is_empty());
}

#[test]
fn gas_above_what_is_left() {
    let all =
        |nonce, gas_limit| sign(&wallet(0), TxEip1559 { gas_limit, ..pay(nonce, address(1), 1) });
    let found = skipped(Fork::Prague, &all(0, GAS_LIMIT - 21_000 + 1));
    let expected =
        SkipReason::BlockGas { gas_limit: GAS_LIMIT - 21_000 + 1, left: GAS_LIMIT - 21_000 };
    assert_eq!(found, expected);
    assert_eq!(skipped(Fork::Prague, &all(0, u64::MAX)).name(), "block-gas");

    // What is left is what was not used, rather than not asked for.
    let mut chain = Chain::at(Fork::Prague);
    let fates = chain.second(&[all(0, GAS_LIMIT), all(1, GAS_LIMIT - 21_000), all(2, GAS_LIMIT)]);
    assert!(matches!(fates[..2], [Fate::Included { index: 0 }, Fate::Included { index: 1 }]));
    assert_eq!(reason(&fates[2..]).name(), "block-gas");
    // And the next second has room again.
    assert_eq!(chain.second(&[all(2, GAS_LIMIT)]), [Fate::Included { index: 0 }]);
}

#[test]
fn a_full_block_stays_within_its_gas() {
    let mut chain = Chain::at(Fork::Prague);
    chain.second(&[sign(&wallet(0), crate::support::deploy(0, &BURNER))]);
    let burner = address(0).create(0);
    let burn: Vec<Bytes> = (1..8)
        .map(|nonce| {
            sign(&wallet(0), TxEip1559 { gas_limit: 7_000_000, ..call(nonce, burner, &[]) })
        })
        .collect();
    let fates = chain.second(&burn);
    assert_eq!(fates.iter().filter(|fate| matches!(fate, Fate::Included { .. })).count(), 4);
    assert_eq!(chain.last().header.gas_used, 28_000_000);
    assert!(chain.last().receipts.iter().all(|receipt| !receipt.status()));
    // A full block makes the next one dearer.
    chain.second(&[sign(&wallet(1), pay(0, address(2), 1))]);
    let [.., full, next] = &chain.blocks[..] else { panic!() };
    assert!(next.header.base_fee_per_gas > full.header.base_fee_per_gas);
}

#[test]
fn gas_above_a_transactions_cap() {
    let raw = |gas_limit| sign(&wallet(0), TxEip1559 { gas_limit, ..pay(0, address(1), 1) });
    let cap = 1 << 24;
    let expected = SkipReason::GasCap { gas_limit: cap + 1, cap };
    assert_eq!(skipped(Fork::Osaka, &raw(cap + 1)), expected);
    assert_eq!(skipped(Fork::Osaka, &raw(u64::MAX)).name(), "gas-cap");
    for (fork, gas_limit) in [(Fork::Osaka, cap), (Fork::Prague, cap + 1)] {
        assert_eq!(Chain::at(fork).add(&[raw(gas_limit)]), [Fate::Included { index: 0 }]);
    }
}

#[test]
fn bytes_above_what_is_left_of_the_block() {
    let data = |nonce| {
        let input = vec![0; 1_500_000].into();
        sign(&wallet(0), TxEip1559 { input, gas_limit: 16_000_000, ..call(nonce, address(1), &[]) })
    };
    let raws: Vec<Bytes> = (0..6).map(data).collect();
    let filled = |fork| {
        let mut genesis = genesis_json(fork);
        genesis["gasLimit"] = json!("0x3b9aca00");
        let mut chain = Chain::new(Genesis::parse(&genesis.to_string(), CHAIN_ID).unwrap());
        let fates = chain.second(&raws);
        (fates, chain.last().rlp().len())
    };
    let (fates, size) = filled(Fork::Osaka);
    assert_eq!(reason(&fates[5..]).name(), "block-size");
    assert!(fates[..5].iter().all(|fate| matches!(fate, Fate::Included { .. })));
    assert!(size <= 8 * 1024 * 1024);
    // Before, Ethereum has no such bound.
    let (fates, _) = filled(Fork::Prague);
    assert_eq!(fates[5], Fate::Included { index: 5 });
}

#[test]
fn gas_below_what_it_costs_before_it_begins() {
    let little = sign(&wallet(0), TxEip1559 { gas_limit: 20_999, ..pay(0, address(1), 1) });
    let expected = SkipReason::IntrinsicGas { gas_limit: 20_999, needed: 21_000 };
    assert_eq!(skipped(Fork::Prague, &little), expected);
    // The floor of calldata from Prague on: 40 gas for each byte that is not zero, and 16 before.
    let data =
        |gas_limit| sign(&wallet(0), TxEip1559 { gas_limit, ..call(0, address(1), &[1; 100]) });
    let expected = SkipReason::IntrinsicGas { gas_limit: 24_999, needed: 25_000 };
    assert_eq!(skipped(Fork::Prague, &data(24_999)), expected);
    assert_eq!(Chain::at(Fork::Cancun).add(&[data(24_999)]), [Fate::Included { index: 0 }]);
}

#[test]
fn senders_with_code() {
    let mut genesis = genesis_json(Fork::Prague);
    genesis["alloc"][address(0).to_string()]["code"] = json!("0x00");
    let raw = sign(&wallet(0), pay(0, address(1), 1));
    assert_eq!(skipped_at(&genesis, &raw), SkipReason::SenderHasCode);

    // A delegation is no such code.
    let mut chain = Chain::at(Fork::Prague);
    let counter = address(1).create(0);
    chain.second(&[
        sign(&wallet(1), crate::support::deploy(0, &COUNTER)),
        sign(&wallet(1), delegate(1, address(0), vec![authorize(0, 0, counter)])),
        sign(&wallet(0), pay(1, address(1), 1)),
    ]);
    assert_eq!(chain.last().transactions.len(), 3);
    // Called, the account counted for itself.
    assert_eq!(chain.slot(address(0), 0), U256::from(1));
    assert_eq!(chain.account(address(0)).unwrap().nonce, 2);
}

#[test]
fn init_code_that_is_too_large() {
    let create = |length| {
        let transaction = TxEip1559 {
            to: TxKind::Create,
            gas_limit: 10_000_000,
            input: vec![0; length].into(),
            ..call(0, Address::ZERO, &[])
        };
        sign(&wallet(0), transaction)
    };
    assert_eq!(skipped(Fork::Prague, &create(49_153)), SkipReason::InitCode);
    assert_eq!(Chain::at(Fork::Prague).add(&[create(49_152)]), [Fate::Included { index: 0 }]);
}

#[test]
fn authorizations_of_nobody() {
    let raw = sign(&wallet(0), delegate(0, address(1), vec![]));
    assert_eq!(skipped(Fork::Prague, &raw), SkipReason::NoAuthorization);
}

#[test]
fn logs_of_the_deposit_contract() {
    let event = alloy_primitives::keccak256("DepositEvent(bytes,bytes,bytes,bytes,bytes)");
    let log = |topic: &[u8]| Bytes::from([&[0x7f], topic, &[0x5f, 0x5f, 0xa1, 0]].concat());
    // Where mainnet has that contract, whether or not the file says so.
    let contract = alloy_eips::eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS;
    let mut genesis = genesis_json(Fork::Prague);
    genesis["alloc"][contract.to_string()] = json!({ "balance": "0x0", "code": log(&*event) });
    let raw = sign(&wallet(0), call(0, contract, &[]));
    assert_eq!(skipped_at(&genesis, &raw), SkipReason::Deposit { address: contract });
    // Other logs of it, and the same log of another, mean nothing.
    genesis["alloc"][contract.to_string()]["code"] = json!(log(&[1; 32]));
    let other = Address::repeat_byte(0x45);
    genesis["alloc"][other.to_string()] = json!({ "balance": "0x0", "code": log(&*event) });
    let mut chain = Chain::new(Genesis::parse(&genesis.to_string(), CHAIN_ID).unwrap());
    let fates = chain.second(&[raw.clone(), sign(&wallet(0), call(1, other, &[]))]);
    assert_eq!(fates, [Fate::Included { index: 0 }, Fate::Included { index: 1 }]);

    // Where the file says, its code comes later: by a delegation of whoever has the key.
    let mut genesis = genesis_json(Fork::Prague);
    genesis["config"]["depositContractAddress"] = json!(address(1));
    genesis["alloc"][other.to_string()] = json!({ "balance": "0x0", "code": log(&*event) });
    let raw = sign(&wallet(0), delegate(0, address(1), vec![authorize(1, 0, other)]));
    assert_eq!(skipped_at(&genesis, &raw), SkipReason::Deposit { address: address(1) });
    // Before Prague it is a log like any other.
    let mut genesis = genesis_json(Fork::Cancun);
    genesis["alloc"][contract.to_string()] = json!({ "balance": "0x0", "code": log(&*event) });
    let mut chain = Chain::new(Genesis::parse(&genesis.to_string(), CHAIN_ID).unwrap());
    let fates = chain.second(&[sign(&wallet(0), call(0, contract, &[]))]);
    assert_eq!(fates, [Fate::Included { index: 0 }]);
}

#[test]
fn a_skipped_transaction_does_not_move_another() {
    // Nonce 1 waits for nothing: it is skipped where it stands, and is not taken up when nonce 0 comes.
    let mut chain = Chain::at(Fork::Prague);
    let [first, second] = [0, 1].map(|nonce| sign(&wallet(0), pay(nonce, address(1), 1)));
    let fates = chain.second(&[second.clone(), first, second]);
    assert_eq!(reason(&fates[..1]), &SkipReason::NonceTooHigh { found: 1, account: 0 });
    assert_eq!(fates[1..], [Fate::Included { index: 0 }, Fate::Included { index: 1 }]);
}

#[test]
fn a_height_that_only_skips_does_not_sign_the_block() {
    let mut chain = Chain::at(Fork::Prague);
    let now = (GENESIS_TIME + 1) * 1_000;
    chain.give(height(1, now, &[sign(&wallet(0), pay(9, address(1), 1))]));
    chain.give(height(2, now, &[sign(&wallet(0), pay(0, address(1), 1))]));
    chain.give(height(3, now, &[sign(&wallet(0), pay(0, address(1), 1))]));
    chain.close();
    let block = chain.last();
    assert_eq!(block.header.extra_data, Bytes::from(2_u64.to_be_bytes()));
    assert_eq!(block.header.mix_hash, height(2, now, &[]).block_hash);
}

#[test]
fn who_sent_it_is_known_before_it_is_executed() {
    let prepared = Prepared::new(&sign(&wallet(3), pay(0, address(1), 1)), CHAIN_ID);
    assert_eq!(prepared.sender(), Some(address(3)));
    assert_eq!(Prepared::new(&[1], CHAIN_ID).sender(), None);
}
