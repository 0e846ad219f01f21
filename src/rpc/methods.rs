//! The table of methods.

use crate::domain::RollupId;
use crate::rpc::arguments::Arguments;
use crate::rpc::endpoint::Endpoint;
use crate::rpc::{RpcContext, RpcError, eth, rota, subscription};
use jsonrpsee::server::{Methods, RpcModule};
use jsonrpsee::types::Params;
use serde_json::Value;
use std::collections::HashMap;

/// Units that a call costs which reads and decodes whole blocks.
const DEAR: u32 = 20;

/// How a call is answered.
type Answer = Result<Value, RpcError>;

/// One method that only reads.
pub(super) struct Method {
    /// Its name.
    pub(super) name: &'static str,
    /// The arguments that it takes at most.
    pub(super) most: usize,
    /// Whether it reads whole blocks: off the async threads then, and dearer.
    pub(super) dear: bool,
    /// What it does.
    pub(super) answer: fn(&Call<'_>) -> Answer,
}

/// One call of a method.
pub(super) struct Call<'a> {
    /// What there is to read.
    pub(super) context: &'a RpcContext,
    /// Its arguments.
    pub(super) arguments: Arguments,
    endpoint: Endpoint,
}

impl Call<'_> {
    /// The registered rollup that it is about.
    pub(super) fn rollup(&self) -> Result<RollupId, RpcError> {
        registered_rollup(self.context, &self.endpoint)
    }
}

/// The rollup of an endpoint, if it is registered.
pub(super) fn registered_rollup(
    context: &RpcContext,
    endpoint: &Endpoint,
) -> Result<RollupId, RpcError> {
    let rollup = endpoint.rollup(context.default_rollup)?;
    if !context.mirror.read().rollups.contains_key(&rollup) {
        return Err(RpcError::unknown_rollup(rollup));
    }
    Ok(rollup)
}

/// The endpoint that the connection's door attached.
pub(super) fn endpoint(extensions: &http::Extensions) -> Endpoint {
    extensions.get::<Endpoint>().cloned().unwrap_or(Endpoint::Root)
}

fn run(
    method: &Method,
    params: &Params<'_>,
    context: &RpcContext,
    extensions: &http::Extensions,
) -> Answer {
    let arguments = Arguments::read(params, method.most)?;
    (method.answer)(&Call { context, arguments, endpoint: endpoint(extensions) })
}

/// All methods, and what each costs.
pub(super) fn all(context: RpcContext) -> (Methods, HashMap<&'static str, u32>) {
    const ONCE: &str = "each name stands in the tables once";
    let mut module = RpcModule::new(context);
    let mut costs = HashMap::new();
    for method in eth::METHODS.iter().chain(rota::METHODS) {
        if method.dear {
            costs.insert(method.name, DEAR);
            module.register_blocking_method(method.name, |params, context, extensions| {
                run(method, &params, &context, &extensions)
            })
        } else {
            module.register_method(method.name, |params, context, extensions| {
                run(method, &params, context, extensions)
            })
        }
        .expect(ONCE);
    }
    eth::register_submission(&mut module).expect(ONCE);
    subscription::register(&mut module).expect(ONCE);
    for name in module.method_names() {
        costs.entry(name).or_insert(1);
    }
    (module.into(), costs)
}
