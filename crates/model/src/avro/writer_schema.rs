//! Schemas that records were written with.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use apache_avro::Schema;
use serde::Deserialize;

use super::{
    bounded,
    read::{Body, Datum, ReadDatumError},
    shape::{Builder, Shape},
};

/// Where the schema registry's ids are looked up.
pub trait WriterSchemas: fmt::Debug + Send + Sync {
    /// What the registry has under `id`. Called for every record: an implementation remembers what it has found.
    fn by_id(&self, id: u32) -> Lookup;
}

/// What became of a lookup.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Here it is.
    Found(Arc<WriterSchema>),
    /// There is none, or none that can be read with: the record is dead-lettered with this reason.
    Unknown(String),
    /// The registry can't be asked right now: the record waits.
    Unavailable(String),
}

/// No schema registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRegistry;

impl WriterSchemas for NoRegistry {
    fn by_id(&self, _: u32) -> Lookup {
        Lookup::Unknown("no schema registry is configured".to_owned())
    }
}

/// Why records are not read with a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableSchema {
    /// It is no Avro schema.
    #[error("not an Avro schema: {0}")]
    Invalid(String),
    /// A type contains itself, so a small record could nest without end.
    #[error("type `{0}` contains itself")]
    Recursive(String),
    /// An array's items take no bytes, so a small record could claim any number of them.
    #[error("an array's items take no bytes")]
    EmptyItems,
    /// More types inside each other, or in all, than any event needs.
    #[error("it is larger than {limit} types, or nested deeper than {depth}", limit = Builder::MAX_TYPES, depth = Builder::MAX_DEPTH)]
    TooLarge,
}

/// A schema that records can safely be read with.
#[derive(Debug)]
pub struct WriterSchema {
    name: String,
    shape: Shape,
}

impl WriterSchema {
    /// Takes a schema, as JSON, that somebody else wrote.
    ///
    /// # Errors
    /// When it is no schema, or one that would let a small record cost much.
    pub fn parse(json: &str) -> Result<Self, UnreadableSchema> {
        let invalid = |reason: &str| UnreadableSchema::Invalid(bounded(reason));
        // The text comes from outside, and the parser is not ours.
        let parsed = catch_unwind(AssertUnwindSafe(|| Schema::parse_str(json)));
        let schema =
            parsed.map_err(|_| invalid("the parser panicked"))?.map_err(|error| invalid(&error.to_string()))?;
        let name = schema.name().map_or_else(|| "without a name".to_owned(), ToString::to_string);
        Ok(Self { name, shape: Builder::new(&schema)?.shape(&schema)? })
    }

    /// The schema's full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one value that is all of `body`.
    pub(crate) fn read<'d, T: Deserialize<'d>>(&self, body: &'d [u8]) -> Result<T, ReadDatumError> {
        let mut body = Body::new(body);
        let value = T::deserialize(Datum::new(&self.shape, &mut body))?;
        body.end()?;
        Ok(value)
    }
}
