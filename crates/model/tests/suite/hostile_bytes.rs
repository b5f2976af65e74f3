//! Nothing that a tenant sends makes the decoder panic, and the decoder works on afterwards.

use cybervault_model::{
    Decoder, Incoming,
    json::{Document, Element, Limits, Node, Reader},
};
use proptest::{collection::vec, prelude::*};

const VALID: &str = r#"{"event_id":"e1","tenant_id":"acme","type":"endpoint_telemetry","occurred_at":"2026-01-31T12:00:00Z",
    "source":{"product":"windows","service":null},"payload":{"pid":4892,"load":0.5,"path":"C:\\a\u00e9\ud83d\ude00",
    "list":[1,-2,true,null,[],{}],"UtcTime":"2026-01-31 12:00:00.123","timestamp":1591757456537}}"#;

/// Decodes `value` and everything that is computed only on demand.
fn exercise(decoder: &mut Decoder, value: &[u8], content_type: Option<&[u8]>) {
    let record = Incoming { key: Some(b"acme"), value, content_type, ..Incoming::default() };
    match decoder.decode(&record) {
        Ok(decoded) => {
            let event = decoded.event();
            assert!(!event.event_id().is_empty());
            event.occurred_at();
        }
        Err(error) => assert!(!error.reason().is_empty() && error.to_string().len() < 1000, "{error}"),
    }
}

fn assert_still_works(decoder: &mut Decoder) {
    assert!(decoder.decode(&Incoming { value: VALID.as_bytes(), ..Incoming::default() }).is_ok());
}

/// Where to change `VALID`, and to what.
fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<u8>)>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..4),
        prop::sample::select(vec!["{", "}", "[", "]", "\"", "\\", ",", ":", "null", "1e400", "\\ud800", "{\"a\":"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    vec((any::<prop::sample::Index>(), piece), 1..6)
}

fn nodes<'d>(document: &Document<'d>) -> Vec<Node<'d>> {
    (0..).map_while(|at| document.node(at)).collect()
}

/// What stands in a value, in the order in which it stands there.
fn told(value: Element<'_>) -> String {
    let entries = value.entries().map(|(key, inner)| format!(" {key:?}={}", told(inner)));
    let inside: String = entries.chain(value.elements().map(told)).collect();
    format!("{:?}{inside}", value.node())
}

/// A document's keys in some order, with one of several values each.
fn shuffled() -> impl Strategy<Value = String> {
    let object = |entries: &'static [(&'static str, &'static [&'static str])]| {
        (Just(entries.to_vec()).prop_shuffle(), vec(any::<prop::sample::Index>(), entries.len())).prop_map(
            |(entries, chosen)| {
                let entries =
                    entries.iter().zip(chosen).map(|((key, values), at)| format!("\"{key}\":{}", at.get(values)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            },
        )
    };
    let top: &[(&str, &[&str])] = &[
        ("n", &["1", "-0.5", "null", "1e9"]),
        ("path", &[r#""C:\\Windows\\system32\\cmd.exe""#, r#""""#, "7", r#""\ud83d\ude00""#]),
        ("message", &[r#""One.\r\nTwo: {0}\n\n\tThree\u00e9""#, r#""One.\r\nTwo: {1}\n""#]),
    ];
    let inner: &[(&str, &[&str])] = &[("n", &["1", "2"]), ("path", &[r#""a""#, r#""b""#]), ("none", &["{}", "[]"])];
    (object(top), object(inner), object(inner), any::<bool>()).prop_map(|(top, one, other, first)| {
        let rest = format!(r#""in":{one},"list":[{other},"x",[]]"#);
        let top = top.trim_matches(['{', '}']);
        if first { format!("{{{top},{rest}}}") } else { format!("{{{rest},{top}}}") }
    })
}

/// Where to change the document before, and to what: mostly to what is JSON again.
fn small_edits() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, &'static str)>> {
    let piece = prop::sample::select(vec![
        "",
        "x",
        "7",
        "0",
        "-",
        ".5",
        "e1",
        "é",
        r"\n",
        r"\r\n",
        r"\\",
        r"\u00e9",
        r"\ud83d\ude00",
        r"\u+041",
        "\n",
        "\"",
        "\\",
        ",",
        "1,2",
        "true",
        "null",
        " ",
        "\"y\"",
        r#","a":1"#,
        "18446744073709551615",
    ]);
    vec((any::<prop::sample::Index>(), 0..3usize, piece), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    fn a_document_is_read_as_the_parser_alone_reads_it_whatever_came_before(all in vec(small_edits(), 1..20)) {
        let (mut reader, limits) = (Reader::new(Limits::default()), Limits::default());
        let text = r#"{"n":12,"m":-0.25,"list":[1,"two",null],"path":"C:\\Windows\\system32\\cmd.exe","message":"One.\r\nTwo: {0}\n\n\tThree\u00e9","in":{"deep":true},"end":"z"}"#;
        let mut value = text.as_bytes().to_vec();
        for edits in all {
            if reader.read(&value).is_err() {
                value = text.as_bytes().to_vec();
            }
            for (at, length, piece) in edits {
                let at = at.index(value.len());
                let end = (at + length).min(value.len());
                value.splice(at..end, piece.bytes());
            }
            for _ in 0..2 {
                let mut parser = Reader::new(limits).forgetful();
                let (read, expected) = (reader.read(&value), parser.read(&value));
                prop_assert_eq!(read.as_ref().map(nodes), expected.as_ref().map(nodes));
            }
        }
    }

    #[test]
    fn keys_in_another_order_are_read_as_the_parser_alone_reads_them(
        all in vec((shuffled(), prop_oneof![3 => Just(Vec::new()), 1 => small_edits()]), 4..20)
    ) {
        let (mut reader, limits) = (Reader::new(Limits::default()), Limits::default());
        for (text, edits) in all {
            let mut value = text.into_bytes();
            for (at, length, piece) in edits {
                let at = at.index(value.len());
                let end = (at + length).min(value.len());
                value.splice(at..end, piece.bytes());
            }
            let mut parser = Reader::new(limits).forgetful();
            let (read, expected) = (reader.read(&value), parser.read(&value));
            let told = |document: &Document<'_>| told(document.top());
            prop_assert_eq!(read.as_ref().map(told), expected.as_ref().map(told));
        }
    }

    #[test]
    fn arbitrary_bytes_are_survived(value in vec(any::<u8>(), 0..200), content_type in vec(any::<u8>(), 0..30)) {
        let mut decoder = Decoder::new(Limits { max_bytes: 150, max_depth: 8 });
        exercise(&mut decoder, &value, None);
        exercise(&mut decoder, &value, Some(&content_type));
    }

    #[test]
    fn a_broken_event_is_survived_and_the_next_one_read(edits in edits()) {
        let mut value = VALID.as_bytes().to_vec();
        for (at, piece) in edits {
            let at = at.index(value.len());
            let end = (at + piece.len() / 2).min(value.len());
            value.splice(at..end, piece);
        }
        let mut decoder = Decoder::new(Limits::default());
        exercise(&mut decoder, &value, None);
        assert_still_works(&mut decoder);
    }
}

/// Any 16 bits, most of them about surrogates.
fn units() -> impl Strategy<Value = Vec<u16>> {
    let unit = prop_oneof![
        4 => 0xd800..0xe000u16,
        2 => prop::sample::select(vec![0xd800, 0xdbff, 0xdc00, 0xdfff, 0xfffd, 0x22, 0x5c, 0x0a]),
        3 => 0x20..0x7fu16,
        1 => any::<u16>(),
    ];
    vec(unit, 0..40)
}

fn escaped(units: &[u16], plain: bool) -> String {
    units
        .iter()
        .map(|unit| match u8::try_from(*unit) {
            Ok(byte) if plain && byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            Ok(b'\n') if plain => "\\n".to_owned(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What stands for half a pair is the standard library's word, which reads UTF-16; whether a document is parsed, followed as
    /// one like those before, or with its keys in another order, must not matter.
    #[test]
    fn halves_of_surrogate_pairs_are_read_alike_whatever_came_before(
        rows in vec((units(), units(), any::<bool>(), any::<bool>()), 1..12),
        name in prop::sample::select(vec![0x61u16, 0xd800, 0xdc00]),
    ) {
        let mut readers = [Reader::new(Limits::default()), Reader::new(Limits::default()).forgetful()];
        let key = [name, 0x6b];
        for (one, other, plain, first) in &rows {
            let entries = [
                format!("\"a\":\"{}\"", escaped(one, *plain)),
                format!("\"{}\":\"{}\"", escaped(&key, *plain), escaped(other, *plain)),
                "\"n\":7,\"long\":\"a text of some length, so that blocks of it are looked at together, and then some\"".to_owned(),
            ];
            let document = if *first { entries.join(",") } else { format!("{},{},{}", entries[2], entries[1], entries[0]) };
            let document = format!("{{{document}}}");
            let halves = [&one[..], &other[..], &key[..]].map(|units| {
                char::decode_utf16(units.iter().copied()).filter(Result::is_err).count()
            });
            let halves = u32::try_from(halves.iter().sum::<usize>()).unwrap();
            for reader in &mut readers {
                let read = reader.read(document.as_bytes()).unwrap();
                prop_assert_eq!(read.replaced_characters(), halves, "{}", document);
                for (key, units) in [(&[0x61][..], one), (&key[..], other)] {
                    let expected = String::from_utf16_lossy(units);
                    let found = read.top().get(&String::from_utf16_lossy(key)).unwrap();
                    prop_assert_eq!(found.node(), Node::String(&expected), "{}", document);
                }
            }
        }
    }
}
