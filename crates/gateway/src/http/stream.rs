//! `GET /v3/stream`: one's own findings and actions as they land, as server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use cybervault_model::TenantId;
use futures_util::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ApiError, Caller, Code};
use crate::{
    app::App,
    authority::Grant,
    hub::Listener,
    key::{KeyHash, Scope},
    seats::{Full, Seat},
    store::{FeedItem, FeedKind},
};

/// How often something is sent so that nobody in between takes the connection for dead.
const ALIVE: Duration = Duration::from_secs(15);
/// After how long a client whose stream ended comes back.
const RETRY: Duration = Duration::from_secs(2);
/// The same in seconds, where there was no place for it.
const FULL_RETRY_S: u64 = 5;

/// `GET /v3/stream`
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let tenant_id = caller.tenant_id().clone();
    let after = match headers.get("last-event-id") {
        Some(id) => {
            let read = id.to_str().ok().and_then(|id| read_event_id(id, &tenant_id, caller.store(&app).cursor_key()));
            let wrong = || ApiError::new(Code::InvalidParameter, "`Last-Event-ID` is none of this stream's");
            Some(read.ok_or_else(wrong)?)
        }
        None => None,
    };
    let actions = caller.key.allows(Scope::ResponseRead);
    let show = move |item: &FeedItem| match item.kind {
        FeedKind::Action if !actions => None,
        kind => Some(Event::default().event(kind.as_str()).data(item.document.get())),
    };
    subscribe(app, (caller, None), after, show)
}

/// What lands for the caller's tenant after `after`, or from now on, as `show` makes it events.
pub(crate) fn subscribe(
    app: Arc<App>,
    (caller, session): (Caller, Option<KeyHash>),
    after: Option<i64>,
    show: impl FnMut(&FeedItem) -> Option<Event> + Send + 'static,
) -> Result<Response, ApiError> {
    let seat = app.seats.take(&caller.key, app.settings.streams.of(caller.tenant.plan)).map_err(no_seat)?;
    let grant = app.authority.grant(&caller.key, session);
    let listener = caller.hub(&app).listen(caller.tenant_id(), after);
    let subscription = Subscription { app, caller, listener, show, grant, _seat: seat };
    let events = stream::unfold(subscription, async |mut subscription| {
        let event = subscription.next().await?;
        Some((Ok::<_, Infallible>(event), subscription))
    });
    // Something is sent at once: some proxies hold the head back until there is a body.
    let hello = stream::once(async { Ok(Event::default().comment("listening").retry(RETRY)) });
    let events = Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(ALIVE));
    let mut response = events.into_response();
    let headers = response.headers_mut();
    // nginx, and what follows it, else gathers events until a buffer is full; others would pack them, which is as bad.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    Ok(response)
}

fn no_seat(full: Full) -> ApiError {
    let (code, message) = match full {
        Full::Key(most) => {
            (Code::TooManyStreams, format!("this key has {most} streams open, which is all it may; close one"))
        }
        Full::Tenant(most) => {
            (Code::TooManyStreams, format!("the tenant has {most} streams open, which is all its plan has; close one"))
        }
        Full::All => (Code::Unavailable, "too many listen already; try again".to_owned()),
    };
    let mut error = ApiError::new(code, message);
    error.retry_after = Some(FULL_RETRY_S);
    error
}

struct Subscription<F> {
    app: Arc<App>,
    caller: Caller,
    listener: Listener,
    show: F,
    grant: Grant,
    _seat: Seat,
}

impl<F: FnMut(&FeedItem) -> Option<Event>> Subscription<F> {
    /// The next event. None once whoever listens may not any more, or where the store does not answer: a client that comes
    /// back reads on where it was.
    async fn next(&mut self) -> Option<Event> {
        let Self { app, caller, listener, show, grant, .. } = self;
        loop {
            let next = tokio::select! {
                biased;
                () = grant.ended() => return None,
                next = listener.next(caller.store(app)) => next,
            };
            let item = next.ok()?;
            if let Some(event) = show(&item) {
                return Some(event.id(event_id(item.seq, caller.tenant_id(), caller.store(app).cursor_key())));
            }
        }
    }
}

/// An item's place in the feed, as its tenant sees it. The places count all tenants' items; in clear they would tell each
/// how busy the others are. So they are permuted by a Feistel network of four rounds (Luby and Rackoff 1988) under a key
/// of our own, another one for each tenant.
pub(crate) fn event_id(seq: i64, tenant_id: &TenantId, key: &[u8; 32]) -> String {
    let [mut left, mut right] = halves(seq.cast_unsigned());
    for round in 0..4 {
        (left, right) = (right, left ^ scramble(right, round, tenant_id, key));
    }
    format!("{left:08x}{right:08x}")
}

pub(crate) fn read_event_id(id: &str, tenant_id: &TenantId, key: &[u8; 32]) -> Option<i64> {
    if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let [mut left, mut right] = halves(u64::from_str_radix(id, 16).ok()?);
    for round in (0..4).rev() {
        (left, right) = (right ^ scramble(left, round, tenant_id, key), left);
    }
    let seq = (u64::from(left) << 32 | u64::from(right)).cast_signed();
    // What was made up comes out as some number, and hardly ever as a small one.
    (0..1 << 48).contains(&seq).then_some(seq)
}

#[expect(clippy::cast_possible_truncation, reason = "each takes its half")]
fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

fn scramble(half: u32, round: u8, tenant_id: &TenantId, key: &[u8; 32]) -> u32 {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    let mac = mac.chain_update([round]).chain_update(half.to_be_bytes()).chain_update(tenant_id.as_str());
    let bytes = mac.finalize().into_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_id_leads_back_to_its_place_and_tells_nobody_else_anything() {
        let (acme, globex) = (TenantId::new("acme").unwrap(), TenantId::new("globex").unwrap());
        let key = [3; 32];
        let mut seen = std::collections::HashSet::new();
        for seq in (0..200).chain([1 << 40]) {
            let id = event_id(seq, &acme, &key);
            assert_eq!(read_event_id(&id, &acme, &key), Some(seq));
            assert_ne!(read_event_id(&id, &globex, &key), Some(seq));
            assert!(seen.insert(id));
        }
        for id in ["", "0", "xyzxyzxyzxyzxyz!", "+123456789012345"] {
            assert_eq!(read_event_id(id, &acme, &key), None);
        }
    }
}
