//! A tenant's keys, by one that may administer them.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cybervault_model::Timestamp;
use serde_json::json;

use super::{
    ApiError, Caller, Code,
    body::{read_json, read_json_or_nothing},
    form::Form,
};
use crate::{
    app::App,
    key::{KeyKind, Scope},
    store::{KeyRecord, NewKey, now},
};

/// Bytes of a body about keys.
const MAX_BYTES: usize = 16 * 1024;
/// The longest name.
const MAX_NAME: usize = 100;
/// For how long a rotated key is taken beside the new one, where nothing else is said: a day.
const OVERLAP_S: u32 = 24 * 60 * 60;
/// For how long it may be: a week.
const MAX_OVERLAP_S: u32 = 7 * 24 * 60 * 60;

struct Wish {
    kind: KeyKind,
    name: String,
    scopes: BTreeSet<Scope>,
    expires_at: Option<Timestamp>,
}

impl Wish {
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let form = Form::read(body, &["kind", "name", "scopes", "expires_at"], Code::InvalidJson)?;
        let kinds = "`live`, `test` or `read`";
        let scopes = format!("a list of scopes; there are {}", Scope::ALL.map(Scope::as_str).join(", "));
        Ok(Self {
            kind: form.required("kind", kinds, |value| serde_json::from_str(value).ok())?,
            name: form.required("name", "a text", |value| serde_json::from_str(value).ok())?,
            scopes: form.optional("scopes", &scopes, |value| serde_json::from_str(value).ok())?.unwrap_or_default(),
            expires_at: form.time("expires_at")?,
        })
    }
}

/// `GET /v3/keys`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let keys = app.store.keys(Some(&caller.key.tenant_id)).await?;
    Ok(super::json(StatusCode::OK, &json!({ "data": keys })))
}

/// `POST /v3/keys`
pub(super) async fn issue(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = read_json(request, MAX_BYTES).await?;
    let Wish { kind, name, scopes, expires_at } = Wish::read(&body)?;
    let wrong = |message: String| Err(ApiError::new(Code::InvalidRequest, message));
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return wrong(format!("`name` must be 1 to {MAX_NAME} characters, none of them a control character"));
    }
    if expires_at.is_some_and(|end| end <= now()) {
        return wrong("`expires_at` is over already".to_owned());
    }
    if let Some(scope) = scopes.iter().find(|scope| !kind.scopes().contains(scope)) {
        return wrong(format!("a key of this kind can't have the scope `{}`", scope.as_str()));
    }
    let scopes = if scopes.is_empty() { kind.scopes().iter().copied().collect() } else { scopes };
    may_hand_on(&caller, kind, &scopes)?;
    let expires_at = match (expires_at, caller.key.expires_at) {
        (Some(wish), Some(own)) if wish > own => {
            return wrong(format!("`expires_at` may be {own} at most: a key issues none that outlives it"));
        }
        (wish, own) => wish.or(own),
    };
    let new = NewKey { tenant_id: caller.key.tenant_id.clone(), kind, name, scopes, expires_at };
    let (secret, record) = app.store.issue_key(&new).await?;
    tracing::info!(tenant = %record.tenant_id, key = record.key_id, by = caller.name(), "key issued");
    Ok(super::json(StatusCode::CREATED, &record.with_secret(&secret)))
}

/// `POST /v3/keys/{key_id}/rotate`
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(key_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = read_json_or_nothing(request, MAX_BYTES).await?;
    let form = Form::read(&body, &["overlap_seconds"], Code::InvalidJson)?;
    let seconds = format!("a whole number from 0 to {MAX_OVERLAP_S}");
    let overlap = form.optional("overlap_seconds", &seconds, whole)?.unwrap_or(u64::from(OVERLAP_S));
    if overlap > u64::from(MAX_OVERLAP_S) {
        return Err(ApiError::new(Code::InvalidRequest, format!("`overlap_seconds` must be {seconds}")));
    }
    let overlap_ms = i64::try_from(overlap).unwrap_or(i64::MAX).saturating_mul(1000);
    let old = own(&app, &caller, &key_id).await?;
    may_hand_on(&caller, old.kind, &old.scopes)?;
    let (secret, record) = app.store.rotate_key(&old, overlap_ms, caller.key.expires_at).await?;
    tracing::info!(tenant = %record.tenant_id, key = record.key_id, old = key_id, by = caller.name(), "key rotated");
    Ok(super::json(StatusCode::CREATED, &record.with_secret(&secret)))
}

/// `DELETE /v3/keys/{key_id}`
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(key_id): Path<String>,
) -> Result<Response, ApiError> {
    let key = own(&app, &caller, &key_id).await?;
    app.store.revoke_key(&key.key_id).await?;
    tracing::info!(tenant = %key.tenant_id, key = key_id, by = caller.name(), "key revoked");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A whole number, as JSON may write it: 60 and 60.0 are the same.
fn whole(text: &str) -> Option<u64> {
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

/// A key of the caller's tenant that is still taken.
async fn own(app: &App, caller: &Caller, key_id: &str) -> Result<KeyRecord, ApiError> {
    let key = app.store.key(&caller.key.tenant_id, key_id).await?;
    key.filter(|key| key.is_valid(now())).ok_or_else(ApiError::not_found)
}

/// Nobody hands on more than they have; a sandbox opens nothing.
fn may_hand_on(caller: &Caller, kind: KeyKind, scopes: &BTreeSet<Scope>) -> Result<(), ApiError> {
    match scopes.iter().find(|scope| kind != KeyKind::Test && !caller.key.allows(**scope)) {
        Some(scope) => {
            Err(ApiError::new(Code::InvalidScope, format!("this key has not the scope `{}` itself", scope.as_str())))
        }
        None => Ok(()),
    }
}
