//! Who asks, whether they may, and whether not too often: before any handler runs.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cybervault_model::TenantId;

use super::error::{ApiError, Code};
use crate::{
    app::App,
    engine::TenantFacts,
    hub::Hub,
    key::{KeyKind, Scope, Secret},
    known_keys::Known,
    limit::{Class, Verdict},
    recent::Recent,
    store::{KeyRecord, Store},
};

/// Who asks. Only the guard makes one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) key: Arc<KeyRecord>,
    pub(crate) tenant: TenantFacts,
}

impl Caller {
    pub(crate) fn is_sandbox(&self) -> bool {
        self.key.kind == KeyKind::Test
    }

    /// Whose data is looked at. A tenant's sandbox has the tenant's id, too: what keeps the two apart is that a sandbox key leads
    /// to other stores.
    pub(crate) fn tenant_id(&self) -> &TenantId {
        &self.key.tenant_id
    }

    /// Where this data is.
    pub(crate) fn store<'a>(&self, app: &'a App) -> &'a Store {
        if self.is_sandbox() { app.sandboxes.store() } else { &app.store }
    }

    /// What has just been brought to it.
    pub(crate) fn recent<'a>(&self, app: &'a App) -> &'a Recent {
        if self.is_sandbox() { app.sandboxes.recent() } else { &app.recent }
    }

    /// What tells of it as it lands.
    pub(crate) fn hub<'a>(&self, app: &'a App) -> &'a Hub {
        if self.is_sandbox() { app.sandboxes.hub() } else { &app.hub }
    }

    /// Who it is, in what others read.
    pub(crate) fn name(&self) -> String {
        format!("{} ({})", self.key.name, self.key.key_id)
    }
}

/// What a route asks for.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) app: Arc<App>,
    pub(crate) scope: Option<Scope>,
    pub(crate) class: Class,
}

/// Lets pass who may.
pub(crate) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let caller = match admit(&gate, request.headers(), address).await {
        Ok(caller) => caller,
        Err(error) => return error.into_response(),
    };
    let verdict = match gate.app.limiter.take(&gate.app, &caller, gate.class).await {
        Ok(verdict) => verdict,
        Err(error) => return error.into_response(),
    };
    let mut response = if verdict.granted {
        if caller.is_sandbox()
            && let Err(error) = gate.app.sandboxes.prepare(&gate.app.engine, caller.tenant_id()).await
        {
            return ApiError::from(error).into_response();
        }
        request.extensions_mut().insert(caller);
        next.run(request).await
    } else {
        too_often(&verdict).into_response()
    };
    tell_limits(response.headers_mut(), &verdict);
    response
}

async fn admit(gate: &Gate, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller, ApiError> {
    let caller = authenticate(&gate.app, headers, address).await;
    if let (Err(error), Some(address)) = (&caller, address)
        && error.code.status() == StatusCode::UNAUTHORIZED
        && !gate.app.addresses.take(address)
    {
        return Err(too_many_failures());
    }
    let caller = caller?;
    match gate.scope {
        Some(scope) if !caller.key.allows(scope) => Err(ApiError::new(
            Code::InvalidScope,
            format!("this key may not be used for this: it takes the scope `{}`", scope.as_str()),
        )),
        _ => Ok(caller),
    }
}

/// What is told to who has used up the tenant's requests.
pub(crate) fn too_often(verdict: &Verdict) -> ApiError {
    let message = "the tenant makes more requests than its plan has; try again after what Retry-After says";
    let mut error = ApiError::new(Code::RateLimited, message);
    error.retry_after = Some(verdict.retry_after);
    error
}

fn too_many_failures() -> ApiError {
    let mut error = ApiError::new(Code::RateLimited, "too many requests without a valid key from this address");
    error.retry_after = Some(1);
    error
}

/// The caller by the header `Authorization`.
async fn authenticate(app: &App, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Err(ApiError::new(Code::MissingKey, "send your key as `Authorization: Bearer cv_live_sk_…`"));
    };
    let text = value.to_str().ok().and_then(|value| {
        let (scheme, rest) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim())
    });
    let Some(text) = text else {
        return Err(ApiError::new(Code::MissingKey, "`Authorization` must be `Bearer` and a key"));
    };
    let secret = Secret::parse(text)
        .ok_or_else(|| ApiError::new(Code::InvalidKey, "this is no key: prefix, length or checksum are wrong"))?;
    let hash = secret.hash();
    let key = match app.keys.known(&hash) {
        Known::Now(key) => Some(key),
        Known::Before => app.keys.look_up(&app.store, &hash).await?,
        Known::Not => {
            let _turn = app.addresses.turn(address).await;
            app.keys.look_up(&app.store, &hash).await?
        }
    };
    caller(app, key)
}

/// The caller that a key makes, if it is one that is taken.
pub(crate) fn caller(app: &App, key: Option<Arc<KeyRecord>>) -> Result<Caller, ApiError> {
    // Unknown, revoked and expired are told apart by nobody who has not the list of keys.
    let invalid = || ApiError::new(Code::InvalidKey, "this key is not taken: it is unknown, revoked or expired");
    let key = key.filter(|key| key.is_valid(crate::store::now())).ok_or_else(invalid)?;
    let tenant = app.engine.tenant(key.tenant_id.as_str()).ok_or_else(invalid)?;
    if tenant.suspended {
        return Err(ApiError::new(Code::TenantSuspended, "this tenant is suspended"));
    }
    Ok(Caller { key, tenant })
}

/// The IETF's header fields (draft-ietf-httpapi-ratelimit-headers-10).
fn tell_limits(headers: &mut HeaderMap, verdict: &Verdict) {
    let Verdict { class, quota, remaining, reset, .. } = verdict;
    let name = class.as_str();
    for (field, value) in [
        ("ratelimit-policy", format!("\"{name}\";q={quota};w=60")),
        ("ratelimit", format!("\"{name}\";r={remaining};t={reset}")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(field, value);
        }
    }
}
