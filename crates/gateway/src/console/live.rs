//! The findings as they come: what was found lately, and what is being found. What repeats is one row with a count.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{Response, sse::Event},
};
use cybervault_model::{ActionMode, Assessment, EntityKind, ResponseAction, Severity, derived_id};
use maud::{Markup, html};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    page::{PageError, need, page as shell, shown},
    parts::{self, Found, found},
    session::Visitor,
};
use crate::{
    app::App,
    http::{ApiError, Period, event_id, read_event_id, subscribe},
    key::Scope,
    list::ListQuery,
    store::{ASSESSMENTS, FeedItem, FeedKind, now},
};

/// Rows that the page begins with.
const ROWS: u32 = 100;

/// What the feed shows.
#[derive(Clone, Debug, Default)]
struct Wanted {
    severity: Severity,
    text: String,
}

impl Wanted {
    fn parse(query: Option<&str>) -> Self {
        let mut wanted = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "severity" => {
                    let found = Severity::ALL.into_iter().find(|known| known.as_str() == value);
                    wanted.severity = found.unwrap_or_default();
                }
                "q" => wanted.text = value.trim().chars().take(100).collect(),
                _ => {}
            }
        }
        wanted
    }

    /// As the API's filters, each of which leads to its rows.
    fn filters(&self) -> Vec<serde_json::Value> {
        let severity = self.severity.as_str();
        let about = |field: &str, value: &str| serde_json::json!({"severity": {"gte": severity}, field: value});
        if self.text.is_empty() {
            return vec![serde_json::json!({"severity": {"gte": severity}})];
        }
        vec![about("entity", &self.text), about("technique", &self.text.to_uppercase())]
    }
}

/// `GET /findings`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let (caller, wanted) = (&visitor.caller, Wanted::parse(query.as_deref()));
    let (store, tenant_id) = (caller.store(&app), caller.tenant_id());
    // Before the rows are read, so that nothing lands unseen between the two.
    let end = event_id(store.feed_end().await?, tenant_id, store.cursor_key());
    let mut rows: Vec<Found> = Vec::new();
    for filter in wanted.filters() {
        let list =
            ListQuery::new(&ASSESSMENTS, ROWS, "created_at:desc", &filter.to_string()).map_err(ApiError::from)?;
        for document in store.list(&list, tenant_id).await?.documents {
            rows.push(found(&document)?);
        }
    }
    rows.sort_by(|a, b| (b.created_at, &b.assessment.assessment_id).cmp(&(a.created_at, &a.assessment.assessment_id)));
    rows.dedup_by(|a, b| a.assessment.assessment_id == b.assessment.assessment_id);
    rows.truncate(ROWS as usize);
    let folded = fold(&rows);
    let oldest = rows.last().map_or(0, |row| row.created_at.as_millis());
    let facts = store.facts(tenant_id, pair(Period::of_days(1))).await?;
    let waiting = store.waiting_count(tenant_id, now()).await?;
    let by_minute = store.findings_by_minute(tenant_id, now().plus_millis(-60 * 60_000)).await?;
    let body = html! {
        header.head {
            h1 { "Live findings" }
            span #connection.live role="status" { "connecting" }
            span.grow {}
            span.muted.small { "times in UTC" }
        }
        section.tiles aria-label="The last 24 hours" {
            @for severity in Severity::ALL.into_iter().rev() {
                a class={ "tile sev-" (severity.as_str()) } href={ "/findings?severity=" (severity.as_str()) } {
                    span.n data-severity=(severity.as_str()) { (parts::count(facts.findings[severity as usize])) }
                    span.l { (severity.as_str()) }
                }
            }
            a.tile href="/approvals" {
                span.n #proposed { (parts::count(waiting)) } span.l { "to approve" }
            }
            div.tile.chart {
                (parts::columns(&minutes(&by_minute), "Findings a minute in the last hour"))
                span.l { "findings a minute, last hour" }
            }
        }
        form.filters method="get" action="/findings" role="search" {
            label { "Severity from "
                select name="severity" {
                    @for severity in Severity::ALL {
                        option value=(severity.as_str()) selected[severity == wanted.severity] { (severity.as_str()) }
                    }
                }
            }
            label.grow { span.sr { "Entity or technique" }
                input #search type="search" name="q" value=(wanted.text) placeholder="Entity or technique: WS-114, T1059.001" autocomplete="off";
            }
            button type="submit" { "Filter" }
            button #pause type="button" aria-pressed="false" { "Pause" }
        }
        table.feed #feed data-from=(end) data-session=(visitor.name()) data-rows=(ROWS) data-found=(rows.len()) data-oldest=(oldest)
            data-severity=(wanted.severity as usize) data-text=(wanted.text) {
            thead { tr {
                th scope="col" { "Time" } th scope="col" { "Severity" } th scope="col" { "Risk" }
                th scope="col" { "Finding" } th scope="col" { "Entity" } th scope="col" { "ATT&CK" }
            } }
            tbody { @for (found, count) in &folded { (row(found, *count)) } }
        }
        @if rows.is_empty() { p.empty #empty { "Nothing found yet. What is found appears here by itself." } }
        p #announce.sr aria-live="polite" {}
    };
    Ok(shell(&visitor, "/findings", "Live findings", &body))
}

pub(super) fn pair(period: Period) -> (cybervault_model::Timestamp, cybervault_model::Timestamp) {
    (period.from, period.to)
}

/// The last sixty minutes, those without findings too.
fn minutes(found: &[(i64, i64)]) -> Vec<(i64, String)> {
    let last = now().as_millis() / 60_000;
    (last - 59..=last)
        .map(|minute| {
            let count = found.iter().find(|(at, _)| at / 60_000 == minute).map_or(0, |(_, count)| *count);
            (count, format!("{count} findings, {} min ago", last - minute))
        })
        .collect()
}

/// Findings of the same rules about the same hosts, accounts, addresses and hashes, with the same severity, are one row: the newest of them, and
/// how many they are.
fn fold(rows: &[Found]) -> Vec<(&Found, usize)> {
    let mut folded: Vec<(String, &Found, usize)> = Vec::new();
    for found in rows {
        let key = fold_key(&found.assessment);
        match folded.iter_mut().find(|(known, ..)| *known == key) {
            Some((.., count)) => *count += 1,
            None => folded.push((key, found, 1)),
        }
    }
    folded.into_iter().map(|(_, found, count)| (found, count)).collect()
}

fn fold_key(assessment: &Assessment) -> String {
    let lasting =
        assessment.entities.iter().filter(|entity| !matches!(entity.kind, EntityKind::Process | EntityKind::File));
    let mut parts: Vec<String> =
        lasting.map(|entity| format!("{} {}", entity.kind.as_str(), entity.identity())).collect();
    parts.extend(assessment.contributions.iter().map(|reason| reason.id.clone()));
    parts.sort();
    let parts: Vec<&[u8]> =
        [assessment.severity.as_str()].into_iter().chain(parts.iter().map(String::as_str)).map(str::as_bytes).collect();
    derived_id("f", &parts)
}

fn row(found: &Found, count: usize) -> Markup {
    let assessment = &found.assessment;
    let more = assessment.contributions.len().saturating_sub(1);
    html! {
        tr data-id=(assessment.assessment_id) data-severity=(assessment.severity.as_str()) data-fold=(fold_key(assessment)) data-count=(count) {
            td.when { (parts::moment(found.created_at)) }
            td { (parts::severity(assessment.severity)) }
            td { (parts::score(assessment.risk_score.get(), assessment.severity)) }
            td.title { a href={ "/findings/" (assessment.assessment_id) } { (found.title()) }
                @if more > 0 { span.muted.small { " +" (more) } }
                " " span.times hidden[count < 2] { "×" (count) } }
            td { @if let Some(first) = assessment.entities.first() { (parts::entity(first)) } }
            td { (parts::techniques(&assessment.mitre_attack, 3)) }
        }
    }
}

/// A finding as pages hear of it.
#[derive(Serialize)]
struct Told<'a> {
    html: String,
    severity: usize,
    at: i64,
    entities: Vec<&'a str>,
    techniques: Vec<&'a str>,
}

/// `GET /console/live`: all findings, with rows made here as those of the page are. A browser asks once for all its tabs.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    headers: axum::http::HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let query = query.unwrap_or_default();
    let session = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "session");
    if session.is_some_and(|(_, session)| session != visitor.name()) {
        // Of another session, maybe of another tenant, whose page is still open.
        return Err(PageError::new(StatusCode::UNAUTHORIZED, "This session is over. Reload the page."));
    }
    let from =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "from").map(|(_, value)| value.into_owned());
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned).or(from);
    let after =
        last.and_then(|id| read_event_id(&id, visitor.caller.tenant_id(), visitor.caller.store(&app).cursor_key()));
    let show = move |item: &FeedItem| match item.kind {
        FeedKind::Assessment => Some(Event::default().event("row").data(told(&item.document)?)),
        FeedKind::Incident => Some(Event::default().event("incident").data(super::incidents::told(&item.document)?)),
        FeedKind::Action => {
            let action: ResponseAction = serde_json::from_str(item.document.get()).ok()?;
            // What a dry run says never waits.
            (action.mode != ActionMode::DryRun).then(|| Event::default().event("action").data(action.state.as_str()))
        }
    };
    let session = visitor.session();
    Ok(subscribe(app, (visitor.caller, Some(session)), after, show)?)
}

fn told(document: &RawValue) -> Option<String> {
    let found = found(document).ok()?;
    let Assessment { severity, entities, mitre_attack, .. } = &found.assessment;
    let told = Told {
        html: shown(row(&found, 1)).into_string(),
        severity: *severity as usize,
        at: found.created_at.as_millis(),
        entities: entities.iter().map(|entity| &*entity.value).collect(),
        techniques: mitre_attack.iter().map(|found| &*found.technique_id).collect(),
    };
    serde_json::to_string(&told).ok()
}
