//! What there is to work on: incidents, the latest first. The console's first page.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    response::Response,
};
use cybervault_model::{Incident, IncidentStatus, Severity};
use maud::{Markup, html};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{
    live::pair,
    page::{PageError, need, page as shell, shown},
    parts,
    session::Visitor,
};
use crate::{
    app::App,
    http::{ApiError, Period, event_id},
    key::Scope,
    list::ListQuery,
    store::{INCIDENTS, now},
};

/// Incidents on the page.
const ROWS: u32 = 50;

/// What the page shows.
#[derive(Clone, Debug)]
struct Wanted {
    /// None is all that is not closed.
    status: Option<IncidentStatus>,
    severity: Severity,
    text: String,
}

impl Wanted {
    fn parse(query: Option<&str>) -> Self {
        let mut wanted = Self { status: None, severity: Severity::Informational, text: String::new() };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "status" => wanted.status = IncidentStatus::ALL.into_iter().find(|known| known.as_str() == value),
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

    /// As the API's filter.
    fn filter(&self) -> serde_json::Value {
        let status = self.status.map_or(json!({"ne": "closed"}), |status| json!(status.as_str()));
        let mut filter = json!({"severity": {"gte": self.severity.as_str()}, "status": status});
        if !self.text.is_empty() {
            filter["entity"] = json!(self.text);
        }
        filter
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
    let (store, tenant_id) = (caller.store(&app), caller.tenant_id());
    // Before the rows are read, so that nothing lands unseen between the two.
    let end = event_id(store.feed_end().await?, tenant_id, store.cursor_key());
    let list =
        ListQuery::new(&INCIDENTS, ROWS, "updated_at:desc", &wanted.filter().to_string()).map_err(ApiError::from)?;
    let page = store.list(&list, tenant_id).await?;
    let incidents = page.documents.iter().map(|document| incident(document)).collect::<Result<Vec<_>, _>>()?;
    let counts = store.incident_counts(tenant_id).await?;
    let facts = store.facts(tenant_id, pair(Period::of_days(1))).await?;
    let waiting = store.waiting_count(tenant_id, now()).await?;
    let body = html! {
        header.head {
            h1 { "Incidents" }
            span #connection.live role="status" { "connecting" }
            span.grow {}
            span.muted.small { "times in UTC" }
        }
        section.tiles aria-label="What there is to work on" {
            @for status in IncidentStatus::ALL {
                a.tile href={ "/?status=" (status.as_str()) } {
                    span.n { (parts::count(counts.get(status.as_str()).copied().unwrap_or_default())) }
                    span.l { (parts::words(status.as_str())) }
                }
            }
            a.tile href="/approvals" { span.n #proposed { (parts::count(waiting)) } span.l { "to approve" } }
            a.tile href="/findings" {
                span.n { (parts::count(facts.findings.iter().sum())) } span.l { "findings, last 24 hours" }
            }
        }
        form.filters method="get" action="/" role="search" {
            label { "Status"
                select name="status" {
                    option value="" selected[wanted.status.is_none()] { "not closed" }
                    @for status in IncidentStatus::ALL {
                        option value=(status.as_str()) selected[wanted.status == Some(status)] { (parts::words(status.as_str())) }
                    }
                }
            }
            label { "Severity from "
                select name="severity" {
                    @for severity in Severity::ALL {
                        option value=(severity.as_str()) selected[severity == wanted.severity] { (severity.as_str()) }
                    }
                }
            }
            label.grow { span.sr { "Entity" }
                input #search type="search" name="q" value=(wanted.text) placeholder="Entity: ws-114, ACME\\eve" autocomplete="off";
            }
            button type="submit" { "Filter" }
        }
        ol.incidents #incidents data-from=(end) data-session=(visitor.name())
            data-severity=(wanted.severity as usize) data-status=(wanted.status.map_or("", IncidentStatus::as_str)) data-text=(wanted.text) {
            @for incident in &incidents { (row(incident)) }
        }
        @if incidents.is_empty() {
            p.empty #empty { "No incident here. Findings that belong together appear here by themselves; single ones are among the " a href="/findings" { "findings" } "." }
        }
        p #announce.sr aria-live="polite" {}
    };
    Ok(shell(&visitor, "/", "Incidents", &body))
}

/// A stored incident.
pub(super) fn incident(document: &RawValue) -> Result<Incident, PageError> {
    Ok(crate::http::read_incident(document)?)
}

fn row(incident: &Incident) -> Markup {
    let path = format!("/incidents/{}", incident.incident_id);
    html! {
        li data-id=(incident.incident_id) data-severity=(incident.severity.as_str()) {
            div.what {
                a.title href=(path) { (incident.title) }
                p.muted.small {
                    (parts::severity(incident.severity)) " · " (status(incident.status)) " · "
                    (parts::count(i64::try_from(incident.findings).unwrap_or(i64::MAX))) " findings · "
                    (parts::moment(incident.first_at)) " to " (parts::moment(incident.last_at))
                    @if let Some(assignee) = &incident.assignee { " · " (assignee) }
                }
            }
            div.tactics { @for tactic in &incident.tactics { span.technique title=(tactic.tactic_id) { (tactic.tactic) } " " } }
            (parts::score(incident.risk_score.get(), incident.severity))
        }
    }
}

pub(super) fn status(status: IncidentStatus) -> Markup {
    let name = status.as_str();
    html! { span class={ "state status-" (name) } { (parts::words(name)) } }
}

/// An incident as pages hear of it.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    html: String,
    severity: usize,
    status: &'a str,
    is_merged: bool,
    entities: Vec<&'a str>,
}

pub(super) fn told(document: &RawValue) -> Option<String> {
    let incident: Incident = serde_json::from_str(document.get()).ok()?;
    let told = Told {
        id: &incident.incident_id,
        html: shown(row(&incident)).into_string(),
        severity: incident.severity as usize,
        status: incident.status.as_str(),
        is_merged: incident.merged_into.is_some(),
        entities: incident.entities.iter().map(|entity| &*entity.value).collect(),
    };
    serde_json::to_string(&told).ok()
}
