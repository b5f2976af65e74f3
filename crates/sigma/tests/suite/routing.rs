//! Which rules see which events, and under which names.

use cybervault_model::{EventKind, Evidence, Source, TelemetryEvent, json::Reader};
use cybervault_sigma::{Mappings, Matcher, Routing, Scratch};
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select, subsequence},
};

use crate::{matcher, pack, raw, reader};

/// A rule of a log source that is true where a field has a value.
fn rule(id: &str, logsource: &str, field: &str) -> String {
    format!(
        "title: {id}\nid: {id}\nlogsource: {{{logsource}}}\ndetection:\n  sel: {{{field}}}\n  condition: sel\n---\n"
    )
}

fn hits(matcher: &Matcher, event: &str, kind: EventKind<'_>, source: Source<'_>, routing: Routing) -> Vec<String> {
    hits_after_others(matcher, &mut (reader(), matcher.scratch()), event, (kind, source), routing).0
}

/// With a reader and a scratch that may have seen other events, and with what made each of them true.
fn hits_after_others(
    matcher: &Matcher,
    (reader, scratch): &mut (Reader, Scratch),
    event: &str,
    (kind, source): (EventKind<'_>, Source<'_>),
    routing: Routing,
) -> (Vec<String>, Vec<Vec<Evidence>>) {
    let document = reader.read(event.as_bytes()).unwrap();
    let event = TelemetryEvent { kind, source, ..raw(&document, event.as_bytes()) };
    let mut evidence = Vec::new();
    let hits = matcher.matches_shown(&event, routing, scratch, &mut evidence);
    (hits.iter().map(|hit| matcher.rules()[hit.get()].id.clone()).collect(), evidence)
}

#[test]
fn windows_events_go_to_the_rules_of_their_channel_and_id() {
    let rules = [
        rule("process", "product: windows, category: process_creation", "Image|endswith: cmd.exe"),
        rule("sysmon", "product: windows, service: sysmon", "Image|endswith: cmd.exe"),
        rule("security", "product: windows, service: security", "NewProcessName|endswith: cmd.exe"),
        rule("file", "product: windows, category: file_event", "Image|endswith: cmd.exe"),
        rule("linux", "product: linux, category: process_creation", "Image|endswith: cmd.exe"),
        rule("cisco", "product: cisco, service: aaa", "'*|exists': true"),
    ]
    .concat();
    let matcher = matcher(&rules);
    let sysmon = |id: &str| {
        format!(r#"{{"Channel":"Microsoft-Windows-Sysmon/Operational","EventID":{id},"Image":"C:\\cmd.exe"}}"#)
    };
    let security = r#"{"Channel":"Security","EventID":4688,"NewProcessName":"C:\\cmd.exe"}"#;
    let auto = |event: &str| hits(&matcher, event, EventKind::Raw, Source::default(), Routing::Auto);
    assert_eq!(auto(&sysmon("1")), ["process", "sysmon"]);
    assert_eq!(auto(&sysmon(r#""1""#)), ["process", "sysmon"]);
    assert_eq!(auto(&sysmon("11")), ["sysmon", "file"]);
    assert_eq!(auto(security), ["process", "security"]);
    assert_eq!(auto(r#"{"Channel":"Unheard-Of","EventID":1,"Image":"cmd.exe"}"#), [""; 0]);
    let off = |event: &str| hits(&matcher, event, EventKind::Raw, Source::default(), Routing::Off);
    assert_eq!(off(r#"{"Image":"cmd.exe"}"#), ["process", "sysmon", "file", "linux"]);
    // Its fields are those that it has with routing, and `Image` is one of them.
    assert_eq!(off(security), ["process", "sysmon", "security", "file", "linux"]);
}

#[test]
fn an_event_that_comes_again_and_again_hits_the_same_rules_each_time() {
    let rules = [
        rule("line", "product: windows", "Message|contains: 'Tool: mimikatz'"),
        rule("across", "product: windows", r#"Message|contains: "first\r\nsecond""#),
        rule("otherwise", "product: windows", "Data|contains: 'Tool: mimikatz'"),
        rule("keyword", "product: windows", "'|contains': [sekurlsa]"),
        rule("later", "product: windows", "Message|contains|all: ['Tool: mimikatz', 'User']"),
        rule("start", "product: windows", "Message|startswith: 'A process'"),
        rule("number", "product: windows", "EventID: 7"),
        rule("regex", "product: windows", "Message|re: 'mimi(katz|dogz)'"),
    ]
    .concat();
    let matcher = matcher(&rules);
    let mut past = (reader(), matcher.scratch());
    let filling = r"Something that is much longer than it would have to be: 0123456789\r\n".repeat(2);
    let event = |id: u64, message: &str| {
        format!(
            r#"{{"Channel":"Application","EventID":{id},"At":"{}","Message":"A process\r\n{filling}{message}"}}"#,
            id * 7919
        )
    };
    for round in 0..300 {
        for (id, message, expected) in [
            (7, r"Tool: mimikatz\r\nUser", &["line", "otherwise", "later", "start", "number", "regex"][..]),
            (round, r"first\r\nsecond", &["across", "start"]),
            (round, "sekurlsa", &["keyword", "start"]),
            (7, r"Tool: none\r\nUser", &["start", "number"]),
        ] {
            let unknown = (EventKind::Raw, Source::default());
            for _ in 0..2 {
                let (hits, _) = hits_after_others(&matcher, &mut past, &event(id, message), unknown, Routing::Auto);
                let numbered = id == 7 && !expected.contains(&"number");
                let hits: Vec<_> = hits.iter().filter(|hit| !numbered || *hit != "number").collect();
                assert_eq!(hits, expected, "{round} {message}");
            }
        }
    }
}

#[test]
fn a_keyword_in_a_line_that_stays_is_found_whatever_the_others_become() {
    let rules = [
        rule("end", "product: windows", "Data|endswith: .exe"),
        rule("keyword", "product: windows", "'|contains': [sekurlsa]"),
    ];
    let matcher = matcher(&rules.concat());
    let mut past = (reader(), matcher.scratch());
    for round in 0..8 {
        for (last, expected) in [("a.exe", &["end", "keyword"][..]), ("a.txt", &["keyword"]), ("b.txt", &["keyword"])] {
            let event = format!(r#"{{"Channel":"Application","EventID":{round},"Data":"sekurlsa\n{last}"}}"#);
            let raw = (EventKind::Raw, Source::default());
            let (hits, _) = hits_after_others(&matcher, &mut past, &event, raw, Routing::Auto);
            assert_eq!(hits, expected, "{round} {event}");
        }
    }
}

/// A text of several lines, as JSON.
macro_rules! lines {
    ($first:literal, $last:literal) => {
        concat!(
            "\"",
            $first,
            "\\nA line that is much longer than it would have to be, so that there are many bytes of text: 0123456789\\n",
            $last,
            "\""
        )
    };
}

/// Keys by which mappings know events, with values that decide their route, and some that are odd.
const KEYS: [(&str, &[&str]); 11] = [
    ("Channel", &[r#""Security""#, r#""Microsoft-Windows-Sysmon/Operational""#, r#"["Security"]"#, "null"]),
    ("EventID", &["1", r#""1""#, "4688", "11", "true", "[1]"]),
    ("event.category", &[r#""process""#, r#"["file"]"#, r#""""#]),
    ("event", &[r#"{"category":"process","type":"start"}"#, r#"{"category":["network"]}"#, "1"]),
    ("winlog", &[r#"{"channel":"Security","event_id":4688}"#, "{}"]),
    ("process_name", &[r#""cmd.exe""#, r#""""#, "null"]),
    ("network_connections", &["[]", r#"[{"dst_ip":"10.0.0.1","port":1}]"#, "{}"]),
    ("os", &[r#""linux""#, r#""windows""#, r#""""#, "7"]),
    ("Message", &[lines!("first", "other"), lines!("a.exe", "other"), lines!("first", "a.exe"), lines!("new", "new")]),
    ("Details", &[lines!("a.exe", "other"), lines!("new", "new"), lines!("first", "other"), "1"]),
    ("Image", &[r#""cmd.exe""#, r#""cmd.exes""#, "[]", r#"["a.exe","cmd.exe"]"#, r#"["cmd.exe","A.EXE"]"#, "[1,[]]"]),
];

proptest! {
    #[test]
    fn the_route_of_an_event_is_the_same_whatever_came_before(
        // So few keywords that they are looked for in all that changes, or so many that what was found is recalled.
        other_keywords in select(vec![0, 40]),
        shapes in vec(subsequence(KEYS.to_vec(), 1..5), 1..3),
        events in vec(
            (
                any::<Index>(),
                vec(any::<Index>(), 5),
                select(vec![EventKind::Raw, EventKind::EndpointTelemetry, EventKind::Vendor("other")]),
                select(vec![None, None, Some("linux")]),
                any::<bool>(),
                vec(any::<u8>(), 5),
            ),
            1..20,
        ),
    ) {
        let sources = [
            "product: windows", "product: linux", "product: aws", "service: sysmon", "service: security",
            "category: process_creation", "category: file_event", "category: network_connection", "product: windows, service: security",
        ];
        let is_there = |source: &&str| rule(&source.replace(": ", "-"), source, "'absent|exists': false");
        let others: String = (0..other_keywords).map(|other| format!(", absent {other}")).collect();
        let image = rule("image", "category: process_creation", "Image: cmd.exe")
            + &rule("any", "category: process_creation", "Image|endswith: .exe")
            + &rule("keyword", "category: process_creation", &format!("'|contains': [a.exe, linux{others}]"));
        let matcher = matcher(&(sources.iter().map(is_there).collect::<String>() + &image));
        let mut past = (reader(), matcher.scratch());
        for (shape, drawn, kind, product, is_routed, order) in events {
            let mut values: Vec<_> = shape.get(&shapes).iter().zip(drawn).zip(order).collect();
            values.sort_by_key(|(_, order)| *order);
            let values: Vec<_> =
                values.iter().map(|(((key, values), at), _)| format!("{key:?}:{}", at.get(values))).collect();
            let event = format!("{{{}}}", values.join(","));
            let routing = if is_routed { Routing::Auto } else { Routing::Off };
            let source = Source { product, ..Source::default() };
            let anew =
                hits_after_others(&matcher, &mut (reader(), matcher.scratch()), &event, (kind, source), routing);
            let after_others = hits_after_others(&matcher, &mut past, &event, (kind, source), routing);
            prop_assert_eq!(after_others, anew, "{} {:?} {:?}", event, kind, product);
        }
    }
}

#[test]
fn an_endpoint_event_is_everything_that_it_reports() {
    let rules = [
        rule("process", "product: windows, category: process_creation", r"Image|endswith: '\svchost.exe'"),
        rule("own", "category: process_creation", "process_name: svchost.exe"),
        rule("net", "product: windows, category: network_connection", "DestinationPort: 4444"),
        rule("dll", "product: windows, category: image_load", r"ImageLoaded|endswith: '\evil.dll'"),
        rule("hash", "product: windows, category: process_creation", "Hashes|contains: 'SHA256=ABCD'"),
        rule("linux", "product: linux, category: process_creation", "ProcessId: 12"),
    ]
    .concat();
    let matcher = matcher(&rules);
    let auto = |event: &str, source| hits(&matcher, event, EventKind::EndpointTelemetry, source, Routing::Auto);
    let event = r#"{"process_name":"svchost.exe","process_path":"C:\\Temp\\svchost.exe","pid":12,"hash_sha256":"abcd",
        "network_connections":[{"port":80},{"dst_ip":"198.51.100.42","port":4444}]}"#;
    assert_eq!(auto(event, Source::default()), ["process", "own", "net", "hash"]);
    let linux = Source { product: Some("Linux"), ..Source::default() };
    assert_eq!(auto(event, linux), ["own", "linux"]);
    assert_eq!(auto(r#"{"os":"linux","process_name":"svchost.exe","pid":12}"#, Source::default()), ["own", "linux"]);
    assert_eq!(auto(r#"{"loaded_modules":[{"path":"c:\\EVIL.dll"}]}"#, Source::default()), ["dll"]);
}

#[test]
fn a_value_stands_in_for_a_field_only_where_that_is_missing_whatever_came_before() {
    let rules = [
        rule("image", "category: process_creation", "Image|endswith: cmd.exe"),
        rule("own", "category: process_creation", "process_name: cmd.exe"),
    ];
    let matcher = matcher(&rules.concat());
    let mut past = (reader(), matcher.scratch());
    for round in 0..8 {
        for (path, expected) in [("", &["image", "own"][..]), (r#","process_path":"C:\\x.exe""#, &["own"])] {
            let event = format!(r#"{{"pid":{round},"process_name":"cmd.exe"{path}}}"#);
            let endpoint = (EventKind::EndpointTelemetry, Source::default());
            let (hits, _) = hits_after_others(&matcher, &mut past, &event, endpoint, Routing::Auto);
            assert_eq!(hits, expected, "{round} {event}");
        }
    }
}

#[test]
fn an_envelope_names_the_source_of_a_vendors_log() {
    let rules = [rule("trail", "product: aws, service: cloudtrail", "eventName: StopLogging")].concat();
    let matcher = matcher(&rules);
    let source = Source { product: Some("aws"), service: Some("cloudtrail"), category: None };
    let event = r#"{"eventName":"StopLogging"}"#;
    assert_eq!(hits(&matcher, event, EventKind::Vendor("aws"), source, Routing::Auto), ["trail"]);
    assert_eq!(hits(&matcher, event, EventKind::Vendor("aws"), Source::default(), Routing::Auto), [""; 0]);
}

#[test]
fn network_and_file_events_answer_to_sigmas_names() {
    let rules = [
        rule("firewall", "category: firewall", "dst_port: 4444"),
        rule("dns", "category: dns", "query|endswith: .evil.example"),
        rule("proxy", "category: proxy", "c-useragent|contains: evil"),
        rule("file", "category: file_hash", "sha256: ABCD"),
    ]
    .concat();
    let matcher = matcher(&rules);
    let auto = |event: &str, kind| hits(&matcher, event, kind, Source::default(), Routing::Auto);
    let network = EventKind::NetworkTraffic;
    assert_eq!(auto(r#"{"dst_port":4444,"dns_query":"x.evil.example"}"#, network), ["firewall", "dns"]);
    assert_eq!(auto(r#"{"http_user_agent":"Evil/1.0"}"#, network), ["proxy"]);
    assert_eq!(auto(r#"{"hash_sha256":"abcd"}"#, EventKind::FileHash), ["file"]);
}

#[test]
fn field_values_come_through_the_mapping() {
    let named = ["Image", "Hashes", "DestinationIp", "process_name"];
    let pack = pack(&rule("any", "product: windows", "A: x"));
    let matcher = Matcher::compile_naming(&pack, &Mappings::builtin(), named);
    let mut reader = reader();
    let event = r#"{"process_name":"a.exe","hash_md5":"F00","network_connections":[{"dst_ip":"1.2.3.4"},{"dst_ip":"5.6.7.8"}]}"#;
    let document = reader.read(event.as_bytes()).unwrap();
    let event = TelemetryEvent { kind: EventKind::EndpointTelemetry, ..raw(&document, event.as_bytes()) };
    let mut scratch = matcher.scratch();
    let fields = matcher.fields(&event, &mut scratch);
    let values = named.map(|name| fields.values(name));
    assert_eq!(values, [vec!["a.exe"], vec!["MD5=F00"], vec!["1.2.3.4", "5.6.7.8"], vec!["a.exe"]]);
    assert_eq!([0, 1, 2, 3, 4].map(|at| fields.values_of_named(at)), [&values[..], &[Vec::new()]].concat()[..]);
    let categories: Vec<_> = matcher.log_sources(&event).into_iter().filter_map(|source| source.category).collect();
    assert_eq!(categories, ["process_creation", "network_connection"]);
}

#[test]
fn of_a_field_with_many_values_the_first_are_told() {
    let named = ["DestinationIp", "Hashes"];
    let pack = pack(&rule("any", "product: windows", "A: x"));
    let matcher = Matcher::compile_naming(&pack, &Mappings::builtin(), named);
    let connections: Vec<_> = (0..100_000).map(|port| format!(r#"{{"dst_ip":"{port}"}}"#)).collect();
    let event = format!(r#"{{"network_connections":[{}],"hash_md5":"F00"}}"#, connections.join(","));
    let mut reader = reader();
    let document = reader.read(event.as_bytes()).unwrap();
    let event = TelemetryEvent { kind: EventKind::EndpointTelemetry, ..raw(&document, event.as_bytes()) };
    let mut scratch = matcher.scratch();
    let fields = matcher.fields(&event, &mut scratch);
    let first: Vec<_> = (0..64).map(|port| port.to_string()).collect();
    assert_eq!(named.map(|name| fields.values(name)), [first, vec!["MD5=F00".to_owned()]]);
}

#[test]
fn events_made_to_hurt_are_matched_like_others() {
    let matcher = matcher(&rule("any", "product: windows", "A.A.A|contains: needle"));
    let mut scratch = matcher.scratch();
    let mut reader = reader();
    let keys = |count: usize| (0..count).map(|key| format!("\"k{key}\":{key},")).collect::<String>();
    let nested = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    for (event, expected) in [
        (format!("{{{}\"A\":{{\"A\":{{\"A\":\"a needle\"}}}}}}", keys(100_000)), 1),
        (format!("{{\"A\":{{\"A\":{{\"A\":\"{}needle\"}}}}}}", "needl".repeat(2_000_000)), 1),
        (r#"{"A":{"A":{"A":"x"}},"A":{"A":{"A":"needle"}},"A":1}"#.to_owned(), 1),
        (format!("{{\"A\":[{}{{\"A\":[{{\"A\":[[\"needle\"]]}}]}}]}}", "{\"A\":0},".repeat(100_000)), 1),
        (format!("{{\"A\":{nested},\"\":\"\",\"A.A.A\":\"\"}}"), 0),
        ("{}".to_owned(), 0),
    ] {
        let document = reader.read(event.as_bytes()).unwrap();
        let event = raw(&document, event.as_bytes());
        let mut evidence = Vec::new();
        assert_eq!(matcher.matches_shown(&event, Routing::Off, &mut scratch, &mut evidence).len(), expected);
        assert!(evidence.iter().all(|values| values[0].value.len() <= 256));
    }
}

#[test]
fn a_keyword_that_another_log_sources_rule_waits_for_is_found_all_the_same() {
    let rule = |id: &str, service: &str, keywords: &str, condition: &str| {
        format!(
            "title: {id}\nid: {id}\nlogsource: {{product: linux, service: {service}}}\ndetection:\n  \
             keywords: {keywords}\n  field: {{A|endswith: x}}\n  condition: {condition}\n---\n"
        )
    };
    let text = [
        rule("waits", "sshd", "['needle in a haystack']", "keywords"),
        // Each has something rarer to wait for than the keyword, or something that it can't wait for.
        rule("both", "cron", "{'|all': ['needle in a haystack', 'a much longer and so much rarer text']}", "keywords"),
        rule("without", "cron", "['needle in a haystack']", "field and not keywords"),
    ]
    .concat();
    let matcher = matcher(&text);
    let hits = |event: &str, service| {
        let source = Source { product: Some("linux"), service: Some(service), category: None };
        hits(&matcher, event, EventKind::Raw, source, Routing::Auto)
    };
    let found = r#"{"A":"x","message":"a needle in a haystack, and a much longer and so much rarer text"}"#;
    assert_eq!(hits(found, "sshd"), ["waits"]);
    assert_eq!(hits(found, "cron"), ["both"]);
    assert_eq!(hits(r#"{"A":"x","message":"a much longer and so much rarer text"}"#, "cron"), ["without"]);
}
