//! The table of methods.

use crate::domain::RollupId;
use crate::rpc::arguments::Arguments;
use crate::rpc::endpoint::Endpoint;
use crate::rpc::service::Shared;
use crate::rpc::{RpcContext, RpcError, blocks, chain, filters, pool, rota, state, submit};
use serde::Serialize;
use std::cell::Cell;
use std::collections::HashMap;

/// Units that a call costs at least which may read whole blocks. What it then touches is charged on top.
pub(super) const DEAR: u32 = 20;

/// How a call is answered: with the text of a JSON value.
pub(super) type Answer = Result<String, RpcError>;

/// One method.
pub(super) struct Method {
    /// Its name.
    pub(super) name: &'static str,
    /// The names of its arguments, in their order.
    pub(super) params: &'static [&'static str],
    /// What it does.
    pub(super) run: Run,
}

/// How a method runs.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// Answers from a few records, at once.
    Now(fn(&Call<'_>) -> Answer),
    /// May read whole blocks or answer with much: off the threads that serve connections, few at a time.
    Dear(fn(&Call<'_>) -> Answer),
    /// Takes execution, which there is none of here.
    Unexecuted,
    /// Waits for the disk.
    Submit,
    /// Waits for the disk, and then until it is decided.
    SubmitAndWait,
    /// Keeps something for a client.
    Filter(fn(&Call<'_>) -> Result<filters::Kind, RpcError>),
    /// Needs a connection that stays.
    Subscribe,
    /// The same.
    Unsubscribe,
}

impl Method {
    /// Units that a call costs before anything was done.
    pub(super) const fn units(&self) -> u32 {
        match self.run {
            Run::Dear(_) | Run::SubmitAndWait => DEAR,
            // A signature is recovered, and the peers are told.
            Run::Submit => 3,
            _ => 1,
        }
    }

    /// Whether its answer may be large.
    pub(super) const fn is_dear(&self) -> bool {
        matches!(self.run, Run::Dear(_))
    }
}

/// One call of a method.
pub(super) struct Call<'a> {
    /// What there is to read.
    pub(super) shared: &'a Shared,
    /// Its arguments.
    pub(super) arguments: Arguments,
    /// What the URL speaks for.
    pub(super) endpoint: &'a Endpoint,
    /// Bytes that the answer may have.
    pub(super) room: usize,
    /// What it turned out to cost, in units.
    pub(super) cost: Cell<u32>,
}

impl Call<'_> {
    /// What there is to read.
    pub(super) const fn context(&self) -> &RpcContext {
        &self.shared.context
    }

    /// The registered rollup that it is about.
    pub(super) fn rollup(&self) -> Result<RollupId, RpcError> {
        registered_rollup(self.context(), self.endpoint)
    }

    /// Notes work: transactions read, records scanned.
    pub(super) fn touch(&self, units: usize) {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.cost.set(self.cost.get().saturating_add(units));
    }

    /// Writes the answer, as long as it fits.
    pub(super) fn answer(&self, value: impl Serialize) -> Answer {
        encode(&value, self.room)
    }
}

/// The rollup of an endpoint, if it is registered.
pub(super) fn registered_rollup(
    context: &RpcContext,
    endpoint: &Endpoint,
) -> Result<RollupId, RpcError> {
    let rollup = endpoint.rollup(context.default_rollup)?;
    let mirror = context.mirror.read();
    if !mirror.rollups.contains_key(&rollup) {
        return Err(RpcError::unknown_rollup(rollup, mirror.is_ready()));
    }
    Ok(rollup)
}

/// The JSON of a value, if it has at most `room` bytes. Stops writing where it has more.
pub(super) fn encode(value: &impl Serialize, room: usize) -> Answer {
    let mut writer = Bounded { written: Vec::new(), room, is_over: false };
    if let Err(error) = serde_json::to_writer(&mut writer, value) {
        if writer.is_over {
            return Err(RpcError::AnswerTooLarge { limit: room });
        }
        return Err(RpcError::internal(error));
    }
    String::from_utf8(writer.written).map_err(RpcError::internal)
}

struct Bounded {
    written: Vec<u8>,
    room: usize,
    is_over: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.written.len().saturating_add(bytes.len()) > self.room {
            self.is_over = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All methods, by name.
pub(super) fn all() -> HashMap<&'static str, &'static Method> {
    let tables = [
        chain::METHODS,
        state::METHODS,
        blocks::METHODS,
        submit::METHODS,
        pool::METHODS,
        filters::METHODS,
        rota::METHODS,
    ];
    let mut methods = HashMap::new();
    for method in tables.into_iter().flatten() {
        let before = methods.insert(method.name, method);
        assert!(before.is_none(), "each name stands in the tables once");
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn an_answer_is_not_written_beyond_its_room() {
        assert_eq!(encode(&[1, 2, 3], 7).unwrap(), "[1,2,3]");
        assert_eq!(encode(&[1, 2, 3], 6).unwrap_err().code(), -32008);
        let endless = serde_json::Value::from(vec!["x"; 1_000_000]);
        assert_eq!(encode(&endless, 10).unwrap_err().code(), -32008);
    }
}
