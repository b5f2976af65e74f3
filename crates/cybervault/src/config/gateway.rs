//! REST API and console.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
};

use cybervault_gateway::{Place, RateLimits, Retention, Streams, TlsFiles};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// REST API and console.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GatewayConfig {
    /// Where it listens; port 0 is any free one. Default: `127.0.0.1:8080`.
    #[schemars(with = "String")]
    pub(crate) listen: SocketAddr,
    /// How it is reached from outside, `https://cybervault.example.com`: for links in errors, and for cookies that are sent
    /// over TLS only where something before it speaks TLS.
    pub(crate) public_url: Option<String>,
    /// Certificate and key, in PEM. Without them it speaks plain HTTP.
    pub(crate) tls: Option<TlsFiles>,
    /// Networks of the proxies before it, `10.0.0.0/8`: what they say in `X-Forwarded-For` is believed, so that limits by
    /// address meet clients and not the proxies. Default: none.
    #[schemars(with = "Vec<String>")]
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Where it remembers keys and what was found.
    pub(crate) store: StoreConfig,
    /// How many requests a tenant may make.
    pub(crate) rate_limits: RateLimits,
    /// How many streams a tenant and a key may have open, the console's too; each replica counts its own.
    pub(crate) streams: Streams,
    /// How long what was found is kept.
    pub(crate) retention: Retention,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            tls: None,
            trusted_proxies: Vec::new(),
            store: StoreConfig::default(),
            rate_limits: RateLimits::default(),
            streams: Streams::default(),
            retention: Retention::default(),
        }
    }
}

/// Where the gateway remembers keys and what was found.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreConfig {
    /// A SQLite file, for one replica. Default: `cybervault.db`.
    pub(crate) file: PathBuf,
    /// A PostgreSQL database instead, for any number of replicas, as `postgres://user:password@host/database`. It has a
    /// password in it: only by environment, `CYBERVAULT_GATEWAY__STORE__POSTGRES`, or by `postgres_file`.
    pub(crate) postgres: Option<Secret>,
    /// A file with the database's address in it.
    pub(crate) postgres_file: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { file: "cybervault.db".into(), postgres: None, postgres_file: None }
    }
}

impl StoreConfig {
    /// As the store takes it.
    pub(crate) fn place(&self) -> Place {
        match &self.postgres {
            Some(url) => Place::Postgres(url.reveal().to_owned()),
            None => Place::File(self.file.clone()),
        }
    }
}
