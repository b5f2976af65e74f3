//! The matcher as a whole.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod allocations;
mod cases;
mod differential;
mod explain;
mod fuzz;
mod mappings;
mod naive;
mod pipelines;
mod property;
mod routing;
mod rules;

use cybervault_model::{
    EventKind, Source, TelemetryEvent,
    json::{Document, Limits, Reader},
};
use cybervault_sigma::{Mappings, Matcher, RuleFile, RulePack, load};

/// A pack of one file.
fn pack(text: &str) -> RulePack {
    load([RuleFile { path: "test.yml", text }])
}

/// A matcher of one file whose rules all load.
fn matcher(text: &str) -> Matcher {
    let pack = pack(text);
    assert_eq!(pack.failed, [], "{text}");
    Matcher::compile(&pack, &Mappings::builtin())
}

fn reader() -> Reader {
    Reader::new(Limits { max_bytes: 16 << 20, max_depth: 64 })
}

/// An event without an envelope.
fn raw<'d>(document: &'d Document<'_>, bytes: &'d [u8]) -> TelemetryEvent<'d> {
    TelemetryEvent {
        sent_id: None,
        tenant_id: "acme",
        kind: EventKind::Raw,
        sent_time: None,
        source: Source::default(),
        payload: document.top(),
        bytes,
        inside: None,
    }
}
