//! An assessment as an OCSF Detection Finding (OCSF 1.8, class 2004).

use cybervault_model::{
    Assessment, AttackRef, Contribution, ContributionKind, CorrelatedEvent, CorrelatedEvents, EntityKind, Severity,
    Timestamp, Verdict,
};
use serde_json::{Value, json};

/// The version of OCSF whose attributes are used.
const OCSF_VERSION: &str = "1.8.0";
const FINDINGS: u32 = 2;
const DETECTION_FINDING: u32 = 2004;
const CREATE: u32 = 1;

/// `assessment` as an OCSF Detection Finding. OCSF asks for a time: without one, it is the epoch's.
pub fn to_ocsf(assessment: &Assessment) -> Value {
    let severity_id = match assessment.severity {
        Severity::Informational => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    let verdict = match assessment.verdict {
        Verdict::Benign => "Benign",
        Verdict::Suspicious => "Suspicious",
        Verdict::Malicious => "Malicious",
    };
    let mut finding = json!({
        "category_uid": FINDINGS,
        "category_name": "Findings",
        "class_uid": DETECTION_FINDING,
        "class_name": "Detection Finding",
        "activity_id": CREATE,
        "activity_name": "Create",
        "type_uid": DETECTION_FINDING * 100 + CREATE,
        "type_name": "Detection Finding: Create",
        "time": assessment.occurred_at.map_or(0, Timestamp::as_millis),
        "severity_id": severity_id,
        "severity": capitalised(assessment.severity.as_str()),
        "status_id": 1,
        "status": "New",
        "is_alert": assessment.verdict != Verdict::Benign,
        "risk_score": assessment.risk_score,
        "metadata": {
            "version": OCSF_VERSION,
            "uid": assessment.assessment_id,
            "original_event_uid": assessment.event_id,
            "tenant_uid": assessment.tenant_id,
            "product": { "name": "CyberVault", "vendor_name": "CyberVault" },
        },
        "finding_info": finding_info(assessment),
        "evidences": assessment.contributions.iter().map(evidence).collect::<Vec<_>>(),
        "observables": assessment.entities.iter().map(|entity| {
            let (name, type_id, type_name) = observable(entity.kind);
            json!({ "name": name, "type_id": type_id, "type": type_name, "value": entity.value })
        }).collect::<Vec<_>>(),
        "remediation": {
            "desc": assessment.recommended_actions.iter()
                .map(|action| format!("{} {}: {}", action.kind.as_str(), action.target, action.reason))
                .collect::<Vec<_>>().join("\n"),
        },
        "unmapped": { "verdict": verdict, "rules_version": assessment.rules_version },
    });
    if let Some(count) = assessment.replaced_characters {
        finding["unmapped"]["replaced_characters"] = count.into();
    }
    if let Some(CorrelatedEvents { count, events }) = &assessment.correlated {
        let event = |event: &CorrelatedEvent| json!({ "uid": event.event_id });
        finding["finding_info"]["related_events"] = events.iter().map(event).collect();
        if let [first, ..] = &events[..]
            && let [.., last] = &events[..]
        {
            finding["finding_info"]["first_seen_time"] = first.occurred_at.as_millis().into();
            finding["finding_info"]["last_seen_time"] = last.occurred_at.as_millis().into();
        }
        finding["count"] = (*count).into();
    }
    finding
}

fn finding_info(assessment: &Assessment) -> Value {
    let heaviest = assessment.contributions.first();
    let mut info = json!({
        "uid": assessment.assessment_id,
        "title": heaviest.map_or("Nothing found", |contribution| contribution.title.as_str()),
        "attacks": assessment.mitre_attack.iter().map(attack).collect::<Vec<_>>(),
        "related_analytics": assessment.contributions.iter().skip(1).map(analytic).collect::<Vec<_>>(),
    });
    if let Some(heaviest) = heaviest {
        info["analytic"] = analytic(heaviest);
    }
    info
}

fn analytic(contribution: &Contribution) -> Value {
    let (type_id, type_name) = match contribution.kind {
        ContributionKind::Rule | ContributionKind::Correlation => (1, "Rule"),
        ContributionKind::Indicator => (5, "Fingerprinting"),
        ContributionKind::Rarity => (3, "Statistical"),
        ContributionKind::EntityRisk => (2, "Behavioral"),
    };
    json!({ "uid": contribution.id, "name": contribution.title, "type_id": type_id, "type": type_name })
}

fn attack(found: &AttackRef) -> Value {
    let mut attack = json!({});
    if !found.tactic_id.is_empty() {
        attack["tactic"] = json!({ "uid": found.tactic_id, "name": found.tactic });
    }
    // A sub-technique's id begins with its technique's, whose own name is not in the assessment.
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

fn evidence(contribution: &Contribution) -> Value {
    let fields: Vec<_> = contribution.evidence.iter().map(|e| json!({ "name": e.field, "value": e.value })).collect();
    json!({
        "uid": contribution.id,
        "name": contribution.title,
        "data": { "level": contribution.level, "weight": contribution.weight, "fields": fields },
    })
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
