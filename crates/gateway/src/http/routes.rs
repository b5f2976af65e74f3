//! The table of routes. What is not in it does not exist, and nothing in it is unguarded.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware::{from_fn, from_fn_with_state},
    routing::{MethodFilter, MethodRouter, get, on},
};

use super::{
    ApiError, Code, analyze, compliance, decide, docs, edge, entities,
    guard::{Gate, guard},
    health, keys, look, quota, stream,
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
    method: Method,
    path: &'static str,
    scope: impl Into<Option<Scope>>,
    handler: impl Handler<T, Arc<App>>,
) -> Route {
    let (name, filter, class) = match method {
        Method::POST => ("POST", MethodFilter::POST, Class::Write),
        Method::DELETE => ("DELETE", MethodFilter::DELETE, Class::Write),
        _ => ("GET", MethodFilter::GET, Class::Read),
    };
    Route { shown: ApiRoute { method: name, path, scope: scope.into() }, class, handler: on(filter, handler) }
}

fn table() -> Vec<Route> {
    use Method as M;
    use Scope as S;
    vec![
        route(M::GET, "/v3/system/health", None, health::health),
        route(M::POST, "/v3/threats/analyze", S::ThreatWrite, analyze::analyze),
        route(M::POST, "/v3/threats/analyze/batch", S::ThreatWrite, analyze::analyze_batch),
        route(M::GET, "/v3/threats/assessments", S::ThreatRead, look::assessments),
        route(M::GET, "/v3/threats/assessments/{assessment_id}", S::ThreatRead, look::assessment),
        route(M::GET, "/v3/response/actions", S::ResponseRead, look::actions),
        route(M::GET, "/v3/response/actions/{action_id}", S::ResponseRead, look::action),
        route(M::POST, "/v3/response/actions/{action_id}/approve", S::ResponseWrite, decide::approve),
        route(M::POST, "/v3/response/actions/{action_id}/deny", S::ResponseWrite, decide::deny),
        route(M::GET, "/v3/quota", S::QuotaRead, quota::quota),
        route(M::GET, "/v3/rules", S::ThreatRead, look::rules),
        route(M::GET, "/v3/entities/{kind}/{value}", S::ThreatRead, entities::entity),
        route(M::GET, "/v3/compliance/reports", S::ThreatRead, compliance::reports),
        route(M::GET, "/v3/stream", S::ThreatRead, stream::stream),
        route(M::GET, "/v3/keys", S::Admin, keys::list),
        route(M::POST, "/v3/keys", S::Admin, keys::issue),
        route(M::POST, "/v3/keys/{key_id}/rotate", S::Admin, keys::rotate),
        route(M::DELETE, "/v3/keys/{key_id}", S::Admin, keys::revoke),
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
        .layer(from_fn(super::body::refuse_ambiguous))
        .with_state(app.clone())
}
