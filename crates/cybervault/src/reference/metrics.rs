//! docs/reference/metrics.md

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    sync::Mutex,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder};

use super::{cell, hold, root};

const HEAD: &str = "# Metrics

`/metrics` in Prometheus' form, on `metrics.listen`. What is counted is what was committed: a batch that is given up and done again
counts once. Labels stand in the meaning in `this` form. A histogram has the series `_bucket`, `_sum` and `_count`.

[deploy/grafana/cybervault.json](../../deploy/grafana/cybervault.json) is a dashboard of all this,
[deploy/prometheus/alerts.yaml](../../deploy/prometheus/alerts.yaml) are alerts, each with a [runbook](../runbooks/README.md).

| metric | kind | meaning |
|---|---|---|
";

#[test]
fn the_metrics_reference_is_what_the_code_describes() {
    let page = described().into_iter().fold(HEAD.to_owned(), |mut page, (name, (kind, meaning))| {
        writeln!(page, "| `{name}` | {kind} | {} |", cell(&meaning)).unwrap();
        page
    });
    hold("metrics.md", &page);
}

#[test]
fn every_metric_that_the_code_names_is_described_and_every_described_one_is_named() {
    let described = described().into_keys().collect::<BTreeSet<_>>();
    let mut named = BTreeMap::<String, u32>::new();
    for krate in fs::read_dir(root().join("crates")).unwrap() {
        name_metrics(&krate.unwrap().path().join("src"), &mut named);
    }
    let undescribed: Vec<_> = named.keys().filter(|name| !described.contains(*name)).collect();
    assert!(undescribed.is_empty(), "not described, beside the others of their crate: {undescribed:?}");
    // Once where it is described, and where it is counted.
    let unused: Vec<_> = described.iter().filter(|name| named.get(*name).is_none_or(|times| *times < 2)).collect();
    assert!(unused.is_empty(), "described, and never counted: {unused:?}");
}

/// Counts the metrics' names in the code below a folder.
fn name_metrics(folder: &Path, named: &mut BTreeMap<String, u32>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            name_metrics(&path, named);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // A metric's name is a whole text: what stands between two quotation marks.
            for name in text.split('"').filter(|text| is_metric(text)) {
                *named.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
}

fn is_metric(text: &str) -> bool {
    let of_ours = text.strip_prefix("cybervault_").is_some_and(|rest| !rest.is_empty());
    let of_the_process = ["process_cpu_", "process_open_", "process_resident_", "process_threads"];
    (of_ours || of_the_process.iter().any(|start| text.starts_with(start)))
        && !text.ends_with('_')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// All metrics by name, with kind and meaning.
fn described() -> BTreeMap<String, (&'static str, String)> {
    let heard = Heard::default();
    with_local_recorder(&heard, crate::admin::describe);
    let found = heard.0.into_inner().unwrap();
    assert!(found.len() > 40, "{found:?}");
    found
}

/// A recorder that listens to descriptions alone.
#[derive(Debug, Default)]
struct Heard(Mutex<BTreeMap<String, (&'static str, String)>>);

impl Heard {
    fn keep(&self, kind: &'static str, key: &KeyName, meaning: &SharedString) {
        let twice = self.0.lock().unwrap().insert(key.as_str().to_owned(), (kind, meaning.to_string()));
        assert!(twice.is_none(), "{} is described twice", key.as_str());
    }
}

impl Recorder for Heard {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.keep("counter", &key, &meaning);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.keep("gauge", &key, &meaning);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, meaning: SharedString) {
        self.keep("histogram", &key, &meaning);
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
