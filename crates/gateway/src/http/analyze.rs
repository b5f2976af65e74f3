//! Events by the API: assessed here, by the same code as the stream's, and committed to Kafka before they are answered.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use cybervault_model::{ContentType, json::without_half_pairs};
use cybervault_stream::JournalRecord;
use serde_json::value::RawValue;
use tokio::{
    sync::oneshot,
    time::{Duration, Instant, timeout},
};

use super::{
    ApiError, Caller, Code, RequestId,
    body::read_json,
    form::Form,
    once::{idempotency_key, once},
    trace,
};
use crate::{
    app::App,
    engine::Found,
    recent::{Assessed, Claim, Writing},
    sandbox,
    store::{Asked, Finding, KnownEvent, Stored, now},
};

/// Events of one batch.
const MAX_EVENTS: usize = 500;
/// Bytes of one batch.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How long a write waits for a Kafka that has stopped to answer.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// How often it is looked whether Kafka answers.
const LOOK: Duration = Duration::from_millis(250);

/// What an event may be.
const TYPES: [&str; 3] = ["endpoint_telemetry", "network_traffic", "file_hash"];

/// Checks what an event says of itself; it is read from its own bytes. The tenant is the key's, whatever else is sent.
fn check(event: &[u8]) -> Result<(), ApiError> {
    let form = Form::read(event, &["type", "payload", "event_id", "occurred_at", "source"], Code::InvalidEvent)?;
    let known = |value| serde_json::from_str::<String>(value).ok().filter(|kind| TYPES.contains(&&**kind));
    form.required("type", "`endpoint_telemetry`, `network_traffic` or `file_hash`", known)?;
    let object = |value: &str| value.starts_with('{').then_some(());
    form.required("payload", "an object", object)?;
    form.text("event_id")?;
    form.time("occurred_at")?;
    form.optional("source", "an object", object)?;
    Ok(())
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
    let (at, by, event) = (app.clone(), caller.clone(), body.clone());
    once(&app, &caller, key, ("analyze", &body), async move |_| {
        let (app, caller) = (at, by);
        let taken = take(&app, &caller, &[&event]).await?.pop();
        let taken = taken.unwrap_or_else(|| Err(ApiError::new(Code::Internal, "the event was lost")))?;
        commit(&app, &caller, &id, &[(&taken, &event)]).await?;
        let location = format!("/v3/threats/assessments/{}", taken.assessment_id());
        Ok(Stored { status: 201, body: taken.document().get().to_owned(), location: Some(location) })
    })
    .await
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
    let (at, by, events) = (app.clone(), caller.clone(), body.clone());
    once(&app, &caller, key, ("batch", &body), async move |_| {
        let (app, caller) = (at, by);
        let form = Form::read(&events, &["events"], Code::InvalidJson)?;
        let wanted = format!("a list of 1 to {MAX_EVENTS} events");
        let all = form.required("events", &wanted, |value| serde_json::from_str::<Vec<&RawValue>>(value).ok())?;
        if !(1..=MAX_EVENTS).contains(&all.len()) {
            return Err(ApiError::new(Code::InvalidRequest, format!("a batch has 1 to {MAX_EVENTS} events")));
        }
        let events: Vec<&[u8]> = all.iter().map(|event| event.get().as_bytes()).collect();
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
    check(mended.as_deref().unwrap_or(event))?;
    let at = if caller.is_sandbox() { sandbox::EPOCH } else { now() };
    let Found { assessment, signals } = app.engine.assess(caller.tenant_id(), event, at).map_err(wrong)?;
    let document = Finding { assessment: &assessment, created_at: at }.json()?;
    let document = RawValue::from_string(document).map_err(|error| {
        tracing::error!(%error, "an assessment can't be shown");
        ApiError::new(Code::Internal, "the answer can't be written")
    })?;
    Ok(Assessed { assessment, at, document, signals: Mutex::new(signals) })
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
        let Assessed { assessment, at, signals, .. } = &*writing.found;
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
        for signal in &*signals.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut value = Vec::new();
            encoding.encode(signal, &mut value).map_err(|error| {
                tracing::error!(%error, "a signal can't be written");
                ApiError::new(Code::InvalidEvent, "a number in it is beyond what can be written")
            })?;
            records.push(JournalRecord {
                topic: topics.signals.clone(),
                key: signal.key().into_bytes(),
                value,
                headers: headers(encoding.content_type().as_str()),
                time: *at,
            });
        }
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
