//! `cybervault config`.

use std::io::{self, Write};

use serde_json::json;

use super::{Answer, rules::Told};
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
        ConfigCommand::Check(JsonArgs { json }) => {
            config.check_tracing()?;
            config.check_client()?;
            let live = Live::load(config, Sources::of(config, false)?)?;
            let detection = live.detection();
            let (rules, failed) = (detection.matcher.rules().len(), detection.matcher.failed());
            let (tenants, playbooks) = (live.admission().len(), live.playbooks().len());
            let doubts = live.doubts();
            if *json {
                let failed: Vec<_> = failed.iter().map(Told::new).collect();
                let fine = failed.is_empty();
                let answer = json!({"fine": fine, "tenants": tenants, "rules": rules, "playbooks": playbooks,
                    "failed": failed, "doubts": doubts});
                writeln!(out, "{answer}")?;
            } else {
                writeln!(out, "fine: {tenants} tenants, {rules} rules, {playbooks} playbooks in force")?;
                failed.iter().try_for_each(|failure| writeln!(out, "left out: {failure}"))?;
                doubts.iter().try_for_each(|doubt| writeln!(out, "in doubt: {doubt}"))?;
            }
            return Ok(Answer::from_fine(failed.is_empty()));
        }
    }
    Ok(Answer::Yes)
}
