//! What is known and was found about one host, user, address, …

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use cybervault_model::{EntityKind, Timestamp};
use serde_json::json;

use super::{ApiError, Caller, Code};
use crate::app::App;

/// `GET /v3/entities/{kind}/{value}`
pub(super) async fn entity(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((kind, value)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    if !EntityKind::ALL.iter().any(|known| known.as_str() == kind) {
        let known = EntityKind::ALL.map(EntityKind::as_str).join(", ");
        return Err(ApiError::new(
            Code::InvalidParameter,
            format!("there is no such kind of entity; there are {known}"),
        ));
    }
    let found = caller.store(&app).entity(caller.tenant_id(), &kind, &value).await?;
    let facts = found.ok_or_else(ApiError::not_found)?;
    let body = json!({
        "kind": kind,
        "value": value,
        "findings": facts.findings,
        "first_seen": Timestamp::from_millis(facts.first_seen),
        "last_seen": Timestamp::from_millis(facts.last_seen),
        "max_risk_score": facts.max_risk_score,
        "mitre_attack": facts.techniques,
        "assessments": facts.assessments,
        "actions": facts.actions,
    });
    Ok(super::json(StatusCode::OK, &body))
}
