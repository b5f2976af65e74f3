//! Events to assessments: decode, admit, match, score; each event of a record by itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cybervault_indicators::Kind;
use cybervault_model::{
    ContentType, Encoding, Incoming, Origin, QuotaRejection, RejectionReason, Severity, TelemetryEvent,
    container::{Part, Unpacked, Unpacker},
    fault,
};
use cybervault_quota::{Admission, Bucket, Compiled, Decision};
use cybervault_sigma::{Routing, Scratch};
use cybervault_stream::{Failure, Outbox, Poison, Record, Stage, State};
use metrics::counter;

use super::{
    SOURCE_HEADER, TENANT_HEADER, TenantLabels,
    meters::{RuleMeters, Tally, TenantMeters},
    push, push_marked,
    reprocess::Again,
    sources::SourceMeters,
    undecodable,
};
use crate::{
    config::Emit,
    detection::{Detection, Findings},
    live::Live,
    sources::SourceBoard,
};

/// Where the assess stage writes.
#[derive(Clone, Debug)]
pub(crate) struct AssessTopics {
    /// Assessments.
    pub(crate) assessments: Arc<str>,
    /// Events that were not admitted.
    pub(crate) rejections: Arc<str>,
}

/// The assess stage.
///
/// Its state is each tenant's quota bucket, under `quota|` and the tenant's id. What is in the tenants file bounds it, so
/// nothing is dropped by the clock: a backlog is decided on by record times, which the wall clock has long passed, and a
/// bucket dropped by the latter would be a refill.
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
    meters: Meters,
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
            meters: Meters::new(labels, board),
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
        let mut at_hand = AtHand {
            record,
            admission: &self.admission,
            detection: &self.detection,
            scratch: &mut self.scratch,
            findings: &mut self.findings,
            meters: &mut self.meters,
            topics: &self.topics,
            encoding: &self.encoding,
            emit: self.emit,
            key: &mut self.key,
            state,
            out,
            failure: None,
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

    fn end_batch(&mut self, out: &mut Outbox) {
        self.meters.hand_over(&self.admission, out);
    }
}

/// A record's events on their way, without what they were decoded by, whose memory they lie in.
struct AtHand<'s, 'r> {
    record: &'s Record<'r>,
    admission: &'s Admission,
    detection: &'s Detection,
    scratch: &'s mut Scratch,
    findings: &'s mut Findings,
    meters: &'s mut Meters,
    topics: &'s AssessTopics,
    encoding: &'s Encoding,
    emit: Emit,
    key: &'s mut Vec<u8>,
    state: &'s mut State,
    out: &'s mut Outbox,
    /// Why all of the record is given up.
    failure: Option<Failure>,
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
        let (bucket, decision) = self.admit(tenant, bytes);
        match decision {
            Decision::Rejected { reason, retry_after_ms } => {
                self.reject(event, bytes, Some((tenant, bucket)), (reason, retry_after_ms))
            }
            Decision::Admitted => self.assess(event, bytes, (tenant, bucket)),
        }
    }

    /// Decides by the tenant's bucket, on the record's own time.
    fn admit(&mut self, tenant: &Compiled, bytes: usize) -> (Bucket, Decision) {
        let Self { record, key, state, admission, .. } = self;
        key.clear();
        key.extend_from_slice(b"quota|");
        key.extend_from_slice(tenant.tenant_id().as_str().as_bytes());
        let before = state.get(key).and_then(Bucket::decode);
        let known = before.unwrap_or_default();
        let (bucket, decision) = admission.decide(tenant, known, record.timestamp, bytes as u64);
        if bucket != known {
            state.put(key, &bucket.encode(), Some(bucket.empty_at()));
        }
        (bucket, decision)
    }

    fn assess(
        &mut self,
        event: &TelemetryEvent<'_>,
        bytes: usize,
        (tenant, bucket): (&Compiled, Bucket),
    ) -> Result<(), Failure> {
        let tenant_id = tenant.tenant_id();
        let (detection, record_time) = (self.detection, Some(self.record.timestamp));
        detection.find(event, record_time, Routing::Auto, self.scratch, self.findings);
        self.meters.sources.count(tenant_id, event, self.scratch);
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
        self.meters.tenants.admitted(tenant_id, bytes, bucket, self.record.timestamp);
        Ok(())
    }

    fn reject(
        &mut self,
        event: &TelemetryEvent<'_>,
        bytes: usize,
        tenant: Option<(&Compiled, Bucket)>,
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
        let tenant = tenant.map(|(tenant, bucket)| (tenant.tenant_id(), bucket, record.timestamp));
        self.meters.tenants.rejected(tenant, bytes);
        Ok(())
    }
}
