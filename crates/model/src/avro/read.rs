//! Reads one Avro value into whatever can be deserialized, borrowing its texts.
//!
//! Format: Avro 1.12 specification, "Binary encoding". Fields are matched by name, unknown ones passed over.

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{Error as ValueError, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::shape::Shape;

/// Why bytes are no value of a schema.
pub(crate) type ReadDatumError = ValueError;

fn failed(reason: impl std::fmt::Display) -> ReadDatumError {
    de::Error::custom(reason)
}

/// The bytes of a value that are still to be read.
#[derive(Debug)]
pub(super) struct Body<'d> {
    rest: &'d [u8],
}

impl<'d> Body<'d> {
    pub(super) fn new(bytes: &'d [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Checks that nothing is left over.
    pub(super) fn end(&self) -> Result<(), ReadDatumError> {
        if self.rest.is_empty() { Ok(()) } else { Err(failed(format!("{} bytes are left over", self.rest.len()))) }
    }

    fn take(&mut self, bytes: usize) -> Result<&'d [u8], ReadDatumError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| failed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadDatumError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| failed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A zigzag varint.
    fn long(&mut self) -> Result<i64, ReadDatumError> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            bits |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(failed("a number has more than 10 bytes"))
    }

    /// Bytes after their length.
    fn bytes(&mut self) -> Result<&'d [u8], ReadDatumError> {
        let length = usize::try_from(self.long()?).map_err(|_| failed("a length is negative"))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'d str, ReadDatumError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| failed("a string is not UTF-8"))
    }

    fn boolean(&mut self) -> Result<bool, ReadDatumError> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(failed(format!("{byte} is no boolean"))),
        }
    }

    fn choice<'s, T>(&mut self, of: &'s [T]) -> Result<&'s T, ReadDatumError> {
        let at = self.long()?;
        let chosen = usize::try_from(at).ok().and_then(|at| of.get(at));
        chosen.ok_or_else(|| failed(format!("branch or symbol {at} of {}", of.len())))
    }

    /// How many items the next block has; 0 ends the array or map. Every item takes a byte at least, which the schema's
    /// check has made sure of, so a block that claims too many fails where the bytes end.
    fn block(&mut self) -> Result<u64, ReadDatumError> {
        let count = self.long()?;
        if count < 0 {
            // The block's size in bytes, for readers that want to skip it at once.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    fn skip(&mut self, shape: &Shape) -> Result<(), ReadDatumError> {
        match shape {
            Shape::Null => {}
            Shape::Boolean => drop(self.boolean()?),
            Shape::Long | Shape::Timestamp(_) | Shape::Enum(_) => drop(self.long()?),
            Shape::Float => drop(self.take(4)?),
            Shape::Double => drop(self.take(8)?),
            Shape::Bytes | Shape::String => drop(self.bytes()?),
            Shape::Fixed(size) => drop(self.take(*size)?),
            Shape::Union(branches) => {
                let branch = self.choice(branches)?;
                self.skip(branch)?;
            }
            Shape::Record(fields) => fields.iter().try_for_each(|(_, field)| self.skip(field))?,
            Shape::Array(items) => self.skip_blocks(|body| body.skip(items))?,
            Shape::Map(values) => self.skip_blocks(|body| {
                body.bytes()?;
                body.skip(values)
            })?,
        }
        Ok(())
    }

    fn skip_blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), ReadDatumError>,
    ) -> Result<(), ReadDatumError> {
        loop {
            match self.block()? {
                0 => return Ok(()),
                count => (0..count).try_for_each(|_| item(self))?,
            }
        }
    }
}

/// A value at the beginning of a body. It nests as deep as its schema does, which is bounded.
pub(super) struct Datum<'a, 'd> {
    shape: &'a Shape,
    body: &'a mut Body<'d>,
}

impl<'a, 'd> Datum<'a, 'd> {
    pub(super) fn new(shape: &'a Shape, body: &'a mut Body<'d>) -> Self {
        Self { shape, body }
    }

    /// The same with a union's branch chosen.
    fn chosen(self) -> Result<Self, ReadDatumError> {
        match self.shape {
            // A union directly in a union is not allowed, so one step is enough.
            Shape::Union(branches) => Ok(Self { shape: self.body.choice(branches)?, body: self.body }),
            _ => Ok(self),
        }
    }
}

impl<'de> Deserializer<'de> for Datum<'_, 'de> {
    type Error = ReadDatumError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let Self { shape, body } = self.chosen()?;
        match shape {
            Shape::Null => visitor.visit_unit(),
            Shape::Boolean => visitor.visit_bool(body.boolean()?),
            Shape::Long => visitor.visit_i64(body.long()?),
            Shape::Timestamp(per_milli) => visitor.visit_i64(body.long()?.div_euclid(*per_milli)),
            Shape::Float => visitor.visit_f32(f32::from_le_bytes(body.array()?)),
            Shape::Double => visitor.visit_f64(f64::from_le_bytes(body.array()?)),
            Shape::Bytes => visitor.visit_borrowed_bytes(body.bytes()?),
            Shape::String => visitor.visit_borrowed_str(body.text()?),
            Shape::Fixed(size) => visitor.visit_borrowed_bytes(body.take(*size)?),
            Shape::Enum(symbols) => visitor.visit_str(body.choice(symbols)?),
            Shape::Array(items) => visitor.visit_seq(Blocks { of: items, body, left: 0, ended: false }),
            Shape::Map(values) => visitor.visit_map(Blocks { of: values, body, left: 0, ended: false }),
            Shape::Record(fields) => visitor.visit_map(Fields { left: fields, body }),
            Shape::Union(_) => Err(failed("a union lies directly in a union")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let chosen = self.chosen()?;
        match chosen.shape {
            Shape::Null => visitor.visit_none(),
            _ => visitor.visit_some(chosen),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Self { shape, body } = self.chosen()?;
        let symbol: &str = match shape {
            Shape::Enum(symbols) => body.choice(symbols)?,
            Shape::String => body.text()?,
            _ => return Err(failed("neither an enum nor a string, where a symbol is expected")),
        };
        visitor.visit_enum(IntoDeserializer::<Self::Error>::into_deserializer(symbol))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.body.skip(self.shape)?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

/// A record's fields that are still to be read.
struct Fields<'a, 'd> {
    left: &'a [(String, Shape)],
    body: &'a mut Body<'d>,
}

impl<'d> MapAccess<'d> for Fields<'_, 'd> {
    type Error = ReadDatumError;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let Some((name, _)) = self.left.first() else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        let Some(((_, shape), left)) = self.left.split_first() else { return Err(failed("no field is left")) };
        self.left = left;
        seed.deserialize(Datum::new(shape, self.body))
    }
}

/// An array's or map's items that are still to be read.
struct Blocks<'a, 'd> {
    of: &'a Shape,
    body: &'a mut Body<'d>,
    left: u64,
    ended: bool,
}

impl Blocks<'_, '_> {
    /// Whether there is one more.
    fn next(&mut self) -> Result<bool, ReadDatumError> {
        if self.left == 0 && !self.ended {
            self.left = self.body.block()?;
            self.ended = self.left == 0;
        }
        self.left = self.left.saturating_sub(1);
        Ok(!self.ended)
    }
}

impl<'d> SeqAccess<'d> for Blocks<'_, 'd> {
    type Error = ReadDatumError;

    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Self::Error> {
        if self.next()? { seed.deserialize(Datum::new(self.of, self.body)).map(Some) } else { Ok(None) }
    }
}

impl<'d> MapAccess<'d> for Blocks<'_, 'd> {
    type Error = ReadDatumError;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        if self.next()? { seed.deserialize(Datum::new(&Shape::String, self.body)).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        seed.deserialize(Datum::new(self.of, self.body))
    }
}
