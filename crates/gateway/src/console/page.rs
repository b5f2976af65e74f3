//! What all pages have in common.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{POLICY, parts, session::Visitor};
use crate::{
    http::{ApiError, Code},
    key::{KeyKind, Scope},
    plain::plain,
    store::StoreError,
};

/// The pages in the order of the menu: path, name, icon, and what a key has to have.
const MENU: [(&str, &str, &str, Scope); 9] = [
    ("/", "Incidents", "M5 5h5v5H5zM14 14h5v5h-5zM10 7.5h6.500V14M5 16h5", Scope::ThreatRead),
    ("/findings", "Findings", "M3 12h4l3 8 4-16 3 8h4", Scope::ThreatRead),
    (
        "/approvals",
        "Approvals",
        "M9 11l3 3 8-8M20 12v7a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1h9",
        Scope::ResponseRead,
    ),
    (
        "/attack",
        "ATT&CK",
        "M4 4h4v4H4zM10 4h4v4h-4zM16 4h4v4h-4zM4 10h4v4H4zM10 10h4v4h-4zM16 16h4v4h-4zM10 16h4v4h-4z",
        Scope::ThreatRead,
    ),
    ("/sources", "Log sources", "M4 6h16M4 12h10M4 18h16M18 10l3 2-3 2", Scope::ThreatRead),
    ("/quota", "Quota", "M4 18a9 9 0 1 1 16 0M12 14l4-5", Scope::QuotaRead),
    ("/pipeline", "Pipeline", "M4 7h10M4 12h16M4 17h7M17 5l3 2-3 2M14 15l3 2-3 2", Scope::Admin),
    ("/reports", "Reports", "M7 3h7l5 5v13H7zM14 3v5h5M10 13h6M10 17h6", Scope::ThreatRead),
    ("/docs/errors", "Error codes", "M12 8v5M12 16v.5M12 3l9.5 17h-19z", Scope::ThreatRead),
];

/// A page inside, with menu and head.
pub(super) fn page(visitor: &Visitor, path: &str, title: &str, body: &Markup) -> Response {
    let key = &visitor.caller.key;
    let body = html! {
        a.skip href="#main" { "Skip to content" }
        div.shell {
            nav.side aria-label="Main" {
                a.brand href="/" { (parts::logo()) span { "CyberVault" } }
                ul {
                    @for (to, name, icon, scope) in MENU {
                        @if key.allows(scope) {
                            li { a href=(to) aria-current=[(to == path).then_some("page")] { (parts::icon(icon)) span { (name) } } }
                        }
                    }
                }
                div.who {
                    div.tenant title=(key.tenant_id) { (key.tenant_id) }
                    div.muted.small { (key.name) @if key.kind == KeyKind::Read { " · read only" } }
                    div.row {
                        button.ghost #theme type="button" aria-label="Change between dark and light" { "Theme" }
                        form method="post" action="/sign-out" {
                            input type="hidden" name="csrf" value=(visitor.csrf);
                            button.ghost type="submit" { "Sign out" }
                        }
                    }
                }
            }
            main #main tabindex="-1" {
                p #notice.note.problem role="status" hidden[visitor.notice.is_none()] { (visitor.notice.as_deref().unwrap_or_default()) }
                (body)
            }
        }
    };
    bare(title, &body)
}

/// A page without menu.
pub(super) fn bare(title: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark light";
                title { (title) " · CyberVault" }
                link rel="icon" href="/favicon.ico" type="image/svg+xml";
                link rel="stylesheet" href="/console/assets/console.css";
                script src="/console/assets/stream.js" defer {}
                script src="/console/assets/console.js" defer {}
            }
            body { (body) }
        }
    };
    ([(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))], shown(page)).into_response()
}

/// What is found in it, names and commands of attackers among it, is read and never obeyed.
pub(super) fn shown(markup: Markup) -> Markup {
    match plain(&markup.0) {
        Cow::Borrowed(_) => markup,
        Cow::Owned(plain) => PreEscaped(plain),
    }
}

/// A page that says what went wrong.
#[derive(Debug)]
pub(super) struct PageError {
    status: StatusCode,
    message: String,
    retry_after: Option<u64>,
}

impl PageError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such thing, or it is not yours.")
    }

    pub(super) fn forged() -> Self {
        Self::new(StatusCode::FORBIDDEN, "This form is not from your session. Go back, reload the page and try again.")
    }
}

/// Refuses what the visitor's key does not allow.
pub(super) fn need(visitor: &Visitor, scope: Scope) -> Result<(), PageError> {
    if visitor.caller.key.allows(scope) {
        return Ok(());
    }
    let scope = scope.as_str();
    Err(PageError::new(StatusCode::FORBIDDEN, format!("Your key may not see this: it takes the scope {scope}.")))
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        let mut message = error.message;
        if error.code == Code::NotFound {
            return Self::not_found();
        }
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { status: error.code.status(), message, retry_after: error.retry_after }
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = html! {
            main.signin {
                (parts::logo())
                h1 { (title) }
                p role="alert" { (self.message) }
                p { a href="/" { "Back to the incidents" } }
            }
        };
        let mut response = (self.status, bare(title, &body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
