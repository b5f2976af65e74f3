//! Things that are fetched or unpacked once a checkout and shared by every test process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root folder.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/testkit lies in the workspace").to_owned()
}

/// Returns `target/testkit/NAME`, filled by `fill` if this is the first to ask.
///
/// `fill` gets a fresh folder that takes its place only once it is complete, under a lock that test processes share: an
/// interrupted download is never mistaken for a finished one.
pub(crate) fn once(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = workspace().join("target/testkit");
    let ready = root.join(name);
    if ready.exists() {
        return Ok(ready);
    }
    fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    let lock = File::create(root.join(format!("{name}.lock")))?;
    lock.lock().with_context(|| format!("cannot lock {name} in {}", root.display()))?;
    if ready.exists() {
        return Ok(ready);
    }
    let partial = root.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir(&partial)?;
    fill(&partial).with_context(|| format!("cannot prepare {}", ready.display()))?;
    fs::rename(&partial, &ready)?;
    Ok(ready)
}
