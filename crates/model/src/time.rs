//! Time as it comes in with a record.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since the Unix epoch, the unit of Kafka's record timestamps. Written as RFC 3339 in UTC, and as
/// the bare number in binary forms.
///
/// Always within the years 0 to 9999, which RFC 3339 can say: a time from outside that lies beyond is taken as the nearer
/// end, so whatever a sender claims can be written, and what was written can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0000-01-01T00:00:00.000Z.
    pub const MIN: Self = Self(-62_167_219_200_000);
    /// 9999-12-30T22:00:00.000Z: the last that has a date in every time zone.
    pub const MAX: Self = Self(253_402_207_200_000);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time moved by `millis`, stopping at the ends of the range.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Reads RFC 3339 (`2026-01-31T12:00:00.5Z`), or the same without an offset and with a space, as Windows' own logs
    /// write it (`2026-01-31 12:00:00.500`), which is then taken as UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // Both parsers accept far longer texts than a time needs; an outsider chooses this one.
        if text.len() > 40 {
            return None;
        }
        text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).ok().map(Self::from_millis).or_else(|| {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(Self::from_millis(zoned.timestamp().as_millisecond()))
        })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // Not within `MIN` and `MAX`.
            Err(_) => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(TimestampVisitor)
        } else {
            deserializer.deserialize_i64(TimestampVisitor)
        }
    }
}

struct TimestampVisitor;

impl de::Visitor<'_> for TimestampVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }

    fn visit_i64<E: de::Error>(self, millis: i64) -> Result<Timestamp, E> {
        Ok(Timestamp::from_millis(millis))
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_logs_write_and_prints_rfc_3339_that_it_reads_again() {
        for (text, printed) in [
            ("2020-06-10T02:50:56.537Z", "2020-06-10T02:50:56.537Z"),
            ("2020-06-10T02:50:56+02:00", "2020-06-10T00:50:56.000Z"),
            ("2020-06-09 22:50:54", "2020-06-09T22:50:54.000Z"),
            ("2020-06-10 02:50:54.631", "2020-06-10T02:50:54.631Z"),
        ] {
            assert_eq!(Timestamp::parse(text).map(|t| t.to_string()).as_deref(), Some(printed), "{text}");
        }
        for millis in [i64::MIN, Timestamp::MIN.0, -1, 0, Timestamp::MAX.0, i64::MAX] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::parse(&time.to_string()), Some(time), "{time}");
        }
        for text in ["", "yesterday", "2020-13-01T00:00:00Z", &"9".repeat(1000)] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
