//! A fleet under test: topics of its own on a real Kafka, a configuration, and the built binary.

pub(crate) mod browser;
pub(crate) mod evtx;
pub(crate) mod gateway;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use cybervault_testkit::{
    Kafka, User, Worker, eventually,
    topic::{self, Record},
};
use serde_json::{Value, json};

/// The one deadline of all tests; it only ends those that hang.
pub(crate) use cybervault_testkit::PATIENCE;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_cybervault");
pub(crate) const PARTITIONS: i32 = 4;

const TOPICS: [&str; 14] = [
    "telemetry.events",
    "telemetry.api",
    "telemetry.dlq",
    "telemetry.sources",
    "detection.signals",
    "threat.assessments",
    "quota.rejections",
    "quota.usage",
    "response.actions",
    "response.decisions",
    "response.candidates",
    "threat.incidents",
    "incident.decisions",
    "incident.candidates",
];

/// Tenants whose quotas no test reaches by accident.
pub(crate) fn unlimited<'a>(tenants: impl IntoIterator<Item = &'a str>) -> String {
    let quota = "{events_per_second: 1000000000, bytes_per_second: 1000000000000}";
    let lines = tenants.into_iter().map(|id| format!("- {{tenant_id: {id}, plan: enterprise, quota: {quota}}}\n"));
    format!("tenants:\n{}", lines.collect::<String>())
}

/// Isolates the host of a finding of high severity, once a person approves.
const PLAYBOOK: &str = "
id: isolate
title: Isolate a host
when: {min_severity: high}
actions: [{type: isolate_host, target: host}]
mode: approval
expires_after: 1h
";

/// An event with findings of high severity.
pub(crate) fn attack(event_id: &str, host: &str) -> Value {
    json!({"event_id": event_id, "type": "endpoint_telemetry", "occurred_at": "2026-11-02T09:00:00Z", "payload": {
        "hostname": host, "process_name": "powershell.exe", "os": "windows",
        "process_path": r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
        "command_line": "powershell.exe -NoProfile -EncodedCommand SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQAKQA="}})
}

pub(crate) struct Fleet {
    /// Where the tests look into Kafka.
    pub(crate) bootstrap: String,
    pub(crate) prefix: String,
    /// Where the product does, and with what in its environment.
    entrance: (String, Vec<(String, String)>),
    partitions: i32,
    folder: tempfile::TempDir,
}

impl Fleet {
    /// Topics as the product's own, but with the sender's clock on events: tests choose their times.
    pub(crate) fn new(test: &str, tenants: &str) -> Self {
        Self::wide(test, tenants, PARTITIONS)
    }

    /// The same with so many partitions of each topic.
    pub(crate) fn wide(test: &str, tenants: &str, partitions: i32) -> Self {
        let kafka = Kafka::shared();
        let entrance = (kafka.bootstrap().to_owned(), Vec::new());
        Self::at((kafka.bootstrap().to_owned(), partitions), entrance, kafka.prefix(test), tenants)
    }

    /// Gives it a playbook that isolates hosts once a person approves; returns the setting that a process of it needs.
    pub(crate) fn playbooks(&self) -> String {
        let folder = self.path("playbooks");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("isolate.yaml"), PLAYBOOK).unwrap();
        format!("playbooks_dir={}", folder.display())
    }

    /// On a secured broker, as one of its users.
    pub(crate) fn secured(kafka: &Kafka, user: User, test: &str, tenants: &str) -> Self {
        let entrance = (kafka.bootstrap().to_owned(), kafka.environment_of(user));
        Self::at((kafka.back_door(), PARTITIONS), entrance, kafka.prefix(test), tenants)
    }

    /// On a broker of its own.
    pub(crate) fn on(kafka: &Kafka, test: &str, tenants: &str) -> Self {
        let entrance = (kafka.bootstrap().to_owned(), Vec::new());
        Self::at((kafka.bootstrap().to_owned(), PARTITIONS), entrance, kafka.prefix(test), tenants)
    }

    /// The same topics, as another user sees them.
    pub(crate) fn seen_by(&self, kafka: &Kafka, user: User) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(self.path("tenants.yaml"), folder.path().join("tenants.yaml")).unwrap();
        let entrance = (kafka.bootstrap().to_owned(), kafka.environment_of(user));
        Self {
            bootstrap: self.bootstrap.clone(),
            prefix: self.prefix.clone(),
            entrance,
            partitions: self.partitions,
            folder,
        }
    }

    fn at(
        (bootstrap, partitions): (String, i32),
        entrance: (String, Vec<(String, String)>),
        prefix: String,
        tenants: &str,
    ) -> Self {
        let named = |names: &[&str]| names.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>();
        let create = |names: Vec<String>, settings: &[(&str, &str)]| {
            topic::create(&bootstrap, &names.iter().map(String::as_str).collect::<Vec<_>>(), partitions, settings);
        };
        create(named(&TOPICS), &[("max.message.bytes", "4194304")]);
        let compacted = [
            "quota.shares",
            "state.assess",
            "state.quota",
            "state.correlate",
            "state.response",
            "state.incidents",
            "state.replay",
        ];
        create(named(&compacted), &[("cleanup.policy", "compact")]);
        let fleet = Self { bootstrap, prefix, entrance, partitions, folder: tempfile::tempdir().unwrap() };
        fs::write(fleet.path("tenants.yaml"), tenants).unwrap();
        fleet
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Arguments that every command of this fleet takes.
    pub(crate) fn args(&self, command: &[&str], settings: &[&str]) -> Vec<String> {
        let mut args: Vec<String> = command.iter().map(ToString::to_string).collect();
        let own = [
            format!("kafka.bootstrap={}", self.entrance.0),
            format!("kafka.topic_prefix={}", self.prefix),
            format!("topics.partitions={}", self.partitions),
            format!("tenants_file={}", self.path("tenants.yaml").display()),
            "metrics.listen=127.0.0.1:0".to_owned(),
        ];
        for setting in own.iter().map(String::as_str).chain(settings.iter().copied()) {
            args.extend(["--set".to_owned(), setting.to_owned()]);
        }
        args
    }

    /// Starts a worker whose place in the group is kept for it while it is away for a moment.
    pub(crate) fn worker(&self, name: &str, settings: &[&str]) -> Worker {
        self.worker_in(name, settings, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn worker_in(&self, name: &str, settings: &[&str], more: &[(&str, &str)]) -> Worker {
        let instance = [format!("worker.instance={name}"), format!("kafka.client.group.instance.id={name}")];
        let all: Vec<&str> = instance.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        let environment = self.entrance.1.iter().map(|(name, value)| (&**name, &**value));
        let environment: Vec<(&str, &str)> = environment.chain(more.iter().copied()).collect();
        Worker::start(BINARY, self.args(&["run"], &all), &environment)
    }

    /// Runs a command to its end.
    pub(crate) fn command(&self, command: &[&str], settings: &[&str]) -> Output {
        Command::new(BINARY).args(self.args(command, settings)).envs(self.entrance.1.clone()).output().unwrap()
    }

    pub(crate) fn send(&self, records: impl IntoIterator<Item = Record>) {
        topic::write(&self.bootstrap, &self.topic("telemetry.events"), records);
    }

    /// Changes a topic's own setting.
    pub(crate) fn alter(&self, name: &str, setting: &str, value: &str) {
        topic::alter(&self.bootstrap, &self.topic(name), setting, value);
    }

    /// What is committed on a topic. Of assessments, those of single events: what correlations find of these is in [`Fleet::correlated`].
    pub(crate) fn read(&self, name: &str) -> Vec<Record> {
        let mut records = topic::read(&self.bootstrap, &self.topic(name));
        if name == "threat.assessments" {
            records.retain(|record| !is_correlated(&record.value));
        }
        records
    }

    /// The assessments of correlations.
    pub(crate) fn correlated(&self) -> Vec<Record> {
        let mut records = topic::read(&self.bootstrap, &self.topic("threat.assessments"));
        records.retain(|record| is_correlated(&record.value));
        records
    }

    /// Waits until `count` committed records are on a topic, and returns them.
    pub(crate) fn wait_for(&self, worker: &mut Worker, name: &str, count: usize) -> Vec<Record> {
        let mut found = Vec::new();
        worker.wait_until(&format!("{count} records on {name}"), PATIENCE, || {
            found = self.read(name);
            found.len() >= count
        });
        assert_eq!(found.len(), count, "records on {name}");
        found
    }

    /// What a worker answers where it serves metrics and health: the body.
    pub(crate) fn answer(worker: &Worker, path: &str) -> String {
        let answer = eventually("the metrics port", PATIENCE, || {
            let log = worker.log();
            let address = log.split("metrics=\"http://").nth(1).and_then(|rest| rest.split("/metrics").next());
            http_get(address?, path)
        });
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// The value of a worker's metric, all series that contain `labels` added up.
    pub(crate) fn metric(worker: &Worker, name: &str, labels: &str) -> f64 {
        let page = Self::answer(worker, "/metrics");
        let series = page.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Whether this process is led to a secured broker already; suites with one of their own then leave it at that.
pub(crate) fn is_secured_already() -> bool {
    let led = std::env::vars().any(|(name, _)| name.starts_with("CYBERVAULT_KAFKA__CLIENT__"));
    if led {
        eprintln!("skipped: this suite has a secured broker of its own, and the environment leads to another");
    }
    led
}

fn http_get(address: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether an assessment, as JSON, is that of a correlation.
pub(crate) fn is_correlated(assessment: &[u8]) -> bool {
    let assessment: Option<Value> = serde_json::from_slice(assessment).ok();
    assessment.is_some_and(|assessment| assessment.get("correlated").is_some())
}

/// What `cybervault score` finds in single events of a file: the lines, in the file's order.
pub(crate) fn score(file: &std::path::Path, args: &[&str]) -> Vec<Vec<u8>> {
    let output = Command::new(BINARY).arg("score").arg(file).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !is_correlated(line));
    lines.map(<[u8]>::to_vec).collect()
}

/// Checks that the assessments on a topic are the expected ones: as a multiset, and in order within each entity, which has one key.
pub(crate) fn assert_same_assessments(expected: &[Vec<u8>], found: &[Record]) {
    let mut by_key: BTreeMap<Vec<u8>, Vec<&[u8]>> = BTreeMap::new();
    for line in expected {
        by_key.entry(key_of(line)).or_default().push(line);
    }
    let mut keys: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut found_by_key: BTreeMap<Vec<u8>, Vec<&[u8]>> = BTreeMap::new();
    for record in found {
        let entity = key_of(&record.value);
        let key = record.key.clone().unwrap_or_default();
        let identity = String::from_utf8_lossy(&key).into_owned();
        assert!(keys.insert(entity.clone(), identity.clone()).is_none_or(|before| before == identity), "{identity}");
        found_by_key.entry(entity).or_default().push(&record.value);
    }
    for (key, expected) in &by_key {
        let found = found_by_key.get(key).map_or(&[][..], Vec::as_slice);
        let key = String::from_utf8_lossy(key);
        assert_eq!(found.len(), expected.len(), "assessments of {key}");
        for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(String::from_utf8_lossy(found), String::from_utf8_lossy(expected), "assessment {n} of {key}");
        }
    }
    assert_eq!(found.len(), expected.len(), "assessments of keys that were not expected");
}

fn key_of(assessment: &[u8]) -> Vec<u8> {
    let assessment: Value = serde_json::from_slice(assessment).unwrap();
    let entity = assessment["entities"][0]["value"].as_str().unwrap_or_default();
    format!("{}|{entity}", assessment["tenant_id"].as_str().unwrap()).into_bytes()
}

/// The samples' envelopes that ship with the product, as JSON.
pub(crate) fn samples() -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../content/samples");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let envelopes = files.iter().filter(|file| {
        let name = file.file_name().unwrap().to_string_lossy();
        name.ends_with(".ndjson") && !name.ends_with(".raw.ndjson") && name != "malformed.ndjson"
    });
    envelopes
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        })
        .collect()
}

/// How often each value occurs.
pub(crate) fn count<T: std::hash::Hash + Eq>(values: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    values.into_iter().fold(HashMap::new(), |mut counts, value| {
        *counts.entry(value).or_default() += 1;
        counts
    })
}
