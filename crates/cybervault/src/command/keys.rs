//! `cybervault keys`.

use std::io::{self, Write};

use anyhow::{Context, bail};
use cybervault_gateway::{KeyKind, KeyRecord, NewKey, Secret, Store};
use cybervault_model::TenantId;
use cybervault_response::Period;
use cybervault_stream::now;
use serde_json::json;

use super::Answer;
use crate::{
    cli::{KeyKindArg, KeysCommand},
    config::Config,
    content::Sources,
    live::read_tenants,
};

pub(super) fn run(command: &KeysCommand, config: &Config) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(&config.gateway.store.place()).await?;
        obey(command, &store, config).await
    })
}

async fn obey(command: &KeysCommand, store: &Store, config: &Config) -> anyhow::Result<Answer> {
    match command {
        KeysCommand::Issue { tenant, kind, name, scopes, expires_in, json } => {
            let expires_at = expires_in.as_deref().map(millis).transpose()?.map(|millis| now().plus_millis(millis));
            let new = NewKey {
                tenant_id: TenantId::new(tenant)?,
                kind: match kind {
                    KeyKindArg::Live => KeyKind::Live,
                    KeyKindArg::Test => KeyKind::Test,
                    KeyKindArg::Read => KeyKind::Read,
                },
                name: name.clone(),
                scopes: scopes.iter().copied().collect(),
                expires_at,
            };
            if new.tenant_id.is_reserved() {
                bail!("`{tenant}` is a reserved id: no tenant can have it");
            }
            if let Some(scope) = new.scopes.iter().find(|scope| !new.kind.scopes().contains(scope)) {
                bail!("a {} key can't have the scope {}", new.kind.as_str(), scope.as_str());
            }
            let (secret, record) = store.issue_key(&new).await?;
            show_once(&secret, &record, *json)?;
            // A tenant may come after its key, and the file need not be where keys are issued.
            if let Ok(Sources { tenants, .. }) = Sources::of(config, false)
                && read_tenants(config, &tenants)
                    .is_ok_and(|known| known.iter().all(|known| known.tenant_id != new.tenant_id))
            {
                writeln!(io::stderr(), "there is no tenant {tenant} in {tenants}: the key is refused until there is")?;
            }
        }
        KeysCommand::Rotate { key_id, overlap, json } => {
            let old = store.key_by_id(key_id).await?.filter(|key| key.is_valid(now()));
            let old = old.with_context(|| format!("there is no key {key_id} that is still taken"))?;
            let (secret, record) = store.rotate_key(&old, millis(overlap)?, None).await?;
            show_once(&secret, &record, *json)?;
        }
        KeysCommand::Revoke { key_id } => {
            if !store.revoke_key(key_id).await? {
                bail!("there is no key {key_id} that could be revoked");
            }
        }
        KeysCommand::List { tenant, json } => {
            let tenant_id = tenant.as_deref().map(TenantId::new).transpose()?;
            let keys = store.keys(tenant_id.as_ref()).await?;
            list(&keys, *json)?;
        }
    }
    Ok(Answer::Yes)
}

fn show_once(secret: &Secret, record: &KeyRecord, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", record.with_secret(secret))?;
    } else {
        writeln!(out, "{}", secret.reveal())?;
        drop(out);
        writeln!(io::stderr(), "{} of {}; it can't be shown again", record.key_id, record.tenant_id)?;
    }
    Ok(())
}

fn list(keys: &[KeyRecord], json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", json!({ "keys": keys }))?;
        return Ok(());
    }
    for key in keys {
        let state = match (key.revoked_at, key.expires_at) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(end)) if end <= now() => format!("expired {end}"),
            (None, Some(end)) => format!("until {end}"),
            (None, None) => "valid".to_owned(),
        };
        let used = key.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("last used {at}"));
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let KeyRecord { key_id, tenant_id, hint, name, .. } = key;
        writeln!(out, "{key_id}  {tenant_id}  {hint}  {state}, {used}  {name}  [{}]", scopes.join(" "))?;
    }
    Ok(())
}

/// A period as people write it, in milliseconds.
pub(super) fn millis(period: &str) -> anyhow::Result<i64> {
    // The longest is a year and a day, as everywhere.
    let hours =
        period.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()).map(|days| format!("{}h", days * 24));
    let read: Result<Period, String> = hours.as_deref().unwrap_or(period).parse();
    Ok(read.map_err(anyhow::Error::msg)?.as_millis())
}
