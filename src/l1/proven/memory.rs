//! A client that knows only what is proven, so that events are read by the same code as the agents'.

use crate::l1::Client;
use alloy::primitives::{Address, B256, Bytes};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{
    RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy::rpc::types::Transaction;
use alloy::transports::{TransportError, TransportErrorKind, TransportFut, TransportResult};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// What can be asked for.
#[derive(Debug, Default)]
struct Known {
    transactions: BTreeMap<B256, Transaction>,
    codes: BTreeMap<Address, Bytes>,
}

/// Answers from what is proven, and nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Known>>);

impl Memory {
    /// A client that asks here.
    pub(super) fn client(&self, chain_id: u64) -> Client {
        Client::over(RpcClient::new(self.clone(), true), chain_id)
    }

    /// Forgets what it knew, and knows this instead.
    pub(super) fn know(
        &self,
        transactions: impl IntoIterator<Item = (B256, Transaction)>,
        codes: impl IntoIterator<Item = (Address, Bytes)>,
    ) {
        let known = Known {
            transactions: transactions.into_iter().collect(),
            codes: codes.into_iter().collect(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn answer(&self, request: &SerializedRequest) -> TransportResult<Box<RawValue>> {
        let unknown = || {
            TransportErrorKind::custom_str(&format!("{} is not among the proven", request.method()))
        };
        let params = request.params().map_or("[]", |params| params.get());
        let params: Vec<serde_json::Value> = serde_json::from_str(params).unwrap_or_default();
        let first = params.into_iter().next().unwrap_or_default();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match request.method() {
            "eth_getTransactionByHash" => serde_json::from_value(first)
                .ok()
                .and_then(|hash: B256| known.transactions.get(&hash))
                .and_then(|transaction| to_raw_value(transaction).ok()),
            "eth_getCode" => serde_json::from_value(first)
                .ok()
                .and_then(|address: Address| known.codes.get(&address))
                .and_then(|code| to_raw_value(code).ok()),
            _ => None,
        };
        answer.ok_or_else(unknown)
    }

    fn response(&self, request: &SerializedRequest) -> TransportResult<Response> {
        let payload = ResponsePayload::Success(self.answer(request)?);
        Ok(Response { id: request.id().clone(), payload })
    }
}

impl tower::Service<RequestPacket> for Memory {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let answered = match &packet {
            RequestPacket::Single(request) => self.response(request).map(ResponsePacket::Single),
            RequestPacket::Batch(requests) => requests
                .iter()
                .map(|request| self.response(request))
                .collect::<TransportResult<Vec<_>>>()
                .map(ResponsePacket::Batch),
        };
        Box::pin(std::future::ready(answered))
    }
}
