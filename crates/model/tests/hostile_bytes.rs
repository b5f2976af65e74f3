//! Nothing that a tenant sends makes the decoder panic, and the decoder works on afterwards.

use cybervault_model::{Decoder, Incoming, json::Limits};
use proptest::{collection::vec, prelude::*};

const VALID: &str = r#"{"event_id":"e1","tenant_id":"acme","type":"endpoint_telemetry","occurred_at":"2026-01-31T12:00:00Z",
    "source":{"product":"windows","service":null},"payload":{"pid":4892,"load":0.5,"path":"C:\\a\u00e9\ud83d\ude00",
    "list":[1,-2,true,null,[],{}],"UtcTime":"2026-01-31 12:00:00.123","timestamp":1591757456537}}"#;

/// Decodes `value` and everything that is computed only on demand.
fn exercise(decoder: &mut Decoder, value: &[u8], content_type: Option<&[u8]>) {
    let record = Incoming { key: Some(b"acme"), value, tenant_header: None, content_type };
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

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
