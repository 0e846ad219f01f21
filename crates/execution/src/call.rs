//! Calls that change nothing: what a contract would answer upon the last closed block.

use crate::executor::{ExecutionError, Executor};
use crate::open::{Ground, env};
use crate::overlay::{ReadyCodes, View};
use crate::state::{Changes, State};
use alloy_evm::{EthEvmFactory, Evm as _, EvmFactory as _};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use revm::context::TxEnv;
use revm::context::result::{EVMError, ExecutionResult};
use revm::context_interface::Cfg as _;

/// What no call gets more of, whatever a block could hold: gas is time of whoever answers.
const CALL_GAS: u64 = 50_000_000;

/// A call. It pays nothing for gas, and neither the caller's nonce nor its code matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Who calls.
    pub from: Address,
    /// What is called; `None` creates a contract.
    pub to: Option<Address>,
    /// In wei; the caller must have it.
    pub value: U256,
    /// Its data.
    pub input: Bytes,
    /// The gas that it may use; what a block may hold at most, if nothing is said.
    pub gas_limit: Option<u64>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// It returned.
    Returned {
        /// What.
        output: Bytes,
    },
    /// It reverted.
    Reverted {
        /// With what.
        output: Bytes,
    },
    /// It failed, for want of gas say.
    Failed {
        /// Why.
        reason: String,
    },
    /// It could not begin: the caller does not have the value, or the gas does not suffice for a transaction.
    Refused {
        /// Why.
        reason: String,
    },
}

impl<S: State> Executor<S> {
    /// Calls upon the state after the last closed block, as in a transaction of that block, with a base fee of 0 as clients
    /// have it for who names no price.
    ///
    /// # Errors
    ///
    /// [`ExecutionError::State`] and [`ExecutionError::Call`] when the state cannot be read.
    pub fn call(&self, call: Call) -> Result<CallOutcome, ExecutionError<S::Error>> {
        let (header, _) = self.head();
        let genesis = self.genesis();
        let (mut changes, mut codes) = (Changes::default(), ReadyCodes::default());
        let ground =
            Ground { genesis, state: self.state(), hashes: self.hashes(), codes: &mut codes };
        let mut env = env(header, genesis);
        env.block_env.basefee = 0;
        env.cfg_env.disable_nonce_check = true;
        env.cfg_env.disable_eip3607 = true;
        let most = header.gas_limit.min(env.cfg_env.tx_gas_limit_cap()).min(CALL_GAS);
        let transaction = TxEnv {
            caller: call.from,
            gas_limit: call.gas_limit.unwrap_or(most).min(most),
            kind: call.to.map_or(TxKind::Create, TxKind::Call),
            value: call.value,
            data: call.input,
            chain_id: Some(genesis.chain_id()),
            ..TxEnv::default()
        };
        let Ground { state, hashes, codes, .. } = ground;
        let view = View { state, changes: &mut changes, hashes, codes };
        let mut evm = EthEvmFactory::default().create_evm(view, env);
        match evm.transact(transaction) {
            Ok(done) => Ok(match done.result {
                ExecutionResult::Success { output, .. } => {
                    CallOutcome::Returned { output: output.into_data() }
                }
                ExecutionResult::Revert { output, .. } => CallOutcome::Reverted { output },
                ExecutionResult::Halt { reason, .. } => {
                    CallOutcome::Failed { reason: format!("{reason:?}") }
                }
            }),
            Err(EVMError::Transaction(reason)) => {
                Ok(CallOutcome::Refused { reason: reason.to_string() })
            }
            Err(error) => Err(ExecutionError::Call { reason: error.to_string() }),
        }
    }
}
