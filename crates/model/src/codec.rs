//! What is produced, to bytes and back.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Assessment, ContentType, Decision, Incident, IncidentDecision, QuotaRejection, ResponseAction, Signal, Tenant,
    avro::{self, CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC, Schemas, Subject, WriterSchemas, bounded},
    decode::DecodeError,
    json::{Limits, ReadError},
};

/// A topic's value that is read and written whole.
pub trait Record: Serialize + DeserializeOwned {
    /// Which of the contract's schemas it has.
    const SUBJECT: Subject;
}

impl Record for Assessment {
    const SUBJECT: Subject = Subject::Assessment;
}

impl Record for ResponseAction {
    const SUBJECT: Subject = Subject::ResponseAction;
}

impl Record for Decision {
    const SUBJECT: Subject = Subject::Decision;
}

impl Record for Incident {
    const SUBJECT: Subject = Subject::Incident;
}

impl Record for IncidentDecision {
    const SUBJECT: Subject = Subject::IncidentDecision;
}

impl Record for QuotaRejection {
    const SUBJECT: Subject = Subject::QuotaRejection;
}

impl Record for Signal {
    const SUBJECT: Subject = Subject::Signal;
}

impl Record for Tenant {
    const SUBJECT: Subject = Subject::Tenant;
}

/// The ids that a schema registry has given to the contract's schemas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaIds([Option<u32>; Subject::ALL.len()]);

impl SchemaIds {
    /// The id of a subject's schema, if it is known.
    pub fn get(&self, subject: Subject) -> Option<u32> {
        self.0[subject as usize]
    }
}

impl FromIterator<(Subject, u32)> for SchemaIds {
    fn from_iter<I: IntoIterator<Item = (Subject, u32)>>(ids: I) -> Self {
        let mut all = Self::default();
        for (subject, id) in ids {
            all.0[subject as usize] = Some(id);
        }
        all
    }
}

/// The form in which values are produced.
///
/// ```
/// use cybervault_model::{Decision, DecisionVerdict, Encoding, TenantId, avro::NoRegistry, decode_value};
///
/// let decision = Decision {
///     action_id: "ra_1".to_owned(),
///     tenant_id: TenantId::new("acme")?,
///     verdict: DecisionVerdict::Approve,
///     decided_by: "jdoe".to_owned(),
///     comment: None,
/// };
/// let encoding = Encoding::AvroSingleObject;
/// let mut value = Vec::new();
/// encoding.encode(&decision, &mut value)?;
/// let content_type = encoding.content_type().as_str().as_bytes();
/// assert_eq!(decode_value::<Decision>(&value, Some(content_type), &NoRegistry)?, decision);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// Avro's single-object encoding: needs no registry.
    AvroSingleObject,
    /// Confluent's wire format, with the registry's ids.
    AvroConfluent(SchemaIds),
}

/// Why a value could not be written. It is never the value's fault alone, so this ends a worker.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// Not as JSON.
    #[error("can't write {subject} as JSON: {reason}")]
    Json {
        /// What kind of value.
        subject: &'static str,
        /// Why.
        reason: String,
    },
    /// Not as Avro: type and schema disagree, or a number is out of range.
    #[error("can't write {subject} as Avro: {reason}")]
    Avro {
        /// What kind of value.
        subject: &'static str,
        /// Why.
        reason: String,
    },
    /// The schema is not registered.
    #[error("no schema id for {0}: register schemas/{0}.avsc with the schema registry")]
    NotRegistered(&'static str),
}

impl Encoding {
    /// What the `content-type` header says.
    pub const fn content_type(&self) -> ContentType {
        match self {
            Self::Json => ContentType::Json,
            Self::AvroSingleObject | Self::AvroConfluent(_) => ContentType::Avro,
        }
    }

    /// Appends `value` to `out`.
    ///
    /// # Errors
    /// When it can't be written; `out` is then as it was.
    pub fn encode<T: Record>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let before = out.len();
        let done = self.append(value, out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }

    fn append<T: Record>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let subject = T::SUBJECT.name();
        match self {
            Self::Json => {
                let why = |error: sonic_rs::Error| EncodeError::Json { subject, reason: bounded(&error.to_string()) };
                return sonic_rs::to_writer(out, value).map_err(why);
            }
            Self::AvroSingleObject => {
                out.extend_from_slice(&SINGLE_OBJECT_MAGIC);
                out.extend_from_slice(&Schemas::get().current(T::SUBJECT).fingerprint);
            }
            Self::AvroConfluent(ids) => {
                let id = ids.get(T::SUBJECT).ok_or(EncodeError::NotRegistered(subject))?;
                out.push(CONFLUENT_MAGIC);
                out.extend_from_slice(&id.to_be_bytes());
            }
        }
        let current = Schemas::get().current(T::SUBJECT);
        apache_avro::writer::datum::write_avro_datum_ref(current.schema, current.names.get_names(), value, out)
            .map(|_| ())
            .map_err(|error| EncodeError::Avro { subject, reason: bounded(&error.to_string()) })
    }
}

/// Reads a whole value in whichever form `content_type` names.
///
/// # Errors
/// When `value` is no `T`, or larger than [`Limits::default`] allows.
pub fn decode_value<T: Record>(
    value: &[u8],
    content_type: Option<&[u8]>,
    schemas: &dyn WriterSchemas,
) -> Result<T, DecodeError> {
    let limit = Limits::default().max_bytes;
    if value.len() > limit {
        return Err(ReadError::TooLarge { bytes: value.len(), limit }.into());
    }
    match ContentType::from_header(content_type)? {
        ContentType::Avro => avro::read(value, schemas),
        ContentType::Json => {
            let text = std::str::from_utf8(value).map_err(|_| ReadError::InvalidUtf8)?;
            serde_json::from_str(text).map_err(|error| json_error(T::SUBJECT, &error))
        }
    }
}

fn json_error(subject: Subject, error: &serde_json::Error) -> DecodeError {
    let reason = bounded(&error.to_string());
    if error.is_data() {
        DecodeError::wrong_schema(subject.name(), format!("does not follow schemas/{}.avsc: {reason}", subject.name()))
    } else {
        ReadError::NotJson { reason, at: error.column() }.into()
    }
}
