//! What is read as events: the same ones, whatever they came in, from files and on the stream.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cybervault_testkit::topic::Record;
use serde_json::{Value, json};

use crate::support::{BINARY, Fleet, attack, evtx, unlimited};

const RULE: &str = "title: Whoami\nid: whoami\nlogsource: {category: process_creation, product: windows}\n\
                    detection: {s: {'Image|endswith': '\\whoami.exe'}, condition: s}\nlevel: high\n";

fn event(image: &str) -> Value {
    json!({"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Image": format!("C:\\Windows\\{image}"), "User": "ä"})
}

/// Four events, of which the second and the last are found.
fn events() -> Vec<Value> {
    ["cmd.exe", "whoami.exe", "cmd.exe", "whoami.exe"].map(event).into()
}

fn hits() -> Vec<Value> {
    [2, 4].map(|line| json!({"line": line, "rules": ["whoami"]})).into()
}

struct Place {
    folder: tempfile::TempDir,
    rule: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rule = folder.path().join("rule.yml");
        fs::write(&rule, RULE).unwrap();
        Self { rule: rule.display().to_string(), folder }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join("logs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn score(&self, path: &Path, more: &[&str]) -> Scored {
        let output = Command::new(BINARY)
            .args(["score", "--rules", &self.rule])
            .arg(path)
            .args(more)
            .env_clear()
            .output()
            .unwrap();
        Scored::of(&output)
    }

    fn hits(&self, path: &Path) -> Scored {
        self.score(path, &["--output", "hits"])
    }
}

#[derive(Debug)]
struct Scored {
    lines: Vec<Value>,
    said: String,
    code: Option<i32>,
}

impl Scored {
    fn of(output: &Output) -> Self {
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        Self {
            lines: lines.map(|line| serde_json::from_slice(line).unwrap()).collect(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn xml(event: &Value) -> String {
    format!(
        "<Event><System><EventID>{}</EventID><Channel>{}</Channel></System><EventData><Data Name=\"Image\">{}</Data></EventData></Event>",
        event["EventID"],
        event["Channel"].as_str().unwrap(),
        event["Image"].as_str().unwrap()
    )
}

#[test]
fn events_are_the_same_whatever_file_they_come_in() {
    let place = Place::new();
    let events = events();
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let each = |form: &dyn Fn(&Value) -> String| events.iter().map(form).collect::<Vec<_>>().join("\n");
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let all = Value::from(events.clone());
    let wide: Vec<u8> = lines.join("\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let row =
        |event: &Value| format!("{},1,\"{}\"", event["Channel"].as_str().unwrap(), event["Image"].as_str().unwrap());
    let wrapped = |key: &str| json!({ key: events }).to_string();
    let forms: Vec<(&str, Vec<u8>)> = vec![
        ("lines.ndjson", lines.join("\n").into()),
        ("blank.ndjson", lines.join("\r\n\r\n").into()),
        ("bom.json", format!("\u{feff}{}", lines.join("\r\n")).into()),
        ("utf16.json", [b"\xff\xfe".to_vec(), wide.clone()].concat()),
        ("utf16-without.json", wide),
        ("array.json", all.to_string().into()),
        ("pretty.json", pretty(&all).into()),
        ("behind.json", each(&pretty).into()),
        ("one-line.json", lines.concat().into()),
        ("commas.json", lines.join(",\n").into()),
        ("packed.log", gzipped(lines.join("\n").as_bytes())),
        ("twice.zst", zstd::encode_all(&*gzipped(all.to_string().as_bytes()), 1).unwrap()),
        ("records.json", wrapped("Records").into()),
        ("azure.json", pretty(&json!({"records": events})).into()),
        ("graph.json", json!({"@odata.context": "x", "value": events, "@odata.nextLink": "y"}).to_string().into()),
        ("k8s.json", json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": events}).to_string().into()),
        (
            "search.json",
            json!({"took": 1, "hits": {"total": 4, "hits": events.iter().map(|event| json!({"_id": "x", "_source": event})).collect::<Vec<_>>()}})
                .to_string().into(),
        ),
        ("splunk.json", each(&|event| json!({"preview": false, "result": event}).to_string()).into()),
        ("audit.json", each(&|event| json!({"Id": 1, "AuditData": event.to_string()}).to_string()).into()),
        ("beats.json", each(&|event| json!({"@timestamp": "x", "agent": {}, "message": event.to_string()}).to_string()).into()),
        ("syslog.log", each(&|event| format!("<13>Mar  1 10:00:00 h app[1]: {event}")).into()),
        ("syslog5424.log", each(&|event| format!("<13>1 2026-03-01T10:00:00Z h app 1 - - {event}")).into()),
        ("events.xml", format!("<?xml version=\"1.0\"?>\n<Events>{}</Events>", each(&xml)).into()),
        ("syslog-xml.log", each(&|event| format!("Mar  1 10:00:00 h sysmon: {}", xml(event))).into()),
        ("table.csv", format!("Channel,EventID,Image\r\n{}", each(&row)).into()),
        ("quoted.csv", format!("\"Channel\",\"EventID\",\"Image\"\r\n{}\r\n", each(&row)).into()),
        ("zeek-like.log", format!("#fields\tChannel\tEventID\tImage\n{}", each(&|event| row(event).replace(',', "\t").replace('"', ""))).into()),
    ];
    for (name, bytes) in forms {
        let scored = place.hits(&place.write(name, bytes));
        assert_eq!((&scored.lines, scored.code), (&hits(), Some(0)), "{name}: {scored:?}");
        assert!(scored.said.contains("cybervault: 4 events in 1 file, 2 with findings\n"), "{name}: {}", scored.said);
    }
}

#[test]
fn a_list_of_any_length_is_read_and_its_events_have_ids_of_their_own() {
    let place = Place::new();
    let pad = "x".repeat(900);
    let mut large = event("whoami.exe");
    large["pad"] = pad.into();
    let count = 3000;
    let list = Value::from(vec![large; count]);
    for (name, text) in [
        ("compact.json", list.to_string()),
        ("pretty.json", serde_json::to_string_pretty(&json!({"Records": list, "NextToken": "x"})).unwrap()),
    ] {
        let path = place.write(name, text);
        let scored = place.score(&path, &["--set", "limits.max_container_events=10"]);
        let mut ids: Vec<_> = scored.lines.iter().map(|line| line["assessment_id"].to_string()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), scored.code), (count, Some(0)), "{name}: {}", scored.said);
    }
}

#[test]
fn what_can_not_be_read_is_told_once_a_file_and_takes_nothing_else_with_it() {
    let place = Place::new();
    let good = event("whoami.exe");
    let half = format!("{{\"Records\":[{good},{{\"a\":}},7,{good},{{\"b\":]}},{good}]}}");
    let scored = place.hits(&place.write("half.json", &half));
    assert_eq!(
        scored.lines.iter().map(|hit| hit["line"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 4, 6],
        "{scored:?}"
    );
    assert_eq!(scored.code, Some(1));
    let told: Vec<_> = scored.said.lines().filter(|line| line.contains("half.json: line")).collect();
    assert!(
        told[0].contains("line 1, /Records/1: not JSON") && told[0].ends_with("1 more like it in this file"),
        "{told:?}"
    );
    assert!(
        told[1].contains("/Records/2: ") && scored.said.contains("6 events in 1 file, 3 with findings, 3 unreadable"),
        "{scored:?}"
    );

    let cut = format!("[\n{good},\n{{\"Channel\":");
    let scored = place.hits(&place.write("cut.json", &cut));
    assert_eq!((scored.lines.len(), scored.code), (1, Some(1)), "{scored:?}");
    let broken = format!("{good}\n{{\"a\":\"tru\n{good}\nnot json\n{{\"a\":{{\"b\":1\n{good}\n");
    let scored = place.hits(&place.write("broken.ndjson", &broken));
    assert_eq!(
        scored.lines.iter().map(|hit| hit["line"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 3, 6],
        "{scored:?}"
    );

    let packed = gzipped(&[good.to_string().as_bytes(), b"\n"].concat().repeat(2000));
    let scored = place.hits(&place.write("half.gz", &packed[..packed.len() / 2]));
    assert!(scored.code == Some(1) && scored.said.contains("ends in the middle, or is damaged"), "{scored:?}");
    let scored = place.hits(&place.write("program", b"\x7fELF\0\0\0\x01"));
    assert!(scored.code == Some(1) && scored.said.contains("neither text nor a Windows event log"), "{scored:?}");
}

#[test]
fn a_windows_event_log_is_known_by_its_first_bytes_and_one_that_ends_in_the_middle_says_so() {
    let place = Place::new();
    let log_event = |image: &str| {
        let system = evtx::parent(
            "System",
            vec![evtx::text("EventID", "1"), evtx::text("Channel", "Microsoft-Windows-Sysmon/Operational")],
        );
        let data = vec![evtx::text("Data", image).with("Name", "Image")];
        evtx::parent("Event", vec![system, evtx::parent("EventData", data)])
    };
    let log = evtx::file(&[log_event("C:\\cmd.exe"), log_event("C:\\whoami.exe")]);
    for (name, bytes) in [("saved.log", log.clone()), ("saved.gz", gzipped(&log)), ("saved.evtx", log.clone())] {
        let scored = place.hits(&place.write(name, bytes));
        assert_eq!(
            (&scored.lines, scored.code),
            (&vec![json!({"line": 2, "rules": ["whoami"]})], Some(0)),
            "{name}: {scored:?}"
        );
    }
    let mut two = log.clone();
    // The header says how many chunks there are.
    two[42] = 2;
    for bytes in [&two[..], &log[..4096 + 30_000]] {
        let scored = place.hits(&place.write("cut.evtx", bytes));
        assert!(scored.code == Some(1) && scored.said.contains("the file ends in the middle"), "{scored:?}");
    }
}

#[test]
fn events_of_no_known_log_source_are_told_with_their_keys() {
    let place = Place::new();
    let path = place.write("app.json", "{\"zeta\":1,\"app\":\"x\"}\n{\"zeta\":2,\"app\":\"y\"}\n{\"other\":1}\n");
    let scored = place.hits(&path);
    assert_eq!((scored.lines.len(), scored.code), (0, Some(0)), "{scored:?}");
    assert!(scored.said.contains("3 events in 1 file, 0 with findings, 3 of no known log source"), "{}", scored.said);
    assert!(
        scored.said.contains("2  app, zeta (first: event 1, ") && scored.said.contains("what to do: "),
        "{}",
        scored.said
    );
    assert_eq!(place.score(&path, &["--strict"]).code, Some(1));
    assert_eq!(place.score(&path, &["--strict", "--route", "off"]).code, Some(0));
    let known = place.write("known.json", event("cmd.exe").to_string());
    assert_eq!(place.score(&known, &["--strict"]).code, Some(0));
}

#[test]
fn a_folder_is_read_through_links_and_says_what_in_it_is_no_log() {
    let place = Place::new();
    place.write("a/one.json", event("whoami.exe").to_string());
    place.write("b/two.csv", "Channel,EventID,Image\nMicrosoft-Windows-Sysmon/Operational,1,C:\\whoami.exe\n");
    place.write("a/README.md", "# Words\n");
    let logs = place.folder.path().join("logs");
    #[cfg(unix)]
    std::os::unix::fs::symlink(logs.join("b"), logs.join("a/link")).unwrap();
    let scored = place.hits(&logs.join("a"));
    assert_eq!((&scored.lines.len(), scored.code), (&2, Some(0)), "{scored:?}");
    assert!(scored.said.contains("1 file passed over") && scored.said.contains("README.md"), "{}", scored.said);
    // Once, though there are two ways to it.
    let scored = place.hits(&logs.join("**/*.csv"));
    assert_eq!(scored.lines.len(), 1, "{scored:?}");
    // So does the benchmark, of several at once and in any order.
    let bench = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["bench", "match", "--json", "--rules", &place.rule]).args(args).env_clear();
        command.arg("--events").args([logs.join("a"), logs.join("a")]).output().unwrap()
    };
    for args in [&[][..], &["--interleave"], &["--interleave", "3", "--hits-only"]] {
        let output = bench(args);
        let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&measured["events"], &measured["hits"]), (&json!(4), &json!(4)), "{output:?}");
    }
    assert_eq!(bench(&["--interleave", "0"]).status.code(), Some(2));
}

#[test]
fn a_record_of_many_events_has_each_of_them_assessed_or_dead_with_the_ids_that_a_file_gives() {
    let fleet = Fleet::new("containers", &unlimited(["acme"]));
    let mut one = attack("", "ws-1");
    one.as_object_mut().unwrap().remove("event_id");
    let list = format!("{{\"records\":[{one},{{\"bad\":}},{one},7,{one}]}}");
    fleet.send([Record::new("acme", list.clone()), Record::new("acme", format!("{one}\n{one}"))]);
    let mut worker = fleet.worker("w1", &[]);
    let assessed = fleet.wait_for(&mut worker, "threat.assessments", 5);
    let dead = fleet.wait_for(&mut worker, "telemetry.dlq", 2);
    let mut places: Vec<_> = dead
        .iter()
        .map(|letter| {
            let told = ["origin.place", "error.reason"].map(|name| letter.header(name).unwrap().to_owned());
            (told, String::from_utf8(letter.value.clone()).unwrap())
        })
        .collect();
    places.sort_unstable();
    let told = |place: &str, reason: &str| [place, reason].map(str::to_owned);
    assert_eq!(
        places,
        [
            (told("/records/1", "not_json"), "{\"bad\":}".to_owned()),
            (told("/records/3", "wrong_schema"), "7".to_owned())
        ]
    );
    let id = |value: &[u8]| serde_json::from_slice::<Value>(value).unwrap()["assessment_id"].to_string();
    let mut found: Vec<_> = assessed.iter().map(|record| id(&record.value)).collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 5);
    let file = fleet.path("list.json");
    fs::write(&file, list).unwrap();
    let output = Command::new(BINARY).args(["score", "--tenant", "acme"]).arg(&file).env_clear().output().unwrap();
    let from_file: Vec<_> = Scored::of(&output).lines.iter().map(|line| line["assessment_id"].to_string()).collect();
    assert!(from_file.len() == 3 && from_file.iter().all(|id| found.contains(id)), "{from_file:?} {found:?}");

    let metric = |name, labels| Fleet::metric(&worker, name, labels);
    let records = metric("cybervault_stage_records_total", r#"stage="assess""#);
    let (containers, contained) =
        (metric("cybervault_containers_total", ""), metric("cybervault_contained_events_total", ""));
    assert_eq!((records, containers, contained), (2.0, 2.0, 7.0));
    let admitted = metric("cybervault_events_total", r#"outcome="admitted""#);
    let dead = metric("cybervault_dead_letters_total", r#"stage="assess""#);
    assert_eq!(records - containers + contained, admitted + dead);
    assert_eq!((admitted, dead), (5.0, 2.0));
}
