//! What waits for a person's word: the list, and what came of the words that were given.

use std::{collections::HashSet, sync::Arc};

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderValue, header},
    response::Response,
};
use cybervault_model::{DecisionVerdict, ResponseAction};
use maud::{Markup, html};

use super::{
    page::{PageError, need, page as shell},
    parts,
    review::{Selection, query_of, verb},
    session::Visitor,
};
use crate::{
    app::App,
    http::{ApiError, is_by},
    key::Scope,
    list::ListQuery,
    store::{ACTIONS, now},
};

/// Actions that the page shows of those that wait.
const SHOWN: i64 = 100;
/// How often a page looks again by itself for what came of a word, and how long it waits in between.
const LOOKS: u32 = 20;
const LOOK_S: u32 = 3;

/// `GET /approvals`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ResponseRead)?;
    let (store, tenant_id) = (visitor.caller.store(&app), visitor.caller.tenant_id());
    let at = now();
    let waiting = store.waiting(tenant_id, at, SHOWN).await?;
    let count = store.waiting_count(tenant_id, at).await?;
    let said = list(&app, &visitor, r#"{"state":"proposed","mode":"dry_run"}"#, "created_at:desc", 20).await?;
    let decided = list(&app, &visitor, r#"{"state":{"ne":"proposed"}}"#, "updated_at:desc", 30).await?;
    let news = News::read(&app, &visitor, query.as_deref()).await?;
    let may = visitor.caller.key.allows(Scope::ResponseWrite);
    let body = html! {
        header.head { div { h1 { "Approvals" } p.muted { (parts::count(count)) " waiting" } } }
        (news.shown())
        @if !may && !waiting.is_empty() { p.note { "Your key can read actions, but not decide on them." } }
        @if count > SHOWN { p.note { "The " (SHOWN) " that expire first are shown." } }
        form #selection method="get" action="/approvals/review" {
            @for action in &waiting { (card(action, may, news.is_sent(action))) }
            @if may && !waiting.is_empty() {
                div.bar {
                    label.row #select-all hidden { input type="checkbox"; " All" }
                    span.muted #selected role="status" { "Select actions to decide on several with one comment." }
                    span.grow {}
                    button name="verdict" value="approve" type="submit" { "Approve selected…" }
                    button.danger name="verdict" value="deny" type="submit" { "Deny selected…" }
                }
            }
        }
        @if waiting.is_empty() { p.empty { "Nothing waits for a decision." } }
        @if !said.is_empty() { (dry_runs(&said)) }
        section.card {
            h2 { "Decided" }
            div.wide { table.list #decided {
                thead { tr { th scope="col" { "When" } th scope="col" { "State" } th scope="col" { "Action" } th scope="col" { "Target" } th scope="col" { "By" } th scope="col" { "Why" } } }
                tbody { @for action in &decided {
                    tr data-action=(action.action_id) {
                        td.when { (parts::moment(action.updated_at)) } td { (parts::action_state(action)) }
                        td { a href={ "/findings/" (action.assessment_id) } { (parts::words(action.kind.as_str())) } }
                        td.mono { (action.target) } td { (action.decided_by) } td.muted { (action.reason) }
                    }
                } }
            } }
            @if decided.is_empty() { p.muted { "Nothing yet." } }
        }
    };
    Ok(news.look_again("/approvals", shell(&visitor, "/approvals", "Approvals", &body)))
}

fn card(action: &ResponseAction, may: bool, is_sent: bool) -> Markup {
    let left = action.expires_at.as_millis() - now().as_millis();
    html! {
        article.card.pending data-action=(action.action_id) {
            @if may && !is_sent {
                input type="checkbox" name="action" value=(action.action_id) aria-label={ "Select " (named(action)) };
            }
            div {
                h2 { (parts::words(action.kind.as_str())) " " span.mono { (action.target) } }
                p { (action.reason) }
                p.muted.small { a href={ "/findings/" (action.assessment_id) } { "finding" } " · playbook " (action.playbook_id)
                    " · proposed " (parts::moment(action.proposed_at)) " · expires in " (parts::distance(left)) " · "
                    @if action.reversible { "can be undone" } @else { strong { "can't be undone" } } }
            }
            @if is_sent { p.state { "decision sent" } } @else if may { (decision_links(action, "/approvals")) }
        }
    }
}

/// What playbooks that only try things would have done: nobody has to decide on it.
fn dry_runs(said: &[ResponseAction]) -> Markup {
    html! {
        section.card #dry-runs {
            h2 { "Dry runs" }
            p.muted.small { "What playbooks in the mode " code { "dry_run" } " would have done. Nothing is done, and nothing waits." }
            div.wide { table.list { tbody { @for action in said {
                tr data-action=(action.action_id) {
                    td.when { (parts::moment(action.proposed_at)) } td { (parts::action_state(action)) }
                    td { a href={ "/findings/" (action.assessment_id) } { (parts::words(action.kind.as_str())) } }
                    td.mono { (action.target) } td.muted { (action.playbook_id) } td.muted { (action.reason) }
                }
            } } } }
        }
    }
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

/// What an action is called in a sentence.
pub(super) fn named(action: &ResponseAction) -> String {
    format!("{} {}", parts::words(action.kind.as_str()), action.target)
}

/// The ways to approve or deny a proposed action; afterwards the browser goes to `back`. They lead to a page that asks: nothing
/// is decided by one click, or by a key in the wrong field.
pub(super) fn decision_links(action: &ResponseAction, back: &str) -> Markup {
    let to = |verdict| format!("/approvals/review?{}", query_of(verdict, [&*action.action_id], Some(back)));
    html! {
        p.decide {
            a.button href=(to(DecisionVerdict::Approve)) { "Approve…" span.sr { " " (named(action)) } }
            a.button.danger href=(to(DecisionVerdict::Deny)) { "Deny…" span.sr { " " (named(action)) } }
        }
    }
}

/// What came of the words that the page before gave: it is in the actions, so that this page can be looked at again.
#[derive(Debug, Default)]
pub(super) struct News {
    verdict: Option<DecisionVerdict>,
    actions: Vec<ResponseAction>,
    /// Whose word it was.
    name: String,
    query: String,
    looks: u32,
}

impl News {
    /// Reads `?verdict=…&action=…`, which a decision leads to.
    pub(super) async fn read(app: &App, visitor: &Visitor, query: Option<&str>) -> Result<Self, PageError> {
        let selection = Selection::read(query.unwrap_or_default().as_bytes());
        let Some(verdict) = selection.verdict.filter(|_| !selection.action_ids.is_empty()) else {
            return Ok(Self::default());
        };
        let (store, tenant_id) = (visitor.caller.store(app), visitor.caller.tenant_id());
        let mut found = store.actions(tenant_id, &selection.action_ids).await?;
        let actions = selection.action_ids.iter().filter_map(|id| found.remove(id)).collect();
        let query = query_of(verdict, selection.action_ids.iter().map(String::as_str), None);
        Ok(Self { verdict: Some(verdict), actions, name: visitor.caller.name(), query, looks: selection.looks })
    }

    /// Whether nobody knows yet what came of the word on this action.
    pub(super) fn is_sent(&self, action: &ResponseAction) -> bool {
        self.actions.iter().any(|sent| sent.action_id == action.action_id && sent.waits_for_decision())
    }

    /// What it says, for people.
    pub(super) fn shown(&self) -> Markup {
        let Some(verdict) = self.verdict else { return html! {} };
        let mut told = HashSet::new();
        html! {
            @if !self.actions.is_empty() {
                div.note #news role="status" {
                    @for action in self.actions.iter().filter(|action| told.insert(&action.action_id)) {
                        p data-action=(action.action_id) { (self.line(verdict, action)) }
                    }
                }
            }
        }
    }

    fn line(&self, verdict: DecisionVerdict, action: &ResponseAction) -> Markup {
        let what = html! { strong { (named(action)) } };
        if action.waits_for_decision() {
            let looks =
                if self.looks < LOOKS { "This page looks again by itself." } else { "Load the page again to see." };
            return html! { "Sent: " (verb(verdict)) " " (what) ". The guardrails have not taken it yet. " (looks) };
        }
        html! {
            (parts::action_state(action)) " " (what)
            @if is_by(action, verdict, &self.name) {
                @if action.decided_by != self.name { ": " (action.reason) }
            } @else {
                ": " (action.decided_by) " was first, at " (parts::moment(action.updated_at)) "; your word changed nothing"
            }
        }
    }

    /// The page, told to look again where something is not known yet.
    pub(super) fn look_again(&self, path: &str, mut page: Response) -> Response {
        if self.looks < LOOKS && self.actions.iter().any(ResponseAction::waits_for_decision) {
            let again = format!("{LOOK_S}; url={path}?{}&looks={}", self.query, self.looks + 1);
            if let Ok(again) = HeaderValue::from_str(&again) {
                page.headers_mut().insert(header::REFRESH, again);
            }
        }
        page
    }
}
