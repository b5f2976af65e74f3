//! The questions that rules ask: one test of one field's value each.

use std::{
    cmp::Ordering,
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use cybervault_model::Timestamp;
use jiff::{civil::Date, tz::TimeZone};
use regex::{Regex, RegexBuilder};

use crate::{cidr::Network, fold::fold_into, glob::Glob, scalar::Scalar};

/// A test of a field, or of every text anywhere in the event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Predicate {
    pub(crate) scope: Scope,
    pub(crate) test: Test,
}

/// Where a predicate looks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// At the values of a field, by its Sigma name.
    Field(Box<str>),
    /// At every text in the event: a keyword.
    Anywhere,
}

/// How two texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TextOp {
    Exact,
    Contains,
    Prefix,
    Suffix,
}

impl TextOp {
    pub(crate) fn holds(self, text: &str, pattern: &str) -> bool {
        match self {
            Self::Exact => text == pattern,
            Self::Contains => memchr::memmem::find(text.as_bytes(), pattern.as_bytes()).is_some(),
            Self::Prefix => text.starts_with(pattern),
            Self::Suffix => text.ends_with(pattern),
        }
    }
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NumberOp {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A number. Whole ones are compared exactly, whatever their size; 1 and 1.0 are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Number {
    Whole(i128),
    /// The bits of a number with a fraction, or of one too large to be written whole.
    Other(u64),
}

/// From here on numbers are too large to be told whole; a power of two below the largest `i128`.
const NOT_WHOLE: f64 = 8.507_059_173_023_462e37;

impl Number {
    pub(crate) fn new(value: f64) -> Self {
        if value.fract() == 0.0 && value.abs() < NOT_WHOLE {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            return Self::Whole(value as i128);
        }
        Self::Other(value.to_bits())
    }

    /// Which of two is larger; `None` where one is no number.
    fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            (Self::Other(one), Self::Other(other)) => f64::from_bits(one).partial_cmp(&f64::from_bits(other)),
            (Self::Whole(one), Self::Other(other)) => {
                let other = f64::from_bits(other);
                if other.is_nan() {
                    return None;
                }
                if other.abs() >= NOT_WHOLE {
                    return 0.0.partial_cmp(&other);
                }
                #[expect(clippy::cast_possible_truncation, reason = "it is small enough")]
                let below = other.floor() as i128;
                Some(if one <= below { Ordering::Less } else { Ordering::Greater })
            }
            (Self::Other(_), Self::Whole(_)) => other.compare(self).map(Ordering::reverse),
        }
    }
}

/// A part of a point in time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TimePart {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// A piece of an `expand` template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TemplatePiece {
    Text(Box<str>),
    /// `%name%`: the event's own field of that name.
    Field(Box<str>),
}

/// The memory that one regular expression may take compiled.
const REGEX_BYTES: usize = 10 << 20;

/// The memory that one regular expression may take for its cache while it runs; what does not fit is worked out again.
const REGEX_CACHE_BYTES: usize = 1 << 20;

/// A regular expression that runs in linear time and bounded memory; equal to another of the same pattern and flags.
///
/// It is compiled when a rule first asks: a hundred kilobytes each are much for what most events never come to.
#[derive(Clone)]
pub(crate) struct Pattern {
    text: Box<str>,
    compiled: Arc<OnceLock<Option<Regex>>>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, regex::Error> {
        // Said now what is wrong with it, so that nothing can be wrong later.
        Self::compile(text)?;
        Ok(Self { text: text.into(), compiled: Arc::default() })
    }

    fn compile(text: &str) -> Result<Regex, regex::Error> {
        RegexBuilder::new(text).size_limit(REGEX_BYTES).dfa_size_limit(REGEX_CACHE_BYTES).nest_limit(100).build()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Self::compile(&self.text).ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// A test. Of a list in the event any element that passes is enough.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    /// `text` is folded unless `cased`.
    Text {
        op: TextOp,
        text: Box<str>,
        cased: bool,
    },
    Glob(Glob),
    Regex(Pattern),
    Cidr(Network),
    Number {
        op: NumberOp,
        than: Number,
    },
    Bool(bool),
    /// The field is there, be it null: `exists`.
    Present,
    /// The field is there with a value.
    NotNull,
    /// The field is not there, or is null.
    Null,
    /// As another field's value.
    FieldRef {
        field: Box<str>,
        op: TextOp,
        cased: bool,
    },
    /// As a text with other fields' values in it.
    Template {
        pieces: Box<[TemplatePiece]>,
        op: TextOp,
        cased: bool,
    },
    Time {
        part: TimePart,
        equals: i64,
    },
}

impl Test {
    /// The fields whose values the value is compared with.
    pub(crate) fn other_fields(&self) -> impl Iterator<Item = &str> {
        let (field, pieces): (Option<&str>, &[TemplatePiece]) = match self {
            Self::FieldRef { field, .. } => (Some(field), &[]),
            Self::Template { pieces, .. } => (None, pieces),
            _ => (None, &[]),
        };
        let of_pieces = pieces.iter().filter_map(|piece| match piece {
            TemplatePiece::Field(name) => Some(&**name),
            TemplatePiece::Text(_) => None,
        });
        field.into_iter().chain(of_pieces)
    }

    /// Whether a value passes. `before` stands in front of the value as if it were part of it; `buffer` is overwritten.
    ///
    /// What needs more than the value (`Null`, `FieldRef`, `Template`) never passes here.
    pub(crate) fn passes(&self, value: Scalar<'_>, before: &str, buffer: &mut String) -> bool {
        match self {
            Self::Text { op, text, cased } => write_text(value, before, *cased, buffer) && op.holds(buffer, text),
            Self::Glob(glob) => write_text(value, before, glob.is_cased(), buffer) && glob.matches(buffer),
            Self::Regex(pattern)
                if let Scalar::Text(text) = value
                    && before.is_empty() =>
            {
                pattern.is_match(text)
            }
            Self::Regex(pattern) => write_text(value, before, true, buffer) && pattern.is_match(buffer),
            Self::Cidr(network) => match value {
                Scalar::Text(text) => network.contains_text(text),
                _ => false,
            },
            Self::Number { op, than } => {
                value.as_number().and_then(|number| number.compare(*than)).is_some_and(|order| match op {
                    NumberOp::Equal => order.is_eq(),
                    NumberOp::Less => order.is_lt(),
                    NumberOp::LessOrEqual => order.is_le(),
                    NumberOp::Greater => order.is_gt(),
                    NumberOp::GreaterOrEqual => order.is_ge(),
                })
            }
            Self::Bool(expected) => value.as_bool() == Some(*expected),
            Self::Present => true,
            Self::NotNull => !matches!(value, Scalar::Null),
            Self::Time { part, equals } => part.of(value) == Some(*equals),
            Self::Null | Self::FieldRef { .. } | Self::Template { .. } => false,
        }
    }
}

/// Writes `before` and the value's text form into `buffer`, folded unless `cased`; false for values without one.
pub(crate) fn write_text(value: Scalar<'_>, before: &str, cased: bool, buffer: &mut String) -> bool {
    buffer.clear();
    append_text(Scalar::Text(before), cased, buffer) && append_text(value, cased, buffer)
}

/// Appends the value's text form, folded unless `cased`; false for values without one.
pub(crate) fn append_text(value: Scalar<'_>, cased: bool, buffer: &mut String) -> bool {
    match value {
        Scalar::Text(text) if cased => buffer.push_str(text),
        Scalar::Text(text) => fold_into(text, buffer),
        Scalar::Bool(truth) => buffer.push_str(if truth { "true" } else { "false" }),
        // Writing to a string can't fail, and the numbers of JSON have no letters.
        Scalar::Int(number) => drop(write!(buffer, "{number}")),
        Scalar::Uint(number) => drop(write!(buffer, "{number}")),
        Scalar::Float(number) => drop(write!(buffer, "{number}")),
        Scalar::Null | Scalar::Other => return false,
    }
    true
}

impl TimePart {
    /// This part of a time, in UTC: RFC 3339 or Windows' form as text, seconds or milliseconds since 1970 as a number.
    pub(crate) fn of(self, value: Scalar<'_>) -> Option<i64> {
        // Seconds beyond this would be past the year 33658; milliseconds of that size are in 2001.
        const LARGEST_SECONDS: i64 = 1_000_000_000_000;
        let millis = match value {
            Scalar::Text(text) => Timestamp::parse(text)?.as_millis(),
            Scalar::Int(number) if number > LARGEST_SECONDS => number,
            Scalar::Int(number) => number.checked_mul(1000)?,
            _ => return None,
        };
        let time = jiff::Timestamp::from_millisecond(millis).ok()?.to_zoned(TimeZone::UTC).datetime();
        Some(match self {
            Self::Minute => time.minute().into(),
            Self::Hour => time.hour().into(),
            Self::Day => time.day().into(),
            Self::Week => Date::from(time).iso_week_date().week().into(),
            Self::Month => time.month().into(),
            Self::Year => time.year().into(),
        })
    }
}
