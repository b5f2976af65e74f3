//! One assessment: what it says, why, and what is being done about it.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, RawQuery, State},
    response::Response,
};
use cybervault_model::{Contribution, CorrelatedEvents};
use maud::{Markup, html};

use super::{
    approvals::{News, decision_links},
    page::{PageError, need, page as shell},
    parts::{self, Found, found},
    session::Visitor,
};
use crate::{app::App, key::Scope, store::now};

/// `GET /findings/{assessment_id}`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let (store, tenant_id) = (visitor.caller.store(&app), visitor.caller.tenant_id());
    let document = match store.assessment(tenant_id, &id).await? {
        Some(document) => document,
        None => visitor.caller.recent(&app).get(tenant_id, &id).ok_or_else(PageError::not_found)?,
    };
    let shown = found(&document)?;
    let actions = store.actions_of(tenant_id, &id).await?;
    let actions = actions.iter().map(|action| parts::action(action)).collect::<Result<Vec<_>, _>>()?;
    let news = News::read(&app, &visitor, query.as_deref()).await?;
    let (assessment, path) = (&shown.assessment, format!("/findings/{id}"));
    let may = visitor.caller.key.allows(Scope::ResponseWrite);
    let pretty: serde_json::Value = serde_json::from_str(document.get()).unwrap_or_default();
    let body = html! {
        header.head {
            div {
                p.crumb { a href="/findings" { "Findings" } " / finding" }
                h1 { (shown.title()) }
                p.muted { (parts::severity(assessment.severity)) " · " (assessment.verdict.as_str()) " · found " (parts::moment(shown.created_at))
                    @if let Some(at) = assessment.occurred_at { " · happened " (parts::moment(at)) } }
            }
            span.grow {}
            (dial(assessment.risk_score.get(), assessment.severity.as_str()))
        }
        (news.shown())
        div.split {
            div {
                section.card {
                    h2 { "Why" }
                    p.muted.small { (formula(&shown)) }
                    @for reason in &assessment.contributions { (contribution(reason)) }
                    @if assessment.contributions.is_empty() { p.muted { "No rule matched this event." } }
                }
                @if let Some(events) = &assessment.correlated { (correlated(events)) }
                details.card { summary { "As JSON" } pre.json { (serde_json::to_string_pretty(&pretty).unwrap_or_default()) } }
            }
            aside {
                section.card {
                    h2 { "Who and what took part" }
                    ul.plain { @for entity in &assessment.entities { li { (parts::entity(entity)) } } }
                }
                section.card {
                    h2 { "ATT&CK" }
                    dl.attack { @for found in &assessment.mitre_attack {
                        dt { (found.tactic) } dd { span.technique { (found.technique_id) } " " (found.technique) }
                    } }
                    @if assessment.mitre_attack.is_empty() { p.muted { "Not mapped." } }
                }
                section.card {
                    h2 { "Recommended" }
                    ul.plain { @for action in &assessment.recommended_actions {
                        li { strong { (parts::words(action.kind.as_str())) } " " (action.target)
                            div.muted.small { (action.reason) @if !action.reversible { " · can't be undone" } } }
                    } }
                    @if assessment.recommended_actions.is_empty() { p.muted { "Nothing." } }
                }
                section.card {
                    h2 { "Response" }
                    @for action in &actions {
                        div.step {
                            p { (parts::action_state(action)) " " strong { (parts::words(action.kind.as_str())) } " " (action.target) }
                            p.muted.small { (action.reason) " · by " (action.decided_by) " · " (parts::moment(action.updated_at)) }
                            @if may && action.waits_for_decision() && action.expires_at > now() && !news.is_sent(action) {
                                (decision_links(action, &path))
                            }
                        }
                    }
                    @if actions.is_empty() { p.muted { "No playbook asked for an action." } }
                }
                section.card {
                    h2 { "Origin" }
                    dl.facts {
                        dt { "Assessment" } dd.mono { (assessment.assessment_id) }
                        dt { "Event" } dd.mono { (assessment.event_id) }
                        dt { "Rules" } dd.mono { (assessment.rules_version) }
                        @if let Some(count) = assessment.replaced_characters {
                            dt { "Broken characters" } dd { (count) " in the event, read as U+FFFD: it may have been made so on purpose" }
                        }
                    }
                }
            }
        }
    };
    Ok(news.look_again(&path, shell(&visitor, "", shown.title(), &body)))
}

pub(super) fn dial(points: u8, severity: &str) -> Markup {
    // 2π·26
    let length = 163.363;
    html! {
        div class={ "dial sev-" (severity) } role="img" aria-label={ "Risk score " (points) " of 100" } {
            svg viewBox="0 0 64 64" width="72" height="72" aria-hidden="true" {
                circle.track cx="32" cy="32" r="26" {}
                circle.fill cx="32" cy="32" r="26" transform="rotate(-90 32 32)"
                    stroke-dasharray={ (format!("{:.1}", length * f64::from(points) / 100.0)) " " (length) } {}
                text x="32" y="33" { (points) }
            }
        }
    }
}

/// How the score follows from the weights.
fn formula(found: &Found) -> String {
    let weights: Vec<String> =
        found.assessment.contributions.iter().take(6).map(|reason| format!("(1−{:.2})", reason.weight)).collect();
    let more = if found.assessment.contributions.len() > 6 { " · …" } else { "" };
    match weights.is_empty() {
        true => String::new(),
        false => format!("risk {} = 100 · (1 − {}{more})", found.assessment.risk_score, weights.join(" · ")),
    }
}

/// The events that made a correlation true, in the order of their time.
fn correlated(CorrelatedEvents { count, events }: &CorrelatedEvents) -> Markup {
    let all = usize::try_from(*count).unwrap_or(usize::MAX);
    html! {
        section.card {
            h2 { "Events" }
            p.muted.small {
                (parts::count(i64::from(*count))) " in the time frame"
                @if all > events.len() { "; shown are " (events.len()) ", the first and the last ones" }
            }
            table.evidence aria-label="Events that made it true" {
                thead { tr { th scope="col" { "Happened" } th scope="col" { "What counts" } th scope="col" { "Event" } } }
                tbody { @for event in events {
                    tr {
                        td { (parts::moment(event.occurred_at)) }
                        td { (event.rules.join(", ")) @if let Some(value) = &event.value { span.mono { (value) } } }
                        td.mono { (event.event_id) }
                    }
                } }
            }
        }
    }
}

pub(super) fn contribution(reason: &Contribution) -> Markup {
    html! {
        article.reason {
            header {
                (parts::severity(reason.level)) " " strong { (reason.title) }
                span.grow {} span.weight title="weight in the score" { (format!("{:.2}", reason.weight)) }
            }
            @if !reason.evidence.is_empty() {
                table.evidence aria-label="Evidence" {
                    @for item in &reason.evidence { tr { th scope="row" { (item.field) } td.mono { (item.value) } } }
                }
            }
            p.muted.small.mono { (reason.id) }
        }
    }
}
