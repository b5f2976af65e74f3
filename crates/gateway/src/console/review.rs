//! A decision, looked at before it is made: what exactly, on what, with a comment.
//!
//! The page works without a script. Enter in one of its fields does nothing, since the form's default button is one that can't be
//! pressed; and what cuts people or machines off is approved only by whoever writes down the target's name.

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use cybervault_model::{DecisionVerdict, ResponseAction};
use maud::{Markup, html};

use super::{
    approvals::named,
    page::{PageError, need, page as shell},
    parts,
    session::Visitor,
};
use crate::{
    app::App,
    http::{MAX_ACTIONS, MAX_COMMENT, RequestId, Word, decide},
    key::Scope,
    store::now,
};

/// Bytes of a form: as many actions as may be, and a comment whose every letter takes twelve bytes.
const MAX_FORM: usize = 32 * 1024;
/// The longest name that anyone is asked to write down, in characters.
const MAX_PHRASE: usize = 64;

/// Actions, and what is to become of them.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) verdict: Option<DecisionVerdict>,
    /// Each once.
    pub(super) action_ids: Vec<String>,
    back: Option<String>,
    csrf: Option<String>,
    comment: String,
    confirm: String,
    pub(super) looks: u32,
}

impl Selection {
    /// Reads a query or form; of the actions one more than may be.
    pub(super) fn read(form: &[u8]) -> Self {
        let mut selection = Self::default();
        for (name, value) in form_urlencoded::parse(form) {
            match &*name {
                "verdict" => {
                    selection.verdict = match &*value {
                        "approve" => Some(DecisionVerdict::Approve),
                        "deny" => Some(DecisionVerdict::Deny),
                        _ => None,
                    }
                }
                "action"
                    if selection.action_ids.len() <= MAX_ACTIONS
                        && !selection.action_ids.iter().any(|known| **known == *value) =>
                {
                    selection.action_ids.push(value.into_owned());
                }
                "back" => selection.back = Some(value.into_owned()),
                "csrf" => selection.csrf = Some(value.into_owned()),
                "comment" => value.trim().clone_into(&mut selection.comment),
                "confirm" => selection.confirm = value.into_owned(),
                "looks" => selection.looks = value.parse().unwrap_or(u32::MAX),
                _ => {}
            }
        }
        selection
    }

    /// Where to go afterwards. Only our own pages: a form must not send anyone elsewhere.
    fn back(&self) -> &str {
        let is_ours = |back: &&str| {
            let id = back.strip_prefix("/findings/ta_").or_else(|| back.strip_prefix("/incidents/inc_"));
            id.is_some_and(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        self.back.as_deref().filter(is_ours).unwrap_or("/approvals")
    }

    /// The verdict, where there is one, and something to decide on.
    fn verdict(&self) -> Result<DecisionVerdict, PageError> {
        let wrong = |message: String| Err(PageError::new(StatusCode::BAD_REQUEST, message));
        match self.verdict {
            None => wrong("Say whether to approve or to deny.".to_owned()),
            Some(_) if self.action_ids.is_empty() => wrong("Select at least one action first.".to_owned()),
            Some(_) if self.action_ids.len() > MAX_ACTIONS => wrong(format!("Select at most {MAX_ACTIONS} actions.")),
            Some(verdict) => Ok(verdict),
        }
    }
}

/// The query that names a verdict and actions.
pub(super) fn query_of<'a>(
    verdict: DecisionVerdict,
    action_ids: impl IntoIterator<Item = &'a str>,
    back: Option<&str>,
) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("verdict", verb(verdict));
    for id in action_ids {
        query.append_pair("action", id);
    }
    if let Some(back) = back {
        query.append_pair("back", back);
    }
    query.finish()
}

pub(super) const fn verb(verdict: DecisionVerdict) -> &'static str {
    match verdict {
        DecisionVerdict::Approve => "approve",
        DecisionVerdict::Deny => "deny",
    }
}

/// `GET /approvals/review`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    need(&visitor, Scope::ResponseRead)?;
    need(&visitor, Scope::ResponseWrite)?;
    let selection = Selection::read(query.unwrap_or_default().as_bytes());
    let verdict = selection.verdict()?;
    let actions = look_up(&app, &visitor, &selection).await?;
    Ok(form(&visitor, (&selection, verdict), &actions, None))
}

/// `POST /approvals/decide`
pub(super) async fn decide_on(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    Extension(id): Extension<RequestId>,
    body: Bytes,
) -> Result<Response, PageError> {
    if body.len() > MAX_FORM {
        return Err(PageError::new(StatusCode::PAYLOAD_TOO_LARGE, "This form is too long."));
    }
    let selection = Selection::read(&body);
    if !visitor.owns(selection.csrf.as_deref()) {
        return Err(PageError::forged());
    }
    // What is asked about is shown again where something is wrong.
    need(&visitor, Scope::ResponseRead)?;
    need(&visitor, Scope::ResponseWrite)?;
    let verdict = selection.verdict()?;
    let actions = look_up(&app, &visitor, &selection).await?;
    let again = |problem: String| {
        let page = form(&visitor, (&selection, verdict), &actions, Some(&problem));
        (StatusCode::UNPROCESSABLE_ENTITY, page).into_response()
    };
    if selection.comment.chars().count() > MAX_COMMENT {
        return Ok(again(format!("The comment is too long: it may have {MAX_COMMENT} characters.")));
    }
    if let Some(phrase) = phrase(verdict, &actions)
        && words(&selection.confirm) != words(&phrase)
    {
        return Ok(again(format!("To approve this, write {phrase} into the field below.")));
    }
    let comment = Some(selection.comment.clone()).filter(|comment| !comment.is_empty());
    let word = Word::new(verdict, comment)?;
    decide(&app, &visitor.caller, &id, &selection.action_ids, &word).await?;
    let query = query_of(verdict, selection.action_ids.iter().map(String::as_str), None);
    Ok(Redirect::to(&format!("{}?{query}", selection.back())).into_response())
}

/// The selected actions, in their order.
async fn look_up(app: &App, visitor: &Visitor, selection: &Selection) -> Result<Vec<ResponseAction>, PageError> {
    let (store, tenant_id) = (visitor.caller.store(app), visitor.caller.tenant_id());
    let mut found = store.actions(tenant_id, &selection.action_ids).await?;
    let actions = selection.action_ids.iter().map(|id| found.remove(id).ok_or_else(PageError::not_found));
    actions.collect()
}

/// What has to be written down before the actions are approved: the target's name, or of several how many they are. None
/// where nothing among them is cut off.
fn phrase(verdict: DecisionVerdict, actions: &[ResponseAction]) -> Option<String> {
    if verdict == DecisionVerdict::Deny {
        return None;
    }
    let mut destructive: Vec<&ResponseAction> = actions.iter().filter(|action| action.kind.is_destructive()).collect();
    destructive.sort_by_key(|action| &action.target);
    destructive.dedup_by_key(|action| &action.target);
    match destructive[..] {
        [] => None,
        [action] => Some(short_name(action)),
        _ => Some(format!("{} targets", destructive.len())),
    }
}

/// The target's name, as long as anyone can write it down as it is shown; else the end of the action's id.
fn short_name(action: &ResponseAction) -> String {
    let name = &action.target.value;
    let is_plain = |letter: char| letter == ' ' || letter.is_ascii_graphic() || letter.is_alphanumeric();
    if (1..=MAX_PHRASE).contains(&name.chars().count()) && name.chars().all(is_plain) && !words(name).is_empty() {
        return name.clone();
    }
    let id = &action.action_id;
    id.get(id.len().saturating_sub(8)..).unwrap_or(id).to_owned()
}

/// What is written, as HTML shows it: spaces as one.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn form(
    visitor: &Visitor,
    (selection, verdict): (&Selection, DecisionVerdict),
    actions: &[ResponseAction],
    problem: Option<&str>,
) -> Response {
    let at = now();
    let waits = |action: &&ResponseAction| action.waits_for_decision() && action.expires_at > at;
    let count = actions.iter().filter(waits).count();
    let (title, phrase) = (title(verdict, actions), phrase(verdict, actions));
    let body = html! {
        header.head { div { p.crumb { a href=(selection.back()) { "Back" } " / decision" } h1 { (title) "?" } } }
        @if let Some(problem) = problem { p.note.problem #problem role="alert" { (problem) } }
        section.card {
            ul.plain #targets { @for action in actions { li data-action=(action.action_id) { (item(action, waits(&action))) } } }
        }
        @if count == 0 {
            p.note role="status" { "There is nothing left to decide on." }
            p { a.button href=(selection.back()) { "Back" } }
        } @else {
            form.card.review method="post" action="/approvals/decide" {
                // What Enter would press is the first button of a form: this one.
                button.sr type="submit" disabled tabindex="-1" aria-hidden="true" {}
                input type="hidden" name="csrf" value=(visitor.csrf);
                input type="hidden" name="verdict" value=(verb(verdict));
                input type="hidden" name="back" value=(selection.back());
                @for action in actions { input type="hidden" name="action" value=(action.action_id); }
                label { span { "Comment" span.muted { " (optional)" } }
                    input name="comment" value=(selection.comment) maxlength=(MAX_COMMENT) autocomplete="off"; }
                @if let Some(phrase) = &phrase {
                    label { span { "Write " strong.mono #phrase { (phrase) } " to approve" }
                        input name="confirm" autocomplete="off" autocapitalize="off" spellcheck="false" required
                            aria-describedby=[problem.map(|_| "problem")] aria-invalid=[problem.map(|_| "true")]; }
                }
                div.row {
                    @if verdict == DecisionVerdict::Approve { button.primary #decide type="submit" { (title) } }
                    @else { button.danger #decide type="submit" { (title) } }
                    a.button href=(selection.back()) { "Cancel" }
                }
            }
        }
    };
    shell(visitor, "/approvals", &title, &body)
}

fn title(verdict: DecisionVerdict, actions: &[ResponseAction]) -> String {
    let verb = match verdict {
        DecisionVerdict::Approve => "Approve",
        DecisionVerdict::Deny => "Deny",
    };
    match actions {
        [action] => format!("{verb}: {}", named(action)),
        _ => format!("{verb} {} actions", actions.len()),
    }
}

fn item(action: &ResponseAction, waits: bool) -> Markup {
    html! {
        strong { (parts::words(action.kind.as_str())) } " " span.mono { (action.target) } " "
        @if !waits { (parts::action_state(action)) span.muted { " does not wait for a decision" } }
        p.muted.small { (action.reason) " · " a href={ "/findings/" (action.assessment_id) } { "finding" } " · "
            @if action.reversible { "can be undone" } @else { strong { "can't be undone" } } }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cybervault_model::{ActionKind, ActionMode, ActionState, Target, TargetKind, TenantId, Timestamp};

    use super::*;

    fn action(kind: ActionKind, target: &str) -> ResponseAction {
        ResponseAction {
            action_id: format!("ra_{}12345678", "0".repeat(24)),
            idempotency_key: String::new(),
            tenant_id: TenantId::new("acme").unwrap(),
            assessment_id: String::new(),
            incident_id: None,
            playbook_id: String::new(),
            kind,
            target: Target { kind: TargetKind::Host, value: target.to_owned(), host: None },
            mode: ActionMode::Approval,
            state: ActionState::Proposed,
            reason: String::new(),
            guardrail: None,
            decided_by: String::new(),
            reversible: true,
            proposed_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
            expires_at: Timestamp::MAX,
        }
    }

    #[test]
    fn what_cuts_off_is_approved_by_the_name_of_what_is_cut_off() {
        use {ActionKind as A, DecisionVerdict as V};
        let (isolate, other) = (action(A::IsolateHost, "ws-7"), action(A::IsolateHost, "ws-8"));
        let ticket = action(A::OpenTicket, "acme");
        for (verdict, actions, expected) in [
            (V::Approve, vec![isolate.clone()], Some("ws-7")),
            (V::Deny, vec![isolate.clone()], None),
            (V::Approve, vec![ticket.clone()], None),
            (V::Approve, vec![isolate.clone(), ticket], Some("ws-7")),
            (V::Approve, vec![isolate.clone(), isolate.clone()], Some("ws-7")),
            (V::Approve, vec![isolate, other], Some("2 targets")),
            (V::Approve, vec![action(A::IsolateHost, "ws\u{202e}7")], Some("12345678")),
            (V::Approve, vec![action(A::IsolateHost, "ws\u{200b}7")], Some("12345678")),
            (V::Approve, vec![action(A::IsolateHost, &"w".repeat(65))], Some("12345678")),
            (V::Approve, vec![action(A::IsolateHost, "  ")], Some("12345678")),
            (V::Approve, vec![action(A::DisableUser, r"ACME\eve")], Some(r"ACME\eve")),
            (V::Approve, vec![action(A::DisableUser, "zoë  b")], Some("zoë  b")),
        ] {
            assert_eq!(phrase(verdict, &actions).as_deref(), expected, "{actions:?}");
        }
        assert_eq!(words(" zoë b "), words("zoë  b"));
        assert_ne!(words("WS-7"), words("ws-7"));
    }

    #[test]
    fn a_form_leads_back_to_our_own_pages_alone() {
        let finding = format!("/findings/ta_{}", "0a".repeat(16));
        let incident = format!("/incidents/inc_{}", "0a".repeat(16));
        for (back, expected) in [
            (&*finding, &*finding),
            (&*incident, &*incident),
            ("/approvals", "/approvals"),
            ("https://evil.example/", "/approvals"),
            ("//evil.example", "/approvals"),
            ("/findings/../x", "/approvals"),
            ("/findings/ta_0\r\nset-cookie: x", "/approvals"),
            ("/findings/\u{1}", "/approvals"),
        ] {
            let form: String = form_urlencoded::Serializer::new(String::new()).append_pair("back", back).finish();
            assert_eq!(Selection::read(form.as_bytes()).back(), expected, "{back}");
        }
    }

    #[test]
    fn a_selection_has_each_action_once_and_no_more_than_may_be() {
        let query = query_of(DecisionVerdict::Deny, ["a", "b", "a"], Some("/approvals"));
        let selection = Selection::read(query.as_bytes());
        assert_eq!(
            (selection.action_ids, selection.verdict),
            (vec!["a".to_owned(), "b".to_owned()], Some(DecisionVerdict::Deny))
        );
        let many: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        let query = query_of(DecisionVerdict::Deny, many.iter().map(String::as_str), None);
        assert!(Selection::read(query.as_bytes()).verdict().is_err());
        assert!(Selection::read(b"verdict=deny").verdict().is_err());
        assert!(Selection::read(b"verdict=perhaps&action=a").verdict().is_err());
    }
}
