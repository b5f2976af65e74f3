//! What every request meets first and every answer last: ids, time-outs, panics, the form of errors, headers, the log.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use metrics::{counter, histogram};
use tokio::time::{Instant, timeout};

use super::{
    client::client,
    error::{ApiError, Code},
    host::{ambiguity, host},
    trace::RequestTrace,
};
use crate::{
    app::App,
    key::random_text,
    server::{Refusal, http1_bytes},
    settings::Settings,
};

/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest id that is taken from a sender.
const MAX_REQUEST_ID: usize = 64;

pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The request's id: the sender's, if it is well-formed, or one of ours.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let is_fine = |id: &&str| {
            (1..=MAX_REQUEST_ID).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let sent = headers.get(&X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_fine);
        // Without randomness there are no keys either: whatever is asked fails, and that must still be told.
        let id = sent.map_or_else(|| format!("req_{}", random_text(22).unwrap_or_default()), str::to_owned);
        Self(id.into())
    }
}

/// Wraps everything.
pub(crate) async fn edge(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let (started, id) = (Instant::now(), RequestId::of(request.headers()));
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let mut trace = RequestTrace::begin(request.headers(), &method, matched, app.settings.spans);
    let route = matched.unwrap_or("other").to_owned();
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        let client = client(peer, request.headers(), &app.settings.trusted_proxies);
        request.extensions_mut().insert(ConnectInfo(client));
    }
    request.extensions_mut().insert(id.clone());
    let refused = ambiguity(&request);
    let host = host(&request);
    if let Some(host) = &host {
        // HTTP/2 names it elsewhere.
        request.headers_mut().insert(header::HOST, host.clone());
    }
    let answer = async {
        match refused {
            Some(error) => error.into_response(),
            None => next.run(request).await,
        }
    };
    let answer = AssertUnwindSafe(trace.follow(answer)).catch_unwind();
    let mut response = match timeout(PATIENCE, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            counter!("cybervault_http_panics_total").increment(1);
            ApiError::new(Code::Internal, "something went wrong on our side; it was logged under the request's id")
                .into_response()
        }
        Err(_) => ApiError::new(Code::Timeout, "it took too long; try again").into_response(),
    };
    tell_error(&mut response, &id, || app.settings.base(host.as_ref().and_then(|host| host.to_str().ok())));
    finish(response.headers_mut(), &id, app.settings.is_secure());
    let (status, took) = (response.status(), started.elapsed());
    trace.end(&id, status);
    let labels = [
        ("method", known(&method).unwrap_or("other").to_owned()),
        ("route", route.clone()),
        ("status", status.as_u16().to_string()),
    ];
    counter!("cybervault_http_requests_total", &labels).increment(1);
    histogram!("cybervault_http_request_seconds", "route" => route.clone()).record(took.as_secs_f64());
    // Not to be ready is an answer, too.
    if status.is_server_error() && route != "/readyz" {
        tracing::error!(request_id = &*id.0, %method, route, status = status.as_u16(), "request");
    } else {
        tracing::debug!(request_id = &*id.0, %method, route, status = status.as_u16(), ?took, "request");
    }
    response
}

/// A method's name, for labels and spans: of made-up ones there is no end.
pub(super) fn known(method: &Method) -> Option<&'static str> {
    let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    names.into_iter().find(|name| *name == method.as_str())
}

/// The answer to a request that was never read, on a connection to `local`.
pub(crate) fn refuse(settings: &Settings, refusal: Refusal, local: SocketAddr) -> Vec<u8> {
    let error = match refusal {
        Refusal::Head(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
            ApiError::new(Code::HeadersTooLarge, "the request's head may have 64 header fields and 64 KiB; send less")
        }
        Refusal::Head(StatusCode::URI_TOO_LONG) => {
            ApiError::new(Code::UriTooLong, "the address is too long; send a shorter filter or value")
        }
        Refusal::Head(_) => ApiError::new(
            Code::InvalidRequest,
            "the request's head is not HTTP; check its first line and header fields",
        ),
        Refusal::Slow => {
            ApiError::new(Code::RequestTimeout, "the request's head did not come in time; send it at once")
        }
    };
    let (id, status) = (RequestId::of(&HeaderMap::new()), error.code.status());
    let labels =
        [("method", "other".to_owned()), ("route", "other".to_owned()), ("status", status.as_u16().to_string())];
    counter!("cybervault_http_requests_total", &labels).increment(1);
    tracing::debug!(request_id = &*id.0, status = status.as_u16(), "a request that can't be read");
    let mut response = Response::new(error.body(&id.0, &settings.base(Some(&local.to_string()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    finish(headers, &id, settings.is_secure());
    http1_bytes(&response)
}

/// Writes the envelope of an error; of errors, too, that axum itself answers.
fn tell_error(response: &mut Response, id: &RequestId, docs: impl FnOnce() -> String) {
    let error = response.extensions_mut().remove::<ApiError>().or_else(|| {
        let is_plain = !response.headers().contains_key(header::CONTENT_TYPE)
            || response.headers()[header::CONTENT_TYPE].as_bytes().starts_with(b"text/plain");
        // What keeps it from being ready is said in words of its own.
        let is_plain = is_plain && !response.headers().contains_key("x-ready");
        let code = match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
            StatusCode::NOT_FOUND => Code::NotFound,
            status if status.is_client_error() => Code::InvalidRequest,
            status if status.is_server_error() => Code::Internal,
            _ => return None,
        };
        is_plain
            .then(|| ApiError::new(code, response.status().canonical_reason().unwrap_or("it failed").to_lowercase()))
    });
    let Some(error) = error else { return };
    *response.body_mut() = Body::from(error.body(&id.0, &docs()));
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

fn finish(headers: &mut HeaderMap, id: &RequestId, is_secure: bool) {
    if let Ok(id) = HeaderValue::from_str(&id.0) {
        headers.insert(X_REQUEST_ID.clone(), id);
    }
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_secure {
        // A year: whoever came by TLS once comes by TLS.
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // What the API answers is never a page; the console's pages say their own.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
