//! Jars by Maven.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

// Pinned, because the version that Maven itself would choose differs between distributions.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";
/// Later versions also want the descriptor of the artifact's parent, which not every mirror has.
const UNPACK_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.10";

/// Copies all dependencies of the POM into `folder`; `properties` go before those in it.
pub(crate) fn copy_dependencies(pom: &Path, folder: &Path, properties: &[String]) -> Result<()> {
    let mut args = vec![flag("--file", pom), flag("-DoutputDirectory", folder)];
    args.extend_from_slice(properties);
    run(&format!("{PLUGIN}:copy-dependencies"), &args, folder)
}

/// Unpacks one artifact (`group:name:version:type:classifier`) into `folder`.
pub(crate) fn unpack(artifact: &str, folder: &Path) -> Result<()> {
    let args = [format!("-Dartifact={artifact}"), flag("-DoutputDirectory", folder)];
    run(&format!("{UNPACK_PLUGIN}:unpack"), &args, folder)
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// Runs in `folder`: without a project, plugins leave notes of theirs wherever they are.
fn run(goal: &str, args: &[String], folder: &Path) -> Result<()> {
    let output = Command::new("mvn")
        .args(["--batch-mode", "--quiet"])
        .arg(goal)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("cannot run mvn; install it with: apt-get install -y maven default-jdk-headless")?;
    if !output.status.success() {
        bail!("mvn {goal} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stdout).trim_end());
    }
    Ok(())
}
