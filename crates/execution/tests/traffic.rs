//! An order by chance: all kinds of transactions, and all that make one be skipped, from a seed.

use crate::support::{
    BURNER, CHAIN_ID, COUNTER, Chain, ENVIRONMENT, GWEI, MORTAL, REVERTER, address, authorize,
    authorize_by, call, delegate, deploy, legacy, pay, sign, wallet, with_access_list,
};
use alloy_consensus::TxEip1559;
use alloy_eips::eip7702::SignedAuthorization;
use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, Bytes, TxKind, U256, uint};
use rota_execution::{Fate, Height, State};

/// A sequence that looks random and is the same everywhere (SplitMix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// Of the curve that signatures are points of.
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// Accounts that send, each with the nonce that it believes to be next.
struct Senders {
    nonces: [u64; 12],
    contracts: Vec<Address>,
}

/// Gives `chain` some seconds of traffic, and tells the heights that it gave. Ends with the last second closed.
pub(crate) fn run(chain: &mut Chain, seconds: u64, seed: u64) -> Vec<Height> {
    let mut dice = Dice(seed);
    let mut senders = Senders { nonces: [0; 12], contracts: Vec::new() };
    let mut heights = Vec::new();
    for _ in 0..seconds {
        for _ in 0..1 + dice.roll(3) {
            let mut raws = Vec::new();
            let mut from = Vec::new();
            for _ in 0..dice.roll(12) {
                let index = usize::try_from(dice.roll(12)).unwrap();
                let pending = from.iter().filter(|other| **other == index).count();
                let nonce = senders.nonces[index] + u64::try_from(pending).unwrap();
                raws.push(senders.transaction(&mut dice, index, nonce));
                from.push(index);
            }
            let mut height = chain.height(&raws);
            // Who is paid may be anybody: nobody, a sender, a precompile, what the rules themselves call.
            height.proposer = match dice.roll(6) {
                0 => address(dice.roll(12)),
                1 => Address::with_last_byte(3),
                2 => eip4788::BEACON_ROOTS_ADDRESS,
                3 => eip4788::SYSTEM_ADDRESS,
                4 => senders.contracts.last().copied().unwrap_or_default(),
                _ => height.proposer,
            };
            heights.push(height.clone());
            let fates = chain.give(height);
            for (index, fate) in from.into_iter().zip(fates) {
                if matches!(fate, Fate::Included { .. }) {
                    senders.nonces[index] += 1;
                }
            }
        }
        let empty_of_next = chain.executor.next_height();
        chain.close();
        heights.push(chain.height_given(empty_of_next));
        // Authorizations move nonces as well.
        for (index, nonce) in (0..).zip(&mut senders.nonces) {
            let account = chain.executor.state().account(address(index)).unwrap();
            *nonce = account.map_or(0, |account| account.nonce);
        }
    }
    heights
}

/// An authorization by account `other`, or one that is wrong or strange in some way.
fn authorization(dice: &mut Dice, other: u64, next: u64, contract: Address) -> SignedAuthorization {
    let right = authorize(other, next, contract);
    let (y_parity, r, s) = (right.y_parity(), right.r(), right.s());
    match dice.roll(14) {
        0 => authorize(other, next + 1, contract),
        1 => authorize(other, u64::MAX, contract),
        2 => authorize(other, next, Address::ZERO),
        3 => authorize(other, next, address(other)),
        4 => authorize(other, next, Address::with_last_byte(4)),
        5 => authorize_by((1 - y_parity, r, s), CHAIN_ID, next, contract),
        6 => authorize_by((2, r, s), CHAIN_ID, next, contract),
        7 => authorize_by((255, r, s), CHAIN_ID, next, contract),
        8 => authorize_by((1 - y_parity, r, ORDER - s), CHAIN_ID, next, contract),
        9 => authorize_by((y_parity, U256::ZERO, s), CHAIN_ID, next, contract),
        10 => authorize_by((y_parity, U256::MAX, U256::MAX), CHAIN_ID, next, contract),
        11 => authorize_by((y_parity, r, s), CHAIN_ID + 1, next, contract),
        12 => authorize_by((y_parity, r, s), 0, next, contract),
        _ => right,
    }
}

/// Instructions by chance, with enough small numbers on the stack for some of them to do something.
fn code(dice: &mut Dice, contract: Address) -> Vec<u8> {
    let mut code = Vec::new();
    for _ in 0..20 + dice.roll(60) {
        match dice.roll(16) {
            0..=8 => code.extend([0x60, u8::try_from(dice.roll(66)).unwrap()]),
            9 => {
                code.push(0x73);
                code.extend(contract);
            }
            // Without what ends it at once, and without halting for want of a meaning too often.
            _ => code.push(u8::try_from(1 + dice.roll(0xa4)).unwrap()),
        }
        if dice.roll(12) == 0 {
            let calls = [0xf0, 0xf1, 0xf2, 0xf4, 0xf5, 0xfa, 0xf3, 0xff];
            code.push(calls[usize::try_from(dice.roll(8)).unwrap()]);
        }
    }
    code
}

impl Senders {
    fn transaction(&mut self, dice: &mut Dice, index: usize, nonce: u64) -> Bytes {
        let number = u64::try_from(index).unwrap();
        let from = wallet(number);
        let to = address(dice.roll(40));
        let contract = match self.contracts.len() {
            0 => to,
            count => self.contracts[usize::try_from(dice.roll(count as u64)).unwrap()],
        };
        match dice.roll(27) {
            0..=3 => sign(&from, pay(nonce, to, dice.roll(1_000))),
            4 => sign(&from, legacy(nonce, to)),
            5 => sign(&from, with_access_list(nonce, contract)),
            6..=8 => {
                let code: &[u8] = match dice.roll(5) {
                    0 => &COUNTER,
                    1 => &REVERTER,
                    2 => &ENVIRONMENT,
                    3 => &MORTAL,
                    _ => &BURNER,
                };
                self.contracts.push(from.address().create(nonce));
                sign(&from, deploy(nonce, code))
            }
            9..=12 => sign(&from, call(nonce, contract, &[])),
            13 => sign(&from, call(nonce, contract, &[1])),
            14 => {
                let other = dice.roll(12);
                let next = self.nonces[usize::try_from(other).unwrap()];
                let list = vec![
                    authorize(other, next, contract),
                    authorize(20 + dice.roll(10), dice.roll(2), contract),
                ];
                sign(&from, delegate(nonce, address(other), list))
            }
            24 => {
                let other = dice.roll(12);
                let next = self.nonces[usize::try_from(other).unwrap()];
                let count = 1 + dice.roll(3);
                let list = (0..count).map(|_| authorization(dice, other, next, contract));
                let list = list.collect();
                sign(&from, delegate(nonce, address(other), list))
            }
            25..=26 => {
                let input = code(dice, contract).into();
                sign(&from, TxEip1559 { to: TxKind::Create, input, ..call(nonce, to, &[]) })
            }
            15 => {
                let request = [
                    (eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 56),
                    (eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, 96),
                ][usize::try_from(dice.roll(2)).unwrap()];
                let input = vec![7; request.1];
                sign(&from, TxEip1559 { value: U256::from(2), ..call(nonce, request.0, &input) })
            }
            16 => {
                let read = [eip4788::BEACON_ROOTS_ADDRESS, eip2935::HISTORY_STORAGE_ADDRESS];
                let input = U256::from(dice.roll(2_000)).to_be_bytes::<32>();
                sign(&from, call(nonce, read[usize::try_from(dice.roll(2)).unwrap()], &input))
            }
            17 => {
                // A precompile, with input that may or may not make sense to it.
                let input = vec![
                    u8::try_from(dice.roll(256)).unwrap();
                    usize::try_from(dice.roll(260)).unwrap()
                ];
                // Not the tenth: without a setup of KZG of its own EthereumJS has no opinion on it.
                let precompile = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17];
                let precompile = precompile[usize::try_from(dice.roll(16)).unwrap()];
                sign(&from, call(nonce, Address::with_last_byte(precompile), &input))
            }
            18 => sign(&from, pay(nonce + 1, to, 1)),
            19 => sign(&from, pay(nonce.wrapping_sub(1), to, 1)),
            20 => match dice.roll(6) {
                0 => sign(&from, TxEip1559 { gas_limit: 20_000, ..pay(nonce, to, 1) }),
                1 => sign(&from, TxEip1559 { gas_limit: u64::MAX, ..pay(nonce, to, 1) }),
                2 => sign(&from, TxEip1559 { max_fee_per_gas: 1, ..pay(nonce, to, 1) }),
                3 => sign(&from, TxEip1559 { value: U256::MAX, ..pay(nonce, to, 1) }),
                4 => sign(&from, TxEip1559 { chain_id: CHAIN_ID + 1, ..pay(nonce, to, 1) }),
                _ => sign(&wallet(90), pay(0, to, 1)),
            },
            21 => {
                vec![u8::try_from(dice.roll(256)).unwrap(); usize::try_from(dice.roll(40)).unwrap()]
                    .into()
            }
            22 => sign(&from, TxEip1559 { gas_limit: 40_000, ..call(nonce, contract, &[]) }),
            _ => {
                let value = U256::from(10_u128.pow(18)) * U256::from(dice.roll(200));
                sign(&from, TxEip1559 { value, max_fee_per_gas: 5 * GWEI, ..pay(nonce, to, 0) })
            }
        }
    }
}
