use proptest::prelude::*;

use super::*;
use crate::{EventKind, json::Limits};

/// What was told of a part: its place, its bytes, and what it has under `n` or why it can't be decoded.
type Told = (String, String, Result<String, &'static str>);

fn unpacker(limits: ContainerLimits) -> Unpacker {
    Unpacker::new(Decoder::new(Limits { max_bytes: 400, max_depth: 16 }), limits)
}

fn told(unpacker: &mut Unpacker, value: &str) -> (Result<Unpacked, &'static str>, Vec<Told>) {
    let mut parts = Vec::new();
    let incoming = Incoming { key: Some(b"acme|host"), value: value.as_bytes(), ..Incoming::default() };
    let unpacked = unpacker.each(&incoming, &mut |part| {
        let found = part.event.as_ref().map_err(DecodeError::reason);
        let number = found.map(|event| event.payload.get("n").map_or("-".to_owned(), |n| format!("{:?}", n.node())));
        let bytes = String::from_utf8_lossy(part.bytes).into_owned();
        parts.push((part.place.unwrap_or("none").to_owned(), bytes, number));
    });
    (unpacked.map_err(|error| error.reason()), parts)
}

/// The places of the events, and `place!reason` of what is none.
fn places(value: &str) -> Vec<String> {
    let (unpacked, parts) = told(&mut unpacker(ContainerLimits::default()), value);
    if let Ok(Unpacked::Container(events)) = unpacked {
        assert_eq!(events, parts.len() as u64);
    }
    match unpacked {
        Err(reason) => vec![format!("!{reason}")],
        Ok(_) => parts
            .into_iter()
            .map(|(place, _, found)| found.map_or_else(|reason| format!("{place}!{reason}"), |_| place.clone()))
            .collect(),
    }
}

#[test]
fn containers_are_opened_wherever_events_are_in_them() {
    for (value, expected) in [
        (r#"{"n":1}"#, &["none"][..]),
        (r#"[{"n":1},{"n":2}]"#, &["/0", "/1"]),
        ("  [ ]", &[]),
        (r#"{"Records":[{"n":1},{"n":2}]}"#, &["/Records/0", "/Records/1"]),
        (r#"{"records":[]}"#, &[]),
        (r#"{"records":[{"n":1}],"query":"x"}"#, &["none"]),
        (r#"{"@odata.context":"x","value":[{"n":1}]}"#, &["/value/0"]),
        (r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"n":1}]}"#, &["/items/0"]),
        (
            r#"{"took":3,"hits":{"total":{"value":2},"hits":[{"_id":"1","_source":{"n":1}},{"_id":"2","_source":{"n":2}}]}}"#,
            &["/hits/hits/0/_source", "/hits/hits/1/_source"],
        ),
        (r#"{"_index":"w","_id":"1","_source":{"n":1}}"#, &["/_source"]),
        (r#"{"preview":false,"result":{"n":1}}"#, &["/result"]),
        (r#"{"preview":false,"result":{"_raw":"{\"n\":1}","source":"x"}}"#, &["/result/_raw"]),
        (r#"{"Operations":"x","AuditData":"{\"n\":1}"}"#, &["/AuditData"]),
        (r#"{"Operations":"x","AuditData":"{\"n\":"}"#, &["/AuditData!not_json"]),
        (r#"{"@timestamp":"x","agent":{},"message":"{\"n\":1}"}"#, &["/message"]),
        (r#"{"@timestamp":"x","agent":{},"message":"{n}"}"#, &["none"]),
        (r#"{"@timestamp":"x","agent":{},"message":"CEF:0|a|b|c|d|e|1|n=1"}"#, &["/message"]),
        (r#"{"message":"[{\"n\":1},{\"n\":2}]"}"#, &["/message/0", "/message/1"]),
        (r#"{"level":"x","user":"y","message":"{\"n\":1}"}"#, &["none"]),
        (r#""{\"n\":1}""#, &[""]),
        ("Mar  1 10:00:00 h app: {\"n\":1}", &[""]),
        ("Mar  1 10:00:00 h app: words", &[""]),
        ("\u{feff}{\"n\":1}", &["!not_json"]),
        ("\u{feff}[{\"n\":1}]", &["/0"]),
        ("{\"n\":1}\n{\"n\":2}\n", &["/0", "/1"]),
        ("{\"n\":1}{\"n\":2}{\"n\":", &["/0", "/1", "/2!not_json"]),
        (r#"{"a/b":1,"type":"x","payload":{"Records":[{"n":1}]}}"#, &["/payload/Records/0"]),
        ("nothing of ours", &["!not_json"]),
        (r#"{"n":"#, &["!not_json"]),
        (r#"{"n":1} x"#, &["!not_json"]),
        ("17", &["!wrong_schema"]),
        (r#""words""#, &["!wrong_schema"]),
    ] {
        assert_eq!(places(value), expected, "{value}");
    }
}

#[test]
fn what_is_bad_in_a_container_takes_nothing_else_with_it() {
    let large = format!(r#"{{"n":"{}"}}"#, "x".repeat(400));
    let deep = "[".repeat(20) + &"]".repeat(20);
    for (value, expected) in [
        (
            r#"[{"n":1},7,null,"x",{"n":},{"n":2}]"#.to_owned(),
            &["/0", "/1!wrong_schema", "/2!wrong_schema", "/3!wrong_schema", "/4!not_json", "/5"][..],
        ),
        (r#"{"Records":[{"n":1},{"n":2"#.to_owned(), &["/Records/0", "/Records/1!not_json"]),
        (format!(r#"{{"value":[{{"n":1}},{large},{{"n":2}}]}}"#), &["/value/0", "/value/1!too_large", "/value/2"]),
        (format!(r#"[{{"n":1}},{{"n":{deep}}},{{"n":2}}]"#), &["/0", "/1!too_deep", "/2"]),
        (format!("[{{\"n\":1}},{deep}]"), &["/0", &format!("/1{}!too_deep", "/0".repeat(7))]),
        (r#"[{"type":"file_hash","payload":7},{"n":1}]"#.to_owned(), &["/0!wrong_schema", "/1"]),
    ] {
        assert_eq!(places(&value), expected, "{value}");
    }
    // Bytes that are no UTF-8 spoil one event, not all.
    let mut unpacker = unpacker(ContainerLimits::default());
    let value = b"{\"Records\":[{\"n\":1},{\"n\":\"\xff\"},{\"n\":2}]}";
    let mut found = Vec::new();
    let incoming = Incoming { key: Some(b"acme"), value, ..Incoming::default() };
    unpacker.each(&incoming, &mut |part| found.push(part.event.is_ok())).unwrap();
    assert_eq!(found, [true, false, true]);
}

#[test]
fn too_many_events_are_refused_together_and_those_inside_alone() {
    let mut unpacker = unpacker(ContainerLimits { max_events: 3, max_depth: 2 });
    assert_eq!(told(&mut unpacker, "[{},{},{}]").0, Ok(Unpacked::Container(3)));
    assert_eq!(told(&mut unpacker, "[{},{},{},{}]"), (Err("too_many_events"), vec![]));
    let (unpacked, parts) = told(&mut unpacker, "[{},[{},{},{}]]");
    assert_eq!((unpacked, parts[1].2.clone()), (Ok(Unpacked::Container(2)), Err("too_many_events")));
    assert_eq!(told(&mut unpacker, "[[{},{}],{}]").0, Ok(Unpacked::Container(3)));
    assert_eq!(told(&mut unpacker, "[[[{}]]]").1[0].2, Err("too_deep"));
}

#[test]
fn each_event_has_its_own_id_and_the_same_container_the_same_ones() {
    let mut unpacker = unpacker(ContainerLimits::default());
    let mut ids = |value: &str| {
        let mut ids = Vec::new();
        let incoming = Incoming { key: Some(b"acme"), value: value.as_bytes(), ..Incoming::default() };
        unpacker.each(&incoming, &mut |part| ids.push(part.event.unwrap().event_id())).unwrap();
        ids
    };
    let value = r#"{"records":[{"n":1},{"n":1},{"event_id":"own","type":"x","payload":{}}]}"#;
    let found = ids(value);
    assert!(found[0] != found[1] && found[2] == "own", "{found:?}");
    assert_eq!(found, ids(value));
    assert_ne!(found[0], ids(&value.replace("own", "other"))[0]);
    assert_ne!(found[0], ids(r#"{"n":1}"#)[0]);
}

#[test]
fn an_envelope_says_for_all_events_in_its_payload_whose_and_what_they_are() {
    let mut unpacker = unpacker(ContainerLimits::default());
    let events = r#"{"n":1},{"type":"other","payload":{"n":2},"source":{"product":"linux"}}"#;
    let pad = r#"{"n":"x"},"#.repeat(60);
    for pad in ["", &pad] {
        let value = format!(
            r#"{{"type":"cloudtrail","tenant_id":"globex","source":{{"product":"aws"}},"payload":{{"Records":[{pad}{events}]}}}}"#
        );
        let mut found = Vec::new();
        let incoming = Incoming { value: value.as_bytes(), ..Incoming::default() };
        unpacker
            .each(&incoming, &mut |part| {
                let event = part.event.unwrap();
                let product = event.source.product.map(str::to_owned);
                found.push((event.tenant_id.to_owned(), event.kind.as_str().to_owned(), product));
            })
            .unwrap();
        let of = |kind: &str, product: &str| ("globex".to_owned(), kind.to_owned(), Some(product.to_owned()));
        assert_eq!(found[found.len() - 2..], [of("cloudtrail", "aws"), of("other", "linux")]);
    }
    // Nobody writes as another from the inside either.
    let value =
        r#"{"type":"x","tenant_id":"acme","payload":{"Records":[{"type":"x","payload":{},"tenant_id":"globex"}]}}"#;
    assert_eq!(places(value), ["/payload/Records/0!tenant_mismatch"]);
    assert_eq!(EventKind::from_type("raw"), EventKind::Raw);
}

#[test]
fn all_bytes_are_charged_to_some_event() {
    let mut unpacker = unpacker(ContainerLimits::default());
    for value in [
        r#"{"n":1}"#,
        r#"{"Records":[{"n":1},{"n":2}],"count":2}"#,
        r#"[{"_id":"x","_source":{"n":1}},{"_id":"y","_source":{"n":2}}]"#,
        r#"{"AuditData":"{\"n\":1}","more":"than that"}"#,
        "Mar  1 10:00:00 h app: {\"n\":1}",
    ] {
        let mut charged = 0;
        let incoming = Incoming { key: Some(b"acme"), value: value.as_bytes(), ..Incoming::default() };
        unpacker.each(&incoming, &mut |part| charged += part.charge).unwrap();
        assert_eq!(charged, value.len(), "{value}");
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_or_forget_how_to_read(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", "\"", "\\", ",", ":", "\n", " ", "1", "null", "\"Records\":", "\"records\"", "\"value\":[",
            "\"_source\":{", "\"message\":", "\"AuditData\":", "\"{\\\"a\\\":1}\"", "{\"a\":1}", "\u{feff}", "<34>",
            "Mar  1 10:00:00 ", "CEF:0|", "LEEF:2.0|", "<Event>", "type=A msg=audit(1):", "a=b ", "\"type\":\"x\",",
            "\"payload\":", "\"hits\":",
        ]), 0..24),
        max_events in 1..6usize,
        max_depth in 1..4usize,
    ) {
        let mut unpacker = unpacker(ContainerLimits { max_events, max_depth });
        let value = pieces.concat();
        let (unpacked, parts) = told(&mut unpacker, &value);
        match unpacked {
            Ok(Unpacked::One) => prop_assert_eq!(parts.len(), 1),
            Ok(Unpacked::Container(events)) => {
                prop_assert_eq!(parts.len() as u64, events);
                prop_assert!(parts.len() <= max_events);
            }
            Err(_) => prop_assert!(parts.is_empty()),
        }
        let (_, parts) = told(&mut unpacker, r#"[{"n":1},{"n":2}]"#);
        prop_assert_eq!(parts.len().min(max_events), parts.len());
        let (unpacked, parts) = told(&mut unpacker, r#"{"n":1}"#);
        prop_assert_eq!((unpacked, &*parts[0].0), (Ok(Unpacked::One), "none"));
    }
}
