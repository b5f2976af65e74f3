//! Bodies, read within bounds of size and time.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{ApiError, Code};

/// How long a sender may take for a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a body that is too large is taken and thrown away …
const MAX_DISCARDED: usize = 16 * 1024 * 1024;
/// … and for how long.
const PATIENCE_WITH_DISCARDED: Duration = Duration::from_secs(2);
/// The longest address that is looked at.
const MAX_URI: usize = 8 * 1024;

/// A body of at most `limit` bytes that says it is JSON.
pub(super) async fn read_json(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if !is_json {
        return Err(ApiError::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`"));
    }
    read(request, limit).await
}

/// The same, but there may be none at all.
pub(super) async fn read_json_or_nothing<T: DeserializeOwned + Default>(
    request: Request,
    limit: usize,
) -> Result<T, ApiError> {
    if !request.headers().contains_key(header::CONTENT_TYPE) {
        let body = read(request, limit).await?;
        return if body.is_empty() {
            Ok(T::default())
        } else {
            Err(ApiError::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`"))
        };
    }
    let body = read_json(request, limit).await?;
    if body.is_empty() { Ok(T::default()) } else { parse(&body) }
}

async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(Code::TooLarge, format!("a body may have {limit} bytes here"));
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        // A client that is still sending would find the connection broken instead of the answer.
        let rest = Limited::new(request.into_body(), MAX_DISCARDED).collect();
        let _ = timeout(PATIENCE_WITH_DISCARDED, rest).await;
        return Err(too_large());
    }
    match timeout(PATIENCE, Limited::new(request.into_body(), limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::new(Code::InvalidRequest, "the body ended before its end")),
        Err(_) => Err(ApiError::new(Code::Timeout, "the body did not come in time")),
    }
}

/// JSON of a known form; keys that do not exist are named.
pub(super) fn parse<'de, T: serde::Deserialize<'de>>(body: &'de [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let message: String = error.to_string().chars().take(300).collect();
        ApiError::new(Code::InvalidJson, message)
    })
}

/// Refuses what two readers could read differently, before anything else looks at it: a body of two lengths, and names
/// or addresses beyond all use.
pub(super) async fn refuse_ambiguous(request: Request, next: Next) -> Response {
    let headers: &HeaderMap = request.headers();
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let both = lengths > 0 && headers.contains_key(header::TRANSFER_ENCODING);
    if both || lengths > 1 {
        return ApiError::new(Code::InvalidRequest, "the body's length is said twice").into_response();
    }
    if request.uri().to_string().len() > MAX_URI {
        return ApiError::new(Code::InvalidRequest, "the address is too long").into_response();
    }
    next.run(request).await
}
