//! Events from files: one a line, packed or not, or as Windows keeps them.

mod evtx;
mod lines;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal},
    ops::ControlFlow,
    path::Path,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use self::lines::Lines;
use crate::content::unpacked;

/// Hands every event of a file to `each`, in their order, until it breaks; returns how many were told to be unreadable
/// already. Of a line longer than `max_line` bytes only one more is kept, so that it is seen to be too long.
///
/// # Errors
/// When the file can't be read, or with what `each` returns.
pub(super) fn each_event(
    path: &Path,
    max_line: usize,
    each: &mut impl FnMut(&[u8]) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<u64> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("evtx")) {
        return evtx::each_event(path, each);
    }
    let progress = progress_bar(path);
    let input = open(path, &progress).with_context(|| format!("can't read {}", path.display()))?;
    let mut lines = Lines::new(input, max_line);
    while let Some(line) = lines.next().with_context(|| format!("reading {}", path.display()))? {
        if each(line)?.is_break() {
            break;
        }
    }
    progress.finish_and_clear();
    Ok(0)
}

/// The file's text, unpacked as its name says.
fn open(path: &Path, progress: &ProgressBar) -> io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin().lock())));
    }
    let file = File::open(path)?;
    progress.set_length(file.metadata()?.len());
    unpacked(path, progress.wrap_read(file))
}

/// A bar where a person waits: not beside findings on the same terminal.
fn progress_bar(path: &Path) -> ProgressBar {
    if path == Path::new("-") || !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(path.display().to_string())
}
