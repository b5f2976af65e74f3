//! Requests that are done once, however often they are sent: by the key that their sender gave them.
//!
//! What was begun goes on, whether its sender is still there or not, so that there is an answer for whoever asks again.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cybervault_model::{TenantId, hex};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::{ApiError, Caller, Code, json_text, trace};
use crate::{
    app::App,
    store::{Claim, Store, StoreError, Stored},
};

/// The longest idempotency key.
const MAX_KEY: usize = 128;
/// How often whoever does a request says that it is still being done.
const RENEW: Duration = Duration::from_secs(15);

/// The key that the sender gave the request.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut lines = headers.get_all("idempotency-key").iter();
    let value = match (lines.next(), lines.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    let text = value.map(|text| text.trim().trim_matches('"'));
    let text = text.filter(|text| (1..=MAX_KEY).contains(&text.len()));
    let wrong = || {
        let message = format!("`Idempotency-Key` must be there once, with 1 to {MAX_KEY} visible characters");
        ApiError::new(Code::InvalidRequest, message)
    };
    Ok(Some(text.ok_or_else(wrong)?.to_owned()))
}

/// Does `work` once for all requests with the same key; the others get the first one's answer. Where an earlier one may have
/// been done without anyone knowing, `work` is told so.
pub(super) async fn once<W, F>(
    app: &Arc<App>,
    caller: &Caller,
    key: Option<String>,
    (what, body): (&str, &Bytes),
    work: W,
) -> Result<Response, ApiError>
where
    W: FnOnce(bool) -> F + Send + 'static,
    F: Future<Output = Result<Stored, ApiError>> + Send + 'static,
{
    let Some(key) = key else { return Ok(answer(work(false).await?, false)) };
    let fingerprint = hex(&Sha256::new().chain_update(what).chain_update([0]).chain_update(body).finalize());
    let request = Keyed { store: caller.store(app).clone(), tenant_id: caller.key.tenant_id.clone(), key, fingerprint };
    let ended = || ApiError::new(Code::Unavailable, "the gateway is about to end; send it again");
    let turn = app.works.clone().acquire_owned().await.map_err(|_| ended())?;
    // Whoever drops the connection drops all that is done for it, but not this.
    let done = tokio::spawn(trace::carrying(async move {
        let _turn = turn;
        request.follow(work).await
    }));
    done.await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(ended()),
    })
}

/// A request that has a key.
struct Keyed {
    store: Store,
    tenant_id: TenantId,
    key: String,
    fingerprint: String,
}

impl Keyed {
    async fn follow<W, F>(self, work: W) -> Result<Response, ApiError>
    where
        W: FnOnce(bool) -> F,
        F: Future<Output = Result<Stored, ApiError>>,
    {
        let (store, tenant_id, key) = (&self.store, &self.tenant_id, &self.key);
        let may_be_done = match store.claim(tenant_id, key, &self.fingerprint).await? {
            Claim::Ours => false,
            Claim::Again => true,
            Claim::Done(stored) => return Ok(answer(stored, true)),
            Claim::InProgress => {
                let message = "a request with this Idempotency-Key is being done; send it again for its answer";
                let mut error = ApiError::new(Code::IdempotencyInProgress, message);
                error.retry_after = Some(1);
                return Err(error);
            }
            Claim::Mismatch => {
                let message = "this Idempotency-Key was given to another request; take another key";
                return Err(ApiError::new(Code::IdempotencyMismatch, message));
            }
        };
        let mut work = std::pin::pin!(work(may_be_done));
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = sleep(RENEW) => {
                    if let Err(error) = store.renew_claim(tenant_id, key).await {
                        tracing::warn!(%error, "a request that is being done can't be said to be");
                    }
                }
            }
        };
        match done {
            Ok(stored) => {
                // The answer is the sender's in any case; without its record, the next one looks whether it was done.
                warn(store.answer(tenant_id, key, &stored).await);
                Ok(answer(stored, false))
            }
            Err(error) if error.code.status().is_server_error() => {
                // It may have been done all the same.
                warn(store.leave_claim(tenant_id, key).await);
                Err(error)
            }
            Err(error) => {
                // Nothing was done: the same key may be used again.
                warn(store.give_up_claim(tenant_id, key).await);
                Err(error)
            }
        }
    }
}

fn warn(noted: Result<(), StoreError>) {
    if let Err(error) = noted {
        tracing::warn!(%error, "what became of a request with an Idempotency-Key can't be noted");
    }
}

fn answer(stored: Stored, again: bool) -> Response {
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let mut response = json_text(status, stored.body).into_response();
    if let Some(location) = stored.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if again {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}
