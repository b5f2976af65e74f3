//! The gateway, wired to what is in force here.

use std::sync::{Arc, Mutex, PoisonError};

use cybervault_gateway::{Engine, Found, Place, RuleFacts, Settings, TenantFacts, Topics};
use cybervault_model::{Decoder, Encoding, Incoming, TenantId, Timestamp, avro::WriterSchemas, json::Limits};
use cybervault_sigma::{Routing, Scratch};
use cybervault_stream::Health;

use crate::{
    config::Config,
    correlating::{Looked, signals},
    detection::{Detection, Findings},
    live::Live,
    pipeline::{ASSESS, CORRELATE, GUARD, INCIDENT_GROUP, INCIDENT_SELECT, SELECT, group},
};

/// How many desks are kept for the next request.
const DESKS: usize = 64;

/// The rules and tenants in force, for the gateway.
#[derive(Debug)]
pub(crate) struct LiveEngine {
    live: Arc<Live>,
    limits: Limits,
    /// What one request at a time works at; its memory is used again by the next.
    desks: Mutex<Vec<Desk>>,
    /// What each stage has committed, by its group, where all of it is done in this process.
    progress: Option<(Health, [(String, &'static str); 6])>,
}

#[derive(Debug)]
struct Desk {
    detection: Arc<Detection>,
    scratch: Scratch,
    decoder: Decoder,
    looked: Looked,
}

impl LiveEngine {
    /// An engine that takes what is in force from `live`.
    pub(crate) fn new(live: Arc<Live>, config: &Config) -> Self {
        Self { live, limits: config.limits.reader(), desks: Mutex::default(), progress: None }
    }

    /// The same, where the stages run in this process alone: their own counts then say how far they are.
    pub(crate) fn with_stages(self, config: &Config, health: Health) -> Self {
        let stages = [ASSESS, CORRELATE, SELECT, GUARD, INCIDENT_SELECT, INCIDENT_GROUP];
        let stages = stages.map(|stage| (group(config, stage), stage));
        Self { progress: Some((health, stages)), ..self }
    }

    fn desk(&self) -> Desk {
        let detection = self.live.detection();
        let kept = self.desks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match kept.filter(|desk| Arc::ptr_eq(&desk.detection, &detection)) {
            Some(desk) => desk,
            None => Desk {
                scratch: detection.matcher.scratch(),
                decoder: Decoder::new(self.limits),
                looked: Looked::default(),
                detection,
            },
        }
    }
}

impl Engine for LiveEngine {
    fn assess(&self, tenant_id: &TenantId, event: &[u8], at: Timestamp) -> Result<Found, String> {
        let mut desk = self.desk();
        let Desk { detection, scratch, decoder, looked } = &mut desk;
        let incoming =
            Incoming { value: event, tenant_header: Some(tenant_id.as_str().as_bytes()), ..Incoming::default() };
        let decoded = decoder.decode(&incoming).map_err(|error| error.to_string())?;
        let event = decoded.event();
        let mut findings = Findings::default();
        detection.find(&event, Some(at), Routing::Auto, scratch, &mut findings);
        let (signals, _) = signals(detection, (tenant_id, &event, at), &findings.rules, (scratch, looked));
        findings.keep_told(&detection.matcher);
        let assessment = detection.assess(tenant_id, &event, Some(at), scratch, &mut findings);
        drop(decoded);
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        if desks.len() < DESKS {
            desks.push(desk);
        }
        Ok(Found { assessment, signals })
    }

    fn tenant(&self, tenant_id: &str) -> Option<TenantFacts> {
        let admission = self.live.admission();
        let tenant = admission.lookup(tenant_id)?;
        let rates = tenant.rates();
        Some(TenantFacts {
            plan: tenant.plan(),
            suspended: tenant.suspended().is_some(),
            events_per_second: rates.events_per_second,
            bytes_per_second: rates.bytes_per_second,
            burst_percent: rates.burst_percent,
        })
    }

    fn committed(&self, group: &str) -> Option<u64> {
        let (health, stages) = self.progress.as_ref()?;
        let (_, stage) = stages.iter().find(|(of, _)| of == group)?;
        Some(health.records(stage))
    }

    fn rules(&self) -> Vec<RuleFacts> {
        let detection = self.live.detection();
        let rules = detection.matcher.rules().iter().map(|rule| {
            let source = &rule.logsource;
            let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
            RuleFacts {
                rule_id: rule.id.clone(),
                title: rule.title.clone(),
                level: rule.level,
                status: rule.status.clone(),
                tags: rule.tags.clone(),
                logsource: format!("{}/{}/{}", part(&source.product), part(&source.service), part(&source.category)),
                false_positives: rule.falsepositives.clone(),
            }
        });
        rules.collect()
    }
}

/// The gateway's settings, as the configuration says, with its store at `store`.
pub(crate) fn settings(
    config: &Config,
    store: Place,
    (encoding, schemas): (Encoding, Arc<dyn WriterSchemas>),
) -> Settings {
    let gateway = &config.gateway;
    let topics = Topics {
        events: config.topic(|names| &names.telemetry_api),
        signals: config.topic(|names| &names.detection_signals),
        assessments: config.topic(|names| &names.threat_assessments),
        actions: config.topic(|names| &names.response_actions),
        rejections: config.topic(|names| &names.quota_rejections),
        sources: config.topic(|names| &names.telemetry_sources),
        incidents: config.topic(|names| &names.threat_incidents),
        decisions: config.topic(|names| &names.response_decisions),
        incident_decisions: config.topic(|names| &names.incident_decisions),
    };
    Settings {
        listen: gateway.listen,
        public_url: gateway.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
        tls: gateway.tls.clone(),
        trusted_proxies: gateway.trusted_proxies.clone(),
        connections: crate::descriptors::for_connections(),
        store,
        rate_limits: gateway.rate_limits,
        streams: gateway.streams,
        retention: gateway.retention.clone(),
        kafka: config.kafka(),
        transactional_id: format!("{}.{}", group(config, "gateway"), config.worker.instance()),
        groups: vec![
            (group(config, ASSESS), config.topic(|names| &names.telemetry_events)),
            (group(config, CORRELATE), topics.signals.clone()),
            (group(config, SELECT), topics.assessments.clone()),
            (group(config, GUARD), config.topic(|names| &names.response_candidates)),
            (group(config, INCIDENT_SELECT), topics.assessments.clone()),
            (group(config, INCIDENT_GROUP), config.topic(|names| &names.incident_candidates)),
        ],
        topics,
        encoding,
        schemas,
        max_event_bytes: config.limits.max_event_bytes,
        spans: config.tracing.is_on(),
    }
}
