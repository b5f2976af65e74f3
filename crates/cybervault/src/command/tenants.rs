//! `cybervault tenants`.

use std::io::{self, Write};

use cybervault_model::TenantStatus;
use serde_json::json;

use super::Answer;
use crate::{
    cli::TenantsCommand,
    config::Config,
    content::{Source, Sources},
    live::read_tenants,
};

pub(super) fn run(command: &TenantsCommand, config: &Config) -> anyhow::Result<Answer> {
    let TenantsCommand::Check { file, json } = command;
    let source = match file {
        Some(file) => Source::Path(file.clone()),
        None => Sources::of(config, false)?.tenants,
    };
    let tenants = read_tenants(config, &source)?;
    let mut out = io::stdout().lock();
    if *json {
        writeln!(out, "{}", json!({ "tenants": tenants.len() }))?;
        return Ok(Answer::Yes);
    }
    for tenant in &tenants {
        // `read_tenants` has checked them.
        let Ok(rates) = config.quota.plans.of_tenant(tenant) else { continue };
        let plan = tenant.plan.as_str();
        let suspended = if tenant.status == TenantStatus::Suspended { ", suspended" } else { "" };
        writeln!(
            out,
            "{}: {plan}{suspended}, {} events/s, {} bytes/s, burst {} %",
            tenant.tenant_id, rates.events_per_second, rates.bytes_per_second, rates.burst_percent
        )?;
    }
    writeln!(out, "{} tenants, all fine", tenants.len())?;
    Ok(Answer::Yes)
}
