//! Which rules of Ethereum hold when: every fork up to Paris from the start, those from Shanghai to Osaka by timestamp.

use alloy_evm::eth::spec::EthExecutorSpec;
use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::Address;

/// When the forks of a chain begin, in seconds; `None` for never. Read from a genesis file, which says in what order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forks {
    /// Withdrawals and PUSH0; not after the genesis block.
    pub shanghai: u64,
    /// Transient storage and the beacon root's contract.
    pub cancun: Option<u64>,
    /// Delegations (EIP-7702), requests, block hashes in the state.
    pub prague: Option<u64>,
    /// The cap on a transaction's gas (EIP-7825), and on a block's size (EIP-7934).
    pub osaka: Option<u64>,
    /// Whose logs become deposit requests from Prague on, if anybody's. No code is there: see [`crate::Genesis`].
    pub deposit_contract: Option<Address>,
}

impl EthereumHardforks for Forks {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        let at = |time: Option<u64>| time.map_or(ForkCondition::Never, ForkCondition::Timestamp);
        match fork {
            // Mainnet's alone: it moves balances.
            EthereumHardfork::Dao => ForkCondition::Never,
            EthereumHardfork::Shanghai => at(Some(self.shanghai)),
            EthereumHardfork::Cancun => at(self.cancun),
            EthereumHardfork::Prague => at(self.prague),
            EthereumHardfork::Osaka => at(self.osaka),
            fork if fork < EthereumHardfork::Shanghai => ForkCondition::Block(0),
            _ => ForkCondition::Never,
        }
    }
}

impl EthExecutorSpec for Forks {
    fn deposit_contract_address(&self) -> Option<Address> {
        self.deposit_contract
    }
}
