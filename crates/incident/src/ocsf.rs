//! An incident as an OCSF Incident Finding (OCSF 1.8, class 2005).

use cybervault_model::{
    ContributionKind, Incident, IncidentChange, IncidentStatus, IncidentVerdict, TimelineEntry, ocsf,
};
use serde_json::{Value, json};

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
    let (severity_id, severity) = ocsf::severity(incident.severity);
    let mut finding = json!({
        "category_uid": ocsf::FINDINGS,
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
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "desc": incident.title,
        "metadata": {
            "version": ocsf::VERSION,
            "uid": incident.incident_id,
            "tenant_uid": incident.tenant_id,
            "product": { "name": "CyberVault", "vendor_name": "CyberVault" },
        },
        "attacks": incident.mitre_attack.iter().map(ocsf::attack).collect::<Vec<_>>(),
        "finding_info_list": incident.timeline.iter().map(|entry| finding_info(incident, entry)).collect::<Vec<_>>(),
        "observables": incident.entities.iter()
            .map(|entity| ocsf::observable(entity.kind, &entity.value)).collect::<Vec<_>>(),
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
        let kind = rule.map_or(ContributionKind::Rule, |rule| rule.kind);
        ocsf::analytic(kind, id, rule.map_or(id, |rule| &rule.title))
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
