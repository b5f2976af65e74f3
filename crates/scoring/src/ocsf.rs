//! An assessment as an OCSF Detection Finding (OCSF 1.8, class 2004).

use cybervault_model::{Assessment, Contribution, CorrelatedEvent, CorrelatedEvents, Timestamp, Verdict, ocsf};
use serde_json::{Value, json};

const DETECTION_FINDING: u32 = 2004;
const CREATE: u32 = 1;

/// `assessment` as an OCSF Detection Finding. OCSF asks for a time: without one, it is the epoch's.
pub fn to_ocsf(assessment: &Assessment) -> Value {
    let (severity_id, severity) = ocsf::severity(assessment.severity);
    let verdict = match assessment.verdict {
        Verdict::Benign => "Benign",
        Verdict::Suspicious => "Suspicious",
        Verdict::Malicious => "Malicious",
    };
    let mut finding = json!({
        "category_uid": ocsf::FINDINGS,
        "category_name": "Findings",
        "class_uid": DETECTION_FINDING,
        "class_name": "Detection Finding",
        "activity_id": CREATE,
        "activity_name": "Create",
        "type_uid": DETECTION_FINDING * 100 + CREATE,
        "type_name": "Detection Finding: Create",
        "time": assessment.occurred_at.map_or(0, Timestamp::as_millis),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 1,
        "status": "New",
        "is_alert": assessment.verdict != Verdict::Benign,
        "risk_score": assessment.risk_score,
        "metadata": {
            "version": ocsf::VERSION,
            "uid": assessment.assessment_id,
            "original_event_uid": assessment.event_id,
            "tenant_uid": assessment.tenant_id,
            "product": { "name": "CyberVault", "vendor_name": "CyberVault" },
        },
        "finding_info": finding_info(assessment),
        "evidences": assessment.contributions.iter().map(evidence).collect::<Vec<_>>(),
        "observables": assessment.entities.iter()
            .map(|entity| ocsf::observable(entity.kind, &entity.value)).collect::<Vec<_>>(),
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
        "attacks": assessment.mitre_attack.iter().map(ocsf::attack).collect::<Vec<_>>(),
        "related_analytics": assessment.contributions.iter().skip(1).map(analytic).collect::<Vec<_>>(),
    });
    if let Some(heaviest) = heaviest {
        info["analytic"] = analytic(heaviest);
    }
    info
}

fn analytic(contribution: &Contribution) -> Value {
    ocsf::analytic(contribution.kind, &contribution.id, &contribution.title)
}

fn evidence(contribution: &Contribution) -> Value {
    let fields: Vec<_> = contribution.evidence.iter().map(|e| json!({ "name": e.field, "value": e.value })).collect();
    json!({
        "uid": contribution.id,
        "name": contribution.title,
        "data": { "level": contribution.level, "weight": contribution.weight, "fields": fields },
    })
}
