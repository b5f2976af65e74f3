//! Incidents, and people's words on them.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, RawQuery, Request, State},
    http::StatusCode,
    response::Response,
};
use cybervault_model::{
    ContentType, Incident, IncidentDecision, IncidentDecisionKind, IncidentStatus, IncidentVerdict, derived_id,
};
use cybervault_stream::JournalRecord;
use serde_json::{json, value::RawValue};
use tokio::time::{Instant, sleep};

use super::{
    ApiError, Caller, Code, RequestId,
    analyze::write,
    body::read_json,
    form::Form,
    look::list,
    once::{idempotency_key, once},
};
use crate::{
    app::App,
    key::random_text,
    list::BadQuery,
    store::{INCIDENTS, Stored, now},
};

/// Bytes of a word's body.
const MAX_BYTES: usize = 16 * 1024;
/// The longest comment, in characters.
pub(crate) const MAX_COMMENT: usize = 2_000;
/// The longest name of whoever is to work on it, in characters.
pub(crate) const MAX_ASSIGNEE: usize = 200;
/// How long an answer waits for what comes of it …
const PATIENCE: Duration = Duration::from_secs(6);
/// … and how often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// `GET /v3/incidents`
pub(super) async fn incidents(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    list(&app, &caller, &INCIDENTS, query).await
}

/// `GET /v3/incidents/{incident_id}`: as it was told last, or with `format=ocsf` as an OCSF Incident Finding.
pub(super) async fn incident(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut as_ocsf = false;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*name, &*value) {
            ("format", "ocsf") => as_ocsf = true,
            ("format", "native") => as_ocsf = false,
            ("format", _) => return Err(BadQuery("`format` must be `native` or `ocsf`".to_owned()).into()),
            (other, _) => {
                let other: String = other.chars().take(64).collect();
                return Err(BadQuery(format!("there is no parameter `{other}`; there is format")).into());
            }
        }
    }
    let found = caller.store(&app).incident(caller.tenant_id(), &id).await?.ok_or_else(ApiError::not_found)?;
    if as_ocsf {
        return Ok(super::json(StatusCode::OK, &cybervault_incident::to_ocsf(&read(&found)?)));
    }
    Ok(super::json(StatusCode::OK, &found))
}

/// A stored incident.
pub(crate) fn read(document: &RawValue) -> Result<Incident, ApiError> {
    serde_json::from_str(document.get()).map_err(|error| {
        tracing::error!(%error, "an incident in the store can't be read");
        ApiError::new(Code::Internal, "the incident can't be read")
    })
}

/// `POST /v3/incidents/{incident_id}/status`
pub(super) async fn status(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Path(incident_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&app, &caller, &id, incident_id, request, IncidentDecisionKind::Status).await
}

/// `POST /v3/incidents/{incident_id}/assign`
pub(super) async fn assign(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Path(incident_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&app, &caller, &id, incident_id, request, IncidentDecisionKind::Assign).await
}

/// `POST /v3/incidents/{incident_id}/comment`
pub(super) async fn comment(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Path(incident_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&app, &caller, &id, incident_id, request, IncidentDecisionKind::Comment).await
}

/// `POST /v3/incidents/{incident_id}/verdict`
pub(super) async fn verdict(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    Path(incident_id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(&app, &caller, &id, incident_id, request, IncidentDecisionKind::Verdict).await
}

/// A person's word.
#[derive(Clone, Debug)]
pub(crate) struct IncidentWord {
    pub(crate) kind: IncidentDecisionKind,
    pub(crate) status: Option<IncidentStatus>,
    pub(crate) verdict: Option<IncidentVerdict>,
    pub(crate) assignee: Option<String>,
    pub(crate) comment: Option<String>,
}

impl IncidentWord {
    fn read(kind: IncidentDecisionKind, body: &[u8]) -> Result<Self, ApiError> {
        let known: &[&str] = match kind {
            IncidentDecisionKind::Status => &["status", "comment"],
            IncidentDecisionKind::Verdict => &["verdict", "comment"],
            IncidentDecisionKind::Assign => &["assignee", "comment"],
            IncidentDecisionKind::Comment => &["comment"],
        };
        let form = Form::read(body, known, Code::InvalidJson)?;
        let word = Self {
            kind,
            status: match kind {
                IncidentDecisionKind::Status => {
                    let expected = "`open`, `in_progress` or `closed`";
                    Some(form.required("status", expected, |value| serde_json::from_str(value).ok())?)
                }
                _ => None,
            },
            verdict: match kind {
                IncidentDecisionKind::Verdict => {
                    let expected = "`true_positive`, `false_positive` or `benign`";
                    Some(form.required("verdict", expected, |value| serde_json::from_str(value).ok())?)
                }
                _ => None,
            },
            assignee: if kind == IncidentDecisionKind::Assign { form.text("assignee")? } else { None },
            comment: match kind {
                IncidentDecisionKind::Comment => {
                    Some(form.required("comment", "a text", |value| serde_json::from_str(value).ok())?)
                }
                _ => form.text("comment")?,
            },
        };
        word.check()
    }

    /// # Errors
    /// When a text is too long, or there is none where there has to be.
    pub(crate) fn check(self) -> Result<Self, ApiError> {
        let refuse = |message: String| Err(ApiError::new(Code::InvalidRequest, message));
        let length = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
        if length(&self.comment) > MAX_COMMENT {
            return refuse(format!("a comment may have {MAX_COMMENT} characters"));
        }
        if length(&self.assignee) > MAX_ASSIGNEE {
            return refuse(format!("an assignee's name may have {MAX_ASSIGNEE} characters"));
        }
        let is_empty = self.comment.as_ref().is_none_or(|comment| comment.trim().is_empty());
        if self.kind == IncidentDecisionKind::Comment && is_empty {
            return refuse("a comment has to say something".to_owned());
        }
        Ok(self)
    }
}

async fn answer(
    app: &Arc<App>,
    caller: &Caller,
    id: &RequestId,
    incident_id: String,
    request: Request,
    kind: IncidentDecisionKind,
) -> Result<Response, ApiError> {
    let key = idempotency_key(request.headers())?;
    let body: Bytes = read_json(request, MAX_BYTES).await?;
    let word = IncidentWord::read(kind, &body)?;
    let what = format!("incident {} {incident_id}", kind.as_str());
    // The same key gives the same decision, which the stage takes once, whatever becomes of the first answer.
    let decision_id = match &key {
        Some(key) => derived_id("id", &[caller.tenant_id().as_str().as_bytes(), key.as_bytes(), what.as_bytes()]),
        None => new_decision_id()?,
    };
    let work = {
        let (app, caller, id) = (app.clone(), caller.clone(), id.clone());
        move |_| async move {
            let taken = say(&app, &caller, &id, (&incident_id, decision_id), &word).await?;
            let location = format!("/v3/incidents/{incident_id}");
            Ok(match taken {
                Some(document) => Stored { status: 200, body: document.get().to_owned(), location: None },
                None => {
                    let told = json!({ "incident_id": incident_id, "type": word.kind, "status": "submitted" });
                    Stored { status: 202, body: told.to_string(), location: Some(location) }
                }
            })
        }
    };
    once(app, caller, key, (&what, &body), work).await
}

/// What tells a decision from all others.
pub(crate) fn new_decision_id() -> Result<String, ApiError> {
    let random = random_text(24).map_err(|_| ApiError::new(Code::Internal, "there is no randomness"))?;
    Ok(format!("id_{random}"))
}

/// Sends a word on an incident, and waits for what comes of it, for a while. The incident as it was then told; `None` where that is not
/// known yet.
pub(crate) async fn say(
    app: &App,
    caller: &Caller,
    id: &RequestId,
    (incident_id, decision_id): (&str, String),
    word: &IncidentWord,
) -> Result<Option<Box<RawValue>>, ApiError> {
    let (store, tenant_id) = (caller.store(app), caller.tenant_id());
    let before = store.incident(tenant_id, incident_id).await?.ok_or_else(ApiError::not_found)?;
    let decision = IncidentDecision {
        decision_id: decision_id.clone(),
        incident_id: incident_id.to_owned(),
        tenant_id: tenant_id.clone(),
        kind: word.kind,
        status: word.status,
        verdict: word.verdict,
        assignee: word.assignee.clone(),
        decided_by: caller.name(),
        comment: word.comment.clone(),
    };
    // Decisions are JSON whatever else is: people write them, too.
    let value = serde_json::to_vec(&decision).map_err(|_| ApiError::new(Code::Internal, "it can't be written"))?;
    let record = JournalRecord {
        topic: app.settings.topics.incident_decisions.clone(),
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
    let by = caller.name();
    tracing::info!(request_id = &*id.0, tenant = %tenant_id, incident_id, by, kind = word.kind.as_str(), "decided");
    // Of what has become a part of another, the word is on that one.
    let mut target = read(&before)?.merged_into.unwrap_or_else(|| incident_id.to_owned());
    let until = Instant::now() + PATIENCE;
    loop {
        // It was sent: a store that does not answer now is no reason to say that it failed.
        if let Some(document) = store.incident(tenant_id, &target).await.unwrap_or_default() {
            let incident = read(&document)?;
            if incident.decisions.iter().any(|word| word.decision_id == decision_id) {
                return Ok(Some(document));
            }
            if let Some(into) = incident.merged_into {
                target = into;
            }
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        sleep(LOOK).await;
    }
}
