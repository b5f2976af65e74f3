//! Events to assessments: decode, admit, match, score; each event of a record by itself.

use std::{
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use cybervault_indicators::Kind;
use cybervault_model::{
    ContentType, Encoding, Incoming, Origin, QuotaRejection, RejectionReason, Severity, TelemetryEvent, TenantId,
    Timestamp,
    container::{Part, Unpacked, Unpacker},
    fault,
};
use cybervault_quota::{Admission, Compiled, Decision, Holding};
use cybervault_sigma::{Routing, Scratch};
use cybervault_stream::{Failure, Outbox, Poison, Record, Stage, State};
use foldhash::fast::RandomState;
use metrics::counter;

use super::{
    SOURCE_HEADER, TENANT_HEADER, TenantLabels,
    meters::{RuleMeters, Tally, TenantMeters},
    push, push_marked,
    quota::push_json,
    reprocess::Again,
    sources::SourceMeters,
    undecodable,
};
use crate::{
    config::Emit,
    correlating::{Looked, signals},
    detection::{Detection, Findings},
    live::Live,
    shares::ShareBoard,
    sources::SourceBoard,
};

/// Where the assess stage writes.
#[derive(Clone, Debug)]
pub(crate) struct AssessTopics {
    /// Assessments.
    pub(crate) assessments: Arc<str>,
    /// Events that were not admitted.
    pub(crate) rejections: Arc<str>,
    /// What is used of quotas.
    pub(crate) usage: Arc<str>,
    /// What correlations look at.
    pub(crate) signals: Arc<str>,
}

/// The assess stage.
///
/// Its state is what each partition holds of each tenant's quota, under `quota|` and the tenant's id, and how many such terms the
/// partition has had, under `quota~terms`. A tenant of whom nothing has come for a while is forgotten, by the partition's records' time and
/// not by the clock: a backlog is decided on by record times, which the wall clock has long passed, and a bucket dropped by the
/// latter would be a refill.
#[derive(Debug)]
pub(crate) struct Assess {
    live: Arc<Live>,
    admission: Arc<Admission>,
    detection: Arc<Detection>,
    scratch: Scratch,
    unpacker: Unpacker,
    topics: AssessTopics,
    encoding: Encoding,
    emit: Emit,
    key: Vec<u8>,
    findings: Findings,
    looked: Looked,
    meters: Meters,
    shares: ShareBoard,
    /// The latest record time of each partition: a hint for what may be forgotten.
    clocks: HashMap<i32, Timestamp, RandomState>,
    /// Tenants that events came of since the partition's last tick, where something was granted or asked for.
    active: HashSet<(i32, TenantId)>,
    /// Where events are assessed again, beside the fleet.
    again: Option<Again>,
}

#[derive(Debug)]
struct Meters {
    tenants: TenantMeters,
    rules: RuleMeters,
    sources: SourceMeters,
    rejections: [(RejectionReason, Tally); 4],
    assessments: [Tally; Severity::ALL.len()],
    indicators: [Tally; Kind::ALL.len()],
    containers: Tally,
    contained: Tally,
    /// Events with characters that are none.
    mended: Tally,
    signals: Tally,
    /// Events with more values or groups than correlations take.
    signals_cut: Tally,
}

impl Meters {
    fn new(labels: TenantLabels, board: SourceBoard) -> Self {
        let reasons = [
            RejectionReason::UnknownTenant,
            RejectionReason::SuspendedTenant,
            RejectionReason::EventsPerSecond,
            RejectionReason::BytesPerSecond,
        ];
        Self {
            tenants: TenantMeters::new(labels.clone()),
            rules: RuleMeters::default(),
            sources: SourceMeters::new(board, labels),
            rejections: reasons.map(|reason| {
                (reason, Tally::new(counter!("cybervault_quota_rejections_total", "reason" => reason.as_str())))
            }),
            assessments: Severity::ALL
                .map(|severity| Tally::new(counter!("cybervault_assessments_total", "severity" => severity.as_str()))),
            indicators: Kind::ALL
                .map(|kind| Tally::new(counter!("cybervault_indicator_hits_total", "kind" => kind.as_str()))),
            containers: Tally::new(counter!("cybervault_containers_total")),
            contained: Tally::new(counter!("cybervault_contained_events_total")),
            mended: Tally::new(counter!("cybervault_events_mended_total")),
            signals: Tally::new(counter!("cybervault_signals_total")),
            signals_cut: Tally::new(counter!("cybervault_signals_cut_total")),
        }
    }

    fn hand_over(&mut self, admission: &Admission, out: &mut Outbox) {
        self.tenants.hand_over(admission, out);
        self.rules.hand_over(out);
        self.sources.hand_over(out);
        self.rejections.iter_mut().for_each(|(_, tally)| tally.hand_over(out));
        self.assessments.iter_mut().for_each(|tally| tally.hand_over(out));
        self.indicators.iter_mut().for_each(|tally| tally.hand_over(out));
        self.containers.hand_over(out);
        self.contained.hand_over(out);
        self.mended.hand_over(out);
        self.signals.hand_over(out);
        self.signals_cut.hand_over(out);
    }
}

impl Assess {
    /// A stage that takes what is in force from `live`.
    pub(crate) fn new(
        live: Arc<Live>,
        unpacker: Unpacker,
        topics: AssessTopics,
        (encoding, emit): (Encoding, Emit),
        (labels, board): (TenantLabels, SourceBoard),
        shares: ShareBoard,
    ) -> Self {
        let detection = live.detection();
        Self {
            admission: live.admission(),
            scratch: detection.matcher.scratch(),
            detection,
            live,
            unpacker,
            topics,
            encoding,
            emit,
            key: Vec::new(),
            findings: Findings::default(),
            looked: Looked::default(),
            meters: Meters::new(labels, board),
            shares,
            clocks: HashMap::default(),
            active: HashSet::new(),
            again: None,
        }
    }

    /// The same for events that are assessed again.
    pub(crate) fn again(self, again: Again) -> Self {
        Self { again: Some(again), ..self }
    }
}

impl Stage for Assess {
    fn begin_batch(&mut self) {
        self.admission = self.live.admission();
        let detection = self.live.detection();
        if !Arc::ptr_eq(&detection, &self.detection) {
            self.scratch = detection.matcher.scratch();
            self.meters.rules = RuleMeters::default();
            self.meters.sources.forget();
            self.detection = detection;
        }
    }

    fn process(&mut self, record: &Record<'_>, state: &mut State, out: &mut Outbox) -> Result<(), Failure> {
        let incoming = Incoming {
            key: record.key,
            value: record.value,
            // An ingestion that appends its own to what a sender has set must not lose to it.
            tenant_header: record.headers.sole(TENANT_HEADER)?,
            content_type: record.headers.sole(ContentType::HEADER)?,
            source_header: record.headers.sole(SOURCE_HEADER)?,
            ..Incoming::default()
        };
        let clock = self.clocks.entry(record.partition).or_insert(record.timestamp);
        *clock = record.timestamp.max(*clock);
        let mut at_hand = AtHand {
            record,
            admission: &self.admission,
            detection: &self.detection,
            scratch: &mut self.scratch,
            findings: &mut self.findings,
            looked: &mut self.looked,
            meters: &mut self.meters,
            topics: &self.topics,
            encoding: &self.encoding,
            emit: self.emit,
            key: &mut self.key,
            state,
            out,
            failure: None,
            shares: &self.shares,
            active: &mut self.active,
            again: self.again.as_ref(),
        };
        let unpacked = self.unpacker.each(&incoming, &mut |part| at_hand.take(&part));
        if let Some(failure) = at_hand.failure {
            return Err(failure);
        }
        if let Unpacked::Container(events) = unpacked.map_err(|error| undecodable(&error))? {
            // A wrapper with nothing in it is how some senders say that nothing happened; this is no wrapper.
            if events == 0 && record.value.trim_ascii_start().starts_with(b"[") {
                return Err(
                    Poison::new("wrong_schema", "an empty list, where an event or a list of them is expected").into()
                );
            }
            self.meters.containers.add(1);
            self.meters.contained.add(events);
        }
        Ok(())
    }

    /// What is kept of earlier events lies in these three; counts are only added to once an event is through.
    fn recover(&mut self) {
        self.unpacker.recover();
        self.scratch = self.detection.matcher.scratch();
        self.findings = Findings::default();
    }

    const TICK: Duration = Duration::from_millis(250);

    /// What is granted to, or asked of, tenants of whom nothing comes; and whom to forget.
    fn tick(&mut self, partition: i32, now: Timestamp, state: &mut State, out: &mut Outbox) {
        let (Ok(place), None) = (u32::try_from(partition), &self.again) else { return };
        if let Err(failure) = self.settle((partition, place), now, state, out) {
            tracing::error!(?failure, "what is used of a quota can't be written");
        }
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        self.meters.hand_over(&self.admission, out);
    }
}

impl Assess {
    fn settle(
        &mut self,
        (partition, place): (i32, u32),
        now: Timestamp,
        state: &mut State,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        for grant in self.shares.new_of(place) {
            let Some(tenant) = self.admission.lookup(&grant.tenant_id) else {
                self.shares.settle(&grant);
                continue;
            };
            // Where events come, it is taken with the next one.
            if self.active.contains(&(partition, tenant.tenant_id().clone())) {
                continue;
            }
            write_key(&mut self.key, tenant.tenant_id());
            // Nobody has what is asked back of a term that has ended, save a home that knows of none.
            if state.get(&self.key).is_none() && !(tenant.is_home(place) && grant.term == 0) {
                self.shares.settle(&grant);
                continue;
            }
            let mut holding = holding(state, &self.key, tenant, place);
            if !tenant.is_news(&holding, &grant, now) {
                if !holding.is_asked(&grant) {
                    self.shares.settle(&grant);
                }
                continue;
            }
            let (before, is_idle) = (holding, tenant.is_idle(&holding, now));
            tenant.take(&mut holding, &grant, None, is_idle);
            if holding == before {
                continue;
            }
            let usage = tenant.report_quiet(&mut holding, place, now, is_idle);
            push_json(out, &self.topics.usage, tenant.tenant_id().as_str().as_bytes(), &usage)?;
            state.put(&self.key, &holding.encode(), holding.expires_at(tenant, place));
        }
        self.active.retain(|(of, _)| *of != partition);
        let clock = self.clocks.get(&partition).copied().unwrap_or(Timestamp::MIN);
        for (key, value) in state.expired(clock, FORGOTTEN_AT_ONCE) {
            let tenant = key.strip_prefix(b"quota|").and_then(|id| std::str::from_utf8(id).ok());
            let Some(tenant) = tenant.and_then(|id| self.admission.lookup(id)) else { continue };
            let known = Holding::decode(&value, || Holding::open(tenant, place, 0));
            if let Some(usage) = known.and_then(|holding| tenant.close(holding, place, clock)) {
                push_json(out, &self.topics.usage, tenant.tenant_id().as_str().as_bytes(), &usage)?;
            }
        }
        Ok(())
    }
}

/// How many tenants a partition forgets in one tick.
const FORGOTTEN_AT_ONCE: usize = 1_000;
/// Under which key a partition counts the terms in which it knew a tenant.
const TERMS: &[u8] = b"quota~terms";

fn write_key(key: &mut Vec<u8>, tenant_id: &TenantId) {
    key.clear();
    key.extend_from_slice(b"quota|");
    key.extend_from_slice(tenant_id.as_str().as_bytes());
}

/// What the partition holds of the tenant's quota: what is in the state, else the beginning of a new term.
fn holding(state: &mut State, key: &[u8], tenant: &Compiled, partition: u32) -> Holding {
    let never = || Holding::open(tenant, partition, 0);
    let known = state.get(key).map(|bytes| (Holding::decode(bytes, never), bytes.len() == Holding::ENCODED_LEN));
    if let Some((Some(holding), true)) = known {
        return holding;
    }
    let term = state.get(TERMS).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes) + 1;
    state.put(TERMS, &term.to_be_bytes(), None);
    let old = state.get(key).and_then(|bytes| Holding::decode(bytes, || Holding::open(tenant, partition, term)));
    old.unwrap_or_else(|| Holding::open(tenant, partition, term))
}

/// A record's events on their way, without what they were decoded by, whose memory they lie in.
struct AtHand<'s, 'r> {
    record: &'s Record<'r>,
    admission: &'s Admission,
    detection: &'s Detection,
    scratch: &'s mut Scratch,
    findings: &'s mut Findings,
    looked: &'s mut Looked,
    meters: &'s mut Meters,
    topics: &'s AssessTopics,
    encoding: &'s Encoding,
    emit: Emit,
    key: &'s mut Vec<u8>,
    state: &'s mut State,
    out: &'s mut Outbox,
    /// Why all of the record is given up.
    failure: Option<Failure>,
    shares: &'s ShareBoard,
    active: &'s mut HashSet<(i32, TenantId)>,
    again: Option<&'s Again>,
}

impl AtHand<'_, '_> {
    fn take(&mut self, part: &Part<'_>) {
        let taken = match &part.event {
            Ok(event) if part.place.is_some() => self.decide_alone(event, part.charge),
            Ok(event) => self.decide(event, part.charge),
            Err(error) => Err(undecodable(error)),
        };
        match (taken, part.place) {
            (Ok(()), _) => {}
            (Err(Failure::Poison(poison)), Some(place)) => self.out.give_up(part.bytes, place, poison),
            (Err(failure), _) => self.failure = Some(failure),
        }
    }

    /// The same of one of several, which a panic on this one must not take with it.
    fn decide_alone(&mut self, event: &TelemetryEvent<'_>, bytes: usize) -> Result<(), Failure> {
        catch_unwind(AssertUnwindSafe(|| self.decide(event, bytes))).unwrap_or_else(|_| {
            // Both may be half-done.
            *self.scratch = self.detection.matcher.scratch();
            *self.findings = Findings::default();
            Err(Poison::new("panic", "the stage failed on this event; please report it").into())
        })
    }

    /// Decides on an event of so many bytes, and assesses it if it is admitted.
    fn decide(&mut self, event: &TelemetryEvent<'_>, bytes: usize) -> Result<(), Failure> {
        if let Some(again) = self.again
            && again.tenant.as_deref().is_some_and(|tenant| tenant != event.tenant_id)
        {
            Again::count(&again.tally.of_others, self.out);
            return Ok(());
        }
        self.meters.mended.add(u64::from(event.replaced_characters() > 0));
        let Some(tenant) = self.admission.lookup(event.tenant_id) else {
            return self.reject(event, bytes, None, (RejectionReason::UnknownTenant, None));
        };
        let (holding, decision) = self.admit(tenant, bytes)?;
        match decision {
            Decision::Rejected { reason, retry_after_ms } => {
                self.reject(event, bytes, Some((tenant, holding)), (reason, retry_after_ms))
            }
            Decision::Admitted => self.assess(event, bytes, (tenant, holding)),
        }
    }

    /// Decides by what the partition holds of the tenant's quota, on the record's own time; and tells of it what is due.
    fn admit(&mut self, tenant: &Compiled, bytes: usize) -> Result<(Holding, Decision), Failure> {
        let (record, now) = (self.record, self.record.timestamp);
        let partition = u32::try_from(record.partition).unwrap_or_default();
        if let Some(rejected) = tenant.suspended() {
            return Ok((Holding::open(tenant, partition, 0), rejected));
        }
        write_key(self.key, tenant.tenant_id());
        let mut holding = holding(self.state, self.key, tenant, partition);
        let mut is_due = false;
        if self.again.is_none()
            && let Some(grant) = self.shares.of(partition, tenant.tenant_id().as_str())
        {
            if tenant.is_news(&holding, &grant, now) {
                let before = holding;
                tenant.take(&mut holding, &grant, Some(now), false);
                is_due = holding.has_given_since(&before);
            }
            if !self.active.contains(&(record.partition, tenant.tenant_id().clone())) {
                self.active.insert((record.partition, tenant.tenant_id().clone()));
            }
        }
        let decision = tenant.decide(&mut holding, now, bytes as u64);
        if (is_due || tenant.is_due(&holding)) && self.again.is_none() {
            let usage = tenant.report(&mut holding, partition);
            push_json(self.out, &self.topics.usage, tenant.tenant_id().as_str().as_bytes(), &usage)?;
        }
        self.state.put(self.key, &holding.encode(), holding.expires_at(tenant, partition));
        Ok((holding, decision))
    }

    fn assess(
        &mut self,
        event: &TelemetryEvent<'_>,
        bytes: usize,
        (tenant, holding): (&Compiled, Holding),
    ) -> Result<(), Failure> {
        let tenant_id = tenant.tenant_id();
        let (detection, record_time) = (self.detection, Some(self.record.timestamp));
        detection.find(event, record_time, Routing::Auto, self.scratch, self.findings);
        self.meters.sources.count(tenant_id, event, self.scratch);
        if !self.findings.rules.is_empty() && !detection.plan.is_empty() {
            self.signal(tenant_id, event)?;
            self.findings.keep_told(&detection.matcher);
        }
        if !self.findings.is_empty() || self.emit == Emit::All {
            let assessment = detection.assess(tenant_id, event, record_time, self.scratch, self.findings);
            if let Some(again) = self.again {
                if again.known.has(&assessment.assessment_id) {
                    Again::count(&again.tally.there_already, self.out);
                    return Ok(());
                }
                Again::count(&again.tally.written, self.out);
            }
            let key = assessment.key();
            let (place, mark) = ((&self.topics.assessments, key.as_bytes()), self.again.map(|again| again.mark));
            push_marked(self.out, self.encoding, place, (tenant_id.as_str(), mark), &assessment)?;
            fault::point("assess.written");
            self.meters.assessments[assessment.severity as usize].add(1);
            for rule in &self.findings.rules {
                self.meters.rules.hit(rule.get(), &detection.matcher.rules()[rule.get()].id);
            }
            for found in &self.findings.indicators {
                self.meters.indicators[found.kind as usize].add(1);
            }
        }
        self.meters.tenants.admitted(tenant_id, bytes, holding, self.record.timestamp);
        Ok(())
    }

    /// Writes what correlations need of the event. Those that it was for saw it when it came: assessed again, it is not counted again.
    fn signal(&mut self, tenant_id: &TenantId, event: &TelemetryEvent<'_>) -> Result<(), Failure> {
        if self.again.is_some() {
            return Ok(());
        }
        let from = (tenant_id, event, self.record.timestamp);
        let (signals, is_cut) = signals(self.detection, from, &self.findings.rules, (self.scratch, self.looked));
        for signal in &signals {
            let key = signal.key();
            let place = (&self.topics.signals, key.as_bytes());
            push(self.out, self.encoding, place, tenant_id.as_str(), signal)?;
            fault::point("signal.written");
        }
        self.meters.signals.add(signals.len() as u64);
        self.meters.signals_cut.add(u64::from(is_cut));
        Ok(())
    }

    fn reject(
        &mut self,
        event: &TelemetryEvent<'_>,
        bytes: usize,
        tenant: Option<(&Compiled, Holding)>,
        (reason, retry_after_ms): (RejectionReason, Option<u64>),
    ) -> Result<(), Failure> {
        if let Some(again) = self.again {
            Again::count(&again.tally.rejected, self.out);
            return Ok(());
        }
        let record = self.record;
        let place = event.inside.map(|inside| inside.place.to_owned()).filter(|place| !place.is_empty());
        let rejection = QuotaRejection {
            tenant_id: event.tenant_id.to_owned(),
            reason,
            plan: tenant.map(|(tenant, _)| tenant.plan()),
            retry_after_ms,
            rejected_at: record.timestamp,
            bytes: bytes as u64,
            origin: Origin { place, ..record.origin() },
        };
        let key = event.tenant_id;
        push(self.out, self.encoding, (&self.topics.rejections, key.as_bytes()), key, &rejection)?;
        if let Some((_, tally)) = self.meters.rejections.iter_mut().find(|(known, _)| *known == reason) {
            tally.add(1);
        }
        let tenant = tenant.map(|(tenant, holding)| (tenant.tenant_id(), holding, record.timestamp));
        self.meters.tenants.rejected(tenant, bytes);
        Ok(())
    }
}
