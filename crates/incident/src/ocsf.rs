//! An incident as an OCSF Incident Finding (OCSF 1.8, class 2005).

use cybervault_model::{
    AttackRef, ContributionKind, EntityKind, Incident, IncidentChange, IncidentStatus, IncidentVerdict, Severity,
    TimelineEntry,
};
use serde_json::{Value, json};

/// The version of OCSF whose attributes are used.
const OCSF_VERSION: &str = "1.8.0";
const FINDINGS: u32 = 2;
const INCIDENT_FINDING: u32 = 2005;

/// `incident` as an OCSF Incident Finding: each entry of its timeline is one of the findings that it is about.
pub fn to_ocsf(incident: &Incident) -> Value {
    let (activity_id, activity) = match incident.status {
        IncidentStatus::Closed => (3, "Close"),
        _ if incident.changes.contains(&IncidentChange::Opened) => (1, "Create"),
        _ => (2, "Update"),
    };
    let (status_id, status) = match incident.status {
        IncidentStatus::Open => (1, "New"),
        IncidentStatus::InProgress => (2, "In Progress"),
        IncidentStatus::Closed => (5, "Closed"),
    };
    let mut finding = json!({
        "category_uid": FINDINGS,
        "category_name": "Findings",
        "class_uid": INCIDENT_FINDING,
        "class_name": "Incident Finding",
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": INCIDENT_FINDING * 100 + activity_id,
        "type_name": format!("Incident Finding: {activity}"),
        "time": incident.updated_at.as_millis(),
        "start_time": incident.first_at.as_millis(),
        "end_time": incident.last_at.as_millis(),
        "count": incident.findings,
        "severity_id": severity_id(incident.severity),
        "severity": capitalised(incident.severity.as_str()),
        "status_id": status_id,
        "status": status,
        "desc": incident.title,
        "metadata": {
            "version": OCSF_VERSION,
            "uid": incident.incident_id,
            "tenant_uid": incident.tenant_id,
            "product": { "name": "CyberVault", "vendor_name": "CyberVault" },
        },
        "attacks": incident.mitre_attack.iter().map(attack).collect::<Vec<_>>(),
        "finding_info_list": incident.timeline.iter().map(|entry| finding_info(incident, entry)).collect::<Vec<_>>(),
        "observables": incident.entities.iter().map(|entity| {
            let (name, type_id, type_name) = observable(entity.kind);
            json!({ "name": name, "type_id": type_id, "type": type_name, "value": entity.value })
        }).collect::<Vec<_>>(),
        "unmapped": {
            "revision": incident.revision,
            "risk_score": incident.risk_score,
            "changes": incident.changes,
            "merged": incident.merged,
            "merged_into": incident.merged_into,
            "left_out": incident.left_out,
        },
    });
    if let Some(verdict) = incident.verdict {
        let (id, name) = match verdict {
            IncidentVerdict::FalsePositive => (1, "False Positive"),
            IncidentVerdict::TruePositive => (2, "True Positive"),
            IncidentVerdict::Benign => (5, "Benign"),
        };
        finding["verdict_id"] = json!(id);
        finding["verdict"] = json!(name);
    }
    if let Some(assignee) = &incident.assignee {
        finding["assignee"] = json!({ "name": assignee });
    }
    if let Some(comment) = incident.decisions.iter().rev().find_map(|word| word.comment.as_ref()) {
        finding["comment"] = json!(comment);
    }
    finding
}

fn finding_info(incident: &Incident, entry: &TimelineEntry) -> Value {
    let analytic = |id: &String| {
        let rule = incident.rules.iter().find(|rule| rule.id == *id);
        let (type_id, type_name) = match rule.map(|rule| rule.kind) {
            Some(ContributionKind::Indicator) => (5, "Fingerprinting"),
            Some(ContributionKind::Rarity) => (3, "Statistical"),
            Some(ContributionKind::EntityRisk) => (2, "Behavioral"),
            Some(ContributionKind::Rule | ContributionKind::Correlation) | None => (1, "Rule"),
        };
        let name = rule.map_or(id, |rule| &rule.title);
        json!({ "uid": id, "name": name, "type_id": type_id, "type": type_name })
    };
    let mut info = json!({
        "uid": entry.assessment_id,
        "title": entry.title,
        "first_seen_time": entry.first_at.as_millis(),
        "last_seen_time": entry.last_at.as_millis(),
        "related_analytics": entry.rules.iter().skip(1).map(analytic).collect::<Vec<_>>(),
    });
    if let Some(first) = entry.rules.first() {
        info["analytic"] = analytic(first);
    }
    info
}

const fn severity_id(severity: Severity) -> u32 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}

fn attack(found: &AttackRef) -> Value {
    let mut attack = json!({});
    if !found.tactic_id.is_empty() {
        attack["tactic"] = json!({ "uid": found.tactic_id, "name": found.tactic });
    }
    // A sub-technique's id begins with its technique's, whose own name is not in the incident.
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

/// Where an entity would stand, and OCSF's observable type of it.
const fn observable(kind: EntityKind) -> (&'static str, u32, &'static str) {
    match kind {
        EntityKind::Host => ("device.hostname", 1, "Hostname"),
        EntityKind::Ip => ("dst_endpoint.ip", 2, "IP Address"),
        EntityKind::User => ("user.name", 4, "User Name"),
        EntityKind::Domain => ("query.hostname", 1, "Hostname"),
        EntityKind::Process => ("process.file.path", 45, "File Path"),
        EntityKind::File => ("file.path", 45, "File Path"),
        EntityKind::Hash => ("file.hashes", 8, "Hash"),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
