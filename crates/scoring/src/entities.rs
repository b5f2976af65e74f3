//! Who and what took part in an event.

use std::{borrow::Cow, net::IpAddr};

use cybervault_model::{Entity, EntityKind};

/// How many entities of one kind are kept.
const MAX_OF_A_KIND: usize = 4;
/// The longest name, in bytes. A longer one is left out: cut, it would name something else.
pub(crate) const MAX_NAME: usize = 512;

/// Where connections went to.
const DESTINATION: &str = "DestinationIp";

/// Where each kind of entity stands, in the order of preference: the first found is the one that the record's key names.
/// Field names are Sigma's, then those of logs that no mapping knows.
const FIELDS: [(EntityKind, &[&str]); 7] = [
    (EntityKind::Host, &["Computer", "Hostname", "ComputerName", "hostname", "host.name"]),
    (EntityKind::User, &["User", "TargetUserName", "SubjectUserName", "user", "user.name"]),
    (EntityKind::Process, &["Image", "process.executable"]),
    // The source first: of a flow, it is the one that did something.
    (EntityKind::Ip, &["SourceIp", DESTINATION, "src_ip", "dst_ip", "IpAddress", "source.ip", "destination.ip"]),
    (EntityKind::Domain, &["QueryName", "DestinationHostname", "query"]),
    (EntityKind::File, &["TargetFilename", "file_path", "file.path"]),
    (EntityKind::Hash, &["Hashes", "sha256", "hash_sha256", "file.hash.sha256"]),
];

/// The values of a field of an event, by the field's place among [`fields`].
pub type FieldValues<'f> = dyn Fn(usize) -> Vec<Cow<'f, str>> + 'f;

/// The Sigma names of the fields that a scorer asks for.
pub fn fields() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().flat_map(|(_, names)| *names).copied()
}

/// The place of the field that says where connections went to.
pub(crate) fn destination() -> usize {
    fields().position(|name| name == DESTINATION).unwrap_or_default()
}

/// What `fields` say took part.
pub(crate) fn entities(fields: &FieldValues<'_>) -> Vec<Entity> {
    let mut entities: Vec<Entity> = Vec::new();
    let mut places = 0..;
    for (kind, names) in FIELDS {
        let first = entities.len();
        for value in places.by_ref().take(names.len()).flat_map(fields) {
            let Some(value) = name_of(kind, &value) else { continue };
            let found = Entity { kind, value };
            match entities[first..].iter().position(|known| is_same(known, &found)) {
                // Of a short name and a fully qualified one, the latter says more.
                Some(at) if found.value.len() > entities[first + at].value.len() => entities[first + at] = found,
                Some(_) => {}
                None if entities.len() - first < MAX_OF_A_KIND => entities.push(found),
                None => {}
            }
        }
    }
    entities
}

/// Whether two names are one entity's. Two fully qualified names of hosts are not, even if their short ones are the same.
fn is_same(known: &Entity, found: &Entity) -> bool {
    let is_short = |entity: &Entity| entity.identity().len() == entity.value.len();
    known.value.eq_ignore_ascii_case(&found.value)
        || (is_short(known) || is_short(found)) && known.identity() == found.identity()
}

/// The name in a field's `value`; `None` where it says nothing.
fn name_of(kind: EntityKind, value: &str) -> Option<String> {
    let value = value.trim();
    // Windows writes `-` where there is none.
    if value.is_empty() || value == "-" || value.len() > MAX_NAME {
        return None;
    }
    match kind {
        EntityKind::Ip => {
            let address = value.parse::<IpAddr>().ok()?;
            let canonical = address.to_canonical();
            if canonical.is_unspecified() || canonical.is_loopback() {
                return None;
            }
            // There is one way to write these.
            Some(if address.is_ipv4() { value.to_owned() } else { canonical.to_string() })
        }
        EntityKind::Hash => hash_in(value),
        _ => Some(value.to_owned()),
    }
}

/// The strongest hash of a file in `value`: a bare one, or Sysmon's `SHA1=…,MD5=…,SHA256=…,IMPHASH=…`. An import hash is
/// not the file's.
fn hash_in(value: &str) -> Option<String> {
    // All digits are looked at, so that many are at a time.
    let is_hash = |hash: &&str| {
        matches!(hash.len(), 32 | 40 | 64) && hash.bytes().fold(true, |all, digit| all & digit.is_ascii_hexdigit())
    };
    value
        .split(',')
        .filter(|part| !part.trim_start().get(..8).is_some_and(|name| name.eq_ignore_ascii_case("IMPHASH=")))
        .map(|part| part.rsplit('=').next().unwrap_or(part).trim())
        .filter(is_hash)
        .max_by_key(|hash| hash.len())
        .map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(given: &[(&str, &str)]) -> Vec<String> {
        let values = |at: usize| {
            let name = fields().nth(at);
            given.iter().filter(|(field, _)| Some(*field) == name).map(|(_, value)| Cow::Borrowed(*value)).collect()
        };
        entities(&values).into_iter().map(|entity| format!("{:?} {}", entity.kind, entity.value)).collect()
    }

    #[test]
    fn entities_come_in_the_order_of_preference_each_once() {
        let sha256 = "AB".repeat(32);
        let hashes = format!("MD5={},SHA256={sha256},IMPHASH={}", "c".repeat(32), "d".repeat(32));
        let fields = [
            ("Hashes", hashes.as_str()),
            ("DestinationIp", "::ffff:198.51.100.42"),
            ("SourceIp", "10.0.0.5"),
            ("User", "-"),
            ("SubjectUserName", "eve"),
            ("Computer", "WS1"),
            ("hostname", "ws1"),
            ("dst_ip", "127.0.0.1"),
        ];
        let sha256 = format!("Hash {}", sha256.to_lowercase());
        assert_eq!(found(&fields), ["Host WS1", "User eve", "Ip 10.0.0.5", "Ip 198.51.100.42", &sha256]);
    }

    #[test]
    fn a_hosts_short_and_fully_qualified_names_are_one_entity() {
        let hosts = |names: &[&str]| found(&names.iter().map(|name| ("Computer", *name)).collect::<Vec<_>>());
        assert_eq!(hosts(&["ws-1", "WS-1.corp.example"]), ["Host WS-1.corp.example"]);
        assert_eq!(hosts(&["ws-1.corp.example", "WS-1"]), ["Host ws-1.corp.example"]);
        assert_eq!(hosts(&["ws-1.a.example", "ws-1.b.example"]), ["Host ws-1.a.example", "Host ws-1.b.example"]);
        assert_eq!(hosts(&["192.0.2.7", "192.0.2.8"]), ["Host 192.0.2.7", "Host 192.0.2.8"]);
    }

    #[test]
    fn only_so_many_and_so_long_names_are_kept() {
        let long = "x".repeat(513);
        let fields = ["a", "b", &long, "c", "d", "e"].map(|value| ("Computer", value));
        assert_eq!(found(&fields), ["Host a", "Host b", "Host c", "Host d"]);
    }
}
