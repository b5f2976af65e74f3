//! The command line, through the binary: what it prints and how it exits.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{Fleet, evtx, unlimited};

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
fn score_prints_hits_by_event_and_names_the_lines_it_cannot_read() {
    let input = format!("{{}}\n\n{BEACON}\r\nnot json\n{BEACON}");
    let output = run_with(input.as_bytes(), &["score", "--output", "hits"]);
    let hits = json_lines(&output);
    assert_eq!(hits.iter().map(|hit| hit["line"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4]);
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
    fs::write(folder.path().join("copy.yml"), rule.replace("examples:\n- {match: true, event: {a: 1}}\n", "")).unwrap();
    fs::write(folder.path().join("none.yml"), "title: [\n").unwrap();
    let folder = folder.path().to_str().unwrap();

    let output = run(&["rules", "check", folder, "--json"]);
    let checked = &json_lines(&output)[0];
    assert_eq!((output.status.code(), &checked["rules"], &checked["loaded"]), (Some(1), &json!(4), &json!(2)));
    assert_eq!(checked["twice"], json!(["6a8a6b2e-8a53-4a52-9a0c-1a3f3a0f6b10"]));
    assert_eq!(checked["failed"][0]["path"], "bad.yml");
    assert!(checked["failed"][0]["error"].as_str().unwrap().contains("detection"));

    let output = run(&["rules", "test", folder]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("good.yml: T: example 1: the rule is not true of the event"), "{said}");
    let not_yaml: Vec<_> = said.lines().filter(|line| line.starts_with("none.yml:")).collect();
    assert!(matches!(*not_yaml, [_]), "{said}");
    assert!(stderr(&run_with(b"{}", &["score", "--rules", folder])).contains("a rule can't be used"));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(run(&["rules", "check", "/nowhere"]).status.code(), Some(2));
}

#[test]
fn findings_are_one_a_line_with_their_place_and_warnings_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "title: T\nlevel: High\nlogsource: {category: process_creation, product: windows}\n\
                detection: {s: {Image: x}, condition: s}\n";
    fs::write(folder.path().join("a b.yml"), rule).unwrap();
    let path = folder.path().to_str().unwrap();
    let output = run(&["rules", "check", path]);
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let warning =
        format!("{path}/a b.yml:2:8: warning: T: the level `High` is taken as `high`; write it in lower case");
    assert_eq!(said.lines().collect::<Vec<_>>(), [&*warning, "1 of 1 rules can be used, with 1 warnings"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(run(&["rules", "check", "--strict", path]).status.code(), Some(1));

    // As Windows' own editor saves it, and a file that is a rule by its name alone.
    let utf16: Vec<u8> = "\u{feff}".encode_utf16().chain(rule.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(folder.path().join("utf16.yml"), utf16).unwrap();
    fs::write(folder.path().join("none.yml"), "services: {web: {image: x}}\n").unwrap();
    let output = run(&["rules", "check", path, "--output", "sarif"]);
    let sarif = whole_json(&output);
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let shown: Vec<_> = results
        .iter()
        .map(|result| {
            let place = &result["locations"][0]["physicalLocation"];
            let file = place["artifactLocation"]["uri"].as_str().unwrap().rsplit('/').next().unwrap();
            let kind = &sarif["runs"][0]["tool"]["driver"]["rules"]
                [usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(kind["id"], result["ruleId"]);
            (
                result["level"].as_str().unwrap(),
                file,
                place["region"]["startLine"].as_u64(),
                result["ruleId"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("warning", "a%20b.yml", Some(2), "level"),
            ("error", "none.yml", Some(1), "no-rule"),
            ("warning", "utf16.yml", Some(2), "level"),
        ]
    );
    assert_eq!(output.status.code(), Some(1));
    let checked = &json_lines(&run(&["rules", "check", path, "--json"]))[0];
    assert_eq!((&checked["warnings"][0]["code"], &checked["warnings"][0]["column"]), (&json!("level"), &json!(8)));
}

#[test]
fn a_folder_of_nothing_usable_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    fs::write(folder.path().join("rules.txt"), "title: T\n").unwrap();
    let output = run(&["rules", "check", path]);
    assert!(stderr(&output).contains("ends in .yml or .yaml") && output.status.code() == Some(2), "{output:?}");
    fs::write(folder.path().join("empty.yml"), "# nothing\n").unwrap();
    let output = run(&["rules", "check", path]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("empty.yml:1:1: error: there is no rule in this file"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_kinds_of_findings_are_in_the_docs() {
    let docs = fs::read_to_string(content("../docs/rules.md")).unwrap();
    for (code, meaning) in cybervault_sigma::FINDING_KINDS {
        assert!(docs.contains(&format!("| `{code}` | {meaning} |")), "docs/rules.md does not tell of {code}");
    }
}

#[test]
fn configuration_and_tenants_are_checked() {
    let tenants = content("tenants/samples.yaml");
    let set = format!("tenants_file={}", tenants.display());
    let output = run(&["config", "check", "--set", &set]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let playbooks = tempfile::tempdir().unwrap();
    let playbook = "id: p\ntitle: P\nmode: dry_run\nactions: [{type: notify, target: tenant}]\nwhen:\n  \
                    {tactics: [Lateral Movement, lateral-movment], techniques: [T1059.001, T9999], rules: [none]}\n";
    fs::write(playbooks.path().join("p.yaml"), playbook).unwrap();
    let playbooks = format!("playbooks_dir={}", playbooks.path().display());
    let checked = &json_lines(&run(&["config", "check", "--json", "--set", &set, "--set", &playbooks]))[0];
    let doubts = ["technique `T9999`", "tactic `lateral-movment`", "rule `none`"];
    assert_eq!(checked["doubts"], json!(doubts.map(|what| format!("playbook `p`: there is no {what}"))));
    assert_eq!(checked["fine"], true);
    let output = run(&["config", "check"]);
    assert!(stderr(&output).contains("`tenants_file` is not set") && output.status.code() == Some(2));
    let output = run(&["config", "show", "--set", "kafka.bootstarp=x"]);
    assert!(stderr(&output).contains("did you mean `kafka.bootstrap`?") && output.status.code() == Some(2));
    let shown = &whole_json(&run(&["config", "show", "--json"]));
    assert_eq!(shown["topics"]["names"]["telemetry_events"], "telemetry.events");
    assert_eq!(run(&["tenants", "check", tenants.to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(run(&["tenants", "check", "/nowhere"]).status.code(), Some(2));
    // Ids that stand for something of the product's own.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.yaml");
    for id in ["sandbox", "Sandbox", "CYBERVAULT"] {
        fs::write(&file, format!("tenants:\n- {{tenant_id: {id}, plan: starter}}\n")).unwrap();
        let set = format!("tenants_file={}", file.display());
        for args in [&["config", "check", "--set", &set][..], &["tenants", "check", file.to_str().unwrap()]] {
            let output = run(args);
            assert_eq!(output.status.code(), Some(2), "{args:?}");
            assert!(stderr(&output).contains(&format!("tenant `{id}` (entry 1")), "{}", stderr(&output));
        }
    }
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

const RULE: &str = "title: Shell\nid: 6a8a6b2e-8a53-4a52-9a0c-1a3f3a0f6b11\nlogsource: {category: process_creation, product: windows}\n\
                    detection: {s: {Image|endswith: '\\cmd.exe'}, f: {User: SYSTEM}, condition: s and not f}\nlevel: high\n\
                    tags: [attack.execution, attack.t1059.003]\n";

/// A folder with a rule, a pipeline for it, and an event that it is true of only with the pipeline.
fn shell_rule() -> (tempfile::TempDir, [String; 3]) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("rules/shell.yml", RULE);
    let pipeline =
        write("pipeline.yml", "name: own\ntransformations: [{type: field_name_mapping, mapping: {Image: exe}}]\n");
    let events = write(
        "events.ndjson",
        "{\"Channel\":\"Security\",\"EventID\":4688,\"exe\":\"C:\\\\Windows\\\\System32\\\\cmd.exe\",\"SubjectUserName\":\"ann\"}\n",
    );
    let rules = folder.path().join("rules").display().to_string();
    (folder, [rules, pipeline, events])
}

#[test]
fn pipelines_from_flags_and_configuration_change_the_rules() {
    let (folder, [rules, pipeline, events]) = shell_rule();
    let score = |more: &[&str]| run(&[&["score", "--output", "hits", "--rules", &rules, &events], more].concat());
    assert_eq!(json_lines(&score(&[])).len(), 0);
    assert_eq!(json_lines(&score(&["--pipeline", &pipeline])).len(), 1);
    assert_eq!(json_lines(&score(&["--set", &format!("rules.pipelines=[{pipeline}]")])).len(), 1);

    let bad = folder.path().join("bad.yml");
    fs::write(&bad, "name: bad\ntransformations:\n  - type: fold\n").unwrap();
    let output = run(&["rules", "check", &rules, "--pipeline", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("bad.yml:3: ") && stderr(&output).contains("unknown variant `fold`"),
        "{output:?}"
    );
    fs::write(&bad, "transformations: [{type: rule_failure, message: not here}]\n").unwrap();
    let output = run(&["rules", "check", &rules, "--pipeline", bad.to_str().unwrap(), "--json"]);
    assert_eq!(
        (output.status.code(), json_lines(&output)[0]["failed"][0]["error"].as_str()),
        (Some(1), Some("Shell: not here"))
    );
}

#[test]
fn score_explains_a_rule_event_by_event() {
    let (_folder, [rules, pipeline, events]) = shell_rule();
    let explain = |more: &[&str]| run(&[&["score", "--rules", &rules, "--explain", "Shell", &events], more].concat());
    let said = String::from_utf8(explain(&[]).stdout).unwrap();
    for line in [
        "line 1: does not fire: Shell (6a8a6b2e-8a53-4a52-9a0c-1a3f3a0f6b11)",
        "  false  s\n    false  Image endswith `\\cmd.exe`\n           the event has no such field\n",
        "  false  f\n    false  User is `SYSTEM`\n           = ann\n",
        "  condition: (s and not f)",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let told = &json_lines(&explain(&["--json", "--pipeline", &pipeline]))[0];
    assert_eq!(
        (&told["line"], &told["fires"], &told["selections"][1]["lines"][0]["field"]),
        (&json!(1), &json!(true), &json!("exe"))
    );
    assert_eq!(run(&["score", "--rules", &rules, "--explain", "none", &events]).status.code(), Some(2));
}

#[test]
fn rules_are_counted_and_their_cost_and_coverage_told() {
    let (_folder, [rules, pipeline, events]) = shell_rule();
    let output = run(&["rules", "stats", &rules, "--pipeline", &pipeline, "--events", &events, "--json"]);
    let stats = &json_lines(&output)[0];
    assert_eq!(
        (&stats["rules"], &stats["levels"]["high"], &stats["log_sources"][0]["mapped"]),
        (&json!(1), &json!(1), &json!(true))
    );
    assert_eq!((&stats["cost"]["events"], &stats["cost"]["rules"][0]["hits"]), (&json!(1), &json!(1)), "{stats}");
    // What tells the log source has no cost of its own.
    let fields: Vec<_> = stats["cost"]["fields"].as_array().unwrap().iter().map(|field| &field["field"]).collect();
    assert!(fields.contains(&&json!("exe")) && !fields.contains(&&json!("Channel")), "{stats}");
    let said = String::from_utf8(run(&["rules", "stats"]).stdout).unwrap();
    assert!(said.contains("by log source") && said.contains("-/-/network_traffic\n"), "{said}");

    let layer = &whole_json(&run(&["rules", "coverage", &rules]));
    assert_eq!((&layer["domain"], &layer["versions"]["layer"]), (&json!("enterprise-attack"), &json!("4.5")));
    assert_eq!(
        (&layer["techniques"][0]["techniqueID"], &layer["techniques"][0]["score"]),
        (&json!("T1059.003"), &json!(1))
    );
}

#[test]
fn listed_indicators_are_found_beside_rules_and_lists_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let [list, packed, broken] = ["c2.txt", "c2.csv.gz", "broken.csv"].map(|name| folder.path().join(name));
    fs::write(&list, "# command and control\n198.51.100.0/24\nnothing at all\n").unwrap();
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&packed).unwrap(), flate2::Compression::fast());
    gz.write_all(b"value,description,confidence\nevil.example,Nobody,50\n").unwrap();
    gz.finish().unwrap();
    fs::write(&broken, "a,b\n1,2\n").unwrap();
    let [list, packed, broken] = [&list, &packed, &broken].map(|path| path.to_str().unwrap());

    let event = r#"{"type":"vendor","payload":{"QueryName":"www.evil.example","answer":"198.51.100.42"}}"#;
    let score = |more: &[&str]| {
        let args = ["score", "--indicators", list, "--indicators", packed];
        json_lines(&run_with(format!("{event}\n{{}}\n").as_bytes(), &[&args[..], more].concat()))
    };
    let found = json!({"line": 1, "rules": [], "indicators": ["domain:evil.example", "ip:198.51.100.0/24"]});
    assert_eq!(score(&["--output", "hits"]), [found]);
    let assessment = &score(&[])[0];
    let told: Vec<_> = assessment["contributions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            [&one["kind"], &one["id"], &one["title"], &one["level"]].map(|text| text.as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(
        told,
        [
            ["indicator", "ip:198.51.100.0/24", "Address listed by c2.txt", "high"],
            ["indicator", "domain:evil.example", "Domain listed by c2.csv.gz: Nobody", "medium"],
        ]
        .map(|told| told.map(str::to_owned))
    );
    assert!(assessment["rules_version"].as_str().unwrap().contains("+i"));

    let checked = run(&["indicators", "check", list, packed]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{text}");
    assert!(
        text.contains("line 3: `nothing` is no hash") && text.ends_with("in all, each once: 1 ip, 1 domain\n"),
        "{text}"
    );
    let checked = run(&["indicators", "check", packed, "--json"]);
    assert_eq!((checked.status.code(), &whole_json(&checked)["feeds"][0]["taken"]["domain"]), (Some(0), &json!(1)));
    let refused = run(&["indicators", "check", broken]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("broken.csv: nothing in it can be used"), "{}", stderr(&refused));
}

#[test]
fn a_windows_event_log_is_scored_as_it_lies_on_disk() {
    let event = |id: &str, image: &str, command: &str| {
        let system = evtx::parent(
            "System",
            vec![
                evtx::parent("Provider", vec![]).with("Name", "Microsoft-Windows-Sysmon"),
                evtx::text("EventID", id),
                evtx::parent("TimeCreated", vec![]).with("SystemTime", "2026-11-02T09:00:00.0000000Z"),
                evtx::text("Channel", "Microsoft-Windows-Sysmon/Operational"),
                evtx::text("Computer", "ws-114"),
            ],
        );
        let data = [("Image", image), ("CommandLine", command)]
            .map(|(name, value)| evtx::text("Data", value).with("Name", name));
        evtx::parent("Event", vec![system, evtx::parent("EventData", data.into())])
            .with("xmlns", "http://schemas.microsoft.com/win/2004/08/events/event")
    };
    let folder = tempfile::tempdir().unwrap();
    let [log, rules, broken] = ["Sysmon.evtx", "rule.yml", "broken.evtx"].map(|name| folder.path().join(name));
    let shell = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe";
    fs::write(
        &log,
        evtx::file(&[event("3", shell, "-"), event("1", shell, "powershell -enc ä"), event("1", "x", "y")]),
    )
    .unwrap();
    fs::write(&broken, "no such thing").unwrap();
    fs::write(
        &rules,
        "title: t\nid: shell\nlogsource: {category: process_creation, product: windows}\n\
         detection: {sel: {'Image|endswith': '\\powershell.exe', 'CommandLine|contains': '-enc Ä'}, condition: sel}\n",
    )
    .unwrap();
    let [log, rules, broken] = [&log, &rules, &broken].map(|path| path.to_str().unwrap());
    let output = run(&["score", log, "--rules", rules, "--output", "hits"]);
    assert_eq!(json_lines(&output), [json!({"line": 2, "rules": ["shell"]})], "{}", stderr(&output));
    let assessment = &json_lines(&run(&["score", log, "--rules", rules]))[0];
    assert_eq!(assessment["occurred_at"], "2026-11-02T09:00:00.000Z", "{assessment}");
    let output = run(&["score", broken]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("broken.evtx"), "{}", stderr(&output));
}

#[test]
fn bench_pipeline_measures_the_stage_beside_the_bare_loop() {
    let fleet = Fleet::new("bench", &unlimited(["acme"]));
    let settings = ["batch.max_records=2000"];
    let bench =
        |events| fleet.command(&["bench", "pipeline", "--events", events, "--rate", "500", "--json"], &settings);
    let too_few = bench("7999");
    assert!(stderr(&too_few).contains("take at least 8000"), "{}", stderr(&too_few));
    let output = bench("20000");
    assert!(output.status.success(), "{}", stderr(&output));
    let measured = &json_lines(&output)[0];
    for figure in
        ["pipeline_events_per_second", "bare_events_per_second", "ratio", "ratio_to_decoding", "p50_ms", "p99_ms"]
    {
        assert!(measured[figure].as_f64().is_some_and(|figure| figure > 0.0), "{figure}: {measured}");
    }
    assert_eq!(measured["latency_at_events_per_second"], 500.0);
}
