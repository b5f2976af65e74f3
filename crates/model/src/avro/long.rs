//! Unsigned numbers as Avro's `long`, which is signed. In JSON they stay what they are.

use serde::{Serialize, Serializer, ser::Error};

#[expect(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn unsigned<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.serialize_u64(*number);
    }
    let long = i64::try_from(*number).map_err(|_| S::Error::custom(format!("{number} is more than a long holds")))?;
    serializer.serialize_i64(long)
}

pub(crate) fn optional<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    struct Unsigned(u64);

    impl Serialize for Unsigned {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            unsigned(&self.0, serializer)
        }
    }

    match number {
        Some(number) => serializer.serialize_some(&Unsigned(*number)),
        None => serializer.serialize_none(),
    }
}
