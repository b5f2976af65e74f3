//! The way to the collector: the HTTP client and the TLS that the schema registry is asked with, too.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

/// How long one request may take. The exporter tries again within its own time, `OTEL_EXPORTER_OTLP_TIMEOUT`.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const MAX_ANSWER: u64 = 64 * 1024;

/// Why the last request failed: the exporter keeps it to itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Option<String>>>);

impl Heard {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Debug)]
pub(super) struct Collector {
    agent: Agent,
    heard: Heard,
}

impl Collector {
    pub(super) fn new() -> (Self, Heard) {
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // Headers with secrets in them go where the configuration says, and nowhere else.
            .max_redirects(0)
            .user_agent(concat!("cybervault/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let heard = Heard::default();
        (Self { agent, heard: heard.clone() }, heard)
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let answer = self.agent.run(Request::from_parts(head, body.as_ref()))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

impl HttpClient for Collector {
    // Blocks: only the thread that sends spans awaits it.
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            self.send(request).map_err(|error| {
                *self.heard.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                error.into()
            })
        })
    }
}
