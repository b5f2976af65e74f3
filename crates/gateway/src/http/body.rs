//! Bodies, read within bounds of size and time, and unpacked within the same bound.

use std::{io::Read, time::Duration};

use axum::{
    body::Bytes,
    extract::Request,
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{ApiError, Code};

/// How long a sender may take for a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a body that is too large is taken and thrown away …
const MAX_DISCARDED: usize = 16 * 1024 * 1024;
/// … and for how long.
const PATIENCE_WITH_DISCARDED: Duration = Duration::from_secs(2);
/// How far back a body in Zstandard may refer, as a power of two: 8 MiB, as RFC 9659 asks of every sender.
const ZSTD_WINDOW: u32 = 23;

/// A body of at most `limit` bytes that says it is JSON.
pub(super) async fn read_json(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let essence = essence(request.headers());
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if !is_json {
        return Err(ApiError::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`"));
    }
    read(request, limit).await
}

/// The same, but there may be none at all: that is an object without members.
pub(super) async fn read_json_or_nothing(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let has_type = request.headers().contains_key(header::CONTENT_TYPE);
    let body = if has_type { read_json(request, limit).await? } else { read(request, limit).await? };
    match (body.is_empty(), has_type) {
        (true, _) => Ok(Bytes::from_static(b"{}")),
        (false, true) => Ok(body),
        (false, false) => Err(ApiError::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`")),
    }
}

/// A form as browsers send it, of at most `limit` bytes.
pub(crate) async fn read_form(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    if essence(request.headers()) != "application/x-www-form-urlencoded" {
        let message = "send `Content-Type: application/x-www-form-urlencoded`, as a browser does";
        return Err(ApiError::new(Code::UnsupportedMediaType, message));
    }
    read(request, limit).await
}

fn essence(headers: &HeaderMap) -> String {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let coding = Coding::of(request.headers())?;
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        // A client that is still sending would find the connection broken instead of the answer.
        let rest = Limited::new(request.into_body(), MAX_DISCARDED).collect();
        let _ = timeout(PATIENCE_WITH_DISCARDED, rest).await;
        return Err(too_large(limit));
    }
    let body = match timeout(PATIENCE, Limited::new(request.into_body(), limit).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large(limit)),
        Ok(Err(_)) => return Err(ApiError::new(Code::InvalidRequest, "the body ended before its end; send it again")),
        Err(_) => {
            let message = format!("the body did not come within {} seconds; send it again", PATIENCE.as_secs());
            return Err(ApiError::new(Code::RequestTimeout, message));
        }
    };
    match coding {
        Coding::Plain => Ok(body),
        // It takes a while, and requests wait for nobody's.
        packed => tokio::task::spawn_blocking(move || packed.unpack(&body, limit))
            .await
            .unwrap_or_else(|_| Err(ApiError::new(Code::Internal, "the body can't be unpacked"))),
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(Code::TooLarge, format!("a body may have {limit} bytes here, unpacked as well; send less at once"))
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    Zstd,
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (lines.next(), lines.next()) {
            (None, _) => return Ok(Self::Plain),
            (Some(line), None) => line.to_str().unwrap_or("").trim().to_ascii_lowercase(),
            _ => String::new(),
        };
        match &*coding {
            "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(ApiError::new(
                Code::UnsupportedMediaType,
                "send `Content-Encoding: gzip` or `zstd`, one of them and once, or no such header",
            )),
        }
    }

    /// What the body was before it was packed, and not a byte more than `limit`.
    fn unpack(self, body: &[u8], limit: usize) -> Result<Bytes, ApiError> {
        let mut unpacked = Vec::with_capacity(limit.min(4 * body.len()));
        let most = limit as u64 + 1;
        let read = match self {
            Self::Plain => body.take(most).read_to_end(&mut unpacked),
            Self::Gzip => flate2::read::MultiGzDecoder::new(body).take(most).read_to_end(&mut unpacked),
            Self::Zstd => zstd::stream::read::Decoder::with_buffer(body).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW)?;
                decoder.take(most).read_to_end(&mut unpacked)
            }),
        };
        if unpacked.len() > limit {
            return Err(too_large(limit));
        }
        match read {
            Ok(_) => Ok(unpacked.into()),
            Err(_) => {
                let message = "the body can't be unpacked: it is not what `Content-Encoding` says, cut off, or refers back further than 8 MiB";
                Err(ApiError::new(Code::InvalidRequest, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(body).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn a_packed_body_becomes_what_it_was_and_never_more_than_may_be() {
        let body = br#"{"type":"file_hash","payload":{}}"#.repeat(20);
        let zstd = zstd::encode_all(&body[..], 19).unwrap();
        for (coding, packed) in [(Coding::Gzip, gzip(&body)), (Coding::Zstd, zstd)] {
            assert_eq!(coding.unpack(&packed, body.len()).unwrap(), body);
            assert_eq!(coding.unpack(&packed, body.len() - 1).unwrap_err().code, Code::TooLarge);
            for broken in [&packed[..packed.len() - 1], &packed[1..], b"", b"{}"] {
                assert_eq!(coding.unpack(broken, 1 << 20).unwrap_err().code, Code::InvalidRequest, "{coding:?}");
            }
        }
        // Bombs: little becomes much, in one step and in many.
        let much = vec![0; 64 << 20];
        for (coding, packed) in [(Coding::Gzip, gzip(&much)), (Coding::Zstd, zstd::encode_all(&much[..], 3).unwrap())] {
            assert!(packed.len() < 80 << 10);
            assert_eq!(coding.unpack(&packed, 1 << 20).unwrap_err().code, Code::TooLarge);
        }
        let mut far = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        far.window_log(27).unwrap();
        far.include_contentsize(false).unwrap();
        far.write_all(&much).unwrap();
        assert_eq!(Coding::Zstd.unpack(&far.finish().unwrap(), 1 << 20).unwrap_err().code, Code::InvalidRequest);
    }

    #[test]
    fn one_coding_that_is_known_is_taken() {
        let of = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, line.parse().unwrap());
            }
            Coding::of(&headers).map_err(|error| error.code)
        };
        assert_eq!(of(&[]), Ok(Coding::Plain));
        assert_eq!(of(&["identity"]), Ok(Coding::Plain));
        assert_eq!(of(&["GZIP"]), Ok(Coding::Gzip));
        assert_eq!(of(&["zstd"]), Ok(Coding::Zstd));
        for other in [&["br"][..], &["gzip, gzip"], &["gzip", "zstd"], &["deflate"], &[""]] {
            assert_eq!(of(other), Err(Code::UnsupportedMediaType), "{other:?}");
        }
    }
}
