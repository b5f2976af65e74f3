//! Events by the API: assessed here, by the same code as the stream's, and committed to Kafka before they are answered.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cybervault_model::{ContentType, Timestamp, hex, json::without_half_pairs};
use cybervault_stream::JournalRecord;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant, timeout},
};

use super::{
    ApiError, Caller, Code, RequestId,
    body::{parse, read_json},
    json_text, trace,
};
use crate::{
    app::App,
    recent::{Assessed, Claim, Writing},
    sandbox,
    store::{Asked, Claim as KeyClaim, Finding, KnownEvent, Stored, now},
};

/// Events of one batch.
const MAX_EVENTS: usize = 500;
/// Bytes of one batch.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// The longest idempotency key.
const MAX_KEY: usize = 128;

/// How long a write waits for a Kafka that has stopped to answer.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// How often it is looked whether Kafka answers.
const LOOK: Duration = Duration::from_millis(250);

/// What an event may say of itself. The tenant is the key's, whatever else is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its form is checked here; the event is read from its own bytes")]
struct EventForm {
    #[serde(rename = "type")]
    kind: EventType,
    payload: serde_json::Map<String, serde_json::Value>,
    event_id: Option<String>,
    occurred_at: Option<Timestamp>,
    source: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EventType {
    EndpointTelemetry,
    NetworkTraffic,
    FileHash,
}

/// `POST /v3/threats/analyze`
pub(super) async fn analyze(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let key = idempotency_key(request.headers())?;
    let body = read_json(request, app.settings.max_event_bytes).await?;
    once(&app, &caller, key, "analyze", &body, async || {
        let taken = take(&app, &caller, &[&body]).await?.pop();
        let taken = taken.unwrap_or_else(|| Err(ApiError::new(Code::Internal, "the event was lost")))?;
        commit(&app, &caller, &id, &[(&taken, &body)]).await?;
        let location = format!("/v3/threats/assessments/{}", taken.assessment_id());
        Ok(Stored { status: 201, body: taken.document().get().to_owned(), location: Some(location) })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// `POST /v3/threats/analyze/batch`: each event by itself, all that are well-formed in one transaction.
pub(super) async fn analyze_batch(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let key = idempotency_key(request.headers())?;
    let body = read_json(request, MAX_BATCH_BYTES).await?;
    once(&app, &caller, key, "batch", &body, async || {
        let batch: Batch<'_> = parse(&body)?;
        if !(1..=MAX_EVENTS).contains(&batch.events.len()) {
            return Err(ApiError::new(Code::InvalidRequest, format!("a batch has 1 to {MAX_EVENTS} events")));
        }
        let events: Vec<&[u8]> = batch.events.iter().map(|event| event.get().as_bytes()).collect();
        let all = take(&app, &caller, &events).await?;
        let mut taken = Vec::with_capacity(all.len());
        for (found, event) in all.iter().zip(&events) {
            taken.extend(found.as_ref().ok().map(|found| (found, *event)));
        }
        commit(&app, &caller, &id, &taken).await?;
        let results: Vec<String> = all.iter().map(result).collect();
        Ok(Stored { status: 200, body: format!(r#"{{"results":[{}]}}"#, results.join(",")), location: None })
    })
    .await
}

/// What a batch tells of one of its events.
fn result(taken: &Result<Taken<'_>, ApiError>) -> String {
    match taken {
        Ok(taken) => format!(r#"{{"status":201,"assessment":{}}}"#, taken.document()),
        Err(error) => {
            let told = serde_json::json!({"status": error.code.status().as_u16(),
                "error": {"code": error.code.as_str(), "message": error.message}});
            told.to_string()
        }
    }
}

/// An event's finding, and whether it is to be written.
enum Taken<'a> {
    New(Writing<'a>),
    Known(String, Box<RawValue>),
}

impl Taken<'_> {
    fn assessment_id(&self) -> &str {
        match self {
            Self::New(writing) => &writing.found.assessment.assessment_id,
            Self::Known(assessment_id, _) => assessment_id,
        }
    }

    fn document(&self) -> &RawValue {
        match self {
            Self::New(writing) => &writing.found.document,
            Self::Known(_, document) => document,
        }
    }
}

/// Assesses events. One that is known already has the finding that it had; where another one has its id, it is refused: what was
/// found about that one is evidence, and can't be written anew.
async fn take<'a>(
    app: &'a App,
    caller: &Caller,
    events: &[&[u8]],
) -> Result<Vec<Result<Taken<'a>, ApiError>>, ApiError> {
    let recent = caller.recent(app);
    let (mut claims, mut asked) = (Vec::with_capacity(events.len()), Vec::new());
    for event in events {
        let claim = assess(app, caller, event).map(|assessed| recent.claim(assessed));
        if let Ok(Claim::Ours(writing)) = &claim {
            asked.push(Asked::from(&writing.found.assessment));
        }
        claims.push(claim);
    }
    let mut known = look_up(app, caller, asked).await?.into_iter();
    let mut all = Vec::with_capacity(claims.len());
    for claim in claims {
        all.push(match claim {
            Ok(Claim::Ours(writing)) => taken(writing, known.next()),
            Ok(Claim::Known(found)) => Ok(Taken::Known(found.assessment.assessment_id.clone(), found.document.clone())),
            Ok(Claim::Other) => Err(conflict()),
            Err(error) => Err(error),
        });
    }
    Ok(all)
}

fn taken(writing: Writing<'_>, known: Option<KnownEvent>) -> Result<Taken<'_>, ApiError> {
    match known {
        Some(KnownEvent::New) | None => Ok(Taken::New(writing)),
        Some(KnownEvent::Same(document)) => Ok(Taken::Known(writing.found.assessment.assessment_id.clone(), document)),
        Some(KnownEvent::Other) => Err(conflict()),
    }
}

fn conflict() -> ApiError {
    ApiError::new(
        Code::EventConflict,
        "another event of this tenant has this `event_id`, and what was found about that one stays; send this one with an id of its own",
    )
}

/// What the store knows of events: of one together with those of other requests.
async fn look_up(app: &App, caller: &Caller, mut asked: Vec<Asked>) -> Result<Vec<KnownEvent>, ApiError> {
    if caller.is_sandbox() || asked.len() != 1 {
        return Ok(caller.store(app).known_events(&asked).await?);
    }
    let known = match asked.pop() {
        Some(asked) => app.lookups.event(asked).await,
        None => None,
    };
    Ok(vec![known.ok_or_else(|| ApiError::new(Code::Unavailable, "the store does not answer"))?])
}

fn assess(app: &App, caller: &Caller, event: &[u8]) -> Result<Assessed, ApiError> {
    let wrong = |message: String| ApiError::new(Code::InvalidEvent, message);
    if event.len() > app.settings.max_event_bytes {
        return Err(wrong(format!("an event may have {} bytes", app.settings.max_event_bytes)));
    }
    // As it will be read: half a surrogate pair is no reason to refuse an event.
    let mended = without_half_pairs(event).map(|(mended, _)| mended);
    serde_json::from_slice::<EventForm>(mended.as_deref().unwrap_or(event)).map_err(|error| {
        let message: String = error.to_string().chars().take(300).collect();
        if error.is_data() { wrong(message) } else { ApiError::new(Code::InvalidJson, message) }
    })?;
    let at = if caller.is_sandbox() { sandbox::EPOCH } else { now() };
    let assessment = app.engine.assess(caller.tenant_id(), event, at).map_err(wrong)?;
    let document = Finding { assessment: &assessment, created_at: at }.json()?;
    let document = RawValue::from_string(document).map_err(|error| {
        tracing::error!(%error, "an assessment can't be shown");
        ApiError::new(Code::Internal, "the answer can't be written")
    })?;
    Ok(Assessed { assessment, at, document })
}

/// Writes the events and assessments that are new to Kafka, each once, in one transaction. Sandboxes write nothing.
async fn commit(app: &App, caller: &Caller, id: &RequestId, all: &[(&Taken<'_>, &[u8])]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    let new: Vec<(&Writing<'_>, &[u8])> = all
        .iter()
        .filter_map(|(taken, event)| match taken {
            Taken::New(writing) if seen.insert(&writing.found.assessment.assessment_id) => Some((writing, *event)),
            _ => None,
        })
        .collect();
    if !caller.is_sandbox() && !new.is_empty() {
        write(app, records(app, id, &new)?).await?;
    }
    new.iter().for_each(|(writing, _)| writing.committed());
    Ok(())
}

fn records(app: &App, id: &RequestId, new: &[(&Writing<'_>, &[u8])]) -> Result<Vec<JournalRecord>, ApiError> {
    let (topics, encoding) = (&app.settings.topics, &app.settings.encoding);
    let mut records = Vec::with_capacity(2 * new.len());
    for (writing, event) in new {
        let Assessed { assessment, at, .. } = &*writing.found;
        let headers = |content_type: &str| {
            vec![
                (ContentType::HEADER, content_type.as_bytes().to_vec()),
                ("tenant_id", assessment.tenant_id.as_str().as_bytes().to_vec()),
                ("request_id", id.0.as_bytes().to_vec()),
            ]
        };
        let key = assessment.key().into_bytes();
        let mut value = Vec::new();
        encoding.encode(assessment, &mut value).map_err(|error| {
            tracing::error!(%error, "an assessment can't be written");
            ApiError::new(Code::InvalidEvent, "a number in it is beyond what can be written")
        })?;
        records.push(JournalRecord {
            topic: topics.events.clone(),
            key: key.clone(),
            value: event.to_vec(),
            headers: headers(ContentType::Json.as_str()),
            time: *at,
        });
        records.push(JournalRecord {
            topic: topics.assessments.clone(),
            key,
            value,
            headers: headers(encoding.content_type().as_str()),
            time: *at,
        });
    }
    Ok(records)
}

/// Hands records to the journal and waits until they are committed.
pub(super) async fn write(app: &App, mut records: Vec<JournalRecord>) -> Result<(), ApiError> {
    if !app.condition.kafka_answers() {
        // Nothing is gained by waiting, and nothing is written.
        return Err(ApiError::new(Code::Unavailable, "Kafka does not answer now; nothing was written"));
    }
    trace::carry_on(&mut records);
    let (done, mut committed) = oneshot::channel();
    let handed_in = app.journal.write(records, move |result| {
        // Whoever asked may have gone.
        let _ = done.send(result);
    });
    let until = Instant::now() + PATIENCE;
    loop {
        match timeout(LOOK, &mut committed).await {
            Ok(Ok(result)) => return Ok(result?),
            Ok(Err(_)) => return Err(ApiError::new(Code::Unavailable, "the journal has ended")),
            // A commit may take its time; only where Kafka has gone is nothing to be waited for.
            Err(_) if Instant::now() < until || app.condition.kafka_answered_within(PATIENCE) => {}
            Err(_) => {
                handed_in.withdraw();
                let message = "Kafka does not answer now; whether it was written is not known, so send it again";
                return Err(ApiError::new(Code::Unavailable, message));
            }
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().ok().map(|text| text.trim().trim_matches('"'));
    let text = text.filter(|text| (1..=MAX_KEY).contains(&text.len()));
    let wrong =
        || ApiError::new(Code::InvalidRequest, format!("`Idempotency-Key` must be 1 to {MAX_KEY} visible characters"));
    Ok(Some(text.ok_or_else(wrong)?.to_owned()))
}

/// Does it once for all requests with the same key; the others get the first one's answer.
async fn once(
    app: &App,
    caller: &Caller,
    key: Option<String>,
    what: &str,
    body: &[u8],
    work: impl AsyncFnOnce() -> Result<Stored, ApiError>,
) -> Result<Response, ApiError> {
    let Some(key) = key else { return Ok(answer(work().await?, false)) };
    let (store, tenant_id) = (caller.store(app), &caller.key.tenant_id);
    let fingerprint = hex(&Sha256::new().chain_update(what).chain_update([0]).chain_update(body).finalize());
    match store.claim(tenant_id, &key, &fingerprint).await? {
        KeyClaim::Ours => {}
        KeyClaim::Done(stored) => return Ok(answer(stored, true)),
        KeyClaim::InProgress => {
            return Err(ApiError::new(
                Code::IdempotencyInProgress,
                "a request with this Idempotency-Key is being done",
            ));
        }
        KeyClaim::Mismatch => {
            return Err(ApiError::new(Code::IdempotencyMismatch, "this Idempotency-Key was given to another request"));
        }
    }
    match work().await {
        Ok(stored) => {
            store.answer(tenant_id, &key, &stored).await?;
            Ok(answer(stored, false))
        }
        Err(error) => {
            // Nothing is known to be done: the same request may be tried again.
            store.give_up_claim(tenant_id, &key).await?;
            Err(error)
        }
    }
}

fn answer(stored: Stored, again: bool) -> Response {
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let mut response = json_text(status, stored.body).into_response();
    if let Some(location) = stored.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if again {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}
