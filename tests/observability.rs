//! Dashboard and alerts, against what a running CyberVault says: scraped and queried by a real Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use cybervault_testkit::{PATIENCE, Worker, eventually};
use serde_json::Value;

/// What is there only after trouble that no sample makes, or once somebody listens.
const TROUBLE: [&str; 9] = [
    "cybervault_correlation_evicted_groups_total",
    "cybervault_transaction_aborts_total",
    "cybervault_session_restarts_total",
    "cybervault_http_panics_total",
    "cybervault_stream_clients",
    "cybervault_view_unreadable_total",
    r#"cybervault_http_requests_total{status=~"5.."}"#,
    r#"cybervault_response_outcomes_total{outcome="held"}"#,
    // The samples are all of known forms.
    r#"cybervault_log_source_events_total{product="none"}"#,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn get(address: &str, path: &str) -> Option<String> {
    ask(address, &format!("GET {path}"), "", "")
}

fn ask(address: &str, request: &str, headers: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    // 1.0, so that the answer comes in one piece.
    let length = body.len();
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Prometheus, scraping one address each second, with our alert rules.
struct Prometheus {
    _worker: Worker,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = root().join("deploy/prometheus/alerts.yaml").canonicalize().unwrap();
        let config = folder.path().join("prometheus.yaml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n\
             - {{job_name: cybervault, static_configs: [{{targets: ['{target}']}}]}}\n",
            rules.display()
        );
        fs::write(&config, text).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let args = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        Self { _worker: Worker::start("prometheus", args, &[]), address, _folder: folder }
    }

    fn api(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&get(&self.address, &format!("/api/v1/{path}"))?).ok()
    }

    /// How many series a query has; a query that can't be read fails the test.
    fn count(&self, query: &str) -> usize {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.api(&format!("query?query={encoded}")).expect("Prometheus answers");
        assert_eq!(answer["status"], "success", "{query}: {}", answer["error"]);
        answer["data"]["result"].as_array().map_or(0, Vec::len)
    }

    fn wait_for(&self, query: &str) {
        eventually(&format!("series for {query}"), PATIENCE, || (self.count(query) > 0).then_some(()));
    }
}

/// The queries of all panels, with Grafana's variables filled in.
fn dashboard_queries() -> Vec<String> {
    let text = fs::read_to_string(root().join("deploy/grafana/cybervault.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            query
                .replace("$__rate_interval", "1m")
                .replace("$__range", "1h")
                .replace("$namespace", ".*")
                .replace("$tenant", ".*")
        })
        .collect()
}

/// The metrics in a query, with their labels.
fn selectors(query: &str) -> BTreeSet<String> {
    let starts = query.match_indices("cybervault_").map(|(at, _)| &query[at..]);
    starts
        .map(|rest| {
            let name = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let labels = rest[name..].starts_with('{').then(|| rest[name..].find('}').unwrap() + 1);
            rest[..name + labels.unwrap_or(0)].to_owned()
        })
        .collect()
}

/// The metrics of a page whose descriptions don't name the labels that their series have, with these.
fn wrong_labels(page: &str) -> BTreeSet<String> {
    let named = |line: &str| -> Option<(String, BTreeSet<String>)> {
        let (name, meaning) = line.strip_prefix("# HELP ")?.split_once(' ')?;
        Some((name.to_owned(), meaning.split('`').skip(1).step_by(2).map(str::to_owned).collect()))
    };
    let described: BTreeMap<_, _> = page.lines().filter_map(named).collect();
    let series = page.lines().filter(|line| line.starts_with("cybervault_"));
    let mut found = BTreeMap::<&str, BTreeSet<String>>::new();
    for line in series {
        let (name, _) = line.split_once(['{', ' ']).unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let name = of_histogram.filter(|name| described.contains_key(*name)).unwrap_or(name);
        let labels = line.match_indices("=\"").filter_map(|(at, _)| line[..at].rsplit(['{', ',']).next());
        let labels = labels.filter(|label| *label != "le").map(str::to_owned);
        found.entry(name).or_default().extend(labels);
    }
    let wrong = found.into_iter().filter(|(name, labels)| described.get(*name) != Some(labels));
    wrong.map(|(name, labels)| format!("{name} {labels:?}")).collect()
}

fn is_trouble(query: &str) -> bool {
    // The dashboard also asks for a fleet.
    let query = query.replace(r#"{namespace=~".*","#, "{").replace(r#"{namespace=~".*"}"#, "");
    TROUBLE.iter().any(|trouble| query.contains(trouble))
}

#[test]
fn every_query_of_dashboard_and_alerts_finds_what_a_running_fleet_tells() {
    // The embedded broker has no passwords.
    if crate::support::is_secured_already() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tenants = folder.path().join("tenants.yaml");
    fs::copy(root().join("content/tenants/samples.yaml"), &tenants).unwrap();
    let tenants_file = format!("tenants_file={}", tenants.display());
    let settings = ["metrics.listen=127.0.0.1:0", "gateway.listen=127.0.0.1:0", &tenants_file];
    let args = ["up", "--speed", "20"].into_iter().chain(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut fleet = Worker::start(env!("CARGO_BIN_EXE_cybervault"), args, &[]);
    let [address, console, key] = eventually("metrics, console and a key", PATIENCE, || {
        let log = fleet.log();
        let after = |mark: &str| Some(log.split_once(mark)?.1.split(['/', ' ', '\n']).next()?.to_owned());
        Some([after("Metrics  http://")?, after("Console  http://")?, format!("cv_live_{}", after("cv_live_")?)])
    });
    let prometheus = Prometheus::start(&address);
    eventually("Prometheus", PATIENCE, || prometheus.api("status/buildinfo"));

    // Each state that the samples come to, and a change of the tenants that is taken up and one that is not.
    prometheus.wait_for("cybervault_build_info");
    let headers = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
    let event = r#"{"type":"endpoint_telemetry","payload":{"hostname":"ws-1","process_name":"notepad.exe"}}"#;
    let ask_api = || ask(&console, "POST /v3/threats/analyze", &headers, event);
    eventually("an answer from the API", PATIENCE, || ask_api().filter(|answer| answer.contains("assessment_id")));
    let reload = |fleet: &Worker| {
        assert!(Command::new("kill").args(["-HUP", &fleet.id().to_string()]).status().unwrap().success());
    };
    reload(&fleet);
    prometheus.wait_for(r#"cybervault_reloads_total{what="tenants", result="ok"}"#);
    fs::write(&tenants, "tenants: nobody\n").unwrap();
    prometheus.wait_for(r#"cybervault_reloads_total{what="tenants", result="refused"}"#);
    prometheus.wait_for(r#"rate(cybervault_actions_total{state="approved"}[1m])"#);
    prometheus.wait_for(r#"rate(cybervault_dead_letters_total[1m])"#);
    fleet.wait_until("two rounds of the samples", PATIENCE, || {
        prometheus.count(r#"increase(cybervault_rule_hits_total[1m]) > 1"#) > 0
    });

    let queries = dashboard_queries();
    assert!(queries.len() > 50, "{} queries in the dashboard", queries.len());
    let empty: Vec<&String> =
        queries.iter().filter(|query| prometheus.count(query) == 0 && !is_trouble(query)).collect();
    assert!(empty.is_empty(), "queries of the dashboard without an answer: {empty:#?}");

    let rules = prometheus.api("rules").unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        for selector in selectors(rule["query"].as_str().unwrap()) {
            assert!(prometheus.count(&selector) > 0 || is_trouble(&selector), "{}: no {selector}", rule["name"]);
        }
    }
    // What has no series here could be misspelt.
    let described = fs::read_to_string(root().join("docs/reference/metrics.md")).unwrap();
    for name in TROUBLE.map(|trouble| trouble.split('{').next().unwrap()) {
        assert!(described.contains(&format!("| `{name}` |")), "nobody describes {name}");
    }
    let page = get(&address, "/metrics").unwrap();
    assert_eq!(wrong_labels(&page), BTreeSet::new(), "descriptions name each label in backticks, and nothing else");
}

#[test]
fn alerts_fire_on_what_they_are_for_and_on_nothing_else() {
    let folder = root().join("deploy/prometheus");
    for args in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts-test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ] {
        let output = Command::new("promtool").args(args).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn every_alert_has_a_page_on_what_to_do_and_every_page_an_alert() {
    let alerts = fs::read_to_string(root().join("deploy/prometheus/alerts.yaml")).unwrap();
    let alerts: BTreeSet<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let pages: BTreeSet<String> = fs::read_dir(root().join("docs/runbooks"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .collect();
    assert_eq!(alerts, pages.iter().map(String::as_str).collect());
}
