//! Signing in and out, and the session behind every page.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use maud::html;
use subtle::ConstantTimeEq;

use super::page::{PageError, bare};
use crate::{
    app::App,
    http::{ApiError, Caller, caller, read_form, too_often},
    key::{KeyHash, KeyKind, Secret},
    limit::Class,
    store::now,
};

const COOKIE: &str = "cv_session";
/// The live feed, which scripts ask for.
pub(super) const LIVE: &str = "/console/live";
/// Bytes of a form.
pub(super) const MAX_FORM: usize = 16 * 1024;

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    pub(super) csrf: String,
    /// What is to be known of what is shown: that it is old, and why.
    pub(super) notice: Option<String>,
    hash: KeyHash,
}

impl Visitor {
    /// The session.
    pub(super) const fn session(&self) -> KeyHash {
        self.hash
    }

    /// What tells this session from others, and opens nothing.
    pub(super) fn name(&self) -> String {
        KeyHash::of(&self.csrf).to_hex().chars().take(16).collect()
    }

    /// Whether a form is ours.
    pub(super) fn owns(&self, token: Option<&str>) -> bool {
        token.is_some_and(|token| token.as_bytes().ct_eq(self.csrf.as_bytes()).into())
    }
}

/// Lets pass who has a session, and sends the others to sign in.
pub(super) async fn require(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match visitor(&app, request.headers()).await {
        Ok(Some(visitor)) => {
            let class = if request.method() == Method::POST { Class::Write } else { Class::Read };
            let is_leaving = request.uri().path() == "/sign-out";
            if let Err(error) = count(&app, &visitor.caller, class).await
                && !is_leaving
            {
                return PageError::from(error).into_response();
            }
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        // A script that asks is told so; a person is shown the way.
        Ok(None) if request.uri().path() == LIVE => {
            PageError::new(StatusCode::UNAUTHORIZED, "This session is over. Sign in again.").into_response()
        }
        Ok(None) => Redirect::to("/sign-in").into_response(),
        Err(error) => PageError::from(error).into_response(),
    }
}

/// Counts a request against the tenant's plan, as one of the API is. Signing out is never refused for it.
async fn count(app: &App, caller: &Caller, class: Class) -> Result<(), ApiError> {
    let verdict = app.limiter.take(app, caller, class).await?;
    if verdict.granted { Ok(()) } else { Err(too_often(&verdict)) }
}

async fn visitor(app: &App, headers: &HeaderMap) -> Result<Option<Visitor>, ApiError> {
    let Some(cookie) = cookie(headers) else { return Ok(None) };
    let hash = KeyHash::of(cookie);
    let Some(session) = app.store.session(&hash, now()).await? else { return Ok(None) };
    let key = app.store.key_by_id(&session.key_id).await?.map(Arc::new);
    let found = caller(app, key).ok();
    Ok(found.map(|caller| Visitor { caller, csrf: session.csrf, notice: app.condition.notice(), hash }))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// `GET /console/notice`: what is to be known of the pages that are open, for their script.
pub(super) async fn notice(Extension(visitor): Extension<Visitor>) -> String {
    visitor.notice.unwrap_or_default()
}

/// `GET /sign-in`
pub(super) async fn sign_in_page() -> Response {
    form(StatusCode::OK, None)
}

fn form(status: StatusCode, problem: Option<&str>) -> Response {
    let body = html! {
        main.signin {
            (super::parts::logo())
            h1 { "CyberVault" }
            p.muted { "Sign in with an API key of your tenant." }
            form method="post" action="/sign-in" {
                label for="key" { "API key" }
                input #key name="key" type="password" autocomplete="current-password" required autofocus
                    spellcheck="false" placeholder="cv_live_sk_…"
                    aria-describedby=[problem.map(|_| "problem")] aria-invalid=[problem.map(|_| "true")];
                @if let Some(problem) = problem { p #problem.problem role="alert" { (problem) } }
                button.primary type="submit" { "Sign in" }
            }
            p.muted.small { "Keys are issued with " code { "cybervault keys issue" } "." }
        }
    };
    (status, bare("Sign in", &body)).into_response()
}

/// `POST /sign-in`
pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, PageError> {
    if !is_own_form(request.headers()) {
        return Err(PageError::new(StatusCode::FORBIDDEN, "This form was not sent from this site."));
    }
    let body = read_form(request, MAX_FORM).await?;
    let wrong = "This key is not taken. Check that it is complete, and neither revoked nor expired.";
    let key = field(&body, "key");
    let secret =
        key.as_deref().and_then(|key| Secret::parse(key.trim())).filter(|secret| secret.kind() != KeyKind::Test);
    let refused = |problem| {
        if app.addresses.take(address.ip()) {
            form(StatusCode::UNAUTHORIZED, Some(problem))
        } else {
            form(StatusCode::TOO_MANY_REQUESTS, Some("Too many attempts from this address. Wait a moment."))
        }
    };
    let Some(secret) = secret else {
        let is_test = key.as_deref().is_some_and(|key| key.trim().starts_with("cv_test_"));
        return Ok(refused(if is_test { "The console shows production only: use a live or read key." } else { wrong }));
    };
    let _turn = app.addresses.turn(Some(address.ip())).await;
    let key = app.keys.look_up(&app.store, &secret.hash()).await.map_err(ApiError::from)?;
    let Ok(caller) = caller(&app, key) else { return Ok(refused(wrong)) };
    count(&app, &caller, Class::Write).await?;
    let cookie = app.store.begin_session(&caller.key.key_id).await.map_err(ApiError::from)?;
    Ok(with_cookie(Redirect::to("/"), &cookie, crate::store::SESSION_S, app.settings.is_secure()))
}

/// `POST /sign-out`
pub(super) async fn sign_out(
    State(app): State<Arc<App>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Result<Response, PageError> {
    let body = read_form(request, MAX_FORM).await?;
    if !visitor.owns(field(&body, "csrf").as_deref()) {
        return Err(PageError::forged());
    }
    app.store.end_session(&visitor.hash).await.map_err(ApiError::from)?;
    Ok(with_cookie(Redirect::to("/sign-in"), "", 0, false))
}

fn with_cookie(redirect: Redirect, value: &str, seconds: i64, is_secure: bool) -> Response {
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    let mut response = redirect.into_response();
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// Whether the browser says that the form was sent from this site: who signs in has no token yet.
fn is_own_form(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin"), text("host")) {
        (Some(site), ..) => site == "same-origin",
        (None, Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, of)| of == host),
        _ => false,
    }
}

/// A field of a form.
pub(super) fn field(body: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(body).find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
}
