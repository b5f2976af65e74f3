//! REST API /v3 and the live console: keys, a searchable view of what was found, and the way into the stream.
//!
//! A request comes in through [`server`](Gateway), passes the edge (ids, time-outs, errors' form) and the guard (key,
//! scope, rate limit), and is answered from the store, which a thread fills from the result topics; or it goes to Kafka
//! through a journal that commits many requests at once. What rules and tenants are in force is the [`Engine`]'s to say.
#![forbid(unsafe_code)]

mod settings;

mod key;
mod list;
mod plain;
mod store;

mod condition;
mod engine;
mod view;

mod authority;
mod hub;
mod known_keys;
mod limit;
mod lookups;
mod monitor;
mod recent;
mod sandbox;
mod seats;

mod app;
mod console;
mod http;
mod server;

mod gateway;

pub use engine::{Engine, Found, RuleFacts, TenantFacts};
pub use gateway::{Gateway, GatewayError, describe_metrics};
pub use http::{ApiRoute, api_routes};
pub use key::{KeyKind, Scope, Secret, UnknownScope};
pub use server::{PortLimits, Refusal, Server, TlsError, http1_bytes};
pub use settings::{RateLimits, RequestRates, Settings, StreamLimits, Streams, TlsFiles, Topics};
pub use store::{KeyRecord, NewKey, Place, Retention, Store, StoreError};
