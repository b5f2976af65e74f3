//! A writer's schema as far as reading needs it: names resolved, logical types reduced to how they lie in the bytes.

use apache_avro::{
    Schema,
    schema::{InnerDecimalSchema, Name, NamespaceRef, RecordSchema, ResolvedSchema, UuidSchema},
};

use super::{UnreadableSchema, bounded};

/// How one value lies in the bytes.
#[derive(Debug)]
pub(super) enum Shape {
    Null,
    Boolean,
    /// `int` and `long`, which lie alike.
    Long,
    /// A `long` of this many units a millisecond.
    Timestamp(i64),
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<(String, Shape)>),
}

impl Shape {
    /// The fewest bytes that a value takes.
    fn min_width(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Float => 4,
            Self::Double => 8,
            Self::Fixed(size) => *size,
            Self::Record(fields) => fields.iter().fold(0, |sum, (_, shape)| shape.min_width().saturating_add(sum)),
            _ => 1,
        }
    }
}

/// Builds the shape of one schema, within bounds.
pub(super) struct Builder<'s> {
    names: ResolvedSchema<'s>,
    /// The named types that the one at hand lies in.
    open: Vec<Name>,
    types: usize,
    depth: usize,
}

impl<'s> Builder<'s> {
    /// How many types a schema may have once its references are written out.
    pub(super) const MAX_TYPES: usize = 2000;
    /// How many types may lie in each other.
    pub(super) const MAX_DEPTH: usize = 64;

    pub(super) fn new(schema: &'s Schema) -> Result<Self, UnreadableSchema> {
        let names = ResolvedSchema::new(schema).map_err(|error| invalid(&error))?;
        Ok(Self { names, open: Vec::new(), types: 0, depth: 0 })
    }

    pub(super) fn shape(&mut self, schema: &Schema) -> Result<Shape, UnreadableSchema> {
        self.within(schema, None)
    }

    fn within(&mut self, schema: &Schema, namespace: NamespaceRef<'_>) -> Result<Shape, UnreadableSchema> {
        self.types += 1;
        self.depth += 1;
        if self.types > Self::MAX_TYPES || self.depth > Self::MAX_DEPTH {
            return Err(UnreadableSchema::TooLarge);
        }
        let shape = self.composite(schema, namespace)?;
        self.depth -= 1;
        Ok(shape)
    }

    fn composite(&mut self, schema: &Schema, namespace: NamespaceRef<'_>) -> Result<Shape, UnreadableSchema> {
        Ok(match schema {
            Schema::Array(array) => {
                let items = self.within(&array.items, namespace)?;
                if items.min_width() == 0 {
                    return Err(UnreadableSchema::EmptyItems);
                }
                Shape::Array(Box::new(items))
            }
            Schema::Map(map) => Shape::Map(Box::new(self.within(&map.types, namespace)?)),
            Schema::Union(union) => Shape::Union(
                union.variants().iter().map(|variant| self.within(variant, namespace)).collect::<Result<_, _>>()?,
            ),
            Schema::Record(record) => self.record(record, namespace)?,
            Schema::Ref { name } => {
                let name = name.fully_qualified_name(namespace);
                let names = self.names.get_names();
                let named = *names.get(&*name).ok_or_else(|| invalid(&format!("`{name}` is not defined in it")))?;
                self.within(named, name.namespace())?
            }
            plain => Self::plain(plain),
        })
    }

    fn record(&mut self, record: &RecordSchema, namespace: NamespaceRef<'_>) -> Result<Shape, UnreadableSchema> {
        let name = record.name.fully_qualified_name(namespace).into_owned();
        if self.open.contains(&name) {
            return Err(UnreadableSchema::Recursive(bounded(name.as_ref())));
        }
        self.open.push(name.clone());
        let fields = record.fields.iter().map(|field| {
            let shape = self.within(&field.schema, name.namespace())?;
            Ok((field.name.clone(), shape))
        });
        let shape = Shape::Record(fields.collect::<Result<_, _>>()?);
        self.open.pop();
        Ok(shape)
    }

    fn plain(schema: &Schema) -> Shape {
        match schema {
            Schema::Boolean => Shape::Boolean,
            Schema::Int | Schema::Long | Schema::Date | Schema::TimeMillis | Schema::TimeMicros => Shape::Long,
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Shape::Timestamp(1),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Shape::Timestamp(1_000),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Shape::Timestamp(1_000_000),
            Schema::Float => Shape::Float,
            Schema::Double => Shape::Double,
            Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes) => Shape::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Shape::String,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => {
                Shape::Fixed(fixed.size)
            }
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Bytes => Shape::Bytes,
                InnerDecimalSchema::Fixed(fixed) => Shape::Fixed(fixed.size),
            },
            Schema::Enum(of) => Shape::Enum(of.symbols.clone()),
            // The others are composites, handled before.
            _ => Shape::Null,
        }
    }
}

fn invalid(reason: &impl ToString) -> UnreadableSchema {
    UnreadableSchema::Invalid(bounded(&reason.to_string()))
}
