//! One connection, from its first byte to its last.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, extract::ConnectInfo, http::Request, response::Response};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::ServiceExt;

use super::{DRAIN, HEAD, Refusal, Server, told, wire::Wire};

/// Bytes of a head.
const MAX_HEAD: usize = 64 * 1024;
/// Header fields of a request.
const MAX_HEADERS: usize = 64;
/// Requests at the same time on one connection of HTTP/2.
const REQUESTS: u32 = 100;
/// A connection of HTTP/2 without any request is ended after so long. HTTP/1 waits for a head, which has a time of its own.
const IDLE: Duration = Duration::from_secs(30);
/// How often whoever holds a connection of HTTP/2 open has to say that they are there …
const PING: Duration = Duration::from_secs(20);
/// … and how long they may take to.
const PONG: Duration = Duration::from_secs(20);
/// How much more is taken of a request that was refused, so that its sender reads why instead of finding the connection broken …
const MAX_DISCARDED: usize = 1024 * 1024;
/// … and for how long.
const DISCARD: Duration = Duration::from_secs(2);

/// What is known of a connection to everything that is done for it.
pub(super) struct Place {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) server: Arc<Server>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Talks until the client has gone, or is told to.
pub(super) async fn converse(stream: TcpStream, place: Place) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match place.server.tls.clone() {
        None => speak_http1(stream, place).await,
        Some(tls) => {
            let stream = timeout(HEAD, tls.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                speak_http2(stream, place).await
            } else {
                speak_http1(stream, place).await
            }
        }
    }
}

async fn speak_http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, mut place: Place) -> io::Result<()> {
    let (peer, router) = (place.peer, place.server.router.clone());
    let service = service_fn(move |request| router.clone().oneshot(from(peer, request)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let mut connection = builder.serve_connection(TokioIo::new(Wire::new(stream)), service);
    let mut end = std::pin::pin!(end(place.server.limits.lifetime));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = told(&mut place.stop) => return finish(&mut connection).await,
        () = &mut end => return finish(&mut connection).await,
    };
    let Err(error) = ended else { return Ok(()) };
    let parts = connection.into_parts();
    let (refused, stream) = parts.io.into_inner().into_parts();
    let refusal = match refused {
        Some(status) => Some(Refusal::Head(status)),
        // Whoever has sent nothing yet has only left the connection open.
        None if error.is_timeout() && !parts.read_buf.is_empty() => Some(Refusal::Slow),
        None => None,
    };
    match refusal {
        Some(refusal) => refuse(stream, (place.server.refuse)(refusal, place.local)).await,
        None => Err(io::Error::other(error)),
    }
}

/// Lets the request at hand end, if it does so soon.
async fn finish<I, S, B>(connection: &mut http1::Connection<I, S>) -> io::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = B> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    std::pin::Pin::new(&mut *connection).graceful_shutdown();
    timeout(DRAIN / 2, connection).await.unwrap_or(Ok(())).map_err(io::Error::other)
}

/// When a connection has to end whatever it does: never, where it may live as long as it likes.
async fn end(lifetime: Option<Duration>) {
    match lifetime {
        Some(lifetime) => sleep(lifetime).await,
        None => std::future::pending().await,
    }
}

/// Answers in place of hyper, and waits a moment for the client to read it.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: Vec<u8>) -> io::Result<()> {
    let tell = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        let mut discarded = vec![0; 16 * 1024];
        let mut left = MAX_DISCARDED;
        while left > 0 {
            match stream.read(&mut discarded).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok(())
    };
    timeout(DISCARD, tell).await.unwrap_or(Ok(()))
}

async fn speak_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, mut place: Place) -> io::Result<()> {
    let (peer, router) = (place.peer, place.server.router.clone());
    let activity = Arc::new(Activity::default());
    let noted = activity.clone();
    let service = service_fn(move |request| {
        let (router, busy) = (router.clone(), noted.begin());
        async move {
            let response = router.oneshot(from(peer, request)).await?;
            // A stream of events is at work as long as its body is.
            Ok::<_, std::convert::Infallible>(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _ = &busy;
                    frame
                }))
            }))
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    let connection = builder.serve_connection(TokioIo::new(Wire::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let mut end = std::pin::pin!(end(place.server.limits.lifetime));
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = told(&mut place.stop) => {}
        () = &mut end => {}
        () = activity.rests() => {}
    }
    connection.as_mut().graceful_shutdown();
    timeout(DRAIN / 2, connection).await.unwrap_or(Ok(())).map_err(io::Error::other)
}

fn from(peer: SocketAddr, mut request: Request<Incoming>) -> Request<Incoming> {
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

/// Whether a connection is of use to anybody.
#[derive(Debug)]
struct Activity {
    requests: AtomicUsize,
    since: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self { requests: AtomicUsize::new(0), since: Mutex::new(Instant::now()) }
    }
}

impl Activity {
    fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::AcqRel);
        Busy(self.clone())
    }

    /// Waits until there has been no request for a while.
    async fn rests(&self) {
        loop {
            let is_busy = self.requests.load(Ordering::Acquire) > 0;
            let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
            let until = if is_busy { Instant::now() + IDLE } else { since + IDLE };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// A request, until its answer has been sent.
#[derive(Debug)]
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer as HTTP/1 writes it, after which the connection is closed.
pub fn http1_bytes(response: &Response<String>) -> Vec<u8> {
    let (status, body) = (response.status(), response.body());
    let mut text = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in response.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    text
}
