//! The binary: the command line, the configuration, and the wiring of everything else.
#![forbid(unsafe_code)]

mod cli;
mod config;

mod content;
mod correlating;
mod detection;
mod indicators;
mod live;
mod stage;

mod pipeline;
mod reload;
mod shares;
mod sources;

mod gateway;

mod admin;
mod descriptors;
mod logging;
mod traces;

mod command;

#[cfg(test)]
mod reference;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use crate::{cli::Cli, command::Answer, config::ConfigError, content::ContentError};

fn main() -> ExitCode {
    match command::run(Cli::parse()) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::FAILURE,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr gone, too, there is nobody left to tell.
            let _ = writeln!(io::stderr(), "cybervault: {}", told(&error));
            ExitCode::from(if is_misuse(&error) { 2 } else { 1 })
        }
    }
}

/// The error and its causes, but for those that it has named itself.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match cause.to_string() {
        cause if told.contains(&cause) => told,
        cause if told.is_empty() => cause,
        cause => format!("{told}: {cause}"),
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let is_pipe = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(is_pipe))
}

/// Whether usage or configuration is at fault.
fn is_misuse(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<ConfigError>() || cause.is::<ContentError>())
}
