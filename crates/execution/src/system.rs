//! The contracts that a fork calls at the beginning or the end of each block, which must stand in the state before it begins.

use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, Bytes};
use std::sync::LazyLock;

/// A contract that the rules of a fork call.
#[derive(Debug, Clone)]
pub struct SystemContract {
    /// What it does, with its EIP.
    pub name: &'static str,
    /// Where it stands.
    pub address: Address,
    /// Its code, as on mainnet.
    pub code: Bytes,
}

/// Needed from Cancun on.
pub static SINCE_CANCUN: LazyLock<[SystemContract; 1]> = LazyLock::new(|| {
    [SystemContract {
        name: "beacon roots, EIP-4788",
        address: eip4788::BEACON_ROOTS_ADDRESS,
        code: eip4788::BEACON_ROOTS_CODE.clone(),
    }]
});

/// Needed from Prague on, besides.
pub static SINCE_PRAGUE: LazyLock<[SystemContract; 3]> = LazyLock::new(|| {
    [
        SystemContract {
            name: "block hashes, EIP-2935",
            address: eip2935::HISTORY_STORAGE_ADDRESS,
            code: eip2935::HISTORY_STORAGE_CODE.clone(),
        },
        SystemContract {
            name: "withdrawal requests, EIP-7002",
            address: eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            code: eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE.clone(),
        },
        SystemContract {
            name: "consolidation requests, EIP-7251",
            address: eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            code: eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE.clone(),
        },
    ]
});
