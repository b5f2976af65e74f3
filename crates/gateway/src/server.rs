//! Connections: accepted in bounded number, over TLS where there is a certificate, with bounds on heads and on time.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tower::ServiceExt;

use crate::settings::TlsFiles;

/// Connections at the same time.
const CONNECTIONS: usize = 8_192;
/// How long a client may take for a request's head, or for TLS' handshake.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a head.
const MAX_HEAD: usize = 64 * 1024;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
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
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    };
    let config = read().map_err(|reason| TlsError {
        certificate: files.certificate.display().to_string(),
        key: files.key.display().to_string(),
        reason,
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves until `stop` says so, then until the open requests have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stop) => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of file descriptors there may be none left; they come back.
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            gauge!("cybervault_http_connections").increment(1);
            if let Err(error) = converse(stream, address, tls, router, stop).await {
                tracing::debug!(%address, %error, "a connection ended");
            }
            gauge!("cybervault_http_connections").decrement(1);
        });
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
    let _ = timeout(DRAIN, permits.acquire_many(all)).await;
}

/// Waits for the word to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Whoever could say so has gone where this fails.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn converse(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => answer(stream, address, router, stop).await,
        Some(tls) => {
            let stream = timeout(HEAD, tls.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            answer(stream, address, router, stop).await
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        router.clone().oneshot(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            match timeout(DRAIN / 2, connection).await {
                Ok(ended) => ended,
                Err(_) => return Ok(()),
            }
        }
    };
    ended.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
    };

    use super::*;

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
        let serving = tokio::spawn(serve(listener, Some(acceptor(&files).unwrap()), router, stop));

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
