//! REST: one table of routes, what guards them, and what answers.

mod analyze;
mod body;
mod client;
mod compliance;
mod decide;
mod docs;
mod edge;
mod entities;
mod error;
mod form;
mod guard;
mod health;
mod host;
mod incidents;
mod keys;
mod look;
mod once;
mod quota;
mod routes;
mod sources;
mod stream;
mod trace;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

pub use self::routes::{ApiRoute, api_routes};
pub(crate) use self::{
    body::read_form,
    compliance::{Framework, Period, Report},
    decide::{MAX_ACTIONS, MAX_COMMENT, Word, decide, is_by},
    edge::{RequestId, edge, refuse},
    error::{ApiError, Code},
    guard::{Caller, caller, too_often},
    incidents::{IncidentWord, MAX_COMMENT as INCIDENT_COMMENT, new_decision_id, read as read_incident, say},
    routes::router,
    sources::WINDOW_MS as SOURCES_WINDOW_MS,
    stream::{event_id, read_event_id, subscribe},
};

/// A JSON answer.
fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => json_text(status, text),
        Err(error) => {
            tracing::error!(%error, "an answer can't be written");
            ApiError::new(Code::Internal, "the answer can't be written").into_response()
        }
    }
}

fn json_text(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}
