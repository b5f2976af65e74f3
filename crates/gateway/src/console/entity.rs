//! One host, user, address, …: what was found about it, in the order of time.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    response::Response,
};
use cybervault_model::Timestamp;
use maud::{Markup, html};

use super::{
    page::{PageError, need, page as shell},
    parts::{self, found},
    session::Visitor,
};
use crate::{app::App, key::Scope, store::COUNTED};

/// `GET /entities/{kind}/{value}`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path((kind, value)): Path<(String, String)>,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let (store, tenant_id) = (visitor.caller.store(&app), visitor.caller.tenant_id());
    let facts = store.entity(tenant_id, &kind, &value).await?.ok_or_else(PageError::not_found)?;
    let mut timeline: Vec<(Timestamp, Markup)> = Vec::new();
    for document in &facts.assessments {
        let found = found(document)?;
        let line = html! {
            (parts::severity(found.assessment.severity)) " "
            (parts::score(found.assessment.risk_score.get(), found.assessment.severity)) " "
            a href={ "/findings/" (found.assessment.assessment_id) } { (found.title()) } " "
            (parts::techniques(&found.assessment.mitre_attack, 2))
        };
        timeline.push((found.created_at, line));
    }
    for document in &facts.actions {
        let action = parts::action(document)?;
        let line = html! {
            (parts::action_state(&action)) " " strong { (parts::words(action.kind.as_str())) } " "
            span.muted { "by " (action.decided_by) } " "
            a href={ "/findings/" (action.assessment_id) } { "its finding" }
        };
        timeline.push((action.updated_at, line));
    }
    timeline.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let span = parts::distance(facts.last_seen - facts.first_seen);
    let body = html! {
        header.head {
            div { p.crumb { a href="/" { "Live" } " / " (kind) } h1.mono { (value) } }
        }
        section.tiles {
            div.tile { span.n { (parts::count(facts.findings)) @if facts.findings == COUNTED { "+" } } span.l { "findings" } }
            div.tile { span.n { (facts.max_risk_score) } span.l { "highest risk" } }
            div.tile { span.n { (facts.techniques.len()) } span.l { "techniques" } }
            div.tile { span.n { (parts::moment(Timestamp::from_millis(facts.first_seen))) } span.l { "first seen" } }
            div.tile { span.n { (parts::moment(Timestamp::from_millis(facts.last_seen))) } span.l { "last seen" } }
            div.tile { span.n { (span) } span.l { "between them" } }
        }
        div.split {
            section.card {
                h2 { "Timeline" }
                ol.timeline { @for (at, line) in &timeline { li { span.when { (parts::moment(*at)) } div { (line) } } } }
            }
            aside {
                section.card {
                    h2 { "Techniques" }
                    dl.attack { @for cell in &facts.techniques {
                        dt { (cell.tactic) } dd { span.technique { (cell.technique_id) } " " (cell.technique) " " span.muted { "×" (cell.findings) } }
                    } }
                }
            }
        }
    };
    Ok(shell(&visitor, "", &value, &body))
}
