//! Evidence of controls: what was detected and done in a period, under the names that auditors use.
//!
//! It shows that a control was at work, not that a company complies: whether these rules and playbooks are the right ones
//! is for people to judge.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cybervault_model::{Severity, Timestamp};
use serde::Serialize;

use super::{ApiError, Caller};
use crate::{
    app::App,
    console,
    list::BadQuery,
    store::{Facts, now},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The longest period.
const MAX_DAYS: i64 = 400;

/// Whose controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Framework {
    Soc2,
    Iso27001,
    PciDss,
}

impl Framework {
    pub(crate) const ALL: [Self; 3] = [Self::Soc2, Self::Iso27001, Self::PciDss];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Soc2 => "soc2",
            Self::Iso27001 => "iso27001",
            Self::PciDss => "pci_dss",
        }
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Soc2 => "SOC 2 (Trust Services Criteria 2017)",
            Self::Iso27001 => "ISO/IEC 27001:2022, Annex A",
            Self::PciDss => "PCI DSS 4.0",
        }
    }
}

/// Which of our evidence speaks for a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Watching,
    Judging,
    Responding,
}

const CONTROLS: [(Framework, &str, &str, About); 10] = [
    (Framework::Soc2, "CC7.2", "System components are monitored for anomalies", About::Watching),
    (Framework::Soc2, "CC7.3", "Security events are evaluated", About::Judging),
    (Framework::Soc2, "CC7.4", "Security incidents are responded to", About::Responding),
    (Framework::Iso27001, "A.8.16", "Networks, systems and applications are monitored", About::Watching),
    (Framework::Iso27001, "A.5.25", "Information security events are assessed and decided on", About::Judging),
    (Framework::Iso27001, "A.5.26", "Information security incidents are responded to", About::Responding),
    (Framework::PciDss, "10.4.1.1", "Audit logs are reviewed by automated mechanisms", About::Watching),
    (Framework::PciDss, "10.4.3", "Exceptions and anomalies found in reviews are addressed", About::Judging),
    (Framework::PciDss, "11.5.1", "Intrusions are detected, and personnel is alerted", About::Watching),
    (Framework::PciDss, "12.10.5", "Alerts of security monitoring are responded to", About::Responding),
];

/// A measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Evidence {
    pub(crate) measure: String,
    pub(crate) value: i64,
}

/// A control, and what speaks for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Control {
    pub(crate) framework: Framework,
    pub(crate) control: &'static str,
    pub(crate) title: &'static str,
    /// Whether anything was measured at all.
    pub(crate) evidenced: bool,
    pub(crate) evidence: Vec<Evidence>,
}

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Period {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl Period {
    /// The last days.
    pub(crate) fn of_days(days: i64) -> Self {
        let to = now();
        Self { from: to.plus_millis(-days * DAY_MS), to }
    }
}

/// All controls of a tenant in a period.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) tenant_id: String,
    pub(crate) generated_at: Timestamp,
    pub(crate) period: Period,
    pub(crate) controls: Vec<Control>,
}

impl Report {
    pub(crate) async fn make(
        app: &App,
        caller: &Caller,
        framework: Option<Framework>,
        period: Period,
    ) -> Result<Self, ApiError> {
        let facts = caller.store(app).facts(caller.tenant_id(), (period.from, period.to)).await?;
        let rules = i64::try_from(app.engine.rules().len()).unwrap_or(i64::MAX);
        let wanted = CONTROLS.iter().filter(|(of, ..)| framework.is_none_or(|wanted| wanted == *of));
        let controls = wanted.map(|&(framework, control, title, about)| {
            let evidence = evidence(about, &facts, rules);
            let evidenced = evidence.iter().any(|item| item.value > 0);
            Control { framework, control, title, evidenced, evidence }
        });
        Ok(Self {
            tenant_id: caller.key.tenant_id.to_string(),
            generated_at: now(),
            period,
            controls: controls.collect(),
        })
    }

    fn csv(&self) -> String {
        let mut text = "framework,control,title,measure,value,from,to\r\n".to_owned();
        for control in &self.controls {
            for item in &control.evidence {
                let cells = [
                    control.framework.as_str(),
                    control.control,
                    control.title,
                    &item.measure,
                    &item.value.to_string(),
                    &self.period.from.to_string(),
                    &self.period.to.to_string(),
                ];
                let cells: Vec<String> =
                    cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
                text.push_str(&cells.join(","));
                text.push_str("\r\n");
            }
        }
        text
    }
}

fn evidence(about: About, facts: &Facts, rules: i64) -> Vec<Evidence> {
    let item = |measure: &str, value| Evidence { measure: measure.to_owned(), value };
    match about {
        About::Watching => vec![
            item("detection rules in force", rules),
            item("findings", facts.all_findings()),
            item("entities with findings", facts.entities),
            item("ATT&CK techniques observed", facts.techniques),
            item("events not admitted by quota", facts.rejected),
        ],
        About::Judging => Severity::ALL
            .into_iter()
            .rev()
            .map(|severity| {
                item(&format!("findings of severity {}", severity.as_str()), facts.findings[severity as usize])
            })
            .chain([
                item("decisions by people", facts.decided_by_people),
                item("mean time to a decision by people (s)", facts.mean_decision_ms.unwrap_or(0) / 1000),
            ])
            .collect(),
        About::Responding => {
            let mut all: Vec<Evidence> = ["approved", "denied", "expired", "proposed"]
                .map(|state| item(&format!("actions {state}"), facts.actions_in(state)))
                .into();
            all.extend(
                facts
                    .actions
                    .iter()
                    .filter(|((_, state), _)| state == "approved")
                    .map(|((kind, _), count)| item(&format!("{kind} approved"), *count)),
            );
            all
        }
    }
}

/// `GET /v3/compliance/reports`
pub(super) async fn reports(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (mut framework, mut format, mut period) = (None, "json", Period::of_days(30));
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let wrong = |allowed: &str| BadQuery(format!("`{name}` must be {allowed}"));
        match &*name {
            "framework" => {
                let found = Framework::ALL.into_iter().find(|known| known.as_str() == value);
                framework = Some(found.ok_or_else(|| wrong("soc2, iso27001 or pci_dss"))?);
            }
            "format" => {
                let found = ["json", "csv", "html"].into_iter().find(|known| *known == value);
                format = found.ok_or_else(|| wrong("json, csv or html"))?;
            }
            "from" => period.from = Timestamp::parse(&value).ok_or_else(|| wrong("an RFC 3339 time"))?,
            "to" => period.to = Timestamp::parse(&value).ok_or_else(|| wrong("an RFC 3339 time"))?,
            _ => {
                let name: String = name.chars().take(64).collect();
                let known = "framework, format, from and to";
                return Err(BadQuery(format!("there is no parameter `{name}`; there are {known}")).into());
            }
        }
    }
    let days = (period.to.as_millis() - period.from.as_millis()).div_euclid(DAY_MS);
    if !(0..=MAX_DAYS).contains(&days) {
        return Err(BadQuery(format!("`from` must be before `to`, by at most {MAX_DAYS} days")).into());
    }
    let report = Report::make(&app, &caller, framework, period).await?;
    Ok(match format {
        "csv" => {
            let name = HeaderValue::from_static("attachment; filename=\"cybervault-compliance.csv\"");
            let kind = HeaderValue::from_static("text/csv; charset=utf-8");
            ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], report.csv()).into_response()
        }
        "html" => console::printable(&report),
        _ => super::json(StatusCode::OK, &report),
    })
}
