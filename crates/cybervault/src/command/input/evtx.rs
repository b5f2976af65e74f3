//! Windows event log files, as Windows itself keeps them.

use std::{
    fs::File,
    io::{self, Read, Seek},
    ops::ControlFlow,
};

use anyhow::Context;
use evtx::{EvtxParser, ParserSettings};

/// Hands every event of the file to `each`, as JSON with the nesting of its XML, until it breaks; or why one can't be read: a file that was
/// copied while Windows wrote it often has some. Returns what is missing where the file ends in the middle.
///
/// # Errors
/// When it is no such file, or with what `each` returns.
pub(super) fn each_event(
    mut file: File,
    each: &mut impl FnMut(Result<&[u8], String>) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<Option<String>> {
    let missing = missing(&mut file).context("can't read its header")?;
    let parser = EvtxParser::from_read_seek(file)?;
    let mut parser = parser.with_configuration(ParserSettings::new().indent(false));
    for event in parser.records_json() {
        let flow = match event {
            Ok(event) => each(Ok(event.data.as_bytes()))?,
            Err(error) => each(Err(format!("{:#}", anyhow::Error::new(error))))?,
        };
        if flow.is_break() {
            return Ok(None);
        }
    }
    Ok(missing)
}

/// What its header promises and the file has not.
fn missing(file: &mut File) -> io::Result<Option<String>> {
    const HEADER: u64 = 4096;
    const CHUNK: u64 = 64 * 1024;
    /// Where the header says how many chunks there are.
    const CHUNKS: u64 = 42;
    let length = file.metadata()?.len();
    let mut chunks = [0; 2];
    file.seek(io::SeekFrom::Start(CHUNKS))?;
    let is_there = file.read_exact(&mut chunks);
    file.rewind()?;
    is_there?;
    let chunks = u64::from(u16::from_le_bytes(chunks));
    let whole = length.saturating_sub(HEADER) / CHUNK;
    let is_cut = whole < chunks;
    Ok(is_cut.then(|| {
        format!("the file ends in the middle: {whole} of {chunks} chunks are whole; copy it again for the events in the others")
    }))
}
