//! In which form a record's value is.

use crate::decode::{DecodeError, excerpt};

/// The form of a value, as the record's `content-type` header names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `application/json`, `text/json`, anything with the suffix `+json`; also what has no such header.
    #[default]
    Json,
    /// `application/avro`, `avro/binary`, `application/vnd.apache.avro+binary`, `application/vnd.confluent.avro`: in
    /// Confluent's wire format or the single-object encoding, told apart by the first byte.
    Avro,
}

impl ContentType {
    /// The header's name.
    pub const HEADER: &'static str = "content-type";

    /// The header's value on what is produced.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Avro => "application/avro",
        }
    }

    /// From the header's value. Case and parameters (`; charset=utf-8`) don't matter.
    ///
    /// # Errors
    /// When it names another form.
    pub fn from_header(header: Option<&[u8]>) -> Result<Self, DecodeError> {
        const JSON: [&str; 2] = ["application/json", "text/json"];
        const AVRO: [&str; 4] =
            ["application/avro", "avro/binary", "application/vnd.apache.avro+binary", "application/vnd.confluent.avro"];
        let Some(header) = header else { return Ok(Self::Json) };
        let name = header.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let is_json_suffix = || name.len() > 5 && name[name.len() - 5..].eq_ignore_ascii_case(b"+json");
        if name.is_empty() || JSON.into_iter().any(is) || is_json_suffix() {
            Ok(Self::Json)
        } else if AVRO.into_iter().any(is) {
            Ok(Self::Avro)
        } else {
            Err(DecodeError::UnsupportedContentType(excerpt(header)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_form_and_none_means_json() {
        for (header, expected) in [
            (None, Some(ContentType::Json)),
            (Some(""), Some(ContentType::Json)),
            (Some("application/JSON; charset=utf-8"), Some(ContentType::Json)),
            (Some("application/cloudevents+json"), Some(ContentType::Json)),
            (Some("Avro/Binary"), Some(ContentType::Avro)),
            (Some(" application/avro ;v=1"), Some(ContentType::Avro)),
            (Some("application/vnd.apache.avro+binary"), Some(ContentType::Avro)),
            (Some("application/vnd.confluent.avro"), Some(ContentType::Avro)),
            (Some("+json"), None),
            (Some("application/xml"), None),
        ] {
            assert_eq!(ContentType::from_header(header.map(str::as_bytes)).ok(), expected, "{header:?}");
        }
    }
}
