//! What lies between a connection and HTTP: patience with who does not read, and an eye on answers that nobody asked us for.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How long a client may leave what it is sent unread.
const UNREAD: Duration = Duration::from_secs(30);
/// More than any answer has that hyper gives by itself.
const LONGEST_AUTOMATIC: usize = 256;

/// A connection. Hyper answers a head that it can't read by itself, without a body: that answer is held back here, so that
/// ours can be sent in its place.
#[derive(Debug)]
pub(super) struct Wire<S> {
    inner: S,
    refused: Option<StatusCode>,
    unread: Option<Pin<Box<Sleep>>>,
    is_unread: bool,
}

impl<S> Wire<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, refused: None, unread: None, is_unread: false }
    }

    /// The status of the answer that was held back, and the connection itself.
    pub(super) fn into_parts(self) -> (Option<StatusCode>, S) {
        (self.refused, self.inner)
    }

    /// Ends the connection where a write waits for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_unread = false;
            return written;
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep(UNREAD)));
        if !self.is_unread {
            unread.as_mut().reset(Instant::now() + UNREAD);
            self.is_unread = true;
        }
        ready!(unread.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &mut *self;
        let buf = match automatic(buf) {
            Some((0, status)) => {
                wire.refused = Some(status);
                return Poll::Ready(Ok(buf.len()));
            }
            Some((at, _)) => &buf[..at],
            None => buf,
        };
        let written = Pin::new(&mut wire.inner).poll_write(cx, buf);
        wire.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

/// Where an answer begins that hyper gives by itself, and its status. It comes last, has no body, and none but these header
/// fields; an answer of ours always says more.
fn automatic(buf: &[u8]) -> Option<(usize, StatusCode)> {
    if !buf.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = buf.len().saturating_sub(LONGEST_AUTOMATIC);
    let start = b"HTTP/1.";
    let at = tail + buf[tail..].windows(start.len()).rposition(|window| window == start)?;
    let head = std::str::from_utf8(&buf[at..buf.len() - 4]).ok()?;
    let mut lines = head.split("\r\n");
    let status = match lines.next()?.split(' ').nth(1)? {
        "400" => StatusCode::BAD_REQUEST,
        "414" => StatusCode::URI_TOO_LONG,
        "431" => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => return None,
    };
    let is_bare =
        lines.all(|line| line == "content-length: 0" || line == "connection: close" || line.starts_with("date: "));
    is_bare.then_some((at, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_answer_at_the_end_is_taken_for_one_that_hyper_gave() {
        let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                    date: Mon, 30 Nov 2026 14:00:00 GMT\r\n\r\n";
        assert_eq!(automatic(bare.as_bytes()), Some((0, StatusCode::BAD_REQUEST)));
        let behind = format!("HTTP/1.1 200 OK\r\nx-request-id: r\r\ncontent-length: 2\r\n\r\n{{}}{bare}");
        assert_eq!(automatic(behind.as_bytes()), Some((behind.len() - bare.len(), StatusCode::BAD_REQUEST)));
        for other in [
            "HTTP/1.1 400 Bad Request\r\nx-request-id: r\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n",
            "5\r\nHTTP/\r\n0\r\n\r\n",
            "\r\n\r\n",
            &format!("{bare}\r\n0\r\n\r\n"),
        ] {
            assert_eq!(automatic(other.as_bytes()), None, "{other}");
        }
    }
}
