//! The live console: pages made on the server, one style sheet, one script, nothing fetched from elsewhere.
//!
//! A browser signs in with a key and gets a cookie that no script can read. The session is worth what its key is worth at
//! the moment: a revoked key ends it. Pages ask the same store with the same tenant as the API does.

mod approvals;
mod attack;
mod drawing;
mod entity;
mod finding;
mod incident;
mod incidents;
mod live;
mod page;
mod parts;
mod pipeline;
mod quota;
mod reports;
mod review;
mod session;
mod sources;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::app::App;
pub(crate) use reports::printable;

const STYLE: &str = include_str!("console/assets/console.css");
const SCRIPT: &str = include_str!("console/assets/console.js");
const STREAM: &str = include_str!("console/assets/stream.js");

/// What a page may load: what is ours, and nothing in its own text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The console's pages.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let inside = Router::new()
        .route("/", get(incidents::page))
        .route("/incidents/{incident_id}", get(incident::page))
        .route("/incidents/{incident_id}/word", post(incident::word))
        .route("/findings", get(live::page))
        .route(session::LIVE, get(live::events))
        .route("/console/notice", get(session::notice))
        .route("/findings/{assessment_id}", get(finding::page))
        .route("/entities/{kind}/{*value}", get(entity::page))
        .route("/attack", get(attack::page))
        .route("/sources", get(sources::page))
        .route("/quota", get(quota::page))
        .route("/approvals", get(approvals::page))
        .route("/approvals/review", get(review::page))
        .route("/approvals/decide", post(review::decide_on))
        .route("/pipeline", get(pipeline::page))
        .route("/reports", get(reports::page))
        .route("/sign-out", post(session::sign_out))
        .layer(from_fn_with_state(app.clone(), session::require));
    Router::new()
        .route("/sign-in", get(session::sign_in_page).post(session::sign_in))
        .route("/console/assets/console.css", get(|| async { asset(STYLE, "text/css; charset=utf-8") }))
        .route("/console/assets/console.js", get(|| async { asset(SCRIPT, "text/javascript; charset=utf-8") }))
        .route("/console/assets/stream.js", get(|| async { asset(STREAM, "text/javascript; charset=utf-8") }))
        .route("/favicon.ico", get(|| async { asset(parts::LOGO, "image/svg+xml") }))
        .merge(inside)
}

fn asset(text: &'static str, kind: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        // A new version of the product comes with new ones.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // A worker keeps to what its own script came with.
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    (headers, text).into_response()
}
