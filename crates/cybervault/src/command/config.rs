//! `cybervault config`.

use std::io::{self, Write};

use super::Answer;
use crate::{
    cli::{ConfigCommand, JsonArgs},
    config::Config,
    content::Sources,
    live::Live,
};

pub(super) fn run(command: &ConfigCommand, config: &Config) -> anyhow::Result<Answer> {
    let mut out = io::stdout().lock();
    match command {
        ConfigCommand::Show(JsonArgs { json: true }) => {
            serde_json::to_writer_pretty(&mut out, config).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        ConfigCommand::Show(_) => out.write_all(yaml_serde::to_string(config)?.as_bytes())?,
        ConfigCommand::Check => {
            config.check_tracing()?;
            let live = Live::load(config, Sources::of(config, false)?)?;
            let detection = live.detection();
            let (rules, failed) = (detection.matcher.rules().len(), detection.matcher.failed());
            let (tenants, playbooks) = (live.admission().len(), live.playbooks().len());
            writeln!(out, "fine: {tenants} tenants, {rules} rules, {playbooks} playbooks in force")?;
            for failure in failed {
                writeln!(out, "left out: {failure}")?;
            }
            return Ok(Answer::from_fine(failed.is_empty()));
        }
    }
    Ok(Answer::Yes)
}
