//! Why a record could not be decoded.

use crate::json::ReadError;

/// Why a record's bytes are no event, or no value of the expected kind.
///
/// Everything but [`DecodeError::RegistryUnavailable`] is final: the same bytes fail again, so they are dead-lettered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes, or the JSON payload inside an Avro record, are no JSON object within the limits.
    #[error(transparent)]
    Json(#[from] ReadError),
    /// The body can't be read with the schema that it names.
    #[error("not Avro of schema {schema}: {problem}")]
    NotAvro {
        /// The schema that the record names.
        schema: String,
        /// What the reader says.
        problem: String,
    },
    /// A field has the wrong type, or is too long.
    #[error("field `{field}` {problem}")]
    WrongSchema {
        /// Which, dotted from the top.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Neither header nor envelope nor key name a tenant, or the first of them that does names an impossible one.
    #[error("no tenant: {0}; name it in the header `tenant_id`, in the envelope or in the record's key")]
    NoTenant(String),
    /// Header and envelope name different tenants.
    #[error("header says tenant `{header}`, envelope says `{envelope}`")]
    TenantMismatch {
        /// The header's.
        header: String,
        /// The envelope's.
        envelope: String,
    },
    /// Nobody knows the schema that the record names.
    #[error("unknown schema {schema}: {reason}")]
    UnknownSchema {
        /// Which schema.
        schema: String,
        /// Why it is not known.
        reason: String,
    },
    /// The schema registry can't be asked at the moment: try again.
    #[error("can't ask for schema {schema}: {reason}")]
    RegistryUnavailable {
        /// Which schema.
        schema: String,
        /// What went wrong.
        reason: String,
    },
    /// More events in one record than are taken.
    #[error(
        "more than {limit} events in one record; send fewer in each, or raise `limits.max_container_events` and replay it"
    )]
    TooManyEvents {
        /// What is taken.
        limit: usize,
    },
    /// Containers inside each other, deeper than they are opened.
    #[error("containers inside each other deeper than {limit} levels (`limits.max_container_depth`)")]
    NestedContainers {
        /// What is opened.
        limit: usize,
    },
    /// The header names a form that is not read here.
    #[error("content type `{0}` is neither JSON nor Avro")]
    UnsupportedContentType(String),
}

impl DecodeError {
    /// The code that stands in the dead letter's `error.reason` header and in metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Json(ReadError::NotJson { .. }) => "not_json",
            Self::Json(ReadError::InvalidUtf8) => "invalid_utf8",
            Self::Json(ReadError::TooLarge { .. }) => "too_large",
            Self::Json(ReadError::TooDeep { .. }) => "too_deep",
            Self::Json(ReadError::NotObject(_)) | Self::WrongSchema { .. } => "wrong_schema",
            Self::NotAvro { .. } => "not_avro",
            Self::NoTenant(_) => "no_tenant",
            Self::TenantMismatch { .. } => "tenant_mismatch",
            Self::UnknownSchema { .. } => "unknown_schema_id",
            Self::RegistryUnavailable { .. } => "registry_unavailable",
            Self::TooManyEvents { .. } => "too_many_events",
            Self::NestedContainers { .. } => "too_deep",
            Self::UnsupportedContentType(_) => "unsupported_content_type",
            Self::Json(ReadError::Panicked) => "panic",
        }
    }

    /// Whether the same bytes may well be decoded later, so that the record must wait rather than be dead-lettered.
    pub const fn is_retriable(&self) -> bool {
        matches!(self, Self::RegistryUnavailable { .. })
    }

    pub(crate) fn wrong_schema(field: &str, problem: impl Into<String>) -> Self {
        Self::WrongSchema { field: field.to_owned(), problem: problem.into() }
    }
}

/// What an outsider wrote, fit for a message: its beginning, escaped.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    const LONGEST: usize = 80;
    let mut text = bytes[..bytes.len().min(LONGEST)].escape_ascii().to_string();
    if bytes.len() > LONGEST {
        text.push('…');
    }
    text
}
