//! Windows event log files, as Windows itself keeps them.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::Path,
};

use anyhow::Context;
use evtx::{EvtxParser, ParserSettings};

/// Hands every event of the file to `each`, as JSON with the nesting of its XML, until it breaks. How many events can't be
/// read: a file that was copied while Windows wrote it often has some.
pub(super) fn each_event(
    path: &Path,
    each: &mut impl FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<u64> {
    let parser = EvtxParser::from_path(path).with_context(|| format!("can't read {}", path.display()))?;
    let mut parser = parser.with_configuration(ParserSettings::new().indent(false));
    let mut bad = 0;
    for event in parser.records_json() {
        match event {
            Ok(event) => {
                if each(event.data.as_bytes())?.is_break() {
                    break;
                }
            }
            Err(error) => {
                bad += 1;
                writeln!(io::stderr(), "{}: {:#}", path.display(), anyhow::Error::new(error))?;
            }
        }
    }
    Ok(bad)
}
