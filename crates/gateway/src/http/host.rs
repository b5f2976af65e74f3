//! For which host a request is: one, and said the same wherever it is said.

use axum::http::{HeaderMap, HeaderValue, Request, Version, header, uri::Authority};

use super::{ApiError, Code};

/// The longest address that is looked at.
const MAX_URI: usize = 8 * 1024;

/// Refuses what two readers could read differently, before anything else looks at it: a body of two lengths, two hosts, and
/// addresses beyond all use.
pub(super) fn ambiguity<B>(request: &Request<B>) -> Option<ApiError> {
    let headers = request.headers();
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().count();
    let both = lengths > 0 && headers.contains_key(header::TRANSFER_ENCODING);
    if both || lengths > 1 {
        return Some(ApiError::new(Code::InvalidRequest, "the body's length is said twice; say it once"));
    }
    let uri = request.uri();
    let length = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if length > MAX_URI {
        let message =
            format!("the address has {length} bytes, and {MAX_URI} are taken; send a shorter filter or value");
        return Some(ApiError::new(Code::UriTooLong, message));
    }
    let wrong = |message| Some(ApiError::new(Code::InvalidRequest, message));
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => wrong("`Host` is there more than once; send it once"),
        (Some(host), None) => match (authority(host), uri.authority()) {
            (None, _) => wrong("`Host` is no host with or without a port"),
            (Some(host), Some(target)) if !host.as_str().eq_ignore_ascii_case(target.as_str()) => {
                wrong("`Host` and the address name two hosts; name one")
            }
            _ => None,
        },
        (None, _) if uri.authority().is_some() || request.version() < Version::HTTP_11 => None,
        (None, _) => wrong("`Host` is missing"),
    }
}

/// A host as a header field names it.
fn authority(value: &HeaderValue) -> Option<Authority> {
    let authority = Authority::try_from(value.as_bytes()).ok()?;
    (!authority.host().is_empty() && !authority.as_str().contains('@')).then_some(authority)
}

/// The host that the request is for, as a header field: HTTP/2 says it elsewhere.
pub(super) fn host<B>(request: &Request<B>) -> Option<HeaderValue> {
    let named = |headers: &HeaderMap| headers.get(header::HOST).filter(|host| authority(host).is_some()).cloned();
    let target = || request.uri().authority().and_then(|target| HeaderValue::from_str(target.as_str()).ok());
    named(request.headers()).or_else(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_taken_and_no_host_two_hosts_and_what_is_no_host_are_not() {
        let says = |version, uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().version(version).uri(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            ambiguity(&request.body(()).unwrap()).is_none()
        };
        for (version, uri, hosts, fine) in [
            (Version::HTTP_11, "/x", &["a.example"][..], true),
            (Version::HTTP_11, "/x", &["[::1]:8080"], true),
            (Version::HTTP_11, "http://A.example/x", &["a.example"], true),
            (Version::HTTP_2, "https://a.example/x", &[], true),
            (Version::HTTP_10, "/x", &[], true),
            (Version::HTTP_11, "/x", &[], false),
            (Version::HTTP_11, "/x", &["a.example", "a.example"], false),
            (Version::HTTP_11, "/x", &["a.example", "b.example"], false),
            (Version::HTTP_11, "http://b.example/x", &["a.example"], false),
            (Version::HTTP_2, "https://b.example/x", &["a.example"], false),
            (Version::HTTP_11, "/x", &["a.example, b.example"], false),
            (Version::HTTP_11, "/x", &["user@a.example"], false),
            (Version::HTTP_11, "/x", &[""], false),
        ] {
            assert_eq!(says(version, uri, hosts), fine, "{uri} {hosts:?}");
        }
    }
}
