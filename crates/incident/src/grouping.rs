//! Which findings are of which incident, and when an incident is told.

use std::collections::BTreeSet;

use cybervault_model::{
    Incident, IncidentChange, IncidentDecision, IncidentDecisionKind, IncidentStatus, IncidentWord, TenantId,
    Timestamp, incident_id,
};
use serde::{Deserialize, Serialize};

use crate::{
    Finding, InvalidSettings, Settings,
    content::{self, is_news},
    everywhere::{Telling, identity},
    finding::clean,
    ledger::{self, Active, Id, Kept, Ledger, Store, hash_of, link},
    settings::{MAX_GAINED, MAX_MERGED, MAX_WORDS},
    span::Span,
    title::title,
};

/// How much longer than the gap an incident takes findings, by record time: so long may whoever reads the events be away.
const AWAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How many timers one call of [`Grouping::timers`] takes, so that a batch stays short.
const TIMERS_AT_ONCE: usize = 1_000;
/// Keys by which findings that name nobody in particular are joined, of one incident.
const MAX_ALONE: usize = 64;
/// How many incidents a chain of merges is followed through. Each of them knows the end as it was when it was merged.
const MAX_MERGES: usize = 64;
/// How much of a person's words is kept, in characters.
const MAX_NAME_CHARS: usize = 200;
const MAX_COMMENT_CHARS: usize = 2_000;
const MAX_DECISION_ID: usize = 64;

/// Groups findings, and holds what belongs together.
#[derive(Debug)]
pub struct Grouping {
    settings: Settings,
    telling: Telling,
}

/// What became of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It opened an incident.
    Opened,
    /// It is something new in one that there was.
    News,
    /// It was counted.
    Counted,
}

/// What became of a finding, and of the incidents around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub added: Added,
    /// How many incidents became a part of another because of it.
    pub merged: u32,
    /// How many incidents take no more findings, because the tenant had too many.
    pub dropped: u32,
}

/// What became of a person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It holds.
    Taken,
    /// It was taken before.
    Known,
    /// The tenant has no such incident, or had it long ago.
    Unknown,
    /// It does not say what it has to.
    Incomplete,
}

impl Decided {
    /// The name as it stands in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::Incomplete => "incomplete",
        }
    }
}

/// That an incident is to be looked at: its counts may be told, or it may be over. A record like a finding, so that what comes of it
/// follows from the records' order alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Whose.
    pub tenant_id: TenantId,
    /// Which.
    pub incident_id: String,
}

/// An incident at hand.
struct Open {
    id: Id,
    kept: Kept,
    changes: BTreeSet<IncidentChange>,
    /// Whether something waited to be told already, so that its timer is set.
    waits: bool,
}

impl Open {
    fn new(id: Id, kept: Kept) -> Self {
        Self { id, waits: kept.untold > 0, kept, changes: BTreeSet::new() }
    }
}

/// What surrounds an incident at hand.
struct Around<'a, 's> {
    at: Timestamp,
    active: &'a mut Vec<Active>,
    ledger: &'a mut Ledger<'s>,
    emit: &'a mut dyn FnMut(&Incident),
}

impl Grouping {
    /// Groups by these settings.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn new(settings: Settings) -> Result<Self, InvalidSettings> {
        settings.check()?;
        Ok(Self { telling: Telling::new(&settings), settings })
    }

    /// Takes up a finding. Each incident that is to be told goes to `emit`, in order.
    pub fn find(&self, finding: &Finding, store: &mut dyn Store, emit: &mut dyn FnMut(&Incident)) -> Outcome {
        let mut ledger = Ledger::new(store, &finding.tenant_id);
        let telling = self.telling.of(finding, &mut ledger);
        let links = links_of(finding, &telling);
        let mut active = ledger.active();
        let near = self.led_to(&links, &active, Span::at(finding.occurred_at.as_millis()), &ledger);
        let mut outcome = Outcome { added: Added::Counted, merged: 0, dropped: 0 };

        // Where the same event comes again after its incident was over, it is the same incident that it would open.
        let again = || follow(&incident_id(finding.tenant_id.as_str(), &finding.assessment_id), &ledger);
        let known = near.first().and_then(|&id| Some((id, ledger.incident(id)?))).or_else(again);
        let mut open = match known {
            Some((id, kept)) => Open::new(id, kept),
            None => {
                outcome.added = Added::Opened;
                let Some(open) = open(finding, &telling) else { return outcome };
                open
            }
        };
        if !active.iter().any(|one| one.id == open.id) {
            outcome.dropped = self.make_room(&mut active, &mut ledger);
            open.kept.is_active = true;
            active.push(Active { id: open.id, span: span_of(&open.kept.incident), seen: finding.at.as_millis() });
        }
        let before = span_of(&open.kept.incident);
        if outcome.added != Added::Opened {
            self.add(&mut open, content::of_one(finding, &telling));
            open.kept.untold = open.kept.untold.saturating_add(1);
            if !open.changes.is_empty() {
                outcome.added = Added::News;
            }
        }
        self.lead_here(&mut open, &links, &telling, &mut ledger);
        let near = near.get(1..).unwrap_or_default();
        let mut around = Around { at: finding.at, active: &mut active, ledger: &mut ledger, emit };
        outcome.merged = self.merge_near(&mut open, (near, &links, before), &mut around);
        // What is known of it in the list of those that are active.
        let span = span_of(&open.kept.incident);
        for one in active.iter_mut().filter(|one| one.id == open.id) {
            (one.span, one.seen) = (span, one.seen.max(finding.at.as_millis()));
        }
        ledger.keep_active(&active);
        self.settle(open, finding.at, &mut ledger, emit);
        outcome
    }

    /// Incidents that findings with these links at this time belong to, the oldest first.
    fn led_to(&self, links: &[[u8; 16]], active: &[Active], span: Span, ledger: &Ledger<'_>) -> Vec<Id> {
        let mut near: Vec<Id> = Vec::new();
        for id in links.iter().flat_map(|link| ledger.led(link)) {
            let is_near = |one: &Active| one.id == id && one.span.is_near(span, self.settings.gap());
            if !near.contains(&id) && active.iter().any(is_near) {
                near.push(id);
            }
        }
        // They stand in the list in the order in which they were opened.
        near.sort_by_key(|id| active.iter().position(|one| one.id == *id));
        near
    }

    fn add(&self, open: &mut Open, other: Incident) {
        let incident = &mut open.kept.incident;
        let tactics = incident.tactics.len();
        let (severity, known) = (incident.severity, news_of(incident));
        content::merge(incident, other, self.settings.max_timeline);
        let now = news_of(incident);
        for (is_new, change) in [
            (incident.tactics.len() > tactics, IncidentChange::Tactic),
            (now.0 > known.0, IncidentChange::Host),
            (now.1 > known.1, IncidentChange::User),
            (incident.severity > severity, IncidentChange::Severity),
        ] {
            if is_new {
                open.changes.insert(change);
            }
        }
    }

    /// Has what the finding is joined by lead to the incident, as far as the incident itself has it.
    fn lead_here(&self, open: &mut Open, links: &[[u8; 16]], telling: &[bool], ledger: &mut Ledger<'_>) {
        if telling.contains(&true) {
            let joining = joining(&open.kept.incident);
            for link in links.iter().filter(|link| joining.contains(*link)) {
                ledger.lead(link, open.id);
            }
        } else if let [link] = links {
            let text = cybervault_model::hex(link);
            if open.kept.alone.contains(&text) || open.kept.alone.len() < MAX_ALONE {
                if !open.kept.alone.contains(&text) {
                    open.kept.alone.push(text);
                }
                ledger.lead(link, open.id);
            }
        }
    }

    /// Merges all that is near `open` now into it, or it into the oldest of these: what is `near` already, what has one of `links` in
    /// common with it, and, where it lasts longer than `before` or has become more by a merge, whatever has anything in common with it.
    /// Returns how many became a part of another.
    fn merge_near(
        &self,
        open: &mut Open,
        (near, links, before): (&[Id], &[[u8; 16]], Span),
        around: &mut Around<'_, '_>,
    ) -> u32 {
        let gap = self.settings.gap();
        let mut merged = 0;
        let mut next: Vec<Id> = near.to_vec();
        loop {
            for id in std::mem::take(&mut next) {
                if let Some(kept) = around.ledger.incident(id) {
                    merged += 1;
                    self.unite(open, Open::new(id, kept), around);
                }
            }
            let span = span_of(&open.kept.incident);
            let is_newly_near = |one: &Active| one.span.is_near(span, gap) && !one.span.is_near(before, gap);
            next = if merged > 0 || around.active.iter().any(is_newly_near) {
                let mut all = joining(&open.kept.incident);
                all.extend(alone(&open.kept));
                self.led_to(&all, around.active, span, around.ledger)
            } else {
                self.led_to(links, around.active, span, around.ledger)
            };
            next.retain(|id| *id != open.id);
            if next.is_empty() {
                return merged;
            }
        }
    }

    /// Makes one of two: the older stays, and the other is told as a part of it.
    fn unite(&self, open: &mut Open, mut other: Open, around: &mut Around<'_, '_>) {
        let place = |id: Id| around.active.iter().position(|one| one.id == id);
        if place(other.id) < place(open.id) {
            std::mem::swap(open, &mut other);
        }
        let gone = other.id;
        let seen = around.active.iter().find(|one| one.id == gone).map_or(i64::MIN, |one| one.seen);
        for link in joining(&other.kept.incident).into_iter().chain(alone(&other.kept)) {
            around.ledger.lead_no_longer(&link, gone);
            around.ledger.lead(&link, open.id);
        }
        open.changes.extend(std::mem::take(&mut other.changes));
        open.kept.untold = open.kept.untold.saturating_add(other.kept.untold);
        for text in std::mem::take(&mut other.kept.alone) {
            if open.kept.alone.len() < MAX_ALONE && !open.kept.alone.contains(&text) {
                open.kept.alone.push(text);
            }
        }
        let was_told = other.kept.incident.revision > 0;
        keep_words(&mut open.kept.incident, &other.kept.incident);
        self.add(open, other.kept.incident.clone());
        if was_told {
            open.changes.insert(IncidentChange::Absorbed);
            if open.kept.incident.merged.len() < MAX_MERGED {
                open.kept.incident.merged.push(other.kept.incident.incident_id.clone());
            }
        }
        around.active.retain(|one| one.id != gone);
        for one in around.active.iter_mut().filter(|one| one.id == open.id) {
            (one.span, one.seen) = (span_of(&open.kept.incident), one.seen.max(seen));
        }
        if was_told {
            self.leave_word(gone, other.kept, &open.kept.incident.incident_id, around);
        } else {
            around.ledger.forget(gone);
        }
    }

    /// Tells that an incident has become a part of another, and keeps where it went.
    fn leave_word(&self, id: Id, mut kept: Kept, into: &str, around: &mut Around<'_, '_>) {
        kept.is_active = false;
        kept.incident.merged_into = Some(into.to_owned());
        // What it gained and did not tell is the other's now.
        kept.incident.gained.clear();
        tell(&mut kept, [IncidentChange::Merged].into(), around.at, around.emit);
        let incident = &mut kept.incident;
        (incident.timeline, incident.entities, incident.rules) = Default::default();
        (incident.decisions, incident.merged) = Default::default();
        around.ledger.keep(id, &kept, around.at.plus_millis(self.settings.kept()));
    }

    /// Ends the incidents that gained nothing for the longest time, so that there is room for one more.
    fn make_room(&self, active: &mut Vec<Active>, ledger: &mut Ledger<'_>) -> u32 {
        let mut dropped = 0;
        while active.len() >= self.settings.max_active {
            let Some(oldest) = active.iter().min_by_key(|one| (one.seen, one.id)).map(|one| one.id) else { break };
            if let Some(mut kept) = ledger.incident(oldest) {
                self.end(oldest, &mut kept, ledger);
                let until = kept.incident.updated_at.plus_millis(self.settings.kept());
                ledger.keep(oldest, &kept, until);
            }
            active.retain(|one| one.id != oldest);
            dropped += 1;
        }
        dropped
    }

    /// Has nothing lead to it any longer.
    fn end(&self, id: Id, kept: &mut Kept, ledger: &mut Ledger<'_>) {
        for link in joining(&kept.incident).into_iter().chain(alone(kept)) {
            ledger.lead_no_longer(&link, id);
        }
        kept.alone.clear();
        kept.is_active = false;
    }

    /// Tells the incident where that is due, and keeps it.
    fn settle(&self, mut open: Open, at: Timestamp, ledger: &mut Ledger<'_>, emit: &mut dyn FnMut(&Incident)) {
        let Settings { min_severity, min_risk, .. } = self.settings;
        let kept = &mut open.kept;
        let is_many = kept.incident.gained.len() >= MAX_GAINED;
        let is_worth = kept.incident.severity >= min_severity || kept.incident.risk_score.get() >= min_risk || is_many;
        let is_first = kept.incident.revision == 0;
        if is_first && is_worth {
            open.changes = [IncidentChange::Opened].into();
        }
        if !open.changes.is_empty() && kept.incident.status == IncidentStatus::Closed {
            kept.incident.status = IncidentStatus::Open;
            kept.incident.verdict = None;
            open.changes.insert(IncidentChange::Reopened);
        }
        let waited = at.as_millis().saturating_sub(kept.told_at.as_millis());
        let is_counted = waited >= self.settings.count_every() || is_many;
        if open.changes.is_empty() && kept.untold > 0 && is_counted {
            open.changes.insert(IncidentChange::Counted);
        }
        let tells = if is_first { is_worth } else { !open.changes.is_empty() };
        if tells {
            tell(kept, std::mem::take(&mut open.changes), at, emit);
            ledger.set_timer(open.id, at.plus_millis(self.settings.gap().saturating_add(AWAY_MS)));
        } else if kept.untold > 0 && !open.waits {
            // The first that waits.
            let wait = if is_first { self.settings.gap().saturating_add(AWAY_MS) } else { self.settings.count_every() };
            ledger.set_timer(open.id, at.plus_millis(wait));
        }
        ledger.keep(open.id, kept, at.plus_millis(self.settings.kept()));
    }

    /// Takes up a person's word, whose record's time is `at`.
    pub fn decide(
        &self,
        decision: &IncidentDecision,
        at: Timestamp,
        store: &mut dyn Store,
        emit: &mut dyn FnMut(&Incident),
    ) -> Decided {
        // Another tenant's incident is not among this one's, and so unknown.
        let mut ledger = Ledger::new(store, &decision.tenant_id);
        let Some((id, mut kept)) = follow(&decision.incident_id, &ledger) else { return Decided::Unknown };
        if kept.incident.revision == 0 {
            // Nobody can know of it.
            return Decided::Unknown;
        }
        let decision_id = clean(&decision.decision_id, MAX_DECISION_ID);
        if kept.incident.decisions.iter().any(|word| word.decision_id == decision_id) {
            return Decided::Known;
        }
        let incident = &mut kept.incident;
        let name = |name: &str| clean(name, MAX_NAME_CHARS);
        let comment = decision.comment.as_deref().map(|text| text.chars().take(MAX_COMMENT_CHARS).collect::<String>());
        let value = match (decision.kind, decision.status, decision.verdict, &comment) {
            (IncidentDecisionKind::Status, Some(status), ..) => {
                incident.status = status;
                Some(status.as_str().to_owned())
            }
            (IncidentDecisionKind::Verdict, _, Some(verdict), _) => {
                incident.verdict = Some(verdict);
                Some(verdict.as_str().to_owned())
            }
            (IncidentDecisionKind::Assign, ..) => {
                incident.assignee = decision.assignee.as_deref().map(name).filter(|name| !name.trim().is_empty());
                incident.assignee.clone()
            }
            (IncidentDecisionKind::Comment, _, _, Some(_)) => None,
            _ => return Decided::Incomplete,
        };
        let by = name(&decision.decided_by);
        incident.decisions.push(IncidentWord { decision_id, kind: decision.kind, value, comment, by, at });
        if incident.decisions.len() > MAX_WORDS {
            incident.decisions.remove(0);
            incident.left_out.decisions = incident.left_out.decisions.saturating_add(1);
        }
        tell(&mut kept, [IncidentChange::Decision].into(), at, emit);
        ledger.keep(id, &kept, at.plus_millis(self.settings.kept()));
        Decided::Taken
    }

    /// Looks at an incident whose timer has run out: tells what was only counted, and ends it once it is over.
    pub fn look(&self, due: &Due, at: Timestamp, store: &mut dyn Store, emit: &mut dyn FnMut(&Incident)) {
        let mut ledger = Ledger::new(store, &due.tenant_id);
        let Some((id, mut kept)) = Id::parse(&due.incident_id).and_then(|id| Some((id, ledger.incident(id)?))) else {
            return;
        };
        if kept.incident.merged_into.is_some() {
            return;
        }
        if kept.incident.revision > 0 && kept.untold > 0 {
            tell(&mut kept, [IncidentChange::Counted].into(), at, emit);
        }
        let mut active = ledger.active();
        let ends_at = active
            .iter()
            .find(|one| one.id == id)
            .map(|one| one.seen.saturating_add(self.settings.gap()).saturating_add(AWAY_MS));
        match ends_at {
            Some(ends_at) if at.as_millis() < ends_at => ledger.set_timer(id, Timestamp::from_millis(ends_at)),
            _ => {
                self.end(id, &mut kept, &mut ledger);
                active.retain(|one| one.id != id);
                ledger.keep_active(&active);
            }
        }
        ledger.keep(id, &kept, kept.incident.updated_at.plus_millis(self.settings.kept()));
    }

    /// The timers that have run out by `now`. What is older than it is kept for is dropped along.
    pub fn timers(now: Timestamp, store: &mut dyn Store) -> Vec<Due> {
        let expired = store.expired(now, TIMERS_AT_ONCE);
        let timers = expired.iter().filter_map(|(key, value)| ledger::timer(key, value));
        timers.map(|(tenant_id, incident_id)| Due { tenant_id, incident_id }).collect()
    }
}

/// A new incident of one finding.
fn open(finding: &Finding, telling: &[bool]) -> Option<Open> {
    let incident = content::of_one(finding, telling);
    let id = Id::parse(&incident.incident_id)?;
    let kept = Kept { incident, untold: 1, told_at: finding.at, alone: Vec::new(), is_active: true };
    Some(Open { waits: false, ..Open::new(id, kept) })
}

/// What the finding is joined by: its telling entities, or, where there are none, the rules that were true of the entity that it is of.
fn links_of(finding: &Finding, telling: &[bool]) -> Vec<[u8; 16]> {
    let told = finding.entities.iter().zip(telling).filter(|(_, tells)| **tells);
    let mut links: Vec<[u8; 16]> =
        told.map(|(found, _)| hash_of(found.entity.kind, &identity(&found.entity))).collect();
    if links.is_empty() {
        let name = finding.entities.first().map(|found| identity(&found.entity).into_owned()).unwrap_or_default();
        let mut parts: Vec<&[u8]> = vec![b"rules", name.as_bytes()];
        parts.extend(finding.rules.iter().map(|rule| rule.id.as_bytes()));
        links.push(link(&parts));
    }
    links
}

/// What leads to an incident.
fn joining(incident: &Incident) -> Vec<[u8; 16]> {
    let entities = incident.entities.iter().filter(|entity| entity.joins);
    let named = entities.map(|entity| cybervault_model::Entity { kind: entity.kind, value: entity.value.clone() });
    named.map(|entity| hash_of(entity.kind, &identity(&entity))).collect()
}

fn alone(kept: &Kept) -> Vec<[u8; 16]> {
    let links = kept.alone.iter().filter_map(|text| u128::from_str_radix(text, 16).ok());
    links.map(u128::to_be_bytes).collect()
}

fn span_of(incident: &Incident) -> Span {
    Span { first: incident.first_at.as_millis(), last: incident.last_at.as_millis() }
}

/// How many hosts and how many accounts it has.
fn news_of(incident: &Incident) -> (usize, usize) {
    let count = |kind| incident.entities.iter().filter(|entity| entity.kind == kind && is_news(kind)).count();
    (count(cybervault_model::EntityKind::Host), count(cybervault_model::EntityKind::User))
}

/// The incident that `incident_id` stands for: its own, or the one that it has become a part of.
fn follow(incident_id: &str, ledger: &Ledger<'_>) -> Option<(Id, Kept)> {
    let mut id = Id::parse(incident_id)?;
    for _ in 0..MAX_MERGES {
        let kept = ledger.incident(id)?;
        match &kept.incident.merged_into {
            None => return Some((id, kept)),
            Some(into) => id = Id::parse(into)?,
        }
    }
    None
}

/// What people said of where two incidents stand, of which `other` becomes a part of `incident`: nobody's work is undone.
fn keep_words(incident: &mut Incident, other: &Incident) {
    use IncidentStatus as S;
    let was = incident.status;
    incident.status = match (was, other.status) {
        (S::Closed, S::Closed) => S::Closed,
        (S::InProgress, _) | (_, S::InProgress) => S::InProgress,
        _ => S::Open,
    };
    // A verdict on what was closed says nothing of what is open again.
    let own = incident.verdict.filter(|_| was == incident.status);
    incident.verdict = own.or(other.verdict.filter(|_| other.status == incident.status));
    if incident.assignee.is_none() {
        incident.assignee.clone_from(&other.assignee);
    }
}

/// Tells an incident as it stands.
fn tell(kept: &mut Kept, changes: BTreeSet<IncidentChange>, at: Timestamp, emit: &mut dyn FnMut(&Incident)) {
    let incident = &mut kept.incident;
    incident.revision = incident.revision.saturating_add(1);
    incident.changes = changes.into_iter().collect();
    incident.updated_at = incident.updated_at.max(at);
    incident.title = title(incident);
    emit(incident);
    incident.gained.clear();
    (kept.untold, kept.told_at) = (0, at);
}
