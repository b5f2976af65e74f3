//! The file that names the tenants.

use std::collections::HashMap;

use cybervault_model::{Tenant, TenantId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use yaml_serde::Value;

/// How many tenants one file may name.
pub const MAX_TENANTS: usize = 1_000_000;

/// A tenants file, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantsFile {
    /// The tenants, at most 1,000,000, each id once.
    pub tenants: Vec<Tenant>,
}

/// Why a tenants file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TenantsError {
    /// It is no YAML, or not of the form `tenants: [...]`.
    #[error("reading the tenants file: {0}; it is YAML with one key, `tenants`, and a list of tenants under it")]
    Form(#[source] yaml_serde::Error),
    /// One entry is wrong.
    #[error("reading tenant {name} (entry {position} of the tenants file): {source}")]
    Entry {
        /// Its id as it is written, or `without an id`.
        name: String,
        /// Its place in the list, from 1.
        position: usize,
        /// What is wrong.
        source: yaml_serde::Error,
    },
    /// Two entries have the same id.
    #[error("tenant `{tenant_id}` stands in the tenants file twice, as entries {first} and {second}: remove one")]
    Duplicate {
        /// The id.
        tenant_id: TenantId,
        /// Where, from 1.
        first: usize,
        /// Where again, from 1.
        second: usize,
    },
    /// An id that stands for something of the product's own.
    #[error("tenant `{tenant_id}` (entry {position} of the tenants file) has a reserved id: give it another one")]
    Reserved {
        /// The id.
        tenant_id: TenantId,
        /// Its place in the list, from 1.
        position: usize,
    },
    /// More tenants than [`MAX_TENANTS`].
    #[error("the tenants file names {0} tenants, more than the {MAX_TENANTS} that one fleet takes: split the fleet")]
    TooMany(usize),
}

/// Reads a tenants file.
///
/// # Errors
/// When it is not of the form of [`TenantsFile`], names a tenant twice, one by a reserved id, or too many: what is wrong, and where.
pub fn parse_tenants(text: &str) -> Result<Vec<Tenant>, TenantsError> {
    let TenantsFile { tenants } = yaml_serde::from_str(text).map_err(|error| first_wrong_entry(text, error))?;
    if tenants.len() > MAX_TENANTS {
        return Err(TenantsError::TooMany(tenants.len()));
    }
    let mut places = HashMap::with_capacity(tenants.len());
    for (index, tenant) in tenants.iter().enumerate() {
        if tenant.tenant_id.is_reserved() {
            return Err(TenantsError::Reserved { tenant_id: tenant.tenant_id.clone(), position: index + 1 });
        }
        if let Some(first) = places.insert(&tenant.tenant_id, index + 1) {
            return Err(TenantsError::Duplicate { tenant_id: tenant.tenant_id.clone(), first, second: index + 1 });
        }
    }
    Ok(tenants)
}

/// Finds the entry behind `error`: the file read as a whole only says its line.
fn first_wrong_entry(text: &str, error: yaml_serde::Error) -> TenantsError {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct AnyEntries {
        tenants: Vec<Value>,
    }
    let Ok(AnyEntries { tenants }) = yaml_serde::from_str(text) else { return TenantsError::Form(error) };
    let wrong = tenants.iter().position(|entry| Tenant::deserialize(entry.clone()).is_err());
    match wrong {
        Some(index) => {
            let id = tenants[index].get("tenant_id").and_then(Value::as_str);
            let name =
                id.map_or("without an id".to_owned(), |id| format!("`{}`", id.chars().take(80).collect::<String>()));
            TenantsError::Entry { name, position: index + 1, source: error }
        }
        None => TenantsError::Form(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_file_is_read() {
        let tenants = parse_tenants(
            "tenants:\n- {tenant_id: acme, plan: starter}\n- tenant_id: globex\n  plan: enterprise\n  status: suspended\n  \
             quota: {events_per_second: 5, burst_percent: 0}\n",
        )
        .unwrap();
        assert_eq!(tenants.len(), 2);
        assert!(
            parse_tenants(
                "tenants:\n- {tenant_id: sandbox-1, plan: starter}\n- {tenant_id: my-sandbox, plan: starter}"
            )
            .is_ok()
        );
        assert_eq!(tenants[1].quota.and_then(|quota| quota.events_per_second), Some(5));
    }

    #[test]
    fn what_is_wrong_in_a_tenants_file_is_named_with_its_place() {
        for (text, expected) in [
            (
                "tenants:\n- {tenant_id: a, plan: gold}",
                "tenant `a` (entry 1 of the tenants file): tenants[0].plan: unknown variant `gold`",
            ),
            (
                "tenants:\n- {tenant_id: a, plan: starter}\n- {tenant_id: b, plan: starter, qouta: {}}",
                "tenant `b` (entry 2 of the tenants file): tenants[1]: unknown field `qouta`",
            ),
            ("tenants:\n- {tenant_id: a|b, plan: starter}", "`a|b` is not a tenant id"),
            ("tenants:\n- {plan: starter}", "tenant without an id (entry 1"),
            (
                "tenants:\n- {tenant_id: a, plan: starter}\n- {tenant_id: b, plan: starter}\n- {tenant_id: a, plan: starter}",
                "tenant `a` stands in the tenants file twice, as entries 1 and 3",
            ),
            (
                "tenants:\n- {tenant_id: a, plan: starter}\n- {tenant_id: sandbox, plan: starter}",
                "tenant `sandbox` (entry 2 of the tenants file) has a reserved id",
            ),
            ("tenants:\n- {tenant_id: SandBox, plan: starter}", "tenant `SandBox` (entry 1"),
            ("tenants:\n- {tenant_id: CyberVault, plan: starter}", "has a reserved id"),
            ("tenant: []", "one key, `tenants`"),
            ("", "one key, `tenants`"),
        ] {
            let error = parse_tenants(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
