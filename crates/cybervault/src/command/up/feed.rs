//! The live feed: what comes out of the result topics, a line each.

use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use cybervault_model::{ActionState, Assessment, Incident, QuotaRejection, ResponseAction, Severity};
use cybervault_stream::{OwnedRecord, headers};

/// The names of the result topics.
#[derive(Clone, Debug)]
pub(super) struct FeedTopics {
    pub(super) assessments: String,
    pub(super) incidents: String,
    pub(super) actions: String,
    pub(super) rejections: String,
    pub(super) dead_letters: String,
}

impl FeedTopics {
    pub(super) fn all(&self) -> [&str; 5] {
        [&self.assessments, &self.incidents, &self.actions, &self.rejections, &self.dead_letters]
    }
}

/// What a tenant's events came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TenantTally {
    pub(super) findings: [u64; Severity::ALL.len()],
    pub(super) rejected: u64,
    pub(super) actions: u64,
}

/// All that the feed has seen.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) tenants: BTreeMap<String, TenantTally>,
    pub(super) actions: BTreeMap<(&'static str, &'static str), u64>,
    pub(super) rules: BTreeMap<String, u64>,
    pub(super) dead: BTreeMap<String, u64>,
    /// Incidents as they were told last, by their ids.
    pub(super) incidents: BTreeMap<String, Incident>,
}

/// Prints records, and counts them.
pub(super) struct Feed<W> {
    topics: FeedTopics,
    out: W,
    pub(super) tally: Tally,
    /// Rejections come in floods: they are told once a second a tenant.
    held_back: BTreeMap<String, (u64, Option<u64>)>,
    told: Instant,
}

const TELL_REJECTIONS: Duration = Duration::from_secs(1);

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

fn color(severity: Severity) -> Style {
    match severity {
        Severity::Informational => DIM,
        Severity::Low => AnsiColor::Cyan.on_default(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::High => AnsiColor::Red.on_default(),
        Severity::Critical => AnsiColor::Red.on_default().bold().invert(),
    }
}

impl<W: Write> Feed<W> {
    pub(super) fn new(topics: FeedTopics, out: W) -> Self {
        Self { topics, out, tally: Tally::default(), held_back: BTreeMap::new(), told: Instant::now() }
    }

    /// Prints what one record says. What can't be read is said as well: the feed is for seeing what is there.
    pub(super) fn show(&mut self, record: &OwnedRecord) -> anyhow::Result<()> {
        let topic = record.topic.clone();
        if topic == self.topics.dead_letters {
            self.dead_letter(record)?;
        } else if topic == self.topics.assessments {
            self.assessment(&serde_json::from_slice(&record.value)?)?;
        } else if topic == self.topics.incidents {
            self.incident(serde_json::from_slice(&record.value)?)?;
        } else if topic == self.topics.actions {
            self.action(&serde_json::from_slice(&record.value)?)?;
        } else if topic == self.topics.rejections {
            let rejection: QuotaRejection = serde_json::from_slice(&record.value)?;
            self.tenant(&rejection.tenant_id).rejected += 1;
            let held = self.held_back.entry(rejection.tenant_id).or_default();
            *held = (held.0 + 1, rejection.retry_after_ms);
        }
        self.out.flush()?;
        Ok(())
    }

    fn tenant(&mut self, tenant_id: &str) -> &mut TenantTally {
        self.tally.tenants.entry(tenant_id.to_owned()).or_default()
    }

    fn assessment(&mut self, assessment: &Assessment) -> anyhow::Result<()> {
        self.tenant(assessment.tenant_id.as_str()).findings[assessment.severity as usize] += 1;
        for contribution in &assessment.contributions {
            *self.tally.rules.entry(contribution.title.clone()).or_default() += 1;
        }
        let when = assessment.occurred_at.map(|at| at.to_string()).unwrap_or_default();
        let clock = when.get(11..19).unwrap_or("--:--:--");
        let style = color(assessment.severity);
        let entity = assessment.entities.first().map_or("-", |entity| &*entity.value);
        let title = assessment.contributions.first().map_or("nothing found", |first| &*first.title);
        let more = match assessment.contributions.len() {
            0 | 1 => String::new(),
            n => format!(" (+{})", n - 1),
        };
        let mut techniques: Vec<&str> = assessment.mitre_attack.iter().map(|found| &*found.technique_id).collect();
        techniques.retain(|technique| !technique.is_empty());
        techniques.dedup();
        writeln!(
            self.out,
            "{DIM}{clock}{DIM:#} {style}{:>13} {:>3}{style:#}  {BOLD}{:<16}{BOLD:#} {entity:<14} {title}{more}  {DIM}{}{DIM:#}",
            assessment.severity.as_str(),
            assessment.risk_score,
            assessment.tenant_id.as_str(),
            techniques.join(" "),
        )?;
        Ok(())
    }

    fn incident(&mut self, incident: Incident) -> anyhow::Result<()> {
        let changes: Vec<&str> = incident.changes.iter().map(|change| change.as_str()).collect();
        let style = AnsiColor::Green.on_default();
        writeln!(
            self.out,
            "{:>8} {style}{:>13} {:>3}{style:#}  {BOLD}{:<16}{BOLD:#} {:<14} {}  {DIM}{} findings; {}{DIM:#}",
            "",
            "incident",
            incident.risk_score,
            incident.tenant_id.as_str(),
            incident.severity.as_str(),
            incident.title,
            incident.findings,
            changes.join(", "),
        )?;
        self.tally.incidents.insert(incident.incident_id.clone(), incident);
        Ok(())
    }

    fn action(&mut self, action: &ResponseAction) -> anyhow::Result<()> {
        self.tenant(action.tenant_id.as_str()).actions += u64::from(action.state == ActionState::Proposed);
        *self.tally.actions.entry((action.kind.as_str(), action.state.as_str())).or_default() += 1;
        let style = AnsiColor::Magenta.on_default();
        writeln!(
            self.out,
            "{:>8} {style}{:>13} {:>3}{style:#}  {BOLD}{:<16}{BOLD:#} {:<14} {}  {DIM}{}{DIM:#}",
            "",
            action.state.as_str(),
            "→",
            action.tenant_id.as_str(),
            action.target.to_string(),
            action.kind.as_str(),
            action.reason,
        )?;
        Ok(())
    }

    fn dead_letter(&mut self, record: &OwnedRecord) -> anyhow::Result<()> {
        let reason = record.header(headers::REASON).unwrap_or("?").to_owned();
        let message = record.header(headers::MESSAGE).unwrap_or_default();
        let style = AnsiColor::Blue.on_default();
        writeln!(self.out, "{:>8} {style}{:>17}{style:#}  {reason}  {DIM}{message}{DIM:#}", "", "dead letter")?;
        *self.tally.dead.entry(reason).or_default() += 1;
        Ok(())
    }

    /// Tells the rejections of the last second, if it is over or if `now`.
    pub(super) fn tell_rejections(&mut self, now: bool) -> anyhow::Result<()> {
        if !now && self.told.elapsed() < TELL_REJECTIONS {
            return Ok(());
        }
        self.told = Instant::now();
        let style = AnsiColor::Yellow.on_default();
        for (tenant, (count, retry_after)) in std::mem::take(&mut self.held_back) {
            let retry = match retry_after {
                Some(ms) => format!("over quota, the last may try again in {ms} ms"),
                None => "not admitted".to_owned(),
            };
            writeln!(
                self.out,
                "{:>8} {style}{:>13} {count:>3}{style:#}  {BOLD}{tenant:<16}{BOLD:#} {DIM}{retry}{DIM:#}",
                "", "rejected",
            )?;
        }
        self.out.flush()?;
        Ok(())
    }
}
