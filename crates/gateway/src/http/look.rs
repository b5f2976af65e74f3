//! What was found and done, and the rules behind it.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::Response,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{ApiError, Caller, json};
use crate::{
    app::App,
    engine::RuleFacts,
    list::{BadQuery, ListQuery, MAX_LIMIT, Resource},
    store::{ACTIONS, ASSESSMENTS},
};

#[derive(Serialize)]
struct Listed<T> {
    data: Vec<T>,
    has_more: bool,
    next_cursor: Option<String>,
}

pub(super) async fn list(
    app: &App,
    caller: &Caller,
    resource: &'static Resource,
    query: Option<String>,
) -> Result<Response, ApiError> {
    let (store, tenant_id) = (caller.store(app), caller.tenant_id());
    let query = ListQuery::parse(resource, &query.unwrap_or_default(), tenant_id, store.cursor_key())?;
    let page = store.list(&query, tenant_id).await?;
    let listed = Listed { data: page.documents, has_more: page.next_cursor.is_some(), next_cursor: page.next_cursor };
    Ok(json(StatusCode::OK, &listed))
}

/// `GET /v3/threats/assessments`
pub(super) async fn assessments(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    list(&app, &caller, &ASSESSMENTS, query).await
}

/// `GET /v3/threats/assessments/{assessment_id}`
pub(super) async fn assessment(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let tenant_id = caller.tenant_id();
    let document = match caller.store(&app).assessment(tenant_id, &id).await? {
        Some(document) => document,
        None => caller.recent(&app).get(tenant_id, &id).ok_or_else(ApiError::not_found)?,
    };
    Ok(json(StatusCode::OK, &document))
}

/// `GET /v3/response/actions`
pub(super) async fn actions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    list(&app, &caller, &ACTIONS, query).await
}

/// `GET /v3/response/actions/{action_id}`
pub(super) async fn action(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct WithHistory {
        action: Box<RawValue>,
        history: Vec<Box<RawValue>>,
    }
    let found = caller.store(&app).action(caller.tenant_id(), &id).await?.ok_or_else(ApiError::not_found)?;
    Ok(json(StatusCode::OK, &WithHistory { action: found.document, history: found.history }))
}

/// `GET /v3/rules`: in the order of their ids, after the one that `cursor` names.
pub(super) async fn rules(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let (mut limit, mut after) = (MAX_LIMIT as usize, String::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "limit" => {
                let read = value.parse().ok().filter(|limit| (1..=MAX_LIMIT as usize).contains(limit));
                limit = read.ok_or_else(|| BadQuery(format!("`limit` must be 1 to {MAX_LIMIT}")))?;
            }
            "cursor" => after = value.into_owned(),
            other => {
                let other: String = other.chars().take(64).collect();
                return Err(BadQuery(format!("there is no parameter `{other}`; there are limit and cursor")).into());
            }
        }
    }
    let mut rules = app.engine.rules();
    rules.sort_by(|a, b| a.rule_id.cmp(&b.rule_id));
    let mut data: Vec<RuleFacts> = rules.into_iter().filter(|rule| rule.rule_id > after).take(limit + 1).collect();
    let has_more = data.len() > limit;
    data.truncate(limit);
    let next_cursor = data.last().filter(|_| has_more).map(|rule| rule.rule_id.clone());
    Ok(json(StatusCode::OK, &Listed { data, has_more, next_cursor }))
}
