//! What findings and incidents have in common as OCSF 1.8.

use serde_json::{Value, json};

use crate::{AttackRef, ContributionKind, EntityKind, Severity};

/// The version of OCSF whose attributes are used.
pub const VERSION: &str = "1.8.0";
/// The category of findings and incidents, `category_uid`.
pub const FINDINGS: u32 = 2;

/// A severity's number and name.
pub fn severity(severity: Severity) -> (u32, String) {
    let id = match severity {
        Severity::Informational => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    let mut chars = severity.as_str().chars();
    let name = chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str());
    (id, name.unwrap_or_default())
}

/// What found something: a rule or the like, by its id and title.
pub fn analytic(kind: ContributionKind, id: &str, title: &str) -> Value {
    let (type_id, type_name) = match kind {
        ContributionKind::Rule | ContributionKind::Correlation => (1, "Rule"),
        ContributionKind::Indicator => (5, "Fingerprinting"),
        ContributionKind::Rarity => (3, "Statistical"),
        ContributionKind::EntityRisk => (2, "Behavioral"),
    };
    json!({ "uid": id, "name": title, "type_id": type_id, "type": type_name })
}

/// A tactic and technique.
pub fn attack(found: &AttackRef) -> Value {
    let mut attack = json!({});
    if !found.tactic_id.is_empty() {
        attack["tactic"] = json!({ "uid": found.tactic_id, "name": found.tactic });
    }
    // A sub-technique's id begins with its technique's, whose own name is not in the reference.
    match found.technique_id.split_once('.') {
        Some((technique, _)) => {
            attack["technique"] = json!({ "uid": technique });
            attack["sub_technique"] = json!({ "uid": found.technique_id, "name": found.technique });
        }
        None if found.technique_id.is_empty() => {}
        None => attack["technique"] = json!({ "uid": found.technique_id, "name": found.technique }),
    }
    attack
}

/// An entity, with where it would stand and its observable type.
pub fn observable(kind: EntityKind, value: &str) -> Value {
    let (name, type_id, type_name) = match kind {
        EntityKind::Host => ("device.hostname", 1, "Hostname"),
        EntityKind::Ip => ("dst_endpoint.ip", 2, "IP Address"),
        EntityKind::User => ("user.name", 4, "User Name"),
        EntityKind::Domain => ("query.hostname", 1, "Hostname"),
        EntityKind::Process => ("process.file.path", 45, "File Path"),
        EntityKind::File => ("file.path", 45, "File Path"),
        EntityKind::Hash => ("file.hashes", 8, "Hash"),
    };
    json!({ "name": name, "type_id": type_id, "type": type_name, "value": value })
}
