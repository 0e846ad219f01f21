//! In front of every call: the rate, the path, the name of the method. Calls of one batch run side by side.

use crate::l1::MirrorHandle;
use crate::rpc::connection::{Connection, Transport};
use crate::rpc::endpoint::Endpoint;
use crate::rpc::{RpcError, subscription};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::StreamExt as _;
use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee::server::{BatchResponseBuilder, MethodResponse};
use jsonrpsee::types::{ErrorObjectOwned, Id};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Calls of one batch that are answered at a time.
const SIDE_BY_SIDE: usize = 256;

/// What the gate knows, the same for all connections.
#[derive(Debug)]
pub(super) struct Rules {
    /// What each method costs, in units of the rate.
    pub(super) costs: HashMap<&'static str, u32>,
    /// Who knows the registered rollups.
    pub(super) mirror: MirrorHandle,
    /// Calls in a batch.
    pub(super) batch_calls: usize,
    /// Bytes of a batch's response.
    pub(super) response_bytes: usize,
}

impl Rules {
    fn check(&self, request: &Request<'_>) -> Result<(), RpcError> {
        let method = request.method_name();
        let cost = self.costs.get(method).copied();
        if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
            connection
                .rate
                .take(cost.unwrap_or(1), Instant::now())
                .map_err(|retry_after| RpcError::TooFast { retry_after })?;
        }
        match request.extensions().get::<Endpoint>() {
            Some(Endpoint::Rollup(rollup)) if !self.mirror.read().rollups.contains_key(rollup) => {
                return Err(RpcError::unknown_rollup(*rollup));
            }
            Some(Endpoint::Unknown(path)) => {
                return Err(RpcError::InvalidPath { path: path.clone() });
            }
            _ => {}
        }
        if cost.is_none() {
            let method = method.chars().take(80).collect();
            return Err(RpcError::UnknownMethod { method });
        }
        if request.extensions().get() == Some(&Transport::Http)
            && let Some(method) = subscription::METHODS.into_iter().find(|name| *name == method)
        {
            return Err(RpcError::WebSocketOnly { method });
        }
        Ok(())
    }
}

/// The gate in front of one connection's calls.
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    pub(super) service: S,
    pub(super) rules: Arc<Rules>,
}

fn refusal(id: Id<'_>, error: RpcError) -> MethodResponse {
    MethodResponse::error(id, ErrorObjectOwned::from(error))
}

impl<S> RpcServiceT for Gate<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            NotificationResponse = MethodResponse,
            BatchResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let checked = self.rules.check(&request);
        let service = self.service.clone();
        async move {
            match checked {
                Ok(()) => service.call(request).await,
                Err(error) => refusal(request.id, error),
            }
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let gate = self.clone();
        async move {
            let (limit, actual) = (gate.rules.batch_calls, batch.len());
            if actual > limit {
                return refusal(Id::Null, RpcError::BatchTooLong { limit, actual });
            }
            let mut calls: Vec<BoxFuture<'a, MethodResponse>> = Vec::with_capacity(actual);
            for entry in batch {
                match entry {
                    Ok(BatchEntry::Call(request)) => calls.push(gate.call(request).boxed()),
                    Ok(BatchEntry::Notification(_)) => {}
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        let answer = MethodResponse::error(id, error);
                        calls.push(std::future::ready(answer).boxed());
                    }
                }
            }
            let mut answers = futures::stream::iter(calls).buffered(SIDE_BY_SIDE);
            let mut response = BatchResponseBuilder::new_with_limit(gate.rules.response_bytes);
            while let Some(answer) = answers.next().await {
                if response.append(answer).is_err() {
                    let limit = gate.rules.response_bytes;
                    return refusal(Id::Null, RpcError::BatchAnswerTooLarge { limit });
                }
            }
            if response.is_empty() && actual > 0 {
                return MethodResponse::notification();
            }
            MethodResponse::from_batch(response.finish())
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.service.notification(notification)
    }
}
