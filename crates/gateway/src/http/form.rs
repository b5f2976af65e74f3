//! JSON objects of a known form, read member by member, so that what is wrong is told in the terms of who sent it.

use std::borrow::Cow;

use cybervault_model::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{ApiError, Code};

/// How much of a name that nobody knows is told back.
const SHOWN: usize = 64;

/// The members of an object, none of them unknown or there twice.
pub(super) struct Form<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
    wrong: Code,
}

impl<'a> Form<'a> {
    /// Reads an object that may have the members `known`. What is no JSON is told as [`Code::InvalidJson`], what is otherwise
    /// wrong in it as `wrong`.
    pub(super) fn read(body: &'a [u8], known: &[&str], wrong: Code) -> Result<Self, ApiError> {
        let no_json = |error: serde_json::Error| {
            let message: String = error.to_string().chars().take(300).collect();
            ApiError::new(Code::InvalidJson, format!("the body is no JSON: {message}"))
        };
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        if first.is_some_and(|first| *first != b'{') {
            serde_json::from_slice::<IgnoredAny>(body).map_err(no_json)?;
            return Err(ApiError::new(wrong, format!("the body must be an object with {}", listed(known))));
        }
        let Members(members) = serde_json::from_slice(body).map_err(no_json)?;
        for (n, (name, _)) in members.iter().enumerate() {
            let shown: String = name.chars().take(SHOWN).collect();
            if !known.contains(&&**name) {
                return Err(ApiError::new(
                    wrong,
                    format!("there is no field `{shown}` here; there are {}", listed(known)),
                ));
            }
            if members[..n].iter().any(|(earlier, _)| earlier == name) {
                return Err(ApiError::new(wrong, format!("the field `{shown}` is there twice")));
            }
        }
        Ok(Self { members, wrong })
    }

    /// A member as it was written; `None`, too, where it is null.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.members.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// A member, if there is one, as `read` reads it; `expected` says in words what it has to be.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        let wrong = || ApiError::new(self.wrong, format!("`{name}` is {}; it must be {expected}", kind(value)));
        Ok(Some(read(value.get()).ok_or_else(wrong)?))
    }

    /// The same, but it has to be there.
    pub(super) fn required<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, ApiError> {
        let missing = || ApiError::new(self.wrong, format!("the field `{name}` is missing; it must be {expected}"));
        self.optional(name, expected, read)?.ok_or_else(missing)
    }

    /// A text, if there is one.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        self.optional(name, "a text", |value| serde_json::from_str(value).ok())
    }

    /// A time, if there is one.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.optional(name, "a time like 2026-01-31T12:00:00Z", |value| serde_json::from_str(value).ok())
    }
}

fn listed(known: &[&str]) -> String {
    known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What a value is, in JSON's own words.
fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text that does not fit",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number that does not fit",
    }
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_an_object_is_told_in_the_terms_of_json() {
        let says = |body: &str| {
            let read = Form::read(body.as_bytes(), &["kind", "size", "at"], Code::InvalidRequest).and_then(|form| {
                form.text("kind")?;
                form.time("at")?;
                form.required("size", "a whole number", |value| value.parse::<u32>().ok())
            });
            read.map_err(|error| format!("{} {}", error.code.as_str(), error.message))
        };
        assert_eq!(says(r#" {"size": 3, "kind": null, "at": "2026-01-01T00:00:00Z"}"#), Ok(3));
        for (body, expected) in [
            ("", "invalid_json the body is no JSON"),
            ("{\"size\":", "invalid_json the body is no JSON"),
            ("{\"size\":1} x", "invalid_json the body is no JSON"),
            ("[1,", "invalid_json the body is no JSON"),
            ("[3]", "invalid_request the body must be an object with `kind`, `size`, `at`"),
            ("null", "invalid_request the body must be an object"),
            ("{}", "invalid_request the field `size` is missing"),
            (r#"{"size":1,"size":2}"#, "invalid_request the field `size` is there twice"),
            (r#"{"size":1,"colour":2}"#, "invalid_request there is no field `colour` here"),
            (r#"{"size":-1}"#, "invalid_request `size` is a number that does not fit; it must be a whole number"),
            (r#"{"size":[1]}"#, "invalid_request `size` is a list; it must be a whole number"),
            (r#"{"size":1,"kind":{}}"#, "invalid_request `kind` is an object; it must be a text"),
            (r#"{"size":1,"at":"soon"}"#, "invalid_request `at` is a text that does not fit; it must be a time"),
        ] {
            let told = says(body).expect_err(body);
            assert!(told.starts_with(expected), "{body}: {told}");
        }
    }
}
