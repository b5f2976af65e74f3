//! The same hits as `rsigma-eval` has, over real events and all public rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cybervault_sigma::{Mappings, Matcher, Routing, RuleFile, RuleSource, load};
use rsigma_eval::{Engine, JsonEvent};

use crate::{raw, reader};

/// Where real data lies, if it does.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    path.exists().then_some(path)
}

/// The public rules' files, each with its path, if they are here.
pub(crate) fn public_rules() -> Option<Vec<(String, String)>> {
    let folder = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("--zstd").arg("-xf").arg(shared("sigma-hq-rules.tar.zst")?).arg("-C").arg(folder.path());
    assert!(unpack.status().unwrap().success());
    let mut files = Vec::new();
    rule_files(folder.path(), &mut files);
    Some(files)
}

fn rule_files(folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rule_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yml") {
            files.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Sets of public rules, each with its name: SigmaHQ's, and every folder in the folder that `CYBERVAULT_RULE_SETS` names.
fn rule_sets() -> Vec<(String, Vec<(String, String)>)> {
    let mut sets: Vec<_> = public_rules().map(|files| ("SigmaHQ".to_owned(), files)).into_iter().collect();
    for entry in env::var_os("CYBERVAULT_RULE_SETS").into_iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let mut files = Vec::new();
        rule_files(&entry.as_ref().unwrap().path(), &mut files);
        sets.push((entry.unwrap().file_name().to_string_lossy().into_owned(), files));
    }
    sets
}

/// What a set's rules may be refused for: what no tool can use, and what asks for a pipeline.
const REASONS: [&str; 6] = ["yaml", "no-rule", "condition", "placeholder", "title", "duplicate-key"];

#[test]
fn public_rules_load_or_are_refused_for_a_stated_reason() {
    let sets = rule_sets();
    if sets.is_empty() {
        println!("SKIPPED: no public rules in ../shared/data, and CYBERVAULT_RULE_SETS names none");
    }
    for (name, files) in sets {
        let pack = load(files.iter().map(|(path, text)| RuleFile { path, text }));
        println!("{name}: {} rules, {} warnings, {} refused", pack.rules.len(), pack.warnings.len(), pack.failed.len());
        pack.failed.iter().for_each(|failure| println!("  {failure}"));
        let others: Vec<_> = pack.failed.iter().filter(|failure| !REASONS.contains(&failure.code)).collect();
        assert!(others.is_empty() && pack.rules.len() > 9 * pack.failed.len(), "{name}: {others:#?}");
        assert!(pack.failed.iter().chain(&pack.warnings).all(|finding| finding.line.is_some()), "{name}");
    }
}

/// The rules' differences that are known: id, and why.
fn known_differences() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("../cases/differences.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// Whether a rule for `wanted` is one for events of `source`.
fn covers(wanted: &RuleSource, source: &RuleSource) -> bool {
    let fits = |wanted: &Option<String>, source: &Option<String>| wanted.is_none() || wanted == source;
    fits(&wanted.product, &source.product)
        && fits(&wanted.service, &source.service)
        && fits(&wanted.category, &source.category)
}

#[test]
fn real_events_hit_the_same_public_rules_as_with_another_engine() {
    let (Some(files), Some(events)) = (public_rules(), shared("otrf-dev.ndjson.zst")) else {
        println!("SKIPPED: ../shared/data with the public rules and events is not here");
        return;
    };

    let pack = load(files.iter().map(|(path, text)| RuleFile { path, text }));
    let matcher = Matcher::compile(&pack, &Mappings::builtin());
    // The other engine knows no mappings.
    let unmapped = Matcher::compile(&pack, &Mappings::default());
    for failure in &pack.failed {
        println!("not loaded: {failure}");
    }
    let mut engine = Engine::new();
    for (path, text) in &files {
        for rule in rsigma_parser::parse_sigma_yaml(text).unwrap().rules {
            if let Err(error) = engine.add_rule(&rule) {
                println!("not loaded by the other engine: {path}: {error}");
            }
        }
    }
    println!("{} files, {} rules here, {} there", files.len(), matcher.rules().len(), engine.rule_count());

    // Every 50th event is enough for every day; all of them with the variable set.
    let step = if env::var_os("CYBERVAULT_ALL_EVENTS").is_some() { 1 } else { 50 };
    let mut unpack = Command::new("zstd").arg("-dc").arg(events).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(unpack.stdout.take().unwrap()).lines();
    let (mut reader, mut scratch, mut plain) = (reader(), matcher.scratch(), unmapped.scratch());
    let (mut count, mut hit_count) = (0, 0);
    let mut differences: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for line in lines.step_by(step) {
        let line = line.unwrap();
        let document = reader.read(line.as_bytes()).unwrap();
        let event = raw(&document, line.as_bytes());
        let hits = matcher.matches(&event, Routing::Off, &mut scratch).to_vec();
        let sources = matcher.log_sources(&event);
        let routed = matcher.matches(&event, Routing::Auto, &mut scratch);
        for hit in &hits {
            let wanted = &matcher.rules()[hit.get()].logsource;
            if sources.iter().any(|source| covers(wanted, source)) {
                assert!(routed.contains(hit), "routing loses {}: {line}", matcher.rules()[hit.get()].id);
            }
        }
        let hits = unmapped.matches(&event, Routing::Off, &mut plain);
        let ours: BTreeSet<_> = hits.iter().map(|hit| matcher.rules()[hit.get()].id.clone()).collect();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let results = engine.evaluate(&JsonEvent::borrow(&value));
        let theirs: BTreeSet<_> = results.iter().filter_map(|result| result.header.rule_id.clone()).collect();
        count += 1;
        hit_count += ours.len();
        for id in ours.symmetric_difference(&theirs) {
            let side = if ours.contains(id) { "only here" } else { "only there" };
            let shown = differences.entry(id.clone()).or_insert_with(|| (0, format!("{side}: {line}")));
            shown.0 += 1;
        }
    }
    unpack.wait().unwrap();
    println!("{count} events, {hit_count} hits, {} rules differ", differences.len());
    let known = known_differences();
    let unknown: Vec<_> = differences.iter().filter(|(id, _)| !known.contains_key(id.as_str())).collect();
    assert!(hit_count > 0 && unknown.is_empty(), "{unknown:#?}");
}
