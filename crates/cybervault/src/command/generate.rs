//! What packages ship beside the binary: completions and manual pages, from the command line as it is declared.

use std::{io, path::Path};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Answer;
use crate::cli::Cli;

pub(super) fn completions(shell: Shell) -> anyhow::Result<Answer> {
    clap_complete::generate(shell, &mut Cli::command(), "cybervault", &mut io::stdout().lock());
    Ok(Answer::Yes)
}

pub(super) fn man(folder: &Path) -> anyhow::Result<Answer> {
    std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .with_context(|| format!("can't write manual pages to {}", folder.display()))?;
    Ok(Answer::Yes)
}
