//! Whether it works.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::Caller;
use crate::{app::App, store::now};

/// What does not work, in words.
pub(crate) async fn obstacles(app: &App) -> Vec<&'static str> {
    let mut obstacles = Vec::new();
    if !app.store.answers().await {
        obstacles.push("the store does not answer");
    }
    if !app.journal.is_healthy() || !app.monitor.kafka_answers() {
        obstacles.push("Kafka does not answer");
    }
    obstacles
}

/// `GET /v3/system/health`
pub(super) async fn health(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    let degraded = !caller.is_sandbox() && !obstacles(&app).await.is_empty();
    let status = if degraded { "degraded" } else { "operational" };
    let body = json!({
        "status": status,
        "tenant_id": caller.key.tenant_id,
        "environment": caller.key.kind.environment(),
        "timestamp": now(),
    });
    super::json(StatusCode::OK, &body)
}

/// `GET /readyz`
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let obstacles = obstacles(&app).await;
    if obstacles.is_empty() {
        return "ready\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [("content-type", "text/plain; charset=utf-8"), ("x-ready", "no")],
        obstacles.join("\n") + "\n",
    )
        .into_response()
}
