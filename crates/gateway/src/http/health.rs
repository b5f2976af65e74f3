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

/// `GET /v3/system/health`
pub(super) async fn health(State(app): State<Arc<App>>, Extension(caller): Extension<Caller>) -> Response {
    // A sandbox needs nothing of it.
    let problems = if caller.is_sandbox() { Vec::new() } else { app.condition.problems() };
    let status = if problems.is_empty() { "operational" } else { "degraded" };
    let body = json!({
        "status": status,
        "tenant_id": caller.key.tenant_id,
        "environment": caller.key.kind.environment(),
        "timestamp": now(),
        "problems": problems,
    });
    super::json(StatusCode::OK, &body)
}

/// `GET /readyz`
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let problems = app.condition.problems();
    if problems.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = problems.iter().map(|problem| problem.line() + "\n").collect();
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [("content-type", "text/plain; charset=utf-8"), ("x-ready", "no"), ("retry-after", "1")],
        lines,
    )
        .into_response()
}
