//! What packages ship beside the binary: completions and manual pages, from the command line as it is declared.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Answer;
use crate::cli::Cli;

pub(super) fn completions(shell: Shell) -> anyhow::Result<Answer> {
    // It panics where what it writes to is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cybervault", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Answer::Yes)
}

pub(super) fn man(folder: &Path) -> anyhow::Result<Answer> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("can't write manual pages to {}", folder.display()))?;
    Ok(Answer::Yes)
}
