//! One incident: its story, who and what took part, and what people say and do about it.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use cybervault_model::{
    Incident, IncidentDecisionKind, IncidentStatus, IncidentVerdict, ResponseAction, TimelineEntry,
};
use maud::{Markup, html};

use super::{
    approvals::{News, decision_links},
    drawing::drawing,
    finding::{contribution, dial},
    incidents::{incident as read, status},
    page::{PageError, need, page as shell},
    parts::{self, Found, found},
    session::Visitor,
};
use crate::{
    app::App,
    http::{INCIDENT_COMMENT, IncidentWord, RequestId, new_decision_id, say},
    key::Scope,
    store::now,
};

/// Bytes of a form: a comment whose every letter takes twelve bytes.
const MAX_FORM: usize = 32 * 1024;
/// Findings whose evidence is shown, the worst ones.
const EVIDENCE: i64 = 5;

/// `GET /incidents/{incident_id}`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ThreatRead)?;
    let (store, tenant_id) = (visitor.caller.store(&app), visitor.caller.tenant_id());
    let document = store.incident(tenant_id, &id).await?.ok_or_else(PageError::not_found)?;
    let incident = read(&document)?;
    let worst = store.findings_of(tenant_id, &id, EVIDENCE).await?;
    let worst = worst.iter().map(|document| found(document)).collect::<Result<Vec<_>, _>>()?;
    let actions = if visitor.caller.key.allows(Scope::ResponseRead) {
        let actions = store.actions_of_incident(tenant_id, &id).await?;
        actions.iter().map(|action| parts::action(action)).collect::<Result<Vec<_>, _>>()?
    } else {
        Vec::new()
    };
    let news = News::read(&app, &visitor, query.as_deref()).await?;
    let is_sent = query.as_deref() == Some("sent");
    let pretty: serde_json::Value = serde_json::from_str(document.get()).unwrap_or_default();
    let path = format!("/incidents/{id}");
    let body = html! {
        header.head {
            div {
                p.crumb { a href="/" { "Incidents" } " / incident" }
                h1 { (incident.title) }
                p.muted { (parts::severity(incident.severity)) " · " (status(incident.status))
                    @if let Some(verdict) = incident.verdict { " · " span #verdict { (parts::words(verdict.as_str())) } }
                    " · " (parts::count(i64::try_from(incident.findings).unwrap_or(i64::MAX))) " findings · "
                    (parts::moment(incident.first_at)) " to " (parts::moment(incident.last_at))
                    @if let Some(assignee) = &incident.assignee { " · with " (assignee) } }
            }
            span.grow {}
            (dial(incident.risk_score.get(), incident.severity.as_str()))
        }
        (news.shown())
        @if is_sent { p.note role="status" { "Sent. It is not known yet what comes of it; load the page again to see." } }
        @if let Some(into) = &incident.merged_into {
            p.note #merged { "It has become a part of " a href={ "/incidents/" (into) } { "another incident" } "." }
        }
        (chain(&incident))
        div.split {
            div {
                (timeline(&incident))
                section.card { h2 { "Who and what is connected" } (drawing(&incident)) (entities(&incident)) }
                (evidence(&worst))
                details.card { summary { "As JSON" } pre.json { (serde_json::to_string_pretty(&pretty).unwrap_or_default()) } }
            }
            aside {
                @if incident.merged_into.is_none() && visitor.caller.key.allows(Scope::ResponseWrite) { (words(&visitor, &incident)) }
                (response(&visitor, &incident, (&actions, &news), &path))
                (said(&incident))
                (rules(&incident))
            }
        }
    };
    Ok(news.look_again(&path, shell(&visitor, "", &incident.title, &body)))
}

/// The tactics, as a chain.
fn chain(incident: &Incident) -> Markup {
    html! {
        @if !incident.tactics.is_empty() {
            ol.chain aria-label="Tactics in the order in which they were first seen" {
                @for tactic in &incident.tactics {
                    li { strong { (tactic.tactic) } span.muted.small { (parts::moment(tactic.first_at)) } }
                }
            }
        }
    }
}

fn entities(incident: &Incident) -> Markup {
    html! {
        details { summary { "All " (incident.entities.len()) ", with their parts" }
            ul.plain.parties { @for entity in &incident.entities { li {
                (parts::entity(&cybervault_model::Entity { kind: entity.kind, value: entity.value.clone() })) " "
                span.muted.small {
                    @for role in &entity.roles { (role.as_str()) " " }
                    "· " (entity.findings) " findings" @if !entity.joins { " · joins nothing" }
                }
            } } }
            @if incident.left_out.entities > 0 { p.muted.small { "Others had no room, in " (incident.left_out.entities) " findings." } }
        }
    }
}

fn timeline(incident: &Incident) -> Markup {
    html! {
        section.card {
            h2 { "What happened" }
            ol.timeline.story { @for entry in &incident.timeline { (line(entry)) } }
            @if incident.left_out.timeline > 0 {
                p.muted.small { (incident.left_out.timeline) " findings that told nothing new had no room here; they are among the findings." }
            }
        }
    }
}

fn line(entry: &TimelineEntry) -> Markup {
    html! {
        li data-id=(entry.assessment_id) {
            span.when { (parts::moment(entry.first_at)) }
            div {
                (parts::severity(entry.severity))
                a href={ "/findings/" (entry.assessment_id) } { (entry.title) }
                @if entry.findings > 1 { span.times title={ "until " (entry.last_at) } { "×" (entry.findings) } }
                @for entity in &entry.entities { (parts::entity(entity)) }
                @if entry.further_entities > 0 { span.muted.small { "and others" } }
            }
        }
    }
}

/// Why, of the worst findings.
fn evidence(worst: &[Found]) -> Markup {
    html! {
        section.card {
            h2 { "Evidence" }
            @for found in worst {
                details {
                    summary { (found.title()) span.muted.small { " · risk " (found.assessment.risk_score.get()) } }
                    @for reason in &found.assessment.contributions { (contribution(reason)) }
                    p.small { a href={ "/findings/" (found.assessment.assessment_id) } { "The whole finding" } }
                }
            }
            @if worst.is_empty() { p.muted { "Its findings are not here yet, or no longer." } }
        }
    }
}

fn response(visitor: &Visitor, incident: &Incident, (actions, news): (&[ResponseAction], &News), path: &str) -> Markup {
    let may = visitor.caller.key.allows(Scope::ResponseWrite);
    html! {
        section.card {
            h2 { "Response" }
            @for action in actions {
                div.step data-action=(action.action_id) {
                    p { (parts::action_state(action)) " " strong { (parts::words(action.kind.as_str())) } " " (action.target) }
                    p.muted.small { (action.reason) " · by " (action.decided_by) " · " (parts::moment(action.updated_at)) }
                    @if may && action.waits_for_decision() && action.expires_at > now() && !news.is_sent(action) {
                        (decision_links(action, path))
                    }
                }
            }
            @if actions.is_empty() { p.muted { "No playbook asked for an action." } }
            @if !incident.recommended_actions.is_empty() {
                details { summary { "Recommended" }
                    ul.plain { @for action in &incident.recommended_actions {
                        li { strong { (parts::words(action.kind.as_str())) } " " (action.target)
                            div.muted.small { (action.reason) @if !action.reversible { " · can't be undone" } } }
                    } }
                }
            }
        }
    }
}

/// What people can say: each form says one thing.
fn words(visitor: &Visitor, incident: &Incident) -> Markup {
    let form = |kind: IncidentDecisionKind, inner: Markup| {
        html! {
            form method="post" action={ "/incidents/" (incident.incident_id) "/word" } {
                input type="hidden" name="csrf" value=(visitor.csrf);
                input type="hidden" name="type" value=(kind.as_str());
                (inner)
            }
        }
    };
    html! {
        section.card.words {
            h2 { "Work on it" }
            (form(IncidentDecisionKind::Status, html! {
                label { span { "Status" } select name="status" {
                    @for one in IncidentStatus::ALL {
                        option value=(one.as_str()) selected[one == incident.status] { (parts::words(one.as_str())) }
                    }
                } }
                button #set-status type="submit" { "Set" }
            }))
            (form(IncidentDecisionKind::Verdict, html! {
                label { span { "Verdict" } select name="verdict" required {
                    @if incident.verdict.is_none() { option value="" selected { "none yet" } }
                    @for one in IncidentVerdict::ALL {
                        option value=(one.as_str()) selected[Some(one) == incident.verdict] { (parts::words(one.as_str())) }
                    }
                } }
                button #set-verdict type="submit" { "Set" }
            }))
            (form(IncidentDecisionKind::Assign, html! {
                label { span { "Assignee" } input name="assignee" maxlength="200" autocomplete="off" value=(incident.assignee.as_deref().unwrap_or_default()); }
                button #set-assignee type="submit" { "Set" }
            }))
            (form(IncidentDecisionKind::Comment, html! {
                label { span { "Comment" } textarea name="comment" rows="3" maxlength=(INCIDENT_COMMENT) required {} }
                button #comment type="submit" { "Comment" }
            }))
        }
    }
}

/// What people have said.
fn said(incident: &Incident) -> Markup {
    html! {
        section.card {
            h2 { "Said" }
            ol.plain #said { @for word in &incident.decisions { li {
                p.muted.small { (word.by) " · " (parts::moment(word.at)) }
                p { @if word.kind != IncidentDecisionKind::Comment {
                        (word.kind.as_str()) ": " strong { (word.value.as_deref().map_or_else(|| "nobody".to_owned(), parts::words)) } " "
                    }
                    @if let Some(comment) = &word.comment { span.comment { (comment) } } }
            } } }
            @if incident.decisions.is_empty() { p.muted { "Nothing yet." } }
        }
    }
}

fn rules(incident: &Incident) -> Markup {
    html! {
        section.card {
            h2 { "Rules" }
            ul.plain { @for rule in &incident.rules { li {
                (parts::severity(rule.level)) " " (rule.title)
                div.muted.small { "×" (rule.findings) " · " (parts::moment(rule.first_at)) " to " (parts::moment(rule.last_at)) }
            } } }
        }
    }
}

/// `POST /incidents/{incident_id}/word`
pub(super) async fn word(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Extension(request_id): Extension<RequestId>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, PageError> {
    if body.len() > MAX_FORM {
        return Err(PageError::new(StatusCode::PAYLOAD_TOO_LARGE, "This form is too long."));
    }
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if !visitor.owns(field("csrf")) {
        return Err(PageError::forged());
    }
    need(&visitor, Scope::ResponseWrite)?;
    let wrong =
        || PageError::new(StatusCode::BAD_REQUEST, "This form does not say what it has to. Go back and try again.");
    use IncidentDecisionKind as K;
    let kinds = [K::Status, K::Verdict, K::Assign, K::Comment];
    let kind = kinds.into_iter().find(|kind| Some(kind.as_str()) == field("type")).ok_or_else(wrong)?;
    let text = |name| field(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let word = IncidentWord {
        kind,
        status: IncidentStatus::ALL.into_iter().find(|one| kind == K::Status && Some(one.as_str()) == field("status")),
        verdict: IncidentVerdict::ALL
            .into_iter()
            .find(|one| kind == K::Verdict && Some(one.as_str()) == field("verdict")),
        assignee: text("assignee").filter(|_| kind == K::Assign),
        comment: text("comment"),
    };
    if kind == K::Status && word.status.is_none() || kind == K::Verdict && word.verdict.is_none() {
        return Err(wrong());
    }
    let taken = say(&app, &visitor.caller, &request_id, (&id, new_decision_id()?), &word.check()?).await?;
    let to = match taken {
        Some(document) => format!("/incidents/{}", read(&document)?.incident_id),
        None => format!("/incidents/{id}?sent"),
    };
    Ok(Redirect::to(&to).into_response())
}
