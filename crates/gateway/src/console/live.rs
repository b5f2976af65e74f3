//! The live feed: what was found lately, and what is being found.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{RawQuery, State},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use cybervault_model::{Severity, TenantId};
use futures_util::stream;
use maud::{Markup, html};
use tokio::time::timeout;

use super::{
    page::{PageError, need, page as shell},
    parts::{self, Found, found},
    session::Visitor,
};
use crate::{
    app::App,
    http::{ApiError, Period, event_id},
    key::Scope,
    list::ListQuery,
    store::{ASSESSMENTS, FeedKind, now},
};

/// How often the session behind an open feed is looked at again.
const CHECK: Duration = Duration::from_millis(900);

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

    /// Whether it is shown live: the same that [`Wanted::filter`] asks the store for.
    fn matches(&self, found: &Found) -> bool {
        let (found, text) = (&found.assessment, self.text.as_str());
        let of_technique = || found.mitre_attack.iter().any(|one| one.technique_id.eq_ignore_ascii_case(text));
        let of_entity = || found.entities.iter().any(|one| one.value == text);
        found.severity >= self.severity && (text.is_empty() || of_entity() || of_technique())
    }

    /// As the API's filter.
    fn filter(&self) -> serde_json::Value {
        let severity = serde_json::json!({"severity": {"gte": self.severity.as_str()}});
        if self.text.is_empty() {
            return severity;
        }
        let either = serde_json::json!([{"entity": self.text}, {"technique": self.text.to_uppercase()}]);
        serde_json::json!({"and": [severity, {"or": either}]})
    }
}

/// `GET /`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let (caller, wanted) = (&visitor.caller, Wanted::parse(query.as_deref()));
    let (store, tenant_id) = (caller.store(&app), caller.tenant_id(&app));
    // Before the rows are read, so that nothing lands unseen between the two.
    let end = event_id(store.feed_end().await?, tenant_id, app.store.cursor_key());
    let filter: String = form_urlencoded::byte_serialize(wanted.filter().to_string().as_bytes()).collect();
    let asked = format!("limit=100&sort=created_at:desc&filter={filter}");
    let list = ListQuery::parse(&ASSESSMENTS, &asked, tenant_id, store.cursor_key()).map_err(ApiError::from)?;
    let listed = store.list(&list, tenant_id).await?;
    let rows = listed.documents.iter().map(|document| found(document)).collect::<Result<Vec<_>, _>>()?;
    let facts = store.facts(tenant_id, pair(Period::of_days(1))).await?;
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
                a class={ "tile sev-" (severity.as_str()) } href={ "/?severity=" (severity.as_str()) } {
                    span.n data-severity=(severity.as_str()) { (parts::count(facts.findings[severity as usize])) }
                    span.l { (severity.as_str()) }
                }
            }
            a.tile.pending href="/approvals" {
                span.n { (parts::count(facts.actions_in("proposed"))) } span.l { "to approve" }
            }
            div.tile.chart {
                (parts::columns(&minutes(&by_minute), "Findings a minute in the last hour"))
                span.l { "findings a minute, last hour" }
            }
        }
        form.filters method="get" action="/" role="search" {
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
        table.feed #feed data-from=(end) {
            thead { tr {
                th scope="col" { "Time" } th scope="col" { "Severity" } th scope="col" { "Risk" }
                th scope="col" { "Finding" } th scope="col" { "Entity" } th scope="col" { "ATT&CK" }
            } }
            tbody { @for found in &rows { (row(found)) } }
        }
        @if rows.is_empty() { p.empty #empty { "Nothing found yet. What is found appears here by itself." } }
        p #announce.sr aria-live="polite" {}
    };
    Ok(shell(&visitor, "/", "Live findings", &body))
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

fn row(found: &Found) -> Markup {
    let assessment = &found.assessment;
    let more = assessment.contributions.len().saturating_sub(1);
    html! {
        tr data-id=(assessment.assessment_id) data-severity=(assessment.severity.as_str()) {
            td.when { (parts::moment(found.created_at)) }
            td { (parts::severity(assessment.severity)) }
            td { (parts::score(assessment.risk_score.get(), assessment.severity)) }
            td.title { a href={ "/findings/" (assessment.assessment_id) } { (found.title()) }
                @if more > 0 { span.muted.small { " +" (more) } } }
            td { @if let Some(first) = assessment.entities.first() { (parts::entity(first)) } }
            td { (parts::techniques(&assessment.mitre_attack, 3)) }
        }
    }
}

/// `GET /console/live`: rows, made here as those of the page are.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    headers: axum::http::HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let wanted = Wanted::parse(query.as_deref());
    let tenant_id: TenantId = visitor.caller.tenant_id(&app).clone();
    let from = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "from")
        .map(|(_, value)| value.into_owned());
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned).or(from);
    let after = last.and_then(|id| crate::http::read_event_id(&id, &tenant_id, app.store.cursor_key()));
    let too_many = || PageError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "Too many listen already.");
    let listener = app.hub.listen(&tenant_id, after).ok_or_else(too_many)?;
    let state = (app, listener, visitor);
    let rows = stream::unfold(state, move |(app, mut listener, visitor)| {
        let (wanted, tenant_id) = (wanted.clone(), tenant_id.clone());
        async move {
            loop {
                match timeout(CHECK, listener.next(&app.store)).await {
                    Ok(Ok(item)) => {
                        let id = event_id(item.seq, &tenant_id, app.store.cursor_key());
                        let event = match item.kind {
                            FeedKind::Assessment => match found(&item.document) {
                                Ok(found) if wanted.matches(&found) => {
                                    Event::default().event("row").data(row(&found).into_string())
                                }
                                _ => continue,
                            },
                            FeedKind::Action => Event::default().event("action").data("1"),
                        };
                        return Some((Ok::<_, Infallible>(event.id(id)), (app, listener, visitor)));
                    }
                    Ok(Err(_)) => return None,
                    Err(_) => {
                        let key = app.store.key_by_id(&visitor.caller.key.key_id).await.ok().flatten();
                        if !key.is_some_and(|key| key.is_valid(now())) {
                            return None;
                        }
                    }
                }
            }
        }
    });
    Ok(Sse::new(rows).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}
