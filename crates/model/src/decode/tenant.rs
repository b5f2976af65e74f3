//! Whose a record is.

use super::{DecodeError, error::excerpt};
use crate::TenantId;

/// The tenant that the header names, else the envelope, else the key up to its first `|`.
///
/// The header comes first because it is the broker's side that can pin it; an envelope that disagrees is refused, so
/// that a tenant can't write as another. The first that names one must name a possible one: falling through to the next
/// would let a sender get around a header by garbling it.
pub(super) fn resolve<'d>(
    header: Option<&'d [u8]>,
    envelope: Option<&'d str>,
    key: Option<&'d [u8]>,
) -> Result<&'d str, DecodeError> {
    let header = header.map(|header| possible("header", header)).transpose()?;
    let envelope = envelope.map(|envelope| possible("envelope", envelope.as_bytes())).transpose()?;
    match (header, envelope) {
        (Some(header), Some(envelope)) if header != envelope => {
            Err(DecodeError::TenantMismatch { header: header.to_owned(), envelope: envelope.to_owned() })
        }
        (Some(tenant), _) | (None, Some(tenant)) => Ok(tenant),
        (None, None) => match key {
            Some(key) => possible("key", key.split(|&byte| byte == b'|').next().unwrap_or(key)),
            None => Err(DecodeError::NoTenant("the record has no key either".to_owned())),
        },
    }
}

fn possible<'d>(place: &str, id: &'d [u8]) -> Result<&'d str, DecodeError> {
    match std::str::from_utf8(id) {
        Ok(id) if TenantId::is_valid(id) => Ok(id),
        _ => Err(DecodeError::NoTenant(format!("the {place}'s `{}` is no tenant id", excerpt(id)))),
    }
}
