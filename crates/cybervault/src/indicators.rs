//! The indicators' feeds, read from their files.

use std::{
    fs::{self, File},
    hash::{Hash, Hasher},
};

use cybervault_indicators::{Builder, FeedReport, Indicators};

use crate::{
    config::FeedFile,
    content::{ContentError, unpacked},
};

/// Reads all feeds; what single entries of each can't be used stands in its report.
///
/// # Errors
/// When a file can't be read or has not its form, or when nothing in it can be used: a list that is in force must not get
/// lost by a download that failed.
pub(crate) fn load(feeds: &[FeedFile]) -> Result<(Indicators, Vec<FeedReport>), ContentError> {
    let what = "indicators";
    let mut builder = Builder::default();
    let mut reports = Vec::new();
    for file in feeds {
        let path = &file.path;
        let invalid = |reason| ContentError::Invalid { what, place: path.display().to_string(), reason };
        let opened = File::open(path).and_then(|opened| unpacked(path, opened));
        let opened = opened.map_err(|source| ContentError::Read { what, path: path.clone(), source })?;
        let report = builder.read(&file.feed(), opened).map_err(|error| invalid(error.to_string()))?;
        if report.total() == 0 {
            let first = report.problems.first().map_or_else(|| "it is empty".to_owned(), Clone::clone);
            return Err(invalid(format!("nothing in it can be used; {first}")));
        }
        reports.push(report);
    }
    Ok((builder.finish(), reports))
}

/// As [`load`], with what can't be used logged.
pub(crate) fn load_and_tell(feeds: &[FeedFile]) -> Result<Indicators, ContentError> {
    let (indicators, reports) = load(feeds)?;
    for (file, report) in feeds.iter().zip(reports) {
        let (feed, taken, failed) = (file.feed().name, report.total(), report.failed);
        match report.problems.first() {
            None => tracing::info!(feed, taken, "indicators read"),
            Some(first) => tracing::warn!(feed, taken, failed, first, "indicators read; some entries can't be used"),
        }
    }
    Ok(indicators)
}

/// Changes with the files, as far as their size and time tell: they may be too large to be read only for that.
pub(crate) fn fingerprint(feeds: &[FeedFile], hash: &mut impl Hasher) {
    for file in feeds {
        let Ok(about) = fs::metadata(&file.path) else { continue };
        (&file.path, about.len(), about.modified().ok()).hash(hash);
    }
}
