//! X4: what a block's header says, and what contracts read of it.

use crate::support::{
    CHAIN_ID, COUNTER, Chain, ENVIRONMENT, FORKS, Fork, GENESIS_TIME, GWEI, MORTAL, REVERTER,
    address, call, deploy, genesis_json, height, pay, sign, wallet,
};
use alloy_consensus::TxEip1559;
use alloy_eips::{eip2935, eip4788, eip7002};
use alloy_primitives::{Address, B256, Bloom, Bytes, U256};
use rota_execution::{Fate, Genesis};
use serde_json::json;

fn word(value: B256) -> U256 {
    U256::from_be_bytes(value.0)
}

#[test]
fn a_header_says_who_when_and_upon_what() {
    for fork in FORKS {
        let mut chain = Chain::at(fork);
        let genesis = chain.executor.genesis().clone();
        let given =
            height(1, (GENESIS_TIME + 5) * 1_000 + 123, &[sign(&wallet(0), pay(0, address(1), 1))]);
        chain.give(given.clone());
        chain.give(height(2, (GENESIS_TIME + 6) * 1_000, &[]));
        let header = &chain.last().header;

        assert_eq!((header.number, header.timestamp), (1, GENESIS_TIME + 5));
        assert_eq!(header.parent_hash, genesis.hash());
        assert_eq!(header.beneficiary, given.proposer);
        assert_eq!(header.mix_hash, given.block_hash);
        assert_eq!(header.extra_data, Bytes::from(1_u64.to_be_bytes()));
        assert_eq!(header.gas_limit, genesis.header().gas_limit);
        assert_eq!(header.gas_used, 21_000);
        assert_eq!(header.base_fee_per_gas, Some(875_000_000));
        let origin = (fork >= Fork::Cancun).then_some(given.l1_origin_hash);
        assert_eq!(header.parent_beacon_block_root, origin);
        assert_eq!(header.blob_gas_used, origin.map(|_| 0));
        assert_eq!(header.requests_hash.is_some(), fork >= Fork::Prague);
        assert_eq!(chain.last().hash, header.hash_slow());
    }
}

#[test]
fn what_contracts_read_is_that_of_the_first_height_of_the_second() {
    // It is fixed when the first of them executes: what a later height of the second brings changes nothing before it.
    let mut chain = Chain::at(Fork::Prague);
    let contract = address(0).create(0);
    let now = (GENESIS_TIME + 1) * 1_000;
    chain.give(height(1, now, &[]));
    let mut first = height(2, now, &[sign(&wallet(0), deploy(0, &ENVIRONMENT))]);
    first.proposer = Address::repeat_byte(0xaa);
    let mut second = height(3, now, &[sign(&wallet(0), call(1, contract, &[]))]);
    second.proposer = Address::repeat_byte(0xbb);
    chain.give(first.clone());
    chain.give(second);
    chain.close();

    let block = chain.last().clone();
    assert_eq!(block.header.extra_data, Bytes::from(3_u64.to_be_bytes()));
    assert_eq!(block.header.beneficiary, first.proposer);
    assert_eq!(chain.slot(contract, 0), word(first.proposer.into_word()));
    assert_eq!(chain.slot(contract, 1), word(first.block_hash));
    assert_eq!(chain.slot(contract, 2), U256::from(GENESIS_TIME + 1));
    assert_eq!(chain.slot(contract, 3), U256::from(1));
    assert_eq!(chain.slot(contract, 4), U256::from(875_000_000));
    assert_eq!(chain.slot(contract, 5), word(chain.executor.genesis().hash()));
}

#[test]
fn block_hashes_reach_back_256_blocks() {
    let mut chain = Chain::at(Fork::Prague);
    // Writes the hash of the block 256 before it into slot 0, and of the one before that into slot 1.
    let code = alloy_primitives::hex!("61010043034060005561010143034060015500");
    chain.second(&[sign(&wallet(0), deploy(0, &code))]);
    let contract = address(0).create(0);
    for nonce in 1..300 {
        chain.second(&[sign(&wallet(0), call(nonce, contract, &[]))]);
    }
    let last = chain.last().header.number;
    let back = usize::try_from(last - 256).unwrap();
    assert_eq!(chain.slot(contract, 0), word(chain.blocks[back - 1].hash));
    assert_eq!(chain.slot(contract, 1), U256::ZERO);
}

#[test]
fn contracts_read_the_l1_origin_and_parent_hashes() {
    let mut chain = Chain::at(Fork::Prague);
    let now = (GENESIS_TIME + 1) * 1_000;
    let given = height(1, now, &[sign(&wallet(0), pay(0, address(1), 1))]);
    chain.give(given.clone());
    chain.close();
    // EIP-4788: the root is kept under the timestamp, 8,191 slots behind it.
    let slot = (GENESIS_TIME + 1) % 8_191 + 8_191;
    assert_eq!(chain.slot(eip4788::BEACON_ROOTS_ADDRESS, slot), word(given.l1_origin_hash));
    // EIP-2935: the parent's hash under its number.
    let genesis = chain.executor.genesis().hash();
    assert_eq!(chain.slot(eip2935::HISTORY_STORAGE_ADDRESS, 0), word(genesis));
}

#[test]
fn receipts_and_blooms_tell_logs_and_failures() {
    let mut chain = Chain::at(Fork::Prague);
    let [counter, reverter] = [0, 1].map(|nonce| address(0).create(nonce));
    chain.second(&[sign(&wallet(0), deploy(0, &COUNTER)), sign(&wallet(0), deploy(1, &REVERTER))]);
    let fates = chain.second(&[
        sign(&wallet(0), call(2, counter, &[])),
        sign(&wallet(0), call(3, reverter, &[])),
        sign(&wallet(0), TxEip1559 { gas_limit: 22_000, ..call(4, counter, &[]) }),
    ]);
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Included { .. })));

    let block = chain.last();
    let statuses: Vec<bool> = block.receipts.iter().map(|receipt| receipt.status()).collect();
    assert_eq!(statuses, [true, false, false]);
    let [log] = block.receipts[0].logs() else { panic!("one log") };
    assert_eq!(log.address, counter);
    let mut bloom = Bloom::ZERO;
    bloom.accrue_log(log);
    assert_eq!(block.header.logs_bloom, bloom);
    assert_eq!(block.receipts[2].cumulative_gas_used(), block.header.gas_used);
    // What fails is paid for, and undone.
    assert_eq!(chain.slot(counter, 0), U256::from(1));
    assert_eq!(chain.account(address(0)).unwrap().nonce, 5);
}

#[test]
fn the_beneficiary_is_paid_the_tip_and_the_base_fee_is_burned() {
    let mut chain = Chain::at(Fork::Prague);
    let proposer = height(1, 0, &[]).proposer;
    let before = chain.account(address(0)).unwrap().balance;
    chain.second(&[sign(&wallet(0), pay(0, address(1), 7))]);
    assert_eq!(chain.account(proposer).unwrap().balance, U256::from(21_000 * GWEI));
    let paid = before - chain.account(address(0)).unwrap().balance;
    assert_eq!(paid, U256::from(7 + 21_000 * (GWEI + 875_000_000)));
}

#[test]
fn requests_are_what_the_contracts_ask_for() {
    let mut chain = Chain::at(Fork::Prague);
    chain.second(&[sign(&wallet(0), pay(0, address(1), 7))]);
    let empty = chain.last().header.requests_hash;
    assert_eq!(empty, Some(alloy_eips::eip7685::EMPTY_REQUESTS_HASH));
    let ask = TxEip1559 {
        value: U256::from(1),
        ..call(1, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, &[1; 56])
    };
    chain.second(&[sign(&wallet(0), ask)]);
    let block = chain.last();
    assert!(block.receipts[0].status());
    assert_eq!(block.requests.len(), 1);
    assert_eq!(block.header.requests_hash, Some(block.requests.requests_hash()));
    assert_ne!(block.header.requests_hash, empty);
    chain.second(&[sign(&wallet(0), pay(2, address(1), 7))]);
    assert_eq!(chain.last().header.requests_hash, empty);
}

#[test]
fn forks_begin_at_their_second() {
    let mut json = genesis_json(Fork::Osaka);
    for (field, after) in [("cancunTime", 2), ("pragueTime", 4), ("osakaTime", 6)] {
        json["config"][field] = json!(GENESIS_TIME + after);
    }
    let mut chain = Chain::new(Genesis::parse(&json.to_string(), CHAIN_ID).unwrap());
    for nonce in 0..7 {
        chain.second(&[sign(&wallet(0), pay(nonce, address(1), 1))]);
    }
    for block in &chain.blocks {
        let second = block.header.timestamp - GENESIS_TIME;
        assert_eq!(block.header.parent_beacon_block_root.is_some(), second >= 2);
        assert_eq!(block.header.requests_hash.is_some(), second >= 4);
    }
    assert_eq!(chain.blocks.len(), 7);
}

#[test]
fn what_destroys_itself_goes_as_its_fork_says() {
    for fork in [Fork::Shanghai, Fork::Cancun] {
        let mut chain = Chain::at(fork);
        let contract = address(0).create(0);
        chain.second(&[
            sign(&wallet(0), deploy(0, &MORTAL)),
            sign(&wallet(0), call(1, contract, &[])),
        ]);
        assert_eq!(chain.slot(contract, 0), U256::from(1));
        let before = chain.executor.head().1;
        chain.second(&[sign(&wallet(0), call(2, contract, &[1]))]);
        let gone = fork == Fork::Shanghai;
        assert_eq!(chain.account(contract).is_none(), gone);
        assert_eq!(chain.slot(contract, 0), U256::from(u64::from(!gone)));
        // Undone, it is there again with its storage, and its code.
        chain.executor.undo_above(2).unwrap();
        assert_eq!(chain.executor.head().1, before);
        assert_eq!(chain.slot(contract, 0), U256::from(1));
        let next = chain.executor.next_height();
        chain.give(height(
            next,
            (GENESIS_TIME + 2) * 1_000,
            &[sign(&wallet(0), call(2, contract, &[]))],
        ));
        chain.give(height(next + 1, (GENESIS_TIME + 3) * 1_000, &[]));
        assert_eq!(chain.slot(contract, 0), U256::from(2));
    }
}

#[test]
fn code_whose_block_was_undone_is_deployed_again() {
    // It is ready in memory by then, which must not be taken for being in the state.
    let mut chain = Chain::at(Fork::Prague);
    let contract = address(0).create(0);
    chain.second(&[sign(&wallet(0), deploy(0, &COUNTER))]);
    chain.executor.undo_above(0).unwrap();
    let now = (GENESIS_TIME + 1) * 1_000;
    chain.give(height(1, now, &[sign(&wallet(0), deploy(0, &COUNTER))]));
    chain.give(height(2, now + 1_000, &[sign(&wallet(0), call(1, contract, &[]))]));
    chain.give(height(3, now + 2_000, &[]));
    assert_eq!(chain.slot(contract, 0), U256::from(1));
}

#[test]
fn an_account_and_its_slots_can_be_proved() {
    use alloy_trie::{Nibbles, proof::verify_proof};
    let mut chain = Chain::at(Fork::Prague);
    let contract = address(0).create(0);
    chain
        .second(&[sign(&wallet(0), deploy(0, &COUNTER)), sign(&wallet(0), call(1, contract, &[]))]);
    let root = chain.last().header.state_root;
    let slots = [U256::ZERO, U256::from(1)];
    let proof = chain.executor.state_mut().prove(contract, &slots);
    let account = proof.account.unwrap();
    let key = |bytes: &[u8]| Nibbles::unpack(alloy_primitives::keccak256(bytes));
    verify_proof(root, key(contract.as_slice()), Some(alloy_rlp::encode(account)), &proof.nodes)
        .unwrap();
    for (slot, (value, nodes)) in slots.iter().zip(&proof.slots) {
        let expected = (!value.is_zero()).then(|| alloy_rlp::encode(value));
        verify_proof(account.storage_root, key(&slot.to_be_bytes::<32>()), expected, nodes)
            .unwrap();
    }
    assert_eq!(proof.slots[0].0, U256::from(1));
    let nobody = Address::repeat_byte(0x77);
    let proof = chain.executor.state_mut().prove(nobody, &slots);
    assert_eq!(proof.account, None);
    verify_proof(root, key(nobody.as_slice()), None, &proof.nodes).unwrap();
}
