//! The Avro forms of what travels.
//!
//! A record names the schema it was written with, in one of two ways: Confluent's wire format (`00`, then the schema
//! registry's id as 4 bytes, most significant first), or Avro's single-object encoding (`C3 01`, then the schema's
//! CRC-64-AVRO fingerprint, least significant byte first), which needs no registry but is limited to the schemas that this
//! build knows.
//!
//! Reading is done here rather than by a library: the bytes and, with a registry, the schema come from outside, so memory,
//! recursion and work must be bounded by their size; and an event's fields are borrowed.

pub(crate) mod long;
mod read;
mod schema;
mod shape;
mod writer_schema;

use std::sync::Arc;

use serde::Deserialize;

pub use self::{
    schema::{Schemas, Subject},
    writer_schema::{Lookup, NoRegistry, UnreadableSchema, WriterSchema, WriterSchemas},
};
use crate::decode::DecodeError;

pub(crate) const CONFLUENT_MAGIC: u8 = 0x00;
pub(crate) const SINGLE_OBJECT_MAGIC: [u8; 2] = [0xC3, 0x01];

/// Reads a framed value with the schema that it names.
pub(crate) fn read<'d, T: Deserialize<'d>>(value: &'d [u8], schemas: &dyn WriterSchemas) -> Result<T, DecodeError> {
    let (schema, body) = match *value {
        [CONFLUENT_MAGIC, a, b, c, d, ref body @ ..] => (by_id(u32::from_be_bytes([a, b, c, d]), schemas)?, body),
        [0xC3, 0x01, a, b, c, d, e, f, g, h, ref body @ ..] => (by_fingerprint([a, b, c, d, e, f, g, h])?, body),
        _ => {
            return Err(DecodeError::NotAvro {
                schema: "unknown".to_owned(),
                problem: "it begins neither as Confluent's wire format nor as a single object does".to_owned(),
            });
        }
    };
    schema.read(body).map_err(|error| DecodeError::NotAvro {
        schema: schema.name().to_owned(),
        problem: bounded(&error.to_string()),
    })
}

fn by_id(id: u32, schemas: &dyn WriterSchemas) -> Result<Arc<WriterSchema>, DecodeError> {
    let schema = || format!("id {id}");
    match schemas.by_id(id) {
        Lookup::Found(schema) => Ok(schema),
        Lookup::Unknown(reason) => Err(DecodeError::UnknownSchema { schema: schema(), reason }),
        Lookup::Unavailable(reason) => Err(DecodeError::RegistryUnavailable { schema: schema(), reason }),
    }
}

fn by_fingerprint(fingerprint: [u8; 8]) -> Result<Arc<WriterSchema>, DecodeError> {
    Schemas::get().by_fingerprint(fingerprint).cloned().ok_or_else(|| DecodeError::UnknownSchema {
        schema: format!("fingerprint {:016x}", u64::from_le_bytes(fingerprint)),
        reason: "it is none of this build's own".to_owned(),
    })
}

/// The beginning of a message that may quote an outsider.
pub(crate) fn bounded(message: &str) -> String {
    const LONGEST: usize = 300;
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}
