//! What waits for a person's word.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use cybervault_model::{DecisionVerdict, ResponseAction};
use maud::{Markup, html};

use super::{
    page::{PageError, need, page as shell},
    parts,
    session::{Visitor, field},
};
use crate::{
    app::App,
    http::{ApiError, MAX_COMMENT, RequestId, decide},
    key::Scope,
    list::ListQuery,
    store::{ACTIONS, now},
};

/// `GET /approvals`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ResponseRead)?;
    let pending = list(&app, &visitor, r#"{"state":"proposed"}"#, "expires_at:asc", 100).await?;
    let decided = list(&app, &visitor, r#"{"state":{"ne":"proposed"}}"#, "updated_at:desc", 30).await?;
    let now = now().as_millis();
    let pending: Vec<ResponseAction> =
        pending.into_iter().filter(|action| action.expires_at.as_millis() > now).collect();
    let submitted = query.is_some_and(|query| query == "submitted");
    let may = visitor.caller.key.allows(Scope::ResponseWrite);
    let body = html! {
        header.head { div { h1 { "Approvals" } p.muted { (pending.len()) " waiting" } } }
        @if submitted { p.note role="status" { "Your decision was sent. It shows below once the guardrails have taken it." } }
        @if !may && !pending.is_empty() { p.note { "Your key can read actions, but not decide on them." } }
        @for action in &pending {
            article.card.pending data-action=(action.action_id) {
                div {
                    h2 { (parts::words(action.kind.as_str())) " " span.mono { (action.target) } }
                    p { (action.reason) }
                    p.muted.small { a href={ "/findings/" (action.assessment_id) } { "finding" } " · playbook " (action.playbook_id)
                        " · proposed " (parts::moment(action.proposed_at)) " · expires in "
                        (parts::distance(action.expires_at.as_millis() - now)) " · "
                        @if action.reversible { "can be undone" } @else { strong { "can't be undone" } } }
                }
                @if may { (decision_form(&visitor, action, "/approvals?submitted")) }
            }
        }
        @if pending.is_empty() { p.empty { "Nothing waits for a decision." } }
        section.card {
            h2 { "Decided" }
            table.list #decided {
                thead { tr { th scope="col" { "When" } th scope="col" { "State" } th scope="col" { "Action" } th scope="col" { "Target" } th scope="col" { "By" } th scope="col" { "Why" } } }
                tbody { @for action in &decided {
                    tr data-action=(action.action_id) {
                        td.when { (parts::moment(action.updated_at)) } td { (parts::action_state(action)) }
                        td { a href={ "/findings/" (action.assessment_id) } { (parts::words(action.kind.as_str())) } }
                        td.mono { (action.target) } td { (action.decided_by) } td.muted { (action.reason) }
                    }
                } }
            }
            @if decided.is_empty() { p.muted { "Nothing yet." } }
        }
    };
    Ok(shell(&visitor, "/approvals", "Approvals", &body))
}

async fn list(
    app: &App,
    visitor: &Visitor,
    filter: &str,
    sort: &str,
    limit: u32,
) -> Result<Vec<ResponseAction>, PageError> {
    let (store, tenant_id) = (visitor.caller.store(app), visitor.caller.tenant_id());
    let query = ListQuery::new(&ACTIONS, limit, sort, filter).map_err(ApiError::from)?;
    let page = store.list(&query, tenant_id).await?;
    page.documents.iter().map(|document| parts::action(document)).collect()
}

/// The form by which a proposed action is approved or denied; afterwards the browser goes to `back`.
pub(super) fn decision_form(visitor: &Visitor, action: &ResponseAction, back: &str) -> Markup {
    html! {
        form.decide method="post" action={ "/approvals/" (action.action_id) } {
            input type="hidden" name="csrf" value=(visitor.csrf);
            input type="hidden" name="back" value=(back);
            label.grow { span.sr { "Comment" } input name="comment" maxlength=(MAX_COMMENT) placeholder="Comment (optional)" autocomplete="off"; }
            button.primary name="verdict" value="approve" type="submit" { "Approve" }
            button.danger name="verdict" value="deny" type="submit" { "Deny" }
        }
    }
}

/// `POST /approvals/{action_id}`
pub(super) async fn decide_on(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Extension(id): Extension<RequestId>,
    Path(action_id): Path<String>,
    body: Bytes,
) -> Result<Response, PageError> {
    if !visitor.owns(field(&body, "csrf").as_deref()) {
        return Err(PageError::forged());
    }
    need(&visitor, Scope::ResponseWrite)?;
    let verdict = match field(&body, "verdict").as_deref() {
        Some("approve") => DecisionVerdict::Approve,
        Some("deny") => DecisionVerdict::Deny,
        _ => return Err(PageError::new(axum::http::StatusCode::BAD_REQUEST, "Approve or deny it.")),
    };
    let comment = field(&body, "comment").map(|comment| comment.trim().chars().take(MAX_COMMENT).collect::<String>());
    let comment = comment.filter(|comment| !comment.is_empty());
    decide(&app, &visitor.caller, &id, &action_id, (verdict, comment)).await?;
    // Only our own paths: a form must not send anyone elsewhere.
    let back = field(&body, "back").filter(|back| back.starts_with("/findings/") || back == "/approvals?submitted");
    Ok(Redirect::to(back.as_deref().unwrap_or("/approvals?submitted")).into_response())
}
