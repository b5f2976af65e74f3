//! What decoding costs beyond the bare parse, and encoding in each form: `cargo run --release -p cybervault-model --example decode_speed`.
#![expect(clippy::print_stdout)]

use std::{hint::black_box, mem, time::Instant};

use apache_avro::{Schema, rabin::Rabin, types::Value, writer::datum::GenericDatumWriter};
use cybervault_model::{
    Assessment, Decoder, Encoding, Incoming,
    avro::{NoRegistry, Subject},
    decode_value,
    json::Limits,
};
use simd_json::{Buffers, Tape};

/// Rounds are short and the fastest counts: what else the machine does only ever makes one slower.
const ROUNDS: u32 = 1000;
const ROUND: u32 = 500;

fn main() {
    for (name, value) in [("envelope", envelope()), ("raw log", raw_log())] {
        let (parse, decode) = (nanos_of_parse(value.as_bytes()), nanos_of_decode(value.as_bytes()));
        println!(
            "{name}, {} bytes: parse {parse:.0} ns, decode {decode:.0} ns, ratio {:.2}",
            value.len(),
            decode / parse
        );
    }
    let value = avro_event();
    let mut decoder = Decoder::new(Limits::default());
    let record =
        Incoming { key: Some(b"acme"), value: &value, content_type: Some(b"application/avro"), ..Incoming::default() };
    let decode = nanos_of(|| {
        black_box(decoder.decode(black_box(&record)).expect("an event").event());
    });
    println!("envelope in Avro, {} bytes: decode {decode:.0} ns", value.len());
    for encoding in [Encoding::Json, Encoding::AvroSingleObject] {
        let assessment = assessment();
        let mut out = Vec::new();
        let write = nanos_of(|| {
            out.clear();
            encoding.encode(black_box(&assessment), &mut out).expect("an assessment");
        });
        let content_type = Some(encoding.content_type().as_str().as_bytes());
        let read = nanos_of(|| {
            black_box(decode_value::<Assessment>(black_box(&out), content_type, &NoRegistry).expect("the same"));
        });
        println!("assessment as {encoding:?}, {} bytes: write {write:.0} ns, read {read:.0} ns", out.len());
    }
}

/// The envelope above as a single object.
fn avro_event() -> Vec<u8> {
    let schema = Schema::parse_str(Subject::TelemetryEvent.schema_json()).expect("a schema");
    let mut json: serde_json::Value = serde_json::from_str(&envelope()).expect("JSON");
    json["payload"] = json["payload"].to_string().into();
    json["occurred_at"] = 1_769_860_800_123_i64.into();
    let value = Value::try_from(json).and_then(|value| value.resolve(&schema)).expect("an event");
    let body = GenericDatumWriter::builder(&schema).build().and_then(|writer| writer.write_value_to_vec(value));
    let fingerprint = schema.fingerprint::<Rabin>().bytes;
    [&[0xC3, 0x01], &fingerprint[..], &body.expect("an event")].concat()
}

fn nanos_of(mut work: impl FnMut()) -> f64 {
    let mut round = || {
        let start = Instant::now();
        for _ in 0..ROUND {
            work();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUND)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::MAX, f64::min)
}

fn assessment() -> Assessment {
    let json = r#"{"assessment_id":"ta_0192d1c47c1e7a539a531f2f3f4f5f6f","tenant_id":"acme","event_id":"e1",
        "occurred_at":"2026-01-31T12:00:00.123Z","risk_score":92,"severity":"critical","verdict":"malicious",
        "contributions":[{"kind":"rule","id":"4d5f","title":"Connection to a C2 port","level":"high","weight":0.7,
        "evidence":[{"field":"DestinationPort","value":"4444"},{"field":"Image","value":"C:\\Temp\\svchost.exe"}]},
        {"kind":"indicator","id":"sha256","title":"Known bad","level":"critical","weight":0.9,
        "evidence":[{"field":"hash_sha256","value":"ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12"}]}],
        "mitre_attack":[{"tactic_id":"TA0011","tactic":"Command and Control","technique_id":"T1571",
        "technique":"Non-Standard Port"}],"entities":[{"kind":"host","value":"ws-17"},{"kind":"ip","value":"198.51.100.42"}],
        "recommended_actions":[{"type":"isolate_host","target":{"kind":"host","value":"ws-17"},"reason":"C2",
        "reversible":true}],"rules_version":"2026-01-31"}"#;
    serde_json::from_str(json).expect("an assessment")
}

fn nanos_of_parse(value: &[u8]) -> f64 {
    let (mut input, mut buffers) = (Vec::new(), Buffers::with_max_depth(4096, 64));
    let mut tape = Tape(Vec::new());
    nanos_of(|| {
        input.clear();
        input.extend_from_slice(black_box(value));
        let mut nodes = mem::replace(&mut tape, Tape(Vec::new())).reset();
        simd_json::fill_tape(&mut input, &mut buffers, &mut nodes).expect("valid JSON");
        tape = black_box(nodes).reset();
    })
}

fn nanos_of_decode(value: &[u8]) -> f64 {
    let mut decoder = Decoder::new(Limits::default());
    let record = Incoming { key: Some(b"acme|host"), value, ..Incoming::default() };
    nanos_of(|| {
        black_box(decoder.decode(black_box(&record)).expect("an event").event());
    })
}

fn envelope() -> String {
    let connections = [r#"{"dst_ip":"198.51.100.42","port":4444,"protocol":"TCP"}"#; 8].join(",");
    format!(
        r#"{{"event_id":"0192d1c4-7c1e-7a53-9a53-1f2f3f4f5f6f","tenant_id":"acme","type":"endpoint_telemetry","occurred_at":"2026-01-31T12:00:00.123Z","source":{{"product":"windows","service":"edr","category":"process_creation"}},"payload":{{"process_name":"svchost.exe","image":"C:\\Windows\\Temp\\svchost.exe","command_line":"svchost.exe -k netsvcs -p -s Schedule","pid":4892,"parent":{{"image":"C:\\Program Files\\Vendor\\agent.exe","pid":612}},"user":"ACME\\jdoe","network_connections":[{connections}],"hash_sha256":"{}"}}}}"#,
        "ab12".repeat(16)
    )
}

fn raw_log() -> String {
    let mut log = String::from(r#"{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational""#);
    for field in 0..48 {
        log.push_str(&format!(r#","Field{field}":"C:\\Windows\\System32\\service-{field:04}.exe""#));
    }
    log.push_str(r#","UtcTime":"2026-01-31 12:00:00.123"}"#);
    log
}
