//! The one form in which everything that goes wrong is told.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cybervault_stream::JournalError;
use serde_json::{Value, json};

use crate::{list::BadQuery, plain::plain, store::StoreError};

macro_rules! codes {
    ($($name:ident = $code:literal, $status:ident;)*) => {
        /// What went wrong: a page each in docs/errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $($name,)* }

        impl Code {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    InvalidRequest = "invalid_request", BAD_REQUEST;
    InvalidJson = "invalid_json", BAD_REQUEST;
    InvalidParameter = "invalid_parameter", BAD_REQUEST;
    InvalidEvent = "invalid_event", BAD_REQUEST;
    MissingKey = "missing_api_key", UNAUTHORIZED;
    InvalidKey = "invalid_api_key", UNAUTHORIZED;
    InvalidScope = "invalid_scope", FORBIDDEN;
    TenantSuspended = "tenant_suspended", FORBIDDEN;
    NotFound = "not_found", NOT_FOUND;
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT;
    ActionNotPending = "action_not_pending", CONFLICT;
    EventConflict = "event_conflict", CONFLICT;
    IdempotencyInProgress = "idempotency_in_progress", CONFLICT;
    TooLarge = "payload_too_large", PAYLOAD_TOO_LARGE;
    UriTooLong = "uri_too_long", URI_TOO_LONG;
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    IdempotencyMismatch = "idempotency_mismatch", UNPROCESSABLE_ENTITY;
    RateLimited = "rate_limited", TOO_MANY_REQUESTS;
    TooManyStreams = "too_many_streams", TOO_MANY_REQUESTS;
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE;
    Internal = "internal_error", INTERNAL_SERVER_ERROR;
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
    Timeout = "timeout", SERVICE_UNAVAILABLE;
}

/// An answer that says what went wrong. The request's id and the page's address are added at the edge.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u64>,
    /// The same for programs, where there is more to it.
    pub(crate) details: Option<Value>,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let retry_after = (code.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1);
        Self { code, message: message.into(), retry_after, details: None }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is no such thing, or it is not yours")
    }

    /// What it says inside an answer that tells of several things.
    pub(crate) fn told(&self) -> Value {
        let mut told = json!({"code": self.code.as_str(), "message": self.message});
        if let Some(details) = &self.details {
            told["details"] = details.clone();
        }
        told
    }

    /// The envelope.
    pub(crate) fn body(&self, request_id: &str, docs: &str) -> String {
        let (code, message) = (self.code.as_str(), plain(&self.message));
        let docs_url = format!("{docs}/docs/errors/{code}");
        let mut error = self.told();
        error["message"] = json!(message);
        error["request_id"] = json!(request_id);
        error["docs_url"] = json!(docs_url);
        json!({ "error": error }).to_string()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // RFC 9110, section 12.5.3: which codings would have been taken.
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd"));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer realm=\"cybervault\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        *response.body_mut() = Body::empty();
        // The edge knows the request's id, and writes the body.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<BadQuery> for ApiError {
    fn from(error: BadQuery) -> Self {
        Self::new(Code::InvalidParameter, error.0)
    }
}

impl From<StoreError> for ApiError {
    /// What the driver says is for the log: it may name hosts, or what others have stored.
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store");
        match error {
            StoreError::Unreadable { .. } => Self::new(Code::Internal, "what is stored can't be read"),
            _ => Self::new(Code::Unavailable, "the store does not answer"),
        }
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        tracing::warn!(%error, "the journal");
        match error {
            JournalError::Full => Self::new(Code::Unavailable, "more writes wait for Kafka than may"),
            JournalError::TooLarge(_) => Self::new(Code::TooLarge, "it is larger than its topic takes"),
            JournalError::Unavailable(_) => Self::new(
                Code::Unavailable,
                "Kafka does not take it now; it may have been written all the same, so try again with the same Idempotency-Key",
            ),
        }
    }
}
