//! The commands, a module each.

mod bench;
mod config;
mod dead;
mod doctor;
mod gateway;
mod generate;
mod health;
mod indicators;
mod input;
mod keys;
mod replay;
mod reprocess;
mod rules;
mod run;
mod score;
mod skip;
mod tail;
mod tenants;
mod topics;
mod up;

use std::env;

use crate::{
    cli::{Cli, Command, Global},
    config::{Config, Log},
    logging,
};

/// What a command's exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 0.
    Yes,
    /// 1.
    No,
}

impl Answer {
    /// Yes, if `fine`.
    pub(crate) const fn from_fine(fine: bool) -> Self {
        if fine { Self::Yes } else { Self::No }
    }
}

/// Runs the command that was typed.
pub(crate) fn run(cli: Cli) -> anyhow::Result<Answer> {
    let config = load(&cli.global, &cli.command)?;
    logging::start(&config.log)?;
    match cli.command {
        Command::Up(args) => up::run(&args, config),
        Command::Run(args) => run::run(&args, &config),
        Command::Gateway(args) => gateway::run(&args, &config),
        Command::Keys(command) => keys::run(&command, &config),
        Command::Score(args) => score::run(&args, &config),
        Command::Rules(command) => rules::run(&command, &config),
        Command::Indicators(command) => indicators::run(&command, &config),
        Command::Topics(command) => topics::run(&command, &config),
        Command::Tenants(command) => tenants::run(&command, &config),
        Command::Tail(args) => tail::run(&args, &config),
        Command::Replay(args) => replay::run(&args, &config),
        Command::Dead(command) => dead::run(&command, &config),
        Command::Skip(args) => skip::run(&args, &config),
        Command::Reprocess(args) => reprocess::run(&args, &config),
        Command::Config(command) => config::run(&command, &config),
        Command::Doctor(args) => doctor::run(&args, &config),
        Command::Health(args) => health::run(&args, &config),
        Command::Bench(command) => bench::run(&command, config),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { folder } => generate::man(&folder),
    }
}

/// The configuration, with the flags that stand for keys of it.
fn load(global: &Global, command: &Command) -> anyhow::Result<Config> {
    let mut flags = global.set.clone();
    let bootstrap = match command {
        Command::Run(args) => args.bootstrap.as_ref(),
        Command::Up(args) => args.bootstrap.as_ref(),
        Command::Gateway(args) => args.bootstrap.as_ref(),
        _ => None,
    };
    flags.extend(bootstrap.map(|hosts| format!("kafka.bootstrap={hosts}")));
    flags.extend(global.log_level.as_ref().map(|level| format!("log.level={level}")));
    // Of a variable that is no Unicode nothing can be meant.
    let environment =
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(global.config.as_deref(), environment, &flags)?;
    if let Some(format) = global.log_format {
        config.log.format = format;
    }
    // The live feed is what one looks at; the log joins in only when something is wrong.
    if matches!(command, Command::Up(_)) && global.log_level.is_none() && config.log.level == Log::default().level {
        config.log.level = "warn".to_owned();
    }
    if let Command::Run(args) = command
        && !args.roles.is_empty()
    {
        config.worker.roles.clone_from(&args.roles);
    }
    Ok(config)
}
