//! The stages at work: each with its runners, on threads of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow};
use cybervault_incident::Grouping;
use cybervault_model::{
    Encoding,
    avro::{NoRegistry, Subject, WriterSchemas},
};
use cybervault_response::Guard;
use cybervault_stream::{
    Health, RegistryError, RegistrySettings, Runner, RunnerSettings, SchemaRegistry, Stage, StateLimits, StreamError,
};

use crate::{
    config::{Config, OutputEncoding, Role},
    live::Live,
    shares::{ShareBoard, ShareFollower},
    sources::{SourceBoard, SourceTeller},
    stage::{
        Assess, AssessTopics, Correlate, IncidentGroup, IncidentSelect, Quota, RespondGuard, RespondSelect,
        TenantLabels,
    },
};

/// The stage that reads events.
pub(crate) const ASSESS: &str = "assess";
/// The stage that moves shares of quotas.
pub(crate) const QUOTA: &str = "quota";
/// The stage that reads signals.
pub(crate) const CORRELATE: &str = "correlate";
/// The stage that reads assessments and decisions.
pub(crate) const SELECT: &str = "respond_select";
/// The stage that reads what playbooks ask for.
pub(crate) const GUARD: &str = "respond_guard";

/// The stage that brings findings and people's words on incidents together.
pub(crate) const INCIDENT_SELECT: &str = "incident_select";
/// The stage that makes incidents of them.
pub(crate) const INCIDENT_GROUP: &str = "incident_group";

/// How often the registry is asked again at the start.
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);

/// Runners that were started. Stop them by the flag that they were given, then [`Pipeline::join`].
#[derive(Debug)]
pub(crate) struct Pipeline {
    runners: Vec<(String, JoinHandle<Result<(), StreamError>>)>,
    sources: Option<SourceTeller>,
    shares: Option<ShareFollower>,
}

impl Pipeline {
    /// Starts the runners of the configured roles; they work until `stop` is true. Where one of them gives up it sets
    /// `stop` itself, so that the others end, too.
    ///
    /// Waits for the schema registry, where schemas have to be registered.
    ///
    /// # Errors
    /// When the registry refuses a schema, or the guardrails can't be read.
    pub(crate) fn start(
        config: &Config,
        live: &Arc<Live>,
        health: &Health,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let (encoding, schemas) = codec(config, stop)?;
        let starter = Starter {
            config,
            encoding,
            schemas,
            labels: TenantLabels::new(config.metrics.top_tenants),
            board: SourceBoard::default(),
            shares: ShareBoard::default(),
            live,
            health,
            stop,
        };
        let (assess, respond) =
            (config.worker.roles.contains(&Role::Assess), config.worker.roles.contains(&Role::Respond));
        let topic = config.topic(|names| &names.telemetry_sources);
        let teller = assess.then(|| SourceTeller::start(starter.board.clone(), config.kafka(), topic)).transpose()?;
        let quota = config.worker.roles.contains(&Role::Quota);
        let correlate = config.worker.roles.contains(&Role::Correlate);
        let incidents = config.worker.roles.contains(&Role::Incidents);
        let topic = config.topic(|names| &names.quota_shares);
        let follower = || ShareFollower::start(starter.shares.clone(), config.kafka(), topic);
        let follower = assess.then(follower).transpose()?;
        let mut pipeline = Self { runners: Vec::new(), sources: teller, shares: follower };
        for n in 0..config.worker.runners {
            if assess {
                pipeline.runners.push(starter.assess(n)?);
            }
            if quota {
                pipeline.runners.push(starter.quota(n)?);
            }
            if correlate {
                pipeline.runners.push(starter.correlate(n)?);
            }
            if respond {
                pipeline.runners.push(starter.select(n)?);
                pipeline.runners.push(starter.guard(n)?);
            }
            if incidents {
                pipeline.runners.push(starter.incident_select(n)?);
                pipeline.runners.push(starter.incident_group(n)?);
            }
        }
        Ok(pipeline)
    }

    /// Waits until all runners have ended.
    ///
    /// # Errors
    /// What the first of them gave up with.
    pub(crate) fn join(self) -> anyhow::Result<()> {
        let mut first = Ok(());
        for (name, runner) in self.runners {
            let ended = match runner.join() {
                Ok(ended) => ended.with_context(|| format!("the stage {name} has given up")),
                Err(_) => Err(anyhow!("the stage {name} has panicked; see the log")),
            };
            first = first.and(ended);
        }
        if let Some(sources) = self.sources {
            sources.end();
        }
        if let Some(shares) = self.shares {
            shares.end();
        }
        first
    }
}

type Started = (String, JoinHandle<Result<(), StreamError>>);

struct Starter<'a> {
    config: &'a Config,
    encoding: Encoding,
    schemas: Arc<dyn WriterSchemas>,
    labels: TenantLabels,
    board: SourceBoard,
    shares: ShareBoard,
    live: &'a Arc<Live>,
    health: &'a Health,
    stop: &'a Arc<AtomicBool>,
}

impl Starter<'_> {
    fn assess(&self, n: u32) -> anyhow::Result<Started> {
        let config = self.config;
        let topics = AssessTopics {
            assessments: config.topic(|names| &names.threat_assessments),
            rejections: config.topic(|names| &names.quota_rejections),
            usage: config.topic(|names| &names.quota_usage),
            signals: config.topic(|names| &names.detection_signals),
        };
        let settings = RunnerSettings {
            inputs: vec![config.topic(|names| &names.telemetry_events)],
            outputs: vec![
                topics.assessments.clone(),
                topics.rejections.clone(),
                topics.usage.clone(),
                topics.signals.clone(),
            ],
            changelog: Some(config.topic(|names| &names.state_assess)),
            max_ahead: Some(Duration::from_millis(config.limits.max_ahead_ms)),
            ..runner_settings(config, ASSESS, n)
        };
        let stage = Assess::new(
            self.live.clone(),
            config.limits.unpacker().with_schemas(self.schemas.clone()),
            topics,
            (self.encoding.clone(), config.emit),
            (self.labels.clone(), self.board.clone()),
            self.shares.clone(),
        );
        self.spawn(settings, stage, n)
    }

    fn quota(&self, n: u32) -> anyhow::Result<Started> {
        let config = self.config;
        let shares = config.topic(|names| &names.quota_shares);
        let settings = RunnerSettings {
            inputs: vec![config.topic(|names| &names.quota_usage)],
            outputs: vec![shares.clone()],
            changelog: Some(config.topic(|names| &names.state_quota)),
            ..runner_settings(config, QUOTA, n)
        };
        self.spawn(settings, Quota::new(self.live.clone(), shares), n)
    }

    fn correlate(&self, n: u32) -> anyhow::Result<Started> {
        let config = self.config;
        let assessments = config.topic(|names| &names.threat_assessments);
        let settings = RunnerSettings {
            inputs: vec![config.topic(|names| &names.detection_signals)],
            outputs: vec![assessments.clone()],
            changelog: Some(config.topic(|names| &names.state_correlate)),
            // The stage bounds what it keeps by itself, a tenant and in all: what a state drops would be anybody's.
            state: StateLimits { max_entries: usize::MAX, max_bytes: usize::MAX },
            ..runner_settings(config, CORRELATE, n)
        };
        let limits = config.correlation.limits();
        let (schemas, encoding) = (self.schemas.clone(), self.encoding.clone());
        let stage = Correlate::new(self.live.clone(), schemas, (assessments, encoding), limits, self.labels.clone());
        self.spawn(settings, stage, n)
    }

    fn select(&self, n: u32) -> anyhow::Result<Started> {
        let config = self.config;
        let (decisions, candidates) =
            (config.topic(|names| &names.response_decisions), config.topic(|names| &names.response_candidates));
        let incidents = config.topic(|names| &names.threat_incidents);
        let settings = RunnerSettings {
            inputs: vec![config.topic(|names| &names.threat_assessments), incidents.clone(), decisions.clone()],
            outputs: vec![candidates.clone()],
            ..runner_settings(config, SELECT, n)
        };
        let stage = RespondSelect::new(self.live.clone(), self.schemas.clone(), (incidents, decisions), candidates);
        self.spawn(settings, stage, n)
    }

    fn guard(&self, n: u32) -> anyhow::Result<Started> {
        let config = self.config;
        let actions = config.topic(|names| &names.response_actions);
        let settings = RunnerSettings {
            inputs: vec![config.topic(|names| &names.response_candidates)],
            outputs: vec![actions.clone()],
            changelog: Some(config.topic(|names| &names.state_response)),
            ..runner_settings(config, GUARD, n)
        };
        let stage = RespondGuard::new(Guard::new(config.response.clone())?, actions, self.encoding.clone());
        self.spawn(settings, stage, n)
    }

    fn incident_select(&self, n: u32) -> anyhow::Result<Started> {
        let config = self.config;
        let (decisions, candidates) =
            (config.topic(|names| &names.incident_decisions), config.topic(|names| &names.incident_candidates));
        let settings = RunnerSettings {
            inputs: vec![config.topic(|names| &names.threat_assessments), decisions.clone()],
            outputs: vec![candidates.clone()],
            ..runner_settings(config, INCIDENT_SELECT, n)
        };
        self.spawn(settings, IncidentSelect::new(self.schemas.clone(), decisions, candidates), n)
    }

    fn incident_group(&self, n: u32) -> anyhow::Result<Started> {
        let config = self.config;
        let (candidates, incidents) =
            (config.topic(|names| &names.incident_candidates), config.topic(|names| &names.threat_incidents));
        let settings = RunnerSettings {
            inputs: vec![candidates.clone()],
            outputs: vec![incidents.clone(), candidates.clone()],
            changelog: Some(config.topic(|names| &names.state_incidents)),
            ..runner_settings(config, INCIDENT_GROUP, n)
        };
        let grouping = Grouping::new(config.incidents.clone())?;
        self.spawn(settings, IncidentGroup::new(grouping, candidates, incidents, self.encoding.clone()), n)
    }

    fn spawn(&self, settings: RunnerSettings, stage: impl Stage + 'static, n: u32) -> anyhow::Result<Started> {
        let name = if n == 0 { settings.stage.to_string() } else { format!("{}-{n}", settings.stage) };
        let runner = Runner::new(settings, stage, self.health, self.stop.clone());
        let stop = StopOnDrop(self.stop.clone());
        let run = move || {
            let _stop = stop;
            runner.run()
        };
        let thread = thread::Builder::new().name(name.clone()).spawn(run).context("can't start a thread")?;
        Ok((name, thread))
    }
}

/// A runner that ends, even by a panic, ends the others: half a pipeline that looks alive is worse than none.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A stage's consumer group, with which its transactional ids begin. The topics' prefix is part of it: two fleets with
/// topics of their own must not share these.
pub(crate) fn group(config: &Config, stage: &str) -> String {
    format!("cybervault.{}{stage}", config.kafka.topic_prefix)
}

/// What all runners have in common.
pub(crate) fn runner_settings(config: &Config, stage: &str, n: u32) -> RunnerSettings {
    let group = group(config, stage);
    RunnerSettings {
        kafka: config.kafka(),
        stage: stage.into(),
        transactional_id: format!("{group}.{}.{n}", config.worker.instance()),
        member: config.worker.static_membership.then(|| format!("{group}.{}.{n}", config.member_name())),
        group,
        inputs: Vec::new(),
        outputs: Vec::new(),
        changelog: None,
        dead_letters: config.topic(|names| &names.telemetry_dlq),
        batch: config.batch_limits(),
        state: config.state_limits(),
        shutdown: Duration::from_millis(config.worker.shutdown_ms),
        max_ahead: None,
        record_spans: config.tracing.is_on().then_some(config.tracing.record_spans),
    }
}

/// What the stages read: where dead letters may be sent back to.
pub(crate) fn input_topics(config: &Config) -> Vec<Arc<str>> {
    vec![
        config.topic(|names| &names.telemetry_events),
        config.topic(|names| &names.quota_usage),
        config.topic(|names| &names.detection_signals),
        config.topic(|names| &names.threat_assessments),
        config.topic(|names| &names.response_decisions),
        config.topic(|names| &names.response_candidates),
        config.topic(|names| &names.threat_incidents),
        config.topic(|names| &names.incident_decisions),
        config.topic(|names| &names.incident_candidates),
    ]
}

/// The configured schema registry.
pub(crate) fn registry(config: &Config) -> Result<Option<Arc<SchemaRegistry>>, RegistryError> {
    let Some(registry) = &config.kafka.schema_registry else { return Ok(None) };
    let password = || registry.password.as_ref().map_or_else(String::new, |password| password.reveal().to_owned());
    let settings = RegistrySettings {
        credentials: registry.username.clone().map(|user| (user, password())),
        ..RegistrySettings::new(&registry.url)
    };
    SchemaRegistry::new(&settings).map(|registry| Some(Arc::new(registry)))
}

/// The schemas that others write with, as far as the registry knows them.
pub(crate) fn schemas(registry: Option<Arc<SchemaRegistry>>) -> Arc<dyn WriterSchemas> {
    match registry {
        Some(registry) => registry,
        None => Arc::new(NoRegistry),
    }
}

/// How records are written, and what is needed to read them. Waits for the schema registry, where schemas have to be
/// registered, but no longer than until `stop` is true.
pub(crate) fn codec(config: &Config, stop: &AtomicBool) -> anyhow::Result<(Encoding, Arc<dyn WriterSchemas>)> {
    let registry = registry(config)?;
    Ok((encoding(config, registry.as_deref(), stop)?, schemas(registry)))
}

/// The configured form of what is written, with its schemas registered where there is a registry.
fn encoding(config: &Config, registry: Option<&SchemaRegistry>, stop: &AtomicBool) -> anyhow::Result<Encoding> {
    let registry = match (config.output.encoding, registry) {
        (OutputEncoding::Json, _) => return Ok(Encoding::Json),
        (OutputEncoding::Avro, None) => return Ok(Encoding::AvroSingleObject),
        (OutputEncoding::Avro, Some(registry)) => registry,
    };
    let subject = |topic: Arc<str>| format!("{topic}-value");
    let names = [
        (Subject::Assessment, subject(config.topic(|names| &names.threat_assessments))),
        (Subject::Signal, subject(config.topic(|names| &names.detection_signals))),
        (Subject::QuotaRejection, subject(config.topic(|names| &names.quota_rejections))),
        (Subject::ResponseAction, subject(config.topic(|names| &names.response_actions))),
        (Subject::Incident, subject(config.topic(|names| &names.threat_incidents))),
    ];
    loop {
        match registry.register_all(names.clone()) {
            Ok(ids) => return Ok(Encoding::AvroConfluent(ids)),
            Err(error @ RegistryError::Unreachable { .. }) if !stop.load(Ordering::Relaxed) => {
                tracing::warn!(%error, "waiting for the schema registry");
                thread::sleep(REGISTRY_PAUSE);
            }
            Err(error) => return Err(error).context("the schemas of what is written can't be registered"),
        }
    }
}
