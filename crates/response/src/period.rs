//! Lengths of time as people write them.

use std::{fmt, str::FromStr};

use cybervault_model::Timestamp;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length of time, 0 to 366 days in milliseconds. Written `30s`, `15m`, `24h`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(i64);

const MILLIS_PER_HOUR: i64 = 60 * 60 * 1000;
const MAX: i64 = 366 * 24 * MILLIS_PER_HOUR;

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// So many hours, as far as the range goes.
    pub const fn hours(hours: u16) -> Self {
        let millis = hours as i64 * MILLIS_PER_HOUR;
        Self(if millis > MAX { MAX } else { millis })
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time this long after `start`.
    pub const fn after(self, start: Timestamp) -> Timestamp {
        start.plus_millis(self.0)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let duration: Option<SignedDuration> = text.parse().ok();
        duration
            .and_then(|duration| i64::try_from(duration.as_millis()).ok())
            .filter(|millis| (0..=MAX).contains(millis))
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is not a length of time: write it like `30s`, `15m` or `24h`, at most 8784h")
            })
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", SignedDuration::from_millis(self.0))
    }
}

impl JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A length of time, at most 8784h.",
            "examples": ["30s", "15m", "24h", "1h 30m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_read_as_people_write_it_and_written_so() {
        for (text, millis, written) in
            [("15m", 900_000, "15m"), ("24h", 86_400_000, "24h"), ("1h 30m", 5_400_000, "1h 30m"), ("0s", 0, "0s")]
        {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.as_millis(), period.to_string().as_str()), (millis, written));
        }
        for text in ["", "15", "-1h", "9000h", "soon"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
