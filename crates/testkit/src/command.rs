//! Programs that have to succeed.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs it, and tells what it said where it failed. Not its arguments: a password may be among them.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{} ({}): {}{}", program.display(), output.status, out.trim_end(), err.trim_end());
    }
    Ok(())
}
