//! Ports: connections accepted in bounded number, over TLS where there is a certificate, with bounds on heads and on time.

mod connection;
mod wire;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, http::StatusCode};
use metrics::gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

pub use self::connection::http1_bytes;
use self::connection::{Place, converse};
use crate::settings::TlsFiles;

/// How long a client may take for a request's head, or for TLS' handshake.
const HEAD: Duration = Duration::from_secs(10);
/// How long requests may take to end once told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// A certificate that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("can't serve TLS with {certificate} and {key}: {reason}; see `gateway.tls` in the configuration")]
pub struct TlsError {
    certificate: String,
    key: String,
    reason: String,
}

/// Reads certificate and key.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let read = || -> Result<ServerConfig, String> {
        let said = |error: &dyn std::error::Error| error.to_string();
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&files.certificate).map_err(|error| said(&error))?.collect();
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| said(&error))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| said(&error))?;
        let chain = chain.map_err(|error| said(&error))?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(|error| said(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    };
    let config = read().map_err(|reason| TlsError {
        certificate: files.certificate.display().to_string(),
        key: files.key.display().to_string(),
        reason,
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How much of this machine one port may take.
#[derive(Clone, Copy, Debug)]
pub struct PortLimits {
    /// Connections at the same time. More wait for one of these to end.
    pub connections: usize,
    /// Connections of one address at the same time; more are closed at once. Without it any number.
    pub per_address: Option<usize>,
    /// How long a connection may last, whatever it does. Without it for ever.
    pub lifetime: Option<Duration>,
}

/// Why a request is refused that was never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its head can't be read, or is too large: the status says which.
    Head(StatusCode),
    /// Its head did not come in time.
    Slow,
}

/// A port, and what answers on it.
pub struct Server {
    /// What answers.
    pub router: Router,
    /// Certificate and key; without them it speaks plain HTTP/1.
    pub tls: Option<TlsAcceptor>,
    /// How much it may take.
    pub limits: PortLimits,
    /// What is answered, as HTTP/1 writes it, to a request that was never read, on a connection to this address.
    pub refuse: Box<dyn Fn(Refusal, SocketAddr) -> Vec<u8> + Send + Sync>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Server {
    /// Serves until `stop` says so, then until the open requests have ended.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let server = Arc::new(self);
        let permits = Arc::new(Semaphore::new(server.limits.connections));
        let addresses = Addresses::default();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &permits) => accepted,
                () = told(&mut stop) => break,
            };
            let Some((permit, stream, peer)) = accepted else { continue };
            let Some(counted) = addresses.enter(peer.ip(), server.limits.per_address) else {
                tracing::debug!(%peer, "one address has too many connections");
                continue;
            };
            let Ok(local) = stream.local_addr() else { continue };
            let place = Place { peer, local, server: server.clone(), stop: stop.clone() };
            tokio::spawn(async move {
                let _held = (permit, counted);
                gauge!("cybervault_http_connections").increment(1);
                if let Err(error) = converse(stream, place).await {
                    tracing::debug!(%peer, %error, "a connection ended");
                }
                gauge!("cybervault_http_connections").decrement(1);
            });
        }
        drop(listener);
        let all = u32::try_from(server.limits.connections).unwrap_or(u32::MAX);
        let _ = timeout(DRAIN, permits.acquire_many(all)).await;
    }
}

type Accepted = (OwnedSemaphorePermit, TcpStream, SocketAddr);

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((permit, stream, peer)),
        Err(error) => {
            // Of file descriptors there may be none left; they come back.
            tracing::warn!(%error, "a connection can't be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Waits for the word to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Whoever could say so has gone where this fails.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// How many connections each address has.
#[derive(Clone, Debug, Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Addresses {
    /// Counts one more, unless the address has `most` already.
    fn enter(&self, address: IpAddr, most: Option<usize>) -> Option<Counted> {
        let Some(most) = most else { return Some(Counted(None)) };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted(Some((self.clone(), address))))
    }
}

/// One connection of an address, until it ends.
#[derive(Debug)]
struct Counted(Option<(Addresses, IpAddr)>);

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.0 else { return };
        let mut counts = addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::routing::get;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
    };

    use super::*;

    fn server(router: Router, tls: Option<TlsAcceptor>) -> Server {
        let refuse = |refusal, _| format!("HTTP/1.1 400 Bad Request\r\n\r\n{refusal:?}").into_bytes();
        let limits = PortLimits { connections: 64, per_address: None, lifetime: None };
        Server { router, tls, limits, refuse: Box::new(refuse) }
    }

    /// Asks for `/` over TLS, trusting `certificate` alone.
    async fn ask(address: SocketAddr, certificate: CertificateDer<'static>) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_trusts_the_certificate_is_answered_over_tls_and_whoever_speaks_in_clear_disturbs_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let [own, other] = [(), ()].map(|()| generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        let files = TlsFiles { certificate: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
        let write = |CertifiedKey { cert, signing_key }: &CertifiedKey<_>, key: bool| {
            let signing_key: &rcgen::KeyPair = signing_key;
            std::fs::write(&files.certificate, cert.pem()).unwrap();
            if key {
                std::fs::write(&files.key, signing_key.serialize_pem()).unwrap();
            }
        };
        assert!(acceptor(&files).is_err_and(|error| error.to_string().contains("see `gateway.tls`")));
        write(&own, true);
        write(&other, false);
        assert!(acceptor(&files).is_err(), "the key of another certificate");
        write(&own, true);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told_to_stop, stop) = watch::channel(false);
        let router = Router::new().route("/", get(|| async { "hello" }));
        let server = server(router, Some(acceptor(&files).unwrap()));
        let serving = tokio::spawn(server.serve(listener, stop));

        let mut in_clear = TcpStream::connect(address).await.unwrap();
        in_clear.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let answer = ask(address, own.cert.der().clone()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
        assert!(ask(address, other.cert.der().clone()).await.is_err(), "a certificate that nobody vouches for");
        let mut refused = Vec::new();
        let _ = in_clear.read_to_end(&mut refused).await;
        assert!(!refused.starts_with(b"HTTP"), "answered in clear");
        told_to_stop.send(true).unwrap();
        serving.await.unwrap();
    }
}
