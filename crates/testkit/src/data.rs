//! Recordings and rules that are too large or too foreign for the repository.
//!
//! They are looked for in `../shared/data` beside the workspace, or in `SHARED_DATA`.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cache;

/// The folder with the public Sigma rules, unpacked; `None`, and a notice, where the archive is absent.
///
/// # Errors
/// Where the archive is there but can't be unpacked.
pub fn public_rules() -> Result<Option<PathBuf>> {
    let Some(archive) = locate("sigma-hq-rules.tar.zst") else { return Ok(None) };
    cache::once("sigma-hq-rules", |folder| {
        let file = File::open(&archive)?;
        let unpacked = tar::Archive::new(zstd::Decoder::new(file)?).unpack(folder);
        unpacked.with_context(|| format!("cannot unpack {}", archive.display()))
    })
    .map(Some)
}

/// The file with recorded Windows events, one JSON object a line; `None`, and a notice, where it is absent.
///
/// # Errors
/// Where the file is there but can't be unpacked.
pub fn recorded_events() -> Result<Option<PathBuf>> {
    const NAME: &str = "otrf-dev.ndjson";
    let Some(packed) = locate(&format!("{NAME}.zst")) else { return Ok(None) };
    let folder = cache::once("otrf-dev", |folder| {
        let unpacked = zstd::stream::copy_decode(File::open(&packed)?, File::create(folder.join(NAME))?);
        unpacked.with_context(|| format!("cannot unpack {}", packed.display()))
    })?;
    Ok(Some(folder.join(NAME)))
}

fn locate(name: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("SHARED_DATA").map_or_else(|| cache::workspace().join("../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} not found", path.display());
    None
}
