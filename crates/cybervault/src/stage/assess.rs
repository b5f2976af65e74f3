//! Events to assessments: decode, admit, match, score.

use std::sync::Arc;

use cybervault_indicators::Kind;
use cybervault_model::{
    ContentType, Decoder, Encoding, Incoming, QuotaRejection, RejectionReason, Severity, TelemetryEvent,
    avro::WriterSchemas, json::Limits,
};
use cybervault_quota::{Admission, Bucket, Compiled, Decision};
use cybervault_sigma::{Routing, Scratch};
use cybervault_stream::{Failure, Outbox, Record, Stage, State};
use metrics::counter;

use super::{
    SOURCE_HEADER, TENANT_HEADER, TenantLabels,
    meters::{RuleMeters, Tally, TenantMeters},
    push,
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
    decoder: Decoder,
    topics: AssessTopics,
    encoding: Encoding,
    emit: Emit,
    key: Vec<u8>,
    findings: Findings,
    meters: Meters,
}

#[derive(Debug)]
struct Meters {
    tenants: TenantMeters,
    rules: RuleMeters,
    sources: SourceMeters,
    rejections: [(RejectionReason, Tally); 4],
    assessments: [Tally; Severity::ALL.len()],
    indicators: [Tally; Kind::ALL.len()],
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
        }
    }

    fn hand_over(&mut self, admission: &Admission, out: &mut Outbox) {
        self.tenants.hand_over(admission, out);
        self.rules.hand_over(out);
        self.sources.hand_over(out);
        self.rejections.iter_mut().for_each(|(_, tally)| tally.hand_over(out));
        self.assessments.iter_mut().for_each(|tally| tally.hand_over(out));
        self.indicators.iter_mut().for_each(|tally| tally.hand_over(out));
    }
}

impl Assess {
    /// A stage that takes what is in force from `live`.
    pub(crate) fn new(
        live: Arc<Live>,
        limits: Limits,
        schemas: Arc<dyn WriterSchemas>,
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
            decoder: Decoder::new(limits).with_schemas(schemas),
            topics,
            encoding,
            emit,
            key: Vec::new(),
            findings: Findings::default(),
            meters: Meters::new(labels, board),
        }
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
        let Self { decoder, admission, key, .. } = self;
        let incoming = Incoming {
            key: record.key,
            value: record.value,
            tenant_header: record.headers.get(TENANT_HEADER),
            content_type: record.headers.get(ContentType::HEADER),
            source_header: record.headers.get(SOURCE_HEADER),
        };
        let decoded = decoder.decode(&incoming).map_err(|error| undecodable(&error))?;
        let event = decoded.event();
        let rest = Rest {
            detection: &self.detection,
            scratch: &mut self.scratch,
            findings: &mut self.findings,
            meters: &mut self.meters,
            topics: &self.topics,
            encoding: &self.encoding,
            emit: self.emit,
        };
        let Some(tenant) = admission.lookup(event.tenant_id) else {
            return rest.reject(record, &event, None, (RejectionReason::UnknownTenant, None), out);
        };
        let (bucket, decision) = admit(admission, tenant, record, key, state);
        match decision {
            Decision::Rejected { reason, retry_after_ms } => {
                rest.reject(record, &event, Some((tenant, bucket)), (reason, retry_after_ms), out)
            }
            Decision::Admitted => rest.assess(record, &event, (tenant, bucket), out),
        }
    }

    fn end_batch(&mut self, out: &mut Outbox) {
        self.meters.hand_over(&self.admission, out);
    }
}

/// Decides on the record by its tenant's bucket, on the record's own time.
fn admit(
    admission: &Admission,
    tenant: &Compiled,
    record: &Record<'_>,
    key: &mut Vec<u8>,
    state: &mut State,
) -> (Bucket, Decision) {
    key.clear();
    key.extend_from_slice(b"quota|");
    key.extend_from_slice(tenant.tenant_id().as_str().as_bytes());
    let before = state.get(key).and_then(Bucket::decode);
    let known = before.unwrap_or_default();
    let (bucket, decision) = admission.decide(tenant, known, record.timestamp, record.value.len() as u64);
    if bucket != known {
        state.put(key, &bucket.encode(), Some(bucket.empty_at()));
    }
    (bucket, decision)
}

/// The stage without its decoder, whose memory the event lies in.
struct Rest<'s> {
    detection: &'s Detection,
    scratch: &'s mut Scratch,
    findings: &'s mut Findings,
    meters: &'s mut Meters,
    topics: &'s AssessTopics,
    encoding: &'s Encoding,
    emit: Emit,
}

impl Rest<'_> {
    fn assess(
        self,
        record: &Record<'_>,
        event: &TelemetryEvent<'_>,
        (tenant, bucket): (&Compiled, Bucket),
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let tenant_id = tenant.tenant_id();
        let (detection, record_time) = (self.detection, Some(record.timestamp));
        detection.find(event, record_time, Routing::Auto, self.scratch, self.findings);
        self.meters.sources.count(tenant_id, event, self.scratch);
        if !self.findings.is_empty() || self.emit == Emit::All {
            let assessment = detection.assess(tenant_id, event, record_time, self.scratch, self.findings);
            let key = assessment.key();
            push(out, self.encoding, (&self.topics.assessments, key.as_bytes()), tenant_id.as_str(), &assessment)?;
            self.meters.assessments[assessment.severity as usize].add(1);
            for rule in &self.findings.rules {
                self.meters.rules.hit(rule.get(), &detection.matcher.rules()[rule.get()].id);
            }
            for found in &self.findings.indicators {
                self.meters.indicators[found.kind as usize].add(1);
            }
        }
        self.meters.tenants.admitted(tenant_id, record.value.len(), bucket, record.timestamp);
        Ok(())
    }

    fn reject(
        self,
        record: &Record<'_>,
        event: &TelemetryEvent<'_>,
        tenant: Option<(&Compiled, Bucket)>,
        (reason, retry_after_ms): (RejectionReason, Option<u64>),
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let rejection = QuotaRejection {
            tenant_id: event.tenant_id.to_owned(),
            reason,
            plan: tenant.map(|(tenant, _)| tenant.plan()),
            retry_after_ms,
            rejected_at: record.timestamp,
            bytes: record.value.len() as u64,
            origin: record.origin(),
        };
        let key = event.tenant_id;
        push(out, self.encoding, (&self.topics.rejections, key.as_bytes()), key, &rejection)?;
        if let Some((_, tally)) = self.meters.rejections.iter_mut().find(|(known, _)| *known == reason) {
            tally.add(1);
        }
        let tenant = tenant.map(|(tenant, bucket)| (tenant.tenant_id(), bucket, record.timestamp));
        self.meters.tenants.rejected(tenant, record.value.len());
        Ok(())
    }
}
