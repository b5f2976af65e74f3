//! What log sources a tenant's events belong to.

use std::sync::Arc;

use axum::{Extension, extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{ApiError, Caller};
use crate::{app::App, store::now};

/// How far back it looks.
pub(crate) const WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// `GET /v3/log-sources`
pub(super) async fn log_sources(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let since = now().plus_millis(-WINDOW_MS);
    let found = caller.store(&app).source_use(caller.tenant_id(), since).await?;
    let body = json!({
        "tenant_id": caller.key.tenant_id,
        "since": since,
        "events": found.events,
        "unknown": found.unknown,
        "mostly_unknown": found.is_mostly_unknown(),
        "sources": found.sources,
        "unknown_keys": found.unknown_keys,
    });
    Ok(super::json(StatusCode::OK, &body))
}
