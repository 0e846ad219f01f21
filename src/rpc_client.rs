//! A JSON-RPC client for agents: what the command line and the development network need of one.

use crate::config::{causes, redact};
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

/// How long an agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Talks to one agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RpcClient {
    http: reqwest::Client,
    url: Url,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcClientError {
    /// The agent was not reached, or what answered speaks no JSON-RPC.
    #[error("no agent answers at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// The agent answered with an error.
    #[error("{method}: {message} (code {code})")]
    Refused {
        /// The method that was called.
        method: String,
        /// The JSON-RPC error code.
        code: i64,
        /// The agent's words.
        message: String,
    },
}

impl RpcClient {
    /// A client of the agent at `url`. Connects when it is first used.
    pub fn new(url: Url) -> Self {
        Self::patient(url, TIMEOUT)
    }

    /// A client that waits for an answer as long as this.
    #[must_use]
    pub fn patient(url: Url, timeout: Duration) -> Self {
        let http = reqwest::Client::builder().timeout(timeout).no_proxy().build();
        Self { http: http.unwrap_or_default(), url }
    }

    /// Where the agent is.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// One call.
    ///
    /// # Errors
    ///
    /// [`RpcClientError::Unreachable`] may go away by itself; [`RpcClientError::Refused`] does not.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RpcClientError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.post(&request).await?;
        match answer.get("error").filter(|error| !error.is_null()) {
            Some(error) => Err(RpcClientError::Refused {
                method: method.to_owned(),
                code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                message: error
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or("no message")
                    .to_owned(),
            }),
            None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
        }
    }

    /// Several calls of one method in one request. The answers come as the agent gave them, in no certain order.
    ///
    /// # Errors
    ///
    /// [`RpcClientError::Unreachable`] when the request as a whole got no answer.
    pub async fn batch(&self, method: &str, params: Vec<Value>) -> Result<Value, RpcClientError> {
        let calls: Vec<Value> = params
            .into_iter()
            .enumerate()
            .map(|(id, params)| {
                json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
            })
            .collect();
        self.post(&Value::Array(calls)).await
    }

    async fn post(&self, body: &Value) -> Result<Value, RpcClientError> {
        let unreachable = |error: reqwest::Error| RpcClientError::Unreachable {
            url: redact(&self.url),
            reason: causes(&error.without_url()),
        };
        let answer =
            self.http.post(self.url.clone()).json(body).send().await.map_err(unreachable)?;
        answer.json().await.map_err(unreachable)
    }
}
