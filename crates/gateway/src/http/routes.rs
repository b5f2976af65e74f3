//! The table of routes. What is not in it does not exist, and nothing in it is unguarded.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    middleware::from_fn_with_state,
    routing::{MethodFilter, MethodRouter, get, on},
};

use super::{
    ApiError, Code, analyze, compliance, decide, docs, edge, entities,
    guard::{Gate, guard},
    health, incidents, keys, look, quota, sources, stream,
};
use crate::{app::App, console, key::Scope, limit::Class};

/// A route of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRoute {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// With the names of its parameters in braces.
    pub path: &'static str,
    /// What a key has to have; any key without it.
    pub scope: Option<Scope>,
}

type Guarded = MethodRouter<Arc<App>>;

struct Route {
    shown: ApiRoute,
    class: Class,
    handler: Guarded,
}

fn route<T: 'static>(
    method: &'static str,
    path: &'static str,
    scope: impl Into<Option<Scope>>,
    handler: impl Handler<T, Arc<App>>,
) -> Route {
    let (filter, class) = match method {
        "POST" => (MethodFilter::POST, Class::Write),
        "DELETE" => (MethodFilter::DELETE, Class::Write),
        _ => (MethodFilter::GET, Class::Read),
    };
    Route { shown: ApiRoute { method, path, scope: scope.into() }, class, handler: on(filter, handler) }
}

fn table() -> Vec<Route> {
    use Scope as S;
    vec![
        route("GET", "/v3/system/health", None, health::health),
        route("POST", "/v3/threats/analyze", S::ThreatWrite, analyze::analyze),
        route("POST", "/v3/threats/analyze/batch", S::ThreatWrite, analyze::analyze_batch),
        route("GET", "/v3/threats/assessments", S::ThreatRead, look::assessments),
        route("GET", "/v3/threats/assessments/{assessment_id}", S::ThreatRead, look::assessment),
        route("GET", "/v3/response/actions", S::ResponseRead, look::actions),
        route("GET", "/v3/response/actions/{action_id}", S::ResponseRead, look::action),
        route("POST", "/v3/response/actions/{action_id}/approve", S::ResponseWrite, decide::approve),
        route("POST", "/v3/response/actions/{action_id}/deny", S::ResponseWrite, decide::deny),
        route("POST", "/v3/response/decisions", S::ResponseWrite, decide::decisions),
        route("GET", "/v3/incidents", S::ThreatRead, incidents::incidents),
        route("GET", "/v3/incidents/{incident_id}", S::ThreatRead, incidents::incident),
        route("POST", "/v3/incidents/{incident_id}/status", S::ResponseWrite, incidents::status),
        route("POST", "/v3/incidents/{incident_id}/assign", S::ResponseWrite, incidents::assign),
        route("POST", "/v3/incidents/{incident_id}/comment", S::ResponseWrite, incidents::comment),
        route("POST", "/v3/incidents/{incident_id}/verdict", S::ResponseWrite, incidents::verdict),
        route("GET", "/v3/quota", S::QuotaRead, quota::quota),
        route("GET", "/v3/log-sources", S::ThreatRead, sources::log_sources),
        route("GET", "/v3/rules", S::ThreatRead, look::rules),
        route("GET", "/v3/entities/{kind}/{value}", S::ThreatRead, entities::entity),
        route("GET", "/v3/compliance/reports", S::ThreatRead, compliance::reports),
        route("GET", "/v3/stream", S::ThreatRead, stream::stream),
        route("GET", "/v3/keys", S::Admin, keys::list),
        route("POST", "/v3/keys", S::Admin, keys::issue),
        route("POST", "/v3/keys/{key_id}/rotate", S::Admin, keys::rotate),
        route("DELETE", "/v3/keys/{key_id}", S::Admin, keys::revoke),
    ]
}

/// All routes of the API that take a key.
pub fn api_routes() -> Vec<ApiRoute> {
    table().into_iter().map(|route| route.shown).collect()
}

/// Everything that is served.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let guarded = table().into_iter().fold(Router::new(), |router, Route { shown, class, handler }| {
        let gate = Gate { app: app.clone(), scope: shown.scope, class };
        router.route(shown.path, handler.layer(from_fn_with_state(gate, guard)))
    });
    let open = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(health::ready))
        .route("/v3/openapi.yaml", get(docs::openapi))
        .route("/docs/errors", get(docs::errors))
        .route("/docs/errors/{code}", get(docs::error));
    guarded
        .merge(open)
        .merge(console::router(app))
        .fallback(|| async { ApiError::new(Code::NotFound, "there is no such path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(Code::MethodNotAllowed, "this path does not take that method; see Allow")
        })
        .layer(from_fn_with_state(app.clone(), edge))
        .with_state(app.clone())
}
