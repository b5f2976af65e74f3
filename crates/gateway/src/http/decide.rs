//! A person's word on an action: it goes to `response.decisions`, and what becomes of it comes back on the topics.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::StatusCode,
    response::Response,
};
use cybervault_model::{ContentType, Decision, DecisionVerdict};
use cybervault_stream::JournalRecord;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Caller, Code, RequestId, analyze::write, body::read_json_or_nothing};
use crate::{app::App, store::now};

/// Bytes of a decision's body.
const MAX_BYTES: usize = 16 * 1024;
/// The longest comment, in characters.
pub(crate) const MAX_COMMENT: usize = 1_000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Word {
    comment: Option<String>,
}

/// `POST /v3/response/actions/{action_id}/approve`
pub(super) async fn approve(
    state: State<Arc<App>>,
    caller: Extension<Caller>,
    id: Extension<RequestId>,
    path: Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(state, caller, id, path, request, DecisionVerdict::Approve).await
}

/// `POST /v3/response/actions/{action_id}/deny`
pub(super) async fn deny(
    state: State<Arc<App>>,
    caller: Extension<Caller>,
    id: Extension<RequestId>,
    path: Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(state, caller, id, path, request, DecisionVerdict::Deny).await
}

async fn answer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Path(action_id): Path<String>,
    request: Request,
    verdict: DecisionVerdict,
) -> Result<Response, ApiError> {
    let word: Word = read_json_or_nothing(request, MAX_BYTES).await?;
    if word.comment.as_ref().is_some_and(|comment| comment.chars().count() > MAX_COMMENT) {
        return Err(ApiError::new(Code::InvalidRequest, format!("a comment may have {MAX_COMMENT} characters")));
    }
    let decided = decide(&app, &caller, &id, &action_id, (verdict, word.comment)).await?;
    Ok(super::json(StatusCode::ACCEPTED, &decided))
}

/// Sends the decision on a proposed action.
pub(crate) async fn decide(
    app: &App,
    caller: &Caller,
    id: &RequestId,
    action_id: &str,
    (verdict, comment): (DecisionVerdict, Option<String>),
) -> Result<Value, ApiError> {
    let tenant_id = caller.tenant_id();
    let action = caller.store(app).action(tenant_id, action_id).await?.ok_or_else(ApiError::not_found)?;
    let is_over = action.expires_at <= now().as_millis() && !caller.is_sandbox();
    if action.state != "proposed" || is_over {
        let state = if action.state == "proposed" { "expired" } else { &action.state };
        return Err(ApiError::new(
            Code::ActionNotPending,
            format!("this action does not wait for a decision: it is {state}"),
        ));
    }
    let decision = Decision {
        action_id: action_id.to_owned(),
        tenant_id: tenant_id.clone(),
        verdict,
        decided_by: caller.name(),
        comment,
    };
    let submitted = json!({"action_id": action_id, "verdict": verdict, "decided_by": decision.decided_by,
        "status": "submitted"});
    if caller.is_sandbox() {
        return Ok(submitted);
    }
    // Decisions are JSON whatever else is: people write them, too.
    let value = serde_json::to_vec(&decision).map_err(|_| ApiError::new(Code::Internal, "it can't be written"))?;
    let record = JournalRecord {
        topic: app.settings.topics.decisions.clone(),
        key: tenant_id.as_str().as_bytes().to_vec(),
        value,
        headers: vec![
            (ContentType::HEADER, ContentType::Json.as_str().as_bytes().to_vec()),
            ("tenant_id", tenant_id.as_str().as_bytes().to_vec()),
            ("request_id", id.0.as_bytes().to_vec()),
        ],
        time: now(),
    };
    write(app, vec![record]).await?;
    tracing::info!(request_id = &*id.0, tenant = %tenant_id, action_id, by = caller.name(), ?verdict, "decided");
    Ok(submitted)
}
