//! The command line, through the binary: what it prints and how it exits.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

fn content(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../content").join(path)
}

fn run_with(input: &[u8], args: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cybervault"))
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn run(args: &[&str]) -> Output {
    run_with(b"", args)
}

fn json_lines(output: &Output) -> Vec<Value> {
    output.stdout.split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const BEACON: &str = r#"{"type":"endpoint_telemetry","payload":{"os":"windows","process_name":"svchost.exe","process_path":"C:\\Windows\\System32\\svchost.exe","network_connections":[{"dst_ip":"198.51.100.42","port":4444,"protocol":"TCP"}]}}"#;

#[test]
fn score_prints_hits_by_line_and_names_the_lines_it_cannot_read() {
    let input = format!("{{}}\n\n{BEACON}\r\nnot json\n{BEACON}");
    let output = run_with(input.as_bytes(), &["score", "--output", "hits"]);
    let hits = json_lines(&output);
    assert_eq!(hits.iter().map(|hit| hit["line"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 5]);
    let rules: Vec<_> = hits[0]["rules"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert!(!rules.is_empty() && rules.is_sorted());
    assert!(stderr(&output).contains("-: line 4: not JSON"), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn score_prints_assessments_and_ocsf_of_packed_files_for_the_tenant_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("events.ndjson.zst");
    fs::write(&packed, zstd::encode_all(format!("{BEACON}\n{{}}\n").as_bytes(), 3).unwrap()).unwrap();
    let packed = packed.to_str().unwrap();

    let output = run(&["score", "--tenant", "acme", packed]);
    let assessments = json_lines(&output);
    assert_eq!(assessments.len(), 1);
    assert_eq!(assessments[0]["tenant_id"], "acme");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json_lines(&run(&["score", "--all", packed])).len(), 2);
    assert_eq!(json_lines(&run(&["score", "--output", "ocsf", packed]))[0]["class_uid"], 2004);
    assert_eq!(run(&["score", "/nowhere"]).status.code(), Some(1));
    assert_eq!(run(&["score", "--tenant", "a|b"]).status.code(), Some(2));
}

#[test]
fn the_rules_that_ship_can_be_used_and_their_examples_hold() {
    let output = run(&["rules", "check", content("rules").to_str().unwrap(), "--json"]);
    let checked = &json_lines(&output)[0];
    assert_eq!(
        (output.status.code(), &checked["failed"], &checked["loaded"]),
        (Some(0), &json!([]), &checked["rules"])
    );
    let output = run(&["rules", "test", "--json"]);
    let tested = &json_lines(&output)[0];
    assert_eq!((output.status.code(), &tested["failed"]), (Some(0), &json!([])));
    assert!(tested["rules"].as_u64() >= Some(60) && tested["without_examples"] == 0, "{tested}");
}

#[test]
fn rules_that_can_not_be_used_and_examples_that_do_not_hold_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "title: T\nid: 6a8a6b2e-8a53-4a52-9a0c-1a3f3a0f6b10\nlogsource: {category: process_creation, product: windows}\n\
                detection: {s: {Image: x}, condition: s}\nlevel: low\nexamples:\n- {match: true, event: {a: 1}}\n";
    fs::write(folder.path().join("good.yml"), rule).unwrap();
    fs::write(folder.path().join("bad.yml"), "title: B\nlogsource: {}\n").unwrap();
    let folder = folder.path().to_str().unwrap();

    let output = run(&["rules", "check", folder, "--json"]);
    let checked = &json_lines(&output)[0];
    assert_eq!((output.status.code(), &checked["rules"], &checked["loaded"]), (Some(1), &json!(2), &json!(1)));
    assert_eq!(checked["failed"][0]["path"], "bad.yml");
    assert!(checked["failed"][0]["error"].as_str().unwrap().contains("detection"));

    let output = run(&["rules", "test", folder]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("good.yml: T (example 1): the rule is not true of the event"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(run(&["rules", "check", "/nowhere"]).status.code(), Some(2));
}

#[test]
fn configuration_and_tenants_are_checked() {
    let tenants = content("tenants/samples.yaml");
    let set = format!("tenants_file={}", tenants.display());
    let output = run(&["config", "check", "--set", &set]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = run(&["config", "check"]);
    assert!(stderr(&output).contains("`tenants_file` is not set") && output.status.code() == Some(2));
    let output = run(&["config", "show", "--set", "kafka.bootstarp=x"]);
    assert!(stderr(&output).contains("did you mean `kafka.bootstrap`?") && output.status.code() == Some(2));
    let shown = &whole_json(&run(&["config", "show", "--json"]));
    assert_eq!(shown["topics"]["names"]["telemetry_events"], "telemetry.events");
    assert_eq!(run(&["tenants", "check", tenants.to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(run(&["tenants", "check", "/nowhere"]).status.code(), Some(2));
}

fn whole_json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn wrong_usage_is_told_apart_from_a_no() {
    assert_eq!(run(&["nonsense"]).status.code(), Some(2));
    assert_eq!(run(&["tail", "nothing"]).status.code(), Some(2));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}
