//! People's word on actions: it goes to `response.decisions`, the guardrails take it, and the answer says what came of it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use cybervault_model::{
    ActionMode, ActionState, ContentType, Decision, DecisionVerdict, Guardrail, ResponseAction, Timestamp,
};
use cybervault_stream::JournalRecord;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    ApiError, Caller, Code, RequestId,
    analyze::write,
    body::{read_json, read_json_or_nothing},
    form::Form,
};
use crate::{app::App, store::now};

/// Bytes of a decision's body.
const MAX_BYTES: usize = 16 * 1024;
/// The longest comment, in characters.
pub(crate) const MAX_COMMENT: usize = 1_000;
/// Actions that are decided on at once.
pub(crate) const MAX_ACTIONS: usize = 100;
/// How much of a name the guardrails keep, in characters.
const MAX_NAME: usize = 200;
/// How long an answer waits for what comes of it …
const PATIENCE: Duration = Duration::from_secs(6);
/// … and how often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// A person's word.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) verdict: DecisionVerdict,
    pub(crate) comment: Option<String>,
}

impl Word {
    /// # Errors
    /// When the comment is too long.
    pub(crate) fn new(verdict: DecisionVerdict, comment: Option<String>) -> Result<Self, ApiError> {
        if comment.as_ref().is_some_and(|comment| comment.chars().count() > MAX_COMMENT) {
            return Err(ApiError::new(Code::InvalidRequest, format!("a comment may have {MAX_COMMENT} characters")));
        }
        Ok(Self { verdict, comment })
    }
}

/// What came of a word on an action.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The guardrails have taken it: the action as it stands now.
    Taken(Box<ResponseAction>),
    /// It was sent, and what comes of it is not known yet.
    Sent,
}

impl Outcome {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Taken(_) => StatusCode::OK,
            Self::Sent => StatusCode::ACCEPTED,
        }
    }

    fn told(&self, action_id: &str, word: &Word, caller: &Caller) -> Value {
        let mut told = json!({"action_id": action_id, "verdict": word.verdict});
        match self {
            Self::Taken(action) => {
                told["status"] = json!(action.state);
                told["decided_by"] = json!(action.decided_by);
                told["decided_at"] = json!(action.updated_at);
                told["reason"] = json!(action.reason);
                if let Some(guardrail) = action.guardrail.filter(|_| action.state == ActionState::Denied) {
                    told["guardrail"] = json!(guardrail);
                }
            }
            Self::Sent => {
                told["status"] = json!("submitted");
                told["decided_by"] = json!(caller.name());
            }
        }
        told
    }
}

/// What came of a word on several actions, or why it was not taken, in their order.
pub(crate) type Outcomes = Vec<(String, Result<Outcome, ApiError>)>;

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
    let body = read_json_or_nothing(request, MAX_BYTES).await?;
    let comment = Form::read(&body, &["comment"], Code::InvalidJson)?.text("comment")?;
    let word = Word::new(verdict, comment)?;
    let outcomes = decide(&app, &caller, &id, std::slice::from_ref(&action_id), &word).await?;
    let outcome = outcomes.into_iter().next().map_or_else(|| Err(ApiError::not_found()), |(_, outcome)| outcome)?;
    let mut response = super::json(outcome.status(), &outcome.told(&action_id, &word, &caller));
    if matches!(outcome, Outcome::Sent) {
        // Where to ask, and when.
        if let Ok(place) = HeaderValue::from_str(&format!("/v3/response/actions/{action_id}")) {
            response.headers_mut().insert(header::LOCATION, place);
        }
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// `POST /v3/response/decisions`: one word on several actions.
pub(super) async fn decisions(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = read_json(request, MAX_BYTES).await?;
    let form = Form::read(&body, &["verdict", "action_ids", "comment"], Code::InvalidJson)?;
    let verdict: DecisionVerdict =
        form.required("verdict", "`approve` or `deny`", |value| serde_json::from_str(value).ok())?;
    let action_ids: Vec<String> =
        form.required("action_ids", "a list of actions' ids", |value| serde_json::from_str(value).ok())?;
    let comment = form.text("comment")?;
    let word = Word::new(verdict, comment)?;
    if !(1..=MAX_ACTIONS).contains(&action_ids.len()) {
        let message = format!("`action_ids` must name 1 to {MAX_ACTIONS} actions");
        return Err(ApiError::new(Code::InvalidRequest, message));
    }
    if action_ids.iter().collect::<BTreeSet<_>>().len() < action_ids.len() {
        return Err(ApiError::new(Code::InvalidRequest, "`action_ids` names an action twice"));
    }
    let outcomes = decide(&app, &caller, &id, &action_ids, &word).await?;
    let results: Vec<Value> = outcomes
        .iter()
        .map(|(action_id, outcome)| match outcome {
            Ok(outcome) => json!({"action_id": action_id, "status": outcome.status().as_u16(),
                "decision": outcome.told(action_id, &word, &caller)}),
            Err(error) => {
                json!({"action_id": action_id, "status": error.code.status().as_u16(), "error": error.told()})
            }
        })
        .collect();
    Ok(super::json(StatusCode::OK, &json!({ "results": results })))
}

/// Sends a word on actions, of which each id stands there once, and waits for what comes of it, for a while.
///
/// # Errors
/// When nothing is known to be sent.
pub(crate) async fn decide(
    app: &App,
    caller: &Caller,
    id: &RequestId,
    action_ids: &[String],
    word: &Word,
) -> Result<Outcomes, ApiError> {
    let mut before = caller.store(app).actions(caller.tenant_id(), action_ids).await?;
    let mut sent = Vec::new();
    let mut outcomes: Outcomes = Vec::with_capacity(action_ids.len());
    for action_id in action_ids {
        let outcome = match before.remove(action_id) {
            None => Err(ApiError::not_found()),
            Some(action) if !may_be_decided(&action, caller) => Err(settled(&action)),
            Some(action) if caller.is_sandbox() => Ok(Outcome::Taken(Box::new(as_if(action, word, caller)))),
            Some(_) => {
                sent.push(action_id.clone());
                Ok(Outcome::Sent)
            }
        };
        outcomes.push((action_id.clone(), outcome));
    }
    if sent.is_empty() {
        return Ok(outcomes);
    }
    send(app, caller, id, &sent, word).await?;
    let after = wait(app, caller, &sent).await;
    for (action_id, outcome) in &mut outcomes {
        if let (Ok(Outcome::Sent), Some(action)) = (&outcome, after.get(action_id)) {
            *outcome = judge(action, word, caller);
        }
    }
    Ok(outcomes)
}

/// Whether a word on it can change anything. What is in a sandbox never ends.
fn may_be_decided(action: &ResponseAction, caller: &Caller) -> bool {
    action.waits_for_decision() && (caller.is_sandbox() || action.expires_at > now())
}

/// The action as it would be outside the sandbox, where nothing changes.
fn as_if(action: ResponseAction, word: &Word, caller: &Caller) -> ResponseAction {
    ResponseAction {
        state: wanted(word.verdict),
        decided_by: caller.name(),
        reason: word.comment.clone().unwrap_or_else(|| "no comment".to_owned()),
        ..action
    }
}

const fn wanted(verdict: DecisionVerdict) -> ActionState {
    match verdict {
        DecisionVerdict::Approve => ActionState::Approved,
        DecisionVerdict::Deny => ActionState::Denied,
    }
}

/// Writes the decisions to Kafka, in one transaction.
async fn send(app: &App, caller: &Caller, id: &RequestId, action_ids: &[String], word: &Word) -> Result<(), ApiError> {
    let tenant_id = caller.tenant_id();
    let mut records = Vec::with_capacity(action_ids.len());
    for action_id in action_ids {
        let decision = Decision {
            action_id: action_id.clone(),
            tenant_id: tenant_id.clone(),
            verdict: word.verdict,
            decided_by: caller.name(),
            comment: word.comment.clone(),
        };
        // Decisions are JSON whatever else is: people write them, too.
        let value = serde_json::to_vec(&decision).map_err(|_| ApiError::new(Code::Internal, "it can't be written"))?;
        records.push(JournalRecord {
            topic: app.settings.topics.decisions.clone(),
            key: tenant_id.as_str().as_bytes().to_vec(),
            value,
            headers: vec![
                (ContentType::HEADER, ContentType::Json.as_str().as_bytes().to_vec()),
                ("tenant_id", tenant_id.as_str().as_bytes().to_vec()),
                ("request_id", id.0.as_bytes().to_vec()),
            ],
            time: now(),
        });
    }
    write(app, records).await?;
    for action_id in action_ids {
        let (by, verdict) = (caller.name(), word.verdict);
        tracing::info!(request_id = &*id.0, tenant = %tenant_id, action_id, by, ?verdict, "decided");
    }
    Ok(())
}

/// The actions once none of them waits any longer, or as they stand when patience ends. It was sent: a store that does not
/// answer now is no reason to say that it failed.
async fn wait(app: &App, caller: &Caller, action_ids: &[String]) -> HashMap<String, ResponseAction> {
    let until = Instant::now() + PATIENCE;
    loop {
        let actions = caller.store(app).actions(caller.tenant_id(), action_ids).await.unwrap_or_default();
        let is_known = |action_id: &String| actions.get(action_id).is_some_and(|action| !action.waits_for_decision());
        if action_ids.iter().all(is_known) || Instant::now() >= until {
            return actions;
        }
        sleep(LOOK).await;
    }
}

/// What came of a word: it may not have been the first.
fn judge(action: &ResponseAction, word: &Word, caller: &Caller) -> Result<Outcome, ApiError> {
    if action.waits_for_decision() {
        return Ok(Outcome::Sent);
    }
    if is_by(action, word.verdict, &caller.name()) {
        Ok(Outcome::Taken(Box::new(action.clone())))
    } else {
        Err(settled(action))
    }
}

/// Whether the action stands where `name` put it, or where a guardrail did when `name` approved it.
pub(crate) fn is_by(action: &ResponseAction, verdict: DecisionVerdict, name: &str) -> bool {
    let name: String = name.chars().take(MAX_NAME).collect();
    let forbidden = verdict == DecisionVerdict::Approve
        && action.guardrail == Some(Guardrail::NeverTouch)
        && action.reason.starts_with(&format!("approved by {name},"));
    action.state == wanted(verdict) && action.decided_by == name || forbidden
}

/// That an action does not wait, and who decided on it when.
fn settled(action: &ResponseAction) -> ApiError {
    let ResponseAction { state, mode, decided_by, updated_at, expires_at, .. } = action;
    let (why, at): (String, Timestamp) = match state {
        ActionState::Proposed if *mode == ActionMode::DryRun => {
            ("it is a dry run: its playbook only says what it would do".to_owned(), *updated_at)
        }
        ActionState::Proposed | ActionState::Expired => (format!("it expired at {expires_at}"), *expires_at),
        ActionState::Approved | ActionState::Denied => {
            (format!("it was {} by {decided_by} at {updated_at}", state.as_str()), *updated_at)
        }
    };
    let mut error = ApiError::new(Code::ActionNotPending, format!("this action does not wait for a decision: {why}"));
    // One that nobody has marked yet.
    let state =
        if *state == ActionState::Proposed && *mode != ActionMode::DryRun { ActionState::Expired } else { *state };
    error.details = Some(json!({"state": state, "mode": mode, "decided_by": decided_by, "decided_at": at}));
    error
}
