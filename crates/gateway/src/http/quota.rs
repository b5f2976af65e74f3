//! What a tenant may send, and what was held back.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, extract::State, http::StatusCode, response::Response};
use serde_json::json;

use super::{ApiError, Caller};
use crate::{app::App, store::now};

/// How far back it looks.
pub(crate) const WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// `GET /v3/quota`
pub(super) async fn quota(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let from = now().plus_millis(-WINDOW_MS);
    let minutes = caller.store(&app).rejections(caller.tenant_id(), from).await?;
    let mut by_reason: BTreeMap<&str, i64> = BTreeMap::new();
    minutes.iter().for_each(|minute| *by_reason.entry(&minute.reason).or_default() += minute.events);
    let (tenant, requests) = (caller.tenant, app.settings.rate_limits.of(caller.tenant.plan));
    let body = json!({
        "tenant_id": caller.key.tenant_id,
        "plan": tenant.plan,
        "stream": {
            "events_per_second": tenant.events_per_second,
            "bytes_per_second": tenant.bytes_per_second,
            "burst_percent": tenant.burst_percent,
        },
        "api": requests,
        "streams": app.settings.streams.of(tenant.plan),
        "rejections": {
            "since": from,
            "events": by_reason.values().sum::<i64>(),
            "by_reason": by_reason,
            "minutes": minutes,
        },
    });
    Ok(super::json(StatusCode::OK, &body))
}
