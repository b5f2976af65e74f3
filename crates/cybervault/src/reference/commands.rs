//! docs/reference/commands.md

use std::fmt::Write;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::{cell, hold};
use crate::cli::Cli;

const HEAD: &str = "# Commands

Data goes to stdout, the log to stderr. Exit codes: 0 fine, 1 the answer is no, 2 usage or configuration. `NO_COLOR` is respected.
`cybervault help COMMAND` says the same on the terminal; the archives hold manual pages and completions.
";

#[test]
fn the_commands_reference_is_that_of_the_command_line() {
    let mut cli = Cli::command();
    cli.build();
    let mut page = format!("{HEAD}\n## What every command takes\n\n");
    cli.get_arguments().filter(|arg| arg.is_global_set()).for_each(|arg| describe(&mut page, arg));
    cli.get_subcommands_mut().for_each(|command| section(&mut page, command));
    hold("commands.md", &page);
}

fn section(page: &mut String, command: &mut Command) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().replace(" [OPTIONS]", "");
    let own = command.get_arguments().filter(|arg| !arg.is_global_set() && arg.get_id() != "help");
    let own: Vec<Arg> = own.filter(|arg| !arg.is_hide_set()).cloned().collect();
    // A command that only gathers others is told by these.
    if !command.is_subcommand_required_set() || !own.is_empty() {
        write!(page, "\n## `{name}`\n\n{}.\n", cell(&about).trim_end_matches('.')).unwrap();
        write!(page, "\n```sh\n{usage}\n```\n").unwrap();
        if !own.is_empty() {
            page.push('\n');
            own.iter().for_each(|arg| describe(page, arg));
        }
    }
    command.get_subcommands_mut().for_each(|command| section(page, command));
}

/// One argument in a list.
fn describe(page: &mut String, arg: &Arg) {
    let value = arg.get_value_names().and_then(|names| names.first()).map(clap::builder::Str::as_str);
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Version | ArgAction::Help);
    let name = match (arg.get_long(), value) {
        (Some(long), Some(value)) if !is_switch => format!("--{long} {value}"),
        (Some(long), _) => format!("--{long}"),
        (None, value) => value.unwrap_or(arg.get_id().as_str()).to_owned(),
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // Clap takes the full stop away.
    let mut meaning = format!("{}.", help.trim_end_matches('.'));
    let choices = arg.get_possible_values();
    if !is_switch && !choices.is_empty() {
        let choices = choices.iter().filter(|choice| !choice.is_hide_set());
        let choices: Vec<String> = choices.map(|choice| format!("`{}`", choice.get_name())).collect();
        write!(meaning, " One of {}.", choices.join(", ")).unwrap();
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
    if !is_switch && !defaults.is_empty() {
        write!(meaning, " Default: {}.", defaults.join(", ")).unwrap();
    }
    if let Some(variable) = arg.get_env() {
        write!(meaning, " Also `{}` in the environment.", variable.display()).unwrap();
    }
    writeln!(page, "- `{name}`: {}", cell(&meaning)).unwrap();
}
