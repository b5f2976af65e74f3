use std::{env, fs, path::Path};

use schemars::schema_for;

use super::*;

fn load(yaml: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, yaml).unwrap();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Config::load(Some(&file), environment, &flags)
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let yaml =
        "kafka: {bootstrap: a, client: {security.protocol: SSL, socket.timeout.ms: 50}}\nbatch: {max_records: 1}\n";
    let environment = [
        ("CYBERVAULT_KAFKA__BOOTSTRAP", "b"),
        ("CYBERVAULT_BATCH__MAX_RECORDS", "2"),
        ("CYBERVAULT_BATCH__LINGER_MS", "7"),
        ("CYBERVAULT_WORKER__ROLES", "[respond]"),
        ("CYBERVAULT_WORKER__INSTANCE", "0012"),
        ("CYBERVAULT_EMIT", "all"),
        ("CYBERVAULT_TENANTS_FILE", "tenants.yaml"),
        ("CYBERVAULT_KAFKA__CLIENT__SASL_PASSWORD", "hush"),
        ("CYBERVAULT_CONFIG", "elsewhere"),
        ("CYBERVAULT_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("CYBERVAULT_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/"),
    ];
    let config = load(yaml, &environment, &["batch.max_records=3", "kafka.client.client.rack=r1"]).unwrap();
    assert_eq!((&*config.kafka.bootstrap, config.batch.max_records, config.batch.linger_ms), ("b", 3, 7));
    assert_eq!((&*config.worker.roles, config.worker.instance()), (&[Role::Respond][..], "0012".to_owned()));
    assert_eq!((config.emit, config.tenants_file), (Emit::All, Some("tenants.yaml".into())));
    let client = config.kafka.client.options();
    let options: Vec<_> = client.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected =
        [("client.rack", "r1"), ("sasl.password", "hush"), ("security.protocol", "SSL"), ("socket.timeout.ms", "50")];
    assert_eq!(options, expected);
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_to_do() {
    for (yaml, environment, flag, expected) in [
        (
            "kafka: {bootsrap: x}",
            ("", ""),
            "",
            "config.yaml: there is no key `kafka.bootsrap`; did you mean `kafka.bootstrap`?",
        ),
        ("bootstrap: x", ("", ""), "", "there is no key `bootstrap`; did you mean `kafka.bootstrap`?"),
        ("zzz: x", ("", ""), "", "there is no key `zzz`"),
        ("quota: {plans: {startr: {}}}", ("", ""), "", "did you mean `quota.plans.starter`?"),
        ("response: {never_touch: {host: [x]}}", ("", ""), "", "did you mean `response.never_touch.hosts`?"),
        (
            "",
            ("CYBERVAULT_BATCH__MAXRECORDS", "1"),
            "",
            "CYBERVAULT_BATCH__MAXRECORDS: there is no key `batch.maxrecords`; did you mean `batch.max_records`?",
        ),
        (
            "",
            ("", ""),
            "worker.runer=1",
            "--set worker.runer: there is no key `worker.runer`; did you mean `worker.runners`?",
        ),
        ("batch: {max_records: many}", ("", ""), "", "config.yaml: `batch.max_records`: invalid type: string \"many\""),
        ("", ("CYBERVAULT_EMIT", "some"), "", "CYBERVAULT_EMIT: `emit`: unknown variant `some`"),
        ("batch: [", ("", ""), "", "config.yaml is not YAML"),
        ("- batch", ("", ""), "", "it must be a mapping of sections"),
        ("emit: all\nbatch: {}\nemit: findings", ("", ""), "", "duplicate entry with key \"emit\""),
        (
            "",
            ("", ""),
            "batch={linger_ms: 1, linger_ms: 2}",
            "--set batch: `batch`: duplicate entry with key \"linger_ms\"",
        ),
        ("kafka: {bootstrap: ' '}", ("", ""), "", "`kafka.bootstrap`: it names no broker"),
        ("worker: {roles: []}", ("", ""), "", "`worker.roles`: a worker needs at least one"),
        ("log: {level: 'info,warning'}", ("", ""), "", "`log.level`: `warning` is no level: use off, error, warn"),
        ("kafka: {client: {nonesuch: x}}", ("", ""), "", "`kafka.client.nonesuch`: No such configuration property"),
        ("kafka: {client: {linger.ms: abc}}", ("", ""), "", "`kafka.client.linger.ms`: Invalid value"),
        ("topics: {partitions: 0}", ("", ""), "", "`topics.partitions`: 0 is out of range: it must be 1 to 10000"),
        ("topics: {names: {quota_rejections: telemetry.dlq}}", ("", ""), "", "also the name of `telemetry_dlq`"),
        ("topics: {names: {telemetry_dlq: a b}}", ("", ""), "", "`a b` is no topic name"),
        (
            "kafka: {client: {group.id: x}}",
            ("", ""),
            "",
            "`kafka.client.group.id`: the exactly-once contract or readiness depends on it",
        ),
        (
            "kafka: {client: {sasl.password: x}}",
            ("", ""),
            "",
            "`kafka.client.sasl.password` is a secret and must not stand there; set the environment variable CYBERVAULT_KAFKA__CLIENT__SASL_PASSWORD, or write `kafka.client.sasl.password_file: PATH`",
        ),
        ("", ("", ""), "kafka.client.ssl.key.password=x", "is a secret and must not stand there"),
        (
            "kafka: {schema_registry: {url: 'http://r', password: x}}",
            ("", ""),
            "",
            "CYBERVAULT_KAFKA__SCHEMA_REGISTRY__PASSWORD",
        ),
        ("kafka: {client: {sasl.password_file: /nowhere}}", ("", ""), "", "can't read the secret from /nowhere"),
        ("scoring: {levels: {high: 2}}", ("", ""), "", "`scoring`: scoring.levels.high"),
        ("response: {never_touch: {addresses: [x]}}", ("", ""), "", "`response.never_touch`"),
        ("tracing: {otlp_endpoint: 'collector:4318'}", ("", ""), "", "`collector:4318` is no address of a collector"),
        (
            "tracing: {otlp_endpoint: 'http://u:hush@c:4318'}",
            ("", ""),
            "",
            "`tracing.otlp_endpoint`: `c:4318` is no address",
        ),
        ("tracing: {otlp_endpoint: ''}", ("", ""), "", "is no address of a collector"),
        ("", ("CYBERVAULT_TRACING__SAMPLE_RATIO", "1.5"), "", "`tracing.sample_ratio`: 1.5 is out of range"),
        (
            "indicators: {feeds: [{path: x, confidence: 101}]}",
            ("", ""),
            "",
            "`indicators.feeds.confidence`: 101 is out of range",
        ),
        ("tracing: {queue: 0}", ("", ""), "", "`tracing.queue`: 0 is out of range"),
        (
            "tracing: {otlp_headers: 'api-key=x'}",
            ("", ""),
            "",
            "set the environment variable CYBERVAULT_TRACING__OTLP_HEADERS, or write `tracing.otlp_headers_file: PATH`",
        ),
        ("", ("", ""), "tracing.otlp_headers=api-key=x", "is a secret and must not stand there"),
        (
            "",
            ("CYBERVAULT_TRACING__OTLP_HEADERS", "api-key=hush,hush"),
            "",
            "`tracing.otlp_headers`: entry 2 is no `name=value` of an HTTP header",
        ),
        ("", ("", ""), "batch", "write it as KEY=VALUE"),
    ] {
        let flags: Vec<&str> = if flag.is_empty() { vec![] } else { vec![flag] };
        let error = load(yaml, &[environment], &flags).expect_err(yaml).to_string();
        assert!(error.contains(expected) && !error.contains("hush"), "{yaml} {environment:?} {flag}: {error}");
    }
}

#[test]
fn a_secret_comes_from_its_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "hush\n").unwrap();
    let yaml = format!(
        "kafka:\n  client: {{sasl.password_file: '{0}', ssl.key.location: /k}}\n  schema_registry: {{url: 'http://r', password_file: '{0}'}}\n",
        file.display()
    );
    let config =
        load(&yaml, &[("CYBERVAULT_KAFKA__CLIENT__SSL_KEY_PASSWORD_FILE", file.to_str().unwrap())], &[]).unwrap();
    let client = config.kafka.client.options();
    assert_eq!(
        (&*client["sasl.password"], &*client["ssl.key.password"], &*client["ssl.key.location"]),
        ("hush", "hush", "/k")
    );
    let registry = config.kafka.schema_registry.clone().unwrap();
    assert_eq!(registry.password.unwrap().reveal(), "hush");
    let shown = format!("{}{config:?}", yaml_serde::to_string(&config).unwrap());
    assert!(!shown.contains("hush") && shown.contains("sasl.password: '********'"), "{shown}");
}

#[test]
fn spans_go_where_the_configuration_says_or_else_opentelemetrys_own_variables() {
    let (whole, base) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
    let ours = "tracing: {otlp_endpoint: 'http://ours:4318/'}";
    for (yaml, environment, expected) in [
        ("", &[][..], None),
        ("", &[(base, " ")], None),
        (ours, &[(base, "http://c:1")], Some("http://ours:4318/v1/traces")),
        ("", &[(base, "https://c/otlp")], Some("https://c/otlp/v1/traces")),
        ("", &[(base, "http://c:1"), (whole, "http://d:2/spans")], Some("http://d:2/spans")),
        (ours, &[("OTEL_SDK_DISABLED", "TRUE")], None),
        ("", &[(base, "http://c:1"), ("OTEL_TRACES_EXPORTER", "none")], None),
        ("", &[("CYBERVAULT_TRACING__OTLP_ENDPOINT", "http://c:1")], Some("http://c:1/v1/traces")),
    ] {
        let config = load(yaml, environment, &[]).unwrap();
        let target = config.tracing.target().map(|(url, _)| url);
        assert_eq!(target.as_deref(), expected, "{yaml} {environment:?}");
        config.check_tracing().unwrap();
    }
    // It is wrong only for those who gather spans: it may be set for all that runs on a machine.
    let config = load("", &[(base, "collector:4317")], &[]).unwrap();
    let problem = config.check_tracing().unwrap_err().to_string();
    assert!(problem.contains("environment: `OTEL_EXPORTER_OTLP_ENDPOINT`: `collector:4317/v1/traces`"), "{problem}");
}

#[test]
fn the_collectors_headers_come_from_environment_or_file_and_are_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    fs::write(&file, "api-key=hush, tenant = t=1,\n").unwrap();
    let by_file = load(&format!("tracing: {{otlp_headers_file: '{}'}}", file.display()), &[], &[]).unwrap();
    let variable = ("CYBERVAULT_TRACING__OTLP_HEADERS", "api-key=hush,tenant=t=1");
    for config in [by_file, load("", &[variable], &[]).unwrap()] {
        let headers = [("api-key", "hush"), ("tenant", "t=1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(config.tracing.headers(), headers);
        let shown = format!("{}{config:?}", yaml_serde::to_string(&config).unwrap());
        assert!(!shown.contains("hush") && shown.contains("otlp_headers: '********'"), "{shown}");
    }
}

#[test]
fn the_topics_are_those_of_the_design_and_quotas_are_decided_on_the_brokers_clock() {
    let config = load("kafka: {topic_prefix: 'prod.'}", &[], &[]).unwrap();
    let plans = config.topic_plans();
    let named = |name: &str| plans.iter().find(|plan| plan.name == format!("prod.{name}")).unwrap();
    assert_eq!(plans.len(), config.topics.names.all().count());
    assert_eq!(named("telemetry.events").config["message.timestamp.type"], "LogAppendTime");
    assert_eq!(named("state.assess").config["cleanup.policy"], "compact");
    let bytes = |name: &str| named(name).config["max.message.bytes"].parse::<u64>().unwrap();
    assert!(bytes("telemetry.dlq") > bytes("telemetry.events"));
}

/// `UPDATE_SCHEMAS=1` writes the file anew.
#[test]
fn the_schema_in_schemas_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/config.schema.json");
    let schema = serde_json::to_string_pretty(&schema_for!(Config)).unwrap() + "\n";
    if env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == schema,
        "schemas/config.schema.json is not that of the types: run the tests with UPDATE_SCHEMAS=1"
    );
}
