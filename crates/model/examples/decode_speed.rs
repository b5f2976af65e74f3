//! What decoding costs beyond the bare parse: `cargo run --release -p cybervault-model --example decode_speed`.
#![expect(clippy::print_stdout)]

use std::{hint::black_box, time::Instant};

use cybervault_model::{Decoder, Incoming, json::Limits};
use simd_json::{Buffers, Tape};

const EVENTS: u32 = 200_000;

fn main() {
    for (name, value) in [("envelope", envelope()), ("raw log", raw_log())] {
        // The better of some rounds: what disturbs a measurement only ever makes it slower.
        let (mut parse, mut decode) = (f64::MAX, f64::MAX);
        for _ in 0..5 {
            parse = parse.min(nanos_of_parse(value.as_bytes()));
            decode = decode.min(nanos_of_decode(value.as_bytes()));
        }
        println!(
            "{name}, {} bytes: parse {parse:.0} ns, decode {decode:.0} ns, ratio {:.2}",
            value.len(),
            decode / parse
        );
    }
}

fn nanos_of_parse(value: &[u8]) -> f64 {
    let (mut input, mut buffers, mut tape) = (Vec::new(), Buffers::default(), Tape(Vec::new()));
    let start = Instant::now();
    for _ in 0..EVENTS {
        input.clear();
        input.extend_from_slice(black_box(value));
        let mut nodes = tape.reset();
        simd_json::fill_tape(&mut input, &mut buffers, &mut nodes).expect("valid JSON");
        tape = black_box(nodes).reset();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(EVENTS)
}

fn nanos_of_decode(value: &[u8]) -> f64 {
    let mut decoder = Decoder::new(Limits::default());
    let record = Incoming { key: Some(b"acme|host"), value, ..Incoming::default() };
    let start = Instant::now();
    for _ in 0..EVENTS {
        let decoded = decoder.decode(black_box(&record)).expect("an event");
        black_box(decoded.event());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(EVENTS)
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
