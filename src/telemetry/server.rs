//! `/metrics` for Prometheus, `/health` for whoever restarts agents.

use crate::telemetry::Metrics;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What `/health` answers: 200 when healthy, 503 when not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Whether the agent does its work.
    pub healthy: bool,
    /// What is wrong, if anything is.
    pub reasons: Vec<String>,
    /// Last decided height.
    pub decided_height: u64,
    /// Last settled height.
    pub settled_height: u64,
    /// Number of the newest L1 block seen.
    pub l1_head_number: u64,
}

/// Judges the agent's health at the moment it is asked, and brings the metrics up to date.
pub type Probe = Arc<dyn Fn() -> Health + Send + Sync>;

#[derive(Clone)]
struct Shared {
    metrics: Metrics,
    probe: Probe,
}

/// Serves until `shutdown`.
///
/// # Errors
///
/// What the listener says when it cannot accept any more.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    probe: Probe,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/health", get(show_health))
        .with_state(Shared { metrics, probe });
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn show_metrics(State(shared): State<Shared>) -> Response {
    (shared.probe)();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.render()).into_response()
}

async fn show_health(State(shared): State<Shared>) -> Response {
    let health = (shared.probe)();
    let status = if health.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[tokio::test]
    async fn answers_503_with_the_reasons_while_unhealthy() {
        let healthy = Arc::new(AtomicBool::new(true));
        let probe: Probe = Arc::new({
            let healthy = Arc::clone(&healthy);
            move || Health {
                healthy: healthy.load(Ordering::Relaxed),
                reasons: vec!["l1 is silent".to_owned()],
                decided_height: 3,
                settled_height: 2,
                l1_head_number: 1,
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Metrics::new(), probe, shutdown.clone()));

        let up = reqwest::get(format!("http://{address}/health")).await.unwrap();
        assert_eq!(up.status(), 200);
        healthy.store(false, Ordering::Relaxed);
        let down = reqwest::get(format!("http://{address}/health")).await.unwrap();
        assert_eq!(down.status(), 503);
        assert!(down.text().await.unwrap().contains("l1 is silent"));
        let metrics = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        assert!(metrics.text().await.unwrap().contains("rota_decided_height"));

        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
